/* SPDX-License-Identifier: MIT */
/*
 * The one-dimensional arrays `time` and `iteration`: 8-byte numbers in files of
 * 8192 (SDE__TIME_BLOCK), padded with the fill value. Numbers are handled as
 * their 64 bits.
 *
 *	format 3	time/c/<j>	the numbers, then their CRC-32C
 *	format 2	time/<j>	the numbers
 *
 * The writer keeps the numbers of the block that is still growing in memory;
 * full blocks are written at once, the growing one by flush. Nothing is ever
 * changed below what was flushed, so a block that is ahead of the array's
 * shape harms no one.
 */
#ifndef SDE_LIB_SERIES_H
#define SDE_LIB_SERIES_H

#include "home.h"
#include "metadata.h"

enum sde__column { SDE__COLUMN_TIME, SDE__COLUMN_ITERATION };

/* Where the blocks of one of them are. */
struct sde__series_files {
	const struct sde__io *io;
	int dir;			/* not owned */
	const char *place;		/* for sentences: "time/c" */
	uint64_t fill;			/* NaN, or -1 */
	bool checksum;
};

struct sde__series_files sde__series_files(const struct sde__home *home,
					   enum sde__column column);

struct sde__series {
	struct sde__series_files files;
	uint64_t count;			/* numbers so far */
	uint64_t written;		/* of which the files have */
	bool durable;
	uint64_t block[SDE__TIME_BLOCK];
};

#define SDE__SERIES_TIME_FILL UINT64_C(0x7ff8000000000000)	/* NaN */
#define SDE__SERIES_ITERATION_FILL UINT64_MAX			/* -1 */

/*
 * Start with `count` numbers, those of the last block read back from its file
 * (if it is incomplete).
 */
int sde__series_open(struct sde__series *series, const struct sde__series_files *files,
		     uint64_t count, bool durable, struct sde_error *error);

int sde__series_append(struct sde__series *series, uint64_t bits, struct sde_error *error);

/* Everything so far is in the files, and on the device if durable. */
int sde__series_flush(struct sde__series *series, struct sde_error *error);

/*
 * Read block j of any such array: SDE__TIME_BLOCK numbers into out.
 * SDE_E_HOLE, SDE_E_CORRUPT; `cause` (may be NULL) says why.
 */
int sde__series_read_block(const struct sde__series_files *files, uint64_t block, uint64_t *out,
			   enum sde_cause *cause, struct sde_error *error);

/* Put block j in place, whole: what is restored, not what grows. */
int sde__series_write_block(const struct sde__series_files *files, uint64_t block,
			    const uint64_t *numbers, bool durable, struct sde_error *error);

#endif
