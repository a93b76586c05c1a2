/* SPDX-License-Identifier: MIT */
/*
 * Reading data: which file or slot has each value, and the copy out. See reader.h for
 * where a value is looked for, and in which order.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "cursor.h"

#include "series.h"
#include "strided.h"

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

/* What of a part lies in one inner chunk: its trajectories from .. from + count. */
struct slice {
	uint64_t inner, from, count;
};

/* Copy it out of the decoded inner chunk. */
static void copy_inner(const struct sde__cursor *cursor, const struct part *part,
		       const struct slice *slice, const unsigned char *source,
		       enum sde__inner_order order)
{
	const struct sde__geometry *g = &cursor->file.geometry;
	const struct sde__range *r = part->range;
	const uint64_t counts[3] = { r[0].count, slice->count, part->count };
	const uint64_t first[3] = {
		r[0].start,
		r[1].start + slice->from * r[1].step - slice->inner * g->inner_width,
		part->first - part->chunk * g->chunk_size,
	};
	int64_t strides[3];

	sde__inner_strides(g, order, strides);
	for (int i = 0; i < 3; i++) {
		source += (int64_t)first[i] * strides[i];
		strides[i] *= (int64_t)r[i].step;
	}
	sde__strided_copy(sde__dtype_size(g->dtype), counts,
			  part->out + (int64_t)slice->from * part->stride[1], part->stride, source,
			  strides);
}

/* Is all of an inner chunk asked for? Then nothing of it will be soon again. */
static bool takes_all(const struct sde__cursor *cursor, const struct part *part,
		      const struct slice *slice)
{
	uint64_t times[2], trajectories[2];

	sde__reader_span(cursor->reader, part->first, times);
	sde__inner_span(&cursor->file.geometry, slice->inner, trajectories);
	return part->range[0].count == cursor->file.geometry.dimension &&
	       part->count == times[1] - times[0] &&
	       slice->count == trajectories[1] - trajectories[0];
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

/* All of an inner chunk: decoded where it belongs, if it lies like that there. */
static int pass_slice(struct sde__cursor *cursor, const struct part *part,
		      const struct slice *slice, struct sde_error *error)
{
	const uint64_t count[3] = { part->range[0].count, slice->count, part->count };
	const bool in_place = sde__inner_is_like(&cursor->file.geometry, count, part->stride);
	void *raw = in_place ? part->out + (int64_t)slice->from * part->stride[1] : NULL;
	const int ret = sde__cursor_pass(cursor, slice->inner, &raw, error);

	if (!ret && !in_place)
		copy_inner(cursor, part, slice, raw, SDE__INNER_STORED);
	return ret;
}

/* Decode it, and copy out what is asked for. */
static int decode_slice(struct sde__cursor *cursor, const struct part *part,
			const struct slice *slice, enum sde__inner_order order,
			struct sde_error *error)
{
	struct sde__chunk_cache *cache = cursor->reader->cache;
	struct sde__chunk_block *block;
	int ret;

	if (cache) {
		ret = sde__cursor_hold(cursor, slice->inner, order, &block, error);
		if (ret)
			return ret;
		copy_inner(cursor, part, slice, block->raw, block->order);
		sde__chunk_cache_release(cache, block);
		return 0;
	}
	if (takes_all(cursor, part, slice))
		return pass_slice(cursor, part, slice, error);
	ret = sde__cursor_keep(cursor, slice->inner, order, error);
	if (!ret)
		copy_inner(cursor, part, slice, cursor->kept[slice->inner].raw, order);
	return ret;
}

/* The same, and NaN if it is damaged. 1: all of the part was read from the ring instead. */
static int decode_or_fill(struct sde__cursor *cursor, const struct part *part,
			  const struct slice *slice, enum sde__inner_order order,
			  struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	ret = decode_slice(cursor, part, slice, order, &why);
	if (!ret)
		return 0;
	if (sde__is_damage(ret))
		ret = hole(cursor, part, slice->inner, slice->inner + 1, ret, &why);
	if (ret < 0)
		return sde__fail(error, ret, "%s", why.text);
	if (!ret)
		fill_part(cursor, part, slice->from, slice->count);
	return ret;
}

static int read_slice(struct sde__cursor *cursor, const struct part *part,
		      const struct slice *slice, struct sde_error *error)
{
	const enum sde__inner_order order =
		sde__inner_order_for(&cursor->file.geometry, slice->count, part->count);
	const struct sde__kept *kept = sde__cursor_kept(
		cursor, slice->inner, order, part->range[0].count * slice->count * part->count);

	if (!kept)
		return decode_or_fill(cursor, part, slice, order, error);
	copy_inner(cursor, part, slice, kept->raw, kept->order);
	return 0;
}

/* 1: it is damaged, and its numbers were taken from the ring or filled. */
static int open_part(struct sde__cursor *cursor, const struct part *part, uint64_t count,
		     struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	ret = sde__cursor_open(cursor, part->chunk, count, &why);
	if (ret && sde__is_damage(ret)) {
		ret = hole(cursor, part, 0, cursor->file.inner_count, ret, &why);
		if (!ret)
			fill_part(cursor, part, 0, part->range[1].count);
		if (ret >= 0)
			return 1;
	}
	return ret ? sde__fail(error, ret, "%s", why.text) : 0;
}

static int part_from_file(struct sde__cursor *cursor, const struct part *part,
			  struct sde_error *error)
{
	const struct sde__geometry *g = &cursor->file.geometry;
	const struct sde__range *r = &part->range[1];
	const uint64_t snapshots = last_of(part) - part->chunk * g->chunk_size + 1;
	int ret = 0;

	if (!sde__cursor_is_open(cursor, part->chunk, snapshots))
		ret = open_part(cursor, part, snapshots, error);
	for (uint64_t j = 0; j < r->count && !ret; ) {
		const uint64_t inner = (r->start + j * r->step) / g->inner_width;
		const uint64_t end = (inner + 1) * g->inner_width;
		const uint64_t n = (end - (r->start + j * r->step) + r->step - 1) / r->step;
		const struct slice slice = { inner, j, n < r->count - j ? n : r->count - j };

		ret = read_slice(cursor, part, &slice, error);
		j += slice.count;
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
