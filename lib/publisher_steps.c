/* SPDX-License-Identifier: MIT */
/*
 * The publisher's steps and the state they work on. See publisher.h.
 *
 * Who may touch what:
 *	lock		guards all fields of struct sde__publisher not marked
 *	a job's shard	the workers while MAKING, each its own inner chunk; who has
 *			set `writing` those that are ready; the sealer while SEALING
 *	series		the sealer, and recycled_at
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "planted.h"
#include "publisher_state.h"

#include <string.h>

#define PUBLISH_PERIOD_NS UINT64_C(200000000)

/* The kernel writes back what has been dirty for 30 s, and looks every 5 (sysctl vm). */
#define RECYCLE_PERIOD_NS UINT64_C(1000000000)

static uint64_t chunk_size(const struct sde__publisher *p)
{
	return p->config.metadata->geometry.chunk_size;
}

static struct sde__stamp stamp_of(const struct sde__publisher *p)
{
	return (struct sde__stamp){ p->config.metadata->epoch, p->config.run };
}

/* The first snapshot that is not in this chunk any more. */
static uint64_t first_behind(const struct sde__publisher *p, const struct sde__shard *shard)
{
	return shard->index * chunk_size(p) + shard->count;
}

/* Of the jobs that `is`, the one with the lowest chunk. */
static struct sde__job *first_job(struct sde__publisher *p, bool (*is)(const struct sde__job *))
{
	struct sde__job *found = NULL;

	for (unsigned i = 0; i < p->jobs; i++) {
		struct sde__job *job = &p->job[i];

		if (is(job) && (!found || job->shard.index < found->shard.index))
			found = job;
	}
	return found;
}

/* ------------------------------------------------------------------------
 * Encoding
 */

static bool has_to_encode(const struct sde__job *job)
{
	return job->state == SDE__JOB_MAKING && job->next < job->shard.inner_count;
}

static void start_over(struct sde__job *job)
{
	job->state = SDE__JOB_MAKING;
	job->next = job->done = job->ready = 0;
	memset(job->finished, 0, (size_t)job->shard.inner_count * sizeof(*job->finished));
	job->writing = job->lost = false;
}

/* One that may be begun: there is at most one job for a chunk. */
static struct sde__job *free_job(struct sde__publisher *p, uint64_t chunk)
{
	struct sde__job *found = NULL;

	for (unsigned i = 0; i < p->jobs; i++) {
		if (p->job[i].state == SDE__JOB_FREE)
			found = found ? found : &p->job[i];
		else if (p->job[i].shard.index == chunk)
			return NULL;
	}
	return found;
}

/* Begin on the next chunk: a filled one, or the incomplete one save asks for. */
static struct sde__job *job_begin(struct sde__publisher *p)
{
	struct sde__job *job = free_job(p, p->begun);
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
	start_over(job);
	sde__shard_begin(&job->shard, p->begun, count,
			 sde__ring_slot(p->config.ring, p->begun * size));
	if (count == size)
		p->begun++;
	return job;
}

static bool is_writable(const struct sde__job *job)
{
	const struct sde__shard *shard = &job->shard;
	const uint64_t all = shard->inner_count;

	if (job->state != SDE__JOB_MAKING || job->writing)
		return false;
	if (job->lost)
		return job->done == all;
	return job->ready == all || (job->ready - shard->put >= job->enough && !shard->whole_only);
}

/*
 * Is the inner chunk taken next to be put into the file at once? Where nobody waits for
 * something to write that is better than to leave it in memory.
 */
static bool may_pass(const struct sde__publisher *p, const struct sde__job *job)
{
	/* of one that is lost nothing is put any more */
	return p->config.codec.id == SDE_CODEC_NONE && !p->resting && !job->writing &&
	       job->next == job->shard.put;
}

static bool step_encode(struct sde__publisher *p, void *raw)
{
	const struct sde__stamp stamp = stamp_of(p);
	struct sde_error why = { 0 };
	struct sde__job *job;
	uint64_t inner;
	bool pass;

	job = first_job(p, has_to_encode);
	if (!job)
		job = job_begin(p);
	if (!job)
		return false;
	pass = may_pass(p, job);
	inner = job->next++;
	job->writing |= pass;
	pthread_mutex_unlock(&p->lock);
	if (pass)
		sde__shard_pass(&job->shard, raw, &stamp, p->durable, &why);
	else
		sde__shard_encode(&job->shard, inner, raw, &why);
	pthread_mutex_lock(&p->lock);
	if (pass)
		job->writing = false;
	job->done++;
	job->finished[inner] = true;
	if (why.code) {
		job->lost = true;
		sde__publisher_set_failure(p, &why);
	}
	while (job->ready < job->shard.inner_count && job->finished[job->ready])
		job->ready++;
	if (is_writable(job))
		pthread_cond_broadcast(&p->writable);
	return true;
}

/* ------------------------------------------------------------------------
 * Writing
 */

static bool step_write(struct sde__publisher *p)
{
	struct sde__job *job = first_job(p, is_writable);
	struct sde_error why = { 0 };
	uint64_t upto;
	bool lost;

	if (!job)
		return false;
	job->writing = true;
	upto = job->ready;
	/* not all at once: there may be something to encode then */
	if (upto - job->shard.put > 4 * job->enough && !job->shard.whole_only)
		upto = job->shard.put + 4 * job->enough;
	lost = job->lost;
	pthread_mutex_unlock(&p->lock);
	if (lost) {
		sde__shard_drop(&job->shard);
	} else {
		const struct sde__stamp stamp = stamp_of(p);

		sde__shard_put(&job->shard, upto, &stamp, p->durable, &why);
	}
	pthread_mutex_lock(&p->lock);
	job->writing = false;
	if (why.code) {
		job->lost = true;
		sde__publisher_set_failure(p, &why);
	} else if (lost) {
		/* the failure is cleared: once more, from the ring */
		start_over(job);
		pthread_cond_broadcast(&p->encodable);
	} else if (job->shard.put == job->shard.inner_count) {
		job->state = SDE__JOB_MADE;
	}
	pthread_cond_broadcast(&p->writable);
	return true;
}

/* What failed behind the last inner chunk is made again, once the failure is cleared. */
static void lose(struct sde__job *job)
{
	job->state = SDE__JOB_MAKING;
	job->lost = true;
}

static bool has_to_end(const struct sde__job *job)
{
	return job->state == SDE__JOB_MADE && sde__shard_is_open(&job->shard);
}

/* Sync what nobody seals yet, so that who seals it need not. */
static bool step_end(struct sde__publisher *p)
{
	struct sde__job *job = first_job(p, has_to_end);
	struct sde_error why = { 0 };

	if (!job)
		return false;
	job->state = SDE__JOB_ENDING;
	pthread_mutex_unlock(&p->lock);
	sde__shard_end(&job->shard, p->durable, &why);
	pthread_mutex_lock(&p->lock);
	job->state = SDE__JOB_MADE;
	if (why.code) {
		lose(job);
		sde__publisher_set_failure(p, &why);
	}
	pthread_cond_broadcast(&p->writable);
	return true;
}

/* ------------------------------------------------------------------------
 * Sealing
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

/* For one chunk that has its name: its times, and word to the other ranks. */
static int note_chunk(struct sde__publisher *p, struct sde__job *job, struct sde_error *error)
{
	const struct sde__publisher_group *group = p->config.group;
	int ret = 0;

	if (!group || group->leads)
		ret = append_series(p, &job->shard, error);
	if (!ret && group)
		ret = group->report(group->ctx, first_behind(p, &job->shard), error);
	return ret;
}

/* Files and names for `count` chunks, as far as that succeeds, one sync of all names: how many. */
static unsigned enter_all(struct sde__publisher *p, struct sde__job **made, unsigned count,
			 uint64_t *size, struct sde_error *error)
{
	unsigned ended = 0, entered = 0;

	while (ended < count && !sde__shard_end(&made[ended]->shard, p->durable, error))
		ended++;
	while (entered < ended && !sde__shard_enter(&made[entered]->shard, p->durable,
						    &size[entered], error))
		entered++;
	if (entered && p->durable && sde__shard_sync_names(p->config.home, error))
		return 0;
	return entered;
}

/*
 * Make a segment's pages writable again, unless they are: nobody has synced them, and the
 * kernel does not write back what was made dirty a moment ago. To look at each page of a
 * segment that is used again every 10 ms took 4 % of what could be stored.
 */
static int recycle(struct sde__publisher *p, uint64_t chunk, struct sde_error *error)
{
	struct sde__ring *ring = p->config.ring;
	uint64_t *last = &p->recycled_at[chunk % ring->layout.segments];
	const uint64_t now = sde__publisher_now();
	int ret;

	/* without threads there is no clock either */
	if (!p->config.synchronous && *last && now - *last < RECYCLE_PERIOD_NS &&
	    sde__ring_synced(ring) <= chunk * chunk_size(p))
		return 0;
	ret = sde__ring_recycle(ring, chunk, error);
	*last = ret ? 0 : now;
	return ret;
}

/* The segments of the chunks from .. upto - 1, all entered, may be used again. */
static int release(struct sde__publisher *p, uint64_t from, uint64_t upto, struct sde_error *error)
{
	int ret;

	ret = sde__ring_seal(p->config.ring, upto * chunk_size(p), p->durable, error);
	/* only a matter of speed, but a full disk must not become SIGBUS */
	for (; from < upto && !ret; from++)
		ret = recycle(p, from, error);
	return ret;
}

/* The jobs made that come next, in order: one sync of the ring's header is enough for them. */
static unsigned take_made(struct sde__publisher *p, struct sde__job *made[SDE__JOBS_MAX])
{
	unsigned count = 0;

	for (uint64_t chunk = p->sealed;; chunk++) {
		struct sde__job *job = NULL;

		for (unsigned i = 0; i < p->jobs && !job; i++)
			if (p->job[i].state == SDE__JOB_MADE &&
			    (p->job[i].shard.index == chunk || sde__planted("sealed-out-of-order")))
				job = &p->job[i];
		if (!job)
			return count;
		job->state = SDE__JOB_SEALING;
		made[count++] = job;
	}
}

/* How long it takes to seal a chunk, while there is always one to seal. */
static void note_pace(struct sde__publisher *p, uint64_t from, uint64_t upto)
{
	const uint64_t now = sde__publisher_now();
	uint64_t since = p->filled_at[from % SDE__SEGMENTS_MAX], each;

	if (since < p->pace.sealed_at)
		since = p->pace.sealed_at;
	each = (now - since) / (upto - from);
	p->pace.service = p->pace.service ? (3 * p->pace.service + each) / 4 : each;
	p->pace.sealed_at = now;
}

static void account(struct sde__publisher *p, struct sde__job *job, uint64_t file_size)
{
	const uint64_t index = job->shard.index;

	if (p->last_file != index)
		p->files += sde__shard_files(p->config.home, &p->config.metadata->geometry);
	p->bytes += file_size - (p->last_file == index ? p->last_bytes : 0);
	p->last_file = index;
	p->last_bytes = file_size;
	p->held = first_behind(p, &job->shard);
	if (p->config.group && !p->config.group->leads)
		p->published = p->held;
	if (job->shard.count == chunk_size(p))
		__atomic_store_n(&p->sealed, index + 1, __ATOMIC_RELEASE);
	job->state = SDE__JOB_FREE;
}

static bool step_seal(struct sde__publisher *p)
{
	struct sde__job *made[SDE__JOBS_MAX];
	uint64_t size[SDE__JOBS_MAX], upto = p->sealed;
	const uint64_t from = p->sealed;
	const unsigned count = take_made(p, made);
	struct sde_error why = { 0 };
	unsigned named, entered = 0;

	if (!count)
		return false;
	pthread_mutex_unlock(&p->lock);
	if (sde__planted("sealed-before-file") && made[0]->shard.count == chunk_size(p))
		sde__ring_seal(p->config.ring, (from + 1) * chunk_size(p), p->durable, NULL);
	named = enter_all(p, made, count, size, &why);
	while (entered < named && !note_chunk(p, made[entered], &why))
		upto += made[entered++]->shard.count == chunk_size(p);
	if (upto > from) {
		struct sde_error other = { 0 };

		if (release(p, from, upto, &other)) {
			why = other;
			entered = 0;
		}
	}
	pthread_mutex_lock(&p->lock);
	if (upto > from && entered)
		note_pace(p, from, upto);
	for (unsigned i = 0; i < entered; i++)
		account(p, made[i], size[i]);
	for (unsigned i = entered; i < count; i++)
		lose(made[i]);
	if (why.code)
		sde__publisher_set_failure(p, &why);
	pthread_cond_broadcast(&p->encodable);
	pthread_cond_broadcast(&p->changed);
	return true;
}

/* ------------------------------------------------------------------------
 * Publishing
 */

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
		sde__publisher_set_failure(p, &why);
	else
		p->published = snapshots;
	pthread_cond_broadcast(&p->changed);
	return true;
}

bool sde__publisher_step(struct sde__publisher *p, unsigned roles, void *raw)
{
	bool did = false;

	if (p->failure.code || p->paused)
		return false;
	p->active++;
	/* the metadata when their time has come, even if there is always a chunk to seal */
	if (roles & SDE__ROLE_SEAL)
		did = step_publish(p) || step_seal(p);
	if (!did && roles & SDE__ROLE_ENCODE)
		did = step_encode(p, raw);
	if (!did && roles & SDE__ROLE_WRITE)
		did = step_write(p);
	if (!did && roles & SDE__ROLE_END)
		did = step_end(p);
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

void sde__publisher_drop_jobs(struct sde__publisher *p)
{
	for (unsigned i = 0; i < p->jobs; i++) {
		if (p->job[i].state != SDE__JOB_FREE)
			sde__shard_drop(&p->job[i].shard);
		p->job[i].state = SDE__JOB_FREE;
	}
}
