/* SPDX-License-Identifier: MIT */
/*
 * One process stores as fast as it can, another opens the store again and again
 * and reads: the newest snapshots, which are in the ring or leave it in this
 * moment, and some older ones. No read may fail and no value may be wrong; what
 * was there once is there ever after.
 *
 * The numbers are whole: component d of trajectory n of snapshot k is
 * 1024 k + 64 d + n, its time k / 8, its iteration 5 k.
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reader_of_a_running_store_is_never_wrong),
		cmocka_unit_test(nor_is_one_whose_ring_turns_round_all_the_time),
	};

	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
