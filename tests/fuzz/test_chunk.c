/* SPDX-License-Identifier: MIT */
/*
 * One chunk: side table, index and inner chunks of a shard, or the files of format 2,
 * read by a reader that was told a geometry and a codec. And the decoders by
 * themselves, on the bytes behind it.
 *
 *	offset	size
 *	0	1	bits: 3 codec, 4 float32, 8 checksum, 0x10 format 2
 *	1	1	bits: put right 1 side table, 2 index, 4 inner chunks
 *	2	4	dimension, N, n, T: each 1 to 32
 *	6	2	size of the first file; what is behind it is the inner chunk's (format
 *			2), or goes to the decoders
 *	8	...
 */
#include "checksum.h"
#include "crc32c.h"
#include "fuzz.h"
#include "shard_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "chunk";
const unsigned fuzz_mutations = 15000;

#define RAW_MAX ((size_t)1 << 20)

/* ------------------------------------------------------------------------
 * A decoder
 */

/* What was decoded is encoded and decoded to the same again. */
static void check_back(const struct sde__codec *codec, const unsigned char *raw, size_t n)
{
	const size_t bound = sde__codec_bound(codec, n);
	unsigned char *encoded = malloc(bound ? bound : 1), *again = malloc(n ? n : 1);
	struct sde_error error = { 0 };
	size_t size;

	if (!encoded || !again)
		abort();
	fuzz_assert(!sde__codec_encode(codec, raw, n, encoded, &size), "cannot encode %zu bytes", n);
	fuzz_assert(!sde__codec_decode(codec, encoded, size, again, n, &error), "%s", error.text);
	fuzz_assert(!memcmp(raw, again, n), "%zu bytes do not come back", n);
	free(encoded);
	free(again);
}

static void decode(const struct sde__codec *codec, const uint8_t *bytes, size_t size, size_t raw_size)
{
	unsigned char *raw = malloc(raw_size ? raw_size : 1);
	struct sde_error error = { 0 };
	int ret;

	if (!raw)
		abort();
	fuzz_budget_begin((4 * raw_size) + ((size_t)1 << 18), NULL);
	ret = sde__codec_decode(codec, bytes, size, raw, raw_size, &error);
	fuzz_budget_end();
	if (ret)
		fuzz_check_error(ret, &error);
	else
		check_back(codec, raw, raw_size);
	free(raw);
}

/* Without and with a checksum, which is put right. */
static void decode_all(struct sde__codec codec, const struct fuzz_input *in, size_t raw_size)
{
	unsigned char *summed = malloc(in->size + 4);
	uint32_t crc;

	if (!summed)
		abort();
	codec.checksum = false;
	decode(&codec, in->bytes, in->size, raw_size);
	if (in->size)
		memcpy(summed, in->bytes, in->size);
	crc = sde__crc32c(0, summed, in->size);
	memcpy(summed + in->size, &crc, 4);
	codec.checksum = true;
	decode(&codec, summed, in->size + 4, raw_size);
	free(summed);
}

/* ------------------------------------------------------------------------
 * A chunk
 */

static void check_side(struct sde__shard_reader *reader)
{
	const struct sde__side *side = &reader->side;
	struct sde_error error = { 0 };
	const unsigned char *end;
	int ret;

	ret = sde__shard_reader_side(reader, &error);
	if (ret) {
		fuzz_check_error(ret, &error);
		return;
	}
	fuzz_assert(side->count > 0 && side->count <= reader->geometry.chunk_size,
		    "%u snapshots in a chunk", side->count);
	end = side->bytes + side->size - 4;
	for (uint32_t i = 0; i < side->count; i++) {
		const unsigned char *state = sde__side_state(side, i);

		fuzz_assert(state + side->state_size[i] <= end, "a state lies outside");
	}
}

static void read_chunk(struct sde__shard_reader *reader, const unsigned char run[16])
{
	const size_t n = sde__inner_bytes(&reader->geometry);
	struct sde_error error = { 0 };
	unsigned char *raw;
	int ret;

	ret = sde__shard_reader_open(reader, 0, run, &error);
	if (ret) {
		fuzz_check_error(ret, &error);
		return;
	}
	check_side(reader);
	ret = sde__shard_reader_index(reader, &error);
	if (ret) {
		fuzz_check_error(ret, &error);
		return;
	}
	raw = malloc(n);
	for (uint64_t i = 0; i < reader->inner_count && raw; i++) {
		sde__error_clear(&error);
		ret = sde__shard_reader_inner(reader, i, raw, &error);
		if (ret)
			fuzz_check_error(ret, &error);
	}
	free(raw);
}

static void read_files(struct memory_io *fs, unsigned format, const struct sde__geometry *geometry,
		       const struct sde__codec *codec, const unsigned char run[16], size_t size)
{
	struct sde__shard_reader reader;
	char path[] = TEMPLATE_PATH;
	struct sde__home home;

	sde__home_init(&home, &fs->io);
	home.path = path;
	home.format = format;
	home.shards = fs->io.open_at(fs, -1, "shards", O_RDONLY);
	home.side = fs->io.open_at(fs, -1, "side", O_RDONLY);
	fuzz_budget_begin(((uint64_t)1 << 18) + 260 * size + 2 * sde__inner_bytes(geometry), NULL);
	sde__shard_reader_init(&reader, &home, geometry, codec);
	read_chunk(&reader, run);
	sde__shard_reader_free(&reader);
	fuzz_budget_end();
	fs->io.close(fs, home.shards);
	fs->io.close(fs, home.side);
	fuzz_assert(!fs->open, "%u files are left open", fs->open);
}

static void put_files(struct memory_io *fs, unsigned format, unsigned right, uint64_t inner_count,
		      struct fuzz_input *first, const struct fuzz_input *rest,
		      unsigned char run[16])
{
	static const unsigned char directory[1];
	struct memory_node *node;
	char name[32];

	memory_put(fs, "shards", MEMORY_DIRECTORY, directory, 0);
	memory_put(fs, "side", MEMORY_DIRECTORY, directory, 0);
	memory_put(fs, format == 2 ? "side/0" : "shards/0", MEMORY_FILE, first->bytes, first->size);
	node = memory_find(fs, format == 2 ? "side/0" : "shards/0");
	if (right & 4 && format == 3)
		checksum_inner(node->bytes, node->size, inner_count);
	if (right & 1)
		checksum_side(node->bytes, node->size);
	if (right & 2 && format == 3)
		checksum_index(node->bytes, node->size, inner_count);
	if (node->size >= 32)
		memcpy(run, node->bytes + 16, 16);
	/* all inner chunks of format 2 alike */
	for (uint64_t i = 0; format == 2 && i < inner_count; i++) {
		snprintf(name, sizeof(name), "shards/0.%u.0", (unsigned)i);
		memory_put(fs, name, MEMORY_FILE, rest->bytes, rest->size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fuzz_input in = { bytes, size }, first;
	const unsigned bits = (unsigned)fuzz_take(&in, 1), right = (unsigned)fuzz_take(&in, 1);
	const unsigned format = bits & 0x10 ? 2 : 3;
	struct sde__geometry g = { .dtype = bits & 4 ? SDE_FLOAT32 : SDE_FLOAT64 };
	const struct sde__codec codec = {
		.id = (enum sde_codec)(1 + (bits & 3) % 3), .item = bits & 4 ? 4 : 8,
		.checksum = bits & 8 && format == 3,
	};
	unsigned char run[16] = { 0 };
	struct memory_io fs;

	g.dimension = fuzz_take(&in, 1) % 32 + 1;
	g.trajectories = fuzz_take(&in, 1) % 32 + 1;
	g.inner_width = fuzz_take(&in, 1) % 32 + 1;
	g.chunk_size = fuzz_take(&in, 1) % 32 + 1;
	if (sde__geometry_check(&g, NULL))
		return 0;
	first.size = (size_t)fuzz_take(&in, 2);
	first.bytes = fuzz_take_bytes(&in, first.size, &first.size);
	memory_io_init(&fs);
	put_files(&fs, format, right, sde__inner_count(&g), &first, &in, run);
	read_files(&fs, format, &g, &codec, run, size);
	memory_io_free(&fs);
	decode_all(codec, &in, sde__inner_bytes(&g));
	return 0;
}

/* ------------------------------------------------------------------------
 * Seeds: the templates' first two chunks
 */

static size_t add_file(const struct template *t, const char *path, unsigned char *out, size_t n)
{
	const struct memory_node *node = memory_find(&t->fs, path);

	if (!node)
		return n;
	memcpy(out + n, node->bytes, node->size);
	return n + node->size;
}

size_t fuzz_seed(unsigned i, unsigned char out[FUZZ_INPUT_MAX])
{
	static const unsigned char right[] = { 0, 7, 3 };
	const struct template *t = template_get(i % TEMPLATES);
	const uint64_t width = (t->ensemble.trajectories + t->inner_count - 1) / t->inner_count;
	size_t n = 8, first;

	if (i >= TEMPLATES * sizeof(right))
		return 0;
	out[0] = (unsigned char)((unsigned)t->codec - 1 + (t->ensemble.dtype == SDE_FLOAT32 ? 4 : 0) +
				 (t->checksum ? 8 : 0) + (t->format == 2 ? 0x10 : 0));
	out[1] = right[i / TEMPLATES];
	out[2] = (unsigned char)(t->ensemble.dimension - 1);
	out[3] = (unsigned char)(t->ensemble.trajectories - 1);
	/* as template.c plans them: a multiple of 8, or as small as it is */
	out[4] = (unsigned char)((t->ensemble.trajectories < 8 ? width : 8) - 1);
	out[5] = (unsigned char)(t->chunk_size - 1);
	n = add_file(t, t->format == 2 ? TEMPLATE_PATH "/data/.side/0" :
		     TEMPLATE_PATH "/data/c/0/0/0", out, n);
	first = n - 8;
	out[6] = (unsigned char)first;
	out[7] = (unsigned char)(first >> 8);
	return t->format == 2 ? add_file(t, TEMPLATE_PATH "/data/0.0.0", out, n) :
	       n + first < FUZZ_INPUT_MAX ? add_file(t, TEMPLATE_PATH "/data/c/0/0/0", out, n) : n;
}
