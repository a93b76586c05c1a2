/* SPDX-License-Identifier: MIT */
/*
 * Frames that are made here are libblosc's, byte for byte, and those of either are read
 * by the other; damaged ones give the same, or nothing. Every way of bitshuffle.
 */
#include "bitshuffle.h"
#include "dice.h"
#include "frame.h"
#include "frame_blocks.h"
#include "le32.h"

#include <blosc.h>
#include <lz4.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { OVERHEAD = 16 };

/* Exactly n bytes, so that a sanitizer sees one too many. */
static unsigned char *room(size_t n)
{
	unsigned char *bytes = malloc(n ? n : 1);

	assert_non_null(bytes);
	return bytes;
}

/* Of `walks` of a hundred items steps of a walk, of the others any bits. */
static void make(unsigned char *raw, size_t item, size_t count, unsigned walks)
{
	double walk = 1;

	for (size_t i = 0; i < count; i++) {
		float narrow;

		walk += ((double)below(2000) - 1000) / 1e6;
		narrow = (float)walk;
		memcpy(raw + i * item, item == 8 ? (void *)&walk : (void *)&narrow, item);
		if (i * 100 >= count * walks)
			for (size_t j = 0; j < item; j++)
				raw[i * item + j] = (unsigned char)below(256);
	}
}

/* Same frames can be expected of the same LZ4 only; with another they are read. */
static bool libblosc_has_our_lz4(void)
{
	char *name = NULL, *version = NULL;
	bool same;

	blosc_get_complib_info(BLOSC_LZ4_COMPNAME, &name, &version);
	same = version && !strcmp(version, LZ4_versionString());
	free(name);
	free(version);
	return same;
}

static void there_and_back(const struct sde__bitshuffle_way *way, size_t item, size_t count,
			   size_t room_size, unsigned walks)
{
	const size_t raw_size = count * item;
	unsigned char *raw = room(raw_size), *out = room(room_size), *back = room(raw_size);
	unsigned char *theirs = room(room_size), *cut;
	const int n = (make(raw, item, count, walks),
		       blosc_compress_ctx(5, BLOSC_BITSHUFFLE, item, raw_size, raw, theirs,
					  room_size, "lz4", 0, 1));
	size_t size = 1;

	assert_true(n >= 0);
	assert_int_equal(sde__frame_blocks_encode(way, item, raw, raw_size, out, room_size, &size),
			 0);
	if (libblosc_has_our_lz4()) {
		assert_int_equal(size, n);
		assert_memory_equal(out, theirs, size);
	}
	if (size) {
		cut = room(size);
		memcpy(cut, out, size);
		assert_int_equal(blosc_decompress_ctx(cut, back, raw_size, 1), raw_size);
		assert_memory_equal(back, raw, raw_size);
		memset(back, 0xa5, raw_size);
		assert_int_equal(sde__frame_blocks_decode(way, item, cut, size,
							  sde__load_le32(cut + 8), back, raw_size),
				 0);
		assert_memory_equal(back, raw, raw_size);
		free(cut);
	}
	free(raw);
	free(out);
	free(theirs);
	free(back);
}

/* Around each size that libblosc decides by: when it splits, small and largest blocks,
 * several of them, and a short last one; with room, with hardly any, with too little. */
static void frames_are_libbloscs(void **state)
{
	static const size_t counts[] = { 128, 129, 136, 1000, 1001, 4095, 4096, 4104, 8191, 8192,
					 8200, 16384, 65536, 131072, 131073, 131080, 262144 + 24,
					 300001, 400000 };

	(void)state;
	if (!sde__bitshuffle_best()) {
		print_message("skipped: this processor has no bitshuffle of ours\n");
		skip();
	}
	for (size_t w = 0; w < sde__bitshuffle_way_count; w++) {
		const struct sde__bitshuffle_way *way = sde__bitshuffle_ways[w];

		if (!way->have())
			continue;
		for (size_t i = 0; i < 2 * sizeof(counts) / sizeof(counts[0]); i++) {
			const size_t item = i & 1 ? 4 : 8, count = counts[i / 2];
			const size_t raw_size = count * item;

			there_and_back(way, item, count, raw_size - raw_size / 50, 100);
			there_and_back(way, item, count, raw_size - raw_size / 50, 0);
			there_and_back(way, item, count, raw_size - raw_size / 50, 50);
			there_and_back(way, item, count, raw_size * 3 / 4, 100);
			there_and_back(way, item, count, raw_size * 3 / 5, 70);
		}
	}
}

/* The room shrinks by a byte, past where it is too little. */
static void frames_end_where_libbloscs_do(void **state)
{
	const struct sde__bitshuffle_way *way = sde__bitshuffle_best();
	const size_t count = 304, raw_size = count * 8;
	unsigned char raw[304 * 8], theirs[304 * 8];
	unsigned fit = 0, fit_not = 0;

	(void)state;
	if (!way || !libblosc_has_our_lz4()) {
		print_message("skipped: this processor has no bitshuffle of ours, or libblosc"
			      " another LZ4\n");
		skip();
	}
	make(raw, 8, count, 100);
	for (size_t left = raw_size / 8; left < raw_size; left++) {
		unsigned char *out = room(left);
		const int n = blosc_compress_ctx(5, BLOSC_BITSHUFFLE, 8, raw_size, raw, theirs,
						 left, "lz4", 0, 1);
		size_t size;

		assert_int_equal(sde__frame_blocks_encode(way, 8, raw, raw_size, out, left, &size),
				 0);
		assert_int_equal(size, n);
		assert_memory_equal(out, theirs, size);
		fit += size > 0;
		fit_not += size == 0;
		free(out);
	}
	assert_true(fit > 0 && fit_not > 0);
}

/* libblosc with any compressor version and split mode, of any level and block size. */
static void frames_of_other_settings_are_read(void **state)
{
	static const int modes[] = { BLOSC_ALWAYS_SPLIT, BLOSC_NEVER_SPLIT, BLOSC_AUTO_SPLIT,
				     BLOSC_FORWARD_COMPAT_SPLIT };
	const size_t raw_size = 80000;
	unsigned char *raw = room(raw_size), *out = room(raw_size + OVERHEAD);
	unsigned char *back = room(raw_size);

	(void)state;
	for (int i = 0; i < 4 * 9 * 4; i++) {
		static const size_t blocks[] = { 0, 128, 4096, 20008 };
		const size_t item = i & 1 ? 4 : 8;
		struct sde_error error = { 0 };
		int n;

		make(raw, item, raw_size / item, 100);
		blosc_set_splitmode(modes[i % 4]);
		n = blosc_compress_ctx(1 + i / 4 % 9, BLOSC_BITSHUFFLE, item, raw_size, raw, out,
				       raw_size + OVERHEAD, "lz4", blocks[i / 36], 1);
		assert_true(n > 0);
		assert_int_equal(sde__frame_decode(item, out, (size_t)n, back, raw_size, &error), 0);
		assert_memory_equal(back, raw, raw_size);
	}
	blosc_set_splitmode(BLOSC_FORWARD_COMPAT_SPLIT);
	free(raw);
	free(out);
	free(back);
}

/* Whatever was hit: both say no, or both give the same. */
static void damaged_frames_are_what_libblosc_says(void **state)
{
	unsigned char raw[8 * 700], out[8 * 700 + OVERHEAD], ours[8 * 700], theirs[8 * 700];
	unsigned good = 0, bad = 0;

	(void)state;
	for (int i = 0; i < 40000; i++) {
		const size_t item = i & 1 ? 4 : 8;
		const size_t raw_size = item * (128 + below(573));
		unsigned char *cut;
		int n, ret, ret_theirs;

		make(raw, item, raw_size / item, 100);
		n = blosc_compress_ctx(5, BLOSC_BITSHUFFLE, item, raw_size, raw, out,
				       raw_size + OVERHEAD, "lz4", i & 2 ? 256 * item : 0, 1);
		assert_true(n > 0);
		for (uint64_t hits = below(3) + 1; hits > 0; hits--)
			out[16 + below((uint64_t)n - 16)] = (unsigned char)below(256);
		if (i & 4) {	/* where lengths are */
			unsigned char *length = out + 16 + below(8);

			*length = (unsigned char)(*length ^ 1 << below(8));
		}
		if (i & 8)	/* other blocks */
			sde__store_le32(out + 8, (uint32_t)(item * below(800)));
		if (i & 16)	/* streams */
			out[2] ^= 0x10;
		cut = room((size_t)n);
		memcpy(cut, out, (size_t)n);
		memset(ours, 0, sizeof(ours));
		memset(theirs, 0, sizeof(theirs));
		ret = sde__frame_decode(item, cut, (size_t)n, ours, raw_size, NULL);
		ret_theirs = sde__frame_decode_by(NULL, item, cut, (size_t)n, theirs, raw_size,
						  NULL);
		assert_int_equal(ret, ret_theirs);
		if (!ret)
			assert_memory_equal(ours, theirs, raw_size);
		good += !ret;
		bad += ret != 0;
		free(cut);
	}
	assert_true(good > 1000 && bad > 1000);
}

/* Where a processor has no way of ours, all is done by libblosc: to the same frames. */
static void without_a_way_frames_are_the_same(void **state)
{
	static const size_t counts[] = { 0, 1, 2, 7, 8, 31, 32, 127, 128, 129, 1000, 4096, 70000 };

	(void)state;
	for (size_t i = 0; i < 4 * sizeof(counts) / sizeof(counts[0]); i++) {
		const size_t item = i & 1 ? 4 : 8, raw_size = counts[i / 4] * item;
		unsigned char *raw = room(raw_size), *ours = room(raw_size + OVERHEAD);
		unsigned char *theirs = room(raw_size + OVERHEAD), *back = room(raw_size);
		struct sde_error error = { 0 };
		size_t size = 0, size_theirs = 0;

		make(raw, item, counts[i / 4], i & 2 ? 100 : 0);
		assert_int_equal(sde__frame_encode(item, raw, raw_size, ours, raw_size + OVERHEAD,
						   &size), 0);
		assert_int_equal(sde__frame_encode_by(NULL, item, raw, raw_size, theirs,
						      raw_size + OVERHEAD, &size_theirs), 0);
		if (libblosc_has_our_lz4()) {
			assert_int_equal(size, size_theirs);
			assert_memory_equal(ours, theirs, size);
		}
		assert_int_equal(sde__frame_decode_by(NULL, item, ours, size, back, raw_size,
						      &error), 0);
		assert_memory_equal(back, raw, raw_size);
		assert_int_equal(sde__frame_decode(item, theirs, size_theirs, back, raw_size,
						   &error), 0);
		assert_memory_equal(back, raw, raw_size);
		free(raw);
		free(ours);
		free(theirs);
		free(back);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_libbloscs),
		cmocka_unit_test(frames_end_where_libbloscs_do),
		cmocka_unit_test(frames_of_other_settings_are_read),
		cmocka_unit_test(without_a_way_frames_are_the_same),
		cmocka_unit_test(damaged_frames_are_what_libblosc_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
