/* SPDX-License-Identifier: MIT */
/*
 * An open .npz file whose arrays are read: shared by the storage and all arrays of
 * it, and there as long as one of them is. What is inflated of it into memory, or
 * mapped, is so once for all.
 *
 * Threads: all calls at any time.
 */
#ifndef SDE_LIB_NPZ_FILE_H
#define SDE_LIB_NPZ_FILE_H

#include "array.h"
#include "npz_reader.h"

#include <pthread.h>

struct sde__npz_file {
	const struct sde__io *io;
	struct sde__npz_reader *reader;
	const struct sde__npz_array *data;
	char *path;
	size_t item;
	uint64_t dimension, trajectories, snapshots;
	uint64_t snapshot_bytes;
	unsigned references;		/* atomic */
	/* Members in memory: NULL, and once more set under the lock. */
	pthread_mutex_t lock;
	void *whole[SDE__NPZ_MEMBERS];
	void *map;
	size_t map_size;
};


/* With one reference. Errors: what npz_reader.h says of opening; -ENOMEM. */
int sde__npz_file_open(struct sde__npz_file **out, const struct sde__io *io, const char *path,
		       struct sde_error *error);

void sde__npz_file_ref(struct sde__npz_file *npz);
/* The last one closes it. Of type void *: what a handle is released by. */
void sde__npz_file_unref(void *npz);

/* A member's numbers, of which there are some, in memory until the file is closed. */
int sde__npz_file_hold(struct sde__npz_file *npz, enum sde__npz_member member, const void **out,
		       struct sde_error *error);
/* What sde__npz_file_hold has loaded before, or NULL. */
const void *sde__npz_file_held(struct sde__npz_file *npz, enum sde__npz_member member);

/* All of the file mapped: where `data`, which is stored and aligned, begins. */
int sde__npz_file_map(struct sde__npz_file *npz, const void **base, struct sde_error *error);

/* A handle over data, (d_X, N, M). It holds a reference. In npz_data.c. */
int sde__npz_data_new(struct sde__npz_file *npz, struct sde_array **out,
		      struct sde_error *error);

#endif
