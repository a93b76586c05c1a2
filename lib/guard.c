/* SPDX-License-Identifier: MIT */
/* A handler of SIGBUS, and the copies that it may interrupt: see guard.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

/* A copy under way in this thread. */
struct watch {
	sigjmp_buf back;
	uintptr_t start, end;
	struct watch *outer;
};

/*
 * The handler reads it in any thread, also one that never ran a guarded copy:
 * initial-exec has its place from the thread's beginning, without a malloc.
 */
static _Thread_local struct watch *watching __attribute__((tls_model("initial-exec")));

static struct sigaction before;		/* set once, before the handler can run */

/* What would have happened without us. */
static void chain(int number, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(number, info, context);
		return;
	}
	if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(number);
		return;
	}
	/* sent by a process, and ignored: a fault cannot be */
	if (before.sa_handler == SIG_IGN && info->si_code <= 0)
		return;
	/* a fault recurs on return, what was sent is sent again: both end the process */
	signal(number, SIG_DFL);
	if (info->si_code <= 0)
		raise(number);
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	struct watch *w = watching;
	const uintptr_t address = (uintptr_t)info->si_addr;
	const int error = errno;

	/* codes above 0 are the kernel's: si_addr means something */
	if (w && info->si_code > 0 && address >= w->start && address < w->end)
		siglongjmp(w->back, 1);
	chain(number, info, context);
	errno = error;
}

static int installed;			/* 0 or -errno */

static void install(void)
{
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_sigaction = on_sigbus;
	/* not blocked meanwhile: the jump out of the handler restores no mask */
	action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
	sigemptyset(&action.sa_mask);
	/* first what was there, so that the handler never sees it unset */
	if (sigaction(SIGBUS, NULL, &before) || sigaction(SIGBUS, &action, NULL))
		installed = -errno;
}

int sde__guard_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
	return installed;
}

int sde__guard_run(const void *start, size_t size, void (*act)(void *ctx), void *ctx)
{
	struct watch w;

	w.start = (uintptr_t)start;
	w.end = w.start + size;
	w.outer = watching;
	if (sigsetjmp(w.back, 0)) {
		watching = w.outer;
		return -EFAULT;
	}
	watching = &w;
	/* the handler belongs to this thread: only the compiler must not reorder */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	act(ctx);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	watching = w.outer;
	return 0;
}
