/* SPDX-License-Identifier: MIT */
/* Several writers of one store, as threads of one process. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "rank_status.h"
#include "sanitized.h"
#include "scratch.h"
#include "team.h"
#include "twin.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define T 4
#define NEVER UINT64_MAX

static const struct sde__zarr_hooks threads = { .io = &sde__io_posix, .synchronous = false };
static const uint64_t from_start[] = { 0 };

/* What a team does with its store. */
struct plan {
	struct sde_ensemble all;
	const uint64_t *counts;		/* of trajectories, for each rank; NULL: even */
	uint64_t width;			/* of even ones; 0: as they come out of floor */
	uint64_t from, to;		/* snapshots, unless... */
	const uint64_t *stop;		/* ... a rank stores up to here, and all die */
	unsigned life;
	bool resume, by_store;		/* by_store: the slices that resume gives */
	bool die;			/* without a word, instead of close */
	uint64_t save_at, truncate_at, truncate_to;
	struct sde_zarr_options options;
	uint64_t found;			/* by resume */
};

static struct plan a_plan(uint64_t dimension, uint64_t trajectories)
{
	struct plan plan = {
		.all = { dimension, trajectories, SDE_FLOAT64 },
		.options = SDE_ZARR_OPTIONS_INIT,
		.save_at = NEVER, .truncate_at = NEVER,
	};

	plan.options.chunk_size = T;
	plan.options.threads = 1;
	plan.options.segments = 2;
	return plan;
}

static void slice(const struct plan *plan, int rank, int size, uint64_t *first, uint64_t *count)
{
	const uint64_t n = plan->all.trajectories;
	const uint64_t each = plan->width ? plan->width : n / (uint64_t)size;

	*first = 0;
	if (plan->counts) {
		for (int r = 0; r < rank; r++)
			*first += plan->counts[r];
		*count = plan->counts[rank];
		return;
	}
	*first = each * (uint64_t)rank < n ? each * (uint64_t)rank : n;
	*count = rank == size - 1 || n - *first < each ? n - *first : each;
}

/* The slice of a rank that resume gave one: info has it, and all know the widths. */
static void agreed_slice(struct team_rank *rank, struct sde_storage *storage, uint64_t *first,
			 uint64_t *count)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	uint64_t counts[TEAM_MAX];

	TEAM_CHECK(!sde_storage_info(storage, &info), " ");
	*count = info.ensemble.trajectories;
	for (int r = 0; r < rank->accord.size; r++)
		counts[r] = r == rank->rank ? *count : NEVER;
	rank->accord.least(rank->accord.ctx, counts, (size_t)rank->accord.size);
	*first = 0;
	for (int r = 0; r < rank->rank; r++)
		*first += counts[r];
}

static void work(struct team_rank *rank)
{
	struct plan *plan = rank->ctx;
	struct sde_ensemble local = plan->all;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	uint64_t first, m, to, truncate_at = plan->truncate_at;

	slice(plan, rank->rank, rank->accord.size, &first, &local.trajectories);
	if (plan->resume)
		TEAM_CHECK(!sde__share_resume(&storage, &rank->accord, PATH,
					      plan->by_store ? NULL : &local, &plan->options,
					      &threads, &error), "%s", error.text);
	else
		TEAM_CHECK(!sde__share_create(&storage, &rank->accord, PATH, &local, &plan->options,
					      &threads, &error), "%s", error.text);
	if (plan->by_store)
		agreed_slice(rank, storage, &first, &local.trajectories);
	TEAM_CHECK(!sde_storage_info(storage, &info), " ");
	TEAM_CHECK(info.ensemble.trajectories == local.trajectories, " ");
	m = info.committed;
	if (!rank->rank)
		plan->found = m;
	to = plan->stop ? plan->stop[rank->rank] : plan->to;
	for (; m < to; m++) {
		if (m == plan->save_at)
			TEAM_CHECK(!sde_storage_save(storage), "%s", twin_sentence(storage));
		if (m == truncate_at) {
			TEAM_CHECK(!sde_storage_truncate(storage, plan->truncate_to), "%s",
				   twin_sentence(storage));
			m = plan->truncate_to;
			truncate_at = NEVER;
			team_meet(rank);
		}
		TEAM_CHECK(!team_store(storage, &local, first, m, plan->life), "%s",
			   twin_sentence(storage));
	}
	if (plan->die) {
		/* so that all have stored theirs */
		team_meet(rank);
		_exit(0);
	}
	TEAM_CHECK(!sde_storage_close_error(storage, &error), "%s", error.text);
}

/* The same in a child, which is gone afterwards: as if it were killed. */
static void run_and_die(int size, struct plan *plan)
{
	plan->die = true;
	team_run_and_die(size, work, plan);
	plan->die = false;
}

static void several_writers_make_one_array(void **state)
{
	static const int sizes[] = { 1, 2, 3, 4, 7 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (uint64_t m = 0; m < 3 * T; m += 3)
			for (int aligned = 0; aligned < 2; aligned++) {
				struct plan plan = a_plan(2, 61);

				plan.to = m;
				plan.save_at = m / 2;
				if (aligned)
					plan.width = 16;
				plan.options.overwrite = 1;
				team_run(sizes[i], work, &plan);
				team_check_path(PATH, &plan.all, m, from_start, 1);
				assert_false(scratch_exists(PATH "/data/.ring"));
			}
}

static void a_rank_may_have_no_trajectories_or_several_columns(void **state)
{
	static const uint64_t counts[][4] = {
		{ 8, 0, 16, 5 }, { 8, 24, 0, 0 }, { 29, 0, 0, 0 }, { 16, 0, 0, 16 }, { 1, 2, 3, 4 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		struct plan plan = a_plan(3, 0);

		for (int r = 0; r < 4; r++)
			plan.all.trajectories += counts[i][r];
		plan.counts = counts[i];
		plan.to = 2 * T + 1;
		plan.save_at = T + 2;
		plan.options.overwrite = 1;
		team_run(4, work, &plan);
		team_check_path(PATH, &plan.all, plan.to, from_start, 1);
	}
}

static void a_store_goes_on_with_any_number_of_ranks(void **state)
{
	static const int sizes[] = { 4, 3, 6, 1, 2, 4 };
	uint64_t since[6];

	(void)state;
	for (int crash = 0; crash < 2; crash++) {
		struct plan plan = a_plan(2, 59);

		plan.options.overwrite = 1;
		for (unsigned life = 0; life < 6; life++) {
			plan.life = life;
			since[life] = plan.to;
			plan.to += 2 + life;
			if (crash)
				run_and_die(sizes[life], &plan);
			else
				team_run(sizes[life], work, &plan);
			team_check_path(PATH, &plan.all, plan.to, since, life + 1);
			plan.resume = plan.by_store = true;
			plan.options.overwrite = 0;
		}
	}
}

/* Ranks die at different places, chunks apart; what all have is what there is. */
static void the_longest_common_prefix_is_recovered(void **state)
{
	static const uint64_t stops[][4] = {
		{ 9, 9, 9, 9 }, { 3, 4, 5, 6 }, { 8, 16, 9, 10 }, { 11, 8, 8, 9 }, { 5, 5, 13, 5 },
		{ 0, 7, 7, 7 }, { 12, 4, 12, 12 }, { 6, 14, 10, 7 }, { 4, 12, 4, 12 },
	};
	static const int sizes[] = { 4, 3, 6 };

	(void)state;
	for (size_t i = 0; i < sizeof(stops) / sizeof(*stops); i++)
		for (size_t j = 0; j < sizeof(sizes) / sizeof(*sizes); j++) {
			struct plan plan = a_plan(1, 37);
			uint64_t common = NEVER, since[3] = { 0, 0, 0 };

			for (int r = 0; r < 4; r++)
				if (stops[i][r] < common)
					common = stops[i][r];
			plan.options.overwrite = 1;
			plan.options.segments = 4;
			plan.stop = stops[i];
			run_and_die(4, &plan);
			team_check_path(PATH, &plan.all, common, from_start, 1);
			plan.options.overwrite = 0;
			plan.stop = NULL;
			plan.resume = plan.by_store = true;
			/* dies again, having gone on by more than a chunk */
			plan.life = 1;
			since[1] = common;
			plan.to = common + T + 1;
			run_and_die(sizes[j], &plan);
			assert_int_equal(scratch_exists(PATH "/data/.ring"), 1);
			team_check_path(PATH, &plan.all, plan.to, since, 2);
			plan.life = 2;
			since[2] = plan.to;
			plan.to += 3;
			team_run(sizes[j], work, &plan);
			team_check_path(PATH, &plan.all, plan.to, since, 3);
		}
}

static void truncate_is_for_all(void **state)
{
	(void)state;
	for (uint64_t to = 0; to <= 2 * T; to += 3) {
		struct plan plan = a_plan(2, 40);

		plan.options.overwrite = 1;
		plan.to = 3 * T + 1;
		plan.truncate_at = 2 * T + 2;
		plan.truncate_to = to;
		team_run(3, work, &plan);
		team_check_path(PATH, &plan.all, plan.to, from_start, 1);
	}
}

/* ------------------------------------------------------------------------
 * One writer alone
 */

static void one_writer_goes_on_with_what_several_made(void **state)
{
	static const uint64_t stops[] = { 9, 7, 10 };
	const uint64_t since[] = { 0, 7 };
	struct plan plan = a_plan(2, 30);
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	(void)state;
	plan.stop = stops;
	run_and_die(3, &plan);
	plan.options.chunk_size = 0;
	twin_assert_ok(sde__zarr_resume(&storage, PATH, &plan.options, &threads, &error), error.text);
	for (uint64_t m = 7; m < 2 * T + 3; m++)
		assert_int_equal(team_store(storage, &plan.all, 0, m, 1), 0);
	twin_assert_ok(sde_storage_save(storage), twin_sentence(storage));
	team_check_path(PATH, &plan.all, 2 * T + 3, since, 2);
	twin_assert_ok(sde_storage_close_error(storage, &error), error.text);
	team_check_path(PATH, &plan.all, 2 * T + 3, since, 2);
}

/* ------------------------------------------------------------------------
 * Values of a rank
 */

static void look_at_own_values(struct team_rank *rank)
{
	struct plan *plan = rank->ctx;
	struct sde_ensemble local = plan->all;
	struct sde_error error = { 0 };
	struct sde_array *time, *data;
	struct sde_storage *storage;
	const uint64_t *shape;
	uint64_t first, i = 0;
	double *x;

	slice(plan, rank->rank, rank->accord.size, &first, &local.trajectories);
	TEAM_CHECK(!sde__share_create(&storage, &rank->accord, PATH, &local, &plan->options, &threads,
				      &error), "%s", error.text);
	TEAM_CHECK(sde_storage_values(storage, &time, &data) == SDE_E_NO_DATA, " ");
	for (uint64_t m = 0; m < plan->to; m++) {
		TEAM_CHECK(!team_store(storage, &local, first, m, 0), " ");
		TEAM_CHECK(!sde_storage_values(storage, &time, &data), "%s", twin_sentence(storage));
		shape = sde_array_shape(data);
		TEAM_CHECK(shape[1] == local.trajectories && shape[2] == m + 1, " ");
		x = malloc(local.dimension * local.trajectories * (m + 1) * sizeof(*x));
		TEAM_CHECK(!sde_array_read(data, NULL, NULL, NULL, x, local.dimension *
					   local.trajectories * (m + 1) * sizeof(*x)), " ");
		i = 0;
		for (uint64_t d = 0; d < local.dimension; d++)
			for (uint64_t n = 0; n < local.trajectories; n++)
				for (uint64_t k = 0; k <= m; k++)
					TEAM_CHECK(x[i++] == team_value(d, first + n, k, 0), " ");
		free(x);
		sde_array_close(time);
		sde_array_close(data);
	}
	if (!rank->rank)
		team_check_path(PATH, &plan->all, plan->to, from_start, 0);
	TEAM_CHECK(!sde_storage_close_error(storage, &error), "%s", error.text);
}

static void a_rank_sees_its_own_values_at_every_moment(void **state)
{
	struct plan plan = a_plan(2, 33);

	(void)state;
	plan.to = 3 * T + 2;
	team_run(1, look_at_own_values, &plan);
	plan.options.overwrite = 1;
	plan.width = 8;
	/* a rank that is ahead of the others is not looked at from outside */
	team_run(1, look_at_own_values, &plan);
}

/* A state of its own for each rank and snapshot. */
static size_t rank_state(char state[16], int rank, uint64_t m)
{
	return (size_t)snprintf(state, 16, "%d at %d", rank, (int)m) + 1;
}

/* Every other snapshot is filled in where it is stored. */
static void store_anyhow(struct sde_storage *storage, const struct sde_ensemble *local, uint64_t first,
			 uint64_t m)
{
	double *slot;

	if (m % 2 == 0) {
		TEAM_CHECK(!team_store(storage, local, first, m, 0), "%s", twin_sentence(storage));
		return;
	}
	TEAM_CHECK(!sde_storage_reserve(storage, m, (void **)&slot), "%s", twin_sentence(storage));
	for (uint64_t d = 0; d < local->dimension; d++)
		for (uint64_t n = 0; n < local->trajectories; n++)
			slot[d * local->trajectories + n] = team_value(d, first + n, m, 0);
	TEAM_CHECK(!sde_storage_commit(storage, team_time(m)), "%s", twin_sentence(storage));
}

/* What is read of the snapshots 0 .. m. */
static void look_at_everything(struct team_rank *rank, struct sde_storage *storage,
			       const struct sde_ensemble *local, uint64_t first, uint64_t m)
{
	const uint64_t at[3] = { local->dimension - 1, local->trajectories - 1, m }, one[3] = { 1, 1, 1 };
	const size_t size = (size_t)(local->dimension * local->trajectories) * sizeof(double);
	const double right = team_value(at[0], first + at[1], m, 0);
	struct sde_array *time, *data, *iteration, *alone;
	char state[16], expected[16];
	size_t n = sizeof(state);
	double x, *last = malloc(size);
	int64_t number;
	int exact = 0;

	TEAM_CHECK(last, " ");
	TEAM_CHECK(!sde_storage_last(storage, last, size, &exact), "%s", twin_sentence(storage));
	TEAM_CHECK(exact && last[local->dimension * local->trajectories - 1] == right, " ");
	free(last);
	TEAM_CHECK(!sde_storage_arrays(storage, &time, &data, &iteration), "%s", twin_sentence(storage));
	TEAM_CHECK(!sde_array_read(data, at, one, NULL, &x, sizeof(x)) && x == right, " ");
	TEAM_CHECK(!sde_array_read(time, &m, one, NULL, &x, sizeof(x)) && x == team_time(m), " ");
	TEAM_CHECK(!sde_array_read(iteration, &m, one, NULL, &number, sizeof(number)), " ");
	TEAM_CHECK(number == (int64_t)m, " ");
	TEAM_CHECK(!sde_storage_iterations(storage, &alone), "%s", twin_sentence(storage));
	TEAM_CHECK(sde_array_shape(alone)[0] == m + 1, " ");
	sde_array_close(alone);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	TEAM_CHECK(!sde_storage_state(storage, state, &n), "%s", twin_sentence(storage));
	TEAM_CHECK(n == rank_state(expected, rank->rank, m) && !memcmp(state, expected, n), " ");
	TEAM_CHECK(!sde_storage_verify(storage, NULL), "%s", twin_sentence(storage));
}

/* Who has no trajectories takes part in all that is for all, and has nothing to show. */
static void look_at_nothing(struct sde_storage *storage)
{
	struct sde_array *time, *data;
	char state[16];
	size_t n = sizeof(state);
	int exact;

	TEAM_CHECK(sde_storage_values(storage, &time, &data) == SDE_E_NO_DATA, " ");
	TEAM_CHECK(sde_storage_iterations(storage, &data) == SDE_E_NO_DATA, " ");
	TEAM_CHECK(sde_storage_last(storage, NULL, 0, &exact) == SDE_E_NO_DATA, " ");
	TEAM_CHECK(sde_storage_verify(storage, NULL) == SDE_E_NO_DATA, " ");
	TEAM_CHECK(sde_storage_state(storage, state, &n) == SDE_E_NO_DATA && !n, " ");
	TEAM_CHECK(strstr(twin_sentence(storage), "no trajectories"), " ");
}

static void use_everything(struct team_rank *rank)
{
	struct plan *plan = rank->ctx;
	struct sde_ensemble local = plan->all;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	char state[17] = "";
	uint64_t first;

	slice(plan, rank->rank, rank->accord.size, &first, &local.trajectories);
	TEAM_CHECK(!sde__share_create(&storage, &rank->accord, PATH, &local, &plan->options, &threads,
				      &error), "%s", error.text);
	TEAM_CHECK(!strcmp(sde_storage_time_units(storage), "s"), " ");
	TEAM_CHECK(strstr(sde_storage_attributes(storage), "dt"), "%s", sde_storage_attributes(storage));
	TEAM_CHECK(sde_storage_set_state(storage, state, sizeof(state)) == -ENOSPC, " ");
	for (uint64_t m = 0; m < plan->to; m++) {
		TEAM_CHECK(!sde_storage_set_state(storage, state, rank_state(state, rank->rank, m)), "%s",
			   twin_sentence(storage));
		store_anyhow(storage, &local, first, m);
		if (m == T + 1) {
			TEAM_CHECK(!sde_storage_sync(storage), "%s", twin_sentence(storage));
			TEAM_CHECK(!sde_storage_info(storage, &info), "%s", twin_sentence(storage));
			TEAM_CHECK(info.synced == (local.trajectories ? m + 1 : 0), " ");
		}
		if (local.trajectories)
			look_at_everything(rank, storage, &local, first, m);
		else
			look_at_nothing(storage);
	}
	TEAM_CHECK(!sde_storage_info(storage, &info), "%s", twin_sentence(storage));
	TEAM_CHECK(info.committed == plan->to && info.ensemble.trajectories == local.trajectories, " ");
	TEAM_CHECK(!sde_storage_close_error(storage, &error), "%s", error.text);
}

static void a_rank_has_all_that_a_writer_alone_has(void **state)
{
	static const uint64_t counts[] = { 8, 0, 16, 5 };	/* one column, none, two, one */
	struct plan plan = a_plan(2, 29);
	char text[16], expected[16];
	struct sde_storage *storage;
	size_t n = sizeof(text);

	(void)state;
	plan.counts = counts;
	plan.to = 3 * T + 2;
	plan.options.state_capacity = 16;
	plan.options.attributes = "{\"dt\": 0.5}";
	plan.options.time_units = "s";
	team_run(4, use_everything, &plan);
	team_check_path(PATH, &plan.all, plan.to, from_start, 1);
	/* of the whole store it is what the first rank kept */
	assert_int_equal(sde_storage_open(&storage, PATH, NULL, NULL), 0);
	twin_assert_ok(sde_storage_state(storage, text, &n), twin_sentence(storage));
	assert_int_equal(n, rank_state(expected, 0, plan.to - 1));
	assert_memory_equal(text, expected, n);
	sde_storage_close(storage);
}

/* ------------------------------------------------------------------------
 * Errors
 */

struct disagreement {
	struct plan plan;
	void (*spoil)(struct sde_ensemble *local, struct sde_zarr_options *options, const char **path);
	int spoiler, code;
	const char *sentence;
};

static void disagree(struct team_rank *rank)
{
	struct disagreement *d = rank->ctx;
	struct sde_zarr_options options = d->plan.options;
	struct sde_ensemble local = d->plan.all;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	const char *path = PATH;
	uint64_t first;
	int ret;

	slice(&d->plan, rank->rank, rank->accord.size, &first, &local.trajectories);
	if (rank->rank == d->spoiler || d->spoiler < 0)
		d->spoil(&local, &options, &path);
	ret = sde__share_create(&storage, &rank->accord, path, &local, &options, &threads, &error);
	TEAM_CHECK(ret == d->code && !storage, "%d: %s", ret, error.text);
	TEAM_CHECK(strstr(error.text, d->sentence), "'%s' lacks '%s'", error.text, d->sentence);
}

#define SPOIL(name, code) \
	static void name(struct sde_ensemble *local, struct sde_zarr_options *options, \
			 const char **path) \
	{ \
		(void)local, (void)options, (void)path; \
		code; \
	}
SPOIL(other_dimension, local->dimension = 3)
SPOIL(other_dtype, local->dtype = SDE_FLOAT32)
SPOIL(other_stride, options->stride = 7)
SPOIL(other_path, *path = "other.zarr")
SPOIL(no_path, *path = NULL)
SPOIL(other_attributes, options->attributes = "{\"a\": 1}")
SPOIL(bad_codec, options->codec = (enum sde_codec)77)
SPOIL(format_2, options->zarr_format = 2)
SPOIL(nothing, local->trajectories = 0)
SPOIL(odd_width, local->trajectories -= 3)
SPOIL(odd_inner, options->trajectories_per_chunk = 7)

static void ranks_that_disagree_are_told_which(void **state)
{
	static const struct disagreement disagreements[] = {
		{ .spoil = other_dimension, .spoiler = 2, .code = -EINVAL,
		  .sentence = "rank 2 has another dimension than rank 0" },
		{ .spoil = other_dtype, .spoiler = 1, .code = -EINVAL,
		  .sentence = "rank 1 has another dtype than rank 0" },
		{ .spoil = other_stride, .spoiler = 3, .code = -EINVAL,
		  .sentence = "rank 3 has another stride than rank 0" },
		{ .spoil = other_path, .spoiler = 1, .code = -EINVAL,
		  .sentence = "rank 1 has another save_directory than rank 0" },
		{ .spoil = no_path, .spoiler = 3, .code = -EINVAL,
		  .sentence = "rank 3: no save_directory given" },
		{ .spoil = other_attributes, .spoiler = 2, .code = -EINVAL,
		  .sentence = "rank 2 has another text of attributes" },
		{ .spoil = bad_codec, .spoiler = -1, .code = -EINVAL, .sentence = "codec has no value 77" },
		{ .spoil = format_2, .spoiler = -1, .code = SDE_E_UNSUPPORTED,
		  .sentence = "zarr_format 3, not 2" },
		{ .spoil = nothing, .spoiler = -1, .code = -EINVAL,
		  .sentence = "rank 0 has no trajectories" },
		{ .spoil = odd_width, .spoiler = 1, .code = -EINVAL,
		  .sentence = "the trajectories of rank 2 begin at 17" },
		{ .spoil = odd_inner, .spoiler = -1, .code = -EINVAL,
		  .sentence = "does not divide a column of 10" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(disagreements) / sizeof(*disagreements); i++) {
		struct disagreement d = disagreements[i];

		d.plan = a_plan(2, 40);
		team_run(4, disagree, &d);
		assert_int_equal(scratch_entries("."), 0);
	}
}

static void resume_with(struct team_rank *rank)
{
	struct disagreement *d = rank->ctx;
	struct sde_ensemble local = d->plan.all;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	uint64_t first;
	int ret;

	slice(&d->plan, rank->rank, rank->accord.size, &first, &local.trajectories);
	ret = sde__share_resume(&storage, &rank->accord, PATH, &local, &d->plan.options, &threads,
				&error);
	TEAM_CHECK(ret == d->code && !storage, "%d: %s", ret, error.text);
	TEAM_CHECK(strstr(error.text, d->sentence), "'%s' lacks '%s'", error.text, d->sentence);
}

static void slices_that_are_no_columns_are_refused_on_resume(void **state)
{
	struct disagreement d = { .code = -EINVAL, .sentence = "no multiple of a column's 10" };
	struct plan plan = a_plan(2, 40);

	(void)state;
	plan.to = 5;
	run_and_die(4, &plan);
	d.plan = plan;
	team_run(3, resume_with, &d);
	d.plan.all.trajectories = 50;
	d.plan.width = 10;
	d.code = SDE_E_MISMATCH;
	d.sentence = "the ranks have 50 trajectories, but '" PATH "' has 40";
	team_run(5, resume_with, &d);
	d.plan.all = (struct sde_ensemble){ 3, 40, SDE_FLOAT64 };
	d.sentence = "dimension 3";
	team_run(4, resume_with, &d);
	/* nothing was harmed */
	team_check_path(PATH, &plan.all, 5, from_start, 1);
}

static void store_unequally(struct team_rank *rank)
{
	struct plan *plan = rank->ctx;
	struct sde_ensemble local = plan->all;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	uint64_t first;

	slice(plan, rank->rank, rank->accord.size, &first, &local.trajectories);
	TEAM_CHECK(!sde__share_create(&storage, &rank->accord, PATH, &local, &plan->options, &threads,
				      &error), "%s", error.text);
	for (uint64_t m = 0; m < 5; m++)
		TEAM_CHECK(!team_store(storage, &local, first, m, 0), " ");
	if (rank->rank == 2) {
		TEAM_CHECK(!team_store(storage, &local, first, 5, 0), " ");
		TEAM_CHECK(sde_storage_save(storage) == SDE_E_MISMATCH, " ");
	} else {
		TEAM_CHECK(sde_storage_save(storage) == SDE_E_MISMATCH, " ");
		TEAM_CHECK(!team_store(storage, &local, first, 5, 0), " ");
	}
	TEAM_CHECK(strstr(twin_sentence(storage), "rank 2 has another number of snapshots"), "%s",
		   twin_sentence(storage));
	TEAM_CHECK(!sde_storage_save(storage), "%s", twin_sentence(storage));
	/* as many, but not the same */
	TEAM_CHECK(!team_store(storage, &local, first, rank->rank == 1 ? 7 : 6, 0), " ");
	TEAM_CHECK(sde_storage_save(storage) == SDE_E_MISMATCH, " ");
	TEAM_CHECK(strstr(twin_sentence(storage), "rank 1 has another time or iteration number"), "%s",
		   twin_sentence(storage));
	TEAM_CHECK(sde_storage_close(storage) == SDE_E_MISMATCH, " ");
}

static void ranks_that_stored_other_snapshots_cannot_save(void **state)
{
	struct plan plan = a_plan(1, 24);

	(void)state;
	team_run(3, store_unequally, &plan);
}

/* Each rank an io table of its own, one of which fails at its n-th call. */
struct faulty {
	struct plan plan;
	struct fault_io *io;
	int rank;
	unsigned long at;
	const char *only;		/* count only these calls; NULL: all */
	bool fired;
	int ret[TEAM_MAX];
};

static void work_with_faults(struct team_rank *rank)
{
	struct faulty *f = rank->ctx;
	struct fault_io *io = &f->io[rank->rank];
	const struct sde__zarr_hooks hooks = { .io = &io->io, .synchronous = true };
	struct sde_ensemble local = f->plan.all;
	struct sde_error error = { 0 };
	struct sde_storage *storage = NULL;
	uint64_t first;
	char name[16];
	int ret, own = 0;

	fault_io_init(io);
	fault_io_arm(io, rank->rank == f->rank ? f->at : 0, ENOSPC, false);
	slice(&f->plan, rank->rank, rank->accord.size, &first, &local.trajectories);
	ret = sde__share_create(&storage, &rank->accord, PATH, &local, &f->plan.options, &hooks, &error);
	for (uint64_t m = 0; !ret && m < f->plan.to; m++) {
		int stored = team_store(storage, &local, first, m, 0);

		if (stored)
			own = stored;
	}
	if (!ret)
		ret = sde_storage_close_error(storage, &error);
	f->ret[rank->rank] = ret;
	if (rank->rank == f->rank)
		f->fired = io->fired;
	/* who has not stored what the others have, did not hide it */
	if (ret && !own && !strstr(error.text, "another number of snapshots")) {
		snprintf(name, sizeof(name), "rank %d", f->rank);
		TEAM_CHECK(!strncmp(error.text, name, strlen(name)), "call %lu: '%s'", f->at, error.text);
	}
	/* a table lives on the heap of the test: nothing is left open in it */
	TEAM_CHECK(io->handles == 0 && io->maps == 0, "call %lu: %d open, %d mapped", f->at, io->handles,
		   io->maps);
}

/* Every call of every rank fails once: all ranks get the same code, and none hangs. */
static void an_error_of_one_rank_is_that_of_all(void **state)
{
	struct faulty f = { .io = calloc(3, sizeof(*f.io)) };
	unsigned runs = 0, failures = 0;

	(void)state;
	for (f.rank = 0; f.rank < 3; f.rank++)
		for (f.at = 1, f.fired = true; f.fired; f.at++, runs++) {
			f.plan = a_plan(1, 24);
			f.plan.to = 2 * T + 1;
			f.plan.options.overwrite = 0;
			team_run(3, work_with_faults, &f);
			for (int r = 1; r < 3; r++)
				assert_int_equal(f.ret[r], f.ret[0]);
			failures += f.ret[0] != 0;
			/* what could not be created has left nothing, what could not be
			 * closed can be resumed */
			if (scratch_exists(PATH)) {
				f.plan.resume = f.plan.by_store = true;
				team_run(2, work, &f.plan);
				team_check_path(PATH, &f.plan.all, f.plan.to, from_start, 1);
				assert_false(scratch_exists(PATH "/data/.ring"));
			}
			sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH);
			assert_int_equal(scratch_entries("."), 0);
		}
	printf("# %u runs, %u of which failed\n", runs, failures);
	assert_true(failures > 100);
	free(f.io);
}

static void resume_with_faults(struct team_rank *rank)
{
	struct faulty *f = rank->ctx;
	struct fault_io *io = &f->io[rank->rank];
	const struct sde__zarr_hooks hooks = { .io = &io->io, .synchronous = true };
	struct sde_ensemble local = f->plan.all;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	uint64_t first;
	int ret;

	fault_io_init(io);
	fault_io_arm(io, rank->rank == f->rank ? f->at : 0, EIO, false);
	io->only = f->only;
	slice(&f->plan, rank->rank, rank->accord.size, &first, &local.trajectories);
	ret = sde__share_resume(&storage, &rank->accord, PATH, &local, &f->plan.options, &hooks, &error);
	if (!ret)
		ret = sde_storage_close_error(storage, &error);
	TEAM_CHECK(!ret == !*error.text, "call %lu: %d '%s'", f->at, ret, error.text);
	f->ret[rank->rank] = ret;
	if (rank->rank == f->rank)
		f->fired = io->fired;
	TEAM_CHECK(io->handles == 0 && io->maps == 0, "call %lu: %d open, %d mapped", f->at, io->handles,
		   io->maps);
}

/* A crash, a recovery in which a call of one rank fails, another one by others. */
static void recover_twice(struct faulty *f, int form)
{
	static const uint64_t stop[] = { 2 * T + 3, 2 * T, 2 * T + 2 };
	const struct fault_io *io = &f->io[f->rank];
	bool unsynced;

	f->plan = a_plan(1, 24);
	f->plan.options.sync = form == 1 || form == 3 ? SDE_SYNC_NONE : SDE_SYNC_DEFAULT;
	f->plan.options.keepbits = form == 2 ? 20 : 0;
	f->plan.stop = stop;
	f->plan.save_at = T + 1;
	run_and_die(3, &f->plan);
	/* what was not synced is synced before anything is built on it */
	if (form == 3)
		f->plan.options.sync = SDE_SYNC_CHUNK;
	team_run(3, resume_with_faults, f);
	for (int r = 1; r < 3; r++)
		assert_int_equal(f->ret[r], f->ret[0]);
	f->plan.stop = NULL;
	f->plan.save_at = NEVER;
	f->plan.resume = f->plan.by_store = true;
	f->plan.to = 3 * T + 1;
	team_run(2, work, &f->plan);
	/* what all three had; of a ring that cannot be synced only what was */
	unsynced = io->fired && !strcmp(io->event[io->failed].call, "sync");
	if (f->plan.found != 2 * T && !(unsynced && f->plan.found >= T + 1))
		fail_msg("form %d call %lu (%s '%s'): %d found", form, f->at,
			 io->event[io->failed].call, io->event[io->failed].name, (int)f->plan.found);
	if (form != 2)
		team_check_path(PATH, &f->plan.all, f->plan.to, from_start, 1);
	assert_false(scratch_exists(PATH "/data/.ring"));
	sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH);
}

/* Nothing is lost by a recovery that failed on one rank: others than those try again. */
static void a_resume_that_fails_on_one_rank_can_be_tried_again(void **state)
{
	static const char *const calls[] = { "sync", "remove_at", "rename_at", "make_directory_at",
					     "allocate", "lock" };
	const size_t kinds = SANITIZED ? 2 : sizeof(calls) / sizeof(*calls);
	struct faulty f = { .io = calloc(3, sizeof(*f.io)) };
	unsigned runs = 0, failures = 0;

	(void)state;
	for (int form = 0; form < 4; form++)
		for (size_t i = 0; i < (form == 3 ? 2 : kinds); i++) {
			f.only = calls[i];
			f.rank = form == 0 ? (int)i % 2 * 2 : 0;
			for (f.at = 1, f.fired = true; f.fired; f.at += SANITIZED ? 7 : 1, runs++) {
				recover_twice(&f, form);
				failures += f.ret[0] != 0;
			}
		}
	/* and some of all */
	f.only = NULL;
	for (f.rank = 0; f.rank < 3; f.rank++)
		for (f.at = 1, f.fired = true; f.fired; f.at += SANITIZED ? 97 : 23, runs++)
			recover_twice(&f, 0);
	printf("# %u runs, %u of which failed\n", runs, failures);
	assert_true(failures > (SANITIZED ? 7 : 50));
	free(f.io);
}

/* A column that has enough in its files does without its ring, also to go back. */
static void a_ring_that_is_lost_is_missed_only_where_it_had_something(void **state)
{
	static const uint64_t stop[] = { 3 * T + 1, T + 1, T + 1 };
	struct plan plan = a_plan(1, 24);

	(void)state;
	plan.stop = stop;
	run_and_die(3, &plan);
	assert_int_equal(system("rm -r " PATH "/data/.ring/0"), 0);
	plan.stop = NULL;
	plan.resume = plan.by_store = true;
	plan.to = 3 * T;
	team_run(2, work, &plan);
	assert_int_equal(plan.found, T + 1);
	team_check_path(PATH, &plan.all, plan.to, from_start, 1);
	assert_false(scratch_exists(PATH "/data/.ring"));
}

static int begin(struct sde_storage **out, const char *path, const struct sde_ensemble *ensemble,
		 struct sde_error *error)
{
	memset(error, 0, sizeof(*error));
	return sde__share_create(out, &sde__accord_alone, path, ensemble, NULL, &threads, error);
}

static void what_nobody_can_begin_with_is_refused(void **state)
{
	const struct sde_ensemble good = { 1, 8, SDE_FLOAT64 }, flat = { 0, 8, SDE_FLOAT64 };
	struct sde_storage *storage;
	struct sde_error error;

	(void)state;
	assert_int_equal(begin(NULL, PATH, &good, &error), -EINVAL);
	twin_assert_sentence(error.text, "no place", NULL);
	assert_int_equal(begin(&storage, "", &good, &error), -EINVAL);
	twin_assert_sentence(error.text, "save_directory", NULL);
	assert_int_equal(begin(&storage, PATH, NULL, &error), -EINVAL);
	twin_assert_sentence(error.text, "ensemble", NULL);
	assert_int_equal(begin(&storage, PATH, &flat, &error), -EINVAL);
	twin_assert_sentence(error.text, "dimension 0", NULL);
	scratch_write("file", "x", 1);
	assert_int_equal(begin(&storage, "file/in/" PATH, &good, &error), -ENOTDIR);
	twin_assert_sentence(error.text, "cannot make directory 'file/in", NULL);
	assert_null(storage);
	assert_int_equal(sde__share_resume(NULL, &sde__accord_alone, PATH, &good, NULL, &threads, &error),
			 -EINVAL);
	assert_int_equal(scratch_entries("."), 1);
}

static void begin_too_large(struct team_rank *rank)
{
	const struct sde_ensemble half = { 1, UINT64_C(1) << 63, SDE_FLOAT64 };
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	TEAM_CHECK(sde__share_create(&storage, &rank->accord, PATH, &half, NULL, &threads, &error) ==
		   -EINVAL, "%s", error.text);
	TEAM_CHECK(strstr(error.text, "trajectories"), "%s", error.text);
}

static void more_trajectories_than_a_number_has_are_refused(void **state)
{
	(void)state;
	team_run(2, begin_too_large, NULL);
	assert_int_equal(scratch_entries("."), 0);
}

/* What ranks left is looked at: the worst that befell a column is the store's. */
static void of_columns_the_worst_is_told(void **state)
{
	static const uint64_t stop[] = { T + 3, T + 2, T + 3 };
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct plan plan = a_plan(1, 24);
	struct sde_storage *storage;
	struct sde_array *data;
	double x[24 * (T + 2)];
	unsigned char *bytes;
	size_t size;

	(void)state;
	plan.stop = stop;
	plan.save_at = T + 1;
	run_and_die(3, &plan);
	/* a copy, whose rings are not believed */
	assert_int_equal(system("cp -r " PATH " copy.zarr"), 0);
	assert_int_equal(sde_storage_open(&storage, "copy.zarr", NULL, NULL), 0);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_int_equal(info.state, SDE_STATE_CRASHED);
	assert_int_equal(info.committed, T + 1);
	assert_int_equal(info.ignored, 2);
	assert_int_equal(sde_storage_close(storage), 0);
	plan.stop = NULL;
	plan.resume = plan.by_store = true;
	plan.to = T + 2;
	team_run(3, work, &plan);
	/* one column's last chunk is damaged: the others are read */
	bytes = scratch_read(PATH "/data/c/0/1/1", &size);
	scratch_write(PATH "/data/c/0/1/1", bytes, size / 2);
	free(bytes);
	assert_int_equal(sde_storage_open(&storage, PATH, NULL, NULL), 0);
	assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, x, sizeof(x)), SDE_E_CORRUPT);
	assert_int_equal(sde_array_read(data, (const uint64_t[3]){ 0, 16, T }, (const uint64_t[3]){ 1, 8, 2 },
					NULL, x, sizeof(x)), 0);
	assert_true(x[0] == team_value(0, 16, T, 0) && x[15] == team_value(0, 23, T + 1, 0));
	sde_array_close(data);
	assert_int_equal(sde_storage_close(storage), 0);
}

/* What a rank says of itself counts when it is whole, and of this run and epoch. */
static void a_status_that_is_not_whole_says_nothing(void **state)
{
	const struct sde__rank_status status = { .run = "0123456789abcde", .epoch = 3, .column = 5,
						 .held = 77 };
	struct sde__rank_status other = status;
	struct sde__home home, column;
	unsigned char *bytes;
	size_t size;
	int fd;

	(void)state;
	sde__home_init(&home, &sde__io_posix);
	home.ring = scratch_directory();
	assert_int_equal(sde__rank_status_read(&home, &status), 0);
	assert_int_equal(mkdir("5", 0777), 0);
	assert_int_equal(sde__rank_status_read(&home, &status), 0);
	sde__home_init(&column, &sde__io_posix);
	column.ring = open("5", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	column.column = 5;
	fd = sde__rank_status_open(&column, NULL);
	assert_true(fd >= 0);
	assert_int_equal(sde__rank_status_read(&home, &status), 0);
	assert_int_equal(sde__rank_status_write(&sde__io_posix, fd, &status, false, NULL), 0);
	assert_int_equal(sde__rank_status_read(&home, &status), 77);
	other.epoch = 4;
	assert_int_equal(sde__rank_status_read(&home, &other), 0);
	close(fd);
	bytes = scratch_read("5/status", &size);
	bytes[50] ^= 1;
	scratch_write("5/status", bytes, size);
	assert_int_equal(sde__rank_status_read(&home, &status), 0);
	free(bytes);
	assert_int_equal(sde__rank_status_remove(&column, NULL), 0);
	assert_int_equal(sde__rank_status_remove(&column, NULL), 0);
	assert_int_equal(sde__rank_status_read(&home, &status), 0);
	close(column.ring);
}

/* A table without others: what it is asked to give or to compare stays as it is. */
static void a_rank_alone_agrees_with_itself(void **state)
{
	const struct sde__accord *alone = &sde__accord_alone;
	const struct sde_error none = { 0 }, own = { -EIO, "cannot write 'it'" };
	struct sde__alike things[2] = { { "dimension", 3 }, { "dtype", UINT64_MAX } };
	uint64_t value[2] = { 5, UINT64_MAX };
	struct sde_error error = { 0 };

	(void)state;
	alone->give(alone->ctx, 0, value, sizeof(value));
	alone->least(alone->ctx, value, 2);
	assert_true(value[0] == 5 && value[1] == UINT64_MAX);
	assert_int_equal(sde__accord_alike(alone, things, 2, -EINVAL, &error), 0);
	assert_int_equal(sde__accord_agree(alone, &none, &error), 0);
	assert_int_equal(error.code, 0);
	/* its own error, and nothing of ranks in it */
	assert_int_equal(sde__accord_agree(alone, &own, &error), -EIO);
	assert_string_equal(error.text, own.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(several_writers_make_one_array),
		SCRATCH_TEST(a_rank_may_have_no_trajectories_or_several_columns),
		SCRATCH_TEST(a_store_goes_on_with_any_number_of_ranks),
		SCRATCH_TEST(the_longest_common_prefix_is_recovered),
		SCRATCH_TEST(truncate_is_for_all),
		SCRATCH_TEST(one_writer_goes_on_with_what_several_made),
		SCRATCH_TEST(a_rank_sees_its_own_values_at_every_moment),
		SCRATCH_TEST(a_rank_has_all_that_a_writer_alone_has),
		SCRATCH_TEST(ranks_that_disagree_are_told_which),
		SCRATCH_TEST(slices_that_are_no_columns_are_refused_on_resume),
		SCRATCH_TEST(ranks_that_stored_other_snapshots_cannot_save),
		SCRATCH_TEST(an_error_of_one_rank_is_that_of_all),
		SCRATCH_TEST(a_resume_that_fails_on_one_rank_can_be_tried_again),
		SCRATCH_TEST(a_ring_that_is_lost_is_missed_only_where_it_had_something),
		SCRATCH_TEST(what_nobody_can_begin_with_is_refused),
		SCRATCH_TEST(more_trajectories_than_a_number_has_are_refused),
		SCRATCH_TEST(of_columns_the_worst_is_told),
		SCRATCH_TEST(a_status_that_is_not_whole_says_nothing),
		SCRATCH_TEST(a_rank_alone_agrees_with_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
