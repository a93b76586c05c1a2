/* SPDX-License-Identifier: MIT */
/*
 * A Zarr store opened read-only: sde_storage_open. A backend without store; all
 * it has is a reader, which refresh replaces by a newer one.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_storage.h"

#include "chunk_list.h"
#include "last.h"
#include "options.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct opened {
	enum sde_ring ring;
	struct sde__log log;
	bool fill;			/* NaN in holes */
	unsigned threads;
	struct sde__chunk_cache *cache;	/* NULL: none */
	char *attributes, *time_units;	/* as they were when it was opened */
	pthread_mutex_t refreshing;	/* held by the one thread that looks again */
	pthread_mutex_t lock;		/* guards reader */
	struct sde__reader *reader;
};

/* The view of now; the caller's reference. */
static struct sde__reader *current(struct opened *opened)
{
	struct sde__reader *reader;

	pthread_mutex_lock(&opened->lock);
	reader = sde__reader_ref(opened->reader);
	pthread_mutex_unlock(&opened->lock);
	return reader;
}

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

static int reader_state(struct sde__reader *reader, void *bytes, size_t *n,
			struct sde_error *error)
{
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

static int reader_last(struct sde__reader *reader, void *data, int *is_exact,
		       struct sde_error *error)
{
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

static int open_state(void *self, void *bytes, size_t *n, struct sde_error *error)
{
	struct sde__reader *reader = current(self);
	const int ret = reader_state(reader, bytes, n, error);

	sde__reader_unref(reader);
	return ret;
}

static int open_last(void *self, void *data, int *is_exact, struct sde_error *error)
{
	struct sde__reader *reader = current(self);
	const int ret = reader_last(reader, data, is_exact, error);

	sde__reader_unref(reader);
	return ret;
}

static int open_values(void *self, struct sde_array **time, struct sde_array **data,
		       struct sde_error *error)
{
	struct sde__reader *reader = current(self);
	const int ret = sde__zarr_view_values(reader, time, data, error);

	sde__reader_unref(reader);
	return ret;
}

static int open_iterations(void *self, struct sde_array **iteration, struct sde_error *error)
{
	struct sde__reader *reader = current(self);
	const int ret = sde__zarr_view_iterations(reader, iteration, error);

	sde__reader_unref(reader);
	return ret;
}

static int open_arrays(void *self, struct sde_array **time, struct sde_array **data,
		       struct sde_array **iteration, struct sde_error *error)
{
	struct sde__reader *reader = current(self);
	const int ret = sde__zarr_view_arrays(reader, time, data, iteration, error);

	sde__reader_unref(reader);
	return ret;
}

static int open_verify(void *self, const struct sde_verify *verify, struct sde_error *error)
{
	struct sde__reader *reader = current(self);
	const int ret = sde__zarr_view_verify(reader, verify, error);

	sde__reader_unref(reader);
	return ret;
}

/* The chunk files of all columns. */
static int count_chunks(const struct sde__reader *reader, struct sde_storage_info *info,
			struct sde_error *error)
{
	const struct sde__geometry *g = &reader->metadata.geometry;
	const uint64_t chunks = (reader->filed + g->chunk_size - 1) / g->chunk_size;
	int ret = 0;

	for (uint64_t i = 0; i < (reader->columns ? reader->columns : 1) && !ret; i++) {
		const struct sde__reader *own = reader->columns ? reader->column[i] : reader;
		uint64_t files, bytes;

		ret = sde__chunk_list_count(&own->home, g, chunks, &files, &bytes, error);
		if (!ret) {
			info->chunk_files += files;
			info->stored_bytes += bytes;
		}
	}
	return ret;
}

static int reader_info(struct sde__reader *reader, struct sde_storage_info *info,
		       struct sde_error *error)
{
	const struct sde__metadata *m = &reader->metadata;
	const uint64_t size = m->geometry.chunk_size;
	int ret;

	sde__zarr_view_info(m, info);
	info->state = reader->state;
	info->committed = reader->snapshots;
	info->published = m->snapshots;
	info->sealed = reader->filed / size * size;
	info->synced = reader->filed;
	if (reader->columns && reader->counters.synced > info->synced)
		info->synced = reader->counters.synced;
	if (info->synced > info->committed)
		info->synced = info->committed;
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
	ret = count_chunks(reader, info, error);
	if (ret || !reader->snapshots)
		return ret;
	ret = sde__zarr_view_moment(reader, 0, &info->first_time, &info->first_iteration, error);
	return ret ? ret : sde__zarr_view_moment(reader, reader->snapshots - 1, &info->last_time,
						 &info->last_iteration, error);
}

static int open_info(void *self, struct sde_storage_info *info, struct sde_error *error)
{
	const struct opened *opened = self;
	struct sde__reader *reader = current(self);
	const int ret = reader_info(reader, info, error);

	info->threads = opened->threads;
	sde__reader_unref(reader);
	return ret;
}

/* Everything a reader of this storage has in common. */
static void furnish(const struct opened *opened, struct sde__reader *reader)
{
	reader->threads = opened->threads;
	reader->cache = sde__chunk_cache_ref(opened->cache);
	for (uint64_t i = 0; i < reader->columns; i++)
		reader->column[i]->cache = sde__chunk_cache_ref(opened->cache);
}

/*
 * Has what failed to open again been removed, or is it being removed? Its name may
 * be another store's by now.
 */
static bool is_gone(const struct sde__home *home)
{
	const struct sde__io *io = home->io;
	struct sde__stat root, named;

	if (io->stat_at(io->ctx, home->root, home->format == 2 ? ".zgroup" : "zarr.json", &root))
		return true;
	if (io->stat(io->ctx, home->root, &root))
		return false;
	if (io->stat_at(io->ctx, -1, home->path, &named))
		return true;
	return root.device != named.device || root.inode != named.inode;
}

static int open_refresh(void *self, struct sde_error *error)
{
	struct opened *opened = self;
	struct sde__reader *old, *fresh;
	struct sde_error why = { 0 };
	int ret;

	/* one at a time, so that no older view replaces a newer one */
	pthread_mutex_lock(&opened->refreshing);
	old = current(opened);
	ret = sde__reader_reopen(&fresh, &old->home, false, opened->fill, opened->ring, &opened->log,
				 &why);
	if (ret && is_gone(&old->home)) {
		ret = sde__fail(error, SDE_E_STALE, "'%s' was removed or replaced since it was opened",
				old->home.path);
	} else if (ret) {
		sde__fail(error, ret, "%s", why.text);
	} else {
		furnish(opened, fresh);
		pthread_mutex_lock(&opened->lock);
		sde__reader_unref(opened->reader);
		opened->reader = fresh;
		pthread_mutex_unlock(&opened->lock);
	}
	sde__reader_unref(old);
	pthread_mutex_unlock(&opened->refreshing);
	return ret;
}

static int open_columns(void *self, sde_column_function *function, void *ctx)
{
	struct sde__reader *reader = current(self);
	const struct sde__geometry *g = &reader->metadata.geometry;
	const int count = reader->columns > INT_MAX ? INT_MAX : (int)reader->columns;
	uint64_t first = 0;

	for (int i = 0; function && i < count; i++) {
		const struct sde__reader *own = reader->column[i];
		struct sde_column_info column = { .size = sizeof(column), .state = own->state };

		column.trajectories[0] = first;
		first += own->metadata.geometry.trajectories;
		column.trajectories[1] = first;
		column.committed = own->reached;
		column.sealed = own->reached_filed / g->chunk_size * g->chunk_size;
		function(ctx, &column);
	}
	sde__reader_unref(reader);
	return count;
}

static const char *open_attributes(void *self)
{
	const struct opened *opened = self;

	return opened->attributes;
}

static const char *open_time_units(void *self)
{
	const struct opened *opened = self;

	return opened->time_units;
}

static void opened_free(struct opened *opened)
{
	sde__reader_unref(opened->reader);
	sde__chunk_cache_unref(opened->cache);
	pthread_mutex_destroy(&opened->lock);
	pthread_mutex_destroy(&opened->refreshing);
	free(opened->attributes);
	free(opened->time_units);
	free(opened);
}

static int open_close(void *self, struct sde_error *error)
{
	(void)error;
	opened_free(self);
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
	.arrays = open_arrays,
	.refresh = open_refresh,
	.columns = open_columns,
	.close = open_close,
};

static int make_cache(struct opened *opened, size_t bytes, struct sde_error *error)
{
	const size_t inner = sde__inner_bytes(&opened->reader->metadata.geometry);

	if (!bytes)
		return 0;
	if (bytes < inner)
		return sde__fail(error, -ENOMEM,
				 "cache_bytes %zu is less than one inner chunk of '%s', %zu bytes",
				 bytes, opened->reader->home.path, inner);
	return sde__chunk_cache_new(&opened->cache, bytes, inner) ?
	       sde__fail(error, -ENOMEM, "out of memory") : 0;
}

static int opened_new(struct opened **out, const char *path, const struct sde_open_options *options,
		      const struct sde__io *io, struct sde_error *error)
{
	struct opened *opened = calloc(1, sizeof(*opened));
	const struct sde__metadata *m;
	int ret;

	if (!opened)
		return sde__fail(error, -ENOMEM, "out of memory");
	opened->ring = options->ring;
	opened->log = (struct sde__log){ options->log, options->log_ctx };
	opened->fill = options->on_hole == SDE_HOLE_NAN;
	opened->threads = options->threads;
	pthread_mutex_init(&opened->refreshing, NULL);
	pthread_mutex_init(&opened->lock, NULL);
	ret = sde__reader_open(&opened->reader, io, path, opened->ring, opened->fill, &opened->log,
			       error);
	if (!ret)
		ret = make_cache(opened, options->cache_bytes, error);
	if (!ret) {
		m = &opened->reader->metadata;
		furnish(opened, opened->reader);
		opened->attributes = strdup(m->attributes ? m->attributes : "{}");
		opened->time_units = strdup(m->time_units ? m->time_units : "");
		if (!opened->attributes || !opened->time_units)
			ret = sde__fail(error, -ENOMEM, "out of memory");
	}
	if (ret)
		opened_free(opened);
	else
		*out = opened;
	return ret;
}

int sde__zarr_open(struct sde_storage **out, const char *path,
		   const struct sde_open_options *options, const struct sde__zarr_hooks *hooks,
		   struct sde_error *error)
{
	struct sde_derive_options derive = SDE_DERIVE_OPTIONS_INIT;
	struct sde_open_options own;
	struct opened *opened = NULL;
	struct sde_ensemble ensemble;
	int ret;

	if (!out)
		return sde__fail(error, -EINVAL, "no place for the storage");
	*out = NULL;
	if (!path || !*path)
		return sde__fail(error, -EINVAL, "no path given");
	ret = sde__open_options_take(&own, options, error);
	if (!ret)
		ret = opened_new(&opened, path, &own, hooks->io, error);
	if (ret)
		return ret;
	derive.stride = opened->reader->metadata.stride;
	ensemble.dimension = opened->reader->metadata.geometry.dimension;
	ensemble.trajectories = opened->reader->metadata.geometry.trajectories;
	ensemble.dtype = opened->reader->metadata.geometry.dtype;
	ret = sde_storage_derive(out, &ensemble, &open_backend, opened, &derive, error);
	if (ret)
		opened_free(opened);
	return ret;
}
