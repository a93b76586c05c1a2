/* SPDX-License-Identifier: MIT */
/* Reading a ring that somebody else writes, or wrote: see ring_reader.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ring_reader.h"

#include "planted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_segments(struct sde__ring_reader *reader, int dir, struct sde_error *error)
{
	const struct sde__io *io = reader->io;
	struct sde__stat st, header;
	char name[32];
	int ret;

	for (unsigned s = 0; s < reader->header.layout.segments; s++) {
		snprintf(name, sizeof(name), "segment.%u", s);
		ret = io->open_at(io->ctx, dir, name, O_RDONLY);
		/* a ring on its way out loses its header first: if that is still
		 * there, the segment is lost */
		if (ret == -ENOENT && !io->stat(io->ctx, reader->header_fd, &header))
			return header.links ? sde__fail(error, SDE_E_CORRUPT,
							"'data/.ring/%s' is missing", name) : ret;
		if (ret < 0)
			return sde__fail_why(error, ret, "cannot open 'data/.ring/%s'", name);
		reader->segment_fd[s] = ret;
		ret = io->stat(io->ctx, reader->segment_fd[s], &st);
		if (ret)
			return sde__fail_why(error, ret, "cannot stat 'data/.ring/%s'", name);
		if (!st.is_file || st.size != reader->header.layout.segment_size)
			return sde__fail(error, SDE_E_CORRUPT,
					 "'data/.ring/%s' has %llu bytes, not %zu", name,
					 (unsigned long long)st.size,
					 reader->header.layout.segment_size);
	}
	return 0;
}

static int open_header(struct sde__ring_reader *reader, int dir, struct sde_error *error)
{
	unsigned char page[SDE__RING_HEADER_SIZE];
	const struct sde__io *io = reader->io;
	int ret;

	ret = io->open_at(io->ctx, dir, SDE__RING_HEADER_NAME, O_RDONLY);
	if (ret < 0)
		return ret == -ENOENT ? ret :
		       sde__fail_why(error, ret, "cannot open 'data/.ring/header'");
	reader->header_fd = ret;
	ret = sde__io_read_all(io, reader->header_fd, page, sizeof(page), 0);
	if (ret == -ENODATA)
		return sde__fail(error, SDE_E_CORRUPT, "'data/.ring/header' is truncated");
	if (ret)
		return sde__fail_why(error, ret, "cannot read 'data/.ring/header'");
	return sde__ring_header_decode(page, &reader->header, "data/.ring/header", error);
}

int sde__ring_reader_open(struct sde__ring_reader **out, const struct sde__io *io, int dir,
			  struct sde_error *error)
{
	struct sde__ring_reader *reader = calloc(1, sizeof(*reader));
	int ret;

	*out = NULL;
	if (!reader)
		return sde__fail(error, -ENOMEM, "out of memory");
	reader->io = io;
	reader->header_fd = -1;
	for (unsigned s = 0; s < SDE__SEGMENTS_MAX; s++)
		reader->segment_fd[s] = -1;
	ret = open_header(reader, dir, error);
	if (!ret)
		ret = open_segments(reader, dir, error);
	if (ret)
		sde__ring_reader_close(reader);
	else
		*out = reader;
	return ret;
}

static int get_counter(const struct sde__ring_reader *reader, enum sde__ring_counter counter,
		       uint64_t *value, struct sde_error *error)
{
	const int ret = sde__io_read_all(reader->io, reader->header_fd, value, sizeof(*value),
					 (uint64_t)counter);

	if (ret == -ENODATA)
		return sde__fail(error, SDE_E_CORRUPT, "'data/.ring/header' is truncated");
	return ret ? sde__fail_why(error, ret, "cannot read 'data/.ring/header'") : 0;
}

static void raise_to(uint64_t *counter, uint64_t least)
{
	if (*counter < least)
		*counter = least;
}

int sde__ring_reader_counters(const struct sde__ring_reader *reader,
			      struct sde__ring_counters *counters, struct sde_error *error)
{
	uint64_t again;
	int ret;

	/* in an order in which each is at most what the next one was later */
	ret = get_counter(reader, SDE__RING_EPOCH, &counters->epoch, error);
	if (!ret)
		ret = get_counter(reader, SDE__RING_BASE, &counters->base, error);
	if (!ret)
		ret = get_counter(reader, SDE__RING_SEALED, &counters->sealed, error);
	if (!ret)
		ret = get_counter(reader, SDE__RING_SYNCED, &counters->synced, error);
	if (!ret)
		ret = get_counter(reader, SDE__RING_COMMITTED, &counters->committed, error);
	if (!ret)
		ret = get_counter(reader, SDE__RING_CLAIMED, &counters->claimed, error);
	if (!ret)
		ret = get_counter(reader, SDE__RING_EPOCH, &again, error);
	if (ret)
		return ret;
	/* truncate was at work: as good as no ring */
	if (again != counters->epoch)
		counters->epoch = SDE__RING_EPOCH_NONE;
	if (counters->epoch == SDE__RING_EPOCH_NONE)
		return 0;
	if (counters->base > counters->sealed || counters->sealed > INT64_MAX ||
	    counters->base % reader->header.layout.geometry.chunk_size ||
	    counters->sealed % reader->header.layout.geometry.chunk_size)
		return sde__fail(error, SDE_E_CORRUPT,
				 "'data/.ring/header' has impossible counters");
	/* a power loss may have left one that is older than those it precedes */
	raise_to(&counters->committed, counters->sealed);
	raise_to(&counters->committed, counters->synced);
	raise_to(&counters->claimed, counters->committed);
	if (counters->claimed > INT64_MAX)
		return sde__fail(error, SDE_E_CORRUPT,
				 "'data/.ring/header' has impossible counters");
	return 0;
}

static int stat_header(const struct sde__ring_reader *reader, struct sde__stat *st,
		       struct sde_error *error)
{
	const int ret = reader->io->stat(reader->io->ctx, reader->header_fd, st);

	return ret ? sde__fail_why(error, ret, "cannot stat 'data/.ring/header'") : 0;
}

static const unsigned char unknown[16];

int sde__ring_reader_is_lockers(const struct sde__ring_reader *reader, bool *is_lockers,
				struct sde_error *error)
{
	const struct sde__ring_header *h = &reader->header;
	unsigned char boot[16];
	struct sde__stat st;
	int ret;

	ret = stat_header(reader, &st, error);
	if (ret)
		return ret;
	/* where boots cannot be told apart, the lock must do */
	*is_lockers = st.inode == h->inode &&
		      (reader->io->boot_id(reader->io->ctx, boot) ||
		       !memcmp(h->boot, unknown, sizeof(boot)) ||
		       !memcmp(h->boot, boot, sizeof(boot)));
	*is_lockers |= sde__planted("recoverer-taken-for-writer");
	return 0;
}

int sde__ring_reader_trust(const struct sde__ring_reader *reader, enum sde__ring_trust *trust,
			   struct sde_error *error)
{
	const struct sde__ring_header *h = &reader->header;
	unsigned char boot[16];
	struct sde__stat st;
	int ret;

	ret = stat_header(reader, &st, error);
	if (ret)
		return ret;
	ret = sde__io_boot_id(reader->io, boot);
	if (ret)
		return sde__fail_why(error, ret, "cannot read '" SDE__BOOT_ID_FILE "'");
	/* device numbers are dealt out anew at boot: they say something only
	 * within one */
	if (!memcmp(boot, h->boot, sizeof(boot)) && memcmp(boot, unknown, sizeof(boot)))
		*trust = st.inode == h->inode && st.device == h->device ?
			 SDE__RING_COMMITTED_HOLDS : SDE__RING_COPIED;
	else
		*trust = st.inode == h->inode ? SDE__RING_SYNCED_HOLDS : SDE__RING_COPIED;
	return 0;
}

int sde__ring_reader_sync(const struct sde__ring_reader *reader, struct sde_error *error)
{
	const struct sde__io *io = reader->io;
	int ret;

	for (unsigned s = 0; s < reader->header.layout.segments; s++) {
		ret = io->sync(io->ctx, reader->segment_fd[s]);
		if (ret)
			return sde__fail_why(error, ret, "cannot sync 'data/.ring/segment.%u'", s);
	}
	ret = io->sync(io->ctx, reader->header_fd);
	return ret ? sde__fail_why(error, ret, "cannot sync 'data/.ring/header'") : 0;
}

int sde__ring_reader_read(const struct sde__ring_reader *reader, uint64_t index, size_t offset,
			  void *out, size_t n, struct sde_error *error)
{
	const struct sde__slot_layout *l = &reader->header.layout;
	const uint64_t size = l->geometry.chunk_size;
	const unsigned s = (unsigned)((index / size) % l->segments);
	int ret;

	ret = sde__io_read_all(reader->io, reader->segment_fd[s], out, n,
			       (index % size) * l->slot_size + offset);
	if (ret == -ENODATA)
		return sde__fail(error, SDE_E_CORRUPT, "'data/.ring/segment.%u' is truncated", s);
	return ret ? sde__fail_why(error, ret, "cannot read 'data/.ring/segment.%u'", s) : 0;
}

uint64_t sde__ring_reader_first(const struct sde__ring_reader *reader,
				const struct sde__ring_counters *counters)
{
	const struct sde__slot_layout *l = &reader->header.layout;
	const uint64_t slots = l->geometry.chunk_size * l->segments;
	const uint64_t reused = counters->claimed > slots ? counters->claimed - slots : 0;

	return counters->base > reused ? counters->base : reused;
}

int sde__ring_reader_intact(const struct sde__ring_reader *reader, uint64_t first,
			    uint64_t epoch, struct sde_error *error)
{
	struct sde__ring_counters counters = { 0 };
	int ret;

	/* what was copied before must have been read before these are */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	ret = get_counter(reader, SDE__RING_CLAIMED, &counters.claimed, error);
	if (!ret)
		ret = get_counter(reader, SDE__RING_BASE, &counters.base, error);
	if (!ret)
		ret = get_counter(reader, SDE__RING_EPOCH, &counters.epoch, error);
	if (ret)
		return ret;
	if (counters.epoch != epoch)
		return sde__fail(error, SDE_E_STALE,
				 "the store was truncated since this handle was taken");
	return sde__planted("seqlock-unchecked") || sde__ring_reader_first(reader, &counters) <= first;
}

void sde__ring_reader_close(struct sde__ring_reader *reader)
{
	if (!reader)
		return;
	for (unsigned s = 0; s < SDE__SEGMENTS_MAX; s++)
		if (reader->segment_fd[s] >= 0)
			reader->io->close(reader->io->ctx, reader->segment_fd[s]);
	if (reader->header_fd >= 0)
		reader->io->close(reader->io->ctx, reader->header_fd);
	free(reader);
}
