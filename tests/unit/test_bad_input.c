/* SPDX-License-Identifier: MIT */
/*
 * Bad arguments, foreign directories, damaged files, a full disk: each gives its
 * code and a sentence that names the object, and costs nothing that was stored.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"
#include "twin.h"
#include "zarr_storage.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"

static const struct sde_ensemble ensemble = { 2, 5, SDE_FLOAT64 };

static struct sde_zarr_options small(void)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	options.chunk_size = 4;
	options.trajectories_per_chunk = 2;
	options.threads = 1;
	options.state_capacity = 16;
	return options;
}

static struct sde_storage *made(struct twin *twin, uint64_t snapshots)
{
	const struct sde_zarr_options options = small();
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	twin_init(twin, &ensemble, 1, 17);
	twin_assert_ok(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error),
		       error.text);
	twin_store(twin, storage, snapshots);
	return storage;
}

/* A closed store of `snapshots`. */
static void closed(struct twin *twin, uint64_t snapshots)
{
	twin_assert_ok(sde_storage_close(made(twin, snapshots)), "close");
}

/* ------------------------------------------------------------------------
 * Arguments of create
 */

static void refused(const struct sde_ensemble *e, const struct sde_zarr_options *options,
		    int code, const char *part)
{
	struct sde_storage *storage = (struct sde_storage *)options;
	struct sde_error error = { 0 };

	twin_assert_is(sde_zarr_storage_create(&storage, PATH, e, options, &error), code,
		       error.text);
	assert_null(storage);
	assert_int_equal(error.code, code);
	twin_assert_sentence(error.text, part, NULL);
	/* nothing is left behind, not even a directory beside it */
	assert_int_equal(scratch_entries("."), 0);
	/* without anybody to tell */
	assert_int_equal(sde_zarr_storage_create(&storage, PATH, e, options, NULL), code);
}

static void an_impossible_ensemble_is_refused(void **state)
{
	static const struct sde_ensemble bad[] = {
		{ 0, 5, SDE_FLOAT64 }, { 5, 0, SDE_FLOAT64 }, { 1, 1, SDE_INT64 },
		{ 1, 1, (enum sde_dtype)77 }, { UINT64_MAX, UINT64_MAX, SDE_FLOAT64 },
		{ UINT64_MAX, 1, SDE_FLOAT32 }, { 1, UINT64_MAX, SDE_FLOAT64 },
		{ UINT64_C(1) << 32, UINT64_C(1) << 32, SDE_FLOAT32 },
	};
	static const char *const parts[] = {
		"dimension", "trajectories", "dtype", "dtype", NULL, NULL, NULL, NULL,
	};

	(void)state;
	refused(NULL, NULL, -EINVAL, "ensemble");
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		refused(&bad[i], NULL, -EINVAL, parts[i]);
}

static void options_out_of_range_are_refused(void **state)
{
	struct sde_zarr_options o;

	(void)state;
#define REFUSED(field, bad, code, part) do { \
	o = small(); \
	o.field = (bad); \
	refused(&ensemble, &o, (code), (part)); \
} while (0)
	REFUSED(segments, 1, -EINVAL, "segments");
	REFUSED(segments, 65, -EINVAL, "segments");
	REFUSED(threads, 257, -EINVAL, "threads");
	REFUSED(state_capacity, 65537, -EINVAL, "state_capacity");
	REFUSED(trajectories_per_chunk, 9, -EINVAL, "trajectories_per_chunk");
	REFUSED(chunk_size, (UINT64_C(1) << 31) + 1, -EINVAL, "chunk_size");
	REFUSED(codec, (enum sde_codec)4, -EINVAL, "codec");
	REFUSED(checksum, (enum sde_checksum)3, -EINVAL, "checksum");
	REFUSED(sync, (enum sde_sync)6, -EINVAL, "sync");
	REFUSED(ring_io, (enum sde_ring_io)3, -EINVAL, "ring_io");
	REFUSED(sigbus_guard, (enum sde_sigbus_guard)2, -EINVAL, "sigbus_guard");
	REFUSED(layout, (enum sde_layout)3, -EINVAL, "layout");
	REFUSED(overwrite, 2, -EINVAL, "overwrite");
	REFUSED(zarr_format, 4, SDE_E_UNSUPPORTED, "zarr_format");
	REFUSED(keepbits, 53, -EINVAL, "keepbits");
	REFUSED(attributes, "{\"dt\": ", -EINVAL, "attributes");
	REFUSED(attributes, "[1]", -EINVAL, "attributes");
	REFUSED(attributes, "{\"sdestore\": 1}", -EINVAL, "sdestore");
	REFUSED(size, 0, -EINVAL, "sde_zarr_options");
	REFUSED(size, sizeof(o) - 1, -EINVAL, "sde_zarr_options");
#undef REFUSED
}

static void an_inner_chunk_over_2_gib_is_refused(void **state)
{
	const struct sde_ensemble large = { 1, 1024, SDE_FLOAT64 };
	struct sde_zarr_options o = small();

	(void)state;
	o.trajectories_per_chunk = 1024;
	o.chunk_size = UINT64_C(1) << 18;	/* 2^10 * 2^18 * 8 = 2^31 */
	refused(&large, &o, -EINVAL, "chunk_size");
	o.codec = SDE_CODEC_LZ4;
	o.chunk_size = (UINT64_C(0x7e000000) >> 13) + 1;
	refused(&large, &o, -EINVAL, "chunk_size");
}

/* A struct of a later version: fields behind ours are fine while they are zero. */
static void unknown_options_are_refused_unless_they_are_zero(void **state)
{
	struct {
		struct sde_zarr_options options;
		unsigned char later[24];
	} o = { small(), { 0 } };
	struct {
		struct sde_open_options options;
		uint64_t later;
	} open_options = { SDE_OPEN_OPTIONS_INIT, 1 };
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	(void)state;
	o.options.size = sizeof(o);
	for (size_t i = 0; i < sizeof(o.later); i += 23) {
		o.later[i] = 1;
		refused(&ensemble, &o.options, -E2BIG, "sde_zarr_options");
		o.later[i] = 0;
	}
	twin_assert_ok(sde_zarr_storage_create(&storage, PATH, &ensemble, &o.options, NULL), "");
	twin_assert_ok(sde_storage_close(storage), "");
	o.later[0] = 1;
	assert_int_equal(sde_zarr_storage_resume(&storage, PATH, &o.options, &error), -E2BIG);
	twin_assert_sentence(error.text, "sde_zarr_options", NULL);
	open_options.options.size = sizeof(open_options);
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde_storage_open(&storage, PATH, &open_options.options, &error), -E2BIG);
	twin_assert_sentence(error.text, "sde_open_options", NULL);
	open_options.later = 0;
	assert_int_equal(sde_storage_open(&storage, PATH, &open_options.options, NULL), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	open_options.options.ring = (enum sde_ring)3;
	assert_int_equal(sde_storage_open(&storage, PATH, &open_options.options, NULL), -EINVAL);
}

static void null_is_refused_wherever_it_can_be_seen(void **state)
{
	struct sde_storage *storage;
	struct sde_array *array = NULL;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	uint64_t bytes;
	struct twin twin;
	size_t n = 0;

	(void)state;
	assert_int_equal(sde_zarr_storage_create(NULL, PATH, &ensemble, NULL, NULL), -EINVAL);
	assert_int_equal(sde_zarr_storage_create(&storage, NULL, &ensemble, NULL, NULL), -EINVAL);
	assert_int_equal(sde_zarr_storage_create(&storage, "", &ensemble, NULL, NULL), -EINVAL);
	assert_int_equal(sde_zarr_storage_resume(NULL, PATH, NULL, NULL), -EINVAL);
	assert_int_equal(sde_zarr_storage_resume(&storage, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_open(NULL, PATH, NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_open(&storage, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_open(&storage, "", NULL, NULL), -EINVAL);
	assert_int_equal(sde_zarr_memory_estimate(&ensemble, NULL, NULL), -EINVAL);
	assert_int_equal(sde_zarr_memory_estimate(NULL, NULL, &bytes), -EINVAL);
	assert_int_equal(scratch_entries("."), 0);
	assert_int_equal(sde_storage_store(NULL, 0.0, &bytes, 0), -EINVAL);
	assert_int_equal(sde_storage_reserve(NULL, 0, NULL), -EINVAL);
	assert_int_equal(sde_storage_commit(NULL, 0.0), -EINVAL);
	assert_int_equal(sde_storage_set_state(NULL, "x", 1), -EINVAL);
	assert_int_equal(sde_storage_state(NULL, NULL, &n), -EINVAL);
	assert_int_equal(sde_storage_save(NULL), -EINVAL);
	assert_int_equal(sde_storage_sync(NULL), -EINVAL);
	assert_int_equal(sde_storage_truncate(NULL, 0), -EINVAL);
	assert_int_equal(sde_storage_values(NULL, &array, &array), -EINVAL);
	assert_int_equal(sde_storage_iterations(NULL, &array), -EINVAL);
	assert_int_equal(sde_storage_info(NULL, &info), -EINVAL);
	assert_int_equal(sde_storage_verify(NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_error(NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_close(NULL), 0);
	assert_int_equal(sde_storage_close_error(NULL, NULL), 0);
	assert_string_equal(sde_storage_attributes(NULL), "{}");
	assert_string_equal(sde_storage_time_units(NULL), "");
	sde_array_close(NULL);
	assert_int_equal(sde_array_read(NULL, NULL, NULL, NULL, &bytes, 8), -EINVAL);
	assert_int_equal(sde_array_map(NULL, 0, NULL, NULL), -EINVAL);

	storage = made(&twin, 3);
	assert_int_equal(sde_storage_store(storage, 0.0, NULL, 0), -EINVAL);
	twin_assert_sentence(twin_sentence(storage), "data", NULL);
	assert_int_equal(sde_storage_reserve(storage, 0, NULL), -EINVAL);
	assert_int_equal(sde_storage_set_state(storage, NULL, 1), -EINVAL);
	assert_int_equal(sde_storage_state(storage, NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_iterations(storage, NULL), -EINVAL);
	assert_int_equal(sde_storage_info(storage, NULL), -EINVAL);
	info.size = 0;
	assert_int_equal(sde_storage_info(storage, &info), -EINVAL);
	assert_int_equal(sde_storage_values(storage, NULL, NULL), 0);
	assert_int_equal(sde_storage_error(storage, NULL), -EINVAL);
	assert_int_equal(sde_storage_values(storage, &array, NULL), 0);
	assert_int_equal(sde_array_map(array, 0, NULL, NULL), -EINVAL);
	sde_array_close(array);
	twin_check(&twin, storage);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

/* ------------------------------------------------------------------------
 * Calls out of order
 */

static void calls_out_of_order_are_refused_and_cost_nothing(void **state)
{
	struct sde_storage *storage;
	struct twin twin;
	double *slot;

	(void)state;
	storage = made(&twin, 3);
	assert_int_equal(sde_storage_commit(storage, 1.0), -EINVAL);
	twin_assert_sentence(twin_sentence(storage), "reserved", NULL);
	twin_next(&twin);
	assert_int_equal(sde_storage_reserve(storage, twin.iteration, (void **)&slot), 0);
	memcpy(slot, twin.snapshot, twin_snapshot_bytes(&twin));
	assert_int_equal(sde_storage_store(storage, 0.0, twin.snapshot, 0), -EINVAL);
	twin_assert_sentence(twin_sentence(storage), "reserved", "commit");
	assert_int_equal(sde_storage_save(storage), -EINVAL);
	assert_int_equal(sde_storage_truncate(storage, 0), -EINVAL);
	assert_int_equal(sde_storage_commit(storage, twin.time), 0);
	twin_keep(&twin);
	assert_int_equal(sde_storage_commit(storage, twin.time), -EINVAL);
	assert_int_equal(sde_storage_truncate(storage, 5), -EINVAL);
	twin_assert_sentence(twin_sentence(storage), PATH, "5");
	twin_check(&twin, storage);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

static void close_drops_a_slot_that_was_never_committed(void **state)
{
	struct sde_storage *storage;
	struct twin twin;
	void *slot;

	(void)state;
	storage = made(&twin, 3);
	assert_int_equal(sde_storage_reserve(storage, 0, &slot), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

static void an_iteration_number_must_fit_int64(void **state)
{
	struct sde_storage *storage;
	struct twin twin;
	void *slot = &twin;

	(void)state;
	storage = made(&twin, 3);
	twin_next(&twin);
	assert_int_equal(sde_storage_store(storage, 0.0, twin.snapshot, UINT64_C(1) << 63),
			 -EOVERFLOW);
	twin_assert_sentence(twin_sentence(storage), "9223372036854775808", NULL);
	assert_int_equal(sde_storage_reserve(storage, UINT64_MAX, &slot), -EOVERFLOW);
	assert_null(slot);
	twin_check(&twin, storage);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_free(&twin);
}

static void a_state_larger_than_its_room_is_refused(void **state)
{
	unsigned char bytes[17] = { 1, 2, 3 };
	struct sde_storage *storage;
	struct twin twin;
	size_t n;

	(void)state;
	storage = made(&twin, 1);
	assert_int_equal(sde_storage_set_state(storage, bytes, 17), -ENOSPC);
	twin_assert_sentence(twin_sentence(storage), "17", "state_capacity");
	assert_int_equal(sde_storage_set_state(storage, bytes, 16), 0);
	memcpy(twin.state, bytes, twin.state_size = 16);
	twin_store(&twin, storage, 1);
	twin_check(&twin, storage);
	n = 15;
	assert_int_equal(sde_storage_state(storage, bytes, &n), -ERANGE);
	assert_int_equal(n, 16);
	twin_assert_sentence(twin_sentence(storage), "16", "15");
	n = 77;
	assert_int_equal(sde_storage_state(storage, NULL, &n), 0);
	assert_int_equal(n, 16);
	/* n = 0 takes it back */
	assert_int_equal(sde_storage_set_state(storage, bytes, 16), 0);
	assert_int_equal(sde_storage_set_state(storage, NULL, 0), 0);
	twin_store(&twin, storage, 1);
	twin_check(&twin, storage);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_free(&twin);
}

static void an_empty_store_has_no_data(void **state)
{
	struct sde_array *array = NULL;
	struct sde_storage *storage;
	struct twin twin;
	size_t n = 0;

	(void)state;
	storage = made(&twin, 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sde_storage_values(storage, &array, NULL), SDE_E_NO_DATA);
		twin_assert_sentence(twin_sentence(storage), PATH, NULL);
		assert_null(array);
		assert_int_equal(sde_storage_iterations(storage, &array), SDE_E_NO_DATA);
		assert_int_equal(sde_storage_state(storage, NULL, &n), SDE_E_NO_DATA);
		twin_assert_sentence(twin_sentence(storage), PATH, NULL);
		assert_int_equal(sde_storage_verify(storage, NULL), 0);
		assert_int_equal(sde_storage_close(storage), 0);
		assert_int_equal(sde_storage_open(&storage, PATH, NULL, NULL), 0);
	}
	assert_int_equal(sde_storage_close(storage), 0);
	twin_free(&twin);
}

static void a_storage_opened_read_only_takes_nothing(void **state)
{
	struct sde_storage *storage;
	struct twin twin;
	void *slot;

	(void)state;
	closed(&twin, 6);
	assert_int_equal(sde_storage_open(&storage, PATH, NULL, NULL), 0);
	twin_next(&twin);
	assert_int_equal(sde_storage_store(storage, 0.0, twin.snapshot, 0), -EBADF);
	twin_assert_sentence(twin_sentence(storage), "read-only", NULL);
	assert_int_equal(sde_storage_reserve(storage, 0, &slot), -EBADF);
	assert_int_equal(sde_storage_commit(storage, 0.0), -EINVAL);
	assert_int_equal(sde_storage_set_state(storage, "x", 1), -EBADF);
	assert_int_equal(sde_storage_truncate(storage, 0), -EBADF);
	assert_int_equal(sde_storage_save(storage), 0);
	assert_int_equal(sde_storage_sync(storage), 0);
	twin_check(&twin, storage);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

static void a_store_that_is_written_is_locked(void **state)
{
	struct sde_zarr_options options = small();
	struct sde_storage *storage, *second;
	struct sde_error error = { 0 };
	struct twin twin;

	(void)state;
	storage = made(&twin, 6);
	assert_int_equal(sde_zarr_storage_resume(&second, PATH, NULL, &error), SDE_E_LOCKED);
	twin_assert_sentence(error.text, PATH, "process");
	memset(&error, 0, sizeof(error));
	options.overwrite = 1;
	assert_int_equal(sde_zarr_storage_create(&second, PATH, &ensemble, &options, &error),
			 SDE_E_LOCKED);
	twin_assert_sentence(error.text, PATH, NULL);
	options.overwrite = 0;
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde_zarr_storage_create(&second, PATH, &ensemble, &options, &error), -EEXIST);
	twin_assert_sentence(error.text, PATH, "overwrite");
	assert_int_equal(scratch_entries("."), 1);
	twin_store(&twin, storage, 6);
	twin_check(&twin, storage);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

/* ------------------------------------------------------------------------
 * Selections
 */

static void a_selection_outside_the_shape_is_refused(void **state)
{
	const uint64_t zero[3] = { 0 }, one[3] = { 1, 1, 1 };
	struct sde_array *time, *data;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	double out[2 * 5 * 7];
	struct twin twin;

	(void)state;
	storage = made(&twin, 7);
	assert_int_equal(sde_storage_values(storage, &time, &data), 0);
	for (unsigned axis = 0; axis < 3; axis++) {
		const uint64_t length = sde_array_shape(data)[axis];
		uint64_t start[3] = { 0 }, count[3] = { 1, 1, 1 }, step[3] = { 1, 1, 1 };
		char name[16];

		snprintf(name, sizeof(name), "axis %u", axis);
		start[axis] = length;
		assert_int_equal(sde_array_read(data, start, count, step, out, sizeof(out)), -ERANGE);
		assert_int_equal(sde_array_error(data, &error), -ERANGE);
		twin_assert_sentence(error.text, name, NULL);
		start[axis] = UINT64_MAX;
		assert_int_equal(sde_array_read(data, start, count, step, out, sizeof(out)), -ERANGE);
		assert_int_equal(sde_array_read(data, start, NULL, step, out, sizeof(out)), -ERANGE);
		start[axis] = 1;
		count[axis] = length;
		assert_int_equal(sde_array_read(data, start, count, step, out, sizeof(out)), -ERANGE);
		count[axis] = UINT64_MAX;
		assert_int_equal(sde_array_read(data, start, count, step, out, sizeof(out)), -ERANGE);
		start[axis] = 0;
		count[axis] = 2;
		step[axis] = length;
		assert_int_equal(sde_array_read(data, start, count, step, out, sizeof(out)), -ERANGE);
		step[axis] = UINT64_MAX;
		assert_int_equal(sde_array_read(data, start, count, step, out, sizeof(out)), -ERANGE);
		step[axis] = 0;
		assert_int_equal(sde_array_read(data, start, count, step, out, sizeof(out)), -EINVAL);
		assert_int_equal(sde_array_error(data, &error), -EINVAL);
		twin_assert_sentence(error.text, name, "step");
		/* nothing selected: nothing is read, out need not be there */
		step[axis] = 1;
		count[axis] = 0;
		assert_int_equal(sde_array_read(data, start, count, step, NULL, 0), 0);
		start[axis] = length;
		assert_int_equal(sde_array_read(data, start, count, step, NULL, 0), 0);
		start[axis] = length + 1;
		assert_int_equal(sde_array_read(data, start, count, step, NULL, 0), -ERANGE);
	}
	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, out, sizeof(out) - 1), -ENOBUFS);
	assert_int_equal(sde_array_error(data, &error), -ENOBUFS);
	twin_assert_sentence(error.text, "560", "559");
	assert_int_equal(sde_array_read(data, zero, one, one, out, 7), -ENOBUFS);
	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, NULL, sizeof(out)), -EINVAL);
	assert_int_equal(sde_array_read(time, NULL, NULL, NULL, out, 7 * 8 - 1), -ENOBUFS);
	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, out, sizeof(out)), 0);
	sde_array_close(time);
	sde_array_close(data);
	twin_check(&twin, storage);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_free(&twin);
}

/* ------------------------------------------------------------------------
 * Paths and what stands there
 */

/* Every constructor at `path`; a code of 0 is not asked for. */
static void nothing_at(const char *path, int create, int overwrite, int resume, int open)
{
	struct sde_zarr_options options = small();
	struct sde_storage *storage;
	struct sde_error error;

	for (options.overwrite = 0; options.overwrite < 2; options.overwrite++) {
		memset(&error, 0, sizeof(error));
		twin_assert_is(sde_zarr_storage_create(&storage, path, &ensemble, &options, &error),
			       options.overwrite ? overwrite : create, error.text);
		assert_null(storage);
		twin_assert_sentence(error.text, "'", NULL);
	}
	memset(&error, 0, sizeof(error));
	twin_assert_is(sde_zarr_storage_resume(&storage, path, NULL, &error), resume, error.text);
	twin_assert_sentence(error.text, path, NULL);
	memset(&error, 0, sizeof(error));
	twin_assert_is(sde_storage_open(&storage, path, NULL, &error), open, error.text);
	twin_assert_sentence(error.text, path, NULL);
}

static void a_path_that_cannot_be_a_store_is_refused(void **state)
{
	char name[300];

	(void)state;
	scratch_write("file", "text", 4);
	nothing_at("file", -EEXIST, SDE_E_NOT_STORE, SDE_E_NOT_STORE, SDE_E_NOT_STORE);
	nothing_at("file/run.zarr", -ENOTDIR, -ENOTDIR, -ENOTDIR, -ENOTDIR);
	nothing_at("file/a/run.zarr", -ENOTDIR, -ENOTDIR, -ENOTDIR, -ENOTDIR);
	nothing_at("/proc/nowhere/run.zarr", -ENOENT, -ENOENT, -ENOENT, -ENOENT);
	nothing_at(".", -EINVAL, -EINVAL, SDE_E_NOT_STORE, SDE_E_NOT_STORE);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(sde_storage_open(&(struct sde_storage *){ NULL }, name, NULL, NULL),
			 -ENAMETOOLONG);
	assert_int_equal(sde_zarr_storage_create(&(struct sde_storage *){ NULL }, name, &ensemble,
						 NULL, NULL), -ENAMETOOLONG);
	assert_int_equal(scratch_entries("."), 1);
}

static void a_directory_that_cannot_be_written_is_refused(void **state)
{
	struct sde_zarr_options options = small();
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	struct twin twin;

	(void)state;
	if (!geteuid()) {
		print_message("root may write everywhere\n");
		skip();
	}
	closed(&twin, 5);
	assert_int_equal(mkdir("fixed", 0555), 0);
	assert_int_equal(sde_zarr_storage_create(&storage, "fixed/run.zarr", &ensemble, &options,
						 &error), -EACCES);
	twin_assert_sentence(error.text, "fixed", NULL);
	assert_int_equal(chmod(PATH "/data", 0555), 0);
	assert_int_equal(sde_zarr_storage_resume(&storage, PATH, NULL, NULL), -EACCES);
	twin_check_path(&twin, PATH);
	assert_int_equal(chmod(PATH "/data", 0755), 0);
	twin_free(&twin);
}

static void somebody_elses_directory_is_left_alone(void **state)
{
	static const char group[] = "{\"zarr_format\": 3, \"node_type\": \"group\"}";
	static const char *const dirs[] = { "g", "g/time", "g/time/c", "g/iteration",
		"g/iteration/c", "g/data", "g/data/c", "g/data/c/0", "g/data/c/0/0" };

	(void)state;
	assert_int_equal(mkdir("other", 0777), 0);
	scratch_write("other/thesis.tex", "x", 1);
	nothing_at("other", -EEXIST, SDE_E_NOT_STORE, SDE_E_NOT_STORE, SDE_E_NOT_STORE);
	assert_int_equal(mkdir("empty", 0777), 0);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		assert_int_equal(mkdir(dirs[i], 0777), 0);
		scratch_write("g/zarr.json", group, sizeof(group) - 1);
		nothing_at("g", -EEXIST, SDE_E_NOT_STORE, SDE_E_NOT_STORE, SDE_E_NOT_STORE);
	}
	scratch_write("g/data/c/0/0/0", "theirs", 6);
	nothing_at("g", -EEXIST, SDE_E_NOT_STORE, SDE_E_NOT_STORE, SDE_E_NOT_STORE);
	assert_true(scratch_exists("g/data/c/0/0/0"));
	assert_false(scratch_exists("g/data/.ring"));
	assert_true(scratch_exists("other/thesis.tex"));
	assert_int_equal(scratch_entries("."), 3);
}

static void an_empty_directory_is_as_good_as_none(void **state)
{
	struct twin twin;

	(void)state;
	assert_int_equal(mkdir(PATH, 0777), 0);
	closed(&twin, 3);
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

static void a_damaged_root_document_is_corrupt(void **state)
{
	unsigned char *text;
	struct twin twin;
	size_t size;

	(void)state;
	closed(&twin, 6);
	text = scratch_read(PATH "/zarr.json", &size);
	for (size_t n = 0; n < size - 2; n += 97) {
		scratch_write(PATH "/zarr.json", text, n);
		nothing_at(PATH, -EEXIST, SDE_E_CORRUPT, SDE_E_CORRUPT, SDE_E_CORRUPT);
	}
	scratch_write(PATH "/zarr.json", text, size);
	free(text);
	twin_check_path(&twin, PATH);

	text = scratch_read(PATH "/data/zarr.json", &size);
	scratch_write(PATH "/data/zarr.json", text, size / 2);
	nothing_at(PATH, -EEXIST, SDE_E_CORRUPT, SDE_E_CORRUPT, SDE_E_CORRUPT);
	assert_int_equal(unlink(PATH "/data/zarr.json"), 0);
	nothing_at(PATH, -EEXIST, SDE_E_CORRUPT, SDE_E_CORRUPT, SDE_E_CORRUPT);
	scratch_write(PATH "/data/zarr.json", text, size);
	free(text);
	assert_false(scratch_exists(PATH "/data/.ring"));
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

static void a_newer_format_is_refused(void **state)
{
	unsigned char *text;
	struct twin twin;
	size_t size;
	char *at;

	(void)state;
	closed(&twin, 6);
	text = scratch_read(PATH "/zarr.json", &size);
	text = realloc(text, size + 1); /* cppcheck-suppress memleakOnRealloc ; it is a test */
	assert_non_null(text);
	text[size] = '\0';
	at = strstr((char *)text, "\"version\":");
	assert_non_null(at);
	at += strlen("\"version\":");
	at += strspn(at, " ");
	assert_int_equal(*at, '1');
	*at = '2';
	scratch_write(PATH "/zarr.json", text, size);
	nothing_at(PATH, -EEXIST, SDE_E_VERSION, SDE_E_VERSION, SDE_E_VERSION);
	*at = '1';
	scratch_write(PATH "/zarr.json", text, size);
	free(text);
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

/* ------------------------------------------------------------------------
 * Damaged chunk files
 */

static int read_all(const char *path, struct sde_error *error)
{
	struct sde_storage *storage;
	struct sde_array *data;
	double out[2 * 5 * 10];
	int ret;

	memset(error, 0, sizeof(*error));
	ret = sde_storage_open(&storage, path, NULL, error);
	if (ret)
		return ret;
	assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
	ret = sde_array_read(data, NULL, NULL, NULL, out, sizeof(out));
	if (ret)
		sde_array_error(data, error);
	sde_array_close(data);
	sde_storage_close(storage);
	return ret;
}

static int verify_all(const char *path, const struct sde_verify *verify, struct sde_error *error)
{
	struct sde_storage *storage;
	int ret;

	memset(error, 0, sizeof(*error));
	ret = sde_storage_open(&storage, path, NULL, error);
	if (ret)
		return ret;
	ret = sde_storage_verify(storage, verify);
	sde_storage_error(storage, error);
	sde_storage_close(storage);
	return ret;
}

static void a_missing_chunk_file_is_a_hole_that_is_named(void **state)
{
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;

	(void)state;
	closed(&twin, 10);
	for (int k = 0; k < 3; k++) {
		unsigned char *bytes;
		char name[64];
		size_t size;

		snprintf(name, sizeof(name), PATH "/data/c/0/0/%d", k);
		bytes = scratch_read(name, &size);
		assert_int_equal(unlink(name), 0);
		twin_assert_is(read_all(PATH, &error), SDE_E_HOLE, error.text);
		twin_assert_sentence(error.text, name, "missing");
		twin_assert_is(verify_all(PATH, NULL, &error), SDE_E_HOLE, error.text);
		twin_assert_sentence(error.text, name, "missing");
		memset(&error, 0, sizeof(error));
		twin_assert_is(sde_zarr_storage_resume(&storage, PATH, NULL, &error), SDE_E_HOLE,
			       error.text);
		twin_assert_sentence(error.text, name, "missing");
		assert_false(scratch_exists(PATH "/data/.ring"));
		scratch_write(name, bytes, size);
		free(bytes);
		twin_check_path(&twin, PATH);
	}
	twin_free(&twin);
}

struct damages {
	unsigned count;
	uint64_t first, snapshots;
	int code;
};

static void note_damage(void *ctx, uint64_t first, uint64_t count, int code, const char *text)
{
	struct damages *damages = ctx;

	twin_assert_sentence(text, "data/c/0/0/", NULL);
	damages->count++;
	damages->first = first;
	damages->snapshots = count;
	damages->code = code;
}

static void verify_names_each_damaged_chunk_and_goes_on(void **state)
{
	struct damages damages = { 0 };
	const struct sde_verify verify = { .damage = note_damage, .ctx = &damages };
	unsigned char *bytes;
	struct sde_error error;
	struct twin twin;
	size_t size;

	(void)state;
	closed(&twin, 15);
	bytes = scratch_read(PATH "/data/c/0/0/1", &size);
	bytes[size / 2] ^= 4;
	scratch_write(PATH "/data/c/0/0/1", bytes, size);
	free(bytes);
	assert_int_equal(unlink(PATH "/data/c/0/0/2"), 0);
	assert_int_equal(verify_all(PATH, &verify, &error), SDE_E_CORRUPT);
	twin_assert_sentence(error.text, PATH "/data/c/0/0/1", NULL);
	assert_int_equal(damages.count, 2);
	assert_int_equal(damages.first, 8);
	assert_int_equal(damages.snapshots, 4);
	assert_int_equal(damages.code, SDE_E_HOLE);
	twin_free(&twin);
}

/* Any flipped bit of a chunk file is found by verify, and never read as a value. */
static void every_flipped_bit_of_a_chunk_is_found(void **state)
{
	static const char name[] = PATH "/data/c/0/0/1";
	struct sde_error error;
	unsigned unseen = 0;
	struct twin twin;

	(void)state;
	for (enum sde_codec codec = SDE_CODEC_BLOSC_LZ4_BITSHUFFLE; codec <= SDE_CODEC_NONE; codec++) {
		struct sde_zarr_options options = small();
		struct sde_storage *storage;
		unsigned char *bytes;
		size_t size;

		options.codec = codec;
		options.overwrite = 1;
		twin_init(&twin, &ensemble, 1, 17);
		assert_int_equal(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, NULL), 0);
		twin_store(&twin, storage, 10);
		assert_int_equal(sde_storage_close(storage), 0);
		bytes = scratch_read(name, &size);
		for (size_t i = 0; i < size; i++) {
			int ret;

			bytes[i] ^= (unsigned char)(1u << i % 8);
			scratch_write(name, bytes, size);
			ret = verify_all(PATH, NULL, &error);
			/* the gaps between the parts hold nothing */
			if (!ret) {
				assert_int_equal(bytes[i], 1u << i % 8);
				twin_check_path(&twin, PATH);
				unseen++;
			} else {
				/* bytes 8 to 11 are the version */
				twin_assert_is(ret, i / 4 == 2 && ret != SDE_E_CORRUPT ?
					       SDE_E_VERSION : SDE_E_CORRUPT, error.text);
				twin_assert_sentence(error.text, name, NULL);
			}
			bytes[i] ^= (unsigned char)(1u << i % 8);
		}
		/* less than 64 before each of 4 parts, and behind the last */
		assert_true(unseen < 5 * 64);
		unseen = 0;
		for (size_t n = 0; n < size; n += 13) {
			scratch_write(name, bytes, n);
			assert_int_equal(verify_all(PATH, NULL, &error), SDE_E_CORRUPT);
			twin_assert_sentence(error.text, name, NULL);
			assert_int_equal(read_all(PATH, &error), SDE_E_CORRUPT);
		}
		scratch_write(name, bytes, size);
		free(bytes);
		twin_check_path(&twin, PATH);
		twin_free(&twin);
	}
}

static void a_flipped_bit_in_the_last_chunk_stops_a_resume(void **state)
{
	static const char name[] = PATH "/data/c/0/0/2";
	struct sde_storage *storage;
	unsigned char *bytes;
	struct twin twin;
	size_t size;

	(void)state;
	closed(&twin, 10);
	bytes = scratch_read(name, &size);
	for (size_t i = 0; i < size; i += i < 64 ? 1 : 7) {
		struct sde_error error = { 0 };
		int ret;

		bytes[i] ^= 0x01;
		scratch_write(name, bytes, size);
		/* a reader sees ten snapshots, or that something is wrong */
		ret = sde_storage_open(&storage, PATH, NULL, NULL);
		if (!ret) {
			struct sde_array *time;

			assert_int_equal(sde_storage_values(storage, &time, NULL), 0);
			assert_int_equal(sde_array_shape(time)[0], 10);
			sde_array_close(time);
			assert_int_equal(sde_storage_close(storage), 0);
		}
		ret = sde_zarr_storage_resume(&storage, PATH, NULL, &error);
		if (ret) {
			twin_assert_is(ret, i / 4 == 2 && ret != SDE_E_CORRUPT ?
				       SDE_E_VERSION : SDE_E_CORRUPT, error.text);
			twin_assert_sentence(error.text, name, NULL);
			assert_false(scratch_exists(PATH "/data/.ring"));
		} else {
			assert_int_equal(bytes[i], 0x01);
			twin_check(&twin, storage);
			assert_int_equal(sde_storage_close(storage), 0);
		}
		bytes[i] ^= 0x01;
	}
	scratch_write(name, bytes, size);
	free(bytes);
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

/* A good chunk file of this store, but of another place or another run. */
static void a_chunk_file_in_the_wrong_place_is_corrupt(void **state)
{
	unsigned char *first, *other;
	struct sde_error error;
	struct twin twin;
	size_t first_size, size;

	(void)state;
	closed(&twin, 10);
	first = scratch_read(PATH "/data/c/0/0/0", &first_size);
	twin_free(&twin);
	assert_int_equal(rename(PATH, "old.zarr"), 0);
	closed(&twin, 10);
	scratch_write(PATH "/data/c/0/0/0", first, first_size);
	free(first);
	assert_int_equal(read_all(PATH, &error), SDE_E_CORRUPT);
	twin_assert_sentence(error.text, PATH "/data/c/0/0/0", NULL);
	first = scratch_read("old.zarr/data/c/0/0/0", &first_size);
	other = scratch_read("old.zarr/data/c/0/0/1", &size);
	scratch_write("old.zarr/data/c/0/0/0", other, size);
	free(other);
	free(first);
	assert_int_equal(read_all("old.zarr", &error), SDE_E_CORRUPT);
	twin_assert_sentence(error.text, "old.zarr/data/c/0/0/0", NULL);
	twin_free(&twin);
}

static void a_damaged_time_block_is_named(void **state)
{
	struct sde_storage *storage;
	struct sde_array *time;
	struct sde_error error = { 0 };
	unsigned char *bytes;
	double out[10];
	struct twin twin;
	size_t size;

	(void)state;
	closed(&twin, 10);
	bytes = scratch_read(PATH "/time/c/0", &size);
	for (int i = 0; i < 2; i++) {
		bytes[40] ^= 1;
		scratch_write(PATH "/time/c/0", bytes, i ? 100 : size);
		assert_int_equal(sde_storage_open(&storage, PATH, NULL, NULL), 0);
		assert_int_equal(sde_storage_values(storage, &time, NULL), 0);
		assert_int_equal(sde_array_read(time, NULL, NULL, NULL, out, sizeof(out)),
				 SDE_E_CORRUPT);
		assert_int_equal(sde_array_error(time, &error), SDE_E_CORRUPT);
		twin_assert_sentence(error.text, "time/c/0", NULL);
		assert_int_equal(sde_storage_verify(storage, NULL), SDE_E_CORRUPT);
		twin_assert_sentence(twin_sentence(storage), "time/c/0", NULL);
		sde_array_close(time);
		assert_int_equal(sde_storage_close(storage), 0);
	}
	assert_int_equal(unlink(PATH "/time/c/0"), 0);
	memset(&error, 0, sizeof(error));
	twin_assert_is(verify_all(PATH, NULL, &error), SDE_E_HOLE, error.text);
	twin_assert_sentence(error.text, "time/c/0", "missing");
	free(bytes);
	twin_free(&twin);
}

/* ------------------------------------------------------------------------
 * Resume with other options
 */

static void resume_refuses_options_that_contradict_the_store(void **state)
{
	struct sde_zarr_options o;
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;

	(void)state;
	closed(&twin, 6);
#define MISMATCH(field, bad, code, part, other) do { \
	o = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT; \
	o.field = (bad); \
	memset(&error, 0, sizeof(error)); \
	twin_assert_is(sde_zarr_storage_resume(&storage, PATH, &o, &error), (code), error.text); \
	assert_null(storage); \
	twin_assert_sentence(error.text, #field, NULL); \
	twin_assert_sentence(error.text, (part), (other)); \
	assert_false(scratch_exists(PATH "/data/.ring")); \
} while (0)
	MISMATCH(stride, 3, SDE_E_MISMATCH, "is 3,", "has 1");
	MISMATCH(chunk_size, 8, SDE_E_MISMATCH, "is 8,", "has 4");
	MISMATCH(trajectories_per_chunk, 5, SDE_E_MISMATCH, "is 5,", "has 2");
	MISMATCH(state_capacity, 17, SDE_E_MISMATCH, "is 17,", "has 16");
	MISMATCH(codec, SDE_CODEC_LZ4, SDE_E_MISMATCH, "lz4,", "has blosc-lz4-bitshuffle");
	MISMATCH(codec, SDE_CODEC_NONE, SDE_E_MISMATCH, "none,", "has blosc-lz4-bitshuffle");
	MISMATCH(checksum, SDE_CHECKSUM_OFF, SDE_E_MISMATCH, "is off", "has on");
	MISMATCH(zarr_format, 2, SDE_E_MISMATCH, "is 2,", "has 3");
	MISMATCH(keepbits, 9, SDE_E_MISMATCH, "is 9,", "has 0");
	MISMATCH(overwrite, 1, -EINVAL, NULL, NULL);
	MISMATCH(attributes, "{}", -EINVAL, NULL, NULL);
	MISMATCH(time_units, "s", -EINVAL, NULL, NULL);
	MISMATCH(segments, 1, -EINVAL, NULL, NULL);
	MISMATCH(threads, 1000, -EINVAL, NULL, NULL);
	MISMATCH(sync, (enum sde_sync)9, -EINVAL, NULL, NULL);
#undef MISMATCH
	/* saying what it has is allowed */
	o = small();
	o.zarr_format = 3;
	o.stride = 1;
	o.codec = SDE_CODEC_BLOSC_LZ4_BITSHUFFLE;
	o.checksum = SDE_CHECKSUM_ON;
	assert_int_equal(sde_zarr_storage_resume(&storage, PATH, &o, NULL), 0);
	twin_check(&twin, storage);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

/* ------------------------------------------------------------------------
 * A full disk
 */

static int as_a_child(int (*what)(void))
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		_exit(what());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define TRY(condition) do { if (!(condition)) { fprintf(stderr, "# line %d\n", __LINE__); return 1; } } while (0)
#define NO_MOUNT 77

/* A ring that does not fit; then chunk files that do not. */
static int fill_a_small_disk(void)
{
	struct sde_zarr_options options = small();
	const struct sde_ensemble wide = { 1, 8192, SDE_FLOAT64 };	/* 64 KiB a snapshot */
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct twin twin;
	int ret = 0;

	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mkdir("small", 0777) || mount("tmpfs", "small", "tmpfs", 0, "size=2m"))
		return NO_MOUNT;
	options.trajectories_per_chunk = 0;
	options.chunk_size = 16;	/* 1 MiB a segment, and there are three */
	TRY(sde_zarr_storage_create(&storage, "small/run.zarr", &wide, &options, &error) == -ENOSPC);
	TRY(!storage && strstr(error.text, "data/.ring/segment."));
	TRY(scratch_entries("small") == 0);
	options.chunk_size = 4;		/* 768 KiB of ring; random bits do not compress */
	options.codec = SDE_CODEC_NONE;
	TRY(!sde_zarr_storage_create(&storage, "small/run.zarr", &wide, &options, NULL));
	twin_init(&twin, &wide, 1, 3);
	while (!ret && twin.count < 100) {
		twin_next(&twin);
		ret = sde_storage_store(storage, twin.time, twin.snapshot, twin.iteration);
		if (!ret)
			twin_keep(&twin);
	}
	TRY(ret == -ENOSPC && strstr(twin_sentence(storage), "data/c/0/0/"));
	TRY(sde_storage_save(storage) == -ENOSPC);
	TRY(sde_storage_store(storage, 0.0, twin.snapshot, 0) == -ENOSPC);
	/* all of it is still there to be read, in this process and in others */
	twin_check(&twin, storage);
	twin_check_path(&twin, "small/run.zarr");
	memset(&error, 0, sizeof(error));
	TRY(sde_storage_close_error(storage, &error) == -ENOSPC && error.code == -ENOSPC);
	TRY(strstr(error.text, "data/c/0/0/"));
	TRY(sde_zarr_storage_resume(&storage, "small/run.zarr", NULL, NULL) == -ENOSPC);
	twin_check_path(&twin, "small/run.zarr");
	/* room is made */
	TRY(!mount("tmpfs", "small", "tmpfs", MS_REMOUNT, "size=16m"));
	memset(&error, 0, sizeof(error));
	TRY(!sde_zarr_storage_resume(&storage, "small/run.zarr", NULL, &error));
	twin_check(&twin, storage);
	twin_store(&twin, storage, 9);
	TRY(!sde_storage_close(storage));
	twin_check_path(&twin, "small/run.zarr");
	twin_free(&twin);
	return 0;
}

static void a_full_disk_costs_nothing(void **state)
{
	int ret;

	(void)state;
	ret = as_a_child(fill_a_small_disk);
	if (ret == NO_MOUNT) {
		print_message("a private mount is not allowed here\n");
		skip();
	}
	assert_int_equal(ret, 0);
}

/* The limit on a file's size: EFBIG, where SIGXFSZ is ignored. */
static int meet_the_file_size_limit(void)
{
	struct sde_zarr_options options = small();
	struct rlimit limit;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct twin twin;

	signal(SIGXFSZ, SIG_IGN);
	TRY(!getrlimit(RLIMIT_FSIZE, &limit));
	limit.rlim_cur = 3000;
	TRY(!setrlimit(RLIMIT_FSIZE, &limit));
	TRY(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error) == -EFBIG);
	TRY(!storage && error.code == -EFBIG && scratch_entries(".") == 0);
	/* a ring of 4096-byte files fits, a block of times (64 KiB) does not */
	limit.rlim_cur = 5000;
	TRY(!setrlimit(RLIMIT_FSIZE, &limit));
	TRY(!sde_zarr_storage_create(&storage, PATH, &ensemble, &options, NULL));
	twin_init(&twin, &ensemble, 1, 3);
	/* fewer than a chunk: nothing is written before save */
	twin_store(&twin, storage, 3);
	TRY(sde_storage_save(storage) == -EFBIG);
	TRY(strstr(twin_sentence(storage), "time/c/0"));
	twin_check(&twin, storage);
	twin_check_path(&twin, PATH);
	TRY(sde_storage_close(storage) == -EFBIG);
	limit.rlim_cur = limit.rlim_max;
	TRY(!setrlimit(RLIMIT_FSIZE, &limit));
	TRY(!sde_zarr_storage_resume(&storage, PATH, NULL, NULL));
	twin_check(&twin, storage);
	TRY(!sde_storage_close(storage));
	twin_check_path(&twin, PATH);
	twin_free(&twin);
	return 0;
}

static void a_limit_on_the_size_of_files_costs_nothing(void **state)
{
	(void)state;
	assert_int_equal(as_a_child(meet_the_file_size_limit), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(an_impossible_ensemble_is_refused),
		SCRATCH_TEST(options_out_of_range_are_refused),
		SCRATCH_TEST(an_inner_chunk_over_2_gib_is_refused),
		SCRATCH_TEST(unknown_options_are_refused_unless_they_are_zero),
		SCRATCH_TEST(null_is_refused_wherever_it_can_be_seen),
		SCRATCH_TEST(calls_out_of_order_are_refused_and_cost_nothing),
		SCRATCH_TEST(close_drops_a_slot_that_was_never_committed),
		SCRATCH_TEST(an_iteration_number_must_fit_int64),
		SCRATCH_TEST(a_state_larger_than_its_room_is_refused),
		SCRATCH_TEST(an_empty_store_has_no_data),
		SCRATCH_TEST(a_storage_opened_read_only_takes_nothing),
		SCRATCH_TEST(a_store_that_is_written_is_locked),
		SCRATCH_TEST(a_selection_outside_the_shape_is_refused),
		SCRATCH_TEST(a_path_that_cannot_be_a_store_is_refused),
		SCRATCH_TEST(a_directory_that_cannot_be_written_is_refused),
		SCRATCH_TEST(somebody_elses_directory_is_left_alone),
		SCRATCH_TEST(an_empty_directory_is_as_good_as_none),
		SCRATCH_TEST(a_damaged_root_document_is_corrupt),
		SCRATCH_TEST(a_newer_format_is_refused),
		SCRATCH_TEST(a_missing_chunk_file_is_a_hole_that_is_named),
		SCRATCH_TEST(verify_names_each_damaged_chunk_and_goes_on),
		SCRATCH_TEST(every_flipped_bit_of_a_chunk_is_found),
		SCRATCH_TEST(a_flipped_bit_in_the_last_chunk_stops_a_resume),
		SCRATCH_TEST(a_chunk_file_in_the_wrong_place_is_corrupt),
		SCRATCH_TEST(a_damaged_time_block_is_named),
		SCRATCH_TEST(resume_refuses_options_that_contradict_the_store),
		SCRATCH_TEST(a_full_disk_costs_nothing),
		SCRATCH_TEST(a_limit_on_the_size_of_files_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
