/* SPDX-License-Identifier: MIT */
/* Array handles over memory: selections against plain loops, arguments, release. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "array.h"
#include "twin.h"

#include <sdestore/backend.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Random memory seen as an array of any axes order, direction and padding. */
struct seen {
	unsigned char *memory;
	const unsigned char *base;
	unsigned ndim;
	uint64_t shape[3];
	int64_t strides[3];
	size_t item;
	enum sde_dtype dtype;
};

static void seen_make(struct seen *seen, uint64_t *seed)
{
	static const enum sde_dtype dtypes[] = { SDE_FLOAT64, SDE_FLOAT32, SDE_INT64 };
	size_t bytes, offset = 0;
	unsigned order[3] = { 0, 1, 2 };

	memset(seen, 0, sizeof(*seen));
	seen->dtype = dtypes[twin_below(seed, 3)];
	seen->item = seen->dtype == SDE_FLOAT32 ? 4 : 8;
	seen->ndim = 1 + (unsigned)twin_below(seed, 3);
	for (unsigned i = 0; i < seen->ndim; i++)
		seen->shape[i] = 1 + twin_below(seed, 12);
	for (unsigned i = seen->ndim; i-- > 1; ) {
		const unsigned j = (unsigned)twin_below(seed, i + 1), k = order[i];

		order[i] = order[j];
		order[j] = k;
	}
	bytes = seen->item;
	for (unsigned i = 0; i < seen->ndim; i++) {
		const unsigned axis = order[i];
		const size_t stride = bytes * (size_t)(1 + twin_below(seed, 2));

		bytes = stride * (size_t)seen->shape[axis];
		seen->strides[axis] = (int64_t)stride;
		if (twin_below(seed, 3) == 0) {
			offset += stride * (size_t)(seen->shape[axis] - 1);
			seen->strides[axis] = -(int64_t)stride;
		}
	}
	seen->memory = malloc(bytes);
	assert_non_null(seen->memory);
	for (size_t i = 0; i < bytes; i++)
		seen->memory[i] = (unsigned char)twin_random(seed);
	seen->base = seen->memory + offset;
}

static const void *element(const struct seen *seen, const uint64_t *index)
{
	int64_t at = 0;

	for (unsigned i = 0; i < seen->ndim; i++)
		at += (int64_t)index[i] * seen->strides[i];
	return seen->base + at;
}

static void read_random(const struct seen *seen, const struct sde_array *array, uint64_t *seed)
{
	uint64_t start[3] = { 0 }, count[3] = { 1, 1, 1 }, step[3] = { 1, 1, 1 }, k[3];
	size_t bytes = seen->item;
	unsigned char *out, *at;

	for (unsigned i = 0; i < seen->ndim; i++) {
		start[i] = twin_below(seed, seen->shape[i]);
		step[i] = 1 + twin_below(seed, 4);
		count[i] = 1 + twin_below(seed, (seen->shape[i] - start[i] - 1) / step[i] + 1);
		bytes *= (size_t)count[i];
	}
	out = at = malloc(bytes + 1);
	assert_non_null(out);
	out[bytes] = 0x5a;
	assert_int_equal(sde_array_read(array, start, count, step, out, bytes), 0);
	for (k[0] = 0; k[0] < count[0]; k[0]++)
		for (k[1] = 0; k[1] < count[1]; k[1]++)
			for (k[2] = 0; k[2] < count[2]; k[2]++, at += seen->item) {
				const uint64_t index[3] = { start[0] + k[0] * step[0],
							    start[1] + k[1] * step[1],
							    start[2] + k[2] * step[2] };

				assert_memory_equal(at, element(seen, index), seen->item);
			}
	assert_int_equal(out[bytes], 0x5a);
	free(out);
}

/* The same in a layout of its own; what lies between its numbers is left alone. */
static void read_strided(const struct seen *seen, const struct sde_array *array, uint64_t *seed)
{
	uint64_t count[3] = { 1, 1, 1 }, k[3];
	int64_t strides[3] = { 0 };
	unsigned char *out;
	size_t bytes, touched = 0;

	for (unsigned i = 0; i < seen->ndim; i++)
		count[i] = 1 + twin_below(seed, seen->shape[i]);
	bytes = twin_strides(seed, seen->item, seen->ndim, count, strides);
	out = malloc(bytes);
	assert_non_null(out);
	memset(out, 0, bytes);
	assert_int_equal(sde__array_read_strided(array, NULL, count, NULL, out, strides), 0);
	for (k[0] = 0; k[0] < count[0]; k[0]++)
		for (k[1] = 0; k[1] < count[1]; k[1]++)
			for (k[2] = 0; k[2] < count[2]; k[2]++, touched++) {
				unsigned char *at = out + (int64_t)k[0] * strides[0] +
						    (int64_t)k[1] * strides[1] + (int64_t)k[2] * strides[2];

				assert_memory_equal(at, element(seen, k), seen->item);
				memset(at, 0, seen->item);
			}
	assert_int_equal(touched, count[0] * count[1] * count[2]);
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(out[i], 0);
	free(out);
}

static void any_selection_of_wrapped_memory_is_right(void **state)
{
	uint64_t seed = 2024;

	(void)state;
	for (int i = 0; i < 400; i++) {
		struct sde_array *array;
		struct seen seen;

		seen_make(&seen, &seed);
		assert_int_equal(sde_array_wrap(&array, seen.base, seen.dtype, seen.ndim, seen.shape,
						seen.strides, NULL, NULL), 0);
		assert_int_equal(sde_array_ndim(array), seen.ndim);
		assert_int_equal(sde_array_dtype(array), seen.dtype);
		assert_memory_equal(sde_array_shape(array), seen.shape, seen.ndim * 8);
		for (int j = 0; j < 8; j++)
			read_random(&seen, array, &seed);
		read_strided(&seen, array, &seed);
		sde_array_close(array);
		free(seen.memory);
	}
}

static void defaults_select_as_much_as_fits(void **state)
{
	const double x[6] = { 0, 1, 2, 3, 4, 5 };
	const uint64_t shape[1] = { 6 }, start[1] = { 1 }, step[1] = { 2 }, count[1] = { 2 };
	const uint64_t end[1] = { 6 };
	const int64_t strides[1] = { 8 };
	struct sde_array *array;
	double out[6];

	(void)state;
	assert_int_equal(sde_array_wrap(&array, x, SDE_FLOAT64, 1, shape, strides, NULL, NULL), 0);
	assert_int_equal(sde_array_read(array, NULL, NULL, NULL, out, sizeof(out)), 0);
	assert_memory_equal(out, x, sizeof(x));
	/* 1, 3, 5 */
	assert_int_equal(sde_array_read(array, start, NULL, step, out, 3 * 8 - 1), -ENOBUFS);
	assert_int_equal(sde_array_read(array, start, NULL, step, out, 3 * 8), 0);
	assert_true(out[0] == 1 && out[1] == 3 && out[2] == 5);
	assert_int_equal(sde_array_read(array, NULL, count, NULL, out, sizeof(out)), 0);
	assert_true(out[0] == 0 && out[1] == 1);
	/* from the end on there is nothing, which is not an error */
	assert_int_equal(sde_array_read(array, end, NULL, NULL, NULL, 0), 0);
	sde_array_close(array);
}

static void an_array_without_elements_can_be_read(void **state)
{
	const uint64_t shape[3] = { 2, 0, 3 };
	const int64_t strides[3] = { 8, 8, 8 };
	struct sde_array *array;
	double x = 1.0;

	(void)state;
	assert_int_equal(sde_array_wrap(&array, &x, SDE_FLOAT64, 3, shape, strides, NULL, NULL), 0);
	assert_int_equal(sde_array_read(array, NULL, NULL, NULL, NULL, 0), 0);
	sde_array_close(array);
}

static void count_release(void *ctx)
{
	++*(int *)ctx;
}

static void release_is_called_once_and_only_by_close(void **state)
{
	const uint64_t shape[1] = { 1 };
	const int64_t strides[1] = { 8 }, *none = NULL;
	struct sde_array *array;
	double x = 1.0, out;
	int released = 0;

	(void)state;
	assert_int_equal(sde_array_wrap(&array, &x, SDE_FLOAT64, 1, shape, strides, count_release,
					&released), 0);
	assert_int_equal(sde_array_read(array, NULL, NULL, NULL, &out, 8), 0);
	assert_int_equal(released, 0);
	sde_array_close(array);
	assert_int_equal(released, 1);
	/* not on failure */
	assert_int_equal(sde_array_wrap(&array, &x, SDE_FLOAT64, 1, shape, none, count_release,
					&released), -EINVAL);
	assert_null(array);
	assert_int_equal(released, 1);
}

static void impossible_wraps_are_refused(void **state)
{
	const uint64_t shape[3] = { 1, 1, 1 };
	const int64_t strides[3] = { 8, 8, 8 };
	struct sde_array *array;
	double x = 1.0;

	(void)state;
	assert_int_equal(sde_array_wrap(NULL, &x, SDE_FLOAT64, 1, shape, strides, NULL, NULL), -EINVAL);
	assert_int_equal(sde_array_wrap(&array, NULL, SDE_FLOAT64, 1, shape, strides, NULL, NULL),
			 -EINVAL);
	assert_int_equal(sde_array_wrap(&array, &x, SDE_FLOAT64, 0, shape, strides, NULL, NULL),
			 -EINVAL);
	assert_int_equal(sde_array_wrap(&array, &x, SDE_FLOAT64, 4, shape, strides, NULL, NULL),
			 -EINVAL);
	assert_int_equal(sde_array_wrap(&array, &x, SDE_FLOAT64, 1, NULL, strides, NULL, NULL),
			 -EINVAL);
	assert_int_equal(sde_array_wrap(&array, &x, (enum sde_dtype)9, 1, shape, strides, NULL, NULL),
			 -EINVAL);
	assert_null(array);
}

static void a_map_of_wrapped_memory_is_that_memory(void **state)
{
	const uint64_t shape[3] = { 1, 1, 1 };
	const int64_t strides[3] = { -24, 16, 8 };
	int64_t got[3] = { 0 };
	struct sde_array *array;
	const void *base = NULL;
	double x = 1.0;

	(void)state;
	assert_int_equal(sde_array_wrap(&array, &x, SDE_FLOAT64, 3, shape, strides, NULL, NULL), 0);
	assert_int_equal(sde_array_map(array, 1, &base, got), 0);
	assert_ptr_equal(base, &x);
	assert_memory_equal(got, strides, sizeof(got));
	assert_int_equal(sde_array_map(array, 0, NULL, got), -EINVAL);
	assert_int_equal(sde_array_map(array, 0, &base, NULL), -EINVAL);
	sde_array_close(array);
}

static void a_handle_keeps_the_sentence_of_its_last_failure(void **state)
{
	const uint64_t shape[1] = { 3 }, zero[1] = { 0 }, far[1] = { 4 };
	const int64_t strides[1] = { 8 };
	const double x[3] = { 0 };
	struct sde_error error = { -1, "old" };
	struct sde_array *array;
	double out[3];

	(void)state;
	assert_int_equal(sde_array_wrap(&array, x, SDE_FLOAT64, 1, shape, strides, NULL, NULL), 0);
	assert_int_equal(sde_array_error(array, &error), 0);
	assert_int_equal(error.code, 0);
	assert_int_equal(sde_array_read(array, NULL, NULL, zero, out, sizeof(out)), -EINVAL);
	assert_int_equal(sde_array_error(array, &error), -EINVAL);
	twin_assert_sentence(error.text, "step", "axis 0");
	assert_int_equal(sde_array_read(array, far, NULL, NULL, out, sizeof(out)), -ERANGE);
	assert_int_equal(sde_array_error(array, NULL), -ERANGE);
	/* a success does not take it back */
	assert_int_equal(sde_array_read(array, NULL, NULL, NULL, out, sizeof(out)), 0);
	assert_int_equal(sde_array_error(array, &error), -ERANGE);
	twin_assert_sentence(error.text, "axis 0", "4");
	sde_array_close(array);
}

static void numbers_that_overflow_are_refused(void **state)
{
	/* as large as can be said: no element of it is touched */
	const uint64_t shape[3] = { UINT64_MAX, UINT64_MAX, UINT64_MAX };
	const uint64_t start[3] = { 1, 1, 1 };
	const uint64_t count[3] = { UINT64_MAX, 1, 1 }, step[3] = { 2, 1, 1 };
	const int64_t strides[3] = { 0, 0, 0 };
	struct sde_array *array;
	double x = 1.0, out[2];

	(void)state;
	assert_int_equal(sde_array_wrap(&array, &x, SDE_FLOAT64, 3, shape, strides, NULL, NULL), 0);
	assert_int_equal(sde_array_read(array, NULL, NULL, NULL, out, sizeof(out)), -ENOBUFS);
	assert_int_equal(sde_array_read(array, start, count, NULL, out, sizeof(out)), -ERANGE);
	assert_int_equal(sde_array_read(array, NULL, count, step, out, sizeof(out)), -ERANGE);
	sde_array_close(array);
}

static void any_step_reaches_one_element(void **state)
{
	static const double x[2][3] = { { 1, 2, 3 }, { 4, 5, 6 } };
	static const uint64_t shape[2] = { 2, 3 }, start[2] = { 1, 2 }, count[2] = { 1, 1 };
	static const uint64_t step[2] = { UINT64_MAX, (uint64_t)1 << 63 };
	static const int64_t strides[2] = { sizeof(x[0]), sizeof(x[0][0]) };
	struct sde_array *array;
	double out;

	(void)state;
	assert_int_equal(sde_array_wrap(&array, x, SDE_FLOAT64, 2, shape, strides, NULL, NULL), 0);
	assert_int_equal(sde_array_read(array, start, count, step, &out, sizeof(out)), 0);
	assert_true(out == 6);
	assert_int_equal(sde_array_read(array, start, NULL, step, &out, sizeof(out)), 0);
	assert_true(out == 6);
	sde_array_close(array);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_selection_of_wrapped_memory_is_right),
		cmocka_unit_test(defaults_select_as_much_as_fits),
		cmocka_unit_test(an_array_without_elements_can_be_read),
		cmocka_unit_test(release_is_called_once_and_only_by_close),
		cmocka_unit_test(impossible_wraps_are_refused),
		cmocka_unit_test(a_map_of_wrapped_memory_is_that_memory),
		cmocka_unit_test(a_handle_keeps_the_sentence_of_its_last_failure),
		cmocka_unit_test(numbers_that_overflow_are_refused),
		cmocka_unit_test(any_step_reaches_one_element),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
