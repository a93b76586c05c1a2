/* SPDX-License-Identifier: MIT */
/* What a Zarr storage shows of itself, whether it is open for storing or not. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_storage.h"

#include "dataset.h"

#include <errno.h>
#include <string.h>

int sde__zarr_view_values(struct sde__reader *reader, struct sde_array **time,
			  struct sde_array **data, struct sde_error *error)
{
	int ret = 0;

	if (!reader->snapshots)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no snapshots yet", reader->home.path);
	if (time)
		ret = sde__dataset_new(time, reader, SDE__DATASET_TIME, error);
	if (!ret && data)
		ret = sde__dataset_new(data, reader, SDE__DATASET_DATA, error);
	if (ret && time) {
		sde_array_close(*time);
		*time = NULL;
	}
	return ret;
}

int sde__zarr_view_iterations(struct sde__reader *reader, struct sde_array **iteration,
			      struct sde_error *error)
{
	if (!reader->snapshots)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no snapshots yet", reader->home.path);
	return sde__dataset_new(iteration, reader, SDE__DATASET_ITERATION, error);
}

int sde__zarr_view_arrays(struct sde__reader *reader, struct sde_array **time,
			  struct sde_array **data, struct sde_array **iteration,
			  struct sde_error *error)
{
	int ret = 0;

	if (time || data)
		ret = sde__zarr_view_values(reader, time, data, error);
	if (!ret && iteration)
		ret = sde__zarr_view_iterations(reader, iteration, error);
	return ret;
}

int sde__zarr_view_moment(struct sde__reader *reader, uint64_t index, double *time,
			  int64_t *iteration, struct sde_error *error)
{
	const struct sde__range one = { index, 1, 1 };
	struct sde__cursor cursor;
	uint64_t bits[2];
	int ret;

	sde__cursor_init(&cursor, reader);
	ret = sde__reader_column(&cursor, SDE__COLUMN_TIME, &one, &bits[0], 8, error);
	if (!ret)
		ret = sde__reader_column(&cursor, SDE__COLUMN_ITERATION, &one, &bits[1], 8, error);
	if (!ret) {
		memcpy(time, &bits[0], sizeof(*time));
		memcpy(iteration, &bits[1], sizeof(*iteration));
	}
	sde__cursor_free(&cursor);
	return ret;
}

int sde__zarr_view_state(struct sde__reader *reader, uint64_t index, void *bytes, size_t *n,
			 struct sde_error *error)
{
	struct sde__cursor cursor;
	int ret;

	sde__cursor_init(&cursor, reader);
	ret = sde__reader_state(&cursor, index, bytes, n, error);
	sde__cursor_free(&cursor);
	return ret;
}

void sde__zarr_view_info(const struct sde__metadata *m, struct sde_storage_info *info)
{
	info->zarr_format = m->zarr_format;
	info->stride = m->stride;
	info->chunk_size = m->geometry.chunk_size;
	info->trajectories_per_chunk = m->geometry.inner_width;
	info->codec = m->codec;
	info->checksum = m->checksum ? SDE_CHECKSUM_ON : SDE_CHECKSUM_OFF;
	info->keepbits = m->keepbits;
	info->state_capacity = m->state_capacity;
	/* a truncate may be under way in another thread */
	info->epoch = __atomic_load_n(&m->epoch, __ATOMIC_RELAXED);
	memcpy(info->run, m->run, sizeof(info->run));
}
