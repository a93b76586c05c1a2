/* SPDX-License-Identifier: MIT */
/* What the programs of this directory share: an assertion that ends all ranks. */
#ifndef SDE_TESTS_MPI_RANK_H
#define SDE_TESTS_MPI_RANK_H

#include <sdestore/mpi.h>

#include <stdio.h>

#define CHECK(condition, ...) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
			fprintf(stderr, __VA_ARGS__); \
			fputc('\n', stderr); \
			MPI_Abort(MPI_COMM_WORLD, 1); \
		} \
	} while (0)

static inline int my_rank(void)
{
	int rank;

	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	return rank;
}

static inline int all_ranks(void)
{
	int size;

	MPI_Comm_size(MPI_COMM_WORLD, &size);
	return size;
}

#endif
