/* SPDX-License-Identifier: MIT */
/*
 * The pieces that a store is made of, one thread each, measured on the data and with
 * the sizes of one load: what the whole is held against. Rates are GB/s of raw
 * (uncompressed) bytes, except those of files.
 */
#ifndef SDE_TESTS_BENCH_PIECES_H
#define SDE_TESTS_BENCH_PIECES_H

#include "load.h"
#include "measure.h"
#include "zarr_config.h"

struct pieces {
	struct sde__zarr_config config;	/* geometry, slots, codec: as the library has them */
	const struct pool *pool;
	unsigned char *slots;		/* one segment, mapped and touched */
	unsigned char *raw, *out;	/* an inner chunk, and a selection of its size */
	unsigned char *encoded;		/* all inner chunks of a chunk */
	size_t *size;			/* of each */
	size_t encoded_bytes;
	uint32_t checksum;		/* of what libblosc made, so that it is taken */
	/* one sample a round */
	struct samples copy;		/* memcpy of snapshots into the slots */
	struct samples gather, encode, decode;
	/* codec blosc: the same frames by libblosc alone, and their checksum */
	struct samples blosc_encode, blosc_decode;
	struct samples scatter;		/* of a decoded inner chunk into an array, ... */
	struct samples turn;		/* ... or into snapshots, which is a transposition */
	struct samples write;		/* of new files on tmpfs, GB/s of their bytes */
	struct samples read;		/* of such files, opened and read by pread */
	struct samples synced;		/* new files on the disk, each with fsync */
	double ratio;
	unsigned raw_share;		/* inner chunks that were kept raw, in percent */
};

void pieces_begin(struct pieces *pieces, const struct load *load,
		  const struct sde_zarr_options *options, const struct pool *pool);
/* Everything but files. */
void pieces_round(struct pieces *pieces);
/* Files of a chunk's size in `directory`, on the disk each is synced. */
void pieces_files_round(struct pieces *pieces, const char *directory);
void pieces_disk_round(struct pieces *pieces, const char *directory);
void pieces_end(struct pieces *pieces);

/* By which codec a limit is: that which everybody has, or ours. */
enum by { BY_LIBBLOSC, BY_OURS };

/*
 * The rate at which w workers can take snapshots, raw GB/s:
 *	w / (1 / gather + 1 / encode + 1 / (ratio write)),
 * with 1 / memcpy added where the producer shares a worker's core; never more than
 * memcpy. With `disk` at most what the disk takes, too.
 */
double pieces_limit(struct pieces *pieces, enum by by, unsigned workers, bool disk);
/*
 * The same for reading: t / (1 / (ratio read) + 1 / decode + 1 / scatter), with `turned`
 * 1 / turn instead of the last.
 */
double pieces_read_limit(struct pieces *pieces, enum by by, unsigned threads, bool turned);

/* Cores that this process may use. */
unsigned cores(void);

#endif
