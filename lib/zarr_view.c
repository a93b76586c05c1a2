/* SPDX-License-Identifier: MIT */
/* What a Zarr storage shows of itself, whether it is open for storing or not. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_storage.h"

#include "chunk_list.h"
#include "dataset.h"
#include "series.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
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

/* ------------------------------------------------------------------------
 * verify
 */

struct verification {
	struct sde__reader *reader;
	struct sde__cursor cursor;
	const struct sde_verify *verify;
	struct sde_error first;		/* damage */
	uint64_t block[2];		/* loaded numbers of time, iteration */
	uint64_t *numbers[2];
};

static void damaged(struct verification *v, uint64_t first, uint64_t count,
		    const struct sde_error *why)
{
	if (!v->first.code)
		v->first = *why;
	if (v->verify->damage)
		v->verify->damage(v->verify->ctx, first, count, why->code, why->text);
}

/* The side table's numbers against those in the arrays that Zarr readers see. */
static int compare_column(struct verification *v, enum sde__column column, const uint64_t *side,
			  uint64_t first, uint64_t count, struct sde_error *error)
{
	const struct sde__home *home = &v->reader->home;
	const struct sde__series_files files = sde__series_files(home, column);
	int ret = 0;

	for (uint64_t i = first; i < first + count && !ret; i++) {
		if (i / SDE__TIME_BLOCK != v->block[column]) {
			v->block[column] = UINT64_MAX;
			ret = sde__series_read_block(&files, i / SDE__TIME_BLOCK,
						     v->numbers[column], error);
			if (ret)
				return ret;
			v->block[column] = i / SDE__TIME_BLOCK;
		}
		if (memcmp(&v->numbers[column][i % SDE__TIME_BLOCK], &side[i - first], 8))
			ret = sde__fail(error, SDE_E_CORRUPT,
					"'%s/%s' differs from chunk '%s' at snapshot %" PRIu64,
					home->path, files.place, v->cursor.file.place, i);
	}
	return ret;
}

static int verify_chunk(struct verification *v, uint64_t chunk)
{
	const struct sde__reader *reader = v->reader;
	const uint64_t size = reader->metadata.geometry.chunk_size, first = chunk * size;
	const uint64_t end = first + size < reader->filed ? first + size : reader->filed;
	uint64_t published = reader->metadata.snapshots;
	struct sde_error why = { 0 };
	int ret;

	published = published < first ? first : published > end ? end : published;
	ret = sde__reader_verify(&v->cursor, chunk, &why);
	if (!ret)
		ret = compare_column(v, SDE__COLUMN_TIME,
				     (const uint64_t *)(const void *)v->cursor.file.side.time,
				     first, published - first, &why);
	if (!ret)
		ret = compare_column(v, SDE__COLUMN_ITERATION,
				     (const uint64_t *)(const void *)v->cursor.file.side.iteration,
				     first, published - first, &why);
	if (ret)
		damaged(v, first, end - first, &why);
	return ret;
}

/*
 * So many chunks missing one behind the other are told one by one; then all up to the
 * next that is there, at once. For what a store says it has may be any number.
 */
#define MISSING_ONES 64

static int skip_missing(struct verification *v, uint64_t *chunk, struct sde_error *error)
{
	const struct sde__reader *reader = v->reader;
	const uint64_t size = reader->metadata.geometry.chunk_size;
	const uint64_t chunks = (reader->filed + size - 1) / size;
	struct sde_error why = { 0 };
	uint64_t next;
	int ret;

	ret = sde__chunk_list_next(&reader->home, *chunk, &next, error);
	if (ret)
		return ret;
	if (next > chunks)
		next = chunks;
	if (next > *chunk) {
		const uint64_t first = *chunk * size;
		const uint64_t end = next < chunks ? next * size : reader->filed;

		sde__fail(&why, SDE_E_HOLE, "'%s' lacks the chunks of snapshots %" PRIu64 " to %" PRIu64,
			  reader->home.path, first, end - 1);
		damaged(v, first, end - first, &why);
	}
	*chunk = next;
	return 0;
}

int sde__zarr_view_verify(struct sde__reader *reader, const struct sde_verify *verify,
			  struct sde_error *error)
{
	const uint64_t size = reader->metadata.geometry.chunk_size;
	struct verification v = { .reader = reader, .verify = verify };
	uint64_t done, k = 0;
	unsigned missing = 0;
	int ret = 0;

	v.block[0] = v.block[1] = UINT64_MAX;
	v.numbers[0] = malloc(2 * 8 * SDE__TIME_BLOCK);
	if (!v.numbers[0])
		return sde__fail(error, -ENOMEM, "out of memory");
	v.numbers[1] = v.numbers[0] + SDE__TIME_BLOCK;
	sde__cursor_init(&v.cursor, reader);
	while (k < (reader->filed + size - 1) / size && !ret) {
		missing = verify_chunk(&v, k) == SDE_E_HOLE ? missing + 1 : 0;
		k++;
		if (missing >= MISSING_ONES)
			ret = skip_missing(&v, &k, error);
		if (ret)
			break;
		done = k * size < reader->filed ? k * size : reader->filed;
		if (verify->progress && verify->progress(verify->ctx, done, reader->filed))
			ret = sde__fail(error, -ECANCELED, "verification was stopped");
	}
	sde__cursor_free(&v.cursor);
	free(v.numbers[0]);
	if (!ret && v.first.code)
		ret = sde__fail(error, v.first.code, "%s", v.first.text);
	return ret;
}
