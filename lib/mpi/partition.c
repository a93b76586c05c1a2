/* SPDX-License-Identifier: MIT */
/* Who has which trajectories, and what a rank's own store is called: arithmetic only. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sdestore/mpi.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool is_rank(int size, int rank)
{
	return rank >= 0 && rank < size;
}

int sde_mpi_partition(uint64_t trajectories, int size, int rank, uint64_t *first, uint64_t *count)
{
	uint64_t each;

	if (!first || !count || !is_rank(size, rank))
		return -EINVAL;
	each = trajectories / (uint64_t)size;
	*first = each * (uint64_t)rank;
	*count = rank == size - 1 ? trajectories - *first : each;
	return 0;
}

int sde_mpi_partition_aligned(uint64_t trajectories, uint64_t multiple, int size, int rank,
			      uint64_t *first, uint64_t *count)
{
	uint64_t groups, each;

	if (!first || !count || !is_rank(size, rank) || !multiple)
		return -EINVAL;
	/* groups of `multiple`, rounded up; of these as many a rank, rounded up */
	groups = trajectories / multiple + (trajectories % multiple != 0);
	each = groups / (uint64_t)size + (groups % (uint64_t)size != 0);
	if (__builtin_mul_overflow(each, multiple, &each) ||
	    __builtin_mul_overflow(each, (uint64_t)rank, first))
		return -EINVAL;
	if (*first > trajectories)
		*first = trajectories;
	*count = trajectories - *first < each ? trajectories - *first : each;
	return 0;
}

int sde_mpi_storage_name(const char *path, int rank, char *out, size_t size)
{
	const char *name, *dot, *end;
	int n;

	if (!path || !out || rank < 0)
		return -EINVAL;
	end = path + strlen(path);
	while (end > path && end[-1] == '/')
		end--;
	for (name = end; name > path && name[-1] != '/'; )
		name--;
	if (name == end || (end - name == 1 && *name == '.') ||
	    (end - name == 2 && name[0] == '.' && name[1] == '.'))
		return -EINVAL;
	/* the last dot, which is not the first character nor the last one */
	for (dot = end - 1; dot > name && *dot != '.'; )
		dot--;
	if (dot == name || dot == end - 1)
		dot = end;
	n = snprintf(out, size, "%.*s_p%d%.*s", (int)(dot - path), path, rank, (int)(end - dot), dot);
	return n < 0 || (size_t)n >= size ? -ERANGE : 0;
}
