/* SPDX-License-Identifier: MIT */
/*
 * Blocks of a stream, compressed by several threads and put out in order.
 *
 * The caller's bytes are cut into blocks (deflate.h), which workers compress,
 * or only checksum where nothing is to be compressed; the caller's thread puts
 * them out, first in, first out, so that the output does not depend on the
 * number of threads. Memory is bounded: 2 * threads + 2 blocks are in flight at
 * most, of about 2 MiB each; when all are, append waits for the oldest.
 *
 *	sde__pipe_create(&pipe, threads, engine, sink, ctx, error);
 *	sde__pipe_begin(pipe, true);
 *	sde__pipe_append(pipe, bytes, n);	(any number of times)
 *	sde__pipe_end(pipe, &total);		(and begin again, or)
 *	sde__pipe_destroy(pipe);
 *
 * All calls from one thread. After a failure everything but destroy gives the
 * same code.
 */
#ifndef SDE_LIB_DEFLATE_PIPE_H
#define SDE_LIB_DEFLATE_PIPE_H

#include "deflate.h"

#include <stdbool.h>

struct sde__pipe;

/* Takes the output piece by piece, on the caller's thread. 0 or a code. */
typedef int sde__pipe_sink(void *ctx, const void *bytes, size_t n);

#define SDE__PIPE_THREADS_MAX 256

/*
 * threads 0 compresses on the caller's thread. If fewer threads can be started
 * than were asked for, those few must do. -ENOMEM, -EINVAL.
 */
int sde__pipe_create(struct sde__pipe **out, unsigned threads,
		     const struct sde__deflate_engine *engine, sde__pipe_sink *sink,
		     void *ctx, struct sde_error *error);

/* What went through between begin and end. */
struct sde__pipe_total {
	uint64_t raw, packed;	/* bytes */
	uint32_t crc;		/* CRC-32 of the raw ones */
};

/* Begin a stream; deflate false: the bytes go through as they are. */
void sde__pipe_begin(struct sde__pipe *pipe, bool deflate);
int sde__pipe_append(struct sde__pipe *pipe, const void *bytes, size_t n);
int sde__pipe_end(struct sde__pipe *pipe, struct sde__pipe_total *total);

/* Also in the middle of a stream: what is in flight is dropped. Accepts NULL. */
void sde__pipe_destroy(struct sde__pipe *pipe);

#endif
