/* SPDX-License-Identifier: MIT */
/* Opening a store for reading, and holding on to it: see reader.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "reader.h"

#include "assess.h"
#include "rank_columns.h"
#include "strided.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIES 20	/* of a store that is being truncated, 10 ms apart */

int sde__reader_enter(struct sde__reader *reader, struct sde_error *error)
{
	struct sde__metadata *m = &reader->metadata;
	int ret;

	ret = sde__documents_read_root(&reader->home, &reader->root, &reader->root_size, error);
	if (!ret)
		ret = sde__documents_read(&reader->home, m, error);
	if (!ret)
		ret = sde__home_enter(&reader->home, error);
	if (ret)
		return ret;
	reader->codec = (struct sde__codec){
		.id = m->codec, .item = sde__dtype_size(m->geometry.dtype), .checksum = m->checksum,
		.keepbits = sde__rounding(m->geometry.dtype, m->keepbits),
	};
	sde__metadata_run(m, reader->run);
	return 0;
}

static int load(struct sde__reader *reader, bool locked_by_us, bool patient, enum sde_ring trust,
		const struct sde__log *log, struct sde_error *error)
{
	const int ret = sde__reader_enter(reader, error);

	if (ret)
		return ret;
	if (sde__column_count(&reader->metadata.geometry) > 1)
		return sde__columns_assess(reader, locked_by_us, patient, trust, log, error);
	return sde__assess(reader, locked_by_us, patient, trust, log, error);
}

/* A truncate at work is over soon; only the last attempt takes what it finds. */
static int load_patiently(struct sde__reader *reader, bool locked_by_us, enum sde_ring trust,
			  const struct sde__log *log, struct sde_error *error)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	int ret;

	for (int tries = 0; ; tries++) {
		struct sde_error why = { 0 };

		ret = load(reader, locked_by_us, tries < TRIES, trust, log, &why);
		if (ret != SDE_E_STALE || tries == TRIES)
			return ret ? sde__fail(error, ret, "%s", why.text) : 0;
		reader->ignored = 0;
		sde__columns_close(reader);
		sde__ring_reader_close(reader->ring);
		reader->ring = NULL;
		sde__metadata_clear(&reader->metadata);
		free(reader->root);
		reader->root = NULL;
		sde__home_leave(&reader->home);
		nanosleep(&pause, NULL);
	}
}

struct sde__reader *sde__reader_new(const struct sde__io *io)
{
	struct sde__reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return NULL;
	reader->io = io;
	reader->references = 1;
	sde__home_init(&reader->home, io);
	return reader;
}

void sde__reader_limit(struct sde__reader *reader, uint64_t snapshots)
{
	if (reader->filed > snapshots) {
		reader->filed = reader->ringed = snapshots;
		reader->shortened = true;
		reader->cut = snapshots % reader->metadata.geometry.chunk_size != 0;
	}
	if (reader->snapshots > snapshots)
		reader->snapshots = snapshots;
}

static int finish(struct sde__reader **out, struct sde__reader *reader, int ret)
{
	if (ret) {
		sde__reader_unref(reader);
		reader = NULL;
	}
	*out = reader;
	return ret;
}

int sde__reader_open(struct sde__reader **out, const struct sde__io *io, const char *path,
		     enum sde_ring trust, bool fill, const struct sde__log *log,
		     struct sde_error *error)
{
	struct sde__reader *reader = sde__reader_new(io);
	int ret;

	*out = NULL;
	if (!reader)
		return sde__fail(error, -ENOMEM, "out of memory");
	reader->fill = fill;
	ret = sde__home_open(&reader->home, path, error);
	if (!ret)
		ret = load_patiently(reader, false, trust, log, error);
	return finish(out, reader, ret);
}

int sde__reader_reopen(struct sde__reader **out, const struct sde__home *home, bool locked_by_us,
		       bool fill, enum sde_ring trust, const struct sde__log *log,
		       struct sde_error *error)
{
	struct sde__reader *reader = sde__reader_new(home->io);
	int ret;

	*out = NULL;
	if (!reader)
		return sde__fail(error, -ENOMEM, "out of memory");
	reader->fill = fill;
	ret = sde__home_reopen(&reader->home, home, error);
	if (!ret)
		ret = load_patiently(reader, locked_by_us, trust, log, error);
	return finish(out, reader, ret);
}

struct sde__reader *sde__reader_ref(struct sde__reader *reader)
{
	__atomic_add_fetch(&reader->references, 1, __ATOMIC_RELAXED);
	return reader;
}

void sde__reader_unref(struct sde__reader *reader)
{
	if (!reader || __atomic_sub_fetch(&reader->references, 1, __ATOMIC_ACQ_REL))
		return;
	sde__columns_close(reader);
	sde__ring_reader_close(reader->ring);
	sde__chunk_cache_unref(reader->cache);
	sde__metadata_clear(&reader->metadata);
	free(reader->root);
	sde__home_close(&reader->home);
	free(reader);
}
