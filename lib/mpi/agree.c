/* SPDX-License-Identifier: MIT */
/* Giving and taking the least, by MPI: see agree.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "agree.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

static void give(void *ctx, int from, void *bytes, size_t n)
{
	const MPI_Comm *comm = ctx;
	unsigned char *p = bytes;

	/* its counts are int */
	for (size_t part; n; n -= part, p += part) {
		part = n < INT_MAX ? n : INT_MAX;
		MPI_Bcast(p, (int)part, MPI_BYTE, from, *comm);
	}
}

static void least(void *ctx, uint64_t *values, size_t n)
{
	const MPI_Comm *comm = ctx;

	/* one value for each rank at most, which are int */
	MPI_Allreduce(MPI_IN_PLACE, values, (int)n, MPI_UINT64_T, MPI_MIN, *comm);
}

static void give_up(void *ctx)
{
	MPI_Comm *comm = ctx;

	/* a storage that is closed after MPI_Finalize has lost it already */
	if (sde_mpi_available())
		MPI_Comm_free(comm);
	free(comm);
}

struct sde__accord sde__mpi_borrow(MPI_Comm *comm)
{
	struct sde__accord accord = { .give = give, .least = least, .ctx = comm };

	MPI_Comm_rank(*comm, &accord.rank);
	MPI_Comm_size(*comm, &accord.size);
	return accord;
}

int sde__mpi_accord(struct sde__accord *out, MPI_Comm comm, struct sde_error *error)
{
	struct sde__accord borrowed;
	struct sde_error own = { 0 };
	MPI_Comm *duplicate;
	int ret;

	if (!sde_mpi_available())
		return sde__fail(error, SDE_E_UNSUPPORTED, "MPI is not initialized, or finalized");
	borrowed = sde__mpi_borrow(&comm);
	duplicate = malloc(sizeof(MPI_Comm));
	if (!duplicate)
		sde__fail(&own, -ENOMEM, "out of memory");
	ret = sde__accord_agree(&borrowed, &own, error);
	if (ret) {
		free(duplicate);
		return ret;
	}
	MPI_Comm_dup(comm, duplicate);
	*out = sde__mpi_borrow(duplicate);
	out->free = give_up;
	return 0;
}
