/* SPDX-License-Identifier: MIT */
/*
 * The public side of array handles: arguments are checked here, so that a
 * source only ever sees selections that lie in the shape.
 */
#include "array.h"

#include "crew.h"
#include "options.h"
#include "strided.h"
#include "walk.h"

#include <sdestore/backend.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int sde__array_new(struct sde_array **out, const struct sde__array_source *source, void *self,
		   enum sde_dtype dtype, unsigned ndim, const uint64_t *shape)
{
	struct sde_array *array = calloc(1, sizeof(*array));

	*out = NULL;
	if (!array)
		return -ENOMEM;
	array->source = source;
	array->self = self;
	array->dtype = dtype;
	array->ndim = ndim;
	memcpy(array->shape, shape, ndim * sizeof(*shape));
	pthread_mutex_init(&array->lock, NULL);
	pthread_mutex_init(&array->mapping, NULL);
	*out = array;
	return 0;
}

unsigned sde_array_ndim(const struct sde_array *array)
{
	return array->ndim;
}

const uint64_t *sde_array_shape(const struct sde_array *array)
{
	return array->shape;
}

enum sde_dtype sde_array_dtype(const struct sde_array *array)
{
	return array->dtype;
}

void sde_array_close(struct sde_array *array)
{
	if (!array)
		return;
	if (array->source->release)
		array->source->release(array->self);
	pthread_mutex_destroy(&array->lock);
	pthread_mutex_destroy(&array->mapping);
	free(array);
}

/* Keep the last failure; the handle is const to its readers but for this. */
int sde__array_note(const struct sde_array *array, const struct sde_error *error, int code)
{
	struct sde_array *self = (struct sde_array *)(uintptr_t)array;

	pthread_mutex_lock(&self->lock);
	self->error = *error;
	if (!self->error.code)
		sde__fail(&self->error, code, "%s", sde_strerror(code));
	pthread_mutex_unlock(&self->lock);
	return code;
}

int sde_array_error(const struct sde_array *array, struct sde_error *error)
{
	struct sde_array *self = (struct sde_array *)(uintptr_t)array;
	int code;

	pthread_mutex_lock(&self->lock);
	if (error)
		*error = self->error;
	code = self->error.code;
	pthread_mutex_unlock(&self->lock);
	return code;
}

/* Fill in the defaults of one axis and hold it against the shape. */
static int check_range(const struct sde_array *array, unsigned axis, struct sde__range *range,
		       bool count_given, struct sde_error *error)
{
	const uint64_t length = array->shape[axis];
	uint64_t last;

	if (!range->step)
		return sde__fail(error, -EINVAL, "step 0 along axis %u", axis);
	if (!count_given)
		range->count = range->start >= length ? 0 :
			       (length - range->start - 1) / range->step + 1;
	if (!range->count)
		return range->start <= length ? 0 :
		       sde__fail(error, -ERANGE, "start %" PRIu64 " along axis %u of length %" PRIu64,
				 range->start, axis, length);
	if (__builtin_mul_overflow(range->count - 1, range->step, &last) ||
	    __builtin_add_overflow(last, range->start, &last) || last >= length)
		return sde__fail(error, -ERANGE,
				 "start %" PRIu64 ", count %" PRIu64 ", step %" PRIu64
				 " leave axis %u of length %" PRIu64,
				 range->start, range->count, range->step, axis, length);
	/* any step reaches one element; what sources reckon with stays below length */
	if (range->count == 1)
		range->step = 1;
	return 0;
}

static int check_selection(const struct sde_array *array, const uint64_t *start,
			   const uint64_t *count, const uint64_t *step, size_t out_size,
			   struct sde__range *range, bool *empty, struct sde_error *error)
{
	uint64_t bytes = sde__dtype_size(array->dtype);
	int ret;

	*empty = false;
	for (unsigned i = 0; i < array->ndim; i++) {
		range[i] = (struct sde__range){ start ? start[i] : 0, count ? count[i] : 0,
						step ? step[i] : 1 };
		ret = check_range(array, i, &range[i], count != NULL, error);
		if (ret)
			return ret;
		*empty |= !range[i].count;
	}
	for (unsigned i = 0; i < array->ndim && !*empty; i++)
		if (__builtin_mul_overflow(bytes, range[i].count, &bytes))
			return sde__fail(error, -ENOBUFS, "the selection is larger than memory can be");
	if (!*empty && bytes > out_size)
		return sde__fail(error, -ENOBUFS, "the selection takes %" PRIu64 " bytes, not %zu",
				 bytes, out_size);
	return 0;
}

/* The byte strides of a selection in C order. */
static void c_strides(const struct sde_array *array, const struct sde__range *range,
		      int64_t *strides)
{
	int64_t stride = (int64_t)sde__dtype_size(array->dtype);

	for (unsigned i = array->ndim; i-- > 0; ) {
		strides[i] = stride;
		stride *= (int64_t)range[i].count;
	}
}

/* strides NULL: C order. */
static int read_selection(const struct sde_array *array, const uint64_t *start,
			  const uint64_t *count, const uint64_t *step, void *out,
			  size_t out_size, const int64_t *strides)
{
	struct sde_error error;
	struct sde__range range[3];
	int64_t c_order[3];
	bool empty;
	int ret;

	if (!array)
		return -EINVAL;
	/* not all of the text: small reads are many */
	sde__error_clear(&error);
	ret = check_selection(array, start, count, step, out_size, range, &empty, &error);
	if (!ret && !empty && !out)
		ret = sde__fail(&error, -EINVAL, "no memory to read into");
	if (!ret && !empty) {
		c_strides(array, range, c_order);
		ret = array->source->read(array->self, range, out, strides ? strides : c_order,
					  &error);
	}
	return ret ? sde__array_note(array, &error, ret) : 0;
}

int sde_array_read(const struct sde_array *array, const uint64_t *start, const uint64_t *count,
		   const uint64_t *step, void *out, size_t out_size)
{
	return read_selection(array, start, count, step, out, out_size, NULL);
}

int sde__array_read_strided(const struct sde_array *array, const uint64_t *start,
			    const uint64_t *count, const uint64_t *step, void *out,
			    const int64_t *strides)
{
	return read_selection(array, start, count, step, out, SIZE_MAX, strides);
}

int sde_array_holes(const struct sde_array *array, sde_damage_function *hole, void *ctx)
{
	if (!array)
		return -EINVAL;
	return array->source->holes ? array->source->holes(array->self, hole, ctx) : 0;
}

static int walk_selection(const struct sde_array *array, const struct sde_walk_options *options,
			  sde_walk_function *function, void *ctx, struct sde_error *error)
{
	struct sde_walk_options own;
	struct sde__range range[3];
	struct sde__walk walk;
	bool empty;
	int ret;

	ret = sde__options_take(&own, sizeof(own), sizeof(own), options, "struct sde_walk_options",
				error);
	if (ret)
		return ret;
	if (own.threads > SDE__CREW_MAX)
		return sde__fail(error, -EINVAL, "option threads is %u, more than %d", own.threads,
				 SDE__CREW_MAX);
	ret = check_selection(array, own.start, own.count, NULL, SIZE_MAX, range, &empty, error);
	if (ret || empty)
		return ret;
	walk = (struct sde__walk){ own.threads, own.whole_snapshots != 0, function, ctx };
	return array->source->walk ? array->source->walk(array->self, range, &walk, error) :
				     sde__walk_by_reading(&walk, array, range, error);
}

int sde_array_walk(const struct sde_array *array, const struct sde_walk_options *options,
		   sde_walk_function *function, void *ctx)
{
	struct sde_error error = { 0 };
	int ret;

	if (!array || !function)
		return -EINVAL;
	ret = walk_selection(array, options, function, ctx, &error);
	/* what the function stopped with is the caller's own affair */
	return error.code ? sde__array_note(array, &error, ret) : ret;
}

static int map_array(struct sde_array *array, const struct sde_map_options *options,
		     const void **base, int64_t *strides, struct sde_error *error)
{
	struct sde_map_options own;
	int ret;

	ret = sde__options_take(&own, sizeof(own), sizeof(own), options, "struct sde_map_options",
				error);
	if (ret)
		return ret;
	if ((int)own.on_hole < 0 || own.on_hole > SDE_MAP_HOLE_SIGBUS)
		return sde__fail(error, -EINVAL, "option on_hole has no value %d", (int)own.on_hole);
	if ((int)own.paging < 0 || own.paging > SDE_PAGING_SIGNAL)
		return sde__fail(error, -EINVAL, "option paging has no value %d", (int)own.paging);
	/* the mapping's own thread notes failures here: not under array->lock */
	pthread_mutex_lock(&array->mapping);
	if (!array->base)
		ret = array->source->map(array->self, array, &own, &array->base, array->strides,
					 error);
	*base = array->base;
	memcpy(strides, array->strides, array->ndim * sizeof(*strides));
	pthread_mutex_unlock(&array->mapping);
	return ret;
}

int sde_array_map_with(struct sde_array *array, const struct sde_map_options *options,
		       const void **base, int64_t *strides)
{
	struct sde_error error = { 0 };
	int ret;

	if (!array || !base || !strides)
		return -EINVAL;
	*base = NULL;
	ret = map_array(array, options, base, strides, &error);
	return ret ? sde__array_note(array, &error, ret) : 0;
}

int sde_array_map(struct sde_array *array, size_t budget, const void **base, int64_t *strides)
{
	struct sde_map_options options = SDE_MAP_OPTIONS_INIT;

	options.budget = budget;
	return sde_array_map_with(array, &options, base, strides);
}

static int hold_range(struct sde_array *array, const uint64_t *start, const uint64_t *count,
		      enum sde__hold hold)
{
	struct sde_error error = { 0 };
	struct sde__range range[3];
	bool empty, mapped;
	int ret;

	if (!array)
		return -EINVAL;
	ret = check_selection(array, start, count, NULL, SIZE_MAX, range, &empty, &error);
	pthread_mutex_lock(&array->mapping);
	mapped = array->base != NULL;
	pthread_mutex_unlock(&array->mapping);
	if (!ret && !mapped)
		ret = sde__fail(&error, -EINVAL, "the array is not mapped");
	if (!ret && !empty && array->source->hold)
		ret = array->source->hold(array->self, range, hold, &error);
	return ret ? sde__array_note(array, &error, ret) : 0;
}

int sde_array_prefetch(struct sde_array *array, const uint64_t *start, const uint64_t *count)
{
	return hold_range(array, start, count, SDE__HOLD_FETCH);
}

int sde_array_materialize(struct sde_array *array, const uint64_t *start, const uint64_t *count)
{
	return hold_range(array, start, count, SDE__HOLD_PIN);
}

int sde_array_release(struct sde_array *array, const uint64_t *start, const uint64_t *count)
{
	return hold_range(array, start, count, SDE__HOLD_UNPIN);
}

/* ------------------------------------------------------------------------
 * sde_array_wrap: memory of a backend
 */

struct wrapped {
	const unsigned char *base;
	size_t item;
	unsigned ndim;
	int64_t strides[3];
	void (*release)(void *ctx);
	void *ctx;
};

static int wrapped_read(void *self, const struct sde__range *range, void *out,
			const int64_t *strides, struct sde_error *error)
{
	const struct wrapped *w = self;
	const unsigned char *from = w->base;
	uint64_t count[3] = { 1, 1, 1 };
	int64_t from_strides[3] = { 0 }, to_strides[3] = { 0 };

	(void)error;
	/* the last axis of the array is the last of the three */
	for (unsigned i = 0; i < w->ndim; i++) {
		const unsigned axis = i + 3 - w->ndim;

		count[axis] = range[i].count;
		from_strides[axis] = w->strides[i] * (int64_t)range[i].step;
		to_strides[axis] = strides[i];
		from += w->strides[i] * (int64_t)range[i].start;
	}
	sde__strided_copy(w->item, count, out, to_strides, from, from_strides);
	return 0;
}

static int wrapped_map(void *self, struct sde_array *array, const struct sde_map_options *options,
		       const void **base, int64_t *strides, struct sde_error *error)
{
	const struct wrapped *w = self;

	(void)array;
	(void)options;
	(void)error;
	*base = w->base;
	memcpy(strides, w->strides, w->ndim * sizeof(*strides));
	return 0;
}

static int wrapped_walk(void *self, const struct sde__range *range, const struct sde__walk *walk,
			struct sde_error *error)
{
	const struct wrapped *w = self;

	return sde__walk_memory(walk, w->base, w->item, w->ndim, range, w->strides, error);
}

static void wrapped_release(void *self)
{
	struct wrapped *w = self;

	if (w->release)
		w->release(w->ctx);
	free(w);
}

int sde_array_wrap(struct sde_array **out, const void *base, enum sde_dtype dtype, unsigned ndim,
		   const uint64_t *shape, const int64_t *strides, void (*release)(void *ctx),
		   void *ctx)
{
	static const struct sde__array_source source = {
		.read = wrapped_read, .map = wrapped_map, .walk = wrapped_walk,
		.release = wrapped_release,
	};
	struct wrapped *w;
	int ret;

	if (out)
		*out = NULL;
	if (!out || !base || !shape || !strides || ndim < 1 || ndim > 3 || !sde__dtype_size(dtype))
		return -EINVAL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->base = base;
	w->item = sde__dtype_size(dtype);
	w->ndim = ndim;
	memcpy(w->strides, strides, ndim * sizeof(*strides));
	w->release = release;
	w->ctx = ctx;
	ret = sde__array_new(out, &source, w, dtype, ndim, shape);
	if (ret)
		free(w);
	return ret;
}
