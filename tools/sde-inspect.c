/* SPDX-License-Identifier: MIT */
/*
 * sde-inspect: what is in a store, for people and for programs.
 *
 * Guards the command line and the exit codes. But for --repair it opens the store
 * read-only, takes no lock and changes nothing, so that it may look at a running one.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "command_line.h"
#include "inspect.h"

#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
	"usage: sde-inspect [--json] [--verify] [--trust-ring] STORE\n"
	"       sde-inspect --repair [--dry-run] [--truncate N] [--json] [--trust-ring]\n"
	"                   STORE\n"
	"       sde-inspect --follow [--period SECONDS] [--json] STORE\n";

static const char *const help[] = {
	"\n"
	"Show what is in STORE, an sdestore directory that is running, crashed or\n"
	"closed. Unless --repair is given nothing is changed, and a running simulation is\n"
	"not disturbed.\n"
	"\n"
	"      --json        print one JSON object, and nothing else, on standard output\n"
	"      --verify      decode every chunk, check every checksum, and name the\n"
	"                    snapshots and trajectories that damaged files cost\n"
	"      --repair      make STORE whole as far as it can be: publish what a dead\n"
	"                    writer left in the ring, remove temporary files and what a\n"
	"                    killed create left beside it, restore damaged times. This\n"
	"                    changes STORE, but no chunk that can be read\n"
	"      --dry-run     with --repair: only say what it would do\n"
	"      --truncate N  with --repair: then keep only the first N snapshots, so that\n"
	"                    a store that has lost a chunk behind them can be resumed\n"
	"      --trust-ring  believe the ring of a crashed store that was copied here\n"
	"                    (cp, rsync, a backup), whole and after the run had ended\n"
	"      --follow      go on looking until the writer closes the store or dies:\n"
	"                    snapshots, rate, time, mean and spread of the newest\n"
	"                    snapshot, and when the disk will be full\n"
	"      --period SECONDS  between two looks; 1\n"
	"  -h, --help        print this\n"
	"  -V, --version     print the versions of the tool and of the library\n",
	"\n"
	"Snapshots are committed once they are safe from the death of the process,\n"
	"synced once they are safe from a power loss, published once any Zarr reader\n"
	"sees them. A crashed store is recovered by sde_zarr_storage_resume().\n",
	"\n"
	"Exit codes:\n"
	"  0  all is well\n"
	"  1  the command line is wrong\n"
	"  2  STORE cannot be opened or read, or is not a store, or is of a newer\n"
	"     format; or the output cannot be written\n"
	"  3  STORE is corrupt: a checksum or a structure does not hold\n"
	"  4  STORE is incomplete: its writer died and resume has not recovered it\n"
	"     yet, or a chunk file is missing\n"
	"  5  a process writes STORE, so that it cannot be repaired\n"
	"Of several the first of 3, 2, 4. Whether chunks are whole is found out only\n"
	"with --verify. After --repair, 3 and 4 mean that something stays lost.\n",
	"\n"
	"The JSON object has the members schema (\"" INSPECT_SCHEMA "\"), path, kind,\n"
	"zarr_format, state, run, epoch, shape, dtype, stride, chunk_size,\n"
	"trajectories_per_chunk, chunk_files, codec, checksum, keepbits,\n"
	"state_capacity, segments, ring_io, snapshots {committed, synced, sealed,\n"
	"published, ignored}, of a store of several ranks columns [{trajectories, state,\n"
	"committed, sealed, lag}], time {first, last, units}, iteration {first, last},\n"
	"bytes {raw, stored, ratio}, attributes, and with --verify also verify {ok, code,\n"
	"snapshots, damage [{first, count, code, text}], text, lost [{lost, restorable,\n"
	"cause, code, trajectories, pieces, snapshots, dimensions, file, text}],\n"
	"touched, values, lost_values}. Ranges are [a, b]: a, a + 1, ... b - 1. What is\n"
	"not known or not a finite number is null. If STORE cannot be opened, the members\n"
	"are schema, path and error {code, number, text}; with --repair schema, path and\n"
	"repair {dry_run, ok, code, text, steps [{action, snapshots, file, text; of a\n"
	"loss also what lost has}]}. A later version may add members but not change\n"
	"these.\n",
	"\n"
	"With --follow it is an object a line, with the members schema\n"
	"(\"" INSPECT_FOLLOW_SCHEMA "\"), path, state, snapshots, published, rate\n"
	"(snapshots a second), time, iteration, mean and spread (a number for each\n"
	"dimension), stored, free (bytes) and full_in (seconds).\n",
	NULL
};

static const struct tool tool = { "sde-inspect", usage, "hV", help };

enum {
	OPTION_JSON = OPTION_FIRST, OPTION_VERIFY, OPTION_TRUST_RING, OPTION_REPAIR,
	OPTION_DRY_RUN, OPTION_TRUNCATE, OPTION_FOLLOW, OPTION_PERIOD
};

static const struct option long_options[] = {
	{ "json", no_argument, NULL, OPTION_JSON },
	{ "verify", no_argument, NULL, OPTION_VERIFY },
	{ "trust-ring", no_argument, NULL, OPTION_TRUST_RING },
	{ "repair", no_argument, NULL, OPTION_REPAIR },
	{ "dry-run", no_argument, NULL, OPTION_DRY_RUN },
	{ "truncate", required_argument, NULL, OPTION_TRUNCATE },
	{ "follow", no_argument, NULL, OPTION_FOLLOW },
	{ "period", required_argument, NULL, OPTION_PERIOD },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 }
};

struct command {
	const char *path;
	bool json, verify, trust_ring, repair, dry_run, follow;
	const char *truncate;		/* NULL: not given */
	uint64_t keep;
	double period;			/* 0: not given */
};

static void warn(void *ctx, const char *message)
{
	(void)ctx;
	tool_complain(&tool, "warning: ", message);
}

/* There is no report: say why, in both places. */
static enum status_exit fail(const struct command *command, int code, struct sde_error *error)
{
	if (error->code != code || !*error->text)
		snprintf(error->text, sizeof(error->text), "%s", sde_strerror(code));
	error->code = code;
	tool_complain(&tool, "", error->text);
	if (command->json)
		inspect_json_error(stdout, command->path, command->follow, error);
	return status_exit(code);
}

/* Reads the last chunk, so it is asked only where there is something to tell. */
static const char *about_last(struct sde_storage *storage, const struct sde_storage_info *info)
{
	int exact;

	if (!info->keepbits || !info->committed || sde_storage_last(storage, NULL, 0, &exact))
		return "";
	return exact ? ", the last snapshot known exactly" :
		       ", the last snapshot known rounded only";
}

static void take_column(void *ctx, const struct sde_column_info *column)
{
	struct inspect_columns *columns = ctx;

	columns->column[columns->count++] = *column;
	if (column->committed > columns->furthest)
		columns->furthest = column->committed;
}

/* Without memory for them there is nothing to tell. */
static void look_at_columns(struct inspect_columns *columns, struct sde_storage *storage)
{
	const int count = sde_storage_columns(storage, NULL, NULL);

	if (count <= 0)
		return;
	columns->column = malloc((size_t)count * sizeof(*columns->column));
	if (columns->column)
		sde_storage_columns(storage, take_column, columns);
}

static enum status_exit report_on(const struct command *command, struct sde_storage *storage)
{
	struct inspect_report report = { .path = command->path,
					 .info = SDE_STORAGE_INFO_INIT };
	struct inspect_verify verify = { 0 };
	struct sde_error error = { 0 };
	enum status_exit status = STATUS_OK;
	int code = sde_storage_info(storage, &report.info);

	if (code) {
		sde_storage_error(storage, &error);
		return fail(command, code, &error);
	}
	report.attributes = sde_storage_attributes(storage);
	report.time_units = sde_storage_time_units(storage);
	report.last = about_last(storage, &report.info);
	look_at_columns(&report.columns, storage);
	if (report.info.state == SDE_STATE_CRASHED)
		status = STATUS_INCOMPLETE;
	if (command->verify) {
		inspect_verify_run(&verify, storage, &report.info);
		report.verify = &verify;
		status = status_worse(status, inspect_verify_exit(&verify));
	}
	if (command->json)
		inspect_json(stdout, &report);
	else
		inspect_page(stdout, &report);
	inspect_verify_clear(&verify);
	free(report.columns.column);
	return status;
}

static enum status_exit repair(const struct command *command)
{
	struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
	struct inspect_repair done = { .path = command->path };
	enum status_exit status;

	options.dry_run = command->dry_run;
	options.ring = command->trust_ring ? SDE_RING_TRUST : SDE_RING_DEFAULT;
	options.truncate = command->truncate != NULL;
	options.snapshots = command->keep;
	options.log = warn;
	inspect_repair_run(&done, &options);
	status = status_exit(done.code);
	if (done.code && !done.steps && !done.lost.count) {
		fail(command, done.code, &done.error);
	} else {
		if (done.code)
			tool_complain(&tool, "", done.error.text);
		if (command->json)
			inspect_repair_json(stdout, &done);
		else
			inspect_repair_page(stdout, &done);
	}
	inspect_repair_clear(&done);
	return status;
}

static enum status_exit inspect(const struct command *command)
{
	struct sde_open_options open_options = SDE_OPEN_OPTIONS_INIT;
	struct sde_storage *storage = NULL;
	struct sde_error error = { 0 };
	enum status_exit status;
	int code;

	open_options.ring = command->trust_ring ? SDE_RING_TRUST : SDE_RING_DEFAULT;
	open_options.log = warn;
	/* what is lost is no reason not to show the rest */
	open_options.on_hole = SDE_HOLE_NAN;
	code = sde_storage_open(&storage, command->path, &open_options, &error);
	if (code)
		return fail(command, code, &error);
	if (command->follow) {
		const struct inspect_follow follow = { command->path,
			command->period > 0 ? command->period : 1, command->json };

		status = inspect_follow(&follow, storage, &code, &error);
		if (code)
			status = fail(command, code, &error);
		else if (status == STATUS_INCOMPLETE)
			tool_complain(&tool, "", "the writer died; what it stored is there, to be resumed or repaired");
	} else {
		status = report_on(command, storage);
	}
	sde_storage_close(storage);
	return status;
}

/* A day at most; 0 if it is none. */
static double parse_period(const char *text)
{
	char *end;
	const double seconds = strtod(text, &end);

	return end != text && !*end && seconds >= 0.01 && seconds <= 86400 ? seconds : 0;
}

/* Decimal digits that fit, and nothing else. */
static bool parse_number(const char *text, uint64_t *number)
{
	*number = 0;
	if (!*text)
		return false;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(*number, (uint64_t)10, number) ||
		    __builtin_add_overflow(*number, (uint64_t)(*text - '0'), number))
			return false;
	return !*text;
}

static enum status_exit take_option(struct command *command, int option, char *const argv[])
{
	switch (option) {
	case OPTION_JSON:
		command->json = true;
		return STATUS_OK;
	case OPTION_VERIFY:
		command->verify = true;
		return STATUS_OK;
	case OPTION_TRUST_RING:
		command->trust_ring = true;
		return STATUS_OK;
	case OPTION_REPAIR:
		command->repair = true;
		return STATUS_OK;
	case OPTION_DRY_RUN:
		command->dry_run = true;
		return STATUS_OK;
	case OPTION_TRUNCATE:
		command->truncate = optarg;
		return parse_number(optarg, &command->keep) ? STATUS_OK :
		       tool_bad_usage(&tool, "not a number of snapshots:", optarg);
	case OPTION_FOLLOW:
		command->follow = true;
		return STATUS_OK;
	case OPTION_PERIOD:
		command->period = parse_period(optarg);
		return command->period > 0 ? STATUS_OK :
		       tool_bad_usage(&tool, "bad period", optarg);
	case ':':
		return tool_bad_option(&tool, "a value is missing after", argv);
	default:
		return tool_bad_option(&tool, "bad option", argv);
	}
}

int main(int argc, char *argv[])
{
	struct command command = { 0 };
	enum status_exit status;
	int option;

	signal(SIGPIPE, SIG_IGN);	/* a closed pipe is a write error like others */
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":hV", long_options, NULL)) != -1) {
		if (option == 'h')
			return (int)tool_print_help(&tool);
		if (option == 'V')
			return (int)tool_print_version(&tool);
		status = take_option(&command, option, argv);
		if (status)
			return (int)status;
	}
	if (optind == argc)
		return (int)tool_bad_usage(&tool, "no store is given", NULL);
	if (optind + 1 < argc)
		return (int)tool_bad_usage(&tool, "unexpected argument", argv[optind + 1]);
	if (!command.repair && (command.dry_run || command.truncate))
		return (int)tool_bad_usage(&tool, "--dry-run and --truncate belong to --repair", NULL);
	if (command.repair && command.verify)
		return (int)tool_bad_usage(&tool, "--repair and --verify exclude each other", NULL);
	if (command.follow && (command.repair || command.verify))
		return (int)tool_bad_usage(&tool, command.repair ? "--follow and --repair exclude each other" :
					   "--follow and --verify exclude each other", NULL);
	if (command.period > 0 && !command.follow)
		return (int)tool_bad_usage(&tool, "--period goes with --follow only", NULL);
	command.path = argv[optind];
	return (int)tool_finish_output(&tool, command.repair ? repair(&command) : inspect(&command));
}
