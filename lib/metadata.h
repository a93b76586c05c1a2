/* SPDX-License-Identifier: MIT */
/*
 * A store's Zarr metadata: what our zarr.json, or .zarray and .zattrs, files
 * say, written and parsed here and nowhere else.
 *
 * Ours in the root's attributes is one member, "sdestore", in both formats:
 *
 *	{ "version": 1, "run": "<32 hex digits>", "epoch": 0, "snapshots": M,
 *	  "stride": 1, "keepbits": 0, "state_capacity": 0 }
 *
 * and "column_width": W, if the store has several columns (format 3 only);
 * everything else there is the user's. `snapshots` and `epoch` are what
 * recovery believes: the root is written after the arrays when a store grows
 * and before them when it shrinks, so it never claims more than they hold.
 *
 * Zarr format 3: the root group, whose consolidated metadata repeats the three
 * arrays', and one document for each of them (see sdestore(5)):
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
 *
 * Zarr format 2: the root is .zattrs, which is the attributes alone; .zmetadata
 * repeats it and all of the others. Each array has a .zarray:
 *	time		(M,) <f8, fill "NaN", chunks of 8192, compressor null
 *	iteration	(M,) <i8, fill -1, likewise
 *	data		(d_X, N, M) <f8|<f4, fill "NaN", chunks (d_X, n, T),
 *			compressor blosc {"cname": "lz4", "clevel": 5,
 *			"shuffle": 2 (bits), "blocksize": 0} | lz4
 *			{"acceleration": 1} | null
 * all with order "C", filters null, dimension_separator "."; there is no place
 * for checksums. .zgroup, and an array's .zattrs with the _ARRAY_DIMENSIONS that
 * xarray reads and the units of time, never change.
 */
#ifndef SDE_LIB_METADATA_H
#define SDE_LIB_METADATA_H

#include "geometry.h"

#include <stdbool.h>

#define SDE__METADATA_VERSION 1
#define SDE__TIME_BLOCK 8192	/* chunk length of time and iteration */

enum sde__document {
	/* of both formats */
	SDE__DOCUMENT_ROOT,
	SDE__DOCUMENT_TIME,
	SDE__DOCUMENT_ITERATION,
	SDE__DOCUMENT_DATA,
	/* of format 2 */
	SDE__DOCUMENT_CONSOLIDATED,
	SDE__DOCUMENT_GROUP,
	SDE__DOCUMENT_TIME_ATTRIBUTES,
	SDE__DOCUMENT_ITERATION_ATTRIBUTES,
	SDE__DOCUMENT_DATA_ATTRIBUTES,
	SDE__DOCUMENT_COUNT
};

/* Its place below the store's root, "data/zarr.json"; NULL if the format has none. */
const char *sde__document_path(unsigned zarr_format, enum sde__document document);

struct sde__metadata {
	struct sde__geometry geometry;
	unsigned zarr_format;		/* 2 or 3 */
	enum sde_codec codec;		/* never DEFAULT */
	bool checksum;			/* never in format 2 */
	unsigned keepbits;
	unsigned state_capacity;
	uint64_t stride;
	uint64_t epoch;
	uint64_t snapshots;		/* M, published */
	char run[33];
	char *attributes;		/* the user's: JSON object text; owned; NULL: {} */
	char *time_units;		/* owned; NULL: none */
};

/* A copy that owns its own; -ENOMEM with *to cleared. */
int sde__metadata_copy(struct sde__metadata *to, const struct sde__metadata *from,
		       struct sde_error *error);
/* The run id of a parsed one, as bytes. */
void sde__metadata_run(const struct sde__metadata *metadata, unsigned char run[16]);

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
 * -EINVAL for what the format cannot say, a document it has not among it;
 * -EOVERFLOW for numbers beyond int64; -ENOMEM.
 */
int sde__metadata_write(const struct sde__metadata *metadata,
			enum sde__document document, char **text,
			struct sde_error *error);

/* Not terminated by a zero; bytes NULL: the document is not there. */
struct sde__text {
	const char *bytes;
	size_t size;
};

/* What a store is known by. */
struct sde__metadata_texts {
	unsigned zarr_format;			/* 2 or 3 */
	struct sde__text root, data;
	struct sde__text time_attributes;	/* of format 2 */
};

/*
 * Parse and validate the root's and data's documents; `metadata` is overwritten
 * (not cleared before). `place` is the store's path, for the sentences, which
 * name place/zarr.json, place/data/.zarray and so on. Everything the library
 * later relies on is checked here: types, ranges, geometry, the exact codec
 * chain, snapshots <= data's shape[2]. time_units are not relied on: they are
 * NULL if the document that has them is missing or makes no sense.
 * SDE_E_NOT_STORE: the root is JSON, but not of a Zarr group that has our
 * member. SDE_E_VERSION: "version" above ours. SDE_E_CORRUPT: anything else that
 * does not hold, a root that is no JSON among it.
 */
int sde__metadata_parse(struct sde__metadata *metadata, const struct sde__metadata_texts *texts,
			const char *place, struct sde_error *error);

#endif
