/* SPDX-License-Identifier: MIT */
/*
 * sde_zarr_storage_repair: putting in order what a dead writer left, and what a device
 * damaged, as far as the store itself has the means. The order, under the lock:
 *
 *	1. temporary files, in the store and beside it
 *	2. what is only in the ring is written to chunk files (recover.h), and
 *	3. blocks of times from the side tables, which are then all there are, before
 *	   all of it is published: that takes the last block
 *	4. chunk files behind the last snapshot
 *	5. truncation, if it was asked for
 *	6. a survey, which names what stays lost
 *	7. the ring, if nothing is in it that the files have not
 *
 * Each step leaves a store that is no worse than before, so that it may be killed
 * anywhere and begun again. No chunk file that can be read is replaced or removed,
 * but for those that truncation was told to forget.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_repair_state.h"

#include "chunk_list.h"
#include "leftovers.h"
#include "options.h"
#include "recover.h"
#include "ring.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void tell(struct sde__repair *r, const struct sde_repair_step *step)
{
	struct sde_repair_step own = *step;

	own.size = sizeof(own);
	r->steps++;
	if (r->options.step)
		r->options.step(r->options.step_ctx, &own);
}

static int tell_file(void *ctx, enum sde_repair_action action, const char *file, const char *text)
{
	const struct sde_repair_step step = { .action = action, .file = file, .text = text };

	tell(ctx, &step);
	return 0;
}

void sde__repair_tell(struct sde__repair *r, enum sde_repair_action action, uint64_t first,
		      uint64_t end, const char *file, const char *text)
{
	const struct sde_repair_step step = { .action = action, .snapshots = { first, end },
					      .file = file, .text = text };

	tell(r, &step);
}

static int read_store(struct sde__repair *r, enum sde_ring ring, struct sde_error *error)
{
	sde__reader_unref(r->reader);
	r->reader = NULL;
	return sde__reader_reopen(&r->reader, &r->home, !r->options.dry_run, true, ring, &r->log,
				  error);
}

/* ------------------------------------------------------------------------
 * Publishing
 */

static int look(struct sde__repair *r, struct sde_error *error);

/* The chunk files first; then the store is read again, with them. */
static int write_chunks(struct sde__repair *r, struct sde_error *error)
{
	int ret;

	if (!r->publishable || r->options.dry_run || r->reader->snapshots == r->reader->filed)
		return 0;
	ret = sde__recover_chunks(r->reader, &r->config, error);
	return ret ? ret : look(r, error);
}

/*
 * Everything that the reader found, which is more than the files show if there was a
 * ring or a sealed chunk behind the published ones. `healed`: what of the published
 * was in the ring alone.
 */
static int publish(struct sde__repair *r, uint64_t healed, struct sde_error *error)
{
	const uint64_t published = r->reader->metadata.snapshots;
	struct sde_error why = { 0 };
	int ret = 0;

	if (!r->publishable || (!r->had_ring && r->reader->snapshots == published))
		return 0;
	if (!r->options.dry_run)
		ret = sde__recover_publish(r->reader, &r->config, &why);
	if (ret && sde__is_damage(ret)) {
		r->publishable = false;
		r->lost = why;
		return 0;
	}
	if (ret)
		return sde__fail(error, ret, "%s", why.text);
	if (healed < published)
		sde__repair_tell(r, SDE_REPAIR_PUBLISH, healed, published, r->home.path,
				 "the damaged last chunk, from the ring");
	if (r->reader->snapshots > published)
		sde__repair_tell(r, SDE_REPAIR_PUBLISH, published, r->reader->snapshots, r->home.path,
				 "what the last writer had not published");
	return 0;
}

struct strays {
	struct sde__repair *r;
	struct sde_error *error;
};

/* A whole chunk of this store that lies behind a lost one is not for us to remove. */
static bool is_of_worth(struct sde__repair *r, uint64_t index)
{
	struct sde__shard_reader file;
	bool worth;

	sde__shard_reader_init(&file, &r->reader->home, &r->reader->metadata.geometry,
			       &r->reader->codec);
	worth = !sde__shard_reader_open(&file, index, r->reader->run, NULL) &&
		file.side.epoch == r->config.metadata.epoch && !sde__shard_reader_side(&file, NULL);
	sde__shard_reader_free(&file);
	return worth;
}

static int remove_stray(void *ctx, bool side, const char *name, uint64_t index)
{
	const struct strays *strays = ctx;
	struct sde__repair *r = strays->r;
	const struct sde__home *home = &r->home;
	const int dir = side ? home->side : home->shards;
	struct sde__stat st;
	char file[320];
	int ret = 0;

	snprintf(file, sizeof(file), "%.200s/data/%s%s", home->path,
		 side ? ".side/" : home->format == 2 ? "" : "c/0/0/", name);
	/* temporary files have been told of already; a directory is not ours */
	if (index == UINT64_MAX || r->io->stat_at(r->io->ctx, dir, name, &st) || !st.is_file)
		return 0;
	if (is_of_worth(r, index)) {
		sde__warn(&r->log, "'%s' is left alone: it is a whole chunk, but one before it is lost",
			  file);
		return 0;
	}
	if (!r->options.dry_run)
		ret = r->io->remove_at(r->io->ctx, dir, name, false);
	if (ret)
		return sde__fail_why(strays->error, ret, "cannot remove '%s'", file);
	return tell_file(r, SDE_REPAIR_REMOVE, file, "a chunk behind the last snapshot");
}

static int remove_strays(struct sde__repair *r, struct sde_error *error)
{
	const uint64_t size = r->reader->metadata.geometry.chunk_size;
	const uint64_t chunks = (r->reader->snapshots + size - 1) / size;
	struct strays strays = { r, error };
	struct sde__chunk_list list;
	int ret;

	if (!r->publishable)
		return 0;
	ret = sde__chunk_list_read(&list, &r->home, chunks, error);
	if (!ret)
		ret = sde__chunk_list_leftovers(&list, chunks, remove_stray, &strays);
	sde__chunk_list_free(&list);
	return ret;
}

/* ------------------------------------------------------------------------
 * Truncation
 */

/* The ring's snapshots are given up: what is published is truncated. */
static int truncate_documents(struct sde__repair *r, struct sde_error *error)
{
	struct sde__metadata metadata = r->config.metadata;

	metadata.epoch++;
	metadata.snapshots = r->options.snapshots;
	/* the smaller metadata first: what is cut off is then nobody's */
	return sde__documents_write(&r->home, &metadata, true, true, error);
}

static int remove_cut(void *ctx, bool side, const char *name, uint64_t index)
{
	const struct strays *strays = ctx;
	struct sde__repair *r = strays->r;
	const uint64_t size = r->reader->metadata.geometry.chunk_size;
	int ret;

	/* what lies behind the last snapshot has been judged already */
	if (index >= (r->found + size - 1) / size)
		return 0;
	ret = r->io->remove_at(r->io->ctx, side ? r->home.side : r->home.shards, name, false);
	/* a directory is nobody's chunk */
	return !ret || ret == -EISDIR ? 0 :
	       sde__fail_why(strays->error, ret, "cannot remove chunk '%s' of '%s'", name,
			     r->home.path);
}

/* By what there is, not by what the metadata say there was. */
static int remove_files(struct sde__repair *r, struct sde_error *error)
{
	const uint64_t size = r->reader->metadata.geometry.chunk_size;
	const uint64_t chunks = (r->options.snapshots + size - 1) / size;
	struct strays strays = { r, error };
	struct sde__chunk_list list;
	int ret;

	ret = sde__chunk_list_read(&list, &r->home, chunks, error);
	if (!ret)
		ret = sde__chunk_list_leftovers(&list, chunks, remove_cut, &strays);
	sde__chunk_list_free(&list);
	return ret;
}

static int truncate_store(struct sde__repair *r, struct sde_error *error)
{
	const uint64_t keep = r->options.snapshots;
	const uint64_t all = r->publishable ? r->reader->snapshots : r->reader->metadata.snapshots;
	int ret = 0;

	if (!r->options.truncate || (keep == all && r->publishable && !r->discarded))
		return 0;
	if (keep > all)
		return sde__fail(error, -EINVAL, "cannot truncate '%s' of %" PRIu64
				 " snapshots to %" PRIu64, r->home.path, all, keep);
	if (!r->options.dry_run) {
		ret = truncate_documents(r, error);
		/* a ring of the epoch before is nobody's either */
		if (!ret)
			ret = sde__ring_remove_files(r->io, r->home.ring, true, error);
		if (!ret)
			ret = remove_files(r, error);
	}
	if (!ret)
		sde__repair_tell(r, SDE_REPAIR_TRUNCATE, keep, r->found, r->home.path,
				 "forgotten, as was asked for");
	return ret;
}

/* ------------------------------------------------------------------------
 * What stays lost
 */

static void note_lost(void *ctx, const struct sde_damage *damage)
{
	struct sde__repair *r = ctx;
	struct sde_repair_step step = { .action = SDE_REPAIR_LOST, .damage = damage };

	/* what a dry run would restore or forget is told there */
	if (!damage->lost || (r->options.dry_run && r->options.truncate &&
			      damage->snapshots[0] >= r->options.snapshots))
		return;
	memcpy(step.snapshots, damage->snapshots, sizeof(step.snapshots));
	step.file = damage->file;
	step.text = damage->text;
	if (!r->lost.code) {
		sde__fail(&r->lost, damage->code, "%s", damage->text);
		sde__damage_explain(&r->lost, "lost", damage->snapshots, damage->trajectories);
	}
	tell(r, &step);
}

static int survey(struct sde__repair *r, struct sde_error *error)
{
	const struct sde_verify verify = { .lost = note_lost, .ctx = r };
	struct sde_error why = { 0 };
	int ret = 0;

	/* as it is now */
	if (!r->options.dry_run)
		ret = read_store(r, r->options.ring, error);
	if (ret)
		return ret;
	ret = sde__zarr_view_survey(r->reader, &verify, &why);
	return ret && !sde__is_damage(ret) ? sde__fail(error, ret, "%s", why.text) : 0;
}

/* ------------------------------------------------------------------------
 * From the beginning to the end
 */

/* The store, read as it is, and the configuration that publishing goes by. */
static int look(struct sde__repair *r, struct sde_error *error)
{
	struct sde__metadata metadata = { 0 };
	int ret;

	ret = read_store(r, r->options.ring, error);
	if (ret)
		return ret;
	r->found = r->reader->snapshots;
	/* truncation may give up what the ring has, where nothing else is possible */
	if (r->options.truncate && r->reader->ringed > r->reader->filed &&
	    r->options.snapshots <= r->reader->filed) {
		r->discarded = true;
		ret = read_store(r, SDE_RING_DISCARD, error);
		if (ret)
			return ret;
	}
	if (r->reader->state == SDE_STATE_RUNNING)
		return sde__fail(error, SDE_E_LOCKED, "'%s' is being written by another process",
				 r->home.path);
	if (r->reader->ignored)
		return sde__fail(error, SDE_E_MISMATCH,
				 "the ring of '%s' was copied here or is another store's, with %" PRIu64
				 " snapshots: choose ring trust or discard", r->home.path,
				 r->reader->ignored);
	/* a resume would go on with what the device has; here nothing is in a hurry */
	if (r->reader->unsynced.code)
		return sde__fail(error, r->reader->unsynced.code, "'%s': %s", r->home.path,
				 r->reader->unsynced.text);
	/* from here on a failed read is one, and never a NaN that is published */
	r->reader->fill = false;
	r->publishable = r->reader->ringed == r->reader->filed && !r->reader->broken.code;
	sde__zarr_config_clear(&r->config);
	ret = sde__metadata_copy(&metadata, &r->reader->metadata, error);
	if (!ret)
		ret = sde__zarr_config_adopt(&r->config, &metadata, r->home.path, error);
	sde__metadata_clear(&metadata);
	if (!ret)
		memcpy(r->config.run, r->reader->run, sizeof(r->config.run));
	return ret;
}

static int leave_ring(struct sde__repair *r, struct sde_error *error)
{
	int ret = 0;

	/* what is in it and could not be published must stay */
	if (!r->publishable && !r->options.truncate && r->had_ring)
		return 0;
	if (!r->options.dry_run) {
		ret = sde__ring_remove_files(r->io, r->home.ring, true, error);
		if (!ret)
			ret = sde__home_leave_ring(&r->home, true, error);
	}
	if (!ret && r->had_ring) {
		char file[320];

		snprintf(file, sizeof(file), "%.200s/data/.ring", r->home.path);
		tell_file(r, SDE_REPAIR_REMOVE, file, "the ring, of which nothing is needed any more");
	}
	return ret;
}

static int put_in_order(struct sde__repair *r, const struct sde__leftovers *leftovers,
			struct sde_error *error)
{
	const uint64_t healed = r->reader->filed;
	int ret;

	ret = sde__leftovers_inside(leftovers, &r->home, error);
	if (!ret)
		ret = write_chunks(r, error);
	if (!ret)
		ret = sde__repair_blocks(r, error);
	if (!ret)
		ret = publish(r, healed, error);
	if (!ret)
		ret = remove_strays(r, error);
	if (!ret)
		ret = truncate_store(r, error);
	if (!ret)
		ret = survey(r, error);
	return ret ? ret : leave_ring(r, error);
}

/* Is it a store of ours, whatever its state? Then open it, and keep others out. */
static int enter(struct sde__repair *r, const char *path, struct sde_error *error)
{
	struct sde__metadata metadata = { 0 };
	int ret;

	ret = sde__home_open(&r->home, path, error);
	if (!ret)
		ret = sde__documents_read(&r->home, &metadata, error);
	/* each rank has a lock, a ring and a truth of its own */
	if (!ret && sde__column_count(&metadata.geometry) > 1)
		ret = sde__fail(error, SDE_E_UNSUPPORTED,
				"'%s' was written by several ranks, which repair cannot do yet: resuming recovers it, sde_storage_truncate shortens it",
				path);
	sde__metadata_clear(&metadata);
	if (!ret)
		ret = sde__home_enter(&r->home, error);
	r->had_ring = r->home.ring >= 0;
	return ret || r->options.dry_run ? ret : sde__home_lock(&r->home, error);
}

static int repair(struct sde__repair *r, const char *path, struct sde_error *error)
{
	const struct sde__leftovers leftovers = {
		.io = r->io, .dry_run = r->options.dry_run, .told = tell_file, .ctx = r,
		.log = &r->log,
	};
	struct sde__stat st;
	int ret;

	if (r->io->stat_at(r->io->ctx, -1, path, &st) == -ENOENT) {
		ret = sde__leftovers_beside(&leftovers, path, error);
		/* there was something, but no store: all is done */
		if (ret || (r->steps && r->io->stat_at(r->io->ctx, -1, path, &st) == -ENOENT))
			return ret;
	}
	ret = enter(r, path, error);
	if (!ret)
		ret = look(r, error);
	if (!ret)
		ret = sde__leftovers_beside(&leftovers, path, error);
	return ret ? ret : put_in_order(r, &leftovers, error);
}

static int take_options(struct sde__repair *r, const struct sde_repair_options *options,
			struct sde_error *error)
{
	struct sde_repair_options *own = &r->options;
	int ret;

	ret = sde__options_take(own, sizeof(*own), sizeof(*own), options,
				"struct sde_repair_options", error);
	if (ret)
		return ret;
	if ((int)own->ring < 0 || own->ring > SDE_RING_DISCARD)
		return sde__fail(error, -EINVAL, "option ring has no value %d", (int)own->ring);
	if (own->dry_run < 0 || own->dry_run > 1 || own->truncate < 0 || own->truncate > 1)
		return sde__fail(error, -EINVAL, "options dry_run and truncate are 0 or 1");
	r->log = (struct sde__log){ own->log, own->log_ctx };
	return sde__zarr_config_resumed(&r->config, NULL, error);
}

int sde__zarr_repair(const char *path, const struct sde_repair_options *options,
		     const struct sde__io *io, struct sde_error *error)
{
	struct sde__repair r = { .io = io };
	int ret;

	if (!path || !*path)
		return sde__fail(error, -EINVAL, "no path given");
	ret = take_options(&r, options, error);
	if (ret)
		return ret;
	sde__home_init(&r.home, io);
	ret = repair(&r, path, error);
	sde__reader_unref(r.reader);
	/* a directory made only for the lock */
	sde__home_leave_idle_ring(&r.home);
	sde__home_close(&r.home);
	sde__zarr_config_clear(&r.config);
	if (!ret && r.lost.code)
		ret = sde__fail(error, r.lost.code, "%s", r.lost.text);
	return ret;
}
