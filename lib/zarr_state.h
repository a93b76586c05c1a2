/* SPDX-License-Identifier: MIT */
/*
 * The state of a Zarr storage that is open for storing, shared by the files that make
 * it: zarr_storage.c (what a running one does), zarr_begin.c (how one comes to be:
 * create, resume), zarr_end.c (save, truncate, close), zarr_last.c; and by those of
 * share.h, which has one for each column. Nobody else includes this.
 */
#ifndef SDE_LIB_ZARR_STATE_H
#define SDE_LIB_ZARR_STATE_H

#include "publisher.h"
#include "zarr_config.h"
#include "zarr_storage.h"

#include <pthread.h>

/* Facts that info shows while the producer changes them: relaxed atomics. */
struct sde__zarr_facts {
	uint64_t first_time, last_time;	/* bits of a double */
	int64_t first_iteration, last_iteration;
	uint64_t stalls, stalled_ns;
};

struct sde__zarr {
	const struct sde__io *io;
	bool synchronous;
	struct sde__publisher **tell;	/* hooks.publisher */
	struct sde__home home;
	struct sde__zarr_config config;
	struct sde__ring *ring;
	struct sde__publisher *publisher;
	/* of one column of a store: what its publisher needs to know of the others,
	 * and the metadata of all; NULL: it is the only one */
	const struct sde__publisher_group *group;
	const struct sde__metadata *metadata;
	uint64_t next;			/* index of the next snapshot */
	uint64_t limit;			/* below it, slots are free for the taking */
	uint64_t iteration;		/* of the reserved slot */
	unsigned char *pending;		/* state of the next snapshot */
	unsigned char *last;		/* state of the last one */
	size_t pending_size, last_size;
	uint64_t kept;			/* data/.restart is up to date for this M */
	struct sde_error broken;	/* truncate failed half way: save goes on with it */
	uint64_t cut, cut_epoch;	/* to how many snapshots, in which epoch */
	void *cut_exact;		/* the last of them, with keepbits; or NULL */
	struct sde__zarr_facts facts;
	pthread_mutex_t lock;		/* guards reader */
	struct sde__reader *reader;	/* of the newest values */
};

static inline bool sde__zarr_is_durable(const struct sde__zarr *z)
{
	return z->config.sync != SDE_SYNC_NONE;
}

/* The store's. */
static inline const struct sde__metadata *sde__zarr_metadata(const struct sde__zarr *z)
{
	return z->metadata ? z->metadata : &z->config.metadata;
}

static inline uint64_t sde__zarr_chunk_size(const struct sde__zarr *z)
{
	return z->config.layout.geometry.chunk_size;
}

/* Time, iteration and state of the last of `snapshots`, from files or an old ring. */
int sde__zarr_remember(struct sde__zarr *z, struct sde__reader *reader, uint64_t snapshots,
		       struct sde_error *error);

/* The snapshots of an incomplete last chunk, back into their slots. */
int sde__zarr_refill(struct sde__zarr *z, struct sde__reader *reader, uint64_t snapshots,
		     struct sde_error *error);

/* A reader of everything stored so far; the caller's reference. */
int sde__zarr_newest_reader(struct sde__zarr *z, struct sde__reader **out,
			    struct sde_error *error);

/* It is not kept any longer: what it shows was cut off. */
void sde__zarr_drop_reader(struct sde__zarr *z);

/*
 * The exact last snapshot (zarr_last.c). keep_last: data/.restart for it, after
 * everything was published. last: the backend's entry. refill_last: into its slot
 * of a new ring. For truncate take_exact: the numbers of the snapshot that will be
 * the last one, malloc'd, NULL if they are lost; keep_exact: data/.restart for the
 * last snapshot of the metadata to come, or none; put_exact: into its slot again.
 */
int sde__zarr_keep_last(struct sde__zarr *z, struct sde_error *error);
int sde__zarr_last(void *self, void *data, int *is_exact, struct sde_error *error);
int sde__zarr_refill_last(struct sde__zarr *z, struct sde__reader *reader,
			  struct sde_error *error);
int sde__zarr_take_exact(struct sde__zarr *z, uint64_t index, void **out,
			 struct sde_error *error);
int sde__zarr_keep_exact(struct sde__zarr *z, const struct sde__metadata *next, const void *exact,
			 struct sde_error *error);
int sde__zarr_put_exact(struct sde__zarr *z, uint64_t index, const void *exact,
			struct sde_error *error);

/* Of zarr_begin.c, for who makes writers of single columns (share.h). */
struct sde__zarr_filed {	/* of the data in chunk files */
	uint64_t files, bytes;
};
struct sde__zarr *sde__zarr_new(const struct sde__zarr_hooks *hooks);
int sde__zarr_make_state_buffers(struct sde__zarr *z, struct sde_error *error);
int sde__zarr_weigh(const struct sde__zarr *z, struct sde__zarr_filed *filed,
		    struct sde_error *error);
int sde__zarr_lay_ring(struct sde__zarr *z, struct sde_error *error);
int sde__zarr_start_publisher(struct sde__zarr *z, const struct sde__zarr_filed *filed,
			      struct sde_error *error);

/*
 * Truncate, when the smaller metadata are durable and the ring suspended: slots, files
 * and counters follow. `reader` sees the files alone; `exact`, if not NULL, are the
 * numbers of the last snapshot as take_exact found them.
 */
int sde__zarr_shrink(struct sde__zarr *z, struct sde__reader *reader, uint64_t snapshots,
		     uint64_t epoch, const void *exact, struct sde_error *error);

/* Stops and frees all; publishes nothing. */
void sde__zarr_free(struct sde__zarr *z);

/* The backend's entries in zarr_end.c. */
int sde__zarr_save(void *self, struct sde_error *error);
int sde__zarr_truncate(void *self, uint64_t snapshots, struct sde_error *error);
int sde__zarr_close(void *self, struct sde_error *error);

extern const struct sde_backend sde__zarr_backend;

#endif
