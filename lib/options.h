/* SPDX-License-Identifier: MIT */
/*
 * What callers give: structs that begin with their size, and ensembles. Checked before
 * anything is done.
 */
#ifndef SDE_LIB_OPTIONS_H
#define SDE_LIB_OPTIONS_H

#include "error.h"

#include <sdestore/backend.h>

/*
 * Take a versioned options struct: copy what both sides know of `user` (which
 * begins with its size) into `own` of own_size bytes, zero the rest. -EINVAL for
 * an impossible size, -E2BIG for unknown bytes that are not zero. NULL: zeros.
 * `name` is for the sentence.
 */
int sde__options_take(void *own, size_t own_size, size_t least_size, const void *user,
		      const char *name, struct sde_error *error);

/* The same of sde_storage_open's, whose values are checked. */
int sde__open_options_take(struct sde_open_options *own, const struct sde_open_options *options,
			   struct sde_error *error);

/* dimension and trajectories at least 1, a dtype that can be stored. */
int sde__ensemble_check(const struct sde_ensemble *ensemble, struct sde_error *error);

#endif
