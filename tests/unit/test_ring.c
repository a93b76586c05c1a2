/* SPDX-License-Identifier: MIT */
/*
 * The ring, writer and reader together: what the counters promise, in which
 * order things become durable, and what a reader may believe.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "ring.h"
#include "ring_reader.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define T 4
#define S 3
#define PAYLOAD 80	/* 2 * 5 * 8 */
#define SLOT 192	/* 64 + 128 */

static struct fault_io fault;
/* every test runs for both kinds of ring */
static enum sde_ring_io how;

/* A call that puts what a file has on the device, and one that changes a counter. */
static const char *sync_call(void)
{
	return how == SDE_RING_IO_WRITTEN ? "sync" : "sync_map";
}

static const char *counter_call(void)
{
	return how == SDE_RING_IO_WRITTEN ? "pwrite" : "commit";
}

/* Did that event give this counter this value? Of a pwrite only the place is known. */
static bool sets(int event, enum sde__ring_counter counter, uint64_t value)
{
	return fault.event[event].value == (how == SDE_RING_IO_WRITTEN ? (uint64_t)counter : value);
}

/* Bytes of a sync_map; a sync is of all. */
static void assert_synced(int event, uint64_t bytes)
{
	assert_true(event >= 0);
	if (how == SDE_RING_IO_MAPPED)
		assert_int_equal(fault.event[event].value, bytes);
}

static struct sde__ring_header header_of(unsigned segments)
{
	struct sde__ring_header h = {
		.layout = { .geometry = { .dimension = 2, .trajectories = 5, .chunk_size = T,
					  .inner_width = 1, .dtype = SDE_FLOAT64 },
			    .order = SDE_LAYOUT_DIMENSION_TRAJECTORY, .segments = segments },
		.ring_io = how,
	};

	assert_int_equal(sde__slot_layout_derive(&h.layout, NULL), 0);
	memset(h.run, 7, sizeof(h.run));
	return h;
}

static int prepare(struct sde__ring **ring, struct sde_error *error)
{
	struct sde__ring_header h = header_of(S);

	return sde__ring_prepare(ring, &fault.io, scratch_directory(), &h, true, error);
}

static struct sde__ring *enacted(uint64_t base, uint64_t committed, uint64_t epoch)
{
	struct sde__ring *ring = NULL;

	assert_int_equal(prepare(&ring, NULL), 0);
	assert_int_equal(sde__ring_enact(ring, base, committed, epoch, true, NULL), 0);
	return ring;
}

static struct sde__ring_reader *reader_of(void)
{
	struct sde__ring_reader *reader = NULL;
	struct sde_error error = { 0 };

	if (sde__ring_reader_open(&reader, &fault.io, scratch_directory(), &error))
		fail_msg("%s", error.text);
	return reader;
}

static void fill(struct sde__ring *ring, uint64_t index)
{
	unsigned char payload[PAYLOAD];
	const struct sde__slot_head head = { (double)index / 2, (int64_t)(10 * index), 0, false };

	memset(payload, (int)(index % 251 + 1), sizeof(payload));
	sde__slot_head_write(sde__ring_slot(ring, index), &head);
	memcpy(sde__ring_slot(ring, index) + 64, payload, PAYLOAD);
}

static void store(struct sde__ring *ring, uint64_t index)
{
	assert_int_equal(sde__ring_claim(ring, index, NULL), 0);
	fill(ring, index);
	assert_int_equal(sde__ring_commit(ring, index, NULL), 0);
}

static void store_all(struct sde__ring *ring, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to; i++)
		store(ring, i);
}

static void assert_read(const struct sde__ring_reader *reader, uint64_t index, uint64_t expected)
{
	unsigned char payload[PAYLOAD];
	double time;

	assert_int_equal(sde__ring_reader_read(reader, index, 64, payload, PAYLOAD, NULL), 0);
	for (size_t i = 0; i < PAYLOAD; i++)
		assert_int_equal(payload[i], expected % 251 + 1);
	assert_int_equal(sde__ring_reader_read(reader, index, 0, &time, 8, NULL), 0);
	assert_true(time == (double)expected / 2);
}

static void poke(const char *path, long offset, const void *bytes, size_t size)
{
	const int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, size, offset), (ssize_t)size);
	close(fd);
}

/* ------------------------------------------------------------------------ */

static void a_header_appears_only_when_enacted(void **state)
{
	struct sde__ring *ring = NULL;
	struct sde__ring_reader *reader;
	struct stat st;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(prepare(&ring, NULL), 0);
	assert_false(scratch_exists("header"));
	assert_int_equal(sde__ring_reader_open(&reader, &fault.io, scratch_directory(), NULL),
			 -ENOENT);
	assert_null(reader);
	assert_int_equal(sde__ring_enact(ring, 0, 0, 0, true, NULL), 0);
	assert_false(scratch_exists("header.tmp"));
	assert_int_equal(stat("header", &st), 0);
	assert_int_equal(st.st_size, 4096);
	assert_int_equal(stat("segment.2", &st), 0);
	assert_int_equal(st.st_size, 4096);
	assert_true(st.st_blocks * 512 >= 4096);	/* allocated, not sparse */
	assert_int_equal(scratch_entries("."), S + 1);
	sde__ring_free(ring);
	assert_int_equal(scratch_entries("."), S + 1);
	assert_int_equal(fault.handles, 0);
	assert_int_equal(fault.maps, 0);
	sde__ring_free(NULL);
}

static void slots_are_durable_before_the_header_gets_its_name(void **state)
{
	struct sde__ring *ring = NULL;
	int rename, header, slots, directory;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(prepare(&ring, NULL), 0);
	for (int s = 0; s < S; s++) {
		char name[16];
		int allocate, sync;

		snprintf(name, sizeof(name), "segment.%d", s % 8);
		allocate = fault_io_find(&fault, 0, "allocate", name);
		sync = fault_io_find(&fault, 0, "sync", name);
		assert_true(allocate >= 0 && allocate < sync);
	}
	for (uint64_t i = T; i < 2 * T + 2; i++)
		fill(ring, i);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_enact(ring, T, 2 * T + 2, 3, true, NULL), 0);
	rename = fault_io_find(&fault, 0, "rename_at", "header.tmp");
	header = fault_io_find(&fault, 0, sync_call(), "header.tmp");
	slots = fault_io_find(&fault, 0, sync_call(), "segment.1");
	assert_true(slots >= 0 && header > slots && rename > header);
	slots = fault_io_find(&fault, 0, sync_call(), "segment.2");
	assert_true(slots >= 0 && header > slots);
	/* no counter is set before its slots are durable */
	assert_true(fault_io_find(&fault, 0, counter_call(), "header.tmp") > slots);
	directory = fault_io_find(&fault, header + 1, "sync", NULL);
	assert_true(directory > header && directory < rename);
	assert_true(fault_io_find(&fault, rename, "sync", NULL) > rename);
	sde__ring_free(ring);
}

static void an_enact_that_need_not_last_syncs_nothing(void **state)
{
	struct sde__ring *ring = NULL;
	struct sde__ring_counters c;
	struct sde__ring_reader *reader;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(prepare(&ring, NULL), 0);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_enact(ring, T, T + 1, 1, false, NULL), 0);
	assert_int_equal(fault_io_count(&fault, "sync", NULL), 0);
	assert_int_equal(fault_io_count(&fault, "sync_map", NULL), 0);
	reader = reader_of();
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	assert_int_equal(c.committed, T + 1);
	assert_int_equal(c.synced, 0);	/* nothing was */
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
}

static void any_failing_call_of_laying_a_ring_leaves_no_file(void **state)
{
	struct sde_error error;
	struct sde__ring *ring;

	(void)state;
	for (unsigned long n = 1; ; n++) {
		int ret;

		fault_io_init(&fault);
		fault_io_arm(&fault, n, ENOSPC, false);
		memset(&error, 0, sizeof(error));
		ret = prepare(&ring, &error);
		if (!fault.fired) {
			assert_int_equal(ret, 0);
			sde__ring_free(ring);
			break;
		}
		/* removal of a stale temporary, close: not needed */
		if (!ret) {
			sde__ring_free(ring);
			sde__ring_remove_files(&sde__io_posix, scratch_directory(), true, NULL);
			continue;
		}
		assert_int_equal(ret, -ENOSPC);
		assert_int_equal(error.code, -ENOSPC);
		assert_true(strstr(error.text, "'data/.ring/") || strstr(error.text, "/boot_id'") ||
			    strstr(error.text, "cannot list 'data/.ring'"));
		assert_null(ring);
		assert_int_equal(scratch_entries("."), 0);
		assert_int_equal(fault.handles, 0);
		assert_int_equal(fault.maps, 0);
	}
}

static void a_full_disk_is_told_with_the_bytes_it_takes(void **state)
{
	struct sde_error error = { 0 };
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	fault.only = "allocate";
	fault_io_arm(&fault, 2, ENOSPC, true);
	assert_int_equal(prepare(&ring, &error), -ENOSPC);
	assert_non_null(strstr(error.text, "4096 bytes"));
	assert_non_null(strstr(error.text, "No space left"));
}

static void any_failing_call_of_enact_is_returned(void **state)
{
	(void)state;
	for (unsigned long n = 1; ; n++) {
		struct sde_error error = { 0 };
		struct sde__ring *ring = NULL;
		int ret;

		fault_io_init(&fault);
		assert_int_equal(prepare(&ring, NULL), 0);
		fault_io_arm(&fault, n, EIO, true);
		ret = sde__ring_enact(ring, 0, T + 1, 0, true, &error);
		sde__ring_free(ring);
		if (!fault.fired || fault.calls < n)
			break;
		if (ret) {
			assert_int_equal(ret, -EIO);
			assert_non_null(strstr(error.text, "data/.ring/"));
		}
		assert_true(ret || fault_io_count(&fault, "rename_at", NULL) == 1);
		assert_int_equal(fault.handles, 0);
	}
}

static void a_new_ring_takes_the_place_of_an_older_larger_one(void **state)
{
	struct sde__ring_header h = header_of(7);
	struct sde__ring *ring = NULL;

	(void)state;
	fault_io_init(&fault);
	assert_int_equal(sde__ring_prepare(&ring, &fault.io, scratch_directory(), &h, true, NULL), 0);
	assert_int_equal(sde__ring_enact(ring, 0, 0, 0, true, NULL), 0);
	sde__ring_free(ring);
	scratch_write("lock", "1\n", 2);
	assert_int_equal(prepare(&ring, NULL), 0);
	assert_false(scratch_exists("header"));
	assert_false(scratch_exists("segment.3"));
	assert_true(scratch_exists("lock"));
	sde__ring_free(ring);
	assert_int_equal(sde__ring_remove_files(&fault.io, scratch_directory(), true, NULL), 0);
	assert_int_equal(scratch_entries("."), 1);
	assert_int_equal(sde__ring_remove_files(&fault.io, scratch_directory(), true, NULL), 0);
}

static void the_header_is_removed_first(void **state)
{
	struct sde__ring *ring;
	struct sde_error error = { 0 };

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	sde__ring_free(ring);
	fault_io_arm(&fault, 1, EACCES, false);
	assert_int_equal(sde__ring_remove_files(&fault.io, scratch_directory(), true, &error), -EACCES);
	assert_non_null(strstr(error.text, "header"));
	assert_true(scratch_exists("segment.0"));
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_remove_files(&fault.io, scratch_directory(), true, NULL), 0);
	assert_int_equal(fault_io_find(&fault, 0, "remove_at", NULL), 0);
	assert_string_equal(fault.event[0].name, "header");
	/* and is gone on the device before a segment can be */
	assert_int_equal(fault_io_find(&fault, 1, "sync", NULL), 1);
}

static void a_slots_address_is_a_function_of_its_index(void **state)
{
	static const uint64_t starts[3] = { 0, UINT64_C(1) << 40, (UINT64_C(1) << 62) + 5 };
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	assert_int_equal(ring->layout.slot_size, SLOT);
	for (int k = 0; k < 3; k++)
		for (uint64_t i = starts[k]; i < starts[k] + 40; i++) {
			unsigned char *expected = ring->segment[i / T % S].base + i % T * SLOT;

			assert_ptr_equal(sde__ring_slot(ring, i), expected);
			assert_ptr_equal(sde__ring_slot(ring, i + T * S), expected);
			assert_int_equal((uintptr_t)expected % 64, 0);
		}
	sde__ring_free(ring);
}

static void claimed_is_raised_before_and_committed_after(void **state)
{
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 9);
	reader = reader_of();
	for (uint64_t i = 0; i < 5; i++) {
		assert_int_equal(sde__ring_claim(ring, i, NULL), 0);
		assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
		assert_int_equal(c.claimed, i + 1);
		assert_int_equal(c.committed, i);
		fill(ring, i);
		assert_int_equal(sde__ring_commit(ring, i, NULL), 0);
		assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
		assert_int_equal(c.claimed, i + 1);
		assert_int_equal(c.committed, i + 1);
		assert_int_equal(sde__ring_get(ring, SDE__RING_COMMITTED), i + 1);
		assert_read(reader, i, i);
	}
	assert_int_equal(c.synced, 0);
	assert_int_equal(c.sealed, 0);
	assert_int_equal(c.base, 0);
	assert_int_equal(c.epoch, 9);
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
	assert_int_equal(fault.handles, 0);
}

static void sync_covers_exactly_what_is_not_synced_yet(void **state)
{
	struct sde__ring *ring;
	int event;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, 6);
	assert_int_equal(sde__ring_sync(ring, 3, NULL), 0);
	assert_int_equal(sde__ring_get(ring, SDE__RING_SYNCED), 3);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_sync(ring, 6, NULL), 0);
	event = fault_io_find(&fault, 0, sync_call(), "segment.0");
	assert_synced(event, SLOT);	/* slot 3 */
	event = fault_io_find(&fault, 0, sync_call(), "segment.1");
	assert_synced(event, 2 * SLOT);
	/* the counter after the payload, and then on the device itself */
	assert_true(fault_io_find(&fault, event, counter_call(), "header.tmp") > event);
	event = fault_io_find(&fault, event, counter_call(), "header.tmp");
	assert_true(sets(event, SDE__RING_SYNCED, 6));
	assert_true(fault_io_find(&fault, event, sync_call(), "header.tmp") > event);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_sync(ring, 5, NULL), 0);
	assert_int_equal(fault.calls, 0);
	assert_int_equal(sde__ring_get(ring, SDE__RING_SYNCED), 6);
	sde__ring_free(ring);
}

static void a_failed_sync_does_not_raise_synced(void **state)
{
	struct sde_error error = { 0 };
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, 6);
	fault_io_arm(&fault, 2, EIO, false);	/* segment.1 */
	assert_int_equal(sde__ring_sync(ring, 6, &error), -EIO);
	assert_non_null(strstr(error.text, "segment.1"));
	assert_int_equal(sde__ring_get(ring, SDE__RING_SYNCED), 0);
	fault_io_arm(&fault, 1, EIO, true);
	assert_int_equal(sde__ring_sync(ring, 6, NULL), -EIO);
	fault_io_arm(&fault, 3, EIO, false);	/* the header */
	assert_int_equal(sde__ring_sync(ring, 6, NULL), -EIO);
	assert_int_equal(sde__ring_synced(ring), 0);
	/* the lock is free: this would wait for ever */
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_sync(ring, 6, NULL), 0);
	/* a counter that is set, and not on the device, is not taken for synced */
	assert_int_equal(fault_io_count(&fault, sync_call(), "header.tmp"), 1);
	assert_int_equal(sde__ring_synced(ring), 6);
	sde__ring_free(ring);
}

/* What info tells is acted on at once, perhaps by another thread. */
static void look_at_synced(void *ctx, const char *call, const char *name)
{
	struct sde__ring *ring = *(struct sde__ring **)ctx;

	(void)call;
	(void)name;
	assert_true(sde__ring_synced(ring) < 6);
}

static void synced_is_told_after_the_header_is_on_the_device(void **state)
{
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, 5);
	assert_int_equal(sde__ring_sync(ring, 3, NULL), 0);
	assert_int_equal(sde__ring_synced(ring), 3);
	fault.before = look_at_synced;
	fault.before_ctx = &ring;
	assert_int_equal(sde__ring_claim(ring, 5, NULL), 0);
	assert_int_equal(sde__ring_commit_synced(ring, 5, NULL), 0);
	assert_int_equal(sde__ring_synced(ring), 6);
	fault.before = NULL;
	assert_int_equal(sde__ring_suspend(ring, true, NULL), 0);
	assert_int_equal(sde__ring_synced(ring), 0);
	fault.before = look_at_synced;
	assert_int_equal(sde__ring_restart(ring, 0, 6, 1, true, NULL), 0);
	fault.before = NULL;
	assert_int_equal(sde__ring_synced(ring), 6);
	sde__ring_free(ring);
}

/* The kernel forgets what it could not write, unless it is dirty again. */
static void a_failed_sync_makes_its_slots_dirty_again(void **state)
{
	const char *call = how == SDE_RING_IO_WRITTEN ? "pwrite" : "populate";
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, 6);
	assert_int_equal(sde__ring_sync(ring, 2, NULL), 0);
	fault_io_arm(&fault, 2, EIO, false);	/* segment.1 */
	assert_int_equal(sde__ring_sync(ring, 6, NULL), -EIO);
	assert_int_equal(fault_io_count(&fault, call, "segment.0"), 1);
	assert_int_equal(fault_io_count(&fault, call, "segment.1"), 1);
	assert_true(fault_io_find(&fault, 0, call, "segment.0") >
		    fault_io_find(&fault, 0, sync_call(), "segment.1"));
	assert_int_equal(sde__ring_get(ring, SDE__RING_SYNCED), 2);
	sde__ring_free(ring);
}

static void sync_leaves_sealed_slots_alone(void **state)
{
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, 10);
	assert_int_equal(sde__ring_seal(ring, 2 * T, false, NULL), 0);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_sync(ring, 10, NULL), 0);
	assert_int_equal(fault_io_count(&fault, sync_call(), "segment.0"), 0);
	assert_int_equal(fault_io_count(&fault, sync_call(), "segment.1"), 0);
	assert_int_equal(fault_io_count(&fault, sync_call(), "segment.2"), 1);
	sde__ring_free(ring);
}

static void seal_puts_the_counter_on_the_device(void **state)
{
	struct sde_error error = { 0 };
	struct sde__ring *ring;
	int commit;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, T + 1);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_seal(ring, T, true, NULL), 0);
	assert_int_equal(sde__ring_get(ring, SDE__RING_SEALED), T);
	commit = fault_io_find(&fault, 0, counter_call(), "header.tmp");
	assert_true(commit >= 0);
	assert_true(fault_io_find(&fault, commit, sync_call(), "header.tmp") > commit);
	assert_int_equal(fault_io_find(&fault, 2, counter_call(), "header.tmp"), -1);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_seal(ring, T, false, NULL), 0);
	assert_int_equal(fault_io_count(&fault, sync_call(), NULL), 0);
	fault_io_arm(&fault, 1, EIO, false);
	assert_int_equal(sde__ring_seal(ring, T, true, &error), -EIO);
	assert_non_null(strstr(error.text, "header"));
	sde__ring_free(ring);
}

static void a_synced_commit_counts_only_once_it_is_on_the_device(void **state)
{
	struct sde__ring *ring;
	int slots, commit;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, 2);
	assert_int_equal(sde__ring_claim(ring, 2, NULL), 0);
	fill(ring, 2);
	fault_io_arm(&fault, 1, EIO, false);
	assert_int_equal(sde__ring_commit_synced(ring, 2, NULL), -EIO);
	assert_int_equal(sde__ring_get(ring, SDE__RING_COMMITTED), 2);
	assert_int_equal(sde__ring_get(ring, SDE__RING_SYNCED), 0);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_commit_synced(ring, 2, NULL), 0);
	slots = fault_io_find(&fault, 0, sync_call(), "segment.0");
	assert_synced(slots, 3 * SLOT);
	commit = fault_io_find(&fault, 0, counter_call(), "header.tmp");
	assert_true(slots >= 0 && commit > slots);
	assert_true(fault_io_find(&fault, commit, sync_call(), "header.tmp") > commit);
	assert_int_equal(sde__ring_get(ring, SDE__RING_COMMITTED), 3);
	assert_int_equal(sde__ring_get(ring, SDE__RING_SYNCED), 3);
	sde__ring_free(ring);
}

static void a_synced_commit_leaves_sealed_slots_alone(void **state)
{
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, T);
	assert_int_equal(sde__ring_seal(ring, T, false, NULL), 0);
	assert_int_equal(sde__ring_claim(ring, T, NULL), 0);
	fill(ring, T);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_commit_synced(ring, T, NULL), 0);
	assert_int_equal(fault_io_count(&fault, sync_call(), "segment.0"), 0);
	assert_int_equal(fault_io_count(&fault, sync_call(), "segment.1"), 1);
	assert_int_equal(sde__ring_get(ring, SDE__RING_SYNCED), T + 1);
	sde__ring_free(ring);
}

static void recycle_makes_the_chunks_own_segment_writable(void **state)
{
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_recycle(ring, 7, NULL), 0);
	assert_int_equal(fault_io_count(&fault, "populate", "segment.1"),
			 how == SDE_RING_IO_MAPPED);
	fault_io_arm(&fault, 1, ENOSPC, false);
	assert_int_equal(sde__ring_recycle(ring, 7, NULL),
			 how == SDE_RING_IO_MAPPED ? -ENOSPC : 0);
	sde__ring_free(ring);
}

/* What is never written back stays writable: there is nothing to do. */
static void recycle_leaves_a_ring_in_memory_alone(void **state)
{
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	fault.file_system = FAULT_IO_TMPFS;
	ring = enacted(0, 0, 0);
	fault_io_arm(&fault, 1, ENOSPC, false);
	assert_int_equal(sde__ring_recycle(ring, 7, NULL), 0);
	assert_false(fault.fired);
	sde__ring_free(ring);
}

static void a_slot_is_intact_until_it_is_claimed_again(void **state)
{
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 2);
	reader = reader_of();
	store_all(ring, 0, S * T);
	assert_int_equal(sde__ring_seal(ring, T, true, NULL), 0);
	assert_int_equal(sde__ring_reader_intact(reader, 0, 2, NULL), 1);
	/* claimed, not a byte written */
	assert_int_equal(sde__ring_claim(ring, S * T, NULL), 0);
	assert_int_equal(sde__ring_reader_intact(reader, 0, 2, NULL), 0);
	assert_int_equal(sde__ring_reader_intact(reader, 1, 2, NULL), 1);
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	assert_int_equal(sde__ring_reader_first(reader, &c), 1);
	fill(ring, S * T);
	assert_int_equal(sde__ring_commit(ring, S * T, NULL), 0);
	assert_read(reader, 0, S * T);
	assert_read(reader, 1, 1);
	store_all(ring, S * T + 1, S * T + 3);
	assert_int_equal(sde__ring_reader_intact(reader, 2, 2, NULL), 0);
	assert_int_equal(sde__ring_reader_intact(reader, 3, 2, NULL), 1);
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
}

static void slots_below_the_base_were_never_there(void **state)
{
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(5 * T, 5 * T + 2, 0);
	reader = reader_of();
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	assert_int_equal(c.base, 5 * T);
	assert_int_equal(c.sealed, 5 * T);
	assert_int_equal(c.synced, 5 * T + 2);
	assert_int_equal(c.committed, 5 * T + 2);
	assert_int_equal(c.claimed, 5 * T + 2);
	assert_int_equal(sde__ring_reader_first(reader, &c), 5 * T);
	assert_int_equal(sde__ring_reader_intact(reader, 5 * T - 1, 0, NULL), 0);
	assert_int_equal(sde__ring_reader_intact(reader, 5 * T, 0, NULL), 1);
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
}

static void another_epoch_is_stale(void **state)
{
	struct sde_error error = { 0 };
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 2);
	store_all(ring, 0, 7);
	reader = reader_of();
	assert_int_equal(sde__ring_suspend(ring, true, NULL), 0);
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	assert_true(c.epoch == SDE__RING_EPOCH_NONE);
	assert_int_equal(sde__ring_reader_intact(reader, 0, 2, &error), SDE_E_STALE);
	assert_true(*error.text);
	assert_int_equal(sde__ring_restart(ring, 0, 3, 3, true, NULL), 0);
	assert_int_equal(sde__ring_reader_intact(reader, 0, 2, NULL), SDE_E_STALE);
	assert_int_equal(sde__ring_reader_intact(reader, 0, 3, NULL), 1);
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	assert_int_equal(c.epoch, 3);
	assert_int_equal(c.committed, 3);
	assert_int_equal(c.claimed, 3);
	assert_int_equal(c.synced, 3);
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
}

static void a_restart_is_durable_step_by_step(void **state)
{
	struct sde__ring *ring;
	int epoch = -1, header, last = 0;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 2);
	store_all(ring, 0, 7);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_suspend(ring, true, NULL), 0);
	assert_int_equal(fault.events, 2);
	assert_true(sets(0, SDE__RING_EPOCH, SDE__RING_EPOCH_NONE));
	assert_string_equal(fault.event[1].call, sync_call());
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_restart(ring, 0, 3, 77, true, NULL), 0);
	for (int i = 0; (i = fault_io_find(&fault, i, counter_call(), "header.tmp")) >= 0; i++) {
		if (sets(i, SDE__RING_EPOCH, 77))
			epoch = i;
		else
			last = i;
	}
	/* slots, counters, header, epoch, header */
	assert_true(fault_io_find(&fault, 0, sync_call(), "segment.0") <
		    fault_io_find(&fault, 0, counter_call(), "header.tmp"));
	header = fault_io_find(&fault, last, sync_call(), "header.tmp");
	assert_true(last < header && header < epoch);
	assert_true(fault_io_find(&fault, epoch, sync_call(), "header.tmp") > epoch);
	for (unsigned long n = 1; n <= 3; n++) {
		fault_io_arm(&fault, n, EIO, true);
		assert_int_equal(sde__ring_restart(ring, 0, 3, 78, true, NULL), -EIO);
	}
	fault_io_arm(&fault, 1, EIO, true);
	assert_int_equal(sde__ring_suspend(ring, true, NULL), -EIO);
	/* nothing but a counter in memory */
	assert_int_equal(sde__ring_suspend(ring, false, NULL),
			 how == SDE_RING_IO_MAPPED ? 0 : -EIO);
	sde__ring_free(ring);
}

static void impossible_counters_are_corrupt(void **state)
{
	static const struct {
		enum sde__ring_counter counter;
		uint64_t value;
	} row[] = {
		{ SDE__RING_BASE, 2 * T }, { SDE__RING_BASE, 1 }, { SDE__RING_BASE, UINT64_MAX },
		{ SDE__RING_SEALED, 1 }, { SDE__RING_SYNCED, UINT64_MAX },
		{ SDE__RING_COMMITTED, UINT64_MAX }, { SDE__RING_CLAIMED, UINT64_MAX },
	};
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, T + 3, 0);
	reader = reader_of();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct sde_error error = { 0 };
		const uint64_t good = sde__ring_get(ring, row[i].counter);

		poke("header", row[i].counter, &row[i].value, 8);
		if (sde__ring_reader_counters(reader, &c, &error) != SDE_E_CORRUPT)
			fail_msg("row %zu is taken", i);
		assert_non_null(strstr(error.text, "header"));
		poke("header", row[i].counter, &good, 8);
		assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	}
	/* a base within a chunk that is sealed */
	poke("header", SDE__RING_SEALED, &(uint64_t){ T }, 8);
	poke("header", SDE__RING_BASE, &(uint64_t){ 1 }, 8);
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), SDE_E_CORRUPT);
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
}

/* The page may be on its way to the device while the writer raises them. */
static void a_counter_older_than_what_it_precedes_is_raised(void **state)
{
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	struct sde__ring *ring;
	const uint64_t old = 3, newer = 2 * T;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, T + 3, 0);
	reader = reader_of();
	poke("header", SDE__RING_CLAIMED, &old, 8);
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	assert_int_equal(c.claimed, T + 3);
	poke("header", SDE__RING_SEALED, &newer, 8);
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	assert_int_equal(c.sealed, 2 * T);
	assert_int_equal(c.committed, 2 * T);
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
}

static bool is_lockers(const unsigned char *boot)
{
	struct sde__ring_reader *reader;
	bool is;

	fault.boot = boot;
	reader = reader_of();
	assert_int_equal(sde__ring_reader_is_lockers(reader, &is, NULL), 0);
	sde__ring_reader_close(reader);
	return is;
}

/* While a store is locked: is it by who laid this ring, or by who recovers it? */
static void a_ring_from_before_the_boot_is_not_the_lockers(void **state)
{
	static const unsigned char one[16] = { 1 }, two[16] = { 2 }, unknown[16];
	unsigned char *bytes;
	size_t size;

	(void)state;
	fault_io_init(&fault);
	fault.boot = one;
	sde__ring_free(enacted(0, 0, 0));
	assert_true(is_lockers(one));
	assert_false(is_lockers(two));
	/* cp: the old inode is kept alive, so that it is not given out again */
	bytes = scratch_read("header", &size);
	scratch_write("copy", bytes, size);
	free(bytes);
	assert_int_equal(link("header", "original"), 0);
	assert_int_equal(rename("copy", "header"), 0);
	assert_false(is_lockers(one));
	/* where boots cannot be told apart the lock has to do */
	fault.boot = unknown;
	sde__ring_free(enacted(0, 0, 0));
	assert_true(is_lockers(two));
}

static enum sde__ring_trust trust_of(const unsigned char *boot)
{
	struct sde__ring_reader *reader = reader_of();
	enum sde__ring_trust trust;

	fault.boot = boot;
	assert_int_equal(sde__ring_reader_trust(reader, &trust, NULL), 0);
	sde__ring_reader_close(reader);
	return trust;
}

static void a_ring_is_believed_as_far_as_its_boot_and_file(void **state)
{
	static const unsigned char one[16] = { 1 }, two[16] = { 2 }, unknown[16];
	unsigned char *bytes;
	size_t size;

	(void)state;
	fault_io_init(&fault);
	fault.boot = one;
	sde__ring_free(enacted(0, 0, 0));
	assert_int_equal(trust_of(one), SDE__RING_COMMITTED_HOLDS);
	assert_int_equal(trust_of(two), SDE__RING_SYNCED_HOLDS);
	assert_int_equal(trust_of(unknown), SDE__RING_SYNCED_HOLDS);
	/* the real kernel's is another one */
	assert_int_equal(trust_of(NULL), SDE__RING_SYNCED_HOLDS);
	/* cp: the old inode is kept alive, so that it is not given out again */
	bytes = scratch_read("header", &size);
	scratch_write("copy", bytes, size);
	free(bytes);
	assert_int_equal(link("header", "original"), 0);
	assert_int_equal(rename("copy", "header"), 0);
	assert_int_equal(trust_of(one), SDE__RING_COPIED);
	assert_int_equal(trust_of(two), SDE__RING_COPIED);
	/* a rename is no copy */
	assert_int_equal(rename("original", "header"), 0);
	assert_int_equal(trust_of(one), SDE__RING_COMMITTED_HOLDS);
}

static void without_a_boot_id_only_what_is_synced_holds(void **state)
{
	static const unsigned char unknown[16];
	struct sde__ring_reader *reader;
	enum sde__ring_trust trust;
	struct sde__ring *ring = NULL;

	(void)state;
	fault_io_init(&fault);
	fault.boot = unknown;
	sde__ring_free(enacted(0, 0, 0));
	assert_int_equal(trust_of(unknown), SDE__RING_SYNCED_HOLDS);
	fault.only = "boot_id";
	fault_io_arm(&fault, 1, EACCES, true);
	assert_int_equal(prepare(&ring, NULL), 0);
	assert_int_equal(sde__ring_enact(ring, 0, 0, 0, true, NULL), 0);
	sde__ring_free(ring);
	reader = reader_of();
	assert_int_equal(sde__ring_reader_trust(reader, &trust, NULL), 0);
	assert_int_equal(trust, SDE__RING_SYNCED_HOLDS);
	fault.only = NULL;
	fault_io_arm(&fault, 1, EIO, true);
	assert_int_equal(sde__ring_reader_trust(reader, &trust, NULL), -EIO);
	sde__ring_reader_close(reader);
}

/* Out of descriptors is no other boot: that would cost what was not synced. */
static void a_boot_id_that_cannot_be_read_just_now_is_an_error(void **state)
{
	struct sde_error error = { 0 };
	struct sde__ring_reader *reader;
	enum sde__ring_trust trust;
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	fault.only = "boot_id";
	fault_io_arm(&fault, 1, EMFILE, false);
	assert_int_equal(prepare(&ring, &error), -EMFILE);
	assert_non_null(strstr(error.text, "boot_id"));
	assert_int_equal(fault.handles, 0);
	sde__ring_free(enacted(0, 0, 0));
	reader = reader_of();
	fault_io_arm(&fault, 1, EMFILE, false);
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde__ring_reader_trust(reader, &trust, &error), -EMFILE);
	assert_non_null(strstr(error.text, "boot_id"));
	assert_int_equal(sde__ring_reader_trust(reader, &trust, &error), 0);
	assert_int_equal(trust, SDE__RING_COMMITTED_HOLDS);
	sde__ring_reader_close(reader);
}

static void damaged_ring_files_are_refused(void **state)
{
	struct sde__ring_reader *reader;
	struct sde_error error = { 0 };
	const int dir = scratch_directory();

	(void)state;
	fault_io_init(&fault);
	sde__ring_free(enacted(0, 0, 0));
	assert_int_equal(truncate("segment.1", 4095), 0);
	assert_int_equal(sde__ring_reader_open(&reader, &fault.io, dir, &error), SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "segment.1"));
	assert_int_equal(truncate("segment.1", 4096), 0);
	sde__ring_reader_close(reader_of());
	for (long size = 0; size < 4096; size += 451) {
		assert_int_equal(truncate("header", size), 0);
		memset(&error, 0, sizeof(error));
		assert_int_equal(sde__ring_reader_open(&reader, &fault.io, dir, &error),
				 SDE_E_CORRUPT);
		assert_non_null(strstr(error.text, "header"));
	}
	assert_int_equal(fault.handles, 0);
	assert_null(reader);
}

static void a_lost_segment_is_damage_not_the_absence_of_a_ring(void **state)
{
	struct sde__ring_reader *reader;
	struct sde_error error = { 0 };

	(void)state;
	fault_io_init(&fault);
	sde__ring_free(enacted(0, 0, 0));
	assert_int_equal(unlink("segment.1"), 0);
	assert_int_equal(sde__ring_reader_open(&reader, &fault.io, scratch_directory(), &error),
			 SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "segment.1"));
	assert_int_equal(fault.handles, 0);
}

/* The epoch is read first and last: here a truncate begins and ends between the two. */
static void raise_epoch(void *ctx, const char *call, const char *name)
{
	unsigned *reads = ctx;

	if (!strcmp(call, "pread") && !strcmp(name, "header") && ++*reads == 4)
		poke("header", SDE__RING_EPOCH, &(uint64_t){ 8 }, 8);
}

static void counters_of_two_epochs_are_none(void **state)
{
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	struct sde__ring *ring;
	unsigned reads = 0;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 3, 7);
	reader = reader_of();
	fault.before = raise_epoch;
	fault.before_ctx = &reads;
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	assert_true(c.epoch == SDE__RING_EPOCH_NONE);
	assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
	assert_int_equal(c.epoch, 8);
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
}

/* Whether the ring is on its way out cannot be known then. */
static void a_lost_segment_of_a_ring_that_cannot_be_asked_is_told(void **state)
{
	struct sde__ring_reader *reader;
	struct sde_error error = { 0 };

	(void)state;
	fault_io_init(&fault);
	sde__ring_free(enacted(0, 0, 0));
	assert_int_equal(unlink("segment.0"), 0);
	fault_io_arm(&fault, 1, EIO, false);
	fault.only = "stat";
	assert_int_equal(sde__ring_reader_open(&reader, &fault.io, scratch_directory(), &error), -ENOENT);
	assert_non_null(strstr(error.text, "segment.0"));
	assert_int_equal(fault.handles, 0);
}

static void remove_all(void *ctx, const char *call, const char *name)
{
	(void)ctx;
	if (!strcmp(call, "open_at") && !strcmp(name, "segment.1"))
		sde__ring_remove_files(&sde__io_posix, scratch_directory(), true, NULL);
}

static void a_ring_removed_under_its_reader_is_no_ring(void **state)
{
	struct sde__ring_reader *reader;

	(void)state;
	fault_io_init(&fault);
	sde__ring_free(enacted(0, 0, 0));
	fault.before = remove_all;
	assert_int_equal(sde__ring_reader_open(&reader, &fault.io, scratch_directory(), NULL),
			 -ENOENT);
	assert_int_equal(fault.handles, 0);
}

static void any_failing_call_of_a_reader_is_returned(void **state)
{
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	unsigned char byte;

	(void)state;
	fault_io_init(&fault);
	sde__ring_free(enacted(0, 0, 0));
	for (unsigned long n = 1; ; n++) {
		struct sde_error error = { 0 };

		fault_io_arm(&fault, n, EIO, true);
		if (!sde__ring_reader_open(&reader, &fault.io, scratch_directory(), &error))
			break;
		assert_int_equal(error.code, -EIO);
		assert_non_null(strstr(error.text, "data/.ring/"));
		assert_null(reader);
		assert_int_equal(fault.handles, 0);
	}
	for (unsigned long n = 1; n <= 7; n++) {
		fault_io_arm(&fault, n, EIO, true);
		assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), -EIO);
	}
	for (unsigned long n = 1; n <= 3; n++) {
		fault_io_arm(&fault, n, EIO, true);
		assert_int_equal(sde__ring_reader_intact(reader, 0, 0, NULL), -EIO);
	}
	for (unsigned long n = 1; n <= S + 1; n++) {
		fault_io_arm(&fault, n, EIO, false);
		assert_int_equal(sde__ring_reader_sync(reader, NULL), -EIO);
	}
	fault_io_arm(&fault, 1, EIO, true);
	assert_int_equal(sde__ring_reader_read(reader, 0, 0, &byte, 1, NULL), -EIO);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_reader_sync(reader, NULL), 0);
	assert_int_equal(fault_io_count(&fault, "sync", NULL), S + 1);
	sde__ring_reader_close(reader);
	sde__ring_reader_close(NULL);
	assert_int_equal(fault.handles, 0);
}

/* ------------------------------------------------------------------------
 * What only a written ring can meet
 */

static void a_default_ring_suits_its_file_system(void **state)
{
	static const struct {
		uint64_t magic;
		enum sde_ring_io how;
	} row[] = {
		{ 0xEF53, SDE_RING_IO_MAPPED }, { 0x58465342, SDE_RING_IO_MAPPED },
		/* tmpfs, ramfs */
		{ 0x01021994, SDE_RING_IO_MAPPED }, { 0x858458F6, SDE_RING_IO_MAPPED },
		/* btrfs, NFS, CIFS, SMB 2, FUSE, Lustre, GPFS, 9p, Ceph, BeeGFS, ZFS, overlayfs */
		{ 0x9123683E, SDE_RING_IO_WRITTEN }, { 0x6969, SDE_RING_IO_WRITTEN },
		{ 0xFF534D42, SDE_RING_IO_WRITTEN }, { 0xFE534D42, SDE_RING_IO_WRITTEN },
		{ 0x65735546, SDE_RING_IO_WRITTEN }, { 0x0BD00BD0, SDE_RING_IO_WRITTEN },
		{ 0x47504653, SDE_RING_IO_WRITTEN }, { 0x01021997, SDE_RING_IO_WRITTEN },
		{ 0x00C36400, SDE_RING_IO_WRITTEN }, { 0x19830326, SDE_RING_IO_WRITTEN },
		{ 0x2FC12FC1, SDE_RING_IO_WRITTEN }, { 0x794C7630, SDE_RING_IO_WRITTEN },
	};
	struct sde__io without = sde__io_posix;

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		fault_io_init(&fault);
		fault.file_system = row[i].magic;
		assert_int_equal(sde__ring_io_choose(&fault.io, 0, SDE_RING_IO_DEFAULT), row[i].how);
		assert_int_equal(sde__ring_is_in_memory(&fault.io, 0), i == 2 || i == 3);
		assert_int_equal(sde__ring_io_choose(&fault.io, 0, SDE_RING_IO_MAPPED),
				 SDE_RING_IO_MAPPED);
		assert_int_equal(sde__ring_io_choose(&fault.io, 0, SDE_RING_IO_WRITTEN),
				 SDE_RING_IO_WRITTEN);
	}
	/* nobody knows: what is right everywhere */
	fault_io_arm(&fault, 1, ENOSYS, false);
	assert_int_equal(sde__ring_io_choose(&fault.io, 0, SDE_RING_IO_DEFAULT),
			 SDE_RING_IO_WRITTEN);
	fault_io_arm(&fault, 1, ENOSYS, false);
	assert_false(sde__ring_is_in_memory(&fault.io, 0));
	without.file_system = NULL;
	assert_false(sde__ring_is_in_memory(&without, 0));
	assert_int_equal(sde__ring_io_choose(&without, 0, SDE_RING_IO_DEFAULT), SDE_RING_IO_MAPPED);
}

static void the_header_says_how_the_ring_is_written(void **state)
{
	struct sde__ring_reader *reader;
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	reader = reader_of();
	assert_int_equal(reader->header.ring_io, how);
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
}

static void a_slot_is_written_between_claimed_and_committed(void **state)
{
	struct sde__ring *ring;
	uint64_t offsets[3];
	int at = 0;

	(void)state;
	if (how != SDE_RING_IO_WRITTEN)
		return;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, 2);
	fault_io_arm(&fault, 0, 0, false);
	store(ring, 2);
	assert_int_equal(fault.events, 3);
	for (int i = 0; i < 3; i++, at++) {
		assert_string_equal(fault.event[at].call, "pwrite");
		assert_string_equal(fault.event[at].name, i == 1 ? "segment.0" : "header.tmp");
		offsets[i] = fault.event[at].value;
	}
	assert_int_equal(offsets[0], SDE__RING_CLAIMED);
	assert_int_equal(offsets[1], 2 * SLOT);
	assert_int_equal(offsets[2], SDE__RING_COMMITTED);
	sde__ring_free(ring);
}

/* Whatever of the three fails, the snapshot is not there, and the next try is right. */
static void a_store_that_fails_is_not_there_and_can_be_tried_again(void **state)
{
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	struct sde__ring *ring;

	(void)state;
	if (how != SDE_RING_IO_WRITTEN)
		return;
	for (unsigned long n = 1; n <= 3; n++) {
		struct sde_error error = { 0 };

		fault_io_init(&fault);
		ring = enacted(0, 0, 0);
		reader = reader_of();
		store_all(ring, 0, 5);
		fault_io_arm(&fault, n, ENOSPC, false);
		if (!sde__ring_claim(ring, 5, &error)) {
			fill(ring, 5);
			assert_int_equal(sde__ring_commit(ring, 5, &error), -ENOSPC);
		}
		assert_int_equal(error.code, -ENOSPC);
		assert_non_null(strstr(error.text, n == 2 ? "segment.1" : "header"));
		assert_non_null(strstr(error.text, "No space left"));
		assert_int_equal(sde__ring_get(ring, SDE__RING_COMMITTED), 5);
		fault_io_arm(&fault, 0, 0, false);
		assert_int_equal(sde__ring_reader_counters(reader, &c, NULL), 0);
		assert_int_equal(c.committed, 5);
		store(ring, 5);
		assert_read(reader, 5, 5);
		assert_read(reader, 4, 4);
		sde__ring_reader_close(reader);
		sde__ring_free(ring);
		sde__ring_remove_files(&sde__io_posix, scratch_directory(), true, NULL);
	}
}

/* A refused write of `committed` may have been made: no such slot may change. */
static void a_doubtful_commit_is_taken_back_before_its_slot_changes(void **state)
{
	const uint64_t made = 3;
	struct sde__ring *ring;

	(void)state;
	if (how != SDE_RING_IO_WRITTEN)
		return;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, 2);
	fault_io_arm(&fault, 3, EIO, false);
	assert_int_equal(sde__ring_claim(ring, 2, NULL), 0);
	fill(ring, 2);
	assert_int_equal(sde__ring_commit(ring, 2, NULL), -EIO);
	poke("header", SDE__RING_COMMITTED, &made, 8);
	fault_io_arm(&fault, 1, EIO, false);
	assert_int_equal(sde__ring_claim(ring, 2, NULL), -EIO);
	assert_int_equal(fault.events, 1);
	fault_io_arm(&fault, 0, 0, false);
	assert_int_equal(sde__ring_claim(ring, 2, NULL), 0);
	assert_int_equal(fault.event[0].value, SDE__RING_COMMITTED);
	assert_int_equal(fault.event[1].value, SDE__RING_CLAIMED);
	sde__ring_free(ring);
}

static void a_file_that_was_cut_short_is_corrupt_to_its_reader(void **state)
{
	struct sde_error error = { 0 };
	struct sde__ring_reader *reader;
	struct sde__ring_counters c;
	unsigned char payload[PAYLOAD];
	struct sde__ring *ring;

	(void)state;
	fault_io_init(&fault);
	ring = enacted(0, 0, 0);
	store_all(ring, 0, 5);
	reader = reader_of();
	assert_int_equal(truncate("segment.0", 2 * SLOT), 0);
	assert_int_equal(sde__ring_reader_read(reader, 1, 64, payload, PAYLOAD, NULL), 0);
	assert_int_equal(sde__ring_reader_read(reader, 2, 64, payload, PAYLOAD, &error),
			 SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "'data/.ring/segment.0' is truncated"));
	assert_int_equal(truncate("header", SDE__RING_COMMITTED), 0);
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde__ring_reader_counters(reader, &c, &error), SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "'data/.ring/header' is truncated"));
	sde__ring_reader_close(reader);
	sde__ring_free(ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_header_appears_only_when_enacted),
		SCRATCH_TEST(slots_are_durable_before_the_header_gets_its_name),
		SCRATCH_TEST(an_enact_that_need_not_last_syncs_nothing),
		SCRATCH_TEST(any_failing_call_of_laying_a_ring_leaves_no_file),
		SCRATCH_TEST(a_full_disk_is_told_with_the_bytes_it_takes),
		SCRATCH_TEST(any_failing_call_of_enact_is_returned),
		SCRATCH_TEST(a_new_ring_takes_the_place_of_an_older_larger_one),
		SCRATCH_TEST(the_header_is_removed_first),
		SCRATCH_TEST(a_slots_address_is_a_function_of_its_index),
		SCRATCH_TEST(claimed_is_raised_before_and_committed_after),
		SCRATCH_TEST(sync_covers_exactly_what_is_not_synced_yet),
		SCRATCH_TEST(a_failed_sync_does_not_raise_synced),
		SCRATCH_TEST(synced_is_told_after_the_header_is_on_the_device),
		SCRATCH_TEST(a_failed_sync_makes_its_slots_dirty_again),
		SCRATCH_TEST(sync_leaves_sealed_slots_alone),
		SCRATCH_TEST(seal_puts_the_counter_on_the_device),
		SCRATCH_TEST(a_synced_commit_counts_only_once_it_is_on_the_device),
		SCRATCH_TEST(a_synced_commit_leaves_sealed_slots_alone),
		SCRATCH_TEST(recycle_makes_the_chunks_own_segment_writable),
		SCRATCH_TEST(recycle_leaves_a_ring_in_memory_alone),
		SCRATCH_TEST(a_slot_is_intact_until_it_is_claimed_again),
		SCRATCH_TEST(slots_below_the_base_were_never_there),
		SCRATCH_TEST(another_epoch_is_stale),
		SCRATCH_TEST(a_restart_is_durable_step_by_step),
		SCRATCH_TEST(impossible_counters_are_corrupt),
		SCRATCH_TEST(a_counter_older_than_what_it_precedes_is_raised),
		SCRATCH_TEST(a_ring_from_before_the_boot_is_not_the_lockers),
		SCRATCH_TEST(a_ring_is_believed_as_far_as_its_boot_and_file),
		SCRATCH_TEST(without_a_boot_id_only_what_is_synced_holds),
		SCRATCH_TEST(a_boot_id_that_cannot_be_read_just_now_is_an_error),
		SCRATCH_TEST(damaged_ring_files_are_refused),
		SCRATCH_TEST(counters_of_two_epochs_are_none),
		SCRATCH_TEST(a_lost_segment_of_a_ring_that_cannot_be_asked_is_told),
		SCRATCH_TEST(a_lost_segment_is_damage_not_the_absence_of_a_ring),
		SCRATCH_TEST(a_ring_removed_under_its_reader_is_no_ring),
		SCRATCH_TEST(any_failing_call_of_a_reader_is_returned),
		SCRATCH_TEST(a_default_ring_suits_its_file_system),
		SCRATCH_TEST(the_header_says_how_the_ring_is_written),
		SCRATCH_TEST(a_slot_is_written_between_claimed_and_committed),
		SCRATCH_TEST(a_store_that_fails_is_not_there_and_can_be_tried_again),
		SCRATCH_TEST(a_doubtful_commit_is_taken_back_before_its_slot_changes),
		SCRATCH_TEST(a_file_that_was_cut_short_is_corrupt_to_its_reader),
	};
	int failed;

	how = SDE_RING_IO_MAPPED;
	failed = cmocka_run_group_tests_name("mapped", tests, NULL, NULL);
	how = SDE_RING_IO_WRITTEN;
	return failed + cmocka_run_group_tests_name("written", tests, NULL, NULL);
}
