/* SPDX-License-Identifier: MIT */
/*
 * The Zarr backend, open for storing: the producer's end of the ring.
 *
 * A snapshot's way is one direction: here it is copied into its slot and
 * committed; the publisher takes it from there. zarr_begin.c knows the order of
 * things at create and resume, zarr_end.c that at save, truncate and close; how each
 * is done is in the rooms below.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_state.h"

#include "planted.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* ------------------------------------------------------------------------
 * Storing
 */

/* Room for snapshot `next`; slow only at the first slot of a segment. */
static int take_room(struct sde__zarr *z, struct sde_error *error)
{
	uint64_t waited;
	int ret;

	ret = sde__publisher_room(z->publisher, z->next / sde__zarr_chunk_size(z), &waited, error);
	if (waited) {
		__atomic_add_fetch(&z->facts.stalls, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&z->facts.stalled_ns, waited, __ATOMIC_RELAXED);
	}
	/* the next chunk is asked for when it begins */
	if (!ret)
		z->limit = (z->next / sde__zarr_chunk_size(z) + 1) * sde__zarr_chunk_size(z);
	return ret;
}

static int claim(struct sde__zarr *z, uint64_t iteration, struct sde_error *error)
{
	const int broken = z->broken.code;
	int ret;

	if (broken)
		return sde__fail(error, broken, "%s", z->broken.text);
	ret = sde__publisher_failed(z->publisher) ? sde__publisher_failure(z->publisher, error) : 0;
	if (ret)
		return ret;
	if (iteration > INT64_MAX)
		return sde__fail(error, -EOVERFLOW, "iteration number %" PRIu64 " does not fit int64",
				 iteration);
	if (z->next >= z->limit) {
		ret = take_room(z, error);
		if (ret)
			return ret;
	}
	ret = sde__ring_claim(z->ring, z->next, error);
	if (ret) {
		sde__publisher_fail(z->publisher, error);
		return ret;
	}
	z->iteration = iteration;
	return 0;
}

static void note_moment(struct sde__zarr *z, double time, int64_t iteration)
{
	uint64_t bits;

	memcpy(&bits, &time, sizeof(bits));
	if (!z->next) {
		__atomic_store_n(&z->facts.first_time, bits, __ATOMIC_RELAXED);
		__atomic_store_n(&z->facts.first_iteration, iteration, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&z->facts.last_time, bits, __ATOMIC_RELAXED);
	__atomic_store_n(&z->facts.last_iteration, iteration, __ATOMIC_RELAXED);
}

/* The slot's head and state, then the counter that makes it a snapshot. */
static int commit(struct sde__zarr *z, double time, struct sde_error *error)
{
	const struct sde__slot_head head = { time, (int64_t)z->iteration,
					     (uint32_t)z->pending_size, false };
	unsigned char bytes[SDE__SLOT_STATE_OFFSET];
	int ret;

	sde__slot_head_write(bytes, &head);
	if (sde__planted("commit-before-time"))
		sde__ring_commit(z->ring, z->next, error);
	ret = sde__ring_fill(z->ring, z->next, 0, bytes, sizeof(bytes), error);
	if (!ret && z->pending_size)
		ret = sde__ring_fill(z->ring, z->next, SDE__SLOT_STATE_OFFSET, z->pending,
				     z->pending_size, error);
	if (ret)
		return ret;
	return z->config.sync == SDE_SYNC_SNAPSHOT ?
	       sde__ring_commit_synced(z->ring, z->next, error) :
	       sde__ring_commit(z->ring, z->next, error);
}

static int finish(struct sde__zarr *z, double time, struct sde_error *error)
{
	const int ret = commit(z, time, error);
	unsigned char *swap;

	if (ret) {
		sde__publisher_fail(z->publisher, error);
		/* the counter may have been raised before the device failed */
		if (sde__ring_get(z->ring, SDE__RING_COMMITTED) <= z->next)
			return ret;
	}
	note_moment(z, time, (int64_t)z->iteration);
	swap = z->last;
	z->last = z->pending;
	z->last_size = z->pending_size;
	z->pending = swap;
	z->pending_size = 0;
	z->next++;
	if (z->next % sde__zarr_chunk_size(z) == 0)
		sde__publisher_filled(z->publisher, z->next / sde__zarr_chunk_size(z));
	return ret;
}

static int zarr_store(void *self, double time, const void *data, uint64_t iteration_number,
		      struct sde_error *error)
{
	struct sde__zarr *z = self;
	int ret;

	ret = claim(z, iteration_number, error);
	if (ret)
		return ret;
	if (sde__planted("commit-before-payload"))
		sde__ring_commit(z->ring, z->next, error);
	ret = sde__ring_fill(z->ring, z->next, z->config.layout.payload_offset, data,
			     sde__snapshot_bytes(&z->config.layout.geometry), error);
	if (!ret)
		return finish(z, time, error);
	sde__publisher_fail(z->publisher, error);
	return ret;
}

static int zarr_reserve(void *self, uint64_t iteration_number, void **out, struct sde_error *error)
{
	struct sde__zarr *z = self;
	int ret;

	ret = claim(z, iteration_number, error);
	if (!ret)
		*out = sde__ring_slot(z->ring, z->next) + z->config.layout.payload_offset;
	return ret;
}

static int zarr_commit(void *self, double time, struct sde_error *error)
{
	return finish(self, time, error);
}

static int zarr_set_state(void *self, const void *bytes, size_t n, struct sde_error *error)
{
	struct sde__zarr *z = self;

	if (n > z->config.layout.state_capacity)
		return sde__fail(error, -ENOSPC, "a state of %zu bytes, but state_capacity is %u", n,
				 z->config.layout.state_capacity);
	if (n)
		memcpy(z->pending, bytes, n);
	z->pending_size = n;
	return 0;
}

static int zarr_state(void *self, void *bytes, size_t *n, struct sde_error *error)
{
	const struct sde__zarr *z = self;
	const size_t room = *n;

	*n = z->last_size;
	if (!z->last_size)
		return sde__fail(error, SDE_E_NO_DATA, "the last snapshot of '%s' has no state",
				 z->home.path);
	if (room < z->last_size)
		return sde__fail(error, -ERANGE, "the state takes %zu bytes, not %zu", z->last_size,
				 room);
	memcpy(bytes, z->last, z->last_size);
	return 0;
}

/* ------------------------------------------------------------------------
 * Sync
 */

static int zarr_sync(void *self, struct sde_error *error)
{
	struct sde__zarr *z = self;
	struct sde_error why = { 0 };
	int ret;

	if (z->broken.code)
		return sde__fail(error, z->broken.code, "%s", z->broken.text);
	ret = sde__publisher_failure(z->publisher, error);
	if (ret)
		return ret;
	ret = sde__ring_sync(z->ring, z->next, &why);
	if (!ret)
		return 0;
	/* a second try would succeed and prove nothing */
	if (!sde__planted("sync-retried"))
		sde__publisher_fail(z->publisher, &why);
	return sde__fail(error, ret, "%s", why.text);
}

/* ------------------------------------------------------------------------
 * Readers of it
 */

int sde__zarr_newest_reader(struct sde__zarr *z, struct sde__reader **out,
			    struct sde_error *error)
{
	const uint64_t committed = sde__ring_get(z->ring, SDE__RING_COMMITTED);
	const uint64_t epoch = sde__ring_get(z->ring, SDE__RING_EPOCH);
	int ret = 0;

	pthread_mutex_lock(&z->lock);
	if (!z->reader || z->reader->snapshots < committed || z->reader->metadata.epoch != epoch) {
		sde__reader_unref(z->reader);
		z->reader = NULL;
		ret = sde__reader_reopen(&z->reader, &z->home, false, false, SDE_RING_DEFAULT,
					 &z->config.log, error);
	}
	*out = ret ? NULL : sde__reader_ref(z->reader);
	pthread_mutex_unlock(&z->lock);
	return ret;
}

void sde__zarr_drop_reader(struct sde__zarr *z)
{
	pthread_mutex_lock(&z->lock);
	sde__reader_unref(z->reader);
	z->reader = NULL;
	pthread_mutex_unlock(&z->lock);
}

/* ------------------------------------------------------------------------
 * Looking at it
 */

static int zarr_values(void *self, struct sde_array **time, struct sde_array **data,
		       struct sde_error *error)
{
	struct sde__reader *reader;
	int ret;

	ret = sde__zarr_newest_reader(self, &reader, error);
	if (ret)
		return ret;
	ret = sde__zarr_view_values(reader, time, data, error);
	sde__reader_unref(reader);
	return ret;
}

static int zarr_iterations(void *self, struct sde_array **iteration, struct sde_error *error)
{
	struct sde__reader *reader;
	int ret;

	ret = sde__zarr_newest_reader(self, &reader, error);
	if (ret)
		return ret;
	ret = sde__zarr_view_iterations(reader, iteration, error);
	sde__reader_unref(reader);
	return ret;
}

static int zarr_arrays(void *self, struct sde_array **time, struct sde_array **data,
		       struct sde_array **iteration, struct sde_error *error)
{
	struct sde__reader *reader;
	int ret;

	ret = sde__zarr_newest_reader(self, &reader, error);
	if (ret)
		return ret;
	ret = sde__zarr_view_arrays(reader, time, data, iteration, error);
	sde__reader_unref(reader);
	return ret;
}

static int zarr_verify(void *self, const struct sde_verify *verify, struct sde_error *error)
{
	struct sde__reader *reader;
	int ret;

	ret = sde__zarr_newest_reader(self, &reader, error);
	if (ret)
		return ret;
	ret = sde__zarr_view_verify(reader, verify, error);
	sde__reader_unref(reader);
	return ret;
}

static int zarr_info(void *self, struct sde_storage_info *info, struct sde_error *error)
{
	struct sde__zarr *z = self;
	struct sde__publisher_counts counts;
	uint64_t bits;

	(void)error;
	sde__zarr_view_info(&z->config.metadata, info);
	info->state = SDE_STATE_RUNNING;
	info->sync = z->config.sync;
	info->segments = z->config.layout.segments;
	info->threads = z->config.threads;
	info->ring_io = z->ring->header.how;
	sde__publisher_counts(z->publisher, &counts);
	info->published = counts.published;
	info->sealed = sde__ring_get(z->ring, SDE__RING_SEALED);
	info->synced = sde__ring_synced(z->ring);
	info->committed = sde__ring_get(z->ring, SDE__RING_COMMITTED);
	/* a durable chunk file is as good as a synced slot */
	if (sde__zarr_is_durable(z) && info->synced < info->sealed)
		info->synced = info->sealed;
	if (sde__zarr_is_durable(z) && info->synced < info->published)
		info->synced = info->published;
	info->raw_bytes = counts.held * sde__snapshot_bytes(&z->config.layout.geometry);
	info->chunk_files = counts.chunk_files;
	info->stored_bytes = counts.stored_bytes;
	info->stalls = __atomic_load_n(&z->facts.stalls, __ATOMIC_RELAXED);
	info->stalled_ns = __atomic_load_n(&z->facts.stalled_ns, __ATOMIC_RELAXED);
	info->memory_bytes = sde__zarr_config_memory(&z->config);
	if (!info->committed)
		return 0;
	bits = __atomic_load_n(&z->facts.first_time, __ATOMIC_RELAXED);
	memcpy(&info->first_time, &bits, sizeof(bits));
	bits = __atomic_load_n(&z->facts.last_time, __ATOMIC_RELAXED);
	memcpy(&info->last_time, &bits, sizeof(bits));
	info->first_iteration = __atomic_load_n(&z->facts.first_iteration, __ATOMIC_RELAXED);
	info->last_iteration = __atomic_load_n(&z->facts.last_iteration, __ATOMIC_RELAXED);
	return 0;
}

static const char *zarr_attributes(void *self)
{
	const struct sde__zarr *z = self;

	return z->config.metadata.attributes ? z->config.metadata.attributes : "{}";
}

static const char *zarr_time_units(void *self)
{
	const struct sde__zarr *z = self;

	return z->config.metadata.time_units ? z->config.metadata.time_units : "";
}

const struct sde_backend sde__zarr_backend = {
	.size = sizeof(struct sde_backend),
	.kind = "zarr",
	.store = zarr_store,
	.save = sde__zarr_save,
	.values = zarr_values,
	.close = sde__zarr_close,
	.reserve = zarr_reserve,
	.commit = zarr_commit,
	.set_state = zarr_set_state,
	.state = zarr_state,
	.sync = zarr_sync,
	.truncate = sde__zarr_truncate,
	.iterations = zarr_iterations,
	.arrays = zarr_arrays,
	.info = zarr_info,
	.verify = zarr_verify,
	.attributes = zarr_attributes,
	.time_units = zarr_time_units,
	.last = sde__zarr_last,
};
