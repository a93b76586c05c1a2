/* SPDX-License-Identifier: MIT */
/*
 * Promise 1, by force: a process that stores is killed by SIGKILL again and
 * again, at moments drawn at random, and every snapshot whose store had returned
 * must be there afterwards, to the bit.
 *
 * A child works on a store; what it did it tells in a shared page, in which
 *	low, high	bound what a reader may find: before a store high becomes
 *			M + 1, after it low does; before a truncate low becomes
 *			the new M, after it high does. Only these two numbers of
 *			snapshots are right, never one between or beyond.
 *	generation[i]	says which of the snapshots that were stored at index i
 *			(truncate makes several) is the last one.
 * From these two follows every number (oracle.h), so that the parent needs nothing
 * but arithmetic to know what must be there.
 *
 * Environment: SDE_TEST_SEED repeats a run, SDE_TEST_KILLS (200; 60 with a
 * sanitizer; 20,000 with SDE_TEST_LONG=1) makes it longer.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "oracle.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KILLS 60
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KILLS 60
#endif
#endif
#ifndef KILLS
#define KILLS 200
#endif

#define DIRECTORY "run"
#define PATH DIRECTORY "/kill.zarr"
#define SNAPSHOTS_MAX 1200
#define VALUES_MAX (3 * 200)	/* numbers a snapshot */

enum phase { CREATE, RESUME, STORE, SAVE, SYNC, TRUNCATE, CLOSE, PHASES };
static const char *const phase_name[PHASES] = {
	"create", "resume", "store", "save", "sync", "truncate", "close",
};

/* What child and parent both see; it outlives every child. */
struct page {
	uint64_t low, high;
	enum phase phase;
	bool created;			/* create returned */
	uint32_t now;			/* generation of what is stored next */
	uint32_t generation[SNAPSHOTS_MAX];
	char failure[512];		/* why a child gave up */
};
static struct page *page;
static uint64_t seed;

/* One store from create to close. */
struct run {
	struct oracle oracle;
	struct sde_zarr_options options;
	uint64_t total;			/* snapshots in the end */
	uint64_t number;
	uint64_t attempt;		/* children that worked on it */
};

/* ------------------------------------------------------------------------
 * The child
 */

static _Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void give_up(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(page->failure, sizeof(page->failure), format, arguments);
	va_end(arguments);
	_exit(1);
}

static _Noreturn void give_up_on(struct sde_storage *storage, const char *what, int ret)
{
	struct sde_error error = { 0 };

	sde_storage_error(storage, &error);
	give_up("%s gave %d: %s", what, ret, error.text);
}

/* Before and after what is under way may be interrupted here. */
static void set(uint64_t *number, uint64_t value)
{
	__atomic_store_n(number, value, __ATOMIC_SEQ_CST);
}

static void enter(enum phase phase)
{
	__atomic_store_n(&page->phase, phase, __ATOMIC_SEQ_CST);
}

/* Create the store, or resume it if an earlier child got so far. */
static struct sde_storage *begin(const struct run *run, uint64_t *random, uint64_t *count,
				 enum sde_layout *layout)
{
	struct sde_zarr_options options = run->options;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	char why[256];
	int ret = -EEXIST;

	if (!page->created) {
		enter(CREATE);
		ret = sde_zarr_storage_create(&storage, PATH, &run->oracle.ensemble, &options, &error);
	}
	if (ret == -EEXIST) {
		enter(RESUME);
		memset(&error, 0, sizeof(error));
		options.layout = (enum sde_layout)oracle_below(random, 3);
		options.segments = (unsigned)(2 + oracle_below(random, 3));
		options.threads = (unsigned)(1 + oracle_below(random, 3));
		options.sync = (enum sde_sync)oracle_below(random, SDE_SYNC_NONE + 1);
		options.ring_io = (enum sde_ring_io)(1 + oracle_below(random, 2));
		options.sigbus_guard = (enum sde_sigbus_guard)oracle_below(random, 2);
		ret = sde_zarr_storage_resume(&storage, PATH, &options, &error);
	}
	if (ret)
		give_up("%s gave %d: %s", phase_name[page->phase], ret, error.text);
	page->created = true;
	sde_storage_info(storage, &info);
	if (info.committed != page->low && info.committed != page->high)
		give_up("resumed with %" PRIu64 " snapshots, not %" PRIu64 " or %" PRIu64,
			info.committed, page->low, page->high);
	*count = info.committed;
	/* also what this process itself sees of it */
	if (!oracle_agrees(&run->oracle, storage, *count, why, sizeof(why)))
		give_up("resumed: %s", why);
	set(&page->low, *count);
	set(&page->high, *count);
	*layout = options.layout;
	return storage;
}

static void pause_ns(uint64_t ns)
{
	const struct timespec t = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };

	nanosleep(&t, NULL);
}

/* By reserve, and `dally` ns in a half-filled slot. */
static int reserve_one(const struct run *run, struct sde_storage *storage, enum sde_layout layout,
		       uint64_t index, uint64_t dally)
{
	const struct oracle *o = &run->oracle;
	unsigned char state[ORACLE_STATE_MAX];
	void *slot = NULL;
	int ret = 0;

	if (o->state_capacity)
		ret = sde_storage_set_state(storage, state, oracle_state(o, index, state));
	if (!ret)
		ret = sde_storage_reserve(storage, oracle_iteration(o, index), &slot);
	if (ret)
		return ret;
	memset(slot, 0, 4);
	pause_ns(dally);
	oracle_fill(o, index, layout, slot);
	return sde_storage_commit(storage, oracle_time(o, index));
}

static void store_one(const struct run *run, struct sde_storage *storage, enum sde_layout layout,
		      uint64_t index, bool copied, uint64_t dally)
{
	static uint64_t values[VALUES_MAX];
	int ret = 0;

	page->generation[index] = page->now;
	if (run->oracle.stride > 1)
		/* not a multiple: nothing is stored */
		ret = sde_storage_store(storage, NAN, values, oracle_iteration(&run->oracle, index) + 1);
	set(&page->high, index + 1);
	if (!ret && dally && !copied)
		ret = reserve_one(run, storage, layout, index, dally);
	else if (!ret)
		ret = oracle_store(&run->oracle, storage, index, layout, copied, values);
	if (ret)
		give_up_on(storage, "store", ret);
	set(&page->low, index + 1);
}

static void truncate_some(const struct run *run, struct sde_storage *storage, uint64_t *random,
			  uint64_t *count)
{
	const uint64_t most = 3 * run->options.chunk_size + 2;
	uint64_t less = oracle_below(random, most);
	int ret;

	less = less > *count ? *count : less;
	enter(TRUNCATE);
	page->now++;
	set(&page->low, *count - less);
	ret = sde_storage_truncate(storage, *count - less);
	if (ret)
		give_up_on(storage, "truncate", ret);
	*count -= less;
	set(&page->high, *count);
}

/*
 * Until `total` snapshots are there, and closed. What is to be hit by the kill
 * is done more often; to be killed in a close it must be closed early.
 */
static _Noreturn void work(const struct run *run, enum phase target)
{
	uint64_t random = oracle_mix(seed ^ run->number << 20 ^ run->attempt << 10), count, op;
	enum sde_layout layout;
	struct sde_storage *storage = begin(run, &random, &count, &layout);
	const uint64_t end = target == CLOSE ? count + oracle_below(&random, run->total - count + 1) :
			     run->total;
	struct sde_error error = { 0 };
	unsigned truncates = 0;
	int ret = 0;

	while (count < end) {
		op = target == STORE ? 99 : oracle_below(&random, 100);
		if (op < 4 || (target == SAVE && op < 40)) {
			enter(SAVE);
			ret = sde_storage_save(storage);
		} else if (op < 8 || (target == SYNC && op < 90)) {
			enter(SYNC);
			ret = sde_storage_sync(storage);
		} else if ((op < 10 || (target == TRUNCATE && op < 40)) && truncates < 10) {
			truncates++;
			truncate_some(run, storage, &random, &count);
		} else {
			enter(STORE);
			store_one(run, storage, layout, count++, oracle_below(&random, 2),
				  target == STORE && !oracle_below(&random, 16) ? 100000 : 0);
		}
		if (ret)
			give_up_on(storage, phase_name[page->phase], ret);
	}
	enter(CLOSE);
	ret = sde_storage_close_error(storage, &error);
	if (ret)
		give_up("close gave %d: %s", ret, error.text);
	_exit(0);
}

/* ------------------------------------------------------------------------
 * The parent
 */

static uint64_t environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void start_directory(void)
{
	nftw(DIRECTORY, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	assert_int_equal(mkdir(DIRECTORY, 0777), 0);
}

static void describe(const struct run *run, char *text, size_t size)
{
	snprintf(text, size,
		 "seed %" PRIu64 ", store %" PRIu64 ", child %" PRIu64 ": %" PRIu64 " x %" PRIu64
		 ", T %" PRIu64 ", n %" PRIu64 ", %" PRIu64 " of %" PRIu64 ", now %s",
		 seed, run->number, run->attempt, run->oracle.ensemble.dimension,
		 run->oracle.ensemble.trajectories, run->options.chunk_size,
		 run->options.trajectories_per_chunk, page->low, run->total,
		 phase_name[page->phase]);
}

#define expect(run, condition, ...) \
	do { \
		if (!(condition)) { \
			char what_[300], where_[256]; \
			snprintf(what_, sizeof(what_), __VA_ARGS__); \
			describe(run, where_, sizeof(where_)); \
			fail_msg("%s (%s)", what_, where_); \
		} \
	} while (0)

/* All that can be read, against arithmetic. Returns the number of snapshots. */
static uint64_t verify(const struct run *run, enum sde_storage_state_of wanted)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	char why[256];
	int ret = sde_storage_open(&storage, PATH, NULL, &error);

	if (ret == -ENOENT && !page->created)
		return 0;
	expect(run, !ret, "open gave %d: %.200s", ret, error.text);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	expect(run, info.committed == page->low || info.committed == page->high,
	       "there are %" PRIu64 " snapshots, not %" PRIu64 " or %" PRIu64, info.committed,
	       page->low, page->high);
	/* a truncate or a close may have come so far that nothing is left to recover,
	 * and a resume, or the writer before it, may not have begun */
	expect(run, info.state == wanted || (info.state == SDE_STATE_CLOSED &&
	       info.published == info.committed &&
	       (page->phase >= TRUNCATE || page->phase <= RESUME)),
	       "the state is %d", (int)info.state);
	expect(run, info.state != SDE_STATE_RUNNING, "a dead process is said to run");
	expect(run, !info.ignored, "the ring was ignored");
	expect(run, oracle_agrees(&run->oracle, storage, info.committed, why, sizeof(why)), "%.250s", why);
	assert_int_equal(sde_storage_close(storage), 0);
	return info.committed;
}

/* What no kill may leave in a store that was closed. */
static void verify_closed(const struct run *run)
{
	static const struct sde_verify all = { .ctx = NULL };
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	const uint64_t count = verify(run, SDE_STATE_CLOSED);

	expect(run, count == run->total, "closed with %" PRIu64 " snapshots", count);
	expect(run, access(PATH "/data/.ring", F_OK), "a ring is left in a closed store");
	expect(run, !sde_storage_open(&storage, PATH, NULL, &error), "open: %.200s", error.text);
	if (sde_storage_verify(storage, &all))
		sde_storage_error(storage, &error);
	expect(run, !error.code, "verify: %.200s", error.text);
	sde_storage_close(storage);
}

static void choose(struct run *run, uint64_t number, uint64_t *random)
{
	static const uint64_t widths[] = { 1, 3, 8, 13, 64, 200 };
	struct sde_zarr_options *o = &run->options;

	memset(page, 0, sizeof(*page));
	memset(run, 0, sizeof(*run));
	*o = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	run->number = number;
	run->oracle.ensemble.dimension = 1 + oracle_below(random, 3);
	run->oracle.ensemble.trajectories = widths[oracle_below(random, 6)];
	run->oracle.ensemble.dtype = oracle_below(random, 2) ? SDE_FLOAT32 : SDE_FLOAT64;
	o->stride = oracle_below(random, 2) ? 3 : 1;
	o->chunk_size = 1 + oracle_below(random, 40);
	o->trajectories_per_chunk = 1 + oracle_below(random, run->oracle.ensemble.trajectories);
	o->codec = (enum sde_codec)oracle_below(random, SDE_CODEC_NONE + 1);
	o->zarr_format = oracle_below(random, 3) ? 3 : 2;
	o->checksum = o->zarr_format == 2 ? SDE_CHECKSUM_DEFAULT :
		      (enum sde_checksum)oracle_below(random, SDE_CHECKSUM_OFF + 1);
	o->sync = (enum sde_sync)oracle_below(random, SDE_SYNC_NONE + 1);
	o->sync_interval_ms = 5;
	o->segments = (unsigned)(2 + oracle_below(random, 3));
	o->threads = (unsigned)(1 + oracle_below(random, 3));
	o->layout = (enum sde_layout)oracle_below(random, 3);
	o->ring_io = (enum sde_ring_io)(1 + oracle_below(random, 2));
	o->state_capacity = oracle_below(random, 3) ? (unsigned)oracle_below(random, ORACLE_STATE_MAX + 1) : 0;
	run->oracle.generation = page->generation;
	run->oracle.stride = o->stride;
	run->oracle.state_capacity = o->state_capacity;
	run->total = 1 + oracle_below(random, 60 * o->chunk_size);
	if (run->total > SNAPSHOTS_MAX)
		run->total = SNAPSHOTS_MAX;
}

/* 0 to about 30 ms, every order of magnitude from 1 us alike. */
static uint64_t moment(uint64_t *random)
{
	const uint64_t most = UINT64_C(1000) << oracle_below(random, 16);

	return oracle_below(random, most);
}

static pid_t start_child(struct run *run, enum phase target)
{
	pid_t child;

	run->attempt++;
	page->failure[0] = '\0';
	page->phase = page->created ? RESUME : CREATE;
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		/* a test that failed leaves nobody behind */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(run, target);
	}
	return child;
}

/* What became of a child: true if it was killed, false if it came to its end. */
static bool ended_by_kill(const struct run *run, pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	expect(run, !page->failure[0], "%.200s", page->failure);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	expect(run, WIFEXITED(status) && !WEXITSTATUS(status), "the child ended with status %x",
	       (unsigned)status);
	return false;
}

/* Kill a child some time after it entered `target` for the first time. */
static bool kill_in(struct run *run, enum phase target, uint64_t *random)
{
	const pid_t child = start_child(run, target);
	siginfo_t info;

	while (__atomic_load_n(&page->phase, __ATOMIC_SEQ_CST) != target) {
		info.si_pid = 0;
		waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT);
		if (info.si_pid)
			break;
		pause_ns(1000);
	}
	pause_ns(moment(random));
	kill(child, SIGKILL);
	return ended_by_kill(run, child);
}

static enum phase choose_target(uint64_t *random)
{
	if (!page->created)
		return oracle_below(random, 2) ? CREATE : (enum phase)(STORE + oracle_below(random, 5));
	return (enum phase)(RESUME + oracle_below(random, PHASES - RESUME));
}

/* One store: killed some times, then finished. Returns the number of kills. */
static unsigned one_store(uint64_t number, unsigned kills, uint64_t *random, unsigned hits[PHASES])
{
	struct run run;
	unsigned killed = 0;

	choose(&run, number, random);
	start_directory();
	for (unsigned i = 0; i < kills; i++) {
		if (kill_in(&run, choose_target(random), random)) {
			killed++;
			hits[page->phase]++;
			verify(&run, SDE_STATE_CRASHED);
		} else
			verify(&run, SDE_STATE_CLOSED);
	}
	assert_false(ended_by_kill(&run, start_child(&run, RESUME)));
	verify_closed(&run);
	return killed;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint64_t kills_wanted(void)
{
	return environment("SDE_TEST_KILLS", environment("SDE_TEST_LONG", 0) ? 20000 : KILLS);
}

static void a_killed_run_keeps_every_returned_snapshot(void **state)
{
	const uint64_t kills = kills_wanted();
	const double start = seconds();
	uint64_t random = seed, killed = 0, stores = 0;
	unsigned hits[PHASES] = { 0 };

	(void)state;
	print_message("# seed %" PRIu64 "\n", seed);
	while (killed < kills)
		killed += one_store(stores++, 1 + (unsigned)oracle_below(&random, 12), &random, hits);
	print_message("# %" PRIu64 " kills, %" PRIu64 " stores, 0 lost, 0 wrong, %.0f s; in", killed,
		      stores, seconds() - start);
	for (int i = 0; i < PHASES; i++)
		print_message(" %s %u", phase_name[i], hits[i]);
	print_message("\n");
	/* a sync may take no time to speak of where there is no device */
	for (int i = 0; i < PHASES; i++)
		assert_true(hits[i] > 0 || i == SYNC);
}

static void a_run_that_is_never_killed_gives_the_same(void **state)
{
	uint64_t random = oracle_mix(seed);
	unsigned hits[PHASES] = { 0 };

	(void)state;
	print_message("# seed %" PRIu64 "\n", seed);
	for (uint64_t number = 0; number < 5; number++)
		assert_int_equal(one_store(number, 0, &random, hits), 0);
}

/* ------------------------------------------------------------------------
 * Overwriting
 */

static _Noreturn void overwrite(const struct run *run)
{
	struct sde_zarr_options options = run->options;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	options.overwrite = 1;
	enter(CREATE);
	if (sde_zarr_storage_create(&storage, PATH, &run->oracle.ensemble, &options, &error))
		give_up("overwrite gave %d: %s", error.code, error.text);
	set(&page->low, 0);
	enter(STORE);
	_exit(0);
}

static void a_killed_overwrite_leaves_the_old_store_or_the_new_one(void **state)
{
	uint64_t random = oracle_mix(seed + 1), old, left;
	const uint64_t kills = kills_wanted() / 10;
	unsigned kept = 0, replaced = 0;
	struct run run;
	pid_t child;

	(void)state;
	print_message("# seed %" PRIu64 "\n", seed);
	for (uint64_t number = 0; number < kills; number++) {
		choose(&run, number, &random);
		start_directory();
		assert_false(ended_by_kill(&run, start_child(&run, RESUME)));
		old = page->high;
		page->low = 0;
		child = fork();
		assert_true(child >= 0);
		if (!child)
			overwrite(&run);
		pause_ns(moment(&random));
		kill(child, SIGKILL);
		ended_by_kill(&run, child);
		page->phase = CREATE;
		left = verify(&run, SDE_STATE_CRASHED);
		kept += left == old;
		replaced += left == 0;
	}
	print_message("# %" PRIu64 " kills of an overwrite: %u kept, %u replaced\n", kills, kept, replaced);
	assert_int_equal(kept + replaced, kills);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_killed_run_keeps_every_returned_snapshot),
		cmocka_unit_test(a_run_that_is_never_killed_gives_the_same),
		cmocka_unit_test(a_killed_overwrite_leaves_the_old_store_or_the_new_one),
	};

	seed = environment("SDE_TEST_SEED", (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid());
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
