/* SPDX-License-Identifier: MIT */
/*
 * What keepbits should make of a number, by arithmetic: scaled so that the last bit
 * kept is worth 1, rounded to an integer by nearbyint, scaled back. The library does
 * it with integers and lines of vectors, and has nothing of this.
 */
#ifndef SDE_TESTS_UNIT_ROUNDED_H
#define SDE_TESTS_UNIT_ROUNDED_H

#include <stddef.h>
#include <stdint.h>

/* The bits of a number of `item` bytes (8 or 4), rounded; keepbits 0: as they are. */
uint64_t rounded_bits(size_t item, unsigned keepbits, uint64_t bits);

/* `count` numbers in place. */
void rounded_in_place(size_t item, unsigned keepbits, void *numbers, uint64_t count);

#endif
