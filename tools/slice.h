/* SPDX-License-Identifier: MIT */
/*
 * NumPy's basic slices, from text: "a:b:s", each part optional, and "i".
 *
 *	start, start + step, ... below stop; start defaults to 0, stop to the
 *	length, step to 1. Negative start and stop count from the end; what lies
 *	outside the axis is clipped to it, as for Python's sequences.
 *
 * An index selects the one element, and unlike NumPy's keeps the axis: "i" is
 * "i:i+1", but must lie inside. Steps are at least 1: nothing is reversed.
 * Numbers may have any size; there are no blanks.
 */
#ifndef SDE_TOOLS_SLICE_H
#define SDE_TOOLS_SLICE_H

#include <stdbool.h>
#include <stdint.h>

/* What is larger than UINT64_MAX is UINT64_MAX, which every axis clips. */
struct slice_number {
	bool given, negative;
	uint64_t magnitude;
};

struct slice {
	bool index;			/* "i": start alone is given */
	struct slice_number start, stop, step;
};

/* NULL, or a phrase that goes on after the text: "is not a slice ...". */
const char *slice_parse(struct slice *slice, const char *text);

/*
 * The slice of an axis of `length` elements as sde_array_read takes it: *count
 * elements from *start on, *step apart. NULL, or a phrase as above if it selects
 * nothing; the three are then undefined.
 */
const char *slice_resolve(const struct slice *slice, uint64_t length, uint64_t *start,
			  uint64_t *count, uint64_t *step);

#endif
