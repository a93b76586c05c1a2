/* SPDX-License-Identifier: MIT */
/* The exact numbers of the last snapshot, in a file of their own: see restart.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "restart.h"

#include "crc32c.h"
#include "strided.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define NAME_SIZE 40
#define CHECKSUM_BYTES 4

static const char magic[8] = { 'S', 'D', 'E', 'L', 'A', 'S', 'T', '\n' };

/* ".restart", of one column of several ".restart.<c>"; with a suffix. */
static void name_file(const struct sde__home *home, const char *suffix, char name[NAME_SIZE])
{
	if (home->is_column && !home->alone)
		snprintf(name, NAME_SIZE, ".restart.%" PRIu64 "%s", home->column, suffix);
	else
		snprintf(name, NAME_SIZE, ".restart%s", suffix);
}

static void write_head(unsigned char head[SDE__RESTART_HEAD], const struct sde__restart *restart,
		       const struct sde__slot_layout *layout)
{
	const uint32_t version = VERSION, dtype = (uint32_t)layout->geometry.dtype;
	const uint32_t order = (uint32_t)layout->order;
	const uint64_t bytes = sde__snapshot_bytes(&layout->geometry);

	memset(head, 0, SDE__RESTART_HEAD);
	memcpy(head, magic, 8);
	memcpy(head + 8, &version, 4);
	memcpy(head + 12, &dtype, 4);
	memcpy(head + 16, restart->run, 16);
	memcpy(head + 32, &restart->epoch, 8);
	memcpy(head + 40, &restart->index, 8);
	memcpy(head + 48, &bytes, 8);
	memcpy(head + 56, &order, 4);
}

int sde__restart_write(const struct sde__home *home, const struct sde__restart *restart,
		       const struct sde__slot_layout *layout, const void *payload, bool durable,
		       struct sde_error *error)
{
	const size_t n = sde__snapshot_bytes(&layout->geometry);
	unsigned char head[SDE__RESTART_HEAD];
	char name[NAME_SIZE];
	uint32_t crc;
	const struct sde__piece pieces[] = {
		{ head, sizeof(head) }, { payload, n }, { &crc, CHECKSUM_BYTES },
	};
	int ret;

	name_file(home, "", name);
	write_head(head, restart, layout);
	crc = sde__crc32c(sde__crc32c(0, head, sizeof(head)), payload, n);
	ret = sde__io_replace(home->io, home->data, name, pieces, 3, durable);
	if (!ret && durable)
		ret = home->io->sync(home->io->ctx, home->data);
	return ret ? sde__fail_why(error, ret, "cannot write '%s/data/%s'", home->path, name) : 0;
}

/* Its place in the layout's order; `bytes` has d N numbers in `order`. */
static void put(const struct sde__slot_layout *layout, enum sde_layout order, void *payload,
		const unsigned char *bytes)
{
	const struct sde__geometry *g = &layout->geometry;
	const size_t item = sde__dtype_size(g->dtype);
	const uint64_t counts[3] = { g->dimension, g->trajectories, 1 };
	const int64_t to[3] = { (int64_t)layout->dimension_stride,
				(int64_t)layout->trajectory_stride, 0 };
	const bool turned = order == SDE_LAYOUT_TRAJECTORY_DIMENSION;
	const int64_t from[3] = { (int64_t)(turned ? item : item * g->trajectories),
				  (int64_t)(turned ? item * g->dimension : item), 0 };

	sde__strided_copy(item, counts, payload, to, bytes, from);
}

/* The checked head of a file whose checksum holds: 0, or 1 for another snapshot's. */
static int judge(const struct sde__home *home, const struct sde__restart *restart,
		 const struct sde__slot_layout *layout, const unsigned char *bytes,
		 const char *name, enum sde_layout *order, struct sde_error *error)
{
	unsigned char expected[SDE__RESTART_HEAD];
	uint32_t said;

	write_head(expected, restart, layout);
	if (memcmp(bytes + 16, expected + 16, 32))
		return 1;
	memcpy(&said, bytes + 56, 4);
	*order = (enum sde_layout)said;
	if (memcmp(bytes + 12, expected + 12, 4) || memcmp(bytes + 48, expected + 48, 8) ||
	    (said != SDE_LAYOUT_DIMENSION_TRAJECTORY && said != SDE_LAYOUT_TRAJECTORY_DIMENSION))
		return sde__fail(error, SDE_E_CORRUPT, "'%s/data/%s' is not of this store",
				 home->path, name);
	return 0;
}

/* What any such file must be, whichever snapshot it has. */
static int check_file(const struct sde__home *home, const unsigned char *bytes, size_t size,
		      size_t expected, const char *name, struct sde_error *error)
{
	uint32_t version, crc;

	if (size < SDE__RESTART_HEAD + CHECKSUM_BYTES || memcmp(bytes, magic, sizeof(magic)))
		return sde__fail(error, SDE_E_CORRUPT,
				 "'%s/data/%s' does not begin as a file of this library",
				 home->path, name);
	memcpy(&version, bytes + 8, 4);
	if (version > VERSION)
		return sde__fail(error, SDE_E_VERSION,
				 "'%s/data/%s' has version %u, this library knows %d",
				 home->path, name, version, VERSION);
	memcpy(&crc, bytes + size - CHECKSUM_BYTES, CHECKSUM_BYTES);
	if (size != expected || crc != sde__crc32c(0, bytes, size - CHECKSUM_BYTES))
		return sde__fail(error, SDE_E_CORRUPT, "'%s/data/%s' has a wrong %s", home->path, name,
				 size != expected ? "size" : "checksum");
	return 0;
}

int sde__restart_read(const struct sde__home *home, const struct sde__restart *restart,
		      const struct sde__slot_layout *layout, void *payload,
		      struct sde_error *error)
{
	const size_t expected = SDE__RESTART_HEAD + sde__snapshot_bytes(&layout->geometry) +
				CHECKSUM_BYTES;
	enum sde_layout order = SDE_LAYOUT_DEFAULT;
	char name[NAME_SIZE], *text = NULL;
	unsigned char *bytes;
	size_t size = 0;
	int ret;

	name_file(home, "", name);
	ret = sde__io_read_file(home->io, home->data, name, expected, &text, &size);
	if (ret == -ENOENT)
		return 1;
	if (ret == -EFBIG)
		return sde__fail(error, SDE_E_CORRUPT, "'%s/data/%s' has a wrong size", home->path,
				 name);
	if (ret)
		return sde__fail_why(error, ret, "cannot read '%s/data/%s'", home->path, name);
	bytes = (unsigned char *)text;
	ret = check_file(home, bytes, size, expected, name, error);
	if (!ret)
		ret = judge(home, restart, layout, bytes, name, &order, error);
	if (!ret)
		put(layout, order, payload, bytes + SDE__RESTART_HEAD);
	free(text);
	return ret;
}

static int remove_file(const struct sde__home *home, const char *suffix, struct sde_error *error)
{
	char name[NAME_SIZE];
	int ret;

	name_file(home, suffix, name);
	ret = home->io->remove_at(home->io->ctx, home->data, name, false);
	return ret && ret != -ENOENT ?
	       sde__fail_why(error, ret, "cannot remove '%s/data/%s'", home->path, name) : ret;
}

int sde__restart_remove(const struct sde__home *home, bool durable, struct sde_error *error)
{
	int ret;

	ret = remove_file(home, "", error);
	if (ret == -ENOENT)
		ret = 0;
	/* also if it was gone: who removed it may not have come to this */
	if (!ret && durable) {
		ret = home->io->sync(home->io->ctx, home->data);
		if (ret)
			sde__fail_why(error, ret, "cannot sync '%s/data'", home->path);
	}
	return ret;
}

int sde__restart_tidy(const struct sde__home *home, struct sde_error *error)
{
	const int ret = remove_file(home, ".tmp", error);

	return ret == -ENOENT ? 0 : ret;
}
