/* SPDX-License-Identifier: MIT */
/* The directories of a store: opened, made, put in place. See home.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "home.h"

#include "planted.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RING_NAME ".ring"
#define LOCK_NAME "lock"

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

static void close_one(struct sde__home *home, int *fd)
{
	if (*fd >= 0)
		home->io->close(home->io->ctx, *fd);
	*fd = -1;
}

void sde__home_leave(struct sde__home *home)
{
	close_one(home, &home->time_blocks);
	close_one(home, &home->time);
	close_one(home, &home->iteration_blocks);
	close_one(home, &home->iteration);
	close_one(home, &home->shards);
	close_one(home, &home->columns);
	close_one(home, &home->side);
	close_one(home, &home->ring);
	close_one(home, &home->data);
}

void sde__home_close(struct sde__home *home)
{
	close_one(home, &home->lock);
	if (home->is_column) {
		close_one(home, &home->shards);
		close_one(home, &home->ring);
		return;
	}
	sde__home_leave(home);
	close_one(home, &home->root);
	close_one(home, &home->parent);
	free(home->path);
	free(home->name);
	free(home->temporary);
	home->path = home->name = home->temporary = NULL;
}

/* The length of path without its last component; 0 if it has no slash. */
static size_t parent_length(const char *path, size_t *end)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	*end = n;
	while (n && path[n - 1] != '/')
		n--;
	return n;
}

char *sde__home_parent_path(const char *path)
{
	size_t end;
	const size_t n = parent_length(path, &end);

	return n ? strndup(path, n) : strdup(".");
}

static int open_directory(struct sde__home *home, int dir, const char *name, int *fd,
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
	return open_directory(home, dir, name, fd, error);
}

/* Format 3: data/c/0/0; c is not kept open. */
static int reach_shards(struct sde__home *home, bool make, struct sde_error *error)
{
	int (*step)(struct sde__home *, int, const char *, int *, struct sde_error *) =
		make ? make_directory : open_directory;
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
	close_one(home, &c);
	return ret;
}

#define NUMBER_SIZE 24

/* Where the directory of the ring is, and its name there. */
static int ring_place(const struct sde__home *home, char name[NUMBER_SIZE])
{
	const bool own = home->is_column && !home->alone;

	if (own)
		snprintf(name, NUMBER_SIZE, "%" PRIu64, home->column);
	else
		snprintf(name, NUMBER_SIZE, RING_NAME);
	return own ? home->rings : home->data;
}

int sde__home_enter_ring(struct sde__home *home, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	char name[NUMBER_SIZE];
	const int dir = ring_place(home, name);

	close_one(home, &home->ring);
	if (dir < 0)
		return 0;
	home->ring = io->open_at(io->ctx, dir, name, O_RDONLY | O_DIRECTORY);
	if (home->ring >= 0)
		return 0;
	if (home->ring == -ENOENT) {
		home->ring = -1;
		return 0;
	}
	return sde__fail_why(error, home->ring, "cannot open '%s/data/.ring'", home->path);
}

int sde__home_make_column(const struct sde__home *home, uint64_t column, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	char number[NUMBER_SIZE];
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
	char number[NUMBER_SIZE];
	int ret;

	*own = *home;
	own->shards = own->ring = own->lock = own->parent = -1;
	own->name = own->temporary = NULL;
	own->is_column = true;
	own->alone = alone;
	own->column = column;
	own->rings = home->ring;
	snprintf(number, sizeof(number), "%" PRIu64, column);
	ret = open_directory(own, own->columns, number, &own->shards, error);
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

	ret = open_directory(home, home->root, "time", &home->time_blocks, error);
	if (!ret)
		ret = open_directory(home, home->root, "iteration", &home->iteration_blocks, error);
	if (!ret)
		ret = open_directory(home, home->root, "data", &home->shards, error);
	if (ret)
		return ret;
	return make ? make_directory(home, home->data, ".side", &home->side, error) :
		      open_directory(home, home->data, ".side", &home->side, error);
}

static int enter_v3(struct sde__home *home, bool make, struct sde_error *error)
{
	int (*step)(struct sde__home *, int, const char *, int *, struct sde_error *) =
		make ? make_directory : open_directory;
	int ret;

	ret = step(home, home->time, "c", &home->time_blocks, error);
	if (!ret)
		ret = step(home, home->iteration, "c", &home->iteration_blocks, error);
	return ret ? ret : reach_shards(home, make, error);
}

/* Everything below the root but the ring. */
static int enter_arrays(struct sde__home *home, bool make, struct sde_error *error)
{
	int (*step)(struct sde__home *, int, const char *, int *, struct sde_error *) =
		make ? make_directory : open_directory;
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
	const int ret = enter_arrays(home, false, error);

	return ret ? ret : sde__home_enter_ring(home, error);
}

/* Which root document is there? */
static int find_format(struct sde__home *home, struct sde_error *error)
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
	return find_format(home, error);
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

int sde__home_sync_name(const struct sde__home *home, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	/* not by its path, which may be a link */
	const int fd = io->open_at(io->ctx, home->root, "..", O_RDONLY | O_DIRECTORY);
	int ret;

	if (fd == -EACCES || fd == -EPERM) {
		ret = io->sync_file_system ? io->sync_file_system(io->ctx, home->root) : 0;
	} else if (fd < 0) {
		return sde__fail_why(error, fd, "cannot open the directory of '%s'", home->path);
	} else {
		ret = io->sync(io->ctx, fd);
		io->close(io->ctx, fd);
	}
	return ret ? sde__fail_why(error, ret, "cannot sync the directory of '%s'", home->path) : 0;
}

static int found_one(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return 1;
}

/* What stands at `name` already: may it be replaced? *exists if more than an empty directory. */
static int check_target(struct sde__home *home, bool overwrite, bool *exists,
			struct sde_error *error)
{
	const struct sde__io *io = home->io;
	struct sde__stat st;
	int fd, ret;

	*exists = false;
	ret = io->stat_at(io->ctx, home->parent, home->name, &st);
	if (ret == -ENOENT)
		return 0;
	if (ret)
		return sde__fail_why(error, ret, "cannot stat '%s'", home->path);
	if (!st.is_directory)
		return sde__fail(error, overwrite ? SDE_E_NOT_STORE : -EEXIST,
				 "'%s' exists and is not a directory", home->path);
	fd = io->open_at(io->ctx, home->parent, home->name, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return sde__fail_why(error, fd, "cannot open '%s'", home->path);
	ret = io->list(io->ctx, fd, found_one, NULL);
	io->close(io->ctx, fd);
	if (ret < 0)
		return sde__fail_why(error, ret, "cannot list '%s'", home->path);
	if (!ret)
		return 0;	/* an empty directory is as good as none */
	*exists = true;
	if (!overwrite)
		return sde__fail(error, -EEXIST,
				 "'%s' exists: set overwrite to replace a store, or resume it",
				 home->path);
	return 0;
}

static int split_path(struct sde__home *home, const char *path, struct sde_error *error)
{
	unsigned char salt[6];
	size_t start, end;
	char *parent;
	int ret;

	start = parent_length(path, &end);
	home->path = strdup(path);
	home->name = strndup(path + start, end - start);
	home->temporary = malloc(NAME_MAX + 1);
	parent = sde__home_parent_path(path);
	if (!home->path || !home->name || !home->temporary || !parent) {
		free(parent);
		return sde__fail(error, -ENOMEM, "out of memory");
	}
	if (!*home->name || !strcmp(home->name, ".") || !strcmp(home->name, "..")) {
		free(parent);
		return sde__fail(error, -EINVAL, "save_directory '%s' names no new directory", path);
	}
	ret = home->io->random(home->io->ctx, salt, sizeof(salt));
	if (ret) {
		free(parent);
		return sde__fail_why(error, ret, "no random numbers");
	}
	ret = snprintf(home->temporary, NAME_MAX + 1, ".%s.%02x%02x%02x%02x%02x%02x.new", home->name,
		       salt[0], salt[1], salt[2], salt[3], salt[4], salt[5]);
	if (ret > NAME_MAX) {
		free(parent);
		return sde__fail_why(error, -ENAMETOOLONG, "cannot make '%s'", path);
	}
	home->parent = home->io->open_at(home->io->ctx, -1, parent, O_RDONLY | O_DIRECTORY);
	ret = home->parent < 0 ? home->parent : 0;
	if (ret)
		sde__fail_why(error, ret, "cannot open '%s'", parent);
	free(parent);
	return ret;
}

int sde__home_build(struct sde__home *home, const char *path, bool overwrite, bool *exists,
		    struct sde_error *error)
{
	int ret;

	ret = split_path(home, path, error);
	if (!ret)
		ret = check_target(home, overwrite, exists, error);
	if (ret)
		return ret;
	ret = home->io->make_directory_at(home->io->ctx, home->parent, home->temporary);
	if (ret) {
		/* whatever has that name is not for undo to remove */
		free(home->temporary);
		home->temporary = NULL;
		return sde__fail_why(error, ret, "cannot make a directory beside '%s'", path);
	}
	ret = open_directory(home, home->parent, home->temporary, &home->root, error);
	if (!ret)
		ret = enter_arrays(home, true, error);
	return ret ? ret : sde__home_lock(home, error);
}

void sde__home_undo(struct sde__home *home)
{
	/* not there, if the build did not come as far: no matter */
	if (home->parent >= 0 && home->temporary)
		sde__io_remove_tree(home->io, home->parent, home->temporary);
}

/*
 * Exchange the new store, under home->temporary, and the old one, under home->name:
 * in one instant if the system can. Done twice it changes nothing.
 */
static int swap(struct sde__home *home, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	char aside[NAME_MAX + 1];
	int ret;

	ret = io->exchange_at(io->ctx, home->parent, home->temporary, home->parent, home->name);
	if (!ret)
		return 0;
	if (ret != -EINVAL && ret != -ENOSYS)
		return sde__fail_why(error, ret, "cannot replace '%s'", home->path);
	if (snprintf(aside, sizeof(aside), "%.*s.old", NAME_MAX - 8, home->temporary) < 0)
		return -ENAMETOOLONG;
	ret = io->rename_at(io->ctx, home->parent, home->name, home->parent, aside);
	if (ret)
		return sde__fail_why(error, ret, "cannot replace '%s'", home->path);
	ret = io->rename_at(io->ctx, home->parent, home->temporary, home->parent, home->name);
	if (ret) {
		io->rename_at(io->ctx, home->parent, aside, home->parent, home->name);
		return sde__fail_why(error, ret, "cannot replace '%s'", home->path);
	}
	memcpy(home->temporary, aside, sizeof(aside));
	return 0;
}

/* Put the new store where the old one is, and remove that. */
static int exchange(struct sde__home *home, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	int ret;

	ret = swap(home, error);
	if (ret)
		return ret;
	/* nothing of the old store goes before the new one has its name for good */
	ret = sde__planted("old-store-removed-first") ? 0 : io->sync(io->ctx, home->parent);
	if (ret) {
		sde__fail_why(error, ret, "cannot sync the directory of '%s' (the new store is left beside it)",
			      home->path);
		/* which of them a power loss would leave is unknown: both must stay whole */
		if (!swap(home, NULL)) {
			free(home->temporary);
			home->temporary = NULL;
		}
		return ret;
	}
	/* the old store now has the temporary name: undo would remove it, too */
	ret = sde__io_remove_tree(io, home->parent, home->temporary);
	return ret ? sde__fail_why(error, ret, "cannot remove the old '%s', now '%s'", home->path,
				   home->temporary) : 0;
}

int sde__home_open_old(struct sde__home *old, const struct sde__home *home,
		       struct sde_error *error)
{
	old->path = strdup(home->path);
	if (!old->path)
		return sde__fail(error, -ENOMEM, "out of memory");
	/* not by its path: the working directory may be another one by now */
	old->root = home->io->open_at(home->io->ctx, home->parent, home->name,
				      O_RDONLY | O_DIRECTORY);
	if (old->root < 0)
		return sde__fail_why(error, old->root, "cannot open '%s'", home->path);
	return find_format(old, error);
}

/* Is what bears the name still the store that the caller looked at? */
static int check_old(struct sde__home *home, const struct sde__home *old, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	struct sde__stat ours, named;
	int ret;

	ret = io->stat(io->ctx, old->root, &ours);
	if (!ret)
		ret = io->stat_at(io->ctx, home->parent, home->name, &named);
	if (ret)
		return sde__fail_why(error, ret, "cannot stat '%s'", home->path);
	if (ours.inode != named.inode || ours.device != named.device)
		return sde__fail(error, -EEXIST, "'%s' was replaced by somebody else meanwhile",
				 home->path);
	return 0;
}

int sde__home_settle(struct sde__home *home, const struct sde__home *old, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	bool exists;
	int ret;

	ret = io->sync(io->ctx, home->data);
	if (!ret)
		ret = io->sync(io->ctx, home->time);
	if (!ret)
		ret = io->sync(io->ctx, home->iteration);
	if (!ret)
		ret = io->sync(io->ctx, home->root);
	if (ret)
		return sde__fail_why(error, ret, "cannot sync '%s'", home->path);
	ret = old ? check_old(home, old, error) : check_target(home, false, &exists, error);
	if (ret)
		return ret;
	if (old)
		ret = exchange(home, error);
	else
		ret = io->rename_at(io->ctx, home->parent, home->temporary, home->parent, home->name);
	if (!ret) {
		ret = io->sync(io->ctx, home->parent);
		/* the name is free again after undo; an old store is gone already */
		if (ret && !old)
			io->rename_at(io->ctx, home->parent, home->name, home->parent,
				      home->temporary);
	}
	if (ret)
		return sde__fail_why(error, ret, "cannot put '%s' in place", home->path);
	close_one(home, &home->parent);
	return 0;
}

/* "locked by process 123", as far as the lock's text tells. */
static int say_locked(struct sde__home *home, int fd, struct sde_error *error)
{
	char pid[24] = { 0 };
	size_t digits;

	home->io->pread(home->io->ctx, fd, pid, sizeof(pid) - 1, 0);
	digits = strspn(pid, "0123456789");
	if (!digits || pid[digits] != '\n')
		return sde__fail(error, SDE_E_LOCKED, "'%s' is being written by another process",
				 home->path);
	pid[digits] = '\0';
	return sde__fail(error, SDE_E_LOCKED, "'%s' is being written by process %s", home->path, pid);
}

/* Is the file that was locked still the one that others would find? */
static int lock_is_current(struct sde__home *home, int fd, bool *current)
{
	const struct sde__io *io = home->io;
	struct sde__stat ours, named, ring, ring_named;
	char name[NUMBER_SIZE];
	const int dir = ring_place(home, name);
	int ret;

	ret = io->stat(io->ctx, fd, &ours);
	if (!ret)
		ret = io->stat(io->ctx, home->ring, &ring);
	if (ret)
		return ret;
	*current = !io->stat_at(io->ctx, home->ring, LOCK_NAME, &named) &&
		   named.inode == ours.inode && named.device == ours.device &&
		   !io->stat_at(io->ctx, dir, name, &ring_named) &&
		   ring_named.inode == ring.inode;
	return 0;
}

/*
 * Our process in the lock, only for the sentence above: a failure harms nothing. A
 * file that has another name, too, or that is larger than a lock was not made by us:
 * somebody may have linked a file of ours here, to have it written into.
 */
static void sign_lock(struct sde__home *home)
{
	const struct sde__io *io = home->io;
	struct sde__stat st;
	char pid[24];

	if (io->stat(io->ctx, home->lock, &st) || !st.is_file || st.links > 1 ||
	    st.size > sizeof(pid))
		return;
	snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	sde__io_write_all(io, home->lock, pid, strlen(pid), 0);
}

static int try_lock(struct sde__home *home, bool *current, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	char name[NUMBER_SIZE];
	const int dir = ring_place(home, name);
	int fd, ret;

	*current = false;
	ret = io->make_directory_at(io->ctx, dir, name);
	if (ret && ret != -EEXIST)
		return sde__fail_why(error, ret, "cannot make '%s/data/.ring'", home->path);
	ret = sde__home_enter_ring(home, error);
	if (ret || home->ring < 0)
		return ret;
	fd = io->open_at(io->ctx, home->ring, LOCK_NAME, O_RDWR | O_CREAT);
	if (fd == -ENOENT)
		return 0;	/* the directory has just been removed */
	if (fd < 0)
		return sde__fail_why(error, fd, "cannot open '%s/data/.ring/lock'", home->path);
	ret = io->lock(io->ctx, fd);
	if (ret == -EAGAIN)
		ret = say_locked(home, fd, error);
	else if (ret)
		ret = sde__fail_why(error, ret, "cannot lock '%s/data/.ring/lock'", home->path);
	else if ((ret = lock_is_current(home, fd, current)) != 0)
		ret = sde__fail_why(error, ret, "cannot stat '%s/data/.ring/lock'", home->path);
	if (ret || !*current) {
		io->close(io->ctx, fd);
		return ret;
	}
	home->lock = fd;
	sign_lock(home);
	return 0;
}

int sde__home_lock(struct sde__home *home, struct sde_error *error)
{
	bool current = false;
	int ret = 0;

	/* a writer that closes removes lock and ring directory: start again */
	for (int tries = 0; tries < 100 && !ret && !current; tries++)
		ret = try_lock(home, &current, error);
	if (!ret && !current)
		ret = sde__fail(error, SDE_E_LOCKED, "'%s' is being written by another process",
				home->path);
	return ret;
}

int sde__home_is_locked(struct sde__home *home, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	int fd, ret;

	if (home->ring < 0)
		return 0;
	fd = io->open_at(io->ctx, home->ring, LOCK_NAME, O_RDONLY);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return sde__fail_why(error, fd, "cannot open '%s/data/.ring/lock'", home->path);
	ret = io->is_locked(io->ctx, fd);
	io->close(io->ctx, fd);
	return ret < 0 ? sde__fail_why(error, ret, "cannot probe '%s/data/.ring/lock'", home->path) : ret;
}

void sde__home_leave_idle_ring(struct sde__home *home)
{
	struct sde__stat st;

	if (home->lock >= 0 &&
	    home->io->stat_at(home->io->ctx, home->ring, "header", &st) == -ENOENT)
		sde__home_leave_ring(home, false, NULL);
}

int sde__home_leave_ring(struct sde__home *home, bool durable, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	char name[NUMBER_SIZE];
	const int dir = ring_place(home, name);
	int ret;

	ret = io->remove_at(io->ctx, home->ring, LOCK_NAME, false);
	if (!ret)
		ret = io->remove_at(io->ctx, dir, name, true);
	if (!ret && durable)
		ret = io->sync(io->ctx, dir);
	close_one(home, &home->lock);
	close_one(home, &home->ring);
	return ret ? sde__fail_why(error, ret, "cannot remove '%s/data/.ring'", home->path) : 0;
}
