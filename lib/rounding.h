/* SPDX-License-Identifier: MIT */
/*
 * Rounding of mantissas, a vector at a time, to be inlined into strided.c, whose header
 * says what it does. Guards the bits: integer arithmetic alone.
 */
#ifndef SDE_LIB_ROUNDING_H
#define SDE_LIB_ROUNDING_H

#include <stddef.h>
#include <stdint.h>

#define SDE__ALWAYS_INLINE inline __attribute__((always_inline))

/* How many low bits of the mantissa go, and what follows from that. */
struct sde__rounding {
	unsigned drop;
	uint64_t half;		/* half of the last bit kept, less 1 */
	uint64_t keep;		/* all bits but those that go */
};

static SDE__ALWAYS_INLINE struct sde__rounding sde__rounding_to(size_t item, unsigned keepbits)
{
	struct sde__rounding r;

	r.drop = (item == 8 ? 52 : 23) - keepbits;
	r.half = (UINT64_C(1) << (r.drop - 1)) - 1;
	r.keep = UINT64_MAX << r.drop;
	return r;
}

/*
 * Vectors as gcc and clang compute with them. 16 bytes, which every target of 64 bits
 * has: longer ones gcc takes apart through memory where the target has no such
 * registers.
 */
#define SDE__ROUNDING_VECTOR 16
typedef uint64_t sde__vector8 __attribute__((vector_size(SDE__ROUNDING_VECTOR)));
typedef uint32_t sde__vector4 __attribute__((vector_size(SDE__ROUNDING_VECTOR)));

/*
 * Some numbers. Adding half a step less one, and one more if the last bit
 * kept is odd, carries exactly when round-half-even goes up, into the exponent too;
 * then the low bits are cut off. Neither is done to NaN and infinity, whose
 * exponent has all bits: the subtraction borrows for these and for no other.
 * Without a branch or a comparison of 64-bit lanes: SSE2 has none.
 */
static SDE__ALWAYS_INLINE void sde__round8(sde__vector8 *v, const struct sde__rounding *r)
{
	const uint64_t magnitude = UINT64_MAX >> 1, largest = UINT64_C(0x7fefffffffffffff);
	const sde__vector8 finite = ((largest - (*v & magnitude)) >> 63) - 1;
	const sde__vector8 up = (r->half + (*v >> r->drop & 1)) & finite;

	*v = (*v + up) & (r->keep | ~finite);
}

static SDE__ALWAYS_INLINE void sde__round4(sde__vector4 *v, const struct sde__rounding *r)
{
	const uint32_t magnitude = UINT32_MAX >> 1, largest = UINT32_C(0x7f7fffff);
	const uint32_t half = (uint32_t)r->half, keep = (uint32_t)r->keep;
	const sde__vector4 finite = ((largest - (*v & magnitude)) >> 31) - 1;
	const sde__vector4 up = (half + (*v >> r->drop & 1)) & finite;

	*v = (*v + up) & (keep | ~finite);
}

#endif
