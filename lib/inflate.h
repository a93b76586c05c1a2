/* SPDX-License-Identifier: MIT */
/*
 * The bytes of one member of a zip file, inflated on the way, from first to last.
 * Untrusted: gives exactly the bytes that the directory promises, with their
 * CRC-32, or SDE_E_CORRUPT.
 */
#ifndef SDE_LIB_INFLATE_H
#define SDE_LIB_INFLATE_H

#include "io.h"
#include "zip.h"

/* A member, checked: its bytes [begin, begin + packed) are in the file. */
struct sde__zip_place {
	const struct sde__io *io;
	int fd;
	const char *path, *name;	/* for sentences */
	enum sde__zip_method method;
	uint64_t begin, packed, raw;
	uint32_t crc;
};

struct sde__inflater;

/* place is copied; its strings must outlive the inflater. -ENOMEM. */
int sde__inflater_open(struct sde__inflater **out, const struct sde__zip_place *place,
		       struct sde_error *error);
/*
 * Exactly the next n bytes. With the last of all, the CRC is compared and the stream
 * must end where the directory says: SDE_E_CORRUPT. -ENODATA for more than there is.
 */
int sde__inflater_read(struct sde__inflater *inflater, void *out, size_t n,
		       struct sde_error *error);
int sde__inflater_skip(struct sde__inflater *inflater, uint64_t n, struct sde_error *error);
void sde__inflater_close(struct sde__inflater *inflater);	/* accepts NULL */

#endif
