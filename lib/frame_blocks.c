/* SPDX-License-Identifier: MIT */
/*
 * A block: for each stream its u32 length, little-endian, and the LZ4 block; or the bytes
 * themselves if the length says that they are as many. Lengths, block sizes and when LZ4
 * is given up are libblosc's (1.21, level 5, its default way of splitting), so that one
 * cannot tell who wrote a frame.
 */
#include "frame_blocks.h"

#include "error.h"
#include "le32.h"

#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 2
#define LZ4_VERSION 1
#define FLAGS_RAW 0x02
#define FLAGS_BITSHUFFLE 0x04
#define FLAGS_ONE_STREAM 0x10		/* a block is not split */
#define FLAGS_LZ4 0x20
#define LENGTH_BYTES 4

/* libblosc's at level 5. */
#define ACCELERATION 5

/* From `SMALL` bytes on, blocks have this many items, and MOST_BLOCK bytes at most. */
#define SMALL ((size_t)32 << 10)
#define BLOCK_ITEMS ((size_t)128 << 10)
#define MOST_BLOCK ((size_t)1 << 20)

/* What libblosc says of a copy, in which there are no blocks. */
#define COPIED_BLOCK (SMALL / 4)

#define LINE 64

size_t sde__frame_blocks_memory(size_t block)
{
	return block + LINE;
}

static size_t block_bytes(size_t item, size_t raw_size)
{
	size_t block = raw_size;

	if (raw_size >= SMALL)
		block = BLOCK_ITEMS * item < MOST_BLOCK ? BLOCK_ITEMS * item : MOST_BLOCK;
	return block < raw_size ? block : raw_size;
}

/* Room for a block's planes, at a line of the cache; *memory is the caller's to free. */
static unsigned char *planes_begin(size_t block, void **memory)
{
	unsigned char *at = *memory = malloc(sde__frame_blocks_memory(block));

	return at ? at + (LINE - (uintptr_t)at % LINE) % LINE : NULL;
}

/* ------------------------------------------------------------------------
 * There
 */

struct writer {
	unsigned char *out;
	size_t at, room;
};

/* false: it does not fit */
static bool put_stream(struct writer *w, const unsigned char *bytes, size_t n)
{
	unsigned char *length = w->out + w->at;
	size_t most = n, got;

	w->at += LENGTH_BYTES;
	if (w->at >= w->room)
		return false;
	if (most > w->room - w->at)
		most = w->room - w->at;
	got = (size_t)LZ4_compress_fast((const char *)bytes, (char *)w->out + w->at, (int)n,
					(int)most, ACCELERATION);
	if (got == 0 || got == n) {
		if (n > w->room - w->at)
			return false;
		memcpy(w->out + w->at, bytes, n);
		got = n;
	}
	sde__store_le32(length, (uint32_t)got);
	w->at += got;
	return true;
}

/* As Blosc has it: what is not a multiple of eight items is not shuffled. */
static bool put_block(const struct sde__bitshuffle_way *way, size_t item, struct writer *w,
		      const unsigned char *raw, size_t n, size_t streams, unsigned char *planes)
{
	const unsigned char *bytes = raw;

	if (n / item % 8 == 0) {
		sde__bitshuffle(way, item, n / item, raw, planes);
		bytes = planes;
	}
	for (size_t i = 0; i < streams; i++)
		if (!put_stream(w, bytes + i * (n / streams), n / streams))
			return false;
	return true;
}

static void put_header(unsigned char *out, unsigned flags, size_t item, size_t raw_size,
		       size_t block, size_t size)
{
	out[0] = VERSION;
	out[1] = LZ4_VERSION;
	out[2] = (unsigned char)(FLAGS_LZ4 | FLAGS_BITSHUFFLE | flags);
	out[3] = (unsigned char)item;
	sde__store_le32(out + 4, (uint32_t)raw_size);
	sde__store_le32(out + 8, (uint32_t)block);
	sde__store_le32(out + 12, (uint32_t)size);
}

int sde__frame_blocks_encode(const struct sde__bitshuffle_way *way, size_t item,
			     const unsigned char *raw, size_t raw_size, unsigned char *out,
			     size_t room, size_t *size)
{
	const size_t block = block_bytes(item, raw_size);
	const size_t blocks = (raw_size + block - 1) / block;
	struct writer w = { out, SDE__FRAME_HEADER + LENGTH_BYTES * blocks, room };
	void *memory;
	unsigned char *planes = planes_begin(block, &memory);
	bool fits = true;

	if (!planes)
		return -ENOMEM;
	for (size_t i = 0; fits && i < blocks; i++) {
		const size_t from = i * block, n = raw_size - from < block ? raw_size - from : block;

		sde__store_le32(out + SDE__FRAME_HEADER + LENGTH_BYTES * i, (uint32_t)w.at);
		fits = put_block(way, item, &w, raw + from, n, n < block ? 1 : item, planes);
	}
	free(memory);
	*size = fits ? w.at : 0;
	if (fits)
		put_header(out, 0, item, raw_size, block, w.at);
	return 0;
}

void sde__frame_blocks_copy(size_t item, const unsigned char *raw, size_t raw_size,
			    unsigned char *out)
{
	put_header(out, FLAGS_RAW, item, raw_size, raw_size < SMALL ? raw_size : COPIED_BLOCK,
		   SDE__FRAME_HEADER + raw_size);
	memcpy(out + SDE__FRAME_HEADER, raw, raw_size);
}

/* ------------------------------------------------------------------------
 * And back
 */

struct reader {
	const unsigned char *bytes;
	size_t at, size;
};

static bool get_stream(struct reader *r, unsigned char *out, size_t n)
{
	size_t length;

	if (r->at > r->size || r->size - r->at < LENGTH_BYTES)
		return false;
	length = sde__load_le32(r->bytes + r->at);
	r->at += LENGTH_BYTES;
	if (length > r->size - r->at)
		return false;
	if (length == n)
		memcpy(out, r->bytes + r->at, n);
	else if (length > INT_MAX ||
		 LZ4_decompress_safe((const char *)r->bytes + r->at, (char *)out, (int)length,
				     (int)n) != (int)n)
		return false;
	r->at += length;
	return true;
}

static bool get_block(const struct sde__bitshuffle_way *way, size_t item, struct reader *r,
		      unsigned char *raw, size_t n, size_t streams, unsigned char *planes)
{
	const bool shuffled = n / item % 8 == 0;
	unsigned char *bytes = shuffled ? planes : raw;

	for (size_t i = 0; i < streams; i++)
		if (!get_stream(r, bytes + i * (n / streams), n / streams))
			return false;
	if (shuffled)
		sde__bitunshuffle(way, item, n / item, planes, raw);
	return true;
}

/* Of a whole block: writers before there was the flag split from so many items on. */
static size_t streams_of(const unsigned char *bytes, size_t item, size_t block)
{
	return !(bytes[2] & FLAGS_ONE_STREAM) && block / item >= SDE__FRAME_LEAST_ITEMS ? item : 1;
}

int sde__frame_blocks_decode(const struct sde__bitshuffle_way *way, size_t item,
			     const unsigned char *bytes, size_t size, size_t block,
			     unsigned char *raw, size_t raw_size)
{
	const size_t blocks = (raw_size + block - 1) / block;
	const size_t streams = streams_of(bytes, item, block);
	bool whole = blocks <= (size - SDE__FRAME_HEADER) / LENGTH_BYTES;
	unsigned char *planes;
	void *memory;

	if (!whole)
		return SDE_E_CORRUPT;
	planes = planes_begin(block, &memory);
	if (!planes)
		return -ENOMEM;
	for (size_t i = 0; whole && i < blocks; i++) {
		const size_t from = i * block, n = raw_size - from < block ? raw_size - from : block;
		struct reader r = {
			bytes, sde__load_le32(bytes + SDE__FRAME_HEADER + LENGTH_BYTES * i), size };

		whole = get_block(way, item, &r, raw + from, n, n < block ? 1 : streams, planes);
	}
	free(memory);
	return whole ? 0 : SDE_E_CORRUPT;
}
