/* SPDX-License-Identifier: MIT */
/*
 * A progress bar with rate and remaining time for the examples, on standard
 * error, and only where that is a terminal:
 *
 *	double well [=========>          ]  48%  240 steps/s  192.0 MB/s  ETA 0:02
 *
 * Redrawn at most ten times a second. A file that includes this begins with
 * #define _GNU_SOURCE (isatty, ioctl and clock_gettime are not in C11).
 */
#ifndef SDE_EXAMPLES_PROGRESS_H
#define SDE_EXAMPLES_PROGRESS_H

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

struct progress {
	const char *label;
	double step_bytes;	/* what a step stores, for the MB/s */
	unsigned long long first;	/* steps done before: they do not count in the rate */
	int on;
	int shown;		/* columns drawn */
	double began, drawn;	/* seconds */
};

static inline double progress_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline void progress_begin(struct progress *p, const char *label,
				  unsigned long long first, double step_bytes)
{
	memset(p, 0, sizeof(*p));
	p->label = label;
	p->first = first;
	p->step_bytes = step_bytes;
	p->on = isatty(STDERR_FILENO);
	p->began = progress_now();
}

static inline void progress_draw(struct progress *p, unsigned long long done,
				 unsigned long long all, double now)
{
	struct winsize window = { 0 };
	double seconds = now > p->began ? now - p->began : 1e-9;
	double rate = (double)(done - p->first) / seconds;
	double part = all ? (double)done / (double)all : 1;
	unsigned long long left =
		rate > 0 ? (unsigned long long)((double)(all - done) / rate + 0.5) : 0;
	char tail[128], bar[41], line[256];
	int width = 79, room, full;	/* one less than the window: it never wraps */

	if (!ioctl(STDERR_FILENO, TIOCGWINSZ, &window) && window.ws_col)
		width = window.ws_col - 1;
	snprintf(tail, sizeof(tail), "%3u%%  %.0f steps/s  %.1f MB/s  ETA %llu:%02llu",
		 (unsigned)(100 * part), rate, rate * p->step_bytes * 1e-6,
		 left / 60, left % 60);
	room = width - (int)strlen(p->label) - (int)strlen(tail) - 4;
	if (room > 40)
		room = 40;
	if (room >= 10) {
		full = (int)(part * room);
		memset(bar, ' ', (size_t)room);
		memset(bar, '=', (size_t)full);
		if (full < room)
			bar[full] = '>';
		bar[room] = '\0';
		snprintf(line, sizeof(line), "%s [%s] %s", p->label, bar, tail);
	} else {
		snprintf(line, sizeof(line), "%s %s", p->label, tail);
	}
	if (width >= 0 && width < (int)strlen(line))
		line[width] = '\0';
	fprintf(stderr, "\r%-*s", p->shown < width ? p->shown : width, line);
	p->shown = (int)strlen(line);
	p->drawn = now;
}

/* `done` of `all` steps are done; may be called at every step. */
static inline void progress_step(struct progress *p, unsigned long long done,
				 unsigned long long all)
{
	double now;

	if (!p->on || done == p->first)		/* no rate yet */
		return;
	now = progress_now();
	if (!p->shown || done == all || now - p->drawn >= 0.1)
		progress_draw(p, done, all, now);
}

/* The bar stays where it is, what is printed next has a line of its own. */
static inline void progress_end(struct progress *p)
{
	if (p->shown)
		fputc('\n', stderr);
	p->shown = 0;
}

#endif
