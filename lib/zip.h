/* SPDX-License-Identifier: MIT */
/*
 * The records of a zip file (PKWARE's APPNOTE.TXT 6.3.10, sections in brackets):
 *
 *	[4.3.7]  local header, name, extra fields; the member's bytes	for each
 *	[4.3.12] directory entry, name, extra fields			for each
 *	[4.3.14] zip64 end, [4.3.15] its locator	where 32 bits do not do
 *	[4.3.16] end, comment
 *
 * Made and read by ourselves, and here is why. libzip compresses what it is
 * given, on one thread, at close (its own way for compressed input came with
 * 1.10, and pulls: no room for a writer that pushes); libarchive's zip writer
 * takes no compressed input at all; both patch or describe sizes as they like.
 * minizip's raw members would do for the writer, but copy byte by byte through 64
 * KiB, lose errno in their table of file calls, and put their own extra field in
 * front of ours, so that members cannot be aligned; its reader does not promise
 * what ours must of hostile bytes. What is left to write is in zip.c.
 *
 * A local header always has a zip64 field, so that the sizes, which are known only
 * when the member is complete, can be put into it in place (NumPy does so too);
 * the directory has one where 32 bits do not do.
 */
#ifndef SDE_LIB_ZIP_H
#define SDE_LIB_ZIP_H

#include "error.h"

#include <stdbool.h>

enum sde__zip_method { SDE__ZIP_STORED = 0, SDE__ZIP_DEFLATED = 8 };

/* A member's name, with the 0. Ours are short; a longer one is not ours. */
#define SDE__ZIP_NAME_MAX 64

struct sde__zip_entry {
	char name[SDE__ZIP_NAME_MAX];	/* "" if it is longer than that */
	unsigned flags;			/* [4.4.4] */
	unsigned method;		/* [4.4.5] */
	uint32_t crc;
	uint64_t packed, raw;		/* sizes in the file, and inflated */
	uint64_t offset;		/* of the local header */
};

/* Where the directory is. */
struct sde__zip_end {
	uint64_t count;			/* entries */
	uint64_t size, offset;		/* bytes */
};

/* The limit from which a number goes into a zip64 field; lower only in tests. */
#define SDE__ZIP64_FROM 0xffffffffu

/* Encode. All return the size. */

/*
 * A local header. If `alignment` is not 0, a field of zeros makes the header end
 * at a multiple of it (the extra field 0xd935, as Android's zipalign).
 */
#define SDE__ZIP_LOCAL_MAX (30 + SDE__ZIP_NAME_MAX + 20 + 6 + 64)
size_t sde__zip_encode_local(const struct sde__zip_entry *entry, unsigned alignment,
			     unsigned char out[SDE__ZIP_LOCAL_MAX]);

#define SDE__ZIP_ENTRY_MAX (46 + SDE__ZIP_NAME_MAX + 28)
size_t sde__zip_encode_entry(const struct sde__zip_entry *entry, uint64_t zip64_from,
			     unsigned char out[SDE__ZIP_ENTRY_MAX]);

#define SDE__ZIP_END_MAX (56 + 20 + 22)
size_t sde__zip_encode_end(const struct sde__zip_end *end, uint64_t zip64_from,
			   unsigned char out[SDE__ZIP_END_MAX]);

/* Decode untrusted bytes. SDE_E_CORRUPT, SDE_E_UNSUPPORTED, with a sentence that
 * does not say which file. */

/*
 * Find the end from the last `n` bytes of a file of `file_size` bytes: all of it,
 * or SDE__ZIP_TAIL. The directory they speak of lies inside the file, right before
 * the end records.
 */
#define SDE__ZIP_TAIL (56 + 20 + 22 + 65535)
int sde__zip_decode_end(const unsigned char *tail, size_t n, uint64_t file_size,
			struct sde__zip_end *end, struct sde_error *error);

/*
 * Take the entry at *at of a directory of n bytes; *at moves behind it. Checked is
 * that its bytes are inside and the numbers complete, not what they say.
 */
int sde__zip_decode_entry(const unsigned char *directory, size_t n, size_t *at,
			  struct sde__zip_entry *entry, struct sde_error *error);

/* How a local header begins. Gives the size of all of it, with name and fields,
 * after comparing what it says with the directory's entry. `bytes` are the header
 * and a name as long as the entry's. */
#define SDE__ZIP_LOCAL_FIXED 30
int sde__zip_decode_local(const unsigned char *bytes, const struct sde__zip_entry *entry,
			  size_t *size, struct sde_error *error);

/* Does a file that begins so call itself a zip file? 4 bytes. */
bool sde__zip_begins(const unsigned char bytes[4]);

#endif
