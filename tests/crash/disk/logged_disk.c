/* SPDX-License-Identifier: MIT */
/*
 * A disk that remembers in which order it was written and flushed: a FUSE file
 * system with the files `disk`, for a loop device, and `mark`, into which the
 * workload writes what it knows. Everything goes into a log (log.h), from which any
 * state that a power loss could have left is made afterwards.
 *
 *	logged_disk MOUNTPOINT IMAGE LOG
 *
 * MOUNTPOINT may be /dev/fd/N, a FUSE device that is mounted already. The disk begins as a copy of IMAGE, which is not changed. Ends when it is
 * unmounted, with status 0 if the log is complete.
 */
#define FUSE_USE_VERSION 31
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "log.h"

#include <errno.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK "/disk"
#define MARK "/mark"

static char *disk;
static size_t disk_size;
static FILE *log_file;
static int log_failed;

static void append(enum log_kind kind, uint64_t offset, const void *bytes, size_t size)
{
	const struct log_record record = { (uint32_t)kind, (uint32_t)size, offset };

	if (fwrite(&record, sizeof(record), 1, log_file) != 1 ||
	    (size && fwrite(bytes, size, 1, log_file) != 1))
		log_failed = 1;
}

static int get_attributes(const char *path, struct stat *st, struct fuse_file_info *file)
{
	(void)file;
	memset(st, 0, sizeof(*st));
	if (!strcmp(path, "/")) {
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		return 0;
	}
	if (strcmp(path, DISK) && strcmp(path, MARK))
		return -ENOENT;
	st->st_mode = S_IFREG | 0600;
	st->st_nlink = 1;
	st->st_size = strcmp(path, DISK) ? 0 : (off_t)disk_size;
	return 0;
}

static int open_file(const char *path, struct fuse_file_info *file)
{
	/* a mark is in the log when its write returns */
	file->direct_io = !strcmp(path, MARK);
	return 0;
}

static int read_file(const char *path, char *out, size_t size, off_t offset,
		     struct fuse_file_info *file)
{
	(void)file;
	if (strcmp(path, DISK) || (size_t)offset >= disk_size)
		return 0;
	if (size > disk_size - (size_t)offset)
		size = disk_size - (size_t)offset;
	memcpy(out, disk + offset, size);
	return (int)size;
}

static int write_file(const char *path, const char *in, size_t size, off_t offset,
		      struct fuse_file_info *file)
{
	(void)file;
	if (!strcmp(path, MARK)) {
		append(LOG_MARK, 0, in, size);
		return (int)size;
	}
	if ((size_t)offset > disk_size || size > disk_size - (size_t)offset)
		return -ENOSPC;
	memcpy(disk + offset, in, size);
	append(LOG_WRITE, (uint64_t)offset, in, size);
	return (int)size;
}

static int sync_file(const char *path, int data_only, struct fuse_file_info *file)
{
	(void)data_only, (void)file;
	if (!strcmp(path, DISK))
		append(LOG_FLUSH, 0, NULL, 0);
	return 0;
}

static const struct fuse_operations operations = {
	.getattr = get_attributes,
	.open = open_file,
	.read = read_file,
	.write = write_file,
	.fsync = sync_file,
};

static int load(const char *path)
{
	FILE *file = fopen(path, "rb");
	long size;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0)
		return -1;
	rewind(file);
	disk_size = (size_t)size;
	disk = malloc(disk_size);
	if (!disk || fread(disk, 1, disk_size, file) != disk_size)
		return -1;
	return fclose(file);
}

int main(int argc, char **argv)
{
	char name[] = "logged_disk", foreground[] = "-f", single[] = "-s";
	char *arguments[] = { name, foreground, single, argc > 1 ? argv[1] : NULL, NULL };
	int ret;

	if (argc != 4) {
		fputs("usage: logged_disk MOUNTPOINT IMAGE LOG\n", stderr);
		return 2;
	}
	if (load(argv[2])) {
		perror(argv[2]);
		return 2;
	}
	log_file = fopen(argv[3], "wb");
	if (!log_file) {
		perror(argv[3]);
		return 2;
	}
	setvbuf(log_file, NULL, _IOFBF, (size_t)1 << 20);
	ret = fuse_main(4, arguments, &operations, NULL);
	if (fclose(log_file) || log_failed)
		ret = 1;
	return ret;
}
