/* SPDX-License-Identifier: MIT */
/*
 * The naive twin of a storage: every snapshot in plain memory, one allocation
 * each. What a storage gives back is compared with it bit for bit, or with keepbits
 * with what rounded.h makes of it.
 *
 * All of these fail the running test where something differs.
 */
#ifndef SDE_TESTS_UNIT_TWIN_H
#define SDE_TESTS_UNIT_TWIN_H

#include <sdestore.h>

#include <stdbool.h>

/* A seeded generator (splitmix64): the same numbers everywhere. */
uint64_t twin_random(uint64_t *seed);
/* 0 .. n - 1 */
uint64_t twin_below(uint64_t *seed, uint64_t n);

/*
 * A memory layout for a selection of `count` numbers an axis: byte strides in any
 * order of the axes, some with gaps. Returns the bytes it spans.
 */
size_t twin_strides(uint64_t *seed, size_t item, unsigned ndim, const uint64_t *count,
		    int64_t *strides);

/*
 * Read a selection of a three-dimensional array into new memory, of any layout: in C
 * order by sde_array_read, in others by the call behind it.
 */
int twin_read(uint64_t *seed, const struct sde_array *data, const uint64_t *start,
	      const uint64_t *count, const uint64_t *step, unsigned char **out,
	      int64_t strides[3]);

struct twin_record {
	struct twin_record *older;	/* all records ever made, for freeing */
	double time;
	int64_t iteration;
	size_t state_size;
	unsigned char *state;
	unsigned char *data;		/* [d][n], exact */
	unsigned char *rounded;		/* what keepbits makes of it */
};

struct twin {
	struct sde_ensemble ensemble;
	enum sde_layout layout;		/* of what twin_next makes */
	uint64_t stride;
	unsigned keepbits;
	bool cut;			/* truncated since the last snapshot: with keepbits
					its exact numbers may be lost */
	uint64_t seed;
	uint64_t count;			/* M */
	struct twin_record **record;	/* [room] */
	uint64_t room;
	struct twin_record *all;
	/* what twin_next made, in the caller's layout */
	void *snapshot;
	double time;
	uint64_t iteration;
	unsigned char state[64];	/* kept with the next snapshot */
	size_t state_size;
};

void twin_init(struct twin *twin, const struct sde_ensemble *ensemble, uint64_t stride,
	       uint64_t seed);
void twin_free(struct twin *twin);
size_t twin_snapshot_bytes(const struct twin *twin);

/*
 * Make up the next snapshot: random bits, among them every special float, a
 * random time and an iteration number that stride keeps. Not kept yet.
 */
void twin_next(struct twin *twin);
/* It was stored. */
void twin_keep(struct twin *twin);
void twin_truncate(struct twin *twin, uint64_t snapshots);

/* The three arrays of the first `count` snapshots, as they were taken. */
struct twin_view {
	struct sde_array *time, *data, *iteration;
	struct twin_record **record;	/* a copy */
	uint64_t count;
	bool truncated;		/* since then: SDE_E_STALE is right as well */
};

void twin_view_take(struct twin *twin, struct sde_storage *storage, struct twin_view *view);
/* `tries` random selections of data, time and iteration. */
void twin_view_check(struct twin *twin, struct twin_view *view, int tries);
void twin_view_close(struct twin_view *view);

/* Everything a storage tells: counts, moments, state, the last snapshot, all values. */
void twin_check(struct twin *twin, struct sde_storage *storage);
/* The same of the store at `path`, opened read-only. */
void twin_check_path(struct twin *twin, const char *path);

/* Store `count` made-up snapshots; each must succeed. */
void twin_store(struct twin *twin, struct sde_storage *storage, uint64_t count);

/* The next one with a state of its own, for a child process, which exits if that fails;
 * storage NULL: only in the twin. */
void twin_store_in_child(struct twin *twin, struct sde_storage *storage);

/* assert ret == 0 with the sentence in the failure message */
#define twin_assert_ok(ret, text) twin_assert_code((ret), 0, (text), __FILE__, __LINE__)
#define twin_assert_is(ret, code, text) twin_assert_code((ret), (code), (text), __FILE__, __LINE__)
void twin_assert_code(int ret, int code, const char *text, const char *file, int line);
/* `text` has both parts (NULL: not asked) and looks like a sentence of ours */
#define twin_assert_sentence(text, part, other) \
	twin_assert_text((text), (part), (other), __FILE__, __LINE__)
void twin_assert_text(const char *text, const char *part, const char *other, const char *file,
		      int line);
/* The sentence of a storage's last failure; static memory of the caller's thread. */
const char *twin_sentence(const struct sde_storage *storage);

#endif
