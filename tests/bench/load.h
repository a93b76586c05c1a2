/* SPDX-License-Identifier: MIT */
/*
 * What is stored: paths of the double well of the demo,
 *	dX = (3 X - 2 X^3) dt + sqrt(X^2 + 2) dW,	dt = 0.01,
 * so that compression has what it has in earnest. A pool holds consecutive snapshots
 * and is stored round and round; where it begins again is one jump a pool.
 */
#ifndef SDE_TESTS_BENCH_LOAD_H
#define SDE_TESTS_BENCH_LOAD_H

#include <sdestore.h>

#include <stdbool.h>
#include <stddef.h>

struct load {
	const char *name;
	struct sde_ensemble ensemble;
	uint64_t chunk_size;		/* 0: the library's default */
	uint64_t megabytes;		/* raw, of one measurement */
};

/* 1 x 100000, 3 x 10000, 2 x 64, 10 x 1000000, 1 x 100000 float32; `count` of them. */
extern const struct load loads[];
extern const size_t load_count;

/* BENCH_LOADS has names with commas between them; unset: all are. */
bool load_is_asked(const struct load *load);

size_t load_snapshot_bytes(const struct load *load);
/* Snapshots of one measurement, a quarter of it if quick; at least 4. */
uint64_t load_snapshots(const struct load *load, int quick);

struct pool {
	unsigned char *bytes;
	uint64_t count;
	size_t snapshot_bytes;
};

/* About `snapshots` consecutive ones, at most 1 GiB of them, but at least 2. */
void pool_fill(struct pool *pool, const struct load *load, uint64_t snapshots);
const void *pool_snapshot(const struct pool *pool, uint64_t index);
void pool_free(struct pool *pool);

#endif
