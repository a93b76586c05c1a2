/* SPDX-License-Identifier: MIT */
/* Sizes and bytes of a slot: see slot.h. */
#include "slot.h"

#include <errno.h>
#include <string.h>

#define LINE 64
#define PAGE 4096

static int round_up(size_t value, size_t to, size_t *out)
{
	size_t sum;

	if (__builtin_add_overflow(value, to - 1, &sum))
		return -EINVAL;
	*out = sum / to * to;
	return 0;
}

int sde__slot_layout_derive(struct sde__slot_layout *layout, struct sde_error *error)
{
	const struct sde__geometry *g = &layout->geometry;
	const size_t item = sde__dtype_size(g->dtype);
	size_t slot, segment, all;

	if (layout->state_capacity > SDE__STATE_CAPACITY_MAX)
		return sde__fail(error, -EINVAL, "state_capacity %u is more than %d bytes",
				 layout->state_capacity, SDE__STATE_CAPACITY_MAX);
	if (layout->segments < SDE__SEGMENTS_MIN || layout->segments > SDE__SEGMENTS_MAX)
		return sde__fail(error, -EINVAL, "segments %u is not between %d and %d",
				 layout->segments, SDE__SEGMENTS_MIN, SDE__SEGMENTS_MAX);
	layout->payload_offset = (SDE__SLOT_STATE_OFFSET + (size_t)layout->state_capacity +
				  LINE - 1) / LINE * LINE;
	if (round_up(sde__snapshot_bytes(g), LINE, &slot) ||
	    __builtin_add_overflow(slot, layout->payload_offset, &slot) ||
	    __builtin_mul_overflow(slot, g->chunk_size, &segment) ||
	    round_up(segment, PAGE, &segment) ||
	    __builtin_mul_overflow(segment, layout->segments, &all) || all > INT64_MAX / 2)
		return sde__fail(error, -EINVAL,
				 "a ring of %u segments of %llu snapshots of %zu bytes is too large",
				 layout->segments, (unsigned long long)g->chunk_size,
				 sde__snapshot_bytes(g));
	layout->slot_size = slot;
	layout->segment_size = segment;
	if (layout->order == SDE_LAYOUT_TRAJECTORY_DIMENSION) {
		layout->dimension_stride = item;
		layout->trajectory_stride = item * (size_t)g->dimension;
	} else {
		layout->dimension_stride = item * (size_t)g->trajectories;
		layout->trajectory_stride = item;
	}
	return 0;
}

void sde__slot_head_write(void *slot, const struct sde__slot_head *head)
{
	unsigned char *p = slot;
	const uint32_t rounded = head->rounded;

	memcpy(p, &head->time, 8);
	memcpy(p + 8, &head->iteration, 8);
	memcpy(p + 16, &head->state_size, 4);
	memcpy(p + 20, &rounded, 4);
}

int sde__slot_head_read(const void *slot, const struct sde__slot_layout *layout,
			struct sde__slot_head *head)
{
	const unsigned char *p = slot;
	uint32_t rounded;

	memcpy(&head->time, p, 8);
	memcpy(&head->iteration, p + 8, 8);
	memcpy(&head->state_size, p + 16, 4);
	memcpy(&rounded, p + 20, 4);
	head->rounded = rounded != 0;
	return head->state_size > layout->state_capacity ? SDE_E_CORRUPT : 0;
}
