/* SPDX-License-Identifier: MIT */
/*
 * Quantiles of the ensemble over time, of a store of any size:
 *
 *	quantiles [--component I] [--threads K] [--at Q,Q,...] STORE
 *
 * prints a line a snapshot: the time and the quantiles, numpy.quantile's to the
 * bit (linear interpolation). Memory is a chunk or two a thread and the result,
 * however many snapshots there are: sde_array_walk shows a chunk's worth of whole
 * snapshots at a time, to several threads at once.
 *
 * Build with
 *	cc -O3 quantiles.c -o quantiles $(pkg-config --cflags --libs sdestore) -lm
 */
#define _GNU_SOURCE
#include <sdestore.h>

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64		/* quantiles */

struct command {
	const char *path;
	uint64_t component;
	unsigned threads;
	double at[MOST];	/* increasing */
	unsigned n;
};

struct work {
	const struct command *command;
	enum sde_dtype dtype;
	uint64_t trajectories;
	double **row;		/* [threads][N]: one snapshot of each thread's */
	double *result;		/* [M][n] */
};

static void swap(double *a, double *b)
{
	const double c = *a;

	*a = *b;
	*b = c;
}

/*
 * Hoare's quickselect: afterwards x[k] is what it would be if x were sorted, with
 * nothing larger before it and nothing smaller behind. No NaN.
 */
static void select_nth(double *x, uint64_t first, uint64_t end, uint64_t k)
{
	while (end - first > 1) {
		const double pivot = x[first + (end - first - 1) / 2];
		uint64_t i = first, j = end - 1;

		for (;;) {
			while (x[i] < pivot)
				i++;
			while (x[j] > pivot)
				j--;
			if (i >= j)
				break;
			swap(&x[i++], &x[j--]);
		}
		/* x[first..j] <= pivot <= x[j + 1..end), and neither is empty */
		if (k <= j)
			end = j + 1;
		else
			first = j + 1;
	}
}

/* numpy.quantile's default, "linear": R's type 7 (Hyndman and Fan, 1996). */
static double between(double a, double b, double t)
{
	return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);
}

static void quantiles_of(double *x, uint64_t n, const struct command *command, double *result)
{
	uint64_t done = 0;	/* below it, x is in its place for good */

	for (uint64_t i = 0; i < n; i++) {
		if (!isnan(x[i]))
			continue;
		for (unsigned q = 0; q < command->n; q++)
			result[q] = (double)NAN;
		return;
	}
	for (unsigned q = 0; q < command->n; q++) {
		const double where = (double)(n - 1) * command->at[q];
		const uint64_t k = (uint64_t)where;
		double next;

		select_nth(x, done, n, k);
		done = k;
		next = x[k];
		if (k + 1 < n) {
			next = (double)INFINITY;
			for (uint64_t i = k + 1; i < n; i++)
				next = x[i] < next ? x[i] : next;
		}
		result[q] = between(x[k], next, where - (double)k);
	}
}

/* Called by several threads at once: each has a row of its own. */
static int take_block(void *ctx, const struct sde_block *block)
{
	struct work *work = ctx;
	double *row = work->row[block->thread];

	for (uint64_t t = 0; t < block->count[2]; t++) {
		const char *x = (const char *)block->data + (int64_t)t * block->strides[2];

		for (uint64_t n = 0; n < block->count[1]; n++, x += block->strides[1])
			row[n] = work->dtype == SDE_FLOAT32 ?
				 (double)*(const float *)(const void *)x :
				 *(const double *)(const void *)x;
		quantiles_of(row, block->count[1], work->command,
			     work->result + (block->start[2] + t) * work->command->n);
	}
	return 0;
}

static void print(const struct command *command, const double *time, const double *result,
		  uint64_t snapshots)
{
	printf("# time");
	for (unsigned q = 0; q < command->n; q++)
		printf(" %.17g", command->at[q]);
	putchar('\n');
	for (uint64_t k = 0; k < snapshots; k++) {
		printf("%.17g", time[k]);
		for (unsigned q = 0; q < command->n; q++)
			printf(" %.17g", result[k * command->n + q]);
		putchar('\n');
	}
}

static int allocate(struct work *work, uint64_t snapshots, double **time)
{
	const unsigned threads = work->command->threads;
	int ok;

	*time = malloc(snapshots * sizeof(**time));
	work->result = calloc(snapshots * work->command->n, sizeof(*work->result));
	work->row = calloc(threads, sizeof(*work->row));
	ok = *time && work->result && work->row;
	for (unsigned i = 0; ok && i < threads; i++) {
		work->row[i] = malloc(work->trajectories * sizeof(**work->row));
		ok = work->row[i] != NULL;
	}
	return ok;
}

static int evaluate(const struct command *command, struct sde_array *times, struct sde_array *data)
{
	const uint64_t *shape = sde_array_shape(data);
	const uint64_t start[3] = { command->component, 0, 0 }, count[3] = { 1, shape[1], shape[2] };
	struct work work = { command, sde_array_dtype(data), shape[1], NULL, NULL };
	struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;
	struct sde_error error = { 0 };
	double *time = NULL;
	int ret = -1;

	if (command->component >= shape[0]) {
		fprintf(stderr, "quantiles: there is no component %" PRIu64 ": there are %" PRIu64
			", from 0\n", command->component, shape[0]);
		return -1;
	}
	options.threads = command->threads;
	options.start = start;
	options.count = count;
	options.whole_snapshots = 1;
	if (!allocate(&work, shape[2], &time)) {
		fputs("quantiles: out of memory\n", stderr);
	} else if (sde_array_read(times, NULL, NULL, NULL, time, shape[2] * sizeof(*time))) {
		sde_array_error(times, &error);
	} else if (sde_array_walk(data, &options, take_block, &work)) {
		sde_array_error(data, &error);
	} else {
		print(command, time, work.result, shape[2]);
		ret = 0;
	}
	if (error.code)
		fprintf(stderr, "quantiles: %s\n", error.text);
	for (unsigned i = 0; work.row && i < command->threads; i++)
		free(work.row[i]);
	free(work.row);
	free(work.result);
	free(time);
	return ret;
}

static int run(const struct command *command)
{
	struct sde_array *times = NULL, *data = NULL;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int ret = sde_storage_open(&storage, command->path, NULL, &error);

	if (!ret) {
		ret = sde_storage_values(storage, &times, &data);
		if (ret)
			sde_storage_error(storage, &error);
	}
	if (ret)
		fprintf(stderr, "quantiles: %s\n", error.text);
	else
		ret = evaluate(command, times, data);
	sde_array_close(times);
	sde_array_close(data);
	sde_storage_close(storage);
	return ret ? 1 : 0;
}

static int usage(void)
{
	fputs("usage: quantiles [--component I] [--threads K] [--at Q,Q,...] STORE\n", stderr);
	return 1;
}

static int parse_quantiles(struct command *command, const char *text)
{
	char *end;

	command->n = 0;
	do {
		const double q = strtod(text, &end);
		const int bad = end == text || !(q >= 0 && q <= 1) || command->n == MOST;

		if (bad || (command->n && q <= command->at[command->n - 1]))
			return -1;
		command->at[command->n++] = q;
		text = end + 1;
	} while (*end == ',');
	return *end ? -1 : 0;
}

static int parse_number(const char *text, uint64_t most, uint64_t *value)
{
	char *end;

	*value = strtoull(text, &end, 10);
	return *text < '0' || *text > '9' || *end || *value > most ? -1 : 0;
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "component", required_argument, NULL, 'c' },
		{ "threads", required_argument, NULL, 't' },
		{ "at", required_argument, NULL, 'q' },
		{ NULL, 0, NULL, 0 }
	};
	struct command command = { NULL, 0, 2, { 0.05, 0.25, 0.5, 0.75, 0.95 }, 5 };
	uint64_t threads = 2;
	int option, bad = 0;

	while (!bad && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			bad = parse_number(optarg, UINT64_MAX, &command.component);
		else if (option == 't')
			bad = parse_number(optarg, 256, &threads) || !threads;
		else
			bad = option != 'q' || parse_quantiles(&command, optarg);
	}
	if (bad || optind + 1 != argc)
		return usage();
	command.threads = (unsigned)threads;
	command.path = argv[optind];
	return run(&command);
}
