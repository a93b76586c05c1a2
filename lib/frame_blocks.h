/* SPDX-License-Identifier: MIT */
/*
 * The blocks of a Blosc 1 frame, LZ4 behind bitshuffle: what libblosc makes, byte for
 * byte, by a bitshuffle (bitshuffle.h) and liblz4. A block is as many LZ4 streams as an
 * item has bytes, so that one is the planes of one byte; the last one, if it is
 * shorter, is one stream. Thread-safe: no state.
 */
#ifndef SDE_LIB_FRAME_BLOCKS_H
#define SDE_LIB_FRAME_BLOCKS_H

#include "bitshuffle.h"

/* Bytes of a header. */
#define SDE__FRAME_HEADER ((size_t)16)

/* Least items of a frame that is made here: libblosc makes one stream of fewer. */
#define SDE__FRAME_LEAST_ITEMS 128

/* Memory that a call takes, and gives back, for a frame with such blocks. */
size_t sde__frame_blocks_memory(size_t block);

/*
 * A frame of raw_size bytes, a multiple of item (4 or 8) and SDE__FRAME_LEAST_ITEMS of
 * them at least, in `room` bytes, more than an eighth of them. *size is 0 if it
 * does not fit. -ENOMEM.
 */
int sde__frame_blocks_encode(const struct sde__bitshuffle_way *way, size_t item,
			     const unsigned char *raw, size_t raw_size, unsigned char *out,
			     size_t room, size_t *size);

/* The same raw behind the header: raw_size and SDE__FRAME_HEADER bytes. */
void sde__frame_blocks_copy(size_t item, const unsigned char *raw, size_t raw_size,
			    unsigned char *out);

/*
 * Back. The header was checked: `size` and raw_size are right, blocks of `block` bytes,
 * a multiple of item, not more than raw_size. Nothing else was, nothing else is
 * believed: SDE_E_CORRUPT; -ENOMEM.
 */
int sde__frame_blocks_decode(const struct sde__bitshuffle_way *way, size_t item,
			     const unsigned char *bytes, size_t size, size_t block,
			     unsigned char *raw, size_t raw_size);

#endif
