/* SPDX-License-Identifier: MIT */
/* All that can be done with a store: see exercise.h. */
#include "exercise.h"

#include "fuzz.h"
#include "zarr_storage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Of a store whose shape may be any: what is read of it at most. */
#define DIMENSIONS 4
#define TRAJECTORIES 24
#define FIRST 12		/* snapshots at its begin, together */
#define ALONE 3			/* and of data one by one; so is the last */
#define VERIFY_CALLS 64
#define WALKED 4096		/* snapshots at most */

struct reading {
	const struct exercise *exercise;
	struct sde_array *array;
	enum exercise_what what;
	uint64_t shape[3];
	double doubles[DIMENSIONS * TRAJECTORIES * FIRST];
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void check_array_failure(struct sde_array *array, int ret)
{
	struct sde_error error;

	sde_array_error(array, &error);
	fuzz_check_error(ret, &error);
}

static void check_storage_failure(struct sde_storage *storage, int ret)
{
	struct sde_error error;

	sde_storage_error(storage, &error);
	fuzz_check_error(ret, &error);
}

static double number(const struct reading *r, const void *numbers, uint64_t i)
{
	double value = 0;
	float small;

	switch (sde_array_dtype(r->array)) {
	case SDE_FLOAT32:
		memcpy(&small, (const char *)numbers + 4 * i, 4);
		return (double)small;
	case SDE_FLOAT64:
		memcpy(&value, (const char *)numbers + 8 * i, 8);
		return value;
	default: {
		int64_t whole;

		memcpy(&whole, (const char *)numbers + 8 * i, 8);
		return (double)whole;
	}
	}
}

static double expected(enum exercise_what what, uint64_t d, uint64_t n, uint64_t m)
{
	switch (what) {
	case EXERCISE_TIME:
		return template_time(m);
	case EXERCISE_ITERATION:
		return (double)template_iteration(m);
	default:
		return template_value(d, n, m);
	}
}

/* `count` snapshots from `first` on, `step` apart, as they were read. */
static void compare(const struct reading *r, const uint64_t count[3], uint64_t first, uint64_t step,
		    const void *numbers)
{
	const struct exercise *x = r->exercise;
	uint64_t i = 0;

	if (!x->expect)
		return;
	for (uint64_t d = 0; d < count[0]; d++)
		for (uint64_t n = 0; n < count[1]; n++)
			for (uint64_t k = 0; k < count[2]; k++, i++) {
				const uint64_t m = first + k * step;

				if (m >= x->expect->snapshots || !x->is_right(x->ctx, r->what, m))
					continue;
				fuzz_assert(number(r, numbers, i) == expected(r->what, d, n, m),
					    "array %d, (%d, %d, %d): %g, and not %g", (int)r->what,
					    (int)d, (int)n, (int)m, number(r, numbers, i),
					    expected(r->what, d, n, m));
			}
}

static void read_some(struct reading *r, uint64_t first, uint64_t snapshots, uint64_t step)
{
	const struct exercise *x = r->exercise;
	const uint64_t count[3] = { r->shape[0], r->shape[1], snapshots };
	const uint64_t start[3] = { 0, 0, first }, steps[3] = { 1, 1, step };
	const bool is_data = r->what == EXERCISE_DATA;
	int ret;

	ret = sde_array_read(r->array, is_data ? start : &start[2], is_data ? count : &count[2],
			     is_data ? steps : &steps[2], r->doubles, sizeof(r->doubles));
	if (!ret) {
		compare(r, count, first, step, r->doubles);
		return;
	}
	check_array_failure(r->array, ret);
	for (uint64_t k = 0; x->expect && k < snapshots; k++)
		if (first + k * step >= x->expect->snapshots ||
		    !x->must_be_read(x->ctx, r->what, first + k * step))
			return;
	fuzz_assert(!x->expect, "array %d cannot be read, and nothing of it was changed: %d",
		    (int)r->what, ret);
}

static void read_mapped(struct reading *r)
{
	const bool is_data = r->what == EXERCISE_DATA;
	const size_t item = sde_array_dtype(r->array) == SDE_FLOAT32 ? 4 : 8;
	const void *base;
	int64_t strides[3];
	size_t last = 0;
	unsigned char one;
	int ret;

	ret = sde_array_map(r->array, (size_t)1 << 16, &base, strides);
	if (ret) {
		check_array_failure(r->array, ret);
		return;
	}
	fuzz_assert((uintptr_t)base % item == 0, "a mapped array is not aligned");
	for (unsigned i = 0; i < (is_data ? 3 : 1); i++)
		last += (size_t)strides[i] * (size_t)(sde_array_shape(r->array)[i] - 1);
	/* the last byte of all is there */
	memcpy(&one, (const unsigned char *)base + last + item - 1, 1);
}

static int look_at_block(void *ctx, const struct sde_block *block)
{
	const struct reading *r = ctx;
	const uint64_t snapshots = r->what == EXERCISE_DATA ? block->count[2] : block->count[0];
	const unsigned axis = r->what == EXERCISE_DATA ? 2 : 0;
	const uint64_t one[3] = { 1, 1, 1 };

	/* the first and the last number of it */
	for (uint64_t k = 0; k < snapshots; k += snapshots > 1 ? snapshots - 1 : 1) {
		const char *at = (const char *)block->data + (int64_t)k * block->strides[axis];

		if (r->what != EXERCISE_DATA || (!block->start[0] && !block->start[1]))
			compare(r, one, block->start[axis] + k, 1, at);
	}
	return 0;
}

static void walk_over(struct reading *r)
{
	struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;

	for (int whole = 0; whole < 2; whole++) {
		int ret;

		options.whole_snapshots = whole;
		ret = sde_array_walk(r->array, &options, look_at_block, r);
		if (ret)
			check_array_failure(r->array, ret);
	}
}

static void read_array(const struct exercise *x, struct sde_array *array, enum exercise_what what)
{
	const uint64_t *shape = sde_array_shape(array);
	struct reading r = { .exercise = x, .array = array, .what = what };
	uint64_t m;

	r.shape[0] = what == EXERCISE_DATA ? least(shape[0], DIMENSIONS) : 1;
	r.shape[1] = what == EXERCISE_DATA ? least(shape[1], TRAJECTORIES) : 1;
	r.shape[2] = m = shape[what == EXERCISE_DATA ? 2 : 0];
	for (uint64_t i = 0; i < least(m, what == EXERCISE_DATA ? ALONE : 1); i++)
		read_some(&r, i, 1, 1);
	if (m > 1)
		read_some(&r, m - 1, 1, 1);
	read_some(&r, 0, least(m, FIRST), 1);
	read_some(&r, m / 2, least((m - m / 2 + 1) / 2, FIRST), 2);
	if (m)
		read_mapped(&r);
	/* all of it: of shapes that take no longer than their files */
	if (m <= WALKED && r.shape[0] == shape[0] && (what != EXERCISE_DATA || r.shape[1] == shape[1]))
		walk_over(&r);
}

struct verification {
	struct sde_storage *storage;
	unsigned progress, damage;
};

static int on_progress(void *ctx, uint64_t done, uint64_t all)
{
	struct verification *v = ctx;

	fuzz_assert(done <= all, "verify is beyond its end");
	return ++v->progress >= VERIFY_CALLS;
}

static void on_damage(void *ctx, uint64_t first, uint64_t count, int code, const char *text)
{
	struct verification *v = ctx;

	fuzz_assert(count > 0 && first + count > first, "damage to no snapshots");
	fuzz_check_failure(code, text);
	v->damage++;
}

static void check_verify(struct sde_storage *storage)
{
	struct verification v = { .storage = storage };
	const struct sde_verify verify = { .progress = on_progress, .damage = on_damage, .ctx = &v };
	const int ret = sde_storage_verify(storage, &verify);

	if (ret)
		check_storage_failure(storage, ret);
	else
		fuzz_assert(!v.damage, "verify found damage and returned 0");
}

static void check_facts(struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	unsigned char state[64];
	size_t n = sizeof(state);
	int ret;

	ret = sde_storage_info(storage, &info);
	if (ret)
		check_storage_failure(storage, ret);
	else
		fuzz_assert(info.published <= info.committed || !info.zarr_format,
			    "more is published than there is");
	ret = sde_storage_state(storage, state, &n);
	if (ret)
		check_storage_failure(storage, ret);
	else
		fuzz_assert(n <= sizeof(state), "a state that is too large");
	fuzz_assert(sde_storage_attributes(storage)[0] == '{', "attributes are no object");
	fuzz_assert(strlen(sde_storage_time_units(storage)) < FUZZ_INPUT_MAX, "endless units");
}

void exercise_storage(struct sde_storage *storage, const struct exercise *exercise)
{
	struct sde_array *time = NULL, *data = NULL, *iteration = NULL;
	int ret;

	check_facts(storage);
	ret = sde_storage_values(storage, &time, &data);
	if (ret)
		check_storage_failure(storage, ret);
	if (!ret) {
		read_array(exercise, time, EXERCISE_TIME);
		read_array(exercise, data, EXERCISE_DATA);
	}
	ret = sde_storage_iterations(storage, &iteration);
	if (ret)
		check_storage_failure(storage, ret);
	else
		read_array(exercise, iteration, EXERCISE_ITERATION);
	check_verify(storage);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
}

static void check_balance(const struct memory_io *fs)
{
	fuzz_assert(!fs->open, "%u files are left open", fs->open);
	fuzz_assert(!fs->mapped, "%u mappings are left", fs->mapped);
}

/* ------------------------------------------------------------------------
 * Opened, resumed
 */

static void add_dense(void *ctx, const char *path, struct memory_node *node)
{
	uint64_t *dense = ctx;

	/* a ring and the blocks of time and iteration are not compressed */
	if (!strstr(path, "/.ring") && !strstr(path, "time/") && !strstr(path, "iteration/"))
		*dense += node->size;
}

uint64_t exercise_budget(const struct memory_io *fs)
{
	uint64_t dense = 0;

	memory_walk(fs, add_dense, &dense);
	return ((uint64_t)2 << 20) + 260 * dense;
}

void exercise_read(struct memory_io *fs, const struct exercise *exercise)
{
	const struct sde__zarr_hooks hooks = { .io = &fs->io, .synchronous = true };
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int ret;

	options.ring = exercise->ring;
	fs->read_only = true;
	fuzz_budget_begin(exercise_budget(fs), fs);
	ret = sde__zarr_open(&storage, TEMPLATE_PATH, &options, &hooks, &error);
	if (ret) {
		fuzz_check_error(ret, &error);
		fuzz_assert(!exercise->must_open, "a store that nobody changed: %s", error.text);
	} else {
		exercise_storage(storage, exercise);
		ret = sde_storage_close_error(storage, &error);
		fuzz_assert(!ret, "closing a reader: %s", error.text);
	}
	fuzz_budget_end();
	fs->read_only = false;
	check_balance(fs);
}

/* Stores `snapshots` more of what the shape takes; the last one is all 0.5. */
static int store_more(struct sde_storage *storage, unsigned snapshots,
		      const struct sde_storage_info *info)
{
	const struct sde_ensemble *e = &info->ensemble;
	const size_t n = (size_t)(e->dimension * e->trajectories);
	const size_t item = e->dtype == SDE_FLOAT32 ? 4 : 8;
	const float half = 0.5f;
	const double as_double = 0.5;
	unsigned char *numbers;
	int ret = 0;

	/* the ring has some of these: it fits */
	numbers = malloc(n * item);
	if (!numbers)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		memcpy(numbers + i * item, item == 4 ? (const void *)&half :
		       (const void *)&as_double, item);
	for (unsigned i = 0; i < snapshots && !ret; i++)
		ret = sde_storage_store(storage, -1.0, numbers, info->stride * i);
	free(numbers);
	if (ret)
		check_storage_failure(storage, ret);
	return ret;
}

/* What was stored last is read again. */
static void check_last(struct sde_storage *storage)
{
	struct sde_array *data;
	uint64_t count[3] = { 1, 1, 1 }, start[3] = { 0 };
	double value = 0;
	float small;
	int ret;

	ret = sde_storage_values(storage, NULL, &data);
	fuzz_assert(!ret, "no values behind a store: %d", ret);
	start[2] = sde_array_shape(data)[2] - 1;
	ret = sde_array_read(data, start, count, NULL, &value, sizeof(value));
	if (ret) {
		check_array_failure(data, ret);
	} else if (sde_array_dtype(data) == SDE_FLOAT32) {
		memcpy(&small, &value, 4);
		value = (double)small;
	}
	fuzz_assert(!ret && value == 0.5, "what was stored last is %g (%d)", value, ret);
	sde_array_close(data);
}

/* As many as are worth it: segments change, a partial chunk is saved and cut. */
static int go_on(struct sde_storage *storage, uint64_t *snapshots)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	uint64_t before;
	int ret;

	ret = sde_storage_info(storage, &info);
	if (ret) {
		check_storage_failure(storage, ret);
		return ret;
	}
	before = info.committed;
	if (info.stride > INT64_MAX / 16)
		info.stride = 0;
	ret = store_more(storage, (unsigned)least(2 * info.chunk_size + 1, 12), &info);
	if (!ret)
		check_last(storage);
	if (!ret)
		ret = sde_storage_save(storage);
	if (!ret)
		ret = sde_storage_truncate(storage, before);
	if (ret)
		check_storage_failure(storage, ret);
	else
		ret = store_more(storage, 1, &info);
	*snapshots = before + 1;
	return ret;
}

void exercise_look(struct memory_io *fs, uint64_t snapshots)
{
	const struct sde__zarr_hooks hooks = { .io = &fs->io, .synchronous = true };
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int ret;

	fs->read_only = true;
	ret = sde__zarr_open(&storage, TEMPLATE_PATH, NULL, &hooks, &error);
	fuzz_assert(!ret, "it was resumed and closed, and cannot be opened: %s", error.text);
	ret = sde_storage_info(storage, &info);
	fuzz_assert(!ret && info.committed == snapshots && info.state == SDE_STATE_CLOSED,
		    "%llu snapshots, not %llu (%d)", (unsigned long long)info.committed,
		    (unsigned long long)snapshots, ret);
	check_last(storage);
	sde_storage_close(storage);
	fs->read_only = false;
	check_balance(fs);
}

int exercise_resume(struct memory_io *fs, const struct exercise *exercise, uint64_t *snapshots)
{
	const struct sde__zarr_hooks hooks = { .io = &fs->io, .synchronous = true };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int ret, closed;

	options.ring = exercise->ring;
	options.segments = 2;
	options.threads = 1;
	*snapshots = 0;
	fuzz_budget_begin(exercise_budget(fs), fs);
	ret = sde__zarr_resume(&storage, TEMPLATE_PATH, &options, &hooks, &error);
	if (ret) {
		fuzz_check_error(ret, &error);
		fuzz_assert(!exercise->must_open, "a store that nobody changed: %s", error.text);
	} else {
		ret = go_on(storage, snapshots);
		closed = sde_storage_close_error(storage, &error);
		if (closed)
			fuzz_check_error(closed, &error);
		if (!ret)
			ret = closed;
	}
	fuzz_budget_end();
	check_balance(fs);
	return ret;
}
