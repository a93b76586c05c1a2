/* SPDX-License-Identifier: MIT */
/*
 * Documents of Zarr format 2. Guards what zarr-python 2, xarray, older GDAL and
 * the rest make of a store: the forms are those that all of them read
 * (metadata.h).
 *
 * Format 2 has no document for a group with its attributes and arrays: .zmetadata
 * is a convention of zarr-python's that the others follow, and repeats every
 * other document under its path. Members of a .zarray that the specification
 * does not name are ignored, as it demands.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "metadata_form.h"

#include <inttypes.h>

#define BITSHUFFLE 2	/* blosc's number for it */

/* ------------------------------------------------------------------------
 * Written
 */

/* What the three .zarray differ in; array_document takes the trees over. */
struct array {
	json_t *shape, *chunks;
	const char *dtype;
	json_t *compressor;
	json_t *fill_value;
};

static json_t *array_document(const struct array *array)
{
	json_t *json = json_pack("{s:i}", "zarr_format", 2);

	json = sde__json_with(json, "shape", array->shape);
	json = sde__json_with(json, "chunks", array->chunks);
	json = sde__json_with(json, "dtype", json_string(array->dtype));
	json = sde__json_with(json, "compressor", array->compressor);
	json = sde__json_with(json, "fill_value", array->fill_value);
	json = sde__json_with(json, "order", json_string("C"));
	json = sde__json_with(json, "filters", json_null());
	return sde__json_with(json, "dimension_separator", json_string("."));
}

static json_t *compressor(enum sde_codec codec)
{
	if (codec == SDE_CODEC_BLOSC_LZ4_BITSHUFFLE)
		return json_pack("{s:s, s:s, s:i, s:i, s:i}", "id", "blosc", "cname", "lz4",
				 "clevel", 5, "shuffle", BITSHUFFLE, "blocksize", 0);
	if (codec == SDE_CODEC_LZ4)
		return json_pack("{s:s, s:i}", "id", "lz4", "acceleration", 1);
	return json_null();
}

static json_t *data_document(const struct sde__metadata *metadata)
{
	const struct sde__geometry *geometry = &metadata->geometry;
	const struct array array = {
		.shape = sde__json_triple(geometry->dimension, geometry->trajectories,
					  metadata->snapshots),
		.chunks = sde__json_triple(geometry->dimension, geometry->inner_width,
					   geometry->chunk_size),
		.dtype = geometry->dtype == SDE_FLOAT32 ? "<f4" : "<f8",
		.compressor = compressor(metadata->codec),
		.fill_value = json_string("NaN"),
	};

	return array_document(&array);
}

/* time and iteration. */
static json_t *line_document(const struct sde__metadata *metadata, const char *dtype,
			     json_t *fill_value)
{
	const struct array array = {
		.shape = json_pack("[I]", (json_int_t)metadata->snapshots),
		.chunks = json_pack("[i]", SDE__TIME_BLOCK),
		.dtype = dtype,
		.compressor = json_null(),
		.fill_value = fill_value,
	};

	return array_document(&array);
}

static json_t *array_attributes(json_t *dimensions)
{
	return sde__json_with(json_object(), "_ARRAY_DIMENSIONS", dimensions);
}

static json_t *time_attributes(const struct sde__metadata *metadata)
{
	json_t *json = array_attributes(json_pack("[s]", "time"));

	if (metadata->time_units)
		json = sde__json_with(json, "units", json_string(metadata->time_units));
	return json;
}

static json_t *consolidated_document(const struct sde__metadata *metadata);

static json_t *document(const struct sde__metadata *metadata, enum sde__document which)
{
	switch (which) {
	case SDE__DOCUMENT_TIME:
		return line_document(metadata, "<f8", json_string("NaN"));
	case SDE__DOCUMENT_ITERATION:
		return line_document(metadata, "<i8", json_integer(-1));
	case SDE__DOCUMENT_DATA:
		return data_document(metadata);
	case SDE__DOCUMENT_CONSOLIDATED:
		return consolidated_document(metadata);
	case SDE__DOCUMENT_GROUP:
		return json_pack("{s:i}", "zarr_format", 2);
	case SDE__DOCUMENT_TIME_ATTRIBUTES:
		return time_attributes(metadata);
	case SDE__DOCUMENT_ITERATION_ATTRIBUTES:
		return array_attributes(json_pack("[s]", "time"));
	case SDE__DOCUMENT_DATA_ATTRIBUTES:
		return array_attributes(json_pack("[s, s, s]", "dimension", "trajectory", "time"));
	default:
		return sde__metadata_root_attributes(metadata);
	}
}

static json_t *consolidated_document(const struct sde__metadata *metadata)
{
	static const enum sde__document parts[] = {
		SDE__DOCUMENT_ROOT, SDE__DOCUMENT_GROUP,
		SDE__DOCUMENT_DATA, SDE__DOCUMENT_DATA_ATTRIBUTES,
		SDE__DOCUMENT_ITERATION, SDE__DOCUMENT_ITERATION_ATTRIBUTES,
		SDE__DOCUMENT_TIME, SDE__DOCUMENT_TIME_ATTRIBUTES,
	};
	json_t *json = json_pack("{s:i}", "zarr_consolidated_format", 1);
	json_t *all = json_object();
	size_t i;

	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		all = sde__json_with(all, sde__metadata_v2.path[parts[i]],
				     document(metadata, parts[i]));
	return sde__json_with(json, "metadata", all);
}

/* ------------------------------------------------------------------------
 * Parsed
 */

/* The root is its attributes, and nothing else. */
static int parse_root(const struct sde__source *source, json_t *json,
		      struct sde__metadata *metadata)
{
	return sde__metadata_parse_attributes(source, json, metadata);
}

static int parse_compressor(const struct sde__source *source, const json_t *json,
			    enum sde_codec *codec)
{
	const json_t *id = json_object_get(json, "id");
	const json_t *shuffle = json_object_get(json, "shuffle");

	if (json_is_null(json)) {
		*codec = SDE_CODEC_NONE;
		return 0;
	}
	if (sde__json_is_text(id, "lz4")) {
		*codec = SDE_CODEC_LZ4;
		return 0;
	}
	if (!sde__json_is_text(id, "blosc"))
		return sde__source_is_not(source, "compressor", json, "blosc, lz4 or null");
	if (!sde__json_is_integer(shuffle, BITSHUFFLE, BITSHUFFLE))
		return sde__source_is_not(source, "blosc's shuffle", shuffle, "2");
	*codec = SDE_CODEC_BLOSC_LZ4_BITSHUFFLE;
	return sde__metadata_check_blosc(source, json);
}

/* All that is the same in every data array of ours. */
static int check_data_form(const struct sde__source *source, const json_t *json)
{
	const json_t *format = json_object_get(json, "zarr_format");
	const json_t *order = json_object_get(json, "order");
	const json_t *fill = json_object_get(json, "fill_value");
	const json_t *filters = json_object_get(json, "filters");
	const json_t *separator = json_object_get(json, "dimension_separator");

	if (!sde__json_is_integer(format, 2, 2))
		return sde__source_is_not(source, "zarr_format", format, "2");
	if (!sde__json_is_text(order, "C"))
		return sde__source_is_not(source, "order", order, "\"C\"");
	if (!sde__json_is_text(fill, "NaN"))
		return sde__source_is_not(source, "fill_value", fill, "\"NaN\"");
	if (!json_is_null(filters) && !(json_is_array(filters) && json_array_size(filters) == 0))
		return sde__source_is_not(source, "filters", filters, "null");
	if (separator && !sde__json_is_text(separator, "."))
		return sde__source_is_not(source, "dimension_separator", separator, "\".\"");
	return 0;
}

static int parse_data(const struct sde__source *source, json_t *json,
		      struct sde__metadata *metadata)
{
	const json_t *type = json_object_get(json, "dtype");
	struct sde__geometry *geometry = &metadata->geometry;
	uint64_t shape[3], chunk[3];
	int status = check_data_form(source, json);

	if (status)
		return status;
	if (!sde__json_is_text(type, "<f8") && !sde__json_is_text(type, "<f4"))
		return sde__source_is_not(source, "dtype", type, "\"<f8\" or \"<f4\"");
	geometry->dtype = sde__json_is_text(type, "<f4") ? SDE_FLOAT32 : SDE_FLOAT64;
	status = parse_compressor(source, json_object_get(json, "compressor"), &metadata->codec);
	if (status == 0)
		status = sde__source_triple(source, json_object_get(json, "shape"), "shape", shape);
	if (status == 0)
		status = sde__source_triple(source, json_object_get(json, "chunks"), "chunks", chunk);
	if (status)
		return status;
	if (chunk[0] != shape[0])
		return sde__source_refuse(source, SDE_E_CORRUPT,
					  "chunks (%" PRIu64 ", %" PRIu64 ", %" PRIu64
					  ") do not cut a shape (%" PRIu64 ", %" PRIu64 ", M)",
					  chunk[0], chunk[1], chunk[2], shape[0], shape[1]);
	geometry->inner_width = chunk[1];
	geometry->chunk_size = chunk[2];
	return sde__metadata_take_shape(source, shape, metadata);
}

const struct sde__metadata_form sde__metadata_v2 = {
	.zarr_format = 2,
	.path = {
		[SDE__DOCUMENT_ROOT] = ".zattrs",
		[SDE__DOCUMENT_TIME] = "time/.zarray",
		[SDE__DOCUMENT_ITERATION] = "iteration/.zarray",
		[SDE__DOCUMENT_DATA] = "data/.zarray",
		[SDE__DOCUMENT_CONSOLIDATED] = ".zmetadata",
		[SDE__DOCUMENT_GROUP] = ".zgroup",
		[SDE__DOCUMENT_TIME_ATTRIBUTES] = "time/.zattrs",
		[SDE__DOCUMENT_ITERATION_ATTRIBUTES] = "iteration/.zattrs",
		[SDE__DOCUMENT_DATA_ATTRIBUTES] = "data/.zattrs",
	},
	.document = document,
	.parse_root = parse_root,
	.parse_data = parse_data,
};
