/* SPDX-License-Identifier: MIT */
/*
 * Blosc 1 frames (c-blosc, README_CHUNK_FORMAT.rst): a 16-byte header
 *	{ version 2, codec version, flags, typesize, u32 nbytes, u32 blocksize, u32
 *	cbytes }, u32 starts of the blocks, the blocks
 * all little-endian; raw behind the header, with flag memcpyed, where it would not shrink
 * by 2%. cname lz4, clevel 5, bitshuffle, typesize of the dtype, automatic block size.
 *
 * By libblosc's _ctx calls (no globals, no environment), one thread; or, where the
 * processor has a faster bitshuffle than libblosc (bitshuffle.h), by frame_blocks.h, to
 * the same bytes. Thread-safe: no state.
 */
#ifndef SDE_LIB_FRAME_H
#define SDE_LIB_FRAME_H

#include "error.h"
#include "frame_blocks.h"

#include <stddef.h>

/* How much longer than the raw bytes a frame may be. */
#define SDE__FRAME_OVERHEAD SDE__FRAME_HEADER
/* Most raw bytes. */
#define SDE__FRAME_LIMIT ((size_t)INT32_MAX - SDE__FRAME_OVERHEAD)

/* The memory that a thread which encodes raw_size bytes, again and again, comes to hold. */
size_t sde__frame_memory(size_t item, size_t raw_size);

/* out has `room` bytes: raw_size and the overhead. SDE_E_CODEC, -ENOMEM. */
int sde__frame_encode(size_t item, const void *raw, size_t raw_size, void *out, size_t room,
		      size_t *out_size);

/* Untrusted bytes into exactly raw_size bytes. SDE_E_CORRUPT, -ENOMEM. */
int sde__frame_decode(size_t item, const unsigned char *bytes, size_t size, void *raw,
		      size_t raw_size, struct sde_error *error);

/* The same by a given way of bitshuffle, NULL by libblosc alone: for tests. */
int sde__frame_encode_by(const struct sde__bitshuffle_way *way, size_t item, const void *raw,
			 size_t raw_size, void *out, size_t room, size_t *out_size);
int sde__frame_decode_by(const struct sde__bitshuffle_way *way, size_t item,
			 const unsigned char *bytes, size_t size, void *raw, size_t raw_size,
			 struct sde_error *error);

#endif
