/* SPDX-License-Identifier: MIT */
/* The transpose against a triple loop, every byte of the destination compared. */
#include "dice.h"
#include "gather.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fill_random(void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((unsigned char *)bytes)[i] = (unsigned char)below(256);
}

static void *room(size_t n)
{
	void *bytes = malloc(n ? n : 1);

	assert_non_null(bytes);
	return bytes;
}

static void *copy_of(const void *bytes, size_t n)
{
	void *copy = room(n);

	memcpy(copy, bytes, n);
	return copy;
}

/* One side of a block: where its item (0, 0, 0) is in a buffer of `size` bytes. */
struct side {
	int64_t strides[3];
	size_t origin, size;
};

/*
 * Strides for any order of the axes, any gaps between them, any signs. Gapless
 * for `packed`; negative only with `signs`.
 */
static struct side random_side(size_t item, const uint64_t count[3], int packed, int signs)
{
	static const unsigned orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
					       { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	const unsigned *axes = orders[below(6)];
	struct side side = { { 0 }, 0, 0 };
	size_t run = item;

	for (unsigned i = 0; i < 3; i++) {
		unsigned axis = axes[i];

		if (!packed)
			run += item * below(4) * below(2);
		side.strides[axis] = (int64_t)run;
		if (signs && below(4) == 0) {
			side.strides[axis] = -(int64_t)run;
			side.origin += run * (count[axis] ? count[axis] - 1 : 0);
		}
		run *= count[axis] ? count[axis] : 1;
	}
	side.size = run;
	return side;
}

static void naive(size_t item, const uint64_t count[3], char *to, const int64_t ts[3],
		  const char *from, const int64_t fs[3])
{
	for (int64_t i = 0; i < (int64_t)count[0]; i++)
		for (int64_t j = 0; j < (int64_t)count[1]; j++)
			for (int64_t k = 0; k < (int64_t)count[2]; k++)
				memcpy(to + i * ts[0] + j * ts[1] + k * ts[2],
				       from + i * fs[0] + j * fs[1] + k * fs[2], item);
}

static void compare(size_t item, const uint64_t count[3], const struct side *t,
		    const struct side *f)
{
	char *from = room(f->size), *to = room(t->size), *expected;

	fill_random(from, f->size);
	fill_random(to, t->size);
	expected = copy_of(to, t->size);
	naive(item, count, expected + t->origin, t->strides, from + f->origin, f->strides);
	sde__strided_copy(item, count, to + t->origin, t->strides, from + f->origin,
			  f->strides);
	assert_memory_equal(to, expected, t->size);
	free(from);
	free(to);
	free(expected);
}

static void any_block_is_copied_as_a_triple_loop_does(void **state)
{
	(void)state;
	for (int i = 0; i < 6000; i++) {
		size_t item = i & 1 ? 4 : 8;
		uint64_t limit = i % 5 ? 12 : 40;
		uint64_t count[3] = { below(limit) + 1, below(limit) + 1, below(limit) + 1 };
		struct side t = random_side(item, count, i & 2, !(i & 16));
		struct side f = random_side(item, count, i & 4, !(i & 32));

		if (i % 7 == 0)
			count[below(3)] = 1;
		compare(item, count, &t, &f);
	}
}

static void an_empty_block_touches_nothing(void **state)
{
	(void)state;
	for (unsigned axis = 0; axis < 3; axis++) {
		uint64_t count[3] = { 5, 6, 7 };
		const int64_t strides[3] = { 8, 40, 240 };

		count[axis] = 0;
		sde__strided_copy(8, count, NULL, strides, NULL, strides);
	}
}

/* A source stride of 0 repeats a value along that axis. */
static void one_value_can_be_spread(void **state)
{
	const uint64_t count[3] = { 3, 17, 9 };

	(void)state;
	for (unsigned axis = 0; axis < 3; axis++) {
		struct side t = random_side(8, count, 1, 0), f = random_side(8, count, 1, 0);

		f.strides[axis] = 0;
		compare(8, count, &t, &f);
	}
	compare(8, count, &(struct side){ { 8 * 153, 72, 8 }, 0, 8 * 459 },
		&(struct side){ { 0, 0, 0 }, 0, 8 });
}

/* All sides of 2 are wholly tiled; strides of 4 KiB put all rows into one cache set. */
static void large_powers_of_two_are_copied_right(void **state)
{
	const uint64_t count[3] = { 2, 40, 33 };

	(void)state;
	for (size_t item = 4; item <= 8; item += 4) {
		int64_t s = (int64_t)item;
		struct side slots = { { 40 * s, s, 4096 }, 0, 33 * 4096 };
		struct side turned = { { s, 2 * s, 4096 }, 0, 33 * 4096 };
		struct side chunk = { { 40 * 4096, 4096, s }, 0, 80 * 4096 };

		compare(item, count, &chunk, &slots);
		compare(item, count, &slots, &chunk);
		compare(item, count, &chunk, &turned);
		compare(item, count, &turned, &chunk);
	}
}

/* ------------------------------------------------------------------------
 * Inner chunks
 */

struct shape {
	struct sde__geometry g;
	size_t item, slot_size, dimension_stride, trajectory_stride;
	uint64_t count;
};

static struct shape random_shape(int i)
{
	struct shape s = { .item = i & 1 ? 4 : 8, .g.dtype = i & 1 ? SDE_FLOAT32 : SDE_FLOAT64 };

	s.g.dimension = below(4) + 1;
	s.g.trajectories = below(i % 3 ? 40 : 9) + 1;
	s.g.chunk_size = below(i % 5 ? 20 : 3) + 1;
	s.g.inner_width = below((s.g.trajectories + 7) / 8 * 8) + 1;
	assert_int_equal(sde__geometry_check(&s.g, NULL), 0);
	s.slot_size = sde__snapshot_bytes(&s.g) + s.item * below(9);
	s.dimension_stride = i & 2 ? s.item : s.item * s.g.trajectories;
	s.trajectory_stride = i & 2 ? s.item * s.g.dimension : s.item;
	s.count = i % 4 == 3 ? s.g.chunk_size : below(s.g.chunk_size + 1);
	return s;
}

static void fill_value(size_t item, char *out)
{
	static const unsigned char nan8[8] = { 0, 0, 0, 0, 0, 0, 0xf8, 0x7f };
	static const unsigned char nan4[4] = { 0, 0, 0xc0, 0x7f };

	memcpy(out, item == 8 ? nan8 : nan4, item);
}

static void check_chunk(const struct shape *s, const char *slots, uint64_t inner,
			const char *chunk)
{
	char expected[8];

	for (uint64_t d = 0; d < s->g.dimension; d++)
		for (uint64_t n = 0; n < s->g.inner_width; n++)
			for (uint64_t t = 0; t < s->g.chunk_size; t++) {
				uint64_t j = inner * s->g.inner_width + n;

				if (j < s->g.trajectories && t < s->count)
					memcpy(expected, slots + t * s->slot_size +
					       d * s->dimension_stride +
					       j * s->trajectory_stride, s->item);
				else
					fill_value(s->item, expected);
				assert_memory_equal(chunk + ((d * s->g.inner_width + n) *
							     s->g.chunk_size + t) * s->item,
						    expected, s->item);
			}
}

/* Slots of random bytes: all kinds of NaN, subnormals and zeros are among them. */
static void a_chunk_holds_the_slots_and_the_fill_value_elsewhere(void **state)
{
	(void)state;
	for (int i = 0; i < 1500; i++) {
		struct shape s = random_shape(i);
		size_t size = s.slot_size * s.count, bytes = sde__inner_bytes(&s.g);
		char *slots = room(size), *chunk = room(bytes);
		struct sde__slots view = { slots, s.slot_size, s.dimension_stride,
					   s.trajectory_stride, s.count, 0 };

		fill_random(slots, size);
		for (uint64_t inner = 0; inner < sde__inner_count(&s.g); inner++) {
			fill_random(chunk, bytes);
			sde__gather(&s.g, &view, inner, chunk);
			check_chunk(&s, slots, inner, chunk);
		}
		free(slots);
		free(chunk);
	}
}

/* The gaps between snapshots and the slots behind count stay as they were. */
static void scatter_puts_back_what_gather_took_and_nothing_else(void **state)
{
	(void)state;
	for (int i = 0; i < 1500; i++) {
		struct shape s = random_shape(i);
		size_t size = s.slot_size * s.g.chunk_size, bytes = sde__inner_bytes(&s.g);
		char *slots = room(size), *back = room(size), *chunk = room(bytes);
		char *expected;
		struct sde__slots view = { slots, s.slot_size, s.dimension_stride,
					   s.trajectory_stride, s.count, 0 };

		fill_random(slots, size);
		fill_random(back, size);
		expected = copy_of(back, size);
		for (uint64_t t = 0; t < s.count; t++)
			memcpy(expected + t * s.slot_size, slots + t * s.slot_size,
			       sde__snapshot_bytes(&s.g));
		for (uint64_t inner = 0; inner < sde__inner_count(&s.g); inner++) {
			sde__gather(&s.g, &view, inner, chunk);
			sde__scatter(&s.g, chunk, inner, s.count, back, s.slot_size,
				     s.dimension_stride, s.trajectory_stride);
		}
		assert_memory_equal(back, expected, size);
		free(slots);
		free(back);
		free(expected);
		free(chunk);
	}
}

static void no_slots_give_a_chunk_of_fill_values(void **state)
{
	const struct sde__geometry g = { 2, 9, 5, 8, SDE_FLOAT64, 0 };
	const struct sde__slots none = { NULL, 256, 72, 8, 0, 0 };
	double chunk[2 * 8 * 5];
	char expected[8];

	(void)state;
	memset(chunk, 0, sizeof(chunk));
	fill_value(8, expected);
	sde__gather(&g, &none, 1, chunk);
	for (size_t i = 0; i < sizeof(chunk) / sizeof(chunk[0]); i++)
		assert_memory_equal(&chunk[i], expected, 8);
	sde__scatter(&g, chunk, 0, 0, NULL, 256, 72, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_block_is_copied_as_a_triple_loop_does),
		cmocka_unit_test(an_empty_block_touches_nothing),
		cmocka_unit_test(one_value_can_be_spread),
		cmocka_unit_test(large_powers_of_two_are_copied_right),
		cmocka_unit_test(a_chunk_holds_the_slots_and_the_fill_value_elsewhere),
		cmocka_unit_test(scatter_puts_back_what_gather_took_and_nothing_else),
		cmocka_unit_test(no_slots_give_a_chunk_of_fill_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
