/* SPDX-License-Identifier: MIT */
/*
 * Promise 1, by exhaustion: a process that stores is stopped after every instruction
 * (PTRACE_SINGLESTEP), and what a kill there and then would leave must be the
 * snapshots whose store had returned, or one more.
 *
 * What a kill leaves is what is in the files; the ring's are mapped. So wherever an
 * instruction has changed the ring (compared byte by byte with how it was), or was a
 * system call, the store is opened as one whose writer is dead, all of it is read and
 * compared with oracle.h; a boundary where nothing changed is counted and left at
 * that. After every system call (every fifth with a sanitizer) and every 16th change of
 * memory recovery does its whole work on a copy: resume, one more snapshot, close, read.
 *
 * The publisher runs on the storing thread (its synchronous mode), so that sealing a
 * chunk and reusing its segment are stepped through as well.
 *
 * Only on x86-64, where a system call can be told by rcx == rip behind it.
 *
 * Environment: SDE_TEST_LONG=1 adds sizes, formats and policies, and steps through
 * everything. SDE_TEST_ACT=n stops in that act alone.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "oracle.h"
#include "ring.h"
#include "scratch.h"
#include "zarr_storage.h"

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
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define COPY "copy.zarr"
#define SNAPSHOTS_MAX 64
#define VALUES_MAX 8208
#define T 4
#define SEGMENTS 2

enum act {
	NONE, CREATE, MIDDLE, LAST, CHANGE, RESERVE, SAVE, SAVE_AGAIN, SYNC, TRUNCATE, AFTER,
	CLOSE, RESUME, ACTS
};
static const char *const act_name[ACTS] = {
	"none", "create", "store", "store, last slot", "store, segment change", "reserve, commit",
	"save", "save again", "sync", "truncate", "store after truncate", "close", "resume",
};

/*
 * What a short run steps through; a save has a million instructions of JSON, so there
 * the others are stopped only before and after every system call.
 */
#if defined(__SANITIZE_ADDRESS__)
#define SLOW true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLOW true
#endif
#endif
#ifndef SLOW
#define SLOW false
#endif
static const bool in_short_run[ACTS] = {
	[MIDDLE] = true, [LAST] = true, [CHANGE] = !SLOW, [RESERVE] = true, [SYNC] = true,
	[AFTER] = true,
};

/* One recovery on a copy for so many changes of memory, for so many system calls. */
#define EVERY 16
#define EVERY_CALL (SLOW ? 5 : 1)

/* What stepped and stepping process both see. */
struct page {
	uint64_t low, high;		/* only these two numbers of snapshots are right */
	uint32_t now;
	uint32_t generation[SNAPSHOTS_MAX];
	enum act act;			/* under way; NONE: not to be stepped */
	bool created;
	char failure[400];
};
static struct page *page;

struct run {
	struct oracle oracle;
	struct sde_zarr_options options;
	bool thorough;			/* every act by single instructions */
};

static struct {
	uint64_t boundaries, calls, changes, looks, recoveries;
} tally, act_tally[ACTS];

/* ------------------------------------------------------------------------
 * The stepped process
 */

static const struct sde__zarr_hooks writer_hooks = { .io = &sde__io_posix, .synchronous = true };

static void set(uint64_t *number, uint64_t value)
{
	__atomic_store_n(number, value, __ATOMIC_SEQ_CST);
}

static void need(struct sde_storage *storage, int ret)
{
	struct sde_error error = { 0 };

	if (!ret)
		return;
	sde_storage_error(storage, &error);
	snprintf(page->failure, sizeof(page->failure), "%s gives %d: %s", act_name[page->act], ret,
		 error.text);
	_exit(1);
}

static bool stepping;	/* false in the rehearsal */

static void enter(const struct run *run, enum act act)
{
	const char *only = getenv("SDE_TEST_ACT");

	(void)run;
	if (!stepping || (only && atoi(only) != (int)act))
		return;
	__atomic_store_n(&page->act, act, __ATOMIC_SEQ_CST);
	raise(SIGSTOP);
}

static void leave(void)
{
	if (page->act == NONE)
		return;
	__atomic_store_n(&page->act, NONE, __ATOMIC_SEQ_CST);
	raise(SIGSTOP);
}

static void store_upto(const struct run *run, struct sde_storage *storage, uint64_t to, bool copied)
{
	static uint64_t values[VALUES_MAX];

	while (page->low < to) {
		page->generation[page->low] = page->now;
		set(&page->high, page->low + 1);
		need(storage, oracle_store(&run->oracle, storage, page->low, run->options.layout,
					   copied, values));
		set(&page->low, page->low + 1);
	}
}

/* One store, stepped through. */
static void step_store(const struct run *run, struct sde_storage *storage, enum act act, bool copied)
{
	enter(run, act);
	store_upto(run, storage, page->low + 1, copied);
	leave();
}

static void truncate_to(const struct run *run, struct sde_storage *storage, uint64_t to)
{
	enter(run, TRUNCATE);
	page->now++;
	set(&page->low, to);
	need(storage, sde_storage_truncate(storage, to));
	set(&page->high, to);
	leave();
}

static void step(const struct run *run, struct sde_storage *storage, enum act act,
		 int (*call)(struct sde_storage *))
{
	enter(run, act);
	need(storage, call(storage));
	leave();
}

static struct sde_storage *begin(const struct run *run, enum act act)
{
	struct sde_zarr_options options = run->options;
	struct sde_storage *storage = NULL;
	struct sde_error error = { 0 };

	enter(run, act);
	if (act == CREATE)
		sde__zarr_create(&storage, PATH, &run->oracle.ensemble, &options, &writer_hooks,
				 &error);
	else
		sde__zarr_resume(&storage, PATH, &options, &writer_hooks, &error);
	leave();
	if (!storage) {
		snprintf(page->failure, sizeof(page->failure), "%s: %s", act_name[act], error.text);
		_exit(1);
	}
	page->created = true;
	return storage;
}

/* All acts but the resume; the storage is left open for it. */
static void perform(const struct run *run)
{
	struct sde_storage *storage = begin(run, CREATE);

	store_upto(run, storage, 1, true);
	step_store(run, storage, MIDDLE, true);
	store_upto(run, storage, T - 1, true);
	step_store(run, storage, LAST, true);
	store_upto(run, storage, SEGMENTS * T, true);
	step_store(run, storage, CHANGE, true);
	step_store(run, storage, RESERVE, false);
	step(run, storage, SAVE, sde_storage_save);
	store_upto(run, storage, SEGMENTS * T + 3, true);
	step(run, storage, SAVE_AGAIN, sde_storage_save);
	store_upto(run, storage, SEGMENTS * T + 5, false);
	step(run, storage, SYNC, sde_storage_sync);
	truncate_to(run, storage, T + 1);
	step_store(run, storage, AFTER, true);
	store_upto(run, storage, 2 * T + 1, true);
	step(run, storage, CLOSE, sde_storage_close);
	storage = begin(run, RESUME);
	store_upto(run, storage, SEGMENTS * T + T + 3, true);
	/* as a killed process leaves it: nothing is closed */
}

/* ------------------------------------------------------------------------
 * What a kill would leave
 */

static int nobody_locks(void *ctx, int fd)
{
	(void)ctx;
	(void)fd;
	return 0;
}

/* The file system as it is when the writer is dead. */
static struct sde__io dead_io;
static const struct sde__zarr_hooks dead_hooks = { .io = &dead_io, .synchronous = true };

static _Noreturn void give_up(const struct run *run, const char *what, const char *why)
{
	print_error("%s: %s (%" PRIu64 " x %" PRIu64 ", format %u, sync %d, state %u, in '%s', boundary %" PRIu64
		    ", between %" PRIu64 " and %" PRIu64 " snapshots)\n", what, why,
		    run->oracle.ensemble.dimension, run->oracle.ensemble.trajectories,
		    run->options.zarr_format, (int)run->options.sync, run->oracle.state_capacity,
		    act_name[page->act], tally.boundaries, page->low, page->high);
	fail();
	abort();
}

/* Opened as dead, or closed: right, and right in number. Returns the number. */
static uint64_t look(const struct run *run, const char *path, enum sde_ring trust)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	char why[256];
	int ret;

	options.ring = trust;
	ret = sde__zarr_open(&storage, path, &options, &dead_hooks, &error);
	if (ret == -ENOENT && !page->created)
		return 0;
	if (ret)
		give_up(run, "the store does not open", error.text);
	if (sde_storage_info(storage, &info))
		give_up(run, "there is no info", "");
	snprintf(why, sizeof(why), "there are %" PRIu64 " snapshots", info.committed);
	if (info.committed != page->low && info.committed != page->high)
		give_up(run, path, why);
	if (!oracle_agrees(&run->oracle, storage, info.committed, why, sizeof(why)))
		give_up(run, path, why);
	sde_storage_close(storage);
	tally.looks++;
	return info.committed;
}

static int copy_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	static char buffer[1 << 20];
	char to[512];
	ssize_t n;
	int in, out;

	(void)st, (void)ftw;
	snprintf(to, sizeof(to), COPY "%.400s", path + strlen(PATH));
	if (type == FTW_D)
		return mkdir(to, 0777);
	in = open(path, O_RDONLY | O_CLOEXEC);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	while ((n = read(in, buffer, sizeof(buffer))) > 0)
		if (write(out, buffer, (size_t)n) != n)
			break;
	close(in);
	close(out);
	return n ? -1 : 0;
}

static int look_again(struct sde_storage *storage, struct sde_error *error)
{
	const int ret = sde_storage_verify(storage, NULL);

	sde_storage_error(storage, error);
	sde_storage_close(storage);
	return ret;
}

/* The whole of recovery, on a copy: resume, one snapshot more, close. */
static void recover(const struct run *run)
{
	struct sde_zarr_options options = run->options;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	static uint64_t values[VALUES_MAX];
	char why[256];

	if (!page->created && access(PATH, F_OK))
		return;
	if (sde__io_remove_tree(&sde__io_posix, scratch_directory(), COPY) == -EIO ||
	    nftw(PATH, copy_one, 16, FTW_PHYS))
		give_up(run, "the store cannot be copied", strerror(errno));
	options.ring = SDE_RING_TRUST;
	if (sde__zarr_resume(&storage, COPY, &options, &writer_hooks, &error))
		give_up(run, "the store cannot be resumed", error.text);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	snprintf(why, sizeof(why), "%" PRIu64 " snapshots", info.committed);
	if (info.committed != page->low && info.committed != page->high)
		give_up(run, "recovered", why);
	if (info.committed == page->low && page->low + 1 != page->high &&
	    oracle_store(&run->oracle, storage, info.committed, options.layout, true, values))
		give_up(run, "a recovered store takes no snapshot", "");
	else if (info.committed == page->low && page->low + 1 != page->high)
		info.committed++;
	if (sde_storage_close_error(storage, &error))
		give_up(run, "a recovered store does not close", error.text);
	if (sde__zarr_open(&storage, COPY, NULL, &dead_hooks, &error))
		give_up(run, "a recovered store does not open", error.text);
	if (!oracle_agrees(&run->oracle, storage, info.committed, why, sizeof(why)))
		give_up(run, "recovered", why);
	if (look_again(storage, &error))
		give_up(run, "verify", error.text);
	tally.recoveries++;
}

/* ------------------------------------------------------------------------
 * Stepping
 */

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The ring's files as the stepped process has them mapped, and as they were. */
struct seen {
	struct {
		unsigned char *now, *before;
		size_t size;
		ino_t inode;
	} file[SEGMENTS + 1];
};

static void forget_file(struct seen *seen, int i)
{
	if (seen->file[i].now)
		munmap(seen->file[i].now, seen->file[i].size);
	free(seen->file[i].before);
	memset(&seen->file[i], 0, sizeof(seen->file[i]));
}

static void forget(struct seen *seen)
{
	for (int i = 0; i <= SEGMENTS; i++)
		forget_file(seen, i);
}

/* After a system call the files may be other ones. */
static void find_ring(struct seen *seen)
{
	for (int i = 0; i <= SEGMENTS; i++) {
		char name[64];
		struct stat st;
		int fd;

		if (i == SEGMENTS)
			snprintf(name, sizeof(name), PATH "/data/.ring/header");
		else
			snprintf(name, sizeof(name), PATH "/data/.ring/segment.%d", i);
		fd = open(name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st) || !st.st_size) {
			forget_file(seen, i);
		} else if (st.st_ino != seen->file[i].inode || (size_t)st.st_size != seen->file[i].size) {
			forget_file(seen, i);
			seen->file[i].size = (size_t)st.st_size;
			seen->file[i].inode = st.st_ino;
			seen->file[i].now = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
			assert_ptr_not_equal(seen->file[i].now, MAP_FAILED);
			seen->file[i].before = malloc((size_t)st.st_size);
			assert_non_null(seen->file[i].before);
			memcpy(seen->file[i].before, seen->file[i].now, (size_t)st.st_size);
		}
		if (fd >= 0)
			close(fd);
	}
}

static bool ring_changed(struct seen *seen)
{
	bool changed = false;

	for (int i = 0; i <= SEGMENTS; i++)
		if (seen->file[i].now &&
		    memcmp(seen->file[i].now, seen->file[i].before, seen->file[i].size)) {
			memcpy(seen->file[i].before, seen->file[i].now, seen->file[i].size);
			changed = true;
		}
	return changed;
}

/* Was the instruction just executed a system call? The kernel returns with rcx = rip. */
static bool was_call(pid_t child)
{
#ifdef __x86_64__
	const long rip = ptrace(PTRACE_PEEKUSER, child, offsetof(struct user_regs_struct, rip), 0);

	return rip == ptrace(PTRACE_PEEKUSER, child, offsetof(struct user_regs_struct, rcx), 0);
#else
	(void)child;
	return true;
#endif
}

static int wait_for(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

/* From the stop at an act's begin to its end. */
static void step_through(const struct run *run, pid_t child)
{
	const enum act act = page->act;
	const bool single = run->thorough || in_short_run[act];
	struct seen seen = { 0 };

	find_ring(&seen);
	while (__atomic_load_n(&page->act, __ATOMIC_SEQ_CST) != NONE) {
		bool call;
		int status;

		assert_int_equal(ptrace(single ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, child, 0, 0), 0);
		status = wait_for(child);
		/* by system calls, the stop behind an act ends it */
		if (!single && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP)
			break;
		if (!WIFSTOPPED(status) || WSTOPSIG(status) != (single ? SIGTRAP : SIGTRAP | 0x80))
			give_up(run, "the stepped process ended", page->failure);
		tally.boundaries += single;
		act_tally[act].boundaries += single;
		call = !single || was_call(child);
		if (!ring_changed(&seen) && !call)
			continue;
		act_tally[act].calls += call;
		act_tally[act].changes += !call;
		look(run, PATH, SDE_RING_DEFAULT);
		if (call) {
			find_ring(&seen);
			if (tally.calls++ % EVERY_CALL == 0)
				recover(run);
		} else if (tally.changes++ % EVERY == 0)
			recover(run);
	}
	forget(&seen);
}

static void no_ptrace(void)
{
	print_message("this process may not be traced (PTRACE_TRACEME)\n");
	skip();
}

/* The same without steps, so that lazy binding and first allocations are over. */
static void rehearse(struct run *run)
{
	perform(run);
	sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH);
	memset(page, 0, sizeof(*page));
}

static void step_run(struct run *run)
{
	pid_t child;
	int status;

	run->oracle.generation = page->generation;
	memset(page, 0, sizeof(*page));
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		rehearse(run);
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(77);
		raise(SIGSTOP);
		stepping = true;
		perform(run);
		_exit(0);
	}
	status = wait_for(child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		no_ptrace();
	assert_int_equal(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD), 0);
	while (WIFSTOPPED(status)) {
		assert_int_equal(WSTOPSIG(status), SIGSTOP);
		if (page->act)
			step_through(run, child);
		assert_int_equal(ptrace(PTRACE_CONT, child, 0, 0), 0);
		status = wait_for(child);
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		give_up(run, "the stepped process failed", page->failure);
	/* the end, as a kill left it, and its recovery in place */
	look(run, PATH, SDE_RING_DEFAULT);
	sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH);
}

static bool is_long(void)
{
	const char *text = getenv("SDE_TEST_LONG");

	return text && *text && strcmp(text, "0");
}

static void play(const struct sde_ensemble *ensemble, unsigned state_capacity, unsigned format,
		 enum sde_sync sync, enum sde_layout layout, bool thorough)
{
	struct run run = { .oracle = { *ensemble, 1, state_capacity, NULL }, .thorough = thorough };
	const double start = seconds();

	run.options = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	run.options.chunk_size = T;
	run.options.segments = SEGMENTS;
	run.options.threads = 1;
	run.options.zarr_format = format;
	run.options.sync = sync;
	run.options.layout = layout;
	run.options.state_capacity = state_capacity;
	memset(&tally, 0, sizeof(tally));
	memset(act_tally, 0, sizeof(act_tally));
	step_run(&run);
	print_message("# %" PRIu64 " x %" PRIu64 " %s, format %u, sync %d, state %u: %" PRIu64
		      " boundaries, %" PRIu64 " reads, %" PRIu64 " recoveries, %.1f s\n",
		      ensemble->dimension, ensemble->trajectories,
		      ensemble->dtype == SDE_FLOAT32 ? "float32" : "float64", format, (int)sync,
		      state_capacity, tally.boundaries, tally.looks, tally.recoveries,
		      seconds() - start);
	for (int i = 1; i < ACTS; i++)
		if (act_tally[i].boundaries)
			print_message("#   %s: %" PRIu64 " boundaries, %" PRIu64 " system calls, %"
				      PRIu64 " changes of the ring\n", act_name[i],
				      act_tally[i].boundaries, act_tally[i].calls,
				      act_tally[i].changes);
		else if (act_tally[i].calls)
			print_message("#   %s: %" PRIu64 " stops at system calls\n", act_name[i],
				      act_tally[i].calls);
}

static void a_store_is_whole_after_every_instruction(void **state)
{
	static const struct sde_ensemble small = { 2, 10, SDE_FLOAT64 };

	(void)state;
#ifndef __x86_64__
	print_message("only written for x86-64\n");
	skip();
#endif
	play(&small, 16, 3, SDE_SYNC_CHUNK, SDE_LAYOUT_DEFAULT, is_long());
}

static void every_size_format_and_policy(void **state)
{
	static const struct sde_ensemble sizes[] = {
		{ 1, 1, SDE_FLOAT64 }, { 3, 37, SDE_FLOAT32 }, { 2, 512, SDE_FLOAT64 },
	};

	(void)state;
	if (!is_long()) {
		print_message("only with SDE_TEST_LONG=1\n");
		skip();
	}
	play(&sizes[0], 0, 3, SDE_SYNC_NONE, SDE_LAYOUT_DEFAULT, true);
	play(&sizes[0], 200, 2, SDE_SYNC_SNAPSHOT, SDE_LAYOUT_DEFAULT, true);
	play(&sizes[1], 0, 3, SDE_SYNC_SNAPSHOT, SDE_LAYOUT_TRAJECTORY_DIMENSION, true);
	play(&sizes[1], 32, 2, SDE_SYNC_CHUNK, SDE_LAYOUT_DEFAULT, true);
	play(&sizes[2], 0, 3, SDE_SYNC_PUBLISH, SDE_LAYOUT_DEFAULT, true);
	play(&sizes[2], 256, 2, SDE_SYNC_NONE, SDE_LAYOUT_TRAJECTORY_DIMENSION, true);
}

/* From 64 KiB on a snapshot is copied past the caches, 16 bytes an instruction. */
static void a_large_one_that_is_streamed(void **state)
{
	static const struct sde_ensemble large = { 1, 8200, SDE_FLOAT64 };

	(void)state;
	if (!is_long()) {
		print_message("only with SDE_TEST_LONG=1\n");
		skip();
	}
	play(&large, 0, 3, SDE_SYNC_PUBLISH, SDE_LAYOUT_DEFAULT, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_store_is_whole_after_every_instruction),
		SCRATCH_TEST(every_size_format_and_policy),
		SCRATCH_TEST(a_large_one_that_is_streamed),
	};

	dead_io = sde__io_posix;
	dead_io.is_locked = nobody_locks;
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
