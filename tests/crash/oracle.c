/* SPDX-License-Identifier: MIT */
/* Numbers by a hash, and what a store has compared with them: see oracle.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "oracle.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t oracle_mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t oracle_draw(uint64_t *state)
{
	return oracle_mix((*state)++);
}

uint64_t oracle_below(uint64_t *state, uint64_t n)
{
	return oracle_draw(state) % n;
}

static uint64_t hash(const struct oracle *o, uint64_t index, uint64_t a, uint64_t b)
{
	const uint64_t generation = o->generation ? o->generation[index] : 0;

	return oracle_mix(oracle_mix(oracle_mix(index << 20 | generation) + a) + b);
}

static bool is_small(const struct oracle *o)
{
	return o->ensemble.dtype == SDE_FLOAT32;
}

static size_t item_size(const struct oracle *o)
{
	return is_small(o) ? 4 : 8;
}

static uint64_t value_bits(const struct oracle *o, uint64_t index, uint64_t d, uint64_t n)
{
	const uint64_t bits = hash(o, index, d + 1, n);

	return is_small(o) ? bits >> 32 : bits;
}

static void put(const struct oracle *o, void *to, uint64_t at, uint64_t bits)
{
	const uint32_t half = (uint32_t)bits;

	if (is_small(o))
		memcpy((char *)to + 4 * at, &half, 4);
	else
		memcpy((char *)to + 8 * at, &bits, 8);
}

static uint64_t get(const struct oracle *o, const void *from, uint64_t at)
{
	uint32_t half;
	uint64_t bits;

	if (is_small(o)) {
		memcpy(&half, (const char *)from + 4 * at, 4);
		return half;
	}
	memcpy(&bits, (const char *)from + 8 * at, 8);
	return bits;
}

static uint64_t time_bits(const struct oracle *o, uint64_t index)
{
	return hash(o, index, 1000, 0);
}

size_t oracle_bytes(const struct oracle *o)
{
	return (size_t)(o->ensemble.dimension * o->ensemble.trajectories) * item_size(o);
}

void oracle_fill(const struct oracle *o, uint64_t index, enum sde_layout layout, void *to)
{
	const uint64_t dimension = o->ensemble.dimension, width = o->ensemble.trajectories;

	for (uint64_t d = 0; d < dimension; d++)
		for (uint64_t n = 0; n < width; n++)
			put(o, to, layout == SDE_LAYOUT_TRAJECTORY_DIMENSION ?
			    n * dimension + d : d * width + n, value_bits(o, index, d, n));
}

double oracle_time(const struct oracle *o, uint64_t index)
{
	const uint64_t bits = time_bits(o, index);
	double x;

	memcpy(&x, &bits, sizeof(x));
	return x;
}

uint64_t oracle_iteration(const struct oracle *o, uint64_t index)
{
	return o->stride * (hash(o, index, 1001, 0) >> 8);
}

size_t oracle_state(const struct oracle *o, uint64_t index, unsigned char *bytes)
{
	const size_t n = hash(o, index, 1002, 0) % (o->state_capacity + 1);

	for (size_t i = 0; i < n; i++)
		bytes[i] = (unsigned char)hash(o, index, 1003, i);
	return n;
}

int oracle_store(const struct oracle *o, struct sde_storage *storage, uint64_t index,
		 enum sde_layout layout, bool copied, void *values)
{
	unsigned char state[ORACLE_STATE_MAX];
	void *slot;
	int ret = 0;

	if (o->state_capacity)
		ret = sde_storage_set_state(storage, state, oracle_state(o, index, state));
	if (ret)
		return ret;
	if (copied) {
		oracle_fill(o, index, layout, values);
		return sde_storage_store(storage, oracle_time(o, index), values,
					 oracle_iteration(o, index));
	}
	ret = sde_storage_reserve(storage, oracle_iteration(o, index), &slot);
	if (ret)
		return ret;
	oracle_fill(o, index, layout, slot);
	return sde_storage_commit(storage, oracle_time(o, index));
}

/* ------------------------------------------------------------------------
 * Looking
 */

struct complaint {
	char *text;
	size_t size;
};

static bool wrong(const struct complaint *to, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static bool wrong(const struct complaint *to, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(to->text, to->size, format, arguments);
	va_end(arguments);
	return false;
}

static bool series_agree(const struct oracle *o, const struct sde_array *time,
			 const struct sde_array *iteration, uint64_t count,
			 const struct complaint *to)
{
	uint64_t *numbers = calloc(count, sizeof(*numbers));
	struct sde_error error = { 0 };
	bool right = numbers != NULL;

	if (right && (sde_array_shape(time)[0] != count || sde_array_shape(iteration)[0] != count))
		right = wrong(to, "there are %" PRIu64 " times", sde_array_shape(time)[0]);
	if (right && sde_array_read(time, NULL, &count, NULL, numbers, count * 8)) {
		sde_array_error(time, &error);
		right = wrong(to, "time cannot be read: %s", error.text);
	}
	for (uint64_t i = 0; right && i < count; i++)
		if (numbers[i] != time_bits(o, i))
			right = wrong(to, "time %" PRIu64 " is %" PRIx64 ", not %" PRIx64, i,
				      numbers[i], time_bits(o, i));
	if (right && sde_array_read(iteration, NULL, &count, NULL, numbers, count * 8)) {
		sde_array_error(iteration, &error);
		right = wrong(to, "iteration cannot be read: %s", error.text);
	}
	for (uint64_t i = 0; right && i < count; i++)
		if (numbers[i] != oracle_iteration(o, i))
			right = wrong(to, "iteration %" PRIu64 " is wrong", i);
	free(numbers);
	return right;
}

static bool data_agree(const struct oracle *o, const struct sde_array *data, uint64_t count,
		       const struct complaint *to)
{
	const uint64_t dimension = o->ensemble.dimension, width = o->ensemble.trajectories;
	const uint64_t counts[3] = { dimension, width, count };
	const size_t bytes = oracle_bytes(o) * (size_t)count;
	struct sde_error error = { 0 };
	void *values = malloc(bytes);
	bool right = values != NULL;

	if (right && sde_array_read(data, NULL, counts, NULL, values, bytes)) {
		sde_array_error(data, &error);
		right = wrong(to, "data cannot be read: %s", error.text);
	}
	for (uint64_t d = 0; right && d < dimension; d++)
		for (uint64_t n = 0; right && n < width; n++)
			for (uint64_t i = 0; right && i < count; i++) {
				const uint64_t is = get(o, values, (d * width + n) * count + i);

				if (is != value_bits(o, i, d, n))
					right = wrong(to, "data[%" PRIu64 ", %" PRIu64 ", %" PRIu64
						      "] is %" PRIx64 ", not %" PRIx64, d, n, i, is,
						      value_bits(o, i, d, n));
			}
	free(values);
	return right;
}

static bool state_agrees(const struct oracle *o, struct sde_storage *storage, uint64_t index,
			 const struct complaint *to)
{
	unsigned char is[ORACLE_STATE_MAX], wanted[ORACLE_STATE_MAX];
	const size_t size = oracle_state(o, index, wanted);
	size_t n = sizeof(is);
	const int ret = sde_storage_state(storage, is, &n);

	if (ret != (size ? 0 : SDE_E_NO_DATA))
		return wrong(to, "the state gives %d: %s", ret, sde_strerror(ret));
	if (n != size || memcmp(is, wanted, size))
		return wrong(to, "the state is not that of snapshot %" PRIu64, index);
	return true;
}

bool oracle_agrees(const struct oracle *o, struct sde_storage *storage, uint64_t count, char *why,
		   size_t size)
{
	struct sde_array *time = NULL, *data = NULL, *iteration = NULL;
	const struct complaint to = { why, size };
	struct sde_error error = { 0 };
	bool right = true;
	int ret;

	snprintf(why, size, "out of memory");
	ret = sde_storage_values(storage, &time, &data);
	if (!count)
		return ret == SDE_E_NO_DATA || wrong(&to, "values of nothing give %d", ret);
	if (!ret)
		ret = sde_storage_iterations(storage, &iteration);
	if (ret) {
		sde_storage_error(storage, &error);
		right = wrong(&to, "there are no values: %s", error.text);
	}
	if (right && sde_array_shape(data)[2] != count)
		right = wrong(&to, "there are %" PRIu64 " snapshots, not %" PRIu64,
			      sde_array_shape(data)[2], count);
	right = right && series_agree(o, time, iteration, count, &to) &&
		data_agree(o, data, count, &to) && state_agrees(o, storage, count - 1, &to);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	return right;
}
