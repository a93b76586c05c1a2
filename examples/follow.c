/* SPDX-License-Identifier: MIT */
/*
 * Looks on while a simulation runs, from another process: a line for each snapshot
 * that was stored since the last look, until the writer ends.
 *
 *	follow [--period SECONDS] STORE
 *
 * prints time, ensemble mean and standard deviation of the first component. The
 * storage is opened once and refreshed; the writer notices nothing of it. Ends with
 * status 0 when the store was closed, 2 when its writer died.
 *
 * Build with
 *	cc -O3 follow.c -o follow $(pkg-config --cflags --libs sdestore) -lm
 */
#define _GNU_SOURCE
#include <sdestore.h>

#include <getopt.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int complain(const char *text)
{
	fprintf(stderr, "follow: %s\n", text);
	return 1;
}

/* What one block of the walk adds: sums of each snapshot, numbered from `first`. */
struct sums {
	uint64_t first;
	enum sde_dtype dtype;
	double *sum, *square;
};

static int add_block(void *ctx, const struct sde_block *block)
{
	struct sums *s = ctx;

	for (uint64_t t = 0; t < block->count[2]; t++)
		for (uint64_t n = 0; n < block->count[1]; n++) {
			const void *at = (const char *)block->data + (int64_t)t * block->strides[2] +
					 (int64_t)n * block->strides[1];
			const double x = s->dtype == SDE_FLOAT32 ? (double)*(const float *)at :
					 *(const double *)at;

			s->sum[block->start[2] + t - s->first] += x;
			s->square[block->start[2] + t - s->first] += x * x;
		}
	return 0;
}

/* Snapshots first .. end - 1; at most 1000 of them. */
static int show(struct sde_array *times, struct sde_array *data, uint64_t first, uint64_t end)
{
	static double time[1000], sum[1000], square[1000];
	const uint64_t n = sde_array_shape(data)[1], count = end - first;
	const uint64_t start[3] = { 0, 0, first }, counts[3] = { 1, n, count };
	struct sde_walk_options options = SDE_WALK_OPTIONS_INIT;
	struct sums sums = { first, sde_array_dtype(data), sum, square };
	int ret;

	memset(sum, 0, sizeof(sum));
	memset(square, 0, sizeof(square));
	options.start = start;
	options.count = counts;
	ret = sde_array_read(times, &first, &count, NULL, time, sizeof(time));
	if (!ret)
		ret = sde_array_walk(data, &options, add_block, &sums);
	for (uint64_t k = 0; k < count && !ret; k++) {
		const double mean = sum[k] / (double)n;
		const double variance = square[k] / (double)n - mean * mean;

		printf("%.17g %.9g %.9g\n", time[k], mean, variance > 0 ? sqrt(variance) : 0.0);
	}
	return ret;
}

/* All that is new; *seen snapshots were shown before. */
static int look(struct sde_storage *storage, uint64_t *seen, struct sde_error *error)
{
	struct sde_array *times, *data;
	int ret = sde_storage_values(storage, &times, &data);
	uint64_t snapshots;

	if (ret == SDE_E_NO_DATA)
		return 0;
	if (ret) {
		sde_storage_error(storage, error);
		return ret;
	}
	snapshots = sde_array_shape(times)[0];
	/* the run went back to a checkpoint */
	if (*seen > snapshots)
		*seen = snapshots;
	while (*seen < snapshots && !ret) {
		const uint64_t end = snapshots - *seen < 1000 ? snapshots : *seen + 1000;

		ret = show(times, data, *seen, end);
		if (!ret)
			*seen = end;
	}
	if (ret && !sde_array_error(data, error))
		sde_array_error(times, error);
	sde_array_close(times);
	sde_array_close(data);
	fflush(stdout);
	return ret;
}

static int follow(struct sde_storage *storage, double period)
{
	const struct timespec pause = { (time_t)period, (long)(fmod(period, 1) * 1e9) };
	uint64_t seen = 0;

	for (;;) {
		struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
		struct sde_error error = { 0 };
		int ret = look(storage, &seen, &error);

		/* truncated just now: what is shown after a refresh is good */
		if (ret && ret != SDE_E_STALE)
			return complain(error.text);
		if (!ret && !sde_storage_info(storage, &info) && info.state != SDE_STATE_RUNNING) {
			if (info.state == SDE_STATE_CLOSED)
				return 0;
			complain("the writer died; sde_zarr_storage_resume() goes on");
			return 2;
		}
		nanosleep(&pause, NULL);
		if (sde_storage_refresh(storage)) {
			sde_storage_error(storage, &error);
			return complain(error.text);
		}
	}
}

int main(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "period", required_argument, NULL, 'p' }, { NULL, 0, NULL, 0 }
	};
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	double period = 1;
	char *end = NULL;
	int option, ret;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		period = option == 'p' ? strtod(optarg, &end) : 0;
		if (option == 'p' && *end)
			period = 0;
	}
	if (!(period > 0 && period < 86400) || optind + 1 != argc) {
		fputs("usage: follow [--period SECONDS] STORE\n", stderr);
		return 1;
	}
	if (sde_storage_open(&storage, argv[optind], NULL, &error))
		return complain(error.text);
	ret = follow(storage, period);
	sde_storage_close(storage);
	return ret;
}
