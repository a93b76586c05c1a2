/* SPDX-License-Identifier: MIT */
/*
 * data/.restart: the exact numbers of one snapshot, the last one when it was written.
 * Of a store of several columns each has its own, data/.restart.<c>.
 *
 * Where chunk files hold rounded numbers (keepbits) they cannot give back the
 * state that an integrator would go on from. The ring can, until it is removed;
 * this file takes over then. It is replaced, never written in place, and says whose
 * and which snapshot it has: it counts only for that one, of that epoch.
 *
 *	offset	size		(little-endian)
 *	0	8	magic "SDELAST\n"
 *	8	4	version, 1
 *	12	4	dtype: 0 float64, 1 float32
 *	16	16	run id
 *	32	8	epoch
 *	40	8	index of the snapshot
 *	48	8	d N item, bytes of the numbers
 *	56	4	order of the numbers: 1 [d][n], 2 [n][d]
 *	60	4	zero
 *	64	...	the numbers
 *	...	4	CRC-32C of all before
 *
 * Other programs need not know of it: a Zarr reader never looks here.
 */
#ifndef SDE_LIB_RESTART_H
#define SDE_LIB_RESTART_H

#include "home.h"
#include "slot.h"

#define SDE__RESTART_HEAD 64

/* Whose snapshot, and which. */
struct sde__restart {
	unsigned char run[16];
	uint64_t epoch;
	uint64_t index;
};

/*
 * Put `payload`, in the order that the layout says, in place of what was there.
 * Durable when it returns 0 if `durable`.
 */
int sde__restart_write(const struct sde__home *home, const struct sde__restart *restart,
		       const struct sde__slot_layout *layout, const void *payload, bool durable,
		       struct sde_error *error);

/*
 * The numbers of that snapshot into `payload`, in the layout's order. 0: they are
 * there; 1: the file is missing, or has another snapshot's. SDE_E_CORRUPT with a
 * sentence, SDE_E_VERSION, -errno.
 */
int sde__restart_read(const struct sde__home *home, const struct sde__restart *restart,
		      const struct sde__slot_layout *layout, void *payload,
		      struct sde_error *error);

/* Remove it; what is not there is fine. */
int sde__restart_remove(const struct sde__home *home, bool durable, struct sde_error *error);

/* Remove what a killed writer of it left behind. */
int sde__restart_tidy(const struct sde__home *home, struct sde_error *error);

#endif
