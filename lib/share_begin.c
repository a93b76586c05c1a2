/* SPDX-License-Identifier: MIT */
/*
 * How several writers begin on one store: what create and resume have in common. See
 * share_begin.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "share_begin.h"

#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int sde__begin_take(struct sde__beginning *b, sde__begin_step *what, bool mine,
		    struct sde_error *error)
{
	struct sde_error own = { 0 };
	int ret = mine ? what(b, &own) : 0;

	if (ret && !own.code)
		sde__fail(&own, ret, "%s", sde_strerror(ret));
	return sde__accord_agree(&b->share->accord, &own, error);
}

bool sde__begin_leads(const struct sde__beginning *b)
{
	return sde__share_leads(b->share);
}

static uint64_t text_print(const char *text)
{
	return text ? sde__accord_print(text, strlen(text)) : 0;
}

int sde__begin_check(struct sde__beginning *b, struct sde_error *error)
{
	if (!b->out)
		return sde__fail(error, -EINVAL, "no place for the storage");
	if (!b->path || !*b->path)
		return sde__fail(error, -EINVAL, "no save_directory given");
	return 0;
}

int sde__begin_compare(const struct sde__beginning *b, struct sde_error *error)
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

int sde__begin_count(struct sde__beginning *b, uint64_t *width, struct sde_error *error)
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

int sde__begin_take_columns(struct sde__beginning *b, struct sde_error *error)
{
	const struct sde__geometry *g = &b->share->config.metadata.geometry;
	const uint64_t width = g->column_width ? g->column_width : g->trajectories;

	return sde__share_take(b->share, b->count ? b->first / width : 0,
			       (b->count + width - 1) / width, error);
}

int sde__begin_enter_columns(struct sde__beginning *b, struct sde_error *error)
{
	return sde__share_enter(b->share, error);
}

int sde__begin_columns(struct sde__beginning *b, struct sde_error *error)
{
	return sde__share_begin(b->share, error);
}

int sde__begin_derive(struct sde__beginning *b, struct sde_error *error)
{
	return sde__share_derive(b->out, b->share, error);
}

int sde__begin_share(struct sde__beginning *b, const struct sde__accord *accord,
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

void sde__begin_drop(struct sde__beginning *b)
{
	if (b->out && *b->out)
		sde__storage_disown(*b->out);
	if (b->out)
		*b->out = NULL;
	sde__share_free(b->share);
}
