/* SPDX-License-Identifier: MIT */
/*
 * One crash state, examined: is it what the promises say?
 *
 *	what is published, by a reader of our own (sim_zarr.h)
 *	the read-only view of it
 *	recovery, also into another number of segments, another layout
 *	recovery crashed at events of its own, and begun again
 *	recovery done twice
 *	what is stored behind it, and close
 */
#ifndef SDE_TESTS_CRASH_SIM_EXAMINE_H
#define SDE_TESTS_CRASH_SIM_EXAMINE_H

#include "sim_run.h"

/*
 * `sim` is consumed. What the store at SIM_PATH must hold is in run->store (or
 * run->old); `seed` decides what is done to the state.
 */
void sim_examine(const struct sim_run *run, struct sim *sim, enum sim_loss loss, uint64_t seed,
		 struct sim_place *place);

/*
 * Readers of the running store, in the middle of whatever its writer does: one that
 * opens it now, and one that did so long ago and still reads what it saw then.
 */
void sim_examine_live(struct sim_run *run, struct sim_place *place);

/* Options for resuming: what is free to choose, chosen by the seed. */
void sim_free_options(struct sde_zarr_options *options, uint64_t *dice);

#endif
