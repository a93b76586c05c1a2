/* SPDX-License-Identifier: MIT */
/*
 * Guards the terminal: a bar never wraps, never lands in a file or a pipe, and
 * is gone when the tool goes on.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "progress.h"

#include "text.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.1
#define BAR_LEAST 10
#define BAR_MOST 50
#define LINE_MOST 160

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) +
	       (double)(now.tv_nsec - then->tv_nsec) * 1e-9;
}

/* A job in the background must not write over its shell's prompt. */
static bool in_foreground(void)
{
	pid_t group = tcgetpgrp(STDERR_FILENO);

	return group == -1 || group == getpgrp();
}

static unsigned columns(void)
{
	struct winsize window;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) || !window.ws_col)
		return 80;
	return window.ws_col;
}

void progress_begin(struct progress *progress, const char *label, uint64_t item_bytes)
{
	memset(progress, 0, sizeof(*progress));
	progress->label = label;
	progress->item_bytes = item_bytes;
	progress->on = isatty(STDERR_FILENO);
	clock_gettime(CLOCK_MONOTONIC, &progress->began);
}

/* "label [====>   ]": `room` columns of brackets and bar; the bar may be left out. */
static void draw_bar(char *line, size_t size, const char *label, double part, size_t room)
{
	char bar[BAR_MOST + 1];
	size_t length, full;

	if (room < BAR_LEAST + 3) {
		snprintf(line, size, "%s", label);
		return;
	}
	length = room - 3 < BAR_MOST ? room - 3 : BAR_MOST;
	full = (size_t)(part * (double)length);
	memset(bar, ' ', length);
	memset(bar, '=', full);
	if (full < length)
		bar[full] = '>';
	bar[length] = '\0';
	snprintf(line, size, "%s [%s]", label, bar);
}

static void draw(struct progress *progress, uint64_t done, uint64_t all)
{
	double elapsed = seconds_since(&progress->began);
	double part = all ? (double)done / (double)all : 1;
	double rate = elapsed > 0 ? (double)done / elapsed : 0;
	double left = done ? (double)(all - done) / rate : -1;
	char speed[TEXT_SIZE], eta[TEXT_SIZE], tail[3 * TEXT_SIZE], line[LINE_MOST];
	char both[LINE_MOST + sizeof(tail)];
	unsigned width = columns() - 1;		/* the last column would wrap */
	size_t used, room;

	text_bytes(speed, rate * (double)progress->item_bytes);
	text_duration(eta, left);
	snprintf(tail, sizeof(tail), " %3u%%  %s/s  ETA %s", (unsigned)(100 * part),
		 speed, eta);
	used = strlen(progress->label) + strlen(tail);
	room = width > used ? width - used : 0;
	draw_bar(line, sizeof(line), progress->label, part, room);
	snprintf(both, sizeof(both), "%s%s", line, tail);
	if (strlen(both) > width)
		both[width] = '\0';
	/* padded over what the last, perhaps longer, line left */
	fprintf(stderr, "\r%-*s", (int)(progress->shown < width ? progress->shown : width),
		both);
	progress->shown = (unsigned)strlen(both);
}

void progress_update(struct progress *progress, uint64_t done, uint64_t all)
{
	if (!progress->on)
		return;
	if (progress->shown && done < all && seconds_since(&progress->drawn) < REDRAW_SECONDS)
		return;
	if (!in_foreground())
		return;
	draw(progress, done < all ? done : all, all);
	clock_gettime(CLOCK_MONOTONIC, &progress->drawn);
}

void progress_end(struct progress *progress)
{
	unsigned width = columns() - 1;

	if (progress->shown && in_foreground())
		fprintf(stderr, "\r%*s\r",
			(int)(progress->shown < width ? progress->shown : width), "");
	progress->shown = 0;
}
