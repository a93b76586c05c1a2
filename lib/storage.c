/* SPDX-License-Identifier: MIT */
/*
 * The base: every public sde_storage_ call enters here, is checked, counted
 * against stride, and handed to the backend. What a backend fails with is kept
 * for sde_storage_error.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage.h"

#include "crew.h"
#include "geometry.h"
#include "home.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* The first released struct sde_storage_info, which every caller has at least. */
#define INFO_SIZE_1 (offsetof(struct sde_storage_info, run) + 33)

struct sde_storage {
	struct sde_backend backend;
	void *self;
	struct sde_ensemble ensemble;
	uint64_t stride;
	bool reserved;			/* a slot is out, for this iteration */
	uint64_t iteration;
	void *slot;			/* for backends without reserve */
	pthread_mutex_t lock;		/* guards error */
	struct sde_error error;
};

int sde__options_take(void *own, size_t own_size, size_t least_size, const void *user,
		      const char *name, struct sde_error *error)
{
	const unsigned char *bytes = user;
	size_t size;

	memset(own, 0, own_size);
	if (!user)
		return 0;
	memcpy(&size, user, sizeof(size));
	if (size < least_size)
		return sde__fail(error, -EINVAL,
				 "%s has size %zu, too small: begin with its _INIT macro", name, size);
	for (size_t i = own_size; i < size; i++)
		if (bytes[i])
			return sde__fail(error, -E2BIG,
					 "%s has a field that this version of the library does not know",
					 name);
	memcpy(own, user, size < own_size ? size : own_size);
	return 0;
}

int sde__open_options_take(struct sde_open_options *own, const struct sde_open_options *options,
			   struct sde_error *error)
{
	const int ret = sde__options_take(own, sizeof(*own),
					  offsetof(struct sde_open_options, on_hole), options,
					  "struct sde_open_options", error);

	if (ret)
		return ret;
	if ((int)own->ring < 0 || own->ring > SDE_RING_DISCARD)
		return sde__fail(error, -EINVAL, "option ring has no value %d", (int)own->ring);
	if ((int)own->on_hole < 0 || own->on_hole > SDE_HOLE_NAN)
		return sde__fail(error, -EINVAL, "option on_hole has no value %d",
				 (int)own->on_hole);
	if (own->threads > SDE__CREW_MAX)
		return sde__fail(error, -EINVAL, "option threads is %u, more than %d", own->threads,
				 SDE__CREW_MAX);
	return 0;
}

int sde__ensemble_check(const struct sde_ensemble *ensemble, struct sde_error *error)
{
	if (!ensemble)
		return sde__fail(error, -EINVAL, "no ensemble given");
	if (!ensemble->dimension || !ensemble->trajectories)
		return sde__fail(error, -EINVAL,
				 "dimension %" PRIu64 " and trajectories %" PRIu64 " must be at least 1",
				 ensemble->dimension, ensemble->trajectories);
	if (ensemble->dtype != SDE_FLOAT64 && ensemble->dtype != SDE_FLOAT32)
		return sde__fail(error, -EINVAL, "dtype %d is neither float64 nor float32",
				 (int)ensemble->dtype);
	return 0;
}

static int make_parent(const struct sde_derive_options *options, struct sde_error *error)
{
	char *parent;
	int ret;

	if (!options->save_directory)
		return 0;
	if (!*options->save_directory)
		return sde__fail(error, -EINVAL, "save_directory is empty");
	parent = sde__home_parent_path(options->save_directory);
	if (!parent)
		return sde__fail(error, -ENOMEM, "out of memory");
	if (options->make_directory)
		ret = options->make_directory(options->make_directory_ctx, parent);
	else
		ret = sde__io_make_directories(NULL, parent);
	if (ret)
		sde__fail_why(error, ret, "cannot make directory '%s'", parent);
	free(parent);
	return ret;
}

int sde_storage_derive(struct sde_storage **out, const struct sde_ensemble *ensemble,
		       const struct sde_backend *backend, void *self,
		       const struct sde_derive_options *options, struct sde_error *error)
{
	struct sde_derive_options own;
	struct sde_storage *storage;
	int ret;

	if (!out)
		return sde__fail(error, -EINVAL, "no place for the storage");
	*out = NULL;
	if (!backend)
		return sde__fail(error, -EINVAL, "no backend given");
	ret = sde__options_take(&own, sizeof(own), sizeof(own), options,
				"struct sde_derive_options", error);
	if (!ret)
		ret = sde__ensemble_check(ensemble, error);
	if (!ret)
		ret = make_parent(&own, error);
	if (ret)
		return ret;
	storage = calloc(1, sizeof(*storage));
	if (!storage)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = sde__options_take(&storage->backend, sizeof(storage->backend),
				offsetof(struct sde_backend, reserve), backend,
				"struct sde_backend", error);
	if (ret) {
		free(storage);
		return ret;
	}
	storage->self = self;
	storage->ensemble = *ensemble;
	storage->stride = own.stride ? own.stride : 1;
	pthread_mutex_init(&storage->lock, NULL);
	*out = storage;
	return 0;
}

/* Keep the sentence of a failure; returns its code. */
static int keep(const struct sde_storage *storage, int code, const struct sde_error *error)
{
	/* error text is the one thing that const calls change */
	struct sde_storage *self = (struct sde_storage *)(uintptr_t)storage;

	if (!code)
		return 0;
	pthread_mutex_lock(&self->lock);
	if (error && error->code) {
		self->error = *error;
		self->error.code = code;
	} else {
		sde__error_clear(&self->error);
		sde__fail(&self->error, code, "%s", sde_strerror(code));
	}
	pthread_mutex_unlock(&self->lock);
	return code;
}

static int refuse(const struct sde_storage *storage, int code, const char *text)
{
	struct sde_error error = { 0 };

	sde__fail(&error, code, "%s", text);
	return keep(storage, code, &error);
}

static int unsupported(const struct sde_storage *storage, const char *call)
{
	struct sde_error error = { 0 };

	sde__fail(&error, SDE_E_UNSUPPORTED, "a %s storage has no %s",
		  storage->backend.kind ? storage->backend.kind : "derived", call);
	return keep(storage, SDE_E_UNSUPPORTED, &error);
}

int sde_storage_store(struct sde_storage *storage, double time, const void *data,
		      uint64_t iteration_number)
{
	struct sde_error error;
	int ret;

	if (!storage)
		return -EINVAL;
	if (!data)
		return refuse(storage, -EINVAL, "no data given");
	if (storage->stride != 1 && iteration_number % storage->stride)
		return 0;
	if (storage->reserved)
		return refuse(storage, -EINVAL, "a reserved slot waits for commit");
	if (!storage->backend.store)
		return unsupported(storage, "store");
	sde__error_clear(&error);
	ret = storage->backend.store(storage->self, time, data, iteration_number, &error);
	return ret ? keep(storage, ret, &error) : 0;
}

/* Backends that only know store get a buffer of the base. */
static int reserve_here(struct sde_storage *storage, void **slot)
{
	const uint64_t item = sde__dtype_size(storage->ensemble.dtype);
	uint64_t bytes;

	if (!storage->backend.store)
		return unsupported(storage, "reserve");
	if (!storage->slot) {
		if (__builtin_mul_overflow(storage->ensemble.dimension,
					   storage->ensemble.trajectories, &bytes) ||
		    __builtin_mul_overflow(bytes, item, &bytes) || bytes > INT64_MAX - 64)
			return refuse(storage, -ENOMEM, "a snapshot is larger than memory can be");
		storage->slot = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
	}
	if (!storage->slot)
		return refuse(storage, -ENOMEM, "out of memory");
	*slot = storage->slot;
	return 0;
}

int sde_storage_reserve(struct sde_storage *storage, uint64_t iteration_number, void **slot)
{
	struct sde_error error;
	int ret;

	if (!storage || !slot)
		return -EINVAL;
	*slot = NULL;
	/* a slot that was out before is taken back */
	storage->reserved = false;
	if (storage->stride != 1 && iteration_number % storage->stride)
		return 0;
	sde__error_clear(&error);
	if (storage->backend.reserve && storage->backend.commit)
		ret = keep(storage, storage->backend.reserve(storage->self, iteration_number, slot,
							     &error), &error);
	else
		ret = reserve_here(storage, slot);
	storage->reserved = !ret;
	storage->iteration = iteration_number;
	return ret;
}

int sde_storage_commit(struct sde_storage *storage, double time)
{
	struct sde_error error;
	int ret;

	if (!storage)
		return -EINVAL;
	if (!storage->reserved)
		return refuse(storage, -EINVAL, "commit without a reserved slot");
	storage->reserved = false;
	sde__error_clear(&error);
	if (storage->backend.reserve && storage->backend.commit)
		ret = storage->backend.commit(storage->self, time, &error);
	else
		ret = storage->backend.store(storage->self, time, storage->slot,
					     storage->iteration, &error);
	return keep(storage, ret, &error);
}

int sde_storage_set_state(struct sde_storage *storage, const void *bytes, size_t n)
{
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (!bytes && n)
		return refuse(storage, -EINVAL, "no state given");
	if (!storage->backend.set_state)
		return unsupported(storage, "set_state");
	return keep(storage, storage->backend.set_state(storage->self, bytes, n, &error), &error);
}

int sde_storage_state(const struct sde_storage *storage, void *bytes, size_t *n)
{
	struct sde_error error = { 0 };
	int ret;

	if (!storage || !n)
		return -EINVAL;
	if (!bytes)
		*n = 0;
	if (!storage->backend.state)
		return unsupported(storage, "state");
	ret = storage->backend.state(storage->self, bytes, n, &error);
	/* who has no room only asks how much it takes */
	if (ret == -ERANGE && !bytes)
		return 0;
	return keep(storage, ret, &error);
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
		return unsupported(storage, "last");
	if (__builtin_mul_overflow(storage->ensemble.dimension, storage->ensemble.trajectories,
				   &bytes) ||
	    __builtin_mul_overflow(bytes, sde__dtype_size(storage->ensemble.dtype), &bytes) ||
	    bytes > INT64_MAX)
		return refuse(storage, -ENOMEM, "a snapshot is larger than memory can be");
	if (data && size < bytes)
		return refuse(storage, -ENOBUFS, "the room is smaller than a snapshot");
	if (!data) {
		data = room = malloc((size_t)bytes);
		if (!room)
			return refuse(storage, -ENOMEM, "out of memory");
	}
	ret = read_last(storage, data, (size_t)bytes, exact, &error);
	free(room);
	return keep(storage, ret, &error);
}

/* What is reserved must be committed before the storage may be settled. */
static int check_reserved(struct sde_storage *storage)
{
	return storage->reserved ? refuse(storage, -EINVAL, "a reserved slot waits for commit") : 0;
}

int sde_storage_save(struct sde_storage *storage)
{
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (check_reserved(storage))
		return -EINVAL;
	if (!storage->backend.save)
		return 0;
	return keep(storage, storage->backend.save(storage->self, &error), &error);
}

int sde_storage_sync(struct sde_storage *storage)
{
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (!storage->backend.sync)
		return 0;
	return keep(storage, storage->backend.sync(storage->self, &error), &error);
}

int sde_storage_truncate(struct sde_storage *storage, uint64_t snapshots)
{
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (check_reserved(storage))
		return -EINVAL;
	if (!storage->backend.truncate)
		return unsupported(storage, "truncate");
	return keep(storage, storage->backend.truncate(storage->self, snapshots, &error), &error);
}

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
		return unsupported(storage, "values");
	return keep(storage, storage->backend.values(storage->self, time, data, &error), &error);
}

int sde_storage_iterations(struct sde_storage *storage, struct sde_array **iteration)
{
	struct sde_error error = { 0 };

	if (!storage || !iteration)
		return -EINVAL;
	*iteration = NULL;
	if (!storage->backend.iterations)
		return unsupported(storage, "iterations");
	return keep(storage, storage->backend.iterations(storage->self, iteration, &error), &error);
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
		return unsupported(storage, "values");
	if (!storage->backend.arrays && iteration && !storage->backend.iterations)
		return unsupported(storage, "iterations");
	if (storage->backend.arrays)
		ret = storage->backend.arrays(storage->self, time, data, iteration, &error);
	else
		ret = take_three(storage, time, data, iteration, &error);
	if (ret)
		close_three(time, data, iteration);
	return keep(storage, ret, &error);
}

int sde_storage_columns(const struct sde_storage *storage, sde_column_function *function,
			void *ctx)
{
	if (!storage)
		return -EINVAL;
	return storage->backend.columns ? storage->backend.columns(storage->self, function, ctx) : 0;
}

int sde_storage_refresh(struct sde_storage *storage)
{
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (!storage->backend.refresh)
		return 0;
	return keep(storage, storage->backend.refresh(storage->self, &error), &error);
}

int sde_storage_info(const struct sde_storage *storage, struct sde_storage_info *info)
{
	struct sde_storage_info own = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	size_t size;
	int ret = 0;

	if (!storage || !info || info->size < INFO_SIZE_1)
		return -EINVAL;
	size = info->size < sizeof(own) ? info->size : sizeof(own);
	own.kind = storage->backend.kind ? storage->backend.kind : "derived";
	own.ensemble = storage->ensemble;
	own.stride = storage->stride;
	own.first_time = own.last_time = (double)NAN;
	own.first_iteration = own.last_iteration = -1;
	if (storage->backend.info)
		ret = storage->backend.info(storage->self, &own, &error);
	if (ret)
		return keep(storage, ret, &error);
	own.size = info->size;
	memset(info, 0, info->size);
	memcpy(info, &own, size);
	return 0;
}

int sde_storage_verify(struct sde_storage *storage, const struct sde_verify *verify)
{
	static const struct sde_verify silent;
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (!storage->backend.verify)
		return unsupported(storage, "verify");
	return keep(storage, storage->backend.verify(storage->self, verify ? verify : &silent,
						     &error), &error);
}

const char *sde_storage_attributes(const struct sde_storage *storage)
{
	return storage && storage->backend.attributes ? storage->backend.attributes(storage->self) :
	       "{}";
}

const char *sde_storage_time_units(const struct sde_storage *storage)
{
	return storage && storage->backend.time_units ? storage->backend.time_units(storage->self) :
	       "";
}

int sde_storage_error(const struct sde_storage *storage, struct sde_error *error)
{
	struct sde_storage *self = (struct sde_storage *)(uintptr_t)storage;
	int code;

	if (!storage)
		return -EINVAL;
	pthread_mutex_lock(&self->lock);
	if (error)
		*error = self->error;
	code = self->error.code;
	pthread_mutex_unlock(&self->lock);
	return code;
}

void sde__storage_disown(struct sde_storage *storage)
{
	pthread_mutex_destroy(&storage->lock);
	free(storage->slot);
	free(storage);
}

int sde_storage_close_error(struct sde_storage *storage, struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret = 0;

	if (!storage)
		return 0;
	if (storage->backend.close)
		ret = storage->backend.close(storage->self, &why);
	if (ret && error)
		sde__fail(error, ret, "%s", why.code ? why.text : sde_strerror(ret));
	sde__storage_disown(storage);
	return ret;
}

int sde_storage_close(struct sde_storage *storage)
{
	return sde_storage_close_error(storage, NULL);
}
