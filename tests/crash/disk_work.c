/* SPDX-License-Identifier: MIT */
/* The writer on the logged disk: see disk_work.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "disk_work.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define OPERATIONS 90

/* The boot before the power loss. */
static int boot_before(void *ctx, unsigned char out[16])
{
	(void)ctx;
	memset(out, 1, 16);
	return 0;
}

static void give_up(const struct disk_work *w, const char *what, int ret)
{
	struct sde_error error = { 0 };

	if (w->storage)
		sde_storage_error(w->storage, &error);
	printf("%s gave %d: %s\n", what, ret, error.text);
	fflush(stdout);
	_exit(1);
}

static void tell(struct disk_work *w)
{
	if (write(w->marks, &w->mark, sizeof(w->mark)) != (ssize_t)sizeof(w->mark))
		give_up(w, "mark", -errno);
}

/* What info says is on the device is on the device. */
static void tell_synced(struct disk_work *w)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	const int ret = sde_storage_info(w->storage, &info);

	if (ret)
		give_up(w, "info", ret);
	if (w->options.sync == SDE_SYNC_SNAPSHOT && info.synced != w->count)
		give_up(w, "synced after a store under snapshot", (int)info.synced);
	if (info.synced > w->mark.low) {
		w->mark.low = info.synced;
		tell(w);
	}
}

static void tell_all(struct disk_work *w)
{
	w->mark.low = w->mark.high = w->count;
	tell(w);
}

void disk_work_choose(struct disk_work *w, uint64_t seed, uint64_t number)
{
	static const enum sde_sync policies[] = {
		SDE_SYNC_CHUNK, SDE_SYNC_PUBLISH, SDE_SYNC_SNAPSHOT, SDE_SYNC_INTERVAL,
	};
	struct sde_zarr_options *o = &w->options;
	uint64_t *r = &w->random;

	w->random = seed ^ number << 32;
	*o = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	w->numbers.ensemble.dimension = 1 + numbered_below(r, 2);
	w->numbers.ensemble.trajectories = 8 * (1 + numbered_below(r, 40));
	w->numbers.ensemble.dtype = numbered_below(r, 2) ? SDE_FLOAT32 : SDE_FLOAT64;
	o->stride = w->numbers.stride = 1 + numbered_below(r, 2);
	o->chunk_size = 1 + numbered_below(r, 12);
	o->trajectories_per_chunk = 8 * (1 + numbered_below(r, 40));
	if (o->trajectories_per_chunk > w->numbers.ensemble.trajectories)
		o->trajectories_per_chunk = w->numbers.ensemble.trajectories;
	o->zarr_format = numbered_below(r, 4) ? 3 : 2;
	/* every inner chunk is a file there, and the disk small */
	if (o->zarr_format == 2 && o->trajectories_per_chunk < w->numbers.ensemble.trajectories / 2)
		o->trajectories_per_chunk = w->numbers.ensemble.trajectories;
	o->codec = (enum sde_codec)numbered_below(r, 4);
	o->sync = policies[numbered_below(r, 4)];
	o->sync_interval_ms = 5;
	o->segments = 2 + (unsigned)numbered_below(r, 2);
	o->threads = 1 + (unsigned)numbered_below(r, 2);
	o->layout = (enum sde_layout)numbered_below(r, 3);
	o->ring_io = (enum sde_ring_io)(1 + numbered_below(r, 2));
}

static void store_one(struct disk_work *w)
{
	int ret;

	w->numbers.generation[w->count] = (unsigned char)w->mark.generation;
	w->mark.high = w->count + 1;
	tell(w);
	ret = numbered_store(&w->numbers, w->storage, w->options.layout, w->count,
			     numbered_below(&w->random, 2));
	if (ret)
		give_up(w, "store", ret);
	w->count++;
	tell_synced(w);
}

/* As the kernel might at any time: write a file of the ring back, all of it, alone. */
static void write_back_one(struct disk_work *w)
{
	char name[64] = DISK_STORE "/data/.ring/header";
	int fd;

	if (numbered_below(&w->random, 2))
		snprintf(name, sizeof(name), DISK_STORE "/data/.ring/segment.%u",
			 (unsigned)numbered_below(&w->random, 3));
	fd = open(name, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
			SYNC_FILE_RANGE_WAIT_AFTER);
	close(fd);
}

/* Stores, and between them writes to the device that nobody waits for. */
static void write_back_something(struct disk_work *w)
{
	for (uint64_t n = 1 + numbered_below(&w->random, 6); n; n--) {
		write_back_one(w);
		if (numbered_below(&w->random, 2))
			store_one(w);
	}
}

static void truncate_some(struct disk_work *w)
{
	const uint64_t most = 2 * w->options.chunk_size + 1;
	uint64_t less = numbered_below(&w->random, most);
	int ret;

	less = less > w->count ? w->count : less;
	w->mark.cut = w->count - less;
	tell(w);
	ret = sde_storage_truncate(w->storage, w->mark.cut);
	if (ret)
		give_up(w, "truncate", ret);
	w->count = w->mark.cut;
	w->mark.cut = UINT64_MAX;
	w->mark.generation++;
	tell_all(w);
}

static void close_and_resume(struct disk_work *w)
{
	struct sde_error error = { 0 };
	int ret;

	ret = sde_storage_close_error(w->storage, &error);
	w->storage = NULL;
	if (ret)
		give_up(w, error.text, ret);
	tell_all(w);
	w->options.segments = 2 + (unsigned)numbered_below(&w->random, 3);
	ret = sde__zarr_resume(&w->storage, DISK_STORE, &w->options, &w->hooks, &error);
	if (ret)
		give_up(w, error.text, ret);
}

static void pause_us(uint64_t us)
{
	const struct timespec time = { 0, (long)us * 1000 };

	nanosleep(&time, NULL);
}

static void operate(struct disk_work *w)
{
	const uint64_t op = numbered_below(&w->random, 100);
	int ret = 0;

	if (op < 4) {
		ret = sde_storage_save(w->storage);
		if (!ret)
			tell_all(w);
	} else if (op < 8) {
		ret = sde_storage_sync(w->storage);
		if (!ret)
			tell_all(w);
	} else if (op < 10) {
		truncate_some(w);
	} else if (op < 12) {
		close_and_resume(w);
	} else if (op < 20) {
		write_back_something(w);
	} else if (op < 24) {
		pause_us(1000 * numbered_below(&w->random, 60));
		tell_synced(w);
	} else {
		store_one(w);
	}
	if (ret)
		give_up(w, "save or sync", ret);
}

_Noreturn void disk_work(uint64_t seed, uint64_t number)
{
	struct disk_work *w = calloc(1, sizeof(*w));
	struct sde_error error = { 0 };
	int ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!w)
		_exit(1);
	w->mark.cut = UINT64_MAX;
	w->io = sde__io_posix;
	w->io.boot_id = boot_before;
	w->hooks = (struct sde__zarr_hooks){ .io = &w->io };
	disk_work_choose(w, seed, number);
	w->marks = open("disk/mark", O_WRONLY | O_CLOEXEC);
	if (w->marks < 0)
		give_up(w, "mark", -errno);
	ret = sde__zarr_create(&w->storage, DISK_STORE, &w->numbers.ensemble, &w->options, &w->hooks,
			       &error);
	if (ret)
		give_up(w, error.text, ret);
	w->mark.exists = 1;
	tell(w);
	for (int i = 0; i < OPERATIONS; i++)
		operate(w);
	if (numbered_below(&w->random, 2)) {
		ret = sde_storage_close_error(w->storage, &error);
		w->storage = NULL;
		if (ret)
			give_up(w, error.text, ret);
		tell_all(w);
	}
	_exit(0);
}
