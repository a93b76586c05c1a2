/* SPDX-License-Identifier: MIT */
/*
 * sde_zarr_storage_repair: crashed stores finished, leftovers removed, times restored,
 * what is lost named. It is killed at every call it makes, and so is the create whose
 * leftovers it removes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "home.h"
#include "sanitized.h"
#include "scratch.h"
#include "twin.h"
#include "zarr_storage.h"

#include <errno.h>
#include <ftw.h>
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
#define RING PATH "/data/.ring"

enum { T = 4, STEPS = 64 };

static const struct sde_ensemble ensemble = { 2, 5, SDE_FLOAT64 };

static struct sde_zarr_options options_of(unsigned format)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	options.chunk_size = T;
	options.trajectories_per_chunk = 2;
	options.zarr_format = format;
	options.state_capacity = 16;
	return options;
}

/* A store of `last` snapshots, saved at `saved`, its writer dead, or closed. */
static void live(struct twin *twin, unsigned format, uint64_t saved, uint64_t last, bool closes)
{
	const struct sde_zarr_options options = options_of(format);
	const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = true };
	struct sde_storage *storage;
	int status;
	pid_t pid;

	twin_init(twin, &ensemble, 1, 42);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid && sde__zarr_create(&storage, PATH, &ensemble, &options, &hooks, NULL))
		_exit(1);
	for (uint64_t i = 0; i < last; i++) {
		if (!pid && i == saved && sde_storage_save(storage))
			_exit(3);
		twin_store_in_child(twin, pid ? NULL : storage);
	}
	if (!pid)
		_exit(closes ? sde_storage_close(storage) != 0 : 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void crash(struct twin *twin, uint64_t saved, uint64_t last)
{
	live(twin, 3, saved, last, false);
}

static void remove_all(const char *name)
{
	sde__io_remove_tree(&sde__io_posix, scratch_directory(), name);
	assert_false(scratch_exists(name));
}

/* ------------------------------------------------------------------------
 * What repair tells
 */

struct told {
	unsigned count;
	struct {
		enum sde_repair_action action;
		uint64_t snapshots[2], trajectories[2];
		enum sde_cause cause;
		char file[128];
	} step[STEPS];
};

static void note(void *ctx, const struct sde_repair_step *step)
{
	struct told *told = ctx;
	const unsigned i = told->count++;

	assert_true(i < STEPS);
	assert_int_equal(step->size, sizeof(*step));
	twin_assert_sentence(step->text, NULL, NULL);
	told->step[i].action = step->action;
	memcpy(told->step[i].snapshots, step->snapshots, sizeof(step->snapshots));
	snprintf(told->step[i].file, sizeof(told->step[i].file), "%s", step->file);
	assert_int_equal(step->damage != NULL, step->action == SDE_REPAIR_LOST);
	if (!step->damage)
		return;
	memcpy(told->step[i].trajectories, step->damage->trajectories,
	       sizeof(step->damage->trajectories));
	told->step[i].cause = step->damage->cause;
}

static unsigned count_of(const struct told *told, enum sde_repair_action action)
{
	unsigned n = 0;

	for (unsigned i = 0; i < told->count; i++)
		n += told->step[i].action == action;
	return n;
}

static int repair_with(struct told *told, struct sde_repair_options *options,
		       struct sde_error *error)
{
	memset(told, 0, sizeof(*told));
	memset(error, 0, sizeof(*error));
	options->step = note;
	options->step_ctx = told;
	return sde_zarr_storage_repair(PATH, options, error);
}

static int repair(struct told *told, struct sde_error *error)
{
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;

	return repair_with(told, &options, error);
}

/* Names, sizes and bytes of all files below the test's directory, as one number. */
static uint64_t picture_sum;

static int look_at(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	uint64_t sum = (uint64_t)st->st_size * 31 + (uint64_t)st->st_ino;

	(void)ftw;
	for (const char *p = path; *p; p++)
		sum = sum * 1099511628211u + (unsigned char)*p;
	if (type == FTW_F) {
		size_t size;
		unsigned char *bytes = scratch_read(path, &size);

		for (size_t i = 0; i < size; i++)
			sum = sum * 1099511628211u + bytes[i];
		free(bytes);
	}
	picture_sum += sum;
	return 0;
}

static uint64_t picture(void)
{
	picture_sum = 0;
	assert_int_equal(nftw(".", look_at, 8, FTW_PHYS), 0);
	return picture_sum;
}

/*
 * A dry run, which must change nothing; then the same steps for good, then nothing to
 * do any more. Returns what repair did.
 */
static int repair_thrice(struct told *told, struct sde_error *error)
{
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
	struct told dry, again;
	const uint64_t before = picture();
	const unsigned files = scratch_open_files();
	int ret;

	options.dry_run = 1;
	ret = repair_with(&dry, &options, error);
	assert_true(picture() == before);
	assert_int_equal(repair(told, error), ret);
	assert_int_equal(dry.count, told->count);
	for (unsigned i = 0; i < dry.count; i++) {
		assert_int_equal(dry.step[i].action, told->step[i].action);
		assert_string_equal(dry.step[i].file, told->step[i].file);
		assert_memory_equal(dry.step[i].snapshots, told->step[i].snapshots, 16);
	}
	assert_int_equal(repair(&again, error), ret);
	assert_int_equal(again.count, count_of(&again, SDE_REPAIR_LOST));
	assert_int_equal(again.count, count_of(told, SDE_REPAIR_LOST));
	assert_int_equal(scratch_open_files(), files);
	return ret;
}

static struct sde_storage_info look(void)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	twin_assert_ok(sde_storage_open(&storage, PATH, NULL, &error), error.text);
	twin_assert_ok(sde_storage_info(storage, &info), twin_sentence(storage));
	assert_int_equal(sde_storage_close(storage), 0);
	return info;
}

/* Closed, whole, and a store to go on with. */
static void is_whole(struct twin *twin)
{
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	assert_int_equal(look().state, SDE_STATE_CLOSED);
	assert_int_equal(look().published, twin->count);
	assert_false(scratch_exists(RING));
	twin_check_path(twin, PATH);
	twin_assert_ok(sde_zarr_storage_resume(&storage, PATH, NULL, &error), error.text);
	twin_store(twin, storage, 3);
	twin_assert_ok(sde_storage_close(storage), "close");
	twin_check_path(twin, PATH);
}

/* ------------------------------------------------------------------------
 * Interrupted publishes
 */

static void what_a_dead_writer_left_is_published(void **state)
{
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	for (unsigned format = 2; format <= 3; format++)
		for (uint64_t saved = 0; saved <= 10; saved += 5)
			for (uint64_t last = saved; last <= 22; last += 2 + saved / 3) {
				uint64_t published;

				live(&twin, format, saved, last, false);
				published = look().published;
				twin_assert_ok(repair_thrice(&told, &error), error.text);
				assert_int_equal(count_of(&told, SDE_REPAIR_PUBLISH),
						 last > published);
				assert_int_equal(count_of(&told, SDE_REPAIR_REMOVE), 1);
				is_whole(&twin);
				twin_free(&twin);
				remove_all(PATH);
			}
}

static void a_whole_store_is_left_as_it_is(void **state)
{
	struct sde_error error;
	struct told told;
	struct twin twin;
	uint64_t before;

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		live(&twin, format, 3, 10, true);
		before = picture();
		twin_assert_ok(repair_thrice(&told, &error), error.text);
		assert_int_equal(told.count, 0);
		assert_true(picture() == before);
		is_whole(&twin);
		twin_free(&twin);
		remove_all(PATH);
	}
}

static void a_running_store_is_refused(void **state)
{
	const struct sde_zarr_options options = options_of(3);
	struct sde_repair_options dry = SDE_REPAIR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	dry.dry_run = 1;
	twin_init(&twin, &ensemble, 1, 1);
	assert_int_equal(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, NULL), 0);
	twin_store(&twin, storage, 6);
	/* a name that the writer does not use itself: it would rename it */
	scratch_write(PATH "/data/c/0/0/7.tmp", "{", 1);
	twin_assert_is(repair(&told, &error), SDE_E_LOCKED, error.text);
	twin_assert_sentence(error.text, PATH, NULL);
	twin_assert_is(repair_with(&told, &dry, &error), SDE_E_LOCKED, error.text);
	assert_int_equal(told.count, 0);
	assert_true(scratch_exists(PATH "/data/c/0/0/7.tmp"));
	twin_store(&twin, storage, 6);
	twin_assert_ok(sde_storage_close(storage), "close");
	twin_check_path(&twin, PATH);
	twin_free(&twin);
}

static void a_copied_ring_is_refused_unless_it_is_trusted(void **state)
{
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	crash(&twin, 3, 9);
	assert_int_equal(system("cp -a " PATH " copy && rm -r " PATH " && mv copy " PATH), 0);
	twin_assert_is(repair(&told, &error), SDE_E_MISMATCH, error.text);
	assert_int_equal(told.count, 0);
	options.ring = SDE_RING_TRUST;
	twin_assert_ok(repair_with(&told, &options, &error), error.text);
	assert_int_equal(told.step[0].snapshots[1], 9);
	is_whole(&twin);
	twin_free(&twin);
}

static void arguments_are_checked(void **state)
{
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	assert_int_equal(sde_zarr_storage_repair(NULL, NULL, NULL), -EINVAL);
	assert_int_equal(sde_zarr_storage_repair("", NULL, NULL), -EINVAL);
	assert_int_equal(sde_zarr_storage_repair(PATH, NULL, NULL), -ENOENT);
	assert_int_equal(mkdir(PATH, 0777), 0);
	assert_int_equal(sde_zarr_storage_repair(PATH, NULL, NULL), SDE_E_NOT_STORE);
	assert_int_equal(scratch_entries(PATH), 0);
	remove_all(PATH);
	live(&twin, 3, 0, 6, true);
	options.dry_run = 2;
	assert_int_equal(repair_with(&told, &options, &error), -EINVAL);
	options.dry_run = 0;
	options.ring = (enum sde_ring)3;
	assert_int_equal(repair_with(&told, &options, &error), -EINVAL);
	options.ring = SDE_RING_DEFAULT;
	options.truncate = 1;
	options.snapshots = 7;
	twin_assert_is(repair_with(&told, &options, &error), -EINVAL, error.text);
	twin_assert_sentence(error.text, "6", "7");
	options.size = 4;
	assert_int_equal(repair_with(&told, &options, &error), -EINVAL);
	is_whole(&twin);
	twin_free(&twin);
}

/* ------------------------------------------------------------------------
 * Leftovers
 */

static void temporary_files_are_removed_and_other_files_stay(void **state)
{
	static const char *const ours_3[] = {
		"zarr.json.tmp", "time/zarr.json.tmp", "time/c/0.tmp", "iteration/c/17.tmp",
		"data/zarr.json.tmp", "data/c/0/0/3.tmp", "data/c/0/0/9",
	};
	static const char *const ours_2[] = {
		".zattrs.tmp", ".zmetadata.tmp", "time/.zarray.tmp", "time/0.tmp",
		"data/0.1.2.tmp", "data/.side/2.tmp", "data/.side/9", "data/0.0.9",
	};
	static const char *const theirs[] = {
		"notes", "notes.tmp", "time/notes.tmp", "data/.tmp", "data/x.0.tmp", "tmp",
	};
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		const char *const *ours = format == 3 ? ours_3 : ours_2;
		const size_t count = format == 3 ? sizeof(ours_3) / sizeof(*ours_3) :
				     sizeof(ours_2) / sizeof(*ours_2);
		char name[128];

		live(&twin, format, 0, 10, true);
		for (size_t i = 0; i < count; i++) {
			snprintf(name, sizeof(name), PATH "/%s", ours[i]);
			scratch_write(name, "torn", 4);
		}
		for (size_t i = 0; i < sizeof(theirs) / sizeof(*theirs); i++) {
			snprintf(name, sizeof(name), PATH "/%s", theirs[i]);
			scratch_write(name, "mine", 4);
		}
		/* a directory of that name is somebody's, too */
		assert_int_equal(mkdir(PATH "/data/7.tmp", 0777), 0);
		twin_assert_ok(repair_thrice(&told, &error), error.text);
		assert_int_equal(told.count, count);
		assert_int_equal(count_of(&told, SDE_REPAIR_REMOVE), count);
		for (size_t i = 0; i < count; i++) {
			snprintf(name, sizeof(name), PATH "/%s", ours[i]);
			assert_false(scratch_exists(name));
		}
		for (size_t i = 0; i < sizeof(theirs) / sizeof(*theirs); i++) {
			snprintf(name, sizeof(name), PATH "/%s", theirs[i]);
			assert_true(scratch_exists(name));
		}
		assert_true(scratch_exists(PATH "/data/7.tmp"));
		is_whole(&twin);
		twin_free(&twin);
		remove_all(PATH);
	}
}

/* Every call in a long run, else one in some. */
static unsigned long stride_of(unsigned long some)
{
	return getenv("SDE_TEST_LONG") ? 1 : SANITIZED ? 5 * some : some;
}

struct death {
	unsigned long at, calls;
};

/* At call number `at`; 0: when the new store is to get its name, the old one aside. */
static void die_at(void *ctx, const char *call, const char *name)
{
	struct death *death = ctx;
	const size_t n = strlen(name);

	if (++death->calls == death->at ||
	    (!death->at && !strcmp(call, "rename_at") && n > 4 && !strcmp(name + n - 4, ".new")))
		_exit(77);
}

/* What runs in a child that dies at its n-th call of the io table; false: it got through. */
static bool dies(int (*what)(const struct sde__io *io), unsigned long at, bool no_exchange)
{
	struct death death = { at, 0 };
	struct fault_io fault;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		fault_io_init(&fault);
		fault.no_exchange = no_exchange;
		fault.before = die_at;
		fault.before_ctx = &death;
		_exit(what(&fault.io) ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 77 || WEXITSTATUS(status) == 0);
	return WEXITSTATUS(status) == 77;
}

static int create_over(const struct sde__io *io)
{
	const struct sde__zarr_hooks hooks = { .io = io, .synchronous = true };
	struct sde_zarr_options options = options_of(3);
	struct sde_storage *storage;

	options.overwrite = 1;
	if (sde__zarr_create(&storage, PATH, &ensemble, &options, &hooks, NULL))
		return -1;
	_exit(0);
}

/*
 * Whatever the moment: afterwards there is the old store with all it had, or the new
 * one, or none, and nothing beside it.
 */
static void a_create_killed_anywhere_leaves_nothing_after_repair(void **state)
{
	unsigned olds = 0, news = 0, nones = 0, put_back = 0;
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;

	(void)state;
	for (int existed = 0; existed <= 2; existed++) {
		const unsigned long stride = stride_of(8);
		bool killed = true;

		/* 0: a name is given back in one moment only */
		for (unsigned long n = existed != 2; killed; n += n ? stride : 1) {
			struct sde_error error;
			struct told told;
			struct twin twin = { .count = 0 };
			unsigned beside;
			int ret;

			if (existed)
				live(&twin, 3, 0, 10, true);
			killed = dies(create_over, n, existed == 2);
			beside = scratch_entries(".") - scratch_exists(PATH);
			if (n % 5 == 0) {
				struct told dry;
				const uint64_t before = picture();

				options.dry_run = 1;
				repair_with(&dry, &options, &error);
				assert_true(picture() == before);
			}
			ret = repair(&told, &error);
			assert_true(!beside || told.count);
			put_back += count_of(&told, SDE_REPAIR_PUT_BACK);
			twin_assert_is(ret, !existed && !told.count && !scratch_exists(PATH) ?
				       -ENOENT : 0, error.text);
			assert_int_equal(scratch_entries("."), scratch_exists(PATH));
			if (!scratch_exists(PATH)) {
				assert_false(existed);
				nones++;
			} else if (look().committed) {
				/* a resume costs many syncs */
				if (n % 32)
					twin_check_path(&twin, PATH);
				else
					is_whole(&twin);
				olds++;
			} else {
				assert_false(scratch_exists(RING));
				news++;
			}
			if (existed)
				twin_free(&twin);
			if (scratch_exists(PATH))
				remove_all(PATH);
		}
	}
	printf("# %u kills: %u old stores (%u put back), %u new, %u none\n", olds + news + nones,
	       olds, put_back, news, nones);
	assert_true(olds && news && nones && put_back);
}

/* SIGKILL, as the kernel's memory killer does it. */
static void kill_at_the_last_rename(void *ctx, const char *call, const char *name)
{
	(void)ctx;
	if (!strcmp(call, "rename_at") && strstr(name, ".new"))
		kill(getpid(), SIGKILL);
}

static void what_a_killed_create_leaves_beside_is_removed(void **state)
{
	struct sde_error error;
	struct told told;
	int status;
	pid_t pid;

	(void)state;
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct fault_io fault;

		fault_io_init(&fault);
		fault.before = kill_at_the_last_rename;
		create_over(&fault.io);
		_exit(1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_false(scratch_exists(PATH));
	assert_int_equal(scratch_entries("."), 1);
	twin_assert_ok(repair(&told, &error), error.text);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.step[0].action, SDE_REPAIR_REMOVE);
	assert_int_equal(strncmp(told.step[0].file, "./.run.zarr.", 12), 0);
	assert_int_equal(scratch_entries("."), 0);
	twin_assert_is(repair(&told, &error), -ENOENT, error.text);
}

static void a_create_at_work_beside_is_left_alone(void **state)
{
	static const char beside[] = ".run.zarr.0123456789ab.new";
	const struct sde_zarr_options options = options_of(3);
	struct sde_storage *storage;
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	live(&twin, 3, 0, 6, true);
	assert_int_equal(sde_zarr_storage_create(&storage, "other", &ensemble, &options, NULL), 0);
	assert_int_equal(rename("other", beside), 0);
	twin_assert_ok(repair(&told, &error), error.text);
	assert_int_equal(told.count, 0);
	assert_true(scratch_exists(beside));
	assert_int_equal(sde_storage_close(storage), 0);
	twin_assert_ok(repair(&told, &error), error.text);
	assert_int_equal(told.count, 1);
	assert_false(scratch_exists(beside));
	is_whole(&twin);
	twin_free(&twin);
}

static void what_only_looks_like_a_leftover_stays(void **state)
{
	static const char *const names[] = {
		".run.zarr.0123456789ab.new.old.older", ".run.zarr.0123456789aB.new",
		".run.zarr.0123456789abc.new", ".run.zar.0123456789ab.new",
		".run.zarr.0123456789ab.old", "run.zarr.0123456789ab.new",
	};
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	live(&twin, 3, 0, 6, true);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		assert_int_equal(mkdir(names[i], 0777), 0);
	/* a link, a file, a directory with something of somebody's in it */
	assert_int_equal(symlink(names[0], ".run.zarr.000000000000.new"), 0);
	scratch_write(".run.zarr.000000000001.new", "mine", 4);
	assert_int_equal(mkdir(".run.zarr.000000000002.new", 0777), 0);
	scratch_write(".run.zarr.000000000002.new/thesis.tex", "mine", 4);
	twin_assert_ok(repair(&told, &error), error.text);
	assert_int_equal(told.count, 0);
	assert_int_equal(scratch_entries("."), 1 + sizeof(names) / sizeof(*names) + 3);
	assert_true(scratch_exists(".run.zarr.000000000002.new/thesis.tex"));
	/* without a store of the name, one that has snapshots is not thrown away */
	assert_int_equal(rename(PATH, ".run.zarr.000000000003.new"), 0);
	assert_int_equal(repair(&told, &error), -ENOENT);
	assert_int_equal(told.count, 0);
	assert_int_equal(rename(".run.zarr.000000000003.new", PATH), 0);
	is_whole(&twin);
	twin_free(&twin);
}

/* A directory goes by its name: one that the path does not end with has none beside it. */
static void the_name_of_a_store_says_what_is_beside_it(void **state)
{
	static const char beside[] = ".run.zarr.0123456789ab.new";
	struct sde_error error = { 0 };
	struct twin twin;

	(void)state;
	live(&twin, 3, 0, 6, true);
	assert_int_equal(mkdir(beside, 0777), 0);
	assert_int_equal(chdir(PATH), 0);
	twin_assert_ok(sde_zarr_storage_repair(".", NULL, &error), error.text);
	twin_assert_ok(sde_zarr_storage_repair("../" PATH "/.", NULL, &error), error.text);
	assert_int_equal(chdir(".."), 0);
	assert_true(scratch_exists(beside));
	twin_assert_ok(sde_zarr_storage_repair("./" PATH "//", NULL, &error), error.text);
	assert_false(scratch_exists(beside));
	is_whole(&twin);
	twin_free(&twin);
}

/* What an overwrite had moved aside gets its name back, or keeps the one it has. */
static void a_store_is_put_back_or_left_where_it_is(void **state)
{
	static const char aside[] = ".run.zarr.0123456789ab.new.old";
	bool fired = true, put_back = false;

	(void)state;
	for (unsigned long at = 1; fired; at++) {
		struct sde_error error = { 0 };
		struct fault_io fault;
		struct told told;
		struct twin twin;
		int ret;

		live(&twin, 3, 5, 6, true);
		assert_int_equal(rename(PATH, aside), 0);
		fault_io_init(&fault);
		fault_io_arm(&fault, at, EIO, false);
		ret = sde__zarr_repair(PATH, NULL, &fault.io, &error);
		fired = fault.fired;
		assert_int_equal(fault.handles, 0);
		assert_int_equal(error.code, ret);
		if (ret)
			twin_assert_sentence(error.text, NULL, NULL);
		assert_int_equal(scratch_entries("."), 1);
		put_back = put_back || scratch_exists(aside);
		twin_assert_ok(repair(&told, &error), error.text);
		assert_int_equal(scratch_entries("."), 1);
		is_whole(&twin);
		twin_free(&twin);
		remove_all(PATH);
	}
	assert_true(put_back);
}

/* ------------------------------------------------------------------------
 * Damage
 */

static void damaged_blocks_of_times_are_restored_to_the_byte(void **state)
{
	(void)state;
	for (unsigned format = 2; format <= 3; format++)
		for (int column = 0; column < 2; column++)
			for (int way = 0; way < 4; way++) {
				unsigned char *bytes, *is;
				struct sde_error error;
				size_t size, is_size;
				struct told told;
				struct twin twin;
				char name[64];

				live(&twin, format, 0, 10, true);
				snprintf(name, sizeof(name), PATH "/%s/%s0",
					 column ? "iteration" : "time", format == 3 ? "c/" : "");
				bytes = scratch_read(name, &size);
				bytes[9] ^= 1;
				assert_int_equal(unlink(name), 0);
				if (way)
					scratch_write(name, bytes, way == 1 ? 0 : way == 2 ? 77 : size);
				bytes[9] ^= 1;
				twin_assert_ok(repair_thrice(&told, &error), error.text);
				assert_int_equal(told.count, 1);
				assert_int_equal(told.step[0].action, SDE_REPAIR_RESTORE);
				assert_string_equal(told.step[0].file, name);
				assert_int_equal(told.step[0].snapshots[1], 10);
				is = scratch_read(name, &is_size);
				assert_int_equal(is_size, size);
				assert_memory_equal(is, bytes, size);
				free(is);
				free(bytes);
				is_whole(&twin);
				twin_free(&twin);
				remove_all(PATH);
			}
}

/* Of each block of times: how many numbers are lost, as the step's text says. */
static void note_restored(void *ctx, const struct sde_repair_step *step)
{
	unsigned long long *lost = ctx;
	const char *number = strchr(step->text, ';');

	if (step->action != SDE_REPAIR_RESTORE)
		return;
	assert_non_null(strstr(step->file, PATH "/time/c/"));
	assert_true(step->snapshots[0] / 8192 < 3);
	lost[step->snapshots[0] / 8192] = number ? strtoull(number + 1, NULL, 10) : 0;
}

/* In front of the missing chunks, behind them, and in a block that they do not reach. */
static void times_around_a_long_run_of_missing_chunks_are_restored(void **state)
{
	enum { SIZE = 64, FIRST = 20, END = 201, ALL = 270 * SIZE };
	const struct sde_ensemble small = { 1, 1, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_repair_options repair_options = SDE_REPAIR_OPTIONS_INIT;
	static struct fault_io lister;
	unsigned failures = 0;
	unsigned long long lost[3] = { 99, 99, 99 };
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	char name[64];

	(void)state;
	options.chunk_size = SIZE;
	options.sync = SDE_SYNC_NONE;
	assert_int_equal(sde_zarr_storage_create(&storage, PATH, &small, &options, NULL), 0);
	for (uint64_t k = 0; k < ALL; k++)
		assert_int_equal(sde_storage_store(storage, (double)k / 8, &(double){ 1 }, k), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	for (int k = FIRST; k < END; k++) {
		snprintf(name, sizeof(name), PATH "/data/c/0/0/%d", k);
		assert_int_equal(unlink(name), 0);
	}
	for (int block = 0; block < 3; block++) {
		snprintf(name, sizeof(name), PATH "/time/c/%d", block);
		assert_int_equal(truncate(name, 7), 0);
	}
	/* the newest name may come first when they are listed, or last */
	snprintf(name, sizeof(name), PATH "/data/c/0/0/%d", END);
	assert_int_equal(rename(name, "aside"), 0);
	assert_int_equal(rename("aside", name), 0);
	fault_io_init(&lister);
	repair_options.dry_run = 1;
	for (unsigned long n = 1; ; n++) {
		int ret;

		memset(&error, 0, sizeof(error));
		fault_io_arm(&lister, n, EIO, false);
		lister.only = "list";
		ret = sde__zarr_repair(PATH, &repair_options, &lister.io, &error);
		if (!lister.fired)
			break;
		/* a survey goes on without the list: what it would have found is lost */
		assert_true(ret == -EIO || ret == SDE_E_HOLE);
		twin_assert_sentence(error.text, NULL, NULL);
		failures++;
	}
	assert_true(failures > 2);
	memset(&error, 0, sizeof(error));
	repair_options.dry_run = 0;
	repair_options.step = note_restored;
	repair_options.step_ctx = lost;
	assert_int_equal(sde_zarr_storage_repair(PATH, &repair_options, &error), SDE_E_HOLE);
	assert_int_equal(lost[0], 8192 - FIRST * SIZE);
	assert_int_equal(lost[1], END * SIZE - 8192);
	assert_int_equal(lost[2], 0);
	for (uint64_t k = 0; k < ALL; k++) {
		static const uint64_t nan = UINT64_C(0x7ff8000000000000);
		static unsigned char *bytes;
		size_t size;
		double is, should = (double)k / 8;

		if (k % 8192 == 0) {
			free(bytes);
			snprintf(name, sizeof(name), PATH "/time/c/%d", (int)(k / 8192));
			bytes = scratch_read(name, &size);
			assert_int_equal(size, 8192 * 8 + 4);
		}
		if (k / SIZE >= FIRST && k / SIZE < END)
			memcpy(&should, &nan, 8);
		memcpy(&is, bytes + k % 8192 * 8, 8);
		assert_memory_equal(&is, &should, 8);
		if (k == ALL - 1)
			free(bytes);
	}
}

static void a_lost_chunk_is_named_and_truncated_before(void **state)
{
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	for (unsigned format = 2; format <= 3; format++)
		for (int crashed = 0; crashed < 2; crashed++) {
			live(&twin, format, 14, 17, !crashed);
			assert_int_equal(unlink(format == 3 ? PATH "/data/c/0/0/1" :
						PATH "/data/0.1.1"), 0);
			twin_assert_is(repair_thrice(&told, &error), SDE_E_HOLE, error.text);
			twin_assert_sentence(error.text, "snapshots 4:8", "missing");
			/* what was in the ring is published all the same */
			assert_int_equal(count_of(&told, SDE_REPAIR_PUBLISH), crashed);
			assert_int_equal(look().published, 17);
			assert_int_equal(count_of(&told, SDE_REPAIR_LOST), 1);
			for (unsigned i = 0; i < told.count; i++) {
				if (told.step[i].action != SDE_REPAIR_LOST)
					continue;
				assert_int_equal(told.step[i].snapshots[0], 4);
				assert_int_equal(told.step[i].snapshots[1], 8);
				assert_int_equal(told.step[i].trajectories[0], format == 3 ? 0 : 2);
				assert_int_equal(told.step[i].trajectories[1], format == 3 ? 5 : 4);
				assert_int_equal(told.step[i].cause, SDE_CAUSE_MISSING);
			}
			memset(&error, 0, sizeof(error));
			assert_int_equal(sde_zarr_storage_resume(&storage, PATH, NULL, &error),
					 SDE_E_HOLE);
			twin_assert_sentence(error.text, "missing", "--repair");
			options.truncate = 1;
			options.snapshots = 4;
			options.dry_run = 1;
			twin_assert_ok(repair_with(&told, &options, &error), error.text);
			options.dry_run = 0;
			twin_assert_ok(repair_with(&told, &options, &error), error.text);
			assert_int_equal(told.count, 1);
			assert_int_equal(told.step[0].action, SDE_REPAIR_TRUNCATE);
			assert_int_equal(told.step[0].snapshots[0], 4);
			assert_int_equal(told.step[0].snapshots[1], 17);
			twin_truncate(&twin, 4);
			is_whole(&twin);
			twin_free(&twin);
			remove_all(PATH);
		}
}

static void a_lost_last_chunk_is_named_and_truncated_before(void **state)
{
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	live(&twin, 3, 0, 10, true);
	assert_int_equal(truncate(PATH "/data/c/0/0/2", 70), 0);
	twin_assert_is(repair_thrice(&told, &error), SDE_E_CORRUPT, error.text);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.step[0].snapshots[0], 8);
	assert_int_equal(told.step[0].snapshots[1], 10);
	options.truncate = 1;
	options.snapshots = 7;
	twin_assert_ok(repair_with(&told, &options, &error), error.text);
	twin_truncate(&twin, 7);
	is_whole(&twin);
	twin_free(&twin);
}

/* The ring still has the incomplete last chunk; its times are gone as well. */
static void the_ring_makes_good_what_the_last_file_lost(void **state)
{
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	for (int with_more = 0; with_more < 2; with_more++)
		for (int way = 0; way < 2; way++) {
			crash(&twin, 10, with_more ? 15 : 11);
			if (way)
				assert_int_equal(unlink(PATH "/data/c/0/0/2"), 0);
			else
				assert_int_equal(truncate(PATH "/data/c/0/0/2", 100), 0);
			assert_int_equal(unlink(PATH "/time/c/0"), 0);
			twin_assert_ok(repair(&told, &error), error.text);
			assert_int_equal(count_of(&told, SDE_REPAIR_LOST), 0);
			assert_int_equal(count_of(&told, SDE_REPAIR_RESTORE), 1);
			is_whole(&twin);
			twin_free(&twin);
			remove_all(PATH);
		}
}

static void a_ring_behind_a_lost_chunk_stays_until_it_is_given_up(void **state)
{
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
	struct sde_error error;
	struct told told;
	struct twin twin;

	(void)state;
	crash(&twin, 99, 18);
	assert_int_equal(unlink(PATH "/data/c/0/0/0"), 0);
	twin_assert_is(repair_thrice(&told, &error), SDE_E_HOLE, error.text);
	assert_true(scratch_exists(RING "/header"));
	assert_int_equal(told.step[0].snapshots[0], 0);
	assert_int_equal(told.step[0].snapshots[1], 4);
	options.truncate = 1;
	options.snapshots = 3;
	twin_assert_is(repair_with(&told, &options, &error), -EINVAL, error.text);
	assert_true(scratch_exists(RING "/header"));
	options.snapshots = 0;
	twin_assert_ok(repair_with(&told, &options, &error), error.text);
	twin_truncate(&twin, 0);
	assert_int_equal(look().committed, 0);
	is_whole(&twin);
	twin_free(&twin);
}

/* ------------------------------------------------------------------------
 * Killed, and failing
 */

static int repair_by(const struct sde__io *io)
{
	return sde__zarr_repair(PATH, NULL, io, NULL);
}

static void make_a_mess(struct twin *twin, unsigned format)
{
	live(twin, format, 5, 15, false);
	assert_int_equal(unlink(format == 3 ? PATH "/time/c/0" : PATH "/time/0"), 0);
	scratch_write(format == 3 ? PATH "/data/c/0/0/1.tmp" : PATH "/data/0.0.1.tmp", "torn", 4);
	assert_int_equal(mkdir(".run.zarr.0123456789ab.new", 0777), 0);
	assert_int_equal(mkdir(".run.zarr.0123456789ab.new/data", 0777), 0);
}

static void a_repair_killed_anywhere_is_done_by_the_next(void **state)
{
	unsigned long n = 0;

	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		bool killed = true;

		for (unsigned long at = format - 1; killed; at += stride_of(13), n++) {
			struct sde_error error;
			struct told told;
			struct twin twin;

			make_a_mess(&twin, format);
			killed = dies(repair_by, at, false);
			twin_assert_ok(repair(&told, &error), error.text);
			is_whole(&twin);
			assert_int_equal(scratch_entries("."), 1);
			twin_free(&twin);
			remove_all(PATH);
		}
	}
	printf("# %lu kills\n", n);
}

static void a_repair_that_fails_anywhere_loses_nothing(void **state)
{
	unsigned long n = 0;

	(void)state;
	for (int for_good = 0; for_good < 2; for_good++) {
		bool fired = true;

		for (unsigned long at = 1 + (unsigned)for_good; fired; at += stride_of(13), n++) {
			struct sde_error error = { 0 };
			struct fault_io fault;
			struct told told;
			struct twin twin;
			int ret;

			make_a_mess(&twin, 3);
			fault_io_init(&fault);
			fault_io_arm(&fault, at, EIO, for_good);
			ret = sde__zarr_repair(PATH, NULL, &fault.io, &error);
			fired = fault.fired;
			assert_int_equal(fault.handles, 0);
			assert_int_equal(fault.maps, 0);
			if (ret)
				twin_assert_sentence(error.text, NULL, NULL);
			assert_int_equal(error.code, ret);
			twin_assert_ok(repair(&told, &error), error.text);
			is_whole(&twin);
			assert_int_equal(scratch_entries("."), 1);
			twin_free(&twin);
			remove_all(PATH);
		}
	}
	printf("# %lu failing calls\n", n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(what_a_dead_writer_left_is_published),
		SCRATCH_TEST(a_whole_store_is_left_as_it_is),
		SCRATCH_TEST(a_running_store_is_refused),
		SCRATCH_TEST(a_copied_ring_is_refused_unless_it_is_trusted),
		SCRATCH_TEST(arguments_are_checked),
		SCRATCH_TEST(temporary_files_are_removed_and_other_files_stay),
		SCRATCH_TEST(a_create_killed_anywhere_leaves_nothing_after_repair),
		SCRATCH_TEST(what_a_killed_create_leaves_beside_is_removed),
		SCRATCH_TEST(a_create_at_work_beside_is_left_alone),
		SCRATCH_TEST(what_only_looks_like_a_leftover_stays),
		SCRATCH_TEST(the_name_of_a_store_says_what_is_beside_it),
		SCRATCH_TEST(a_store_is_put_back_or_left_where_it_is),
		SCRATCH_TEST(damaged_blocks_of_times_are_restored_to_the_byte),
		SCRATCH_TEST(times_around_a_long_run_of_missing_chunks_are_restored),
		SCRATCH_TEST(a_lost_chunk_is_named_and_truncated_before),
		SCRATCH_TEST(a_lost_last_chunk_is_named_and_truncated_before),
		SCRATCH_TEST(the_ring_makes_good_what_the_last_file_lost),
		SCRATCH_TEST(a_ring_behind_a_lost_chunk_stays_until_it_is_given_up),
		SCRATCH_TEST(a_repair_killed_anywhere_is_done_by_the_next),
		SCRATCH_TEST(a_repair_that_fails_anywhere_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
