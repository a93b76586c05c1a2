/* SPDX-License-Identifier: MIT */
/*
 * The .npz file of a run, ours or PySDE's:
 *
 *	time.npy	(M,)		'<f8'
 *	data.npy	(d_X, N, M)	'<f8' or '<f4'; C or Fortran order
 *	iteration.npy	(M,)		'<i8'; may be missing (PySDE's has none)
 *
 * stored or deflated, each of them. Other members are not looked at. d_X and N are
 * at least 1, M may be 0.
 *
 * open checks all that can be checked without inflating: after it, every size and
 * offset lies in the file, no two members share bytes, shapes agree with each other
 * and with the bytes, and no member is larger than 1032 times its deflated bytes
 * (more, no deflate stream can be). What is in a member is checked by its CRC-32 when
 * a stream of it has been read to the end.
 *
 * A reader does not change after open: any thread may use it, each with its own
 * streams. Streams end before it does.
 */
#ifndef SDE_LIB_NPZ_READER_H
#define SDE_LIB_NPZ_READER_H

#include "inflate.h"
#include "npy.h"

enum sde__npz_member { SDE__NPZ_TIME, SDE__NPZ_DATA, SDE__NPZ_ITERATION, SDE__NPZ_MEMBERS };

struct sde__npz_array {
	bool present;			/* always, but for iteration */
	bool stored;
	struct sde__npy npy;
	uint64_t bytes;			/* of all numbers */
	uint64_t offset;		/* stored: of the first one, in the file */
	uint64_t packed;		/* what the member takes in the file */
};

struct sde__npz_reader;

/*
 * SDE_E_NOT_STORE if it is no zip file or has no time and data of these dimensions,
 * SDE_E_CORRUPT, SDE_E_UNSUPPORTED (encrypted, another method, types that are not
 * these), SDE_E_VERSION (a later .npy), -errno. *out is NULL on failure.
 */
int sde__npz_open(struct sde__npz_reader **out, const struct sde__io *io, const char *path,
		  struct sde_error *error);
void sde__npz_close(struct sde__npz_reader *reader);	/* accepts NULL */

const struct sde__npz_array *sde__npz_array(const struct sde__npz_reader *reader,
					    enum sde__npz_member member);

/* The file, for reading or mapping a stored member's numbers; stays the reader's. */
int sde__npz_handle(const struct sde__npz_reader *reader);

/*
 * A member's numbers from the first to the last, by inflate.h: read, skip, close.
 * Deflate has no other way: to begin elsewhere, skip. SDE_E_NO_DATA for an iteration
 * that is not there; -ENOMEM.
 */
int sde__npz_stream_open(struct sde__inflater **out, const struct sde__npz_reader *reader,
			 enum sde__npz_member member, struct sde_error *error);

#endif
