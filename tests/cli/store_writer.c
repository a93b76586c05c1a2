/* SPDX-License-Identifier: MIT */
/*
 * Write a store whose every number is known, and end as told:
 *
 *	store_writer DIRECTORY CHUNK_SIZE SNAPSHOTS close|kill|wait
 *
 * The ensemble is 2 x 8 float64; component d of trajectory n of snapshot k is
 * 1000 k + 10 d + n, its time k / 4, its iteration 3 k (stride 3). `kill` ends by
 * SIGKILL once everything is stored, `wait` says "stored" and closes when
 * standard input ends. The attributes hold text that may not reach a terminal.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sdestore.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DIMENSION = 2, TRAJECTORIES = 8, STRIDE = 3 };

static int die(const struct sde_error *error)
{
	fprintf(stderr, "store_writer: %s\n", error->text);
	return 1;
}

static int store_all(struct sde_storage *storage, uint64_t snapshots)
{
	double x[DIMENSION][TRAJECTORIES];

	for (uint64_t k = 0; k < snapshots; k++) {
		for (int d = 0; d < DIMENSION; d++)
			for (int n = 0; n < TRAJECTORIES; n++)
				x[d][n] = 1000 * (double)k + 10 * d + n;
		if (sde_storage_store(storage, (double)k / 4, x, STRIDE * k))
			return 1;
	}
	return 0;
}

int main(int argc, char *argv[])
{
	struct sde_ensemble ensemble = { DIMENSION, TRAJECTORIES, SDE_FLOAT64 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage = NULL;
	struct sde_error error = { 0 };

	if (argc != 5)
		return 1;
	options.chunk_size = strtoull(argv[2], NULL, 10);
	options.trajectories_per_chunk = TRAJECTORIES;
	options.stride = STRIDE;
	options.time_units = "s";
	options.attributes = "{\"seed\": 9007199254740993, \"dt\": 0.25, \"empty\": {},"
			     " \"list\": [1, null, true],"
			     " \"text\": \"\\u001b[2J \\\"quoted\\\" \xc2\x9b \xc3\xa9\"}";
	if (sde_zarr_storage_create(&storage, argv[1], &ensemble, &options, &error))
		return die(&error);
	if (store_all(storage, strtoull(argv[3], NULL, 10))) {
		sde_storage_error(storage, &error);
		return die(&error);
	}
	if (!strcmp(argv[4], "kill"))
		raise(SIGKILL);
	if (!strcmp(argv[4], "wait")) {
		puts("stored");
		fflush(stdout);
		while (getchar() != EOF)
			;
	}
	if (sde_storage_close_error(storage, &error))
		return die(&error);
	return 0;
}
