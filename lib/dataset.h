/* SPDX-License-Identifier: MIT */
/*
 * The arrays of a store as handles: time, data, iteration over one reader.
 *
 * A handle keeps one cursor (an open chunk file and its decoded inner chunks),
 * so that reading snapshot by snapshot decodes every chunk once; a thread that
 * finds it in use makes one of its own for the call.
 */
#ifndef SDE_LIB_DATASET_H
#define SDE_LIB_DATASET_H

#include "walk.h"

enum sde__dataset { SDE__DATASET_TIME, SDE__DATASET_ITERATION, SDE__DATASET_DATA };

/* Takes a reference of its own. */
int sde__dataset_new(struct sde_array **out, struct sde__reader *reader, enum sde__dataset which,
		     struct sde_error *error);

/* sde_array_walk over its data (dataset_walk.c); what is filled is noted in `holes`. */
int sde__dataset_walk(struct sde__reader *reader, struct sde__holes *holes,
		      const struct sde__range range[3], const struct sde__walk *how,
		      struct sde_error *error);

#endif
