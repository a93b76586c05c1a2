/* SPDX-License-Identifier: MIT */
/*
 * The data of a store as memory that is filled lazily: what pager.h shows, laid out
 * and decoded.
 *
 * Time is the slowest axis, [m][d][n]: a chunk's T snapshots lie together, and with
 * a few bytes behind each snapshot chunks begin at pages. A unit is one chunk, or as
 * many as make 64 KiB; where those few bytes would be too many (small snapshots and
 * an odd T), units are as large but begin anywhere.
 *
 * An inner chunk that cannot be read becomes NaN in all its numbers; the others of
 * its chunk are right. It is a failure unless the reader fills and the map is not to
 * raise SIGBUS.
 */
#ifndef SDE_LIB_PAGES_H
#define SDE_LIB_PAGES_H

#include "array.h"

struct sde__pages;

/*
 * Takes a reference of the reader. Failures are noted at `array`, what was filled in
 * `holes`; both outlive the pages. The errors of sde__pager_new.
 */
int sde__pages_new(struct sde__pages **out, struct sde__reader *reader, struct sde_array *array,
		   struct sde__holes *holes, const struct sde_map_options *options, size_t budget,
		   int64_t strides[3], struct sde_error *error);

const void *sde__pages_base(const struct sde__pages *pages);

int sde__pages_hold(struct sde__pages *pages, const struct sde__range range[3],
		    enum sde__hold hold, struct sde_error *error);

void sde__pages_free(struct sde__pages *pages);		/* accepts NULL */

/* The bytes from one snapshot to the next, and the unit: for a page of `page` bytes. */
void sde__pages_layout(const struct sde__geometry *geometry, size_t page, uint64_t *stride,
		       uint64_t *unit);

#endif
