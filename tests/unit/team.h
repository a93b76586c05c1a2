/* SPDX-License-Identifier: MIT */
/*
 * Several writers of one store in one process: a team of threads, each a rank, which
 * agree by an accord of barriers. What a rank stores is a function of the place alone
 * (team_value), so that every number read from anywhere can be judged.
 *
 * A rank's thread must not use cmocka's assertions: TEAM_CHECK aborts. A team that
 * hangs is ended by an alarm.
 */
#ifndef SDE_TESTS_UNIT_TEAM_H
#define SDE_TESTS_UNIT_TEAM_H

#include "share_storage.h"

#define TEAM_CHECK(condition, ...) \
	do { \
		if (!(condition)) \
			team_die(__FILE__, __LINE__, #condition, __VA_ARGS__); \
	} while (0)
void team_die(const char *file, int line, const char *condition, const char *format, ...)
	SDE__PRINTF(4, 5);

#define TEAM_MAX 16

struct team;

/* What one rank sees. */
struct team_rank {
	struct team *team;
	struct sde__accord accord;
	void *ctx;			/* of the test */
	int rank;
};

/* Run `work` in `size` threads, a rank each, until all return. */
void team_run(int size, void (*work)(struct team_rank *), void *ctx);

/*
 * The same in a child, which is gone afterwards: as if it were killed. `work` has to
 * end the process, by _exit(0), on one rank at least.
 */
void team_run_and_die(int size, void (*work)(struct team_rank *), void *ctx);

/* Wait for the others, within work. */
void team_meet(struct team_rank *rank);

/* Component d, trajectory n (of all), snapshot m, as written in life `life`. */
double team_value(uint64_t d, uint64_t n, uint64_t m, unsigned life);
double team_time(uint64_t m);

/* Store snapshot m of a rank's slice, in [d][n]. */
int team_store(struct sde_storage *storage, const struct sde_ensemble *local, uint64_t first,
	       uint64_t m, unsigned life);

/*
 * All of the store at `path`, opened without a team: M snapshots of which those from
 * since[i] on are of life i (lives of them).
 */
void team_check_path(const char *path, const struct sde_ensemble *all, uint64_t snapshots,
		     const uint64_t *since, unsigned lives);

#endif
