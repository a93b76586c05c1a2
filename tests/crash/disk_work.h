/* SPDX-License-Identifier: MIT */
/*
 * What runs on the logged disk: a writer that does everything a writer does, and
 * writes into the log what it knows.
 *
 * The directories are the test's: fs, the file system under test, and disk, where
 * the mark is.
 */
#ifndef SDE_TESTS_CRASH_DISK_WORK_H
#define SDE_TESTS_CRASH_DISK_WORK_H

#include "numbered.h"
#include "zarr_storage.h"

#define DISK_STORE "fs/run.zarr"

/* What the workload knows. A power loss leaves low to high snapshots, or cut. */
struct disk_mark {
	uint64_t exists;		/* create returned */
	uint64_t low, high;
	uint64_t cut;			/* a truncate is under way; UINT64_MAX */
	uint64_t generation;		/* of what is stored next */
};

struct disk_work {
	struct numbered numbers;
	struct sde_zarr_options options;
	struct sde_storage *storage;
	struct sde__io io;
	struct sde__zarr_hooks hooks;
	struct disk_mark mark;
	uint64_t random, count;
	int marks;			/* the file */
};

/* The numbers and options of workload `number`: the same for the same seed. */
void disk_work_choose(struct disk_work *w, uint64_t seed, uint64_t number);

/*
 * Run it, to be called in a child: exits with 0, or with a sentence on standard
 * output.
 */
_Noreturn void disk_work(uint64_t seed, uint64_t number);

#endif
