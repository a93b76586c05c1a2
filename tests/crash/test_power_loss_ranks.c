/* SPDX-License-Identifier: MIT */
/*
 * Several writers of one store in a file system that forgets (sim_fs.h): crashed at
 * every event, and what is found is compared with what had returned on all ranks.
 *
 * Ranks are threads of which one runs at a time: before every call of the io table the
 * seed says who goes on. So all interleavings can come up, and each again by its seed.
 * Of a store there is what every rank has: its bounds are the least over the ranks.
 *
 * Environment: SDE_TEST_SEED (1), SDE_TEST_STATES (4,000; a tenth of it with a
 * sanitizer; 200,000 with SDE_TEST_LONG).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "publisher_state.h"
#include "share_storage.h"
#include "sim_fs.h"
#include "sim_oracle.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PATH "runs/run.zarr"
#define RANKS 4
#define W 8
#define MOST 48			/* snapshots */
#define LIVES 8			/* of a store */
#define STATES 4000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHARE 10
#else
#define SHARE 1
#endif

/* What the store must hold. Plain numbers: a crash takes a copy. */
struct oracle {
	uint64_t trajectories, width;	/* of a column, which is what rank 0 has at first */
	int ranks;			/* that write it now */
	uint64_t returned[RANKS], high[RANKS], acknowledged[RANKS];
	uint64_t life, lives[MOST];	/* in which one a snapshot was stored */
	uint64_t truncate_to;		/* by somebody who has not returned; or SIM_NEVER */
	bool creating, rebooted;
	bool unsafe;			/* written without syncs: a power loss may take anything */
};

enum act { STORE, SAVE, SYNC, TRUNCATE };

struct plan {
	bool resume;
	struct sde_zarr_options options;
	struct {
		enum act act;
		uint64_t n;
	} step[12];
	int steps;
};

static struct {
	struct sim *sim;
	struct sde__io plain;		/* the simulation's own table */
	struct oracle oracle;
	struct plan plan;
	uint64_t seed, dice, budget, dense;
	/* whose turn it is */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int size, turn, arrived;
	bool waits[RANKS], done[RANKS];
	/* an agreement */
	uint64_t least[64];
	unsigned char given[1024];
	bool first, begun;
	const char *call, *loss;	/* where a state comes from */
	char name[64];
	/* a crash to go on from */
	struct sim *grabbed;
	struct oracle grabbed_oracle;
	/* totals */
	uint64_t states, events, recoveries, nested, lives, apart;
} run;

static _Thread_local int my_rank = -1;

#define DEMAND(condition, ...) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "seed %" PRIu64 ", state %" PRIu64 ", at %s of %s, %s: %s: ", \
				run.seed, run.states, run.call, run.name, run.loss, #condition); \
			fprintf(stderr, __VA_ARGS__); \
			fputc('\n', stderr); \
			abort(); \
		} \
	} while (0)

/* ------------------------------------------------------------------------
 * Turns
 */

/* Somebody who can go on; -1: nobody. */
static int pick(void)
{
	int able[RANKS], count = 0;

	for (int r = 0; r < run.size; r++)
		if (!run.waits[r] && !run.done[r])
			able[count++] = r;
	return count ? able[sim_below(&run.dice, (uint64_t)count)] : -1;
}

/* Under the lock: hand over, and wait for the next turn. */
static void hand_over(int to)
{
	run.turn = to;
	pthread_cond_broadcast(&run.changed);
	while (run.turn != my_rank)
		pthread_cond_wait(&run.changed, &run.lock);
}

static void yield(void)
{
	int to;

	if (my_rank < 0)
		return;
	pthread_mutex_lock(&run.lock);
	to = pick();
	if (to != my_rank)
		hand_over(to);
	pthread_mutex_unlock(&run.lock);
}

/* Until all are here. That all are waiting for something else is a deadlock. */
static void meet(void)
{
	pthread_mutex_lock(&run.lock);
	run.waits[my_rank] = true;
	if (++run.arrived == run.size) {
		run.arrived = 0;
		memset(run.waits, 0, sizeof(run.waits));
		run.first = true;
	}
	{
		const int to = pick();

		DEMAND(to >= 0, "rank %d waits for one that has left", my_rank);
		if (to != my_rank)
			hand_over(to);
	}
	pthread_mutex_unlock(&run.lock);
}

static void give(void *ctx, int from, void *bytes, size_t n)
{
	(void)ctx;
	DEMAND(n <= sizeof(run.given), "%zu", n);
	if (from == my_rank)
		memcpy(run.given, bytes, n);
	meet();
	memcpy(bytes, run.given, n);
	meet();
}

static void least(void *ctx, uint64_t *values, size_t n)
{
	(void)ctx;
	DEMAND(n <= 64, "%zu", n);
	for (size_t i = 0; i < n; i++)
		if (run.first || values[i] < run.least[i])
			run.least[i] = values[i];
	run.first = false;
	meet();
	memcpy(values, run.least, n * sizeof(*values));
	meet();
}

/* Before a call that changes or syncs something another rank may come. */
#define TURNING(type, name, parameters, arguments) \
	static type turning_##name parameters \
	{ \
		yield(); \
		return run.plain.name arguments; \
	}
TURNING(int, open_at, (void *ctx, int dir, const char *path, int flags), (ctx, dir, path, flags))
TURNING(int, make_directory_at, (void *ctx, int dir, const char *path), (ctx, dir, path))
TURNING(int, remove_at, (void *ctx, int dir, const char *path, bool d), (ctx, dir, path, d))
TURNING(int, rename_at, (void *ctx, int a, const char *from, int b, const char *to),
	(ctx, a, from, b, to))
TURNING(int64_t, pwrite, (void *ctx, int fd, const void *in, size_t n, uint64_t offset),
	(ctx, fd, in, n, offset))
TURNING(int, sync, (void *ctx, int fd), (ctx, fd))
TURNING(int, allocate, (void *ctx, int fd, uint64_t size), (ctx, fd, size))
TURNING(int, sync_map, (void *ctx, void *address, size_t size), (ctx, address, size))

static void turning_copy(void *ctx, void *to, const void *from, size_t n)
{
	yield();
	run.plain.copy(ctx, to, from, n);
}

static void turning_commit(void *ctx, uint64_t *counter, uint64_t value)
{
	yield();
	run.plain.commit(ctx, counter, value);
}

static void take_turns(struct sim *sim)
{
	run.sim = sim;
	if (sim->io.open_at == turning_open_at)
		return;		/* a life behind one that was closed */
	run.plain = sim->io;
	sim->io.open_at = turning_open_at;
	sim->io.make_directory_at = turning_make_directory_at;
	sim->io.remove_at = turning_remove_at;
	sim->io.rename_at = turning_rename_at;
	sim->io.pwrite = turning_pwrite;
	sim->io.sync = turning_sync;
	sim->io.allocate = turning_allocate;
	sim->io.sync_map = turning_sync_map;
	sim->io.copy = turning_copy;
	sim->io.commit = turning_commit;
}

/* ------------------------------------------------------------------------
 * What must be there
 */

static double value(const struct oracle *o, uint64_t n, uint64_t m)
{
	return (double)(sim_mix(o->lives[m] << 32 ^ n << 16 ^ m) >> 12);
}

static uint64_t columns_of(const struct oracle *o)
{
	return (o->trajectories + o->width - 1) / o->width;
}

static uint64_t least_of(const struct oracle *o, const uint64_t *counts)
{
	uint64_t all = SIM_NEVER;

	for (int r = 0; r < o->ranks; r++)
		if (counts[r] < all)
			all = counts[r];
	return all;
}

static bool allows(const struct oracle *o, bool power, uint64_t snapshots)
{
	const uint64_t low = least_of(o, power || o->rebooted ? o->acknowledged : o->returned);

	return (snapshots >= low && snapshots <= least_of(o, o->high)) ||
	       snapshots == o->truncate_to;
}

static void compare(const struct oracle *o, struct sde_storage *storage, uint64_t snapshots)
{
	struct sde_array *time, *data, *iteration;
	const size_t size = o->trajectories * snapshots * sizeof(double);
	double *x = malloc(size + 1), t[MOST];
	int64_t i[MOST];

	if (!snapshots) {
		free(x);
		return;
	}
	DEMAND(!sde_storage_arrays(storage, &time, &data, &iteration), " ");
	DEMAND(sde_array_shape(data)[2] == snapshots, "%" PRIu64, sde_array_shape(data)[2]);
	DEMAND(!sde_array_read(data, NULL, NULL, NULL, x, size), " ");
	DEMAND(!sde_array_read(time, NULL, NULL, NULL, t, snapshots * sizeof(*t)), " ");
	DEMAND(!sde_array_read(iteration, NULL, NULL, NULL, i, snapshots * sizeof(*i)), " ");
	for (uint64_t n = 0; n < o->trajectories; n++)
		for (uint64_t m = 0; m < snapshots; m++)
			DEMAND(x[n * snapshots + m] == value(o, n, m), "n %" PRIu64 " m %" PRIu64 " of %"
			       PRIu64 " is %.17g, not %.17g", n, m, snapshots, x[n * snapshots + m],
			       value(o, n, m));
	for (uint64_t m = 0; m < snapshots; m++)
		DEMAND(t[m] == (double)m + (double)o->lives[m] / 1024 && i[m] == (int64_t)m,
		       "m %" PRIu64, m);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	free(x);
}

static uint64_t count(struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	DEMAND(!sde_storage_info(storage, &info), " ");
	return info.committed;
}

static int store(struct sde_storage *storage, struct oracle *o, uint64_t first, uint64_t trajectories,
		 uint64_t m)
{
	double x[RANKS * W * 2];

	o->lives[m] = o->life;
	for (uint64_t n = 0; n < trajectories; n++)
		x[n] = value(o, first + n, m);
	return sde_storage_store(storage, (double)m + (double)o->life / 1024, x, m);
}

/* ------------------------------------------------------------------------
 * A crash state
 */

struct nest {
	struct sim *sim, *state;
	uint64_t at, seed;
	enum sim_loss loss;
};

static void crash_recovery(void *ctx, const struct sim_event *event)
{
	struct nest *nest = ctx;

	(void)event;
	if (!nest->state && nest->sim->events >= nest->at)
		nest->state = sim_crash(nest->sim, nest->loss, nest->seed);
}

/* Consumes the state. `depth` 0: its recovery may be crashed, too. */
static void examine(struct sim *sim, const struct oracle *must, bool power, uint64_t seed, int depth)
{
	const struct sde__zarr_hooks hooks = { .io = &sim->io, .synchronous = true };
	struct nest nest = { .sim = sim, .seed = seed ^ 77 };
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct oracle o = *must;
	uint64_t found, dice = seed;
	int ret;

	sim->hook = NULL;
	o.rebooted |= power;
	ret = sde__zarr_open(&storage, PATH, NULL, &hooks, &error);
	if (ret && o.creating && (ret == -ENOENT || ret == SDE_E_NOT_STORE)) {
		sim_free(sim);
		return;
	}
	DEMAND(!ret, "open: %s", error.text);
	found = count(storage);
	DEMAND(allows(&o, power, found), "a reader sees %" PRIu64 " of %" PRIu64 " to %" PRIu64
	       ", truncated to %" PRId64 ", unsafe %d, life %" PRIu64, found,
	       least_of(&o, power || o.rebooted ? o.acknowledged : o.returned), least_of(&o, o.high),
	       (int64_t)o.truncate_to, o.unsafe, o.life);
	compare(&o, storage, found);
	sde_storage_close(storage);
	if (depth == 0 && sim_below(&dice, 6) == 0) {
		nest.at = sim->events + 1 + sim_below(&dice, 60);
		nest.loss = o.unsafe ? SIM_KILLED : (enum sim_loss)sim_below(&dice, SIM_LOSSES);
		sim->hook = crash_recovery;
		sim->hook_ctx = &nest;
	}
	ret = sde__zarr_resume(&storage, PATH, NULL, &hooks, &error);
	sim->hook = NULL;
	DEMAND(!ret, "resume: %s", error.text);
	run.recoveries++;
	DEMAND(allows(&o, power, count(storage)), "%" PRIu64 " were recovered", count(storage));
	found = count(storage);
	compare(&o, storage, found);
	if (nest.state) {
		run.nested++;
		examine(nest.state, &o, nest.loss != SIM_KILLED, seed ^ 99, 1);
	}
	/* it goes on */
	o.life++;
	for (uint64_t i = 0; i < sim_below(&dice, 5) && found < MOST; i++, found++)
		DEMAND(!store(storage, &o, 0, o.trajectories, found), " ");
	DEMAND(!sde_storage_close_error(storage, &error), "%s", error.text);
	DEMAND(!sde__zarr_open(&storage, PATH, NULL, &hooks, &error), "%s", error.text);
	DEMAND(count(storage) == found, "%" PRIu64, count(storage));
	compare(&o, storage, found);
	DEMAND(!sde_storage_verify(storage, NULL), " ");
	sde_storage_close(storage);
	sim_free(sim);
}

static void on_event(void *ctx, const struct sim_event *event)
{
	static const unsigned least_operations[SIM_LOSSES] = {
		[SIM_NAMES] = 1, [SIM_CONTENTS] = 1, [SIM_ALL_BUT_ONE] = 2, [SIM_ONLY_ONE] = 2,
	};
	unsigned changes;
	const unsigned operations = sim_pending(run.sim, &changes);
	const uint64_t apart = run.oracle.ranks > 1 ? run.oracle.returned[0] >
		run.oracle.returned[1] ? run.oracle.returned[0] - run.oracle.returned[1] :
		run.oracle.returned[1] - run.oracle.returned[0] : 0;

	(void)ctx;
	run.events++;
	run.call = sim_call_name[event->call];
	snprintf(run.name, sizeof(run.name), "'%s' by rank %d", event->name, my_rank);
	if (apart > run.apart && apart < MOST)
		run.apart = apart;
	for (int i = 0; i < SIM_LOSSES && run.states < run.budget; i++) {
		const uint64_t seed = sim_mix(run.seed << 24 ^ run.states);

		if ((i > SIM_NOTHING && operations + changes == 0) || operations < least_operations[i] ||
		    (run.oracle.unsafe && i != SIM_KILLED) || sim_below(&run.dice, run.dense))
			continue;
		run.states++;
		run.loss = sim_loss_name[i];
		examine(sim_crash(run.sim, (enum sim_loss)i, seed), &run.oracle, i != SIM_KILLED, seed, 0);
		if (!run.grabbed && sim_below(&run.dice, 12) == 0 && !run.oracle.creating) {
			run.grabbed = sim_crash(run.sim, (enum sim_loss)i, seed);
			run.grabbed_oracle = run.oracle;
			run.grabbed_oracle.rebooted |= i != SIM_KILLED;
		}
	}
}

/* ------------------------------------------------------------------------
 * A rank's life
 */

static void note_synced(struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct oracle *o = &run.oracle;

	DEMAND(!sde_storage_info(storage, &info), " ");
	if (info.synced > o->acknowledged[my_rank])
		o->acknowledged[my_rank] = info.synced;
	DEMAND(info.synced <= o->returned[my_rank], "%" PRIu64, info.synced);
}

/* All ranks have these, and they are safe: somebody returned from what all must reach. */
static void settle(uint64_t snapshots)
{
	struct oracle *o = &run.oracle;

	for (int r = 0; r < o->ranks; r++)
		o->returned[r] = o->high[r] = o->acknowledged[r] = snapshots;
	o->truncate_to = SIM_NEVER;
	o->rebooted = false;
}

/* As the workers of the rank's first column would, between two stores. */
static void take_steps(struct sde__publisher *p, uint64_t dice)
{
	pthread_mutex_lock(&p->lock);
	if (dice % 3 == 0)
		p->published_at = -UINT64_C(200000000);
	for (uint64_t n = dice % 7; n; n--)
		if (!sde__publisher_step(p, SDE__ROLES, p->raw))
			break;
	pthread_mutex_unlock(&p->lock);
}

struct rank {
	struct sde_storage *storage;
	struct sde__publisher *publisher;
	uint64_t first, trajectories;
};

static void store_some(const struct rank *rank, uint64_t n)
{
	struct sde_storage *storage = rank->storage;
	struct oracle *o = &run.oracle;

	for (uint64_t i = 0; i < n && o->returned[my_rank] < MOST - 4; i++) {
		o->high[my_rank]++;
		DEMAND(!store(storage, o, rank->first, rank->trajectories, o->returned[my_rank]), " ");
		o->returned[my_rank]++;
		note_synced(storage);
		take_steps(rank->publisher, sim_below(&run.dice, 100));
		note_synced(storage);
	}
}

static void act(const struct rank *rank, enum act what, uint64_t n)
{
	const uint64_t here = run.oracle.returned[my_rank], to = here * n / 8;
	struct sde_storage *storage = rank->storage;
	struct oracle *o = &run.oracle;
	int ret = 0;

	switch (what) {
	case STORE:
		store_some(rank, n);
		return;
	case SYNC:
		ret = sde_storage_sync(storage);
		if (!ret)
			o->acknowledged[my_rank] = o->returned[my_rank];
		break;
	case SAVE:
		ret = sde_storage_save(storage);
		/* all have it as this one has */
		for (int r = 0; r < o->ranks && !ret; r++)
			if (o->acknowledged[r] < here)
				o->acknowledged[r] = here;
		break;
	case TRUNCATE:
		/* all are at the same place when they come to this: the plan says so */
		o->truncate_to = to;
		ret = sde_storage_truncate(storage, to);
		/* the first that returns: all are done. Others may have gone on then */
		if (!ret && o->truncate_to != SIM_NEVER) {
			settle(to);
			o->life += 64;
		}
		break;
	}
	DEMAND(!ret, "act %d: %s", (int)what, sde_strerror(ret));
}

static void *live(void *ctx)
{
	struct rank rank = { 0 };
	const struct sde__zarr_hooks hooks = { .io = &run.sim->io, .synchronous = true,
					       .publisher = &rank.publisher };
	struct sde_ensemble local = { 1, 0, SDE_FLOAT64 };
	struct oracle *o = &run.oracle;
	struct sde__accord accord = { .size = run.size, .give = give, .least = least };
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	uint64_t columns = columns_of(o), column, first;
	int ret;

	my_rank = *(int *)ctx;
	accord.rank = my_rank;
	pthread_mutex_lock(&run.lock);
	while (run.turn != my_rank)
		pthread_cond_wait(&run.changed, &run.lock);
	pthread_mutex_unlock(&run.lock);
	sde__share_partition(columns, my_rank, run.size, &column, &local.trajectories);
	first = column * o->width;
	local.trajectories *= o->width;
	if (first + local.trajectories > o->trajectories)
		local.trajectories = o->trajectories > first ? o->trajectories - first : 0;
	ret = run.plan.resume ?
	      sde__share_resume(&storage, &accord, PATH, NULL, &run.plan.options, &hooks, &error) :
	      sde__share_create(&storage, &accord, PATH, &local, &run.plan.options, &hooks, &error);
	DEMAND(!ret, "%s", error.text);
	DEMAND(!sde_storage_info(storage, &info), " ");
	/* the first that returns: all have come so far */
	if (!run.begun) {
		run.begun = true;
		DEMAND(allows(o, false, info.committed), "%" PRIu64 " are resumed", info.committed);
		o->creating = false;
		/* with syncs, what is found is promised */
		o->unsafe = run.plan.options.sync == SDE_SYNC_NONE;
		o->ranks = run.size;
		settle(info.committed);
		o->life = run.lives << 10;
	}
	rank.storage = storage;
	rank.first = first;
	rank.trajectories = local.trajectories;
	for (int i = 0; i < run.plan.steps; i++)
		act(&rank, run.plan.step[i].act, run.plan.step[i].n);
	ret = sde_storage_close_error(storage, &error);
	DEMAND(!ret, "%s", error.text);
	pthread_mutex_lock(&run.lock);
	run.done[my_rank] = true;
	run.turn = pick();
	pthread_cond_broadcast(&run.changed);
	pthread_mutex_unlock(&run.lock);
	return NULL;
}

static void team(int size)
{
	pthread_t thread[RANKS];
	int rank[RANKS];

	run.size = size;
	run.arrived = 0;
	run.begun = false;
	run.first = true;
	memset(run.waits, 0, sizeof(run.waits));
	memset(run.done, 0, sizeof(run.done));
	run.turn = pick();
	for (int r = 0; r < size; r++) {
		rank[r] = r;
		DEMAND(!pthread_create(&thread[r], NULL, live, &rank[r]), " ");
	}
	for (int r = 0; r < size; r++)
		pthread_join(thread[r], NULL);
}

/* ------------------------------------------------------------------------
 * Lives, one behind the other
 */

static void draw_plan(bool resume)
{
	static const enum sde_sync policies[] = {
		SDE_SYNC_CHUNK, SDE_SYNC_PUBLISH, SDE_SYNC_SNAPSHOT, SDE_SYNC_INTERVAL, SDE_SYNC_NONE,
	};
	struct plan *plan = &run.plan;
	struct sde_zarr_options *o = &plan->options;

	plan->resume = resume;
	*o = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	o->chunk_size = resume ? 0 : 2 + sim_below(&run.dice, 3);
	o->segments = 2 + (unsigned)sim_below(&run.dice, 2);
	o->sync = policies[sim_below(&run.dice, 5)];
	o->threads = 1;
	o->make_directory = sde__io_make_directories;
	o->make_directory_ctx = &run.sim->io;
	plan->steps = 0;
	for (int i = 0; i < 4; i++) {
		plan->step[plan->steps].act = STORE;
		plan->step[plan->steps++].n = 1 + sim_below(&run.dice, 6);
		if (sim_below(&run.dice, 2) == 0) {
			plan->step[plan->steps].act = (enum act)(SAVE + sim_below(&run.dice, 3));
			plan->step[plan->steps++].n = sim_below(&run.dice, 8);
		}
	}
}

/* A store and its successors, until it is full. */
static void lives(void)
{
	struct sim *sim = sim_new(run.seed);
	struct oracle *o = &run.oracle;

	memset(o, 0, sizeof(*o));
	run.lives = 0;
	o->trajectories = 3 * W + 1 + sim_below(&run.dice, W);
	o->ranks = 1;
	o->creating = true;
	o->truncate_to = SIM_NEVER;
	for (bool resume = false; run.states < run.budget && run.lives < LIVES &&
	     least_of(o, o->returned) < MOST - 8; resume = true) {
		int size = 1 + (int)sim_below(&run.dice, RANKS), columns;

		/* whole columns for each: the first has the most */
		if (!resume)
			o->width = (4 + (uint64_t)size - 1) / (uint64_t)size * W;
		columns = (int)columns_of(o);
		take_turns(sim);
		run.lives++;
		draw_plan(resume);
		o->unsafe |= run.plan.options.sync == SDE_SYNC_NONE;
		if (getenv("SDE_TEST_TRACE")) {
			fprintf(stderr, "life %" PRIu64 " by %d of %d columns, sync %d, found %d:", run.lives,
				size < columns ? size : columns, columns, (int)run.plan.options.sync,
				(int)least_of(o, o->returned));
			for (int i = 0; i < run.plan.steps; i++)
				fprintf(stderr, " %d:%d", (int)run.plan.step[i].act, (int)run.plan.step[i].n);
			fprintf(stderr, " (state %" PRIu64 ", rebooted %d)\n", run.states, o->rebooted);
		}
		sim->hook = on_event;
		team(size < columns ? size : columns);
		sim->hook = NULL;
		if (!run.grabbed)
			continue;
		sim_free(sim);
		sim = run.grabbed;
		*o = run.grabbed_oracle;
		run.grabbed = NULL;
	}
	sim_free(sim);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void what_all_ranks_have_survives_every_crash(void **state)
{
	const uint64_t first = number_from("SDE_TEST_SEED", 1);
	uint64_t seeds = 0;

	(void)state;
	pthread_mutex_init(&run.lock, NULL);
	pthread_cond_init(&run.changed, NULL);
	run.budget = number_from("SDE_TEST_STATES", (getenv("SDE_TEST_LONG") ? 200000 : STATES) / SHARE);
	run.dense = 100;
	for (run.seed = first; run.states < run.budget; run.seed++, seeds++) {
		run.dice = sim_mix(run.seed);
		lives();
	}
	print_message("# seeds %" PRIu64 " to %" PRIu64 ", %" PRIu64 " events, %" PRIu64 " states, %" PRIu64
		      " recoveries, %" PRIu64 " of them crashed, ranks were up to %" PRIu64
		      " snapshots apart\n", first, first + seeds - 1, run.events, run.states,
		      run.recoveries, run.nested, run.apart);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_all_ranks_have_survives_every_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
