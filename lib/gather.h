/* SPDX-License-Identifier: MIT */
/*
 * The transpose between slots, time-slowest [t][d][n] (or [t][n][d]), and inner
 * chunks, time-fastest [d][n][t]. Both directions are one strided copy (strided.h).
 */
#ifndef SDE_LIB_GATHER_H
#define SDE_LIB_GATHER_H

#include "strided.h"

/*
 * Inner chunk `inner` (trajectories inner*n ... of W) of `count` slots into
 * out, sde__inner_bytes long: value (d, n, t) of the slots is at
 * slots + t*slot_size + d*dimension_stride + n*trajectory_stride. What lies
 * behind N or behind count becomes the fill value, a quiet NaN (0x7ff8000000000000,
 * 0x7fc00000).
 */
struct sde__slots {
	const void *payload;		/* of the first slot */
	size_t slot_size, dimension_stride, trajectory_stride;
	uint64_t count;			/* at most T */
	unsigned keepbits;		/* 0: as they are */
};

void sde__gather(const struct sde__geometry *geometry, const struct sde__slots *slots,
		 uint64_t inner, void *out);

/*
 * The other direction: inner chunk `inner` (decoded, [d][n][t]) back into the
 * first `count` of the slots. Padding is not copied.
 */
void sde__scatter(const struct sde__geometry *geometry, const void *chunk,
		  uint64_t inner, uint64_t count, void *payload, size_t slot_size,
		  size_t dimension_stride, size_t trajectory_stride);

#endif
