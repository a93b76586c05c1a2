/* SPDX-License-Identifier: MIT */
/*
 * Calls to count instructions of, under callgrind (README.md): snapshots of 1 KiB, and no
 * worker to disturb: all of them fit into the ring.
 *
 *	count_store store|commit CALLS
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "measure.h"

#include <sdestore.h>

#include <stdlib.h>
#include <string.h>

static double snapshot[128];

static int put(struct sde_storage *storage, bool copy, uint64_t i)
{
	void *slot;
	int ret;

	if (copy)
		return sde_storage_store(storage, (double)i, snapshot, i);
	ret = sde_storage_reserve(storage, i, &slot);
	if (ret)
		return ret;
	memcpy(slot, snapshot, sizeof(snapshot));
	return sde_storage_commit(storage, (double)i);
}

int main(int argc, char *argv[])
{
	const struct sde_ensemble ensemble = { 2, 64, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	const uint64_t calls = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
	const bool copy = argc == 3 && !strcmp(argv[1], "store");
	char *path;

	if (!calls || (!copy && strcmp(argv[1], "commit") != 0))
		die("count_store", "usage: store|commit CALLS");
	path = scratch_path("/dev/shm", "count");
	options.chunk_size = calls + 1;
	options.segments = 2;
	options.sync = SDE_SYNC_NONE;
	if (sde_zarr_storage_create(&storage, path, &ensemble, &options, &error))
		die(path, error.text);
	for (uint64_t i = 0; i < calls; i++)
		if (put(storage, copy, i))
			die(path, "store failed");
	if (sde_storage_close(storage))
		die(path, "close failed");
	scratch_remove(path);
	free(path);
	return 0;
}
