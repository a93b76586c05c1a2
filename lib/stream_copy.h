/* SPDX-License-Identifier: MIT */
/*
 * The copy of a snapshot into the ring. A large one is not read again before it has left
 * the processor's caches, or by another core: written past them, it costs the memory two
 * transfers instead of three (a line that is stored to is read first), and the program
 * keeps its own data there.
 */
#ifndef SDE_LIB_STREAM_COPY_H
#define SDE_LIB_STREAM_COPY_H

#include <stddef.h>

/* Like memcpy. Whoever sees what the caller stores next sees the copy as well. */
void sde__stream_copy(void *to, const void *from, size_t n);

#endif
