/* SPDX-License-Identifier: MIT */
/*
 * A handle over the data of an .npz file, in any of its forms: stored, which is read
 * in blocks of the file; deflated in Fortran order, which is inflated forward in time;
 * deflated in C order, which is inflated as a whole. See npz_file.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "npz_file.h"
#include "strided.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define BLOCK ((size_t)1 << 20)		/* bytes read from the file at once */
#define NEAR ((uint64_t)16 << 10)	/* bytes rather read along than jumped over */
#define CACHE ((size_t)4 << 20)		/* inflated snapshots a handle keeps */
#define DEFAULT_BUDGET ((size_t)256 << 20)

/* A handle over data. */
struct data {
	struct sde__npz_file *npz;
	pthread_mutex_t lock;		/* guards what is below */
	struct sde__inflater *stream;	/* stands before snapshot `at` */
	unsigned char *cache;		/* has snapshots [first, at) */
	uint64_t first, at;
};

/* Bytes from one index to the next, in the file or in what was inflated of it. */
static void data_strides(const struct sde__npz_file *npz, int64_t strides[3])
{
	const int64_t item = (int64_t)npz->item;

	if (npz->data->npy.fortran_order) {
		strides[0] = item;
		strides[1] = item * (int64_t)npz->dimension;
		strides[2] = (int64_t)npz->snapshot_bytes;
	} else {
		strides[2] = item;
		strides[1] = item * (int64_t)npz->snapshots;
		strides[0] = strides[1] * (int64_t)npz->trajectories;
	}
}

/* A selection as a box: what a step is in the source and in `out`, in bytes. */
struct box {
	const struct sde__npz_file *npz;
	uint64_t count[3];
	int64_t from[3], to[3];
	uint64_t begin;			/* of its first number in the source */
};

static void box_of(const struct sde__npz_file *npz, const struct sde__range *range, const int64_t *strides,
		   struct box *box)
{
	box->npz = npz;
	box->begin = 0;
	data_strides(npz, box->from);
	for (unsigned i = 0; i < 3; i++) {
		box->begin += (uint64_t)box->from[i] * range[i].start;
		/* one number has no step; what is given may be anything */
		box->from[i] *= range[i].count > 1 ? (int64_t)range[i].step : 1;
		box->count[i] = range[i].count;
		box->to[i] = strides[i];
	}
}

/* Stored: blocks of the file, in which the numbers lie near to each other. */
struct spans {
	const struct sde__npz_file *npz;
	uint64_t count[3];		/* the axes, slowest first */
	int64_t from[3], to[3];
	unsigned char *block;
	size_t room;
};

/* Bytes from the first number to the end of the last, of the axes from `level` on. */
static uint64_t span(const struct spans *s, unsigned level)
{
	uint64_t bytes = s->npz->item;

	for (unsigned i = level; i < 3; i++)
		bytes += (s->count[i] - 1) * (uint64_t)s->from[i];
	return bytes;
}

static bool is_near(const struct spans *s, unsigned level)
{
	return s->count[level] == 1 || (uint64_t)s->from[level] - span(s, level + 1) <= NEAR;
}

static bool is_one_span(const struct spans *s, unsigned level)
{
	for (unsigned i = level; i < 3; i++)
		if (!is_near(s, i))
			return false;
	return span(s, level) <= s->room;
}

static int read_block(const struct spans *s, size_t size, uint64_t offset, struct sde_error *error)
{
	const struct sde__npz_file *npz = s->npz;
	const int ret = sde__io_read_all(npz->io, sde__npz_handle(npz->reader), s->block, size,
					 npz->data->offset + offset);

	if (ret == -ENODATA)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' became shorter", npz->path);
	return ret ? sde__fail_why(error, ret, "cannot read '%s'", npz->path) : 0;
}

/* The axes from `level` on, of which the first number is at `offset`. */
static int read_spans(const struct spans *s, unsigned level, uint64_t offset, unsigned char *out,
		      struct sde_error *error)
{
	const uint64_t all = s->count[level], step = (uint64_t)s->from[level];
	uint64_t count[3] = { 1, 1, 1 }, n = 1, sub = span(s, level + 1);
	const bool together = is_one_span(s, level + 1);
	int ret = 0;

	for (unsigned i = level + 1; i < 3; i++)
		count[i] = s->count[i];
	if (together && is_near(s, level))
		n = (s->room - sub) / step + 1;
	for (uint64_t i = 0; i < all && !ret; i += n) {
		unsigned char *to = out + i * (uint64_t)s->to[level];

		if (!together) {
			ret = read_spans(s, level + 1, offset + i * step, to, error);
			continue;
		}
		count[level] = all - i < n ? all - i : n;
		ret = read_block(s, (size_t)((count[level] - 1) * step + sub), offset + i * step,
				 error);
		if (!ret)
			sde__strided_copy(s->npz->item, count, to, s->to, s->block, s->from);
	}
	return ret;
}

static int read_stored(const struct box *box, void *out, struct sde_error *error)
{
	const bool fortran = box->npz->data->npy.fortran_order;
	struct spans s = { .npz = box->npz };
	uint64_t bytes;
	int ret;

	for (unsigned i = 0; i < 3; i++) {
		const unsigned axis = fortran ? 2 - i : i;

		s.count[i] = box->count[axis];
		s.from[i] = box->from[axis];
		s.to[i] = box->to[axis];
	}
	bytes = span(&s, 0);
	s.room = bytes < BLOCK ? (size_t)bytes : BLOCK;
	s.block = malloc(s.room);
	if (!s.block)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = read_spans(&s, 0, box->begin, out, error);
	free(s.block);
	return ret;
}

static void data_rewind(struct data *data)
{
	sde__inflater_close(data->stream);
	data->stream = NULL;
	data->first = data->at = 0;
}

/* Snapshots a cache has room for. */
static uint64_t cache_room(const struct sde__npz_file *npz)
{
	const uint64_t n = CACHE / npz->snapshot_bytes;

	return n ? n : 1;
}

static int cache_new(struct data *data, struct sde_error *error)
{
	const struct sde__npz_file *npz = data->npz;
	const uint64_t most = cache_room(npz);
	const uint64_t bytes = (npz->snapshots < most ? npz->snapshots : most) * npz->snapshot_bytes;

	/* a snapshot at least, and that is not empty:
	 * NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
	data->cache = bytes > PTRDIFF_MAX ? NULL : malloc((size_t)bytes);
	return data->cache ? 0 :
	       sde__fail(error, -ENOMEM, "no memory for %" PRIu64 " bytes of snapshots of '%s'",
			 bytes, npz->path);
}

/* Have snapshot k in the cache, with up to want - 1 behind it. */
static int hold_snapshots(struct data *data, uint64_t k, uint64_t want, struct sde_error *error)
{
	const struct sde__npz_file *npz = data->npz;
	const uint64_t most = cache_room(npz), n = want < most ? want : most;
	int ret = 0;

	if (k >= data->first && k < data->at)
		return 0;
	if (!data->cache)
		ret = cache_new(data, error);
	if (!ret && (!data->stream || k < data->at)) {
		data_rewind(data);
		ret = sde__npz_stream_open(&data->stream, npz->reader, SDE__NPZ_DATA, error);
	}
	if (!ret && k > data->at)
		ret = sde__inflater_skip(data->stream, (k - data->at) * npz->snapshot_bytes, error);
	if (!ret)
		ret = sde__inflater_read(data->stream, data->cache,
					 (size_t)(n * npz->snapshot_bytes), error);
	if (ret) {
		data_rewind(data);
		return ret;
	}
	data->first = k;
	data->at = k + n;
	return 0;
}

/* Deflated, Fortran order: the selected snapshots, forward in time. */
static int read_forward(struct data *data, const struct box *box, const struct sde__range *time,
			void *out, struct sde_error *error)
{
	const uint64_t size = data->npz->snapshot_bytes;
	/* of the first number in its snapshot */
	const uint64_t inside = box->begin - time->start * size;
	uint64_t n = 0;
	int ret = 0;

	for (uint64_t i = 0; i < time->count && !ret; i += n) {
		const uint64_t left = time->count - i, k = time->start + i * time->step;

		ret = hold_snapshots(data, k, (left - 1) * time->step + 1, error);
		if (ret)
			break;
		n = (data->at - k - 1) / time->step + 1;
		n = n < left ? n : left;
		sde__strided_copy(data->npz->item, (const uint64_t[3]){ box->count[0], box->count[1], n },
				  (unsigned char *)out + i * (uint64_t)box->to[2], box->to,
				  data->cache + (k - data->first) * size + inside, box->from);
	}
	return ret;
}

static int data_read(void *self, const struct sde__range *range, void *out,
		     const int64_t *strides, struct sde_error *error)
{
	struct data *data = self;
	struct sde__npz_file *npz = data->npz;
	const void *memory;
	struct box box;
	int ret = 0;

	box_of(npz, range, strides, &box);
	if (npz->data->stored)
		return read_stored(&box, out, error);
	memory = sde__npz_file_held(npz, SDE__NPZ_DATA);
	if (!memory && npz->data->npy.fortran_order) {
		pthread_mutex_lock(&data->lock);
		ret = read_forward(data, &box, &range[2], out, error);
		pthread_mutex_unlock(&data->lock);
		return ret;
	}
	if (!memory)
		ret = sde__npz_file_hold(npz, SDE__NPZ_DATA, &memory, error);
	if (!ret)
		sde__strided_copy(npz->item, box.count, out, box.to,
				  (const unsigned char *)memory + box.begin, box.from);
	return ret;
}

static int data_map(void *self, struct sde_array *array, const struct sde_map_options *options,
		    const void **base, int64_t *strides, struct sde_error *error)
{
	struct sde__npz_file *npz = ((struct data *)self)->npz;
	const size_t budget = options->budget ? options->budget : DEFAULT_BUDGET;

	data_strides(npz, strides);
	if (npz->data->stored && !(npz->data->offset % npz->item))
		return sde__npz_file_map(npz, base, error);
	(void)array;
	if (npz->data->bytes > budget && !sde__npz_file_held(npz, SDE__NPZ_DATA))
		return sde__fail(error, -ENOMEM, "the array takes %" PRIu64
				 " bytes, over the budget of %zu", npz->data->bytes, budget);
	return sde__npz_file_hold(npz, SDE__NPZ_DATA, base, error);
}

static void data_release(void *self)
{
	struct data *data = self;

	sde__inflater_close(data->stream);
	free(data->cache);
	pthread_mutex_destroy(&data->lock);
	sde__npz_file_unref(data->npz);
	free(data);
}

int sde__npz_data_new(struct sde__npz_file *npz, struct sde_array **out, struct sde_error *error)
{
	static const struct sde__array_source source = {
		.read = data_read, .map = data_map, .release = data_release,
	};
	struct data *data = calloc(1, sizeof(*data));
	int ret;

	if (!data)
		return sde__fail(error, -ENOMEM, "out of memory");
	sde__npz_file_ref(npz);
	data->npz = npz;
	pthread_mutex_init(&data->lock, NULL);
	ret = sde__array_new(out, &source, data, npz->data->npy.dtype, 3, npz->data->npy.shape);
	if (!ret)
		return 0;
	data_release(data);
	return sde__fail(error, ret, "out of memory");
}
