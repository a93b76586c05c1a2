/* SPDX-License-Identifier: MIT */
/* From the user's options to a checked configuration: see zarr_config.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_config.h"

#include "options.h"
#include "publisher.h"
#include "room.h"
#include "strided.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* One that is filled, one that is encoded, one that is sealed. */
#define SEGMENTS_DEFAULT 3
/* Where sealing waits for a device, small chunks are sealed several at a time. */
#define SEGMENTS_MOST 8
#define INTERVAL_DEFAULT_MS 1000
#define THREADS_MAX 256
#define SMALL_CHUNK ((uint64_t)1 << 20)

/* One less than the cores this process may use: one is the integrator's. */
static unsigned default_threads(void)
{
	cpu_set_t mask;
	int cores;

	if (sched_getaffinity(0, sizeof(mask), &mask))
		return 1;
	cores = CPU_COUNT(&mask);
	if (cores > THREADS_MAX)
		return THREADS_MAX;
	return cores > 1 ? (unsigned)cores - 1 : 1;
}

static int check_enums(const struct sde_zarr_options *o, struct sde_error *error)
{
	const struct {
		const char *name;
		int value, last;
	} checks[] = {
		{ "codec", (int)o->codec, SDE_CODEC_NONE },
		{ "checksum", (int)o->checksum, SDE_CHECKSUM_OFF },
		{ "sync", (int)o->sync, SDE_SYNC_NONE },
		{ "layout", (int)o->layout, SDE_LAYOUT_TRAJECTORY_DIMENSION },
		{ "ring", (int)o->ring, SDE_RING_DISCARD },
		{ "overwrite", o->overwrite, 1 },
		{ "ring_io", (int)o->ring_io, SDE_RING_IO_WRITTEN },
		{ "sigbus_guard", (int)o->sigbus_guard, SDE_SIGBUS_GUARD_ON },
	};

	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++)
		if (checks[i].value < 0 || checks[i].value > checks[i].last)
			return sde__fail(error, -EINVAL, "option %s has no value %d", checks[i].name,
					 checks[i].value);
	if (o->zarr_format && o->zarr_format != 3 && o->zarr_format != 2)
		return sde__fail(error, SDE_E_UNSUPPORTED, "zarr_format %u is neither 3 nor 2",
				 o->zarr_format);
	if (o->zarr_format == 2 && o->checksum == SDE_CHECKSUM_ON)
		return sde__fail(error, SDE_E_UNSUPPORTED, "zarr_format 2 has no checksums");
	if (o->threads > THREADS_MAX)
		return sde__fail(error, -EINVAL, "threads %u is more than %d", o->threads, THREADS_MAX);
	return 0;
}

/* What is the same for a new store and a resumed one. */
static int take_options(struct sde__zarr_config *config, const struct sde_zarr_options *user,
			struct sde_error *error)
{
	struct sde_zarr_options *o = &config->options;
	int ret;

	memset(config, 0, sizeof(*config));
	/* the whole of the first released struct must be there */
	ret = sde__options_take(o, sizeof(*o), sizeof(*o), user, "struct sde_zarr_options", error);
	if (!ret)
		ret = check_enums(o, error);
	if (ret)
		return ret;
	config->sync = o->sync ? o->sync : SDE_SYNC_CHUNK;
	config->sync_interval_ms = o->sync_interval_ms ? o->sync_interval_ms : INTERVAL_DEFAULT_MS;
	config->threads = o->threads ? o->threads : default_threads();
	config->log = (struct sde__log){ o->log, o->log_ctx };
	return 0;
}

/* As many as were asked for, or as any ring has. */
static unsigned least_segments(const struct sde__zarr_config *config)
{
	return config->options.segments ? config->options.segments : SEGMENTS_DEFAULT;
}

static bool may_have_more_segments(const struct sde__zarr_config *config)
{
	return !config->options.segments && config->sync != SDE_SYNC_NONE;
}

/* The ring on a device, sized by what is known of it. */
static int derive_ring(struct sde__zarr_config *config, struct sde_error *error)
{
	struct sde__slot_layout *layout = &config->layout;
	int ret;

	layout->segments = least_segments(config);
	ret = sde__slot_layout_derive(layout, error);
	if (!ret && may_have_more_segments(config))
		layout->segments = sde__room_count(layout->segment_size, SEGMENTS_DEFAULT,
						   SEGMENTS_MOST);
	return ret;
}

void sde__zarr_config_in_memory(struct sde__zarr_config *config)
{
	config->layout.segments = least_segments(config);
}

/* What follows from the metadata: codec and ring. */
static int derive(struct sde__zarr_config *config, struct sde_error *error)
{
	const struct sde__metadata *m = &config->metadata;
	const struct sde_zarr_options *o = &config->options;

	config->codec = (struct sde__codec){
		.id = m->codec, .item = sde__dtype_size(m->geometry.dtype), .checksum = m->checksum,
		.keepbits = sde__rounding(m->geometry.dtype, m->keepbits),
	};
	if (sde__inner_bytes(&m->geometry) > sde__codec_limit(&config->codec))
		return sde__fail(error, -EINVAL,
				 "an inner chunk of %zu bytes is more than codec %s takes (%zu): lower chunk_size or trajectories_per_chunk",
				 sde__inner_bytes(&m->geometry), sde__codec_name(m->codec),
				 sde__codec_limit(&config->codec));
	config->layout.geometry = m->geometry;
	config->layout.order = o->layout ? o->layout : SDE_LAYOUT_DIMENSION_TRAJECTORY;
	config->layout.state_capacity = m->state_capacity;
	return derive_ring(config, error);
}

int sde__zarr_config_new(struct sde__zarr_config *config, const struct sde_ensemble *ensemble,
			 const struct sde_zarr_options *options, struct sde_error *error)
{
	return sde__zarr_config_new_columns(config, ensemble, 0, options, error);
}

int sde__zarr_config_column(struct sde__zarr_config *own, const struct sde__zarr_config *config,
			    uint64_t column, struct sde_error *error)
{
	*own = *config;
	own->metadata.attributes = own->metadata.time_units = NULL;
	own->metadata.geometry = sde__column_geometry(&config->metadata.geometry, column);
	own->layout.geometry = own->metadata.geometry;
	return derive_ring(own, error);
}

int sde__zarr_config_new_columns(struct sde__zarr_config *config,
				 const struct sde_ensemble *ensemble, uint64_t column_width,
				 const struct sde_zarr_options *options, struct sde_error *error)
{
	struct sde__metadata *m = &config->metadata;
	const struct sde_zarr_options *o = &config->options;
	int ret;

	ret = take_options(config, options, error);
	if (!ret)
		ret = sde__ensemble_check(ensemble, error);
	if (ret)
		return ret;
	m->geometry = (struct sde__geometry){
		.dimension = ensemble->dimension, .trajectories = ensemble->trajectories,
		.chunk_size = o->chunk_size, .inner_width = o->trajectories_per_chunk,
		.dtype = ensemble->dtype, .column_width = column_width,
	};
	m->zarr_format = o->zarr_format ? o->zarr_format : 3;
	if (m->zarr_format == 2 && column_width)
		return sde__fail(error, SDE_E_UNSUPPORTED,
				 "a store that several write must be of zarr_format 3, not 2");
	ret = sde__geometry_choose(&m->geometry, m->zarr_format == 2 ? SDE__INNER_TARGET_V2 :
				   SDE__INNER_TARGET, error);
	if (ret)
		return ret;
	if (o->keepbits > sde__mantissa_bits(m->geometry.dtype))
		return sde__fail(error, -EINVAL, "keepbits %u is more than the %u mantissa bits of %s",
				 o->keepbits, sde__mantissa_bits(m->geometry.dtype),
				 m->geometry.dtype == SDE_FLOAT32 ? "float32" : "float64");
	m->keepbits = o->keepbits;
	m->codec = o->codec ? o->codec : SDE_CODEC_BLOSC_LZ4_BITSHUFFLE;
	m->checksum = m->zarr_format == 3 && o->checksum != SDE_CHECKSUM_OFF;
	m->stride = o->stride ? o->stride : 1;
	m->state_capacity = o->state_capacity;
	ret = derive(config, error);
	if (!ret)
		ret = sde__metadata_set_attributes(m, o->attributes, error);
	if (!ret && o->time_units) {
		m->time_units = strdup(o->time_units);
		if (!m->time_units)
			ret = sde__fail(error, -ENOMEM, "out of memory");
	}
	if (ret)
		sde__zarr_config_clear(config);
	return ret;
}

int sde__zarr_config_resumed(struct sde__zarr_config *config,
			     const struct sde_zarr_options *options, struct sde_error *error)
{
	const struct sde_zarr_options *o = &config->options;
	int ret;

	ret = take_options(config, options, error);
	if (ret)
		return ret;
	if (o->overwrite)
		return sde__fail(error, -EINVAL, "overwrite and resume exclude each other");
	if (o->attributes || o->time_units)
		return sde__fail(error, -EINVAL, "%s belong to create: resume keeps the store's",
				 o->attributes ? "attributes" : "time_units");
	return 0;
}

int sde__zarr_config_adopt(struct sde__zarr_config *config, struct sde__metadata *metadata,
			   const char *path, struct sde_error *error)
{
	const struct sde_zarr_options *o = &config->options;
	const struct sde__metadata *m = metadata;
	const struct {
		const char *name;
		uint64_t asked, is;
	} checks[] = {
		{ "stride", o->stride, m->stride },
		{ "chunk_size", o->chunk_size, m->geometry.chunk_size },
		{ "trajectories_per_chunk", o->trajectories_per_chunk, m->geometry.inner_width },
		{ "zarr_format", o->zarr_format, m->zarr_format },
		{ "state_capacity", o->state_capacity, m->state_capacity },
		{ "keepbits", o->keepbits, m->keepbits },
	};

	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++)
		if (checks[i].asked && checks[i].asked != checks[i].is)
			return sde__fail(error, SDE_E_MISMATCH,
					 "option %s is %" PRIu64 ", but '%s' has %" PRIu64,
					 checks[i].name, checks[i].asked, path, checks[i].is);
	if (o->codec && o->codec != m->codec)
		return sde__fail(error, SDE_E_MISMATCH, "option codec is %s, but '%s' has %s",
				 sde__codec_name(o->codec), path, sde__codec_name(m->codec));
	if (o->checksum && (o->checksum == SDE_CHECKSUM_ON) != m->checksum)
		return sde__fail(error, SDE_E_MISMATCH, "option checksum is %s, but '%s' has %s",
				 o->checksum == SDE_CHECKSUM_ON ? "on" : "off", path,
				 m->checksum ? "on" : "off");
	config->metadata = *metadata;
	memset(metadata, 0, sizeof(*metadata));
	return derive(config, error);
}

void sde__zarr_config_set_run(struct sde__zarr_config *config, const unsigned char run[16])
{
	static const char hex[] = "0123456789abcdef";

	memcpy(config->run, run, 16);
	for (int i = 0; i < 16; i++) {
		config->metadata.run[2 * i] = hex[run[i] >> 4];
		config->metadata.run[2 * i + 1] = hex[run[i] & 15];
	}
	config->metadata.run[32] = '\0';
}

/* Measured: small tables, and what the process had not yet touched of the code of this
 * library and those it stands on. */
#define BESIDE ((uint64_t)1 << 20)

/* The most that a ring for these options takes, wherever it lies. */
static uint64_t ring_memory(const struct sde__zarr_config *config)
{
	const uint64_t segment = config->layout.segment_size;

	return may_have_more_segments(config) ?
	       sde__room_bytes(segment, SEGMENTS_DEFAULT, SEGMENTS_MOST) :
	       segment * least_segments(config);
}

uint64_t sde__zarr_config_memory(const struct sde__zarr_config *config)
{
	return BESIDE + ring_memory(config) + SDE__RING_HEADER_SIZE +
	       2 * (uint64_t)config->layout.state_capacity +
	       sde__publisher_memory(&config->layout, &config->codec, config->threads);
}

void sde__zarr_config_warn(const struct sde__zarr_config *config)
{
	const struct sde__geometry *g = &config->layout.geometry;
	const uint64_t chunk = sde__snapshot_bytes(g) * g->chunk_size;

	if (chunk < SMALL_CHUNK)
		sde__warn(&config->log,
			  "a chunk of %" PRIu64 " snapshots has only %" PRIu64
			  " bytes: a long run will make many small files; raise chunk_size",
			  g->chunk_size, chunk);
	if (config->codec.id == SDE_CODEC_BLOSC_LZ4_BITSHUFFLE &&
	    g->dimension * g->inner_width * g->chunk_size % 8)
		sde__warn(&config->log,
			  "an inner chunk of %" PRIu64 " x %" PRIu64 " x %" PRIu64
			  " numbers is no multiple of 8 and will not be bit-shuffled: choose another chunk_size or trajectories_per_chunk",
			  g->dimension, g->inner_width, g->chunk_size);
}

void sde__zarr_config_clear(struct sde__zarr_config *config)
{
	sde__metadata_clear(&config->metadata);
}
