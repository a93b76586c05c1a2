/* SPDX-License-Identifier: MIT */
/*
 * Samples of crash states for other people's readers: with SDE_TEST_EXPORT=directory
 * in the environment, one in SDE_TEST_EXPORT_EVERY (97) states is written there,
 *
 *	<number>.<when>.zarr		the store as it was published in that state,
 *	<number>.<when>.expected	and what must be read from it: a line of text
 *			"format published dimension trajectories item-size", then the
 *			bits of time, iteration and data, in C order
 *
 * before its recovery and after it. tests/interop/power_loss.sh reads them.
 */
#ifndef SDE_TESTS_CRASH_SIM_SAMPLE_H
#define SDE_TESTS_CRASH_SIM_SAMPLE_H

#include "sim_fs.h"
#include "sim_oracle.h"

/* Is the state of this number to be written? */
bool sim_is_sample(uint64_t number);

/* NULL, or what went wrong (static). */
const char *sim_sample(const struct sim *sim, const char *path, const struct sim_store *store,
		       uint64_t published, uint64_t number, const char *when);

#endif
