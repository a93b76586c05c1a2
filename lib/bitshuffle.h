/* SPDX-License-Identifier: MIT */
/*
 * Bitshuffle: n items of 4 or 8 bytes as planes of their bits. Plane 8 b + k is n / 8
 * bytes long and has bit k of byte b of every item, that of item i in bit i % 8 of its
 * byte i / 8; the planes lie behind each other. Defined by K. Masui et al., "A compression
 * scheme for radio data in high performance computing", Astronomy and Computing 12
 * (2015), section 3; Blosc 1 has it as filter 2.
 *
 * libblosc does the same, portably, in three passes over its memory; here are ways in
 * one pass, for processors that have the instructions. Thread-safe: no state.
 */
#ifndef SDE_LIB_BITSHUFFLE_H
#define SDE_LIB_BITSHUFFLE_H

#include <stdbool.h>
#include <stddef.h>

/* Items that a way turns at a time, and the bytes of a plane that they are. */
#define SDE__SPAN_ITEMS 512
#define SDE__SPAN_BYTES (SDE__SPAN_ITEMS / 8)

/* One way. Plane p is at planes + p * stride; nothing needs to be aligned. */
struct sde__bitshuffle_way {
	const char *name;
	bool (*have)(void);	/* the processor has what it takes */
	void (*shuffle)(size_t item, const unsigned char *items, unsigned char *planes,
			size_t stride);
	void (*unshuffle)(size_t item, const unsigned char *planes, size_t stride,
			  unsigned char *items);
};

/* The ways there are, fastest first, whether or not the processor has them. */
extern const struct sde__bitshuffle_way *const sde__bitshuffle_ways[];
extern const size_t sde__bitshuffle_way_count;

/* The fastest one that this processor has; NULL: libblosc knows best. */
const struct sde__bitshuffle_way *sde__bitshuffle_best(void);

/* n is a multiple of 8; both are n * item bytes and do not overlap. */
void sde__bitshuffle(const struct sde__bitshuffle_way *way, size_t item, size_t n,
		     const unsigned char *items, unsigned char *planes);
void sde__bitunshuffle(const struct sde__bitshuffle_way *way, size_t item, size_t n,
		       const unsigned char *planes, unsigned char *items);

#endif
