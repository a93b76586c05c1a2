/* SPDX-License-Identifier: MIT */
/* Writing and reading the metadata documents of a store: see documents.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "documents.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define NAME "zarr.json"
/* The user's attributes are in it, twice at most; a larger one is not ours. */
#define LIMIT ((size_t)64 << 20)
#define TRIES 10

static int directory_of(const struct sde__home *home, enum sde__document document)
{
	switch (document) {
	case SDE__DOCUMENT_TIME:
		return home->time;
	case SDE__DOCUMENT_ITERATION:
		return home->iteration;
	case SDE__DOCUMENT_DATA:
		return home->data;
	default:
		return home->root;
	}
}

static const char *const folder[SDE__DOCUMENT_COUNT] = {
	[SDE__DOCUMENT_ROOT] = "", [SDE__DOCUMENT_TIME] = "time/",
	[SDE__DOCUMENT_ITERATION] = "iteration/", [SDE__DOCUMENT_DATA] = "data/",
};

static int write_one(const struct sde__home *home, const struct sde__metadata *metadata,
		     enum sde__document document, bool durable, struct sde_error *error)
{
	const struct sde__io *io = home->io;
	const int dir = directory_of(home, document);
	struct sde__piece piece;
	char *text;
	int ret;

	ret = sde__metadata_write(metadata, document, &text, error);
	if (ret)
		return ret;
	piece = (struct sde__piece){ text, strlen(text) };
	ret = sde__io_replace(io, dir, NAME, &piece, 1, durable);
	if (!ret && durable)
		ret = io->sync(io->ctx, dir);
	free(text);
	return ret ? sde__fail_why(error, ret, "cannot write '%s/%szarr.json'", home->path,
				   folder[document]) : 0;
}

int sde__documents_write(const struct sde__home *home, const struct sde__metadata *metadata,
			 bool shrinking, bool durable, struct sde_error *error)
{
	static const enum sde__document growing[SDE__DOCUMENT_COUNT] = {
		SDE__DOCUMENT_TIME, SDE__DOCUMENT_ITERATION, SDE__DOCUMENT_DATA, SDE__DOCUMENT_ROOT,
	};
	int ret = 0;

	for (int i = 0; i < SDE__DOCUMENT_COUNT && !ret; i++) {
		const int next = shrinking ? SDE__DOCUMENT_COUNT - 1 - i : i;

		ret = write_one(home, metadata, growing[next], durable, error);
	}
	return ret;
}

static int read_root(const struct sde__home *home, char **text, size_t *size,
		     struct sde_error *error)
{
	const int ret = sde__io_read_file(home->io, home->root, NAME, LIMIT, text, size);

	if (ret == -ENOENT)
		return sde__fail(error, SDE_E_NOT_STORE, "'%s' has no zarr.json: it is not a Zarr store",
				 home->path);
	return ret ? sde__fail_why(error, ret, "cannot read '%s/zarr.json'", home->path) : 0;
}

static int read_data(const struct sde__home *home, char **text, size_t *size,
		     struct sde_error *error)
{
	const struct sde__io *io = home->io;
	int fd, ret;

	*text = NULL;
	*size = 0;
	fd = io->open_at(io->ctx, home->root, "data", O_RDONLY | O_DIRECTORY);
	/* whether it is a store at all is for the root's document to say */
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	if (fd < 0)
		return sde__fail_why(error, fd, "cannot open '%s/data'", home->path);
	ret = sde__io_read_file(io, fd, NAME, LIMIT, text, size);
	io->close(io->ctx, fd);
	if (ret == -ENOENT)
		return 0;
	return ret ? sde__fail_why(error, ret, "cannot read '%s/data/zarr.json'", home->path) : 0;
}

/* One attempt; *settled if the root was the same before and after. */
static int read_once(const struct sde__home *home, struct sde__metadata *metadata, bool *settled,
		     struct sde_error *error)
{
	char *root = NULL, *data = NULL, *again = NULL;
	size_t root_size, data_size, again_size;
	int ret;

	*settled = true;
	ret = read_root(home, &root, &root_size, error);
	if (!ret)
		ret = read_data(home, &data, &data_size, error);
	if (!ret)
		ret = sde__metadata_parse(metadata, root, root_size, data ? data : "",
					  data_size, home->path, error);
	if (ret && root && !read_root(home, &again, &again_size, NULL))
		*settled = root_size == again_size && !memcmp(root, again, root_size);
	free(root);
	free(data);
	free(again);
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
