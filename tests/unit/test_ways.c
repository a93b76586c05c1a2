/* SPDX-License-Identifier: MIT */
/*
 * A damaged store is the same whichever way one looks at it: a plain read says what is
 * to be had, and reads by threads, through the cache, walks and lazily mapped memory
 * must give the same bits, fill the same holes and fail with the same sentence.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"
#include "twin.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"

/* Inner chunks 0:8, 8:16, 16:20 of 64 KiB chunks 0:T, ...; the last one is short. */
enum { D = 2, N = 20, WIDTH = 8, T = 128, M = 9 * T + 40 };

static double value(uint64_t i)
{
	return (double)i + 0.25;
}

static void make(unsigned format)
{
	const struct sde_ensemble ensemble = { D, N, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	double x[D * N];

	options.chunk_size = T;
	options.trajectories_per_chunk = WIDTH;
	options.zarr_format = format;
	options.overwrite = 1;
	twin_assert_ok(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error),
		       error.text);
	for (uint64_t k = 0; k < M; k++) {
		for (uint64_t i = 0; i < D * N; i++)
			x[i] = value(i * M + k);
		assert_int_equal(sde_storage_store(storage, (double)k, x, k), 0);
	}
	assert_int_equal(sde_storage_close(storage), 0);
}

static void flip_middle(const char *path)
{
	size_t size;
	unsigned char *bytes = scratch_read(path, &size);

	/* a wide blow: the index tells where, and in format 2 there is no checksum */
	memset(bytes + size / 2, 0xff, size / 4 < 16 ? size / 4 : 16);
	scratch_write(path, bytes, size);
	free(bytes);
}

/* A chunk without an inner chunk, one without a file, two in a row, the last one. */
static void damage(unsigned format)
{
	if (format == 3) {
		flip_middle(PATH "/data/c/0/0/2");
		assert_int_equal(unlink(PATH "/data/c/0/0/4"), 0);
		assert_int_equal(truncate(PATH "/data/c/0/0/5", 100), 0);
		flip_middle(PATH "/data/c/0/0/9");
	} else {
		assert_int_equal(truncate(PATH "/data/0.1.2", 20), 0);
		assert_int_equal(unlink(PATH "/data/.side/4"), 0);
		assert_int_equal(unlink(PATH "/data/0.0.5"), 0);
		assert_int_equal(truncate(PATH "/data/0.2.9", 20), 0);
	}
}

static struct sde_array *data_of(enum sde_hole on_hole, unsigned threads, size_t cache)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct sde_array *data;

	options.on_hole = on_hole;
	options.threads = threads;
	options.cache_bytes = cache;
	twin_assert_ok(sde_storage_open(&storage, PATH, &options, &error), error.text);
	twin_assert_ok(sde_storage_values(storage, NULL, &data), twin_sentence(storage));
	assert_int_equal(sde_storage_close(storage), 0);
	return data;
}

/* What a handle has filled, as a text. */
struct list {
	char text[4096];
};

static void add(void *ctx, const struct sde_damage *damage)
{
	struct list *list = ctx;
	const size_t at = strlen(list->text);

	snprintf(list->text + at, sizeof(list->text) - at, "%llu:%llu %llu:%llu %d %d %s\n",
		 (unsigned long long)damage->snapshots[0], (unsigned long long)damage->snapshots[1],
		 (unsigned long long)damage->trajectories[0],
		 (unsigned long long)damage->trajectories[1], (int)damage->cause, damage->code,
		 damage->file);
}

/* The bits of everything, [d][n][m], and what was filled for it. */
struct seen {
	uint64_t bits[D][N][M];
	struct list list;
};

static void seen_all(struct seen *seen, struct sde_array *data)
{
	seen->list.text[0] = '\0';
	assert_true(sde_array_holes(data, add, &seen->list) >= 0);
	sde_array_close(data);
}

static void assert_same(const struct seen *is, const struct seen *should, const char *what)
{
	if (memcmp(is->bits, should->bits, sizeof(is->bits)))
		fail_msg("%s: other numbers", what);
	if (strcmp(is->list.text, should->list.text))
		fail_msg("%s: filled\n%snot\n%s", what, is->list.text, should->list.text);
}

/* By one plain read; the rest is arithmetic: what is not NaN has its value. */
static void read_plainly(struct seen *seen)
{
	struct sde_array *data = data_of(SDE_HOLE_NAN, 0, 0);
	uint64_t nans = 0;

	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, seen->bits, sizeof(seen->bits)), 0);
	seen_all(seen, data);
	for (uint64_t i = 0; i < (uint64_t)D * N * M; i++) {
		double x;

		memcpy(&x, &seen->bits[0][0][0] + i, sizeof(x));
		nans += isnan(x) ? 1U : 0U;
		assert_true(isnan(x) || x == value(i));
	}
	assert_true(nans > (uint64_t)D * N * T && nans < (uint64_t)D * N * T * 4);
}

static void read_otherwise(const struct seen *should, struct seen *seen, size_t block)
{
	for (unsigned threads = 0; threads < 6; threads += 2)
		for (int caches = 0; caches < 3; caches++) {
			struct sde_array *data = data_of(SDE_HOLE_NAN, threads,
							 caches ? block * (caches == 1 ? 1 : 64) : 0);

			/* the second time the cache knows it */
			for (int i = 0; i < 2; i++) {
				memset(seen->bits, 0, sizeof(seen->bits));
				assert_int_equal(sde_array_read(data, NULL, NULL, NULL, seen->bits,
								sizeof(seen->bits)), 0);
			}
			seen_all(seen, data);
			assert_same(seen, should, "a read by threads, with a cache");
		}
}

static int take(void *ctx, const struct sde_block *block)
{
	struct seen *seen = ctx;

	for (uint64_t i = 0; i < block->count[0]; i++)
		for (uint64_t j = 0; j < block->count[1]; j++)
			for (uint64_t k = 0; k < block->count[2]; k++)
				memcpy(&seen->bits[block->start[0] + i][block->start[1] + j]
				       [block->start[2] + k], (const char *)block->data +
				       (int64_t)i * block->strides[0] + (int64_t)j * block->strides[1] +
				       (int64_t)k * block->strides[2], 8);
	return 0;
}

static void walk(const struct seen *should, struct seen *seen)
{
	struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;

	for (int whole = 0; whole < 2; whole++)
		for (unsigned threads = 1; threads < 5; threads++) {
			struct sde_array *data = data_of(SDE_HOLE_NAN, 0, 0);

			options.whole_snapshots = whole;
			options.threads = threads;
			memset(seen->bits, 0, sizeof(seen->bits));
			assert_int_equal(sde_array_walk(data, &options, take, seen), 0);
			seen_all(seen, data);
			assert_same(seen, should, "a walk");
		}
}

static void map(const struct seen *should, struct seen *seen)
{
	struct sde_map_options options = SDE_MAP_OPTIONS_INIT;

	options.budget = 1 << 20;
	for (int paging = SDE_PAGING_DEFAULT; paging <= SDE_PAGING_SIGNAL; paging++)
		for (unsigned threads = 0; threads < 5; threads += 2) {
			struct sde_array *data = data_of(SDE_HOLE_NAN, threads, 0);
			int64_t strides[3];
			const void *base;

			options.paging = (enum sde_paging)paging;
			if (paging == SDE_PAGING_USERFAULTFD &&
			    sde_array_map_with(data, &options, &base, strides) == SDE_E_UNSUPPORTED) {
				print_message("# no userfaultfd here\n");
				sde_array_close(data);
				continue;
			}
			assert_int_equal(sde_array_map_with(data, &options, &base, strides), 0);
			for (uint64_t k = 0; k < M; k++)
				for (uint64_t i = 0; i < D * N; i++)
					memcpy(&seen->bits[i / N][i % N][k], (const char *)base +
					       (int64_t)(i / N) * strides[0] +
					       (int64_t)(i % N) * strides[1] + (int64_t)k * strides[2], 8);
			/* filled as was asked for: no failure */
			assert_int_equal(sde_array_error(data, NULL), 0);
			seen_all(seen, data);
			assert_same(seen, should, "a map");
		}
}

static void every_way_fills_the_same_holes_with_nan(void **state)
{
	struct seen *should = malloc(sizeof(*should)), *seen = malloc(sizeof(*seen));

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		make(format);
		damage(format);
		read_plainly(should);
		read_otherwise(should, seen, (size_t)D * WIDTH * T * 8);
		walk(should, seen);
		map(should, seen);
	}
	free(should);
	free(seen);
}

static int nothing(void *ctx, const struct sde_block *block)
{
	(void)ctx;
	(void)block;
	return 0;
}

static void every_way_fails_with_the_same_sentence(void **state)
{
	struct seen *seen = malloc(sizeof(*seen));
	struct sde_error should, error;
	struct sde_array *data;

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		make(format);
		damage(format);
		data = data_of(SDE_HOLE_ERROR, 0, 0);
		assert_int_not_equal(sde_array_read(data, NULL, NULL, NULL, seen->bits,
						    sizeof(seen->bits)), 0);
		sde_array_error(data, &should);
		sde_array_close(data);
		twin_assert_sentence(should.text, "lost snapshots 256:384, trajectories ", PATH);
		for (unsigned threads = 0; threads < 6; threads++) {
			struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;

			data = data_of(SDE_HOLE_ERROR, threads, threads % 2 ? 1 << 20 : 0);
			assert_int_equal(sde_array_read(data, NULL, NULL, NULL, seen->bits,
							sizeof(seen->bits)), should.code);
			sde_array_error(data, &error);
			assert_string_equal(error.text, should.text);
			options.threads = threads;
			assert_int_equal(sde_array_walk(data, &options, nothing, NULL), should.code);
			sde_array_error(data, &error);
			assert_string_equal(error.text, should.text);
			assert_int_equal(sde_array_holes(data, NULL, NULL), 0);
			sde_array_close(data);
		}
	}
	free(seen);
}

static void numbers_of(const struct sde_damage *damage, uint64_t *count)
{
	*count += (damage->snapshots[1] - damage->snapshots[0]) *
		  (damage->trajectories[1] - damage->trajectories[0]);
}

static void count_lost(void *ctx, const struct sde_damage *damage)
{
	if (damage->lost & SDE_PART_DATA)
		numbers_of(damage, ctx);
}

static void a_cache_hides_no_damage_from_verify(void **state)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_verify verify = { NULL, NULL, NULL, NULL };
	struct seen *seen = malloc(sizeof(*seen));
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct sde_array *data;
	uint64_t lost = 0;

	(void)state;
	make(3);
	options.cache_bytes = 64 << 20;
	twin_assert_ok(sde_storage_open(&storage, PATH, &options, &error), error.text);
	assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, seen->bits, sizeof(seen->bits)), 0);
	flip_middle(PATH "/data/c/0/0/2");
	verify.lost = count_lost;
	verify.ctx = &lost;
	assert_int_equal(sde_storage_verify(storage, &verify), SDE_E_CORRUPT);
	assert_int_equal(lost, WIDTH * T);
	/* what was decoded before is still right */
	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, seen->bits, sizeof(seen->bits)), 0);
	sde_array_close(data);
	assert_int_equal(sde_storage_close(storage), 0);
	free(seen);
}

/* Every way to look fails with SDE_E_STALE, and shows NaN where it cannot fail. */
static void assert_stale(struct sde_array *data, struct seen *seen)
{
	struct sde_map_options options = SDE_MAP_OPTIONS_INIT;
	const uint64_t count[3] = { D, N, 1 };
	struct sde_error error;
	int64_t strides[3];
	const void *base;
	double x;

	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, seen->bits, sizeof(seen->bits)),
			 SDE_E_STALE);
	sde_array_error(data, &error);
	twin_assert_sentence(error.text, PATH, "removed or replaced");
	assert_int_equal(sde_array_walk(data, NULL, nothing, NULL), SDE_E_STALE);
	options.budget = 1 << 20;
	options.paging = SDE_PAGING_SIGNAL;
	assert_int_equal(sde_array_map_with(data, &options, &base, strides), 0);
	memcpy(&x, (const char *)base + 200 * strides[2], sizeof(x));
	assert_true(isnan(x));
	assert_int_equal(sde_array_error(data, &error), SDE_E_STALE);
	twin_assert_sentence(error.text, PATH, "removed or replaced");
	assert_int_equal(sde_array_materialize(data, NULL, count), SDE_E_STALE);
	assert_int_equal(sde_array_holes(data, NULL, NULL), 0);
}

static void a_store_that_is_removed_or_overwritten_is_stale_every_way(void **state)
{
	struct seen *seen = malloc(sizeof(*seen));
	struct sde_error error;
	uint64_t times[M];

	(void)state;
	for (unsigned format = 2; format <= 3; format++)
		for (int overwritten = 0; overwritten < 2; overwritten++)
			for (int on_hole = SDE_HOLE_ERROR; on_hole <= SDE_HOLE_NAN; on_hole++) {
				struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
				struct sde_storage *storage;
				struct sde_array *time, *data;

				make(format);
				options.on_hole = (enum sde_hole)on_hole;
				assert_int_equal(sde_storage_open(&storage, PATH, &options, NULL), 0);
				assert_int_equal(sde_storage_values(storage, &time, &data), 0);
				if (overwritten)
					make(format);
				else
					assert_int_equal(system("rm -r " PATH), 0);
				assert_stale(data, seen);
				assert_int_equal(sde_array_read(time, NULL, NULL, NULL, times,
								sizeof(times)), SDE_E_STALE);
				sde_array_error(time, &error);
				twin_assert_sentence(error.text, PATH, "removed or replaced");
				assert_int_equal(sde_storage_refresh(storage), SDE_E_STALE);
				sde_array_close(time);
				sde_array_close(data);
				assert_int_equal(sde_storage_close(storage), 0);
			}
	free(seen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(every_way_fills_the_same_holes_with_nan),
		SCRATCH_TEST(every_way_fails_with_the_same_sentence),
		SCRATCH_TEST(a_store_that_is_removed_or_overwritten_is_stale_every_way),
		SCRATCH_TEST(a_cache_hides_no_damage_from_verify),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
