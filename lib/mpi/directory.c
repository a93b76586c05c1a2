/* SPDX-License-Identifier: MIT */
/* Directories made by one rank, and seen by all. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "agree.h"
#include "io.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/*
 * A network file system may go on for a while to say that what another machine
 * has just made is not there: NFS for up to acdirmax, 60 s by default, though a
 * lookup that failed is asked again after acdirmin, 30 s.
 */
#define TRIES 70
#define PAUSE_NS 10000000	/* at first; doubled up to a second */

int sde_mpi_available(void)
{
	int begun = 0, ended = 0;

	MPI_Initialized(&begun);
	if (begun)
		MPI_Finalized(&ended);
	return begun && !ended;
}

static int look(const char *path, struct sde_error *error)
{
	const struct sde__io *io = &sde__io_posix;
	struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct sde__stat st;
	int ret = 0;

	for (int tries = 0; tries < TRIES; tries++) {
		ret = io->stat_at(io->ctx, -1, path, &st);
		if (ret != -ENOENT)
			break;
		nanosleep(&pause, NULL);
		if (pause.tv_sec == 0 && pause.tv_nsec < 500000000)
			pause.tv_nsec *= 2;
		else
			pause = (struct timespec){ .tv_sec = 1 };
	}
	if (!ret && !st.is_directory)
		ret = -ENOTDIR;
	return ret ? sde__fail_why(error, ret, "cannot see directory '%s'", path) : 0;
}

int sde_mpi_create_directory(MPI_Comm comm, const char *path, struct sde_error *error)
{
	const struct sde__accord accord = sde__mpi_borrow(&comm);
	struct sde_error own = { 0 };
	int ret;

	if (!path || !*path)
		sde__fail(&own, -EINVAL, "no directory given");
	ret = sde__accord_agree(&accord, &own, error);
	if (ret)
		return ret;
	if (!accord.rank) {
		ret = sde__io_make_directories(NULL, path);
		if (ret)
			sde__fail_why(&own, ret, "cannot make directory '%s'", path);
	}
	ret = sde__accord_agree(&accord, &own, error);
	if (ret)
		return ret;
	look(path, &own);
	return sde__accord_agree(&accord, &own, error);
}

/* The option's form: a communicator may be no pointer, but it has a Fortran number. */
static int make_directory(void *ctx, const char *path)
{
	return sde_mpi_create_directory(MPI_Comm_f2c((MPI_Fint)(intptr_t)ctx), path, NULL);
}

static void *context(MPI_Comm comm)
{
	return (void *)(intptr_t)MPI_Comm_c2f(comm);
}

void sde_mpi_avoid_race_condition(MPI_Comm comm, struct sde_zarr_options *options)
{
	options->make_directory = make_directory;
	options->make_directory_ctx = context(comm);
}

void sde_mpi_avoid_race_condition_numpy(MPI_Comm comm, struct sde_numpy_options *options)
{
	options->make_directory = make_directory;
	options->make_directory_ctx = context(comm);
}
