/* SPDX-License-Identifier: MIT */
/*
 * One chunk's file at a time: opened, believed as far as it is of the reader's epoch,
 * and what of it is needed decoded. See cursor.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "cursor.h"

#include "planted.h"
#include "shard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void sde__cursor_init(struct sde__cursor *cursor, struct sde__reader *reader)
{
	memset(cursor, 0, sizeof(*cursor));
	cursor->reader = reader;
	cursor->chunk = SDE__NO_CHUNK;
	sde__shard_reader_init(&cursor->file, &reader->home, &reader->metadata.geometry,
			       &reader->codec);
}

void sde__cursor_free(struct sde__cursor *cursor)
{
	if (!cursor->reader)
		return;
	for (uint64_t i = 0; cursor->column && i < cursor->reader->columns; i++)
		sde__cursor_free(&cursor->column[i]);
	free(cursor->column);
	for (uint64_t i = 0; cursor->kept && i < cursor->file.inner_count; i++)
		free(cursor->kept[i].raw);
	sde__shard_reader_free(&cursor->file);
	free(cursor->kept);
	free(cursor->scratch);
	free(cursor->payload);
	memset(cursor, 0, sizeof(*cursor));
}

struct sde__cursor *sde__cursor_column(struct sde__cursor *cursor, uint64_t column,
				       struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	struct sde__cursor *own;

	if (!reader->columns)
		return cursor;
	if (!cursor->column)
		cursor->column = calloc((size_t)reader->columns, sizeof(*cursor->column));
	if (!cursor->column) {
		sde__fail(error, -ENOMEM, "out of memory");
		return NULL;
	}
	own = &cursor->column[column];
	if (!own->reader)
		sde__cursor_init(own, reader->column[column]);
	own->first_inner = column * sde__inner_count(&reader->metadata.geometry);
	own->holes = cursor->holes;
	own->strict = cursor->strict;
	return own;
}

int sde__reader_check_stale(struct sde__reader *reader, struct sde_error *error)
{
	struct sde__metadata now = { 0 };
	char *root = NULL;
	size_t size = 0;
	bool same;
	int ret;

	/* is it the very one it was? Much cheaper than to parse it */
	ret = sde__documents_read_root(&reader->home, &root, &size, NULL);
	same = !ret && size == reader->root_size && !memcmp(root, reader->root, size);
	free(root);
	if (same)
		return 0;
	if (ret == SDE_E_NOT_STORE)
		return sde__fail(error, SDE_E_STALE,
				 "'%s' was removed or replaced since this handle was taken",
				 reader->home.path);
	ret = sde__documents_read(&reader->home, &now, error);
	if (!ret && (now.epoch != reader->metadata.epoch ||
		     strcmp(now.run, reader->metadata.run)))
		ret = sde__fail(error, SDE_E_STALE,
				"'%s' was truncated since this handle was taken", reader->home.path);
	sde__metadata_clear(&now);
	return ret;
}

/* Only that is told: another failure to look is not what the caller failed with. */
static bool is_stale(struct sde__reader *reader, struct sde_error *error)
{
	struct sde_error why = { 0 };

	if (sde__reader_check_stale(reader, &why) != SDE_E_STALE)
		return false;
	sde__fail(error, SDE_E_STALE, "%s", why.text);
	return true;
}

/*
 * How many of the open file's snapshots are those of the reader's epoch. In a
 * file of an earlier one they are as far as truncate left them, which is as far
 * as was published then; behind that it has what was cut off.
 */
static uint64_t usable(const struct sde__cursor *cursor, uint64_t chunk)
{
	const struct sde__metadata *m = &cursor->reader->metadata;
	const uint64_t first = chunk * m->geometry.chunk_size, count = cursor->file.side.count;
	const uint64_t kept = m->snapshots > first ? m->snapshots - first : 0;

	return cursor->file.side.epoch == m->epoch || kept > count ? count : kept;
}

bool sde__cursor_is_open(const struct sde__cursor *cursor, uint64_t chunk, uint64_t count)
{
	return cursor->chunk == chunk && usable(cursor, chunk) >= count;
}

int sde__cursor_open(struct sde__cursor *cursor, uint64_t chunk, uint64_t count,
		     struct sde_error *error)
{
	struct sde__reader *reader = cursor->reader;
	struct sde_error why = { 0 };
	int ret;

	if (sde__cursor_is_open(cursor, chunk, count))
		return 0;
	cursor->chunk = SDE__NO_CHUNK;
	cursor->indexed = cursor->sided = false;
	for (uint64_t i = 0; cursor->kept && i < cursor->file.inner_count; i++)
		cursor->kept[i].order = 0;
	ret = sde__shard_reader_open(&cursor->file, chunk, reader->run, &why);
	if (!ret)
		cursor->file.cause = SDE_CAUSE_FOREIGN;
	/* the root had the new epoch before the file: see below whether it is so */
	if (!ret && cursor->file.side.epoch > reader->metadata.epoch)
		ret = sde__fail(&why, SDE_E_CORRUPT, "'%s' is of epoch %" PRIu64 ", the store of %" PRIu64,
				cursor->file.place, cursor->file.side.epoch, reader->metadata.epoch);
	if (!ret && usable(cursor, chunk) < count)
		ret = sde__fail(&why, SDE_E_CORRUPT, "'%s' holds %" PRIu64 " snapshots, not %" PRIu64,
				cursor->file.place, usable(cursor, chunk), count);
	if (ret && sde__is_damage(ret) && is_stale(reader, error))
		return SDE_E_STALE;
	if (ret)
		return sde__fail(error, ret, "%s", why.text);
	cursor->chunk = chunk;
	return 0;
}

/*
 * Room to keep each inner chunk: 24 bytes, where a file was seen that has 16 for each. In
 * format 2 there is no such file: if they are more than may be allocated on a word, each
 * of them must be there.
 */
#define INNER_ON_A_WORD 65536

static int need_room(struct sde__cursor *cursor, struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	const size_t count = (size_t)cursor->file.inner_count;
	int ret = 0;

	if (cursor->kept)
		return 0;
	if (reader->home.format == 2 && count > INNER_ON_A_WORD)
		ret = sde__shard_is_whole(&reader->home, &cursor->file.geometry, cursor->chunk, error);
	if (ret)
		return ret;
	cursor->kept = calloc(count, sizeof(*cursor->kept));
	return cursor->kept ? 0 : sde__fail(error, -ENOMEM, "out of memory");
}

static int need_index(struct sde__cursor *cursor, struct sde_error *error)
{
	int ret;

	if (cursor->indexed)
		return 0;
	ret = sde__shard_reader_index(&cursor->file, error);
	cursor->indexed = !ret;
	return ret;
}

/* Memory for an inner chunk, unless there is already. */
static int need_raw(const struct sde__cursor *cursor, void **raw, struct sde_error *error)
{
	if (!*raw)
		*raw = malloc(sde__inner_bytes(&cursor->file.geometry));
	return *raw ? 0 : sde__fail(error, -ENOMEM, "out of memory");
}

/* Inner chunk `inner` of the open file, whose index is read, as it is stored. */
static int decode_stored(struct sde__cursor *cursor, uint64_t inner, void **raw,
			struct sde_error *error)
{
	int ret;

	/* the bytes first: they tell whether there can be as many as will be allocated */
	ret = sde__shard_reader_fetch(&cursor->file, inner, error);
	if (!ret)
		ret = need_raw(cursor, raw, error);
	return ret ? ret : sde__shard_reader_decode(&cursor->file, inner, *raw, error);
}

/* The same in one of the orders. */
static int decode_inner(struct sde__cursor *cursor, uint64_t inner, enum sde__inner_order order,
			void **raw, struct sde_error *error)
{
	int ret;

	if (order == SDE__INNER_STORED)
		return decode_stored(cursor, inner, raw, error);
	ret = decode_stored(cursor, inner, &cursor->scratch, error);
	if (!ret)
		ret = need_raw(cursor, raw, error);
	if (!ret)
		sde__inner_turn(&cursor->file.geometry, cursor->scratch, *raw);
	return ret;
}

/* What looking into the open file gave. One of format 2 may be of a later epoch than
 * the side table: then that is told. */
static int found(struct sde__cursor *cursor, int ret, const struct sde_error *why,
		 struct sde_error *error)
{
	if (cursor->reader->home.format == 2 && is_stale(cursor->reader, error))
		return SDE_E_STALE;
	return ret ? sde__fail(error, ret, "%s", why->text) : 0;
}

const struct sde__kept *sde__cursor_kept(struct sde__cursor *cursor, uint64_t inner,
					 enum sde__inner_order order, uint64_t numbers)
{
	struct sde__kept *kept = cursor->kept ? &cursor->kept[inner] : NULL;

	if (!kept || !kept->order)
		return NULL;
	if (kept->order == order)
		return kept;
	kept->misfit += numbers;
	return kept->misfit < sde__inner_patience(&cursor->file.geometry) ? kept : NULL;
}

int sde__cursor_keep(struct sde__cursor *cursor, uint64_t inner, enum sde__inner_order order,
		     struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	ret = need_index(cursor, &why);
	if (!ret)
		ret = need_room(cursor, &why);
	if (!ret)
		ret = decode_inner(cursor, inner, order, &cursor->kept[inner].raw, &why);
	ret = found(cursor, ret, &why, error);
	if (cursor->kept) {
		cursor->kept[inner].order = ret ? 0 : order;
		cursor->kept[inner].misfit = 0;
	}
	return ret;
}

/* The same without keeping it. */
static int decode_into(struct sde__cursor *cursor, uint64_t inner, enum sde__inner_order order,
		       void **raw, struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	ret = need_index(cursor, &why);
	if (!ret)
		ret = decode_inner(cursor, inner, order, raw, &why);
	return found(cursor, ret, &why, error);
}

int sde__cursor_pass(struct sde__cursor *cursor, uint64_t inner, void **raw,
		     struct sde_error *error)
{
	void **to = *raw ? raw : &cursor->scratch;
	const int ret = decode_into(cursor, inner, SDE__INNER_STORED, to, error);

	*raw = *to;
	return ret;
}

int sde__cursor_hold(struct sde__cursor *cursor, uint64_t inner, enum sde__inner_order order,
		     struct sde__chunk_block **out, struct sde_error *error)
{
	struct sde__chunk_cache *cache = cursor->reader->cache;
	const bool by_place = sde__planted("cache-by-place");
	const struct sde__chunk_key key = {
		cursor->file.index, cursor->first_inner + inner,
		by_place ? 0 : cursor->file.side.epoch, by_place ? 0 : cursor->file.side.count,
	};
	struct sde__chunk_block *block = sde__chunk_cache_find(cache, &key);
	int ret;

	*out = block;
	if (block)
		return 0;
	block = sde__chunk_cache_take(cache);
	if (!block)
		return sde__fail(error, -ENOMEM, "out of memory");
	block->order = order;
	ret = decode_into(cursor, inner, order, &block->raw, error);
	if (!ret)
		sde__chunk_cache_put(cache, block, &key);
	else
		sde__chunk_cache_release(cache, block);
	*out = ret ? NULL : block;
	return ret;
}

int sde__cursor_side(struct sde__cursor *cursor, struct sde_error *error)
{
	int ret;

	if (cursor->sided)
		return 0;
	ret = sde__shard_reader_side(&cursor->file, error);
	cursor->sided = !ret;
	return ret;
}

void sde__reader_span(const struct sde__reader *reader, uint64_t index, uint64_t span[2])
{
	const uint64_t size = reader->metadata.geometry.chunk_size;

	span[0] = index / size * size;
	span[1] = reader->snapshots - span[0] < size ? reader->snapshots : span[0] + size;
	if (reader->ringed <= span[0] || reader->ringed >= span[1])
		return;
	span[index < reader->ringed] = reader->ringed;
}

void sde__inner_span(const struct sde__geometry *geometry, uint64_t inner, uint64_t span[2])
{
	span[0] = inner * geometry->inner_width;
	span[1] = span[0] + geometry->inner_width;
	/* the last may be padded, and behind it there may be padding alone */
	for (int i = 0; i < 2; i++)
		if (span[i] > geometry->trajectories)
			span[i] = geometry->trajectories;
}

void sde__cursor_span(const struct sde__cursor *cursor, uint64_t inner, uint64_t inner_end,
		      uint64_t span[2])
{
	const struct sde__geometry *g = &cursor->reader->metadata.geometry;
	uint64_t last[2];

	sde__inner_span(g, inner, span);
	sde__inner_span(g, inner_end - 1, last);
	span[0] += cursor->first_inner * g->inner_width;
	span[1] = last[1] + cursor->first_inner * g->inner_width;
}

int sde__reader_inner(struct sde__cursor *cursor, uint64_t chunk, uint64_t count, uint64_t inner,
		      void **raw, struct sde_error *error)
{
	const uint64_t each = sde__inner_count(&cursor->reader->metadata.geometry);
	struct sde__cursor *own = sde__cursor_column(cursor, inner / each, error);
	const int ret = own ? sde__cursor_open(own, chunk, count, error) : -ENOMEM;

	return ret ? ret : decode_into(own, inner % each, SDE__INNER_STORED, raw, error);
}

int sde__reader_verify(struct sde__cursor *cursor, uint64_t chunk, struct sde_error *error)
{
	uint64_t span[2];
	int ret;

	sde__reader_span(cursor->reader, chunk * cursor->file.geometry.chunk_size, span);
	ret = sde__cursor_open(cursor, chunk, span[1] - span[0], error);
	if (!ret)
		ret = sde__cursor_side(cursor, error);
	for (uint64_t inner = 0; inner < cursor->file.inner_count && !ret; inner++)
		ret = sde__cursor_keep(cursor, inner, SDE__INNER_STORED, error);
	return ret;
}
