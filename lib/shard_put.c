/* SPDX-License-Identifier: MIT */
/* The file of a chunk in the making: see shard.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shard.h"

#include "crc32c.h"
#include "planted.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* That many at once are told to the system to begin to write. */
#define HINT_BYTES ((uint64_t)1 << 20)

/* ------------------------------------------------------------------------
 * The file that is replaced
 */

/* The index of an open chunk file, malloc'd; NULL if it is too short to have one. */
static int read_index(const struct sde__shard *shard, int fd, uint64_t **table, uint64_t *size)
{
	const struct sde__io *io = shard->home->io;
	const size_t bytes = sde__shard_index_bytes(shard->inner_count);
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

/* Where each inner chunk comes to lie, the first `gap` bytes behind the side table. */
static void lay_out(struct sde__shard *shard, uint64_t gap)
{
	uint64_t offset = sde__shard_align(shard->side.size) + gap;

	for (uint64_t i = 0; i < shard->inner_count; i++) {
		shard->table[2 * i] = offset;
		shard->table[2 * i + 1] = shard->size[i];
		offset += sde__shard_align(shard->size[i]);
	}
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

/* The gap in front of the first inner chunk with which the old index misleads nobody. */
static uint64_t gap_for(struct sde__shard *shard, const uint64_t *old)
{
	uint64_t gap = 0;

	lay_out(shard, gap);
	while (misleads(old, shard->table, shard->inner_count) && !sde__planted("shard-reuses-offsets"))
		lay_out(shard, gap += SDE__SHARD_ALIGN);
	return gap;
}

void sde__shard_drop(struct sde__shard *shard)
{
	const struct sde__io *io = shard->home->io;
	char name[SDE__SHARD_NAME_SIZE];

	if (shard->home->format != 2 && (shard->fd >= 0 || shard->put)) {
		sde__shard_name(name, shard->index);
		sde__io_remove_temporary(io, shard->home->shards, name);
	}
	if (shard->fd >= 0)
		io->close(io->ctx, shard->fd);
	shard->fd = -1;
	shard->put = 0;
}

/* ------------------------------------------------------------------------
 * Format 3: one file
 */

static int fail_v3(const struct sde__shard *shard, const char *verb, int why, struct sde_error *error)
{
	return sde__fail_why(error, why, "cannot %s chunk 'data/c/0/%" PRIu64 "/%" PRIu64 "'", verb,
			     shard->home->column, shard->index);
}

/* No file is begun, and that is no failure, if it is to be put as a whole. */
static int begin_file(struct sde__shard *shard, uint64_t upto, struct sde_error *error)
{
	const struct sde__io *io = shard->home->io;
	char name[SDE__SHARD_NAME_SIZE];
	uint64_t *old, gap = 0;
	int ret;

	sde__shard_name(name, shard->index);
	ret = old_index(shard, name, &old, &shard->least);
	shard->whole_only = old != NULL;
	if (!ret && old && upto == shard->inner_count)
		gap = gap_for(shard, old);
	free(old);
	if (ret)
		return fail_v3(shard, "read", ret, error);
	if (shard->whole_only && upto < shard->inner_count)
		return 0;
	ret = sde__io_open_temporary(io, shard->home->shards, name);
	if (ret < 0)
		return fail_v3(shard, "write", ret, error);
	shard->fd = ret;
	shard->end = sde__shard_align(shard->side.size) + gap;
	shard->hinted = shard->end;
	ret = sde__io_write_all(io, shard->fd, shard->side.bytes, shard->side.size, 0);
	return ret ? fail_v3(shard, "write", ret, error) : 0;
}

static unsigned char *part_of(const struct sde__shard *shard, uint64_t inner)
{
	return shard->encoded + inner * shard->part;
}

/* One inner chunk behind what is there, and zeros up to where the next one begins. */
static int put_inner(struct sde__shard *shard, unsigned char *bytes)
{
	const size_t size = shard->size[shard->put], room = sde__shard_align(size);
	const struct sde__io *io = shard->home->io;
	int ret;

	/* there is room for the gap in memory, too */
	memset(bytes + size, 0, room - size);
	ret = sde__io_write_all(io, shard->fd, bytes, room, shard->end);
	if (ret)
		return ret;
	shard->table[2 * shard->put] = shard->end;
	shard->table[2 * shard->put + 1] = size;
	shard->end += room;
	shard->put++;
	return 0;
}

/* The index, at `least` bytes or behind them; then the file is whole. */
static int put_index(struct sde__shard *shard)
{
	const size_t tail = sde__shard_index_bytes(shard->inner_count);
	const struct sde__io *io = shard->home->io;
	uint32_t crc;
	int ret;

	if (shard->end + tail < shard->least)
		shard->end = shard->least - tail;
	crc = sde__crc32c(0, shard->table, (size_t)shard->inner_count * 16);
	memcpy(shard->table + 2 * shard->inner_count, &crc, 4);
	ret = sde__io_write_all(io, shard->fd, shard->table, tail, shard->end);
	shard->end += tail;
	return ret;
}

/* If there are `least` bytes more: the system may begin to write them to the device. */
static void hint(struct sde__shard *shard, uint64_t least)
{
	const struct sde__io *io = shard->home->io;

	if (!io->begin_sync || shard->end - shard->hinted < least)
		return;
	io->begin_sync(io->ctx, shard->fd, shard->hinted, shard->end - shard->hinted);
	shard->hinted = shard->end;
}

static int put_v3(struct sde__shard *shard, uint64_t upto, bool durable, struct sde_error *error)
{
	int ret = 0;

	if (shard->fd < 0)
		ret = begin_file(shard, upto, error);
	if (ret || shard->fd < 0)
		return ret;
	while (shard->put < upto && !ret)
		ret = put_inner(shard, part_of(shard, shard->put));
	if (!ret && shard->put == shard->inner_count)
		ret = put_index(shard);
	if (!ret && durable)
		hint(shard, 1);
	return ret ? fail_v3(shard, "write", ret, error) : 0;
}

static int pass_v3(struct sde__shard *shard, void *raw, bool durable, struct sde_error *error)
{
	unsigned char *bytes = shard->codec.id == SDE_CODEC_NONE ? raw : part_of(shard, shard->put);
	int ret;

	ret = sde__shard_encode_to(shard, shard->put, raw, bytes, error);
	if (ret)
		return ret;
	ret = put_inner(shard, bytes);
	if (!ret && durable)
		hint(shard, HINT_BYTES);
	return ret ? fail_v3(shard, "write", ret, error) : 0;
}

static int end_v3(struct sde__shard *shard, bool durable, struct sde_error *error)
{
	const struct sde__io *io = shard->home->io;
	int ret = 0, closed;

	if (durable && !sde__planted("chunk-no-fsync"))
		ret = io->sync(io->ctx, shard->fd);
	if (sde__planted("fsync-error-swallowed"))
		ret = 0;
	closed = io->close(io->ctx, shard->fd);
	shard->fd = -1;
	ret = ret ? ret : closed;
	return ret ? fail_v3(shard, "write", ret, error) : 0;
}

static int enter_v3(struct sde__shard *shard, struct sde_error *error)
{
	const struct sde__home *home = shard->home;
	char name[SDE__SHARD_NAME_SIZE];
	int ret;

	sde__shard_name(name, shard->index);
	ret = sde__io_name_temporary(home->io, home->shards, name);
	if (ret)
		sde__shard_drop(shard);
	return ret ? fail_v3(shard, "write", ret, error) : 0;
}

/* ------------------------------------------------------------------------
 * Format 2: a file each, and the side table last
 */

static int put_v2(struct sde__shard *shard, uint64_t upto, bool durable, struct sde_error *error)
{
	const struct sde__home *home = shard->home;
	const struct sde__io *io = home->io;
	char name[SDE__SHARD_NAME_SIZE] = "";
	int ret = 0;

	for (; shard->put < upto && !ret; shard->put++) {
		const struct sde__piece piece = { shard->encoded + shard->put * shard->part,
						  shard->size[shard->put] };

		sde__shard_inner_name(name, shard->put, shard->index);
		ret = sde__io_replace(io, home->shards, name, &piece, 1, durable);
		shard->end += piece.size;
	}
	if (!ret && shard->put == shard->inner_count && durable &&
	    !sde__planted("side-table-before-chunk"))
		ret = io->sync(io->ctx, home->shards);
	return ret ? sde__fail_why(error, ret, "cannot write chunk 'data/%s'", name) : 0;
}

static int enter_v2(struct sde__shard *shard, bool durable, struct sde_error *error)
{
	const struct sde__piece side = { shard->side.bytes, shard->side.size };
	const struct sde__home *home = shard->home;
	const struct sde__io *io = home->io;
	char name[SDE__SHARD_NAME_SIZE];
	int ret;

	sde__shard_name(name, shard->index);
	ret = sde__io_replace(io, home->side, name, &side, 1, durable);
	return ret ? sde__fail_why(error, ret, "cannot write 'data/.side/%s'", name) : 0;
}

/* ------------------------------------------------------------------------
 * Both
 */

int sde__shard_put(struct sde__shard *shard, uint64_t upto, const struct sde__stamp *stamp,
		   bool durable, struct sde_error *error)
{
	int ret = 0;

	if (!shard->put) {
		shard->end = 0;
		ret = sde__shard_side(shard, stamp, error);
	}
	if (!ret)
		ret = shard->home->format == 2 ? put_v2(shard, upto, durable, error) :
		      put_v3(shard, upto, durable, error);
	if (ret)
		sde__shard_drop(shard);
	return ret;
}

int sde__shard_pass(struct sde__shard *shard, void *raw, const struct sde__stamp *stamp,
		    bool durable, struct sde_error *error)
{
	const bool is_3 = shard->home->format != 2;
	int ret = 0;

	if (is_3 && shard->fd < 0 && !shard->whole_only) {
		shard->end = 0;
		ret = sde__shard_side(shard, stamp, error);
		if (!ret)
			ret = begin_file(shard, 0, error);
	}
	if (!ret)
		ret = shard->fd >= 0 ? pass_v3(shard, raw, durable, error) :
		      sde__shard_encode(shard, shard->put, raw, error);
	if (ret)
		sde__shard_drop(shard);
	return ret;
}

int sde__shard_end(struct sde__shard *shard, bool durable, struct sde_error *error)
{
	int ret = sde__shard_is_open(shard) ? end_v3(shard, durable, error) : 0;

	if (ret)
		sde__shard_drop(shard);
	return ret;
}

int sde__shard_enter(struct sde__shard *shard, bool durable, uint64_t *file_size,
		     struct sde_error *error)
{
	int ret;

	*file_size = shard->end;
	ret = shard->home->format == 2 ? enter_v2(shard, durable, error) : enter_v3(shard, error);
	shard->put = 0;
	return ret;
}

int sde__shard_sync_names(const struct sde__home *home, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	int ret;

	if (sde__planted("chunk-no-directory-fsync"))
		return 0;
	ret = io->sync(io->ctx, home->format == 2 ? home->side : home->shards);
	if (ret && home->format == 2)
		return sde__fail_why(error, ret, "cannot sync the directory 'data/.side'");
	return ret ? sde__fail_why(error, ret, "cannot sync the directory 'data/c/0/%" PRIu64 "'",
				   home->column) : 0;
}

int sde__shard_write(struct sde__shard *shard, const struct sde__stamp *stamp, bool durable,
		     uint64_t *file_size, struct sde_error *error)
{
	int ret = sde__shard_put(shard, shard->inner_count, stamp, durable, error);

	if (!ret)
		ret = sde__shard_end(shard, durable, error);
	if (!ret)
		ret = sde__shard_enter(shard, durable, file_size, error);
	return ret || !durable ? ret : sde__shard_sync_names(shard->home, error);
}
