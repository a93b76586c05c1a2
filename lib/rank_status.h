/* SPDX-License-Identifier: MIT */
/*
 * What a column's writer tells the others: data/.ring/<c>/status, 64 bytes that are
 * written over after each chunk file; synced where other machines may have to see it.
 *
 *	offset	size	(little-endian)
 *	0	8	magic "SDESTAT\n"
 *	8	4	version, 1
 *	12	4	CRC-32C of bytes 16 .. 63
 *	16	16	run id
 *	32	8	epoch
 *	40	8	column
 *	48	8	held: snapshots that its chunk files have, durably
 *	56	8	zero
 *
 * Who reads it may find an older one, or half of each: then the column counts as not
 * having come as far, which only delays what is published. It is no part of recovery.
 */
#ifndef SDE_LIB_RANK_STATUS_H
#define SDE_LIB_RANK_STATUS_H

#include "home.h"

#define SDE__STATUS_SIZE 64

struct sde__rank_status {
	unsigned char run[16];
	uint64_t epoch, column, held;
};

/* Create it in the column's ring directory; the descriptor, or -errno. */
int sde__rank_status_open(const struct sde__home *column, struct sde_error *error);

int sde__rank_status_write(const struct sde__io *io, int fd, const struct sde__rank_status *status,
			   bool synced, struct sde_error *error);

/* `held` of column->column by the last of its writers of this run and epoch; 0: none. */
uint64_t sde__rank_status_read(const struct sde__home *home,
			       const struct sde__rank_status *column);

/* What is not there is fine. */
int sde__rank_status_remove(const struct sde__home *column, struct sde_error *error);

#endif
