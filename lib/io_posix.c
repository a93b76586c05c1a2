/* SPDX-License-Identifier: MIT */
/*
 * The real file system behind struct sde__io: one system call an entry, EINTR
 * retried, -errno returned. Nothing here decides anything.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "io.h"

#include "stream_copy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23	/* Linux 5.14 */
#endif

static int open_at(void *ctx, int dir, const char *name, int flags)
{
	int fd;

	(void)ctx;
	if (dir >= 0)
		flags |= O_NOFOLLOW;
	/* a pipe in a file's place must not be waited for; files do not care */
	flags |= O_NONBLOCK | O_NOCTTY;
	do {
		fd = openat(dir < 0 ? AT_FDCWD : dir, name, flags | O_CLOEXEC, 0666);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static int close_fd(void *ctx, int fd)
{
	(void)ctx;
	/* Linux frees the descriptor whatever close says: never retried */
	return close(fd) && errno != EINTR ? -errno : 0;
}

static int make_directory_at(void *ctx, int dir, const char *name)
{
	(void)ctx;
	return mkdirat(dir < 0 ? AT_FDCWD : dir, name, 0777) ? -errno : 0;
}

static int remove_at(void *ctx, int dir, const char *name, bool directory)
{
	(void)ctx;
	return unlinkat(dir < 0 ? AT_FDCWD : dir, name, directory ? AT_REMOVEDIR : 0) ? -errno : 0;
}

static int rename_at(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	(void)ctx;
	return renameat(from_dir, from, to_dir, to) ? -errno : 0;
}

/*
 * Lustre and NFS do not know RENAME_NOREPLACE; link(2) refuses an existing name
 * just as surely. A crash between the two calls leaves the file under both names.
 */
static int rename_new_at(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	(void)ctx;
	if (!renameat2(from_dir, from, to_dir, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (linkat(from_dir, from, to_dir, to, 0))
		return -errno;
	return unlinkat(from_dir, from, 0) ? -errno : 0;
}

static int exchange_at(void *ctx, int a_dir, const char *a, int b_dir, const char *b)
{
	(void)ctx;
	return renameat2(a_dir, a, b_dir, b, RENAME_EXCHANGE) ? -errno : 0;
}

static void stat_copy(struct sde__stat *out, const struct stat *st)
{
	out->device = (uint64_t)st->st_dev;
	out->inode = (uint64_t)st->st_ino;
	out->size = (uint64_t)st->st_size;
	out->links = (uint64_t)st->st_nlink;
	out->is_directory = S_ISDIR(st->st_mode);
	out->is_file = S_ISREG(st->st_mode);
}

static int stat_at(void *ctx, int dir, const char *name, struct sde__stat *out)
{
	struct stat st;

	(void)ctx;
	if (fstatat(dir < 0 ? AT_FDCWD : dir, name, &st, dir < 0 ? 0 : AT_SYMLINK_NOFOLLOW))
		return -errno;
	stat_copy(out, &st);
	return 0;
}

static int stat_fd(void *ctx, int fd, struct sde__stat *out)
{
	struct stat st;

	(void)ctx;
	if (fstat(fd, &st))
		return -errno;
	stat_copy(out, &st);
	return 0;
}

static int list(void *ctx, int dir, int (*entry)(void *, const char *), void *entry_ctx)
{
	struct dirent *e;
	DIR *stream;
	int fd, ret = 0;

	(void)ctx;
	do {
		fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	stream = fdopendir(fd);
	if (!stream) {
		ret = -errno;
		close(fd);
		return ret;
	}
	while (errno = 0, (e = readdir(stream)) != NULL) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		ret = entry(entry_ctx, e->d_name);
		if (ret)
			break;
	}
	if (!e && errno)
		ret = -errno;
	closedir(stream);
	return ret;
}

static int64_t pread_fd(void *ctx, int fd, void *out, size_t n, uint64_t offset)
{
	ssize_t got;

	(void)ctx;
	if (offset > INT64_MAX)
		return -EINVAL;
	do {
		got = pread(fd, out, n, (off_t)offset);
	} while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

static int64_t pwrite_fd(void *ctx, int fd, const void *in, size_t n, uint64_t offset)
{
	ssize_t put;

	(void)ctx;
	if (offset > INT64_MAX)
		return -EINVAL;
	do {
		put = pwrite(fd, in, n, (off_t)offset);
	} while (put < 0 && errno == EINTR);
	return put < 0 ? -errno : put;
}

static int sync_fd(void *ctx, int fd)
{
	int ret;

	(void)ctx;
	do {
		ret = fsync(fd);
	} while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

static int sync_file_system(void *ctx, int fd)
{
	(void)ctx;
	return syncfs(fd) ? -errno : 0;
}

static void begin_sync(void *ctx, int fd, uint64_t offset, uint64_t n)
{
	(void)ctx;
	/* where the file system cannot, sync has it all to do */
	(void)sync_file_range(fd, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
}

static int allocate(void *ctx, int fd, uint64_t size)
{
	int ret;

	(void)ctx;
	if (size > INT64_MAX)
		return -EFBIG;
	do {
		ret = posix_fallocate(fd, 0, (off_t)size);
	} while (ret == EINTR);
	return -ret;
}

static int map(void *ctx, int fd, size_t size, bool writable, void **out)
{
	void *base;

	(void)ctx;
	base = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED)
		return -errno;
	*out = base;
	return 0;
}

static int unmap(void *ctx, void *base, size_t size)
{
	(void)ctx;
	return munmap(base, size) ? -errno : 0;
}

/* The whole pages around [address, address + size). */
static void *page_range(void *address, size_t *size)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t before = (uintptr_t)address % page;

	*size = (*size + before + page - 1) / page * page;
	return (char *)address - before;
}

static int sync_map(void *ctx, void *address, size_t size)
{
	void *start = page_range(address, &size);

	(void)ctx;
	return msync(start, size, MS_SYNC) ? -errno : 0;
}

/*
 * Make the pages present and writable now, so that a later store neither
 * faults nor meets a full disk (CRASH.md: the errno that replaces SIGBUS).
 * Kernels before 5.14 say EINVAL; the pages then fault one by one.
 */
static int populate(void *ctx, void *address, size_t size)
{
	void *start = page_range(address, &size);
	int ret;

	(void)ctx;
	do {
		ret = madvise(start, size, MADV_POPULATE_WRITE);
	} while (ret && errno == EINTR);
	if (ret && errno != EINVAL)
		return errno == EFAULT ? -ENOSPC : -errno;
	return 0;
}

static int lock(void *ctx, int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	(void)ctx;
	if (!fcntl(fd, F_OFD_SETLK, &l))
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int is_locked(void *ctx, int fd)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	(void)ctx;
	if (fcntl(fd, F_OFD_GETLK, &l))
		return -errno;
	return l.l_type != F_UNLCK;
}

/* The kernel's UUID of this boot, 36 characters of hex and dashes. */
static int boot_id(void *ctx, unsigned char out[16])
{
	char text[64];
	unsigned digits = 0;
	ssize_t got;
	int fd, error;

	(void)ctx;
	memset(out, 0, 16);
	do {
		fd = open(SDE__BOOT_ID_FILE, O_RDONLY | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	do {
		got = read(fd, text, sizeof(text));
	} while (got < 0 && errno == EINTR);
	error = got < 0 ? -errno : -ENODATA;
	close(fd);
	for (ssize_t i = 0; i < got && digits < 32; i++) {
		const char c = text[i];
		unsigned value;

		if (c >= '0' && c <= '9')
			value = (unsigned)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = (unsigned)(c - 'a') + 10;
		else
			continue;
		out[digits / 2] = (unsigned char)((unsigned)out[digits / 2] << 4 | value);
		digits++;
	}
	return digits == 32 ? 0 : error;
}

static int file_system(void *ctx, int fd, uint64_t *magic)
{
	struct statfs st;
	int ret;

	(void)ctx;
	do {
		ret = fstatfs(fd, &st);
	} while (ret && errno == EINTR);
	if (ret)
		return -errno;
	/* f_type is a signed word where they are 32 bits */
	*magic = (uint64_t)st.f_type & 0xffffffff;
	return 0;
}

static int random_bytes(void *ctx, void *out, size_t n)
{
	unsigned char *p = out;

	(void)ctx;
	while (n) {
		const ssize_t got = getrandom(p, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

static void copy(void *ctx, void *to, const void *from, size_t n)
{
	(void)ctx;
	sde__stream_copy(to, from, n);
}

static void commit(void *ctx, uint64_t *counter, uint64_t value)
{
	(void)ctx;
	__atomic_store_n(counter, value, __ATOMIC_RELEASE);
}

const struct sde__io sde__io_posix = {
	.open_at = open_at,
	.close = close_fd,
	.make_directory_at = make_directory_at,
	.remove_at = remove_at,
	.rename_at = rename_at,
	.rename_new_at = rename_new_at,
	.exchange_at = exchange_at,
	.stat_at = stat_at,
	.stat = stat_fd,
	.list = list,
	.pread = pread_fd,
	.pwrite = pwrite_fd,
	.sync = sync_fd,
	.sync_file_system = sync_file_system,
	.begin_sync = begin_sync,
	.allocate = allocate,
	.map = map,
	.unmap = unmap,
	.sync_map = sync_map,
	.populate = populate,
	.lock = lock,
	.is_locked = is_locked,
	.boot_id = boot_id,
	.file_system = file_system,
	.random = random_bytes,
	.copy = copy,
	.commit = commit,
};
