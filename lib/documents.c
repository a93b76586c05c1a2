/* SPDX-License-Identifier: MIT */
/* Writing and reading the metadata documents of a store: see documents.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "documents.h"

#include "planted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* The user's attributes are in it, twice at most; a larger one is not ours. */
#define LIMIT ((size_t)64 << 20)
#define TRIES 10

/* In the order of a growing store; not every format has all of them. */
static const enum sde__document changing[] = {
	SDE__DOCUMENT_TIME, SDE__DOCUMENT_ITERATION, SDE__DOCUMENT_DATA, SDE__DOCUMENT_ROOT,
	SDE__DOCUMENT_CONSOLIDATED,
};

static const enum sde__document fixed[] = {
	SDE__DOCUMENT_GROUP, SDE__DOCUMENT_TIME_ATTRIBUTES, SDE__DOCUMENT_ITERATION_ATTRIBUTES,
	SDE__DOCUMENT_DATA_ATTRIBUTES,
};

/* The directory a document lies in; *name becomes that of its file. */
static int directory_of(const struct sde__home *home, const char *path, const char **name)
{
	const struct {
		const char *folder;
		int fd;
	} directories[] = {
		{ "time/", home->time }, { "iteration/", home->iteration }, { "data/", home->data },
	};
	size_t i;

	for (i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		const size_t n = strlen(directories[i].folder);

		*name = path + n;
		if (!strncmp(path, directories[i].folder, n))
			return directories[i].fd;
	}
	*name = path;
	return home->root;
}

static int write_one(const struct sde__home *home, const struct sde__metadata *metadata,
		     enum sde__document document, bool durable, struct sde_error *error)
{
	const char *path = sde__document_path(metadata->zarr_format, document), *name;
	const struct sde__io *io = home->io;
	struct sde__piece piece;
	char *text;
	int dir, ret;

	if (!path)
		return 0;	/* the format has none */
	ret = sde__metadata_write(metadata, document, &text, error);
	if (ret)
		return ret;
	dir = directory_of(home, path, &name);
	piece = (struct sde__piece){ text, strlen(text) };
	ret = sde__io_replace(io, dir, name, &piece, 1,
			      durable && !sde__planted("document-no-fsync"));
	if (!ret && durable && !sde__planted("document-no-directory-fsync"))
		ret = io->sync(io->ctx, dir);
	free(text);
	return ret ? sde__fail_why(error, ret, "cannot write '%s/%s'", home->path, path) : 0;
}

int sde__documents_write(const struct sde__home *home, const struct sde__metadata *metadata,
			 bool shrinking, bool durable, struct sde_error *error)
{
	const size_t count = sizeof(changing) / sizeof(changing[0]);
	int ret = 0;

	if (sde__planted("root-first"))
		shrinking = !shrinking;
	for (size_t i = 0; i < count && !ret; i++)
		ret = write_one(home, metadata, changing[shrinking ? count - 1 - i : i], durable,
				error);
	return ret;
}

int sde__documents_create(const struct sde__home *home, const struct sde__metadata *metadata,
			  bool durable, struct sde_error *error)
{
	int ret = 0;

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]) && !ret; i++)
		ret = write_one(home, metadata, fixed[i], durable, error);
	return ret ? ret : sde__documents_write(home, metadata, false, durable, error);
}

/* One document as it was read; bytes NULL: it is not there. */
struct read {
	char *bytes;
	size_t size;
};

/* Reads `path`, of at most one directory, which like the file may be missing. */
static int read_one(const struct sde__home *home, const char *path, struct read *out,
		    struct sde_error *error)
{
	const struct sde__io *io = home->io;
	const char *slash = strchr(path, '/');
	char folder[16] = "";
	int fd = home->root, ret;

	*out = (struct read){ NULL, 0 };
	if (slash) {
		memcpy(folder, path, (size_t)(slash - path));
		fd = io->open_at(io->ctx, home->root, folder, O_RDONLY | O_DIRECTORY);
		if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
			return 0;
		if (fd < 0)
			return sde__fail_why(error, fd, "cannot open '%s/%s'", home->path, folder);
	}
	ret = sde__io_read_file(io, fd, slash ? slash + 1 : path, LIMIT, &out->bytes, &out->size);
	if (slash)
		io->close(io->ctx, fd);
	if (!ret || ret == -ENOENT)
		return 0;
	return sde__fail_why(error, ret, "cannot read '%s/%s'", home->path, path);
}

static int read_root(const struct sde__home *home, struct read *root, struct sde_error *error)
{
	const char *path = sde__document_path(home->format, SDE__DOCUMENT_ROOT);
	const int ret = read_one(home, path, root, error);

	if (ret || root->bytes)
		return ret;
	return sde__fail(error, SDE_E_NOT_STORE, "'%s' has no %s: it is not a store of this library",
			 home->path, path);
}

int sde__documents_read_root(const struct sde__home *home, char **bytes, size_t *size,
			     struct sde_error *error)
{
	struct read root;
	const int ret = read_root(home, &root, error);

	*bytes = root.bytes;
	*size = root.size;
	return ret;
}

/* Was the root replaced since it was read? */
static bool was_replaced(const struct sde__home *home, const struct read *root)
{
	struct read again;
	bool same;

	if (read_root(home, &again, NULL))
		return false;
	same = root->size == again.size && !memcmp(root->bytes, again.bytes, root->size);
	free(again.bytes);
	return !same;
}

/* One attempt; *settled if the root was the same before and after. */
static int read_once(const struct sde__home *home, struct sde__metadata *metadata, bool *settled,
		     struct sde_error *error)
{
	struct read root = { NULL, 0 }, data = { NULL, 0 }, time = { NULL, 0 };
	const char *units = sde__document_path(home->format, SDE__DOCUMENT_TIME_ATTRIBUTES);
	int ret;

	*settled = true;
	ret = read_root(home, &root, error);
	if (!ret)
		ret = read_one(home, sde__document_path(home->format, SDE__DOCUMENT_DATA), &data,
			       error);
	if (!ret && units)
		ret = read_one(home, units, &time, error);
	if (!ret) {
		const struct sde__metadata_texts texts = {
			.zarr_format = home->format, .root = { root.bytes, root.size },
			.data = { data.bytes, data.size },
			.time_attributes = { time.bytes, time.size },
		};

		ret = sde__metadata_parse(metadata, &texts, home->path, error);
	}
	if (ret && root.bytes)
		*settled = !was_replaced(home, &root);
	free(root.bytes);
	free(data.bytes);
	free(time.bytes);
	return ret;
}

int sde__documents_read(const struct sde__home *home, struct sde__metadata *metadata,
			struct sde_error *error)
{
	struct sde_error why = { 0 };
	bool settled;
	int ret;

	for (int tries = 0; ; tries++) {
		sde__error_clear(&why);
		ret = read_once(home, metadata, &settled, &why);
		if (!ret || settled || tries == TRIES)
			break;
	}
	return ret ? sde__fail(error, ret, "%s", why.text) : 0;
}
