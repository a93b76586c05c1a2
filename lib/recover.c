/* SPDX-License-Identifier: MIT */
/* Publishing what was left in the ring, and tidying up: see recover.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "recover.h"

#include "chunk_list.h"
#include "last.h"
#include "planted.h"
#include "ring.h"
#include "series.h"
#include "shard.h"
#include "unsynced.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN_STEP 4096	/* times copied at once */

struct recovery {
	struct sde__reader *reader;
	struct sde__cursor cursor;
	struct sde__zarr_config *config;
	struct sde__shard shard;
	unsigned char *slots;		/* one chunk's */
	void *raw;			/* one inner chunk's */
	bool durable;
};

static int write_chunk(struct recovery *r, uint64_t chunk, struct sde_error *error)
{
	const struct sde__reader *reader = r->reader;
	const uint64_t size = r->config->layout.geometry.chunk_size;
	const uint64_t left = reader->snapshots - chunk * size;
	const uint64_t count = left < size ? left : size;
	const struct sde__stamp stamp = { r->config->metadata.epoch, r->config->run };
	uint64_t file_size;
	int ret;

	ret = sde__reader_slots(&r->cursor, chunk, count, &r->config->layout, r->slots, error);
	if (ret)
		return ret;
	sde__shard_begin(&r->shard, chunk, count, r->slots);
	for (uint64_t i = 0; i < r->shard.inner_count && !ret; i++)
		ret = sde__shard_encode(&r->shard, i, r->raw, error);
	return ret ? ret : sde__shard_write(&r->shard, &stamp, r->durable, &file_size, error);
}

static int write_chunks(struct recovery *r, struct sde_error *error)
{
	const struct sde__slot_layout *l = &r->config->layout;
	const uint64_t size = l->geometry.chunk_size;
	int ret;

	/* a file that has more than it should is written anew with what is left */
	if (r->reader->snapshots == r->reader->filed && !r->reader->cut)
		return 0;
	r->slots = aligned_alloc(64, l->segment_size);
	r->raw = malloc(sde__inner_bytes(&l->geometry));
	if (!r->slots || !r->raw)
		return sde__fail(error, -ENOMEM, "out of memory: recovery takes %zu bytes",
				 l->segment_size);
	ret = sde__shard_init(&r->shard, &r->reader->home, l, &r->config->codec, error);
	for (uint64_t k = r->reader->filed / size; k * size < r->reader->snapshots && !ret; k++)
		ret = write_chunk(r, k, error);
	return ret;
}

static int write_column(struct recovery *r, enum sde__column column, struct sde_error *error)
{
	const struct sde__reader *reader = r->reader;
	const struct sde__series_files files = sde__series_files(&reader->home, column);
	struct sde__range range = { .start = reader->metadata.snapshots, .step = 1 };
	struct sde__series *series = malloc(sizeof(*series));
	uint64_t *numbers = malloc(COLUMN_STEP * sizeof(*numbers));
	int ret = 0;

	if (!series || !numbers)
		ret = sde__fail(error, -ENOMEM, "out of memory");
	if (!ret)
		ret = sde__series_open(series, &files, range.start, r->durable, error);
	while (!ret && range.start < reader->snapshots) {
		range.count = reader->snapshots - range.start;
		if (range.count > COLUMN_STEP)
			range.count = COLUMN_STEP;
		ret = sde__reader_column(&r->cursor, column, &range, numbers, sizeof(*numbers),
					 error);
		for (uint64_t i = 0; i < range.count && !ret; i++)
			ret = sde__series_append(series, numbers[i], error);
		range.start += range.count;
	}
	if (!ret)
		ret = sde__series_flush(series, error);
	free(series);
	free(numbers);
	return ret;
}

/*
 * What the dead run put in place, was it ever synced? The store's name; the root
 * document, behind which the others may be shortened; what lies in files behind what
 * is published.
 */
static int sync_found(struct recovery *r, struct sde_error *error)
{
	const struct sde__geometry *g = &r->config->layout.geometry;
	const uint64_t published = r->reader->metadata.snapshots;
	const struct sde__home *home = &r->reader->home;
	int ret = 0;

	/* the root that was read may never have been synced, and what follows relies on it */
	if (r->durable && !sde__planted("found-root-not-synced"))
		ret = home->io->sync(home->io->ctx, home->root);
	if (ret)
		return sde__fail_why(error, ret, "cannot sync '%s'", home->path);
	if (!r->durable || r->reader->filed <= published || sde__planted("recovered-chunk-not-synced"))
		return 0;
	return sde__shard_sync(&r->reader->home, g, published / g->chunk_size,
			       (r->reader->filed + g->chunk_size - 1) / g->chunk_size, error);
}

static int write_documents(struct recovery *r, struct sde_error *error)
{
	int ret;

	ret = write_column(r, SDE__COLUMN_TIME, error);
	if (!ret)
		ret = write_column(r, SDE__COLUMN_ITERATION, error);
	if (ret)
		return ret;
	r->config->metadata.snapshots = r->reader->snapshots;
	return sde__documents_write(&r->reader->home, &r->config->metadata, false, r->durable, error);
}

/* The exact numbers of the last snapshot before their ring goes. */
static int keep_last(struct recovery *r, struct sde_error *error)
{
	const int ret = sde__last_keep(r->reader, &r->config->layout, r->durable, error);

	return ret ? ret : sde__restart_tidy(&r->reader->home, error);
}

static int publish(struct recovery *r, struct sde_error *error)
{
	int ret;

	ret = sync_found(r, error);
	if (sde__planted("recovery-root-first")) {
		r->config->metadata.snapshots = r->reader->snapshots;
		sde__documents_write(&r->reader->home, &r->config->metadata, false, r->durable, NULL);
	}
	if (!ret)
		ret = write_chunks(r, error);
	if (!ret)
		ret = write_documents(r, error);
	return ret ? ret : keep_last(r, error);
}

/*
 * A column's part of it; what it found in place, the others will rely on. Where files go
 * back to what others have, the ring goes first: it begins behind them. What is to stay is
 * in the files then.
 */
static int publish_column(struct recovery *r, struct sde_error *error)
{
	const struct sde__home *home = &r->reader->home;
	int ret;

	ret = keep_last(r, error);
	/* not covered: a column without its ring's directory is one that nobody has locked */
	if (!ret && r->reader->shortened && home->ring >= 0 && !sde__planted("longer-ring-kept"))
		ret = sde__ring_remove_files(home->io, home->ring, r->durable, error);
	if (!ret)
		ret = sync_found(r, error);
	return ret ? ret : write_chunks(r, error);
}

static int with_recovery(struct sde__reader *reader, struct sde__zarr_config *config,
			 int (*step)(struct recovery *, struct sde_error *),
			 struct sde_error *error)
{
	struct recovery r = { .reader = reader, .config = config };
	int ret = 0;

	r.durable = config->sync != SDE_SYNC_NONE;
	if (r.durable && reader->state == SDE_STATE_CRASHED && !sde__planted("name-not-synced"))
		ret = sde__home_sync_name(&reader->home, error);
	sde__cursor_init(&r.cursor, reader);
	if (!ret)
		ret = step(&r, error);
	sde__cursor_free(&r.cursor);
	sde__shard_free(&r.shard);
	free(r.slots);
	free(r.raw);
	return ret;
}

int sde__recover_chunks(struct sde__reader *reader, struct sde__zarr_config *config,
			struct sde_error *error)
{
	return with_recovery(reader, config, write_chunks, error);
}

int sde__recover_publish(struct sde__reader *reader, struct sde__zarr_config *config,
			 struct sde_error *error)
{
	return with_recovery(reader, config, publish, error);
}

/* Nothing is tidied away before the step is done: it could still be needed. */
static int recover(struct sde__reader *reader, struct sde__zarr_config *config,
		   int (*step)(struct recovery *, struct sde_error *), struct sde_error *error)
{
	const uint64_t size = config->layout.geometry.chunk_size;
	struct sde__chunk_list list = { 0 };
	int ret;

	ret = sde__chunk_list_read(&list, &reader->home, (reader->filed + size - 1) / size, error);
	if (!ret)
		ret = sde__chunk_list_check(&list, &config->layout.geometry, error);
	/* what is found is promised from now on */
	if (!ret && config->sync != SDE_SYNC_NONE)
		ret = sde__unsynced_settle(&reader->home, error);
	/* also when nothing was in the ring: a publish may have died between two
	 * documents */
	if (!ret)
		ret = with_recovery(reader, config, step, error);
	if (!ret)
		ret = sde__chunk_list_clean(&list, (reader->snapshots + size - 1) / size, error);
	sde__chunk_list_free(&list);
	return ret;
}

int sde__recover(struct sde__reader *reader, struct sde__zarr_config *config,
		 struct sde_error *error)
{
	return recover(reader, config, publish, error);
}

int sde__recover_column(struct sde__reader *reader, struct sde__zarr_config *config,
			struct sde_error *error)
{
	const struct sde__home *home = &reader->home;
	int ret;

	ret = recover(reader, config, publish_column, error);
	/* a chunk that was removed here must not come back behind what is stored next */
	if (!ret && config->sync != SDE_SYNC_NONE) {
		ret = home->io->sync(home->io->ctx, home->shards);
		if (ret)
			sde__fail_why(error, ret, "cannot sync the chunks of '%s'", home->path);
	}
	return ret;
}

int sde__recover_documents(struct sde__reader *reader, struct sde__zarr_config *config,
			   struct sde_error *error)
{
	int ret = 0;

	/* all columns are synced */
	if (config->sync != SDE_SYNC_NONE)
		ret = sde__unsynced_forget(&reader->home, error);
	return ret ? ret : with_recovery(reader, config, write_documents, error);
}
