/* SPDX-License-Identifier: MIT */
/*
 * What zarr_repair.c (the order of things) and zarr_repair_blocks.c (one of them) share.
 * Nobody else includes this.
 */
#ifndef SDE_LIB_ZARR_REPAIR_STATE_H
#define SDE_LIB_ZARR_REPAIR_STATE_H

#include "zarr_config.h"
#include "zarr_storage.h"

struct sde__repair {
	const struct sde__io *io;
	struct sde_repair_options options;
	struct sde__log log;
	struct sde__home home;
	bool had_ring;			/* data/.ring was there before we came */
	struct sde__zarr_config config;
	struct sde__reader *reader;
	bool publishable, discarded;
	uint64_t found;			/* snapshots, the ring's included */
	unsigned steps;
	struct sde_error lost;		/* the first */
};

/* Tell of a step that is about snapshots first:end. */
void sde__repair_tell(struct sde__repair *r, enum sde_repair_action action, uint64_t first,
		      uint64_t end, const char *file, const char *text);

/*
 * Write each block of times and iteration numbers that lacks what side tables of the
 * published chunks have. What neither has stays lost.
 */
int sde__repair_blocks(struct sde__repair *r, struct sde_error *error);

#endif
