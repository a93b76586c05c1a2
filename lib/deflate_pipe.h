/* SPDX-License-Identifier: MIT */
/*
 * Blocks of a stream, compressed by several threads and put out in order.
 *
 * The caller's bytes are cut into blocks (deflate.h), which workers compress,
 * or only checksum where nothing is to be compressed, and put out, first in, first
 * out, so that the output depends neither on the number of threads nor on how the
 * bytes came.
 *
 *	sde__pipe_create(&pipe, threads, most, engine, sink, ctx, error);
 *	sde__pipe_begin(pipe, true);
 *	p = sde__pipe_reserve(pipe, n);		(any number of times: n bytes are
 *	sde__pipe_commit(pipe, n);		 put at p, n <= most)
 *	sde__pipe_append(pipe, bytes, n);	(the same with a copy)
 *	sde__pipe_end(pipe, &total);		(and begin again, or)
 *	sde__pipe_destroy(pipe);
 *
 * There are two input buffers, so that one is filled while the workers have the
 * other. Memory is bounded: these, of `most` and a block each, and an output
 * buffer for every block in flight, of which there are enough for one input
 * buffer, or 32 if that is less, and for the threads. When all are in use, commit
 * waits for the oldest; reserve waits for what is left of the other buffer.
 *
 * All calls from one thread. After a failure, which may be noticed some calls later,
 * commit, append and end give its code.
 */
#ifndef SDE_LIB_DEFLATE_PIPE_H
#define SDE_LIB_DEFLATE_PIPE_H

#include "deflate.h"

#include <stdbool.h>

struct sde__pipe;

/* Takes the output piece by piece, in order, on any of the pipe's threads, but only
 * one at a time. 0 or a code. */
typedef int sde__pipe_sink(void *ctx, const void *bytes, size_t n);

#define SDE__PIPE_THREADS_MAX 256

/*
 * threads 0 compresses on the caller's thread. If fewer threads can be started
 * than were asked for, those few must do. `most` is what will be reserved at once;
 * at least a block is taken. -ENOMEM, -EINVAL.
 */
int sde__pipe_create(struct sde__pipe **out, unsigned threads, size_t most,
		     const struct sde__deflate_engine *engine, sde__pipe_sink *sink,
		     void *ctx, struct sde_error *error);

/* What went through between begin and end. */
struct sde__pipe_total {
	uint64_t raw, packed;	/* bytes */
	uint32_t crc;		/* CRC-32 of the raw ones */
};

/* Begin a stream; deflate false: the bytes go through as they are. */
void sde__pipe_begin(struct sde__pipe *pipe, bool deflate);
/* Room for the next n bytes, n <= most, to be filled and committed, all of them,
 * before anything else is called. */
void *sde__pipe_reserve(struct sde__pipe *pipe, size_t n);
int sde__pipe_commit(struct sde__pipe *pipe, size_t n);
int sde__pipe_append(struct sde__pipe *pipe, const void *bytes, size_t n);
int sde__pipe_end(struct sde__pipe *pipe, struct sde__pipe_total *total);

/* Also in the middle of a stream: what is in flight is dropped. Accepts NULL. */
void sde__pipe_destroy(struct sde__pipe *pipe);

#endif
