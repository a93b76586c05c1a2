/* SPDX-License-Identifier: MIT */
/*
 * A NumPy .npz file, written once from front to back: a zip file with one .npy
 * file, called "<name>.npy", for each array.
 *
 *	sde__npz_create(&writer, io, "out.npz", &options, error);
 *	sde__npz_member_begin(writer, "time", &array, error);
 *	sde__npz_append(writer, bytes, n, error);	(any number of times, or
 *							 reserve and commit)
 *	sde__npz_member_end(writer, error);
 *	...						(the next member)
 *	sde__npz_finish(writer, error);			or sde__npz_abandon(writer)
 *
 * The file grows under the name ".out.npz.XXXXXXXX.tmp" beside its final place
 * (".XXXXXXXX.tmp" if that is too long). finish syncs it, renames it, syncs the
 * directory; abandon, or a finish that fails, removes it: under the final name
 * there is all of it or what was there before. (If the very last sync fails, that of
 * the directory, finish fails and the whole file is there: whether it outlives a
 * power loss is unknown.)
 *
 * Memory is bounded by `most` and the number of threads (deflate_pipe.h), whatever the
 * sizes.
 * Equal arrays make equal bytes, however they were cut into appends, with any
 * number of threads (with ISA-L: on CPUs of one kind).
 *
 * One thread at a time. The first failure is kept: every later call but abandon
 * returns it, and finish ends in it.
 */
#ifndef SDE_LIB_NPZ_WRITER_H
#define SDE_LIB_NPZ_WRITER_H

#include "io.h"
#include "npy.h"

/* A member's name without ".npy": at most this long, without '/'. */
#define SDE__NPZ_NAME_MAX 32
#define SDE__NPZ_MEMBERS_MAX 8

/* Zeros are the defaults. */
struct sde__npz_options {
	unsigned threads;	/* that compress; 0: the caller's */
	bool stored;		/* do not compress; the numbers of each member then
				 * begin at a multiple of 64 bytes in the file */
	bool overwrite;		/* replace a file that is there */
	size_t most;		/* bytes reserved at once; 0: a megabyte */
	const char *engine;	/* of deflate.h; NULL: the best */
	uint64_t zip64_from;	/* for tests: see zip.h */
};

struct sde__npz_writer;

/*
 * The directory of `path` must be there. io stays the caller's and must outlive the
 * writer; path and options are copied. *out is NULL on failure.
 *
 * -EEXIST without overwrite if the path exists (looked at now, to be told before
 * hours of work, and refused once more by finish, if it came meanwhile); -EISDIR, or
 * -EINVAL if it is no regular file; -errno.
 */
int sde__npz_create(struct sde__npz_writer **out, const struct sde__io *io, const char *path,
		    const struct sde__npz_options *options, struct sde_error *error);

/* -EINVAL for a name that is too long or was there already, for a shape that
 * overflows, or if a member is open. */
int sde__npz_member_begin(struct sde__npz_writer *writer, const char *name,
			  const struct sde__npy *array, struct sde_error *error);

/* n bytes more of the open member: little-endian numbers in the order that `array`
 * says. -EINVAL if they are more than its shape has. */
int sde__npz_append(struct sde__npz_writer *writer, const void *bytes, size_t n,
		    struct sde_error *error);

/*
 * The same without a copy: *room is for the next n bytes, at most options.most; they
 * are put there and committed before anything else is called. -EINVAL as append.
 */
int sde__npz_reserve(struct sde__npz_writer *writer, size_t n, void **room,
		     struct sde_error *error);
int sde__npz_commit(struct sde__npz_writer *writer, size_t n, struct sde_error *error);

/* -EINVAL if bytes are missing. */
int sde__npz_member_end(struct sde__npz_writer *writer, struct sde_error *error);

/* Both free the writer, always. abandon accepts NULL. */
int sde__npz_finish(struct sde__npz_writer *writer, struct sde_error *error);
void sde__npz_abandon(struct sde__npz_writer *writer);

#endif
