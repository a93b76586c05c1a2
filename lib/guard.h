/* SPDX-License-Identifier: MIT */
/*
 * The opt-in guard against SIGBUS: a copy from or to mapped memory whose file
 * somebody cut short, or whose device fails, returns a code instead of ending
 * the process.
 *
 * A guarded copy notes on the stack where it may fault and jumps back there
 * from the handler. So it must hold nothing that a jump would lose: no lock, no
 * memory, no system call. Faults at other addresses, and those of other threads,
 * go to the handler that was there before.
 *
 * The handler is the process's and stays: the one global thing of this library,
 * there only for who asked for it. A thread that runs guarded copies must not
 * block SIGBUS, or the kernel kills the process without asking any handler.
 */
#ifndef SDE_LIB_GUARD_H
#define SDE_LIB_GUARD_H

#include <stddef.h>

/* Put the handler in place, once for all. 0 or -errno. Any thread. */
int sde__guard_install(void);

/*
 * act(ctx), which may fault within [start, start + size): 0, or -EFAULT if it did,
 * and then it has been left in the middle.
 */
int sde__guard_run(const void *start, size_t size, void (*act)(void *ctx), void *ctx);

#endif
