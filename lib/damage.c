/* SPDX-License-Identifier: MIT */
/* What counts as damage, and the list of what was filled: see damage.h. */
#include "damage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sde__is_damage(int code)
{
	switch (code) {
	case SDE_E_HOLE:
	case SDE_E_CORRUPT:
	case SDE_E_CODEC:
	/* of one file only: the root's version has been checked by then */
	case SDE_E_VERSION:
	/* a bad sector; something else under a file's name */
	case -EIO:
	case -ELOOP:
	case -ENXIO:
	case -EISDIR:
		return true;
	default:
		return false;
	}
}

const char *sde_cause_name(enum sde_cause cause)
{
	static const char *const names[] = {
		[SDE_CAUSE_MISSING] = "missing",
		[SDE_CAUSE_TRUNCATED] = "truncated",
		[SDE_CAUSE_CHECKSUM] = "checksum",
		[SDE_CAUSE_DECODE] = "decode",
		[SDE_CAUSE_SIDE_TABLE] = "side table",
		[SDE_CAUSE_INDEX] = "index",
		[SDE_CAUSE_FOREIGN] = "foreign",
		[SDE_CAUSE_DIFFERS] = "differs",
		[SDE_CAUSE_UNREADABLE] = "unreadable",
	};
	const size_t i = (size_t)cause;

	return i < sizeof(names) / sizeof(names[0]) && names[i] ? names[i] : "unknown";
}

void sde__damage_explain(struct sde_error *error, const char *what, const uint64_t snapshots[2],
			 const uint64_t *trajectories)
{
	struct sde_error why;
	char of[64] = "";

	if (!error)
		return;
	why = *error;
	if (trajectories)
		snprintf(of, sizeof(of), ", trajectories %" PRIu64 ":%" PRIu64, trajectories[0],
			 trajectories[1]);
	sde__error_clear(error);
	sde__fail(error, why.code, "%s snapshots %" PRIu64 ":%" PRIu64 "%s: %s", what, snapshots[0],
		  snapshots[1], of, why.text);
}

/* ------------------------------------------------------------------------
 * Holes
 */

void sde__holes_init(struct sde__holes *holes, uint64_t inner_count)
{
	memset(holes, 0, sizeof(*holes));
	pthread_mutex_init(&holes->lock, NULL);
	holes->inner_count = inner_count;
}

void sde__holes_free(struct sde__holes *holes)
{
	pthread_mutex_destroy(&holes->lock);
	free(holes->hole);
}

static bool is_whole(const struct sde__holes *holes, const struct sde__hole *hole)
{
	return !hole->inner && hole->inner_end == holes->inner_count;
}

/* The number of holes that begin before `hole` or where it does. */
static size_t place_of(const struct sde__holes *holes, const struct sde__hole *hole)
{
	size_t low = 0, high = holes->count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const struct sde__hole *h = &holes->hole[middle];

		if (h->first < hole->first || (h->first == hole->first && h->inner <= hole->inner))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool covers(const struct sde__hole *a, const struct sde__hole *b)
{
	return a->first <= b->first && a->end >= b->end && a->inner <= b->inner &&
	       a->inner_end >= b->inner_end;
}

static void take_out(struct sde__holes *holes, size_t i, size_t n)
{
	memmove(&holes->hole[i], &holes->hole[i + n],
		(holes->count - i - n) * sizeof(*holes->hole));
	holes->count -= n;
}

/* Does b go on where a ends, along one axis, and is it the same kind of damage? */
static bool continues(const struct sde__hole *a, const struct sde__hole *b)
{
	if (a->cause != b->cause || a->code != b->code)
		return false;
	if (a->first == b->first && a->end == b->end)
		return a->inner_end == b->inner;
	return a->inner == b->inner && a->inner_end == b->inner_end && a->end == b->first;
}

static void put_together(struct sde__hole *a, const struct sde__hole *b)
{
	a->end = b->end;
	a->inner_end = b->inner_end;
}

/* Join hole i and the next, if both are whole: others must keep their borders. */
static bool join(struct sde__holes *holes, size_t i)
{
	struct sde__hole *a = &holes->hole[i];

	if (i + 1 >= holes->count || !is_whole(holes, a) || !is_whole(holes, a + 1) ||
	    !continues(a, a + 1))
		return false;
	put_together(a, a + 1);
	take_out(holes, i + 1, 1);
	return true;
}

static int make_room(struct sde__holes *holes)
{
	const size_t room = holes->room ? 2 * holes->room : 16;
	struct sde__hole *grown;

	if (holes->count < holes->room)
		return 0;
	grown = realloc(holes->hole, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	holes->hole = grown;
	holes->room = room;
	return 0;
}

int sde__holes_add(struct sde__holes *holes, const struct sde__hole *hole)
{
	size_t i, n = 0;
	int ret = 0;

	pthread_mutex_lock(&holes->lock);
	i = place_of(holes, hole);
	if (i && covers(&holes->hole[i - 1], hole))
		goto out;
	ret = make_room(holes);
	if (ret)
		goto out;
	/* a file that lacked a part before may have vanished since */
	i -= i && covers(hole, &holes->hole[i - 1]);
	while (i + n < holes->count && covers(hole, &holes->hole[i + n]))
		n++;
	take_out(holes, i, n);
	memmove(&holes->hole[i + 1], &holes->hole[i], (holes->count - i) * sizeof(*hole));
	holes->hole[i] = *hole;
	holes->count++;
	join(holes, i);
	if (i)
		join(holes, i - 1);
out:
	pthread_mutex_unlock(&holes->lock);
	return ret;
}

int sde__holes_copy(struct sde__holes *holes, struct sde__hole **out, size_t *count)
{
	struct sde__hole *copy;
	size_t n = 0;
	bool none;

	*out = NULL;
	*count = 0;
	pthread_mutex_lock(&holes->lock);
	none = !holes->count;
	copy = none ? NULL : malloc(holes->count * sizeof(*copy));
	for (size_t i = 0; copy && i < holes->count; i++) {
		if (n && continues(&copy[n - 1], &holes->hole[i]))
			put_together(&copy[n - 1], &holes->hole[i]);
		else
			copy[n++] = holes->hole[i];
	}
	pthread_mutex_unlock(&holes->lock);
	*out = copy;
	*count = n;
	return copy || none ? 0 : -ENOMEM;
}
