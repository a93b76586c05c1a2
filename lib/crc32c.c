/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C: reflected polynomial 0x82f63b78, register and result inverted (RFC
 * 3720 section 12.1 and appendix B.4). Guards every chunk, so it must never be
 * what a writer waits for.
 *
 * Two ways to the same value:
 *	table	8 bytes a step by 8 tables: M. Kounavis and F. Berry, "A Systematic
 *		Approach to Building High Performance Software-based CRC
 *		Generators", ISCC 2005 ("slicing by 8")
 *	lanes	the CPU's CRC-32C instruction, 8 bytes a step. Its latency is 3
 *		cycles, its throughput 1, so three lanes run side by side and are
 *		joined afterwards: V. Gopal et al., "Fast CRC Computation for iSCSI
 *		Polynomial Using CRC32 Instruction", Intel 2011, section 3. The join,
 *		appending zeros to a lane, is a 32 x 32 matrix over GF(2), as in
 *		zlib's crc32_combine
 */
#include "crc32c.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL UINT32_C(0x82f63b78)
#define SLICES 8

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
#define HAVE_LANES 1
#define LANES_TARGET __attribute__((target("sse4.2")))
#elif defined(__ARM_FEATURE_CRC32) && defined(__aarch64__)
#include <arm_acle.h>
#define HAVE_LANES 1
#define LANES_TARGET
#else
#define HAVE_LANES 0
#endif

static uint32_t table[SLICES][256];

/* Any alignment, any byte order of the machine. */
static inline uint64_t load_le64(const unsigned char *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

/* table[k][b]: the register after byte b and k zero bytes. */
static void make_table(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t crc = b;

		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		table[0][b] = crc;
	}
	for (int k = 1; k < SLICES; k++)
		for (uint32_t b = 0; b < 256; b++) {
			uint32_t crc = table[k - 1][b];

			table[k][b] = crc >> 8 ^ table[0][crc & 255];
		}
}

/* All register functions below work on the inverted value. */
static uint32_t run_table(uint32_t crc, const unsigned char *p, size_t size)
{
	for (; size >= 8; p += 8, size -= 8) {
		uint64_t word = load_le64(p) ^ crc;

		crc = table[7][word & 255] ^ table[6][word >> 8 & 255] ^
		      table[5][word >> 16 & 255] ^ table[4][word >> 24 & 255] ^
		      table[3][word >> 32 & 255] ^ table[2][word >> 40 & 255] ^
		      table[1][word >> 48 & 255] ^ table[0][word >> 56];
	}
	for (; size > 0; p++, size--)
		crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
	return crc;
}

#if HAVE_LANES

/*
 * Lane lengths in bytes, longest first. The longest lets the join vanish, the
 * shortest keeps what is left over small. Powers of 2.
 */
static const size_t lane_sizes[] = { 4096, 256 };
#define LEVELS (sizeof(lane_sizes) / sizeof(lane_sizes[0]))

/* zeros[level][i]: what bit i of a register becomes behind lane_sizes[level]
 * zero bytes. */
static uint32_t zeros[LEVELS][32];

static uint32_t matrix_times(const uint32_t matrix[32], uint32_t vector)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < 32; i++)
		sum ^= matrix[i] & (0 - (vector >> i & 1));
	return sum;
}

/* One zero byte's matrix, squared until it is that of `size` of them. */
static void make_zeros(uint32_t matrix[32], size_t size)
{
	for (unsigned i = 0; i < 32; i++) {
		uint32_t bit = UINT32_C(1) << i;

		matrix[i] = bit >> 8 ^ table[0][bit & 255];
	}
	for (; size > 1; size /= 2) {
		uint32_t square[32];

		for (unsigned i = 0; i < 32; i++)
			square[i] = matrix_times(matrix, matrix[i]);
		memcpy(matrix, square, sizeof(square));
	}
}

#if defined(__x86_64__)

static bool have_instruction(void)
{
	__builtin_cpu_init();
	return __builtin_cpu_supports("sse4.2") != 0;
}

LANES_TARGET static inline uint32_t step8(uint32_t crc, const unsigned char *p)
{
	return (uint32_t)_mm_crc32_u64(crc, load_le64(p));
}

LANES_TARGET static inline uint32_t step1(uint32_t crc, unsigned char byte)
{
	return _mm_crc32_u8(crc, byte);
}

#else

static bool have_instruction(void)
{
	return true;	/* the compiler was told so */
}

static inline uint32_t step8(uint32_t crc, const unsigned char *p)
{
	return __crc32cd(crc, load_le64(p));
}

static inline uint32_t step1(uint32_t crc, unsigned char byte)
{
	return __crc32cb(crc, byte);
}

#endif

LANES_TARGET static uint32_t run_lanes(uint32_t crc, const unsigned char *p, size_t size)
{
	for (size_t level = 0; level < LEVELS; level++) {
		size_t lane = lane_sizes[level];

		for (; size >= 3 * lane; p += 3 * lane, size -= 3 * lane) {
			uint32_t second = 0, third = 0;

			for (size_t i = 0; i < lane; i += 8) {
				crc = step8(crc, p + i);
				second = step8(second, p + lane + i);
				third = step8(third, p + 2 * lane + i);
			}
			crc = matrix_times(zeros[level], crc) ^ second;
			crc = matrix_times(zeros[level], crc) ^ third;
		}
	}
	for (; size >= 8; p += 8, size -= 8)
		crc = step8(crc, p);
	for (; size > 0; p++, size--)
		crc = step1(crc, *p);
	return crc;
}

#endif /* HAVE_LANES */

static uint32_t (*run)(uint32_t crc, const unsigned char *p, size_t size);

static void prepare(void)
{
	make_table();
	run = run_table;
#if HAVE_LANES
	for (size_t level = 0; level < LEVELS; level++)
		make_zeros(zeros[level], lane_sizes[level]);
	if (have_instruction())
		run = run_lanes;
#endif
}

static void prepare_once(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, prepare);
}

uint32_t sde__crc32c(uint32_t crc, const void *bytes, size_t size)
{
	prepare_once();
	return ~run(~crc, bytes, size);
}

uint32_t sde__crc32c_table(uint32_t crc, const void *bytes, size_t size)
{
	prepare_once();
	return ~run_table(~crc, bytes, size);
}
