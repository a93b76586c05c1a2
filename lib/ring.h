/* SPDX-License-Identifier: MIT */
/*
 * The ring: files that hold the newest snapshots; the writer's side. Whether they
 * are mapped or written is ring_file.h's to know.
 *
 *	data/.ring/header	the counters (ring_header.h)
 *	data/.ring/segment.<s>	T slots each (slot.h), s = 0 .. S-1
 *
 * Invariants:
 *  1. The header gets its name last: where there is a header, every segment is
 *     allocated, complete and durable.
 *  2. claimed >= i + 1 and committed <= i before the first byte of slot i changes;
 *     committed = i + 1 only after its last byte was written (release).
 *  3. synced = i only after a sync of all slots below i that were not sealed by
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

#include "ring_file.h"
#include "ring_header.h"

#include <pthread.h>

struct sde__ring {
	const struct sde__io *io;
	int dir;			/* data/.ring; not owned */
	struct sde__slot_layout layout;
	struct sde__ring_file header, segment[SDE__SEGMENTS_MAX];
	uint64_t counter[SDE__RING_COUNTERS]; /* atomic; as they were last set, for
				this process, which need not ask the file */
	bool doubtful;			/* a commit failed, and may be in the file */
	uint64_t synced;		/* atomic: slots below it are on the device, and a
				header that says so; the counter runs ahead of it */
	pthread_mutex_t sync_lock;	/* held by who may raise synced */
};

/*
 * Lay the files of a new ring in `dir` (an older ring's are removed first),
 * allocated, their memory touched, but without a header name. header->layout, run
 * and ring_io (which may be DEFAULT) are the caller's, the rest is filled in.
 * -ENOSPC names the bytes it takes.
 */
int sde__ring_prepare(struct sde__ring **out, const struct sde__io *io, int dir,
		      struct sde__ring_header *header, bool durable, struct sde_error *error);

/* From now on touch mapped memory only under the guard (guard.h), which is installed. */
void sde__ring_guard(struct sde__ring *ring);

/* Is it? Then whoever reads slots in memory must do so, too. */
static inline bool sde__ring_is_guarded(const struct sde__ring *ring)
{
	return ring->header.guarded;
}

/* Do its files, and with them all of the store, lie on a device that syncs wait for? */
static inline bool sde__ring_has_device(const struct sde__ring *ring)
{
	return !ring->segment[0].in_memory;
}

/*
 * Put it in force with `committed` snapshots, of which those from base on are
 * in the slots already. Durable if `durable`. sealed is base.
 */
int sde__ring_enact(struct sde__ring *ring, uint64_t base, uint64_t committed,
		    uint64_t epoch, bool durable, struct sde_error *error);

/* The memory of the slot of snapshot `index`: address arithmetic only. */
unsigned char *sde__ring_slot(const struct sde__ring *ring, uint64_t index);

uint64_t sde__ring_get(const struct sde__ring *ring, enum sde__ring_counter counter);

/*
 * Up to where a power loss now would leave the ring's snapshots. The counter in the
 * file says so a moment before its page is on the device, or in vain.
 */
uint64_t sde__ring_synced(const struct sde__ring *ring);

/*
 * Storing, by the producer. None of these can fail in a mapped ring without a
 * guard; -errno, or -EIO by the guard. What failed can be begun again from claim.
 */
int sde__ring_claim(struct sde__ring *ring, uint64_t index, struct sde_error *error);
/* bytes at `offset` of a claimed slot; or they are put there by its address */
int sde__ring_fill(struct sde__ring *ring, uint64_t index, size_t offset, const void *from,
		   size_t n, struct sde_error *error);
int sde__ring_commit(struct sde__ring *ring, uint64_t index, struct sde_error *error);

/*
 * act(ctx), which reads or writes the memory of the slot of snapshot `index`, and does
 * nothing else (guard.h). -EIO by the guard, and then it was left in the middle.
 */
int sde__ring_touch(const struct sde__ring *ring, uint64_t index, void (*act)(void *ctx), void *ctx,
		    struct sde_error *error);

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

/* Make the memory of the segment of chunk `chunk` ready to be filled again. */
int sde__ring_recycle(struct sde__ring *ring, uint64_t chunk, struct sde_error *error);

/*
 * Truncate: suspend makes every reader and every recovery ignore the ring,
 * restart puts it in force again. Between them slots may change at will.
 */
int sde__ring_suspend(struct sde__ring *ring, bool durable, struct sde_error *error);
int sde__ring_restart(struct sde__ring *ring, uint64_t base, uint64_t committed,
		      uint64_t epoch, bool durable, struct sde_error *error);

/* Give up memory and descriptors; the files stay. NULL is allowed. */
void sde__ring_free(struct sde__ring *ring);

/*
 * Remove a ring's files from dir, the header first, and if `durable` also on the
 * device before any other. What is not there is fine.
 */
int sde__ring_remove_files(const struct sde__io *io, int dir, bool durable,
			   struct sde_error *error);

#endif
