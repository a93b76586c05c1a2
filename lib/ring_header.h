/* SPDX-License-Identifier: MIT */
/*
 * The first file of a ring, data/.ring/header: one page of 4096 bytes.
 *
 *	offset	size		(little-endian)
 *	0	8	magic "SDERING\n"
 *	8	4	version, 1
 *	12	4	CRC-32C of bytes 16 .. 159
 *	16	8	d_X
 *	24	8	N
 *	32	8	T
 *	40	4	dtype (0 float64, 1 float32)
 *	44	4	layout of the payload (1 [d][n], 2 [n][d])
 *	48	4	segments S
 *	52	4	state_capacity
 *	56	8	slot size
 *	64	8	payload offset in a slot
 *	72	8	segment size
 *	80	4	how it is written: 0 mapped, 1 by pwrite; for information
 *	84	4	zero
 *	88	16	run id
 *	104	16	boot id of the machine that laid it
 *	120	8	device number of this file
 *	128	8	inode number of this file
 *	136	24	zero
 *	512	8	claimed		each on a cache line of its own
 *	576	8	committed
 *	640	8	synced
 *	704	8	sealed
 *	768	8	epoch
 *	832	8	base: the first snapshot that was put into this ring
 *
 * The first part never changes after the file got its name. The counters are
 * absolute snapshot indices, all in one 512-byte sector, which a device writes
 * whole; but the page may be on its way there while they change, so after a power
 * loss one of them may be newer than the next. `claimed` = i + 1 before slot i is written,
 * `committed` = i + 1 after. An epoch of all ones means that the ring is being
 * rewritten by truncate, and is to be ignored.
 *
 * All decoding and checking of a header happens here.
 */
#ifndef SDE_LIB_RING_HEADER_H
#define SDE_LIB_RING_HEADER_H

#include "slot.h"

#define SDE__RING_HEADER_SIZE 4096
#define SDE__RING_HEADER_NAME "header"
#define SDE__RING_EPOCH_NONE UINT64_MAX

enum sde__ring_counter {
	SDE__RING_CLAIMED = 512,
	SDE__RING_COMMITTED = 576,
	SDE__RING_SYNCED = 640,
	SDE__RING_SEALED = 704,
	SDE__RING_EPOCH = 768,
	SDE__RING_BASE = 832
};
#define SDE__RING_COUNTERS 6

struct sde__ring_header {
	struct sde__slot_layout layout;
	unsigned char run[16];
	unsigned char boot[16];
	uint64_t device, inode;
	enum sde_ring_io ring_io;
};

/* The static part, and all counters zero. */
void sde__ring_header_encode(const struct sde__ring_header *header,
			     unsigned char page[SDE__RING_HEADER_SIZE]);

/* SDE_E_CORRUPT or SDE_E_VERSION, with a sentence about 'place'. */
int sde__ring_header_decode(const unsigned char page[SDE__RING_HEADER_SIZE],
			    struct sde__ring_header *header, const char *place,
			    struct sde_error *error);

#endif
