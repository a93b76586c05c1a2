/* SPDX-License-Identifier: MIT */
/*
 * Stores that several writers make together, as storages: the collective constructors.
 * The other half of such a storage's life, from store to close, is in share_storage.c.
 */
#ifndef SDE_LIB_SHARE_STORAGE_H
#define SDE_LIB_SHARE_STORAGE_H

#include "share.h"

/*
 * Collective. `ensemble` is this rank's: all have the same dimension and dtype, their
 * trajectories follow on each other in the order of the ranks and begin on multiples of
 * those of rank 0; they may be 0 for others than rank 0. Path and options are alike but
 * for layout, segments and threads. The accord is taken over, also on failure.
 */
int sde__share_create(struct sde_storage **out, const struct sde__accord *accord,
		      const char *path, const struct sde_ensemble *ensemble,
		      const struct sde_zarr_options *options, const struct sde__zarr_hooks *hooks,
		      struct sde_error *error);

/* The same; ensemble NULL: what sde__share_partition says. */
int sde__share_resume(struct sde_storage **out, const struct sde__accord *accord,
		      const char *path, const struct sde_ensemble *ensemble,
		      const struct sde_zarr_options *options, const struct sde__zarr_hooks *hooks,
		      struct sde_error *error);

/* Which of `columns` columns a rank gets, if it is not said: equal numbers, in order. */
void sde__share_partition(uint64_t columns, int rank, int size, uint64_t *first, uint64_t *count);

/* The storage of a share that has begun; in share_storage.c. */
int sde__share_derive(struct sde_storage **out, struct sde__share *share, struct sde_error *error);

#endif
