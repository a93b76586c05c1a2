/* SPDX-License-Identifier: MIT */
/*
 * Runs of the library in a simulated file system, crashed at every event.
 *
 * A run is a life of one store and its successors, decided by a seed and a kind:
 * create, store, save, sync, truncate, close, resume, crashes, overwrite. The
 * publisher is synchronous; its steps are taken where the seed says, also in the
 * middle of a copy, as if a thread had. Before each event of it some crash states
 * are made (sim_crash), each with a number, and each is examined: sim_examine.h.
 *
 * What fails, fails the running cmocka test, with the command that repeats it.
 */
#ifndef SDE_TESTS_CRASH_SIM_RUN_H
#define SDE_TESTS_CRASH_SIM_RUN_H

#include "sim_fs.h"
#include "sim_oracle.h"
#include "zarr_storage.h"

#define SIM_PATH "runs/run.zarr"

/* The seed decides at create and at each resume, among all policies, none too. */
#define SIM_SYNC_MIXED ((enum sde_sync)-1)

/* What a run does, besides what its seed decides. */
struct sim_kind {
	const char *name;		/* one word: in SDE_TEST_STATE */
	unsigned zarr_format;
	enum sde_sync sync;		/* DEFAULT: the seed decides, among all but none */
	unsigned operations;		/* of a random life; 0: the script */
	unsigned dense;			/* one in so many possible states is examined */
	unsigned nested;		/* in one of so many, recovery is crashed as well */
	bool faults;			/* syncs fail now and then */
};

/* Where a state comes from; for messages and for replaying. */
struct sim_place {
	const struct sim_kind *kind;
	uint64_t seed, state, nested;
	const char *operation, *call, *loss, *nested_call, *nested_loss;
};

struct sim_run {
	const struct sim_kind *kind;
	uint64_t seed, dice;		/* the run's; what is drawn from next */
	struct sim *sim;
	struct sde__zarr_hooks hooks;
	struct sde__publisher *publisher;	/* NULL: none */
	struct sde_storage *storage;		/* NULL: closed */
	struct sde_zarr_options options;
	struct sim_store store, old;
	char attributes[32];
	unsigned dense;			/* as kind's, or less */
	bool creating;			/* the store may not be there yet */
	bool replacing;			/* `old` may be there instead */
	bool stepping, probing;
	struct sde_storage *view;		/* a reader that was opened before; or NULL */
	uint64_t viewed;			/* how many snapshots it saw then */
	const char *operation;
	/* a crash in the middle of an operation, to go on from */
	uint64_t grab_at;
	struct sim *grabbed;
	struct sim_store grabbed_store;
	/* what was examined, and what is to be */
	uint64_t states;		/* of this run */
	uint64_t budget;		/* of sim_totals.states: it ends early */
	uint64_t only, only_nested;	/* SIM_NEVER: all; 0 of only_nested: none */
};

/* What all runs together did. */
struct sim_totals {
	uint64_t runs, events, states, by_loss[SIM_LOSSES], nested, live, resumed, exported;
	uint64_t faults, crashes;
};
extern struct sim_totals sim_totals;

/* One run; examines at most `budget` states. Replays one if SDE_TEST_STATE says so. */
void sim_run(const struct sim_kind *kind, uint64_t seed, uint64_t budget);

/* A failure at a place: prints how to repeat it, and fails the test. */
_Noreturn void sim_fail(const struct sim_place *place, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
