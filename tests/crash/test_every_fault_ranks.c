/* SPDX-License-Identifier: MIT */
/*
 * Promise 4 for several writers, and memory: of one rank the n-th allocation fails, once,
 * while a team creates a store, replaces one, resumes one that was closed or killed,
 * stores, looks, saves, truncates and closes. (Calls to the system: unit/test_share.)
 * Whatever fails,
 *
 *	what all do together gives the same code on all ranks, and none waits for ever,
 *	the sentence has the rank, and says that memory is out,
 *	the others' own steps do not fail,
 *	no memory is lost,
 *	what every rank's store returned for is there for other ranks that go on,
 *	and of a store that was not created nothing is left, but the one before.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_memory.h"
#include "sanitized.h"
#include "scratch.h"
#include "team.h"
#include "twin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define RANKS 3
#define D 2
#define N 29
#define T 2
#define END (3 * T + 1)		/* snapshots of a store in the end */

/* The first allocation of each place in the program fails, and of the others one in so many. */
#define STEP (SANITIZED ? 2503 : 499)

static const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = true };
/* rank 1 has two columns */
static const uint64_t firsts[RANKS] = { 0, 8, 24 }, counts[RANKS] = { 8, 16, 5 };

/* What all do together in a life. */
enum { BEGIN, SAVE, TRUNCATE, AGAIN, CLOSE, AGREEMENTS };

/* What was there before, and what the team does with it. */
struct form {
	const char *name;
	bool before, crash, resume;	/* a store before, of killed ranks, to go on with */
	unsigned keepbits;
	enum sde_sync sync;
	enum sde_layout layout;		/* of what is stored; before, the default */
};

struct life {
	const struct form *form;
	int rank;			/* whose memory runs out */
	unsigned long n;		/* at which allocation; 0: at none */
	long live;			/* allocations before */
	int ret[AGREEMENTS][RANKS];	/* of what all did together */
	bool replaced;			/* not begun, but what was there is gone, as was said */
	uint64_t had[RANKS], tried[RANKS];	/* snapshots there at least, at most */
};

#define LIFE_CHECK(life, condition, format, ...) \
	TEAM_CHECK(condition, "%s, allocation %lu of rank %d: " format, (life)->form->name, \
		   (life)->n, (life)->rank, __VA_ARGS__)

/* A rank's trajectories, `count` from `first` on. */
struct part {
	uint64_t first, count;
	enum sde_layout layout;
};

/* Where a value of a snapshot stands. */
static uint64_t place(const struct part *part, uint64_t d, uint64_t n)
{
	return part->layout == SDE_LAYOUT_TRAJECTORY_DIMENSION ? n * D + d : d * part->count + n;
}

static int store(struct sde_storage *storage, const struct part *part, uint64_t m)
{
	double x[D * N];

	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < part->count; n++)
			x[place(part, d, n)] = team_value(d, part->first + n, m, 0);
	return sde_storage_store(storage, team_time(m), x, m);
}

/* The sentence of a failure, of which only this life's fault can be the cause. */
static void check_sentence(const struct life *life, bool together, int ret, const char *text)
{
	char who[16];

	if (ret == SDE_E_MISMATCH && strstr(text, "another number of snapshots"))
		return;
	snprintf(who, sizeof(who), "rank %d: ", life->rank);
	LIFE_CHECK(life, ret == -ENOMEM && strstr(text, "emory"), "%d '%s'", ret, text);
	LIFE_CHECK(life, !together || !strncmp(text, who, strlen(who)), "'%s'", text);
}

/* What a rank did alone: 0, or it is the one whose memory ran out. */
static bool done(const struct team_rank *rank, struct sde_storage *storage, int ret)
{
	const struct life *life = rank->ctx;

	if (!ret)
		return true;
	LIFE_CHECK(life, rank->rank == life->rank, "rank %d: %s", rank->rank, twin_sentence(storage));
	check_sentence(life, false, ret, twin_sentence(storage));
	return false;
}

/* What all did: the same code for all, and who it was. */
static bool agreed(struct team_rank *rank, int step, int ret, const char *text)
{
	struct life *life = rank->ctx;

	life->ret[step][rank->rank] = ret;
	team_meet(rank);
	for (int r = 0; r < RANKS; r++)
		LIFE_CHECK(life, life->ret[step][r] == ret, "%d on rank %d, %d on %d", ret, rank->rank,
			   life->ret[step][r], r);
	if (ret)
		check_sentence(life, true, ret, text);
	return !ret;
}

static bool all_agreed(struct team_rank *rank, int step, struct sde_storage *storage, int ret)
{
	return agreed(rank, step, ret, ret ? twin_sentence(storage) : "");
}

static void store_upto(struct team_rank *rank, struct sde_storage *storage,
		       const struct part *part, uint64_t to)
{
	struct life *life = rank->ctx;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	uint64_t m;

	TEAM_CHECK(!sde_storage_info(storage, &info), "%s", twin_sentence(storage));
	for (m = info.committed; m < to; m++) {
		if (m >= life->tried[rank->rank])
			life->tried[rank->rank] = m + 1;
		if (done(rank, storage, store(storage, part, m)))
			continue;
		/* it is there, or can be stored now; not behind columns that differ */
		TEAM_CHECK(!sde_storage_info(storage, &info), "%s", twin_sentence(storage));
		TEAM_CHECK(info.committed == m || info.committed == m + 1, "%d", (int)info.committed);
		if (info.committed == m && store(storage, part, m))
			break;
	}
	if (m > life->had[rank->rank])
		life->had[rank->rank] = m;
}

static void look(struct team_rank *rank, struct sde_storage *storage, const struct part *part)
{
	const struct life *life = rank->ctx;
	struct sde_array *time, *data, *iteration;
	double x[D * N * END], *p = x, last[D * N];
	uint64_t snapshots;
	int exact, ret;

	if (!done(rank, storage, sde_storage_arrays(storage, &time, &data, &iteration)))
		return;
	snapshots = sde_array_shape(data)[2];
	ret = sde_array_read(data, NULL, NULL, NULL, x, sizeof(x));
	TEAM_CHECK(!ret || (ret == -ENOMEM && rank->rank == life->rank), "%d", ret);
	for (uint64_t d = 0; d < D && !ret && !life->form->keepbits; d++)
		for (uint64_t n = 0; n < part->count; n++)
			for (uint64_t m = 0; m < snapshots; m++)
				TEAM_CHECK(*p++ == team_value(d, part->first + n, m, 0), "%d", (int)m);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	if (!done(rank, storage, sde_storage_last(storage, last, sizeof(last), &exact)) || !exact)
		return;
	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < part->count; n++)
			TEAM_CHECK(last[place(part, d, n)] ==
				   team_value(d, part->first + n, snapshots - 1, 0), " ");
}

/* From here on the allocations of one rank are counted, and those that are not freed. */
static void arm(struct team_rank *rank)
{
	struct life *life = rank->ctx;

	team_meet(rank);
	if (rank->rank == life->rank) {
		life->live = fault_memory.live;
		fault_memory.only_armed = true;
		fault_memory_arm(life->n, false);
	}
	team_meet(rank);
}

static void disarm(struct team_rank *rank)
{
	const struct life *life = rank->ctx;

	team_meet(rank);
	if (rank->rank == life->rank) {
		fault_memory_disarm();
		LIFE_CHECK(life, fault_memory.live == life->live || !life->n, "%ld are not freed",
			   fault_memory.live - life->live);
	}
	team_meet(rank);
}

static int begin(struct team_rank *rank, bool resume, struct sde_storage **storage,
		 struct sde_error *error)
{
	const struct life *life = rank->ctx;
	const struct sde_ensemble local = { D, counts[rank->rank], SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	options.segments = 3;
	options.threads = 1;
	options.sync = life->form->sync;
	options.keepbits = life->form->keepbits;
	if (resume) {
		options.layout = life->form->layout;
		return sde__share_resume(storage, &rank->accord, PATH, &local, &options, &hooks, error);
	}
	options.chunk_size = T;
	options.overwrite = life->form->before;
	options.attributes = "{\"dt\": 0.5}";
	options.time_units = "s";
	return sde__share_create(storage, &rank->accord, PATH, &local, &options, &hooks, error);
}

/* What was there before: a store that was closed, or whose ranks were killed apart. */
static void live_before(struct team_rank *rank)
{
	static const uint64_t stop[RANKS] = { 2 * T + 1, 2 * T, T + 1 };
	const struct life *life = rank->ctx;
	const uint64_t to = life->form->crash ? stop[rank->rank] : T + 1;
	const struct part part = { .first = firsts[rank->rank], .count = counts[rank->rank] };
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	TEAM_CHECK(!begin(rank, false, &storage, &error), "%s", error.text);
	for (uint64_t m = 0; m < to; m++)
		TEAM_CHECK(!store(storage, &part, m), "%s", twin_sentence(storage));
	team_meet(rank);
	if (life->form->crash)
		_exit(0);
	TEAM_CHECK(!sde_storage_close_error(storage, &error), "%s", error.text);
}

static void live(struct team_rank *rank)
{
	struct life *life = rank->ctx;
	const struct part part = { firsts[rank->rank], counts[rank->rank], life->form->layout };
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int ret;

	arm(rank);
	ret = begin(rank, life->form->resume, &storage, &error);
	TEAM_CHECK(!ret == !!storage, "%d", ret);
	if (agreed(rank, BEGIN, ret, error.text)) {
		store_upto(rank, storage, &part, 2 * T + 1);
		look(rank, storage, &part);
		all_agreed(rank, SAVE, storage, sde_storage_save(storage));
		if (life->had[rank->rank] > T + 1)
			life->had[rank->rank] = T + 1;
		/* again, if it failed: nothing was done, or a part, and then nothing more is */
		if (all_agreed(rank, TRUNCATE, storage, sde_storage_truncate(storage, T + 1)) ||
		    all_agreed(rank, AGAIN, storage, sde_storage_truncate(storage, T + 1))) {
			store_upto(rank, storage, &part, END);
			look(rank, storage, &part);
		}
		ret = sde_storage_close_error(storage, &error);
		agreed(rank, CLOSE, ret, error.text);
	} else if (strstr(error.text, "cannot remove the old")) {
		life->replaced = true;
	}
	disarm(rank);
}

/* The store as other ranks find it, without a fault: `had` at least, `tried` at most. */
struct after {
	const struct life *life;
	uint64_t least, most;
};

static void live_after(struct team_rank *rank)
{
	const struct after *after = rank->ctx;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct part part = { 0 };

	options.keepbits = after->life->form->keepbits;
	TEAM_CHECK(!sde__share_resume(&storage, &rank->accord, PATH, NULL, &options, &hooks, &error),
		   "%s", error.text);
	TEAM_CHECK(!sde_storage_info(storage, &info), "%s", twin_sentence(storage));
	LIFE_CHECK(after->life, info.committed >= after->least && info.committed <= after->most,
		   "%d snapshots, not %d to %d", (int)info.committed, (int)after->least,
		   (int)after->most);
	/* the first of two ranks has the first two of four columns */
	part.count = info.ensemble.trajectories;
	part.first = rank->rank ? N - part.count : 0;
	for (uint64_t m = info.committed; m < END; m++)
		TEAM_CHECK(!store(storage, &part, m), "%s", twin_sentence(storage));
	TEAM_CHECK(!sde_storage_close_error(storage, &error), "%s", error.text);
}

static void check_values(void)
{
	const struct sde_ensemble all = { D, N, SDE_FLOAT64 };
	const uint64_t from_start[] = { 0 };

	team_check_path(PATH, &all, END, from_start, 1);
}

/* Returns false when no allocation was left to fail. */
static bool attempt(const struct form *form, int rank, unsigned long n, unsigned *failures)
{
	struct life life = { .form = form, .rank = rank, .n = n };
	struct after after = { .life = &life, .least = UINT64_MAX };
	const uint64_t before = !form->before ? 0 : T + 1;
	bool begun, closed;

	if (form->before && form->crash)
		team_run_and_die(RANKS, live_before, &life);
	else if (form->before)
		team_run(RANKS, live_before, &life);
	team_run(RANKS, live, &life);
	begun = !life.ret[BEGIN][0];
	closed = begun && !life.ret[CLOSE][0];
	for (int r = 0; r < RANKS; r++) {
		after.least = life.had[r] < after.least ? life.had[r] : after.least;
		after.most = life.tried[r] > after.most ? life.tried[r] : after.most;
	}
	if (!begun)
		after.least = after.most = life.replaced ? 0 : before;
	if (closed)
		assert_int_equal(after.least, after.most);
	if (scratch_exists(PATH)) {
		team_run(2, live_after, &after);
		if (!form->keepbits)
			check_values();
		assert_false(scratch_exists(PATH "/data/.ring"));
		sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH);
	} else {
		assert_true(!begun && !before);
	}
	assert_int_equal(scratch_entries("."), 0);
	*failures += !closed;
	return fault_memory.fired;
}

static void sweep(const struct form *form)
{
	static bool first[FAULT_MEMORY_SITES];
	unsigned failures = 0;

	if (!FAULT_MEMORY) {
		print_message("# allocations cannot fail without glibc\n");
		skip();
	}
	for (int rank = 0; rank < RANKS; rank++) {
		unsigned attempts = 0;
		unsigned long n = 1;
		size_t places;

		/* what libraries keep for themselves is there from then on */
		attempt(form, rank, 0, &failures);
		places = fault_memory_places(first);
		for (bool fired = true; fired; n++) {
			if (n % STEP && !(n <= FAULT_MEMORY_SITES && first[n - 1]))
				continue;
			fired = attempt(form, rank, n, &failures);
			attempts++;
		}
		print_message("# %s, rank %d: %zu places, %u attempts, %u failures\n", form->name,
			      rank, places, attempts, failures);
	}
	assert_true(failures > 10);
}

static void a_rank_without_memory_to_create(void **state)
{
	static const struct form form = { .name = "create" };

	(void)state;
	sweep(&form);
}

static void a_rank_without_memory_to_replace_a_store(void **state)
{
	static const struct form form = { .name = "overwrite", .before = true, .sync = SDE_SYNC_NONE };

	(void)state;
	sweep(&form);
}

static void a_rank_without_memory_to_go_on(void **state)
{
	static const struct form form = { .name = "resume", .before = true, .resume = true };

	(void)state;
	sweep(&form);
}

static void a_rank_without_memory_to_recover(void **state)
{
	static const struct form form = { .name = "recovery", .before = true, .crash = true,
					  .resume = true, .keepbits = 20,
					  .layout = SDE_LAYOUT_TRAJECTORY_DIMENSION };

	(void)state;
	sweep(&form);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_rank_without_memory_to_create),
		SCRATCH_TEST(a_rank_without_memory_to_replace_a_store),
		SCRATCH_TEST(a_rank_without_memory_to_go_on),
		SCRATCH_TEST(a_rank_without_memory_to_recover),
	};
	/* one of them: SDE_TEST_NAME='*recover*' */
	cmocka_set_test_filter(getenv("SDE_TEST_NAME"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
