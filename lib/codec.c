/* SPDX-License-Identifier: MIT */
/*
 * One inner chunk's codecs, a table with one entry each. Guards the way back:
 * nothing that was read from a file reaches a decompressor before its sizes
 * were compared with what the geometry says they must be.
 *
 * Formats:
 *	blosc	a Blosc 1 frame: frame.h
 *	lz4	numcodecs' LZ4: u32 raw size, one LZ4 block (lz4_Block_format.md)
 * little-endian.
 */
#include "codec.h"

#include "crc32c.h"
#include "frame.h"
#include "le32.h"

#include <errno.h>
#include <limits.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#define CHECKSUM_BYTES 4
#define LZ4_HEADER_BYTES 4

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
	sde__store_le32(bytes, (uint32_t)raw_size);
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
	if (sde__load_le32(bytes) != raw_size)
		return sde__fail(error, SDE_E_CORRUPT,
				 "the lz4 header says %lu bytes, expected %zu",
				 (unsigned long)sde__load_le32(bytes), raw_size);
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
		"blosc-lz4-bitshuffle", SDE__FRAME_LIMIT, SDE__FRAME_OVERHEAD,
		SIZE_MAX, sde__frame_encode, sde__frame_decode },
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

size_t sde__codec_memory(const struct sde__codec *codec, size_t raw_size)
{
	return codec->id == SDE_CODEC_BLOSC_LZ4_BITSHUFFLE ?
	       sde__frame_memory(codec->item, raw_size) : 0;
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
		sde__store_le32(bytes + size, sde__crc32c(0, bytes, size));
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
	kept = sde__load_le32(bytes + *size);
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
