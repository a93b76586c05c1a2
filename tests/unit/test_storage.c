/* SPDX-License-Identifier: MIT */
/*
 * The base of all storages, by a backend that only counts: what it is called
 * with, what the base does without it, how options of other versions are taken.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "options.h"
#include "scratch.h"
#include "twin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct sde_ensemble ensemble = { 2, 3, SDE_FLOAT64 };

/* What the backend saw last, and what it shall answer. */
struct seen {
	int stores, saves, closes, reserves, commits, truncates;
	double time;
	uint64_t iteration;
	double data[6];
	int answer;
	const char *sentence;
	double slot[6];
};

static int answer(struct seen *seen, struct sde_error *error)
{
	if (seen->answer && seen->sentence)
		sde__fail(error, seen->answer, "%s", seen->sentence);
	return seen->answer;
}

static int seen_store(void *self, double time, const void *data, uint64_t iteration,
		      struct sde_error *error)
{
	struct seen *seen = self;

	assert_non_null(error);
	assert_non_null(data);
	seen->stores++;
	seen->time = time;
	seen->iteration = iteration;
	memcpy(seen->data, data, sizeof(seen->data));
	return answer(seen, error);
}

static int seen_save(void *self, struct sde_error *error)
{
	struct seen *seen = self;

	seen->saves++;
	return answer(seen, error);
}

static int seen_close(void *self, struct sde_error *error)
{
	struct seen *seen = self;

	seen->closes++;
	return answer(seen, error);
}

static int seen_reserve(void *self, uint64_t iteration, void **slot, struct sde_error *error)
{
	struct seen *seen = self;

	seen->reserves++;
	seen->iteration = iteration;
	*slot = seen->slot;
	return answer(seen, error);
}

static int seen_commit(void *self, double time, struct sde_error *error)
{
	struct seen *seen = self;

	seen->commits++;
	seen->time = time;
	return answer(seen, error);
}

static int seen_truncate(void *self, uint64_t snapshots, struct sde_error *error)
{
	struct seen *seen = self;

	(void)snapshots;
	seen->truncates++;
	return answer(seen, error);
}

static struct sde_storage *derived(struct seen *seen, const struct sde_backend *backend,
				   uint64_t stride)
{
	struct sde_derive_options options = SDE_DERIVE_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	memset(seen, 0, sizeof(*seen));
	options.stride = stride;
	twin_assert_ok(sde_storage_derive(&storage, &ensemble, backend, seen, &options, &error),
		       error.text);
	return storage;
}

static const struct sde_backend only_store = {
	.size = sizeof(struct sde_backend), .store = seen_store, .close = seen_close,
};

static const struct sde_backend most = {
	.size = sizeof(struct sde_backend), .kind = "counting", .store = seen_store,
	.save = seen_save, .close = seen_close, .reserve = seen_reserve, .commit = seen_commit,
	.truncate = seen_truncate,
};

/* ------------------------------------------------------------------------ */

static void stride_is_by_iteration_number_alone(void **state)
{
	const double x[6] = { 1, 2, 3, 4, 5, 6 };
	struct sde_storage *storage;
	struct seen seen;
	void *slot;

	(void)state;
	for (uint64_t stride = 0; stride <= 5; stride++) {
		const uint64_t every = stride ? stride : 1;
		int stores = 0;

		storage = derived(&seen, &most, stride);
		for (uint64_t i = 0; i < 20; i++) {
			const uint64_t number = i * 7 % 20;

			assert_int_equal(sde_storage_store(storage, (double)i, x, number), 0);
			stores += number % every == 0;
			assert_int_equal(seen.stores, stores);
			slot = &slot;
			assert_int_equal(sde_storage_reserve(storage, number, &slot), 0);
			if (number % every) {
				assert_null(slot);
				continue;
			}
			assert_ptr_equal(slot, seen.slot);
			assert_int_equal(seen.iteration, number);
			assert_int_equal(sde_storage_commit(storage, 0.0), 0);
		}
		assert_int_equal(seen.commits, stores);
		assert_int_equal(sde_storage_close(storage), 0);
	}
}

static void a_backend_that_only_stores_gets_the_rest_from_the_base(void **state)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_array *array = (struct sde_array *)&info;
	struct sde_storage *storage;
	struct seen seen;
	double *slot, *again;
	size_t n = 1;

	(void)state;
	storage = derived(&seen, &only_store, 2);
	assert_int_equal(sde_storage_reserve(storage, 4, (void **)&slot), 0);
	assert_int_equal((uintptr_t)slot % 64, 0);
	assert_int_equal(sde_storage_reserve(storage, 6, (void **)&again), 0);
	assert_ptr_equal(slot, again);
	for (int i = 0; i < 6; i++)
		slot[i] = i * 1.5;
	assert_int_equal(seen.stores, 0);
	assert_int_equal(sde_storage_commit(storage, 2.5), 0);
	assert_int_equal(seen.stores, 1);
	assert_int_equal(seen.iteration, 6);
	assert_true(seen.time == 2.5 && seen.data[5] == 7.5);
	assert_int_equal(sde_storage_save(storage), 0);
	assert_int_equal(sde_storage_sync(storage), 0);
	assert_int_equal(sde_storage_error(storage, NULL), 0);
	assert_int_equal(sde_storage_values(storage, &array, NULL), SDE_E_UNSUPPORTED);
	assert_null(array);
	twin_assert_sentence(twin_sentence(storage), "values", NULL);
	assert_int_equal(sde_storage_iterations(storage, &array), SDE_E_UNSUPPORTED);
	assert_int_equal(sde_storage_truncate(storage, 0), SDE_E_UNSUPPORTED);
	twin_assert_sentence(twin_sentence(storage), "truncate", NULL);
	assert_int_equal(sde_storage_set_state(storage, "x", 1), SDE_E_UNSUPPORTED);
	assert_int_equal(sde_storage_state(storage, &info, &n), SDE_E_UNSUPPORTED);
	assert_int_equal(sde_storage_verify(storage, NULL), SDE_E_UNSUPPORTED);
	assert_string_equal(sde_storage_attributes(storage), "{}");
	assert_string_equal(sde_storage_time_units(storage), "");
	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_non_null(info.kind);
	assert_int_equal(info.ensemble.dimension, 2);
	assert_int_equal(info.stride, 2);
	assert_true(info.first_time != info.first_time && info.last_time != info.last_time);
	assert_int_equal(info.last_iteration, -1);
	assert_int_equal(seen.closes, 0);
	assert_int_equal(sde_storage_close(storage), 0);
	assert_int_equal(seen.closes, 1);
}

static void a_backend_without_anything_can_do_nothing(void **state)
{
	const struct sde_backend none = SDE_BACKEND_INIT;
	struct sde_storage *storage;
	double x[6] = { 0 };
	void *slot;

	(void)state;
	assert_int_equal(sde_storage_derive(&storage, &ensemble, &none, NULL, NULL, NULL), 0);
	assert_int_equal(sde_storage_store(storage, 0.0, x, 0), SDE_E_UNSUPPORTED);
	assert_int_equal(sde_storage_reserve(storage, 0, &slot), SDE_E_UNSUPPORTED);
	assert_null(slot);
	assert_int_equal(sde_storage_commit(storage, 0.0), -EINVAL);
	assert_int_equal(sde_storage_close(storage), 0);
}

/* reserve without commit is as good as neither */
static void half_a_pair_of_reserve_and_commit_is_not_used(void **state)
{
	struct sde_backend half = most;
	struct sde_storage *storage;
	struct seen seen;
	void *slot;

	(void)state;
	half.commit = NULL;
	storage = derived(&seen, &half, 1);
	assert_int_equal(sde_storage_reserve(storage, 3, &slot), 0);
	assert_int_equal(seen.reserves, 0);
	memset(slot, 0, sizeof(seen.data));
	assert_int_equal(sde_storage_commit(storage, 1.0), 0);
	assert_int_equal(seen.stores, 1);
	assert_int_equal(seen.iteration, 3);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void a_reserved_slot_bars_what_would_move_it(void **state)
{
	double x[6] = { 0 };
	struct sde_storage *storage;
	struct seen seen;
	void *slot;

	(void)state;
	storage = derived(&seen, &most, 1);
	assert_int_equal(sde_storage_reserve(storage, 3, &slot), 0);
	assert_int_equal(sde_storage_store(storage, 0.0, x, 4), -EINVAL);
	assert_int_equal(sde_storage_save(storage), -EINVAL);
	assert_int_equal(sde_storage_truncate(storage, 0), -EINVAL);
	assert_int_equal(seen.stores + seen.saves + seen.truncates, 0);
	assert_int_equal(sde_storage_sync(storage), 0);
	assert_int_equal(sde_storage_commit(storage, 0.0), 0);
	assert_int_equal(sde_storage_commit(storage, 0.0), -EINVAL);
	assert_int_equal(sde_storage_save(storage), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	assert_int_equal(seen.closes, 1);
}

static void the_last_failure_is_kept_with_its_sentence(void **state)
{
	double x[6] = { 0 };
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct seen seen;

	(void)state;
	storage = derived(&seen, &most, 1);
	assert_int_equal(sde_storage_error(storage, &error), 0);
	assert_int_equal(error.code, 0);
	seen.answer = -EIO;
	seen.sentence = "cannot write 'it'";
	assert_int_equal(sde_storage_store(storage, 0.0, x, 0), -EIO);
	assert_int_equal(sde_storage_error(storage, &error), -EIO);
	assert_int_equal(error.code, -EIO);
	assert_string_equal(error.text, "cannot write 'it'");
	/* a backend that says nothing: the phrase stands there */
	seen.sentence = NULL;
	seen.answer = SDE_E_CODEC;
	assert_int_equal(sde_storage_save(storage), SDE_E_CODEC);
	assert_int_equal(sde_storage_error(storage, &error), SDE_E_CODEC);
	assert_string_equal(error.text, sde_strerror(SDE_E_CODEC));
	/* a success does not take it back */
	seen.answer = 0;
	assert_int_equal(sde_storage_save(storage), 0);
	assert_int_equal(sde_storage_error(storage, NULL), SDE_E_CODEC);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void close_always_frees_and_returns_the_status(void **state)
{
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct seen seen;

	(void)state;
	for (int said = 0; said < 2; said++) {
		storage = derived(&seen, &most, 1);
		seen.answer = -ENOSPC;
		seen.sentence = said ? "cannot write 'the last'" : NULL;
		memset(&error, 0, sizeof(error));
		assert_int_equal(sde_storage_close_error(storage, &error), -ENOSPC);
		assert_int_equal(error.code, -ENOSPC);
		assert_string_equal(error.text, said ? "cannot write 'the last'" :
				    sde_strerror(-ENOSPC));
		assert_int_equal(seen.closes, 1);
	}
	assert_int_equal(sde_storage_close(NULL), 0);
}

static void info_of_an_older_program_is_not_written_beyond_its_size(void **state)
{
	union {
		struct sde_storage_info info;
		unsigned char bytes[sizeof(struct sde_storage_info) + 32];
	} u;
	struct sde_storage *storage;
	struct seen seen;

	(void)state;
	storage = derived(&seen, &most, 1);
	memset(&u, 0xee, sizeof(u));
	u.info.size = offsetof(struct sde_storage_info, zarr_format);
	assert_int_equal(sde_storage_info(storage, &u.info), -EINVAL);
	assert_int_equal(u.bytes[sizeof(size_t)], 0xee);
	/* the first released one ends with `run` */
	u.info.size = offsetof(struct sde_storage_info, run) + 33;
	assert_int_equal(sde_storage_info(storage, &u.info), 0);
	assert_int_equal(u.info.size, offsetof(struct sde_storage_info, run) + 33);
	assert_string_equal(u.info.kind, "counting");
	assert_int_equal(u.bytes[offsetof(struct sde_storage_info, run) + 33], 0xee);
	/* of a newer one: what we do not know is 0 */
	memset(&u, 0xee, sizeof(u));
	u.info.size = sizeof(u);
	assert_int_equal(sde_storage_info(storage, &u.info), 0);
	assert_int_equal(u.bytes[sizeof(u) - 1], 0);
	assert_int_equal(u.bytes[sizeof(struct sde_storage_info)], 0);
	assert_int_equal(sde_storage_close(storage), 0);
}

/* ------------------------------------------------------------------------
 * Reading through a backend that only knows values and iterations
 */

/* Two snapshots; `ahead` more iterations than that have been stored, for so many calls. */
struct told {
	double time[2], data[12];	/* [d][n][m] */
	int64_t iteration[3];
	int ahead;
	int values, iterations;		/* calls */
	int values_fail, iterations_fail;
};

static int told_values(void *self, struct sde_array **time, struct sde_array **data,
		       struct sde_error *error)
{
	const uint64_t shape[3] = { 2, 3, 2 };
	const int64_t strides[3] = { 48, 16, 8 };
	struct told *told = self;

	told->values++;
	if (told->values_fail)
		return sde__fail(error, told->values_fail, "cannot read 'values'");
	if (time)
		assert_int_equal(sde_array_wrap(time, told->time, SDE_FLOAT64, 1, &shape[2],
						&strides[2], NULL, NULL), 0);
	if (data)
		assert_int_equal(sde_array_wrap(data, told->data, SDE_FLOAT64, 3, shape,
						strides, NULL, NULL), 0);
	return 0;
}

static int told_iterations(void *self, struct sde_array **iteration, struct sde_error *error)
{
	struct told *told = self;
	const uint64_t shape = told->iterations++ < told->ahead ? 3 : 2;
	const int64_t stride = 8;

	if (told->iterations_fail)
		return sde__fail(error, told->iterations_fail, "cannot read 'iterations'");
	assert_int_equal(sde_array_wrap(iteration, told->iteration, SDE_INT64, 1, &shape, &stride,
					NULL, NULL), 0);
	return 0;
}

static const struct sde_backend telling = {
	.size = sizeof(struct sde_backend), .kind = "telling", .values = told_values,
	.iterations = told_iterations,
};

static struct sde_storage *told_storage(struct told *told, const struct sde_backend *backend)
{
	struct sde_storage *storage;

	memset(told, 0, sizeof(*told));
	for (int i = 0; i < 12; i++)
		told->data[i] = i;
	assert_int_equal(sde_storage_derive(&storage, &ensemble, backend, told, NULL, NULL), 0);
	return storage;
}

static void the_last_snapshot_is_taken_from_values_if_need_be(void **state)
{
	struct sde_storage *storage;
	struct told told;
	double x[6];
	int exact = 0;

	(void)state;
	storage = told_storage(&told, &telling);
	assert_int_equal(sde_storage_last(storage, x, sizeof(x), &exact), 0);
	assert_int_equal(exact, 1);
	for (int i = 0; i < 6; i++)
		assert_true(x[i] == 2 * i + 1);
	/* who has no room asks whether it is exact */
	exact = 0;
	assert_int_equal(sde_storage_last(storage, NULL, 0, &exact), 0);
	assert_int_equal(exact, 1);
	assert_int_equal(sde_storage_last(storage, NULL, 0, NULL), -EINVAL);
	assert_int_equal(sde_storage_last(storage, x, sizeof(x) - 1, NULL), -ENOBUFS);
	told.values_fail = -EIO;
	assert_int_equal(sde_storage_last(storage, x, sizeof(x), NULL), -EIO);
	twin_assert_sentence(twin_sentence(storage), "cannot read 'values'", NULL);
	assert_int_equal(sde_storage_close(storage), 0);
}

static int rounded_last(void *self, void *data, int *exact, struct sde_error *error)
{
	(void)self, (void)error;
	memset(data, 0, sizeof(double[6]));
	*exact = 0;
	return 0;
}

static void a_rounded_last_snapshot_is_only_for_who_asks_whether_it_is(void **state)
{
	struct sde_backend rounding = telling;
	struct sde_storage *storage;
	struct told told;
	double x[6];
	int exact = 1;

	(void)state;
	rounding.last = rounded_last;
	storage = told_storage(&told, &rounding);
	assert_int_equal(sde_storage_last(storage, x, sizeof(x), NULL), SDE_E_NO_DATA);
	twin_assert_sentence(twin_sentence(storage), "rounded", NULL);
	assert_int_equal(sde_storage_last(storage, x, sizeof(x), &exact), 0);
	assert_int_equal(exact, 0);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void arrays_of_one_moment_are_asked_for_until_they_agree(void **state)
{
	struct sde_array *time, *data, *iteration;
	struct sde_storage *storage;
	struct told told;

	(void)state;
	storage = told_storage(&told, &telling);
	told.ahead = 7;
	assert_int_equal(sde_storage_arrays(storage, &time, &data, &iteration), 0);
	assert_int_equal(told.values, 8);
	assert_int_equal(sde_array_shape(iteration)[0], 2);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	/* not for ever */
	told.iterations = 0;
	told.ahead = 1000000;
	assert_int_equal(sde_storage_arrays(storage, NULL, &data, &iteration), -EAGAIN);
	assert_null(data);
	assert_null(iteration);
	/* what is not asked for agrees */
	assert_int_equal(sde_storage_arrays(storage, NULL, NULL, &iteration), 0);
	assert_int_equal(sde_array_shape(iteration)[0], 3);
	sde_array_close(iteration);
	assert_int_equal(sde_storage_arrays(storage, &time, NULL, NULL), 0);
	sde_array_close(time);
	/* if one of the calls fails nothing is given */
	told.iterations_fail = SDE_E_HOLE;
	assert_int_equal(sde_storage_arrays(storage, &time, &data, &iteration), SDE_E_HOLE);
	assert_true(!time && !data && !iteration);
	told.values_fail = -EIO;
	assert_int_equal(sde_storage_arrays(storage, &time, &data, &iteration), -EIO);
	assert_true(!time && !data && !iteration);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void what_a_backend_has_not_is_named(void **state)
{
	const struct sde_ensemble endless = { UINT64_C(1) << 31, UINT64_C(1) << 31, SDE_FLOAT64 };
	struct sde_backend one = { .size = sizeof(one), .values = told_values };
	struct sde_array *time, *iteration;
	struct sde_storage *storage;
	struct told told;
	struct seen seen;
	double x[6];
	void *slot;
	int exact;

	(void)state;
	storage = told_storage(&told, &one);
	assert_int_equal(sde_storage_arrays(storage, &time, NULL, &iteration), SDE_E_UNSUPPORTED);
	twin_assert_sentence(twin_sentence(storage), "a derived storage has no iterations", NULL);
	assert_int_equal(sde_storage_columns(storage, NULL, NULL), 0);
	assert_int_equal(sde_storage_refresh(storage), 0);
	assert_int_equal(sde_storage_set_state(storage, NULL, 1), -EINVAL);
	assert_int_equal(sde_storage_close(storage), 0);
	storage = derived(&seen, &most, 1);
	assert_int_equal(sde_storage_arrays(storage, &time, NULL, NULL), SDE_E_UNSUPPORTED);
	twin_assert_sentence(twin_sentence(storage), "a counting storage has no values", NULL);
	assert_int_equal(sde_storage_last(storage, x, sizeof(x), NULL), SDE_E_UNSUPPORTED);
	assert_int_equal(sde_storage_store(storage, 0.0, NULL, 0), -EINVAL);
	assert_int_equal(sde_storage_close(storage), 0);
	/* a snapshot of 2^65 bytes */
	one.store = seen_store;
	assert_int_equal(sde_storage_derive(&storage, &endless, &one, &told, NULL, NULL), 0);
	assert_int_equal(sde_storage_reserve(storage, 0, &slot), -ENOMEM);
	twin_assert_sentence(twin_sentence(storage), "larger than memory", NULL);
	assert_int_equal(sde_storage_last(storage, NULL, 0, &exact), -ENOMEM);
	twin_assert_sentence(twin_sentence(storage), "larger than memory", NULL);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void without_a_storage_every_call_is_invalid(void **state)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_array *array;
	double x[6] = { 0 };
	void *slot;
	size_t n = 0;

	(void)state;
	assert_int_equal(sde_storage_store(NULL, 0.0, x, 0), -EINVAL);
	assert_int_equal(sde_storage_reserve(NULL, 0, &slot), -EINVAL);
	assert_int_equal(sde_storage_commit(NULL, 0.0), -EINVAL);
	assert_int_equal(sde_storage_set_state(NULL, x, 1), -EINVAL);
	assert_int_equal(sde_storage_state(NULL, x, &n), -EINVAL);
	assert_int_equal(sde_storage_last(NULL, x, sizeof(x), NULL), -EINVAL);
	assert_int_equal(sde_storage_save(NULL), -EINVAL);
	assert_int_equal(sde_storage_sync(NULL), -EINVAL);
	assert_int_equal(sde_storage_truncate(NULL, 0), -EINVAL);
	assert_int_equal(sde_storage_values(NULL, &array, NULL), -EINVAL);
	assert_int_equal(sde_storage_iterations(NULL, &array), -EINVAL);
	assert_int_equal(sde_storage_arrays(NULL, &array, NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_columns(NULL, NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_refresh(NULL), -EINVAL);
	assert_int_equal(sde_storage_info(NULL, &info), -EINVAL);
	assert_int_equal(sde_storage_verify(NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_error(NULL, NULL), -EINVAL);
	assert_string_equal(sde_storage_attributes(NULL), "{}");
	assert_string_equal(sde_storage_time_units(NULL), "");
}

/* ------------------------------------------------------------------------
 * derive
 */

static void derive_refuses_what_it_cannot_use(void **state)
{
	const struct sde_ensemble bad = { 2, 0, SDE_FLOAT64 };
	struct sde_derive_options options = SDE_DERIVE_OPTIONS_INIT;
	struct sde_storage *storage = (struct sde_storage *)&options;
	struct sde_backend small = most;
	struct sde_error error = { 0 };

	(void)state;
	assert_int_equal(sde_storage_derive(NULL, &ensemble, &most, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_derive(&storage, NULL, &most, NULL, NULL, &error), -EINVAL);
	assert_null(storage);
	twin_assert_sentence(error.text, "ensemble", NULL);
	assert_int_equal(sde_storage_derive(&storage, &bad, &most, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(sde_storage_derive(&storage, &ensemble, NULL, NULL, NULL, NULL), -EINVAL);
	small.size = 8;
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde_storage_derive(&storage, &ensemble, &small, NULL, NULL, &error), -EINVAL);
	twin_assert_sentence(error.text, "sde_backend", NULL);
	options.size = 8;
	assert_int_equal(sde_storage_derive(&storage, &ensemble, &most, NULL, &options, NULL),
			 -EINVAL);
	options.size = sizeof(options);
	options.save_directory = "";
	assert_int_equal(sde_storage_derive(&storage, &ensemble, &most, NULL, &options, NULL),
			 -EINVAL);
	assert_null(storage);
}

static void the_parents_of_the_save_directory_are_made(void **state)
{
	struct sde_derive_options options = SDE_DERIVE_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	(void)state;
	options.save_directory = "a/b//c/run.zarr/";
	twin_assert_ok(sde_storage_derive(&storage, &ensemble, &most, &(struct seen){ 0 }, &options,
					  &error), error.text);
	assert_true(scratch_exists("a/b/c"));
	assert_false(scratch_exists("a/b/c/run.zarr"));
	assert_int_equal(sde_storage_close(storage), 0);
	options.save_directory = "run.zarr";
	assert_int_equal(sde_storage_derive(&storage, &ensemble, &most, &(struct seen){ 0 }, &options,
					    NULL), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	scratch_write("file", "", 0);
	options.save_directory = "file/b/run.zarr";
	assert_int_equal(sde_storage_derive(&storage, &ensemble, &most, NULL, &options, &error),
			 -ENOTDIR);
	twin_assert_sentence(error.text, "file/b", NULL);
}

static int make_it_elsewhere(void *ctx, const char *path)
{
	snprintf(ctx, 64, "%s", path);
	return strstr(path, "forbidden") ? -EACCES : 0;
}

static void the_callers_make_directory_is_used_instead(void **state)
{
	struct sde_derive_options options = SDE_DERIVE_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	char made[64] = "";

	(void)state;
	options.save_directory = "deep/down/run.zarr";
	options.make_directory = make_it_elsewhere;
	options.make_directory_ctx = made;
	assert_int_equal(sde_storage_derive(&storage, &ensemble, &most, &(struct seen){ 0 }, &options,
					    NULL), 0);
	assert_int_equal(strncmp(made, "deep/down", 9), 0);
	assert_false(scratch_exists("deep"));
	assert_int_equal(sde_storage_close(storage), 0);
	options.save_directory = "forbidden/run.zarr";
	assert_int_equal(sde_storage_derive(&storage, &ensemble, &most, NULL, &options, &error),
			 -EACCES);
	assert_null(storage);
	twin_assert_sentence(error.text, "forbidden", NULL);
}

/* ------------------------------------------------------------------------
 * Options of other versions
 */

struct options {
	size_t size;
	uint64_t first, second;
};

static void options_are_taken_as_far_as_both_sides_know_them(void **state)
{
	struct {
		struct options options;
		unsigned char later[8];	/* no padding behind it */
	} newer = { { sizeof(newer), 1, 2 }, { 0 } };
	struct options own, older = { offsetof(struct options, second), 1, 2 };
	struct sde_error error = { 0 };

	(void)state;
	memset(&own, 0xee, sizeof(own));
	assert_int_equal(sde__options_take(&own, sizeof(own), sizeof(own), NULL, "it", &error), 0);
	assert_true(!own.size && !own.first && !own.second);
	assert_int_equal(sde__options_take(&own, sizeof(own), 16, &older, "it", &error), 0);
	assert_true(own.first == 1 && own.second == 0);
	assert_int_equal(sde__options_take(&own, sizeof(own), sizeof(own), &older, "it", &error),
			 -EINVAL);
	twin_assert_sentence(error.text, "it", "16");
	assert_int_equal(sde__options_take(&own, sizeof(own), 16, &newer, "it", NULL), 0);
	assert_true(own.first == 1 && own.second == 2);
	newer.later[7] = 1;
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde__options_take(&own, sizeof(own), 16, &newer, "it", &error), -E2BIG);
	twin_assert_sentence(error.text, "it", NULL);
}

static void an_ensemble_has_at_least_one_number(void **state)
{
	static const struct sde_ensemble good[] = {
		{ 1, 1, SDE_FLOAT64 }, { 1, 1, SDE_FLOAT32 }, { 7, 1000000, SDE_FLOAT32 },
	};
	static const struct sde_ensemble bad[] = {
		{ 0, 1, SDE_FLOAT64 }, { 1, 0, SDE_FLOAT64 }, { 1, 1, SDE_INT64 },
		{ 1, 1, (enum sde_dtype)-1 },
	};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(sde__ensemble_check(&good[i], NULL), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(sde__ensemble_check(&bad[i], NULL), -EINVAL);
	assert_int_equal(sde__ensemble_check(NULL, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stride_is_by_iteration_number_alone),
		cmocka_unit_test(a_backend_that_only_stores_gets_the_rest_from_the_base),
		cmocka_unit_test(a_backend_without_anything_can_do_nothing),
		cmocka_unit_test(half_a_pair_of_reserve_and_commit_is_not_used),
		cmocka_unit_test(a_reserved_slot_bars_what_would_move_it),
		cmocka_unit_test(the_last_failure_is_kept_with_its_sentence),
		cmocka_unit_test(close_always_frees_and_returns_the_status),
		cmocka_unit_test(info_of_an_older_program_is_not_written_beyond_its_size),
		cmocka_unit_test(the_last_snapshot_is_taken_from_values_if_need_be),
		cmocka_unit_test(a_rounded_last_snapshot_is_only_for_who_asks_whether_it_is),
		cmocka_unit_test(arrays_of_one_moment_are_asked_for_until_they_agree),
		cmocka_unit_test(what_a_backend_has_not_is_named),
		cmocka_unit_test(without_a_storage_every_call_is_invalid),
		cmocka_unit_test(derive_refuses_what_it_cannot_use),
		SCRATCH_TEST(the_parents_of_the_save_directory_are_made),
		SCRATCH_TEST(the_callers_make_directory_is_used_instead),
		cmocka_unit_test(options_are_taken_as_far_as_both_sides_know_them),
		cmocka_unit_test(an_ensemble_has_at_least_one_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
