/* SPDX-License-Identifier: MIT */
/*
 * A progress bar on standard error, where that is a terminal and this process
 * is in its foreground; otherwise nothing at all is written:
 *
 *	verifying [==============>              ]  47%  812.30 MiB/s  ETA 0:09
 *
 * It is redrawn at most ten times a second, follows the width of the window,
 * and leaves an empty line behind. Not thread-safe.
 */
#ifndef SDE_TOOLS_PROGRESS_H
#define SDE_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct progress {
	const char *label;
	uint64_t item_bytes;		/* for the rate */
	bool on;
	unsigned shown;			/* columns that are drawn now */
	struct timespec began, drawn;
};

/* `label` is kept; an item stands for `item_bytes` bytes. */
void progress_begin(struct progress *progress, const char *label, uint64_t item_bytes);

/* `done` items of `all` are done. Cheap: it may be called for every item. */
void progress_update(struct progress *progress, uint64_t done, uint64_t all);

/* Erase the bar. Also before anything else is written to the terminal. */
void progress_end(struct progress *progress);

#endif
