/* SPDX-License-Identifier: MIT */
/*
 * A run under the policy none, then one under another: by then everything that was
 * found is on the device. (That nothing else is needed is for crash/test_power_loss.)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "scratch.h"
#include "twin.h"
#include "zarr_storage.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define MARK PATH "/data/.unsynced"
enum { T = 4, INNER = 3 };

static const struct sde_ensemble ensemble = { 2, 5, SDE_FLOAT64 };
static struct fault_io fault;

static struct sde_storage *begin(unsigned format, enum sde_sync sync, int *ret,
				 struct sde_error *error)
{
	const struct sde__zarr_hooks hooks = { .io = &fault.io, .synchronous = true };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;

	options.sync = sync;
	if (format) {
		options.chunk_size = T;
		options.trajectories_per_chunk = 2;
		options.keepbits = 20;
		options.zarr_format = format;
		*ret = sde__zarr_create(&storage, PATH, &ensemble, &options, &hooks, error);
	} else {
		*ret = sde__zarr_resume(&storage, PATH, &options, &hooks, error);
	}
	return storage;
}

/* A closed store of two chunks and a half, never synced. */
static void make(struct twin *twin, unsigned format)
{
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	int ret;

	fault_io_init(&fault);
	twin_init(twin, &ensemble, 1, 3);
	twin->keepbits = 20;
	storage = begin(format, SDE_SYNC_NONE, &ret, &error);
	twin_assert_ok(ret, error.text);
	twin_store(twin, storage, 2 * T + 2);
	assert_int_equal(sde_storage_close(storage), 0);
	assert_true(scratch_exists(MARK));
}

static void take_away(struct twin *twin)
{
	twin_free(twin);
	assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH), 0);
}

/* In front of the first file that resume puts in place. */
static void is_synced(const char *name, unsigned times)
{
	const int written = fault_io_find(&fault, 0, "rename_at", NULL);
	unsigned found = 0;

	for (int at = -1; (at = fault_io_find(&fault, at + 1, "sync", name)) >= 0 && at < written; )
		found++;
	if (found < times)
		fail_msg("'%s' was synced %u times, not %u", name, found, times);
}

static void what_was_never_synced_is_before_it_is_built_on(void **state)
{
	static const char *const names_3[] = { "zarr.json", "0", "1", "2", ".restart", "data", "time" };
	static const unsigned times_3[] = { 4, 3, 1, 1, 1, 1, 1 };
	static const char *const names_2[] = { ".zarray", ".zattrs", ".zgroup", ".zmetadata", "0.0.0",
					       "0.2.2", "0", ".side", ".restart" };
	static const unsigned times_2[] = { 3, 4, 1, 1, 1, 1, 3, 1, 1 };

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		struct sde_storage *storage;
		struct sde_error error = { 0 };
		struct twin twin;
		int ret;

		make(&twin, format);
		/* neither a link nor a directory that somebody put there is followed */
		assert_int_equal(symlink("/dev/null", PATH "/data/link"), 0);
		fault_io_arm(&fault, 0, 0, false);
		storage = begin(0, SDE_SYNC_CHUNK, &ret, &error);
		twin_assert_ok(ret, error.text);
		assert_false(scratch_exists(MARK));
		for (unsigned i = 0; format == 3 && i < 7; i++)
			is_synced(names_3[i], times_3[i]);
		for (unsigned i = 0; format == 2 && i < 9; i++)
			is_synced(names_2[i], times_2[i]);
		twin_store(&twin, storage, 3);
		assert_int_equal(sde_storage_close(storage), 0);
		twin_check_path(&twin, PATH);
		/* once is enough */
		fault_io_arm(&fault, 0, 0, false);
		storage = begin(0, SDE_SYNC_CHUNK, &ret, &error);
		twin_assert_ok(ret, error.text);
		assert_int_equal(fault_io_count(&fault, "sync", format == 3 ? "1" : "0.0.1"), 0);
		assert_int_equal(sde_storage_close(storage), 0);
		take_away(&twin);
	}
}

static void a_resume_without_syncs_says_so(void **state)
{
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	struct twin twin;
	int ret;

	(void)state;
	make(&twin, 3);
	for (int i = 0; i < 2; i++) {
		storage = begin(0, i ? SDE_SYNC_NONE : SDE_SYNC_PUBLISH, &ret, &error);
		twin_assert_ok(ret, error.text);
		assert_int_equal(scratch_exists(MARK), i);
		twin_store(&twin, storage, 1);
		assert_int_equal(sde_storage_close(storage), 0);
		assert_int_equal(scratch_exists(MARK), i);
	}
	/* who did not sync before, and does not now, has nothing to do */
	fault_io_arm(&fault, 0, 0, false);
	storage = begin(0, SDE_SYNC_NONE, &ret, &error);
	assert_int_equal(fault_io_count(&fault, "sync", "1"), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_check_path(&twin, PATH);
	take_away(&twin);
}

/* Each call of resume fails once: until everything was synced, the mark stays. */
static void a_failure_leaves_the_mark(void **state)
{
	struct sde_storage *storage;
	unsigned failures = 0;
	struct twin twin;
	bool fired;
	int ret;

	(void)state;
	make(&twin, 3);
	for (unsigned long n = 1; ; n++) {
		struct sde_error error = { 0 };

		fault_io_arm(&fault, n, EIO, false);
		storage = begin(0, SDE_SYNC_CHUNK, &ret, &error);
		fired = fault.fired;
		fault_io_arm(&fault, 0, 0, false);
		if (!ret) {
			assert_int_equal(sde_storage_close(storage), 0);
			if (!fired)
				break;
		} else {
			twin_assert_sentence(error.text, NULL, NULL);
			failures += scratch_exists(MARK);
			assert_int_equal(fault.handles, 0);
		}
		scratch_write(MARK, "", 0);
	}
	assert_false(scratch_exists(MARK));
	/* 11 files and 7 directories are opened and synced, at least */
	assert_true(failures > 2 * 11 + 7);
	twin_check_path(&twin, PATH);
	take_away(&twin);
}

static void whatever_bears_its_name_is_the_mark(void **state)
{
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	struct twin twin;
	int ret;

	(void)state;
	make(&twin, 3);
	assert_int_equal(unlink(MARK), 0);
	assert_int_equal(symlink("nowhere", MARK), 0);
	storage = begin(0, SDE_SYNC_NONE, &ret, &error);
	/* it is there: that is all it has to say */
	twin_assert_ok(ret, error.text);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_free(&twin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(what_was_never_synced_is_before_it_is_built_on),
		SCRATCH_TEST(a_resume_without_syncs_says_so),
		SCRATCH_TEST(a_failure_leaves_the_mark),
		SCRATCH_TEST(whatever_bears_its_name_is_the_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
