/* SPDX-License-Identifier: MIT */
/* Threads that are ranks: see team.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "team.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WATCHDOG 120	/* seconds */
#define LEAST_MAX 64	/* numbers in one agreement */

struct team {
	int size;
	pthread_barrier_t barrier;
	void *bytes[TEAM_MAX];
};

void team_die(const char *file, int line, const char *condition, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: %s: ", file, line, condition);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

static void give(void *ctx, int from, void *bytes, size_t n)
{
	struct team_rank *rank = ctx;
	struct team *team = rank->team;

	team->bytes[rank->rank] = bytes;
	pthread_barrier_wait(&team->barrier);
	if (rank->rank != from)
		memcpy(bytes, team->bytes[from], n);
	pthread_barrier_wait(&team->barrier);
}

static void least(void *ctx, uint64_t *values, size_t n)
{
	struct team_rank *rank = ctx;
	struct team *team = rank->team;
	uint64_t found[LEAST_MAX];

	TEAM_CHECK(n <= LEAST_MAX, "%zu", n);
	memcpy(found, values, n * sizeof(*found));
	team->bytes[rank->rank] = values;
	pthread_barrier_wait(&team->barrier);
	for (int r = 0; r < team->size; r++)
		for (size_t i = 0; i < n; i++)
			if (((uint64_t *)team->bytes[r])[i] < found[i])
				found[i] = ((uint64_t *)team->bytes[r])[i];
	pthread_barrier_wait(&team->barrier);
	memcpy(values, found, n * sizeof(*found));
}

struct job {
	struct team_rank rank;
	void (*work)(struct team_rank *);
	pthread_t thread;
};

static void *run(void *arg)
{
	struct job *job = arg;

	job->work(&job->rank);
	return NULL;
}

void team_run(int size, void (*work)(struct team_rank *), void *ctx)
{
	struct job job[TEAM_MAX];
	struct team team = { .size = size };

	alarm(WATCHDOG);
	pthread_barrier_init(&team.barrier, NULL, (unsigned)size);
	for (int r = 0; r < size; r++) {
		job[r].work = work;
		job[r].rank = (struct team_rank){ .team = &team, .ctx = ctx, .rank = r };
		job[r].rank.accord = (struct sde__accord){
			.rank = r, .size = size, .give = give, .least = least, .ctx = &job[r].rank,
		};
	}
	for (int r = 0; r < size; r++)
		TEAM_CHECK(!pthread_create(&job[r].thread, NULL, run, &job[r]), "%d", r);
	for (int r = 0; r < size; r++)
		pthread_join(job[r].thread, NULL);
	pthread_barrier_destroy(&team.barrier);
	alarm(0);
}

void team_run_and_die(int size, void (*work)(struct team_rank *), void *ctx)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	TEAM_CHECK(pid >= 0, "no child");
	if (!pid) {
		team_run(size, work, ctx);
		_exit(1);
	}
	TEAM_CHECK(waitpid(pid, &status, 0) == pid, "no child to wait for");
	TEAM_CHECK(WIFEXITED(status) && !WEXITSTATUS(status), "it ended with %x", (unsigned)status);
}

void team_meet(struct team_rank *rank)
{
	pthread_barrier_wait(&rank->team->barrier);
}

double team_value(uint64_t d, uint64_t n, uint64_t m, unsigned life)
{
	return (double)life + 1000.0 * (double)m + 1e9 * (double)n + 0.25 * (double)d;
}

double team_time(uint64_t m)
{
	return 0.5 * (double)m;
}

int team_store(struct sde_storage *storage, const struct sde_ensemble *local, uint64_t first,
	       uint64_t m, unsigned life)
{
	double *x = malloc((local->dimension * local->trajectories + 1) * sizeof(*x));
	int ret;

	for (uint64_t d = 0; d < local->dimension; d++)
		for (uint64_t n = 0; n < local->trajectories; n++)
			x[d * local->trajectories + n] = team_value(d, first + n, m, life);
	ret = sde_storage_store(storage, team_time(m), x, m);
	free(x);
	return ret;
}

static unsigned life_of(uint64_t m, const uint64_t *since, unsigned lives)
{
	unsigned life = 0;

	while (life + 1 < lives && m >= since[life + 1])
		life++;
	return life;
}

static void check_values(struct sde_array *data, const struct sde_ensemble *all, uint64_t snapshots,
			 const uint64_t *since, unsigned lives)
{
	const uint64_t *shape = sde_array_shape(data);
	const size_t size = all->dimension * all->trajectories * snapshots * sizeof(double);
	double *x = malloc(size), *p = x;

	TEAM_CHECK(shape[0] == all->dimension && shape[1] == all->trajectories &&
		   shape[2] == snapshots, "%llu", (unsigned long long)shape[1]);
	TEAM_CHECK(!sde_array_read(data, NULL, NULL, NULL, x, size), " ");
	for (uint64_t d = 0; d < all->dimension; d++)
		for (uint64_t n = 0; n < all->trajectories; n++)
			for (uint64_t m = 0; m < snapshots; m++, p++)
				TEAM_CHECK(*p == team_value(d, n, m, life_of(m, since, lives)),
					   "d %llu n %llu m %llu is %.17g", (unsigned long long)d,
					   (unsigned long long)n, (unsigned long long)m, *p);
	free(x);
}

static void check_times(struct sde_array *time, struct sde_array *iteration, uint64_t snapshots)
{
	double *t = malloc(snapshots * sizeof(*t));
	int64_t *i = malloc(snapshots * sizeof(*i));

	TEAM_CHECK(!sde_array_read(time, NULL, NULL, NULL, t, snapshots * sizeof(*t)), " ");
	TEAM_CHECK(!sde_array_read(iteration, NULL, NULL, NULL, i, snapshots * sizeof(*i)), " ");
	for (uint64_t m = 0; m < snapshots; m++)
		TEAM_CHECK(t[m] == team_time(m) && i[m] == (int64_t)m, "%llu", (unsigned long long)m);
	free(t);
	free(i);
}

void team_check_path(const char *path, const struct sde_ensemble *all, uint64_t snapshots,
		     const uint64_t *since, unsigned lives)
{
	const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = false };
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_array *time, *data, *iteration;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int ret;

	TEAM_CHECK(!sde__zarr_open(&storage, path, NULL, &hooks, &error), "%s", error.text);
	TEAM_CHECK(!sde_storage_info(storage, &info), " ");
	TEAM_CHECK(info.committed == snapshots, "%llu, not %llu", (unsigned long long)info.committed,
		   (unsigned long long)snapshots);
	ret = sde_storage_values(storage, &time, &data);
	TEAM_CHECK(ret == (snapshots ? 0 : SDE_E_NO_DATA), "%d", ret);
	if (snapshots) {
		TEAM_CHECK(!sde_storage_iterations(storage, &iteration), " ");
		check_values(data, all, snapshots, since, lives);
		check_times(time, iteration, snapshots);
		sde_array_close(time);
		sde_array_close(data);
		sde_array_close(iteration);
	}
	ret = sde_storage_verify(storage, NULL);
	sde_storage_error(storage, &error);
	TEAM_CHECK(!ret, "%s", error.text);
	sde_storage_close(storage);
}
