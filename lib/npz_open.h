/* SPDX-License-Identifier: MIT */
/*
 * An .npz file (npz_reader.h) opened read-only: sde_storage_open of a regular file.
 *
 * How data is read depends on how the file has it:
 *
 *	stored			the bytes that are needed, wherever they are
 *	deflated, Fortran order	inflated from the first snapshot on. A handle goes on
 *				from where its last read ended, so that reading
 *				forward in time, by blocks or one by one, is one pass
 *				in bounded memory (4 MiB, or one snapshot); going
 *				back begins again at the first
 *	deflated, C order	(PySDE's, numpy.savez_compressed) time runs fastest: the
 *				first read inflates all into memory, which is shared by
 *				all handles and kept until the last is closed. -ENOMEM
 *				if it cannot be had
 *
 * time and iteration are kept in memory, 16 bytes a snapshot. CRC-32s are checked
 * where a member is read to its end; of stored data, only by verify.
 */
#ifndef SDE_LIB_NPZ_OPEN_H
#define SDE_LIB_NPZ_OPEN_H

#include "io.h"

/* As sde_storage_open, and what sde__npz_open gives. */
int sde__npz_storage_open(struct sde_storage **out, const char *path,
			  const struct sde_open_options *options, const struct sde__io *io,
			  struct sde_error *error);

#endif
