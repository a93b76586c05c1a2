/* SPDX-License-Identifier: MIT */
/*
 * The ring as anybody else sees it: by pread, without a lock, while the writer
 * runs, after it was killed, after it closed. Also what recovery reads.
 *
 * A slot that was read is good only if sde__ring_reader_intact says so
 * afterwards (a seqlock: the writer raises `claimed` before it touches a slot).
 * Otherwise it has been recycled, and its chunk file is there.
 *
 * Any number of threads may use a reader at once: it has no state but open
 * files. (A counter is 8 aligned bytes of one page; the kernel copies those in
 * one piece.)
 */
#ifndef SDE_LIB_RING_READER_H
#define SDE_LIB_RING_READER_H

#include "io.h"
#include "ring_header.h"

struct sde__ring_reader {
	const struct sde__io *io;
	struct sde__ring_header header;
	int header_fd, segment_fd[SDE__SEGMENTS_MAX];
};

struct sde__ring_counters {
	uint64_t claimed, committed, synced, sealed, epoch, base;
};

/*
 * Attach to the ring in directory `dir` (data/.ring). -ENOENT: there is none.
 * SDE_E_CORRUPT, SDE_E_VERSION, -errno.
 */
int sde__ring_reader_open(struct sde__ring_reader **out, const struct sde__io *io, int dir,
			  struct sde_error *error);

/*
 * An epoch of SDE__RING_EPOCH_NONE means that truncate is at work and that the
 * other counters mean nothing; else they are in order. SDE_E_CORRUPT if not.
 */
int sde__ring_reader_counters(const struct sde__ring_reader *reader,
			      struct sde__ring_counters *counters, struct sde_error *error);

/* What a ring that no writer holds can be believed. */
enum sde__ring_trust {
	SDE__RING_COMMITTED_HOLDS,	/* same boot, same file: the page cache has it */
	SDE__RING_SYNCED_HOLDS,		/* another boot: what was on the device */
	SDE__RING_COPIED		/* another file: not what the writer wrote to */
};

int sde__ring_reader_trust(const struct sde__ring_reader *reader, enum sde__ring_trust *trust,
			   struct sde_error *error);

/*
 * Of a store that is locked: can this be the ring of the process that holds the lock?
 * It is not if it was laid before the last boot, or is another file than it was laid
 * as: then that process is just recovering it. (Device numbers are not asked: they may
 * differ between two mounts of one file system.)
 */
int sde__ring_reader_is_lockers(const struct sde__ring_reader *reader, bool *is_lockers,
				struct sde_error *error);

/* fsync every file: afterwards what was read cannot vanish. */
int sde__ring_reader_sync(const struct sde__ring_reader *reader, struct sde_error *error);

/* n bytes at `offset` in the slot of snapshot `index`. */
int sde__ring_reader_read(const struct sde__ring_reader *reader, uint64_t index, size_t offset,
			  void *out, size_t n, struct sde_error *error);

/*
 * 1 if no slot from `first` on had been reused when this was called, and the
 * ring is still of this epoch; 0 if not; SDE_E_STALE for another epoch.
 */
int sde__ring_reader_intact(const struct sde__ring_reader *reader, uint64_t first,
			    uint64_t epoch, struct sde_error *error);

/* The first snapshot whose slot is not reused, going by these counters. */
uint64_t sde__ring_reader_first(const struct sde__ring_reader *reader,
				const struct sde__ring_counters *counters);

void sde__ring_reader_close(struct sde__ring_reader *reader);

#endif
