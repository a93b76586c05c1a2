/* SPDX-License-Identifier: MIT */
/*
 * The Zarr backend of one of several writers: from store to close. What it shows is its
 * own trajectories; the whole store is for who opens it by its name.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "share_storage.h"

#include "last.h"
#include "rank_columns.h"
#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ------------------------------------------------------------------------
 * Storing: no other rank is asked
 */

static void note(struct sde__share *share, double time, uint64_t iteration)
{
	const uint64_t prime = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t bits;

	memcpy(&bits, &time, sizeof(bits));
	bits = ((share->moments ^ bits) * prime ^ iteration) * prime;
	share->moments = bits ^ bits >> 29;
	__atomic_store_n(&share->next, share->next + 1, __ATOMIC_RELAXED);
}

/* Its only column has it, though committing it failed behind the counter. */
static bool is_ahead(const struct sde__share *share)
{
	return share->count == 1 && share->column[0].writer->next > share->next;
}

static int check_broken(const struct sde__share *share, struct sde_error *error)
{
	return share->broken.code ? sde__fail(error, share->broken.code, "%s", share->broken.text) : 0;
}

/* A column's part of a snapshot of all, into its slot. */
static int copy_part(const struct sde__share_column *column, const void *data,
		     struct sde_error *error)
{
	const struct sde__share *share = column->share;
	const struct sde__zarr *z = column->writer;
	const struct sde__geometry *g = &z->config.layout.geometry;
	const size_t payload = z->config.layout.payload_offset;
	const size_t item = sde__dtype_size(g->dtype), row = g->trajectories * item;
	const unsigned char *from = data;
	int ret = 0;

	if (z->config.layout.order == SDE_LAYOUT_TRAJECTORY_DIMENSION)
		return sde__ring_fill(z->ring, z->next, payload,
				      from + column->offset * g->dimension * item,
				      row * g->dimension, error);
	for (uint64_t d = 0; d < g->dimension && !ret; d++)
		ret = sde__ring_fill(z->ring, z->next, payload + d * row,
				     from + (d * share->trajectories + column->offset) * item, row,
				     error);
	return ret;
}

static int store_columns(struct sde__share *share, double time, const void *data,
			 uint64_t iteration, struct sde_error *error)
{
	const struct sde_backend *backend = &sde__zarr_backend;
	void *slot;
	int ret = 0;

	/* room in all of them before anything is committed to one */
	for (uint64_t i = 0; i < share->count && !ret; i++) {
		struct sde__zarr *z = share->column[i].writer;

		ret = backend->reserve(z, iteration, &slot, error);
		if (ret)
			break;
		ret = copy_part(&share->column[i], data, error);
		if (ret)
			sde__publisher_fail(z->publisher, error);
	}
	if (ret)
		return ret;
	for (uint64_t i = 0; i < share->count && !ret; i++)
		ret = backend->commit(share->column[i].writer, time, error);
	/* the first may have it, and the next not: resume makes them equal */
	if (ret && share->count > 1)
		share->broken = *error;
	return ret;
}

static int share_store(void *self, double time, const void *data, uint64_t iteration_number,
		       struct sde_error *error)
{
	struct sde__share *share = self;
	int ret = check_broken(share, error);

	if (!ret && share->count == 1)
		ret = sde__zarr_backend.store(share->column[0].writer, time, data,
					      iteration_number, error);
	else if (!ret)
		ret = store_columns(share, time, data, iteration_number, error);
	if (!ret || is_ahead(share))
		note(share, time, iteration_number);
	return ret;
}

/* With one column, as nearly always, without a copy. */
static int share_reserve(void *self, uint64_t iteration_number, void **slot,
			 struct sde_error *error)
{
	struct sde__share *share = self;
	const int ret = check_broken(share, error);

	return ret ? ret : sde__zarr_backend.reserve(share->column[0].writer, iteration_number,
						     slot, error);
}

static int share_commit(void *self, double time, struct sde_error *error)
{
	struct sde__share *share = self;
	struct sde__zarr *z = share->column[0].writer;
	const uint64_t iteration = z->iteration;
	const int ret = sde__zarr_backend.commit(z, time, error);

	if (!ret || is_ahead(share))
		note(share, time, iteration);
	return ret;
}

/* Kept by the first column: a rank that gets another one has to begin afresh. */
static int share_set_state(void *self, const void *bytes, size_t n, struct sde_error *error)
{
	struct sde__share *share = self;

	if (share->count)
		return sde__zarr_backend.set_state(share->column[0].writer, bytes, n, error);
	return n > share->config.layout.state_capacity ?
	       sde__fail(error, -ENOSPC, "a state of %zu bytes, but state_capacity is %u", n,
			 share->config.layout.state_capacity) : 0;
}

static int share_state(void *self, void *bytes, size_t *n, struct sde_error *error)
{
	struct sde__share *share = self;

	if (share->count)
		return sde__zarr_backend.state(share->column[0].writer, bytes, n, error);
	*n = 0;
	return sde__fail(error, SDE_E_NO_DATA, "this rank has no trajectories, and so no state");
}

static int share_sync(void *self, struct sde_error *error)
{
	struct sde__share *share = self;
	int ret = check_broken(share, error);

	for (uint64_t i = 0; i < share->count && !ret; i++)
		ret = sde__zarr_backend.sync(share->column[i].writer, error);
	return ret;
}

/* ------------------------------------------------------------------------
 * Save, truncate, close: collective
 */

/* All ranks have stored the same, as far as can be told without looking at it. */
static int compare(const struct sde__share *share, struct sde_error *error)
{
	const struct sde__alike things[] = {
		{ "number of snapshots", share->next },
		{ "time or iteration number in some snapshot", share->moments },
	};

	return sde__accord_alike(&share->accord, things, 2, SDE_E_MISMATCH, error);
}

static int share_save(void *self, struct sde_error *error)
{
	struct sde__share *share = self;
	struct sde_error own = { 0 };
	int ret;

	if (share->all_broken)
		return check_broken(share, error);
	if (!check_broken(share, &own))
		sde__share_hold(share, &own);
	ret = sde__accord_agree(&share->accord, &own, error);
	if (!ret)
		ret = compare(share, error);
	if (ret)
		return ret;
	__atomic_store_n(&share->agreed, share->next, __ATOMIC_RELEASE);
	if (sde__share_leads(share))
		sde__share_publish(share, &own);
	ret = sde__accord_agree(&share->accord, &own, error);
	if (ret)
		return ret;
	/* what it began with, for those whose publisher does not write it */
	if (!sde__share_leads(share))
		share->config.metadata.snapshots = share->next;
	sde__share_keep_last(share, &own);
	return sde__accord_agree(&share->accord, &own, error);
}

static void drop_reader(struct sde__share *share)
{
	pthread_mutex_lock(&share->lock);
	sde__reader_unref(share->reader);
	share->reader = NULL;
	pthread_mutex_unlock(&share->lock);
}

static int share_truncate(void *self, uint64_t snapshots, struct sde_error *error)
{
	struct sde__share *share = self;
	const struct sde__alike where = { "place to truncate at", snapshots };
	struct sde_error own = { 0 };
	int ret;

	if (snapshots > share->next)
		sde__fail(&own, -EINVAL, "cannot truncate '%s' of %" PRIu64 " snapshots to %" PRIu64,
			  share->home.path, share->next, snapshots);
	ret = sde__accord_agree(&share->accord, &own, error);
	if (!ret)
		ret = sde__accord_alike(&share->accord, &where, 1, -EINVAL, error);
	if (!ret && snapshots < share->next) {
		sde__share_take_exact(share, snapshots, &own);
		ret = sde__accord_agree(&share->accord, &own, error);
	}
	if (!ret)
		ret = share_save(share, error);
	if (ret || snapshots == share->next)
		return ret;
	sde__share_keep_exact(share, snapshots, &own);
	ret = sde__accord_agree(&share->accord, &own, error);
	if (!ret && sde__share_leads(share))
		sde__share_shrink_documents(share, snapshots, &own);
	if (!ret)
		ret = sde__accord_agree(&share->accord, &own, error);
	if (!ret)
		sde__share_shrink(share, snapshots, &own);
	if (!ret)
		ret = sde__accord_agree(&share->accord, &own, error);
	share->moments = 0;
	drop_reader(share);
	/* files and memory no longer agree: only opening it anew sorts that out */
	share->all_broken = ret;
	if (ret)
		share->broken = *error;
	return ret;
}

static int share_close(void *self, struct sde_error *error)
{
	struct sde__share *share = self;
	struct sde_error own = { 0 };
	int ret;

	ret = share_save(share, error);
	if (ret) {
		/* the rings stay for resume: make them as safe as they can be */
		for (uint64_t i = 0; i < share->count && !share->broken.code; i++)
			sde__ring_sync(share->column[i].writer->ring, share->column[i].writer->next,
				       NULL);
		sde__share_free(share);
		return ret;
	}
	sde__share_drop_rings(share, &own);
	ret = sde__accord_agree(&share->accord, &own, error);
	if (!ret && sde__share_leads(share))
		sde__home_leave_ring(&share->home, share->config.sync != SDE_SYNC_NONE, &own);
	if (!ret)
		ret = sde__accord_agree(&share->accord, &own, error);
	sde__share_free(share);
	return ret;
}

/* ------------------------------------------------------------------------
 * Looking at it
 */

static int last_of(struct sde__share *share, struct sde__reader *reader, void *data, bool *exact,
		   struct sde_error *error)
{
	struct sde__slot_layout layout = share->column[0].writer->config.layout;
	int ret;

	if (!reader->snapshots)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no snapshots yet", share->home.path);
	layout.geometry = reader->metadata.geometry;
	ret = sde__slot_layout_derive(&layout, error);
	return ret ? ret : sde__last_read(reader, &layout, data, exact, error);
}

/* A reader of everything stored so far by this rank; the caller's reference. */
static int newest_reader(struct sde__share *share, struct sde__reader **out,
			 struct sde_error *error)
{
	const uint64_t next = __atomic_load_n(&share->next, __ATOMIC_RELAXED);
	const uint64_t epoch = __atomic_load_n(&share->config.metadata.epoch, __ATOMIC_RELAXED);
	int ret = 0;

	*out = NULL;
	if (!share->count)
		return sde__fail(error, SDE_E_NO_DATA, "this rank has no trajectories");
	pthread_mutex_lock(&share->lock);
	if (!share->reader || share->reader->snapshots < next ||
	    share->reader->metadata.epoch != epoch) {
		sde__reader_unref(share->reader);
		share->reader = NULL;
		ret = sde__columns_view(&share->reader, &share->home, share->first, share->count,
					&share->config.log, error);
	}
	*out = ret ? NULL : sde__reader_ref(share->reader);
	pthread_mutex_unlock(&share->lock);
	return ret;
}

static int share_values(void *self, struct sde_array **time, struct sde_array **data,
			struct sde_error *error)
{
	struct sde__reader *reader;
	int ret = newest_reader(self, &reader, error);

	if (!ret)
		ret = sde__zarr_view_values(reader, time, data, error);
	sde__reader_unref(reader);
	return ret;
}

static int share_iterations(void *self, struct sde_array **iteration, struct sde_error *error)
{
	struct sde__reader *reader;
	int ret = newest_reader(self, &reader, error);

	if (!ret)
		ret = sde__zarr_view_iterations(reader, iteration, error);
	sde__reader_unref(reader);
	return ret;
}

static int share_arrays(void *self, struct sde_array **time, struct sde_array **data,
			struct sde_array **iteration, struct sde_error *error)
{
	struct sde__reader *reader;
	int ret = newest_reader(self, &reader, error);

	if (!ret)
		ret = sde__zarr_view_arrays(reader, time, data, iteration, error);
	sde__reader_unref(reader);
	return ret;
}

static int share_last(void *self, void *data, int *is_exact, struct sde_error *error)
{
	struct sde__share *share = self;
	struct sde__reader *reader;
	bool exact = false;
	int ret;

	ret = newest_reader(share, &reader, error);
	if (ret)
		return ret;
	ret = last_of(share, reader, data, &exact, error);
	sde__reader_unref(reader);
	*is_exact = exact;
	return ret;
}

static int share_verify(void *self, const struct sde_verify *verify, struct sde_error *error)
{
	struct sde__reader *reader;
	int ret = newest_reader(self, &reader, error);

	if (!ret)
		ret = sde__zarr_view_verify(reader, verify, error);
	sde__reader_unref(reader);
	return ret;
}

static void lower(uint64_t *value, uint64_t other)
{
	if (other < *value)
		*value = other;
}

/* Of all columns together: the least of what each has come to, the sum of what it took. */
static void add_column(struct sde_storage_info *all, const struct sde_storage_info *one, bool first)
{
	if (first) {
		all->segments = one->segments;
		all->ring_io = one->ring_io;
		all->synced = one->synced;
		all->sealed = one->sealed;
		all->first_time = one->first_time;
		all->first_iteration = one->first_iteration;
		all->last_time = one->last_time;
		all->last_iteration = one->last_iteration;
	}
	lower(&all->synced, one->synced);
	lower(&all->sealed, one->sealed);
	all->raw_bytes += one->raw_bytes;
	all->stored_bytes += one->stored_bytes;
	all->chunk_files += one->chunk_files;
	all->stalls += one->stalls;
	all->stalled_ns += one->stalled_ns;
	all->memory_bytes += one->memory_bytes;
}

static int share_info(void *self, struct sde_storage_info *info, struct sde_error *error)
{
	struct sde__share *share = self;
	struct sde__publisher_counts counts;
	int ret = 0;

	sde__zarr_view_info(&share->config.metadata, info);
	info->ensemble.trajectories = share->trajectories;
	info->state = SDE_STATE_RUNNING;
	info->sync = share->config.sync;
	info->segments = share->config.layout.segments;
	info->threads = share->config.threads;
	info->committed = __atomic_load_n(&share->next, __ATOMIC_RELAXED);
	info->published = __atomic_load_n(&share->agreed, __ATOMIC_RELAXED);
	info->sealed = info->synced = share->count ? 0 : info->published;
	if (sde__share_leads(share)) {
		sde__publisher_counts(share->column[0].writer->publisher, &counts);
		info->published = counts.published;
	}
	for (uint64_t i = 0; i < share->count && !ret; i++) {
		struct sde_storage_info one = *info;

		one.first_iteration = one.last_iteration = -1;
		ret = sde__zarr_backend.info(share->column[i].writer, &one, error);
		if (!ret)
			add_column(info, &one, i == 0);
	}
	return ret;
}

static const char *share_attributes(void *self)
{
	const struct sde__share *share = self;

	return share->config.metadata.attributes ? share->config.metadata.attributes : "{}";
}

static const char *share_time_units(void *self)
{
	const struct sde__share *share = self;

	return share->config.metadata.time_units ? share->config.metadata.time_units : "";
}

static const struct sde_backend backend = {
	.size = sizeof(struct sde_backend),
	.kind = "zarr",
	.store = share_store,
	.save = share_save,
	.values = share_values,
	.close = share_close,
	.reserve = share_reserve,
	.commit = share_commit,
	.set_state = share_set_state,
	.state = share_state,
	.sync = share_sync,
	.truncate = share_truncate,
	.iterations = share_iterations,
	.arrays = share_arrays,
	.info = share_info,
	.verify = share_verify,
	.attributes = share_attributes,
	.time_units = share_time_units,
	.last = share_last,
};

int sde__share_derive(struct sde_storage **out, struct sde__share *share, struct sde_error *error)
{
	const struct sde__geometry *g = &share->config.metadata.geometry;
	struct sde_derive_options options = SDE_DERIVE_OPTIONS_INIT;
	const struct sde_ensemble ensemble = {
		.dimension = g->dimension, .trajectories = share->count ? share->trajectories : 1,
		.dtype = g->dtype,
	};
	struct sde_backend own = backend;

	/* a slot of the ring holds one column: several are filled by store */
	if (share->count != 1)
		own.reserve = NULL, own.commit = NULL;
	options.stride = share->config.metadata.stride;
	return sde_storage_derive(out, &ensemble, &own, share, &options, error);
}
