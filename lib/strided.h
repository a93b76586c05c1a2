/* SPDX-License-Identifier: MIT */
/*
 * Strided copies of three-dimensional blocks. Strides are in bytes; blocks do not
 * overlap; items are 4 or 8 bytes at addresses aligned to the item.
 *
 * On the way numbers can be rounded, as option keepbits asks:
 * to the nearest one whose mantissa has no more than `keepbits` explicit bits set,
 * of two equally near ones to that with an even last bit. It is what IEEE 754 does
 * when it rounds to fewer bits with the same range of exponents: above the largest
 * such number, by half a step or more, becomes infinity; subnormals have the same
 * absolute step all along and may become 0 or the smallest normal; the sign stays,
 * of 0 too. NaN (payload and all) and infinity pass. A rounded number rounds to
 * itself. No floating-point operation is involved: no flag, no trap, no mode.
 */
#ifndef SDE_LIB_STRIDED_H
#define SDE_LIB_STRIDED_H

#include "geometry.h"

/*
 * For all i, j, k below count: to[i*ts0 + j*ts1 + k*ts2] = from[...]. Picks its
 * loop order and blocking by the strides: any order of axes is fast.
 */
void sde__strided_copy(size_t item, const uint64_t count[3], void *to,
		       const int64_t to_strides[3], const void *from,
		       const int64_t from_strides[3]);

/* The same, rounded; keepbits 1 .. 51 or 1 .. 22. */
void sde__strided_round(size_t item, unsigned keepbits, const uint64_t count[3], void *to,
			const int64_t to_strides[3], const void *from,
			const int64_t from_strides[3]);

/* Explicit mantissa bits: 52 or 23. */
unsigned sde__mantissa_bits(enum sde_dtype dtype);

/* `keepbits` as it is used here: 0 if it keeps all of the mantissa anyway. */
unsigned sde__rounding(enum sde_dtype dtype, unsigned keepbits);

/* Round `count` numbers in place; keepbits 1 .. 51 or 1 .. 22, or 0: nothing is done. */
void sde__round(enum sde_dtype dtype, unsigned keepbits, void *numbers, uint64_t count);

#endif
