/* SPDX-License-Identifier: MIT */
/*
 * The four metadata documents in a store's directories: when which is written.
 *
 * A growing store writes time, iteration, data, then the root; a shrinking one
 * the other way round, the root first. So the root, which has the consolidated
 * metadata, `snapshots` and `epoch`, never claims more than the arrays do, and
 * it alone decides what is published. Every document is replaced by rename.
 */
#ifndef SDE_LIB_DOCUMENTS_H
#define SDE_LIB_DOCUMENTS_H

#include "home.h"
#include "metadata.h"

int sde__documents_write(const struct sde__home *home, const struct sde__metadata *metadata,
			 bool shrinking, bool durable, struct sde_error *error);

/*
 * Read and check the root's and data's; tries again when a writer replaced them
 * meanwhile. home needs only its root open. SDE_E_NOT_STORE, SDE_E_VERSION,
 * SDE_E_CORRUPT, -errno.
 */
int sde__documents_read(const struct sde__home *home, struct sde__metadata *metadata,
			struct sde_error *error);

#endif
