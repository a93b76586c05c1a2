/* SPDX-License-Identifier: MIT */
/* Decoded inner chunks in both orders, and the reads that choose between them. */
#include "inner.h"
#include "scratch.h"
#include "twin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define T 16

static void a_turned_one_is_the_transpose(void **state)
{
	const uint64_t widths[] = { 1, 2, 7, 8, 9, 16, 31 }, times[] = { 1, 3, 8, 15, 16, 40 };

	(void)state;
	for (unsigned i = 0; i < 7 * 6 * 3 * 2; i++) {
		const struct sde__geometry g = {
			.dimension = 1 + i % 3, .inner_width = widths[i / 3 % 7],
			.chunk_size = times[i / 21 % 6], .dtype = i / 126 ? SDE_FLOAT32 : SDE_FLOAT64,
		};
		const size_t item = sde__dtype_size(g.dtype), bytes = sde__inner_bytes(&g);
		unsigned char *stored = malloc(bytes), *turned = malloc(bytes);
		uint64_t seed = i;

		assert_true(stored && turned);
		for (size_t b = 0; b < bytes; b++)
			stored[b] = (unsigned char)twin_random(&seed);
		sde__inner_turn(&g, stored, turned);
		for (uint64_t d = 0; d < g.dimension; d++)
			for (uint64_t n = 0; n < g.inner_width; n++)
				for (uint64_t t = 0; t < g.chunk_size; t++) {
					const uint64_t row = d * g.inner_width + n;
					const uint64_t column = d * g.chunk_size + t;

					assert_memory_equal(
						turned + (column * g.inner_width + n) * item,
						stored + (row * g.chunk_size + t) * item, item);
				}
		free(stored);
		free(turned);
	}
}

static void the_order_is_that_of_the_longer_runs(void **state)
{
	const struct sde__geometry wide = { .inner_width = 64, .chunk_size = 50,
					    .dtype = SDE_FLOAT64 };
	struct sde__geometry other = wide;

	(void)state;
	assert_int_equal(sde__inner_order_for(&wide, 64, 1), SDE__INNER_TURNED);
	assert_int_equal(sde__inner_order_for(&wide, 8, 7), SDE__INNER_TURNED);
	assert_int_equal(sde__inner_order_for(&wide, 64, 8), SDE__INNER_STORED);
	assert_int_equal(sde__inner_order_for(&wide, 7, 1), SDE__INNER_STORED);
	assert_int_equal(sde__inner_order_for(&wide, 1, 50), SDE__INNER_STORED);
	other.dtype = SDE_FLOAT32;
	assert_int_equal(sde__inner_order_for(&other, 64, 15), SDE__INNER_TURNED);
	assert_int_equal(sde__inner_order_for(&other, 15, 1), SDE__INNER_STORED);
	/* chunks of one snapshot are snapshots already */
	other.chunk_size = 1;
	assert_int_equal(sde__inner_order_for(&other, 64, 1), SDE__INNER_STORED);
}

static void only_a_whole_one_in_its_own_order_is_like_it(void **state)
{
	const struct sde__geometry g = { .dimension = 2, .inner_width = 5, .chunk_size = 3,
					 .dtype = SDE_FLOAT64 };
	const struct sde__geometry one = { .dimension = 1, .inner_width = 5, .chunk_size = 3,
					   .dtype = SDE_FLOAT64 };
	const uint64_t whole[3] = { 2, 5, 3 }, flat[3] = { 1, 5, 3 };
	const int64_t own[3] = { 120, 24, 8 };

	(void)state;
	assert_true(sde__inner_is_like(&g, whole, own));
	assert_true(sde__inner_is_like(&one, flat, (const int64_t[3]){ -8, 24, 8 }));
	for (int i = 0; i < 3; i++) {
		uint64_t count[3] = { 2, 5, 3 };
		int64_t strides[3] = { 120, 24, 8 };

		count[i]--;
		assert_false(sde__inner_is_like(&g, count, own));
		strides[i] += 8;
		assert_false(sde__inner_is_like(&g, whole, strides));
	}
}

/* A selection of the kinds that are kept, turned, passed on, or cut. */
static void choose(uint64_t *seed, const struct twin *twin, uint64_t start[3], uint64_t count[3])
{
	const uint64_t shape[3] = { twin->ensemble.dimension, twin->ensemble.trajectories,
				    twin->count };
	const uint64_t kind = twin_below(seed, 5);

	for (int i = 0; i < 3; i++) {
		start[i] = 0;
		count[i] = shape[i];
	}
	start[2] = twin_below(seed, shape[2]);
	count[2] = kind == 0 ? 1 : 1 + twin_below(seed, shape[2] - start[2]);
	if (kind == 1 || kind == 2) {
		start[1] = twin_below(seed, shape[1]);
		count[1] = kind == 1 ? 1 : 1 + twin_below(seed, shape[1] - start[1]);
	} else if (kind == 3) {
		/* a chunk */
		start[2] = start[2] / T * T;
		count[2] = shape[2] - start[2] < T ? shape[2] - start[2] : T;
	}
}

static void compare(uint64_t *seed, const struct twin *twin, const struct sde_array *data)
{
	const size_t item = twin->ensemble.dtype == SDE_FLOAT32 ? 4 : 8;
	const uint64_t step[3] = { 1, 1, 1 };
	uint64_t start[3], count[3];
	unsigned char *out;
	int64_t strides[3];

	choose(seed, twin, start, count);
	assert_int_equal(twin_read(seed, data, start, count, step, &out, strides), 0);
	for (uint64_t d = 0; d < count[0]; d++)
		for (uint64_t n = 0; n < count[1]; n++)
			for (uint64_t t = 0; t < count[2]; t++)
				assert_memory_equal(
					out + (int64_t)d * strides[0] + (int64_t)n * strides[1] +
						(int64_t)t * strides[2],
					twin->record[start[2] + t]->data +
						((start[0] + d) * twin->ensemble.trajectories +
						 start[1] + n) * item, item);
	free(out);
}

static void mixed_reads(const struct sde_ensemble *ensemble, unsigned threads, bool cached)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_open_options how = SDE_OPEN_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_array *data;
	uint64_t seed = threads;
	struct twin twin;

	options.chunk_size = T;
	options.trajectories_per_chunk = 16;
	options.sync = SDE_SYNC_NONE;
	twin_init(&twin, ensemble, 1, 11);
	assert_int_equal(sde_zarr_storage_create(&storage, PATH, ensemble, &options, NULL), 0);
	twin_store(&twin, storage, 3 * T + 5);
	assert_int_equal(sde_storage_close(storage), 0);
	how.threads = threads;
	how.cache_bytes = cached ? (size_t)1 << 15 : 0;
	assert_int_equal(sde_storage_open(&storage, PATH, &how, NULL), 0);
	assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
	for (int i = 0; i < 400; i++)
		compare(&seed, &twin, data);
	sde_array_close(data);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_free(&twin);
	assert_int_equal(system("rm -r " PATH), 0);
}

/* 48 trajectories are three inner chunks, 50 have a padded one behind them. */
static void whatever_was_read_before_the_numbers_are_the_same(void **state)
{
	const struct sde_ensemble ensembles[] = {
		{ 1, 48, SDE_FLOAT64 }, { 2, 50, SDE_FLOAT64 }, { 1, 16, SDE_FLOAT32 },
		{ 3, 16, SDE_FLOAT32 }, { 2, 50, SDE_FLOAT32 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ensembles) / sizeof(ensembles[0]); i++)
		for (unsigned threads = 1; threads < 4; threads += 2)
			for (int cached = 0; cached < 2; cached++)
				mixed_reads(&ensembles[i], threads, cached);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_turned_one_is_the_transpose),
		cmocka_unit_test(the_order_is_that_of_the_longer_runs),
		cmocka_unit_test(only_a_whole_one_in_its_own_order_is_like_it),
		SCRATCH_TEST(whatever_was_read_before_the_numbers_are_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
