/* SPDX-License-Identifier: MIT */
/*
 * Summing a store that is larger than the budget through sde_array_map's pointer,
 * next to chunk-wise sde_array_read: how fast, and in how much memory. Each
 * measurement is a process of its own.
 *
 * BENCH_MAP_GB: a store of so many raw GB on the disk, once, instead of the usual.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load.h"
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUDGET ((size_t)256 << 20)

enum way { READ, READ_AND_SUM, USERFAULTFD, SIGNAL, WAYS };
static const char *const way_name[WAYS] = {
	"read by chunks", "the same, summed", "pointer, userfaultfd", "pointer, signal",
};

/* What a child tells its parent. */
struct told {
	double seconds, memory, sum;
};

/* By four sums: one would wait for its own additions. */
static double sum_of(const double *x, uint64_t n)
{
	double s[4] = { 0 };
	uint64_t i = 0;

	for (; i + 4 <= n; i += 4)
		for (int k = 0; k < 4; k++)
			s[k] += x[i + (uint64_t)k];
	for (; i < n; i++)
		s[0] += x[i];
	return s[0] + s[1] + (s[2] + s[3]);
}

static double by_reading(struct sde_array *data, const struct load *load, bool summed)
{
	const uint64_t *shape = sde_array_shape(data);
	const size_t n = load->chunk_size * load_snapshot_bytes(load);
	uint64_t start[3] = { 0 }, count[3] = { shape[0], shape[1], 0 };
	double *out = malloc(n), sum = 0;

	if (!out)
		die("read", "out of memory");
	for (; start[2] < shape[2]; start[2] += count[2]) {
		count[2] = shape[2] - start[2] < load->chunk_size ? shape[2] - start[2] :
			   load->chunk_size;
		if (sde_array_read(data, start, count, NULL, out, n))
			die("read", "failed");
		if (summed)
			sum += sum_of(out, shape[0] * shape[1] * count[2]);
	}
	free(out);
	return sum;
}

/* Snapshot by snapshot, as sde_array_map(3) says. */
static double by_pointer(struct sde_array *data, enum way way)
{
	struct sde_map_options options = SDE_MAP_OPTIONS_INIT;
	const uint64_t *shape = sde_array_shape(data);
	struct sde_error error = { 0 };
	int64_t strides[3];
	const void *base;
	double sum = 0;

	options.budget = BUDGET;
	options.paging = way == SIGNAL ? SDE_PAGING_SIGNAL : SDE_PAGING_USERFAULTFD;
	if (sde_array_map_with(data, &options, &base, strides)) {
		if (sde_array_error(data, &error) == SDE_E_UNSUPPORTED)
			return (double)NAN;
		die("map", error.text);
	}
	for (uint64_t k = 0; k < shape[2]; k++)
		for (uint64_t d = 0; d < shape[0]; d++)
			sum += sum_of((const double *)(const void *)((const char *)base +
					(int64_t)d * strides[0] + (int64_t)k * strides[2]), shape[1]);
	if (sde_array_error(data, &error))
		die("map", error.text);
	return sum;
}

static void measure_here(const char *path, const struct load *load, enum way way, unsigned threads,
			 struct told *told)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	const double before = (double)peak_memory(), began = now_s();
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct sde_array *data;

	options.threads = threads;
	if (sde_storage_open(&storage, path, &options, &error))
		die(path, error.text);
	if (sde_storage_values(storage, NULL, &data))
		die(path, "no values");
	sde_storage_close(storage);
	told->sum = way <= READ_AND_SUM ? by_reading(data, load, way == READ_AND_SUM) :
					  by_pointer(data, way);
	sde_array_close(data);
	told->seconds = isnan(told->sum) ? (double)NAN : now_s() - began;
	told->memory = (double)peak_memory() - before;
}

static struct told measure(const char *path, const struct load *load, enum way way, unsigned threads)
{
	struct told told = { 0 };
	int ends[2], status;
	pid_t child;

	fflush(NULL);
	if (pipe(ends))
		die("pipe", "none");
	child = fork();
	if (child < 0)
		die("fork", "failed");
	if (!child) {
		measure_here(path, load, way, threads, &told);
		_exit(write(ends[1], &told, sizeof(told)) != (ssize_t)sizeof(told));
	}
	close(ends[1]);
	if (read(ends[0], &told, sizeof(told)) != (ssize_t)sizeof(told) ||
	    waitpid(child, &status, 0) != child || status)
		die(way_name[way], "the process failed");
	close(ends[0]);
	return told;
}

static void write_store(const struct load *load, const char *path, uint64_t total)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	struct pool pool;

	pool_fill(&pool, load, 2 * load->chunk_size);
	options.chunk_size = load->chunk_size;
	options.sync = SDE_SYNC_NONE;
	if (sde_zarr_storage_create(&storage, path, &load->ensemble, &options, &error))
		die(path, error.text);
	for (uint64_t i = 0; i < total; i++)
		if (sde_storage_store(storage, (double)i, pool_snapshot(&pool, i), i))
			die(path, "store failed");
	if (sde_storage_close(storage))
		die(path, "close failed");
	pool_free(&pool);
}

static void tell(struct table *table, const struct load *load, double bytes, unsigned threads,
		 struct samples seconds[WAYS], const double memory[WAYS])
{
	const double read = samples_median(&seconds[READ]);
	const double summed = samples_median(&seconds[READ_AND_SUM]);

	for (unsigned w = 0; w < WAYS; w++) {
		const double median = samples_median(&seconds[w]);

		TABLE_ROW(table, TEXT("load", load->name), NUMBER("raw", "GB", bytes * 1e-9),
			  NUMBER("threads", "", threads), TEXT("way", way_name[w]),
			  NUMBER("rate", "GB/s", bytes * 1e-9 / median),
			  NUMBER("of_read", "%", 100 * read / median),
			  NUMBER("of_summed", "%", 100 * summed / median),
			  NUMBER("worst", "GB/s", bytes * 1e-9 / samples_quantile(&seconds[w], 1)),
			  NUMBER("best", "GB/s", bytes * 1e-9 / samples_quantile(&seconds[w], 0)),
			  NUMBER("memory", "MiB", memory[w] / 1048576));
		samples_clear(&seconds[w]);
	}
}

static void one_load(const struct settings *s, const struct load *load, double gigabytes,
		     struct table *table)
{
	const bool large = gigabytes > 3;
	const uint64_t total = (uint64_t)(gigabytes * 1e9) / load_snapshot_bytes(load) /
			       load->chunk_size * load->chunk_size;
	char *path = scratch_path(s->tmpfs && !large ? s->tmpfs : s->disk, "map");

	write_store(load, path, total);
	for (unsigned threads = 1; threads < 3; threads++) {
		struct samples seconds[WAYS] = { 0 };
		double memory[WAYS] = { 0 }, sum = 0;

		for (unsigned round = 0; round < (large ? 1 : s->rounds); round++)
			for (unsigned w = 0; w < WAYS; w++) {
				const struct told told = measure(path, load, (enum way)w, threads);

				if (w == READ_AND_SUM)
					sum = told.sum;
				/* the order of additions differs */
				if (w > READ_AND_SUM && fabs(told.sum - sum) > 1e-9 * (double)total *
				    (double)load_snapshot_bytes(load))
					die(way_name[w], "another sum");
				samples_add(&seconds[w], told.seconds);
				memory[w] = told.memory > memory[w] ? told.memory : memory[w];
			}
		tell(table, load, (double)total * (double)load_snapshot_bytes(load), threads,
		     seconds, memory);
	}
	scratch_remove(path);
	free(path);
}

int main(int argc, char *argv[])
{
	const struct settings s = settings_parse(argc, argv);
	const char *given = getenv("BENCH_MAP_GB");
	const double gigabytes = given ? strtod(given, NULL) : s.quick ? 1 : 2;
	struct table table;

	if (!(gigabytes >= 0.5 && gigabytes < 1e6))
		die("BENCH_MAP_GB", "not a number of GB");
	table_begin(&table, &s, "map",
		    "the sum of a closed store in 256 MiB, by a pointer and by reads; raw GB/s");
	for (size_t i = 0; i < (s.quick || given ? 1 : 2); i++)
		one_load(&s, &loads[i], gigabytes, &table);
	return 0;
}
