/* SPDX-License-Identifier: MIT */
/*
 * Promise 5: the memory a run takes is known before it, and does not grow with it. The
 * oracle is the kernel: a child stores, and says how far its peak (VmHWM) rose.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <sdestore.h>

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static uint64_t peak(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	uint64_t kilobytes = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "VmHWM:", 6))
			kilobytes = strtoull(line + 6, NULL, 10);
	if (file)
		fclose(file);
	return 1024 * kilobytes;
}

/* Noise that does not compress. */
static void draw(double *x, uint64_t n, uint64_t *state)
{
	for (uint64_t i = 0; i < n; i++) {
		*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		x[i] = (double)(*state >> 11) * 0x1p-53;
	}
}

/* How much the peak rose while `snapshots` were stored, to *bytes; its exit status. */
static int run(const struct sde_ensemble *ensemble, const struct sde_zarr_options *options,
	       uint64_t snapshots, uint64_t *bytes)
{
	const uint64_t numbers = ensemble->dimension * ensemble->trajectories;
	double *x = calloc(numbers, sizeof(*x));
	struct sde_storage *storage;
	uint64_t before, state = 1;

	if (!x)
		return 1;
	draw(x, numbers, &state);
	before = peak();
	if (sde_zarr_storage_create(&storage, "run.zarr", ensemble, options, NULL))
		return 2;
	for (uint64_t i = 0; i < snapshots; i++) {
		draw(x, numbers, &state);
		if (sde_storage_store(storage, (double)i, x, i))
			return 3;
	}
	if (sde_storage_close(storage))
		return 4;
	free(x);
	*bytes = peak() - before;
	return 0;
}

static uint64_t risen(const struct sde_ensemble *ensemble, const struct sde_zarr_options *options,
		      uint64_t snapshots)
{
	uint64_t bytes = 0;
	int ends[2], status;
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		int ret = run(ensemble, options, snapshots, &bytes);

		if (write(ends[1], &bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes))
			ret = 5;
		_exit(ret);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &bytes, sizeof(bytes)), sizeof(bytes));
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	return bytes;
}

static void check(const struct sde_ensemble *ensemble, uint64_t chunk_size, enum sde_codec codec,
		  enum sde_sync sync, uint64_t snapshots)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	uint64_t estimate, some, many, chunk;

	if (SANITIZED) {
		print_message("a sanitizer takes memory of its own\n");
		skip();
	}
	options.chunk_size = chunk_size;
	options.codec = codec;
	options.sync = sync;
	options.threads = 2;
	options.overwrite = 1;
	assert_int_equal(sde_zarr_memory_estimate(ensemble, &options, &estimate), 0);
	some = risen(ensemble, &options, snapshots / 10);
	many = risen(ensemble, &options, snapshots);
	print_message("# estimate %.1f MB, peak %.1f MB, of ten times as many %.1f MB\n",
		      (double)estimate / 1e6, (double)some / 1e6, (double)many / 1e6);
	assert_true(many <= estimate + estimate / 20);
	/* whether another chunk in the making was needed is a matter of the machine's load,
	 * and where a device is waited for, of the device's, how many */
	if (sync != SDE_SYNC_NONE)
		return;
	chunk = chunk_size * ensemble->dimension * ensemble->trajectories * sizeof(double);
	assert_true(many <= some + some / 10 + chunk);
}

static void many_small_snapshots_take_what_was_estimated(void **state)
{
	const struct sde_ensemble ensemble = { 2, 64, SDE_FLOAT64 };

	(void)state;
	check(&ensemble, 1000, SDE_CODEC_DEFAULT, SDE_SYNC_NONE, 200000);
	/* here what is beside the ring and the buffers has a share in it */
	check(&ensemble, 100, SDE_CODEC_DEFAULT, SDE_SYNC_NONE, 100000);
}

static void large_snapshots_take_what_was_estimated(void **state)
{
	const struct sde_ensemble ensemble = { 1, 100000, SDE_FLOAT64 };

	(void)state;
	check(&ensemble, 10, SDE_CODEC_DEFAULT, SDE_SYNC_NONE, 500);
	check(&ensemble, 10, SDE_CODEC_LZ4, SDE_SYNC_NONE, 500);
	check(&ensemble, 10, SDE_CODEC_NONE, SDE_SYNC_NONE, 500);
}

/* Small chunks have more segments, and more threads, wherever this runs on a device. */
static void what_is_synced_takes_what_was_estimated(void **state)
{
	const struct sde_ensemble small = { 2, 64, SDE_FLOAT64 }, large = { 1, 100000, SDE_FLOAT64 };

	(void)state;
	check(&small, 1000, SDE_CODEC_DEFAULT, SDE_SYNC_CHUNK, 100000);
	check(&small, 100, SDE_CODEC_DEFAULT, SDE_SYNC_CHUNK, 50000);
	check(&large, 4, SDE_CODEC_DEFAULT, SDE_SYNC_CHUNK, 300);
	check(&large, 10, SDE_CODEC_NONE, SDE_SYNC_PUBLISH, 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(many_small_snapshots_take_what_was_estimated),
		SCRATCH_TEST(large_snapshots_take_what_was_estimated),
		SCRATCH_TEST(what_is_synced_takes_what_was_estimated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
