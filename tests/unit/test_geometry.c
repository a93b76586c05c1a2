/* SPDX-License-Identifier: MIT */
/* The sizes of a store, against arithmetic that cannot overflow. */
#include "geometry.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

__extension__ typedef unsigned __int128 wide;

#define INNER_LIMIT UINT64_C(2147483631)	/* INT_MAX - 16 */

static uint64_t random_state = 1;

static uint64_t random_word(void)
{
	uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Any number of bits equally likely: all magnitudes are seen. */
static uint64_t random_magnitude(unsigned bits)
{
	unsigned shift = (unsigned)(random_word() % bits);

	return random_word() >> (63 - shift);
}

/* a b c d, or the largest of all: what a product over 2^128 stands for. */
static wide product(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	const wide all = ~(wide)0;
	wide p = (wide)a * b;

	if (c && p > all / c)
		return all;
	p *= c;
	return d && p > all / d ? all : p * d;
}

static struct sde__geometry chosen(uint64_t d, uint64_t n, uint64_t t, uint64_t width,
				   enum sde_dtype dtype)
{
	struct sde__geometry g = { d, n, t, width, dtype, 0 };
	struct sde_error error = { 0 };

	assert_int_equal(sde__geometry_choose(&g, SDE__INNER_TARGET, &error), 0);
	assert_int_equal(error.code, 0);
	return g;
}

static void refused(uint64_t d, uint64_t n, uint64_t t, uint64_t width, enum sde_dtype dtype,
		    const char *names)
{
	const struct sde__geometry g = { d, n, t, width, dtype, 0 };
	struct sde_error error = { 0 };

	assert_int_equal(sde__geometry_check(&g, &error), -EINVAL);
	assert_int_equal(error.code, -EINVAL);
	assert_non_null(strstr(error.text, names));
	assert_null(strstr(error.text, "..."));
	assert_int_equal(sde__geometry_check(&g, NULL), -EINVAL);
}

static void a_number_has_4_or_8_bytes(void **state)
{
	(void)state;
	assert_int_equal(sde__dtype_size(SDE_FLOAT64), 8);
	assert_int_equal(sde__dtype_size(SDE_FLOAT32), 4);
	assert_int_equal(sde__dtype_size(SDE_INT64), 8);
	assert_int_equal(sde__dtype_size((enum sde_dtype)3), 0);
}

/* By hand: 16 MiB / 800000 B = 20.97, rounded down to 16; 512 KiB / 128 B = 4096;
 * 100000 / 4096 = 24.4, so 25 inner chunks and W = 102400. */
static void a_usual_run_is_cut_as_designed(void **state)
{
	struct sde__geometry g = chosen(1, 100000, 0, 0, SDE_FLOAT64);

	(void)state;
	assert_int_equal(g.chunk_size, 16);
	assert_int_equal(g.inner_width, 4096);
	assert_int_equal(sde__snapshot_bytes(&g), 800000);
	assert_int_equal(sde__inner_count(&g), 25);
	assert_int_equal(sde__shard_width(&g), 102400);
	assert_int_equal(sde__inner_bytes(&g), 524288);

	/* float32: 16 MiB / 400000 B = 41.9 -> 40; 512 KiB / 160 B = 3276.8 -> 3272 */
	g = chosen(1, 100000, 0, 0, SDE_FLOAT32);
	assert_int_equal(g.chunk_size, 40);
	assert_int_equal(g.inner_width, 3272);
}

static void a_tiny_ensemble_gets_long_chunks(void **state)
{
	struct sde__geometry g = chosen(1, 1, 0, 0, SDE_FLOAT64);

	(void)state;
	assert_int_equal(g.chunk_size, 1 << 20);
	assert_int_equal(g.inner_width, 1);
	for (uint64_t n = 1; n < 8; n++) {
		g = chosen(3, n, 0, 0, SDE_FLOAT32);
		assert_int_equal(g.inner_width, n);
		assert_int_equal(sde__inner_count(&g), 1);
	}
	/* an odd T: as much padding as makes d n T a multiple of 8 */
	g = chosen(1, 1, 50, 0, SDE_FLOAT64);
	assert_int_equal(g.inner_width, 4);
	g = chosen(3, 5, 7, 0, SDE_FLOAT64);
	assert_int_equal(g.inner_width, 8);
	g = chosen(2, 5, 4, 0, SDE_FLOAT32);
	assert_int_equal(g.inner_width, 5);
	/* but not where 8 trajectories are more than an inner chunk has by default */
	g = chosen(1, 1, 8193, 0, SDE_FLOAT64);
	assert_int_equal(g.inner_width, 1);
	g = chosen(1, 1, 8191, 0, SDE_FLOAT64);
	assert_int_equal(g.inner_width, 8);
	/* 9 trajectories, a T that leaves no room for more than 8 in 512 KiB */
	g = chosen(1, 9, 100000, 0, SDE_FLOAT64);
	assert_int_equal(g.inner_width, 8);
	assert_int_equal(sde__shard_width(&g), 16);
	/* and one that does: N rounded up */
	g = chosen(1, 9, 8, 0, SDE_FLOAT64);
	assert_int_equal(g.inner_width, 16);
}

static void a_huge_snapshot_is_a_chunk_of_its_own(void **state)
{
	struct sde__geometry g = chosen(1, 10000000, 0, 0, SDE_FLOAT64);

	(void)state;
	assert_int_equal(g.chunk_size, 1);
	assert_int_equal(g.inner_width, 65536);
	/* 5 snapshots of 3 MiB: below 8 nothing is rounded */
	g = chosen(1, 3 << 17, 0, 0, SDE_FLOAT64);
	assert_int_equal(g.chunk_size, 5);
}

/* 2^28 - 1 components: 8 trajectories would be over the limit, one is not. */
static void a_default_never_exceeds_the_limit(void **state)
{
	struct sde__geometry g = chosen((1 << 28) - 3, 100, 0, 0, SDE_FLOAT64);

	(void)state;
	assert_int_equal(g.chunk_size, 1);
	assert_int_equal(g.inner_width, 1);
	assert_int_equal(sde__inner_bytes(&g), UINT64_C(2147483624));
	g = chosen(1, 100, 50000000, 0, SDE_FLOAT64);
	assert_int_equal(g.inner_width, INNER_LIMIT / 400000000);
	refused(1 << 28, 100, 1, 1, SDE_FLOAT64, "2147483648 bytes");
}

/* What was chosen keeps every promise of DESIGN, for all magnitudes. */
static void what_is_chosen_holds_for_any_ensemble(void **state)
{
	(void)state;
	for (int i = 0; i < 200000; i++) {
		enum sde_dtype dtype = i & 1 ? SDE_FLOAT32 : SDE_FLOAT64;
		uint64_t item = i & 1 ? 4 : 8, snapshot, up;
		struct sde__geometry g = { random_magnitude(24) + 1,
					   random_magnitude(36) + 1, 0, 0, dtype, 0 };

		assert_int_equal(sde__geometry_choose(&g, SDE__INNER_TARGET, NULL), 0);
		snapshot = g.dimension * g.trajectories * item;
		up = (g.trajectories + 7) / 8 * 8;
		assert_true(g.chunk_size >= 1 && g.chunk_size <= 1 << 20);
		assert_true(g.chunk_size < 8 || g.chunk_size % 8 == 0);
		assert_true(g.chunk_size == 1 || g.chunk_size * snapshot <= 16 << 20);
		/* and no smaller than need be: 8 more would be too many */
		assert_true(g.chunk_size == 1 << 20 ||
			    (wide)(g.chunk_size + 8) * snapshot > 16 << 20);
		if (g.trajectories < 8)
			assert_int_equal(g.inner_width, g.trajectories);
		else
			assert_true(g.inner_width % 8 == 0 && g.inner_width <= up);
		assert_true(g.inner_width <= 8 || sde__inner_bytes(&g) <= 512 << 10);
		assert_true(g.inner_width < 8 || g.inner_width == up ||
			    sde__inner_bytes(&g) + 8 * g.dimension * g.chunk_size * item >
			    512 << 10);
	}
}

static void what_the_user_asked_for_is_kept(void **state)
{
	struct sde__geometry g = chosen(2, 1000, 7, 13, SDE_FLOAT64);

	(void)state;
	assert_int_equal(g.chunk_size, 7);
	assert_int_equal(g.inner_width, 13);
	assert_int_equal(sde__inner_count(&g), 77);
	assert_int_equal(sde__shard_width(&g), 1001);
	g = chosen(1, 5, 0, 8, SDE_FLOAT64);
	assert_int_equal(g.inner_width, 8);
	assert_int_equal(sde__shard_width(&g), 8);
	g = chosen(1, 1, UINT64_C(1) << 27, 1, SDE_FLOAT64);
	assert_int_equal(g.chunk_size, UINT64_C(1) << 27);
}

static void a_refusal_names_the_option(void **state)
{
	(void)state;
	refused(0, 1, 1, 1, SDE_FLOAT64, "'dimension' is 0");
	refused(1, 0, 1, 1, SDE_FLOAT64, "'trajectories' is 0");
	refused(1, 1, 0, 1, SDE_FLOAT64, "'chunk_size' is 0");
	refused(1, 1, 1, 0, SDE_FLOAT64, "'trajectories_per_chunk' is 0");
	refused(1, 1, 1, 1, SDE_INT64, "'dtype' is 2");
	refused(1, 1, 1, 1, (enum sde_dtype)9, "'dtype' is 9");
	refused(1, 1, (UINT64_C(1) << 31) + 1, 1, SDE_FLOAT64, "'chunk_size' is 2147483649");
	refused(1, 10, 1, 17, SDE_FLOAT64, "'trajectories_per_chunk' is 17");
	refused(1, UINT64_C(1) << 60, 1, 8, SDE_FLOAT64, "does not fit in memory");
	refused(UINT64_MAX, UINT64_MAX, 1, 8, SDE_FLOAT64, "18446744073709551615");
	refused(1, UINT64_C(1) << 45, UINT64_C(1) << 20, 8, SDE_FLOAT64, "too large to address");
}

static void an_inner_chunk_over_the_limit_says_its_size_and_the_way_out(void **state)
{
	(void)state;
	/* the last that fits, and one more: INNER_LIMIT + 1 is 8 * 268435454 */
	chosen(536870907, 1, 1, 1, SDE_FLOAT32);
	refused(536870908, 1, 1, 1, SDE_FLOAT32, "2147483632 bytes");
	chosen(268435453, 1, 1, 1, SDE_FLOAT64);
	refused(268435454, 1, 1, 1, SDE_FLOAT64, "2147483632 bytes");
	/* 8 * 16384 * 16384 = 2^31 */
	refused(1, 1 << 20, 16384, 16384, SDE_FLOAT64, "2147483648 bytes");
	refused(1, 1 << 20, 16384, 16384, SDE_FLOAT64, "2147483631");
	refused(1, 1 << 20, 16384, 16384, SDE_FLOAT64, "'chunk_size' (16384)");
	refused(1, 1 << 20, 16384, 16384, SDE_FLOAT64, "'trajectories_per_chunk' (16384)");
	/* d n T item = 2^30 2^24 2^31 2^3, more than 64 bits */
	refused(1 << 30, 1 << 24, UINT64_C(1) << 31, 1 << 24, SDE_FLOAT64, "more than");
}

/* check and choose agree with 128-bit arithmetic, whatever they are given. */
static void nothing_overflows(void **state)
{
	(void)state;
	for (int i = 0; i < 300000; i++) {
		uint64_t item = i & 1 ? 4 : 8;
		struct sde__geometry g = { random_magnitude(64), random_magnitude(64),
					   random_magnitude(64), random_magnitude(64),
					   i & 1 ? SDE_FLOAT32 : SDE_FLOAT64, 0 };
		wide up, width = 0;
		bool fits;

		if (i % 3)	/* most sizes small enough to pass sometimes */
			g = (struct sde__geometry){ g.dimension >> 40, g.trajectories >> 20,
						    g.chunk_size >> 32, g.inner_width >> 30,
						    g.dtype, 0 };
		up = ((wide)g.trajectories + 7) / 8 * 8;
		if (g.inner_width)
			width = ((wide)g.trajectories + g.inner_width - 1) / g.inner_width *
				g.inner_width;
		fits = g.dimension && g.trajectories && g.chunk_size && g.inner_width &&
		       g.chunk_size <= UINT64_C(1) << 31 && g.inner_width <= up &&
		       product(g.dimension, g.inner_width, g.chunk_size, item) <= INNER_LIMIT &&
		       width <= INT64_MAX &&
		       product(g.dimension, (uint64_t)width, g.chunk_size, item) <= INT64_MAX;
		assert_int_equal(sde__geometry_check(&g, NULL), fits ? 0 : -EINVAL);
		if (fits) {
			assert_true(sde__shard_width(&g) == width);
			assert_true(sde__inner_count(&g) * g.inner_width == width);
			assert_true(sde__inner_bytes(&g) ==
				    product(g.dimension, g.inner_width, g.chunk_size, item));
		}
		g.chunk_size = i & 2 ? 0 : g.chunk_size;
		g.inner_width = i & 4 ? 0 : g.inner_width;
		if (sde__geometry_choose(&g, SDE__INNER_TARGET, NULL) == 0)
			assert_int_equal(sde__geometry_check(&g, NULL), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_has_4_or_8_bytes),
		cmocka_unit_test(a_usual_run_is_cut_as_designed),
		cmocka_unit_test(a_tiny_ensemble_gets_long_chunks),
		cmocka_unit_test(a_huge_snapshot_is_a_chunk_of_its_own),
		cmocka_unit_test(a_default_never_exceeds_the_limit),
		cmocka_unit_test(what_is_chosen_holds_for_any_ensemble),
		cmocka_unit_test(what_the_user_asked_for_is_kept),
		cmocka_unit_test(a_refusal_names_the_option),
		cmocka_unit_test(an_inner_chunk_over_the_limit_says_its_size_and_the_way_out),
		cmocka_unit_test(nothing_overflows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
