/* SPDX-License-Identifier: MIT */
/* A selection in pieces: see cuts.h. */
#include "cuts.h"

#include <string.h>

static uint64_t last_of(const struct sde__range *range)
{
	return range->start + (range->count - 1) * range->step;
}

void sde__cuts_make(struct sde__cuts *cuts, const struct sde__geometry *geometry,
		    const struct sde__range range[3], uint64_t filed, bool whole)
{
	const uint64_t width = geometry->inner_width, size = geometry->chunk_size;

	cuts->geometry = geometry;
	cuts->range = range;
	cuts->filed = filed;
	cuts->chunk = range[2].start / size;
	cuts->inner = range[1].start / width;
	cuts->inners = whole ? 1 : last_of(&range[1]) / width - cuts->inner + 1;
	/* no more than numbers in the array, or steps between them: fits */
	cuts->count = (last_of(&range[2]) / size - cuts->chunk + 1) * cuts->inners;
}

/* What of a range lies in [from, to), and how many of its indices come before. */
static bool clip(const struct sde__range *range, uint64_t from, uint64_t to,
		 struct sde__range *part, uint64_t *before)
{
	uint64_t end;

	*before = range->start >= from ? 0 : (from - range->start + range->step - 1) / range->step;
	end = range->start >= to ? 0 : (to - range->start + range->step - 1) / range->step;
	if (end > range->count)
		end = range->count;
	if (*before >= end)
		return false;
	part->start = range->start + *before * range->step;
	part->count = end - *before;
	part->step = range->step;
	return true;
}

bool sde__cuts_piece(const struct sde__cuts *cuts, uint64_t number, struct sde__cut *piece)
{
	const uint64_t size = cuts->geometry->chunk_size, width = cuts->geometry->inner_width;

	piece->chunk = cuts->chunk + number / cuts->inners;
	piece->inner = cuts->inner + number % cuts->inners;
	piece->range[0] = cuts->range[0];
	piece->range[1] = cuts->range[1];
	memset(piece->at, 0, sizeof(piece->at));
	if (!clip(&cuts->range[2], piece->chunk * size, (piece->chunk + 1) * size,
		  &piece->range[2], &piece->at[2]))
		return false;
	piece->filed = last_of(&piece->range[2]) < cuts->filed;
	if (cuts->inners == 1)
		return true;
	if (!piece->filed)
		return piece->inner == cuts->inner;
	return clip(&cuts->range[1], piece->inner * width, (piece->inner + 1) * width,
		    &piece->range[1], &piece->at[1]);
}
