/* SPDX-License-Identifier: MIT */
/*
 * Stores whose numbers are rounded: what readers see from beginning to end, and the
 * exact last snapshot through closing, dying, damage and truncation.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crc32c.h"
#include "rounded.h"
#include "scratch.h"
#include "twin.h"
#include "zarr_storage.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define RESTART PATH "/data/.restart"
#define D 2
#define N 11
#define NUMBERS (D * N)

static const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = true };

struct run {
	struct twin twin;
	struct sde_zarr_options options;
	struct sde_storage *storage;
	unsigned warnings;
};

static void count_warning(void *ctx, const char *message)
{
	(void)message;
	++*(unsigned *)ctx;
}

static void begin(struct run *run, enum sde_dtype dtype, unsigned keepbits)
{
	const struct sde_ensemble ensemble = { D, N, dtype };

	memset(run, 0, sizeof(*run));
	run->options = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	run->options.chunk_size = 4;
	run->options.trajectories_per_chunk = 8;
	run->options.segments = 2;
	run->options.threads = 1;
	run->options.sync = SDE_SYNC_NONE;
	run->options.keepbits = keepbits;
	run->options.overwrite = 1;
	twin_init(&run->twin, &ensemble, 1, 17);
	run->twin.keepbits = keepbits;
}

static void create(struct run *run)
{
	struct sde_error error = { 0 };

	twin_assert_ok(sde__zarr_create(&run->storage, PATH, &run->twin.ensemble, &run->options,
					&hooks, &error), error.text);
}

static void resume(struct run *run)
{
	struct sde_zarr_options options = run->options;
	struct sde_error error = { 0 };

	options.overwrite = 0;
	options.layout = run->twin.layout;
	run->warnings = 0;
	options.log = count_warning;
	options.log_ctx = &run->warnings;
	twin_assert_ok(sde__zarr_resume(&run->storage, PATH, &options, &hooks, &error), error.text);
}

static void close_it(struct run *run)
{
	twin_assert_ok(sde_storage_close(run->storage), "close");
}

static void save(struct run *run)
{
	twin_assert_ok(sde_storage_save(run->storage), twin_sentence(run->storage));
}

static int is_exact(struct sde_storage *storage)
{
	int exact = 7;

	twin_assert_ok(sde_storage_last(storage, NULL, 0, &exact), twin_sentence(storage));
	return exact;
}

/* What a process does that then dies without closing: `steps` in a child. */
static void die_after(struct run *run, void (*steps)(struct run *run, uint64_t n), uint64_t n)
{
	const pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		steps(run, n);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ------------------------------------------------------------------------
 * Values
 */

/* In the ring, in a file, in the last part of a chunk, closed: the same every time. */
static void a_value_is_rounded_from_the_first_read_to_the_last(void **state)
{
	(void)state;
	for (int i = 0; i < 16; i++) {
		struct run run;
		struct twin_view view;

		begin(&run, i & 1 ? SDE_FLOAT32 : SDE_FLOAT64, i & 2 ? 1 : 9);
		run.options.codec = i & 4 ? SDE_CODEC_NONE : SDE_CODEC_DEFAULT;
		run.options.zarr_format = i & 4 ? 2 : 3;
		run.options.layout = run.twin.layout = i & 8 ? SDE_LAYOUT_TRAJECTORY_DIMENSION :
							       SDE_LAYOUT_DIMENSION_TRAJECTORY;
		create(&run);
		for (uint64_t m = 1; m <= 11; m++) {
			twin_store(&run.twin, run.storage, 1);
			twin_view_take(&run.twin, run.storage, &view);
			twin_check(&run.twin, run.storage);
			twin_check_path(&run.twin, PATH);
			if (m % 3 == 0)
				save(&run);
			/* a view taken before the numbers went into a file */
			twin_view_check(&run.twin, &view, 3);
			twin_view_close(&view);
		}
		close_it(&run);
		twin_check_path(&run.twin, PATH);
		twin_free(&run.twin);
	}
}

static void info_and_metadata_tell_keepbits_and_no_filter(void **state)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct run run;
	size_t size;
	char *text;

	(void)state;
	begin(&run, SDE_FLOAT64, 20);
	create(&run);
	twin_store(&run.twin, run.storage, 5);
	twin_assert_ok(sde_storage_info(run.storage, &info), "info");
	assert_int_equal(info.keepbits, 20);
	close_it(&run);
	text = (char *)scratch_read(PATH "/zarr.json", &size);
	text = realloc(text, size + 1);
	assert_non_null(text);
	text[size] = '\0';
	assert_non_null(strstr(text, "\"keepbits\": 20"));
	assert_null(strstr(text, "bitround"));
	free(text);
	twin_free(&run.twin);
}

/* ------------------------------------------------------------------------
 * The exact last snapshot
 */

static void store_and_save(struct run *run, uint64_t m)
{
	create(run);
	twin_store(&run->twin, run->storage, m);
	save(run);
}

static void closed_stores_are_resumed_to_the_bit(void **state)
{
	(void)state;
	for (int format = 2; format <= 3; format++)
		for (uint64_t m = 1; m <= 13; m++) {
			struct run run;

			begin(&run, m & 1 ? SDE_FLOAT32 : SDE_FLOAT64, 7);
			run.options.zarr_format = (unsigned)format;
			create(&run);
			twin_store(&run.twin, run.storage, m);
			close_it(&run);
			/* opened, resumed in either layout, closed with nothing new */
			for (int i = 0; i < 3; i++) {
				twin_check_path(&run.twin, PATH);
				run.twin.layout = (enum sde_layout)i;
				resume(&run);
				assert_int_equal(run.warnings, 0);
				twin_check(&run.twin, run.storage);
				close_it(&run);
			}
			resume(&run);
			twin_store(&run.twin, run.storage, m);
			twin_check(&run.twin, run.storage);
			close_it(&run);
			twin_check_path(&run.twin, PATH);
			twin_free(&run.twin);
		}
}

static void just_resume(struct run *run, uint64_t n)
{
	resume(run);
	if (n)
		save(run);
}

static void store_on(struct run *run, uint64_t n)
{
	create(run);
	if (n > 2) {
		twin_store(&run->twin, run->storage, n - 2);
		save(run);
		n = 2;
	}
	twin_store(&run->twin, run->storage, n);
}

/* Dies after storing, then again and again after resuming, without a new snapshot. */
static void crashed_stores_are_resumed_to_the_bit(void **state)
{
	(void)state;
	for (uint64_t m = 1; m <= 13; m++) {
		struct run run;

		begin(&run, SDE_FLOAT64, 3);
		die_after(&run, store_on, m);
		/* the same numbers again, for the twin of this process */
		for (uint64_t i = 0; i < m; i++) {
			twin_next(&run.twin);
			twin_keep(&run.twin);
		}
		twin_check_path(&run.twin, PATH);
		for (uint64_t i = 0; i < 4; i++) {
			die_after(&run, just_resume, i & 1);
			twin_check_path(&run.twin, PATH);
		}
		resume(&run);
		twin_check(&run.twin, run.storage);
		close_it(&run);
		resume(&run);
		twin_check(&run.twin, run.storage);
		close_it(&run);
		twin_free(&run.twin);
	}
}

/* A lossless store has its last snapshot wherever it is. */
static void the_last_snapshot_of_a_lossless_store_is_exact(void **state)
{
	(void)state;
	for (unsigned keepbits = 0; keepbits <= 52; keepbits += 52)
		for (uint64_t m = 1; m <= 9; m++) {
			struct run run;

			begin(&run, SDE_FLOAT64, keepbits);
			store_and_save(&run, m);
			twin_check(&run.twin, run.storage);
			close_it(&run);
			assert_false(scratch_exists(RESTART));
			resume(&run);
			twin_check(&run.twin, run.storage);
			close_it(&run);
			twin_free(&run.twin);
		}
}

static void arguments_of_last_are_checked(void **state)
{
	double data[NUMBERS];
	struct run run;
	int exact;

	(void)state;
	begin(&run, SDE_FLOAT64, 10);
	create(&run);
	twin_assert_is(sde_storage_last(run.storage, data, sizeof(data), NULL), SDE_E_NO_DATA, "");
	twin_store(&run.twin, run.storage, 1);
	assert_int_equal(sde_storage_last(NULL, data, sizeof(data), &exact), -EINVAL);
	assert_int_equal(sde_storage_last(run.storage, NULL, 0, NULL), -EINVAL);
	twin_assert_is(sde_storage_last(run.storage, data, sizeof(data) - 1, &exact), -ENOBUFS, "");
	assert_int_equal(sde_storage_last(run.storage, data, sizeof(data), NULL), 0);
	/* while a slot is out, the last one is that before it */
	assert_int_equal(sde_storage_reserve(run.storage, 0, (void **)&(void *){ NULL }), 0);
	twin_check(&run.twin, run.storage);
	twin_free(&run.twin);
	run.options.overwrite = 0;
	assert_int_equal(sde_storage_close(run.storage), 0);
}

/* ------------------------------------------------------------------------
 * A file that cannot be believed
 */

static void change(const char *path, size_t at, unsigned char with, bool mend)
{
	size_t size;
	unsigned char *bytes = scratch_read(path, &size);
	uint32_t crc;

	bytes[at] ^= with;
	if (mend) {
		crc = sde__crc32c(0, bytes, size - 4);
		memcpy(bytes + size - 4, &crc, 4);
	}
	scratch_write(path, bytes, size);
	free(bytes);
}

/* The rounded numbers are given, it is said, and everything else is as it was. */
static void check_rounded_only(struct run *run)
{
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	run->twin.cut = true;
	twin_assert_ok(sde_storage_open(&storage, PATH, NULL, &error), error.text);
	assert_int_equal(is_exact(storage), 0);
	twin_assert_is(sde_storage_last(storage, error.text, sizeof(error.text), NULL),
		       SDE_E_NO_DATA, "");
	twin_assert_sentence(twin_sentence(storage), "rounded", NULL);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_check_path(&run->twin, PATH);
	resume(run);
	assert_int_equal(run->warnings, run->twin.count % 4 ? 1 : 0);
	assert_int_equal(is_exact(run->storage), 0);
	twin_check(&run->twin, run->storage);
	close_it(run);
	twin_check_path(&run->twin, PATH);
	/* and the next one is exact again */
	resume(run);
	twin_store(&run->twin, run->storage, 1);
	close_it(run);
	twin_check_path(&run->twin, PATH);
}

static void a_damaged_or_missing_file_gives_rounded_numbers_and_says_so(void **state)
{
	/* magic, version, dtype, run, epoch, index, bytes, order, a number, checksum */
	static const size_t places[] = { 0, 8, 12, 16, 32, 40, 48, 56, 70, 64 + NUMBERS * 8 };

	(void)state;
	for (uint64_t m = 6; m <= 8; m += 2)
		for (size_t i = 0; i < 2 * sizeof(places) / sizeof(places[0]) + 2; i++) {
			struct run run;

			begin(&run, SDE_FLOAT64, 8);
			store_and_save(&run, m);
			close_it(&run);
			if (i == 0) {
				assert_int_equal(unlink(RESTART), 0);
			} else if (i == 1) {
				scratch_write(RESTART, "", 0);
			} else {
				/* with a checksum that fits, it is what it says that counts:
				 * the third bit of a number's exponent, too */
				const size_t at = places[i / 2 - 1];
				const bool mend = i & 1 && i / 2 < sizeof(places) / sizeof(places[0]);

				change(RESTART, at, at == 70 ? 0x40 : 8, mend);
			}
			check_rounded_only(&run);
			twin_free(&run.twin);
		}
}

/* A number that rounds to another than the chunk file has is another snapshot's. */
static void an_older_snapshots_file_is_not_believed(void **state)
{
	struct run run;
	unsigned char *old;
	size_t size;

	(void)state;
	begin(&run, SDE_FLOAT64, 8);
	store_and_save(&run, 5);
	old = scratch_read(RESTART, &size);
	twin_store(&run.twin, run.storage, 1);
	close_it(&run);
	scratch_write(RESTART, old, size);
	free(old);
	check_rounded_only(&run);
	twin_free(&run.twin);
}

static void the_file_is_as_sdestore_5_says(void **state)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct run run;
	unsigned char *bytes;
	uint64_t number;
	uint32_t word;
	char run_id[33];
	size_t size;

	(void)state;
	begin(&run, SDE_FLOAT32, 8);
	run.options.layout = run.twin.layout = SDE_LAYOUT_TRAJECTORY_DIMENSION;
	create(&run);
	twin_store(&run.twin, run.storage, 7);
	twin_assert_ok(sde_storage_truncate(run.storage, 6), "truncate");
	twin_truncate(&run.twin, 6);
	twin_store(&run.twin, run.storage, 4);
	twin_assert_ok(sde_storage_info(run.storage, &info), "info");
	close_it(&run);
	bytes = scratch_read(RESTART, &size);
	assert_int_equal(size, 64 + NUMBERS * 4 + 4);
	assert_memory_equal(bytes, "SDELAST\n\1\0\0\0\1\0\0\0", 16);
	for (int i = 0; i < 16; i++)
		snprintf(run_id + 2 * i, 3, "%02x", bytes[16 + i]);
	assert_string_equal(run_id, info.run);
	memcpy(&number, bytes + 32, 8);
	assert_int_equal(number, 1);
	memcpy(&number, bytes + 40, 8);
	assert_int_equal(number, 9);
	memcpy(&number, bytes + 48, 8);
	assert_int_equal(number, NUMBERS * 4);
	assert_memory_equal(bytes + 56, "\2\0\0\0\0\0\0\0", 8);
	for (size_t d = 0; d < D; d++)
		for (size_t n = 0; n < N; n++)
			assert_memory_equal(bytes + 64 + (n * D + d) * 4,
					    run.twin.record[9]->data + (d * N + n) * 4, 4);
	word = sde__crc32c(0, bytes, size - 4);
	assert_memory_equal(bytes + size - 4, &word, 4);
	free(bytes);
	twin_free(&run.twin);
}

/* ------------------------------------------------------------------------
 * A file that cannot be written
 */

static int renames_left;	/* of .restart, before one fails; below 0: none does */

static int failing_rename(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	if (!strcmp(to, ".restart") && renames_left >= 0 && renames_left-- == 0)
		return -EIO;
	return sde__io_posix.rename_at(ctx, from_dir, from, to_dir, to);
}

/* Save says so, nothing is lost, and the next one does it. */
static void a_save_that_cannot_write_the_file_fails_and_can_be_repeated(void **state)
{
	struct sde__io io = sde__io_posix;
	const struct sde__zarr_hooks failing = { .io = &io, .synchronous = true };
	struct sde_error error = { 0 };
	struct run run;

	(void)state;
	io.rename_at = failing_rename;
	begin(&run, SDE_FLOAT64, 6);
	renames_left = 0;
	twin_assert_ok(sde__zarr_create(&run.storage, PATH, &run.twin.ensemble, &run.options,
					&failing, &error), error.text);
	twin_store(&run.twin, run.storage, 6);
	twin_assert_is(sde_storage_save(run.storage), -EIO, "save");
	twin_assert_sentence(twin_sentence(run.storage), PATH "/data/.restart", NULL);
	twin_check(&run.twin, run.storage);
	twin_store(&run.twin, run.storage, 1);
	save(&run);
	/* a truncate that fails there has not begun: the storage says how it is broken */
	renames_left = 0;
	twin_store(&run.twin, run.storage, 1);
	twin_assert_is(sde_storage_truncate(run.storage, 7), -EIO, "truncate");
	/* close fails as well, and the ring stays */
	renames_left = 0;
	assert_int_equal(sde_storage_close(run.storage), -EIO);
	renames_left = -1;
	assert_true(scratch_exists(PATH "/data/.ring/header"));
	twin_check_path(&run.twin, PATH);
	resume(&run);
	twin_check(&run.twin, run.storage);
	close_it(&run);
	twin_check_path(&run.twin, PATH);
	twin_free(&run.twin);
}

/* ------------------------------------------------------------------------
 * Truncation
 */

/*
 * From m to k: exact while k - 1 is in the ring of 2 x 4 slots, of which one may be out, or was the last when
 * it was saved at s; else lost, unless that happens to be so.
 */
static void truncate_at(uint64_t s, uint64_t m, uint64_t k, bool reopen)
{
	const bool known = k + 7 > m || k == s || k == m;
	struct run run;

	begin(&run, SDE_FLOAT64, 6);
	create(&run);
	twin_store(&run.twin, run.storage, s);
	save(&run);
	twin_store(&run.twin, run.storage, m - s);
	twin_assert_ok(sde_storage_truncate(run.storage, k), twin_sentence(run.storage));
	twin_truncate(&run.twin, k);
	if (k) {
		assert_int_equal(is_exact(run.storage), known);
		run.twin.cut = !known;
	}
	twin_check(&run.twin, run.storage);
	twin_check_path(&run.twin, PATH);
	if (reopen) {
		close_it(&run);
		twin_check_path(&run.twin, PATH);
		resume(&run);
		twin_check(&run.twin, run.storage);
	}
	twin_store(&run.twin, run.storage, m - k + 1);
	twin_check(&run.twin, run.storage);
	close_it(&run);
	twin_check_path(&run.twin, PATH);
	twin_free(&run.twin);
}

static void truncate_keeps_what_ring_and_file_know_and_tells_what_is_lost(void **state)
{
	(void)state;
	for (uint64_t s = 1; s <= 5; s += 4)
		for (uint64_t m = s; m <= s + 12; m += 4)
			for (uint64_t k = 0; k <= m; k++)
				truncate_at(s, m, k, k & 1);
}

static void cut_and_die(struct run *run, uint64_t k)
{
	create(run);
	twin_store(&run->twin, run->storage, 9);
	if (sde_storage_truncate(run->storage, k))
		_exit(1);
}

static void a_truncated_store_that_dies_is_resumed_to_the_bit(void **state)
{
	(void)state;
	for (uint64_t k = 3; k <= 9; k++) {
		struct run run;

		begin(&run, SDE_FLOAT32, 6);
		die_after(&run, cut_and_die, k);
		for (uint64_t i = 0; i < k; i++) {
			twin_next(&run.twin);
			twin_keep(&run.twin);
		}
		twin_check_path(&run.twin, PATH);
		resume(&run);
		twin_check(&run.twin, run.storage);
		close_it(&run);
		twin_check_path(&run.twin, PATH);
		twin_free(&run.twin);
	}
}

/*
 * What an earlier truncate to this epoch wrote and died of must not be taken for a
 * snapshot stored anew at the same index.
 */
static void a_file_of_an_aborted_truncate_is_gone_when_its_epoch_begins(void **state)
{
	unsigned char *aborted;
	struct run run;
	uint64_t epoch = 1;
	uint32_t crc;
	size_t size;

	(void)state;
	begin(&run, SDE_FLOAT64, 6);
	create(&run);
	twin_store(&run.twin, run.storage, 20);
	save(&run);
	aborted = scratch_read(RESTART, &size);
	memcpy(aborted + 32, &epoch, 8);
	crc = sde__crc32c(0, aborted, size - 4);
	memcpy(aborted + size - 4, &crc, 4);
	scratch_write(RESTART, aborted, size);
	free(aborted);
	/* to a snapshot that nobody knows exactly */
	twin_assert_ok(sde_storage_truncate(run.storage, 3), "truncate");
	assert_false(scratch_exists(RESTART));
	assert_int_equal(is_exact(run.storage), 0);
	close_it(&run);
	twin_free(&run.twin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_value_is_rounded_from_the_first_read_to_the_last),
		SCRATCH_TEST(info_and_metadata_tell_keepbits_and_no_filter),
		SCRATCH_TEST(closed_stores_are_resumed_to_the_bit),
		SCRATCH_TEST(crashed_stores_are_resumed_to_the_bit),
		SCRATCH_TEST(the_last_snapshot_of_a_lossless_store_is_exact),
		SCRATCH_TEST(arguments_of_last_are_checked),
		SCRATCH_TEST(a_damaged_or_missing_file_gives_rounded_numbers_and_says_so),
		SCRATCH_TEST(an_older_snapshots_file_is_not_believed),
		SCRATCH_TEST(the_file_is_as_sdestore_5_says),
		SCRATCH_TEST(a_save_that_cannot_write_the_file_fails_and_can_be_repeated),
		SCRATCH_TEST(truncate_keeps_what_ring_and_file_know_and_tells_what_is_lost),
		SCRATCH_TEST(a_truncated_store_that_dies_is_resumed_to_the_bit),
		SCRATCH_TEST(a_file_of_an_aborted_truncate_is_gone_when_its_epoch_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
