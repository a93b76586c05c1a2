/* SPDX-License-Identifier: MIT */
/*
 * The tools' slices (tools/slice.h): a text, judged and resolved on axes of several
 * lengths, and compared with what one gets by asking each index of the axis.
 *
 * The input is the text.
 */
#include "fuzz.h"

#include "../../tools/slice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "slice";
const unsigned fuzz_mutations = 30000;

#define LENGTH_MAX 40

/* A bound as Python's slice.indices has it, for an axis this short. */
static int64_t bound(const struct slice_number *number, int64_t otherwise, int64_t length)
{
	const int64_t value = number->magnitude > 1000 ? 1000 : (int64_t)number->magnitude;
	const int64_t at = number->negative ? length - value : value;

	if (!number->given)
		return otherwise;
	return at < 0 ? 0 : at > length ? length : at;
}

static bool is_selected(const struct slice *slice, int64_t i, int64_t length)
{
	const int64_t start = bound(&slice->start, 0, length);
	const int64_t stop = bound(&slice->stop, length, length);
	const int64_t step = !slice->step.given ? 1 :
			     slice->step.magnitude > 1000 ? 1000 : (int64_t)slice->step.magnitude;

	return i >= start && i < stop && (i - start) % step == 0;
}

static void check_short(const struct slice *slice, const char *text, int64_t length)
{
	uint64_t start, count, step, seen = 0;
	const char *why = slice_resolve(slice, (uint64_t)length, &start, &count, &step);

	if (slice->index)
		return;
	for (int64_t i = 0; i < length; i++) {
		if (!is_selected(slice, i, length))
			continue;
		fuzz_assert(!why, "'%s' of %d selects %d, and is refused: %s", text, (int)length,
			    (int)i, why);
		fuzz_assert(start + seen * step == (uint64_t)i, "'%s' of %d: %d is not the %d-th",
			    text, (int)length, (int)i, (int)seen);
		seen++;
	}
	if (why)
		fuzz_assert(!seen, "'%s' of %d: %s", text, (int)length, why);
	else
		fuzz_assert(seen == count && count, "'%s' of %d: %d selected, not %d", text,
			    (int)length, (int)count, (int)seen);
}

/* On any axis: inside it, and no sum overflows. */
static void check_long(const struct slice *slice, const char *text, uint64_t length)
{
	uint64_t start, count, step, last;

	if (slice_resolve(slice, length, &start, &count, &step))
		return;
	fuzz_assert(count > 0 && step > 0, "'%s': nothing, or no step", text);
	fuzz_assert(!__builtin_mul_overflow(count - 1, step, &last) &&
		    !__builtin_add_overflow(last, start, &last) && last < length,
		    "'%s' leaves an axis of %llu", text, (unsigned long long)length);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static const uint64_t lengths[] = { 1000, UINT32_MAX, INT64_MAX, UINT64_MAX };
	char *text = malloc(size + 1);
	struct slice slice;
	const char *why;

	if (!text)
		return 0;
	memcpy(text, bytes, size);
	text[size] = '\0';
	why = slice_parse(&slice, text);
	fuzz_assert(!why || strlen(why) > 10, "no phrase");
	for (int64_t length = 0; !why && length <= LENGTH_MAX; length++)
		check_short(&slice, text, length);
	for (size_t i = 0; !why && i < sizeof(lengths) / sizeof(lengths[0]); i++)
		check_long(&slice, text, lengths[i]);
	free(text);
	return 0;
}

size_t fuzz_seed(unsigned i, unsigned char out[FUZZ_INPUT_MAX])
{
	static const char *const texts[] = {
		"0", "-1", ":", "::", "1:5", "-5:-1", ":10:3", "3::7", "2:30:4", "18446744073709551615:",
		"-18446744073709551616:", "::99999999999999999999", "5", "-0:", "+3:", "1:2:3:4", "::0",
		"::-1", " 1", "1e3", "x",
	};

	if (i >= sizeof(texts) / sizeof(texts[0]))
		return 0;
	memcpy(out, texts[i], strlen(texts[i]));
	return strlen(texts[i]);
}
