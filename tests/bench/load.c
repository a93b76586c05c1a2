/* SPDX-License-Identifier: MIT */
/* Paths of a double well in memory: see load.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load.h"

#include "measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST ((uint64_t)1 << 30)

const struct load loads[] = {
	{ "1 x 100000", { 1, 100000, SDE_FLOAT64 }, 50, 1600 },
	{ "3 x 10000", { 3, 10000, SDE_FLOAT64 }, 50, 960 },
	{ "2 x 64", { 2, 64, SDE_FLOAT64 }, 1000, 1200 },
	{ "10 x 1000000", { 10, 1000000, SDE_FLOAT64 }, 0, 1600 },
	{ "1 x 100000 float32", { 1, 100000, SDE_FLOAT32 }, 50, 800 },
};
const size_t load_count = sizeof(loads) / sizeof(loads[0]);

bool load_is_asked(const struct load *load)
{
	const char *asked = getenv("BENCH_LOADS");
	const size_t n = strlen(load->name);

	while (asked && *asked) {
		const size_t length = strcspn(asked, ",");

		if (length == n && !strncmp(asked, load->name, n))
			return true;
		asked += length + (asked[length] == ',');
	}
	return !asked;
}

size_t load_snapshot_bytes(const struct load *load)
{
	return (size_t)(load->ensemble.dimension * load->ensemble.trajectories) *
	       (load->ensemble.dtype == SDE_FLOAT32 ? 4 : 8);
}

uint64_t load_snapshots(const struct load *load, int quick)
{
	const uint64_t n = load->megabytes * 1000000 / load_snapshot_bytes(load) / (quick ? 4 : 1);

	return n < 4 ? 4 : n;
}

/* xorshift64*: M. Vigna, "An experimental exploration of Marsaglia's xorshift
 * generators, scrambled" (2016). Sums of twelve uniforms are normal enough here. */
static double noise(uint64_t *s)
{
	double sum = 0;

	for (int i = 0; i < 3; i++) {
		*s ^= *s >> 12;
		*s ^= *s << 25;
		*s ^= *s >> 27;
		for (unsigned j = 0; j < 4; j++)
			sum += (double)((*s * UINT64_C(2685821657736338717)) >> (16 * j) & 0xffff);
	}
	return sum / 65536 - 6;
}

static void put(struct pool *pool, const struct load *load, uint64_t index, uint64_t i, double x)
{
	unsigned char *to = pool->bytes + index * pool->snapshot_bytes;
	const float narrow = (float)x;

	if (load->ensemble.dtype == SDE_FLOAT32)
		memcpy(to + 4 * i, &narrow, 4);
	else
		memcpy(to + 8 * i, &x, 8);
}

void pool_fill(struct pool *pool, const struct load *load, uint64_t snapshots)
{
	const uint64_t numbers = load->ensemble.dimension * load->ensemble.trajectories;
	uint64_t s = 88172645463325252;
	const double dt = 0.01;

	pool->snapshot_bytes = load_snapshot_bytes(load);
	pool->count = snapshots;
	if (pool->count > MOST / pool->snapshot_bytes)
		pool->count = MOST / pool->snapshot_bytes;
	if (pool->count < 2)
		pool->count = 2;
	pool->bytes = malloc(pool->count * pool->snapshot_bytes);
	if (!pool->bytes)
		die("pool", "out of memory");
	for (uint64_t i = 0; i < numbers; i++) {
		double x = noise(&s);

		for (uint64_t k = 0; k < pool->count; k++) {
			put(pool, load, k, i, x);
			x += (3 * x - 2 * x * x * x) * dt + sqrt((x * x + 2) * dt) * noise(&s);
		}
	}
}

const void *pool_snapshot(const struct pool *pool, uint64_t index)
{
	return pool->bytes + index % pool->count * pool->snapshot_bytes;
}

void pool_free(struct pool *pool)
{
	free(pool->bytes);
	pool->bytes = NULL;
}
