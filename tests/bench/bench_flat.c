/* SPDX-License-Identifier: MIT */
/*
 * Bounded and flat: memory, time and bytes a snapshot of short and of long runs, each
 * in a process of its own; and what publishing costs at the beginning and at the end.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load.h"
#include "measure.h"
#include "zarr_storage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct load load = { "2 x 64", { 2, 64, SDE_FLOAT64 }, 100, 0 };

/* ------------------------------------------------------------------------
 * Bytes that go through the io table
 */

static uint64_t written, reread;	/* atomic: workers write */

static int64_t counting_pwrite(void *ctx, int fd, const void *in, size_t n, uint64_t offset)
{
	__atomic_add_fetch(&written, n, __ATOMIC_RELAXED);
	return sde__io_posix.pwrite(ctx, fd, in, n, offset);
}

static int64_t counting_pread(void *ctx, int fd, void *out, size_t n, uint64_t offset)
{
	__atomic_add_fetch(&reread, n, __ATOMIC_RELAXED);
	return sde__io_posix.pread(ctx, fd, out, n, offset);
}

/* ------------------------------------------------------------------------
 * One run
 */

/* What a child tells its parent. */
struct told {
	double seconds;			/* of all stores and the save */
	double early, late;		/* seconds a snapshot in the 2nd and the last tenth */
	double early_bytes, late_bytes;	/* written a snapshot there */
	double reread;			/* bytes in all */
	double first_save, last_save;	/* of an incomplete chunk, ms */
	double memory, estimate;
};

static double timed_save(struct sde_storage *storage)
{
	const double began = now_s();

	if (sde_storage_save(storage))
		die("save", "failed");
	return (now_s() - began) * 1e3;
}

static void store_all(struct sde_storage *storage, const struct pool *pool, uint64_t m,
		      struct told *told)
{
	const uint64_t tenth = m / 10;
	uint64_t bytes = 0;
	double began = now_s(), at = 0;

	for (uint64_t i = 0; i < m; i++) {
		if (i == tenth || i == m - tenth) {
			at = now_s();
			bytes = __atomic_load_n(&written, __ATOMIC_RELAXED);
		}
		if (sde_storage_store(storage, (double)i, pool_snapshot(pool, i), i))
			die("store", "failed");
		if (i + 1 == 2 * tenth) {
			told->early = (now_s() - at) / (double)tenth;
			told->early_bytes = (double)(__atomic_load_n(&written, __ATOMIC_RELAXED) -
						     bytes) / (double)tenth;
		}
		/* a chunk and a half, early on */
		if (i + 1 == load.chunk_size * 3 / 2 && m > 4 * load.chunk_size) {
			const double t = now_s();

			told->first_save = timed_save(storage);
			began += now_s() - t;
		}
	}
	told->late = (now_s() - at) / (double)tenth;
	told->late_bytes = (double)(__atomic_load_n(&written, __ATOMIC_RELAXED) - bytes) /
			   (double)tenth;
	if (sde_storage_save(storage))
		die("save", "failed");
	told->seconds = now_s() - began;
	/* half a chunk more, as at the beginning */
	for (uint64_t i = 0; i < load.chunk_size / 2; i++)
		if (sde_storage_store(storage, 0, pool_snapshot(pool, i), i))
			die("store", "failed");
	told->last_save = timed_save(storage);
}

static void run(const char *path, const struct pool *pool, uint64_t m, struct told *told)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde__io io = sde__io_posix;
	const struct sde__zarr_hooks hooks = { .io = &io };
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	const uint64_t before = peak_memory();

	io.pwrite = counting_pwrite;
	io.pread = counting_pread;
	options.chunk_size = load.chunk_size;
	options.threads = 1;
	options.sync = SDE_SYNC_NONE;
	if (sde__zarr_create(&storage, path, &load.ensemble, &options, &hooks, &error))
		die(path, error.text);
	store_all(storage, pool, m, told);
	sde_storage_info(storage, &info);
	told->reread = (double)reread;
	told->memory = (double)(peak_memory() - before);
	told->estimate = (double)info.memory_bytes;
	if (sde_storage_close(storage))
		die(path, "close failed");
}

/* In a child, whose peak of memory is its own. */
static struct told run_apart(const char *path, const struct pool *pool, uint64_t m)
{
	struct told told = { .first_save = NAN };
	int ends[2], status;
	pid_t child;

	if (pipe(ends))
		die("pipe", "failed");
	fflush(stdout);
	child = fork();
	if (child < 0)
		die("fork", "failed");
	if (!child) {
		run(path, pool, m, &told);
		_exit(write(ends[1], &told, sizeof(told)) == sizeof(told) ? 0 : 1);
	}
	close(ends[1]);
	if (read(ends[0], &told, sizeof(told)) != sizeof(told) ||
	    waitpid(child, &status, 0) != child || status)
		die("flat", "a run failed");
	close(ends[0]);
	scratch_remove(path);
	return told;
}

struct measured {
	struct samples each, early, late, first_save, last_save, memory;
	struct told last;
};

static void report(struct table *table, uint64_t m, struct measured *d)
{
	const double early = samples_median(&d->early), late = samples_median(&d->late);

	TABLE_ROW(table, NUMBER("M", "", (double)m),
		  NUMBER("each", "ns", samples_median(&d->each) * 1e9),
		  NUMBER("2nd_tenth", "ns", early * 1e9), NUMBER("last_tenth", "ns", late * 1e9),
		  NUMBER("late_to_early", "", late / early),
		  NUMBER("bytes_early", "B", d->last.early_bytes),
		  NUMBER("bytes_late", "B", d->last.late_bytes),
		  NUMBER("reread", "B", d->last.reread),
		  NUMBER("first_save", "ms", samples_median(&d->first_save)),
		  NUMBER("last_save", "ms", samples_median(&d->last_save)),
		  NUMBER("peak_memory", "MB", samples_median(&d->memory) * 1e-6),
		  NUMBER("estimate", "MB", d->last.estimate * 1e-6),
		  NUMBER("of_estimate", "", samples_median(&d->memory) / d->last.estimate));
}

int main(int argc, char *argv[])
{
	const struct settings s = settings_parse(argc, argv);
	const uint64_t lengths[] = { 1000, 10000, s.quick ? 100000 : 1000000 };
	struct measured measured[3] = { 0 };
	struct table table;
	struct pool pool;

	pool_fill(&pool, &load, 2 * load.chunk_size);
	for (unsigned round = 0; round < s.rounds; round++)
		for (int i = 0; i < 3; i++) {
			char *path = scratch_path(s.tmpfs ? s.tmpfs : s.disk, "flat");
			struct measured *d = &measured[i];

			d->last = run_apart(path, &pool, lengths[i]);
			samples_add(&d->each, d->last.seconds / (double)lengths[i]);
			samples_add(&d->early, d->last.early);
			samples_add(&d->late, d->last.late);
			if (!isnan(d->last.first_save))
				samples_add(&d->first_save, d->last.first_save);
			samples_add(&d->last_save, d->last.last_save);
			samples_add(&d->memory, d->last.memory);
			free(path);
		}
	table_begin(&table, &s, "flat",
		    "2 x 64, chunks of 100, sync none, one worker; a process for each run");
	for (int i = 0; i < 3; i++)
		report(&table, lengths[i], &measured[i]);
	pool_free(&pool);
	return 0;
}
