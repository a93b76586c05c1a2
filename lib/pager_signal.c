/* SPDX-License-Identifier: MIT */
/*
 * Touches by SIGSEGV, where there is no userfaultfd. What is not there is
 * PROT_NONE; the signal's handler tells the pager through a pipe and waits, in the
 * thread that touched, until it has an answer. A unit is filled in memory beside the
 * range and moved into it by mremap, which others see as one change, and out of it
 * again.
 *
 * Each unit that is there is a mapping of its own: the pager keeps their number far
 * below the kernel's limit (vm.max_map_count).
 *
 * The handler is installed when a range is made and it is not there, and stays. Signals that
 * are not ours go to the handler that was there before. In it nothing is called
 * but write, futex and atomics.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pager_way.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define RANGES 64		/* at once */
#define PATIENCE 1000000	/* touches in a row of what is there */

struct signal_way {
	struct sde__pager_range range;
	pid_t process;
	int pipe[2];
	void *stage;
	unsigned idle;		/* atomic: touches since the last answer, of what was there */
	/* by unit, atomic, a futex: THERE if it may be touched, NEVER if it never may, and
	 * ANSWER times the answers. Changed by the pager's thread only */
	uint32_t *word;
};

enum { THERE = 1, NEVER = 2, ANSWER = 4 };

/* Found by the signal's handler: `end` is set last and cleared first. */
static struct slot {
	uintptr_t begin, end;	/* atomic; end 0: free */
	struct signal_way *way;
} slots[RANGES];
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;

static void futex(uint32_t *word, int operation, uint32_t value)
{
	syscall(SYS_futex, word, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

static struct signal_way *way_of(uintptr_t address)
{
	for (int i = 0; i < RANGES; i++) {
		const uintptr_t end = __atomic_load_n(&slots[i].end, __ATOMIC_ACQUIRE);

		if (end && address < end &&
		    address >= __atomic_load_n(&slots[i].begin, __ATOMIC_RELAXED))
			return slots[i].way;
	}
	return NULL;
}

/* A write to read-only memory would be tried for ever. */
static bool is_write(const void *context)
{
#if defined(__x86_64__)
	return ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
#else
	(void)context;
	return false;
#endif
}

/*
 * The touch's unit was there when this returns true. Each request gets an answer for
 * its own unit, and one thread has one request: they do not pile up.
 */
static bool wait_for_unit(struct signal_way *way, uintptr_t address)
{
	const uint64_t offset = address - (uintptr_t)way->range.base;
	uint32_t *word = &way->word[offset / way->range.unit];
	const uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	ssize_t n;

	if (seen & NEVER)
		return false;
	if (seen & THERE)
		return __atomic_add_fetch(&way->idle, 1, __ATOMIC_RELAXED) < PATIENCE;
	do {
		n = write(way->pipe[1], &offset, sizeof(offset));
	} while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof(offset))
		return false;
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == seen)
		futex(word, FUTEX_WAIT, seen);
	return true;
}

static void pass_on(int number, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(number, info, context);
	else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
		before.sa_handler(number);
	else
		/* the instruction is tried once more, and ends the process */
		sigaction(SIGSEGV, &before, NULL);
}

static void on_touch(int number, siginfo_t *info, void *context)
{
	const uintptr_t address = (uintptr_t)info->si_addr;
	struct signal_way *way = info->si_code == SEGV_ACCERR ? way_of(address) : NULL;
	const int saved = errno;

	if (!way || way->process != getpid() || is_write(context) || !wait_for_unit(way, address))
		pass_on(number, info, context);
	errno = saved;
}

/* Also if somebody else's handler has taken its place since the last range. */
static int install(struct sde_error *error)
{
	struct sigaction action = { .sa_sigaction = on_touch, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct sigaction now;

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGSEGV, NULL, &now))
		return sde__fail_why(error, -errno, "cannot handle SIGSEGV");
	if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_touch)
		return 0;
	before = now;
	return sigaction(SIGSEGV, &action, NULL) ?
	       sde__fail_why(error, -errno, "cannot handle SIGSEGV") : 0;
}

static int enter(struct signal_way *way, struct sde_error *error)
{
	int ret, i = 0;

	pthread_mutex_lock(&slots_lock);
	ret = install(error);
	while (i < RANGES && slots[i].end)
		i++;
	if (!ret && i == RANGES)
		ret = sde__fail(error, -EMFILE, "more than %d arrays are mapped lazily", RANGES);
	if (!ret) {
		slots[i].way = way;
		__atomic_store_n(&slots[i].begin, (uintptr_t)way->range.base, __ATOMIC_RELAXED);
		__atomic_store_n(&slots[i].end, (uintptr_t)way->range.base + way->range.size,
				 __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&slots_lock);
	return ret;
}

static void leave(const struct signal_way *way)
{
	pthread_mutex_lock(&slots_lock);
	for (int i = 0; i < RANGES; i++)
		if (slots[i].end && slots[i].way == way)
			__atomic_store_n(&slots[i].end, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&slots_lock);
}

static void signal_close(void *self)
{
	struct signal_way *way = self;

	leave(way);
	if (way->range.base)
		munmap(way->range.base, way->range.size);
	if (way->stage)
		munmap(way->stage, way->range.unit);
	for (int i = 0; i < 2; i++)
		if (way->pipe[i] >= 0)
			close(way->pipe[i]);
	free(way->word);
	free(way);
}

static int signal_begin(struct signal_way *way, struct sde_error *error)
{
	way->word = calloc(way->range.size / way->range.unit, sizeof(*way->word));
	if (!way->word)
		return sde__fail(error, -ENOMEM, "out of memory");
	/* the pager's end; a touch may well wait for room */
	if (pipe2(way->pipe, O_CLOEXEC) || fcntl(way->pipe[0], F_SETFL, O_NONBLOCK))
		return sde__fail_why(error, -errno, "no pipe");
	way->range.base = sde__pager_reserve(way->range.size, PROT_NONE, error);
	return way->range.base ? enter(way, error) : -ENOMEM;
}

static int signal_make(void **self, struct sde__pager_range *range, struct sde_error *error)
{
	struct signal_way *way = calloc(1, sizeof(*way));
	int ret;

	if (!way)
		return sde__fail(error, -ENOMEM, "out of memory");
	way->range = *range;
	way->range.base = NULL;
	way->process = getpid();
	way->pipe[0] = way->pipe[1] = -1;
	ret = signal_begin(way, error);
	if (ret) {
		signal_close(way);
		return ret;
	}
	range->base = way->range.base;
	*self = way;
	return 0;
}

static int signal_handle(const void *self)
{
	return ((const struct signal_way *)self)->pipe[0];
}

static int signal_next(void *self, uint64_t *offset)
{
	struct signal_way *way = self;

	/* written in one piece: so small a one is never torn */
	return read(way->pipe[0], offset, sizeof(*offset)) == (ssize_t)sizeof(*offset);
}

static void *signal_stage(void *self)
{
	struct signal_way *way = self;

	if (!way->stage)
		way->stage = sde__pager_stage(way->range.unit);
	return way->stage;
}

static void signal_wake(void *self, uint64_t offset)
{
	struct signal_way *way = self;
	uint32_t *word = &way->word[offset / way->range.unit];

	__atomic_store_n(&way->idle, 0, __ATOMIC_RELAXED);
	__atomic_store_n(word, *word + ANSWER, __ATOMIC_RELEASE);
	futex(word, FUTEX_WAKE, INT_MAX);
}

static int signal_show(void *self, uint64_t offset)
{
	struct signal_way *way = self;
	void *stage = way->stage;
	int ret;

	way->stage = NULL;
	ret = sde__pager_move_in(stage, way->range.base + offset, way->range.unit);
	if (!ret)
		__atomic_or_fetch(&way->word[offset / way->range.unit], THERE, __ATOMIC_RELEASE);
	return ret;
}

static int signal_hide(void *self, uint64_t offset)
{
	struct signal_way *way = self;
	uint32_t *word = &way->word[offset / way->range.unit];
	unsigned char *at = way->range.base + offset;
	const size_t unit = way->range.unit;

	/* first, so that nobody believes it is there who finds that it is not */
	__atomic_and_fetch(word, ~(uint32_t)THERE, __ATOMIC_RELEASE);
	if (!mprotect(at, unit, PROT_NONE) && !sde__pager_take_back(at, unit, &way->stage))
		return 0;
	/* an older kernel */
	if (mmap(at, unit, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		 0) != MAP_FAILED) {
		madvise(at, unit, MADV_DONTFORK);
		return 0;
	}
	/* it stays as it was, readable or to be asked for */
	if (!mprotect(at, unit, PROT_READ))
		__atomic_or_fetch(word, THERE, __ATOMIC_RELEASE);
	return -ENOMEM;
}

/* Its addresses are inaccessible already. */
static void signal_forbid(void *self, uint64_t offset)
{
	struct signal_way *way = self;

	__atomic_or_fetch(&way->word[offset / way->range.unit], NEVER, __ATOMIC_RELEASE);
}

const struct sde__pager_way sde__pager_signal = {
	.name = "signal",
	.make = signal_make,
	.handle = signal_handle,
	.next = signal_next,
	.stage = signal_stage,
	.show = signal_show,
	.hide = signal_hide,
	.forbid = signal_forbid,
	.wake = signal_wake,
	.close = signal_close,
};
