/* SPDX-License-Identifier: MIT */
/* What a run under the policy none owes to the next one: see unsynced.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "unsynced.h"

#include "planted.h"

#include <errno.h>
#include <fcntl.h>

#define NAME ".unsynced"

int sde__unsynced_mark(const struct sde__home *home, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	const int fd = io->open_at(io->ctx, home->data, NAME, O_RDWR | O_CREAT | O_EXCL);

	if (fd < 0)
		return fd == -EEXIST ? 0 :
		       sde__fail_why(error, fd, "cannot write '%s/data/" NAME "'", home->path);
	io->close(io->ctx, fd);
	return 0;
}

struct folder {
	const struct sde__home *home;
	int fd;
	struct sde_error *error;
};

static int sync_one(void *ctx, const char *name)
{
	const struct folder *f = ctx;
	const struct sde__io *io = f->home->io;
	struct sde__stat st;
	int fd, ret;

	fd = io->open_at(io->ctx, f->fd, name, O_RDONLY);
	/* a link is nothing of ours */
	if (fd == -ELOOP)
		return 0;
	ret = fd < 0 ? fd : io->stat(io->ctx, fd, &st);
	/* a directory has its turn, if it is one of ours */
	if (!ret && st.is_file)
		ret = io->sync(io->ctx, fd);
	if (fd >= 0)
		io->close(io->ctx, fd);
	return ret ? sde__fail_why(f->error, ret, "cannot sync '%s' of '%s'", name, f->home->path) : 0;
}

/* The files in a directory, then their names. */
static int sync_folder(const struct sde__home *home, int fd, struct sde_error *error)
{
	struct sde_error why = { 0 };
	struct folder folder = { home, fd, &why };
	const struct sde__io *io = home->io;
	int ret;

	ret = io->list(io->ctx, fd, sync_one, &folder);
	if (!ret)
		ret = io->sync(io->ctx, fd);
	if (why.code)
		return sde__fail(error, why.code, "%s", why.text);
	return ret ? sde__fail_why(error, ret, "cannot sync a directory of '%s'", home->path) : 0;
}

int sde__unsynced_settle(const struct sde__home *home, struct sde_error *error)
{
	/* those between them were made durable when they were made */
	const int folder[] = {
		home->root, home->time, home->time_blocks, home->iteration, home->iteration_blocks,
		home->data, home->shards, home->side,
	};
	const struct sde__io *io = home->io;
	struct sde__stat st;
	int ret;

	ret = io->stat_at(io->ctx, home->data, NAME, &st);
	if (ret == -ENOENT || sde__planted("unsynced-files-built-on"))
		return 0;
	if (ret)
		return sde__fail_why(error, ret, "cannot stat '%s/data/" NAME "'", home->path);
	for (size_t i = 0; i < sizeof(folder) / sizeof(folder[0]) && !ret; i++)
		ret = folder[i] < 0 ? 0 : sync_folder(home, folder[i], error);
	return ret || (home->is_column && !home->alone) ? ret : sde__unsynced_forget(home, error);
}

int sde__unsynced_forget(const struct sde__home *home, struct sde_error *error)
{
	const int ret = home->io->remove_at(home->io->ctx, home->data, NAME, false);

	return ret && ret != -ENOENT ?
	       sde__fail_why(error, ret, "cannot remove '%s/data/" NAME "'", home->path) : 0;
}
