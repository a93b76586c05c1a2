/* SPDX-License-Identifier: MIT */
/*
 * Recovery: what a dead run left behind, judged and taken over. A child that
 * stores and calls _exit stands for a killed process: the page cache stays.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "documents.h"
#include "fault_io.h"
#include "ring_header.h"
#include "scratch.h"
#include "twin.h"
#include "zarr_storage.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define HEADER PATH "/data/.ring/header"
#define T 4

static const struct sde_ensemble ensemble = { 2, 5, SDE_FLOAT64 };
static const struct sde__zarr_hooks synchronous = { .io = &sde__io_posix, .synchronous = true };

static char warning[512];

static void note_warning(void *ctx, const char *message)
{
	(void)ctx;
	/* sizes as small as here draw one of their own */
	if (!strstr(message, "small files"))
		snprintf(warning, sizeof(warning), "%s", message);
}

static struct sde_zarr_options defaults(void)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	options.chunk_size = T;
	options.trajectories_per_chunk = 2;
	options.segments = 2;
	options.state_capacity = 16;
	options.threads = 1;
	options.log = note_warning;
	warning[0] = '\0';
	return options;
}

/* What both, parent and child, know that was stored: its twin is made twice. */
struct life {
	uint64_t first, save_at, sync_at, truncate_at, truncate_to, last;
	const struct sde_zarr_options *options;
	bool threads;
};

#define NEVER UINT64_MAX

/* Live it in the twin, and in the storage unless that is NULL. */
static void live(struct twin *twin, struct sde_storage *storage, const struct life *life)
{
	for (uint64_t i = life->first; i < life->last; i++) {
		if (storage && i == life->save_at && sde_storage_save(storage))
			_exit(3);
		if (storage && i == life->sync_at && sde_storage_sync(storage))
			_exit(4);
		if (i == life->truncate_at) {
			if (storage && sde_storage_truncate(storage, life->truncate_to))
				_exit(5);
			twin_truncate(twin, life->truncate_to);
		}
		twin_store_in_child(twin, storage);
	}
}

/* A child lives its life and dies without a word; `resumed` goes on with a store. */
static void die(struct twin *twin, const struct life *life, bool resumed)
{
	const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = !life->threads };
	struct sde_storage *storage;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (resumed ? sde__zarr_resume(&storage, PATH, life->options, &hooks, NULL) :
		    sde__zarr_create(&storage, PATH, &ensemble, life->options, &hooks, NULL))
			_exit(1);
		live(twin, storage, life);
		_exit(0);
	}
	live(twin, NULL, life);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* A crashed store of `last` snapshots, `saved` of them published. */
static void crash(struct twin *twin, uint64_t saved, uint64_t last)
{
	const struct sde_zarr_options options = defaults();
	const struct life life = { 0, saved, NEVER, NEVER, 0, last, &options, false };

	twin_init(twin, &ensemble, 1, 42);
	die(twin, &life, false);
}

static int try_resume(struct sde_storage **storage, enum sde_ring ring, struct sde_error *error)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	memset(error, 0, sizeof(*error));
	warning[0] = '\0';
	options.threads = 1;
	options.ring = ring;
	options.log = note_warning;
	return sde__zarr_resume(storage, PATH, &options, &synchronous, error);
}

/* Recover, compare, store on, close, compare. */
static void go_on(struct twin *twin, enum sde_ring ring)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error;

	twin->state_size = 0;
	twin_assert_ok(try_resume(&storage, ring, &error), error.text);
	twin_check(twin, storage);
	twin_assert_ok(sde_storage_info(storage, &info), "info");
	assert_int_equal(info.published, twin->count);
	/* the files have it all by now */
	twin_check_path(twin, PATH);
	twin_store(twin, storage, T + 1);
	twin_check(twin, storage);
	twin_assert_ok(sde_storage_close(storage), "close");
	twin_check_path(twin, PATH);
	assert_false(scratch_exists(PATH "/data/.ring"));
}

static void remove_store(struct twin *twin)
{
	twin_free(twin);
	assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH), 0);
	assert_int_equal(scratch_entries("."), 0);
}

/* What a reader says of the state of the store. */
static struct sde_storage_info look(enum sde_ring ring)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	warning[0] = '\0';
	options.ring = ring;
	options.log = note_warning;
	twin_assert_ok(sde_storage_open(&storage, PATH, &options, &error), error.text);
	twin_assert_ok(sde_storage_info(storage, &info), "info");
	twin_assert_ok(sde_storage_close(storage), "close");
	return info;
}

/* ------------------------------------------------------------------------
 * The same machine, a dead process
 */

static void a_dead_run_keeps_every_snapshot_at_every_position(void **state)
{
	const uint64_t nothing = NEVER;
	struct twin twin;

	(void)state;
	for (uint64_t last = 0; last <= 3 * T + 1; last++)
		for (uint64_t saved = 0; saved <= last; saved++) {
			crash(&twin, saved == last ? nothing : saved, last);
			assert_int_equal(look(SDE_RING_DEFAULT).state, SDE_STATE_CRASHED);
			twin_check_path(&twin, PATH);
			go_on(&twin, SDE_RING_DEFAULT);
			remove_store(&twin);
		}
}

static void a_dead_run_with_threads_keeps_every_snapshot(void **state)
{
	struct sde_zarr_options options;
	struct twin twin;

	(void)state;
	for (uint64_t last = 1; last <= 40; last += 3) {
		const struct life life = { 0, last / 2, last / 3, NEVER, 0, last, &options, true };

		options = defaults();
		options.segments = 2 + (unsigned)last % 3;
		twin_init(&twin, &ensemble, 1, last);
		die(&twin, &life, false);
		twin_check_path(&twin, PATH);
		go_on(&twin, SDE_RING_DEFAULT);
		remove_store(&twin);
	}
}

static void a_truncated_run_that_died_keeps_every_snapshot(void **state)
{
	const struct sde_zarr_options options = defaults();
	struct twin twin;

	(void)state;
	for (uint64_t at = 1; at <= 2 * T + 1; at++)
		for (uint64_t to = 0; to < at; to++)
			for (uint64_t more = 1; more <= T + 1; more += T) {
				const struct life life = { 0, NEVER, NEVER, at, to, at + more,
							   &options, false };

				twin_init(&twin, &ensemble, 1, at * 64 + to);
				die(&twin, &life, false);
				assert_int_equal(look(SDE_RING_DEFAULT).epoch, 1);
				twin_check_path(&twin, PATH);
				go_on(&twin, SDE_RING_DEFAULT);
				remove_store(&twin);
			}
}

static void a_run_may_die_again_and_again(void **state)
{
	const struct sde_zarr_options first = defaults();
	struct sde_zarr_options later = SDE_ZARR_OPTIONS_INIT;
	struct life life = { 0, NEVER, NEVER, NEVER, 0, 3, &first, false };
	struct twin twin;

	(void)state;
	twin_init(&twin, &ensemble, 1, 9);
	die(&twin, &life, false);
	for (unsigned i = 0; i < 12; i++) {
		/* segments, threads, layout are each run's own */
		later.segments = 2 + i % 3;
		later.threads = 1 + i % 2;
		later.layout = i % 2 ? SDE_LAYOUT_TRAJECTORY_DIMENSION :
			       SDE_LAYOUT_DIMENSION_TRAJECTORY;
		twin.layout = later.layout;
		life = (struct life){ life.last, life.last + 1, NEVER, NEVER, 0,
				      life.last + i % 6, &later, i % 3 == 0 };
		die(&twin, &life, true);
		twin_check_path(&twin, PATH);
	}
	twin.layout = SDE_LAYOUT_DIMENSION_TRAJECTORY;
	go_on(&twin, SDE_RING_DEFAULT);
	remove_store(&twin);
}

static void a_second_resume_finds_nothing_to_do(void **state)
{
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;

	(void)state;
	crash(&twin, 2, 7);
	for (int i = 0; i < 3; i++) {
		twin_assert_ok(try_resume(&storage, SDE_RING_DEFAULT, &error), error.text);
		twin_check(&twin, storage);
		twin_assert_ok(sde_storage_close(storage), "close");
	}
	go_on(&twin, SDE_RING_DEFAULT);
	remove_store(&twin);
}

/* ------------------------------------------------------------------------
 * What else may lie around
 */

static void leftovers_of_a_killed_run_are_removed(void **state)
{
	struct twin twin;

	(void)state;
	crash(&twin, 5, 7);
	scratch_write(PATH "/data/c/0/0/1.tmp", "torn", 4);
	scratch_write(PATH "/data/c/0/0/9.tmp", "torn", 4);
	scratch_write(PATH "/data/c/0/0/9", "a chunk nobody published", 24);
	scratch_write(PATH "/data/c/0/0/notes", "mine", 4);
	scratch_write(PATH "/data/c/0/0/notes.tmp", "mine", 4);
	assert_int_equal(mkdir(PATH "/data/c/0/0/8.tmp", 0777), 0);
	assert_int_equal(mkdir(PATH "/data/c/0/0/11", 0777), 0);
	scratch_write(PATH "/zarr.json.tmp", "{", 1);
	scratch_write(PATH "/time/c/0.tmp", "torn", 4);
	scratch_write(PATH "/data/.ring/header.tmp", "torn", 4);
	twin_check_path(&twin, PATH);
	go_on(&twin, SDE_RING_DEFAULT);
	assert_false(scratch_exists(PATH "/data/c/0/0/1.tmp"));
	assert_false(scratch_exists(PATH "/data/c/0/0/9.tmp"));
	assert_false(scratch_exists(PATH "/data/c/0/0/9"));
	assert_false(scratch_exists(PATH "/zarr.json.tmp"));
	/* what is not ours stays */
	assert_true(scratch_exists(PATH "/data/c/0/0/notes"));
	assert_true(scratch_exists(PATH "/data/c/0/0/notes.tmp"));
	assert_true(scratch_exists(PATH "/data/c/0/0/8.tmp"));
	assert_true(scratch_exists(PATH "/data/c/0/0/11"));
	remove_store(&twin);
}

/* More of them than are listed at once, and a name that is longer than any of ours. */
static void any_number_of_leftovers_is_removed(void **state)
{
	static struct fault_io fault;
	const struct sde__zarr_hooks hooks = { .io = &fault.io, .synchronous = true };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	static const char foreign[] = PATH "/data/c/0/0/"
		"12345678901234567890123456789012345678901234567890.tmp";
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;
	unsigned left = 0;

	(void)state;
	options.threads = 1;
	crash(&twin, 5, 7);
	for (unsigned i = 0; i < 40; i++) {
		char name[64];

		snprintf(name, sizeof(name), PATH "/data/c/0/0/%u%s", 100 + i, i % 2 ? ".tmp" : "");
		scratch_write(name, "torn", 4);
	}
	scratch_write(foreign, "mine", 4);
	/* each call that removes one of them fails once: it is told, and the rest stays */
	fault_io_init(&fault);
	for (unsigned long n = 1; ; n++) {
		int ret;

		memset(&error, 0, sizeof(error));
		fault_io_arm(&fault, n, EIO, false);
		fault.only = "remove_at";
		ret = sde__zarr_resume(&storage, PATH, &options, &hooks, &error);
		fault.only = NULL;
		if (!ret && !fault.fired)
			break;
		if (!ret) {
			assert_int_equal(sde_storage_close(storage), 0);
			continue;
		}
		assert_int_equal(ret, -EIO);
		left += strstr(error.text, "leftover") != NULL;
	}
	assert_true(left > 0);
	fault_io_arm(&fault, 0, 0, false);
	twin.state_size = 0;
	twin_check(&twin, storage);
	assert_int_equal(sde_storage_close(storage), 0);
	/* the chunks 0 and 1 */
	assert_true(scratch_exists(foreign));
	assert_int_equal(scratch_entries(PATH "/data/c/0/0"), 3);
	remove_store(&twin);
}

/* A chunk of format 2 is there when its side table is: that goes first, or nothing does. */
static void a_leftover_side_table_goes_before_its_chunk(void **state)
{
	static const char side[] = PATH "/data/.side/100", inner[] = PATH "/data/0.0.100";
	static struct fault_io fault;
	const struct sde__zarr_hooks hooks = { .io = &fault.io, .synchronous = true };
	struct sde_zarr_options options = defaults(), again = SDE_ZARR_OPTIONS_INIT;
	const struct life life = { 0, 5, NEVER, NEVER, 0, 7, &options, false };
	unsigned sides = 0, inners = 0;
	bool fired = true;

	(void)state;
	options.zarr_format = 2;
	again.threads = 1;
	for (unsigned long n = 1; fired; n++) {
		struct sde_error error = { 0 };
		struct sde_storage *storage;
		struct twin twin;
		int ret;

		twin_init(&twin, &ensemble, 1, 42);
		die(&twin, &life, false);
		scratch_write(side, "torn", 4);
		scratch_write(inner, "torn", 4);
		fault_io_init(&fault);
		fault_io_arm(&fault, n, EIO, false);
		fault.only = "remove_at";
		ret = sde__zarr_resume(&storage, PATH, &again, &hooks, &error);
		fired = fault.fired;
		if (ret && strstr(error.text, "leftover '100'")) {
			assert_true(scratch_exists(side) && scratch_exists(inner));
			sides++;
		} else if (ret && strstr(error.text, "leftover '0.0.100'")) {
			assert_true(!scratch_exists(side) && scratch_exists(inner));
			inners++;
		}
		fault_io_arm(&fault, 0, 0, false);
		if (ret)
			twin_assert_ok(sde__zarr_resume(&storage, PATH, &again, &hooks, &error),
				       error.text);
		twin.state_size = 0;
		twin_check(&twin, storage);
		assert_int_equal(sde_storage_close(storage), 0);
		assert_true(!scratch_exists(side) && !scratch_exists(inner));
		remove_store(&twin);
	}
	assert_int_equal(sides, 1);
	assert_int_equal(inners, 1);
}

/* Times are copied 4096 at once. */
static void more_than_4096_snapshots_are_recovered_from_the_ring(void **state)
{
	struct sde_zarr_options options = defaults();
	const struct life life = { 0, NEVER, NEVER, NEVER, 0, 5000, &options, false };
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;

	(void)state;
	options.chunk_size = 3000;
	options.segments = 2;
	twin_init(&twin, &ensemble, 1, 42);
	die(&twin, &life, false);
	assert_int_equal(look(SDE_RING_DEFAULT).published, 0);
	twin.state_size = 0;
	twin_assert_ok(try_resume(&storage, SDE_RING_DEFAULT, &error), error.text);
	assert_int_equal(sde_storage_close(storage), 0);
	twin_check_path(&twin, PATH);
	remove_store(&twin);
}

/* An older file of the incomplete last chunk, with fewer snapshots than were published. */
static void a_last_chunk_of_before_is_damage(void **state)
{
	static const char name[] = PATH "/data/c/0/0/1";
	struct sde_storage *storage = NULL;
	struct sde_error error;
	struct twin twin;
	unsigned char *old;
	size_t size;

	(void)state;
	crash(&twin, 5, 5);
	twin.state_size = 0;
	twin_assert_ok(try_resume(&storage, SDE_RING_DEFAULT, &error), error.text);
	twin_assert_ok(sde_storage_save(storage), "save");
	old = scratch_read(name, &size);
	twin_store(&twin, storage, 2);
	twin_assert_ok(sde_storage_close(storage), "close");
	scratch_write(name, old, size);
	free(old);
	twin_assert_is(try_resume(&storage, SDE_RING_DEFAULT, &error), SDE_E_CORRUPT, error.text);
	twin_assert_sentence(error.text, name, "fewer than were published");
	assert_int_equal(look(SDE_RING_DEFAULT).committed, 7);
	remove_store(&twin);
}

static void a_chunk_of_format_2_without_any_file_is_a_hole(void **state)
{
	struct sde_zarr_options options = defaults();
	const struct life life = { 0, 10, NEVER, NEVER, 0, 11, &options, false };
	struct sde_storage *storage = NULL;
	struct sde_error error;
	struct twin twin;

	(void)state;
	options.zarr_format = 2;
	twin_init(&twin, &ensemble, 1, 42);
	die(&twin, &life, false);
	/* what has an inner chunk's name is none if there is no such inner chunk */
	scratch_write(PATH "/data/0.99.0", "not counted", 11);
	assert_true(look(SDE_RING_DEFAULT).chunk_files < 99);
	assert_int_equal(system("rm " PATH "/data/0.*.1 " PATH "/data/.side/1"), 0);
	twin_assert_is(try_resume(&storage, SDE_RING_DEFAULT, &error), SDE_E_HOLE, error.text);
	twin_assert_sentence(error.text, PATH "/data/0.0.1", "missing");
	remove_store(&twin);
}

/* Each call of looking at a store, and of counting its files, fails once. */
static void a_look_that_fails_is_told(void **state)
{
	static struct fault_io fault;
	const struct sde__zarr_hooks hooks = { .io = &fault.io, .synchronous = true };
	static const int errors[] = { EIO, ENOENT };
	struct sde_storage *storage;
	struct twin twin;

	(void)state;
	crash(&twin, 9, 11);
	fault_io_init(&fault);
	for (int e = 0; e < 2; e++)
		for (unsigned long n = 1; ; n++) {
			struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
			struct sde_error error = { 0 };
			int ret;

			fault_io_arm(&fault, n, errors[e], false);
			ret = sde__zarr_open(&storage, PATH, NULL, &hooks, &error);
			if (!ret) {
				ret = sde_storage_info(storage, &info);
				if (ret)
					twin_assert_sentence(twin_sentence(storage), NULL, NULL);
				else
					assert_true(info.committed <= 11);
				sde_storage_close(storage);
			} else {
				twin_assert_sentence(error.text, NULL, NULL);
			}
			assert_int_equal(fault.handles, 0);
			if (!fault.fired)
				break;
		}
	remove_store(&twin);
}

/* Not that snapshots are missing between the files and the ring: they may be there. */
static void a_sealed_chunk_that_cannot_be_looked_at_is_named(void **state)
{
	static struct fault_io fault;
	const struct sde__zarr_hooks hooks = { .io = &fault.io, .synchronous = true };
	struct sde_storage *storage;
	bool met = false;
	struct twin twin;

	(void)state;
	/* chunk 0 is in a file only, and not published */
	crash(&twin, NEVER, 2 * T + 1);
	fault_io_init(&fault);
	for (unsigned long n = 1; !met; n++) {
		struct sde_error error = { 0 };
		int ret;

		fault_io_arm(&fault, n, EIO, false);
		fault.only = "stat";
		ret = sde__zarr_open(&storage, PATH, NULL, &hooks, &error);
		assert_true(fault.fired);
		met = !strcmp(fault.event[fault.failed].name, "0");
		if (met) {
			twin_assert_is(ret, -EIO, error.text);
			twin_assert_sentence(error.text, "data/c/0/0/0", "cannot stat");
		}
		if (!ret)
			sde_storage_close(storage);
	}
	remove_store(&twin);
}

static void a_missing_chunk_file_is_a_hole(void **state)
{
	struct sde_storage *storage = NULL;
	struct sde_error error;
	struct twin twin;

	(void)state;
	for (unsigned k = 0; k < 2; k++) {
		char name[64];

		crash(&twin, 10, 11);
		snprintf(name, sizeof(name), PATH "/data/c/0/0/%u", k);
		assert_int_equal(unlink(name), 0);
		for (int i = 0; i < 2; i++) {
			twin_assert_is(try_resume(&storage, SDE_RING_DEFAULT, &error), SDE_E_HOLE,
				       error.text);
			twin_assert_sentence(error.text, name, "missing");
			assert_null(storage);
		}
		/* nothing was lost by trying */
		assert_true(scratch_exists(HEADER));
		remove_store(&twin);
	}
}

static void view_all(struct twin *twin)
{
	struct sde_storage *storage;
	struct twin_view view;

	assert_int_equal(sde_storage_open(&storage, PATH, NULL, NULL), 0);
	twin_view_take(twin, storage, &view);
	twin_view_check(twin, &view, 100);
	twin_view_close(&view);
	assert_int_equal(sde_storage_close(storage), 0);
}

/* After a save the ring still has the chunk that is not full. */
static void a_damaged_last_chunk_is_taken_from_the_ring(void **state)
{
	static const char name[] = PATH "/data/c/0/0/2";
	const unsigned more[] = { 11, 12, 13, 16 };
	struct twin twin;

	(void)state;
	for (size_t i = 0; i < sizeof(more) / sizeof(*more); i++) {
		unsigned char *bytes;
		size_t size;

		for (int how = 0; how < 4; how++) {
			crash(&twin, 10, more[i]);
			bytes = scratch_read(name, &size);
			if (how == 0)
				assert_int_equal(unlink(name), 0);
			else if (how == 1)
				scratch_write(name, bytes, size / 3);
			else if (how == 2)
				bytes[size / 2] ^= 1;
			else
				bytes[70] ^= 1;		/* a time */
			if (how >= 2)
				scratch_write(name, bytes, size);
			free(bytes);
			/* a reader has them as well: verify alone minds */
			if (how < 2)
				view_all(&twin);
			go_on(&twin, SDE_RING_DEFAULT);
			remove_store(&twin);
		}
	}
}

/* Of a store whose states may have 16 bytes; what the documents say decides. */
static void states_that_are_larger_than_they_may_be_are_damage(void **state)
{
	static const char allowed[] = "\"state_capacity\": 16";
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;
	char *text, *at;
	size_t size;

	(void)state;
	crash(&twin, 10, 11);
	assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH "/data/.ring"), 0);
	twin_truncate(&twin, 10);
	text = (char *)scratch_read(PATH "/zarr.json", &size);
	text = realloc(text, size + 1);
	assert_non_null(text);
	text[size] = '\0';
	at = strstr(text, allowed);
	assert_non_null(at);
	memcpy(at, "\"state_capacity\":  8", sizeof(allowed) - 1);
	scratch_write(PATH "/zarr.json", text, size);
	twin_assert_is(try_resume(&storage, SDE_RING_DEFAULT, &error), SDE_E_CORRUPT, error.text);
	twin_assert_sentence(error.text, "data/c/0/0/2", "states have impossible sizes");
	assert_null(storage);
	memcpy(at, allowed, sizeof(allowed) - 1);
	scratch_write(PATH "/zarr.json", text, size);
	free(text);
	go_on(&twin, SDE_RING_DEFAULT);
	remove_store(&twin);
}

/* A chunk file behind the published ones counts if it is of this epoch. */
static void a_sealed_chunk_behind_the_published_ones_counts(void **state)
{
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;
	size_t size;
	unsigned char *root;

	(void)state;
	crash(&twin, NEVER, 2);
	/* save, and put back the documents of before: as if killed between seal and publish */
	root = scratch_read(PATH "/zarr.json", &size);
	twin_assert_ok(try_resume(&storage, SDE_RING_DEFAULT, &error), error.text);
	twin.state_size = 0;
	twin_store(&twin, storage, 5);
	twin_assert_ok(sde_storage_close(storage), "close");
	scratch_write(PATH "/zarr.json", root, size);
	free(root);
	twin_check_path(&twin, PATH);
	go_on(&twin, SDE_RING_DEFAULT);
	remove_store(&twin);
}

/* Killed between two documents: the arrays are ahead of the root. */
/*
 * A dead run may have ended between the rename of a chunk and the sync of its
 * directory, or of its own name: whoever publishes on top of that makes it good first.
 */
static void what_a_dead_run_left_in_files_is_synced_before_it_is_published(void **state)
{
	static struct fault_io fault;
	const struct sde__zarr_hooks hooks = { .io = &fault.io, .synchronous = true };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	int name, file, directory, root, document;
	struct twin twin;

	(void)state;
	/* the ring holds two chunks: chunk 0 is sealed for the first slot of chunk 2 */
	crash(&twin, NEVER, 2 * T + 1);
	fault_io_init(&fault);
	twin_assert_ok(sde__zarr_resume(&storage, PATH, &options, &hooks, NULL), "resume");
	name = fault_io_find(&fault, 0, "sync", "..");
	file = fault_io_find(&fault, 0, "sync", "0");
	assert_true(name >= 0 && file >= 0);
	assert_string_equal(fault.event[file - 1].call, "open_at");
	directory = file + 2;
	assert_string_equal(fault.event[directory].call, "sync");
	document = fault_io_find(&fault, 0, "rename_at", "zarr.json.tmp");
	assert_true(document > name && document > directory);
	/* a root of a truncate that died: the arrays are shortened behind it */
	root = fault_io_find(&fault, 0, "sync", ".");
	assert_true(root >= 0 && document > root);
	twin.state_size = 0;
	twin_check(&twin, storage);
	twin_assert_ok(sde_storage_close(storage), "close");
	remove_store(&twin);
}

static void a_crash_between_two_documents_is_finished(void **state)
{
	static const char *const names[] = { "/zarr.json", "/data/zarr.json",
					     "/iteration/zarr.json", "/time/zarr.json" };
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;

	(void)state;
	for (int old = 1; old <= 4; old++) {
		unsigned char *text[4];
		size_t size[4];
		char name[64];

		crash(&twin, NEVER, 0);
		twin_assert_ok(try_resume(&storage, SDE_RING_DEFAULT, &error), error.text);
		twin.state_size = 0;
		twin_store(&twin, storage, 3);
		twin_assert_ok(sde_storage_save(storage), "save");
		for (int i = 0; i < old; i++) {
			snprintf(name, sizeof(name), PATH "%s", names[i]);
			text[i] = scratch_read(name, &size[i]);
		}
		twin_store(&twin, storage, 6);
		twin_assert_ok(sde_storage_close(storage), "close");
		for (int i = 0; i < old; i++) {
			snprintf(name, sizeof(name), PATH "%s", names[i]);
			scratch_write(name, text[i], size[i]);
			free(text[i]);
		}
		twin_check_path(&twin, PATH);
		go_on(&twin, SDE_RING_DEFAULT);
		remove_store(&twin);
	}
}

/* ------------------------------------------------------------------------
 * Rings that cannot be believed
 */

/* Change the header page of the ring, with a checksum that holds. */
static void edit_header(void (*edit)(struct sde__ring_header *header, unsigned char *page))
{
	unsigned char page[SDE__RING_HEADER_SIZE], *old;
	struct sde__ring_header header;
	size_t size;

	old = scratch_read(HEADER, &size);
	assert_int_equal(size, SDE__RING_HEADER_SIZE);
	assert_int_equal(sde__ring_header_decode(old, &header, "header", NULL), 0);
	edit(&header, old);
	sde__ring_header_encode(&header, page);
	memcpy(page + 512, old + 512, SDE__RING_HEADER_SIZE - 512);
	free(old);
	scratch_write(HEADER, page, sizeof(page));
}

static void another_boot(struct sde__ring_header *header, unsigned char *page)
{
	(void)page;
	header->boot[0] ^= 1;
}

static void another_device(struct sde__ring_header *header, unsigned char *page)
{
	(void)page;
	header->device ^= 1;
}

static void another_boot_and_device(struct sde__ring_header *header, unsigned char *page)
{
	another_boot(header, page);
	another_device(header, page);
}

static void another_run(struct sde__ring_header *header, unsigned char *page)
{
	(void)page;
	header->run[3] ^= 1;
}

static void another_epoch(struct sde__ring_header *header, unsigned char *page)
{
	const uint64_t epoch = 7;

	(void)header;
	memcpy(page + SDE__RING_EPOCH, &epoch, 8);
}

static void suspended(struct sde__ring_header *header, unsigned char *page)
{
	(void)header;
	memset(page + SDE__RING_EPOCH, 0xff, 8);
}

static void after_a_power_loss_only_what_was_synced_counts(void **state)
{
	void (*const edits[])(struct sde__ring_header *, unsigned char *) = {
		another_boot, another_boot_and_device,
	};
	const struct sde_zarr_options options = defaults();
	struct twin twin;

	(void)state;
	for (uint64_t synced = 0; synced < 7; synced++)
		for (int i = 0; i < 2; i++) {
			const struct life life = { 0, NEVER, synced, NEVER, 0, 7, &options, false };

			twin_init(&twin, &ensemble, 1, synced);
			die(&twin, &life, false);
			edit_header(edits[i]);
			twin_truncate(&twin, synced);
			twin_check_path(&twin, PATH);
			go_on(&twin, SDE_RING_DEFAULT);
			remove_store(&twin);
		}
}

static void a_power_loss_never_costs_what_was_saved(void **state)
{
	const struct sde_zarr_options options = defaults();
	struct twin twin;

	(void)state;
	for (uint64_t saved = 0; saved < 11; saved++)
		for (uint64_t synced = 0; synced < 11; synced += 3) {
			const struct life life = { 0, saved, synced, NEVER, 0, 11, &options, false };
			const uint64_t sealed = 4;	/* the ring of two chunks was full at 8 */
			uint64_t right = saved > synced ? saved : synced;

			twin_init(&twin, &ensemble, 1, synced);
			die(&twin, &life, false);
			edit_header(another_boot);
			right = right < sealed ? sealed : right;
			assert_true(look(SDE_RING_DEFAULT).committed >= right);
			twin_truncate(&twin, look(SDE_RING_DEFAULT).committed);
			twin_check_path(&twin, PATH);
			go_on(&twin, SDE_RING_DEFAULT);
			remove_store(&twin);
		}
}

/* Of a ring that lost what was not synced, not even what the file had is left. */
static void a_damaged_last_chunk_is_told_where_the_ring_has_lost_it(void **state)
{
	static const char name[] = PATH "/data/c/0/0/2";
	struct sde_storage *storage;
	struct sde_error error;
	unsigned char *bytes;
	struct twin twin;
	size_t size;

	(void)state;
	crash(&twin, 10, 11);
	edit_header(another_boot);
	bytes = scratch_read(name, &size);
	scratch_write(name, bytes, size / 3);
	twin_assert_is(try_resume(&storage, SDE_RING_DEFAULT, &error), SDE_E_CORRUPT, error.text);
	twin_assert_sentence(error.text, "data/c/0/0/2", NULL);
	assert_true(scratch_exists(HEADER));
	scratch_write(name, bytes, size);
	free(bytes);
	twin_truncate(&twin, 10);
	go_on(&twin, SDE_RING_DEFAULT);
	remove_store(&twin);
}

static void refuse_ring(struct twin *twin, uint64_t published, const char *part)
{
	struct sde_storage *storage;
	struct sde_storage_info info;
	struct sde_error error;

	info = look(SDE_RING_DEFAULT);
	assert_int_equal(info.committed, published);
	assert_int_equal(info.ignored, twin->count - published);
	twin_assert_sentence(warning, part, "ignored");
	assert_int_equal(info.state, SDE_STATE_CRASHED);
	for (int i = 0; i < 2; i++) {
		twin_assert_is(try_resume(&storage, SDE_RING_DEFAULT, &error), SDE_E_MISMATCH,
			       error.text);
		twin_assert_sentence(error.text, PATH, "discard");
		assert_null(storage);
		assert_true(scratch_exists(HEADER));
	}
}

static void copy_store(void)
{
	assert_int_equal(system("mv " PATH " old.zarr && cp -a old.zarr " PATH
				" && rm -r old.zarr"), 0);
}

static void a_copied_ring_is_ignored_unless_it_is_trusted(void **state)
{
	struct twin twin;

	(void)state;
	for (uint64_t saved = 0; saved < 7; saved++) {
		crash(&twin, saved, 7);
		copy_store();
		refuse_ring(&twin, saved, "copied");
		assert_int_equal(look(SDE_RING_TRUST).committed, 7);
		assert_int_equal(look(SDE_RING_TRUST).ignored, 0);
		go_on(&twin, SDE_RING_TRUST);
		remove_store(&twin);

		crash(&twin, saved, 7);
		copy_store();
		assert_int_equal(look(SDE_RING_DISCARD).committed, saved);
		twin_truncate(&twin, saved);
		go_on(&twin, SDE_RING_DISCARD);
		remove_store(&twin);
	}
}

/* Nothing is lost by ignoring it: no choice to make. */
static void a_copied_ring_with_nothing_new_is_no_obstacle(void **state)
{
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;

	(void)state;
	crash(&twin, NEVER, 6);
	twin_assert_ok(try_resume(&storage, SDE_RING_DEFAULT, &error), error.text);
	twin_assert_ok(sde_storage_save(storage), "save");
	/* a copy of a running store, taken after a save */
	assert_int_equal(system("cp -a " PATH " copy.zarr"), 0);
	twin_assert_ok(sde_storage_close(storage), "close");
	assert_int_equal(system("rm -r " PATH " && mv copy.zarr " PATH), 0);
	twin_check_path(&twin, PATH);
	go_on(&twin, SDE_RING_DEFAULT);
	remove_store(&twin);
}

static void another_device_on_the_same_boot_is_a_copy(void **state)
{
	struct twin twin;

	(void)state;
	crash(&twin, 2, 7);
	edit_header(another_device);
	refuse_ring(&twin, 2, "copied");
	go_on(&twin, SDE_RING_TRUST);
	remove_store(&twin);
}

static void a_ring_of_another_run_is_never_read(void **state)
{
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;

	(void)state;
	crash(&twin, 2, 7);
	edit_header(another_run);
	refuse_ring(&twin, 2, "another store");
	/* trusting the copy does not make it this store's */
	twin_assert_is(try_resume(&storage, SDE_RING_TRUST, &error), SDE_E_MISMATCH, error.text);
	assert_int_equal(look(SDE_RING_TRUST).committed, 2);
	twin_truncate(&twin, 2);
	go_on(&twin, SDE_RING_DISCARD);
	remove_store(&twin);
}

/* All of these leave slots and segments as large as they are. */
static void another_shape(struct sde__ring_header *header, unsigned char *page)
{
	static unsigned which;
	struct sde__geometry *g = &header->layout.geometry;

	(void)page;
	switch (which++ % 5) {
	case 0: g->trajectories = g->dimension * g->trajectories; g->dimension = 1; break;
	case 1: g->trajectories++; break;
	case 2: g->chunk_size++; break;
	case 3: g->dtype = SDE_FLOAT32; break;
	default: header->layout.state_capacity++; break;
	}
	assert_int_equal(sde__slot_layout_derive(&header->layout, NULL), 0);
}

static void a_ring_of_another_shape_is_never_read(void **state)
{
	struct twin twin;

	(void)state;
	for (int i = 0; i < 5; i++) {
		crash(&twin, 2, 7);
		edit_header(another_shape);
		assert_int_equal(look(SDE_RING_DEFAULT).committed, 2);
		twin_truncate(&twin, 2);
		go_on(&twin, SDE_RING_DISCARD);
		remove_store(&twin);
	}
}

/* One that had nothing which is not in the files is not worth a word to resume. */
static void a_ring_of_another_run_with_less_is_no_obstacle(void **state)
{
	struct twin twin;

	(void)state;
	crash(&twin, 2, 2);
	twin_free(&twin);
	assert_int_equal(system("cp -r " PATH "/data/.ring ring; rm -r " PATH), 0);
	crash(&twin, 5, 5);
	twin.state_size = 0;
	go_on(&twin, SDE_RING_DEFAULT);
	assert_int_equal(system("cp -r ring " PATH "/data/.ring"), 0);
	assert_int_equal(look(SDE_RING_DEFAULT).ignored, 0);
	go_on(&twin, SDE_RING_DEFAULT);
	assert_int_equal(system("rm -r ring"), 0);
	remove_store(&twin);
}

/* Read-only, while the writer is there and does not mend it. */
static void a_damaged_last_chunk_of_a_running_store_is_waited_for_no_longer_than_a_while(void **state)
{
	struct sde_zarr_options options = defaults();
	struct sde_storage *storage;
	struct twin twin;
	unsigned char *bytes;
	size_t size;

	(void)state;
	twin_init(&twin, &ensemble, 1, 42);
	assert_int_equal(sde__zarr_create(&storage, PATH, &ensemble, &options, &synchronous, NULL), 0);
	twin_store(&twin, storage, T + 2);
	assert_int_equal(sde_storage_save(storage), 0);
	bytes = scratch_read(PATH "/data/c/0/0/1", &size);
	scratch_write(PATH "/data/c/0/0/1", bytes, 70);
	free(bytes);
	assert_int_equal(look(SDE_RING_DEFAULT).committed, T + 2);
	twin.state_size = 0;
	assert_int_equal(sde_storage_close(storage), 0);
	remove_store(&twin);
}

/* Sealed further than synced: after a power loss the first slot lies behind the last. */
static void sealed_beyond_synced(struct sde__ring_header *header, unsigned char *page)
{
	const uint64_t sealed = 2 * T, synced = 2 * T - 2;

	another_boot(header, page);
	memcpy(page + SDE__RING_SEALED, &sealed, 8);
	memcpy(page + SDE__RING_SYNCED, &synced, 8);
}

/* What no writer leaves, however much of a damaged store is asked for. */
static void refuse_gap(const char *gap)
{
	for (enum sde_hole on_hole = SDE_HOLE_ERROR; on_hole <= SDE_HOLE_NAN; on_hole++) {
		struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
		struct sde_error error = { 0 };
		struct sde_storage *storage;

		options.on_hole = on_hole;
		twin_assert_is(sde_storage_open(&storage, PATH, &options, &error), SDE_E_HOLE,
			       error.text);
		twin_assert_sentence(error.text, PATH, gap);
	}
}

static void a_ring_that_contradicts_the_files_is_shown_to_nobody(void **state)
{
	struct twin twin;

	(void)state;
	/* further ahead of the files than it is long */
	crash(&twin, 2, 41);
	for (int chunk = 1; chunk < 10; chunk++) {
		char path[64];

		snprintf(path, sizeof(path), PATH "/data/c/0/0/%d", chunk);
		if (scratch_exists(path))
			assert_int_equal(unlink(path), 0);
	}
	refuse_gap("4:33");
	remove_store(&twin);
	/* it ends before it begins */
	crash(&twin, 2, 11);
	edit_header(sealed_beyond_synced);
	refuse_gap("4:8");
	remove_store(&twin);
}

/* A truncate that died half way: what it kept was published before. */
static void a_ring_of_another_epoch_is_ignored(void **state)
{
	void (*const edits[])(struct sde__ring_header *, unsigned char *) = {
		another_epoch, suspended,
	};
	struct twin twin;

	(void)state;
	for (int i = 0; i < 2; i++) {
		crash(&twin, 6, 7);
		edit_header(edits[i]);
		twin_truncate(&twin, 6);
		assert_int_equal(look(SDE_RING_DEFAULT).committed, 6);
		twin_assert_sentence(warning, PATH, "epoch");
		go_on(&twin, SDE_RING_DEFAULT);
		remove_store(&twin);
	}
}

/* A chunk of an older epoch is believed only as far as the root says. */
static void a_chunk_file_of_an_older_epoch_does_not_count(void **state)
{
	const struct sde_zarr_options options = defaults();
	const struct life life = { 0, NEVER, NEVER, 8, 5, 9, &options, false };
	unsigned char *chunk;
	struct twin twin;
	size_t size;

	(void)state;
	/* eight stored, back to five, one more: then chunk 1 is 5 long */
	twin_init(&twin, &ensemble, 1, 3);
	die(&twin, &life, false);
	chunk = scratch_read(PATH "/data/c/0/0/0", &size);
	twin_check_path(&twin, PATH);
	assert_int_equal(look(SDE_RING_DISCARD).committed, 5);
	/* as if the unlink behind a truncate had been lost: it names itself 0, so
	 * it is also at the wrong place */
	scratch_write(PATH "/data/c/0/0/2", chunk, size);
	free(chunk);
	twin_check_path(&twin, PATH);
	go_on(&twin, SDE_RING_DEFAULT);
	remove_store(&twin);
}

static void a_damaged_ring_is_named_and_can_be_discarded(void **state)
{
	static const size_t places[] = { 0, 9, 12, 16, 50, 90, 159, 512 + 7, 576 + 7, 704 + 7 };
	struct sde_storage *storage;
	struct sde_error error;
	struct twin twin;

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places) + 3; i++) {
		unsigned char *page;
		size_t size;

		crash(&twin, 2, 7);
		page = scratch_read(HEADER, &size);
		if (i < sizeof(places) / sizeof(*places)) {
			page[places[i]] ^= 0x40;
			scratch_write(HEADER, page, size);
		} else if (i == sizeof(places) / sizeof(*places)) {
			scratch_write(HEADER, page, 100);
		} else if (i == sizeof(places) / sizeof(*places) + 1) {
			assert_int_equal(truncate(PATH "/data/.ring/segment.1", 4096 - 1), 0);
		} else {
			assert_int_equal(unlink(PATH "/data/.ring/segment.1"), 0);
		}
		free(page);
		memset(&error, 0, sizeof(error));
		assert_true(sde_storage_open(&storage, PATH, NULL, &error) == SDE_E_CORRUPT ||
			    error.code == SDE_E_VERSION || error.code == SDE_E_HOLE);
		twin_assert_sentence(error.text, "ring", NULL);
		assert_true(try_resume(&storage, SDE_RING_DEFAULT, &error) == SDE_E_CORRUPT ||
			    error.code == SDE_E_VERSION || error.code == SDE_E_HOLE);
		twin_assert_sentence(error.text, "ring", NULL);
		assert_null(storage);
		/* what is published is not held hostage */
		assert_int_equal(look(SDE_RING_DISCARD).committed, 2);
		twin_truncate(&twin, 2);
		go_on(&twin, SDE_RING_DISCARD);
		remove_store(&twin);
	}
}

static void a_ring_that_was_being_laid_counts_for_nothing(void **state)
{
	struct twin twin;

	(void)state;
	crash(&twin, 6, 6 + 1);
	assert_int_equal(rename(HEADER, HEADER ".tmp"), 0);
	twin_truncate(&twin, 6);
	twin_check_path(&twin, PATH);
	go_on(&twin, SDE_RING_DEFAULT);
	remove_store(&twin);
}

static void the_store_may_be_renamed_between_two_runs(void **state)
{
	struct twin twin;

	(void)state;
	crash(&twin, 3, 7);
	assert_int_equal(rename(PATH, "elsewhere"), 0);
	assert_int_equal(mkdir("deep", 0777), 0);
	assert_int_equal(rename("elsewhere", "deep/moved.zarr"), 0);
	twin_check_path(&twin, "deep/moved.zarr");
	assert_int_equal(rename("deep/moved.zarr", PATH), 0);
	assert_int_equal(rmdir("deep"), 0);
	go_on(&twin, SDE_RING_DEFAULT);
	remove_store(&twin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_dead_run_keeps_every_snapshot_at_every_position),
		SCRATCH_TEST(a_dead_run_with_threads_keeps_every_snapshot),
		SCRATCH_TEST(a_truncated_run_that_died_keeps_every_snapshot),
		SCRATCH_TEST(a_run_may_die_again_and_again),
		SCRATCH_TEST(a_second_resume_finds_nothing_to_do),
		SCRATCH_TEST(leftovers_of_a_killed_run_are_removed),
		SCRATCH_TEST(any_number_of_leftovers_is_removed),
		SCRATCH_TEST(a_leftover_side_table_goes_before_its_chunk),
		SCRATCH_TEST(more_than_4096_snapshots_are_recovered_from_the_ring),
		SCRATCH_TEST(a_last_chunk_of_before_is_damage),
		SCRATCH_TEST(a_chunk_of_format_2_without_any_file_is_a_hole),
		SCRATCH_TEST(a_look_that_fails_is_told),
		SCRATCH_TEST(a_sealed_chunk_that_cannot_be_looked_at_is_named),
		SCRATCH_TEST(a_missing_chunk_file_is_a_hole),
		SCRATCH_TEST(a_damaged_last_chunk_is_taken_from_the_ring),
		SCRATCH_TEST(states_that_are_larger_than_they_may_be_are_damage),
		SCRATCH_TEST(a_sealed_chunk_behind_the_published_ones_counts),
		SCRATCH_TEST(what_a_dead_run_left_in_files_is_synced_before_it_is_published),
		SCRATCH_TEST(a_crash_between_two_documents_is_finished),
		SCRATCH_TEST(after_a_power_loss_only_what_was_synced_counts),
		SCRATCH_TEST(a_power_loss_never_costs_what_was_saved),
		SCRATCH_TEST(a_damaged_last_chunk_is_told_where_the_ring_has_lost_it),
		SCRATCH_TEST(a_copied_ring_is_ignored_unless_it_is_trusted),
		SCRATCH_TEST(a_copied_ring_with_nothing_new_is_no_obstacle),
		SCRATCH_TEST(another_device_on_the_same_boot_is_a_copy),
		SCRATCH_TEST(a_ring_of_another_run_is_never_read),
		SCRATCH_TEST(a_ring_of_another_shape_is_never_read),
		SCRATCH_TEST(a_ring_of_another_run_with_less_is_no_obstacle),
		SCRATCH_TEST(a_damaged_last_chunk_of_a_running_store_is_waited_for_no_longer_than_a_while),
		SCRATCH_TEST(a_ring_that_contradicts_the_files_is_shown_to_nobody),
		SCRATCH_TEST(a_ring_of_another_epoch_is_ignored),
		SCRATCH_TEST(a_chunk_file_of_an_older_epoch_does_not_count),
		SCRATCH_TEST(a_damaged_ring_is_named_and_can_be_discarded),
		SCRATCH_TEST(a_ring_that_was_being_laid_counts_for_nothing),
		SCRATCH_TEST(the_store_may_be_renamed_between_two_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
