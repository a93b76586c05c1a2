/* SPDX-License-Identifier: MIT */
/*
 * Array handles: what is common to all of them. A source says where the values
 * come from: memory (sde_array_wrap) or a store (dataset.h).
 */
#ifndef SDE_LIB_ARRAY_H
#define SDE_LIB_ARRAY_H

#include "reader.h"

struct sde__walk;

/* What a user wants with a part of a lazily mapped array. */
enum sde__hold { SDE__HOLD_FETCH, SDE__HOLD_PIN, SDE__HOLD_UNPIN };

#include <pthread.h>

struct sde__array_source {
	/* The selection has `ndim` ranges, is not empty and lies in the shape; out
	 * has room for it, laid out by one byte stride an axis. Any number of
	 * threads at once. */
	int (*read)(void *self, const struct sde__range *range, void *out,
		    const int64_t *strides, struct sde_error *error);
	/* Called at most once with success. `array` is for sde__array_note. */
	int (*map)(void *self, struct sde_array *array, const struct sde_map_options *options,
		   const void **base, int64_t *strides, struct sde_error *error);
	/* Of a range of a mapped array, which is not empty: NULL where all of it is
	 * memory anyway. */
	int (*hold)(void *self, const struct sde__range *range, enum sde__hold hold,
		    struct sde_error *error);
	/* sde_array_walk over a selection as for read, with steps of 1 (walk.h).
	 * NULL: by reading. Nonzero without a sentence is what the user's function
	 * returned. Any number of threads at once. */
	int (*walk)(void *self, const struct sde__range *range, const struct sde__walk *walk,
		    struct sde_error *error);
	void (*release)(void *self);
	/* As sde_array_holes; NULL: it never fills anything. */
	int (*holes)(void *self, sde_damage_function *hole, void *ctx);
};

struct sde_array {
	const struct sde__array_source *source;
	void *self;
	enum sde_dtype dtype;
	unsigned ndim;
	uint64_t shape[3];
	pthread_mutex_t lock;		/* guards error */
	struct sde_error error;
	pthread_mutex_t mapping;	/* guards what is below */
	const void *base;		/* mapped, or NULL */
	int64_t strides[3];
};

/*
 * sde_array_read into memory of any layout: `strides` has the bytes from one
 * number of the selection to the next, along each axis. All of it must have room.
 */
int sde__array_read_strided(const struct sde_array *array, const uint64_t *start,
			    const uint64_t *count, const uint64_t *step, void *out,
			    const int64_t *strides);

/* Keep a failure for sde_array_error; returns code. Any thread. */
int sde__array_note(const struct sde_array *array, const struct sde_error *error, int code);

/* On failure self still belongs to the caller. */
int sde__array_new(struct sde_array **out, const struct sde__array_source *source, void *self,
		   enum sde_dtype dtype, unsigned ndim, const uint64_t *shape);

#endif
