/* SPDX-License-Identifier: MIT */
/*
 * What lies in the directories of a store's chunks: which chunks are missing,
 * and what a killed run has left behind there.
 */
#ifndef SDE_LIB_CHUNK_LIST_H
#define SDE_LIB_CHUNK_LIST_H

#include "names.h"
#include "shard.h"

struct sde__chunk_list {
	const struct sde__home *home;
	uint64_t chunks;	/* that the store has, if its metadata tells the truth */
	uint64_t bits;		/* of them, as many as matter: at most one more than names */
	unsigned char *seen;	/* a bit a chunk */
	struct sde__names stray[2];	/* names that belong to none: [1] in data/.side */
};

/* List the first `chunks` chunks and all names that are none of theirs. */
int sde__chunk_list_read(struct sde__chunk_list *list, const struct sde__home *home,
			 uint64_t chunks, struct sde_error *error);

/* SDE_E_HOLE, naming the first chunk file that is missing. */
int sde__chunk_list_check(const struct sde__chunk_list *list,
			  const struct sde__geometry *geometry, struct sde_error *error);

/*
 * Call `each` for what clean would remove: a name in data/.side if `side`, else among
 * the chunks. *index is the chunk's number, UINT64_MAX for a temporary file. Its
 * non-zero return stops and is returned.
 */
int sde__chunk_list_leftovers(const struct sde__chunk_list *list, uint64_t chunks,
			      int (*each)(void *ctx, bool side, const char *name, uint64_t index),
			      void *ctx);

/*
 * Remove temporary files, and chunks from number `chunks` on. What somebody
 * else put there stays.
 */
int sde__chunk_list_clean(const struct sde__chunk_list *list, uint64_t chunks,
			  struct sde_error *error);

void sde__chunk_list_free(struct sde__chunk_list *list);

/* Number and bytes of the files that there are of the first `chunks` chunks, of one column. */
int sde__chunk_list_count(const struct sde__home *home, const struct sde__geometry *geometry,
			  uint64_t chunks, uint64_t *files, uint64_t *bytes,
			  struct sde_error *error);

/*
 * So many missing one behind the other are asked for one by one; then who looks at all
 * asks for the next that there is. For what a store says it has may be any number.
 */
#define SDE__MISSING_ONES 64

/* The first chunk from `from` on that is there; UINT64_MAX if there is none. */
int sde__chunk_list_next(const struct sde__home *home, uint64_t from, uint64_t *next,
			 struct sde_error *error);

/* Format 2: the same among the inner chunks of one chunk. */
int sde__chunk_list_next_inner(const struct sde__home *home, uint64_t chunk, uint64_t from,
			       uint64_t *next, struct sde_error *error);

#endif
