/* SPDX-License-Identifier: MIT */
/*
 * Reading data: which file or slot has each value, and the copy out. See reader.h for
 * where a value is looked for, and in which order.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "cursor.h"

#include "gather.h"
#include "series.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

	ret = cache ? sde__cursor_hold(cursor, inner, &block, &why) : sde__cursor_inner(cursor, inner, &why);
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
