/* SPDX-License-Identifier: MIT */
/* Faults, counts and records around the real io table: see fault_io.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Guards the counts, the events and the table of mappings, of all of them. */
static pthread_mutex_t lock_of_all = PTHREAD_MUTEX_INITIALIZER;

static void note(struct fault_io *fault, const char *call, const char *name, uint64_t value)
{
	struct fault_event *e;

	if (fault->events == FAULT_IO_EVENTS)
		return;
	e = &fault->event[fault->events++];
	snprintf(e->call, sizeof(e->call), "%s", call);
	snprintf(e->name, sizeof(e->name), "%s", name);
	e->value = value;
}

static void record(struct fault_io *fault, const char *call, const char *name, uint64_t value)
{
	if (fault->before)
		fault->before(fault->before_ctx, call, name);
	pthread_mutex_lock(&lock_of_all);
	note(fault, call, name, value);
	pthread_mutex_unlock(&lock_of_all);
}

/* Count a call; true if it is to fail. */
static bool fails(struct fault_io *fault, const char *call, const char *name, uint64_t value)
{
	bool fail = false;

	if (fault->before)
		fault->before(fault->before_ctx, call, name);
	pthread_mutex_lock(&lock_of_all);
	note(fault, call, name, value);
	if (!fault->only || !strcmp(fault->only, call)) {
		fault->calls++;
		fail = fault->fail_at && fault->calls >= fault->fail_at &&
		       (fault->calls == fault->fail_at || fault->for_good);
	}
	if (fail && !fault->fired)
		fault->failed = fault->events - 1;
	fault->fired |= fail;
	pthread_mutex_unlock(&lock_of_all);
	return fail;
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

static const char *name_of(struct fault_io *fault, int fd)
{
	return fd >= 0 && fd < FAULT_IO_HANDLES ? fault->handle_name[fd] : "?";
}

static const char *map_name(struct fault_io *fault, const void *address)
{
	for (int i = 0; i < FAULT_IO_MAPS; i++) {
		const char *base = fault->map[i].base;

		if (base && (const char *)address >= base &&
		    (const char *)address < base + fault->map[i].size)
			return fault->map[i].name;
	}
	return "?";
}

static int open_at(void *ctx, int dir, const char *name, int flags)
{
	struct fault_io *fault = ctx;
	int fd;

	if (fails(fault, "open_at", last_component(name), (uint64_t)flags))
		return -fault->error;
	fd = sde__io_posix.open_at(NULL, dir, name, flags);
	if (fd < 0)
		return fd;
	__atomic_add_fetch(&fault->handles, 1, __ATOMIC_RELAXED);
	if (fd < FAULT_IO_HANDLES)
		snprintf(fault->handle_name[fd], sizeof(fault->handle_name[fd]), "%s",
			 last_component(name));
	return fd;
}

static int close_handle(void *ctx, int fd)
{
	struct fault_io *fault = ctx;
	const bool fail = fails(fault, "close", name_of(fault, fd), 0);
	const int ret = sde__io_posix.close(NULL, fd);

	__atomic_sub_fetch(&fault->handles, 1, __ATOMIC_RELAXED);
	return fail ? -fault->error : ret;
}

static int make_directory_at(void *ctx, int dir, const char *name)
{
	struct fault_io *fault = ctx;

	return fails(fault, "make_directory_at", last_component(name), 0) ?
	       -fault->error : sde__io_posix.make_directory_at(NULL, dir, name);
}

static int remove_at(void *ctx, int dir, const char *name, bool directory)
{
	struct fault_io *fault = ctx;

	return fails(fault, "remove_at", name, directory) ?
	       -fault->error : sde__io_posix.remove_at(NULL, dir, name, directory);
}

static int rename_at(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	struct fault_io *fault = ctx;

	return fails(fault, "rename_at", from, 0) ?
	       -fault->error : sde__io_posix.rename_at(NULL, from_dir, from, to_dir, to);
}

static int rename_new_at(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	struct fault_io *fault = ctx;

	return fails(fault, "rename_new_at", from, 0) ?
	       -fault->error : sde__io_posix.rename_new_at(NULL, from_dir, from, to_dir, to);
}

static int exchange_at(void *ctx, int a_dir, const char *a, int b_dir, const char *b)
{
	struct fault_io *fault = ctx;

	if (fails(fault, "exchange_at", a, 0))
		return -fault->error;
	return fault->no_exchange ? -EINVAL : sde__io_posix.exchange_at(NULL, a_dir, a, b_dir, b);
}

static int stat_at(void *ctx, int dir, const char *name, struct sde__stat *out)
{
	struct fault_io *fault = ctx;

	return fails(fault, "stat_at", last_component(name), 0) ?
	       -fault->error : sde__io_posix.stat_at(NULL, dir, name, out);
}

static int stat_handle(void *ctx, int fd, struct sde__stat *out)
{
	struct fault_io *fault = ctx;

	return fails(fault, "stat", name_of(fault, fd), 0) ?
	       -fault->error : sde__io_posix.stat(NULL, fd, out);
}

static int list(void *ctx, int dir, int (*entry)(void *, const char *), void *entry_ctx)
{
	struct fault_io *fault = ctx;

	return fails(fault, "list", name_of(fault, dir), 0) ?
	       -fault->error : sde__io_posix.list(NULL, dir, entry, entry_ctx);
}

static int64_t pread_handle(void *ctx, int fd, void *out, size_t n, uint64_t offset)
{
	struct fault_io *fault = ctx;

	if (fails(fault, "pread", name_of(fault, fd), offset))
		return -fault->error;
	if (fault->most && n > fault->most)
		n = fault->most;
	return sde__io_posix.pread(NULL, fd, out, n, offset);
}

static int64_t pwrite_handle(void *ctx, int fd, const void *in, size_t n, uint64_t offset)
{
	struct fault_io *fault = ctx;

	if (fails(fault, "pwrite", name_of(fault, fd), offset))
		return -fault->error;
	if (fault->most && n > fault->most)
		n = fault->most;
	return sde__io_posix.pwrite(NULL, fd, in, n, offset);
}

static int sync_handle(void *ctx, int fd)
{
	struct fault_io *fault = ctx;

	return fails(fault, "sync", name_of(fault, fd), 0) ?
	       -fault->error : sde__io_posix.sync(NULL, fd);
}

static int allocate(void *ctx, int fd, uint64_t size)
{
	struct fault_io *fault = ctx;

	return fails(fault, "allocate", name_of(fault, fd), size) ?
	       -fault->error : sde__io_posix.allocate(NULL, fd, size);
}

static int map(void *ctx, int fd, size_t size, bool writable, void **out)
{
	struct fault_io *fault = ctx;
	int ret;

	if (fails(fault, "map", name_of(fault, fd), size))
		return -fault->error;
	ret = sde__io_posix.map(NULL, fd, size, writable, out);
	if (ret)
		return ret;
	pthread_mutex_lock(&lock_of_all);
	fault->maps++;
	for (int i = 0; i < FAULT_IO_MAPS; i++) {
		if (fault->map[i].base)
			continue;
		fault->map[i].base = *out;
		fault->map[i].size = size;
		snprintf(fault->map[i].name, sizeof(fault->map[i].name), "%s", name_of(fault, fd));
		break;
	}
	pthread_mutex_unlock(&lock_of_all);
	return 0;
}

static int unmap(void *ctx, void *base, size_t size)
{
	struct fault_io *fault = ctx;

	pthread_mutex_lock(&lock_of_all);
	for (int i = 0; i < FAULT_IO_MAPS; i++)
		if (fault->map[i].base == base)
			fault->map[i].base = NULL;
	fault->maps--;
	pthread_mutex_unlock(&lock_of_all);
	return sde__io_posix.unmap(NULL, base, size);
}

static int sync_file_system(void *ctx, int fd)
{
	struct fault_io *fault = ctx;

	/* what is on it else is not the test's to wait for */
	return fails(fault, "sync_file_system", name_of(fault, fd), 0) ?
	       -fault->error : sde__io_posix.sync(NULL, fd);
}

static int sync_map(void *ctx, void *address, size_t size)
{
	struct fault_io *fault = ctx;

	return fails(fault, "sync_map", map_name(fault, address), size) ?
	       -fault->error : sde__io_posix.sync_map(NULL, address, size);
}

static int populate(void *ctx, void *address, size_t size)
{
	struct fault_io *fault = ctx;

	return fails(fault, "populate", map_name(fault, address), size) ?
	       -fault->error : sde__io_posix.populate(NULL, address, size);
}

static int lock(void *ctx, int fd)
{
	struct fault_io *fault = ctx;

	return fails(fault, "lock", name_of(fault, fd), 0) ?
	       -fault->error : sde__io_posix.lock(NULL, fd);
}

static int is_locked(void *ctx, int fd)
{
	struct fault_io *fault = ctx;

	return fails(fault, "is_locked", name_of(fault, fd), 0) ?
	       -fault->error : sde__io_posix.is_locked(NULL, fd);
}

static int boot_id(void *ctx, unsigned char out[16])
{
	struct fault_io *fault = ctx;

	if (fails(fault, "boot_id", "", 0))
		return -fault->error;
	if (!fault->boot)
		return sde__io_posix.boot_id(NULL, out);
	memcpy(out, fault->boot, 16);
	return 0;
}

static int file_system(void *ctx, int fd, uint64_t *magic)
{
	struct fault_io *fault = ctx;

	if (fails(fault, "file_system", name_of(fault, fd), 0))
		return -fault->error;
	*magic = fault->file_system;
	return 0;
}

static int random_bytes(void *ctx, void *out, size_t n)
{
	struct fault_io *fault = ctx;

	return fails(fault, "random", "", 0) ? -fault->error : sde__io_posix.random(NULL, out, n);
}

static void copy(void *ctx, void *to, const void *from, size_t n)
{
	struct fault_io *fault = ctx;

	record(fault, "copy", map_name(fault, to), n);
	sde__io_posix.copy(NULL, to, from, n);
}

static void commit(void *ctx, uint64_t *counter, uint64_t value)
{
	struct fault_io *fault = ctx;

	record(fault, "commit", map_name(fault, counter), value);
	sde__io_posix.commit(NULL, counter, value);
}

void fault_io_init(struct fault_io *fault)
{
	memset(fault, 0, sizeof(*fault));
	fault->io = (struct sde__io){
		.ctx = fault, .open_at = open_at, .close = close_handle,
		.make_directory_at = make_directory_at, .remove_at = remove_at,
		.rename_at = rename_at, .rename_new_at = rename_new_at,
		.exchange_at = exchange_at, .stat_at = stat_at,
		.stat = stat_handle, .list = list, .pread = pread_handle,
		.pwrite = pwrite_handle, .sync = sync_handle,
		.sync_file_system = sync_file_system, .allocate = allocate, .map = map,
		.unmap = unmap, .sync_map = sync_map, .populate = populate, .lock = lock,
		.is_locked = is_locked, .boot_id = boot_id, .file_system = file_system,
		.random = random_bytes,
		.copy = copy, .commit = commit,
	};
	fault->error = EIO;
	fault->file_system = FAULT_IO_EXT;
}

void fault_io_arm(struct fault_io *fault, unsigned long fail_at, int error, bool for_good)
{
	/* the library's threads may be in the middle of a call */
	pthread_mutex_lock(&lock_of_all);
	fault->fail_at = fail_at;
	fault->error = error;
	fault->for_good = for_good;
	fault->calls = 0;
	fault->fired = false;
	fault->failed = 0;
	fault->events = 0;
	pthread_mutex_unlock(&lock_of_all);
}

int fault_io_find(const struct fault_io *fault, int from, const char *call, const char *name)
{
	for (size_t i = (size_t)from; i < fault->events; i++)
		if (!strcmp(fault->event[i].call, call) &&
		    (!name || !strcmp(fault->event[i].name, name)))
			return (int)i;
	return -1;
}

unsigned fault_io_count(const struct fault_io *fault, const char *call, const char *name)
{
	unsigned count = 0;

	for (int i = 0; (i = fault_io_find(fault, i, call, name)) >= 0; i++)
		count++;
	return count;
}
