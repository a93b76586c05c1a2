/* SPDX-License-Identifier: MIT */
/*
 * Guards that every tool refuses and complains alike: one line, `NAME: sentence`,
 * without control characters, and that lost output is never a success.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "command_line.h"

#include "text.h"

#include <sdestore.h>

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

void tool_complain(const struct tool *tool, const char *kind, const char *text)
{
	fprintf(stderr, "%s: %s", tool->name, kind);
	text_puts(stderr, text);
	putc('\n', stderr);
}

enum status_exit tool_bad_usage(const struct tool *tool, const char *what, const char *object)
{
	fprintf(stderr, "%s: %s", tool->name, what);
	if (object) {
		fputs(" '", stderr);
		text_puts(stderr, object);
		putc('\'', stderr);
	}
	fprintf(stderr, "\n%s", tool->usage);
	return STATUS_USAGE;
}

/*
 * An unknown short option is in optopt (and its argument may hold more of them);
 * a long one that is unknown, ambiguous, or has or lacks a value is the argument
 * before optind.
 */
enum status_exit tool_bad_option(const struct tool *tool, const char *what,
				 char *const argv[])
{
	char one[3] = { '-', (char)optopt, '\0' };
	bool is_short = optopt > 0 && optopt < OPTION_FIRST && !strchr(tool->letters, optopt);

	return tool_bad_usage(tool, what, is_short ? one : argv[optind - 1]);
}

enum status_exit tool_finish_output(const struct tool *tool, enum status_exit status)
{
	bool failed = ferror(stdout);

	errno = 0;
	if (!fclose(stdout) && !failed)
		return status;
	tool_complain(tool, "cannot write standard output: ", strerror(errno ? errno : EIO));
	return STATUS_IO;
}

enum status_exit tool_print_help(const struct tool *tool)
{
	fputs(tool->usage, stdout);
	for (const char *const *paragraph = tool->help; *paragraph; paragraph++)
		fputs(*paragraph, stdout);
	return tool_finish_output(tool, STATUS_OK);
}

enum status_exit tool_print_version(const struct tool *tool)
{
	printf("%s %s (libsdestore %s)\n", tool->name, SDE_VERSION_STRING, sde_version());
	return tool_finish_output(tool, STATUS_OK);
}
