/* SPDX-License-Identifier: MIT */
/* The io table of the simulated file system: see sim_fs.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sim_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE 77

const char *const sim_call_name[SIM_CALLS] = {
	"create", "make_directory", "remove", "rename", "exchange", "write", "sync", "allocate",
	"sync_map", "copy", "commit",
};

/* ------------------------------------------------------------------------
 * Events
 */

static void absorb(struct sim *sim)
{
	for (int i = 0; i < SIM_MAPS; i++)
		if (sim->map[i].inode)
			sim_inode_absorb(sim, sim->map[i].inode);
}

static void event(struct sim *sim, enum sim_call call, const char *name, bool half)
{
	const struct sim_event e = { call, name ? name : "", half };

	absorb(sim);
	sim->events++;
	if (sim->hook)
		sim->hook(sim->hook_ctx, &e);
}

/* Is this sync the one that fails? */
static bool sync_fails(struct sim *sim)
{
	if (!sim->fail_sync_at || --sim->fail_sync_at)
		return false;
	if (sim->fail_syncs > 1) {
		sim->fail_syncs--;
		sim->fail_sync_at = 1;
	}
	sim->failed = true;
	return true;
}

/* ------------------------------------------------------------------------
 * Names and handles
 */

static struct sim_inode *inode_of(struct sim *sim, int fd)
{
	if (fd < 0 || fd >= SIM_HANDLES || !sim->handle[fd])
		abort();
	return sim->handle[fd];
}

/* The directory that `path` starts in, and its last component. */
static struct sim_inode *walk(struct sim *sim, int dir, const char *path, char name[SIM_NAME])
{
	struct sim_inode *at = dir < 0 ? sim->root : inode_of(sim, dir);

	for (;;) {
		const size_t n = strcspn(path, "/");
		const char *next = path + n + strspn(path + n, "/");
		struct sim_entry *entry;

		if (n >= SIM_NAME)
			abort();
		memcpy(name, path, n);
		name[n] = '\0';
		if (!*next)
			return at;
		if (strcmp(name, ".") != 0 && *name) {
			entry = sim_entries_find(&at->live_entries, name);
			if (!entry || !entry->inode->is_directory)
				return NULL;
			at = entry->inode;
		}
		path = next;
	}
}

static struct sim_inode *look_up(struct sim *sim, int dir, const char *path)
{
	char name[SIM_NAME];
	struct sim_inode *at = walk(sim, dir, path, name);
	struct sim_entry *entry;

	if (!at)
		return NULL;
	if (!strcmp(name, ".") || !*name)
		return at;
	if (!strcmp(name, ".."))
		return at->parent ? at->parent : at;
	entry = sim_entries_find(&at->live_entries, name);
	return entry ? entry->inode : NULL;
}

static void operate(struct sim *sim, struct sim_inode *dir, unsigned count,
		    const char *const name[], struct sim_inode *const inode[])
{
	struct sim_operation *o;

	dir->operation = sim_grow(dir->operation, &dir->operation_room, dir->operations,
				  sizeof(*dir->operation));
	o = &dir->operation[dir->operations++];
	*o = (struct sim_operation){ .sequence = ++sim->sequence, .count = count };
	for (unsigned i = 0; i < count; i++) {
		struct sim_entry *entry = sim_entries_find(&dir->live_entries, name[i]);

		snprintf(o->set[i].name, SIM_NAME, "%s", name[i]);
		o->set[i].inode = inode[i] ? sim_inode_ref(inode[i]) : NULL;
		if (inode[i]) {
			inode[i]->links++;
			inode[i]->parent = dir;
		}
		if (entry)
			entry->inode->links--;
		sim_entries_set(&dir->live_entries, name[i], inode[i]);
	}
	sim->pending_directory++;
}

static void operate_one(struct sim *sim, struct sim_inode *dir, const char *name,
			struct sim_inode *inode)
{
	operate(sim, dir, 1, &name, &inode);
}

static int new_handle(struct sim *sim, struct sim_inode *inode)
{
	for (int fd = 0; fd < SIM_HANDLES; fd++) {
		if (sim->handle[fd])
			continue;
		sim->handle[fd] = sim_inode_ref(inode);
		sim->locked[fd] = false;
		return fd;
	}
	abort();
}

/* ------------------------------------------------------------------------
 * The table: names
 */

static int open_at(void *ctx, int dir, const char *path, int flags)
{
	struct sim *sim = ctx;
	struct sim_inode *inode, *parent;
	char name[SIM_NAME];

	if (sim->dead)
		return -EIO;
	inode = look_up(sim, dir, path);
	if (inode && (flags & O_CREAT) && (flags & O_EXCL))
		return -EEXIST;
	if (inode && (flags & O_DIRECTORY) && !inode->is_directory)
		return -ENOTDIR;
	if (inode)
		return inode->is_directory && (flags & O_ACCMODE) != O_RDONLY ? -EISDIR :
		       new_handle(sim, inode);
	parent = walk(sim, dir, path, name);
	if (!(flags & O_CREAT) || !parent || (parent != sim->root && !parent->links))
		return -ENOENT;
	event(sim, SIM_CREATE, name, false);
	inode = sim_inode_new(++sim->next_inode, false);
	operate_one(sim, parent, name, inode);
	sim_inode_unref(inode);
	return new_handle(sim, inode);
}

static int close_handle(void *ctx, int fd)
{
	struct sim *sim = ctx;

	sim_inode_unref(inode_of(sim, fd));
	sim->handle[fd] = NULL;
	return 0;
}

static int make_directory_at(void *ctx, int dir, const char *path)
{
	struct sim *sim = ctx;
	struct sim_inode *inode, *parent;
	char name[SIM_NAME];

	if (sim->dead)
		return -EIO;
	if (look_up(sim, dir, path))
		return -EEXIST;
	parent = walk(sim, dir, path, name);
	if (!parent || (parent != sim->root && !parent->links))
		return -ENOENT;
	event(sim, SIM_MAKE_DIRECTORY, name, false);
	inode = sim_inode_new(++sim->next_inode, true);
	operate_one(sim, parent, name, inode);
	sim_inode_unref(inode);
	return 0;
}

static int remove_at(void *ctx, int dir, const char *path, bool directory)
{
	struct sim *sim = ctx;
	struct sim_inode *parent;
	struct sim_entry *entry;
	char name[SIM_NAME];

	if (sim->dead)
		return -EIO;
	parent = walk(sim, dir, path, name);
	entry = parent ? sim_entries_find(&parent->live_entries, name) : NULL;
	if (!entry)
		return -ENOENT;
	if (directory != entry->inode->is_directory)
		return directory ? -ENOTDIR : -EISDIR;
	if (directory && entry->inode->live_entries.count)
		return -ENOTEMPTY;
	event(sim, SIM_REMOVE, name, false);
	operate_one(sim, parent, name, NULL);
	return 0;
}

static int rename_in(struct sim *sim, int dir, const char *from, const char *to, bool replace)
{
	struct sim_inode *parent = inode_of(sim, dir);
	struct sim_entry *entry = sim_entries_find(&parent->live_entries, from);
	struct sim_entry *target = sim_entries_find(&parent->live_entries, to);
	const char *names[2] = { to, from };
	struct sim_inode *inodes[2] = { NULL, NULL };

	if (!entry)
		return -ENOENT;
	if (target && !replace)
		return -EEXIST;
	if (target && target->inode->is_directory != entry->inode->is_directory)
		return target->inode->is_directory ? -EISDIR : -ENOTDIR;
	if (target && target->inode->is_directory && target->inode->live_entries.count)
		return -ENOTEMPTY;
	event(sim, SIM_RENAME, from, false);
	inodes[0] = entry->inode;
	operate(sim, parent, 2, names, inodes);
	return 0;
}

static int rename_at(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	struct sim *sim = ctx;

	if (sim->dead)
		return -EIO;
	if (inode_of(sim, from_dir) != inode_of(sim, to_dir))
		abort();	/* the library never does that */
	return rename_in(sim, from_dir, from, to, true);
}

static int rename_new_at(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	struct sim *sim = ctx;

	if (sim->dead)
		return -EIO;
	if (inode_of(sim, from_dir) != inode_of(sim, to_dir))
		abort();
	return rename_in(sim, from_dir, from, to, false);
}

static int exchange_at(void *ctx, int a_dir, const char *a, int b_dir, const char *b)
{
	struct sim *sim = ctx;
	struct sim_inode *parent, *inodes[2];
	const char *names[2] = { a, b };
	struct sim_entry *ea, *eb;

	if (sim->dead)
		return -EIO;
	parent = inode_of(sim, a_dir);
	if (parent != inode_of(sim, b_dir))
		abort();
	ea = sim_entries_find(&parent->live_entries, a);
	eb = sim_entries_find(&parent->live_entries, b);
	if (!ea || !eb)
		return -ENOENT;
	event(sim, SIM_EXCHANGE, a, false);
	inodes[0] = sim_inode_ref(eb->inode);
	inodes[1] = sim_inode_ref(ea->inode);
	operate(sim, parent, 2, names, inodes);
	sim_inode_unref(inodes[0]);
	sim_inode_unref(inodes[1]);
	return 0;
}

static int fill_stat(const struct sim_inode *inode, struct sde__stat *out)
{
	*out = (struct sde__stat){
		.device = DEVICE, .inode = inode->number, .links = inode->links,
		.size = inode->is_directory ? 0 : inode->live->size,
		.is_directory = inode->is_directory, .is_file = !inode->is_directory,
	};
	return 0;
}

static int stat_at(void *ctx, int dir, const char *name, struct sde__stat *out)
{
	struct sim *sim = ctx;
	const struct sim_inode *inode = sim->dead ? NULL : look_up(sim, dir, name);

	if (sim->dead)
		return -EIO;
	return inode ? fill_stat(inode, out) : -ENOENT;
}

static int stat_handle(void *ctx, int fd, struct sde__stat *out)
{
	struct sim *sim = ctx;

	return sim->dead ? -EIO : fill_stat(inode_of(sim, fd), out);
}

static int list(void *ctx, int dir, int (*entry)(void *, const char *), void *entry_ctx)
{
	struct sim *sim = ctx;
	struct sim_inode *inode;
	int ret = 0;

	if (sim->dead)
		return -EIO;
	inode = inode_of(sim, dir);
	for (size_t i = 0; i < inode->live_entries.count && !ret; i++)
		ret = entry(entry_ctx, inode->live_entries.entry[i].name);
	return ret;
}

/* ------------------------------------------------------------------------
 * The table: contents
 */

static int64_t pread_handle(void *ctx, int fd, void *out, size_t n, uint64_t offset)
{
	struct sim *sim = ctx;
	struct sim_inode *inode;

	if (sim->dead)
		return -EIO;
	inode = inode_of(sim, fd);
	if (inode->is_directory)
		return -EISDIR;
	if (inode->mapped)
		sim_inode_absorb(sim, inode);
	if (offset >= inode->live->size)
		return 0;
	if (n > inode->live->size - offset)
		n = (size_t)(inode->live->size - offset);
	sim_read(inode->live, out, n, offset);
	return (int64_t)n;
}

/* The first part of n bytes, for the event in their middle: whole words. */
static size_t first_part(const struct sim *sim, size_t n)
{
	return (size_t)((sim->events * UINT64_C(0x9e3779b97f4a7c15) >> 33) % n) / 8 * 8;
}

static int64_t pwrite_handle(void *ctx, int fd, const void *in, size_t n, uint64_t offset)
{
	struct sim *sim = ctx;
	struct sim_inode *inode;
	size_t half;

	if (sim->dead)
		return -EIO;
	inode = inode_of(sim, fd);
	event(sim, SIM_WRITE, "", false);
	half = n ? first_part(sim, n) : 0;
	if (half) {
		sim_inode_write(sim, inode, in, half, offset);
		event(sim, SIM_WRITE, "", true);
		/* which is all that some calls do */
		if (half % 3 == 0)
			return (int64_t)half;
	}
	sim_inode_write(sim, inode, (const char *)in + half, n - half, offset + half);
	return (int64_t)n;
}

static void sync_directory(struct sim *sim, struct sim_inode *inode)
{
	for (size_t i = 0; i < inode->operations; i++) {
		struct sim_operation *o = &inode->operation[i];

		for (unsigned j = 0; j < o->count; j++) {
			sim_entries_set(&inode->durable_entries, o->set[j].name, o->set[j].inode);
			sim_inode_unref(o->set[j].inode);
		}
	}
	sim->pending_directory -= (unsigned)inode->operations;
	inode->operations = 0;
}

static int sync_handle(void *ctx, int fd)
{
	struct sim *sim = ctx;
	struct sim_inode *inode;
	bool fails;

	if (sim->dead)
		return -EIO;
	inode = inode_of(sim, fd);
	event(sim, SIM_SYNC, "", false);
	fails = sync_fails(sim);
	if (inode->is_directory && !fails)
		sync_directory(sim, inode);
	else if (inode->is_directory)
		return -EIO;
	else if (fails)
		sim_inode_lose(inode, 0, SIM_NO_SECTOR);
	else
		sim_inode_sync(inode, 0, SIM_NO_SECTOR);
	return fails ? -EIO : 0;
}

static int allocate(void *ctx, int fd, uint64_t size)
{
	struct sim *sim = ctx;
	struct sim_inode *inode;

	if (sim->dead)
		return -EIO;
	inode = inode_of(sim, fd);
	event(sim, SIM_ALLOCATE, "", false);
	if (size > inode->live->size) {
		sim->sequence++;
		sim_inode_resize(sim, inode, size);
	}
	return 0;
}

static int map(void *ctx, int fd, size_t size, bool writable, void **out)
{
	struct sim *sim = ctx;
	struct sim_inode *inode;

	(void)writable;
	if (sim->dead)
		return -EIO;
	inode = inode_of(sim, fd);
	if (inode->mapped || size % SIM_PAGE || size > inode->live->size)
		abort();
	for (int i = 0; i < SIM_MAPS; i++) {
		if (sim->map[i].inode)
			continue;
		inode->mapped = aligned_alloc(SIM_PAGE, size);
		if (!inode->mapped)
			abort();
		inode->mapped_size = size;
		sim_read(inode->live, inode->mapped, size, 0);
		sim->map[i].inode = sim_inode_ref(inode);
		sim->map[i].size = size;
		*out = inode->mapped;
		return 0;
	}
	abort();
}

static int map_at(const struct sim *sim, const void *address)
{
	for (int i = 0; i < SIM_MAPS; i++) {
		const unsigned char *base = sim->map[i].inode ? sim->map[i].inode->mapped : NULL;

		if (base && (const unsigned char *)address >= base &&
		    (const unsigned char *)address < base + sim->map[i].size)
			return i;
	}
	abort();
}

static int unmap(void *ctx, void *base, size_t size)
{
	struct sim *sim = ctx;
	const int i = map_at(sim, base);
	struct sim_inode *inode = sim->map[i].inode;

	if (size != sim->map[i].size)
		abort();
	if (!sim->dead)
		sim_inode_absorb(sim, inode);
	free(inode->mapped);
	inode->mapped = NULL;
	inode->mapped_size = 0;
	sim->map[i].inode = NULL;
	sim_inode_unref(inode);
	return 0;
}

/* The sectors from .. to - 1 of the pages in which that memory lies. */
static void pages_of(const struct sim_inode *inode, const void *address, size_t size, size_t *from,
		     size_t *to)
{
	const size_t offset = (size_t)((const unsigned char *)address - inode->mapped);

	*from = offset / SIM_PAGE * (SIM_PAGE / SIM_SECTOR);
	*to = (offset + size + SIM_PAGE - 1) / SIM_PAGE * (SIM_PAGE / SIM_SECTOR);
}

static int sync_map(void *ctx, void *address, size_t size)
{
	struct sim *sim = ctx;
	struct sim_inode *inode;
	size_t from, to;
	bool fails;

	if (sim->dead)
		return -EIO;
	inode = sim->map[map_at(sim, address)].inode;
	event(sim, SIM_SYNC_MAP, "", false);
	pages_of(inode, address, size, &from, &to);
	fails = sync_fails(sim);
	if (fails)
		sim_inode_lose(inode, from, to);
	else
		sim_inode_sync(inode, from, to);
	return fails ? -EIO : 0;
}

static int populate(void *ctx, void *address, size_t size)
{
	struct sim *sim = ctx;
	struct sim_inode *inode;
	size_t from, to;

	if (sim->dead)
		return -EIO;
	inode = sim->map[map_at(sim, address)].inode;
	pages_of(inode, address, size, &from, &to);
	sim_inode_dirty(sim, inode, from, to);
	return 0;
}

static int lock(void *ctx, int fd)
{
	struct sim *sim = ctx;
	const struct sim_inode *inode;

	if (sim->dead)
		return -EIO;
	inode = inode_of(sim, fd);
	for (int i = 0; i < SIM_HANDLES; i++)
		if (i != fd && sim->handle[i] == inode && sim->locked[i])
			return -EAGAIN;
	sim->locked[fd] = true;
	return 0;
}

static int is_locked(void *ctx, int fd)
{
	struct sim *sim = ctx;
	const struct sim_inode *inode;

	if (sim->dead)
		return -EIO;
	inode = inode_of(sim, fd);
	for (int i = 0; i < SIM_HANDLES; i++)
		if (i != fd && sim->handle[i] == inode && sim->locked[i])
			return 1;
	return 0;
}

static int boot_id(void *ctx, unsigned char out[16])
{
	const struct sim *sim = ctx;

	memset(out, 0x5a, 16);
	memcpy(out, &sim->boot, sizeof(sim->boot));
	return 0;
}

static int random_bytes(void *ctx, void *out, size_t n)
{
	struct sim *sim = ctx;
	unsigned char *p = out;

	for (size_t i = 0; i < n; i++) {
		sim->seed = sim->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		p[i] = (unsigned char)(sim->seed >> 56);
	}
	return 0;
}

static void copy(void *ctx, void *to, const void *from, size_t n)
{
	struct sim *sim = ctx;
	size_t half;

	if (sim->dead)
		return;
	event(sim, SIM_COPY, "", false);
	half = n ? first_part(sim, n) : 0;
	if (half) {
		memcpy(to, from, half);
		event(sim, SIM_COPY, "", true);
	}
	memcpy((char *)to + half, (const char *)from + half, n - half);
	absorb(sim);
}

static void commit(void *ctx, uint64_t *counter, uint64_t value)
{
	struct sim *sim = ctx;

	if (sim->dead)
		return;
	event(sim, SIM_COMMIT, "", false);
	*counter = value;
	absorb(sim);
}

/* ------------------------------------------------------------------------
 * Life
 */

struct sim *sim_new(uint64_t seed)
{
	struct sim *sim = calloc(1, sizeof(*sim));

	if (!sim)
		abort();
	sim->io = (struct sde__io){
		.ctx = sim, .open_at = open_at, .close = close_handle,
		.make_directory_at = make_directory_at, .remove_at = remove_at,
		.rename_at = rename_at, .rename_new_at = rename_new_at,
		.exchange_at = exchange_at, .stat_at = stat_at, .stat = stat_handle, .list = list,
		.pread = pread_handle, .pwrite = pwrite_handle, .sync = sync_handle,
		.allocate = allocate, .map = map, .unmap = unmap, .sync_map = sync_map,
		.populate = populate, .lock = lock, .is_locked = is_locked, .boot_id = boot_id,
		.random = random_bytes, .copy = copy, .commit = commit,
	};
	sim->seed = seed;
	sim->boot = 1;
	sim->root = sim_inode_new(++sim->next_inode, true);
	sim->root->links = 1;
	return sim;
}

void sim_free(struct sim *sim)
{
	if (!sim)
		return;
	for (int i = 0; i < SIM_HANDLES; i++)
		sim_inode_unref(sim->handle[i]);
	for (int i = 0; i < SIM_MAPS; i++)
		sim_inode_unref(sim->map[i].inode);
	sim_inode_unref(sim->root);
	free(sim);
}
