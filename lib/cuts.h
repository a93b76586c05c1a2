/* SPDX-License-Identifier: MIT */
/*
 * A selection of data (d_X, N, M), cut where chunks and inner chunks meet: pieces
 * that can be read one by one, numbered in storage order (time first, then
 * trajectories). What lies in the ring, which knows no inner chunks, is cut along
 * time only.
 */
#ifndef SDE_LIB_CUTS_H
#define SDE_LIB_CUTS_H

#include "geometry.h"
#include "reader.h"

#include <stdbool.h>

struct sde__cuts {
	const struct sde__geometry *geometry;
	const struct sde__range *range;	/* [3], the caller's */
	uint64_t filed;		/* snapshots from here on are not in files */
	uint64_t chunk, inner;	/* the first ones that are touched */
	uint64_t inners;	/* numbers a chunk */
	uint64_t count;		/* of all numbers; some may have no piece */
};

/* `whole`: pieces have all trajectories of the selection, which is not empty. */
void sde__cuts_make(struct sde__cuts *cuts, const struct sde__geometry *geometry,
		    const struct sde__range range[3], uint64_t filed, bool whole);

struct sde__cut {
	struct sde__range range[3];	/* in the array */
	uint64_t at[3];			/* of its first number, in the selection */
	uint64_t chunk, inner;
	bool filed;			/* all in the file of its chunk */
};

/* false: there is no piece of this number. */
bool sde__cuts_piece(const struct sde__cuts *cuts, uint64_t number, struct sde__cut *piece);

#endif
