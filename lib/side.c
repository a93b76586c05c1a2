/* SPDX-License-Identifier: MIT */
/* The table of times, iteration numbers and states in a shard: see side.h. */
#include "side.h"

#include "crc32c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1

static const char magic[8] = { 'S', 'D', 'E', 'S', 'I', 'D', 'E', '\n' };

size_t sde__side_size(uint64_t count, uint64_t state_bytes)
{
	return (size_t)(SDE__SIDE_HEAD + 20 * count + state_bytes + 4);
}

int sde__side_reserve(struct sde__side *side, size_t size)
{
	unsigned char *grown;

	if (size <= side->room)
		return 0;
	grown = realloc(side->bytes, size);
	if (!grown)
		return -ENOMEM;
	side->bytes = grown;
	side->room = size;
	return 0;
}

static void set_pointers(struct sde__side *side)
{
	unsigned char *p = side->bytes + SDE__SIDE_HEAD;

	/* malloc'd memory, and all parts before the states are 4-byte aligned */
	side->time = (double *)(void *)p;
	side->iteration = (int64_t *)(void *)(p + 8 * (size_t)side->count);
	side->state_size = (uint32_t *)(void *)(p + 16 * (size_t)side->count);
	side->states = p + 20 * (size_t)side->count;
}

static void write_head(struct sde__side *side)
{
	const uint32_t version = VERSION, size = (uint32_t)side->size;
	unsigned char *p = side->bytes;

	memset(p, 0, SDE__SIDE_HEAD);
	memcpy(p, magic, 8);
	memcpy(p + 8, &version, 4);
	memcpy(p + 12, &size, 4);
	memcpy(p + 16, side->run, 16);
	memcpy(p + 32, &side->epoch, 8);
	memcpy(p + 40, &side->first, 8);
	memcpy(p + 48, &side->count, 4);
	memcpy(p + 52, &side->state_bytes, 4);
}

static int sum_states(const struct sde__slot_layout *layout, const unsigned char *slots,
		      uint64_t count, uint64_t *sum)
{
	struct sde__slot_head head;

	*sum = 0;
	for (uint64_t i = 0; i < count; i++) {
		if (sde__slot_head_read(slots + i * layout->slot_size, layout, &head))
			return SDE_E_CORRUPT;
		*sum += head.state_size;
	}
	return 0;
}

int sde__side_build(struct sde__side *side, const struct sde__slot_layout *layout,
		    const unsigned char *slots, uint64_t count, uint64_t first, uint64_t epoch,
		    const unsigned char run[16], struct sde_error *error)
{
	struct sde__slot_head head;
	unsigned char *state;
	uint64_t sum;
	uint32_t crc;

	if (sum_states(layout, slots, count, &sum))
		return sde__fail(error, SDE_E_CORRUPT, "a slot of the ring has an impossible state size");
	side->size = sde__side_size(count, sum);
	if (side->size > INT32_MAX)
		return sde__fail(error, -EFBIG, "the states of one chunk take %llu bytes, over 2 GiB",
				 (unsigned long long)sum);
	if (sde__side_reserve(side, side->size))
		return sde__fail(error, -ENOMEM, "out of memory");
	memcpy(side->run, run, 16);
	side->epoch = epoch;
	side->first = first;
	side->count = (uint32_t)count;
	side->state_bytes = (uint32_t)sum;
	write_head(side);
	set_pointers(side);
	state = side->states;
	for (uint32_t i = 0; i < side->count; i++) {
		const unsigned char *slot = slots + i * layout->slot_size;

		sde__slot_head_read(slot, layout, &head);
		side->time[i] = head.time;
		side->iteration[i] = head.iteration;
		side->state_size[i] = head.state_size;
		memcpy(state, slot + SDE__SLOT_STATE_OFFSET, head.state_size);
		state += head.state_size;
	}
	crc = sde__crc32c(0, side->bytes, side->size - 4);
	memcpy(side->bytes + side->size - 4, &crc, 4);
	return 0;
}

int sde__side_parse_head(struct sde__side *side, const unsigned char *head, uint64_t chunk_size,
			 const char *place, struct sde_error *error)
{
	uint32_t version, size;

	if (memcmp(head, magic, sizeof(magic)))
		return sde__fail(error, SDE_E_CORRUPT, "'%s' does not begin as a chunk of this library",
				 place);
	memcpy(&version, head + 8, 4);
	memcpy(&size, head + 12, 4);
	if (version > VERSION)
		return sde__fail(error, SDE_E_VERSION, "'%s' has version %u, this library knows %d",
				 place, version, VERSION);
	memcpy(side->run, head + 16, 16);
	memcpy(&side->epoch, head + 32, 8);
	memcpy(&side->first, head + 40, 8);
	memcpy(&side->count, head + 48, 4);
	memcpy(&side->state_bytes, head + 52, 4);
	side->size = size;
	if (!side->count || side->count > chunk_size ||
	    side->size != sde__side_size(side->count, side->state_bytes))
		return sde__fail(error, SDE_E_CORRUPT, "'%s' begins with impossible sizes", place);
	return 0;
}

int sde__side_parse(struct sde__side *side, const char *place, struct sde_error *error)
{
	uint64_t sum = 0;
	uint32_t crc;

	memcpy(&crc, side->bytes + side->size - 4, 4);
	if (crc != sde__crc32c(0, side->bytes, side->size - 4))
		return sde__fail(error, SDE_E_CORRUPT, "'%s': the times have a wrong checksum", place);
	set_pointers(side);
	for (uint32_t i = 0; i < side->count; i++)
		sum += side->state_size[i];
	if (sum != side->state_bytes)
		return sde__fail(error, SDE_E_CORRUPT, "'%s': the states have impossible sizes", place);
	return 0;
}

const unsigned char *sde__side_state(const struct sde__side *side, uint32_t i)
{
	const unsigned char *p = side->states;

	for (uint32_t j = 0; j < i; j++)
		p += side->state_size[j];
	return p;
}

void sde__side_free(struct sde__side *side)
{
	free(side->bytes);
	side->bytes = NULL;
	side->room = 0;
}
