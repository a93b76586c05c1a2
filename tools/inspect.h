/* SPDX-License-Identifier: MIT */
/*
 * sde-inspect, inside: what it found out, and who prints it.
 */
#ifndef SDE_TOOLS_INSPECT_H
#define SDE_TOOLS_INSPECT_H

#include "inspect_lost.h"
#include "status.h"

#include <sdestore.h>

#include <stdbool.h>
#include <stdio.h>

/*
 * The documented form of --json. It grows by members only; whatever would break
 * a reader gets a new number.
 */
#define INSPECT_SCHEMA "sde-inspect/1"

/* A chunk that is missing or does not decode: `count` snapshots from `first`. */
struct inspect_damage {
	uint64_t first, count;
	int code;
	char *text;
};

/* What sde_storage_verify said. */
struct inspect_verify {
	int code;			/* what it returned */
	struct sde_error error;		/* its sentence, where no chunk is to blame */
	uint64_t checked, all;		/* snapshots */
	struct inspect_damage *damage;
	size_t damaged, room;
	struct lost_list lost;		/* what that costs; empty for an .npz file */
};

/* What sde_zarr_storage_repair did, or would do. */
struct inspect_step {
	enum sde_repair_action action;	/* but for SDE_REPAIR_LOST */
	uint64_t snapshots[2];
	char *file, *text;
};

struct inspect_repair {
	const char *path;
	bool dry_run;
	int code;			/* what it returned */
	struct sde_error error;
	struct inspect_step *step;
	size_t steps, room;
	struct lost_list lost;		/* what cannot be repaired */
	bool out_of_memory;
};

/* The columns of a store of several ranks. */
struct inspect_columns {
	struct sde_column_info *column;
	size_t count;
	uint64_t furthest;		/* the most that one has committed */
};

struct inspect_report {
	const char *path;
	struct sde_storage_info info;
	const char *attributes;		/* JSON text of an object */
	const char *time_units;		/* "" if none */
	const struct inspect_verify *verify;	/* NULL: not asked for */
	/* with keepbits, what is known of the last snapshot, "" if that is not known */
	const char *last;
	struct inspect_columns columns;
};

/* Decode everything, with a progress bar; the caller clears `verify`. */
void inspect_verify_run(struct inspect_verify *verify, struct sde_storage *storage,
			const struct sde_storage_info *info);
enum status_exit inspect_verify_exit(const struct inspect_verify *verify);
void inspect_verify_clear(struct inspect_verify *verify);

/* Repair, keeping what it tells; the caller clears `repair`. */
void inspect_repair_run(struct inspect_repair *repair, const struct sde_repair_options *options);
void inspect_repair_page(FILE *out, const struct inspect_repair *repair);
void inspect_repair_json(FILE *out, const struct inspect_repair *repair);
void inspect_repair_clear(struct inspect_repair *repair);

/* The members that tell of a loss, into an object that is open. */
struct emitter;
void inspect_emit_lost(struct emitter *e, const struct lost_range *range);

/* The page for people. */
void inspect_page(FILE *out, const struct inspect_report *report);

/* The object for programs, and the one that stands there when there is none. */
void inspect_json(FILE *out, const struct inspect_report *report);
void inspect_json_error(FILE *out, const char *path, bool one_line,
			const struct sde_error *error);

/* --follow: what it prints every `period` seconds, and how. */
#define INSPECT_FOLLOW_SCHEMA "sde-inspect-follow/1"

struct inspect_follow {
	const char *path;
	double period;			/* seconds */
	int json;			/* 1: a line of JSON a period */
};

/*
 * Look at an open storage again and again until its writer has closed it
 * (STATUS_OK) or died (STATUS_INCOMPLETE). A failure is left in `error`, and its code
 * in *code.
 */
enum status_exit inspect_follow(const struct inspect_follow *follow, struct sde_storage *storage,
				int *code, struct sde_error *error);

/* Names that both forms use; never NULL. */
const char *inspect_dtype(enum sde_dtype dtype);
const char *inspect_codec(enum sde_codec codec);
const char *inspect_checksum(enum sde_checksum checksum);
const char *inspect_ring_io(enum sde_ring_io ring_io);
const char *inspect_state(enum sde_storage_state_of state);

#endif
