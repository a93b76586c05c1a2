/* SPDX-License-Identifier: MIT */
/*
 * The table of deflate engines, and the choice between speed and size block by
 * block.
 *
 * The mantissas of simulated numbers are noise: there is nothing to match, and all
 * that deflate gains is a Huffman code of the bytes. ISA-L's level 1 finds it at
 * about 1100 MB/s a core, zlib's run-length strategy at about 90 (zlib 6, which NumPy
 * uses: 31), both 0.2 % *smaller* than zlib 6. Two kinds of numbers want more:
 *
 * - Where neighbours resemble each other (a trajectory in C order with a small dt), a
 *   new code every few KiB pays, 0.6 to 1.5 %: zlib does that anyway, ISA-L does
 *   when its buffer is small, at about 300 MB/s.
 * - Where numbers repeat (rounded ones, few distinct ones, a float32 in a float64,
 *   times), searching pays, up to 30 %: that is what zlib 6 is then for.
 *
 * What pays is tried on a sample of the block.
 */
#include "deflate.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>
#ifdef SDE_HAVE_ISAL
#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#endif

const unsigned char sde__deflate_end[SDE__DEFLATE_END_SIZE] = { 0x03, 0x00 };

/* NumPy's: what our file must not be larger than. */
#define SEARCH_LEVEL 6
/* zlib's numbers for a raw stream, its largest window and its default memory */
#define RAW_WINDOW (-15)
#define MEMORY_LEVEL 8

/* From the middle of a block, for trials; one coarse code's share. A block that is
 * not larger than two has no trials: it is done in all ways that may pay. */
#define SAMPLE ((size_t)64 << 10)
/* What costs more time must gain more than 1 / 1024 there. */
#define GAIN_DIVISOR 1024
/* A block that shrank by less than 1 / 8 is noise: no search is tried there. */
#define NOISE_DIVISOR 8

/* Puts out a block, flushed, into `room` bytes. */
typedef int encode_function(struct sde__deflater *deflater, const unsigned char *raw,
			    size_t raw_size, unsigned char *out, size_t room, size_t *out_size);

struct sde__deflate_engine {
	const char *name;
	int (*open)(struct sde__deflater *deflater);
	void (*close)(struct sde__deflater *deflater);
	encode_function *coarse;
	encode_function *fine;		/* NULL: there is no such choice */
};

struct igzip;

struct sde__deflater {
	const struct sde__deflate_engine *engine;
	z_stream search;		/* zlib at SEARCH_LEVEL */
	bool has_search;
	z_stream runs;			/* of engine "zlib" */
	bool has_runs;
	struct igzip *igzip;		/* of engine "igzip" */
	unsigned char *scratch;		/* the other candidate: the bound of a block */
};

/* ------------------------------------------------------------------------
 * zlib
 */

static int zlib_open(z_stream *stream, bool *opened, int level, int strategy)
{
	memset(stream, 0, sizeof(*stream));
	if (deflateInit2(stream, level, Z_DEFLATED, RAW_WINDOW, MEMORY_LEVEL, strategy) != Z_OK)
		return -ENOMEM;
	*opened = true;
	return 0;
}

static int zlib_block(z_stream *stream, const unsigned char *raw, size_t raw_size,
		      unsigned char *out, size_t room, size_t *out_size)
{
	if (deflateReset(stream) != Z_OK)
		return SDE_E_CODEC;
	stream->next_in = raw;
	stream->avail_in = (uInt)raw_size;
	stream->next_out = out;
	stream->avail_out = (uInt)room;
	/* room left over is how zlib says that the flush is complete */
	if (deflate(stream, Z_FULL_FLUSH) != Z_OK || stream->avail_in || !stream->avail_out)
		return SDE_E_CODEC;
	*out_size = room - stream->avail_out;
	return 0;
}

static int runs_open(struct sde__deflater *d)
{
	return zlib_open(&d->runs, &d->has_runs, 1, Z_RLE);
}

static void runs_close(struct sde__deflater *d)
{
	if (d->has_runs)
		deflateEnd(&d->runs);
}

static int runs_encode(struct sde__deflater *d, const unsigned char *raw, size_t raw_size,
		     unsigned char *out, size_t room, size_t *out_size)
{
	return zlib_block(&d->runs, raw, raw_size, out, room, out_size);
}

/* ------------------------------------------------------------------------
 * ISA-L
 */

#ifdef SDE_HAVE_ISAL
#define COARSE_TOKENS (64u << 10)
#define FINE_TOKENS (6u << 10)

/* 80 KiB that a thread's stack may not have, and what level 1 works with. */
struct igzip {
	struct isal_zstream stream;
	unsigned char level_buffer[ISAL_DEF_LVL1_REQ + ISAL_DEF_LVL1_TOKEN_SIZE * COARSE_TOKENS];
};

static int igzip_open(struct sde__deflater *d)
{
	d->igzip = calloc(1, sizeof(*d->igzip));
	return d->igzip ? 0 : -ENOMEM;
}

static void igzip_close(struct sde__deflater *d)
{
	free(d->igzip);
}

/* A new code comes whenever the buffer for `tokens` literals and matches is full. */
static int igzip_encode(struct sde__deflater *d, uint32_t tokens, const unsigned char *raw,
			size_t raw_size, unsigned char *out, size_t room, size_t *out_size)
{
	struct isal_zstream *stream = &d->igzip->stream;

	isal_deflate_stateless_init(stream);
	/* init leaves this one alone, and the size of the window comes from it */
	stream->hist_bits = 0;
	stream->level = 1;
	stream->level_buf = d->igzip->level_buffer;
	stream->level_buf_size = ISAL_DEF_LVL1_REQ + ISAL_DEF_LVL1_TOKEN_SIZE * tokens;
	stream->flush = FULL_FLUSH;
	/* it does not write there: the header has no const */
	stream->next_in = (uint8_t *)(uintptr_t)raw;
	stream->avail_in = (uint32_t)raw_size;
	stream->next_out = out;
	stream->avail_out = (uint32_t)room;
	if (isal_deflate_stateless(stream) != COMP_OK || stream->avail_in)
		return SDE_E_CODEC;
	*out_size = stream->total_out;
	return 0;
}

static int igzip_coarse(struct sde__deflater *d, const unsigned char *raw, size_t raw_size,
			unsigned char *out, size_t room, size_t *out_size)
{
	return igzip_encode(d, COARSE_TOKENS, raw, raw_size, out, room, out_size);
}

static int igzip_fine(struct sde__deflater *d, const unsigned char *raw, size_t raw_size,
		      unsigned char *out, size_t room, size_t *out_size)
{
	return igzip_encode(d, FINE_TOKENS, raw, raw_size, out, room, out_size);
}
#endif

/* ------------------------------------------------------------------------
 * The table, best first
 */

static const struct sde__deflate_engine engines[] = {
#ifdef SDE_HAVE_ISAL
	{ "igzip", igzip_open, igzip_close, igzip_coarse, igzip_fine },
#endif
	{ "zlib", runs_open, runs_close, runs_encode, NULL },
};

const struct sde__deflate_engine *sde__deflate_engine(const char *name)
{
	if (!name)
		return &engines[0];
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (!strcmp(engines[i].name, name))
			return &engines[i];
	return NULL;
}

const char *sde__deflate_engine_name(const struct sde__deflate_engine *engine)
{
	return engine->name;
}

int sde__deflater_create(struct sde__deflater **out, const struct sde__deflate_engine *engine)
{
	struct sde__deflater *d = calloc(1, sizeof(*d));
	int ret;

	if (!d)
		return -ENOMEM;
	d->engine = engine;
	d->scratch = malloc(sde__deflate_bound(SDE__DEFLATE_BLOCK));
	ret = d->scratch ? 0 : -ENOMEM;
	if (!ret)
		ret = zlib_open(&d->search, &d->has_search, SEARCH_LEVEL, Z_DEFAULT_STRATEGY);
	if (!ret)
		ret = engine->open(d);
	if (ret) {
		sde__deflater_destroy(d);
		return ret;
	}
	*out = d;
	return 0;
}

void sde__deflater_destroy(struct sde__deflater *d)
{
	if (!d)
		return;
	d->engine->close(d);
	if (d->has_search)
		deflateEnd(&d->search);
	free(d->scratch);
	free(d);
}

/*
 * Both libraries store what does not shrink, at 5 bytes for each stored block; of
 * zlib's, the smallest are of 16383 bytes with this memory level. The rest is for
 * the flush and for what either leaves unused at the end.
 */
size_t sde__deflate_bound(size_t raw_size)
{
	return raw_size + raw_size / 1024 + 512;
}

/* ------------------------------------------------------------------------
 * One block
 */

static int search_encode(struct sde__deflater *d, const unsigned char *raw, size_t raw_size,
			 unsigned char *out, size_t room, size_t *out_size)
{
	return zlib_block(&d->search, raw, raw_size, out, room, out_size);
}

/* Does `dear` gain enough over `cheap`, on the sample? */
static int pays(struct sde__deflater *d, encode_function *dear, encode_function *cheap,
		const unsigned char *raw, size_t raw_size, bool *does)
{
	const unsigned char *sample = raw + (raw_size - SAMPLE) / 2;
	const size_t room = sde__deflate_bound(SAMPLE);
	size_t by_cheap, by_dear;
	int ret;

	ret = cheap(d, sample, SAMPLE, d->scratch, room, &by_cheap);
	if (!ret)
		ret = dear(d, sample, SAMPLE, d->scratch, room, &by_dear);
	if (!ret)
		*does = by_dear + by_cheap / GAIN_DIVISOR < by_cheap;
	return ret;
}

/* Encode the block once more, and keep that if it is smaller. */
static int improve(struct sde__deflater *d, encode_function *encode, const unsigned char *raw,
		   size_t raw_size, unsigned char *out, size_t *out_size)
{
	size_t size;
	const int ret = encode(d, raw, raw_size, d->scratch, sde__deflate_bound(raw_size), &size);

	if (!ret && size < *out_size) {
		memcpy(out, d->scratch, size);
		*out_size = size;
	}
	return ret;
}

int sde__deflate_block(struct sde__deflater *d, const void *raw, size_t raw_size, void *out,
		       size_t *out_size)
{
	const struct sde__deflate_engine *engine = d->engine;
	const size_t room = sde__deflate_bound(raw_size);
	const bool trials = raw_size > 2 * SAMPLE;
	bool fine = engine->fine != NULL, search = true;
	encode_function *encode;
	int ret = 0;

	if (raw_size > SDE__DEFLATE_BLOCK)
		return -EINVAL;
	*out_size = 0;
	if (!raw_size)
		return 0;
	if (trials && fine)
		ret = pays(d, engine->fine, engine->coarse, raw, raw_size, &fine);
	encode = trials && fine ? engine->fine : engine->coarse;
	if (!ret)
		ret = encode(d, raw, raw_size, out, room, out_size);
	if (!ret && !trials && fine)
		ret = improve(d, engine->fine, raw, raw_size, out, out_size);
	if (ret || *out_size >= raw_size - raw_size / NOISE_DIVISOR)
		return ret;
	if (trials)
		ret = pays(d, search_encode, engine->coarse, raw, raw_size, &search);
	return ret || !search ? ret : improve(d, search_encode, raw, raw_size, out, out_size);
}

/* ------------------------------------------------------------------------
 * CRC-32
 */

uint32_t sde__crc32(uint32_t crc, const void *bytes, size_t size)
{
#ifdef SDE_HAVE_ISAL
	return crc32_gzip_refl(crc, bytes, size);
#else
	return (uint32_t)crc32_z(crc, bytes, size);
#endif
}

uint32_t sde__crc32_join(uint32_t a, uint32_t b, size_t b_size)
{
	return (uint32_t)crc32_combine(a, b, (z_off_t)b_size);
}
