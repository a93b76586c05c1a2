/* SPDX-License-Identifier: MIT */
/*
 * Are two stores the same numbers?
 *
 *	store_compare A B
 *
 * Compares shape, dtype, time, iteration and data of two stores, whatever they
 * are doing, as the public API reads them and bit for bit. Status 0: equal; 1: not,
 * with a sentence about the first difference; 2: one cannot be read. Stores that
 * are equal in this sense may differ in their files: each run has an id of its own.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sdestore.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIME, ITERATION, DATA, ARRAYS };
static const char *const array_name[ARRAYS] = { "time", "iteration", "data" };

/* snapshots read at once, bytes in memory at most about twice as many */
#define WINDOW_BYTES ((size_t)1 << 24)

struct store {
	const char *path;
	struct sde_storage *storage;
	struct sde_array *array[ARRAYS];
	uint64_t snapshots;
	char *window;
};

static int unreadable(const struct store *s, const char *what, const struct sde_error *error)
{
	fprintf(stderr, "store_compare: cannot %s '%s': %s\n", what, s->path, error->text);
	return 2;
}

static int open_store(struct store *s)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };

	if (sde_storage_open(&s->storage, s->path, NULL, &error))
		return unreadable(s, "open", &error);
	if (sde_storage_info(s->storage, &info))
		goto fail;
	s->snapshots = info.committed;
	if (!s->snapshots)
		return 0;
	if (!sde_storage_values(s->storage, &s->array[TIME], &s->array[DATA]) &&
	    !sde_storage_iterations(s->storage, &s->array[ITERATION]))
		return 0;
fail:
	sde_storage_error(s->storage, &error);
	return unreadable(s, "open the arrays of", &error);
}

static void close_store(struct store *s)
{
	for (int i = 0; i < ARRAYS; i++)
		sde_array_close(s->array[i]);
	sde_storage_close(s->storage);
	free(s->window);
}

static size_t item_size(const struct sde_array *array)
{
	return sde_array_dtype(array) == SDE_FLOAT32 ? 4 : 8;
}

/* `count` snapshots from `first` into the window. */
static int read_window(struct store *s, int which, uint64_t first, uint64_t count, size_t bytes)
{
	const struct sde_array *array = s->array[which];
	const uint64_t *shape = sde_array_shape(array);
	const unsigned last = sde_array_ndim(array) - 1;
	uint64_t start[3] = { 0 }, counts[3] = { 0 };
	struct sde_error error = { 0 };

	for (unsigned i = 0; i < last; i++)
		counts[i] = shape[i];
	start[last] = first;
	counts[last] = count;
	if (!sde_array_read(array, start, counts, NULL, s->window, bytes))
		return 0;
	sde_array_error(array, &error);
	return unreadable(s, "read", &error);
}

/* Where two windows differ: element `at` of (component, trajectory, snapshot). */
static int differ(const struct store *a, const struct store *b, int which, uint64_t first,
		  uint64_t count, size_t at)
{
	const size_t item = item_size(a->array[which]);
	uint64_t bits[2] = { 0 };

	memcpy(&bits[0], a->window + at * item, item);
	memcpy(&bits[1], b->window + at * item, item);
	printf("'%s' and '%s': %s", a->path, b->path, array_name[which]);
	if (which == DATA) {
		const uint64_t trajectories = sde_array_shape(a->array[which])[1];

		printf("[%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]", at / count / trajectories,
		       at / count % trajectories, first + at % count);
	} else
		printf("[%" PRIu64 "]", first + at);
	printf(" has bits %0*" PRIx64 " and %0*" PRIx64 "\n", (int)item * 2, bits[0],
	       (int)item * 2, bits[1]);
	return 1;
}

static int compare_array(struct store *a, struct store *b, int which)
{
	const uint64_t *shape = sde_array_shape(a->array[which]);
	const size_t item = item_size(a->array[which]);
	const uint64_t width = which == DATA ? shape[0] * shape[1] : 1;
	uint64_t step = WINDOW_BYTES / (width * item);

	step = step ? step : 1;
	step = step > a->snapshots ? a->snapshots : step;
	for (int i = 0; i < 2; i++) {
		struct store *s = i ? b : a;

		free(s->window);
		s->window = malloc((size_t)(step * width) * item);
		if (!s->window) {
			fputs("store_compare: out of memory\n", stderr);
			return 2;
		}
	}
	for (uint64_t first = 0; first < a->snapshots; first += step) {
		const uint64_t left = a->snapshots - first, count = left < step ? left : step;
		const size_t items = (size_t)(count * width);

		if (read_window(a, which, first, count, items * item) ||
		    read_window(b, which, first, count, items * item))
			return 2;
		for (size_t i = 0; i < items; i++)
			if (memcmp(a->window + i * item, b->window + i * item, item))
				return differ(a, b, which, first, count, i);
	}
	return 0;
}

static int compare_shapes(const struct store *a, const struct store *b)
{
	struct sde_storage_info one = SDE_STORAGE_INFO_INIT, two = SDE_STORAGE_INFO_INIT;

	sde_storage_info(a->storage, &one);
	sde_storage_info(b->storage, &two);
	if (one.ensemble.dimension == two.ensemble.dimension &&
	    one.ensemble.trajectories == two.ensemble.trajectories &&
	    one.ensemble.dtype == two.ensemble.dtype && a->snapshots == b->snapshots)
		return 0;
	printf("'%s' is %s (%" PRIu64 ", %" PRIu64 ", %" PRIu64 "), '%s' is %s (%" PRIu64
	       ", %" PRIu64 ", %" PRIu64 ")\n",
	       a->path, one.ensemble.dtype == SDE_FLOAT32 ? "float32" : "float64",
	       one.ensemble.dimension, one.ensemble.trajectories, a->snapshots, b->path,
	       two.ensemble.dtype == SDE_FLOAT32 ? "float32" : "float64",
	       two.ensemble.dimension, two.ensemble.trajectories, b->snapshots);
	return 1;
}

int main(int argc, char *argv[])
{
	struct store a = { 0 }, b = { 0 };
	int ret;

	if (argc != 3) {
		fputs("usage: store_compare A B\n", stderr);
		return 2;
	}
	a.path = argv[1];
	b.path = argv[2];
	ret = open_store(&a);
	if (!ret)
		ret = open_store(&b);
	if (!ret)
		ret = compare_shapes(&a, &b);
	for (int which = 0; which < ARRAYS && !ret && a.snapshots; which++)
		ret = compare_array(&a, &b, which);
	close_store(&a);
	close_store(&b);
	return ret;
}
