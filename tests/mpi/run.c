/* SPDX-License-Identifier: MIT */
/*
 * One store of all ranks. What is stored is a function of its place, so that whoever
 * reads a number can judge it.
 *
 *	run create|resume PATH TO LIFE [slow]
 *		(D, N) = (2, 61) in chunks of 8, to TO snapshots. With ALIGNED in the
 *		environment in columns of multiples of 8. `slow`: with pauses, until it is
 *		killed; pid.<rank> has the rank's process and returned.<rank> what its
 *		stores have returned for, all ones for a rank without trajectories
 *	run check PATH SINCE...
 *		no MPI: every value, by life i from snapshot SINCE[i] on; prints the number
 *	run tour PATH
 *		what else there is: save, truncate, values, errors
 *	run hang PATH
 *		a rank whose disk is full while the others store
 *	run fail PATH RANK create|save|truncate|close|resume
 *		one rank cannot write from there on: all get its error, and none waits. Then
 *		it can again, and they go on to 3 T snapshots
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rank.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define D 2
#define N 61
#define T 8

static double value(uint64_t d, uint64_t n, uint64_t m, unsigned life)
{
	return (double)life + 1000.0 * (double)m + 1e9 * (double)n + 0.25 * (double)d;
}

static struct sde_zarr_options defaults(void)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	options.chunk_size = T;
	options.threads = 1;
	return options;
}

static void partition(uint64_t *first, uint64_t *count)
{
	if (getenv("ALIGNED"))
		sde_mpi_partition_aligned(N, 8, all_ranks(), my_rank(), first, count);
	else
		sde_mpi_partition(N, all_ranks(), my_rank(), first, count);
}

static struct sde_storage *create(const char *path, uint64_t *first, uint64_t *count)
{
	struct sde_ensemble local = { D, 0, SDE_FLOAT64 };
	struct sde_zarr_options options = defaults();
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	partition(first, count);
	local.trajectories = *count;
	if (!sde_mpi_zarr_storage_create(&storage, MPI_COMM_WORLD, path, &local, &options, &error))
		return storage;
	/* all ranks are here, and none is aborted before it has tidied up */
	fprintf(stderr, "%s\n", error.text);
	MPI_Finalize();
	exit(1);
}

static struct sde_storage *resume(const char *path, uint64_t *first, uint64_t *count)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_zarr_options options = defaults();
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	CHECK(!sde_mpi_store_partition(path, MPI_COMM_WORLD, first, count, &error), "%s", error.text);
	CHECK(!sde_mpi_zarr_storage_resume(&storage, MPI_COMM_WORLD, path, NULL, &options, &error),
	      "%s", error.text);
	CHECK(!sde_storage_info(storage, &info) && info.ensemble.trajectories == *count, " ");
	return storage;
}

static int store(struct sde_storage *storage, uint64_t first, uint64_t count, uint64_t m,
		 unsigned life)
{
	double *x = malloc((D * count + 1) * sizeof(*x));
	int ret;

	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < count; n++)
			x[d * count + n] = value(d, first + n, m, life);
	ret = sde_storage_store(storage, 0.5 * (double)m, x, m);
	free(x);
	return ret;
}

static const char *sentence(const struct sde_storage *storage)
{
	static struct sde_error error;

	sde_storage_error(storage, &error);
	return error.text;
}

static void note(const char *what, uint64_t number)
{
	static int fd = -1;
	char name[32];

	if (fd < 0 || !strcmp(what, "pid")) {
		snprintf(name, sizeof(name), "%s.%d", what, my_rank());
		fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0666);
	}
	CHECK(pwrite(fd, &number, sizeof(number), 0) == sizeof(number), "%s", what);
	if (!strcmp(what, "pid")) {
		close(fd);
		fd = -1;
	}
}

static void run(struct sde_storage *storage, uint64_t first, uint64_t count, uint64_t to,
		unsigned life, int slow)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	struct timespec pause = { 0 };

	CHECK(!sde_storage_info(storage, &info), " ");
	for (uint64_t m = info.committed; m < to; m++) {
		CHECK(!store(storage, first, count, m, life), "%s", sentence(storage));
		if (!slow)
			continue;
		/* who has no trajectories has nothing that could be missing */
		note("returned", count ? m + 1 : UINT64_MAX);
		pause.tv_nsec = rand() % 1000 * 1000;
		nanosleep(&pause, NULL);
		if (m % 100 == 50)
			CHECK(!sde_storage_save(storage), "%s", sentence(storage));
	}
	CHECK(!sde_storage_close_error(storage, &error), "%s", error.text);
}

/* ------------------------------------------------------------------------
 * Without MPI
 */

static unsigned life_of(uint64_t m, char **since, int lives)
{
	int life = 0;

	while (life + 1 < lives && m >= strtoull(since[life + 1], NULL, 10))
		life++;
	return (unsigned)life;
}

#define JUDGE(condition, ...) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s: ", #condition); \
			fprintf(stderr, __VA_ARGS__); \
			fputc('\n', stderr); \
			exit(1); \
		} \
	} while (0)

static int check(const char *path, char **since, int lives)
{
	struct sde_array *time, *data, *iteration;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	const uint64_t *shape;
	double *x, *p, *t;
	int64_t *i;
	uint64_t M;

	JUDGE(!sde_storage_open(&storage, path, NULL, &error), "%s", error.text);
	if (sde_storage_values(storage, &time, &data) == SDE_E_NO_DATA) {
		puts("0");
		return sde_storage_close(storage);
	}
	JUDGE(!sde_storage_iterations(storage, &iteration), "%s", sentence(storage));
	shape = sde_array_shape(data);
	M = shape[2];
	JUDGE(shape[0] == D && shape[1] == N, "%" PRIu64, shape[1]);
	x = p = malloc(D * N * M * sizeof(*x));
	t = malloc(M * sizeof(*t));
	i = malloc(M * sizeof(*i));
	if (sde_array_read(data, NULL, NULL, NULL, x, D * N * M * sizeof(*x)) ||
	    sde_array_read(time, NULL, NULL, NULL, t, M * sizeof(*t)) ||
	    sde_array_read(iteration, NULL, NULL, NULL, i, M * sizeof(*i))) {
		sde_array_error(data, &error);
		JUDGE(0, "%s", error.text);
	}
	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < N; n++)
			for (uint64_t m = 0; m < M; m++, p++)
				JUDGE(*p == value(d, n, m, life_of(m, since, lives)),
				      "d %" PRIu64 " n %" PRIu64 " m %" PRIu64 " is %.17g", d, n, m, *p);
	for (uint64_t m = 0; m < M; m++)
		JUDGE(t[m] == 0.5 * (double)m && i[m] == (int64_t)m, "m %" PRIu64, m);
	JUDGE(!sde_storage_verify(storage, NULL), "%s", sentence(storage));
	printf("%" PRIu64 "\n", M);
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	free(x);
	free(t);
	free(i);
	return sde_storage_close(storage);
}

/* ------------------------------------------------------------------------
 * Errors
 */

static void same_on_all_ranks(int ret, const struct sde_error *error)
{
	struct sde_error first = *error;
	int code = ret;

	MPI_Bcast(&code, 1, MPI_INT, 0, MPI_COMM_WORLD);
	MPI_Bcast(first.text, sizeof(first.text), MPI_CHAR, 0, MPI_COMM_WORLD);
	CHECK(code == ret, "%d and %d", code, ret);
	CHECK(!strcmp(first.text, error->text), "'%s' and '%s'", first.text, error->text);
}

static void tour(const char *path)
{
	struct sde_ensemble local = { D, 0, SDE_FLOAT64 };
	struct sde_zarr_options options = defaults();
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage, *other;
	struct sde_error error = { 0 };
	struct sde_array *data;
	uint64_t first, count;
	int ret;

	storage = create(path, &first, &count);
	for (uint64_t m = 0; m < 2 * T + 3; m++)
		CHECK(!store(storage, first, count, m, 0), "%s", sentence(storage));
	ret = sde_storage_values(storage, NULL, &data);
	CHECK(ret == (count ? 0 : SDE_E_NO_DATA), "%d", ret);
	if (count) {
		CHECK(sde_array_shape(data)[1] == count && sde_array_shape(data)[2] == 2 * T + 3, " ");
		sde_array_close(data);
	}
	CHECK(!sde_storage_save(storage), "%s", sentence(storage));
	CHECK(!sde_storage_info(storage, &info) && info.published == 2 * T + 3, "%" PRIu64,
	      info.published);
	/* a second writer, and a second store of that name */
	ret = sde_mpi_zarr_storage_resume(&other, MPI_COMM_WORLD, path, NULL, &options, &error);
	CHECK(ret == SDE_E_LOCKED && !other, "%d: %s", ret, error.text);
	same_on_all_ranks(ret, &error);
	memset(&error, 0, sizeof(error));
	local.trajectories = count;
	ret = sde_mpi_zarr_storage_create(&other, MPI_COMM_WORLD, path, &local, &options, &error);
	CHECK(ret == -EEXIST, "%d: %s", ret, error.text);
	same_on_all_ranks(ret, &error);
	CHECK(!sde_storage_truncate(storage, T + 1), "%s", sentence(storage));
	for (uint64_t m = T + 1; m < 3 * T; m++)
		CHECK(!store(storage, first, count, m, 1), "%s", sentence(storage));
	ret = sde_storage_close_error(storage, &error);
	CHECK(!ret, "%s", error.text);
}

/* The last rank's disk is full half way: it stops there, and the others do not. */
static void hang(const char *path)
{
	const int last = my_rank() == all_ranks() - 1;
	struct rlimit full, all;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	uint64_t first, count;
	int ret = 0;

	storage = create(path, &first, &count);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &all);
	full = all;
	full.rlim_cur = 1;
	for (uint64_t m = 0; m < 5 * T + 1 && !ret; m++) {
		if (m == 2 * T && last)
			setrlimit(RLIMIT_FSIZE, &full);
		ret = store(storage, first, count, m, 0);
		CHECK(!ret || last, "%s", sentence(storage));
	}
	ret = sde_storage_close_error(storage, &error);
	CHECK(ret, "a full disk");
	same_on_all_ranks(ret, &error);
	setrlimit(RLIMIT_FSIZE, &all);
	if (!my_rank())
		printf("%d: %s\n", ret, error.text);
	storage = resume(path, &first, &count);
	run(storage, first, count, 5 * T + 1, 0, 0);
}

/* No file of this rank can grow any more, or again as it will. */
static void fill_disk(int full)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = full ? 1 : limit.rlim_max;
	CHECK(!setrlimit(RLIMIT_FSIZE, &limit), "%d", errno);
}

/* The same on all ranks, and of that one; an error if it `must` be. */
static void expect(int ret, const struct sde_error *error, int rank, int must)
{
	char name[16];

	same_on_all_ranks(ret, error);
	CHECK(ret || !must, "rank %d could not write", rank);
	snprintf(name, sizeof(name), "rank %d: ", rank);
	CHECK(!ret || (!strncmp(error->text, name, strlen(name)) &&
		       !strstr(error->text + strlen(name), "rank")), "'%s'", error->text);
	if (!my_rank())
		printf("%d: %s\n", ret, error->text);
	fflush(stdout);
}

static struct sde_storage *fail_to_create(const char *path, int rank, int here)
{
	struct sde_ensemble local = { D, 0, SDE_FLOAT64 };
	struct sde_zarr_options options = defaults();
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	uint64_t first, count;
	int ret;

	if (!here)
		return create(path, &first, &count);
	partition(&first, &local.trajectories);
	fill_disk(my_rank() == rank);
	ret = sde_mpi_zarr_storage_create(&storage, MPI_COMM_WORLD, path, &local, &options, &error);
	expect(ret, &error, rank, 1);
	CHECK(!storage, " ");
	fill_disk(0);
	MPI_Barrier(MPI_COMM_WORLD);
	CHECK(access(path, F_OK), "'%s' was left behind", path);
	return create(path, &first, &count);
}

static void fail_to_resume(const char *path, int rank, struct sde_error *error)
{
	struct sde_zarr_options options = defaults();
	struct sde_storage *storage;
	int ret;

	fill_disk(my_rank() == rank);
	ret = sde_mpi_zarr_storage_resume(&storage, MPI_COMM_WORLD, path, NULL, &options, error);
	expect(ret, error, rank, 1);
	CHECK(!storage, " ");
}

static void fail(const char *path, int rank, const char *where)
{
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	uint64_t first, count;
	int ret;

	signal(SIGXFSZ, SIG_IGN);
	partition(&first, &count);
	storage = fail_to_create(path, rank, !strcmp(where, "create"));
	for (uint64_t m = 0; m < 2 * T + 3; m++)
		CHECK(!store(storage, first, count, m, 0), "%s", sentence(storage));
	if (!strcmp(where, "truncate"))
		CHECK(!sde_storage_save(storage), "%s", sentence(storage));
	if (strcmp(where, "create") && strcmp(where, "resume"))
		fill_disk(my_rank() == rank);
	if (!strcmp(where, "save")) {
		ret = sde_storage_save(storage);
		sde_storage_error(storage, &error);
		expect(ret, &error, rank, 1);
	}
	/* who does not lead may need no room for it */
	if (!strcmp(where, "truncate")) {
		ret = sde_storage_truncate(storage, T + 1);
		sde_storage_error(storage, &error);
		expect(ret, &error, rank, rank == 0);
	}
	memset(&error, 0, sizeof(error));
	ret = sde_storage_close_error(storage, &error);
	expect(ret, &error, rank, !strcmp(where, "close"));
	memset(&error, 0, sizeof(error));
	if (!strcmp(where, "resume"))
		fail_to_resume(path, rank, &error);
	fill_disk(0);
	storage = resume(path, &first, &count);
	run(storage, first, count, 3 * T, 0, 0);
}

int main(int argc, char **argv)
{
	const char *command = argc > 2 ? argv[1] : "", *path = argc > 2 ? argv[2] : "";
	struct sde_storage *storage;
	uint64_t first, count;
	int slow, level;

	if (!strcmp(command, "check"))
		return check(path, argv + 3, argc - 3);
	MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
	slow = argc > 5 && strcmp(command, "fail");
	if (slow) {
		srand((unsigned)getpid());
		note("pid", (uint64_t)getpid());
		note("returned", 0);
	}
	if (!strcmp(command, "tour")) {
		tour(path);
	} else if (!strcmp(command, "hang")) {
		hang(path);
	} else if (!strcmp(command, "fail")) {
		CHECK(argc > 4, "usage");
		fail(path, atoi(argv[3]), argv[4]);
	} else {
		CHECK(argc > 4, "usage");
		storage = !strcmp(command, "create") ? create(path, &first, &count) :
			  resume(path, &first, &count);
		run(storage, first, count, strtoull(argv[3], NULL, 10), (unsigned)atoi(argv[4]), slow);
	}
	MPI_Finalize();
	return 0;
}
