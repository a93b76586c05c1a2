/* SPDX-License-Identifier: MIT */
/*
 * The same of a program of several ranks: each stores its trajectories of three
 * snapshots, and the first one reads them all back. C11 as well as C++11.
 *
 *	consumer_mpi STORE
 */
#include <sdestore/mpi.h>

#include <stdio.h>

enum { TRAJECTORIES = 8, SNAPSHOTS = 3 };	/* of each rank */

static double number(uint64_t trajectory, int snapshot)
{
	return (double)trajectory * 1000 + snapshot / 4.0;
}

static int write_store(const char *path, int rank, int size, struct sde_error *error)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_ensemble local = { 1, 0, SDE_FLOAT64 };
	struct sde_storage *storage;
	double data[TRAJECTORIES];
	uint64_t first;
	int ret;

	sde_mpi_partition_aligned((uint64_t)size * TRAJECTORIES, 8, size, rank, &first,
				  &local.trajectories);
	if (local.trajectories != TRAJECTORIES)
		return -1;
	ret = sde_mpi_zarr_storage_create(&storage, MPI_COMM_WORLD, path, &local, &options, error);
	if (ret)
		return ret;
	for (int m = 0; m < SNAPSHOTS; m++) {
		for (int n = 0; n < TRAJECTORIES; n++)
			data[n] = number(first + (uint64_t)n, m);
		sde_storage_store(storage, m, data, (uint64_t)m);
	}
	return sde_storage_close_error(storage, error);
}

static int read_store(const char *path, int size, struct sde_error *error)
{
	struct sde_storage *storage;
	struct sde_array *data;
	double x[SNAPSHOTS];
	int ret;

	ret = sde_storage_open(&storage, path, NULL, error);
	if (ret)
		return ret;
	ret = sde_storage_values(storage, NULL, &data);
	for (uint64_t n = 0; !ret && n < (uint64_t)size * TRAJECTORIES; n++) {
		const uint64_t start[3] = { 0, n, 0 }, count[3] = { 1, 1, SNAPSHOTS };

		ret = sde_array_read(data, start, count, NULL, x, sizeof(x));
		for (int m = 0; !ret && m < SNAPSHOTS; m++)
			ret = x[m] != number(n, m);
	}
	if (!ret) {
		printf("%d snapshots of %d ranks\n", (int)sde_array_shape(data)[2], size);
		sde_array_close(data);
	}
	sde_storage_close(storage);
	return ret;
}

int main(int argc, char **argv)
{
	struct sde_error error = { 0, "" };
	int rank, size, level, ret;

	MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	ret = argc == 2 ? write_store(argv[1], rank, size, &error) : -1;
	if (!ret && !rank)
		ret = read_store(argv[1], size, &error);
	if (ret)
		fprintf(stderr, "consumer_mpi: %d: %s\n", ret, error.text);
	MPI_Finalize();
	return ret != 0;
}
