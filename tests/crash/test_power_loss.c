/* SPDX-License-Identifier: MIT */
/*
 * Promises 1, 2 and 3 in a file system that forgets: runs of the library are
 * crashed at every event, in all the ways of sim_fs.h, and what is found after it
 * is compared with what had returned.
 *
 * Environment: SDE_TEST_SEED is the first run's seed, SDE_TEST_STATES the number of
 * states for all tests together (40,000; 6,000 with a sanitizer; 2,000,000
 * with SDE_TEST_LONG). SDE_TEST_STATE, with the seed, repeats the one state that a
 * failure names ("random:367"), or, without a number, runs one kind of runs only
 * ("random:"). SDE_TEST_EXPORT writes some states to a directory: see sim_sample.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sim_run.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STATES 6000
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STATES 6000
#endif
#endif
#ifndef STATES
#define STATES 40000
#endif
#define STATES_LONG 2000000

static uint64_t first_seed, all_states;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Runs of one kind until it has its share, in percent, of the states: all, if wanted. */
static void runs(const struct sim_kind *kind, unsigned percent)
{
	const char *wanted = getenv("SDE_TEST_STATE");
	const uint64_t share = wanted ? all_states : all_states * percent / 100;
	const uint64_t before = sim_totals.states;
	const double start = now();
	uint64_t seed = first_seed;

	if (wanted && (strncmp(wanted, kind->name, strlen(kind->name)) != 0 ||
		       wanted[strlen(kind->name)] != ':'))
		return;
	do {
		sim_run(kind, seed++, share - (sim_totals.states - before));
	} while (sim_totals.states - before < share && !(wanted && strchr(wanted, ':')[1]));
	print_message("# %s: seeds %" PRIu64 " to %" PRIu64 ", %" PRIu64 " states, %.1f s\n",
		      kind->name, first_seed, seed - 1, sim_totals.states - before, now() - start);
}

static void the_script_survives_every_crash(void **state)
{
	static const struct sim_kind kind = { "script", 3, SDE_SYNC_DEFAULT, 0, 1, 60, false };

	(void)state;
	runs(&kind, 10);
}

static void the_script_survives_every_crash_in_format_2(void **state)
{
	static const struct sim_kind kind = { "script2", 2, SDE_SYNC_DEFAULT, 0, 1, 60, false };

	(void)state;
	runs(&kind, 10);
}

static void a_long_random_life_survives_every_crash(void **state)
{
	static const struct sim_kind kind = { "random", 3, SDE_SYNC_DEFAULT, 60, 6, 60, false };

	(void)state;
	runs(&kind, 14);
}

static void a_long_random_life_survives_every_crash_in_format_2(void **state)
{
	static const struct sim_kind kind = { "random2", 2, SDE_SYNC_DEFAULT, 60, 6, 60, false };

	(void)state;
	runs(&kind, 22);
}

/* Of a life's first moments there is only one each: many short lives. */
static void a_store_that_has_just_been_made_survives_every_crash(void **state)
{
	static const struct sim_kind kind = { "short", 3, SDE_SYNC_DEFAULT, 2, 1, 60, false };
	static const struct sim_kind kind_2 = { "short2", 2, SDE_SYNC_DEFAULT, 2, 1, 60, false };

	(void)state;
	runs(&kind, 4);
	runs(&kind_2, 4);
}

static void a_recovery_that_is_crashed_is_recovered_again(void **state)
{
	static const struct sim_kind kind = { "nested", 3, SDE_SYNC_DEFAULT, 40, 40, 1, false };
	static const struct sim_kind kind_2 = { "nested2", 2, SDE_SYNC_DEFAULT, 40, 40, 1, false };

	(void)state;
	runs(&kind, 6);
	runs(&kind_2, 6);
}

static void a_failed_sync_costs_nothing_that_returned(void **state)
{
	static const struct sim_kind kind = { "faults", 3, SDE_SYNC_DEFAULT, 60, 6, 100, true };
	static const struct sim_kind kind_2 = { "faults2", 2, SDE_SYNC_DEFAULT, 60, 6, 100, true };

	(void)state;
	runs(&kind, 6);
	runs(&kind_2, 5);
}

static void sync_none_survives_every_kill_and_no_power_loss_breaks_it(void **state)
{
	static const struct sim_kind kind = { "none", 3, SDE_SYNC_NONE, 60, 6, 60, false };
	static const struct sim_kind kind_2 = { "none2", 2, SDE_SYNC_NONE, 60, 6, 60, false };

	(void)state;
	runs(&kind, 3);
	runs(&kind_2, 3);
}

/* Files that a run without syncs has left are made durable by the next one with them. */
static void a_life_that_changes_its_policy_survives_every_crash(void **state)
{
	static const struct sim_kind kind = { "mixed", 3, SIM_SYNC_MIXED, 60, 6, 60, false };
	static const struct sim_kind kind_2 = { "mixed2", 2, SIM_SYNC_MIXED, 60, 6, 60, false };

	(void)state;
	runs(&kind, 4);
	runs(&kind_2, 3);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_script_survives_every_crash),
		cmocka_unit_test(the_script_survives_every_crash_in_format_2),
		cmocka_unit_test(a_long_random_life_survives_every_crash),
		cmocka_unit_test(a_long_random_life_survives_every_crash_in_format_2),
		cmocka_unit_test(a_store_that_has_just_been_made_survives_every_crash),
		cmocka_unit_test(a_recovery_that_is_crashed_is_recovered_again),
		cmocka_unit_test(a_failed_sync_costs_nothing_that_returned),
		cmocka_unit_test(a_life_that_changes_its_policy_survives_every_crash),
		cmocka_unit_test(sync_none_survives_every_kill_and_no_power_loss_breaks_it),
	};
	const struct sim_totals *t = &sim_totals;
	const double start = now();
	int failed;

	first_seed = number_from("SDE_TEST_SEED", 1);
	all_states = number_from("SDE_TEST_STATES", getenv("SDE_TEST_LONG") ? STATES_LONG : STATES);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	printf("# seed %" PRIu64 ", %" PRIu64 " runs, %" PRIu64 " events, %" PRIu64 " states (%" PRIu64
	       " in a recovery), %" PRIu64 " recoveries, %" PRIu64 " read while running, %" PRIu64
	       " failed syncs, %" PRIu64 " crashes gone on from, %" PRIu64 " exported, %.1f s\n",
	       first_seed, t->runs, t->events, t->states, t->nested, t->resumed, t->live,
	       t->faults, t->crashes, t->exported,
	       now() - start);
	for (int i = 0; i < SIM_LOSSES; i++)
		printf("# %s: %" PRIu64 "\n", sim_loss_name[i], t->by_loss[i]);
	return failed;
}
