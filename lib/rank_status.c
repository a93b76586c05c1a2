/* SPDX-License-Identifier: MIT */
/* The 64 bytes by which columns know of each other: see rank_status.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rank_status.h"

#include "crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME "status"
#define VERSION 1
#define GUARDED 16	/* from here to the end */

static const char magic[8] = { 'S', 'D', 'E', 'S', 'T', 'A', 'T', '\n' };

static void encode(const struct sde__rank_status *status, unsigned char out[SDE__STATUS_SIZE])
{
	const uint32_t version = VERSION;
	uint32_t crc;

	memset(out, 0, SDE__STATUS_SIZE);
	memcpy(out, magic, 8);
	memcpy(out + 8, &version, 4);
	memcpy(out + 16, status->run, 16);
	memcpy(out + 32, &status->epoch, 8);
	memcpy(out + 40, &status->column, 8);
	memcpy(out + 48, &status->held, 8);
	crc = sde__crc32c(0, out + GUARDED, SDE__STATUS_SIZE - GUARDED);
	memcpy(out + 12, &crc, 4);
}

int sde__rank_status_open(const struct sde__home *column, struct sde_error *error)
{
	const struct sde__io *io = column->io;
	const int fd = io->open_at(io->ctx, column->ring, NAME, O_RDWR | O_CREAT);

	return fd < 0 ? sde__fail_why(error, fd, "cannot create 'data/.ring/%" PRIu64 "/" NAME "'",
				      column->column) : fd;
}

int sde__rank_status_write(const struct sde__io *io, int fd, const struct sde__rank_status *status,
			   bool synced, struct sde_error *error)
{
	unsigned char bytes[SDE__STATUS_SIZE];
	int ret;

	encode(status, bytes);
	ret = sde__io_write_all(io, fd, bytes, sizeof(bytes), 0);
	if (!ret && synced)
		ret = io->sync(io->ctx, fd);
	return ret ? sde__fail_why(error, ret, "cannot write 'data/.ring/%" PRIu64 "/" NAME "'",
				   status->column) : 0;
}

uint64_t sde__rank_status_read(const struct sde__home *home,
			       const struct sde__rank_status *column)
{
	unsigned char found[SDE__STATUS_SIZE], wanted[SDE__STATUS_SIZE];
	struct sde__rank_status status = *column;
	const struct sde__io *io = home->io;
	char name[24];
	int dir, fd, ret;

	snprintf(name, sizeof(name), "%" PRIu64, column->column);
	dir = io->open_at(io->ctx, home->ring, name, O_RDONLY | O_DIRECTORY);
	if (dir < 0)
		return 0;
	fd = io->open_at(io->ctx, dir, NAME, O_RDONLY);
	io->close(io->ctx, dir);
	if (fd < 0)
		return 0;
	ret = sde__io_read_all(io, fd, found, sizeof(found), 0);
	io->close(io->ctx, fd);
	if (ret)
		return 0;
	memcpy(&status.held, found + 48, 8);
	encode(&status, wanted);
	return memcmp(found, wanted, sizeof(found)) ? 0 : status.held;
}

int sde__rank_status_remove(const struct sde__home *column, struct sde_error *error)
{
	const int ret = column->io->remove_at(column->io->ctx, column->ring, NAME, false);

	return ret && ret != -ENOENT ?
	       sde__fail_why(error, ret, "cannot remove 'data/.ring/%" PRIu64 "/" NAME "'",
			     column->column) : 0;
}
