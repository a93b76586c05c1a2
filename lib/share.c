/* SPDX-License-Identifier: MIT */
/* What one of several writers does alone: see share.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "share.h"

#include "planted.h"
#include "rank_columns.h"
#include "recover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_durable(const struct sde__share *share)
{
	return share->config.sync != SDE_SYNC_NONE;
}

struct sde__share *sde__share_new(const struct sde__accord *accord,
				  const struct sde__zarr_hooks *hooks)
{
	struct sde__share *share = calloc(1, sizeof(*share));

	if (!share)
		return NULL;
	share->io = hooks->io;
	share->synchronous = hooks->synchronous;
	share->tell = hooks->publisher;
	share->accord = *accord;
	sde__home_init(&share->home, share->io);
	pthread_mutex_init(&share->lock, NULL);
	return share;
}

void sde__share_free(struct sde__share *share)
{
	if (!share)
		return;
	for (uint64_t i = 0; i < share->count; i++) {
		struct sde__share_column *column = &share->column[i];

		sde__reader_unref(column->reader);
		free(column->exact);
		if (column->writer)
			sde__zarr_free(column->writer);
		if (column->status_fd >= 0)
			share->io->close(share->io->ctx, column->status_fd);
	}
	free(share->column);
	sde__reader_unref(share->reader);
	sde__home_close(&share->home);
	sde__zarr_config_clear(&share->config);
	if (share->accord.free)
		share->accord.free(share->accord.ctx);
	pthread_mutex_destroy(&share->lock);
	free(share);
}

/* ------------------------------------------------------------------------
 * How far the columns have come
 */

static struct sde__rank_status status_of(const struct sde__share *share, uint64_t column,
					   uint64_t held)
{
	struct sde__rank_status status = {
		.epoch = share->config.metadata.epoch, .column = column, .held = held,
	};

	memcpy(status.run, share->config.run, sizeof(status.run));
	return status;
}

static int report(void *ctx, uint64_t held, struct sde_error *error)
{
	struct sde__share_column *column = ctx;
	const struct sde__share *share = column->share;
	const struct sde__rank_status status = status_of(share, column->number, held);
	int ret = 0;

	if (column->status_fd >= 0)
		ret = sde__rank_status_write(share->io, column->status_fd, &status,
					       column->status_synced, error);
	if (!ret)
		__atomic_store_n(&column->held, held, __ATOMIC_RELEASE);
	return ret;
}

/* Of the leader's publisher. Its own columns are in memory, the others' in files. */
static uint64_t common(void *ctx)
{
	const struct sde__share_column *column = ctx;
	const struct sde__share *share = column->share;
	const uint64_t agreed = __atomic_load_n(&share->agreed, __ATOMIC_ACQUIRE);
	uint64_t least = UINT64_MAX, held;

	for (uint64_t c = 0; c < share->columns && least > agreed; c++) {
		const struct sde__rank_status status = status_of(share, c, 0);

		if (c - share->first < share->count)
			held = __atomic_load_n(&share->column[c - share->first].held, __ATOMIC_ACQUIRE);
		else
			held = sde__rank_status_read(&share->home, &status);
		if (held < least)
			least = held;
	}
	return least > agreed ? least : agreed;
}

/* ------------------------------------------------------------------------
 * Beginning
 */

int sde__share_take(struct sde__share *share, uint64_t first, uint64_t count,
		    struct sde_error *error)
{
	const struct sde__geometry *g = &share->config.metadata.geometry;

	share->columns = sde__column_count(g);
	share->first = first;
	share->column = calloc((size_t)count + 1, sizeof(*share->column));
	if (!share->column)
		return sde__fail(error, -ENOMEM, "out of memory");
	share->count = count;
	for (uint64_t i = 0; i < count; i++) {
		struct sde__share_column *column = &share->column[i];

		column->share = share;
		column->number = first + i;
		column->status_fd = -1;
		column->offset = share->trajectories;
		column->group = (struct sde__publisher_group){
			.leads = first + i == 0, .report = report, .common = common, .ctx = column,
		};
		share->trajectories += sde__column_geometry(g, first + i).trajectories;
	}
	return 0;
}

int sde__share_enter(struct sde__share *share, struct sde_error *error)
{
	const bool alone = share->columns == 1;
	struct sde__zarr_hooks hooks = { .io = share->io, .synchronous = share->synchronous,
					 .publisher = share->tell };
	int ret = 0;

	for (uint64_t i = 0; i < share->count && !ret; i++) {
		struct sde__share_column *column = &share->column[i];
		struct sde__zarr *z = sde__zarr_new(&hooks);

		column->writer = z;
		hooks.publisher = NULL;
		if (!z)
			return sde__fail(error, -ENOMEM, "out of memory");
		z->group = &column->group;
		z->metadata = &share->config.metadata;
		ret = sde__zarr_config_column(&z->config, &share->config, column->number, error);
		if (!ret)
			ret = sde__home_column(&z->home, &share->home, column->number, alone, error);
		/* the only column has the store's lock */
		if (!ret && !alone)
			ret = sde__home_lock(&z->home, error);
		if (!ret)
			ret = sde__zarr_make_state_buffers(z, error);
	}
	return ret;
}

int sde__share_assess(struct sde__share *share, uint64_t *snapshots, struct sde_error *error)
{
	struct sde__columns_ask ask = {
		.home = &share->home, .metadata = &share->config.metadata, .run = share->config.run,
		.count = 1, .locked_by_us = true, .choice = share->config.options.ring,
		.log = &share->config.log,
	};
	int ret = 0;

	*snapshots = UINT64_MAX;
	for (uint64_t i = 0; i < share->count && !ret; i++) {
		struct sde__share_column *column = &share->column[i];

		ask.first = column->number;
		ret = sde__columns_open_one(&column->reader, &ask, error);
		if (!ret && column->reader->ignored)
			ret = sde__fail(error, SDE_E_MISMATCH,
					"the ring of column %" PRIu64 " of '%s' was copied here or is another store's, with %"
					PRIu64 " snapshots: choose ring trust or discard",
					column->number, share->home.path, column->reader->ignored);
		if (!ret && column->reader->snapshots < *snapshots)
			*snapshots = column->reader->snapshots;
	}
	return ret;
}

int sde__share_recover(struct sde__share *share, uint64_t snapshots, struct sde_error *error)
{
	int ret = 0;

	for (uint64_t i = 0; i < share->count && !ret; i++) {
		struct sde__share_column *column = &share->column[i];

		sde__reader_limit(column->reader, snapshots);
		ret = sde__recover_column(column->reader, &column->writer->config, error);
	}
	return ret;
}

int sde__share_recover_documents(struct sde__share *share, struct sde_error *error)
{
	return sde__recover_documents(share->column[0].reader, &share->config, error);
}

/* A column's ring is nowhere after a power loss if its directory's name is lost. */
static int sync_ring_name(const struct sde__share *share, struct sde_error *error)
{
	int ret = 0;

	if (share->columns > 1 && is_durable(share) && !sde__planted("ring-name-not-synced"))
		ret = share->io->sync(share->io->ctx, share->home.ring);
	return ret ? sde__fail_why(error, ret, "cannot sync '%s/data/.ring'", share->home.path) : 0;
}

static int begin_column(struct sde__share_column *column, struct sde_error *error)
{
	struct sde__share *share = column->share;
	const uint64_t snapshots = share->config.metadata.snapshots;
	struct sde__zarr_filed filed = { 0 };
	struct sde__zarr *z = column->writer;
	int ret = 0;

	memcpy(z->config.run, share->config.run, sizeof(z->config.run));
	z->next = snapshots;
	if (column->reader)
		ret = sde__zarr_remember(z, column->reader, snapshots, error);
	if (!ret && column->reader)
		ret = sde__zarr_weigh(z, &filed, error);
	if (!ret)
		ret = sde__zarr_lay_ring(z, error);
	if (!ret && column->reader)
		ret = sde__zarr_refill(z, column->reader, snapshots, error);
	if (!ret && column->reader)
		ret = sde__zarr_refill_last(z, column->reader, error);
	if (!ret)
		ret = sync_ring_name(share, error);
	if (!ret)
		ret = sde__ring_enact(z->ring, snapshots - snapshots % sde__zarr_chunk_size(z),
				      snapshots, share->config.metadata.epoch, is_durable(share), error);
	if (!ret && share->columns > 1) {
		/* where it is of one machine, what is written is seen */
		column->status_synced = sde__ring_io_choose(z->io, z->home.ring, SDE_RING_IO_DEFAULT) !=
					SDE_RING_IO_MAPPED;
		column->status_fd = sde__rank_status_open(&z->home, error);
		ret = column->status_fd < 0 ? column->status_fd : 0;
	}
	if (!ret)
		ret = report(column, snapshots, error);
	if (!ret)
		ret = sde__zarr_start_publisher(z, &filed, error);
	sde__reader_unref(column->reader);
	column->reader = NULL;
	return ret;
}

int sde__share_begin(struct sde__share *share, struct sde_error *error)
{
	int ret = 0;

	for (uint64_t i = 0; i < share->count && !ret; i++)
		ret = begin_column(&share->column[i], error);
	share->next = share->agreed = share->config.metadata.snapshots;
	return ret;
}

void sde__share_retreat(struct sde__share *share)
{
	for (uint64_t i = 0; i < share->count; i++) {
		struct sde__zarr *z = share->column[i].writer;

		if (!z || z->home.ring < 0)
			continue;
		if (z->ring) {
			sde__ring_remove_files(z->io, z->home.ring, is_durable(share), NULL);
			sde__rank_status_remove(&z->home, NULL);
		}
		sde__home_leave_idle_ring(&z->home);
	}
}

/* ------------------------------------------------------------------------
 * Publishing
 */

int sde__share_hold(struct sde__share *share, struct sde_error *error)
{
	int ret = 0;

	for (uint64_t i = 0; i < share->count; i++) {
		struct sde__zarr *z = share->column[i].writer;
		const int one = sde__publisher_hold(z->publisher, z->next, error);

		ret = ret ? ret : one;
	}
	return ret;
}

int sde__share_publish(struct sde__share *share, struct sde_error *error)
{
	return sde__publisher_save(share->column[0].writer->publisher, share->next, error);
}

int sde__share_keep_last(struct sde__share *share, struct sde_error *error)
{
	int ret = 0;

	for (uint64_t i = 0; i < share->count && !ret; i++)
		ret = sde__zarr_keep_last(share->column[i].writer, error);
	return ret;
}

/* ------------------------------------------------------------------------
 * Truncate, close
 */

int sde__share_take_exact(struct sde__share *share, uint64_t snapshots, struct sde_error *error)
{
	int ret = 0;

	if (!share->config.codec.keepbits || !snapshots)
		return 0;
	for (uint64_t i = 0; i < share->count && !ret; i++) {
		free(share->column[i].exact);
		ret = sde__zarr_take_exact(share->column[i].writer, snapshots - 1,
					   &share->column[i].exact, error);
	}
	return ret;
}

int sde__share_keep_exact(struct sde__share *share, uint64_t snapshots, struct sde_error *error)
{
	struct sde__metadata next = share->config.metadata;	/* borrowed texts */
	int ret = 0;

	next.epoch++;
	next.snapshots = snapshots;
	for (uint64_t i = 0; i < share->count && !ret; i++)
		ret = sde__zarr_keep_exact(share->column[i].writer, &next, share->column[i].exact,
					   error);
	return ret;
}

int sde__share_shrink_documents(struct sde__share *share, uint64_t snapshots,
				struct sde_error *error)
{
	struct sde__metadata metadata = share->config.metadata;

	for (uint64_t i = 0; i < share->count; i++)
		sde__publisher_pause(share->column[i].writer->publisher);
	metadata.epoch++;
	metadata.snapshots = snapshots;
	return sde__documents_write(&share->home, &metadata, true, is_durable(share), error);
}

static int shrink_column(struct sde__share_column *column, uint64_t snapshots,
			 struct sde_error *error)
{
	struct sde__share *share = column->share;
	const struct sde__columns_ask ask = {
		.home = &share->home, .metadata = &share->config.metadata, .run = share->config.run,
		.first = column->number, .count = 1, .locked_by_us = true,
		.choice = SDE_RING_DISCARD, .log = &share->config.log,
	};
	struct sde__reader *reader = NULL;
	int ret;

	ret = sde__ring_suspend(column->writer->ring, is_durable(share), error);
	if (!ret)
		ret = sde__columns_open_one(&reader, &ask, error);
	if (!ret)
		ret = report(column, snapshots, error);
	if (!ret)
		ret = sde__zarr_shrink(column->writer, reader, snapshots,
				       share->config.metadata.epoch, column->exact, error);
	if (!ret)
		column->writer->kept = snapshots;
	sde__reader_unref(reader);
	return ret;
}

int sde__share_shrink(struct sde__share *share, uint64_t snapshots, struct sde_error *error)
{
	int ret = 0;

	for (uint64_t i = 0; i < share->count; i++)
		sde__publisher_pause(share->column[i].writer->publisher);
	/* info may be asked for it by another thread right now */
	__atomic_store_n(&share->config.metadata.epoch, share->config.metadata.epoch + 1,
			 __ATOMIC_RELAXED);
	share->config.metadata.snapshots = snapshots;
	__atomic_store_n(&share->agreed, snapshots, __ATOMIC_RELEASE);
	for (uint64_t i = 0; i < share->count && !ret; i++)
		ret = shrink_column(&share->column[i], snapshots, error);
	__atomic_store_n(&share->next, snapshots, __ATOMIC_RELAXED);
	return ret;
}

int sde__share_drop_rings(struct sde__share *share, struct sde_error *error)
{
	int ret = 0;

	for (uint64_t i = 0; i < share->count && !ret; i++) {
		struct sde__zarr *z = share->column[i].writer;

		sde__publisher_stop(z->publisher);
		z->publisher = NULL;
		ret = sde__ring_remove_files(z->io, z->home.ring, is_durable(share), error);
		if (!ret && share->columns > 1)
			ret = sde__rank_status_remove(&z->home, error);
		if (!ret && share->columns > 1)
			ret = sde__home_leave_ring(&z->home, is_durable(share), error);
	}
	return ret;
}
