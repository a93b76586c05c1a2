/* SPDX-License-Identifier: MIT */
/*
 * An .npz file behind the base's interface: see npz_open.h. Guards the lifetimes:
 * the file, its mapping and what was inflated of it live as long as the storage or
 * any array of it does.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "npz_open.h"

#include "array.h"
#include "gather.h"
#include "npz_reader.h"
#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((size_t)1 << 20)		/* bytes read from the file at once */
#define NEAR ((uint64_t)16 << 10)	/* bytes rather read along than jumped over */
#define CACHE ((size_t)4 << 20)		/* inflated snapshots a handle keeps */
#define PROGRESS ((uint64_t)64 << 20)	/* bytes between two calls of progress */
#define DEFAULT_BUDGET ((size_t)256 << 20)

/* The file, shared by the storage and its arrays. */
struct npz {
	const struct sde__io *io;
	struct sde__npz_reader *reader;
	const struct sde__npz_array *data;
	char *path;
	size_t item;
	uint64_t dimension, trajectories, snapshots;
	uint64_t snapshot_bytes;
	unsigned references;		/* atomic */
	/* Members in memory: NULL, and once more set under the lock. */
	pthread_mutex_t lock;
	void *whole[SDE__NPZ_MEMBERS];
	void *map;
	size_t map_size;
};

static void npz_free(struct npz *npz)
{
	if (npz->map)
		npz->io->unmap(npz->io->ctx, npz->map, npz->map_size);
	for (int i = 0; i < SDE__NPZ_MEMBERS; i++)
		free(npz->whole[i]);
	sde__npz_close(npz->reader);
	pthread_mutex_destroy(&npz->lock);
	free(npz->path);
	free(npz);
}

static void npz_ref(struct npz *npz)
{
	__atomic_add_fetch(&npz->references, 1, __ATOMIC_RELAXED);
}

static void npz_unref(void *ctx)
{
	struct npz *npz = ctx;

	if (!__atomic_sub_fetch(&npz->references, 1, __ATOMIC_ACQ_REL))
		npz_free(npz);
}

/* ------------------------------------------------------------------------
 * Whole members in memory
 */

static int inflate_all(struct npz *npz, enum sde__npz_member member, void **out,
		       struct sde_error *error)
{
	const uint64_t bytes = sde__npz_array(npz->reader, member)->bytes;
	struct sde__inflater *stream;
	unsigned char *memory = bytes > PTRDIFF_MAX ? NULL : malloc((size_t)bytes | 1);
	int ret;

	if (!memory)
		return sde__fail(error, -ENOMEM, "no memory for the %" PRIu64 " bytes of an array of"
				 " '%s'", bytes, npz->path);
	ret = sde__npz_stream_open(&stream, npz->reader, member, error);
	if (!ret) {
		ret = sde__inflater_read(stream, memory, (size_t)bytes, error);
		sde__inflater_close(stream);
	}
	if (ret)
		free(memory);
	else
		*out = memory;
	return ret;
}

/* A member's numbers, of which there are some. */
static int hold_member(struct npz *npz, enum sde__npz_member member, const void **out,
		       struct sde_error *error)
{
	int ret = 0;

	pthread_mutex_lock(&npz->lock);
	if (!npz->whole[member])
		ret = inflate_all(npz, member, &npz->whole[member], error);
	*out = npz->whole[member];
	pthread_mutex_unlock(&npz->lock);
	return ret;
}

/* What hold_member has loaded before, or NULL. */
static const void *held_member(struct npz *npz, enum sde__npz_member member)
{
	const void *memory;

	pthread_mutex_lock(&npz->lock);
	memory = npz->whole[member];
	pthread_mutex_unlock(&npz->lock);
	return memory;
}

/* ------------------------------------------------------------------------
 * Data
 */

/* A handle over data. */
struct data {
	struct npz *npz;
	pthread_mutex_t lock;		/* guards what is below */
	struct sde__inflater *stream;	/* stands before snapshot `at` */
	unsigned char *cache;		/* has snapshots [first, at) */
	uint64_t first, at;
};

/* Bytes from one index to the next, in the file or in what was inflated of it. */
static void data_strides(const struct npz *npz, int64_t strides[3])
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
	const struct npz *npz;
	uint64_t count[3];
	int64_t from[3], to[3];
	uint64_t begin;			/* of its first number in the source */
};

static void box_of(const struct npz *npz, const struct sde__range *range, const int64_t *strides,
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
	const struct npz *npz;
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
	const struct npz *npz = s->npz;
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
static uint64_t cache_room(const struct npz *npz)
{
	const uint64_t n = CACHE / npz->snapshot_bytes;

	return n ? n : 1;
}

static int cache_new(struct data *data, struct sde_error *error)
{
	const struct npz *npz = data->npz;
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
	const struct npz *npz = data->npz;
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
	struct npz *npz = data->npz;
	const void *memory;
	struct box box;
	int ret = 0;

	box_of(npz, range, strides, &box);
	if (npz->data->stored)
		return read_stored(&box, out, error);
	memory = held_member(npz, SDE__NPZ_DATA);
	if (!memory && npz->data->npy.fortran_order) {
		pthread_mutex_lock(&data->lock);
		ret = read_forward(data, &box, &range[2], out, error);
		pthread_mutex_unlock(&data->lock);
		return ret;
	}
	if (!memory)
		ret = hold_member(npz, SDE__NPZ_DATA, &memory, error);
	if (!ret)
		sde__strided_copy(npz->item, box.count, out, box.to,
				  (const unsigned char *)memory + box.begin, box.from);
	return ret;
}

/* All of the file, once for all handles. */
static int map_file(struct npz *npz, const void **base, struct sde_error *error)
{
	const size_t size = (size_t)(npz->data->offset + npz->data->bytes);
	int ret = 0;

	pthread_mutex_lock(&npz->lock);
	if (!npz->map) {
		ret = npz->io->map(npz->io->ctx, sde__npz_handle(npz->reader), size, false,
				   &npz->map);
		if (ret)
			npz->map = NULL;
		else
			npz->map_size = size;
	}
	if (npz->map)
		*base = (const unsigned char *)npz->map + npz->data->offset;
	pthread_mutex_unlock(&npz->lock);
	return ret ? sde__fail_why(error, ret, "cannot map '%s'", npz->path) : 0;
}

static int data_map(void *self, struct sde_array *array, const struct sde_map_options *options,
		    const void **base, int64_t *strides, struct sde_error *error)
{
	struct npz *npz = ((struct data *)self)->npz;
	const size_t budget = options->budget ? options->budget : DEFAULT_BUDGET;

	data_strides(npz, strides);
	if (npz->data->stored && !(npz->data->offset % npz->item))
		return map_file(npz, base, error);
	(void)array;
	if (npz->data->bytes > budget && !held_member(npz, SDE__NPZ_DATA))
		return sde__fail(error, -ENOMEM, "the array takes %" PRIu64
				 " bytes, over the budget of %zu", npz->data->bytes, budget);
	return hold_member(npz, SDE__NPZ_DATA, base, error);
}

static void data_release(void *self)
{
	struct data *data = self;

	sde__inflater_close(data->stream);
	free(data->cache);
	pthread_mutex_destroy(&data->lock);
	npz_unref(data->npz);
	free(data);
}

static int data_new(struct npz *npz, struct sde_array **out, struct sde_error *error)
{
	static const struct sde__array_source source = {
		.read = data_read, .map = data_map, .release = data_release,
	};
	struct data *data = calloc(1, sizeof(*data));
	int ret;

	if (!data)
		return sde__fail(error, -ENOMEM, "out of memory");
	npz_ref(npz);
	data->npz = npz;
	pthread_mutex_init(&data->lock, NULL);
	ret = sde__array_new(out, &source, data, npz->data->npy.dtype, 3, npz->data->npy.shape);
	if (!ret)
		return 0;
	data_release(data);
	return sde__fail(error, ret, "out of memory");
}

/* ------------------------------------------------------------------------
 * time and iteration
 */

static int column_new(struct npz *npz, enum sde__npz_member member, struct sde_array **out,
		      struct sde_error *error)
{
	const int64_t eight = 8;
	const void *numbers;
	int ret;

	ret = hold_member(npz, member, &numbers, error);
	if (ret)
		return ret;
	npz_ref(npz);
	ret = sde_array_wrap(out, numbers, sde__npz_array(npz->reader, member)->npy.dtype, 1,
			     &npz->snapshots, &eight, npz_unref, npz);
	if (!ret)
		return 0;
	npz_unref(npz);
	return sde__fail_why(error, ret, "no array handle");
}

/* The first and the last number. */
static int column_ends(struct npz *npz, enum sde__npz_member member, void *first, void *last,
		       struct sde_error *error)
{
	const void *numbers;
	int ret;

	if (!npz->snapshots || !sde__npz_array(npz->reader, member)->present)
		return 0;
	ret = hold_member(npz, member, &numbers, error);
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
	struct npz *npz;
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
	struct npz *npz = self;
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
	const struct npz *npz = self;

	(void)bytes;
	*n = 0;
	return sde__fail(error, SDE_E_NO_DATA, "'%s' is an npz file, which has no state", npz->path);
}

static int no_snapshots(const struct npz *npz, struct sde_error *error)
{
	return sde__fail(error, SDE_E_NO_DATA, "'%s' has no snapshots", npz->path);
}

static int npz_values(void *self, struct sde_array **time, struct sde_array **data,
		      struct sde_error *error)
{
	struct npz *npz = self;
	int ret = 0;

	if (!npz->snapshots)
		return no_snapshots(npz, error);
	if (time)
		ret = column_new(npz, SDE__NPZ_TIME, time, error);
	if (!ret && data) {
		ret = data_new(npz, data, error);
		if (ret && time) {
			sde_array_close(*time);
			*time = NULL;
		}
	}
	return ret;
}

static int npz_iterations(void *self, struct sde_array **iteration, struct sde_error *error)
{
	struct npz *npz = self;

	if (!sde__npz_array(npz->reader, SDE__NPZ_ITERATION)->present)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no iteration numbers", npz->path);
	if (!npz->snapshots)
		return no_snapshots(npz, error);
	return column_new(npz, SDE__NPZ_ITERATION, iteration, error);
}

static int npz_info(void *self, struct sde_storage_info *info, struct sde_error *error)
{
	struct npz *npz = self;
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
	npz_unref(self);
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

static int npz_open_reader(struct npz *npz, const char *path, struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	npz->path = strdup(path);
	if (!npz->path)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = sde__npz_open(&npz->reader, npz->io, path, &why);
	if (ret == SDE_E_NOT_STORE)
		return sde__fail(error, ret, "%s, and no Zarr store either", why.text);
	if (ret)
		return sde__fail(error, ret, "%s", why.text);
	npz->data = sde__npz_array(npz->reader, SDE__NPZ_DATA);
	npz->item = sde__dtype_size(npz->data->npy.dtype);
	npz->dimension = npz->data->npy.shape[0];
	npz->trajectories = npz->data->npy.shape[1];
	npz->snapshots = npz->data->npy.shape[2];
	/* fits: all bytes do. Without snapshots it is not asked for */
	if (npz->snapshots)
		npz->snapshot_bytes = npz->data->bytes / npz->snapshots;
	return 0;
}

int sde__npz_storage_open(struct sde_storage **out, const char *path,
			  const struct sde_open_options *options, const struct sde__io *io,
			  struct sde_error *error)
{
	struct sde_derive_options derive = SDE_DERIVE_OPTIONS_INIT;
	struct sde_open_options own;
	struct sde_ensemble ensemble;
	struct npz *npz;
	int ret;

	*out = NULL;
	ret = sde__open_options_take(&own, options, error);
	if (ret)
		return ret;
	npz = calloc(1, sizeof(*npz));
	if (!npz)
		return sde__fail(error, -ENOMEM, "out of memory");
	npz->io = io;
	npz->references = 1;
	pthread_mutex_init(&npz->lock, NULL);
	ret = npz_open_reader(npz, path, error);
	if (!ret) {
		ensemble.dimension = npz->dimension;
		ensemble.trajectories = npz->trajectories;
		ensemble.dtype = npz->data->npy.dtype;
		ret = sde_storage_derive(out, &ensemble, &npz_backend, npz, &derive, error);
	}
	if (ret)
		npz_unref(npz);
	return ret;
}
