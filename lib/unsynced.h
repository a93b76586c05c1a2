/* SPDX-License-Identifier: MIT */
/*
 * data/.unsynced: files of this store were written, and never synced.
 *
 * A run under the policy none leaves files of which nobody knows whether the device
 * has them. A later run under another policy promises what it finds: so whoever
 * writes without syncs puts this file there first, and whoever resumes with them makes
 * everything durable before it builds on it, and removes the file. It is empty; that it
 * is there is all it says.
 *
 * It is itself not synced: after a power loss what is left of the store is what the
 * device has, whether this file is among it or not.
 */
#ifndef SDE_LIB_UNSYNCED_H
#define SDE_LIB_UNSYNCED_H

#include "home.h"

/* From now on files may be written without syncs. */
int sde__unsynced_mark(const struct sde__home *home, struct sde_error *error);

/*
 * If some were: fsync of every file and directory of the store but its ring's, which
 * who reads it syncs by itself. Nothing is done where there is no mark.
 */
int sde__unsynced_settle(const struct sde__home *home, struct sde_error *error);

/*
 * Of one column of several the mark stays, until all of them have come so far: then it
 * is removed by this. What is not there is fine.
 */
int sde__unsynced_forget(const struct sde__home *home, struct sde_error *error);

#endif
