/* SPDX-License-Identifier: MIT */
/* Mounts and loop devices that go with the process: see disks.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "disks.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef BLKFLSBUF
#define BLKFLSBUF _IO(0x12, 97)
#endif
#define LOOP_MAJOR 7
#define LOOP_TRIES 50
#define UNMOUNT_TRIES 200

static const char *enter_namespace(void)
{
	static char reason[128];
	int control;

	if (unshare(CLONE_NEWNS)) {
		snprintf(reason, sizeof(reason), "no mount namespace: %s", strerror(errno));
		return reason;
	}
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		snprintf(reason, sizeof(reason), "no private mounts: %s", strerror(errno));
		return reason;
	}
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0) {
		snprintf(reason, sizeof(reason), "no loop devices: %s", strerror(errno));
		return reason;
	}
	close(control);
	return NULL;
}

const char *disks_unavailable(void)
{
	static bool entered;
	static const char *reason;

	if (!entered)
		reason = enter_namespace();
	entered = true;
	return reason;
}

void disks_skip(const char *reason)
{
	print_message("%s\n", reason);
	skip();
}

/* A free device; its node is made where nobody else does. */
static int find_free(int control, char *path, size_t size)
{
	const int number = ioctl(control, LOOP_CTL_GET_FREE);

	if (number < 0)
		return -errno;
	snprintf(path, size, "/dev/loop%d", number);
	if (access(path, F_OK) &&
	    mknod(path, S_IFBLK | 0600, makedev(LOOP_MAJOR, (unsigned)number)) && errno != EEXIST)
		return -errno;
	return 0;
}

int disks_loop_open(struct disks_loop *loop, int backing)
{
	struct loop_config config = { .fd = (uint32_t)backing };
	const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int ret = -EBUSY;

	loop->fd = -1;
	if (control < 0)
		return -errno;
	config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
	/* somebody else may be faster */
	for (int i = 0; i < LOOP_TRIES && ret == -EBUSY; i++) {
		ret = find_free(control, loop->path, sizeof(loop->path));
		if (ret)
			break;
		loop->fd = open(loop->path, O_RDWR | O_CLOEXEC);
		ret = loop->fd < 0 ? -errno : 0;
		if (!ret && ioctl(loop->fd, LOOP_CONFIGURE, &config)) {
			ret = -errno;
			close(loop->fd);
			loop->fd = -1;
		}
	}
	close(control);
	return ret;
}

void disks_loop_forget(struct disks_loop *loop)
{
	ioctl(loop->fd, BLKFLSBUF, 0);
}

void disks_loop_close(struct disks_loop *loop)
{
	if (loop->fd >= 0)
		close(loop->fd);
	loop->fd = -1;
}

int disks_format(const char *image, size_t size, const char *mkfs)
{
	char command[512];
	int fd, status;

	fd = open(image, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size)) {
		status = -errno;
		close(fd);
		return status;
	}
	close(fd);
	snprintf(command, sizeof(command), "PATH=$PATH:/usr/sbin:/sbin; exec %s '%s' >/dev/null 2>&1",
		 mkfs, image);
	status = system(command);
	return !status ? 0 : status == 127 << 8 ? -ENOENT : -EIO;
}

int disks_mount(const char *source, const char *at, const char *type, unsigned long flags,
		const char *options)
{
	if (mkdir(at, 0755) && errno != EEXIST)
		return -errno;
	return mount(source, at, type, flags, options) ? -errno : 0;
}

int disks_unmount(const char *at)
{
	const struct timespec little = { 0, 10000000 };
	int ret = 0;

	for (int i = 0; i < UNMOUNT_TRIES; i++) {
		ret = umount2(at, 0) ? -errno : 0;
		if (ret != -EBUSY)
			break;
		nanosleep(&little, NULL);
	}
	return ret;
}

int disks_mount_image(struct disks_loop *loop, const char *image, const char *type,
		      const char *at, const char *options)
{
	const int fd = open(image, O_RDWR | O_CLOEXEC);
	int ret;

	loop->fd = -1;
	if (fd < 0)
		return -errno;
	ret = disks_loop_open(loop, fd);
	close(fd);
	if (!ret)
		ret = disks_mount(loop->path, at, type, 0, options);
	if (ret)
		disks_loop_close(loop);
	return ret;
}

void disks_fill(const char *name, size_t left)
{
	static const char zeros[4096];
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	off_t size;

	assert_true(fd >= 0);
	for (size_t n = sizeof(zeros); n; n /= 2)
		while (write(fd, zeros, n) == (ssize_t)n)
			;
	size = lseek(fd, 0, SEEK_CUR);
	if (left) {
		assert_true((size_t)size > left);
		assert_int_equal(ftruncate(fd, size - (off_t)left), 0);
	}
	/* space that is given back may have to be committed first */
	fsync(fd);
	close(fd);
}
