/* SPDX-License-Identifier: MIT */
/*
 * The publisher: from a filled segment to files that any Zarr reader sees.
 *
 *	filled segment -> encode its inner chunks (workers, in parallel)
 *		       -> write those that are encoded into the chunk's file, whose
 *			  name is temporary (the sealer, and workers that have nothing
 *			  to encode)
 *		       -> end: sync that file (two writers more, who write it, too,
 *			  where chunks are small and wait for a device; what they
 *			  have not begun, and elsewhere all, the sealer)
 *		       -> seal: its name, times to the series, ring's `sealed`,
 *			  segment back (the sealer, of all that are whole at a time:
 *			  what a sync waits for is mostly the same for all)
 *		       -> publish: series, metadata (the sealer, at most every
 *			  200 ms, and at once for save)
 *
 * Chunks are sealed in order, so what is sealed is always a prefix. Two chunks or more
 * (as 16 MiB have room for, up to 8) are in the making at a time; files are written in
 * any order.
 *
 * The whole of it is a step function over a state guarded by one mutex; threads
 * do nothing but take steps. Without threads (`synchronous`) the caller's own
 * waits take them, one by one and in a fixed order, so that a test can replay
 * what happened.
 *
 * A failure stops all steps and stays until sde__publisher_save tries again.
 * What failed is still in the ring; it is written to a new file then.
 *
 * Threads: filled, room, save, pause and reset belong to the producer.
 * failed, published and sealed may be asked by anyone.
 */
#ifndef SDE_LIB_PUBLISHER_H
#define SDE_LIB_PUBLISHER_H

#include "documents.h"
#include "ring.h"
#include "shard.h"

struct sde__publisher;

/*
 * The publisher of one column of a store that has others. All report how many snapshots
 * their files hold, which is their part of publishing; the one that leads writes series
 * and metadata, as far as all columns have come.
 */
struct sde__publisher_group {
	bool leads;
	/* this column's files hold `held` snapshots, durably if the store is */
	int (*report)(void *ctx, uint64_t held, struct sde_error *error);
	/* how many those of all columns hold, or held a moment ago */
	uint64_t (*common)(void *ctx);
	void *ctx;
};

struct sde__publisher_config {
	const struct sde__io *io;
	const struct sde__home *home;		/* these outlive the publisher */
	struct sde__ring *ring;
	const struct sde__metadata *metadata;	/* snapshots: what is published */
	struct sde__codec codec;
	enum sde_sync sync;
	unsigned sync_interval_ms;
	unsigned threads;
	bool synchronous;
	unsigned char run[16];
	const struct sde__publisher_group *group;	/* NULL: there is one column */
};

/* Memory it will take, in bytes, without the ring. */
uint64_t sde__publisher_memory(const struct sde__slot_layout *layout,
			       const struct sde__codec *codec, unsigned threads);

/* Start with config->metadata->snapshots published, and in the ring's slots. */
int sde__publisher_start(struct sde__publisher **out, const struct sde__publisher_config *config,
			 struct sde_error *error);

/* All slots of the chunks below `chunks` are committed. */
void sde__publisher_filled(struct sde__publisher *publisher, uint64_t chunks);

/*
 * Wait until the segment of `chunk` may be written. *waited_ns is how long it
 * took, 0 if not at all. Returns the failure that stops it, if one does.
 */
int sde__publisher_room(struct sde__publisher *publisher, uint64_t chunk, uint64_t *waited_ns,
			struct sde_error *error);

/* The chunks below this may be written without asking: lock-free. */
uint64_t sde__publisher_limit(const struct sde__publisher *publisher);

/* Publish the first `snapshots` snapshots, all committed. */
int sde__publisher_save(struct sde__publisher *publisher, uint64_t snapshots,
			struct sde_error *error);

/* Get the first `snapshots` snapshots, all committed, into files; clears a failure. */
int sde__publisher_hold(struct sde__publisher *publisher, uint64_t snapshots,
			struct sde_error *error);

/* 0, or the code of the failure that stopped it: lock-free. */
int sde__publisher_failed(const struct sde__publisher *publisher);
/* The same with its sentence. */
int sde__publisher_failure(struct sde__publisher *publisher, struct sde_error *error);
/* A failure met elsewhere (a sync by the producer) that must stop it, too. */
void sde__publisher_fail(struct sde__publisher *publisher, const struct sde_error *why);

struct sde__publisher_counts {
	uint64_t held;			/* snapshots in chunk files */
	uint64_t published;		/* of which the metadata tell */
	uint64_t chunk_files, stored_bytes;
};
void sde__publisher_counts(struct sde__publisher *publisher, struct sde__publisher_counts *counts);
/* What is there already when it starts. */
void sde__publisher_add_counts(struct sde__publisher *publisher, uint64_t chunk_files,
			       uint64_t stored_bytes);

/*
 * For truncate, after a save: no step is under way when pause returns, and none
 * begins until reset, which starts afresh from config.metadata->snapshots.
 */
void sde__publisher_pause(struct sde__publisher *publisher);
int sde__publisher_reset(struct sde__publisher *publisher, struct sde_error *error);

/* Stop the threads, free all. Publishes nothing. NULL is allowed. */
void sde__publisher_stop(struct sde__publisher *publisher);

#endif
