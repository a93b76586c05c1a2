/* SPDX-License-Identifier: MIT */
/*
 * Documents of Zarr format 3. Guards what zarr-python, xarray, GDAL and the rest
 * make of a store: the codec chain is one that all of them read (metadata.h).
 *
 * Accepted because it means the same: `storage_transformers` added, or a codec
 * without configuration as a bare string. A member that the Zarr specification
 * does not name is accepted only with "must_understand": false, as it demands.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "metadata_form.h"

#include <inttypes.h>
#include <string.h>

/* ------------------------------------------------------------------------
 * Arrays, written
 */

/* The parts of an array's document; array_document takes all of them over. */
struct array {
	json_t *shape;
	const char *data_type;
	json_t *chunk_shape;
	json_t *fill_value;
	json_t *codecs;
	json_t *attributes;
	json_t *dimension_names;
};

static json_t *array_document(const struct array *array)
{
	json_t *grid = json_pack("{s:s}", "name", "regular");
	json_t *keys = json_pack("{s:s, s:{s:s}}", "name", "default", "configuration",
				 "separator", "/");
	json_t *json = json_pack("{s:i, s:s}", "zarr_format", 3, "node_type", "array");

	grid = sde__json_with(grid, "configuration",
			      sde__json_with(json_object(), "chunk_shape", array->chunk_shape));
	json = sde__json_with(json, "shape", array->shape);
	json = sde__json_with(json, "data_type", json_string(array->data_type));
	json = sde__json_with(json, "chunk_grid", grid);
	json = sde__json_with(json, "chunk_key_encoding", keys);
	json = sde__json_with(json, "fill_value", array->fill_value);
	json = sde__json_with(json, "codecs", array->codecs);
	json = sde__json_with(json, "attributes", array->attributes);
	return sde__json_with(json, "dimension_names", array->dimension_names);
}

/* The codecs of time, iteration and a shard's index. */
static json_t *plain_codecs(void)
{
	return json_pack("[{s:s, s:{s:s}}, {s:s}]", "name", "bytes", "configuration", "endian",
			 "little", "name", "crc32c");
}

static json_t *inner_codecs(const struct sde__metadata *metadata)
{
	int item = (int)sde__dtype_size(metadata->geometry.dtype);
	json_t *codecs = json_pack("[{s:s, s:{s:s}}]", "name", "bytes", "configuration", "endian",
				   "little");

	if (metadata->codec == SDE_CODEC_BLOSC_LZ4_BITSHUFFLE)
		codecs = sde__json_append(
			codecs, json_pack("{s:s, s:{s:s, s:i, s:s, s:i, s:i}}", "name", "blosc",
					  "configuration", "cname", "lz4", "clevel", 5, "shuffle",
					  "bitshuffle", "typesize", item, "blocksize", 0));
	else if (metadata->codec == SDE_CODEC_LZ4)
		codecs = sde__json_append(
			codecs, json_pack("{s:s, s:{s:i}}", "name", "numcodecs.lz4",
					  "configuration", "acceleration", 1));
	if (metadata->checksum)
		codecs = sde__json_append(codecs, json_pack("{s:s}", "name", "crc32c"));
	return codecs;
}

static json_t *data_codecs(const struct sde__metadata *metadata)
{
	const struct sde__geometry *geometry = &metadata->geometry;
	json_t *inside = json_object();
	json_t *sharding = json_pack("{s:s}", "name", "sharding_indexed");

	inside = sde__json_with(inside, "chunk_shape",
				sde__json_triple(geometry->dimension, geometry->inner_width,
						 geometry->chunk_size));
	inside = sde__json_with(inside, "codecs", inner_codecs(metadata));
	inside = sde__json_with(inside, "index_codecs", plain_codecs());
	inside = sde__json_with(inside, "index_location", json_string("end"));
	return sde__json_append(json_array(), sde__json_with(sharding, "configuration", inside));
}

static json_t *data_document(const struct sde__metadata *metadata)
{
	const struct sde__geometry *geometry = &metadata->geometry;
	const struct array array = {
		.shape = sde__json_triple(geometry->dimension, geometry->trajectories,
					  metadata->snapshots),
		.data_type = geometry->dtype == SDE_FLOAT32 ? "float32" : "float64",
		.chunk_shape = sde__json_triple(geometry->dimension, sde__shard_width(geometry),
						geometry->chunk_size),
		.fill_value = json_string("NaN"),
		.codecs = data_codecs(metadata),
		.attributes = json_object(),
		.dimension_names = json_pack("[s, s, s]", "dimension", "trajectory", "time"),
	};

	return array_document(&array);
}

/* time and iteration, which differ in type, fill value and attributes. */
static json_t *line_document(const struct sde__metadata *metadata, const char *data_type,
			     json_t *fill_value, json_t *attributes)
{
	const struct array array = {
		.shape = json_pack("[I]", (json_int_t)metadata->snapshots),
		.data_type = data_type,
		.chunk_shape = json_pack("[i]", SDE__TIME_BLOCK),
		.fill_value = fill_value,
		.codecs = plain_codecs(),
		.attributes = attributes,
		.dimension_names = json_pack("[s]", "time"),
	};

	return array_document(&array);
}

static json_t *time_document(const struct sde__metadata *metadata)
{
	json_t *attributes = json_object();

	if (metadata->time_units)
		attributes = sde__json_with(attributes, "units", json_string(metadata->time_units));
	return line_document(metadata, "float64", json_string("NaN"), attributes);
}

static json_t *iteration_document(const struct sde__metadata *metadata)
{
	return line_document(metadata, "int64", json_integer(-1), json_object());
}

static json_t *root_document(const struct sde__metadata *metadata)
{
	json_t *arrays = json_object();
	json_t *attributes = sde__metadata_root_attributes(metadata);
	json_t *consolidated = json_pack("{s:s, s:b}", "kind", "inline", "must_understand", 0);
	json_t *json = json_pack("{s:i, s:s}", "zarr_format", 3, "node_type", "group");

	arrays = sde__json_with(arrays, "data", data_document(metadata));
	arrays = sde__json_with(arrays, "iteration", iteration_document(metadata));
	arrays = sde__json_with(arrays, "time", time_document(metadata));
	consolidated = sde__json_with(consolidated, "metadata", arrays);
	json = sde__json_with(json, "attributes", attributes);
	return sde__json_with(json, "consolidated_metadata", consolidated);
}

static json_t *document(const struct sde__metadata *metadata, enum sde__document which)
{
	switch (which) {
	case SDE__DOCUMENT_TIME:
		return time_document(metadata);
	case SDE__DOCUMENT_ITERATION:
		return iteration_document(metadata);
	case SDE__DOCUMENT_DATA:
		return data_document(metadata);
	default:
		return root_document(metadata);
	}
}

/* ------------------------------------------------------------------------
 * Arrays, parsed
 */

/* Zarr's named extension points: {"name": ...}, or the name alone. */
static bool is_named(const json_t *value, const char *name)
{
	return sde__json_is_text(value, name) ||
	       sde__json_is_text(json_object_get(value, "name"), name);
}

static json_t *configuration(const json_t *value)
{
	return json_object_get(value, "configuration");
}

/* The members the specification gives a document; `known` ends with NULL. */
static int check_members(const struct sde__source *source, json_t *document,
			 const char *const *known)
{
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach(document, key, value) {
		for (i = 0; known[i] && strcmp(known[i], key) != 0; i++)
			;
		if (!known[i] && !json_is_false(json_object_get(value, "must_understand")))
			return sde__source_refuse(source, SDE_E_CORRUPT,
						  "unknown member '%.64s'", key);
	}
	return 0;
}

static bool is_bytes_little(const json_t *codec)
{
	return is_named(codec, "bytes") &&
	       sde__json_is_text(json_object_get(configuration(codec), "endian"), "little");
}

static int parse_blosc(const struct sde__source *source, const json_t *codec, uint64_t item)
{
	const json_t *inside = configuration(codec);
	const json_t *shuffle = json_object_get(inside, "shuffle");
	uint64_t ignored;
	int status;

	if (!sde__json_is_text(shuffle, "bitshuffle"))
		return sde__source_is_not(source, "blosc's shuffle", shuffle, "\"bitshuffle\"");
	status = sde__source_integer(source, inside, "typesize", "blosc's typesize", item, item,
				     &ignored);
	return status ? status : sde__metadata_check_blosc(source, inside);
}

/* bytes, then blosc or numcodecs.lz4 or nothing, then crc32c or nothing. */
static int parse_inner_codecs(const struct sde__source *source, const json_t *codecs,
			      struct sde__metadata *metadata)
{
	const json_t *codec = json_array_get(codecs, 0);
	size_t i = 1;
	int status = 0;

	if (!is_bytes_little(codec))
		return sde__source_is_not(source, "the first inner codec", codec,
					  "bytes, little endian");
	codec = json_array_get(codecs, i);
	metadata->codec = SDE_CODEC_NONE;
	if (is_named(codec, "blosc")) {
		metadata->codec = SDE_CODEC_BLOSC_LZ4_BITSHUFFLE;
		status = parse_blosc(source, codec, sde__dtype_size(metadata->geometry.dtype));
		i++;
	} else if (is_named(codec, "numcodecs.lz4")) {
		metadata->codec = SDE_CODEC_LZ4;
		i++;
	}
	if (status)
		return status;
	metadata->checksum = is_named(json_array_get(codecs, i), "crc32c");
	if (metadata->checksum)
		i++;
	if (i != json_array_size(codecs))
		return sde__source_is_not(source, "an inner codec", json_array_get(codecs, i),
					  "one of blosc, numcodecs.lz4, crc32c in this order");
	return 0;
}

/* One sharding codec; *inside becomes its configuration. */
static int parse_sharding(const struct sde__source *source, const json_t *codecs,
			  struct sde__metadata *metadata, const json_t **inside)
{
	const json_t *sharding = json_array_get(codecs, 0);
	const json_t *index, *location;

	if (json_array_size(codecs) != 1 || !is_named(sharding, "sharding_indexed"))
		return sde__source_is_not(source, "codecs", codecs, "one sharding_indexed");
	*inside = configuration(sharding);
	index = json_object_get(*inside, "index_codecs");
	if (json_array_size(index) != 2 || !is_bytes_little(json_array_get(index, 0)) ||
	    !is_named(json_array_get(index, 1), "crc32c"))
		return sde__source_is_not(source, "index_codecs", index,
					  "bytes, little endian, and crc32c");
	location = json_object_get(*inside, "index_location");
	if (location && !sde__json_is_text(location, "end"))
		return sde__source_is_not(source, "index_location", location, "\"end\"");
	return parse_inner_codecs(source, json_object_get(*inside, "codecs"), metadata);
}

/* All that is the same in every data array of ours. */
static int check_data_form(const struct sde__source *source, json_t *json)
{
	static const char *const members[] = {
		"zarr_format", "node_type", "shape", "data_type", "chunk_grid",
		"chunk_key_encoding", "fill_value", "codecs", "attributes",
		"dimension_names", "storage_transformers", NULL
	};
	const json_t *format = json_object_get(json, "zarr_format");
	const json_t *type = json_object_get(json, "node_type");
	const json_t *keys = json_object_get(json, "chunk_key_encoding");
	const json_t *separator = json_object_get(configuration(keys), "separator");
	const json_t *fill = json_object_get(json, "fill_value");
	const json_t *names = json_object_get(json, "dimension_names");
	const json_t *attributes = json_object_get(json, "attributes");
	const json_t *transformers = json_object_get(json, "storage_transformers");

	if (!sde__json_is_integer(format, 3, 3))
		return sde__source_is_not(source, "zarr_format", format, "3");
	if (!sde__json_is_text(type, "array"))
		return sde__source_is_not(source, "node_type", type, "\"array\"");
	if (!is_named(keys, "default") || (separator && !sde__json_is_text(separator, "/")))
		return sde__source_is_not(source, "chunk_key_encoding", keys,
					  "default with separator /");
	if (!sde__json_is_text(fill, "NaN"))
		return sde__source_is_not(source, "fill_value", fill, "\"NaN\"");
	if (json_array_size(names) != 3 ||
	    !sde__json_is_text(json_array_get(names, 0), "dimension") ||
	    !sde__json_is_text(json_array_get(names, 1), "trajectory") ||
	    !sde__json_is_text(json_array_get(names, 2), "time"))
		return sde__source_is_not(source, "dimension_names", names,
					  "[\"dimension\",\"trajectory\",\"time\"]");
	if (attributes && !json_is_object(attributes))
		return sde__source_is_not(source, "attributes", attributes, "an object");
	if (transformers && (!json_is_array(transformers) || json_array_size(transformers) > 0))
		return sde__source_is_not(source, "storage_transformers", transformers, "[]");
	return check_members(source, json, members);
}

/* The three shapes make one geometry. */
static int take_shapes(const struct sde__source *source, const uint64_t shape[3],
		       const uint64_t chunk[3], const uint64_t inner[3],
		       struct sde__metadata *metadata)
{
	int status;

	metadata->geometry.chunk_size = chunk[2];
	metadata->geometry.inner_width = inner[1];
	status = sde__metadata_take_shape(source, shape, metadata);
	if (status)
		return status;
	if (chunk[0] == shape[0] && chunk[1] == sde__shard_width(&metadata->geometry) &&
	    inner[0] == shape[0] && inner[2] == chunk[2])
		return 0;
	return sde__source_refuse(source, SDE_E_CORRUPT,
				  "chunks (%" PRIu64 ", %" PRIu64 ", %" PRIu64 ") and inner chunks (%"
				  PRIu64 ", %" PRIu64 ", %" PRIu64 ") do not cut a shape (%" PRIu64
				  ", %" PRIu64 ", M)", chunk[0], chunk[1], chunk[2], inner[0],
				  inner[1], inner[2], shape[0], shape[1]);
}

static int parse_data(const struct sde__source *source, json_t *json,
		      struct sde__metadata *metadata)
{
	const json_t *type = json_object_get(json, "data_type");
	const json_t *grid = json_object_get(json, "chunk_grid");
	const json_t *inside = NULL;
	uint64_t shape[3], chunk[3], inner[3];
	int status = check_data_form(source, json);

	if (status)
		return status;
	if (!sde__json_is_text(type, "float64") && !sde__json_is_text(type, "float32"))
		return sde__source_is_not(source, "data_type", type, "\"float64\" or \"float32\"");
	metadata->geometry.dtype = sde__json_is_text(type, "float32") ? SDE_FLOAT32 : SDE_FLOAT64;
	if (!is_named(grid, "regular"))
		return sde__source_is_not(source, "chunk_grid", grid, "regular");
	status = sde__source_triple(source, json_object_get(json, "shape"), "shape", shape);
	if (status == 0)
		status = sde__source_triple(source,
					    json_object_get(configuration(grid), "chunk_shape"),
					    "chunk_shape", chunk);
	if (status == 0)
		status = parse_sharding(source, json_object_get(json, "codecs"), metadata, &inside);
	if (status == 0)
		status = sde__source_triple(source, json_object_get(inside, "chunk_shape"),
					    "the inner chunk_shape", inner);
	return status ? status : take_shapes(source, shape, chunk, inner, metadata);
}

/* ------------------------------------------------------------------------
 * The root, parsed
 */

static int check_group(const struct sde__source *source, const json_t *json)
{
	const json_t *format = json_object_get(json, "zarr_format");
	const json_t *type = json_object_get(json, "node_type");
	struct sde__shown shown;

	if (!sde__json_is_integer(format, 3, 3))
		return sde__source_refuse(source, SDE_E_NOT_STORE,
					  "not a store: zarr_format is %s, not 3",
					  sde__json_show(format, &shown));
	if (!sde__json_is_text(type, "group"))
		return sde__source_refuse(source, SDE_E_NOT_STORE,
					  "not a store: node_type is %s, not \"group\"",
					  sde__json_show(type, &shown));
	return 0;
}

/* Of the consolidated metadata nothing else is believed, and it may be missing. */
static const json_t *find_time_units(const json_t *json)
{
	static const char *const path[] = {
		"consolidated_metadata", "metadata", "time", "attributes", "units"
	};
	size_t i;

	for (i = 0; i < sizeof(path) / sizeof(path[0]); i++)
		json = json_object_get(json, path[i]);
	return json;
}

static int parse_root(const struct sde__source *source, json_t *json,
		      struct sde__metadata *metadata)
{
	static const char *const members[] = {
		"zarr_format", "node_type", "attributes", "consolidated_metadata", NULL
	};
	int status = check_group(source, json);

	if (status == 0)
		status = sde__metadata_parse_attributes(source, json_object_get(json, "attributes"),
							metadata);
	if (status == 0)
		status = check_members(source, json, members);
	return status ? status : sde__metadata_take_units(source, find_time_units(json), metadata);
}

const struct sde__metadata_form sde__metadata_v3 = {
	.zarr_format = 3,
	.path = {
		[SDE__DOCUMENT_ROOT] = "zarr.json",
		[SDE__DOCUMENT_TIME] = "time/zarr.json",
		[SDE__DOCUMENT_ITERATION] = "iteration/zarr.json",
		[SDE__DOCUMENT_DATA] = "data/zarr.json",
	},
	.document = document,
	.parse_root = parse_root,
	.parse_data = parse_data,
};
