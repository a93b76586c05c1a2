/* SPDX-License-Identifier: MIT */
/*
 * A store's directories and its lock: what is made, what is refused, what is
 * left behind. Other processes are real ones.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "home.h"
#include "scratch.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct fault_io fault;

static void put_root_document(struct sde__home *home)
{
	const struct sde__piece piece = { "{}", 2 };

	assert_int_equal(sde__io_replace(&sde__io_posix, home->root, "zarr.json", &piece, 1, false),
			 0);
}

static int build(struct sde__home *home, const char *path, bool overwrite, struct sde_error *error)
{
	bool exists;

	sde__home_init(home, &fault.io);
	return sde__home_build(home, path, overwrite, &exists, error);
}

/* As create does: refused, or a store that replaces the one that is there. */
static int create(const char *path, bool overwrite, struct sde_error *error)
{
	struct sde__home home, old;
	bool exists = false;
	int ret;

	sde__home_init(&home, &fault.io);
	sde__home_init(&old, &fault.io);
	ret = sde__home_build(&home, path, overwrite, &exists, error);
	if (!ret)
		put_root_document(&home);
	if (!ret && exists) {
		ret = sde__home_open_old(&old, &home, error);
		if (!ret)
			ret = sde__home_enter(&old, error);
		if (!ret)
			ret = sde__home_lock(&old, error);
	}
	if (!ret)
		ret = sde__home_settle(&home, exists ? &old : NULL, error);
	if (ret)
		sde__home_undo(&home);
	sde__home_close(&old);
	sde__home_close(&home);
	return ret;
}

static int open_all(struct sde__home *home, const char *path, struct sde_error *error)
{
	int ret;

	sde__home_init(home, &fault.io);
	ret = sde__home_open(home, path, error);
	return ret ? ret : sde__home_enter(home, error);
}

/* A child that holds the lock of `path` until it is killed. */
static pid_t lock_elsewhere(const char *path)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct sde__home home;

		if (open_all(&home, path, NULL) || sde__home_lock(&home, NULL) ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void kill_and_wait(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void a_built_store_appears_whole(void **state)
{
	struct sde__home home;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(build(&home, "run.zarr", false, NULL), 0);
	assert_false(scratch_exists("run.zarr"));
	assert_true(home.lock >= 0);
	put_root_document(&home);
	assert_int_equal(sde__home_settle(&home, NULL, NULL), 0);
	assert_true(scratch_exists("run.zarr/time/c"));
	assert_true(scratch_exists("run.zarr/iteration/c"));
	assert_true(scratch_exists("run.zarr/data/c/0/0"));
	assert_true(scratch_exists("run.zarr/data/.ring/lock"));
	assert_int_equal(scratch_entries("."), 1);
	sde__home_undo(&home);	/* settled: nothing to take back */
	assert_true(scratch_exists("run.zarr/zarr.json"));
	sde__home_close(&home);
	sde__home_close(&home);
	assert_int_equal(fault.handles, 0);
}

static void a_store_gets_its_name_after_all_in_it_is_durable(void **state)
{
	int rename;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(create("run.zarr", false, NULL), 0);
	rename = fault_io_find(&fault, 0, "rename_at", NULL);
	assert_true(rename >= 0);
	for (int i = 0; i < 3; i++) {
		static const char *const names[3] = { "time", "iteration", "data" };
		const int sync = fault_io_find(&fault, 0, "sync", names[i]);

		assert_true(sync >= 0 && sync < rename);
	}
	assert_true(fault_io_find(&fault, 0, "sync", "c") >= 0);
	assert_true(fault_io_find(&fault, 0, "sync", "0") >= 0);
	assert_true(fault_io_find(&fault, rename, "sync", NULL) > rename);
}

static void any_path_names_its_last_component(void **state)
{
	static const struct {
		const char *path, *parent;
	} row[] = {
		{ "a", "." }, { "a//", "." }, { "x/a", "x/" }, { "x//a/", "x//" }, { "/a", "/" },
		{ "/", "/" }, { "./a", "./" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		char *parent = sde__home_parent_path(row[i].path);

		assert_string_equal(parent, row[i].parent);
		free(parent);
	}
	fault_io_init(&fault);
	assert_int_equal(mkdir("x", 0777), 0);
	assert_int_equal(create("x//a.zarr///", false, NULL), 0);
	assert_true(scratch_exists("x/a.zarr/zarr.json"));
	assert_int_equal(scratch_entries("x"), 1);
}

static void a_path_that_names_nothing_new_is_refused(void **state)
{
	static const char *const paths[] = { "", "/", ".", "..", "x/.", "x/..", "./", "none/a" };

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(mkdir("x", 0777), 0);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct sde_error error = { 0 };
		const int ret = create(paths[i], true, &error);

		assert_int_equal(ret, i < 7 ? -EINVAL : -ENOENT);
		assert_int_equal(error.code, ret);
	}
	assert_int_equal(scratch_entries("."), 1);
	assert_int_equal(fault.handles, 0);
}

static void what_is_there_already_is_kept(void **state)
{
	struct sde_error error = { 0 };

	(void)state;
	fault_io_init(&fault);
	scratch_write("file", "precious", 8);
	assert_int_equal(create("file", false, &error), -EEXIST);
	assert_non_null(strstr(error.text, "'file'"));
	assert_int_equal(create("file", true, NULL), SDE_E_NOT_STORE);
	assert_int_equal(mkdir("foreign", 0777), 0);
	scratch_write("foreign/thesis.tex", "precious", 8);
	assert_int_equal(create("foreign", false, NULL), -EEXIST);
	assert_int_equal(create("foreign", true, NULL), SDE_E_NOT_STORE);
	assert_int_equal(symlink("foreign", "link"), 0);
	assert_int_equal(create("link", false, NULL), -EEXIST);
	assert_int_equal(create("link", true, NULL), SDE_E_NOT_STORE);
	assert_int_equal(scratch_entries("foreign"), 1);
	assert_int_equal(scratch_entries("."), 3);
	assert_int_equal(fault.handles, 0);
}

static void an_empty_directory_is_as_good_as_none(void **state)
{
	(void)state;
	fault_io_init(&fault);
	assert_int_equal(mkdir("run.zarr", 0777), 0);
	assert_int_equal(create("run.zarr", false, NULL), 0);
	assert_true(scratch_exists("run.zarr/zarr.json"));
	assert_int_equal(create("run.zarr", false, NULL), -EEXIST);
	assert_int_equal(scratch_entries("."), 1);
}

static void a_store_is_replaced_as_a_whole(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		fault_io_init(&fault);
		fault.no_exchange = i;
		assert_int_equal(create("run.zarr", i, NULL), 0);
		scratch_write("run.zarr/old", "", 0);
		assert_int_equal(create("run.zarr", true, NULL), 0);
		assert_false(scratch_exists("run.zarr/old"));
		assert_true(scratch_exists("run.zarr/zarr.json"));
		assert_int_equal(scratch_entries("."), 1);
		assert_int_equal(fault.handles, 0);
	}
}

/* Until the new store has its name on the device, the old one is whole. */
static void the_old_store_is_removed_only_after_the_new_name_is_durable(void **state)
{
	(void)state;
	for (int without = 0; without < 2; without++) {
		int placed, synced;

		fault_io_init(&fault);
		assert_int_equal(create("run.zarr", without, NULL), 0);
		fault_io_init(&fault);
		fault.no_exchange = without;
		assert_int_equal(create("run.zarr", true, NULL), 0);
		placed = fault_io_find(&fault, 0, without ? "rename_at" : "exchange_at", NULL);
		if (without)
			placed = fault_io_find(&fault, placed + 1, "rename_at", NULL);
		assert_true(placed >= 0);
		synced = fault_io_find(&fault, placed, "sync", NULL);
		assert_int_equal(synced, placed + 1);
		assert_true(fault_io_find(&fault, placed, "remove_at", NULL) > synced);
	}
}

static void a_relative_path_is_where_it_was_at_first(void **state)
{
	struct sde__home home, old;
	bool exists;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(mkdir("x", 0777), 0);
	assert_int_equal(mkdir("elsewhere", 0777), 0);
	assert_int_equal(create("x/run.zarr", false, NULL), 0);
	scratch_write("x/run.zarr/old", "", 0);
	sde__home_init(&home, &fault.io);
	sde__home_init(&old, &fault.io);
	assert_int_equal(sde__home_build(&home, "x/run.zarr", true, &exists, NULL), 0);
	assert_true(exists);
	put_root_document(&home);
	assert_int_equal(chdir("elsewhere"), 0);
	assert_int_equal(sde__home_open_old(&old, &home, NULL), 0);
	assert_int_equal(sde__home_settle(&home, &old, NULL), 0);
	assert_int_equal(chdir(".."), 0);
	sde__home_close(&old);
	sde__home_close(&home);
	assert_false(scratch_exists("x/run.zarr/old"));
	assert_int_equal(scratch_entries("x"), 1);
	assert_int_equal(scratch_entries("elsewhere"), 0);
}

static void a_store_that_came_in_between_is_kept(void **state)
{
	struct sde__home home, old;
	bool exists;

	(void)state;
	fault_io_init(&fault);
	/* where there was none */
	assert_int_equal(build(&home, "run.zarr", false, NULL), 0);
	assert_int_equal(create("run.zarr", false, NULL), 0);
	assert_int_equal(sde__home_settle(&home, NULL, NULL), -EEXIST);
	sde__home_undo(&home);
	sde__home_close(&home);
	/* another one than was looked at */
	sde__home_init(&home, &fault.io);
	sde__home_init(&old, &fault.io);
	assert_int_equal(sde__home_build(&home, "run.zarr", true, &exists, NULL), 0);
	assert_int_equal(sde__home_open_old(&old, &home, NULL), 0);
	assert_int_equal(rename("run.zarr", "aside"), 0);
	assert_int_equal(create("run.zarr", false, NULL), 0);
	assert_int_equal(sde__home_settle(&home, &old, NULL), -EEXIST);
	sde__home_undo(&home);
	sde__home_close(&home);
	sde__home_close(&old);
	assert_int_equal(scratch_entries("."), 2);
	assert_true(scratch_exists("run.zarr/zarr.json"));
	assert_int_equal(fault.handles, 0);
}

/* Every call of creating fails, then undo: no trace. */
static void any_failing_call_of_create_leaves_nothing(void **state)
{
	(void)state;
	for (unsigned long n = 1; ; n++) {
		struct sde_error error = { 0 };
		struct sde__home home;
		int ret;

		fault_io_init(&fault);
		fault_io_arm(&fault, n, ENOSPC, false);
		ret = build(&home, "run.zarr", false, &error);
		if (!ret)
			ret = sde__home_settle(&home, NULL, &error);
		if (ret) {
			assert_int_equal(ret, -ENOSPC);
			assert_int_equal(error.code, -ENOSPC);
			assert_true(strlen(error.text) > 10);
			sde__home_undo(&home);
			if (scratch_entries("."))
				fail_msg("call %lu leaves something", n);
		}
		sde__home_close(&home);
		assert_int_equal(fault.handles, 0);
		sde__io_remove_tree(&sde__io_posix, scratch_directory(), "run.zarr");
		if (!fault.fired)
			break;
	}
}

static int remove_named(void *ctx, const char *name)
{
	(void)ctx;
	return sde__io_remove_tree(&sde__io_posix, scratch_directory(), name);
}

/*
 * The old store is there, or the new one is; nothing stays beside it. Only where it is
 * unknown which of them has the name on the device, both must be whole.
 */
static void any_failing_call_of_overwriting_keeps_one_store(void **state)
{
	(void)state;
	for (int without = 0; without < 2; without++)
		for (unsigned long n = 1; ; n++) {
			struct sde_error error = { 0 };
			bool fired;
			int ret;

			fault_io_init(&fault);
			fault.no_exchange = without;
			assert_int_equal(create("run.zarr", false, NULL), 0);
			scratch_write("run.zarr/old", "", 0);
			fault_io_arm(&fault, n, EIO, false);
			ret = create("run.zarr", true, &error);
			fired = fault.fired;
			if (!scratch_exists("run.zarr/zarr.json"))
				fail_msg("call %lu loses the store", n);
			if (scratch_entries(".") != (strstr(error.text, "left beside") ? 2 : 1))
				fail_msg("call %lu (%s) leaves something beside it", n,
					 fault.no_exchange ? "no exchange" : "exchange");
			if (!ret)
				assert_false(scratch_exists("run.zarr/old"));
			else
				assert_int_equal(error.code, -EIO);
			assert_int_equal(fault.handles, 0);
			sde__io_posix.list(NULL, scratch_directory(), remove_named, NULL);
			if (!fired)
				break;
		}
}

static void a_running_store_is_locked(void **state)
{
	struct sde_error error = { 0 };
	struct sde__home home;
	char expected[64];
	pid_t pid;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(create("run.zarr", false, NULL), 0);
	pid = lock_elsewhere("run.zarr");
	snprintf(expected, sizeof(expected), "'run.zarr' is being written by process %ld", (long)pid);
	assert_int_equal(open_all(&home, "run.zarr", NULL), 0);
	assert_int_equal(sde__home_is_locked(&home, NULL), 1);
	assert_int_equal(sde__home_lock(&home, &error), SDE_E_LOCKED);
	assert_string_equal(error.text, expected);
	assert_int_equal(home.lock, -1);
	assert_int_equal(create("run.zarr", true, NULL), SDE_E_LOCKED);
	assert_int_equal(scratch_entries("."), 1);
	kill_and_wait(pid);
	/* the lock died with its process */
	assert_int_equal(sde__home_is_locked(&home, NULL), 0);
	assert_int_equal(sde__home_lock(&home, NULL), 0);
	assert_int_equal(sde__home_is_locked(&home, NULL), 1);
	sde__home_close(&home);
	assert_int_equal(create("run.zarr", true, NULL), 0);
	assert_int_equal(fault.handles, 0);
}

static unsigned removals;

static void remove_lock(void *ctx, const char *call, const char *name)
{
	(void)name;
	if (removals && !strcmp(call, "lock")) {
		removals--;
		assert_int_equal(unlink("run.zarr/data/.ring/lock"), 0);
		if (*(const bool *)ctx)
			assert_int_equal(rmdir("run.zarr/data/.ring"), 0);
	}
}

static void a_lock_file_removed_under_the_locker_is_made_again(void **state)
{
	struct sde__home home, second;
	bool whole;

	(void)state;
	for (int i = 0; i < 2; i++) {
		whole = i;
		fault_io_init(&fault);
		assert_int_equal(create("run.zarr", true, NULL), 0);
		assert_int_equal(open_all(&home, "run.zarr", NULL), 0);
		fault_io_arm(&fault, 0, 0, false);
		fault.before = remove_lock;
		fault.before_ctx = &whole;
		removals = 3;
		assert_int_equal(sde__home_lock(&home, NULL), 0);
		assert_int_equal(removals, 0);
		assert_int_equal(fault_io_count(&fault, "lock", NULL), 4);
		fault.before = NULL;
		/* the lock is that of the file which others find */
		assert_int_equal(open_all(&second, "run.zarr", NULL), 0);
		assert_int_equal(sde__home_is_locked(&second, NULL), 1);
		assert_int_equal(sde__home_lock(&second, NULL), SDE_E_LOCKED);
		sde__home_close(&second);
		sde__home_close(&home);
		assert_int_equal(fault.handles, 0);
	}
}

static void any_failing_call_of_lock_is_returned_and_takes_nothing(void **state)
{
	struct sde__home home;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(create("run.zarr", false, NULL), 0);
	for (unsigned long n = 1; ; n++) {
		struct sde_error error = { 0 };
		int ret;

		assert_int_equal(open_all(&home, "run.zarr", NULL), 0);
		fault_io_arm(&fault, n, EIO, true);
		ret = sde__home_lock(&home, &error);
		if (ret) {
			assert_int_equal(error.code, ret);
			assert_non_null(strstr(error.text, "'run.zarr"));
			assert_int_equal(home.lock, -1);
		}
		fault_io_arm(&fault, 0, 0, false);
		assert_int_equal(sde__home_is_locked(&home, NULL), !ret);
		sde__home_close(&home);
		assert_int_equal(fault.handles, 0);
		if (!ret)
			break;
	}
}

static void leaving_the_ring_removes_it(void **state)
{
	struct sde_error error = { 0 };
	struct sde__home home;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(create("run.zarr", false, NULL), 0);
	assert_int_equal(open_all(&home, "run.zarr", NULL), 0);
	assert_int_equal(sde__home_lock(&home, NULL), 0);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__home_leave_ring(&home, true, NULL), 0);
	assert_true(fault_io_find(&fault, 0, "sync", "data") >
		    fault_io_find(&fault, 0, "remove_at", ".ring"));
	assert_false(scratch_exists("run.zarr/data/.ring"));
	assert_int_equal(home.lock, -1);
	assert_int_equal(home.ring, -1);
	assert_int_equal(sde__home_enter_ring(&home, NULL), 0);
	assert_int_equal(home.ring, -1);
	assert_int_equal(sde__home_is_locked(&home, NULL), 0);
	assert_int_equal(sde__home_lock(&home, NULL), 0);
	scratch_write("run.zarr/data/.ring/stray", "", 0);
	assert_int_equal(sde__home_leave_ring(&home, true, &error), -ENOTEMPTY);
	assert_non_null(strstr(error.text, "run.zarr/data/.ring"));
	sde__home_close(&home);
	assert_int_equal(fault.handles, 0);
}

static void nothing_is_written_through_a_link_inside_a_store(void **state)
{
	static const struct {
		const char *name, *to;
	} links[] = {
		{ "data", "../outside0" }, { "data/.ring", "../../outside1" },
		{ "data/c/0/0", "../../../../outside2" }, { "time/c", "../../outside3" },
		{ "data/.ring/lock", "../../../outside4" },
	};
	char path[64], aside[64];

	(void)state;
	fault_io_init(&fault);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		struct sde_error error = { 0 };
		struct sde__home home;
		int ret;

		assert_int_equal(create("run.zarr", false, NULL), 0);
		snprintf(path, sizeof(path), "run.zarr/%s", links[i].name);
		snprintf(aside, sizeof(aside), "outside%d", (int)(i % 10));
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), path), 0);
		if (i < 4)
			assert_int_equal(mkdir(aside, 0777), 0);
		assert_int_equal(symlink(links[i].to, path), 0);
		assert_true(scratch_exists(path));
		ret = open_all(&home, "run.zarr", &error);
		if (!ret)
			ret = sde__home_lock(&home, &error);
		assert_true(ret < 0);
		assert_int_equal(error.code, ret);
		sde__home_close(&home);
		if (i < 4)
			assert_int_equal(scratch_entries(aside), 0);
		else
			assert_false(scratch_exists(aside));
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(),
						     "run.zarr"), 0);
		assert_int_equal(fault.handles, 0);
	}
}

static void only_a_directory_with_a_root_document_is_opened(void **state)
{
	struct sde_error error = { 0 };
	struct sde__home home, again;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(open_all(&home, "none", &error), -ENOENT);
	assert_string_equal(error.text, "cannot open 'none': No such file or directory");
	sde__home_close(&home);
	scratch_write("file", "", 0);
	assert_int_equal(open_all(&home, "file", NULL), SDE_E_NOT_STORE);
	sde__home_close(&home);
	assert_int_equal(mkdir("empty", 0777), 0);
	assert_int_equal(open_all(&home, "empty", NULL), SDE_E_NOT_STORE);
	sde__home_close(&home);
	scratch_write("empty/zarr.json", "{}", 2);
	assert_int_equal(open_all(&home, "empty", NULL), SDE_E_CORRUPT);
	sde__home_close(&home);
	assert_int_equal(create("run.zarr", false, NULL), 0);
	/* the user's own link to a store is followed */
	assert_int_equal(symlink("run.zarr", "link"), 0);
	assert_int_equal(open_all(&home, "link/", NULL), 0);
	assert_true(home.ring >= 0);
	assert_int_equal(rename("run.zarr", "moved.zarr"), 0);
	sde__home_init(&again, &fault.io);
	assert_int_equal(sde__home_reopen(&again, &home, NULL), 0);
	assert_int_equal(sde__home_enter(&again, NULL), 0);
	assert_string_equal(again.path, "link/");
	sde__home_close(&again);
	sde__home_close(&home);
	assert_int_equal(fault.handles, 0);
}

static void any_failing_call_of_opening_is_returned(void **state)
{
	struct sde__home home;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(create("run.zarr", false, NULL), 0);
	for (unsigned long n = 1; ; n++) {
		struct sde_error error = { 0 };
		int ret;

		fault_io_arm(&fault, n, EMFILE, false);
		ret = open_all(&home, "run.zarr", &error);
		if (ret) {
			assert_int_equal(ret, -EMFILE);
			assert_non_null(strstr(error.text, "'run.zarr"));
		}
		sde__home_close(&home);
		assert_int_equal(fault.handles, 0);
		if (!fault.fired)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_built_store_appears_whole),
		SCRATCH_TEST(a_store_gets_its_name_after_all_in_it_is_durable),
		SCRATCH_TEST(any_path_names_its_last_component),
		SCRATCH_TEST(a_path_that_names_nothing_new_is_refused),
		SCRATCH_TEST(what_is_there_already_is_kept),
		SCRATCH_TEST(an_empty_directory_is_as_good_as_none),
		SCRATCH_TEST(a_store_is_replaced_as_a_whole),
		SCRATCH_TEST(the_old_store_is_removed_only_after_the_new_name_is_durable),
		SCRATCH_TEST(a_relative_path_is_where_it_was_at_first),
		SCRATCH_TEST(a_store_that_came_in_between_is_kept),
		SCRATCH_TEST(any_failing_call_of_create_leaves_nothing),
		SCRATCH_TEST(any_failing_call_of_overwriting_keeps_one_store),
		SCRATCH_TEST(a_running_store_is_locked),
		SCRATCH_TEST(a_lock_file_removed_under_the_locker_is_made_again),
		SCRATCH_TEST(any_failing_call_of_lock_is_returned_and_takes_nothing),
		SCRATCH_TEST(leaving_the_ring_removes_it),
		SCRATCH_TEST(nothing_is_written_through_a_link_inside_a_store),
		SCRATCH_TEST(only_a_directory_with_a_root_document_is_opened),
		SCRATCH_TEST(any_failing_call_of_opening_is_returned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
