/* SPDX-License-Identifier: MIT */
/*
 * Real disks for tests: file systems on loop devices and in memory.
 *
 * All mounts are made in a mount namespace of the test's own, and loop devices
 * are freed with their last user, so that the kernel takes away everything with
 * the last process of the test, however that ends.
 */
#ifndef SDE_TESTS_CRASH_DISKS_H
#define SDE_TESTS_CRASH_DISKS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Enter the namespace, once, before directories are opened that something is to be
 * mounted in. NULL if mounts and loop devices can be had, else why
 * not, for a test that is to be skipped.
 */
const char *disks_unavailable(void);

/* Print the reason, on a line of its own, and skip the test. */
void disks_skip(const char *reason);

/* A loop device on an open file. Keep *fd open as long as it is wanted. */
struct disks_loop {
	int fd;
	char path[32];
};
/* 0 or -errno */
int disks_loop_open(struct disks_loop *loop, int backing);
/* Forget what is cached of it. */
void disks_loop_forget(struct disks_loop *loop);
void disks_loop_close(struct disks_loop *loop);

/*
 * A file `image` of `size` bytes with a file system made by `mkfs`, "mkfs.ext4 -q"
 * for instance; -ENOENT if there is no such command.
 */
int disks_format(const char *image, size_t size, const char *mkfs);

/* Mount the image in directory `at`, which is made; 0 or -errno. */
int disks_mount_image(struct disks_loop *loop, const char *image, const char *type,
		      const char *at, const char *options);

/* mount(2), and umount that goes on trying for a while when it is busy. */
int disks_mount(const char *source, const char *at, const char *type, unsigned long flags,
		const char *options);
int disks_unmount(const char *at);

/* Take up the free space of a file system with a file `name`, all but `left` bytes. */
void disks_fill(const char *name, size_t left);

#endif
