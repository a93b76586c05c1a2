/* SPDX-License-Identifier: MIT */
/*
 * The NumPy backend: snapshots in memory, written as one npz file by save.
 *
 * They lie one behind the other, [m][d][n], in an arena that never moves
 * (arena.h): the whole (d_X, N, M) array has constant strides, and a handle is a
 * plain pointer into it. Handles hold a reference to the memory, so they stay
 * good when more is stored and after close. Truncate leaves memory that is
 * referred to alone and goes on in a copy.
 */
#ifndef SDE_LIB_NUMPY_STORAGE_H
#define SDE_LIB_NUMPY_STORAGE_H

#include "io.h"

#include <sdestore/backend.h>

int sde__numpy_create(struct sde_storage **out, const struct sde_ensemble *ensemble,
		      const struct sde_numpy_options *options, const struct sde__io *io,
		      struct sde_error *error);

#endif
