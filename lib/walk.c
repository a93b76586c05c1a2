/* SPDX-License-Identifier: MIT */
/* Blocks of memory, and of what can be read: see walk.h. */
#include "walk.h"

#include "crew.h"

#include <errno.h>
#include <stdlib.h>

/* A selection cut along one axis, `step` indices a block. */
struct slices {
	const struct sde__walk *walk;
	const unsigned char *base;
	unsigned ndim, axis;
	const struct sde__range *range;
	const int64_t *strides;
	uint64_t step;
};

/* Indices along `axis` that make a block of about the usual size. */
static uint64_t indices_a_block(const struct sde__range *range, unsigned ndim, unsigned axis,
				size_t item)
{
	uint64_t bytes = item;

	for (unsigned i = 0; i < ndim; i++)
		if (i != axis && __builtin_mul_overflow(bytes, range[i].count, &bytes))
			return 1;
	return bytes < SDE__WALK_BLOCK ? SDE__WALK_BLOCK / bytes : 1;
}

static void block_of(const struct slices *s, uint64_t number, struct sde_block *block)
{
	const uint64_t first = number * s->step, left = s->range[s->axis].count - first;

	*block = (struct sde_block){ .data = s->base, .count = { 1, 1, 1 } };
	for (unsigned i = 0; i < s->ndim; i++) {
		block->start[i] = s->range[i].start;
		block->count[i] = s->range[i].count;
		block->strides[i] = s->strides[i];
	}
	block->start[s->axis] += first;
	block->count[s->axis] = left < s->step ? left : s->step;
}

/* `own` is only the thread's number, one too large since it must not be NULL. */
static int begin_slices(void *ctx, unsigned thread, void **own, struct sde_error *error)
{
	(void)ctx;
	(void)error;
	*own = (void *)((uintptr_t)thread + 1);
	return 0;
}

static int visit_slice(void *ctx, void *own, uint64_t job, struct sde_error *error)
{
	const struct slices *s = ctx;
	const unsigned char *data = s->base;
	struct sde_block block;

	(void)error;
	block_of(s, job, &block);
	for (unsigned i = 0; i < s->ndim; i++)
		data += (int64_t)block.start[i] * s->strides[i];
	block.data = data;
	block.thread = (unsigned)((uintptr_t)own - 1);
	return s->walk->function(s->walk->ctx, &block);
}

static void end_slices(void *ctx, void *own)
{
	(void)ctx;
	(void)own;
}

static unsigned slowest_axis(const struct sde__walk *walk, unsigned ndim,
			     const struct sde__range *range, const int64_t *strides)
{
	unsigned axis = ndim - 1;

	if (walk->whole)
		return axis;
	for (unsigned i = 0; i < ndim; i++)
		if (range[i].count > 1 && (range[axis].count == 1 ||
					   llabs(strides[i]) > llabs(strides[axis])))
			axis = i;
	return axis;
}

int sde__walk_memory(const struct sde__walk *walk, const void *base, size_t item, unsigned ndim,
		     const struct sde__range *range, const int64_t *strides,
		     struct sde_error *error)
{
	struct slices s = { walk, base, ndim, 0, range, strides, 0 };
	const struct sde__crew crew = { begin_slices, visit_slice, end_slices, &s };

	s.axis = slowest_axis(walk, ndim, range, strides);
	s.step = indices_a_block(range, ndim, s.axis, item);
	return sde__crew_run(&crew, walk->threads, (range[s.axis].count - 1) / s.step + 1, error);
}

int sde__walk_by_reading(const struct sde__walk *walk, const struct sde_array *array,
			 const struct sde__range *range, struct sde_error *error)
{
	const unsigned ndim = array->ndim, last = ndim - 1;
	struct slices s = { walk, NULL, ndim, last, range, NULL, 0 };
	uint64_t bytes = sde__dtype_size(array->dtype);
	int64_t strides[3] = { 0 };
	void *buffer = NULL;
	int ret = 0;

	s.step = indices_a_block(range, ndim, last, bytes);
	if (s.step > range[last].count)
		s.step = range[last].count;
	/* time is slowest: a snapshot lies together */
	for (unsigned i = last; i-- > 0;) {
		strides[i] = (int64_t)bytes;
		if (__builtin_mul_overflow(bytes, range[i].count, &bytes))
			bytes = UINT64_MAX;
	}
	strides[last] = (int64_t)bytes;
	if (!__builtin_mul_overflow(bytes, s.step, &bytes) && bytes <= PTRDIFF_MAX)
		buffer = malloc((size_t)bytes);
	if (!buffer)
		return sde__fail(error, -ENOMEM, "no memory for a block");
	s.strides = strides;
	for (uint64_t i = 0; i * s.step < range[last].count && !ret; i++) {
		struct sde__range part[3];
		struct sde_block block;

		block_of(&s, i, &block);
		for (unsigned axis = 0; axis < ndim; axis++)
			part[axis] = (struct sde__range){ block.start[axis], block.count[axis], 1 };
		ret = array->source->read(array->self, part, buffer, strides, error);
		block.data = buffer;
		if (!ret)
			ret = walk->function(walk->ctx, &block);
	}
	free(buffer);
	return ret;
}
