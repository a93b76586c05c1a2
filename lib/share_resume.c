/* SPDX-License-Identifier: MIT */
/*
 * An old store and several writers: divided among them, whoever wrote it, and recovered
 * to what all of its columns have. See share_begin.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "share_begin.h"

#include "unsynced.h"

#include <inttypes.h>

void sde__share_partition(uint64_t columns, int rank, int size, uint64_t *first, uint64_t *count)
{
	const uint64_t r = (uint64_t)rank, all = (uint64_t)size;
	const uint64_t each = columns / all, more = columns % all;

	/* floor(columns r / size), rounded up instead, without overflow: rank 0 gets one */
	*first = each * r + (more * r + all - 1) / all;
	*count = each * (r + 1) + (more * (r + 1) + all - 1) / all - *first;
}

static int check_resumed(struct sde__beginning *b, struct sde_error *error)
{
	const int ret = sde__begin_check(b, error);

	return ret ? ret : sde__zarr_config_resumed(&b->share->config, b->options, error);
}

static int open_old(struct sde__beginning *b, struct sde_error *error)
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
	if (!ret && sde__begin_leads(b))
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
	if (!ret && sde__begin_leads(b) && s->config.sync == SDE_SYNC_NONE)
		ret = sde__unsynced_mark(&s->home, error);
	return ret;
}

/* The same store on all ranks, and slices of it that are whole columns. */
static int divide(struct sde__beginning *b, struct sde_error *error)
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
	ret = sde__begin_count(b, &width, error);
	if (ret || b->all == g->trajectories)
		return ret;
	return sde__fail(error, SDE_E_MISMATCH,
			 "the ranks have %" PRIu64 " trajectories, but '%s' has %" PRIu64, b->all,
			 b->path, g->trajectories);
}

static int assess(struct sde__beginning *b, struct sde_error *error)
{
	return sde__share_assess(b->share, &b->snapshots, error);
}

static int recover(struct sde__beginning *b, struct sde_error *error)
{
	return sde__share_recover(b->share, b->snapshots, error);
}

static int recover_documents(struct sde__beginning *b, struct sde_error *error)
{
	return sde__share_recover_documents(b->share, error);
}

static int resume_steps(struct sde__beginning *b, struct sde_error *error)
{
	const struct sde__accord *a = &b->share->accord;
	int ret;

	ret = sde__begin_take(b, check_resumed, true, error);
	if (!ret)
		ret = sde__begin_compare(b, error);
	if (!ret)
		ret = sde__begin_take(b, open_old, sde__begin_leads(b), error);
	if (!ret)
		ret = sde__begin_take(b, open_old, !sde__begin_leads(b), error);
	if (!ret)
		ret = divide(b, error);
	if (!ret)
		ret = sde__begin_take(b, sde__begin_take_columns, true, error);
	if (!ret)
		ret = sde__begin_take(b, sde__begin_enter_columns, true, error);
	if (!ret)
		ret = sde__begin_take(b, assess, true, error);
	if (ret)
		return ret;
	/* what all columns have: the longest common prefix */
	a->least(a->ctx, &b->snapshots, 1);
	ret = sde__begin_take(b, recover, true, error);
	if (!ret)
		ret = sde__begin_take(b, recover_documents, sde__begin_leads(b), error);
	b->share->config.metadata.snapshots = b->snapshots;
	if (!ret)
		ret = sde__begin_take(b, sde__begin_columns, true, error);
	return ret ? ret : sde__begin_take(b, sde__begin_derive, true, error);
}

int sde__share_resume(struct sde_storage **out, const struct sde__accord *accord,
		      const char *path, const struct sde_ensemble *ensemble,
		      const struct sde_zarr_options *options, const struct sde__zarr_hooks *hooks,
		      struct sde_error *error)
{
	struct sde__beginning b = { .out = out, .path = path, .ensemble = ensemble,
				    .options = options };
	uint64_t nothing = 0;
	int ret;

	ret = sde__begin_share(&b, accord, hooks, error);
	if (ret)
		return ret;
	ret = resume_steps(&b, error);
	if (ret) {
		/* rings of columns before the leader lets go of the store */
		sde__share_retreat(b.share);
		b.share->accord.least(b.share->accord.ctx, &nothing, 1);
		sde__home_leave_idle_ring(&b.share->home);
		sde__begin_drop(&b);
	}
	sde__home_close(&b.old);
	return ret;
}
