/* SPDX-License-Identifier: MIT */
/*
 * A Zarr store opened read-only: sde_storage_open. A backend without store; all
 * it has is a reader.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_storage.h"

#include "chunk_list.h"
#include "last.h"
#include "storage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int read_only(struct sde_error *error)
{
	return sde__fail(error, -EBADF, "the storage was opened read-only");
}

static int open_store(void *self, double time, const void *data, uint64_t iteration_number,
		      struct sde_error *error)
{
	(void)self, (void)time, (void)data, (void)iteration_number;
	return read_only(error);
}

static int open_reserve(void *self, uint64_t iteration_number, void **slot,
			struct sde_error *error)
{
	(void)self, (void)iteration_number, (void)slot;
	return read_only(error);
}

static int open_commit(void *self, double time, struct sde_error *error)
{
	(void)self, (void)time;
	return read_only(error);
}

static int open_set_state(void *self, const void *bytes, size_t n, struct sde_error *error)
{
	(void)self, (void)bytes, (void)n;
	return read_only(error);
}

static int open_truncate(void *self, uint64_t snapshots, struct sde_error *error)
{
	(void)self, (void)snapshots;
	return read_only(error);
}

static int open_state(void *self, void *bytes, size_t *n, struct sde_error *error)
{
	struct sde__reader *reader = self;
	const size_t room = *n;
	int ret;

	*n = 0;
	if (!reader->snapshots)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no snapshots", reader->home.path);
	*n = room;
	ret = sde__zarr_view_state(reader, reader->snapshots - 1, bytes, n, error);
	if (ret == -ERANGE)
		return sde__fail(error, ret, "the state takes %zu bytes, not %zu", *n, room);
	if (!ret && !*n)
		return sde__fail(error, SDE_E_NO_DATA, "the last snapshot of '%s' has no state",
				 reader->home.path);
	return ret;
}

static int open_last(void *self, void *data, int *is_exact, struct sde_error *error)
{
	struct sde__reader *reader = self;
	struct sde__slot_layout plain = {
		.geometry = reader->metadata.geometry, .order = SDE_LAYOUT_DIMENSION_TRAJECTORY,
		.state_capacity = reader->metadata.state_capacity, .segments = SDE__SEGMENTS_MIN,
	};
	bool exact = false;
	int ret;

	if (!reader->snapshots)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no snapshots", reader->home.path);
	ret = sde__slot_layout_derive(&plain, error);
	if (!ret)
		ret = sde__last_read(reader, &plain, data, &exact, error);
	*is_exact = exact;
	return ret;
}

static int open_values(void *self, struct sde_array **time, struct sde_array **data,
		       struct sde_error *error)
{
	return sde__zarr_view_values(self, time, data, error);
}

static int open_iterations(void *self, struct sde_array **iteration, struct sde_error *error)
{
	return sde__zarr_view_iterations(self, iteration, error);
}

static int open_verify(void *self, const struct sde_verify *verify, struct sde_error *error)
{
	return sde__zarr_view_verify(self, verify, error);
}

static int open_info(void *self, struct sde_storage_info *info, struct sde_error *error)
{
	struct sde__reader *reader = self;
	const struct sde__metadata *m = &reader->metadata;
	const uint64_t size = m->geometry.chunk_size;
	int ret;

	sde__zarr_view_info(m, info);
	info->state = reader->state;
	info->committed = reader->snapshots;
	info->published = m->snapshots;
	info->sealed = reader->filed / size * size;
	info->synced = reader->filed;
	if (reader->ring) {
		info->segments = reader->ring->header.layout.segments;
		info->ring_io = reader->ring->header.ring_io;
		if (reader->counters.synced > info->synced)
			info->synced = reader->counters.synced;
		if (info->synced > info->committed)
			info->synced = info->committed;
	}
	info->ignored = reader->ignored;
	info->raw_bytes = reader->filed * sde__snapshot_bytes(&m->geometry);
	ret = sde__chunk_list_count(&reader->home, &m->geometry, (reader->filed + size - 1) / size,
				 &info->chunk_files, &info->stored_bytes, error);
	if (ret || !reader->snapshots)
		return ret;
	ret = sde__zarr_view_moment(reader, 0, &info->first_time, &info->first_iteration, error);
	return ret ? ret : sde__zarr_view_moment(reader, reader->snapshots - 1, &info->last_time,
						 &info->last_iteration, error);
}

static const char *open_attributes(void *self)
{
	const struct sde__reader *reader = self;

	return reader->metadata.attributes ? reader->metadata.attributes : "{}";
}

static const char *open_time_units(void *self)
{
	const struct sde__reader *reader = self;

	return reader->metadata.time_units ? reader->metadata.time_units : "";
}

static int open_close(void *self, struct sde_error *error)
{
	(void)error;
	sde__reader_unref(self);
	return 0;
}

static const struct sde_backend open_backend = {
	.size = sizeof(struct sde_backend),
	.kind = "zarr",
	.store = open_store,
	.reserve = open_reserve,
	.commit = open_commit,
	.set_state = open_set_state,
	.truncate = open_truncate,
	.state = open_state,
	.values = open_values,
	.iterations = open_iterations,
	.verify = open_verify,
	.info = open_info,
	.attributes = open_attributes,
	.time_units = open_time_units,
	.last = open_last,
	.close = open_close,
};

int sde__zarr_open(struct sde_storage **out, const char *path,
		   const struct sde_open_options *options, const struct sde__zarr_hooks *hooks,
		   struct sde_error *error)
{
	struct sde_derive_options derive = SDE_DERIVE_OPTIONS_INIT;
	struct sde_open_options own;
	struct sde__reader *reader;
	struct sde_ensemble ensemble;
	struct sde__log log;
	int ret;

	if (!out)
		return sde__fail(error, -EINVAL, "no place for the storage");
	*out = NULL;
	if (!path || !*path)
		return sde__fail(error, -EINVAL, "no path given");
	ret = sde__open_options_take(&own, options, error);
	if (ret)
		return ret;
	log = (struct sde__log){ own.log, own.log_ctx };
	ret = sde__reader_open(&reader, hooks->io, path, own.ring, own.on_hole == SDE_HOLE_NAN, &log,
			       error);
	if (ret)
		return ret;
	derive.stride = reader->metadata.stride;
	ensemble.dimension = reader->metadata.geometry.dimension;
	ensemble.trajectories = reader->metadata.geometry.trajectories;
	ensemble.dtype = reader->metadata.geometry.dtype;
	ret = sde_storage_derive(out, &ensemble, &open_backend, reader, &derive, error);
	if (ret)
		sde__reader_unref(reader);
	return ret;
}
