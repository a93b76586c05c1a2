/* SPDX-License-Identifier: MIT */
/*
 * A NumPy file: zip records, .npy headers, deflate streams. Opened and read in every
 * way there is.
 *
 * The input is the file; if its first byte is 'c' (no zip file begins so), what follows
 * it is one whose entries' CRC-32s are put right when they can be found.
 */
#include "deflate.h"
#include "exercise.h"
#include "fuzz.h"
#include "npz_export.h"
#include "npz_open.h"
#include "npz_writer.h"

#include <sdestore/backend.h>

#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "npz";
const unsigned fuzz_mutations = 6000;

#define PATH "run.npz"

static uint32_t get32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Directory entries ("PK\1\2") of stored members: their bytes' CRC-32. */
static void right_crcs(unsigned char *bytes, size_t size)
{
	for (size_t at = 0; at + 46 <= size; at++) {
		size_t offset, n, begin;
		uint32_t crc;

		if (get32(bytes + at) != 0x02014b50 || bytes[at + 10])
			continue;
		n = get32(bytes + at + 20);
		offset = get32(bytes + at + 42);
		if (offset >= size || size - offset < 30)
			continue;
		begin = offset + 30 + bytes[offset + 26] + bytes[offset + 28];
		if (begin > size || n > size - begin)
			continue;
		crc = sde__crc32(0, bytes + begin, n);
		memcpy(bytes + at + 16, &crc, 4);
	}
}

static void open_file(struct memory_io *fs, size_t size)
{
	const struct exercise nothing = { .expect = NULL };
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int ret;

	fs->read_only = true;
	/* no deflate stream is longer than 1032 times its bytes; the cache of a handle
	 * and the inflater's own are what they are */
	fuzz_budget_begin(((uint64_t)6 << 20) + 3 * 1032 * size, NULL);
	ret = sde__npz_storage_open(&storage, PATH, NULL, &fs->io, &error);
	if (ret) {
		fuzz_check_error(ret, &error);
	} else {
		exercise_storage(storage, &nothing);
		ret = sde_storage_close_error(storage, &error);
		fuzz_assert(!ret, "closing a reader: %s", error.text);
	}
	fuzz_budget_end();
	fuzz_assert(!fs->open && !fs->mapped, "%u files, %u mappings are left", fs->open, fs->mapped);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const bool right = size && bytes[0] == 'c';
	struct memory_node *node;
	struct memory_io fs;

	memory_io_init(&fs);
	memory_put(&fs, PATH, MEMORY_FILE, bytes + right, size - right);
	node = memory_find(&fs, PATH);
	if (right)
		right_crcs(node->bytes, node->size);
	open_file(&fs, size);
	memory_io_free(&fs);
	return 0;
}

/* ------------------------------------------------------------------------
 * Seeds
 */

#define SNAPSHOTS 5
#define DIMENSION 2
#define TRAJECTORIES 3

static size_t take_file(struct memory_io *fs, unsigned char out[FUZZ_INPUT_MAX], bool right)
{
	const struct memory_node *node = memory_find(fs, PATH);

	out[0] = 'c';
	fuzz_assert(node && node->size < FUZZ_INPUT_MAX, "no seed");
	memcpy(out + right, node->bytes, node->size);
	return node->size + right;
}

static void must(int ret, const struct sde_error *error)
{
	fuzz_assert(!ret, "a seed cannot be made: %s", error->text);
}

/* As sde_npz_write makes it: stored or not, in C order or not, with iteration or not. */
static void export(struct memory_io *fs, unsigned how)
{
	static double time[SNAPSHOTS], data[DIMENSION * TRAJECTORIES * SNAPSHOTS];
	static int64_t iteration[SNAPSHOTS];
	const uint64_t shape[3] = { DIMENSION, TRAJECTORIES, SNAPSHOTS };
	const int64_t eight = 8, strides[3] = { 8 * TRAJECTORIES * SNAPSHOTS, 8 * SNAPSHOTS, 8 };
	struct sde_npz_options options = SDE_NPZ_OPTIONS_INIT;
	struct sde_array *t, *d, *i;
	struct sde_error error = { 0 };

	for (unsigned k = 0; k < SNAPSHOTS; k++)
		time[k] = (double)(iteration[k] = k);
	options.store = how & 1;
	options.c_order = how >> 1 & 1;
	options.threads = 1;
	must(sde_array_wrap(&t, time, SDE_FLOAT64, 1, &shape[2], &eight, NULL, NULL), &error);
	must(sde_array_wrap(&d, data, SDE_FLOAT64, 3, shape, strides, NULL, NULL), &error);
	must(sde_array_wrap(&i, iteration, SDE_INT64, 1, &shape[2], &eight, NULL, NULL), &error);
	must(sde__npz_export(&fs->io, PATH, t, d, how & 4 ? NULL : i, &options, &error), &error);
	sde_array_close(t);
	sde_array_close(d);
	sde_array_close(i);
}

/* Members as others may make them: zip64 fields, float32, and no snapshots. */
static void write_others(struct memory_io *fs, bool zip64)
{
	const struct sde__npz_options options = {
		.threads = 0, .stored = zip64, .zip64_from = zip64 ? 16 : 0,
	};
	const uint64_t m = zip64 ? 1 : 0;
	const struct sde__npy time = { SDE_FLOAT64, false, 1, { m } };
	const struct sde__npy data = { SDE_FLOAT32, true, 3, { 1, 4, m } };
	static const unsigned char zeros[64];
	struct sde__npz_writer *writer;
	struct sde_error error = { 0 };

	must(sde__npz_create(&writer, &fs->io, PATH, &options, &error), &error);
	must(sde__npz_member_begin(writer, "time", &time, &error), &error);
	must(sde__npz_append(writer, zeros, 8 * m, &error), &error);
	must(sde__npz_member_end(writer, &error), &error);
	must(sde__npz_member_begin(writer, "data", &data, &error), &error);
	must(sde__npz_append(writer, zeros, 16 * m, &error), &error);
	must(sde__npz_member_end(writer, &error), &error);
	must(sde__npz_finish(writer, &error), &error);
}

size_t fuzz_seed(unsigned i, unsigned char out[FUZZ_INPUT_MAX])
{
	struct memory_io fs;
	size_t size;

	if (i >= 18)
		return 0;
	memory_io_init(&fs);
	if (i < 16)
		export(&fs, i / 2);
	else
		write_others(&fs, i & 1);
	size = take_file(&fs, out, i & 1);
	memory_io_free(&fs);
	return size;
}
