/* SPDX-License-Identifier: MIT */
/* Rounding of mantissas by floating-point arithmetic: see rounded.h. */
#include "rounded.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Smallest exponent of a normal number; below it the step stays the same. */
static double to_step(double x, unsigned keepbits, int smallest)
{
	int exponent = ilogb(x);

	if (exponent < smallest)
		exponent = smallest;
	return ldexp(nearbyint(ldexp(x, (int)keepbits - exponent)), exponent - (int)keepbits);
}

static uint64_t rounded8(unsigned keepbits, uint64_t bits)
{
	double x;

	memcpy(&x, &bits, sizeof(x));
	if (!isfinite(x) || x == 0)
		return bits;
	x = to_step(x, keepbits, DBL_MIN_EXP - 1);
	memcpy(&bits, &x, sizeof(x));
	return bits;
}

static uint32_t rounded4(unsigned keepbits, uint32_t bits)
{
	float narrow;
	double x;

	memcpy(&narrow, &bits, sizeof(narrow));
	if (!isfinite(narrow) || narrow == 0)
		return bits;
	x = to_step((double)narrow, keepbits, FLT_MIN_EXP - 1);
	/* too large for a float is infinity, and its sign */
	if (fabs(x) > (double)FLT_MAX)
		x = copysign(INFINITY, x);
	narrow = (float)x;
	memcpy(&bits, &narrow, sizeof(narrow));
	return bits;
}

uint64_t rounded_bits(size_t item, unsigned keepbits, uint64_t bits)
{
	if (!keepbits)
		return bits;
	return item == 8 ? rounded8(keepbits, bits) : rounded4(keepbits, (uint32_t)bits);
}

void rounded_in_place(size_t item, unsigned keepbits, void *numbers, uint64_t count)
{
	unsigned char *p = numbers;

	for (uint64_t i = 0; i < count; i++, p += item) {
		uint64_t bits = 0;

		/* little-endian, as all of this */
		memcpy(&bits, p, item);
		bits = rounded_bits(item, keepbits, bits);
		memcpy(p, &bits, item);
	}
}
