/* SPDX-License-Identifier: MIT */
/*
 * Walking over arrays: every number once and at its place, whatever the backend,
 * the selection and the number of threads; what the function returns ends it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"
#include "twin.h"

#include <sdestore/backend.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"

enum { D = 2, N = 20, T = 16, WIDTH = 8 };

/* What a walk showed: the selection in C order, and how often each number came. */
struct seen {
	size_t item;
	uint64_t start[3], count[3];	/* of the selection */
	unsigned char *bytes;
	unsigned *times;
	unsigned threads;
	bool ordered, whole;
	pthread_mutex_t lock;
	uint64_t blocks, last[2];	/* chunk and inner chunk of the block before */
	uint64_t stop_at;		/* this block stops; 0: none */
	const char *wrong;
};

static void take_number(struct seen *seen, const struct sde_block *block, const uint64_t at[3])
{
	uint64_t place = 0;

	for (int i = 0; i < 3; i++) {
		if (block->start[i] + at[i] < seen->start[i] ||
		    block->start[i] + at[i] >= seen->start[i] + seen->count[i]) {
			seen->wrong = "a number that was not selected";
			return;
		}
		place = place * seen->count[i] + block->start[i] + at[i] - seen->start[i];
	}
	memcpy(seen->bytes + place * seen->item,
	       (const char *)block->data + (int64_t)at[0] * block->strides[0] +
	       (int64_t)at[1] * block->strides[1] + (int64_t)at[2] * block->strides[2], seen->item);
	seen->times[place]++;
}

static int see(void *ctx, const struct sde_block *block)
{
	struct seen *seen = ctx;
	const uint64_t chunk = block->start[2] / T, inner = block->start[1] / WIDTH;
	uint64_t at[3];
	int ret = 0;

	pthread_mutex_lock(&seen->lock);
	if (block->thread >= (seen->threads ? seen->threads : 1))
		seen->wrong = "a thread's number";
	if (seen->ordered && seen->blocks &&
	    (chunk < seen->last[0] || (chunk == seen->last[0] && inner <= seen->last[1])))
		seen->wrong = "not in the order of storage";
	if (seen->whole && (block->start[1] != seen->start[1] || block->count[1] != seen->count[1]))
		seen->wrong = "not all trajectories";
	seen->last[0] = chunk;
	seen->last[1] = inner;
	for (at[0] = 0; at[0] < block->count[0]; at[0]++)
		for (at[1] = 0; at[1] < block->count[1]; at[1]++)
			for (at[2] = 0; at[2] < block->count[2]; at[2]++)
				take_number(seen, block, at);
	if (++seen->blocks == seen->stop_at)
		ret = 4711;
	pthread_mutex_unlock(&seen->lock);
	return ret;
}

/* Walk over a selection, and hold it against what a read gives. */
static void walk_and_compare(const struct sde_array *array, const uint64_t *start,
			     const uint64_t *count, unsigned threads, int whole, bool ordered)
{
	struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;
	struct seen seen = { .threads = threads, .ordered = ordered, .whole = whole != 0,
			     .count = { 1, 1, 1 }, .lock = PTHREAD_MUTEX_INITIALIZER };
	size_t n = 1;
	unsigned char *expected;

	seen.item = sde_array_dtype(array) == SDE_FLOAT32 ? 4 : 8;
	for (unsigned i = 0; i < sde_array_ndim(array); i++) {
		seen.start[i] = start ? start[i] : 0;
		seen.count[i] = count ? count[i] : sde_array_shape(array)[i];
		n *= seen.count[i];
	}
	/* one more: a selection may be empty */
	seen.bytes = calloc(n + 1, seen.item);
	seen.times = calloc(n + 1, sizeof(*seen.times));
	expected = malloc((n + 1) * seen.item);
	options.threads = threads;
	options.start = start;
	options.count = count;
	options.whole_snapshots = whole;
	assert_int_equal(sde_array_walk(array, &options, see, &seen), 0);
	if (seen.wrong)
		fail_msg("%s", seen.wrong);
	assert_int_equal(sde_array_read(array, start, count, NULL, expected, n * seen.item), 0);
	assert_memory_equal(seen.bytes, expected, n * seen.item);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(seen.times[i], 1);
	free(seen.bytes);
	free(seen.times);
	free(expected);
}

static void walk_all_ways(struct sde_array *array, bool chunked, uint64_t *seed)
{
	const unsigned ndim = sde_array_ndim(array);
	uint64_t start[3] = { 0 }, count[3] = { 0 };

	for (unsigned threads = 0; threads < 4; threads++)
		for (int whole = 0; whole < 2; whole++) {
			const bool ordered = chunked && threads < 2;

			walk_and_compare(array, NULL, NULL, threads, whole && ndim == 3, ordered);
			for (int i = 0; i < 10; i++) {
				for (unsigned k = 0; k < ndim; k++) {
					start[k] = twin_below(seed, sde_array_shape(array)[k]);
					count[k] = 1 + twin_below(seed, sde_array_shape(array)[k] -
								  start[k]);
				}
				walk_and_compare(array, start, count, threads, whole && ndim == 3,
						 ordered);
			}
		}
}

static struct sde_storage *stored(struct twin *twin, unsigned format, enum sde_dtype dtype)
{
	const struct sde_ensemble ensemble = { D, N, dtype };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	options.chunk_size = T;
	options.trajectories_per_chunk = WIDTH;
	options.zarr_format = format;
	options.overwrite = 1;
	twin_assert_ok(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error),
		       error.text);
	twin_init(twin, &ensemble, 1, 5);
	return storage;
}

static void walk_storage(struct sde_storage *storage, bool chunked)
{
	struct sde_array *time, *data, *iteration;
	uint64_t seed = 3;

	twin_assert_ok(sde_storage_arrays(storage, &time, &data, &iteration),
		       twin_sentence(storage));
	walk_all_ways(data, chunked, &seed);
	walk_all_ways(time, false, &seed);
	walk_all_ways(iteration, false, &seed);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
}

/* Full chunks, a partial one in a file, more in the ring; then closed. */
static void a_walk_over_a_store_sees_every_number_once(void **state)
{
	struct sde_storage *w, *r;
	struct twin twin;

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		w = stored(&twin, format, format == 2 ? SDE_FLOAT32 : SDE_FLOAT64);
		twin_store(&twin, w, 3 * T + 5);
		assert_int_equal(sde_storage_save(w), 0);
		twin_store(&twin, w, 6);
		walk_storage(w, true);
		assert_int_equal(sde_storage_open(&r, PATH, NULL, NULL), 0);
		walk_storage(r, true);
		assert_int_equal(sde_storage_close(r), 0);
		assert_int_equal(sde_storage_close(w), 0);
		assert_int_equal(sde_storage_open(&r, PATH, NULL, NULL), 0);
		walk_storage(r, true);
		assert_int_equal(sde_storage_close(r), 0);
		twin_free(&twin);
	}
}

static void so_does_one_over_memory_and_over_files(void **state)
{
	const struct sde_ensemble ensemble = { D, N, SDE_FLOAT64 };
	struct sde_numpy_options options = SDE_NUMPY_OPTIONS_INIT;
	struct sde_storage *storage, *r;
	struct sde_error error = { 0 };
	struct twin twin;

	(void)state;
	options.save_directory = "run";
	twin_assert_ok(sde_numpy_storage_create(&storage, &ensemble, &options, &error), error.text);
	twin_init(&twin, &ensemble, 1, 11);
	twin_store(&twin, storage, 50);
	walk_storage(storage, false);
	assert_int_equal(sde_storage_close(storage), 0);
	assert_int_equal(sde_storage_open(&r, "run.npz", NULL, NULL), 0);
	walk_storage(r, false);
	assert_int_equal(sde_storage_close(r), 0);
	twin_free(&twin);
}

/* More than one block, of memory in any order of axes. */
static void large_memory_is_cut_along_its_slowest_axis(void **state)
{
	const uint64_t shape[3] = { 3, 70, 1000 };
	const int64_t orders[3][3] = {
		{ 70 * 1000 * 8, 1000 * 8, 8 }, { 70 * 8, 8, 3 * 70 * 8 }, { 8, 3 * 1000 * 8, 3 * 8 },
	};
	const size_t n = 3 * 70 * 1000;
	double *memory = malloc(n * sizeof(*memory));
	struct sde_array *array;

	(void)state;
	for (size_t i = 0; i < n; i++)
		memory[i] = (double)i;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sde_array_wrap(&array, memory, SDE_FLOAT64, 3, shape, orders[i], NULL,
						NULL), 0);
		walk_and_compare(array, NULL, NULL, 0, 0, false);
		walk_and_compare(array, NULL, NULL, 3, 0, false);
		walk_and_compare(array, NULL, NULL, 2, 1, false);
		sde_array_close(array);
	}
	free(memory);
}

static void what_the_function_returns_ends_the_walk(void **state)
{
	struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;
	struct sde_storage *w;
	struct sde_array *data;
	struct twin twin;

	(void)state;
	w = stored(&twin, 3, SDE_FLOAT64);
	twin_store(&twin, w, 5 * T);
	assert_int_equal(sde_storage_values(w, NULL, &data), 0);
	for (unsigned threads = 1; threads < 5; threads++) {
		struct seen seen = { .item = 8, .count = { D, N, 5 * T }, .threads = threads,
				     .lock = PTHREAD_MUTEX_INITIALIZER, .stop_at = 4 };

		seen.bytes = calloc(D * N * 5 * T, 8);
		seen.times = calloc(D * N * 5 * T, sizeof(*seen.times));
		options.threads = threads;
		assert_int_equal(sde_array_walk(data, &options, see, &seen), 4711);
		assert_true(seen.blocks >= 4 && seen.blocks < 4 + threads);
		assert_int_equal(sde_array_error(data, NULL), 0);
		free(seen.bytes);
		free(seen.times);
	}
	sde_array_close(data);
	assert_int_equal(sde_storage_close(w), 0);
	twin_free(&twin);
}

static int never(void *ctx, const struct sde_block *block)
{
	(void)block;
	++*(unsigned *)ctx;
	return 0;
}

static void bad_walks_are_refused(void **state)
{
	struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;
	const uint64_t outside[3] = { 0, 0, T + 1 }, none[3] = { D, 0, T }, much[3] = { D, N + 1, T };
	struct sde_error error = { 0 };
	struct sde_storage *w;
	struct sde_array *data;
	struct twin twin;
	unsigned calls = 0;

	(void)state;
	w = stored(&twin, 3, SDE_FLOAT64);
	twin_store(&twin, w, T);
	assert_int_equal(sde_storage_values(w, NULL, &data), 0);
	assert_int_equal(sde_array_walk(NULL, NULL, never, &calls), -EINVAL);
	assert_int_equal(sde_array_walk(data, NULL, NULL, NULL), -EINVAL);
	options.start = outside;
	assert_int_equal(sde_array_walk(data, &options, never, &calls), -ERANGE);
	options.start = NULL;
	options.count = much;
	assert_int_equal(sde_array_walk(data, &options, never, &calls), -ERANGE);
	options.count = none;
	assert_int_equal(sde_array_walk(data, &options, never, &calls), 0);
	options.count = NULL;
	options.threads = 257;
	assert_int_equal(sde_array_walk(data, &options, never, &calls), -EINVAL);
	sde_array_error(data, &error);
	twin_assert_sentence(error.text, "threads", "257");
	options.threads = 0;
	options.size = 4;
	assert_int_equal(sde_array_walk(data, &options, never, &calls), -EINVAL);
	assert_int_equal(calls, 0);
	sde_array_close(data);
	assert_int_equal(sde_storage_close(w), 0);
	twin_free(&twin);
}

static void a_missing_chunk_ends_the_walk_with_its_name(void **state)
{
	struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *w;
	struct sde_array *data;
	struct twin twin;
	unsigned calls = 0;

	(void)state;
	w = stored(&twin, 3, SDE_FLOAT64);
	twin_store(&twin, w, 5 * T);
	assert_int_equal(sde_storage_close(w), 0);
	assert_int_equal(unlink(PATH "/data/c/0/0/2"), 0);
	/* a handle of the writer would find it in the ring */
	assert_int_equal(sde_storage_open(&w, PATH, NULL, NULL), 0);
	assert_int_equal(sde_storage_values(w, NULL, &data), 0);
	assert_int_equal(sde_storage_close(w), 0);
	for (int whole = 0; whole < 2; whole++) {
		options.whole_snapshots = whole;
		calls = 0;
		assert_int_equal(sde_array_walk(data, &options, never, &calls), SDE_E_HOLE);
		assert_int_equal(calls, whole ? 2 : 6);
		sde_array_error(data, &error);
		twin_assert_sentence(error.text, PATH, "c/0/0/2");
	}
	sde_array_close(data);
	twin_free(&twin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_walk_over_a_store_sees_every_number_once),
		SCRATCH_TEST(so_does_one_over_memory_and_over_files),
		cmocka_unit_test(large_memory_is_cut_along_its_slowest_axis),
		SCRATCH_TEST(what_the_function_returns_ends_the_walk),
		SCRATCH_TEST(bad_walks_are_refused),
		SCRATCH_TEST(a_missing_chunk_ends_the_walk_with_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
