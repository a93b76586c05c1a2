/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out while a store is read, walked over and mapped: each allocation
 * fails in turn, once. What a call gives is right or -ENOMEM with its sentence; what is
 * shown lazily is right or NaN with -ENOMEM noted, never zeros; nothing is left behind,
 * and the next look is right.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_memory.h"
#include "scratch.h"
#include "twin.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PATH "run.zarr"

enum { D = 2, MOST = 20, M = 5 * 128 + 40 };

/* Chunks that are whole pages when they are shown, and such that are not. */
struct shape {
	uint64_t n, width, chunk;
};
static const struct shape shapes[] = { { 20, 8, 128 }, { 7, 4, 125 } };
static uint64_t N;			/* of the shape at hand */

static double x[D * MOST * M];

static double *at(uint64_t d, uint64_t n, uint64_t k)
{
	return &x[(d * N + n) * M + k];
}

static double value(uint64_t d, uint64_t n, uint64_t k)
{
	return (double)((d * N + n) * M + k) + 0.5;
}

static void make(const struct shape *shape)
{
	const struct sde_ensemble ensemble = { D, shape->n, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	double snapshot[D * MOST];

	N = shape->n;
	options.chunk_size = shape->chunk;
	options.trajectories_per_chunk = shape->width;
	options.overwrite = 1;
	twin_assert_ok(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error),
		       error.text);
	for (uint64_t k = 0; k < M; k++) {
		for (uint64_t d = 0; d < D; d++)
			for (uint64_t n = 0; n < N; n++)
				snapshot[d * N + n] = value(d, n, k);
		assert_int_equal(sde_storage_store(storage, (double)k, snapshot, k), 0);
	}
	assert_int_equal(sde_storage_close(storage), 0);
}

/* 0 or -ENOMEM with a sentence; true if 0. */
static bool succeeded(int ret, const struct sde_error *error)
{
	if (!ret)
		return true;
	assert_int_equal(ret, -ENOMEM);
	assert_int_equal(error->code, -ENOMEM);
	twin_assert_sentence(error->text, NULL, NULL);
	return false;
}

static bool array_succeeded(struct sde_array *data, int ret)
{
	struct sde_error error = { 0 };

	if (ret)
		sde_array_error(data, &error);
	return succeeded(ret, &error);
}

static void check_all(void)
{
	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < N; n++)
			for (uint64_t k = 0; k < M; k++)
				assert_true(*at(d, n, k) == value(d, n, k));
}

static int take(void *ctx, const struct sde_block *block)
{
	(void)ctx;
	for (uint64_t i = 0; i < block->count[0]; i++)
		for (uint64_t j = 0; j < block->count[1]; j++)
			for (uint64_t k = 0; k < block->count[2]; k++)
				memcpy(at(block->start[0] + i, block->start[1] + j, block->start[2] + k),
				       (const char *)block->data + (int64_t)i * block->strides[0] +
				       (int64_t)j * block->strides[1] +
				       (int64_t)k * block->strides[2], 8);
	return 0;
}

static void read_and_walk(struct sde_array *data)
{
	struct sde_walk_options walk = SDE_WALK_OPTIONS_INIT;

	memset(x, 0, sizeof(x));
	if (array_succeeded(data, sde_array_read(data, NULL, NULL, NULL, x, sizeof(x))))
		check_all();
	walk.threads = 2;
	for (int whole = 0; whole < 2; whole++) {
		memset(x, 0, sizeof(x));
		walk.whole_snapshots = whole;
		if (array_succeeded(data, sde_array_walk(data, &walk, take, NULL)))
			check_all();
	}
}

static void map(struct sde_array *data, enum sde_paging paging)
{
	const uint64_t start[3] = { 0, 0, M / 2 }, count[3] = { D, N, 10 };
	struct sde_map_options options = SDE_MAP_OPTIONS_INIT;
	int64_t strides[3];
	const void *base;
	uint64_t nans = 0;

	options.budget = 1 << 20;
	options.paging = paging;
	if (!array_succeeded(data, sde_array_map_with(data, &options, &base, strides)))
		return;
	if (array_succeeded(data, sde_array_materialize(data, start, count)))
		assert_int_equal(sde_array_release(data, start, count), 0);
	for (uint64_t k = 0; k < M; k++)
		for (uint64_t i = 0; i < D * N; i++) {
			double one;

			memcpy(&one, (const char *)base + (int64_t)(i / N) * strides[0] +
			       (int64_t)(i % N) * strides[1] + (int64_t)k * strides[2], 8);
			nans += isnan(one) ? 1U : 0U;
			assert_true(isnan(one) || one == value(i / N, i % N, k));
		}
	if (nans)
		assert_int_equal(sde_array_error(data, NULL), -ENOMEM);
}

/*
 * Everything once, in the way of this form; the nth allocation after opening fails (of
 * opening, test_every_fault sees to that). Did it?
 */
static bool look(int form, unsigned long n)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct sde_array *data;
	int ret;

	options.threads = form % 2 ? 2 : 0;
	options.cache_bytes = form % 4 == 2 ? 1 << 20 : 0;
	twin_assert_ok(sde_storage_open(&storage, PATH, &options, &error), error.text);
	fault_memory_arm(n, false);
	ret = sde_storage_values(storage, NULL, &data);
	if (ret)
		sde_storage_error(storage, &error);
	if (succeeded(ret, &error)) {
		read_and_walk(data);
		map(data, form % 4 < 2 ? SDE_PAGING_DEFAULT : SDE_PAGING_SIGNAL);
		sde_array_close(data);
	}
	fault_memory_disarm();
	assert_int_equal(sde_storage_close(storage), 0);
	return fault_memory.fired;
}

static void each_allocation_fails_once(void **state)
{
	(void)state;
	if (!FAULT_MEMORY) {
		print_message("# allocations cannot fail without glibc\n");
		skip();
	}
	for (int form = 0; form < 8; form++) {
		unsigned long n = 0;
		bool fired = true;
		long live;

		if (form % 4 == 0)
			make(&shapes[form / 4]);
		/* what libraries keep for themselves is there from now on */
		look(form, 0);
		while (fired) {
			live = fault_memory.live;
			fired = look(form, ++n);
			if (fault_memory.live != live)
				fail_msg("form %d, allocation %lu: %ld are not freed", form, n,
					 fault_memory.live - live);
		}
		print_message("# form %d: %lu allocations failed\n", form, n - 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(each_allocation_fails_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
