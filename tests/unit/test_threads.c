/* SPDX-License-Identifier: MIT */
/*
 * One thread stores, others look on: what may be called at any time from any
 * thread gives right answers while the ring is reused, the store truncated,
 * saved and closed. Built with -fsanitize=thread, too.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"
#include "twin.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define READERS 3
#define D 2
#define N 12

static int watch(void **state)
{
	alarm(240);
	return scratch_enter(state);
}

static int unwatch(void **state)
{
	alarm(0);
	return scratch_leave(state);
}

#define WATCHED_TEST(test) cmocka_unit_test_setup_teardown(test, watch, unwatch)

/*
 * What snapshot k holds, in generation g (the number of truncates before it):
 * arithmetic, so that a reader needs no twin.
 */
static double value(uint64_t g, uint64_t k, uint64_t i)
{
	return (double)g * 1e9 + (double)k * 1000.0 + (double)i;
}

struct stage {
	struct sde_storage *storage;
	uint64_t chunk_size;
	int done;			/* atomic: the producer has ended */
	int truncates;			/* there will be some */
	int wrong;			/* atomic: line of the first wrong thing */
	unsigned long reads;		/* atomic */
};

/* cmocka's assertions are for the main thread alone. */
#define CHECK(stage, condition) \
	do { if (!(condition)) \
		__atomic_store_n(&(stage)->wrong, __LINE__, __ATOMIC_RELAXED); } while (0)

static int is_done(struct stage *stage)
{
	return __atomic_load_n(&stage->done, __ATOMIC_ACQUIRE) ||
	       __atomic_load_n(&stage->wrong, __ATOMIC_RELAXED);
}

/* A stale answer is right only where there are truncates. */
static int read_ok(struct stage *stage, int ret)
{
	CHECK(stage, !ret || (stage->truncates && ret == SDE_E_STALE));
	return !ret;
}

/* All of each is of one generation, or of one up to a cut and the next from it on. */
static void check_snapshot(struct stage *stage, const double *x, uint64_t k)
{
	const uint64_t g = (uint64_t)(x[0] / 1e9);

	CHECK(stage, stage->truncates || g == 0);
	for (uint64_t i = 0; i < D * N; i++)
		CHECK(stage, x[i] == value(g, k, i));
}

static void read_some(struct stage *stage, const struct sde_array *time,
		      const struct sde_array *data, const struct sde_array *iteration,
		      uint64_t *seed)
{
	const uint64_t m = sde_array_shape(data)[2];
	uint64_t start[3] = { 0, 0, twin_below(seed, m) }, count[3] = { D, N, 1 };
	double x[D * N], t;
	int64_t it;

	if (read_ok(stage, sde_array_read(data, start, count, NULL, x, sizeof(x))))
		check_snapshot(stage, x, start[2]);
	count[0] = 1;
	if (read_ok(stage, sde_array_read(time, &start[2], count, NULL, &t, sizeof(t))))
		CHECK(stage, t == (double)start[2] * 0.5);
	if (read_ok(stage, sde_array_read(iteration, &start[2], count, NULL, &it, sizeof(it))))
		CHECK(stage, it == (int64_t)start[2]);
	/* one trajectory at all times */
	if (m <= 4096) {
		double *all = malloc(m * sizeof(*all));
		const uint64_t from[3] = { 1, twin_below(seed, N), 0 }, n[3] = { 1, 1, m };

		if (all && read_ok(stage, sde_array_read(data, from, n, NULL, all, m * 8)))
			for (uint64_t k = 0; k < m; k++)
				CHECK(stage, all[k] == value((uint64_t)(all[k] / 1e9), k,
							     N + from[1]));
		free(all);
	}
	__atomic_add_fetch(&stage->reads, 1, __ATOMIC_RELAXED);
}

static void look_at_info(struct stage *stage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error;

	CHECK(stage, !sde_storage_info(stage->storage, &info));
	CHECK(stage, info.kind && !strcmp(info.kind, "zarr"));
	CHECK(stage, info.chunk_size == stage->chunk_size);
	CHECK(stage, info.epoch <= 1000000);
	sde_storage_error(stage->storage, &error);
	sde_storage_attributes(stage->storage);
	sde_storage_time_units(stage->storage);
}

static void *look_on(void *arg)
{
	struct stage *stage = arg;
	uint64_t seed = (uint64_t)(uintptr_t)&seed;

	while (!is_done(stage)) {
		struct sde_array *time = NULL, *data = NULL, *iteration = NULL;
		int ret;

		look_at_info(stage);
		ret = sde_storage_values(stage->storage, &time, &data);
		CHECK(stage, !ret || ret == SDE_E_NO_DATA || (stage->truncates && ret == SDE_E_STALE));
		if (!ret)
			ret = sde_storage_iterations(stage->storage, &iteration);
		/* a truncate may have come between the two */
		for (int i = 0; i < 5 && !ret; i++)
			if (sde_array_shape(iteration)[0] >= sde_array_shape(data)[2])
				read_some(stage, time, data, iteration, &seed);
		sde_array_close(time);
		sde_array_close(data);
		sde_array_close(iteration);
	}
	return NULL;
}

static void pause_a_little(void)
{
	const struct timespec time = { .tv_nsec = 200000 };

	nanosleep(&time, NULL);
}

static int store_one(struct stage *stage, uint64_t g, uint64_t k)
{
	double x[D * N];
	void *slot;
	int ret;

	for (uint64_t i = 0; i < D * N; i++)
		x[i] = value(g, k, i);
	if (k % 3)
		return sde_storage_store(stage->storage, (double)k * 0.5, x, k);
	ret = sde_storage_reserve(stage->storage, k, &slot);
	if (ret)
		return ret;
	memcpy(slot, x, sizeof(x));
	return sde_storage_commit(stage->storage, (double)k * 0.5);
}

/* k is the next snapshot, g the generation; now and then save, sync, truncate. */
static void produce(struct stage *stage, uint64_t snapshots, bool paced)
{
	uint64_t g = 0, k = 0;

	for (uint64_t i = 0; i < snapshots; i++, k++) {
		CHECK(stage, !store_one(stage, g, k));
		if (i % 97 == 50)
			CHECK(stage, !sde_storage_save(stage->storage));
		if (i % 61 == 30)
			CHECK(stage, !sde_storage_sync(stage->storage));
		if (stage->truncates && i % 113 == 112) {
			k -= k < 40 ? 0 : 37;
			CHECK(stage, !sde_storage_truncate(stage->storage, k));
			g++;
			k--;
		}
		if (paced)
			pause_a_little();
	}
}

static void open_stage(struct stage *stage, unsigned threads, enum sde_sync policy)
{
	const struct sde_ensemble ensemble = { D, N, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_error error = { 0 };

	memset(stage, 0, sizeof(*stage));
	options.chunk_size = stage->chunk_size = 8;
	options.trajectories_per_chunk = 5;
	options.segments = 2 + threads % 2;
	options.threads = threads;
	options.sync = policy;
	options.sync_interval_ms = 3;
	options.ring_io = threads % 2 ? SDE_RING_IO_MAPPED : SDE_RING_IO_WRITTEN;
	options.sigbus_guard = threads == 3 ? SDE_SIGBUS_GUARD_ON : SDE_SIGBUS_GUARD_OFF;
	options.overwrite = 1;
	twin_assert_ok(sde_zarr_storage_create(&stage->storage, PATH, &ensemble, &options, &error),
		       error.text);
}

static void play(unsigned threads, enum sde_sync policy, uint64_t snapshots, bool paced,
		 int truncates)
{
	pthread_t reader[READERS];
	struct stage stage;

	open_stage(&stage, threads, policy);
	stage.truncates = truncates;
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, look_on, &stage), 0);
	produce(&stage, snapshots, paced);
	/* on a busy machine the producer may be done before a reader has begun */
	while (!__atomic_load_n(&stage.reads, __ATOMIC_RELAXED) && !is_done(&stage))
		pause_a_little();
	__atomic_store_n(&stage.done, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_join(reader[i], NULL), 0);
	if (stage.wrong)
		print_error("line %d: %s\n", stage.wrong, twin_sentence(stage.storage));
	assert_int_equal(stage.wrong, 0);
	assert_true(stage.reads > 0);
	twin_assert_ok(sde_storage_close(stage.storage), "close");
}

static void readers_see_right_values_at_full_speed(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 3; threads++) {
		play(threads, SDE_SYNC_NONE, 1500, false, 0);
		play(threads, SDE_SYNC_CHUNK, 500, false, 0);
	}
}

static void readers_see_right_values_of_a_paced_producer(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 3; threads++)
		play(threads, SDE_SYNC_INTERVAL, 400, true, 0);
	play(2, SDE_SYNC_SNAPSHOT, 200, true, 0);
}

static void readers_see_right_or_stale_values_of_a_truncating_producer(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 3; threads++)
		play(threads, threads % 2 ? SDE_SYNC_NONE : SDE_SYNC_CHUNK, 900, false, 1);
}

/* ------------------------------------------------------------------------
 * Arrays outlive their storage
 */

struct reader {
	struct stage *stage;
	struct sde_array *time, *data, *iteration;
};

static void *read_on(void *arg)
{
	struct reader *reader = arg;
	uint64_t seed = (uint64_t)(uintptr_t)arg;

	while (!is_done(reader->stage))
		read_some(reader->stage, reader->time, reader->data, reader->iteration, &seed);
	return NULL;
}

static void arrays_are_read_while_their_storage_is_closed(void **state)
{
	(void)state;
	for (unsigned threads = 1; threads <= 3; threads++) {
		struct reader shared = { 0 };
		pthread_t thread[READERS];
		struct stage stage;

		open_stage(&stage, threads, SDE_SYNC_NONE);
		shared.stage = &stage;
		produce(&stage, 60, false);
		assert_int_equal(sde_storage_values(stage.storage, &shared.time, &shared.data), 0);
		assert_int_equal(sde_storage_iterations(stage.storage, &shared.iteration), 0);
		for (int i = 0; i < READERS; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, read_on, &shared), 0);
		for (uint64_t k = 60; k < 100; k++)
			CHECK(&stage, !store_one(&stage, 0, k));
		pause_a_little();
		twin_assert_ok(sde_storage_close(stage.storage), "close");
		for (int i = 0; i < 50; i++)
			pause_a_little();
		__atomic_store_n(&stage.done, 1, __ATOMIC_RELEASE);
		for (int i = 0; i < READERS; i++)
			assert_int_equal(pthread_join(thread[i], NULL), 0);
		assert_int_equal(stage.wrong, 0);
		sde_array_close(shared.time);
		sde_array_close(shared.data);
		sde_array_close(shared.iteration);
	}
}

/* Another storage of the same store, opened again and again by other threads. */
static void *open_again(void *arg)
{
	struct stage *stage = arg;
	uint64_t seed = 5;

	while (!is_done(stage)) {
		struct sde_array *time = NULL, *data = NULL, *iteration = NULL;
		struct sde_storage *storage;
		int ret;

		ret = sde_storage_open(&storage, PATH, NULL, NULL);
		CHECK(stage, !ret || (stage->truncates && ret == SDE_E_STALE));
		if (ret)
			continue;
		if (!sde_storage_values(storage, &time, &data) &&
		    !sde_storage_iterations(storage, &iteration))
			read_some(stage, time, data, iteration, &seed);
		CHECK(stage, !sde_storage_close(storage));
		sde_array_close(time);
		sde_array_close(data);
		sde_array_close(iteration);
	}
	return NULL;
}

static void a_running_store_is_opened_by_others(void **state)
{
	(void)state;
	for (int truncates = 0; truncates < 2; truncates++) {
		pthread_t thread[2];
		struct stage stage;

		open_stage(&stage, 2, SDE_SYNC_NONE);
		stage.truncates = truncates;
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, open_again, &stage), 0);
		produce(&stage, 600, true);
		__atomic_store_n(&stage.done, 1, __ATOMIC_RELEASE);
		for (int i = 0; i < 2; i++)
			assert_int_equal(pthread_join(thread[i], NULL), 0);
		if (stage.wrong)
			print_error("line %d\n", stage.wrong);
		assert_int_equal(stage.wrong, 0);
		assert_true(stage.reads > 0);
		twin_assert_ok(sde_storage_close(stage.storage), "close");
	}
}

/* ------------------------------------------------------------------------
 * Signals
 */

static int signals;
static pthread_t receiver;
static int elsewhere;

static void on_signal(int number)
{
	(void)number;
	__atomic_add_fetch(&signals, 1, __ATOMIC_RELAXED);
	if (!pthread_equal(pthread_self(), receiver))
		__atomic_store_n(&elsewhere, 1, __ATOMIC_RELAXED);
}

static void workers_take_no_signals(void **state)
{
	const struct sigaction action = { .sa_handler = on_signal };
	struct sigaction before;
	struct stage stage;

	(void)state;
	receiver = pthread_self();
	sigaction(SIGUSR1, &action, &before);
	open_stage(&stage, 3, SDE_SYNC_INTERVAL);
	for (uint64_t k = 0; k < 100; k++) {
		kill(getpid(), SIGUSR1);
		assert_int_equal(store_one(&stage, 0, k), 0);
	}
	twin_assert_ok(sde_storage_close(stage.storage), "close");
	sigaction(SIGUSR1, &before, NULL);
	assert_true(signals > 0);
	assert_int_equal(elsewhere, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WATCHED_TEST(readers_see_right_values_at_full_speed),
		WATCHED_TEST(readers_see_right_values_of_a_paced_producer),
		WATCHED_TEST(readers_see_right_or_stale_values_of_a_truncating_producer),
		WATCHED_TEST(arrays_are_read_while_their_storage_is_closed),
		WATCHED_TEST(a_running_store_is_opened_by_others),
		WATCHED_TEST(workers_take_no_signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
