/* SPDX-License-Identifier: MIT */
/*
 * A ring of blocks between the caller's thread and the workers. Guards the order
 * of the output and the bound on memory.
 *
 * Three counters run through the ring; block i lies in slot i % slots:
 *
 *	drained <= taken <= filled <= drained + slots
 *
 * filled and drained are written by the caller's thread alone, taken by the
 * workers; all under the lock, as is a slot's `done`. A slot's bytes belong to the
 * caller until filled passes it, then to the worker that took it until it is
 * done, then to the caller again.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "deflate_pipe.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct slot {
	unsigned char *raw, *packed;
	size_t raw_size, packed_size;
	uint32_t crc;
	int status;
	bool deflate, done;
};

struct worker {
	pthread_t thread;
	struct sde__pipe *pipe;
	struct sde__deflater *deflater;
};

struct sde__pipe {
	const struct sde__deflate_engine *engine;
	sde__pipe_sink *sink;
	void *ctx;
	struct slot *slot;
	size_t slots;
	size_t used;		/* bytes in the slot that is being filled */
	bool deflate;
	int status;		/* the first failure */
	struct sde__pipe_total total;

	pthread_mutex_t lock;
	pthread_cond_t work, done;
	uint64_t filled, taken, drained;
	bool stopping;

	/* worker[0].deflater is the caller's own where there are no threads */
	struct worker *worker;
	size_t places;		/* in it; the first `workers` have a thread */
	unsigned workers;
};

static void encode(struct slot *slot, struct sde__deflater *deflater)
{
	slot->crc = sde__crc32(0, slot->raw, slot->raw_size);
	slot->status = 0;
	if (slot->deflate)
		slot->status = sde__deflate_block(deflater, slot->raw, slot->raw_size,
						  slot->packed, &slot->packed_size);
	else
		slot->packed_size = slot->raw_size;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct sde__pipe *pipe = worker->pipe;

	pthread_mutex_lock(&pipe->lock);
	for (;;) {
		struct slot *slot;

		while (!pipe->stopping && pipe->taken == pipe->filled)
			pthread_cond_wait(&pipe->work, &pipe->lock);
		if (pipe->stopping)
			break;
		slot = &pipe->slot[pipe->taken++ % pipe->slots];
		pthread_mutex_unlock(&pipe->lock);
		encode(slot, worker->deflater);
		pthread_mutex_lock(&pipe->lock);
		slot->done = true;
		pthread_cond_signal(&pipe->done);
	}
	pthread_mutex_unlock(&pipe->lock);
	return NULL;
}

/* ------------------------------------------------------------------------
 * The caller's side
 */

/* Put the oldest block out. One that is not done is waited for, or left if !wait. */
static bool drain(struct sde__pipe *pipe, bool wait)
{
	struct slot *slot = &pipe->slot[pipe->drained % pipe->slots];
	bool done;

	pthread_mutex_lock(&pipe->lock);
	while (wait && !slot->done)
		pthread_cond_wait(&pipe->done, &pipe->lock);
	done = slot->done;
	pthread_mutex_unlock(&pipe->lock);
	if (!done)
		return false;
	if (!pipe->status)
		pipe->status = slot->status;
	if (!pipe->status)
		pipe->status = pipe->sink(pipe->ctx, slot->deflate ? slot->packed : slot->raw,
					  slot->packed_size);
	pipe->total.crc = sde__crc32_join(pipe->total.crc, slot->crc, slot->raw_size);
	pipe->total.raw += slot->raw_size;
	pipe->total.packed += slot->packed_size;
	slot->done = false;
	pthread_mutex_lock(&pipe->lock);
	pipe->drained++;
	pthread_mutex_unlock(&pipe->lock);
	return true;
}

/* Hand the block that was filled to the workers; afterwards the next slot is free. */
static void submit(struct sde__pipe *pipe)
{
	struct slot *slot = &pipe->slot[pipe->filled % pipe->slots];

	slot->raw_size = pipe->used;
	slot->deflate = pipe->deflate;
	pipe->used = 0;
	if (!pipe->workers) {
		encode(slot, pipe->worker[0].deflater);
		slot->done = true;
		pipe->taken++;
	}
	pthread_mutex_lock(&pipe->lock);
	pipe->filled++;
	pthread_cond_signal(&pipe->work);
	pthread_mutex_unlock(&pipe->lock);
	while (pipe->drained < pipe->filled &&
	       drain(pipe, pipe->filled - pipe->drained == pipe->slots))
		;
}

void sde__pipe_begin(struct sde__pipe *pipe, bool deflate)
{
	pipe->deflate = deflate;
	memset(&pipe->total, 0, sizeof(pipe->total));
}

int sde__pipe_append(struct sde__pipe *pipe, const void *bytes, size_t n)
{
	const unsigned char *from = bytes;

	while (n && !pipe->status) {
		struct slot *slot = &pipe->slot[pipe->filled % pipe->slots];
		const size_t room = SDE__DEFLATE_BLOCK - pipe->used;
		const size_t part = n < room ? n : room;

		memcpy(slot->raw + pipe->used, from, part);
		pipe->used += part;
		from += part;
		n -= part;
		if (pipe->used == SDE__DEFLATE_BLOCK)
			submit(pipe);
	}
	return pipe->status;
}

int sde__pipe_end(struct sde__pipe *pipe, struct sde__pipe_total *total)
{
	if (pipe->used)
		submit(pipe);
	while (pipe->drained < pipe->filled)
		drain(pipe, true);
	if (!pipe->status && pipe->deflate) {
		pipe->status = pipe->sink(pipe->ctx, sde__deflate_end, SDE__DEFLATE_END_SIZE);
		pipe->total.packed += SDE__DEFLATE_END_SIZE;
	}
	*total = pipe->total;
	return pipe->status;
}

/* ------------------------------------------------------------------------
 * Making and ending
 */

static int make_slots(struct sde__pipe *pipe, size_t count)
{
	pipe->slot = calloc(count, sizeof(*pipe->slot));
	if (!pipe->slot)
		return -ENOMEM;
	pipe->slots = count;
	for (size_t i = 0; i < count; i++) {
		pipe->slot[i].raw = malloc(SDE__DEFLATE_BLOCK);
		pipe->slot[i].packed = malloc(sde__deflate_bound(SDE__DEFLATE_BLOCK));
		if (!pipe->slot[i].raw || !pipe->slot[i].packed)
			return -ENOMEM;
	}
	return 0;
}

/* As many as can be had. A thread blocks all signals: the program's handlers are
 * not called on it. */
static void start_workers(struct sde__pipe *pipe, unsigned threads)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (pipe->workers < threads) {
		struct worker *worker = &pipe->worker[pipe->workers];

		worker->pipe = pipe;
		if (!worker->deflater && sde__deflater_create(&worker->deflater, pipe->engine))
			break;
		if (pthread_create(&worker->thread, NULL, work, worker))
			break;
		pipe->workers++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int sde__pipe_create(struct sde__pipe **out, unsigned threads,
		     const struct sde__deflate_engine *engine, sde__pipe_sink *sink, void *ctx,
		     struct sde_error *error)
{
	struct sde__pipe *pipe;
	int ret;

	if (threads > SDE__PIPE_THREADS_MAX)
		return sde__fail(error, -EINVAL, "%u threads are more than %d", threads,
				 SDE__PIPE_THREADS_MAX);
	pipe = calloc(1, sizeof(*pipe));
	if (!pipe)
		return sde__fail(error, -ENOMEM, "out of memory");
	pipe->engine = engine;
	pipe->sink = sink;
	pipe->ctx = ctx;
	pthread_mutex_init(&pipe->lock, NULL);
	pthread_cond_init(&pipe->work, NULL);
	pthread_cond_init(&pipe->done, NULL);
	pipe->worker = calloc(threads ? threads : 1, sizeof(*pipe->worker));
	ret = pipe->worker ? 0 : -ENOMEM;
	if (!ret) {
		pipe->places = threads ? threads : 1;
		ret = make_slots(pipe, threads ? 2 * (size_t)threads + 2 : 1);
	}
	if (!ret)
		ret = sde__deflater_create(&pipe->worker[0].deflater, engine);
	if (ret) {
		sde__pipe_destroy(pipe);
		return sde__fail(error, ret, "out of memory");
	}
	start_workers(pipe, threads);
	*out = pipe;
	return 0;
}

void sde__pipe_destroy(struct sde__pipe *pipe)
{
	if (!pipe)
		return;
	pthread_mutex_lock(&pipe->lock);
	pipe->stopping = true;
	pthread_cond_broadcast(&pipe->work);
	pthread_mutex_unlock(&pipe->lock);
	for (unsigned i = 0; i < pipe->workers; i++)
		pthread_join(pipe->worker[i].thread, NULL);
	pthread_cond_destroy(&pipe->done);
	pthread_cond_destroy(&pipe->work);
	pthread_mutex_destroy(&pipe->lock);
	for (size_t i = 0; i < pipe->slots; i++) {
		free(pipe->slot[i].raw);
		free(pipe->slot[i].packed);
	}
	free(pipe->slot);
	for (size_t i = 0; i < pipe->places; i++)
		sde__deflater_destroy(pipe->worker[i].deflater);
	free(pipe->worker);
	free(pipe);
}
