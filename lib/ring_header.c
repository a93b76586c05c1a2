/* SPDX-License-Identifier: MIT */
/* Encoding and checking of the ring's header page: see ring_header.h. */
#include "ring_header.h"

#include "crc32c.h"

#include <errno.h>
#include <string.h>

#define VERSION 1
#define GUARDED_FROM 16
#define GUARDED_TO 160

static const char magic[8] = { 'S', 'D', 'E', 'R', 'I', 'N', 'G', '\n' };

static void put32(unsigned char *p, uint32_t value)
{
	memcpy(p, &value, sizeof(value));
}

static void put64(unsigned char *p, uint64_t value)
{
	memcpy(p, &value, sizeof(value));
}

static uint32_t get32(const unsigned char *p)
{
	uint32_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

static uint64_t get64(const unsigned char *p)
{
	uint64_t value;

	memcpy(&value, p, sizeof(value));
	return value;
}

void sde__ring_header_encode(const struct sde__ring_header *header,
			     unsigned char page[SDE__RING_HEADER_SIZE])
{
	const struct sde__slot_layout *l = &header->layout;

	memset(page, 0, SDE__RING_HEADER_SIZE);
	memcpy(page, magic, sizeof(magic));
	put32(page + 8, VERSION);
	put64(page + 16, l->geometry.dimension);
	put64(page + 24, l->geometry.trajectories);
	put64(page + 32, l->geometry.chunk_size);
	put32(page + 40, (uint32_t)l->geometry.dtype);
	put32(page + 44, (uint32_t)l->order);
	put32(page + 48, l->segments);
	put32(page + 52, l->state_capacity);
	put64(page + 56, l->slot_size);
	put64(page + 64, l->payload_offset);
	put64(page + 72, l->segment_size);
	put32(page + 80, header->ring_io == SDE_RING_IO_WRITTEN);
	memcpy(page + 88, header->run, 16);
	memcpy(page + 104, header->boot, 16);
	put64(page + 120, header->device);
	put64(page + 128, header->inode);
	put32(page + 12, sde__crc32c(0, page + GUARDED_FROM, GUARDED_TO - GUARDED_FROM));
}

/* The sizes in the page must be those that the geometry in it gives. */
static int check_layout(const unsigned char *page, struct sde__slot_layout *l)
{
	if (sde__geometry_check(&l->geometry, NULL) ||
	    (l->order != SDE_LAYOUT_DIMENSION_TRAJECTORY &&
	     l->order != SDE_LAYOUT_TRAJECTORY_DIMENSION) ||
	    sde__slot_layout_derive(l, NULL))
		return SDE_E_CORRUPT;
	if (get64(page + 56) != l->slot_size || get64(page + 64) != l->payload_offset ||
	    get64(page + 72) != l->segment_size)
		return SDE_E_CORRUPT;
	return 0;
}

int sde__ring_header_decode(const unsigned char page[SDE__RING_HEADER_SIZE],
			    struct sde__ring_header *header, const char *place,
			    struct sde_error *error)
{
	struct sde__slot_layout *l = &header->layout;
	const uint32_t dtype = get32(page + 40), order = get32(page + 44);

	memset(header, 0, sizeof(*header));
	if (memcmp(page, magic, sizeof(magic)))
		return sde__fail(error, SDE_E_CORRUPT, "'%s' is not a ring header", place);
	if (get32(page + 8) > VERSION)
		return sde__fail(error, SDE_E_VERSION,
				 "'%s' is a ring of version %u, this library knows %d", place,
				 get32(page + 8), VERSION);
	if (!get32(page + 8) ||
	    get32(page + 12) != sde__crc32c(0, page + GUARDED_FROM, GUARDED_TO - GUARDED_FROM))
		return sde__fail(error, SDE_E_CORRUPT, "'%s' has a wrong checksum", place);
	if (dtype > SDE_FLOAT32 || order > SDE_LAYOUT_TRAJECTORY_DIMENSION)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' has impossible sizes", place);
	l->geometry.dimension = get64(page + 16);
	l->geometry.trajectories = get64(page + 24);
	l->geometry.chunk_size = get64(page + 32);
	l->geometry.inner_width = 1;	/* the ring does not know n */
	l->geometry.dtype = (enum sde_dtype)dtype;
	l->order = (enum sde_layout)order;
	l->segments = get32(page + 48);
	l->state_capacity = get32(page + 52);
	memcpy(header->run, page + 88, 16);
	memcpy(header->boot, page + 104, 16);
	header->device = get64(page + 120);
	header->inode = get64(page + 128);
	header->ring_io = get32(page + 80) ? SDE_RING_IO_WRITTEN : SDE_RING_IO_MAPPED;
	if (check_layout(page, l))
		return sde__fail(error, SDE_E_CORRUPT, "'%s' has impossible sizes", place);
	return 0;
}
