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
static unsigned zarr_format = 3;	/* of the store under test */

static struct sde__metadata example(uint64_t snapshots)
{
	return (struct sde__metadata){
		.geometry = { .dimension = 2, .trajectories = 21, .chunk_size = 16,
			      .inner_width = 8, .dtype = SDE_FLOAT64 },
		.zarr_format = zarr_format, .codec = SDE_CODEC_BLOSC_LZ4_BITSHUFFLE,
		.checksum = zarr_format == 3,
		.stride = 1, .snapshots = snapshots, .run = "0123456789abcdef0123456789abcdef",
	};
}

/* A store with its directories; documents are for the tests to write. */
static void make_store(void)
{
	bool exists;

	fault_io_init(&fault);
	sde__home_init(&home, &fault.io);
	home.format = zarr_format;
	assert_int_equal(sde__home_build(&home, "run.zarr", false, &exists, NULL), 0);
	assert_int_equal(sde__home_settle(&home, NULL, NULL), 0);
	fault_io_arm(&fault, 0, 0, false);
}

static int write_all(uint64_t snapshots, bool shrinking, bool durable, struct sde_error *error)
{
	const struct sde__metadata metadata = example(snapshots);

	return sde__documents_write(&home, &metadata, shrinking, durable, error);
}

static int create_all(uint64_t snapshots, bool durable, struct sde_error *error)
{
	const struct sde__metadata metadata = example(snapshots);

	return sde__documents_create(&home, &metadata, durable, error);
}

/* The test for either format, each in a store of its own. */
static void in_both_formats(void (*test)(void))
{
	for (zarr_format = 2; zarr_format <= 3; zarr_format++) {
		make_store();
		test();
		sde__home_close(&home);
		assert_int_equal(fault.handles, 0);
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(),
						     "run.zarr"), 0);
	}
	zarr_format = 3;
}

static void assert_snapshots(uint64_t expected)
{
	struct sde_error error = { 0 };
	struct sde__metadata metadata;

	if (sde__documents_read(&home, &metadata, &error))
		fail_msg("%s", error.text);
	assert_int_equal(metadata.snapshots, expected);
	assert_int_equal(metadata.geometry.trajectories, 21);
	assert_int_equal(metadata.zarr_format, zarr_format);
	sde__metadata_clear(&metadata);
}

/* Paths below the root of the documents put in place, in order. */
static char order[512];

static void find_order(void)
{
	order[0] = '\0';
	/* each rename is followed by the sync of its directory */
	for (int i = 0; (i = fault_io_find(&fault, i, "rename_at", NULL)) >= 0; i++) {
		const int sync = fault_io_find(&fault, i, "sync", NULL);
		const char *directory = fault.event[i + 1].name, *name = fault.event[i].name;
		const size_t n = strlen(name), end = strlen(order);
		const bool below = !strcmp(directory, "time") || !strcmp(directory, "iteration") ||
				   !strcmp(directory, "data");

		assert_int_equal(sync, i + 1);
		assert_true(n > 4 && !strcmp(name + n - 4, ".tmp"));
		snprintf(order + end, sizeof(order) - end, "%s%s%s%.*s", end ? " " : "",
			 below ? directory : "", below ? "/" : "", (int)n - 4, name);
	}
}

static const char *const growing[] = {
	"time/.zarray iteration/.zarray data/.zarray .zattrs .zmetadata",
	"time/zarr.json iteration/zarr.json data/zarr.json zarr.json",
};
static const char *const shrinking[] = {
	".zmetadata .zattrs data/.zarray iteration/.zarray time/.zarray",
	"zarr.json data/zarr.json iteration/zarr.json time/zarr.json",
};

static void grow(void)
{
	assert_int_equal(create_all(0, true, NULL), 0);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(write_all(100, false, true, NULL), 0);
	find_order();
	assert_string_equal(order, growing[zarr_format - 2]);
	assert_snapshots(100);
}

static void a_growing_store_writes_its_root_last(void **state)
{
	(void)state;
	in_both_formats(grow);
}

static void shrink(void)
{
	assert_int_equal(create_all(100, true, NULL), 0);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(write_all(10, true, true, NULL), 0);
	find_order();
	assert_string_equal(order, shrinking[zarr_format - 2]);
	assert_snapshots(10);
}

static void a_shrinking_store_writes_its_root_first(void **state)
{
	(void)state;
	in_both_formats(shrink);
}

static void create(void)
{
	char expected[512];

	assert_int_equal(create_all(3, true, NULL), 0);
	find_order();
	snprintf(expected, sizeof(expected), "%s%s", zarr_format == 3 ? "" :
		 ".zgroup time/.zattrs iteration/.zattrs data/.zattrs ", growing[zarr_format - 2]);
	assert_string_equal(order, expected);
	assert_snapshots(3);
}

static void what_never_changes_is_written_once_and_first(void **state)
{
	(void)state;
	in_both_formats(create);
}

static void be_durable(void)
{
	unsigned found = 0;

	assert_int_equal(create_all(3, true, NULL), 0);
	for (int i = 0; (i = fault_io_find(&fault, i, "rename_at", NULL)) >= 0; i++, found++) {
		assert_string_equal(fault.event[i - 1].call, "close");
		assert_string_equal(fault.event[i - 2].call, "sync");
		assert_string_equal(fault.event[i - 2].name, fault.event[i].name);
	}
	assert_int_equal(found, zarr_format == 3 ? 4 : 9);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(write_all(4, false, false, NULL), 0);
	assert_int_equal(fault_io_count(&fault, "sync", NULL), 0);
	assert_snapshots(4);
}

static void each_document_is_durable_before_its_rename(void **state)
{
	(void)state;
	in_both_formats(be_durable);
}

static void assert_no_temporaries(void)
{
	char path[64];

	for (int i = 0; i < SDE__DOCUMENT_COUNT; i++) {
		const char *document = sde__document_path(zarr_format, (enum sde__document)i);

		if (!document)
			continue;
		snprintf(path, sizeof(path), "run.zarr/%s", document);
		assert_true(scratch_exists(path));
		snprintf(path, sizeof(path), "run.zarr/%s.tmp", document);
		assert_false(scratch_exists(path));
	}
}

/* From `before` snapshots to `after`, any one call failing. */
static void fail_between(uint64_t before, uint64_t after)
{
	const bool less = after < before;

	assert_int_equal(create_all(before, true, NULL), 0);
	for (unsigned long n = 1; ; n++) {
		const int handles = fault.handles;
		struct sde_error error = { 0 };
		struct sde__metadata metadata;
		int ret;

		assert_int_equal(write_all(before, !less, true, NULL), 0);
		fault_io_arm(&fault, n, ENOSPC, false);
		ret = write_all(after, less, true, &error);
		if (!fault.fired) {
			assert_int_equal(ret, 0);
			fault_io_arm(&fault, 0, 0, false);
			break;
		}
		assert_int_equal(ret, -ENOSPC);
		assert_non_null(strstr(error.text, zarr_format == 3 ? "zarr.json'" : "/.z"));
		assert_non_null(strstr(error.text, "'run.zarr/"));
		assert_int_equal(fault.handles, handles);
		assert_no_temporaries();
		fault_io_arm(&fault, 0, 0, false);
		assert_int_equal(sde__documents_read(&home, &metadata, NULL), 0);
		assert_true(metadata.snapshots == before || metadata.snapshots == after);
		sde__metadata_clear(&metadata);
	}
	assert_snapshots(after);
}

static void fail_growing(void)
{
	fail_between(10, 100);
}

static void fail_shrinking(void)
{
	fail_between(100, 10);
}

static void any_failing_call_leaves_a_store_of_the_old_or_new_length(void **state)
{
	(void)state;
	in_both_formats(fail_growing);
	in_both_formats(fail_shrinking);
}

static void fail_creating(void)
{
	for (unsigned long n = 1; ; n++) {
		struct sde_error error = { 0 };
		int ret;

		fault_io_arm(&fault, n, ENOSPC, false);
		ret = create_all(0, true, &error);
		assert_int_equal(error.code, ret);
		if (!fault.fired) {
			assert_int_equal(ret, 0);
			break;
		}
		assert_int_equal(ret, -ENOSPC);
		assert_non_null(strstr(error.text, "cannot write 'run.zarr/"));
	}
	fault_io_arm(&fault, 0, 0, false);
	assert_no_temporaries();
	assert_snapshots(0);
}

static void any_failing_call_of_creating_is_returned(void **state)
{
	(void)state;
	in_both_formats(fail_creating);
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
	assert_string_equal(text, "'run.zarr' has no zarr.json: it is not a store of this library");
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

static void what_is_no_store_of_format_2_is_said_to_be_none(void **state)
{
	static const char group[] = "{\"zarr_format\": 2}";
	char text[256];

	(void)state;
	zarr_format = 2;
	make_store();
	scratch_write("run.zarr/.zgroup", group, strlen(group));
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_NOT_STORE);
	assert_string_equal(text, "'run.zarr' has no .zattrs: it is not a store of this library");
	scratch_write("run.zarr/.zattrs", "{\"title\": 1}", 12);
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_NOT_STORE);
	assert_non_null(strstr(text, "'run.zarr/.zattrs': not a store"));
	scratch_write("run.zarr/.zattrs", "{", 1);
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_CORRUPT);
	assert_non_null(strstr(text, "'run.zarr/.zattrs': line 1"));
	scratch_write("run.zarr/.zattrs", "", 0);
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_CORRUPT);
	assert_int_equal(write_all(3, false, false, NULL), 0);
	assert_snapshots(3);
	scratch_write("run.zarr/data/.zarray", "", 0);
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_CORRUPT);
	assert_int_equal(unlink("run.zarr/data/.zarray"), 0);
	assert_int_equal(read_code(text, sizeof(text)), SDE_E_CORRUPT);
	assert_string_equal(text, "'run.zarr/data/.zarray': missing");
	assert_int_equal(unlink("run.zarr/.zattrs"), 0);
	assert_int_equal(symlink("elsewhere", "run.zarr/.zattrs"), 0);
	assert_int_equal(read_code(text, sizeof(text)), -ELOOP);
	sde__home_close(&home);
	assert_int_equal(fault.handles, 0);
	zarr_format = 3;
}

static void the_attributes_of_time_may_be_missing(void **state)
{
	struct sde__metadata metadata, out;
	char units[] = "h";

	(void)state;
	zarr_format = 2;
	make_store();
	metadata = example(3);
	metadata.time_units = units;
	assert_int_equal(sde__documents_create(&home, &metadata, false, NULL), 0);
	assert_int_equal(sde__documents_read(&home, &out, NULL), 0);
	assert_string_equal(out.time_units, "h");
	sde__metadata_clear(&out);
	assert_int_equal(unlink("run.zarr/time/.zattrs"), 0);
	assert_int_equal(sde__documents_read(&home, &out, NULL), 0);
	assert_null(out.time_units);
	sde__metadata_clear(&out);
	/* the directory is missed by those who need it */
	assert_int_equal(sde__io_remove_tree(&sde__io_posix, home.root, "time"), 0);
	assert_int_equal(sde__documents_read(&home, &out, NULL), 0);
	sde__metadata_clear(&out);
	sde__home_close(&home);
	assert_int_equal(fault.handles, 0);
	zarr_format = 3;
}

/* As sde__home_open has found it, not as it was made. */
static void reopen(void)
{
	sde__home_close(&home);
	sde__home_init(&home, &fault.io);
	assert_int_equal(sde__home_open(&home, "run.zarr", NULL), 0);
}

static void read_reopened(void)
{
	assert_int_equal(create_all(7, false, NULL), 0);
	reopen();
	assert_snapshots(7);
}

static void a_store_is_read_in_the_format_it_has(void **state)
{
	(void)state;
	in_both_formats(read_reopened);
}

static void with_documents_of_both_formats_it_is_3(void **state)
{
	(void)state;
	make_store();
	zarr_format = 2;
	assert_int_equal(create_all(7, false, NULL), 0);
	zarr_format = 3;
	assert_int_equal(create_all(5, false, NULL), 0);
	reopen();
	assert_snapshots(5);
	sde__home_close(&home);
	assert_int_equal(fault.handles, 0);
}

static void fail_reading(void)
{
	struct sde__metadata metadata;

	assert_int_equal(create_all(3, false, NULL), 0);
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
}

static void any_failing_call_of_reading_is_returned(void **state)
{
	(void)state;
	in_both_formats(fail_reading);
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

static void truncate_between(void)
{
	assert_int_equal(create_all(100, false, NULL), 0);
	length = 100;
	left = 3;
	fault.before = truncate_meanwhile;
	assert_snapshots(85);
	assert_int_equal(left, 0);
	fault.before = NULL;
}

static void a_store_truncated_between_two_documents_is_read_again(void **state)
{
	(void)state;
	in_both_formats(truncate_between);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_growing_store_writes_its_root_last),
		SCRATCH_TEST(a_shrinking_store_writes_its_root_first),
		SCRATCH_TEST(what_never_changes_is_written_once_and_first),
		SCRATCH_TEST(each_document_is_durable_before_its_rename),
		SCRATCH_TEST(any_failing_call_leaves_a_store_of_the_old_or_new_length),
		SCRATCH_TEST(any_failing_call_of_creating_is_returned),
		SCRATCH_TEST(what_is_no_store_is_said_to_be_none),
		SCRATCH_TEST(what_is_no_store_of_format_2_is_said_to_be_none),
		SCRATCH_TEST(the_attributes_of_time_may_be_missing),
		SCRATCH_TEST(a_store_is_read_in_the_format_it_has),
		SCRATCH_TEST(with_documents_of_both_formats_it_is_3),
		SCRATCH_TEST(any_failing_call_of_reading_is_returned),
		SCRATCH_TEST(a_store_truncated_between_two_documents_is_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
