/* SPDX-License-Identifier: MIT */
/* How many snapshots a store holds, and which of them only in the ring: see assess.h. */
#include "assess.h"

#include "planted.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Does the ring speak of this store at all? */
static bool ring_fits(const struct sde__reader *reader)
{
	const struct sde__geometry *ours = &reader->metadata.geometry;
	const struct sde__geometry *g = &reader->ring->header.layout.geometry;

	return !memcmp(reader->ring->header.run, reader->run, 16) &&
	       g->dimension == ours->dimension && g->trajectories == ours->trajectories &&
	       g->chunk_size == ours->chunk_size && g->dtype == ours->dtype &&
	       reader->ring->header.layout.state_capacity == reader->metadata.state_capacity;
}

static void drop_ring(struct sde__reader *reader)
{
	sde__ring_reader_close(reader->ring);
	reader->ring = NULL;
	memset(&reader->counters, 0, sizeof(reader->counters));
	reader->ring_first = reader->ring_end = 0;
}

/*
 * A ring whose writer is gone: from where and up to where does it hold? *upto is
 * 0 if it does not.
 */
static int believe_dead(struct sde__reader *reader, bool recovering, enum sde_ring choice,
			const struct sde__log *log, uint64_t *first, uint64_t *upto,
			struct sde_error *error)
{
	struct sde_error why = { 0 };
	enum sde__ring_trust trust;
	int ret;

	ret = sde__ring_reader_trust(reader->ring, &trust, error);
	if (ret)
		return ret;
	if (trust == SDE__RING_COPIED && choice != SDE_RING_TRUST) {
		if (reader->counters.committed > reader->filed)
			reader->ignored = reader->counters.committed - reader->filed;
		if (reader->ignored)
			sde__warn(log, "'%s': the ring was copied here, its %" PRIu64
				  " newest snapshots are ignored", reader->home.path,
				  reader->ignored);
		return 0;
	}
	/* a writer claims one slot at a time (torn only by a power loss) */
	if (trust != SDE__RING_SYNCED_HOLDS &&
	    reader->counters.claimed > reader->counters.committed + 1)
		return sde__fail(error, SDE_E_CORRUPT, "'%s/data/.ring/header' has impossible counters",
				 reader->home.path);
	/* who acts on the ring makes sure first that what it read cannot vanish */
	if (recovering && sde__ring_reader_sync(reader->ring, &why)) {
		sde__warn(log, "'%s': %s: going on from what was synced", reader->home.path, why.text);
		trust = SDE__RING_SYNCED_HOLDS;
		reader->unsynced = why;
	}
	if (trust == SDE__RING_SYNCED_HOLDS && !sde__planted("committed-after-reboot")) {
		/* the device may have newer slots than counters; but nothing is
		 * overwritten before its `sealed` is on the device */
		*first = reader->counters.sealed;
		*upto = reader->counters.synced;
	} else {
		*first = sde__ring_reader_first(reader->ring, &reader->counters);
		*upto = reader->counters.committed;
		if (sde__planted("claimed-recovered"))
			*upto = reader->counters.claimed;
	}
	return 0;
}

static int attach_ring(struct sde__reader *reader, bool patient, const struct sde__log *log,
		       struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	ret = sde__ring_reader_open(&reader->ring, reader->io, reader->home.ring, &why);
	if (ret == -ENOENT)
		return 0;
	if (!ret)
		ret = sde__ring_reader_counters(reader->ring, &reader->counters, &why);
	if (ret == SDE_E_CORRUPT)
		return sde__fail(error, ret, "%s (ring discard goes on without it)", why.text);
	if (ret)
		return sde__fail(error, ret, "%s", why.text);
	if (!ring_fits(reader)) {
		sde__warn(log, "'%s': the ring belongs to another store and is ignored",
			  reader->home.path);
		if (reader->counters.committed > reader->metadata.snapshots)
			reader->ignored = reader->counters.committed - reader->metadata.snapshots;
		drop_ring(reader);
	} else if (reader->counters.epoch != reader->metadata.epoch &&
		   !sde__planted("ring-epoch-unchecked")) {
		if (patient)
			return SDE_E_STALE;
		/* a truncate that died half way: what it kept is published */
		sde__warn(log, "'%s': the ring is of another epoch and is ignored",
			  reader->home.path);
		drop_ring(reader);
	}
	return 0;
}

/* Is the open file whole? Only asked of one that a ring could stand in for. */
static int check_whole(struct sde__shard_reader *file, struct sde_error *error)
{
	void *raw = malloc(sde__inner_bytes(&file->geometry));
	int ret;

	if (!raw)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = sde__shard_reader_side(file, error);
	if (!ret)
		ret = sde__shard_reader_index(file, error);
	for (uint64_t i = 0; i < file->inner_count && !ret; i++)
		ret = sde__shard_reader_inner(file, i, raw, error);
	free(raw);
	return ret;
}

/*
 * The snapshots in chunk files: `published`, and what was sealed behind it. Fails if
 * the incomplete published chunk is not there or not whole; filed is set even so.
 */
static int count_files(struct sde__reader *reader, bool recovering, struct sde_error *error)
{
	const bool careful = (recovering || reader->fill) && reader->ring;
	const uint64_t size = reader->metadata.geometry.chunk_size;
	const uint64_t published = reader->metadata.snapshots;
	struct sde_error why = { 0 };
	struct sde__shard_reader file;
	uint64_t chunk = published / size;
	int ret;

	reader->filed = published;
	sde__shard_reader_init(&file, &reader->home, &reader->metadata.geometry, &reader->codec);
	for (;;) {
		uint64_t here;

		sde__error_clear(&why);
		ret = sde__shard_reader_open(&file, chunk, reader->run, &why);
		if (ret)
			break;
		if (chunk * size + file.side.count < published) {
			ret = sde__fail(&why, SDE_E_CORRUPT,
					"'%s' holds %u snapshots, fewer than were published",
					file.place, file.side.count);
			break;
		}
		if (careful && chunk == published / size && published % size) {
			ret = check_whole(&file, &why);
			if (ret)
				break;
		}
		here = chunk * size + file.side.count;
		if (file.side.epoch != reader->metadata.epoch && !sde__planted("chunk-epoch-unchecked"))
			here = 0;
		/* believed beyond what is published only if its checksum holds */
		if (here > reader->filed) {
			ret = sde__shard_reader_side(&file, &why);
			if (ret)
				break;
		}
		if (here > reader->filed)
			reader->filed = here;
		else if (here < reader->filed)
			break;
		if (here < (chunk + 1) * size)
			break;
		chunk++;
	}
	sde__shard_reader_free(&file);
	/* what is published must be there; what lies behind it need not, but whether it
	 * is there must be known */
	if (ret && ((chunk == published / size && published % size) || !sde__is_damage(ret) ||
		    ret == -EIO))
		return sde__fail(error, ret, "%s", why.text);
	return 0;
}

/*
 * The file of the incomplete last chunk is damaged, but the ring has all of it, as it
 * has after a save: the file is as good as not there, and is written anew by recovery.
 */
static bool heals(struct sde__reader *reader, uint64_t first, uint64_t upto)
{
	const uint64_t size = reader->metadata.geometry.chunk_size;
	const uint64_t start = reader->metadata.snapshots / size * size;

	if (first > start || upto < reader->filed)
		return false;
	reader->filed = start;
	return true;
}

/* `damage` is that of the incomplete last chunk; it is cleared if the ring heals it. */
static int find_ring(struct sde__reader *reader, int locked, bool recovering,
		     enum sde_ring choice, const struct sde__log *log, struct sde_error *damage,
		     struct sde_error *error)
{
	const struct sde__slot_layout *l = &reader->ring->header.layout;
	const uint64_t slots = l->segments * l->geometry.chunk_size;
	uint64_t first = 0, upto = 0;
	bool alive = false;
	int ret = 0;

	if (locked)
		ret = sde__ring_reader_is_lockers(reader->ring, &alive, error);
	if (ret)
		return ret;
	if (alive) {
		first = sde__ring_reader_first(reader->ring, &reader->counters);
		upto = reader->counters.committed;
	} else {
		ret = believe_dead(reader, recovering, choice, log, &first, &upto, error);
		/* no writer is ever more than the ring ahead of what is sealed */
		if (!ret && upto > reader->counters.sealed + slots)
			ret = sde__fail(error, SDE_E_CORRUPT,
					"'%s/data/.ring/header' has impossible counters (ring discard goes on without it)",
					reader->home.path);
	}
	if (ret)
		return ret;
	if (damage->code && heals(reader, first, upto))
		sde__error_clear(damage);
	reader->ring_first = first;
	reader->ring_end = upto;
	if (upto <= reader->filed)
		return 0;
	/* a writer at work has no gap, unless it truncates just now */
	if (first > reader->filed && alive)
		return sde__fail(error, SDE_E_STALE, "'%s' is being truncated", reader->home.path);
	/* counters have no checksum: only who asked to see what is left of a damaged
	 * store is shown a ring that contradicts the files, and only if it could be */
	if (first > reader->filed &&
	    (!reader->fill || first - reader->filed > slots || first > upto))
		return damage->code ? sde__fail(error, damage->code, "%s", damage->text) :
		       sde__fail(error, SDE_E_HOLE,
				 "'%s' lacks snapshots %" PRIu64 ":%" PRIu64
				 " between its chunk files and its ring (ring discard goes on without the ring)",
				 reader->home.path, reader->filed, first);
	reader->ringed = first > reader->filed ? first : reader->filed;
	reader->snapshots = upto;
	return 0;
}

int sde__assess(struct sde__reader *reader, bool locked_by_us, bool patient, enum sde_ring choice,
		const struct sde__log *log, struct sde_error *error)
{
	struct sde_error why = { 0 };
	int locked = 0, ret = 0;

	if (!locked_by_us) {
		locked = sde__home_is_locked(&reader->home, error);
		if (locked < 0)
			return locked;
	}
	/* the ring before the files: whatever it has recycled by then is in them */
	if (reader->home.ring >= 0 && (locked || choice != SDE_RING_DISCARD))
		ret = attach_ring(reader, locked && patient, log, error);
	if (!ret)
		ret = count_files(reader, locked_by_us, &why);
	/* a truncate may be at work on the files: look again */
	if (why.code && locked && patient)
		return SDE_E_STALE;
	if (ret && !(why.code && sde__is_damage(ret)))
		return why.code ? sde__fail(error, ret, "%s", why.text) : ret;
	reader->state = locked ? SDE_STATE_RUNNING :
			reader->ring || reader->ignored ? SDE_STATE_CRASHED : SDE_STATE_CLOSED;
	reader->snapshots = reader->ringed = reader->filed;
	ret = 0;
	if (reader->ring)
		ret = find_ring(reader, locked, locked_by_us, choice, log, &why, error);
	/* a reader of what is whole need not mind the rest */
	reader->broken = why;
	return !ret && why.code && locked_by_us && !reader->fill ?
	       sde__fail(error, why.code, "%s", why.text) : ret;
}
