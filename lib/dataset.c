/* SPDX-License-Identifier: MIT */
/* Array handles over a store: see dataset.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dataset.h"

#include "crew.h"
#include "hand.h"
#include "pages.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_BUDGET ((size_t)256 << 20)
#define SMALL ((uint64_t)4 << 20)	/* bytes decompressed at once rather than lazily */

struct dataset {
	struct sde__reader *reader;
	enum sde__dataset which;
	struct sde__cursor cursor;
	struct sde__holes holes;
	void *copy;			/* sde_array_map's, malloc'd ... */
	void *file;			/* ... or a mapped chunk file ... */
	size_t file_size;
	struct sde__pages *pages;	/* ... or filled lazily */
	/* guards cursor. At the end: what lies before is another handle's, which another
	 * thread may be reading all the time */
	pthread_mutex_t lock;
};

static int read_with(struct sde__cursor *cursor, enum sde__dataset which,
		     const struct sde__range *range, void *out, const int64_t *strides,
		     struct sde_error *error)
{
	switch (which) {
	case SDE__DATASET_DATA:
		return sde__reader_data(cursor, range, out, strides, error);
	case SDE__DATASET_TIME:
		return sde__reader_column(cursor, SDE__COLUMN_TIME, range, out, strides[0], error);
	default:
		return sde__reader_column(cursor, SDE__COLUMN_ITERATION, range, out, strides[0], error);
	}
}

/* ------------------------------------------------------------------------
 * Reading by several threads: each with a cursor of its own
 */

struct shared_read {
	struct dataset *dataset;
	struct sde__cuts cuts;
	unsigned char *out;
	const int64_t *strides;
};

static int begin_piece(void *ctx, unsigned thread, void **own, struct sde_error *error)
{
	const struct shared_read *shared = ctx;
	struct sde__hand *hand = malloc(sizeof(*hand));

	(void)thread;
	if (!hand)
		return sde__fail(error, -ENOMEM, "out of memory");
	/* any thread may note holes there */
	sde__hand_init(hand, shared->dataset->reader, &shared->dataset->holes, false);
	*own = hand;
	return 0;
}

static int read_piece(void *ctx, void *own, uint64_t job, struct sde_error *error)
{
	const struct shared_read *shared = ctx;
	struct sde__hand *hand = own;
	unsigned char *out = shared->out;
	struct sde__cut piece;

	if (!sde__cuts_piece(&shared->cuts, job, &piece))
		return 0;
	for (int i = 0; i < 3; i++)
		out += (int64_t)piece.at[i] * shared->strides[i];
	if (!shared->dataset->reader->cache)
		return sde__hand_read(hand, &piece, out, shared->strides, error);
	return sde__reader_data(&hand->cursor, piece.range, out, shared->strides, error);
}

static void end_piece(void *ctx, void *own)
{
	(void)ctx;
	sde__hand_free(own);
	free(own);
}

/*
 * Are there pieces enough? And what is only a part of a chunk is rather read by one
 * thread, which keeps what it decoded: the rest of it is likely to be read next.
 */
static bool is_worth_threads(const struct sde__reader *reader, const struct sde__cuts *cuts)
{
	const struct sde__range *r = &cuts->range[2];
	uint64_t span[2];

	if (cuts->count < 2)
		return false;
	sde__reader_span(reader, r->start, span);
	return r->start + (r->count - 1) * r->step >= span[1] ||
	       (r->start == span[0] && (r->count - 1) * r->step + 1 == span[1] - span[0]);
}

/* 1: it is not worth while. */
static int read_shared(struct dataset *dataset, const struct sde__range *range, void *out,
		       const int64_t *strides, struct sde_error *error)
{
	const struct sde__reader *reader = dataset->reader;
	struct shared_read shared = { .dataset = dataset, .out = out, .strides = strides };
	const struct sde__crew crew = { begin_piece, read_piece, end_piece, &shared };

	if (reader->threads < 2 || dataset->which != SDE__DATASET_DATA)
		return 1;
	sde__cuts_make(&shared.cuts, &reader->metadata.geometry, range, reader->filed, false);
	if (!is_worth_threads(reader, &shared.cuts))
		return 1;
	return sde__crew_run(&crew, reader->threads, shared.cuts.count, error);
}

static int dataset_read(void *self, const struct sde__range *range, void *out,
			const int64_t *strides, struct sde_error *error)
{
	struct dataset *dataset = self;
	struct sde__cursor own;
	int ret;

	ret = read_shared(dataset, range, out, strides, error);
	if (ret <= 0)
		return ret;

	if (!pthread_mutex_trylock(&dataset->lock)) {
		ret = read_with(&dataset->cursor, dataset->which, range, out, strides, error);
		pthread_mutex_unlock(&dataset->lock);
		return ret;
	}
	sde__cursor_init(&own, dataset->reader);
	own.holes = &dataset->holes;
	ret = read_with(&own, dataset->which, range, out, strides, error);
	sde__cursor_free(&own);
	return ret;
}

/* Of data only. */
static int dataset_walk(void *self, const struct sde__range *range, const struct sde__walk *walk,
			struct sde_error *error)
{
	struct dataset *dataset = self;

	return sde__dataset_walk(dataset->reader, &dataset->holes, range, walk, error);
}

/* The whole array in memory, C order; its strides are the caller's to say. */
static int copy_all(struct dataset *dataset, size_t budget, const uint64_t *shape, unsigned ndim,
		    size_t item, const int64_t *strides, struct sde_error *error)
{
	struct sde__range range[3];
	uint64_t bytes = item;

	for (unsigned i = 0; i < ndim; i++) {
		range[i] = (struct sde__range){ 0, shape[i], 1 };
		if (__builtin_mul_overflow(bytes, shape[i], &bytes))
			bytes = UINT64_MAX;
	}
	if (bytes > budget)
		return sde__fail(error, -ENOMEM, "the array takes %" PRIu64 " bytes, over the budget of %zu",
				 bytes, budget);
	dataset->copy = malloc((size_t)bytes);
	if (!dataset->copy)
		return sde__fail(error, -ENOMEM, "out of memory");
	return dataset_read(dataset, range, dataset->copy, strides, error);
}

/*
 * All of the array in one raw inner chunk of a chunk file: mapped in place. 1 if it
 * does not lie there as numbers must in memory, which is no error of the file.
 */
static int map_file(struct dataset *dataset, size_t item, const void **base,
		    struct sde_error *error)
{
	const struct sde__io *io = dataset->reader->io;
	struct sde__shard_reader *file = &dataset->cursor.file;
	uint64_t span[2], trajectories[2];
	int ret;

	ret = sde__reader_verify(&dataset->cursor, 0, error);
	if (ret) {
		sde__reader_span(dataset->reader, 0, span);
		sde__inner_span(&dataset->reader->metadata.geometry, 0, trajectories);
		sde__damage_explain(error, "lost", span, trajectories);
		return ret;
	}
	if (file->table[0] % item)
		return 1;
	dataset->file_size = (size_t)file->size;
	ret = io->map(io->ctx, file->fd, dataset->file_size, false, &dataset->file);
	if (ret)
		return sde__fail_why(error, ret, "cannot map '%s'", file->place);
	*base = (const unsigned char *)dataset->file + file->table[0];
	return 0;
}

/* Does file 0 hold the whole array as one uncompressed inner chunk? */
static bool is_one_raw_chunk(const struct sde__reader *reader)
{
	const struct sde__geometry *g = &reader->metadata.geometry;

	return reader->home.format == 3 && reader->metadata.codec == SDE_CODEC_NONE &&
	       !reader->columns && sde__inner_count(g) == 1 &&
	       reader->snapshots <= g->chunk_size && reader->snapshots <= reader->filed;
}

/*
 * Is it rather copied than decompressed bit by bit? If it is small, or nothing is
 * to be decompressed.
 */
static bool is_copied(const struct sde__reader *reader, size_t budget, enum sde_paging paging)
{
	const uint64_t snapshot = sde__snapshot_bytes(&reader->metadata.geometry);
	const uint64_t most = reader->metadata.codec == SDE_CODEC_NONE || !reader->filed ? budget :
			      budget < SMALL ? budget : SMALL;

	return paging == SDE_PAGING_DEFAULT && reader->snapshots <= most / snapshot;
}

static int map_data(struct dataset *dataset, struct sde_array *array,
		    const struct sde_map_options *options, size_t budget, const void **base,
		    int64_t *strides, struct sde_error *error)
{
	struct sde__reader *reader = dataset->reader;
	const struct sde__geometry *g = &reader->metadata.geometry;
	const size_t item = sde__dtype_size(g->dtype);
	const uint64_t shape[3] = { g->dimension, g->trajectories, reader->snapshots };
	int ret;

	strides[2] = (int64_t)item;
	if (is_one_raw_chunk(reader) && options->paging == SDE_PAGING_DEFAULT) {
		sde__inner_strides(g, SDE__INNER_STORED, strides);
		pthread_mutex_lock(&dataset->lock);
		ret = map_file(dataset, item, base, error);
		pthread_mutex_unlock(&dataset->lock);
		/* what is not there can only be filled in a copy */
		if (ret <= 0 && (!ret || !reader->fill || !sde__is_damage(ret)))
			return ret;
		sde__error_clear(error);
	}
	if (!is_copied(reader, budget, options->paging)) {
		ret = sde__pages_new(&dataset->pages, reader, array, &dataset->holes, options, budget,
				     strides, error);
		if (!ret)
			*base = sde__pages_base(dataset->pages);
		return ret;
	}
	strides[1] = (int64_t)(item * reader->snapshots);
	strides[0] = strides[1] * (int64_t)g->trajectories;
	ret = copy_all(dataset, budget, shape, 3, item, strides, error);
	*base = dataset->copy;
	return ret;
}

static int dataset_map(void *self, struct sde_array *array,
		       const struct sde_map_options *options, const void **base, int64_t *strides,
		       struct sde_error *error)
{
	struct dataset *dataset = self;
	const size_t budget = options->budget ? options->budget : DEFAULT_BUDGET;
	int ret;

	if (dataset->which == SDE__DATASET_DATA) {
		ret = map_data(dataset, array, options, budget, base, strides, error);
	} else {
		strides[0] = 8;
		ret = copy_all(dataset, budget, &dataset->reader->snapshots, 1, 8, strides, error);
		*base = dataset->copy;
	}
	if (ret) {
		free(dataset->copy);
		dataset->copy = NULL;
		*base = NULL;
	}
	return ret;
}

static int dataset_hold(void *self, const struct sde__range *range, enum sde__hold hold,
			struct sde_error *error)
{
	const struct dataset *dataset = self;

	return dataset->pages ? sde__pages_hold(dataset->pages, range, hold, error) : 0;
}

/* The file that a hole begins in. */
static void place_of(const struct dataset *dataset, const struct sde__hole *hole, char *out,
		     size_t size)
{
	const struct sde__reader *reader = dataset->reader;
	const uint64_t inner_count = sde__inner_count(&reader->metadata.geometry);
	struct sde__series_files files;
	struct sde__shard_reader file;

	if (reader->columns && dataset->which == SDE__DATASET_DATA)
		reader = reader->column[hole->inner / inner_count];
	sde__shard_reader_init(&file, &reader->home, &reader->metadata.geometry, &reader->codec);
	file.index = hole->first / reader->metadata.geometry.chunk_size;
	if (dataset->which == SDE__DATASET_DATA || hole->first >= reader->metadata.snapshots) {
		sde__shard_reader_place(&file, hole->inner % inner_count, out, size);
		return;
	}
	files = sde__series_files(&reader->home, dataset->which == SDE__DATASET_TIME ?
				  SDE__COLUMN_TIME : SDE__COLUMN_ITERATION);
	snprintf(out, size, "%.200s/%s/%" PRIu64, reader->home.path, files.place,
		 hole->first / SDE__TIME_BLOCK);
}

static int dataset_holes(void *self, sde_damage_function *call, void *ctx)
{
	static const unsigned parts[] = { [SDE__DATASET_TIME] = SDE_PART_TIME,
					  [SDE__DATASET_ITERATION] = SDE_PART_ITERATION,
					  [SDE__DATASET_DATA] = SDE_PART_DATA };
	struct dataset *dataset = self;
	const struct sde__geometry *g = &dataset->reader->metadata.geometry;
	struct sde_damage damage = { .size = sizeof(damage), .lost = parts[dataset->which] };
	struct sde__hole *holes;
	char place[320], text[512];
	size_t count;

	if (sde__holes_copy(&dataset->holes, &holes, &count))
		return -ENOMEM;
	for (size_t i = 0; call && i < count; i++) {
		const struct sde__hole *hole = &holes[i];

		place_of(dataset, hole, place, sizeof(place));
		damage.snapshots[0] = hole->first;
		damage.snapshots[1] = hole->end;
		damage.trajectories[0] = hole->inner * g->inner_width;
		damage.trajectories[1] = hole->inner_end * g->inner_width;
		if (dataset->which != SDE__DATASET_DATA)
			damage.trajectories[1] = g->trajectories;
		if (damage.trajectories[1] > g->trajectories)
			damage.trajectories[1] = g->trajectories;
		damage.cause = hole->cause;
		damage.code = hole->code;
		damage.file = place;
		damage.text = text;
		snprintf(text, sizeof(text), "'%s' is damaged: %s", place,
			 sde_cause_name(hole->cause));
		call(ctx, &damage);
	}
	free(holes);
	return count > INT_MAX ? INT_MAX : (int)count;
}

static void dataset_release(void *self)
{
	struct dataset *dataset = self;
	const struct sde__io *io = dataset->reader->io;

	if (dataset->file)
		io->unmap(io->ctx, dataset->file, dataset->file_size);
	free(dataset->copy);
	sde__pages_free(dataset->pages);
	sde__cursor_free(&dataset->cursor);
	sde__holes_free(&dataset->holes);
	sde__reader_unref(dataset->reader);
	pthread_mutex_destroy(&dataset->lock);
	free(dataset);
}

int sde__dataset_new(struct sde_array **out, struct sde__reader *reader, enum sde__dataset which,
		     struct sde_error *error)
{
	static const struct sde__array_source columns = {
		.read = dataset_read, .map = dataset_map, .release = dataset_release,
		.holes = dataset_holes,
	};
	static const struct sde__array_source cube = {
		.read = dataset_read, .map = dataset_map, .hold = dataset_hold,
		.walk = dataset_walk, .release = dataset_release, .holes = dataset_holes,
	};
	const struct sde__geometry *g = &reader->metadata.geometry;
	const uint64_t data_shape[3] = { g->dimension, g->trajectories, reader->snapshots };
	struct dataset *dataset = calloc(1, sizeof(*dataset));
	int ret;

	*out = NULL;
	if (!dataset)
		return sde__fail(error, -ENOMEM, "out of memory");
	pthread_mutex_init(&dataset->lock, NULL);
	dataset->reader = sde__reader_ref(reader);
	dataset->which = which;
	sde__holes_init(&dataset->holes, which == SDE__DATASET_DATA ?
			sde__inner_count(g) * sde__column_count(g) : 1);
	sde__cursor_init(&dataset->cursor, reader);
	dataset->cursor.holes = &dataset->holes;
	if (which == SDE__DATASET_DATA)
		ret = sde__array_new(out, &cube, dataset, g->dtype, 3, data_shape);
	else
		ret = sde__array_new(out, &columns, dataset,
				     which == SDE__DATASET_TIME ? SDE_FLOAT64 : SDE_INT64, 1,
				     &reader->snapshots);
	if (ret) {
		dataset_release(dataset);
		return sde__fail(error, ret, "out of memory");
	}
	return 0;
}
