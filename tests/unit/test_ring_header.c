/* SPDX-License-Identifier: MIT */
/* The ring's header page: its bytes as ring_header.h draws them, and any damage seen. */
#include "ring_header.h"

#include "crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STATIC_PART 160

static struct sde__ring_header example(void)
{
	struct sde__ring_header h = {
		.layout = { .geometry = { .dimension = 2, .trajectories = 21, .chunk_size = 16,
					  .inner_width = 8, .dtype = SDE_FLOAT32 },
			    .order = SDE_LAYOUT_TRAJECTORY_DIMENSION,
			    .state_capacity = 100, .segments = 5 },
		.device = 0x1122334455667788, .inode = 42,
	};

	assert_int_equal(sde__slot_layout_derive(&h.layout, NULL), 0);
	for (unsigned char i = 0; i < 16; i++) {
		h.run[i] = i;
		h.boot[i] = (unsigned char)(0xf0 + i);
	}
	return h;
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
	const struct sde__ring_header h = example();
	unsigned char page[SDE__RING_HEADER_SIZE];

	(void)state;
	memset(page, 0xee, sizeof(page));
	sde__ring_header_encode(&h, page);
	assert_memory_equal(page, "SDERING\n", 8);
	assert_int_equal(le(page + 8, 4), 1);
	assert_int_equal(le(page + 12, 4), sde__crc32c_table(0, page + 16, 144));
	assert_int_equal(le(page + 16, 8), 2);
	assert_int_equal(le(page + 24, 8), 21);
	assert_int_equal(le(page + 32, 8), 16);
	assert_int_equal(le(page + 40, 4), 1);
	assert_int_equal(le(page + 44, 4), 2);
	assert_int_equal(le(page + 48, 4), 5);
	assert_int_equal(le(page + 52, 4), 100);
	assert_int_equal(le(page + 56, 8), 128 + 192);	/* 124 to 128, 168 to 192 */
	assert_int_equal(le(page + 64, 8), 128);
	assert_int_equal(le(page + 72, 8), 8192);	/* 16 * 320 */
	assert_int_equal(le(page + 80, 8), 0);
	assert_memory_equal(page + 88, h.run, 16);
	assert_memory_equal(page + 104, h.boot, 16);
	assert_int_equal(le(page + 120, 8), 0x1122334455667788);
	assert_int_equal(le(page + 128, 8), 42);
	for (size_t i = 136; i < sizeof(page); i++)
		assert_int_equal(page[i], 0);
}

static void what_was_encoded_is_decoded(void **state)
{
	const struct sde__ring_header h = example();
	struct sde__ring_header back;
	unsigned char page[SDE__RING_HEADER_SIZE];
	struct sde_error error = { 0 };

	(void)state;
	sde__ring_header_encode(&h, page);
	memset(page + 512, 0xff, 512);	/* the counters are not its business */
	assert_int_equal(sde__ring_header_decode(page, &back, "h", &error), 0);
	assert_int_equal(error.code, 0);
	assert_int_equal(back.layout.geometry.dimension, 2);
	assert_int_equal(back.layout.geometry.trajectories, 21);
	assert_int_equal(back.layout.geometry.chunk_size, 16);
	assert_int_equal(back.layout.geometry.dtype, SDE_FLOAT32);
	assert_int_equal(back.layout.order, SDE_LAYOUT_TRAJECTORY_DIMENSION);
	assert_int_equal(back.layout.segments, 5);
	assert_int_equal(back.layout.state_capacity, 100);
	assert_int_equal(back.layout.slot_size, h.layout.slot_size);
	assert_int_equal(back.layout.payload_offset, h.layout.payload_offset);
	assert_int_equal(back.layout.segment_size, h.layout.segment_size);
	assert_memory_equal(back.run, h.run, 16);
	assert_memory_equal(back.boot, h.boot, 16);
	assert_int_equal(back.device, h.device);
	assert_int_equal(back.inode, h.inode);
}

static void every_flipped_bit_is_seen(void **state)
{
	const struct sde__ring_header h = example();
	unsigned char page[SDE__RING_HEADER_SIZE];
	struct sde__ring_header back;

	(void)state;
	sde__ring_header_encode(&h, page);
	for (size_t bit = 0; bit < STATIC_PART * 8; bit++) {
		struct sde_error error = { 0 };
		int ret;

		page[bit / 8] ^= (unsigned char)(1 << bit % 8);
		ret = sde__ring_header_decode(page, &back, "data/.ring/header", &error);
		if (ret != SDE_E_CORRUPT && !(ret == SDE_E_VERSION && bit / 8 >= 8 && bit / 8 < 12))
			fail_msg("bit %zu gives %d", bit, ret);
		assert_int_equal(error.code, ret);
		assert_non_null(strstr(error.text, "'data/.ring/header'"));
		page[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
}

static void a_newer_version_is_said_to_be_one(void **state)
{
	const struct sde__ring_header h = example();
	unsigned char page[SDE__RING_HEADER_SIZE];
	struct sde__ring_header back;
	struct sde_error error = { 0 };

	(void)state;
	sde__ring_header_encode(&h, page);
	page[8] = 2;
	assert_int_equal(sde__ring_header_decode(page, &back, "h", &error), SDE_E_VERSION);
}

/* Wrong numbers under a right checksum. */
static void impossible_sizes_are_refused(void **state)
{
	static const struct {
		unsigned offset, size;
		uint64_t value;
	} row[] = {
		{ 16, 8, 0 }, { 16, 8, UINT64_MAX }, { 16, 8, 3 }, { 24, 8, 0 },
		{ 24, 8, (uint64_t)1 << 61 }, { 24, 8, UINT64_MAX }, { 32, 8, 0 },
		{ 32, 8, UINT64_MAX }, { 32, 8, (uint64_t)1 << 32 }, { 40, 4, 2 },
		{ 40, 4, UINT32_MAX }, { 44, 4, 0 }, { 44, 4, 3 }, { 48, 4, 0 }, { 48, 4, 1 },
		{ 48, 4, 65 }, { 48, 4, UINT32_MAX }, { 52, 4, 65537 }, { 52, 4, UINT32_MAX },
		{ 56, 8, 0 }, { 56, 8, 64 }, { 56, 8, UINT64_MAX }, { 64, 8, 0 },
		{ 64, 8, 192 }, { 72, 8, 4096 }, { 72, 8, UINT64_MAX },
	};
	const struct sde__ring_header h = example();

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		unsigned char page[SDE__RING_HEADER_SIZE];
		struct sde__ring_header back;
		uint32_t crc;

		sde__ring_header_encode(&h, page);
		memcpy(page + row[i].offset, &row[i].value, row[i].size);
		crc = sde__crc32c_table(0, page + 16, 144);
		memcpy(page + 12, &crc, 4);
		if (sde__ring_header_decode(page, &back, "h", NULL) != SDE_E_CORRUPT)
			fail_msg("row %zu is taken", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_bytes_are_those_of_the_format),
		cmocka_unit_test(what_was_encoded_is_decoded),
		cmocka_unit_test(every_flipped_bit_is_seen),
		cmocka_unit_test(a_newer_version_is_said_to_be_one),
		cmocka_unit_test(impossible_sizes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
