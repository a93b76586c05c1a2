/* SPDX-License-Identifier: MIT */
/* One chunk in the making, in memory: see shard.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "shard.h"

#include "guard.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Room for one inner chunk, encoded, and zeros up to where the next one begins. */
static size_t part_bytes(const struct sde__slot_layout *layout, const struct sde__codec *codec)
{
	return sde__shard_align(sde__codec_bound(codec, sde__inner_bytes(&layout->geometry)));
}

uint64_t sde__shard_memory(const struct sde__slot_layout *layout, const struct sde__codec *codec)
{
	const struct sde__geometry *g = &layout->geometry;
	const uint64_t inner = sde__inner_count(g);

	return inner * part_bytes(layout, codec) +
	       inner * sizeof(size_t) + 2 * sde__shard_index_bytes(inner) +
	       sde__side_size(g->chunk_size, g->chunk_size * layout->state_capacity);
}

int sde__shard_init(struct sde__shard *shard, const struct sde__home *home,
		    const struct sde__slot_layout *layout, const struct sde__codec *codec,
		    struct sde_error *error)
{
	size_t all;

	memset(shard, 0, sizeof(*shard));
	shard->fd = -1;
	shard->home = home;
	shard->layout = *layout;
	shard->codec = *codec;
	shard->inner_count = sde__inner_count(&layout->geometry);
	shard->part = part_bytes(layout, codec);
	if (__builtin_mul_overflow(shard->part, shard->inner_count, &all))
		return sde__fail(error, -EINVAL, "a chunk is larger than memory can be");
	shard->encoded = aligned_alloc(SDE__SHARD_ALIGN, all);
	shard->size = calloc((size_t)shard->inner_count, sizeof(*shard->size));
	shard->table = malloc(sde__shard_index_bytes(shard->inner_count));
	if (!shard->encoded || !shard->size || !shard->table) {
		sde__shard_free(shard);
		return sde__fail(error, -ENOMEM, "out of memory: a chunk takes %zu bytes to encode",
				 all);
	}
	return 0;
}

void sde__shard_free(struct sde__shard *shard)
{
	/* one that was never begun has no memory either */
	if (shard->encoded)
		sde__shard_drop(shard);
	free(shard->encoded);
	free(shard->size);
	free(shard->table);
	sde__side_free(&shard->side);
	memset(shard, 0, sizeof(*shard));
}

void sde__shard_begin(struct sde__shard *shard, uint64_t index, uint64_t count,
		      const unsigned char *slots)
{
	shard->index = index;
	shard->count = count;
	shard->slots = slots;
	shard->put = 0;
	shard->whole_only = false;
}

/* A copy out of the slots, under the guard if they have one. */
static int from_slots(const struct sde__shard *shard, void (*copy)(void *ctx), void *ctx,
		      struct sde_error *error)
{
	const struct sde__slot_layout *l = &shard->layout;

	if (!shard->guarded)
		copy(ctx);
	else if (sde__guard_run(shard->slots, shard->count * l->slot_size, copy, ctx))
		return sde__fail(error, -EIO,
				 "cannot read 'data/.ring/segment.%u': somebody shortened it, or its device failed",
				 (unsigned)(shard->index % l->segments));
	return 0;
}

struct gathering {
	const struct sde__geometry *geometry;
	const struct sde__slots *slots;
	uint64_t inner;
	void *raw;
};

static void gather(void *ctx)
{
	const struct gathering *g = ctx;

	sde__gather(g->geometry, g->slots, g->inner, g->raw);
}

size_t sde__shard_raw_bytes(const struct sde__slot_layout *layout, const struct sde__codec *codec)
{
	return codec->id == SDE_CODEC_NONE ? part_bytes(layout, codec) :
	       sde__inner_bytes(&layout->geometry);
}

int sde__shard_encode_to(struct sde__shard *shard, uint64_t inner, void *raw, unsigned char *out,
			 struct sde_error *error)
{
	const struct sde__slot_layout *l = &shard->layout;
	const struct sde__slots slots = {
		.payload = shard->slots + l->payload_offset,
		.slot_size = l->slot_size,
		.dimension_stride = l->dimension_stride,
		.trajectory_stride = l->trajectory_stride,
		.count = shard->count,
		.keepbits = shard->codec.keepbits,
	};
	struct gathering gathering = { &l->geometry, &slots, inner, raw };
	const size_t n = sde__inner_bytes(&l->geometry);
	int ret;

	ret = from_slots(shard, gather, &gathering, error);
	if (ret)
		return ret;
	ret = sde__codec_encode(&shard->codec, raw, n, out, &shard->size[inner]);
	return ret ? sde__fail_why(error, ret, "cannot compress inner chunk %" PRIu64 " of chunk %" PRIu64,
				   inner, shard->index) : 0;
}

int sde__shard_encode(struct sde__shard *shard, uint64_t inner, void *raw, struct sde_error *error)
{
	return sde__shard_encode_to(shard, inner, raw, shard->encoded + inner * shard->part, error);
}

struct copying {
	const struct sde__shard *shard;
	unsigned char *heads;
};

/* What lies before the payload of each slot, close together. */
static void copy_heads(void *ctx)
{
	const struct copying *c = ctx;
	const struct sde__slot_layout *l = &c->shard->layout;

	for (uint64_t i = 0; i < c->shard->count; i++)
		memcpy(c->heads + i * l->payload_offset, c->shard->slots + i * l->slot_size,
		       l->payload_offset);
}

int sde__shard_side(struct sde__shard *shard, const struct sde__stamp *stamp,
		    struct sde_error *error)
{
	const uint64_t first = shard->index * shard->layout.geometry.chunk_size;
	struct sde__slot_layout heads = shard->layout;
	struct copying copying = { shard, NULL };
	int ret;

	if (!shard->guarded)
		return sde__side_build(&shard->side, &shard->layout, shard->slots, shard->count,
				       first, stamp->epoch, stamp->run, error);
	/* building allocates, which a fault must not interrupt: copy first */
	heads.slot_size = heads.payload_offset;
	copying.heads = malloc(shard->count * heads.slot_size);
	if (!copying.heads)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = from_slots(shard, copy_heads, &copying, error);
	if (!ret)
		ret = sde__side_build(&shard->side, &heads, copying.heads, shard->count, first,
				      stamp->epoch, stamp->run, error);
	free(copying.heads);
	return ret;
}
