/* SPDX-License-Identifier: MIT */
/*
 * Guards that what is said about losses is complete and short: every damage is in one
 * range, and ranges that touch are one.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "inspect_lost.h"

#include "text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* As many ranges of the chunk before are looked through for one that goes on. */
#define LOOK_BACK 64

static bool same_kind(const struct lost_range *a, const struct lost_range *b)
{
	return a->lost == b->lost && a->restorable == b->restorable && a->cause == b->cause &&
	       a->code == b->code;
}

static bool goes_on(const uint64_t a[2], const uint64_t b[2], const uint64_t same_a[2],
		    const uint64_t same_b[2])
{
	return a[1] == b[0] && same_a[0] == same_b[0] && same_a[1] == same_b[1];
}

/* Can b be put to a? Then a has both. */
static bool join(struct lost_range *a, const struct lost_range *b, bool in_time)
{
	if (!same_kind(a, b))
		return false;
	if (in_time && !goes_on(a->snapshots, b->snapshots, a->trajectories, b->trajectories))
		return false;
	if (!in_time && !goes_on(a->trajectories, b->trajectories, a->snapshots, b->snapshots))
		return false;
	a->snapshots[1] = b->snapshots[1];
	a->trajectories[1] = b->trajectories[1];
	a->pieces += b->pieces;
	return true;
}

static void clear_range(struct lost_range *range)
{
	free(range->file);
	free(range->text);
}

/* The last range will not get wider: does it go on where an earlier one ended? */
static void settle_last(struct lost_list *list)
{
	struct lost_range *last;

	if (list->count < 2)
		return;
	last = &list->range[list->count - 1];
	for (size_t i = list->count - 1; i-- > 0 && list->count - i <= LOOK_BACK; ) {
		if (!join(&list->range[i], last, true))
			continue;
		clear_range(last);
		list->count--;
		return;
	}
}

/* Damages come in the order of snapshots, those of a chunk together. */
static void count(struct lost_list *list, const struct sde_damage *damage)
{
	const uint64_t first = damage->snapshots[0] > list->end ? damage->snapshots[0] : list->end;

	if (damage->lost & SDE_PART_DATA)
		list->cells += (damage->snapshots[1] - damage->snapshots[0]) *
			       (damage->trajectories[1] - damage->trajectories[0]);
	if (!damage->lost || damage->snapshots[1] <= first)
		return;
	list->touched += damage->snapshots[1] - first;
	list->end = damage->snapshots[1];
}

static bool make_room(struct lost_list *list)
{
	const size_t room = list->room ? 2 * list->room : 16;
	struct lost_range *more;

	if (list->count < list->room)
		return true;
	more = realloc(list->range, room * sizeof(*more));
	if (!more)
		return false;
	list->range = more;
	list->room = room;
	return true;
}

void lost_note(void *ctx, const struct sde_damage *damage)
{
	struct lost_list *list = ctx;
	struct lost_range range = { .lost = damage->lost, .restorable = damage->restorable,
				    .cause = damage->cause, .code = damage->code, .pieces = 1 };

	count(list, damage);
	memcpy(range.snapshots, damage->snapshots, sizeof(range.snapshots));
	memcpy(range.trajectories, damage->trajectories, sizeof(range.trajectories));
	if (list->count && join(&list->range[list->count - 1], &range, false))
		return;
	settle_last(list);
	range.file = strdup(damage->file);
	range.text = strdup(damage->text);
	if (!range.file || !range.text || !make_room(list)) {
		clear_range(&range);
		list->out_of_memory = true;
		return;
	}
	list->range[list->count++] = range;
}

void lost_done(struct lost_list *list)
{
	settle_last(list);
}

void lost_clear(struct lost_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		clear_range(&list->range[i]);
	free(list->range);
	memset(list, 0, sizeof(*list));
}

void lost_put_parts(FILE *out, unsigned parts)
{
	static const char *const names[] = { "data", "times", "iterations", "states" };
	const char *comma = "";

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (parts >> i & 1) {
			fprintf(out, "%s%s", comma, names[i]);
			comma = ", ";
		}
}

void lost_put_range(FILE *out, const struct lost_range *range)
{
	fprintf(out, "snapshots %" PRIu64 ":%" PRIu64, range->snapshots[0], range->snapshots[1]);
	if ((range->lost | range->restorable) & SDE_PART_DATA)
		fprintf(out, ", trajectories %" PRIu64 ":%" PRIu64, range->trajectories[0],
			range->trajectories[1]);
	fprintf(out, ": %s: ", sde_cause_name(range->cause));
	text_puts(out, range->file);
	if (range->pieces > 1)
		fprintf(out, " and %" PRIu64 " more", range->pieces - 1);
}
