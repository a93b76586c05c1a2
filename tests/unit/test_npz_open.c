/* SPDX-License-Identifier: MIT */
/*
 * npz files opened as storages. The files are NumPy's own, in both orders, stored
 * and deflated, or ours; the numbers in them are a formula of their place, which is
 * the oracle of every selection.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "npz_open.h"
#include "scratch.h"
#include "twin.h"

#include <sdestore/backend.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct shape {
	uint64_t d, n, m;
	enum sde_dtype dtype;
};

/* exact in float32 and easy to say in Python */
static double value(const struct shape *s, uint64_t d, uint64_t n, uint64_t m)
{
	return (double)(((d * s->n + n) * s->m + m) * 7 % 1000003) / 4;
}

static double value_time(uint64_t m)
{
	return (double)m / 8;
}

static int64_t value_iteration(uint64_t m)
{
	return (int64_t)m * 3;
}

/* ------------------------------------------------------------------------
 * Making files
 */

static const char script[] =
	"import sys, zipfile\n"
	"import numpy as np\n"
	"d, n, m = (int(x) for x in sys.argv[2:5])\n"
	"dtype, order, how, iteration = sys.argv[5:9]\n"
	"i = np.arange(d * n * m, dtype=np.uint64) * np.uint64(7) % np.uint64(1000003)\n"
	"data = np.array((i.astype('f8') / 4).reshape(d, n, m), dtype=dtype, order=order)\n"
	"a = {'time': np.arange(m) / 8, 'data': data}\n"
	"if iteration == 'yes': a['iteration'] = np.arange(m, dtype='i8') * 3\n"
	"(np.savez if how == 'stored' else np.savez_compressed)(sys.argv[1], **a)\n";

static bool run_python(char *const arguments[])
{
	const pid_t child = fork();
	int status;

	if (!child) {
		if (!freopen("/dev/null", "w", stderr))
			_exit(126);
		execv("/usr/bin/python3", arguments);
		_exit(127);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

/* Skips the test where there is no NumPy. */
static void need_numpy(void)
{
	char import[] = "import numpy", c[] = "-c", python[] = "python3";
	char *const arguments[] = { python, c, import, NULL };

	if (!run_python(arguments)) {
		print_message("no NumPy for /usr/bin/python3\n");
		skip();
	}
}

static void numpy_writes(const char *path, const struct shape *s, char order, bool stored,
			 bool iteration)
{
	char text[9][64], code[sizeof(script)];
	char *arguments[13];

	memcpy(code, script, sizeof(script));
	snprintf(text[0], sizeof(text[0]), "%s", path);
	snprintf(text[1], sizeof(text[1]), "%ju", (uintmax_t)s->d);
	snprintf(text[2], sizeof(text[2]), "%ju", (uintmax_t)s->n);
	snprintf(text[3], sizeof(text[3]), "%ju", (uintmax_t)s->m);
	snprintf(text[4], sizeof(text[4]), "%s", s->dtype == SDE_FLOAT32 ? "f4" : "f8");
	snprintf(text[5], sizeof(text[5]), "%c", order);
	snprintf(text[6], sizeof(text[6]), "%s", stored ? "stored" : "deflated");
	snprintf(text[7], sizeof(text[7]), "%s", iteration ? "yes" : "no");
	snprintf(text[8], sizeof(text[8]), "-c");
	arguments[0] = text[8];
	arguments[1] = text[8];
	arguments[2] = code;
	for (int i = 0; i < 8; i++)
		arguments[3 + i] = text[i];
	arguments[11] = NULL;
	assert_true(run_python(arguments));
}

/* What value() says, in C order. */
static void *make_data(const struct shape *s)
{
	const size_t count = (size_t)(s->d * s->n * s->m);
	double *data = malloc(count * 8);
	float *narrow = (float *)data;

	assert_non_null(data);
	for (uint64_t d = 0, i = 0; d < s->d; d++)
		for (uint64_t n = 0; n < s->n; n++)
			for (uint64_t m = 0; m < s->m; m++, i++)
				if (s->dtype == SDE_FLOAT32)
					narrow[i] = (float)value(s, d, n, m);
				else
					data[i] = value(s, d, n, m);
	return data;
}

static void we_write(const char *path, const struct shape *s, char order, bool stored,
		     bool iteration)
{
	const int64_t item = s->dtype == SDE_FLOAT32 ? 4 : 8, eight = 8;
	const int64_t strides[3] = { item * (int64_t)(s->n * s->m), item * (int64_t)s->m, item };
	const uint64_t shape[3] = { s->d, s->n, s->m };
	struct sde_npz_options options = SDE_NPZ_OPTIONS_INIT;
	struct sde_array *time, *data, *iterations;
	struct sde_error error = { 0 };
	double *times = calloc((size_t)s->m, 8);
	int64_t *numbers = calloc((size_t)s->m, 8);
	void *all = make_data(s);

	for (uint64_t m = 0; m < s->m; m++) {
		times[m] = value_time(m);
		numbers[m] = value_iteration(m);
	}
	options.overwrite = 1;
	options.store = stored;
	options.c_order = order == 'C';
	options.threads = 1;
	assert_int_equal(sde_array_wrap(&time, times, SDE_FLOAT64, 1, &s->m, &eight, free, times), 0);
	assert_int_equal(sde_array_wrap(&iterations, numbers, SDE_INT64, 1, &s->m, &eight, free,
					numbers), 0);
	assert_int_equal(sde_array_wrap(&data, all, s->dtype, 3, shape, strides, free, all), 0);
	twin_assert_ok(sde_npz_write(path, time, data, iteration ? iterations : NULL, &options,
				     &error), error.text);
	sde_array_close(time);
	sde_array_close(iterations);
	sde_array_close(data);
}

/* ------------------------------------------------------------------------
 * Comparing
 */

static uint64_t seed = 1;

static double number(enum sde_dtype dtype, const void *at)
{
	double wide;
	float narrow;

	if (dtype == SDE_FLOAT32) {
		memcpy(&narrow, at, 4);
		return (double)narrow;
	}
	memcpy(&wide, at, 8);
	return wide;
}

static void check_selection(const struct sde_array *array, const struct shape *s,
			    const uint64_t *start, const uint64_t *count, const uint64_t *step)
{
	struct sde_error error = { 0 };
	unsigned char *out;
	int64_t strides[3];
	int ret;

	ret = twin_read(&seed, array, start, count, step, &out, strides);
	sde_array_error(array, &error);
	twin_assert_ok(ret, error.text);
	for (uint64_t d = 0; d < count[0]; d++)
		for (uint64_t n = 0; n < count[1]; n++)
			for (uint64_t m = 0; m < count[2]; m++)
				if (number(s->dtype, out + (int64_t)d * strides[0] +
					   (int64_t)n * strides[1] + (int64_t)m * strides[2]) !=
				    value(s, start[0] + d * step[0],
								  start[1] + n * step[1],
								  start[2] + m * step[2]))
					fail_msg("(%ju, %ju, %ju) of a selection differs",
						 (uintmax_t)d, (uintmax_t)n, (uintmax_t)m);
	free(out);
}

static void random_range(uint64_t length, uint64_t *start, uint64_t *count, uint64_t *step)
{
	*start = twin_below(&seed, 3) ? twin_below(&seed, length) : 0;
	*step = twin_below(&seed, 2) ? 1 : 1 + twin_below(&seed, length);
	*count = (length - *start - 1) / *step + 1;
	if (twin_below(&seed, 2))
		*count = 1 + twin_below(&seed, *count);
}

static void check_selections(const struct sde_array *data, const struct shape *s, int tries)
{
	const uint64_t shape[3] = { s->d, s->n, s->m };
	uint64_t start[3] = { 0 }, count[3], step[3] = { 1, 1, 1 };

	check_selection(data, s, start, shape, step);
	while (tries-- > 0) {
		for (int i = 0; i < 3; i++)
			random_range(shape[i], &start[i], &count[i], &step[i]);
		check_selection(data, s, start, count, step);
	}
}

static void check_columns(struct sde_storage *storage, const struct shape *s, bool iteration)
{
	struct sde_array *time, *numbers;
	const void *base;
	int64_t stride;
	uint64_t one = 1;

	assert_int_equal(sde_storage_values(storage, &time, NULL), 0);
	assert_int_equal(sde_array_ndim(time), 1);
	assert_int_equal(sde_array_shape(time)[0], s->m);
	assert_int_equal(sde_array_dtype(time), SDE_FLOAT64);
	for (uint64_t m = 0; m < s->m; m++) {
		double got;

		assert_int_equal(sde_array_read(time, &m, &one, NULL, &got, 8), 0);
		assert_true(got == value_time(m));
	}
	sde_array_close(time);
	if (!iteration) {
		assert_int_equal(sde_storage_iterations(storage, &numbers), SDE_E_NO_DATA);
		assert_null(numbers);
		twin_assert_sentence(twin_sentence(storage), ".npz", "iteration");
		return;
	}
	assert_int_equal(sde_storage_iterations(storage, &numbers), 0);
	assert_int_equal(sde_array_dtype(numbers), SDE_INT64);
	assert_int_equal(sde_array_map(numbers, 0, &base, &stride), 0);
	for (uint64_t m = 0; m < s->m; m++) {
		int64_t got;

		memcpy(&got, (const char *)base + stride * (int64_t)m, 8);
		assert_int_equal(got, value_iteration(m));
	}
	sde_array_close(numbers);
}

static void check_map(struct sde_array *data, const struct shape *s)
{
	const void *base;
	int64_t stride[3];

	assert_int_equal(sde_array_map(data, 0, &base, stride), 0);
	for (uint64_t d = 0; d < s->d; d++)
		for (uint64_t n = 0; n < s->n; n++)
			for (uint64_t m = 0; m < s->m; m++)
				assert_true(number(s->dtype, (const char *)base +
						   stride[0] * (int64_t)d + stride[1] * (int64_t)n +
						   stride[2] * (int64_t)m) == value(s, d, n, m));
}

static void check_info(struct sde_storage *storage, const struct shape *s, bool iteration)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_string_equal(info.kind, "numpy");
	assert_int_equal(info.ensemble.dimension, s->d);
	assert_int_equal(info.ensemble.trajectories, s->n);
	assert_int_equal(info.ensemble.dtype, s->dtype);
	assert_int_equal(info.state, SDE_STATE_CLOSED);
	assert_int_equal(info.committed, s->m);
	assert_int_equal(info.published, s->m);
	assert_int_equal(info.stride, 1);
	assert_int_equal(info.raw_bytes, s->d * s->n * s->m * (s->dtype == SDE_FLOAT32 ? 4 : 8));
	assert_true(info.stored_bytes > 0);
	assert_int_equal(info.chunk_files, 1);
	assert_true(info.first_time == 0 && info.last_time == value_time(s->m - 1));
	assert_int_equal(info.first_iteration, iteration ? 0 : -1);
	assert_int_equal(info.last_iteration, iteration ? value_iteration(s->m - 1) : -1);
}

/* All of a file; the arrays are looked at again when the storage is closed. */
static void check_file(const char *path, const struct shape *s, bool iteration, int tries)
{
	struct sde_storage *storage;
	struct sde_array *data;
	struct sde_error error = { 0 };
	const unsigned files = scratch_open_files();

	twin_assert_ok(sde_storage_open(&storage, path, NULL, &error), error.text);
	check_info(storage, s, iteration);
	check_columns(storage, s, iteration);
	twin_assert_ok(sde_storage_verify(storage, NULL), twin_sentence(storage));
	assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
	assert_int_equal(sde_array_ndim(data), 3);
	assert_int_equal(sde_array_dtype(data), s->dtype);
	check_selections(data, s, tries);
	assert_int_equal(sde_storage_close(storage), 0);
	check_selections(data, s, tries);
	check_map(data, s);
	check_selections(data, s, 2);
	sde_array_close(data);
	assert_int_equal(scratch_open_files(), files);
}

static const struct shape shapes[] = {
	{ 1, 1, 1, SDE_FLOAT64 }, { 3, 5, 7, SDE_FLOAT64 }, { 2, 9, 33, SDE_FLOAT32 },
	{ 1, 1000, 50, SDE_FLOAT32 }, { 1, 1, 3000, SDE_FLOAT64 }, { 5, 1, 64, SDE_FLOAT32 },
};
#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

static void what_numpy_writes_is_read(void **state)
{
	(void)state;
	need_numpy();
	for (size_t i = 0; i < SHAPES; i++)
		for (int k = 0; k < 4; k++) {
			numpy_writes("run.npz", &shapes[i], k & 1 ? 'F' : 'C', k & 2, (i + (size_t)k) & 1);
			check_file("run.npz", &shapes[i], (i + (size_t)k) & 1, 25);
		}
}

static void what_we_write_is_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < SHAPES; i++)
		for (int k = 0; k < 8; k++) {
			we_write("run.npz", &shapes[i], k & 1 ? 'F' : 'C', k & 2, k & 4);
			check_file("run.npz", &shapes[i], k & 4, 25);
		}
}

/* larger than the blocks in which files are read and snapshots kept */
static void a_file_of_many_blocks_is_read(void **state)
{
	static const struct shape large[] = {
		{ 2, 700, 1000, SDE_FLOAT64 }, { 1, 3, 500000, SDE_FLOAT32 },
		{ 2, 400000, 2, SDE_FLOAT64 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
		for (int k = 0; k < 4; k++) {
			struct sde_storage *storage;
			struct sde_array *data;

			we_write("run.npz", &large[i], k & 1 ? 'F' : 'C', k & 2, false);
			assert_int_equal(sde_storage_open(&storage, "run.npz", NULL, NULL), 0);
			assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
			check_selections(data, &large[i], 2);
			sde_array_close(data);
			assert_int_equal(sde_storage_close(storage), 0);
		}
}

/* ------------------------------------------------------------------------
 * How it is read
 */

static struct sde_storage *open_with(struct fault_io *fault, const char *path)
{
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	fault_io_init(fault);
	twin_assert_ok(sde__npz_storage_open(&storage, path, NULL, &fault->io, &error), error.text);
	return storage;
}

/* The most bytes one pass over a file of this size may take, in reads of 64 KiB. */
static unsigned long one_pass(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (unsigned long)st.st_size / 65536 + 4;
}

static void reading_forward_is_one_pass(void **state)
{
	static const struct shape s = { 2, 500, 400, SDE_FLOAT64 };
	const uint64_t step[3] = { 1, 1, 1 };
	struct sde_storage *storage;
	struct sde_array *data;
	struct fault_io fault;

	(void)state;
	we_write("run.npz", &s, 'F', false, false);
	storage = open_with(&fault, "run.npz");
	assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
	fault_io_arm(&fault, 0, 0, false);
	/* snapshot by snapshot, and each component by itself */
	for (uint64_t m = 0; m < s.m; m++)
		for (uint64_t d = 0; d < s.d; d++)
			check_selection(data, &s, (const uint64_t[3]){ d, 0, m },
					(const uint64_t[3]){ 1, s.n, 1 }, step);
	assert_true(fault_io_count(&fault, "pread", NULL) <= one_pass("run.npz"));
	/* backwards is right too */
	for (uint64_t m = s.m; m-- > s.m - 5; )
		check_selection(data, &s, (const uint64_t[3]){ 0, 0, m },
				(const uint64_t[3]){ s.d, s.n, 1 }, step);
	sde_array_close(data);
	assert_int_equal(sde_storage_close(storage), 0);
	assert_int_equal(fault.handles, 0);
}

static void deflated_c_order_is_inflated_once_for_all_handles(void **state)
{
	static const struct shape s = { 2, 500, 400, SDE_FLOAT64 };
	struct sde_storage *storage;
	struct sde_array *data[2];
	struct fault_io fault;

	(void)state;
	we_write("run.npz", &s, 'C', false, false);
	storage = open_with(&fault, "run.npz");
	for (int i = 0; i < 2; i++)
		assert_int_equal(sde_storage_values(storage, NULL, &data[i]), 0);
	fault_io_arm(&fault, 0, 0, false);
	for (int i = 0; i < 2; i++)
		check_selections(data[i], &s, 3);
	assert_true(fault_io_count(&fault, "pread", NULL) <= one_pass("run.npz"));
	assert_int_equal(sde_storage_close(storage), 0);
	for (int i = 0; i < 2; i++)
		sde_array_close(data[i]);
	assert_int_equal(fault.handles, 0);
}

static void a_stored_aligned_array_is_mapped_and_shared(void **state)
{
	static const struct shape s = { 2, 30, 40, SDE_FLOAT64 };
	struct sde_storage *storage;
	struct sde_array *data[2];
	const void *base[2];
	int64_t strides[3];
	struct fault_io fault;

	(void)state;
	for (int fortran = 0; fortran < 2; fortran++) {
		we_write("run.npz", &s, fortran ? 'F' : 'C', true, true);
		storage = open_with(&fault, "run.npz");
		for (int i = 0; i < 2; i++) {
			assert_int_equal(sde_storage_values(storage, NULL, &data[i]), 0);
			/* no budget is needed */
			assert_int_equal(sde_array_map(data[i], 1, &base[i], strides), 0);
			check_map(data[i], &s);
		}
		assert_ptr_equal(base[0], base[1]);
		assert_int_equal(strides[fortran ? 0 : 2], 8);
		assert_int_equal(fault.maps, 1);
		assert_int_equal(sde_storage_close(storage), 0);
		sde_array_close(data[0]);
		check_map(data[1], &s);
		sde_array_close(data[1]);
		assert_int_equal(fault.maps, 0);
		assert_int_equal(fault.handles, 0);
	}
}

static void a_deflated_array_is_mapped_within_the_budget(void **state)
{
	static const struct shape s = { 2, 30, 40, SDE_FLOAT64 };
	struct sde_storage *storage;
	struct sde_array *data;
	struct sde_error error;
	const void *base;
	int64_t strides[3];

	(void)state;
	for (int fortran = 0; fortran < 2; fortran++) {
		we_write("run.npz", &s, fortran ? 'F' : 'C', false, true);
		assert_int_equal(sde_storage_open(&storage, "run.npz", NULL, NULL), 0);
		assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
		assert_int_equal(sde_array_map(data, 2 * 30 * 40 * 8 - 1, &base, strides), -ENOMEM);
		assert_null(base);
		sde_array_error(data, &error);
		twin_assert_sentence(error.text, "19200", "19199");
		assert_int_equal(sde_array_map(data, 2 * 30 * 40 * 8, &base, strides), 0);
		check_map(data, &s);
		sde_array_close(data);
		assert_int_equal(sde_storage_close(storage), 0);
	}
}

struct worker {
	struct sde_storage *storage;
	const struct sde_array *data;
	const struct shape *s;
	int bad;
};

static void *read_along(void *ctx)
{
	struct worker *w = ctx;
	double *out = malloc((size_t)(w->s->d * w->s->n) * 8);
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	for (uint64_t m = 0; m < w->s->m; m++) {
		const uint64_t start[3] = { 0, 0, m }, count[3] = { w->s->d, w->s->n, 1 };

		w->bad |= sde_array_read(w->data, start, count, NULL, out,
					 (size_t)(w->s->d * w->s->n) * 8) != 0;
		for (uint64_t d = 0; d < w->s->d; d++)
			for (uint64_t n = 0; n < w->s->n; n++)
				w->bad |= out[d * w->s->n + n] != value(w->s, d, n, m);
		if (!(m % 16))
			w->bad |= sde_storage_info(w->storage, &info) != 0;
	}
	free(out);
	return NULL;
}

static void threads_may_share_a_handle(void **state)
{
	static const struct shape s = { 2, 50, 64, SDE_FLOAT64 };

	(void)state;
	for (int k = 0; k < 4; k++) {
		struct sde_storage *storage;
		struct sde_array *data;
		pthread_t thread[3];
		struct worker worker[3];

		we_write("run.npz", &s, k & 1 ? 'F' : 'C', k & 2, true);
		assert_int_equal(sde_storage_open(&storage, "run.npz", NULL, NULL), 0);
		assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
		for (int i = 0; i < 3; i++) {
			worker[i] = (struct worker){ storage, data, &s, 0 };
			assert_int_equal(pthread_create(&thread[i], NULL, read_along, &worker[i]), 0);
		}
		for (int i = 0; i < 3; i++) {
			assert_int_equal(pthread_join(thread[i], NULL), 0);
			assert_int_equal(worker[i].bad, 0);
		}
		sde_array_close(data);
		assert_int_equal(sde_storage_close(storage), 0);
	}
}

/* ------------------------------------------------------------------------
 * A storage that cannot be stored to
 */

static void it_is_read_only(void **state)
{
	static const struct shape s = { 1, 2, 3, SDE_FLOAT64 };
	struct sde_storage *storage;
	double x[2] = { 0 };
	void *slot;
	size_t n = sizeof(x);

	(void)state;
	we_write("run.npz", &s, 'F', false, true);
	assert_int_equal(sde_storage_open(&storage, "run.npz", NULL, NULL), 0);
	assert_int_equal(sde_storage_store(storage, 0, x, 0), -EBADF);
	assert_int_equal(sde_storage_reserve(storage, 0, &slot), -EBADF);
	assert_int_equal(sde_storage_set_state(storage, x, 1), -EBADF);
	assert_int_equal(sde_storage_truncate(storage, 1), -EBADF);
	assert_int_equal(sde_storage_state(storage, x, &n), SDE_E_NO_DATA);
	assert_int_equal(n, 0);
	assert_int_equal(sde_storage_save(storage), 0);
	assert_int_equal(sde_storage_sync(storage), 0);
	assert_string_equal(sde_storage_attributes(storage), "{}");
	assert_string_equal(sde_storage_time_units(storage), "");
	assert_int_equal(sde_storage_close(storage), 0);
}

static void a_file_without_snapshots_has_no_data(void **state)
{
	static const struct shape s = { 2, 3, 0, SDE_FLOAT32 };
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_array *time = NULL, *data = NULL;
	struct sde_storage *storage;

	(void)state;
	need_numpy();
	for (int k = 0; k < 4; k++) {
		numpy_writes("run.npz", &s, k & 1 ? 'F' : 'C', k & 2, true);
		assert_int_equal(sde_storage_open(&storage, "run.npz", NULL, NULL), 0);
		assert_int_equal(sde_storage_info(storage, &info), 0);
		assert_int_equal(info.committed, 0);
		assert_true(isnan(info.first_time) && isnan(info.last_time));
		assert_int_equal(info.last_iteration, -1);
		assert_int_equal(sde_storage_values(storage, &time, &data), SDE_E_NO_DATA);
		assert_null(time);
		assert_null(data);
		assert_int_equal(sde_storage_iterations(storage, &data), SDE_E_NO_DATA);
		twin_assert_ok(sde_storage_verify(storage, NULL), twin_sentence(storage));
		assert_int_equal(sde_storage_close(storage), 0);
	}
}

static void options_are_checked(void **state)
{
	static const struct shape s = { 1, 2, 3, SDE_FLOAT64 };
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_storage *storage;

	(void)state;
	we_write("run.npz", &s, 'F', false, true);
	options.ring = (enum sde_ring)7;
	assert_int_equal(sde_storage_open(&storage, "run.npz", &options, NULL), -EINVAL);
	assert_null(storage);
	options.ring = SDE_RING_TRUST;
	assert_int_equal(sde_storage_open(&storage, "run.npz", &options, NULL), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	options.size = 1;
	assert_int_equal(sde_storage_open(&storage, "run.npz", &options, NULL), -EINVAL);
	assert_int_equal(sde_storage_open(NULL, "run.npz", NULL, NULL), -EINVAL);
}

/* ------------------------------------------------------------------------
 * Damage
 */

static void another_file_is_no_store(void **state)
{
	struct sde_storage *storage;
	struct sde_error error;
	unsigned char garbage[5000];

	(void)state;
	for (size_t i = 0; i < sizeof(garbage); i++)
		garbage[i] = (unsigned char)twin_random(&seed);
	garbage[0] = 'x';
	for (size_t n = 0; n <= sizeof(garbage); n += 1250) {
		memset(&error, 0, sizeof(error));
		scratch_write("garbage", garbage, n);
		twin_assert_is(sde_storage_open(&storage, "garbage", NULL, &error), SDE_E_NOT_STORE,
			       error.text);
		assert_null(storage);
		twin_assert_sentence(error.text, "'garbage'", "no Zarr store");
	}
}

static void a_truncated_file_is_refused(void **state)
{
	static const struct shape s = { 2, 3, 5, SDE_FLOAT64 };
	const unsigned files = scratch_open_files();
	struct sde_storage *storage;
	unsigned char *bytes;
	size_t size;

	(void)state;
	for (int k = 0; k < 4; k++) {
		we_write("run.npz", &s, k & 1 ? 'F' : 'C', k & 2, true);
		bytes = scratch_read("run.npz", &size);
		for (size_t n = 0; n < size; n += n + 30 < size ? 7 : 1) {
			scratch_write("cut.npz", bytes, n);
			assert_int_not_equal(sde_storage_open(&storage, "cut.npz", NULL, NULL), 0);
			assert_null(storage);
		}
		free(bytes);
	}
	assert_int_equal(scratch_open_files(), files);
}

struct reports {
	int damages, code;
	uint64_t first, count, done, all, stop_at;
};

static int note_progress(void *ctx, uint64_t done, uint64_t all)
{
	struct reports *r = ctx;

	assert_true(done >= r->done);
	r->done = done;
	r->all = all;
	return r->stop_at && done >= r->stop_at;
}

static void note_damage(void *ctx, uint64_t first, uint64_t count, int code, const char *text)
{
	struct reports *r = ctx;

	r->damages++;
	r->first = first;
	r->count = count;
	r->code = code;
	twin_assert_sentence(text, "bad.npz", NULL);
}

/*
 * A bit of a member's numbers, which its CRC-32 covers, is changed: the file opens,
 * verify says so once, and whoever reads a deflated member to its end is told.
 */
static void check_bit(const unsigned char *bytes, size_t size, size_t at, bool stored)
{
	unsigned char *bad = malloc(size);
	struct reports r = { 0 };
	const struct sde_verify verify = { .progress = note_progress, .damage = note_damage, .ctx = &r };
	struct sde_storage *storage;
	struct sde_array *data;
	double out[2 * 30 * 50];

	memcpy(bad, bytes, size);
	bad[at] ^= 4;
	scratch_write("bad.npz", bad, size);
	free(bad);
	assert_int_equal(sde_storage_open(&storage, "bad.npz", NULL, NULL), 0);
	assert_int_equal(sde_storage_verify(storage, &verify), SDE_E_CORRUPT);
	assert_int_equal(r.damages, 1);
	assert_int_equal(r.code, SDE_E_CORRUPT);
	assert_int_equal(r.first, 0);
	assert_int_equal(r.count, 50);
	assert_int_equal(r.done, 50);
	assert_int_equal(r.all, 50);
	assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
	for (int again = 0; again < 2; again++)
		assert_int_equal(sde_array_read(data, NULL, NULL, NULL, out, sizeof(out)),
				 stored ? 0 : SDE_E_CORRUPT);
	sde_array_close(data);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void verify_finds_a_changed_bit(void **state)
{
	static const struct shape s = { 2, 30, 50, SDE_FLOAT64 };
	const unsigned files = scratch_open_files();
	unsigned char *bytes;
	size_t size;

	(void)state;
	for (int k = 0; k < 4; k++) {
		we_write("run.npz", &s, k & 1 ? 'F' : 'C', k & 2, false);
		bytes = scratch_read("run.npz", &size);
		/* data is the last member; behind it are some 250 bytes of directory */
		check_bit(bytes, size, size - 1000, k & 2);
		free(bytes);
	}
	assert_int_equal(scratch_open_files(), files);
}

static void verify_tells_how_far_it_is_and_stops_when_told(void **state)
{
	static const struct shape s = { 1, 128 * 1024, 65, SDE_FLOAT64 };
	struct reports r = { 0 };
	const struct sde_verify verify = { .progress = note_progress, .damage = note_damage, .ctx = &r };
	struct sde_storage *storage;

	(void)state;
	/* a snapshot is 1 MiB */
	we_write("run.npz", &s, 'F', true, false);
	assert_int_equal(sde_storage_open(&storage, "run.npz", NULL, NULL), 0);
	assert_int_equal(sde_storage_verify(storage, &verify), 0);
	assert_int_equal(r.done, s.m);
	assert_int_equal(r.damages, 0);
	r = (struct reports){ .stop_at = 1 };
	assert_int_equal(sde_storage_verify(storage, &verify), -ECANCELED);
	assert_int_equal(r.done, 64);
	assert_int_equal(r.all, s.m);
	assert_int_equal(r.damages, 0);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void a_failing_read_is_told_and_tried_again(void **state)
{
	static const struct shape s = { 2, 30, 50, SDE_FLOAT64 };
	struct sde_storage *storage;
	struct sde_array *data;
	struct sde_error error;
	struct fault_io fault;
	double out[2 * 30 * 50];

	(void)state;
	for (int k = 0; k < 4; k++) {
		we_write("run.npz", &s, k & 1 ? 'F' : 'C', k & 2, false);
		storage = open_with(&fault, "run.npz");
		assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
		fault_io_arm(&fault, 1, EIO, false);
		assert_int_equal(sde_array_read(data, NULL, NULL, NULL, out, sizeof(out)), -EIO);
		sde_array_error(data, &error);
		twin_assert_sentence(error.text, "'run.npz'", "cannot read");
		check_selections(data, &s, 3);
		sde_array_close(data);
		assert_int_equal(sde_storage_close(storage), 0);
		assert_int_equal(fault.handles, 0);
	}
}

/* Of arrays of memory; the numbers do not matter. */
static struct sde_array *some(enum sde_dtype dtype, unsigned ndim, const uint64_t *shape)
{
	static double zeros[64];
	const int64_t strides[3] = { 0, 0, 0 };
	struct sde_array *array;

	assert_int_equal(sde_array_wrap(&array, zeros, dtype, ndim, shape, strides, NULL, NULL), 0);
	return array;
}

struct export {
	struct sde_array *time, *data, *iteration;
	struct sde_npz_options options;
};

static void refused(const struct export *e, int code, const char *says)
{
	struct sde_error error = { 0 };

	twin_assert_is(sde_npz_write("no.npz", e->time, e->data, e->iteration, &e->options, &error),
		       code, error.text);
	twin_assert_sentence(error.text, says, NULL);
	assert_false(scratch_exists("no.npz"));
}

static int stop_at_once(void *ctx, uint64_t done, uint64_t all)
{
	++*(int *)ctx;
	assert_true(done > 0 && done <= all);
	return 1;
}

static void arrays_that_make_no_run_are_not_written(void **state)
{
	const uint64_t shape[3] = { 2, 3, 4 }, five = 5;
	const struct export good = {
		some(SDE_FLOAT64, 1, &shape[2]), some(SDE_FLOAT32, 3, shape),
		some(SDE_INT64, 1, &shape[2]), SDE_NPZ_OPTIONS_INIT,
	};
	struct sde_array *longer = some(SDE_FLOAT64, 1, &five), *flat = some(SDE_FLOAT64, 2, shape);
	struct sde_array *whole = some(SDE_INT64, 3, shape);
	struct export e = good;

	(void)state;
	e.time = NULL;
	refused(&e, -EINVAL, "no time or no data");
	e.time = longer;
	refused(&e, -EINVAL, "time is not a one-dimensional array of 4");
	e.time = good.iteration;
	refused(&e, -EINVAL, "time is not");
	e = good;
	e.data = NULL;
	refused(&e, -EINVAL, "no time or no data");
	e.data = flat;
	refused(&e, -EINVAL, "data is no array");
	e.data = whole;
	refused(&e, -EINVAL, "data is no array");
	e = good;
	e.iteration = good.time;
	refused(&e, -EINVAL, "iteration is not");
	e = good;
	assert_int_equal(sde_npz_write("", e.time, e.data, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(sde_npz_write(NULL, e.time, e.data, NULL, NULL, NULL), -EINVAL);
	e.options.size = 8;
	refused(&e, -EINVAL, "sde_npz_options");
	sde_array_close(good.time);
	sde_array_close(good.data);
	sde_array_close(good.iteration);
	sde_array_close(longer);
	sde_array_close(flat);
	sde_array_close(whole);
}

static void a_selection_that_is_none_is_not_written(void **state)
{
	const uint64_t shape[3] = { 2, 3, 4 }, large[3] = { 1u << 31, 1u << 31, 4 };
	const uint64_t behind[3] = { 0, 3, 0 }, still[3] = { 1, 1, 0 }, none[3] = { 2, 0, 4 };
	const uint64_t two[3] = { 1, 1, 2 }, most[3] = { 2, 3, 3 }, late[3] = { 0, 0, 2 };
	struct sde_array *huge = some(SDE_FLOAT64, 3, large);
	struct export e = { .time = some(SDE_FLOAT64, 1, &shape[2]),
			    .data = some(SDE_FLOAT64, 3, shape), .options = SDE_NPZ_OPTIONS_INIT };
	struct sde_array *data = e.data;
	int calls = 0;

	(void)state;
	e.options.start = behind;
	refused(&e, -EINVAL, "along axis 1 is empty");
	e.options.count = shape;
	refused(&e, -ERANGE, "leaves axis 1 of length 3");
	e.options.start = NULL;
	e.options.count = none;
	refused(&e, -EINVAL, "along axis 1 is empty");
	e.options.count = NULL;
	e.options.step = still;
	refused(&e, -EINVAL, "step 0 along axis 2");
	e.options.step = two;
	e.options.count = most;
	refused(&e, -ERANGE, "leaves axis 2 of length 4");
	e.options.step = NULL;
	e.options.start = late;
	refused(&e, -ERANGE, "leaves axis 2 of length 4");
	e.options.start = e.options.count = NULL;
	e.data = huge;
	refused(&e, -EINVAL, "larger than a file");
	e.data = data;
	e.options.progress = stop_at_once;
	e.options.progress_ctx = &calls;
	refused(&e, -ECANCELED, "stopped");
	assert_int_equal(calls, 1);
	sde_array_close(huge);
	sde_array_close(data);
	sde_array_close(e.time);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(what_numpy_writes_is_read),
		SCRATCH_TEST(what_we_write_is_read),
		SCRATCH_TEST(a_file_of_many_blocks_is_read),
		SCRATCH_TEST(reading_forward_is_one_pass),
		SCRATCH_TEST(deflated_c_order_is_inflated_once_for_all_handles),
		SCRATCH_TEST(a_stored_aligned_array_is_mapped_and_shared),
		SCRATCH_TEST(a_deflated_array_is_mapped_within_the_budget),
		SCRATCH_TEST(threads_may_share_a_handle),
		SCRATCH_TEST(it_is_read_only),
		SCRATCH_TEST(a_file_without_snapshots_has_no_data),
		SCRATCH_TEST(options_are_checked),
		SCRATCH_TEST(another_file_is_no_store),
		SCRATCH_TEST(a_truncated_file_is_refused),
		SCRATCH_TEST(verify_finds_a_changed_bit),
		SCRATCH_TEST(verify_tells_how_far_it_is_and_stops_when_told),
		SCRATCH_TEST(a_failing_read_is_told_and_tried_again),
		SCRATCH_TEST(arrays_that_make_no_run_are_not_written),
		SCRATCH_TEST(a_selection_that_is_none_is_not_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
