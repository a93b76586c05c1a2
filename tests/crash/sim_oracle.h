/* SPDX-License-Identifier: MIT */
/*
 * What a store must hold: arithmetic, and bounds that follow from what returned.
 *
 * Every number follows by a hash from the store's id, the snapshot's index and its
 * generation: truncate and a loss of what was not synced let an index be stored
 * again, and what it holds then is another snapshot.
 */
#ifndef SDE_TESTS_CRASH_SIM_ORACLE_H
#define SDE_TESTS_CRASH_SIM_ORACLE_H

#include <sdestore.h>

#include <stdbool.h>

#define SIM_SNAPSHOTS 256
#define SIM_NUMBERS 64		/* a snapshot, at most */
#define SIM_STATE 24
#define SIM_NEVER UINT64_MAX

struct sim_store {
	/* what it is */
	uint64_t id;			/* also its attribute "id" */
	struct sde_ensemble ensemble;
	unsigned zarr_format;
	uint64_t chunk_size, inner_width, stride;
	enum sde_codec codec;
	bool checksum, durable;		/* sync is not none */
	unsigned state_capacity;
	/* what is in it */
	uint64_t version;		/* of the generations below */
	uint32_t now, generation[SIM_SNAPSHOTS];
	/* snapshots */
	uint64_t returned;		/* store returned; a killed process keeps these */
	uint64_t high;			/* the same, or one more is under way */
	uint64_t acknowledged;		/* a power loss keeps these */
	uint64_t published;		/* any Zarr reader sees these */
	uint64_t truncate_to;		/* truncate is under way; or SIM_NEVER */
	bool rebooted;			/* the power was lost since store returned */
};

uint64_t sim_mix(uint64_t x);
/* 0 .. n - 1, and the next state */
uint64_t sim_below(uint64_t *state, uint64_t n);

/* The bits of a value, of a time; the iteration number; the state's bytes and size. */
uint64_t sim_value(const struct sim_store *store, uint64_t index, uint64_t d, uint64_t n);
uint64_t sim_time(const struct sim_store *store, uint64_t index);
uint64_t sim_iteration(const struct sim_store *store, uint64_t index);
size_t sim_state(const struct sim_store *store, uint64_t index, unsigned char bytes[SIM_STATE]);
/* The snapshot as the caller of store has it. */
void sim_snapshot(const struct sim_store *store, uint64_t index, enum sde_layout layout, void *out);

/* A new one, never given out before: what was found out at another says nothing. */
uint64_t sim_version(void);
/* The next snapshot is about to be stored. */
void sim_store_next(struct sim_store *store);
/* There are exactly this many, and all of them are safe. */
void sim_store_settle(struct sim_store *store, uint64_t snapshots);
/* May there be so many after the process was killed, or the power lost? */
bool sim_store_allows(const struct sim_store *store, bool power, uint64_t snapshots);

/* NULL, or what is wrong with the first value that differs (static). */
const char *sim_store_compare(const struct sim_store *store, struct sde_storage *storage,
			      uint64_t snapshots);

#endif
