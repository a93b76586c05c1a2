/* SPDX-License-Identifier: MIT */
/*
 * The ring: mapped files that hold the newest snapshots; the writer's side.
 *
 *	data/.ring/header	the counters (ring_header.h)
 *	data/.ring/segment.<s>	T slots each (slot.h), s = 0 .. S-1
 *
 * Invariants:
 *  1. The header gets its name last: where there is a header, every segment is
 *     allocated, complete and durable.
 *  2. claimed >= i + 1 before the first byte of slot i changes; committed = i +
 *     1 only after its last byte was written (release).
 *  3. synced = i only after msync of all slots below i that were not sealed by
 *     then returned 0.
 *  4. sealed is raised, and durable (unless sync is none), before the first
 *     byte of a segment it frees changes.
 *  5. Slot i is intact while claimed <= i + S * T.
 *
 * Calling sequence: prepare, fill the slots a resumed run starts with, enact;
 * then for each snapshot claim, fill, commit; from the publisher's thread seal
 * and recycle; remove or abandon.
 *
 * claim and commit: the producer's thread. sync: any thread (it takes a lock).
 * seal, recycle: the publisher's.
 */
#ifndef SDE_LIB_RING_H
#define SDE_LIB_RING_H

#include "io.h"
#include "ring_header.h"

#include <pthread.h>

struct sde__ring {
	const struct sde__io *io;
	int dir;			/* data/.ring; not owned */
	struct sde__slot_layout layout;
	unsigned char *header;		/* mapped page */
	unsigned char *segment[SDE__SEGMENTS_MAX];
	int header_fd, segment_fd[SDE__SEGMENTS_MAX];	/* open from before the
				first write, so that no sync error is missed */
	pthread_mutex_t sync_lock;	/* held by who may raise synced */
};

/*
 * Lay the files of a new ring in `dir` (an older ring's are removed first),
 * mapped and touched, but without a header name. header->layout and run
 * are the caller's, the rest is filled in. -ENOSPC names the bytes it takes.
 */
int sde__ring_prepare(struct sde__ring **out, const struct sde__io *io, int dir,
		      struct sde__ring_header *header, bool durable, struct sde_error *error);

/*
 * Put it in force with `committed` snapshots, of which those from base on are
 * in the slots already. Durable if `durable`. sealed is base.
 */
int sde__ring_enact(struct sde__ring *ring, uint64_t base, uint64_t committed,
		    uint64_t epoch, bool durable, struct sde_error *error);

/* The slot of snapshot `index`: address arithmetic only. */
unsigned char *sde__ring_slot(const struct sde__ring *ring, uint64_t index);

uint64_t sde__ring_get(const struct sde__ring *ring, enum sde__ring_counter counter);

void sde__ring_claim(struct sde__ring *ring, uint64_t index);
void sde__ring_commit(struct sde__ring *ring, uint64_t index);

/* Make all slots below `upto` durable, as far as they are not yet. */
int sde__ring_sync(struct sde__ring *ring, uint64_t upto, struct sde_error *error);

/*
 * Commit slot `index` durably: on the device before it counts. All slots below
 * are synced. On failure it may be committed or not.
 */
int sde__ring_commit_synced(struct sde__ring *ring, uint64_t index, struct sde_error *error);

/* Chunk files hold everything below `upto` (a multiple of T). */
int sde__ring_seal(struct sde__ring *ring, uint64_t upto, bool durable,
		   struct sde_error *error);

/* Make the pages of the segment of chunk `chunk` writable again. */
int sde__ring_recycle(struct sde__ring *ring, uint64_t chunk);

/*
 * Truncate: suspend makes every reader and every recovery ignore the ring,
 * restart puts it in force again. Between them slots may change at will.
 */
int sde__ring_suspend(struct sde__ring *ring, bool durable, struct sde_error *error);
int sde__ring_restart(struct sde__ring *ring, uint64_t base, uint64_t committed,
		      uint64_t epoch, bool durable, struct sde_error *error);

/* Unmap and close; the files stay. NULL is allowed. */
void sde__ring_free(struct sde__ring *ring);

/*
 * Remove a ring's files from dir, the header first, and if `durable` also on the
 * device before any other. What is not there is fine.
 */
int sde__ring_remove_files(const struct sde__io *io, int dir, bool durable,
			   struct sde_error *error);

#endif
