/* SPDX-License-Identifier: MIT */
/* Files and directories in memory: see memory_tree.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "memory_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool memory_io_busy;

/* The test's own memory is not what is tested: no test goes on without it. */
static void *must(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

/* ------------------------------------------------------------------------
 * Nodes
 */

struct memory_node *memory_node_new(struct memory_io *m, enum memory_kind kind)
{
	struct memory_node *node;

	memory_io_busy = true;
	node = must(calloc(1, sizeof(*node)));
	memory_io_busy = false;
	node->kind = kind;
	node->inode = ++m->inodes;
	return node;
}

void memory_node_unref(struct memory_io *m, struct memory_node *node)
{
	if (--node->references)
		return;
	for (unsigned i = 0; i < node->count; i++)
		memory_node_unref(m, node->entry[i].node);
	m->used -= node->size;
	memory_io_busy = true;
	free(node->entry);
	free(node->bytes);
	free(node);
	memory_io_busy = false;
}

void memory_resize(struct memory_io *m, struct memory_node *node, size_t size)
{
	void *bytes = NULL;

	/* a mapping is this memory */
	if (node->maps && size != node->size)
		abort();
	memory_io_busy = true;
	if (posix_memalign(&bytes, 64, size ? size : 1))
		abort();
	memset(bytes, 0, size);
	if (node->size)
		memcpy(bytes, node->bytes, size < node->size ? size : node->size);
	free(node->bytes);
	memory_io_busy = false;
	m->used += size;
	m->used -= node->size;
	node->bytes = bytes;
	node->size = size;
}

struct memory_entry *memory_entry_of(const struct memory_node *dir, const char *name)
{
	for (unsigned i = 0; i < dir->count; i++)
		if (!strcmp(dir->entry[i].name, name))
			return &dir->entry[i];
	return NULL;
}

struct memory_node *memory_child(const struct memory_node *dir, const char *name)
{
	const struct memory_entry *e = memory_entry_of(dir, name);

	return e ? e->node : NULL;
}

void memory_add(struct memory_node *dir, const char *name, struct memory_node *node)
{
	if (dir->count == dir->room) {
		dir->room = dir->room ? 2 * dir->room : 8;
		memory_io_busy = true;
		dir->entry = must(realloc(dir->entry, dir->room * sizeof(*dir->entry)));
		memory_io_busy = false;
	}
	snprintf(dir->entry[dir->count].name, MEMORY_IO_NAME, "%s", name);
	dir->entry[dir->count++].node = node;
	node->references++;
	node->links++;
}

void memory_drop(struct memory_io *m, struct memory_node *dir, struct memory_entry *entry)
{
	struct memory_node *node = entry->node;

	*entry = dir->entry[--dir->count];
	node->links--;
	memory_node_unref(m, node);
}

/* ------------------------------------------------------------------------
 * Paths
 */

/* Steps over one component of *path into `name`; false at the end. */
static bool component(const char **path, char name[MEMORY_IO_NAME])
{
	size_t n;

	while (**path == '/')
		++*path;
	n = strcspn(*path, "/");
	if (!n || n >= MEMORY_IO_NAME)
		return false;
	memcpy(name, *path, n);
	name[n] = '\0';
	*path += n;
	return true;
}

struct memory_node *memory_walk_path(struct memory_node *node, const char *path)
{
	char name[MEMORY_IO_NAME];

	while (node && component(&path, name))
		if (strcmp(name, ".") != 0)
			node = node->kind == MEMORY_DIRECTORY ? memory_child(node, name) : NULL;
	return node;
}

struct memory_node *memory_find(const struct memory_io *m, const char *path)
{
	return memory_walk_path(m->root, path);
}

struct memory_node *memory_parent(const struct memory_io *m, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char parent[1024];
	struct memory_node *dir;

	*name = slash ? slash + 1 : path;
	snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) : 0, path);
	dir = memory_find(m, parent);
	return dir && dir->kind == MEMORY_DIRECTORY ? dir : NULL;
}

void memory_remove(struct memory_io *m, const char *path)
{
	const char *name;
	struct memory_node *dir = memory_parent(m, path, &name);
	struct memory_entry *e = dir ? memory_entry_of(dir, name) : NULL;

	if (e)
		memory_drop(m, dir, e);
}

void memory_link(struct memory_io *m, const char *path, struct memory_node *node)
{
	const char *name;
	struct memory_node *dir = memory_parent(m, path, &name);

	node->references++;
	if (dir) {
		memory_remove(m, path);
		memory_add(dir, name, node);
	}
	memory_node_unref(m, node);
}

void memory_put(struct memory_io *m, const char *path, enum memory_kind kind, const void *bytes,
		size_t size)
{
	struct memory_node *node = memory_node_new(m, kind);

	memory_resize(m, node, size);
	if (size)
		memcpy(node->bytes, bytes, size);
	memory_link(m, path, node);
}

static void visit_below(struct memory_node *dir, const char *path,
			void (*visit)(void *ctx, const char *path, struct memory_node *node),
			void *ctx)
{
	char below[1024];

	for (unsigned i = 0; i < dir->count; i++) {
		struct memory_node *node = dir->entry[i].node;

		snprintf(below, sizeof(below), "%.800s%s%s", path, *path ? "/" : "",
			 dir->entry[i].name);
		visit(ctx, below, node);
		if (node->kind == MEMORY_DIRECTORY)
			visit_below(node, below, visit, ctx);
	}
}

void memory_walk(const struct memory_io *m,
		 void (*visit)(void *ctx, const char *path, struct memory_node *node), void *ctx)
{
	visit_below(m->root, "", visit, ctx);
}
