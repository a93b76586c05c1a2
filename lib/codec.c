/* SPDX-License-Identifier: MIT */
/*
 * One inner chunk's codecs, a table with one entry each. Guards the way back:
 * nothing that was read from a file reaches a decompressor before its sizes
 * were compared with what the geometry says they must be.
 *
 * Formats:
 *	blosc	Blosc 1 (c-blosc README_CHUNK_FORMAT.rst): a 16-byte header
 *		{ version 2, codec version, flags, typesize, u32 nbytes, u32
 *		blocksize, u32 cbytes }, u32 starts of the blocks, the blocks; raw
 *		behind the header, with flag memcpyed, where it would not shrink
 *		by 2%
 *	lz4	numcodecs' LZ4: u32 raw size, one LZ4 block (lz4_Block_format.md)
 * all little-endian.
 */
#include "codec.h"

#include "crc32c.h"

#include <blosc.h>
#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#define CHECKSUM_BYTES 4
#define LZ4_HEADER_BYTES 4

/* numcodecs' level for lz4; higher ones cost time and gain next to nothing. */
#define BLOSC_LEVEL 5

/* What shrinks by less than 1 / LEAST_GAIN is kept raw: reading it is a copy then. */
#define LEAST_GAIN 50

/* Blosc cuts a frame into blocks of at most this unless told otherwise. */
#define BLOSC_AUTOMATIC_BLOCK ((size_t)1 << 20)

/* A row of the table. encode's `out` has bound(raw_size) bytes; decode may trust
 * nothing but that raw_size is at most limit. */
struct functions {
	const char *name;
	size_t limit;
	size_t overhead;		/* bound = raw_size + overhead + raw_size / rate */
	size_t rate;
	int (*encode)(size_t item, const void *raw, size_t raw_size, void *out,
		      size_t room, size_t *out_size);
	int (*decode)(size_t item, const unsigned char *bytes, size_t size, void *raw,
		      size_t raw_size, struct sde_error *error);
};

static uint32_t load_le32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

static void store_le32(unsigned char *p, uint32_t value)
{
	p[0] = (unsigned char)value;
	p[1] = (unsigned char)(value >> 8);
	p[2] = (unsigned char)(value >> 16);
	p[3] = (unsigned char)(value >> 24);
}

/* ------------------------------------------------------------------------
 * blosc
 */

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

static size_t blosc_block(size_t raw_size)
{
	return raw_size < BLOSC_AUTOMATIC_BLOCK ? raw_size : BLOSC_AUTOMATIC_BLOCK;
}

/*
 * Compressed into too little room for less gain, blosc gives up as soon as it is used
 * up, and says 0; at level 0 it copies. (For bare lz4 there is nothing to win: a block
 * that hardly shrinks is long runs of literals already, and one of literals alone is
 * larger than the raw bytes.)
 */
static int blosc_encode(size_t item, const void *raw, size_t raw_size, void *out,
			size_t room, size_t *out_size)
{
	int n;

	if (!blosc_has_memory(blosc_block(raw_size), item))
		return -ENOMEM;
	n = blosc_compress_ctx(BLOSC_LEVEL, BLOSC_BITSHUFFLE, item, raw_size, raw, out,
			       raw_size - raw_size / LEAST_GAIN, BLOSC_LZ4_COMPNAME, 0, 1);
	if (n == 0)
		n = blosc_compress_ctx(0, BLOSC_BITSHUFFLE, item, raw_size, raw, out, room,
				       BLOSC_LZ4_COMPNAME, 0, 1);
	if (n <= 0)
		return SDE_E_CODEC;
	*out_size = (size_t)n;
	return 0;
}

/* The version and sizes in the header; *block is what libblosc will allocate twice. */
static int blosc_check_sizes(const unsigned char *bytes, size_t size, size_t raw_size,
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
static int blosc_check_kind(const unsigned char *bytes, size_t item, size_t raw_size,
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

static int blosc_decode(size_t item, const unsigned char *bytes, size_t size, void *raw,
			size_t raw_size, struct sde_error *error)
{
	size_t block = 0;
	int status, n;

	status = blosc_check_sizes(bytes, size, raw_size, &block, error);
	if (!status)
		status = blosc_check_kind(bytes, item, raw_size, size, block, error);
	if (status)
		return status;
	if (bytes[2] & BLOSC_MEMCPYED) {
		memcpy(raw, bytes + BLOSC_MIN_HEADER_LENGTH, raw_size);
		return 0;
	}
	if (!blosc_has_memory(block, item))
		return sde__fail_why(error, -ENOMEM, "cannot decode a blosc frame");
	n = blosc_decompress_ctx(bytes, raw, raw_size, 1);
	if (n < 0)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame of %zu bytes does not decompress", size);
	if ((size_t)n != raw_size)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the blosc frame gives %d bytes, expected %zu", n, raw_size);
	return 0;
}

/* ------------------------------------------------------------------------
 * lz4
 */

static int lz4_encode(size_t item, const void *raw, size_t raw_size, void *out,
		      size_t room, size_t *out_size)
{
	unsigned char *bytes = out;
	int n;

	(void)item;
	room -= LZ4_HEADER_BYTES;
	store_le32(bytes, (uint32_t)raw_size);
	n = LZ4_compress_default(raw, (char *)bytes + LZ4_HEADER_BYTES, (int)raw_size,
				 room > INT_MAX ? INT_MAX : (int)room);
	if (n <= 0)
		return SDE_E_CODEC;
	*out_size = (size_t)n + LZ4_HEADER_BYTES;
	return 0;
}

static int lz4_decode(size_t item, const unsigned char *bytes, size_t size, void *raw,
		      size_t raw_size, struct sde_error *error)
{
	int n;

	(void)item;
	if (size < LZ4_HEADER_BYTES)
		return sde__fail(error, SDE_E_CORRUPT,
				 "%zu bytes are too few for an lz4 header", size);
	if (load_le32(bytes) != raw_size)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the lz4 header says %lu bytes, expected %zu",
				 (unsigned long)load_le32(bytes), raw_size);
	if (size - LZ4_HEADER_BYTES > INT_MAX)
		return sde__fail(error, SDE_E_CORRUPT,
				 "an lz4 block of %zu bytes is over the limit of %d",
				 size - LZ4_HEADER_BYTES, INT_MAX);
	n = LZ4_decompress_safe((const char *)bytes + LZ4_HEADER_BYTES, raw,
				(int)(size - LZ4_HEADER_BYTES), (int)raw_size);
	if (n < 0)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the lz4 block of %zu bytes does not decompress",
				 size - LZ4_HEADER_BYTES);
	if ((size_t)n != raw_size)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the lz4 block gives %d bytes, expected %zu", n, raw_size);
	return 0;
}

/* ------------------------------------------------------------------------
 * none
 */

static int none_encode(size_t item, const void *raw, size_t raw_size, void *out,
		       size_t room, size_t *out_size)
{
	(void)item;
	(void)room;
	if (raw_size > 0 && out != raw)
		memcpy(out, raw, raw_size);
	*out_size = raw_size;
	return 0;
}

static int none_decode(size_t item, const unsigned char *bytes, size_t size, void *raw,
		       size_t raw_size, struct sde_error *error)
{
	(void)item;
	if (size != raw_size)
		return sde__fail(error, SDE_E_CORRUPT,
				 "there are %zu raw bytes, expected %zu", size, raw_size);
	if (raw_size > 0)
		memcpy(raw, bytes, raw_size);
	return 0;
}

/* ------------------------------------------------------------------------
 * The table
 */

static const struct functions codecs[] = {
	[SDE_CODEC_BLOSC_LZ4_BITSHUFFLE] = {
		"blosc-lz4-bitshuffle", BLOSC_MAX_BUFFERSIZE, BLOSC_MAX_OVERHEAD,
		SIZE_MAX, blosc_encode, blosc_decode },
	/* LZ4_COMPRESSBOUND: n + n/255 + 16 */
	[SDE_CODEC_LZ4] = {
		"lz4", LZ4_MAX_INPUT_SIZE, LZ4_HEADER_BYTES + 16, 255, lz4_encode,
		lz4_decode },
	[SDE_CODEC_NONE] = {
		"none", SIZE_MAX / 2 - CHECKSUM_BYTES, 0, SIZE_MAX, none_encode,
		none_decode },
};

static const struct functions *find(enum sde_codec id)
{
	size_t i = (size_t)id;

	if (i >= sizeof(codecs) / sizeof(codecs[0]) || !codecs[i].name)
		return NULL;
	return &codecs[i];
}

size_t sde__codec_limit(const struct sde__codec *codec)
{
	const struct functions *f = find(codec->id);

	return f ? f->limit : 0;
}

size_t sde__codec_bound(const struct sde__codec *codec, size_t raw_size)
{
	const struct functions *f = find(codec->id);

	if (!f)
		return 0;
	return raw_size + raw_size / f->rate + f->overhead +
	       (codec->checksum ? CHECKSUM_BYTES : 0);
}

/*
 * libblosc allocates its scratch by posix_memalign. What glibc (2.26 to 2.36 at least)
 * cuts off behind it goes into the thread's cache of small chunks, where it keeps the
 * scratch from being merged with the memory behind, so that the next call is given
 * fresh memory; until that cache is full, which is at seven.
 */
#define BLOSC_SCRATCHES 8

size_t sde__codec_memory(const struct sde__codec *codec, size_t raw_size)
{
	return codec->id == SDE_CODEC_BLOSC_LZ4_BITSHUFFLE ?
	       BLOSC_SCRATCHES * blosc_scratch(blosc_block(raw_size), codec->item) : 0;
}

/* The length of a match that its token says, before any byte that lengthens it. */
#define LZ4_TOKEN_MATCH 19

size_t sde__codec_most(const struct sde__codec *codec, size_t size)
{
	size_t most;

	if (codec->id == SDE_CODEC_NONE)
		return size;
	if (__builtin_mul_overflow(size, 255, &most) ||
	    __builtin_add_overflow(most, LZ4_TOKEN_MATCH, &most))
		return SIZE_MAX;
	return most;
}

int sde__codec_encode(const struct sde__codec *codec, const void *raw, size_t raw_size,
		      void *out, size_t *out_size)
{
	const struct functions *f = find(codec->id);
	unsigned char *bytes = out;
	size_t size;
	int status;

	if (!f || raw_size > f->limit)
		return SDE_E_CODEC;
	status = f->encode(codec->item, raw, raw_size, out,
			   sde__codec_bound(codec, raw_size) -
			   (codec->checksum ? CHECKSUM_BYTES : 0), &size);
	if (status)
		return status;
	if (codec->checksum) {
		store_le32(bytes + size, sde__crc32c(0, bytes, size));
		size += CHECKSUM_BYTES;
	}
	*out_size = size;
	return 0;
}

/* On success *size no longer counts the checksum. */
static int verify_checksum(const unsigned char *bytes, size_t *size,
			   struct sde_error *error)
{
	uint32_t kept, is;

	if (*size < CHECKSUM_BYTES)
		return sde__fail(error, SDE_E_CORRUPT,
				 "%zu bytes are too few for a checksum", *size);
	*size -= CHECKSUM_BYTES;
	kept = load_le32(bytes + *size);
	is = sde__crc32c(0, bytes, *size);
	if (kept != is)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the checksum of %zu bytes is %08lx, expected %08lx",
				 *size, (unsigned long)is, (unsigned long)kept);
	return 0;
}

int sde__codec_decode(const struct sde__codec *codec, const void *bytes, size_t size,
		      void *raw, size_t raw_size, struct sde_error *error)
{
	const struct functions *f = find(codec->id);
	int status;

	if (!f)
		return sde__fail(error, SDE_E_CORRUPT, "codec %d is unknown",
				 (int)codec->id);
	if (raw_size > f->limit)
		return sde__fail(error, SDE_E_CORRUPT,
				 "%zu bytes are over the limit of codec '%s', %zu", raw_size,
				 f->name, f->limit);
	if (codec->checksum) {
		status = verify_checksum(bytes, &size, error);
		if (status)
			return status;
	}
	return f->decode(codec->item, bytes, size, raw, raw_size, error);
}

const char *sde__codec_name(enum sde_codec id)
{
	const struct functions *f = find(id);

	return f ? f->name : "unknown";
}
