/* SPDX-License-Identifier: MIT */
/*
 * A cursor from inside: one chunk's file at a time, and what of it is needed. For the
 * files that read through one (cursor.c, cursor_data.c, cursor_slots.c, column.c) or
 * look it over (zarr_verify.c, zarr_repair_blocks.c). Declared in reader.h, which is
 * for everybody else.
 *
 * Where a call fails with damage, cursor->file.cause says of what kind it is.
 */
#ifndef SDE_LIB_CURSOR_H
#define SDE_LIB_CURSOR_H

#include "reader.h"

#define SDE__NO_CHUNK UINT64_MAX

/* Open chunk `chunk`'s file, which must hold its first `count` snapshots. */
int sde__cursor_open(struct sde__cursor *cursor, uint64_t chunk, uint64_t count,
		     struct sde_error *error);

/* Is it open, and does it? */
bool sde__cursor_is_open(const struct sde__cursor *cursor, uint64_t chunk, uint64_t count);

/* Of the open file: read the side table. */
int sde__cursor_side(struct sde__cursor *cursor, struct sde_error *error);

/*
 * Of the open file: inner chunk `inner` if it is kept, to read `numbers` of it in a way
 * that `order` suits. In the other order, too, until so many were read of it that they
 * have cost as much as to decode it anew; then, or if there is none, NULL.
 */
const struct sde__kept *sde__cursor_kept(struct sde__cursor *cursor, uint64_t inner,
					 enum sde__inner_order order, uint64_t numbers);

/* Decode it into cursor->kept[inner]. */
int sde__cursor_keep(struct sde__cursor *cursor, uint64_t inner, enum sde__inner_order order,
		     struct sde_error *error);

/*
 * As it is stored, into *raw. If that is NULL, into memory of the cursor, which the next
 * call of this, of keep or of hold may use.
 */
int sde__cursor_pass(struct sde__cursor *cursor, uint64_t inner, void **raw,
		     struct sde_error *error);

/* In the storage's cache, in any order (`order` if it has to be decoded): to be given back. */
int sde__cursor_hold(struct sde__cursor *cursor, uint64_t inner, enum sde__inner_order order,
		     struct sde__chunk_block **out, struct sde_error *error);

/* The store's trajectories in inner chunks inner:inner_end of the open file. */
void sde__cursor_span(const struct sde__cursor *cursor, uint64_t inner, uint64_t inner_end,
		      uint64_t span[2]);

/* SDE_E_STALE if the store was truncated, removed or replaced since the reader was opened. */
int sde__reader_check_stale(struct sde__reader *reader, struct sde_error *error);

#endif
