/* SPDX-License-Identifier: MIT */
/*
 * The order of things when a Zarr storage is saved, truncated or closed: what is in
 * the ring is published before anything is cut off, or the ring removed.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_state.h"

#include "chunk_list.h"
#include "planted.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

int sde__zarr_shrink(struct sde__zarr *z, struct sde__reader *reader, uint64_t snapshots,
		     uint64_t epoch, const void *exact, struct sde_error *error)
{
	const uint64_t size = sde__zarr_chunk_size(z), old = (z->next + size - 1) / size;
	uint64_t files, bytes;
	int ret;

	ret = sde__zarr_refill(z, reader, snapshots, error);
	if (!ret && exact && snapshots % size)
		ret = sde__zarr_put_exact(z, snapshots - 1, exact, error);
	if (!ret)
		ret = sde__zarr_remember(z, reader, snapshots, error);
	if (!ret)
		ret = sde__ring_restart(z->ring, snapshots / size * size, snapshots, epoch,
					sde__zarr_is_durable(z), error);
	for (uint64_t k = (snapshots + size - 1) / size; k < old && !ret; k++)
		ret = sde__shard_remove(&z->home, &z->config.layout.geometry, k, error);
	if (!ret)
		ret = sde__publisher_reset(z->publisher, error);
	if (!ret)
		ret = sde__chunk_list_count(&z->home, &z->config.layout.geometry,
					    (snapshots + size - 1) / size, &files, &bytes, error);
	if (ret)
		return ret;
	sde__publisher_add_counts(z->publisher, files, bytes);
	z->next = snapshots;
	z->limit = 0;
	return 0;
}

/* After the smaller metadata are durable: ring, files, counters follow. */
static int follow_truncate(struct sde__zarr *z, struct sde_error *error)
{
	struct sde__reader *reader;
	int ret;

	ret = sde__ring_suspend(z->ring, sde__zarr_is_durable(z), error);
	if (ret)
		return ret;
	/* the ring is of no epoch now, so this reader has the files alone */
	ret = sde__reader_reopen(&reader, &z->home, true, false, SDE_RING_DISCARD, NULL, error);
	if (ret)
		return ret;
	ret = sde__zarr_shrink(z, reader, z->cut, z->config.metadata.epoch, z->cut_exact, error);
	sde__reader_unref(reader);
	return ret;
}

/*
 * Everything is published: cut the store down to z->cut. What fails half way is
 * begun again by save; every step of it may be done twice.
 */
static int cut(struct sde__zarr *z, struct sde_error *error)
{
	struct sde__metadata metadata = z->config.metadata;	/* borrowed texts */
	struct sde_error why = { 0 };
	int ret;

	sde__publisher_pause(z->publisher);
	metadata.epoch = z->cut_epoch;
	metadata.snapshots = z->cut;
	if (sde__planted("truncate-unlinks-first"))
		sde__shard_remove(&z->home, &z->config.layout.geometry,
				  (z->next - 1) / sde__zarr_chunk_size(z), NULL);
	ret = sde__zarr_keep_exact(z, &metadata, z->cut_exact, &why);
	if (!ret)
		ret = sde__documents_write(&z->home, &metadata, true, sde__zarr_is_durable(z), &why);
	if (!ret) {
		/* info may be asked for it by another thread right now */
		__atomic_store_n(&z->config.metadata.epoch, metadata.epoch, __ATOMIC_RELAXED);
		z->config.metadata.snapshots = z->cut;
		z->kept = z->cut;
		ret = follow_truncate(z, &why);
	}
	sde__zarr_drop_reader(z);
	z->broken = why;
	if (ret)
		return sde__fail(error, ret, "%s", why.text);
	free(z->cut_exact);
	z->cut_exact = NULL;
	return 0;
}

int sde__zarr_save(void *self, struct sde_error *error)
{
	struct sde__zarr *z = self;
	int ret;

	ret = z->broken.code ? cut(z, error) : 0;
	if (!ret)
		ret = sde__publisher_save(z->publisher, z->next, error);
	/* behind the files: until it is there the ring has the exact numbers */
	return ret ? ret : sde__zarr_keep_last(z, error);
}

int sde__zarr_truncate(void *self, uint64_t snapshots, struct sde_error *error)
{
	struct sde__zarr *z = self;
	void *exact = NULL;
	int ret;

	ret = z->broken.code ? cut(z, error) : 0;
	if (ret)
		return ret;
	if (snapshots > z->next)
		return sde__fail(error, -EINVAL, "cannot truncate '%s' of %" PRIu64 " snapshots to %" PRIu64,
				 z->home.path, z->next, snapshots);
	if (z->config.codec.keepbits && snapshots && snapshots < z->next)
		ret = sde__zarr_take_exact(z, snapshots - 1, &exact, error);
	if (!ret)
		ret = sde__zarr_save(z, error);
	if (ret || snapshots == z->next) {
		free(exact);
		return ret;
	}
	z->cut = snapshots;
	z->cut_epoch = z->config.metadata.epoch + !sde__planted("truncate-keeps-epoch");
	z->cut_exact = exact;
	return cut(z, error);
}

/* Everything is published: the ring has done its work. */
static int remove_ring(struct sde__zarr *z, struct sde_error *error)
{
	int ret;

	ret = sde__ring_remove_files(z->io, z->home.ring, sde__zarr_is_durable(z), error);
	return ret ? ret : sde__home_leave_ring(&z->home, sde__zarr_is_durable(z), error);
}

int sde__zarr_close(void *self, struct sde_error *error)
{
	struct sde__zarr *z = self;
	int ret;

	if (sde__planted("ring-removed-before-published"))
		sde__ring_remove_files(z->io, z->home.ring, true, NULL);
	ret = sde__zarr_save(z, error);
	if (ret) {
		/* the ring stays for resume: make it as safe as it can be */
		if (!z->broken.code)
			sde__ring_sync(z->ring, z->next, NULL);
	} else {
		sde__publisher_stop(z->publisher);
		z->publisher = NULL;
		ret = remove_ring(z, error);
	}
	sde__zarr_free(z);
	return ret;
}
