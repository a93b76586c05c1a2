/* SPDX-License-Identifier: MIT */
/* The files of a chunk as they lie there, by their names: see shard.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

void sde__shard_name(char out[SDE__SHARD_NAME_SIZE], uint64_t index)
{
	snprintf(out, SDE__SHARD_NAME_SIZE, "%" PRIu64, index);
}

void sde__shard_inner_name(char out[SDE__SHARD_NAME_SIZE], uint64_t inner, uint64_t index)
{
	snprintf(out, SDE__SHARD_NAME_SIZE, "0.%" PRIu64 ".%" PRIu64, inner, index);
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
