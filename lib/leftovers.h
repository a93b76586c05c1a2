/* SPDX-License-Identifier: MIT */
/*
 * What killed processes left behind, apart from rings and chunk files.
 *
 *	in a store	NAME.tmp, where NAME is one that the library writes
 *	beside it	.NAME.xxxxxxxxxxxx.new		a store that was being made, or
 *							after the exchange the one it
 *							replaced (home.h)
 *			.NAME.xxxxxxxxxxxx.new.old	the one that was to be replaced,
 *							where names cannot be exchanged
 *
 * Nothing is touched that has anything in it which the library does not write, that a
 * process holds the lock of, or that is no directory.
 */
#ifndef SDE_LIB_LEFTOVERS_H
#define SDE_LIB_LEFTOVERS_H

#include "home.h"

struct sde__leftovers {
	const struct sde__io *io;
	bool dry_run;
	/* told of each, after it was done; its non-zero return ends it */
	int (*told)(void *ctx, enum sde_repair_action action, const char *file, const char *text);
	void *ctx;
	const struct sde__log *log;
};

/* Remove the temporary files in the directories of an open store. */
int sde__leftovers_inside(const struct sde__leftovers *how, const struct sde__home *home,
			  struct sde_error *error);

/*
 * Look beside the store at `path`, which may be missing: then a store that was moved
 * aside gets its name back.
 */
int sde__leftovers_beside(const struct sde__leftovers *how, const char *path,
			  struct sde_error *error);

#endif
