/* SPDX-License-Identifier: MIT */
/*
 * A ring of blocks between the caller's thread and the workers. Guards the order
 * of the output and the bound on memory.
 *
 * Three counters run through the ring; block i lies in slot i % slots:
 *
 *	drained <= taken <= filled <= drained + slots
 *
 * all written under the lock, as is a slot's `done`. A slot belongs to the caller
 * until filled passes it, then to the worker that took it until it is done, then
 * to whoever is draining, and to the caller again when drained has passed it. Its
 * input lies in one of the two buffers, which may be filled anew when drained has
 * passed the last block cut from it.
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

#define SLOTS_MOST 32	/* for the sake of a large buffer */

struct slot {
	const unsigned char *raw;	/* in a buffer */
	unsigned char *packed;
	size_t raw_size, packed_size;
	uint32_t crc;
	int status;
	bool deflate, done;
};

/* Input: bytes [0, cut) are in blocks, [cut, used) wait for a block to be full. */
struct buffer {
	unsigned char *bytes;
	size_t used, cut;
	uint64_t end;			/* number behind its last block */
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
	/* the caller's */
	struct buffer buffer[2];
	size_t room;			/* of a buffer */
	unsigned filling;		/* which */
	bool deflate;

	pthread_mutex_t lock;		/* guards what is below */
	pthread_cond_t work, moved;	/* filled grew; drained grew */
	struct slot *slot;
	size_t slots;
	uint64_t filled, taken, drained;
	bool draining;			/* a thread is putting block `drained` out */
	bool stopping;
	int status;			/* the first failure */
	struct sde__pipe_total total;	/* of who is draining */

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

/* ------------------------------------------------------------------------
 * Putting out. With the lock.
 */

static int put_out(struct sde__pipe *pipe, const struct slot *slot, int status)
{
	if (!status)
		status = slot->status;
	if (!status)
		status = pipe->sink(pipe->ctx, slot->deflate ? slot->packed : slot->raw,
				    slot->packed_size);
	pipe->total.crc = sde__crc32_join(pipe->total.crc, slot->crc, slot->raw_size);
	pipe->total.raw += slot->raw_size;
	pipe->total.packed += slot->packed_size;
	return status;
}

/* Put out what is done, oldest first, unless another thread is at it. */
static void drain(struct sde__pipe *pipe)
{
	while (!pipe->draining && pipe->drained < pipe->filled) {
		struct slot *slot = &pipe->slot[pipe->drained % pipe->slots];
		int status = pipe->status;

		if (!slot->done)
			break;
		pipe->draining = true;
		pthread_mutex_unlock(&pipe->lock);
		status = put_out(pipe, slot, status);
		pthread_mutex_lock(&pipe->lock);
		pipe->draining = false;
		pipe->status = status;
		slot->done = false;
		pipe->drained++;
		pthread_cond_broadcast(&pipe->moved);
	}
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
		drain(pipe);
	}
	pthread_mutex_unlock(&pipe->lock);
	return NULL;
}

/* ------------------------------------------------------------------------
 * The caller's side
 */

/* Until all blocks below `upto` are out. With the lock. */
static void wait_drained(struct sde__pipe *pipe, uint64_t upto)
{
	drain(pipe);
	while (pipe->drained < upto) {
		pthread_cond_wait(&pipe->moved, &pipe->lock);
		drain(pipe);
	}
}

/* Hand the buffer's next n bytes to the workers; afterwards the next slot is free. */
static int submit(struct sde__pipe *pipe, size_t n)
{
	struct buffer *buffer = &pipe->buffer[pipe->filling];
	struct slot *slot = &pipe->slot[pipe->filled % pipe->slots];
	int status;

	slot->raw = buffer->bytes + buffer->cut;
	slot->raw_size = n;
	slot->deflate = pipe->deflate;
	buffer->cut += n;
	buffer->end = pipe->filled + 1;
	if (!pipe->workers) {
		encode(slot, pipe->worker[0].deflater);
		slot->done = true;
		pipe->taken++;
	}
	pthread_mutex_lock(&pipe->lock);
	pipe->filled++;
	pthread_cond_signal(&pipe->work);
	if (pipe->filled >= pipe->slots)
		wait_drained(pipe, pipe->filled - pipe->slots + 1);
	status = pipe->status;
	pthread_mutex_unlock(&pipe->lock);
	return status;
}

static int status_of(struct sde__pipe *pipe)
{
	int status;

	pthread_mutex_lock(&pipe->lock);
	status = pipe->status;
	pthread_mutex_unlock(&pipe->lock);
	return status;
}

void sde__pipe_begin(struct sde__pipe *pipe, bool deflate)
{
	pipe->deflate = deflate;
	memset(&pipe->total, 0, sizeof(pipe->total));
	/* nothing is in flight */
	for (int i = 0; i < 2; i++)
		pipe->buffer[i].used = pipe->buffer[i].cut = 0;
}

/* Go on in the other buffer, with what is not in a block yet. */
static void change_buffer(struct sde__pipe *pipe)
{
	const struct buffer *old = &pipe->buffer[pipe->filling];
	struct buffer *buffer = &pipe->buffer[!pipe->filling];

	pthread_mutex_lock(&pipe->lock);
	wait_drained(pipe, buffer->end);
	pthread_mutex_unlock(&pipe->lock);
	buffer->cut = 0;
	buffer->used = old->used - old->cut;
	memcpy(buffer->bytes, old->bytes + old->cut, buffer->used);
	pipe->filling = !pipe->filling;
}

void *sde__pipe_reserve(struct sde__pipe *pipe, size_t n)
{
	if (n > pipe->room - pipe->buffer[pipe->filling].used)
		change_buffer(pipe);
	return pipe->buffer[pipe->filling].bytes + pipe->buffer[pipe->filling].used;
}

int sde__pipe_commit(struct sde__pipe *pipe, size_t n)
{
	struct buffer *buffer = &pipe->buffer[pipe->filling];
	int ret = status_of(pipe);

	buffer->used += n;
	while (buffer->used - buffer->cut >= SDE__DEFLATE_BLOCK && !ret)
		ret = submit(pipe, SDE__DEFLATE_BLOCK);
	return ret;
}

int sde__pipe_append(struct sde__pipe *pipe, const void *bytes, size_t n)
{
	const size_t most = pipe->room - SDE__DEFLATE_BLOCK;
	const unsigned char *from = bytes;
	int ret = 0;

	while (n && !ret) {
		const size_t part = n < most ? n : most;

		memcpy(sde__pipe_reserve(pipe, part), from, part);
		ret = sde__pipe_commit(pipe, part);
		from += part;
		n -= part;
	}
	return ret;
}

int sde__pipe_end(struct sde__pipe *pipe, struct sde__pipe_total *total)
{
	const struct buffer *buffer = &pipe->buffer[pipe->filling];

	if (buffer->used > buffer->cut && !status_of(pipe))
		submit(pipe, buffer->used - buffer->cut);
	pthread_mutex_lock(&pipe->lock);
	wait_drained(pipe, pipe->filled);
	pthread_mutex_unlock(&pipe->lock);
	/* from here on no worker has anything to do */
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
		pipe->slot[i].packed = malloc(sde__deflate_bound(SDE__DEFLATE_BLOCK));
		if (!pipe->slot[i].packed)
			return -ENOMEM;
	}
	return 0;
}

static int make_buffers(struct sde__pipe *pipe, size_t most)
{
	if (most > PTRDIFF_MAX - SDE__DEFLATE_BLOCK)
		return -ENOMEM;
	pipe->room = most + SDE__DEFLATE_BLOCK;
	for (int i = 0; i < 2; i++) {
		pipe->buffer[i].bytes = malloc(pipe->room);
		if (!pipe->buffer[i].bytes)
			return -ENOMEM;
	}
	return 0;
}

/* A buffer's blocks, that the caller need not wait while it fills the other, and
 * two for each thread. */
static size_t slots_for(unsigned threads, size_t most)
{
	const size_t blocks = most / SDE__DEFLATE_BLOCK + 1;

	return threads ? 2 * (size_t)threads + (blocks < SLOTS_MOST ? blocks : SLOTS_MOST) : 1;
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

int sde__pipe_create(struct sde__pipe **out, unsigned threads, size_t most,
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
	pthread_cond_init(&pipe->moved, NULL);
	pipe->worker = calloc(threads ? threads : 1, sizeof(*pipe->worker));
	ret = pipe->worker ? 0 : -ENOMEM;
	if (!ret) {
		pipe->places = threads ? threads : 1;
		most = most > SDE__DEFLATE_BLOCK ? most : SDE__DEFLATE_BLOCK;
		ret = make_slots(pipe, slots_for(threads, most));
	}
	if (!ret)
		ret = make_buffers(pipe, most);
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
	pthread_cond_destroy(&pipe->moved);
	pthread_cond_destroy(&pipe->work);
	pthread_mutex_destroy(&pipe->lock);
	for (size_t i = 0; i < pipe->slots; i++)
		free(pipe->slot[i].packed);
	free(pipe->slot);
	for (int i = 0; i < 2; i++)
		free(pipe->buffer[i].bytes);
	for (size_t i = 0; i < pipe->places; i++)
		sde__deflater_destroy(pipe->worker[i].deflater);
	free(pipe->worker);
	free(pipe);
}
