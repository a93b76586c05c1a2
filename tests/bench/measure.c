/* SPDX-License-Identifier: MIT */
/* Clock, samples, tables: see measure.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "measure.h"

#include <ftw.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

_Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "bench: %s: %s\n", what, why);
	exit(1);
}

struct settings settings_parse(int argc, char *argv[])
{
	static const struct option options[] = {
		{ "quick", no_argument, NULL, 'q' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "json", required_argument, NULL, 'j' },
		{ "tmpfs", required_argument, NULL, 't' },
		{ "disk", required_argument, NULL, 'd' },
		{ NULL, 0, NULL, 0 }
	};
	struct settings s = { .rounds = 5, .tmpfs = "/dev/shm", .disk = "." };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'q':
			s.quick = true;
			break;
		case 'r':
			s.rounds = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'j':
			s.json = optarg;
			break;
		case 't':
			s.tmpfs = optarg;
			break;
		case 'd':
			s.disk = optarg;
			break;
		default:
			exit(2);
		}
	}
	if (!s.rounds)
		die("--rounds", "at least 1");
	if (access(s.tmpfs, W_OK))
		s.tmpfs = NULL;
	return s;
}

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

double now_s(void)
{
	return (double)now_ns() * 1e-9;
}

/* ------------------------------------------------------------------------
 * Samples
 */

void samples_add(struct samples *samples, double value)
{
	if (samples->count == samples->room) {
		samples->room = samples->room ? 2 * samples->room : 64;
		samples->value = realloc(samples->value, samples->room * sizeof(double));
		if (!samples->value)
			die("samples", "out of memory");
	}
	samples->value[samples->count++] = value;
}

static int compare(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

double samples_quantile(struct samples *samples, double q)
{
	double at, low;

	if (!samples->count)
		return NAN;
	qsort(samples->value, samples->count, sizeof(double), compare);
	at = q * (double)(samples->count - 1);
	low = floor(at);
	if ((size_t)low + 1 >= samples->count)
		return samples->value[samples->count - 1];
	return samples->value[(size_t)low] +
	       (at - low) * (samples->value[(size_t)low + 1] - samples->value[(size_t)low]);
}

double samples_median(struct samples *samples)
{
	return samples_quantile(samples, 0.5);
}

void samples_clear(struct samples *samples)
{
	free(samples->value);
	memset(samples, 0, sizeof(*samples));
}

/* ------------------------------------------------------------------------
 * Tables
 */

static void head_of(const struct cell *cell, char *out, size_t size)
{
	snprintf(out, size, "%s%s%s", cell->name, *cell->unit ? " " : "", cell->unit);
}

static void value_of(const struct cell *cell, char *out, size_t size)
{
	if (cell->text)
		snprintf(out, size, "%s", cell->text);
	else if (isnan(cell->value))
		snprintf(out, size, "-");
	else if (fabs(cell->value) >= 1000 || cell->value == floor(cell->value))
		snprintf(out, size, "%.0f", cell->value);
	else if (fabs(cell->value) >= 10)
		snprintf(out, size, "%.1f", cell->value);
	else
		snprintf(out, size, "%.3f", cell->value);
}

void table_begin(struct table *table, const struct settings *settings, const char *name,
		 const char *about)
{
	*table = (struct table){ .settings = settings, .name = name, .about = about };
}

/* As wide as the head, or as the text needs. */
static int width_of(const struct cell *cell)
{
	char head[64];
	const int least = cell->text ? 24 : 7;

	head_of(cell, head, sizeof(head));
	return (int)strlen(head) > least ? (int)strlen(head) : least;
}

static void write_json(const struct table *table, const struct cell *cells, size_t count)
{
	FILE *out = fopen(table->settings->json, "a");

	if (!out)
		die(table->settings->json, "cannot open");
	fprintf(out, "{\"table\": \"%s\"", table->name);
	for (size_t i = 0; i < count; i++) {
		if (cells[i].text)
			fprintf(out, ", \"%s\": \"%s\"", cells[i].name, cells[i].text);
		else if (isnan(cells[i].value))
			fprintf(out, ", \"%s\": null", cells[i].name);
		else
			fprintf(out, ", \"%s\": %.9g", cells[i].name, cells[i].value);
	}
	fprintf(out, "}\n");
	if (fclose(out))
		die(table->settings->json, "cannot write");
}

void table_row(struct table *table, const struct cell *cells, size_t count)
{
	char text[64];

	if (!table->begun)
		printf("\n%s: %s\n", table->name, table->about);
	for (size_t i = 0; i < count && !table->begun; i++) {
		head_of(&cells[i], text, sizeof(text));
		printf(cells[i].text ? "  %-*s" : "  %*s", width_of(&cells[i]), text);
	}
	if (!table->begun)
		putchar('\n');
	table->begun = true;
	for (size_t i = 0; i < count; i++) {
		value_of(&cells[i], text, sizeof(text));
		printf(cells[i].text ? "  %-*s" : "  %*s", width_of(&cells[i]), text);
	}
	putchar('\n');
	fflush(stdout);
	if (table->settings->json)
		write_json(table, cells, count);
}

/* ------------------------------------------------------------------------
 * Processes and scratch
 */

char *scratch_path(const char *directory, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/sdestore-bench.%ld.%s", directory, (long)getpid(), name) < 0)
		die("scratch", "out of memory");
	return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static int empty_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)ftw;
	return type == FTW_F ? truncate(path, 0) : 0;
}

/* What was set aside, by all of this process. */
static struct aside {
	struct aside *next;
	char path[];
} *asides;

static void remove_asides(void)
{
	for (struct aside *aside = asides, *next; aside; aside = next) {
		next = aside->next;
		remove_tree(aside->path);
		free(aside);
	}
	asides = NULL;
}

static void set_aside(const char *path)
{
	static unsigned number;
	const size_t room = strlen(path) + 16;
	struct aside *aside = malloc(sizeof(*aside) + room);

	if (!aside)
		die("scratch", "out of memory");
	/* whoever runs several programs removes them behind the last one */
	if (!number++ && !getenv("BENCH_ASIDE"))
		atexit(remove_asides);
	snprintf(aside->path, room, "%s.%u", path, number);
	aside->next = asides;
	asides = aside;
	nftw(path, empty_one, 16, FTW_PHYS);
	if (rename(path, aside->path))
		remove_tree(path);
}

#define TMPFS_MAGIC 0x01021994

void scratch_remove(const char *path)
{
	struct statfs st;

	if (!statfs(path, &st) && st.f_type != TMPFS_MAGIC)
		set_aside(path);
	else
		remove_tree(path);
}

uint64_t peak_memory(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	unsigned long kilobytes = 0;
	char line[256];

	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, "VmHWM:", 6))
			kilobytes = strtoul(line + 6, NULL, 10);
	if (status)
		fclose(status);
	return (uint64_t)kilobytes * 1024;
}

size_t run_program(const char *command, double *out, size_t most)
{
	FILE *pipe;
	char line[512] = "", *at = line, *end;
	size_t count = 0;
	bool said;

	fflush(stdout);
	/* a peer's command line is ours, from the build: NOLINTNEXTLINE(cert-env33-c) */
	pipe = popen(command, "r");
	if (!pipe)
		return 0;
	said = fgets(line, sizeof(line), pipe);
	if (pclose(pipe) || !said)
		return 0;
	while (count < most) {
		out[count] = strtod(at, &end);
		if (end == at)
			break;
		at = end;
		count++;
	}
	return count;
}
