/* SPDX-License-Identifier: MIT */
/*
 * Promise 4 on real file systems: disks that fill up in the middle of a run and get
 * room again, devices that fail, limits and read-only mounts. Every failure is a code
 * and a sentence that names a file; nothing that was stored is lost; when the
 * fault is gone, save on the same handle completes the store.
 *
 * Environment: SDE_TEST_LONG also takes xfs and btrfs.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "disks.h"
#include "numbered.h"
#include "scratch.h"
#include "twin.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define STORE "fs/run.zarr"
#define FILLER "fs/filler"
#define T 16
#define SEGMENTS 3
/* 16 KiB a snapshot, 256 KiB a chunk, 768 KiB a ring */
static const struct numbered numbers = { { 2, 1024, SDE_FLOAT64 }, 1, { 0 } };

/* ------------------------------------------------------------------------
 * File systems
 */

static const struct disk {
	const char *type, *mkfs;
	size_t size;
	bool always;			/* not only in long runs */
} disks[] = {
	{ "tmpfs", NULL, 6 << 20, true },
	{ "ext4", "mkfs.ext4 -q -F -b 4096 -J size=4 -E nodiscard", 16 << 20, true },
	{ "xfs", "env TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x mkfs.xfs -q -f -K", 64 << 20, false },
	{ "btrfs", "mkfs.btrfs -q -f -K", 128 << 20, false },
};
#define DISKS (sizeof(disks) / sizeof(*disks))

static struct disks_loop loop = { .fd = -1 };

/* Mount it at fs; false if it is not for this run, or cannot be had. */
static bool mount_disk(const struct disk *disk)
{
	char options[32];
	int ret;

	if (!disk->always && !getenv("SDE_TEST_LONG"))
		return false;
	if (!disk->mkfs) {
		snprintf(options, sizeof(options), "size=%zu", disk->size);
		assert_int_equal(disks_mount("none", "fs", disk->type, 0, options), 0);
		return true;
	}
	ret = disks_format("image", disk->size, disk->mkfs);
	if (!ret)
		ret = disks_mount_image(&loop, "image", disk->type, "fs", NULL);
	if (ret)
		print_message("# no %s: %s\n", disk->type, strerror(-ret));
	return !ret;
}

static void unmount_disk(void)
{
	assert_int_equal(disks_unmount("fs"), 0);
	disks_loop_close(&loop);
}

static int leave(void **state)
{
	umount2("fs", MNT_DETACH);
	umount2("thin", MNT_DETACH);
	disks_loop_close(&loop);
	return scratch_leave(state);
}

static void need_disks(void)
{
	const char *reason = disks_unavailable();

	if (reason)
		disks_skip(reason);
}

/* ------------------------------------------------------------------------
 * Stores
 */

static struct sde_zarr_options options_of(enum sde_ring_io ring_io, enum sde_sync sync)
{
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;

	o.chunk_size = T;
	o.segments = SEGMENTS;
	o.threads = 1;
	o.ring_io = ring_io;
	o.sync = sync;
	return o;
}

static struct sde_storage *create(enum sde_ring_io ring_io, enum sde_sync sync)
{
	const struct sde_zarr_options o = options_of(ring_io, sync);
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	twin_assert_ok(sde_zarr_storage_create(&storage, STORE, &numbers.ensemble, &o, &error),
		       error.text);
	return storage;
}

static struct sde_storage *resume(enum sde_ring_io ring_io, uint64_t count)
{
	const struct sde_zarr_options o = options_of(ring_io, SDE_SYNC_CHUNK);
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	twin_assert_ok(sde_zarr_storage_resume(&storage, STORE, &o, &error), error.text);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_int_equal(info.committed, count);
	return storage;
}

static void store_all(struct sde_storage *storage, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		twin_assert_ok(numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, i, i % 2),
			       twin_sentence(storage));
}

static void check(struct sde_storage *storage, uint64_t count)
{
	char why[400] = "";

	if (!numbered_check(&numbers, storage, count, why, sizeof(why)))
		fail_msg("%s", why);
}

/* What another process sees. */
static void check_path(uint64_t count)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	twin_assert_ok(sde_storage_open(&storage, STORE, NULL, &error), error.text);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_int_equal(info.committed, count);
	check(storage, count);
	twin_assert_ok(sde_storage_verify(storage, NULL), twin_sentence(storage));
	assert_int_equal(sde_storage_close(storage), 0);
}

/* Store until it is refused; how many there are then. The sentence names a file. */
static uint64_t store_until(struct sde_storage *storage, uint64_t from, int code)
{
	for (uint64_t i = from; i < from + 10000; i++) {
		const int ret = numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, i, i % 2);

		if (!ret)
			continue;
		twin_assert_is(ret, code, twin_sentence(storage));
		twin_assert_sentence(twin_sentence(storage), "'", NULL);
		return i;
	}
	fail_msg("nothing was ever refused");
	return 0;
}

/* Each of the disks with each kind of ring. */
static void with_disks(void (*test)(enum sde_ring_io ring_io))
{
	need_disks();
	for (size_t i = 0; i < DISKS; i++)
		for (int k = SDE_RING_IO_MAPPED; k <= SDE_RING_IO_WRITTEN; k++) {
			/* what the default is there for */
			if (!strcmp(disks[i].type, "btrfs") && k == SDE_RING_IO_MAPPED)
				k = SDE_RING_IO_DEFAULT;
			if (!mount_disk(&disks[i]))
				break;
			print_message("# %s, %s\n", disks[i].type, k == SDE_RING_IO_WRITTEN ?
				      "written" : k ? "mapped" : "default");
			test((enum sde_ring_io)k);
			unmount_disk();
			k = k ? k : SDE_RING_IO_MAPPED;
		}
}

/* ------------------------------------------------------------------------
 * Full
 */

static void fill_and_make_room(enum sde_ring_io ring_io)
{
	struct sde_storage *storage = create(ring_io, SDE_SYNC_CHUNK);
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	uint64_t count;

	/* the default is taken where a mapping is not safe */
	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_int_equal(info.ring_io, ring_io ? ring_io : SDE_RING_IO_WRITTEN);
	store_all(storage, 0, 20);
	disks_fill(FILLER, 0);
	count = store_until(storage, 20, -ENOSPC);
	assert_true(count <= 20 + (SEGMENTS + 1) * T);
	check(storage, count);
	/* it stays so */
	twin_assert_is(numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, count, false), -ENOSPC,
		       twin_sentence(storage));
	twin_assert_is(sde_storage_save(storage), -ENOSPC, twin_sentence(storage));
	check(storage, count);
	assert_int_equal(unlink(FILLER), 0);
	twin_assert_ok(sde_storage_save(storage), twin_sentence(storage));
	check_path(count);
	store_all(storage, count, count + 40);
	twin_assert_ok(sde_storage_close(storage), "close");
	check_path(count + 40);
}

static void a_store_on_a_full_disk_is_complete_once_there_is_room(void **state)
{
	(void)state;
	with_disks(fill_and_make_room);
}

static void close_when_full(enum sde_ring_io ring_io)
{
	struct sde_storage *storage = create(ring_io, SDE_SYNC_CHUNK);
	struct sde_error error = { 0 };
	uint64_t count;

	store_all(storage, 0, 20);
	disks_fill(FILLER, 0);
	count = store_until(storage, 20, -ENOSPC);
	twin_assert_is(sde_storage_close_error(storage, &error), -ENOSPC, error.text);
	twin_assert_sentence(error.text, "'", NULL);
	assert_true(scratch_exists(STORE "/data/.ring/header"));
	check_path(count);
	assert_int_equal(unlink(FILLER), 0);
	storage = resume(ring_io, count);
	store_all(storage, count, count + 5);
	twin_assert_ok(sde_storage_close(storage), "close");
	check_path(count + 5);
}

static void a_close_on_a_full_disk_leaves_the_ring_for_resume(void **state)
{
	(void)state;
	with_disks(close_when_full);
}

static void create_when_full(enum sde_ring_io ring_io)
{
	const struct sde_zarr_options o = options_of(ring_io, SDE_SYNC_CHUNK);
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int ret;

	/* from no room at all to enough: at every step a store or nothing */
	for (size_t left = 0; ; left += 200 << 10) {
		const unsigned before = scratch_entries("fs");

		disks_fill(FILLER, left);
		memset(&error, 0, sizeof(error));
		ret = sde_zarr_storage_create(&storage, STORE, &numbers.ensemble, &o, &error);
		if (!ret)
			break;
		twin_assert_is(ret, -ENOSPC, error.text);
		twin_assert_sentence(error.text, "'", "No space left");
		assert_null(storage);
		unlink(FILLER);
		assert_int_equal(scratch_entries("fs"), before);
		assert_true(left < 8 << 20);
	}
	store_all(storage, 0, 3);
	assert_int_equal(unlink(FILLER), 0);
	twin_assert_ok(sde_storage_close(storage), "close");
	check_path(3);
}

static void a_create_on_a_full_disk_leaves_nothing(void **state)
{
	(void)state;
	with_disks(create_when_full);
}

/*
 * What a child does until it is killed, by itself: true if all went as it should.
 * An assertion in a child would go on with the next test there.
 */
static bool store_some(enum sde_ring_io ring_io, enum sde_sync sync, uint64_t count,
		       struct sde_storage **storage)
{
	const struct sde_zarr_options o = options_of(ring_io, sync);
	int ret;

	ret = sde_zarr_storage_create(storage, STORE, &numbers.ensemble, &o, NULL);
	for (uint64_t i = 0; i < count && !ret; i++)
		ret = numbered_store(&numbers, *storage, SDE_LAYOUT_DEFAULT, i, i % 2);
	return !ret;
}

static void wait_for_kill(pid_t child)
{
	int status;

	assert_true(child >= 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* A child that stores `count` snapshots and is killed. */
static void killed_after(enum sde_ring_io ring_io, enum sde_sync sync, uint64_t count)
{
	const pid_t child = fork();

	if (!child) {
		struct sde_storage *storage;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (store_some(ring_io, sync, count, &storage))
			raise(SIGKILL);
		_exit(1);
	}
	wait_for_kill(child);
}

static void resume_when_full(enum sde_ring_io ring_io)
{
	const struct sde_zarr_options o = options_of(ring_io, SDE_SYNC_CHUNK);
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	const uint64_t count = 2 * T + 5;

	killed_after(ring_io, SDE_SYNC_CHUNK, count);
	disks_fill(FILLER, 0);
	twin_assert_is(sde_zarr_storage_resume(&storage, STORE, &o, &error), -ENOSPC, error.text);
	twin_assert_sentence(error.text, "'", "No space left");
	check_path(count);
	assert_int_equal(unlink(FILLER), 0);
	storage = resume(ring_io, count);
	store_all(storage, count, count + 20);
	twin_assert_ok(sde_storage_close(storage), "close");
	check_path(count + 20);
}

static void a_resume_on_a_full_disk_loses_nothing(void **state)
{
	(void)state;
	with_disks(resume_when_full);
}

/* ------------------------------------------------------------------------
 * A device that fails: a disk that promised more than it has
 */

/* ext4 whose metadata are there and whose data are not, on a small tmpfs. */
static void mount_thin(void)
{
	assert_int_equal(disks_mount("none", "thin", "tmpfs", 0, "size=20m"), 0);
	assert_int_equal(disks_format("thin/image", 64 << 20, "mkfs.ext4 -q -F -b 4096 -N 1024 -J size=4 "
				      "-E lazy_itable_init=0,lazy_journal_init=0,nodiscard"), 0);
	assert_int_equal(disks_mount_image(&loop, "thin/image", "ext4", "fs", NULL), 0);
}

/* EIO, or from newer loop devices what the file behind them said. */
static bool is_device_failure(int code)
{
	return code == -EIO || code == -ENOSPC;
}

static int forget_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	(void)st, (void)ftw;
	if (fd >= 0) {
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		close(fd);
	}
	return 0;
}

/*
 * What the kernel may do at any time: write what is dirty, drop what is clean. (Of
 * this store alone: /proc/sys/vm/drop_caches waits for every mount of the machine.)
 */
static void forget_store(void)
{
	assert_int_equal(nftw(STORE, forget_file, 16, FTW_PHYS), 0);
}

static void a_failed_sync_is_completed_by_save_into_new_files(void **state)
{
	(void)state;
	need_disks();
	for (int k = SDE_RING_IO_MAPPED; k <= SDE_RING_IO_WRITTEN; k++) {
		struct sde_storage *storage;
		uint64_t count = T + 3;
		int ret;

		mount_thin();
		storage = create((enum sde_ring_io)k, SDE_SYNC_PUBLISH);
		store_all(storage, 0, 3);
		disks_fill("thin/filler", 0);
		store_all(storage, 3, 4);
		ret = sde_storage_sync(storage);
		assert_true(is_device_failure(ret));
		twin_assert_sentence(twin_sentence(storage), "'data/.ring/", NULL);
		/* it is not tried again, which would succeed and prove nothing */
		assert_int_equal(sde_storage_sync(storage), ret);
		assert_int_equal(numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, 4, false), ret);
		check(storage, 4);
		assert_int_equal(unlink("thin/filler"), 0);
		twin_assert_ok(sde_storage_save(storage), twin_sentence(storage));
		store_all(storage, 4, count);
		twin_assert_ok(sde_storage_close(storage), "close");
		forget_store();
		check_path(count);
		unmount_disk();
		assert_int_equal(disks_unmount("thin"), 0);
	}
}

/*
 * The kernel forgets what it could not write, and says so once. A writer that was
 * told and then killed must not leave a ring that looks whole and is not.
 */
static void a_process_killed_after_a_failed_sync_leaves_no_wrong_values(void **state)
{
	(void)state;
	need_disks();
	for (int k = SDE_RING_IO_MAPPED; k <= SDE_RING_IO_WRITTEN; k++) {
		struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
		struct sde_error error = { 0 };
		struct sde_storage *storage;
		pid_t child;

		mount_thin();
		child = fork();
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (store_some((enum sde_ring_io)k, SDE_SYNC_PUBLISH, 3, &storage)) {
				disks_fill("thin/filler", 0);
				for (uint64_t i = 3; i < 6; i++)
					numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, i, false);
				if (is_device_failure(sde_storage_sync(storage)))
					raise(SIGKILL);
			}
			_exit(1);
		}
		wait_for_kill(child);
		assert_int_equal(unlink("thin/filler"), 0);
		forget_store();
		twin_assert_ok(sde_storage_open(&storage, STORE, NULL, &error), error.text);
		assert_int_equal(sde_storage_info(storage, &info), 0);
		assert_int_equal(info.committed, 6);
		check(storage, 6);
		assert_int_equal(sde_storage_close(storage), 0);
		storage = resume((enum sde_ring_io)k, 6);
		store_all(storage, 6, 2 * T);
		twin_assert_ok(sde_storage_close(storage), "close");
		forget_store();
		check_path(2 * T);
		unmount_disk();
		assert_int_equal(disks_unmount("thin"), 0);
	}
}

/* ------------------------------------------------------------------------
 * Limits, read-only
 */

static void set_limit(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Status of a child that creates a store under a limit that the ring is over. */
static int limited_create(void (*handler)(int))
{
	const struct sde_zarr_options o = options_of(SDE_RING_IO_DEFAULT, SDE_SYNC_CHUNK);
	const pid_t child = fork();
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int status;

	assert_true(child >= 0);
	if (!child) {
		signal(SIGXFSZ, handler);
		set_limit(64 << 10);
		status = sde_zarr_storage_create(&storage, STORE, &numbers.ensemble, &o, &error);
		_exit(status == -EFBIG && strstr(error.text, "'data/.ring/") ? 7 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void a_file_size_limit_at_create_is_what_the_manual_says(void **state)
{
	int status;

	(void)state;
	mkdir("fs", 0755);
	status = limited_create(SIG_IGN);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	assert_int_equal(scratch_entries("fs"), 0);
	status = limited_create(SIG_DFL);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
	assert_false(scratch_exists(STORE));
}

/* In the middle of a run: workers get EFBIG whatever the disposition. */
static void a_file_size_limit_in_the_middle_is_an_error_until_it_is_lifted(void **state)
{
	struct sde_storage *storage;
	struct rlimit limit;
	uint64_t count;

	(void)state;
	mkdir("fs", 0755);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	storage = create(SDE_RING_IO_MAPPED, SDE_SYNC_CHUNK);
	store_all(storage, 0, 20);
	set_limit(64 << 10);
	count = store_until(storage, 20, -EFBIG);
	set_limit(limit.rlim_cur);
	check(storage, count);
	twin_assert_ok(sde_storage_save(storage), twin_sentence(storage));
	store_all(storage, count, count + 20);
	twin_assert_ok(sde_storage_close(storage), "close");
	check_path(count + 20);
}

static void a_read_only_mount_is_read_and_refused_for_writing(void **state)
{
	const struct sde_zarr_options o = options_of(SDE_RING_IO_DEFAULT, SDE_SYNC_CHUNK);
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	(void)state;
	need_disks();
	assert_true(mount_disk(&disks[0]));
	/* closed, and crashed */
	storage = create(SDE_RING_IO_DEFAULT, SDE_SYNC_CHUNK);
	store_all(storage, 0, 20);
	twin_assert_ok(sde_storage_close(storage), "close");
	for (int crashed = 0; crashed < 2; crashed++) {
		if (crashed) {
			assert_int_equal(rename(STORE, "fs/other.zarr"), 0);
			killed_after(SDE_RING_IO_DEFAULT, SDE_SYNC_CHUNK, 20);
		}
		assert_int_equal(mount("none", "fs", NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		check_path(20);
		memset(&error, 0, sizeof(error));
		twin_assert_is(sde_zarr_storage_resume(&storage, STORE, &o, &error), -EROFS, error.text);
		twin_assert_sentence(error.text, "'", NULL);
		memset(&error, 0, sizeof(error));
		twin_assert_is(sde_zarr_storage_create(&storage, "fs/new.zarr", &numbers.ensemble, &o,
						       &error), -EROFS, error.text);
		twin_assert_sentence(error.text, "'", NULL);
		check_path(20);
		assert_int_equal(mount("none", "fs", NULL, MS_REMOUNT, "size=6m"), 0);
	}
	storage = resume(SDE_RING_IO_DEFAULT, 20);
	twin_assert_ok(sde_storage_close(storage), "close");
	unmount_disk();
}

#define DISK_TEST(test) cmocka_unit_test_setup_teardown(test, scratch_enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(a_store_on_a_full_disk_is_complete_once_there_is_room),
		DISK_TEST(a_close_on_a_full_disk_leaves_the_ring_for_resume),
		DISK_TEST(a_create_on_a_full_disk_leaves_nothing),
		DISK_TEST(a_resume_on_a_full_disk_loses_nothing),
		DISK_TEST(a_failed_sync_is_completed_by_save_into_new_files),
		DISK_TEST(a_process_killed_after_a_failed_sync_leaves_no_wrong_values),
		DISK_TEST(a_file_size_limit_at_create_is_what_the_manual_says),
		DISK_TEST(a_file_size_limit_in_the_middle_is_an_error_until_it_is_lifted),
		DISK_TEST(a_read_only_mount_is_read_and_refused_for_writing),
	};
	const time_t from = time(NULL);
	int failed;

	/* before any directory is opened: those of the old namespace take no mounts */
	disks_unavailable();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	print_message("# L6: full, failing, limited and read-only disks, %ld s\n",
		      (long)(time(NULL) - from));
	return failed;
}
