/* SPDX-License-Identifier: MIT */
/* What libsdestore-mpi does beside storing. helpers DIRECTORY [PATH RANK]. */
#include "rank.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Slices follow on each other and make up all; PySDE's rule is the oracle. */
static void check_partition(uint64_t n, int size)
{
	uint64_t at = 0, first, count;

	for (int rank = 0; rank < size; rank++) {
		CHECK(!sde_mpi_partition(n, size, rank, &first, &count), "%d", rank);
		CHECK(first == at && first == (uint64_t)rank * (n / (uint64_t)size), "%d", rank);
		CHECK(rank == size - 1 || count == n / (uint64_t)size, "%d", rank);
		at += count;
	}
	CHECK(at == n, "%" PRIu64 " of %" PRIu64, at, n);
}

static void check_aligned(uint64_t n, uint64_t multiple, int size)
{
	uint64_t at = 0, width = 0, first, count;

	for (int rank = 0; rank < size; rank++) {
		CHECK(!sde_mpi_partition_aligned(n, multiple, size, rank, &first, &count), "%d", rank);
		CHECK(first == at, "%d", rank);
		if (!rank)
			width = count;
		at += count;
		CHECK(at == n || (count == width && count % multiple == 0), "%d", rank);
		CHECK(count <= width, "%d", rank);
	}
	CHECK(at == n, "%" PRIu64 " of %" PRIu64, at, n);
	/* as narrow as can be: one group less would not do for all */
	CHECK(width < multiple || (width + multiple - 1) / multiple == 1 ||
	      (width - multiple) * (uint64_t)size < n, "width %" PRIu64, width);
}

static void check_partitions(void)
{
	static const uint64_t sizes[] = { 0, 1, 2, 7, 8, 100, 101, 997, 100000 };
	uint64_t first, count;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (int size = 1; size < 12; size++) {
			check_partition(sizes[i], size);
			for (uint64_t multiple = 1; multiple < 20; multiple += 3)
				check_aligned(sizes[i], multiple, size);
		}
	CHECK(sde_mpi_partition(10, 2, 2, &first, &count) == -EINVAL, " ");
	CHECK(sde_mpi_partition(10, 2, -1, &first, &count) == -EINVAL, " ");
	CHECK(sde_mpi_partition(10, 0, 0, &first, &count) == -EINVAL, " ");
	CHECK(sde_mpi_partition_aligned(10, 0, 2, 0, &first, &count) == -EINVAL, " ");
	/* two groups of them are beyond 64 bits */
	CHECK(sde_mpi_partition_aligned(UINT64_MAX, UINT64_MAX / 2 + 2, 1, 0, &first, &count) ==
	      -EINVAL, " ");
}

static void same_on_all_ranks(int ret, const struct sde_error *error)
{
	struct sde_error first = *error;
	int code = ret;

	MPI_Bcast(&code, 1, MPI_INT, 0, MPI_COMM_WORLD);
	MPI_Bcast(first.text, sizeof(first.text), MPI_CHAR, 0, MPI_COMM_WORLD);
	CHECK(code == ret, "%d and %d", code, ret);
	CHECK(!strcmp(first.text, error->text), "'%s' and '%s'", first.text, error->text);
}

static void check_directories(const char *directory)
{
	struct sde_error error = { 0 };
	char path[512];
	struct stat st;
	int ret;

	snprintf(path, sizeof(path), "%s/a/b/c", directory);
	CHECK(!sde_mpi_create_directory(MPI_COMM_WORLD, path, &error), "%s", error.text);
	CHECK(!stat(path, &st) && S_ISDIR(st.st_mode), "%s", path);
	CHECK(!sde_mpi_create_directory(MPI_COMM_WORLD, path, &error), "%s", error.text);
	/* what cannot be made: below a file */
	ret = sde_mpi_create_directory(MPI_COMM_WORLD, "/proc/version/x", &error);
	CHECK(ret == -ENOTDIR || ret == -ENOENT, "%d", ret);
	CHECK(all_ranks() == 1 || !strncmp(error.text, "rank 0: ", 8), "%s", error.text);
	same_on_all_ranks(ret, &error);
	CHECK(strstr(error.text, "cannot make directory '/proc/version/x'"), "%s", error.text);
	memset(&error, 0, sizeof(error));
	ret = sde_mpi_create_directory(MPI_COMM_WORLD, my_rank() == all_ranks() - 1 ? "" : path, &error);
	CHECK(ret == -EINVAL, "%d", ret);
	same_on_all_ranks(ret, &error);
	/* of one rank it goes without saying */
	snprintf(path, sizeof(path), "rank %d: no directory given", all_ranks() - 1);
	if (all_ranks() == 1)
		snprintf(path, sizeof(path), "no directory given");
	CHECK(!strcmp(error.text, path), "%s", error.text);
}

/* Each rank a store of its own in a directory that is not there yet. */
static void check_own_stores(const char *directory)
{
	const struct sde_ensemble ensemble = { .dimension = 1, .trajectories = 8 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_numpy_options numpy = SDE_NUMPY_OPTIONS_INIT;
	const double x[8] = { my_rank() };
	struct sde_error error = { 0 };
	char path[512], own[512];
	struct sde_storage *storage;
	struct stat st;

	snprintf(path, sizeof(path), "%s/own/run.zarr", directory);
	CHECK(!sde_mpi_storage_name(path, my_rank(), own, sizeof(own)), " ");
	sde_mpi_avoid_race_condition(MPI_COMM_WORLD, &options);
	options.threads = 1;
	CHECK(!sde_zarr_storage_create(&storage, own, &ensemble, &options, &error), "%s", error.text);
	CHECK(!sde_storage_store(storage, 0.0, x, 0), " ");
	CHECK(!sde_storage_close(storage), " ");
	snprintf(path, sizeof(path), "%s/other/run.npz", directory);
	CHECK(!sde_mpi_storage_name(path, my_rank(), own, sizeof(own)), " ");
	sde_mpi_avoid_race_condition_numpy(MPI_COMM_WORLD, &numpy);
	numpy.save_directory = own;
	CHECK(!sde_numpy_storage_create(&storage, &ensemble, &numpy, &error), "%s", error.text);
	CHECK(!sde_storage_store(storage, 0.0, x, 0), " ");
	CHECK(!sde_storage_close(storage), " ");
	MPI_Barrier(MPI_COMM_WORLD);
	for (int rank = 0; rank < all_ranks(); rank++) {
		snprintf(path, sizeof(path), "%s/own/run_p%d.zarr", directory, rank);
		CHECK(!stat(path, &st), "%s", path);
		snprintf(path, sizeof(path), "%s/other/run_p%d.npz", directory, rank);
		CHECK(!stat(path, &st), "%s", path);
	}
}

int main(int argc, char **argv)
{
	char name[512], small[8];

	if (argc == 4) {
		if (!sde_mpi_storage_name(argv[2], atoi(argv[3]), name, sizeof(name)))
			puts(name);
		return 0;
	}
	CHECK(!sde_mpi_available(), "before MPI_Init");
	MPI_Init(&argc, &argv);
	CHECK(sde_mpi_available(), "after MPI_Init");
	CHECK(argc == 2, "usage");
	check_partitions();
	CHECK(sde_mpi_storage_name("run.zarr", 3, small, sizeof(small)) == -ERANGE, " ");
	CHECK(sde_mpi_storage_name("run.zarr", -1, name, sizeof(name)) == -EINVAL, " ");
	CHECK(sde_mpi_storage_name("out/..", 1, name, sizeof(name)) == -EINVAL, " ");
	CHECK(sde_mpi_storage_name("", 1, name, sizeof(name)) == -EINVAL, " ");
	check_directories(argv[1]);
	check_own_stores(argv[1]);
	MPI_Finalize();
	CHECK(!sde_mpi_available(), "after MPI_Finalize");
	return 0;
}
