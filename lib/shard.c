/* SPDX-License-Identifier: MIT */
/* Assembling and writing one chunk's file: see shard.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shard.h"

#include "crc32c.h"
#include "guard.h"
#include "planted.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 64

static size_t align(size_t size)
{
	return (size + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t index_bytes(uint64_t inner_count)
{
	return (size_t)inner_count * 16 + 4;
}

void sde__shard_name(char out[SDE__SHARD_NAME_SIZE], uint64_t index)
{
	snprintf(out, SDE__SHARD_NAME_SIZE, "%" PRIu64, index);
}

void sde__shard_inner_name(char out[SDE__SHARD_NAME_SIZE], uint64_t inner, uint64_t index)
{
	snprintf(out, SDE__SHARD_NAME_SIZE, "0.%" PRIu64 ".%" PRIu64, inner, index);
}

uint64_t sde__shard_memory(const struct sde__slot_layout *layout, const struct sde__codec *codec)
{
	const struct sde__geometry *g = &layout->geometry;
	const uint64_t inner = sde__inner_count(g);

	return inner * align(sde__codec_bound(codec, sde__inner_bytes(g))) +
	       inner * (sizeof(size_t) + 2 * sizeof(struct sde__piece)) + index_bytes(inner) +
	       sde__side_size(g->chunk_size, g->chunk_size * layout->state_capacity);
}

int sde__shard_init(struct sde__shard *shard, const struct sde__home *home,
		    const struct sde__slot_layout *layout, const struct sde__codec *codec,
		    struct sde_error *error)
{
	size_t all;

	memset(shard, 0, sizeof(*shard));
	shard->home = home;
	shard->layout = *layout;
	shard->codec = *codec;
	shard->inner_count = sde__inner_count(&layout->geometry);
	shard->part = align(sde__codec_bound(codec, sde__inner_bytes(&layout->geometry)));
	if (__builtin_mul_overflow(shard->part, shard->inner_count, &all))
		return sde__fail(error, -EINVAL, "a chunk is larger than memory can be");
	shard->encoded = aligned_alloc(ALIGN, all);
	shard->size = calloc((size_t)shard->inner_count, sizeof(*shard->size));
	shard->table = malloc(index_bytes(shard->inner_count));
	/* side table and two gaps, each inner chunk, a hole, the index */
	shard->piece = calloc((size_t)shard->inner_count + 5, sizeof(*shard->piece));
	if (!shard->encoded || !shard->size || !shard->table || !shard->piece) {
		sde__shard_free(shard);
		return sde__fail(error, -ENOMEM, "out of memory: a chunk takes %zu bytes to encode",
				 all);
	}
	return 0;
}

void sde__shard_free(struct sde__shard *shard)
{
	free(shard->encoded);
	free(shard->size);
	free(shard->table);
	free(shard->piece);
	sde__side_free(&shard->side);
	memset(shard, 0, sizeof(*shard));
}

void sde__shard_begin(struct sde__shard *shard, uint64_t index, uint64_t count,
		      const unsigned char *slots)
{
	shard->index = index;
	shard->count = count;
	shard->slots = slots;
}

/* A copy out of the slots, under the guard if they have one. */
static int from_slots(const struct sde__shard *shard, void (*copy)(void *ctx), void *ctx,
		      struct sde_error *error)
{
	const struct sde__slot_layout *l = &shard->layout;

	if (!shard->guarded)
		copy(ctx);
	else if (sde__guard_run(shard->slots, shard->count * l->slot_size, copy, ctx))
		return sde__fail(error, -EIO,
				 "cannot read 'data/.ring/segment.%u': somebody shortened it, or its device failed",
				 (unsigned)(shard->index % l->segments));
	return 0;
}

struct gathering {
	const struct sde__geometry *geometry;
	const struct sde__slots *slots;
	uint64_t inner;
	void *raw;
};

static void gather(void *ctx)
{
	const struct gathering *g = ctx;

	sde__gather(g->geometry, g->slots, g->inner, g->raw);
}

int sde__shard_encode(struct sde__shard *shard, uint64_t inner, void *raw, struct sde_error *error)
{
	const struct sde__slot_layout *l = &shard->layout;
	const struct sde__slots slots = {
		.payload = shard->slots + l->payload_offset,
		.slot_size = l->slot_size,
		.dimension_stride = l->dimension_stride,
		.trajectory_stride = l->trajectory_stride,
		.count = shard->count,
		.keepbits = shard->codec.keepbits,
	};
	struct gathering gathering = { &l->geometry, &slots, inner, raw };
	const size_t n = sde__inner_bytes(&l->geometry);
	int ret;

	ret = from_slots(shard, gather, &gathering, error);
	if (ret)
		return ret;
	ret = sde__codec_encode(&shard->codec, raw, n, shard->encoded + inner * shard->part,
				&shard->size[inner]);
	return ret ? sde__fail_why(error, ret, "cannot compress inner chunk %" PRIu64 " of chunk %" PRIu64,
				   inner, shard->index) : 0;
}

/* Where each inner chunk comes to lie, the first `gap` bytes behind the side table. */
static uint64_t lay_out(struct sde__shard *shard, uint64_t gap)
{
	uint64_t offset = align(shard->side.size) + gap;

	for (uint64_t i = 0; i < shard->inner_count; i++) {
		shard->table[2 * i] = offset;
		shard->table[2 * i + 1] = shard->size[i];
		offset += align(shard->size[i]);
	}
	return offset;
}

/*
 * Would the old index find another inner chunk than its own whole in the new
 * file? Offsets rise in both.
 */
static bool misleads(const uint64_t *old, const uint64_t *table, uint64_t count)
{
	for (uint64_t i = 0, j = 0; i < count && j < count; ) {
		if (old[2 * i] == table[2 * j] && old[2 * i + 1] == table[2 * j + 1] && i != j)
			return true;
		if (old[2 * i] < table[2 * j])
			i++;
		else
			j++;
	}
	return false;
}

/* The pieces of the file, in `least` bytes or more; returns their number. */
static size_t assemble(struct sde__shard *shard, uint64_t gap, uint64_t offset, uint64_t least,
		       uint64_t *file_size)
{
	static const unsigned char zeros[ALIGN];
	const size_t side = shard->side.size, tail = index_bytes(shard->inner_count);
	struct sde__piece *p = shard->piece;
	uint32_t crc;

	*p++ = (struct sde__piece){ shard->side.bytes, side };
	*p++ = (struct sde__piece){ zeros, align(side) - side };
	*p++ = (struct sde__piece){ NULL, (size_t)gap };
	for (uint64_t i = 0; i < shard->inner_count; i++) {
		const size_t size = shard->size[i], room = align(size);

		/* the gap lies behind the part in memory, too */
		memset(shard->encoded + i * shard->part + size, 0, room - size);
		*p++ = (struct sde__piece){ shard->encoded + i * shard->part, room };
	}
	if (offset + tail < least) {
		*p++ = (struct sde__piece){ NULL, (size_t)(least - tail - offset) };
		offset = least - tail;
	}
	crc = sde__crc32c(0, shard->table, (size_t)shard->inner_count * 16);
	memcpy(shard->table + 2 * shard->inner_count, &crc, 4);
	*p++ = (struct sde__piece){ shard->table, tail };
	*file_size = offset + tail;
	return (size_t)(p - shard->piece);
}

/* The index of an open chunk file, malloc'd; NULL if it is too short to have one. */
static int read_index(const struct sde__shard *shard, int fd, uint64_t **table, uint64_t *size)
{
	const struct sde__io *io = shard->home->io;
	const size_t bytes = index_bytes(shard->inner_count);
	struct sde__stat st;
	int ret;

	ret = io->stat(io->ctx, fd, &st);
	if (ret)
		return ret;
	*size = st.size;
	if (st.size < bytes)
		return 0;
	*table = malloc(bytes);
	return *table ? sde__io_read_all(io, fd, *table, bytes, st.size - bytes) : -ENOMEM;
}

/* Index and size of the file that is to be replaced: NULL and 0 if there is none. */
static int old_index(const struct sde__shard *shard, const char *name, uint64_t **table,
		     uint64_t *size)
{
	const struct sde__io *io = shard->home->io;
	int fd, ret, closed;

	*table = NULL;
	*size = 0;
	fd = io->open_at(io->ctx, shard->home->shards, name, O_RDONLY);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	ret = read_index(shard, fd, table, size);
	closed = io->close(io->ctx, fd);
	return ret ? ret : closed;
}

static int write_v3(struct sde__shard *shard, bool durable, uint64_t *file_size,
		    struct sde_error *error)
{
	const struct sde__home *home = shard->home;
	const struct sde__io *io = home->io;
	char name[SDE__SHARD_NAME_SIZE];
	uint64_t *old, least, end, gap = 0;
	size_t pieces;
	int ret;

	sde__shard_name(name, shard->index);
	ret = old_index(shard, name, &old, &least);
	if (ret) {
		free(old);
		return sde__fail_why(error, ret, "cannot read chunk 'data/c/0/%" PRIu64 "/%s'",
				     home->column, name);
	}
	end = lay_out(shard, gap);
	while (old && !sde__planted("shard-reuses-offsets") &&
	       misleads(old, shard->table, shard->inner_count))
		end = lay_out(shard, gap += ALIGN);
	free(old);
	pieces = assemble(shard, gap, end, least, file_size);
	ret = sde__io_replace(io, home->shards, name, shard->piece, pieces,
			      durable && !sde__planted("chunk-no-fsync"));
	if (!ret && durable && !sde__planted("chunk-no-directory-fsync"))
		ret = io->sync(io->ctx, home->shards);
	return ret ? sde__fail_why(error, ret, "cannot write chunk 'data/c/0/%" PRIu64 "/%s'",
				   home->column, name) : 0;
}

static int write_v2(struct sde__shard *shard, bool durable, uint64_t *file_size,
		    struct sde_error *error)
{
	const struct sde__piece side = { shard->side.bytes, shard->side.size };
	const struct sde__home *home = shard->home;
	const struct sde__io *io = home->io;
	char name[SDE__SHARD_NAME_SIZE] = "";
	int ret = 0;

	*file_size = 0;
	for (uint64_t i = 0; i < shard->inner_count && !ret; i++) {
		const struct sde__piece piece = { shard->encoded + i * shard->part,
						  shard->size[i] };

		sde__shard_inner_name(name, i, shard->index);
		ret = sde__io_replace(io, home->shards, name, &piece, 1, durable);
		*file_size += piece.size;
	}
	if (!ret && durable && !sde__planted("side-table-before-chunk"))
		ret = io->sync(io->ctx, home->shards);
	if (ret)
		return sde__fail_why(error, ret, "cannot write chunk 'data/%s'", name);
	sde__shard_name(name, shard->index);
	ret = sde__io_replace(io, home->side, name, &side, 1, durable);
	if (!ret && durable)
		ret = io->sync(io->ctx, home->side);
	return ret ? sde__fail_why(error, ret, "cannot write 'data/.side/%s'", name) : 0;
}

struct copying {
	const struct sde__shard *shard;
	unsigned char *heads;
};

/* What lies before the payload of each slot, close together. */
static void copy_heads(void *ctx)
{
	const struct copying *c = ctx;
	const struct sde__slot_layout *l = &c->shard->layout;

	for (uint64_t i = 0; i < c->shard->count; i++)
		memcpy(c->heads + i * l->payload_offset, c->shard->slots + i * l->slot_size,
		       l->payload_offset);
}

static int build_side(struct sde__shard *shard, uint64_t epoch, const unsigned char run[16],
		      struct sde_error *error)
{
	const uint64_t first = shard->index * shard->layout.geometry.chunk_size;
	struct sde__slot_layout heads = shard->layout;
	struct copying copying = { shard, NULL };
	int ret;

	if (!shard->guarded)
		return sde__side_build(&shard->side, &shard->layout, shard->slots, shard->count,
				       first, epoch, run, error);
	/* building allocates, which a fault must not interrupt: copy first */
	heads.slot_size = heads.payload_offset;
	copying.heads = malloc(shard->count * heads.slot_size);
	if (!copying.heads)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = from_slots(shard, copy_heads, &copying, error);
	if (!ret)
		ret = sde__side_build(&shard->side, &heads, copying.heads, shard->count, first,
				      epoch, run, error);
	free(copying.heads);
	return ret;
}

int sde__shard_write(struct sde__shard *shard, uint64_t epoch, const unsigned char run[16],
		     bool durable, uint64_t *file_size, struct sde_error *error)
{
	int ret;

	ret = build_side(shard, epoch, run, error);
	if (ret)
		return ret;
	return shard->home->format == 2 ? write_v2(shard, durable, file_size, error) :
	       write_v3(shard, durable, file_size, error);
}

uint64_t sde__shard_files(const struct sde__home *home, const struct sde__geometry *geometry)
{
	return home->format == 2 ? sde__inner_count(geometry) : 1;
}

/* The name of the i-th file of data of a chunk. */
static void file_name(char out[SDE__SHARD_NAME_SIZE], const struct sde__home *home, uint64_t i,
		      uint64_t index)
{
	if (home->format == 2)
		sde__shard_inner_name(out, i, index);
	else
		sde__shard_name(out, index);
}

static int sync_file(const struct sde__io *io, int dir, const char *name)
{
	int fd, ret;

	fd = io->open_at(io->ctx, dir, name, O_RDONLY);
	if (fd < 0)
		return fd;
	ret = io->sync(io->ctx, fd);
	io->close(io->ctx, fd);
	return ret;
}

int sde__shard_sync(const struct sde__home *home, const struct sde__geometry *geometry,
		    uint64_t from, uint64_t to, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	char name[SDE__SHARD_NAME_SIZE] = "";
	int ret = 0;

	for (uint64_t k = from; k < to && !ret; k++) {
		for (uint64_t i = 0; i < sde__shard_files(home, geometry) && !ret; i++) {
			file_name(name, home, i, k);
			ret = sync_file(io, home->shards, name);
		}
		if (!ret && home->format == 2) {
			sde__shard_name(name, k);
			ret = sync_file(io, home->side, name);
		}
	}
	if (!ret)
		ret = io->sync(io->ctx, home->shards);
	if (!ret && home->format == 2)
		ret = io->sync(io->ctx, home->side);
	return ret ? sde__fail_why(error, ret, "cannot sync chunk '%s' of '%s'", name, home->path) : 0;
}

int sde__shard_is_whole(const struct sde__home *home, const struct sde__geometry *geometry,
			uint64_t index, struct sde_error *error)
{
	char name[SDE__SHARD_NAME_SIZE];
	struct sde__stat st;
	int ret;

	for (uint64_t i = 0; i < sde__shard_files(home, geometry); i++) {
		file_name(name, home, i, index);
		ret = home->io->stat_at(home->io->ctx, home->shards, name, &st);
		if (ret == -ENOENT)
			return home->format == 2 ?
			       sde__fail(error, SDE_E_HOLE, "'%.200s/data/%s' is missing",
					 home->path, name) :
			       sde__fail(error, SDE_E_HOLE,
					 "'%.200s/data/c/0/%" PRIu64 "/%s' is missing", home->path,
					 home->column, name);
		if (ret)
			return sde__fail_why(error, ret, "cannot stat chunk '%s' of '%s'", name,
					     home->path);
	}
	return 0;
}

int sde__shard_remove(const struct sde__home *home, const struct sde__geometry *geometry,
		      uint64_t index, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	char name[SDE__SHARD_NAME_SIZE];
	int ret = 0;

	/* without its side table a chunk is none: so that goes first */
	sde__shard_name(name, index);
	if (home->format == 2)
		ret = io->remove_at(io->ctx, home->side, name, false);
	for (uint64_t i = 0; i < sde__shard_files(home, geometry) && (!ret || ret == -ENOENT); i++) {
		file_name(name, home, i, index);
		ret = io->remove_at(io->ctx, home->shards, name, false);
	}
	return ret && ret != -ENOENT ? sde__fail_why(error, ret, "cannot remove chunk '%s' of '%s'",
						     name, home->path) : 0;
}
