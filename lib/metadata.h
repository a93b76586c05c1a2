/* SPDX-License-Identifier: MIT */
/*
 * A store's Zarr metadata: what our zarr.json files say, written and parsed
 * here and nowhere else.
 *
 * Zarr format 3. Four documents: the root group, whose consolidated metadata
 * repeats the three arrays', and one for each of time, iteration and data. Ours
 * in the root's attributes is one member, "sdestore":
 *
 *	{ "version": 1, "run": "<32 hex digits>", "epoch": 0, "snapshots": M,
 *	  "stride": 1, "keepbits": 0, "state_capacity": 0 }
 *
 * everything else there is the user's. `snapshots` and `epoch` are what
 * recovery believes: the root is written last when a store grows and first
 * when it shrinks, so it never claims more than the arrays hold.
 *
 * The arrays' documents (see sdestore(5)):
 *	time		(M,) float64, fill "NaN", regular chunks of 8192,
 *			codecs [bytes little, crc32c], dimension_names ["time"],
 *			attributes {} or {"units": time_units}
 *	iteration	(M,) int64, fill -1, likewise
 *	data		(d_X, N, M) float64|float32, fill "NaN", regular chunks
 *			(d_X, W, T), codecs [sharding_indexed { chunk_shape
 *			[d_X, n, T], codecs [bytes little, blosc {...} |
 *			numcodecs.lz4 {"acceleration": 1} | nothing, crc32c if
 *			checksum], index_codecs [bytes little, crc32c],
 *			index_location end }], dimension_names
 *			["dimension", "trajectory", "time"]
 * all with chunk_key_encoding default, separator "/".
 */
#ifndef SDE_LIB_METADATA_H
#define SDE_LIB_METADATA_H

#include "geometry.h"

#include <stdbool.h>

#define SDE__METADATA_VERSION 1
#define SDE__TIME_BLOCK 8192	/* chunk length of time and iteration */

enum sde__document {
	SDE__DOCUMENT_ROOT,
	SDE__DOCUMENT_TIME,
	SDE__DOCUMENT_ITERATION,
	SDE__DOCUMENT_DATA,
	SDE__DOCUMENT_COUNT
};

struct sde__metadata {
	struct sde__geometry geometry;
	unsigned zarr_format;		/* 3 */
	enum sde_codec codec;		/* never DEFAULT */
	bool checksum;
	unsigned keepbits;
	unsigned state_capacity;
	uint64_t stride;
	uint64_t epoch;
	uint64_t snapshots;		/* M, published */
	char run[33];
	char *attributes;		/* the user's: JSON object text; owned; NULL: {} */
	char *time_units;		/* owned; NULL: none */
};

/* Frees what it owns and zeroes it. */
void sde__metadata_clear(struct sde__metadata *metadata);

/*
 * Take the user's attributes: `text` must be a JSON object without a member
 * "sdestore" (NULL is {}). Keeps its own compact copy. -EINVAL with the place
 * of the error in the text.
 */
int sde__metadata_set_attributes(struct sde__metadata *metadata, const char *text,
				 struct sde_error *error);

/*
 * The document as JSON text, malloc'd; the bytes depend on the fields alone.
 * User attributes keep the order and spelling of their values (reals 17 digits).
 * -ENOMEM.
 */
int sde__metadata_write(const struct sde__metadata *metadata,
			enum sde__document document, char **text,
			struct sde_error *error);

/*
 * Parse and validate the root's and data's documents; `metadata` is overwritten
 * (not cleared before). `place` is the store's path, for the sentences, which
 * name place/zarr.json or place/data/zarr.json. Everything the library later
 * relies on is checked here: types, ranges, geometry, the exact codec chain,
 * snapshots <= data's shape[2].
 * SDE_E_NOT_STORE: the root is JSON, but not of a Zarr group that has our
 * member. SDE_E_VERSION: "version" above ours. SDE_E_CORRUPT: anything else that
 * does not hold, a root that is no JSON among it.
 */
int sde__metadata_parse(struct sde__metadata *metadata, const char *root,
			size_t root_size, const char *data, size_t data_size,
			const char *place, struct sde_error *error);

#endif
