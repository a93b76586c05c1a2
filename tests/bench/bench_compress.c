/* SPDX-License-Identifier: MIT */
/* Ratios and rates of codecs and keepbits on the paths of the double well. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pieces.h"

#include <blosc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct way {
	const char *name;
	enum sde_codec codec;
	unsigned keepbits;
} ways[] = {
	{ "blosc-lz4-bitshuffle", SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 0 },
	{ "lz4", SDE_CODEC_LZ4, 0 }, { "none", SDE_CODEC_NONE, 0 },
	{ "keepbits 22", SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 22 },
	{ "keepbits 16", SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 16 },
	{ "keepbits 10", SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 10 },
	{ "keepbits 7", SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, 7 },
};
#define WAYS (sizeof(ways) / sizeof(ways[0]))

/*
 * The ratio of blosc's own call on the last inner chunk that was gathered, with the
 * settings of numcodecs.Blosc("lz4", clevel=5, shuffle=BITSHUFFLE), and ours of the
 * same bytes.
 */
static double plain_ratio(struct pieces *p, double *ours)
{
	const size_t n = sde__inner_bytes(&p->config.layout.geometry);
	void *out = malloc(n + BLOSC_MAX_OVERHEAD);
	size_t size;
	int theirs;

	if (!out || sde__codec_decode(&p->config.codec, p->encoded, p->size[0], p->raw, n, NULL))
		die("compress", "cannot decode");
	theirs = blosc_compress_ctx(5, BLOSC_BITSHUFFLE, p->config.codec.item, n, p->raw, out,
				    n + BLOSC_MAX_OVERHEAD, "lz4", 0, 1);
	if (sde__codec_encode(&p->config.codec, p->raw, n, p->encoded, &size) || theirs <= 0)
		die("compress", "cannot encode");
	free(out);
	*ours = (double)n / (double)size;
	return (double)n / (double)theirs;
}

static void one_load(const struct settings *s, const struct load *load, struct table *table)
{
	struct pieces pieces[WAYS];
	struct pool pool;

	pool_fill(&pool, load, load->chunk_size);
	for (size_t i = 0; i < WAYS; i++) {
		struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;

		o.chunk_size = load->chunk_size;
		o.codec = ways[i].codec;
		o.keepbits = ways[i].keepbits;
		pieces_begin(&pieces[i], load, &o, &pool);
	}
	for (unsigned round = 0; round < s->rounds; round++)
		for (size_t i = 0; i < WAYS; i++)
			pieces_round(&pieces[i]);
	for (size_t i = 0; i < WAYS; i++) {
		struct pieces *p = &pieces[i];
		double ours;
		const double plain = plain_ratio(p, &ours);

		TABLE_ROW(table, TEXT("load", load->name), TEXT("way", ways[i].name),
			  NUMBER("ratio", "", p->ratio), NUMBER("inner_ratio", "", ours),
			  NUMBER("numcodecs_ratio", "", plain),
			  NUMBER("kept_raw", "%", p->raw_share),
			  NUMBER("gather", "GB/s", samples_median(&p->gather)),
			  NUMBER("encode", "GB/s", samples_median(&p->encode)),
			  NUMBER("libblosc_encode", "GB/s", samples_median(&p->blosc_encode)),
			  NUMBER("decode", "GB/s", samples_median(&p->decode)),
			  NUMBER("libblosc_decode", "GB/s", samples_median(&p->blosc_decode)));
	}
	for (size_t i = 0; i < WAYS; i++)
		pieces_end(&pieces[i]);
	pool_free(&pool);
}

int main(int argc, char *argv[])
{
	const struct settings s = settings_parse(argc, argv);
	struct table table;

	table_begin(&table, &s, "compress",
		    "one thread; numcodecs_ratio: blosc by itself, its settings, of one inner chunk");
	one_load(&s, &loads[0], &table);
	one_load(&s, &loads[4], &table);
	return 0;
}
