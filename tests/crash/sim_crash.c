/* SPDX-License-Identifier: MIT */
/* What a crash leaves of a simulated file system, and a look at it: see sim_fs.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sim_image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const sim_loss_name[SIM_LOSSES] = {
	"killed", "nothing", "everything", "prefix", "subset", "torn", "names", "contents",
	"all but one", "only one",
};

/* What is being decided, for one crash. */
struct crash {
	enum sim_loss loss;
	uint64_t seed;
	uint64_t cut;			/* SIM_PREFIX: the last sequence that lands */
	unsigned chosen, seen;		/* directory operation; counted so far */
	struct sim_inode **copied;	/* inodes whose `copy` is set */
	size_t copies, copy_room;
};

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* A number that depends on the crash, the inode and one thing of it. */
static uint64_t lot(const struct crash *c, const struct sim_inode *inode, uint64_t thing)
{
	return mix(mix(c->seed + inode->number) ^ thing);
}

/* ------------------------------------------------------------------------
 * Files
 */

/* Does change i of the file reach the device? Decided for each page, or sector. */
static bool change_lands(const struct crash *c, const struct sim_inode *inode, size_t i)
{
	const struct sim_change *change = &inode->change[i];
	const bool size = change->sector == SIM_NO_SECTOR;
	uint64_t count = 0, before = 0, r;

	switch (c->loss) {
	case SIM_EVERYTHING: case SIM_CONTENTS: case SIM_ALL_BUT_ONE: case SIM_ONLY_ONE:
		return true;
	case SIM_NOTHING: case SIM_NAMES:
		return false;
	case SIM_PREFIX:
		return change->sequence <= c->cut;
	case SIM_SUBSET:
		return lot(c, inode, size ? UINT64_MAX : change->sector / (SIM_PAGE / SIM_SECTOR)) & 1;
	default:
		break;
	}
	/* torn: the first r of the changes of this sector; often none, often all */
	for (size_t j = 0; j < inode->changes; j++) {
		if (inode->change[j].sector != change->sector)
			continue;
		count++;
		before += j < i;
	}
	r = lot(c, inode, size ? UINT64_MAX : change->sector);
	return before < (r % 4 == 0 ? 0 : r % 4 == 1 ? count : (r >> 8) % (count + 1));
}

static void crash_file(const struct crash *c, const struct sim_inode *from, struct sim_inode *to)
{
	bool all = !from->stale;

	for (size_t i = 0; i < from->changes && all; i++)
		all = change_lands(c, from, i);
	sim_image_unref(to->live);
	sim_image_unref(to->durable);
	to->live = sim_image_ref(all ? from->live : from->durable);
	to->durable = NULL;
	for (size_t i = 0; i < from->changes && !all; i++) {
		const struct sim_change *change = &from->change[i];

		if (!change_lands(c, from, i))
			continue;
		sim_image_own(&to->live);
		if (change->sector == SIM_NO_SECTOR)
			sim_image_set_size(to->live, change->size);
		else
			sim_image_set_sector(to->live, change->sector, change->bytes);
	}
	to->durable = sim_image_ref(to->live);
}

/* All of it, with what is pending. */
static void copy_file(const struct sim_inode *from, struct sim_inode *to)
{
	sim_image_unref(to->live);
	sim_image_unref(to->durable);
	to->live = sim_image_ref(from->live);
	to->durable = sim_image_ref(from->durable);
	to->stale = from->stale;
	if (!from->changes)
		return;
	to->changes = to->change_room = from->changes;
	to->change = malloc(to->changes * sizeof(*to->change));
	if (!to->change)
		abort();
	memcpy(to->change, from->change, to->changes * sizeof(*to->change));
	for (size_t i = 0; i < to->changes; i++)
		if (to->change[i].bytes)
			to->change[i].bytes->refs++;
}

/* ------------------------------------------------------------------------
 * Directories
 */

static bool operation_lands(struct crash *c, const struct sim_inode *inode,
			    const struct sim_operation *o)
{
	const unsigned number = c->seen++;

	switch (c->loss) {
	case SIM_EVERYTHING: case SIM_NAMES:
		return true;
	case SIM_NOTHING: case SIM_CONTENTS:
		return false;
	case SIM_PREFIX:
		return o->sequence <= c->cut;
	case SIM_ALL_BUT_ONE:
		return number != c->chosen;
	case SIM_ONLY_ONE:
		return number == c->chosen;
	default:
		return lot(c, inode, o->sequence) & 1;
	}
}

static struct sim_inode *copy_inode(struct crash *c, struct sim_inode *from);

/* With `parent`, that directory's live entries. */
static void copy_entries(struct crash *c, const struct sim_entries *from, struct sim_entries *to,
			 struct sim_inode *parent)
{
	if (!from->count)
		return;
	to->entry = malloc(from->count * sizeof(*to->entry));
	if (!to->entry)
		abort();
	to->count = to->room = from->count;
	for (size_t i = 0; i < from->count; i++) {
		struct sim_entry *entry = &to->entry[i];

		memcpy(entry->name, from->entry[i].name, SIM_NAME);
		entry->inode = copy_inode(c, from->entry[i].inode);
		if (parent) {
			entry->inode->links++;
			entry->inode->parent = parent;
		}
	}
}

static void copy_operations(struct crash *c, const struct sim_inode *from, struct sim_inode *to)
{
	if (!from->operations)
		return;
	to->operation = malloc(from->operations * sizeof(*to->operation));
	if (!to->operation)
		abort();
	to->operations = to->operation_room = from->operations;
	for (size_t i = 0; i < from->operations; i++) {
		to->operation[i] = from->operation[i];
		for (unsigned j = 0; j < to->operation[i].count; j++)
			if (to->operation[i].set[j].inode)
				to->operation[i].set[j].inode =
					copy_inode(c, to->operation[i].set[j].inode);
	}
}

/* The durable entries, and those operations on them that land. */
static void crash_directory(struct crash *c, const struct sim_inode *from, struct sim_inode *to)
{
	struct sim_entries kept = { 0 };

	for (size_t i = 0; i < from->durable_entries.count; i++)
		sim_entries_set(&kept, from->durable_entries.entry[i].name,
				from->durable_entries.entry[i].inode);
	for (size_t i = 0; i < from->operations; i++) {
		const struct sim_operation *o = &from->operation[i];
		unsigned count = o->count;

		if (!operation_lands(c, from, o))
			continue;
		/* a rename's old name may linger; an exchange is whole */
		if (c->loss == SIM_TORN && count == 2 && !o->set[1].inode)
			count -= (unsigned)(lot(c, from, o->sequence) >> 8 & 1);
		for (unsigned j = 0; j < count; j++)
			sim_entries_set(&kept, o->set[j].name, o->set[j].inode);
	}
	copy_entries(c, &kept, &to->live_entries, to);
	copy_entries(c, &kept, &to->durable_entries, NULL);
	for (size_t i = 0; i < kept.count; i++)
		sim_inode_unref(kept.entry[i].inode);
	free(kept.entry);
}

/* The copy of an inode, made if it is the first time; the caller's reference. */
static struct sim_inode *copy_inode(struct crash *c, struct sim_inode *from)
{
	struct sim_inode *to;

	if (from->copy)
		return sim_inode_ref(from->copy);
	to = from->copy = sim_inode_new(from->number, from->is_directory);
	c->copied = sim_grow(c->copied, &c->copy_room, c->copies, sizeof(struct sim_inode *));
	c->copied[c->copies++] = from;
	if (c->loss != SIM_KILLED) {
		if (from->is_directory)
			crash_directory(c, from, to);
		else
			crash_file(c, from, to);
	} else if (from->is_directory) {
		copy_entries(c, &from->live_entries, &to->live_entries, to);
		copy_entries(c, &from->durable_entries, &to->durable_entries, NULL);
		copy_operations(c, from, to);
	} else {
		copy_file(from, to);
	}
	return to;
}

/* ------------------------------------------------------------------------
 * All of it
 */

static void count_pending(const struct sim_inode *inode, unsigned *operations, unsigned *changes,
			  uint64_t *first)
{
	*operations += (unsigned)inode->operations;
	*changes += (unsigned)inode->changes;
	if (inode->operations && inode->operation[0].sequence < *first)
		*first = inode->operation[0].sequence;
	if (inode->changes && inode->change[0].sequence < *first)
		*first = inode->change[0].sequence;
	for (size_t i = 0; i < inode->live_entries.count; i++)
		count_pending(inode->live_entries.entry[i].inode, operations, changes, first);
}

unsigned sim_pending(const struct sim *sim, unsigned *changes)
{
	unsigned operations = 0;
	uint64_t first = UINT64_MAX;

	*changes = 0;
	count_pending(sim->root, &operations, changes, &first);
	return operations;
}

struct sim *sim_crash(const struct sim *sim, enum sim_loss loss, uint64_t seed)
{
	struct crash c = { .loss = loss, .seed = seed };
	unsigned operations = 0, changes = 0;
	uint64_t first = UINT64_MAX;
	struct sim *after = sim_new(mix(seed ^ 1));

	if (loss == SIM_PREFIX || loss == SIM_ALL_BUT_ONE || loss == SIM_ONLY_ONE)
		count_pending(sim->root, &operations, &changes, &first);
	if (first <= sim->sequence)
		c.cut = first - 1 + mix(seed) % (sim->sequence - first + 2);
	c.chosen = (unsigned)(operations ? mix(seed) % operations : 0);
	sim_inode_unref(after->root);
	after->root = copy_inode(&c, sim->root);
	after->root->links = 1;
	for (size_t i = 0; i < c.copies; i++)
		c.copied[i]->copy = NULL;
	free(c.copied);
	after->boot = sim->boot + (loss != SIM_KILLED);
	after->sequence = sim->sequence;
	after->next_inode = sim->next_inode;
	after->pending_directory = loss == SIM_KILLED ? sim->pending_directory : 0;
	return after;
}

/* ------------------------------------------------------------------------
 * Looking
 */

static struct sim_inode *find(const struct sim *sim, const char *path)
{
	struct sim_inode *at = sim->root;

	while (*path) {
		const size_t n = strcspn(path, "/");
		char name[SIM_NAME];
		struct sim_entry *entry;

		snprintf(name, sizeof(name), "%.*s", (int)n, path);
		entry = sim_entries_find(&at->live_entries, name);
		if (!entry)
			return NULL;
		at = entry->inode;
		path += n + strspn(path + n, "/");
	}
	return at;
}

struct sim_image *sim_file(const struct sim *sim, const char *path)
{
	const struct sim_inode *inode = find(sim, path);

	return inode && !inode->is_directory ? inode->live : NULL;
}

bool sim_exists(const struct sim *sim, const char *path)
{
	return find(sim, path) != NULL;
}

void sim_remove(struct sim *sim, const char *path)
{
	const char *name = strrchr(path, '/');
	char directory[128];
	struct sim_inode *inode;

	snprintf(directory, sizeof(directory), "%.*s", (int)(name - path), path);
	inode = find(sim, directory);
	if (!inode)
		return;
	sim_entries_set(&inode->live_entries, name + 1, NULL);
	sim_entries_set(&inode->durable_entries, name + 1, NULL);
}

static int export_file(const struct sim_image *image, int dir, const char *name)
{
	unsigned char *bytes = sim_bytes(image);
	const int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	int ret = fd < 0 ? -errno : 0;

	if (!ret && write(fd, bytes, (size_t)image->size) != (ssize_t)image->size)
		ret = -EIO;
	if (fd >= 0)
		close(fd);
	free(bytes);
	return ret;
}

static int export_tree(const struct sim_inode *inode, int dir, const char *name)
{
	int fd, ret = 0;

	if (!inode->is_directory)
		return export_file(inode->live, dir, name);
	if (mkdirat(dir, name, 0777) && errno != EEXIST)
		return -errno;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < inode->live_entries.count && !ret; i++)
		ret = export_tree(inode->live_entries.entry[i].inode, fd,
				  inode->live_entries.entry[i].name);
	close(fd);
	return ret;
}

int sim_export(const struct sim *sim, const char *path, const char *to)
{
	const struct sim_inode *inode = find(sim, path);

	return inode ? export_tree(inode, AT_FDCWD, to) : -ENOENT;
}
