/* SPDX-License-Identifier: MIT */
/* The writer's side of the ring: files, counters, durability. See ring.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_NAME_SIZE 32

static void segment_name(char out[SEGMENT_NAME_SIZE], unsigned segment)
{
	snprintf(out, SEGMENT_NAME_SIZE, "segment.%u", segment);
}

static uint64_t *counter_at(const struct sde__ring *ring, enum sde__ring_counter counter)
{
	/* the page is mapped, the offsets are multiples of 64 */
	return (uint64_t *)(void *)(ring->header + counter);
}

uint64_t sde__ring_get(const struct sde__ring *ring, enum sde__ring_counter counter)
{
	return __atomic_load_n(counter_at(ring, counter), __ATOMIC_ACQUIRE);
}

static void set(struct sde__ring *ring, enum sde__ring_counter counter, uint64_t value)
{
	ring->io->commit(ring->io->ctx, counter_at(ring, counter), value);
}

static int sync_header(struct sde__ring *ring, struct sde_error *error)
{
	const int ret = ring->io->sync_map(ring->io->ctx, ring->header, SDE__RING_HEADER_SIZE);

	return ret ? sde__fail_why(error, ret, "cannot sync 'data/.ring/header'") : 0;
}

int sde__ring_remove_files(const struct sde__io *io, int dir, bool durable,
			   struct sde_error *error)
{
	char name[SEGMENT_NAME_SIZE];
	int ret;

	ret = io->remove_at(io->ctx, dir, SDE__RING_HEADER_NAME, false);
	/* where there is a header there are segments, after a power loss, too; also if
	 * it was removed by a process that was killed before it came to this */
	if ((!ret || ret == -ENOENT) && durable)
		ret = io->sync(io->ctx, dir);
	if (ret && ret != -ENOENT)
		return sde__fail_why(error, ret, "cannot remove 'data/.ring/header'");
	io->remove_at(io->ctx, dir, SDE__RING_HEADER_NAME ".tmp", false);
	for (unsigned s = 0; s < SDE__SEGMENTS_MAX; s++) {
		segment_name(name, s);
		ret = io->remove_at(io->ctx, dir, name, false);
		if (ret && ret != -ENOENT)
			return sde__fail_why(error, ret, "cannot remove 'data/.ring/%s'", name);
	}
	return 0;
}

/* A new file of `size` bytes on the device's own blocks, mapped and touched. */
static int lay_file(struct sde__ring *ring, const char *name, size_t size, int *fd, void **base,
		    struct sde_error *error)
{
	const struct sde__io *io = ring->io;
	int ret;

	*fd = io->open_at(io->ctx, ring->dir, name, O_RDWR | O_CREAT | O_EXCL);
	if (*fd < 0)
		return sde__fail_why(error, *fd, "cannot create 'data/.ring/%s'", name);
	ret = io->allocate(io->ctx, *fd, size);
	if (!ret)
		ret = io->sync(io->ctx, *fd);
	if (ret)
		return sde__fail_why(error, ret,
				     "cannot allocate 'data/.ring/%s' of %zu bytes (the ring takes %u such files)",
				     name, size, ring->layout.segments);
	ret = io->map(io->ctx, *fd, size, true, base);
	if (!ret)
		ret = io->populate(io->ctx, *base, size);
	return ret ? sde__fail_why(error, ret, "cannot map 'data/.ring/%s'", name) : 0;
}

static struct sde__ring *ring_new(const struct sde__io *io, int dir,
				  const struct sde__slot_layout *layout)
{
	struct sde__ring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return NULL;
	ring->io = io;
	ring->dir = dir;
	ring->layout = *layout;
	ring->header_fd = -1;
	for (unsigned s = 0; s < SDE__SEGMENTS_MAX; s++)
		ring->segment_fd[s] = -1;
	pthread_mutex_init(&ring->sync_lock, NULL);
	return ring;
}

static int write_header(struct sde__ring *ring, struct sde__ring_header *header,
			struct sde_error *error)
{
	unsigned char page[SDE__RING_HEADER_SIZE];
	const struct sde__io *io = ring->io;
	struct sde__stat st;
	void *base = NULL;
	int ret;

	ret = lay_file(ring, SDE__RING_HEADER_NAME ".tmp", SDE__RING_HEADER_SIZE,
		       &ring->header_fd, &base, error);
	ring->header = base;
	if (ret)
		return ret;
	ret = io->stat(io->ctx, ring->header_fd, &st);
	if (ret)
		return sde__fail_why(error, ret, "cannot stat 'data/.ring/header'");
	header->device = st.device;
	header->inode = st.inode;
	/* without a boot id nothing is trusted after a kill but what is synced */
	if (io->boot_id(io->ctx, header->boot))
		memset(header->boot, 0, sizeof(header->boot));
	sde__ring_header_encode(header, page);
	io->copy(io->ctx, ring->header, page, sizeof(page));
	return 0;
}

int sde__ring_prepare(struct sde__ring **out, const struct sde__io *io, int dir,
		      struct sde__ring_header *header, bool durable, struct sde_error *error)
{
	char name[SEGMENT_NAME_SIZE];
	struct sde__ring *ring;
	int ret;

	*out = NULL;
	ret = sde__ring_remove_files(io, dir, durable, error);
	if (ret)
		return ret;
	ring = ring_new(io, dir, &header->layout);
	if (!ring)
		return sde__fail(error, -ENOMEM, "out of memory");
	for (unsigned s = 0; s < ring->layout.segments && !ret; s++) {
		void *base = NULL;

		segment_name(name, s);
		ret = lay_file(ring, name, ring->layout.segment_size, &ring->segment_fd[s],
			       &base, error);
		ring->segment[s] = base;
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

unsigned char *sde__ring_slot(const struct sde__ring *ring, uint64_t index)
{
	const uint64_t size = ring->layout.geometry.chunk_size;

	return ring->segment[(index / size) % ring->layout.segments] +
	       (size_t)(index % size) * ring->layout.slot_size;
}

static int sync_slots(struct sde__ring *ring, uint64_t from, uint64_t to, struct sde_error *error)
{
	const uint64_t size = ring->layout.geometry.chunk_size;
	int ret;

	while (from < to) {
		const uint64_t end = (from / size + 1) * size < to ? (from / size + 1) * size : to;

		ret = ring->io->sync_map(ring->io->ctx, sde__ring_slot(ring, from),
					 (size_t)(end - from) * ring->layout.slot_size);
		if (ret)
			return sde__fail_why(error, ret, "cannot sync 'data/.ring/segment.%u'",
					     (unsigned)((from / size) % ring->layout.segments));
		from = end;
	}
	return 0;
}

/* All counters for a ring that holds [base, committed). */
static void set_counters(struct sde__ring *ring, uint64_t base, uint64_t committed, uint64_t synced)
{
	set(ring, SDE__RING_BASE, base);
	set(ring, SDE__RING_SEALED, base);
	set(ring, SDE__RING_CLAIMED, committed);
	set(ring, SDE__RING_COMMITTED, committed);
	set(ring, SDE__RING_SYNCED, synced);
}

int sde__ring_enact(struct sde__ring *ring, uint64_t base, uint64_t committed, uint64_t epoch,
		    bool durable, struct sde_error *error)
{
	const struct sde__io *io = ring->io;
	int ret;

	ret = durable ? sync_slots(ring, base, committed, error) : 0;
	if (ret)
		return ret;
	set_counters(ring, base, committed, durable ? committed : 0);
	set(ring, SDE__RING_EPOCH, epoch);
	ret = durable ? sync_header(ring, error) : 0;
	if (ret)
		return ret;
	/* the segments' names are durable before the header's is */
	ret = durable ? io->sync(io->ctx, ring->dir) : 0;
	if (!ret)
		ret = io->rename_at(io->ctx, ring->dir, SDE__RING_HEADER_NAME ".tmp", ring->dir,
				    SDE__RING_HEADER_NAME);
	if (!ret && durable)
		ret = io->sync(io->ctx, ring->dir);
	return ret ? sde__fail_why(error, ret, "cannot put 'data/.ring/header' in place") : 0;
}

void sde__ring_claim(struct sde__ring *ring, uint64_t index)
{
	set(ring, SDE__RING_CLAIMED, index + 1);
	/* no store to the slot may be seen before that of claimed */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void sde__ring_commit(struct sde__ring *ring, uint64_t index)
{
	set(ring, SDE__RING_COMMITTED, index + 1);
}

int sde__ring_sync(struct sde__ring *ring, uint64_t upto, struct sde_error *error)
{
	uint64_t from;
	int ret = 0;

	pthread_mutex_lock(&ring->sync_lock);
	from = sde__ring_get(ring, SDE__RING_SYNCED);
	/* what is sealed is durable elsewhere, and its slots may be in use again */
	if (from < sde__ring_get(ring, SDE__RING_SEALED))
		from = sde__ring_get(ring, SDE__RING_SEALED);
	if (from < upto) {
		ret = sync_slots(ring, from, upto, error);
		if (!ret) {
			set(ring, SDE__RING_SYNCED, upto);
			ret = sync_header(ring, error);
		}
	}
	pthread_mutex_unlock(&ring->sync_lock);
	return ret;
}

int sde__ring_commit_synced(struct sde__ring *ring, uint64_t index, struct sde_error *error)
{
	uint64_t synced;
	int ret;

	pthread_mutex_lock(&ring->sync_lock);
	synced = sde__ring_get(ring, SDE__RING_SYNCED);
	/* what is sealed is durable elsewhere */
	if (synced < sde__ring_get(ring, SDE__RING_SEALED))
		synced = sde__ring_get(ring, SDE__RING_SEALED);
	ret = sync_slots(ring, synced < index ? synced : index, index + 1, error);
	if (!ret) {
		sde__ring_commit(ring, index);
		set(ring, SDE__RING_SYNCED, index + 1);
		ret = sync_header(ring, error);
	}
	pthread_mutex_unlock(&ring->sync_lock);
	return ret;
}

int sde__ring_seal(struct sde__ring *ring, uint64_t upto, bool durable, struct sde_error *error)
{
	/* without the lock: a long msync of other slots must not hold this up */
	set(ring, SDE__RING_SEALED, upto);
	return durable ? sync_header(ring, error) : 0;
}

int sde__ring_recycle(struct sde__ring *ring, uint64_t chunk)
{
	const unsigned s = (unsigned)(chunk % ring->layout.segments);

	return ring->io->populate(ring->io->ctx, ring->segment[s], ring->layout.segment_size);
}

int sde__ring_suspend(struct sde__ring *ring, bool durable, struct sde_error *error)
{
	set(ring, SDE__RING_EPOCH, SDE__RING_EPOCH_NONE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return durable ? sync_header(ring, error) : 0;
}

int sde__ring_restart(struct sde__ring *ring, uint64_t base, uint64_t committed, uint64_t epoch,
		      bool durable, struct sde_error *error)
{
	int ret;

	ret = durable ? sync_slots(ring, base, committed, error) : 0;
	if (ret)
		return ret;
	set_counters(ring, base, committed, durable ? committed : 0);
	/* no header on the device may have the new epoch with old counters */
	ret = durable ? sync_header(ring, error) : 0;
	if (ret)
		return ret;
	set(ring, SDE__RING_EPOCH, epoch);
	return durable ? sync_header(ring, error) : 0;
}

void sde__ring_free(struct sde__ring *ring)
{
	const struct sde__io *io;

	if (!ring)
		return;
	io = ring->io;
	for (unsigned s = 0; s < SDE__SEGMENTS_MAX; s++) {
		if (ring->segment[s])
			io->unmap(io->ctx, ring->segment[s], ring->layout.segment_size);
		if (ring->segment_fd[s] >= 0)
			io->close(io->ctx, ring->segment_fd[s]);
	}
	if (ring->header)
		io->unmap(io->ctx, ring->header, SDE__RING_HEADER_SIZE);
	if (ring->header_fd >= 0)
		io->close(io->ctx, ring->header_fd);
	pthread_mutex_destroy(&ring->sync_lock);
	free(ring);
}
