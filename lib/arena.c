/* SPDX-License-Identifier: MIT */
/* Reserved addresses that become memory in steps: see arena.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)
/* Growing in large steps keeps the system calls off most stores. */
#define STEP ((size_t)64 << 20)

int sde__arena_init(struct sde__arena *arena, size_t want, size_t least, struct sde_error *error)
{
	size_t size = (want + PAGE - 1) & ~(PAGE - 1);
	void *base;

	memset(arena, 0, sizeof(*arena));
	for (;;) {
		base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (base != MAP_FAILED)
			break;
		if (errno != ENOMEM || size / 2 < least || size / 2 < PAGE)
			return sde__fail_why(error, -errno, "cannot reserve %zu bytes of addresses", size);
		size = (size / 2 + PAGE - 1) & ~(PAGE - 1);
	}
	arena->base = base;
	arena->reserved = size;
	return 0;
}

int sde__arena_grow(struct sde__arena *arena, size_t size, struct sde_error *error)
{
	size_t end;

	if (size <= arena->size)
		return 0;
	if (size > arena->reserved)
		return sde__fail(error, -ENOMEM,
				 "%zu bytes of snapshots do not fit the %zu bytes of addresses there are",
				 size, arena->reserved);
	end = arena->reserved - size < STEP ? arena->reserved : (size + STEP) & ~(PAGE - 1);
	if (mprotect(arena->base + arena->size, end - arena->size, PROT_READ | PROT_WRITE)) {
		/* perhaps the step was too large, but not the need */
		end = (size + PAGE - 1) & ~(PAGE - 1);
		if (mprotect(arena->base + arena->size, end - arena->size, PROT_READ | PROT_WRITE))
			return sde__fail_why(error, -errno, "no memory for %zu bytes of snapshots", size);
	}
	arena->size = end;
	return 0;
}

void sde__arena_shrink(struct sde__arena *arena, size_t size)
{
	const size_t keep = (size + PAGE - 1) & ~(PAGE - 1);

	if (keep < arena->size)
		madvise(arena->base + keep, arena->size - keep, MADV_DONTNEED);
}

void sde__arena_free(struct sde__arena *arena)
{
	if (arena->base)
		munmap(arena->base, arena->reserved);
	memset(arena, 0, sizeof(*arena));
}
