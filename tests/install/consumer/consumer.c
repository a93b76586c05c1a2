/* SPDX-License-Identifier: MIT */
/*
 * What somebody else's program does with the installed library: three snapshots
 * go into a store and come back to the bit. It is C11 as well as C++11, and knows
 * nothing of this repository.
 *
 *	consumer STORE
 */
#include <sdestore.h>
#include <sdestore/backend.h>

#include <stdio.h>
#include <string.h>

enum { DIMENSION = 2, TRAJECTORIES = 8, SNAPSHOTS = 3 };

/* exact in binary, and different for every index */
static double number(int dimension, int trajectory, int snapshot)
{
	return dimension * 1000 + trajectory + snapshot / 4.0;
}

static int fail(const char *what, int code, const struct sde_error *error)
{
	fprintf(stderr, "consumer: %s: %s\n", what,
		error && error->code ? error->text : sde_strerror(code));
	return 1;
}

static int write_store(const char *path)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_ensemble ensemble = { DIMENSION, TRAJECTORIES, SDE_FLOAT64 };
	struct sde_error error = { 0, "" };
	struct sde_storage *storage;
	double data[DIMENSION][TRAJECTORIES];
	int ret;

	options.chunk_size = 2;	/* the third snapshot lies in a chunk of its own */
	ret = sde_zarr_storage_create(&storage, path, &ensemble, &options, &error);
	if (ret)
		return fail("create", ret, &error);
	for (int k = 0; k < SNAPSHOTS && !ret; k++) {
		for (int d = 0; d < DIMENSION; d++)
			for (int n = 0; n < TRAJECTORIES; n++)
				data[d][n] = number(d, n, k);
		ret = sde_storage_store(storage, k / 8.0, data, (uint64_t)k);
	}
	if (ret) {
		fail("store", ret, NULL);
		sde_storage_close(storage);
		return 1;
	}
	ret = sde_storage_close_error(storage, &error);
	return ret ? fail("close", ret, &error) : 0;
}

static int compare(const struct sde_array *time, const struct sde_array *data)
{
	static const uint64_t shape[3] = { DIMENSION, TRAJECTORIES, SNAPSHOTS };
	double times[SNAPSHOTS], numbers[DIMENSION][TRAJECTORIES][SNAPSHOTS];
	double wanted;
	int ret;

	if (sde_array_ndim(data) != 3 || memcmp(sde_array_shape(data), shape, sizeof(shape)))
		return fail("the shape is another", 0, NULL);
	ret = sde_array_read(time, NULL, NULL, NULL, times, sizeof(times));
	if (!ret)
		ret = sde_array_read(data, NULL, NULL, NULL, numbers, sizeof(numbers));
	if (ret)
		return fail("read", ret, NULL);
	for (int k = 0; k < SNAPSHOTS; k++) {
		wanted = k / 8.0;
		if (memcmp(&times[k], &wanted, sizeof(wanted)))
			return fail("a time is another", 0, NULL);
		for (int d = 0; d < DIMENSION; d++)
			for (int n = 0; n < TRAJECTORIES; n++) {
				wanted = number(d, n, k);
				if (memcmp(&numbers[d][n][k], &wanted, sizeof(wanted)))
					return fail("a number is another", 0, NULL);
			}
	}
	return 0;
}

static int read_store(const char *path)
{
	struct sde_error error = { 0, "" };
	struct sde_storage *storage;
	struct sde_array *time, *data;
	int ret;

	ret = sde_storage_open(&storage, path, NULL, &error);
	if (ret)
		return fail("open", ret, &error);
	ret = sde_storage_values(storage, &time, &data);
	sde_storage_close(storage);
	if (ret)
		return fail("values", ret, NULL);
	ret = compare(time, data);
	sde_array_close(time);
	sde_array_close(data);
	return ret;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: consumer STORE\n");
		return 1;
	}
	if (strcmp(sde_version(), SDE_VERSION_STRING)) {
		fprintf(stderr, "consumer: header %s, library %s\n", SDE_VERSION_STRING,
			sde_version());
		return 1;
	}
	if (write_store(argv[1]) || read_store(argv[1]))
		return 1;
	printf("%d snapshots\n", SNAPSHOTS);
	return 0;
}
