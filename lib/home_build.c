/* SPDX-License-Identifier: MIT */
/* A store's name: a new store is built beside it, and takes it in one instant. See home.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "home_state.h"

#include "planted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
	ret = sde__home_open_directory(home, home->parent, home->temporary, &home->root, error);
	if (!ret)
		ret = sde__home_enter_arrays(home, true, error);
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
	return sde__home_find_format(old, error);
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
	sde__home_close_one(home, &home->parent);
	return 0;
}
