/* SPDX-License-Identifier: MIT */
/*
 * Looking a store over: every chunk and block is read, and what a damage costs is
 * told, part by part. Guards that the check never ends at the first damage, and that
 * nothing is called lost which the store has elsewhere.
 *
 *	chunk file not to be used	data and states of the chunk; times only if
 *					they are not published yet
 *	inner chunk			data of its trajectories
 *	rest of the side table		states; times as above
 *	block of time, iteration	nothing, where the chunks' side tables are whole
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "chunk_list.h"
#include "cursor.h"
#include "zarr_storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A block of one column, as it was read. */
struct block {
	struct sde__series_files files;
	uint64_t number;		/* UINT64_MAX: none */
	uint64_t *values;
	struct sde_error why;		/* code 0: it is whole */
	enum sde_cause cause;
};

struct verification {
	struct sde__reader *store;
	struct sde__cursor all;
	/* the column at hand; of a store that has no several, the store */
	struct sde__reader *reader;
	struct sde__cursor *cursor;
	uint64_t column;
	const struct sde_verify *verify;
	bool decode;
	struct sde_error first;		/* damage of all */
	struct sde_error failed;	/* what is no damage, and ends it */
	struct block block[2];		/* by enum sde__column */
	/* of the chunk at hand */
	uint64_t chunk;
	uint64_t span[2];		/* its snapshots, those in its file */
	bool in_ring;			/* the ring has them all */
	struct sde_error chunk_first;
};

static uint64_t published_in(const struct verification *v)
{
	const uint64_t published = v->reader->metadata.snapshots;

	return published < v->span[0] ? v->span[0] : published > v->span[1] ? v->span[1] : published;
}

/* A damage; `error` has its code and sentence. */
static void tell(struct verification *v, struct sde_damage *damage, const struct sde_error *error)
{
	const struct sde_verify *verify = v->verify;

	if (!sde__is_damage(error->code)) {
		if (!v->failed.code)
			v->failed = *error;
		return;
	}
	if (!v->first.code)
		v->first = *error;
	if (!v->chunk_first.code)
		v->chunk_first = *error;
	damage->size = sizeof(*damage);
	damage->code = error->code;
	damage->text = error->text;
	if (verify->lost)
		verify->lost(verify->ctx, damage);
}

/* A damage of the chunk's file, to inner chunks inner:inner_end or, if that is 0, to all. */
static void tell_file(struct verification *v, unsigned parts, uint64_t inner, uint64_t inner_end,
		      const struct sde_error *error)
{
	struct sde_damage damage = { .cause = v->cursor->file.cause };
	char place[320];

	damage.snapshots[0] = v->span[0];
	damage.snapshots[1] = v->span[1];
	sde__cursor_span(v->cursor, inner, inner_end ? inner_end : v->cursor->file.inner_count,
			 damage.trajectories);
	if (inner_end) {
		sde__shard_reader_place(&v->cursor->file, inner, place, sizeof(place));
	} else {
		snprintf(place, sizeof(place), "%s", v->cursor->file.place);
	}
	damage.file = place;
	if (!v->reader->metadata.state_capacity)
		parts &= ~(unsigned)SDE_PART_STATE;
	if (v->in_ring)
		damage.restorable = parts;
	else
		damage.lost = parts;
	tell(v, &damage, error);
}

/* The times behind the published ones are in the side table alone. */
static void tell_unpublished(struct verification *v, const struct sde_error *error)
{
	uint64_t whole[2] = { v->span[0], v->span[1] };

	v->span[0] = published_in(v);
	if (v->span[0] < v->span[1])
		tell_file(v, SDE_PART_TIME | SDE_PART_ITERATION, 0, 0, error);
	memcpy(v->span, whole, sizeof(whole));
}

/* ------------------------------------------------------------------------
 * Blocks of times
 */

static void load_block(struct block *block, uint64_t number)
{
	if (block->number == number)
		return;
	block->number = number;
	sde__error_clear(&block->why);
	sde__series_read_block(&block->files, number, block->values, &block->cause, &block->why);
}

/* The first of `count` numbers that differ; count if none does. */
static uint64_t first_difference(const uint64_t *a, const uint64_t *b, uint64_t count)
{
	uint64_t i = 0;

	while (i < count && a[i] == b[i])
		i++;
	return i;
}

/* Has another column a whole side table of the chunk at hand? All have the same times. */
static bool is_elsewhere(struct verification *v)
{
	for (uint64_t c = 0; c < v->store->columns; c++) {
		struct sde__cursor *cursor = sde__cursor_column(&v->all, c, NULL);

		if (c != v->column && cursor &&
		    !sde__cursor_open(cursor, v->chunk, v->span[1] - v->span[0], NULL) &&
		    !sde__cursor_side(cursor, NULL))
			return true;
	}
	return false;
}

/*
 * The numbers first:end of one block, all in the chunk at hand, whose side table has
 * `side`, or NULL if it is lost.
 */
static void check_share(struct verification *v, enum sde__column column, uint64_t first,
			uint64_t end, const uint64_t *side)
{
	const unsigned part = column == SDE__COLUMN_TIME ? SDE_PART_TIME : SDE_PART_ITERATION;
	struct block *block = &v->block[column];
	struct sde_damage damage = { .snapshots = { first, end } };
	struct sde_error why;
	char place[320];
	uint64_t differs;

	load_block(block, first / SDE__TIME_BLOCK);
	why = block->why;
	damage.cause = block->cause;
	if (!why.code && side) {
		differs = first_difference(block->values + first % SDE__TIME_BLOCK, side, end - first);
		if (differs < end - first)
			sde__fail(&why, SDE_E_CORRUPT, "'%s/%s' differs from chunk '%s' at snapshot %" PRIu64,
				  v->reader->home.path, block->files.place, v->cursor->file.place,
				  first + differs);
		damage.cause = SDE_CAUSE_DIFFERS;
	}
	/* a block that cannot be read is told of once, not by each column */
	if (!why.code || (block->why.code && v->column))
		return;
	snprintf(place, sizeof(place), "%.200s/%s/%" PRIu64, v->reader->home.path,
		 block->files.place, block->number);
	damage.file = place;
	damage.trajectories[1] = v->store->metadata.geometry.trajectories;
	if (side || v->in_ring || is_elsewhere(v))
		damage.restorable = part;
	else
		damage.lost = part;
	tell(v, &damage, &why);
}

static void check_column(struct verification *v, enum sde__column column, const uint64_t *side)
{
	const uint64_t published = published_in(v);

	for (uint64_t i = v->span[0], end; i < published; i = end) {
		end = (i / SDE__TIME_BLOCK + 1) * SDE__TIME_BLOCK;
		if (end > published)
			end = published;
		check_share(v, column, i, end, side ? side + (i - v->span[0]) : NULL);
	}
}

/* ------------------------------------------------------------------------
 * Chunks
 */

/* What of an inner chunk is looked at. */
static int look_at(struct verification *v, uint64_t inner, struct sde_error *error)
{
	int ret;

	if (v->decode)
		return sde__cursor_keep(v->cursor, inner, SDE__INNER_STORED, error);
	if (v->reader->home.format == 2)
		return sde__shard_reader_look(&v->cursor->file, inner, error);
	if (v->cursor->indexed)
		return 0;
	ret = sde__shard_reader_index(&v->cursor->file, error);
	v->cursor->indexed = !ret;
	return ret;
}

/* Without its index nothing in a file is found. */
static bool is_without_index(const struct verification *v)
{
	if (v->decode)
		return !v->cursor->indexed || !v->cursor->kept;
	return v->reader->home.format != 2 && !v->cursor->indexed;
}

/* The inner chunks from `inner` on to the next that is there are told at once: returns it. */
static uint64_t skip_inner(struct verification *v, uint64_t inner)
{
	const uint64_t count = v->cursor->file.inner_count;
	struct sde_error why = { 0 };
	uint64_t next;

	/* what cannot be listed is lost up to the end */
	if (sde__chunk_list_next_inner(&v->reader->home, v->chunk, inner, &next, &why) || next > count)
		next = count;
	if (next == inner)
		return next;
	if (why.code)
		v->cursor->file.cause = SDE_CAUSE_UNREADABLE;
	sde__fail(&why, SDE_E_HOLE, "'%s/data' lacks the inner chunks %" PRIu64 ":%" PRIu64
		  " of chunk %" PRIu64, v->reader->home.path, inner, next, v->chunk);
	tell_file(v, SDE_PART_DATA, inner, next, &why);
	return next;
}

static void check_inner(struct verification *v)
{
	unsigned missing = 0;

	for (uint64_t i = 0; i < v->cursor->file.inner_count && !v->failed.code; ) {
		struct sde_error why = { 0 };

		if (!look_at(v, i++, &why)) {
			missing = 0;
			continue;
		}
		/* said once */
		if (is_without_index(v)) {
			tell_file(v, SDE_PART_DATA, 0, 0, &why);
			return;
		}
		tell_file(v, SDE_PART_DATA, i - 1, i, &why);
		missing = why.code == SDE_E_HOLE ? missing + 1 : 0;
		if (missing >= SDE__MISSING_ONES)
			i = skip_inner(v, i);
	}
}

static void verify_chunk(struct verification *v, uint64_t chunk)
{
	const struct sde__reader *reader = v->reader;
	const struct sde__side *side = &v->cursor->file.side;
	struct sde_error why = { 0 };
	bool sided = false;

	v->chunk = chunk;
	sde__reader_span(reader, chunk * reader->metadata.geometry.chunk_size, v->span);
	v->in_ring = reader->ring && v->span[0] >= reader->ringed;
	/* then only what is published concerns the file */
	if (v->in_ring)
		v->span[1] = published_in(v);
	sde__error_clear(&v->chunk_first);
	if (sde__cursor_open(v->cursor, chunk, v->span[1] - v->span[0], &why)) {
		tell_file(v, SDE_PART_DATA | SDE_PART_STATE, 0, 0, &why);
		tell_unpublished(v, &why);
	} else {
		check_inner(v);
		sided = !sde__cursor_side(v->cursor, &why);
		if (!sided) {
			tell_file(v, SDE_PART_STATE, 0, 0, &why);
			tell_unpublished(v, &why);
		}
	}
	check_column(v, SDE__COLUMN_TIME, sided ? (const uint64_t *)(const void *)side->time : NULL);
	check_column(v, SDE__COLUMN_ITERATION,
		     sided ? (const uint64_t *)(const void *)side->iteration : NULL);
	if (v->chunk_first.code && v->verify->damage)
		v->verify->damage(v->verify->ctx, v->span[0], v->span[1] - v->span[0],
				  v->chunk_first.code, v->chunk_first.text);
}

static int begin(struct verification *v, struct sde_error *error)
{
	for (int column = 0; column < 2; column++) {
		struct block *block = &v->block[column];

		block->files = sde__series_files(&v->store->home, (enum sde__column)column);
		block->number = UINT64_MAX;
		block->values = malloc(8 * SDE__TIME_BLOCK);
		if (!block->values)
			return sde__fail(error, -ENOMEM, "out of memory");
	}
	sde__cursor_init(&v->all, v->store);
	return 0;
}

/* SDE__MISSING_ONES are told one by one; then all up to the next, without their times. */
static int skip_missing(struct verification *v, uint64_t *chunk, uint64_t end,
			struct sde_error *error)
{
	const struct sde__reader *reader = v->reader;
	const uint64_t size = reader->metadata.geometry.chunk_size;
	const uint64_t chunks = (end + size - 1) / size, first = *chunk * size;
	struct sde_damage damage = { .cause = SDE_CAUSE_MISSING };
	struct sde_error why = { 0 };
	char place[320];
	int ret;

	ret = sde__chunk_list_next(&reader->home, *chunk, chunk, &why);
	if (ret && !sde__is_damage(ret))
		return sde__fail(error, ret, "%s", why.text);
	/* what cannot be listed is lost up to the end */
	if (ret)
		damage.cause = SDE_CAUSE_UNREADABLE;
	if (ret || *chunk > chunks)
		*chunk = chunks;
	damage.snapshots[0] = first;
	damage.snapshots[1] = *chunk < chunks ? *chunk * size : end;
	if (damage.snapshots[1] <= first)
		return 0;
	sde__cursor_span(v->cursor, 0, v->cursor->file.inner_count, damage.trajectories);
	damage.lost = SDE_PART_DATA | (reader->metadata.state_capacity ? SDE_PART_STATE : 0);
	snprintf(place, sizeof(place), "%.200s/data", reader->home.path);
	damage.file = place;
	sde__fail(&why, SDE_E_HOLE, "'%s' lacks the chunks of snapshots %" PRIu64 ":%" PRIu64,
		  reader->home.path, first, damage.snapshots[1]);
	tell(v, &damage, &why);
	if (v->verify->damage)
		v->verify->damage(v->verify->ctx, first, damage.snapshots[1] - first, why.code,
				  why.text);
	return 0;
}

/* What there is to be looked at of one column: files that the ring stands in for, too. */
static uint64_t end_of(const struct sde__reader *reader)
{
	return reader->ringed > reader->metadata.snapshots ? reader->ringed :
	       reader->metadata.snapshots;
}

static uint64_t end_of_all(const struct sde__reader *store)
{
	uint64_t end = end_of(store);

	for (uint64_t c = 0; c < store->columns; c++)
		if (end_of(store->column[c]) > end)
			end = end_of(store->column[c]);
	return end;
}

/* Columns are gone through one after the other: each is its part of all snapshots. */
static int tell_progress(const struct verification *v, uint64_t done, struct sde_error *error)
{
	const uint64_t columns = v->store->columns ? v->store->columns : 1;
	const uint64_t all = end_of_all(v->store);
	const uint64_t so_far = v->column + 1 == columns && done == end_of(v->reader) ? all :
				columns == 1 ? done : v->column * (all / columns) + done / columns;

	if (v->verify->progress && v->verify->progress(v->verify->ctx, so_far, all))
		return sde__fail(error, -ECANCELED, "verification was stopped");
	return 0;
}

static int verify_column(struct verification *v, struct sde_error *error)
{
	const uint64_t size = v->store->metadata.geometry.chunk_size;
	uint64_t end, k = 0;
	unsigned missing = 0;
	int ret = 0;

	v->reader = v->store->columns ? v->store->column[v->column] : v->store;
	v->cursor = sde__cursor_column(&v->all, v->column, error);
	if (!v->cursor)
		return -ENOMEM;
	end = end_of(v->reader);
	while (k * size < end && !ret) {
		verify_chunk(v, k++);
		missing = v->chunk_first.code == SDE_E_HOLE ? missing + 1 : 0;
		ret = v->failed.code ? sde__fail(error, v->failed.code, "%s", v->failed.text) : 0;
		if (!ret && missing >= SDE__MISSING_ONES)
			ret = skip_missing(v, &k, end, error);
		if (!ret)
			ret = tell_progress(v, k * size < end ? k * size : end, error);
	}
	return ret;
}

static int verify_all(struct sde__reader *reader, const struct sde_verify *verify, bool decode,
		      struct sde_error *error)
{
	struct verification v = { .store = reader, .verify = verify, .decode = decode };
	int ret;

	ret = begin(&v, error);
	for (; v.column < (reader->columns ? reader->columns : 1) && !ret; v.column++)
		ret = verify_column(&v, error);
	sde__cursor_free(&v.all);
	free(v.block[0].values);
	free(v.block[1].values);
	if (!ret && v.first.code)
		ret = sde__fail(error, v.first.code, "%s", v.first.text);
	return ret;
}

int sde__zarr_view_verify(struct sde__reader *reader, const struct sde_verify *verify,
			  struct sde_error *error)
{
	return verify_all(reader, verify, true, error);
}

int sde__zarr_view_survey(struct sde__reader *reader, const struct sde_verify *verify,
			  struct sde_error *error)
{
	return verify_all(reader, verify, false, error);
}
