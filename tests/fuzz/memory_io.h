/* SPDX-License-Identifier: MIT */
/*
 * A file system in memory behind the io table: what a harness opens, damages and
 * throws away some thousand times a second. Nothing is ever lost in it: states
 * after a power loss are another simulation's business.
 *
 * It has what a planted store may have: files, directories, symbolic links (which
 * are never followed, so that whoever tries to is seen to fail), pipes, hard links.
 * A mapping is the file's own memory, of exactly the file's size, so that
 * AddressSanitizer sees a step beyond it. Not thread-safe.
 */
#ifndef SDE_TESTS_FUZZ_MEMORY_IO_H
#define SDE_TESTS_FUZZ_MEMORY_IO_H

#include "io.h"

#define MEMORY_IO_HANDLES 256
#define MEMORY_IO_NAME 128

enum memory_kind { MEMORY_FILE, MEMORY_DIRECTORY, MEMORY_LINK, MEMORY_PIPE };

struct memory_entry;

struct memory_node {
	enum memory_kind kind;
	unsigned references;		/* names, handles, mappings */
	unsigned links, maps;
	uint64_t inode;
	unsigned char *bytes;		/* file: aligned to 64 */
	size_t size;
	int locker;			/* handle + 1; 0: nobody */
	struct memory_entry *entry;	/* directory: of `count` */
	unsigned count, room;
};

struct memory_entry {
	char name[MEMORY_IO_NAME];
	struct memory_node *node;
};

struct memory_io {
	struct sde__io io;		/* what is handed to the library */
	struct memory_node *root;
	struct memory_node *handle[MEMORY_IO_HANDLES], *map[MEMORY_IO_HANDLES];
	uint64_t inodes;		/* given out */
	uint64_t used, limit;		/* bytes of all files; beyond it -ENOSPC */
	uint64_t seed;			/* of io.random */
	unsigned char boot[16];
	bool locked;			/* somebody else holds every lock */
	bool read_only;			/* a change aborts the program */
	unsigned open, mapped;		/* handles and mappings now */
};

/* Set while memory is taken or given back that is a file's, not the library's. */
extern bool memory_io_busy;

/* An empty root directory. */
void memory_io_init(struct memory_io *m);
/* The same files under the same inode numbers; handles, locks and maps are not. */
void memory_io_clone(struct memory_io *m, const struct memory_io *from);
void memory_io_free(struct memory_io *m);

/* Around the table, by a path from the root. NULL: it is not there. */
struct memory_node *memory_find(const struct memory_io *m, const char *path);
/* The directory of a path, and its last component; NULL as above. */
struct memory_node *memory_parent(const struct memory_io *m, const char *path, const char **name);
/* Puts a new node there in place of what is there; nothing without its directory. */
void memory_put(struct memory_io *m, const char *path, enum memory_kind kind, const void *bytes,
		size_t size);
/* A second name for a node, likewise. */
void memory_link(struct memory_io *m, const char *path, struct memory_node *node);
void memory_remove(struct memory_io *m, const char *path);
void memory_resize(struct memory_io *m, struct memory_node *node, size_t size);

/* Calls visit for every node below the root, parents first, with its path. */
void memory_walk(const struct memory_io *m,
		 void (*visit)(void *ctx, const char *path, struct memory_node *node), void *ctx);

#endif
