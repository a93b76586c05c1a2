/* SPDX-License-Identifier: MIT */
/*
 * Arrays into a NumPy file: what sde_npz_write and the NumPy backend's save do.
 *
 * Data goes through in blocks of at most 16 MiB (or of one snapshot, or in C
 * order of one trajectory's values at one time, where those are larger), so that
 * memory is bounded whatever M is. Fortran order, [m][n][d], follows the store's
 * own order in time; C order reads a store once for every block of trajectories.
 */
#ifndef SDE_LIB_NPZ_EXPORT_H
#define SDE_LIB_NPZ_EXPORT_H

#include "io.h"

int sde__npz_export(const struct sde__io *io, const char *path, const struct sde_array *time,
		    const struct sde_array *data, const struct sde_array *iteration,
		    const struct sde_npz_options *options, struct sde_error *error);

/* Threads to compress with: `asked`, or the cores of the affinity mask. */
unsigned sde__npz_threads(unsigned asked);

#endif
