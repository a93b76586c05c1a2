/* SPDX-License-Identifier: MIT */
/*
 * A slot: one snapshot in the ring, and its place.
 *
 *	offset	size		(little-endian)
 *	0	8	time, float64
 *	8	8	iteration number, int64
 *	16	4	state size s, at most state_capacity
 *	20	4	1: the payload is rounded, it came back from a chunk file
 *		(keepbits); 0: it is what was stored
 *	24	s	state
 *	P	...	payload: d_X * N numbers, in the caller's layout
 *
 * P is 24 + state_capacity rounded up to 64; the slot size is P + payload
 * rounded up to 64. Slot i of the run lies in segment (i / T) % S at
 * (i % T) * slot_size: a pure function of i, so that reuse resets nothing.
 * Segments are whole pages of 4096.
 */
#ifndef SDE_LIB_SLOT_H
#define SDE_LIB_SLOT_H

#include "geometry.h"

#include <stdbool.h>

#define SDE__SLOT_STATE_OFFSET 24
#define SDE__STATE_CAPACITY_MAX 65536
#define SDE__SEGMENTS_MIN 2
#define SDE__SEGMENTS_MAX 64

/* What decides the shape of a ring. */
struct sde__slot_layout {
	struct sde__geometry geometry;
	enum sde_layout order;		/* of the payload; never DEFAULT */
	unsigned state_capacity;
	unsigned segments;
	/* derived */
	size_t payload_offset, slot_size, segment_size;
	size_t dimension_stride, trajectory_stride;	/* bytes in a payload */
};

/* Fill in what is derived; -EINVAL if the sizes are out of range or overflow. */
int sde__slot_layout_derive(struct sde__slot_layout *layout, struct sde_error *error);

/* The part of a slot before its payload, decoded and checked. */
struct sde__slot_head {
	double time;
	int64_t iteration;
	uint32_t state_size;
	bool rounded;
};

void sde__slot_head_write(void *slot, const struct sde__slot_head *head);

/* SDE_E_CORRUPT if the state is larger than a slot has room for. */
int sde__slot_head_read(const void *slot, const struct sde__slot_layout *layout,
			struct sde__slot_head *head);

#endif
