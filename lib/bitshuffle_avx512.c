/* SPDX-License-Identifier: MIT */
/*
 * Bitshuffle by AVX-512: a span is eight rows of eight registers, and four steps make
 * its planes, none of which goes through memory but for a table in the first cache:
 *
 *	1. a permutation of bytes gathers byte b of eight items in a 64-bit word
 *	2. eight registers of eight words are transposed: one register has one b
 *	3. each word is a matrix of 8 x 8 bits, which GFNI's affine product with it
 *	   transposes; a permutation then gathers the eight bytes of a plane
 *	4. the words of eight such registers are transposed: 64 bytes of one plane
 *
 * and the same backwards. (The matrix of an affine product has its rows in reverse
 * order: Intel SDM, GF2P8AFFINEQB. So the bytes are gathered in reverse before it.)
 */
#include "bitshuffle_ways.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <stdint.h>

#define ROW 512		/* bytes of eight registers */

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,gfni")))
#define PART TARGET static inline __attribute__((always_inline))

/* From which byte of a register each one comes. */
#define BY(step, from) \
	(from), (from) + (step), (from) + 2 * (step), (from) + 3 * (step), \
	(from) + 4 * (step), (from) + 5 * (step), (from) + 6 * (step), (from) + 7 * (step)
#define FOUR(from) (from), (from) + 16, (from) + 32, (from) + 48

/* word q, byte p from word p, byte q */
static const unsigned char across[64] = {
	BY(8, 0), BY(8, 1), BY(8, 2), BY(8, 3), BY(8, 4), BY(8, 5), BY(8, 6), BY(8, 7) };
/* the same from word 7 - p */
static const unsigned char across_reversed[64] = {
	BY(-8, 56), BY(-8, 57), BY(-8, 58), BY(-8, 59), BY(-8, 60), BY(-8, 61), BY(-8, 62),
	BY(-8, 63) };
/* of two halves of eight items of 4 bytes: word 2 b + half, byte p from item 7 - p */
static const unsigned char narrow_reversed[64] = {
	BY(-4, 28), BY(-4, 60), BY(-4, 29), BY(-4, 61), BY(-4, 30), BY(-4, 62), BY(-4, 31),
	BY(-4, 63) };
/* and back: item p's byte b from word 2 b + half, byte p */
static const unsigned char narrow_back[64] = {
	FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5), FOUR(6), FOUR(7),
	FOUR(8), FOUR(9), FOUR(10), FOUR(11), FOUR(12), FOUR(13), FOUR(14), FOUR(15) };

/* Word c of register r becomes word r of register c. */
PART void turn_words(__m512i r[8])
{
	__m512i a[8], b[8];

	/* two rows' words of every even, of every odd column */
	SDE__UNROLLED
	for (int i = 0; i < 8; i += 2) {
		a[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
		a[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
	}
	/* four rows' of columns 0 and 4, 1 and 5, 2 and 6, 3 and 7 */
	SDE__UNROLLED
	for (int i = 0; i < 8; i++) {
		const int from = (i & 4) + (i & 1);

		b[i] = i & 2 ? _mm512_shuffle_i64x2(a[from], a[from + 2], 0xdd) :
			       _mm512_shuffle_i64x2(a[from], a[from + 2], 0x88);
	}
	SDE__UNROLLED
	for (int i = 0; i < 4; i++) {
		r[i] = _mm512_shuffle_i64x2(b[i], b[i + 4], 0x88);
		r[i + 4] = _mm512_shuffle_i64x2(b[i], b[i + 4], 0xdd);
	}
}

/* Bit k of byte p of a word from bit p of byte 7 - k: see above. */
PART __m512i turn_bits(__m512i words)
{
	return _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64((long long)0x8040201008040201),
					     words, 0);
}

PART __m512i table(const unsigned char bytes[64])
{
	return _mm512_loadu_si512(bytes);
}

/* The j-th register of a row: eight items of 8 bytes, or of 4 bytes eight and the eight
 * that are 64 items behind them. */
PART __m512i load_items(size_t item, const unsigned char *row, int j)
{
	if (item == 8)
		return _mm512_loadu_si512(row + 64 * j);
	return _mm512_inserti64x4(
		_mm512_castsi256_si512(_mm256_loadu_si256((const void *)(row + 32 * j))),
		_mm256_loadu_si256((const void *)(row + ROW / 2 + 32 * j)), 1);
}

PART void store_items(size_t item, unsigned char *row, int j, __m512i items)
{
	if (item == 8) {
		_mm512_storeu_si512(row + 64 * j, items);
	} else {
		_mm256_storeu_si256((void *)(row + 32 * j), _mm512_castsi512_si256(items));
		_mm256_storeu_si256((void *)(row + ROW / 2 + 32 * j),
				    _mm512_extracti64x4_epi64(items, 1));
	}
}

/*
 * block[b][m]: of byte b, of items 64 m to 64 m + 63, a word for each plane. A row is one
 * m of items of 8 bytes, and two of items of 4.
 */
PART void shuffle_items(size_t item, const unsigned char *items, unsigned char *planes,
			size_t stride)
{
	const __m512i gather = table(item == 8 ? across_reversed : narrow_reversed);
	const __m512i by_plane = table(across);
	const size_t halves = 8 / item;
	__m512i block[8][8], r[8];

	for (size_t row = 0; row < item; row++) {
		SDE__UNROLLED
		for (int j = 0; j < 8; j++)
			r[j] = _mm512_permutexvar_epi8(gather,
						       load_items(item, items + row * ROW, j));
		turn_words(r);
		SDE__UNROLLED
		for (size_t q = 0; q < 8; q++)
			block[q / halves][row * halves + q % halves] =
				_mm512_permutexvar_epi8(by_plane, turn_bits(r[q]));
	}
	for (size_t b = 0; b < item; b++) {
		SDE__UNROLLED
		for (int m = 0; m < 8; m++)
			r[m] = block[b][m];
		turn_words(r);
		SDE__UNROLLED
		for (size_t k = 0; k < 8; k++)
			_mm512_storeu_si512(planes + (8 * b + k) * stride, r[k]);
	}
}

PART void unshuffle_items(size_t item, const unsigned char *planes, size_t stride,
			  unsigned char *items)
{
	const __m512i scatter = table(item == 8 ? across : narrow_back);
	const __m512i by_item = table(across_reversed);
	const size_t halves = 8 / item;
	__m512i block[8][8], r[8];

	for (size_t b = 0; b < item; b++) {
		SDE__UNROLLED
		for (size_t k = 0; k < 8; k++)
			r[k] = _mm512_loadu_si512(planes + (8 * b + k) * stride);
		turn_words(r);
		SDE__UNROLLED
		for (int m = 0; m < 8; m++)
			block[b][m] = turn_bits(_mm512_permutexvar_epi8(by_item, r[m]));
	}
	for (size_t row = 0; row < item; row++) {
		SDE__UNROLLED
		for (size_t q = 0; q < 8; q++)
			r[q] = block[q / halves][row * halves + q % halves];
		turn_words(r);
		SDE__UNROLLED
		for (int j = 0; j < 8; j++)
			store_items(item, items + row * ROW, j,
				    _mm512_permutexvar_epi8(scatter, r[j]));
	}
}

static bool have(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
	       __builtin_cpu_supports("gfni");
}

SDE__BITSHUFFLE_WAY(avx512)

#else

SDE__BITSHUFFLE_NO_WAY(avx512)

#endif
