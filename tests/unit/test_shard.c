/* SPDX-License-Identifier: MIT */
/*
 * One chunk's file, written and read back. The oracle is a parser of its own
 * that knows the Zarr sharding index (at the end: offset and size as uint64,
 * CRC-32C) and calls libblosc and liblz4 itself.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crc32c.h"
#include "fault_io.h"
#include "scratch.h"
#include "shard.h"
#include "shard_reader.h"

#include <blosc.h>
#include <errno.h>
#include <lz4.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define D 2
#define N 21
#define WIDTH 8
#define INNER 3		/* 24 / 8 */
#define T 4
#define K 6		/* the chunk's index */
#define RAW ((size_t)D * WIDTH * T * 8)

static struct fault_io fault;
static struct sde__home home;

/* A store whose chunks lie in the scratch directory. */
static const struct sde__home *home_here(void)
{
	static char path[] = "run.zarr";

	sde__home_init(&home, &fault.io);
	home.path = path;
	home.shards = scratch_directory();
	return &home;
}
static const unsigned char run[16] = "the run's number", other[16] = "another's number";

static const struct sde__codec codecs[] = {
	{ SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 8, true, 0 },
	{ SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 8, false, 0 },
	{ SDE_CODEC_LZ4, 8, true, 0 }, { SDE_CODEC_LZ4, 8, false, 0 },
	{ SDE_CODEC_NONE, 8, true, 0 }, { SDE_CODEC_NONE, 8, false, 0 },
};
#define CODECS (sizeof(codecs) / sizeof(codecs[0]))

static struct sde__slot_layout layout(void)
{
	struct sde__slot_layout l = {
		.geometry = { .dimension = D, .trajectories = N, .chunk_size = T,
			      .inner_width = WIDTH, .dtype = SDE_FLOAT64 },
		.order = SDE_LAYOUT_DIMENSION_TRAJECTORY, .state_capacity = 10, .segments = 2,
	};

	assert_int_equal(sde__slot_layout_derive(&l, NULL), 0);
	return l;
}

static double value(uint64_t d, uint64_t n, uint64_t t)
{
	return (double)(d * 1000 + n * 10 + t) + 0.125;
}

static unsigned char *make_slots(const struct sde__slot_layout *l)
{
	unsigned char *slots = calloc(T, l->slot_size);

	assert_non_null(slots);
	for (uint64_t t = 0; t < T; t++) {
		const struct sde__slot_head head = { (double)t, (int64_t)(K * T + t), 3, false };
		unsigned char *slot = slots + t * l->slot_size;

		sde__slot_head_write(slot, &head);
		memset(slot + 24, (int)(t + 1), 3);
		for (uint64_t d = 0; d < D; d++)
			for (uint64_t n = 0; n < N; n++) {
				const double x = value(d, n, t);

				memcpy(slot + l->payload_offset + (d * N + n) * 8, &x, 8);
			}
	}
	return slots;
}

/* Write chunk K with `count` snapshots; returns what write returned. */
static int write_shard(const struct sde__codec *codec, uint64_t count, bool durable,
		       struct sde_error *error)
{
	const struct sde__slot_layout l = layout();
	unsigned char *slots = make_slots(&l), *raw = malloc(RAW);
	struct sde__shard shard;
	uint64_t size = 0;
	struct stat st;
	int ret;

	assert_int_equal(sde__shard_init(&shard, home_here(), &l, codec, NULL), 0);
	assert_int_equal(shard.inner_count, INNER);
	sde__shard_begin(&shard, K, count, slots);
	for (uint64_t i = 0; i < INNER; i++)
		assert_int_equal(sde__shard_encode(&shard, INNER - 1 - i, raw, NULL), 0);
	ret = sde__shard_write(&shard, &(struct sde__stamp){ 5, run }, durable, &size, error);
	if (!ret) {
		assert_int_equal(stat("6", &st), 0);
		assert_int_equal(st.st_size, size);
	}
	sde__shard_free(&shard);
	free(raw);
	free(slots);
	return ret;
}

static uint64_t le(const unsigned char *p, unsigned n)
{
	uint64_t x = 0;

	while (n--)
		x = x << 8 | p[n];
	return x;
}

static void assert_values(const unsigned char *raw, uint64_t inner, uint64_t count)
{
	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < WIDTH; n++)
			for (uint64_t t = 0; t < T; t++) {
				const unsigned char *p = raw + ((d * WIDTH + n) * T + t) * 8;
				const uint64_t column = inner * WIDTH + n;
				double x;

				memcpy(&x, p, 8);
				if (column < N && t < count)
					assert_true(x == value(d, column, t));
				else
					assert_true(le(p, 8) == UINT64_C(0x7ff8000000000000));
			}
}

/* One inner chunk as any reader of the Zarr metadata would decode it. */
static void decode(const struct sde__codec *codec, const unsigned char *bytes, size_t size,
		   unsigned char *raw)
{
	if (codec->checksum) {
		size -= 4;
		assert_int_equal(le(bytes + size, 4), sde__crc32c_table(0, bytes, size));
	}
	if (codec->id == SDE_CODEC_BLOSC_LZ4_BITSHUFFLE) {
		assert_int_equal(blosc_decompress_ctx(bytes, raw, RAW, 1), RAW);
	} else if (codec->id == SDE_CODEC_LZ4) {
		assert_int_equal(le(bytes, 4), RAW);
		assert_int_equal(LZ4_decompress_safe((const char *)bytes + 4, (char *)raw,
						     (int)size - 4, (int)RAW), RAW);
	} else {
		assert_int_equal(size, RAW);
		memcpy(raw, bytes, RAW);
	}
}

static void any_zarr_reader_finds_its_inner_chunks(void **state)
{
	(void)state;
	fault_io_init(&fault);
	for (size_t c = 0; c < CODECS; c++)
		for (uint64_t count = 1; count <= T; count++) {
			unsigned char *bytes, *index, raw[RAW];
			uint64_t end;
			size_t size;

			assert_int_equal(write_shard(&codecs[c], count, true, NULL), 0);
			bytes = scratch_read("6", &size);
			index = bytes + size - (16 * INNER + 4);
			assert_int_equal(le(index + 16 * INNER, 4),
					 sde__crc32c_table(0, index, 16 * INNER));
			end = le(bytes + 12, 4);	/* of the side table */
			for (unsigned i = 0; i < INNER; i++) {
				const uint64_t at = le(index + 16 * i, 8);
				const uint64_t n = le(index + 16 * i + 8, 8);

				assert_int_equal(at % 64, 0);
				assert_true(at >= end && at - end < 64);
				for (uint64_t gap = end; gap < at; gap++)
					assert_int_equal(bytes[gap], 0);
				end = at + n;
				assert_true(end <= size - (16 * INNER + 4));
				decode(&codecs[c], bytes + at, n, raw);
				assert_values(raw, i, count);
			}
			free(bytes);
		}
	assert_int_equal(scratch_entries("."), 1);
	assert_int_equal(fault.handles, 0);
}

static int open_shard(struct sde__shard_reader *reader, const struct sde__codec *codec,
		      uint64_t index, struct sde_error *error)
{
	const struct sde__slot_layout l = layout();

	sde__shard_reader_init(reader, home_here(), &l.geometry, codec);
	return sde__shard_reader_open(reader, index, run, error);
}

/* Everything there is to read of chunk K; the first code that is not 0. */
static int read_shard(const struct sde__codec *codec, uint64_t count, struct sde_error *error)
{
	struct sde__shard_reader reader;
	unsigned char raw[RAW];
	int ret, side;

	ret = open_shard(&reader, codec, K, error);
	if (!ret)
		ret = sde__shard_reader_index(&reader, error);
	for (uint64_t i = 0; i < INNER && !ret; i++) {
		ret = sde__shard_reader_inner(&reader, i, raw, error);
		if (!ret && count)
			assert_values(raw, i, count);
	}
	if (!ret) {
		side = sde__shard_reader_side(&reader, error);
		for (uint32_t t = 0; !side && t < reader.side.count; t++) {
			assert_true(reader.side.time[t] == t);
			assert_int_equal(reader.side.iteration[t], K * T + t);
			assert_int_equal(reader.side.state_size[t], 3);
			assert_int_equal(sde__side_state(&reader.side, t)[2], t + 1);
		}
		if (!side && count)
			assert_int_equal(reader.side.count, count);
		ret = side;
	}
	sde__shard_reader_free(&reader);
	assert_int_equal(fault.handles, 0);
	return ret;
}

static void what_was_written_is_read(void **state)
{
	(void)state;
	fault_io_init(&fault);
	fault.most = 100;
	for (size_t c = 0; c < CODECS; c++)
		for (uint64_t count = 1; count <= T; count++) {
			assert_int_equal(write_shard(&codecs[c], count, false, NULL), 0);
			assert_int_equal(read_shard(&codecs[c], count, NULL), 0);
		}
}

static void a_grown_chunk_replaces_the_shorter_one_under_its_reader(void **state)
{
	struct sde__shard_reader reader;
	unsigned char raw[RAW];

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(write_shard(&codecs[0], 2, true, NULL), 0);
	assert_int_equal(open_shard(&reader, &codecs[0], K, NULL), 0);
	assert_int_equal(reader.side.epoch, 5);
	assert_int_equal(write_shard(&codecs[0], T, true, NULL), 0);
	assert_int_equal(sde__shard_reader_index(&reader, NULL), 0);
	for (uint64_t i = 0; i < INNER; i++) {
		assert_int_equal(sde__shard_reader_inner(&reader, i, raw, NULL), 0);
		assert_values(raw, i, 2);
	}
	assert_int_equal(sde__shard_reader_open(&reader, K, run, NULL), 0);
	assert_int_equal(reader.side.count, T);
	sde__shard_reader_free(&reader);
	assert_int_equal(fault.handles, 0);
}

static void a_shard_is_sealed_file_first_then_directory(void **state)
{
	int sync, rename;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(write_shard(&codecs[0], T, true, NULL), 0);
	sync = fault_io_find(&fault, 0, "sync", "6.tmp");
	rename = fault_io_find(&fault, 0, "rename_at", "6.tmp");
	assert_true(sync >= 0 && sync < rename);
	assert_true(fault_io_find(&fault, rename, "sync", NULL) > rename);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(write_shard(&codecs[0], T, false, NULL), 0);
	assert_int_equal(fault_io_count(&fault, "sync", NULL), 0);
}

/* Ranges whose writing was begun: they follow on each other. */
static struct {
	unsigned count;
	uint64_t end;
} begun;

static void note_begun(void *ctx, int fd, uint64_t offset, uint64_t n)
{
	(void)ctx, (void)fd;
	assert_true(!begun.count || offset == begun.end);
	begun.count++;
	begun.end = offset + n;
}

static void assert_files_of_format_2(const struct sde__codec *codec, uint64_t count)
{
	static const char *const names[INNER] = { "0.0.6", "0.1.6", "0.2.6" };

	for (uint64_t i = 0; i < INNER; i++) {
		unsigned char raw[RAW], *bytes;
		size_t size;

		bytes = scratch_read(names[i], &size);
		decode(codec, bytes, size, raw);
		assert_values(raw, i, count);
		free(bytes);
	}
	assert_int_equal(scratch_entries("."), INNER + 1);	/* and the side table */
}

/* Its inner chunks are put as they are encoded, unless another file is replaced. */
static void put_in_parts(unsigned format, bool durable, bool replaces)
{
	const struct sde__stamp stamp = { 5, run };
	const struct sde__slot_layout l = layout();
	unsigned char *slots = make_slots(&l), *raw = malloc(RAW);
	struct sde__shard shard;
	uint64_t size;

	memset(&begun, 0, sizeof(begun));
	home_here();
	home.format = format;
	home.side = home.shards;
	assert_int_equal(sde__shard_init(&shard, &home, &l, &codecs[3], NULL), 0);
	sde__shard_begin(&shard, K, 3, slots);
	for (uint64_t i = 0; i < INNER; i++) {
		assert_int_equal(sde__shard_encode(&shard, i, raw, NULL), 0);
		assert_int_equal(sde__shard_put(&shard, i + 1, &stamp, durable, NULL), 0);
		assert_int_equal(shard.put, replaces && i + 1 < INNER ? 0 : i + 1);
		assert_int_equal(scratch_exists("6"), replaces);
		assert_int_equal(scratch_exists("6.tmp"), format == 3 && shard.put);
	}
	if (fault.io.begin_sync)
		assert_int_equal(begun.count, format == 2 || !durable ? 0 : replaces ? 1 : INNER);
	assert_int_equal(sde__shard_end(&shard, durable, NULL), 0);
	assert_int_equal(sde__shard_enter(&shard, durable, &size, NULL), 0);
	sde__shard_free(&shard);
	free(raw);
	free(slots);
	if (format == 2)
		assert_files_of_format_2(&codecs[3], 3);
	else
		assert_int_equal(read_shard(&codecs[3], 3, NULL), 0);
	assert_int_equal(fault.handles, 0);
}

static void a_chunk_is_put_in_parts_unless_it_replaces_another(void **state)
{
	(void)state;
	for (int told = 0; told < 2; told++)
		for (int durable = 0; durable < 2; durable++) {
			fault_io_init(&fault);
			fault.io.begin_sync = told ? note_begun : NULL;
			put_in_parts(3, durable, false);
			memset(&begun, 0, sizeof(begun));
			assert_int_equal(write_shard(&codecs[3], 2, durable, NULL), 0);
			put_in_parts(3, durable, true);
			assert_int_equal(unlink("6"), 0);
			put_in_parts(2, durable, false);
			assert_int_equal(system("rm 6 0.*"), 0);
		}
}

/* What is passed on inner chunk by inner chunk is the very file that a write makes. */
static void pass(const struct sde__codec *codec, unsigned format, bool replaces)
{
	const struct sde__stamp stamp = { 5, run };
	const struct sde__slot_layout l = layout();
	const bool in_parts = format == 3 && !replaces;
	unsigned char *slots = make_slots(&l), *raw = malloc(sde__shard_raw_bytes(&l, codec));
	struct sde__shard shard;
	uint64_t size;

	home_here();
	home.format = format;
	home.side = home.shards;
	assert_int_equal(sde__shard_init(&shard, &home, &l, codec, NULL), 0);
	sde__shard_begin(&shard, K, 3, slots);
	for (uint64_t i = 0; i < INNER; i++) {
		if (shard.put < i)
			assert_int_equal(sde__shard_encode(&shard, i, raw, NULL), 0);
		else
			assert_int_equal(sde__shard_pass(&shard, raw, &stamp, true, NULL), 0);
		/* what is made again knows that it replaces a file */
		if (replaces && !i)
			assert_int_equal(sde__shard_pass(&shard, raw, &stamp, true, NULL), 0);
		assert_int_equal(shard.put, in_parts ? i + 1 : 0);
		assert_int_equal(scratch_exists("6.tmp"), in_parts);
	}
	assert_int_equal(sde__shard_put(&shard, INNER, &stamp, true, NULL), 0);
	assert_int_equal(sde__shard_end(&shard, true, NULL), 0);
	assert_int_equal(sde__shard_enter(&shard, true, &size, NULL), 0);
	sde__shard_free(&shard);
	free(raw);
	free(slots);
	assert_int_equal(fault.handles, 0);
}

static void a_chunk_that_is_passed_on_is_as_one_that_is_written(void **state)
{
	unsigned char *passed, *written;
	size_t size, other_size;

	(void)state;
	fault_io_init(&fault);
	for (size_t c = 0; c < CODECS; c++) {
		for (int replaces = 0; replaces < 2; replaces++) {
			if (replaces)
				assert_int_equal(write_shard(&codecs[c], 2, false, NULL), 0);
			pass(&codecs[c], 3, replaces);
			passed = scratch_read("6", &size);
			assert_int_equal(unlink("6"), 0);
			if (replaces)
				assert_int_equal(write_shard(&codecs[c], 2, false, NULL), 0);
			assert_int_equal(write_shard(&codecs[c], 3, false, NULL), 0);
			written = scratch_read("6", &other_size);
			assert_int_equal(size, other_size);
			assert_memory_equal(passed, written, size);
			assert_int_equal(unlink("6"), 0);
			free(passed);
			free(written);
		}
		pass(&codecs[c], 2, false);
		assert_files_of_format_2(&codecs[c], 3);
		assert_int_equal(system("rm 6 0.*"), 0);
	}
}

/* One call after the other fails: then there is no temporary, and the file is as before. */
static void a_pass_that_fails_leaves_nothing(void **state)
{
	const struct sde__stamp stamp = { 5, run };
	const struct sde__slot_layout l = layout();
	unsigned char *slots = make_slots(&l), *raw = malloc(sde__shard_raw_bytes(&l, &codecs[4]));
	struct sde_error error = { 0 };
	struct sde__shard shard;
	unsigned failures = 0;
	int ret = -1;

	(void)state;
	for (unsigned n = 1; ret; n++) {
		fault_io_init(&fault);
		assert_int_equal(sde__shard_init(&shard, home_here(), &l, &codecs[4], NULL), 0);
		sde__shard_begin(&shard, K, T, slots);
		fault_io_arm(&fault, n, EIO, false);
		ret = 0;
		for (uint64_t i = 0; i < INNER && !ret; i++)
			ret = sde__shard_pass(&shard, raw, &stamp, true, &error);
		failures += ret != 0;
		if (ret) {
			assert_int_equal(ret, -EIO);
			assert_non_null(strstr(error.text, "data/c/0/"));
			assert_int_equal(shard.put, 0);
		}
		sde__error_clear(&error);
		fault_io_arm(&fault, 0, 0, false);
		sde__shard_free(&shard);
		assert_int_equal(fault.handles, 0);
		assert_false(scratch_exists("6.tmp"));
		assert_false(scratch_exists("6"));
	}
	/* the look for an old file, the temporary, the side table, three inner chunks */
	assert_in_range(failures, 6, 8);
	free(raw);
	free(slots);
}

/* So does one that cannot be encoded, or whose slots make no side table. */
static void nor_does_one_that_cannot_be_made(void **state)
{
	const struct sde__stamp stamp = { 5, run };
	const struct sde__slot_layout l = layout();
	const struct sde__slot_head impossible = { 0, 0, 11, false };
	unsigned char *slots = make_slots(&l), *raw = malloc(sde__shard_raw_bytes(&l, &codecs[4]));
	struct sde_error error = { 0 };
	struct sde__shard shard;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(sde__shard_init(&shard, home_here(), &l, &codecs[4], NULL), 0);
	sde__shard_begin(&shard, K, T, slots);
	assert_int_equal(sde__shard_pass(&shard, raw, &stamp, true, NULL), 0);
	shard.codec.id = 99;
	assert_int_equal(sde__shard_pass(&shard, raw, &stamp, true, &error), SDE_E_CODEC);
	assert_string_equal(error.text, "cannot compress inner chunk 1 of chunk 6: the compressor failed");
	assert_int_equal(shard.put, 0);
	assert_false(scratch_exists("6.tmp"));
	shard.codec.id = SDE_CODEC_NONE;
	sde__slot_head_write(slots, &impossible);
	sde__error_clear(&error);
	assert_int_equal(sde__shard_pass(&shard, raw, &stamp, true, &error), SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "impossible state size"));
	assert_int_equal(fault.handles, 0);
	sde__shard_free(&shard);
	free(raw);
	free(slots);
}

/* Large ones are told to the system a megabyte at a time, if they are to be durable. */
static void what_is_passed_on_is_begun_to_be_written(void **state)
{
	const struct sde__stamp stamp = { 5, run };
	struct sde__slot_layout l = layout();
	unsigned char *slots, *raw;
	struct sde__shard shard;

	(void)state;
	l.geometry.chunk_size = 4096;
	assert_int_equal(sde__slot_layout_derive(&l, NULL), 0);
	slots = calloc(4096, l.slot_size);
	raw = malloc(sde__shard_raw_bytes(&l, &codecs[4]));
	assert_true(slots && raw);
	for (int told = 0; told < 2; told++)
		for (int durable = 0; durable < 2; durable++) {
			memset(&begun, 0, sizeof(begun));
			fault_io_init(&fault);
			fault.io.begin_sync = told ? note_begun : NULL;
			assert_int_equal(sde__shard_init(&shard, home_here(), &l, &codecs[4], NULL), 0);
			sde__shard_begin(&shard, K, 4096, slots);
			for (uint64_t i = 0; i < INNER; i++)
				assert_int_equal(sde__shard_pass(&shard, raw, &stamp, durable, NULL), 0);
			/* half a megabyte each: after the second */
			assert_int_equal(begun.count, told && durable);
			sde__shard_free(&shard);
			assert_false(scratch_exists("6.tmp"));
		}
	free(slots);
	free(raw);
}

/*
 * A reader that opens a shard twice, as zarr-python does: the index from the one that
 * save has replaced meanwhile, the inner chunks from the new. Without a codec all inner
 * chunks are of one size, so that each one's checksum is right at any one's place; and
 * the state of the snapshot that came makes the side table longer by anything, by just
 * one inner chunk, too.
 */
#define STATE_LARGEST 2048

/* Chunk K with `count` snapshots, the last of them with a state of `state` bytes. */
static void write_with_state(const struct sde__codec *codec, uint64_t count, uint32_t state)
{
	struct sde__slot_layout l = layout(), own;
	unsigned char *slots, *wide, *raw = malloc(RAW);
	struct sde__shard shard;
	uint64_t size;

	own = l;
	own.state_capacity = STATE_LARGEST;
	assert_int_equal(sde__slot_layout_derive(&own, NULL), 0);
	slots = make_slots(&l);
	wide = calloc(T, own.slot_size);
	assert_non_null(wide);
	for (uint64_t t = 0; t < T; t++) {
		const struct sde__slot_head head = { (double)t, (int64_t)(K * T + t),
						     t + 1 == count ? state : 0, false };

		sde__slot_head_write(wide + t * own.slot_size, &head);
		memcpy(wide + t * own.slot_size + own.payload_offset,
		       slots + t * l.slot_size + l.payload_offset, l.slot_size - l.payload_offset);
	}
	assert_int_equal(sde__shard_init(&shard, home_here(), &own, codec, NULL), 0);
	sde__shard_begin(&shard, K, count, wide);
	for (uint64_t i = 0; i < INNER; i++)
		assert_int_equal(sde__shard_encode(&shard, i, raw, NULL), 0);
	assert_int_equal(sde__shard_write(&shard, &(struct sde__stamp){ 5, run }, false, &size, NULL), 0);
	sde__shard_free(&shard);
	free(wide);
	free(slots);
	free(raw);
}

/* What zarr-python gets of inner chunk i at `at`, `n` bytes: false if it raises. */
static bool is_taken(const struct sde__codec *codec, const unsigned char *file, size_t size,
		     uint64_t at, uint64_t n, unsigned char *raw)
{
	/* what is cut off there would be the fill value, and nobody would be told */
	if (at + n > size)
		fail_msg("the old index leads behind the end");
	if (le(file + at + n - 4, 4) != sde__crc32c_table(0, file + at, n - 4))
		return false;
	decode(codec, file + at, n, raw);
	return true;
}

static void an_index_read_before_save_never_finds_other_numbers(void **state)
{
	static const size_t which[2] = { 0, 4 };	/* with checksums: blosc, none */
	const uint64_t part = (RAW + 4 + 63) / 64 * 64;
	unsigned whole = 0, refused = 0, traps = 0;

	(void)state;
	fault_io_init(&fault);
	for (unsigned c = 0; c < 2; c++)
		for (uint32_t more = 0; more <= STATE_LARGEST; more += 4) {
			const struct sde__codec *codec = &codecs[which[c]];
			unsigned char *old, *new, *index, raw[RAW];
			size_t old_size, new_size;

			write_with_state(codec, 2, 0);
			old = scratch_read("6", &old_size);
			write_with_state(codec, 3, more);
			new = scratch_read("6", &new_size);
			index = old + old_size - (16 * INNER + 4);
			for (uint64_t i = 0; i < INNER; i++) {
				if (!is_taken(codec, new, new_size, le(index + 16 * i, 8),
					      le(index + 16 * i + 8, 8), raw)) {
					refused++;
					continue;
				}
				assert_values(raw, i, 3);
				whole++;
			}
			/* by arithmetic: without a gap it would have been another's place */
			traps += codec->id == SDE_CODEC_NONE &&
				 (sde__side_size(3, more) + 63) / 64 * 64 ==
				 (sde__side_size(2, 0) + 63) / 64 * 64 + part;
			free(old);
			free(new);
			assert_int_equal(unlink("6"), 0);
		}
	assert_true(whole > 0 && refused > 0 && traps > 0);
	assert_int_equal(fault.handles, 0);
}

static void any_failing_call_of_write_leaves_the_shorter_chunk_or_the_new(void **state)
{
	(void)state;
	fault_io_init(&fault);
	assert_int_equal(write_shard(&codecs[0], 2, true, NULL), 0);
	for (unsigned long n = 1; ; n++) {
		struct sde_error error = { 0 };
		int renamed;

		fault_io_arm(&fault, n, ENOSPC, false);
		if (!write_shard(&codecs[0], 3, true, &error))
			break;
		assert_int_equal(error.code, -ENOSPC);
		assert_non_null(strstr(error.text, "data/c/0/0"));
		assert_int_equal(scratch_entries("."), 1);
		assert_int_equal(fault.handles, 0);
		renamed = strcmp(fault.event[fault.events - 1].call, "sync") == 0 &&
			  fault_io_find(&fault, 0, "rename_at", NULL) >= 0;
		fault_io_arm(&fault, 0, 0, false);
		assert_int_equal(read_shard(&codecs[0], renamed ? 3 : 2, NULL), 0);
		assert_int_equal(write_shard(&codecs[0], 2, true, NULL), 0);
	}
	assert_false(fault.fired);
}

static void any_failing_call_of_reading_is_returned(void **state)
{
	(void)state;
	fault_io_init(&fault);
	assert_int_equal(write_shard(&codecs[0], 2, true, NULL), 0);
	for (unsigned long n = 1; n <= 3 + 1 + INNER + 1; n++) {
		struct sde_error error = { 0 };

		fault_io_arm(&fault, n, EIO, false);
		assert_int_equal(read_shard(&codecs[0], 0, &error), -EIO);
		assert_true(fault.fired);
		assert_non_null(strstr(error.text, "'run.zarr/data/c/0/0/6'"));
	}
}

static void every_truncation_is_corrupt(void **state)
{
	static const size_t which[2] = { 0, 5 };	/* also without any checksum */

	(void)state;
	fault_io_init(&fault);
	for (unsigned c = 0; c < 2; c++) {
		const struct sde__codec *codec = &codecs[which[c]];
		unsigned char *bytes;
		size_t size;

		assert_int_equal(write_shard(codec, 3, false, NULL), 0);
		bytes = scratch_read("6", &size);
		while (size--) {
			struct sde_error error = { 0 };

			assert_int_equal(truncate("6", (off_t)size), 0);
			if (read_shard(codec, 0, &error) != SDE_E_CORRUPT)
				fail_msg("a shard of %zu bytes is taken", size);
			assert_non_null(strstr(error.text, "'run.zarr/data/c/0/0/6'"));
		}
		free(bytes);
	}
}

static void every_flipped_bit_but_in_a_gap_is_seen(void **state)
{
	unsigned char *bytes, *index;
	size_t size;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(write_shard(&codecs[0], 3, false, NULL), 0);
	bytes = scratch_read("6", &size);
	index = bytes + size - (16 * INNER + 4);
	for (size_t i = 0; i < size; i++) {
		bool gap = i >= le(bytes + 12, 4) && bytes + i < index;
		struct sde_error error = { 0 };
		int ret;

		for (unsigned k = 0; k < INNER; k++)
			gap = gap && (i < le(index + 16 * k, 8) ||
				      i >= le(index + 16 * k, 8) + le(index + 16 * k + 8, 8));
		bytes[i] ^= (unsigned char)(1 << i % 8);
		scratch_write("6", bytes, size);
		ret = read_shard(&codecs[0], 0, &error);
		if (gap ? ret : ret != SDE_E_CORRUPT && ret != SDE_E_VERSION)
			fail_msg("byte %zu of %zu gives %d", i, size, ret);
		bytes[i] ^= (unsigned char)(1 << i % 8);
	}
	free(bytes);
}

/* Wrong entries under a right checksum. */
static void entries_that_point_elsewhere_are_refused(void **state)
{
	struct sde__shard_reader reader;
	unsigned char *bytes, *index;
	struct sde_error error;
	size_t size;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(write_shard(&codecs[5], 3, false, NULL), 0);
	bytes = scratch_read("6", &size);
	index = bytes + size - (16 * INNER + 4);
	{
		const uint64_t side = le(bytes + 12, 4), end = size - (16 * INNER + 4);
		const uint64_t row[][2] = {
			{ UINT64_MAX, UINT64_MAX }, { UINT64_MAX, RAW }, { 64, UINT64_MAX },
			{ 0, RAW }, { side - 1, RAW }, { end, RAW }, { end, 1 }, { end + 1, 0 },
			{ size, 0 }, { size + 1, 0 }, { end - RAW + 1, RAW },
			{ UINT64_MAX - 1, 2 }, { UINT64_MAX - RAW + 1, RAW },
			{ (uint64_t)1 << 63, RAW }, { 192, (uint64_t)1 << 63 },
			{ 192, UINT64_MAX - 191 },
			/* all the others' bytes as well */
			{ 192, end - 192 },
			{ 192, 0 }, { 192, RAW - 1 }, { 192, RAW + 1 },
		};

		assert_true(side <= 192 && le(index, 8) == 192);
		for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
			uint32_t crc;

			memcpy(index, row[i], 16);
			crc = sde__crc32c_table(0, index, 16 * INNER);
			memcpy(index + 16 * INNER, &crc, 4);
			scratch_write("6", bytes, size);
			/* what is not within the file is not even tried */
			assert_int_equal(open_shard(&reader, &codecs[5], K, NULL), 0);
			if (sde__shard_reader_index(&reader, NULL) != (i < 17 ? SDE_E_CORRUPT : 0))
				fail_msg("row %zu: index", i);
			sde__shard_reader_free(&reader);
			memset(&error, 0, sizeof(error));
			if (read_shard(&codecs[5], 0, &error) != SDE_E_CORRUPT)
				fail_msg("row %zu is taken", i);
			assert_non_null(strstr(error.text, "'run.zarr/data/c/0/0/6'"));
		}
		/* the last one is larger than any encoding: nothing is allocated */
		assert_non_null(strstr(error.text, "more than"));
	}
	free(bytes);
}

static void a_chunk_of_another_run_or_name_is_refused(void **state)
{
	const struct sde__slot_layout l = layout();
	struct sde__shard_reader reader;
	struct sde_error error = { 0 };

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(write_shard(&codecs[0], 3, false, NULL), 0);
	sde__shard_reader_init(&reader, home_here(), &l.geometry, &codecs[0]);
	assert_int_equal(sde__shard_reader_open(&reader, K, other, &error),
			 SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "another store"));
	sde__shard_reader_free(&reader);
	assert_int_equal(rename("6", "7"), 0);
	memset(&error, 0, sizeof(error));
	assert_int_equal(open_shard(&reader, &codecs[0], 7, &error), SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "snapshot 24"));
	sde__shard_reader_free(&reader);
	assert_int_equal(fault.handles, 0);
}

static void a_missing_chunk_is_a_hole_and_other_things_no_chunk(void **state)
{
	struct sde__shard_reader reader;
	struct sde_error error = { 0 };

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(open_shard(&reader, &codecs[0], K, &error), SDE_E_HOLE);
	assert_non_null(strstr(error.text, "'run.zarr/data/c/0/0/6' is missing"));
	sde__shard_reader_free(&reader);
	assert_int_equal(mkdir("6", 0777), 0);
	assert_int_equal(read_shard(&codecs[0], 0, NULL), SDE_E_CORRUPT);
	assert_int_equal(rmdir("6"), 0);
	assert_int_equal(mkfifo("6", 0666), 0);
	alarm(20);
	assert_int_equal(read_shard(&codecs[0], 0, NULL), SDE_E_CORRUPT);
	alarm(0);
	assert_int_equal(unlink("6"), 0);
	assert_int_equal(write_shard(&codecs[0], 3, false, NULL), 0);
	assert_int_equal(rename("6", "elsewhere"), 0);
	assert_int_equal(symlink("elsewhere", "6"), 0);
	assert_int_equal(read_shard(&codecs[0], 0, NULL), -ELOOP);
}

static void memory_is_at_least_what_is_taken(void **state)
{
	const struct sde__slot_layout l = layout();

	(void)state;
	for (size_t c = 0; c < CODECS; c++)
		assert_true(sde__shard_memory(&l, &codecs[c]) >=
			    INNER * (sde__codec_bound(&codecs[c], RAW) + 16) +
			    sde__side_size(T, T * l.state_capacity));
}

/* Of files that are there and too small to be: a side table's end in an index. */
static void an_index_within_the_side_table_is_refused(void **state)
{
	const uint64_t table[2 * INNER] = { 192, RAW, 192 + RAW, RAW, 192 + 2 * RAW, RAW };
	const uint32_t crc = sde__crc32c_table(0, (const unsigned char *)table, sizeof(table));
	struct sde__shard_reader reader;
	unsigned char *bytes;
	uint64_t side;
	size_t size;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(write_shard(&codecs[0], 3, false, NULL), 0);
	bytes = scratch_read("6", &size);
	side = le(bytes + 12, 4);
	memcpy(bytes + side - 10, table, sizeof(table));
	memcpy(bytes + side - 10 + sizeof(table), &crc, 4);
	scratch_write("6", bytes, side - 10 + sizeof(table) + 4);
	free(bytes);
	assert_int_equal(open_shard(&reader, &codecs[0], K, NULL), 0);
	assert_int_equal(sde__shard_reader_index(&reader, NULL), SDE_E_CORRUPT);
	/* and counts that no file can have */
	reader.inner_count = UINT64_MAX / 8;
	assert_int_equal(sde__shard_reader_index(&reader, NULL), SDE_E_CORRUPT);
	reader.inner_count = UINT64_MAX / 16;
	assert_int_equal(sde__shard_reader_index(&reader, NULL), SDE_E_CORRUPT);
	sde__shard_reader_free(&reader);
	assert_int_equal(fault.handles, 0);
}

/* Inner chunks of a few bytes, under an index that is right. */
static void an_inner_chunk_that_is_too_short_has_its_cause(void **state)
{
	static const struct {
		size_t codec;
		uint64_t size;
		enum sde_cause cause;
	} row[] = {
		/* too few for as many numbers, whatever they are */
		{ 0, 0, SDE_CAUSE_DECODE }, { 5, 40, SDE_CAUSE_DECODE },
		{ 0, 2, SDE_CAUSE_CHECKSUM }, { 0, 40, SDE_CAUSE_CHECKSUM },
		{ 1, 40, SDE_CAUSE_DECODE },
		{ 5, RAW + 1, SDE_CAUSE_DECODE }, { 4, RAW + 5, SDE_CAUSE_DECODE },
	};

	(void)state;
	fault_io_init(&fault);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		const struct sde__codec *codec = &codecs[row[i].codec];
		struct sde__shard_reader reader;
		unsigned char *bytes, *index, raw[RAW];
		uint32_t crc;
		size_t size;

		assert_int_equal(write_shard(codec, 3, false, NULL), 0);
		bytes = scratch_read("6", &size);
		index = bytes + size - (16 * INNER + 4);
		memcpy(index + 8, &row[i].size, 8);
		crc = sde__crc32c_table(0, index, 16 * INNER);
		memcpy(index + 16 * INNER, &crc, 4);
		scratch_write("6", bytes, size);
		assert_int_equal(open_shard(&reader, codec, K, NULL), 0);
		assert_int_equal(sde__shard_reader_index(&reader, NULL), 0);
		assert_int_equal(sde__shard_reader_inner(&reader, 0, raw, NULL), SDE_E_CORRUPT);
		if (reader.cause != row[i].cause)
			fail_msg("row %zu has cause %d", i, (int)reader.cause);
		sde__shard_reader_free(&reader);
		free(bytes);
	}
}

static void a_chunk_that_memory_cannot_hold_is_refused(void **state)
{
	struct sde__slot_layout l = layout();
	struct sde_error error = { 0 };
	struct sde__shard shard;

	(void)state;
	/* 2^59 inner chunks of 8 bytes each, which take 64 and more to encode */
	l.geometry = (struct sde__geometry){ .dimension = 1, .trajectories = UINT64_C(1) << 59,
					     .chunk_size = 1, .inner_width = 1, .dtype = SDE_FLOAT64 };
	fault_io_init(&fault);
	assert_int_equal(sde__shard_init(&shard, home_here(), &l, &codecs[0], &error), -EINVAL);
	assert_non_null(strstr(error.text, "larger than memory"));
}

/* Format 2, where the survey of a store asks for each file. */
static void a_look_tells_what_is_in_a_files_place(void **state)
{
	const struct sde__slot_layout l = layout();
	struct sde__shard_reader reader;
	struct sde_error error = { 0 };

	(void)state;
	fault_io_init(&fault);
	sde__shard_reader_init(&reader, home_here(), &l.geometry, &codecs[1]);
	home.format = 2;
	reader.index = K;
	assert_int_equal(sde__shard_reader_look(&reader, 1, NULL), SDE_E_HOLE);
	assert_int_equal(reader.cause, SDE_CAUSE_MISSING);
	scratch_write("0.1.6", "x", 1);
	assert_int_equal(sde__shard_reader_look(&reader, 1, NULL), 0);
	fault_io_arm(&fault, 1, EIO, false);
	assert_int_equal(sde__shard_reader_look(&reader, 1, NULL), -EIO);
	assert_int_equal(reader.cause, SDE_CAUSE_UNREADABLE);
	fault_io_arm(&fault, 0, 0, false);
	scratch_write("0.1.6", "", 0);
	assert_int_equal(sde__shard_reader_look(&reader, 1, &error), SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "is empty"));
	assert_int_equal(unlink("0.1.6"), 0);
	assert_int_equal(mkdir("0.1.6", 0777), 0);
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde__shard_reader_look(&reader, 1, &error), SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "is not a file"));
	assert_int_equal(reader.cause, SDE_CAUSE_FOREIGN);
	sde__shard_reader_free(&reader);
}

static void asking_for_a_chunk_removing_and_syncing_it_tell_what_fails(void **state)
{
	const struct sde__slot_layout l = layout();
	const struct sde__home *here;
	struct sde_error error = { 0 };

	(void)state;
	fault_io_init(&fault);
	here = home_here();
	assert_int_equal(sde__shard_is_whole(here, &l.geometry, K, &error), SDE_E_HOLE);
	assert_non_null(strstr(error.text, "'run.zarr/data/c/0/0/6' is missing"));
	assert_int_equal(sde__shard_remove(here, &l.geometry, K, NULL), 0);
	assert_int_equal(write_shard(&codecs[0], 3, false, NULL), 0);
	assert_int_equal(sde__shard_is_whole(here, &l.geometry, K, NULL), 0);
	for (unsigned long n = 1; n <= 4; n++) {
		static const char *const only[] = { "stat_at", "remove_at", "open_at", "sync" };

		fault_io_arm(&fault, 1, EIO, false);
		fault.only = only[n - 1];
		memset(&error, 0, sizeof(error));
		assert_int_equal(n == 1 ? sde__shard_is_whole(here, &l.geometry, K, &error) :
				 n == 2 ? sde__shard_remove(here, &l.geometry, K, &error) :
				 /* the first of two: the other is not asked for */
				 sde__shard_sync(here, &l.geometry, K, K + 2, &error), -EIO);
		assert_non_null(strstr(error.text, "'6'"));
		fault.only = NULL;
	}
	/* format 2: a file that will not go keeps those behind it, and after one that
	 * cannot be synced no other is */
	home.format = 2;
	home.side = home.shards;
	scratch_write("0.0.6", "x", 1);
	scratch_write("0.1.6", "x", 1);
	fault_io_arm(&fault, 1, EIO, false);
	fault.only = "sync";
	assert_int_equal(sde__shard_sync(here, &l.geometry, K, K + 1, &error), -EIO);
	assert_int_equal(fault_io_count(&fault, "sync", NULL), 1);
	fault.only = NULL;
	fault_io_arm(&fault, 2, EIO, false);
	assert_int_equal(sde__shard_remove(here, &l.geometry, K, &error), -EIO);
	assert_true(scratch_exists("0.1.6"));
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__shard_remove(here, &l.geometry, K, &error), 0);
	assert_int_equal(scratch_entries("."), 0);
	assert_int_equal(fault.handles, 0);
}

static void names_are_decimal(void **state)
{
	char name[SDE__SHARD_NAME_SIZE];

	(void)state;
	sde__shard_name(name, 0);
	assert_string_equal(name, "0");
	sde__shard_name(name, UINT64_MAX);
	assert_string_equal(name, "18446744073709551615");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(any_zarr_reader_finds_its_inner_chunks),
		SCRATCH_TEST(what_was_written_is_read),
		SCRATCH_TEST(a_grown_chunk_replaces_the_shorter_one_under_its_reader),
		SCRATCH_TEST(a_shard_is_sealed_file_first_then_directory),
		SCRATCH_TEST(a_chunk_is_put_in_parts_unless_it_replaces_another),
		SCRATCH_TEST(a_chunk_that_is_passed_on_is_as_one_that_is_written),
		SCRATCH_TEST(a_pass_that_fails_leaves_nothing),
		SCRATCH_TEST(nor_does_one_that_cannot_be_made),
		SCRATCH_TEST(what_is_passed_on_is_begun_to_be_written),
		SCRATCH_TEST(an_index_read_before_save_never_finds_other_numbers),
		SCRATCH_TEST(any_failing_call_of_write_leaves_the_shorter_chunk_or_the_new),
		SCRATCH_TEST(any_failing_call_of_reading_is_returned),
		SCRATCH_TEST(every_truncation_is_corrupt),
		SCRATCH_TEST(every_flipped_bit_but_in_a_gap_is_seen),
		SCRATCH_TEST(entries_that_point_elsewhere_are_refused),
		SCRATCH_TEST(a_chunk_of_another_run_or_name_is_refused),
		SCRATCH_TEST(a_missing_chunk_is_a_hole_and_other_things_no_chunk),
		cmocka_unit_test(memory_is_at_least_what_is_taken),
		SCRATCH_TEST(an_index_within_the_side_table_is_refused),
		SCRATCH_TEST(an_inner_chunk_that_is_too_short_has_its_cause),
		SCRATCH_TEST(a_chunk_that_memory_cannot_hold_is_refused),
		SCRATCH_TEST(a_look_tells_what_is_in_a_files_place),
		SCRATCH_TEST(asking_for_a_chunk_removing_and_syncing_it_tell_what_fails),
		cmocka_unit_test(names_are_decimal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
