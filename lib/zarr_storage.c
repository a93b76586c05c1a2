/* SPDX-License-Identifier: MIT */
/*
 * The Zarr backend, open for storing: the producer's end of the ring.
 *
 * A snapshot's way is one direction: here it is copied into its slot and
 * committed; the publisher takes it from there. This file knows the order of
 * things at create, resume, truncate and close; how each is done is in the
 * rooms below.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_storage.h"

#include "chunk_list.h"
#include "publisher.h"
#include "recover.h"
#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Facts that info shows while the producer changes them: relaxed atomics. */
struct facts {
	uint64_t first_time, last_time;	/* bits of a double */
	int64_t first_iteration, last_iteration;
	uint64_t stalls, stalled_ns;
};

struct zarr {
	const struct sde__io *io;
	bool synchronous;
	struct sde__home home;
	struct sde__zarr_config config;
	struct sde__ring *ring;
	struct sde__publisher *publisher;
	uint64_t next;			/* index of the next snapshot */
	uint64_t limit;			/* below it, slots are free for the taking */
	uint64_t iteration;		/* of the reserved slot */
	unsigned char *pending;		/* state of the next snapshot */
	unsigned char *last;		/* state of the last one */
	size_t pending_size, last_size;
	struct sde_error broken;	/* truncate failed half way */
	struct facts facts;
	pthread_mutex_t lock;		/* guards reader */
	struct sde__reader *reader;	/* of the newest values */
};

static bool is_durable(const struct zarr *z)
{
	return z->config.sync != SDE_SYNC_NONE;
}

static uint64_t chunk_size(const struct zarr *z)
{
	return z->config.layout.geometry.chunk_size;
}

/* ------------------------------------------------------------------------
 * Storing
 */

/* Room for snapshot `next`; slow only at the first slot of a segment. */
static int take_room(struct zarr *z, struct sde_error *error)
{
	uint64_t waited;
	int ret;

	ret = sde__publisher_room(z->publisher, z->next / chunk_size(z), &waited, error);
	if (waited) {
		__atomic_add_fetch(&z->facts.stalls, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&z->facts.stalled_ns, waited, __ATOMIC_RELAXED);
	}
	if (!ret)
		z->limit = sde__publisher_limit(z->publisher) * chunk_size(z);
	return ret;
}

static int claim(struct zarr *z, uint64_t iteration, unsigned char **slot, struct sde_error *error)
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
	sde__ring_claim(z->ring, z->next);
	z->iteration = iteration;
	*slot = sde__ring_slot(z->ring, z->next);
	return 0;
}

static void note_moment(struct zarr *z, double time, int64_t iteration)
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
static int finish(struct zarr *z, double time, unsigned char *slot, struct sde_error *error)
{
	const struct sde__slot_head head = { time, (int64_t)z->iteration,
					     (uint32_t)z->pending_size };
	unsigned char bytes[SDE__SLOT_STATE_OFFSET];
	unsigned char *swap;
	int ret = 0;

	sde__slot_head_write(bytes, &head);
	z->io->copy(z->io->ctx, slot, bytes, sizeof(bytes));
	if (z->pending_size)
		z->io->copy(z->io->ctx, slot + SDE__SLOT_STATE_OFFSET, z->pending, z->pending_size);
	if (z->config.sync == SDE_SYNC_SNAPSHOT)
		ret = sde__ring_commit_synced(z->ring, z->next, error);
	else
		sde__ring_commit(z->ring, z->next);
	if (ret) {
		sde__publisher_fail(z->publisher, error);
		/* the counter may have been raised before the device failed */
		if (sde__ring_get(z->ring, SDE__RING_COMMITTED) <= z->next)
			return ret;
	}
	note_moment(z, time, head.iteration);
	swap = z->last;
	z->last = z->pending;
	z->last_size = z->pending_size;
	z->pending = swap;
	z->pending_size = 0;
	z->next++;
	if (z->next % chunk_size(z) == 0)
		sde__publisher_filled(z->publisher, z->next / chunk_size(z));
	return ret;
}

static int zarr_store(void *self, double time, const void *data, uint64_t iteration_number,
		      struct sde_error *error)
{
	struct zarr *z = self;
	unsigned char *slot;
	int ret;

	ret = claim(z, iteration_number, &slot, error);
	if (ret)
		return ret;
	z->io->copy(z->io->ctx, slot + z->config.layout.payload_offset, data,
		    sde__snapshot_bytes(&z->config.layout.geometry));
	return finish(z, time, slot, error);
}

static int zarr_reserve(void *self, uint64_t iteration_number, void **out, struct sde_error *error)
{
	struct zarr *z = self;
	unsigned char *slot;
	int ret;

	ret = claim(z, iteration_number, &slot, error);
	if (!ret)
		*out = slot + z->config.layout.payload_offset;
	return ret;
}

static int zarr_commit(void *self, double time, struct sde_error *error)
{
	struct zarr *z = self;

	return finish(z, time, sde__ring_slot(z->ring, z->next), error);
}

static int zarr_set_state(void *self, const void *bytes, size_t n, struct sde_error *error)
{
	struct zarr *z = self;

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
	const struct zarr *z = self;
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
 * Save, sync
 */

static int zarr_save(void *self, struct sde_error *error)
{
	struct zarr *z = self;

	if (z->broken.code)
		return sde__fail(error, z->broken.code, "%s", z->broken.text);
	return sde__publisher_save(z->publisher, z->next, error);
}

static int zarr_sync(void *self, struct sde_error *error)
{
	struct zarr *z = self;
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
	sde__publisher_fail(z->publisher, &why);
	return sde__fail(error, ret, "%s", why.text);
}

/* ------------------------------------------------------------------------
 * Looking at it
 */

/* A reader of everything stored so far; the caller's reference. */
static int newest_reader(struct zarr *z, struct sde__reader **out, struct sde_error *error)
{
	const uint64_t committed = sde__ring_get(z->ring, SDE__RING_COMMITTED);
	const uint64_t epoch = sde__ring_get(z->ring, SDE__RING_EPOCH);
	int ret = 0;

	pthread_mutex_lock(&z->lock);
	if (!z->reader || z->reader->snapshots < committed || z->reader->metadata.epoch != epoch) {
		sde__reader_unref(z->reader);
		z->reader = NULL;
		ret = sde__reader_reopen(&z->reader, &z->home, false, SDE_RING_DEFAULT, &z->config.log,
					 error);
	}
	*out = ret ? NULL : sde__reader_ref(z->reader);
	pthread_mutex_unlock(&z->lock);
	return ret;
}

static void drop_reader(struct zarr *z)
{
	pthread_mutex_lock(&z->lock);
	sde__reader_unref(z->reader);
	z->reader = NULL;
	pthread_mutex_unlock(&z->lock);
}

static int zarr_values(void *self, struct sde_array **time, struct sde_array **data,
		       struct sde_error *error)
{
	struct sde__reader *reader;
	int ret;

	ret = newest_reader(self, &reader, error);
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

	ret = newest_reader(self, &reader, error);
	if (ret)
		return ret;
	ret = sde__zarr_view_iterations(reader, iteration, error);
	sde__reader_unref(reader);
	return ret;
}

static int zarr_verify(void *self, const struct sde_verify *verify, struct sde_error *error)
{
	struct sde__reader *reader;
	int ret;

	ret = newest_reader(self, &reader, error);
	if (ret)
		return ret;
	ret = sde__zarr_view_verify(reader, verify, error);
	sde__reader_unref(reader);
	return ret;
}

static int zarr_info(void *self, struct sde_storage_info *info, struct sde_error *error)
{
	struct zarr *z = self;
	struct sde__publisher_counts counts;
	uint64_t bits;

	(void)error;
	sde__zarr_view_info(&z->config.metadata, info);
	info->state = SDE_STATE_RUNNING;
	info->sync = z->config.sync;
	info->segments = z->config.layout.segments;
	info->threads = z->config.threads;
	sde__publisher_counts(z->publisher, &counts);
	info->published = counts.published;
	info->sealed = sde__ring_get(z->ring, SDE__RING_SEALED);
	info->synced = sde__ring_get(z->ring, SDE__RING_SYNCED);
	info->committed = sde__ring_get(z->ring, SDE__RING_COMMITTED);
	/* a durable chunk file is as good as a synced slot */
	if (is_durable(z) && info->synced < info->sealed)
		info->synced = info->sealed;
	if (is_durable(z) && info->synced < info->published)
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
	const struct zarr *z = self;

	return z->config.metadata.attributes ? z->config.metadata.attributes : "{}";
}

static const char *zarr_time_units(void *self)
{
	const struct zarr *z = self;

	return z->config.metadata.time_units ? z->config.metadata.time_units : "";
}

/* ------------------------------------------------------------------------
 * Beginning: what create, resume and truncate share
 */

/* Time, iteration and state of the last snapshot, from files or an old ring. */
static int remember(struct zarr *z, struct sde__reader *reader, uint64_t snapshots,
		    struct sde_error *error)
{
	int64_t first_iteration, last_iteration;
	uint64_t bits[2];
	double first, last;
	int ret;

	z->last_size = 0;
	if (!snapshots)
		return 0;
	ret = sde__zarr_view_moment(reader, 0, &first, &first_iteration, error);
	if (!ret)
		ret = sde__zarr_view_moment(reader, snapshots - 1, &last, &last_iteration, error);
	if (ret)
		return ret;
	memcpy(&bits[0], &first, sizeof(first));
	memcpy(&bits[1], &last, sizeof(last));
	__atomic_store_n(&z->facts.first_time, bits[0], __ATOMIC_RELAXED);
	__atomic_store_n(&z->facts.first_iteration, first_iteration, __ATOMIC_RELAXED);
	__atomic_store_n(&z->facts.last_time, bits[1], __ATOMIC_RELAXED);
	__atomic_store_n(&z->facts.last_iteration, last_iteration, __ATOMIC_RELAXED);
	z->last_size = z->config.layout.state_capacity;
	return sde__zarr_view_state(reader, snapshots - 1, z->last, &z->last_size, error);
}

/* The snapshots of an incomplete last chunk, back into their slots. */
static int refill(struct zarr *z, struct sde__reader *reader, uint64_t snapshots,
		  struct sde_error *error)
{
	const uint64_t chunk = snapshots / chunk_size(z);
	struct sde__cursor cursor;
	int ret;

	if (snapshots % chunk_size(z) == 0)
		return 0;
	ret = sde__cursor_init(&cursor, reader, error);
	if (!ret)
		ret = sde__reader_slots(&cursor, chunk, snapshots % chunk_size(z), &z->config.layout,
					sde__ring_slot(z->ring, chunk * chunk_size(z)), error);
	sde__cursor_free(&cursor);
	return ret;
}

static int start_publisher(struct zarr *z, struct sde_error *error)
{
	struct sde__publisher_config config = {
		.io = z->io, .home = &z->home, .ring = z->ring, .metadata = &z->config.metadata,
		.codec = z->config.codec, .sync = z->config.sync,
		.sync_interval_ms = z->config.sync_interval_ms, .threads = z->config.threads,
		.synchronous = z->synchronous,
	};
	const uint64_t chunks = (z->next + chunk_size(z) - 1) / chunk_size(z);
	uint64_t files, bytes;
	int ret;

	memcpy(config.run, z->config.run, sizeof(config.run));
	ret = sde__chunk_list_count(&z->home, &z->config.layout.geometry, chunks, &files, &bytes, error);
	if (!ret)
		ret = sde__publisher_start(&z->publisher, &config, error);
	if (!ret)
		sde__publisher_add_counts(z->publisher, files, bytes);
	return ret;
}

static struct zarr *zarr_new(const struct sde__zarr_hooks *hooks)
{
	struct zarr *z = calloc(1, sizeof(*z));

	if (!z)
		return NULL;
	z->io = hooks->io;
	z->synchronous = hooks->synchronous;
	sde__home_init(&z->home, z->io);
	pthread_mutex_init(&z->lock, NULL);
	return z;
}

static void zarr_free(struct zarr *z)
{
	sde__publisher_stop(z->publisher);
	sde__reader_unref(z->reader);
	sde__ring_free(z->ring);
	sde__home_close(&z->home);
	sde__zarr_config_clear(&z->config);
	pthread_mutex_destroy(&z->lock);
	free(z->pending);
	free(z->last);
	free(z);
}

static int make_state_buffers(struct zarr *z, struct sde_error *error)
{
	const size_t room = (size_t)z->config.layout.state_capacity + 1;

	z->pending = malloc(room);
	z->last = malloc(room);
	return z->pending && z->last ? 0 : sde__fail(error, -ENOMEM, "out of memory");
}

static int lay_ring(struct zarr *z, struct sde_error *error)
{
	struct sde__ring_header header = { .layout = z->config.layout };

	memcpy(header.run, z->config.run, sizeof(header.run));
	return sde__ring_prepare(&z->ring, z->io, z->home.ring, &header, error);
}

/* ------------------------------------------------------------------------
 * Truncate, close
 */

/* After the smaller metadata are durable: ring, files, counters follow. */
static int follow_truncate(struct zarr *z, uint64_t snapshots, struct sde_error *error)
{
	const uint64_t size = chunk_size(z), old = (z->next + size - 1) / size;
	struct sde__reader *reader;
	uint64_t files, bytes;
	int ret;

	ret = sde__ring_suspend(z->ring, is_durable(z), error);
	if (ret)
		return ret;
	/* the ring is of no epoch now, so this reader has the files alone */
	ret = sde__reader_reopen(&reader, &z->home, true, SDE_RING_DISCARD, NULL, error);
	if (ret)
		return ret;
	ret = refill(z, reader, snapshots, error);
	if (!ret)
		ret = remember(z, reader, snapshots, error);
	sde__reader_unref(reader);
	if (!ret)
		ret = sde__ring_restart(z->ring, snapshots / size * size, snapshots,
					z->config.metadata.epoch, is_durable(z), error);
	for (uint64_t k = (snapshots + size - 1) / size; k < old && !ret; k++)
		ret = sde__shard_remove(&z->home, &z->config.layout.geometry, k, error);
	if (!ret)
		ret = sde__publisher_reset(z->publisher, error);
	if (!ret)
		ret = sde__chunk_list_count(&z->home, &z->config.layout.geometry,
					    (snapshots + size - 1) / size, &files, &bytes, error);
	if (!ret)
		sde__publisher_add_counts(z->publisher, files, bytes);
	z->next = snapshots;
	z->limit = 0;
	return ret;
}

static int zarr_truncate(void *self, uint64_t snapshots, struct sde_error *error)
{
	struct zarr *z = self;
	struct sde__metadata metadata;
	int ret;

	if (snapshots > z->next)
		return sde__fail(error, -EINVAL, "cannot truncate '%s' of %" PRIu64 " snapshots to %" PRIu64,
				 z->home.path, z->next, snapshots);
	ret = zarr_save(z, error);
	if (ret || snapshots == z->next)
		return ret;
	sde__publisher_pause(z->publisher);
	metadata = z->config.metadata;
	metadata.epoch++;
	metadata.snapshots = snapshots;
	ret = sde__documents_write(&z->home, &metadata, true, is_durable(z), error);
	if (!ret) {
		/* info may be asked for it by another thread right now */
		__atomic_store_n(&z->config.metadata.epoch, metadata.epoch, __ATOMIC_RELAXED);
		z->config.metadata.snapshots = snapshots;
		ret = follow_truncate(z, snapshots, error);
	}
	drop_reader(z);
	/* files and memory no longer agree: only opening it anew sorts that out */
	if (ret)
		z->broken = *error;
	return ret;
}

/* Everything is published: the ring has done its work. */
static int remove_ring(struct zarr *z, struct sde_error *error)
{
	int ret;

	ret = sde__ring_remove_files(z->io, z->home.ring, error);
	return ret ? ret : sde__home_leave_ring(&z->home, is_durable(z), error);
}

static int zarr_close(void *self, struct sde_error *error)
{
	struct zarr *z = self;
	int ret;

	ret = zarr_save(z, error);
	if (ret) {
		/* the ring stays for resume: make it as safe as it can be */
		if (!z->broken.code)
			sde__ring_sync(z->ring, z->next, NULL);
	} else {
		sde__publisher_stop(z->publisher);
		z->publisher = NULL;
		ret = remove_ring(z, error);
	}
	zarr_free(z);
	return ret;
}

/* ------------------------------------------------------------------------
 * Create, resume
 */

static const struct sde_backend zarr_backend = {
	.size = sizeof(struct sde_backend),
	.kind = "zarr",
	.store = zarr_store,
	.save = zarr_save,
	.values = zarr_values,
	.close = zarr_close,
	.reserve = zarr_reserve,
	.commit = zarr_commit,
	.set_state = zarr_set_state,
	.state = zarr_state,
	.sync = zarr_sync,
	.truncate = zarr_truncate,
	.iterations = zarr_iterations,
	.info = zarr_info,
	.verify = zarr_verify,
	.attributes = zarr_attributes,
	.time_units = zarr_time_units,
};

/* The store that is to be replaced: one of ours, and nobody's at the moment. */
static int take_old(struct sde__home *old, const struct sde__home *home, struct sde_error *error)
{
	struct sde__metadata metadata = { 0 };
	int ret;

	ret = sde__home_open_old(old, home, error);
	if (!ret)
		ret = sde__documents_read(old, &metadata, error);
	sde__metadata_clear(&metadata);
	if (!ret)
		ret = sde__home_enter(old, error);
	return ret ? ret : sde__home_lock(old, error);
}

static int build(struct zarr *z, const char *path, struct sde__home *old, struct sde_error *error)
{
	unsigned char run[16];
	bool exists;
	int ret;

	ret = z->io->random(z->io->ctx, run, sizeof(run));
	if (ret)
		return sde__fail_why(error, ret, "no random numbers");
	sde__zarr_config_set_run(&z->config, run);
	ret = make_state_buffers(z, error);
	z->home.format = z->config.metadata.zarr_format;
	if (!ret)
		ret = sde__home_build(&z->home, path, z->config.options.overwrite, &exists, error);
	if (!ret && exists)
		ret = take_old(old, &z->home, error);
	if (!ret)
		ret = sde__documents_create(&z->home, &z->config.metadata, is_durable(z), error);
	if (!ret)
		ret = lay_ring(z, error);
	if (!ret)
		ret = sde__ring_enact(z->ring, 0, 0, 0, is_durable(z), error);
	if (!ret)
		ret = start_publisher(z, error);
	return ret ? ret : sde__home_settle(&z->home, exists ? old : NULL, error);
}

/* Build it, or leave everything as it was. */
static int build_or_undo(struct zarr *z, const char *path, struct sde_error *error)
{
	struct sde__home old;
	int ret;

	sde__home_init(&old, z->io);
	ret = build(z, path, &old, error);
	if (ret) {
		sde__publisher_stop(z->publisher);
		z->publisher = NULL;
		sde__home_undo(&z->home);
		sde__home_leave_idle_ring(&old);
	}
	sde__home_close(&old);
	return ret;
}

int sde__zarr_create(struct sde_storage **out, const char *save_directory,
		     const struct sde_ensemble *ensemble, const struct sde_zarr_options *options,
		     const struct sde__zarr_hooks *hooks, struct sde_error *error)
{
	struct sde_derive_options derive = SDE_DERIVE_OPTIONS_INIT;
	struct zarr *z;
	int ret;

	if (!out)
		return sde__fail(error, -EINVAL, "no place for the storage");
	*out = NULL;
	if (!save_directory || !*save_directory)
		return sde__fail(error, -EINVAL, "no save_directory given");
	z = zarr_new(hooks);
	if (!z)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = sde__zarr_config_new(&z->config, ensemble, options, error);
	if (ret)
		goto fail;
	sde__zarr_config_warn(&z->config);
	derive.stride = z->config.metadata.stride;
	derive.save_directory = save_directory;
	derive.make_directory = z->config.options.make_directory;
	derive.make_directory_ctx = z->config.options.make_directory_ctx;
	/* makes the parent directories, so it comes before the store's own */
	ret = sde_storage_derive(out, ensemble, &zarr_backend, z, &derive, error);
	if (ret)
		goto fail;
	ret = build_or_undo(z, save_directory, error);
	if (!ret)
		return 0;
	sde__storage_disown(*out);
	*out = NULL;
fail:
	zarr_free(z);
	return ret;
}

/* The store's own metadata against the options, under the lock. */
static int reopen(struct zarr *z, const char *path, struct sde__reader **reader,
		  struct sde_error *error)
{
	int ret;

	ret = sde__home_open(&z->home, path, error);
	if (!ret)
		/* says whether it is a store at all, before anything is made in it */
		ret = sde__documents_read(&z->home, &z->config.metadata, error);
	sde__metadata_clear(&z->config.metadata);
	if (!ret)
		ret = sde__home_enter(&z->home, error);
	if (!ret)
		ret = sde__home_lock(&z->home, error);
	if (!ret)
		ret = sde__reader_reopen(reader, &z->home, true, z->config.options.ring,
					 &z->config.log, error);
	if (ret)
		return ret;
	if ((*reader)->ignored)
		return sde__fail(error, SDE_E_MISMATCH,
				 "the ring of '%s' was copied here or is another store's, with %" PRIu64
				 " snapshots: choose ring trust or discard", path, (*reader)->ignored);
	return 0;
}

static int take_over(struct zarr *z, const char *path, struct sde__reader *reader,
		     struct sde_error *error)
{
	struct sde__metadata metadata = { 0 };
	uint64_t snapshots;
	int ret;

	ret = sde__documents_read(&z->home, &metadata, error);
	if (!ret)
		ret = sde__zarr_config_adopt(&z->config, &metadata, path, error);
	sde__metadata_clear(&metadata);
	if (ret)
		return ret;
	memcpy(z->config.run, reader->run, sizeof(z->config.run));
	ret = make_state_buffers(z, error);
	if (!ret)
		ret = sde__recover(reader, &z->config, error);
	if (ret)
		return ret;
	/* the old ring's files are still open in the reader, if it had any */
	snapshots = z->next = z->config.metadata.snapshots;
	ret = remember(z, reader, snapshots, error);
	if (!ret)
		ret = lay_ring(z, error);
	if (!ret)
		ret = refill(z, reader, snapshots, error);
	if (!ret)
		ret = sde__ring_enact(z->ring, snapshots / chunk_size(z) * chunk_size(z), snapshots,
				      z->config.metadata.epoch, is_durable(z), error);
	return ret ? ret : start_publisher(z, error);
}

int sde__zarr_resume(struct sde_storage **out, const char *save_directory,
		     const struct sde_zarr_options *options,
		     const struct sde__zarr_hooks *hooks, struct sde_error *error)
{
	struct sde_derive_options derive = SDE_DERIVE_OPTIONS_INIT;
	struct sde__reader *reader = NULL;
	struct sde_ensemble ensemble;
	struct zarr *z;
	int ret;

	if (!out)
		return sde__fail(error, -EINVAL, "no place for the storage");
	*out = NULL;
	if (!save_directory || !*save_directory)
		return sde__fail(error, -EINVAL, "no save_directory given");
	z = zarr_new(hooks);
	if (!z)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = sde__zarr_config_resumed(&z->config, options, error);
	if (!ret)
		ret = reopen(z, save_directory, &reader, error);
	if (!ret)
		ret = take_over(z, save_directory, reader, error);
	sde__reader_unref(reader);
	if (ret)
		goto fail;
	ensemble.dimension = z->config.layout.geometry.dimension;
	ensemble.trajectories = z->config.layout.geometry.trajectories;
	ensemble.dtype = z->config.layout.geometry.dtype;
	derive.stride = z->config.metadata.stride;
	ret = sde_storage_derive(out, &ensemble, &zarr_backend, z, &derive, error);
	if (!ret)
		return 0;
fail:
	/* a closed store that could not be resumed is left as it was; a new ring
	 * was laid only after all of the old one had been published */
	if (z->ring)
		sde__ring_remove_files(z->io, z->home.ring, NULL);
	sde__home_leave_idle_ring(&z->home);
	zarr_free(z);
	return ret;
}
