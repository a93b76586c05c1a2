/* SPDX-License-Identifier: MIT */
/* The backend that reads .npz files: see npz_open.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "npz_open.h"

#include "npz_file.h"
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((size_t)1 << 20)		/* bytes verified at once */
#define PROGRESS ((uint64_t)64 << 20)	/* bytes between two calls of progress */

/* ------------------------------------------------------------------------
 * time and iteration
 */

static int column_new(struct sde__npz_file *npz, enum sde__npz_member member, struct sde_array **out,
		      struct sde_error *error)
{
	const int64_t eight = 8;
	const void *numbers;
	int ret;

	ret = sde__npz_file_hold(npz, member, &numbers, error);
	if (ret)
		return ret;
	sde__npz_file_ref(npz);
	ret = sde_array_wrap(out, numbers, sde__npz_array(npz->reader, member)->npy.dtype, 1,
			     &npz->snapshots, &eight, sde__npz_file_unref, npz);
	if (!ret)
		return 0;
	sde__npz_file_unref(npz);
	return sde__fail_why(error, ret, "no array handle");
}

/* The first and the last number. */
static int column_ends(struct sde__npz_file *npz, enum sde__npz_member member, void *first, void *last,
		       struct sde_error *error)
{
	const void *numbers;
	int ret;

	if (!npz->snapshots || !sde__npz_array(npz->reader, member)->present)
		return 0;
	ret = sde__npz_file_hold(npz, member, &numbers, error);
	if (ret)
		return ret;
	memcpy(first, numbers, 8);
	memcpy(last, (const unsigned char *)numbers + 8 * (npz->snapshots - 1), 8);
	return 0;
}

/* ------------------------------------------------------------------------
 * verify
 */

struct verification {
	struct sde__npz_file *npz;
	const struct sde_verify *verify;
	unsigned char *block;
};

static int report_progress(const struct verification *v, uint64_t done, struct sde_error *error)
{
	const struct sde_verify *verify = v->verify;

	if (!verify->progress || !verify->progress(verify->ctx, done, v->npz->snapshots))
		return 0;
	return sde__fail(error, -ECANCELED, "verification was stopped");
}

/*
 * Stream a member to its end. Damage goes to `why`, and 0 is returned; -ECANCELED.
 * The end of data is reported by the caller.
 */
static int verify_member(const struct verification *v, enum sde__npz_member member,
			 struct sde_error *why, struct sde_error *error)
{
	const uint64_t bytes = sde__npz_array(v->npz->reader, member)->bytes;
	struct sde__inflater *stream;
	uint64_t done = 0;
	int ret, stop = 0;

	ret = sde__npz_stream_open(&stream, v->npz->reader, member, why);
	if (ret)
		return 0;
	do {
		const size_t n = bytes - done < BLOCK ? (size_t)(bytes - done) : BLOCK;

		ret = sde__inflater_read(stream, v->block, n, why);
		done += n;
		if (!ret && member == SDE__NPZ_DATA && done < bytes && !(done % PROGRESS))
			stop = report_progress(v, done / v->npz->snapshot_bytes, error);
	} while (!ret && !stop && done < bytes);
	sde__inflater_close(stream);
	return stop;
}

static int npz_verify(void *self, const struct sde_verify *verify, struct sde_error *error)
{
	struct sde__npz_file *npz = self;
	struct verification v = { .npz = npz, .verify = verify };
	struct sde_error why = { 0 };
	int ret = 0;

	v.block = malloc(BLOCK);
	if (!v.block)
		return sde__fail(error, -ENOMEM, "out of memory");
	for (int i = 0; i < SDE__NPZ_MEMBERS && !ret && !why.code; i++)
		if (sde__npz_array(npz->reader, (enum sde__npz_member)i)->present)
			ret = verify_member(&v, (enum sde__npz_member)i, &why, error);
	free(v.block);
	if (!ret && why.code && verify->damage)
		verify->damage(verify->ctx, 0, npz->snapshots, why.code, why.text);
	if (!ret && npz->snapshots)
		ret = report_progress(&v, npz->snapshots, error);
	return ret || !why.code ? ret : sde__fail(error, why.code, "%s", why.text);
}

/* ------------------------------------------------------------------------
 * The backend
 */

static int read_only(struct sde_error *error)
{
	return sde__fail(error, -EBADF, "the storage was opened read-only");
}

static int npz_store(void *self, double time, const void *data, uint64_t iteration_number,
		     struct sde_error *error)
{
	(void)self, (void)time, (void)data, (void)iteration_number;
	return read_only(error);
}

static int npz_reserve(void *self, uint64_t iteration_number, void **slot,
		       struct sde_error *error)
{
	(void)self, (void)iteration_number, (void)slot;
	return read_only(error);
}

static int npz_commit(void *self, double time, struct sde_error *error)
{
	(void)self, (void)time;
	return read_only(error);
}

static int npz_set_state(void *self, const void *bytes, size_t n, struct sde_error *error)
{
	(void)self, (void)bytes, (void)n;
	return read_only(error);
}

static int npz_truncate(void *self, uint64_t snapshots, struct sde_error *error)
{
	(void)self, (void)snapshots;
	return read_only(error);
}

static int npz_state(void *self, void *bytes, size_t *n, struct sde_error *error)
{
	const struct sde__npz_file *npz = self;

	(void)bytes;
	*n = 0;
	return sde__fail(error, SDE_E_NO_DATA, "'%s' is an npz file, which has no state", npz->path);
}

static int no_snapshots(const struct sde__npz_file *npz, struct sde_error *error)
{
	return sde__fail(error, SDE_E_NO_DATA, "'%s' has no snapshots", npz->path);
}

static int npz_values(void *self, struct sde_array **time, struct sde_array **data,
		      struct sde_error *error)
{
	struct sde__npz_file *npz = self;
	int ret = 0;

	if (!npz->snapshots)
		return no_snapshots(npz, error);
	if (time)
		ret = column_new(npz, SDE__NPZ_TIME, time, error);
	if (!ret && data) {
		ret = sde__npz_data_new(npz, data, error);
		if (ret && time) {
			sde_array_close(*time);
			*time = NULL;
		}
	}
	return ret;
}

static int npz_iterations(void *self, struct sde_array **iteration, struct sde_error *error)
{
	struct sde__npz_file *npz = self;

	if (!sde__npz_array(npz->reader, SDE__NPZ_ITERATION)->present)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no iteration numbers", npz->path);
	if (!npz->snapshots)
		return no_snapshots(npz, error);
	return column_new(npz, SDE__NPZ_ITERATION, iteration, error);
}

static int npz_info(void *self, struct sde_storage_info *info, struct sde_error *error)
{
	struct sde__npz_file *npz = self;
	int ret;

	info->state = SDE_STATE_CLOSED;
	info->committed = info->synced = info->sealed = info->published = npz->snapshots;
	info->raw_bytes = npz->data->bytes;
	info->stored_bytes = npz->data->packed;
	info->chunk_files = 1;
	ret = column_ends(npz, SDE__NPZ_TIME, &info->first_time, &info->last_time, error);
	if (!ret)
		ret = column_ends(npz, SDE__NPZ_ITERATION, &info->first_iteration,
				  &info->last_iteration, error);
	return ret;
}

static const char *npz_attributes(void *self)
{
	(void)self;
	return "{}";
}

static const char *npz_time_units(void *self)
{
	(void)self;
	return "";
}

static int npz_close(void *self, struct sde_error *error)
{
	(void)error;
	sde__npz_file_unref(self);
	return 0;
}

static const struct sde_backend npz_backend = {
	.size = sizeof(struct sde_backend),
	.kind = "numpy",
	.store = npz_store,
	.reserve = npz_reserve,
	.commit = npz_commit,
	.set_state = npz_set_state,
	.truncate = npz_truncate,
	.state = npz_state,
	.values = npz_values,
	.iterations = npz_iterations,
	.verify = npz_verify,
	.info = npz_info,
	.attributes = npz_attributes,
	.time_units = npz_time_units,
	.close = npz_close,
};

int sde__npz_storage_open(struct sde_storage **out, const char *path,
			  const struct sde_open_options *options, const struct sde__io *io,
			  struct sde_error *error)
{
	struct sde_derive_options derive = SDE_DERIVE_OPTIONS_INIT;
	struct sde_open_options own;
	struct sde_ensemble ensemble;
	struct sde__npz_file *npz;
	int ret;

	*out = NULL;
	ret = sde__open_options_take(&own, options, error);
	if (ret)
		return ret;
	ret = sde__npz_file_open(&npz, io, path, error);
	if (ret)
		return ret;
	ensemble.dimension = npz->dimension;
	ensemble.trajectories = npz->trajectories;
	ensemble.dtype = npz->data->npy.dtype;
	ret = sde_storage_derive(out, &ensemble, &npz_backend, npz, &derive, error);
	if (ret)
		sde__npz_file_unref(npz);
	return ret;
}
