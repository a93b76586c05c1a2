/* SPDX-License-Identifier: MIT */
/*
 * NumPy's .npz, down to its bytes: deflated blocks, .npy headers, zip records, the
 * writer and the reader. Oracles: zlib's inflate and its level 6, headers that NumPy
 * 1.24 wrote, published CRCs, the bytes that went in. (That NumPy itself reads what
 * is written here, and we what NumPy writes, is interop/npz.sh.)
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "deflate.h"
#include "dice.h"
#include "fault_io.h"
#include "npz_reader.h"
#include "npz_writer.h"
#include "sanitized.h"
#include "scratch.h"
#include "zip.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

static const char *const engines[] = { "igzip", "zlib" };
#define ENGINES (sizeof(engines) / sizeof(engines[0]))

/* Exactly n bytes, so that a sanitizer sees one too many. */
static void *room(size_t n)
{
	void *bytes = malloc(n ? n : 1);

	assert_non_null(bytes);
	return bytes;
}

enum content { RANDOM, ZERO, WALK, DECIMALS, TIMES, CONTENTS };

/* n bytes of 8-byte numbers (and a cut one). */
static void make(unsigned char *raw, size_t n, enum content content)
{
	double walk = 0;

	for (size_t i = 0; i < n; i += 8) {
		double value = 0;
		uint64_t bits = below(UINT64_MAX);
		const size_t number = i / 8;

		walk += ((double)(bits >> 12) * 0x1p-52 - 0.5) * 0.1;
		if (content == WALK)
			value = walk;
		else if (content == DECIMALS)
			value = (double)(bits % 500) / 100;
		else if (content == TIMES)
			value = (double)number * 0.01;
		if (content != RANDOM)
			memcpy(&bits, &value, 8);
		memcpy(raw + i, &bits, n - i < 8 ? n - i : 8);
	}
}

/* ------------------------------------------------------------------------
 * Deflate
 */

/* All of a raw stream must give all of `raw`. */
static void inflates_to(const unsigned char *stream, size_t n, const unsigned char *raw,
			size_t raw_size)
{
	unsigned char *back = room(raw_size + 1);
	z_stream z = { 0 };

	assert_int_equal(inflateInit2(&z, -15), Z_OK);
	z.next_in = (Bytef *)(uintptr_t)stream;
	z.avail_in = (uInt)n;
	z.next_out = back;
	z.avail_out = (uInt)(raw_size + 1);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.avail_in, 0);
	assert_int_equal(z.total_out, raw_size);
	assert_memory_equal(back, raw, raw_size);
	inflateEnd(&z);
	free(back);
}

/* A stream of `count` blocks of block_size bytes. Returns its size. */
static size_t stream_of_blocks(const char *engine, enum content content, size_t block_size,
			       size_t count)
{
	const size_t bound = sde__deflate_bound(block_size);
	unsigned char *raw = room(count * block_size), *stream = room(count * bound + 2);
	struct sde__deflater *deflater;
	size_t n = 0, size;

	assert_int_equal(sde__deflater_create(&deflater, sde__deflate_engine(engine)), 0);
	make(raw, count * block_size, content);
	for (size_t i = 0; i < count; i++) {
		unsigned char *block = room(block_size), *out = room(bound);

		memcpy(block, raw + i * block_size, block_size);
		assert_int_equal(sde__deflate_block(deflater, block, block_size, out, &size), 0);
		assert_true(size <= bound);
		memcpy(stream + n, out, size);
		n += size;
		free(block);
		free(out);
	}
	memcpy(stream + n, sde__deflate_end, SDE__DEFLATE_END_SIZE);
	n += SDE__DEFLATE_END_SIZE;
	inflates_to(stream, n, raw, count * block_size);
	sde__deflater_destroy(deflater);
	free(raw);
	free(stream);
	return n;
}

static void blocks_one_behind_the_other_are_one_deflate_stream(void **state)
{
	static const size_t sizes[] = { 0, 1, 7, 8, 100, 4096, 65535, 65536, 65537, 200000,
					SDE__DEFLATE_BLOCK };

	(void)state;
	for (size_t e = 0; e < ENGINES; e++) {
		if (!sde__deflate_engine(engines[e]))
			continue;
		for (int c = 0; c < CONTENTS; c++)
			for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
				stream_of_blocks(engines[e], (enum content)c, sizes[i], 3);
	}
}

/* What NumPy's zlib makes of the same numbers, in one go. */
static size_t size_by_zlib_6(enum content content, size_t n)
{
	const size_t bound = n + n / 512 + 4096;
	unsigned char *raw = room(n), *out = room(bound);
	z_stream z = { 0 };
	size_t size;

	make(raw, n, content);
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = raw;
	z.avail_in = (uInt)n;
	z.next_out = out;
	z.avail_out = (uInt)bound;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	size = z.total_out;
	deflateEnd(&z);
	free(raw);
	free(out);
	return size;
}

static void a_stream_is_hardly_larger_than_numpys_whatever_the_numbers_are(void **state)
{
	const size_t n = 2 * SDE__DEFLATE_BLOCK;

	(void)state;
	for (int c = 0; c < CONTENTS; c++) {
		size_t theirs;

		dice_state = 7;
		theirs = size_by_zlib_6((enum content)c, n);
		for (size_t e = 0; e < ENGINES; e++) {
			if (!sde__deflate_engine(engines[e]))
				continue;
			dice_state = 7;
			/* what starting afresh at each block costs, where hardly a byte
			 * is left, is 2 % */
			assert_true(stream_of_blocks(engines[e], (enum content)c,
						     SDE__DEFLATE_BLOCK, 2) <=
				    theirs + theirs / (c == ZERO ? 40 : 100));
		}
	}
}

static void an_engine_that_is_not_in_this_build_is_not_given(void **state)
{
	(void)state;
	assert_null(sde__deflate_engine("lzw"));
	assert_non_null(sde__deflate_engine("zlib"));
	assert_non_null(sde__deflate_engine(NULL));
	assert_string_equal(sde__deflate_engine_name(sde__deflate_engine("zlib")), "zlib");
}

static void the_crc_is_the_published_one_and_joins(void **state)
{
	unsigned char bytes[1000];

	(void)state;
	assert_int_equal(sde__crc32(0, "123456789", 9), 0xcbf43926);
	assert_int_equal(sde__crc32(0, "", 0), 0);
	make(bytes, sizeof(bytes), RANDOM);
	for (size_t cut = 0; cut <= sizeof(bytes); cut += 37) {
		const uint32_t a = sde__crc32(0, bytes, cut);
		const uint32_t b = sde__crc32(0, bytes + cut, sizeof(bytes) - cut);
		const uint32_t whole = (uint32_t)crc32(0, bytes, sizeof(bytes));

		assert_int_equal(sde__crc32_join(a, b, sizeof(bytes) - cut), whole);
		assert_int_equal(sde__crc32(a, bytes + cut, sizeof(bytes) - cut), whole);
	}
}

/* ------------------------------------------------------------------------
 * .npy headers
 */

/* NumPy 1.24's, without the magic and the two sizes, up to the blanks. */
static const struct {
	struct sde__npy array;
	size_t size;
	const char *text;
} headers[] = {
	{ { SDE_FLOAT64, false, 3, { 1, 1000, 501 } }, 128,
	  "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1000, 501), }" },
	{ { SDE_INT64, false, 1, { 5 } }, 128,
	  "{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }" },
	{ { SDE_FLOAT32, true, 3, { 2, 3, 4 } }, 128,
	  "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3, 4), }" },
	{ { SDE_FLOAT64, false, 0, { 0 } }, 128,
	  "{'descr': '<f8', 'fortran_order': False, 'shape': (), }" },
};

static void same_array(const struct sde__npy *a, const struct sde__npy *b)
{
	/* filled in by what was asserted to succeed:
	 * NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage) */
	assert_int_equal(a->dtype, b->dtype);
	assert_int_equal(a->fortran_order, b->fortran_order);
	assert_int_equal(a->ndim, b->ndim);
	for (unsigned i = 0; i < a->ndim; i++)
		assert_int_equal(a->shape[i], b->shape[i]);
}

static void a_header_is_what_numpy_writes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		unsigned char out[SDE__NPY_HEADER_MAX], expected[SDE__NPY_HEADER_MAX];
		const size_t n = sde__npy_encode(&headers[i].array, out);
		struct sde__npy back = { 0 };
		size_t size;

		memset(expected, ' ', sizeof(expected));
		memcpy(expected, "\x93NUMPY\x01\x00\x76\x00", 10);
		memcpy(expected + 10, headers[i].text, strlen(headers[i].text));
		expected[headers[i].size - 1] = '\n';
		assert_int_equal(n, headers[i].size);
		assert_memory_equal(out, expected, n);
		assert_int_equal(sde__npy_header_size(out, &size, NULL), 0);
		assert_int_equal(size, n);
		assert_int_equal(sde__npy_decode(out, n, &back, NULL), 0);
		same_array(&back, &headers[i].array);
	}
}

static void the_longest_header_fits(void **state)
{
	struct sde__npy array = { SDE_FLOAT64, false, SDE__NPY_NDIM_MAX, { 0 } }, back = { 0 };
	unsigned char out[SDE__NPY_HEADER_MAX];
	size_t n;

	(void)state;
	for (unsigned i = 0; i < array.ndim; i++)
		array.shape[i] = UINT64_MAX;
	n = sde__npy_encode(&array, out);
	assert_int_equal(n % 64, 0);
	assert_true(n <= sizeof(out));
	assert_int_equal(sde__npy_decode(out, n, &back, NULL), 0);
	same_array(&back, &array);
}

/* A header of this version with this text. Returns its size. */
static size_t header_of(unsigned char version, const char *text, unsigned char *out)
{
	const size_t n = strlen(text), begin = version > 1 ? 12 : 10;

	memcpy(out, "\x93NUMPY", 6);
	memset(out + 6, 0, begin - 6);
	out[6] = version;
	out[8] = (unsigned char)(n & 0xff);
	out[9] = (unsigned char)(n >> 8);
	memcpy(out + begin, text, n);
	return begin + n;
}

static int decode(unsigned char version, const char *text, struct sde__npy *array)
{
	unsigned char bytes[512], *exact;
	struct sde_error error = { 0 };
	size_t size, n = header_of(version, text, bytes);
	int ret = sde__npy_header_size(bytes, &size, &error);

	if (!ret) {
		assert_int_equal(size, n);
		exact = room(n);
		memcpy(exact, bytes, n);
		ret = sde__npy_decode(exact, n, array, &error);
		free(exact);
	}
	assert_int_equal(error.code, ret);
	assert_int_equal(ret != 0, error.text[0] != '\0');
	return ret;
}

static void a_header_is_read_in_any_spelling_that_numpy_allows(void **state)
{
	static const char *const spelling[] = {
		"{'descr': '<f8', 'fortran_order': True, 'shape': (2, 3, 4), }   \n",
		"{'shape':(2,3,4),'fortran_order':True,'descr':'<f8'}\n",
		"  { \"descr\" : \"<f8\" , 'fortran_order': True, 'shape': ( 2 , 3,4 ,) , }\n",
		"{'descr': '<f8', 'fortran_order': True, 'shape': (2L, 3L, 4L), }\n",
	};
	const struct sde__npy expected = { SDE_FLOAT64, true, 3, { 2, 3, 4 } };
	struct sde__npy array;

	(void)state;
	for (unsigned char version = 1; version <= 3; version++)
		for (size_t i = 0; i < sizeof(spelling) / sizeof(spelling[0]); i++) {
			assert_int_equal(decode(version, spelling[i], &array), 0);
			same_array(&array, &expected);
		}
}

static void a_header_that_is_no_array_of_ours_is_refused(void **state)
{
	static const struct {
		int code;
		const char *text;
	} bad[] = {
		{ SDE_E_UNSUPPORTED, "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n" },
		{ SDE_E_UNSUPPORTED, "{'descr': '>f8', 'fortran_order': False, 'shape': (1,), }\n" },
		{ SDE_E_UNSUPPORTED, "{'descr': '<c16', 'fortran_order': False, 'shape': (1,), }\n" },
		{ SDE_E_UNSUPPORTED, "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,), }\n" },
		{ SDE_E_UNSUPPORTED, "{'descr': '<f8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }\n" },
		{ SDE_E_CORRUPT, "" },
		{ SDE_E_CORRUPT, "\n\n" },
		{ SDE_E_CORRUPT, "{}\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), \n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (1), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (1 2), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (01,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (1.0,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (1*2,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (18446744073709551616,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': [1], }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': 0, 'shape': (1,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'descr': '<f8', 'fortran_order': False, 'shape': (1,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), 'x': 1}\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8' 'fortran_order': False, 'shape': (1,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), } or x\n" },
		{ SDE_E_CORRUPT, "{'desc\\x72': '<f8', 'fortran_order': False, 'shape': (1,), }\n" },
		{ SDE_E_CORRUPT, "{'descr': '<f8\n" },
	};
	struct sde__npy array;
	unsigned char prefix[SDE__NPY_PREFIX] = "\x93NUMPY\x04\x00\x76";
	size_t size;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(decode(1, bad[i].text, &array), bad[i].code);
	assert_int_equal(sde__npy_header_size(prefix, &size, NULL), SDE_E_VERSION);
	prefix[6] = 2;
	prefix[11] = 1;		/* 16 MiB of header */
	assert_int_equal(sde__npy_header_size(prefix, &size, NULL), SDE_E_CORRUPT);
	prefix[0] = 'N';
	assert_int_equal(sde__npy_header_size(prefix, &size, NULL), SDE_E_CORRUPT);
}

static void a_shape_whose_size_overflows_has_none(void **state)
{
	struct sde__npy array = { SDE_FLOAT64, false, 3, { UINT64_C(1) << 30, UINT64_C(1) << 30, 1 } };
	uint64_t bytes;

	(void)state;
	assert_int_equal(sde__npy_size(&array, &bytes), -EOVERFLOW);
	array.shape[2] = 0;
	assert_int_equal(sde__npy_size(&array, &bytes), -EOVERFLOW);
	array.shape[0] = 7;
	assert_int_equal(sde__npy_size(&array, &bytes), 0);
	assert_int_equal(bytes, 0);
	array.shape[2] = 2;
	assert_int_equal(sde__npy_size(&array, &bytes), 0);
	assert_int_equal(bytes, UINT64_C(7) << 34);
}

/* ------------------------------------------------------------------------
 * A run's file, there and back
 */

struct run {
	uint64_t d, n, m;
	enum sde_dtype dtype;
	bool fortran, without_iterations;
	size_t append;		/* bytes at a time; 0: all */
};

struct arrays {
	struct sde__npy npy[SDE__NPZ_MEMBERS];
	uint64_t size[SDE__NPZ_MEMBERS];
	unsigned char *bytes[SDE__NPZ_MEMBERS];
};

#define MOST ((size_t)3 << 20)	/* reserved at once, where options say so */

static const char *const names[SDE__NPZ_MEMBERS] = { "time", "data", "iteration" };

static void arrays_make(struct arrays *a, const struct run *run)
{
	memset(a, 0, sizeof(*a));
	dice_state = 3;
	a->npy[SDE__NPZ_TIME] = (struct sde__npy){ SDE_FLOAT64, false, 1, { run->m } };
	a->npy[SDE__NPZ_ITERATION] = (struct sde__npy){ SDE_INT64, false, 1, { run->m } };
	a->npy[SDE__NPZ_DATA] = (struct sde__npy){ run->dtype, run->fortran, 3,
						   { run->d, run->n, run->m } };
	for (int i = 0; i < SDE__NPZ_MEMBERS; i++) {
		assert_int_equal(sde__npy_size(&a->npy[i], &a->size[i]), 0);
		a->bytes[i] = room((size_t)a->size[i]);
		make(a->bytes[i], (size_t)a->size[i], i == SDE__NPZ_DATA ? WALK : TIMES);
	}
	if (run->without_iterations)
		a->npy[SDE__NPZ_ITERATION].ndim = UINT32_MAX;
}

static bool has(const struct arrays *a, int member)
{
	return a->npy[member].ndim != UINT32_MAX;
}

static void arrays_free(struct arrays *a)
{
	for (int i = 0; i < SDE__NPZ_MEMBERS; i++)
		free(a->bytes[i]);
}

/* By a copy of the writer's or our own, in turns. */
static int move(struct sde__npz_writer *w, const unsigned char *bytes, size_t n,
		struct sde_error *error)
{
	static unsigned turn;
	void *room;
	int ret;

	if ((n > (size_t)1 << 20 && n != MOST) || turn++ % 2)
		return sde__npz_append(w, bytes, n, error);
	ret = sde__npz_reserve(w, n, &room, error);
	if (ret)
		return ret;
	memcpy(room, bytes, n);
	return sde__npz_commit(w, n, error);
}

static int write_member(struct sde__npz_writer *w, const struct arrays *a, int i, size_t step,
			struct sde_error *error)
{
	size_t size = (size_t)a->size[i];
	int ret = sde__npz_member_begin(w, names[i], &a->npy[i], error);

	if (!step)
		step = size ? size : 1;
	for (size_t at = 0, n; at < size && !ret; at += n) {
		n = size - at < step ? size - at : step;
		ret = move(w, a->bytes[i] + at, n, error);
	}
	return ret ? ret : sde__npz_member_end(w, error);
}

static int write_run(const struct sde__io *io, const char *path, const struct arrays *a,
		     const struct sde__npz_options *options, size_t step,
		     struct sde_error *error)
{
	struct sde__npz_writer *w;
	int ret = sde__npz_create(&w, io, path, options, error);

	if (ret) {
		assert_null(w);
		return ret;
	}
	for (int i = 0; i < SDE__NPZ_MEMBERS && !ret; i++)
		if (has(a, i))
			ret = write_member(w, a, i, step, error);
	if (ret) {
		sde__npz_abandon(w);
		return ret;
	}
	return sde__npz_finish(w, error);
}

/* Open and read all that there is, in pieces; 0 or the first failure. */
static int read_run(const char *path, const struct arrays *expected, struct sde_error *error)
{
	struct sde__npz_reader *r;
	int ret = sde__npz_open(&r, &sde__io_posix, path, error);

	for (int i = 0; i < SDE__NPZ_MEMBERS && !ret; i++) {
		const struct sde__npz_array *array = sde__npz_array(r, (enum sde__npz_member)i);
		struct sde__inflater *s;
		unsigned char piece[1000];
		uint64_t at = 0;

		if (expected)
			assert_int_equal(array->present, has(expected, i));
		if (!array->present)
			continue;
		if (expected)
			same_array(&array->npy, &expected->npy[i]);
		ret = sde__npz_stream_open(&s, r, (enum sde__npz_member)i, error);
		while (!ret && at < array->bytes) {
			const size_t n = array->bytes - at < sizeof(piece) ?
					 (size_t)(array->bytes - at) : sizeof(piece);

			ret = sde__inflater_read(s, piece, n, error);
			if (!ret && expected)
				assert_memory_equal(piece, expected->bytes[i] + at, n);
			at += n;
		}
		if (!ret)
			assert_int_equal(sde__inflater_read(s, piece, 1, NULL), -ENODATA);
		sde__inflater_close(s);
	}
	sde__npz_close(r);
	return ret;
}

static const struct run runs[] = {
	{ .d = 1, .n = 3, .m = 0, .dtype = SDE_FLOAT64, .fortran = true },
	{ .d = 1, .n = 1, .m = 1, .dtype = SDE_FLOAT64 },
	{ .d = 2, .n = 5, .m = 7, .dtype = SDE_FLOAT32, .fortran = true, .append = 9 },
	{ .d = 2, .n = 5, .m = 7, .dtype = SDE_FLOAT32, .without_iterations = true },
	{ .d = 3, .n = 1000, .m = 211, .dtype = SDE_FLOAT64, .append = 100003 },
	/* the data begin 128 bytes before a block's end, and end with one */
	{ .d = 1, .n = 1, .m = 3 * 131072 - 16, .dtype = SDE_FLOAT64, .without_iterations = true },
};
#define RUNS (sizeof(runs) / sizeof(runs[0]))

static void what_was_written_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < RUNS; i++)
		for (int kind = 0; kind < 16; kind++) {
			const struct sde__npz_options options = {
				.threads = kind & 1 ? 2 : 0, .stored = kind & 2,
				.overwrite = true, .most = MOST, .engine = kind & 4 ? "zlib" : NULL,
				.zip64_from = kind & 8 ? 1 : 0,
			};
			struct sde_error error = { 0 };
			struct arrays a;

			arrays_make(&a, &runs[i]);
			assert_int_equal(write_run(&sde__io_posix, "run.npz", &a, &options,
						   runs[i].append, &error), 0);
			assert_int_equal(read_run("run.npz", &a, &error), 0);
			assert_int_equal(scratch_entries("."), 1);
			arrays_free(&a);
		}
}

static void the_bytes_depend_neither_on_threads_nor_on_appends(void **state)
{
	const struct run run = { .d = 1, .n = 700, .m = 1301, .dtype = SDE_FLOAT64 };
	static const unsigned threads[] = { 0, 1, 2, 7, 3 };
	static const size_t step[] = { 0, 700 * 8, 1 << 20, 12345, MOST };
	unsigned char *first = NULL;
	size_t first_size = 0;
	struct arrays a;

	(void)state;
	arrays_make(&a, &run);
	for (int i = 0; i < 5; i++) {
		const struct sde__npz_options options = { .threads = threads[i], .most = MOST,
							  .overwrite = true };
		unsigned char *bytes;
		size_t size;

		assert_int_equal(write_run(&sde__io_posix, "run.npz", &a, &options, step[i], NULL), 0);
		bytes = scratch_read("run.npz", &size);
		if (!first) {
			first = bytes;
			first_size = size;
			continue;
		}
		assert_int_equal(size, first_size);
		assert_memory_equal(bytes, first, size);
		free(bytes);
	}
	free(first);
	arrays_free(&a);
}

static void stored_numbers_lie_in_the_file_at_multiples_of_64(void **state)
{
	const struct run run = { .d = 2, .n = 5, .m = 7, .dtype = SDE_FLOAT32 };
	const struct sde__npz_options options = { .stored = true };
	struct sde__npz_reader *r;
	unsigned char *file;
	struct arrays a;
	size_t size;

	(void)state;
	arrays_make(&a, &run);
	assert_int_equal(write_run(&sde__io_posix, "run.npz", &a, &options, 0, NULL), 0);
	file = scratch_read("run.npz", &size);
	assert_int_equal(sde__npz_open(&r, &sde__io_posix, "run.npz", NULL), 0);
	assert_true(sde__npz_handle(r) >= 0);
	for (int i = 0; i < SDE__NPZ_MEMBERS; i++) {
		const struct sde__npz_array *array = sde__npz_array(r, (enum sde__npz_member)i);

		assert_true(array->stored);
		assert_int_equal(array->offset % 64, 0);
		assert_int_equal(array->bytes, a.size[i]);
		assert_true(array->offset + array->bytes <= size);
		assert_memory_equal(file + array->offset, a.bytes[i], a.size[i]);
	}
	sde__npz_close(r);
	free(file);
	arrays_free(&a);
}

static void skipping_leads_to_the_same_numbers(void **state)
{
	const struct run run = { .d = 1, .n = 100, .m = 500, .dtype = SDE_FLOAT64 };
	const struct sde__npz_options options = { 0 };
	struct sde__npz_reader *r;
	struct sde__inflater *s;
	unsigned char piece[64];
	struct arrays a;

	(void)state;
	arrays_make(&a, &run);
	assert_int_equal(write_run(&sde__io_posix, "run.npz", &a, &options, 0, NULL), 0);
	assert_int_equal(sde__npz_open(&r, &sde__io_posix, "run.npz", NULL), 0);
	assert_int_equal(sde__npz_stream_open(&s, r, SDE__NPZ_DATA, NULL), 0);
	assert_int_equal(sde__inflater_skip(s, 123456, NULL), 0);
	assert_int_equal(sde__inflater_read(s, piece, sizeof(piece), NULL), 0);
	assert_memory_equal(piece, a.bytes[SDE__NPZ_DATA] + 123456, sizeof(piece));
	assert_int_equal(sde__inflater_skip(s, 400000 - 123456 - sizeof(piece), NULL), 0);
	assert_int_equal(sde__inflater_skip(s, 1, NULL), -ENODATA);
	sde__inflater_close(s);
	sde__npz_close(r);
	arrays_free(&a);
}

/* 1025 * 4 MiB of zeros, a few MB of file. */
static void a_member_of_more_than_4_GiB_is_written_and_read(void **state)
{
	const uint64_t n = UINT64_C(1025) << 19;
	const struct sde__npz_options options = { .threads = 2 };
	const struct sde__npy array[2] = { { SDE_FLOAT64, false, 1, { 1 } },
					   { SDE_FLOAT64, false, 3, { 1, n, 1 } } };
	unsigned char *zeros, last[4];
	struct sde__npz_writer *w;
	struct sde__npz_reader *r;
	struct sde__inflater *s;

	(void)state;
	if (SANITIZED) {
		print_message("4 GiB take too long with a sanitizer: the plain variant has them\n");
		skip();
	}
	zeros = calloc(1, 1 << 22);
	assert_non_null(zeros);
	assert_int_equal(sde__npz_create(&w, &sde__io_posix, "run.npz", &options, NULL), 0);
	assert_int_equal(sde__npz_member_begin(w, "time", &array[0], NULL), 0);
	assert_int_equal(sde__npz_append(w, zeros, 8, NULL), 0);
	assert_int_equal(sde__npz_member_end(w, NULL), 0);
	assert_int_equal(sde__npz_member_begin(w, "data", &array[1], NULL), 0);
	for (uint64_t at = 0; at < 8 * n; at += 1 << 22) {
		if (at + (1 << 22) == 8 * n)
			zeros[(1 << 22) - 1] = 5;
		assert_int_equal(sde__npz_append(w, zeros, 1 << 22, NULL), 0);
	}
	assert_int_equal(sde__npz_member_end(w, NULL), 0);
	assert_int_equal(sde__npz_finish(w, NULL), 0);
	assert_int_equal(sde__npz_open(&r, &sde__io_posix, "run.npz", NULL), 0);
	assert_int_equal(sde__npz_array(r, SDE__NPZ_DATA)->bytes, 8 * n);
	assert_int_equal(sde__npz_stream_open(&s, r, SDE__NPZ_DATA, NULL), 0);
	assert_int_equal(sde__inflater_skip(s, 8 * n - 4, NULL), 0);
	assert_int_equal(sde__inflater_read(s, last, 4, NULL), 0);
	assert_memory_equal(last, "\0\0\0\5", 4);
	sde__inflater_close(s);
	sde__npz_close(r);
	free(zeros);
}

/* ------------------------------------------------------------------------
 * The writer's manners
 */

static const struct run small_run = { .d = 2, .n = 3, .m = 4, .dtype = SDE_FLOAT64 };

static void a_file_that_is_there_is_refused_and_untouched(void **state)
{
	const struct sde__npz_options options = { 0 };
	struct sde_error error = { 0 };
	struct sde__npz_writer *w;
	unsigned char *bytes;
	struct arrays a;
	size_t size;

	(void)state;
	arrays_make(&a, &small_run);
	scratch_write("run.npz", "old", 3);
	assert_int_equal(write_run(&sde__io_posix, "run.npz", &a, &options, 0, &error), -EEXIST);
	assert_string_equal(error.text, "'run.npz' exists already");
	assert_int_equal(scratch_entries("."), 1);
	/* one that comes while ours is being written, too */
	assert_int_equal(sde__npz_create(&w, &sde__io_posix, "new.npz", &options, NULL), 0);
	scratch_write("new.npz", "old", 3);
	assert_int_equal(sde__npz_finish(w, NULL), -EEXIST);
	assert_int_equal(scratch_entries("."), 2);
	bytes = scratch_read("new.npz", &size);
	assert_int_equal(size, 3);
	assert_memory_equal(bytes, "old", 3);
	free(bytes);
	arrays_free(&a);
}

static void only_files_are_replaced(void **state)
{
	const struct sde__npz_options options = { .overwrite = true };
	static struct fault_io fault;
	struct sde_error error = { 0 };
	struct arrays a;

	(void)state;
	arrays_make(&a, &small_run);
	assert_int_equal(mkdir("directory", 0777), 0);
	assert_int_equal(write_run(&sde__io_posix, "directory", &a, &options, 0, NULL), -EISDIR);
	assert_int_equal(mkfifo("fifo", 0666), 0);
	assert_int_equal(write_run(&sde__io_posix, "fifo", &a, &options, 0, NULL), -EINVAL);
	assert_int_equal(write_run(&sde__io_posix, "directory/", &a, &options, 0, NULL), -EISDIR);
	assert_int_equal(write_run(&sde__io_posix, "none/run.npz", &a, &options, 0, NULL), -ENOENT);
	assert_int_equal(write_run(&sde__io_posix, "none/", &a, &options, 0, NULL), -EINVAL);
	assert_int_equal(write_run(&sde__io_posix, "", &a, &options, 0, NULL), -EINVAL);
	assert_int_equal(scratch_entries("."), 2);
	fault_io_init(&fault);
	fault_io_arm(&fault, 1, EACCES, false);
	fault.only = "open_at";
	assert_int_equal(write_run(&fault.io, "/none.npz", &a, &options, 0, &error), -EACCES);
	assert_non_null(strstr(error.text, "cannot open directory '/'"));
	scratch_write("run.npz", "old", 3);
	assert_int_equal(write_run(&sde__io_posix, "run.npz", &a, &options, 0, NULL), 0);
	assert_int_equal(write_run(&sde__io_posix, "directory/x", &a, &options, 0, NULL), 0);
	assert_int_equal(read_run("run.npz", &a, NULL), 0);
	assert_int_equal(read_run("directory/x", &a, NULL), 0);
	arrays_free(&a);
}

static void a_name_of_any_length_works(void **state)
{
	const struct sde__npz_options options = { 0 };
	char name[260];
	struct arrays a;

	(void)state;
	arrays_make(&a, &small_run);
	memset(name, 'x', sizeof(name));
	name[255] = '\0';
	assert_int_equal(write_run(&sde__io_posix, name, &a, &options, 0, NULL), 0);
	assert_int_equal(read_run(name, &a, NULL), 0);
	name[255] = 'x';
	name[256] = '\0';
	assert_int_equal(write_run(&sde__io_posix, name, &a, &options, 0, NULL), -ENAMETOOLONG);
	arrays_free(&a);
}

/*
 * The n-th call fails, for each n: nothing new is there, and what was there is as it
 * was. But when only the last sync of the directory fails, the new file is whole.
 */
static void fail_every_call(const struct sde__npz_options *options, const char *only, bool for_good)
{
	static struct fault_io fault;
	struct arrays a;
	unsigned long at;

	arrays_make(&a, &small_run);
	fault_io_init(&fault);
	fault.only = only;
	for (at = 1;; at++) {
		const char *path = options->overwrite ? "old.npz" : "new.npz";
		struct sde_error error = { 0 };
		int ret;

		scratch_write("old.npz", "old", 3);
		fault_io_arm(&fault, at, ENOSPC, for_good);
		ret = write_run(&fault.io, path, &a, options, 0, &error);
		assert_int_equal(fault.handles, 0);
		if (!ret) {
			/* all was well but the close of a directory */
			assert_int_equal(read_run(path, &a, NULL), 0);
			if (!fault.fired)
				break;
			unlink("new.npz");
			continue;
		}
		assert_int_equal(ret, -ENOSPC);
		assert_non_null(strstr(error.text, "No space left"));
		if (fault_io_find(&fault, 0, "sync", ".") >= 0) {
			assert_int_equal(read_run(path, &a, NULL), 0);
			unlink("new.npz");
			continue;
		}
		assert_int_equal(scratch_entries("."), 1);
		assert_int_equal(read_run("old.npz", NULL, NULL), SDE_E_NOT_STORE);
	}
	assert_true(at > (only ? 6 : 15));
	unlink("new.npz");
	arrays_free(&a);
}

static void a_full_disk_leaves_nothing_behind(void **state)
{
	const struct sde__npz_options plain = { 0 }, over = { .overwrite = true },
				      stored = { .stored = true, .threads = 2 };

	(void)state;
	fail_every_call(&plain, NULL, false);
	fail_every_call(&over, NULL, false);
	fail_every_call(&stored, NULL, false);
	fail_every_call(&plain, "pwrite", true);
	fail_every_call(&stored, "pwrite", true);
}

static void short_writes_are_gone_on_with(void **state)
{
	static struct fault_io fault;
	const struct sde__npz_options options = { 0 };
	struct arrays a;

	(void)state;
	arrays_make(&a, &small_run);
	fault_io_init(&fault);
	fault.most = 7;
	assert_int_equal(write_run(&fault.io, "run.npz", &a, &options, 0, NULL), 0);
	assert_int_equal(read_run("run.npz", &a, NULL), 0);
	arrays_free(&a);
}

static void an_abandoned_file_is_gone(void **state)
{
	const struct run run = { .d = 1, .n = 1000, .m = 1000, .dtype = SDE_FLOAT64 };
	const struct sde__npz_options options = { .threads = 2 };
	struct sde__npz_writer *w;
	struct arrays a;

	(void)state;
	arrays_make(&a, &run);
	sde__npz_abandon(NULL);
	assert_int_equal(sde__npz_create(&w, &sde__io_posix, "run.npz", &options, NULL), 0);
	assert_int_equal(scratch_entries("."), 1);
	assert_false(scratch_exists("run.npz"));
	assert_int_equal(sde__npz_member_begin(w, "data", &a.npy[SDE__NPZ_DATA], NULL), 0);
	assert_int_equal(sde__npz_append(w, a.bytes[SDE__NPZ_DATA], 7000000, NULL), 0);
	sde__npz_abandon(w);
	assert_int_equal(scratch_entries("."), 0);
	arrays_free(&a);
}

static struct sde__npz_writer *begun(void)
{
	const struct sde__npy time = { SDE_FLOAT64, false, 1, { 4 } };
	const struct sde__npz_options options = { 0 };
	struct sde__npz_writer *w;

	assert_int_equal(sde__npz_create(&w, &sde__io_posix, "run.npz", &options, NULL), 0);
	assert_int_equal(sde__npz_member_begin(w, "time", &time, NULL), 0);
	return w;
}

static void members_that_do_not_keep_to_their_shape_are_refused(void **state)
{
	const struct sde__npy time = { SDE_FLOAT64, false, 1, { 4 } };
	const struct sde__npy huge = { SDE_FLOAT64, false, 2, { UINT64_MAX, 2 } };
	const double t[5] = { 0 };
	struct sde__npz_writer *w;

	(void)state;
	w = begun();
	assert_int_equal(sde__npz_append(w, t, 33, NULL), -EINVAL);
	assert_int_equal(sde__npz_append(w, t, 32, NULL), -EINVAL);
	assert_int_equal(sde__npz_finish(w, NULL), -EINVAL);
	w = begun();
	assert_int_equal(sde__npz_append(w, t, 31, NULL), 0);
	assert_int_equal(sde__npz_member_end(w, NULL), -EINVAL);
	sde__npz_abandon(w);
	w = begun();
	assert_int_equal(sde__npz_append(w, t, 32, NULL), 0);
	assert_int_equal(sde__npz_member_begin(w, "data", &time, NULL), -EINVAL);
	sde__npz_abandon(w);
	w = begun();
	assert_int_equal(sde__npz_append(w, t, 32, NULL), 0);
	assert_int_equal(sde__npz_finish(w, NULL), -EINVAL);
	for (int i = 0; i < 5; i++) {
		static const char *const bad[] = { "time", "", "a/b", "data",
						   "a.name.that.is.longer.than.they.may.be" };

		w = begun();
		assert_int_equal(sde__npz_append(w, t, 32, NULL), 0);
		assert_int_equal(sde__npz_member_end(w, NULL), 0);
		assert_int_equal(sde__npz_member_begin(w, bad[i], i == 3 ? &huge : &time, NULL), -EINVAL);
		sde__npz_abandon(w);
	}
	assert_int_equal(scratch_entries("."), 0);
}

/* The first failure is the one that every further call tells. */
static void a_file_that_failed_stays_failed(void **state)
{
	const struct sde__npy large = { SDE_FLOAT64, false, 1, { SDE__DEFLATE_BLOCK } };
	const double t[5] = { 0 };
	struct sde_error error = { 0 };
	struct sde__npz_writer *w;
	char name[16];
	void *room;

	(void)state;
	w = begun();
	assert_int_equal(sde__npz_append(w, t, 32, NULL), 0);
	assert_int_equal(sde__npz_member_end(w, NULL), 0);
	assert_int_equal(sde__npz_member_begin(w, "data", &large, NULL), 0);
	assert_int_equal(sde__npz_reserve(w, SDE__DEFLATE_BLOCK + 1, &room, &error), -EINVAL);
	assert_null(room);
	assert_non_null(strstr(error.text, "at once"));
	for (int i = 0; i < 5; i++) {
		struct sde_error again = { 0 };

		assert_int_equal(i == 0 ? sde__npz_append(w, t, 8, &again) :
				 i == 1 ? sde__npz_reserve(w, 8, &room, &again) :
				 i == 2 ? sde__npz_commit(w, 8, &again) :
				 i == 3 ? sde__npz_member_end(w, &again) :
				 sde__npz_member_begin(w, "more", &large, &again), -EINVAL);
		assert_string_equal(again.text, error.text);
	}
	assert_int_equal(sde__npz_finish(w, NULL), -EINVAL);
	w = begun();
	for (int i = 1; i < SDE__NPZ_MEMBERS_MAX; i++) {
		const struct sde__npy none = { SDE_FLOAT64, false, 1, { 0 } };

		assert_int_equal(i == 1 ? sde__npz_append(w, t, 32, NULL) : 0, 0);
		assert_int_equal(sde__npz_member_end(w, NULL), 0);
		snprintf(name, sizeof(name), "x%d", i);
		assert_int_equal(sde__npz_member_begin(w, name, &none, NULL), 0);
	}
	assert_int_equal(sde__npz_member_end(w, NULL), 0);
	assert_int_equal(sde__npz_member_begin(w, "y", &large, &error), -EINVAL);
	assert_int_equal(sde__npz_finish(w, NULL), -EINVAL);
	assert_int_equal(scratch_entries("."), 0);
}

static void an_engine_or_threads_that_are_not_to_be_had_are_an_error(void **state)
{
	struct sde__npz_options options = { .engine = "lzw" };
	struct sde__npz_writer *w;

	(void)state;
	assert_int_equal(sde__npz_create(&w, &sde__io_posix, "run.npz", &options, NULL),
			 SDE_E_UNSUPPORTED);
	options = (struct sde__npz_options){ .threads = 1000000 };
	assert_int_equal(sde__npz_create(&w, &sde__io_posix, "run.npz", &options, NULL), -EINVAL);
	assert_int_equal(scratch_entries("."), 0);
}

/* ------------------------------------------------------------------------
 * Files of others, good and bad. Built record by record: `part` is a member.
 */

struct part {
	const char *name, *header;	/* the dictionary of the .npy file */
	const void *numbers;
	size_t size;
	/* what the directory says otherwise than it is; zeros: the truth */
	unsigned flags, method;
	uint64_t raw, packed, offset;
	uint32_t crc;
};

/* A zip file of these parts. Returns its size. */
static size_t build(unsigned char *out, const struct part *parts, size_t count)
{
	struct sde__zip_entry entry[8] = { 0 };
	struct sde__zip_end end = { .count = count };
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		struct sde__zip_entry *e = &entry[i];
		unsigned char npy[1024];
		const size_t h = header_of(1, parts[i].header, npy);

		memcpy(npy + h, parts[i].numbers, parts[i].size);
		snprintf(e->name, sizeof(e->name), "%s", parts[i].name);
		e->offset = n;
		e->raw = e->packed = h + parts[i].size;
		e->crc = (uint32_t)crc32(0, npy, (uInt)e->raw);
		e->method = parts[i].method;
		n += sde__zip_encode_local(e, 0, out + n);
		memcpy(out + n, npy, (size_t)e->raw);
		n += (size_t)e->raw;
		e->flags = parts[i].flags;
		e->raw = parts[i].raw ? parts[i].raw : e->raw;
		e->packed = parts[i].packed ? parts[i].packed : e->packed;
		e->offset = parts[i].offset ? parts[i].offset - 1 : e->offset;
		e->crc ^= parts[i].crc;
	}
	end.offset = n;
	for (size_t i = 0; i < count; i++)
		n += sde__zip_encode_entry(&entry[i], SDE__ZIP64_FROM, out + n);
	end.size = n - end.offset;
	return n + sde__zip_encode_end(&end, SDE__ZIP64_FROM, out + n);
}

static const double two[2] = { 0, 1 };
static const double four[4] = { 1, 2, 3, 4 };
#define TIME_HEADER "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n"
#define DATA_HEADER "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2, 2), }\n"
#define TIME { .name = "time.npy", .header = TIME_HEADER, .numbers = two, .size = 16 }
#define DATA { .name = "data.npy", .header = DATA_HEADER, .numbers = four, .size = 32 }

static int try_parts(const struct part *parts, size_t count)
{
	unsigned char bytes[8192];
	struct sde_error error = { 0 };
	int ret;

	scratch_write("run.npz", bytes, build(bytes, parts, count));
	ret = read_run("run.npz", NULL, &error);
	assert_int_equal(error.code, ret);
	return ret;
}

static void members_of_others_are_passed_over(void **state)
{
	const struct part parts[] = {
		{ .name = "a.member/whose.name.is.so.long/that.it.cannot.be.ours/at.all.npy",
		  .header = "", .numbers = two, .size = 16, .flags = 1, .method = 12 },
		DATA,
		{ .name = "seed.npy", .header = "x", .numbers = two, .size = 16, .method = 99 },
		TIME,
	};

	(void)state;
	assert_int_equal(try_parts(parts, 4), 0);
}

static void a_file_that_is_not_a_runs_is_refused(void **state)
{
	static const char *const bad_data[] = {
		"{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }\n",
		"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }\n",
	};
	struct part parts[3] = { TIME, DATA, TIME };

	(void)state;
	assert_int_equal(try_parts(parts, 1), SDE_E_NOT_STORE);
	assert_int_equal(try_parts(parts + 1, 1), SDE_E_NOT_STORE);
	assert_int_equal(try_parts(parts, 0), SDE_E_NOT_STORE);
	assert_int_equal(try_parts(parts, 2), 0);
	assert_int_equal(try_parts(parts, 3), SDE_E_CORRUPT);	/* time twice */
	for (int i = 0; i < 2; i++) {
		parts[1].header = bad_data[i];
		assert_int_equal(try_parts(parts, 2), SDE_E_NOT_STORE);
	}
	/* more snapshots than times, times that are not float64, no trajectories */
	parts[1].header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1, 4), }\n";
	assert_int_equal(try_parts(parts, 2), SDE_E_CORRUPT);
	parts[1].header = DATA_HEADER;
	parts[0].header = "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }\n";
	assert_int_equal(try_parts(parts, 2), SDE_E_UNSUPPORTED);
	parts[0].header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }\n";
	assert_int_equal(try_parts(parts, 2), SDE_E_NOT_STORE);
	parts[0].header = "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }\n";
	assert_int_equal(try_parts(parts, 2), SDE_E_UNSUPPORTED);
	parts[0] = (struct part)TIME;
	parts[1].header = "{'descr': '<f8', 'fortran_order': False, 'shape': (0, 7, 2), }\n";
	parts[1].size = 0;
	assert_int_equal(try_parts(parts, 2), SDE_E_NOT_STORE);
}

static void what_the_directory_says_must_be_possible(void **state)
{
	const struct part good[2] = { TIME, DATA };
	struct part parts[2];

	(void)state;
#define WITH(i, field, value, code) do { \
		memcpy(parts, good, sizeof(good)); \
		parts[i].field = (value); \
		assert_int_equal(try_parts(parts, 2), code); \
	} while (0)
	WITH(0, flags, 1, SDE_E_UNSUPPORTED);		/* encrypted */
	WITH(0, flags, 1 << 6, SDE_E_UNSUPPORTED);
	WITH(0, flags, 1 << 11, 0);			/* the name is UTF-8 */
	WITH(0, flags, 1 << 3, 0);			/* a descriptor follows */
	WITH(0, method, 12, SDE_E_UNSUPPORTED);		/* bzip2 */
	WITH(0, method, 8, SDE_E_CORRUPT);		/* not deflated at all */
	WITH(0, crc, 1, SDE_E_CORRUPT);
	WITH(1, crc, 0x80000000, SDE_E_CORRUPT);
	WITH(0, raw, 1000, SDE_E_CORRUPT);
	WITH(0, raw, 1, SDE_E_CORRUPT);
	WITH(0, packed, 1, SDE_E_CORRUPT);
	WITH(1, packed, UINT64_MAX, SDE_E_CORRUPT);
	WITH(1, packed, 100000, SDE_E_CORRUPT);
	WITH(1, offset, 1, SDE_E_CORRUPT);		/* time's header */
	WITH(1, offset, 3, SDE_E_CORRUPT);
	WITH(1, offset, UINT64_MAX, SDE_E_CORRUPT);
	WITH(1, offset, 100000, SDE_E_CORRUPT);
	WITH(0, header, "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }\n",
	     SDE_E_CORRUPT);
	WITH(0, header, "{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807,), }\n",
	     SDE_E_CORRUPT);
#undef WITH
	/* two members that lie upon each other: data's header says "time.npy" as well */
	memcpy(parts, good, sizeof(good));
	parts[1] = (struct part)TIME;
	parts[1].name = "iteration.npy";
	parts[1].offset = 1;
	assert_int_equal(try_parts(parts, 2), SDE_E_NOT_STORE);
}

/* Data that says it is longer by all of time's record, with a shape to match. */
static void members_that_share_bytes_are_refused(void **state)
{
	char time_header[128] = TIME_HEADER, data_header[128];
	struct part parts[2] = { DATA, TIME };
	unsigned char bytes[8192];
	struct sde_error error = { 0 };
	size_t record;

	(void)state;
	do {	/* so that what is added is a number of numbers */
		const size_t n = strlen(time_header);

		memcpy(time_header + n - 1, " \n", 3);
		record = 30 + strlen("time.npy") + 20 + 10 + strlen(time_header) + 16;
	} while (record % 8);
	snprintf(data_header, sizeof(data_header),
		 "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1, %zu), }\n",
		 (32 + record) / 8);
	parts[1].header = time_header;
	parts[0].header = data_header;
	parts[0].raw = parts[0].packed = 10 + strlen(data_header) + 32 + record;
	scratch_write("run.npz", bytes, build(bytes, parts, 2));
	assert_int_equal(read_run("run.npz", NULL, &error), SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "lies upon another member"));
}

/* No member's name is a path for us: what is not called as ours is somebody else's. */
static void names_that_lead_elsewhere_are_other_members(void **state)
{
	static const char *const others[] = {
		"/time.npy", "../time.npy", "./time.npy", "a/../time.npy", "time.npy/", "TIME.NPY",
		"C:time.npy", "time.npy ",
	};
	struct part parts[2] = { TIME, DATA };

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		parts[0].name = others[i];
		assert_int_equal(try_parts(parts, 2), SDE_E_NOT_STORE);
	}
}

/* A number of 32 ones is left to a zip64 field: which is not there, or too short. */
static void a_zip64_field_that_lies_is_refused(void **state)
{
	const struct part good[2] = { TIME, DATA };
	/* of a directory entry: packed, raw, offset */
	static const size_t places[] = { 20, 24, 42 };
	unsigned char bytes[8192];
	const unsigned char *entry;
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct sde_error error = { 0 };

		n = build(bytes, good, 2);
		entry = memmem(bytes, n, "PK\1\2", 4);
		assert_non_null(entry);
		memset(bytes + (entry - bytes) + places[i], 0xff, 4);
		scratch_write("run.npz", bytes, n);
		assert_int_equal(read_run("run.npz", NULL, &error), SDE_E_CORRUPT);
		assert_non_null(strstr(error.text, "zip64"));
	}
}

/* 2^40 numbers in a few hundred bytes: no deflate stream can hold so many. */
static void a_bomb_is_refused_before_anything_is_allocated(void **state)
{
	struct part parts[2] = { TIME, DATA };

	(void)state;
	parts[1].header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 549755813888, 2), }\n";
	parts[1].method = 8;
	parts[1].raw = (UINT64_C(1) << 43) + 10 + strlen(parts[1].header);
	assert_int_equal(try_parts(parts, 2), SDE_E_CORRUPT);
	parts[1].method = 0;
	assert_int_equal(try_parts(parts, 2), SDE_E_CORRUPT);
}

static void what_is_no_zip_file_is_no_store(void **state)
{
	static const char *const bytes[] = { "", "P", "PK\3", "PK\4\3PK", "\x93NUMPY", "{}" };

	(void)state;
	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		scratch_write("run.npz", bytes[i], strlen(bytes[i]));
		assert_int_equal(read_run("run.npz", NULL, NULL), SDE_E_NOT_STORE);
	}
	scratch_write("run.npz", "PK\3\4", 4);
	assert_int_equal(read_run("run.npz", NULL, NULL), SDE_E_CORRUPT);
	assert_int_equal(read_run(".", NULL, NULL), SDE_E_NOT_STORE);
	assert_int_equal(mkfifo("fifo", 0666), 0);
	assert_int_equal(read_run("fifo", NULL, NULL), SDE_E_NOT_STORE);
	assert_int_equal(read_run("none.npz", NULL, NULL), -ENOENT);
}

/* A zip file may end in a comment, which may look like an end. */
static void a_comment_at_the_end_is_allowed(void **state)
{
	const struct part parts[2] = { TIME, DATA };
	unsigned char bytes[8192];
	const size_t n = build(bytes, parts, 2);

	(void)state;
	memcpy(bytes + n, "PK\5\6 is how an end begins, isn't it?", 36);
	bytes[n - 2] = 36;
	scratch_write("run.npz", bytes, n + 36);
	assert_int_equal(read_run("run.npz", NULL, NULL), 0);
	scratch_write("run.npz", bytes, n + 35);
	assert_int_equal(read_run("run.npz", NULL, NULL), SDE_E_CORRUPT);
	scratch_write("run.npz", bytes, n + 37);
	assert_int_equal(read_run("run.npz", NULL, NULL), SDE_E_CORRUPT);
}

static unsigned char *small_file(bool stored, bool zip64, size_t *size)
{
	const struct sde__npz_options options = {
		.stored = stored, .overwrite = true, .zip64_from = zip64 ? 1 : 0 };
	struct arrays a;

	arrays_make(&a, &small_run);
	assert_int_equal(write_run(&sde__io_posix, "run.npz", &a, &options, 0, NULL), 0);
	arrays_free(&a);
	return scratch_read("run.npz", size);
}

static void every_truncation_is_an_error(void **state)
{
	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		size_t size;
		unsigned char *bytes = small_file(kind & 1, kind & 2, &size);

		assert_int_equal(read_run("run.npz", NULL, NULL), 0);
		for (size_t n = size; n-- > 0;) {
			struct sde_error error = { 0 };
			int ret;

			assert_int_equal(truncate("run.npz", (off_t)n), 0);
			ret = read_run("run.npz", NULL, &error);
			assert_true(ret == SDE_E_CORRUPT || (ret == SDE_E_NOT_STORE && n < 4));
			assert_int_equal(error.code, ret);
		}
		free(bytes);
	}
}

/* Under the sanitizers: whatever the bytes, an error or (where a mutation met what is
 * not looked at) the numbers. */
static void mutations_are_errors_or_harmless(void **state)
{
	unsigned harmless = 0;

	(void)state;
	for (int kind = 0; kind < 4; kind++) {
		size_t size;
		unsigned char *bytes = small_file(kind & 1, kind & 2, &size);
		unsigned char *copy = room(size);
		const int fd = open("run.npz", O_WRONLY);

		assert_true(fd >= 0);
		for (int i = 0; i < 5000; i++) {
			struct sde_error error = { 0 };
			uint64_t changes;
			int ret;

			dice_state = (uint64_t)(kind * 5000 + i) << 8;
			changes = 1 + below(4);
			memcpy(copy, bytes, size);
			for (uint64_t j = 0; j < changes; j++) {
				/* half of them in the directory and the end records */
				const size_t at = below(2) ? below(size) : size - 1 - below(330);
				static const unsigned char values[] = { 0, 1, 0x7f, 0x80, 0xff };

				copy[at] = below(2) ? values[below(5)] : (unsigned char)below(256);
			}
			assert_int_equal(pwrite(fd, copy, size, 0), size);
			ret = read_run("run.npz", NULL, &error);
			assert_true(ret <= 0);
			assert_int_equal(error.code, ret);
			harmless += !ret;
		}
		close(fd);
		free(copy);
		free(bytes);
	}
	assert_true(harmless < 10000);
}

static void a_read_error_is_passed_on(void **state)
{
	static struct fault_io fault;
	struct sde_error error = { 0 };
	struct sde__npz_reader *r;
	size_t size;

	(void)state;
	free(small_file(false, false, &size));
	fault_io_init(&fault);
	for (unsigned long at = 1;; at++) {
		int ret;

		memset(&error, 0, sizeof(error));
		fault_io_arm(&fault, at, EIO, false);
		ret = sde__npz_open(&r, &fault.io, "run.npz", &error);
		if (!fault.fired)
			break;
		assert_int_equal(ret, -EIO);
		assert_null(r);
		assert_int_equal(fault.handles, 0);
		assert_non_null(strstr(error.text, "'run.npz'"));
	}
	sde__npz_close(r);
	fault_io_arm(&fault, 0, EIO, false);
	fault.most = 5;		/* short reads */
	assert_int_equal(sde__npz_open(&r, &fault.io, "run.npz", &error), 0);
	sde__npz_close(r);
	assert_int_equal(fault.handles, 0);
}

static void a_file_that_shrinks_while_it_is_read_is_damaged(void **state)
{
	const struct run run = { .d = 1, .n = 1000, .m = 100, .dtype = SDE_FLOAT64 };
	struct arrays a;

	(void)state;
	arrays_make(&a, &run);
	for (int stored = 0; stored < 2; stored++) {
		const struct sde__npz_options options = { .stored = stored, .overwrite = true };
		struct sde__npz_reader *r;
		struct sde__inflater *s;

		assert_int_equal(write_run(&sde__io_posix, "run.npz", &a, &options, 0, NULL), 0);
		assert_int_equal(sde__npz_open(&r, &sde__io_posix, "run.npz", NULL), 0);
		assert_int_equal(sde__npz_stream_open(&s, r, SDE__NPZ_DATA, NULL), 0);
		assert_int_equal(truncate("run.npz", 200000), 0);
		assert_int_equal(sde__inflater_skip(s, 800000, NULL), SDE_E_CORRUPT);
		assert_int_equal(sde__inflater_skip(s, 1, NULL), SDE_E_CORRUPT);
		sde__inflater_close(s);
		sde__npz_close(r);
	}
	arrays_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_one_behind_the_other_are_one_deflate_stream),
		cmocka_unit_test(a_stream_is_hardly_larger_than_numpys_whatever_the_numbers_are),
		cmocka_unit_test(an_engine_that_is_not_in_this_build_is_not_given),
		cmocka_unit_test(the_crc_is_the_published_one_and_joins),
		cmocka_unit_test(a_header_is_what_numpy_writes),
		cmocka_unit_test(the_longest_header_fits),
		cmocka_unit_test(a_header_is_read_in_any_spelling_that_numpy_allows),
		cmocka_unit_test(a_header_that_is_no_array_of_ours_is_refused),
		cmocka_unit_test(a_shape_whose_size_overflows_has_none),
		SCRATCH_TEST(what_was_written_is_read),
		SCRATCH_TEST(the_bytes_depend_neither_on_threads_nor_on_appends),
		SCRATCH_TEST(stored_numbers_lie_in_the_file_at_multiples_of_64),
		SCRATCH_TEST(skipping_leads_to_the_same_numbers),
		SCRATCH_TEST(a_member_of_more_than_4_GiB_is_written_and_read),
		SCRATCH_TEST(a_file_that_is_there_is_refused_and_untouched),
		SCRATCH_TEST(only_files_are_replaced),
		SCRATCH_TEST(a_name_of_any_length_works),
		SCRATCH_TEST(a_full_disk_leaves_nothing_behind),
		SCRATCH_TEST(short_writes_are_gone_on_with),
		SCRATCH_TEST(an_abandoned_file_is_gone),
		SCRATCH_TEST(members_that_do_not_keep_to_their_shape_are_refused),
		SCRATCH_TEST(a_file_that_failed_stays_failed),
		SCRATCH_TEST(an_engine_or_threads_that_are_not_to_be_had_are_an_error),
		SCRATCH_TEST(members_of_others_are_passed_over),
		SCRATCH_TEST(a_file_that_is_not_a_runs_is_refused),
		SCRATCH_TEST(what_the_directory_says_must_be_possible),
		SCRATCH_TEST(members_that_share_bytes_are_refused),
		SCRATCH_TEST(names_that_lead_elsewhere_are_other_members),
		SCRATCH_TEST(a_zip64_field_that_lies_is_refused),
		SCRATCH_TEST(a_bomb_is_refused_before_anything_is_allocated),
		SCRATCH_TEST(what_is_no_zip_file_is_no_store),
		SCRATCH_TEST(a_comment_at_the_end_is_allowed),
		SCRATCH_TEST(every_truncation_is_an_error),
		SCRATCH_TEST(mutations_are_errors_or_harmless),
		SCRATCH_TEST(a_read_error_is_passed_on),
		SCRATCH_TEST(a_file_that_shrinks_while_it_is_read_is_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
