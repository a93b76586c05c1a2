/* SPDX-License-Identifier: MIT */
/*
 * Recovery, the judging half: how many snapshots does a store hold?
 *
 * The answer is the longest prefix of what was stored, from three witnesses:
 *
 *	root document	`snapshots` p of epoch e: durable and complete
 *	chunk files	behind p, as long as each one is there, belongs to this
 *			run and epoch, and the one before it is complete: f
 *	ring		of this run and epoch, up to what it can be believed
 *			(ring_reader.h), if it reaches back to f without a gap
 *
 * A chunk file of an older epoch counts only as far as p: truncate leaves a
 * chunk that is longer than the store until it has grown again.
 *
 * A gap between files and ring means that a sealed chunk file has been lost: an
 * error, because to take the prefix would lose what is in the ring as well; to a
 * reader that fills, a hole like others.
 *
 * A damaged file of the incomplete last chunk is made good by the ring, if that has all
 * of the chunk. Else it is an error to who recovers, and to a reader a hole.
 *
 * Nothing is changed here, and it may be asked of a store that is running.
 */
#ifndef SDE_LIB_ASSESS_H
#define SDE_LIB_ASSESS_H

#include "reader.h"

/*
 * Attach the ring and find reader->filed, ringed, snapshots, ignored, state. The reader's
 * home is entered and its metadata read. With `locked_by_us`, SDE_E_HOLE or
 * SDE_E_CORRUPT if the incomplete last chunk is missing or damaged. `patient`: SDE_E_STALE when a running writer's ring and the
 * metadata are of different epochs, because it is truncating right now; else
 * such a ring is ignored.
 */
int sde__assess(struct sde__reader *reader, bool locked_by_us, bool patient, enum sde_ring choice,
		const struct sde__log *log, struct sde_error *error);

#endif
