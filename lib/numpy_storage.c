/* SPDX-License-Identifier: MIT */
/* Snapshots in memory behind the base's interface: see numpy_storage.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "numpy_storage.h"

#include "arena.h"
#include "geometry.h"
#include "npz_export.h"
#include "options.h"
#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Addresses to reserve: more than any machine's memory, little of its addresses. */
#define RESERVE ((size_t)1 << 42)
#define RESERVE_LEAST ((size_t)1 << 26)

/* What the snapshots are in; shared by the storage and its handles. */
struct memory {
	struct sde__arena time, iteration, data;
	unsigned references;		/* atomic */
};

struct numpy {
	const struct sde__io *io;
	struct sde_numpy_options options;
	struct sde_ensemble ensemble;
	size_t snapshot_bytes;
	char *path;			/* with .npz; NULL: nowhere to save */
	bool saved_here;		/* the file at path is ours */
	uint64_t saved;			/* atomic: snapshots in it */
	uint64_t count;			/* atomic: stored, readable by all */
	pthread_mutex_t lock;		/* guards `memory` against truncate */
	struct memory *memory;
};

static struct memory *memory_new(struct sde_error *error)
{
	struct memory *memory = calloc(1, sizeof(*memory));

	if (!memory) {
		sde__fail(error, -ENOMEM, "out of memory");
		return NULL;
	}
	memory->references = 1;
	if (sde__arena_init(&memory->time, RESERVE / 16, RESERVE_LEAST, error) ||
	    sde__arena_init(&memory->iteration, RESERVE / 16, RESERVE_LEAST, error) ||
	    sde__arena_init(&memory->data, RESERVE, RESERVE_LEAST, error)) {
		sde__arena_free(&memory->time);
		sde__arena_free(&memory->iteration);
		free(memory);
		return NULL;
	}
	return memory;
}

static void memory_unref(void *ctx)
{
	struct memory *memory = ctx;

	if (!memory || __atomic_sub_fetch(&memory->references, 1, __ATOMIC_ACQ_REL))
		return;
	sde__arena_free(&memory->time);
	sde__arena_free(&memory->iteration);
	sde__arena_free(&memory->data);
	free(memory);
}

/* The memory, and how much of it may be read; the caller's reference. */
static struct memory *memory_ref(struct numpy *np, uint64_t *count)
{
	struct memory *memory;

	pthread_mutex_lock(&np->lock);
	memory = np->memory;
	__atomic_add_fetch(&memory->references, 1, __ATOMIC_RELAXED);
	*count = __atomic_load_n(&np->count, __ATOMIC_ACQUIRE);
	pthread_mutex_unlock(&np->lock);
	return memory;
}

static int memory_reserve(const struct numpy *np, struct memory *memory, uint64_t count,
			  struct sde_error *error)
{
	size_t bytes;
	int ret;

	if (__builtin_mul_overflow(np->snapshot_bytes, count, &bytes))
		return sde__fail(error, -ENOMEM, "%" PRIu64 " snapshots are larger than memory can be",
				 count);
	ret = sde__arena_grow(&memory->data, bytes, error);
	if (!ret)
		ret = sde__arena_grow(&memory->time, 8 * (size_t)count, error);
	if (!ret)
		ret = sde__arena_grow(&memory->iteration, 8 * (size_t)count, error);
	return ret;
}

static int numpy_store(void *self, double time, const void *data, uint64_t iteration_number,
		       struct sde_error *error)
{
	struct numpy *np = self;
	struct memory *memory = np->memory;
	const uint64_t i = np->count;
	int ret;

	if (iteration_number > INT64_MAX)
		return sde__fail(error, -EOVERFLOW, "iteration number %" PRIu64 " does not fit int64",
				 iteration_number);
	ret = memory_reserve(np, memory, i + 1, error);
	if (ret)
		return ret;
	memcpy(memory->time.base + 8 * i, &time, 8);
	memcpy(memory->iteration.base + 8 * i, &iteration_number, 8);
	memcpy(memory->data.base + np->snapshot_bytes * i, data, np->snapshot_bytes);
	__atomic_store_n(&np->count, i + 1, __ATOMIC_RELEASE);
	return 0;
}

/* A handle over `memory`, whose reference it takes over. */
static int wrap(struct memory *memory, struct sde_array **out, const void *base,
		enum sde_dtype dtype, unsigned ndim, const uint64_t *shape, const int64_t *strides,
		struct sde_error *error)
{
	int ret;

	__atomic_add_fetch(&memory->references, 1, __ATOMIC_RELAXED);
	ret = sde_array_wrap(out, base, dtype, ndim, shape, strides, memory_unref, memory);
	if (ret)
		memory_unref(memory);
	return ret ? sde__fail_why(error, ret, "no array handle") : 0;
}

/* Of one count; what was taken before a failure is the base's to close. */
static int numpy_arrays(void *self, struct sde_array **time, struct sde_array **data,
			struct sde_array **iteration, struct sde_error *error)
{
	struct numpy *np = self;
	const int64_t item = (int64_t)sde__dtype_size(np->ensemble.dtype);
	const int64_t strides[3] = { item * (int64_t)np->ensemble.trajectories, item,
				     (int64_t)np->snapshot_bytes };
	const int64_t eight = 8;
	struct memory *memory;
	uint64_t shape[3] = { np->ensemble.dimension, np->ensemble.trajectories, 0 };
	int ret = 0;

	memory = memory_ref(np, &shape[2]);
	if (!shape[2])
		ret = sde__fail(error, SDE_E_NO_DATA, "nothing has been stored yet");
	if (!ret && time)
		ret = wrap(memory, time, memory->time.base, SDE_FLOAT64, 1, &shape[2], &eight, error);
	if (!ret && data) {
		ret = wrap(memory, data, memory->data.base, np->ensemble.dtype, 3, shape, strides,
			   error);
	}
	if (!ret && iteration)
		ret = wrap(memory, iteration, memory->iteration.base, SDE_INT64, 1, &shape[2],
			   &eight, error);
	/* ours is the last of two references at most: wrap has given back its own
	 * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	memory_unref(memory);
	return ret;
}

static int numpy_values(void *self, struct sde_array **time, struct sde_array **data,
			struct sde_error *error)
{
	const int ret = numpy_arrays(self, time, data, NULL, error);

	if (ret && time) {
		sde_array_close(*time);
		*time = NULL;
	}
	return ret;
}

static int numpy_iterations(void *self, struct sde_array **iteration, struct sde_error *error)
{
	return numpy_arrays(self, NULL, NULL, iteration, error);
}

/* Written through the same handles that a user would take. */
static int write_file(struct numpy *np, struct sde_error *error)
{
	struct sde_npz_options options = SDE_NPZ_OPTIONS_INIT;
	struct sde_array *time = NULL, *data = NULL, *iteration = NULL;
	int ret;

	options.overwrite = np->options.overwrite || np->saved_here;
	options.threads = np->options.threads;
	ret = numpy_arrays(np, &time, &data, &iteration, error);
	if (!ret)
		ret = sde__npz_export(np->io, np->path, time, data, iteration, &options, error);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	return ret;
}

static int numpy_save(void *self, struct sde_error *error)
{
	struct numpy *np = self;
	int ret;

	if (!np->path || !np->count || (np->saved_here && np->saved == np->count))
		return 0;
	ret = write_file(np, error);
	if (ret)
		return ret;
	np->saved_here = true;
	__atomic_store_n(&np->saved, np->count, __ATOMIC_RELAXED);
	return 0;
}

/* Handles go on seeing what they saw: only memory that nobody shares is cut. */
static int numpy_truncate(void *self, uint64_t snapshots, struct sde_error *error)
{
	struct numpy *np = self;
	struct memory *memory = np->memory, *fresh;
	int ret;

	if (snapshots > np->count)
		return sde__fail(error, -EINVAL, "cannot truncate %" PRIu64 " snapshots to %" PRIu64,
				 np->count, snapshots);
	if (snapshots == np->count)
		return 0;
	fresh = memory_new(error);
	if (!fresh)
		return -ENOMEM;
	ret = memory_reserve(np, fresh, snapshots, error);
	if (ret) {
		memory_unref(fresh);
		return ret;
	}
	if (snapshots) {
		memcpy(fresh->time.base, memory->time.base, 8 * (size_t)snapshots);
		memcpy(fresh->iteration.base, memory->iteration.base, 8 * (size_t)snapshots);
		memcpy(fresh->data.base, memory->data.base, np->snapshot_bytes * (size_t)snapshots);
	}
	pthread_mutex_lock(&np->lock);
	np->memory = fresh;
	__atomic_store_n(&np->count, snapshots, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&np->lock);
	memory_unref(memory);
	__atomic_store_n(&np->saved, UINT64_MAX, __ATOMIC_RELAXED);
	return 0;
}

static int numpy_info(void *self, struct sde_storage_info *info, struct sde_error *error)
{
	struct numpy *np = self;
	struct memory *memory;
	uint64_t count, saved;

	(void)error;
	memory = memory_ref(np, &count);
	info->state = SDE_STATE_RUNNING;
	info->committed = count;
	saved = __atomic_load_n(&np->saved, __ATOMIC_RELAXED);
	info->published = saved <= count ? saved : 0;
	info->memory_bytes = memory->data.size + memory->time.size + memory->iteration.size;
	if (count) {
		memcpy(&info->first_time, memory->time.base, 8);
		memcpy(&info->last_time, memory->time.base + 8 * (count - 1), 8);
		memcpy(&info->first_iteration, memory->iteration.base, 8);
		memcpy(&info->last_iteration, memory->iteration.base + 8 * (count - 1), 8);
	}
	memory_unref(memory);
	return 0;
}

static void numpy_free(struct numpy *np)
{
	memory_unref(np->memory);
	pthread_mutex_destroy(&np->lock);
	free(np->path);
	free(np);
}

static int numpy_close(void *self, struct sde_error *error)
{
	struct numpy *np = self;
	const int ret = numpy_save(np, error);

	numpy_free(np);
	return ret;
}

static const struct sde_backend numpy_backend = {
	.size = sizeof(struct sde_backend),
	.kind = "numpy",
	.store = numpy_store,
	.save = numpy_save,
	.values = numpy_values,
	.close = numpy_close,
	.truncate = numpy_truncate,
	.iterations = numpy_iterations,
	.arrays = numpy_arrays,
	.info = numpy_info,
};

/* NumPy's rule: .npz is added unless it is there. */
static char *npz_path(const char *path)
{
	const size_t n = strlen(path);
	const bool there = n >= 4 && !strcmp(path + n - 4, ".npz");
	char *out = malloc(n + 5);

	if (out) {
		memcpy(out, path, n);
		memcpy(out + n, there ? "" : ".npz", there ? 1 : 5);
	}
	return out;
}

/* What stands where save will write is not lost without a word. */
static int check_path(const struct numpy *np, struct sde_error *error)
{
	struct sde__stat st;
	int ret;

	ret = np->io->stat_at(np->io->ctx, -1, np->path, &st);
	if (ret == -ENOENT)
		return 0;
	if (ret)
		return sde__fail_why(error, ret, "cannot stat '%s'", np->path);
	if (!st.is_file)
		return sde__fail(error, -EEXIST, "'%s' exists and is not a file", np->path);
	return np->options.overwrite ? 0 :
	       sde__fail(error, -EEXIST, "'%s' exists: set overwrite to replace it", np->path);
}

static int fill_in(struct numpy *np, const struct sde_ensemble *ensemble, struct sde_error *error)
{
	uint64_t bytes;
	int ret;

	ret = sde__ensemble_check(ensemble, error);
	if (ret)
		return ret;
	if (__builtin_mul_overflow(ensemble->dimension, ensemble->trajectories, &bytes) ||
	    __builtin_mul_overflow(bytes, sde__dtype_size(ensemble->dtype), &bytes) ||
	    bytes > RESERVE)
		return sde__fail(error, -EINVAL, "a snapshot of %" PRIu64 " x %" PRIu64
				 " numbers does not fit in memory", ensemble->dimension,
				 ensemble->trajectories);
	np->ensemble = *ensemble;
	np->snapshot_bytes = (size_t)bytes;
	if (np->options.save_directory) {
		np->path = npz_path(np->options.save_directory);
		if (!np->path)
			return sde__fail(error, -ENOMEM, "out of memory");
	}
	np->memory = memory_new(error);
	return np->memory ? 0 : -ENOMEM;
}

int sde__numpy_create(struct sde_storage **out, const struct sde_ensemble *ensemble,
		      const struct sde_numpy_options *options, const struct sde__io *io,
		      struct sde_error *error)
{
	struct sde_derive_options derive = SDE_DERIVE_OPTIONS_INIT;
	struct numpy *np;
	int ret;

	if (!out)
		return sde__fail(error, -EINVAL, "no place for the storage");
	*out = NULL;
	np = calloc(1, sizeof(*np));
	if (!np)
		return sde__fail(error, -ENOMEM, "out of memory");
	np->io = io;
	pthread_mutex_init(&np->lock, NULL);
	ret = sde__options_take(&np->options, sizeof(np->options), sizeof(np->options), options,
				"struct sde_numpy_options", error);
	if (!ret)
		ret = fill_in(np, ensemble, error);
	if (ret)
		goto fail;
	derive.stride = np->options.stride;
	derive.save_directory = np->options.save_directory;
	derive.make_directory = np->options.make_directory;
	derive.make_directory_ctx = np->options.make_directory_ctx;
	ret = sde_storage_derive(out, ensemble, &numpy_backend, np, &derive, error);
	if (ret)
		goto fail;
	/* the caller's text is not kept */
	np->options.save_directory = NULL;
	ret = np->path ? check_path(np, error) : 0;
	if (!ret)
		return 0;
	sde__storage_disown(*out);
	*out = NULL;
fail:
	numpy_free(np);
	return ret;
}
