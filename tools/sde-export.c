/* SPDX-License-Identifier: MIT */
/*
 * sde-export: the snapshots of a store, or some of them, as a NumPy .npz file.
 *
 * Guards the command line, the exit codes, and that an export is there whole or
 * not at all: a signal ends sde_npz_write through its progress callback, which
 * removes what was begun, and only then this process.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "command_line.h"
#include "progress.h"
#include "slice.h"
#include "text.h"

#include <sdestore.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define THREADS_MOST 256
#define SENTENCE_SIZE (2 * PATH_MAX)
#define MOST_LINES 20	/* about ranges that are lost */

static const char usage[] =
	"usage: sde-export [--time SLICE] [--trajectories SLICE] [--dimensions SLICE]\n"
	"                  [--c-order] [--store] [--force] [--threads N] [--trust-ring]\n"
	"                  [--on-hole error|nan] STORE OUT.npz\n";

static const char *const help[] = {
	"\n"
	"Write what is in STORE, an sdestore directory that is running, crashed or\n"
	"closed, or an .npz file, as a NumPy file with the members time (M,), data\n"
	"(dimensions, trajectories, M) and iteration (M,). `.npz' is added to OUT unless\n"
	"it ends so. STORE is not changed, and a running simulation not disturbed; of\n"
	"its snapshots those are written that are there at the start. Memory is\n"
	"bounded, however many there are.\n",
	"\n"
	"      --time SLICE          of the snapshots, only these\n"
	"      --trajectories SLICE  of the trajectories, only these\n"
	"      --dimensions SLICE    of the components, only these\n"
	"      --c-order             data in C order, for mapping single trajectories;\n"
	"                            else in Fortran order, snapshot after snapshot,\n"
	"                            which is faster to write. np.load gives equal arrays\n"
	"      --store               no compression; numbers begin at multiples of 64\n"
	"                            bytes in the file\n"
	"      --force               replace OUT if it is there\n"
	"      --threads N           that compress, 1 to 256; default: all cores\n"
	"      --on-hole error|nan   what to do where a chunk is missing or damaged: end\n"
	"                            without OUT (error, the default), or write NaN (-1\n"
	"                            for iteration numbers), say so, and end with code 6\n"
	"      --trust-ring          believe the ring of a crashed store that was copied\n"
	"                            here (cp, rsync, a backup), whole and after the run\n"
	"                            had ended\n"
	"  -h, --help                print this\n"
	"  -V, --version             print the versions of the tool and of the library\n",
	"\n"
	"SLICE is start:stop:step as in NumPy: each part may be left out, negative\n"
	"numbers count from the end (--time -100: are the last hundred), and what lies\n"
	"outside is clipped. A single number selects one element, and the axis stays,\n"
	"with length 1: --dimensions 0 gives data (1, N, M). Slices that select nothing\n"
	"and steps that are not positive are refused.\n",
	"\n"
	"Nothing is printed on success. On a terminal a progress bar is drawn while it\n"
	"works, and at the end a line tells what was written. OUT appears whole or not\n"
	"at all: SIGINT, SIGTERM and SIGHUP leave nothing behind, and then end\n"
	"sde-export (130, 143 and 129 in a shell).\n",
	"\n"
	"Exit codes:\n"
	"  0  OUT is written\n"
	"  1  the command line is wrong, or a slice selects nothing\n"
	"  2  STORE cannot be opened or read, or is not a store, or is of a newer\n"
	"     format, or has no snapshots; or OUT is there, or cannot be written\n"
	"  3  STORE is corrupt: a checksum or a structure does not hold\n"
	"  4  STORE is incomplete: a chunk file is missing\n"
	"  6  OUT is written, with NaN where values are lost (--on-hole nan)\n"
	"A running or crashed store is exported as it is, with a note on standard error\n"
	"and exit code 0.\n",
	NULL
};

static const struct tool tool = { "sde-export", usage, "hV", help };

enum {
	OPTION_DIMENSIONS = OPTION_FIRST, OPTION_TRAJECTORIES, OPTION_TIME,	/* axis 0 to 2 */
	OPTION_C_ORDER, OPTION_STORE, OPTION_FORCE, OPTION_THREADS, OPTION_TRUST_RING,
	OPTION_ON_HOLE
};

static const struct option long_options[] = {
	{ "dimensions", required_argument, NULL, OPTION_DIMENSIONS },
	{ "trajectories", required_argument, NULL, OPTION_TRAJECTORIES },
	{ "time", required_argument, NULL, OPTION_TIME },
	{ "c-order", no_argument, NULL, OPTION_C_ORDER },
	{ "store", no_argument, NULL, OPTION_STORE },
	{ "force", no_argument, NULL, OPTION_FORCE },
	{ "threads", required_argument, NULL, OPTION_THREADS },
	{ "trust-ring", no_argument, NULL, OPTION_TRUST_RING },
	{ "on-hole", required_argument, NULL, OPTION_ON_HOLE },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 }
};

enum { AXES = 3 };
static const char *const axis_options[AXES] = { "--dimensions", "--trajectories", "--time" };

struct command {
	const char *store;
	char *out;			/* ends with .npz */
	const char *slice_text[AXES];	/* NULL: all */
	struct slice slice[AXES];
	bool c_order, uncompressed, force, trust_ring, fill;
	unsigned threads;
};

/* ------------------------------------------------------------------------
 * Signals
 */

static const int ending_signals[] = { SIGINT, SIGTERM, SIGHUP };
static volatile sig_atomic_t ending_signal;	/* 0: none has come */

static void note_signal(int number)
{
	ending_signal = number;
}

/* What is ignored (nohup, a background job) stays ignored. */
static void watch_signals(void)
{
	struct sigaction action = { .sa_handler = note_signal }, old;

	sigemptyset(&action.sa_mask);
	action.sa_flags = SA_RESTART;
	for (size_t i = 0; i < sizeof(ending_signals) / sizeof(ending_signals[0]); i++)
		if (!sigaction(ending_signals[i], NULL, &old) && old.sa_handler != SIG_IGN)
			sigaction(ending_signals[i], &action, NULL);
	/* a closed pipe and the file size limit are write errors like others */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

/* By the signal itself, so that a shell's loop ends as well. */
static int end_by(int number)
{
	signal(number, SIG_DFL);
	raise(number);
	return 128 + number;
}

/* ------------------------------------------------------------------------
 * Exporting
 */

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void say(const char *kind, const char *format, ...)
{
	char text[SENTENCE_SIZE];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	tool_complain(&tool, kind, text);
}

static void warn(void *ctx, const char *message)
{
	(void)ctx;
	tool_complain(&tool, "warning: ", message);
}

static int note_progress(void *ctx, uint64_t done, uint64_t all)
{
	progress_update(ctx, done, all);
	return ending_signal != 0;
}

/* What a call on the storage returned. */
static enum status_exit fail(const struct command *command, struct sde_storage *storage, int code)
{
	struct sde_error error = { 0 };

	if (sde_storage_error(storage, &error) == code && *error.text)
		tool_complain(&tool, "", error.text);
	else
		say("", "cannot read '%s': %s", command->store, sde_strerror(code));
	return status_exit(code);
}

static enum status_exit select_range(const struct command *command, const uint64_t *shape,
				     uint64_t *start, uint64_t *count, uint64_t *step)
{
	for (unsigned i = 0; i < AXES; i++) {
		const char *wrong = slice_resolve(&command->slice[i], shape[i], &start[i],
						  &count[i], &step[i]);

		if (wrong) {
			say("", "%s '%s' %s: that axis of '%s' has the length %" PRIu64,
			    axis_options[i], command->slice_text[i], wrong, command->store,
			    shape[i]);
			return STATUS_USAGE;
		}
	}
	return STATUS_OK;
}

/* How the file is to be understood, if the store was not closed. */
static void note_state(const struct command *command, const struct sde_storage_info *info,
		       uint64_t snapshots)
{
	if (info->state == SDE_STATE_RUNNING)
		say("note: ", "'%s' is running: these are its first %" PRIu64 " snapshots",
		    command->store, snapshots);
	if (info->state == SDE_STATE_CRASHED)
		say("note: ", "'%s' has crashed: these are the %" PRIu64 " snapshots it holds",
		    command->store, snapshots);
}

static void summarise(const struct command *command, enum sde_dtype dtype, const uint64_t *count)
{
	char size[TEXT_SIZE];
	struct stat file;

	if (!isatty(STDERR_FILENO) || stat(command->out, &file))
		return;
	text_bytes(size, (double)file.st_size);
	text_puts(stderr, command->out);
	fprintf(stderr, ": %s (%" PRIu64 ", %" PRIu64 ", %" PRIu64 "), %s\n",
		dtype == SDE_FLOAT32 ? "float32" : "float64", count[0], count[1], count[2], size);
}

/* What was filled in one array, of the selection. */
struct filled {
	const uint64_t *start, *count, *step;
	bool is_data;
	unsigned lines;
	uint64_t values;
};

/* How many of start, start + step, ... lie in a:b. */
static uint64_t selected(const struct filled *filled, unsigned axis, const uint64_t range[2])
{
	const uint64_t start = filled->start[axis], step = filled->step[axis];
	uint64_t below[2];

	for (int i = 0; i < 2; i++) {
		below[i] = range[i] > start ? (range[i] - start - 1) / step + 1 : 0;
		if (below[i] > filled->count[axis])
			below[i] = filled->count[axis];
	}
	return below[1] - below[0];
}

static void note_hole(void *ctx, const struct sde_damage *hole)
{
	struct filled *filled = ctx;
	uint64_t values = selected(filled, 2, hole->snapshots);

	if (filled->is_data)
		values *= filled->count[0] * selected(filled, 1, hole->trajectories);
	filled->values += values;
	if (!values || !filled->is_data)
		return;
	if (++filled->lines <= MOST_LINES)
		say("lost: ", "snapshots %" PRIu64 ":%" PRIu64 ", trajectories %" PRIu64 ":%" PRIu64
		    ": %s: %s", hole->snapshots[0], hole->snapshots[1], hole->trajectories[0],
		    hole->trajectories[1], sde_cause_name(hole->cause), hole->file);
}

/* Nobody takes a NaN for a value unknowingly. */
static enum status_exit tell_filled(const struct command *command, const uint64_t *start,
				    const uint64_t *count, const uint64_t *step,
				    const struct sde_array *const arrays[3])
{
	static const char *const names[] = { "values", "times", "iteration numbers" };
	enum status_exit status = STATUS_OK;

	for (int i = 0; i < 3; i++) {
		struct filled filled = { .start = start, .count = count, .step = step,
					 .is_data = !i };
		const uint64_t all = i ? count[2] : count[0] * count[1] * count[2];

		if (!arrays[i])
			continue;
		if (sde_array_holes(arrays[i], note_hole, &filled) < 0) {
			say("", "what was filled cannot be told: %s", sde_strerror(-ENOMEM));
			return STATUS_FILLED;
		}
		if (filled.lines > MOST_LINES)
			say("lost: ", "and %u ranges more: see sde-inspect --verify",
			    filled.lines - MOST_LINES);
		if (!filled.values)
			continue;
		say("warning: ", "'%s' has %s in place of %" PRIu64 " of %" PRIu64
		    " %s, which are lost", command->out, i == 2 ? "-1" : "NaN", filled.values, all,
		    names[i]);
		status = STATUS_FILLED;
	}
	return status;
}

static enum status_exit write_file(const struct command *command, const struct sde_array *time,
				   const struct sde_array *data, const struct sde_array *iteration)
{
	const struct sde_array *const arrays[3] = { data, time, iteration };
	struct sde_npz_options options = SDE_NPZ_OPTIONS_INIT;
	uint64_t start[AXES], count[AXES], step[AXES];
	struct sde_error error = { 0 };
	struct progress bar;
	int code;

	if (select_range(command, sde_array_shape(data), start, count, step))
		return STATUS_USAGE;
	options.start = start;
	options.count = count;
	options.step = step;
	options.overwrite = command->force;
	options.store = command->uncompressed;
	options.c_order = command->c_order;
	options.threads = command->threads;
	options.progress = note_progress;
	options.progress_ctx = &bar;
	progress_begin(&bar, "exporting", 1);
	code = sde_npz_write(command->out, time, data, iteration, &options, &error);
	progress_end(&bar);
	if (!code)
		summarise(command, sde_array_dtype(data), count);
	else if (code == -ECANCELED && ending_signal)
		; /* the signal says it all */
	else if (code == -EEXIST)
		say("", "'%s' is there already: --force replaces it", command->out);
	else if (error.code == code && *error.text)
		tool_complain(&tool, "", error.text);
	else
		say("", "cannot write '%s': %s", command->out, sde_strerror(code));
	/* it is there, whole: a signal that came too late has nothing to end */
	if (!code)
		ending_signal = 0;
	return code ? status_exit(code) : tell_filled(command, start, count, step, arrays);
}

static enum status_exit export_storage(const struct command *command, struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_array *time = NULL, *data = NULL, *iteration = NULL;
	enum status_exit status;
	int code = sde_storage_info(storage, &info);

	if (!code)
		code = sde_storage_values(storage, &time, &data);
	if (!code)
		code = sde_storage_iterations(storage, &iteration);
	/* PySDE's files have none */
	if (data && (code == SDE_E_UNSUPPORTED || code == SDE_E_NO_DATA))
		code = 0;
	if (code) {
		status = fail(command, storage, code);
	} else {
		note_state(command, &info, sde_array_shape(data)[AXES - 1]);
		status = write_file(command, time, data, iteration);
	}
	sde_array_close(time);
	sde_array_close(data);
	sde_array_close(iteration);
	return status;
}

static enum status_exit export(const struct command *command)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_storage *storage = NULL;
	struct sde_error error = { 0 };
	enum status_exit status;
	int code;

	options.ring = command->trust_ring ? SDE_RING_TRUST : SDE_RING_DEFAULT;
	options.log = warn;
	options.on_hole = command->fill ? SDE_HOLE_NAN : SDE_HOLE_ERROR;
	code = sde_storage_open(&storage, command->store, &options, &error);
	if (code) {
		if (error.code == code && *error.text)
			tool_complain(&tool, "", error.text);
		else
			say("", "cannot open '%s': %s", command->store, sde_strerror(code));
		return status_exit(code);
	}
	status = export_storage(command, storage);
	sde_storage_close(storage);
	return status;
}

/* ------------------------------------------------------------------------
 * The command line
 */

/* 0 if it is not a number of threads. */
static unsigned parse_threads(const char *text)
{
	unsigned n = 0;

	for (; *text >= '0' && *text <= '9' && n <= THREADS_MOST; text++)
		n = 10 * n + (unsigned)(*text - '0');
	return *text || n > THREADS_MOST ? 0 : n;
}

static enum status_exit take_slice(struct command *command, unsigned axis, const char *text)
{
	const char *wrong = slice_parse(&command->slice[axis], text);

	command->slice_text[axis] = text;
	if (!wrong)
		return STATUS_OK;
	say("", "%s '%s' %s", axis_options[axis], text, wrong);
	fputs(usage, stderr);
	return STATUS_USAGE;
}

static enum status_exit take_option(struct command *command, int option, char *const argv[])
{
	switch (option) {
	case OPTION_DIMENSIONS:
	case OPTION_TRAJECTORIES:
	case OPTION_TIME:
		return take_slice(command, (unsigned)(option - OPTION_DIMENSIONS), optarg);
	case OPTION_C_ORDER:
		command->c_order = true;
		return STATUS_OK;
	case OPTION_STORE:
		command->uncompressed = true;
		return STATUS_OK;
	case OPTION_FORCE:
		command->force = true;
		return STATUS_OK;
	case OPTION_THREADS:
		command->threads = parse_threads(optarg);
		return command->threads ? STATUS_OK :
		       tool_bad_usage(&tool, "not a number of threads (1 to 256):", optarg);
	case OPTION_TRUST_RING:
		command->trust_ring = true;
		return STATUS_OK;
	case OPTION_ON_HOLE:
		command->fill = !strcmp(optarg, "nan");
		return command->fill || !strcmp(optarg, "error") ? STATUS_OK :
		       tool_bad_usage(&tool, "--on-hole is 'error' or 'nan', not", optarg);
	case ':':
		return tool_bad_option(&tool, "a value is missing after", argv);
	default:
		return tool_bad_option(&tool, "bad option", argv);
	}
}

/* As np.savez has it. */
static char *with_suffix(const char *path)
{
	const size_t length = strlen(path);
	const bool has = length >= 4 && !strcmp(path + length - 4, ".npz");
	char *out = malloc(length + sizeof(".npz"));

	if (out)
		snprintf(out, length + sizeof(".npz"), "%s%s", path, has ? "" : ".npz");
	return out;
}

int main(int argc, char *argv[])
{
	struct command command = { 0 };
	enum status_exit status;
	int option;

	watch_signals();
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
	if (optind + 1 == argc || !*argv[optind + 1])
		return (int)tool_bad_usage(&tool, "no output file is given", NULL);
	if (optind + 2 < argc)
		return (int)tool_bad_usage(&tool, "unexpected argument", argv[optind + 2]);
	command.store = argv[optind];
	command.out = with_suffix(argv[optind + 1]);
	if (!command.out) {
		say("", "%s", sde_strerror(-ENOMEM));
		return STATUS_IO;
	}
	status = export(&command);
	free(command.out);
	return ending_signal ? end_by(ending_signal) : (int)status;
}
