/* SPDX-License-Identifier: MIT */
/* Between slots and inner chunks: see gather.h. */
#include "gather.h"

#include "inner.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "chunks are little-endian and gather does not swap bytes"
#endif

/*
 * How many trajectories of inner chunk `inner` exist; the rest of n is padding. All
 * of it, at the end of a cut column.
 */
static uint64_t width_of(const struct sde__geometry *g, uint64_t inner)
{
	const uint64_t first = inner * g->inner_width;
	const uint64_t left = g->trajectories > first ? g->trajectories - first : 0;

	return left < g->inner_width ? left : g->inner_width;
}

/* `count` quiet NaNs: the arrays' fill value. */
static void fill(size_t item, char *out, uint64_t count)
{
	const uint64_t nan8 = UINT64_C(0x7ff8000000000000);
	const uint32_t nan4 = UINT32_C(0x7fc00000);

	if (item == 8)
		for (uint64_t i = 0; i < count; i++)
			memcpy(out + i * 8, &nan8, 8);
	else
		for (uint64_t i = 0; i < count; i++)
			memcpy(out + i * 4, &nan4, 4);
}

/* What no slot gives: behind `count` in each row, all of the rows behind `width`. */
static void fill_padding(const struct sde__geometry *g, uint64_t width, uint64_t count,
			 char *out)
{
	size_t item = sde__dtype_size(g->dtype);
	uint64_t t = g->chunk_size;

	if (count == t && width == g->inner_width)
		return;
	for (uint64_t d = 0; d < g->dimension; d++) {
		char *plane = out + d * g->inner_width * t * item;

		for (uint64_t n = 0; count < t && n < width; n++)
			fill(item, plane + (n * t + count) * item, t - count);
		fill(item, plane + width * t * item, (g->inner_width - width) * t);
	}
}

void sde__gather(const struct sde__geometry *geometry, const struct sde__slots *slots,
		 uint64_t inner, void *out)
{
	uint64_t width = width_of(geometry, inner);
	const uint64_t count[3] = { geometry->dimension, width, slots->count };
	const int64_t from[3] = { (int64_t)slots->dimension_stride,
				  (int64_t)slots->trajectory_stride,
				  (int64_t)slots->slot_size };
	const char *first = (const char *)slots->payload +
			    inner * geometry->inner_width * slots->trajectory_stride;
	int64_t to[3];

	sde__inner_strides(geometry, SDE__INNER_STORED, to);
	fill_padding(geometry, width, slots->count, out);
	if (slots->count == 0 || width == 0)
		return;
	if (slots->keepbits)
		sde__strided_round(sde__dtype_size(geometry->dtype), slots->keepbits, count, out, to,
				   first, from);
	else
		sde__strided_copy(sde__dtype_size(geometry->dtype), count, out, to, first, from);
}

void sde__scatter(const struct sde__geometry *geometry, const void *chunk, uint64_t inner,
		  uint64_t count, void *payload, size_t slot_size, size_t dimension_stride,
		  size_t trajectory_stride)
{
	const uint64_t counts[3] = { geometry->dimension, width_of(geometry, inner), count };
	const int64_t to[3] = { (int64_t)dimension_stride, (int64_t)trajectory_stride,
				(int64_t)slot_size };
	int64_t from[3];

	if (count == 0 || counts[1] == 0)
		return;
	sde__inner_strides(geometry, SDE__INNER_STORED, from);
	sde__strided_copy(sde__dtype_size(geometry->dtype), counts,
			  (char *)payload + inner * geometry->inner_width * trajectory_stride,
			  to, chunk, from);
}
