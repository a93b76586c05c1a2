/* SPDX-License-Identifier: MIT */
/*
 * Sustained ingest, from the first store to the end of close, against what the pieces
 * allow and what others reach. See README.md for the rows.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pieces.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TMPFS_1, TMPFS_2, TMPFS_RAW, DISK_CHUNK, DISK_PUBLISH, HDF5, HDF5_DEFLATE, ZARR_PYTHON,
       VARIANTS };

static const struct variant {
	const char *name;
	enum sde_codec codec;
	enum sde_sync sync;
	unsigned workers;
	bool disk;
	const char *peer;	/* a command of tests/bench, or NULL: this library */
	bool slow;		/* once, and not with --quick */
} variants[VARIANTS] = {
	{ "tmpfs, 1 worker", SDE_CODEC_DEFAULT, SDE_SYNC_PUBLISH, 1, false, NULL, false },
	{ "tmpfs, 2 workers", SDE_CODEC_DEFAULT, SDE_SYNC_PUBLISH, 2, false, NULL, false },
	{ "tmpfs, no codec, none", SDE_CODEC_NONE, SDE_SYNC_NONE, 1, false, NULL, false },
	{ "disk, sync chunk", SDE_CODEC_DEFAULT, SDE_SYNC_CHUNK, 1, true, NULL, false },
	{ "disk, sync publish", SDE_CODEC_DEFAULT, SDE_SYNC_PUBLISH, 1, true, NULL, false },
	{ "tmpfs, HDF5, no codec", SDE_CODEC_NONE, SDE_SYNC_NONE, 1, false, "peer_hdf5", false },
	{ "tmpfs, HDF5, deflate 1", SDE_CODEC_DEFAULT, SDE_SYNC_NONE, 1, false,
	  "peer_hdf5 --deflate", true },
	{ "tmpfs, zarr-python", SDE_CODEC_DEFAULT, SDE_SYNC_NONE, 1, false, "peer_zarr.py", false },
};

/* The slowest store is looked for among so many bytes of them, if they are small. */
#define TIMED 32768

struct measured {
	struct samples rate;		/* raw GB/s */
	struct samples slowest;		/* store of a run, ms */
	double ratio;
};

static const char *programs;		/* the directory of the peers */

static struct sde_zarr_options options_of(const struct load *load, const struct variant *v)
{
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;

	o.chunk_size = load->chunk_size;
	o.codec = v->codec;
	o.sync = v->sync;
	o.threads = v->workers;
	return o;
}

static void ingest(const struct load *load, const struct variant *v, const struct pool *pool,
		   uint64_t snapshots, const char *path, struct measured *m)
{
	const struct sde_zarr_options options = options_of(load, v);
	const uint64_t group = 1 + TIMED / load_snapshot_bytes(load);
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	uint64_t slowest = 0;
	double began;

	if (sde_zarr_storage_create(&storage, path, &load->ensemble, &options, &error))
		die(path, error.text);
	began = now_s();
	/* a look at the clock takes as long as storing 1 KiB: not for each of those */
	for (uint64_t i = 0, before = now_ns(); i < snapshots; i++) {
		uint64_t now;

		if (sde_storage_store(storage, (double)i, pool_snapshot(pool, i), i))
			die(path, "store failed");
		if ((i + 1) % group)
			continue;
		now = now_ns();
		if (now - before > slowest)
			slowest = now - before;
		before = now;
	}
	if (sde_storage_save(storage) || sde_storage_info(storage, &info) ||
	    sde_storage_close(storage))
		die(path, "close failed");
	samples_add(&m->rate, (double)snapshots * (double)load_snapshot_bytes(load) * 1e-9 /
		    (now_s() - began));
	samples_add(&m->slowest, (double)slowest * 1e-6);
	m->ratio = (double)info.raw_bytes / (double)info.stored_bytes;
}

/* A peer prints seconds, bytes of its files, and the slowest append in ms. */
static void run_peer(const struct settings *s, const struct load *load, const struct variant *v,
		     uint64_t snapshots, const char *path, struct measured *m)
{
	const double raw = (double)snapshots * (double)load_snapshot_bytes(load);
	char command[1024];
	double out[3];

	(void)s;
	snprintf(command, sizeof(command), "%s/%s %zu %llu '%s' 2>/dev/null", programs, v->peer,
		 (size_t)(load - loads), (unsigned long long)snapshots, path);
	if (run_program(command, out, 3) < 3)
		return;
	samples_add(&m->rate, raw * 1e-9 / out[0]);
	samples_add(&m->slowest, out[2]);
	m->ratio = raw / out[1];
}

static void measure(const struct settings *s, const struct load *load, const struct pool *pool,
		    struct pieces pieces[2], struct measured *measured)
{
	const uint64_t snapshots = load_snapshots(load, s->quick);

	for (int i = 0; i < 2; i++) {
		pieces_round(&pieces[i]);
		if (s->tmpfs)
			pieces_files_round(&pieces[i], s->tmpfs);
		pieces_disk_round(&pieces[i], s->disk);
	}
	for (int i = 0; i < VARIANTS; i++) {
		const struct variant *v = &variants[i];
		char *path = scratch_path(v->disk || !s->tmpfs ? s->disk : s->tmpfs, "ingest");

		if (v->peer && !(v->slow && (s->quick || measured[i].rate.count)))
			run_peer(s, load, v, snapshots, path, &measured[i]);
		else if (!v->peer)
			ingest(load, v, pool, snapshots, path, &measured[i]);
		scratch_remove(path);
		free(path);
	}
}

/* What the issue of each row is held against: its own limit, or HDF5 for raw stores. */
static void report(struct table *table, const struct load *load, struct pieces pieces[2],
		   struct measured *measured)
{
	for (int i = 0; i < VARIANTS; i++) {
		const struct variant *v = &variants[i];
		struct measured *m = &measured[i];
		const double rate = samples_median(&m->rate);
		struct pieces *p = &pieces[v->codec == SDE_CODEC_NONE];
		const double limit = v->peer ? NAN : pieces_limit(p, BY_LIBBLOSC, v->workers, v->disk);
		const double ours = v->peer ? NAN : pieces_limit(p, BY_OURS, v->workers, v->disk);

		if (v->peer && !m->rate.count)
			continue;
		TABLE_ROW(table, TEXT("load", load->name), TEXT("case", v->name),
			  NUMBER("rate", "GB/s", rate), NUMBER("limit", "GB/s", limit),
			  NUMBER("of_limit", "%", 100 * rate / limit),
			  NUMBER("of_ours", "%", 100 * rate / ours),
			  NUMBER("slowest_store", "ms", samples_median(&m->slowest)),
			  NUMBER("ratio", "", m->ratio),
			  NUMBER("worst", "GB/s", samples_quantile(&m->rate, 0)),
			  NUMBER("best", "GB/s", samples_quantile(&m->rate, 1)),
			  NUMBER("rounds", "", (double)m->rate.count));
	}
}

static void report_pieces(struct table *table, const struct load *load, struct pieces *p)
{
	TABLE_ROW(table, TEXT("load", load->name),
		  TEXT("codec", p->config.codec.id == SDE_CODEC_NONE ? "none" :
		       sde__codec_name(p->config.codec.id)),
		  NUMBER("memcpy", "GB/s", samples_median(&p->copy)),
		  NUMBER("gather", "GB/s", samples_median(&p->gather)),
		  NUMBER("encode", "GB/s", samples_median(&p->encode)),
		  NUMBER("libblosc_encode", "GB/s", samples_median(&p->blosc_encode)),
		  NUMBER("write", "GB/s", samples_median(&p->write)),
		  NUMBER("synced_disk", "GB/s", samples_median(&p->synced)),
		  NUMBER("ratio", "", p->ratio), NUMBER("kept_raw", "%", p->raw_share));
}

static void one_load(const struct settings *s, const struct load *load, struct table tables[2])
{
	struct measured measured[VARIANTS] = { 0 };
	struct pieces pieces[2];
	struct pool pool;

	pool_fill(&pool, load, load->chunk_size ? 2 * load->chunk_size : s->quick ? 3 : 8);
	for (int i = 0; i < 2; i++) {
		const struct sde_zarr_options o = options_of(load, &variants[i ? TMPFS_RAW : TMPFS_1]);

		pieces_begin(&pieces[i], load, &o, &pool);
	}
	for (unsigned round = 0; round < s->rounds; round++)
		measure(s, load, &pool, pieces, measured);
	for (int i = 0; i < 2; i++)
		report_pieces(&tables[0], load, &pieces[i]);
	report(&tables[1], load, pieces, measured);
	for (int i = 0; i < 2; i++)
		pieces_end(&pieces[i]);
	for (int i = 0; i < VARIANTS; i++) {
		samples_clear(&measured[i].rate);
		samples_clear(&measured[i].slowest);
	}
	pool_free(&pool);
}

int main(int argc, char *argv[])
{
	const struct settings s = settings_parse(argc, argv);
	struct table tables[2];
	char about[200];

	programs = getenv("BENCH_PROGRAMS");
	if (!programs)
		programs = "build/tests/bench";
	snprintf(about, sizeof(about), "raw GB/s on %u core%s, medians of %u rounds", cores(),
		 cores() == 1 ? "" : "s", s.rounds);
	for (size_t i = 0; i < load_count; i++) {
		/* the large one alone would take the two minutes of --quick */
		if (!load_is_asked(&loads[i]) || (s.quick && i != 0 && i != 2))
			continue;
		table_begin(&tables[0], &s, "pieces", about);
		table_begin(&tables[1], &s, "ingest", about);
		one_load(&s, &loads[i], tables);
	}
	return 0;
}
