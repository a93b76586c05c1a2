/* SPDX-License-Identifier: MIT */
/* Agreeing, made of giving and of taking the least: see accord.h. */
#include "accord.h"

#define ALIKE_MAX 32

static void give_alone(void *ctx, int from, void *bytes, size_t n)
{
	(void)ctx, (void)from, (void)bytes, (void)n;
}

static void least_alone(void *ctx, uint64_t *values, size_t n)
{
	(void)ctx, (void)values, (void)n;
}

const struct sde__accord sde__accord_alone = {
	.size = 1, .give = give_alone, .least = least_alone,
};

/* The lowest rank of which it is true; size if it is of none. */
static int lowest(const struct sde__accord *a, bool is)
{
	uint64_t rank = (uint64_t)(is ? a->rank : a->size);

	a->least(a->ctx, &rank, 1);
	return (int)rank;
}

int sde__accord_agree(const struct sde__accord *accord, const struct sde_error *own,
		      struct sde_error *error)
{
	const int failed = lowest(accord, own->code != 0);
	struct sde_error theirs = *own;

	if (failed == accord->size)
		return 0;
	if (accord->size == 1)
		return sde__fail(error, own->code, "%s", own->text);
	accord->give(accord->ctx, failed, &theirs, sizeof(theirs));
	return sde__fail(error, theirs.code, "rank %d: %s", failed, theirs.text);
}

int sde__accord_alike(const struct sde__accord *accord, const struct sde__alike *things, size_t n,
		      int code, struct sde_error *error)
{
	uint64_t ends[2 * ALIKE_MAX], first;
	int other;

	for (size_t i = 0; i < n; i++) {
		ends[2 * i] = things[i].value;
		ends[2 * i + 1] = ~things[i].value;
	}
	accord->least(accord->ctx, ends, 2 * n);
	for (size_t i = 0; i < n; i++) {
		/* the greatest is the complement of the least complement */
		if (ends[2 * i] == ~ends[2 * i + 1])
			continue;
		first = things[i].value;
		accord->give(accord->ctx, 0, &first, sizeof(first));
		other = lowest(accord, things[i].value != first);
		return sde__fail(error, code, "rank %d has another %s than rank 0", other,
				 things[i].what);
	}
	return 0;
}

uint64_t sde__accord_print(const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
	return hash;
}
