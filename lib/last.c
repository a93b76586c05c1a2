/* SPDX-License-Identifier: MIT */
/* Looking for the exact numbers of the last snapshot: see last.h. */
#include "last.h"

#include "strided.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct sde__restart name_of_last(const struct sde__reader *reader)
{
	struct sde__restart restart = { .epoch = reader->metadata.epoch,
					.index = reader->snapshots - 1 };

	memcpy(restart.run, reader->run, sizeof(restart.run));
	return restart;
}

/* The slot as the ring has it, and exact; malloc'd. 1: there is none. */
static int slot_in_ring(struct sde__reader *reader, const struct sde__slot_layout *layout,
			unsigned char **out, struct sde_error *error)
{
	struct sde__slot_head head = { 0 };
	struct sde__cursor cursor;
	unsigned char *slot;
	int ret;

	*out = NULL;
	if (!reader->ring)
		return 1;
	slot = malloc(layout->slot_size);
	if (!slot)
		return sde__fail(error, -ENOMEM, "out of memory");
	sde__cursor_init(&cursor, reader);
	ret = sde__reader_ring_slot(&cursor, reader->snapshots - 1, layout, slot, error);
	sde__cursor_free(&cursor);
	if (!ret && (sde__slot_head_read(slot, layout, &head) || head.rounded))
		ret = 1;
	if (ret) {
		free(slot);
		return ret;
	}
	*out = slot;
	return 0;
}

/* As anybody reads it, [d][n]: rounded, if the store rounds. */
static int read_values(struct sde__reader *reader, void *out, struct sde_error *error)
{
	const struct sde__geometry *g = &reader->metadata.geometry;
	const struct sde__range range[3] = {
		{ 0, g->dimension, 1 }, { 0, g->trajectories, 1 }, { reader->snapshots - 1, 1, 1 },
	};
	const int64_t item = (int64_t)sde__dtype_size(g->dtype);
	const int64_t strides[3] = { item * (int64_t)g->trajectories, item, item };
	struct sde__cursor cursor;
	int ret;

	sde__cursor_init(&cursor, reader);
	ret = sde__reader_data(&cursor, range, out, strides, error);
	sde__cursor_free(&cursor);
	return ret;
}

/* Numbers in one order into those of another. */
static void reorder(const struct sde__slot_layout *to, void *payload,
		    const struct sde__slot_layout *from, const void *numbers)
{
	const struct sde__geometry *g = &to->geometry;
	const uint64_t counts[3] = { g->dimension, g->trajectories, 1 };
	const int64_t ts[3] = { (int64_t)to->dimension_stride, (int64_t)to->trajectory_stride, 0 };
	const int64_t fs[3] = { (int64_t)from->dimension_stride,
				(int64_t)from->trajectory_stride, 0 };

	sde__strided_copy(sde__dtype_size(g->dtype), counts, payload, ts, numbers, fs);
}

/* `payload` has the rounded numbers, [d][n]; they become exact if the file has those. */
static int refine(struct sde__reader *reader, const struct sde__slot_layout *plain,
		  unsigned char *payload, bool *exact, struct sde_error *error)
{
	const struct sde__geometry *g = &plain->geometry;
	const struct sde__restart restart = name_of_last(reader);
	const size_t n = sde__snapshot_bytes(g);
	unsigned char *kept = malloc(n), *rounded = malloc(n);
	int ret;

	*exact = false;
	ret = kept && rounded ? 0 : sde__fail(error, -ENOMEM, "out of memory");
	/* a file that cannot be believed is as good as none */
	if (!ret && !sde__restart_read(&reader->home, &restart, plain, kept, NULL)) {
		memcpy(rounded, kept, n);
		sde__round(g->dtype, reader->codec.keepbits, rounded, n / sde__dtype_size(g->dtype));
		*exact = !memcmp(rounded, payload, n);
		if (*exact)
			memcpy(payload, kept, n);
	}
	free(kept);
	free(rounded);
	return ret;
}

/* Of a store of columns: each one's part, into its place. */
static int read_columns(struct sde__reader *reader, const struct sde__slot_layout *layout,
			unsigned char *payload, bool *exact, struct sde_error *error)
{
	const struct sde__geometry *g = &layout->geometry;
	unsigned char *numbers = malloc(sde__snapshot_bytes(g));
	struct sde__slot_layout own = *layout, place = *layout;
	int ret = numbers ? 0 : sde__fail(error, -ENOMEM, "out of memory");

	*exact = true;
	for (uint64_t i = 0; i < reader->columns && !ret; i++) {
		bool one = false;

		own.geometry = place.geometry = reader->column[i]->metadata.geometry;
		ret = sde__slot_layout_derive(&own, error);
		if (!ret)
			ret = sde__last_read(reader->column[i], &own, numbers, &one, error);
		if (!ret)
			reorder(&place, payload + i * g->column_width * layout->trajectory_stride,
				&own, numbers);
		*exact = *exact && one;
	}
	free(numbers);
	return ret;
}

int sde__last_read(struct sde__reader *reader, const struct sde__slot_layout *layout,
		   void *payload, bool *exact, struct sde_error *error)
{
	struct sde__slot_layout plain = *layout;
	unsigned char *slot, *numbers;
	int ret;

	if (reader->columns)
		return read_columns(reader, layout, payload, exact, error);
	ret = reader->codec.keepbits ? slot_in_ring(reader, layout, &slot, error) : 1;
	if (!ret) {
		memcpy(payload, slot + layout->payload_offset,
		       sde__snapshot_bytes(&layout->geometry));
		*exact = true;
		free(slot);
	}
	if (ret != 1)
		return ret;
	plain.order = SDE_LAYOUT_DIMENSION_TRAJECTORY;
	ret = sde__slot_layout_derive(&plain, error);
	if (ret)
		return ret;
	numbers = malloc(sde__snapshot_bytes(&plain.geometry));
	if (!numbers)
		return sde__fail(error, -ENOMEM, "out of memory");
	*exact = true;
	ret = read_values(reader, numbers, error);
	if (!ret && reader->codec.keepbits)
		ret = refine(reader, &plain, numbers, exact, error);
	if (!ret)
		reorder(layout, payload, &plain, numbers);
	free(numbers);
	return ret;
}

int sde__last_keep(struct sde__reader *reader, const struct sde__slot_layout *layout,
		   bool durable, struct sde_error *error)
{
	const struct sde__restart restart = name_of_last(reader);
	unsigned char *slot;
	int ret;

	if (!reader->codec.keepbits || !reader->snapshots)
		return 0;
	ret = slot_in_ring(reader, layout, &slot, error);
	if (ret)
		return ret == 1 ? 0 : ret;
	ret = sde__restart_write(&reader->home, &restart, layout, slot + layout->payload_offset,
				 durable, error);
	free(slot);
	return ret;
}
