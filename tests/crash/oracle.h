/* SPDX-License-Identifier: MIT */
/*
 * What a store must hold, by arithmetic alone: every number of every snapshot
 * follows from its index, and from how often that index was stored anew after a
 * truncate, by a hash. Whoever looks at a store needs to know no more than how
 * many snapshots there are, be it another process, after the writer is dead.
 *
 * Nothing here asserts: it is used by children and threads, too.
 */
#ifndef SDE_TESTS_CRASH_ORACLE_H
#define SDE_TESTS_CRASH_ORACLE_H

#include <sdestore.h>

#include <stdbool.h>
#include <stddef.h>

#define ORACLE_STATE_MAX 256

struct oracle {
	struct sde_ensemble ensemble;
	uint64_t stride;
	unsigned state_capacity;	/* at most ORACLE_STATE_MAX */
	/* of each index, which of the snapshots stored there is the last; NULL: 0 */
	const uint32_t *generation;
};

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014). */
uint64_t oracle_mix(uint64_t x);
uint64_t oracle_draw(uint64_t *state);
uint64_t oracle_below(uint64_t *state, uint64_t n);	/* 0 .. n - 1 */

size_t oracle_bytes(const struct oracle *oracle);	/* of a snapshot */
void oracle_fill(const struct oracle *oracle, uint64_t index, enum sde_layout layout, void *to);
double oracle_time(const struct oracle *oracle, uint64_t index);
uint64_t oracle_iteration(const struct oracle *oracle, uint64_t index);
/* The state that goes with a snapshot; its size, which may be 0 (none). */
size_t oracle_state(const struct oracle *oracle, uint64_t index, unsigned char *bytes);

/*
 * Store snapshot `index` with its state: `copied` by store, else by reserve and
 * commit. `values` has room for a snapshot. What the first failing call returned.
 */
int oracle_store(const struct oracle *oracle, struct sde_storage *storage, uint64_t index,
		 enum sde_layout layout, bool copied, void *values);

/* Read all that `storage` has; true if it is the first `count` snapshots, else why not. */
bool oracle_agrees(const struct oracle *oracle, struct sde_storage *storage, uint64_t count,
		   char *why, size_t size);

#endif
