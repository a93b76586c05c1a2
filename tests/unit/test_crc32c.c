/* SPDX-License-Identifier: MIT */
/* CRC-32C against RFC 3720 appendix B.4 and a twin that shifts bit by bit. */
#include "crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t bit_by_bit(uint32_t crc, const void *bytes, size_t size)
{
	const unsigned char *p = bytes;

	crc = ~crc;
	for (size_t i = 0; i < size; i++) {
		crc ^= p[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ UINT32_C(0x82f63b78) : crc >> 1;
	}
	return ~crc;
}

/* Knuth's MMIX generator; the high bits. */
static void fill_random(unsigned char *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		p[i] = (unsigned char)(seed >> 56);
	}
}

static void expect(const void *bytes, size_t size, uint32_t value)
{
	assert_int_equal(bit_by_bit(0, bytes, size), value);
	assert_int_equal(sde__crc32c(0, bytes, size), value);
	assert_int_equal(sde__crc32c_table(0, bytes, size), value);
}

static void the_examples_of_rfc_3720_hold(void **state)
{
	static const unsigned char read_pdu[48] = {
		0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
		0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18, 0x28, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	unsigned char bytes[32];

	(void)state;
	memset(bytes, 0, 32);
	expect(bytes, 32, 0x8a9136aa);
	memset(bytes, 0xff, 32);
	expect(bytes, 32, 0x62a8ab43);
	for (unsigned char i = 0; i < 32; i++)
		bytes[i] = i;
	expect(bytes, 32, 0x46dd794e);
	for (unsigned char i = 0; i < 32; i++)
		bytes[i] = (unsigned char)(31 - i);
	expect(bytes, 32, 0x113fdb5c);
	expect(read_pdu, 48, 0xd9963a56);
	expect("123456789", 9, 0xe3069283);
}

static void nothing_leaves_the_value(void **state)
{
	(void)state;
	assert_int_equal(sde__crc32c(0, NULL, 0), 0);
	assert_int_equal(sde__crc32c(0xdeadbeef, NULL, 0), 0xdeadbeef);
	assert_int_equal(sde__crc32c_table(0xdeadbeef, NULL, 0), 0xdeadbeef);
}

/* In a block of exactly that size, so that a sanitizer sees a byte too many. */
static void any_short_length_and_alignment_holds(void **state)
{
	(void)state;
	for (size_t size = 0; size <= 300; size++)
		for (size_t shift = 0; shift < 16; shift++) {
			unsigned char *block = malloc(shift + size ? shift + size : 1);
			uint32_t expected;

			assert_non_null(block);
			fill_random(block, shift + size, size * 16 + shift);
			expected = bit_by_bit(7, block + shift, size);
			assert_int_equal(sde__crc32c(7, block + shift, size), expected);
			assert_int_equal(sde__crc32c_table(7, block + shift, size), expected);
			free(block);
		}
}

static void lengths_around_the_lanes_hold(void **state)
{
	static const size_t around[] = { 768, 1536, 4096, 8192, 12288, 13056, 24576, 40000,
					 65536 };
	const size_t room = 70000;
	unsigned char *bytes = malloc(room);

	(void)state;
	assert_non_null(bytes);
	fill_random(bytes, room, 1);
	for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++)
		for (size_t size = around[i] - 9; size <= around[i] + 9; size++) {
			uint32_t expected = bit_by_bit(0, bytes + size % 7, size);

			assert_int_equal(sde__crc32c(0, bytes + size % 7, size), expected);
			assert_int_equal(sde__crc32c_table(0, bytes + size % 7, size), expected);
		}
	free(bytes);
}

static void pieces_give_the_value_of_the_whole(void **state)
{
	const size_t size = 30000;
	unsigned char *bytes = malloc(size);
	uint32_t whole;

	(void)state;
	assert_non_null(bytes);
	fill_random(bytes, size, 2);
	whole = bit_by_bit(0, bytes, size);
	for (size_t cut = 0; cut <= size; cut += cut < 50 ? 1 : 331) {
		uint32_t crc = sde__crc32c(0, bytes, cut);

		assert_int_equal(sde__crc32c(crc, bytes + cut, size - cut), whole);
		crc = sde__crc32c_table(0, bytes, cut);
		assert_int_equal(sde__crc32c(crc, bytes + cut, size - cut), whole);
	}
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_examples_of_rfc_3720_hold),
		cmocka_unit_test(nothing_leaves_the_value),
		cmocka_unit_test(any_short_length_and_alignment_holds),
		cmocka_unit_test(lengths_around_the_lanes_hold),
		cmocka_unit_test(pieces_give_the_value_of_the_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
