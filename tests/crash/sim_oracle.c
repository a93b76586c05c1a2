/* SPDX-License-Identifier: MIT */
/* The arithmetic of what a store must hold: see sim_oracle.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sim_oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014). */
uint64_t sim_mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t sim_below(uint64_t *state, uint64_t n)
{
	return sim_mix((*state)++) % n;
}

static uint64_t hash(const struct sim_store *store, uint64_t index, uint64_t thing)
{
	return sim_mix(store->id << 48 ^ (uint64_t)store->generation[index] << 32 ^ index << 16 ^ thing);
}

uint64_t sim_value(const struct sim_store *store, uint64_t index, uint64_t d, uint64_t n)
{
	const uint64_t bits = hash(store, index, d << 8 | n);

	return store->ensemble.dtype == SDE_FLOAT32 ? bits >> 32 : bits;
}

uint64_t sim_time(const struct sim_store *store, uint64_t index)
{
	return hash(store, index, 0xf001);
}

uint64_t sim_iteration(const struct sim_store *store, uint64_t index)
{
	return (hash(store, index, 0xf002) >> 8) * store->stride;
}

size_t sim_state(const struct sim_store *store, uint64_t index, unsigned char bytes[SIM_STATE])
{
	const size_t n = hash(store, index, 0xf003) % (store->state_capacity + 1);

	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)hash(store, index, 0xf100 + i);
	return n;
}

void sim_snapshot(const struct sim_store *store, uint64_t index, enum sde_layout layout, void *out)
{
	const uint64_t dimension = store->ensemble.dimension, width = store->ensemble.trajectories;

	for (uint64_t d = 0; d < dimension; d++) {
		for (uint64_t n = 0; n < width; n++) {
			const uint64_t at = layout == SDE_LAYOUT_TRAJECTORY_DIMENSION ?
					    n * dimension + d : d * width + n;
			const uint64_t bits = sim_value(store, index, d, n);
			const uint32_t half = (uint32_t)bits;

			if (store->ensemble.dtype == SDE_FLOAT32)
				memcpy((char *)out + 4 * at, &half, 4);
			else
				memcpy((char *)out + 8 * at, &bits, 8);
		}
	}
}

uint64_t sim_version(void)
{
	static uint64_t version;

	return ++version;
}

void sim_store_next(struct sim_store *store)
{
	store->generation[store->returned] = ++store->now;
	store->version = sim_version();
	store->high = store->returned + 1;
}

void sim_store_settle(struct sim_store *store, uint64_t snapshots)
{
	store->returned = store->high = snapshots;
	store->acknowledged = store->durable ? snapshots : 0;
	store->published = snapshots;
	store->truncate_to = SIM_NEVER;
	store->rebooted = false;
}

bool sim_store_allows(const struct sim_store *store, bool power, uint64_t snapshots)
{
	const uint64_t low = power || store->rebooted ? store->acknowledged : store->returned;

	return snapshots == store->truncate_to || (snapshots >= low && snapshots <= store->high);
}

/* ------------------------------------------------------------------------
 * Comparing
 */

static char difference[512];

static const char *differs(const char *what, uint64_t index, const char *why)
{
	snprintf(difference, sizeof(difference), "%s of snapshot %" PRIu64 " is wrong%s%s", what,
		 index, *why ? ": " : "", why);
	return difference;
}

static const char *compare_columns(const struct sim_store *store, struct sde_array *time,
				   struct sde_array *iteration, uint64_t count)
{
	static uint64_t bits[SIM_SNAPSHOTS];
	struct sde_error why = { 0 };

	if (sde_array_shape(time)[0] != count || sde_array_shape(iteration)[0] != count)
		return differs("number", count, "");
	if (sde_array_read(time, NULL, NULL, NULL, bits, sizeof(bits))) {
		sde_array_error(time, &why);
		return differs("a time", count, why.text);
	}
	for (uint64_t i = 0; i < count; i++)
		if (bits[i] != sim_time(store, i))
			return differs("time", i, "");
	if (sde_array_read(iteration, NULL, NULL, NULL, bits, sizeof(bits))) {
		sde_array_error(iteration, &why);
		return differs("an iteration", count, why.text);
	}
	for (uint64_t i = 0; i < count; i++)
		if (bits[i] != sim_iteration(store, i))
			return differs("iteration", i, "");
	return NULL;
}

static const char *compare_data(const struct sim_store *store, struct sde_array *data,
				uint64_t count)
{
	static unsigned char bytes[SIM_SNAPSHOTS * SIM_NUMBERS * 8];
	const size_t item = store->ensemble.dtype == SDE_FLOAT32 ? 4 : 8;
	struct sde_error why = { 0 };

	if (sde_array_shape(data)[2] != count)
		return differs("number", count, "");
	if (sde_array_read(data, NULL, NULL, NULL, bytes, sizeof(bytes))) {
		sde_array_error(data, &why);
		return differs("data", count, why.text);
	}
	for (uint64_t d = 0; d < store->ensemble.dimension; d++) {
		for (uint64_t n = 0; n < store->ensemble.trajectories; n++) {
			const unsigned char *row = bytes + (d * store->ensemble.trajectories + n) *
						   count * item;

			for (uint64_t i = 0; i < count; i++) {
				const uint64_t bits = sim_value(store, i, d, n);

				if (memcmp(row + i * item, &bits, item) != 0)
					return differs("data", i, "");
			}
		}
	}
	return NULL;
}

static const char *compare_state(const struct sim_store *store, struct sde_storage *storage,
				 uint64_t count)
{
	unsigned char expected[SIM_STATE], is[SIM_STATE];
	const size_t size = sim_state(store, count - 1, expected);
	size_t n = sizeof(is);
	const int ret = sde_storage_state(storage, is, &n);

	if (!size && ret == SDE_E_NO_DATA)
		return NULL;
	if (!size && !ret)
		return differs("state", count - 1, "there is one");
	return ret || n != size || memcmp(expected, is, n) != 0 ?
	       differs("state", count - 1, sde_strerror(ret)) : NULL;
}

const char *sim_store_compare(const struct sim_store *store, struct sde_storage *storage,
			      uint64_t snapshots)
{
	struct sde_array *time = NULL, *data = NULL, *iteration = NULL;
	struct sde_error why = { 0 };
	const char *wrong;
	int ret;

	ret = sde_storage_values(storage, &time, &data);
	if (!snapshots)
		return ret == SDE_E_NO_DATA ? NULL : differs("number", 0, "");
	if (!ret)
		ret = sde_storage_iterations(storage, &iteration);
	if (ret) {
		sde_storage_error(storage, &why);
		wrong = differs("values", snapshots, why.text);
	} else {
		wrong = compare_columns(store, time, iteration, snapshots);
		if (!wrong)
			wrong = compare_data(store, data, snapshots);
	}
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	return wrong ? wrong : compare_state(store, storage, snapshots);
}
