/* SPDX-License-Identifier: MIT */
/* The writer's side of the ring: files, counters, durability. See ring.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ring.h"

#include "planted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_STEM "segment."
#define SEGMENT_NAME_SIZE 32

static void segment_name(char out[SEGMENT_NAME_SIZE], unsigned segment)
{
	snprintf(out, SEGMENT_NAME_SIZE, SEGMENT_STEM "%u", segment);
}

/* The counters stand 64 bytes apart. */
static size_t number_of(enum sde__ring_counter counter)
{
	return ((size_t)counter - SDE__RING_CLAIMED) / 64;
}

uint64_t sde__ring_get(const struct sde__ring *ring, enum sde__ring_counter counter)
{
	return __atomic_load_n(&ring->counter[number_of(counter)], __ATOMIC_ACQUIRE);
}

/* In the file first: who sees it in memory finds it there. */
static int set(struct sde__ring *ring, enum sde__ring_counter counter, uint64_t value,
	       struct sde_error *error)
{
	const int ret = sde__ring_file_set(&ring->header, counter, value, error);

	if (!ret)
		__atomic_store_n(&ring->counter[number_of(counter)], value, __ATOMIC_RELEASE);
	return ret;
}

static int sync_header(struct sde__ring *ring, struct sde_error *error)
{
	return sde__ring_file_sync(&ring->header, 0, SDE__RING_HEADER_SIZE, error);
}

uint64_t sde__ring_synced(const struct sde__ring *ring)
{
	return __atomic_load_n(&ring->synced, __ATOMIC_ACQUIRE);
}

static void acknowledge(struct sde__ring *ring, uint64_t synced)
{
	__atomic_store_n(&ring->synced, synced, __ATOMIC_RELEASE);
}

/* The slots below `upto` are on the device: the header says so, too, and then we do. */
static int set_synced(struct sde__ring *ring, uint64_t upto, struct sde_error *error)
{
	int ret = set(ring, SDE__RING_SYNCED, upto, error);

	if (sde__planted("synced-told-early"))
		acknowledge(ring, upto);
	if (!ret && !sde__planted("snapshot-counter-not-synced"))
		ret = sync_header(ring, error);
	if (!ret)
		acknowledge(ring, upto);
	return ret;
}

/* Bit s of *there: segment s is. */
static int note_segment(void *there, const char *entry)
{
	const size_t stem = sizeof(SEGMENT_STEM) - 1;
	const bool maybe = !strncmp(entry, SEGMENT_STEM, stem);
	const unsigned long s = maybe ? strtoul(entry + stem, NULL, 10) : SDE__SEGMENTS_MAX;
	char name[SEGMENT_NAME_SIZE];

	if (s >= SDE__SEGMENTS_MAX)
		return 0;
	segment_name(name, (unsigned)s);
	if (!strcmp(entry, name))
		*(uint64_t *)there |= UINT64_C(1) << s;
	return 0;
}

/* Those that are there: to ask for each that there may be takes longer than all the rest. */
static int remove_segments(const struct sde__io *io, int dir, struct sde_error *error)
{
	char name[SEGMENT_NAME_SIZE];
	uint64_t there = 0;
	int ret = io->list(io->ctx, dir, note_segment, &there);

	if (ret)
		return sde__fail_why(error, ret, "cannot list 'data/.ring'");
	for (unsigned s = 0; s < SDE__SEGMENTS_MAX; s++) {
		if (!(there >> s & 1))
			continue;
		segment_name(name, s);
		ret = io->remove_at(io->ctx, dir, name, false);
		if (ret && ret != -ENOENT)
			return sde__fail_why(error, ret, "cannot remove 'data/.ring/%s'", name);
	}
	return 0;
}

int sde__ring_remove_files(const struct sde__io *io, int dir, bool durable,
			   struct sde_error *error)
{
	int ret;

	ret = io->remove_at(io->ctx, dir, SDE__RING_HEADER_NAME, false);
	/* where there is a header there are segments, after a power loss, too; also if
	 * it was removed by a process that was killed before it came to this */
	if ((!ret || ret == -ENOENT) && durable && !sde__planted("header-removal-not-synced"))
		ret = io->sync(io->ctx, dir);
	if (ret && ret != -ENOENT)
		return sde__fail_why(error, ret, "cannot remove 'data/.ring/header'");
	io->remove_at(io->ctx, dir, SDE__RING_HEADER_NAME ".tmp", false);
	return remove_segments(io, dir, error);
}

static struct sde__ring *ring_new(const struct sde__io *io, int dir,
				  const struct sde__ring_header *header)
{
	struct sde__ring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return NULL;
	ring->io = io;
	ring->dir = dir;
	ring->layout = header->layout;
	sde__ring_file_init(&ring->header, io, header->ring_io, false);
	for (unsigned s = 0; s < SDE__SEGMENTS_MAX; s++)
		sde__ring_file_init(&ring->segment[s], io, header->ring_io, false);
	pthread_mutex_init(&ring->sync_lock, NULL);
	return ring;
}

static int write_header(struct sde__ring *ring, struct sde__ring_header *header,
			struct sde_error *error)
{
	unsigned char page[SDE__RING_HEADER_SIZE];
	const struct sde__io *io = ring->io;
	struct sde__stat st;
	int ret;

	ret = sde__ring_file_lay(&ring->header, ring->dir, SDE__RING_HEADER_NAME ".tmp",
				 SDE__RING_HEADER_SIZE, error);
	if (ret)
		return ret;
	/* what messages call it, whether it has its name yet or not */
	memcpy(ring->header.name, SDE__RING_HEADER_NAME, sizeof(SDE__RING_HEADER_NAME));
	ret = io->stat(io->ctx, ring->header.fd, &st);
	if (ret)
		return sde__fail_why(error, ret, "cannot stat 'data/.ring/header'");
	header->device = st.device;
	header->inode = st.inode;
	/* without a boot id nothing is trusted after a kill but what is synced */
	ret = sde__io_boot_id(io, header->boot);
	if (ret)
		return sde__fail_why(error, ret, "cannot read '" SDE__BOOT_ID_FILE "'");
	sde__ring_header_encode(header, page);
	ret = sde__ring_file_fill(&ring->header, 0, page, sizeof(page), error);
	/* not covered: nothing is under the guard before the ring is laid */
	return ret ? ret : sde__ring_file_put(&ring->header, 0, sizeof(page), error);
}

int sde__ring_prepare(struct sde__ring **out, const struct sde__io *io, int dir,
		      struct sde__ring_header *header, bool durable, struct sde_error *error)
{
	char name[SEGMENT_NAME_SIZE];
	struct sde__ring *ring;
	bool in_memory;
	int ret;

	*out = NULL;
	ret = sde__ring_remove_files(io, dir, durable, error);
	if (ret)
		return ret;
	header->ring_io = sde__ring_io_choose(io, dir, header->ring_io);
	ring = ring_new(io, dir, header);
	if (!ring)
		return sde__fail(error, -ENOMEM, "out of memory");
	in_memory = sde__ring_is_in_memory(io, dir);
	for (unsigned s = 0; s < ring->layout.segments && !ret; s++) {
		segment_name(name, s);
		ring->segment[s].in_memory = in_memory;
		ret = sde__ring_file_lay(&ring->segment[s], dir, name, ring->layout.segment_size,
					 error);
	}
	if (!ret)
		ret = write_header(ring, header, error);
	if (ret) {
		sde__ring_remove_files(io, dir, durable, NULL);
		sde__ring_free(ring);
		return ret;
	}
	*out = ring;
	return 0;
}

void sde__ring_guard(struct sde__ring *ring)
{
	if (ring->header.how != SDE_RING_IO_MAPPED)
		return;
	ring->header.guarded = true;
	for (unsigned s = 0; s < ring->layout.segments; s++)
		ring->segment[s].guarded = true;
}

static unsigned segment_of(const struct sde__ring *ring, uint64_t index)
{
	return (unsigned)(index / ring->layout.geometry.chunk_size % ring->layout.segments);
}

static size_t offset_of(const struct sde__ring *ring, uint64_t index)
{
	return (size_t)(index % ring->layout.geometry.chunk_size) * ring->layout.slot_size;
}

unsigned char *sde__ring_slot(const struct sde__ring *ring, uint64_t index)
{
	return ring->segment[segment_of(ring, index)].base + offset_of(ring, index);
}

/* put or sync of the slots [from, to), segment by segment. */
static int with_slots(struct sde__ring *ring, uint64_t from, uint64_t to,
		      int (*act)(struct sde__ring_file *, size_t, size_t, struct sde_error *),
		      struct sde_error *error)
{
	const uint64_t size = ring->layout.geometry.chunk_size;
	int ret = 0;

	while (from < to && !ret) {
		const uint64_t end = (from / size + 1) * size < to ? (from / size + 1) * size : to;

		ret = act(&ring->segment[segment_of(ring, from)], offset_of(ring, from),
			  (size_t)(end - from) * ring->layout.slot_size, error);
		from = end;
	}
	return ret;
}

static int put_slots(struct sde__ring *ring, uint64_t from, uint64_t to, struct sde_error *error)
{
	return with_slots(ring, from, to, sde__ring_file_put, error);
}

/*
 * The kernel takes what it could not write for written, forgets it when it likes and
 * tells of it once: to us. So that it stays in the cache, and whoever recovers it
 * learns how the next attempt went, it is made dirty again. It does not count as
 * synced all the same.
 */
static int sync_slots(struct sde__ring *ring, uint64_t from, uint64_t to, struct sde_error *error)
{
	const int ret = with_slots(ring, from, to, sde__ring_file_sync, error);

	if (ret)
		with_slots(ring, from, to, sde__ring_file_dirty, NULL);
	return ret;
}

/* All counters for a ring that holds [base, committed). */
static int set_counters(struct sde__ring *ring, uint64_t base, uint64_t committed, uint64_t synced,
			struct sde_error *error)
{
	int ret;

	ret = set(ring, SDE__RING_BASE, base, error);
	if (!ret)
		ret = set(ring, SDE__RING_SEALED, base, error);
	if (!ret)
		ret = set(ring, SDE__RING_CLAIMED, committed, error);
	if (!ret)
		ret = set(ring, SDE__RING_COMMITTED, committed, error);
	return ret ? ret : set(ring, SDE__RING_SYNCED, synced, error);
}

int sde__ring_enact(struct sde__ring *ring, uint64_t base, uint64_t committed, uint64_t epoch,
		    bool durable, struct sde_error *error)
{
	const struct sde__io *io = ring->io;
	int ret;

	ret = put_slots(ring, base, committed, error);
	if (!ret && durable)
		ret = sync_slots(ring, base, committed, error);
	if (!ret)
		ret = set_counters(ring, base, committed, durable ? committed : 0, error);
	if (!ret)
		ret = set(ring, SDE__RING_EPOCH, epoch, error);
	if (!ret && durable)
		ret = sync_header(ring, error);
	if (ret)
		return ret;
	/* the segments' names are durable before the header's is */
	ret = durable && !sde__planted("header-named-first") ? io->sync(io->ctx, ring->dir) : 0;
	if (!ret)
		ret = io->rename_at(io->ctx, ring->dir, SDE__RING_HEADER_NAME ".tmp", ring->dir,
				    SDE__RING_HEADER_NAME);
	if (!ret && durable)
		ret = io->sync(io->ctx, ring->dir);
	if (ret)
		return sde__fail_why(error, ret, "cannot put 'data/.ring/header' in place");
	acknowledge(ring, durable ? committed : 0);
	return 0;
}

int sde__ring_claim(struct sde__ring *ring, uint64_t index, struct sde_error *error)
{
	int ret = 0;

	if (sde__planted("claimed-late"))
		return 0;
	/* the slot is about to change: the file must not count it any more */
	if (ring->doubtful)
		ret = set(ring, SDE__RING_COMMITTED, index, error);
	if (ret)
		return ret;
	ring->doubtful = false;
	ret = set(ring, SDE__RING_CLAIMED, index + 1, error);
	/* no store to the slot may be seen before that of claimed */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return ret;
}

int sde__ring_fill(struct sde__ring *ring, uint64_t index, size_t offset, const void *from,
		   size_t n, struct sde_error *error)
{
	return sde__ring_file_fill(&ring->segment[segment_of(ring, index)],
				   offset_of(ring, index) + offset, from, n, error);
}

int sde__ring_touch(const struct sde__ring *ring, uint64_t index, void (*act)(void *ctx), void *ctx,
		    struct sde_error *error)
{
	return sde__ring_file_touch(&ring->segment[segment_of(ring, index)], act, ctx, error);
}

static int set_committed(struct sde__ring *ring, uint64_t index, struct sde_error *error)
{
	const int ret = set(ring, SDE__RING_COMMITTED, index + 1, error);

	ring->doubtful = ret != 0;
	return ret;
}

int sde__ring_commit(struct sde__ring *ring, uint64_t index, struct sde_error *error)
{
	int ret = put_slots(ring, index, index + 1, error);

	if (!ret && sde__planted("claimed-late"))
		ret = set(ring, SDE__RING_CLAIMED, index + 1, error);
	return ret ? ret : set_committed(ring, index, error);
}

/* What is sealed is durable elsewhere, and its slots may be in use again. */
static uint64_t first_to_sync(const struct sde__ring *ring)
{
	const uint64_t synced = sde__ring_synced(ring);
	const uint64_t sealed = sde__ring_get(ring, SDE__RING_SEALED);

	return synced < sealed ? sealed : synced;
}

int sde__ring_sync(struct sde__ring *ring, uint64_t upto, struct sde_error *error)
{
	uint64_t from;
	int ret = 0;

	pthread_mutex_lock(&ring->sync_lock);
	from = first_to_sync(ring);
	if (from < upto && sde__planted("synced-before-msync"))
		set(ring, SDE__RING_SYNCED, upto, error);
	if (from < upto) {
		ret = sde__planted("synced-without-msync") ? 0 : sync_slots(ring, from, upto, error);
		if (ret && sde__planted("msync-error-swallowed"))
			ret = 0;
		if (!ret)
			ret = set_synced(ring, upto, error);
	}
	pthread_mutex_unlock(&ring->sync_lock);
	return ret;
}

int sde__ring_commit_synced(struct sde__ring *ring, uint64_t index, struct sde_error *error)
{
	uint64_t from;
	int ret;

	pthread_mutex_lock(&ring->sync_lock);
	from = first_to_sync(ring);
	ret = put_slots(ring, index, index + 1, error);
	if (!ret)
		ret = sync_slots(ring, from < index ? from : index, index + 1, error);
	if (!ret)
		ret = set_committed(ring, index, error);
	if (!ret)
		ret = set_synced(ring, index + 1, error);
	pthread_mutex_unlock(&ring->sync_lock);
	return ret;
}

int sde__ring_seal(struct sde__ring *ring, uint64_t upto, bool durable, struct sde_error *error)
{
	/* without the lock: a long sync of other slots must not hold this up */
	const int ret = set(ring, SDE__RING_SEALED, upto, error);

	if (sde__planted("counters-reset-on-reuse"))
		set(ring, SDE__RING_SYNCED, 0, error);
	return !ret && durable && !sde__planted("sealed-not-durable") ? sync_header(ring, error) : ret;
}

int sde__ring_recycle(struct sde__ring *ring, uint64_t chunk, struct sde_error *error)
{
	return sde__ring_file_ready(&ring->segment[chunk % ring->layout.segments], error);
}

int sde__ring_suspend(struct sde__ring *ring, bool durable, struct sde_error *error)
{
	const int ret = set(ring, SDE__RING_EPOCH, SDE__RING_EPOCH_NONE, error);

	acknowledge(ring, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !ret && durable ? sync_header(ring, error) : ret;
}

int sde__ring_restart(struct sde__ring *ring, uint64_t base, uint64_t committed, uint64_t epoch,
		      bool durable, struct sde_error *error)
{
	int ret;

	ret = put_slots(ring, base, committed, error);
	if (!ret && durable)
		ret = sync_slots(ring, base, committed, error);
	if (!ret && sde__planted("epoch-before-counters"))
		ret = set(ring, SDE__RING_EPOCH, epoch, error);
	if (!ret)
		ret = set_counters(ring, base, committed, durable ? committed : 0, error);
	/* no header on the device may have the new epoch with old counters */
	if (!ret && durable)
		ret = sync_header(ring, error);
	if (!ret)
		ret = set(ring, SDE__RING_EPOCH, epoch, error);
	if (!ret && durable)
		ret = sync_header(ring, error);
	if (!ret && durable)
		acknowledge(ring, committed);
	return ret;
}

void sde__ring_free(struct sde__ring *ring)
{
	if (!ring)
		return;
	for (unsigned s = 0; s < SDE__SEGMENTS_MAX; s++)
		sde__ring_file_close(&ring->segment[s]);
	sde__ring_file_close(&ring->header);
	pthread_mutex_destroy(&ring->sync_lock);
	free(ring);
}
