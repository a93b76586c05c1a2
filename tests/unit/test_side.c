/* SPDX-License-Identifier: MIT */
/* The side table: its bytes as side.h draws them, and any damage seen. */
#include "side.h"

#include "crc32c.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define T 4
#define CAPACITY 40

static const unsigned char run[16] = "0123456789abcdef";
static const uint32_t state_size[T] = { 5, 0, CAPACITY, 1 };

static struct sde__slot_layout layout(void)
{
	struct sde__slot_layout l = {
		.geometry = { .dimension = 1, .trajectories = 3, .chunk_size = T,
			      .inner_width = 1, .dtype = SDE_FLOAT64 },
		.order = SDE_LAYOUT_DIMENSION_TRAJECTORY,
		.state_capacity = CAPACITY, .segments = 2,
	};

	assert_int_equal(sde__slot_layout_derive(&l, NULL), 0);
	return l;
}

static unsigned char *slots_of(const struct sde__slot_layout *l)
{
	unsigned char *slots = calloc(T, l->slot_size);

	assert_non_null(slots);
	for (unsigned i = 0; i < T; i++) {
		const struct sde__slot_head head = { 0.5 * i - 1, 100 - (int)i, state_size[i], false };
		unsigned char *slot = slots + i * l->slot_size;

		sde__slot_head_write(slot, &head);
		memset(slot + 24, (int)(0xa0 + i), state_size[i]);
	}
	return slots;
}

static void build(struct sde__side *side, uint64_t count)
{
	const struct sde__slot_layout l = layout();
	unsigned char *slots = slots_of(&l);

	assert_int_equal(sde__side_build(side, &l, slots, count, 8, 3, run, NULL), 0);
	free(slots);
}

/* As a shard's reader does: the head, then all of it. */
static int parse(struct sde__side *side, const unsigned char *bytes, size_t size)
{
	struct sde_error error = { 0 };
	int ret = sde__side_parse_head(side, bytes, T, "p", &error);

	if (!ret && side->size > size)
		return SDE_E_CORRUPT;	/* beyond the file */
	if (!ret && !sde__side_reserve(side, side->size)) {
		memcpy(side->bytes, bytes, side->size);
		ret = sde__side_parse(side, "p", &error);
	}
	assert_int_equal(error.code, ret);
	if (ret)
		assert_non_null(strstr(error.text, "'p'"));
	return ret;
}

static uint64_t le(const unsigned char *p, unsigned n)
{
	uint64_t value = 0;

	while (n--)
		value = value << 8 | p[n];
	return value;
}

static void the_bytes_are_those_of_the_format(void **state)
{
	struct sde__side side = { 0 };
	const unsigned char *p;
	double time;

	(void)state;
	build(&side, T);
	p = side.bytes;
	assert_int_equal(side.size, 64 + 20 * T + 46 + 4);
	assert_int_equal(sde__side_size(T, 46), side.size);
	assert_memory_equal(p, "SDESIDE\n", 8);
	assert_int_equal(le(p + 8, 4), 1);
	assert_int_equal(le(p + 12, 4), side.size);
	assert_memory_equal(p + 16, run, 16);
	assert_int_equal(le(p + 32, 8), 3);
	assert_int_equal(le(p + 40, 8), 8);
	assert_int_equal(le(p + 48, 4), T);
	assert_int_equal(le(p + 52, 4), 46);
	assert_int_equal(le(p + 56, 8), 0);
	for (unsigned i = 0; i < T; i++) {
		memcpy(&time, p + 64 + 8 * i, 8);
		assert_true(time == 0.5 * i - 1);
		assert_int_equal(le(p + 64 + 8 * T + 8 * i, 8), 100 - i);
		assert_int_equal(le(p + 64 + 16 * T + 4 * i, 4), state_size[i]);
	}
	p += 64 + 20 * T;
	for (unsigned i = 0; i < T; i++)
		for (unsigned j = 0; j < state_size[i]; j++)
			assert_int_equal(*p++, 0xa0 + i);
	assert_int_equal(le(p, 4), sde__crc32c_table(0, side.bytes, side.size - 4));
	sde__side_free(&side);
}

static void what_was_built_is_parsed(void **state)
{
	(void)state;
	for (uint32_t count = 1; count <= T; count++) {
		struct sde__side built = { 0 }, side = { 0 };

		build(&built, count);
		assert_int_equal(parse(&side, built.bytes, built.size), 0);
		assert_memory_equal(side.run, run, 16);
		assert_int_equal(side.epoch, 3);
		assert_int_equal(side.first, 8);
		assert_int_equal(side.count, count);
		for (uint32_t i = 0; i < count; i++) {
			assert_true(side.time[i] == 0.5 * i - 1);
			assert_int_equal(side.iteration[i], 100 - i);
			assert_int_equal(side.state_size[i], state_size[i]);
			if (state_size[i])
				assert_int_equal(*sde__side_state(&side, i), 0xa0 + i);
		}
		sde__side_free(&side);
		sde__side_free(&side);
		sde__side_free(&built);
	}
}

static void memory_is_used_again(void **state)
{
	struct sde__side side = { 0 };
	const unsigned char *bytes;

	(void)state;
	build(&side, T);
	bytes = side.bytes;
	build(&side, 1);
	assert_ptr_equal(side.bytes, bytes);
	assert_int_equal(side.size, 64 + 20 + 5 + 4);
	sde__side_free(&side);
}

static void every_flipped_bit_is_seen(void **state)
{
	struct sde__side built = { 0 }, side = { 0 };

	(void)state;
	build(&built, T);
	for (size_t bit = 0; bit < built.size * 8; bit++) {
		int ret;

		built.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
		ret = parse(&side, built.bytes, built.size);
		if (ret != SDE_E_CORRUPT && !(ret == SDE_E_VERSION && bit / 8 >= 8 && bit / 8 < 12))
			fail_msg("bit %zu gives %d", bit, ret);
		built.bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	assert_int_equal(parse(&side, built.bytes, built.size), 0);
	sde__side_free(&side);
	sde__side_free(&built);
}

/* Wrong numbers under a right checksum. */
static void impossible_sizes_are_refused(void **state)
{
	static const struct {
		size_t offset;
		uint32_t value;
	} row[] = {
		{ 12, 0 }, { 12, 67 }, { 12, UINT32_MAX }, { 48, 0 }, { 48, T + 1 },
		{ 48, UINT32_MAX }, { 52, 0 }, { 52, 47 }, { 52, UINT32_MAX },
		{ 64 + 16 * T, 6 }, { 64 + 16 * T + 4, UINT32_MAX }, { 64 + 16 * T + 8, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct sde__side built = { 0 }, side = { 0 };
		uint32_t crc;

		build(&built, T);
		memcpy(built.bytes + row[i].offset, &row[i].value, 4);
		crc = sde__crc32c_table(0, built.bytes, built.size - 4);
		memcpy(built.bytes + built.size - 4, &crc, 4);
		if (parse(&side, built.bytes, built.size) != SDE_E_CORRUPT)
			fail_msg("row %zu is taken", i);
		sde__side_free(&side);
		sde__side_free(&built);
	}
}

/* One slot that is all of them: 32769 states of 64 KiB. */
static void states_of_more_than_2_GiB_are_refused(void **state)
{
	struct sde__slot_layout l = {
		.geometry = { .dimension = 1, .trajectories = 1, .chunk_size = 32769,
			      .inner_width = 1, .dtype = SDE_FLOAT64 },
		.order = SDE_LAYOUT_DIMENSION_TRAJECTORY,
		.state_capacity = SDE__STATE_CAPACITY_MAX, .segments = 2,
	};
	const struct sde__slot_head head = { 0, 0, SDE__STATE_CAPACITY_MAX, false };
	struct sde__side side = { .size = 0 };
	struct sde_error error = { 0 };
	unsigned char slot[SDE__SLOT_STATE_OFFSET];

	(void)state;
	assert_int_equal(sde__slot_layout_derive(&l, NULL), 0);
	l.slot_size = 0;
	sde__slot_head_write(slot, &head);
	assert_int_equal(sde__side_build(&side, &l, slot, 32769, 0, 0, run, &error), -EFBIG);
	assert_non_null(strstr(error.text, "over 2 GiB"));
	sde__side_free(&side);
}

static void a_slot_with_an_impossible_state_is_corrupt(void **state)
{
	const struct sde__slot_layout l = layout();
	const uint32_t size = CAPACITY + 1;
	unsigned char *slots = slots_of(&l);
	struct sde_error error = { 0 };
	struct sde__side side = { 0 };

	(void)state;
	memcpy(slots + 3 * l.slot_size + 16, &size, 4);
	assert_int_equal(sde__side_build(&side, &l, slots, 3, 0, 0, run, NULL), 0);
	assert_int_equal(sde__side_build(&side, &l, slots, 4, 0, 0, run, &error), SDE_E_CORRUPT);
	assert_true(*error.text);
	sde__side_free(&side);
	free(slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bytes_are_those_of_the_format),
		cmocka_unit_test(what_was_built_is_parsed),
		cmocka_unit_test(memory_is_used_again),
		cmocka_unit_test(every_flipped_bit_is_seen),
		cmocka_unit_test(impossible_sizes_are_refused),
		cmocka_unit_test(states_of_more_than_2_GiB_are_refused),
		cmocka_unit_test(a_slot_with_an_impossible_state_is_corrupt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
