/* SPDX-License-Identifier: MIT */
/*
 * A decoded inner chunk in memory, in one of two orders. As it is stored, all times of a
 * trajectory lie together, [d][n][t]. Turned, all trajectories of a time do, [d][t][n]:
 * whoever reads snapshot by snapshot would otherwise take a whole cache line out of
 * memory for each number, and do so again for each of the snapshots that share it.
 *
 * It is turned once, between decoding and being kept, while it is in the processor's
 * cache. The padding is part of it in either order.
 */
#ifndef SDE_LIB_INNER_H
#define SDE_LIB_INNER_H

#include "geometry.h"

#include <stdbool.h>

enum sde__inner_order {
	SDE__INNER_STORED = 1,
	SDE__INNER_TURNED = 2,
};

/* Bytes from one to the next number along d, n, t. */
void sde__inner_strides(const struct sde__geometry *geometry, enum sde__inner_order order,
			int64_t strides[3]);

/* `stored`, as it is decoded, into `turned`; both sde__inner_bytes long. */
void sde__inner_turn(const struct sde__geometry *geometry, const void *stored, void *turned);

/* Is a selection of so many numbers along d, n, t, so many bytes apart, like one as stored? */
bool sde__inner_is_like(const struct sde__geometry *geometry, const uint64_t count[3],
			const int64_t strides[3]);

/*
 * The order to keep an inner chunk in, of which `trajectories` x `times` numbers are read
 * next to each other: turned if there is less than a cache line along a trajectory, and
 * at least one along a snapshot.
 */
enum sde__inner_order sde__inner_order_for(const struct sde__geometry *geometry,
					   uint64_t trajectories, uint64_t times);

/*
 * So many numbers read of one in the wrong order, a cache line each, move as many bytes as
 * all of it has.
 */
uint64_t sde__inner_patience(const struct sde__geometry *geometry);

#endif
