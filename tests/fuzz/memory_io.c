/* SPDX-License-Identifier: MIT */
/* Files in memory behind the io table: see memory_io.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "memory_io.h"

#include "memory_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* Room for the largest ring a harness is to see, and far below what a lie may say. */
#define LIMIT ((uint64_t)24 << 20)

/* ------------------------------------------------------------------------
 * The table
 */

/* Before each change: whoever promised to make none is caught in the act. */
static void changes(const struct memory_io *m)
{
	if (m->read_only)
		abort();
}

static struct memory_node *at(struct memory_io *m, int dir, const char *name)
{
	if (dir < 0)
		return memory_find(m, name);
	return memory_walk_path(m->handle[dir], name);
}

/* The directory for a new or old `name`; with dir -1 that is a path. */
static struct memory_node *parent_at(struct memory_io *m, int dir, const char **name)
{
	if (dir < 0)
		return memory_parent(m, *name, name);
	return m->handle[dir]->kind == MEMORY_DIRECTORY ? m->handle[dir] : NULL;
}

static int new_handle(struct memory_io *m, struct memory_node *node)
{
	for (int fd = 0; fd < MEMORY_IO_HANDLES; fd++)
		if (!m->handle[fd]) {
			m->handle[fd] = node;
			node->references++;
			m->open++;
			return fd;
		}
	return -EMFILE;
}

/* The directory that has `node`, which is below `top`; NULL if it is not. */
static struct memory_node *parent_of(struct memory_node *top, const struct memory_node *node)
{
	struct memory_node *found = NULL;

	for (unsigned i = 0; i < top->count && !found; i++)
		found = top->entry[i].node == node ? top : parent_of(top->entry[i].node, node);
	return found;
}

static int open_at(void *ctx, int dir, const char *name, int flags)
{
	struct memory_io *m = ctx;
	struct memory_node *node, *parent;

	node = dir >= 0 && !strcmp(name, "..") ? parent_of(m->root, m->handle[dir]) :
	       at(m, dir, name);

	if (node && flags & O_EXCL)
		return -EEXIST;
	if (!node && flags & O_CREAT) {
		changes(m);
		parent = parent_at(m, dir, &name);
		if (!parent)
			return -ENOENT;
		node = memory_node_new(m, MEMORY_FILE);
		memory_resize(m, node, 0);
		memory_add(parent, name, node);
	}
	if (!node)
		return -ENOENT;
	if (node->kind == MEMORY_LINK)
		return -ELOOP;
	if (flags & O_DIRECTORY && node->kind != MEMORY_DIRECTORY)
		return -ENOTDIR;
	if (flags & (O_RDWR | O_CREAT) && node->kind == MEMORY_DIRECTORY)
		return -EISDIR;
	return new_handle(m, node);
}

static int close_handle(void *ctx, int fd)
{
	struct memory_io *m = ctx;
	struct memory_node *node = m->handle[fd];

	if (node->locker == fd + 1)
		node->locker = 0;
	m->handle[fd] = NULL;
	m->open--;
	memory_node_unref(m, node);
	return 0;
}

static int make_directory_at(void *ctx, int dir, const char *name)
{
	struct memory_io *m = ctx;
	struct memory_node *parent;

	changes(m);
	if (at(m, dir, name))
		return -EEXIST;
	parent = parent_at(m, dir, &name);
	if (!parent)
		return -ENOENT;
	memory_add(parent, name, memory_node_new(m, MEMORY_DIRECTORY));
	return 0;
}

static int remove_at(void *ctx, int dir, const char *name, bool directory)
{
	struct memory_io *m = ctx;
	struct memory_node *parent = parent_at(m, dir, &name);
	struct memory_entry *e = parent ? memory_entry_of(parent, name) : NULL;

	changes(m);
	if (!e)
		return -ENOENT;
	if (directory && e->node->kind != MEMORY_DIRECTORY)
		return -ENOTDIR;
	if (!directory && e->node->kind == MEMORY_DIRECTORY)
		return -EISDIR;
	if (directory && e->node->count)
		return -ENOTEMPTY;
	memory_drop(m, parent, e);
	return 0;
}

static int rename_at(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	struct memory_io *m = ctx;
	struct memory_node *a = parent_at(m, from_dir, &from), *b = parent_at(m, to_dir, &to);
	struct memory_entry *e = a ? memory_entry_of(a, from) : NULL;
	struct memory_entry *old = b ? memory_entry_of(b, to) : NULL;
	struct memory_node *node;

	changes(m);
	if (!e || !b)
		return -ENOENT;
	node = e->node;
	if (old && old->node == node)
		return 0;
	if (old && old->node->kind == MEMORY_DIRECTORY) {
		if (node->kind != MEMORY_DIRECTORY)
			return -EISDIR;
		if (old->node->count)
			return -ENOTEMPTY;
	} else if (old && node->kind == MEMORY_DIRECTORY) {
		return -ENOTDIR;
	}
	node->references++;
	memory_drop(m, a, e);
	old = memory_entry_of(b, to);
	if (old)
		memory_drop(m, b, old);
	memory_add(b, to, node);
	node->references--;
	return 0;
}

static int rename_new_at(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	return at(ctx, to_dir, to) ? -EEXIST : rename_at(ctx, from_dir, from, to_dir, to);
}

static int exchange_at(void *ctx, int a_dir, const char *a, int b_dir, const char *b)
{
	struct memory_io *m = ctx;
	struct memory_node *one = parent_at(m, a_dir, &a), *two = parent_at(m, b_dir, &b);
	struct memory_entry *x = one ? memory_entry_of(one, a) : NULL, *y = two ? memory_entry_of(two, b) : NULL;
	struct memory_node *node;

	changes(m);
	if (!x || !y)
		return -ENOENT;
	node = x->node;
	x->node = y->node;
	y->node = node;
	return 0;
}

static int describe(const struct memory_node *node, struct sde__stat *out)
{
	if (!node)
		return -ENOENT;
	*out = (struct sde__stat){
		.device = 1, .inode = node->inode, .links = node->links,
		.size = node->kind == MEMORY_DIRECTORY ? 4096 : node->size,
		.is_directory = node->kind == MEMORY_DIRECTORY,
		.is_file = node->kind == MEMORY_FILE,
	};
	return 0;
}

static int stat_at(void *ctx, int dir, const char *name, struct sde__stat *out)
{
	return describe(at(ctx, dir, name), out);
}

static int stat_handle(void *ctx, int fd, struct sde__stat *out)
{
	const struct memory_io *m = ctx;

	return describe(m->handle[fd], out);
}

static int list(void *ctx, int dir, int (*entry)(void *, const char *), void *entry_ctx)
{
	const struct memory_io *m = ctx;
	const struct memory_node *node = m->handle[dir];
	int ret = 0;

	if (node->kind != MEMORY_DIRECTORY)
		return -ENOTDIR;
	for (unsigned i = 0; i < node->count && !ret; i++)
		ret = entry(entry_ctx, node->entry[i].name);
	return ret;
}

static int transfers(const struct memory_node *node)
{
	return node->kind == MEMORY_FILE ? 0 : node->kind == MEMORY_PIPE ? -ESPIPE : -EISDIR;
}

static int64_t pread_handle(void *ctx, int fd, void *out, size_t n, uint64_t offset)
{
	const struct memory_io *m = ctx;
	const struct memory_node *node = m->handle[fd];

	if (transfers(node) || offset > INT64_MAX)
		return transfers(node) ? transfers(node) : -EINVAL;
	if (offset >= node->size)
		return 0;
	if (n > node->size - offset)
		n = (size_t)(node->size - offset);
	memcpy(out, node->bytes + offset, n);
	return (int64_t)n;
}

static int grow(struct memory_io *m, struct memory_node *node, uint64_t size)
{
	if (size <= node->size)
		return 0;
	if (size > m->limit || m->used + size - node->size > m->limit)
		return -ENOSPC;
	memory_resize(m, node, (size_t)size);
	return 0;
}

static int64_t pwrite_handle(void *ctx, int fd, const void *in, size_t n, uint64_t offset)
{
	struct memory_io *m = ctx;
	struct memory_node *node = m->handle[fd];
	int ret;

	changes(m);
	if (transfers(node) || offset > INT64_MAX)
		return transfers(node) ? transfers(node) : -EINVAL;
	ret = grow(m, node, offset + n);
	if (ret)
		return ret;
	memcpy(node->bytes + offset, in, n);
	return (int64_t)n;
}

static int sync_handle(void *ctx, int fd)
{
	(void)ctx, (void)fd;
	return 0;
}

static int allocate(void *ctx, int fd, uint64_t size)
{
	struct memory_io *m = ctx;

	return transfers(m->handle[fd]) ? -ENODEV : grow(m, m->handle[fd], size);
}

static int map(void *ctx, int fd, size_t size, bool writable, void **out)
{
	struct memory_io *m = ctx;
	struct memory_node *node = m->handle[fd];

	(void)writable;
	if (transfers(node))
		return -ENODEV;
	/* what lies beyond would be a SIGBUS: the library must not ask for it */
	if (!size || size > node->size)
		abort();
	for (int i = 0; i < MEMORY_IO_HANDLES; i++) {
		if (m->map[i])
			continue;
		m->map[i] = node;
		node->maps++;
		node->references++;
		m->mapped++;
		*out = node->bytes;
		return 0;
	}
	return -ENOMEM;
}

static int unmap(void *ctx, void *base, size_t size)
{
	struct memory_io *m = ctx;

	(void)size;
	for (int i = 0; i < MEMORY_IO_HANDLES; i++) {
		struct memory_node *node = m->map[i];

		if (!node || node->bytes != base)
			continue;
		m->map[i] = NULL;
		node->maps--;
		m->mapped--;
		memory_node_unref(m, node);
		return 0;
	}
	abort();
}

static int on_map(void *ctx, void *address, size_t size)
{
	(void)ctx, (void)address, (void)size;
	return 0;
}

static int lock(void *ctx, int fd)
{
	struct memory_io *m = ctx;

	if (m->locked || (m->handle[fd]->locker && m->handle[fd]->locker != fd + 1))
		return -EAGAIN;
	m->handle[fd]->locker = fd + 1;
	return 0;
}

static int is_locked(void *ctx, int fd)
{
	const struct memory_io *m = ctx;
	const int locker = m->handle[fd]->locker;

	return m->locked || (locker && locker != fd + 1);
}

static int boot_id(void *ctx, unsigned char out[16])
{
	const struct memory_io *m = ctx;

	memcpy(out, m->boot, 16);
	return 0;
}

/* splitmix64 */
static int random_bytes(void *ctx, void *out, size_t n)
{
	struct memory_io *m = ctx;

	for (size_t i = 0; i < n; i++) {
		uint64_t z = m->seed += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		((unsigned char *)out)[i] = (unsigned char)(z >> 56);
	}
	return 0;
}

static void copy(void *ctx, void *to, const void *from, size_t n)
{
	(void)ctx;
	memcpy(to, from, n);
}

static void commit(void *ctx, uint64_t *counter, uint64_t value)
{
	(void)ctx;
	*counter = value;
}

/* ------------------------------------------------------------------------
 * The whole
 */

static void init(struct memory_io *m)
{
	memset(m, 0, sizeof(*m));
	m->limit = LIMIT;
	m->io = (struct sde__io){
		.ctx = m, .open_at = open_at, .close = close_handle,
		.make_directory_at = make_directory_at, .remove_at = remove_at,
		.rename_at = rename_at, .rename_new_at = rename_new_at,
		.exchange_at = exchange_at, .stat_at = stat_at, .stat = stat_handle,
		.list = list, .pread = pread_handle, .pwrite = pwrite_handle,
		.sync = sync_handle, .allocate = allocate, .map = map, .unmap = unmap,
		.sync_map = on_map, .populate = on_map, .lock = lock, .is_locked = is_locked,
		.boot_id = boot_id, .random = random_bytes, .copy = copy, .commit = commit,
	};
}

void memory_io_init(struct memory_io *m)
{
	init(m);
	memset(m->boot, 0xb0, sizeof(m->boot));
	m->root = memory_node_new(m, MEMORY_DIRECTORY);
	m->root->references = m->root->links = 1;
}

/* Hard links become files of their own: a template has none. */
static struct memory_node *clone(struct memory_io *m, const struct memory_node *from)
{
	struct memory_node *node = memory_node_new(m, from->kind);

	node->inode = from->inode;
	memory_resize(m, node, from->size);
	if (from->size)
		memcpy(node->bytes, from->bytes, from->size);
	for (unsigned i = 0; i < from->count; i++)
		memory_add(node, from->entry[i].name, clone(m, from->entry[i].node));
	return node;
}

void memory_io_clone(struct memory_io *m, const struct memory_io *from)
{
	init(m);
	memcpy(m->boot, from->boot, sizeof(m->boot));
	m->seed = from->seed;
	m->root = clone(m, from->root);
	m->root->references = m->root->links = 1;
	m->inodes = from->inodes;
}

void memory_io_free(struct memory_io *m)
{
	for (int fd = 0; fd < MEMORY_IO_HANDLES; fd++)
		if (m->handle[fd])
			close_handle(m, fd);
	memory_node_unref(m, m->root);
	m->root = NULL;
}
