/* SPDX-License-Identifier: MIT */
/* What a thread reads pieces with: see hand.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hand.h"

#include "inner.h"
#include "strided.h"

#include <stdlib.h>
#include <string.h>

void sde__hand_init(struct sde__hand *hand, struct sde__reader *reader, struct sde__holes *holes,
		    bool strict)
{
	memset(hand, 0, sizeof(*hand));
	sde__cursor_init(&hand->cursor, reader);
	hand->cursor.holes = holes;
	hand->cursor.strict = strict;
}

void sde__hand_free(struct sde__hand *hand)
{
	sde__cursor_free(&hand->cursor);
	free(hand->inner);
	hand->inner = NULL;
}

bool sde__hand_can_show(const struct sde__hand *hand, const struct sde__cut *piece)
{
	const struct sde__range *r = &piece->range[1];

	return piece->filed && (r->start + (r->count - 1) * r->step) /
	       hand->cursor.file.geometry.inner_width == piece->inner;
}

int sde__hand_show(struct sde__hand *hand, const struct sde__cut *piece,
		   const unsigned char **first, int64_t strides[3], struct sde_error *error)
{
	const struct sde__geometry *g = &hand->cursor.file.geometry;
	const struct sde__range *r = piece->range;
	const uint64_t inside = r[2].start - piece->chunk * g->chunk_size;
	int ret;

	ret = sde__reader_inner(&hand->cursor, piece->chunk,
				inside + (r[2].count - 1) * r[2].step + 1, piece->inner,
				&hand->inner, error);
	if (ret)
		return ret;
	sde__inner_strides(g, SDE__INNER_STORED, strides);
	*first = (const unsigned char *)hand->inner + (int64_t)r[0].start * strides[0] +
		 (int64_t)(r[1].start - piece->inner * g->inner_width) * strides[1] +
		 (int64_t)inside * strides[2];
	return 0;
}

/* A read knows what becomes of damage; with a cursor that keeps nothing. */
static int read_anew(const struct sde__hand *hand, const struct sde__cut *piece, void *out,
		     const int64_t strides[3], struct sde_error *error)
{
	struct sde__hand fresh;
	int ret;

	sde__hand_init(&fresh, hand->cursor.reader, hand->cursor.holes, hand->cursor.strict);
	ret = sde__reader_data(&fresh.cursor, piece->range, out, strides, error);
	sde__hand_free(&fresh);
	return ret;
}

/* A piece of one inner chunk: decoded where it belongs, if it lies like that there. */
static int read_inner(struct sde__hand *hand, const struct sde__cut *piece, void *out,
		      const int64_t strides[3], struct sde_error *error)
{
	const struct sde__geometry *g = &hand->cursor.file.geometry;
	const struct sde__range *r = piece->range;
	const uint64_t count[3] = { r[0].count, r[1].count, r[2].count };
	const unsigned char *first;
	int64_t from[3];
	int ret;

	if (sde__inner_is_like(g, count, strides))
		return sde__reader_inner(&hand->cursor, piece->chunk, g->chunk_size, piece->inner,
					 &out, error);
	ret = sde__hand_show(hand, piece, &first, from, error);
	if (ret)
		return ret;
	for (int i = 0; i < 3; i++)
		from[i] *= (int64_t)r[i].step;
	sde__strided_copy(sde__dtype_size(g->dtype), count, out, strides, first, from);
	return 0;
}

int sde__hand_read(struct sde__hand *hand, const struct sde__cut *piece, void *out,
		   const int64_t strides[3], struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret = SDE_E_HOLE;

	if (sde__hand_can_show(hand, piece))
		ret = read_inner(hand, piece, out, strides, &why);
	if (ret && sde__is_damage(ret))
		return read_anew(hand, piece, out, strides, error);
	return ret ? sde__fail(error, ret, "%s", why.text) : 0;
}
