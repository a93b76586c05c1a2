/* SPDX-License-Identifier: MIT */
/*
 * A storage of one's own: running moments in place of snapshots.
 *
 * Not every run needs its whole history. This backend keeps, of everything that
 * was stored, the mean and the variance over time of each trajectory, in memory
 * that does not grow. Its `values` are
 *
 *	time	(1,)		the time of the last snapshot
 *	data	(d_X, N, 2)	[..., 0] the mean over the snapshots stored,
 *				[..., 1] their variance (divided by their number)
 *
 * What an integrator calls is the same as for any storage; only the constructor
 * differs. The program below feeds it an Ornstein-Uhlenbeck process and
 * compares the moments with theory.
 *
 * Build with
 *	cc -O2 moments.c -o moments $(pkg-config --cflags --libs sdestore) -lm
 */
#define _GNU_SOURCE
#include "progress.h"

#include <sdestore/backend.h>

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

/* ------------------------------------------------------------------------
 * The backend: a struct of our own, and a function for each thing that it does
 */

struct moments {
	uint64_t dimension, trajectories;
	uint64_t count;			/* snapshots so far */
	double first_time, last_time;
	uint64_t first_iteration, last_iteration;
	double *mean;			/* [d][n] */
	double *squares;		/* [d][n], sum of (x - mean)^2 */
};

/*
 * B. P. Welford, "Note on a method for calculating corrected sums of squares
 * and products", Technometrics 4(3), 1962: no cancellation, one pass.
 *
 * The base has done the rest: iterations that stride skips do not come here,
 * data is not NULL.
 */
static int moments_store(void *self, double time, const void *data,
			 uint64_t iteration_number, struct sde_error *error)
{
	struct moments *m = self;
	uint64_t n = m->dimension * m->trajectories;
	const double *x = data;
	double weight;

	(void)error;
	if (!m->count) {
		m->first_time = time;
		m->first_iteration = iteration_number;
	}
	m->last_time = time;
	m->last_iteration = iteration_number;
	weight = 1 / (double)++m->count;
	for (uint64_t i = 0; i < n; i++) {
		double before = x[i] - m->mean[i];

		m->mean[i] += weight * before;
		m->squares[i] += before * (x[i] - m->mean[i]);
	}
	return 0;
}

/*
 * Handles outlive the storage and do not change when more is stored: each gets
 * a copy of its own, which sde_array_close frees.
 */
static int moments_time(const struct moments *m, struct sde_array **time)
{
	const uint64_t shape[1] = { 1 };
	const int64_t strides[1] = { sizeof(double) };
	double *copy = malloc(sizeof(*copy));
	int code;

	if (!copy)
		return -ENOMEM;
	*copy = m->last_time;
	code = sde_array_wrap(time, copy, SDE_FLOAT64, 1, shape, strides, free, copy);
	if (code)
		free(copy);
	return code;
}

static int moments_data(const struct moments *m, struct sde_array **data)
{
	const uint64_t shape[3] = { m->dimension, m->trajectories, 2 };
	uint64_t n = m->dimension * m->trajectories;
	/* Strides are in bytes and may be anything: this copy is [2][d][n], and
	 * its handle shows it as (d, n, 2). */
	const int64_t strides[3] = {
		(int64_t)(m->trajectories * sizeof(double)), sizeof(double),
		(int64_t)(n * sizeof(double))
	};
	double *copy = calloc(n, 2 * sizeof(*copy));
	int code;

	if (!copy)
		return -ENOMEM;
	for (uint64_t i = 0; i < n; i++) {
		copy[i] = m->mean[i];
		copy[n + i] = m->squares[i] / (double)m->count;
	}
	code = sde_array_wrap(data, copy, SDE_FLOAT64, 3, shape, strides, free, copy);
	if (code)
		free(copy);
	return code;
}

/* Either pointer may be NULL: that handle is not wanted. */
static int moments_values(void *self, struct sde_array **time, struct sde_array **data,
			  struct sde_error *error)
{
	const struct moments *m = self;
	int code = 0;

	if (!m->count) {
		error->code = SDE_E_NO_DATA;
		snprintf(error->text, sizeof(error->text), "nothing has been stored yet");
		return SDE_E_NO_DATA;
	}
	if (time)
		code = moments_time(m, time);
	if (!code && data) {
		code = moments_data(m, data);
		if (code && time) {
			sde_array_close(*time);
			*time = NULL;
		}
	}
	return code;
}

static int moments_info(void *self, struct sde_storage_info *info, struct sde_error *error)
{
	const struct moments *m = self;

	(void)error;
	info->committed = m->count;
	if (m->count) {
		info->first_time = m->first_time;
		info->last_time = m->last_time;
		info->first_iteration = (int64_t)m->first_iteration;
		info->last_iteration = (int64_t)m->last_iteration;
	}
	return 0;
}

static void moments_free(struct moments *m)
{
	free(m->mean);
	free(m->squares);
	free(m);
}

/* Called exactly once, whatever happened before. A backend that writes would
 * save here, and return what came of it. */
static int moments_close(void *self, struct sde_error *error)
{
	(void)error;
	moments_free(self);
	return 0;
}

/*
 * The constructor, like those of the library. The entries that are left NULL
 * (truncate, iterations, ...) give SDE_E_UNSUPPORTED, or do nothing where that
 * is right (save, sync). `error` must not be NULL here.
 */
static int moments_storage_create(struct sde_storage **out, const struct sde_ensemble *ensemble,
				  const struct sde_derive_options *options,
				  struct sde_error *error)
{
	struct sde_backend backend = SDE_BACKEND_INIT;
	struct moments *m = NULL;
	int code;

	*out = NULL;
	if (ensemble->dtype != SDE_FLOAT64) {
		error->code = SDE_E_UNSUPPORTED;
		snprintf(error->text, sizeof(error->text), "moments are float64 only");
		return SDE_E_UNSUPPORTED;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		goto out_of_memory;
	m->dimension = ensemble->dimension;
	m->trajectories = ensemble->trajectories;
	m->mean = calloc(m->dimension * m->trajectories, sizeof(double));
	m->squares = calloc(m->dimension * m->trajectories, sizeof(double));
	if (!m->mean || !m->squares)
		goto out_of_memory;

	backend.kind = "moments";
	backend.store = moments_store;
	backend.values = moments_values;
	backend.info = moments_info;
	backend.close = moments_close;
	code = sde_storage_derive(out, ensemble, &backend, m, options, error);
	if (code)
		moments_free(m);	/* on failure it is still ours */
	return code;

out_of_memory:
	if (m)
		moments_free(m);
	error->code = -ENOMEM;
	snprintf(error->text, sizeof(error->text), "cannot allocate the moments");
	return -ENOMEM;
}

/* ------------------------------------------------------------------------
 * The simulation: dX = -X dt + sqrt(2) dW, whose stationary law is N(0, 1)
 */

enum { TRAJECTORIES = 2000, STEPS = 4000, STRIDE = 2 };
static const double dt = 0.05;

/* SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014) and Box-Muller. */
static double uniform(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return ((double)((z ^ z >> 31) >> 12) + 0.5) * 0x1p-52;
}

static double normal(uint64_t *state)
{
	double radius = sqrt(-2 * log(uniform(state)));

	return radius * cos(2 * acos(-1.0) * uniform(state));
}

static int complain(const char *what, const struct sde_error *error)
{
	fprintf(stderr, "moments: %s: %s\n", what, error->text);
	return 1;
}

/* Exact in law at every step: X(t + dt) = X(t) e^-dt + sqrt(1 - e^-2dt) Z. */
static int integrate(struct sde_storage *storage, double *x)
{
	const double decay = exp(-dt), kick = sqrt(1 - decay * decay);
	struct sde_error error = { 0 };
	struct progress progress;
	uint64_t state = 1;

	for (int j = 0; j < TRAJECTORIES; j++)
		x[j] = normal(&state);
	progress_begin(&progress, "moments", 0, TRAJECTORIES * sizeof(double));
	for (int i = 0; i < STEPS; i++) {
		if (sde_storage_store(storage, i * dt, x, (uint64_t)i)) {
			progress_end(&progress);
			sde_storage_error(storage, &error);
			return complain("cannot store", &error);
		}
		for (int j = 0; j < TRAJECTORIES; j++)
			x[j] = x[j] * decay + kick * normal(&state);
		progress_step(&progress, (unsigned long long)i + 1, STEPS);
	}
	progress_end(&progress);
	return 0;
}

/*
 * Mean over the trajectories of x(j), j = first, first + 2, ..., and the
 * standard error of that mean: trajectories are independent.
 */
static double average(const double *x, int first, double *standard_error)
{
	double mean = 0, square = 0;

	for (int j = 0; j < TRAJECTORIES; j++)
		mean += x[2 * j + first] / TRAJECTORIES;
	for (int j = 0; j < TRAJECTORIES; j++)
		square += (x[2 * j + first] - mean) * (x[2 * j + first] - mean);
	*standard_error = sqrt(square / (TRAJECTORIES - 1.0) / TRAJECTORIES);
	return mean;
}

/*
 * The variance of one trajectory around its own mean over M snapshots falls
 * short of the stationary 1 by the variance of that mean, which is
 * (1 + 2 sum over k < M of (1 - k/M) r^k) / M; r is the correlation of one
 * snapshot with the next.
 */
static double expected_variance(uint64_t snapshots)
{
	double m = (double)snapshots, r = exp(-dt * STRIDE), of_mean = 1;

	for (uint64_t k = 1; k < snapshots; k++)
		of_mean += 2 * (1 - (double)k / m) * pow(r, (double)k);
	return 1 - of_mean / m;
}

static int compare(const char *what, double found, double expected, double standard_error)
{
	double off = (found - expected) / standard_error;

	printf("%-28s %9.5f +- %.5f   theory %9.5f   off by %+.1f standard errors\n", what,
	       found, standard_error, expected, off);
	/* 4.5 standard errors: about 1 run in 150000, and the seed is fixed */
	return fabs(off) > 4.5;
}

static int report(struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_array *time = NULL, *data = NULL;
	struct sde_error error = { 0 };
	double last = 0, mean, mean_error, variance, variance_error;
	size_t size = 2 * TRAJECTORIES * sizeof(double);
	double *moments = malloc(size);	/* data's shape is (1, TRAJECTORIES, 2) */
	int failed = 1;

	if (!moments) {
		fprintf(stderr, "moments: out of memory\n");
		return 1;
	}
	if (sde_storage_info(storage, &info) || sde_storage_values(storage, &time, &data)) {
		sde_storage_error(storage, &error);
		complain("no values", &error);
		goto out;
	}
	/* start, count and step NULL: everything */
	if (sde_array_read(time, NULL, NULL, NULL, &last, sizeof(last)) ||
	    sde_array_read(data, NULL, NULL, NULL, moments, size)) {
		fprintf(stderr, "moments: cannot read the values\n");
		goto out;
	}
	mean = average(moments, 0, &mean_error);
	variance = average(moments, 1, &variance_error);
	printf("%s: %llu snapshots of %d trajectories, to t = %g\n", info.kind,
	       (unsigned long long)info.committed, TRAJECTORIES, last);
	failed = compare("mean of means over time", mean, 0, mean_error) |
		 compare("mean of variances over time", variance,
			 expected_variance(info.committed), variance_error);
out:
	sde_array_close(time);
	sde_array_close(data);
	free(moments);
	return failed;
}

int main(void)
{
	struct sde_ensemble ensemble = { .dimension = 1, .trajectories = TRAJECTORIES };
	struct sde_derive_options options = SDE_DERIVE_OPTIONS_INIT;
	struct sde_storage *storage = NULL;
	struct sde_error error = { 0 };
	static double x[TRAJECTORIES];
	int failed;

	options.stride = STRIDE;
	if (moments_storage_create(&storage, &ensemble, &options, &error))
		return complain("cannot create the storage", &error);
	failed = integrate(storage, x);
	if (!failed)
		failed = report(storage);
	if (sde_storage_close_error(storage, &error) && !failed)
		failed = complain("cannot close the storage", &error);
	return failed;
}
