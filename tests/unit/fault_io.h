/* SPDX-License-Identifier: MIT */
/*
 * The real io table with a fault in it: the n-th call fails, once or for good.
 * Also counts and records the calls, so that their order can be asserted, and
 * keeps the balance of handles and mappings.
 *
 * A call that fails has done nothing, but for close, which has closed (as on
 * Linux). close counts as a call; unmap, copy and commit never fail and are not
 * counted. The library's threads may call at once; whoever arms it, or looks at
 * what happened, does so while they do not.
 */
#ifndef SDE_TESTS_UNIT_FAULT_IO_H
#define SDE_TESTS_UNIT_FAULT_IO_H

#include "io.h"

#define FAULT_IO_EVENTS 4096
#define FAULT_IO_HANDLES 1024
#define FAULT_IO_MAPS 80
#define FAULT_IO_TMPFS 0x01021994	/* f_type of statfs(2) */
#define FAULT_IO_EXT 0xEF53

struct fault_event {
	char call[20];		/* the entry's name: "sync", "rename_at", ... */
	char name[48];		/* the file's last component, or rename's source */
	uint64_t value;		/* pwrite: offset; commit: the value */
};

struct fault_io {
	struct sde__io io;	/* what is handed to the library */
	/* the fault */
	unsigned long fail_at;	/* number of the call from 1; 0: none */
	bool for_good;		/* and all after it */
	int error;		/* an errno */
	const char *only;	/* count only calls of this entry; NULL: all */
	size_t most;		/* bytes a pread or pwrite moves; 0: all */
	bool no_exchange;	/* as a file system without RENAME_EXCHANGE */
	uint64_t file_system;	/* f_type that is told; FAULT_IO_EXT */
	const unsigned char *boot;	/* 16 bytes instead of the kernel's */
	/* called before each call is made */
	void (*before)(void *ctx, const char *call, const char *name);
	void *before_ctx;
	/* what happened */
	unsigned long calls;
	bool fired;
	size_t failed;		/* the event of the first call that failed */
	int handles, maps;	/* open now */
	struct fault_event event[FAULT_IO_EVENTS];
	size_t events;
	char handle_name[FAULT_IO_HANDLES][48];
	struct {
		char *base;
		size_t size;
		char name[48];
	} map[FAULT_IO_MAPS];
};

/* No fault, nothing recorded. */
void fault_io_init(struct fault_io *fault);

/* Forget the calls and events so far, not the handles; set the next fault. */
void fault_io_arm(struct fault_io *fault, unsigned long fail_at, int error, bool for_good);

/* The place of the first such event from `from` on; -1: there is none. name NULL: any. */
int fault_io_find(const struct fault_io *fault, int from, const char *call, const char *name);

/* How many such events there are. */
unsigned fault_io_count(const struct fault_io *fault, const char *call, const char *name);

#endif
