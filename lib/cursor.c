/* SPDX-License-Identifier: MIT */
/*
 * Reading values: which file or slot has them, and the copy out. See reader.h
 * for where a value is looked for, and in which order.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "cursor.h"

#include "gather.h"
#include "planted.h"
#include "series.h"
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
	for (uint64_t i = 0; cursor->inner && i < cursor->file.inner_count; i++)
		free(cursor->inner[i]);
	sde__shard_reader_free(&cursor->file);
	free(cursor->inner);
	free(cursor->have);
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

int sde__cursor_open(struct sde__cursor *cursor, uint64_t chunk, uint64_t count,
		     struct sde_error *error)
{
	struct sde__reader *reader = cursor->reader;
	struct sde_error why = { 0 };
	int ret;

	if (cursor->chunk == chunk && usable(cursor, chunk) >= count)
		return 0;
	cursor->chunk = SDE__NO_CHUNK;
	cursor->indexed = cursor->sided = false;
	if (cursor->have)
		memset(cursor->have, 0, (size_t)cursor->file.inner_count * sizeof(*cursor->have));
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
 * The index, and room for a pointer to each inner chunk: 9 bytes, where a file was
 * seen that has 16 for each. In format 2 there is no such file: if they are more than
 * may be allocated on a word, each of them must be there.
 */
#define INNER_ON_A_WORD 65536

static int need_room(struct sde__cursor *cursor, struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	const size_t count = (size_t)cursor->file.inner_count;
	int ret = 0;

	if (cursor->have)
		return 0;
	if (reader->home.format == 2 && count > INNER_ON_A_WORD)
		ret = sde__shard_is_whole(&reader->home, &cursor->file.geometry, cursor->chunk, error);
	if (ret)
		return ret;
	cursor->inner = calloc(count, sizeof(*cursor->inner));
	cursor->have = cursor->inner ? calloc(count, sizeof(*cursor->have)) : NULL;
	if (cursor->have)
		return 0;
	free(cursor->inner);
	cursor->inner = NULL;
	return sde__fail(error, -ENOMEM, "out of memory");
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

/* Inner chunk `inner` of the open file, whose index is read. */
static int decode_inner(struct sde__cursor *cursor, uint64_t inner, void **raw,
			struct sde_error *error)
{
	int ret;

	/* the bytes first: they tell whether there can be as many as will be allocated */
	ret = sde__shard_reader_fetch(&cursor->file, inner, error);
	if (ret)
		return ret;
	if (!*raw)
		*raw = malloc(sde__inner_bytes(&cursor->file.geometry));
	if (!*raw)
		return sde__fail(error, -ENOMEM, "out of memory");
	return sde__shard_reader_decode(&cursor->file, inner, *raw, error);
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

int sde__cursor_inner(struct sde__cursor *cursor, uint64_t inner, struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	if (cursor->have && cursor->have[inner])
		return 0;
	ret = need_index(cursor, &why);
	if (!ret)
		ret = need_room(cursor, &why);
	if (!ret)
		ret = decode_inner(cursor, inner, &cursor->inner[inner], &why);
	ret = found(cursor, ret, &why, error);
	if (!ret)
		cursor->have[inner] = true;
	return ret;
}

/* The same without keeping it. */
static int decode_into(struct sde__cursor *cursor, uint64_t inner, void **raw,
		       struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	ret = need_index(cursor, &why);
	if (!ret)
		ret = decode_inner(cursor, inner, raw, &why);
	return found(cursor, ret, &why, error);
}

/* The same in the storage's cache, to be given back. */
static int hold_inner(struct sde__cursor *cursor, uint64_t inner, struct sde__chunk_block **out,
		      struct sde_error *error)
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
	ret = decode_into(cursor, inner, &block->raw, error);
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

/* ------------------------------------------------------------------------
 * data
 */

/* A part of a selection that lies in one chunk, and where it goes. */
struct part {
	const struct sde__range *range;	/* the whole selection's [3] */
	uint64_t chunk;
	uint64_t first, count;		/* snapshots, by range[2].step */
	unsigned char *out;
	int64_t stride[3];		/* bytes in out */
};

static uint64_t last_of(const struct part *part)
{
	return part->first + (part->count - 1) * part->range[2].step;
}

/* Copy what of the part lies in one decoded inner chunk. */
static void copy_inner(const struct sde__cursor *cursor, const struct part *part, uint64_t inner,
		       const unsigned char *source, uint64_t from, uint64_t count)
{
	const struct sde__geometry *g = &cursor->file.geometry;
	const struct sde__range *r = part->range;
	const size_t item = sde__dtype_size(g->dtype);
	const int64_t row = (int64_t)(g->chunk_size * item);
	const int64_t plane = row * (int64_t)g->inner_width;
	const uint64_t trajectory = r[1].start + from * r[1].step - inner * g->inner_width;
	const uint64_t counts[3] = { r[0].count, count, part->count };
	const int64_t strides[3] = { plane * (int64_t)r[0].step, row * (int64_t)r[1].step,
				     (int64_t)(item * r[2].step) };

	source += (int64_t)r[0].start * plane + (int64_t)trajectory * row +
		  (int64_t)((part->first - part->chunk * g->chunk_size) * item);
	sde__strided_copy(item, counts, part->out + (int64_t)from * part->stride[1], part->stride,
			  source, strides);
}

/* The span of a payload that the selection touches, read and copied out. */
static int slot_span(struct sde__cursor *cursor, const struct part *part, uint64_t i,
		     uint64_t d_first, uint64_t d_count, struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	const struct sde__slot_layout *l = &reader->ring->header.layout;
	const struct sde__range *r = part->range;
	const size_t item = sde__dtype_size(l->geometry.dtype);
	const uint64_t d0 = r[0].start + d_first * r[0].step;
	const uint64_t d1 = d0 + (d_count - 1) * r[0].step;
	const uint64_t n1 = r[1].start + (r[1].count - 1) * r[1].step;
	const size_t from = d0 * l->dimension_stride + r[1].start * l->trajectory_stride;
	const size_t to = d1 * l->dimension_stride + n1 * l->trajectory_stride + item;
	const uint64_t counts[3] = { d_count, r[1].count, 1 };
	const int64_t strides[3] = { (int64_t)(l->dimension_stride * r[0].step),
				     (int64_t)(l->trajectory_stride * r[1].step), 0 };
	int ret;

	ret = sde__ring_reader_read(reader->ring, part->first + i * r[2].step,
				    l->payload_offset + from, cursor->payload, to - from, error);
	if (ret)
		return ret;
	sde__round(l->geometry.dtype, reader->codec.keepbits, cursor->payload, (to - from) / item);
	sde__strided_copy(item, counts, part->out + (int64_t)d_first * part->stride[0] +
			  (int64_t)i * part->stride[2], part->stride, cursor->payload, strides);
	return 0;
}

/* 0: done; 1: the ring no longer has it. */
static int part_from_ring(struct sde__cursor *cursor, const struct part *part,
			  struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	const struct sde__range *r = part->range;
	const bool by_row = reader->ring->header.layout.order == SDE_LAYOUT_DIMENSION_TRAJECTORY;
	int ret;

	if (!cursor->payload)
		cursor->payload = malloc(sde__snapshot_bytes(&reader->metadata.geometry));
	if (!cursor->payload)
		return sde__fail(error, -ENOMEM, "out of memory");
	for (uint64_t i = 0; i < part->count; i++) {
		/* rows of [d][n] are far apart, all of [n][d] is one span */
		const uint64_t step = by_row ? 1 : r[0].count;

		for (uint64_t d = 0; d < r[0].count; d += step) {
			ret = slot_span(cursor, part, i, d, step, error);
			if (ret)
				return ret;
		}
	}
	ret = sde__ring_reader_intact(reader->ring, part->first, reader->metadata.epoch, error);
	return ret < 0 ? ret : !ret;
}

/*
 * A part of a file is damaged: read it from the ring if that still has it (1: done), or
 * note a hole of inner chunks inner:inner_end, or say what that costs.
 */
static int hole(struct sde__cursor *cursor, const struct part *part, uint64_t inner,
		uint64_t inner_end, int code, struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	struct sde__hole hole = { .inner = cursor->first_inner + inner,
				  .inner_end = cursor->first_inner + inner_end,
				  .cause = cursor->file.cause, .code = code };
	uint64_t span[2], trajectories[2];

	if (reader->ring && part->first >= reader->ring_first && last_of(part) < reader->ring_end &&
	    !part_from_ring(cursor, part, NULL))
		return 1;
	sde__reader_span(reader, part->first, span);
	if (!reader->fill || cursor->strict) {
		sde__cursor_span(cursor, inner, inner_end, trajectories);
		sde__damage_explain(error, "lost", span, trajectories);
		return code;
	}
	hole.first = span[0];
	hole.end = span[1];
	if (cursor->holes && sde__holes_add(cursor->holes, &hole)) {
		sde__error_clear(error);
		return sde__fail(error, -ENOMEM, "out of memory");
	}
	sde__error_clear(error);
	return 0;
}

/* NaN into trajectories from .. from + count of the part. */
static void fill_part(const struct sde__cursor *cursor, const struct part *part, uint64_t from,
		      uint64_t count)
{
	const uint64_t wide = SDE__SERIES_TIME_FILL;
	const uint32_t narrow = UINT32_C(0x7fc00000);
	const size_t item = sde__dtype_size(cursor->file.geometry.dtype);
	const uint64_t counts[3] = { part->range[0].count, count, part->count };

	sde__strided_copy(item, counts, part->out + (int64_t)from * part->stride[1], part->stride,
			  item == 8 ? (const void *)&wide : (const void *)&narrow,
			  (const int64_t[3]){ 0, 0, 0 });
}

/*
 * The part's trajectories from .. from + count, which lie in one inner chunk: decoded,
 * or NaN if that is damaged. 1: all of the part was read from the ring instead.
 */
static int inner_part(struct sde__cursor *cursor, const struct part *part, uint64_t inner,
		      uint64_t from, uint64_t count, struct sde_error *error)
{
	struct sde__chunk_cache *cache = cursor->reader->cache;
	struct sde__chunk_block *block = NULL;
	struct sde_error why = { 0 };
	int ret;

	ret = cache ? hold_inner(cursor, inner, &block, &why) : sde__cursor_inner(cursor, inner, &why);
	if (!ret) {
		copy_inner(cursor, part, inner, block ? block->raw : cursor->inner[inner], from, count);
		if (block)
			sde__chunk_cache_release(cache, block);
		return 0;
	}
	if (sde__is_damage(ret))
		ret = hole(cursor, part, inner, inner + 1, ret, &why);
	if (ret < 0)
		return sde__fail(error, ret, "%s", why.text);
	if (!ret)
		fill_part(cursor, part, from, count);
	return ret;
}

static int part_from_file(struct sde__cursor *cursor, const struct part *part,
			  struct sde_error *error)
{
	const struct sde__geometry *g = &cursor->file.geometry;
	const struct sde__range *r = &part->range[1];
	struct sde_error why = { 0 };
	int ret;

	ret = sde__cursor_open(cursor, part->chunk, last_of(part) - part->chunk * g->chunk_size + 1,
			       &why);
	if (ret && sde__is_damage(ret)) {
		ret = hole(cursor, part, 0, cursor->file.inner_count, ret, &why);
		if (!ret)
			fill_part(cursor, part, 0, r->count);
		if (ret >= 0)
			return 0;
	}
	if (ret)
		return sde__fail(error, ret, "%s", why.text);
	for (uint64_t j = 0; j < r->count && !ret; ) {
		const uint64_t inner = (r->start + j * r->step) / g->inner_width;
		const uint64_t end = (inner + 1) * g->inner_width;
		uint64_t n = (end - (r->start + j * r->step) + r->step - 1) / r->step;

		if (n > r->count - j)
			n = r->count - j;
		ret = inner_part(cursor, part, inner, j, n, error);
		j += n;
	}
	return ret > 0 ? 0 : ret;
}

static int read_part(struct sde__cursor *cursor, const struct part *part, struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	int ret = 1;

	if (reader->ring && last_of(part) >= reader->ringed)
		ret = part_from_ring(cursor, part, error);
	return ret == 1 ? part_from_file(cursor, part, error) : ret;
}

/* Of a store of columns: each one's part of the trajectories. */
static int data_of_columns(struct sde__cursor *cursor, const struct sde__range range[3], void *out,
			   const int64_t strides[3], struct sde_error *error)
{
	const uint64_t width = cursor->reader->metadata.geometry.column_width;
	const struct sde__range *all = &range[1];
	struct sde__range own[3] = { range[0], range[1], range[2] };
	int ret = 0;

	for (uint64_t j = 0; j < all->count && !ret; j += own[1].count) {
		const uint64_t first = all->start + j * all->step, column = first / width;
		struct sde__cursor *part = sde__cursor_column(cursor, column, error);

		if (!part)
			return -ENOMEM;
		own[1].start = first - column * width;
		own[1].count = (width - own[1].start + all->step - 1) / all->step;
		if (own[1].count > all->count - j)
			own[1].count = all->count - j;
		ret = sde__reader_data(part, own, (unsigned char *)out + (int64_t)j * strides[1],
				       strides, error);
	}
	return ret;
}

int sde__reader_data(struct sde__cursor *cursor, const struct sde__range range[3], void *out,
		     const int64_t strides[3], struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	const struct sde__geometry *g = &reader->metadata.geometry;
	struct part part = { .range = range };
	uint64_t end;
	int ret = 0;

	if (reader->columns)
		return data_of_columns(cursor, range, out, strides, error);
	memcpy(part.stride, strides, sizeof(part.stride));
	if (!range[0].count || !range[1].count)
		return 0;
	for (uint64_t i = 0; i < range[2].count && !ret; i += part.count) {
		part.first = range[2].start + i * range[2].step;
		part.chunk = part.first / g->chunk_size;
		end = (part.chunk + 1) * g->chunk_size;
		/* behind a hole the ring may begin in the middle of a chunk */
		if (reader->ringed > reader->filed && part.first < reader->ringed &&
		    end > reader->ringed)
			end = reader->ringed;
		part.count = (end - part.first + range[2].step - 1) / range[2].step;
		if (part.count > range[2].count - i)
			part.count = range[2].count - i;
		part.out = (unsigned char *)out + (int64_t)i * strides[2];
		ret = read_part(cursor, &part, error);
	}
	return ret;
}

/* ------------------------------------------------------------------------
 * whole chunks
 */

/* The payload of snapshot `index` from the ring into a slot of another layout. */
static int slot_from_ring(struct sde__cursor *cursor, uint64_t index,
			  const struct sde__slot_layout *layout, unsigned char *slot,
			  struct sde_error *error)
{
	const struct sde__ring_reader *ring = cursor->reader->ring;
	const struct sde__slot_layout *from = &ring->header.layout;
	const struct sde__geometry *g = &layout->geometry;
	const size_t item = sde__dtype_size(g->dtype), n = sde__snapshot_bytes(g);
	const uint64_t counts[3] = { g->dimension, g->trajectories, 1 };
	const int64_t to_strides[3] = { (int64_t)layout->dimension_stride,
					(int64_t)layout->trajectory_stride, 0 };
	const int64_t from_strides[3] = { (int64_t)from->dimension_stride,
					  (int64_t)from->trajectory_stride, 0 };
	unsigned char *payload = slot + layout->payload_offset;
	int ret;

	/* head and state are laid out alike: the capacities are equal */
	ret = sde__ring_reader_read(ring, index, 0, slot,
				    SDE__SLOT_STATE_OFFSET + layout->state_capacity, error);
	if (ret)
		return ret;
	if (from->order == layout->order)
		return sde__ring_reader_read(ring, index, from->payload_offset, payload, n, error);
	if (!cursor->payload)
		cursor->payload = malloc(n);
	if (!cursor->payload)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = sde__ring_reader_read(ring, index, from->payload_offset, cursor->payload, n, error);
	if (!ret)
		sde__strided_copy(item, counts, payload, to_strides, cursor->payload, from_strides);
	return ret;
}

int sde__reader_ring_slot(struct sde__cursor *cursor, uint64_t index,
			  const struct sde__slot_layout *layout, unsigned char *slot,
			  struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	int ret;

	if (!reader->ring || index < reader->ring_first || index >= reader->ring_end)
		return 1;
	ret = slot_from_ring(cursor, index, layout, slot, error);
	if (ret)
		return ret;
	ret = sde__ring_reader_intact(reader->ring, index, reader->metadata.epoch, error);
	return ret < 0 ? ret : !ret;
}

static int slots_from_file(struct sde__cursor *cursor, uint64_t chunk, uint64_t count,
			   const struct sde__slot_layout *layout, unsigned char *slots,
			   struct sde_error *error)
{
	const struct sde__side *side = &cursor->file.side;
	const unsigned char *state;
	int ret;

	ret = sde__cursor_open(cursor, chunk, count, error);
	if (!ret)
		ret = sde__cursor_side(cursor, error);
	if (ret)
		return ret;
	state = side->states;
	for (uint32_t i = 0; i < count; i++) {
		const struct sde__slot_head head = { side->time[i], side->iteration[i],
						     side->state_size[i],
						     cursor->reader->codec.keepbits != 0 };

		if (head.state_size > layout->state_capacity)
			return sde__fail(error, SDE_E_CORRUPT, "'%s': the states have impossible sizes",
					 cursor->file.place);
		sde__slot_head_write(slots + i * layout->slot_size, &head);
		memcpy(slots + i * layout->slot_size + SDE__SLOT_STATE_OFFSET, state, head.state_size);
		state += head.state_size;
	}
	for (uint64_t inner = 0; inner < cursor->file.inner_count && !ret; inner++) {
		ret = sde__cursor_inner(cursor, inner, error);
		if (!ret)
			sde__scatter(&layout->geometry, cursor->inner[inner], inner, count,
				     slots + layout->payload_offset, layout->slot_size,
				     layout->dimension_stride, layout->trajectory_stride);
	}
	return ret;
}

int sde__reader_slots(struct sde__cursor *cursor, uint64_t chunk, uint64_t count,
		      const struct sde__slot_layout *layout, unsigned char *slots,
		      struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	const uint64_t size = layout->geometry.chunk_size;
	uint64_t filed = reader->filed > chunk * size ? reader->filed - chunk * size : 0;
	int ret = 0;

	if (filed > count)
		filed = count;
	if (filed)
		ret = slots_from_file(cursor, chunk, filed, layout, slots, error);
	for (uint64_t i = filed; i < count && !ret; i++)
		ret = slot_from_ring(cursor, chunk * size + i, layout, slots + i * layout->slot_size,
				     error);
	return ret;
}

int sde__reader_inner(struct sde__cursor *cursor, uint64_t chunk, uint64_t count, uint64_t inner,
		      void **raw, struct sde_error *error)
{
	const uint64_t each = sde__inner_count(&cursor->reader->metadata.geometry);
	struct sde__cursor *own = sde__cursor_column(cursor, inner / each, error);
	const int ret = own ? sde__cursor_open(own, chunk, count, error) : -ENOMEM;

	return ret ? ret : decode_into(own, inner % each, raw, error);
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
		ret = sde__cursor_inner(cursor, inner, error);
	return ret;
}
