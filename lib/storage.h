/* SPDX-License-Identifier: MIT */
/*
 * The base of all storages: what sde_storage_derive makes.
 */
#ifndef SDE_LIB_STORAGE_H
#define SDE_LIB_STORAGE_H

#include "error.h"

#include <sdestore/backend.h>

/* Free a storage without closing its backend: for a constructor that failed later. */
void sde__storage_disown(struct sde_storage *storage);

#endif
