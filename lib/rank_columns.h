/* SPDX-License-Identifier: MIT */
/*
 * A store of several columns, read: a reader for each, and what they have in common.
 *
 * A snapshot is in the store when all columns have it: M is the minimum over them,
 * wherever each has its newest ones, in files or in its ring. A writer that died left
 * its columns at different lengths, and the longest common prefix is what resume takes.
 * A state belongs to a column; the whole store shows that of the first.
 */
#ifndef SDE_LIB_RANK_COLUMNS_H
#define SDE_LIB_RANK_COLUMNS_H

#include "reader.h"

/*
 * A reader of `count` columns from `first` on, of the store that `home` is the entered
 * home of, and `metadata` the metadata: a view of these alone, with their trajectories.
 * home and what metadata owns must outlive it. Otherwise as assess.h.
 */
struct sde__columns_ask {
	const struct sde__home *home;
	const struct sde__metadata *metadata;
	const unsigned char *run;
	uint64_t first, count;
	bool locked_by_us, patient, fill;
	enum sde_ring choice;
	const struct sde__log *log;
};
int sde__columns_open(struct sde__reader *reader, const struct sde__columns_ask *ask,
		      struct sde_error *error);

/* The reader of the first of these alone. */
int sde__columns_open_one(struct sde__reader **out, const struct sde__columns_ask *ask,
			  struct sde_error *error);

/* The same for all columns of a reader whose home is entered: what assess does for one. */
int sde__columns_assess(struct sde__reader *reader, bool locked_by_us, bool patient,
			enum sde_ring choice, const struct sde__log *log, struct sde_error *error);

/*
 * A reader of its own, as if these columns of the store at `home` were all there is. The
 * store is being written by the caller.
 */
int sde__columns_view(struct sde__reader **out, const struct sde__home *home, uint64_t first,
		      uint64_t count, const struct sde__log *log, struct sde_error *error);

void sde__columns_close(struct sde__reader *reader);

#endif
