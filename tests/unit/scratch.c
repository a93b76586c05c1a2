/* SPDX-License-Identifier: MIT */
/* Temporary directories for tests: see scratch.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char place[4096];
static int came_from = -1, directory = -1;

int scratch_enter(void **state)
{
	const char *base = getenv("TMPDIR");
	char name[3072], absolute[3072];

	(void)state;
	came_from = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snprintf(name, sizeof(name), "%.2000s/sdestore-unit.XXXXXX", base && *base ? base : ".");
	if (came_from < 0 || !mkdtemp(name) || chdir(name) || !getcwd(absolute, sizeof(absolute)))
		return -1;
	snprintf(place, sizeof(place), "%s", absolute);
	directory = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return directory < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

int scratch_leave(void **state)
{
	int ret;

	(void)state;
	ret = fchdir(came_from);
	close(came_from);
	close(directory);
	came_from = directory = -1;
	return ret | nftw(place, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int scratch_directory(void)
{
	return directory;
}

void scratch_write(const char *path, const void *bytes, size_t size)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	const char *p = bytes;

	if (fd < 0)
		fail_msg("cannot create '%s'", path);
	while (size) {
		const ssize_t put = write(fd, p, size);

		assert_true(put > 0);
		p += put;
		size -= (size_t)put;
	}
	assert_int_equal(close(fd), 0);
}

unsigned char *scratch_read(const char *path, size_t *size)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned char *bytes;
	struct stat st;
	size_t done = 0;

	if (fd < 0)
		fail_msg("cannot open '%s'", path);
	assert_int_equal(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size + 1);
	assert_non_null(bytes);
	while (done < (size_t)st.st_size) {
		const ssize_t got = read(fd, bytes + done, (size_t)st.st_size - done);

		assert_true(got > 0);
		done += (size_t)got;
	}
	bytes[done] = '\0';
	close(fd);
	*size = done;
	return bytes;
}

bool scratch_exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

unsigned scratch_entries(const char *path)
{
	DIR *stream = opendir(path);
	struct dirent *e;
	unsigned count = 0;

	if (!stream) {
		fail_msg("cannot list '%s'", path);
		return 0;
	}
	while ((e = readdir(stream)) != NULL)
		count += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
	closedir(stream);
	return count;
}

unsigned scratch_open_files(void)
{
	return scratch_entries("/proc/self/fd");
}
