/* SPDX-License-Identifier: MIT */
/*
 * Who takes the publisher's steps: worker threads, the sealer, and the syncer
 * of those policies that promise a time. See publisher.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "publisher_state.h"
#include "room.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Raw bytes that are worth a step of writing. */
#define WRITE_BYTES ((uint64_t)1 << 20)

/* Two, to encode one while the other is written; of small chunks more, up to JOBS_MAX. */
#define JOBS_FEW 2

/* Chunks of which that many are in the making at a time are small. */
#define SMALL_JOBS 4
#define WRITERS 2

/* Of a thread's stack, and what malloc keeps for it, what is touched. */
#define STACK_BYTES ((uint64_t)32 << 10)

static void wait_until(struct sde__publisher *p, pthread_cond_t *cond, uint64_t when)
{
	struct timespec at;

	if (when == UINT64_MAX) {
		pthread_cond_wait(cond, &p->lock);
		return;
	}
	at.tv_sec = (time_t)(when / 1000000000);
	at.tv_nsec = (long)(when % 1000000000);
	pthread_cond_timedwait(cond, &p->lock, &at);
}

static void *work(void *arg)
{
	struct sde__worker *worker = arg;
	struct sde__publisher *p = worker->publisher;

	const bool encodes = worker->roles & SDE__ROLE_ENCODE;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		if (sde__publisher_step(p, worker->roles, worker->raw))
			continue;
		p->resting += !encodes;
		wait_until(p, encodes ? &p->encodable : &p->writable,
			   sde__publisher_wake_time(p, worker->roles));
		p->resting -= !encodes;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/*
 * When the ring is to be synced for a filled chunk. One that is encoded is on its way to
 * the device, one that is nearly so soon will be: writing it a second time would only
 * hold that up.
 */
static uint64_t chunk_due(const struct sde__publisher *p, uint64_t chunk)
{
	const uint64_t due = p->filled_at[chunk % SDE__SEGMENTS_MAX] + SDE__GRACE_NS;

	for (unsigned i = 0; i < p->jobs; i++) {
		const struct sde__job *job = &p->job[i];

		if (job->state == SDE__JOB_FREE || job->shard.index != chunk || job->lost)
			continue;
		if (job->ready == job->shard.inner_count)
			return UINT64_MAX;
		if (job->ready >= job->shard.inner_count / 2)
			return due + SDE__GRACE_NS / 2;
	}
	return due;
}

uint64_t sde__publisher_sync_due(const struct sde__publisher *p, uint64_t last, uint64_t now,
				 uint64_t *upto)
{
	const struct sde__ring *ring = p->config.ring;
	const uint64_t size = ring->layout.geometry.chunk_size;
	uint64_t chunk = sde__ring_synced(ring) / size, due;

	if (p->paused || p->failure.code)
		return UINT64_MAX;
	if (p->config.sync == SDE_SYNC_INTERVAL) {
		*upto = sde__ring_get(ring, SDE__RING_COMMITTED);
		return last + (uint64_t)p->config.sync_interval_ms * 1000000;
	}
	if (chunk < p->sealed)
		chunk = p->sealed;
	if (chunk >= p->filled)
		return UINT64_MAX;
	/* slots are synced in order: with those in front */
	while (chunk + 1 < p->filled && chunk_due(p, chunk) == UINT64_MAX)
		chunk++;
	due = chunk_due(p, chunk);
	/* with those whose time has come, or nearly; the others may yet be sealed */
	while (++chunk < p->filled && chunk_due(p, chunk) <= now + SDE__GRACE_NS / 5)
		;
	*upto = chunk * size;
	return due;
}

static void *sync_in_time(void *arg)
{
	struct sde__worker *worker = arg;
	struct sde__publisher *p = worker->publisher;
	uint64_t last = sde__publisher_now(), upto = 0;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		const uint64_t now = sde__publisher_now();
		const uint64_t due = sde__publisher_sync_due(p, last, now, &upto);
		struct sde_error why = { 0 };

		if (due > now) {
			wait_until(p, &p->changed, due);
			continue;
		}
		p->active++;
		pthread_mutex_unlock(&p->lock);
		sde__ring_sync(p->config.ring, upto, &why);
		last = sde__publisher_now();
		if (why.code)
			sde__publisher_fail(p, &why);
		pthread_mutex_lock(&p->lock);
		p->active--;
		pthread_cond_broadcast(&p->changed);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static size_t raw_bytes(const struct sde__publisher *p)
{
	return sde__shard_raw_bytes(&p->config.ring->layout, &p->config.codec);
}

static int start_thread(struct sde__publisher *p, unsigned roles, struct sde_error *error)
{
	struct sde__worker *worker = &p->worker[p->workers];
	sigset_t all, before;
	int ret;

	worker->publisher = p;
	worker->roles = roles;
	if (roles & SDE__ROLE_ENCODE) {
		worker->raw = malloc(raw_bytes(p));
		if (!worker->raw)
			return sde__fail(error, -ENOMEM, "out of memory");
	}
	/* a thread inherits the mask: the program's handlers stay on its own */
	sigfillset(&all);
	if (sde__ring_is_guarded(p->config.ring))
		sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&worker->thread, NULL, roles ? work : sync_in_time, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ret) {
		free(worker->raw);
		worker->raw = NULL;
		return sde__fail_why(error, -ret, "cannot start a thread");
	}
	p->workers++;
	return 0;
}

/*
 * How many threads write, and sync, beside the workers and the sealer. A small chunk takes
 * the sealer longer to sync than to write, and a device takes several at a time. Large
 * ones keep it busy by themselves, and without a device there is nothing to wait for.
 */
static unsigned writers_for(const struct sde__publisher *p)
{
	return p->durable && p->jobs >= SMALL_JOBS && sde__ring_has_device(p->config.ring) ?
	       WRITERS : 0;
}

static int start_threads(struct sde__publisher *p, struct sde_error *error)
{
	const bool timed = p->config.sync == SDE_SYNC_CHUNK || p->config.sync == SDE_SYNC_INTERVAL;
	const unsigned writers = writers_for(p);
	int ret = 0;

	if (p->config.synchronous) {
		p->raw = malloc(raw_bytes(p));
		return p->raw ? 0 : sde__fail(error, -ENOMEM, "out of memory");
	}
	p->worker = calloc((size_t)p->config.threads + 2 + writers, sizeof(*p->worker));
	if (!p->worker)
		return sde__fail(error, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < p->config.threads && !ret; i++)
		ret = start_thread(p, SDE__ROLE_ENCODE | SDE__ROLE_WRITE, error);
	if (!ret)
		ret = start_thread(p, SDE__ROLE_SEAL | SDE__ROLE_WRITE, error);
	for (unsigned i = 0; i < writers && !ret; i++)
		ret = start_thread(p, SDE__ROLE_WRITE | SDE__ROLE_END, error);
	if (!ret && timed)
		ret = start_thread(p, 0, error);
	return ret;
}

/* The state of a publisher that has published config.metadata->snapshots. */
static int begin_from(struct sde__publisher *p, struct sde_error *error)
{
	const struct sde__publisher_config *c = &p->config;
	const uint64_t snapshots = c->metadata->snapshots;
	const uint64_t chunks = snapshots / c->metadata->geometry.chunk_size;
	const struct sde__series_files time = sde__series_files(c->home, SDE__COLUMN_TIME);
	const struct sde__series_files iteration =
		sde__series_files(c->home, SDE__COLUMN_ITERATION);
	int ret;

	sde__publisher_drop_jobs(p);
	p->filled = p->begun = chunks;
	__atomic_store_n(&p->sealed, chunks, __ATOMIC_RELEASE);
	p->held = p->published = snapshots;
	p->holding = false;
	p->target = p->partial_begun = 0;
	p->last_file = UINT64_MAX;
	p->last_bytes = 0;
	if (c->group && !c->group->leads)
		return 0;
	ret = sde__series_open(&p->time, &time, snapshots, p->durable, error);
	if (!ret)
		ret = sde__series_open(&p->iteration, &iteration, snapshots, p->durable, error);
	return ret;
}

static void init_locks(struct sde__publisher *p)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&p->encodable, &monotonic);
	pthread_cond_init(&p->writable, &monotonic);
	pthread_cond_init(&p->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static int init_jobs(struct sde__publisher *p, struct sde_error *error)
{
	const struct sde__publisher_config *c = &p->config;
	int ret = 0;

	p->jobs = sde__room_count(sde__shard_memory(&c->ring->layout, &c->codec), JOBS_FEW,
				  SDE__JOBS_MAX);
	for (unsigned i = 0; i < p->jobs && !ret; i++) {
		struct sde__job *job = &p->job[i];

		ret = sde__shard_init(&job->shard, c->home, &c->ring->layout, &c->codec, error);
		if (ret)
			return ret;
		job->shard.guarded = sde__ring_is_guarded(c->ring);
		job->enough = 1 + WRITE_BYTES / sde__inner_bytes(&c->ring->layout.geometry);
		job->finished = calloc((size_t)job->shard.inner_count, sizeof(*job->finished));
		if (!job->finished)
			ret = sde__fail(error, -ENOMEM, "out of memory");
	}
	return ret;
}

int sde__publisher_start(struct sde__publisher **out, const struct sde__publisher_config *config,
			 struct sde_error *error)
{
	struct sde__publisher *p = calloc(1, sizeof(*p));
	int ret = 0;

	*out = NULL;
	if (!p)
		return sde__fail(error, -ENOMEM, "out of memory");
	p->config = *config;
	p->durable = config->sync != SDE_SYNC_NONE;
	init_locks(p);
	ret = init_jobs(p, error);
	if (!ret)
		ret = begin_from(p, error);
	if (!ret)
		ret = start_threads(p, error);
	if (ret) {
		sde__publisher_stop(p);
		return ret;
	}
	*out = p;
	return 0;
}

void sde__publisher_add_counts(struct sde__publisher *p, uint64_t chunk_files,
			       uint64_t stored_bytes)
{
	pthread_mutex_lock(&p->lock);
	p->files = chunk_files;
	p->bytes = stored_bytes;
	pthread_mutex_unlock(&p->lock);
}

int sde__publisher_reset(struct sde__publisher *p, struct sde_error *error)
{
	int ret;

	pthread_mutex_lock(&p->lock);
	ret = begin_from(p, error);
	p->paused = false;
	sde__publisher_wake_all(p);
	pthread_mutex_unlock(&p->lock);
	return ret;
}

uint64_t sde__publisher_memory(const struct sde__slot_layout *layout,
			       const struct sde__codec *codec, unsigned threads)
{
	const size_t raw = sde__shard_raw_bytes(layout, codec);
	const unsigned others = 2 + WRITERS;	/* sealer and syncer */

	return sizeof(struct sde__publisher) +
	       sde__room_bytes(sde__shard_memory(layout, codec), JOBS_FEW, SDE__JOBS_MAX) +
	       (uint64_t)threads * ((uint64_t)raw + sde__codec_memory(codec, sde__inner_bytes(&layout->geometry))) +
	       ((uint64_t)threads + others) * STACK_BYTES;
}

void sde__publisher_stop(struct sde__publisher *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	sde__publisher_wake_all(p);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->workers; i++) {
		pthread_join(p->worker[i].thread, NULL);
		free(p->worker[i].raw);
	}
	for (unsigned i = 0; i < p->jobs; i++) {
		sde__shard_free(&p->job[i].shard);
		free(p->job[i].finished);
	}
	pthread_cond_destroy(&p->encodable);
	pthread_cond_destroy(&p->writable);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	free(p->worker);
	free(p->raw);
	free(p);
}
