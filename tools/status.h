/* SPDX-License-Identifier: MIT */
/*
 * What the library returned, as the tools tell it: exit codes and names.
 */
#ifndef SDE_TOOLS_STATUS_H
#define SDE_TOOLS_STATUS_H

/* The exit codes of every tool; part of their contract, in their --help. */
enum status_exit {
	STATUS_OK = 0,
	STATUS_USAGE = 1,	/* the command line */
	STATUS_IO = 2,		/* cannot be opened, read or written; not a store */
	STATUS_CORRUPT = 3,	/* a checksum or a structure does not hold */
	STATUS_INCOMPLETE = 4,	/* a ring is to be recovered, or a chunk is missing */
	STATUS_LOCKED = 5,	/* a process writes the store */
	STATUS_FILLED = 6	/* done, but with NaN where something is lost */
};

/* The exit code for what the library returned (0, -errno or enum sde_status). */
enum status_exit status_exit(int code);

/*
 * Of two exit codes the one to end with: corrupt, then I/O, then incomplete, then others.
 * (After an I/O error nobody knows whether the rest is whole.)
 */
enum status_exit status_worse(enum status_exit a, enum status_exit b);

/*
 * The name a program can match: "SDE_E_CORRUPT", "ENOENT"; "UNKNOWN" for a code
 * that has none here. Static storage.
 */
const char *status_name(int code);

#endif
