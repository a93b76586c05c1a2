/* SPDX-License-Identifier: MIT */
/*
 * PySDE's parallel example: 100000 trajectories shared out over all MPI ranks, 101
 * snapshots in chunks of 50, and one store of all of them.
 *
 *	dX = -X dt + sqrt(2) dW,	X(0) = 0
 *
 * (Ornstein-Uhlenbeck; Ito) by Euler-Maruyama with dt = 0.01. Build and run with
 *
 *	cc -O3 ensemble_mpi.c -o ensemble_mpi $(mpicc --showme:compile) \
 *		$(pkg-config --cflags --libs sdestore-mpi sdestore) -lm
 *	mpirun -n 4 ./ensemble_mpi ensemble.zarr
 *	sde-inspect ensemble.zarr
 */
#define _GNU_SOURCE
#include "progress.h"

#include <sdestore/mpi.h>

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t trajectories = 100000, snapshots = 101;
static const double dt = 0.01;

/* splitmix64, and normals in pairs by Box and Muller: a stream for each rank */
struct random {
	uint64_t state;
	double spare;
	int has_spare;
};

static double uniform(struct random *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return ((double)((z ^ z >> 31) >> 12) + 0.5) * 0x1p-52;
}

static double normal(struct random *r)
{
	double radius, angle;

	r->has_spare = !r->has_spare;
	if (!r->has_spare)
		return r->spare;
	radius = sqrt(-2 * log(uniform(r)));
	angle = 2 * acos(-1.0) * uniform(r);
	r->spare = radius * sin(angle);
	return radius * cos(angle);
}

static void step(double *x, uint64_t n, struct random *r)
{
	const double noise = sqrt(2 * dt);

	for (uint64_t i = 0; i < n; i++)
		x[i] += -x[i] * dt + noise * normal(r);
}

/* What every rank says alike is said by one. */
static int complain(int rank, const char *what, const struct sde_error *error)
{
	if (rank == 0)
		fprintf(stderr, "ensemble_mpi: %s: %s\n", what, error->text);
	return 1;
}

static int integrate(struct sde_storage *storage, double *x, uint64_t n, int rank, int bar)
{
	/* streams of one generator that do not meet: far apart from each other */
	struct random r = { .state = (uint64_t)rank << 48 };
	struct progress progress;
	int failed = 0;

	progress_begin(&progress, "ensemble", 0, (double)trajectories * sizeof(double));
	/* mpirun stands between its ranks and the terminal: they cannot ask whether there is one */
	progress.on = bar && rank == 0;
	for (uint64_t i = 0; i < snapshots && !failed; i++) {
		if (i)
			step(x, n, &r);
		/* asks no other rank; one whose store fails still closes with the others */
		failed = sde_storage_store(storage, (double)i * dt, x, i) != 0;
		progress_step(&progress, i, snapshots - 1);
	}
	progress_end(&progress);
	return failed;
}

static int run(const char *path, int rank, int size, int bar)
{
	struct sde_ensemble local = { .dimension = 1 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	uint64_t first;
	double *x;

	options.chunk_size = 50;
	options.overwrite = 1;
	options.time_units = "s";
	options.attributes = "{\"model\": \"dX = -X dt + sqrt(2) dW\"}";
	sde_mpi_partition_aligned(trajectories, 8, size, rank, &first, &local.trajectories);
	if (sde_mpi_zarr_storage_create(&storage, MPI_COMM_WORLD, path, &local, &options, &error))
		return complain(rank, "cannot create the store", &error);
	/* one more: a rank may have none, and store takes no NULL */
	x = calloc(local.trajectories + 1, sizeof(*x));
	if (!x || integrate(storage, x, local.trajectories, rank, bar)) {
		if (x)
			sde_storage_error(storage, &error);
		fprintf(stderr, "ensemble_mpi: rank %d cannot go on: %s\n", rank,
			x ? error.text : "out of memory");
	}
	free(x);
	/* all together: this fails on every rank if one of them has failed */
	error.code = 0;
	if (sde_storage_close_error(storage, &error))
		return complain(rank, "cannot close the store", &error);
	if (rank == 0)
		printf("%s: %" PRIu64 " snapshots of %" PRIu64 " trajectories by %d ranks\n", path,
		       snapshots, trajectories, size);
	return 0;
}

int main(int argc, char **argv)
{
	int rank, size, level, failed, bar;

	MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &size);
	bar = argc > 1 && !strcmp(argv[1], "--progress");
	if (argc > 2 + bar || (argc == 2 + bar && argv[1 + bar][0] == '-')) {
		if (rank == 0)
			fprintf(stderr, "usage: ensemble_mpi [--progress] [DIRECTORY]\n"
				"Writes DIRECTORY (ensemble.zarr), replacing a store that is there.\n"
				"  --progress  a bar on a terminal, by rank 0\n");
		failed = 1;
	} else {
		failed = run(argc == 2 + bar ? argv[1 + bar] : "ensemble.zarr", rank, size, bar);
	}
	MPI_Finalize();
	return failed;
}
