/* SPDX-License-Identifier: MIT */
/*
 * Rounding of mantissas, against arithmetic (rounded.h): float32 over a stride of all
 * its bit patterns, both types at every exponent with the mantissas where rounding
 * turns; and as the gather does it on the way into an inner chunk.
 */
#include "gather.h"
#include "rounded.h"

#include <fenv.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BATCH 4096

/* Numbers gathered until a batch is full, then compared all at once. */
struct batch {
	enum sde_dtype dtype;
	unsigned keepbits;
	uint64_t count, all;
	uint64_t bits[BATCH];
};

static size_t item_of(const struct batch *b)
{
	return sde__dtype_size(b->dtype);
}

static void check_batch(struct batch *b)
{
	static unsigned char numbers[8 * BATCH];
	const size_t item = item_of(b);

	for (uint64_t i = 0; i < b->count; i++)
		memcpy(numbers + i * item, &b->bits[i], item);
	sde__round(b->dtype, b->keepbits, numbers, b->count);
	for (uint64_t i = 0; i < b->count; i++) {
		const uint64_t expected = rounded_bits(item, b->keepbits, b->bits[i]);
		uint64_t is = 0;

		memcpy(&is, numbers + i * item, item);
		if (is == expected)
			continue;
		print_error("%#" PRIx64 " to %u bits gave %#" PRIx64 ", not %#" PRIx64 "\n",
			    b->bits[i], b->keepbits, is, expected);
		fail();
	}
	b->all += b->count;
	b->count = 0;
}

static void add(struct batch *b, uint64_t bits)
{
	b->bits[b->count++] = bits;
	if (b->count == BATCH)
		check_batch(b);
}

static void every_float32_over_a_stride_is_rounded_as_arithmetic_does(void **state)
{
	/* prime, so that every low bit pattern comes up */
	const uint64_t stride = getenv("SDE_TEST_LONG") ? 7 : 4093;
	static struct batch b = { .dtype = SDE_FLOAT32 };

	(void)state;
	for (b.keepbits = 1; b.keepbits <= 22; b.keepbits++) {
		for (uint64_t bits = b.keepbits; bits <= UINT32_MAX; bits += stride)
			add(&b, bits);
		check_batch(&b);
	}
	printf("# %" PRIu64 " float32 numbers\n", b.all);
}

/* At every exponent, both signs: mantissas around the ties, the ends, all of ones. */
static void add_edges(struct batch *b)
{
	const unsigned width = sde__mantissa_bits(b->dtype), all = 8 * (unsigned)item_of(b);
	const uint64_t top = (UINT64_C(1) << width) - 1;
	const uint64_t step = UINT64_C(1) << (width - b->keepbits), half = step / 2;
	const uint64_t mantissas[] = {
		0, 1, half - 1, half, half + 1, step - 1, step, step + half - 1, step + half,
		step + half + 1, 2 * step + half, top, top - half, top - half + 1, top - half - 1,
		top - step, UINT64_C(0x5555555555555555), UINT64_C(0xaaaaaaaaaaaaaaaa),
	};

	for (uint64_t exponent = 0; exponent < UINT64_C(1) << (all - 1 - width); exponent++)
		for (size_t i = 0; i < sizeof(mantissas) / sizeof(mantissas[0]); i++)
			for (uint64_t sign = 0; sign <= 1; sign++)
				add(b, sign << (all - 1) | exponent << width |
				    (mantissas[i] & top));
}

static void ties_carries_and_ends_of_every_exponent_are_rounded_right(void **state)
{
	static struct batch b;

	(void)state;
	for (int dtype = SDE_FLOAT64; dtype <= SDE_FLOAT32; dtype++) {
		b.dtype = (enum sde_dtype)dtype;
		for (b.keepbits = 1; b.keepbits < sde__mantissa_bits(b.dtype); b.keepbits++) {
			add_edges(&b);
			check_batch(&b);
		}
	}
	printf("# %" PRIu64 " edges\n", b.all);
}

/* Spelled out, lest the arithmetic be wrong in the same way. */
static void known_numbers_become_known_numbers(void **state)
{
	static const struct {
		unsigned keepbits;
		uint64_t from, to;
	} cases[] = {
		/* 1 + 2^-2 to 1 bit: a tie, to the even 1.0; 1.75 to the even 2.0 */
		{ 1, UINT64_C(0x3ff4000000000000), UINT64_C(0x3ff0000000000000) },
		{ 1, UINT64_C(0x3ffc000000000000), UINT64_C(0x4000000000000000) },
		{ 1, UINT64_C(0x3ff4000000000001), UINT64_C(0x3ff8000000000000) },
		/* pi to 10 bits */
		{ 10, UINT64_C(0x400921fb54442d18), UINT64_C(0x4009200000000000) },
		/* the largest number: up to infinity; the largest that is not */
		{ 10, UINT64_C(0x7fefffffffffffff), UINT64_C(0x7ff0000000000000) },
		{ 10, UINT64_C(0xffefffffffffffff), UINT64_C(0xfff0000000000000) },
		{ 10, UINT64_C(0x7feffdffffffffff), UINT64_C(0x7feffc0000000000) },
		/* the largest subnormal becomes normal, the smallest 0, with its sign */
		{ 10, UINT64_C(0x000fffffffffffff), UINT64_C(0x0010000000000000) },
		{ 10, UINT64_C(0x8000000000000001), UINT64_C(0x8000000000000000) },
		{ 10, UINT64_C(0x8000000000000000), UINT64_C(0x8000000000000000) },
		/* NaN with a payload in the bits that go, signalling too; infinity */
		{ 1, UINT64_C(0x7fffffffffffffff), UINT64_C(0x7fffffffffffffff) },
		{ 1, UINT64_C(0xfff0000000000001), UINT64_C(0xfff0000000000001) },
		{ 51, UINT64_C(0xfff0000000000000), UINT64_C(0xfff0000000000000) },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t is = cases[i].from;

		sde__round(SDE_FLOAT64, cases[i].keepbits, &is, 1);
		assert_true(is == cases[i].to);
		assert_true(rounded_bits(8, cases[i].keepbits, cases[i].from) == cases[i].to);
		/* once more changes nothing */
		sde__round(SDE_FLOAT64, cases[i].keepbits, &is, 1);
		assert_true(is == cases[i].to);
	}
}

static void all_of_the_mantissa_is_no_rounding(void **state)
{
	(void)state;
	assert_int_equal(sde__rounding(SDE_FLOAT64, 0), 0);
	assert_int_equal(sde__rounding(SDE_FLOAT64, 52), 0);
	assert_int_equal(sde__rounding(SDE_FLOAT64, 51), 51);
	assert_int_equal(sde__rounding(SDE_FLOAT32, 23), 0);
	assert_int_equal(sde__rounding(SDE_FLOAT32, 22), 22);
	assert_int_equal(sde__rounding(SDE_FLOAT32, 1), 1);
}

/* An integrator that traps floating-point exceptions is not hit by it. */
static void no_floating_point_flag_is_raised(void **state)
{
	uint64_t bits[16] = { 1, UINT64_C(0x7ff0000000000001), UINT64_C(0x7fefffffffffffff) };

	(void)state;
	feclearexcept(FE_ALL_EXCEPT);
	sde__round(SDE_FLOAT64, 3, bits, 16);
	sde__round(SDE_FLOAT32, 3, bits, 32);
	assert_int_equal(fetestexcept(FE_ALL_EXCEPT), 0);
}

/* ------------------------------------------------------------------------
 * In the gather
 */

static uint64_t random_state = 1;

static uint64_t draw(void)
{
	uint64_t x = random_state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Gathered without rounding, then rounded by arithmetic; NaN padding is among it. */
static void a_rounded_chunk_is_the_rounding_of_an_exact_one(void **state)
{
	(void)state;
	for (int i = 0; i < 1500; i++) {
		struct sde__geometry g = { .dtype = i & 1 ? SDE_FLOAT32 : SDE_FLOAT64 };
		const size_t item = sde__dtype_size(g.dtype);
		const bool turned = i & 2;
		struct sde__slots slots = { 0 };
		size_t size, bytes;
		char *payload, *exact, *is;

		g.dimension = draw() % 4 + 1;
		g.trajectories = draw() % 60 + 1;
		g.chunk_size = draw() % (i % 5 ? 40 : 3) + 1;
		g.inner_width = draw() % ((g.trajectories + 7) / 8 * 8) + 1;
		slots.slot_size = sde__snapshot_bytes(&g) + item * (draw() % 9);
		slots.dimension_stride = turned ? item : item * (size_t)g.trajectories;
		slots.trajectory_stride = turned ? item * (size_t)g.dimension : item;
		slots.count = draw() % g.chunk_size + 1;
		size = slots.slot_size * (size_t)slots.count;
		bytes = sde__inner_bytes(&g);
		payload = malloc(size);
		exact = malloc(bytes);
		is = malloc(bytes);
		assert_true(payload && exact && is);
		for (size_t k = 0; k < size; k++)
			payload[k] = (char)draw();
		slots.payload = payload;
		for (uint64_t inner = 0; inner < sde__inner_count(&g); inner++) {
			const unsigned keepbits = 1 + (unsigned)draw() %
						  (sde__mantissa_bits(g.dtype) - 1);

			slots.keepbits = 0;
			sde__gather(&g, &slots, inner, exact);
			rounded_in_place(item, keepbits, exact, bytes / item);
			slots.keepbits = keepbits;
			memset(is, 0xaa, bytes);
			sde__gather(&g, &slots, inner, is);
			assert_memory_equal(is, exact, bytes);
		}
		free(payload);
		free(exact);
		free(is);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_float32_over_a_stride_is_rounded_as_arithmetic_does),
		cmocka_unit_test(ties_carries_and_ends_of_every_exponent_are_rounded_right),
		cmocka_unit_test(known_numbers_become_known_numbers),
		cmocka_unit_test(all_of_the_mantissa_is_no_rounding),
		cmocka_unit_test(no_floating_point_flag_is_raised),
		cmocka_unit_test(a_rounded_chunk_is_the_rounding_of_an_exact_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
