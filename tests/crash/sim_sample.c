/* SPDX-License-Identifier: MIT */
/* Writing samples of crash states for other readers: see sim_sample.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sim_sample.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sim_is_sample(uint64_t number)
{
	const char *every = getenv("SDE_TEST_EXPORT_EVERY");
	const uint64_t n = every ? strtoull(every, NULL, 10) : 97;

	return getenv("SDE_TEST_EXPORT") && number % (n ? n : 1) == 0;
}

static void write_numbers(FILE *out, const struct sim_store *store, uint64_t published)
{
	const size_t item = store->ensemble.dtype == SDE_FLOAT32 ? 4 : 8;
	uint64_t bits;

	for (uint64_t i = 0; i < published; i++) {
		bits = sim_time(store, i);
		fwrite(&bits, 8, 1, out);
	}
	for (uint64_t i = 0; i < published; i++) {
		bits = sim_iteration(store, i);
		fwrite(&bits, 8, 1, out);
	}
	for (uint64_t d = 0; d < store->ensemble.dimension; d++)
		for (uint64_t n = 0; n < store->ensemble.trajectories; n++)
			for (uint64_t i = 0; i < published; i++) {
				bits = sim_value(store, i, d, n);
				fwrite(&bits, item, 1, out);
			}
}

const char *sim_sample(const struct sim *sim, const char *path, const struct sim_store *store,
		       uint64_t published, uint64_t number, const char *when)
{
	char name[512];
	FILE *out;
	int ret;

	snprintf(name, sizeof(name), "%s/%" PRIu64 ".%s.zarr", getenv("SDE_TEST_EXPORT"), number, when);
	if (sim_export(sim, path, name))
		return "the sample's store cannot be written";
	snprintf(name, sizeof(name), "%s/%" PRIu64 ".%s.expected", getenv("SDE_TEST_EXPORT"), number,
		 when);
	out = fopen(name, "wb");
	if (!out)
		return "the sample's numbers cannot be written";
	fprintf(out, "%u %" PRIu64 " %" PRIu64 " %" PRIu64 " %d\n", store->zarr_format, published,
		store->ensemble.dimension, store->ensemble.trajectories,
		store->ensemble.dtype == SDE_FLOAT32 ? 4 : 8);
	write_numbers(out, store, published);
	ret = ferror(out);
	return fclose(out) || ret ? "the sample's numbers cannot be written" : NULL;
}
