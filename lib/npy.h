/* SPDX-License-Identifier: MIT */
/*
 * The header of a .npy file (NumPy's numpy/lib/format.py and NEP 1):
 *
 *	offset	size
 *	0	6	"\x93NUMPY"
 *	6	2	version: 1.0, 2.0 or 3.0
 *	8	2	size h of what follows, little-endian; 4 bytes in 2.0 and 3.0
 *	10|12	h	a Python dictionary, blanks, a line feed: in all a multiple
 *			of 64 bytes, where the numbers begin
 *
 *	{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1000, 501), }
 *
 * Written as NumPy writes it, byte by byte; read strictly: these three keys and
 * no others, in any order, nothing is evaluated.
 */
#ifndef SDE_LIB_NPY_H
#define SDE_LIB_NPY_H

#include "error.h"

#include <stdbool.h>

#define SDE__NPY_NDIM_MAX 8

struct sde__npy {
	enum sde_dtype dtype;		/* '<f8', '<f4', '<i8' */
	bool fortran_order;		/* the first index runs fastest */
	unsigned ndim;			/* 0: one number */
	uint64_t shape[SDE__NPY_NDIM_MAX];
};

/* The size of all numbers, in bytes. -EOVERFLOW. */
int sde__npy_size(const struct sde__npy *array, uint64_t *bytes);

/* Room for any header that encode makes. */
#define SDE__NPY_HEADER_MAX 384
size_t sde__npy_encode(const struct sde__npy *array, unsigned char out[SDE__NPY_HEADER_MAX]);

/*
 * The size of a header, from its first SDE__NPY_PREFIX bytes; at most
 * SDE__NPY_DECODE_MAX (NumPy refuses dictionaries of more than 10000 bytes).
 * SDE_E_CORRUPT, SDE_E_VERSION; the sentence does not say which file.
 */
#define SDE__NPY_PREFIX 12
#define SDE__NPY_DECODE_MAX 16384
int sde__npy_header_size(const unsigned char prefix[SDE__NPY_PREFIX], size_t *size,
			 struct sde_error *error);

/*
 * A whole header of `size` bytes, as header_size said. SDE_E_CORRUPT,
 * SDE_E_UNSUPPORTED for an array that is not ours: objects, structures,
 * big-endian or other types, too many dimensions.
 */
int sde__npy_decode(const unsigned char *bytes, size_t size, struct sde__npy *out,
		    struct sde_error *error);

#endif
