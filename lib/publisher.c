/* SPDX-License-Identifier: MIT */
/*
 * The publisher's steps and the state they work on. See publisher.h.
 *
 * Who may touch what:
 *	lock		guards all fields of struct sde__publisher not marked
 *	a job's shard	the workers while ENCODING (each its own inner chunk),
 *			the sealer while SEALING; nobody else
 *	series		the sealer
 */
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

#define PUBLISH_PERIOD_NS UINT64_C(200000000)

uint64_t sde__publisher_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t chunk_size(const struct sde__publisher *p)
{
	return p->config.metadata->geometry.chunk_size;
}

static void set_failure(struct sde__publisher *p, const struct sde_error *why)
{
	if (!p->failure.code) {
		p->failure = *why;
		__atomic_store_n(&p->failed, why->code, __ATOMIC_RELEASE);
	}
	pthread_cond_broadcast(&p->changed);
}

static void clear_failure(struct sde__publisher *p)
{
	sde__error_clear(&p->failure);
	__atomic_store_n(&p->failed, 0, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------------
 * Encoding
 */

static struct sde__job *job_with(struct sde__publisher *p, enum sde__job_state state)
{
	struct sde__job *found = NULL;

	for (int i = 0; i < SDE__JOBS; i++) {
		struct sde__job *job = &p->job[i];

		if (job->state == state && (!found || job->shard.index < found->shard.index))
			found = job;
	}
	return found;
}

/* A job that still has inner chunks nobody has taken. */
static struct sde__job *job_to_encode(struct sde__publisher *p)
{
	struct sde__job *found = NULL;

	for (int i = 0; i < SDE__JOBS; i++) {
		struct sde__job *job = &p->job[i];

		if (job->state == SDE__JOB_ENCODING && job->next < job->shard.inner_count &&
		    (!found || job->shard.index < found->shard.index))
			found = job;
	}
	return found;
}

/* Begin on the next chunk: a filled one, or the incomplete one save asks for. */
static struct sde__job *job_begin(struct sde__publisher *p)
{
	struct sde__job *job = job_with(p, SDE__JOB_FREE);
	const uint64_t size = chunk_size(p);
	uint64_t count = size;

	if (!job)
		return NULL;
	if (p->begun == p->filled) {
		/* an incomplete chunk is begun once for every save */
		if (p->target <= p->begun * size || p->partial_begun >= p->target)
			return NULL;
		count = p->target - p->begun * size;
		p->partial_begun = p->target;
	}
	job->state = SDE__JOB_ENCODING;
	job->next = job->done = 0;
	sde__shard_begin(&job->shard, p->begun, count,
			 sde__ring_slot(p->config.ring, p->begun * size));
	if (count == size)
		p->begun++;
	return job;
}

static bool step_encode(struct sde__publisher *p, void *raw)
{
	struct sde_error why = { 0 };
	struct sde__job *job;
	uint64_t inner;

	job = job_to_encode(p);
	if (!job)
		job = job_begin(p);
	if (!job)
		return false;
	inner = job->next++;
	pthread_mutex_unlock(&p->lock);
	sde__shard_encode(&job->shard, inner, raw, &why);
	pthread_mutex_lock(&p->lock);
	if (why.code) {
		job->lost = true;
		set_failure(p, &why);
	}
	if (++job->done == job->shard.inner_count) {
		job->state = SDE__JOB_ENCODED;
		pthread_cond_broadcast(&p->changed);
	}
	return true;
}

/* ------------------------------------------------------------------------
 * Sealing and publishing
 */

/* The chunk's times and iteration numbers, as far as the series lack them. */
static int append_series(struct sde__publisher *p, const struct sde__shard *shard,
			 struct sde_error *error)
{
	const uint64_t first = shard->index * chunk_size(p);
	uint64_t bits;
	int ret = 0;

	for (uint64_t i = p->time.count - first; i < shard->count && !ret; i++) {
		memcpy(&bits, &shard->side.time[i], sizeof(bits));
		ret = sde__series_append(&p->time, bits, error);
	}
	for (uint64_t i = p->iteration.count - first; i < shard->count && !ret; i++)
		ret = sde__series_append(&p->iteration, (uint64_t)shard->side.iteration[i], error);
	return ret;
}

/* The first snapshot that is not in this chunk any more. */
static uint64_t first_behind(const struct sde__publisher *p, const struct sde__shard *shard)
{
	return shard->index * chunk_size(p) + shard->count;
}

static int seal(struct sde__publisher *p, struct sde__job *job, uint64_t *file_size,
		struct sde_error *error)
{
	const struct sde__publisher_config *c = &p->config;
	struct sde__shard *shard = &job->shard;
	int ret;

	if (sde__planted("sealed-before-file") && shard->count == chunk_size(p))
		sde__ring_seal(c->ring, (shard->index + 1) * chunk_size(p), p->durable, NULL);
	ret = sde__shard_write(shard, c->metadata->epoch, c->run, p->durable, file_size, error);
	if (!ret && (!c->group || c->group->leads))
		ret = append_series(p, shard, error);
	if (!ret && c->group)
		ret = c->group->report(c->group->ctx, first_behind(p, shard), error);
	if (ret || shard->count < chunk_size(p))
		return ret;
	ret = sde__ring_seal(c->ring, (shard->index + 1) * chunk_size(p), p->durable, error);
	/* only a matter of speed, but a full disk must not become SIGBUS */
	return ret ? ret : sde__ring_recycle(c->ring, shard->index, error);
}

/* An encoding that failed is begun again when save clears the failure. */
static void redo(struct sde__job *job)
{
	job->state = SDE__JOB_ENCODING;
	job->next = job->done = 0;
	job->lost = false;
}

static bool step_seal(struct sde__publisher *p)
{
	struct sde__job *job = job_with(p, SDE__JOB_ENCODED);
	struct sde_error why = { 0 };
	uint64_t file_size = 0;
	bool partial;

	if (!job || job->shard.index != p->sealed)
		return false;
	if (job->lost) {
		redo(job);
		return true;
	}
	job->state = SDE__JOB_SEALING;
	partial = job->shard.count < chunk_size(p);
	pthread_mutex_unlock(&p->lock);
	seal(p, job, &file_size, &why);
	pthread_mutex_lock(&p->lock);
	if (why.code) {
		job->state = SDE__JOB_ENCODED;
		set_failure(p, &why);
		return true;
	}
	job->state = SDE__JOB_FREE;
	if (p->last_file != job->shard.index)
		p->files += sde__shard_files(p->config.home, &p->config.metadata->geometry);
	p->bytes += file_size - (p->last_file == job->shard.index ? p->last_bytes : 0);
	p->last_file = job->shard.index;
	p->last_bytes = file_size;
	p->held = first_behind(p, &job->shard);
	if (p->config.group && !p->config.group->leads)
		p->published = p->held;
	if (!partial)
		__atomic_store_n(&p->sealed, job->shard.index + 1, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&p->changed);
	return true;
}

static int publish(struct sde__publisher *p, uint64_t snapshots, struct sde_error *error)
{
	struct sde__metadata metadata = *p->config.metadata;	/* borrowed texts */
	int ret;

	ret = sde__planted("time-not-flushed") ? 0 : sde__series_flush(&p->time, error);
	if (!ret)
		ret = sde__series_flush(&p->iteration, error);
	metadata.snapshots = snapshots;
	if (sde__planted("shape-before-data") && snapshots < p->filled * chunk_size(p))
		metadata.snapshots = p->filled * chunk_size(p);
	return ret ? ret : sde__documents_write(p->config.home, &metadata, false, p->durable, error);
}

/* When the metadata may be written next; UINT64_MAX if there is nothing new. */
static uint64_t publish_due(const struct sde__publisher *p)
{
	if (p->held <= p->published)
		return UINT64_MAX;
	return !p->holding && p->held >= p->target && p->target > p->published ? 0 :
	       p->published_at + PUBLISH_PERIOD_NS;
}

/* How far the metadata may go: to what this column holds, and all others, too. */
static uint64_t publishable(struct sde__publisher *p)
{
	const struct sde__publisher_group *group = p->config.group;
	const uint64_t held = p->held;
	uint64_t common = held;

	if (group && !sde__planted("others-not-asked")) {
		pthread_mutex_unlock(&p->lock);
		common = group->common(group->ctx);
		pthread_mutex_lock(&p->lock);
	}
	return common < held ? common : held;
}

static bool step_publish(struct sde__publisher *p)
{
	const uint64_t due = publish_due(p);
	uint64_t snapshots;
	struct sde_error why = { 0 };
	uint64_t now;

	if (due == UINT64_MAX)
		return false;
	/* without threads there is no clock either: save publishes */
	if (due && (p->config.synchronous || due > sde__publisher_now()))
		return false;
	snapshots = publishable(p);
	if (snapshots <= p->published) {
		p->published_at = sde__publisher_now();	/* ask again in a while */
		return false;
	}
	pthread_mutex_unlock(&p->lock);
	publish(p, snapshots, &why);
	now = sde__publisher_now();
	pthread_mutex_lock(&p->lock);
	p->published_at = now;
	if (why.code)
		set_failure(p, &why);
	else
		p->published = snapshots;
	pthread_cond_broadcast(&p->changed);
	return true;
}

/* Take one step of these roles, if there is one to take. */
bool sde__publisher_step(struct sde__publisher *p, unsigned roles, void *raw)
{
	bool did = false;

	if (p->failure.code || p->paused)
		return false;
	p->active++;
	if (roles & SDE__ROLE_SEAL)
		/* the metadata when their time has come, even if there is always a
		 * chunk to seal */
		did = step_publish(p) || step_seal(p);
	if (!did && roles & SDE__ROLE_ENCODE)
		did = step_encode(p, raw);
	p->active--;
	if (!p->active && p->paused)
		pthread_cond_broadcast(&p->changed);
	return did;
}

/* What a thread without work waits for: a change, or the metadata's time. */
uint64_t sde__publisher_wake_time(const struct sde__publisher *p, unsigned roles)
{
	if (p->failure.code || p->paused || !(roles & SDE__ROLE_SEAL))
		return UINT64_MAX;
	return publish_due(p);
}

/* ------------------------------------------------------------------------
 * The producer's side
 */

void sde__publisher_filled(struct sde__publisher *p, uint64_t chunks)
{
	pthread_mutex_lock(&p->lock);
	while (p->filled < chunks)
		p->filled_at[p->filled++ % SDE__SEGMENTS_MAX] = sde__publisher_now();
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

uint64_t sde__publisher_limit(const struct sde__publisher *p)
{
	return __atomic_load_n(&p->sealed, __ATOMIC_ACQUIRE) + p->config.ring->layout.segments +
	       sde__planted("segment-reused-early");
}

/* Wait for any change; without threads, make one. Lock held. */
static void wait_change(struct sde__publisher *p)
{
	if (!p->config.synchronous) {
		pthread_cond_wait(&p->changed, &p->lock);
		return;
	}
	/* not covered: who waits has left a step to take, or one has failed */
	if (!sde__publisher_step(p, SDE__ROLE_SEAL | SDE__ROLE_ENCODE, p->raw) && !p->failure.code) {
		const struct sde_error stuck = { -EDEADLK, "the publisher has no step to take" };

		set_failure(p, &stuck);
	}
}

static int take_failure(struct sde__publisher *p, struct sde_error *error)
{
	return p->failure.code ? sde__fail(error, p->failure.code, "%s", p->failure.text) : 0;
}

int sde__publisher_room(struct sde__publisher *p, uint64_t chunk, uint64_t *waited_ns,
			struct sde_error *error)
{
	uint64_t start = 0;
	int ret;

	*waited_ns = 0;
	pthread_mutex_lock(&p->lock);
	while (chunk >= sde__publisher_limit(p) && !p->failure.code) {
		if (!start)
			start = sde__publisher_now();
		wait_change(p);
	}
	ret = take_failure(p, error);
	pthread_mutex_unlock(&p->lock);
	if (start)
		*waited_ns = sde__publisher_now() - start;
	return ret;
}

static int reach(struct sde__publisher *p, const uint64_t *so_far, uint64_t snapshots,
		 struct sde_error *error)
{
	int ret;

	pthread_mutex_lock(&p->lock);
	/* a chunk whose writing failed is encoded afresh from the ring */
	if (p->failure.code)
		for (int i = 0; i < SDE__JOBS; i++)
			if (p->job[i].state == SDE__JOB_ENCODED)
				redo(&p->job[i]);
	clear_failure(p);
	p->target = snapshots;
	p->holding = so_far == &p->held;
	pthread_cond_broadcast(&p->changed);
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
	set_failure(p, why);
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
