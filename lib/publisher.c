/* SPDX-License-Identifier: MIT */
/* The publisher as its producer sees it. See publisher.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "publisher.h"

#include "planted.h"
#include "publisher_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t sde__publisher_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void sde__publisher_wake_all(struct sde__publisher *p)
{
	pthread_cond_broadcast(&p->encodable);
	pthread_cond_broadcast(&p->writable);
	pthread_cond_broadcast(&p->changed);
}

void sde__publisher_set_failure(struct sde__publisher *p, const struct sde_error *why)
{
	if (!p->failure.code) {
		p->failure = *why;
		__atomic_store_n(&p->failed, why->code, __ATOMIC_RELEASE);
	}
	sde__publisher_wake_all(p);
}

static void clear_failure(struct sde__publisher *p)
{
	sde__error_clear(&p->failure);
	__atomic_store_n(&p->failed, 0, __ATOMIC_RELEASE);
}

void sde__publisher_filled(struct sde__publisher *p, uint64_t chunks)
{
	pthread_mutex_lock(&p->lock);
	while (p->filled < chunks) {
		const uint64_t now = sde__publisher_now();

		p->pace.fill = now - p->pace.room_at;
		p->filled_at[p->filled++ % SDE__SEGMENTS_MAX] = now;
	}
	pthread_cond_broadcast(&p->encodable);
	/* the syncer's time */
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

uint64_t sde__publisher_limit(const struct sde__publisher *p)
{
	return __atomic_load_n(&p->sealed, __ATOMIC_ACQUIRE) + p->config.ring->layout.segments +
	       sde__planted("segment-reused-early");
}

/* For so long after a store had to wait, stores are taken to come faster than chunks go. */
#define SATURATED_NS UINT64_C(1000000000)

/*
 * Stores that come faster than chunks are sealed have to wait. If they fill the whole
 * ring first, all of it gets old there, and is synced: everything is written twice, and
 * stores wait for that, too. So they wait a little earlier: until the chunks in front can
 * be sealed soon enough for this one to be sealed within its grace. A burst that the ring
 * can take is no such case, nor are chunks that take longer than that by themselves.
 */
uint64_t sde__publisher_begin_due(const struct sde__publisher *p, uint64_t chunk, uint64_t now)
{
	const struct sde__pace *pace = &p->pace;
	const uint64_t before = chunk - p->sealed;
	uint64_t since, done;

	if (p->config.sync != SDE_SYNC_CHUNK || p->config.synchronous || !before ||
	    !pace->full_at || now - pace->full_at > SATURATED_NS)
		return 0;
	since = p->filled_at[p->sealed % SDE__SEGMENTS_MAX];
	if (since < pace->sealed_at)
		since = pace->sealed_at;
	/* when those in front will have been sealed, and this one be encoded */
	done = since + before * pace->service;
	return done + pace->service > SDE__GRACE_NS + pace->fill ?
	       done + pace->service - SDE__GRACE_NS - pace->fill : 0;
}

/* Wait for the time at which a chunk may begin, or for any change before. Lock held. */
static void wait_begin(struct sde__publisher *p, uint64_t when)
{
	const struct timespec at = { (time_t)(when / 1000000000), (long)(when % 1000000000) };

	pthread_cond_timedwait(&p->changed, &p->lock, &at);
}

/* Wait for any change; without threads, make one. Lock held. */
static void wait_change(struct sde__publisher *p)
{
	if (!p->config.synchronous) {
		pthread_cond_wait(&p->changed, &p->lock);
		return;
	}
	/* not covered: who waits has left a step to take, or one has failed */
	if (!sde__publisher_step(p, SDE__ROLES, p->raw) && !p->failure.code) {
		const struct sde_error stuck = { -EDEADLK, "the publisher has no step to take" };

		sde__publisher_set_failure(p, &stuck);
	}
}

static int take_failure(struct sde__publisher *p, struct sde_error *error)
{
	return p->failure.code ? sde__fail(error, p->failure.code, "%s", p->failure.text) : 0;
}

/* What a chunk has to wait for before it may begin; false: for nothing. Lock held. */
static bool must_wait(struct sde__publisher *p, uint64_t chunk, uint64_t now, uint64_t *until)
{
	*until = UINT64_MAX;
	if (p->failure.code)
		return false;
	if (chunk >= sde__publisher_limit(p))
		return true;
	*until = sde__publisher_begin_due(p, chunk, now);
	return *until > now;
}

int sde__publisher_room(struct sde__publisher *p, uint64_t chunk, uint64_t *waited_ns,
			struct sde_error *error)
{
	uint64_t start, now, until;
	int ret;

	pthread_mutex_lock(&p->lock);
	for (start = now = sde__publisher_now(); must_wait(p, chunk, now, &until);
	     now = sde__publisher_now()) {
		p->pace.full_at = now;
		if (until == UINT64_MAX)
			wait_change(p);
		else
			wait_begin(p, until);
	}
	*waited_ns = p->pace.full_at >= start ? now - start : 0;
	p->pace.room_at = now;
	ret = take_failure(p, error);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

static int reach(struct sde__publisher *p, const uint64_t *so_far, uint64_t snapshots,
		 struct sde_error *error)
{
	int ret;

	pthread_mutex_lock(&p->lock);
	clear_failure(p);
	p->target = snapshots;
	p->holding = so_far == &p->held;
	sde__publisher_wake_all(p);
	while (*so_far < snapshots && !p->failure.code)
		wait_change(p);
	ret = take_failure(p, error);
	p->target = 0;
	p->holding = false;
	pthread_mutex_unlock(&p->lock);
	return ret;
}

int sde__publisher_save(struct sde__publisher *p, uint64_t snapshots, struct sde_error *error)
{
	return reach(p, &p->published, snapshots, error);
}

int sde__publisher_hold(struct sde__publisher *p, uint64_t snapshots, struct sde_error *error)
{
	return reach(p, &p->held, snapshots, error);
}

int sde__publisher_failed(const struct sde__publisher *p)
{
	return __atomic_load_n(&p->failed, __ATOMIC_ACQUIRE);
}

int sde__publisher_failure(struct sde__publisher *p, struct sde_error *error)
{
	int ret;

	pthread_mutex_lock(&p->lock);
	ret = take_failure(p, error);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

void sde__publisher_fail(struct sde__publisher *p, const struct sde_error *why)
{
	pthread_mutex_lock(&p->lock);
	sde__publisher_set_failure(p, why);
	pthread_mutex_unlock(&p->lock);
}

void sde__publisher_counts(struct sde__publisher *p, struct sde__publisher_counts *counts)
{
	pthread_mutex_lock(&p->lock);
	counts->published = p->published;
	counts->held = p->held;
	counts->chunk_files = p->files;
	counts->stored_bytes = p->bytes;
	pthread_mutex_unlock(&p->lock);
}

void sde__publisher_pause(struct sde__publisher *p)
{
	pthread_mutex_lock(&p->lock);
	p->paused = true;
	while (p->active)
		pthread_cond_wait(&p->changed, &p->lock);
	pthread_mutex_unlock(&p->lock);
}
