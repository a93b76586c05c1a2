/* SPDX-License-Identifier: MIT */
/*
 * Strided copies of three-dimensional blocks. Guards the bytes (it moves bits and never
 * computes with floating-point numbers: NaN payloads and -0.0 pass) and the memory
 * bandwidth: every cache line on either side is to be moved about once, also when
 * numbers are rounded on the way.
 */
#include "strided.h"

#include "rounding.h"

#include <stdbool.h>
#include <string.h>

#define CACHE_LINE 64	/* bytes */

/* Rows up to this are copied item by item: a call to memcpy costs more. */
#define SHORT_ROW 64	/* bytes */

#define ALWAYS_INLINE SDE__ALWAYS_INLINE

/*
 * The inner loops run over a line of constant length. At -O2 gcc does not unroll them by
 * itself and then takes twice the instructions; clang does, and takes more when told to.
 */
#if defined(__GNUC__) && !defined(__clang__)
#define UNROLL _Pragma("GCC unroll 16")
#else
#define UNROLL
#endif

/* One axis of a block: its length, and its strides in bytes. */
struct axis {
	uint64_t count;
	int64_t to, from;
};

static ALWAYS_INLINE uint64_t distance(int64_t stride)
{
	return stride < 0 ? 0 - (uint64_t)stride : (uint64_t)stride;
}

/* i * stride bytes from base; the address is in the block, so this cannot overflow. */
static ALWAYS_INLINE char *at(char *base, uint64_t i, int64_t stride)
{
	return base + (int64_t)i * stride;
}

static ALWAYS_INLINE const char *at_const(const char *base, uint64_t i, int64_t stride)
{
	return base + (int64_t)i * stride;
}

/* ------------------------------------------------------------------------
 * Rounding
 */

/* At most a line of numbers from one place to another, rounded. */
static ALWAYS_INLINE void round_items(size_t item, const struct sde__rounding *r, struct axis x,
				      char *restrict to, const char *restrict from)
{
	union {
		sde__vector8 eight[CACHE_LINE / SDE__ROUNDING_VECTOR];
		sde__vector4 four[CACHE_LINE / SDE__ROUNDING_VECTOR];
		char bytes[CACHE_LINE];
	} line;

	/* put together in memory item by item, a vector would have to wait for its parts */
	if (x.count == CACHE_LINE / item && x.from == (int64_t)item) {
		memcpy(&line, from, sizeof(line));
	} else {
		memset(&line, 0, sizeof(line));
		for (uint64_t i = 0; i < x.count; i++)
			memcpy(line.bytes + i * item, at_const(from, i, x.from), item);
	}
	UNROLL
	for (unsigned i = 0; i < CACHE_LINE / SDE__ROUNDING_VECTOR; i++)
		if (item == 8)
			sde__round8(&line.eight[i], r);
		else
			sde__round4(&line.four[i], r);
	UNROLL
	for (uint64_t i = 0; i < x.count; i++)
		memcpy(at(to, i, x.to), line.bytes + i * item, item);
}

/* ------------------------------------------------------------------------
 * Kernels. `item` is a constant wherever these are inlined, and so is whether there
 * is a rounding (`r` not NULL).
 */

static ALWAYS_INLINE void round_row(size_t item, const struct sde__rounding *r, struct axis x,
				    char *restrict to, const char *restrict from)
{
	const uint64_t width = CACHE_LINE / item;
	const int64_t step = (int64_t)item;
	struct axis line = { width, x.to, x.from };
	uint64_t i = 0;

	if (x.to == step && x.from == step)
		for (; x.count - i >= width; i += width)
			round_items(item, r, (struct axis){ width, step, step }, to + i * item,
				    from + i * item);
	for (; i < x.count; i += width) {
		line.count = x.count - i < width ? x.count - i : width;
		round_items(item, r, line, at(to, i, x.to), at_const(from, i, x.from));
	}
}

/* One row: the axis is the fastest on both sides. */
static ALWAYS_INLINE void copy_row(size_t item, const struct sde__rounding *r, struct axis x,
				   char *restrict to, const char *restrict from)
{
	if (r) {
		round_row(item, r, x, to, from);
		return;
	}
	if (x.to == (int64_t)item && x.from == (int64_t)item) {
		if (x.count * item > SHORT_ROW) {
			memcpy(to, from, x.count * item);
			return;
		}
		for (size_t i = 0; i < x.count; i++)
			memcpy(to + i * item, from + i * item, item);
		return;
	}
	for (uint64_t i = 0; i < x.count; i++)
		memcpy(at(to, i, x.to), at_const(from, i, x.from), item);
}

/*
 * One tile: `a` is the fastest axis of `to`, `b` of `from`. A row on the side of
 * the far streams (one cache line of a whole tile) is used up or filled at once,
 * so that only the lines of the other side have to stay: strides that are
 * multiples of 4 KiB put all lines of a side into one set of the L1 cache.
 */
static ALWAYS_INLINE void copy_tile(size_t item, const struct sde__rounding *r, bool a_outermost,
				    struct axis a, struct axis b, char *restrict to,
				    const char *restrict from)
{
	struct axis x = a_outermost ? a : b, y = a_outermost ? b : a;

	for (uint64_t i = 0; i < x.count; i++) {
		char *t = at(to, i, x.to);
		const char *f = at_const(from, i, x.from);

		if (r) {
			round_items(item, r, y, t, f);
			continue;
		}
		UNROLL
		for (uint64_t j = 0; j < y.count; j++)
			memcpy(at(t, j, y.to), at_const(f, j, y.from), item);
	}
}

/* ------------------------------------------------------------------------
 * Plans
 */

/*
 * A block whose fastest axes differ. In both directions one side is a handful
 * of far-apart streams (the slots: each snapshot its own pages), so the axis that
 * is slowest on either side is blocked outermost and the other runs through:
 * `width` streams that the hardware can prefetch, each read or written once.
 */
struct plan {
	struct axis a;		/* fastest of `to` */
	struct axis b;		/* fastest of `from` */
	struct axis c;		/* the third */
	bool a_outermost;	/* blocks of a around blocks of b, or the reverse */
	bool c_innermost;	/* c within the two, or between them */
};

/* All tiles along c, k ... k_end, at (i, j). */
static ALWAYS_INLINE void copy_tiles(size_t item, const struct sde__rounding *r,
				     const struct plan *p, uint64_t i, uint64_t j, uint64_t k,
				     uint64_t k_end, char *restrict to, const char *restrict from)
{
	const uint64_t width = CACHE_LINE / item;
	const int64_t step = (int64_t)item;
	struct axis a = p->a, b = p->b;
	bool whole = a.count - i >= width && b.count - j >= width &&
		     a.to == step && b.from == step;

	to = at(at(to, i, a.to), j, b.to);
	from = at_const(at_const(from, i, a.from), j, b.from);
	a.count = a.count - i < width ? a.count - i : width;
	b.count = b.count - j < width ? b.count - j : width;
	for (; k < k_end; k++) {
		char *t = at(to, k, p->c.to);
		const char *f = at_const(from, k, p->c.from);

		/* the same call with constants, for the compiler to unroll */
		if (whole && p->a_outermost)
			copy_tile(item, r, true, (struct axis){ width, step, a.from },
				  (struct axis){ width, b.to, step }, t, f);
		else if (whole)
			copy_tile(item, r, false, (struct axis){ width, step, a.from },
				  (struct axis){ width, b.to, step }, t, f);
		else
			copy_tile(item, r, p->a_outermost, a, b, t, f);
	}
}

static ALWAYS_INLINE void run_plan(size_t item, const struct sde__rounding *r, const struct plan *p,
				   char *restrict to, const char *restrict from)
{
	const uint64_t width = CACHE_LINE / item;
	uint64_t outer = p->a_outermost ? p->a.count : p->b.count;
	uint64_t inner = p->a_outermost ? p->b.count : p->a.count;
	uint64_t middle = p->c_innermost ? 1 : p->c.count;

	for (uint64_t x = 0; x < outer; x += width)
		for (uint64_t k = 0; k < middle; k++)
			for (uint64_t y = 0; y < inner; y += width)
				copy_tiles(item, r, p, p->a_outermost ? x : y,
					   p->a_outermost ? y : x, k,
					   p->c_innermost ? p->c.count : k + 1, to, from);
}

/* rows[0] is the fastest axis of both sides, rows[2] the slowest. */
static ALWAYS_INLINE void run_rows(size_t item, const struct sde__rounding *r,
				   const struct axis rows[3], char *restrict to,
				   const char *restrict from)
{
	for (uint64_t i = 0; i < rows[2].count; i++) {
		char *t = at(to, i, rows[2].to);
		const char *f = at_const(from, i, rows[2].from);

		for (uint64_t j = 0; j < rows[1].count; j++)
			copy_row(item, r, rows[0], at(t, j, rows[1].to),
				 at_const(f, j, rows[1].from));
	}
}

static uint64_t weight(struct axis x)
{
	uint64_t to = distance(x.to), from = distance(x.from);

	return to > from ? to : from;
}

/* Whether `outer` continues where `inner` ends, on both sides. */
static bool joins(struct axis outer, struct axis inner)
{
	return (uint64_t)outer.to == inner.count * (uint64_t)inner.to &&
	       (uint64_t)outer.from == inner.count * (uint64_t)inner.from;
}

/* Join two of the n axes if any two make one run; returns how many are left. */
static unsigned join_two(struct axis axes[3], unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < n; j++) {
			if (i == j || !joins(axes[i], axes[j]))
				continue;
			axes[j].count *= axes[i].count;
			axes[i] = axes[n - 1];
			return n - 1;
		}
	return n;
}

/*
 * Drop axes of length 1, whose strides mean nothing, and join axes that make one
 * run. Returns how many are left; they come first, behind them axes of length 1.
 */
static unsigned simplify(struct axis axes[3])
{
	unsigned n = 0, before;

	for (unsigned i = 0; i < 3; i++)
		if (axes[i].count > 1)
			axes[n++] = axes[i];
	do {
		before = n;
		n = join_two(axes, n);
	} while (n < before);
	for (unsigned i = n; i < 3; i++)
		axes[i] = (struct axis){ 1, 0, 0 };
	return n;
}

static void swap(struct axis *x, struct axis *y)
{
	struct axis kept = *x;

	*x = *y;
	*y = kept;
}

/*
 * Put the fastest axis of `to` first and, unless it is the same one, the fastest
 * of `from` second. Returns whether it is the same.
 */
static bool order(struct axis axes[3], unsigned n)
{
	unsigned a = 0, b = 0;

	for (unsigned i = 1; i < n; i++)
		if (distance(axes[i].to) < distance(axes[a].to))
			a = i;
	swap(&axes[0], &axes[a]);
	for (unsigned i = 1; i < n; i++)
		if (distance(axes[i].from) < distance(axes[b].from))
			b = i;
	if (b > 0) {
		swap(&axes[1], &axes[b]);
		return false;
	}
	if (n == 3 && weight(axes[2]) < weight(axes[1]))
		swap(&axes[1], &axes[2]);
	return true;
}

static ALWAYS_INLINE void copy_block(size_t item, const struct sde__rounding *r, struct axis axes[3],
				     unsigned n, char *restrict to, const char *restrict from)
{
	struct plan plan;

	if (order(axes, n)) {
		run_rows(item, r, axes, to, from);
		return;
	}
	plan.a = axes[0];
	plan.b = axes[1];
	plan.c = axes[2];
	plan.a_outermost = weight(plan.a) >= weight(plan.b);
	plan.c_innermost = weight(plan.c) < weight(plan.a_outermost ? plan.b : plan.a);
	run_plan(item, r, &plan, to, from);
}

/* The axes of a block, simplified; how many are left, or -1 if it is empty. */
static int axes_of(const uint64_t count[3], const int64_t to[3], const int64_t from[3],
		   struct axis axes[3])
{
	for (unsigned i = 0; i < 3; i++) {
		if (count[i] == 0)
			return -1;
		axes[i] = (struct axis){ count[i], to[i], from[i] };
	}
	return (int)simplify(axes);
}

/*
 * One index along the last axis, and rows that lie together on both sides: a snapshot into
 * a snapshot. They are the most, and small ones are over before a plan is made.
 */
static bool copy_snapshot(size_t item, const uint64_t count[3], void *to,
			  const int64_t to_strides[3], const void *from,
			  const int64_t from_strides[3])
{
	if (count[2] != 1 || to_strides[1] != (int64_t)item || from_strides[1] != (int64_t)item ||
	    count[1] * item <= SHORT_ROW)
		return false;
	for (uint64_t i = 0; i < count[0]; i++)
		memcpy(at(to, i, to_strides[0]), at_const(from, i, from_strides[0]),
		       count[1] * item);
	return true;
}

void sde__strided_copy(size_t item, const uint64_t count[3], void *to,
		       const int64_t to_strides[3], const void *from,
		       const int64_t from_strides[3])
{
	struct axis axes[3];
	int n;

	if (copy_snapshot(item, count, to, to_strides, from, from_strides))
		return;
	n = axes_of(count, to_strides, from_strides, axes);
	if (n < 0)
		return;
	if (item == 8)
		copy_block(8, NULL, axes, (unsigned)n, to, from);
	else
		copy_block(4, NULL, axes, (unsigned)n, to, from);
}

void sde__strided_round(size_t item, unsigned keepbits, const uint64_t count[3], void *to,
			const int64_t to_strides[3], const void *from,
			const int64_t from_strides[3])
{
	const struct sde__rounding r = sde__rounding_to(item, keepbits);
	struct axis axes[3];
	const int n = axes_of(count, to_strides, from_strides, axes);

	if (n < 0)
		return;
	if (item == 8)
		copy_block(8, &r, axes, (unsigned)n, to, from);
	else
		copy_block(4, &r, axes, (unsigned)n, to, from);
}

unsigned sde__mantissa_bits(enum sde_dtype dtype)
{
	return dtype == SDE_FLOAT32 ? 23 : 52;
}

unsigned sde__rounding(enum sde_dtype dtype, unsigned keepbits)
{
	return keepbits < sde__mantissa_bits(dtype) ? keepbits : 0;
}

void sde__round(enum sde_dtype dtype, unsigned keepbits, void *numbers, uint64_t count)
{
	const size_t item = sde__dtype_size(dtype), width = CACHE_LINE / item;
	const int64_t step = (int64_t)item;
	struct sde__rounding r;
	char line[CACHE_LINE];

	if (!keepbits)
		return;
	r = sde__rounding_to(item, keepbits);
	/* by a copy: source and destination of a rounded move do not overlap */
	for (char *p = numbers; count; p += CACHE_LINE) {
		const struct axis x = { count < width ? count : width, step, step };

		memcpy(line, p, x.count * item);
		if (item == 8)
			round_items(8, &r, x, p, line);
		else
			round_items(4, &r, x, p, line);
		count -= x.count;
	}
}
