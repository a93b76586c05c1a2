/* SPDX-License-Identifier: MIT */
/* Images, files and directories of the simulated file system: see sim_image.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sim_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHOLE SIZE_MAX

static void *checked(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

/* Room for one more of `count`. */
void *sim_grow(void *array, size_t *room, size_t count, size_t item)
{
	if (count < *room)
		return array;
	*room = *room ? 2 * *room : 8;
	return checked(realloc(array, *room * item));
}

/* ------------------------------------------------------------------------
 * Images
 */

static struct sim_sector *sector_ref(struct sim_sector *sector)
{
	if (sector)
		sector->refs++;
	return sector;
}

static void sector_unref(struct sim_sector *sector)
{
	if (sector && !--sector->refs)
		free(sector);
}

struct sim_image *sim_image_new(void)
{
	struct sim_image *image = checked(calloc(1, sizeof(*image)));

	image->refs = 1;
	return image;
}

struct sim_image *sim_image_ref(struct sim_image *image)
{
	image->refs++;
	return image;
}

void sim_image_unref(struct sim_image *image)
{
	if (!image || --image->refs)
		return;
	for (size_t i = 0; i < image->sectors; i++)
		sector_unref(image->sector[i]);
	free(image->sector);
	free(image);
}

void sim_image_own(struct sim_image **image)
{
	struct sim_image *old = *image, *own;

	memset(old->memo, 0, old->refs == 1 ? sizeof(old->memo) : 0);
	if (old->refs == 1)
		return;
	own = sim_image_new();
	own->size = old->size;
	own->sectors = own->room = old->sectors;
	if (own->room)
		own->sector = checked(malloc(own->room * sizeof(struct sim_sector *)));
	for (size_t i = 0; i < own->sectors; i++)
		own->sector[i] = sector_ref(old->sector[i]);
	sim_image_unref(old);
	*image = own;
}

struct sim_sector *sim_image_sector(const struct sim_image *image, size_t index)
{
	return index < image->sectors ? image->sector[index] : NULL;
}

void sim_image_set_sector(struct sim_image *image, size_t index, struct sim_sector *sector)
{
	while (image->sectors <= index) {
		image->sector = sim_grow(image->sector, &image->room, image->sectors,
					 sizeof(struct sim_sector *));
		image->sector[image->sectors++] = NULL;
	}
	sector_ref(sector);
	sector_unref(image->sector[index]);
	image->sector[index] = sector;
}

void sim_image_set_size(struct sim_image *image, uint64_t size)
{
	image->size = size;
}

void sim_read(const struct sim_image *image, void *out, size_t n, uint64_t offset)
{
	unsigned char *p = out;

	while (n) {
		const size_t at = (size_t)(offset % SIM_SECTOR);
		const size_t here = n < SIM_SECTOR - at ? n : SIM_SECTOR - at;
		const struct sim_sector *s = sim_image_sector(image, (size_t)(offset / SIM_SECTOR));

		if (s)
			memcpy(p, s->bytes + at, here);
		else
			memset(p, 0, here);
		p += here;
		offset += here;
		n -= here;
	}
}

unsigned char *sim_bytes(const struct sim_image *image)
{
	unsigned char *bytes = checked(malloc((size_t)image->size + 1));

	sim_read(image, bytes, (size_t)image->size, 0);
	bytes[image->size] = 0;
	return bytes;
}

/* ------------------------------------------------------------------------
 * Files
 */

struct sim_inode *sim_inode_new(uint64_t number, bool is_directory)
{
	struct sim_inode *inode = checked(calloc(1, sizeof(*inode)));

	inode->refs = 1;
	inode->number = number;
	inode->is_directory = is_directory;
	if (!is_directory) {
		inode->live = sim_image_new();
		inode->durable = sim_image_ref(inode->live);
	}
	return inode;
}

struct sim_inode *sim_inode_ref(struct sim_inode *inode)
{
	inode->refs++;
	return inode;
}

static void entries_free(struct sim_entries *entries)
{
	for (size_t i = 0; i < entries->count; i++)
		sim_inode_unref(entries->entry[i].inode);
	free(entries->entry);
}

void sim_inode_unref(struct sim_inode *inode)
{
	if (!inode || --inode->refs)
		return;
	for (size_t i = 0; i < inode->changes; i++)
		sector_unref(inode->change[i].bytes);
	free(inode->change);
	sim_image_unref(inode->live);
	sim_image_unref(inode->durable);
	free(inode->mapped);
	for (size_t i = 0; i < inode->operations; i++)
		for (unsigned j = 0; j < inode->operation[i].count; j++)
			sim_inode_unref(inode->operation[i].set[j].inode);
	free(inode->operation);
	entries_free(&inode->live_entries);
	entries_free(&inode->durable_entries);
	free(inode);
}

static void add_change(struct sim *sim, struct sim_inode *inode, size_t index,
		       struct sim_sector *bytes, uint64_t size)
{
	inode->change = sim_grow(inode->change, &inode->change_room, inode->changes,
				 sizeof(*inode->change));
	inode->change[inode->changes++] = (struct sim_change){
		sim->sequence, index, sector_ref(bytes), size
	};
}

/* One sector gets new bytes, live and pending. Takes over the reference. */
static void put_sector(struct sim *sim, struct sim_inode *inode, size_t index,
		       struct sim_sector *bytes)
{
	const size_t first = index / (SIM_PAGE / SIM_SECTOR) * (SIM_PAGE / SIM_SECTOR);

	sim_image_own(&inode->live);
	sim_image_set_sector(inode->live, index, bytes);
	add_change(sim, inode, index, bytes, 0);
	sector_unref(bytes);
	if (!inode->stale)
		return;
	/* the page is dirty again, and with it what a failed sync had lost of it */
	for (size_t i = first; i < first + SIM_PAGE / SIM_SECTOR; i++)
		if (i != index)
			add_change(sim, inode, i, sim_image_sector(inode->live, i), 0);
}

static struct sim_sector *sector_copy(const struct sim_sector *from)
{
	struct sim_sector *sector = checked(malloc(sizeof(*sector)));

	sector->refs = 1;
	if (from)
		memcpy(sector->bytes, from->bytes, SIM_SECTOR);
	else
		memset(sector->bytes, 0, SIM_SECTOR);
	return sector;
}

void sim_inode_write(struct sim *sim, struct sim_inode *inode, const void *bytes, size_t n,
		     uint64_t offset)
{
	const unsigned char *p = bytes;

	sim->sequence++;
	if (inode->mapped && offset + n <= inode->mapped_size)
		memcpy(inode->mapped + offset, bytes, n);
	if (offset + n > inode->live->size)
		sim_inode_resize(sim, inode, offset + n);
	while (n) {
		const size_t index = (size_t)(offset / SIM_SECTOR), at = (size_t)(offset % SIM_SECTOR);
		const size_t here = n < SIM_SECTOR - at ? n : SIM_SECTOR - at;
		struct sim_sector *sector = sector_copy(sim_image_sector(inode->live, index));

		memcpy(sector->bytes + at, p, here);
		put_sector(sim, inode, index, sector);
		p += here;
		offset += here;
		n -= here;
	}
}

void sim_inode_resize(struct sim *sim, struct sim_inode *inode, uint64_t size)
{
	sim_image_own(&inode->live);
	sim_image_set_size(inode->live, size);
	add_change(sim, inode, SIM_NO_SECTOR, NULL, size);
}

static bool in_range(const struct sim_change *change, size_t from, size_t to)
{
	return change->sector == SIM_NO_SECTOR || (change->sector >= from && change->sector < to);
}

/* Take the changes in range off the list; `land`: into the durable image. */
static void settle(struct sim_inode *inode, size_t from, size_t to, bool land)
{
	size_t kept = 0;

	if (inode->changes)
		sim_image_own(&inode->durable);
	for (size_t i = 0; i < inode->changes; i++) {
		struct sim_change *c = &inode->change[i];

		if (!in_range(c, from, to)) {
			inode->change[kept++] = *c;
			continue;
		}
		if (c->sector == SIM_NO_SECTOR)
			sim_image_set_size(inode->durable, c->size);
		else if (land)
			sim_image_set_sector(inode->durable, c->sector, c->bytes);
		sector_unref(c->bytes);
	}
	inode->changes = kept;
}

void sim_inode_sync(struct sim_inode *inode, size_t from, size_t to)
{
	settle(inode, from, to, true);
	if (inode->changes || inode->stale || inode->durable == inode->live)
		return;
	/* the same bytes: one image */
	sim_image_unref(inode->durable);
	inode->durable = sim_image_ref(inode->live);
}

void sim_inode_lose(struct sim_inode *inode, size_t from, size_t to)
{
	if (inode->changes)
		inode->stale = true;
	settle(inode, from, to, false);
}

void sim_inode_dirty(struct sim *sim, struct sim_inode *inode, size_t from, size_t to)
{
	/* what nothing was lost of is on the device, or pending already */
	if (!inode->stale)
		return;
	sim->sequence++;
	for (size_t i = from; i < to; i++)
		add_change(sim, inode, i, sim_image_sector(inode->live, i), 0);
}

void sim_inode_absorb(struct sim *sim, struct sim_inode *inode)
{
	static const unsigned char zeros[SIM_SECTOR];
	bool first = true;

	for (size_t i = 0; i < inode->mapped_size / SIM_SECTOR; i++) {
		const struct sim_sector *had = sim_image_sector(inode->live, i);
		const unsigned char *now = inode->mapped + i * SIM_SECTOR;
		struct sim_sector *sector;

		if (!memcmp(had ? had->bytes : zeros, now, SIM_SECTOR))
			continue;
		if (first)
			sim->sequence++;
		first = false;
		sector = sector_copy(NULL);
		memcpy(sector->bytes, now, SIM_SECTOR);
		put_sector(sim, inode, i, sector);
	}
}

/* ------------------------------------------------------------------------
 * Directories
 */

struct sim_entry *sim_entries_find(const struct sim_entries *entries, const char *name)
{
	for (size_t i = 0; i < entries->count; i++)
		if (!strcmp(entries->entry[i].name, name))
			return &entries->entry[i];
	return NULL;
}

void sim_entries_set(struct sim_entries *entries, const char *name, struct sim_inode *inode)
{
	struct sim_entry *entry = sim_entries_find(entries, name);

	if (inode)
		sim_inode_ref(inode);
	if (entry) {
		sim_inode_unref(entry->inode);
		entry->inode = inode;
		if (!inode)
			*entry = entries->entry[--entries->count];
	} else if (inode) {
		entries->entry = sim_grow(entries->entry, &entries->room, entries->count,
					  sizeof(*entries->entry));
		entry = &entries->entry[entries->count++];
		snprintf(entry->name, sizeof(entry->name), "%s", name);
		entry->inode = inode;
	}
}
