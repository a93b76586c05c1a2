/* SPDX-License-Identifier: MIT */
/*
 * The parts a simulated file system is made of (sim_fs.h): images, files with
 * their pending changes, directories with their pending operations. For sim_fs.c,
 * which is the table, and sim_crash.c.
 */
#ifndef SDE_TESTS_CRASH_SIM_IMAGE_H
#define SDE_TESTS_CRASH_SIM_IMAGE_H

#include "sim_fs.h"

#define SIM_PAGE 4096
#define SIM_NO_SECTOR SIZE_MAX

/* A sector's new bytes, or, with SIM_NO_SECTOR, the file's new size. */
struct sim_change {
	uint64_t sequence;
	size_t sector;
	struct sim_sector *bytes;	/* NULL: zeros */
	uint64_t size;
};

struct sim_entry {
	char name[SIM_NAME];
	struct sim_inode *inode;	/* in an operation, NULL: the name is gone */
};

/* All of `set`, in one instant. */
struct sim_operation {
	uint64_t sequence;
	unsigned count;
	struct sim_entry set[2];
};

struct sim_entries {
	struct sim_entry *entry;
	size_t count, room;
};

struct sim_inode {
	unsigned refs;			/* entries, operations, handles, maps */
	uint64_t number;
	bool is_directory;
	unsigned links;			/* live entries */
	/* a file's */
	struct sim_image *live, *durable;
	bool stale;			/* a failed sync left them apart for good */
	struct sim_change *change;
	size_t changes, change_room;
	unsigned char *mapped;		/* SIM_PAGE aligned; NULL: not mapped */
	size_t mapped_size;
	/* a directory's */
	struct sim_inode *parent;	/* not a reference */
	struct sim_entries live_entries, durable_entries;
	struct sim_operation *operation;
	size_t operations, operation_room;
	/* of sim_crash: its copy in the file system being made */
	struct sim_inode *copy;
};

void *sim_grow(void *array, size_t *room, size_t count, size_t item);

struct sim_image *sim_image_new(void);
struct sim_image *sim_image_ref(struct sim_image *image);
void sim_image_unref(struct sim_image *image);
/* *image made one that nobody else has, to be changed. */
void sim_image_own(struct sim_image **image);
/* Both on an owned image. Beyond its size bytes are zeros. */
void sim_image_set_sector(struct sim_image *image, size_t index, struct sim_sector *sector);
void sim_image_set_size(struct sim_image *image, uint64_t size);
struct sim_sector *sim_image_sector(const struct sim_image *image, size_t index);

struct sim_inode *sim_inode_new(uint64_t number, bool is_directory);
struct sim_inode *sim_inode_ref(struct sim_inode *inode);
void sim_inode_unref(struct sim_inode *inode);

/* Put these bytes into the file as one change a sector; grows it. */
void sim_inode_write(struct sim *sim, struct sim_inode *inode, const void *bytes, size_t n,
		     uint64_t offset);
void sim_inode_resize(struct sim *sim, struct sim_inode *inode, uint64_t size);
/* Make the pending changes of sectors from .. to - 1 durable, and sizes. */
void sim_inode_sync(struct sim_inode *inode, size_t from, size_t to);
/* Their pages are dirty, whatever they hold: what a failed sync lost is pending again. */
void sim_inode_dirty(struct sim *sim, struct sim_inode *inode, size_t from, size_t to);
/* A sync that failed. */
void sim_inode_lose(struct sim_inode *inode, size_t from, size_t to);
/* What was written to the mapping since it was last looked at becomes changes. */
void sim_inode_absorb(struct sim *sim, struct sim_inode *inode);

struct sim_entry *sim_entries_find(const struct sim_entries *entries, const char *name);
/* inode NULL removes; references are counted. */
void sim_entries_set(struct sim_entries *entries, const char *name, struct sim_inode *inode);

#endif
