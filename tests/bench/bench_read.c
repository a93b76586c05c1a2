/* SPDX-License-Identifier: MIT */
/* Reading a closed store on 1 and 2 threads against read + decode + copy. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pieces.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum way { WHOLE, BY_SNAPSHOT, TRAJECTORY, WAYS };
static const char *const way_name[WAYS] = {
	"whole, by chunks", "snapshot by snapshot", "all times of a trajectory",
};

/* Trajectories that are read, at least 8 inner chunks apart. */
#define TRAJECTORIES 8

struct job {
	const struct load *load;
	const struct sde_array *data;
	enum way way;
	uint64_t first, count;		/* snapshots, or trajectories */
	uint64_t total, step;		/* M, snapshots a read */
	uint64_t apart;			/* trajectories between two that are read */
	pthread_t thread;
};

static void read_one(const struct job *job, const uint64_t *start, const uint64_t *count,
		     void *out)
{
	const size_t n = (size_t)(count[0] * count[1] * count[2]) *
			 (job->load->ensemble.dtype == SDE_FLOAT32 ? 4 : 8);

	if (sde_array_read(job->data, start, count, NULL, out, n))
		die("read", way_name[job->way]);
}

static void *work(void *arg)
{
	const struct job *job = arg;
	const struct sde_ensemble *e = &job->load->ensemble;
	const uint64_t step = job->way == BY_SNAPSHOT ? 1 : job->step;
	const size_t room = job->way == TRAJECTORY ? job->total * 8 :
			    load_snapshot_bytes(job->load) * step;
	void *out = malloc(room);

	if (!out)
		die("read", "out of memory");
	for (uint64_t i = 0; i < job->count; i += job->way == TRAJECTORY ? 1 : step) {
		uint64_t start[3] = { 0, 0, job->first + i };
		uint64_t count[3] = { e->dimension, e->trajectories, step };

		if (job->way == TRAJECTORY) {
			start[1] = (job->first + i) * job->apart % e->trajectories;
			start[2] = 0;
			count[0] = count[1] = 1;
			count[2] = job->total;
		} else if (count[2] > job->count - i) {
			count[2] = job->count - i;
		}
		read_one(job, start, count, out);
	}
	free(out);
	return NULL;
}

/* Seconds for all of it on `threads`, each its own part of a handle they share. */
static double read_all(const struct load *load, const char *path, enum way way, unsigned threads,
		       uint64_t total, uint64_t step, uint64_t apart)
{
	const uint64_t things = way == TRAJECTORY ? TRAJECTORIES : total;
	/* a thread begins where a chunk does */
	const uint64_t each = way == TRAJECTORY ? things / threads :
			      (total / threads + step - 1) / step * step;
	struct sde_storage *storage;
	struct sde_array *data[2];
	struct job job[2];
	double began;

	if (sde_storage_open(&storage, path, NULL, NULL))
		die(path, "cannot open");
	began = now_s();
	for (unsigned i = 0; i < threads; i++) {
		const uint64_t first = i * each < things ? i * each : things;

		if (sde_storage_values(storage, NULL, &data[i]))
			die(path, "no values");
		job[i] = (struct job){ .load = load, .data = data[i], .way = way, .first = first,
				       .count = i + 1 < threads && first + each < things ? each :
						things - first,
				       .total = total, .step = step, .apart = apart };
		if (pthread_create(&job[i].thread, NULL, work, &job[i]))
			die("read", "no thread");
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(job[i].thread, NULL);
		sde_array_close(data[i]);
	}
	began = now_s() - began;
	sde_storage_close(storage);
	return began;
}

static void write_store(const struct load *load, const struct pool *pool, const char *path,
			uint64_t total)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	options.chunk_size = load->chunk_size;
	options.sync = SDE_SYNC_NONE;
	if (sde_zarr_storage_create(&storage, path, &load->ensemble, &options, &error))
		die(path, error.text);
	for (uint64_t i = 0; i < total; i++)
		if (sde_storage_store(storage, (double)i, pool_snapshot(pool, i), i))
			die(path, "store failed");
	if (sde_storage_close(storage))
		die(path, "close failed");
}

/* Raw bytes that have to be decoded for it: of whole inner chunks for a trajectory. */
static double decoded_bytes(const struct load *load, const struct sde__geometry *g, enum way way,
			    uint64_t total)
{
	const uint64_t chunks = (total + g->chunk_size - 1) / g->chunk_size;

	if (way != TRAJECTORY)
		return (double)total * (double)load_snapshot_bytes(load);
	return (double)TRAJECTORIES * (double)chunks * (double)sde__inner_bytes(g);
}

static void one_load(const struct settings *s, const struct load *load, struct table *table)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	const uint64_t total = load_snapshots(load, s->quick) / load->chunk_size * load->chunk_size;
	char *path = scratch_path(s->tmpfs ? s->tmpfs : s->disk, "read");
	struct samples seconds[WAYS][2] = { 0 };
	struct pieces pieces;
	struct pool pool;

	options.chunk_size = load->chunk_size;
	pool_fill(&pool, load, 2 * load->chunk_size);
	pieces_begin(&pieces, load, &options, &pool);
	write_store(load, &pool, path, total);
	for (unsigned round = 0; round < s->rounds; round++) {
		pieces_round(&pieces);
		pieces_files_round(&pieces, s->tmpfs ? s->tmpfs : s->disk);
		for (unsigned w = 0; w < WAYS; w++)
			for (unsigned t = 0; t < 2; t++)
				samples_add(&seconds[w][t],
					    read_all(load, path, (enum way)w, t + 1, total,
						     load->chunk_size,
						     8 * pieces.config.layout.geometry.inner_width + 1));
	}
	for (unsigned w = 0; w < WAYS; w++)
		for (unsigned t = 0; t < 2; t++) {
			const double bytes = decoded_bytes(load, &pieces.config.layout.geometry,
							   (enum way)w, total);
			const double rate = bytes * 1e-9 / samples_median(&seconds[w][t]);
			const unsigned threads = t + 1 < cores() ? t + 1 : cores();
			const double limit = pieces_read_limit(&pieces, BY_LIBBLOSC, threads,
							       w == BY_SNAPSHOT);
			const double ours = pieces_read_limit(&pieces, BY_OURS, threads,
							      w == BY_SNAPSHOT);

			TABLE_ROW(table, TEXT("load", load->name), TEXT("way", way_name[w]),
				  NUMBER("threads", "", t + 1), NUMBER("decoded", "GB/s", rate),
				  NUMBER("limit", "GB/s", limit),
				  NUMBER("of_limit", "%", 100 * rate / limit),
				  NUMBER("of_ours", "%", 100 * rate / ours),
				  NUMBER("worst", "GB/s", bytes * 1e-9 /
					 samples_quantile(&seconds[w][t], 1)),
				  NUMBER("best", "GB/s", bytes * 1e-9 /
					 samples_quantile(&seconds[w][t], 0)));
			samples_clear(&seconds[w][t]);
		}
	scratch_remove(path);
	free(path);
	pieces_end(&pieces);
	pool_free(&pool);
}

int main(int argc, char *argv[])
{
	const struct settings s = settings_parse(argc, argv);
	struct table table;

	table_begin(&table, &s, "read",
		    "a closed store in the page cache, blosc-lz4-bitshuffle; raw GB/s decoded");
	for (size_t i = 0; i < load_count; i++)
		if (load_is_asked(&loads[i]) && loads[i].chunk_size &&
		    (!s.quick || i == 0 || i == 2))
			one_load(&s, &loads[i], &table);
	return 0;
}
