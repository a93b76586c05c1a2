/* SPDX-License-Identifier: MIT */
/*
 * Every system call that matters to durability, behind one table.
 *
 * The library reaches files only through a struct sde__io, so that tests can
 * put a simulated file system or a failing one in its place. sde__io_posix is
 * the real one. Every function returns a value >= 0, or -errno. Handles are
 * small integers as the table gives them out; 'dir' handles are directories.
 * Names are single components, relative to dir: no name that was read from a
 * file is ever passed on.
 *
 * open_at never follows a symbolic link in the last component (O_NOFOLLOW) and
 * sets O_CLOEXEC. It may be called from several threads at once, like all
 * others.
 *
 * The two entries that are not system calls are the ring's: copy puts a
 * payload into mapped memory and commit releases a counter after it. They go
 * through the table so that a simulation sees each of them as an event.
 */
#ifndef SDE_LIB_IO_H
#define SDE_LIB_IO_H

#include "error.h"

#include <stdbool.h>

/* What the library wants to know of a file. */
struct sde__stat {
	uint64_t device, inode, size, links;
	bool is_directory, is_file;
};

struct sde__io {
	void *ctx;
	/* flags: O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_DIRECTORY. dir -1: `name`
	 * is a path as the user gave it, and links in it are followed */
	int (*open_at)(void *ctx, int dir, const char *name, int flags);
	int (*close)(void *ctx, int fd);
	int (*make_directory_at)(void *ctx, int dir, const char *name);
	/* removes a file, or an empty directory if `directory` */
	int (*remove_at)(void *ctx, int dir, const char *name, bool directory);
	/* replaces `to` if it is there (as rename(2)) */
	int (*rename_at)(void *ctx, int from_dir, const char *from, int to_dir,
			 const char *to);
	/* the same, but -EEXIST if `to` is there */
	int (*rename_new_at)(void *ctx, int from_dir, const char *from, int to_dir,
			     const char *to);
	/* exchanges two names in one instant; -EINVAL where it cannot */
	int (*exchange_at)(void *ctx, int a_dir, const char *a, int b_dir,
			   const char *b);
	int (*stat_at)(void *ctx, int dir, const char *name, struct sde__stat *out);
	int (*stat)(void *ctx, int fd, struct sde__stat *out);
	/* calls entry for each name but . and ..; its non-zero return stops and
	 * is returned */
	int (*list)(void *ctx, int dir, int (*entry)(void *, const char *),
		    void *entry_ctx);
	/* one call each: may be short */
	int64_t (*pread)(void *ctx, int fd, void *out, size_t n, uint64_t offset);
	int64_t (*pwrite)(void *ctx, int fd, const void *in, size_t n,
			  uint64_t offset);
	int (*sync)(void *ctx, int fd);			/* fsync, also of a directory */
	/* all of the file system that fd is on: for a name in a directory that may not be
	 * opened to sync it. May be NULL: such a name is then not made durable */
	int (*sync_file_system)(void *ctx, int fd);
	/* a hint: let the device begin with these bytes, so that sync has less to wait
	 * for; promises nothing, cannot fail. NULL: not taken */
	void (*begin_sync)(void *ctx, int fd, uint64_t offset, uint64_t n);
	int (*allocate)(void *ctx, int fd, uint64_t size); /* posix_fallocate */
	int (*map)(void *ctx, int fd, size_t size, bool writable, void **out);
	int (*unmap)(void *ctx, void *base, size_t size);
	/* `address` need not be aligned: whole pages around the range */
	int (*sync_map)(void *ctx, void *address, size_t size);	/* msync(MS_SYNC) */
	int (*populate)(void *ctx, void *address, size_t size);	/* make writable */
	/* takes an exclusive OFD lock; -EAGAIN if another open file has it */
	int (*lock)(void *ctx, int fd);
	/* 1 if another open file holds the lock, 0 if not; takes nothing */
	int (*is_locked)(void *ctx, int fd);
	/* 16 bytes that change at every boot; see sde__io_boot_id */
	int (*boot_id)(void *ctx, unsigned char out[16]);
	/* which file system a file is on: f_type of statfs(2). May be NULL, for
	 * one whose preallocated mappings can always be written */
	int (*file_system)(void *ctx, int fd, uint64_t *magic);
	/* n random bytes */
	int (*random)(void *ctx, void *out, size_t n);
	/* the ring's payload and counters */
	void (*copy)(void *ctx, void *to, const void *from, size_t n);
	void (*commit)(void *ctx, uint64_t *counter, uint64_t value);
};

extern const struct sde__io sde__io_posix;

/* Where it has boot_id from. */
#define SDE__BOOT_ID_FILE "/proc/sys/kernel/random/boot_id"

/* On top of the table, for any implementation of it. */

/* Reads exactly n bytes, or -ENODATA where the file ends before. */
int sde__io_read_all(const struct sde__io *io, int fd, void *out, size_t n,
		     uint64_t offset);
int sde__io_write_all(const struct sde__io *io, int fd, const void *in, size_t n,
		      uint64_t offset);

/*
 * The boot's 16 bytes, or zeros where the system has none or keeps them to itself.
 * Any other failure is one: who took zeros then would believe that the machine has
 * been restarted, and that what was not synced is lost.
 */
int sde__io_boot_id(const struct sde__io *io, unsigned char out[16]);

/*
 * A file in the making: a new one of the name "<name>.tmp", in place of what a killed
 * run left there, and the way to its own name, in one instant. -ENAMETOOLONG.
 */
int sde__io_open_temporary(const struct sde__io *io, int dir, const char *name);
int sde__io_name_temporary(const struct sde__io *io, int dir, const char *name);
int sde__io_remove_temporary(const struct sde__io *io, int dir, const char *name);

/* A piece of a file that is written in one go; bytes NULL is a hole of zeros. */
struct sde__piece {
	const void *bytes;
	size_t size;
};

/*
 * Put a file of these pieces at dir/name, whole or not at all: written under
 * the temporary name "<name>.tmp", synced if `durable`, renamed over `name`.
 * The directory entry is durable only after sync(dir), which is the caller's.
 * On failure the temporary is removed and `name` is as it was.
 */
int sde__io_replace(const struct sde__io *io, int dir, const char *name,
		    const struct sde__piece *pieces, size_t count, bool durable);

/*
 * Read a whole file of at most `limit` bytes into malloc'd memory, with a 0
 * byte behind it. -EFBIG if it is larger.
 */
int sde__io_read_file(const struct sde__io *io, int dir, const char *name,
		      size_t limit, char **out, size_t *size);

/* Remove a directory with all in it; never follows a link. */
int sde__io_remove_tree(const struct sde__io *io, int dir, const char *name);

/*
 * mkdir -p of a path as the user gave it; what was made is durable, also where its
 * parent may be written and not read. Has the form of the make_directory option, whose
 * default it is; ctx is a struct sde__io, or NULL for the real one.
 */
int sde__io_make_directories(void *ctx, const char *path);

#endif
