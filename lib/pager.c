/* SPDX-License-Identifier: MIT */
/*
 * Units come and go under a budget: see pager.h. One thread fills, shows and takes
 * away; all others only wait for it.
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
#include "pager.h"

#include "pager_way.h"
#include "planted.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOBODY UINT32_MAX
/* Each unit may take two of the kernel's 65530 mappings (vm.max_map_count). */
#define MOST_UNITS 8192
#define AHEAD 4			/* units read ahead of a sequential reader */
#define HINTS 16		/* prefetches that wait */

enum state { ABSENT = 0, PRESENT, LOST };

struct unit {
	uint32_t older, newer;		/* present ones, by the time of filling */
	uint32_t pins;
	uint8_t state;
	int code;			/* what the last fill failed with */
};

/* Bytes kept of each unit, here and by its way. */
#define BOOKS (sizeof(struct unit) + sizeof(uint32_t))
#define LEAST_BOOKS ((uint64_t)1 << 20)

struct hint {
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
	struct unit *unit;
	uint32_t oldest, newest, present, pinned;
	uint32_t wanted;		/* by a pin that waits; NOBODY */
	struct hint hint[HINTS];	/* a queue */
	unsigned hint_first, hints;
	bool stop;

	/* the thread's own */
	uint32_t last_touch;
	uint32_t ahead, ahead_end;	/* to be read ahead */
};

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

/* ------------------------------------------------------------------------
 * The thread's side. Lists and states change under the lock, by this thread alone.
 */

static void list_add(struct sde__pager *p, uint32_t u)
{
	p->unit[u].older = p->newest;
	p->unit[u].newer = NOBODY;
	if (p->newest == NOBODY)
		p->oldest = u;
	else
		p->unit[p->newest].newer = u;
	p->newest = u;
	p->present++;
}

static void list_remove(struct sde__pager *p, uint32_t u)
{
	const uint32_t older = p->unit[u].older, newer = p->unit[u].newer;

	if (older == NOBODY)
		p->oldest = newer;
	else
		p->unit[older].newer = newer;
	if (newer == NOBODY)
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
		for (u = p->oldest; u != NOBODY; u = p->unit[u].newer)
			if ((!p->unit[u].pins || sde__planted("pinned-unit-evicted")) &&
			    !p->way->hide(p->self, offset_of(p, u)))
				break;
		if (u == NOBODY)
			break;
		list_remove(p, u);
		p->unit[u].state = ABSENT;
	}
	pthread_mutex_unlock(&p->lock);
	return p->present < p->most;
}

static void settle(struct sde__pager *p, uint32_t u, enum state state, int code)
{
	pthread_mutex_lock(&p->lock);
	p->unit[u].state = (uint8_t)state;
	p->unit[u].code = code;
	if (state == PRESENT)
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
		mprotect(at, p->range.unit, PROT_NONE);
	else
		madvise(at, p->range.unit, MADV_DONTFORK);
	if (fd >= 0)
		close(fd);
	settle(p, u, LOST, code);
}

/* Have unit u there, or lost. */
static void bring(struct sde__pager *p, uint32_t u)
{
	const uint64_t offset = offset_of(p, u), left = p->source.bytes - offset;
	const size_t n = left < p->range.unit ? (size_t)left : p->range.unit;
	struct sde_error why = { 0 };
	unsigned char *stage;
	int ret, shown;

	if (p->unit[u].state != ABSENT) {
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
		settle(p, u, PRESENT, ret);
}

/* A touch: who goes forward has some units read ahead. */
static void answer(struct sde__pager *p, uint64_t offset)
{
	const uint32_t u = (uint32_t)(offset / p->range.unit);
	const uint32_t ahead = p->most / 4 < AHEAD ? p->most / 4 : AHEAD;

	if (u >= p->units)
		return;
	if (p->unit[u].state == ABSENT && p->last_touch < u && u - p->last_touch <= ahead + 1) {
		p->ahead = u + 1;
		p->ahead_end = p->units - u - 1 < ahead ? p->units : u + 1 + ahead;
	} else if (u < p->last_touch || u - p->last_touch > ahead + 1) {
		p->ahead = p->ahead_end = 0;
	}
	p->last_touch = u;
	bring(p, u);
}

/* What comes next when no touch waits; NOBODY. */
static uint32_t next_wish(struct sde__pager *p)
{
	uint32_t u = NOBODY;

	pthread_mutex_lock(&p->lock);
	if (p->wanted != NOBODY) {
		u = p->wanted;
		p->wanted = NOBODY;
		pthread_cond_broadcast(&p->changed);
	}
	while (u == NOBODY && p->hints) {
		struct hint *hint = &p->hint[p->hint_first];

		if (hint->from < hint->to) {
			u = hint->from++;
			if (p->unit[u].state != ABSENT)
				u = NOBODY;
		} else {
			p->hint_first = (p->hint_first + 1) % HINTS;
			p->hints--;
		}
	}
	pthread_mutex_unlock(&p->lock);
	while (u == NOBODY && p->ahead < p->ahead_end) {
		u = p->ahead++;
		if (p->unit[u].state != ABSENT)
			u = NOBODY;
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

static void *serve(void *arg)
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
		if (u != NOBODY)
			bring(p, u);
		else
			wait_for_work(p);
	}
	return NULL;
}

/* ------------------------------------------------------------------------
 * Everybody else's side
 */

static void ring(struct sde__pager *p)
{
	const uint64_t one = 1;

	/* full already: then it will be looked at */
	if (write(p->bell, &one, sizeof(one)) < 0)
		return;
}

static void units_of(const struct sde__pager *p, uint64_t from, uint64_t to, uint32_t *first,
		     uint32_t *end)
{
	*first = (uint32_t)(from / p->range.unit);
	*end = (uint32_t)((to - 1) / p->range.unit) + 1;
}

void sde__pager_prefetch(struct sde__pager *p, uint64_t from, uint64_t to)
{
	struct hint hint;

	units_of(p, from, to, &hint.from, &hint.to);
	/* more would push out what was fetched first */
	if (hint.to - hint.from > p->most - 1)
		hint.to = hint.from + p->most - 1;
	pthread_mutex_lock(&p->lock);
	if (p->hints < HINTS)
		p->hint[(p->hint_first + p->hints++) % HINTS] = hint;
	pthread_mutex_unlock(&p->lock);
	ring(p);
}

/* Under the lock: unit u, which is pinned already, is there. */
static int await(struct sde__pager *p, uint32_t u)
{
	while (p->unit[u].state == ABSENT) {
		/* one wish at a time: another's may be in the way */
		if (p->wanted == NOBODY) {
			p->wanted = u;
			ring(p);
		}
		pthread_cond_wait(&p->changed, &p->lock);
	}
	return p->unit[u].code;
}

static void drop_pins(struct sde__pager *p, uint32_t first, uint32_t end)
{
	for (uint32_t u = first; u < end; u++)
		p->pinned -= !--p->unit[u].pins;
}

int sde__pager_pin(struct sde__pager *p, uint64_t from, uint64_t to, struct sde_error *error)
{
	uint32_t first, end, fresh = 0;
	int ret = 0;

	units_of(p, from, to, &first, &end);
	pthread_mutex_lock(&p->lock);
	for (uint32_t u = first; u < end; u++)
		fresh += !p->unit[u].pins;
	/* without a unit to come and go nobody could touch anything else */
	if (p->most < p->units && p->pinned + fresh + SDE__PAGER_LEAST > p->most) {
		ret = sde__fail(error, -ENOMEM,
				"a range of %" PRIu32 " chunks of '%s' does not fit into the budget beside %"
				PRIu32 " that are held: it has room for %" PRIu32, end - first,
				p->source.name, p->pinned, p->most - SDE__PAGER_LEAST);
	} else {
		for (uint32_t u = first; u < end; u++)
			p->pinned += !p->unit[u].pins++;
		for (uint32_t u = first; u < end && !ret; u++)
			ret = await(p, u);
		if (ret) {
			drop_pins(p, first, end);
			sde__fail_why(error, ret, "a part of '%s' cannot be read", p->source.name);
		}
	}
	pthread_mutex_unlock(&p->lock);
	return ret;
}

int sde__pager_unpin(struct sde__pager *p, uint64_t from, uint64_t to, struct sde_error *error)
{
	uint32_t first, end;
	int ret = 0;

	units_of(p, from, to, &first, &end);
	pthread_mutex_lock(&p->lock);
	for (uint32_t u = first; u < end && !ret; u++)
		if (!p->unit[u].pins)
			ret = sde__fail(error, -EINVAL, "a part of that range of '%s' is not held",
					p->source.name);
	if (!ret)
		drop_pins(p, first, end);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

const void *sde__pager_base(const struct sde__pager *p)
{
	return p->range.base;
}

/* ------------------------------------------------------------------------
 * Beginning and end
 */

static int measure(struct sde__pager *p, size_t budget, struct sde_error *error)
{
	const struct sde__pager_source *s = &p->source;
	const uint64_t units = (s->bytes - 1) / s->unit + 1;
	uint64_t size;

	if (__builtin_mul_overflow(units, s->unit, &size) || size > PTRDIFF_MAX || units >= NOBODY)
		return sde__fail(error, -ENOMEM, "'%s' takes %" PRIu64 " bytes of addresses, more than there are",
				 s->name, s->bytes);
	/* how long an array is says a file: what is allocated for it is bounded */
	if (units * BOOKS > budget && units * BOOKS > LEAST_BOOKS)
		return sde__fail(error, -ENOMEM,
				 "a budget of %zu bytes is too small for '%s', which has %" PRIu64 " parts: it takes %"
				 PRIu64, budget, s->name, units, units * BOOKS);
	p->range = (struct sde__pager_range){ NULL, (size_t)size, s->unit };
	p->units = (uint32_t)units;
	size = budget / s->unit;
	p->most = size > MOST_UNITS + SDE__PAGER_BESIDE ? MOST_UNITS :
		  size > SDE__PAGER_BESIDE ? (uint32_t)size - SDE__PAGER_BESIDE : 0;
	if (p->most < SDE__PAGER_LEAST && p->most < p->units)
		return sde__fail(error, -ENOMEM,
				 "a budget of %zu bytes is too small for '%s', which is decompressed in parts of %zu: it takes %zu",
				 budget, s->name, s->unit,
				 (size_t)(SDE__PAGER_LEAST + SDE__PAGER_BESIDE) * s->unit);
	return 0;
}

static int choose_way(struct sde__pager *p, enum sde_paging paging, struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret = SDE_E_UNSUPPORTED;

	if (paging != SDE_PAGING_SIGNAL) {
		p->way = &sde__pager_uffd;
		ret = p->way->make(&p->self, &p->range, &why);
	}
	if (ret == SDE_E_UNSUPPORTED && paging != SDE_PAGING_USERFAULTFD) {
		p->way = &sde__pager_signal;
		return p->way->make(&p->self, &p->range, error);
	}
	return ret ? sde__fail(error, ret, "%s", why.text) : 0;
}

static int start(struct sde__pager *p, struct sde_error *error)
{
	sigset_t all, mask;
	int ret;

	p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->bell < 0)
		return sde__fail_why(error, -errno, "no eventfd");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mask);
	ret = -pthread_create(&p->thread, NULL, serve, p);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	p->started = !ret;
	return ret ? sde__fail_why(error, ret, "no thread") : 0;
}

int sde__pager_new(struct sde__pager **out, const struct sde__pager_source *source, size_t budget,
		   bool sigbus, enum sde_paging paging, struct sde_error *error)
{
	struct sde__pager *p = calloc(1, sizeof(*p));
	int ret;

	*out = NULL;
	if (!p)
		return sde__fail(error, -ENOMEM, "out of memory");
	p->source = *source;
	p->sigbus = sigbus;
	p->bell = -1;
	p->oldest = p->newest = p->wanted = NOBODY;
	p->last_touch = 0;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	ret = measure(p, budget, error);
	if (!ret) {
		/* measured: one at least
		 * NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
		p->unit = calloc(p->units, sizeof(*p->unit));
		if (!p->unit)
			ret = sde__fail(error, -ENOMEM, "out of memory");
	}
	if (!ret)
		ret = choose_way(p, paging, error);
	if (!ret)
		ret = start(p, error);
	if (ret)
		sde__pager_free(p);
	else
		*out = p;
	return ret;
}

void sde__pager_free(struct sde__pager *p)
{
	if (!p)
		return;
	if (p->started) {
		pthread_mutex_lock(&p->lock);
		p->stop = true;
		pthread_mutex_unlock(&p->lock);
		ring(p);
		pthread_join(p->thread, NULL);
	}
	if (p->self)
		p->way->close(p->self);
	if (p->bell >= 0)
		close(p->bell);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p->unit);
	free(p);
}
