/* SPDX-License-Identifier: MIT */
/*
 * Stores whose every number is arithmetic: what is in snapshot i follows from i
 * and a generation (how often the store had been truncated when it was stored), so
 * that whoever knows these two knows what has to be there.
 */
#ifndef SDE_TESTS_CRASH_NUMBERED_H
#define SDE_TESTS_CRASH_NUMBERED_H

#include <sdestore.h>

#include <stdbool.h>

#define NUMBERED_MAX 4096	/* snapshots a store */

struct numbered {
	struct sde_ensemble ensemble;
	uint64_t stride;
	/* of each snapshot; zero for who never truncates */
	unsigned char generation[NUMBERED_MAX];
};

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014). */
uint64_t numbered_draw(uint64_t *state);
uint64_t numbered_below(uint64_t *state, uint64_t n);

/* Store snapshot `index`, by store or by reserve; returns what that gave. */
int numbered_store(const struct numbered *numbers, struct sde_storage *storage,
		   enum sde_layout layout, uint64_t index, bool reserve);

/*
 * Is everything right that the first `count` snapshots hold? true, or false and a
 * sentence.
 */
bool numbered_check(const struct numbered *numbers, struct sde_storage *storage, uint64_t count,
		    char *why, size_t why_size);

#endif
