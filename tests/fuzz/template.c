/* SPDX-License-Identifier: MIT */
/* Stores to be damaged: see template.h. */
#include "template.h"

#include "fuzz.h"
#include "zarr_storage.h"

#include <stdlib.h>
#include <string.h>

struct plan {
	unsigned format;
	enum sde_codec codec;
	enum sde_checksum checksum;
	struct sde_ensemble ensemble;
	uint64_t chunk_size, inner;
	uint64_t saved;		/* snapshots, then save; 0: none */
	uint64_t snapshots;
	bool crashed;
	bool truncated;		/* before all of them: so the epoch is 1 */
	enum sde_layout layout;
};

static const struct plan plans[TEMPLATES] = {
	{ 3, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, SDE_CHECKSUM_ON, { 2, 12, SDE_FLOAT64 }, 4, 8, 0, 11,
	  false, false, SDE_LAYOUT_DIMENSION_TRAJECTORY },
	{ 3, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, SDE_CHECKSUM_ON, { 2, 12, SDE_FLOAT64 }, 4, 8, 6, 13,
	  true, false, SDE_LAYOUT_DIMENSION_TRAJECTORY },
	{ 3, SDE_CODEC_NONE, SDE_CHECKSUM_OFF, { 1, 8, SDE_FLOAT64 }, 8, 8, 0, 5, false, false,
	  SDE_LAYOUT_DIMENSION_TRAJECTORY },
	{ 3, SDE_CODEC_LZ4, SDE_CHECKSUM_ON, { 3, 5, SDE_FLOAT32 }, 3, 2, 0, 7, true, false,
	  SDE_LAYOUT_TRAJECTORY_DIMENSION },
	{ 2, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, SDE_CHECKSUM_DEFAULT, { 2, 12, SDE_FLOAT64 }, 4, 8, 0,
	  10, false, false, SDE_LAYOUT_DIMENSION_TRAJECTORY },
	{ 2, SDE_CODEC_LZ4, SDE_CHECKSUM_DEFAULT, { 2, 8, SDE_FLOAT32 }, 4, 8, 5, 9, true, false,
	  SDE_LAYOUT_DIMENSION_TRAJECTORY },
	{ 2, SDE_CODEC_NONE, SDE_CHECKSUM_DEFAULT, { 1, 9, SDE_FLOAT64 }, 2, 8, 0, 4, false, true,
	  SDE_LAYOUT_DIMENSION_TRAJECTORY },
	{ 3, SDE_CODEC_NONE, SDE_CHECKSUM_ON, { 2, 8, SDE_FLOAT64 }, 4, 8, 5, 10, true, true,
	  SDE_LAYOUT_DIMENSION_TRAJECTORY },
	{ 3, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, SDE_CHECKSUM_OFF, { 2, 16, SDE_FLOAT32 }, 8, 8, 0, 0,
	  false, false, SDE_LAYOUT_DIMENSION_TRAJECTORY },
	{ 3, SDE_CODEC_LZ4, SDE_CHECKSUM_OFF, { 1, 3, SDE_FLOAT64 }, 1, 3, 2, 4, true, false,
	  SDE_LAYOUT_DIMENSION_TRAJECTORY },
};

double template_time(uint64_t snapshot)
{
	return 0.25 * (double)snapshot;
}

int64_t template_iteration(uint64_t snapshot)
{
	return 3 * (int64_t)snapshot;
}

double template_value(uint64_t dimension, uint64_t trajectory, uint64_t snapshot)
{
	/* exact in float32; no two neighbours alike */
	return (double)((dimension * 1009 + trajectory * 31 + snapshot * 7) % 4093) / 8;
}

static void must(int ret, const struct sde_error *error)
{
	fuzz_assert(!ret, "a template cannot be made: %s", error->text);
}

static void store(struct sde_storage *storage, const struct plan *plan, uint64_t from, uint64_t to)
{
	const struct sde_ensemble *e = &plan->ensemble;
	const bool by_trajectory = plan->layout == SDE_LAYOUT_TRAJECTORY_DIMENSION;
	double doubles[64];
	float floats[64];
	struct sde_error error;
	int ret = 0;

	for (uint64_t m = from; m < to && !ret; m++) {
		for (uint64_t d = 0; d < e->dimension; d++)
			for (uint64_t n = 0; n < e->trajectories; n++) {
				const uint64_t at = by_trajectory ? n * e->dimension + d :
						    d * e->trajectories + n;

				doubles[at] = template_value(d, n, m);
				floats[at] = (float)doubles[at];
			}
		ret = sde_storage_set_state(storage, "state", (size_t)(m % 6));
		if (!ret)
			ret = sde_storage_store(storage, template_time(m), e->dtype == SDE_FLOAT32 ?
						(const void *)floats : (const void *)doubles,
						(uint64_t)template_iteration(m));
	}
	sde_storage_error(storage, &error);
	must(ret, &error);
}

static void make(struct template *t, const struct plan *plan)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde__zarr_hooks hooks = { .synchronous = true };
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct memory_io fs;

	memory_io_init(&fs);
	hooks.io = &fs.io;
	options.zarr_format = plan->format;
	options.codec = plan->codec;
	options.checksum = plan->checksum;
	options.chunk_size = plan->chunk_size;
	options.trajectories_per_chunk = plan->inner;
	options.layout = plan->layout;
	options.state_capacity = 8;
	options.stride = 3;
	options.segments = 2;
	options.threads = 1;
	options.attributes = "{\"model\":\"double well\",\"seed\":7}";
	options.time_units = "seconds";
	options.make_directory = sde__io_make_directories;
	options.make_directory_ctx = &fs.io;
	must(sde__zarr_create(&storage, TEMPLATE_PATH, &plan->ensemble, &options, &hooks, &error),
	     &error);
	if (plan->truncated) {
		store(storage, plan, 0, plan->chunk_size + 1);
		must(sde_storage_truncate(storage, 0), &error);
	}
	if (plan->saved) {
		store(storage, plan, 0, plan->saved);
		must(sde_storage_save(storage), &error);
	}
	store(storage, plan, plan->saved, plan->snapshots);
	/* a copy of the running store, without its lock, is what a dead run leaves */
	if (plan->crashed)
		memory_io_clone(&t->fs, &fs);
	must(sde_storage_close_error(storage, &error), &error);
	if (!plan->crashed)
		memory_io_clone(&t->fs, &fs);
	memory_io_free(&fs);
}

/* As a reader sees it: what the run had saved, or published by itself. */
static uint64_t count_published(const struct template *t)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde__zarr_hooks hooks = { .synchronous = true };
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct memory_io fs;

	memory_io_clone(&fs, &t->fs);
	hooks.io = &fs.io;
	must(sde__zarr_open(&storage, TEMPLATE_PATH, NULL, &hooks, &error), &error);
	must(sde_storage_info(storage, &info), &error);
	fuzz_assert(info.committed == t->snapshots, "a template has %llu snapshots, not %llu",
		    (unsigned long long)info.committed, (unsigned long long)t->snapshots);
	must(sde_storage_close(storage), &error);
	memory_io_free(&fs);
	return info.published;
}

const struct template *template_get(unsigned which)
{
	static struct template made[TEMPLATES];
	const struct plan *plan = &plans[which];
	struct template *t = &made[which];

	if (t->fs.root)
		return t;
	make(t, plan);
	t->ensemble = plan->ensemble;
	t->format = plan->format;
	t->codec = plan->codec;
	t->chunk_size = plan->chunk_size;
	t->inner_count = (plan->ensemble.trajectories + plan->inner - 1) / plan->inner;
	t->snapshots = plan->snapshots;
	t->published = count_published(t);
	t->crashed = plan->crashed;
	t->checksum = plan->format == 3 && plan->checksum != SDE_CHECKSUM_OFF;
	return t;
}
