/* SPDX-License-Identifier: MIT */
/* Several columns as one store, read: see rank_columns.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rank_columns.h"

#include "assess.h"
#include "strided.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int open_column(struct sde__reader **out, const struct sde__columns_ask *ask,
		       uint64_t column, struct sde_error *error)
{
	const bool alone = sde__column_count(&ask->metadata->geometry) == 1;
	struct sde__reader *own = sde__reader_new(ask->home->io);
	int ret;

	*out = own;
	if (!own)
		return sde__fail(error, -ENOMEM, "out of memory");
	own->fill = ask->fill;
	own->metadata = *ask->metadata;
	own->metadata.attributes = own->metadata.time_units = NULL;	/* not its own */
	own->metadata.geometry = sde__column_geometry(&ask->metadata->geometry, column);
	own->codec = (struct sde__codec){
		.id = own->metadata.codec, .item = sde__dtype_size(own->metadata.geometry.dtype),
		.checksum = own->metadata.checksum,
		.keepbits = sde__rounding(own->metadata.geometry.dtype, own->metadata.keepbits),
	};
	memcpy(own->run, ask->run, sizeof(own->run));
	ret = sde__home_column(&own->home, ask->home, column, alone, error);
	return ret ? ret : sde__assess(own, ask->locked_by_us, ask->patient, ask->choice, ask->log,
				       error);
}

int sde__columns_open_one(struct sde__reader **out, const struct sde__columns_ask *ask,
			  struct sde_error *error)
{
	const int ret = open_column(out, ask, ask->first, error);

	if (ret) {
		sde__reader_unref(*out);
		*out = NULL;
	}
	return ret;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What all of them have, and the worst that befell one. */
static void combine(struct sde__reader *reader)
{
	reader->snapshots = reader->filed = reader->counters.synced = UINT64_MAX;
	reader->state = SDE_STATE_CLOSED;
	reader->ignored = 0;
	for (uint64_t i = 0; i < reader->columns; i++) {
		const struct sde__reader *own = reader->column[i];
		const uint64_t synced = own->counters.synced > own->filed ? own->counters.synced :
					own->filed;

		reader->snapshots = least(reader->snapshots, own->snapshots);
		reader->filed = least(reader->filed, own->filed);
		reader->counters.synced = least(reader->counters.synced, synced);
		if (own->state < reader->state)
			reader->state = own->state;
		if (own->ignored > reader->ignored)
			reader->ignored = own->ignored;
		if (own->broken.code && !reader->broken.code)
			reader->broken = own->broken;
		if (own->unsynced.code && !reader->unsynced.code)
			reader->unsynced = own->unsynced;
	}
	reader->ringed = reader->filed;
	for (uint64_t i = 0; i < reader->columns; i++) {
		reader->column[i]->reached = reader->column[i]->snapshots;
		reader->column[i]->reached_filed = reader->column[i]->filed;
		sde__reader_limit(reader->column[i], reader->snapshots);
	}
}

/* Room for as many columns as were found to be there, and one more. */
static int make_room(struct sde__reader *reader, uint64_t *room, struct sde_error *error)
{
	struct sde__reader **grown;

	if (reader->columns < *room)
		return 0;
	*room = *room ? 2 * *room : 16;
	grown = realloc(reader->column, (size_t)*room * sizeof(struct sde__reader *));
	if (!grown)
		return sde__fail(error, -ENOMEM, "out of memory");
	reader->column = grown;
	return 0;
}

int sde__columns_open(struct sde__reader *reader, const struct sde__columns_ask *ask,
		      struct sde_error *error)
{
	uint64_t room = 0;
	int ret = 0;

	while (reader->columns < ask->count && !ret) {
		struct sde__reader *own;

		ret = make_room(reader, &room, error);
		if (ret)
			break;
		ret = open_column(&own, ask, ask->first + reader->columns, error);
		if (own)
			reader->column[reader->columns++] = own;
	}
	if (!ret)
		combine(reader);
	return ret;
}

int sde__columns_assess(struct sde__reader *reader, bool locked_by_us, bool patient,
			enum sde_ring choice, const struct sde__log *log, struct sde_error *error)
{
	const struct sde__columns_ask ask = {
		.home = &reader->home, .metadata = &reader->metadata, .run = reader->run,
		.count = sde__column_count(&reader->metadata.geometry), .fill = reader->fill,
		.locked_by_us = locked_by_us, .patient = patient, .choice = choice, .log = log,
	};
	int locked = 0, ret;

	if (!locked_by_us)
		locked = sde__home_is_locked(&reader->home, error);
	ret = locked < 0 ? locked : sde__columns_open(reader, &ask, error);
	if (!ret && locked)
		reader->state = SDE_STATE_RUNNING;
	return ret;
}

int sde__columns_view(struct sde__reader **out, const struct sde__home *home, uint64_t first,
		      uint64_t count, const struct sde__log *log, struct sde_error *error)
{
	struct sde__reader *reader = sde__reader_new(home->io);
	struct sde__geometry *g;
	struct sde__columns_ask ask = {
		.first = first, .count = count, .log = log,
	};
	int ret;

	*out = NULL;
	if (!reader)
		return sde__fail(error, -ENOMEM, "out of memory");
	g = &reader->metadata.geometry;
	ask.home = &reader->home;
	ask.metadata = &reader->metadata;
	ask.run = reader->run;
	ret = sde__home_reopen(&reader->home, home, error);
	if (!ret)
		ret = sde__reader_enter(reader, error);
	if (!ret)
		ret = sde__columns_open(reader, &ask, error);
	if (ret) {
		sde__reader_unref(reader);
		return ret;
	}
	g->trajectories = 0;
	for (uint64_t i = 0; i < count; i++)
		g->trajectories += reader->column[i]->metadata.geometry.trajectories;
	/* the only column is as wide as it is */
	if (!g->column_width)
		g->column_width = sde__shard_width(g);
	*out = reader;
	return 0;
}

void sde__columns_close(struct sde__reader *reader)
{
	for (uint64_t i = 0; i < reader->columns; i++)
		sde__reader_unref(reader->column[i]);
	free(reader->column);
	reader->column = NULL;
	reader->columns = 0;
}
