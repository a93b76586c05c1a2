/* SPDX-License-Identifier: MIT */
/*
 * Walking over the data of a store: inner chunks are decoded into one buffer a
 * thread, which stays in the processor's cache, and shown where they lie. What
 * is in the ring, and pieces with all trajectories, are put together by a read. So is
 * what is damaged: a read knows what becomes of that (reader.h).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dataset.h"

#include "crew.h"
#include "cuts.h"

#include <errno.h>
#include <stdlib.h>

struct walk {
	struct sde__reader *reader;
	struct sde__holes *holes;
	const struct sde__walk *how;
	struct sde__cuts cuts;
};

/* A thread's. */
struct walker {
	struct sde__cursor cursor;
	unsigned thread;
	void *inner;		/* a decoded inner chunk */
	void *buffer;		/* what was read */
	size_t room;
};

static int begin_walk(void *ctx, unsigned thread, void **own, struct sde_error *error)
{
	const struct walk *walk = ctx;
	struct walker *walker = calloc(1, sizeof(*walker));

	if (!walker)
		return sde__fail(error, -ENOMEM, "out of memory");
	walker->thread = thread;
	sde__cursor_init(&walker->cursor, walk->reader);
	walker->cursor.holes = walk->holes;
	*own = walker;
	return 0;
}

static void end_walk(void *ctx, void *own)
{
	struct walker *walker = own;

	(void)ctx;
	sde__cursor_free(&walker->cursor);
	free(walker->inner);
	free(walker->buffer);
	free(walker);
}

static int need_room(struct walker *walker, uint64_t bytes, struct sde_error *error)
{
	if (walker->room >= bytes)
		return 0;
	free(walker->buffer);
	walker->buffer = bytes > PTRDIFF_MAX ? NULL : malloc((size_t)bytes);
	walker->room = walker->buffer ? (size_t)bytes : 0;
	return walker->buffer ? 0 :
	       sde__fail(error, -ENOMEM, "no memory for a block of %llu bytes",
			 (unsigned long long)bytes);
}

/* An inner chunk, [d][n][t], as it was decoded. */
static int show_inner(const struct walk *walk, struct walker *walker, const struct sde__cut *piece,
		      struct sde_block *block, struct sde_error *error)
{
	const struct sde__geometry *g = &walk->reader->metadata.geometry;
	const size_t item = sde__dtype_size(g->dtype);
	const uint64_t first = piece->range[2].start - piece->chunk * g->chunk_size;
	int ret;

	ret = sde__reader_inner(&walker->cursor, piece->chunk, first + piece->range[2].count,
				piece->inner, &walker->inner, error);
	if (ret)
		return ret;
	block->strides[2] = (int64_t)item;
	block->strides[1] = (int64_t)(item * g->chunk_size);
	block->strides[0] = block->strides[1] * (int64_t)g->inner_width;
	block->data = (unsigned char *)walker->inner + (int64_t)piece->range[0].start * block->strides[0] +
		      (int64_t)(piece->range[1].start - piece->inner * g->inner_width) *
		      block->strides[1] + (int64_t)(first * item);
	return 0;
}

/* Snapshots, one behind the other: [t][d][n]. */
static int show_snapshots(const struct walk *walk, struct walker *walker,
			  const struct sde__cut *piece, struct sde_block *block,
			  struct sde_error *error)
{
	const uint64_t item = sde__dtype_size(walk->reader->metadata.geometry.dtype);
	const struct sde__range *r = piece->range;
	int ret;

	block->strides[1] = (int64_t)item;
	block->strides[0] = (int64_t)(item * r[1].count);
	block->strides[2] = (int64_t)(item * r[1].count * r[0].count);
	ret = need_room(walker, item * r[0].count * r[1].count * r[2].count, error);
	if (ret)
		return ret;
	block->data = walker->buffer;
	return sde__reader_data(&walker->cursor, r, walker->buffer, block->strides, error);
}

static int visit(void *ctx, void *own, uint64_t job, struct sde_error *error)
{
	const struct walk *walk = ctx;
	struct walker *walker = own;
	struct sde_block block = { .thread = walker->thread };
	const uint64_t width = walk->reader->metadata.geometry.inner_width;
	struct sde_error why = { 0 };
	struct sde__cut piece;
	int ret = SDE_E_HOLE;

	if (!sde__cuts_piece(&walk->cuts, job, &piece))
		return 0;
	for (int i = 0; i < 3; i++) {
		block.start[i] = piece.range[i].start;
		block.count[i] = piece.range[i].count;
	}
	/* a piece of a file that reaches over inner chunks was asked for whole */
	if (piece.filed && (block.start[1] + block.count[1] - 1) / width == piece.inner)
		ret = show_inner(walk, walker, &piece, &block, &why);
	if (ret && !sde__is_damage(ret))
		return sde__fail(error, ret, "%s", why.text);
	if (ret)
		ret = show_snapshots(walk, walker, &piece, &block, error);
	return ret ? ret : walk->how->function(walk->how->ctx, &block);
}

int sde__dataset_walk(struct sde__reader *reader, struct sde__holes *holes,
		      const struct sde__range range[3], const struct sde__walk *how,
		      struct sde_error *error)
{
	struct walk walk = { .reader = reader, .holes = holes, .how = how };
	const struct sde__crew crew = { begin_walk, visit, end_walk, &walk };

	sde__cuts_make(&walk.cuts, &reader->metadata.geometry, range, reader->filed, how->whole);
	return sde__crew_run(&crew, how->threads, walk.cuts.count, error);
}
