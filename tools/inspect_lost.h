/* SPDX-License-Identifier: MIT */
/*
 * What a store has lost, gathered so that a page of it stays readable: neighbours of
 * the same kind are put together, whichever way they lie.
 */
#ifndef SDE_TOOLS_INSPECT_LOST_H
#define SDE_TOOLS_INSPECT_LOST_H

#include <sdestore.h>

#include <stdbool.h>
#include <stdio.h>

/* One or more damages of a kind; file and text are the first's. */
struct lost_range {
	unsigned lost, restorable;	/* enum sde_part */
	enum sde_cause cause;
	int code;
	uint64_t snapshots[2], trajectories[2];	/* a:b */
	uint64_t pieces;		/* how many damages */
	char *file, *text;
};

struct lost_list {
	struct lost_range *range;
	size_t count, room;
	uint64_t end;			/* snapshots below it are counted in touched */
	uint64_t touched;		/* snapshots that have lost something */
	uint64_t cells;			/* snapshots x trajectories of lost data */
	bool out_of_memory;
};

/* A sde_damage_function; ctx is a struct lost_list, zero to begin with. */
void lost_note(void *ctx, const struct sde_damage *damage);
/* All are noted. */
void lost_done(struct lost_list *list);
void lost_clear(struct lost_list *list);

/* "data, times"; for people. */
void lost_put_parts(FILE *out, unsigned parts);

/* "snapshots 4:8, trajectories 0:8: checksum: FILE (and 2 more)" */
void lost_put_range(FILE *out, const struct lost_range *range);

#endif
