/* SPDX-License-Identifier: MIT */
/* The time and iteration arrays: every number in its block, whatever fails between. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "series.h"

#include "crc32c.h"
#include "fault_io.h"
#include "scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCK 8192
#define FILL SDE__SERIES_TIME_FILL

static struct fault_io fault;
static struct sde__series series;

static const uint64_t lengths[] = { 0, 1, 8191, 8192, 8193, 16384, 20000 };
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static uint64_t number(uint64_t i)
{
	return (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static struct sde__series_files files(void)
{
	return (struct sde__series_files){ &fault.io, scratch_directory(), "run/time/c", FILL, true };
}

static int start(uint64_t count, bool durable)
{
	const struct sde__series_files f = files();

	memset(&series, 0x55, sizeof(series));
	return sde__series_open(&series, &f, count, durable, NULL);
}

static int read_block(uint64_t block, uint64_t *out, struct sde_error *error)
{
	const struct sde__series_files f = files();

	return sde__series_read_block(&f, block, out, NULL, error);
}

static void append(uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		assert_int_equal(sde__series_append(&series, number(i), NULL), 0);
}

/* The files, read without the library: 8192 numbers and their CRC-32C each. */
static void assert_files(uint64_t count)
{
	const uint64_t blocks = (count + BLOCK - 1) / BLOCK;

	assert_int_equal(scratch_entries("."), blocks);
	for (uint64_t j = 0; j < blocks; j++) {
		uint64_t value;
		unsigned char *bytes;
		char name[24];
		uint32_t crc;
		size_t size;

		snprintf(name, sizeof(name), "%u", (unsigned)j);
		bytes = scratch_read(name, &size);
		assert_int_equal(size, 8 * BLOCK + 4);
		memcpy(&crc, bytes + 8 * BLOCK, 4);
		assert_int_equal(crc, sde__crc32c_table(0, bytes, 8 * BLOCK));
		for (uint64_t i = 0; i < BLOCK; i++) {
			memcpy(&value, bytes + 8 * i, 8);
			if (value != (j * BLOCK + i < count ? number(j * BLOCK + i) : FILL))
				fail_msg("number %u of block %u", (unsigned)i, (unsigned)j);
		}
		free(bytes);
	}
}

static void clear_files(void)
{
	char name[24];

	for (unsigned j = 0; j < 4; j++) {
		snprintf(name, sizeof(name), "%u", j);
		unlink(name);
	}
}

static void numbers_appended_in_one_go_are_in_the_files(void **state)
{
	(void)state;
	fault_io_init(&fault);
	for (size_t k = 0; k < LENGTHS; k++) {
		assert_int_equal(start(0, true), 0);
		append(0, lengths[k]);
		assert_int_equal(sde__series_flush(&series, NULL), 0);
		assert_int_equal(series.count, lengths[k]);
		assert_files(lengths[k]);
		fault_io_arm(&fault, 0, 0, false);
		assert_int_equal(sde__series_flush(&series, NULL), 0);
		assert_int_equal(fault.calls, 0);
		clear_files();
	}
	assert_int_equal(fault.handles, 0);
}

static void flushes_in_between_change_nothing(void **state)
{
	uint64_t done;

	(void)state;
	fault_io_init(&fault);
	for (size_t k = 0; k < LENGTHS; k++) {
		assert_int_equal(start(0, false), 0);
		for (done = 0; done < lengths[k]; ) {
			const uint64_t next = done + 1 + done % 3000;

			append(done, next < lengths[k] ? next : lengths[k]);
			done = next < lengths[k] ? next : lengths[k];
			assert_int_equal(sde__series_flush(&series, NULL), 0);
			assert_files(done);
		}
		clear_files();
	}
}

static void a_reopened_series_goes_on_where_it_was(void **state)
{
	(void)state;
	fault_io_init(&fault);
	for (size_t k = 0; k < LENGTHS; k++)
		for (size_t m = k; m < LENGTHS; m++) {
			assert_int_equal(start(0, false), 0);
			append(0, lengths[k]);
			assert_int_equal(sde__series_flush(&series, NULL), 0);
			assert_int_equal(start(lengths[k], false), 0);
			append(lengths[k], lengths[m]);
			assert_int_equal(sde__series_flush(&series, NULL), 0);
			assert_files(lengths[m]);
			clear_files();
		}
}

/* A block ahead of the shape (a crash between block and metadata, a truncate). */
static void what_is_ahead_of_the_count_is_written_over(void **state)
{
	(void)state;
	fault_io_init(&fault);
	assert_int_equal(start(0, false), 0);
	for (int i = 0; i < 300; i++)
		assert_int_equal(sde__series_append(&series, i < 100 ? number((uint64_t)i) : 1,
						    NULL), 0);
	assert_int_equal(sde__series_flush(&series, NULL), 0);
	assert_int_equal(start(100, false), 0);
	append(100, 120);
	assert_int_equal(sde__series_flush(&series, NULL), 0);
	assert_files(120);
}

static void only_a_durable_series_is_synced(void **state)
{
	int sync, rename;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(start(0, true), 0);
	append(0, 1);
	assert_int_equal(sde__series_flush(&series, NULL), 0);
	sync = fault_io_find(&fault, 0, "sync", "0.tmp");
	rename = fault_io_find(&fault, 0, "rename_at", "0.tmp");
	assert_true(sync >= 0 && sync < rename);
	assert_true(fault_io_find(&fault, rename, "sync", NULL) > rename);
	assert_int_equal(start(1, false), 0);
	append(1, 2);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__series_flush(&series, NULL), 0);
	assert_int_equal(fault_io_count(&fault, "sync", NULL), 0);
}

static void a_failed_flush_loses_nothing(void **state)
{
	uint64_t count = 5;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(start(0, true), 0);
	append(0, 5);
	assert_int_equal(sde__series_flush(&series, NULL), 0);
	for (unsigned long n = 1; ; n++, count++) {
		struct sde_error error = { 0 };

		append(count, count + 1);
		fault_io_arm(&fault, n, ENOSPC, true);
		if (!sde__series_flush(&series, &error))
			break;
		assert_int_equal(error.code, -ENOSPC);
		assert_non_null(strstr(error.text, "time/c/0'"));
		assert_int_equal(fault.handles, 0);
		fault_io_arm(&fault, 0, 0, false);
		assert_int_equal(sde__series_flush(&series, NULL), 0);
		assert_files(count + 1);
	}
	assert_true(count > 10);
	assert_files(count + 1);
}

static void a_full_block_that_cannot_be_written_holds_the_next_number_back(void **state)
{
	struct sde_error error = { 0 };
	uint64_t i;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(start(0, true), 0);
	append(0, BLOCK - 1);
	fault_io_arm(&fault, 1, ENOSPC, true);
	for (i = BLOCK - 1; !sde__series_append(&series, number(i), &error); i++)
		assert_true(i <= BLOCK);
	assert_int_equal(error.code, -ENOSPC);
	assert_int_equal(series.count, i);	/* the refused one is not in */
	assert_int_equal(sde__series_append(&series, number(i), NULL), -ENOSPC);
	assert_int_equal(series.count, i);
	fault_io_arm(&fault, 0, 0, false);
	append(i, BLOCK + 10);
	assert_int_equal(sde__series_flush(&series, NULL), 0);
	assert_files(BLOCK + 10);
}

static void damage_to_a_block_is_seen(void **state)
{
	static uint64_t out[BLOCK];
	unsigned char *bytes;
	size_t size;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(start(0, true), 0);
	append(0, 100);
	assert_int_equal(sde__series_flush(&series, NULL), 0);
	assert_int_equal(read_block(0, out, NULL), 0);
	assert_true(out[99] == number(99) && out[100] == FILL);
	bytes = scratch_read("0", &size);
	for (size_t bit = 0; bit < size * 8; bit += 997) {
		struct sde_error error = { 0 };

		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
		scratch_write("0", bytes, size);
		assert_int_equal(read_block(0, out, &error), SDE_E_CORRUPT);
		assert_non_null(strstr(error.text, "'run/time/c/0'"));
		assert_int_equal(start(100, true), SDE_E_CORRUPT);
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	for (size_t n = 0; n < size; n += n < 20 || n > size - 20 ? 1 : 4093) {
		scratch_write("0", bytes, n);
		assert_int_equal(start(100, true), SDE_E_CORRUPT);
	}
	free(bytes);
	assert_int_equal(fault.handles, 0);
}

static void a_missing_block_is_a_hole(void **state)
{
	static uint64_t out[BLOCK];
	struct sde_error error = { 0 };

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(read_block(3, out, &error), SDE_E_HOLE);
	assert_non_null(strstr(error.text, "'run/time/c/3'"));
	assert_int_equal(start(100, true), SDE_E_HOLE);
	scratch_write("0", "", 0);
	for (unsigned long n = 1; n <= 2; n++) {
		fault_io_arm(&fault, n, EIO, true);
		assert_int_equal(start(1, true), -EIO);
	}
	assert_int_equal(fault.handles, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(numbers_appended_in_one_go_are_in_the_files),
		SCRATCH_TEST(flushes_in_between_change_nothing),
		SCRATCH_TEST(a_reopened_series_goes_on_where_it_was),
		SCRATCH_TEST(what_is_ahead_of_the_count_is_written_over),
		SCRATCH_TEST(only_a_durable_series_is_synced),
		SCRATCH_TEST(a_failed_flush_loses_nothing),
		SCRATCH_TEST(a_full_block_that_cannot_be_written_holds_the_next_number_back),
		SCRATCH_TEST(damage_to_a_block_is_seen),
		SCRATCH_TEST(a_missing_block_is_a_hole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
