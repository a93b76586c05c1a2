/* SPDX-License-Identifier: MIT */
/*
 * A crew: several threads take numbered jobs, in order, until all are done or one
 * failed. The caller is one of them.
 *
 * What is returned does not depend on how many there are: of the jobs that
 * failed it is the first one's code, since every job before it has been taken,
 * and is finished, by then.
 */
#ifndef SDE_LIB_CREW_H
#define SDE_LIB_CREW_H

#include "error.h"

#define SDE__CREW_MAX 256

struct sde__crew {
	/* What a thread needs for itself; called on it, before its first job. */
	int (*begin)(void *ctx, unsigned thread, void **own, struct sde_error *error);
	/* Anything but 0 ends it all. */
	int (*work)(void *ctx, void *own, uint64_t job, struct sde_error *error);
	void (*end)(void *ctx, void *own);
	void *ctx;
};

/*
 * Jobs 0 .. jobs - 1 by at most `threads` threads (0: one), all signals blocked
 * in those that are started here; fewer where the system gives no more.
 */
int sde__crew_run(const struct sde__crew *crew, unsigned threads, uint64_t jobs,
		  struct sde_error *error);

#endif
