/* SPDX-License-Identifier: MIT */
/* Snapshots in plain memory, and comparing a storage with them: see twin.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "twin.h"

#include "array.h"
#include "rounded.h"

#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

uint64_t twin_random(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t twin_below(uint64_t *seed, uint64_t n)
{
	return twin_random(seed) % n;
}

void twin_assert_code(int ret, int code, const char *text, const char *file, int line)
{
	if (ret == code)
		return;
	print_error("got %d (%s), not %d: %s\n", ret, sde_strerror(ret), code, text ? text : "");
	_fail(file, line);
}

void twin_assert_text(const char *text, const char *part, const char *other, const char *file,
		      int line)
{
	const size_t n = strlen(text);

	if (n && text[n - 1] != '.' && text[n - 1] != '\n' && !isupper((unsigned char)text[0]) &&
	    (!part || strstr(text, part)) && (!other || strstr(text, other)))
		return;
	print_error("the sentence is: %s\n", text);
	if (part)
		print_error("it should have: %s\n", part);
	if (other)
		print_error("and: %s\n", other);
	_fail(file, line);
}

const char *twin_sentence(const struct sde_storage *storage)
{
	static __thread struct sde_error error;

	memset(&error, 0, sizeof(error));
	sde_storage_error(storage, &error);
	return error.text;
}

static size_t item(const struct twin *twin)
{
	return twin->ensemble.dtype == SDE_FLOAT32 ? 4 : 8;
}

size_t twin_snapshot_bytes(const struct twin *twin)
{
	return (size_t)(twin->ensemble.dimension * twin->ensemble.trajectories) * item(twin);
}

void twin_init(struct twin *twin, const struct sde_ensemble *ensemble, uint64_t stride,
	       uint64_t seed)
{
	memset(twin, 0, sizeof(*twin));
	twin->ensemble = *ensemble;
	twin->layout = SDE_LAYOUT_DIMENSION_TRAJECTORY;
	twin->stride = stride;
	twin->seed = seed;
	twin->snapshot = malloc(twin_snapshot_bytes(twin));
	assert_non_null(twin->snapshot);
}

void twin_free(struct twin *twin)
{
	struct twin_record *record = twin->all;

	while (record) {
		struct twin_record *older = record->older;

		free(record->state);
		free(record->data);
		free(record->rounded);
		free(record);
		record = older;
	}
	free(twin->record);
	free(twin->snapshot);
	memset(twin, 0, sizeof(*twin));
}

/* Bits of a binary64, or binary32 if `small`: one in eight is a special one. */
static uint64_t number(struct twin *twin, bool small)
{
	static const uint64_t special[] = {
		0, UINT64_C(0x8000000000000000), UINT64_C(0x7ff0000000000000),
		UINT64_C(0xfff0000000000000), UINT64_C(0x7ff8000000000000),
		UINT64_C(0x7ff0000000000001), UINT64_C(0xfff8dead0000beef), 1,
		UINT64_C(0x800fffffffffffff), UINT64_C(0x7fefffffffffffff),
	};
	static const uint32_t small_special[] = {
		0, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc0beef, 1,
		0x807fffff, 0x7f7fffff,
	};
	const uint64_t bits = twin_random(&twin->seed);
	const double smooth = (double)(bits >> 40) / 1e5 - 60.0;
	uint64_t out;

	if (bits % 8 == 0)
		return small ? small_special[bits / 8 % 10] : special[bits / 8 % 10];
	if (bits % 8 == 1)
		return small ? bits >> 32 : bits;
	if (small) {
		const float narrow = (float)smooth;
		uint32_t word;

		memcpy(&word, &narrow, sizeof(word));
		return word;
	}
	memcpy(&out, &smooth, sizeof(out));
	return out;
}

void twin_next(struct twin *twin)
{
	const uint64_t numbers = twin->ensemble.dimension * twin->ensemble.trajectories;
	unsigned char *to = twin->snapshot;
	uint64_t bits;

	for (uint64_t i = 0; i < numbers; i++) {
		bits = number(twin, item(twin) == 4);
		memcpy(to + i * item(twin), &bits, item(twin));
	}
	bits = number(twin, false);
	memcpy(&twin->time, &bits, sizeof(bits));
	bits = twin_below(&twin->seed, 16) ? twin_below(&twin->seed, 1000000) :
		(uint64_t)INT64_MAX;
	twin->iteration = bits - bits % twin->stride;
}

static unsigned char *copy_of(const void *bytes, size_t n)
{
	unsigned char *copy = malloc(n + 1);

	assert_non_null(copy);
	if (n)
		memcpy(copy, bytes, n);
	return copy;
}

/* The snapshot as [d][n], whatever the caller's layout is. */
static unsigned char *in_our_order(const struct twin *twin)
{
	const uint64_t dimension = twin->ensemble.dimension, n = twin->ensemble.trajectories;
	const unsigned char *from = twin->snapshot;
	unsigned char *copy = copy_of(from, twin_snapshot_bytes(twin));

	if (twin->layout != SDE_LAYOUT_TRAJECTORY_DIMENSION)
		return copy;
	for (uint64_t i = 0; i < dimension; i++)
		for (uint64_t j = 0; j < n; j++)
			memcpy(copy + (i * n + j) * item(twin),
			       from + (j * dimension + i) * item(twin), item(twin));
	return copy;
}

void twin_keep(struct twin *twin)
{
	struct twin_record *record = calloc(1, sizeof(*record));

	assert_non_null(record);
	record->time = twin->time;
	record->iteration = (int64_t)twin->iteration;
	record->state_size = twin->state_size;
	record->state = copy_of(twin->state, twin->state_size);
	record->data = in_our_order(twin);
	record->rounded = copy_of(record->data, twin_snapshot_bytes(twin));
	rounded_in_place(item(twin), twin->keepbits, record->rounded,
			 twin_snapshot_bytes(twin) / item(twin));
	record->older = twin->all;
	twin->all = record;
	twin->state_size = 0;
	twin->cut = false;
	if (twin->count == twin->room) {
		twin->room = twin->room ? 2 * twin->room : 64;
		twin->record = realloc(twin->record, twin->room * sizeof(*twin->record));
		assert_non_null(twin->record);
	}
	twin->record[twin->count++] = record;
}

void twin_truncate(struct twin *twin, uint64_t snapshots)
{
	assert_true(snapshots <= twin->count);
	/* the records live on for the views that were taken of them */
	twin->cut = twin->cut || snapshots < twin->count;
	twin->count = snapshots;
}

void twin_store(struct twin *twin, struct sde_storage *storage, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		twin_next(twin);
		twin_assert_ok(sde_storage_store(storage, twin->time, twin->snapshot,
						 twin->iteration), twin_sentence(storage));
		twin_keep(twin);
	}
}

void twin_store_in_child(struct twin *twin, struct sde_storage *storage)
{
	twin->state_size = (size_t)(twin->count % 3) * 5;
	memset(twin->state, (int)twin->count, twin->state_size);
	if (storage)
		sde_storage_set_state(storage, twin->state, twin->state_size);
	twin_next(twin);
	if (storage && sde_storage_store(storage, twin->time, twin->snapshot, twin->iteration))
		_exit(2);
	twin_keep(twin);
}

/* ------------------------------------------------------------------------
 * Views
 */

void twin_view_take(struct twin *twin, struct sde_storage *storage, struct twin_view *view)
{
	const uint64_t *shape;
	int ret;

	memset(view, 0, sizeof(*view));
	view->count = twin->count;
	ret = sde_storage_values(storage, &view->time, &view->data);
	if (!twin->count) {
		twin_assert_is(ret, SDE_E_NO_DATA, "values of nothing");
		assert_null(view->time);
		assert_null(view->data);
		twin_assert_is(sde_storage_iterations(storage, &view->iteration), SDE_E_NO_DATA,
			       "iterations of nothing");
		return;
	}
	twin_assert_ok(ret, twin_sentence(storage));
	twin_assert_ok(sde_storage_iterations(storage, &view->iteration), twin_sentence(storage));
	view->record = malloc(twin->count * sizeof(*view->record));
	assert_non_null(view->record);
	memcpy(view->record, twin->record, twin->count * sizeof(*view->record));
	assert_int_equal(sde_array_ndim(view->data), 3);
	shape = sde_array_shape(view->data);
	assert_int_equal(shape[0], twin->ensemble.dimension);
	assert_int_equal(shape[1], twin->ensemble.trajectories);
	assert_int_equal(shape[2], twin->count);
	assert_int_equal(sde_array_dtype(view->data), twin->ensemble.dtype);
	assert_int_equal(sde_array_ndim(view->time), 1);
	assert_int_equal(sde_array_shape(view->time)[0], twin->count);
	assert_int_equal(sde_array_dtype(view->time), SDE_FLOAT64);
	assert_int_equal(sde_array_dtype(view->iteration), SDE_INT64);
}

/* A selection of an axis: all of it, one, none, or anything that fits. */
static void choose_range(uint64_t *seed, uint64_t length, uint64_t *start, uint64_t *count,
			 uint64_t *step)
{
	*step = 1;
	switch (twin_below(seed, 8)) {
	case 0: case 1: case 2:
		*start = 0;
		*count = length;
		return;
	case 3: case 4:
		*start = twin_below(seed, length);
		*count = 1;
		*step = 1 + twin_below(seed, 9);
		return;
	case 5:
		*start = twin_below(seed, length + 1);
		*count = twin_below(seed, 4) ? length - *start : 0;
		return;
	default:
		*start = twin_below(seed, length);
		*step = 1 + twin_below(seed, length);
		*count = 1 + twin_below(seed, (length - *start - 1) / *step + 1);
	}
}

size_t twin_strides(uint64_t *seed, size_t item, unsigned ndim, const uint64_t *count,
		    int64_t *strides)
{
	unsigned order[3] = { 0, 1, 2 };
	size_t bytes = item;

	for (unsigned i = ndim; i-- > 1; ) {
		const unsigned j = (unsigned)twin_below(seed, i + 1), k = order[i];

		order[i] = order[j];
		order[j] = k;
	}
	for (unsigned i = 0; i < ndim; i++) {
		strides[order[i]] = (int64_t)(bytes * (twin_below(seed, 4) ? 1 : 2));
		bytes = (size_t)strides[order[i]] * (size_t)count[order[i]];
	}
	return bytes;
}

int twin_read(uint64_t *seed, const struct sde_array *data, const uint64_t *start,
	      const uint64_t *count, const uint64_t *step, unsigned char **out,
	      int64_t strides[3])
{
	const size_t size = sde_array_dtype(data) == SDE_FLOAT32 ? 4 : 8;
	const bool c_order = twin_below(seed, 2);
	size_t bytes;

	if (c_order) {
		strides[2] = (int64_t)size;
		strides[1] = strides[2] * (int64_t)count[2];
		strides[0] = strides[1] * (int64_t)count[1];
		bytes = (size_t)strides[0] * (size_t)count[0];
	} else {
		bytes = twin_strides(seed, size, 3, count, strides);
	}
	*out = malloc(bytes + 1);
	assert_non_null(*out);
	return c_order ? sde_array_read(data, start, count, step, *out, bytes) :
			 sde__array_read_strided(data, start, count, step, *out, strides);
}

/* Read and compare; false if the view is stale, and may be. */
static bool data_is_right(struct twin *twin, const struct twin_view *view, const uint64_t *start,
			  const uint64_t *count, const uint64_t *step)
{
	const uint64_t n = twin->ensemble.trajectories;
	struct sde_error error = { 0 };
	unsigned char *out;
	int64_t strides[3];
	int ret;

	ret = twin_read(&twin->seed, view->data, start, count, step, &out, strides);
	if (ret == SDE_E_STALE && view->truncated) {
		free(out);
		return false;
	}
	if (ret)
		sde_array_error(view->data, &error);
	twin_assert_ok(ret, error.text);
	for (uint64_t i = 0; i < count[0]; i++)
		for (uint64_t j = 0; j < count[1]; j++)
			for (uint64_t k = 0; k < count[2]; k++) {
				const uint64_t d = start[0] + i * step[0], m = start[1] + j * step[1];
				const uint64_t t = start[2] + k * step[2];
				const unsigned char *at = out + (int64_t)i * strides[0] +
							  (int64_t)j * strides[1] + (int64_t)k * strides[2];

				if (!memcmp(at, view->record[t]->rounded + (d * n + m) * item(twin),
					    item(twin)))
					continue;
				print_error("wrong value at (%llu, %llu, %llu) of M = %llu\n",
					    (unsigned long long)d, (unsigned long long)m,
					    (unsigned long long)t, (unsigned long long)view->count);
				fail();
			}
	free(out);
	return true;
}

static bool column_is_right(const struct twin_view *view, bool is_time, uint64_t start,
			    uint64_t count, uint64_t step)
{
	const struct sde_array *array = is_time ? view->time : view->iteration;
	uint64_t *out = malloc((count + 1) * 8);
	struct sde_error error = { 0 };
	int ret;

	assert_non_null(out);
	ret = sde_array_read(array, &start, &count, &step, out, count * 8);
	if (ret == SDE_E_STALE && view->truncated) {
		free(out);
		return false;
	}
	if (ret)
		sde_array_error(array, &error);
	twin_assert_ok(ret, error.text);
	for (uint64_t k = 0; k < count; k++) {
		const struct twin_record *record = view->record[start + k * step];
		const void *right = is_time ? (const void *)&record->time : &record->iteration;

		if (!memcmp(&out[k], right, 8))
			continue;
		print_error("wrong %s at %llu + %llu x %llu of M = %llu\n",
			    is_time ? "time" : "iteration", (unsigned long long)start,
			    (unsigned long long)k, (unsigned long long)step,
			    (unsigned long long)view->count);
		fail();
	}
	free(out);
	return true;
}

void twin_view_check(struct twin *twin, struct twin_view *view, int tries)
{
	const uint64_t lengths[3] = { twin->ensemble.dimension, twin->ensemble.trajectories,
				      view->count };
	uint64_t start[3], count[3], step[3];

	if (!view->count)
		return;
	for (int i = 0; i < tries; i++) {
		for (int axis = 0; axis < 3; axis++)
			choose_range(&twin->seed, lengths[axis], &start[axis], &count[axis],
				     &step[axis]);
		data_is_right(twin, view, start, count, step);
		choose_range(&twin->seed, view->count, start, count, step);
		column_is_right(view, true, start[0], count[0], step[0]);
		choose_range(&twin->seed, view->count, start, count, step);
		column_is_right(view, false, start[0], count[0], step[0]);
	}
}

void twin_view_close(struct twin_view *view)
{
	sde_array_close(view->time);
	sde_array_close(view->data);
	sde_array_close(view->iteration);
	free(view->record);
	memset(view, 0, sizeof(*view));
}

/* ------------------------------------------------------------------------
 * All at once
 */

static void check_state(const struct twin *twin, struct sde_storage *storage)
{
	const struct twin_record *last = twin->count ? twin->record[twin->count - 1] : NULL;
	unsigned char bytes[sizeof(twin->state)];
	size_t n = sizeof(bytes);
	int ret;

	ret = sde_storage_state(storage, bytes, &n);
	if (!last || !last->state_size) {
		twin_assert_is(ret, SDE_E_NO_DATA, "there is no state");
		return;
	}
	twin_assert_ok(ret, twin_sentence(storage));
	assert_int_equal(n, last->state_size);
	assert_memory_equal(bytes, last->state, n);
}

/* A writer gives it in its own layout, a reader as [d][n]. */
static void check_last(const struct twin *twin, struct sde_storage *storage)
{
	const uint64_t dimension = twin->ensemble.dimension, n = twin->ensemble.trajectories;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	const size_t bytes = twin_snapshot_bytes(twin);
	const struct twin_record *last;
	const unsigned char *right;
	unsigned char *is = malloc(bytes);
	int exact = 7, ret;
	bool turned;

	assert_non_null(is);
	ret = sde_storage_last(storage, is, bytes, &exact);
	if (!twin->count) {
		twin_assert_is(ret, SDE_E_NO_DATA, "there is no last snapshot");
		free(is);
		return;
	}
	twin_assert_ok(ret, twin_sentence(storage));
	assert_true(exact == 1 || (exact == 0 && twin->keepbits && twin->cut));
	ret = sde_storage_last(storage, is, bytes, NULL);
	twin_assert_is(ret, exact ? 0 : SDE_E_NO_DATA, twin_sentence(storage));
	twin_assert_ok(sde_storage_last(storage, is, bytes, &exact), "again");
	last = twin->record[twin->count - 1];
	right = exact ? last->data : last->rounded;
	twin_assert_ok(sde_storage_info(storage, &info), twin_sentence(storage));
	turned = info.segments && info.sync && twin->layout == SDE_LAYOUT_TRAJECTORY_DIMENSION;
	for (uint64_t d = 0; d < dimension; d++)
		for (uint64_t j = 0; j < n; j++)
			assert_memory_equal(is + (turned ? j * dimension + d : d * n + j) * item(twin),
					    right + (d * n + j) * item(twin), item(twin));
	free(is);
}

static void check_info(const struct twin *twin, struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	twin_assert_ok(sde_storage_info(storage, &info), twin_sentence(storage));
	assert_int_equal(info.committed, twin->count);
	assert_true(info.published <= info.committed);
	assert_true(info.sealed <= info.committed);
	assert_true(info.synced <= info.committed);
	assert_int_equal(info.stride, twin->stride);
	assert_int_equal(info.ensemble.dimension, twin->ensemble.dimension);
	assert_int_equal(info.ensemble.trajectories, twin->ensemble.trajectories);
	assert_int_equal(info.ensemble.dtype, twin->ensemble.dtype);
	if (!twin->count) {
		assert_true(info.first_time != info.first_time);
		assert_int_equal(info.first_iteration, -1);
		assert_int_equal(info.last_iteration, -1);
		return;
	}
	assert_memory_equal(&info.first_time, &twin->record[0]->time, 8);
	assert_memory_equal(&info.last_time, &twin->record[twin->count - 1]->time, 8);
	assert_true(info.first_iteration == twin->record[0]->iteration);
	assert_true(info.last_iteration == twin->record[twin->count - 1]->iteration);
}

void twin_check(struct twin *twin, struct sde_storage *storage)
{
	uint64_t start[3] = { 0 }, step[3] = { 1, 1, 1 };
	const uint64_t count[3] = { twin->ensemble.dimension, twin->ensemble.trajectories,
				    twin->count };
	struct twin_view view;

	check_info(twin, storage);
	check_state(twin, storage);
	check_last(twin, storage);
	twin_view_take(twin, storage, &view);
	if (twin->count) {
		assert_true(data_is_right(twin, &view, start, count, step));
		assert_true(column_is_right(&view, true, 0, twin->count, 1));
		assert_true(column_is_right(&view, false, 0, twin->count, 1));
	}
	twin_view_check(twin, &view, 2);
	twin_view_close(&view);
}

void twin_check_path(struct twin *twin, const char *path)
{
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	twin_assert_ok(sde_storage_open(&storage, path, NULL, &error), error.text);
	twin_check(twin, storage);
	twin_assert_ok(sde_storage_verify(storage, NULL), twin_sentence(storage));
	twin_assert_ok(sde_storage_close(storage), "close of a reader");
}
