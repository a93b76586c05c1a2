/* SPDX-License-Identifier: MIT */
/*
 * Memory that grows and never moves.
 *
 * A range of addresses is reserved once; pages in it become memory as they are
 * needed. A pointer into it stays good for the arena's life, so that array
 * handles taken while it was short go on working when it is long.
 *
 * One thread grows it; any thread may read what was grown before.
 */
#ifndef SDE_LIB_ARENA_H
#define SDE_LIB_ARENA_H

#include "error.h"

struct sde__arena {
	unsigned char *base;	/* page-aligned; NULL before init and after free */
	size_t size;		/* usable, a multiple of the page size */
	size_t reserved;
};

/*
 * Reserve addresses: `want` bytes, or as much as can be had, at least `least`.
 * Takes no memory. -ENOMEM.
 */
int sde__arena_init(struct sde__arena *arena, size_t want, size_t least,
		    struct sde_error *error);

/* Make the first `size` bytes usable. New ones are zero. -ENOMEM. */
int sde__arena_grow(struct sde__arena *arena, size_t size, struct sde_error *error);

/* Give back the memory behind the first `size` bytes, keeping the addresses. */
void sde__arena_shrink(struct sde__arena *arena, size_t size);

void sde__arena_free(struct sde__arena *arena);

#endif
