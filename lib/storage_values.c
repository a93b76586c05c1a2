/* SPDX-License-Identifier: MIT */
/*
 * The base, of what a storage has: handles that have one M, and the last snapshot.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_state.h"

#include "geometry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int sde_storage_values(struct sde_storage *storage, struct sde_array **time,
		       struct sde_array **data)
{
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (time)
		*time = NULL;
	if (data)
		*data = NULL;
	if (!storage->backend.values)
		return sde__unsupported(storage, "values");
	return sde__keep(storage, storage->backend.values(storage->self, time, data, &error),
			 &error);
}

int sde_storage_iterations(struct sde_storage *storage, struct sde_array **iteration)
{
	struct sde_error error = { 0 };

	if (!storage || !iteration)
		return -EINVAL;
	*iteration = NULL;
	if (!storage->backend.iterations)
		return sde__unsupported(storage, "iterations");
	return sde__keep(storage, storage->backend.iterations(storage->self, iteration, &error),
			 &error);
}

static void close_three(struct sde_array **time, struct sde_array **data,
			struct sde_array **iteration)
{
	struct sde_array **const three[] = { time, data, iteration };

	for (int i = 0; i < 3; i++) {
		if (!three[i])
			continue;
		sde_array_close(*three[i]);
		*three[i] = NULL;
	}
}

/* The M of two handles; the same if one was not asked for. */
static bool agree(struct sde_array *const *values, unsigned axis, struct sde_array *const *iteration)
{
	return !values || !iteration ||
	       sde_array_shape(*values)[axis] == sde_array_shape(*iteration)[0];
}

/* Backends that only know the two calls: another thread may store between them. */
static int take_three(struct sde_storage *storage, struct sde_array **time,
		      struct sde_array **data, struct sde_array **iteration,
		      struct sde_error *error)
{
	const struct sde_backend *backend = &storage->backend;
	int ret = 0;

	for (int tries = 0; tries < 100; tries++) {
		if (time || data)
			ret = backend->values(storage->self, time, data, error);
		if (!ret && iteration)
			ret = backend->iterations(storage->self, iteration, error);
		if (ret || (agree(time, 0, iteration) && agree(data, 2, iteration)))
			return ret;
		close_three(time, data, iteration);
	}
	return sde__fail(error, -EAGAIN, "snapshots are stored faster than arrays can be taken");
}

int sde_storage_arrays(struct sde_storage *storage, struct sde_array **time,
		       struct sde_array **data, struct sde_array **iteration)
{
	struct sde_error error = { 0 };
	int ret;

	if (!storage)
		return -EINVAL;
	if (time)
		*time = NULL;
	if (data)
		*data = NULL;
	if (iteration)
		*iteration = NULL;
	if (!storage->backend.arrays && (time || data) && !storage->backend.values)
		return sde__unsupported(storage, "values");
	if (!storage->backend.arrays && iteration && !storage->backend.iterations)
		return sde__unsupported(storage, "iterations");
	if (storage->backend.arrays)
		ret = storage->backend.arrays(storage->self, time, data, iteration, &error);
	else
		ret = take_three(storage, time, data, iteration, &error);
	if (ret)
		close_three(time, data, iteration);
	return sde__keep(storage, ret, &error);
}

/* For backends without last: their values are what was stored. */
static int last_of_values(struct sde_storage *storage, void *data, size_t size,
			  struct sde_error *error)
{
	uint64_t start[3] = { 0 }, count[3];
	struct sde_array *array = NULL;
	int ret;

	ret = storage->backend.values(storage->self, NULL, &array, error);
	if (ret)
		return ret;
	memcpy(count, sde_array_shape(array), sizeof(count));
	start[2] = count[2] - 1;
	count[2] = 1;
	ret = sde_array_read(array, start, count, NULL, data, size);
	if (ret)
		sde_array_error(array, error);
	sde_array_close(array);
	return ret;
}

/* Into `data`, which is large enough. */
static int read_last(struct sde_storage *storage, void *data, size_t size, int *exact,
		     struct sde_error *error)
{
	int is_exact = 1, ret;

	if (storage->backend.last)
		ret = storage->backend.last(storage->self, data, &is_exact, error);
	else
		ret = last_of_values(storage, data, size, error);
	if (!ret && !exact && !is_exact)
		ret = sde__fail(error, SDE_E_NO_DATA,
				"only the rounded numbers of the last snapshot are left");
	if (!ret && exact)
		*exact = is_exact;
	return ret;
}

int sde_storage_last(struct sde_storage *storage, void *data, size_t size, int *exact)
{
	struct sde_error error = { 0 };
	void *room = NULL;
	uint64_t bytes;
	int ret;

	if (!storage || (!data && !exact))
		return -EINVAL;
	if (!storage->backend.last && !storage->backend.values)
		return sde__unsupported(storage, "last");
	if (__builtin_mul_overflow(storage->ensemble.dimension, storage->ensemble.trajectories,
				   &bytes) ||
	    __builtin_mul_overflow(bytes, sde__dtype_size(storage->ensemble.dtype), &bytes) ||
	    bytes > INT64_MAX)
		return sde__refuse(storage, -ENOMEM, "a snapshot is larger than memory can be");
	if (data && size < bytes)
		return sde__refuse(storage, -ENOBUFS, "the room is smaller than a snapshot");
	if (!data) {
		data = room = malloc((size_t)bytes);
		if (!room)
			return sde__refuse(storage, -ENOMEM, "out of memory");
	}
	ret = read_last(storage, data, (size_t)bytes, exact, &error);
	free(room);
	return sde__keep(storage, ret, &error);
}
