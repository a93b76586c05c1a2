/* SPDX-License-Identifier: MIT */
/*
 * The files of one chunk.
 *
 * Format 3: a shard, data/c/0/0/<k>.
 *
 *	side table	see side.h; zeros up to a multiple of 64, or further
 *	inner chunk 0	encoded (codec.h); zeros up to a multiple of 64
 *	...
 *	inner chunk W/n - 1
 *	hole		see below
 *	index		W/n pairs (offset, size) of uint64, then their CRC-32C
 *
 * The index is the Zarr sharding codec's, index_location "end". The gaps are
 * allowed by it and keep uncompressed inner chunks aligned. All inner chunks
 * are always there: in an incomplete chunk they are padded with the fill value.
 *
 * A reader may take the index of a file that save replaces and then read from the
 * new one (zarr-python opens a shard twice). It must see a wrong checksum then,
 * never other numbers. So a file that replaces another is at least as long (beyond
 * its end zarr-python would see the fill value), and no inner chunk has the offset
 * and size that a different one had: the gap in front of the first grows instead.
 *
 * Format 2: each inner chunk in a file of its own, data/0.<j>.<k>, and the side
 * table in data/.side/<k>, which is written last: the chunk is there when that
 * is.
 *
 * A published file is never written in place: it is replaced by rename.
 */
#ifndef SDE_LIB_SHARD_H
#define SDE_LIB_SHARD_H

#include "codec.h"
#include "gather.h"
#include "home.h"
#include "side.h"

/*
 * One shard in the making. Encoding of different inner chunks may go on in
 * several threads, each with its own `raw` scratch of sde__inner_bytes.
 */
struct sde__shard {
	struct sde__slot_layout layout;
	struct sde__codec codec;
	const struct sde__home *home;	/* where it is written */
	uint64_t inner_count;
	uint64_t index;			/* k */
	uint64_t count;			/* snapshots in it, at most T */
	const unsigned char *slots;	/* T slots of the ring, or of recovery */
	bool guarded;			/* reading them may fault: guard.h */
	struct sde__side side;
	unsigned char *encoded;		/* inner_count parts of `part` bytes */
	size_t part;
	size_t *size;			/* of each part */
	uint64_t *table;		/* the index as it is written */
	/* the file in the making, by one thread at a time */
	int fd;				/* its temporary; -1: there is none */
	uint64_t put;			/* inner chunks in it */
	uint64_t end;			/* bytes in it */
	uint64_t hinted;		/* of which the system was told to write so many */
	bool whole_only;		/* put takes all at once: it replaces a file */
	uint64_t least;			/* size of that file */
};

/* Memory for one shard in the making. */
uint64_t sde__shard_memory(const struct sde__slot_layout *layout, const struct sde__codec *codec);

int sde__shard_init(struct sde__shard *shard, const struct sde__home *home,
		    const struct sde__slot_layout *layout, const struct sde__codec *codec,
		    struct sde_error *error);
void sde__shard_free(struct sde__shard *shard);

/* Start on chunk `index`, of which the first `count` slots are filled; nothing is put. */
void sde__shard_begin(struct sde__shard *shard, uint64_t index, uint64_t count,
		      const unsigned char *slots);

/*
 * What one thread needs to encode, for `raw`: an inner chunk, and what a codec that leaves
 * it as it is adds to it.
 */
size_t sde__shard_raw_bytes(const struct sde__slot_layout *layout, const struct sde__codec *codec);

/* -EIO if the slots are guarded, and cannot be read; write gives it, too */
int sde__shard_encode(struct sde__shard *shard, uint64_t inner, void *raw,
		      struct sde_error *error);

/* Who wrote a chunk, and in which life of the store. */
struct sde__stamp {
	uint64_t epoch;
	const unsigned char *run;	/* [16] */
};

/*
 * Put the inner chunks below `upto`, all encoded, into the file in the making; the first
 * call makes it. So that writing may go on while the rest is encoded; of a file that
 * replaces another nothing is put before all of it can be (whole_only). With the last
 * inner chunk the file is whole, and if `durable` the system has begun to write it to the
 * device. After a failure nothing is put.
 */
int sde__shard_put(struct sde__shard *shard, uint64_t upto, const struct sde__stamp *stamp,
		   bool durable, struct sde_error *error);

/*
 * Encode the inner chunk that is to be put next and put it, while it is in the processor's
 * cache, and without a copy of it where the codec leaves it as it is. If the file cannot
 * be made in parts (whole_only, format 2) it is only encoded. To end the file there is
 * still a call of put. After a failure nothing is put.
 */
int sde__shard_pass(struct sde__shard *shard, void *raw, const struct sde__stamp *stamp,
		    bool durable, struct sde_error *error);

/*
 * All is put: close it, if `durable` synced; nothing, if that was done. Of several files
 * that are whole, the first sync may well do for all (a journal has one end), so that they
 * are best ended in a row. After a failure nothing is put.
 */
int sde__shard_end(struct sde__shard *shard, bool durable, struct sde_error *error);

/* It is ended: give it its name, in place of a shorter one's. After a failure nothing is
 * put. */
int sde__shard_enter(struct sde__shard *shard, bool durable, uint64_t *file_size,
		     struct sde_error *error);

/* The names of all chunks that were entered become durable, too: sealed when this returns 0. */
int sde__shard_sync_names(const struct sde__home *home, struct sde_error *error);

/* All four: what was encoded becomes a chunk. */
int sde__shard_write(struct sde__shard *shard, const struct sde__stamp *stamp, bool durable,
		     uint64_t *file_size, struct sde_error *error);

/* Nothing is put any more: a file in the making is removed. */
void sde__shard_drop(struct sde__shard *shard);

/*
 * Make the files of the chunks from .. to - 1 and their names durable: those of a
 * dead run, which may have ended between a rename and the sync of its directory.
 */
int sde__shard_sync(const struct sde__home *home, const struct sde__geometry *geometry,
		    uint64_t from, uint64_t to, struct sde_error *error);

/* How many files of data a chunk is: 1, or in format 2 one an inner chunk. */
uint64_t sde__shard_files(const struct sde__home *home, const struct sde__geometry *geometry);

/* Are all of them there? SDE_E_HOLE names the first that is missing. */
int sde__shard_is_whole(const struct sde__home *home, const struct sde__geometry *geometry,
			uint64_t index, struct sde_error *error);

/* Remove chunk `index`; what is not there is fine. */
int sde__shard_remove(const struct sde__home *home, const struct sde__geometry *geometry,
		      uint64_t index, struct sde_error *error);

/* Is there a file in the making that was not ended? Never so in format 2. */
static inline bool sde__shard_is_open(const struct sde__shard *shard)
{
	return shard->fd >= 0;
}

/* For shard.c and shard_put.c. */

/* Inner chunks begin at multiples of this. */
#define SDE__SHARD_ALIGN ((size_t)64)

static inline size_t sde__shard_align(size_t size)
{
	return (size + SDE__SHARD_ALIGN - 1) / SDE__SHARD_ALIGN * SDE__SHARD_ALIGN;
}

static inline size_t sde__shard_index_bytes(uint64_t inner_count)
{
	return (size_t)inner_count * 16 + 4;
}

/* Encode an inner chunk to `out`, which may be `raw` if the codec leaves it as it is. */
int sde__shard_encode_to(struct sde__shard *shard, uint64_t inner, void *raw, unsigned char *out,
			 struct sde_error *error);

/* Build the side table. */
int sde__shard_side(struct sde__shard *shard, const struct sde__stamp *stamp,
		    struct sde_error *error);

/* Names in their directories: "<k>" of a shard or side table, "0.<j>.<k>". */
#define SDE__SHARD_NAME_SIZE 48
void sde__shard_name(char out[SDE__SHARD_NAME_SIZE], uint64_t index);
void sde__shard_inner_name(char out[SDE__SHARD_NAME_SIZE], uint64_t inner, uint64_t index);

#endif
