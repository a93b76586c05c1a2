/* SPDX-License-Identifier: MIT */
/*
 * Raw deflate (RFC 1951), block by block.
 *
 * A block of at most SDE__DEFLATE_BLOCK bytes is compressed by itself: it refers
 * to nothing before it and ends on a byte (what zlib calls a full flush). So
 * blocks can be made in any order by any number of threads, and put one behind
 * the other, with sde__deflate_end behind the last, they are one deflate stream
 * that every inflate reads. The bytes of a block are a pure function of its
 * content, of the engine and, with ISA-L, of the CPU's instruction set.
 */
#ifndef SDE_LIB_DEFLATE_H
#define SDE_LIB_DEFLATE_H

#include "error.h"

#define SDE__DEFLATE_BLOCK ((size_t)1 << 20)

/* Ends a stream: an empty last block, in the fixed code. */
#define SDE__DEFLATE_END_SIZE 2
extern const unsigned char sde__deflate_end[SDE__DEFLATE_END_SIZE];

/*
 * Inflated bytes a deflated one can stand for, at most: a match of 258 bytes for
 * two bits. More is a lie about sizes.
 */
#define SDE__DEFLATE_RATIO_MAX 1032

/*
 * Engines by name: "igzip" (ISA-L; not in every build), "zlib". NULL gives the
 * fastest of this build. NULL is returned if there is no such engine.
 */
struct sde__deflate_engine;
const struct sde__deflate_engine *sde__deflate_engine(const char *name);
const char *sde__deflate_engine_name(const struct sde__deflate_engine *engine);

/* What one thread needs to compress, about 0.6 MiB. -ENOMEM. */
struct sde__deflater;
int sde__deflater_create(struct sde__deflater **out,
			 const struct sde__deflate_engine *engine);
void sde__deflater_destroy(struct sde__deflater *deflater);	/* accepts NULL */

/* The room a block of raw_size bytes needs. */
size_t sde__deflate_bound(size_t raw_size);

/*
 * Compress a block; out has sde__deflate_bound(raw_size) bytes, raw_size is at
 * most SDE__DEFLATE_BLOCK. SDE_E_CODEC.
 */
int sde__deflate_block(struct sde__deflater *deflater, const void *raw, size_t raw_size,
		       void *out, size_t *out_size);

/* CRC-32 of ISO 3309, as zip has it; `crc` is 0, or the value of what came before. */
uint32_t sde__crc32(uint32_t crc, const void *bytes, size_t size);

/* That of a and b, one behind the other, by the values of each. */
uint32_t sde__crc32_join(uint32_t a, uint32_t b, size_t b_size);

#endif
