/* SPDX-License-Identifier: MIT */
/*
 * The publisher: what it does step by step, and what a failure in the background
 * costs: nothing. Every io call of a small workload fails in turn, once or for
 * good, with threads and without.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "publisher_state.h"
#include "sanitized.h"
#include "scratch.h"
#include "twin.h"
#include "zarr_config.h"
#include "zarr_storage.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define T 4

static const struct sde_ensemble ensemble = { 2, 5, SDE_FLOAT64 };

static int watch(void **state)
{
	/* whoever waits for ever is killed */
	alarm(240);
	return scratch_enter(state);
}

static int unwatch(void **state)
{
	alarm(0);
	return scratch_leave(state);
}

#define WATCHED_TEST(test) cmocka_unit_test_setup_teardown(test, watch, unwatch)

/* ------------------------------------------------------------------------
 * Its own room, without threads
 */

struct bench {
	struct sde__zarr_config config;
	struct sde__home home;
	struct sde__ring *ring;
	struct sde__publisher *publisher;
};

/* width: of inner chunks; 0: there is one */
static void bench_open_with(struct bench *b, const struct sde__io *io, bool synchronous,
			    uint64_t width)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde__ring_header header = { 0 };
	struct sde__publisher_config config = { 0 };
	struct sde_error error = { 0 };
	bool exists;

	options.chunk_size = T;
	options.trajectories_per_chunk = width;
	options.segments = 2;
	options.sync = SDE_SYNC_PUBLISH;
	twin_assert_ok(sde__zarr_config_new(&b->config, &ensemble, &options, &error), error.text);
	sde__zarr_config_set_run(&b->config, (const unsigned char *)"0123456789abcdef");
	sde__home_init(&b->home, io);
	twin_assert_ok(sde__home_build(&b->home, PATH, false, &exists, &error), error.text);
	twin_assert_ok(sde__documents_write(&b->home, &b->config.metadata, false, true, &error),
		       error.text);
	header.layout = b->config.layout;
	header.ring_io = SDE_RING_IO_MAPPED;	/* wherever this runs */
	memcpy(header.run, b->config.run, 16);
	twin_assert_ok(sde__ring_prepare(&b->ring, io, b->home.ring, &header, true,
				       &error),
		       error.text);
	twin_assert_ok(sde__ring_enact(b->ring, 0, 0, 0, true, &error), error.text);
	config.io = io;
	config.home = &b->home;
	config.ring = b->ring;
	config.metadata = &b->config.metadata;
	config.codec = b->config.codec;
	config.sync = b->config.sync;
	config.threads = 1;
	config.synchronous = synchronous;
	memcpy(config.run, b->config.run, 16);
	twin_assert_ok(sde__publisher_start(&b->publisher, &config, &error), error.text);
	twin_assert_ok(sde__home_settle(&b->home, NULL, &error), error.text);
}

static void bench_open_on(struct bench *b, const struct sde__io *io, bool synchronous)
{
	bench_open_with(b, io, synchronous, 0);
}

static void bench_open(struct bench *b)
{
	bench_open_on(b, &sde__io_posix, true);
}

static void bench_close(struct bench *b)
{
	sde__publisher_stop(b->publisher);
	sde__ring_free(b->ring);
	sde__home_close(&b->home);
	sde__zarr_config_clear(&b->config);
}

static void fill(struct bench *b, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++) {
		const struct sde__slot_head head = { (double)i, (int64_t)i, 0, false };

		assert_int_equal(sde__ring_claim(b->ring, i, NULL), 0);
		memset(sde__ring_slot(b->ring, i), 0, b->config.layout.slot_size);
		sde__slot_head_write(sde__ring_slot(b->ring, i), &head);
		assert_int_equal(sde__ring_commit(b->ring, i, NULL), 0);
		if ((i + 1) % T == 0)
			sde__publisher_filled(b->publisher, (i + 1) / T);
	}
}

static struct sde__publisher_counts counts_of(struct bench *b)
{
	struct sde__publisher_counts counts = { 0 };

	sde__publisher_counts(b->publisher, &counts);
	return counts;
}

static void room_is_made_one_chunk_at_a_time(void **state)
{
	uint64_t waited = 0;
	struct bench b;

	(void)state;
	bench_open(&b);
	assert_int_equal(sde__publisher_limit(b.publisher), 2);
	fill(&b, 0, 2 * T);
	assert_int_equal(sde__publisher_room(b.publisher, 1, &waited, NULL), 0);
	assert_int_equal(waited, 0);
	assert_false(scratch_exists(PATH "/data/c/0/0/0"));
	assert_int_equal(sde__publisher_room(b.publisher, 2, &waited, NULL), 0);
	assert_true(waited > 0);
	assert_true(scratch_exists(PATH "/data/c/0/0/0"));
	assert_int_equal(sde__ring_get(b.ring, SDE__RING_SEALED), T);
	assert_int_equal(sde__publisher_limit(b.publisher), 3);
	/* sealed, but no reader of Zarr has been told */
	assert_int_equal(counts_of(&b).published, 0);
	assert_int_equal(counts_of(&b).chunk_files, 1);
	bench_close(&b);
}

static void save_publishes_a_partial_chunk_and_replaces_it(void **state)
{
	struct bench b;
	uint64_t bytes = 0;

	(void)state;
	bench_open(&b);
	for (uint64_t m = 1; m <= T; m++) {
		fill(&b, m - 1, 1);
		assert_int_equal(sde__publisher_save(b.publisher, m, NULL), 0);
		assert_int_equal(counts_of(&b).published, m);
		assert_int_equal(counts_of(&b).chunk_files, 1);
		assert_int_equal(sde__ring_get(b.ring, SDE__RING_SEALED), m / T * T);
		bytes = counts_of(&b).stored_bytes;
	}
	assert_int_equal(scratch_entries(PATH "/data/c/0/0"), 1);
	fill(&b, T, T);
	assert_int_equal(sde__publisher_save(b.publisher, 2 * T, NULL), 0);
	assert_int_equal(counts_of(&b).chunk_files, 2);
	assert_true(counts_of(&b).stored_bytes > bytes);
	/* with nothing new, nothing is done */
	assert_int_equal(sde__publisher_save(b.publisher, 2 * T, NULL), 0);
	bench_close(&b);
}

static void a_failure_stays_until_save_succeeds(void **state)
{
	const struct sde_error why = { -EIO, "cannot sync 'data/.ring/segment.0'" };
	const struct sde_error later = { -ENOSPC, "cannot write 'data/c/0/0/0'" };
	struct sde_error error = { 0 };
	uint64_t waited;
	struct bench b;

	(void)state;
	bench_open(&b);
	fill(&b, 0, 2 * T);
	assert_int_equal(sde__publisher_failed(b.publisher), 0);
	sde__publisher_fail(b.publisher, &why);
	sde__publisher_fail(b.publisher, &later);
	assert_int_equal(sde__publisher_failed(b.publisher), -EIO);
	assert_int_equal(sde__publisher_room(b.publisher, 2, &waited, &error), -EIO);
	assert_string_equal(error.text, why.text);
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde__publisher_failure(b.publisher, &error), -EIO);
	assert_string_equal(error.text, why.text);
	assert_int_equal(counts_of(&b).chunk_files, 0);
	assert_int_equal(sde__publisher_save(b.publisher, 2 * T, NULL), 0);
	assert_int_equal(sde__publisher_failed(b.publisher), 0);
	assert_int_equal(sde__publisher_room(b.publisher, 3, &waited, NULL), 0);
	bench_close(&b);
}

/* Steps of these roles, as long as there are any. */
static void take_steps(struct sde__publisher *p, unsigned roles)
{
	pthread_mutex_lock(&p->lock);
	while (sde__publisher_step(p, roles, p->raw))
		;
	pthread_mutex_unlock(&p->lock);
}

/* Encoded again after a failure, the older chunk goes first, wherever its job stands. */
static void of_two_chunks_the_older_is_encoded_first(void **state)
{
	struct sde__publisher *p;
	unsigned jobs;
	enum sde_codec codec;
	uint64_t waited;
	struct bench b;

	(void)state;
	bench_open(&b);
	p = b.publisher;
	jobs = p->jobs;
	p->jobs = 2;
	fill(&b, 0, 2 * T);
	take_steps(p, SDE__ROLE_ENCODE);
	assert_int_equal(sde__publisher_room(p, 2, &waited, NULL), 0);
	fill(&b, 2 * T, T);
	take_steps(p, SDE__ROLE_ENCODE);
	assert_int_equal(p->job[0].shard.index, 2);
	assert_int_equal(p->job[1].shard.index, 1);
	/* as if the files of both had failed */
	p->job[0].lost = p->job[1].lost = true;
	codec = p->job[1].shard.codec.id;
	p->job[1].shard.codec.id = (enum sde_codec)77;
	assert_int_equal(sde__publisher_save(p, 3 * T, NULL), SDE_E_CODEC);
	assert_true(p->job[0].lost);
	p->job[1].shard.codec.id = codec;
	assert_int_equal(sde__publisher_save(p, 3 * T, NULL), 0);
	assert_int_equal(counts_of(&b).published, 3 * T);
	p->jobs = jobs;
	bench_close(&b);
}

/* Two chunks are whole: the files of both are synced before the first has a name. If the
 * second cannot be, the first is sealed all the same, and that alone. */
static void seal_two(bool fails)
{
	static struct fault_io io;
	int sync[2], rename[2];
	struct bench b;

	fault_io_init(&io);
	bench_open_on(&b, &io.io, true);
	fill(&b, 0, 2 * T);
	take_steps(b.publisher, SDE__ROLE_ENCODE | SDE__ROLE_WRITE);
	fault_io_arm(&io, fails ? 2 : 0, EIO, false);
	io.only = "sync";
	take_steps(b.publisher, SDE__ROLE_SEAL);
	for (int i = 0; i < 2; i++) {
		sync[i] = fault_io_find(&io, 0, "sync", i ? "1.tmp" : "0.tmp");
		rename[i] = fault_io_find(&io, 0, "rename_at", i ? "1.tmp" : "0.tmp");
	}
	assert_true(sync[0] >= 0 && sync[0] < sync[1] && sync[1] < rename[0]);
	assert_true(fails ? rename[1] < 0 : rename[0] < rename[1]);
	assert_int_equal(b.publisher->sealed, fails ? 1 : 2);
	assert_int_equal(sde__publisher_save(b.publisher, 2 * T, NULL), 0);
	assert_int_equal(counts_of(&b).published, 2 * T);
	bench_close(&b);
}

static void files_that_are_whole_are_synced_in_a_row(void **state)
{
	(void)state;
	seal_two(false);
}

static void a_file_that_cannot_be_synced_holds_up_those_behind_it(void **state)
{
	(void)state;
	seal_two(true);
}

/* The writers' steps: who seals finds the file synced, and does so once. */
static void a_file_that_was_ended_is_not_synced_again(void **state)
{
	static struct fault_io io;
	int sync;
	struct bench b;

	(void)state;
	fault_io_init(&io);
	bench_open_on(&b, &io.io, true);
	fill(&b, 0, 2 * T);
	take_steps(b.publisher, SDE__ROLE_ENCODE | SDE__ROLE_WRITE | SDE__ROLE_END);
	sync = fault_io_find(&io, 0, "sync", "1.tmp");
	assert_true(fault_io_find(&io, 0, "sync", "0.tmp") >= 0 && sync >= 0);
	assert_true(fault_io_find(&io, 0, "rename_at", "0.tmp") < 0);
	take_steps(b.publisher, SDE__ROLE_SEAL);
	assert_true(fault_io_find(&io, sync + 1, "rename_at", "1.tmp") >= 0);
	assert_true(fault_io_find(&io, sync + 1, "sync", "0.tmp") < 0);
	assert_true(fault_io_find(&io, sync + 1, "sync", "1.tmp") < 0);
	assert_int_equal(b.publisher->sealed, 2);
	bench_close(&b);
}

/* One that cannot be synced stops all, and is made again from the ring. */
static void a_file_that_cannot_be_ended_is_made_again(void **state)
{
	static struct fault_io io;
	struct sde__publisher *p;
	struct bench b;

	(void)state;
	fault_io_init(&io);
	bench_open_on(&b, &io.io, true);
	p = b.publisher;
	fill(&b, 0, 2 * T);
	take_steps(p, SDE__ROLE_ENCODE | SDE__ROLE_WRITE);
	fault_io_arm(&io, 1, EIO, false);
	io.only = "sync";
	take_steps(p, SDE__ROLE_END);
	assert_int_equal(sde__publisher_failed(p), -EIO);
	assert_int_equal(p->job[0].state, SDE__JOB_MAKING);
	assert_true(p->job[0].lost);
	take_steps(p, SDE__ROLES);
	assert_int_equal(p->sealed, 0);
	assert_int_equal(sde__publisher_save(p, 2 * T, NULL), 0);
	assert_int_equal(p->sealed, 2);
	assert_int_equal(counts_of(&b).published, 2 * T);
	bench_close(&b);
}

/* What is being synced is not sealed by another meanwhile, nor synced by a second. */
static void a_file_that_is_being_ended_is_left_alone(void **state)
{
	struct sde__publisher *p;
	struct bench b;

	(void)state;
	bench_open(&b);
	p = b.publisher;
	fill(&b, 0, 2 * T);
	take_steps(p, SDE__ROLE_ENCODE | SDE__ROLE_WRITE);
	p->job[0].state = SDE__JOB_ENDING;
	take_steps(p, SDE__ROLE_WRITE | SDE__ROLE_END | SDE__ROLE_SEAL);
	assert_int_equal(p->sealed, 0);
	assert_int_equal(p->job[0].state, SDE__JOB_ENDING);
	assert_true(sde__shard_is_open(&p->job[0].shard));
	/* the second is ended, and waits for the first */
	assert_int_equal(p->job[1].state, SDE__JOB_MADE);
	assert_false(sde__shard_is_open(&p->job[1].shard));
	p->job[0].state = SDE__JOB_MADE;
	take_steps(p, SDE__ROLE_SEAL);
	assert_int_equal(p->sealed, 2);
	bench_close(&b);
}

/* Two more where chunks are small and a sync waits for a device, else none. */
static void only_small_chunks_on_a_device_have_writers(void **state)
{
	static const struct {
		uint64_t file_system, chunk_size;
		enum sde_sync sync;
		unsigned threads;	/* worker, sealer, syncer, writers */
	} cases[] = {
		{ FAULT_IO_EXT, T, SDE_SYNC_CHUNK, 5 }, { FAULT_IO_TMPFS, T, SDE_SYNC_CHUNK, 3 },
		{ FAULT_IO_EXT, T, SDE_SYNC_PUBLISH, 4 }, { FAULT_IO_TMPFS, T, SDE_SYNC_PUBLISH, 2 },
		{ FAULT_IO_EXT, T, SDE_SYNC_NONE, 2 },
		/* encoded, 2.4 and 6.4 MB */
		{ FAULT_IO_EXT, 30000, SDE_SYNC_CHUNK, 5 }, { FAULT_IO_EXT, 80000, SDE_SYNC_CHUNK, 3 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
		struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
		static struct fault_io io;
		struct sde__publisher *publisher;
		const struct sde__zarr_hooks hooks = { .io = &io.io, .publisher = &publisher };
		struct sde_storage *storage;

		fault_io_init(&io);
		io.file_system = cases[i].file_system;
		options.chunk_size = cases[i].chunk_size;
		options.sync = cases[i].sync;
		options.threads = 1;
		options.overwrite = 1;
		assert_int_equal(sde__zarr_create(&storage, PATH, &ensemble, &options, &hooks, NULL), 0);
		assert_int_equal(publisher->workers, cases[i].threads);
		assert_int_equal(sde_storage_info(storage, &info), 0);
		if (cases[i].chunk_size == T)
			assert_int_equal(info.segments, cases[i].file_system == FAULT_IO_EXT &&
					 cases[i].sync != SDE_SYNC_NONE ? 8 : 3);
		assert_int_equal(sde_storage_close(storage), 0);
	}
}

/* How often segment 0 was made writable, in a run that uses it ten times. */
static unsigned times_made_writable(enum sde_sync sync)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	static struct fault_io io;
	const struct sde__zarr_hooks hooks = { .io = &io.io };
	const double x[10] = { 0 };
	struct sde_storage *storage;

	fault_io_init(&io);
	options.chunk_size = T;
	options.segments = 2;
	options.sync = sync;
	options.threads = 1;
	options.overwrite = 1;
	assert_int_equal(sde__zarr_create(&storage, PATH, &ensemble, &options, &hooks, NULL), 0);
	for (unsigned i = 0; i < 20 * T; i++)
		assert_int_equal(sde_storage_store(storage, i, x, i), 0);
	assert_int_equal(sde_storage_save(storage), 0);
	assert_true(io.events < FAULT_IO_EVENTS);
	assert_int_equal(sde_storage_close(storage), 0);
	return fault_io_count(&io, "populate", "segment.0");
}

/* When it was laid, and when it was sealed, unless that was a moment before. */
static void what_is_writable_is_not_made_so_again(void **state)
{
	(void)state;
	assert_int_equal(times_made_writable(SDE_SYNC_SNAPSHOT), 1 + 10);
	assert_in_range(times_made_writable(SDE_SYNC_PUBLISH), 1 + 1, 1 + 9);
}

static void a_reset_publisher_starts_from_what_is_published(void **state)
{
	struct bench b;

	(void)state;
	bench_open(&b);
	fill(&b, 0, 2 * T);
	assert_int_equal(sde__publisher_save(b.publisher, 2 * T, NULL), 0);
	sde__publisher_pause(b.publisher);
	b.config.metadata.snapshots = T;
	assert_int_equal(sde__publisher_reset(b.publisher, NULL), 0);
	assert_int_equal(counts_of(&b).published, T);
	assert_int_equal(sde__publisher_limit(b.publisher), 3);
	fill(&b, T, T);
	assert_int_equal(sde__publisher_save(b.publisher, 2 * T, NULL), 0);
	assert_int_equal(counts_of(&b).published, 2 * T);
	bench_close(&b);
}

/* The file system under a publisher that is about to be paused. */
struct slow {
	struct bench *bench;
	bool write_seen;		/* atomic */
};

/* A chunk's write takes until truncate asks for a pause. */
static void wait_for_pause(void *ctx, const char *call, const char *name)
{
	struct sde__publisher *p;
	struct slow *slow = ctx;
	bool paused = false;

	(void)name;
	if (strcmp(call, "pwrite"))
		return;
	p = slow->bench->publisher;
	__atomic_store_n(&slow->write_seen, true, __ATOMIC_RELEASE);
	while (!paused) {
		usleep(1000);
		pthread_mutex_lock(&p->lock);
		paused = p->paused;
		pthread_mutex_unlock(&p->lock);
	}
}

static void pause_waits_for_the_step_under_way(void **state)
{
	static struct fault_io fault_fs;
	struct bench b;
	struct slow slow = { .bench = &b };

	(void)state;
	fault_io_init(&fault_fs);
	bench_open_on(&b, &fault_fs.io, false);
	fault_fs.before_ctx = &slow;
	fault_fs.before = wait_for_pause;
	fill(&b, 0, T);
	while (!__atomic_load_n(&slow.write_seen, __ATOMIC_ACQUIRE))
		usleep(1000);
	sde__publisher_pause(b.publisher);
	assert_int_equal(b.publisher->active, 0);
	/* the step is done, and no other one has begun: the file has no name yet */
	assert_true(b.publisher->job[0].shard.put > 0);
	assert_int_equal(counts_of(&b).held, 0);
	assert_true(scratch_exists(PATH "/data/c/0/0/0.tmp"));
	fault_fs.before = NULL;
	fault_fs.before_ctx = NULL;
	/* what was in the making is not kept */
	assert_int_equal(sde__publisher_reset(b.publisher, NULL), 0);
	assert_false(scratch_exists(PATH "/data/c/0/0/0.tmp"));
	fill(&b, 0, T);
	assert_int_equal(sde__publisher_save(b.publisher, T, NULL), 0);
	assert_int_equal(counts_of(&b).published, T);
	bench_close(&b);
}

/* Blocks of times end within chunks: the rest of the chunk waits for the next attempt. */
static void a_block_of_times_that_cannot_be_written_is_written_later(void **state)
{
	static struct fault_io fault_fs;
	const uint64_t size = 5000;	/* a block has 8192 */

	(void)state;
	for (unsigned long n = 3; n <= 4; n++) {
		struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
		struct sde__zarr_hooks hooks = { .io = &fault_fs.io, .synchronous = true };
		struct sde_storage *storage;
		struct twin twin;

		fault_io_init(&fault_fs);
		options.chunk_size = size;
		options.segments = 2;
		options.sync = SDE_SYNC_NONE;
		twin_init(&twin, &ensemble, 1, n);
		assert_int_equal(sde__zarr_create(&storage, PATH, &ensemble, &options, &hooks, NULL), 0);
		twin_store(&twin, storage, 2 * size);
		/* of two chunks, of a block of times, of a block of iterations */
		fault_io_arm(&fault_fs, n, EIO, false);
		fault_fs.only = "rename_at";
		assert_int_equal(sde_storage_save(storage), -EIO);
		twin_assert_sentence(twin_sentence(storage), n == 3 ? "time/c/0" : "iteration/c/0",
				     "cannot write");
		assert_string_equal(fault_fs.event[fault_fs.failed].name, "0.tmp");
		assert_int_equal(sde_storage_save(storage), 0);
		twin_check(&twin, storage);
		assert_int_equal(sde_storage_close(storage), 0);
		twin_check_path(&twin, PATH);
		twin_free(&twin);
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH), 0);
	}
}

#define MS UINT64_C(1000000)

static void step(struct sde__publisher *p, unsigned roles)
{
	pthread_mutex_lock(&p->lock);
	assert_true(sde__publisher_step(p, roles, p->raw));
	pthread_mutex_unlock(&p->lock);
}

static void make_two_chunks(struct bench *b)
{
	bench_open(b);
	b->publisher->config.sync = SDE_SYNC_CHUNK;
	fill(b, 0, 2 * T);
}

/* A chunk whose file is there in time costs no sync of the ring. */
static void only_chunks_that_are_late_are_synced_in_the_ring(void **state)
{
	struct sde__publisher *p;
	uint64_t upto = 0, filled;
	struct bench b;

	(void)state;
	bench_open(&b);
	p = b.publisher;
	p->config.sync = SDE_SYNC_CHUNK;
	assert_int_equal(sde__publisher_sync_due(p, 0, 0, &upto), UINT64_MAX);
	bench_close(&b);
	assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), PATH), 0);
	make_two_chunks(&b);
	p = b.publisher;
	filled = p->filled_at[0];
	/* the second is filled 30 ms later: its file may yet be written in time */
	p->filled_at[1] = filled + 30 * MS;
	assert_int_equal(sde__publisher_sync_due(p, 0, filled, &upto), filled + 50 * MS);
	assert_int_equal(sde__publisher_sync_due(p, 0, filled + 50 * MS, &upto), filled + 50 * MS);
	assert_int_equal(upto, T);
	/* 5 ms later: it goes along */
	p->filled_at[1] = filled + 5 * MS;
	assert_int_equal(sde__publisher_sync_due(p, 0, filled + 50 * MS, &upto), filled + 50 * MS);
	assert_int_equal(upto, 2 * T);
	/* the first has its file */
	step(p, SDE__ROLE_ENCODE);
	step(p, SDE__ROLE_WRITE);
	step(p, SDE__ROLE_SEAL);
	assert_int_equal(p->sealed, 1);
	assert_int_equal(sde__publisher_sync_due(p, 0, filled, &upto), filled + 55 * MS);
	assert_int_equal(upto, 2 * T);
	assert_int_equal(sde__ring_sync(b.ring, 2 * T, NULL), 0);
	assert_int_equal(sde__publisher_sync_due(p, 0, filled, &upto), UINT64_MAX);
	p->config.sync = SDE_SYNC_INTERVAL;
	p->config.sync_interval_ms = 7;
	assert_int_equal(sde__publisher_sync_due(p, 3, filled, &upto), 3 + 7 * MS);
	bench_close(&b);
}

/* To write it twice would only be later. */
static void a_chunk_on_its_way_into_a_file_is_not_synced_in_the_ring(void **state)
{
	struct sde__publisher *p;
	uint64_t upto = 0, filled;
	struct bench b;

	(void)state;
	make_two_chunks(&b);
	p = b.publisher;
	p->filled_at[1] = p->filled_at[0] + 30 * MS;
	filled = p->filled_at[0];
	/* begun, and not half encoded: there is one inner chunk, so this is by hand */
	step(p, SDE__ROLE_ENCODE);
	p->job[0].shard.inner_count = 4;
	p->job[0].ready = 1;
	assert_int_equal(sde__publisher_sync_due(p, 0, filled, &upto), filled + 50 * MS);
	p->job[0].ready = 2;
	assert_int_equal(sde__publisher_sync_due(p, 0, filled, &upto), filled + 75 * MS);
	/* encoded: the next one is waited for, and goes along with it */
	p->job[0].shard.inner_count = p->job[0].ready = 1;
	assert_int_equal(sde__publisher_sync_due(p, 0, filled, &upto), filled + 80 * MS);
	assert_int_equal(upto, 2 * T);
	/* unless its file has failed */
	p->job[0].lost = true;
	assert_int_equal(sde__publisher_sync_due(p, 0, filled, &upto), filled + 50 * MS);
	p->job[0].lost = false;
	while (p->job[1].ready < 1)
		step(p, SDE__ROLE_ENCODE);
	assert_int_equal(sde__publisher_sync_due(p, 0, filled, &upto), UINT64_MAX);
	bench_close(&b);
}

static bool may_step(struct sde__publisher *p, unsigned roles)
{
	bool did;

	pthread_mutex_lock(&p->lock);
	did = sde__publisher_step(p, roles, p->raw);
	pthread_mutex_unlock(&p->lock);
	return did;
}

/* What replaces a file has to be known as a whole: where its inner chunks may lie. */
static void a_file_that_is_replaced_is_written_at_once(void **state)
{
	static const char temporary[] = PATH "/data/c/0/0/0.tmp";
	struct sde__publisher *p;
	struct bench b;

	(void)state;
	bench_open_with(&b, &sde__io_posix, true, 2);
	p = b.publisher;
	for (unsigned i = 0; i < p->jobs; i++)
		p->job[i].enough = 1;
	fill(&b, 0, 2);
	assert_int_equal(sde__publisher_save(p, 2, NULL), 0);
	fill(&b, 2, T - 2);
	step(p, SDE__ROLE_ENCODE);
	/* looks, and leaves it */
	step(p, SDE__ROLE_WRITE);
	assert_false(may_step(p, SDE__ROLE_WRITE));
	step(p, SDE__ROLE_ENCODE);
	assert_false(may_step(p, SDE__ROLE_WRITE));
	assert_false(scratch_exists(temporary));
	step(p, SDE__ROLE_ENCODE);
	step(p, SDE__ROLE_WRITE);
	assert_true(scratch_exists(temporary));
	assert_int_equal(sde__publisher_save(p, T, NULL), 0);
	assert_false(scratch_exists(temporary));
	assert_int_equal(counts_of(&b).published, T);
	assert_int_equal(counts_of(&b).chunk_files, 1);
	/* a new one at any time */
	fill(&b, T, T);
	step(p, SDE__ROLE_ENCODE);
	step(p, SDE__ROLE_WRITE);
	assert_true(scratch_exists(PATH "/data/c/0/0/1.tmp"));
	assert_int_equal(sde__publisher_save(p, 2 * T, NULL), 0);
	assert_int_equal(counts_of(&b).published, 2 * T);
	bench_close(&b);
}

/* Chunks that take 20 ms, filled in 2. */
static void a_chunk_begins_when_it_can_be_sealed_in_time(void **state)
{
	struct sde__publisher *p;
	struct bench b;
	uint64_t now;

	(void)state;
	make_two_chunks(&b);
	p = b.publisher;
	now = p->filled_at[0];
	p->pace = (struct sde__pace){ .fill = 2 * MS, .service = 20 * MS, .full_at = now };
	/* without threads there is no clock */
	assert_int_equal(sde__publisher_begin_due(p, 2, now), 0);
	p->config.synchronous = false;
	/* two in front are sealed at 40, this one at 60 at the earliest: it is to be filled
	 * at 10, and begins at 8 */
	assert_int_equal(sde__publisher_begin_due(p, 2, now), now + 8 * MS);
	assert_true(sde__publisher_begin_due(p, 1, now) <= now);
	assert_int_equal(sde__publisher_begin_due(p, 0, now), 0);
	/* the one in front was begun upon when another was sealed */
	p->pace.sealed_at = now + 5 * MS;
	assert_int_equal(sde__publisher_begin_due(p, 2, now), now + 13 * MS);
	/* one that takes long to fill */
	p->pace.fill = 30 * MS;
	assert_true(sde__publisher_begin_due(p, 2, now) <= now);
	p->pace.fill = 2 * MS;
	/* no store had to wait for a second */
	assert_int_equal(sde__publisher_begin_due(p, 2, now + 1001 * MS), 0);
	p->pace.full_at = 0;
	assert_int_equal(sde__publisher_begin_due(p, 2, now), 0);
	/* a clock that has just begun */
	p->pace.full_at = p->filled_at[0] = MS;
	p->pace.sealed_at = 0;
	assert_int_equal(sde__publisher_begin_due(p, 1, 2 * MS), 0);
	p->filled_at[0] = now;
	p->pace.full_at = now;
	p->config.sync = SDE_SYNC_PUBLISH;
	assert_int_equal(sde__publisher_begin_due(p, 2, now), 0);
	p->config.synchronous = true;
	bench_close(&b);
}

/* Each has a stack of some MiB: at the third or so there is no room. */
static void a_thread_that_cannot_be_started_is_told(void **state)
{
	int status;
	pid_t child;

	(void)state;
	if (SANITIZED) {
		print_message("a sanitizer does not fit below a limit of addresses\n");
		skip();
	}
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		const rlim_t spare = (rlim_t)24 << 20;
		struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
		struct sde_storage *storage;
		struct sde_error error = { 0 };
		struct rlimit limit;
		unsigned long pages;
		FILE *file = fopen("/proc/self/statm", "r");

		if (!file || fscanf(file, "%lu", &pages) != 1)
			_exit(2);
		fclose(file);
		limit.rlim_cur = limit.rlim_max = pages * (rlim_t)sysconf(_SC_PAGESIZE) + spare;
		setrlimit(RLIMIT_AS, &limit);
		options.chunk_size = T;
		options.threads = 32;
		if (sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error) != -EAGAIN)
			_exit(3);
		_exit(strstr(error.text, "cannot start a thread") ? 0 : 4);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(scratch_entries("."), 0);
}

static void stopping_nothing_is_allowed(void **state)
{
	(void)state;
	sde__publisher_stop(NULL);
}

/* ------------------------------------------------------------------------
 * A faulty disk: thread-safe, and off until it is armed
 */

enum kind { ANY, WRITE, SYNC, SYNC_MAP, RENAME, OPEN, REMOVE, POPULATE, KINDS };

static struct faulty {
	struct sde__io io;
	enum kind only;
	long fail_at;			/* the n-th call from now; 0: none */
	bool for_good;
	int error;
	long calls;			/* atomic */
	int fired;			/* atomic */
} faulty;

static int fault(enum kind kind)
{
	long call;

	if (faulty.only != ANY && faulty.only != kind)
		return 0;
	call = __atomic_add_fetch(&faulty.calls, 1, __ATOMIC_RELAXED);
	if (!faulty.fail_at || call < faulty.fail_at || (call > faulty.fail_at && !faulty.for_good))
		return 0;
	__atomic_store_n(&faulty.fired, 1, __ATOMIC_RELAXED);
	return -faulty.error;
}

static int64_t faulty_pwrite(void *ctx, int fd, const void *in, size_t n, uint64_t offset)
{
	const int ret = fault(WRITE);

	(void)ctx;
	if (!ret)
		return sde__io_posix.pwrite(NULL, fd, in, n, offset);
	/* a full disk takes a part */
	if (n > 1)
		sde__io_posix.pwrite(NULL, fd, in, n / 2, offset);
	return ret;
}

static int faulty_sync(void *ctx, int fd)
{
	const int ret = fault(SYNC);

	(void)ctx;
	return ret ? ret : sde__io_posix.sync(NULL, fd);
}

static int faulty_sync_map(void *ctx, void *address, size_t size)
{
	const int ret = fault(SYNC_MAP);

	(void)ctx;
	return ret ? ret : sde__io_posix.sync_map(NULL, address, size);
}

static int faulty_rename_at(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	const int ret = fault(RENAME);

	(void)ctx;
	return ret ? ret : sde__io_posix.rename_at(NULL, from_dir, from, to_dir, to);
}

static int faulty_open_at(void *ctx, int dir, const char *name, int flags)
{
	const int ret = fault(OPEN);

	(void)ctx;
	return ret ? ret : sde__io_posix.open_at(NULL, dir, name, flags);
}

static int faulty_remove_at(void *ctx, int dir, const char *name, bool directory)
{
	const int ret = fault(REMOVE);

	(void)ctx;
	return ret ? ret : sde__io_posix.remove_at(NULL, dir, name, directory);
}

static int faulty_populate(void *ctx, void *address, size_t size)
{
	const int ret = fault(POPULATE);

	(void)ctx;
	return ret ? ret : sde__io_posix.populate(NULL, address, size);
}

/* Where segments that are used again have to be made writable. */
static int told_file_system(void *ctx, int fd, uint64_t *magic)
{
	(void)ctx;
	(void)fd;
	*magic = FAULT_IO_EXT;
	return 0;
}

static void faulty_init(void)
{
	memset(&faulty, 0, sizeof(faulty));
	faulty.io = sde__io_posix;
	faulty.io.pwrite = faulty_pwrite;
	faulty.io.sync = faulty_sync;
	faulty.io.sync_map = faulty_sync_map;
	faulty.io.rename_at = faulty_rename_at;
	faulty.io.open_at = faulty_open_at;
	faulty.io.remove_at = faulty_remove_at;
	faulty.io.populate = faulty_populate;
	faulty.io.file_system = told_file_system;
}

static void arm(enum kind only, long fail_at, int error, bool for_good)
{
	faulty.only = only;
	faulty.fail_at = fail_at;
	faulty.error = error;
	faulty.for_good = for_good;
	faulty.calls = 0;
	faulty.fired = 0;
}

/* ------------------------------------------------------------------------
 * The sweep
 */

struct sweep {
	bool threads;
	enum sde_sync sync;
	struct twin twin;
	struct sde_storage *storage;
	int first;			/* the first error that was returned */
};

static void note(struct sweep *s, int ret)
{
	if (!ret)
		return;
	assert_true(ret == -faulty.error);
	assert_true(faulty.fired);
	twin_assert_sentence(twin_sentence(s->storage), "'", NULL);
	if (!s->first)
		s->first = ret;
}

static uint64_t committed(struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	assert_int_equal(sde_storage_info(storage, &info), 0);
	return info.committed;
}

static void store(struct sweep *s, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		int ret;

		twin_next(&s->twin);
		ret = sde_storage_store(s->storage, s->twin.time, s->twin.snapshot,
					s->twin.iteration);
		note(s, ret);
		/* only the policy `snapshot` leaves it open whether it was kept */
		if (!ret || (s->sync == SDE_SYNC_SNAPSHOT &&
			     committed(s->storage) > s->twin.count))
			twin_keep(&s->twin);
	}
}

/* Create, store, save, sync, store: what may fail is what is done to the disk. */
static void sweep_begin(struct sweep *s, uint64_t seed)
{
	const struct sde__zarr_hooks hooks = { .io = &faulty.io, .synchronous = !s->threads };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_error error = { 0 };

	options.chunk_size = T;
	options.trajectories_per_chunk = 3;
	options.segments = 2;
	options.threads = 2;
	options.sync = s->sync;
	options.sync_interval_ms = 1;
	options.overwrite = 1;
	arm(ANY, 0, EIO, false);
	twin_init(&s->twin, &ensemble, 1, seed);
	s->first = 0;
	twin_assert_ok(sde__zarr_create(&s->storage, PATH, &ensemble, &options, &hooks, &error),
		       error.text);
}

static void workload(struct sweep *s)
{
	store(s, T + 1);
	note(s, sde_storage_save(s->storage));
	store(s, 2 * T);
	note(s, sde_storage_sync(s->storage));
	store(s, T);
	note(s, sde_storage_save(s->storage));
}

/* The n-th call fails once: save makes it good, and nothing is missing. */
static bool fail_once(struct sweep *s, enum kind kind, long n, int code)
{
	bool fired;

	sweep_begin(s, (uint64_t)n);
	arm(kind, n, code, false);
	workload(s);
	fired = faulty.fired;
	/* whatever happened, all that was taken is there */
	arm(ANY, 0, EIO, false);
	twin_check(&s->twin, s->storage);
	twin_assert_ok(sde_storage_save(s->storage), twin_sentence(s->storage));
	s->first = 0;
	store(s, 1);
	assert_int_equal(s->first, 0);
	twin_check(&s->twin, s->storage);
	twin_assert_ok(sde_storage_close(s->storage), "close");
	twin_check_path(&s->twin, PATH);
	twin_free(&s->twin);
	return fired;
}

/* From the n-th call on all fail: close says so, the ring stays, resume recovers. */
static bool fail_for_good(struct sweep *s, enum kind kind, long n, int code)
{
	const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = true };
	struct sde_error error = { 0 };
	bool fired;
	int ret;

	sweep_begin(s, (uint64_t)n);
	arm(kind, n, code, true);
	workload(s);
	fired = faulty.fired;
	ret = sde_storage_close_error(s->storage, &error);
	if (ret) {
		assert_int_equal(ret, -code);
		assert_int_equal(error.code, ret);
		twin_assert_sentence(error.text, "'", NULL);
	}
	/* all may have been done before it failed; and without msync it is done
	 * by chunk files */
	if (s->first && kind != SYNC_MAP)
		assert_int_equal(ret, -code);
	arm(ANY, 0, EIO, false);
	twin_check_path(&s->twin, PATH);
	memset(&error, 0, sizeof(error));
	twin_assert_ok(sde__zarr_resume(&s->storage, PATH, NULL, &hooks, &error), error.text);
	twin_check(&s->twin, s->storage);
	twin_store(&s->twin, s->storage, T);
	twin_assert_ok(sde_storage_close(s->storage), "close");
	twin_check_path(&s->twin, PATH);
	assert_false(scratch_exists(PATH "/data/.ring"));
	twin_free(&s->twin);
	return fired;
}

/* Every call of these kinds, one by one, until the workload has no more. */
static void sweep(bool threads, enum sde_sync policy, bool for_good)
{
	static const enum kind kinds[] = { WRITE, SYNC, SYNC_MAP, RENAME, POPULATE };

	faulty_init();
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		struct sweep s = { .threads = threads, .sync = policy };
		int misses = 0;
		long n = 1;

		/* with threads, the number of calls varies from run to run, and every
		 * other one is enough */
		for (; misses < (threads ? 3 : 1); n += threads ? 2 : 1) {
			const int code = (threads ? n / 2 : n) % 2 ? ENOSPC : EIO;
			const bool fired = for_good ? fail_for_good(&s, kinds[k], n, code) :
					   fail_once(&s, kinds[k], n, code);

			misses = fired ? 0 : misses + 1;
		}
	}
}

static void a_single_failure_costs_nothing(void **state)
{
	(void)state;
	sweep(false, SDE_SYNC_CHUNK, false);
	sweep(false, SDE_SYNC_SNAPSHOT, false);
	sweep(false, SDE_SYNC_NONE, false);
}

static void a_single_failure_with_threads_costs_nothing(void **state)
{
	(void)state;
	sweep(true, SDE_SYNC_CHUNK, false);
}

static void a_permanent_failure_costs_nothing(void **state)
{
	(void)state;
	sweep(false, SDE_SYNC_CHUNK, true);
	sweep(false, SDE_SYNC_SNAPSHOT, true);
}

static void a_permanent_failure_with_threads_costs_nothing(void **state)
{
	(void)state;
	sweep(true, SDE_SYNC_INTERVAL, true);
}

/* A create that fails at any call leaves nothing behind. */
static void a_create_that_fails_leaves_nothing_behind(void **state)
{
	const struct sde__zarr_hooks hooks = { .io = &faulty.io, .synchronous = true };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	long n = 1;

	(void)state;
	faulty_init();
	options.chunk_size = T;
	for (;; n++) {
		struct sde_error error = { 0 };
		const int code = n % 2 ? ENOSPC : EIO;
		int ret;

		/* removing fails only where something would be there to remove */
		arm(ANY, n, code, false);
		ret = sde__zarr_create(&storage, PATH, &ensemble, &options, &hooks, &error);
		if (!ret) {
			const bool fired = faulty.fired;

			arm(ANY, 0, EIO, false);
			twin_assert_ok(sde_storage_close(storage), "close");
			assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(),
							     PATH), 0);
			if (!fired)
				break;
			continue;
		}
		assert_true(faulty.fired);
		assert_null(storage);
		twin_assert_is(ret, -code, error.text);
		twin_assert_sentence(error.text, "'", NULL);
		if (scratch_entries("."))
			print_error("call %ld left something: %s\n", n, error.text);
		assert_int_equal(scratch_entries("."), 0);
	}
}

/*
 * The n-th call of a truncate fails; false if there were fewer. Then close goes on with
 * it, or fails as well, if the fault stays, and resume finds one store or the other.
 */
static bool truncate_fails(long n, bool stays)
{
	const struct sde__zarr_hooks plain = { .io = &sde__io_posix, .synchronous = true };
	struct sweep s = { .sync = SDE_SYNC_CHUNK };
	struct sde_error error = { 0 };
	uint64_t left;
	bool fired;
	int ret;

	sweep_begin(&s, (uint64_t)n);
	store(&s, 3 * T + 1);
	twin_assert_ok(sde_storage_save(s.storage), "save");
	arm(ANY, n, EIO, stays);
	ret = sde_storage_truncate(s.storage, T + 2);
	fired = faulty.fired;
	if (!stays || !ret)
		arm(ANY, 0, EIO, false);
	if (ret) {
		assert_int_equal(ret, -EIO);
		twin_assert_sentence(twin_sentence(s.storage), "'", NULL);
		twin_assert_is(sde_storage_close_error(s.storage, &error), stays ? -EIO : 0, error.text);
		if (stays)
			twin_assert_sentence(error.text, "'", NULL);
		arm(ANY, 0, EIO, false);
		memset(&error, 0, sizeof(error));
		twin_assert_ok(sde__zarr_resume(&s.storage, PATH, NULL, &plain, &error), error.text);
	}
	left = committed(s.storage);
	assert_true(left == T + 2 || (ret && left == 3 * T + 1));
	twin_truncate(&s.twin, left);
	twin_check(&s.twin, s.storage);
	twin_store(&s.twin, s.storage, T);
	twin_assert_ok(sde_storage_close(s.storage), "close");
	twin_check_path(&s.twin, PATH);
	twin_free(&s.twin);
	return fired;
}

static void a_truncate_that_fails_leaves_one_or_the_other(void **state)
{
	(void)state;
	faulty_init();
	for (int stays = 0; stays < 2; stays++)
		for (long n = 1; truncate_fails(n, stays); n++)
			;
}

/* A resume that fails at any call leaves all that the next one needs. */
static void a_resume_that_fails_can_be_tried_again(void **state)
{
	const struct sde__zarr_hooks hooks = { .io = &faulty.io, .synchronous = true };
	int ret = -1;

	(void)state;
	faulty_init();
	for (long n = 1; ret; n++) {
		struct sweep s = { .sync = SDE_SYNC_CHUNK };
		struct sde_error error = { 0 };

		sweep_begin(&s, (uint64_t)n);
		store(&s, T + 1);
		/* close fails, the ring stays */
		arm(RENAME, 1, EIO, true);
		assert_int_equal(sde_storage_close(s.storage), -EIO);
		arm(ANY, n, EIO, false);
		ret = sde__zarr_resume(&s.storage, PATH, NULL, &hooks, &error);
		if (ret) {
			twin_assert_is(ret, -EIO, error.text);
			twin_assert_sentence(error.text, "'", NULL);
		} else if (faulty.fired) {
			ret = 1;	/* it did without that call */
		}
		arm(ANY, 0, EIO, false);
		if (ret < 0) {
			twin_check_path(&s.twin, PATH);
			memset(&error, 0, sizeof(error));
			twin_assert_ok(sde__zarr_resume(&s.storage, PATH, NULL, &hooks, &error),
				       error.text);
		}
		twin_check(&s.twin, s.storage);
		twin_assert_ok(sde_storage_close(s.storage), "close");
		twin_check_path(&s.twin, PATH);
		twin_free(&s.twin);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WATCHED_TEST(room_is_made_one_chunk_at_a_time),
		WATCHED_TEST(save_publishes_a_partial_chunk_and_replaces_it),
		WATCHED_TEST(a_failure_stays_until_save_succeeds),
		WATCHED_TEST(of_two_chunks_the_older_is_encoded_first),
		WATCHED_TEST(files_that_are_whole_are_synced_in_a_row),
		WATCHED_TEST(a_file_that_was_ended_is_not_synced_again),
		WATCHED_TEST(a_file_that_cannot_be_ended_is_made_again),
		WATCHED_TEST(a_file_that_is_being_ended_is_left_alone),
		WATCHED_TEST(only_small_chunks_on_a_device_have_writers),
		WATCHED_TEST(what_is_writable_is_not_made_so_again),
		WATCHED_TEST(a_file_that_cannot_be_synced_holds_up_those_behind_it),
		WATCHED_TEST(a_reset_publisher_starts_from_what_is_published),
		WATCHED_TEST(pause_waits_for_the_step_under_way),
		WATCHED_TEST(a_block_of_times_that_cannot_be_written_is_written_later),
		WATCHED_TEST(only_chunks_that_are_late_are_synced_in_the_ring),
		WATCHED_TEST(a_chunk_on_its_way_into_a_file_is_not_synced_in_the_ring),
		WATCHED_TEST(a_file_that_is_replaced_is_written_at_once),
		WATCHED_TEST(a_chunk_begins_when_it_can_be_sealed_in_time),
		WATCHED_TEST(a_thread_that_cannot_be_started_is_told),
		WATCHED_TEST(stopping_nothing_is_allowed),
		WATCHED_TEST(a_single_failure_costs_nothing),
		WATCHED_TEST(a_single_failure_with_threads_costs_nothing),
		WATCHED_TEST(a_permanent_failure_costs_nothing),
		WATCHED_TEST(a_permanent_failure_with_threads_costs_nothing),
		WATCHED_TEST(a_create_that_fails_leaves_nothing_behind),
		WATCHED_TEST(a_truncate_that_fails_leaves_one_or_the_other),
		WATCHED_TEST(a_resume_that_fails_can_be_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
