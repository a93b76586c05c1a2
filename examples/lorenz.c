/* SPDX-License-Identifier: MIT */
/*
 * A run that may be killed at any moment and goes on as if nothing had happened.
 *
 *	dx = sigma (y - x) dt     + epsilon dW_1	sigma = 10
 *	dy = (x (rho - z) - y) dt + epsilon dW_2	rho   = 28
 *	dz = (x y - beta z) dt    + epsilon dW_3	beta  = 8/3
 *
 * by Euler-Maruyama from (1, 1, 20 + 10 j / N), j = 0 ... N - 1. With each
 * snapshot the state of the random generator is kept, so that
 *
 *	lorenz --steps 100000			(killed somewhere)
 *	lorenz --steps 100000 --resume
 *
 * leave the same numbers, bit for bit, as a run that nobody killed. A chaotic
 * system would show every difference within a few seconds of its own time.
 *
 * Build with
 *	cc -O2 lorenz.c -o lorenz $(pkg-config --cflags --libs sdestore) -lm
 */
#define _GNU_SOURCE
#include "progress.h"

#include <sdestore.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

static const double sigma = 10, rho = 28, beta = 8.0 / 3;

/* 0 and NaN: not given. A resumed run takes from the store what is not given. */
struct command {
	const char *path;
	uint64_t trajectories, steps, seed, stride, chunk;
	double dt, epsilon;
	uint64_t keepbits;
	enum sde_sync sync;
	int resume, seed_given;
};

static const struct command defaults = {
	.path = "lorenz.zarr", .trajectories = 1000, .steps = 2000, .seed = 1,
	.stride = 1, .dt = 0.001, .epsilon = 0.5
};

/* ------------------------------------------------------------------------
 * Random numbers: xoshiro256++ 1.0 (D. Blackman and S. Vigna, 2019,
 * https://prng.di.unimi.it), seeded by splitmix64; normals by G. Marsaglia's
 * polar method (SIAM Review 6(3), 1964), which makes two at a time.
 */

/*
 * All that the next normal depends on. The second normal of a pair is as much a
 * part of it as the generator's words: who forgets it resumes another run. No
 * padding, so that the bytes may be kept as they are.
 */
struct random {
	uint64_t s[4];
	double spare;
	uint64_t has_spare;
};

static uint64_t rotate_left(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

static uint64_t random_bits(struct random *r)
{
	uint64_t *s = r->s;
	uint64_t result = rotate_left(s[0] + s[3], 23) + s[0];
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

static void random_seed(struct random *r, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
		z = (z ^ z >> 27) * 0x94d049bb133111eb;
		r->s[i] = z ^ z >> 31;
	}
}

static double random_normal(struct random *r)
{
	double u, v, square, factor;

	if (r->has_spare) {
		r->has_spare = 0;
		return r->spare;
	}
	do {
		u = (double)((int64_t)random_bits(r) >> 11) * 0x1p-52;
		v = (double)((int64_t)random_bits(r) >> 11) * 0x1p-52;
		square = u * u + v * v;
	} while (square >= 1 || square == 0);
	factor = sqrt(-2 * log(square) / square);
	r->spare = v * factor;
	r->has_spare = 1;
	return u * factor;
}

/* ------------------------------------------------------------------------
 * The process. x is [d][n]: all x, then all y, then all z.
 */

static void initial(double *x, uint64_t n)
{
	for (uint64_t j = 0; j < n; j++) {
		x[j] = 1;
		x[n + j] = 1;
		x[2 * n + j] = 20 + 10 * (double)j / (double)n;
	}
}

static void step(double *x, uint64_t n, const struct command *command, struct random *r)
{
	const double dt = command->dt, noise = command->epsilon * sqrt(dt);
	double *y = x + n, *z = y + n;

	for (uint64_t j = 0; j < n; j++) {
		double dx = sigma * (y[j] - x[j]) * dt + noise * random_normal(r);
		double dy = (x[j] * (rho - z[j]) - y[j]) * dt + noise * random_normal(r);
		double dz = (x[j] * y[j] - beta * z[j]) * dt + noise * random_normal(r);

		x[j] += dx;
		y[j] += dy;
		z[j] += dz;
	}
}

/* ------------------------------------------------------------------------
 * Storing and resuming
 */

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
	(void)number;
	stop = 1;
}

static int complain(const char *what, const struct sde_error *error)
{
	fprintf(stderr, "lorenz: %s: %s\n", what, error->text);
	return 1;
}

static int complain_storage(const char *what, struct sde_storage *storage)
{
	struct sde_error error = { 0 };

	sde_storage_error(storage, &error);
	return complain(what, &error);
}

/* Where a run is: everything the next step depends on. */
struct run {
	struct command command;		/* complete: no "not given" left */
	struct sde_storage *storage;
	struct random random;
	double *x;			/* [3][N] */
	uint64_t iteration;		/* x is that of t = iteration * dt */
	int stored;			/* and it is in the store */
};

static void fill_in(struct command *command, const struct command *from)
{
	if (!command->trajectories)
		command->trajectories = from->trajectories;
	if (!command->stride)
		command->stride = from->stride;
	if (!command->seed_given)
		command->seed = from->seed;
	if (isnan(command->dt))
		command->dt = from->dt;
	if (isnan(command->epsilon))
		command->epsilon = from->epsilon;
}

static struct sde_zarr_options zarr_options(const struct command *command)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	options.stride = command->stride;
	options.chunk_size = command->chunk;
	options.sync = command->sync;
	options.keepbits = (unsigned)command->keepbits;
	options.state_capacity = sizeof(struct random);
	return options;
}

static int start_new(struct run *run)
{
	struct command *command = &run->command;
	struct sde_zarr_options options;
	struct sde_ensemble ensemble;
	struct sde_error error = { 0 };
	char attributes[512];

	fill_in(command, &defaults);
	/* The parameters are read back by resume; 17 digits are exact. */
	snprintf(attributes, sizeof(attributes),
		 "{\"model\": \"noisy Lorenz 1963\", \"scheme\": \"Euler-Maruyama\","
		 " \"dt\": %.17g, \"sigma\": %.17g, \"rho\": %.17g, \"beta\": %.17g,"
		 " \"epsilon\": %.17g, \"generator\": \"xoshiro256++, polar\","
		 " \"seed\": %" PRIu64 "}",
		 command->dt, sigma, rho, beta, command->epsilon, command->seed);
	ensemble = (struct sde_ensemble){ .dimension = 3, .trajectories = command->trajectories };
	options = zarr_options(command);
	options.attributes = attributes;
	options.time_units = "s";
	if (sde_zarr_storage_create(&run->storage, command->path, &ensemble, &options, &error))
		return complain("cannot create the store", &error);
	return 0;
}

/*
 * The number behind "name": in the attributes. They are our own, and flat; a
 * program that reads other people's uses a JSON library.
 */
static const char *attribute(const char *attributes, const char *name)
{
	char quoted[32];
	const char *place;

	snprintf(quoted, sizeof(quoted), "\"%s\"", name);
	place = strstr(attributes, quoted);
	return place ? place + strlen(quoted) + strspn(place + strlen(quoted), " :") : "";
}

/* What the store was begun with; whoever gives something else is told so. */
static int same_parameters(struct run *run, const struct sde_storage_info *info)
{
	const char *attributes = sde_storage_attributes(run->storage);
	struct command given = run->command;
	struct command kept = {
		.trajectories = info->ensemble.trajectories,
		.stride = info->stride,
		.seed = strtoull(attribute(attributes, "seed"), NULL, 10),
		.dt = strtod(attribute(attributes, "dt"), NULL),
		.epsilon = strtod(attribute(attributes, "epsilon"), NULL),
	};

	if (info->ensemble.dimension != 3 || info->ensemble.dtype != SDE_FLOAT64 ||
	    info->state_capacity < sizeof(struct random) || !(kept.dt > 0)) {
		fprintf(stderr, "lorenz: the store is not one of lorenz's\n");
		return 1;
	}
	fill_in(&given, &kept);
	if (given.trajectories != kept.trajectories || given.seed != kept.seed ||
	    given.dt < kept.dt || given.dt > kept.dt || given.epsilon < kept.epsilon ||
	    given.epsilon > kept.epsilon) {
		fprintf(stderr, "lorenz: the store has %" PRIu64 " trajectories, seed %" PRIu64
			", dt %.17g, epsilon %.17g: resume with these, or with none\n",
			kept.trajectories, kept.seed, kept.dt, kept.epsilon);
		return 1;
	}
	run->command = given;
	return 0;
}

static int resume(struct run *run)
{
	struct sde_zarr_options options = zarr_options(&run->command);
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	int code = sde_zarr_storage_resume(&run->storage, run->command.path, &options, &error);

	if (code == -ENOENT) {
		fprintf(stderr, "lorenz: there is no '%s' yet: starting anew\n",
			run->command.path);
		return start_new(run);
	}
	if (code)
		return complain("cannot resume", &error);
	if (sde_storage_info(run->storage, &info))
		return complain_storage("cannot resume", run->storage);
	if (same_parameters(run, &info))
		return 1;
	run->stored = info.committed > 0;
	run->iteration = run->stored ? (uint64_t)info.last_iteration : 0;
	return 0;
}

/*
 * x and the generator as they were at the last snapshot: exactly, though with
 * keepbits everybody else reads rounded numbers.
 */
static int restore(struct run *run)
{
	uint64_t n = run->command.trajectories;
	size_t size = sizeof(run->random);

	if (sde_storage_state(run->storage, &run->random, &size))
		return complain_storage("no generator state", run->storage);
	if (size != sizeof(run->random)) {
		fprintf(stderr, "lorenz: the generator state has %zu bytes, not %zu\n", size,
			sizeof(run->random));
		return 1;
	}
	if (sde_storage_last(run->storage, run->x, 3 * n * sizeof(double), NULL))
		return complain_storage("cannot read the last snapshot", run->storage);
	return 0;
}

/*
 * The generator's state goes with the snapshot of the same moment: set_state
 * takes effect with the next snapshot that is kept. Those that stride skips are
 * computed again after a resume, from the last one kept.
 */
static int store(struct run *run)
{
	if (run->iteration % run->command.stride == 0 &&
	    sde_storage_set_state(run->storage, &run->random, sizeof(run->random)))
		return complain_storage("cannot keep the generator state", run->storage);
	if (sde_storage_store(run->storage, (double)run->iteration * run->command.dt, run->x,
			      run->iteration))
		return complain_storage("cannot store", run->storage);
	run->stored = 1;
	return 0;
}

static int integrate(struct run *run)
{
	const struct command *command = &run->command;
	uint64_t n = command->trajectories;
	struct progress progress;
	int failed = 0;

	progress_begin(&progress, "lorenz", run->iteration,
		       (double)n * 3 * sizeof(double) / (double)command->stride);
	if (!run->stored)
		failed = store(run);
	while (!failed && !stop && run->iteration < command->steps) {
		step(run->x, n, command, &run->random);
		run->iteration++;
		failed = store(run);
		progress_step(&progress, run->iteration, command->steps);
	}
	progress_end(&progress);
	return failed;
}

static int prepare(struct run *run)
{
	uint64_t n;

	if (run->command.resume ? resume(run) : start_new(run))
		return 1;
	n = run->command.trajectories;
	run->x = calloc(n, 3 * sizeof(double));
	if (!run->x) {
		fprintf(stderr, "lorenz: out of memory\n");
		return 1;
	}
	if (run->stored)
		return restore(run);
	random_seed(&run->random, run->command.seed);
	initial(run->x, n);
	return 0;
}

static int simulate(const struct command *command)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct run run = { .command = *command };
	struct sde_error error = { 0 };
	int failed;

	/* The handler only sets a flag: the loop ends, and close saves. (Without
	 * it nothing would be lost either, but the next run had to recover.) */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);

	failed = prepare(&run);
	if (!failed)
		failed = integrate(&run);
	if (sde_storage_close_error(run.storage, &error) && !failed)
		failed = complain("cannot close the store", &error);
	if (!failed && run.iteration < run.command.steps)
		printf("stopped at iteration %" PRIu64 " of %" PRIu64 "; to go on:\n"
		       "lorenz --resume --path '%s' --steps %" PRIu64 "\n",
		       run.iteration, run.command.steps, run.command.path, run.command.steps);
	free(run.x);
	return failed;
}

/* ------------------------------------------------------------------------
 * The command line
 */

static const char usage[] =
	"usage: lorenz [OPTION]... [TRAJECTORIES]\n"
	"  --trajectories N  how many; default 1000\n"
	"  --steps N         until this iteration; default 2000\n"
	"  --dt SECONDS      default 0.001\n"
	"  --epsilon E       strength of the noise; default 0.5\n"
	"  --stride N        keep every Nth step; default 1\n"
	"  --chunk N         snapshots a chunk; default: the library's\n"
	"  --seed N          default 1\n"
	"  --keepbits N      mantissa bits to keep, 1 to 52; default: all\n"
	"  --sync POLICY     chunk (default), publish, snapshot, interval or none\n"
	"  --path DIRECTORY  default lorenz.zarr; must not exist without --resume\n"
	"  --resume          go on where the store ends, if there is one\n";

/* JSON readers are sure of integers up to 2^63 - 1 only, hence the limit. */
static int parse_integer(const char *text, uint64_t least, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (!errno && *text >= '0' && *text <= '9' && !*end && *value >= least &&
	    *value <= INT64_MAX)
		return 0;
	fprintf(stderr, "lorenz: bad number '%s'\n", text);
	return 1;
}

static int parse_real(const char *text, int may_be_zero, double *value)
{
	char *end;

	*value = strtod(text, &end);
	if (end != text && !*end && isfinite(*value) && (*value > 0 || may_be_zero) &&
	    *value >= 0)
		return 0;
	fprintf(stderr, "lorenz: bad number '%s'\n", text);
	return 1;
}

static int parse_sync(const char *text, enum sde_sync *sync)
{
	static const char *const names[] = {
		[SDE_SYNC_CHUNK] = "chunk", [SDE_SYNC_PUBLISH] = "publish",
		[SDE_SYNC_SNAPSHOT] = "snapshot", [SDE_SYNC_INTERVAL] = "interval",
		[SDE_SYNC_NONE] = "none"
	};

	for (int i = SDE_SYNC_CHUNK; i <= SDE_SYNC_NONE; i++) {
		if (!strcmp(text, names[i])) {
			*sync = (enum sde_sync)i;
			return 0;
		}
	}
	fprintf(stderr, "lorenz: unknown sync policy '%s'\n", text);
	return 1;
}

static int parse_option(int option, struct command *command)
{
	switch (option) {
	case 't':
		return parse_integer(optarg, 1, &command->trajectories);
	case 'n':
		return parse_integer(optarg, 0, &command->steps);
	case 's':
		command->seed_given = 1;
		return parse_integer(optarg, 0, &command->seed);
	case 'i':
		return parse_integer(optarg, 1, &command->stride);
	case 'c':
		return parse_integer(optarg, 1, &command->chunk);
	case 'd':
		return parse_real(optarg, 0, &command->dt);
	case 'e':
		return parse_real(optarg, 1, &command->epsilon);
	case 'k':
		return parse_integer(optarg, 1, &command->keepbits) || command->keepbits > 52;
	case 'y':
		return parse_sync(optarg, &command->sync);
	case 'p':
		command->path = optarg;
		return 0;
	case 'r':
		command->resume = 1;
		return 0;
	default:
		return 1;
	}
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "trajectories", required_argument, NULL, 't' },
		{ "steps", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "stride", required_argument, NULL, 'i' },
		{ "chunk", required_argument, NULL, 'c' },
		{ "dt", required_argument, NULL, 'd' },
		{ "epsilon", required_argument, NULL, 'e' },
		{ "keepbits", required_argument, NULL, 'k' },
		{ "sync", required_argument, NULL, 'y' },
		{ "path", required_argument, NULL, 'p' },
		{ "resume", no_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	struct command command = {
		.path = defaults.path, .steps = defaults.steps, .dt = NAN, .epsilon = NAN
	};
	int option, bad = 0;

	while (!bad && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'h') {
			fputs(usage, stdout);
			return 0;
		}
		bad = parse_option(option, &command);
	}
	if (!bad && optind < argc)
		bad = parse_integer(argv[optind++], 1, &command.trajectories);
	if (bad || optind < argc) {
		fputs(usage, stderr);
		return 1;
	}
	return simulate(&command);
}
