/* SPDX-License-Identifier: MIT */
/*
 * Blocks of times and iteration numbers, restored from the side tables of the chunks: a
 * number that is in neither is lost, no other is. See zarr_repair_state.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_repair_state.h"

#include "chunk_list.h"
#include "cursor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A block of one column, as it is and as it ought to be. */
struct block {
	struct sde__series_files files;
	uint64_t number;		/* UINT64_MAX: none */
	uint64_t values[SDE__TIME_BLOCK];
	bool damaged;			/* it cannot be read: all else is filled */
	uint64_t restored, lost;	/* numbers */
};

/* Done with a block: write it if it is better than what is there. */
static int leave_block(struct sde__repair *r, struct block *block, struct sde_error *error)
{
	const uint64_t first = block->number * SDE__TIME_BLOCK;
	const uint64_t published = r->reader->metadata.snapshots;
	char file[320], text[128];
	int ret = 0;

	if (block->number == UINT64_MAX || !block->restored)
		return 0;
	if (!r->options.dry_run)
		ret = sde__series_write_block(&block->files, block->number, block->values, true,
					      error);
	if (ret)
		return ret;
	snprintf(file, sizeof(file), "%.200s/%s/%" PRIu64, r->home.path, block->files.place,
		 block->number);
	if (block->lost)
		snprintf(text, sizeof(text), "from the side tables of the chunks; %" PRIu64
			 " numbers are lost", block->lost);
	else
		snprintf(text, sizeof(text), "from the side tables of the chunks");
	sde__repair_tell(r, SDE_REPAIR_RESTORE, first, published - first < SDE__TIME_BLOCK ?
			 published : first + SDE__TIME_BLOCK, file, text);
	return 0;
}

static int enter_block(struct sde__repair *r, struct block *block, uint64_t number,
		       struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	if (block->number == number)
		return 0;
	ret = leave_block(r, block, error);
	if (ret)
		return ret;
	block->number = number;
	block->restored = block->lost = 0;
	ret = sde__series_read_block(&block->files, number, block->values, NULL, &why);
	block->damaged = ret;
	if (ret && !sde__is_damage(ret))
		return sde__fail(error, ret, "%s", why.text);
	for (size_t i = 0; ret && i < SDE__TIME_BLOCK; i++)
		block->values[i] = block->files.fill;
	return 0;
}

/* The numbers of snapshots first:end, as the side table has them. */
static int compare(struct sde__repair *r, struct block *block, uint64_t first, uint64_t end,
		   const uint64_t *side, struct sde_error *error)
{
	int ret = 0;

	for (uint64_t i = first; i < end && !ret; i++) {
		const size_t inside = (size_t)(i % SDE__TIME_BLOCK);

		ret = enter_block(r, block, i / SDE__TIME_BLOCK, error);
		if (!ret && (block->damaged || block->values[inside] != side[i - first])) {
			block->values[inside] = side[i - first];
			block->restored++;
		}
	}
	return ret;
}

/*
 * Of snapshots first:end no side table is left. What may be restored in spite of it is
 * in the blocks that they share with others, at both ends: those between are not read,
 * for what a store says it has may be any number.
 */
static int pass_over(struct sde__repair *r, struct block *block, uint64_t first, uint64_t end,
		     struct sde_error *error)
{
	const uint64_t second = (first / SDE__TIME_BLOCK + 1) * SDE__TIME_BLOCK;
	const uint64_t last = end / SDE__TIME_BLOCK * SDE__TIME_BLOCK;
	const uint64_t part[2][2] = { { first, end < second ? end : second },
				      { last < second ? second : last, end } };
	int ret = 0;

	for (int i = 0; i < 2 && !ret; i++) {
		if (part[i][0] >= part[i][1])
			continue;
		ret = enter_block(r, block, part[i][0] / SDE__TIME_BLOCK, error);
		if (block->damaged)
			block->lost += part[i][1] - part[i][0];
	}
	return ret;
}

static int lose(struct sde__repair *r, struct block *blocks, uint64_t first, uint64_t end,
		struct sde_error *error)
{
	const int ret = pass_over(r, &blocks[0], first, end, error);

	return ret ? ret : pass_over(r, &blocks[1], first, end, error);
}

/* The blocks of a chunk's snapshots; *missing: its file is not there. */
static int restore_from(struct sde__repair *r, struct sde__cursor *cursor, struct block *blocks,
			uint64_t first, uint64_t end, bool *missing, struct sde_error *error)
{
	const struct sde__side *side = &cursor->file.side;
	struct sde_error why = { 0 };
	int ret;

	ret = sde__cursor_open(cursor, first / r->reader->metadata.geometry.chunk_size, end - first,
			       &why);
	if (!ret)
		ret = sde__cursor_side(cursor, &why);
	*missing = ret == SDE_E_HOLE;
	if (ret && !sde__is_damage(ret))
		return sde__fail(error, ret, "%s", why.text);
	/* what a dry run has not written to a file is not lost for that */
	if (ret && r->reader->ring && first >= r->reader->ringed)
		return 0;
	if (ret)
		return lose(r, blocks, first, end, error);
	ret = compare(r, &blocks[0], first, end, (const uint64_t *)(const void *)side->time, error);
	return ret ? ret : compare(r, &blocks[1], first, end,
				   (const uint64_t *)(const void *)side->iteration, error);
}

/* Each chunk that there is, and a long run of missing ones at once. */
static int restore_all(struct sde__repair *r, struct sde__cursor *cursor, struct block *blocks,
		       struct sde_error *error)
{
	const uint64_t size = r->reader->metadata.geometry.chunk_size;
	const uint64_t published = r->reader->metadata.snapshots;
	const uint64_t chunks = (published + size - 1) / size;
	unsigned missing_ones = 0;
	uint64_t k = 0;
	int ret = 0;

	while (k < chunks && !ret) {
		const uint64_t first = k++ * size;
		bool missing = false;

		ret = restore_from(r, cursor, blocks, first,
				   published - first < size ? published : first + size, &missing, error);
		missing_ones = missing ? missing_ones + 1 : 0;
		if (ret || missing_ones < SDE__MISSING_ONES || k == chunks)
			continue;
		ret = sde__chunk_list_next(&r->reader->home, k, &k, error);
		if (k > chunks)
			k = chunks;
		if (!ret)
			ret = lose(r, blocks, first + size, k < chunks ? k * size : published, error);
	}
	return ret;
}

int sde__repair_blocks(struct sde__repair *r, struct sde_error *error)
{
	struct block *blocks = calloc(2, sizeof(*blocks));
	struct sde__cursor cursor;
	int ret;

	if (!blocks)
		return sde__fail(error, -ENOMEM, "out of memory");
	for (int i = 0; i < 2; i++) {
		blocks[i].files = sde__series_files(&r->reader->home, (enum sde__column)i);
		blocks[i].number = UINT64_MAX;
	}
	sde__cursor_init(&cursor, r->reader);
	ret = restore_all(r, &cursor, blocks, error);
	for (int i = 0; i < 2 && !ret; i++)
		ret = leave_block(r, &blocks[i], error);
	sde__cursor_free(&cursor);
	free(blocks);
	return ret;
}
