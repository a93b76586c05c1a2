/* SPDX-License-Identifier: MIT */
/*
 * One process stores as fast as it can, another opens the store again and again
 * and reads: the newest snapshots, which are in the ring or leave it in this
 * moment, and some older ones. No read may fail and no value may be wrong; what
 * was there once is there ever after. Then the same with four readers at once, each
 * with habits of its own, while the writer also truncates, is killed, is resumed,
 * and closes.
 *
 * The numbers are whole: component d of trajectory n of snapshot k is
 * 1024 k + 64 d + n, its time k / 8, its iteration 5 k. Where truncate is at work
 * the number of truncates before it was stored is added, 2^40 each (to the time 2^30,
 * to the iteration 5 times 2^40): a snapshot has one such number, and later ones
 * no smaller one.
 *
 * SDE_TEST_LONG: four readers of a writer at full speed for a minute, of the others for
 * another, instead of 5 seconds.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sdestore.h>

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "live.zarr"
#define SECONDS 5
#define NEWEST 8		/* snapshots read at the end of the store */

enum { DIMENSION = 2, TRAJECTORIES = 48, STRIDE = 5 };

/* Shared with the writer. */
struct page {
	bool stop;
	uint64_t returned;		/* snapshots whose store returned */
	char failure[256];
	/* of four readers */
	bool ended;			/* the writer is gone, one way or another */
	uint64_t looks, reads, stale;
	char wrong[400];
};
static struct page *page;

struct tally {
	uint64_t opens, reads, from_ring, last;
};

static double value(uint64_t k, uint64_t d, uint64_t n)
{
	return (double)(1024 * k + 64 * d + n);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static _Noreturn void write_until_told(const struct sde_zarr_options *options)
{
	const struct sde_ensemble ensemble = { DIMENSION, TRAJECTORIES, SDE_FLOAT64 };
	double x[DIMENSION][TRAJECTORIES];
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	int ret = sde_zarr_storage_create(&storage, PATH, &ensemble, options, &error);

	for (uint64_t k = 0; !ret && !__atomic_load_n(&page->stop, __ATOMIC_ACQUIRE); k++) {
		for (uint64_t d = 0; d < DIMENSION; d++)
			for (uint64_t n = 0; n < TRAJECTORIES; n++)
				x[d][n] = value(k, d, n);
		ret = sde_storage_store(storage, (double)k / 8, x, STRIDE * k);
		if (ret)
			sde_storage_error(storage, &error);
		else
			__atomic_store_n(&page->returned, k + 1, __ATOMIC_RELEASE);
	}
	if (!ret)
		ret = sde_storage_close_error(storage, &error);
	snprintf(page->failure, sizeof(page->failure), "%s", ret ? error.text : "");
	_exit(ret ? 1 : 0);
}

/* Snapshots first .. first + count - 1: all of what is kept of them. */
static void check(struct sde_storage *storage, uint64_t first, uint64_t count)
{
	const uint64_t start[3] = { 0, 0, first }, counts[3] = { DIMENSION, TRAJECTORIES, count };
	double x[DIMENSION * TRAJECTORIES * NEWEST], time[NEWEST];
	struct sde_array *times = NULL, *data = NULL, *iterations = NULL;
	struct sde_error error = { 0 };
	int64_t iteration[NEWEST];

	assert_int_equal(sde_storage_values(storage, &times, &data), 0);
	assert_int_equal(sde_storage_iterations(storage, &iterations), 0);
	if (sde_array_read(data, start, counts, NULL, x, sizeof(x)))
		sde_array_error(data, &error);
	if (sde_array_read(times, &first, &count, NULL, time, sizeof(time)))
		sde_array_error(times, &error);
	if (sde_array_read(iterations, &first, &count, NULL, iteration, sizeof(iteration)))
		sde_array_error(iterations, &error);
	if (error.code)
		fail_msg("snapshots %" PRIu64 " .. + %" PRIu64 ": %s", first, count, error.text);
	for (uint64_t i = 0; i < count; i++) {
		const uint64_t k = first + i;

		if (time[i] != (double)k / 8 || iteration[i] != (int64_t)(STRIDE * k))
			fail_msg("snapshot %" PRIu64 ": time %g, iteration %" PRId64, k, time[i],
				 iteration[i]);
		for (uint64_t d = 0; d < DIMENSION; d++)
			for (uint64_t n = 0; n < TRAJECTORIES; n++) {
				const double is = x[(d * TRAJECTORIES + n) * count + i];

				if (is != value(k, d, n))
					fail_msg("data[%" PRIu64 ", %" PRIu64 ", %" PRIu64
						 "] is %.17g, not %.17g", d, n, k, is,
						 value(k, d, n));
			}
	}
	sde_array_close(times);
	sde_array_close(data);
	sde_array_close(iterations);
}

static void look_once(struct tally *tally)
{
	const uint64_t returned = __atomic_load_n(&page->returned, __ATOMIC_ACQUIRE);
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	uint64_t count, first;

	if (sde_storage_open(&storage, PATH, NULL, &error))
		fail_msg("open: %s", error.text);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_int_equal(info.state, SDE_STATE_RUNNING);
	if (info.committed < returned || info.committed < tally->last)
		fail_msg("%" PRIu64 " snapshots, after %" PRIu64 " were stored and %" PRIu64
			 " seen", info.committed, returned, tally->last);
	tally->last = info.committed;
	tally->opens++;
	count = info.committed < NEWEST ? info.committed : NEWEST;
	if (count) {
		check(storage, info.committed - count, count);
		tally->reads++;
		/* published is what any file could have given */
		tally->from_ring += info.committed > info.sealed && info.committed > info.published;
	}
	for (int i = 0; i < 4 && info.committed; i++, tally->reads++) {
		first = (uint64_t)random() % info.committed;
		count = info.committed - first < 3 ? info.committed - first : 3;
		check(storage, first, count);
	}
	assert_int_equal(sde_storage_close(storage), 0);
}

/* A handle goes on giving the same when what it saw in the ring has left it. */
static void look_for_long(uint64_t chunk_size, unsigned segments)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	uint64_t first;
	struct sde_error error = { 0 };

	if (sde_storage_open(&storage, PATH, NULL, &error))
		fail_msg("open: %s", error.text);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	first = info.committed > NEWEST ? info.committed - NEWEST : 0;
	for (double end = now() + 1; now() < end;) {
		if (info.committed)
			check(storage, first, info.committed - first);
		if (__atomic_load_n(&page->returned, __ATOMIC_ACQUIRE) >
		    info.committed + 2 * segments * chunk_size)
			break;
	}
	assert_int_equal(sde_storage_close(storage), 0);
}

static void watch(uint64_t chunk_size, unsigned segments, double seconds)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct tally tally = { 0 };
	int status;
	pid_t child;

	options.chunk_size = chunk_size;
	options.segments = segments;
	options.stride = STRIDE;
	options.overwrite = 1;
	memset(page, 0, sizeof(*page));
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		/* a test that failed leaves nobody behind */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		write_until_told(&options);
	}
	while (!__atomic_load_n(&page->returned, __ATOMIC_ACQUIRE) && !waitpid(child, &status, WNOHANG))
		usleep(1000);
	for (double end = now() + seconds; now() < end;) {
		look_once(&tally);
		if (tally.opens % 64 == 0)
			look_for_long(chunk_size, segments);
	}
	__atomic_store_n(&page->stop, true, __ATOMIC_RELEASE);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_string_equal(page->failure, "");
	assert_int_equal(status, 0);
	print_message("%" PRIu64 " stored, opened %" PRIu64 " times, %" PRIu64 " reads, %" PRIu64
		      " opens ended in the ring\n", page->returned, tally.opens, tally.reads,
		      tally.from_ring);
	assert_true(tally.reads > 0);
	assert_true(tally.from_ring > 0);
}

static void a_reader_of_a_running_store_is_never_wrong(void **state)
{
	(void)state;
	watch(512, 3, SECONDS);
}

static void nor_is_one_whose_ring_turns_round_all_the_time(void **state)
{
	(void)state;
	watch(16, 2, 2);
}

/* ------------------------------------------------------------------------
 * Four readers
 */

#define GENERATION ((double)(UINT64_C(1) << 40))
#define ITERATION_OF(generation) ((int64_t)(generation) << 40)

enum end { CLOSES, IS_KILLED };

struct life {
	unsigned format;
	uint64_t chunk_size;
	unsigned segments;
	uint64_t truncate_every;	/* snapshots; 0: never */
	double seconds;
	enum end end;
};

static void fill(double x[DIMENSION][TRAJECTORIES], uint64_t k, uint64_t generation)
{
	for (uint64_t d = 0; d < DIMENSION; d++)
		for (uint64_t n = 0; n < TRAJECTORIES; n++)
			x[d][n] = value(k, d, n) + (double)generation * GENERATION;
}

/* Stores, and now and then goes back by a third of what it stored since. */
static int live(struct sde_storage *storage, const struct life *life)
{
	double x[DIMENSION][TRAJECTORIES];
	uint64_t generation = 0, k = 0, next = life->truncate_every;
	int ret = 0;

	while (!ret && !__atomic_load_n(&page->stop, __ATOMIC_ACQUIRE)) {
		fill(x, k, generation);
		ret = sde_storage_store(storage, (double)k / 8 + (double)generation * 0x1p30, x,
					STRIDE * (k + (uint64_t)ITERATION_OF(generation)));
		if (ret)
			break;
		k++;
		if (!life->truncate_every) {
			__atomic_store_n(&page->returned, k, __ATOMIC_RELEASE);
		} else if (k == next) {
			k -= life->truncate_every / 3;
			ret = sde_storage_truncate(storage, k);
			__atomic_store_n(&page->returned, k, __ATOMIC_RELEASE);
			generation++;
			next = k + life->truncate_every;
		}
	}
	return ret;
}

static _Noreturn void write_life(const struct life *life)
{
	const struct sde_ensemble ensemble = { DIMENSION, TRAJECTORIES, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	options.zarr_format = life->format;
	options.chunk_size = life->chunk_size;
	options.segments = life->segments;
	options.stride = STRIDE;
	options.overwrite = 1;
	ret = sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error);
	if (!ret) {
		ret = live(storage, life);
		if (ret)
			sde_storage_error(storage, &error);
		else if (life->end == IS_KILLED)
			raise(SIGKILL);
		else
			ret = sde_storage_close_error(storage, &error);
	}
	snprintf(page->failure, sizeof(page->failure), "%s", ret ? error.text : "");
	_exit(ret ? 1 : 0);
}

#define WRONG(...) \
	(snprintf(page->wrong, sizeof(page->wrong), __VA_ARGS__), false)

/* One read of the three; false if something is wrong, *stale if they are. */
static bool right(struct sde_array *const array[3], uint64_t first, uint64_t count, bool *stale)
{
	const uint64_t start[3] = { 0, 0, first }, counts[3] = { DIMENSION, TRAJECTORIES, count };
	double x[DIMENSION][TRAJECTORIES][NEWEST], time[NEWEST];
	struct sde_error error = { 0 };
	int64_t iteration[NEWEST];
	double least = 0;
	int ret;

	ret = sde_array_read(array[0], &first, &count, NULL, time, sizeof(time));
	if (ret)
		sde_array_error(array[0], &error);
	if (!ret && (ret = sde_array_read(array[1], start, counts, NULL, x,
					  sizeof(x) / NEWEST * count)))
		sde_array_error(array[1], &error);
	if (!ret && (ret = sde_array_read(array[2], &first, &count, NULL, iteration,
					  sizeof(iteration))))
		sde_array_error(array[2], &error);
	*stale = ret == SDE_E_STALE;
	if (ret)
		return *stale ? true : WRONG("snapshots %" PRIu64 " + %" PRIu64 ": %s", first, count,
					     error.text);
	for (uint64_t i = 0; i < count; i++) {
		/* selections are packed: i is the fastest of `count`, not of NEWEST */
		const double *packed = &x[0][0][0];
		const double generation = (packed[i] - value(first + i, 0, 0)) / GENERATION;

		if (generation < least || generation != (double)(int64_t)generation)
			return WRONG("snapshot %" PRIu64 " is of generation %g after %g", first + i,
				     generation, least);
		least = generation;
		if (time[i] != (double)(first + i) / 8 + generation * 0x1p30 ||
		    iteration[i] != STRIDE * ((int64_t)(first + i) + ITERATION_OF(generation)))
			return WRONG("snapshot %" PRIu64 " of generation %g: time %.17g, iteration %"
				     PRId64, first + i, generation, time[i], iteration[i]);
		for (uint64_t j = 0; j < DIMENSION * TRAJECTORIES; j++)
			if (packed[j * count + i] != value(first + i, j / TRAJECTORIES,
							   j % TRAJECTORIES) +
			    generation * GENERATION)
				return WRONG("snapshot %" PRIu64 ", number %" PRIu64 " is %.17g",
					     first + i, j, packed[j * count + i]);
	}
	return true;
}

/* Some reads of what the storage shows now. */
static bool look(struct sde_storage *storage, bool patient)
{
	struct sde_array *array[3];
	struct sde_error error = { 0 };
	bool ok = true, stale = false;
	uint64_t m;
	int ret;

	ret = sde_storage_arrays(storage, &array[0], &array[1], &array[2]);
	if (ret == SDE_E_NO_DATA)
		return true;
	sde_storage_error(storage, &error);
	if (ret)
		return WRONG("arrays: %s", error.text);
	m = sde_array_shape(array[0])[0];
	if (sde_array_shape(array[1])[2] != m || sde_array_shape(array[2])[0] != m)
		ok = WRONG("lengths %" PRIu64 ", %" PRIu64 ", %" PRIu64, m,
			   sde_array_shape(array[1])[2], sde_array_shape(array[2])[0]);
	for (int i = 0; ok && !stale && i < (patient ? 200 : 4); i++) {
		const uint64_t most = m < NEWEST ? m : NEWEST;
		const uint64_t first = i % 2 ? (uint64_t)random() % m : m - most;

		ok = right(array, first, m - first < most ? m - first : most, &stale);
		__atomic_add_fetch(&page->reads, 1, __ATOMIC_RELAXED);
	}
	if (stale)
		__atomic_add_fetch(&page->stale, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		sde_array_close(array[i]);
	return ok;
}

/* 0 opens again and again, 1 refreshes, 2 with threads and a cache, 3 holds on. */
static bool read_life(int habit, const struct life *life)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage = NULL;
	struct sde_error error = { 0 };
	uint64_t returned = 0;
	bool ok = true, ended;

	options.threads = habit == 2 ? 2 : 0;
	options.cache_bytes = habit == 2 ? 4 << 20 : 0;
	do {
		ended = __atomic_load_n(&page->ended, __ATOMIC_ACQUIRE);
		returned = life->truncate_every ? 0 :
			   __atomic_load_n(&page->returned, __ATOMIC_ACQUIRE);
		if (storage && habit == 0) {
			sde_storage_close(storage);
			storage = NULL;
		}
		if (!storage ? sde_storage_open(&storage, PATH, &options, &error) :
			       sde_storage_refresh(storage)) {
			sde_storage_error(storage, &error);
			return WRONG("open or refresh: %s", error.text);
		}
		if (sde_storage_info(storage, &info)) {
			/* the files it counts may be those of a truncate */
			sde_storage_error(storage, &error);
			ok = life->truncate_every || WRONG("info: %s", error.text);
		} else if (info.committed < returned) {
			ok = WRONG("%" PRIu64 " snapshots, after %" PRIu64 " were stored",
				   info.committed, returned);
		}
		ok = ok && look(storage, habit == 3);
		__atomic_add_fetch(&page->looks, 1, __ATOMIC_RELAXED);
	} while (ok && !ended);
	if (ok && info.state != (life->end == CLOSES ? SDE_STATE_CLOSED : SDE_STATE_CRASHED))
		ok = WRONG("the writer has ended, and the state is %d", (int)info.state);
	sde_storage_close(storage);
	return ok;
}

static void resume_and_close(void)
{
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	if (sde_zarr_storage_resume(&storage, PATH, NULL, &error))
		fail_msg("resume: %s", error.text);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void four_readers(const struct life *life)
{
	pid_t writer, readers[4];
	int status;

	memset(page, 0, sizeof(*page));
	writer = fork();
	assert_true(writer >= 0);
	if (!writer)
		write_life(life);
	while (!__atomic_load_n(&page->returned, __ATOMIC_ACQUIRE) && !waitpid(writer, &status, WNOHANG))
		usleep(1000);
	for (int i = 0; i < 4; i++) {
		readers[i] = fork();
		assert_true(readers[i] >= 0);
		if (!readers[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			srandom((unsigned)i + 1);
			_exit(read_life(i, life) ? 0 : 1);
		}
	}
	for (double end = now() + life->seconds; now() < end && !*page->wrong;)
		usleep(20000);
	__atomic_store_n(&page->stop, true, __ATOMIC_RELEASE);
	assert_int_equal(waitpid(writer, &status, 0), writer);
	__atomic_store_n(&page->ended, true, __ATOMIC_RELEASE);
	assert_string_equal(page->failure, "");
	for (int i = 0; i < 4; i++)
		assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
	assert_string_equal(page->wrong, "");
	print_message("# %.1f s: %" PRIu64 " stored last, 4 readers looked %" PRIu64 " times, read %"
		      PRIu64 " times, %" PRIu64 " stale, 0 wrong\n", life->seconds, page->returned,
		      page->looks, page->reads, page->stale);
	assert_true(page->reads > 0);
	if (life->end == IS_KILLED)
		resume_and_close();
}

static double share_of_time(double share)
{
	return share * (getenv("SDE_TEST_LONG") ? 120 : 5);
}

static void four_readers_of_a_writer_at_full_speed_are_never_wrong(void **state)
{
	const struct life life = { 3, 512, 3, 0, share_of_time(0.5), CLOSES };

	(void)state;
	four_readers(&life);
}

static void nor_when_it_is_killed(void **state)
{
	const struct life life = { 3, 64, 2, 0, share_of_time(0.1), IS_KILLED };

	(void)state;
	four_readers(&life);
}

static void nor_when_it_truncates_all_the_time(void **state)
{
	const struct life three = { 3, 64, 2, 1000, share_of_time(0.15), CLOSES };
	const struct life killed = { 3, 64, 2, 300, share_of_time(0.1), IS_KILLED };
	const struct life two = { 2, 64, 2, 1000, share_of_time(0.15), CLOSES };

	(void)state;
	four_readers(&three);
	four_readers(&killed);
	four_readers(&two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reader_of_a_running_store_is_never_wrong),
		cmocka_unit_test(nor_is_one_whose_ring_turns_round_all_the_time),
		cmocka_unit_test(four_readers_of_a_writer_at_full_speed_are_never_wrong),
		cmocka_unit_test(nor_when_it_is_killed),
		cmocka_unit_test(nor_when_it_truncates_all_the_time),
	};

	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
