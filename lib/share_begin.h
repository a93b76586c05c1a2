/* SPDX-License-Identifier: MIT */
/*
 * How several writers begin on one store, from inside: what share_create.c and
 * share_resume.c, which have the order of things, share with share_begin.c. Nobody else
 * includes this; share_storage.h is for them. What each rank does in between is in share.c.
 *
 * Every step that can fail on one rank is followed by an agreement; after one that
 * failed all ranks are at the same place, and leave.
 */
#ifndef SDE_LIB_SHARE_BEGIN_H
#define SDE_LIB_SHARE_BEGIN_H

#include "share_storage.h"

#include <stdint.h>

/* Bytes of a name in a directory, with its 0: NAME_MAX + 1, where that is known. */
#define SDE__NAME_SIZE 256

/* What create and resume are given, and what becomes of it. */
struct sde__beginning {
	struct sde__share *share;
	struct sde_storage **out;
	const char *path;
	const struct sde_ensemble *ensemble;	/* this rank's */
	const struct sde_zarr_options *options;
	uint64_t all;				/* trajectories of all ranks */
	uint64_t first, count;			/* of this one */
	struct sde__home old;			/* to be replaced */
	bool exists, settled;
	struct sde__new_store {			/* given by the leader */
		unsigned char run[16];
		char temporary[SDE__NAME_SIZE];
	} place;
	uint64_t snapshots;
};

typedef int sde__begin_step(struct sde__beginning *b, struct sde_error *error);

/* What both are given; the accord is taken over. A failure is everybody's. */
int sde__begin_share(struct sde__beginning *b, const struct sde__accord *accord,
		     const struct sde__zarr_hooks *hooks, struct sde_error *error);

/* A beginning that failed: neither a storage nor a share is left of it. */
void sde__begin_drop(struct sde__beginning *b);

bool sde__begin_leads(const struct sde__beginning *b);

/* Take a step, or let others take it, and agree. */
int sde__begin_take(struct sde__beginning *b, sde__begin_step *what, bool mine,
		    struct sde_error *error);

/* What all ranks must have been given alike: the options were taken already. */
int sde__begin_compare(const struct sde__beginning *b, struct sde_error *error);

/*
 * How many trajectories each rank has: `width` becomes that of rank 0, unless it is
 * given. Every rank finds the same, so that no agreement is needed but on memory.
 */
int sde__begin_count(struct sde__beginning *b, uint64_t *width, struct sde_error *error);

/* Steps: arguments, this rank's columns by its trajectories, their homes, their rings,
 * the storage. */
int sde__begin_check(struct sde__beginning *b, struct sde_error *error);
int sde__begin_take_columns(struct sde__beginning *b, struct sde_error *error);
int sde__begin_enter_columns(struct sde__beginning *b, struct sde_error *error);
int sde__begin_columns(struct sde__beginning *b, struct sde_error *error);
int sde__begin_derive(struct sde__beginning *b, struct sde_error *error);

#endif
