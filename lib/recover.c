/* SPDX-License-Identifier: MIT */
/* Publishing what was left in the ring, and tidying up: see recover.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "recover.h"

#include "series.h"
#include "shard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COLUMN_STEP 4096	/* times copied at once */

/* ------------------------------------------------------------------------
 * The directory of chunk files
 */

struct listing {
	uint64_t chunks;		/* that the store has */
	unsigned char *seen;		/* a bit a chunk */
	char **stray;			/* names that are nobody's */
	size_t strays, room;
};

/* The number a name is, if it is one as sde__shard_name writes it. */
static bool parse_name(const char *name, uint64_t *index)
{
	char again[SDE__SHARD_NAME_SIZE];
	char *end;

	if (*name < '0' || *name > '9')
		return false;
	*index = strtoull(name, &end, 10);
	sde__shard_name(again, *index);
	return !*end && !strcmp(again, name);
}

static int list_entry(void *ctx, const char *name)
{
	struct listing *list = ctx;
	uint64_t index;

	if (parse_name(name, &index) && index < list->chunks) {
		list->seen[index / 8] = (unsigned char)(list->seen[index / 8] | 1u << index % 8);
		return 0;
	}
	if (list->strays == list->room) {
		const size_t room = list->room ? 2 * list->room : 16;
		char **grown = realloc(list->stray, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->stray = grown;
		list->room = room;
	}
	list->stray[list->strays] = strdup(name);
	return list->stray[list->strays] ? (list->strays++, 0) : -ENOMEM;
}

static void listing_free(struct listing *list)
{
	for (size_t i = 0; i < list->strays; i++)
		free(list->stray[i]);
	free(list->stray);
	free(list->seen);
}

static int list_chunks(const struct sde__home *home, uint64_t chunks, struct listing *list,
		       struct sde_error *error)
{
	int ret;

	memset(list, 0, sizeof(*list));
	list->chunks = chunks;
	list->seen = calloc(1, (size_t)(chunks / 8 + 1));
	if (!list->seen)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = home->io->list(home->io->ctx, home->shards, list_entry, list);
	return ret ? sde__fail_why(error, ret, "cannot list '%s/data/c/0/0'", home->path) : 0;
}

static int find_hole(const struct sde__home *home, const struct listing *list,
		     struct sde_error *error)
{
	for (uint64_t i = 0; i < list->chunks; i++)
		if (!(list->seen[i / 8] >> i % 8 & 1))
			return sde__fail(error, SDE_E_HOLE, "'%s/data/c/0/0/%" PRIu64 "' is missing",
					 home->path, i);
	return 0;
}

/* Temporaries and chunks that were cut off: nothing refers to them. */
static int remove_strays(const struct sde__home *home, const struct listing *list,
			 uint64_t chunks, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	int ret = 0;

	for (size_t i = 0; i < list->strays && !ret; i++) {
		uint64_t index = 0;
		const size_t n = strlen(list->stray[i]);
		const bool temporary = n > 4 && !strcmp(list->stray[i] + n - 4, ".tmp");

		/* what somebody else put there is not ours to remove */
		if (!temporary && (!parse_name(list->stray[i], &index) || index < chunks))
			continue;
		/* gone already where recovery wrote that chunk itself */
		ret = io->remove_at(io->ctx, home->shards, list->stray[i], false);
		ret = ret == -ENOENT ? 0 : ret;
		if (ret)
			ret = sde__fail_why(error, ret, "cannot remove '%s/data/c/0/0/%s'",
					    home->path, list->stray[i]);
	}
	return ret;
}

int sde__recover_count(const struct sde__home *home, uint64_t chunks, uint64_t *files,
		       uint64_t *bytes, struct sde_error *error)
{
	char name[SDE__SHARD_NAME_SIZE];
	struct sde__stat st;
	int ret;

	*files = *bytes = 0;
	for (uint64_t i = 0; i < chunks; i++) {
		sde__shard_name(name, i);
		ret = home->io->stat_at(home->io->ctx, home->shards, name, &st);
		if (ret == -ENOENT)
			continue;
		if (ret)
			return sde__fail_why(error, ret, "cannot stat '%s/data/c/0/0/%s'", home->path,
					     name);
		++*files;
		*bytes += st.size;
	}
	return 0;
}

/* ------------------------------------------------------------------------
 * Chunks and times
 */

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
	uint64_t file_size;
	int ret;

	ret = sde__reader_slots(&r->cursor, chunk, count, &r->config->layout, r->slots, error);
	if (ret)
		return ret;
	sde__shard_begin(&r->shard, chunk, count, r->slots);
	for (uint64_t i = 0; i < r->shard.inner_count && !ret; i++)
		ret = sde__shard_encode(&r->shard, i, r->raw, error);
	return ret ? ret : sde__shard_write(&r->shard, reader->io, reader->home.shards,
					    r->config->metadata.epoch, r->config->run, r->durable,
					    &file_size, error);
}

static int write_chunks(struct recovery *r, struct sde_error *error)
{
	const struct sde__slot_layout *l = &r->config->layout;
	const uint64_t size = l->geometry.chunk_size;
	int ret;

	if (r->reader->snapshots == r->reader->filed)
		return 0;
	r->slots = aligned_alloc(64, l->segment_size);
	r->raw = malloc(sde__inner_bytes(&l->geometry));
	if (!r->slots || !r->raw)
		return sde__fail(error, -ENOMEM, "out of memory: recovery takes %zu bytes",
				 l->segment_size);
	ret = sde__shard_init(&r->shard, l, &r->config->codec, error);
	for (uint64_t k = r->reader->filed / size; k * size < r->reader->snapshots && !ret; k++)
		ret = write_chunk(r, k, error);
	return ret;
}

static int write_column(struct recovery *r, enum sde__column column, struct sde_error *error)
{
	const struct sde__reader *reader = r->reader;
	const bool is_time = column == SDE__COLUMN_TIME;
	struct sde__range range = { .start = reader->metadata.snapshots, .step = 1 };
	struct sde__series *series = malloc(sizeof(*series));
	uint64_t *numbers = malloc(COLUMN_STEP * sizeof(*numbers));
	int ret = 0;

	if (!series || !numbers)
		ret = sde__fail(error, -ENOMEM, "out of memory");
	if (!ret)
		ret = sde__series_open(series, reader->io,
				       is_time ? reader->home.time_blocks : reader->home.iteration_blocks,
				       is_time ? "time" : "iteration",
				       is_time ? SDE__SERIES_TIME_FILL : SDE__SERIES_ITERATION_FILL,
				       range.start, r->durable, error);
	while (!ret && range.start < reader->snapshots) {
		range.count = reader->snapshots - range.start;
		if (range.count > COLUMN_STEP)
			range.count = COLUMN_STEP;
		ret = sde__reader_column(&r->cursor, column, &range, numbers, error);
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

static int publish(struct recovery *r, struct sde_error *error)
{
	int ret;

	ret = write_chunks(r, error);
	if (!ret)
		ret = write_column(r, SDE__COLUMN_TIME, error);
	if (!ret)
		ret = write_column(r, SDE__COLUMN_ITERATION, error);
	if (ret)
		return ret;
	r->config->metadata.snapshots = r->reader->snapshots;
	return sde__documents_write(&r->reader->home, &r->config->metadata, false, r->durable, error);
}

int sde__recover(struct sde__reader *reader, struct sde__zarr_config *config,
		 struct sde_error *error)
{
	const uint64_t size = config->layout.geometry.chunk_size;
	struct recovery r = { .reader = reader, .config = config };
	struct listing list;
	int ret;

	r.durable = config->sync != SDE_SYNC_NONE;
	ret = list_chunks(&reader->home, (reader->filed + size - 1) / size, &list, error);
	if (!ret)
		ret = find_hole(&reader->home, &list, error);
	if (!ret)
		ret = sde__cursor_init(&r.cursor, reader, error);
	/* also when nothing was in the ring: a publish may have died between two
	 * documents */
	if (!ret)
		ret = publish(&r, error);
	if (!ret)
		ret = remove_strays(&reader->home, &list, (reader->snapshots + size - 1) / size,
				    error);
	sde__cursor_free(&r.cursor);
	sde__shard_free(&r.shard);
	listing_free(&list);
	free(r.slots);
	free(r.raw);
	return ret;
}
