/* SPDX-License-Identifier: MIT */
/*
 * One inner chunk: raw bytes <-> the bytes in the file.
 *
 *	blosc	a Blosc 1 frame (frame.h): lz4, clevel 5, bitshuffle, typesize of the
 *		dtype; raw inside its frame unless it shrinks by 2%
 *	lz4	numcodecs' LZ4: uint32 little-endian raw size, one LZ4 block
 *	none	the raw bytes
 *
 * each followed by a CRC-32C (4 bytes, little-endian) of all before it if
 * `checksum`. Thread-safe: no state.
 */
#ifndef SDE_LIB_CODEC_H
#define SDE_LIB_CODEC_H

#include "error.h"

#include <stdbool.h>

struct sde__codec {
	enum sde_codec id;	/* never DEFAULT */
	size_t item;		/* 4 or 8 */
	bool checksum;
	/* mantissa bits that the raw bytes were rounded to (strided.h), of no interest to
	 * the codec itself; 0: they are exact */
	unsigned keepbits;
};

/* The largest raw size this codec takes. */
size_t sde__codec_limit(const struct sde__codec *codec);

/* The room encode needs for raw_size bytes. */
size_t sde__codec_bound(const struct sde__codec *codec, size_t raw_size);

/*
 * The memory that a thread which encodes raw_size bytes, again and again, comes to hold
 * beside its own.
 */
size_t sde__codec_memory(const struct sde__codec *codec, size_t raw_size);

/*
 * The most raw bytes that `size` encoded ones can be: 255 times as many, for a byte of
 * an LZ4 block lengthens a match by at most that (and Blosc adds to the encoded ones
 * only).
 */
size_t sde__codec_most(const struct sde__codec *codec, size_t size);

/* out has sde__codec_bound bytes; with codec none it may be raw. SDE_E_CODEC, -ENOMEM. */
int sde__codec_encode(const struct sde__codec *codec, const void *raw,
		      size_t raw_size, void *out, size_t *out_size);

/*
 * Decode untrusted bytes into exactly raw_size bytes. Never reads or writes
 * outside, never allocates by a number found in the bytes. SDE_E_CORRUPT with
 * a sentence that says what did not hold (not which file: the caller's part).
 */
int sde__codec_decode(const struct sde__codec *codec, const void *bytes,
		      size_t size, void *raw, size_t raw_size,
		      struct sde_error *error);

/* "blosc-lz4-bitshuffle", "lz4", "none"; "unknown" for anything else. */
const char *sde__codec_name(enum sde_codec id);

#endif
