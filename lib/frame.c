/* SPDX-License-Identifier: MIT */
/*
 * Blosc 1 frames, see frame.h. Guards the way back: nothing that was read from a file
 * reaches a decompressor before its sizes were compared with what the geometry says they
 * must be.
 */
#include "frame.h"

#include <blosc.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* numcodecs' level for lz4; higher ones cost time and gain next to nothing. */
#define LEVEL 5
#define COPY 0

/* What shrinks by less than 1 / LEAST_GAIN is kept raw: reading it is a copy then. */
#define LEAST_GAIN 50

/* Blosc cuts a frame into blocks of at most this unless told otherwise. */
#define AUTOMATIC_BLOCK ((size_t)1 << 20)

/* A flag that no version of Blosc 1 has given a meaning. */
#define FLAG_OF_THE_FUTURE 0x08

/* What libblosc 1 allocates for a call: two blocks and a little. */
static size_t blosc_scratch(size_t block, size_t item)
{
	return 2 * block + item * sizeof(int32_t) + 64;
}

/*
 * libblosc goes on with NULL if it gets no memory. Asking for as much just before turns
 * that crash into -ENOMEM (unless another thread takes it in between).
 */
static bool blosc_has_memory(size_t block, size_t item)
{
	void *probe = malloc(blosc_scratch(block, item));

	if (!probe)
		return false;
	*(volatile char *)probe = 0;	/* else the pair may be optimised away */
	free(probe);
	return true;
}

static size_t automatic_block(size_t raw_size)
{
	return raw_size < AUTOMATIC_BLOCK ? raw_size : AUTOMATIC_BLOCK;
}

/*
 * libblosc allocates its scratch by posix_memalign. What glibc (2.26 to 2.36 at least)
 * cuts off behind it goes into the thread's cache of small chunks, where it keeps the
 * scratch from being merged with the memory behind, so that the next call is given
 * fresh memory; until that cache is full, which is at seven.
 */
#define BLOSC_SCRATCHES 8

size_t sde__frame_memory(size_t item, size_t raw_size)
{
	const size_t block = automatic_block(raw_size);

	return sde__bitshuffle_best() ? sde__frame_blocks_memory(block) :
					BLOSC_SCRATCHES * blosc_scratch(block, item);
}

/* *size is 0 if it does not fit into `room`. */
static int encode_by_libblosc(int level, size_t item, const void *raw, size_t raw_size,
			      void *out, size_t room, size_t *size)
{
	int n;

	if (!blosc_has_memory(automatic_block(raw_size), item))
		return -ENOMEM;
	n = blosc_compress_ctx(level, BLOSC_BITSHUFFLE, item, raw_size, raw, out, room,
			       BLOSC_LZ4_COMPNAME, 0, 1);
	*size = n > 0 ? (size_t)n : 0;
	return n < 0 ? SDE_E_CODEC : 0;
}

/*
 * Compressed into too little room for less gain, blosc gives up as soon as it is used
 * up; at level 0 it copies. (For bare lz4 there is nothing to win: a block that hardly
 * shrinks is long runs of literals already, and one of literals alone is larger than
 * the raw bytes.)
 */
int sde__frame_encode_by(const struct sde__bitshuffle_way *way, size_t item, const void *raw,
			 size_t raw_size, void *out, size_t room, size_t *out_size)
{
	const size_t less = raw_size - raw_size / LEAST_GAIN;
	int status;

	if (way && raw_size / item >= SDE__FRAME_LEAST_ITEMS && raw_size % item == 0) {
		status = sde__frame_blocks_encode(way, item, raw, raw_size, out, less, out_size);
		if (status || *out_size > 0)
			return status;
		sde__frame_blocks_copy(item, raw, raw_size, out);
		*out_size = SDE__FRAME_HEADER + raw_size;
		return 0;
	}
	status = encode_by_libblosc(LEVEL, item, raw, raw_size, out, less, out_size);
	if (!status && *out_size == 0)
		status = encode_by_libblosc(COPY, item, raw, raw_size, out, room, out_size);
	return !status && *out_size == 0 ? SDE_E_CODEC : status;
}

int sde__frame_encode(size_t item, const void *raw, size_t raw_size, void *out, size_t room,
		      size_t *out_size)
{
	return sde__frame_encode_by(sde__bitshuffle_best(), item, raw, raw_size, out, room, out_size);
}

/* The version and sizes in the header; *block is what libblosc will allocate twice. */
static int check_sizes(const unsigned char *bytes, size_t size, size_t raw_size,
			     size_t *block, struct sde_error *error)
{
	size_t says_raw, says_size, checked;

	if (size < BLOSC_MIN_HEADER_LENGTH)
		return sde__fail(error, SDE_E_CORRUPT,
				 "%zu bytes are too few for a blosc header", size);
	if (bytes[0] != BLOSC_VERSION_FORMAT)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame says version %d, expected %d", bytes[0],
				 BLOSC_VERSION_FORMAT);
	blosc_cbuffer_sizes(bytes, &says_raw, &says_size, block);
	if (says_size != size)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame says it has %zu bytes, there are %zu",
				 says_size, size);
	if (says_raw != raw_size)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame says it holds %zu bytes, expected %zu",
				 says_raw, raw_size);
	if (blosc_cbuffer_validate(bytes, size, &checked) != 0 || checked != raw_size)
		return sde__fail(error, SDE_E_CORRUPT, "the blosc header does not hold");
	if (raw_size > 0 && (*block == 0 || *block > raw_size))
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame says blocks of %zu bytes, it holds %zu",
				 *block, raw_size);
	return 0;
}

/*
 * The rest of the header. A typesize of 1 is what zarr-python 3.0 writes when it
 * replaces a chunk, whatever the metadata says (its issue 2766); any other but
 * ours is damage.
 */
static int check_kind(const unsigned char *bytes, size_t item, size_t raw_size,
			    size_t size, size_t block, struct sde_error *error)
{
	size_t typesize;
	int version, codec_version, flags;

	blosc_cbuffer_versions(bytes, &version, &codec_version);
	blosc_cbuffer_metainfo(bytes, &typesize, &flags);
	if (typesize != item && typesize != 1)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame says typesize %zu, expected %zu",
				 typesize, item);
	if (bytes[2] >> 5 != BLOSC_LZ4_FORMAT || codec_version != BLOSC_LZ4_VERSION_FORMAT)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame says compressor %d version %d, expected"
				 " lz4 (%d version %d)", bytes[2] >> 5, codec_version,
				 BLOSC_LZ4_FORMAT, BLOSC_LZ4_VERSION_FORMAT);
	if ((flags & (BLOSC_DOSHUFFLE | BLOSC_DOBITSHUFFLE)) != BLOSC_DOBITSHUFFLE)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame says shuffle flags %#x, expected %#x",
				 (unsigned)flags & (BLOSC_DOSHUFFLE | BLOSC_DOBITSHUFFLE),
				 (unsigned)BLOSC_DOBITSHUFFLE);
	if (flags & BLOSC_MEMCPYED) {
		if (size - BLOSC_MIN_HEADER_LENGTH != raw_size)
			return sde__fail(error, SDE_E_CORRUPT,
					 "the blosc frame has %zu raw bytes, expected %zu",
					 size - BLOSC_MIN_HEADER_LENGTH, raw_size);
	} else if (block % typesize != 0) {
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame says blocks of %zu bytes of typesize %zu",
				 block, typesize);
	}
	return 0;
}

static int decode_by_libblosc(size_t item, const unsigned char *bytes, size_t block, void *raw,
			      size_t raw_size)
{
	int n;

	if (!blosc_has_memory(block, item))
		return -ENOMEM;
	n = blosc_decompress_ctx(bytes, raw, raw_size, 1);
	return n >= 0 && (size_t)n == raw_size ? 0 : SDE_E_CORRUPT;
}

int sde__frame_decode_by(const struct sde__bitshuffle_way *way, size_t item,
			 const unsigned char *bytes, size_t size, void *raw, size_t raw_size,
			 struct sde_error *error)
{
	size_t block = 0;
	int status;

	status = check_sizes(bytes, size, raw_size, &block, error);
	if (!status)
		status = check_kind(bytes, item, raw_size, size, block, error);
	if (status)
		return status;
	if (bytes[2] & BLOSC_MEMCPYED) {
		memcpy(raw, bytes + BLOSC_MIN_HEADER_LENGTH, raw_size);
		return 0;
	}
	if (way && raw_size > 0 && bytes[3] == item && !(bytes[2] & FLAG_OF_THE_FUTURE) &&
	    raw_size % item == 0)
		status = sde__frame_blocks_decode(way, item, bytes, size, block, raw, raw_size);
	else
		status = decode_by_libblosc(item, bytes, block, raw, raw_size);
	if (status == SDE_E_CORRUPT)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame of %zu bytes does not decompress", size);
	return status ? sde__fail_why(error, status, "cannot decode a blosc frame") : 0;
}

int sde__frame_decode(size_t item, const unsigned char *bytes, size_t size, void *raw,
		      size_t raw_size, struct sde_error *error)
{
	return sde__frame_decode_by(sde__bitshuffle_best(), item, bytes, size, raw, raw_size, error);
}
