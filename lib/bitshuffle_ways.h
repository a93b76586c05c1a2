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

#endif
