/* SPDX-License-Identifier: MIT */
/*
 * Bitshuffle by AVX2, 32 items at a time. There: interleaving gathers byte b of 32 items in
 * a register, of which "movemask" takes a bit of each byte, eight times. Back: eight planes
 * are interleaved until a 64-bit word is a matrix of 8 x 8 bits, which is transposed by
 * exchanging its triangles (H. Warren, Hacker's Delight, section 7-3); then the bytes of
 * an item are interleaved.
 *
 * Rows of a span go through a table in the first cache, for planes whose distance is a
 * power of two would push each other out of it.
 */
#include "bitshuffle_ways.h"

#if defined(__x86_64__) && defined(__GNUC__)

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define AT_ONCE 32	/* items */

#define TARGET __attribute__((target("avx2")))
#define PART TARGET static inline __attribute__((always_inline))

/* The halves of a register from two places, and to them. */
PART __m256i load_halves(const unsigned char *low, const unsigned char *high)
{
	return _mm256_inserti128_si256(
		_mm256_castsi128_si256(_mm_loadu_si128((const void *)low)),
		_mm_loadu_si128((const void *)high), 1);
}

PART void store_halves(unsigned char *low, unsigned char *high, __m256i r)
{
	_mm_storeu_si128((void *)low, _mm256_castsi256_si128(r));
	_mm_storeu_si128((void *)high, _mm256_extracti128_si256(r, 1));
}

/*
 * One step of interleaving n registers in pairs, each half by itself: pieces of `bytes`
 * bytes of registers 2 i and 2 i + 1 take turns, in registers i and i + n / 2.
 */
PART void interleave(__m256i *r, size_t n, size_t bytes)
{
	__m256i t[8];

	SDE__UNROLLED
	for (size_t i = 0; i < n / 2; i++) {
		/* cppcheck thinks of n = 0; it is 4 or 8 */
		/* cppcheck-suppress uninitvar */
		const __m256i a = r[2 * i], b = r[2 * i + 1];

		switch (bytes) {
		case 1:
			t[i] = _mm256_unpacklo_epi8(a, b);
			t[i + n / 2] = _mm256_unpackhi_epi8(a, b);
			break;
		case 2:
			t[i] = _mm256_unpacklo_epi16(a, b);
			t[i + n / 2] = _mm256_unpackhi_epi16(a, b);
			break;
		case 4:
			t[i] = _mm256_unpacklo_epi32(a, b);
			t[i + n / 2] = _mm256_unpackhi_epi32(a, b);
			break;
		default:
			t[i] = _mm256_unpacklo_epi64(a, b);
			t[i + n / 2] = _mm256_unpackhi_epi64(a, b);
			break;
		}
	}
	SDE__UNROLLED
	for (size_t i = 0; i < n; i++)
		/* cppcheck-suppress uninitvar */
		r[i] = t[i];
}

/* After all steps register i has what is the reversed[n / 8][i]-th in order. */
static const unsigned char reversed[2][8] = { { 0, 2, 1, 3 }, { 0, 4, 2, 6, 1, 5, 3, 7 } };

/* ------------------------------------------------------------------------
 * There
 */

/* r[i]: a byte of 32 items, in the order above. Each half has items of its own. */
PART void gather_bytes(size_t item, const unsigned char *items, __m256i *r)
{
	const __m256i wide = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
	const __m256i narrow = _mm256_broadcastsi128_si256(
		_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));

	SDE__UNROLLED
	for (size_t i = 0; i < item; i++)
		r[i] = _mm256_shuffle_epi8(load_halves(items + 16 * i, items + 16 * (item + i)),
					   item == 8 ? wide : narrow);
	if (item == 8)
		interleave(r, item, 2);
	interleave(r, item, 4);
	interleave(r, item, 8);
}

/* Of 32 items the planes of one byte, into rows of a table. */
PART void put_bits(__m256i bytes, unsigned char *rows)
{
	SDE__UNROLLED
	for (size_t k = 8; k-- > 0;) {
		const int bits = _mm256_movemask_epi8(bytes);

		memcpy(rows + k * SDE__SPAN_BYTES, &bits, sizeof(bits));
		bytes = _mm256_add_epi8(bytes, bytes);
	}
}

PART void shuffle_items(size_t item, const unsigned char *items, unsigned char *planes,
			size_t stride)
{
	unsigned char rows[64 * SDE__SPAN_BYTES];
	__m256i r[8];

	for (size_t g = 0; g < SDE__SPAN_ITEMS / AT_ONCE; g++) {
		gather_bytes(item, items + g * AT_ONCE * item, r);
		SDE__UNROLLED
		for (size_t i = 0; i < item; i++)
			put_bits(r[i], rows + 8 * SDE__SPAN_BYTES * reversed[item / 8][i] +
					       g * AT_ONCE / 8);
	}
	for (size_t p = 0; p < 8 * item; p++)
		memcpy(planes + p * stride, rows + p * SDE__SPAN_BYTES, SDE__SPAN_BYTES);
}

/* ------------------------------------------------------------------------
 * And back
 */

/* The triangles of every matrix that `mask` has in the lower one, exchanged. */
PART __m256i exchange(__m256i words, int distance, long long mask)
{
	const __m256i t = _mm256_and_si256(
		_mm256_xor_si256(words, _mm256_srli_epi64(words, distance)),
		_mm256_set1_epi64x(mask));

	return _mm256_xor_si256(_mm256_xor_si256(words, t), _mm256_slli_epi64(t, distance));
}

/* Bit k of byte p of a word from bit p of byte k. */
PART __m256i turn_bits(__m256i words)
{
	words = exchange(words, 7, 0x00aa00aa00aa00aa);
	words = exchange(words, 14, 0x0000cccc0000cccc);
	return exchange(words, 28, 0x00000000f0f0f0f0);
}

/* One byte of 256 items from its eight planes. */
PART void get_bits(const unsigned char *planes, size_t stride, unsigned char *bytes)
{
	__m256i r[8];

	SDE__UNROLLED
	for (size_t k = 0; k < 8; k++)
		r[k] = _mm256_loadu_si256((const void *)(planes + k * stride));
	interleave(r, 8, 1);
	interleave(r, 8, 2);
	interleave(r, 8, 4);
	SDE__UNROLLED
	for (size_t i = 0; i < 8; i++)
		store_halves(bytes + 16 * reversed[1][i], bytes + 128 + 16 * reversed[1][i],
			     turn_bits(r[i]));
}

/* 32 items of their bytes, which are rows of a table. */
PART void scatter_bytes(size_t item, const unsigned char *rows, unsigned char *items)
{
	__m256i r[8];

	SDE__UNROLLED
	for (size_t b = 0; b < item; b++)
		r[b] = _mm256_loadu_si256((const void *)(rows + b * SDE__SPAN_ITEMS));
	interleave(r, item, 1);
	interleave(r, item, 2);
	if (item == 8)
		interleave(r, item, 4);
	SDE__UNROLLED
	for (size_t i = 0; i < item; i++)
		store_halves(items + 16 * reversed[item / 8][i],
			     items + 16 * (item + reversed[item / 8][i]), r[i]);
}

PART void unshuffle_items(size_t item, const unsigned char *planes, size_t stride,
			  unsigned char *items)
{
	unsigned char rows[8 * SDE__SPAN_ITEMS];

	for (size_t b = 0; b < item; b++)
		for (size_t half = 0; half < 2; half++)
			get_bits(planes + 8 * b * stride + half * SDE__SPAN_BYTES / 2, stride,
				 rows + b * SDE__SPAN_ITEMS + half * SDE__SPAN_ITEMS / 2);
	for (size_t i = 0; i < SDE__SPAN_ITEMS; i += AT_ONCE)
		scatter_bytes(item, rows + i, items + i * item);
}

static bool have(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("avx2");
}

SDE__BITSHUFFLE_WAY(avx2)

#else

SDE__BITSHUFFLE_NO_WAY(avx2)

#endif
