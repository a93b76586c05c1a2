/* SPDX-License-Identifier: MIT */
/*
 * An .npz file from outside. Guards everything above from what is in it: all
 * numbers are compared with the size of the file, with each other and with what a
 * run's arrays look like, here and before anything is allocated by them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "npz_reader.h"

#include "deflate.h"
#include "zip.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Three members take 200 bytes of directory; nobody's run has this much beside. */
#define DIRECTORY_MAX ((uint64_t)1 << 20)

/* Encrypted, strongly so, or with a masked header [zip 4.4.4]. */
#define FLAGS_ENCRYPTED (1u << 0 | 1u << 6 | 1u << 13)

static const char *const names[SDE__NPZ_MEMBERS] = { "time.npy", "data.npy", "iteration.npy" };

struct member {
	struct sde__zip_entry entry;
	struct sde__zip_place place;
	size_t header;			/* of the .npy file */
	struct sde__npz_array array;
};

struct sde__npz_reader {
	const struct sde__io *io;
	int fd;
	char *path;
	uint64_t size;
	struct sde__zip_end end;
	struct member member[SDE__NPZ_MEMBERS];
};

/* `code` and `why`, with the member and the file in front. */
static int fail_in(const struct sde__npz_reader *r, int member, int code, const char *why,
		   struct sde_error *error)
{
	return sde__fail(error, code, "'%s' of '%s': %s", names[member], r->path, why);
}

static int cannot_read(const struct sde__npz_reader *r, int code, struct sde_error *error)
{
	if (code == -ENODATA)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' became shorter", r->path);
	return sde__fail_why(error, code, "cannot read '%s'", r->path);
}

static int get(const struct sde__npz_reader *r, void *out, size_t n, uint64_t offset,
	       struct sde_error *error)
{
	const int ret = sde__io_read_all(r->io, r->fd, out, n, offset);

	return ret ? cannot_read(r, ret, error) : 0;
}

/* ------------------------------------------------------------------------
 * The directory
 */

static int read_begin(struct sde__npz_reader *r, struct sde_error *error)
{
	unsigned char begin[4] = { 0 };
	struct sde__stat st;
	int ret;

	ret = r->io->stat(r->io->ctx, r->fd, &st);
	if (ret)
		return sde__fail_why(error, ret, "cannot stat '%s'", r->path);
	r->size = st.size;
	if (st.size >= sizeof(begin)) {
		ret = get(r, begin, sizeof(begin), 0, error);
		if (ret)
			return ret;
	}
	if (!sde__zip_begins(begin))
		return sde__fail(error, SDE_E_NOT_STORE, "'%s' is no .npz file", r->path);
	return 0;
}

static int read_end(struct sde__npz_reader *r, struct sde_error *error)
{
	const size_t n = r->size < SDE__ZIP_TAIL ? (size_t)r->size : SDE__ZIP_TAIL;
	struct sde_error why = { 0 };
	unsigned char *tail = malloc(n);
	int ret;

	if (!tail)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = get(r, tail, n, r->size - n, error);
	if (!ret) {
		ret = sde__zip_decode_end(tail, n, r->size, &r->end, &why);
		if (ret)
			sde__fail(error, ret, "'%s': %s", r->path, why.text);
	}
	free(tail);
	return ret;
}

static int which(const char *name)
{
	for (int i = 0; i < SDE__NPZ_MEMBERS; i++)
		if (!strcmp(name, names[i]))
			return i;
	return -1;
}

static int check_entry(const struct sde__npz_reader *r, int member, struct sde_error *error)
{
	const struct sde__zip_entry *e = &r->member[member].entry;

	if (e->flags & FLAGS_ENCRYPTED)
		return fail_in(r, member, SDE_E_UNSUPPORTED, "it is encrypted", error);
	if (e->method != SDE__ZIP_STORED && e->method != SDE__ZIP_DEFLATED)
		return sde__fail(error, SDE_E_UNSUPPORTED, "'%s' of '%s': it is compressed by"
				 " method %u, not deflate", names[member], r->path, e->method);
	/* room for the local header is left in front of the directory */
	if (e->offset >= r->end.offset || e->packed > r->end.offset - e->offset ||
	    r->end.offset - e->offset - e->packed < SDE__ZIP_LOCAL_FIXED + strlen(e->name))
		return fail_in(r, member, SDE_E_CORRUPT, "it is not inside the file", error);
	if (e->method == SDE__ZIP_STORED ? e->raw != e->packed :
	    e->raw / SDE__DEFLATE_RATIO_MAX > e->packed)
		return sde__fail(error, SDE_E_CORRUPT, "'%s' of '%s': %" PRIu64 " bytes cannot hold"
				 " %" PRIu64, names[member], r->path, e->packed, e->raw);
	return 0;
}

static int take_entries(struct sde__npz_reader *r, const unsigned char *directory,
			struct sde_error *error)
{
	const size_t n = (size_t)r->end.size;
	size_t at = 0;

	for (uint64_t i = 0; i < r->end.count; i++) {
		struct sde_error why = { 0 };
		struct sde__zip_entry entry;
		int member, ret;

		ret = sde__zip_decode_entry(directory, n, &at, &entry, &why);
		if (ret)
			return sde__fail(error, ret, "'%s': %s", r->path, why.text);
		member = which(entry.name);
		if (member < 0)
			continue;
		if (r->member[member].array.present)
			return fail_in(r, member, SDE_E_CORRUPT, "it is there twice", error);
		r->member[member].array.present = true;
		r->member[member].entry = entry;
		ret = check_entry(r, member, error);
		if (ret)
			return ret;
	}
	return at == n ? 0 : sde__fail(error, SDE_E_CORRUPT,
				       "'%s': its directory has more entries than it says", r->path);
}

static int read_directory(struct sde__npz_reader *r, struct sde_error *error)
{
	unsigned char *directory;
	int ret;

	if (r->end.size > DIRECTORY_MAX)
		return sde__fail(error, SDE_E_NOT_STORE, "'%s' has %" PRIu64 " members: it is not"
				 " one run's .npz file", r->path, r->end.count);
	directory = malloc((size_t)r->end.size + 1);
	if (!directory)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = get(r, directory, (size_t)r->end.size, r->end.offset, error);
	if (!ret)
		ret = take_entries(r, directory, error);
	free(directory);
	if (ret)
		return ret;
	for (int i = 0; i < SDE__NPZ_ITERATION; i++)
		if (!r->member[i].array.present)
			return sde__fail(error, SDE_E_NOT_STORE, "'%s' has no '%s': it is not a run's"
					 " .npz file", r->path, names[i]);
	return 0;
}

/* ------------------------------------------------------------------------
 * Members
 */

/* Where the member's bytes begin: behind the local header. */
static int place_member(struct sde__npz_reader *r, int member, struct sde_error *error)
{
	unsigned char local[SDE__ZIP_LOCAL_FIXED + SDE__ZIP_NAME_MAX];
	struct member *m = &r->member[member];
	const struct sde__zip_entry *e = &m->entry;
	struct sde_error why = { 0 };
	size_t size;
	int ret;

	ret = get(r, local, SDE__ZIP_LOCAL_FIXED + strlen(e->name), e->offset, error);
	if (ret)
		return ret;
	ret = sde__zip_decode_local(local, e, &size, &why);
	if (ret)
		return fail_in(r, member, ret, why.text, error);
	if (size > r->end.offset - e->offset - e->packed)
		return fail_in(r, member, SDE_E_CORRUPT, "it is not inside the file", error);
	m->place = (struct sde__zip_place){
		.io = r->io, .fd = r->fd, .path = r->path, .name = names[member],
		.method = (enum sde__zip_method)e->method, .begin = e->offset + size,
		.packed = e->packed, .raw = e->raw, .crc = e->crc,
	};
	m->array.stored = e->method == SDE__ZIP_STORED;
	m->array.packed = e->packed;
	return 0;
}

/* Members that share bytes are how a small file says it is a large one. */
static int check_overlaps(const struct sde__npz_reader *r, struct sde_error *error)
{
	for (int i = 0; i < SDE__NPZ_MEMBERS; i++)
		for (int j = 0; j < i; j++) {
			const struct member *a = &r->member[i], *b = &r->member[j];

			if (a->array.present && b->array.present &&
			    a->entry.offset < b->place.begin + b->place.packed &&
			    b->entry.offset < a->place.begin + a->place.packed)
				return fail_in(r, i, SDE_E_CORRUPT, "it lies upon another member",
					       error);
		}
	return 0;
}

static int read_header(struct sde__npz_reader *r, int member, struct sde__inflater *inflater,
		       struct sde_error *error)
{
	unsigned char header[SDE__NPY_DECODE_MAX];
	struct member *m = &r->member[member];
	struct sde_error why = { 0 };
	int ret;

	ret = sde__inflater_read(inflater, header, SDE__NPY_PREFIX, error);
	if (ret)
		return ret;
	ret = sde__npy_header_size(header, &m->header, &why);
	if (!ret && m->header > m->place.raw)
		ret = sde__fail(&why, SDE_E_CORRUPT, "it is shorter than its header");
	if (ret)
		return fail_in(r, member, ret, why.text, error);
	ret = sde__inflater_read(inflater, header + SDE__NPY_PREFIX, m->header - SDE__NPY_PREFIX,
				 error);
	if (ret)
		return ret;
	ret = sde__npy_decode(header, m->header, &m->array.npy, &why);
	return ret ? fail_in(r, member, ret, why.text, error) : 0;
}

static int open_member(struct sde__npz_reader *r, int member, struct sde_error *error)
{
	struct member *m = &r->member[member];
	struct sde__inflater *inflater;
	int ret;

	if (m->place.raw < SDE__NPY_PREFIX)
		return fail_in(r, member, SDE_E_CORRUPT, "it is too short for a .npy file", error);
	ret = sde__inflater_open(&inflater, &m->place, error);
	if (ret)
		return ret;
	ret = read_header(r, member, inflater, error);
	sde__inflater_close(inflater);
	if (ret)
		return ret;
	if (sde__npy_size(&m->array.npy, &m->array.bytes) ||
	    m->array.bytes != m->place.raw - m->header)
		return fail_in(r, member, SDE_E_CORRUPT, "its shape does not agree with its size",
			       error);
	m->array.offset = m->place.begin + m->header;
	return 0;
}

/* ------------------------------------------------------------------------
 * A run's arrays
 */

static int check_type(const struct sde__npz_reader *r, int member, struct sde_error *error)
{
	const struct sde__npy *npy = &r->member[member].array.npy;
	bool right;

	switch (member) {
	case SDE__NPZ_TIME:
		right = npy->dtype == SDE_FLOAT64;
		break;
	case SDE__NPZ_DATA:
		right = npy->dtype != SDE_INT64;
		break;
	default:
		right = npy->dtype == SDE_INT64;
	}
	return right ? 0 : fail_in(r, member, SDE_E_UNSUPPORTED,
				   "its numbers are of the wrong type", error);
}

static int check_shapes(const struct sde__npz_reader *r, struct sde_error *error)
{
	const struct sde__npy *data = &r->member[SDE__NPZ_DATA].array.npy;

	if (data->ndim != 3)
		return sde__fail(error, SDE_E_NOT_STORE, "'%s' of '%s': it has %u dimensions, not 3",
				 names[SDE__NPZ_DATA], r->path, data->ndim);
	if (!data->shape[0] || !data->shape[1])
		return fail_in(r, SDE__NPZ_DATA, SDE_E_NOT_STORE, "it has no trajectories", error);
	for (int i = 0; i < SDE__NPZ_MEMBERS; i++) {
		const struct sde__npy *npy = &r->member[i].array.npy;

		if (i == SDE__NPZ_DATA || !r->member[i].array.present)
			continue;
		if (npy->ndim != 1)
			return sde__fail(error, SDE_E_NOT_STORE,
					 "'%s' of '%s': it has %u dimensions, not 1", names[i],
					 r->path, npy->ndim);
		if (npy->shape[0] != data->shape[2])
			return sde__fail(error, SDE_E_CORRUPT, "'%s' of '%s': it has %" PRIu64
					 " numbers for %" PRIu64 " snapshots", names[i], r->path,
					 npy->shape[0], data->shape[2]);
	}
	return 0;
}

static int open_members(struct sde__npz_reader *r, struct sde_error *error)
{
	int ret = 0;

	for (int i = 0; i < SDE__NPZ_MEMBERS && !ret; i++)
		if (r->member[i].array.present)
			ret = place_member(r, i, error);
	if (!ret)
		ret = check_overlaps(r, error);
	for (int i = 0; i < SDE__NPZ_MEMBERS && !ret; i++) {
		if (!r->member[i].array.present)
			continue;
		ret = open_member(r, i, error);
		if (!ret)
			ret = check_type(r, i, error);
	}
	return ret ? ret : check_shapes(r, error);
}

/* ------------------------------------------------------------------------
 * The reader
 */

static int open_file(struct sde__npz_reader *r, const char *path, struct sde_error *error)
{
	struct sde__stat st;
	int ret;

	r->path = strdup(path);
	if (!r->path)
		return sde__fail(error, -ENOMEM, "out of memory");
	/* before opening it: that of a FIFO waits for a writer */
	ret = r->io->stat_at(r->io->ctx, -1, path, &st);
	if (!ret && !st.is_file)
		return sde__fail(error, SDE_E_NOT_STORE, "'%s' is no .npz file", path);
	if (ret)
		return sde__fail_why(error, ret, "cannot open '%s'", path);
	r->fd = r->io->open_at(r->io->ctx, -1, path, O_RDONLY);
	return r->fd < 0 ? sde__fail_why(error, r->fd, "cannot open '%s'", path) : 0;
}

int sde__npz_open(struct sde__npz_reader **out, const struct sde__io *io, const char *path,
		  struct sde_error *error)
{
	struct sde__npz_reader *r = calloc(1, sizeof(*r));
	int ret;

	*out = NULL;
	if (!r)
		return sde__fail(error, -ENOMEM, "out of memory");
	r->io = io;
	r->fd = -1;
	ret = open_file(r, path, error);
	if (!ret)
		ret = read_begin(r, error);
	if (!ret)
		ret = read_end(r, error);
	if (!ret)
		ret = read_directory(r, error);
	if (!ret)
		ret = open_members(r, error);
	if (ret) {
		sde__npz_close(r);
		return ret;
	}
	*out = r;
	return 0;
}

void sde__npz_close(struct sde__npz_reader *r)
{
	if (!r)
		return;
	if (r->fd >= 0)
		r->io->close(r->io->ctx, r->fd);
	free(r->path);
	free(r);
}

const struct sde__npz_array *sde__npz_array(const struct sde__npz_reader *r,
					    enum sde__npz_member member)
{
	return &r->member[member].array;
}

int sde__npz_handle(const struct sde__npz_reader *r)
{
	return r->fd;
}

int sde__npz_stream_open(struct sde__inflater **out, const struct sde__npz_reader *r,
			 enum sde__npz_member member, struct sde_error *error)
{
	const struct member *m = &r->member[member];
	struct sde__inflater *inflater;
	int ret;

	*out = NULL;
	if (!m->array.present)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no '%s'", r->path, names[member]);
	ret = sde__inflater_open(&inflater, &m->place, error);
	if (ret)
		return ret;
	ret = sde__inflater_skip(inflater, m->header, error);
	if (ret) {
		sde__inflater_close(inflater);
		return ret;
	}
	*out = inflater;
	return 0;
}
