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

/*
 * One store of all ranks, whose data is (d_X, N, M) with N the sum of the ranks'
 * trajectories, in the order of the ranks. local_ensemble is this rank's: dimension and
 * dtype are alike, and each rank's trajectories begin on a multiple of those of rank 0, as
 * both partitions above give them (a rank may have 0, but not rank 0). Rank 0's number
 * is the width W of a column: a chunk is one file for each column. save_directory and
 * options are alike, but for layout, segments and threads. zarr_format 2 is refused.
 *
 * trajectories_per_chunk must divide W; its default is the divisor near 512 KiB, or all
 * of W if it has none (sdestore-mpi(7)).
 *
 * The storage is used like any other. store, reserve, commit, set_state, state, sync,
 * info, values, iterations, verify and error are this rank's own business, and know its
 * own trajectories: values are (d_X, local N, M). save, truncate and close are collective.
 * All ranks store the same times and iteration numbers: save and close give
 * SDE_E_MISMATCH where they have not. A rank without trajectories calls store all the
 * same, with any pointer that is not NULL. The storage must be closed before MPI_Finalize.
 *
 * What a failed collective call returns is alike on all ranks, and its sentence begins
 * with the rank that failed. Codes as for sde_zarr_storage_create; SDE_E_UNSUPPORTED
 * outside MPI_Init and MPI_Finalize.
 */
int sde_mpi_zarr_storage_create(struct sde_storage **out, MPI_Comm comm,
				const char *save_directory,
				const struct sde_ensemble *local_ensemble,
				const struct sde_zarr_options *options,
				struct sde_error *error);

/*
 * Go on with such a store (or any other of format 3), with as many ranks as there are. All
 * ranks go on behind the last snapshot that all columns have. local_ensemble NULL: what
 * sde_mpi_store_partition says; else the ranks' trajectories must be whole columns of the
 * store, and all of them: -EINVAL or SDE_E_MISMATCH. SDE_E_MISMATCH, too, if ranks see
 * different stores under that name. Otherwise as sde_zarr_storage_resume and create.
 */
int sde_mpi_zarr_storage_resume(struct sde_storage **out, MPI_Comm comm,
				const char *save_directory,
				const struct sde_ensemble *local_ensemble,
				const struct sde_zarr_options *options,
				struct sde_error *error);

/*
 * Collective: which trajectories of the store at `path` are this rank's on resume. The
 * columns that the store has are dealt out in order, equal numbers of them; with more
 * ranks than columns some get none.
 */
int sde_mpi_store_partition(const char *path, MPI_Comm comm, uint64_t *first, uint64_t *count,
			    struct sde_error *error);

#ifdef __cplusplus
}
#endif

#endif /* SDESTORE_MPI_H */
