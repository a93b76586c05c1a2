/* SPDX-License-Identifier: MIT */
/*
 * How a pager learns of touches and shows memory: what differs between userfaultfd
 * and SIGSEGV. All but `make` are called by the pager's thread only. Offsets are in
 * bytes from the base; n is a unit's.
 */
#ifndef SDE_LIB_PAGER_WAY_H
#define SDE_LIB_PAGER_WAY_H

#include "error.h"

#include <stdbool.h>

struct sde__pager_range {
	unsigned char *base;
	size_t size;			/* a multiple of the unit */
	size_t unit;
};

struct sde__pager_way {
	const char *name;
	/* Reserve range->size bytes of addresses, none of which is there; readable when
	 * it is, and not inherited by fork. Fills in range->base. */
	int (*make)(void **self, struct sde__pager_range *range, struct sde_error *error);
	/* A descriptor that is readable while touches wait. */
	int (*handle)(const void *self);
	/* The offset of a touch that waits, 1; or 0. Does not block. */
	int (*next)(void *self, uint64_t *offset);
	/* A unit's memory to be filled, the pager's own until it is shown; NULL. */
	void *(*stage)(void *self);
	/* What was staged is there from now on, at once as seen by others (or page by
	 * page, each whole). -errno: then it is not. */
	int (*show)(void *self, uint64_t offset);
	/* It is not any more. */
	int (*hide)(void *self, uint64_t offset);
	/* It will never be: a touch is a segmentation fault, as if nobody watched. */
	void (*forbid)(void *self, uint64_t offset);
	/* Who waits for this unit is to try again: after each `next`, also if nothing
	 * was to be done. */
	void (*wake)(void *self, uint64_t offset);
	/* Takes the addresses away, then everything else. */
	void (*close)(void *self);
};

extern const struct sde__pager_way sde__pager_uffd, sde__pager_signal;

/* A unit's memory; NULL. */
void *sde__pager_stage(size_t unit);

/*
 * Put it in place of what is at `at`, read-only, in one instant as others see it.
 * -errno: then it is given up, and nothing has changed.
 */
int sde__pager_move_in(void *stage, void *at, size_t unit);

/*
 * The other way: what is at `at` becomes *stage, and what stays there is empty. The
 * caller has seen to it that nobody sees that as zeros. -errno.
 */
int sde__pager_take_back(void *at, size_t unit, void **stage);

/* Reserve addresses, inaccessible or readable; not inherited by fork. NULL. */
void *sde__pager_reserve(size_t size, int protection, struct sde_error *error);

#endif
