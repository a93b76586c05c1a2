/* SPDX-License-Identifier: MIT */
/*
 * The Zarr backend against its naive twin: random runs over random geometries,
 * and every position of a chunk in turn.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sanitized.h"
#include "scratch.h"
#include "twin.h"
#include "zarr_storage.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VIEWS 6

/* the tests of every position run for both kinds of ring */
static enum sde_ring_io ring_io;

struct run {
	struct twin twin;
	struct sde_storage *storage;
	struct sde_zarr_options options;
	struct sde__zarr_hooks hooks;
	char path[32];
	uint64_t seed;
	struct twin_view view[VIEWS];
	uint64_t epoch;
};

static void create(struct run *run)
{
	struct sde_error error = { 0 };

	twin_assert_ok(sde__zarr_create(&run->storage, run->path, &run->twin.ensemble,
					&run->options, &run->hooks, &error), error.text);
}

static void resume(struct run *run)
{
	struct sde_error error = { 0 };

	run->options.overwrite = 0;
	twin_assert_ok(sde__zarr_resume(&run->storage, run->path, &run->options, &run->hooks,
					&error), error.text);
}

/* A run whose options are set afterwards. */
static void begin(struct run *run, uint64_t seed, uint64_t d, uint64_t n, enum sde_dtype dtype,
		  uint64_t chunk_size)
{
	const struct sde_ensemble ensemble = { d, n, dtype };

	memset(run, 0, sizeof(*run));
	run->seed = seed;
	run->hooks = (struct sde__zarr_hooks){ .io = &sde__io_posix, .synchronous = true };
	run->options = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	run->options.chunk_size = chunk_size;
	run->options.threads = 1;
	run->options.sync = SDE_SYNC_NONE;
	run->options.ring_io = ring_io;
	snprintf(run->path, sizeof(run->path), "run.zarr");
	twin_init(&run->twin, &ensemble, 1, seed);
}

/* Close the storage, look at what is left, forget everything. */
static void end(struct run *run)
{
	twin_assert_ok(sde_storage_close(run->storage), "close");
	assert_false(scratch_exists("run.zarr/data/.ring"));
	twin_check_path(&run->twin, run->path);
	for (int i = 0; i < VIEWS; i++) {
		twin_view_check(&run->twin, &run->view[i], 3);
		twin_view_close(&run->view[i]);
	}
	twin_free(&run->twin);
}

/* ------------------------------------------------------------------------
 * Random runs
 */

static void choose_options(struct run *run)
{
	static const enum sde_sync policies[] = {
		SDE_SYNC_NONE, SDE_SYNC_NONE, SDE_SYNC_CHUNK, SDE_SYNC_PUBLISH, SDE_SYNC_SNAPSHOT,
		SDE_SYNC_INTERVAL,
	};
	struct sde_zarr_options *o = &run->options;
	const uint64_t n = run->twin.ensemble.trajectories, most = (n + 7) / 8 * 8;

	o->trajectories_per_chunk = 1 + twin_below(&run->seed, most);
	o->codec = (enum sde_codec)twin_below(&run->seed, 4);
	o->zarr_format = (unsigned)twin_below(&run->seed, 4) ? 3 : 2;
	/* format 2 has no checksums */
	o->checksum = o->zarr_format == 2 ? SDE_CHECKSUM_DEFAULT :
		      (enum sde_checksum)twin_below(&run->seed, 3);
	o->state_capacity = twin_below(&run->seed, 2) ? 0 : 1 + (unsigned)twin_below(&run->seed, 64);
	o->sync = policies[twin_below(&run->seed, 6)];
	o->sync_interval_ms = 1 + (unsigned)twin_below(&run->seed, 5);
	o->keepbits = twin_below(&run->seed, 2) ? 0 : 1 + (unsigned)twin_below(&run->seed,
		      run->twin.ensemble.dtype == SDE_FLOAT32 ? 23 : 52);
	run->twin.keepbits = o->keepbits;
	o->stride = run->twin.stride = 1 + twin_below(&run->seed, 3);
}

/* What may change from one run to the next. */
static void choose_free_options(struct run *run)
{
	struct sde_zarr_options *o = &run->options;

	o->segments = 2 + (unsigned)twin_below(&run->seed, 3);
	o->threads = 1 + (unsigned)twin_below(&run->seed, 3);
	o->layout = (enum sde_layout)twin_below(&run->seed, 3);
	o->ring_io = (enum sde_ring_io)twin_below(&run->seed, 3);
	o->sigbus_guard = (enum sde_sigbus_guard)twin_below(&run->seed, 2);
	run->twin.layout = o->layout;
}

static void reserve_one(struct run *run)
{
	struct twin *t = &run->twin;
	void *slot, *again;

	twin_next(t);
	twin_assert_ok(sde_storage_reserve(run->storage, t->iteration, &slot),
		       twin_sentence(run->storage));
	assert_non_null(slot);
	assert_int_equal((uintptr_t)slot % 64, 0);
	if (twin_below(&run->seed, 3) == 0) {
		memset(slot, 0xaa, twin_snapshot_bytes(t));
		twin_assert_ok(sde_storage_reserve(run->storage, t->iteration, &again), "again");
		assert_ptr_equal(slot, again);
	}
	/* an open slot is nobody's snapshot */
	if (twin_below(&run->seed, 4) == 0)
		twin_check(t, run->storage);
	memcpy(slot, t->snapshot, twin_snapshot_bytes(t));
	twin_assert_ok(sde_storage_commit(run->storage, t->time), twin_sentence(run->storage));
	twin_keep(t);
}

static void set_state(struct run *run)
{
	struct twin *t = &run->twin;
	const uint64_t capacity = run->options.state_capacity;

	t->state_size = (size_t)twin_below(&run->seed, capacity + 1);
	for (size_t i = 0; i < t->state_size; i++)
		t->state[i] = (unsigned char)twin_random(&run->seed);
	twin_assert_ok(sde_storage_set_state(run->storage, t->state, t->state_size),
		       twin_sentence(run->storage));
}

/* What stride skips must leave no trace. */
static void store_skipped(struct run *run)
{
	struct twin *t = &run->twin;
	void *slot = t;

	if (t->stride == 1)
		return;
	twin_next(t);
	twin_assert_ok(sde_storage_store(run->storage, t->time, t->snapshot, t->iteration + 1), "");
	twin_assert_ok(sde_storage_reserve(run->storage, t->iteration + 1, &slot), "");
	assert_null(slot);
	assert_int_equal(sde_storage_commit(run->storage, 0.0), -EINVAL);
}

static void truncate_somewhere(struct run *run)
{
	const uint64_t to = twin_below(&run->seed, run->twin.count + 1);

	if (to < run->twin.count) {
		run->epoch++;
		for (int i = 0; i < VIEWS; i++)
			run->view[i].truncated = true;
	}
	twin_assert_ok(sde_storage_truncate(run->storage, to), twin_sentence(run->storage));
	twin_truncate(&run->twin, to);
}

static void take_view(struct run *run)
{
	struct twin_view *view = &run->view[twin_below(&run->seed, VIEWS)];

	twin_view_close(view);
	twin_view_take(&run->twin, run->storage, view);
}

static void close_and_resume(struct run *run)
{
	twin_assert_ok(sde_storage_close(run->storage), "close");
	run->twin.state_size = 0;
	if (twin_below(&run->seed, 2))
		twin_check_path(&run->twin, run->path);
	choose_free_options(run);
	resume(run);
}

static void do_something(struct run *run)
{
	const uint64_t chunk = run->options.chunk_size;

	switch (twin_below(&run->seed, 16)) {
	case 0: case 1: case 2: case 3:
		twin_store(&run->twin, run->storage, 1 + twin_below(&run->seed, chunk + 2));
		break;
	case 4: case 5:
		reserve_one(run);
		break;
	case 6: case 7:
		set_state(run);
		break;
	case 8:
		store_skipped(run);
		break;
	case 9: case 10:
		twin_assert_ok(sde_storage_save(run->storage), twin_sentence(run->storage));
		break;
	case 11:
		twin_assert_ok(sde_storage_sync(run->storage), twin_sentence(run->storage));
		break;
	case 12:
		take_view(run);
		break;
	case 13:
		truncate_somewhere(run);
		break;
	case 14:
		close_and_resume(run);
		break;
	default:
		twin_check_path(&run->twin, run->path);
	}
}

static void check_all(struct run *run)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	twin_check(&run->twin, run->storage);
	for (int i = 0; i < VIEWS; i++)
		twin_view_check(&run->twin, &run->view[i], 1);
	twin_assert_ok(sde_storage_info(run->storage, &info), "info");
	assert_int_equal(info.epoch, run->epoch);
	assert_int_equal(info.state, SDE_STATE_RUNNING);
	assert_int_equal(info.segments, run->options.segments);
}

static void random_run(uint64_t seed, bool synchronous, int steps)
{
	struct run run;
	uint64_t choice = seed;

	begin(&run, seed, 1 + twin_below(&choice, 3), 1 + twin_below(&choice, 40),
	      (enum sde_dtype)twin_below(&choice, 2), 1 + twin_below(&choice, 9));
	run.seed = choice;
	run.hooks.synchronous = synchronous;
	choose_options(&run);
	choose_free_options(&run);
	create(&run);
	twin_check(&run.twin, run.storage);
	for (int i = 0; i < steps; i++) {
		do_something(&run);
		check_all(&run);
	}
	end(&run);
}

/*
 * A handle taken after a truncate has read from the old file what that kept; for
 * the rest of the chunk, once it left the ring, only the new file will do.
 */
static void a_chunk_that_was_cut_is_read_from_its_new_file(void **state)
{
	(void)state;
	for (unsigned format = 2; format <= 3; format++) {
		struct run run;
		struct twin_view *view = &run.view[0];

		begin(&run, 77 + format, 2, 16, SDE_FLOAT64, 7);
		run.options.zarr_format = format;
		run.options.segments = 2;
		create(&run);
		twin_store(&run.twin, run.storage, 11);
		twin_assert_ok(sde_storage_truncate(run.storage, 5), "truncate");
		run.epoch++;
		twin_truncate(&run.twin, 5);
		twin_store(&run.twin, run.storage, 9);
		twin_view_take(&run.twin, run.storage, view);
		for (int i = 0; i < 20; i++)
			twin_view_check(&run.twin, view, 1);
		twin_store(&run.twin, run.storage, 8);
		for (int i = 0; i < 20; i++)
			twin_view_check(&run.twin, view, 1);
		end(&run);
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(),
						     "run.zarr"), 0);
	}
}

static void a_random_run_equals_its_twin(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= (SANITIZED ? 10 : 80); seed++) {
		print_message("# seed %d\n", (int)seed);	/* shown only of a failure */
		random_run(seed * 7919, true, 50);
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(),
						     "run.zarr"), 0);
	}
	assert_int_equal(scratch_entries("."), 0);
}

static void a_random_run_with_threads_equals_its_twin(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= (SANITIZED ? 5 : 40); seed++) {
		print_message("# seed %d\n", (int)seed);	/* shown only of a failure */
		random_run(seed * 104729, false, 50);
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(),
						     "run.zarr"), 0);
	}
	assert_int_equal(scratch_entries("."), 0);
}

/* ------------------------------------------------------------------------
 * Every position
 */

static const uint64_t sizes[] = { 1, 4, 5 };

/* Chunks of T: stored, saved at s, stored on to m, closed, resumed, one more. */
static void save_at(uint64_t chunk_size, uint64_t s, uint64_t m)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct run run;

	begin(&run, s * 100 + m, 2, 5, SDE_FLOAT64, chunk_size);
	run.options.trajectories_per_chunk = 2;
	run.options.segments = 2;
	run.options.overwrite = 1;
	create(&run);
	twin_store(&run.twin, run.storage, s);
	twin_assert_ok(sde_storage_save(run.storage), twin_sentence(run.storage));
	twin_assert_ok(sde_storage_save(run.storage), "a second save has nothing to do");
	twin_assert_ok(sde_storage_info(run.storage, &info), "info");
	assert_int_equal(info.published, s);
	assert_int_equal(info.sealed, s / chunk_size * chunk_size);
	assert_int_equal(info.chunk_files, (s + chunk_size - 1) / chunk_size);
	assert_int_equal(info.raw_bytes, s * 80);
	twin_check_path(&run.twin, run.path);
	twin_store(&run.twin, run.storage, m - s);
	twin_check(&run.twin, run.storage);
	twin_assert_ok(sde_storage_close(run.storage), "close");
	resume(&run);
	twin_check(&run.twin, run.storage);
	twin_store(&run.twin, run.storage, 1);
	end(&run);
}

static void a_save_is_right_at_every_position(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++)
		for (uint64_t s = 0; s <= 2 * sizes[i] + 1; s++)
			for (uint64_t m = s; m <= s + 2 * sizes[i] + 1; m++)
				save_at(sizes[i], s, m);
}

/* m snapshots, back to k, m - k + T others, all views of before checked. */
static void truncate_at(uint64_t chunk_size, uint64_t m, uint64_t k, bool reopen)
{
	struct run run;

	begin(&run, m * 100 + k, 2, 5, SDE_FLOAT32, chunk_size);
	run.options.trajectories_per_chunk = 3;
	run.options.overwrite = 1;
	run.options.state_capacity = 8;
	create(&run);
	for (uint64_t i = 0; i < m; i++) {
		set_state(&run);
		twin_store(&run.twin, run.storage, 1);
	}
	twin_view_take(&run.twin, run.storage, &run.view[0]);
	twin_view_take(&run.twin, run.storage, &run.view[1]);
	twin_view_check(&run.twin, &run.view[1], 3);
	run.view[0].truncated = run.view[1].truncated = k < m;
	twin_assert_ok(sde_storage_truncate(run.storage, k), twin_sentence(run.storage));
	twin_truncate(&run.twin, k);
	run.twin.state_size = 0;
	twin_check(&run.twin, run.storage);
	twin_check_path(&run.twin, run.path);
	twin_view_check(&run.twin, &run.view[0], 3);
	twin_view_take(&run.twin, run.storage, &run.view[2]);
	if (reopen) {
		twin_assert_ok(sde_storage_close(run.storage), "close");
		twin_check_path(&run.twin, run.path);
		resume(&run);
		twin_check(&run.twin, run.storage);
	}
	twin_store(&run.twin, run.storage, m - k + chunk_size);
	twin_check(&run.twin, run.storage);
	end(&run);
}

static void a_truncate_is_right_at_every_position(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++)
		for (uint64_t m = 0; m <= 3 * sizes[i] + 1; m++)
			for (uint64_t k = 0; k <= m; k++) {
				truncate_at(sizes[i], m, k, false);
				truncate_at(sizes[i], m, k, true);
			}
}

static void a_store_of_every_length_is_right(void **state)
{
	static const uint64_t lengths[] = { 0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 16 };

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++)
		for (int threads = 0; threads < 2; threads++) {
			struct run run;

			begin(&run, i, 1, 9, SDE_FLOAT64, 4);
			run.hooks.synchronous = !threads;
			run.options.overwrite = 1;
			create(&run);
			twin_store(&run.twin, run.storage, lengths[i]);
			twin_check(&run.twin, run.storage);
			end(&run);
		}
}

/* time and iteration are in blocks of 8192 */
static void times_go_on_over_the_ends_of_their_blocks(void **state)
{
	static const uint64_t stops[] = { 8191, 8192, 8193, 16384, 16390, 8192, 8190, 16385 };
	struct run run;

	(void)state;
	begin(&run, 5, 1, 1, SDE_FLOAT64, 64);
	create(&run);
	for (size_t i = 0; i < sizeof(stops) / sizeof(*stops); i++) {
		if (stops[i] < run.twin.count) {
			twin_assert_ok(sde_storage_truncate(run.storage, stops[i]), "truncate");
			twin_truncate(&run.twin, stops[i]);
		}
		twin_store(&run.twin, run.storage, stops[i] - run.twin.count);
		twin_check(&run.twin, run.storage);
		twin_assert_ok(sde_storage_close(run.storage), "close");
		twin_check_path(&run.twin, run.path);
		resume(&run);
	}
	end(&run);
}

/* ------------------------------------------------------------------------
 * Handles
 */

static void a_handle_keeps_its_values_whatever_comes_after(void **state)
{
	struct run run;

	(void)state;
	for (int threads = 0; threads < 2; threads++) {
		begin(&run, 11, 3, 7, SDE_FLOAT64, 4);
		run.hooks.synchronous = !threads;
		run.options.segments = 2;
		run.options.overwrite = 1;
		run.options.trajectories_per_chunk = 4;
		create(&run);
		for (int i = 0; i < VIEWS; i++) {
			twin_store(&run.twin, run.storage, 3);
			twin_view_take(&run.twin, run.storage, &run.view[i]);
			/* in the ring; some of them never read until it is recycled */
			if (i % 2)
				twin_view_check(&run.twin, &run.view[i], 3);
		}
		twin_store(&run.twin, run.storage, 20);
		for (int i = 0; i < VIEWS; i++)
			twin_view_check(&run.twin, &run.view[i], 3);
		twin_assert_ok(sde_storage_save(run.storage), "save");
		for (int i = 0; i < VIEWS; i++)
			twin_view_check(&run.twin, &run.view[i], 3);
		end(&run);	/* checks them once more, after close */
	}
}

static void a_map_of_the_data_equals_its_twin(void **state)
{
	static const enum sde_codec codecs[] = { SDE_CODEC_NONE, SDE_CODEC_LZ4 };
	struct run run;

	(void)state;
	for (int i = 0; i < 8; i++) {
		const uint64_t m = i & 2 ? 3 : 9;	/* one chunk, or several */
		const void *base = NULL, *again = NULL;
		int64_t strides[3] = { 0 };
		int ret;

		begin(&run, (uint64_t)i, 2, 6, SDE_FLOAT64, 4);
		run.options.codec = codecs[i & 1];
		run.options.overwrite = 1;
		create(&run);
		twin_store(&run.twin, run.storage, m);
		if (i & 4)
			twin_assert_ok(sde_storage_save(run.storage), "save");
		twin_view_take(&run.twin, run.storage, &run.view[0]);
		ret = sde_array_map(run.view[0].data, 0, &base, strides);
		twin_assert_ok(ret, "map");
		for (uint64_t k = 0; k < 12 * m; k++) {
			const int64_t d = (int64_t)(k / (6 * m)), n = (int64_t)(k / m % 6);
			const int64_t t = (int64_t)(k % m);

			assert_memory_equal((const char *)base + d * strides[0] + n * strides[1] +
					    t * strides[2],
					    run.twin.record[t]->data + (d * 6 + n) * 8, 8);
		}
		twin_assert_ok(sde_array_map(run.view[0].data, 0, &again, strides), "again");
		assert_ptr_equal(base, again);
		twin_assert_ok(sde_array_map(run.view[0].time, 0, &base, strides), "map of time");
		assert_int_equal(strides[0], 8);
		for (uint64_t t = 0; t < m; t++)
			assert_memory_equal((const char *)base + 8 * t,
					    &run.twin.record[t]->time, 8);
		end(&run);
	}
}

static void a_map_over_its_budget_is_refused(void **state)
{
	const void *base;
	int64_t strides[3];
	struct run run;

	(void)state;
	begin(&run, 1, 2, 6, SDE_FLOAT64, 4);
	create(&run);
	twin_store(&run.twin, run.storage, 3);
	twin_view_take(&run.twin, run.storage, &run.view[0]);
	assert_int_equal(sde_array_map(run.view[0].data, 2 * 6 * 3 * 8 - 1, &base, strides), -ENOMEM);
	assert_null(base);
	assert_int_equal(sde_array_map(run.view[0].data, 2 * 6 * 3 * 8, &base, strides), 0);
	end(&run);
}

/* ------------------------------------------------------------------------
 * What a storage says of itself
 */

static void the_store_tells_what_it_was_made_of(void **state)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *reader;
	struct run run;

	(void)state;
	begin(&run, 3, 2, 20, SDE_FLOAT32, 6);
	run.options.attributes = "{\"dt\": 0.01, \"seeds\": [1, 2]}";
	run.options.time_units = "s";
	run.options.trajectories_per_chunk = 8;
	run.options.codec = SDE_CODEC_LZ4;
	run.options.checksum = SDE_CHECKSUM_OFF;
	run.options.state_capacity = 10;
	create(&run);
	twin_store(&run.twin, run.storage, 8);
	twin_assert_ok(sde_storage_open(&reader, run.path, NULL, NULL), "open");
	for (int i = 0; i < 2; i++) {
		struct sde_storage *s = i ? reader : run.storage;

		twin_assert_ok(sde_storage_info(s, &info), "info");
		assert_string_equal(info.kind, "zarr");
		assert_int_equal(info.zarr_format, 3);
		assert_int_equal(info.chunk_size, 6);
		assert_int_equal(info.trajectories_per_chunk, 8);
		assert_int_equal(info.codec, SDE_CODEC_LZ4);
		assert_int_equal(info.checksum, SDE_CHECKSUM_OFF);
		assert_int_equal(info.state_capacity, 10);
		assert_int_equal(info.state, SDE_STATE_RUNNING);
		assert_int_equal(info.segments, 3);
		assert_int_equal(info.ring_io, ring_io);
		assert_int_equal(strspn(info.run, "0123456789abcdef"), 32);
		assert_non_null(strstr(sde_storage_attributes(s), "0.01"));
		assert_null(strstr(sde_storage_attributes(s), "sdestore"));
		assert_string_equal(sde_storage_time_units(s), "s");
	}
	twin_assert_ok(sde_storage_close(reader), "close");
	run.options.attributes = run.options.time_units = NULL;
	end(&run);
	twin_assert_ok(sde_storage_open(&reader, run.path, NULL, NULL), "open");
	twin_assert_ok(sde_storage_info(reader, &info), "info");
	assert_int_equal(info.state, SDE_STATE_CLOSED);
	assert_int_equal(info.segments, 0);
	assert_int_equal(info.ring_io, SDE_RING_IO_DEFAULT);
	assert_int_equal(info.published, 8);
	assert_int_equal(info.chunk_files, 2);
	twin_assert_ok(sde_storage_close(reader), "close");
}

static void the_ring_holds_as_many_chunks_as_it_has_segments(void **state)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct run run;

	(void)state;
	for (unsigned segments = 2; segments <= 4; segments++) {
		begin(&run, segments, 1, 4, SDE_FLOAT64, 3);
		run.options.segments = segments;
		run.options.overwrite = 1;
		create(&run);
		/* without threads nothing is sealed before the ring is full */
		twin_store(&run.twin, run.storage, 3 * segments);
		twin_assert_ok(sde_storage_info(run.storage, &info), "info");
		assert_int_equal(info.stalls, 0);
		assert_int_equal(info.sealed, 0);
		assert_int_equal(info.published, 0);
		twin_store(&run.twin, run.storage, 1);
		twin_assert_ok(sde_storage_info(run.storage, &info), "info");
		assert_int_equal(info.stalls, 1);
		assert_true(info.sealed >= 3);
		end(&run);
	}
}

/* Two synchronous runs of the same input make the same files. */
static void a_synchronous_run_can_be_replayed(void **state)
{
	unsigned char *file[2];
	size_t size[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct run run;

		begin(&run, 77, 2, 20, SDE_FLOAT64, 4);
		snprintf(run.path, sizeof(run.path), "%d.zarr", i);
		create(&run);
		twin_store(&run.twin, run.storage, 10);
		twin_assert_ok(sde_storage_save(run.storage), "save");
		twin_store(&run.twin, run.storage, 2);
		end(&run);
	}
	file[0] = scratch_read("0.zarr/data/c/0/0/2", &size[0]);
	file[1] = scratch_read("1.zarr/data/c/0/0/2", &size[1]);
	assert_int_equal(size[0], size[1]);
	/* but for the run id in the side table and its checksum: 64-byte blocks */
	assert_memory_equal(file[0] + 192, file[1] + 192, size[0] - 192);
	free(file[0]);
	free(file[1]);
}

static int stop_at_second(void *ctx, uint64_t done, uint64_t all)
{
	uint64_t *calls = ctx;

	assert_true(done <= all);
	return ++*calls == 2;
}

static void verify_reports_progress_and_can_be_stopped(void **state)
{
	uint64_t calls = 0;
	const struct sde_verify verify = { .progress = stop_at_second, .ctx = &calls };
	struct run run;

	(void)state;
	begin(&run, 1, 1, 4, SDE_FLOAT64, 3);
	create(&run);
	twin_store(&run.twin, run.storage, 11);
	twin_assert_ok(sde_storage_save(run.storage), "save");
	assert_int_equal(sde_storage_verify(run.storage, &verify), -ECANCELED);
	assert_int_equal(calls, 2);
	twin_assert_ok(sde_storage_verify(run.storage, NULL), "verify");
	end(&run);
}

static void no_descriptor_is_left_open(void **state)
{
	const unsigned before = scratch_open_files();
	struct run run;

	(void)state;
	for (int i = 0; i < 3; i++) {
		begin(&run, 1, 1, 4, SDE_FLOAT64, 3);
		run.hooks.synchronous = i;
		run.options.overwrite = 1;
		create(&run);
		twin_store(&run.twin, run.storage, 11);
		twin_view_take(&run.twin, run.storage, &run.view[0]);
		close_and_resume(&run);
		end(&run);
		assert_int_equal(scratch_open_files(), before);
	}
}

int main(void)
{
	const struct CMUnitTest random[] = {
		SCRATCH_TEST(a_random_run_equals_its_twin),
		SCRATCH_TEST(a_random_run_with_threads_equals_its_twin),
	};
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_chunk_that_was_cut_is_read_from_its_new_file),
		SCRATCH_TEST(a_save_is_right_at_every_position),
		SCRATCH_TEST(a_truncate_is_right_at_every_position),
		SCRATCH_TEST(a_store_of_every_length_is_right),
		SCRATCH_TEST(times_go_on_over_the_ends_of_their_blocks),
		SCRATCH_TEST(a_handle_keeps_its_values_whatever_comes_after),
		SCRATCH_TEST(a_map_of_the_data_equals_its_twin),
		SCRATCH_TEST(a_map_over_its_budget_is_refused),
		SCRATCH_TEST(the_store_tells_what_it_was_made_of),
		SCRATCH_TEST(the_ring_holds_as_many_chunks_as_it_has_segments),
		SCRATCH_TEST(a_synchronous_run_can_be_replayed),
		SCRATCH_TEST(verify_reports_progress_and_can_be_stopped),
		SCRATCH_TEST(no_descriptor_is_left_open),
	};

	/* which draw the kind of ring */
	int failed = cmocka_run_group_tests(random, NULL, NULL);

	ring_io = SDE_RING_IO_MAPPED;
	failed += cmocka_run_group_tests_name("mapped", tests, NULL, NULL);
	ring_io = SDE_RING_IO_WRITTEN;
	return failed + cmocka_run_group_tests_name("written", tests, NULL, NULL);
}
