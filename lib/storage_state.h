/* SPDX-License-Identifier: MIT */
/*
 * What storage.c (the base) and storage_values.c (what is in it) share. Nobody else
 * includes this.
 */
#ifndef SDE_LIB_STORAGE_STATE_H
#define SDE_LIB_STORAGE_STATE_H

#include "storage.h"

#include <pthread.h>
#include <stdbool.h>

struct sde_storage {
	struct sde_backend backend;
	void *self;
	struct sde_ensemble ensemble;
	uint64_t stride;
	bool reserved;			/* a slot is out, for this iteration */
	uint64_t iteration;
	void *slot;			/* for backends without reserve */
	pthread_mutex_t lock;		/* guards error */
	struct sde_error error;
};

/* Keep the sentence of a failure for sde_storage_error; returns its code. */
int sde__keep(const struct sde_storage *storage, int code, const struct sde_error *error);

/* Fail with that sentence; with "a zarr storage has no ...". Both return the code. */
int sde__refuse(const struct sde_storage *storage, int code, const char *text);
int sde__unsupported(const struct sde_storage *storage, const char *call);

#endif
