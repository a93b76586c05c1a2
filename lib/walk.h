/* SPDX-License-Identifier: MIT */
/*
 * Walking over an array, block by block: sde_array_walk's ways to make blocks. A
 * store has its own (dataset_walk.c); here are those of memory, whose blocks are
 * the memory itself, and of anything that can be read.
 */
#ifndef SDE_LIB_WALK_H
#define SDE_LIB_WALK_H

#include "array.h"

struct sde__walk {
	unsigned threads;
	bool whole;		/* blocks have all trajectories of the selection */
	sde_walk_function *function;
	void *ctx;
};

/* About as many bytes has a block where nothing else says how large it is. */
#define SDE__WALK_BLOCK ((uint64_t)1 << 20)

/*
 * Elements of `item` bytes at `base` + strides; the selection is not empty, its
 * steps are 1. Cut along the axis whose stride is largest.
 */
int sde__walk_memory(const struct sde__walk *walk, const void *base, size_t item, unsigned ndim,
		     const struct sde__range *range, const int64_t *strides,
		     struct sde_error *error);

/* The same of a source that can only be read: by the caller's thread, along the last axis. */
int sde__walk_by_reading(const struct sde__walk *walk, const struct sde_array *array,
			 const struct sde__range *range, struct sde_error *error);

#endif
