/* SPDX-License-Identifier: MIT */
/*
 * Inner chunks to bytes and back. Oracles: the raw bytes themselves, frames that
 * numcodecs 0.11 wrote, the published layouts of the headers.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "codec.h"
#include "crc32c.h"
#include "dice.h"

#include <blosc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* numcodecs.Blosc('lz4', 5, shuffle=2) of arange(32.) */
static const unsigned char blosc_frame[84] = {
	0x02, 0x01, 0x34, 0x08, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
	0x54, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x3c, 0x00, 0x00, 0x00,
	0x1f, 0x00, 0x01, 0x00, 0xae, 0xf8, 0x1b, 0xaa, 0xaa, 0x00, 0xaa, 0xcc,
	0xcc, 0xa0, 0xcc, 0xf0, 0xf0, 0xc8, 0xf0, 0x00, 0xff, 0xf2, 0x00, 0xff,
	0xff, 0x02, 0xff, 0xff, 0xff, 0x02, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00,
	0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00,
	0x00, 0x14, 0x00, 0x80, 0xfc, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
};

/* The same of the array's bytes, as zarr-python 3.0 hands them: typesize 1 */
static const unsigned char blosc_frame_of_bytes[145] = {
	0x02, 0x01, 0x24, 0x01, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00,
	0x91, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x79, 0x00, 0x00, 0x00,
	0x76, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x00, 0x1b, 0x40,
	0x02, 0x00, 0x04, 0x20, 0x00, 0x04, 0x16, 0x00, 0x2a, 0x00, 0x40, 0x04,
	0x00, 0x00, 0x20, 0x00, 0x00, 0x1c, 0x00, 0x05, 0x18, 0x00, 0xf4, 0x01,
	0x00, 0x00, 0x40, 0x40, 0x40, 0x40, 0x00, 0x00, 0x00, 0x00, 0x40, 0x40,
	0x40, 0x40, 0x00, 0x80, 0x1c, 0x00, 0x06, 0x18, 0x00, 0x00, 0x02, 0x00,
	0x00, 0x24, 0x00, 0x00, 0x02, 0x00, 0x22, 0x00, 0xc0, 0x0c, 0x00, 0x00,
	0x14, 0x00, 0x00, 0x02, 0x00, 0x00, 0x14, 0x00, 0x08, 0x02, 0x00, 0x00,
	0x20, 0x00, 0x00, 0x02, 0x00, 0x08, 0x14, 0x00, 0x08, 0x02, 0x00, 0x7f,
	0x00, 0x40, 0x80, 0x80, 0x80, 0x80, 0x80, 0x05, 0x00, 0x06, 0x20, 0x00,
	0x40, 0x3e, 0x00, 0x0f, 0x02, 0x00, 0x02, 0x50, 0x00, 0x00, 0x00, 0x00,
	0x00,
};

/* numcodecs.LZ4() of arange(32) // 8 * 1. */
static const unsigned char lz4_frame[41] = {
	0x00, 0x01, 0x00, 0x00, 0x1f, 0x00, 0x01, 0x00, 0x32, 0x22, 0xf0, 0x3f,
	0x47, 0x00, 0x0f, 0x08, 0x00, 0x25, 0x22, 0x00, 0x40, 0x40, 0x00, 0x0f,
	0x08, 0x00, 0x25, 0x13, 0x08, 0x40, 0x00, 0x0f, 0x08, 0x00, 0x1a, 0x50,
	0x00, 0x00, 0x00, 0x08, 0x40,
};

static const enum sde_codec all[] = { SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, SDE_CODEC_LZ4,
				      SDE_CODEC_NONE };
#define CODECS (sizeof(all) / sizeof(all[0]))

/* Exactly n bytes, so that a sanitizer sees one too many. */
static unsigned char *room(size_t n)
{
	unsigned char *bytes = malloc(n ? n : 1);

	assert_non_null(bytes);
	return bytes;
}

static uint32_t load_le32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

static void store_le32(unsigned char *p, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(value >> 8 * i);
}

/* ------------------------------------------------------------------------
 * There and back
 */

enum content { RANDOM, ZERO, WALK, SPECIAL, CONTENTS };

/* Bit patterns that arithmetic would change: NaNs with payloads (quiet, signalling,
 * negative), -0.0, subnormals, infinities. */
static void special(unsigned char *p, size_t item, size_t i)
{
	static const uint64_t of8[8] = {
		UINT64_C(0x7ff8000000000000), UINT64_C(0x7ff00000deadbeef),
		UINT64_C(0xfff8123456789abc), UINT64_C(0x8000000000000000),
		UINT64_C(0x0000000000000001), UINT64_C(0x800fffffffffffff),
		UINT64_C(0x7ff0000000000000), UINT64_C(0xfff0000000000000) };
	static const uint32_t of4[8] = { 0x7fc00000, 0x7f80beef, 0xffc12345, 0x80000000,
					 0x00000001, 0x807fffff, 0x7f800000, 0xff800000 };

	if (item == 8)
		memcpy(p, &of8[i % 8], 8);
	else
		memcpy(p, &of4[i % 8], 4);
}

static void make(unsigned char *raw, size_t item, size_t count, enum content content)
{
	double walk = 0;

	for (size_t i = 0; i < count; i++) {
		unsigned char *p = raw + i * item;
		float narrow;

		if (content == RANDOM) {
			for (size_t j = 0; j < item; j++)
				p[j] = (unsigned char)below(256);
		} else if (content == ZERO) {
			memset(p, 0, item);
		} else if (content == WALK) {
			walk += ((double)below(2000) - 1000) / 1000;
			narrow = (float)walk;
			memcpy(p, item == 8 ? (void *)&walk : (void *)&narrow, item);
		} else {
			special(p, item, i);
		}
	}
}

static void there_and_back(const struct sde__codec *codec, size_t count, enum content content)
{
	size_t raw_size = count * codec->item, size = 0;
	size_t bound = sde__codec_bound(codec, raw_size);
	unsigned char *raw = room(raw_size), *out = room(bound), *back = room(raw_size), *cut;
	struct sde_error error = { 0 };

	make(raw, codec->item, count, content);
	assert_int_equal(sde__codec_encode(codec, raw, raw_size, out, &size), 0);
	assert_true(size <= bound);
	cut = room(size);
	memcpy(cut, out, size);
	memset(back, 0xa5, raw_size);
	assert_int_equal(sde__codec_decode(codec, cut, size, back, raw_size, &error), 0);
	assert_int_equal(error.code, 0);
	assert_memory_equal(back, raw, raw_size);
	if (content == ZERO && count >= 1024 && codec->id != SDE_CODEC_NONE)
		assert_true(size < raw_size / 20);
	free(raw);
	free(out);
	free(back);
	free(cut);
}

static void every_codec_gives_back_every_bit(void **state)
{
	static const size_t counts[] = { 0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 63, 64, 127,
					 128, 129, 1000, 1001, 1024, 4099, 65536, 131072,
					 300001 };

	(void)state;
	for (size_t i = 0; i < CODECS * 4; i++) {
		struct sde__codec codec = { all[i / 4], i & 1 ? 4 : 8, (i & 2) != 0, 0 };

		for (size_t j = 0; j < sizeof(counts) / sizeof(counts[0]); j++)
			for (int content = 0; content < CONTENTS; content++)
				there_and_back(&codec, counts[j], (enum content)content);
	}
}

/* What does not shrink goes raw into its frame: at most header and checksum more. */
static void noise_grows_by_no_more_than_the_bound_says(void **state)
{
	const size_t raw_size = 512 << 10;
	unsigned char *raw = room(raw_size), *out = room(raw_size + raw_size / 255 + 64);

	(void)state;
	make(raw, 8, raw_size / 8, RANDOM);
	for (size_t i = 0; i < CODECS * 2; i++) {
		struct sde__codec codec = { all[i / 2], 8, i & 1, 0 };
		size_t size, extra = codec.checksum ? 4 : 0;

		assert_int_equal(sde__codec_encode(&codec, raw, raw_size, out, &size), 0);
		assert_true(size <= sde__codec_bound(&codec, raw_size));
		if (codec.id == SDE_CODEC_BLOSC_LZ4_BITSHUFFLE)
			assert_int_equal(size, raw_size + 16 + extra);
		if (codec.id == SDE_CODEC_NONE)
			assert_int_equal(size, raw_size + extra);
	}
	free(raw);
	free(out);
}

/* ------------------------------------------------------------------------
 * Formats
 */

static void a_blosc_frame_says_what_the_format_says(void **state)
{
	unsigned char raw[8192], out[8192 + 16];
	size_t size;

	(void)state;
	for (size_t item = 4; item <= 8; item += 4) {
		struct sde__codec codec = { SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, item, false, 0 };

		make(raw, item, sizeof(raw) / item, WALK);
		assert_int_equal(sde__codec_bound(&codec, sizeof(raw)), sizeof(out));
		assert_int_equal(sde__codec_encode(&codec, raw, sizeof(raw), out, &size), 0);
		assert_true(size < sizeof(raw));
		assert_int_equal(out[0], 2);		/* format version */
		assert_int_equal(out[1], 1);		/* of lz4 */
		assert_int_equal(out[2] >> 5, 1);	/* lz4 */
		assert_int_equal(out[2] & 7, 4);	/* bitshuffle, not raw */
		assert_int_equal(out[3], item);
		assert_int_equal(load_le32(out + 4), sizeof(raw));
		assert_int_equal(load_le32(out + 12), size);
	}
}

/*
 * From noise to a walk: what libblosc shrinks by 2% is taken as it is, what it does
 * not is raw in a frame that libblosc reads. (It gives up a few bytes early.)
 */
static void what_shrinks_by_less_than_two_percent_is_raw_in_its_frame(void **state)
{
	const size_t raw_size = 160000, least = raw_size - raw_size / 50;
	unsigned char *raw = room(raw_size), *out = room(raw_size + 16);
	unsigned char *theirs = room(raw_size + 16), *back = room(raw_size);
	unsigned kept = 0, shrunk = 0;

	(void)state;
	for (size_t i = 0; i < 2 * 41; i++) {
		const size_t item = i & 1 ? 4 : 8, walk = i / 2 * raw_size / 40 / 64 * 64;
		struct sde__codec codec = { SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, item, false, 0 };
		size_t size;
		int n;

		make(raw, item, walk / item, WALK);
		make(raw + walk, item, (raw_size - walk) / item, RANDOM);
		n = blosc_compress_ctx(5, BLOSC_BITSHUFFLE, item, raw_size, raw, theirs,
				       raw_size + 16, "lz4", 0, 1);
		assert_true(n > 0);
		assert_int_equal(sde__codec_encode(&codec, raw, raw_size, out, &size), 0);
		if (size == raw_size + 16) {
			kept++;
			assert_true((size_t)n > least - 64);
			assert_int_equal(out[2] & 2, 2);	/* memcpyed */
			assert_memory_equal(out + 16, raw, raw_size);
		} else {
			shrunk++;
			assert_true((size_t)n <= least);
			assert_int_equal(size, n);
			assert_memory_equal(out, theirs, size);
		}
		assert_int_equal(blosc_decompress_ctx(out, back, raw_size, 1), raw_size);
		assert_memory_equal(back, raw, raw_size);
		memset(back, 0, raw_size);
		assert_int_equal(sde__codec_decode(&codec, out, size, back, raw_size, NULL), 0);
		assert_memory_equal(back, raw, raw_size);
	}
	assert_true(kept > 0 && shrunk > 0);
	free(raw);
	free(out);
	free(theirs);
	free(back);
}

static void frames_of_another_writer_are_read(void **state)
{
	const struct sde__codec blosc = { SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 8, false, 0 };
	const struct sde__codec lz4 = { SDE_CODEC_LZ4, 8, false, 0 };
	double out[32];

	(void)state;
	assert_int_equal(sde__codec_decode(&blosc, blosc_frame, sizeof(blosc_frame), out,
					   sizeof(out), NULL), 0);
	for (int i = 0; i < 32; i++)
		assert_true(out[i] == i);
	memset(out, 0, sizeof(out));
	assert_int_equal(sde__codec_decode(&blosc, blosc_frame_of_bytes,
					   sizeof(blosc_frame_of_bytes), out, sizeof(out),
					   NULL), 0);
	for (int i = 0; i < 32; i++)
		assert_true(out[i] == i);
	assert_int_equal(sde__codec_decode(&lz4, lz4_frame, sizeof(lz4_frame), out,
					   sizeof(out), NULL), 0);
	for (int i = 0; i < 32; i++) {
		const int row = i / 8;

		assert_true(out[i] == row);
	}
}

static void a_checksum_is_the_crc_of_all_before_it(void **state)
{
	unsigned char raw[800], plain[900], checked[900];

	(void)state;
	make(raw, 8, 100, WALK);
	for (size_t i = 0; i < CODECS; i++) {
		struct sde__codec codec = { all[i], 8, false, 0 };
		size_t size, checked_size;

		assert_int_equal(sde__codec_encode(&codec, raw, 800, plain, &size), 0);
		codec.checksum = true;
		assert_int_equal(sde__codec_encode(&codec, raw, 800, checked, &checked_size), 0);
		assert_int_equal(checked_size, size + 4);
		assert_memory_equal(checked, plain, size);
		assert_int_equal(load_le32(checked + size), sde__crc32c_table(0, plain, size));
	}
}

static void the_environment_does_not_change_a_frame(void **state)
{
	const struct sde__codec codec = { SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 8, true, 0 };
	unsigned char raw[8000], before[8020], after[8020];
	size_t before_size, after_size;

	(void)state;
	make(raw, 8, 1000, WALK);
	assert_int_equal(sde__codec_encode(&codec, raw, 8000, before, &before_size), 0);
	setenv("BLOSC_COMPRESSOR", "zlib", 1);
	setenv("BLOSC_CLEVEL", "0", 1);
	setenv("BLOSC_SHUFFLE", "NOSHUFFLE", 1);
	setenv("BLOSC_TYPESIZE", "2", 1);
	assert_int_equal(sde__codec_encode(&codec, raw, 8000, after, &after_size), 0);
	unsetenv("BLOSC_COMPRESSOR");
	unsetenv("BLOSC_CLEVEL");
	unsetenv("BLOSC_SHUFFLE");
	unsetenv("BLOSC_TYPESIZE");
	assert_int_equal(after_size, before_size);
	assert_memory_equal(after, before, before_size);
}

static void codecs_have_names_and_limits(void **state)
{
	struct sde__codec codec = { SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 8, true, 0 };
	unsigned char byte = 0;
	size_t size;

	(void)state;
	assert_string_equal(sde__codec_name(SDE_CODEC_BLOSC_LZ4_BITSHUFFLE),
			    "blosc-lz4-bitshuffle");
	assert_string_equal(sde__codec_name(SDE_CODEC_LZ4), "lz4");
	assert_string_equal(sde__codec_name(SDE_CODEC_NONE), "none");
	assert_string_equal(sde__codec_name(SDE_CODEC_DEFAULT), "unknown");
	assert_string_equal(sde__codec_name((enum sde_codec)4), "unknown");
	assert_string_equal(sde__codec_name((enum sde_codec)-1), "unknown");
	assert_int_equal(sde__codec_limit(&codec), 2147483631);
	assert_int_equal(sde__codec_encode(&codec, &byte, UINT64_C(2147483632), &byte, &size),
			 SDE_E_CODEC);
	codec.id = SDE_CODEC_LZ4;
	assert_int_equal(sde__codec_limit(&codec), 0x7e000000);
	assert_int_equal(sde__codec_encode(&codec, &byte, 0x7e000001, &byte, &size),
			 SDE_E_CODEC);
	codec.id = (enum sde_codec)9;
	assert_int_equal(sde__codec_limit(&codec), 0);
	assert_int_equal(sde__codec_encode(&codec, &byte, 1, &byte, &size), SDE_E_CODEC);
	assert_int_equal(sde__codec_decode(&codec, &byte, 1, &byte, 1, NULL), SDE_E_CORRUPT);
}

/* ------------------------------------------------------------------------
 * Damage
 */

/* Decoded from memory of exactly `size`; SDE_E_CORRUPT with a sentence that has
 * `says`, or, with says NULL, either that or success. */
static int decode(const struct sde__codec *codec, const unsigned char *bytes, size_t size,
		  size_t raw_size, const char *says)
{
	unsigned char *cut = room(size), *raw = room(raw_size);
	struct sde_error error = { 0 };
	int status;

	if (size)
		memcpy(cut, bytes, size);
	status = sde__codec_decode(codec, cut, size, raw, raw_size, &error);
	assert_int_equal(error.code, status);
	if (says) {
		assert_int_equal(status, SDE_E_CORRUPT);
		if (!strstr(error.text, says))
			fail_msg("'%s' does not say '%s'", error.text, says);
	} else {
		assert_true(status == 0 || status == SDE_E_CORRUPT);
	}
	if (status)
		assert_true(strlen(error.text) > 0);
	free(cut);
	free(raw);
	return status;
}

static void every_flipped_bit_is_detected(void **state)
{
	unsigned char raw[256], out[300];

	(void)state;
	for (size_t i = 0; i < CODECS * 2; i++) {
		struct sde__codec codec = { all[i / 2], 8, true, 0 };
		size_t size;

		make(raw, 8, 32, i & 1 ? WALK : SPECIAL);
		assert_int_equal(sde__codec_encode(&codec, raw, 256, out, &size), 0);
		for (size_t bit = 0; bit < size * 8; bit++) {
			out[bit / 8] = (unsigned char)(out[bit / 8] ^ 1 << bit % 8);
			decode(&codec, out, size, 256, "checksum");
			out[bit / 8] = (unsigned char)(out[bit / 8] ^ 1 << bit % 8);
		}
	}
}

/* With and without a checksum; and a byte too many. */
static void a_truncated_frame_is_corrupt(void **state)
{
	unsigned char raw[2048], out[2200];

	(void)state;
	for (size_t i = 0; i < CODECS * 4; i++) {
		struct sde__codec codec = { all[i / 4], 8, i & 1, 0 };
		size_t size;

		make(raw, 8, 256, i & 2 ? WALK : SPECIAL);
		assert_int_equal(sde__codec_encode(&codec, raw, 2048, out, &size), 0);
		for (size_t cut = 0; cut < size; cut++)
			decode(&codec, out, cut, 2048, "");
		out[size] = 0;
		decode(&codec, out, size + 1, 2048, "");
		decode(&codec, out, size, 2040, "");
		decode(&codec, out, size, 2056, "");
		decode(&codec, out, size, 0, "");
		assert_int_equal(decode(&codec, out, size, 2048, NULL), 0);
	}
}

/* Every field of blosc's header, one by one, in a frame without a checksum. */
static void a_foreign_blosc_header_is_refused_with_its_reason(void **state)
{
	static const struct {
		size_t at, bytes;
		uint32_t value;
		const char *says;
	} damages[] = {
		{ 0, 1, 3, "version 3, expected 2" },
		{ 1, 1, 7, "compressor 1 version 7" },
		{ 2, 1, 0x74, "compressor 3" },			/* zlib */
		{ 2, 1, 0x35, "shuffle flags 0x5" },
		{ 2, 1, 0x30, "shuffle flags 0" },
		{ 2, 1, 0x36, "68 raw bytes, expected 256" },	/* claims to be raw */
		{ 2, 1, 0x3c, "does not decompress" },		/* a flag of the future */
		{ 3, 1, 0, "typesize 0" },
		{ 3, 1, 4, "typesize 4, expected 8" },
		{ 4, 4, 2147483631, "holds 2147483631 bytes, expected 256" },
		{ 4, 4, 0xffffffff, "expected 256" },
		{ 4, 4, 0, "holds 0 bytes" },
		{ 8, 4, 2147483647, "blocks of 2147483647 bytes" },
		{ 8, 4, 0x80000000, "blocks of" },
		{ 8, 4, 264, "blocks of 264 bytes, it holds 256" },
		{ 8, 4, 0, "blocks of 0 bytes" },
		{ 8, 4, 252, "blocks of 252 bytes of typesize 8" },
		{ 12, 4, 85, "says it has 85 bytes, there are 84" },
		{ 12, 4, 0xfffffff0, "there are 84" },
		{ 16, 4, 0x7fffffff, "does not decompress" },	/* start of block 0 */
		{ 16, 4, 0xffffffff, "does not decompress" },
		{ 20, 4, 0x7fffffff, "does not decompress" },	/* its size */
	};
	const struct sde__codec codec = { SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 8, false, 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		unsigned char frame[sizeof(blosc_frame)], value[4];

		memcpy(frame, blosc_frame, sizeof(frame));
		store_le32(value, damages[i].value);
		memcpy(frame + damages[i].at, value, damages[i].bytes);
		decode(&codec, frame, sizeof(frame), 256, damages[i].says);
	}
	decode(&codec, blosc_frame, 15, 256, "15 bytes are too few for a blosc header");
}

static void a_foreign_lz4_header_is_refused_with_its_reason(void **state)
{
	const struct sde__codec codec = { SDE_CODEC_LZ4, 8, false, 0 };
	unsigned char frame[sizeof(lz4_frame)];

	(void)state;
	memcpy(frame, lz4_frame, sizeof(frame));
	store_le32(frame, 0x7fffffff);
	decode(&codec, frame, sizeof(frame), 256, "says 2147483647 bytes, expected 256");
	store_le32(frame, 264);	/* more than the block gives */
	decode(&codec, frame, sizeof(frame), 264, "gives 256 bytes, expected 264");
	store_le32(frame, 248);	/* less */
	decode(&codec, frame, sizeof(frame), 248, "does not decompress");
	decode(&codec, frame, 3, 256, "3 bytes are too few for an lz4 header");
}

/* What is too large is told from its size: nothing behind the header is looked at. */
static void sizes_over_a_codecs_limit_are_refused_unread(void **state)
{
	struct sde__codec codec = { SDE_CODEC_LZ4, 8, false, 0 };
	unsigned char frame[sizeof(lz4_frame)], raw[256];
	struct sde_error error = { 0 };

	(void)state;
	memcpy(frame, lz4_frame, sizeof(frame));
	store_le32(frame, 256);
	assert_int_equal(sde__codec_decode(&codec, frame, UINT64_C(0x80000004), raw, 256, &error),
			 SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "2147483648 bytes is over the limit of 2147483647"));
	sde__error_clear(&error);
	assert_int_equal(sde__codec_decode(&codec, frame, sizeof(frame), raw, 0x7e000001, &error),
			 SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "2113929217 bytes are over the limit of codec 'lz4'"));
	codec.id = (enum sde_codec)9;
	assert_int_equal(sde__codec_bound(&codec, 100), 0);
	codec.id = SDE_CODEC_NONE;
	assert_int_equal(sde__codec_most(&codec, SIZE_MAX), SIZE_MAX);
	codec.id = SDE_CODEC_LZ4;
	assert_int_equal(sde__codec_most(&codec, 10), 2569);
	assert_true(sde__codec_most(&codec, SIZE_MAX / 2) == SIZE_MAX);
}

static void short_checksummed_bytes_are_refused_with_their_reason(void **state)
{
	const struct sde__codec codec = { SDE_CODEC_NONE, 8, true, 0 };
	const unsigned char bytes[12] = { 0 };

	(void)state;
	decode(&codec, bytes, 0, 8, "0 bytes are too few for a checksum");
	decode(&codec, bytes, 3, 8, "3 bytes are too few for a checksum");
	decode(&codec, bytes, 4, 8, "0 raw bytes, expected 8");	/* crc of nothing is 0 */
	decode(&codec, bytes, 12, 8, "checksum of 8 bytes is");
}

/* Frames that are whole but for a few bytes reach the decompressors' insides. */
static void garbage_never_crashes(void **state)
{
	unsigned char raw[4096], out[4300];

	(void)state;
	for (int i = 0; i < 60000; i++) {
		struct sde__codec codec = { all[i % 3], i & 8 ? 4 : 8, false, 0 };
		size_t raw_size = codec.item * (below(64) + 1), size;

		if (i & 1) {
			size = below(200);
			for (size_t j = 0; j < size; j++)
				out[j] = (unsigned char)below(256);
			if (i & 2 && size >= 24 && codec.id != SDE_CODEC_NONE) {
				memcpy(out, blosc_frame, 4);
				store_le32(out + (codec.id == SDE_CODEC_LZ4 ? 0 : 4),
					   (uint32_t)raw_size);
				store_le32(out + 12, (uint32_t)size);
			}
		} else {
			raw_size = codec.item * (below(sizeof(raw) / codec.item) + 1);
			make(raw, codec.item, raw_size / codec.item, i & 4 ? WALK : SPECIAL);
			assert_int_equal(sde__codec_encode(&codec, raw, raw_size, out, &size),
					 0);
			for (uint64_t hits = below(4) + 1; hits > 0; hits--)
				out[below(size)] = (unsigned char)below(256);
		}
		decode(&codec, out, size, raw_size, NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_codec_gives_back_every_bit),
		cmocka_unit_test(noise_grows_by_no_more_than_the_bound_says),
		cmocka_unit_test(a_blosc_frame_says_what_the_format_says),
		cmocka_unit_test(what_shrinks_by_less_than_two_percent_is_raw_in_its_frame),
		cmocka_unit_test(frames_of_another_writer_are_read),
		cmocka_unit_test(a_checksum_is_the_crc_of_all_before_it),
		cmocka_unit_test(the_environment_does_not_change_a_frame),
		cmocka_unit_test(codecs_have_names_and_limits),
		cmocka_unit_test(every_flipped_bit_is_detected),
		cmocka_unit_test(a_truncated_frame_is_corrupt),
		cmocka_unit_test(a_foreign_blosc_header_is_refused_with_its_reason),
		cmocka_unit_test(a_foreign_lz4_header_is_refused_with_its_reason),
		cmocka_unit_test(sizes_over_a_codecs_limit_are_refused_unread),
		cmocka_unit_test(short_checksummed_bytes_are_refused_with_their_reason),
		cmocka_unit_test(garbage_never_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
