/* SPDX-License-Identifier: MIT */
/*
 * Everything a user may do with a store that somebody else has damaged: open it and
 * read all there is, or resume it, store, truncate and close. Whatever comes must be
 * an error with its sentence, or right. Nothing is held when it is done.
 */
#ifndef SDE_TESTS_FUZZ_EXERCISE_H
#define SDE_TESTS_FUZZ_EXERCISE_H

#include "template.h"

enum exercise_what { EXERCISE_TIME, EXERCISE_ITERATION, EXERCISE_DATA };

/* What is known of the store's values. Zeros: nothing. */
struct exercise {
	const struct template *expect;
	/* for a snapshot of `expect`: is it right if its reading succeeds ... */
	bool (*is_right)(const void *ctx, enum exercise_what what, uint64_t snapshot);
	/* ... and must that succeed, if the store opens? */
	bool (*must_be_read)(const void *ctx, enum exercise_what what, uint64_t snapshot);
	const void *ctx;
	bool must_open;
	enum sde_ring ring;
};

/* Read-only: fs is not changed. */
void exercise_read(struct memory_io *fs, const struct exercise *exercise);

/* Returns 0 if all of it succeeded, the snapshots then being in *snapshots. */
int exercise_resume(struct memory_io *fs, const struct exercise *exercise, uint64_t *snapshots);

/* A store that was resumed and closed without a complaint: it opens, has them all, and
 * the last is what exercise_resume stored. */
void exercise_look(struct memory_io *fs, uint64_t snapshots);

/* An opened storage of any kind: every reading call. Does not close it. */
void exercise_storage(struct sde_storage *storage, const struct exercise *exercise);

/* The bytes in memory that a store of these files justifies, 8 times its files
 * not among them (fuzz_budget_begin): what is compressed may grow by 255. */
uint64_t exercise_budget(const struct memory_io *fs);

#endif
