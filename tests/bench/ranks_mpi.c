/* SPDX-License-Identifier: MIT */
/*
 * All ranks into one store, against as many stores of the same bytes: ingest, what a
 * store takes, and the files. See README.md for the rows. Under mpirun.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load.h"
#include "measure.h"

#include <sdestore/mpi.h>

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATH 4096

enum { ONE, OWN, WAYS };
static const char *const ways[WAYS] = { "one store", "a store each" };

static int rank, size;

struct job {
	const struct load *load;	/* of each rank */
	const struct pool *pool;
	uint64_t snapshots;
	enum sde_sync sync;
	double period;			/* seconds between two stores; 0: at full speed */
};

static struct sde_storage *create(const struct job *job, int way, const char *path)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	char own[PATH];
	int ret;

	options.chunk_size = job->load->chunk_size;
	options.sync = job->sync;
	options.threads = 1;
	options.overwrite = 1;
	if (way == ONE) {
		ret = sde_mpi_zarr_storage_create(&storage, MPI_COMM_WORLD, path, &job->load->ensemble,
						  &options, &error);
	} else {
		ret = sde_mpi_storage_name(path, rank, own, sizeof(own));
		if (!ret)
			ret = sde_zarr_storage_create(&storage, own, &job->load->ensemble, &options,
						      &error);
	}
	if (ret)
		die(path, error.text);
	return storage;
}

/* Until it is time for the next one. */
static void pace(double until)
{
	while (now_s() < until)
		nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
}

/* Where all ranks are: the first one's place. */
static void agree_on(char path[PATH], const char *directory)
{
	char *own = scratch_path(directory, "ranks");

	snprintf(path, PATH, "%s", own);
	free(own);
	MPI_Bcast(path, PATH, MPI_CHAR, 0, MPI_COMM_WORLD);
}

static uint64_t files;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)path, (void)st, (void)ftw;
	files += type == FTW_F;
	return 0;
}

/* Of this rank: seconds from the first store to the end of close; each store's in `took`. */
static double ingest(const struct job *job, int way, const char *path, struct samples *took)
{
	struct sde_storage *storage = create(job, way, path);
	struct sde_error error = { 0 };
	double began, seconds;

	MPI_Barrier(MPI_COMM_WORLD);
	began = now_s();
	for (uint64_t i = 0; i < job->snapshots; i++) {
		uint64_t t;

		if (job->period > 0)
			pace(began + (double)i * job->period);
		t = now_ns();
		if (sde_storage_store(storage, (double)i, pool_snapshot(job->pool, i), i))
			die(path, "store failed");
		if (took)
			samples_add(took, (double)(now_ns() - t));
	}
	if (sde_storage_close_error(storage, &error))
		die(path, error.text);
	MPI_Barrier(MPI_COMM_WORLD);
	seconds = now_s() - began;
	return seconds;
}

static void clean(const char *path)
{
	char own[PATH];

	MPI_Barrier(MPI_COMM_WORLD);
	if (!rank)
		scratch_remove(path);
	if (!sde_mpi_storage_name(path, rank, own, sizeof(own)))
		scratch_remove(own);
	MPI_Barrier(MPI_COMM_WORLD);
}

static void ingest_rows(const struct settings *settings, struct table *table, const char *where,
			const char *directory, enum sde_sync sync, const struct load *load,
			const struct pool *pool)
{
	struct job job = { load, pool, load_snapshots(load, settings->quick), sync, 0 };
	const double bytes = (double)size * (double)job.snapshots * (double)load_snapshot_bytes(load);
	struct samples rate[WAYS] = { { 0 } };
	char path[PATH];

	if (!directory)
		return;
	agree_on(path, directory);
	/* the first round warms up */
	for (unsigned round = 0; round <= settings->rounds; round++)
		for (int i = 0; i < WAYS; i++) {
			const int way = (i + (int)round) % WAYS;
			const double seconds = ingest(&job, way, path, NULL);

			if (round)
				samples_add(&rate[way], bytes / seconds / 1e9);
			clean(path);
		}
	if (!rank)
		TABLE_ROW(table, TEXT("load", load->name), TEXT("where", where),
			  NUMBER("ranks", "", size),
			  NUMBER("one", "GB/s", samples_median(&rate[ONE])),
			  NUMBER("own", "GB/s", samples_median(&rate[OWN])),
			  NUMBER("ratio", "", samples_median(&rate[ONE]) / samples_median(&rate[OWN])));
	for (int i = 0; i < WAYS; i++)
		samples_clear(&rate[i]);
}

/* Paced, so that workers keep up. The slowest rank's quantiles count. */
static void latency_row(const struct settings *settings, struct table *table, const struct load *load,
			const struct pool *pool)
{
	const double bytes = (double)load_snapshot_bytes(load);
	struct job job = { load, pool, settings->quick ? 200 : 500, SDE_SYNC_DEFAULT,
			   bytes / (0.15e9 / size) };
	double p50[WAYS], p99[WAYS];
	struct samples middle[WAYS] = { { 0 } }, high[WAYS] = { { 0 } };
	char path[PATH];

	if (!settings->tmpfs)
		return;
	agree_on(path, settings->tmpfs);
	for (unsigned round = 0; round < settings->rounds; round++)
		for (int i = 0; i < WAYS; i++) {
			const int way = (i + (int)round) % WAYS;
			struct samples took = { 0 };
			double own[2], worst[2];

			ingest(&job, way, path, &took);
			own[0] = samples_quantile(&took, 0.5);
			own[1] = samples_quantile(&took, 0.99);
			MPI_Reduce(own, worst, 2, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
			samples_add(&middle[way], worst[0]);
			samples_add(&high[way], worst[1]);
			samples_clear(&took);
			clean(path);
		}
	for (int i = 0; i < WAYS; i++) {
		p50[i] = samples_median(&middle[i]) / 1e3;
		p99[i] = samples_median(&high[i]) / 1e3;
		samples_clear(&middle[i]);
		samples_clear(&high[i]);
	}
	if (!rank)
		TABLE_ROW(table, TEXT("load", load->name), NUMBER("ranks", "", size),
			  NUMBER("one_p50", "us", p50[ONE]), NUMBER("own_p50", "us", p50[OWN]),
			  NUMBER("p50_ratio", "", p50[ONE] / p50[OWN]),
			  NUMBER("one_p99", "us", p99[ONE]), NUMBER("own_p99", "us", p99[OWN]),
			  NUMBER("p99_ratio", "", p99[ONE] / p99[OWN]));
}

static void files_rows(const struct settings *settings, struct table *table)
{
	static const struct load small = { "1 x 64", { 1, 64, SDE_FLOAT64 }, 1000, 1 };
	const char *directory = settings->tmpfs ? settings->tmpfs : settings->disk;
	struct job job = { &small, NULL, settings->quick ? 10000 : 100000, SDE_SYNC_NONE, 0 };
	struct pool pool;
	char path[PATH], own[PATH];

	agree_on(path, directory);
	pool_fill(&pool, &small, 1000);
	job.pool = &pool;
	for (int way = 0; way < WAYS; way++) {
		const double seconds = ingest(&job, way, path, NULL);

		files = 0;
		for (int r = 0; !rank && r < (way == ONE ? 1 : size); r++)
			if (way == ONE)
				nftw(path, count_file, 16, FTW_PHYS);
			else if (!sde_mpi_storage_name(path, r, own, sizeof(own)))
				nftw(own, count_file, 16, FTW_PHYS);
		if (!rank)
			TABLE_ROW(table, TEXT("way", ways[way]), NUMBER("ranks", "", size),
				  NUMBER("snapshots", "", (double)job.snapshots),
				  NUMBER("chunks", "", (double)size * (double)(job.snapshots / small.chunk_size)),
				  NUMBER("files", "", (double)files), NUMBER("took", "s", seconds));
		clean(path);
	}
	pool_free(&pool);
}

int main(int argc, char *argv[])
{
	static const struct load load = { "1 x 50000", { 1, 50000, SDE_FLOAT64 }, 50, 400 };
	struct table ingests, latencies, counted;
	struct settings settings;
	struct pool pool;
	int level;

	MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	settings = settings_parse(argc, argv);
	pool_fill(&pool, &load, 100);
	table_begin(&ingests, &settings, "ranks", "ingest of all ranks, into one store and into own ones");
	ingest_rows(&settings, &ingests, "tmpfs", settings.tmpfs, SDE_SYNC_PUBLISH, &load, &pool);
	ingest_rows(&settings, &ingests, "disk", settings.disk, SDE_SYNC_PUBLISH, &load, &pool);
	table_begin(&latencies, &settings, "ranks_store", "a store call, paced to 0.15 GB/s of all ranks");
	latency_row(&settings, &latencies, &load, &pool);
	table_begin(&counted, &settings, "ranks_files", "files of a long run");
	files_rows(&settings, &counted);
	pool_free(&pool);
	MPI_Finalize();
	return 0;
}
