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
#include "hand.h"

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
	struct sde__hand hand;
	unsigned thread;
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
	sde__hand_init(&walker->hand, walk->reader, walk->holes, false);
	*own = walker;
	return 0;
}

static void end_walk(void *ctx, void *own)
{
	struct walker *walker = own;

	(void)ctx;
	sde__hand_free(&walker->hand);
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
	return sde__reader_data(&walker->hand.cursor, r, walker->buffer, block->strides, error);
}

static int visit(void *ctx, void *own, uint64_t job, struct sde_error *error)
{
	const struct walk *walk = ctx;
	struct walker *walker = own;
	struct sde_block block = { .thread = walker->thread };
	struct sde_error why = { 0 };
	const unsigned char *first;
	struct sde__cut piece;
	int ret = SDE_E_HOLE;

	if (!sde__cuts_piece(&walk->cuts, job, &piece))
		return 0;
	for (int i = 0; i < 3; i++) {
		block.start[i] = piece.range[i].start;
		block.count[i] = piece.range[i].count;
	}
	/* a piece of a file that reaches over inner chunks was asked for whole */
	if (sde__hand_can_show(&walker->hand, &piece))
		ret = sde__hand_show(&walker->hand, &piece, &first, block.strides, &why);
	if (!ret)
		block.data = first;
	else if (sde__is_damage(ret))
		ret = show_snapshots(walk, walker, &piece, &block, error);
	else
		sde__fail(error, ret, "%s", why.text);
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
