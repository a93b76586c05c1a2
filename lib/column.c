/* SPDX-License-Identifier: MIT */
/*
 * Reading times, iteration numbers and states: from the blocks of the series, the
 * side tables of the chunks, the ring. See reader.h for which, in which order.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "cursor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int head_from_ring(struct sde__cursor *cursor, uint64_t index, struct sde__slot_head *head,
			  struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	unsigned char bytes[SDE__SLOT_STATE_OFFSET];
	int ret;

	ret = sde__ring_reader_read(reader->ring, index, 0, bytes, sizeof(bytes), error);
	if (ret)
		return ret;
	ret = sde__ring_reader_intact(reader->ring, index, reader->metadata.epoch, error);
	if (ret <= 0)
		return ret < 0 ? ret : 1;
	ret = sde__slot_head_read(bytes, &reader->ring->header.layout, head);
	return ret ? sde__fail(error, ret, "the ring's slot of snapshot %" PRIu64 " is damaged",
			       index) : 0;
}

static uint64_t bits_of(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* One number from a chunk's side table. */
static int from_side(struct sde__cursor *cursor, enum sde__column column, uint64_t index,
		     uint64_t *out, struct sde_error *error)
{
	const uint64_t size = cursor->reader->metadata.geometry.chunk_size;
	const uint64_t inside = index % size;
	int ret;

	ret = sde__cursor_open(cursor, index / size, inside + 1, error);
	if (!ret)
		ret = sde__cursor_side(cursor, error);
	if (!ret)
		*out = column == SDE__COLUMN_TIME ? bits_of(cursor->file.side.time[inside]) :
			(uint64_t)cursor->file.side.iteration[inside];
	return ret;
}

/* One number from the ring, from `first` on: 0, or 1 if it is not there. */
static int from_ring(struct sde__cursor *cursor, enum sde__column column, uint64_t index,
		     uint64_t first, uint64_t *out, struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	struct sde__slot_head head;
	int ret;

	if (!reader->ring || index < first || index >= reader->ring_end)
		return 1;
	ret = head_from_ring(cursor, index, &head, error);
	if (!ret)
		*out = column == SDE__COLUMN_TIME ? bits_of(head.time) : (uint64_t)head.iteration;
	return ret;
}

/* A column being read: the block at hand, and how far the hole at hand reaches. */
struct reading {
	struct sde__cursor *cursor;
	enum sde__column column;
	struct sde__series_files files;
	uint64_t *block, loaded;
	int damage;			/* of the loaded block: its code */
	enum sde_cause cause;
	uint64_t hole_end;		/* up to here all is lost */
	bool from_files;
};

/* The snapshots around `index` that are damaged together: a chunk's in a block. */
static void share_of(const struct reading *r, uint64_t index, uint64_t span[2])
{
	const struct sde__reader *reader = r->cursor->reader;
	const uint64_t published = reader->metadata.snapshots;
	const uint64_t block = index / SDE__TIME_BLOCK * SDE__TIME_BLOCK;

	sde__reader_span(reader, index, span);
	if (index >= published) {
		if (span[0] < published)
			span[0] = published;
		return;
	}
	if (span[0] < block)
		span[0] = block;
	if (span[1] > block + SDE__TIME_BLOCK)
		span[1] = block + SDE__TIME_BLOCK;
	if (span[1] > published)
		span[1] = published;
}

static const char *name_of(const struct reading *r)
{
	return r->column == SDE__COLUMN_TIME ? "cannot read times of" :
	       "cannot read iteration numbers of";
}

/* A number that nobody has: filled, or the end of it. */
static int lost(struct reading *r, uint64_t index, enum sde_cause cause, uint64_t *out,
		struct sde_error *error)
{
	struct sde__hole hole = { .inner_end = 1, .cause = cause, .code = error->code };
	uint64_t span[2];

	if (!sde__is_damage(error->code))
		return error->code;
	share_of(r, index, span);
	if (!r->cursor->reader->fill) {
		sde__damage_explain(error, name_of(r), span, NULL);
		return error->code;
	}
	hole.first = span[0];
	hole.end = span[1];
	sde__error_clear(error);
	if (r->cursor->holes && sde__holes_add(r->cursor->holes, &hole))
		return sde__fail(error, -ENOMEM, "out of memory");
	r->hole_end = span[1];
	*out = r->files.fill;
	return 0;
}

/* Make the block of `index` the loaded one. What is damaged may be filled. */
static int load_block(struct reading *r, uint64_t index, struct sde_error *error)
{
	const struct sde__reader *reader = r->cursor->reader;
	uint64_t span[2];

	r->loaded = index / SDE__TIME_BLOCK;
	r->from_files = true;
	r->damage = sde__series_read_block(&r->files, r->loaded, r->block, &r->cause, error);
	if (!r->damage)
		return 0;
	if (!sde__is_damage(r->damage))
		return r->damage;
	if (!reader->fill) {
		span[0] = r->loaded * SDE__TIME_BLOCK;
		span[1] = reader->metadata.snapshots - span[0] < SDE__TIME_BLOCK ?
			  reader->metadata.snapshots : span[0] + SDE__TIME_BLOCK;
		sde__damage_explain(error, name_of(r), span, NULL);
		return r->damage;
	}
	sde__error_clear(error);
	return 0;
}

/*
 * Where blocks do not reach, or are damaged: ring and side table of one column.
 * *fileless: it failed for want of the chunk's file.
 */
static int from_chunks(struct reading *r, struct sde__cursor *cursor, uint64_t index,
		       uint64_t *out, bool *fileless, struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	int ret;

	*fileless = false;
	ret = from_ring(cursor, r->column, index, reader->ringed, out, error);
	if (ret <= 0)
		return ret;
	ret = from_side(cursor, r->column, index, out, error);
	if (!ret)
		return 0;
	/* a damaged file of which the ring still has the slots */
	if (sde__is_damage(ret) &&
	    !from_ring(cursor, r->column, index, reader->ring_first, out, NULL)) {
		sde__error_clear(error);
		return 0;
	}
	*fileless = true;
	if (index >= reader->metadata.snapshots)
		r->cause = cursor->file.cause;
	return ret;
}

/* All columns have the same times: any that has them will do. */
static int from_any(struct reading *r, uint64_t index, uint64_t *out, bool *fileless,
		    struct sde_error *error)
{
	const uint64_t columns = r->cursor->reader->columns;
	int ret = 1;

	for (uint64_t c = 0; c < (columns ? columns : 1) && ret; c++) {
		struct sde__cursor *cursor = sde__cursor_column(r->cursor, c, error);

		if (!cursor)
			return -ENOMEM;
		sde__error_clear(error);
		ret = from_chunks(r, cursor, index, out, fileless, error);
		if (!*fileless)
			break;
	}
	return ret;
}

static int read_number(struct reading *r, uint64_t index, uint64_t *out, struct sde_error *error)
{
	const struct sde__reader *reader = r->cursor->reader;
	const bool published = index < reader->metadata.snapshots;
	bool fileless = false;
	int ret;

	if (index < r->hole_end) {
		*out = r->files.fill;
		return 0;
	}
	if (published && index / SDE__TIME_BLOCK != r->loaded) {
		ret = load_block(r, index, error);
		if (ret)
			return ret;
	}
	if (published && !r->damage) {
		*out = r->block[index % SDE__TIME_BLOCK];
		return 0;
	}
	ret = from_any(r, index, out, &fileless, error);
	return fileless ? lost(r, index, r->cause, out, error) : ret;
}

int sde__reader_column(struct sde__cursor *cursor, enum sde__column column,
		       const struct sde__range *range, void *out, int64_t stride,
		       struct sde_error *error)
{
	struct reading r = { .cursor = cursor, .column = column, .loaded = SDE__NO_CHUNK };
	struct sde_error why = { 0 };
	int ret = 0;

	r.files = sde__series_files(&cursor->reader->home, column);
	r.block = malloc(SDE__TIME_BLOCK * sizeof(*r.block));
	if (!r.block)
		return sde__fail(error, -ENOMEM, "out of memory");
	for (uint64_t i = 0; i < range->count && !ret; i++) {
		uint64_t number = 0;

		ret = read_number(&r, range->start + i * range->step, &number, &why);
		memcpy((unsigned char *)out + (int64_t)i * stride, &number, sizeof(number));
	}
	free(r.block);
	/* a block has no epoch of its own */
	if (r.from_files && (!ret || sde__is_damage(ret))) {
		struct sde_error stale = { 0 };
		const int now = sde__reader_check_stale(cursor->reader, &stale);

		if (now && (!ret || now == SDE_E_STALE))
			return sde__fail(error, now, "%s", stale.text);
	}
	return ret ? sde__fail(error, ret, "%s", why.text) : 0;
}

/* 0: done; 1: the ring no longer has it; -ERANGE. */
static int state_from_ring(struct sde__cursor *cursor, uint64_t index, void *bytes, size_t *n,
			   struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	const size_t room = *n;
	struct sde__slot_head head;
	int ret;

	ret = head_from_ring(cursor, index, &head, error);
	if (ret)
		return ret;
	*n = head.state_size;
	if (room < head.state_size)
		return -ERANGE;
	ret = sde__ring_reader_read(reader->ring, index, SDE__SLOT_STATE_OFFSET, bytes,
				    head.state_size, error);
	if (ret)
		return ret;
	ret = sde__ring_reader_intact(reader->ring, index, reader->metadata.epoch, error);
	if (ret)
		return ret < 0 ? ret : 0;
	*n = room;
	return 1;
}

int sde__reader_state(struct sde__cursor *cursor, uint64_t index, void *bytes, size_t *n,
		      struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	const uint64_t size = reader->metadata.geometry.chunk_size;
	const size_t room = *n;
	uint32_t inside;
	int ret = 1;

	if (reader->columns) {
		cursor = sde__cursor_column(cursor, 0, error);
		return cursor ? sde__reader_state(cursor, index, bytes, n, error) : -ENOMEM;
	}
	if (reader->ring && index >= reader->ringed)
		ret = state_from_ring(cursor, index, bytes, n, error);
	if (ret != 1)
		return ret;
	inside = (uint32_t)(index % size);
	ret = sde__cursor_open(cursor, index / size, (uint64_t)inside + 1, error);
	if (!ret)
		ret = sde__cursor_side(cursor, error);
	if (ret)
		return ret;
	*n = cursor->file.side.state_size[inside];
	if (room < *n)
		return -ERANGE;
	if (*n)
		memcpy(bytes, sde__side_state(&cursor->file.side, inside), *n);
	return 0;
}
