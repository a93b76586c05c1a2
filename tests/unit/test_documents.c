/* SPDX-License-Identifier: MIT */
/* The metadata documents: which is written when, and a reader among writers. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "documents.h"
#include "fault_io.h"
#include "scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct fault_io fault;
static struct sde__home home;

static struct sde__metadata example(uint64_t snapshots)
{
	return (struct sde__metadata){
		.geometry = { .dimension = 2, .trajectories = 21, .chunk_size = 16,
			      .inner_width = 8, .dtype = SDE_FLOAT64 },
		.zarr_format = 3, .codec = SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, .checksum = true,
		.stride = 1, .snapshots = snapshots, .run = "0123456789abcdef0123456789abcdef",
	};
}

/* A store with its directories; documents are for the tests to write. */
static void make_store(void)
{
	bool exists;

	fault_io_init(&fault);
	sde__home_init(&home, &fault.io);
	assert_int_equal(sde__home_build(&home, "run.zarr", false, &exists, NULL), 0);
	assert_int_equal(sde__home_settle(&home, NULL, NULL), 0);
	fault_io_arm(&fault, 0, 0, false);
}

static int write_all(uint64_t snapshots, bool shrinking, bool durable, struct sde_error *error)
{
	const struct sde__metadata metadata = example(snapshots);

	return sde__documents_write(&home, &metadata, shrinking, durable, error);
}

static void assert_snapshots(uint64_t expected)
{
	struct sde_error error = { 0 };
	struct sde__metadata metadata;

	if (sde__documents_read(&home, &metadata, &error))
		fail_msg("%s", error.text);
	assert_int_equal(metadata.snapshots, expected);
	assert_int_equal(metadata.geometry.trajectories, 21);
	sde__metadata_clear(&metadata);
}

/* In which of the four directories the renames were, as letters. */
static char order[8];
static size_t ordered;

static char letter(const char *directory)
{
	return (char)(!strcmp(directory, "time") ? 't' : !strcmp(directory, "iteration") ? 'i' :
		      !strcmp(directory, "data") ? 'd' : 'r');
}

static void find_order(void)
{
	/* each rename is followed by the sync of its directory */
	ordered = 0;
	memset(order, 0, sizeof(order));
	for (int i = 0; (i = fault_io_find(&fault, i, "rename_at", "zarr.json.tmp")) >= 0; i++) {
		const int sync = fault_io_find(&fault, i, "sync", NULL);

		assert_int_equal(sync, i + 1);
		assert_true(ordered < 4);
		order[ordered++] = letter(fault.event[sync].name);
	}
}

static void a_growing_store_writes_its_root_last(void **state)
{
	(void)state;
	make_store();
	assert_int_equal(write_all(0, false, true, NULL), 0);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(write_all(100, false, true, NULL), 0);
	find_order();
	assert_string_equal(order, "tidr");
	assert_snapshots(100);
	sde__home_close(&home);
}

static void a_shrinking_store_writes_its_root_first(void **state)
{
	(void)state;
	make_store();
	assert_int_equal(write_all(100, false, true, NULL), 0);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(write_all(10, true, true, NULL), 0);
	find_order();
	assert_string_equal(order, "rdit");
	assert_snapshots(10);
	sde__home_close(&home);
}

static void each_document_is_durable_before_its_rename(void **state)
{
	unsigned found = 0;

	(void)state;
	make_store();
	assert_int_equal(write_all(3, false, true, NULL), 0);
	for (int i = 0; (i = fault_io_find(&fault, i, "rename_at", NULL)) >= 0; i++, found++) {
		assert_string_equal(fault.event[i - 1].call, "close");
		assert_string_equal(fault.event[i - 2].call, "sync");
		assert_string_equal(fault.event[i - 2].name, "zarr.json.tmp");
	}
	assert_int_equal(found, 4);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(write_all(4, false, false, NULL), 0);
	assert_int_equal(fault_io_count(&fault, "sync", NULL), 0);
	assert_snapshots(4);
	sde__home_close(&home);
}

static void assert_no_temporaries(void)
{
	assert_int_equal(scratch_entries("run.zarr"), 4);	/* zarr.json time iteration data */
	assert_int_equal(scratch_entries("run.zarr/time"), 2);
	assert_int_equal(scratch_entries("run.zarr/iteration"), 2);
	assert_int_equal(scratch_entries("run.zarr/data"), 3);
}

static void any_failing_call_leaves_a_store_of_the_old_or_new_length(void **state)
{
	(void)state;
	for (int shrinking = 0; shrinking < 2; shrinking++) {
		const uint64_t before = shrinking ? 100 : 10, after = shrinking ? 10 : 100;

		for (unsigned long n = 1; ; n++) {
			struct sde_error error = { 0 };
			struct sde__metadata metadata;
			const int handles = fault.handles;
			int ret;

			if (n == 1)
				make_store();
			assert_int_equal(write_all(before, !shrinking, true, NULL), 0);
			fault_io_arm(&fault, n, ENOSPC, false);
			ret = write_all(after, shrinking, true, &error);
			if (!fault.fired) {
				assert_int_equal(ret, 0);
				fault_io_arm(&fault, 0, 0, false);
				break;
			}
			assert_int_equal(ret, -ENOSPC);
			assert_non_null(strstr(error.text, "zarr.json'"));
			assert_non_null(strstr(error.text, "'run.zarr/"));
			if (n > 1)
				assert_int_equal(fault.handles, handles);
			assert_no_temporaries();
			fault_io_arm(&fault, 0, 0, false);
			assert_int_equal(sde__documents_read(&home, &metadata, NULL), 0);
			assert_true(metadata.snapshots == before || metadata.snapshots == after);
			sde__metadata_clear(&metadata);
		}
		assert_snapshots(after);
		sde__home_close(&home);
		assert_int_equal(fault.handles, 0);
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(),
						     "run.zarr"), 0);
	}
}

static int read_code(char *text, size_t size)
{
	struct sde_error error = { 0 };
	struct sde__metadata metadata;
	const int ret = sde__documents_read(&home, &metadata, &error);

	if (!ret)
		sde__metadata_clear(&metadata);
	assert_int_equal(error.code, ret);
	snprintf(text, size, "%s", error.text);
	return ret;
}

static void what_is_no_store_is_said_to_be_none(void **state)
{
	static const char group[] = "{\"zarr_format\": 3, \"node_type\": \"group\"}";
	char text[256];

	(void)state;
	make_store();
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_NOT_STORE);
	assert_non_null(strstr(text, "'run.zarr' has no zarr.json"));
	scratch_write("run.zarr/zarr.json", group, strlen(group));
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_NOT_STORE);
	scratch_write("run.zarr/zarr.json", "{", 1);
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_CORRUPT);
	assert_non_null(strstr(text, "zarr.json"));
	assert_int_equal(write_all(3, false, false, NULL), 0);
	assert_int_equal(unlink("run.zarr/data/zarr.json"), 0);
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_CORRUPT);
	assert_non_null(strstr(text, "run.zarr/data/zarr.json"));
	assert_int_equal(unlink("run.zarr/zarr.json"), 0);
	assert_int_equal(symlink("elsewhere", "run.zarr/zarr.json"), 0);
	assert_int_equal(read_code(text, sizeof(text)), -ELOOP);
	sde__home_close(&home);
	assert_int_equal(fault.handles, 0);
}

static void any_failing_call_of_reading_is_returned(void **state)
{
	struct sde__metadata metadata;

	(void)state;
	make_store();
	assert_int_equal(write_all(3, false, false, NULL), 0);
	for (unsigned long n = 1; ; n++) {
		struct sde_error error = { 0 };
		int ret;

		fault_io_arm(&fault, n, EIO, true);
		ret = sde__documents_read(&home, &metadata, &error);
		assert_int_equal(error.code, ret);
		if (!ret) {
			sde__metadata_clear(&metadata);
			break;
		}
		assert_int_equal(ret, -EIO);
		assert_non_null(strstr(error.text, "'run.zarr/"));
	}
	sde__home_close(&home);
	assert_int_equal(fault.handles, 0);
}

/* A writer truncates between the reader's two documents, `left` times. */
static unsigned left;
static uint64_t length;

static void truncate_meanwhile(void *ctx, const char *call, const char *name)
{
	struct sde__home writer = home;
	struct sde__metadata metadata;

	(void)ctx;
	if (!left || strcmp(call, "open_at") || strcmp(name, "data"))
		return;
	left--;
	length -= 5;
	metadata = example(length);
	writer.io = &sde__io_posix;
	assert_int_equal(sde__documents_write(&writer, &metadata, true, false, NULL), 0);
}

static void a_store_truncated_between_two_documents_is_read_again(void **state)
{
	(void)state;
	make_store();
	assert_int_equal(write_all(100, false, false, NULL), 0);
	length = 100;
	left = 3;
	fault.before = truncate_meanwhile;
	assert_snapshots(85);
	assert_int_equal(left, 0);
	fault.before = NULL;
	sde__home_close(&home);
	assert_int_equal(fault.handles, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_growing_store_writes_its_root_last),
		SCRATCH_TEST(a_shrinking_store_writes_its_root_first),
		SCRATCH_TEST(each_document_is_durable_before_its_rename),
		SCRATCH_TEST(any_failing_call_leaves_a_store_of_the_old_or_new_length),
		SCRATCH_TEST(what_is_no_store_is_said_to_be_none),
		SCRATCH_TEST(any_failing_call_of_reading_is_returned),
		SCRATCH_TEST(a_store_truncated_between_two_documents_is_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
