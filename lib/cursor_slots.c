/* SPDX-License-Identifier: MIT */
/*
 * Snapshots back into slots, with their times and states, from wherever these are.
 * Declared in reader.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "cursor.h"

#include "gather.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The payload of snapshot `index` from the ring into a slot of another layout. */
static int slot_from_ring(struct sde__cursor *cursor, uint64_t index,
			  const struct sde__slot_layout *layout, unsigned char *slot,
			  struct sde_error *error)
{
	const struct sde__ring_reader *ring = cursor->reader->ring;
	const struct sde__slot_layout *from = &ring->header.layout;
	const struct sde__geometry *g = &layout->geometry;
	const size_t item = sde__dtype_size(g->dtype), n = sde__snapshot_bytes(g);
	const uint64_t counts[3] = { g->dimension, g->trajectories, 1 };
	const int64_t to_strides[3] = { (int64_t)layout->dimension_stride,
					(int64_t)layout->trajectory_stride, 0 };
	const int64_t from_strides[3] = { (int64_t)from->dimension_stride,
					  (int64_t)from->trajectory_stride, 0 };
	unsigned char *payload = slot + layout->payload_offset;
	int ret;

	/* head and state are laid out alike: the capacities are equal */
	ret = sde__ring_reader_read(ring, index, 0, slot,
				    SDE__SLOT_STATE_OFFSET + layout->state_capacity, error);
	if (ret)
		return ret;
	if (from->order == layout->order)
		return sde__ring_reader_read(ring, index, from->payload_offset, payload, n, error);
	if (!cursor->payload)
		cursor->payload = malloc(n);
	if (!cursor->payload)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = sde__ring_reader_read(ring, index, from->payload_offset, cursor->payload, n, error);
	if (!ret)
		sde__strided_copy(item, counts, payload, to_strides, cursor->payload, from_strides);
	return ret;
}

int sde__reader_ring_slot(struct sde__cursor *cursor, uint64_t index,
			  const struct sde__slot_layout *layout, unsigned char *slot,
			  struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	int ret;

	if (!reader->ring || index < reader->ring_first || index >= reader->ring_end)
		return 1;
	ret = slot_from_ring(cursor, index, layout, slot, error);
	if (ret)
		return ret;
	ret = sde__ring_reader_intact(reader->ring, index, reader->metadata.epoch, error);
	return ret < 0 ? ret : !ret;
}

static int slots_from_file(struct sde__cursor *cursor, uint64_t chunk, uint64_t count,
			   const struct sde__slot_layout *layout, unsigned char *slots,
			   struct sde_error *error)
{
	const struct sde__side *side = &cursor->file.side;
	const unsigned char *state;
	int ret;

	ret = sde__cursor_open(cursor, chunk, count, error);
	if (!ret)
		ret = sde__cursor_side(cursor, error);
	if (ret)
		return ret;
	state = side->states;
	for (uint32_t i = 0; i < count; i++) {
		const struct sde__slot_head head = { side->time[i], side->iteration[i],
						     side->state_size[i],
						     cursor->reader->codec.keepbits != 0 };

		if (head.state_size > layout->state_capacity)
			return sde__fail(error, SDE_E_CORRUPT, "'%s': the states have impossible sizes",
					 cursor->file.place);
		sde__slot_head_write(slots + i * layout->slot_size, &head);
		memcpy(slots + i * layout->slot_size + SDE__SLOT_STATE_OFFSET, state, head.state_size);
		state += head.state_size;
	}
	for (uint64_t inner = 0; inner < cursor->file.inner_count && !ret; inner++) {
		void *raw = NULL;

		ret = sde__cursor_pass(cursor, inner, &raw, error);
		if (!ret)
			sde__scatter(&layout->geometry, raw, inner, count,
				     slots + layout->payload_offset, layout->slot_size,
				     layout->dimension_stride, layout->trajectory_stride);
	}
	return ret;
}

int sde__reader_slots(struct sde__cursor *cursor, uint64_t chunk, uint64_t count,
		      const struct sde__slot_layout *layout, unsigned char *slots,
		      struct sde_error *error)
{
	const struct sde__reader *reader = cursor->reader;
	const uint64_t size = layout->geometry.chunk_size;
	uint64_t filed = reader->filed > chunk * size ? reader->filed - chunk * size : 0;
	int ret = 0;

	if (filed > count)
		filed = count;
	if (filed)
		ret = slots_from_file(cursor, chunk, filed, layout, slots, error);
	for (uint64_t i = filed; i < count && !ret; i++)
		ret = slot_from_ring(cursor, chunk * size + i, layout, slots + i * layout->slot_size,
				     error);
	return ret;
}
