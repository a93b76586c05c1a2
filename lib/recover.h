/* SPDX-License-Identifier: MIT */
/*
 * Recovery, the acting half: publish what a dead run left in its ring.
 *
 * Afterwards the files hold everything that assess.h found, and the ring has
 * nothing that they lack; it is the caller's to lay a new one. May be killed at
 * any instant and begun again: until the new files are in place the old ring is
 * untouched, and what was written twice is the same.
 */
#ifndef SDE_LIB_RECOVER_H
#define SDE_LIB_RECOVER_H

#include "reader.h"
#include "zarr_config.h"

/*
 * Publish reader->snapshots snapshots; config->metadata.snapshots becomes that.
 * Removes leftovers of a killed run: temporary files, chunk files behind the
 * last snapshot. SDE_E_HOLE if a chunk file in the middle is missing.
 */
int sde__recover(struct sde__reader *reader, struct sde__zarr_config *config,
		 struct sde_error *error);

/*
 * The publishing alone, also around a chunk that is missing, and of that the first half,
 * the chunk files: for repair, which looks after the blocks of times in between.
 */
int sde__recover_chunks(struct sde__reader *reader, struct sde__zarr_config *config,
			struct sde_error *error);
int sde__recover_publish(struct sde__reader *reader, struct sde__zarr_config *config,
			 struct sde_error *error);

/*
 * All of it in two steps, for a store of columns: the files of one column (its reader
 * limited to what all of them have; what is behind that is removed, durably), and, when
 * all have theirs, the times by the reader of any of them and the documents.
 * config->layout is the column's, config->metadata the store's.
 */
int sde__recover_column(struct sde__reader *reader, struct sde__zarr_config *config,
			struct sde_error *error);
int sde__recover_documents(struct sde__reader *reader, struct sde__zarr_config *config,
			   struct sde_error *error);

#endif
