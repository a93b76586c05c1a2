/* SPDX-License-Identifier: MIT */
/*
 * Reserved addresses that become memory: what happens where there are fewer of the one
 * or the other than was asked for. The kernel is made to refuse by numbers that no
 * machine has, and by a limit on data.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "arena.h"
#include "sanitized.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#define PAGE ((size_t)4096)
#define MIB ((size_t)1 << 20)

static void memory_that_grows_stays_where_it_is_and_begins_as_zeros(void **state)
{
	struct sde__arena arena;
	unsigned char *base;

	(void)state;
	assert_int_equal(sde__arena_init(&arena, 100 * MIB + 1, 100 * MIB, NULL), 0);
	assert_int_equal(arena.reserved, 100 * MIB + PAGE);
	assert_int_equal(arena.size, 0);
	base = arena.base;
	for (size_t size = 1; size <= arena.reserved; size += 7 * MIB) {
		assert_int_equal(sde__arena_grow(&arena, size, NULL), 0);
		assert_true(arena.base == base && arena.size >= size && arena.size <= arena.reserved);
		assert_int_equal(base[size - 1], 0);
		base[size - 1] = 1;
	}
	assert_int_equal(sde__arena_grow(&arena, 1, NULL), 0);
	sde__arena_free(&arena);
	assert_null(arena.base);
	sde__arena_free(&arena);
}

static void what_is_given_back_is_zero_when_it_comes_again(void **state)
{
	struct sde__arena arena;

	(void)state;
	assert_int_equal(sde__arena_init(&arena, 4 * PAGE, PAGE, NULL), 0);
	assert_int_equal(sde__arena_grow(&arena, 4 * PAGE, NULL), 0);
	memset(arena.base, 7, 4 * PAGE);
	sde__arena_shrink(&arena, 4 * PAGE);
	assert_int_equal(arena.base[4 * PAGE - 1], 7);
	sde__arena_shrink(&arena, PAGE + 1);
	assert_int_equal(arena.base[2 * PAGE - 1], 7);
	assert_int_equal(arena.base[2 * PAGE], 0);
	assert_int_equal(arena.base[4 * PAGE - 1], 0);
	sde__arena_free(&arena);
}

static void addresses_are_taken_as_far_as_there_are_any(void **state)
{
	const size_t want = (size_t)1 << 62;
	struct sde_error error = { 0 };
	struct sde__arena arena;

	(void)state;
	if (SANITIZED) {
		print_message("skipped: a sanitizer has most addresses itself\n");
		skip();
	}
	/* half of them, and so on */
	assert_int_equal(sde__arena_init(&arena, want, PAGE, &error), 0);
	assert_true(arena.reserved < want && arena.reserved >= (size_t)1 << 30);
	assert_true(!(arena.reserved & (arena.reserved - 1)));
	sde__arena_free(&arena);
	/* but no less than is needed */
	assert_int_equal(sde__arena_init(&arena, want, want / 2 + 1, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "cannot reserve 4611686018427387904 bytes"));
	assert_null(arena.base);
}

static void more_than_was_reserved_is_refused(void **state)
{
	struct sde_error error = { 0 };
	struct sde__arena arena;

	(void)state;
	assert_int_equal(sde__arena_init(&arena, 2 * PAGE, PAGE, NULL), 0);
	assert_int_equal(sde__arena_grow(&arena, 2 * PAGE + 1, &error), -ENOMEM);
	assert_non_null(strstr(error.text, "8193 bytes"));
	assert_int_equal(arena.size, 0);
	assert_int_equal(sde__arena_grow(&arena, 2 * PAGE, NULL), 0);
	sde__arena_free(&arena);
}

/* What this process has of data, in bytes; 0 if that is not told. */
static rlim_t data_size(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	unsigned long long kilobytes = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "VmData:", 7))
			kilobytes = strtoull(line + 7, NULL, 10);
	if (file)
		fclose(file);
	return 1024 * (rlim_t)kilobytes;
}

static void a_step_that_does_not_fit_is_made_as_small_as_the_need(void **state)
{
	struct sde_error error = { 0 };
	struct sde__arena arena;
	struct rlimit old = { 0, 0 }, limit;
	const rlim_t data = data_size();
	int small, large;
	size_t after;

	(void)state;
	if (!data || getrlimit(RLIMIT_DATA, &old)) {
		print_message("skipped: the size of data is not told\n");
		skip();
	}
	assert_int_equal(sde__arena_init(&arena, 256 * MIB, PAGE, NULL), 0);
	limit = old;
	limit.rlim_cur = data + 16 * MIB;
	assert_int_equal(setrlimit(RLIMIT_DATA, &limit), 0);
	small = sde__arena_grow(&arena, MIB - 1, NULL);
	after = arena.size;
	large = sde__arena_grow(&arena, 64 * MIB, &error);
	assert_int_equal(setrlimit(RLIMIT_DATA, &old), 0);
	assert_int_equal(small, 0);
	assert_int_equal(after, MIB);
	assert_int_equal(large, -ENOMEM);
	assert_non_null(strstr(error.text, "no memory for 67108864 bytes"));
	/* nothing is lost, and there may be more another time */
	assert_int_equal(arena.size, MIB);
	arena.base[MIB - 1] = 1;
	assert_int_equal(sde__arena_grow(&arena, 64 * MIB, NULL), 0);
	assert_int_equal(arena.base[MIB - 1], 1);
	arena.base[64 * MIB - 1] = 1;
	sde__arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_that_grows_stays_where_it_is_and_begins_as_zeros),
		cmocka_unit_test(what_is_given_back_is_zero_when_it_comes_again),
		cmocka_unit_test(addresses_are_taken_as_far_as_there_are_any),
		cmocka_unit_test(more_than_was_reserved_is_refused),
		cmocka_unit_test(a_step_that_does_not_fit_is_made_as_small_as_the_need),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
