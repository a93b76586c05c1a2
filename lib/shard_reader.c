/* SPDX-License-Identifier: MIT */
/* Reading one chunk's file with distrust: see shard_reader.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shard_reader.h"

#include "crc32c.h"
#include "shard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MISSING UINT64_MAX	/* an inner chunk that is not there, both numbers */

void sde__shard_reader_init(struct sde__shard_reader *reader, const struct sde__io *io,
			    const struct sde__geometry *geometry, const struct sde__codec *codec)
{
	memset(reader, 0, sizeof(*reader));
	reader->io = io;
	reader->geometry = *geometry;
	reader->codec = *codec;
	reader->inner_count = sde__inner_count(geometry);
	reader->fd = -1;
}

static void close_file(struct sde__shard_reader *reader)
{
	if (reader->fd >= 0)
		reader->io->close(reader->io->ctx, reader->fd);
	reader->fd = -1;
}

void sde__shard_reader_free(struct sde__shard_reader *reader)
{
	close_file(reader);
	free(reader->table);
	free(reader->encoded);
	sde__side_free(&reader->side);
	memset(reader, 0, sizeof(*reader));
	reader->fd = -1;
}

static int read_at(struct sde__shard_reader *reader, void *out, size_t n, uint64_t offset,
		   struct sde_error *error)
{
	const int ret = sde__io_read_all(reader->io, reader->fd, out, n, offset);

	if (ret == -ENODATA)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is truncated", reader->place);
	return ret ? sde__fail_why(error, ret, "cannot read '%s'", reader->place) : 0;
}

static int check_head(struct sde__shard_reader *reader, const unsigned char run[16],
		      struct sde_error *error)
{
	unsigned char head[SDE__SIDE_HEAD];
	int ret;

	ret = read_at(reader, head, sizeof(head), 0, error);
	if (!ret)
		ret = sde__side_parse_head(&reader->side, head, reader->geometry.chunk_size,
					   reader->place, error);
	if (ret)
		return ret;
	if (memcmp(reader->side.run, run, 16))
		return sde__fail(error, SDE_E_CORRUPT, "'%s' belongs to another store", reader->place);
	if (reader->side.first != reader->index * reader->geometry.chunk_size)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is the chunk of snapshot %" PRIu64,
				 reader->place, reader->side.first);
	if (reader->side.size > reader->size)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is truncated", reader->place);
	return 0;
}

int sde__shard_reader_open(struct sde__shard_reader *reader, int dir, uint64_t index,
			   const unsigned char run[16], const char *store, struct sde_error *error)
{
	char name[SDE__SHARD_NAME_SIZE];
	struct sde__stat st;
	int ret;

	close_file(reader);
	sde__shard_name(name, index);
	snprintf(reader->place, sizeof(reader->place), "%.200s/data/c/0/0/%s", store, name);
	reader->index = index;
	ret = reader->io->open_at(reader->io->ctx, dir, name, O_RDONLY);
	if (ret == -ENOENT)
		return sde__fail(error, SDE_E_HOLE, "'%s' is missing (snapshots %" PRIu64 " to %" PRIu64 ")",
				 reader->place, index * reader->geometry.chunk_size,
				 (index + 1) * reader->geometry.chunk_size - 1);
	if (ret < 0)
		return sde__fail_why(error, ret, "cannot open '%s'", reader->place);
	reader->fd = ret;
	ret = reader->io->stat(reader->io->ctx, reader->fd, &st);
	if (ret)
		return sde__fail_why(error, ret, "cannot stat '%s'", reader->place);
	if (!st.is_file)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is not a file", reader->place);
	reader->size = st.size;
	return check_head(reader, run, error);
}

/* Every inner chunk lies behind the side table and before the index. */
static int check_table(struct sde__shard_reader *reader, uint64_t end, struct sde_error *error)
{
	for (uint64_t i = 0; i < reader->inner_count; i++) {
		const uint64_t offset = reader->table[2 * i], size = reader->table[2 * i + 1];

		if (offset == MISSING && size == MISSING)
			return sde__fail(error, SDE_E_CORRUPT, "'%s' lacks inner chunk %" PRIu64,
					 reader->place, i);
		if (offset < reader->side.size || offset > end || size > end - offset)
			return sde__fail(error, SDE_E_CORRUPT,
					 "'%s': inner chunk %" PRIu64 " lies outside the file",
					 reader->place, i);
	}
	return 0;
}

int sde__shard_reader_index(struct sde__shard_reader *reader, struct sde_error *error)
{
	uint64_t bytes;
	uint32_t crc;
	int ret;

	if (__builtin_mul_overflow(reader->inner_count, 16, &bytes) ||
	    __builtin_add_overflow(bytes, 4, &bytes) || bytes > reader->size)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is truncated", reader->place);
	if (reader->table_room < bytes) {
		free(reader->table);
		reader->table = malloc((size_t)bytes);
		reader->table_room = reader->table ? (size_t)bytes : 0;
		if (!reader->table)
			return sde__fail(error, -ENOMEM, "out of memory");
	}
	ret = read_at(reader, reader->table, (size_t)bytes, reader->size - bytes, error);
	if (ret)
		return ret;
	memcpy(&crc, reader->table + 2 * reader->inner_count, 4);
	if (crc != sde__crc32c(0, reader->table, (size_t)bytes - 4))
		return sde__fail(error, SDE_E_CORRUPT, "'%s': the index has a wrong checksum",
				 reader->place);
	return check_table(reader, reader->size - bytes, error);
}

int sde__shard_reader_inner(struct sde__shard_reader *reader, uint64_t inner, void *raw,
			    struct sde_error *error)
{
	const size_t raw_size = sde__inner_bytes(&reader->geometry);
	const size_t bound = sde__codec_bound(&reader->codec, raw_size);
	const uint64_t size = reader->table[2 * inner + 1];
	struct sde_error why = { 0 };
	int ret;

	if (size > bound)
		return sde__fail(error, SDE_E_CORRUPT,
				 "'%s': inner chunk %" PRIu64 " has %" PRIu64 " bytes, more than %zu",
				 reader->place, inner, size, bound);
	if (reader->encoded_room < size) {
		free(reader->encoded);
		reader->encoded = malloc((size_t)size);
		reader->encoded_room = reader->encoded ? (size_t)size : 0;
		if (!reader->encoded)
			return sde__fail(error, -ENOMEM, "out of memory");
	}
	ret = read_at(reader, reader->encoded, (size_t)size, reader->table[2 * inner], error);
	if (ret)
		return ret;
	ret = sde__codec_decode(&reader->codec, reader->encoded, (size_t)size, raw, raw_size, &why);
	return ret ? sde__fail(error, ret, "'%s': inner chunk %" PRIu64 ": %s", reader->place, inner,
			       why.text) : 0;
}

int sde__shard_reader_side(struct sde__shard_reader *reader, struct sde_error *error)
{
	int ret;

	/* its size was found to be within the file's */
	if (sde__side_reserve(&reader->side, reader->side.size))
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = read_at(reader, reader->side.bytes, reader->side.size, 0, error);
	return ret ? ret : sde__side_parse(&reader->side, reader->place, error);
}
