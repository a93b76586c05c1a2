/* SPDX-License-Identifier: MIT */
/*
 * The nodes of memory_io.h and their names: what the table's entries are made of.
 * References are names, handles and mappings; a node goes with its last one. Nothing
 * here fails: without memory the test ends.
 */
#ifndef SDE_TESTS_FUZZ_MEMORY_TREE_H
#define SDE_TESTS_FUZZ_MEMORY_TREE_H

#include "memory_io.h"

/* Without a reference. */
struct memory_node *memory_node_new(struct memory_io *m, enum memory_kind kind);
void memory_node_unref(struct memory_io *m, struct memory_node *node);

/* NULL: there is no such name. */
struct memory_entry *memory_entry_of(const struct memory_node *dir, const char *name);
struct memory_node *memory_child(const struct memory_node *dir, const char *name);

/* A name for a node in a directory that has none such; and it is taken away. */
void memory_add(struct memory_node *dir, const char *name, struct memory_node *node);
void memory_drop(struct memory_io *m, struct memory_node *dir, struct memory_entry *entry);

/* From a directory on; NULL: it is not there. */
struct memory_node *memory_walk_path(struct memory_node *node, const char *path);

#endif
