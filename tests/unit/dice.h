/* SPDX-License-Identifier: MIT */
/*
 * Numbers that look random and are the same in every run: splitmix64 (G. Steele et al.,
 * "Fast splittable pseudorandom number generators", OOPSLA 2014). Setting dice_state to
 * what it was repeats them.
 */
#ifndef SDE_TESTS_UNIT_DICE_H
#define SDE_TESTS_UNIT_DICE_H

#include <stdint.h>

static uint64_t dice_state = 1;

/* 0 to limit - 1. */
static inline uint64_t below(uint64_t limit)
{
	uint64_t x = dice_state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) % limit;
}

#endif
