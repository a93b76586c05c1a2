/* SPDX-License-Identifier: MIT */
/*
 * Allocations that fail: the n-th one, once or for good. Whoever includes this, one
 * file of a program, gives that program's malloc and its relatives a counter in
 * front; libraries it uses (jansson, blosc, libc's own strdup) allocate through the
 * same ones, as the program's symbols come first. Under AddressSanitizer the
 * allocator behind is its own, so that what it can see is still seen.
 *
 * For glibc; elsewhere FAULT_MEMORY is 0 and nothing fails. Threads may allocate at
 * once; whoever arms it does so while they do not.
 */
#ifndef SDE_TESTS_CRASH_FAULT_MEMORY_H
#define SDE_TESTS_CRASH_FAULT_MEMORY_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define FAULT_MEMORY_SITES 16384

struct fault_memory {
	unsigned long fail_at;	/* number of the allocation from 1; 0: none */
	bool for_good;		/* and all after it */
	bool counting;
	bool only_armed;	/* other threads' allocations are not counted */
	pthread_t armed_by;
	unsigned long calls;	/* atomic; while counting */
	void *site[FAULT_MEMORY_SITES];	/* who asked, of the first so many calls */
	bool fired;
	/* atomic; allocations not freed. Not under AddressSanitizer, whose strdup goes
	 * round us: there its leak check counts */
	long live;
};

static struct fault_memory fault_memory;

static void fault_memory_arm(unsigned long fail_at, bool for_good)
{
	fault_memory.fail_at = fail_at;
	fault_memory.for_good = for_good;
	fault_memory.calls = 0;
	fault_memory.fired = false;
	fault_memory.armed_by = pthread_self();
	fault_memory.counting = true;
}

static void fault_memory_disarm(void)
{
	fault_memory.fail_at = 0;
	fault_memory.counting = false;
}

/*
 * Which of the allocations counted last are the first ones of the place in the program
 * that asks for them; returns the number of places.
 */
static inline size_t fault_memory_places(bool first[FAULT_MEMORY_SITES])
{
	size_t places = 0;

	memset(first, 0, FAULT_MEMORY_SITES * sizeof(*first));
	for (size_t i = 0; i < fault_memory.calls && i < FAULT_MEMORY_SITES; i++) {
		bool seen = false;

		for (size_t j = 0; j < i && !seen; j++)
			seen = first[j] && fault_memory.site[j] == fault_memory.site[i];
		first[i] = !seen;
		places += !seen;
	}
	return places;
}

#ifdef __GLIBC__
#define FAULT_MEMORY 1

/* called before the sanitizer has begun, too: no checks in here */
#define FAULT_MEMORY_PLAIN __attribute__((no_sanitize("address", "undefined")))

/* libasan's, where the program has one */
extern void *__interceptor_malloc(size_t) __attribute__((weak));
extern void *__interceptor_calloc(size_t, size_t) __attribute__((weak));
extern void *__interceptor_realloc(void *, size_t) __attribute__((weak));
extern void *__interceptor_aligned_alloc(size_t, size_t) __attribute__((weak));
extern void __interceptor_free(void *) __attribute__((weak));
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

FAULT_MEMORY_PLAIN static bool fault_memory_fails(void *site)
{
	unsigned long n;

	if (!fault_memory.counting)
		return false;
	/* a thread that begins cannot do without, under AddressSanitizer */
	if ((fault_memory.only_armed || __interceptor_malloc) &&
	    !pthread_equal(pthread_self(), fault_memory.armed_by))
		return false;
	n = __atomic_add_fetch(&fault_memory.calls, 1, __ATOMIC_RELAXED);
	if (n <= FAULT_MEMORY_SITES)
		fault_memory.site[n - 1] = site;
	if (!fault_memory.fail_at || n < fault_memory.fail_at ||
	    (n > fault_memory.fail_at && !fault_memory.for_good))
		return false;
	__atomic_store_n(&fault_memory.fired, true, __ATOMIC_RELAXED);
	errno = ENOMEM;
	return true;
}

FAULT_MEMORY_PLAIN static void *fault_memory_note(void *p)
{
	if (p && !__interceptor_malloc)
		__atomic_add_fetch(&fault_memory.live, 1, __ATOMIC_RELAXED);
	return p;
}

/* glibc's names of parameters are not for others:
 * NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */
FAULT_MEMORY_PLAIN void *malloc(size_t n)
{
	if (fault_memory_fails(__builtin_return_address(0)))
		return NULL;
	return fault_memory_note(__interceptor_malloc ? __interceptor_malloc(n) : __libc_malloc(n));
}

FAULT_MEMORY_PLAIN void *calloc(size_t count, size_t n)
{
	if (fault_memory_fails(__builtin_return_address(0)))
		return NULL;
	return fault_memory_note(__interceptor_calloc ? __interceptor_calloc(count, n) :
				 __libc_calloc(count, n));
}

FAULT_MEMORY_PLAIN void *realloc(void *old, size_t n)
{
	void *p;

	if (fault_memory_fails(__builtin_return_address(0)))
		return NULL;
	p = __interceptor_realloc ? __interceptor_realloc(old, n) : __libc_realloc(old, n);
	return old ? p : fault_memory_note(p);
}

FAULT_MEMORY_PLAIN void *aligned_alloc(size_t alignment, size_t n)
{
	if (fault_memory_fails(__builtin_return_address(0)))
		return NULL;
	return fault_memory_note(__interceptor_aligned_alloc ?
				 __interceptor_aligned_alloc(alignment, n) :
				 __libc_memalign(alignment, n));
}

/*
 * Never fails: it is libblosc that calls it, prints a line and goes on with NULL.
 * Ours asks for as much just before (codec.c), and that does fail.
 */
FAULT_MEMORY_PLAIN int posix_memalign(void **out, size_t alignment, size_t n)
{
	n = (n + alignment - 1) / alignment * alignment;
	*out = fault_memory_note(__interceptor_aligned_alloc ?
				 __interceptor_aligned_alloc(alignment, n) :
				 __libc_memalign(alignment, n));
	return *out ? 0 : ENOMEM;
}

FAULT_MEMORY_PLAIN void free(void *p)
{
	if (p && !__interceptor_malloc)
		__atomic_sub_fetch(&fault_memory.live, 1, __ATOMIC_RELAXED);
	if (__interceptor_free)
		__interceptor_free(p);
	else
		__libc_free(p);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */

/* Like libc's, but that who calls it is known. Not in front of a sanitizer's. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
char *strndup(const char *text, size_t most)
{
	const size_t n = strnlen(text, most);
	char *copy = fault_memory_fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n + 1);

	if (!copy)
		return NULL;
	fault_memory_note(copy);
	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

char *strdup(const char *text)
{
	const size_t n = strlen(text) + 1;
	char *copy = fault_memory_fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);

	return copy ? memcpy(fault_memory_note(copy), text, n) : NULL;
}
#endif

#else
#define FAULT_MEMORY 0
#endif

#endif
