/* SPDX-License-Identifier: MIT */
/*
 * How several writers begin on one store: the order of things at create and resume. See
 * share_storage.h; what each of them does in between is in share.c.
 *
 * Every step that can fail on one rank is followed by an agreement; after one that
 * failed all ranks are at the same place, and leave.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "share_storage.h"

#include "options.h"
#include "storage.h"
#include "unsynced.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What create and resume are given, and what becomes of it. */
struct beginning {
	struct sde__share *share;
	struct sde_storage **out;
	const char *path;
	const struct sde_ensemble *ensemble;	/* this rank's */
	const struct sde_zarr_options *options;
	uint64_t all;				/* trajectories of all ranks */
	uint64_t first, count;			/* of this one */
	struct sde__home old;			/* to be replaced */
	bool exists, settled;
	struct sde__new_store {			/* given by the leader */
		unsigned char run[16];
		char temporary[NAME_MAX + 1];
	} place;
	uint64_t snapshots;
};

typedef int step(struct beginning *b, struct sde_error *error);

/* Take a step, or let others take it, and agree. */
static int take(struct beginning *b, step *what, bool mine, struct sde_error *error)
{
	struct sde_error own = { 0 };
	int ret = mine ? what(b, &own) : 0;

	if (ret && !own.code)
		sde__fail(&own, ret, "%s", sde_strerror(ret));
	return sde__accord_agree(&b->share->accord, &own, error);
}

static bool leads(const struct beginning *b)
{
	return sde__share_leads(b->share);
}

static uint64_t text_print(const char *text)
{
	return text ? sde__accord_print(text, strlen(text)) : 0;
}

static int check_arguments(struct beginning *b, struct sde_error *error)
{
	if (!b->out)
		return sde__fail(error, -EINVAL, "no place for the storage");
	if (!b->path || !*b->path)
		return sde__fail(error, -EINVAL, "no save_directory given");
	return 0;
}

/* What all ranks must have been given alike: the options were taken already. */
static int compare(const struct beginning *b, struct sde_error *error)
{
	const struct sde_zarr_options *o = &b->share->config.options;
	const struct sde_ensemble *e = b->ensemble;
	const struct sde__alike things[] = {
		{ "save_directory", text_print(b->path) },
		{ "idea of whether the ensemble is given", e != NULL },
		{ "dimension", e ? e->dimension : 0 },
		{ "dtype", e ? (uint64_t)e->dtype : 0 },
		{ "stride", o->stride },
		{ "chunk_size", o->chunk_size },
		{ "trajectories_per_chunk", o->trajectories_per_chunk },
		{ "zarr_format", o->zarr_format },
		{ "codec", (uint64_t)o->codec },
		{ "checksum", (uint64_t)o->checksum },
		{ "keepbits", o->keepbits },
		{ "sync", (uint64_t)o->sync },
		{ "state_capacity", o->state_capacity },
		{ "overwrite", (uint64_t)o->overwrite },
		{ "ring", (uint64_t)o->ring },
		{ "text of attributes", text_print(o->attributes) },
		{ "time_units", text_print(o->time_units) },
	};

	return sde__accord_alike(&b->share->accord, things, sizeof(things) / sizeof(*things),
				 -EINVAL, error);
}

/*
 * How many trajectories each rank has: `width` becomes that of rank 0, unless it is
 * given. Every rank finds the same, so that no agreement is needed but on memory.
 */
static int count_trajectories(struct beginning *b, uint64_t *width, struct sde_error *error)
{
	const struct sde__accord *a = &b->share->accord;
	uint64_t *counts = malloc((size_t)a->size * sizeof(*counts));
	struct sde_error own = { 0 };
	int ret;

	if (!counts)
		sde__fail(&own, -ENOMEM, "out of memory");
	ret = sde__accord_agree(a, &own, error);
	for (int rank = 0; counts && rank < a->size; rank++)
		counts[rank] = rank == a->rank ? b->ensemble->trajectories : UINT64_MAX;
	if (!ret)
		a->least(a->ctx, counts, (size_t)a->size);
	/* counts is there if ret is 0; the analyzer does not know */
	for (int rank = 0; counts && !ret && rank < a->size; rank++) {
		if (rank == 0 && !counts[0])
			ret = sde__fail(error, -EINVAL, "rank 0 has no trajectories");
		else if (rank == 0 && !*width)
			*width = counts[0];
		if (!ret && counts[rank] && b->all % *width)
			ret = sde__fail(error, -EINVAL,
					"the trajectories of rank %d begin at %" PRIu64
					", which is no multiple of a column's %" PRIu64, rank, b->all,
					*width);
		if (rank == a->rank)
			b->first = b->all;
		if (!ret && __builtin_add_overflow(b->all, counts[rank], &b->all))
			ret = sde__fail(error, -EINVAL, "more trajectories than can be counted");
	}
	b->count = b->ensemble ? b->ensemble->trajectories : 0;
	free(counts);
	return ret;
}

/* This rank's columns, by its trajectories. */
static int take_columns(struct beginning *b, struct sde_error *error)
{
	const struct sde__geometry *g = &b->share->config.metadata.geometry;
	const uint64_t width = g->column_width ? g->column_width : g->trajectories;

	return sde__share_take(b->share, b->count ? b->first / width : 0,
			       (b->count + width - 1) / width, error);
}

static int enter_columns(struct beginning *b, struct sde_error *error)
{
	return sde__share_enter(b->share, error);
}

static int begin_columns(struct beginning *b, struct sde_error *error)
{
	return sde__share_begin(b->share, error);
}

static int derive(struct beginning *b, struct sde_error *error)
{
	return sde__share_derive(b->out, b->share, error);
}

/* ------------------------------------------------------------------------
 * Create
 */

static int check_new(struct beginning *b, struct sde_error *error)
{
	struct sde__zarr_config config;
	struct sde_ensemble probe;
	int ret = check_arguments(b, error);

	if (ret)
		return ret;
	if (!b->ensemble)
		return sde__fail(error, -EINVAL, "no ensemble given");
	/* options and ensemble by themselves; a rank may have no trajectories */
	probe = *b->ensemble;
	if (!probe.trajectories)
		probe.trajectories = 1;
	ret = sde__zarr_config_new(&config, &probe, NULL, error);
	if (ret)
		return ret;
	sde__zarr_config_clear(&config);
	return sde__options_take(&b->share->config.options, sizeof(*b->options),
				 sizeof(*b->options), b->options, "struct sde_zarr_options", error);
}

static int make_config(struct beginning *b, uint64_t width, struct sde_error *error)
{
	const struct sde_ensemble all = {
		.dimension = b->ensemble->dimension, .trajectories = b->all,
		.dtype = b->ensemble->dtype,
	};
	int ret;

	ret = sde__zarr_config_new_columns(&b->share->config, &all, width < b->all ? width : 0,
					   b->options, error);
	if (!ret && leads(b))
		sde__zarr_config_warn(&b->share->config);
	return ret;
}

static int make_parent(struct beginning *b, struct sde_error *error)
{
	const struct sde_zarr_options *o = &b->share->config.options;
	char *parent = sde__home_parent_path(b->path);
	int ret;

	if (!parent)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = o->make_directory ? o->make_directory(o->make_directory_ctx, parent) :
	      sde__io_make_directories(NULL, parent);
	if (ret)
		sde__fail_why(error, ret, "cannot make directory '%s'", parent);
	free(parent);
	return ret;
}

/* The store that is to be replaced: one of ours, and nobody's at the moment. */
static int take_old(struct beginning *b, struct sde_error *error)
{
	struct sde__metadata metadata = { 0 };
	int ret;

	ret = sde__home_open_old(&b->old, &b->share->home, error);
	if (!ret)
		ret = sde__documents_read(&b->old, &metadata, error);
	sde__metadata_clear(&metadata);
	if (!ret)
		ret = sde__home_enter(&b->old, error);
	return ret ? ret : sde__home_lock(&b->old, error);
}

static int build(struct beginning *b, struct sde_error *error)
{
	struct sde__share *s = b->share;
	const uint64_t columns = sde__column_count(&s->config.metadata.geometry);
	int ret;

	ret = s->io->random(s->io->ctx, b->place.run, sizeof(b->place.run));
	if (ret)
		return sde__fail_why(error, ret, "no random numbers");
	sde__zarr_config_set_run(&s->config, b->place.run);
	ret = sde__home_build(&s->home, b->path, s->config.options.overwrite, &b->exists, error);
	if (!ret && b->exists)
		ret = take_old(b, error);
	for (uint64_t c = 0; columns > 1 && c < columns && !ret; c++)
		ret = sde__home_make_column(&s->home, c, error);
	if (!ret && s->config.sync == SDE_SYNC_NONE)
		ret = sde__unsynced_mark(&s->home, error);
	if (!ret)
		ret = sde__documents_create(&s->home, &s->config.metadata,
					    s->config.sync != SDE_SYNC_NONE, error);
	if (!ret)
		memcpy(b->place.temporary, s->home.temporary, strlen(s->home.temporary) + 1);
	return ret;
}

/* The others, in what the leader has made: the same directory, seen from here? */
static int join_new(struct beginning *b, struct sde_error *error)
{
	struct sde__share *s = b->share;
	struct sde__metadata metadata = { 0 };
	char *parent = sde__home_parent_path(b->path), *path = NULL;
	size_t size;
	int ret;

	sde__zarr_config_set_run(&s->config, b->place.run);
	size = parent ? strlen(parent) + strlen(b->place.temporary) + 2 : 0;
	path = size ? malloc(size) : NULL;
	if (!path) {
		free(parent);
		return sde__fail(error, -ENOMEM, "out of memory");
	}
	snprintf(path, size, "%s/%s", parent, b->place.temporary);
	ret = sde__home_open(&s->home, path, error);
	if (!ret)
		ret = sde__documents_read(&s->home, &metadata, error);
	if (!ret && strcmp(metadata.run, s->config.metadata.run))
		ret = sde__fail(error, SDE_E_MISMATCH, "'%s' is another directory here", path);
	if (!ret)
		ret = sde__home_enter(&s->home, error);
	sde__metadata_clear(&metadata);
	free(parent);
	free(path);
	if (ret)
		return ret;
	/* by the name that it will have */
	path = strdup(b->path);
	if (!path)
		return sde__fail(error, -ENOMEM, "out of memory");
	free(s->home.path);
	s->home.path = path;
	return 0;
}

static int settle(struct beginning *b, struct sde_error *error)
{
	const int ret = sde__home_settle(&b->share->home, b->exists ? &b->old : NULL, error);

	b->settled = !ret;
	return ret;
}

/* A beginning that failed: neither a storage nor a share is left of it. */
static void drop(struct beginning *b)
{
	if (b->out && *b->out)
		sde__storage_disown(*b->out);
	if (b->out)
		*b->out = NULL;
	sde__share_free(b->share);
}

static int create_steps(struct beginning *b, struct sde_error *error)
{
	const struct sde__accord *a = &b->share->accord;
	struct sde_error own = { 0 };
	uint64_t width = 0;
	int ret;

	ret = take(b, check_new, true, error);
	if (!ret)
		ret = compare(b, error);
	if (!ret)
		ret = count_trajectories(b, &width, error);
	if (ret)
		return ret;
	make_config(b, width, &own);
	ret = sde__accord_agree(a, &own, error);
	if (!ret)
		ret = take(b, make_parent, leads(b) || b->share->config.options.make_directory, error);
	if (!ret)
		ret = take(b, build, leads(b), error);
	if (ret)
		return ret;
	a->give(a->ctx, 0, &b->place, sizeof(b->place));
	ret = take(b, join_new, !leads(b), error);
	if (!ret)
		ret = take(b, take_columns, true, error);
	if (!ret)
		ret = take(b, enter_columns, true, error);
	if (!ret)
		ret = take(b, begin_columns, true, error);
	if (!ret)
		ret = take(b, derive, true, error);
	return ret ? ret : take(b, settle, leads(b), error);
}

/* Nothing is left of a store that was not settled, when all have left it. */
static void undo(struct beginning *b)
{
	uint64_t nothing = 0;

	for (uint64_t i = 0; i < b->share->count; i++)
		if (b->share->column[i].writer) {
			sde__publisher_stop(b->share->column[i].writer->publisher);
			b->share->column[i].writer->publisher = NULL;
		}
	b->share->accord.least(b->share->accord.ctx, &nothing, 1);
	if (leads(b)) {
		sde__home_undo(&b->share->home);
		sde__home_leave_idle_ring(&b->old);
	}
}

static int share_begin(struct beginning *b, const struct sde__accord *accord,
		       const struct sde__zarr_hooks *hooks, struct sde_error *error)
{
	struct sde_error own = { 0 };
	uint64_t nothing = 0;
	int ret;

	if (b->out)
		*b->out = NULL;
	sde__home_init(&b->old, hooks->io);
	b->share = sde__share_new(accord, hooks);
	if (b->share)
		return 0;
	/* as far as the others go before they leave */
	sde__fail(&own, -ENOMEM, "out of memory");
	ret = sde__accord_agree(accord, &own, error);
	accord->least(accord->ctx, &nothing, 1);
	if (accord->free)
		accord->free(accord->ctx);
	return ret;
}

int sde__share_create(struct sde_storage **out, const struct sde__accord *accord,
		      const char *path, const struct sde_ensemble *ensemble,
		      const struct sde_zarr_options *options, const struct sde__zarr_hooks *hooks,
		      struct sde_error *error)
{
	struct beginning b = { .out = out, .path = path, .ensemble = ensemble, .options = options };
	int ret;

	ret = share_begin(&b, accord, hooks, error);
	if (ret)
		return ret;
	ret = create_steps(&b, error);
	if (ret) {
		undo(&b);
		drop(&b);
	}
	sde__home_close(&b.old);
	return ret;
}

/* ------------------------------------------------------------------------
 * Resume
 */

void sde__share_partition(uint64_t columns, int rank, int size, uint64_t *first, uint64_t *count)
{
	const uint64_t r = (uint64_t)rank, all = (uint64_t)size;
	const uint64_t each = columns / all, more = columns % all;

	/* floor(columns r / size), rounded up instead, without overflow: rank 0 gets one */
	*first = each * r + (more * r + all - 1) / all;
	*count = each * (r + 1) + (more * (r + 1) + all - 1) / all - *first;
}

static int check_resumed(struct beginning *b, struct sde_error *error)
{
	const int ret = check_arguments(b, error);

	return ret ? ret : sde__zarr_config_resumed(&b->share->config, b->options, error);
}

static int open_old(struct beginning *b, struct sde_error *error)
{
	struct sde__share *s = b->share;
	struct sde__metadata metadata = { 0 };
	int ret;

	ret = sde__home_open(&s->home, b->path, error);
	if (!ret)
		/* says whether it is a store at all, before anything is made in it */
		ret = sde__documents_read(&s->home, &metadata, error);
	sde__metadata_clear(&metadata);
	if (!ret)
		ret = sde__home_enter(&s->home, error);
	if (!ret && leads(b))
		ret = sde__home_lock(&s->home, error);
	/* again: under the lock they stay as they are */
	if (!ret)
		ret = sde__documents_read(&s->home, &metadata, error);
	if (!ret)
		ret = sde__zarr_config_adopt(&s->config, &metadata, b->path, error);
	sde__metadata_clear(&metadata);
	if (!ret)
		ret = sde__home_check_columns(&s->home, sde__column_count(&s->config.metadata.geometry),
					      error);
	if (!ret)
		sde__metadata_run(&s->config.metadata, s->config.run);
	if (!ret && leads(b) && s->config.sync == SDE_SYNC_NONE)
		ret = sde__unsynced_mark(&s->home, error);
	return ret;
}

/* The same store on all ranks, and slices of it that are whole columns. */
static int divide(struct beginning *b, struct sde_error *error)
{
	const struct sde__metadata *m = &b->share->config.metadata;
	const struct sde__geometry *g = &m->geometry;
	const struct sde__accord *a = &b->share->accord;
	const struct sde__alike things[] = {
		{ "store under that name", sde__accord_print(m->run, sizeof(m->run)) },
		{ "epoch of the store", m->epoch },
		{ "number of snapshots of the store", m->snapshots },
	};
	uint64_t width = g->column_width ? g->column_width : g->trajectories, columns;
	int ret;

	ret = sde__accord_alike(a, things, 3, SDE_E_MISMATCH, error);
	if (ret)
		return ret;
	if (!b->ensemble) {
		sde__share_partition(sde__column_count(g), a->rank, a->size, &b->first, &columns);
		b->first *= width;
		b->count = columns * width;
		if (b->first + b->count > g->trajectories)
			b->count = b->first < g->trajectories ? g->trajectories - b->first : 0;
		return 0;
	}
	if (b->ensemble->dimension != g->dimension || b->ensemble->dtype != g->dtype)
		return sde__fail(error, SDE_E_MISMATCH,
				 "the ensemble has dimension %" PRIu64 " and dtype %d, but '%s' has %"
				 PRIu64 " and %d", b->ensemble->dimension, (int)b->ensemble->dtype,
				 b->path, g->dimension, (int)g->dtype);
	ret = count_trajectories(b, &width, error);
	if (ret || b->all == g->trajectories)
		return ret;
	return sde__fail(error, SDE_E_MISMATCH,
			 "the ranks have %" PRIu64 " trajectories, but '%s' has %" PRIu64, b->all,
			 b->path, g->trajectories);
}

static int assess(struct beginning *b, struct sde_error *error)
{
	return sde__share_assess(b->share, &b->snapshots, error);
}

static int recover(struct beginning *b, struct sde_error *error)
{
	return sde__share_recover(b->share, b->snapshots, error);
}

static int recover_documents(struct beginning *b, struct sde_error *error)
{
	return sde__share_recover_documents(b->share, error);
}

static int resume_steps(struct beginning *b, struct sde_error *error)
{
	const struct sde__accord *a = &b->share->accord;
	int ret;

	ret = take(b, check_resumed, true, error);
	if (!ret)
		ret = compare(b, error);
	if (!ret)
		ret = take(b, open_old, leads(b), error);
	if (!ret)
		ret = take(b, open_old, !leads(b), error);
	if (!ret)
		ret = divide(b, error);
	if (!ret)
		ret = take(b, take_columns, true, error);
	if (!ret)
		ret = take(b, enter_columns, true, error);
	if (!ret)
		ret = take(b, assess, true, error);
	if (ret)
		return ret;
	/* what all columns have: the longest common prefix */
	a->least(a->ctx, &b->snapshots, 1);
	ret = take(b, recover, true, error);
	if (!ret)
		ret = take(b, recover_documents, leads(b), error);
	b->share->config.metadata.snapshots = b->snapshots;
	if (!ret)
		ret = take(b, begin_columns, true, error);
	return ret ? ret : take(b, derive, true, error);
}

int sde__share_resume(struct sde_storage **out, const struct sde__accord *accord,
		      const char *path, const struct sde_ensemble *ensemble,
		      const struct sde_zarr_options *options, const struct sde__zarr_hooks *hooks,
		      struct sde_error *error)
{
	struct beginning b = { .out = out, .path = path, .ensemble = ensemble, .options = options };
	uint64_t nothing = 0;
	int ret;

	ret = share_begin(&b, accord, hooks, error);
	if (ret)
		return ret;
	ret = resume_steps(&b, error);
	if (ret) {
		/* rings of columns before the leader lets go of the store */
		sde__share_retreat(b.share);
		b.share->accord.least(b.share->accord.ctx, &nothing, 1);
		sde__home_leave_idle_ring(&b.share->home);
		drop(&b);
	}
	sde__home_close(&b.old);
	return ret;
}
