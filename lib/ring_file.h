/* SPDX-License-Identifier: MIT */
/*
 * One file of the ring with the memory in front of it: the two ways to write a
 * ring, behind one set of functions.
 *
 *	mapped	the memory is the file's own: what is filled in is in the file.
 *	written	the memory is private, and what is put goes into the file by
 *		pwrite, whose failure is a code.
 *
 * A mapping is right where the pages of a preallocated file can always be
 * written and are what every reader of the file sees: ext2 to ext4, xfs, tmpfs.
 * Elsewhere the default is to write. On btrfs and other file systems that write
 * elsewhere what is overwritten, a full disk shows itself to a mapping as SIGBUS;
 * on network file systems so do a server's refusals, and others may not see what
 * was changed.
 *
 * Either way what was put or set outlives the process: it is in the page cache.
 *
 * Invariants:
 *  1. Of a written file nothing changes but by put and set, in the order of the
 *     calls.
 *  2. Memory always has what the file has to have, also when a put failed: it
 *     can be put again, and chunks are made of it.
 *  3. The descriptor is open from before the first write until close, so that
 *     no error of an earlier write is missed.
 */
#ifndef SDE_LIB_RING_FILE_H
#define SDE_LIB_RING_FILE_H

#include "io.h"

#define SDE__RING_FILE_NAME_SIZE 32

struct sde__ring_file {
	const struct sde__io *io;
	unsigned char *base;		/* the memory; NULL before lay */
	size_t size;
	int fd;				/* -1 before lay */
	enum sde_ring_io how;		/* MAPPED or WRITTEN */
	bool guarded;			/* mapped memory is touched under guard.h */
	bool in_memory;			/* a mapping that is never written back */
	char name[SDE__RING_FILE_NAME_SIZE];
};

/* MAPPED or WRITTEN: what was asked for, or by default what suits the file system of `dir`. */
enum sde_ring_io sde__ring_io_choose(const struct sde__io *io, int dir, enum sde_ring_io asked);

/* Is that a file system without a device? Where the table cannot tell, it is none. */
bool sde__ring_is_in_memory(const struct sde__io *io, int dir);

/* Nothing laid yet: close is allowed. */
void sde__ring_file_init(struct sde__ring_file *file, const struct sde__io *io,
			 enum sde_ring_io how, bool guarded);

/*
 * A new file of `size` bytes of zeros on the device's own blocks, synced, with
 * its memory touched.
 */
int sde__ring_file_lay(struct sde__ring_file *file, int dir, const char *name, size_t size,
		       struct sde_error *error);

/* Bytes into the memory; -EIO if the guard met a fault. */
int sde__ring_file_fill(struct sde__ring_file *file, size_t offset, const void *from, size_t n,
			struct sde_error *error);

/* act(ctx), on the memory alone; -EIO if the guard met a fault. */
int sde__ring_file_touch(const struct sde__ring_file *file, void (*act)(void *ctx), void *ctx,
			 struct sde_error *error);

/* What the memory has there is in the file, too. */
int sde__ring_file_put(struct sde__ring_file *file, size_t offset, size_t n,
		       struct sde_error *error);

/*
 * A counter: 8 aligned bytes that change in one instant, after everything filled
 * and put before. On failure a written file may have the new value or the old.
 */
int sde__ring_file_set(struct sde__ring_file *file, size_t offset, uint64_t value,
		       struct sde_error *error);

/* What was put in that range is on the device. */
int sde__ring_file_sync(struct sde__ring_file *file, size_t offset, size_t n,
			struct sde_error *error);

/* What was put there is as if it had been put just now. As far as possible: 0. */
int sde__ring_file_dirty(struct sde__ring_file *file, size_t offset, size_t n,
			 struct sde_error *error);

/* Filling the memory will neither wait for the device nor meet a full disk. */
int sde__ring_file_ready(struct sde__ring_file *file, struct sde_error *error);

void sde__ring_file_close(struct sde__ring_file *file);

#endif
