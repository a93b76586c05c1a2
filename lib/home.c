/* SPDX-License-Identifier: MIT */
/* The directories of a store and of its columns: opened, made. See home.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "home_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sde__home_init(struct sde__home *home, const struct sde__io *io)
{
	memset(home, 0, sizeof(*home));
	home->io = io;
	home->root = home->time = home->time_blocks = home->iteration = -1;
	home->iteration_blocks = home->data = home->shards = home->side = -1;
	home->columns = home->rings = -1;
	home->format = 3;
	home->ring = home->lock = home->parent = -1;
}

void sde__home_close_one(struct sde__home *home, int *fd)
{
	if (*fd >= 0)
		home->io->close(home->io->ctx, *fd);
	*fd = -1;
}

void sde__home_leave(struct sde__home *home)
{
	sde__home_close_one(home, &home->time_blocks);
	sde__home_close_one(home, &home->time);
	sde__home_close_one(home, &home->iteration_blocks);
	sde__home_close_one(home, &home->iteration);
	sde__home_close_one(home, &home->shards);
	sde__home_close_one(home, &home->columns);
	sde__home_close_one(home, &home->side);
	sde__home_close_one(home, &home->ring);
	sde__home_close_one(home, &home->data);
}

void sde__home_close(struct sde__home *home)
{
	sde__home_close_one(home, &home->lock);
	if (home->is_column) {
		sde__home_close_one(home, &home->shards);
		sde__home_close_one(home, &home->ring);
		return;
	}
	sde__home_leave(home);
	sde__home_close_one(home, &home->root);
	sde__home_close_one(home, &home->parent);
	free(home->path);
	free(home->name);
	free(home->temporary);
	home->path = home->name = home->temporary = NULL;
}

int sde__home_open_directory(struct sde__home *home, int dir, const char *name, int *fd,
			     struct sde_error *error)
{
	*fd = home->io->open_at(home->io->ctx, dir, name, O_RDONLY | O_DIRECTORY);
	if (*fd >= 0)
		return 0;
	if (*fd == -ENOENT || *fd == -ENOTDIR || *fd == -ELOOP)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' has no directory '%s'", home->path, name);
	return sde__fail_why(error, *fd, "cannot open directory '%s' of '%s'", name, home->path);
}

static int make_directory(struct sde__home *home, int dir, const char *name, int *fd,
			  struct sde_error *error)
{
	const int ret = home->io->make_directory_at(home->io->ctx, dir, name);

	if (ret)
		return sde__fail_why(error, ret, "cannot make directory '%s' of '%s'", name, home->path);
	return sde__home_open_directory(home, dir, name, fd, error);
}

/* Format 3: data/c/0/0; c is not kept open. */
static int reach_shards(struct sde__home *home, bool make, struct sde_error *error)
{
	int (*step)(struct sde__home *, int, const char *, int *, struct sde_error *) =
		make ? make_directory : sde__home_open_directory;
	int c = -1, ret;

	ret = step(home, home->data, "c", &c, error);
	if (!ret)
		ret = step(home, c, "0", &home->columns, error);
	if (!ret)
		ret = step(home, home->columns, "0", &home->shards, error);
	if (!ret && make) {
		ret = home->io->sync(home->io->ctx, home->columns);
		if (!ret)
			ret = home->io->sync(home->io->ctx, c);
		if (ret)
			sde__fail_why(error, ret, "cannot sync directory 'data/c' of '%s'",
				      home->path);
	}
	sde__home_close_one(home, &c);
	return ret;
}

int sde__home_make_column(const struct sde__home *home, uint64_t column, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	char number[SDE__NUMBER_SIZE];
	int ret;

	snprintf(number, sizeof(number), "%" PRIu64, column);
	/* column 0 has shards already */
	ret = column ? io->make_directory_at(io->ctx, home->columns, number) : 0;
	if (!ret)
		ret = io->sync(io->ctx, home->columns);
	if (!ret)
		ret = io->make_directory_at(io->ctx, home->ring, number);
	if (!ret)
		ret = io->sync(io->ctx, home->ring);
	return ret ? sde__fail_why(error, ret, "cannot make column %s of '%s'", number, home->path) : 0;
}

int sde__home_column(struct sde__home *own, const struct sde__home *home, uint64_t column,
		     bool alone, struct sde_error *error)
{
	char number[SDE__NUMBER_SIZE];
	int ret;

	*own = *home;
	own->shards = own->ring = own->lock = own->parent = -1;
	own->name = own->temporary = NULL;
	own->is_column = true;
	own->alone = alone;
	own->column = column;
	own->rings = home->ring;
	snprintf(number, sizeof(number), "%" PRIu64, column);
	ret = sde__home_open_directory(own, own->columns, number, &own->shards, error);
	return ret ? ret : sde__home_enter_ring(own, error);
}

static int count_number(void *ctx, const char *name)
{
	uint64_t *count = ctx;

	*count += *name && strspn(name, "0123456789") == strlen(name);
	return 0;
}

int sde__home_check_columns(const struct sde__home *home, uint64_t count, struct sde_error *error)
{
	uint64_t there = 0;
	const int ret = home->columns < 0 ? 0 :
			home->io->list(home->io->ctx, home->columns, count_number, &there);

	if (ret)
		return sde__fail_why(error, ret, "cannot list '%s/data/c/0'", home->path);
	if (home->columns < 0 || there >= count)
		return 0;
	return sde__fail(error, SDE_E_CORRUPT, "'%s' has %" PRIu64 " columns, but directories of %"
			 PRIu64, home->path, count, there);
}

/* Format 2: the chunks lie in the arrays' own directories. */
static int enter_v2(struct sde__home *home, bool make, struct sde_error *error)
{
	int ret;

	ret = sde__home_open_directory(home, home->root, "time", &home->time_blocks, error);
	if (!ret)
		ret = sde__home_open_directory(home, home->root, "iteration", &home->iteration_blocks,
					       error);
	if (!ret)
		ret = sde__home_open_directory(home, home->root, "data", &home->shards, error);
	if (ret)
		return ret;
	return make ? make_directory(home, home->data, ".side", &home->side, error) :
		      sde__home_open_directory(home, home->data, ".side", &home->side, error);
}

static int enter_v3(struct sde__home *home, bool make, struct sde_error *error)
{
	int (*step)(struct sde__home *, int, const char *, int *, struct sde_error *) =
		make ? make_directory : sde__home_open_directory;
	int ret;

	ret = step(home, home->time, "c", &home->time_blocks, error);
	if (!ret)
		ret = step(home, home->iteration, "c", &home->iteration_blocks, error);
	return ret ? ret : reach_shards(home, make, error);
}

int sde__home_enter_arrays(struct sde__home *home, bool make, struct sde_error *error)
{
	int (*step)(struct sde__home *, int, const char *, int *, struct sde_error *) =
		make ? make_directory : sde__home_open_directory;
	int ret;

	ret = step(home, home->root, "time", &home->time, error);
	if (!ret)
		ret = step(home, home->root, "iteration", &home->iteration, error);
	if (!ret)
		ret = step(home, home->root, "data", &home->data, error);
	if (ret)
		return ret;
	return home->format == 2 ? enter_v2(home, make, error) : enter_v3(home, make, error);
}

int sde__home_enter(struct sde__home *home, struct sde_error *error)
{
	const int ret = sde__home_enter_arrays(home, false, error);

	return ret ? ret : sde__home_enter_ring(home, error);
}

int sde__home_find_format(struct sde__home *home, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	struct sde__stat st;
	int ret;

	home->format = 3;
	ret = io->stat_at(io->ctx, home->root, "zarr.json", &st);
	if (ret == -ENOENT) {
		home->format = 2;
		ret = io->stat_at(io->ctx, home->root, ".zgroup", &st);
	}
	if (ret == -ENOENT)
		return sde__fail(error, SDE_E_NOT_STORE,
				 "'%s' has no zarr.json and no .zgroup: it is not a Zarr store",
				 home->path);
	return ret ? sde__fail_why(error, ret, "cannot look into '%s'", home->path) : 0;
}

int sde__home_open(struct sde__home *home, const char *path, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	struct sde__stat st;
	int ret;

	home->path = strdup(path);
	if (!home->path)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = io->stat_at(io->ctx, -1, path, &st);
	if (ret)
		return sde__fail_why(error, ret, "cannot open '%s'", path);
	if (!st.is_directory)
		return sde__fail(error, SDE_E_NOT_STORE, "'%s' is not a directory, so no Zarr store", path);
	home->root = io->open_at(io->ctx, -1, path, O_RDONLY | O_DIRECTORY);
	if (home->root < 0)
		return sde__fail_why(error, home->root, "cannot open '%s'", path);
	return sde__home_find_format(home, error);
}

int sde__home_reopen(struct sde__home *home, const struct sde__home *from,
		     struct sde_error *error)
{
	home->path = strdup(from->path);
	if (!home->path)
		return sde__fail(error, -ENOMEM, "out of memory");
	home->root = home->io->open_at(home->io->ctx, from->root, ".", O_RDONLY | O_DIRECTORY);
	home->format = from->format;
	return home->root < 0 ? sde__fail_why(error, home->root, "cannot open '%s'", home->path) : 0;
}
