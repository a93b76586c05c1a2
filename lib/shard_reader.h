/* SPDX-License-Identifier: MIT */
/*
 * Reading the files of one chunk (shard.h). Everything in the file is foreign:
 * it is checked before it is used, and nothing is allocated by a number found
 * in it that the file's own size does not justify.
 *
 * An open file stays what it was when it was opened, even if the writer
 * replaces it by rename meanwhile.
 */
#ifndef SDE_LIB_SHARD_READER_H
#define SDE_LIB_SHARD_READER_H

#include "codec.h"
#include "home.h"
#include "side.h"

struct sde__shard_reader {
	const struct sde__io *io;
	const struct sde__home *home;
	struct sde__geometry geometry;
	struct sde__codec codec;
	char place[320];		/* for sentences: store/data/c/0/0/k */
	int fd;				/* the shard, or in format 2 the side table */
	uint64_t index;			/* k */
	uint64_t size;			/* of the file */
	uint64_t inner_count;
	enum sde_cause cause;		/* of the last call that failed */
	uint64_t *table;		/* offset and size of each inner chunk */
	size_t table_room;
	struct sde__side side;		/* its head; all of it after read_side */
	unsigned char *encoded;		/* scratch */
	size_t encoded_room;
	uint64_t encoded_size;		/* what fetch has read */
};

/* A reader without a file; geometry and codec are the store's. */
void sde__shard_reader_init(struct sde__shard_reader *reader, const struct sde__home *home,
			    const struct sde__geometry *geometry, const struct sde__codec *codec);

/* The file that has inner chunk `inner`: the shard, or in format 2 one of its own. */
void sde__shard_reader_place(const struct sde__shard_reader *reader, uint64_t inner, char *out,
			     size_t size);

/*
 * Open chunk `index` (closing the one before), check the head of its side table
 * against `run` and its own name. SDE_E_HOLE if there is no such file.
 */
int sde__shard_reader_open(struct sde__shard_reader *reader, uint64_t index,
			   const unsigned char run[16], struct sde_error *error);

/* Read and check the index; format 2 has none. */
int sde__shard_reader_index(struct sde__shard_reader *reader, struct sde_error *error);

/*
 * Decode inner chunk `inner` into raw, sde__inner_bytes long. After _index.
 * SDE_E_HOLE for a missing file of format 2. In two steps, for who has no raw yet:
 * fetch makes sure that the file has bytes enough for as many.
 */
int sde__shard_reader_fetch(struct sde__shard_reader *reader, uint64_t inner,
			    struct sde_error *error);
int sde__shard_reader_decode(struct sde__shard_reader *reader, uint64_t inner, void *raw,
			     struct sde_error *error);
int sde__shard_reader_inner(struct sde__shard_reader *reader, uint64_t inner, void *raw,
			    struct sde_error *error);

/* Format 2: is the file of inner chunk `inner` there, and not empty? */
int sde__shard_reader_look(struct sde__shard_reader *reader, uint64_t inner,
			   struct sde_error *error);

/* Read times, iteration numbers and states into reader->side. */
int sde__shard_reader_side(struct sde__shard_reader *reader, struct sde_error *error);

/* Closes the file and frees all. */
void sde__shard_reader_free(struct sde__shard_reader *reader);

#endif
