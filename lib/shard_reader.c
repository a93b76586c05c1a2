/* SPDX-License-Identifier: MIT */
/* Reading one chunk's file with distrust: see shard_reader.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shard_reader.h"

#include "crc32c.h"
#include "planted.h"
#include "shard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MISSING UINT64_MAX	/* an inner chunk that is not there, both numbers */

void sde__shard_reader_init(struct sde__shard_reader *reader, const struct sde__home *home,
			    const struct sde__geometry *geometry, const struct sde__codec *codec)
{
	memset(reader, 0, sizeof(*reader));
	reader->io = home->io;
	reader->home = home;
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

	reader->cause = ret == -ENODATA ? SDE_CAUSE_TRUNCATED : SDE_CAUSE_UNREADABLE;
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
	if (ret)
		return ret;
	reader->cause = SDE_CAUSE_SIDE_TABLE;
	ret = sde__side_parse_head(&reader->side, head, reader->geometry.chunk_size, reader->place,
				   error);
	if (ret)
		return ret;
	reader->cause = SDE_CAUSE_FOREIGN;
	if (memcmp(reader->side.run, run, 16) && !sde__planted("chunk-run-unchecked"))
		return sde__fail(error, SDE_E_CORRUPT, "'%s' belongs to another store", reader->place);
	if (reader->side.first != reader->index * reader->geometry.chunk_size)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is the chunk of snapshot %" PRIu64,
				 reader->place, reader->side.first);
	reader->cause = SDE_CAUSE_TRUNCATED;
	if (reader->side.size > reader->size)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is truncated", reader->place);
	return 0;
}

int sde__shard_reader_open(struct sde__shard_reader *reader, uint64_t index,
			   const unsigned char run[16], struct sde_error *error)
{
	const bool is_2 = reader->home->format == 2;
	char name[SDE__SHARD_NAME_SIZE];
	struct sde__stat st;
	int ret;

	close_file(reader);
	sde__shard_name(name, index);
	if (is_2)
		snprintf(reader->place, sizeof(reader->place), "%.200s/data/.side/%s",
			 reader->home->path, name);
	else
		snprintf(reader->place, sizeof(reader->place), "%.200s/data/c/0/%" PRIu64 "/%s",
			 reader->home->path, reader->home->column, name);
	reader->index = index;
	reader->cause = SDE_CAUSE_MISSING;
	ret = reader->io->open_at(reader->io->ctx, is_2 ? reader->home->side : reader->home->shards,
				  name, O_RDONLY);
	if (ret == -ENOENT)
		return sde__fail(error, SDE_E_HOLE, "'%s' is missing", reader->place);
	reader->cause = SDE_CAUSE_UNREADABLE;
	if (ret < 0)
		return sde__fail_why(error, ret, "cannot open '%s'", reader->place);
	reader->fd = ret;
	ret = reader->io->stat(reader->io->ctx, reader->fd, &st);
	if (ret)
		return sde__fail_why(error, ret, "cannot stat '%s'", reader->place);
	reader->cause = SDE_CAUSE_FOREIGN;
	if (!st.is_file)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is not a file", reader->place);
	reader->size = st.size;
	return check_head(reader, run, error);
}

/*
 * Every inner chunk lies behind the side table and before the index. And all of them
 * do, one beside the other: sharing bytes is how a small file says it is a large one.
 */
static int check_table(struct sde__shard_reader *reader, uint64_t end, struct sde_error *error)
{
	uint64_t room = end > reader->side.size ? end - reader->side.size : 0;

	for (uint64_t i = 0; i < reader->inner_count; i++) {
		const uint64_t offset = reader->table[2 * i], size = reader->table[2 * i + 1];

		if (offset == MISSING && size == MISSING)
			return sde__fail(error, SDE_E_CORRUPT, "'%s' lacks inner chunk %" PRIu64,
					 reader->place, i);
		if (offset < reader->side.size || offset > end || size > end - offset)
			return sde__fail(error, SDE_E_CORRUPT,
					 "'%s': inner chunk %" PRIu64 " lies outside the file",
					 reader->place, i);
		if (size > room)
			return sde__fail(error, SDE_E_CORRUPT, "'%s': its inner chunks share bytes",
					 reader->place);
		room -= size;
	}
	return 0;
}

int sde__shard_reader_index(struct sde__shard_reader *reader, struct sde_error *error)
{
	uint64_t bytes;
	uint32_t crc;
	int ret;

	if (reader->home->format == 2)
		return 0;
	reader->cause = SDE_CAUSE_TRUNCATED;
	/* of a multiple of 16, 4 more fit */
	if (__builtin_mul_overflow(reader->inner_count, 16, &bytes) || bytes + 4 > reader->size)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is truncated", reader->place);
	bytes += 4;
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
	reader->cause = SDE_CAUSE_INDEX;
	memcpy(&crc, reader->table + 2 * reader->inner_count, 4);
	if (crc != sde__crc32c(0, reader->table, (size_t)bytes - 4))
		return sde__fail(error, SDE_E_CORRUPT, "'%s': the index has a wrong checksum",
				 reader->place);
	return check_table(reader, reader->size - bytes, error);
}

void sde__shard_reader_place(const struct sde__shard_reader *reader, uint64_t inner, char *out,
			     size_t size)
{
	char name[SDE__SHARD_NAME_SIZE];

	if (reader->home->format == 2)
		sde__shard_inner_name(name, inner, reader->index);
	else
		sde__shard_name(name, reader->index);
	if (reader->home->format == 2)
		snprintf(out, size, "%.200s/data/%s", reader->home->path, name);
	else
		snprintf(out, size, "%.200s/data/c/0/%" PRIu64 "/%s", reader->home->path,
			 reader->home->column, name);
}

/* Room for `size` encoded bytes: neither more nor fewer than a codec can make. */
static int reserve(struct sde__shard_reader *reader, uint64_t inner, uint64_t size,
		   struct sde_error *error)
{
	const size_t raw = sde__inner_bytes(&reader->geometry);
	const size_t bound = sde__codec_bound(&reader->codec, raw);
	char place[sizeof(reader->place)];

	sde__shard_reader_place(reader, inner, place, sizeof(place));
	reader->cause = SDE_CAUSE_DECODE;
	if (size > bound)
		return sde__fail(error, SDE_E_CORRUPT,
				 "'%s': inner chunk %" PRIu64 " has %" PRIu64 " bytes, more than %zu",
				 place, inner, size, bound);
	/* in format 2 it is a file, whose end nothing else bears witness to */
	if (reader->home->format == 2)
		reader->cause = SDE_CAUSE_TRUNCATED;
	if (sde__codec_most(&reader->codec, (size_t)size) < raw)
		return sde__fail(error, SDE_E_CORRUPT,
				 "'%s': inner chunk %" PRIu64 " has %" PRIu64 " bytes, too few for %zu",
				 place, inner, size, raw);
	if (reader->encoded_room >= size)
		return 0;
	free(reader->encoded);
	reader->encoded = malloc((size_t)size);
	reader->encoded_room = reader->encoded ? (size_t)size : 0;
	return reader->encoded ? 0 : sde__fail(error, -ENOMEM, "out of memory");
}

static int fetch_v3(struct sde__shard_reader *reader, uint64_t inner, uint64_t *size,
		    struct sde_error *error)
{
	int ret;

	*size = reader->table[2 * inner + 1];
	ret = reserve(reader, inner, *size, error);
	return ret ? ret : read_at(reader, reader->encoded, (size_t)*size, reader->table[2 * inner],
				   error);
}

static int fetch_open_v2(struct sde__shard_reader *reader, int fd, uint64_t inner, uint64_t *size,
			 struct sde_error *error)
{
	const struct sde__io *io = reader->io;
	struct sde__stat st;
	int ret;

	reader->cause = SDE_CAUSE_UNREADABLE;
	ret = io->stat(io->ctx, fd, &st);
	if (ret)
		return sde__fail_why(error, ret, "cannot stat inner chunk %" PRIu64 " of '%s'", inner,
				     reader->place);
	*size = st.size;
	ret = reserve(reader, inner, st.size, error);
	if (ret)
		return ret;
	reader->cause = SDE_CAUSE_UNREADABLE;
	ret = sde__io_read_all(io, fd, reader->encoded, (size_t)st.size, 0);
	return ret ? sde__fail_why(error, ret, "cannot read inner chunk %" PRIu64 " of '%s'", inner,
				   reader->place) : 0;
}

static int fetch_v2(struct sde__shard_reader *reader, uint64_t inner, uint64_t *size,
		    struct sde_error *error)
{
	const struct sde__io *io = reader->io;
	char name[SDE__SHARD_NAME_SIZE];
	int fd, ret;

	sde__shard_inner_name(name, inner, reader->index);
	reader->cause = SDE_CAUSE_MISSING;
	fd = io->open_at(io->ctx, reader->home->shards, name, O_RDONLY);
	if (fd == -ENOENT)
		return sde__fail(error, SDE_E_HOLE, "'%.200s/data/%s' is missing", reader->home->path,
				 name);
	reader->cause = SDE_CAUSE_UNREADABLE;
	if (fd < 0)
		return sde__fail_why(error, fd, "cannot open '%.200s/data/%s'", reader->home->path,
				     name);
	ret = fetch_open_v2(reader, fd, inner, size, error);
	io->close(io->ctx, fd);
	return ret;
}

/* Why did an inner chunk of `size` bytes, as many as there must be, not decode? */
static enum sde_cause cause_of(const struct sde__shard_reader *reader, size_t size)
{
	uint32_t crc;

	if (!reader->codec.checksum)
		return SDE_CAUSE_DECODE;
	if (size < sizeof(crc))
		return SDE_CAUSE_CHECKSUM;
	memcpy(&crc, reader->encoded + size - sizeof(crc), sizeof(crc));
	return crc == sde__crc32c(0, reader->encoded, size - sizeof(crc)) ? SDE_CAUSE_DECODE :
	       SDE_CAUSE_CHECKSUM;
}

int sde__shard_reader_fetch(struct sde__shard_reader *reader, uint64_t inner,
			    struct sde_error *error)
{
	return reader->home->format == 2 ? fetch_v2(reader, inner, &reader->encoded_size, error) :
	       fetch_v3(reader, inner, &reader->encoded_size, error);
}

int sde__shard_reader_decode(struct sde__shard_reader *reader, uint64_t inner, void *raw,
			     struct sde_error *error)
{
	char place[sizeof(reader->place)];
	struct sde_error why = { 0 };
	int ret;

	ret = sde__codec_decode(&reader->codec, reader->encoded, (size_t)reader->encoded_size, raw,
				sde__inner_bytes(&reader->geometry), &why);
	if (!ret)
		return 0;
	reader->cause = cause_of(reader, (size_t)reader->encoded_size);
	sde__shard_reader_place(reader, inner, place, sizeof(place));
	return sde__fail(error, ret, "'%s': inner chunk %" PRIu64 ": %s", place, inner, why.text);
}

int sde__shard_reader_inner(struct sde__shard_reader *reader, uint64_t inner, void *raw,
			    struct sde_error *error)
{
	const int ret = sde__shard_reader_fetch(reader, inner, error);

	return ret ? ret : sde__shard_reader_decode(reader, inner, raw, error);
}

int sde__shard_reader_look(struct sde__shard_reader *reader, uint64_t inner,
			   struct sde_error *error)
{
	char place[sizeof(reader->place)], name[SDE__SHARD_NAME_SIZE];
	struct sde__stat st;
	int ret;

	sde__shard_inner_name(name, inner, reader->index);
	sde__shard_reader_place(reader, inner, place, sizeof(place));
	ret = reader->io->stat_at(reader->io->ctx, reader->home->shards, name, &st);
	reader->cause = ret == -ENOENT ? SDE_CAUSE_MISSING : SDE_CAUSE_UNREADABLE;
	if (ret == -ENOENT)
		return sde__fail(error, SDE_E_HOLE, "'%s' is missing", place);
	if (ret)
		return sde__fail_why(error, ret, "cannot stat '%s'", place);
	reader->cause = st.is_file ? SDE_CAUSE_TRUNCATED : SDE_CAUSE_FOREIGN;
	return st.is_file && st.size ? 0 : sde__fail(error, SDE_E_CORRUPT, "'%s' is %s", place,
						      st.is_file ? "empty" : "not a file");
}

int sde__shard_reader_side(struct sde__shard_reader *reader, struct sde_error *error)
{
	int ret;

	/* its size was found to be within the file's */
	if (sde__side_reserve(&reader->side, reader->side.size))
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = read_at(reader, reader->side.bytes, reader->side.size, 0, error);
	if (ret)
		return ret;
	reader->cause = SDE_CAUSE_SIDE_TABLE;
	return sde__side_parse(&reader->side, reader->place, error);
}
