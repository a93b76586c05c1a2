/* SPDX-License-Identifier: MIT */
/*
 * The pager's thread: it alone fills, shows and takes away. Lists and states change
 * under the lock, by this thread alone; all others only wait for it.
 *
 *	absent -> (filled, shown) -> present -> (taken away) -> absent
 *	absent -> lost		filling failed and SIGBUS was asked for; for good
 *
 * What a touch asks for goes before what pins wait for, that before prefetches, and
 * these before reading ahead.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pager_state.h"

#include "planted.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define AHEAD 4			/* units read ahead of a sequential reader */

static void list_add(struct sde__pager *p, uint32_t u)
{
	p->unit[u].older = p->newest;
	p->unit[u].newer = SDE__NOBODY;
	if (p->newest == SDE__NOBODY)
		p->oldest = u;
	else
		p->unit[p->newest].newer = u;
	p->newest = u;
	p->present++;
}

static void list_remove(struct sde__pager *p, uint32_t u)
{
	const uint32_t older = p->unit[u].older, newer = p->unit[u].newer;

	if (older == SDE__NOBODY)
		p->oldest = newer;
	else
		p->unit[older].newer = newer;
	if (newer == SDE__NOBODY)
		p->newest = older;
	else
		p->unit[newer].older = older;
	p->present--;
}

static uint64_t offset_of(const struct sde__pager *p, uint32_t u)
{
	return (uint64_t)u * p->range.unit;
}

/* Take away the oldest that is not pinned. A unit that the kernel keeps stays. */
static bool make_room(struct sde__pager *p)
{
	uint32_t u;

	pthread_mutex_lock(&p->lock);
	while (p->present >= p->most) {
		for (u = p->oldest; u != SDE__NOBODY; u = p->unit[u].newer)
			if ((!p->unit[u].pins || sde__planted("pinned-unit-evicted")) &&
			    !p->way->hide(p->self, offset_of(p, u)))
				break;
		if (u == SDE__NOBODY)
			break;
		list_remove(p, u);
		p->unit[u].state = SDE__UNIT_ABSENT;
	}
	pthread_mutex_unlock(&p->lock);
	return p->present < p->most;
}

static void settle(struct sde__pager *p, uint32_t u, enum sde__unit_state state, int code)
{
	pthread_mutex_lock(&p->lock);
	p->unit[u].state = (uint8_t)state;
	p->unit[u].code = code;
	if (state == SDE__UNIT_PRESENT)
		list_add(p, u);
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	p->way->wake(p->self, offset_of(p, u));
}

/*
 * Any touch raises SIGBUS from now on: a file without a byte is mapped there. Where
 * not even that can be had, any touch is a segmentation fault.
 */
static void lose(struct sde__pager *p, uint32_t u, int code)
{
	unsigned char *at = p->range.base + offset_of(p, u);
	const int fd = memfd_create("sdestore", MFD_CLOEXEC);
	void *lost = MAP_FAILED;

	if (fd >= 0)
		lost = mmap(at, p->range.unit, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	if (lost == MAP_FAILED)
		/* the addresses stay ours: nobody else's memory may appear there */
		p->way->forbid(p->self, offset_of(p, u));
	else
		madvise(at, p->range.unit, MADV_DONTFORK);
	if (fd >= 0)
		close(fd);
	settle(p, u, SDE__UNIT_LOST, code);
}

/* Have unit u there, or lost. */
static void bring(struct sde__pager *p, uint32_t u)
{
	const uint64_t offset = offset_of(p, u), left = p->source.bytes - offset;
	const size_t n = left < p->range.unit ? (size_t)left : p->range.unit;
	struct sde_error why = { 0 };
	unsigned char *stage;
	int ret, shown;

	if (p->unit[u].state != SDE__UNIT_ABSENT) {
		p->way->wake(p->self, offset);
		return;
	}
	make_room(p);
	stage = p->way->stage(p->self);
	if (!stage) {
		ret = sde__fail(&why, -ENOMEM, "no memory for a part of '%s'", p->source.name);
		shown = ret;
	} else {
		ret = p->source.fill(p->source.ctx, offset, n, stage, &why);
		memset(stage + n, 0, p->range.unit - n);
		/* before anybody sees what it led to */
		if (ret)
			p->source.failed(p->source.ctx, &why);
		shown = ret && p->sigbus ? ret : p->way->show(p->self, offset);
	}
	if (shown && (!ret || !stage)) {
		ret = sde__fail_why(&why, shown, "cannot show a part of '%s'", p->source.name);
		p->source.failed(p->source.ctx, &why);
	}
	if (shown)
		lose(p, u, ret);
	else
		settle(p, u, SDE__UNIT_PRESENT, ret);
}

/* A touch: who goes forward has some units read ahead. */
static void answer(struct sde__pager *p, uint64_t offset)
{
	const uint32_t u = (uint32_t)(offset / p->range.unit);
	const uint32_t ahead = p->most / 4 < AHEAD ? p->most / 4 : AHEAD;

	if (u >= p->units)
		return;
	if (p->unit[u].state == SDE__UNIT_ABSENT && p->last_touch < u &&
	    u - p->last_touch <= ahead + 1) {
		p->ahead = u + 1;
		p->ahead_end = p->units - u - 1 < ahead ? p->units : u + 1 + ahead;
	} else if (u < p->last_touch || u - p->last_touch > ahead + 1) {
		p->ahead = p->ahead_end = 0;
	}
	p->last_touch = u;
	bring(p, u);
}

/* What comes next when no touch waits; SDE__NOBODY. */
static uint32_t next_wish(struct sde__pager *p)
{
	uint32_t u = SDE__NOBODY;

	pthread_mutex_lock(&p->lock);
	if (p->wanted != SDE__NOBODY) {
		u = p->wanted;
		p->wanted = SDE__NOBODY;
		pthread_cond_broadcast(&p->changed);
	}
	while (u == SDE__NOBODY && p->hints) {
		struct sde__pager_hint *hint = &p->hint[p->hint_first];

		if (hint->from < hint->to) {
			u = hint->from++;
			if (p->unit[u].state != SDE__UNIT_ABSENT)
				u = SDE__NOBODY;
		} else {
			p->hint_first = (p->hint_first + 1) % SDE__HINTS;
			p->hints--;
		}
	}
	pthread_mutex_unlock(&p->lock);
	while (u == SDE__NOBODY && p->ahead < p->ahead_end) {
		u = p->ahead++;
		if (p->unit[u].state != SDE__UNIT_ABSENT)
			u = SDE__NOBODY;
	}
	return u;
}

static bool told_to_stop(struct sde__pager *p)
{
	bool stop;

	pthread_mutex_lock(&p->lock);
	stop = p->stop;
	pthread_mutex_unlock(&p->lock);
	return stop;
}

static void wait_for_work(struct sde__pager *p)
{
	struct pollfd wait[2] = { { .fd = p->way->handle(p->self), .events = POLLIN },
				  { .fd = p->bell, .events = POLLIN } };
	uint64_t rings;

	poll(wait, 2, -1);
	if (wait[1].revents && read(p->bell, &rings, sizeof(rings)) < 0)
		return;
}

void *sde__pager_serve(void *arg)
{
	struct sde__pager *p = arg;
	uint64_t offset;
	uint32_t u;

	while (!told_to_stop(p)) {
		if (p->way->next(p->self, &offset)) {
			answer(p, offset);
			continue;
		}
		u = next_wish(p);
		if (u != SDE__NOBODY)
			bring(p, u);
		else
			wait_for_work(p);
	}
	return NULL;
}
