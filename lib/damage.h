/* SPDX-License-Identifier: MIT */
/*
 * Damage: which failures are damage to a store, and where it was filled.
 *
 * A failure is damage if looking again would find the same: a file that is not
 * there, does not hold, or that the device cannot read. What may pass (no memory, no
 * descriptors, no permission, a truncate meanwhile) is not, and is never filled with
 * NaN or reported as lost.
 */
#ifndef SDE_LIB_DAMAGE_H
#define SDE_LIB_DAMAGE_H

#include "error.h"

#include <pthread.h>
#include <stdbool.h>

bool sde__is_damage(int code);

/*
 * Put "lost snapshots a:b, trajectories a:b: " in front of a sentence; the code stays.
 * Of a long path the end is given up, not the ranges. trajectories NULL: none.
 */
void sde__damage_explain(struct sde_error *error, const char *what, const uint64_t snapshots[2],
			 const uint64_t *trajectories);

/* A hole that was filled: snapshots first:end, inner chunks inner:inner_end. */
struct sde__hole {
	uint64_t first, end;
	uint64_t inner, inner_end;
	enum sde_cause cause;
	int code;
};

/*
 * The holes that one handle has met, sorted by snapshot, then inner chunk, disjoint.
 * Runs of chunks that are lost as a whole are one hole, so that the memory is bounded
 * by what is there in files, not by a length that was read. Any thread.
 */
struct sde__holes {
	pthread_mutex_t lock;
	uint64_t inner_count;
	struct sde__hole *hole;
	size_t count, room;
};

void sde__holes_init(struct sde__holes *holes, uint64_t inner_count);
void sde__holes_free(struct sde__holes *holes);

/*
 * Note one. A hole met again adds nothing. The same snapshots are always met with the
 * same borders first and end. -ENOMEM.
 */
int sde__holes_add(struct sde__holes *holes, const struct sde__hole *hole);

/* A copy, malloc'd, neighbours of the same kind put together. -ENOMEM. */
int sde__holes_copy(struct sde__holes *holes, struct sde__hole **out, size_t *count);

#endif
