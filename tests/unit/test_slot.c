/* SPDX-License-Identifier: MIT */
/* A slot's place and bytes, against the numbers in slot.h worked out by hand. */
#include "slot.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sde__slot_layout layout(uint64_t d, uint64_t n, uint64_t t, enum sde_dtype dtype,
				      unsigned capacity, unsigned segments)
{
	return (struct sde__slot_layout){
		.geometry = { .dimension = d, .trajectories = n, .chunk_size = t,
			      .inner_width = 1, .dtype = dtype },
		.order = SDE_LAYOUT_DIMENSION_TRAJECTORY,
		.state_capacity = capacity,
		.segments = segments,
	};
}

static void sizes_are_those_of_the_format(void **state)
{
	static const struct {
		uint64_t d, n, t;
		enum sde_dtype dtype;
		unsigned capacity;
		size_t offset, slot, segment;
	} row[] = {
		{ 1, 1, 1, SDE_FLOAT32, 0, 64, 128, 4096 },
		{ 2, 21, 16, SDE_FLOAT64, 40, 64, 448, 8192 },
		{ 2, 21, 16, SDE_FLOAT64, 41, 128, 512, 8192 },
		{ 1, 8, 32, SDE_FLOAT64, 0, 64, 128, 4096 },
		{ 1, 9, 33, SDE_FLOAT64, 0, 64, 192, 8192 },
		{ 1, 17, 1, SDE_FLOAT32, 65536, 65600, 65728, 69632 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct sde__slot_layout l = layout(row[i].d, row[i].n, row[i].t, row[i].dtype,
						   row[i].capacity, 3);

		assert_int_equal(sde__slot_layout_derive(&l, NULL), 0);
		assert_int_equal(l.payload_offset, row[i].offset);
		assert_int_equal(l.slot_size, row[i].slot);
		assert_int_equal(l.segment_size, row[i].segment);
	}
}

static void strides_follow_the_callers_layout(void **state)
{
	struct sde__slot_layout l = layout(3, 10, 4, SDE_FLOAT32, 0, 2);

	(void)state;
	assert_int_equal(sde__slot_layout_derive(&l, NULL), 0);
	assert_int_equal(l.dimension_stride, 40);
	assert_int_equal(l.trajectory_stride, 4);
	l.order = SDE_LAYOUT_TRAJECTORY_DIMENSION;
	assert_int_equal(sde__slot_layout_derive(&l, NULL), 0);
	assert_int_equal(l.dimension_stride, 4);
	assert_int_equal(l.trajectory_stride, 12);
}

static void impossible_rings_are_refused(void **state)
{
	struct sde__slot_layout bad[] = {
		layout(1, 1, 1, SDE_FLOAT64, 65537, 3),
		layout(1, 1, 1, SDE_FLOAT64, UINT32_MAX, 3),
		layout(1, 1, 1, SDE_FLOAT64, 0, 0),
		layout(1, 1, 1, SDE_FLOAT64, 0, 1),
		layout(1, 1, 1, SDE_FLOAT64, 0, 65),
		layout(1, (uint64_t)1 << 59, 2, SDE_FLOAT64, 0, 2),
		layout(1, (uint64_t)1 << 40, (uint64_t)1 << 30, SDE_FLOAT64, 0, 2),
		layout((uint64_t)1 << 30, (uint64_t)1 << 30, 1, SDE_FLOAT64, 65536, 2),
		/* what overflows: a payload of 2^64 - 8 bytes, rounded up; one of 2^64 - 64, and
		 * the head; 192 T, rounded up to a page; 2^63 bytes, twice; 2^62, twice */
		layout(1, ((uint64_t)1 << 61) - 1, 1, SDE_FLOAT64, 0, 2),
		layout(1, ((uint64_t)1 << 61) - 8, 1, SDE_FLOAT64, 0, 2),
		layout(1, 16, UINT64_MAX / 192, SDE_FLOAT64, 0, 2),
		layout(1, 8, (uint64_t)1 << 56, SDE_FLOAT64, 0, 2),
		layout(1, 8, (uint64_t)1 << 55, SDE_FLOAT64, 0, 2),
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct sde_error error = { 0 };

		assert_int_equal(sde__slot_layout_derive(&bad[i], &error), -EINVAL);
		assert_int_equal(error.code, -EINVAL);
		assert_true(strlen(error.text) > 10);
	}
}

static void a_head_is_written_as_the_format_says(void **state)
{
	/* 1.5, -2, 7, 1, and what is behind is left alone */
	static const unsigned char expected[32] = {
		0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		7, 0, 0, 0, 1, 0, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
	};
	const struct sde__slot_head head = { 1.5, -2, 7, true };
	struct sde__slot_layout l = layout(1, 1, 1, SDE_FLOAT64, 7, 2);
	struct sde__slot_head back;
	unsigned char slot[32];

	(void)state;
	memset(slot, 0xaa, sizeof(slot));
	sde__slot_head_write(slot, &head);
	assert_memory_equal(slot, expected, sizeof(slot));
	assert_int_equal(sde__slot_head_read(slot, &l, &back), 0);
	assert_true(back.time == 1.5);
	assert_int_equal(back.iteration, -2);
	assert_int_equal(back.state_size, 7);
	assert_true(back.rounded);
	l.state_capacity = 6;
	assert_int_equal(sde__slot_head_read(slot, &l, &back), SDE_E_CORRUPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_are_those_of_the_format),
		cmocka_unit_test(strides_follow_the_callers_layout),
		cmocka_unit_test(impossible_rings_are_refused),
		cmocka_unit_test(a_head_is_written_as_the_format_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
