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

/* Of the open file: decode inner chunk `inner` into cursor->inner; read the side table. */
int sde__cursor_inner(struct sde__cursor *cursor, uint64_t inner, struct sde_error *error);
int sde__cursor_side(struct sde__cursor *cursor, struct sde_error *error);

/* Decode it in the storage's cache: a block to be given back. */
int sde__cursor_hold(struct sde__cursor *cursor, uint64_t inner, struct sde__chunk_block **out,
		     struct sde_error *error);

/* The store's trajectories in inner chunks inner:inner_end of the open file. */
void sde__cursor_span(const struct sde__cursor *cursor, uint64_t inner, uint64_t inner_end,
		      uint64_t span[2]);

/* SDE_E_STALE if the store was truncated, removed or replaced since the reader was opened. */
int sde__reader_check_stale(struct sde__reader *reader, struct sde_error *error);

#endif
