/* SPDX-License-Identifier: MIT */
/*
 * Units under a budget, as all but the pager's own thread use them: what they ask for,
 * and how they wait for it. See pager.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pager_state.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Each unit may take two of the kernel's 65530 mappings (vm.max_map_count). */
#define MOST_UNITS 8192

/* Bytes kept of each unit, here and by its way. */
#define BOOKS (sizeof(struct sde__pager_unit) + sizeof(uint32_t))
#define LEAST_BOOKS ((uint64_t)1 << 20)

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
	struct sde__pager_hint hint;

	units_of(p, from, to, &hint.from, &hint.to);
	/* more would push out what was fetched first */
	if (hint.to - hint.from > p->most - 1)
		hint.to = hint.from + p->most - 1;
	pthread_mutex_lock(&p->lock);
	if (p->hints < SDE__HINTS)
		p->hint[(p->hint_first + p->hints++) % SDE__HINTS] = hint;
	pthread_mutex_unlock(&p->lock);
	ring(p);
}

/* Under the lock: unit u, which is pinned already, is there. */
static int await(struct sde__pager *p, uint32_t u)
{
	while (p->unit[u].state == SDE__UNIT_ABSENT) {
		/* one wish at a time: another's may be in the way */
		if (p->wanted == SDE__NOBODY) {
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

	if (__builtin_mul_overflow(units, s->unit, &size) || size > PTRDIFF_MAX ||
	    units >= SDE__NOBODY)
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
	ret = -pthread_create(&p->thread, NULL, sde__pager_serve, p);
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
	p->oldest = p->newest = p->wanted = SDE__NOBODY;
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
