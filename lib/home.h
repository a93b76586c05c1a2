/* SPDX-License-Identifier: MIT */
/*
 * A store's directories, and its lock.
 *
 *	format 3		format 2
 *	<save_directory>/	<save_directory>/	root
 *	  time/c/		  time/			time, time_blocks
 *	  iteration/c/		  iteration/		iteration, iteration_blocks
 *	  data/			  data/			data
 *	    c/0/		    -			columns
 *	    c/0/0/		    (data itself)	shards
 *				    .side/		side
 *	    .ring/		    .ring/		ring (while a run lasts, or
 *							after it died)
 *
 * All are held as open directories: the process may change its working
 * directory, and the store may be renamed, under a running writer. Nothing is
 * ever opened through a symbolic link inside the store.
 *
 * A store of several columns has c/0/<c>/ and .ring/<c>/ for each: a column's home
 * differs from the store's in these, and in a lock of its own beside its ring.
 *
 * The lock is an OFD lock on data/.ring/lock. It dies with its process; readers
 * only ask whether somebody holds it.
 */
#ifndef SDE_LIB_HOME_H
#define SDE_LIB_HOME_H

#include "io.h"

struct sde__home {
	const struct sde__io *io;
	char *path;		/* as the user gave it, for sentences */
	unsigned format;	/* 3 or 2: set by open; by the caller before build */
	int root, time, time_blocks, iteration, iteration_blocks, data, shards;
	int columns;		/* -1 in format 2 */
	int side;		/* -1 in format 3 */
	int ring;		/* -1: there is none */
	int lock;		/* -1: not held */
	/* only between build and settle */
	int parent;
	char *name, *temporary;
	/* of a column: which, and what it has of the store's home, all but shards,
	 * ring and lock */
	bool is_column, alone;
	uint64_t column;
	int rings;		/* data/.ring */
};

/* A home with nothing open. */
void sde__home_init(struct sde__home *home, const struct sde__io *io);

/* The directory `path` lies in, malloc'd; "." if the path has none. */
char *sde__home_parent_path(const char *path);

/*
 * Make the directories of a new store beside `path`, under a temporary name;
 * its parent directory exists. Takes the new store's lock. -EEXIST if something
 * is there (an empty directory does not count) and `overwrite` is false,
 * SDE_E_NOT_STORE if it is no directory. *exists says whether there is one to
 * replace: whether it may be is for the caller to find out.
 */
int sde__home_build(struct sde__home *home, const char *path, bool overwrite, bool *exists,
		    struct sde_error *error);

/* Open the root of what has the new store's name now. */
int sde__home_open_old(struct sde__home *old, const struct sde__home *home,
		       struct sde_error *error);

/*
 * Give it its name. `old` is the store that has it now, checked and locked by
 * the caller, which is removed; or NULL.
 */
int sde__home_settle(struct sde__home *home, const struct sde__home *old,
		     struct sde_error *error);

/* Take back a build that was not settled. */
void sde__home_undo(struct sde__home *home);

/*
 * Open the root of an existing store and see what format it has: -ENOENT,
 * SDE_E_NOT_STORE.
 */
int sde__home_open(struct sde__home *home, const char *path, struct sde_error *error);

/* Open the root of a store that is open already once more. */
int sde__home_reopen(struct sde__home *home, const struct sde__home *from,
		     struct sde_error *error);

/*
 * Make the store's own name durable: a create may have been killed just before it did.
 * Where the directory it lies in may not be opened, by all of the file system.
 */
int sde__home_sync_name(const struct sde__home *home, struct sde_error *error);

/* Open all below the root. A missing directory is SDE_E_CORRUPT, but no ring is fine. */
int sde__home_enter(struct sde__home *home, struct sde_error *error);

/* Close all below the root, to enter it afresh. */
void sde__home_leave(struct sde__home *home);

/* Open data/.ring again if it is there (it comes and goes under a reader). */
int sde__home_enter_ring(struct sde__home *home, struct sde_error *error);

/* Make data/.ring if need be, and take the lock. SDE_E_LOCKED. */
int sde__home_lock(struct sde__home *home, struct sde_error *error);

/* 1 if another open file holds the lock, 0 if not. */
int sde__home_is_locked(struct sde__home *home, struct sde_error *error);

/* Remove lock and ring directory, whose other files are gone; gives up the lock. */
int sde__home_leave_ring(struct sde__home *home, bool durable, struct sde_error *error);

/* The same for a ring directory made only for the lock; one with a ring stays. */
void sde__home_leave_idle_ring(struct sde__home *home);

/*
 * The home of column `column` of a store whose home is entered, and outlives it.
 * SDE_E_CORRUPT if it is missing, but no ring is fine. `alone`: the only column there
 * is, whose ring and lock are the store's. make_column makes the directories, durably.
 */
int sde__home_column(struct sde__home *own, const struct sde__home *home, uint64_t column,
		     bool alone, struct sde_error *error);
int sde__home_make_column(const struct sde__home *home, uint64_t column, struct sde_error *error);

/* Are there as many as the metadata say, before anything is allocated by that? */
int sde__home_check_columns(const struct sde__home *home, uint64_t count, struct sde_error *error);

/* Closes everything, gives up the lock; removes nothing. */
void sde__home_close(struct sde__home *home);

#endif
