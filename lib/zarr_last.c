/* SPDX-License-Identifier: MIT */
/*
 * The Zarr backend: the exact numbers of the last snapshot where chunk files have
 * rounded ones (keepbits), from one run to the next. Who has them at each moment:
 *
 *	while it runs		the ring's slot
 *	save, close		data/.restart, written behind chunk files and
 *				documents and, at close, before the ring is removed
 *	recovery		data/.restart, before the old ring is removed
 *	resume			the new ring's slot; for the last snapshot of a
 *				chunk, which is not in it, data/.restart
 *	truncate		data/.restart for the new last snapshot or none,
 *				before the documents of the new epoch
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "zarr_state.h"

#include "last.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Snapshot `index` in this storage's ring, or NULL if its slot is another's by now;
 * *exact: it is what was stored and not what a chunk file gave back.
 */
static const unsigned char *slot_of(const struct sde__zarr *z, uint64_t index, bool *exact)
{
	const uint64_t slots = z->config.layout.segments * sde__zarr_chunk_size(z);
	struct sde__slot_head head = { 0 };
	const unsigned char *slot;

	*exact = false;
	/* a reserved one may be in the making at z->next */
	if (index < sde__ring_get(z->ring, SDE__RING_BASE) || index + slots <= z->next)
		return NULL;
	slot = sde__ring_slot(z->ring, index);
	*exact = !sde__slot_head_read(slot, &z->config.layout, &head) && !head.rounded;
	return slot;
}

static struct sde__restart restart_of(const struct sde__zarr *z, uint64_t index, uint64_t epoch)
{
	struct sde__restart restart = { .epoch = epoch, .index = index };

	memcpy(restart.run, z->config.run, sizeof(restart.run));
	return restart;
}

/* data/.restart for the last snapshot, unless it is there or cannot be had. */
int sde__zarr_keep_last(struct sde__zarr *z, struct sde_error *error)
{
	const struct sde__restart restart = restart_of(z, z->next - 1, z->config.metadata.epoch);
	const unsigned char *slot;
	bool exact;
	int ret = 0;

	if (!z->config.codec.keepbits || z->kept == z->next)
		return 0;
	slot = slot_of(z, z->next - 1, &exact);
	if (slot && exact)
		ret = sde__restart_write(&z->home, &restart, &z->config.layout,
					 slot + z->config.layout.payload_offset,
					 sde__zarr_is_durable(z), error);
	if (!ret)
		z->kept = z->next;
	return ret;
}

int sde__zarr_last(void *self, void *data, int *is_exact, struct sde_error *error)
{
	struct sde__zarr *z = self;
	const unsigned char *slot;
	struct sde__reader *reader;
	bool exact = true;
	int ret;

	if (!z->next)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no snapshots yet", z->home.path);
	if (z->broken.code)
		return sde__fail(error, z->broken.code, "%s", z->broken.text);
	slot = slot_of(z, z->next - 1, &exact);
	if (slot) {
		memcpy(data, slot + z->config.layout.payload_offset,
		       sde__snapshot_bytes(&z->config.layout.geometry));
		*is_exact = exact || !z->config.codec.keepbits;
		return 0;
	}
	/* it was the last of a chunk when the storage was resumed */
	ret = sde__zarr_newest_reader(z, &reader, error);
	if (ret)
		return ret;
	ret = sde__last_read(reader, &z->config.layout, data, &exact, error);
	sde__reader_unref(reader);
	*is_exact = exact;
	return ret;
}

/*
 * The exact numbers of snapshot `index`, which is to be the last one, malloc'd; NULL
 * if they are not known any more. Before save replaces data/.restart.
 */
int sde__zarr_take_exact(struct sde__zarr *z, uint64_t index, void **out, struct sde_error *error)
{
	const struct sde__slot_layout *l = &z->config.layout;
	const struct sde__restart restart = restart_of(z, index, z->config.metadata.epoch);
	const size_t n = sde__snapshot_bytes(&l->geometry);
	const unsigned char *slot;
	bool exact;

	*out = malloc(n);
	if (!*out)
		return sde__fail(error, -ENOMEM, "out of memory");
	slot = slot_of(z, index, &exact);
	if (slot && exact) {
		memcpy(*out, slot + l->payload_offset, n);
		return 0;
	}
	if (!sde__restart_read(&z->home, &restart, l, *out, NULL))
		return 0;
	free(*out);
	*out = NULL;
	return 0;
}

/*
 * data/.restart for what will be the last snapshot, or none: one of an earlier
 * attempt at this epoch must not be there when the epoch begins.
 */
int sde__zarr_keep_exact(struct sde__zarr *z, const struct sde__metadata *next, const void *exact,
			 struct sde_error *error)
{
	const struct sde__restart restart = restart_of(z, next->snapshots - 1, next->epoch);

	if (!z->config.codec.keepbits)
		return 0;
	if (!exact)
		return sde__restart_remove(&z->home, sde__zarr_is_durable(z), error);
	return sde__restart_write(&z->home, &restart, &z->config.layout, exact,
				  sde__zarr_is_durable(z), error);
}

/* The ring is of no epoch now. */
void sde__zarr_put_exact(struct sde__zarr *z, uint64_t index, const void *exact)
{
	unsigned char *slot = sde__ring_slot(z->ring, index);
	struct sde__slot_head head;

	if (sde__slot_head_read(slot, &z->config.layout, &head))
		return;
	head.rounded = false;
	sde__slot_head_write(slot, &head);
	memcpy(slot + z->config.layout.payload_offset, exact,
	       sde__snapshot_bytes(&z->config.layout.geometry));
}

/*
 * The last snapshot's slot has what was stored, if that is still known, so that
 * the new ring has it as the old one had. (The last one of a chunk is not in the
 * ring: data/.restart stays what it is until there is another.)
 */
int sde__zarr_refill_last(struct sde__zarr *z, struct sde__reader *reader, struct sde_error *error)
{
	const struct sde__slot_layout *l = &z->config.layout;
	struct sde__slot_head head;
	unsigned char *slot;
	bool exact;
	int ret;

	z->kept = z->next;
	if (!z->config.codec.keepbits || z->next % sde__zarr_chunk_size(z) == 0)
		return 0;
	slot = sde__ring_slot(z->ring, z->next - 1);
	ret = sde__last_read(reader, l, slot + l->payload_offset, &exact, error);
	if (!ret && sde__slot_head_read(slot, l, &head))
		ret = sde__fail(error, SDE_E_CORRUPT, "a slot of the ring has an impossible state size");
	if (ret)
		return ret;
	head.rounded = !exact;
	sde__slot_head_write(slot, &head);
	if (!exact)
		sde__warn(&z->config.log,
			  "'%s' has keepbits %u, and of its last snapshot only the rounded numbers are left",
			  z->home.path, z->config.metadata.keepbits);
	return 0;
}
