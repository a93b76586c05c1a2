/* SPDX-License-Identifier: MIT */
/*
 * The transpose between slots, time-slowest [t][d][n] (or [t][n][d]), and inner
 * chunks, time-fastest [d][n][t].
 *
 * Both directions, and every selection a reader can ask for, are one strided
 * copy of a three-dimensional block. Strides are in bytes; blocks do not
 * overlap; items are 4 or 8 bytes at addresses aligned to the item.
 *
 * On the way into an inner chunk numbers can be rounded, as option keepbits asks:
 * to the nearest one whose mantissa has no more than `keepbits` explicit bits set,
 * of two equally near ones to that with an even last bit. It is what IEEE 754 does
 * when it rounds to fewer bits with the same range of exponents: above the largest
 * such number, by half a step or more, becomes infinity; subnormals have the same
 * absolute step all along and may become 0 or the smallest normal; the sign stays,
 * of 0 too. NaN (payload and all) and infinity pass. A rounded number rounds to
 * itself. No floating-point operation is involved: no flag, no trap, no mode.
 */
#ifndef SDE_LIB_GATHER_H
#define SDE_LIB_GATHER_H

#include "geometry.h"

/*
 * For all i, j, k below count: to[i*ts0 + j*ts1 + k*ts2] = from[...]. Picks its
 * loop order and blocking by the strides: any order of axes is fast.
 */
void sde__strided_copy(size_t item, const uint64_t count[3], void *to,
		       const int64_t to_strides[3], const void *from,
		       const int64_t from_strides[3]);

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

/* Explicit mantissa bits: 52 or 23. */
unsigned sde__mantissa_bits(enum sde_dtype dtype);

/* `keepbits` as it is used here: 0 if it keeps all of the mantissa anyway. */
unsigned sde__rounding(enum sde_dtype dtype, unsigned keepbits);

/* Round `count` numbers in place; keepbits 1 .. 51 or 1 .. 22, or 0: nothing is done. */
void sde__round(enum sde_dtype dtype, unsigned keepbits, void *numbers, uint64_t count);

#endif
