/* SPDX-License-Identifier: MIT */
/*
 * sdestore for MPI programs: libsdestore-mpi, the only part that links MPI.
 *
 * Functions with a communicator are collective: every rank of it calls them, in
 * the same order, with what the comment says must be alike. They agree on errors:
 * every rank gets the same code and the same sentence, which names the rank that
 * failed, so that no rank goes on while another waits. MPI is initialized by the
 * program, with MPI_THREAD_FUNNELED or more; these functions are called by the
 * thread that called MPI_Init. Nothing here calls MPI_Abort.
 */
#ifndef SDESTORE_MPI_H
#define SDESTORE_MPI_H

#include <sdestore.h>

/* bindings of C++ that nobody uses any more would need a C++ library */
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* PySDE's MPI_LOADED: 1 between MPI_Init and MPI_Finalize, else 0. Not collective. */
int sde_mpi_available(void);

/*
 * Make the directory `path` and its parents: rank 0 does, the others wait until
 * it is there and they see it. `path` is alike on all ranks. -errno; -EINVAL.
 */
int sde_mpi_create_directory(MPI_Comm comm, const char *path, struct sde_error *error);

/*
 * PySDE's avoid_race_condition: fill in make_directory and make_directory_ctx, so
 * that a storage of each rank's own (sde_mpi_storage_name) has its parent directory
 * made by rank 0. The create that is given these options is collective over comm
 * then, as far as making the directory goes. comm must outlive it.
 */
void sde_mpi_avoid_race_condition(MPI_Comm comm, struct sde_zarr_options *options);
void sde_mpi_avoid_race_condition_numpy(MPI_Comm comm, struct sde_numpy_options *options);

/*
 * The name PySDE gives a rank's own store: "<stem>_p<rank><suffix>", so
 * "out/run.zarr" becomes "out/run_p3.zarr". What counts as a suffix is what counts
 * for Python's pathlib: from the last dot of the last component on, unless that
 * begins or ends with it. Writes at most `size` bytes, the final 0 among them;
 * -ERANGE if they are too few, -EINVAL without a name or with a negative rank. Not
 * collective.
 */
int sde_mpi_storage_name(const char *path, int rank, char *out, size_t size);

/*
 * PySDE's partition of N trajectories: floor(N / size) for each rank, and the rest
 * to the last one as well. Not collective. -EINVAL for a rank that is not in
 * 0 .. size - 1.
 */
int sde_mpi_partition(uint64_t trajectories, int size, int rank, uint64_t *first,
		      uint64_t *count);

/*
 * A partition whose slices, but for the last, are of one width that is a multiple
 * of n (`multiple`, at least 1), as narrow as that allows: what suits
 * trajectories_per_chunk = n best. Ranks at the end may get fewer or none. Not
 * collective. -EINVAL as above, and for sizes that overflow.
 */
int sde_mpi_partition_aligned(uint64_t trajectories, uint64_t multiple, int size, int rank,
			      uint64_t *first, uint64_t *count);

#ifdef __cplusplus
}
#endif

#endif /* SDESTORE_MPI_H */
