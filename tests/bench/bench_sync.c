/* SPDX-License-Identifier: MIT */
/* What each sync policy costs on a disk: the rate, and the time of a store. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pieces.h"

#include <stdio.h>
#include <stdlib.h>

static const struct policy {
	const char *name;
	enum sde_sync sync;
	unsigned interval_ms;
	double share;			/* of the load's snapshots: those that wait are slow */
} policies[] = {
	{ "chunk", SDE_SYNC_CHUNK, 0, 1 }, { "publish", SDE_SYNC_PUBLISH, 0, 1 },
	{ "interval 100 ms", SDE_SYNC_INTERVAL, 100, 1 },
	{ "snapshot", SDE_SYNC_SNAPSHOT, 0, 0.02 }, { "none", SDE_SYNC_NONE, 0, 1 },
};
#define POLICIES (sizeof(policies) / sizeof(policies[0]))

struct measured {
	struct samples rate, p50, p99, most, stalled;
};

static void run(const struct load *load, const struct policy *policy, const struct pool *pool,
		uint64_t snapshots, const char *path, struct measured *m)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	struct samples calls = { 0 };
	double began;

	options.chunk_size = load->chunk_size;
	options.sync = policy->sync;
	options.sync_interval_ms = policy->interval_ms;
	options.threads = 1;
	if (sde_zarr_storage_create(&storage, path, &load->ensemble, &options, &error))
		die(path, error.text);
	began = now_s();
	for (uint64_t i = 0; i < snapshots; i++) {
		const uint64_t t = now_ns();

		if (sde_storage_store(storage, (double)i, pool_snapshot(pool, i), i))
			die(path, "store failed");
		samples_add(&calls, (double)(now_ns() - t) * 1e-3);
	}
	sde_storage_info(storage, &info);
	if (sde_storage_close(storage))
		die(path, "close failed");
	samples_add(&m->rate, (double)snapshots * (double)load_snapshot_bytes(load) * 1e-9 /
		    (now_s() - began));
	samples_add(&m->p50, samples_quantile(&calls, 0.5));
	samples_add(&m->p99, samples_quantile(&calls, 0.99));
	samples_add(&m->most, samples_quantile(&calls, 1));
	samples_add(&m->stalled, (double)info.stalled_ns * 1e-6);
	samples_clear(&calls);
}

static void report(struct table *table, const struct load *load, struct pieces *pieces,
		   struct measured *measured)
{
	for (size_t i = 0; i < POLICIES; i++) {
		struct measured *m = &measured[i];
		const double limit = pieces_limit(pieces, BY_LIBBLOSC, 1, policies[i].sync != SDE_SYNC_NONE);
		const double rate = samples_median(&m->rate);

		TABLE_ROW(table, TEXT("load", load->name), TEXT("sync", policies[i].name),
			  NUMBER("rate", "GB/s", rate), NUMBER("limit", "GB/s", limit),
			  NUMBER("of_limit", "%", 100 * rate / limit),
			  NUMBER("synced_disk", "GB/s", samples_median(&pieces->synced)),
			  NUMBER("store_p50", "us", samples_median(&m->p50)),
			  NUMBER("store_p99", "us", samples_median(&m->p99)),
			  NUMBER("store_max", "us", samples_median(&m->most)),
			  NUMBER("stalled", "ms", samples_median(&m->stalled)));
		samples_clear(&m->rate);
		samples_clear(&m->p50);
		samples_clear(&m->p99);
		samples_clear(&m->most);
		samples_clear(&m->stalled);
	}
}

static void one_load(const struct settings *s, const struct load *load, struct table *table)
{
	const uint64_t snapshots = load_snapshots(load, s->quick) / 2;
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct measured measured[POLICIES] = { 0 };
	struct pieces pieces;
	struct pool pool;

	options.chunk_size = load->chunk_size;
	pool_fill(&pool, load, 2 * load->chunk_size);
	pieces_begin(&pieces, load, &options, &pool);
	for (unsigned round = 0; round < s->rounds; round++) {
		pieces_round(&pieces);
		pieces_disk_round(&pieces, s->disk);
		for (size_t i = 0; i < POLICIES; i++) {
			const struct policy *p = &policies[i];
			char *path = scratch_path(s->disk, "sync");

			run(load, p, &pool, (uint64_t)((double)snapshots * p->share) + 1, path,
			    &measured[i]);
			scratch_remove(path);
			free(path);
		}
	}
	report(table, load, &pieces, measured);
	pieces_end(&pieces);
	pool_free(&pool);
}

int main(int argc, char *argv[])
{
	const struct settings s = settings_parse(argc, argv);
	struct table table;

	table_begin(&table, &s, "sync", "each policy on the disk, one worker, as fast as it goes");
	one_load(&s, &loads[0], &table);
	if (!s.quick)
		one_load(&s, &loads[2], &table);
	return 0;
}
