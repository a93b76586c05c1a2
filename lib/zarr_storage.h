/* SPDX-License-Identifier: MIT */
/*
 * The Zarr backend: entered by sde_storage_derive like any other.
 *
 * The functions here are the public constructors with two things exposed that
 * tests need: the io table, and the synchronous mode, in which no thread is
 * started and every step is taken on the caller's, in the same order each time.
 */
#ifndef SDE_LIB_ZARR_STORAGE_H
#define SDE_LIB_ZARR_STORAGE_H

#include "io.h"
#include "reader.h"

#include <sdestore/backend.h>

struct sde__publisher;

struct sde__zarr_hooks {
	const struct sde__io *io;
	bool synchronous;
	/* NULL, or where the publisher is told: its steps can then be taken at other
	 * moments than the producer's waits. Valid until close */
	struct sde__publisher **publisher;
};

int sde__zarr_create(struct sde_storage **out, const char *save_directory,
		     const struct sde_ensemble *ensemble, const struct sde_zarr_options *options,
		     const struct sde__zarr_hooks *hooks, struct sde_error *error);
int sde__zarr_resume(struct sde_storage **out, const char *save_directory,
		     const struct sde_zarr_options *options,
		     const struct sde__zarr_hooks *hooks, struct sde_error *error);
int sde__zarr_open(struct sde_storage **out, const char *path,
		   const struct sde_open_options *options,
		   const struct sde__zarr_hooks *hooks, struct sde_error *error);

int sde__zarr_repair(const char *path, const struct sde_repair_options *options,
		     const struct sde__io *io, struct sde_error *error);

/* What writer and read-only storage have in common (zarr_view.c). */
int sde__zarr_view_values(struct sde__reader *reader, struct sde_array **time,
			  struct sde_array **data, struct sde_error *error);
int sde__zarr_view_iterations(struct sde__reader *reader, struct sde_array **iteration,
			      struct sde_error *error);
/* what was taken before a failure is the caller's to close */
int sde__zarr_view_arrays(struct sde__reader *reader, struct sde_array **time,
			  struct sde_array **data, struct sde_array **iteration,
			  struct sde_error *error);
int sde__zarr_view_verify(struct sde__reader *reader, const struct sde_verify *verify,
			  struct sde_error *error);
/* The same without decoding: whether files are there, and say what they are. */
int sde__zarr_view_survey(struct sde__reader *reader, const struct sde_verify *verify,
			  struct sde_error *error);
/* time, iteration number and state of the last snapshot; there is one */
int sde__zarr_view_moment(struct sde__reader *reader, uint64_t index, double *time,
			  int64_t *iteration, struct sde_error *error);
int sde__zarr_view_state(struct sde__reader *reader, uint64_t index, void *bytes, size_t *n,
			 struct sde_error *error);
/* The fields that the metadata alone decides. */
void sde__zarr_view_info(const struct sde__metadata *metadata, struct sde_storage_info *info);

#endif
