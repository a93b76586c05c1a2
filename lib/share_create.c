/* SPDX-License-Identifier: MIT */
/*
 * A new store of several writers: built by the leader beside its name, joined by the
 * others, and put in place when all of them can write. See share_begin.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "share_begin.h"

#include "options.h"
#include "unsynced.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_new(struct sde__beginning *b, struct sde_error *error)
{
	struct sde__zarr_config config;
	struct sde_ensemble probe;
	int ret = sde__begin_check(b, error);

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

static int make_config(struct sde__beginning *b, uint64_t width, struct sde_error *error)
{
	const struct sde_ensemble all = {
		.dimension = b->ensemble->dimension, .trajectories = b->all,
		.dtype = b->ensemble->dtype,
	};
	int ret;

	ret = sde__zarr_config_new_columns(&b->share->config, &all, width < b->all ? width : 0,
					   b->options, error);
	if (!ret && sde__begin_leads(b))
		sde__zarr_config_warn(&b->share->config);
	return ret;
}

static int make_parent(struct sde__beginning *b, struct sde_error *error)
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
static int take_old(struct sde__beginning *b, struct sde_error *error)
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

static int build(struct sde__beginning *b, struct sde_error *error)
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
static int join_new(struct sde__beginning *b, struct sde_error *error)
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

static int settle(struct sde__beginning *b, struct sde_error *error)
{
	const int ret = sde__home_settle(&b->share->home, b->exists ? &b->old : NULL, error);

	b->settled = !ret;
	return ret;
}

static int create_steps(struct sde__beginning *b, struct sde_error *error)
{
	const struct sde__accord *a = &b->share->accord;
	struct sde_error own = { 0 };
	uint64_t width = 0;
	int ret;

	ret = sde__begin_take(b, check_new, true, error);
	if (!ret)
		ret = sde__begin_compare(b, error);
	if (!ret)
		ret = sde__begin_count(b, &width, error);
	if (ret)
		return ret;
	make_config(b, width, &own);
	ret = sde__accord_agree(a, &own, error);
	if (!ret)
		ret = sde__begin_take(b, make_parent, sde__begin_leads(b) ||
				      b->share->config.options.make_directory, error);
	if (!ret)
		ret = sde__begin_take(b, build, sde__begin_leads(b), error);
	if (ret)
		return ret;
	a->give(a->ctx, 0, &b->place, sizeof(b->place));
	ret = sde__begin_take(b, join_new, !sde__begin_leads(b), error);
	if (!ret)
		ret = sde__begin_take(b, sde__begin_take_columns, true, error);
	if (!ret)
		ret = sde__begin_take(b, sde__begin_enter_columns, true, error);
	if (!ret)
		ret = sde__begin_take(b, sde__begin_columns, true, error);
	if (!ret)
		ret = sde__begin_take(b, sde__begin_derive, true, error);
	return ret ? ret : sde__begin_take(b, settle, sde__begin_leads(b), error);
}

/* Nothing is left of a store that was not settled, when all have left it. */
static void undo(struct sde__beginning *b)
{
	uint64_t nothing = 0;

	for (uint64_t i = 0; i < b->share->count; i++)
		if (b->share->column[i].writer) {
			sde__publisher_stop(b->share->column[i].writer->publisher);
			b->share->column[i].writer->publisher = NULL;
		}
	b->share->accord.least(b->share->accord.ctx, &nothing, 1);
	if (sde__begin_leads(b)) {
		sde__home_undo(&b->share->home);
		sde__home_leave_idle_ring(&b->old);
	}
}

int sde__share_create(struct sde_storage **out, const struct sde__accord *accord,
		      const char *path, const struct sde_ensemble *ensemble,
		      const struct sde_zarr_options *options, const struct sde__zarr_hooks *hooks,
		      struct sde_error *error)
{
	struct sde__beginning b = { .out = out, .path = path, .ensemble = ensemble,
				    .options = options };
	int ret;

	ret = sde__begin_share(&b, accord, hooks, error);
	if (ret)
		return ret;
	ret = create_steps(&b, error);
	if (ret) {
		undo(&b);
		sde__begin_drop(&b);
	}
	sde__home_close(&b.old);
	return ret;
}
