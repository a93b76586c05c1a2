/* SPDX-License-Identifier: MIT */
/* The public constructors of a store of all ranks: the real io table, threads on. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "agree.h"
#include "share_storage.h"

#include <errno.h>

static const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = false };

int sde_mpi_zarr_storage_create(struct sde_storage **out, MPI_Comm comm,
				const char *save_directory,
				const struct sde_ensemble *local_ensemble,
				const struct sde_zarr_options *options, struct sde_error *error)
{
	struct sde__accord accord;
	const int ret = sde__mpi_accord(&accord, comm, error);

	if (ret)
		return ret;
	return sde__share_create(out, &accord, save_directory, local_ensemble, options, &hooks,
				 error);
}

int sde_mpi_zarr_storage_resume(struct sde_storage **out, MPI_Comm comm,
				const char *save_directory,
				const struct sde_ensemble *local_ensemble,
				const struct sde_zarr_options *options, struct sde_error *error)
{
	struct sde__accord accord;
	const int ret = sde__mpi_accord(&accord, comm, error);

	if (ret)
		return ret;
	return sde__share_resume(out, &accord, save_directory, local_ensemble, options, &hooks,
				 error);
}

static int read_geometry(const char *path, struct sde__geometry *geometry, struct sde_error *error)
{
	struct sde__metadata metadata = { 0 };
	struct sde__home home;
	int ret;

	if (!path || !*path)
		return sde__fail(error, -EINVAL, "no path given");
	sde__home_init(&home, hooks.io);
	ret = sde__home_open(&home, path, error);
	if (!ret)
		ret = sde__documents_read(&home, &metadata, error);
	*geometry = metadata.geometry;
	sde__metadata_clear(&metadata);
	sde__home_close(&home);
	return ret;
}

int sde_mpi_store_partition(const char *path, MPI_Comm comm, uint64_t *first, uint64_t *count,
			    struct sde_error *error)
{
	const struct sde__accord accord = sde__mpi_borrow(&comm);
	struct sde__geometry g = { 0 };
	struct sde_error own = { 0 };
	struct sde__alike store;
	uint64_t width;
	int ret;

	if (!first || !count)
		sde__fail(&own, -EINVAL, "no place for the partition");
	else
		read_geometry(path, &g, &own);
	ret = sde__accord_agree(&accord, &own, error);
	if (ret)
		return ret;
	store = (struct sde__alike){ "store under that name",
				     g.column_width ? g.column_width : g.trajectories };
	ret = sde__accord_alike(&accord, &store, 1, SDE_E_MISMATCH, error);
	if (ret)
		return ret;
	width = store.value;
	sde__share_partition(sde__column_count(&g), accord.rank, accord.size, first, count);
	*first *= width;
	if (*first > g.trajectories)
		*first = g.trajectories;
	*count *= width;
	if (*count > g.trajectories - *first)
		*count = g.trajectories - *first;
	return 0;
}
