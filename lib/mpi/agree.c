/* SPDX-License-Identifier: MIT */
/* Agreement between ranks: see agree.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "agree.h"

int sde__mpi_rank(MPI_Comm comm)
{
	int rank;

	MPI_Comm_rank(comm, &rank);
	return rank;
}

int sde__mpi_size(MPI_Comm comm)
{
	int size;

	MPI_Comm_size(comm, &size);
	return size;
}

void sde__mpi_share(MPI_Comm comm, void *bytes, int n)
{
	MPI_Bcast(bytes, n, MPI_BYTE, 0, comm);
}

int sde__mpi_agree(MPI_Comm comm, const struct sde_error *own, struct sde_error *error)
{
	const int size = sde__mpi_size(comm), rank = sde__mpi_rank(comm);
	int mine = own->code ? rank : size, failed;
	struct sde_error theirs = *own;

	MPI_Allreduce(&mine, &failed, 1, MPI_INT, MPI_MIN, comm);
	if (failed == size)
		return 0;
	MPI_Bcast(&theirs.code, 1, MPI_INT, failed, comm);
	MPI_Bcast(theirs.text, sizeof(theirs.text), MPI_CHAR, failed, comm);
	return sde__fail(error, theirs.code, "rank %d: %s", failed, theirs.text);
}

struct sde__mpi_range sde__mpi_compare(MPI_Comm comm, uint64_t value)
{
	const uint64_t pair[2] = { value, ~value };
	const int rank = sde__mpi_rank(comm), size = sde__mpi_size(comm);
	int mine[2], found[2];
	uint64_t least[2];

	/* the highest value is the complement of the lowest complement */
	MPI_Allreduce(pair, least, 2, MPI_UINT64_T, MPI_MIN, comm);
	mine[0] = value == least[0] ? rank : size;
	mine[1] = ~value == least[1] ? rank : size;
	MPI_Allreduce(mine, found, 2, MPI_INT, MPI_MIN, comm);
	return (struct sde__mpi_range){ least[0], ~least[1], found[0], found[1] };
}

/* FNV-1a, 64 bits: not against an enemy, only against a slip. */
static uint64_t fingerprint(const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}

int sde__mpi_check_alike(MPI_Comm comm, const void *bytes, size_t n, int code, const char *what,
			 struct sde_error *error)
{
	const uint64_t own = fingerprint(bytes, n);
	const int rank = sde__mpi_rank(comm), size = sde__mpi_size(comm);
	uint64_t first = own;
	int mine, other;

	MPI_Bcast(&first, 1, MPI_UINT64_T, 0, comm);
	mine = own == first ? size : rank;
	MPI_Allreduce(&mine, &other, 1, MPI_INT, MPI_MIN, comm);
	if (other == size)
		return 0;
	return sde__fail(error, code, "rank %d has another %s than rank 0", other, what);
}
