/* SPDX-License-Identifier: MIT */
/*
 * The sizes of a store. Guards against every overflow: what passed
 * sde__geometry_check can be multiplied anywhere else without a thought.
 */
#include "geometry.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>

/*
 * Measured preferences, not limits: chunks of 16 MiB are few enough files and
 * small enough to keep three in memory; an inner chunk of 512 KiB stays in the
 * L2 cache while it is transposed and compressed.
 */
#define CHUNK_TARGET (UINT64_C(16) << 20)	/* bytes */
#define DEFAULT_CHUNK_SIZE_LIMIT (UINT64_C(1) << 20)	/* snapshots */
#define CHUNK_SIZE_LIMIT (UINT64_C(1) << 31)	/* snapshots */

/* BLOSC_MAX_BUFFERSIZE of Blosc 1: its sizes are int, its header 16 bytes. */
#define INNER_LIMIT ((uint64_t)INT_MAX - 16)	/* bytes */

/* Bitshuffle works on groups of 8 numbers and silently skips any other count. */
#define GROUP 8

size_t sde__dtype_size(enum sde_dtype dtype)
{
	switch (dtype) {
	case SDE_FLOAT64:
	case SDE_INT64:
		return 8;
	case SDE_FLOAT32:
		return 4;
	}
	return 0;
}

static bool multiply(uint64_t a, uint64_t b, uint64_t *product)
{
	return !__builtin_mul_overflow(a, b, product);
}

static uint64_t minimum(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t maximum(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* N rounded up to a multiple of 8. What check_ensemble took is below 2^62. */
static uint64_t rounded_up(uint64_t trajectories)
{
	return (trajectories + (GROUP - 1)) / GROUP * GROUP;
}

/* The ensemble alone: what the caller cannot leave to us. */
static int check_ensemble(const struct sde__geometry *g, struct sde_error *error)
{
	uint64_t bytes;

	if (g->dtype != SDE_FLOAT64 && g->dtype != SDE_FLOAT32)
		return sde__fail(error, -EINVAL,
				 "'dtype' is %d, not SDE_FLOAT64 or SDE_FLOAT32",
				 (int)g->dtype);
	if (g->dimension == 0)
		return sde__fail(error, -EINVAL, "'dimension' is 0, it must be at least 1");
	if (g->trajectories == 0)
		return sde__fail(error, -EINVAL,
				 "'trajectories' is 0, it must be at least 1");
	if (!multiply(g->dimension, g->trajectories, &bytes) ||
	    !multiply(bytes, sde__dtype_size(g->dtype), &bytes) ||
	    bytes > INT64_MAX || bytes > SIZE_MAX / 2)
		return sde__fail(error, -EINVAL,
				 "a snapshot of 'dimension' %" PRIu64
				 " times 'trajectories' %" PRIu64 " does not fit in memory",
				 g->dimension, g->trajectories);
	return 0;
}

static uint64_t default_chunk_size(const struct sde__geometry *g)
{
	uint64_t t = CHUNK_TARGET / sde__snapshot_bytes(g);

	t = minimum(maximum(t, 1), DEFAULT_CHUNK_SIZE_LIMIT);
	return t >= GROUP ? t - t % GROUP : t;
}

/*
 * For fewer than 8 trajectories: with padding, if that makes d n T a multiple of 8 and
 * costs little. Blosc does not shuffle a block of another number of items, and
 * says nothing; a large inner chunk loses only its last block.
 */
static uint64_t narrow_inner_width(const struct sde__geometry *g, uint64_t column,
				   uint64_t target)
{
	uint64_t n = g->trajectories;

	if (column > target / GROUP)
		return n;
	while (g->dimension % GROUP * n * (g->chunk_size % GROUP) % GROUP)
		n++;
	return n;
}

/*
 * About `target` bytes, a multiple of 8 wherever N allows; fewer than 8 only if 8
 * would be over the limit (a d_X or a given T that large).
 */
static uint64_t default_inner_width(const struct sde__geometry *g, uint64_t target)
{
	uint64_t column, n;	/* column: bytes of one trajectory, d T item */

	if (!multiply(g->dimension, g->chunk_size, &column) ||
	    !multiply(column, sde__dtype_size(g->dtype), &column) ||
	    column > INNER_LIMIT)
		return 1;	/* which the check refuses */
	if (g->trajectories < GROUP) {
		n = narrow_inner_width(g, column, target);
	} else {
		n = target / column;
		n = maximum(n - n % GROUP, GROUP);
		n = minimum(n, rounded_up(g->trajectories));
	}
	return minimum(n, INNER_LIMIT / column);
}

/* Divisors of a width are looked for up to here, and with them their complements. */
#define DIVISORS (UINT64_C(1) << 20)

/*
 * A divisor of W: the largest within the target, unless it is so small that inner
 * chunks would be many and tiny; then the smallest above. Multiples of 8 if W is one.
 */
static uint64_t default_column_inner(const struct sde__geometry *g, uint64_t target)
{
	const uint64_t unit = g->column_width % GROUP ? 1 : GROUP, all = g->column_width / unit;
	uint64_t column, wanted, below = 1, above = all;

	if (!multiply(g->dimension, g->chunk_size, &column) ||
	    !multiply(column, unit * sde__dtype_size(g->dtype), &column) || column > INNER_LIMIT)
		return unit;	/* which the check refuses, or not */
	wanted = maximum(target / column, 1);
	for (uint64_t k = 1; k <= DIVISORS && k <= all / k; k++) {
		if (all % k)
			continue;
		for (int i = 0; i < 2; i++) {
			const uint64_t divisor = i ? all / k : k;

			if (divisor <= wanted)
				below = maximum(below, divisor);
			else
				above = minimum(above, divisor);
		}
	}
	return unit * (below >= wanted / 8 || above > INNER_LIMIT / column ? below : above);
}

int sde__geometry_choose(struct sde__geometry *geometry, uint64_t inner_target,
			 struct sde_error *error)
{
	int status = check_ensemble(geometry, error);

	if (status)
		return status;
	/*
	 * A default T needs no second thought for a given n: where T > 1 a
	 * snapshot is at most 16 MiB, and n is at most N + 7.
	 */
	if (geometry->chunk_size == 0)
		geometry->chunk_size = default_chunk_size(geometry);
	if (geometry->inner_width == 0)
		geometry->inner_width = geometry->column_width ?
			default_column_inner(geometry, inner_target) :
			default_inner_width(geometry, inner_target);
	return sde__geometry_check(geometry, error);
}

/* One inner chunk, d n T item, must be what a compressor takes. */
static int check_inner(const struct sde__geometry *g, struct sde_error *error)
{
	uint64_t bytes;
	bool fits = multiply(g->dimension, g->inner_width, &bytes) &&
		    multiply(bytes, g->chunk_size, &bytes) &&
		    multiply(bytes, sde__dtype_size(g->dtype), &bytes);

	if (fits && bytes <= INNER_LIMIT)
		return 0;
	return sde__fail(error, -EINVAL,
			 "an inner chunk of %s%" PRIu64 " bytes is over the limit of %"
			 PRIu64 ": lower 'chunk_size' (%" PRIu64
			 ") or 'trajectories_per_chunk' (%" PRIu64 ")",
			 fits ? "" : "more than ", fits ? bytes : UINT64_MAX,
			 INNER_LIMIT, g->chunk_size, g->inner_width);
}

/*
 * A whole shard, d W T item: the offsets in its file are int64. W itself cannot
 * overflow: n is at most N + 7, N below 2^62.
 */
static int check_shard(const struct sde__geometry *g, struct sde_error *error)
{
	uint64_t bytes;

	if (multiply(g->dimension, sde__shard_width(g), &bytes) &&
	    multiply(bytes, g->chunk_size, &bytes) &&
	    multiply(bytes, sde__dtype_size(g->dtype), &bytes) &&
	    bytes <= INT64_MAX && bytes <= SIZE_MAX / 2)
		return 0;
	return sde__fail(error, -EINVAL,
			 "a chunk of %" PRIu64 " snapshots of 'dimension' %" PRIu64
			 " times 'trajectories' %" PRIu64
			 " is too large to address: lower 'chunk_size'",
			 g->chunk_size, g->dimension, g->trajectories);
}

int sde__geometry_check(const struct sde__geometry *geometry, struct sde_error *error)
{
	int status = check_ensemble(geometry, error);

	if (status)
		return status;
	if (geometry->chunk_size == 0)
		return sde__fail(error, -EINVAL,
				 "'chunk_size' is 0, it must be at least 1");
	if (geometry->chunk_size > CHUNK_SIZE_LIMIT)
		return sde__fail(error, -EINVAL,
				 "'chunk_size' is %" PRIu64 ", over the limit of %" PRIu64,
				 geometry->chunk_size, CHUNK_SIZE_LIMIT);
	if (geometry->inner_width == 0)
		return sde__fail(error, -EINVAL,
				 "'trajectories_per_chunk' is 0, it must be at least 1");
	if (geometry->inner_width > rounded_up(geometry->trajectories))
		return sde__fail(error, -EINVAL,
				 "'trajectories_per_chunk' is %" PRIu64
				 ", more than the %" PRIu64 " 'trajectories' rounded up to a"
				 " multiple of 8", geometry->inner_width,
				 geometry->trajectories);
	if (geometry->column_width % geometry->inner_width)
		return sde__fail(error, -EINVAL,
				 "'trajectories_per_chunk' %" PRIu64
				 " does not divide a column of %" PRIu64 " trajectories",
				 geometry->inner_width, geometry->column_width);
	status = check_inner(geometry, error);
	return status ? status : check_shard(geometry, error);
}

size_t sde__snapshot_bytes(const struct sde__geometry *geometry)
{
	return (size_t)(geometry->dimension * geometry->trajectories) *
	       sde__dtype_size(geometry->dtype);
}

uint64_t sde__shard_width(const struct sde__geometry *geometry)
{
	return sde__inner_count(geometry) * geometry->inner_width;
}

uint64_t sde__inner_count(const struct sde__geometry *geometry)
{
	if (geometry->column_width)
		return geometry->column_width / geometry->inner_width;
	return (geometry->trajectories - 1) / geometry->inner_width + 1;
}

size_t sde__inner_bytes(const struct sde__geometry *geometry)
{
	return (size_t)(geometry->dimension * geometry->inner_width *
			geometry->chunk_size) * sde__dtype_size(geometry->dtype);
}

uint64_t sde__column_count(const struct sde__geometry *geometry)
{
	return geometry->column_width ? (geometry->trajectories - 1) / geometry->column_width + 1 : 1;
}

struct sde__geometry sde__column_geometry(const struct sde__geometry *geometry, uint64_t column)
{
	struct sde__geometry own = *geometry;

	if (geometry->column_width)
		own.trajectories = minimum(geometry->trajectories - column * geometry->column_width,
					   geometry->column_width);
	return own;
}
