/* SPDX-License-Identifier: MIT */
/*
 * An .npz file on its way to its name. Guards that a reader of that name never
 * sees half of it, and that every local header says in the end what the directory
 * says: headers go out with sizes of 0 and are written once more when their member
 * is complete.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "npz_writer.h"

#include "deflate_pipe.h"
#include "zip.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the numbers of a stored member: a cache line, an AVX-512 register. */
#define ALIGNMENT 64

#define TEMPORARY_TRIES 16

/* While the next are compressed, the device writes this many bytes; so the sync at the
 * end, which nothing else can be done beside, is short. */
#define BEGIN_SYNC ((uint64_t)8 << 20)

struct sde__npz_writer {
	const struct sde__io *io;
	struct sde__npz_options options;
	struct sde__pipe *pipe;
	char *path;			/* as the user gave it, for sentences */
	char name[NAME_MAX + 1];	/* its last component */
	char temporary[NAME_MAX + 1];	/* "" when there is none (any more) */
	int dir, fd;
	uint64_t offset;		/* where the file ends */
	uint64_t begun;			/* before it, the device has begun */
	struct sde_error failure;	/* the first */
	bool open;			/* in a member: the last of these */
	uint64_t left;			/* bytes it lacks */
	unsigned members;
	struct sde__zip_entry entry[SDE__NPZ_MEMBERS_MAX];
};

static int put(struct sde__npz_writer *w, const void *bytes, size_t n, uint64_t offset)
{
	return sde__io_write_all(w->io, w->fd, bytes, n, offset);
}

/* The pipe's sink. */
static int put_behind(void *ctx, const void *bytes, size_t n)
{
	struct sde__npz_writer *w = ctx;
	const int ret = put(w, bytes, n, w->offset);

	if (ret)
		return ret;
	w->offset += n;
	if (w->io->begin_sync && w->offset - w->begun >= BEGIN_SYNC) {
		w->io->begin_sync(w->io->ctx, w->fd, w->begun, w->offset - w->begun);
		w->begun = w->offset;
	}
	return 0;
}

/* What the caller is told, of a failure that was noted in w->failure. */
static int tell(const struct sde__npz_writer *w, struct sde_error *error)
{
	return w->failure.code ? sde__fail(error, w->failure.code, "%s", w->failure.text) : 0;
}

static int cannot_write(struct sde__npz_writer *w, int code)
{
	return sde__fail_why(&w->failure, code, "cannot write '%s'", w->path);
}

/* ------------------------------------------------------------------------
 * Making
 */

/* Cut the path into the directory, which is opened, and the name. */
static int open_directory(struct sde__npz_writer *w, struct sde_error *error)
{
	char *slash = strrchr(w->path, '/');
	const char *name = slash ? slash + 1 : w->path;
	const char *parent = slash ? w->path : ".";
	size_t n = strlen(name);

	if (!n || !strcmp(name, ".") || !strcmp(name, ".."))
		return sde__fail(error, -EINVAL, "'%s' names no file", w->path);
	if (n > NAME_MAX)
		return sde__fail_why(error, -ENAMETOOLONG, "cannot make '%s'", w->path);
	memcpy(w->name, name, n + 1);
	if (slash == w->path)
		parent = "/";
	else if (slash)
		*slash = '\0';
	w->dir = w->io->open_at(w->io->ctx, -1, parent, O_RDONLY | O_DIRECTORY);
	if (w->dir < 0)
		sde__fail_why(error, w->dir, "cannot open directory '%s'", parent);
	if (slash)
		*slash = '/';
	return w->dir < 0 ? w->dir : 0;
}

/* Whether what is there already may be replaced. Links are followed: a link to a
 * file is replaced by a file, one to anything else is left alone. */
static int check_target(struct sde__npz_writer *w, struct sde_error *error)
{
	struct sde__stat st;
	const int ret = w->io->stat_at(w->io->ctx, -1, w->path, &st);

	if (ret == -ENOENT)
		return 0;
	if (ret)
		return sde__fail_why(error, ret, "cannot stat '%s'", w->path);
	if (st.is_directory)
		return sde__fail(error, -EISDIR, "'%s' is a directory", w->path);
	if (!w->options.overwrite)
		return sde__fail(error, -EEXIST, "'%s' exists already", w->path);
	if (!st.is_file)
		return sde__fail(error, -EINVAL, "'%s' is not a file", w->path);
	return 0;
}

static void name_temporary(struct sde__npz_writer *w, const unsigned char tag[4])
{
	const int n = snprintf(w->temporary, sizeof(w->temporary), ".%s.%02x%02x%02x%02x.tmp",
			       w->name, tag[0], tag[1], tag[2], tag[3]);

	if (n >= (int)sizeof(w->temporary))
		snprintf(w->temporary, sizeof(w->temporary), ".%02x%02x%02x%02x.tmp",
			 tag[0], tag[1], tag[2], tag[3]);
}

static int open_temporary(struct sde__npz_writer *w, struct sde_error *error)
{
	int ret = -EEXIST;

	for (int i = 0; i < TEMPORARY_TRIES && ret == -EEXIST; i++) {
		unsigned char tag[4];

		ret = w->io->random(w->io->ctx, tag, sizeof(tag));
		if (ret)
			break;
		name_temporary(w, tag);
		ret = w->io->open_at(w->io->ctx, w->dir, w->temporary, O_RDWR | O_CREAT | O_EXCL);
	}
	if (ret < 0) {
		w->temporary[0] = '\0';
		return sde__fail_why(error, ret, "cannot make a file beside '%s'", w->path);
	}
	w->fd = ret;
	return 0;
}

static int set_up(struct sde__npz_writer *w, struct sde_error *error)
{
	const struct sde__deflate_engine *engine = sde__deflate_engine(w->options.engine);
	int ret;

	if (!engine)
		return sde__fail(error, SDE_E_UNSUPPORTED, "this build has no deflate engine '%s'",
				 w->options.engine);
	ret = check_target(w, error);
	if (!ret)
		ret = open_directory(w, error);
	if (!ret)
		ret = sde__pipe_create(&w->pipe, w->options.threads, w->options.most, engine,
				       put_behind, w, error);
	return ret ? ret : open_temporary(w, error);
}

int sde__npz_create(struct sde__npz_writer **out, const struct sde__io *io, const char *path,
		    const struct sde__npz_options *options, struct sde_error *error)
{
	struct sde__npz_writer *w = calloc(1, sizeof(*w));
	int ret;

	*out = NULL;
	if (!w)
		return sde__fail(error, -ENOMEM, "out of memory");
	w->io = io;
	w->options = *options;
	if (!w->options.zip64_from)
		w->options.zip64_from = SDE__ZIP64_FROM;
	if (!w->options.most)
		w->options.most = SDE__DEFLATE_BLOCK;
	w->dir = -1;
	w->fd = -1;
	w->path = strdup(path);
	ret = w->path ? set_up(w, error) : sde__fail(error, -ENOMEM, "out of memory");
	w->options.engine = NULL;	/* the caller's */
	if (ret) {
		sde__npz_abandon(w);
		return ret;
	}
	*out = w;
	return 0;
}

/* ------------------------------------------------------------------------
 * Members
 */

static int check_member(struct sde__npz_writer *w, const char *name, uint64_t *bytes,
			const struct sde__npy *array)
{
	const size_t n = strlen(name);

	if (w->open)
		return sde__fail(&w->failure, -EINVAL, "a member of '%s' is open", w->path);
	if (!n || n > SDE__NPZ_NAME_MAX || strchr(name, '/'))
		return sde__fail(&w->failure, -EINVAL, "bad name '%s' for an array", name);
	if (w->members == SDE__NPZ_MEMBERS_MAX)
		return sde__fail(&w->failure, -EINVAL, "more than %d arrays",
				 SDE__NPZ_MEMBERS_MAX);
	for (unsigned i = 0; i < w->members; i++)
		if (!strncmp(w->entry[i].name, name, n) && !strcmp(w->entry[i].name + n, ".npy"))
			return sde__fail(&w->failure, -EINVAL, "array '%s' is there already", name);
	if (array->ndim > SDE__NPY_NDIM_MAX || sde__npy_size(array, bytes))
		return sde__fail(&w->failure, -EINVAL, "the shape of array '%s' is too large", name);
	return 0;
}

/* The local header of the open member, at its place. Its size never changes. */
static int put_local(struct sde__npz_writer *w, const struct sde__zip_entry *entry, size_t *size)
{
	unsigned char local[SDE__ZIP_LOCAL_MAX];
	int ret;

	*size = sde__zip_encode_local(entry, w->options.stored ? ALIGNMENT : 0, local);
	ret = put(w, local, *size, entry->offset);
	return ret ? cannot_write(w, ret) : 0;
}

int sde__npz_member_begin(struct sde__npz_writer *w, const char *name,
			  const struct sde__npy *array, struct sde_error *error)
{
	unsigned char header[SDE__NPY_HEADER_MAX];
	struct sde__zip_entry *entry = &w->entry[w->members];
	size_t size;
	int ret;

	if (w->failure.code || check_member(w, name, &w->left, array))
		return tell(w, error);
	memset(entry, 0, sizeof(*entry));
	snprintf(entry->name, sizeof(entry->name), "%s.npy", name);
	entry->method = w->options.stored ? SDE__ZIP_STORED : SDE__ZIP_DEFLATED;
	entry->offset = w->offset;
	if (put_local(w, entry, &size))
		return tell(w, error);
	w->offset += size;
	w->open = true;
	w->members++;
	sde__pipe_begin(w->pipe, !w->options.stored);
	ret = sde__pipe_append(w->pipe, header, sde__npy_encode(array, header));
	if (ret)
		cannot_write(w, ret);
	return tell(w, error);
}

/* n bytes more of the open member. */
static int take(struct sde__npz_writer *w, size_t n)
{
	if (w->failure.code)
		return w->failure.code;
	if (!w->open || n > w->left)
		return sde__fail(&w->failure, -EINVAL,
				 "more bytes than the array's shape has for '%s'", w->path);
	w->left -= n;
	return 0;
}

int sde__npz_append(struct sde__npz_writer *w, const void *bytes, size_t n,
		    struct sde_error *error)
{
	int ret;

	if (take(w, n))
		return tell(w, error);
	ret = sde__pipe_append(w->pipe, bytes, n);
	if (ret)
		cannot_write(w, ret);
	return tell(w, error);
}

int sde__npz_reserve(struct sde__npz_writer *w, size_t n, void **room, struct sde_error *error)
{
	*room = NULL;
	if (take(w, n))
		return tell(w, error);
	if (n > w->options.most) {
		sde__fail(&w->failure, -EINVAL, "%zu bytes at once are more than %zu", n,
			  w->options.most);
		return tell(w, error);
	}
	*room = sde__pipe_reserve(w->pipe, n);
	return 0;
}

int sde__npz_commit(struct sde__npz_writer *w, size_t n, struct sde_error *error)
{
	int ret;

	if (w->failure.code)
		return tell(w, error);
	ret = sde__pipe_commit(w->pipe, n);
	if (ret)
		cannot_write(w, ret);
	return tell(w, error);
}

int sde__npz_member_end(struct sde__npz_writer *w, struct sde_error *error)
{
	struct sde__zip_entry *entry;
	struct sde__pipe_total total;
	size_t size;
	int ret;

	if (w->failure.code)
		return tell(w, error);
	if (!w->open || w->left) {
		sde__fail(&w->failure, -EINVAL, "array '%s' of '%s' lacks %" PRIu64 " bytes",
			  w->open ? w->entry[w->members - 1].name : "", w->path, w->left);
		return tell(w, error);
	}
	ret = sde__pipe_end(w->pipe, &total);
	if (ret) {
		cannot_write(w, ret);
		return tell(w, error);
	}
	entry = &w->entry[w->members - 1];
	entry->crc = total.crc;
	entry->raw = total.raw;
	entry->packed = total.packed;
	w->open = false;
	put_local(w, entry, &size);
	return tell(w, error);
}

/* ------------------------------------------------------------------------
 * The end
 */

static int put_directory(struct sde__npz_writer *w)
{
	unsigned char bytes[SDE__NPZ_MEMBERS_MAX * SDE__ZIP_ENTRY_MAX + SDE__ZIP_END_MAX];
	struct sde__zip_end end = { .count = w->members, .offset = w->offset };
	size_t n = 0;

	for (unsigned i = 0; i < w->members; i++)
		n += sde__zip_encode_entry(&w->entry[i], w->options.zip64_from, bytes + n);
	end.size = n;
	n += sde__zip_encode_end(&end, w->options.zip64_from, bytes + n);
	return put_behind(w, bytes, n);
}

/* Complete, synced, closed: all that can fail before the name is taken. */
static int complete(struct sde__npz_writer *w)
{
	int ret, closed;

	ret = put_directory(w);
	if (!ret)
		ret = w->io->sync(w->io->ctx, w->fd);
	closed = w->io->close(w->io->ctx, w->fd);
	w->fd = -1;
	if (!ret)
		ret = closed;
	return ret ? cannot_write(w, ret) : 0;
}

static int take_the_name(struct sde__npz_writer *w)
{
	int ret;

	if (w->options.overwrite)
		ret = w->io->rename_at(w->io->ctx, w->dir, w->temporary, w->dir, w->name);
	else
		ret = w->io->rename_new_at(w->io->ctx, w->dir, w->temporary, w->dir, w->name);
	if (ret == -EEXIST)
		return sde__fail(&w->failure, ret, "'%s' exists already", w->path);
	if (ret)
		return cannot_write(w, ret);
	w->temporary[0] = '\0';
	/* the file is there and whole; but who says so must know that it stays */
	ret = w->io->sync(w->io->ctx, w->dir);
	return ret ? cannot_write(w, ret) : 0;
}

int sde__npz_finish(struct sde__npz_writer *w, struct sde_error *error)
{
	int ret;

	if (!w->failure.code && w->open)
		sde__fail(&w->failure, -EINVAL, "a member of '%s' is open", w->path);
	if (!w->failure.code && !complete(w))
		take_the_name(w);
	ret = tell(w, error);
	sde__npz_abandon(w);
	return ret;
}

void sde__npz_abandon(struct sde__npz_writer *w)
{
	if (!w)
		return;
	sde__pipe_destroy(w->pipe);
	if (w->fd >= 0)
		w->io->close(w->io->ctx, w->fd);
	if (w->temporary[0])
		w->io->remove_at(w->io->ctx, w->dir, w->temporary, false);
	if (w->dir >= 0)
		w->io->close(w->io->ctx, w->dir);
	free(w->path);
	free(w);
}
