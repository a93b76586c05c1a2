/* SPDX-License-Identifier: MIT */
/*
 * Agreement: every rank goes the same way. All of MPI that the library uses, but
 * for the duplication of communicators, is here.
 *
 * Whatever can fail on one rank alone is done first, its code kept, and then agreed
 * upon; so all ranks make the same MPI calls in the same order wherever one fails.
 */
#ifndef SDE_LIB_MPI_AGREE_H
#define SDE_LIB_MPI_AGREE_H

#include "error.h"

#include <sdestore/mpi.h>

int sde__mpi_rank(MPI_Comm comm);
int sde__mpi_size(MPI_Comm comm);

/*
 * Collective. `own` has a code if this rank failed. 0 if none did; else the code of
 * the lowest rank that did, and in *error its sentence, "rank 2: ...", on every rank.
 */
int sde__mpi_agree(MPI_Comm comm, const struct sde_error *own, struct sde_error *error);

/* Collective: `n` bytes of rank 0 to all. */
void sde__mpi_share(MPI_Comm comm, void *bytes, int n);

/* Collective: the lowest value, the highest and their lowest ranks. */
struct sde__mpi_range {
	uint64_t low, high;
	int low_rank, high_rank;
};
struct sde__mpi_range sde__mpi_compare(MPI_Comm comm, uint64_t value);

/*
 * Collective: are these bytes alike on all ranks? `what` is for the sentence, which
 * every rank gets: -EINVAL or SDE_E_MISMATCH, as `code` says.
 */
int sde__mpi_check_alike(MPI_Comm comm, const void *bytes, size_t n, int code, const char *what,
			 struct sde_error *error);

#endif
