/* SPDX-License-Identifier: MIT */
/*
 * The demo: 100000 particles in a double well, every snapshot kept.
 *
 *	dX = (3 X - 2 X^3) dt + sqrt(X^2 + 2) dW,	X(0) ~ N(0, 1)
 *
 * (Ito) by Euler-Maruyama with dt = 0.01 from t = 0 to 10: 1001 snapshots, the
 * initial one among them, 800 MB of float64. To look at them afterwards:
 *
 *	sde-inspect demo.zarr
 *	python3 -c "import xarray; print(xarray.open_zarr('demo.zarr'))"
 *
 * Build with
 *	cc -O3 double_well.c -o double_well $(pkg-config --cflags --libs sdestore) -lm
 */
#define _GNU_SOURCE
#include "progress.h"

#include <sdestore.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

static const double dt = 0.01;

struct command {
	const char *path;
	uint64_t trajectories, steps, seed, keepbits;
};

/* ------------------------------------------------------------------------
 * Random numbers. xoshiro256++ 1.0 by David Blackman and Sebastiano Vigna
 * (2019, https://prng.di.unimi.it), seeded by splitmix64 as they advise.
 */

struct random {
	uint64_t s[4];
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
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += 0x9e3779b97f4a7c15;

		z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
		z = (z ^ z >> 27) * 0x94d049bb133111eb;
		r->s[i] = z ^ z >> 31;
	}
}

/* Uniform in (0, 1): 52 random bits and a half. */
static double random_uniform(struct random *r)
{
	return ((double)(random_bits(r) >> 12) + 0.5) * 0x1p-52;
}

/*
 * Standard normals by the ziggurat: G. Marsaglia and W. W. Tsang, J. Stat.
 * Softw. 5(8), 2000, with the corrections of J. A. Doornik, "An improved
 * ziggurat method to generate normal random samples", 2005 (layer and position
 * from different bits). 256 layers of equal area; about 1 normal in 100 needs
 * more than one multiplication and one comparison.
 */
#define LAYERS 256
static const double tail_begins = 3.6541528853610088;	/* R for 256 layers */
static double layer_x[LAYERS + 1];	/* right edges, decreasing; [0] is virtual */
static double layer_ratio[LAYERS];	/* layer_x[i + 1] / layer_x[i] */

static void normal_tables(void)
{
	double density = exp(-0.5 * tail_begins * tail_begins);
	/* the area of a layer: the lowest is the rectangle below R, and the tail */
	double area = tail_begins * density + sqrt(acos(-1.0) / 2) * erfc(tail_begins / sqrt(2.0));

	layer_x[0] = area / density;
	layer_x[1] = tail_begins;
	for (int i = 2; i < LAYERS; i++) {
		layer_x[i] = sqrt(-2 * log(area / layer_x[i - 1] + density));
		density = exp(-0.5 * layer_x[i] * layer_x[i]);
	}
	layer_x[LAYERS] = 0;
	for (int i = 0; i < LAYERS; i++)
		layer_ratio[i] = layer_x[i + 1] / layer_x[i];
}

/* |x| > R, by Marsaglia's method of 1964. */
static double normal_tail(struct random *r, int negative)
{
	double x, y;

	do {
		x = log(random_uniform(r)) / tail_begins;
		y = log(random_uniform(r));
	} while (-2 * y < x * x);
	return negative ? x - tail_begins : tail_begins - x;
}

static double random_normal(struct random *r)
{
	for (;;) {
		uint64_t bits = random_bits(r);
		unsigned i = bits & (LAYERS - 1);
		/* uniform in [-1, 1) from the upper 53 bits */
		double u = (double)((int64_t)bits >> 11) * 0x1p-52;
		double x = u * layer_x[i];

		if (fabs(u) < layer_ratio[i])
			return x;
		if (i == 0)
			return normal_tail(r, u < 0);
		/* the wedge between this layer and the next */
		double f0 = exp(-0.5 * (layer_x[i] * layer_x[i] - x * x));
		double f1 = exp(-0.5 * (layer_x[i + 1] * layer_x[i + 1] - x * x));

		if (f1 + random_uniform(r) * (f0 - f1) < 1)
			return x;
	}
}

/* ------------------------------------------------------------------------
 * The process
 */

static void initial(double *x, uint64_t n, struct random *r)
{
	for (uint64_t i = 0; i < n; i++)
		x[i] = random_normal(r);
}

/*
 * x(t) becomes x(t + dt). In blocks, so that the normals stay in the cache and
 * the compiler can vectorise what is done with them.
 */
static void step(double *x, uint64_t n, struct random *r)
{
	enum { BLOCK = 1024 };
	const double root_dt = sqrt(dt);
	double dw[BLOCK];

	for (uint64_t begin = 0; begin < n; begin += BLOCK) {
		uint64_t count = n - begin < BLOCK ? n - begin : BLOCK;
		double *block = x + begin;

		for (uint64_t i = 0; i < count; i++)
			dw[i] = root_dt * random_normal(r);
		for (uint64_t i = 0; i < count; i++) {
			double square = block[i] * block[i];

			block[i] += block[i] * (3 - 2 * square) * dt +
				    sqrt(square + 2) * dw[i];
		}
	}
}

/* ------------------------------------------------------------------------
 * The store
 */

static int complain(const char *what, const struct sde_error *error)
{
	fprintf(stderr, "double_well: %s: %s\n", what, error->text);
	return 1;
}

/* What a reader will want to know later goes into the attributes, as JSON. */
static int create(struct sde_storage **storage, const struct command *command)
{
	struct sde_ensemble ensemble = { .dimension = 1, .trajectories = command->trajectories };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_error error = { 0 };
	char attributes[512];

	snprintf(attributes, sizeof(attributes),
		 "{\"model\": \"dX = (3 X - 2 X^3) dt + sqrt(X^2 + 2) dW\","
		 " \"scheme\": \"Euler-Maruyama\", \"dt\": %.17g, \"initial\": \"normal\","
		 " \"generator\": \"xoshiro256++, ziggurat\", \"seed\": %" PRIu64 "}",
		 dt, command->seed);
	options.attributes = attributes;
	options.time_units = "s";
	options.keepbits = (unsigned)command->keepbits;
	options.overwrite = 1;		/* it is a demo: run it again and again */
	if (sde_zarr_storage_create(storage, command->path, &ensemble, &options, &error))
		return complain("cannot create the store", &error);
	return 0;
}

static int integrate(struct sde_storage *storage, double *x, const struct command *command)
{
	uint64_t n = command->trajectories;
	struct sde_error error = { 0 };
	struct progress progress;
	struct random r;

	random_seed(&r, command->seed);
	normal_tables();
	initial(x, n, &r);
	progress_begin(&progress, "double well", 0, (double)n * sizeof(double));
	for (uint64_t i = 0; i <= command->steps; i++) {
		if (i)
			step(x, n, &r);
		/* Returns when the snapshot is safe from the death of this process;
		 * x may be changed at once. */
		if (sde_storage_store(storage, (double)i * dt, x, i)) {
			progress_end(&progress);
			sde_storage_error(storage, &error);
			return complain("cannot store", &error);
		}
		progress_step(&progress, i, command->steps);
	}
	progress_end(&progress);
	return 0;
}

/* Publish what is left, and say what came of it. */
static int summarise(struct sde_storage *storage, const struct command *command, double began)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };

	if (sde_storage_save(storage) || sde_storage_info(storage, &info)) {
		sde_storage_error(storage, &error);
		return complain("cannot save", &error);
	}
	printf("%s: %" PRIu64 " snapshots of %" PRIu64 " trajectories in %.1f s\n"
	       "%.1f MB in %.1f MB of files, ratio %.3f; the integrator waited %" PRIu64
	       " times, %.1f ms in all\n",
	       command->path, info.committed, info.ensemble.trajectories,
	       progress_now() - began, (double)info.raw_bytes * 1e-6,
	       (double)info.stored_bytes * 1e-6,
	       (double)info.raw_bytes / (double)info.stored_bytes, info.stalls,
	       (double)info.stalled_ns * 1e-6);
	return 0;
}

static int run(const struct command *command)
{
	double *x = calloc(command->trajectories, sizeof(*x));
	struct sde_storage *storage = NULL;
	struct sde_error error = { 0 };
	double began = progress_now();
	int failed;

	if (!x) {
		fprintf(stderr, "double_well: out of memory\n");
		return 1;
	}
	failed = create(&storage, command);
	if (!failed)
		failed = integrate(storage, x, command);
	if (!failed)
		failed = summarise(storage, command, began);
	/* Closing can fail too (a full disk): the run is good only if it did not. */
	if (sde_storage_close_error(storage, &error) && !failed)
		failed = complain("cannot close the store", &error);
	free(x);
	return failed;
}

/* ------------------------------------------------------------------------
 * The command line
 */

static const char usage[] =
	"usage: double_well [--trajectories N] [--steps N] [--seed N] [--keepbits N] [DIRECTORY]\n"
	"Writes DIRECTORY (demo.zarr), replacing a store that is there already.\n"
	"  --trajectories N  default 100000\n"
	"  --steps N         after the initial snapshot, of 0.01 s each; default 1000\n"
	"  --seed N          default 1\n"
	"  --keepbits N      mantissa bits to keep, 1 to 52: smaller files; default: all\n";

/* JSON readers are sure of integers up to 2^63 - 1 only, hence the limit. */
static int parse(const char *text, uint64_t least, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	if (!errno && *text >= '0' && *text <= '9' && !*end && *value >= least &&
	    *value <= INT64_MAX)
		return 0;
	fprintf(stderr, "double_well: bad number '%s'\n", text);
	return 1;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "trajectories", required_argument, NULL, 't' },
		{ "steps", required_argument, NULL, 'n' },
		{ "seed", required_argument, NULL, 's' },
		{ "keepbits", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	struct command command = { "demo.zarr", 100000, 1000, 1, 0 };
	int option, bad = 0;

	while (!bad && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 't':
			bad = parse(optarg, 1, &command.trajectories);
			break;
		case 'n':
			bad = parse(optarg, 0, &command.steps);
			break;
		case 's':
			bad = parse(optarg, 0, &command.seed);
			break;
		case 'k':
			bad = parse(optarg, 1, &command.keepbits) || command.keepbits > 52;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			bad = 1;
		}
	}
	if (bad || optind + 1 < argc) {
		fputs(usage, stderr);
		return 1;
	}
	if (optind < argc)
		command.path = argv[optind];
	return run(&command);
}
