/* SPDX-License-Identifier: MIT */
/* The NumPy backend: memory that is the twin's, files that are the memory's. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "arena.h"
#include "fault_io.h"
#include "numpy_storage.h"
#include "sanitized.h"
#include "scratch.h"
#include "twin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

static const struct sde_ensemble ensemble = { 2, 5, SDE_FLOAT64 };

static struct sde_storage *made(const struct sde_ensemble *e, const char *path, uint64_t stride,
				int overwrite)
{
	struct sde_numpy_options options = SDE_NUMPY_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	options.save_directory = path;
	options.stride = stride;
	options.overwrite = overwrite;
	options.threads = 2;
	twin_assert_ok(sde_numpy_storage_create(&storage, e, &options, &error), error.text);
	return storage;
}

static void equals(struct twin *twin, struct sde_storage *storage)
{
	struct twin_view view = { 0 };

	twin_view_take(twin, storage, &view);
	twin_view_check(twin, &view, 8);
	twin_view_close(&view);
}

static void file_equals(struct twin *twin, const char *path)
{
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	twin_assert_ok(sde_storage_open(&storage, path, NULL, &error), error.text);
	equals(twin, storage);
	assert_int_equal(sde_storage_verify(storage, NULL), 0);
	twin_assert_ok(sde_storage_close(storage), "close");
}

static void what_is_stored_is_given_back_and_saved(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 24; seed++) {
		const struct sde_ensemble e = { 1 + seed % 3, 1 + seed * 7 % 40,
						seed % 2 ? SDE_FLOAT64 : SDE_FLOAT32 };
		struct sde_storage *storage;
		struct twin twin;

		twin_init(&twin, &e, 1 + seed % 2, seed);
		storage = made(&e, "out/run", twin.stride, 1);
		for (int i = 0; i < 4; i++) {
			twin_store(&twin, storage, 1 + seed % 5);
			equals(&twin, storage);
			/* a second save with nothing new just works */
			twin_assert_ok(sde_storage_save(storage), twin_sentence(storage));
			twin_assert_ok(sde_storage_save(storage), twin_sentence(storage));
			file_equals(&twin, "out/run.npz");
		}
		twin_store(&twin, storage, 2);
		twin_assert_ok(sde_storage_close(storage), "close");
		file_equals(&twin, "out/run.npz");
		assert_int_equal(scratch_entries("out"), 1);
		twin_free(&twin);
	}
}

static void handles_stay_what_they_were(void **state)
{
	struct sde_storage *storage;
	struct twin_view early = { 0 }, late = { 0 };
	struct twin twin;

	(void)state;
	twin_init(&twin, &ensemble, 1, 9);
	storage = made(&ensemble, NULL, 1, 0);
	twin_store(&twin, storage, 7);
	twin_view_take(&twin, storage, &early);
	twin_store(&twin, storage, 5000);
	twin_view_take(&twin, storage, &late);
	/* never SDE_E_STALE: the twin would not allow it */
	twin_assert_ok(sde_storage_truncate(storage, 3), twin_sentence(storage));
	twin_truncate(&twin, 3);
	twin_store(&twin, storage, 20);
	equals(&twin, storage);
	twin_view_check(&twin, &early, 10);
	twin_assert_ok(sde_storage_close(storage), "close");
	twin_view_check(&twin, &early, 10);
	twin_view_check(&twin, &late, 10);
	twin_view_close(&early);
	twin_view_close(&late);
	twin_free(&twin);
	/* without save_directory nothing was written */
	assert_int_equal(scratch_entries("."), 0);
}

static void the_array_is_plain_memory(void **state)
{
	struct sde_array *data;
	struct sde_storage *storage;
	double x[10] = { 0 };
	const void *base;
	int64_t strides[3];

	(void)state;
	storage = made(&ensemble, NULL, 1, 0);
	for (int m = 0; m < 4; m++) {
		for (int i = 0; i < 10; i++)
			x[i] = 100 * m + i;
		assert_int_equal(sde_storage_store(storage, m, x, (uint64_t)m), 0);
	}
	memset(x, 0, sizeof(x));	/* the caller's memory was not kept */
	assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
	assert_int_equal(sde_array_map(data, 1, &base, strides), 0);
	assert_true(strides[0] == 40 && strides[1] == 8 && strides[2] == 80);
	for (int m = 0; m < 4; m++)
		for (int i = 0; i < 10; i++)
			assert_true(*(const double *)(const void *)
				    ((const char *)base + i / 5 * strides[0] + i % 5 * strides[1] +
				     m * strides[2]) == 100 * m + i);
	sde_array_close(data);
	twin_assert_ok(sde_storage_close(storage), "close");
}

static void a_file_that_is_there_is_kept(void **state)
{
	struct sde_numpy_options options = SDE_NUMPY_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	unsigned char *bytes;
	size_t size;

	(void)state;
	scratch_write("x.npz", "precious", 8);
	options.save_directory = "x.npz";
	assert_int_equal(sde_numpy_storage_create(&storage, &ensemble, &options, &error), -EEXIST);
	assert_null(storage);
	twin_assert_sentence(error.text, "x.npz", "overwrite");
	assert_int_equal(mkdir("d.npz", 0777), 0);
	options.save_directory = "d";
	options.overwrite = 1;
	assert_int_equal(sde_numpy_storage_create(&storage, &ensemble, &options, NULL), -EEXIST);
	bytes = scratch_read("x.npz", &size);
	assert_int_equal(size, 8);
	free(bytes);
}

static void wrong_arguments_are_refused(void **state)
{
	const struct sde_ensemble none = { 0, 5, SDE_FLOAT64 }, huge = { 1u << 31, 1u << 31, SDE_FLOAT64 };
	struct sde_numpy_options options = SDE_NUMPY_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_array *data;
	double x[10] = { 0 };

	(void)state;
	assert_int_equal(sde_numpy_storage_create(&storage, &none, NULL, NULL), -EINVAL);
	assert_int_equal(sde_numpy_storage_create(&storage, &huge, NULL, NULL), -EINVAL);
	assert_int_equal(sde_numpy_storage_create(&storage, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(sde_numpy_storage_create(NULL, &ensemble, NULL, NULL), -EINVAL);
	options.size = 4;
	assert_int_equal(sde_numpy_storage_create(&storage, &ensemble, &options, NULL), -EINVAL);
	storage = made(&ensemble, NULL, 1, 0);
	assert_int_equal(sde_storage_values(storage, NULL, &data), SDE_E_NO_DATA);
	assert_int_equal(sde_storage_iterations(storage, &data), SDE_E_NO_DATA);
	assert_int_equal(sde_storage_store(storage, 0, x, UINT64_MAX), -EOVERFLOW);
	assert_int_equal(sde_storage_store(storage, 0, NULL, 0), -EINVAL);
	assert_int_equal(sde_storage_truncate(storage, 1), -EINVAL);
	assert_int_equal(sde_storage_set_state(storage, x, 1), SDE_E_UNSUPPORTED);
	twin_assert_ok(sde_storage_close(storage), "close");
}

/* Every call of a save fails once: memory and the file before are as they were. */
static void a_save_that_fails_can_be_repeated(void **state)
{
	static struct fault_io fault;
	struct sde_numpy_options options = SDE_NUMPY_OPTIONS_INIT;
	struct sde_storage *storage;
	struct twin twin;
	unsigned long n = 0;
	int ret;

	(void)state;
	fault_io_init(&fault);
	options.save_directory = "run";
	options.threads = 1;
	assert_int_equal(sde__numpy_create(&storage, &ensemble, &options, &fault.io, NULL), 0);
	twin_init(&twin, &ensemble, 1, 3);
	do {
		twin_store(&twin, storage, 1);
		fault_io_arm(&fault, ++n, ENOSPC, false);
		ret = sde_storage_save(storage);
		fault_io_arm(&fault, 0, 0, false);
		if (ret) {
			assert_int_equal(ret, -ENOSPC);
			twin_assert_sentence(twin_sentence(storage), NULL, NULL);
			assert_true(scratch_entries(".") <= 1);
			twin_assert_ok(sde_storage_save(storage), twin_sentence(storage));
		}
		equals(&twin, storage);
		file_equals(&twin, "run.npz");
	} while (ret || n < 5);
	twin_assert_ok(sde_storage_close(storage), "close");
	twin_free(&twin);
	assert_int_equal(fault.handles, 0);
}

static void an_arena_grows_in_place(void **state)
{
	struct sde__arena arena;
	unsigned char *base;

	(void)state;
	assert_int_equal(sde__arena_init(&arena, (size_t)1 << 30, 1 << 20, NULL), 0);
	base = arena.base;
	for (size_t size = 1; size <= (size_t)1 << 30; size *= 8) {
		assert_int_equal(sde__arena_grow(&arena, size, NULL), 0);
		assert_ptr_equal(arena.base, base);
		assert_int_equal(base[size - 1], 0);
		base[size - 1] = 1;
	}
	assert_int_equal(sde__arena_grow(&arena, ((size_t)1 << 30) + 1, NULL), -ENOMEM);
	assert_int_equal(base[0], 1);
	sde__arena_free(&arena);
	assert_int_equal(sde__arena_init(&arena, (size_t)1 << 62, (size_t)1 << 61, NULL), -ENOMEM);
}

static struct sde_storage_info told(struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	twin_assert_ok(sde_storage_info(storage, &info), twin_sentence(storage));
	return info;
}

static void it_tells_what_is_stored_and_what_is_saved(void **state)
{
	struct sde_storage *storage;
	struct sde_storage_info info;
	struct twin twin;

	(void)state;
	storage = made(&ensemble, "run", 1, 0);
	info = told(storage);
	assert_true(info.first_time != info.first_time);
	assert_int_equal(info.committed, 0);
	twin_init(&twin, &ensemble, 1, 11);
	twin_store(&twin, storage, 3);
	info = told(storage);
	assert_string_equal(info.kind, "numpy");
	assert_int_equal(info.state, SDE_STATE_RUNNING);
	assert_int_equal(info.committed, 3);
	assert_int_equal(info.published, 0);
	assert_memory_equal(&info.first_time, &twin.record[0]->time, 8);
	assert_memory_equal(&info.last_time, &twin.record[2]->time, 8);
	assert_int_equal(info.first_iteration, twin.record[0]->iteration);
	assert_int_equal(info.last_iteration, twin.record[2]->iteration);
	assert_true(info.memory_bytes >= 3 * (10 + 2) * 8);
	twin_assert_ok(sde_storage_save(storage), "save");
	assert_int_equal(told(storage).published, 3);
	twin_store(&twin, storage, 1);
	assert_int_equal(told(storage).published, 3);
	/* what is in the file is not what is stored any more */
	twin_assert_ok(sde_storage_truncate(storage, 2), "truncate");
	twin_truncate(&twin, 2);
	assert_int_equal(told(storage).committed, 2);
	assert_int_equal(told(storage).published, 0);
	twin_assert_ok(sde_storage_truncate(storage, 2), "truncate");
	equals(&twin, storage);
	twin_assert_ok(sde_storage_close(storage), "close");
	file_equals(&twin, "run.npz");
	twin_free(&twin);
}

/* Memory is cut by taking new one: if there is none, all stays. */
static void without_addresses_nothing_is_created_or_cut(void **state)
{
	struct sde_storage *storage, *other;
	struct sde_error error = { 0 };
	struct rlimit old, limit;
	struct twin twin;
	int created, cut;

	(void)state;
	if (SANITIZED) {
		print_message("skipped: a sanitizer does not fit below a limit of addresses\n");
		skip();
	}
	storage = made(&ensemble, NULL, 1, 0);
	twin_init(&twin, &ensemble, 1, 12);
	twin_store(&twin, storage, 3);
	assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
	limit = old;
	limit.rlim_cur = 1;	/* less than there is: no more of it */
	assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
	created = sde_numpy_storage_create(&other, &ensemble, NULL, &error);
	cut = sde_storage_truncate(storage, 1);
	assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
	assert_int_equal(created, -ENOMEM);
	assert_null(other);
	twin_assert_sentence(error.text, "cannot reserve", NULL);
	assert_int_equal(cut, -ENOMEM);
	equals(&twin, storage);
	twin_assert_ok(sde_storage_close(storage), "close");
	twin_free(&twin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(what_is_stored_is_given_back_and_saved),
		SCRATCH_TEST(handles_stay_what_they_were),
		SCRATCH_TEST(the_array_is_plain_memory),
		SCRATCH_TEST(a_file_that_is_there_is_kept),
		SCRATCH_TEST(wrong_arguments_are_refused),
		SCRATCH_TEST(a_save_that_fails_can_be_repeated),
		SCRATCH_TEST(an_arena_grows_in_place),
		SCRATCH_TEST(it_tells_what_is_stored_and_what_is_saved),
		SCRATCH_TEST(without_addresses_nothing_is_created_or_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
