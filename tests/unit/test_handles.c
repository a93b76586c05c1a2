/* SPDX-License-Identifier: MIT */
/*
 * Handles of a store that is open elsewhere: refresh, reads by several threads, the
 * cache that handles share. What they give is held against the naive twin, what
 * they fail with against a plain handle.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "chunk_cache.h"
#include "scratch.h"
#include "twin.h"
#include "zarr_storage.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"

static const struct sde_ensemble ensemble = { 2, 20, SDE_FLOAT64 };

static void options_of(struct sde_zarr_options *options, unsigned format)
{
	*options = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	options->chunk_size = 16;
	options->trajectories_per_chunk = 8;
	options->zarr_format = format;
	options->segments = 2;
}

static struct sde_storage *writer(struct twin *twin, unsigned format)
{
	struct sde_zarr_options options;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	options_of(&options, format);
	twin_assert_ok(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error),
		       error.text);
	twin_init(twin, &ensemble, 1, 7);
	return storage;
}

static struct sde_storage *reader(unsigned threads, size_t cache_bytes)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	options.threads = threads;
	options.cache_bytes = cache_bytes;
	twin_assert_ok(sde_storage_open(&storage, PATH, &options, &error), error.text);
	return storage;
}

static uint64_t length(struct sde_storage *storage)
{
	struct sde_array *time, *data, *iteration;
	uint64_t m;

	twin_assert_ok(sde_storage_arrays(storage, &time, &data, &iteration),
		       twin_sentence(storage));
	m = sde_array_shape(time)[0];
	assert_int_equal(sde_array_shape(data)[2], m);
	assert_int_equal(sde_array_shape(iteration)[0], m);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	return m;
}

static void a_refreshed_storage_sees_what_was_stored_since(void **state)
{
	struct sde_storage *w, *r;
	struct twin_view old;
	struct twin twin;

	(void)state;
	w = writer(&twin, 3);
	twin_store(&twin, w, 5);
	r = reader(0, 0);
	twin_view_take(&twin, r, &old);
	for (int i = 0; i < 12; i++) {
		const uint64_t before = twin.count;

		twin_store(&twin, w, 7);
		assert_int_equal(length(r), before);
		twin_assert_ok(sde_storage_refresh(r), twin_sentence(r));
		assert_int_equal(length(r), twin.count);
		twin_check(&twin, r);
		twin_view_check(&twin, &old, 5);
	}
	twin_assert_ok(sde_storage_close(w), "close");
	twin_assert_ok(sde_storage_refresh(r), twin_sentence(r));
	twin_check(&twin, r);
	twin_view_check(&twin, &old, 5);
	twin_view_close(&old);
	assert_int_equal(sde_storage_close(r), 0);
	twin_free(&twin);
}

static void an_empty_storage_has_values_once_it_is_refreshed(void **state)
{
	struct sde_array *time = NULL, *iteration = NULL;
	struct sde_storage *w, *r;
	struct twin twin;

	(void)state;
	w = writer(&twin, 3);
	r = reader(2, 1 << 20);
	assert_int_equal(sde_storage_arrays(r, &time, NULL, &iteration), SDE_E_NO_DATA);
	assert_null(time);
	assert_null(iteration);
	twin_store(&twin, w, 1);
	assert_int_equal(sde_storage_refresh(r), 0);
	assert_int_equal(length(r), 1);
	assert_int_equal(sde_storage_close(r), 0);
	assert_int_equal(sde_storage_close(w), 0);
	twin_free(&twin);
}

/* Handles from before a truncate are stale, the storage they came from is not lost. */
static void after_a_truncate_a_refresh_brings_good_handles(void **state)
{
	struct sde_storage *w, *r;
	struct twin_view old;
	struct twin twin;

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		w = writer(&twin, format);
		twin_store(&twin, w, 75);
		r = reader(3, 4 * 2 * 8 * 16 * 8);
		twin_view_take(&twin, r, &old);
		twin_view_check(&twin, &old, 20);
		twin_assert_ok(sde_storage_truncate(w, 37), twin_sentence(w));
		twin_truncate(&twin, 37);
		twin_store(&twin, w, 20);
		old.truncated = true;
		twin_view_check(&twin, &old, 20);
		twin_assert_ok(sde_storage_refresh(r), twin_sentence(r));
		twin_check(&twin, r);
		twin_store(&twin, w, 40);
		twin_assert_ok(sde_storage_refresh(r), twin_sentence(r));
		twin_check(&twin, r);
		twin_view_close(&old);
		assert_int_equal(sde_storage_close(w), 0);
		assert_int_equal(sde_storage_close(r), 0);
		twin_free(&twin);
		assert_int_equal(system("rm -r " PATH), 0);
	}
}

static void a_store_that_was_replaced_or_removed_is_stale(void **state)
{
	struct sde_zarr_options options;
	struct sde_error error = { 0 };
	struct sde_storage *w, *r;
	struct twin twin;
	char before[64];

	(void)state;
	w = writer(&twin, 3);
	twin_store(&twin, w, 40);
	assert_int_equal(sde_storage_close(w), 0);
	r = reader(0, 0);
	snprintf(before, sizeof(before), "%s", sde_storage_attributes(r));
	options_of(&options, 3);
	options.overwrite = 1;
	twin_assert_ok(sde_zarr_storage_create(&w, PATH, &ensemble, &options, &error), error.text);
	assert_int_equal(sde_storage_refresh(r), SDE_E_STALE);
	twin_assert_sentence(twin_sentence(r), PATH, "replaced");
	assert_int_equal(sde_storage_close(r), 0);
	r = reader(0, 0);
	assert_int_equal(sde_storage_close(w), 0);
	assert_int_equal(system("rm -r " PATH), 0);
	assert_int_equal(sde_storage_refresh(r), SDE_E_STALE);
	assert_string_equal(sde_storage_attributes(r), before);
	assert_int_equal(sde_storage_close(r), 0);
	twin_free(&twin);
}

static void refresh_is_nothing_to_a_writer(void **state)
{
	struct sde_storage *w;
	struct twin twin;

	(void)state;
	assert_int_equal(sde_storage_refresh(NULL), -EINVAL);
	w = writer(&twin, 3);
	twin_store(&twin, w, 3);
	assert_int_equal(sde_storage_refresh(w), 0);
	assert_int_equal(length(w), 3);
	assert_int_equal(sde_storage_close(w), 0);
	twin_free(&twin);
}

/* 5 chunks in files, a partial one, and behind it some in the ring. */
static void threads_and_cache_change_no_value(void **state)
{
	const size_t inner = 2 * 8 * 16 * 8;
	const size_t caches[] = { 0, inner, 3 * inner, 100 * inner };
	struct sde_storage *w, *r;
	struct twin_view view;
	struct twin twin;

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		w = writer(&twin, format);
		twin_store(&twin, w, 85);
		twin_assert_ok(sde_storage_save(w), twin_sentence(w));
		twin_store(&twin, w, 6);
		for (unsigned threads = 0; threads < 5; threads++)
			for (int i = 0; i < 4; i++) {
				r = reader(threads, caches[i]);
				twin_view_take(&twin, r, &view);
				twin_view_check(&twin, &view, 30);
				twin_view_close(&view);
				assert_int_equal(sde_storage_close(r), 0);
			}
		assert_int_equal(sde_storage_close(w), 0);
		twin_free(&twin);
		assert_int_equal(system("rm -r " PATH), 0);
	}
}

/* Flip the byte in the middle of a file. */
static void damage(const char *path)
{
	size_t size;
	unsigned char *bytes = scratch_read(path, &size);

	bytes[size / 2] ^= 0x40;
	scratch_write(path, bytes, size);
	free(bytes);
}

static void expect_same_failure(unsigned threads, size_t cache, int code, const char *text)
{
	struct sde_storage *r = reader(threads, cache);
	static double all[2 * 20 * 64];
	struct sde_error error = { 0 };
	struct sde_array *data;

	assert_int_equal(sde_storage_values(r, NULL, &data), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(sde_array_read(data, NULL, NULL, NULL, all, sizeof(all)), code);
		assert_int_equal(sde_array_error(data, &error), code);
		assert_string_equal(error.text, text);
	}
	sde_array_close(data);
	assert_int_equal(sde_storage_close(r), 0);
}

static void threads_and_cache_fail_with_the_same_words(void **state)
{
	static double all[2 * 20 * 64];
	struct sde_error error = { 0 };
	struct sde_storage *w, *r;
	struct sde_array *data;
	struct twin twin;
	int code;

	(void)state;
	w = writer(&twin, 3);
	twin_store(&twin, w, 64);
	assert_int_equal(sde_storage_close(w), 0);
	damage(PATH "/data/c/0/0/1");
	assert_int_equal(unlink(PATH "/data/c/0/0/2"), 0);
	r = reader(0, 0);
	assert_int_equal(sde_storage_values(r, NULL, &data), 0);
	code = sde_array_read(data, NULL, NULL, NULL, all, sizeof(all));
	assert_int_equal(code, SDE_E_CORRUPT);
	sde_array_error(data, &error);
	sde_array_close(data);
	assert_int_equal(sde_storage_close(r), 0);
	for (unsigned threads = 0; threads < 8; threads++) {
		expect_same_failure(threads, 0, code, error.text);
		expect_same_failure(threads, 1 << 20, code, error.text);
	}
	twin_free(&twin);
}

static void bad_options_are_refused(void **state)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_storage *w, *r;
	struct sde_error error = { 0 };
	struct twin twin;

	(void)state;
	w = writer(&twin, 3);
	twin_store(&twin, w, 1);
	options.cache_bytes = 2 * 8 * 16 * 8 - 1;
	assert_int_equal(sde_storage_open(&r, PATH, &options, &error), -ENOMEM);
	twin_assert_sentence(error.text, "2047", "2048");
	options.cache_bytes = 0;
	options.threads = 257;
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde_storage_open(&r, PATH, &options, &error), -EINVAL);
	twin_assert_sentence(error.text, "257", "threads");
	/* a caller that was compiled before there were these two */
	options.size = offsetof(struct sde_open_options, cache_bytes);
	options.cache_bytes = 1;
	memset(&error, 0, sizeof(error));
	twin_assert_ok(sde_storage_open(&r, PATH, &options, &error), error.text);
	assert_int_equal(sde_storage_close(r), 0);
	assert_int_equal(sde_storage_close(w), 0);
	twin_free(&twin);
}

/*
 * The last chunk's file is replaced by one that has more snapshots, and by one of another
 * epoch: what the cache has of it is then another file's.
 */
static void the_cache_knows_a_file_that_was_replaced(void **state)
{
	struct sde_storage *w, *r;
	struct sde_error error = { 0 };
	struct twin twin;

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		w = writer(&twin, format);
		twin_store(&twin, w, 36);
		assert_int_equal(sde_storage_close(w), 0);
		r = reader(0, 1 << 20);
		twin_check(&twin, r);
		for (int cut = 0; cut < 2; cut++) {
			twin_assert_ok(sde_zarr_storage_resume(&w, PATH, NULL, &error), error.text);
			if (cut) {
				twin_assert_ok(sde_storage_truncate(w, 34), twin_sentence(w));
				twin_truncate(&twin, 34);
			}
			/* without a cut more than before, with one as many again */
			twin_store(&twin, w, cut ? 8 : 6);
			assert_int_equal(sde_storage_close(w), 0);
			twin_assert_ok(sde_storage_refresh(r), twin_sentence(r));
			twin_check(&twin, r);
		}
		assert_int_equal(sde_storage_close(r), 0);
		twin_free(&twin);
		assert_int_equal(system("rm -r " PATH), 0);
	}
}

static uint64_t bytes_read;	/* atomic */

static int64_t counting_pread(void *ctx, int fd, void *out, size_t n, uint64_t offset)
{
	__atomic_add_fetch(&bytes_read, n, __ATOMIC_RELAXED);
	return sde__io_posix.pread(ctx, fd, out, n, offset);
}

/* Bytes that are read from files when each snapshot is read by a call of its own. */
static uint64_t bytes_by_snapshot(unsigned threads, size_t cache)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	uint64_t start[3] = { 0 }, count[3] = { 2, 20, 1 };
	struct sde__io io = sde__io_posix;
	const struct sde__zarr_hooks hooks = { .io = &io };
	struct sde_error error = { 0 };
	struct sde_storage *r;
	struct sde_array *data;
	double x[40];

	io.pread = counting_pread;
	options.threads = threads;
	options.cache_bytes = cache;
	twin_assert_ok(sde__zarr_open(&r, PATH, &options, &hooks, &error), error.text);
	assert_int_equal(sde_storage_values(r, NULL, &data), 0);
	__atomic_store_n(&bytes_read, 0, __ATOMIC_RELAXED);
	for (; start[2] < sde_array_shape(data)[2]; start[2]++)
		assert_int_equal(sde_array_read(data, start, count, NULL, x, sizeof(x)), 0);
	sde_array_close(data);
	assert_int_equal(sde_storage_close(r), 0);
	return __atomic_load_n(&bytes_read, __ATOMIC_RELAXED);
}

static void who_reads_by_snapshots_decodes_a_chunk_once_also_with_threads(void **state)
{
	struct sde_storage *w;
	struct twin twin;
	uint64_t bytes;

	(void)state;
	w = writer(&twin, 3);
	twin_store(&twin, w, 90);
	assert_int_equal(sde_storage_close(w), 0);
	bytes = bytes_by_snapshot(0, 0);
	assert_int_equal(bytes_by_snapshot(4, 0), bytes);
	assert_int_equal(bytes_by_snapshot(4, 1 << 20), bytes);
	twin_free(&twin);
}

static void the_cache_keeps_what_was_used_last(void **state)
{
	struct sde__chunk_cache *cache;
	struct sde__chunk_block *block;
	struct sde__chunk_key key = { 0 };

	(void)state;
	assert_int_equal(sde__chunk_cache_new(&cache, 3 * 64, 64), 0);
	for (key.chunk = 0; key.chunk < 50; key.chunk++) {
		const struct sde__chunk_key first = { 0 }, last = { .chunk = key.chunk - 2 };

		assert_null(sde__chunk_cache_find(cache, &key));
		block = sde__chunk_cache_take(cache);
		memset(block->raw, (int)key.chunk, 64);
		sde__chunk_cache_put(cache, block, &key);
		sde__chunk_cache_release(cache, block);
		/* 0 is asked for each time and stays; of the others two do */
		block = sde__chunk_cache_find(cache, &first);
		assert_non_null(block);
		assert_int_equal(*(unsigned char *)block->raw, 0);
		sde__chunk_cache_release(cache, block);
		if (key.chunk > 2)
			assert_null(sde__chunk_cache_find(cache, &last));
	}
	sde__chunk_cache_unref(cache);
}

static void a_block_that_is_held_outlives_its_place(void **state)
{
	struct sde__chunk_cache *cache;
	struct sde__chunk_block *held, *block;
	struct sde__chunk_key key = { 0 };

	(void)state;
	assert_int_equal(sde__chunk_cache_new(&cache, 64, 64), 0);
	held = sde__chunk_cache_take(cache);
	memset(held->raw, 42, 64);
	sde__chunk_cache_put(cache, held, &key);
	for (key.chunk = 1; key.chunk < 9; key.chunk++) {
		block = sde__chunk_cache_take(cache);
		memset(block->raw, 1, 64);
		sde__chunk_cache_put(cache, block, &key);
		sde__chunk_cache_release(cache, block);
	}
	for (int i = 0; i < 64; i++)
		assert_int_equal(((unsigned char *)held->raw)[i], 42);
	sde__chunk_cache_release(cache, held);
	sde__chunk_cache_unref(cache);
}

/* What stands there is still the store: the sentence is of what is wrong with it. */
static void a_refresh_that_fails_keeps_what_was_there(void **state)
{
	static const char document[] = PATH "/zarr.json";
	struct sde_storage *w, *r;
	unsigned char *bytes;
	struct twin twin;
	size_t size;

	(void)state;
	w = writer(&twin, 3);
	twin_store(&twin, w, 40);
	assert_int_equal(sde_storage_close(w), 0);
	r = reader(0, 0);
	bytes = scratch_read(document, &size);
	scratch_write(document, bytes, size / 2);
	assert_int_equal(sde_storage_refresh(r), SDE_E_CORRUPT);
	twin_assert_sentence(twin_sentence(r), "zarr.json", NULL);
	assert_int_equal(length(r), 40);
	scratch_write(document, bytes, size);
	free(bytes);
	assert_int_equal(sde_storage_refresh(r), 0);
	assert_int_equal(length(r), 40);
	assert_int_equal(sde_storage_close(r), 0);
	twin_free(&twin);
}

static void a_state_larger_than_the_room_for_it_says_how_large(void **state)
{
	struct sde_zarr_options options;
	struct sde_storage *w, *r;
	struct twin twin;
	char bytes[16];
	size_t n;

	(void)state;
	options_of(&options, 3);
	options.state_capacity = 16;
	assert_int_equal(sde_zarr_storage_create(&w, PATH, &ensemble, &options, NULL), 0);
	twin_init(&twin, &ensemble, 1, 7);
	assert_int_equal(sde_storage_set_state(w, "0123456789", 10), 0);
	twin_store(&twin, w, 1);
	/* from the ring, and from the file */
	for (int closed = 0; closed < 2; closed++) {
		r = reader(0, 0);
		n = 9;
		assert_int_equal(sde_storage_state(r, bytes, &n), -ERANGE);
		twin_assert_sentence(twin_sentence(r), "10 bytes", "9");
		assert_int_equal(n, 10);
		assert_int_equal(sde_storage_state(r, bytes, &n), 0);
		assert_memory_equal(bytes, "0123456789", 10);
		n = 99;
		assert_int_equal(sde_storage_state(r, NULL, &n), 0);
		assert_int_equal(n, 10);
		assert_int_equal(sde_storage_close(r), 0);
		if (!closed)
			assert_int_equal(sde_storage_close(w), 0);
	}
	twin_free(&twin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_refresh_that_fails_keeps_what_was_there),
		SCRATCH_TEST(a_state_larger_than_the_room_for_it_says_how_large),
		SCRATCH_TEST(a_refreshed_storage_sees_what_was_stored_since),
		SCRATCH_TEST(an_empty_storage_has_values_once_it_is_refreshed),
		SCRATCH_TEST(after_a_truncate_a_refresh_brings_good_handles),
		SCRATCH_TEST(a_store_that_was_replaced_or_removed_is_stale),
		SCRATCH_TEST(refresh_is_nothing_to_a_writer),
		SCRATCH_TEST(threads_and_cache_change_no_value),
		SCRATCH_TEST(threads_and_cache_fail_with_the_same_words),
		SCRATCH_TEST(the_cache_knows_a_file_that_was_replaced),
		SCRATCH_TEST(who_reads_by_snapshots_decodes_a_chunk_once_also_with_threads),
		SCRATCH_TEST(bad_options_are_refused),
		cmocka_unit_test(the_cache_keeps_what_was_used_last),
		cmocka_unit_test(a_block_that_is_held_outlives_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
