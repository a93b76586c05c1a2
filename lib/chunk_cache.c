/* SPDX-License-Identifier: MIT */
/* Decoded inner chunks, the least recently used one leaves: see chunk_cache.h. */
#include "chunk_cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct sde__chunk_cache {
	unsigned references;		/* atomic */
	size_t block_bytes;
	size_t most;			/* blocks the budget has room for */
	size_t mask;			/* of chains, a power of two less one */
	pthread_mutex_t lock;		/* guards what is below */
	size_t blocks;			/* that exist, linked or held */
	struct sde__chunk_block **chains;
	/* linked blocks by use: a ring through its own head */
	struct sde__chunk_block head;
};

int sde__chunk_cache_new(struct sde__chunk_cache **out, size_t bytes, size_t block_bytes)
{
	struct sde__chunk_cache *cache = calloc(1, sizeof(*cache));
	size_t chains = 16;

	*out = NULL;
	if (!cache)
		return -ENOMEM;
	cache->references = 1;
	cache->block_bytes = block_bytes;
	cache->most = bytes / block_bytes;
	while (chains < cache->most && chains < (size_t)1 << 20)
		chains *= 2;
	cache->mask = chains - 1;
	cache->chains = calloc(chains, sizeof(*cache->chains));
	if (!cache->chains) {
		free(cache);
		return -ENOMEM;
	}
	pthread_mutex_init(&cache->lock, NULL);
	cache->head.newer = cache->head.older = &cache->head;
	*out = cache;
	return 0;
}

struct sde__chunk_cache *sde__chunk_cache_ref(struct sde__chunk_cache *cache)
{
	if (cache)
		__atomic_add_fetch(&cache->references, 1, __ATOMIC_RELAXED);
	return cache;
}

static struct sde__chunk_block **chain_of(struct sde__chunk_cache *cache,
					  const struct sde__chunk_key *key)
{
	uint64_t hash = key->chunk * 0x9e3779b97f4a7c15u ^ key->inner * 0xbf58476d1ce4e5b9u;

	hash ^= key->epoch * 0x94d049bb133111ebu ^ key->count;
	hash ^= hash >> 32;
	return &cache->chains[hash & cache->mask];
}

static void use(struct sde__chunk_cache *cache, struct sde__chunk_block *block)
{
	block->newer = &cache->head;
	block->older = cache->head.older;
	block->older->newer = block;
	cache->head.older = block;
}

static void unuse(struct sde__chunk_block *block)
{
	block->newer->older = block->older;
	block->older->newer = block->newer;
}

static void unlink_block(struct sde__chunk_cache *cache, struct sde__chunk_block *block)
{
	struct sde__chunk_block **at = chain_of(cache, &block->key);

	while (*at != block)
		at = &(*at)->chain;
	*at = block->chain;
	unuse(block);
	block->linked = 0;
}

static void free_block(struct sde__chunk_cache *cache, struct sde__chunk_block *block)
{
	cache->blocks--;
	free(block->raw);
	free(block);
}

void sde__chunk_cache_unref(struct sde__chunk_cache *cache)
{
	if (!cache || __atomic_sub_fetch(&cache->references, 1, __ATOMIC_ACQ_REL))
		return;
	while (cache->head.newer != &cache->head) {
		struct sde__chunk_block *block = cache->head.newer;

		unlink_block(cache, block);
		free_block(cache, block);
	}
	pthread_mutex_destroy(&cache->lock);
	free(cache->chains);
	free(cache);
}

static struct sde__chunk_block *look_up(struct sde__chunk_cache *cache,
					const struct sde__chunk_key *key)
{
	struct sde__chunk_block *block = *chain_of(cache, key);

	while (block && memcmp(&block->key, key, sizeof(*key)))
		block = block->chain;
	return block;
}

struct sde__chunk_block *sde__chunk_cache_find(struct sde__chunk_cache *cache,
					       const struct sde__chunk_key *key)
{
	struct sde__chunk_block *block;

	pthread_mutex_lock(&cache->lock);
	block = look_up(cache, key);
	if (block) {
		block->holders++;
		unuse(block);
		use(cache, block);
	}
	pthread_mutex_unlock(&cache->lock);
	return block;
}

/* The oldest block that nobody holds, out of the lists; NULL. */
static struct sde__chunk_block *evict(struct sde__chunk_cache *cache)
{
	struct sde__chunk_block *block = cache->head.newer;

	while (block != &cache->head && block->holders)
		block = block->newer;
	if (block == &cache->head)
		return NULL;
	unlink_block(cache, block);
	return block;
}

struct sde__chunk_block *sde__chunk_cache_take(struct sde__chunk_cache *cache)
{
	struct sde__chunk_block *block = NULL;

	pthread_mutex_lock(&cache->lock);
	if (cache->blocks >= cache->most)
		block = evict(cache);
	if (!block) {
		block = calloc(1, sizeof(*block));
		if (block)
			block->raw = malloc(cache->block_bytes);
		if (block && !block->raw) {
			free(block);
			block = NULL;
		}
		cache->blocks += block != NULL;
	}
	if (block)
		block->holders = 1;
	pthread_mutex_unlock(&cache->lock);
	return block;
}

void sde__chunk_cache_put(struct sde__chunk_cache *cache, struct sde__chunk_block *block,
			  const struct sde__chunk_key *key)
{
	pthread_mutex_lock(&cache->lock);
	/* another thread may have been faster: then this one is ours alone */
	if (!look_up(cache, key)) {
		struct sde__chunk_block **chain = chain_of(cache, key);

		block->key = *key;
		block->chain = *chain;
		*chain = block;
		block->linked = 1;
		use(cache, block);
	}
	pthread_mutex_unlock(&cache->lock);
}

void sde__chunk_cache_release(struct sde__chunk_cache *cache, struct sde__chunk_block *block)
{
	pthread_mutex_lock(&cache->lock);
	block->holders--;
	if (!block->holders && (!block->linked || cache->blocks > cache->most)) {
		if (block->linked)
			unlink_block(cache, block);
		free_block(cache, block);
	}
	pthread_mutex_unlock(&cache->lock);
}
