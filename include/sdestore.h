/* SPDX-License-Identifier: MIT */
/*
 * sdestore: keep every snapshot of a large SDE ensemble, far beyond RAM.
 *
 * An *ensemble* is N trajectories of a d_X-dimensional process, advanced
 * together. One *snapshot* is its d_X x N state at one time. A *storage* takes
 * snapshots while the simulation runs, and gives them back as two arrays:
 *
 *	time	(M,)		float64
 *	data	(d_X, N, M)	float64 or float32
 *
 * The calling sequence of a writer:
 *
 *	struct sde_ensemble ensemble = { .dimension = 1, .trajectories = N };
 *	struct sde_storage *storage;
 *	struct sde_error error = { 0 };
 *
 *	if (sde_zarr_storage_create(&storage, "run.zarr", &ensemble, NULL, &error))
 *		die(error.text);
 *	for (i = 0; i <= steps; i++)
 *		if (sde_storage_store(storage, i * dt, x, i))
 *			break;		(sde_storage_error() has the sentence)
 *	if (sde_storage_close(storage))	(saves; always check what it returns)
 *		...
 *
 * and of a reader, in any process, while the writer runs or after it ended:
 *
 *	sde_storage_open(&storage, "run.zarr", NULL, &error);
 *	sde_storage_values(storage, &time, &data);
 *	sde_array_read(data, start, count, NULL, out, sizeof(out));
 *
 * RETURN VALUES. Every function that returns int returns 0, or a negative
 * number: -errno for what the system refused, or a code of enum sde_status.
 * sde_strerror() gives a phrase for both. Constructors take an optional
 * caller-owned struct sde_error; a storage keeps the sentence of its last
 * failure for sde_storage_error(). The library never prints and never exits.
 *
 * THREADS. store, reserve, commit, set_state, state, last, save, sync, truncate and
 * close belong to one thread at a time (any thread, but not two at once). info,
 * error, values, iterations, arrays, refresh, attributes, time_units, verify and every sde_array_
 * call may be made from any thread at any time, with one exception: close ends the storage, not the
 * arrays taken from it. Worker threads of the library block all signals.
 * A storage does not survive fork(): only the parent may go on using it.
 *
 * OWNERSHIP. Nothing the caller passes is kept: data, options, paths, texts
 * are copied before the call returns.
 */
#ifndef SDESTORE_H
#define SDESTORE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header. The only place where it is written down. */
#define SDE_VERSION_MAJOR 0
#define SDE_VERSION_MINOR 1
#define SDE_VERSION_PATCH 0
#define SDE_VERSION_STRING "0.1.0"

/*
 * The version of the library that is linked, "major.minor.patch". Static
 * storage; never NULL.
 */
const char *sde_version(void);

/* ------------------------------------------------------------------------
 * Errors
 */

/*
 * The library's own codes. They continue below -errno's range and never
 * change once released.
 */
enum sde_status {
	SDE_OK = 0,
	/* the path exists but is not a store of this library */
	SDE_E_NOT_STORE = -100000,
	/* a checksum or a structure does not hold; the text names the file */
	SDE_E_CORRUPT = -100001,
	/* the store was written by a newer version of the format */
	SDE_E_VERSION = -100002,
	/* nothing has been stored yet (values), or no state is kept (state) */
	SDE_E_NO_DATA = -100003,
	/* another process is writing this store */
	SDE_E_LOCKED = -100004,
	/* an option contradicts the store; the text has both values */
	SDE_E_MISMATCH = -100005,
	/* this backend, build or file system cannot do it */
	SDE_E_UNSUPPORTED = -100006,
	/* a chunk file that should be there is missing; the text names it */
	SDE_E_HOLE = -100007,
	/* the store was truncated, removed or replaced under this handle: open it again */
	SDE_E_STALE = -100008,
	/* the compressor failed */
	SDE_E_CODEC = -100009
};

/*
 * A code and its sentence. Lower case, no full stop, the object in quotes:
 *	cannot open 'run.zarr/zarr.json': No such file or directory
 * Caller-owned; zero it before use. The first error wins: a struct whose code
 * is not 0 is left alone.
 */
struct sde_error {
	int code;
	char text[256];
};

/*
 * A phrase for any code this library returns, without the object it concerns.
 * Never NULL. The string is static, or belongs to the calling thread until its
 * next call.
 */
const char *sde_strerror(int code);

/*
 * Warnings: things that did not fail but that the user would want to know (a
 * copied ring that is ignored, a chunk so small that files will be many). One
 * sentence without newline. May be called from a worker thread; it must not
 * call back into the library.
 */
typedef void sde_log_function(void *ctx, const char *message);

/* ------------------------------------------------------------------------
 * Ensembles and options
 */

/* How one number is kept. Bytes on disk are little-endian. */
enum sde_dtype {
	SDE_FLOAT64 = 0,	/* IEEE binary64, 8 bytes */
	SDE_FLOAT32 = 1,	/* IEEE binary32, 4 bytes */
	SDE_INT64 = 2		/* only of arrays: sde_storage_iterations */
};

/*
 * What one snapshot is: dimension (d_X) x trajectories (N) numbers, both at
 * least 1. Frozen: this struct never changes.
 */
struct sde_ensemble {
	uint64_t dimension;
	uint64_t trajectories;
	enum sde_dtype dtype;
};

/* How an inner chunk is compressed (lossless, all of them). */
enum sde_codec {
	SDE_CODEC_DEFAULT = 0,			/* blosc-lz4-bitshuffle */
	SDE_CODEC_BLOSC_LZ4_BITSHUFFLE = 1,	/* what every Zarr reader knows */
	SDE_CODEC_LZ4 = 2,			/* bare LZ4; fewer readers know it */
	SDE_CODEC_NONE = 3			/* raw bytes */
};

/*
 * A CRC-32C (RFC 3720) behind every inner chunk. Without it damage may go unseen,
 * and another program that reads just while save replaces the incomplete last
 * chunk may see wrong numbers instead of an error.
 */
enum sde_checksum {
	SDE_CHECKSUM_DEFAULT = 0,	/* on; off in Zarr format 2, which has no place for it */
	SDE_CHECKSUM_ON = 1,		/* SDE_E_UNSUPPORTED with zarr_format 2 */
	SDE_CHECKSUM_OFF = 2
};

/*
 * What is on the device when. Whatever the policy, a *killed process* loses
 * nothing; this is about power loss and kernel crashes.
 */
enum sde_sync {
	SDE_SYNC_DEFAULT = 0,	/* chunk */
	SDE_SYNC_CHUNK = 1,	/* a filled chunk is durable within 100 ms */
	SDE_SYNC_PUBLISH = 2,	/* a chunk is durable once its file is written */
	SDE_SYNC_SNAPSHOT = 3,	/* store returns when the snapshot is durable */
	SDE_SYNC_INTERVAL = 4,	/* every sync_interval_ms */
	SDE_SYNC_NONE = 5	/* never: a power loss may cost the whole store */
};

/* The order of the caller's snapshot in memory. The store's never changes. */
enum sde_layout {
	SDE_LAYOUT_DEFAULT = 0,			/* [d][n] */
	SDE_LAYOUT_DIMENSION_TRAJECTORY = 1,	/* [d][n]: x[d * N + n] */
	SDE_LAYOUT_TRAJECTORY_DIMENSION = 2	/* [n][d]: x[n * d_X + d] */
};

/*
 * What to do with a crashed run's ring that was copied here (cp, rsync, a
 * restored backup) and so may be torn. DEFAULT: a reader ignores it with a
 * warning; resume refuses with SDE_E_MISMATCH when that would cost snapshots.
 */
enum sde_ring {
	SDE_RING_DEFAULT = 0,
	SDE_RING_TRUST = 1,	/* it was copied whole, after the run had ended */
	SDE_RING_DISCARD = 2	/* go on from what is published */
};

/*
 * How the ring's files are written. MAPPED: through a mapping; a store is a copy
 * and no system call. WRITTEN: by pwrite, three system calls a snapshot more, and
 * a full disk is an error of store. DEFAULT: mapped on ext2 to ext4, xfs and
 * tmpfs, where the pages of an allocated file can always be written; written
 * elsewhere (btrfs, where a full disk turns a store to a mapping into SIGBUS, and
 * all network file systems). Of sde_storage_info: DEFAULT where there is no ring.
 */
enum sde_ring_io {
	SDE_RING_IO_DEFAULT = 0,
	SDE_RING_IO_MAPPED = 1,
	SDE_RING_IO_WRITTEN = 2
};

/*
 * What happens when somebody else shortens a file of a mapped ring while it is
 * written, or the device fails when a page of it is read back. OFF: the kernel's
 * SIGBUS, which ends the process. ON: the call returns -EIO with a sentence that
 * names the file. A handler of SIGBUS is installed for it, once for the process,
 * which passes on to the one before it what does not concern the ring; a
 * thread that stores must not block SIGBUS. What the caller itself writes into a
 * reserved slot is not guarded. It costs some nanoseconds a store.
 */
enum sde_sigbus_guard {
	SDE_SIGBUS_GUARD_OFF = 0,
	SDE_SIGBUS_GUARD_ON = 1
};

/*
 * What to read where a chunk file, or a part of it, is missing or damaged. NaN: data
 * are NaN there, in whole inner chunks, and what was filled is listed by
 * sde_array_holes. Times and iteration numbers, which a store keeps twice, are taken
 * from the other place, and are NaN and -1 where both are gone.
 */
enum sde_hole {
	SDE_HOLE_DEFAULT = 0,	/* error */
	SDE_HOLE_ERROR = 1,	/* SDE_E_HOLE or SDE_E_CORRUPT, from reads that touch it */
	SDE_HOLE_NAN = 2
};

/*
 * Options of sde_zarr_storage_create and sde_zarr_storage_resume. Begin with
 * SDE_ZARR_OPTIONS_INIT; a zero means the default, for every field. NULL in
 * place of the whole struct means all defaults. Bytes beyond what this library
 * knows must be zero, else -E2BIG.
 *
 * On resume, chunk_size, trajectories_per_chunk, stride, codec, checksum,
 * zarr_format, keepbits and state_capacity are 0 or what the store has (else
 * SDE_E_MISMATCH, naming the option and both values); attributes and
 * time_units are the store's and must be NULL; overwrite must be 0; the rest
 * is free.
 */
struct sde_zarr_options {
	size_t size;			/* sizeof(struct sde_zarr_options) */
	/* keep a snapshot when iteration_number % stride == 0; default 1 */
	uint64_t stride;
	/* T, snapshots a chunk; default: about 16 MiB a chunk */
	uint64_t chunk_size;
	/* n, trajectories an inner chunk; default: about 512 KiB an inner chunk
	 * (format 3); a multiple of 8 compresses best. An inner chunk is at most 2 GiB */
	uint64_t trajectories_per_chunk;
	/* Zarr storage specification: 3, the default, or 2 for readers that know
	 * no other (zarr-python 2, GDAL 3.6). In format 2 every inner chunk
	 * is a file, trajectories_per_chunk defaults to all of them (or about
	 * 64 MiB), and there are no checksums: damage may go unseen */
	unsigned zarr_format;
	enum sde_codec codec;
	enum sde_checksum checksum;
	/* explicit mantissa bits to keep of every number, 1 to 52 (float64) or 23
	 * (float32); 0: all. Numbers are rounded to nearest, ties to even, before they
	 * are compressed: relative error at most 2^-(keepbits + 1). NaN and infinity
	 * are untouched; what is too large for fewer bits becomes infinity. Every
	 * reader, sde_storage_values among them, sees the rounded ones from the
	 * beginning; sde_storage_last has the exact last snapshot */
	unsigned keepbits;
	enum sde_sync sync;
	/* for SDE_SYNC_INTERVAL; default 1000 */
	unsigned sync_interval_ms;
	/* chunks the ring holds, 2 to 64; default 3, or of small chunks on a device, unless
	 * sync is none, as many as 16 MiB have room for, at most 8 */
	unsigned segments;
	/* encoding threads, at most 256; default: cores of the affinity mask
	 * less one, at least 1 */
	unsigned threads;
	enum sde_layout layout;
	/* room for sde_storage_set_state in every slot, at most 65536 bytes */
	unsigned state_capacity;
	/* 1: replace an existing store (never anything that is not one) */
	int overwrite;
	enum sde_ring ring;		/* resume only */
	/* a JSON object that becomes the group's attributes: seeds, dt, model.
	 * A member "sdestore" is refused */
	const char *attributes;
	/* attribute "units" of the time array, "s" for instance; default none */
	const char *time_units;
	/* makes the directory `path`, in which the store will be made, and its
	 * parents: 0 or -errno; NULL: the library does. Create only. (With
	 * MPI one rank must do it: PySDE's avoid_race_condition.) */
	int (*make_directory)(void *ctx, const char *path);
	void *make_directory_ctx;
	sde_log_function *log;		/* warnings; NULL: dropped */
	void *log_ctx;
	enum sde_ring_io ring_io;
	enum sde_sigbus_guard sigbus_guard;
};
#define SDE_ZARR_OPTIONS_INIT \
	{ sizeof(struct sde_zarr_options), 0, 0, 0, 0, SDE_CODEC_DEFAULT, \
	  SDE_CHECKSUM_DEFAULT, 0, SDE_SYNC_DEFAULT, 0, 0, 0, \
	  SDE_LAYOUT_DEFAULT, 0, 0, SDE_RING_DEFAULT, NULL, NULL, NULL, \
	  NULL, NULL, NULL, SDE_RING_IO_DEFAULT, SDE_SIGBUS_GUARD_OFF }

/*
 * Options of sde_numpy_storage_create. As above: SDE_NUMPY_OPTIONS_INIT, zero
 * is the default.
 */
struct sde_numpy_options {
	size_t size;
	uint64_t stride;		/* 1 */
	/* where save writes, ".npz" is added unless it is there; NULL: nowhere */
	const char *save_directory;
	/* 1: replace a file that was there before; else it is refused */
	int overwrite;
	/* that compress; default: cores of the affinity mask, at most 256 */
	unsigned threads;
	/* as in struct sde_zarr_options */
	int (*make_directory)(void *ctx, const char *path);
	void *make_directory_ctx;
};
#define SDE_NUMPY_OPTIONS_INIT \
	{ sizeof(struct sde_numpy_options), 0, NULL, 0, 0, NULL, NULL }

/* Options of sde_storage_open; SDE_OPEN_OPTIONS_INIT, or NULL for defaults. */
struct sde_open_options {
	size_t size;
	enum sde_ring ring;
	sde_log_function *log;
	void *log_ctx;
	enum sde_hole on_hole;	/* Zarr stores only */
	/* memory for decoded inner chunks that all handles of the storage share;
	 * 0: each handle keeps the chunk it read last. Of a Zarr store. -ENOMEM
	 * if not even one inner chunk fits */
	size_t cache_bytes;
	/* a read of data that takes more than a part of one chunk is split over inner
	 * chunks by this many threads, at most 256; 0 and 1: the caller's alone. Of a
	 * Zarr store */
	unsigned threads;
};
#define SDE_OPEN_OPTIONS_INIT \
	{ sizeof(struct sde_open_options), SDE_RING_DEFAULT, NULL, NULL, SDE_HOLE_DEFAULT, 0, 0 }

/* ------------------------------------------------------------------------
 * Damage
 */

/* What is wrong with a file. */
enum sde_cause {
	SDE_CAUSE_MISSING = 1,		/* it is not there */
	SDE_CAUSE_TRUNCATED = 2,	/* it ends too early */
	SDE_CAUSE_CHECKSUM = 3,		/* an inner chunk's or a block's does not hold */
	SDE_CAUSE_DECODE = 4,		/* an inner chunk cannot be decompressed */
	SDE_CAUSE_SIDE_TABLE = 5,	/* what a chunk file says of itself (sdestore(5)) */
	SDE_CAUSE_INDEX = 6,		/* where its inner chunks are; also if its end is cut off */
	SDE_CAUSE_FOREIGN = 7,		/* it is another chunk's or store's, or of another time */
	SDE_CAUSE_DIFFERS = 8,		/* a block has other numbers than the side tables */
	SDE_CAUSE_UNREADABLE = 9	/* the system refuses: an I/O error, mostly */
};

/* What a damage is about: bits. */
enum sde_part {
	SDE_PART_DATA = 1,
	SDE_PART_TIME = 2,
	SDE_PART_ITERATION = 4,
	SDE_PART_STATE = 8
};

/*
 * What one damage costs: the parts `lost` of the snapshots a, a + 1, ... b - 1, where
 * a = snapshots[0] and b = snapshots[1] (NumPy's a:b), of data in the same way those
 * trajectories, in all components. `restorable` parts are damaged where they were
 * found, but the store has them elsewhere, too, and sde_zarr_storage_repair restores
 * them. Both 0: nothing but a copy is damaged. The texts are valid during the call.
 */
struct sde_damage {
	size_t size;			/* sizeof(struct sde_damage), the library's */
	unsigned lost, restorable;	/* enum sde_part */
	enum sde_cause cause;
	int code;			/* what reading there returns: SDE_E_HOLE, ... */
	uint64_t snapshots[2];
	uint64_t trajectories[2];
	const char *file;
	const char *text;		/* a sentence */
};

typedef void sde_damage_function(void *ctx, const struct sde_damage *damage);

/* A word for a cause: "missing", "side table". Never NULL; static. */
const char *sde_cause_name(enum sde_cause cause);

/* ------------------------------------------------------------------------
 * Storages
 */

struct sde_storage;
struct sde_array;

/*
 * Make a new Zarr store at save_directory and open it for storing. Missing
 * parent directories are made. The store is built in a sibling directory and
 * renamed into place, so that a failure leaves nothing under that name; the
 * disk space of the ring is allocated and touched here (-ENOSPC if it is not
 * to be had), later stores cannot fault on a full disk.
 *
 * -EEXIST if save_directory exists (and is neither empty nor, with overwrite,
 * a store), SDE_E_NOT_STORE if overwrite meets something that is not a store
 * (SDE_E_CORRUPT, SDE_E_VERSION: that cannot be told to be one), SDE_E_LOCKED if
 * it meets a running one, -EINVAL or -E2BIG for arguments.
 * *out is NULL on failure.
 */
int sde_zarr_storage_create(struct sde_storage **out, const char *save_directory,
			    const struct sde_ensemble *ensemble,
			    const struct sde_zarr_options *options,
			    struct sde_error *error);

/*
 * Open an existing Zarr store to go on storing behind its last snapshot,
 * whether the last run was closed or killed. What a killed run left in the
 * ring is recovered first and published. sde_storage_info() tells how many
 * snapshots there are, and the last one's time and iteration number;
 * sde_storage_state() gives its state back.
 *
 * SDE_E_LOCKED while another process writes the store, SDE_E_MISMATCH for
 * options that contradict it, SDE_E_HOLE if a published chunk is missing,
 * -ENOENT if there is nothing at that path, SDE_E_NOT_STORE, SDE_E_CORRUPT,
 * SDE_E_VERSION, -errno.
 */
int sde_zarr_storage_resume(struct sde_storage **out, const char *save_directory,
			    const struct sde_zarr_options *options,
			    struct sde_error *error);

/* What sde_zarr_storage_repair does, step by step. */
enum sde_repair_action {
	SDE_REPAIR_PUBLISH = 1,		/* snapshots that no Zarr reader saw are published */
	SDE_REPAIR_RESTORE = 2,		/* a block of times or iteration numbers is written
					 * anew, from the side tables of the chunks */
	SDE_REPAIR_REMOVE = 3,		/* what a killed run left behind is removed */
	SDE_REPAIR_PUT_BACK = 4,	/* the old store of a killed overwrite gets its name back */
	SDE_REPAIR_TRUNCATE = 5,	/* only the first snapshots[0] are kept, as was asked for */
	SDE_REPAIR_LOST = 6		/* cannot be repaired: see `damage` */
};

/* One step that was done, or would be. The texts are valid during the call. */
struct sde_repair_step {
	size_t size;			/* sizeof(struct sde_repair_step), the library's */
	enum sde_repair_action action;
	uint64_t snapshots[2];		/* a:b, as in struct sde_damage; 0:0 if it is about none */
	const char *file;		/* or directory */
	const char *text;		/* a sentence */
	const struct sde_damage *damage;	/* of SDE_REPAIR_LOST; else NULL */
};

/* Options of sde_zarr_storage_repair: SDE_REPAIR_OPTIONS_INIT, zero is the default. */
struct sde_repair_options {
	size_t size;
	int dry_run;			/* 1: change nothing, tell what would be done */
	enum sde_ring ring;		/* as for resume */
	/* 1: keep only the first `snapshots`, after all that can be has been published:
	 * the way to go on storing in a store that has lost a chunk */
	int truncate;
	uint64_t snapshots;
	void (*step)(void *ctx, const struct sde_repair_step *step);	/* may be NULL */
	void *step_ctx;
	sde_log_function *log;
	void *log_ctx;
};
#define SDE_REPAIR_OPTIONS_INIT \
	{ sizeof(struct sde_repair_options), 0, SDE_RING_DEFAULT, 0, 0, NULL, NULL, NULL, NULL }

/*
 * Make a store whole that no process writes, as far as it can be, and tell each step:
 * finish an interrupted publish (what resume and close would do, also around a lost
 * chunk), remove temporary files in the store and what a killed create or overwrite
 * left beside it, and restore damaged blocks of times from the side tables of the
 * chunks. Chunk files that can be read are never changed. Doing it again does nothing;
 * it may be killed. Inner chunks are not decoded: sde_storage_verify does that.
 *
 * 0 if nothing is missing in the end; SDE_E_HOLE or SDE_E_CORRUPT if something stays
 * lost, which the steps name (truncate it, or read with on_hole NaN). SDE_E_LOCKED
 * while a process writes it, SDE_E_MISMATCH for a copied ring, -EINVAL if it cannot be
 * truncated so, -ENOENT, SDE_E_NOT_STORE, SDE_E_VERSION, -errno.
 */
int sde_zarr_storage_repair(const char *path, const struct sde_repair_options *options,
			    struct sde_error *error);

/*
 * The memory, in bytes, that a storage with these options will use at most, whatever
 * M is and wherever it is made: ring, encoding buffers, one copy of the last times,
 * 32 KiB a thread, and 1 MiB for the libraries' code. The ring is file-backed: the same
 * bytes are also taken on disk while the run lasts.
 */
int sde_zarr_memory_estimate(const struct sde_ensemble *ensemble,
			     const struct sde_zarr_options *options,
			     uint64_t *bytes);

/*
 * Snapshots in memory, PySDE's NumpyStorage: store copies them, save writes all
 * of them as a compressed NumPy .npz with members time (M,), data (d_X, N, M)
 * and iteration (M,), whole or not at all (a temporary file, renamed). Without
 * save_directory save succeeds and writes nothing. Close saves. Killing the
 * process loses what was not saved. Values are plain memory: sde_array_map
 * costs nothing, and handles stay good when more is stored and after close.
 *
 * -EEXIST if the file is there and overwrite is not set, -EINVAL, -E2BIG,
 * -ENOMEM. store gives -ENOMEM when memory is used up.
 */
int sde_numpy_storage_create(struct sde_storage **out,
			     const struct sde_ensemble *ensemble,
			     const struct sde_numpy_options *options,
			     struct sde_error *error);

/*
 * Open a store read-only: running, crashed or closed. Takes no lock and writes
 * nothing; of a running or crashed store it sees the snapshots that are still
 * in the ring. Its number of snapshots is that of the moment of opening, or of
 * the last sde_storage_refresh.
 *
 * A regular file is taken as a NumPy .npz with members time, data and perhaps
 * iteration (ours, or PySDE's): a storage of kind "numpy".
 *
 * -ENOENT, SDE_E_NOT_STORE, SDE_E_CORRUPT, SDE_E_VERSION. A chunk file that is
 * missing or damaged does not matter here: it is found when it is read (see
 * on_hole), or by sde_storage_verify.
 */
int sde_storage_open(struct sde_storage **out, const char *path,
		     const struct sde_open_options *options,
		     struct sde_error *error);

/*
 * Look again: handles taken from now on, info and state, see what the store has
 * now. Handles taken before stay as they are. Between two calls all handles of a
 * storage opened read-only have the same M. It may become smaller: after a
 * truncate, when older handles give SDE_E_STALE, those taken after a refresh are
 * good. On a storage that is open for storing, of the NumPy backend or of a file
 * there is nothing to do, and it returns 0. Any thread.
 *
 * SDE_E_STALE if the store was removed, or replaced by another one: open it again.
 * Else as sde_storage_open. On failure everything stays as it was.
 */
int sde_storage_refresh(struct sde_storage *storage);

/*
 * Keep the snapshot `data` (d_X x N numbers of the ensemble's dtype, in the
 * layout of the options) of this time, if iteration_number is a multiple of
 * stride; else do nothing and return 0. Times and iteration numbers are
 * recorded as given: they need not increase.
 *
 * When it returned 0, killing the process no longer loses the snapshot. It
 * costs a copy; when the workers cannot keep up it waits for them
 * (sde_storage_info counts how often and how long).
 *
 * A failure in the background (full disk, I/O error) is returned here, and the
 * snapshot is not kept, until a sde_storage_save succeeded: all snapshots
 * stored before are still held. (With SDE_SYNC_SNAPSHOT a snapshot whose own
 * sync failed may have been kept; info's committed tells.) -EINVAL if data is
 * NULL or a reserved slot is open, -EOVERFLOW if iteration_number does not fit
 * int64, -EBADF on a storage opened read-only.
 */
int sde_storage_store(struct sde_storage *storage, double time,
		      const void *data, uint64_t iteration_number);

/*
 * The zero-copy twin of store: *slot is where the next snapshot's d_X x N
 * numbers go (aligned to 64 bytes, contents undefined), valid until commit;
 * *slot is NULL if stride skips this iteration, and commit must then not be
 * called. A second reserve before commit takes the slot back. Close drops a slot
 * that was not committed. Errors as for store.
 */
int sde_storage_reserve(struct sde_storage *storage, uint64_t iteration_number,
			void **slot);
int sde_storage_commit(struct sde_storage *storage, double time);

/*
 * Bytes that are kept with the next snapshot (and only with it): the random
 * generator's state, whatever is needed to go on exactly. They become part of
 * it in the same instant. A store that stride skips leaves them for the next
 * one. n at most state_capacity, else -ENOSPC; n = 0 takes a state back.
 */
int sde_storage_set_state(struct sde_storage *storage, const void *bytes, size_t n);

/*
 * The state kept with the last snapshot. *n is the size of `bytes`, and becomes
 * the size of the state; with bytes NULL that is all it does. -ERANGE if it is
 * too small (*n is what it takes), SDE_E_NO_DATA if the last snapshot has none.
 */
int sde_storage_state(const struct sde_storage *storage, void *bytes, size_t *n);

/*
 * The last snapshot as it was stored, to go on from: d_X x N numbers into `data`,
 * `size` bytes (-ENOBUFS if that is too small), in the layout of the options; of a
 * storage opened read-only, or one of memory, [d][n]. SDE_E_NO_DATA if there is none.
 *
 * With keepbits chunk files have rounded numbers; but what was stored last stays
 * known exactly, in the ring while a run lives and after it was killed, in
 * a file of its own after save and close. It may be lost to a power failure after
 * the last save, and by sde_storage_truncate to a snapshot that is neither in the
 * ring nor the last saved one. *exact is then 0 and `data` has the rounded numbers,
 * else it is 1. With exact NULL only exact numbers will do: SDE_E_NO_DATA if they
 * are lost. data NULL: only *exact is told. Thread rules as for store.
 */
int sde_storage_last(struct sde_storage *storage, void *data, size_t size, int *exact);

/*
 * Publish everything: when it returns 0, all snapshots are in the files that
 * any Zarr reader sees, and on the device (unless sync is none). An incomplete
 * last chunk is written as it is and replaced when it has grown. Calling it
 * with nothing new is allowed. After a background failure it tries again, into
 * new files, and on success clears the failure.
 */
int sde_storage_save(struct sde_storage *storage);

/*
 * Make what is stored durable without publishing it: cheap, for a checkpoint.
 * Like save, it has nothing to do on a storage opened read-only, and returns 0.
 */
int sde_storage_sync(struct sde_storage *storage);

/*
 * Forget all but the first `snapshots` (at most as many as there are, else
 * -EINVAL), durably, to go on from an earlier one. Everything is published
 * first. Handles taken before give SDE_E_STALE where they would read what has
 * been replaced. If it fails half way everything else fails with its code, until
 * save (or truncate, or close) has finished it.
 */
int sde_storage_truncate(struct sde_storage *storage, uint64_t snapshots);

/*
 * Handles over all snapshots stored so far, chunks and ring alike: time (M,)
 * float64 and data (d_X, N, M), of the same M, which does not grow. Either
 * pointer may be NULL. Close each with sde_array_close; they stay readable
 * after the storage was closed. SDE_E_NO_DATA before the first snapshot.
 */
int sde_storage_values(struct sde_storage *storage, struct sde_array **time,
		       struct sde_array **data);

/* The iteration numbers as given to store: (M,) int64. Otherwise like values. */
int sde_storage_iterations(struct sde_storage *storage, struct sde_array **iteration);

/*
 * All three at once, of one M, also while another thread stores: on a storage that
 * is open for storing a second call may already see more. Each pointer may be NULL.
 * On failure all are NULL. Otherwise like values and iterations.
 */
int sde_storage_arrays(struct sde_storage *storage, struct sde_array **time,
		       struct sde_array **data, struct sde_array **iteration);

/* What a store on disk is doing. */
enum sde_storage_state_of {
	SDE_STATE_RUNNING = 0,	/* a process has it open for storing */
	SDE_STATE_CRASHED = 1,	/* its last writer died: resume recovers it */
	SDE_STATE_CLOSED = 2	/* everything is published */
};

/*
 * Facts about a storage. Begin with SDE_STORAGE_INFO_INIT. Fields a backend
 * does not know are 0 (times: NaN).
 */
struct sde_storage_info {
	size_t size;
	const char *kind;		/* "zarr", ...: static storage */
	struct sde_ensemble ensemble;
	unsigned zarr_format;
	uint64_t stride;
	uint64_t chunk_size;		/* T */
	uint64_t trajectories_per_chunk; /* n */
	enum sde_codec codec;		/* DEFAULT where there are no chunks */
	enum sde_checksum checksum;
	unsigned keepbits;
	unsigned state_capacity;
	enum sde_storage_state_of state;
	enum sde_sync sync;		/* of a writer; 0 for a reader */
	unsigned segments;		/* 0 where there is no ring */
	unsigned threads;
	/* numbers of snapshots, each at most the one before, except that a
	 * published partial chunk may be ahead of sealed */
	uint64_t committed;		/* M: stored */
	uint64_t synced;		/* on the device; to a reader of a running store: as
					 * its writer notes it, a moment early */
	uint64_t sealed;		/* in complete chunk files */
	uint64_t published;		/* what a Zarr reader sees */
	uint64_t epoch;			/* how often the store was truncated */
	double first_time, last_time;	/* NaN without snapshots */
	int64_t first_iteration, last_iteration; /* -1 without snapshots */
	uint64_t raw_bytes;		/* of the data in chunk files, uncompressed */
	uint64_t stored_bytes;		/* of the data's chunk files */
	uint64_t chunk_files;
	uint64_t stalls;		/* stores that had to wait */
	uint64_t stalled_ns;		/* how long, together */
	uint64_t memory_bytes;		/* sde_zarr_memory_estimate's figure */
	/* snapshots in a copied ring that was ignored */
	uint64_t ignored;
	char run[33];			/* 32 hexadecimal digits, made at create */
	enum sde_ring_io ring_io;	/* DEFAULT where there is no ring */
};
#define SDE_STORAGE_INFO_INIT \
	{ sizeof(struct sde_storage_info), NULL, { 0, 0, SDE_FLOAT64 }, 0, 0, \
	  0, 0, SDE_CODEC_DEFAULT, SDE_CHECKSUM_DEFAULT, 0, 0, \
	  SDE_STATE_RUNNING, SDE_SYNC_DEFAULT, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, \
	  0, 0, 0, 0, 0, 0, 0, 0, 0, { 0 }, SDE_RING_IO_DEFAULT }

/*
 * -EINVAL if info->size is smaller than the first released struct. Of a storage
 * opened read-only it looks at files, and may fail like sde_array_read.
 */
int sde_storage_info(const struct sde_storage *storage, struct sde_storage_info *info);

/*
 * A Zarr store of several ranks (sdestore/mpi.h) lies in columns: each has its
 * trajectories a:b, written by one rank, and may have come further than all have,
 * which is what the store has. More fields may follow in later versions.
 */
struct sde_column_info {
	size_t size;			/* sizeof(struct sde_column_info), the library's */
	uint64_t trajectories[2];
	enum sde_storage_state_of state;
	uint64_t committed;		/* snapshots: stored */
	uint64_t sealed;		/* in complete chunk files */
};
typedef void sde_column_function(void *ctx, const struct sde_column_info *column);

/*
 * Call `function` (may be NULL) for each column of a store opened read-only, in order,
 * as they were when it was opened or refreshed last. Returns how many there are: 0 of
 * any other storage. -EINVAL. Any thread.
 */
int sde_storage_columns(const struct sde_storage *storage, sde_column_function *function,
			void *ctx);

/*
 * The user's attributes, as JSON text ("{}" if none), and the time array's
 * units ("" if none). Valid until the storage is closed; never NULL.
 */
const char *sde_storage_attributes(const struct sde_storage *storage);
const char *sde_storage_time_units(const struct sde_storage *storage);

/*
 * Decode every chunk and check every checksum of a Zarr store, file by file.
 * `progress` (may be NULL) is called after each chunk, damaged or not, with the snapshots done
 * and all; when it returns non-zero, verify stops with -ECANCELED. `damage`
 * (may be NULL) is called for each chunk that is missing or damaged with its
 * first snapshot, their number, the code and the sentence; verify then goes on,
 * and returns the first damage's code in the end. `lost` (may be NULL) is called
 * for each part of a chunk that is damaged, with what that costs: an inner chunk, a
 * side table, its share of a block of times. Neither ends at the first. (Where more
 * than 64 chunks in a row are missing, the rest of them is told at once.) Any thread.
 */
struct sde_verify {
	int (*progress)(void *ctx, uint64_t done, uint64_t all);
	void (*damage)(void *ctx, uint64_t first, uint64_t count, int code,
		       const char *text);
	void *ctx;
	sde_damage_function *lost;
};
int sde_storage_verify(struct sde_storage *storage, const struct sde_verify *verify);

/*
 * The last failure of any call on this storage, with its sentence; code 0 if
 * there was none. Returns that code.
 */
int sde_storage_error(const struct sde_storage *storage, struct sde_error *error);

/*
 * Save, remove the ring, free the storage. Always frees, and RETURNS the
 * status: on an error the ring stays, and sde_zarr_storage_resume recovers
 * from it. `error` (may be NULL) gets the sentence. NULL is allowed.
 */
int sde_storage_close(struct sde_storage *storage);
int sde_storage_close_error(struct sde_storage *storage, struct sde_error *error);

/* ------------------------------------------------------------------------
 * Arrays: handles over what was stored
 */

/*
 * Copy a selection into `out`, in C order: along axis i the indices start[i],
 * start[i] + step[i], ... of which there are count[i]. start NULL means zeros,
 * count NULL as many as fit, step NULL ones. Steps are at least 1. out_size is
 * in bytes and must be what the selection takes, at least.
 *
 * All times of trajectory j of component i of data (d_X, N, M):
 *	uint64_t start[3] = { i, j, 0 }, count[3] = { 1, 1, M };
 *
 * -ERANGE if the selection leaves the shape, -ENOBUFS if out_size is too
 * small, SDE_E_HOLE, SDE_E_CORRUPT, SDE_E_STALE, -errno; `out` is then
 * undefined. A count of 0 along any axis is allowed and copies nothing.
 */
int sde_array_read(const struct sde_array *array, const uint64_t *start,
		   const uint64_t *count, const uint64_t *step,
		   void *out, size_t out_size);

/*
 * With on_hole NaN: what reads, maps and walks of this handle have filled so far, in order
 * of snapshots; neighbours with the same cause are put together. A hole is a whole inner
 * chunk (of time and iteration: a chunk's snapshots in a block), of which a read may
 * have touched a part only. `hole` may be NULL. Returns how many it calls it for, so
 * 0: every value read through this handle is as it was stored; or -EINVAL, -ENOMEM.
 * The list takes some 48 bytes for each, not more the longer a run of missing files
 * is. What a whole store has lost, before it is read, sde_storage_verify tells.
 * Any thread, at any time.
 */
int sde_array_holes(const struct sde_array *array, sde_damage_function *hole, void *ctx);

/*
 * A part of an array as sde_array_walk shows it: element (i, j, k) of the block,
 * which is (start[0] + i, start[1] + j, start[2] + k) of the array, is at
 * (const char *)data + i * strides[0] + j * strides[1] + k * strides[2]. Arrays with
 * fewer axes have counts of 1 behind the last. More fields may follow in later
 * versions.
 */
struct sde_block {
	const void *data;	/* until the function returns */
	uint64_t start[3], count[3];
	int64_t strides[3];	/* bytes, in any order, perhaps negative */
	unsigned thread;	/* which thread calls: 0 .. threads - 1 */
};
typedef int sde_walk_function(void *ctx, const struct sde_block *block);

/* SDE_WALK_OPTIONS_INIT; zero is the default, NULL all defaults. */
struct sde_walk_options {
	size_t size;
	/* that decode and call the function, at most 256; 0 and 1: the caller's.
	 * A compressed .npz file, and time and iteration, are read by one */
	unsigned threads;
	/* the selection, as for sde_array_read; NULL: all */
	const uint64_t *start, *count;
	/* 1: blocks have all trajectories of the selection, a whole chunk's at a
	 * time, one snapshot behind the other: for what needs the ensemble at once */
	int whole_snapshots;
};
#define SDE_WALK_OPTIONS_INIT \
	{ sizeof(struct sde_walk_options), 0, NULL, NULL, 0 }

/*
 * Call `function` with every part of the array, each once, in the order of storage:
 * for a Zarr store inner chunk by inner chunk as they are decoded, nothing is
 * copied, and behind them what is in the ring, a chunk's snapshots at a time. Memory:
 * a block a thread (with whole_snapshots, two chunks).
 *
 * With several threads the function is called by several at once; blocks are then
 * begun in that order, but not finished in it. They are threads of the library but
 * for one (signals are blocked in them), and thread numbers tell them apart.
 *
 * When the function returns something other than 0, no further block is begun, and
 * that is returned (of several the one of the first block). Else 0, -EINVAL, -ERANGE,
 * or what reading gave.
 */
int sde_array_walk(const struct sde_array *array, const struct sde_walk_options *options,
		   sde_walk_function *function, void *ctx);

/* What stands where a lazily mapped array cannot be read. */
enum sde_map_hole {
	SDE_MAP_HOLE_DEFAULT = 0,	/* NaN */
	SDE_MAP_HOLE_NAN = 1,		/* NaN, in every number that is lost */
	SDE_MAP_HOLE_SIGBUS = 2		/* any touch of the chunk raises SIGBUS */
};

/* How touches of memory that is not there are noticed. */
enum sde_paging {
	SDE_PAGING_DEFAULT = 0,		/* userfaultfd if there is one, else signal */
	SDE_PAGING_USERFAULTFD = 1,	/* userfaultfd(2), or SDE_E_UNSUPPORTED */
	/* a handler of SIGSEGV, which stays for the life of the process and calls
	 * the one that was there before for what is not its own. A thread that
	 * blocks SIGSEGV must not touch the array */
	SDE_PAGING_SIGNAL = 2
};

/* SDE_MAP_OPTIONS_INIT; zero is the default, NULL all defaults. */
struct sde_map_options {
	size_t size;
	size_t budget;			/* bytes of memory; 0: 256 MiB */
	enum sde_map_hole on_hole;
	/* other than DEFAULT: map lazily, however small the array is */
	enum sde_paging paging;
};
#define SDE_MAP_OPTIONS_INIT \
	{ sizeof(struct sde_map_options), 0, SDE_MAP_HOLE_DEFAULT, SDE_PAGING_DEFAULT }

/*
 * A plain pointer to the whole array: element (i, j, k) is at
 * (char *)*base + i * strides[0] + j * strides[1] + k * strides[2]. `strides`
 * has room for ndim numbers (bytes). Valid until sde_array_close; read-only.
 *
 * Memory, and an uncompressed array that lies in one inner chunk of a file, are
 * shown where they are. An array that is not compressed and takes at most `budget`
 * bytes (0: 256 MiB), or is small, is copied into memory once. Any other data of a
 * Zarr store is mapped lazily: a chunk is decompressed when it is touched, and what
 * was decompressed longest ago is dropped when the budget is used up, to be
 * decompressed again when it is touched again. It has any number of threads. The
 * time axis is then the slowest: visit snapshot by snapshot; to follow one
 * trajectory, sde_array_read decodes less.
 *
 * A chunk that cannot be read (damaged, missing, the store truncated) is never shown
 * as zeros: its numbers are NaN, or touching it raises SIGBUS, as options say, and
 * sde_array_error has the sentence. (In a storage opened with on_hole NaN, NaN where a
 * file is missing or damaged is no error, and sde_array_holes lists it.) Memory that is not there makes system calls (and
 * so MPI) fail with EFAULT: see sde_array_materialize. After fork() only the parent
 * has it.
 *
 * -ENOMEM if the budget is less than four chunks of a lazily mapped array (at least
 * 64 KiB each), the addresses cannot be had, or an .npz file does not fit.
 * The options of a handle's first successful call hold.
 */
int sde_array_map(struct sde_array *array, size_t budget, const void **base,
		  int64_t *strides);
int sde_array_map_with(struct sde_array *array, const struct sde_map_options *options,
		       const void **base, int64_t *strides);

/*
 * Have a part of a mapped array in memory and keep it there, for a system call or
 * MPI, until sde_array_release gives the same part back (as often). It counts
 * against the budget, chunk by chunk. Nothing to do for arrays that are not mapped
 * lazily. start and count as for sde_array_read.
 *
 * -EINVAL if the array is not mapped, or release of what is not held; -ERANGE;
 * -ENOMEM if the budget has no room for it; or what reading gave: then nothing is
 * held.
 */
int sde_array_materialize(struct sde_array *array, const uint64_t *start, const uint64_t *count);
int sde_array_release(struct sde_array *array, const uint64_t *start, const uint64_t *count);

/* A hint that this part will be touched soon: decompressed in the background. */
int sde_array_prefetch(struct sde_array *array, const uint64_t *start, const uint64_t *count);

/* Number of axes (1 to 3), their lengths, the element type. array is not NULL. */
unsigned sde_array_ndim(const struct sde_array *array);
const uint64_t *sde_array_shape(const struct sde_array *array);
enum sde_dtype sde_array_dtype(const struct sde_array *array);

/*
 * The sentence of the last failed read or map of this handle by any thread;
 * returns its code, 0 if none failed.
 */
int sde_array_error(const struct sde_array *array, struct sde_error *error);

/* Accepts NULL. No other thread may be using the handle. */
void sde_array_close(struct sde_array *array);

/* ------------------------------------------------------------------------
 * NumPy files
 */

/* Options of sde_npz_write: SDE_NPZ_OPTIONS_INIT, zero is the default. */
struct sde_npz_options {
	size_t size;
	/* the selection along dimension, trajectory and time, as for
	 * sde_array_read; NULL: all */
	const uint64_t *start, *count, *step;
	int overwrite;		/* 1: replace a file that is there */
	int store;		/* 1: no compression; numbers aligned to 64 bytes */
	/* 1: data in C order, [d][n][m]; else Fortran order, [m][n][d], which is
	 * how a store is read fastest. np.load gives equal arrays */
	int c_order;
	unsigned threads;	/* that compress; default as for numpy options */
	/* called now and then with the bytes of arrays done and all; when it
	 * returns non-zero, writing stops with -ECANCELED and leaves nothing */
	int (*progress)(void *ctx, uint64_t done, uint64_t all);
	void *progress_ctx;
};
#define SDE_NPZ_OPTIONS_INIT \
	{ sizeof(struct sde_npz_options), NULL, NULL, NULL, 0, 0, 0, 0, NULL, NULL }

/*
 * Write arrays as a NumPy .npz at `path` (taken as it is): members time (M,),
 * data (d_X, N, M) and, unless it is NULL, iteration (M,). They may come from any
 * storage, or from sde_array_wrap; the M of time and iteration is that of data.
 * Memory is bounded whatever M is: some 32 MiB and what the threads take. The
 * file appears whole or not at all.
 *
 * -EEXIST without overwrite, -EINVAL for shapes that do not fit or an empty
 * selection, -ERANGE for one that leaves the shape, what reading the arrays gave,
 * -errno.
 */
int sde_npz_write(const char *path, const struct sde_array *time,
		  const struct sde_array *data, const struct sde_array *iteration,
		  const struct sde_npz_options *options, struct sde_error *error);

#ifdef __cplusplus
}
#endif

#endif /* SDESTORE_H */
