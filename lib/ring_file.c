/* SPDX-License-Identifier: MIT */
/* Mapped or written: see ring_file.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ring_file.h"

#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096

/* statfs(2)'s f_type of the file systems on which a mapping is right. */
#define EXT_MAGIC 0xEF53	/* ext2, ext3, ext4 */
#define XFS_MAGIC 0x58465342
#define TMPFS_MAGIC 0x01021994
#define RAMFS_MAGIC 0x858458F6

static bool is_memory(uint64_t magic)
{
	return magic == TMPFS_MAGIC || magic == RAMFS_MAGIC;
}

enum sde_ring_io sde__ring_io_choose(const struct sde__io *io, int dir, enum sde_ring_io asked)
{
	uint64_t magic;

	if (asked != SDE_RING_IO_DEFAULT)
		return asked;
	/* a table that does not know is a simulation of the first kind */
	if (!io->file_system)
		return SDE_RING_IO_MAPPED;
	if (io->file_system(io->ctx, dir, &magic))
		return SDE_RING_IO_WRITTEN;
	return magic == EXT_MAGIC || magic == XFS_MAGIC || is_memory(magic) ?
	       SDE_RING_IO_MAPPED : SDE_RING_IO_WRITTEN;
}

bool sde__ring_is_in_memory(const struct sde__io *io, int dir)
{
	uint64_t magic;

	return io->file_system && !io->file_system(io->ctx, dir, &magic) && is_memory(magic);
}

void sde__ring_file_init(struct sde__ring_file *file, const struct sde__io *io,
			 enum sde_ring_io how, bool guarded)
{
	memset(file, 0, sizeof(*file));
	file->io = io;
	file->fd = -1;
	file->how = how;
	file->guarded = guarded && how == SDE_RING_IO_MAPPED;
}

static int map_memory(struct sde__ring_file *file)
{
	void *base = NULL;
	int ret;

	ret = file->io->map(file->io->ctx, file->fd, file->size, true, &base);
	file->base = base;
	return ret ? ret : file->io->populate(file->io->ctx, base, file->size);
}

static int own_memory(struct sde__ring_file *file)
{
	/* sizes are multiples of a page */
	file->base = aligned_alloc(PAGE, file->size);
	if (!file->base)
		return -ENOMEM;
	memset(file->base, 0, file->size);
	return 0;
}

int sde__ring_file_lay(struct sde__ring_file *file, int dir, const char *name, size_t size,
		       struct sde_error *error)
{
	const struct sde__io *io = file->io;
	int ret;

	snprintf(file->name, sizeof(file->name), "%s", name);
	file->size = size;
	file->fd = io->open_at(io->ctx, dir, name, O_RDWR | O_CREAT | O_EXCL);
	if (file->fd < 0)
		return sde__fail_why(error, file->fd, "cannot create 'data/.ring/%s'", name);
	ret = io->allocate(io->ctx, file->fd, size);
	if (!ret)
		ret = io->sync(io->ctx, file->fd);
	if (ret)
		return sde__fail_why(error, ret, "cannot allocate 'data/.ring/%s' of %zu bytes", name,
				     size);
	ret = file->how == SDE_RING_IO_MAPPED ? map_memory(file) : own_memory(file);
	return ret ? sde__fail_why(error, ret, "cannot map 'data/.ring/%s'", name) : 0;
}

/* A fault in mapped memory that the guard caught. */
static int cut_off(const struct sde__ring_file *file, struct sde_error *error)
{
	return sde__fail(error, -EIO,
			 "cannot write 'data/.ring/%s': somebody shortened it, or its device failed",
			 file->name);
}

struct filling {
	const struct sde__io *io;
	unsigned char *to;
	const void *from;
	size_t n;
};

static void fill(void *ctx)
{
	const struct filling *f = ctx;

	f->io->copy(f->io->ctx, f->to, f->from, f->n);
}

int sde__ring_file_fill(struct sde__ring_file *file, size_t offset, const void *from, size_t n,
			struct sde_error *error)
{
	struct filling f = { file->io, file->base + offset, from, n };

	if (file->how == SDE_RING_IO_WRITTEN)
		memcpy(f.to, from, n);
	else if (!file->guarded)
		fill(&f);
	else if (sde__guard_run(file->base, file->size, fill, &f))
		return cut_off(file, error);
	return 0;
}

int sde__ring_file_touch(const struct sde__ring_file *file, void (*act)(void *ctx), void *ctx,
			 struct sde_error *error)
{
	if (!file->guarded)
		act(ctx);
	else if (sde__guard_run(file->base, file->size, act, ctx))
		return sde__fail(error, -EIO,
				 "cannot use 'data/.ring/%s': somebody shortened it, or its device failed",
				 file->name);
	return 0;
}

int sde__ring_file_put(struct sde__ring_file *file, size_t offset, size_t n,
		       struct sde_error *error)
{
	int ret;

	if (file->how == SDE_RING_IO_MAPPED || !n)
		return 0;
	ret = sde__io_write_all(file->io, file->fd, file->base + offset, n, offset);
	return ret ? sde__fail_why(error, ret, "cannot write 'data/.ring/%s'", file->name) : 0;
}

struct setting {
	const struct sde__io *io;
	uint64_t *counter, value;
};

static void set_counter(void *ctx)
{
	const struct setting *s = ctx;

	s->io->commit(s->io->ctx, s->counter, s->value);
}

int sde__ring_file_set(struct sde__ring_file *file, size_t offset, uint64_t value,
		       struct sde_error *error)
{
	/* the memory is aligned to a page, counters to 64 bytes in it */
	struct setting s = { file->io, (uint64_t *)(void *)(file->base + offset), value };
	int ret;

	if (file->how == SDE_RING_IO_MAPPED) {
		if (!file->guarded)
			set_counter(&s);
		else if (sde__guard_run(file->base, file->size, set_counter, &s))
			return cut_off(file, error);
		return 0;
	}
	ret = sde__io_write_all(file->io, file->fd, &value, sizeof(value), offset);
	if (ret)
		return sde__fail_why(error, ret, "cannot write 'data/.ring/%s'", file->name);
	memcpy(file->base + offset, &value, sizeof(value));
	return 0;
}

int sde__ring_file_sync(struct sde__ring_file *file, size_t offset, size_t n,
			struct sde_error *error)
{
	const struct sde__io *io = file->io;
	const int ret = file->how == SDE_RING_IO_MAPPED ?
			io->sync_map(io->ctx, file->base + offset, n) : io->sync(io->ctx, file->fd);

	return ret ? sde__fail_why(error, ret, "cannot sync 'data/.ring/%s'", file->name) : 0;
}

int sde__ring_file_dirty(struct sde__ring_file *file, size_t offset, size_t n,
			 struct sde_error *error)
{
	/* a failed sync has left the pages clean: to be written they become dirty */
	if (file->how == SDE_RING_IO_MAPPED)
		file->io->populate(file->io->ctx, file->base + offset, n);
	else
		sde__ring_file_put(file, offset, n, error);
	return 0;
}

int sde__ring_file_ready(struct sde__ring_file *file, struct sde_error *error)
{
	const struct sde__io *io = file->io;
	struct sde__stat st;
	int ret;

	if (file->how == SDE_RING_IO_WRITTEN || file->in_memory)
		return 0;
	ret = io->populate(io->ctx, file->base, file->size);
	/* pages that are not in the file look like a full disk */
	if (ret == -ENOSPC && !io->stat(io->ctx, file->fd, &st) && st.size < file->size)
		return cut_off(file, error);
	return ret ? sde__fail_why(error, ret, "cannot reuse 'data/.ring/%s'", file->name) : 0;
}

void sde__ring_file_close(struct sde__ring_file *file)
{
	const struct sde__io *io = file->io;

	if (file->base && file->how == SDE_RING_IO_MAPPED)
		io->unmap(io->ctx, file->base, file->size);
	else
		free(file->base);
	if (file->fd >= 0)
		io->close(io->ctx, file->fd);
	file->base = NULL;
	file->fd = -1;
}
