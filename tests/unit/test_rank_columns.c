/* SPDX-License-Identifier: MIT */
/*
 * Stores of several columns and what every store can do: the exact last snapshot of
 * rounded ones, damage named and filled, verification; and what they cannot.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rounded.h"
#include "scratch.h"
#include "team.h"
#include "twin.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define D 2
#define N 45
#define W 16		/* columns 0:16, 16:32, 32:45 */
#define COLUMNS 3
#define T 4

static const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = false };

/* What a team does: store up to `to`, or each rank up to its own and all die. */
struct life {
	unsigned keepbits;
	bool resume, die;
	uint64_t to[COLUMNS];		/* by rank */
	uint64_t truncate_to;		/* then, unless 0 */
	enum sde_layout layout;
	bool check_last, may_be_rounded;
};

static uint64_t slice(int rank, int size, uint64_t *first)
{
	uint64_t column, columns;

	sde__share_partition(COLUMNS, rank, size, &column, &columns);
	*first = column * W;
	return columns && (column + columns) * W > N ? N - *first : columns * W;
}

static int store(struct sde_storage *storage, const struct life *life, uint64_t first,
		 uint64_t count, uint64_t m)
{
	double x[D * N];

	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < count; n++)
			x[life->layout == SDE_LAYOUT_TRAJECTORY_DIMENSION ? n * D + d : d * count + n] =
				team_value(d, first + n, m, 0);
	return sde_storage_store(storage, team_time(m), x, m);
}

/* What resume hands to an integrator. */
static void check_last(struct sde_storage *storage, const struct life *life, uint64_t first,
		       uint64_t count, uint64_t m)
{
	double x[D * N];
	int exact;

	TEAM_CHECK(!sde_storage_last(storage, x, sizeof(x), &exact), "%s", twin_sentence(storage));
	TEAM_CHECK(exact || life->may_be_rounded, "snapshot %llu", (unsigned long long)m);
	for (uint64_t d = 0; exact && d < D; d++)
		for (uint64_t n = 0; n < count; n++)
			TEAM_CHECK(x[life->layout == SDE_LAYOUT_TRAJECTORY_DIMENSION ? n * D + d :
				     d * count + n] == team_value(d, first + n, m, 0),
				   "m %llu d %llu n %llu", (unsigned long long)m,
				   (unsigned long long)d, (unsigned long long)n);
}

static void live(struct team_rank *rank)
{
	const struct life *life = rank->ctx;
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_ensemble local = { D, 0, SDE_FLOAT64 };
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	uint64_t first;
	int ret;

	local.trajectories = slice(rank->rank, rank->accord.size, &first);
	options.chunk_size = life->resume ? 0 : T;
	options.trajectories_per_chunk = life->resume ? 0 : 8;
	options.keepbits = life->keepbits;
	options.overwrite = !life->resume;
	options.layout = life->layout;
	options.segments = 3;
	options.threads = 1;
	options.sync = SDE_SYNC_NONE;
	ret = life->resume ? sde__share_resume(&storage, &rank->accord, PATH, NULL, &options, &hooks,
					       &error) :
	      sde__share_create(&storage, &rank->accord, PATH, &local, &options, &hooks, &error);
	TEAM_CHECK(!ret, "%s", error.text);
	TEAM_CHECK(!sde_storage_info(storage, &info), " ");
	if (life->check_last && local.trajectories)
		check_last(storage, life, first, local.trajectories, info.committed - 1);
	for (uint64_t m = info.committed; m < life->to[rank->rank]; m++) {
		TEAM_CHECK(!store(storage, life, first, local.trajectories, m), "%s",
			   twin_sentence(storage));
		if (local.trajectories)
			check_last(storage, life, first, local.trajectories, m);
	}
	if (life->truncate_to)
		TEAM_CHECK(!sde_storage_truncate(storage, life->truncate_to), "%s",
			   twin_sentence(storage));
	team_meet(rank);
	if (life->die)
		_exit(0);
	TEAM_CHECK(!sde_storage_close_error(storage, &error), "%s", error.text);
}

static void live_and_die(int size, struct life *life)
{
	life->die = true;
	team_run_and_die(size, live, life);
	life->die = false;
}

static struct sde_storage *open_store(enum sde_hole on_hole)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	options.on_hole = on_hole;
	twin_assert_ok(sde__zarr_open(&storage, PATH, &options, &hooks, &error), error.text);
	return storage;
}

/* ------------------------------------------------------------------------
 * The exact last snapshot
 */

/* The whole store's, by anybody: exact; and values are rounded ones. */
static void check_whole(const struct life *life, uint64_t snapshots)
{
	struct sde_storage *storage = open_store(SDE_HOLE_DEFAULT);
	struct life plain = *life;
	struct sde_array *data, *time;
	double x, expected;

	plain.layout = SDE_LAYOUT_DIMENSION_TRAJECTORY;
	check_last(storage, &plain, 0, N, snapshots - 1);
	twin_assert_ok(sde_storage_values(storage, &time, &data), twin_sentence(storage));
	for (uint64_t m = 0; m < snapshots; m++)
		for (uint64_t n = 0; n < N; n++) {
			expected = team_value(1, n, m, 0);
			rounded_in_place(8, life->keepbits, &expected, 1);
			assert_int_equal(sde_array_read(data, (uint64_t[]){ 1, n, m }, (uint64_t[]){ 1, 1, 1 },
							NULL, &x, sizeof(x)), 0);
			assert_memory_equal(&x, &expected, sizeof(x));
		}
	sde_array_close(data);
	sde_array_close(time);
	sde_storage_close(storage);
}

static void the_last_snapshot_stays_exact_for_any_number_of_ranks(void **state)
{
	static const int sizes[] = { 3, 1, 2, 3 };

	(void)state;
	for (int die = 0; die < 2; die++)
		for (uint64_t m = 1; m <= 2 * T + 1; m++) {
			struct life life = { .keepbits = 6 };

			for (int i = 0; i < 4; i++) {
				for (int r = 0; r < COLUMNS; r++)
					life.to[r] = m + (uint64_t)i;
				life.layout = (m + (uint64_t)i) % 2 ? SDE_LAYOUT_TRAJECTORY_DIMENSION :
					      SDE_LAYOUT_DIMENSION_TRAJECTORY;
				if (die)
					live_and_die(sizes[i], &life);
				else
					team_run(sizes[i], live, &life);
				check_whole(&life, life.to[0]);
				life.resume = life.check_last = true;
			}
			team_run(2, live, &life);
			check_whole(&life, life.to[0]);
		}
}

/* What another column's ring had dropped is rounded, and said to be. */
static void ranks_that_died_apart_say_what_is_exact(void **state)
{
	static const uint64_t stops[][COLUMNS] = {
		{ 5, 6, 7 }, { 9, 6, 14 }, { 3, 11, 8 }, { 8, 8, 9 }, { 4, 16, 4 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(stops) / sizeof(*stops); i++) {
		struct life life = { .keepbits = 6 };

		memcpy(life.to, stops[i], sizeof(life.to));
		live_and_die(3, &life);
		life = (struct life){ .keepbits = 6, .resume = true, .check_last = true,
				      .may_be_rounded = true };
		team_run(3, live, &life);
		life.to[0] = life.to[1] = 20;
		life.may_be_rounded = true;
		team_run(2, live, &life);
		check_whole(&life, 20);
	}
}

static void truncate_keeps_the_exact_numbers_that_are_in_the_ring(void **state)
{
	(void)state;
	for (uint64_t to = 5; to < 9; to++) {
		struct life life = { .keepbits = 6, .to = { 9, 9, 9 }, .truncate_to = to };

		team_run(3, live, &life);
		check_whole(&life, to);
		life = (struct life){ .keepbits = 6, .to = { 10, 10, 10 }, .resume = true,
				      .check_last = true };
		team_run(2, live, &life);
		check_whole(&life, 10);
	}
}

/* ------------------------------------------------------------------------
 * Damage
 */

static void make_closed(void)
{
	struct life life = { .to = { 3 * T + 1, 3 * T + 1, 3 * T + 1 } };

	team_run(COLUMNS, live, &life);
}

struct told {
	unsigned count;
	struct sde_damage damage[8];
	char file[8][320];
};

static void tell(void *ctx, const struct sde_damage *damage)
{
	struct told *told = ctx;

	assert_true(told->count < 8);
	told->damage[told->count] = *damage;
	snprintf(told->file[told->count++], 320, "%s", damage->file);
}

static int verify(struct told *told)
{
	struct sde_storage *storage = open_store(SDE_HOLE_DEFAULT);
	const struct sde_verify v = { .lost = tell, .ctx = told };
	int ret;

	memset(told, 0, sizeof(*told));
	ret = sde_storage_verify(storage, &v);
	sde_storage_close(storage);
	return ret;
}

static void assert_damage(const struct told *told, unsigned i, unsigned lost, unsigned restorable,
			  const uint64_t snapshots[2], const uint64_t trajectories[2],
			  const char *file)
{
	const struct sde_damage *damage = &told->damage[i];

	assert_true(i < told->count);
	assert_int_equal(damage->lost, lost);
	assert_int_equal(damage->restorable, restorable);
	assert_memory_equal(damage->snapshots, snapshots, 16);
	assert_memory_equal(damage->trajectories, trajectories, 16);
	assert_non_null(strstr(told->file[i], file));
}

static void flip(const char *path, size_t at)
{
	unsigned char *bytes;
	size_t size;

	bytes = scratch_read(path, &size);
	assert_true(at < size);
	bytes[at] ^= 0x10;
	scratch_write(path, bytes, size);
	free(bytes);
}

/* Where an inner chunk of two begins, by the index at the end: 2 x 16 bytes, a checksum. */
static size_t begin_of(const char *path, unsigned inner)
{
	unsigned char *bytes;
	uint64_t offset;
	size_t size;

	bytes = scratch_read(path, &size);
	memcpy(&offset, bytes + size - 36 + (size_t)inner * 16, sizeof(offset));
	free(bytes);
	return (size_t)offset;
}

/* Only the named trajectories of snapshots a:b are NaN, and the handle says so. */
static void check_filled(const uint64_t snapshots[2], const uint64_t trajectories[2],
			 const char *file)
{
	struct sde_storage *storage = open_store(SDE_HOLE_NAN);
	struct sde_array *time, *data;
	double x[D][N][3 * T + 1], t[3 * T + 1];
	struct told told = { 0 };

	twin_assert_ok(sde_storage_values(storage, &time, &data), twin_sentence(storage));
	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, x, sizeof(x)), 0);
	assert_int_equal(sde_array_read(time, NULL, NULL, NULL, t, sizeof(t)), 0);
	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < N; n++)
			for (uint64_t m = 0; m < 3 * T + 1; m++)
				if (m >= snapshots[0] && m < snapshots[1] && n >= trajectories[0] &&
				    n < trajectories[1])
					assert_true(isnan(x[d][n][m]));
				else
					assert_true(x[d][n][m] == team_value(d, n, m, 0));
	for (uint64_t m = 0; m < 3 * T + 1; m++)
		assert_true(t[m] == team_time(m));
	/* met again they add nothing */
	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, x, sizeof(x)), 0);
	assert_int_equal(sde_array_holes(data, tell, &told), 1);
	assert_damage(&told, 0, SDE_PART_DATA, 0, snapshots, trajectories, file);
	assert_int_equal(sde_array_holes(time, NULL, NULL), 0);
	sde_array_close(time);
	sde_array_close(data);
	sde_storage_close(storage);
}

static void a_lost_chunk_of_one_rank_costs_its_trajectories(void **state)
{
	static const char *const files[] = { PATH "/data/c/0/0/1", PATH "/data/c/0/1/1",
					     PATH "/data/c/0/2/1" };
	const uint64_t snapshots[2] = { T, 2 * T };
	struct told told;

	(void)state;
	for (uint64_t c = 0; c < COLUMNS; c++) {
		const uint64_t trajectories[2] = { c * W, c == 2 ? N : (c + 1) * W };
		struct sde_array *time, *data;
		struct sde_error error = { 0 };
		struct sde_storage *storage;
		char sentence[64];
		double x[D * N * T];

		make_closed();
		assert_int_equal(unlink(files[c]), 0);
		assert_int_equal(verify(&told), SDE_E_HOLE);
		assert_int_equal(told.count, 1);
		assert_damage(&told, 0, SDE_PART_DATA, 0, snapshots, trajectories, files[c]);
		check_filled(snapshots, trajectories, files[c]);
		storage = open_store(SDE_HOLE_DEFAULT);
		twin_assert_ok(sde_storage_values(storage, &time, &data), twin_sentence(storage));
		assert_int_equal(sde_array_read(data, (uint64_t[]){ 0, 0, T }, (uint64_t[]){ D, N, T }, NULL,
						x, sizeof(x)), SDE_E_HOLE);
		snprintf(sentence, sizeof(sentence), "lost snapshots 4:8, trajectories %d:%d",
			 (int)trajectories[0], (int)trajectories[1]);
		sde_array_error(data, &error);
		twin_assert_sentence(error.text, sentence, files[c]);
		sde_array_close(time);
		sde_array_close(data);
		sde_storage_close(storage);
	}
}

/* Two inner chunks a shard: the second of column 1 has trajectories 24:32. */
static void a_damaged_inner_chunk_is_named_by_the_trajectories_of_the_store(void **state)
{
	const uint64_t snapshots[2] = { T, 2 * T }, trajectories[2] = { 24, 32 };
	struct told told;

	(void)state;
	make_closed();
	flip(PATH "/data/c/0/1/1", begin_of(PATH "/data/c/0/1/1", 1) + 20);
	assert_int_equal(verify(&told), SDE_E_CORRUPT);
	assert_int_equal(told.count, 1);
	assert_damage(&told, 0, SDE_PART_DATA, 0, snapshots, trajectories, "c/0/1/1");
	check_filled(snapshots, trajectories, "c/0/1/1");
}

static void times_are_there_while_any_column_has_them(void **state)
{
	const uint64_t second[2] = { T, 2 * T }, all[2] = { 0, N };
	const uint64_t first_column[2] = { 0, W };
	struct sde_array *time, *data;
	struct sde_storage *storage;
	double t[3 * T + 1];
	struct told told;
	unsigned lost = 0;

	(void)state;
	make_closed();
	flip(PATH "/time/c/0", 20);
	assert_int_equal(unlink(PATH "/data/c/0/0/1"), 0);
	assert_int_equal(verify(&told), SDE_E_CORRUPT);
	/* one damage for each chunk's share of the block, and the lost chunk's data */
	assert_int_equal(told.count, 5);
	for (unsigned i = 0; i < told.count; i++) {
		lost |= told.damage[i].lost;
		if (told.damage[i].lost)
			assert_damage(&told, i, SDE_PART_DATA, 0, second, first_column, "c/0/0/1");
		else
			assert_int_equal(told.damage[i].restorable, SDE_PART_TIME);
		if (!told.damage[i].lost)
			assert_memory_equal(told.damage[i].trajectories, all, 16);
	}
	assert_int_equal(lost, SDE_PART_DATA);
	storage = open_store(SDE_HOLE_NAN);
	twin_assert_ok(sde_storage_values(storage, &time, &data), twin_sentence(storage));
	assert_int_equal(sde_array_read(time, NULL, NULL, NULL, t, sizeof(t)), 0);
	for (uint64_t m = 0; m < 3 * T + 1; m++)
		assert_true(t[m] == team_time(m));
	sde_array_close(time);
	sde_array_close(data);
	sde_storage_close(storage);
}

static int count_progress(void *ctx, uint64_t done, uint64_t all)
{
	uint64_t *last = ctx;

	assert_true(done >= *last && done <= all && all == 3 * T + 1);
	*last = done;
	return 0;
}

static void verification_goes_from_nothing_to_all(void **state)
{
	struct sde_storage *storage;
	uint64_t done = 0;
	const struct sde_verify v = { .progress = count_progress, .ctx = &done };

	(void)state;
	make_closed();
	storage = open_store(SDE_HOLE_DEFAULT);
	twin_assert_ok(sde_storage_verify(storage, &v), twin_sentence(storage));
	assert_int_equal(done, 3 * T + 1);
	sde_storage_close(storage);
}

/* ------------------------------------------------------------------------
 * All ways to read
 */

/* What is lost; nothing if snapshots are 0:0. */
struct lost {
	uint64_t snapshots[2], trajectories[2];
};

static void judge(const struct lost *lost, double x, uint64_t d, uint64_t n, uint64_t m)
{
	if (m >= lost->snapshots[0] && m < lost->snapshots[1] && n >= lost->trajectories[0] &&
	    n < lost->trajectories[1])
		assert_true(isnan(x));
	else
		assert_true(x == team_value(d, n, m, 0));
}

struct walk {
	const struct lost *lost;
	pthread_mutex_t lock;
	uint64_t numbers;
};

static int look(void *ctx, const struct sde_block *block)
{
	struct walk *walk = ctx;

	pthread_mutex_lock(&walk->lock);
	for (uint64_t d = 0; d < block->count[0]; d++)
		for (uint64_t n = 0; n < block->count[1]; n++)
			for (uint64_t m = 0; m < block->count[2]; m++, walk->numbers++) {
				const int64_t at = (int64_t)d * block->strides[0] +
						   (int64_t)n * block->strides[1] +
						   (int64_t)m * block->strides[2];

				judge(walk->lost, *(const double *)(const void *)
				      ((const char *)block->data + at), block->start[0] + d,
				      block->start[1] + n, block->start[2] + m);
			}
	pthread_mutex_unlock(&walk->lock);
	return 0;
}

static void check_walks(struct sde_array *data, const struct lost *lost, uint64_t snapshots)
{
	for (unsigned threads = 0; threads < 4; threads += 3)
		for (int whole = 0; whole < 2; whole++) {
			struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;
			struct walk walk = { .lost = lost, .lock = PTHREAD_MUTEX_INITIALIZER };

			options.threads = threads;
			options.whole_snapshots = whole;
			assert_int_equal(sde_array_walk(data, &options, look, &walk), 0);
			assert_int_equal(walk.numbers, D * N * snapshots);
		}
}

static void check_map(struct sde_array *data, const struct lost *lost, uint64_t snapshots,
		      enum sde_paging paging)
{
	struct sde_map_options options = SDE_MAP_OPTIONS_INIT;
	const void *base;
	int64_t strides[3];

	options.paging = paging;
	assert_int_equal(sde_array_map_with(data, &options, &base, strides), 0);
	for (uint64_t m = 0; m < snapshots; m++)
		for (uint64_t n = 0; n < N; n++)
			judge(lost, *(const double *)(const void *)((const char *)base + strides[0] +
			      (int64_t)n * strides[1] + (int64_t)m * strides[2]), 1, n, m);
}

static void check_read(struct sde_array *data, const struct lost *lost, uint64_t snapshots)
{
	double *x = malloc(D * N * snapshots * sizeof(*x)), *p = x;

	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, x, D * N * snapshots * sizeof(*x)), 0);
	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < N; n++)
			for (uint64_t m = 0; m < snapshots; m++)
				judge(lost, *p++, d, n, m);
	free(x);
}

/* With threads, with a cache, block by block, through a pointer. */
static void check_all_ways(const struct lost *lost, uint64_t snapshots)
{
	for (int way = 0; way < 4; way++) {
		struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
		struct sde_array *time, *data, *iteration;
		struct sde_error error = { 0 };
		struct sde_storage *storage;

		options.threads = way & 1 ? 3 : 0;
		options.cache_bytes = way & 2 ? 4096 : 0;
		options.on_hole = SDE_HOLE_NAN;
		twin_assert_ok(sde__zarr_open(&storage, PATH, &options, &hooks, &error), error.text);
		twin_assert_ok(sde_storage_arrays(storage, &time, &data, &iteration),
			       twin_sentence(storage));
		assert_int_equal(sde_array_shape(data)[2], snapshots);
		check_read(data, lost, snapshots);
		check_walks(data, lost, snapshots);
		check_map(data, lost, snapshots, way & 1 ? SDE_PAGING_SIGNAL : SDE_PAGING_DEFAULT);
		assert_int_equal(sde_array_holes(data, NULL, NULL), lost->snapshots[1] != 0);
		sde_array_close(time);
		sde_array_close(data);
		sde_array_close(iteration);
		sde_storage_close(storage);
	}
}

static void all_ways_to_read_see_the_same(void **state)
{
	const struct lost nothing = { 0 };
	const struct lost chunk = { { T, 2 * T }, { W, 2 * W } };
	struct life life = { .to = { 10, 10, 11 } };

	(void)state;
	make_closed();
	check_all_ways(&nothing, 3 * T + 1);
	assert_int_equal(unlink(PATH "/data/c/0/1/1"), 0);
	check_all_ways(&chunk, 3 * T + 1);
	/* the newest are in rings */
	live_and_die(COLUMNS, &life);
	check_all_ways(&nothing, 10);
}

struct columns {
	int count;
	struct sde_column_info column[COLUMNS];
};

static void take_column(void *ctx, const struct sde_column_info *column)
{
	struct columns *columns = ctx;

	assert_true(columns->count < COLUMNS);
	columns->column[columns->count++] = *column;
}

static void columns_tell_how_far_each_has_come(void **state)
{
	static const uint64_t edges[] = { 0, W, 2 * W, N };
	struct life life = { .to = { 5, 9, 7 } };
	struct sde_storage *storage;

	(void)state;
	assert_int_equal(sde_storage_columns(NULL, take_column, NULL), -EINVAL);
	for (int closed = 0; closed < 2; closed++) {
		struct columns columns = { 0 };

		if (closed) {
			life = (struct life){ .to = { 5, 5, 5 } };
			team_run(COLUMNS, live, &life);
		} else {
			live_and_die(COLUMNS, &life);
		}
		storage = open_store(SDE_HOLE_DEFAULT);
		assert_int_equal(sde_storage_columns(storage, NULL, NULL), COLUMNS);
		assert_int_equal(sde_storage_columns(storage, take_column, &columns), COLUMNS);
		assert_int_equal(columns.count, COLUMNS);
		for (int c = 0; c < COLUMNS; c++) {
			const struct sde_column_info *column = &columns.column[c];

			assert_int_equal(column->trajectories[0], edges[c]);
			assert_int_equal(column->trajectories[1], edges[c + 1]);
			assert_int_equal(column->committed, life.to[c]);
			assert_true(column->sealed % T == 0 && column->sealed <= column->committed);
			assert_int_equal(column->state, closed ? SDE_STATE_CLOSED : SDE_STATE_CRASHED);
		}
		sde_storage_close(storage);
	}
}

/* A reader that looks again sees what all ranks have stored since. */
static void refresh_sees_what_ranks_have_stored_since(void **state)
{
	struct life life = { .to = { 5, 6, 5 } };
	struct sde_storage *storage;
	struct sde_array *data;

	(void)state;
	live_and_die(COLUMNS, &life);
	storage = open_store(SDE_HOLE_DEFAULT);
	life = (struct life){ .to = { 9, 9, 9 }, .resume = true };
	team_run(2, live, &life);
	twin_assert_ok(sde_storage_refresh(storage), twin_sentence(storage));
	twin_assert_ok(sde_storage_values(storage, NULL, &data), twin_sentence(storage));
	assert_int_equal(sde_array_shape(data)[2], 9);
	sde_array_close(data);
	life = (struct life){ .to = { 4, 4, 4 } };
	team_run(COLUMNS, live, &life);
	assert_int_equal(sde_storage_refresh(storage), SDE_E_STALE);
	sde_storage_close(storage);
}

/* Before anything is allocated by what the metadata say. */
static void a_store_that_lacks_a_column_is_refused(void **state)
{
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	(void)state;
	make_closed();
	assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH "/data/c/0/2"), 0);
	twin_assert_is(sde__zarr_resume(&storage, PATH, NULL, &hooks, &error), SDE_E_CORRUPT, error.text);
	twin_assert_sentence(error.text, "3 columns, but directories of 2", PATH);
	assert_null(storage);
	sde__error_clear(&error);
	twin_assert_is(sde__zarr_open(&storage, PATH, NULL, &hooks, &error), SDE_E_CORRUPT, error.text);
	twin_assert_sentence(error.text, "'2'", PATH);
	assert_false(scratch_exists(PATH "/data/.ring"));
}

/* ------------------------------------------------------------------------
 * Repair
 */

static void expect_refused(void)
{
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
	struct sde_error error = { 0 };

	for (options.dry_run = 0; options.dry_run < 2; options.dry_run++) {
		twin_assert_is(sde__zarr_repair(PATH, &options, &sde__io_posix, &error),
			       SDE_E_UNSUPPORTED, error.text);
		twin_assert_sentence(error.text, "was written by several ranks", PATH);
		sde__error_clear(&error);
	}
}

/* Rings, status files and what a killed writer left are others' to handle. */
static void repair_touches_nothing_of_several_ranks(void **state)
{
	static const char *const there[] = {
		PATH "/data/.ring/lock", PATH "/data/.ring/0/header", PATH "/data/.ring/1/lock",
		PATH "/data/.ring/2/status", PATH "/data/.ring/2/segment.0", PATH "/data/c/0/1/9.tmp",
	};
	struct life life = { .to = { 5, 6, 7 } };

	(void)state;
	live_and_die(COLUMNS, &life);
	scratch_write(PATH "/data/c/0/1/9.tmp", "x", 1);
	expect_refused();
	for (size_t i = 0; i < sizeof(there) / sizeof(*there); i++)
		assert_true(scratch_exists(there[i]));
	/* what it advises */
	life = (struct life){ .resume = true };
	team_run(1, live, &life);
	assert_false(scratch_exists(PATH "/data/c/0/1/9.tmp"));
	assert_false(scratch_exists(PATH "/data/.ring"));
}

/* A store that is being made, of which the rank that leads died alone. */
static void what_a_live_rank_is_making_is_left_alone(void **state)
{
	static const char *const files[] = {
		".run.zarr.0123456789ab.new", ".run.zarr.0123456789ab.new/data",
		".run.zarr.0123456789ab.new/data/.ring", ".run.zarr.0123456789ab.new/data/.ring/1",
	};
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
	const struct sde__io *io = &sde__io_posix;
	struct sde_error error = { 0 };
	int fd;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(mkdir(files[i], 0777), 0);
	scratch_write(".run.zarr.0123456789ab.new/data/.ring/1/lock", "", 0);
	fd = io->open_at(io->ctx, -1, ".run.zarr.0123456789ab.new/data/.ring/1/lock", O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(io->lock(io->ctx, fd), 0);
	assert_int_equal(sde__zarr_repair(PATH, &options, io, &error), -ENOENT);
	assert_true(scratch_exists(files[3]));
	io->close(io->ctx, fd);
	assert_int_equal(sde__zarr_repair(PATH, &options, io, NULL), 0);
	assert_false(scratch_exists(files[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(the_last_snapshot_stays_exact_for_any_number_of_ranks),
		SCRATCH_TEST(ranks_that_died_apart_say_what_is_exact),
		SCRATCH_TEST(truncate_keeps_the_exact_numbers_that_are_in_the_ring),
		SCRATCH_TEST(a_lost_chunk_of_one_rank_costs_its_trajectories),
		SCRATCH_TEST(a_damaged_inner_chunk_is_named_by_the_trajectories_of_the_store),
		SCRATCH_TEST(times_are_there_while_any_column_has_them),
		SCRATCH_TEST(all_ways_to_read_see_the_same),
		SCRATCH_TEST(columns_tell_how_far_each_has_come),
		SCRATCH_TEST(refresh_sees_what_ranks_have_stored_since),
		SCRATCH_TEST(a_store_that_lacks_a_column_is_refused),
		SCRATCH_TEST(verification_goes_from_nothing_to_all),
		SCRATCH_TEST(repair_touches_nothing_of_several_ranks),
		SCRATCH_TEST(what_a_live_rank_is_making_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
