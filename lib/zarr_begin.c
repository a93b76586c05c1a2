/* SPDX-License-Identifier: MIT */
/*
 * How a Zarr storage comes to be: a new store built beside its name and put in
 * place, or an old one locked, recovered and gone on with.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_state.h"

#include "chunk_list.h"
#include "guard.h"
#include "planted.h"
#include "recover.h"
#include "share_storage.h"
#include "storage.h"
#include "unsynced.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int sde__zarr_start_publisher(struct sde__zarr *z, const struct sde__zarr_filed *filed,
			      struct sde_error *error)
{
	struct sde__publisher_config config = {
		.io = z->io, .home = &z->home, .ring = z->ring, .metadata = sde__zarr_metadata(z),
		.codec = z->config.codec, .sync = z->config.sync,
		.sync_interval_ms = z->config.sync_interval_ms, .threads = z->config.threads,
		.synchronous = z->synchronous, .group = z->group,
	};
	int ret;

	memcpy(config.run, z->config.run, sizeof(config.run));
	ret = sde__publisher_start(&z->publisher, &config, error);
	if (!ret)
		sde__publisher_add_counts(z->publisher, filed->files, filed->bytes);
	if (!ret && z->tell)
		*z->tell = z->publisher;
	return ret;
}

struct sde__zarr *sde__zarr_new(const struct sde__zarr_hooks *hooks)
{
	struct sde__zarr *z = calloc(1, sizeof(*z));

	if (!z)
		return NULL;
	z->io = hooks->io;
	z->synchronous = hooks->synchronous;
	z->tell = hooks->publisher;
	sde__home_init(&z->home, z->io);
	pthread_mutex_init(&z->lock, NULL);
	return z;
}

int sde__zarr_make_state_buffers(struct sde__zarr *z, struct sde_error *error)
{
	const size_t room = (size_t)z->config.layout.state_capacity + 1;

	z->pending = malloc(room);
	z->last = malloc(room);
	return z->pending && z->last ? 0 : sde__fail(error, -ENOMEM, "out of memory");
}

int sde__zarr_lay_ring(struct sde__zarr *z, struct sde_error *error)
{
	struct sde__ring_header header = { .ring_io = z->config.options.ring_io };
	const bool guarded = z->config.options.sigbus_guard == SDE_SIGBUS_GUARD_ON;
	int ret;

	if (sde__ring_is_in_memory(z->io, z->home.ring))
		sde__zarr_config_in_memory(&z->config);
	header.layout = z->config.layout;
	memcpy(header.run, z->config.run, sizeof(header.run));
	ret = guarded ? sde__guard_install() : 0;
	if (ret)
		return sde__fail_why(error, ret, "cannot install a handler of SIGBUS");
	ret = sde__ring_prepare(&z->ring, z->io, z->home.ring, &header, sde__zarr_is_durable(z),
				error);
	if (!ret && guarded)
		sde__ring_guard(z->ring);
	return ret;
}

void sde__zarr_free(struct sde__zarr *z)
{
	sde__publisher_stop(z->publisher);
	sde__reader_unref(z->reader);
	sde__ring_free(z->ring);
	sde__home_close(&z->home);
	sde__zarr_config_clear(&z->config);
	pthread_mutex_destroy(&z->lock);
	free(z->pending);
	free(z->last);
	free(z->cut_exact);
	free(z);
}

/* ------------------------------------------------------------------------
 * What the ring begins with, after resume and truncate
 */

int sde__zarr_remember(struct sde__zarr *z, struct sde__reader *reader, uint64_t snapshots,
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
	ret = sde__zarr_view_state(reader, snapshots - 1, z->last, &z->last_size, error);
	/* a chunk may say what it likes, a store's own metadata too */
	if (ret == -ERANGE)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the last snapshot of '%s' has a state of %zu bytes, but state_capacity is %u",
				 z->home.path, z->last_size, z->config.layout.state_capacity);
	return ret;
}

struct copying {
	unsigned char *to;
	const unsigned char *from;
	size_t n;
};

static void copy_slots(void *ctx)
{
	const struct copying *c = ctx;

	memcpy(c->to, c->from, c->n);
}

int sde__zarr_refill(struct sde__zarr *z, struct sde__reader *reader, uint64_t snapshots,
		     struct sde_error *error)
{
	const uint64_t size = sde__zarr_chunk_size(z), chunk = snapshots / size;
	unsigned char *slots = sde__ring_slot(z->ring, chunk * size), *apart = NULL;
	struct copying copying = { .to = slots, .n = snapshots % size * z->config.layout.slot_size };
	struct sde__cursor cursor;
	int ret;

	if (!copying.n)
		return 0;
	/* reading allocates, which a fault must not interrupt */
	if (sde__ring_is_guarded(z->ring)) {
		slots = apart = aligned_alloc(64, copying.n);
		if (!apart)
			return sde__fail(error, -ENOMEM, "out of memory");
		/* also what lies between the parts of a slot goes into a file */
		memset(apart, 0, copying.n);
	}
	copying.from = slots;
	sde__cursor_init(&cursor, reader);
	ret = sde__reader_slots(&cursor, chunk, snapshots % size, &z->config.layout, slots, error);
	sde__cursor_free(&cursor);
	if (!ret && apart)
		ret = sde__ring_touch(z->ring, chunk * size, copy_slots, &copying, error);
	free(apart);
	return ret;
}

/* ------------------------------------------------------------------------
 * Create
 */

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

static int build(struct sde__zarr *z, const char *path, struct sde__home *old,
		 struct sde_error *error)
{
	unsigned char run[16];
	bool exists;
	int ret;

	ret = z->io->random(z->io->ctx, run, sizeof(run));
	if (ret)
		return sde__fail_why(error, ret, "no random numbers");
	sde__zarr_config_set_run(&z->config, run);
	ret = sde__zarr_make_state_buffers(z, error);
	z->home.format = z->config.metadata.zarr_format;
	if (!ret)
		ret = sde__home_build(&z->home, path, z->config.options.overwrite, &exists, error);
	if (!ret && exists)
		ret = take_old(old, &z->home, error);
	if (!ret && !sde__zarr_is_durable(z))
		ret = sde__unsynced_mark(&z->home, error);
	if (!ret)
		ret = sde__documents_create(&z->home, &z->config.metadata, sde__zarr_is_durable(z), error);
	if (!ret)
		ret = sde__zarr_lay_ring(z, error);
	if (!ret)
		ret = sde__ring_enact(z->ring, 0, 0, 0, sde__zarr_is_durable(z), error);
	if (!ret)
		ret = sde__zarr_start_publisher(z, &(struct sde__zarr_filed){ 0, 0 }, error);
	return ret ? ret : sde__home_settle(&z->home, exists ? old : NULL, error);
}

/* Build it, or leave everything as it was. */
static int build_or_undo(struct sde__zarr *z, const char *path, struct sde_error *error)
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

/* What create and resume ask first; *z is a writer with nothing open. */
static int begin(struct sde_storage **out, const char *save_directory,
		 const struct sde__zarr_hooks *hooks, struct sde__zarr **z,
		 struct sde_error *error)
{
	if (!out)
		return sde__fail(error, -EINVAL, "no place for the storage");
	*out = NULL;
	if (!save_directory || !*save_directory)
		return sde__fail(error, -EINVAL, "no save_directory given");
	*z = sde__zarr_new(hooks);
	return *z ? 0 : sde__fail(error, -ENOMEM, "out of memory");
}

int sde__zarr_create(struct sde_storage **out, const char *save_directory,
		     const struct sde_ensemble *ensemble, const struct sde_zarr_options *options,
		     const struct sde__zarr_hooks *hooks, struct sde_error *error)
{
	struct sde_derive_options derive = SDE_DERIVE_OPTIONS_INIT;
	struct sde__zarr *z;
	int ret;

	ret = begin(out, save_directory, hooks, &z, error);
	if (ret)
		return ret;
	ret = sde__zarr_config_new(&z->config, ensemble, options, error);
	if (ret)
		goto fail;
	sde__zarr_config_warn(&z->config);
	derive.stride = z->config.metadata.stride;
	derive.save_directory = save_directory;
	derive.make_directory = z->config.options.make_directory;
	derive.make_directory_ctx = z->config.options.make_directory_ctx;
	/* makes the parent directories, so it comes before the store's own */
	ret = sde_storage_derive(out, ensemble, &sde__zarr_backend, z, &derive, error);
	if (ret)
		goto fail;
	ret = build_or_undo(z, save_directory, error);
	if (!ret)
		return 0;
	sde__storage_disown(*out);
	*out = NULL;
fail:
	sde__zarr_free(z);
	return ret;
}

/*
 * The store's own metadata against the options, under the lock. *columns: nothing was
 * done, the store has several.
 */
static int reopen(struct sde__zarr *z, const char *path, struct sde__reader **reader,
		  bool *columns, struct sde_error *error)
{
	int ret;

	ret = sde__home_open(&z->home, path, error);
	if (!ret)
		/* says whether it is a store at all, before anything is made in it */
		ret = sde__documents_read(&z->home, &z->config.metadata, error);
	*columns = !ret && sde__column_count(&z->config.metadata.geometry) > 1;
	sde__metadata_clear(&z->config.metadata);
	if (*columns)
		return 0;
	if (!ret)
		ret = sde__home_enter(&z->home, error);
	if (!ret)
		ret = sde__home_lock(&z->home, error);
	if (!ret)
		ret = sde__reader_reopen(reader, &z->home, true, false, z->config.options.ring,
					 &z->config.log, error);
	if (ret)
		return ret;
	if ((*reader)->ignored)
		return sde__fail(error, SDE_E_MISMATCH,
				 "the ring of '%s' was copied here or is another store's, with %" PRIu64
				 " snapshots: choose ring trust or discard", path, (*reader)->ignored);
	return 0;
}

/*
 * Files of chunks may hold 255 times their bytes (codec.h). A ring, which is some
 * chunks large, is not laid for a store whose files cannot be those of its shape.
 */
int sde__zarr_weigh(const struct sde__zarr *z, struct sde__zarr_filed *filed,
		    struct sde_error *error)
{
	const struct sde__geometry *g = &z->config.layout.geometry;
	const uint64_t chunks = (z->next + g->chunk_size - 1) / g->chunk_size;
	const uint64_t chunk = sde__inner_count(g) * sde__inner_bytes(g);
	const int ret = sde__chunk_list_count(&z->home, g, chunks, &filed->files, &filed->bytes, error);

	if (ret || !chunks || filed->bytes / chunks >= chunk / 255)
		return ret;
	return sde__fail(error, SDE_E_CORRUPT,
			 "the chunk files of '%s' have %" PRIu64 " bytes, too few for %" PRIu64
			 " chunks of %" PRIu64, z->home.path, filed->bytes, chunks, chunk);
}

static int take_over(struct sde__zarr *z, const char *path, struct sde__reader *reader,
		     struct sde_error *error)
{
	struct sde__metadata metadata;
	struct sde__zarr_filed filed = { 0 };
	uint64_t snapshots;
	int ret;

	/* under the lock they have been what the reader read */
	ret = sde__metadata_copy(&metadata, &reader->metadata, error);
	if (!ret)
		ret = sde__zarr_config_adopt(&z->config, &metadata, path, error);
	sde__metadata_clear(&metadata);
	if (ret)
		return ret;
	memcpy(z->config.run, reader->run, sizeof(z->config.run));
	ret = sde__zarr_make_state_buffers(z, error);
	if (sde__planted("ring-removed-before-recovered"))
		sde__ring_remove_files(z->io, z->home.ring, true, NULL);
	if (!ret && !sde__zarr_is_durable(z))
		ret = sde__unsynced_mark(&z->home, error);
	if (!ret)
		ret = sde__recover(reader, &z->config, error);
	if (ret)
		return ret;
	/* the old ring's files are still open in the reader, if it had any */
	snapshots = z->next = z->config.metadata.snapshots;
	ret = sde__zarr_remember(z, reader, snapshots, error);
	if (!ret)
		ret = sde__zarr_weigh(z, &filed, error);
	if (!ret)
		ret = sde__zarr_lay_ring(z, error);
	if (!ret && !sde__planted("last-chunk-not-refilled"))
		ret = sde__zarr_refill(z, reader, snapshots, error);
	if (!ret)
		ret = sde__zarr_refill_last(z, reader, error);
	if (!ret)
		ret = sde__ring_enact(z->ring, snapshots - snapshots % sde__zarr_chunk_size(z),
				      snapshots, z->config.metadata.epoch,
				      sde__zarr_is_durable(z), error);
	return ret ? ret : sde__zarr_start_publisher(z, &filed, error);
}

/* Of a store that has lost something: what can be done, if there is room to say it. */
static void advise(struct sde_error *error)
{
	static const char advice[] = " (see sde-inspect --verify, --repair)";
	size_t n;

	if (!error || !sde__is_damage(error->code))
		return;
	n = strlen(error->text);
	if (n + sizeof(advice) <= sizeof(error->text))
		memcpy(error->text + n, advice, sizeof(advice));
}

int sde__zarr_resume(struct sde_storage **out, const char *save_directory,
		     const struct sde_zarr_options *options,
		     const struct sde__zarr_hooks *hooks, struct sde_error *error)
{
	struct sde_derive_options derive = SDE_DERIVE_OPTIONS_INIT;
	struct sde__reader *reader = NULL;
	/* the first error wins: one of the caller's is not for us to add to */
	const int before = error ? error->code : 0;
	struct sde_ensemble ensemble;
	struct sde__zarr *z;
	bool columns = false;
	int ret;

	ret = begin(out, save_directory, hooks, &z, error);
	if (ret)
		return ret;
	ret = sde__zarr_config_resumed(&z->config, options, error);
	if (!ret)
		ret = reopen(z, save_directory, &reader, &columns, error);
	if (!ret && columns) {
		/* all of what several wrote, by one */
		sde__zarr_free(z);
		return sde__share_resume(out, &sde__accord_alone, save_directory, NULL, options,
					 hooks, error);
	}
	if (!ret)
		ret = take_over(z, save_directory, reader, error);
	sde__reader_unref(reader);
	if (ret && !before)
		advise(error);
	if (ret)
		goto fail;
	ensemble.dimension = z->config.layout.geometry.dimension;
	ensemble.trajectories = z->config.layout.geometry.trajectories;
	ensemble.dtype = z->config.layout.geometry.dtype;
	derive.stride = z->config.metadata.stride;
	ret = sde_storage_derive(out, &ensemble, &sde__zarr_backend, z, &derive, error);
	if (!ret)
		return 0;
fail:
	/* a closed store that could not be resumed is left as it was; a new ring
	 * was laid only after all of the old one had been published */
	if (z->ring)
		sde__ring_remove_files(z->io, z->home.ring, sde__zarr_is_durable(z), NULL);
	sde__home_leave_idle_ring(&z->home);
	sde__zarr_free(z);
	return ret;
}
