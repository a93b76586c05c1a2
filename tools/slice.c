/* SPDX-License-Identifier: MIT */
/*
 * Guards NumPy's meaning of a slice: the arithmetic is that of Python's
 * slice.indices() for positive steps, in unsigned numbers that cannot overflow.
 */
#include "slice.h"

#include <stddef.h>

/* Where the number ends; `text` itself if there is none; NULL for a lone sign. */
static const char *parse_number(struct slice_number *number, const char *text)
{
	const char *digits = text + (*text == '-' || *text == '+');
	const char *s = digits;

	*number = (struct slice_number){ 0 };
	for (; *s >= '0' && *s <= '9'; s++) {
		const unsigned digit = (unsigned)(*s - '0');

		if (number->magnitude > (UINT64_MAX - digit) / 10)
			number->magnitude = UINT64_MAX;
		else
			number->magnitude = 10 * number->magnitude + digit;
	}
	if (s == digits)
		return s == text ? s : NULL;
	number->given = true;
	number->negative = *text == '-' && number->magnitude;
	return s;
}

const char *slice_parse(struct slice *slice, const char *text)
{
	static const char not_one[] = "is not a slice (start:stop:step, or one index)";
	struct slice_number *const parts[] = { &slice->start, &slice->stop, &slice->step };
	unsigned colons = 0;

	*slice = (struct slice){ 0 };
	for (const char *s = text; ; s++) {
		s = parse_number(parts[colons], s);
		if (s && !*s)
			break;
		if (!s || *s != ':' || ++colons == 3)
			return not_one;
	}
	slice->index = !colons;
	if (slice->index && !slice->start.given)
		return not_one;
	if (slice->step.negative)
		return "has a negative step, but arrays are not reversed";
	if (slice->step.given && !slice->step.magnitude)
		return "has a step of 0";
	return NULL;
}

/* Where a bound lies on the axis, 0 to length. */
static uint64_t clip(const struct slice_number *number, uint64_t otherwise, uint64_t length)
{
	if (!number->given)
		return otherwise;
	if (number->negative)
		return number->magnitude < length ? length - number->magnitude : 0;
	return number->magnitude < length ? number->magnitude : length;
}

const char *slice_resolve(const struct slice *slice, uint64_t length, uint64_t *start,
			  uint64_t *count, uint64_t *step)
{
	const uint64_t first = clip(&slice->start, 0, length);
	const uint64_t end = clip(&slice->stop, length, length);
	const uint64_t stride = slice->step.given ? slice->step.magnitude : 1;
	const uint64_t magnitude = slice->start.magnitude;

	*start = first;
	*count = *step = 1;
	if (slice->index)
		return (slice->start.negative ? magnitude <= length : magnitude < length) ?
		       NULL : "is outside";
	if (first >= end)
		return "selects nothing";
	*count = (end - first - 1) / stride + 1;
	/* the distance to an element that is not there may be any number */
	*step = *count > 1 ? stride : 1;
	return NULL;
}
