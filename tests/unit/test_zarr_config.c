/* SPDX-License-Identifier: MIT */
/* From options to a configuration: defaults, limits, memory, what resume may choose. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "scratch.h"
#include "twin.h"
#include "zarr_config.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct sde_ensemble ensemble = { 3, 1000, SDE_FLOAT64 };

static struct sde__zarr_config configured(const struct sde_zarr_options *options)
{
	struct sde__zarr_config config;
	struct sde_error error = { 0 };

	twin_assert_ok(sde__zarr_config_new(&config, &ensemble, options, &error), error.text);
	return config;
}

static void zero_means_the_default_for_every_field(void **state)
{
	const struct sde_zarr_options zeros = SDE_ZARR_OPTIONS_INIT;
	cpu_set_t mask;
	int cores;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(mask), &mask), 0);
	cores = CPU_COUNT(&mask);
	for (int i = 0; i < 2; i++) {
		struct sde__zarr_config c = configured(i ? &zeros : NULL);
		const struct sde__geometry *g = &c.layout.geometry;

		assert_int_equal(c.metadata.stride, 1);
		assert_int_equal(c.metadata.zarr_format, 3);
		assert_int_equal(c.metadata.codec, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE);
		assert_true(c.metadata.checksum);
		assert_int_equal(c.metadata.keepbits, 0);
		assert_int_equal(c.metadata.state_capacity, 0);
		assert_int_equal(c.metadata.snapshots, 0);
		assert_int_equal(c.metadata.epoch, 0);
		assert_null(c.metadata.time_units);
		assert_int_equal(c.sync, SDE_SYNC_CHUNK);
		assert_int_equal(c.sync_interval_ms, 1000);
		assert_int_equal(c.layout.segments, 3);
		assert_int_equal(c.layout.order, SDE_LAYOUT_DIMENSION_TRAJECTORY);
		assert_int_equal(c.threads, cores > 1 ? cores - 1 : 1);
		/* about 16 MiB a chunk: 24,000 bytes a snapshot */
		assert_in_range(g->chunk_size, 600, 699);
		assert_int_equal(g->inner_width % 8, 0);
		assert_int_equal(c.codec.id, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE);
		assert_int_equal(c.codec.item, 8);
		assert_true(c.codec.checksum);
		sde__zarr_config_clear(&c);
	}
}

static void what_is_asked_for_is_taken(void **state)
{
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	struct sde__zarr_config c;

	(void)state;
	o.stride = 7;
	o.chunk_size = 10;
	o.trajectories_per_chunk = 24;
	o.zarr_format = 3;
	o.codec = SDE_CODEC_NONE;
	o.checksum = SDE_CHECKSUM_OFF;
	o.sync = SDE_SYNC_INTERVAL;
	o.sync_interval_ms = 5;
	o.segments = 64;
	o.threads = 256;
	o.layout = SDE_LAYOUT_TRAJECTORY_DIMENSION;
	o.state_capacity = 65536;
	o.attributes = "{\"a\": 1}";
	o.time_units = "s";
	c = configured(&o);
	assert_int_equal(c.metadata.stride, 7);
	assert_int_equal(c.layout.geometry.chunk_size, 10);
	assert_int_equal(c.layout.geometry.inner_width, 24);
	assert_int_equal(c.codec.id, SDE_CODEC_NONE);
	assert_false(c.codec.checksum);
	assert_int_equal(c.sync, SDE_SYNC_INTERVAL);
	assert_int_equal(c.sync_interval_ms, 5);
	assert_int_equal(c.layout.segments, 64);
	assert_int_equal(c.threads, 256);
	assert_int_equal(c.layout.order, SDE_LAYOUT_TRAJECTORY_DIMENSION);
	assert_int_equal(c.metadata.state_capacity, 65536);
	assert_string_equal(c.metadata.time_units, "s");
	assert_non_null(strstr(c.metadata.attributes, "\"a\""));
	/* the texts are copies */
	assert_ptr_not_equal(c.metadata.time_units, o.time_units);
	sde__zarr_config_clear(&c);
}

static void a_run_id_is_kept_in_both_forms(void **state)
{
	const unsigned char run[16] = { 0x00, 0x0f, 0xf0, 0xff, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc,
					0xde, 0xf1, 0x23, 0x45, 0x67, 0x89 };
	struct sde__zarr_config c = configured(NULL);

	(void)state;
	sde__zarr_config_set_run(&c, run);
	assert_memory_equal(c.run, run, 16);
	assert_string_equal(c.metadata.run, "000ff0ff123456789abcdef123456789");
	sde__zarr_config_clear(&c);
}

/* ------------------------------------------------------------------------
 * Resume
 */

static void resume_takes_over_the_stores_metadata(void **state)
{
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	struct sde__zarr_config store, resumed;
	struct sde_error error = { 0 };

	(void)state;
	o.chunk_size = 10;
	o.trajectories_per_chunk = 24;
	o.codec = SDE_CODEC_LZ4;
	o.stride = 2;
	o.state_capacity = 9;
	o.time_units = "s";
	store = configured(&o);
	store.metadata.snapshots = 77;
	store.metadata.epoch = 2;
	o = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	o.segments = 5;
	o.layout = SDE_LAYOUT_TRAJECTORY_DIMENSION;
	twin_assert_ok(sde__zarr_config_resumed(&resumed, &o, &error), error.text);
	twin_assert_ok(sde__zarr_config_adopt(&resumed, &store.metadata, "run.zarr", &error),
		       error.text);
	/* moved, not copied */
	assert_null(store.metadata.time_units);
	assert_string_equal(resumed.metadata.time_units, "s");
	assert_int_equal(resumed.metadata.snapshots, 77);
	assert_int_equal(resumed.metadata.epoch, 2);
	assert_int_equal(resumed.layout.geometry.chunk_size, 10);
	assert_int_equal(resumed.layout.state_capacity, 9);
	assert_int_equal(resumed.layout.segments, 5);
	assert_int_equal(resumed.layout.order, SDE_LAYOUT_TRAJECTORY_DIMENSION);
	assert_int_equal(resumed.codec.id, SDE_CODEC_LZ4);
	sde__zarr_config_clear(&resumed);
	sde__zarr_config_clear(&store);
}

static void keepbits_is_kept_and_rounds_unless_it_keeps_all(void **state)
{
	static const struct {
		enum sde_dtype dtype;
		unsigned keepbits, rounds;
	} cases[] = {
		{ SDE_FLOAT64, 0, 0 }, { SDE_FLOAT64, 1, 1 }, { SDE_FLOAT64, 51, 51 },
		{ SDE_FLOAT64, 52, 0 }, { SDE_FLOAT32, 22, 22 }, { SDE_FLOAT32, 23, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct sde_ensemble e = { 1, 8, cases[i].dtype };
		struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
		struct sde__zarr_config store, resumed;
		struct sde_error error = { 0 };

		o.keepbits = cases[i].keepbits;
		twin_assert_ok(sde__zarr_config_new(&store, &e, &o, &error), error.text);
		assert_int_equal(store.metadata.keepbits, cases[i].keepbits);
		assert_int_equal(store.codec.keepbits, cases[i].rounds);
		twin_assert_ok(sde__zarr_config_resumed(&resumed, NULL, &error), error.text);
		twin_assert_ok(sde__zarr_config_adopt(&resumed, &store.metadata, "run.zarr", &error),
			       error.text);
		assert_int_equal(resumed.metadata.keepbits, cases[i].keepbits);
		assert_int_equal(resumed.codec.keepbits, cases[i].rounds);
		sde__zarr_config_clear(&resumed);
		sde__zarr_config_clear(&store);
	}
}

/* ------------------------------------------------------------------------
 * Segments, where nobody asked for a number
 */

/* A slot of 64 + 1024 * 8 bytes; segments of chunk_size slots, a multiple of 64 of them. */
static struct sde__zarr_config default_ring(uint64_t chunk_size, enum sde_sync sync,
					    unsigned segments)
{
	const struct sde_ensemble e = { 1, 1024, SDE_FLOAT64 };
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde__zarr_config c;

	o.chunk_size = chunk_size;
	o.sync = sync;
	o.segments = segments;
	twin_assert_ok(sde__zarr_config_new(&c, &e, &o, &error), error.text);
	assert_int_equal(c.layout.segment_size, (uint64_t)8256 * chunk_size);
	return c;
}

static void small_chunks_on_a_device_get_more_segments(void **state)
{
	/* 16 MiB hold 2032 slots */
	static const struct {
		uint64_t chunk_size;
		unsigned segments;
	} cases[] = {
		{ 64, 8 }, { 192, 8 }, { 256, 7 }, { 320, 6 }, { 384, 5 }, { 448, 4 }, { 512, 3 },
		{ 576, 3 }, { 704, 3 }, { 2048, 3 }, { 4096, 3 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (enum sde_sync sync = SDE_SYNC_DEFAULT; sync <= SDE_SYNC_NONE; sync++) {
			const bool more = sync != SDE_SYNC_NONE;
			struct sde__zarr_config c = default_ring(cases[i].chunk_size, sync, 0);
			const uint64_t there = sde__zarr_config_memory(&c);

			assert_int_equal(c.layout.segments, more ? cases[i].segments : 3);
			/* what was asked before it was known where is what is told then */
			sde__zarr_config_in_memory(&c);
			assert_int_equal(c.layout.segments, 3);
			assert_int_equal(sde__zarr_config_memory(&c), there);
			sde__zarr_config_clear(&c);
			/* who asks gets what he asks for */
			c = default_ring(cases[i].chunk_size, sync, 2);
			sde__zarr_config_in_memory(&c);
			assert_int_equal(c.layout.segments, 2);
			sde__zarr_config_clear(&c);
		}
}

static void a_column_has_the_segments_of_its_own_size(void **state)
{
	const struct sde_ensemble e = { 1, 4096, SDE_FLOAT64 };
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	struct sde__zarr_config all, own;
	struct sde_error error = { 0 };

	(void)state;
	o.chunk_size = 256;
	twin_assert_ok(sde__zarr_config_new_columns(&all, &e, 512, &o, &error), error.text);
	twin_assert_ok(sde__zarr_config_column(&own, &all, 0, &error), error.text);
	/* 256 slots of 32832 bytes, and of 4160 */
	assert_int_equal(all.layout.segments, 3);
	assert_int_equal(own.layout.segments, 8);
	sde__zarr_config_clear(&all);
}

/* ------------------------------------------------------------------------
 * Memory
 */

static uint64_t estimate(const struct sde_ensemble *e, const struct sde_zarr_options *options)
{
	uint64_t bytes = 0;

	assert_int_equal(sde_zarr_memory_estimate(e, options, &bytes), 0);
	assert_true(bytes > 0);
	return bytes;
}

/* The ring, which is the most of it, by hand. */
static void one_ring_is_as_large_as_computed_by_hand(void **state)
{
	/* payload 2 * 100 * 8 = 1600, on multiples of 64 already; before it 24 + 40
	 * = 64 bytes; a slot of 1664; 32 of them 53248 = 13 pages of 4096 */
	const struct sde_ensemble e = { 2, 100, SDE_FLOAT64 };
	const uint64_t segment = 53248, header = 4096;
	/* an inner chunk: 2 * 40 * 32 * 8; three of them a chunk, W = 120 */
	const uint64_t inner = 20480;
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	struct sde__zarr_config c;
	uint64_t bytes, other;

	(void)state;
	o.chunk_size = 32;
	o.trajectories_per_chunk = 40;
	o.state_capacity = 40;
	o.segments = 4;
	o.threads = 2;
	o.codec = SDE_CODEC_NONE;
	assert_int_equal(sde__zarr_config_new(&c, &e, &o, NULL), 0);
	assert_int_equal(c.layout.payload_offset, 64);
	assert_int_equal(c.layout.slot_size, 1664);
	assert_int_equal(c.layout.segment_size, segment);
	bytes = sde__zarr_config_memory(&c);
	sde__zarr_config_clear(&c);
	assert_int_equal(bytes, estimate(&e, &o));
	/* as they are small, eight chunks in the making, each whole; raw memory for each worker */
	assert_true(bytes >= 4 * segment + header + 8 * 3 * inner + 2 * inner);
	/* with what is beside: tables, the blocks of times, some threads' own */
	assert_true(bytes <= 4 * segment + header + 8 * 3 * inner + 2 * inner + 1550000);
	/* each segment and each thread by itself */
	o.segments = 5;
	other = estimate(&e, &o);
	assert_int_equal(other - bytes, segment);
	o.threads = 3;
	assert_true(estimate(&e, &o) - other >= inner);
	assert_true(estimate(&e, &o) - other <= inner + 32768 + 1024);
}

/* Of large chunks two are in the making, of others what 16 MiB have room for. */
static void chunks_in_the_making_have_a_bound(void **state)
{
	const uint64_t sizes[] = { 1 << 10, 3 << 10, 6 << 10, 40 << 10 };
	const uint64_t jobs[] = { 8, 5, 2, 2 };	/* of about 1, 3, 6 and 40 MiB */
	/* the estimate of five is of what they have room for */
	const uint64_t most[] = { 8 << 20, 16 << 20, 16 << 20, 80 << 20 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const struct sde_ensemble e = { 1, 128, SDE_FLOAT64 };
		struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
		const uint64_t chunk = 128 * 8 * sizes[i];
		uint64_t bytes;

		o.chunk_size = sizes[i];
		o.trajectories_per_chunk = 1;
		o.segments = 2;
		o.threads = 1;
		o.codec = SDE_CODEC_NONE;
		bytes = estimate(&e, &o) - 2 * chunk;
		/* beside: heads of slots and side tables, 20 bytes to 1 KiB each, and 1.6 MB */
		assert_true(bytes >= jobs[i] * chunk);
		assert_true(bytes <= most[i] + (jobs[i] + 4) * chunk / 16 + 1550000);
	}
}

static void the_estimate_grows_with_everything(void **state)
{
	struct sde_ensemble e = { 2, 100, SDE_FLOAT32 };
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	uint64_t last, now;

	(void)state;
	o.chunk_size = 16;
	o.trajectories_per_chunk = 8;
	o.threads = 1;
	o.segments = 2;
	last = estimate(&e, &o);
#define GROWS(change) do { \
	change; \
	now = estimate(&e, &o); \
	assert_true(now > last); \
	last = now; \
} while (0)
	for (int i = 0; i < 4; i++) {
		GROWS(e.dimension++);
		GROWS(e.trajectories += 100);
		GROWS(o.chunk_size += 16);
		GROWS(o.trajectories_per_chunk += 8);
		GROWS(o.threads++);
		GROWS(o.segments++);
		GROWS(o.state_capacity += 100);
	}
	GROWS(e.dtype = SDE_FLOAT64);
	/* also where segments become fewer as they become larger */
	o.segments = 0;
	last = estimate(&e, &o);
	for (int i = 0; i < 40; i++)
		GROWS(e.trajectories += 8000);
#undef GROWS
}

static void info_tells_the_estimate(void **state)
{
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

		o.chunk_size = 8;
		o.codec = (enum sde_codec)(i + 1);
		o.threads = (unsigned)i;
		o.segments = i ? 1 + (unsigned)i : 0;
		o.state_capacity = 100 * (unsigned)i;
		o.overwrite = 1;
		assert_int_equal(sde_zarr_storage_create(&storage, "run.zarr", &ensemble, &o, NULL), 0);
		assert_int_equal(sde_storage_info(storage, &info), 0);
		assert_int_equal(info.memory_bytes, estimate(&ensemble, &o));
		assert_int_equal(sde_storage_close(storage), 0);
	}
}

static void the_estimate_refuses_what_create_refuses(void **state)
{
	const struct sde_ensemble bad = { 0, 1, SDE_FLOAT64 };
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	uint64_t bytes = 5;

	(void)state;
	assert_int_equal(sde_zarr_memory_estimate(&bad, NULL, &bytes), -EINVAL);
	assert_int_equal(bytes, 0);
	o.segments = 1;
	assert_int_equal(sde_zarr_memory_estimate(&ensemble, &o, &bytes), -EINVAL);
	o.size = 3;
	assert_int_equal(sde_zarr_memory_estimate(&ensemble, &o, &bytes), -EINVAL);
}

/* ------------------------------------------------------------------------
 * Warnings
 */

struct warnings {
	int count;
	char text[2][512];
};

static void note_warning(void *ctx, const char *message)
{
	struct warnings *warnings = ctx;

	assert_null(strchr(message, '\n'));
	if (warnings->count < 2)
		snprintf(warnings->text[warnings->count], 512, "%s", message);
	warnings->count++;
}

static struct warnings warned(uint64_t d, uint64_t n, uint64_t chunk_size, uint64_t width,
			      enum sde_codec codec)
{
	const struct sde_ensemble e = { d, n, SDE_FLOAT64 };
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	struct warnings warnings = { 0 };
	struct sde__zarr_config c;

	o.chunk_size = chunk_size;
	o.trajectories_per_chunk = width;
	o.codec = codec;
	o.log = note_warning;
	o.log_ctx = &warnings;
	assert_int_equal(sde__zarr_config_new(&c, &e, &o, NULL), 0);
	sde__zarr_config_warn(&c);
	sde__zarr_config_clear(&c);
	return warnings;
}

static void small_chunks_and_lost_bitshuffle_draw_a_warning(void **state)
{
	struct warnings w;

	(void)state;
	assert_int_equal(warned(1, 1000, 0, 0, SDE_CODEC_DEFAULT).count, 0);
	w = warned(1, 1000, 16, 0, SDE_CODEC_DEFAULT);
	assert_int_equal(w.count, 1);
	assert_non_null(strstr(w.text[0], "chunk_size"));
	/* 1 MiB is not small: 131072 numbers */
	assert_int_equal(warned(1, 8192, 16, 8, SDE_CODEC_DEFAULT).count, 0);
	assert_int_equal(warned(1, 8192, 15, 8, SDE_CODEC_DEFAULT).count, 1);
	w = warned(1, 8192, 17, 9, SDE_CODEC_DEFAULT);
	assert_int_equal(w.count, 1);
	assert_non_null(strstr(w.text[0], "multiple of 8"));
	assert_int_equal(warned(1, 8192, 17, 9, SDE_CODEC_LZ4).count, 0);
	assert_int_equal(warned(1, 8, 3, 3, SDE_CODEC_DEFAULT).count, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_means_the_default_for_every_field),
		cmocka_unit_test(what_is_asked_for_is_taken),
		cmocka_unit_test(a_run_id_is_kept_in_both_forms),
		cmocka_unit_test(resume_takes_over_the_stores_metadata),
		cmocka_unit_test(keepbits_is_kept_and_rounds_unless_it_keeps_all),
		cmocka_unit_test(small_chunks_on_a_device_get_more_segments),
		cmocka_unit_test(a_column_has_the_segments_of_its_own_size),
		cmocka_unit_test(one_ring_is_as_large_as_computed_by_hand),
		cmocka_unit_test(chunks_in_the_making_have_a_bound),
		cmocka_unit_test(the_estimate_grows_with_everything),
		SCRATCH_TEST(info_tells_the_estimate),
		cmocka_unit_test(the_estimate_refuses_what_create_refuses),
		cmocka_unit_test(small_chunks_and_lost_bitshuffle_draw_a_warning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
