/* SPDX-License-Identifier: MIT */
/*
 * The same load through HDF5's C library: an extensible dataset (M, d, N), chunks of
 * one snapshot, or of a chunk's snapshots if it deflates; each snapshot is appended by
 * extending the dataset and writing a hyperslab.
 *
 *	peer_hdf5 [--deflate] LOAD SNAPSHOTS PATH
 *
 * Prints seconds from the first snapshot to the end of H5Fclose, the file's bytes, and
 * the slowest append in ms. No sync, as with the policy none.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load.h"
#include "measure.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static hid_t create(hid_t file, const struct load *load, bool deflate)
{
	const hsize_t d = load->ensemble.dimension, n = load->ensemble.trajectories;
	const hsize_t none[3] = { 0, d, n }, most[3] = { H5S_UNLIMITED, d, n };
	const hsize_t chunk[3] = { deflate && load->chunk_size ? load->chunk_size : 1, d, n };
	const hid_t space = H5Screate_simple(3, none, most);
	const hid_t list = H5Pcreate(H5P_DATASET_CREATE), access = H5Pcreate(H5P_DATASET_ACCESS);
	const size_t bytes = (size_t)(chunk[0] * d * n) * 8;
	hid_t set;

	H5Pset_chunk(list, 3, chunk);
	/* the chunk that grows stays decoded: else it is inflated for every snapshot */
	H5Pset_chunk_cache(access, 521, 2 * bytes > 1 << 20 ? 2 * bytes : 1 << 20, 1.0);
	if (deflate) {
		H5Pset_shuffle(list);
		H5Pset_deflate(list, 1);
	}
	set = H5Dcreate2(file, "data", load->ensemble.dtype == SDE_FLOAT32 ? H5T_IEEE_F32LE :
			 H5T_IEEE_F64LE, space, H5P_DEFAULT, list, access);
	H5Pclose(list);
	H5Pclose(access);
	H5Sclose(space);
	if (set < 0)
		die("peer_hdf5", "cannot create the dataset");
	return set;
}

static void append(hid_t set, const struct load *load, uint64_t i, const void *data)
{
	const hsize_t d = load->ensemble.dimension, n = load->ensemble.trajectories;
	const hsize_t size[3] = { i + 1, d, n }, start[3] = { i, 0, 0 }, count[3] = { 1, d, n };
	const hid_t type = load->ensemble.dtype == SDE_FLOAT32 ? H5T_NATIVE_FLOAT :
			   H5T_NATIVE_DOUBLE;
	hid_t memory, space;

	H5Dset_extent(set, size);
	memory = H5Screate_simple(3, count, NULL);
	space = H5Dget_space(set);
	H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
	if (H5Dwrite(set, type, memory, space, H5P_DEFAULT, data) < 0)
		die("peer_hdf5", "cannot write");
	H5Sclose(space);
	H5Sclose(memory);
}

int main(int argc, char *argv[])
{
	const bool deflate = argc > 1 && !strcmp(argv[1], "--deflate");
	const struct load *load;
	struct pool pool;
	struct stat st;
	uint64_t slowest = 0, snapshots;
	hid_t file, set;
	double began;

	argv += deflate;
	argc -= deflate;
	if (argc != 4 || strtoul(argv[1], NULL, 10) >= load_count)
		die("peer_hdf5", "usage: [--deflate] LOAD SNAPSHOTS PATH");
	load = &loads[strtoul(argv[1], NULL, 10)];
	snapshots = strtoull(argv[2], NULL, 10);
	pool_fill(&pool, load, load->chunk_size ? 2 * load->chunk_size : 3);
	file = H5Fcreate(argv[3], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
	if (file < 0)
		die(argv[3], "cannot create");
	set = create(file, load, deflate);
	began = now_s();
	for (uint64_t i = 0; i < snapshots; i++) {
		const uint64_t t = now_ns();

		append(set, load, i, pool_snapshot(&pool, i));
		if (now_ns() - t > slowest)
			slowest = now_ns() - t;
	}
	H5Dclose(set);
	H5Fclose(file);
	began = now_s() - began;
	if (stat(argv[3], &st))
		die(argv[3], "is not there");
	printf("%.6f %lld %.3f\n", began, (long long)st.st_size, (double)slowest * 1e-6);
	pool_free(&pool);
	return 0;
}
