/* SPDX-License-Identifier: MIT */
/*
 * The metadata documents in a store's directories: when which is written.
 *
 * A growing store writes time, iteration, data, then the root, in format 2 then
 * the consolidated metadata; a shrinking one the other way round. So the root,
 * which has `snapshots` and `epoch`, never claims more than the arrays do, and
 * the consolidated metadata, in format 3 a part of the root, not more than it.
 * The root alone decides what is published. Every document is replaced by
 * rename.
 */
#ifndef SDE_LIB_DOCUMENTS_H
#define SDE_LIB_DOCUMENTS_H

#include "home.h"
#include "metadata.h"

/* All of a new store, those that never change first. */
int sde__documents_create(const struct sde__home *home, const struct sde__metadata *metadata,
			  bool durable, struct sde_error *error);

/* Those that change with its length. */
int sde__documents_write(const struct sde__home *home, const struct sde__metadata *metadata,
			 bool shrinking, bool durable, struct sde_error *error);

/*
 * Read and check the root's and data's; tries again when a writer replaced them
 * meanwhile. home needs only its format and its root open. SDE_E_NOT_STORE,
 * SDE_E_VERSION, SDE_E_CORRUPT, -errno.
 */
int sde__documents_read(const struct sde__home *home, struct sde__metadata *metadata,
			struct sde_error *error);

/* The root document as it is, malloc'd: whether it was replaced can be told by it. */
int sde__documents_read_root(const struct sde__home *home, char **bytes, size_t *size,
			     struct sde_error *error);

#endif
