/* SPDX-License-Identifier: MIT */
/* Removing what killed processes left in a store and beside it: see leftovers.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "leftovers.h"

#include "names.h"
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SALT 12			/* hexadecimal digits, see home_build.c */

struct wanted {
	struct sde__names names;
	bool (*wanted)(const char *name, const char *of);
	const char *of;
};

static int add_name(void *ctx, const char *name)
{
	struct wanted *w = ctx;

	return w->wanted(name, w->of) ? sde__names_add(&w->names, name) : 0;
}

/* ------------------------------------------------------------------------
 * Inside
 */

static bool is_document(const char *name, size_t n)
{
	static const char *const documents[] = {
		"zarr.json", ".zgroup", ".zattrs", ".zarray", ".zmetadata",
	};

	for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++)
		if (strlen(documents[i]) == n && !strncmp(name, documents[i], n))
			return true;
	return false;
}

/* NAME.tmp of a document, a block, a chunk: "7", or "0.1.7". */
static bool is_temporary(const char *name, const char *of)
{
	const size_t n = strlen(name);

	(void)of;
	if (n <= 4 || strcmp(name + n - 4, ".tmp"))
		return false;
	return is_document(name, n - 4) ||
	       (*name >= '0' && *name <= '9' && strspn(name, "0123456789.") == n - 3);
}

static int clean_directory(const struct sde__leftovers *how, const struct sde__home *home, int dir,
			   const char *place, struct sde_error *error)
{
	struct wanted found = { .wanted = is_temporary };
	const struct sde__io *io = how->io;
	char file[512];
	int ret;

	ret = io->list(io->ctx, dir, add_name, &found);
	if (ret)
		sde__fail_why(error, ret, "cannot list '%s%s'", home->path, place);
	for (size_t i = 0; i < found.names.count && !ret; i++) {
		struct sde__stat st;

		snprintf(file, sizeof(file), "%.200s%s/%s", home->path, place, found.names.name[i]);
		if (io->stat_at(io->ctx, dir, found.names.name[i], &st) || !st.is_file)
			continue;
		if (!how->dry_run)
			ret = io->remove_at(io->ctx, dir, found.names.name[i], false);
		ret = ret ? sde__fail_why(error, ret, "cannot remove '%s'", file) :
		      how->told(how->ctx, SDE_REPAIR_REMOVE, file,
				"a file that was being written");
	}
	sde__names_free(&found.names);
	return ret;
}

int sde__leftovers_inside(const struct sde__leftovers *how, const struct sde__home *home,
			  struct sde_error *error)
{
	const bool is_3 = home->format == 3;
	const struct {
		int dir;
		const char *place;
	} places[] = {
		{ home->root, "" }, { home->time, "/time" }, { home->iteration, "/iteration" },
		{ home->data, "/data" }, { is_3 ? home->time_blocks : -1, "/time/c" },
		{ is_3 ? home->iteration_blocks : -1, "/iteration/c" },
		{ is_3 ? home->shards : -1, "/data/c/0/0" }, { home->side, "/data/.side" },
	};
	int ret = 0;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !ret; i++)
		if (places[i].dir >= 0)
			ret = clean_directory(how, home, places[i].dir, places[i].place, error);
	return ret;
}

/* ------------------------------------------------------------------------
 * Beside
 */

/* ".NAME.xxxxxxxxxxxx.new", and perhaps ".old" behind it. */
static bool is_beside(const char *name, const char *of)
{
	const size_t n = strlen(of);
	const char *rest = name + n + 2;

	if (*name != '.' || strncmp(name + 1, of, n) || name[n + 1] != '.' ||
	    strspn(rest, "0123456789abcdef") != SALT)
		return false;
	return !strcmp(rest + SALT, ".new") || !strcmp(rest + SALT, ".new.old");
}

static bool was_moved_aside(const char *name)
{
	const size_t n = strlen(name);

	return n > 4 && !strcmp(name + n - 4, ".old");
}

/* Not of a store: then the directory is somebody else's. */
static int foreign_entry(void *ctx, const char *name)
{
	const size_t n = strlen(name);

	(void)ctx;
	return !(is_document(name, n) || is_temporary(name, NULL) || !strcmp(name, "time") ||
		 !strcmp(name, "iteration") || !strcmp(name, "data"));
}

struct rings {
	const struct sde__io *io;
	int ring;
};

/* Of several ranks each has a lock in a directory of its own; the first may be gone. */
static int locked_column(void *ctx, const char *name)
{
	const struct rings *rings = ctx;
	const struct sde__io *io = rings->io;
	int dir, fd, ret;

	if (!*name || strspn(name, "0123456789") != strlen(name))
		return 0;
	dir = io->open_at(io->ctx, rings->ring, name, O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		return 0;
	fd = io->open_at(io->ctx, dir, "lock", O_RDONLY);
	ret = fd < 0 ? 0 : io->is_locked(io->ctx, fd);
	if (fd >= 0)
		io->close(io->ctx, fd);
	io->close(io->ctx, dir);
	return ret;
}

/* The lock of a store that may be incomplete: 0 and *lock (-1: it has none), -EAGAIN. */
static int take_lock(const struct sde__io *io, int root, int *lock)
{
	const int data = io->open_at(io->ctx, root, "data", O_RDONLY | O_DIRECTORY);
	const int ring = data < 0 ? data :
			 io->open_at(io->ctx, data, ".ring", O_RDONLY | O_DIRECTORY);
	int ret;

	*lock = ring < 0 ? ring : io->open_at(io->ctx, ring, "lock", O_RDWR);
	ret = *lock == -ENOENT ? 0 : *lock < 0 ? *lock : io->lock(io->ctx, *lock);
	if (!ret && ring >= 0 && io->list(io->ctx, ring, locked_column, &(struct rings){ io, ring }))
		ret = -EAGAIN;
	if (*lock >= 0 && ret)
		io->close(io->ctx, *lock);
	if (*lock < 0 || ret)
		*lock = -1;
	if (ring >= 0)
		io->close(io->ctx, ring);
	if (data >= 0)
		io->close(io->ctx, data);
	return ret;
}

/* How many snapshots a directory has: 0, or why that cannot be told. */
static int count_snapshots(const struct sde__io *io, const char *path, uint64_t *snapshots)
{
	struct sde__reader *reader;
	int ret;

	*snapshots = 0;
	ret = sde__reader_open(&reader, io, path, SDE_RING_DEFAULT, true, NULL, NULL);
	if (ret)
		return ret;
	*snapshots = reader->snapshots;
	sde__reader_unref(reader);
	return 0;
}

struct beside {
	const struct sde__leftovers *how;
	const char *path;		/* the store's */
	char *parent_path, *name;
	int parent;
	bool exists;
};

static int put_back(struct beside *b, const char *name, const char *file, struct sde_error *error)
{
	const struct sde__io *io = b->how->io;
	int ret = 0;

	if (!b->how->dry_run)
		ret = io->rename_new_at(io->ctx, b->parent, name, b->parent, b->name);
	if (!ret && !b->how->dry_run)
		ret = io->sync(io->ctx, b->parent);
	if (ret)
		return sde__fail_why(error, ret, "cannot rename '%s'", file);
	b->exists = true;
	return b->how->told(b->how->ctx, SDE_REPAIR_PUT_BACK, file,
			    "the store that a killed overwrite had moved aside");
}

static int remove_it(struct beside *b, const char *name, const char *file, uint64_t snapshots,
		     struct sde_error *error)
{
	const struct sde__io *io = b->how->io;
	char text[96];
	int ret = 0;

	if (!b->how->dry_run)
		ret = sde__io_remove_tree(io, b->parent, name);
	if (!ret && !b->how->dry_run)
		ret = io->sync(io->ctx, b->parent);
	if (ret)
		return sde__fail_why(error, ret, "cannot remove '%s'", file);
	snprintf(text, sizeof(text), snapshots ? "the store of %" PRIu64 " snapshots that was replaced" :
		 "a store that was being made or removed", snapshots);
	return b->how->told(b->how->ctx, SDE_REPAIR_REMOVE, file, text);
}

enum fate { LEFT_ALONE, REMOVED, RETURNED };

/*
 * Where a store bears the name, what lies beside it was to be removed, and may be half
 * gone. Else it is removed only if it never was more than a beginning.
 */
static enum fate fate_of(const struct beside *b, const char *name, int why, uint64_t snapshots)
{
	if (b->exists)
		return !why || why == SDE_E_NOT_STORE || sde__is_damage(why) ? REMOVED : LEFT_ALONE;
	if (was_moved_aside(name))
		return why ? LEFT_ALONE : RETURNED;
	return why == SDE_E_NOT_STORE || (!why && !snapshots) ? REMOVED : LEFT_ALONE;
}

static int settle(struct beside *b, const char *name, const char *file, struct sde_error *error)
{
	uint64_t snapshots;
	const int why = count_snapshots(b->how->io, file, &snapshots);

	switch (fate_of(b, name, why, snapshots)) {
	case REMOVED:
		return remove_it(b, name, file, snapshots, error);
	case RETURNED:
		return put_back(b, name, file, error);
	default:
		sde__warn(b->how->log, "'%s' is left alone: it may be a store of worth (%s)", file,
			  why ? sde_strerror(why) : "it has snapshots");
		return 0;
	}
}

static int handle(struct beside *b, const char *name, struct sde_error *error)
{
	const struct sde__io *io = b->how->io;
	int root, lock = -1, ret = 0;
	char file[4096];

	snprintf(file, sizeof(file), "%s%s%s", b->parent_path,
		 b->parent_path[strlen(b->parent_path) - 1] == '/' ? "" : "/", name);
	root = io->open_at(io->ctx, b->parent, name, O_RDONLY | O_DIRECTORY);
	if (root < 0)
		return 0;
	if (io->list(io->ctx, root, foreign_entry, NULL))
		sde__warn(b->how->log, "'%s' is left alone: not all that is in it is a store's", file);
	else if (take_lock(io, root, &lock))
		sde__warn(b->how->log, "'%s' is left alone: a process is at work on it", file);
	else
		ret = settle(b, name, file, error);
	if (lock >= 0)
		io->close(io->ctx, lock);
	io->close(io->ctx, root);
	return ret;
}

/* The last component of a path, malloc'd. */
static char *name_of(const char *path)
{
	size_t end = strlen(path), start;

	while (end > 1 && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/'; start--)
		;
	return strndup(path + start, end - start);
}

static int look_beside(struct beside *b, struct sde_error *error)
{
	const struct sde__io *io = b->how->io;
	struct wanted found = { .wanted = is_beside, .of = b->name };
	struct sde__stat st;
	int ret;

	b->exists = !io->stat_at(io->ctx, b->parent, b->name, &st);
	ret = io->list(io->ctx, b->parent, add_name, &found);
	if (ret)
		sde__fail_why(error, ret, "cannot list '%s'", b->parent_path);
	/* first whose name is to be given back: the others are then in nobody's place */
	for (int aside = 1; aside >= 0; aside--)
		for (size_t i = 0; i < found.names.count && !ret; i++)
			if (was_moved_aside(found.names.name[i]) == aside)
				ret = handle(b, found.names.name[i], error);
	sde__names_free(&found.names);
	return ret;
}

int sde__leftovers_beside(const struct sde__leftovers *how, const char *path,
			  struct sde_error *error)
{
	struct beside b = { .how = how, .path = path };
	const struct sde__io *io = how->io;
	int ret;

	b.parent_path = sde__home_parent_path(path);
	b.name = name_of(path);
	if (!b.parent_path || !b.name) {
		ret = sde__fail(error, -ENOMEM, "out of memory");
		goto out;
	}
	ret = 0;
	/* a path that does not end with a name is of no store that create made */
	if (!*b.name || !strcmp(b.name, ".") || !strcmp(b.name, "..") || !strcmp(b.name, "/"))
		goto out;
	b.parent = io->open_at(io->ctx, -1, b.parent_path, O_RDONLY | O_DIRECTORY);
	if (b.parent < 0) {
		ret = sde__fail_why(error, b.parent, "cannot open '%s'", b.parent_path);
		goto out;
	}
	ret = look_beside(&b, error);
	io->close(io->ctx, b.parent);
out:
	free(b.parent_path);
	free(b.name);
	return ret;
}
