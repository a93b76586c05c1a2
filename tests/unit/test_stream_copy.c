/* SPDX-License-Identifier: MIT */
/* The copy into the ring: any size and any alignment, and nothing beside it. */
#include "stream_copy.h"
#include "twin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BESIDE 64

static void check(uint64_t *seed, size_t to, size_t from, size_t n)
{
	unsigned char *source = malloc(from + n + 1), *target = malloc(BESIDE + to + n + BESIDE);

	assert_true(source && target);
	for (size_t i = 0; i < from + n; i++)
		source[i] = (unsigned char)(twin_random(seed) | 1);
	memset(target, 0, BESIDE + to + n + BESIDE);
	sde__stream_copy(target + BESIDE + to, source + from, n);
	assert_memory_equal(target + BESIDE + to, source + from, n);
	/* no byte of the source is 0 */
	for (size_t i = 0; i < BESIDE; i++) {
		assert_int_equal(target[to + i], 0);
		assert_int_equal(target[BESIDE + to + n + i], 0);
	}
	free(source);
	free(target);
}

static void it_copies_what_memcpy_does(void **state)
{
	const size_t sizes[] = { 0, 1, 63, 64, 4096, 65535, 65536, 65537, 65599, 65600, 131072 };
	uint64_t seed = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (size_t to = 0; to < 64; to += 8)
			check(&seed, to, 64 - to, sizes[i]);
		check(&seed, 1, 0, sizes[i]);
		check(&seed, 0, 1, sizes[i]);
		check(&seed, 63, 17, sizes[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_copies_what_memcpy_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
