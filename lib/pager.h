/* SPDX-License-Identifier: MIT */
/*
 * Memory that is filled when it is first touched, under a budget: how an array far
 * beyond RAM has a plain pointer.
 *
 * A range of addresses is reserved and cut into units of equal size (a chunk of
 * snapshots each). A touch of a unit that is not there stops the thread that
 * touched it until the pager's own thread has filled the unit, in memory of its own,
 * and shown it as a whole: nobody ever sees a part of one. When the budget is used
 * up, the unit that was filled longest ago is taken away; it is filled again when
 * it is touched again. (Touches of what is there are not seen by anybody, so the
 * least recently used one is not known.) While no one waits, the thread fills what
 * was asked for by prefetch, and ahead of a sequential reader.
 *
 * Two ways to be told of a touch (pager_way.h): userfaultfd, and SIGSEGV where that
 * is missing.
 *
 * What could not be filled is never shown as zeros: either as what the source put
 * there instead (NaN), or any touch of the unit raises SIGBUS.
 *
 * Only touches by instructions are seen: a system call that is given memory that is
 * not there fails with EFAULT, or is short. Pin it first. A child of fork() does not
 * have the range.
 */
#ifndef SDE_LIB_PAGER_H
#define SDE_LIB_PAGER_H

#include "error.h"

#include <stdbool.h>

struct sde__pager;

struct sde__pager_source {
	uint64_t bytes;		/* of the whole range */
	size_t unit;		/* a multiple of the page size */
	const char *name;	/* for sentences; copied by nobody, outlives the pager */
	/*
	 * `n` bytes from `offset` on into out, which is never called by two threads
	 * at once. On failure too `out` holds what is to be shown.
	 */
	int (*fill)(void *ctx, uint64_t offset, size_t n, void *out, struct sde_error *error);
	/* A fill that a touch had asked for failed. */
	void (*failed)(void *ctx, const struct sde_error *error);
	void *ctx;
};

/* Memory beside the units themselves that a budget is to pay for, in units. */
#define SDE__PAGER_BESIDE 2
/* ... and what must be resident at once: an instruction may touch two. */
#define SDE__PAGER_LEAST 2

/*
 * -ENOMEM if budget is less than LEAST + BESIDE units (and the whole range is not
 * within it), or than what is to be kept of each unit, or the addresses cannot be had; SDE_E_UNSUPPORTED if no way works.
 */
int sde__pager_new(struct sde__pager **out, const struct sde__pager_source *source, size_t budget,
		   bool sigbus, enum sde_paging paging, struct sde_error *error);

const void *sde__pager_base(const struct sde__pager *pager);

/* A hint: fill [from, to) when there is nothing else to do. */
void sde__pager_prefetch(struct sde__pager *pager, uint64_t from, uint64_t to);

/*
 * Have all of [from, to) there, and keep it until it was unpinned as often as it was
 * pinned. -ENOMEM if the budget has no room for it, or what filling failed with:
 * then nothing is pinned.
 */
int sde__pager_pin(struct sde__pager *pager, uint64_t from, uint64_t to, struct sde_error *error);

/* -EINVAL if some of it is not pinned: then nothing is unpinned. */
int sde__pager_unpin(struct sde__pager *pager, uint64_t from, uint64_t to,
		     struct sde_error *error);

/* Nobody may touch the range any more. Accepts NULL. */
void sde__pager_free(struct sde__pager *pager);

#endif
