/* SPDX-License-Identifier: MIT */
/*
 * A store that somebody has prepared, and what it must not touch.
 *
 *	inside/run.zarr		the store; nothing else may appear beside it
 *	outside/victim		bytes that are known
 *	outside/empty/		a directory that stays so
 *
 * Everything is done to it in a child, with little address space beyond what it has
 * and an alarm: so that taking memory or time for nothing is a failure and no more.
 * All of these fail the running test where something differs.
 */
#ifndef SDE_TESTS_UNIT_PLANTED_H
#define SDE_TESTS_UNIT_PLANTED_H

#include <sdestore.h>

#include <stdbool.h>

#define PLANTED_STORE "inside/run.zarr"
#define PLANTED_DIMENSION 2
#define PLANTED_TRAJECTORIES 12
#define PLANTED_SNAPSHOTS 11
#define PLANTED_CHUNK 4
#define PLANTED_INNER 8

/* How the store is before anything is planted in it. */
struct planted_store {
	unsigned format;		/* 0: 3 */
	enum sde_codec codec;
	enum sde_checksum checksum;
	bool crashed;			/* its writer died, the ring is there */
};

/* Fresh directories and a fresh store. */
void planted_make(const struct planted_store *store);

enum planted_operation {
	PLANTED_OPEN,		/* read-only: facts, every array, verify */
	PLANTED_RESUME,		/* and store, save, truncate, close */
	PLANTED_OVERWRITE,	/* create in its place */
	PLANTED_REPAIR,		/* dry, in earnest, and truncating */
	PLANTED_INSPECT,	/* sde-inspect */
	PLANTED_VERIFY,		/* sde-inspect --verify */
	PLANTED_EXPORT,		/* sde-export */
	PLANTED_OPERATIONS
};

/*
 * In a child: 0 if all of it succeeded, else the code of the first thing that did
 * not; of a tool, its exit status. The child has ended by itself, in time, every
 * failure had a sentence, none was for want of memory, and outside is as it was.
 */
int planted_try(enum planted_operation operation, const char *what);

/* How often that was done. */
unsigned planted_tries(void);

/* Whether the tools are built; if not, a line says so. */
bool planted_has_tools(void);

/* Bytes and text in files. */
void planted_poke(const char *path, long offset, const void *bytes, size_t n); /* <0: from the end */
/* the which-th (from 0) value of this key of a JSON document becomes another */
void planted_set(const char *path, const char *key, unsigned which, const char *value);
void planted_write(const char *path, const void *bytes, size_t n);

#endif
