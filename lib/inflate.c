/* SPDX-License-Identifier: MIT */
/*
 * Inflating what somebody else deflated. Guards the promise of sizes: a member that
 * would give more or fewer bytes than it says, or ends elsewhere, is damage, and no
 * buffer here depends on a number from a file.
 */
#include "inflate.h"

#include "deflate.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#define INPUT ((size_t)64 << 10)
#define SCRATCH ((size_t)16 << 10)

/* A raw stream with a window of any size. */
#define RAW_WINDOW (-15)

struct sde__inflater {
	struct sde__zip_place place;
	uint64_t offset;	/* the next byte to read from the file */
	uint64_t packed_left;	/* bytes of the file not yet read */
	uint64_t raw_left;	/* bytes not yet given */
	uint32_t crc;
	int status;		/* the first failure; all later calls give it too */
	bool checked, has_z;
	z_stream z;
	unsigned char input[INPUT];
};

static int damaged(struct sde__inflater *f, const char *what, struct sde_error *error)
{
	f->status = SDE_E_CORRUPT;
	return sde__fail(error, SDE_E_CORRUPT, "'%s' of '%s' %s", f->place.name, f->place.path,
			 what);
}

static int read_file(struct sde__inflater *f, void *out, size_t n, struct sde_error *error)
{
	const int ret = sde__io_read_all(f->place.io, f->place.fd, out, n, f->offset);

	if (ret == -ENODATA)
		return damaged(f, "is cut off", error);
	if (ret) {
		f->status = ret;
		return sde__fail_why(error, ret, "cannot read '%s'", f->place.path);
	}
	f->offset += n;
	f->packed_left -= n;
	return 0;
}

static int fill_input(struct sde__inflater *f, struct sde_error *error)
{
	const size_t n = f->packed_left < INPUT ? (size_t)f->packed_left : INPUT;
	const int ret = read_file(f, f->input, n, error);

	if (ret)
		return ret;
	f->z.next_in = f->input;
	f->z.avail_in = (uInt)n;
	return 0;
}

/*
 * Let zlib run until it has filled the output or found the end; `ended` says which.
 * Without room for output it may still find the end.
 */
static int inflate_some(struct sde__inflater *f, bool *ended, struct sde_error *error)
{
	int ret;

	*ended = false;
	if (!f->z.avail_in && f->packed_left) {
		ret = fill_input(f, error);
		if (ret)
			return ret;
	}
	ret = inflate(&f->z, Z_NO_FLUSH);
	if (ret == Z_STREAM_END)
		*ended = true;
	else if (ret == Z_MEM_ERROR)
		return f->status = sde__fail(error, -ENOMEM, "out of memory");
	else if (ret != Z_OK && ret != Z_BUF_ERROR)
		return damaged(f, "does not inflate", error);
	return 0;
}

static int read_deflated(struct sde__inflater *f, unsigned char *out, size_t n,
			 struct sde_error *error)
{
	while (n) {
		const uInt room = n < UINT_MAX ? (uInt)n : UINT_MAX;
		bool ended;
		int ret;

		f->z.next_out = out;
		f->z.avail_out = room;
		ret = inflate_some(f, &ended, error);
		if (ret)
			return ret;
		out += room - f->z.avail_out;
		n -= room - f->z.avail_out;
		if (n && (ended || (!f->z.avail_in && !f->packed_left && f->z.avail_out == room)))
			return damaged(f, "holds less than it should", error);
	}
	return 0;
}

/* All bytes were given: there may be no more of them, and no other ones. */
static int check_deflated_end(struct sde__inflater *f, struct sde_error *error)
{
	unsigned char one;
	bool ended = false;

	while (!ended) {
		const uint64_t before = f->packed_left + f->z.avail_in;
		int ret;

		f->z.next_out = &one;
		f->z.avail_out = 1;
		ret = inflate_some(f, &ended, error);
		if (ret)
			return ret;
		if (!f->z.avail_out)
			return damaged(f, "holds more than it should", error);
		if (!ended && f->packed_left + f->z.avail_in == before)
			return damaged(f, "does not end", error);
	}
	if (f->packed_left || f->z.avail_in)
		return damaged(f, "has bytes behind its end", error);
	return 0;
}

static int check_end(struct sde__inflater *f, struct sde_error *error)
{
	int ret = 0;

	f->checked = true;
	if (f->place.method == SDE__ZIP_DEFLATED)
		ret = check_deflated_end(f, error);
	if (!ret && f->crc != f->place.crc)
		ret = damaged(f, "has another CRC-32 than it should", error);
	return ret;
}

int sde__inflater_open(struct sde__inflater **out, const struct sde__zip_place *place,
		       struct sde_error *error)
{
	struct sde__inflater *f = malloc(sizeof(*f));

	if (!f)
		return sde__fail(error, -ENOMEM, "out of memory");
	memset(f, 0, offsetof(struct sde__inflater, input));
	f->place = *place;
	f->offset = place->begin;
	f->packed_left = place->packed;
	f->raw_left = place->raw;
	if (place->method == SDE__ZIP_DEFLATED) {
		if (inflateInit2(&f->z, RAW_WINDOW) != Z_OK) {
			free(f);
			return sde__fail(error, -ENOMEM, "out of memory");
		}
		f->has_z = true;
	}
	*out = f;
	return 0;
}

int sde__inflater_read(struct sde__inflater *inflater, void *out, size_t n, struct sde_error *error)
{
	int ret;

	if (inflater->status)
		return sde__fail(error, inflater->status, "reading '%s' of '%s' failed before",
				 inflater->place.name, inflater->place.path);
	if (n > inflater->raw_left)
		return sde__fail(error, -ENODATA, "'%s' of '%s' ends before", inflater->place.name,
				 inflater->place.path);
	if (inflater->place.method == SDE__ZIP_DEFLATED)
		ret = read_deflated(inflater, out, n, error);
	else
		ret = read_file(inflater, out, n, error);
	if (ret)
		return ret;
	inflater->crc = sde__crc32(inflater->crc, out, n);
	inflater->raw_left -= n;
	return inflater->raw_left || inflater->checked ? 0 : check_end(inflater, error);
}

int sde__inflater_skip(struct sde__inflater *inflater, uint64_t n, struct sde_error *error)
{
	unsigned char scratch[SCRATCH];
	int ret;

	do {
		const size_t part = n < SCRATCH ? (size_t)n : SCRATCH;

		ret = sde__inflater_read(inflater, scratch, part, error);
		n -= part;
	} while (n && !ret);
	return ret;
}

void sde__inflater_close(struct sde__inflater *inflater)
{
	if (!inflater)
		return;
	if (inflater->has_z)
		inflateEnd(&inflater->z);
	free(inflater);
}
