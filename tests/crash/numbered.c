/* SPDX-License-Identifier: MIT */
/* Numbers from arithmetic, stored and compared: see numbered.h. */
#include "numbered.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t numbered_draw(uint64_t *state)
{
	return mix((*state)++);
}

uint64_t numbered_below(uint64_t *state, uint64_t n)
{
	return numbered_draw(state) % n;
}

static uint64_t hash(const struct numbered *numbers, uint64_t index, uint64_t a, uint64_t b)
{
	return mix(mix(mix(index << 20 | numbers->generation[index]) + a) + b);
}

static uint64_t value_bits(const struct numbered *numbers, uint64_t index, uint64_t d, uint64_t n)
{
	const uint64_t bits = hash(numbers, index, d + 1, n);

	return numbers->ensemble.dtype == SDE_FLOAT32 ? bits >> 32 : bits;
}

static uint64_t time_bits(const struct numbered *numbers, uint64_t index)
{
	return hash(numbers, index, 1000, 0);
}

static uint64_t iteration_of(const struct numbered *numbers, uint64_t index)
{
	return numbers->stride * (hash(numbers, index, 1001, 0) >> 8);
}

static size_t item_size(const struct numbered *numbers)
{
	return numbers->ensemble.dtype == SDE_FLOAT32 ? 4 : 8;
}

static void fill(const struct numbered *numbers, enum sde_layout layout, uint64_t index,
		 unsigned char *to)
{
	const uint64_t dimension = numbers->ensemble.dimension;
	const uint64_t width = numbers->ensemble.trajectories;
	const size_t item = item_size(numbers);

	for (uint64_t d = 0; d < dimension; d++)
		for (uint64_t n = 0; n < width; n++) {
			const uint64_t at = layout == SDE_LAYOUT_TRAJECTORY_DIMENSION ?
					    n * dimension + d : d * width + n;
			const uint64_t bits = value_bits(numbers, index, d, n);

			/* little-endian: the low half comes first */
			memcpy(to + at * item, &bits, item);
		}
}

int numbered_store(const struct numbered *numbers, struct sde_storage *storage,
		   enum sde_layout layout, uint64_t index, bool reserve)
{
	const uint64_t bits = time_bits(numbers, index), iteration = iteration_of(numbers, index);
	void *slot = NULL;
	double time;
	int ret;

	memcpy(&time, &bits, sizeof(time));
	if (reserve) {
		ret = sde_storage_reserve(storage, iteration, &slot);
		if (ret)
			return ret;
		fill(numbers, layout, index, slot);
		return sde_storage_commit(storage, time);
	}
	slot = malloc((size_t)(numbers->ensemble.dimension * numbers->ensemble.trajectories) *
		      item_size(numbers));
	if (!slot)
		return -12;
	fill(numbers, layout, index, slot);
	ret = sde_storage_store(storage, time, slot, iteration);
	free(slot);
	return ret;
}

static bool wrong(char *why, size_t size, const char *what, uint64_t index)
{
	snprintf(why, size, "%s %" PRIu64 " is wrong", what, index);
	return false;
}

static bool check_series(const struct numbered *numbers, struct sde_storage *storage,
			 uint64_t count, char *why, size_t why_size)
{
	uint64_t *column = calloc(2 * count, sizeof(*column));
	struct sde_array *time = NULL, *iteration = NULL;
	struct sde_error error = { 0 };
	bool right = true;

	if (!column || sde_storage_values(storage, &time, NULL) ||
	    sde_storage_iterations(storage, &iteration))
		sde_storage_error(storage, &error);
	else if (sde_array_read(time, NULL, &count, NULL, column, count * 8))
		sde_array_error(time, &error);
	else if (sde_array_read(iteration, NULL, &count, NULL, column + count, count * 8))
		sde_array_error(iteration, &error);
	if (!column || error.code) {
		snprintf(why, why_size, "the series: %.200s", error.text);
		right = false;
	}
	for (uint64_t i = 0; i < count && right; i++) {
		if (column[i] != time_bits(numbers, i))
			right = wrong(why, why_size, "time", i);
		else if (column[count + i] != iteration_of(numbers, i))
			right = wrong(why, why_size, "iteration", i);
	}
	sde_array_close(time);
	sde_array_close(iteration);
	free(column);
	return right;
}

static bool check_values(const struct numbered *numbers, const unsigned char *values,
			 uint64_t count, char *why, size_t why_size)
{
	const uint64_t dimension = numbers->ensemble.dimension;
	const uint64_t width = numbers->ensemble.trajectories;
	const size_t item = item_size(numbers);

	for (uint64_t d = 0; d < dimension; d++)
		for (uint64_t n = 0; n < width; n++)
			for (uint64_t i = 0; i < count; i++) {
				const uint64_t bits = value_bits(numbers, i, d, n);

				if (memcmp(values + ((d * width + n) * count + i) * item, &bits, item))
					return wrong(why, why_size, "snapshot", i);
			}
	return true;
}

bool numbered_check(const struct numbered *numbers, struct sde_storage *storage, uint64_t count,
		    char *why, size_t why_size)
{
	const uint64_t counts[3] = { numbers->ensemble.dimension, numbers->ensemble.trajectories,
				     count };
	const size_t bytes = (size_t)(counts[0] * counts[1] * count) * item_size(numbers);
	struct sde_array *data = NULL;
	struct sde_error error = { 0 };
	unsigned char *values;
	bool right = false;

	if (!count)
		return true;
	if (!check_series(numbers, storage, count, why, why_size))
		return false;
	values = malloc(bytes);
	if (!values || sde_storage_values(storage, NULL, &data))
		sde_storage_error(storage, &error);
	else if (sde_array_read(data, NULL, counts, NULL, values, bytes))
		sde_array_error(data, &error);
	else
		right = check_values(numbers, values, count, why, why_size);
	if (error.code)
		snprintf(why, why_size, "the data: %.200s", error.text);
	sde_array_close(data);
	free(values);
	return right;
}
