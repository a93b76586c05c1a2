/* SPDX-License-Identifier: MIT */
/*
 * The last snapshot as it was stored, wherever that is still known: what an
 * integrator goes on from.
 *
 *	lossless store		chunk file or ring, like any other value
 *	keepbits		the ring's slot, if the ring is believed and the slot
 *				did not come back from a chunk file itself;
 *				else data/.restart (restart.h), if it has this
 *				snapshot and its numbers, rounded, are the chunk
 *				file's; else the chunk file's rounded ones, and
 *				that is said
 */
#ifndef SDE_LIB_LAST_H
#define SDE_LIB_LAST_H

#include "reader.h"
#include "restart.h"

/*
 * The numbers of the reader's last snapshot (it has one) into `payload`, in the
 * order of `layout`, whose geometry is the store's. *exact: they are those that
 * were stored.
 */
int sde__last_read(struct sde__reader *reader, const struct sde__slot_layout *layout,
		   void *payload, bool *exact, struct sde_error *error);

/*
 * Put what only the ring has into data/.restart, before the ring goes: nothing is
 * done unless the store rounds and the ring has the last snapshot exactly.
 */
int sde__last_keep(struct sde__reader *reader, const struct sde__slot_layout *layout,
		   bool durable, struct sde_error *error);

#endif
