/* SPDX-License-Identifier: MIT */
/*
 * Promise 2 on a real file system: a store is written to ext4 (or xfs) on a loop
 * device on a disk that logs every write and flush (disk/logged_disk.c); then states
 * that a power loss could have left are made from the log, mounted, so that the file
 * system's own recovery runs, and recovered by ours.
 *
 * Of a state at some record of the log everything before the last flush is on the
 * device; of what came after it nothing, all, any part in any order, or torn
 * sectors. The workload writes into the log what it knows (struct disk_mark): M lies
 * between what was said to be synced and what had been begun, and every number is
 * arithmetic.
 *
 * Environment: SDE_TEST_SEED repeats the workloads (what the kernel writes when is
 * not its to say), SDE_TEST_STATES (200; 20000 with SDE_TEST_LONG; 40 with a
 * sanitizer), SDE_TEST_FS (ext4; xfs), SDE_TEST_KEEP: a directory into which the log,
 * the image and the seed of a failing state are copied, SDE_TEST_REPLAY: such a
 * directory, whose state is made and judged again. SDE_TEST_SAMPLE: a directory for
 * copies of 1 state in 100, to look at with other readers.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "disk_replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__)
#define STATES 40
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STATES 40
#endif
#endif
#ifndef STATES
#define STATES 200
#endif
#define STATES_LONG 20000
#define STATES_A_LOG 50		/* made of one workload */

#define REPLAYED "replay/run.zarr"

static uint64_t seed;
static const char *fs;			/* "ext4" or "xfs" */

/* ------------------------------------------------------------------------
 * The disk
 */

static char program[4096];		/* logged_disk */
static const size_t disk_size = (size_t)24 << 20, disk_size_xfs = (size_t)64 << 20;

static void find_program(void)
{
	const char *build = getenv("BUILD");
	char *slash;
	ssize_t n;

	if (build) {
		snprintf(program, sizeof(program), "%s/tests/crash/disk/logged_disk", build);
		return;
	}
	n = readlink("/proc/self/exe", program, sizeof(program) - 32);
	assert_true(n > 0);
	program[n] = '\0';
	slash = strrchr(program, '/');
	assert_non_null(slash);
	snprintf(slash, 32, "/disk/logged_disk");
}

static const char *cannot_run(void)
{
	const char *reason = disks_unavailable();

	if (reason)
		return reason;
	find_program();
	if (access(program, X_OK))
		return "logged_disk was not built: there is no fuse3";
	return access("/dev/fuse", R_OK | W_OK) ? "/dev/fuse cannot be opened" : NULL;
}

static int format(uint64_t number, const char *image)
{
	if (!strcmp(fs, "xfs"))
		/* these three make it forget its own minimum */
		return disks_format(image, disk_size_xfs,
				    "env TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x mkfs.xfs -q -f -K");
	return disks_format(image, disk_size, number % 3 == 2 ?
			    "mkfs.ext4 -q -F -b 1024 -N 2048 -J size=2 -E lazy_itable_init=0,lazy_journal_init=0,nodiscard" :
			    "mkfs.ext4 -q -F -b 4096 -N 2048 -J size=4 -E lazy_itable_init=0,lazy_journal_init=0,nodiscard");
}

/*
 * The disk must outlive every mount that is on it: a file system that is unmounted
 * when the test dies waits for it. So it is in a session and a namespace of its own,
 * without any of these mounts, and ends when its file system is gone.
 */
static _Noreturn void be_disk(int device)
{
	char mountpoint[32];

	snprintf(mountpoint, sizeof(mountpoint), "/dev/fd/%d", device);
	if (setsid() < 0 || unshare(CLONE_NEWNS) || umount2("disk", MNT_DETACH))
		_exit(126);
	execl(program, program, mountpoint, "base.img", "log", (char *)NULL);
	_exit(127);
}

static pid_t start_disk(void)
{
	/* not O_CLOEXEC: it is the disk's */
	const int device = open("/dev/fuse", O_RDWR);
	char options[96];
	pid_t child;

	assert_true(device >= 0);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	assert_int_equal(disks_mount("logged_disk", "disk", "fuse", MS_NOSUID | MS_NODEV, options), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		be_disk(device);
	/* from now on it answers, or with its end all calls fail */
	close(device);
	assert_int_equal(access("disk/disk", F_OK), 0);
	return child;
}

static int wait_for(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* One workload on a fresh disk: base.img and log are what is left. */
static void record(uint64_t number)
{
	struct disks_loop loop;
	pid_t disk, worker;
	int status;

	assert_int_equal(format(number, "base.img"), 0);
	disk = start_disk();
	assert_int_equal(disks_mount_image(&loop, "disk/disk", fs, "fs", NULL), 0);
	fflush(stdout);
	worker = fork();
	assert_true(worker >= 0);
	if (!worker)
		disk_work(seed, number);
	status = wait_for(worker);
	if (status)
		fail_msg("workload %" PRIu64 " of seed %" PRIu64 " ended with status %x", number,
			 seed, (unsigned)status);
	assert_int_equal(disks_unmount("fs"), 0);
	disks_loop_close(&loop);
	assert_int_equal(disks_unmount("disk"), 0);
	assert_int_equal(wait_for(disk), 0);
}

/* ------------------------------------------------------------------------
 * The judgement: an empty sentence if all is well
 */

static struct {
	uint64_t states, absent, recovered, pending;
	size_t records;
} tally;

/* The boot after the power loss. */
static int boot_after(void *ctx, unsigned char out[16])
{
	(void)ctx;
	memset(out, 2, 16);
	return 0;
}

static struct sde__io io;
static const struct sde__zarr_hooks hooks = { .io = &io, .synchronous = true };

#define WHY 400
#define refuse(why, ...) do { snprintf(why, WHY, __VA_ARGS__); return; } while (0)

static void judge_counts(const struct disk_mark *m, uint64_t count, char *why)
{
	if (count != m->cut && (count < m->low || count > m->high))
		refuse(why, "%" PRIu64 " snapshots, not %" PRIu64 " to %" PRIu64, count, m->low, m->high);
}

/* As it was found; *found is whether there is a store. */
static void judge_found(struct disk_replay *p, bool *found, uint64_t *count, char *why)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	const int ret = sde__zarr_open(&storage, REPLAYED, NULL, &hooks, &error);

	*found = !ret;
	if (ret == -ENOENT && !p->mark.exists)
		return;
	if (ret)
		refuse(why, "open gave %d: %.200s", ret, error.text);
	if (sde_storage_info(storage, &info))
		snprintf(why, WHY, "info failed");
	*count = info.committed;
	if (info.ignored)
		snprintf(why, WHY, "the ring was ignored");
	if (!*why)
		judge_counts(&p->mark, *count, why);
	if (!*why)
		numbered_check(&p->numbers, storage, *count, why, WHY);
	sde_storage_close(storage);
}

/* Recovered, gone on with, closed. */
static void judge_resumed(struct disk_replay *p, uint64_t count, char *why)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct numbered numbers = p->numbers;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	int ret;

	options.threads = 1;
	options.segments = 2;
	ret = sde__zarr_resume(&storage, REPLAYED, &options, &hooks, &error);
	if (ret)
		refuse(why, "resume gave %d: %.200s", ret, error.text);
	sde_storage_info(storage, &info);
	if (info.committed != count)
		snprintf(why, WHY, "%" PRIu64 " snapshots after resume", info.committed);
	for (uint64_t i = count; i < count + 3; i++) {
		numbers.generation[i] = 200;
		if (numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, i, false))
			snprintf(why, WHY, "a store after resume failed");
	}
	ret = sde_storage_close_error(storage, &error);
	if (ret)
		refuse(why, "close after resume gave %d: %.200s", ret, error.text);
	if (*why)
		return;
	ret = sde__zarr_open(&storage, REPLAYED, NULL, &hooks, &error);
	if (ret)
		refuse(why, "open after close gave %d: %.200s", ret, error.text);
	if (numbered_check(&numbers, storage, count + 3, why, WHY) &&
	    sde_storage_verify(storage, NULL))
		snprintf(why, WHY, "verify after resume failed");
	sde_storage_close(storage);
}

static void take_sample(const struct disk_replay *p)
{
	const char *to = getenv("SDE_TEST_SAMPLE");
	char command[8192];

	if (!to || tally.states % 100 != 7)
		return;
	snprintf(command, sizeof(command), "cp -R " REPLAYED " '%s/%" PRIu64 "-%" PRIu64 ".zarr'",
		 to, (uint64_t)getpid(), numbered_draw(&(uint64_t){ tally.states ^ p->log_size }));
	if (system(command))
		print_message("# no sample taken\n");
}

static void judge(struct disk_replay *p, char *why)
{
	uint64_t count = 0;
	bool found;
	int ret;

	ret = disks_mount(p->loop.path, "replay", fs, 0, strcmp(fs, "xfs") ? NULL : "nouuid");
	if (ret)
		refuse(why, "%s cannot be mounted: %s", fs, strerror(-ret));
	judge_found(p, &found, &count, why);
	if (found && !*why)
		take_sample(p);
	if (found && !*why)
		judge_resumed(p, count, why);
	tally.states++;
	tally.absent += !found;
	tally.recovered += count;
	ret = disks_unmount("replay");
	if (ret)
		refuse(why, "cannot unmount: %s", strerror(-ret));
}

static void keep(uint64_t number, size_t crash, uint64_t random)
{
	const char *to = getenv("SDE_TEST_KEEP");
	char command[8192];

	if (!to)
		return;
	snprintf(command, sizeof(command),
		 "mkdir -p '%s' && cp base.img log '%s' && echo %" PRIu64 " %" PRIu64 " %zu %" PRIu64
		 " %s >'%s/state'", to, to, seed, number, crash, random, fs, to);
	if (system(command))
		print_message("# nothing kept\n");
}

/* A state: made and judged. */
static void try_state(struct disk_replay *p, uint64_t number, size_t crash, uint64_t random)
{
	uint64_t drawn = random;
	char why[WHY] = "";

	disk_replay_make(p, crash, &drawn);
	judge(p, why);
	if (!*why)
		return;
	keep(number, crash, random);
	fail_msg("%s: %s: workload %" PRIu64 " of seed %" PRIu64 ", record %zu of %zu, state %" PRIu64,
		 fs, why, number, seed, crash, p->records, random);
}

static int ascending(const void *a, const void *b)
{
	const size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return x < y ? -1 : x > y;
}

/*
 * A moment to lose power at: any, but more often than not one at which several
 * writes are on their way.
 */
static size_t choose_crash(const struct disk_replay *p, const unsigned *pending, uint64_t *random)
{
	size_t crash = 0;

	for (int tries = 0; tries < 8; tries++) {
		crash = (size_t)numbered_below(random, p->records + 1);
		if (pending[crash] >= 1 + numbered_below(random, 6))
			break;
	}
	return crash;
}

/* `n` states of one workload. */
static void try_states(uint64_t number, size_t n)
{
	uint64_t random = seed + number * 7919 + 1;
	size_t *crash = malloc(n * sizeof(*crash));
	unsigned *pending;
	struct disk_replay p;

	record(number);
	disk_replay_open(&p, seed, number);
	pending = disk_replay_pending(&p);
	for (size_t i = 0; i < n; i++) {
		crash[i] = choose_crash(&p, pending, &random);
		tally.pending += pending[crash[i]];
	}
	free(pending);
	qsort(crash, n, sizeof(*crash), ascending);
	for (size_t i = 0; i < n; i++)
		try_state(&p, number, crash[i], numbered_draw(&random));
	tally.records += p.records;
	disk_replay_close(&p);
	free(crash);
}

static uint64_t environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void run_states(uint64_t states)
{
	const time_t from = time(NULL);

	memset(&tally, 0, sizeof(tally));
	for (uint64_t number = 0; tally.states < states; number++)
		try_states(number, states - tally.states < STATES_A_LOG ?
			   (size_t)(states - tally.states) : STATES_A_LOG);
	print_message("# L5 %s: %" PRIu64 " states of %zu records, %.1f pending in each, %" PRIu64
		      " without a store yet, %.1f snapshots recovered in each, seed %" PRIu64
		      ", %ld s\n", fs, tally.states, tally.records,
		      (double)tally.pending / (double)tally.states, tally.absent,
		      (double)tally.recovered / (double)tally.states, seed,
		      (long)(time(NULL) - from));
}

static void run_on(const char *type)
{
	const char *reason = cannot_run(), *only = getenv("SDE_TEST_FS");

	if (!reason && only && strcmp(only, type))
		reason = "SDE_TEST_FS is another one";
	fs = type;
	if (!reason && format(0, "base.img"))
		reason = "it cannot be made here";
	if (reason)
		disks_skip(reason);
	run_states(environment("SDE_TEST_STATES", getenv("SDE_TEST_LONG") ? STATES_LONG : STATES));
}

static void every_state_that_a_power_loss_leaves_on_ext4_holds_what_was_synced(void **state)
{
	(void)state;
	run_on("ext4");
}

static void every_state_that_a_power_loss_leaves_on_xfs_holds_what_was_synced(void **state)
{
	(void)state;
	run_on("xfs");
}

/* What SDE_TEST_KEEP kept. */
static void the_kept_state_is_right(void **state)
{
	const char *from = getenv("SDE_TEST_REPLAY"), *reason = cannot_run();
	uint64_t number, random;
	char type[16];
	struct disk_replay p;
	size_t crash;
	FILE *file;

	(void)state;
	if (reason)
		disks_skip(reason);
	if (!from)
		return;
	assert_int_equal(chdir(from), 0);
	file = fopen("state", "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%" SCNu64 " %" SCNu64 " %zu %" SCNu64 " %15s", &seed, &number,
				&crash, &random, type), 5);
	fclose(file);
	fs = type;
	disk_replay_open(&p, seed, number);
	try_state(&p, number, crash, random);
	disk_replay_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_that_a_power_loss_leaves_on_ext4_holds_what_was_synced),
	};
	const struct CMUnitTest more[] = {
		cmocka_unit_test(every_state_that_a_power_loss_leaves_on_xfs_holds_what_was_synced),
	};
	const struct CMUnitTest replay[] = { cmocka_unit_test(the_kept_state_is_right) };
	int failed;

	io = sde__io_posix;
	io.boot_id = boot_after;
	seed = environment("SDE_TEST_SEED", (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid());
	if (getenv("SDE_TEST_REPLAY"))
		return cmocka_run_group_tests(replay, NULL, NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	/* an image of xfs is larger, and takes longer */
	if (getenv("SDE_TEST_LONG") || getenv("SDE_TEST_FS"))
		failed += cmocka_run_group_tests(more, NULL, NULL);
	return failed;
}
