/* SPDX-License-Identifier: MIT */
/*
 * Small stores, whole and right, made in memory by the library itself: what a
 * harness damages. Every number in them is known by its place.
 */
#ifndef SDE_TESTS_FUZZ_TEMPLATE_H
#define SDE_TESTS_FUZZ_TEMPLATE_H

#include "memory_io.h"

#include <sdestore.h>

#define TEMPLATE_PATH "run.zarr"
#define TEMPLATES 10

struct template {
	struct memory_io fs;
	struct sde_ensemble ensemble;
	unsigned format;
	enum sde_codec codec;
	uint64_t chunk_size, snapshots;
	uint64_t inner_count;		/* inner chunks of a chunk */
	uint64_t published;		/* of which so many are in files */
	bool crashed, checksum;
};

/* Made at the first call for each, kept for good. */
const struct template *template_get(unsigned which);

double template_time(uint64_t snapshot);
int64_t template_iteration(uint64_t snapshot);
/* The number as the store's dtype has it. */
double template_value(uint64_t dimension, uint64_t trajectory, uint64_t snapshot);

#endif
