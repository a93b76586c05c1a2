/* SPDX-License-Identifier: MIT */
/*
 * The base: every public sde_storage_ call enters here or in storage_values.c, is
 * checked, counted against stride, and handed to the backend. What a backend fails with is kept
 * for sde_storage_error.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_state.h"

#include "geometry.h"
#include "home.h"
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The first released struct sde_storage_info, which every caller has at least. */
#define INFO_SIZE_1 (offsetof(struct sde_storage_info, run) + 33)

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

int sde__keep(const struct sde_storage *storage, int code, const struct sde_error *error)
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

int sde__refuse(const struct sde_storage *storage, int code, const char *text)
{
	struct sde_error error = { 0 };

	sde__fail(&error, code, "%s", text);
	return sde__keep(storage, code, &error);
}

int sde__unsupported(const struct sde_storage *storage, const char *call)
{
	struct sde_error error = { 0 };

	sde__fail(&error, SDE_E_UNSUPPORTED, "a %s storage has no %s",
		  storage->backend.kind ? storage->backend.kind : "derived", call);
	return sde__keep(storage, SDE_E_UNSUPPORTED, &error);
}

int sde_storage_store(struct sde_storage *storage, double time, const void *data,
		      uint64_t iteration_number)
{
	struct sde_error error;
	int ret;

	if (!storage)
		return -EINVAL;
	if (!data)
		return sde__refuse(storage, -EINVAL, "no data given");
	if (storage->stride != 1 && iteration_number % storage->stride)
		return 0;
	if (storage->reserved)
		return sde__refuse(storage, -EINVAL, "a reserved slot waits for commit");
	if (!storage->backend.store)
		return sde__unsupported(storage, "store");
	sde__error_clear(&error);
	ret = storage->backend.store(storage->self, time, data, iteration_number, &error);
	return ret ? sde__keep(storage, ret, &error) : 0;
}

/* Backends that only know store get a buffer of the base. */
static int reserve_here(struct sde_storage *storage, void **slot)
{
	const uint64_t item = sde__dtype_size(storage->ensemble.dtype);
	uint64_t bytes;

	if (!storage->backend.store)
		return sde__unsupported(storage, "reserve");
	if (!storage->slot) {
		if (__builtin_mul_overflow(storage->ensemble.dimension,
					   storage->ensemble.trajectories, &bytes) ||
		    __builtin_mul_overflow(bytes, item, &bytes) || bytes > INT64_MAX - 64)
			return sde__refuse(storage, -ENOMEM,
					   "a snapshot is larger than memory can be");
		storage->slot = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64);
	}
	if (!storage->slot)
		return sde__refuse(storage, -ENOMEM, "out of memory");
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
		ret = sde__keep(storage, storage->backend.reserve(storage->self, iteration_number,
								  slot, &error), &error);
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
		return sde__refuse(storage, -EINVAL, "commit without a reserved slot");
	storage->reserved = false;
	sde__error_clear(&error);
	if (storage->backend.reserve && storage->backend.commit)
		ret = storage->backend.commit(storage->self, time, &error);
	else
		ret = storage->backend.store(storage->self, time, storage->slot,
					     storage->iteration, &error);
	return sde__keep(storage, ret, &error);
}

int sde_storage_set_state(struct sde_storage *storage, const void *bytes, size_t n)
{
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (!bytes && n)
		return sde__refuse(storage, -EINVAL, "no state given");
	if (!storage->backend.set_state)
		return sde__unsupported(storage, "set_state");
	return sde__keep(storage, storage->backend.set_state(storage->self, bytes, n, &error),
			 &error);
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
		return sde__unsupported(storage, "state");
	ret = storage->backend.state(storage->self, bytes, n, &error);
	/* who has no room only asks how much it takes */
	if (ret == -ERANGE && !bytes)
		return 0;
	return sde__keep(storage, ret, &error);
}

/* What is reserved must be committed before the storage may be settled. */
static int check_reserved(struct sde_storage *storage)
{
	return storage->reserved ?
	       sde__refuse(storage, -EINVAL, "a reserved slot waits for commit") : 0;
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
	return sde__keep(storage, storage->backend.save(storage->self, &error), &error);
}

int sde_storage_sync(struct sde_storage *storage)
{
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (!storage->backend.sync)
		return 0;
	return sde__keep(storage, storage->backend.sync(storage->self, &error), &error);
}

int sde_storage_truncate(struct sde_storage *storage, uint64_t snapshots)
{
	struct sde_error error = { 0 };

	if (!storage)
		return -EINVAL;
	if (check_reserved(storage))
		return -EINVAL;
	if (!storage->backend.truncate)
		return sde__unsupported(storage, "truncate");
	return sde__keep(storage, storage->backend.truncate(storage->self, snapshots, &error),
			 &error);
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
	return sde__keep(storage, storage->backend.refresh(storage->self, &error), &error);
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
		return sde__keep(storage, ret, &error);
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
		return sde__unsupported(storage, "verify");
	return sde__keep(storage, storage->backend.verify(storage->self, verify ? verify : &silent,
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
