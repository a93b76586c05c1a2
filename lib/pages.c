/* SPDX-License-Identifier: MIT */
/* A store's data as lazily filled memory: see pages.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pages.h"

#include "crew.h"
#include "hand.h"
#include "pager.h"
#include "planted.h"
#include "strided.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEAST_UNIT ((uint64_t)64 << 10)

struct sde__pages {
	struct sde__reader *reader;
	struct sde_array *array;
	struct sde__holes *holes;	/* the array's */
	bool strict;			/* what is damaged is not filled */
	struct sde__pager *pager;
	uint64_t stride;		/* from one snapshot to the next */
	int64_t strides[3];
	struct sde__hand *hand;		/* [hands], by thread; zeros: not yet */
	unsigned hands;
	unsigned char *edge;		/* whole snapshots of a unit that begins in one */
	size_t edge_room;
};

/* One fill: the snapshots of a range, as they lie in memory. */
struct filling {
	struct sde__pages *pages;
	struct sde__cuts cuts;
	unsigned char *out;
	pthread_mutex_t lock;		/* guards error */
	struct sde_error error;		/* the first that was met */
};

static uint64_t round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

void sde__pages_layout(const struct sde__geometry *geometry, size_t page, uint64_t *stride,
		       uint64_t *unit)
{
	const uint64_t snapshot = sde__snapshot_bytes(geometry), size = geometry->chunk_size;
	/* T * stride is whole pages if stride is a multiple of this (page is 2^k) */
	const uint64_t of_pages = page / (size & -size) ? page / (size & -size) : 1;
	const uint64_t item = sde__dtype_size(geometry->dtype);
	const uint64_t padded = round_up(snapshot, of_pages > item ? of_pages : item);

	if (padded - snapshot <= snapshot / 8) {
		*stride = padded;
		*unit = padded * size;
		*unit *= (LEAST_UNIT - 1) / *unit + 1;
	} else {
		*stride = snapshot;
		*unit = round_up(snapshot * size > LEAST_UNIT ? snapshot * size : LEAST_UNIT, page);
	}
}

/* ------------------------------------------------------------------------
 * Filling
 */

static int take_hand(void *ctx, unsigned thread, void **own, struct sde_error *error)
{
	struct sde__pages *pages = ((struct filling *)ctx)->pages;
	struct sde__hand *hand = &pages->hand[thread];

	(void)error;
	if (!hand->cursor.reader)
		sde__hand_init(hand, pages->reader, pages->holes, pages->strict);
	*own = hand;
	return 0;
}

/* Hands are kept for the next fill. */
static void rest_hand(void *ctx, void *own)
{
	(void)ctx;
	(void)own;
}

static void fill_nan(const struct sde__pages *pages, const struct sde__cut *piece,
		     unsigned char *out)
{
	static const uint64_t nan_64 = UINT64_C(0x7ff8000000000000);
	static const uint32_t nan_32 = UINT32_C(0x7fc00000);
	const size_t item = sde__dtype_size(pages->reader->metadata.geometry.dtype);
	const uint64_t count[3] = { piece->range[0].count, piece->range[1].count,
				    piece->range[2].count };
	const int64_t none[3] = { 0 };

	sde__strided_copy(item, count, out, pages->strides,
			  item == 4 ? (const void *)&nan_32 : &nan_64, none);
}

/* A failure spoils its own piece only: what is there is to be seen. */
static int fill_piece(void *ctx, void *own, uint64_t job, struct sde_error *error)
{
	struct filling *filling = ctx;
	const struct sde__pages *pages = filling->pages;
	unsigned char *out = filling->out;
	struct sde_error why = { 0 };
	struct sde__cut piece;
	int ret;

	(void)error;
	if (!sde__cuts_piece(&filling->cuts, job, &piece))
		return 0;
	for (int i = 0; i < 3; i++)
		out += (int64_t)piece.at[i] * pages->strides[i];
	ret = sde__hand_read(own, &piece, out, pages->strides, &why);
	if (!ret)
		return 0;
	if (!sde__planted("lost-shown-as-zeros"))
		fill_nan(pages, &piece, out);
	pthread_mutex_lock(&filling->lock);
	sde__fail(&filling->error, ret, "%s", why.text);
	pthread_mutex_unlock(&filling->lock);
	return 0;
}

/* Snapshots first .. end - 1 to `out`. */
static int fill_snapshots(struct sde__pages *pages, uint64_t first, uint64_t end,
			  unsigned char *out, struct sde_error *error)
{
	const struct sde__geometry *g = &pages->reader->metadata.geometry;
	const struct sde__range range[3] = { { 0, g->dimension, 1 }, { 0, g->trajectories, 1 },
					     { first, end - first, 1 } };
	struct filling filling = { .pages = pages, .out = out };
	const struct sde__crew crew = { take_hand, fill_piece, rest_hand, &filling };
	int ret;

	pthread_mutex_init(&filling.lock, NULL);
	sde__cuts_make(&filling.cuts, g, range, pages->reader->filed, false);
	ret = sde__crew_run(&crew, pages->hands, filling.cuts.count, error);
	if (filling.error.code)
		ret = sde__fail(error, filling.error.code, "%s", filling.error.text);
	pthread_mutex_destroy(&filling.lock);
	return ret;
}

static void all_nan(const struct sde__pages *pages, void *out, size_t n)
{
	const uint64_t nan = sde__dtype_size(pages->reader->metadata.geometry.dtype) == 4 ?
			     UINT64_C(0x7fc000007fc00000) : UINT64_C(0x7ff8000000000000);

	for (size_t i = 0; i < n; i += sizeof(nan))
		memcpy((unsigned char *)out + i, &nan, n - i < sizeof(nan) ? n - i : sizeof(nan));
}

static int fill(void *ctx, uint64_t offset, size_t n, void *out, struct sde_error *error)
{
	struct sde__pages *pages = ctx;
	const uint64_t first = offset / pages->stride, skip = offset % pages->stride;
	const uint64_t end = (offset + n - 1) / pages->stride + 1;
	size_t bytes;
	int ret;

	if (!skip && n % pages->stride == 0)
		return fill_snapshots(pages, first, end, out, error);
	bytes = (size_t)((end - first) * pages->stride);
	if (pages->edge_room < bytes) {
		free(pages->edge);
		pages->edge = malloc(bytes);
		pages->edge_room = pages->edge ? bytes : 0;
	}
	if (!pages->edge) {
		all_nan(pages, out, n);
		return sde__fail(error, -ENOMEM, "out of memory");
	}
	ret = fill_snapshots(pages, first, end, pages->edge, error);
	memcpy(out, pages->edge + skip, n);
	return ret;
}

static void failed(void *ctx, const struct sde_error *error)
{
	const struct sde__pages *pages = ctx;

	sde__array_note(pages->array, error, error->code);
}

/* ------------------------------------------------------------------------
 * Beginning and end
 */

static int pages_begin(struct sde__pages *pages, const struct sde_map_options *options,
		       size_t budget, struct sde_error *error)
{
	const struct sde__reader *reader = pages->reader;
	const struct sde__geometry *g = &reader->metadata.geometry;
	struct sde__pager_source source = { .fill = fill, .failed = failed, .ctx = pages,
					    .name = reader->home.path };
	uint64_t unit;

	sde__pages_layout(g, (size_t)sysconf(_SC_PAGESIZE), &pages->stride, &unit);
	pages->strides[1] = (int64_t)sde__dtype_size(g->dtype);
	pages->strides[0] = pages->strides[1] * (int64_t)g->trajectories;
	pages->strides[2] = (int64_t)pages->stride;
	if (__builtin_mul_overflow(pages->stride, reader->snapshots, &source.bytes) ||
	    source.bytes > PTRDIFF_MAX)
		return sde__fail(error, -ENOMEM, "'%s' takes more addresses than there are",
				 reader->home.path);
	source.unit = (size_t)unit;
	pages->hands = reader->threads ? reader->threads : 1;
	pages->hand = calloc(pages->hands, sizeof(*pages->hand));
	if (!pages->hand)
		return sde__fail(error, -ENOMEM, "out of memory");
	return sde__pager_new(&pages->pager, &source, budget, options->on_hole == SDE_MAP_HOLE_SIGBUS,
			      options->paging, error);
}

int sde__pages_new(struct sde__pages **out, struct sde__reader *reader, struct sde_array *array,
		   struct sde__holes *holes, const struct sde_map_options *options, size_t budget,
		   int64_t strides[3], struct sde_error *error)
{
	struct sde__pages *pages = calloc(1, sizeof(*pages));
	int ret;

	*out = NULL;
	if (!pages)
		return sde__fail(error, -ENOMEM, "out of memory");
	pages->reader = sde__reader_ref(reader);
	pages->array = array;
	pages->holes = holes;
	pages->strict = options->on_hole == SDE_MAP_HOLE_SIGBUS;
	ret = pages_begin(pages, options, budget, error);
	if (ret) {
		sde__pages_free(pages);
		return ret;
	}
	memcpy(strides, pages->strides, sizeof(pages->strides));
	*out = pages;
	return 0;
}

void sde__pages_free(struct sde__pages *pages)
{
	if (!pages)
		return;
	/* first: its thread fills */
	sde__pager_free(pages->pager);
	for (unsigned i = 0; pages->hand && i < pages->hands; i++)
		sde__hand_free(&pages->hand[i]);
	free(pages->hand);
	free(pages->edge);
	sde__reader_unref(pages->reader);
	free(pages);
}

const void *sde__pages_base(const struct sde__pages *pages)
{
	return sde__pager_base(pages->pager);
}

int sde__pages_hold(struct sde__pages *pages, const struct sde__range range[3],
		    enum sde__hold hold, struct sde_error *error)
{
	uint64_t from = 0, to = (uint64_t)pages->strides[1];

	for (int i = 0; i < 3; i++) {
		from += range[i].start * (uint64_t)pages->strides[i];
		to += (range[i].start + range[i].count - 1) * (uint64_t)pages->strides[i];
	}
	if (hold == SDE__HOLD_PIN)
		return sde__pager_pin(pages->pager, from, to, error);
	if (hold == SDE__HOLD_UNPIN)
		return sde__pager_unpin(pages->pager, from, to, error);
	sde__pager_prefetch(pages->pager, from, to);
	return 0;
}
