/* SPDX-License-Identifier: MIT */
/* Which way, and what does not fill a span: see bitshuffle.h. */
#include "bitshuffle.h"

#include "bitshuffle_ways.h"

#include <string.h>

#define MOST_BYTES (SDE__SPAN_ITEMS * (size_t)8)

const struct sde__bitshuffle_way *const sde__bitshuffle_ways[] = {
	&sde__bitshuffle_avx512,
	&sde__bitshuffle_avx2,
};
const size_t sde__bitshuffle_way_count =
	sizeof(sde__bitshuffle_ways) / sizeof(sde__bitshuffle_ways[0]);

const struct sde__bitshuffle_way *sde__bitshuffle_best(void)
{
	for (size_t i = 0; i < sde__bitshuffle_way_count; i++)
		if (sde__bitshuffle_ways[i]->have())
			return sde__bitshuffle_ways[i];
	return NULL;
}

void sde__bitshuffle(const struct sde__bitshuffle_way *way, size_t item, size_t n,
		     const unsigned char *items, unsigned char *planes)
{
	const size_t stride = n / 8, whole = n / SDE__SPAN_ITEMS * SDE__SPAN_ITEMS;
	unsigned char last[MOST_BYTES], turned[MOST_BYTES];

	for (size_t i = 0; i < whole; i += SDE__SPAN_ITEMS)
		way->shuffle(item, items + i * item, planes + i / 8, stride);
	if (n == whole)
		return;
	memset(last, 0, sizeof(last));
	memcpy(last, items + whole * item, (n - whole) * item);
	way->shuffle(item, last, turned, SDE__SPAN_BYTES);
	for (size_t p = 0; p < 8 * item; p++)
		memcpy(planes + p * stride + whole / 8, turned + p * SDE__SPAN_BYTES,
		       (n - whole) / 8);
}

void sde__bitunshuffle(const struct sde__bitshuffle_way *way, size_t item, size_t n,
		       const unsigned char *planes, unsigned char *items)
{
	const size_t stride = n / 8, whole = n / SDE__SPAN_ITEMS * SDE__SPAN_ITEMS;
	unsigned char last[MOST_BYTES], turned[MOST_BYTES];

	for (size_t i = 0; i < whole; i += SDE__SPAN_ITEMS)
		way->unshuffle(item, planes + i / 8, stride, items + i * item);
	if (n == whole)
		return;
	memset(last, 0, sizeof(last));
	for (size_t p = 0; p < 8 * item; p++)
		memcpy(last + p * SDE__SPAN_BYTES, planes + p * stride + whole / 8,
		       (n - whole) / 8);
	way->unshuffle(item, last, SDE__SPAN_BYTES, turned);
	memcpy(items + whole * item, turned, (n - whole) * item);
}
