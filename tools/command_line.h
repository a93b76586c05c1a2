/* SPDX-License-Identifier: MIT */
/*
 * What the command lines of the tools have in common: sentences on standard
 * error, refused arguments, --help and --version.
 */
#ifndef SDE_TOOLS_COMMAND_LINE_H
#define SDE_TOOLS_COMMAND_LINE_H

#include "status.h"

#include <stddef.h>

/* Values of long options without a letter begin here. */
#define OPTION_FIRST 256

struct tool {
	const char *name;
	const char *usage;	/* one or more lines */
	const char *letters;	/* all short options there are */
	/* paragraphs after the usage, to NULL: C11 promises literals of 4095
	 * characters only */
	const char *const *help;
};

/* "NAME: KINDTEXT", a line on standard error; TEXT may be foreign. */
void tool_complain(const struct tool *tool, const char *kind, const char *text);

/* "NAME: WHAT 'OBJECT'" and the usage; `object` may be NULL. STATUS_USAGE. */
enum status_exit tool_bad_usage(const struct tool *tool, const char *what, const char *object);

/*
 * bad_usage for the option that getopt_long, with opterr 0, has just refused, as
 * it was written.
 */
enum status_exit tool_bad_option(const struct tool *tool, const char *what,
				 char *const argv[]);

/* `status`, or STATUS_IO with a sentence if standard output did not arrive. */
enum status_exit tool_finish_output(const struct tool *tool, enum status_exit status);

/* On standard output, which is then finished. */
enum status_exit tool_print_help(const struct tool *tool);
enum status_exit tool_print_version(const struct tool *tool);

#endif
