/* SPDX-License-Identifier: MIT */
/*
 * What a store costs the integrator while one worker keeps up: each next to a memcpy of
 * a snapshot into a mapped, touched buffer of the ring's size, in turns. See README.md.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "load.h"
#include "measure.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* Raw bytes a second that the integrator makes: well below one worker's rate. */
#define PACE 0.3e9

#define SEGMENTS 3

struct size {
	struct load load;
	uint64_t calls;			/* a round */
};

/* A chunk is 8 MiB, or 2 snapshots of 8 MB. */
static const struct size sizes[] = {
	{ { "1 KiB", { 2, 64, SDE_FLOAT64 }, 8192, 0 }, 40000 },
	{ { "64 KiB", { 1, 8192, SDE_FLOAT64 }, 128, 0 }, 3000 },
	{ { "800 KB", { 1, 100000, SDE_FLOAT64 }, 10, 0 }, 400 },
	{ { "8 MB", { 1, 1000000, SDE_FLOAT64 }, 2, 0 }, 60 },
};

/* One round's quantiles; store and copy are of the same instants. */
struct quantiles {
	struct samples p50, p99, p999, most;
};

struct measured {
	struct quantiles store, copy, zero_copy;
	double stalls;
};

static uint64_t clock_cost;	/* of a pair of readings, ns */

static void find_clock_cost(void)
{
	struct samples s = { 0 };

	for (int i = 0; i < 10000; i++) {
		const uint64_t t = now_ns();

		samples_add(&s, (double)(now_ns() - t));
	}
	clock_cost = (uint64_t)samples_median(&s);
	samples_clear(&s);
}

/* The integrator's own time: asleep where that is exact enough, else busy. */
static void wait_until(uint64_t when)
{
	const uint64_t now = now_ns();
	struct timespec pause = { 0 };

	if (when > now + 200000) {
		pause.tv_nsec = (long)((when - now - 100000) % 1000000000);
		nanosleep(&pause, NULL);
	}
	while (now_ns() < when)
		;
}

static double since(uint64_t t)
{
	const uint64_t ns = now_ns() - t;

	return (double)(ns > clock_cost ? ns - clock_cost : 0);
}

static void take(struct quantiles *q, struct samples *s)
{
	samples_add(&q->p50, samples_quantile(s, 0.5));
	samples_add(&q->p99, samples_quantile(s, 0.99));
	samples_add(&q->p999, samples_quantile(s, 0.999));
	samples_add(&q->most, samples_quantile(s, 1));
	samples_clear(s);
}

static void store(struct sde_storage *storage, const void *data, uint64_t i, struct samples *s)
{
	const uint64_t t = now_ns();
	const int ret = sde_storage_store(storage, (double)i, data, i);

	samples_add(s, since(t));
	if (ret)
		die("store", sde_strerror(ret));
}

/* Reserve and commit, without the writing between them. */
static void commit(struct sde_storage *storage, const void *data, size_t n, uint64_t i,
		   struct samples *s)
{
	uint64_t t = now_ns();
	void *slot;
	double ns;

	if (sde_storage_reserve(storage, i, &slot))
		die("reserve", "failed");
	ns = since(t);
	memcpy(slot, data, n);
	t = now_ns();
	if (sde_storage_commit(storage, (double)i))
		die("commit", "failed");
	samples_add(s, ns + since(t));
}

static void copy(unsigned char *buffer, const void *data, size_t n, struct samples *s)
{
	const uint64_t t = now_ns();

	memcpy(buffer, data, n);
	samples_add(s, since(t));
}

static struct sde_storage *create(const struct load *load, const char *path)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	options.chunk_size = load->chunk_size;
	options.segments = SEGMENTS;
	options.threads = 1;
	if (sde_zarr_storage_create(&storage, path, &load->ensemble, &options, &error))
		die(path, error.text);
	return storage;
}

/* Calls in turns: store and copy, or reserve + commit. Returns the stalls. */
static double run(const struct size *size, const struct pool *pool, const char *path,
		  uint64_t calls, struct measured *m, bool zero_copy)
{
	const uint64_t slots = SEGMENTS * size->load.chunk_size;
	const size_t n = pool->snapshot_bytes;
	const uint64_t period = (uint64_t)((double)n / PACE * 1e9);
	unsigned char *buffer = mmap(NULL, slots * n, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct sde_storage *storage = create(&size->load, path);
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct samples stored = { 0 }, copied = { 0 };
	uint64_t next;

	if (buffer == MAP_FAILED)
		die("copy", "out of memory");
	next = now_ns();
	for (uint64_t i = 0; i < calls; i++, next += period) {
		wait_until(next);
		if (zero_copy)
			commit(storage, pool_snapshot(pool, 2 * i), n, i, &stored);
		else if (i & 1)
			store(storage, pool_snapshot(pool, 2 * i), i, &stored);
		copy(buffer + i % slots * n, pool_snapshot(pool, 2 * i + 1), n, &copied);
		if (!zero_copy && !(i & 1))
			store(storage, pool_snapshot(pool, 2 * i), i, &stored);
	}
	sde_storage_info(storage, &info);
	if (sde_storage_close(storage))
		die(path, "close failed");
	take(zero_copy ? &m->zero_copy : &m->store, &stored);
	if (!zero_copy)
		take(&m->copy, &copied);
	samples_clear(&copied);
	munmap(buffer, slots * n);
	return (double)info.stalls;
}

static void clear(struct quantiles *q)
{
	samples_clear(&q->p50);
	samples_clear(&q->p99);
	samples_clear(&q->p999);
	samples_clear(&q->most);
}

static void report(struct table *table, const struct size *size, const char *where,
		   struct measured *m)
{
	const double p50 = samples_median(&m->store.p50), base50 = samples_median(&m->copy.p50);
	const double p99 = samples_median(&m->store.p99), base99 = samples_median(&m->copy.p99);

	TABLE_ROW(table, TEXT("snapshot", size->load.name), TEXT("where", where),
		  NUMBER("store_p50", "ns", p50), NUMBER("copy_p50", "ns", base50),
		  NUMBER("p50_over", "ns", p50 - base50), NUMBER("p50_ratio", "", p50 / base50),
		  NUMBER("store_p99", "ns", p99), NUMBER("copy_p99", "ns", base99),
		  NUMBER("p99_ratio", "", p99 / base99),
		  NUMBER("store_p99.9", "ns", samples_median(&m->store.p999)),
		  NUMBER("store_max", "ns", samples_median(&m->store.most)),
		  NUMBER("copy_max", "ns", samples_median(&m->copy.most)),
		  NUMBER("commit_p50", "ns", samples_median(&m->zero_copy.p50)),
		  NUMBER("commit_p99", "ns", samples_median(&m->zero_copy.p99)),
		  NUMBER("stalls", "", m->stalls));
}

static void one(struct table *table, const struct size *size, const struct settings *s,
		const char *directory, const char *where)
{
	const uint64_t calls = s->quick ? size->calls / 4 + 1 : size->calls;
	struct measured m = { 0 };
	struct pool pool;

	/* more than any cache, or all that there is */
	pool_fill(&pool, &size->load, ((uint64_t)64 << 20) / load_snapshot_bytes(&size->load));
	for (unsigned round = 0; round < s->rounds; round++) {
		char *path = scratch_path(directory, "store");

		m.stalls += run(size, &pool, path, calls, &m, false);
		scratch_remove(path);
		m.stalls += run(size, &pool, path, calls, &m, true);
		scratch_remove(path);
		free(path);
	}
	report(table, size, where, &m);
	clear(&m.store);
	clear(&m.copy);
	clear(&m.zero_copy);
	pool_free(&pool);
}

int main(int argc, char *argv[])
{
	const struct settings s = settings_parse(argc, argv);
	struct table table;

	find_clock_cost();
	table_begin(&table, &s, "store",
		    "one call, paced to 0.3 GB/s, one worker, the default policy; medians of rounds");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		if (s.tmpfs)
			one(&table, &sizes[i], &s, s.tmpfs, "tmpfs");
		one(&table, &sizes[i], &s, s.disk, "disk");
	}
	return 0;
}
