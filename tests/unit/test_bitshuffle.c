/* SPDX-License-Identifier: MIT */
/* Every way of bitshuffle against a twin that takes bit by bit. */
#include "bitshuffle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 2 * SDE__SPAN_ITEMS + 24 };

/* As bitshuffle.h defines it. */
static void bit_by_bit(size_t item, size_t n, const unsigned char *items, unsigned char *planes)
{
	memset(planes, 0, n * item);
	for (size_t i = 0; i < n; i++)
		for (size_t b = 0; b < item; b++)
			for (size_t k = 0; k < 8; k++) {
				unsigned char *byte = planes + (8 * b + k) * (n / 8) + i / 8;
				const int bit = items[i * item + b] >> k & 1;

				*byte = (unsigned char)(*byte | bit << i % 8);
			}
}

static void fill(unsigned char *p, size_t n)
{
	uint64_t x = 0;

	for (size_t i = 0; i < n; i++) {
		x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		p[i] = (unsigned char)(x >> 56);
	}
}

/* Exactly n bytes at no even address, so that a sanitizer sees one too many, and a
 * processor that anything is aligned. */
static unsigned char *room(size_t n, unsigned char **memory)
{
	*memory = malloc(n + 1);
	assert_non_null(*memory);
	return *memory + 1;
}

static void compare(const struct sde__bitshuffle_way *way, size_t item, size_t n)
{
	const size_t size = n * item;
	unsigned char *memory[4], *items = room(size, memory), *planes = room(size, memory + 1);
	unsigned char *theirs = room(size, memory + 2), *back = room(size, memory + 3);

	fill(items, size);
	bit_by_bit(item, n, items, theirs);
	sde__bitshuffle(way, item, n, items, planes);
	assert_memory_equal(planes, theirs, size);
	sde__bitunshuffle(way, item, n, theirs, back);
	assert_memory_equal(back, items, size);
	for (int i = 0; i < 4; i++)
		free(memory[i]);
}

/* All sizes to two spans and a little, and planes that lie a power of two apart. */
static void every_size(size_t index)
{
	const struct sde__bitshuffle_way *way = sde__bitshuffle_ways[index];

	if (!way->have()) {
		print_message("skipped: this processor (or valgrind) has no %s\n", way->name);
		skip();
	}
	for (size_t item = 4; item <= 8; item += 4) {
		for (size_t n = 0; n <= MOST; n += 8)
			compare(way, item, n);
		compare(way, item, 32768);
		compare(way, item, 40008);
	}
}

static void by_avx512(void **state)
{
	(void)state;
	assert_string_equal(sde__bitshuffle_ways[0]->name, "avx512");
	every_size(0);
}

static void by_avx2(void **state)
{
	(void)state;
	assert_string_equal(sde__bitshuffle_ways[1]->name, "avx2");
	every_size(1);
}

static void the_best_way_is_the_first_there_is(void **state)
{
	const struct sde__bitshuffle_way *best = sde__bitshuffle_best();
	size_t i = 0;

	(void)state;
	assert_int_equal(sde__bitshuffle_way_count, 2);
	while (i < sde__bitshuffle_way_count && !sde__bitshuffle_ways[i]->have())
		i++;
	assert_ptr_equal(best, i < sde__bitshuffle_way_count ? sde__bitshuffle_ways[i] : NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_avx512),
		cmocka_unit_test(by_avx2),
		cmocka_unit_test(the_best_way_is_the_first_there_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
