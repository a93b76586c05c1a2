/* SPDX-License-Identifier: MIT */
/*
 * All at once, for a while: a thread stores, saves, syncs and truncates now and then,
 * with two workers or more behind it; three threads read through the same storage, and
 * two processes open the running store again and again. Every number that anybody
 * reads is checked by arithmetic. Built with -fsanitize=thread, too.
 *
 * Snapshot k in epoch E (after E truncates) was stored in epoch
 *
 *	e(k, E) = the last e <= E that cut the store to k or less
 *
 * and its numbers follow from k and e. Who reads while the writer may truncate knows
 * the epochs between which it did, and accepts the numbers of any of them, but of one
 * alone for all of a snapshot.
 *
 * Environment: SDE_TEST_SEED; SDE_TEST_SECONDS (4; 180 with SDE_TEST_LONG=1).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "io.h"
#include "oracle.h"
#include "scratch.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define D 2
#define N 12
#define THREADS 3
#define PROCESSES 2
#define EPOCHS 100000
#define LONGEST 2000		/* snapshots; then it is cut down */

/* Shared by the processes, too. */
struct page {
	bool stop;
	uint64_t begun, done;		/* epochs: truncates begun, returned */
	uint64_t cut[EPOCHS];		/* to how many snapshots */
	uint64_t reads, opens, stale;
	char failure[300];		/* the first */
	int failed;
};
static struct page *page;
static uint64_t seed;

/* ------------------------------------------------------------------------
 * Arithmetic
 */

static uint64_t load(const uint64_t *number)
{
	return __atomic_load_n(number, __ATOMIC_SEQ_CST);
}

static uint64_t epoch_of(uint64_t k, uint64_t epoch)
{
	while (epoch && load(&page->cut[epoch]) > k)
		epoch--;
	return epoch;
}

/* Whole numbers below 2^53. */
static double value(uint64_t e, uint64_t k, uint64_t i)
{
	return (double)(e * 100000000 + k * 1000 + i);
}

static double time_of(uint64_t e, uint64_t k)
{
	return (double)e * 4096 + (double)k / 8;
}

static int64_t iteration_of(uint64_t e, uint64_t k)
{
	return (int64_t)(e << 20 | k);
}

static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...)
{
	va_list arguments;

	if (__atomic_exchange_n(&page->failed, 1, __ATOMIC_SEQ_CST))
		return;
	va_start(arguments, format);
	vsnprintf(page->failure, sizeof(page->failure), format, arguments);
	va_end(arguments);
	__atomic_store_n(&page->stop, true, __ATOMIC_SEQ_CST);
}

static bool is_over(void)
{
	return __atomic_load_n(&page->stop, __ATOMIC_SEQ_CST);
}

/* Nobody spins: with more readers than processors the writer would hardly run. */
static void rest(uint64_t *random, unsigned most_microseconds)
{
	const struct timespec pause = {
		.tv_nsec = 1000 * (long)oracle_below(random, most_microseconds),
	};

	nanosleep(&pause, NULL);
}

/* ------------------------------------------------------------------------
 * Reading
 */

struct handles {
	struct sde_array *time, *data, *iteration;
	uint64_t from;			/* epoch that was over when they were taken */
};

static void put_back(struct handles *h)
{
	sde_array_close(h->time);
	sde_array_close(h->data);
	sde_array_close(h->iteration);
	memset(h, 0, sizeof(*h));
}

/* 0: go on; stale and "nothing there" are right, other failures are not. */
static int allow(const char *what, int ret)
{
	if (ret == SDE_E_STALE)
		__atomic_add_fetch(&page->stale, 1, __ATOMIC_RELAXED);
	else if (ret && ret != SDE_E_NO_DATA)
		complain("%s gives %d: %s", what, ret, sde_strerror(ret));
	return ret;
}

static int take(struct sde_storage *storage, struct handles *h)
{
	int ret;

	memset(h, 0, sizeof(*h));
	h->from = load(&page->done);
	ret = allow("values", sde_storage_values(storage, &h->time, &h->data));
	if (!ret)
		ret = allow("iterations", sde_storage_iterations(storage, &h->iteration));
	if (ret)
		put_back(h);
	return ret;
}

/* Is it snapshot k of one of the epochs that there were? */
static void check_snapshot(const struct handles *h, uint64_t k, const double *x, const double *t,
			   const int64_t *iteration)
{
	const uint64_t last = load(&page->begun);
	bool data = !x, time = !t, number = !iteration;

	for (uint64_t epoch = h->from; epoch <= last; epoch++) {
		const uint64_t e = epoch_of(k, epoch);
		bool all = x != NULL;

		for (uint64_t i = 0; all && i < (uint64_t)D * N; i++)
			all = x[i] == value(e, k, i);
		data |= all;
		time |= t && *t == time_of(e, k);
		number |= iteration && *iteration == iteration_of(e, k);
	}
	if (!data || !time || !number)
		complain("snapshot %" PRIu64 " of epochs %" PRIu64 " to %" PRIu64
			 ": %s is wrong: %.17g, %.17g, %" PRId64, k, h->from, last,
			 !data ? "data" : !time ? "time" : "iteration", x ? x[0] : 0, t ? *t : 0,
			 iteration ? *iteration : 0);
}

static void read_snapshot(const struct handles *h, uint64_t *random)
{
	const uint64_t m = sde_array_shape(h->data)[2], last = sde_array_shape(h->iteration)[0];
	const uint64_t newest = oracle_below(random, 2) ? m - 1 - oracle_below(random, m < 12 ? m : 12) :
				oracle_below(random, m);
	const uint64_t start[3] = { 0, 0, newest }, count[3] = { D, N, 1 }, one = 1;
	int64_t iteration;
	double x[D * N], t;

	if (!allow("data", sde_array_read(h->data, start, count, NULL, x, sizeof(x))))
		check_snapshot(h, newest, x, NULL, NULL);
	if (!allow("time", sde_array_read(h->time, &newest, &one, NULL, &t, sizeof(t))))
		check_snapshot(h, newest, NULL, &t, NULL);
	if (newest < last && !allow("iteration", sde_array_read(h->iteration, &newest, &one, NULL,
							       &iteration, sizeof(iteration))))
		check_snapshot(h, newest, NULL, NULL, &iteration);
	__atomic_add_fetch(&page->reads, 1, __ATOMIC_RELAXED);
}

/* One trajectory's component at all times: one number of each snapshot. */
static void read_along(const struct handles *h, uint64_t *random)
{
	const uint64_t m = sde_array_shape(h->data)[2];
	const uint64_t i = oracle_below(random, (uint64_t)D * N);
	const uint64_t start[3] = { i / N, i % N, 0 }, count[3] = { 1, 1, m };
	double *x = malloc(m * sizeof(*x));
	uint64_t last;

	if (!x || allow("data", sde_array_read(h->data, start, count, NULL, x, m * sizeof(*x)))) {
		free(x);
		return;
	}
	last = load(&page->begun);
	for (uint64_t k = 0; k < m; k++) {
		bool right = false;

		for (uint64_t epoch = h->from; epoch <= last && !right; epoch++)
			right = x[k] == value(epoch_of(k, epoch), k, i);
		if (!right)
			complain("snapshot %" PRIu64 " of %" PRIu64 " has %.17g at %" PRIu64, k, m,
				 x[k], i);
	}
	free(x);
	__atomic_add_fetch(&page->reads, 1, __ATOMIC_RELAXED);
}

static void read_some(const struct handles *h, uint64_t *random)
{
	for (int i = 0; i < 8 && !is_over(); i++)
		read_snapshot(h, random);
	read_along(h, random);
}

static void ask(struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	const uint64_t from = load(&page->done);
	struct sde_error error;
	int ret;

	ret = sde_storage_info(storage, &info);
	if (allow("info", ret))
		return;
	if (info.epoch < from || info.epoch > load(&page->begun))
		complain("info says epoch %" PRIu64, info.epoch);
	if (info.ensemble.trajectories != N || strcmp(info.kind, "zarr"))
		complain("info says something else");
	sde_storage_error(storage, &error);
	if (strcmp(sde_storage_attributes(storage), "{\"a\":1}"))
		complain("the attributes are '%s'", sde_storage_attributes(storage));
}

/* ------------------------------------------------------------------------
 * Readers: threads of the writer's process, and processes
 */

struct reader {
	struct sde_storage *storage;
	uint64_t number;
	pthread_t thread;
};

static void *look_on(void *arg)
{
	const struct reader *reader = arg;
	uint64_t random = oracle_mix(seed + reader->number);
	struct handles h;

	while (!is_over()) {
		ask(reader->storage);
		rest(&random, 300);
		if (take(reader->storage, &h))
			continue;
		/* the first takes new handles all the time, the others keep theirs */
		for (uint64_t i = 0; i <= 4 * reader->number && !is_over(); i++)
			read_some(&h, &random);
		put_back(&h);
	}
	return NULL;
}

static _Noreturn void look_from_outside(uint64_t number)
{
	uint64_t random = oracle_mix(seed + 100 + number);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!is_over()) {
		const uint64_t from = load(&page->done);
		struct sde_storage *storage;
		struct sde_error error = { 0 };
		struct handles h;
		int ret;

		ret = sde_storage_open(&storage, PATH, NULL, &error);
		rest(&random, 300);
		if (ret == -ENOENT || ret == SDE_E_STALE) {	/* not yet, or truncated meanwhile */
			__atomic_add_fetch(&page->stale, ret == SDE_E_STALE, __ATOMIC_RELAXED);
			continue;
		}
		if (ret) {
			complain("open gives %d: %s", ret, error.text);
			break;
		}
		__atomic_add_fetch(&page->opens, 1, __ATOMIC_RELAXED);
		if (!take(storage, &h)) {
			/* a view of when it was opened */
			h.from = from;
			read_some(&h, &random);
			put_back(&h);
		}
		if (sde_storage_close(storage))
			complain("close of a reader fails");
	}
	_exit(0);
}

/* ------------------------------------------------------------------------
 * The writer
 */

static int store(struct sde_storage *storage, uint64_t e, uint64_t k)
{
	double x[D * N];
	void *slot;
	int ret;

	for (uint64_t i = 0; i < (uint64_t)D * N; i++)
		x[i] = value(e, k, i);
	if (k % 3)
		return sde_storage_store(storage, time_of(e, k), x, (uint64_t)iteration_of(e, k));
	ret = sde_storage_reserve(storage, (uint64_t)iteration_of(e, k), &slot);
	if (ret)
		return ret;
	memcpy(slot, x, sizeof(x));
	return sde_storage_commit(storage, time_of(e, k));
}

static int cut(struct sde_storage *storage, uint64_t *random, uint64_t *e, uint64_t *k)
{
	const uint64_t to = *k > LONGEST ? oracle_below(random, 100) :
			    *k - oracle_below(random, *k < 40 ? *k + 1 : 40);
	int ret;

	if (*e + 1 == EPOCHS || to == *k)
		return 0;
	__atomic_store_n(&page->cut[*e + 1], to, __ATOMIC_SEQ_CST);
	__atomic_store_n(&page->begun, *e + 1, __ATOMIC_SEQ_CST);
	ret = sde_storage_truncate(storage, to);
	__atomic_store_n(&page->done, ++*e, __ATOMIC_SEQ_CST);
	*k = to;
	return ret;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Until `end`; returns the number of stores. */
static uint64_t produce(struct sde_storage *storage, uint64_t *random, double end, bool paced)
{
	uint64_t stores = 0, e = 0, k = 0;
	struct sde_error error = { 0 };
	int ret = 0;

	while (!ret && !is_over() && seconds() < end) {
		const uint64_t what = oracle_below(random, 400);

		if (what < 4 || k > LONGEST)
			ret = cut(storage, random, &e, &k);
		else if (what < 8)
			ret = sde_storage_save(storage);
		else if (what < 13)
			ret = sde_storage_sync(storage);
		else
			ret = store(storage, e, k++);
		stores++;
		if (paced)
			rest(random, 200);
	}
	if (ret) {
		sde_storage_error(storage, &error);
		complain("the writer: %s", error.text);
	}
	return stores;
}

static void play(unsigned format, unsigned threads, enum sde_sync sync, double time, bool paced)
{
	const struct sde_ensemble ensemble = { D, N, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct reader reader[THREADS];
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	pid_t process[PROCESSES];
	uint64_t random = oracle_mix(seed ^ format << 8 ^ threads), stores;
	const double start = seconds();
	int status;

	memset(page, 0, sizeof(*page));
	/* before there are threads */
	for (uint64_t i = 0; i < PROCESSES; i++) {
		process[i] = fork();
		assert_true(process[i] >= 0);
		if (!process[i])
			look_from_outside(i);
	}
	options.chunk_size = 8;
	options.trajectories_per_chunk = 5;
	options.segments = 2 + threads % 2;
	options.threads = threads;
	options.sync = sync;
	options.sync_interval_ms = 3;
	options.zarr_format = format;
	options.attributes = "{\"a\":1}";
	if (sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error))
		fail_msg("create: %s", error.text);
	for (uint64_t i = 0; i < THREADS; i++) {
		reader[i] = (struct reader){ .storage = storage, .number = i };
		assert_int_equal(pthread_create(&reader[i].thread, NULL, look_on, &reader[i]), 0);
	}
	stores = produce(storage, &random, start + time, paced);
	__atomic_store_n(&page->stop, true, __ATOMIC_SEQ_CST);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(reader[i].thread, NULL), 0);
	for (int i = 0; i < PROCESSES; i++) {
		assert_int_equal(waitpid(process[i], &status, 0), process[i]);
		if (status)
			complain("a reading process ended with status %x", (unsigned)status);
	}
	if (page->failed)
		print_error("%s (seed %" PRIu64 ", format %u, %u threads, sync %d)\n",
			    page->failure, seed, format, threads, (int)sync);
	assert_false(page->failed);
	if (sde_storage_close_error(storage, &error))
		fail_msg("close: %s", error.text);
	print_message("# format %u, %u threads, sync %d, seed %" PRIu64 ": %" PRIu64 " stores, %"
		      PRIu64 " truncates, %" PRIu64 " rounds of reads, %" PRIu64 " opens, %"
		      PRIu64 " stale, 0 wrong, %.1f s\n", format, threads, (int)sync, seed, stores,
		      page->done, page->reads, page->opens, page->stale, seconds() - start);
	assert_true(page->reads > 0);
	assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH), 0);
}

static double environment(const char *name, double otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtod(text, NULL) : otherwise;
}

static void everybody_sees_right_numbers(void **state)
{
	const double time = environment("SDE_TEST_SECONDS",
					environment("SDE_TEST_LONG", 0) > 0 ? 180 : 4);

	(void)state;
	play(3, 2, SDE_SYNC_CHUNK, time / 5, false);
	play(3, 3, SDE_SYNC_NONE, time / 5, false);
	play(2, 2, SDE_SYNC_NONE, time / 5, true);
	play(3, 2, SDE_SYNC_INTERVAL, time / 5, true);
	play(2, 4, SDE_SYNC_SNAPSHOT, time / 5, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(everybody_sees_right_numbers),
	};

	seed = (uint64_t)environment("SDE_TEST_SEED", (double)time(NULL));
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
