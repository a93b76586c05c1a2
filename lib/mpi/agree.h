/* SPDX-License-Identifier: MIT */
/*
 * An accord (accord.h) of MPI ranks: all of MPI that storing uses is behind it.
 */
#ifndef SDE_LIB_MPI_AGREE_H
#define SDE_LIB_MPI_AGREE_H

#include "accord.h"

#include <sdestore/mpi.h>

/* Of a communicator that is the caller's; free is NULL. */
struct sde__accord sde__mpi_borrow(MPI_Comm *comm);

/*
 * Collective: of a duplicate of comm, so that nobody else's messages are met, which free
 * gives up. SDE_E_UNSUPPORTED outside MPI_Init and MPI_Finalize, -ENOMEM on this rank
 * alone.
 */
int sde__mpi_accord(struct sde__accord *out, MPI_Comm comm, struct sde_error *error);

#endif
