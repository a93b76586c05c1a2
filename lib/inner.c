/* SPDX-License-Identifier: MIT */
/* Inner chunks in memory: see inner.h. */
#include "inner.h"

#include "strided.h"

#define CACHE_LINE 64	/* bytes */

void sde__inner_strides(const struct sde__geometry *geometry, enum sde__inner_order order,
			int64_t strides[3])
{
	const int64_t item = (int64_t)sde__dtype_size(geometry->dtype);
	const int64_t width = (int64_t)geometry->inner_width;
	const int64_t times = (int64_t)geometry->chunk_size;

	strides[0] = item * width * times;
	strides[1] = order == SDE__INNER_TURNED ? item : item * times;
	strides[2] = order == SDE__INNER_TURNED ? item * width : item;
}

void sde__inner_turn(const struct sde__geometry *geometry, const void *stored, void *turned)
{
	const uint64_t count[3] = { geometry->dimension, geometry->inner_width,
				    geometry->chunk_size };
	int64_t to[3], from[3];

	sde__inner_strides(geometry, SDE__INNER_TURNED, to);
	sde__inner_strides(geometry, SDE__INNER_STORED, from);
	sde__strided_copy(sde__dtype_size(geometry->dtype), count, turned, to, stored, from);
}

bool sde__inner_is_like(const struct sde__geometry *geometry, const uint64_t count[3],
			const int64_t strides[3])
{
	int64_t own[3];

	sde__inner_strides(geometry, SDE__INNER_STORED, own);
	return count[0] == geometry->dimension && count[1] == geometry->inner_width &&
	       count[2] == geometry->chunk_size && strides[1] == own[1] && strides[2] == own[2] &&
	       (count[0] == 1 || strides[0] == own[0]);
}

enum sde__inner_order sde__inner_order_for(const struct sde__geometry *geometry,
					   uint64_t trajectories, uint64_t times)
{
	const uint64_t line = CACHE_LINE / sde__dtype_size(geometry->dtype);

	return times < line && times < geometry->chunk_size && trajectories >= line ?
	       SDE__INNER_TURNED : SDE__INNER_STORED;
}

uint64_t sde__inner_patience(const struct sde__geometry *geometry)
{
	return sde__inner_bytes(geometry) / CACHE_LINE;
}
