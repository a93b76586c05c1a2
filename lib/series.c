/* SPDX-License-Identifier: MIT */
/* The time and iteration arrays' files: see series.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "series.h"

#include "crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BLOCK SDE__TIME_BLOCK
#define BYTES (8 * (size_t)BLOCK)

static void block_name(char out[24], uint64_t block)
{
	snprintf(out, 24, "%" PRIu64, block);
}

struct sde__series_files sde__series_files(const struct sde__home *home, enum sde__column column)
{
	const bool is_time = column == SDE__COLUMN_TIME, is_3 = home->format == 3;

	return (struct sde__series_files){
		.io = home->io,
		.dir = is_time ? home->time_blocks : home->iteration_blocks,
		.place = is_time ? (is_3 ? "time/c" : "time") : (is_3 ? "iteration/c" : "iteration"),
		.fill = is_time ? SDE__SERIES_TIME_FILL : SDE__SERIES_ITERATION_FILL,
		.checksum = is_3,
	};
}

int sde__series_read_block(const struct sde__series_files *files, uint64_t block, uint64_t *out,
			   enum sde_cause *cause, struct sde_error *error)
{
	const struct sde__io *io = files->io;
	enum sde_cause unused;
	uint32_t crc = 0;
	char name[24];
	int fd, ret;

	if (!cause)
		cause = &unused;
	block_name(name, block);
	*cause = SDE_CAUSE_MISSING;
	fd = io->open_at(io->ctx, files->dir, name, O_RDONLY);
	if (fd == -ENOENT)
		return sde__fail(error, SDE_E_HOLE, "'%s/%s' is missing", files->place, name);
	*cause = SDE_CAUSE_UNREADABLE;
	if (fd < 0)
		return sde__fail_why(error, fd, "cannot open '%s/%s'", files->place, name);
	ret = sde__io_read_all(io, fd, out, BYTES, 0);
	if (!ret && files->checksum)
		ret = sde__io_read_all(io, fd, &crc, 4, BYTES);
	io->close(io->ctx, fd);
	if (ret == -ENODATA) {
		*cause = SDE_CAUSE_TRUNCATED;
		return sde__fail(error, SDE_E_CORRUPT, "'%s/%s' is truncated", files->place, name);
	}
	if (ret)
		return sde__fail_why(error, ret, "cannot read '%s/%s'", files->place, name);
	*cause = SDE_CAUSE_CHECKSUM;
	if (files->checksum && crc != sde__crc32c(0, out, BYTES))
		return sde__fail(error, SDE_E_CORRUPT, "'%s/%s' has a wrong checksum", files->place,
				 name);
	return 0;
}

int sde__series_write_block(const struct sde__series_files *files, uint64_t block,
			    const uint64_t *numbers, bool durable, struct sde_error *error)
{
	const uint32_t crc = sde__crc32c(0, numbers, BYTES);
	const struct sde__piece pieces[2] = { { numbers, BYTES }, { &crc, 4 } };
	const struct sde__io *io = files->io;
	char name[24];
	int ret;

	block_name(name, block);
	ret = sde__io_replace(io, files->dir, name, pieces, files->checksum ? 2 : 1, durable);
	if (!ret && durable)
		ret = io->sync(io->ctx, files->dir);
	return ret ? sde__fail_why(error, ret, "cannot write '%s/%s'", files->place, name) : 0;
}

static void fill_from(struct sde__series *series, size_t first)
{
	for (size_t i = first; i < BLOCK; i++)
		series->block[i] = series->files.fill;
}

int sde__series_open(struct sde__series *series, const struct sde__series_files *files,
		     uint64_t count, bool durable, struct sde_error *error)
{
	const size_t inside = (size_t)(count % BLOCK);
	int ret = 0;

	series->files = *files;
	series->count = count;
	series->written = count;
	series->durable = durable;
	if (inside)
		ret = sde__series_read_block(files, count / BLOCK, series->block, NULL, error);
	fill_from(series, inside);
	return ret;
}

/* Write the block that number count - 1 is in. */
static int write_block(struct sde__series *series, struct sde_error *error)
{
	int ret;

	ret = sde__series_write_block(&series->files, (series->count - 1) / BLOCK, series->block,
				      series->durable, error);
	if (!ret)
		series->written = series->count;
	return ret;
}

int sde__series_append(struct sde__series *series, uint64_t bits, struct sde_error *error)
{
	int ret;

	/* a block is written before the next one is begun, so that a failure
	 * leaves the number where the next attempt finds it */
	if (series->count && series->count % BLOCK == 0 && series->written < series->count) {
		ret = write_block(series, error);
		if (ret)
			return ret;
	}
	if (series->count % BLOCK == 0)
		fill_from(series, 0);
	series->block[series->count % BLOCK] = bits;
	series->count++;
	return 0;
}

int sde__series_flush(struct sde__series *series, struct sde_error *error)
{
	return series->written < series->count ? write_block(series, error) : 0;
}
