/* SPDX-License-Identifier: MIT */
/*
 * Accord: how the writers of one store go the same way. Ranks are numbered from 0; what
 * carries their messages is not known here (libsdestore-mpi has one kind, tests
 * another, and a writer without others needs none).
 *
 * The two calls of the table are collective: every rank makes them, in the same order,
 * with the same sizes. So whatever can fail on one rank alone is done before, its error
 * kept, and then agreed upon: no rank goes on while another waits.
 */
#ifndef SDE_LIB_ACCORD_H
#define SDE_LIB_ACCORD_H

#include "error.h"

#include <stdbool.h>

struct sde__accord {
	int rank, size;
	/* n bytes of rank `from` to all */
	void (*give)(void *ctx, int from, void *bytes, size_t n);
	/* each of n values becomes the least of all ranks' */
	void (*least)(void *ctx, uint64_t *values, size_t n);
	void (*free)(void *ctx);		/* may be NULL */
	void *ctx;
};

/* Of one rank. */
extern const struct sde__accord sde__accord_alone;

/*
 * Collective. `own` has a code if this rank failed. 0 if none did; else the code of the
 * lowest rank that did, and its sentence, which begins with its number.
 */
int sde__accord_agree(const struct sde__accord *accord, const struct sde_error *own,
		      struct sde_error *error);

/* Collective: each of these must be alike on all ranks, else `code` names both. */
struct sde__alike {
	const char *what;
	uint64_t value;
};
int sde__accord_alike(const struct sde__accord *accord, const struct sde__alike *things, size_t n,
		      int code, struct sde_error *error);

/* A value for any bytes: FNV-1a, against slips, not enemies. */
uint64_t sde__accord_print(const void *bytes, size_t n);

#endif
