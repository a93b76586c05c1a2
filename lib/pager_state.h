/* SPDX-License-Identifier: MIT */
/*
 * What pager.c (everybody's side) and pager_thread.c (the thread's) share. Nobody else
 * includes this.
 */
#ifndef SDE_LIB_PAGER_STATE_H
#define SDE_LIB_PAGER_STATE_H

#include "pager.h"
#include "pager_way.h"

#include <pthread.h>

#define SDE__NOBODY UINT32_MAX		/* no unit */
#define SDE__HINTS 16		/* prefetches that wait */

enum sde__unit_state { SDE__UNIT_ABSENT = 0, SDE__UNIT_PRESENT, SDE__UNIT_LOST };

struct sde__pager_unit {
	uint32_t older, newer;		/* present ones, by the time of filling */
	uint32_t pins;
	uint8_t state;
	int code;			/* what the last fill failed with */
};

struct sde__pager_hint {
	uint32_t from, to;
};

struct sde__pager {
	struct sde__pager_source source;
	const struct sde__pager_way *way;
	void *self;			/* the way's */
	struct sde__pager_range range;
	bool sigbus;
	uint32_t units, most;		/* all; that may be present */
	int bell;			/* an eventfd: look at what is below */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock;		/* guards what is below */
	pthread_cond_t changed;		/* a unit's state or a pin's turn */
	struct sde__pager_unit *unit;
	uint32_t oldest, newest, present, pinned;
	uint32_t wanted;		/* by a pin that waits; SDE__NOBODY */
	struct sde__pager_hint hint[SDE__HINTS];	/* a queue */
	unsigned hint_first, hints;
	bool stop;

	/* the thread's own */
	uint32_t last_touch;
	uint32_t ahead, ahead_end;	/* to be read ahead */
};

/* What the thread does, of a struct sde__pager, until that is to stop. */
void *sde__pager_serve(void *arg);

#endif
