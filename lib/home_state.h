/* SPDX-License-Identifier: MIT */
/*
 * What home.c (the directories), home_build.c (the name) and home_lock.c (the lock)
 * share. Nobody else includes this.
 */
#ifndef SDE_LIB_HOME_STATE_H
#define SDE_LIB_HOME_STATE_H

#include "home.h"

#define SDE__NUMBER_SIZE 24		/* a column's number as a name */

/* Close *fd, if it is open, and note that. */
void sde__home_close_one(struct sde__home *home, int *fd);

/* SDE_E_CORRUPT if it is missing, no directory, or a link. */
int sde__home_open_directory(struct sde__home *home, int dir, const char *name, int *fd,
			     struct sde_error *error);

/* Which root document is there? */
int sde__home_find_format(struct sde__home *home, struct sde_error *error);

/* Everything below the root but the ring: opened, or made. */
int sde__home_enter_arrays(struct sde__home *home, bool make, struct sde_error *error);

#endif
