/* SPDX-License-Identifier: MIT */
/*
 * A growing list of names of a directory. They are collected first, because a
 * directory is not changed while it is listed.
 */
#ifndef SDE_LIB_NAMES_H
#define SDE_LIB_NAMES_H

#include <stddef.h>

struct sde__names {		/* all zero: empty */
	char **name;
	size_t count, room;
};

/* Append a copy; -ENOMEM. `ctx` is the list, void * so that it can be handed to io's list. */
int sde__names_add(void *ctx, const char *name);

/* Leaves an empty list. */
void sde__names_free(struct sde__names *names);

#endif
