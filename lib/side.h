/* SPDX-License-Identifier: MIT */
/*
 * The side table: what a chunk's slots held besides their payload.
 *
 * It stands at offset 0 of the chunk's shard file, before the first inner
 * chunk; a Zarr reader finds its way by the index at the file's end and never
 * looks here. It makes a chunk whole by itself: times and states are durable
 * in the same instant as the data, so that a segment may be reused as soon as
 * its chunk is sealed, and recovery needs no other file.
 *
 *	offset	size	(little-endian)
 *	0	8	magic "SDESIDE\n"
 *	8	4	version, 1
 *	12	4	bytes of the whole table, checksum included
 *	16	16	run id
 *	32	8	epoch
 *	40	8	index of the chunk's first snapshot
 *	48	4	count c of snapshots in the chunk, 1 .. T
 *	52	4	bytes of all states together
 *	56	8	zero
 *	64	8 c	times, float64
 *	...	8 c	iteration numbers, int64
 *	...	4 c	state sizes
 *	...	...	states, one behind the other
 *	...	4	CRC-32C of all before
 */
#ifndef SDE_LIB_SIDE_H
#define SDE_LIB_SIDE_H

#include "slot.h"

#define SDE__SIDE_HEAD 64

struct sde__side {
	unsigned char run[16];
	uint64_t epoch;
	uint64_t first;
	uint32_t count;
	uint32_t state_bytes;
	double *time;			/* [count]; these three point into `bytes` */
	int64_t *iteration;
	uint32_t *state_size;
	unsigned char *states;
	unsigned char *bytes;		/* the whole table, owned */
	size_t size, room;
};

/* Bytes of a table of `count` snapshots with `state_bytes` of states. */
size_t sde__side_size(uint64_t count, uint64_t state_bytes);

/*
 * Build the table of `count` slots that begin at `slots`. The memory is reused
 * and grows as needed. -ENOMEM, -EFBIG (over 2 GiB), SDE_E_CORRUPT.
 */
int sde__side_build(struct sde__side *side, const struct sde__slot_layout *layout,
		    const unsigned char *slots, uint64_t count, uint64_t first, uint64_t epoch,
		    const unsigned char run[16], struct sde_error *error);

/*
 * The head alone (SDE__SIDE_HEAD bytes) into the fields before `time`; size is
 * that of the whole. Checked against T = chunk_size. SDE_E_CORRUPT.
 */
int sde__side_parse_head(struct sde__side *side, const unsigned char *head, uint64_t chunk_size,
			 const char *place, struct sde_error *error);

/*
 * The whole table: side->bytes holds side->size bytes, sde__side_parse_head was
 * successful. Sets the pointers, checks the checksum and the states' sizes.
 */
int sde__side_parse(struct sde__side *side, const char *place, struct sde_error *error);

/* Make room for `size` bytes; the pointers are void afterwards. */
int sde__side_reserve(struct sde__side *side, size_t size);

/* The state of the i-th snapshot in the table. */
const unsigned char *sde__side_state(const struct sde__side *side, uint32_t i);

void sde__side_free(struct sde__side *side);

#endif
