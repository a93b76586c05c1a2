/* SPDX-License-Identifier: MIT */
/*
 * A store as a reader sees it: chunk files, and the ring's tail behind them.
 *
 * A reader is a view of the first `snapshots` snapshots, fixed when it was
 * opened; everything is read with pread and no lock is taken, so it works the
 * same on a running, a crashed and a closed store, in the writer's process and
 * in any other. Where a value is found:
 *
 *	complete chunk file	if the chunk is sealed
 *	ring slot		else, if the ring has it and still had it when
 *				it was read (seqlock)
 *	chunk file		else: a slot is reused only when its chunk is
 *				durable under its final name
 *
 * Where a chunk is missing or damaged a read fails, or, if the reader was opened to
 * `fill`, gives NaN and notes it in the cursor's list of holes. Times and iteration
 * numbers are in blocks of their own and in the chunks' side tables: a filling reader
 * takes them from there before it gives NaN and -1.
 *
 * With keepbits chunk files have rounded numbers and slots exact ones; data rounds
 * what it takes from a slot, so that a value never changes between two reads.
 *
 * A reader is shared by reference count and may be used by any number of
 * threads, each with a cursor of its own.
 *
 * A store of several columns (geometry.h) has a reader for each, which sees it as a
 * store of its own with the whole one's times; and one above them, which has no ring
 * and opens no chunk file itself, but asks theirs (rank_columns.h).
 */
#ifndef SDE_LIB_READER_H
#define SDE_LIB_READER_H

#include "chunk_cache.h"
#include "damage.h"
#include "documents.h"
#include "ring_reader.h"
#include "series.h"
#include "shard_reader.h"

struct sde__reader {
	const struct sde__io *io;
	struct sde__home home;
	struct sde__metadata metadata;
	struct sde__codec codec;
	unsigned char run[16];
	struct sde__ring_reader *ring;	/* NULL: none, or none to be believed */
	struct sde__ring_counters counters;	/* at open; zeros without ring */
	uint64_t filed;		/* snapshots in chunk files at open */
	/* from here on the ring has them: filed, or more behind a hole, if the chunk
	 * files between have been lost */
	uint64_t ringed;
	/* what the ring can be believed to have at all: more, if the incomplete last
	 * chunk is in a file as well */
	uint64_t ring_first, ring_end;
	uint64_t snapshots;	/* M */
	uint64_t ignored;	/* more, in a ring that was copied here */
	enum sde_storage_state_of state;
	bool fill;		/* NaN in holes */
	struct sde_error broken;	/* the incomplete last chunk's damage, unless the
					 * ring makes it good */
	struct sde_error unsynced;	/* why the ring of a dead writer could not be
					 * synced; only what was so before is believed */
	unsigned threads;	/* that a read of data may take; 0: the caller's */
	struct sde__chunk_cache *cache;	/* a reference; NULL: cursors keep what they decoded */
	unsigned references;	/* atomic */
	/* the root document, from before `metadata` was read: while it is the same,
	 * so are they */
	char *root;
	size_t root_size;
	/* of a column: snapshots and filed before it was limited to what all have */
	uint64_t reached, reached_filed;
	bool shortened;		/* files had more than `snapshots` */
	bool cut;		/* its last chunk file has more than `snapshots` */
	struct sde__reader **column;	/* [columns], owned; NULL: it is one itself */
	uint64_t columns;
};

/*
 * Open the store at `path`. `trust` says what to do with a copied ring, `fill` with
 * what is missing or damaged. Warnings go to `log`.
 */
int sde__reader_open(struct sde__reader **out, const struct sde__io *io, const char *path,
		     enum sde_ring trust, bool fill, const struct sde__log *log, struct sde_error *error);

/*
 * The same for a store that is open already. `locked_by_us`: the caller holds
 * its lock and wants to know what a dead run has left; else a locked store is a
 * running one, also if it is this process that writes it. Who holds the lock and asks
 * for `fill` as well is shown what is damaged (broken, ringed > filed) and must not
 * publish over it.
 */
int sde__reader_reopen(struct sde__reader **out, const struct sde__home *home, bool locked_by_us,
		       bool fill, enum sde_ring trust, const struct sde__log *log, struct sde_error *error);

/* For rank_columns.h: one with nothing open; its documents and directories. */
struct sde__reader *sde__reader_new(const struct sde__io *io);
int sde__reader_enter(struct sde__reader *reader, struct sde_error *error);

/* As if nothing were there behind the first `snapshots`. */
void sde__reader_limit(struct sde__reader *reader, uint64_t snapshots);

struct sde__reader *sde__reader_ref(struct sde__reader *reader);
void sde__reader_unref(struct sde__reader *reader);

/* An inner chunk of the open file: decoded (inner.h), or 0 and stale memory to reuse. */
struct sde__kept {
	void *raw;
	enum sde__inner_order order;
	uint64_t misfit;		/* numbers read that the other order suits better */
};

/*
 * What one thread needs to read: the chunk file it has open, and the inner
 * chunks of it that it has decoded.
 */
struct sde__cursor {
	struct sde__reader *reader;	/* not a reference */
	struct sde__shard_reader file;
	uint64_t chunk;			/* UINT64_MAX: no file is open */
	bool indexed, sided;		/* the file's index, its side table are read */
	struct sde__kept *kept;		/* [W / n]; NULL before one was read */
	void *scratch;			/* one inner chunk, as it was decoded; NULL before */
	bool strict;			/* data: fail also if the reader fills */
	struct sde__holes *holes;	/* where what is filled is noted; NULL: nowhere */
	unsigned char *payload;		/* one slot's */
	struct sde__cursor *column;	/* [columns] where there are some; made when used */
	uint64_t first_inner;		/* of a column: inner chunks before it in the store */
};

void sde__cursor_init(struct sde__cursor *cursor, struct sde__reader *reader);
void sde__cursor_free(struct sde__cursor *cursor);

/* The cursor of column `column`, or itself where it is the only one; NULL: no memory. */
struct sde__cursor *sde__cursor_column(struct sde__cursor *cursor, uint64_t column,
				       struct sde_error *error);

/* Selections along one axis: start, start + step, ..., count of them. */
struct sde__range {
	uint64_t start, count, step;
};

/*
 * data[range[0], range[1], range[2]] into out, by one byte stride an axis. The
 * selection lies in (d_X, N, snapshots).
 */
int sde__reader_data(struct sde__cursor *cursor, const struct sde__range range[3], void *out,
		     const int64_t strides[3], struct sde_error *error);

/* The snapshots of the chunk of `index` that are found where that is, file or ring: a:b. */
void sde__reader_span(const struct sde__reader *reader, uint64_t index, uint64_t span[2]);

/* The trajectories of inner chunk `inner`: a:b. */
void sde__inner_span(const struct sde__geometry *geometry, uint64_t inner, uint64_t span[2]);

/* time or iteration (their 64 bits) of a range of snapshots, `stride` bytes apart. */
int sde__reader_column(struct sde__cursor *cursor, enum sde__column column,
		       const struct sde__range *range, void *out, int64_t stride,
		       struct sde_error *error);

/*
 * The state of snapshot `index`: *n is the room at `bytes`, and becomes the
 * size. -ERANGE if it is too small; 0 with *n = 0 if there is none.
 */
int sde__reader_state(struct sde__cursor *cursor, uint64_t index, void *bytes, size_t *n,
		      struct sde_error *error);

/*
 * Fill the first `count` slots (of layout) with the snapshots of chunk `chunk`:
 * how recovery puts a chunk together again, wherever its parts are.
 */
int sde__reader_slots(struct sde__cursor *cursor, uint64_t chunk, uint64_t count,
		      const struct sde__slot_layout *layout, unsigned char *slots,
		      struct sde_error *error);

/*
 * The slot of snapshot `index` as the ring has it, with what was stored and not
 * what keepbits makes of it, into `slot` of another layout. 1: it does not have it.
 */
int sde__reader_ring_slot(struct sde__cursor *cursor, uint64_t index,
			  const struct sde__slot_layout *layout, unsigned char *slot,
			  struct sde_error *error);

/*
 * Decode inner chunk `inner` of chunk `chunk`, the first `count` snapshots of which
 * are in its file, into *raw: memory of the caller, sde__inner_bytes long, or NULL,
 * and then it is allocated once the file has shown that it may have as many. Damage
 * is told as it is: neither the ring is asked nor anything filled (sde__reader_data
 * does).
 */
int sde__reader_inner(struct sde__cursor *cursor, uint64_t chunk, uint64_t count, uint64_t inner,
		      void **raw, struct sde_error *error);

/* Decode every inner chunk and the side table of chunk `chunk`. */
int sde__reader_verify(struct sde__cursor *cursor, uint64_t chunk, struct sde_error *error);

#endif
