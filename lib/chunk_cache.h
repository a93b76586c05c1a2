/* SPDX-License-Identifier: MIT */
/*
 * Decoded inner chunks, shared by all handles of a storage: the least recently
 * used one makes room.
 *
 * A block is found by what it is, not by where: chunk, inner chunk, and the epoch
 * and number of snapshots of the file it came from. A file that replaced another
 * differs in one of these, so nothing is ever invalidated; what is not asked for any
 * more grows old.
 *
 * All memory together is at most the budget, and one block for each thread that
 * is reading. Any number of threads at once.
 */
#ifndef SDE_LIB_CHUNK_CACHE_H
#define SDE_LIB_CHUNK_CACHE_H

#include "inner.h"

#include <stddef.h>
#include <stdint.h>

struct sde__chunk_cache;

struct sde__chunk_key {
	uint64_t chunk, inner, epoch, count;
};

/* raw is `block_bytes` long and does not change while somebody holds the block. */
struct sde__chunk_block {
	void *raw;
	enum sde__inner_order order;	/* of raw: set by whom it was taken by */
	struct sde__chunk_key key;
	unsigned holders;
	int linked;
	struct sde__chunk_block *chain, *newer, *older;
};

/* At least one block must fit into `bytes`. -ENOMEM. One reference. */
int sde__chunk_cache_new(struct sde__chunk_cache **out, size_t bytes, size_t block_bytes);
struct sde__chunk_cache *sde__chunk_cache_ref(struct sde__chunk_cache *cache);
void sde__chunk_cache_unref(struct sde__chunk_cache *cache);	/* accepts NULL */

/* A block to hold, or NULL if it is not there. */
struct sde__chunk_block *sde__chunk_cache_find(struct sde__chunk_cache *cache,
					       const struct sde__chunk_key *key);

/* A block to decode into, which nobody else sees yet; NULL: no memory. */
struct sde__chunk_block *sde__chunk_cache_take(struct sde__chunk_cache *cache);

/* It is decoded: let others find it. It is still held. */
void sde__chunk_cache_put(struct sde__chunk_cache *cache, struct sde__chunk_block *block,
			  const struct sde__chunk_key *key);

/* What find or take gave is not needed any more. */
void sde__chunk_cache_release(struct sde__chunk_cache *cache, struct sde__chunk_block *block);

#endif
