/* SPDX-License-Identifier: MIT */
/*
 * Guards --follow: like tail -f for a run. One look a period through one storage that
 * is refreshed; nothing of the run is disturbed.
 *
 * On a terminal the lines are redrawn in place, none of them wider than the window;
 * elsewhere there is a line a look, or an object of the schema "sde-inspect-follow/1".
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "inspect.h"
#include "json.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define SHOWN 4			/* dimensions in a line for people */
#define FAILED_MOST 5		/* looks in a row that met what may pass */

/* One look. */
struct look {
	struct sde_storage_info info;
	double *mean, *spread;		/* [d_X]; NaN without snapshots */
	double when;			/* monotonic */
	double rate;			/* snapshots a second; NaN: not known */
	double free;			/* bytes; NaN */
	double full_in;			/* seconds; NaN */
};

struct follower {
	const struct inspect_follow *how;
	struct sde_storage *storage;
	struct look look;
	double began;			/* what rates are reckoned from ... */
	uint64_t first_stored;
	double before;			/* ... and the look before */
	uint64_t count_before;
	bool terminal;
	unsigned drawn;			/* lines on the terminal */
};

static double monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Mean and spread (standard deviation over the ensemble) of one component. */
static void moments(const void *row, bool is_float, uint64_t n, double *mean, double *spread)
{
	double m = 0, s = 0;

	/* Welford's way: no cancellation */
	for (uint64_t i = 0; i < n; i++) {
		const double x = is_float ? (double)((const float *)row)[i] :
				 ((const double *)row)[i];
		const double delta = x - m;

		m += delta / (double)(i + 1);
		s += delta * (x - m);
	}
	*mean = m;
	*spread = sqrt(s / (double)n);
}

static int newest(struct follower *f, struct sde_error *error)
{
	const struct sde_ensemble *e = &f->look.info.ensemble;
	const bool is_float = e->dtype == SDE_FLOAT32;
	const size_t bytes = (size_t)e->trajectories * (is_float ? 4 : 8);
	uint64_t start[3] = { 0 }, count[3] = { 1, e->trajectories, 1 };
	struct sde_array *data = NULL;
	void *row = malloc(bytes);
	int ret = row ? sde_storage_values(f->storage, NULL, &data) : -ENOMEM;

	if (ret && row)
		sde_storage_error(f->storage, error);
	for (; !ret && start[0] < e->dimension; start[0]++) {
		start[2] = sde_array_shape(data)[2] - 1;
		ret = sde_array_read(data, start, count, NULL, row, bytes);
		if (ret)
			sde_array_error(data, error);
		else
			moments(row, is_float, e->trajectories, &f->look.mean[start[0]],
				&f->look.spread[start[0]]);
	}
	sde_array_close(data);
	free(row);
	return ret;
}

/* Rates are the last period's; the disk's, which comes in chunks, since the beginning. */
static void reckon(struct follower *f)
{
	struct look *look = &f->look;
	const struct sde_storage_info *info = &look->info;
	const double since = look->when - f->began;
	const double stored = (double)info->stored_bytes - (double)f->first_stored;
	struct statvfs disk;

	look->rate = look->when > f->before && info->committed >= f->count_before ?
		     (double)(info->committed - f->count_before) / (look->when - f->before) :
		     (double)NAN;
	look->free = statvfs(f->how->path, &disk) ? (double)NAN :
		     (double)disk.f_bavail * (double)disk.f_frsize;
	look->full_in = since > 0 && stored > 0 ? look->free * since / stored : (double)NAN;
	f->before = look->when;
	f->count_before = info->committed;
}

static int take_look(struct follower *f, struct sde_error *error)
{
	struct look *look = &f->look;
	int ret;

	look->info = (struct sde_storage_info)SDE_STORAGE_INFO_INIT;
	ret = sde_storage_info(f->storage, &look->info);
	look->when = monotonic();
	if (ret) {
		sde_storage_error(f->storage, error);
		return ret;
	}
	if (!look->mean) {
		look->mean = calloc(look->info.ensemble.dimension, sizeof(double));
		look->spread = calloc(look->info.ensemble.dimension, sizeof(double));
		if (!look->mean || !look->spread)
			return -ENOMEM;
		f->began = look->when;
		f->count_before = look->info.committed;
		f->first_stored = look->info.stored_bytes;
		f->before = look->when;
	}
	for (uint64_t d = 0; d < look->info.ensemble.dimension; d++)
		look->mean[d] = look->spread[d] = (double)NAN;
	reckon(f);
	return look->info.committed ? newest(f, error) : 0;
}

/* ------------------------------------------------------------------------
 * Showing it
 */

static void put_numbers(struct emitter *e, const char *key, const double *x, uint64_t n)
{
	emit_array(e, key);
	for (uint64_t i = 0; i < n; i++)
		emit_double(e, NULL, x[i]);
	emit_end(e);
}

static void show_json(const struct follower *f)
{
	const struct look *look = &f->look;
	const struct sde_storage_info *info = &look->info;
	struct emitter e = { .out = stdout, .one_line = true };

	emit_object(&e, NULL);
	emit_string(&e, "schema", INSPECT_FOLLOW_SCHEMA);
	emit_string(&e, "path", f->how->path);
	emit_string(&e, "state", inspect_state(info->state));
	emit_unsigned(&e, "snapshots", info->committed);
	emit_unsigned(&e, "published", info->published);
	emit_double(&e, "rate", look->rate);
	emit_double(&e, "time", info->last_time);
	emit_signed(&e, "iteration", info->last_iteration);
	put_numbers(&e, "mean", look->mean, info->ensemble.dimension);
	put_numbers(&e, "spread", look->spread, info->ensemble.dimension);
	emit_unsigned(&e, "stored", info->stored_bytes);
	emit_double(&e, "free", look->free);
	emit_double(&e, "full_in", look->full_in);
	emit_end(&e);
}

static void put_some(char *out, size_t size, const double *x, uint64_t n)
{
	size_t at = 0;

	*out = '\0';
	for (uint64_t i = 0; i < n && i < SHOWN && at < size; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%.6g", i ? " " : "", x[i]);
	if (n > SHOWN && at < size)
		snprintf(out + at, size - at, " ...");
}

static void put_rate(char *out, size_t size, double rate)
{
	if (isnan(rate))
		snprintf(out, size, "-/s");
	else
		snprintf(out, size, "%.1f/s", rate);
}

/* A line of the page, cut to the window, or a part of the only line. */
static void put_line(struct follower *f, const char *label, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void put_line(struct follower *f, const char *label, const char *format, ...)
{
	char text[512], line[600];
	struct winsize window;
	size_t width = 80;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (!f->terminal) {
		printf("%s%s %s", f->drawn++ ? ", " : "", label, text);
		return;
	}
	if (!ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) && window.ws_col)
		width = window.ws_col;
	snprintf(line, sizeof(line), "  %-11s %s", label, text);
	if (width - 1 < strlen(line))
		line[width - 1] = '\0';
	printf("%s\033[K\n", line);
	f->drawn++;
}

static void show_page(struct follower *f)
{
	const struct look *look = &f->look;
	const struct sde_storage_info *info = &look->info;
	char rate[TEXT_SIZE], mean[256], spread[256], room[TEXT_SIZE], left[TEXT_SIZE];
	char time[TEXT_SIZE] = "none";

	if (f->terminal && f->drawn)
		printf("\033[%uA", f->drawn);
	f->drawn = 0;
	put_rate(rate, sizeof(rate), look->rate);
	put_some(mean, sizeof(mean), look->mean, info->ensemble.dimension);
	put_some(spread, sizeof(spread), look->spread, info->ensemble.dimension);
	text_bytes(room, isnan(look->free) ? 0 : look->free);
	text_duration(left, isnan(look->full_in) ? -1 : look->full_in);
	if (info->committed)
		text_double(time, info->last_time);
	put_line(f, "state", "%s", inspect_state(info->state));
	put_line(f, "snapshots", "%" PRIu64 ", %s", info->committed, rate);
	put_line(f, "time", "%s, iteration %" PRId64, time, info->last_iteration);
	put_line(f, "mean", "%s", mean);
	put_line(f, "spread", "%s", spread);
	put_line(f, "disk", "%s free, full in %s", room, left);
	if (!f->terminal)
		putchar('\n');
}

/* ------------------------------------------------------------------------
 * Going on
 */

static void wait_for(double until)
{
	const double left = until - monotonic();
	struct timespec pause;

	if (left <= 0)
		return;
	pause.tv_sec = (time_t)left;
	pause.tv_nsec = (long)((left - (double)pause.tv_sec) * 1e9);
	nanosleep(&pause, NULL);
}

/*
 * A truncate at work is over soon; and of a store that is being removed first some files
 * are gone, then all, which is what should be said.
 */
static bool may_pass(int code)
{
	return code == SDE_E_STALE || code == -ENOENT || code == SDE_E_HOLE ||
	       code == SDE_E_CORRUPT || code == SDE_E_NOT_STORE;
}

static int look_until_the_end(struct follower *f, struct sde_error *error)
{
	unsigned failed = 0;
	int ret = 0;

	for (;;) {
		const double next = monotonic() + f->how->period;

		if (!ret)
			ret = take_look(f, error);
		if (ret && (!may_pass(ret) || ++failed == FAILED_MOST))
			return ret;
		if (!ret) {
			failed = 0;
			if (f->how->json)
				show_json(f);
			else
				show_page(f);
			/* who reads nothing any more is told by the caller */
			if (fflush(stdout) || f->look.info.state != SDE_STATE_RUNNING)
				return 0;
		}
		wait_for(next);
		memset(error, 0, sizeof(*error));
		ret = sde_storage_refresh(f->storage);
		if (ret)
			sde_storage_error(f->storage, error);
	}
}

enum status_exit inspect_follow(const struct inspect_follow *follow, struct sde_storage *storage,
				int *code, struct sde_error *error)
{
	struct follower f = { .how = follow, .storage = storage };

	f.terminal = !follow->json && isatty(STDOUT_FILENO);
	if (f.terminal) {
		text_puts(stdout, follow->path);
		putchar('\n');
	}
	*code = look_until_the_end(&f, error);
	free(f.look.mean);
	free(f.look.spread);
	return !*code && f.look.info.state == SDE_STATE_CRASHED ? STATUS_INCOMPLETE : STATUS_OK;
}
