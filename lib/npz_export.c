/* SPDX-License-Identifier: MIT */
/* Streaming arrays into a NumPy file: see npz_export.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "npz_export.h"

#include "array.h"
#include "npz_writer.h"
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((uint64_t)16 << 20)	/* bytes read at once */
#define THREADS_MAX 256

struct export {
	struct sde__npz_writer *writer;
	const struct sde_npz_options *options;
	uint64_t start[3], count[3], step[3];	/* of data */
	size_t item;
	size_t block;			/* bytes read at once, at most */
	uint64_t done, all;		/* bytes */
};

unsigned sde__npz_threads(unsigned asked)
{
	cpu_set_t mask;
	int cores;

	if (asked)
		return asked < THREADS_MAX ? asked : THREADS_MAX;
	if (sched_getaffinity(0, sizeof(mask), &mask))
		return 1;
	cores = CPU_COUNT(&mask);
	return cores < THREADS_MAX ? (unsigned)cores : THREADS_MAX;
}

/* ------------------------------------------------------------------------
 * The selection
 */

static int check_column(const struct sde_array *column, const char *name, enum sde_dtype dtype,
			uint64_t snapshots, struct sde_error *error)
{
	if (sde_array_ndim(column) != 1 || sde_array_dtype(column) != dtype ||
	    sde_array_shape(column)[0] != snapshots)
		return sde__fail(error, -EINVAL, "%s is not a one-dimensional array of %" PRIu64
				 " numbers of its type", name, snapshots);
	return 0;
}

static int select_axis(struct export *e, int axis, uint64_t length, struct sde_error *error)
{
	const struct sde_npz_options *o = e->options;

	e->start[axis] = o->start ? o->start[axis] : 0;
	e->step[axis] = o->step ? o->step[axis] : 1;
	if (!e->step[axis])
		return sde__fail(error, -EINVAL, "step 0 along axis %d", axis);
	e->count[axis] = o->count ? o->count[axis] : e->start[axis] >= length ? 0 :
			 (length - e->start[axis] - 1) / e->step[axis] + 1;
	if (!e->count[axis])
		return sde__fail(error, -EINVAL, "the selection along axis %d is empty", axis);
	if (e->start[axis] >= length || (e->count[axis] - 1) > (length - 1 - e->start[axis]) / e->step[axis])
		return sde__fail(error, -ERANGE, "the selection leaves axis %d of length %" PRIu64, axis,
				 length);
	return 0;
}

static int select_all(struct export *e, const struct sde_array *time, const struct sde_array *data,
		      const struct sde_array *iteration, struct sde_error *error)
{
	const uint64_t *shape;
	int ret = 0;

	if (!time || !data)
		return sde__fail(error, -EINVAL, "no time or no data given");
	if (sde_array_ndim(data) != 3 || sde_array_dtype(data) == SDE_INT64)
		return sde__fail(error, -EINVAL, "data is no array (d_X, N, M) of floats");
	shape = sde_array_shape(data);
	ret = check_column(time, "time", SDE_FLOAT64, shape[2], error);
	if (!ret && iteration)
		ret = check_column(iteration, "iteration", SDE_INT64, shape[2], error);
	for (int axis = 0; axis < 3 && !ret; axis++)
		ret = select_axis(e, axis, shape[axis], error);
	e->item = sde__dtype_size(sde_array_dtype(data));
	return ret;
}

/* ------------------------------------------------------------------------
 * Blocks
 */

/* A selection of `bytes` into the file, laid out by `strides`. */
static int move_block(struct export *e, const struct sde_array *array, const uint64_t *start,
		      const uint64_t *count, const uint64_t *step, const int64_t *strides,
		      size_t bytes, struct sde_error *error)
{
	const struct sde_npz_options *o = e->options;
	struct sde_error why;
	void *room;
	int ret;

	ret = sde__npz_reserve(e->writer, bytes, &room, error);
	if (ret)
		return ret;
	ret = sde__array_read_strided(array, start, count, step, room, strides);
	if (ret) {
		sde_array_error(array, &why);
		return sde__fail(error, ret, "%s", why.text);
	}
	ret = sde__npz_commit(e->writer, bytes, error);
	if (ret)
		return ret;
	e->done += bytes;
	if (o->progress && o->progress(o->progress_ctx, e->done, e->all))
		return sde__fail(error, -ECANCELED, "writing was stopped");
	return 0;
}

static int write_column(struct export *e, const char *name, const struct sde_array *column,
			struct sde_error *error)
{
	const struct sde__npy npy = { .dtype = sde_array_dtype(column), .ndim = 1,
				      .shape = { e->count[2] } };
	const uint64_t most = e->block / 8;
	const int64_t stride = 8;
	int ret;

	ret = sde__npz_member_begin(e->writer, name, &npy, error);
	for (uint64_t i = 0, n; i < e->count[2] && !ret; i += n) {
		const uint64_t start = e->start[2] + i * e->step[2];

		n = e->count[2] - i < most ? e->count[2] - i : most;
		ret = move_block(e, column, &start, &n, &e->step[2], &stride, 8 * (size_t)n, error);
	}
	return ret ? ret : sde__npz_member_end(e->writer, error);
}

/* `count` of data from `start` on, as [m][n][d] or, in C order, [d][n][m]. */
static int move_data(struct export *e, const struct sde_array *data, const uint64_t start[3],
		     const uint64_t count[3], struct sde_error *error)
{
	const int64_t item = (int64_t)e->item;
	const int64_t d = (int64_t)count[0], n = (int64_t)count[1], m = (int64_t)count[2];
	const int64_t fortran[3] = { item, item * d, item * d * n };
	const int64_t c[3] = { item * m * n, item * m, item };

	return move_block(e, data, start, count, e->step, e->options->c_order ? c : fortran,
			  (size_t)(d * n * m * item), error);
}

static uint64_t at_least_one(uint64_t n)
{
	return n ? n : 1;
}

/* [m][n][d]: some snapshots at a time. */
static int write_fortran(struct export *e, const struct sde_array *data, struct sde_error *error)
{
	const uint64_t snapshot = e->count[0] * e->count[1] * e->item;
	const uint64_t most = at_least_one(BLOCK / at_least_one(snapshot));
	int ret = 0;

	for (uint64_t m = 0, n; m < e->count[2] && !ret; m += n) {
		const uint64_t start[3] = { e->start[0], e->start[1], e->start[2] + m * e->step[2] };

		n = e->count[2] - m < most ? e->count[2] - m : most;
		ret = move_data(e, data, start, (const uint64_t[3]){ e->count[0], e->count[1], n },
				error);
	}
	return ret;
}

/* [d][n][m]: some trajectories at a time; a very long one in parts. */
static int write_c(struct export *e, const struct sde_array *data, struct sde_error *error)
{
	const uint64_t most = BLOCK / at_least_one(e->item);
	const uint64_t times = e->count[2] < most ? e->count[2] : most;
	const uint64_t rows = at_least_one(most / at_least_one(times));
	int ret = 0;

	for (uint64_t d = 0; d < e->count[0] && !ret; d++)
		for (uint64_t n = 0, some; n < e->count[1] && !ret; n += some) {
			some = e->count[1] - n < rows ? e->count[1] - n : rows;
			for (uint64_t m = 0, part; m < e->count[2] && !ret; m += part) {
				const uint64_t start[3] = { e->start[0] + d * e->step[0],
							    e->start[1] + n * e->step[1],
							    e->start[2] + m * e->step[2] };

				part = e->count[2] - m < times ? e->count[2] - m : times;
				ret = move_data(e, data, start, (const uint64_t[3]){ 1, some, part },
						error);
			}
		}
	return ret;
}

static int write_data(struct export *e, const struct sde_array *data, struct sde_error *error)
{
	const struct sde__npy npy = {
		.dtype = sde_array_dtype(data), .fortran_order = !e->options->c_order, .ndim = 3,
		.shape = { e->count[0], e->count[1], e->count[2] },
	};
	int ret;

	ret = sde__npz_member_begin(e->writer, "data", &npy, error);
	if (!ret)
		ret = e->options->c_order ? write_c(e, data, error) : write_fortran(e, data, error);
	return ret ? ret : sde__npz_member_end(e->writer, error);
}

/* ------------------------------------------------------------------------
 * The file
 */

static int measure(struct export *e, bool iteration, struct sde_error *error)
{
	uint64_t snapshot, data;

	if (__builtin_mul_overflow(e->count[0], e->count[1], &snapshot) ||
	    __builtin_mul_overflow(snapshot, e->item, &snapshot) ||
	    __builtin_mul_overflow(snapshot, e->count[2], &data) || data > INT64_MAX)
		return sde__fail(error, -EINVAL, "the selection is larger than a file can be");
	e->all = data + (iteration ? 16 : 8) * e->count[2];
	e->block = (size_t)(e->options->c_order || snapshot < BLOCK ? BLOCK : snapshot);
	return 0;
}

static int write_members(struct export *e, const struct sde_array *time,
			 const struct sde_array *data, const struct sde_array *iteration,
			 struct sde_error *error)
{
	int ret;

	ret = write_column(e, "time", time, error);
	if (!ret && iteration)
		ret = write_column(e, "iteration", iteration, error);
	return ret ? ret : write_data(e, data, error);
}

int sde__npz_export(const struct sde__io *io, const char *path, const struct sde_array *time,
		    const struct sde_array *data, const struct sde_array *iteration,
		    const struct sde_npz_options *options, struct sde_error *error)
{
	struct sde_npz_options own;
	struct sde__npz_options how = { 0 };
	struct export e = { .options = &own };
	int ret;

	ret = sde__options_take(&own, sizeof(own), sizeof(own), options, "struct sde_npz_options",
				error);
	if (!ret && (!path || !*path))
		ret = sde__fail(error, -EINVAL, "no path given");
	if (!ret)
		ret = select_all(&e, time, data, iteration, error);
	if (!ret)
		ret = measure(&e, iteration, error);
	if (ret)
		return ret;
	how.threads = sde__npz_threads(own.threads);
	how.stored = own.store;
	how.overwrite = own.overwrite;
	how.most = e.block;
	ret = sde__npz_create(&e.writer, io, path, &how, error);
	if (ret)
		return ret;
	ret = write_members(&e, time, data, iteration, error);
	if (ret)
		sde__npz_abandon(e.writer);
	else
		ret = sde__npz_finish(e.writer, error);
	return ret;
}
