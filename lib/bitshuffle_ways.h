/* SPDX-License-Identifier: MIT */
/* The ways of bitshuffle.h, each in a file of its own: one that was not compiled for
 * such a processor has `have` say no. */
#ifndef SDE_LIB_BITSHUFFLE_WAYS_H
#define SDE_LIB_BITSHUFFLE_WAYS_H

#include "bitshuffle.h"

/* AVX-512 (F, BW, VL, VBMI) and GFNI: Intel from Ice Lake, AMD from Zen 4. */
extern const struct sde__bitshuffle_way sde__bitshuffle_avx512;

/* AVX2: Intel from Haswell, AMD from Zen. */
extern const struct sde__bitshuffle_way sde__bitshuffle_avx2;

/* GCC unrolls short loops over arrays of registers, which then are registers, if told. */
#if defined(__GNUC__) && !defined(__clang__)
#define SDE__UNROLLED _Pragma("GCC unroll 8")
#else
#define SDE__UNROLLED
#endif

/*
 * A way of `shuffle_items` and `unshuffle_items`, which are inline and have the size of an
 * item first: compiled once for each, for `TARGET`.
 */
#define SDE__BITSHUFFLE_WAY(way) \
	TARGET static void shuffle(size_t item, const unsigned char *items, \
				   unsigned char *planes, size_t stride) \
	{ \
		if (item == 8) \
			shuffle_items(8, items, planes, stride); \
		else \
			shuffle_items(4, items, planes, stride); \
	} \
	TARGET static void unshuffle(size_t item, const unsigned char *planes, size_t stride, \
				     unsigned char *items) \
	{ \
		if (item == 8) \
			unshuffle_items(8, planes, stride, items); \
		else \
			unshuffle_items(4, planes, stride, items); \
	} \
	const struct sde__bitshuffle_way sde__bitshuffle_##way = { #way, have, shuffle, unshuffle };

/* The same where the compiler or the machine cannot have it. */
#define SDE__BITSHUFFLE_NO_WAY(way) \
	static bool have(void) \
	{ \
		return false; \
	} \
	const struct sde__bitshuffle_way sde__bitshuffle_##way = { #way, have, NULL, NULL };

#endif
