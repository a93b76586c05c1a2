/* SPDX-License-Identifier: MIT */
/*
 * A simulated file system behind struct sde__io, which forgets what was not synced.
 *
 * Of every file there are two images: `live`, what a program sees, and `durable`,
 * what is on the device; between them lie the changes that are pending, in the
 * order in which they were made: sectors of 512 bytes (the unit a device writes
 * whole) and sizes. Of a directory there are two lists of entries, and pending
 * operations between them. sync makes a file's, or a directory's own, pending
 * changes durable; sync_map those of the pages in its range; nothing else does.
 * This is stricter than any one file system: no order holds between two changes
 * but for what a sync put between them.
 *
 * Mapped memory is the simulation's own. What a caller writes there without the
 * table (a reserved slot) is found by comparison before the next event.
 *
 * An event is a call that changes or syncs something. Before each the hook is
 * called, and it may take a sim_crash of the file system as it is then. A copy and
 * a write are two events: the second finds them half done.
 *
 * A failed sync is Linux's: the error is reported once, the pending data will never
 * reach the device unless their page is written or populated again, and the next sync
 * says 0.
 * A size reaches it all the same. A directory's operations stay pending: where a
 * journal cannot be written, nothing works any more.
 *
 * Images are shared and copied when written to, so that a crash costs little.
 * Not thread-safe. A mistake in its use aborts.
 */
#ifndef SDE_TESTS_CRASH_SIM_FS_H
#define SDE_TESTS_CRASH_SIM_FS_H

#include "io.h"

#define SIM_SECTOR 512
#define SIM_NAME 56
#define SIM_HANDLES 256
#define SIM_MAPS 70

struct sim_sector {
	unsigned refs;
	unsigned char bytes[SIM_SECTOR];
};

/* The bytes of a file; a sector that is NULL is zeros. Shared unless refs is 1. */
struct sim_image {
	unsigned refs;
	uint64_t size;
	size_t sectors, room;
	struct sim_sector **sector;
	/* for who looks at it: what was found out about these bytes; 0 at first */
	uint64_t memo[4];
};

struct sim_inode;

enum sim_call {
	SIM_CREATE, SIM_MAKE_DIRECTORY, SIM_REMOVE, SIM_RENAME, SIM_EXCHANGE, SIM_WRITE,
	SIM_SYNC, SIM_ALLOCATE, SIM_SYNC_MAP, SIM_COPY, SIM_COMMIT, SIM_CALLS
};
extern const char *const sim_call_name[SIM_CALLS];

struct sim_event {
	enum sim_call call;
	const char *name;	/* of the file or entry; "" if it has none */
	bool half;		/* part of it is done */
};

struct sim {
	struct sde__io io;	/* what is handed to the library */
	void (*hook)(void *ctx, const struct sim_event *event);	/* or NULL */
	void *hook_ctx;
	uint64_t events;
	/* the n-th sync from now on (1: the next) fails with EIO; 0: none */
	unsigned long fail_sync_at, fail_syncs;	/* and how many */
	bool failed;		/* one did, since this was last reset */
	bool dead;		/* the process is: every call fails, nothing changes */
	unsigned boot;
	uint64_t seed;		/* of random */
	/* private */
	uint64_t sequence, next_inode;
	struct sim_inode *root;
	struct sim_inode *handle[SIM_HANDLES];
	bool locked[SIM_HANDLES];
	struct {
		struct sim_inode *inode;
		size_t size;
	} map[SIM_MAPS];
	unsigned pending_directory;	/* operations, see sim_pending */
};

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *sim);

/* What is left of the pending changes. */
enum sim_loss {
	SIM_KILLED,		/* all: the kernel lives. They stay pending; same boot */
	/* the power is lost: another boot, and nothing is pending */
	SIM_NOTHING,
	SIM_EVERYTHING,
	SIM_PREFIX,		/* those before some moment */
	SIM_SUBSET,		/* each page and each directory operation, or not */
	SIM_TORN,		/* of each sector some version, of each file some size */
	SIM_NAMES,		/* all directory operations, nothing of files */
	SIM_CONTENTS,		/* the other way round */
	SIM_ALL_BUT_ONE,	/* one directory operation is missing */
	SIM_ONLY_ONE,		/* directory operation, and all of files */
	SIM_LOSSES
};
extern const char *const sim_loss_name[SIM_LOSSES];

/* Directory operations and file changes that are pending. */
unsigned sim_pending(const struct sim *sim, unsigned *changes);

/* The file system as it is found afterwards; `seed` decides what is random. */
struct sim *sim_crash(const struct sim *sim, enum sim_loss loss, uint64_t seed);

/* ------------------------------------------------------------------------
 * A look past the table, at what is live
 */

/* The image of the file at `path` ("run.zarr/zarr.json"); NULL: there is no such file. */
struct sim_image *sim_file(const struct sim *sim, const char *path);
bool sim_exists(const struct sim *sim, const char *path);
/* The bytes of an image, malloc'd, with a 0 behind them. */
unsigned char *sim_bytes(const struct sim_image *image);
/* n bytes at offset, which must lie inside. */
void sim_read(const struct sim_image *image, void *out, size_t n, uint64_t offset);
/* Take a file away, if it is there: not by the library, and for good. */
void sim_remove(struct sim *sim, const char *path);
/* Write the tree at `path` to the real directory `to`, which is made. 0 or -errno. */
int sim_export(const struct sim *sim, const char *path, const char *to);

#endif
