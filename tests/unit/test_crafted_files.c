/* SPDX-License-Identifier: MIT */
/*
 * Files that lie with the right checksums: chunks, rings and NumPy files whose
 * numbers were chosen by somebody. As test_crafted_store.c, which has links and documents.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crc32c.h"
#include "planted.h"
#include "scratch.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SHARD PLANTED_STORE "/data/c/0/0/0"
#define HEADER PLANTED_STORE "/data/.ring/header"
#define INNER 2				/* inner chunks of a chunk */
#define INDEX (-(16 * INNER + 4))	/* where the index is, from the end */
#define RAW (8 * PLANTED_DIMENSION * PLANTED_INNER * PLANTED_CHUNK)

/* ------------------------------------------------------------------------
 * Chunks
 */

static uint64_t read_number(const char *path, long offset, size_t bytes)
{
	uint64_t value = 0;
	size_t size;
	unsigned char *all = scratch_read(path, &size);

	memcpy(&value, all + (offset < 0 ? (long)size : 0) + offset, bytes);
	free(all);
	return value;
}

static void put_crc(const char *path, long at, long from, size_t n)
{
	size_t size;
	unsigned char *all = scratch_read(path, &size);
	const unsigned char *begin = all + (from < 0 ? (long)size : 0) + from;
	const uint32_t crc = sde__crc32c(0, begin, n);

	planted_poke(path, at, &crc, 4);
	free(all);
}

/* Entry `which` of the first shard's index, and the index's checksum. */
static void set_entry(unsigned which, uint64_t offset, uint64_t size)
{
	const uint64_t entry[2] = { offset, size };

	planted_poke(SHARD, INDEX + 16 * (long)which, entry, 16);
	put_crc(SHARD, -4, INDEX, 16 * INNER);
}

/* n bytes at `at` of inner chunk 0, and its checksum. */
static void set_inner(long at, const void *bytes, size_t n)
{
	const long begin = (long)read_number(SHARD, INDEX, 8);
	const size_t size = (size_t)read_number(SHARD, INDEX + 8, 8);

	planted_poke(SHARD, begin + at, bytes, n);
	put_crc(SHARD, begin + (long)size - 4, begin, size - 4);
}

/* 4 bytes of the side table, and its checksum. */
static void set_side(long at, uint32_t value)
{
	const uint32_t size = (uint32_t)read_number(SHARD, 12, 4);

	planted_poke(SHARD, at, &value, 4);
	put_crc(SHARD, (long)size - 4, 0, size - 4);
}

/* Opening must fail somewhere, resuming may not harm. */
static void refused(const char *what)
{
	const bool tools = planted_has_tools();
	const int ret = planted_try(PLANTED_OPEN, what);

	if (ret != SDE_E_CORRUPT && ret != SDE_E_HOLE)
		fail_msg("%s: nobody noticed (%d)", what, ret);
	if (tools) {
		planted_try(PLANTED_VERIFY, what);
		planted_try(PLANTED_EXPORT, what);
	}
	planted_try(PLANTED_RESUME, what);
}

static void an_index_that_lies_is_refused(void **state)
{
	static const struct planted_store store = { .format = 3 };

	(void)state;
	for (int i = 0; i < 9; i++) {
		uint64_t size, offset[INNER], bytes[INNER];
		char what[32];

		planted_make(&store);
		size = read_number(SHARD, 12, 4);
		for (unsigned j = 0; j < INNER; j++) {
			offset[j] = read_number(SHARD, INDEX + 16 * (long)j, 8);
			bytes[j] = read_number(SHARD, INDEX + 16 * (long)j + 8, 8);
		}
		if (i == 0)		/* the second one, and a byte behind it */
			set_entry(0, offset[1], bytes[1] + 1);
		else if (i == 1)
			set_entry(0, offset[1] - 4, bytes[0]);
		else if (i == 2)	/* the side table's bytes */
			set_entry(0, 0, size);
		else if (i == 3)
			set_entry(1, offset[1], UINT64_MAX - offset[1]);
		else if (i == 4)
			set_entry(1, (uint64_t)1 << 63, bytes[1]);
		else if (i == 5)	/* index and all */
			set_entry(1, offset[1], bytes[1] + 16 * INNER + 4);
		else if (i == 6)
			set_entry(0, UINT64_MAX, UINT64_MAX);
		else if (i == 7)	/* each has all of both */
			set_entry(0, offset[0], offset[1] + bytes[1] - offset[0]);
		else
			set_entry(0, offset[0], 0);
		snprintf(what, sizeof(what), "index %d", i);
		refused(what);
	}
}

/* The second inner chunk's bytes are gone, and both entries speak of the first's. */
static void inner_chunks_that_share_bytes_are_refused(void **state)
{
	static const struct planted_store store = { .format = 3 };
	unsigned char *bytes, index[16 * INNER];
	uint64_t begin, size;
	size_t n;

	(void)state;
	planted_make(&store);
	begin = read_number(SHARD, INDEX, 8);
	size = read_number(SHARD, INDEX + 8, 8);
	bytes = scratch_read(SHARD, &n);
	memcpy(index, bytes + n + INDEX, 16);
	memcpy(index + 16, bytes + n + INDEX, 16);
	memcpy(bytes + begin + size, index, sizeof(index));
	planted_write(SHARD, bytes, (size_t)(begin + size) + sizeof(index) + 4);
	free(bytes);
	put_crc(SHARD, -4, INDEX, 16 * INNER);
	refused("shared bytes");
}

static void a_frame_that_lies_is_refused(void **state)
{
	static const struct planted_store store = { .format = 3 };
	static const uint32_t lies[] = { 0, 1, RAW - 1, RAW + 1, INT32_MAX, UINT32_MAX, 1u << 31 };
	/* of a Blosc frame: nbytes, blocksize, cbytes, the first block's start */
	static const long places[] = { 4, 8, 12, 16 };

	(void)state;
	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
			char what[32];

			/* the block's start 0 or 1 points into the header; others
			 * beyond the frame. A blocksize that is the truth is none */
			planted_make(&store);
			set_inner(places[p], &lies[i], 4);
			snprintf(what, sizeof(what), "blosc %ld: %" PRIu32, places[p], lies[i]);
			refused(what);
		}
}

static void a_bare_block_that_lies_is_refused(void **state)
{
	static const struct planted_store store = { .codec = SDE_CODEC_LZ4 };
	static const uint32_t lies[] = { 0, RAW - 1, RAW + 1, INT32_MAX, UINT32_MAX };
	static const unsigned char endless[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		planted_make(&store);
		set_inner(0, &lies[i], 4);
		refused("lz4 size");
	}
	/* a literal run that goes on and on, and a match before the begin */
	planted_make(&store);
	set_inner(4, endless, sizeof(endless));
	refused("lz4 run");
	planted_make(&store);
	set_inner(4, "\x0f\xff\xff\x00", 4);
	refused("lz4 match");
}

static void a_side_table_that_lies_is_refused(void **state)
{
	static const struct planted_store store = { .format = 3 };
	static const uint32_t lies[] = { 0, 1, 3, 5, 1u << 16, INT32_MAX, 1u << 31, UINT32_MAX };
	/* size, count, bytes of states; the first snapshot's state size */
	const long places[] = { 12, 48, 52, 64 + 16 * PLANTED_CHUNK };

	(void)state;
	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (size_t i = p == 3 ? 1 : 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
			char what[32];

			planted_make(&store);
			if (read_number(SHARD, places[p], 4) == lies[i])
				continue;
			set_side(places[p], lies[i]);
			snprintf(what, sizeof(what), "side %ld: %" PRIu32, places[p], lies[i]);
			refused(what);
		}
}

/* ------------------------------------------------------------------------
 * The ring
 */

static void set_header(long at, const void *bytes, size_t n)
{
	planted_poke(HEADER, at, bytes, n);
	put_crc(HEADER, 12, 16, 144);
}

static void a_ring_whose_counters_lie_is_refused(void **state)
{
	static const struct planted_store store = { .crashed = true };
	static const long counters[] = { 512, 576, 640, 704, 832 };
	static const uint64_t lies[] = {
		UINT64_MAX, UINT64_MAX - 1, UINT64_MAX - 3, (uint64_t)1 << 63, INT64_MAX,
		INT64_MAX - 3, (uint64_t)1 << 40,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		for (size_t c = 0; c < sizeof(counters) / sizeof(counters[0]); c++) {
			planted_make(&store);
			planted_poke(HEADER, counters[c], &lies[i], 8);
			planted_try(PLANTED_OPEN, "one counter");
			planted_try(PLANTED_RESUME, "one counter");
		}
		/* all in order, and all far beyond any file */
		planted_make(&store);
		for (size_t c = 0; c < sizeof(counters) / sizeof(counters[0]); c++)
			planted_poke(HEADER, counters[c],
				     &(uint64_t){ c < 3 ? lies[i] : lies[i] / 4 * 4 }, 8);
		refused("all counters");
	}
}

static void a_ring_of_another_geometry_is_not_believed(void **state)
{
	static const struct planted_store store = { .crashed = true };
	static const uint64_t lies[] = { 0, 1, 3, 1u << 20, INT32_MAX, (uint64_t)1 << 40, UINT64_MAX };
	/* d_X, N, T, slot size, payload offset, segment size */
	static const long places[] = { 16, 24, 32, 56, 64, 72 };

	(void)state;
	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
			planted_make(&store);
			set_header(places[p], &lies[i], 8);
			planted_try(PLANTED_OPEN, "geometry");
			planted_try(PLANTED_RESUME, "geometry");
		}
	for (uint32_t segments = 0; segments < 4; segments++) {
		static const uint32_t count[] = { 0, 1, 64, UINT32_MAX };

		planted_make(&store);
		set_header(48, &count[segments], 4);
		assert_int_equal(planted_try(PLANTED_OPEN, "segments"), SDE_E_CORRUPT);
	}
	/* a segment of 2^40 bytes that takes no disk: the header says as much */
	planted_make(&store);
	if (!truncate(PLANTED_STORE "/data/.ring/segment.0", (off_t)1 << 40)) {
		assert_int_equal(planted_try(PLANTED_OPEN, "a hole"), SDE_E_CORRUPT);
		assert_int_equal(planted_try(PLANTED_RESUME, "a hole"), SDE_E_CORRUPT);
	}
}

/* The state of a slot in the ring may not be larger than its room. */
static void a_slot_that_lies_is_refused(void **state)
{
	static const struct planted_store store = { .crashed = true };
	static const uint32_t lies[] = { 9, 65536, INT32_MAX, UINT32_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		planted_make(&store);
		/* snapshots 8 to 10 are in segment 0 */
		for (long k = 0; k < 3; k++)
			planted_poke(PLANTED_STORE "/data/.ring/segment.0",
				     k * (long)read_number(HEADER, 56, 8) + 16, &lies[i], 4);
		assert_int_equal(planted_try(PLANTED_OPEN, "slot"), SDE_E_CORRUPT);
		assert_int_equal(planted_try(PLANTED_RESUME, "slot"), SDE_E_CORRUPT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(an_index_that_lies_is_refused),
		SCRATCH_TEST(inner_chunks_that_share_bytes_are_refused),
		SCRATCH_TEST(a_frame_that_lies_is_refused),
		SCRATCH_TEST(a_bare_block_that_lies_is_refused),
		SCRATCH_TEST(a_side_table_that_lies_is_refused),
		SCRATCH_TEST(a_ring_whose_counters_lie_is_refused),
		SCRATCH_TEST(a_ring_of_another_geometry_is_not_believed),
		SCRATCH_TEST(a_slot_that_lies_is_refused),
	};

	const int failed = cmocka_run_group_tests(tests, NULL, NULL);

	printf("# %u times something was done to a crafted store\n", planted_tries());
	return failed;
}
