/* SPDX-License-Identifier: MIT */
/*
 * How many chunks are held in memory at a time: many small ones, few large ones, and
 * between them what 16 MiB have room for.
 */
#ifndef SDE_LIB_ROOM_H
#define SDE_LIB_ROOM_H

#include <stdint.h>

#define SDE__ROOM ((uint64_t)16 << 20)

/* Of `size` bytes each, at least `few`, at most `many`. */
static inline unsigned sde__room_count(uint64_t size, unsigned few, unsigned many)
{
	const uint64_t count = SDE__ROOM / size;

	return count < few ? few : count > many ? many : (unsigned)count;
}

/*
 * The bytes of so many, rounded up so that larger ones never take less: 7 of 2.2 MiB are
 * fewer bytes than 8 of 2.
 */
static inline uint64_t sde__room_bytes(uint64_t size, unsigned few, unsigned many)
{
	const uint64_t most = size * many < SDE__ROOM ? size * many : SDE__ROOM;

	return most > size * few ? most : size * few;
}

#endif
