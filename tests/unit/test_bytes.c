/* SPDX-License-Identifier: MIT */
/*
 * How many bytes go through the io table. All times of one trajectory are its own inner
 * chunks, and what finds them, and nothing else; and a chunk costs as much at the end of
 * a long run as at its beginning.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"
#include "twin.h"
#include "zarr_storage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define D 2
#define N 100
#define WIDTH 8		/* n: 13 inner chunks */
#define INNER 13
#define T 16
#define CHUNKS 9
#define HEAD 64			/* of a chunk's side table */
#define INDEX (16 * INNER + 4)

static uint64_t bytes_read, bytes_written, files_opened;

static int64_t counting_pread(void *ctx, int fd, void *out, size_t n, uint64_t offset)
{
	const int64_t got = sde__io_posix.pread(ctx, fd, out, n, offset);

	bytes_read += got > 0 ? (uint64_t)got : 0;
	return got;
}

static int64_t counting_pwrite(void *ctx, int fd, const void *in, size_t n, uint64_t offset)
{
	const int64_t put = sde__io_posix.pwrite(ctx, fd, in, n, offset);

	bytes_written += put > 0 ? (uint64_t)put : 0;
	return put;
}

static int counting_open(void *ctx, int dir, const char *name, int flags)
{
	files_opened++;
	return sde__io_posix.open_at(ctx, dir, name, flags);
}

/* The size of inner chunk `inner` of chunk `k`, by the index at the end of its file. */
static uint64_t inner_size(unsigned k, unsigned inner)
{
	char path[64];
	unsigned char *file;
	uint64_t size;
	size_t n;

	snprintf(path, sizeof(path), PATH "/data/c/0/0/%u", k);
	file = scratch_read(path, &n);
	assert_true(n > INDEX);
	memcpy(&size, file + n - INDEX + 16 * inner + 8, 8);
	free(file);
	return size;
}

struct reading {
	struct sde__io io;
	struct sde__zarr_hooks hooks;
	struct sde_storage *storage;
	struct sde_array *data;
};

static void begin(struct reading *r)
{
	struct sde_error error = { 0 };

	r->io = sde__io_posix;
	r->io.pread = counting_pread;
	r->io.open_at = counting_open;
	r->hooks = (struct sde__zarr_hooks){ .io = &r->io };
	twin_assert_ok(sde__zarr_open(&r->storage, PATH, NULL, &r->hooks, &error), error.text);
	assert_int_equal(sde_storage_values(r->storage, NULL, &r->data), 0);
	bytes_read = files_opened = 0;
}

static void end(struct reading *r)
{
	sde_array_close(r->data);
	assert_int_equal(sde_storage_close(r->storage), 0);
}

static void write_store(struct twin *twin)
{
	const struct sde_ensemble ensemble = { D, N, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;

	options.chunk_size = T;
	options.trajectories_per_chunk = WIDTH;
	options.sync = SDE_SYNC_NONE;
	twin_init(twin, &ensemble, 1, 5);
	assert_int_equal(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, NULL), 0);
	twin_store(twin, storage, T * CHUNKS - 3);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void one_trajectory_takes_its_own_inner_chunks_and_no_more(void **state)
{
	static double out[T * CHUNKS];
	struct reading r;
	struct twin twin;

	(void)state;
	write_store(&twin);
	for (uint64_t j = 0; j < N; j += 33) {
		const uint64_t start[3] = { 1, j, 0 }, count[3] = { 1, 1, T * CHUNKS - 3 };
		uint64_t expected = 0;

		for (unsigned k = 0; k < CHUNKS; k++)
			expected += HEAD + INDEX + inner_size(k, (unsigned)(j / WIDTH));
		begin(&r);
		assert_int_equal(sde_array_read(r.data, start, count, NULL, out, sizeof(out)), 0);
		assert_int_equal(bytes_read, expected);
		assert_int_equal(files_opened, CHUNKS);
		end(&r);
		for (uint64_t m = 0; m < twin.count; m++)
			assert_memory_equal(&out[m], twin.record[m]->data + (N + j) * 8, 8);
	}
	twin_free(&twin);
}

/* Read one after the other, each inner chunk of a chunk is taken once. */
static void snapshot_by_snapshot_takes_every_inner_chunk_once(void **state)
{
	static double out[D * N];
	uint64_t expected = 0;
	struct reading r;
	struct twin twin;

	(void)state;
	write_store(&twin);
	for (unsigned k = 0; k < CHUNKS; k++) {
		expected += HEAD + INDEX;
		for (unsigned i = 0; i < INNER; i++)
			expected += inner_size(k, i);
	}
	begin(&r);
	for (uint64_t m = 0; m < twin.count; m++) {
		const uint64_t start[3] = { 0, 0, m }, count[3] = { D, N, 1 };

		assert_int_equal(sde_array_read(r.data, start, count, NULL, out, sizeof(out)), 0);
		assert_memory_equal(out, twin.record[m]->data, sizeof(out));
	}
	assert_int_equal(bytes_read, expected);
	end(&r);
	twin_free(&twin);
}

/*
 * What was decoded to be read snapshot by snapshot lies wrongly for who reads all times of
 * trajectories, and the reverse: it is decoded once more when that pays, not each time.
 */
static void reading_in_both_directions_decodes_once_for_each(void **state)
{
	/* a cache line of 64 bytes for each number read: as many as the inner chunk has */
	enum { PATIENCE = D * WIDTH * T * 8 / 64, TIMES = PATIENCE / T };
	static double out[D * N];
	struct reading r;
	struct twin twin;
	uint64_t size;

	(void)state;
	write_store(&twin);
	size = inner_size(0, 0);
	begin(&r);
	for (int pass = 0; pass < 2; pass++)
		for (uint64_t j = 0; j < WIDTH; j++) {
			const uint64_t start[3] = { 0, 0, j }, snapshot[3] = { D, WIDTH, 1 };
			const uint64_t first[3] = { 1, j, 0 }, all_times[3] = { 1, 1, T };

			assert_int_equal(sde_array_read(r.data, start, snapshot, NULL, out,
							sizeof(out)), 0);
			for (uint64_t d = 0; d < D; d++)
				assert_memory_equal(out + d * WIDTH, twin.record[j]->data + d * N * 8,
						    WIDTH * 8);
			assert_int_equal(sde_array_read(r.data, first, all_times, NULL, out,
							sizeof(out)), 0);
			for (uint64_t m = 0; m < T; m++)
				assert_memory_equal(&out[m], twin.record[m]->data + (N + j) * 8, 8);
		}
	/* either kind is misplaced for `TIMES` reads, then the other is, and so on */
	assert_in_range(bytes_read, HEAD + INDEX + 2 * size,
			HEAD + INDEX + (1 + 2 * 2 * WIDTH / TIMES) * size);
	bytes_read = 0;
	for (uint64_t j = 0; j < WIDTH; j++) {
		const uint64_t first[3] = { 0, j, 0 }, all_times[3] = { 1, 1, T };

		assert_int_equal(sde_array_read(r.data, first, all_times, NULL, out, sizeof(out)), 0);
	}
	assert_in_range(bytes_read, 0, size);
	end(&r);
	twin_free(&twin);
}

/*
 * Chunks that lie alike in the blocks of time and iteration: those are 8192 long, and
 * the last one is written again until it is full. Zeros compress alike everywhere.
 */
static void a_chunk_costs_the_same_bytes_wherever_it_is(void **state)
{
	enum { SNAPSHOTS = 64, EACH = 8192 / SNAPSHOTS, FIRST = 5, BLOCKS = 3 };
	const struct sde_ensemble ensemble = { 1, 8, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	const double data[8] = { 0 };
	uint64_t written[BLOCKS];
	struct sde__io io = sde__io_posix;
	const struct sde__zarr_hooks hooks = { .io = &io, .synchronous = true };
	struct sde_storage *storage;

	(void)state;
	io.pread = counting_pread;
	io.pwrite = counting_pwrite;
	options.chunk_size = SNAPSHOTS;
	options.sync = SDE_SYNC_NONE;
	assert_int_equal(sde__zarr_create(&storage, PATH, &ensemble, &options, &hooks, NULL), 0);
	for (unsigned k = 0; k < BLOCKS * EACH; k++) {
		bytes_read = bytes_written = 0;
		for (unsigned i = 0; i < SNAPSHOTS; i++)
			assert_int_equal(sde_storage_store(storage, 0, data, 0), 0);
		assert_int_equal(sde_storage_save(storage), 0);
		assert_int_equal(bytes_read, 0);
		if (k % EACH == FIRST)
			written[k / EACH] = bytes_written;
	}
	/* a few digits more in the documents */
	for (unsigned b = 1; b < BLOCKS; b++)
		assert_in_range(written[b], written[0], written[0] + 64);
	assert_int_equal(sde_storage_close(storage), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(one_trajectory_takes_its_own_inner_chunks_and_no_more),
		SCRATCH_TEST(snapshot_by_snapshot_takes_every_inner_chunk_once),
		SCRATCH_TEST(reading_in_both_directions_decodes_once_for_each),
		SCRATCH_TEST(a_chunk_costs_the_same_bytes_wherever_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
