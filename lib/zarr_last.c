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

/* What is read from a slot or put into it, where the memory may be cut off (guard.h). */
struct touch {
	const struct sde__slot_layout *layout;
	unsigned char *slot;
	void *out;			/* for the payload, or NULL */
	const void *in;
	bool exact;			/* it is, or shall be, what was stored */
};

static void get(void *ctx)
{
	struct touch *t = ctx;
	struct sde__slot_head head = { 0 };

	t->exact = !sde__slot_head_read(t->slot, t->layout, &head) && !head.rounded;
	if (t->out)
		memcpy(t->out, t->slot + t->layout->payload_offset,
		       sde__snapshot_bytes(&t->layout->geometry));
}

static void put(void *ctx)
{
	const struct touch *t = ctx;
	struct sde__slot_head head;

	/* its state has been checked where it came from */
	(void)sde__slot_head_read(t->slot, t->layout, &head);
	head.rounded = !t->exact;
	sde__slot_head_write(t->slot, &head);
	memcpy(t->slot + t->layout->payload_offset, t->in,
	       sde__snapshot_bytes(&t->layout->geometry));
}

/*
 * Snapshot `index` in this storage's ring: 0, 1 if its slot is another's by now, -EIO.
 * *exact: it is what was stored and not what a chunk file gave back. Its numbers go to
 * `out`, unless that is NULL.
 */
static int read_slot(const struct sde__zarr *z, uint64_t index, void *out, bool *exact,
		     struct sde_error *error)
{
	const uint64_t slots = z->config.layout.segments * sde__zarr_chunk_size(z);
	struct touch touch = { .layout = &z->config.layout, .out = out };
	int ret;

	*exact = false;
	/* a reserved one may be in the making at z->next */
	if (index < sde__ring_get(z->ring, SDE__RING_BASE) || index + slots <= z->next)
		return 1;
	touch.slot = sde__ring_slot(z->ring, index);
	ret = sde__ring_touch(z->ring, index, get, &touch, error);
	*exact = touch.exact;
	return ret;
}

static struct sde__restart restart_of(const struct sde__zarr *z, uint64_t index, uint64_t epoch)
{
	struct sde__restart restart = { .epoch = epoch, .index = index };

	memcpy(restart.run, z->config.run, sizeof(restart.run));
	return restart;
}

/* data/.restart from a slot; a file is not written from memory that may be cut off. */
static int keep_slot(struct sde__zarr *z, const struct sde__restart *restart,
		     struct sde_error *error)
{
	const struct sde__slot_layout *l = &z->config.layout;
	const void *payload = sde__ring_slot(z->ring, restart->index) + l->payload_offset;
	void *copy = NULL;
	bool exact;
	int ret = 0;

	if (sde__ring_is_guarded(z->ring)) {
		payload = copy = malloc(sde__snapshot_bytes(&l->geometry));
		ret = copy ? read_slot(z, restart->index, copy, &exact, error) :
		      sde__fail(error, -ENOMEM, "out of memory");
	}
	if (!ret)
		ret = sde__restart_write(&z->home, restart, l, payload, sde__zarr_is_durable(z), error);
	free(copy);
	return ret;
}

/* data/.restart for the last snapshot, unless it is there or cannot be had. */
int sde__zarr_keep_last(struct sde__zarr *z, struct sde_error *error)
{
	const struct sde__restart restart = restart_of(z, z->next - 1, sde__zarr_metadata(z)->epoch);
	bool exact;
	int ret;

	if (!z->config.codec.keepbits || z->kept == z->next)
		return 0;
	ret = read_slot(z, z->next - 1, NULL, &exact, error);
	if (!ret && exact)
		ret = keep_slot(z, &restart, error);
	if (ret < 0)
		return ret;
	z->kept = z->next;
	return 0;
}

int sde__zarr_last(void *self, void *data, int *is_exact, struct sde_error *error)
{
	struct sde__zarr *z = self;
	struct sde__reader *reader;
	bool exact = true;
	int ret;

	if (!z->next)
		return sde__fail(error, SDE_E_NO_DATA, "'%s' has no snapshots yet", z->home.path);
	if (z->broken.code)
		return sde__fail(error, z->broken.code, "%s", z->broken.text);
	ret = read_slot(z, z->next - 1, data, &exact, error);
	*is_exact = exact || !z->config.codec.keepbits;
	if (ret <= 0)
		return ret;
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
	const struct sde__restart restart = restart_of(z, index, sde__zarr_metadata(z)->epoch);
	const size_t n = sde__snapshot_bytes(&l->geometry);
	bool exact;
	int ret;

	*out = malloc(n);
	if (!*out)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = read_slot(z, index, *out, &exact, error);
	if (!ret && exact)
		return 0;
	/* a file that cannot be believed is as good as none */
	if (ret >= 0 && !sde__restart_read(&z->home, &restart, l, *out, NULL))
		return 0;
	free(*out);
	*out = NULL;
	return ret < 0 ? ret : 0;
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
int sde__zarr_put_exact(struct sde__zarr *z, uint64_t index, const void *exact,
			struct sde_error *error)
{
	struct touch touch = { .layout = &z->config.layout, .in = exact, .exact = true,
			       .slot = sde__ring_slot(z->ring, index) };

	return sde__ring_touch(z->ring, index, put, &touch, error);
}

/*
 * The last snapshot's slot has what was stored, if that is still known, so that
 * the new ring has it as the old one had. (The last one of a chunk is not in the
 * ring: data/.restart stays what it is until there is another.)
 */
int sde__zarr_refill_last(struct sde__zarr *z, struct sde__reader *reader, struct sde_error *error)
{
	const struct sde__slot_layout *l = &z->config.layout;
	struct touch touch = { .layout = l };
	void *numbers;
	int ret;

	z->kept = z->next;
	if (!z->config.codec.keepbits || z->next % sde__zarr_chunk_size(z) == 0)
		return 0;
	numbers = malloc(sde__snapshot_bytes(&l->geometry));
	if (!numbers)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = sde__last_read(reader, l, numbers, &touch.exact, error);
	touch.in = numbers;
	touch.slot = sde__ring_slot(z->ring, z->next - 1);
	if (!ret)
		ret = sde__ring_touch(z->ring, z->next - 1, put, &touch, error);
	free(numbers);
	if (!ret && !touch.exact)
		sde__warn(&z->config.log,
			  "'%s' has keepbits %u, and of its last snapshot only the rounded numbers are left",
			  z->home.path, sde__zarr_metadata(z)->keepbits);
	return ret;
}
