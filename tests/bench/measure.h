/* SPDX-License-Identifier: MIT */
/*
 * Measuring: a clock, samples, and tables that are printed and written as JSON.
 *
 * A bench program measures things that are to be compared in turns (round 1 of
 * all, round 2 of all, ...), at least five rounds, and reports medians: what
 * disturbs the machine for a while disturbs all of them alike. A row is what was
 * measured, next to its limit from the same rounds.
 */
#ifndef SDE_TESTS_BENCH_MEASURE_H
#define SDE_TESTS_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What all programs take: [--quick] [--rounds N] [--json FILE] [--tmpfs DIR] [--disk DIR] */
struct settings {
	bool quick;
	unsigned rounds;		/* 5; 5 also for --quick */
	const char *json;		/* lines are appended to it; NULL: none */
	const char *tmpfs, *disk;	/* scratch is made in these; tmpfs NULL: there is none */
};

/* Exits with a sentence on a bad command line. */
struct settings settings_parse(int argc, char *argv[]);

/* Seconds since some instant, and nanoseconds; CLOCK_MONOTONIC. */
double now_s(void);
uint64_t now_ns(void);

/* "what: why", to standard error; exits. */
_Noreturn void die(const char *what, const char *why);

/* ------------------------------------------------------------------------
 * Samples
 */

struct samples {
	double *value;
	size_t count, room;
};

void samples_add(struct samples *samples, double value);
/* 0 <= q <= 1, between neighbours linearly; NaN of none. Sorts them. */
double samples_quantile(struct samples *samples, double q);
double samples_median(struct samples *samples);
void samples_clear(struct samples *samples);

/* ------------------------------------------------------------------------
 * Tables
 */

/* One value of a row. */
struct cell {
	const char *name;	/* the column's head, and the member's name in JSON */
	const char *unit;	/* behind the head; "" for text */
	double value;		/* NaN: not measured, shown as - */
	const char *text;	/* instead of the value */
};

struct table {
	const struct settings *settings;
	const char *name, *about;
	bool begun;			/* the head is printed, above the first row */
};

/* `about` is a line above the table; kept, not copied. */
void table_begin(struct table *table, const struct settings *settings, const char *name,
		 const char *about);
void table_row(struct table *table, const struct cell *cells, size_t count);
#define TABLE_ROW(table, ...) do { \
	const struct cell row[] = { __VA_ARGS__ }; \
	table_row((table), row, sizeof(row) / sizeof(row[0])); \
} while (0)
#define NUMBER(name, unit, value) { name, unit, value, NULL }
#define TEXT(name, value) { name, "", 0, value }

/* ------------------------------------------------------------------------
 * Processes and scratch
 */

/* A path "<directory>/sdestore-bench.<pid>.<name>", malloc'd. */
char *scratch_path(const char *directory, const char *name);
/*
 * rm -rf of a scratch path. On a disk the files are emptied, and removed only when the
 * process ends: for minutes ext4 does not use an inode again that was in a file which is
 * gone, and searches all of those first, so that thousands of removed files make each new
 * one several times as slow.
 */
void scratch_remove(const char *path);

/* Peak resident memory of this process so far, bytes (VmHWM). */
uint64_t peak_memory(void);

/*
 * The numbers a program prints on one line, `most` of them; how many there were, 0 if
 * it is missing or fails.
 */
size_t run_program(const char *command, double *out, size_t most);

#endif
