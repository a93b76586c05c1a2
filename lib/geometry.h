/* SPDX-License-Identifier: MIT */
/*
 * The sizes of a store: how the (d_X, N, M) array is cut.
 *
 *	chunk		T snapshots; on disk one shard (d_X, W, T)
 *	inner chunk	(d_X, n, T), C order [d][n][t], compressed one by one
 *	W		N rounded up to a multiple of n; W / n inner chunks a shard
 *
 * A store that several write at once is cut into columns: W is a multiple of n that
 * was chosen (column_width), column c has the trajectories from c W on, and a chunk is
 * a shard for each column. The last column may have fewer than W; what its shards have
 * behind them is padding. A column is a geometry of its own, that of all its shards.
 *
 * A geometry that passed sde__geometry_check cannot overflow in any of the
 * products below.
 */
#ifndef SDE_LIB_GEOMETRY_H
#define SDE_LIB_GEOMETRY_H

#include "error.h"

struct sde__geometry {
	uint64_t dimension;	/* d_X */
	uint64_t trajectories;	/* N */
	uint64_t chunk_size;	/* T */
	uint64_t inner_width;	/* n */
	enum sde_dtype dtype;
	uint64_t column_width;	/* W where there are columns; 0: all is one */
};

/* Bytes of one number: 4 or 8; 0 for an unknown dtype. */
size_t sde__dtype_size(enum sde_dtype dtype);

/*
 * Fill in the defaults for chunk_size and inner_width where they are 0, then
 * check: a chunk of about 16 MiB (T at most 2^20), an inner chunk of about
 * inner_target bytes, n a multiple of 8 where N allows it. With columns n is a divisor
 * of W: near inner_target if there is one, else the next larger.
 */
#define SDE__INNER_TARGET ((uint64_t)512 << 10)		/* near an L2 cache */
#define SDE__INNER_TARGET_V2 ((uint64_t)64 << 20)	/* each is a file */

int sde__geometry_choose(struct sde__geometry *geometry, uint64_t inner_target,
			 struct sde_error *error);

/*
 * -EINVAL with a sentence for zero sizes, n > N rounded up to 8, an inner chunk
 * over 2 GiB (blosc's limit), a T over 2^31, or sizes that overflow.
 */
int sde__geometry_check(const struct sde__geometry *geometry, struct sde_error *error);

size_t sde__snapshot_bytes(const struct sde__geometry *geometry);	/* d N item */
uint64_t sde__shard_width(const struct sde__geometry *geometry);	/* W */
uint64_t sde__inner_count(const struct sde__geometry *geometry);	/* W / n */
size_t sde__inner_bytes(const struct sde__geometry *geometry);		/* d n T item */

uint64_t sde__column_count(const struct sde__geometry *geometry);
struct sde__geometry sde__column_geometry(const struct sde__geometry *geometry, uint64_t column);

#endif
