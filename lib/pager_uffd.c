/* SPDX-License-Identifier: MIT */
/*
 * Touches by userfaultfd(2): the kernel stops the thread and tells. For user mode
 * only, which needs no privilege.
 *
 * A unit is moved in and out by mremap as a whole, which costs a twentieth of
 * UFFDIO_COPY and MADV_DONTNEED: no page is copied, cleared or freed, and the memory
 * of the unit that leaves is that of the next one to be filled.
 *
 * The order at the end matters: closing the descriptor first would make what is
 * missing read as zeros.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pager_way.h"

#include "planted.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#endif

#if defined(UFFD_API) && defined(SYS_userfaultfd)

#ifndef UFFD_USER_MODE_ONLY		/* Linux 5.11 */
#define UFFD_USER_MODE_ONLY 1
#endif

struct uffd {
	int fd;
	struct sde__pager_range range;
	void *stage;
};

static uint64_t address(const struct uffd *u, uint64_t offset)
{
	return (uint64_t)(uintptr_t)u->range.base + offset;
}

static void uffd_close(void *self)
{
	struct uffd *u = self;

	if (u->range.base)
		munmap(u->range.base, u->range.size);
	if (u->stage)
		munmap(u->stage, u->range.unit);
	if (u->fd >= 0)
		close(u->fd);
	free(u);
}

static int uffd_watch(const struct uffd *u, uint64_t offset, size_t n)
{
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	area.range.start = address(u, offset);
	area.range.len = n;
	return ioctl(u->fd, UFFDIO_REGISTER, &area) ? -errno : 0;
}

static int uffd_register(struct uffd *u, struct sde_error *error)
{
	struct uffdio_api api = { .api = UFFD_API };
	int ret;

	u->fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (u->fd < 0 || ioctl(u->fd, UFFDIO_API, &api))
		return sde__fail(error, SDE_E_UNSUPPORTED, "this system has no userfaultfd: %s",
				 strerror(errno));
	u->range.base = sde__pager_reserve(u->range.size, PROT_READ, error);
	if (!u->range.base)
		return -ENOMEM;
	ret = uffd_watch(u, 0, u->range.size);
	return ret ? sde__fail(error, SDE_E_UNSUPPORTED, "userfaultfd does not take the range: %s",
			       strerror(-ret)) : 0;
}

static int uffd_make(void **self, struct sde__pager_range *range, struct sde_error *error)
{
	struct uffd *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return sde__fail(error, -ENOMEM, "out of memory");
	u->fd = -1;
	u->range = *range;
	u->range.base = NULL;
	ret = uffd_register(u, error);
	if (ret) {
		uffd_close(u);
		return ret;
	}
	range->base = u->range.base;
	*self = u;
	return 0;
}

static int uffd_handle(const void *self)
{
	return ((const struct uffd *)self)->fd;
}

static int uffd_next(void *self, uint64_t *offset)
{
	struct uffd *u = self;
	struct uffd_msg message;

	while (read(u->fd, &message, sizeof(message)) == (ssize_t)sizeof(message)) {
		if (message.event != UFFD_EVENT_PAGEFAULT)
			continue;
		*offset = message.arg.pagefault.address - address(u, 0);
		return 1;
	}
	return 0;
}

static void *uffd_stage(void *self)
{
	struct uffd *u = self;

	if (!u->stage)
		u->stage = sde__pager_stage(u->range.unit);
	return u->stage;
}

/* Moved over the range that is missing: what replaces it is not watched any more. */
static int uffd_show(void *self, uint64_t offset)
{
	struct uffd *u = self;
	void *stage = u->stage;

	u->stage = NULL;
	return sde__pager_move_in(stage, u->range.base + offset, u->range.unit);
}

/* Watched again first, so that at no time it is there and empty. */
static int uffd_hide(void *self, uint64_t offset)
{
	struct uffd *u = self;
	const int ret = sde__planted("unit-not-watched") ? 0 : uffd_watch(u, offset, u->range.unit);

	return ret ? ret : sde__pager_take_back(u->range.base + offset, u->range.unit, &u->stage);
}

static void uffd_forbid(void *self, uint64_t offset)
{
	const struct uffd *u = self;

	mprotect(u->range.base + offset, u->range.unit, PROT_NONE);
}

static void uffd_wake(void *self, uint64_t offset)
{
	struct uffd *u = self;
	struct uffdio_range range = { .start = address(u, offset), .len = u->range.unit };

	ioctl(u->fd, UFFDIO_WAKE, &range);
}

const struct sde__pager_way sde__pager_uffd = {
	.name = "userfaultfd",
	.make = uffd_make,
	.handle = uffd_handle,
	.next = uffd_next,
	.stage = uffd_stage,
	.show = uffd_show,
	.hide = uffd_hide,
	.forbid = uffd_forbid,
	.wake = uffd_wake,
	.close = uffd_close,
};

#else

static int no_uffd(void **self, struct sde__pager_range *range, struct sde_error *error)
{
	(void)self;
	(void)range;
	return sde__fail(error, SDE_E_UNSUPPORTED, "this system has no userfaultfd");
}

const struct sde__pager_way sde__pager_uffd = { .name = "userfaultfd", .make = no_uffd };

#endif
