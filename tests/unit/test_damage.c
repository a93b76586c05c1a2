/* SPDX-License-Identifier: MIT */
/*
 * Damaged stores: what verify names, what reads give, what is listed. Real files are
 * damaged behind the library's back, in both formats and with every codec; what must
 * be lost, and nothing else, follows from the geometry.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "damage.h"
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH "run.zarr"

/* Inner chunks 0:8, 8:16, 16:21; chunks 0:4 ... 16:18. */
enum { D = 2, N = 21, WIDTH = 8, INNER = 3, T = 4, M = 18, CHUNKS = 5 };

static const struct sde_ensemble ensemble = { D, N, SDE_FLOAT64 };

struct form {
	unsigned format;
	enum sde_codec codec;
	enum sde_checksum checksum;
};

static const struct form forms[] = {
	{ 3, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, SDE_CHECKSUM_ON },
	{ 3, SDE_CODEC_LZ4, SDE_CHECKSUM_ON },
	{ 3, SDE_CODEC_NONE, SDE_CHECKSUM_ON },
	{ 3, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, SDE_CHECKSUM_OFF },
	{ 3, SDE_CODEC_NONE, SDE_CHECKSUM_OFF },
	{ 2, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, SDE_CHECKSUM_OFF },
	{ 2, SDE_CODEC_LZ4, SDE_CHECKSUM_OFF },
	{ 2, SDE_CODEC_NONE, SDE_CHECKSUM_OFF },
};
enum { FORMS = sizeof(forms) / sizeof(forms[0]) };

static double value(int d, int n, int k)
{
	return 1000.0 * k + 100.0 * d + n + 0.5;
}

static double time_of(int k)
{
	return 0.25 * k;
}

static void store_some(struct sde_storage *storage, int first, int end)
{
	double x[D][N];

	for (int k = first; k < end; k++) {
		for (int d = 0; d < D; d++)
			for (int n = 0; n < N; n++)
				x[d][n] = value(d, n, k);
		assert_int_equal(sde_storage_set_state(storage, &k, sizeof(k)), 0);
		assert_int_equal(sde_storage_store(storage, time_of(k), x, 3 * (uint64_t)k), 0);
	}
}

static struct sde_zarr_options options_of(const struct form *form)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	options.chunk_size = T;
	options.trajectories_per_chunk = WIDTH;
	options.zarr_format = form->format;
	options.codec = form->codec;
	options.checksum = form->checksum;
	options.threads = 1;
	options.state_capacity = 16;
	options.overwrite = 1;
	return options;
}

/* A closed store; everything in it has a value that can be reckoned. */
static void make(const struct form *form)
{
	const struct sde_zarr_options options = options_of(form);
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	twin_assert_ok(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error),
		       error.text);
	store_some(storage, 0, M);
	twin_assert_ok(sde_storage_close(storage), "close");
}

/* ------------------------------------------------------------------------
 * Ways to damage
 */

/* The file that has an inner chunk; INNER: what its chunk says of itself. */
static const char *file_of(const struct form *form, int chunk, int inner)
{
	static char name[64];

	if (form->format == 3)
		snprintf(name, sizeof(name), PATH "/data/c/0/0/%d", chunk);
	else if (inner == INNER)
		snprintf(name, sizeof(name), PATH "/data/.side/%d", chunk);
	else
		snprintf(name, sizeof(name), PATH "/data/0.%d.%d", inner, chunk);
	return name;
}

/* Where the inner chunk lies in its file: by the index, which the format defines. */
static void extent(const struct form *form, const unsigned char *bytes, size_t size, int inner,
		   uint64_t *offset, uint64_t *length)
{
	*offset = 0;
	*length = size;
	if (form->format == 3) {
		memcpy(offset, bytes + size - 4 - 16 * (size_t)(INNER - inner), 8);
		memcpy(length, bytes + size - 4 - 16 * (size_t)(INNER - inner) + 8, 8);
	}
}

enum way {
	REMOVED, EMPTIED, CUT_IN_HALF,	/* the file */
	FLIPPED, SCRAMBLED,		/* the inner chunk */
	INDEX_FLIPPED, MAGIC_FLIPPED, STATES_FLIPPED, OTHER_CHUNK, A_DIRECTORY,
	WAYS
};

/* What of a chunk is lost by it. */
enum loss { NOTHING, ONE, ALL, STATES };

static bool by_inner(enum way way)
{
	return way <= SCRAMBLED;
}

/* Can it be done to, and noticed in, a store of this form? */
static bool applies(const struct form *form, enum way way)
{
	if (way == FLIPPED)
		return form->checksum == SDE_CHECKSUM_ON;
	if (way == SCRAMBLED)
		return form->checksum == SDE_CHECKSUM_ON || form->codec != SDE_CODEC_NONE;
	return way != INDEX_FLIPPED || form->format == 3;
}

static enum loss loss_of(const struct form *form, enum way way)
{
	if (way == FLIPPED || way == SCRAMBLED || (form->format == 2 && way <= CUT_IN_HALF))
		return ONE;
	return way == STATES_FLIPPED ? STATES : ALL;
}

/* 0: more than one is right. */
static enum sde_cause cause_of(const struct form *form, enum way way)
{
	switch (way) {
	case REMOVED:
		return SDE_CAUSE_MISSING;
	case EMPTIED:
		return SDE_CAUSE_TRUNCATED;
	case FLIPPED:
		return SDE_CAUSE_CHECKSUM;
	case SCRAMBLED:
		return form->checksum == SDE_CHECKSUM_ON ? SDE_CAUSE_CHECKSUM : SDE_CAUSE_DECODE;
	case INDEX_FLIPPED:
		return SDE_CAUSE_INDEX;
	case MAGIC_FLIPPED:
	case STATES_FLIPPED:
		return SDE_CAUSE_SIDE_TABLE;
	case OTHER_CHUNK:
	case A_DIRECTORY:
		return SDE_CAUSE_FOREIGN;
	default:
		return 0;
	}
}

struct undo {
	char name[64];
	unsigned char *bytes;
	size_t size;
};

static void damage(const struct form *form, enum way way, int chunk, int inner, struct undo *undo)
{
	const char *name = file_of(form, chunk, by_inner(way) ? inner : INNER);
	uint64_t offset, length;
	unsigned char *bytes;
	size_t size;

	snprintf(undo->name, sizeof(undo->name), "%s", name);
	undo->bytes = scratch_read(name, &undo->size);
	bytes = scratch_read(name, &size);
	extent(form, bytes, size, inner, &offset, &length);
	switch (way) {
	case REMOVED:
		assert_int_equal(unlink(name), 0);
		free(bytes);
		return;
	case A_DIRECTORY:
		assert_int_equal(unlink(name), 0);
		assert_int_equal(mkdir(name, 0777), 0);
		free(bytes);
		return;
	case EMPTIED:
		size = 0;
		break;
	case CUT_IN_HALF:
		size /= 2;
		break;
	case FLIPPED:
		bytes[offset + length / 2] ^= 0x10;
		break;
	case SCRAMBLED:
		memset(bytes + offset, 0xff, length < 32 ? (size_t)length : 32);
		break;
	case INDEX_FLIPPED:
		bytes[size - 10] ^= 1;
		break;
	case MAGIC_FLIPPED:
		bytes[3] ^= 1;
		break;
	case STATES_FLIPPED:
		bytes[64] ^= 1;
		break;
	default:
		free(bytes);
		bytes = scratch_read(file_of(form, (chunk + 1) % CHUNKS, INNER), &size);
	}
	scratch_write(undo->name, bytes, size);
	free(bytes);
}

static void repair(struct undo *undo)
{
	if (rmdir(undo->name))
		unlink(undo->name);
	scratch_write(undo->name, undo->bytes, undo->size);
	free(undo->bytes);
}

/* ------------------------------------------------------------------------
 * What is expected, and what is told
 */

struct map {
	bool data[M][N], time[M], iteration[M], state[M], restorable[M];
	enum sde_cause cause[M][N];
	unsigned calls;
};

static void expect(const struct form *form, struct map *map, enum way way, int chunk, int inner)
{
	const enum loss loss = loss_of(form, way);
	const int first = loss == ONE ? inner * WIDTH : 0;
	const int end = loss == ONE && first + WIDTH < N ? first + WIDTH : N;

	for (int k = chunk * T; k < (chunk + 1) * T && k < M; k++) {
		for (int n = first; n < end && loss != STATES; n++)
			map->data[k][n] = true;
		/* the states are at the start of the file: an index at its end is not theirs */
		if (loss != ONE && way != INDEX_FLIPPED &&
		    !(way == CUT_IN_HALF && form->format == 3))
			map->state[k] = true;
	}
}

static void note(void *ctx, const struct sde_damage *damage)
{
	struct map *map = ctx;

	map->calls++;
	assert_int_equal(damage->size, sizeof(*damage));
	assert_true(damage->snapshots[0] < damage->snapshots[1]);
	assert_true(damage->snapshots[1] <= M);
	assert_true(damage->trajectories[0] < damage->trajectories[1]);
	assert_true(damage->trajectories[1] <= N);
	assert_int_equal(damage->lost & damage->restorable, 0);
	assert_true(damage->code < 0);
	twin_assert_sentence(damage->text, NULL, NULL);
	assert_int_equal(strncmp(damage->file, PATH "/", sizeof(PATH)), 0);
	for (uint64_t k = damage->snapshots[0]; k < damage->snapshots[1]; k++) {
		for (uint64_t n = damage->trajectories[0]; n < damage->trajectories[1]; n++) {
			if (!(damage->lost & SDE_PART_DATA))
				continue;
			/* nothing is named twice */
			assert_false(map->data[k][n]);
			map->data[k][n] = true;
			map->cause[k][n] = damage->cause;
		}
		map->time[k] |= damage->lost & SDE_PART_TIME;
		map->iteration[k] |= damage->lost & SDE_PART_ITERATION;
		map->state[k] |= damage->lost & SDE_PART_STATE;
		map->restorable[k] |= damage->restorable != 0;
	}
}

static void same_map(const struct map *is, const struct map *should, const char *what)
{
	for (int k = 0; k < M; k++)
		for (int n = 0; n < N; n++)
			if (is->data[k][n] != should->data[k][n])
				fail_msg("%s: snapshot %d, trajectory %d is%s named", what, k, n,
					 is->data[k][n] ? "" : " not");
	assert_memory_equal(is->time, should->time, sizeof(is->time));
	assert_memory_equal(is->iteration, should->iteration, sizeof(is->iteration));
}

static struct sde_storage *opened(enum sde_hole on_hole)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	options.on_hole = on_hole;
	twin_assert_ok(sde_storage_open(&storage, PATH, &options, &error), error.text);
	return storage;
}

static int verify_into(struct map *map, enum sde_hole on_hole)
{
	const struct sde_verify verify = { .lost = note, .ctx = map };
	struct sde_storage *storage = opened(on_hole);
	const int ret = sde_storage_verify(storage, &verify);

	sde_storage_close(storage);
	return ret;
}

/* All values that are not lost as they were stored, the others NaN; and the list says so. */
static void read_with_nan(const struct map *should, const char *what)
{
	static double data[D][N][M];
	struct sde_storage *storage = opened(SDE_HOLE_NAN);
	struct sde_array *time, *array, *iteration;
	struct map listed = { .calls = 0 };
	int64_t numbers[M];
	double times[M];
	int told;

	assert_int_equal(sde_storage_values(storage, &time, &array), 0);
	assert_int_equal(sde_storage_iterations(storage, &iteration), 0);
	assert_int_equal(sde_array_holes(array, note, &listed), 0);
	for (int again = 0; again < 2; again++) {
		twin_assert_ok(sde_array_read(array, NULL, NULL, NULL, data, sizeof(data)), what);
		assert_int_equal(sde_array_read(time, NULL, NULL, NULL, times, sizeof(times)), 0);
		assert_int_equal(sde_array_read(iteration, NULL, NULL, NULL, numbers,
						sizeof(numbers)), 0);
	}
	for (int k = 0; k < M; k++) {
		for (int n = 0; n < N; n++)
			for (int d = 0; d < D; d++)
				if (should->data[k][n] ? !isnan(data[d][n][k]) :
				    data[d][n][k] != value(d, n, k))
					fail_msg("%s: [%d][%d][%d] is %g", what, d, n, k,
						 data[d][n][k]);
		assert_true(should->time[k] ? isnan(times[k]) : times[k] == time_of(k));
		assert_int_equal(numbers[k], should->iteration[k] ? -1 : 3 * k);
	}
	assert_true(sde_array_holes(array, note, &listed) >= 0);
	assert_true(sde_array_holes(time, note, &listed) >= 0);
	assert_true(sde_array_holes(iteration, note, &listed) >= 0);
	same_map(&listed, should, what);
	/* handles outlive the storage */
	assert_int_equal(sde_storage_close(storage), 0);
	sde_array_close(time);
	sde_array_close(iteration);
	memset(&listed, 0, sizeof(listed));
	told = sde_array_holes(array, note, &listed);
	assert_int_equal(told, listed.calls);
	sde_array_close(array);
}

/* Without asking for NaN: what does not touch the hole is read, the rest is refused. */
static void read_or_fail(const struct map *should)
{
	struct sde_storage *storage = opened(SDE_HOLE_DEFAULT);
	struct sde_array *array;
	struct sde_error error;

	assert_int_equal(sde_storage_values(storage, NULL, &array), 0);
	for (int k = 0; k < M; k++)
		for (int n = 0; n < N; n++) {
			const uint64_t start[3] = { 0, (uint64_t)n, (uint64_t)k };
			const uint64_t count[3] = { D, 1, 1 };
			char part[48];
			double x[D];
			const int ret = sde_array_read(array, start, count, NULL, x, sizeof(x));

			if (!should->data[k][n]) {
				assert_int_equal(ret, 0);
				assert_true(x[0] == value(0, n, k) && x[1] == value(1, n, k));
				continue;
			}
			assert_true(sde__is_damage(ret));
			sde_array_error(array, &error);
			snprintf(part, sizeof(part), "snapshots %d:%d, ", k / T * T,
				 k / T * T + T < M ? k / T * T + T : M);
			twin_assert_sentence(error.text, part, PATH "/data/");
		}
	assert_int_equal(sde_array_holes(array, NULL, NULL), 0);
	sde_array_close(array);
	sde_storage_close(storage);
}

/* ------------------------------------------------------------------------
 * The tests
 */

static void every_damage_costs_what_the_geometry_says(void **state)
{
	unsigned tried = 0;

	(void)state;
	for (int f = 0; f < FORMS; f++) {
		make(&forms[f]);
		for (enum way way = 0; way < WAYS; way++)
			for (int chunk = 0; chunk < CHUNKS; chunk++) {
				const int inner = (chunk + (int)way) % INNER;
				struct map should = { .calls = 0 }, is = { .calls = 0 };
				struct undo undo;
				char what[64];

				if (!applies(&forms[f], way))
					continue;
				snprintf(what, sizeof(what), "form %d, way %d, chunk %d", f,
					 (int)way, chunk);
				damage(&forms[f], way, chunk, inner, &undo);
				expect(&forms[f], &should, way, chunk, inner);
				assert_true(sde__is_damage(verify_into(&is, SDE_HOLE_ERROR)));
				assert_int_equal(is.calls, 1);
				same_map(&is, &should, what);
				assert_memory_equal(is.state, should.state, sizeof(is.state));
				for (int k = 0; k < M; k++)
					for (int n = 0; n < N && cause_of(&forms[f], way); n++)
						if (is.data[k][n])
							assert_int_equal(is.cause[k][n],
									 cause_of(&forms[f], way));
				read_with_nan(&should, what);
				if (chunk % 2)
					read_or_fail(&should);
				repair(&undo);
				tried++;
			}
	}
	printf("# %u damages\n", tried);
}

static void verify_goes_on_behind_every_damage(void **state)
{
	(void)state;
	for (int f = 0; f < FORMS; f++) {
		struct map should = { .calls = 0 }, is = { .calls = 0 };
		struct undo undo[CHUNKS + 1];
		unsigned count = 0;

		make(&forms[f]);
		for (int chunk = 0; chunk < CHUNKS; chunk++) {
			const enum way way = chunk == 0 ? CUT_IN_HALF : chunk == 1 ? REMOVED :
					     chunk == 2 && applies(&forms[f], SCRAMBLED) ? SCRAMBLED :
					     chunk == 3 ? MAGIC_FLIPPED : EMPTIED;

			damage(&forms[f], way, chunk, chunk % INNER, &undo[count++]);
			expect(&forms[f], &should, way, chunk, chunk % INNER);
		}
		/* and a block of times: the side tables of some chunks have theirs */
		snprintf(undo[count].name, sizeof(undo[count].name), PATH "/time/%s0",
			 forms[f].format == 3 ? "c/" : "");
		undo[count].bytes = scratch_read(undo[count].name, &undo[count].size);
		assert_int_equal(unlink(undo[count].name), 0);
		for (int k = 0; k < M; k++)
			should.time[k] = should.state[k];
		assert_true(sde__is_damage(verify_into(&is, SDE_HOLE_NAN)));
		same_map(&is, &should, "all at once");
		for (int k = 0; k < M; k++)
			assert_int_equal(is.restorable[k], !should.time[k]);
		read_with_nan(&should, "all at once");
		for (unsigned i = 0; i <= count; i++)
			repair(&undo[i]);
		assert_int_equal(verify_into(&is, SDE_HOLE_NAN), 0);
	}
}

static void swapped_chunk_files_are_both_lost(void **state)
{
	(void)state;
	for (int f = 0; f < FORMS; f += 5) {
		struct map should = { .calls = 0 }, is = { .calls = 0 };
		char one[64];

		make(&forms[f]);
		snprintf(one, sizeof(one), "%s", file_of(&forms[f], 1, INNER));
		assert_int_equal(rename(one, "aside"), 0);
		assert_int_equal(rename(file_of(&forms[f], 3, INNER), one), 0);
		assert_int_equal(rename("aside", file_of(&forms[f], 3, INNER)), 0);
		expect(&forms[f], &should, OTHER_CHUNK, 1, 0);
		expect(&forms[f], &should, OTHER_CHUNK, 3, 0);
		assert_int_equal(verify_into(&is, SDE_HOLE_ERROR), SDE_E_CORRUPT);
		same_map(&is, &should, "swapped");
		assert_int_equal(is.cause[T][0], SDE_CAUSE_FOREIGN);
		read_with_nan(&should, "swapped");
	}
}

/* Times and iteration numbers are kept twice: each place stands in for the other. */
static void damaged_times_are_taken_from_the_side_tables(void **state)
{
	static const char *const columns[] = { "time", "iteration" };

	(void)state;
	for (int f = 0; f < FORMS; f += 5)
		for (int column = 0; column < 2; column++)
			for (int way = 0; way < 3; way++) {
				struct map none = { .calls = 0 }, is = { .calls = 0 };
				unsigned char *bytes;
				char name[64];
				size_t size;

				/* without a checksum a flipped bit is seen by verify alone */
				if (way == 2 && forms[f].format == 2)
					continue;
				make(&forms[f]);
				snprintf(name, sizeof(name), PATH "/%s/%s0", columns[column],
					 forms[f].format == 3 ? "c/" : "");
				bytes = scratch_read(name, &size);
				bytes[40] ^= 1;
				assert_int_equal(unlink(name), 0);
				if (way)
					scratch_write(name, bytes, way == 1 ? 100 : size);
				free(bytes);
				assert_int_equal(verify_into(&is, SDE_HOLE_ERROR),
						 way ? SDE_E_CORRUPT : SDE_E_HOLE);
				same_map(&is, &none, name);
				for (int k = 0; k < M; k++)
					assert_true(is.restorable[k]);
				read_with_nan(&none, name);
				/* only where the chunk is gone as well */
				assert_int_equal(unlink(file_of(&forms[f], 2, INNER)), 0);
				expect(&forms[f], &none, MAGIC_FLIPPED, 2, 0);
				for (int k = 2 * T; k < 3 * T; k++)
					(column ? none.iteration : none.time)[k] = true;
				memset(&is, 0, sizeof(is));
				verify_into(&is, SDE_HOLE_ERROR);
				same_map(&is, &none, name);
				read_with_nan(&none, name);
			}
}

/* A block has 8192 times, and may end within a chunk: either part is lost by itself. */
static void of_a_lost_chunk_the_times_of_a_whole_block_stay(void **state)
{
	enum { SIZE = 5000, COUNT = 3 * SIZE, BLOCK = 8192 };
	static const int lost[2][2] = { { SIZE, BLOCK }, { BLOCK, 2 * SIZE } };
	static double t[COUNT];

	(void)state;
	for (int block = 0; block < 2; block++) {
		struct sde_zarr_options options = options_of(&forms[0]);
		const struct sde_ensemble one = { 1, WIDTH, SDE_FLOAT64 };
		struct sde_storage *storage;
		struct sde_array *time;
		char name[32];

		options.chunk_size = SIZE;
		options.sync = SDE_SYNC_NONE;
		assert_int_equal(sde_zarr_storage_create(&storage, PATH, &one, &options, NULL), 0);
		for (int k = 0; k < COUNT; k++)
			assert_int_equal(sde_storage_store(storage, time_of(k), t, (uint64_t)k), 0);
		assert_int_equal(sde_storage_close(storage), 0);
		assert_int_equal(unlink(PATH "/data/c/0/0/1"), 0);
		snprintf(name, sizeof(name), PATH "/time/c/%d", block);
		assert_int_equal(unlink(name), 0);
		storage = opened(SDE_HOLE_NAN);
		assert_int_equal(sde_storage_values(storage, &time, NULL), 0);
		assert_int_equal(sde_array_read(time, NULL, NULL, NULL, t, sizeof(t)), 0);
		for (int k = 0; k < COUNT; k++)
			if (k >= lost[block][0] && k < lost[block][1])
				assert_true(isnan(t[k]));
			else
				assert_true(t[k] == time_of(k));
		assert_int_equal(sde_array_holes(time, NULL, NULL), 1);
		sde_array_close(time);
		sde_storage_close(storage);
	}
}

static void a_read_of_damaged_times_names_their_snapshots(void **state)
{
	struct sde_storage *storage;
	struct sde_array *time;
	struct sde_error error;
	double t[M];

	(void)state;
	make(&forms[0]);
	assert_int_equal(unlink(PATH "/time/c/0"), 0);
	storage = opened(SDE_HOLE_ERROR);
	assert_int_equal(sde_storage_values(storage, &time, NULL), 0);
	assert_int_equal(sde_array_read(time, NULL, NULL, NULL, t, sizeof(t)), SDE_E_HOLE);
	sde_array_error(time, &error);
	twin_assert_sentence(error.text, "times of snapshots 0:18", "time/c/0");
	sde_array_close(time);
	sde_storage_close(storage);
}

/* A flipped time of format 2, which no checksum guards, contradicts the side table. */
static void a_block_that_differs_from_the_side_tables_is_named(void **state)
{
	const struct sde_verify verify = { .ctx = NULL };
	struct map none = { .calls = 0 }, is = { .calls = 0 };
	struct sde_storage *storage;
	unsigned char *bytes;
	size_t size;

	(void)state;
	make(&forms[5]);
	bytes = scratch_read(PATH "/time/0", &size);
	bytes[5 * 8 + 3] ^= 1;
	scratch_write(PATH "/time/0", bytes, size);
	free(bytes);
	assert_int_equal(verify_into(&is, SDE_HOLE_ERROR), SDE_E_CORRUPT);
	same_map(&is, &none, "a flipped time");
	for (int k = 0; k < M; k++)
		assert_int_equal(is.restorable[k], k / T == 5 / T);
	storage = opened(SDE_HOLE_NAN);
	assert_int_equal(sde_storage_verify(storage, &verify), SDE_E_CORRUPT);
	twin_assert_sentence(twin_sentence(storage), "snapshot 5", "differs");
	sde_storage_close(storage);
}

static void a_mapped_array_has_its_holes_filled(void **state)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	const struct sde_ensemble flat = { D, WIDTH, SDE_FLOAT64 };
	double x[D * WIDTH];

	(void)state;
	options.chunk_size = T;
	options.codec = SDE_CODEC_NONE;
	options.overwrite = 1;
	/* one chunk, which is mapped from its file, and two, which are copied */
	for (unsigned chunks = 1; chunks <= 2; chunks++) {
		struct map listed = { .calls = 0 };
		struct sde_storage *storage;
		struct sde_array *data;
		const void *base = NULL;
		int64_t strides[3];

		assert_int_equal(sde_zarr_storage_create(&storage, PATH, &flat, &options, NULL), 0);
		for (unsigned k = 0; k < chunks * T; k++) {
			for (int i = 0; i < D * WIDTH; i++)
				x[i] = k;
			assert_int_equal(sde_storage_store(storage, k, x, k), 0);
		}
		assert_int_equal(sde_storage_close(storage), 0);
		assert_int_equal(truncate(PATH "/data/c/0/0/0", 200), 0);
		storage = opened(SDE_HOLE_ERROR);
		assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
		assert_int_equal(sde_array_map(data, 0, &base, strides), SDE_E_CORRUPT);
		assert_null(base);
		sde_array_close(data);
		sde_storage_close(storage);
		storage = opened(SDE_HOLE_NAN);
		assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
		assert_int_equal(sde_array_map(data, 0, &base, strides), 0);
		for (unsigned k = 0; k < chunks * T; k++) {
			double is;

			memcpy(&is, (const char *)base + strides[0] + 3 * strides[1] + k * strides[2],
			       8);
			assert_true(k < T ? isnan(is) : is == k);
		}
		assert_int_equal(sde_array_holes(data, note, &listed), 1);
		assert_true(listed.data[0][0] && listed.data[T - 1][WIDTH - 1]);
		sde_array_close(data);
		sde_storage_close(storage);
	}
}

/* float32 has a NaN of its own; selections with steps meet holes, too. */
static void steps_and_float32_meet_holes(void **state)
{
	const struct sde_ensemble narrow = { 1, 3, SDE_FLOAT32 };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	const uint64_t start[3] = { 0, 0, 1 }, step[3] = { 1, 2, 3 };
	const uint64_t count[3] = { 1, 2, 4 };
	struct sde_storage *storage;
	struct sde_array *data;
	float x[3] = { 0 }, out[2][4];

	(void)state;
	options.chunk_size = 4;
	assert_int_equal(sde_zarr_storage_create(&storage, PATH, &narrow, &options, NULL), 0);
	for (unsigned k = 0; k < 12; k++) {
		for (unsigned n = 0; n < 3; n++)
			x[n] = (float)(10 * k + n);
		assert_int_equal(sde_storage_store(storage, k, x, k), 0);
	}
	assert_int_equal(sde_storage_close(storage), 0);
	assert_int_equal(unlink(PATH "/data/c/0/0/1"), 0);
	storage = opened(SDE_HOLE_NAN);
	assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
	assert_int_equal(sde_array_read(data, start, count, step, out, sizeof(out)), 0);
	for (unsigned n = 0; n < 2; n++)
		for (unsigned i = 0; i < 4; i++) {
			const unsigned k = 1 + 3 * i;

			assert_true(k / 4 == 1 ? isnan(out[n][i]) :
				    out[n][i] == (float)(10 * k + 2 * n));
		}
	assert_int_equal(sde_array_holes(data, NULL, NULL), 1);
	sde_array_close(data);
	sde_storage_close(storage);
}

/* ------------------------------------------------------------------------
 * Crashed stores
 */

/* A child stores, saves at `saved` and dies; synchronous, so that it is known what is where. */
static void crash(int saved, int last)
{
	const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = true };
	const struct sde_zarr_options options = options_of(&forms[0]);
	struct sde_storage *storage;
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (sde__zarr_create(&storage, PATH, &ensemble, &options, &hooks, NULL))
			_exit(1);
		store_some(storage, 0, saved);
		if (saved && sde_storage_save(storage))
			_exit(1);
		store_some(storage, saved, last);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void a_sealed_chunk_lost_before_the_ring_is_a_hole(void **state)
{
	struct map should = { .calls = 0 }, is = { .calls = 0 };
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	(void)state;
	/* three segments hold 6:18; chunk 0 was sealed and, of the ring, is lost */
	crash(0, M);
	assert_int_equal(unlink(PATH "/data/c/0/0/0"), 0);
	assert_int_equal(sde_storage_open(&storage, PATH, NULL, &error), SDE_E_HOLE);
	twin_assert_sentence(error.text, "snapshots 0:", "ring");
	for (int k = 0; k < T; k++) {
		for (int n = 0; n < N; n++)
			should.data[k][n] = true;
		should.time[k] = should.iteration[k] = true;
	}
	assert_int_equal(verify_into(&is, SDE_HOLE_NAN), SDE_E_HOLE);
	same_map(&is, &should, "before the ring");
	read_with_nan(&should, "before the ring");
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde_zarr_storage_resume(&storage, PATH, NULL, &error), SDE_E_HOLE);
}

/* ------------------------------------------------------------------------
 * The list itself
 */

static void holes_in_any_order_make_the_same_list(void **state)
{
	enum { RUNS = 300, CHUNK = 24, PARTS = 5 };
	uint64_t seed = 11;

	(void)state;
	for (int run = 0; run < RUNS; run++) {
		bool met[CHUNK][PARTS] = { { false } }, told[CHUNK][PARTS] = { { false } };
		struct sde__holes holes;
		struct sde__hole *list;
		size_t count;

		sde__holes_init(&holes, PARTS);
		for (int i = 0; i < 60; i++) {
			const uint64_t c = twin_below(&seed, CHUNK);
			struct sde__hole h = { 10 * c, 10 * c + 10, 0, PARTS, SDE_CAUSE_MISSING,
					       SDE_E_HOLE };

			if (twin_below(&seed, 2)) {
				h.inner = twin_below(&seed, PARTS);
				h.inner_end = h.inner + 1;
			}
			for (uint64_t p = h.inner; p < h.inner_end; p++)
				met[c][p] = true;
			assert_int_equal(sde__holes_add(&holes, &h), 0);
		}
		assert_int_equal(sde__holes_copy(&holes, &list, &count), 0);
		for (size_t i = 0; i < count; i++) {
			if (i)
				assert_true(list[i - 1].first < list[i].first ||
					    (list[i - 1].first == list[i].first &&
					     list[i - 1].inner_end <= list[i].inner));
			for (uint64_t c = list[i].first / 10; c < list[i].end / 10; c++)
				for (uint64_t p = list[i].inner; p < list[i].inner_end; p++) {
					assert_false(told[c][p]);
					told[c][p] = true;
				}
		}
		assert_memory_equal(met, told, sizeof(met));
		free(list);
		sde__holes_free(&holes);
	}
}

static void a_long_run_of_missing_files_is_one_hole(void **state)
{
	struct sde__holes holes;
	struct sde__hole *list;
	size_t count;

	(void)state;
	sde__holes_init(&holes, 7);
	for (uint64_t i = 0; i < 100000; i++) {
		const uint64_t c = i * 7919 % 100000;
		const struct sde__hole h = { 4 * c, 4 * c + 4, 0, 7, SDE_CAUSE_MISSING, SDE_E_HOLE };

		assert_int_equal(sde__holes_add(&holes, &h), 0);
	}
	assert_int_equal(holes.count, 1);
	assert_int_equal(sde__holes_copy(&holes, &list, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(list[0].first, 0);
	assert_int_equal(list[0].end, 400000);
	free(list);
	sde__holes_free(&holes);
}

/* What verify told of trajectories, one line each. */
struct lines {
	unsigned count;
	uint64_t snapshots[128][2], trajectories[128][2];
};

static void add_line(void *ctx, const struct sde_damage *damage)
{
	struct lines *lines = ctx;

	assert_true(lines->count < 128);
	assert_int_equal(damage->cause, SDE_CAUSE_MISSING);
	assert_int_equal(damage->lost, SDE_PART_DATA);
	twin_assert_sentence(damage->text, "/data", NULL);
	memcpy(lines->snapshots[lines->count], damage->snapshots, 16);
	memcpy(lines->trajectories[lines->count++], damage->trajectories, 16);
}

static void remove_inner(unsigned inner)
{
	char name[64];

	snprintf(name, sizeof(name), PATH "/data/0.%u.1", inner);
	assert_int_equal(unlink(name), 0);
}

/* A document may say that there are any number of them: 64 are told one by one. */
static void a_long_run_of_missing_inner_chunks_is_told_at_once(void **state)
{
	static const double x[100];
	const struct sde_ensemble wide = { 1, 100, SDE_FLOAT64 };
	struct sde_zarr_options options = options_of(&forms[5]);
	struct lines lines = { 0 };
	const struct sde_verify verify = { .lost = add_line, .ctx = &lines };
	struct sde_storage *storage;

	(void)state;
	options.trajectories_per_chunk = 1;
	options.state_capacity = 0;
	assert_int_equal(sde_zarr_storage_create(&storage, PATH, &wide, &options, NULL), 0);
	for (uint64_t k = 0; k < T + 2; k++)
		assert_int_equal(sde_storage_store(storage, (double)k, x, k), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	for (unsigned i = 5; i < 95; i++)
		remove_inner(i);
	remove_inner(96);
	assert_int_equal(sde_storage_open(&storage, PATH, NULL, NULL), 0);
	assert_int_equal(sde_storage_verify(storage, &verify), SDE_E_HOLE);
	assert_int_equal(sde_storage_close(storage), 0);
	assert_int_equal(lines.count, 64 + 1 + 1);
	for (unsigned i = 0; i < lines.count; i++) {
		const uint64_t first = i < 65 ? 5 + i : 96, end = i < 64 ? first + 1 : i == 64 ? 95 : 97;

		assert_int_equal(lines.snapshots[i][0], T);
		assert_int_equal(lines.snapshots[i][1], T + 2);
		assert_int_equal(lines.trajectories[i][0], first);
		assert_int_equal(lines.trajectories[i][1], end);
	}
	/* and up to the last */
	for (unsigned i = 95; i < 100; i++)
		if (i != 96)
			remove_inner(i);
	lines.count = 0;
	assert_int_equal(sde_storage_open(&storage, PATH, NULL, NULL), 0);
	assert_int_equal(sde_storage_verify(storage, &verify), SDE_E_HOLE);
	assert_int_equal(sde_storage_close(storage), 0);
	assert_int_equal(lines.count, 65);
	assert_int_equal(lines.trajectories[64][1], 100);
}

static void on_hole_is_checked_and_may_be_left_out(void **state)
{
	struct sde_open_options options = SDE_OPEN_OPTIONS_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;

	(void)state;
	make(&forms[0]);
	options.on_hole = (enum sde_hole)3;
	assert_int_equal(sde_storage_open(&storage, PATH, &options, &error), -EINVAL);
	twin_assert_sentence(error.text, "on_hole", NULL);
	/* what a caller of before has */
	options.size = offsetof(struct sde_open_options, on_hole);
	assert_int_equal(sde_storage_open(&storage, PATH, &options, NULL), 0);
	sde_storage_close(storage);
	assert_int_equal(sde_array_holes(NULL, NULL, NULL), -EINVAL);
	assert_string_equal(sde_cause_name(SDE_CAUSE_SIDE_TABLE), "side table");
	assert_string_equal(sde_cause_name((enum sde_cause)0), "unknown");
	assert_string_equal(sde_cause_name((enum sde_cause)77), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(every_damage_costs_what_the_geometry_says),
		SCRATCH_TEST(verify_goes_on_behind_every_damage),
		SCRATCH_TEST(swapped_chunk_files_are_both_lost),
		SCRATCH_TEST(damaged_times_are_taken_from_the_side_tables),
		SCRATCH_TEST(of_a_lost_chunk_the_times_of_a_whole_block_stay),
		SCRATCH_TEST(a_read_of_damaged_times_names_their_snapshots),
		SCRATCH_TEST(a_block_that_differs_from_the_side_tables_is_named),
		SCRATCH_TEST(a_mapped_array_has_its_holes_filled),
		SCRATCH_TEST(steps_and_float32_meet_holes),
		SCRATCH_TEST(a_sealed_chunk_lost_before_the_ring_is_a_hole),
		SCRATCH_TEST(holes_in_any_order_make_the_same_list),
		SCRATCH_TEST(a_long_run_of_missing_files_is_one_hole),
		SCRATCH_TEST(a_long_run_of_missing_inner_chunks_is_told_at_once),
		SCRATCH_TEST(on_hole_is_checked_and_may_be_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
