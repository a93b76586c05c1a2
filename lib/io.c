/* SPDX-License-Identifier: MIT */
/*
 * What is built on the io table alone: whole reads and writes, files replaced
 * in one instant, trees removed. Works on any implementation of the table.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "io.h"

#include "names.h"
#include "planted.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No single call moves more than Linux does (MAX_RW_COUNT). */
#define CALL_LIMIT ((size_t)1 << 30)

int sde__io_read_all(const struct sde__io *io, int fd, void *out, size_t n, uint64_t offset)
{
	unsigned char *p = out;

	while (n) {
		const size_t want = n < CALL_LIMIT ? n : CALL_LIMIT;
		const int64_t got = io->pread(io->ctx, fd, p, want, offset);

		if (got < 0)
			return (int)got;
		if (!got)
			return -ENODATA;
		p += got;
		n -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

int sde__io_write_all(const struct sde__io *io, int fd, const void *in, size_t n, uint64_t offset)
{
	const unsigned char *p = in;

	while (n) {
		const size_t want = n < CALL_LIMIT ? n : CALL_LIMIT;
		const int64_t put = io->pwrite(io->ctx, fd, p, want, offset);

		if (put < 0)
			return (int)put;
		if (!put)
			return -EIO;
		p += put;
		n -= (size_t)put;
		offset += (uint64_t)put;
		if (sde__planted("short-write-ignored"))
			break;
	}
	return 0;
}

int sde__io_boot_id(const struct sde__io *io, unsigned char out[16])
{
	const int ret = io->boot_id(io->ctx, out);

	if (ret)
		memset(out, 0, 16);
	return ret == -ENOENT || ret == -EACCES || ret == -EPERM ? 0 : ret;
}

static int write_pieces(const struct sde__io *io, int fd, const struct sde__piece *pieces,
			size_t count, bool durable)
{
	uint64_t offset = 0;
	int ret = 0;

	for (size_t i = 0; i < count; i++) {
		if (pieces[i].bytes)
			ret = sde__io_write_all(io, fd, pieces[i].bytes, pieces[i].size, offset);
		if (ret)
			return ret;
		offset += pieces[i].size;
	}
	ret = durable ? io->sync(io->ctx, fd) : 0;
	return sde__planted("fsync-error-swallowed") ? 0 : ret;
}

static int temporary_name(char out[NAME_MAX + 1], const char *name)
{
	return snprintf(out, NAME_MAX + 1, sde__planted("publish-in-place") ? "%s" : "%s.tmp", name) >
	       NAME_MAX ? -ENAMETOOLONG : 0;
}

int sde__io_open_temporary(const struct sde__io *io, int dir, const char *name)
{
	char temporary[NAME_MAX + 1];
	int ret = temporary_name(temporary, name);

	/* a stale temporary of a killed run is in nobody's way */
	if (!ret)
		ret = io->remove_at(io->ctx, dir, temporary, false);
	if (ret && ret != -ENOENT)
		return ret;
	return io->open_at(io->ctx, dir, temporary, O_RDWR | O_CREAT | O_EXCL);
}

int sde__io_name_temporary(const struct sde__io *io, int dir, const char *name)
{
	char temporary[NAME_MAX + 1];
	const int ret = temporary_name(temporary, name);

	return ret ? ret : io->rename_at(io->ctx, dir, temporary, dir, name);
}

int sde__io_remove_temporary(const struct sde__io *io, int dir, const char *name)
{
	char temporary[NAME_MAX + 1];
	const int ret = temporary_name(temporary, name);

	return ret ? ret : io->remove_at(io->ctx, dir, temporary, false);
}

int sde__io_replace(const struct sde__io *io, int dir, const char *name,
		    const struct sde__piece *pieces, size_t count, bool durable)
{
	int fd, ret, closed;

	fd = sde__io_open_temporary(io, dir, name);
	if (fd < 0)
		return fd;
	ret = write_pieces(io, fd, pieces, count, durable);
	closed = io->close(io->ctx, fd);
	if (!ret)
		ret = closed;
	if (!ret)
		ret = sde__io_name_temporary(io, dir, name);
	if (ret)
		sde__io_remove_temporary(io, dir, name);
	return ret;
}

int sde__io_read_file(const struct sde__io *io, int dir, const char *name, size_t limit,
		      char **out, size_t *size)
{
	struct sde__stat st;
	char *text = NULL;
	int fd, ret;

	fd = io->open_at(io->ctx, dir, name, O_RDONLY);
	if (fd < 0)
		return fd;
	ret = io->stat(io->ctx, fd, &st);
	if (!ret && !st.is_file)
		ret = -EISDIR;
	if (!ret && st.size > limit)
		ret = -EFBIG;
	if (ret)
		goto out;
	text = malloc((size_t)st.size + 1);
	if (!text) {
		ret = -ENOMEM;
		goto out;
	}
	ret = sde__io_read_all(io, fd, text, (size_t)st.size, 0);
	if (ret)
		goto out;
	text[st.size] = '\0';
	*out = text;
	*size = (size_t)st.size;
	text = NULL;
out:
	free(text);
	io->close(io->ctx, fd);
	return ret;
}

/* Our stores are four deep; a deeper tree is not ours to remove. */
#define TREE_DEPTH 16

static int remove_tree(const struct sde__io *io, int dir, const char *name, int depth)
{
	struct sde__names names = { 0 };
	int fd, ret;

	ret = io->remove_at(io->ctx, dir, name, false);
	if (ret != -EISDIR && ret != -EPERM)
		return ret;
	if (!depth)
		return -ELOOP;
	fd = io->open_at(io->ctx, dir, name, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	ret = io->list(io->ctx, fd, sde__names_add, &names);
	for (size_t i = 0; i < names.count && !ret; i++)
		ret = remove_tree(io, fd, names.name[i], depth - 1);
	sde__names_free(&names);
	io->close(io->ctx, fd);
	return ret ? ret : io->remove_at(io->ctx, dir, name, true);
}

int sde__io_remove_tree(const struct sde__io *io, int dir, const char *name)
{
	return remove_tree(io, dir, name, TREE_DEPTH);
}

/*
 * Make the name of the new directory `path` durable, by its parent; or by all of the file
 * system, where the parent may be written and searched, but not read (mode 0333), and
 * so not be opened to sync it.
 */
static int sync_new_name(const struct sde__io *io, const char *path, const char *parent)
{
	int (*sync)(void *, int) = io->sync;
	int fd, ret;

	fd = io->open_at(io->ctx, -1, parent, O_RDONLY | O_DIRECTORY);
	if ((fd == -EACCES || fd == -EPERM) && io->sync_file_system) {
		sync = io->sync_file_system;
		fd = io->open_at(io->ctx, -1, path, O_RDONLY | O_DIRECTORY);
	}
	if (fd < 0)
		return fd;
	ret = sde__planted("parent-not-synced") ? 0 : sync(io->ctx, fd);
	io->close(io->ctx, fd);
	return ret;
}

/* A directory that is to outlive a power loss has its name synced. */
static int make_one_directory(const struct sde__io *io, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *parent;
	int ret;

	ret = io->make_directory_at(io->ctx, -1, path);
	if (ret)
		return ret;
	parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	ret = parent ? sync_new_name(io, path, parent) : -ENOMEM;
	free(parent);
	/* another attempt must not find it there and take it for durable */
	if (ret)
		io->remove_at(io->ctx, -1, path, true);
	return ret;
}

int sde__io_make_directories(void *ctx, const char *path)
{
	const struct sde__io *io = ctx ? ctx : &sde__io_posix;
	struct sde__stat st;
	char *copy, *p;
	int ret;

	if (!io->stat_at(io->ctx, -1, path, &st))
		return st.is_directory ? 0 : -ENOTDIR;
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	ret = 0;
	for (p = copy; *p == '/'; p++)
		;
	for (; *p && !ret; p++) {
		char *slash = strchr(p, '/');

		if (slash)
			*slash = '\0';
		/* an existing one may refuse with EROFS or EACCES instead */
		if (io->stat_at(io->ctx, -1, copy, &st))
			ret = make_one_directory(io, copy);
		if (ret == -EEXIST)
			ret = 0;
		if (!slash)
			break;
		*slash = '/';
		for (p = slash; p[1] == '/'; p++)
			;
	}
	free(copy);
	/* "file/", a link to nowhere: no mkdir above has failed */
	if (!ret)
		ret = io->stat_at(io->ctx, -1, path, &st);
	if (!ret && !st.is_directory)
		ret = -ENOTDIR;
	return ret;
}
