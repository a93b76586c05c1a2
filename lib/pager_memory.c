/* SPDX-License-Identifier: MIT */
/*
 * A unit's memory, moved in and taken back as a whole, so that nobody sees a part of it:
 * see pager_way.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pager_way.h"

#include <errno.h>
#include <sys/mman.h>

void *sde__pager_reserve(size_t size, int protection, struct sde_error *error)
{
	void *base = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (base == MAP_FAILED) {
		sde__fail_why(error, -errno, "no %zu bytes of addresses", size);
		return NULL;
	}
	madvise(base, size, MADV_DONTFORK);
	return base;
}

void *sde__pager_stage(size_t unit)
{
	void *stage = mmap(NULL, unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (stage == MAP_FAILED)
		return NULL;
	madvise(stage, unit, MADV_DONTFORK);
	return stage;
}

int sde__pager_move_in(void *stage, void *at, size_t unit)
{
	int ret;

	if (!mprotect(stage, unit, PROT_READ) &&
	    mremap(stage, unit, unit, MREMAP_MAYMOVE | MREMAP_FIXED, at) != MAP_FAILED)
		return 0;
	ret = -errno;
	munmap(stage, unit);
	return ret;
}

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4	/* Linux 5.7 */
#endif

int sde__pager_take_back(void *at, size_t unit, void **stage)
{
	void *memory = mremap(at, unit, unit, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

	if (memory == MAP_FAILED)
		return -errno;
	/* one is enough */
	if (*stage || mprotect(memory, unit, PROT_READ | PROT_WRITE))
		munmap(memory, unit);
	else
		*stage = memory;
	return 0;
}
