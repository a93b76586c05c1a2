/* SPDX-License-Identifier: MIT */
/* The directory of a ring, and the lock in it. See home.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "home_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RING_NAME ".ring"
#define LOCK_NAME "lock"

/* Where the directory of the ring is, and its name there. */
static int ring_place(const struct sde__home *home, char name[SDE__NUMBER_SIZE])
{
	const bool own = home->is_column && !home->alone;

	if (own)
		snprintf(name, SDE__NUMBER_SIZE, "%" PRIu64, home->column);
	else
		snprintf(name, SDE__NUMBER_SIZE, RING_NAME);
	return own ? home->rings : home->data;
}

int sde__home_enter_ring(struct sde__home *home, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	char name[SDE__NUMBER_SIZE];
	const int dir = ring_place(home, name);

	sde__home_close_one(home, &home->ring);
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
	char name[SDE__NUMBER_SIZE];
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
	char name[SDE__NUMBER_SIZE];
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
	char name[SDE__NUMBER_SIZE];
	const int dir = ring_place(home, name);
	int ret;

	ret = io->remove_at(io->ctx, home->ring, LOCK_NAME, false);
	if (!ret)
		ret = io->remove_at(io->ctx, dir, name, true);
	if (!ret && durable)
		ret = io->sync(io->ctx, dir);
	sde__home_close_one(home, &home->lock);
	sde__home_close_one(home, &home->ring);
	return ret ? sde__fail_why(error, ret, "cannot remove '%s/data/.ring'", home->path) : 0;
}
