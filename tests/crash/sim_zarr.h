/* SPDX-License-Identifier: MIT */
/*
 * A Zarr reader of its own, for the stores in a simulated file system: what any
 * program that knows the Zarr specification, and nothing of this library, sees.
 * JSON by jansson, chunks by liblz4 and libblosc; nothing of lib/ but CRC-32C.
 *
 * Checked are: every document is JSON and says what its array is; the lengths in
 * the consolidated metadata are equal, and no array's own is shorter; of every array
 * each chunk below its own length is there, its checksums hold, and each value is
 * the oracle's.
 */
#ifndef SDE_TESTS_CRASH_SIM_ZARR_H
#define SDE_TESTS_CRASH_SIM_ZARR_H

#include "sim_fs.h"
#include "sim_oracle.h"

/* The attribute "id" of the store at `path`; 0: there is none, or no such attribute. */
uint64_t sim_zarr_id(const struct sim *sim, const char *path);

/* NULL, or what is wrong (static). *published is the consolidated length. */
const char *sim_zarr_check(const struct sim *sim, const char *path, const struct sim_store *store,
			   uint64_t *published);

#endif
