/* SPDX-License-Identifier: MIT */
/*
 * One writer's share of a store that several write at once: whole columns, each with a
 * ring and a publisher of its own (a struct sde__zarr), as if it were a store.
 *
 * Storing and the threads know nothing of the other writers, but for the files by which
 * columns tell how far they have come (rank_status.h). Create, resume, save, truncate
 * and close are collective over the accord: here are the parts that one rank does alone
 * in between, share_create.c, share_resume.c and share_storage.c have their order.
 *
 * Rank 0 leads: it has the first column, the store's lock, and writes times and
 * metadata. A rank may have no columns, and then takes part in what is collective.
 */
#ifndef SDE_LIB_SHARE_H
#define SDE_LIB_SHARE_H

#include "accord.h"
#include "rank_status.h"
#include "zarr_state.h"

struct sde__share;

struct sde__share_column {
	struct sde__share *share;
	uint64_t number;
	struct sde__publisher_group group;
	struct sde__zarr *writer;
	struct sde__reader *reader;	/* of what a run before left; until begun */
	void *exact;			/* while truncating: as sde__zarr_take_exact */
	int status_fd;			/* -1: nobody reads it */
	bool status_synced;		/* so that other machines see it */
	uint64_t held;			/* atomic: what it last reported */
	uint64_t offset;		/* of its trajectories among this rank's */
};

struct sde__share {
	const struct sde__io *io;
	bool synchronous;
	struct sde__publisher **tell;	/* hooks.publisher, of the first column */
	struct sde__accord accord;
	struct sde__home home;		/* the store's; locked if this rank leads */
	struct sde__zarr_config config;	/* the store's */
	uint64_t columns;		/* that the store has */
	uint64_t first, count;		/* columns of this rank */
	uint64_t trajectories;		/* in them */
	struct sde__share_column *column;
	uint64_t next;			/* atomic: index of the next snapshot, of all columns */
	uint64_t moments;		/* a print of all times and iterations stored */
	uint64_t agreed;		/* atomic: all ranks hold as many, as was agreed */
	struct sde_error broken;	/* its columns differ, or truncate failed half way, ... */
	bool all_broken;		/* ... which all ranks know by the same sentence */
	pthread_mutex_t lock;		/* guards reader */
	struct sde__reader *reader;	/* of the newest values */
};

static inline bool sde__share_leads(const struct sde__share *share)
{
	return share->accord.rank == 0;
}

/* Takes the accord over; NULL: no memory, and it has not. */
struct sde__share *sde__share_new(const struct sde__accord *accord,
				  const struct sde__zarr_hooks *hooks);

/* Stops and frees all; publishes nothing, removes nothing. NULL is allowed. */
void sde__share_free(struct sde__share *share);

/* Columns and trajectories of this rank: `count` from `first` on, of a known store. */
int sde__share_take(struct sde__share *share, uint64_t first, uint64_t count,
		    struct sde_error *error);

/* The homes of its columns: opened, and locked; and what a dead run left in them. */
int sde__share_enter(struct sde__share *share, struct sde_error *error);
int sde__share_assess(struct sde__share *share, uint64_t *snapshots, struct sde_error *error);
/* Files of its columns have `snapshots`, and nothing else. */
int sde__share_recover(struct sde__share *share, uint64_t snapshots, struct sde_error *error);
/* The leader: times and metadata, too. */
int sde__share_recover_documents(struct sde__share *share, struct sde_error *error);
/* Rings and publishers; config.metadata.snapshots are there. */
int sde__share_begin(struct sde__share *share, struct sde_error *error);
/* When begin, or what follows, failed: rings that have nothing that the files lack. */
void sde__share_retreat(struct sde__share *share);

/* Everything stored is in this rank's files. */
int sde__share_hold(struct sde__share *share, struct sde_error *error);
/* The leader, when all ranks do: metadata. */
int sde__share_publish(struct sde__share *share, struct sde_error *error);
/* Behind both: the exact last snapshot, where it is rounded in files. */
int sde__share_keep_last(struct sde__share *share, struct sde_error *error);

/*
 * Truncate: the exact numbers of the snapshot that will be the last, before anything is
 * saved, and to where the next run finds them; then the leader's metadata, then
 * everybody's columns.
 */
int sde__share_take_exact(struct sde__share *share, uint64_t snapshots, struct sde_error *error);
int sde__share_keep_exact(struct sde__share *share, uint64_t snapshots, struct sde_error *error);
int sde__share_shrink_documents(struct sde__share *share, uint64_t snapshots,
				struct sde_error *error);
int sde__share_shrink(struct sde__share *share, uint64_t snapshots, struct sde_error *error);

/* Close, when all is published: this rank's rings, then the leader's part. */
int sde__share_drop_rings(struct sde__share *share, struct sde_error *error);

#endif
