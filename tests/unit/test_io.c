/* SPDX-License-Identifier: MIT */
/*
 * The io table: the real file system's entries where they promise more than the
 * system call, and what is built on any table: all or nothing under every fault.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const struct sde__io *const real = &sde__io_posix;
static struct fault_io fault;

/*
 * In front of libc's, as this program's symbols come first: a file system that knows no
 * flags of rename, as Lustre and NFS are.
 */
static int rename_flags_error;		/* an errno; 0: the kernel is asked */

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
	if (flags && rename_flags_error) {
		errno = rename_flags_error;
		return -1;
	}
	return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

static void assert_content(const char *path, const char *text)
{
	size_t size;
	unsigned char *bytes = scratch_read(path, &size);

	assert_int_equal(size, strlen(text));
	assert_memory_equal(bytes, text, size);
	free(bytes);
}

static int replace(const char *name, bool durable)
{
	const struct sde__piece pieces[3] = { { "one ", 4 }, { NULL, 0 }, { "two", 3 } };

	return sde__io_replace(&fault.io, scratch_directory(), name, pieces, 3, durable);
}

static void a_replaced_file_holds_all_pieces_in_order(void **state)
{
	(void)state;
	fault_io_init(&fault);
	fault.most = 1;		/* every write is short */
	assert_int_equal(replace("f", true), 0);
	assert_content("f", "one two");
	assert_int_equal(scratch_entries("."), 1);
	assert_int_equal(fault.handles, 0);
}

static void a_durable_replace_writes_syncs_then_renames(void **state)
{
	int write, sync, close, rename;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(replace("f", true), 0);
	write = fault_io_find(&fault, 0, "pwrite", "f.tmp");
	sync = fault_io_find(&fault, 0, "sync", "f.tmp");
	close = fault_io_find(&fault, 0, "close", "f.tmp");
	rename = fault_io_find(&fault, 0, "rename_at", "f.tmp");
	assert_true(write >= 0 && write < sync && sync < close && close < rename);
	assert_int_equal(fault_io_find(&fault, sync, "pwrite", NULL), -1);
	assert_int_equal(rename, (int)fault.events - 1);
	assert_int_equal(fault_io_count(&fault, "sync", NULL), 1);
}

static void a_replace_that_need_not_last_syncs_nothing(void **state)
{
	(void)state;
	fault_io_init(&fault);
	assert_int_equal(replace("f", false), 0);
	assert_int_equal(fault_io_count(&fault, "sync", NULL), 0);
	assert_content("f", "one two");
}

static void a_stale_temporary_is_in_nobodys_way(void **state)
{
	(void)state;
	fault_io_init(&fault);
	scratch_write("f.tmp", "left by a killed run, and longer", 32);
	assert_int_equal(replace("f", true), 0);
	assert_content("f", "one two");
	assert_int_equal(scratch_entries("."), 1);
}

static void any_failing_call_of_replace_leaves_the_old_file(void **state)
{
	static const int errors[2] = { ENOSPC, EIO };

	(void)state;
	for (unsigned long n = 1; ; n++) {
		scratch_write("f", "old", 3);
		fault_io_init(&fault);
		fault_io_arm(&fault, n, errors[n % 2], false);
		if (!replace("f", true))
			break;
		assert_true(fault.fired);
		assert_content("f", "old");
		assert_int_equal(scratch_entries("."), 1);
		assert_int_equal(fault.handles, 0);
		fault_io_arm(&fault, n, errors[n % 2], false);
		assert_int_equal(replace("f", true), -errors[n % 2]);
	}
	/* remove, open, 2 writes, sync, close, rename */
	assert_int_equal(fault.calls, 7);
	assert_false(fault.fired);
	assert_content("f", "one two");
}

static void reads_and_writes_are_whole_or_refused(void **state)
{
	unsigned char byte = 0;
	int fd;

	(void)state;
	fd = real->open_at(NULL, scratch_directory(), "f", O_RDWR | O_CREAT);
	assert_true(fd >= 0);
	assert_int_equal(sde__io_write_all(real, fd, "abc", 3, 5), 0);
	assert_int_equal(sde__io_read_all(real, fd, &byte, 1, 7), 0);
	assert_int_equal(byte, 'c');
	assert_int_equal(sde__io_read_all(real, fd, &byte, 1, 8), -ENODATA);
	assert_int_equal(sde__io_read_all(real, fd, &byte, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(sde__io_write_all(real, fd, &byte, 1, UINT64_MAX), -EINVAL);
	assert_int_equal(real->close(NULL, fd), 0);
}

static void too_long_a_name_is_refused(void **state)
{
	char name[NAME_MAX + 1];

	(void)state;
	fault_io_init(&fault);
	memset(name, 'x', NAME_MAX);
	name[NAME_MAX] = '\0';
	assert_int_equal(replace(name, true), -ENAMETOOLONG);
	assert_int_equal(scratch_entries("."), 0);
}

static void a_whole_file_is_read_with_a_zero_behind_it(void **state)
{
	char *text = NULL;
	size_t size;

	(void)state;
	fault_io_init(&fault);
	fault.most = 2;
	scratch_write("f", "12345", 5);
	assert_int_equal(sde__io_read_file(&fault.io, scratch_directory(), "f", 5, &text, &size), 0);
	assert_int_equal(size, 5);
	assert_string_equal(text, "12345");
	free(text);
	scratch_write("empty", "", 0);
	assert_int_equal(sde__io_read_file(real, scratch_directory(), "empty", 0, &text, &size), 0);
	assert_int_equal(size, 0);
	assert_string_equal(text, "");
	free(text);
	assert_int_equal(fault.handles, 0);
}

static void what_is_no_file_or_too_large_is_not_read(void **state)
{
	const int dir = scratch_directory();
	char *text = NULL;
	size_t size;

	(void)state;
	scratch_write("f", "12345", 5);
	assert_int_equal(mkdir("d", 0777), 0);
	assert_int_equal(symlink("f", "l"), 0);
	assert_int_equal(mkfifo("p", 0666), 0);
	assert_int_equal(sde__io_read_file(real, dir, "f", 4, &text, &size), -EFBIG);
	assert_int_equal(sde__io_read_file(real, dir, "d", 4, &text, &size), -EISDIR);
	assert_int_equal(sde__io_read_file(real, dir, "l", 9, &text, &size), -ELOOP);
	assert_int_equal(sde__io_read_file(real, dir, "none", 9, &text, &size), -ENOENT);
	/* a pipe without a writer: neither waited for nor read */
	alarm(20);
	assert_true(sde__io_read_file(real, dir, "p", 9, &text, &size) < 0);
	alarm(0);
	assert_null(text);
}

static void any_failing_call_of_read_file_is_returned(void **state)
{
	char *text = NULL;
	size_t size;

	(void)state;
	scratch_write("f", "12345", 5);
	for (unsigned long n = 1; n <= 3; n++) {
		fault_io_init(&fault);
		fault_io_arm(&fault, n, EIO, true);
		assert_int_equal(sde__io_read_file(&fault.io, scratch_directory(), "f", 9, &text,
						   &size), -EIO);
		assert_null(text);
		assert_int_equal(fault.handles, 0);
	}
}

static void make_tree(void)
{
	char name[32];

	assert_int_equal(mkdir("outside", 0777), 0);
	scratch_write("outside/kept", "kept", 4);
	assert_int_equal(mkdir("tree", 0777), 0);
	assert_int_equal(mkdir("tree/a", 0777), 0);
	assert_int_equal(mkdir("tree/a/b", 0777), 0);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "tree/a/%d", i);
		scratch_write(name, "x", 1);
	}
	scratch_write("tree/a/b/file", "x", 1);
	assert_int_equal(symlink("../outside", "tree/link"), 0);
	assert_int_equal(symlink("nowhere", "tree/a/dangling"), 0);
}

static void a_tree_is_removed_and_no_link_followed(void **state)
{
	(void)state;
	fault_io_init(&fault);
	make_tree();
	assert_int_equal(sde__io_remove_tree(&fault.io, scratch_directory(), "tree"), 0);
	assert_false(scratch_exists("tree"));
	assert_content("outside/kept", "kept");
	assert_int_equal(fault.handles, 0);
	assert_int_equal(sde__io_remove_tree(real, scratch_directory(), "tree"), -ENOENT);
	assert_int_equal(symlink("outside", "l"), 0);
	assert_int_equal(sde__io_remove_tree(real, scratch_directory(), "l"), 0);
	assert_content("outside/kept", "kept");
}

static void any_failing_call_of_remove_tree_is_returned(void **state)
{
	unsigned long n;
	int ret;

	(void)state;
	make_tree();
	fault_io_init(&fault);
	for (n = 1; ; n += 7) {
		fault_io_arm(&fault, n, EACCES, true);
		ret = sde__io_remove_tree(&fault.io, scratch_directory(), "tree");
		if (!fault.fired)
			break;
		assert_int_equal(ret, -EACCES);
		assert_int_equal(fault.handles, 0);
		if (!scratch_exists("tree"))
			break;
	}
	if (scratch_exists("tree"))
		assert_int_equal(sde__io_remove_tree(real, scratch_directory(), "tree"), 0);
	assert_content("outside/kept", "kept");
}

static bool is_directory(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

static void directories_are_made_with_their_parents(void **state)
{
	char absolute[PATH_MAX + 16], here[PATH_MAX];

	(void)state;
	assert_int_equal(sde__io_make_directories(NULL, "a/b//c///"), 0);
	assert_true(is_directory("a/b/c"));
	assert_int_equal(sde__io_make_directories(NULL, "a/b/c"), 0);
	assert_int_equal(sde__io_make_directories(NULL, "./a/../d"), 0);
	assert_true(is_directory("d"));
	assert_non_null(getcwd(here, sizeof(here)));
	snprintf(absolute, sizeof(absolute), "%s/x/y", here);
	assert_int_equal(sde__io_make_directories(NULL, absolute), 0);
	assert_true(is_directory("x/y"));
	assert_int_equal(sde__io_make_directories(NULL, "/"), 0);
}

/* Between mkdir and the next one lies a sync of where it was made. */
static void a_made_directory_outlives_a_power_loss(void **state)
{
	int at = 0;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(sde__io_make_directories(&fault.io, "p/q/r"), 0);
	assert_int_equal(fault_io_count(&fault, "make_directory_at", NULL), 3);
	for (int i = 0; i < 3; i++) {
		at = fault_io_find(&fault, at, "make_directory_at", NULL) + 1;
		assert_string_equal(fault.event[at].call, "open_at");
		assert_string_equal(fault.event[at + 1].call, "sync");
	}
	/* one that could not be synced is not left for the next attempt to find */
	fault_io_arm(&fault, 1, EIO, false);
	fault.only = "sync";
	assert_int_equal(sde__io_make_directories(&fault.io, "p/q/s"), -EIO);
	assert_false(scratch_exists("p/q/s"));
	assert_int_equal(sde__io_make_directories(&fault.io, "p/q/s"), 0);
	assert_int_equal(fault.handles, 0);
}

static int fail_to_sync(void *ctx, int fd)
{
	(void)ctx, (void)fd;
	return -EIO;
}

/* One that may be written and not read cannot be opened to sync what was made in it. */
static void a_directory_made_in_an_unreadable_one_outlives_a_power_loss(void **state)
{
	int at;

	(void)state;
	fault_io_init(&fault);
	fault.only = "open_at";
	fault_io_arm(&fault, 1, EACCES, false);
	assert_int_equal(sde__io_make_directories(&fault.io, "p/q"), 0);
	assert_true(fault.fired);
	at = fault_io_find(&fault, 0, "sync_file_system", "p");
	assert_true(at >= 0);
	assert_true(at < fault_io_find(&fault, 0, "make_directory_at", "q"));
	assert_int_equal(fault_io_count(&fault, "sync_file_system", NULL), 1);
	/* a failure of that, or of opening the new one, leaves nothing to be found */
	fault_io_arm(&fault, 1, EACCES, true);
	assert_int_equal(sde__io_make_directories(&fault.io, "r"), -EACCES);
	assert_false(scratch_exists("r"));
	fault_io_arm(&fault, 1, EACCES, false);
	fault.io.sync_file_system = fail_to_sync;
	assert_int_equal(sde__io_make_directories(&fault.io, "r"), -EIO);
	assert_false(scratch_exists("r"));
	/* where there is no such call the failure to open is told */
	fault_io_arm(&fault, 1, EACCES, false);
	fault.io.sync_file_system = NULL;
	assert_int_equal(sde__io_make_directories(&fault.io, "r"), -EACCES);
	assert_false(scratch_exists("r"));
	assert_int_equal(fault.handles, 0);
}

static void directories_are_made_where_one_may_not_look(void **state)
{
	const uid_t nobody = geteuid() ? geteuid() : 65534;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(mkdir("box", 0777), 0);
	assert_int_equal(chown("box", nobody, (gid_t)-1), 0);
	assert_int_equal(chmod("box", 0333), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (chdir("box") || (!geteuid() && setresuid(nobody, nobody, nobody)))
			_exit(77);
		if (open(".", O_RDONLY | O_DIRECTORY) >= 0)
			_exit(77);
		_exit(sde__io_make_directories(NULL, "a/b") ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod("box", 0777), 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		print_message("every directory can be read here\n");
		skip();
	}
	assert_int_equal(status, 0);
	assert_true(is_directory("box/a/b"));
}

static void what_cannot_become_a_directory_is_an_error(void **state)
{
	(void)state;
	scratch_write("f", "x", 1);
	assert_int_equal(symlink("nowhere", "l"), 0);
	assert_int_equal(sde__io_make_directories(NULL, "f"), -ENOTDIR);
	assert_int_equal(sde__io_make_directories(NULL, "f/"), -ENOTDIR);
	assert_int_equal(sde__io_make_directories(NULL, "f/g"), -ENOTDIR);
	assert_true(sde__io_make_directories(NULL, "l") < 0);
	assert_true(sde__io_make_directories(NULL, "l/m") < 0);
	assert_int_equal(sde__io_make_directories(NULL, ""), -ENOENT);
}

static void a_refused_directory_is_reported(void **state)
{
	(void)state;
	fault_io_init(&fault);
	fault.only = "make_directory_at";
	fault_io_arm(&fault, 2, EACCES, false);
	assert_int_equal(sde__io_make_directories(&fault.io, "a/b/c"), -EACCES);
	assert_true(is_directory("a"));
	assert_false(scratch_exists("a/b"));
}

static void a_name_inside_is_never_opened_through_a_link(void **state)
{
	(void)state;
	scratch_write("f", "x", 1);
	assert_int_equal(symlink("f", "l"), 0);
	assert_int_equal(symlink("new", "n"), 0);
	assert_int_equal(real->open_at(NULL, scratch_directory(), "l", O_RDWR), -ELOOP);
	assert_int_equal(real->open_at(NULL, scratch_directory(), "n", O_RDWR | O_CREAT), -ELOOP);
	assert_false(scratch_exists("new"));
}

static void descriptors_are_not_inherited(void **state)
{
	int fd;

	(void)state;
	fd = real->open_at(NULL, scratch_directory(), "f", O_RDWR | O_CREAT);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	real->close(NULL, fd);
}

static void the_lock_is_of_the_open_file(void **state)
{
	const int dir = scratch_directory();
	int a, b, r;

	(void)state;
	a = real->open_at(NULL, dir, "f", O_RDWR | O_CREAT);
	b = real->open_at(NULL, dir, "f", O_RDWR);
	r = real->open_at(NULL, dir, "f", O_RDONLY);
	assert_true(a >= 0 && b >= 0 && r >= 0);
	assert_int_equal(real->is_locked(NULL, r), 0);
	assert_int_equal(real->lock(NULL, a), 0);
	assert_int_equal(real->lock(NULL, b), -EAGAIN);
	assert_int_equal(real->is_locked(NULL, r), 1);
	assert_int_equal(real->is_locked(NULL, a), 0);
	/* unlike a POSIX lock: closing another descriptor does not give it up */
	real->close(NULL, b);
	assert_int_equal(real->is_locked(NULL, r), 1);
	real->close(NULL, a);
	assert_int_equal(real->is_locked(NULL, r), 0);
	real->close(NULL, r);
}

static void two_names_are_exchanged(void **state)
{
	const int dir = scratch_directory();
	int ret;

	(void)state;
	scratch_write("a", "1", 1);
	scratch_write("b", "2", 1);
	ret = real->exchange_at(NULL, dir, "a", dir, "b");
	if (ret == -EINVAL || ret == -ENOSYS)
		skip();
	assert_int_equal(ret, 0);
	assert_content("a", "2");
	assert_content("b", "1");
	assert_int_equal(real->exchange_at(NULL, dir, "a", dir, "none"), -ENOENT);
}

static void a_mapping_is_synced_from_any_address(void **state)
{
	void *base = NULL;
	size_t size;
	unsigned char *bytes;
	int fd;

	(void)state;
	fd = real->open_at(NULL, scratch_directory(), "f", O_RDWR | O_CREAT);
	assert_true(fd >= 0);
	assert_int_equal(real->allocate(NULL, fd, 3 * 4096), 0);
	assert_int_equal(real->map(NULL, fd, 3 * 4096, true, &base), 0);
	assert_int_equal(real->populate(NULL, (char *)base + 100, 5000), 0);
	real->copy(NULL, (char *)base + 4095, "xy", 2);
	assert_int_equal(real->sync_map(NULL, (char *)base + 4095, 2), 0);
	assert_int_equal(real->sync_map(NULL, (char *)base + 3 * 4096 - 1, 1), 0);
	assert_int_equal(real->unmap(NULL, base, 3 * 4096), 0);
	real->close(NULL, fd);
	bytes = scratch_read("f", &size);
	assert_int_equal(size, 3 * 4096);
	assert_memory_equal(bytes + 4095, "xy", 2);
	free(bytes);
}

static void the_boot_id_is_the_kernels(void **state)
{
	unsigned char id[16], again[16];
	char text[40] = { 0 }, expected[40] = { 0 };
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");

	(void)state;
	if (!f)
		skip();
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_int_equal(real->boot_id(NULL, id), 0);
	assert_int_equal(real->boot_id(NULL, again), 0);
	assert_memory_equal(id, again, 16);
	for (size_t i = 0, o = 0; i < 16; i++) {
		o += (size_t)snprintf(expected + o, sizeof(expected) - o, "%02x", id[i]);
		if (i == 3 || i == 5 || i == 7 || i == 9)
			expected[o++] = '-';
	}
	text[36] = '\0';
	assert_string_equal(expected, text);
}

static int stop_at_second(void *ctx, const char *name)
{
	(void)name;
	return ++*(int *)ctx == 2 ? 77 : 0;
}

static int count_names(void *ctx, const char *name)
{
	assert_string_not_equal(name, ".");
	assert_string_not_equal(name, "..");
	++*(int *)ctx;
	return 0;
}

static void a_listing_has_every_name_and_can_be_stopped(void **state)
{
	int count = 0;

	(void)state;
	scratch_write("a", "", 0);
	scratch_write("b", "", 0);
	scratch_write("c", "", 0);
	/* twice: the handle's own position does not matter */
	for (int i = 0; i < 2; i++) {
		count = 0;
		assert_int_equal(real->list(NULL, scratch_directory(), count_names, &count), 0);
		assert_int_equal(count, 3);
	}
	count = 0;
	assert_int_equal(real->list(NULL, scratch_directory(), stop_at_second, &count), 77);
	assert_int_equal(count, 2);
}

static void a_new_name_is_never_put_over_another(void **state)
{
	static const int errors[] = { 0, EINVAL, ENOSYS };
	const int dir = scratch_directory();

	(void)state;
	for (int i = 0; i < 3; i++) {
		rename_flags_error = errors[i];
		scratch_write("a", "1", 1);
		scratch_write("b", "2", 1);
		assert_int_equal(real->rename_new_at(NULL, dir, "a", dir, "b"), -EEXIST);
		assert_content("a", "1");
		assert_content("b", "2");
		assert_int_equal(real->rename_new_at(NULL, dir, "a", dir, "c"), 0);
		assert_content("c", "1");
		assert_false(scratch_exists("a"));
		assert_int_equal(real->rename_new_at(NULL, dir, "a", dir, "d"), -ENOENT);
		assert_int_equal(unlink("c"), 0);
	}
	/* any other failure is one */
	rename_flags_error = EACCES;
	assert_int_equal(real->rename_new_at(NULL, dir, "b", dir, "c"), -EACCES);
	assert_false(scratch_exists("c"));
	rename_flags_error = 0;
}

static void what_the_kernel_refuses_is_its_errno(void **state)
{
	struct sde__stat st;
	uint64_t magic;
	void *base;
	int fd;

	(void)state;
	fd = real->open_at(NULL, scratch_directory(), "f", O_RDWR | O_CREAT);
	assert_true(fd >= 0);
	assert_int_equal(real->allocate(NULL, fd, (uint64_t)INT64_MAX + 1), -EFBIG);
	assert_int_equal(real->map(NULL, fd, 0, true, &base), -EINVAL);
	assert_int_equal(real->list(NULL, fd, count_names, NULL), -ENOTDIR);
	assert_int_equal(real->close(NULL, fd), 0);
	/* nobody has it now */
	assert_int_equal(real->close(NULL, fd), -EBADF);
	assert_int_equal(real->stat(NULL, fd, &st), -EBADF);
	assert_int_equal(real->pread(NULL, fd, &st, 1, 0), -EBADF);
	assert_int_equal(real->pwrite(NULL, fd, &st, 1, 0), -EBADF);
	assert_int_equal(real->sync(NULL, fd), -EBADF);
	assert_int_equal(real->sync_file_system(NULL, fd), -EBADF);
	assert_int_equal(real->allocate(NULL, fd, 1), -EBADF);
	assert_int_equal(real->lock(NULL, fd), -EBADF);
	assert_int_equal(real->is_locked(NULL, fd), -EBADF);
	assert_int_equal(real->file_system(NULL, fd, &magic), -EBADF);
	assert_int_equal(real->remove_at(NULL, scratch_directory(), "none", false), -ENOENT);
	assert_int_equal(real->stat_at(NULL, scratch_directory(), "none", &st), -ENOENT);
}

static void without_descriptors_left_that_is_said(void **state)
{
	struct rlimit old, none;
	unsigned char id[16];
	int listed, asked;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	listed = real->list(NULL, scratch_directory(), count_names, NULL);
	asked = real->boot_id(NULL, id);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(listed, -EMFILE);
	/* or there is no such file at all */
	assert_true(asked == -EMFILE || asked == -ENOENT);
}

/* A page that cannot be had is told as a full disk: what a fault would be a signal for. */
static void a_page_that_cannot_be_had_is_an_error_before_it_is_a_signal(void **state)
{
	void *base = NULL;
	int fd, ret;

	(void)state;
	fd = real->open_at(NULL, scratch_directory(), "f", O_RDWR | O_CREAT);
	assert_true(fd >= 0);
	assert_int_equal(real->allocate(NULL, fd, 2 * 4096), 0);
	assert_int_equal(real->map(NULL, fd, 2 * 4096, true, &base), 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(real->populate(NULL, base, 4096), 0);
	ret = real->populate(NULL, base, 2 * 4096);
	assert_int_equal(real->unmap(NULL, base, 2 * 4096), 0);
	if (!ret) {
		print_message("skipped: a kernel before 5.14 cannot say it before\n");
		skip();
	}
	assert_int_equal(ret, -ENOSPC);
	/* what is not mapped is another thing, and nothing to sync either */
	assert_int_equal(real->populate(NULL, base, 2 * 4096), -ENOMEM);
	assert_int_equal(real->sync_map(NULL, base, 2 * 4096), -ENOMEM);
	assert_int_equal(real->unmap(NULL, (char *)base + 1, 4096), -EINVAL);
	real->close(NULL, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_replaced_file_holds_all_pieces_in_order),
		SCRATCH_TEST(a_durable_replace_writes_syncs_then_renames),
		SCRATCH_TEST(a_replace_that_need_not_last_syncs_nothing),
		SCRATCH_TEST(a_stale_temporary_is_in_nobodys_way),
		SCRATCH_TEST(any_failing_call_of_replace_leaves_the_old_file),
		SCRATCH_TEST(reads_and_writes_are_whole_or_refused),
		SCRATCH_TEST(too_long_a_name_is_refused),
		SCRATCH_TEST(a_whole_file_is_read_with_a_zero_behind_it),
		SCRATCH_TEST(what_is_no_file_or_too_large_is_not_read),
		SCRATCH_TEST(any_failing_call_of_read_file_is_returned),
		SCRATCH_TEST(a_tree_is_removed_and_no_link_followed),
		SCRATCH_TEST(any_failing_call_of_remove_tree_is_returned),
		SCRATCH_TEST(directories_are_made_with_their_parents),
		SCRATCH_TEST(a_made_directory_outlives_a_power_loss),
		SCRATCH_TEST(a_directory_made_in_an_unreadable_one_outlives_a_power_loss),
		SCRATCH_TEST(directories_are_made_where_one_may_not_look),
		SCRATCH_TEST(what_cannot_become_a_directory_is_an_error),
		SCRATCH_TEST(a_refused_directory_is_reported),
		SCRATCH_TEST(a_name_inside_is_never_opened_through_a_link),
		SCRATCH_TEST(descriptors_are_not_inherited),
		SCRATCH_TEST(the_lock_is_of_the_open_file),
		SCRATCH_TEST(two_names_are_exchanged),
		SCRATCH_TEST(a_mapping_is_synced_from_any_address),
		SCRATCH_TEST(the_boot_id_is_the_kernels),
		SCRATCH_TEST(a_listing_has_every_name_and_can_be_stopped),
		SCRATCH_TEST(a_new_name_is_never_put_over_another),
		SCRATCH_TEST(what_the_kernel_refuses_is_its_errno),
		SCRATCH_TEST(without_descriptors_left_that_is_said),
		SCRATCH_TEST(a_page_that_cannot_be_had_is_an_error_before_it_is_a_signal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
