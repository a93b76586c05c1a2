/* SPDX-License-Identifier: MIT */
/*
 * Zarr metadata, written. Guards the exact documents that other readers see:
 * whatever changes here changes what zarr-python, xarray, GDAL and the rest
 * make of a store (the forms that all of them read are listed in metadata.h).
 *
 * Invariants:
 * 1. What is written of a store that parse would accept, parse accepts: what a
 *    JSON integer (int64, as jansson has them) cannot hold is refused here, and
 *    so are attributes too deep or too large to be read back.
 * 2. A tree half built is never leaked. with() and append() take over what they
 *    are given, also when it, or what it goes into, is NULL for want of memory;
 *    so a chain of them needs one test, at its end. json_pack() is used with
 *    scalars only.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "metadata.h"
#include "metadata_json.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/*
 * Of the user's attributes. Readers in Python recurse (its limit is 1000
 * frames) and our own parser stops at 2048 levels; the size is that of the
 * indented text, which is read back whole whenever a store is opened.
 */
#define DEPTH_LIMIT 64
#define SIZE_LIMIT (1u << 20)

void sde__metadata_clear(struct sde__metadata *metadata)
{
	free(metadata->attributes);
	free(metadata->time_units);
	memset(metadata, 0, sizeof(*metadata));
}

/* ------------------------------------------------------------------------
 * Text and trees
 */

void sde__json_printable(char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
}

/*
 * jansson reports a failed allocation by an empty text, except for that of a
 * string token: there it says that the token is invalid, having read past its
 * closing quote. No other token of which it says so ends in a quote.
 */
static bool out_of_memory(const char *text, size_t size, const json_error_t *why)
{
	size_t end = (size_t)why->position;
	bool invalid = strncmp(why->text, "invalid token", 13) == 0 ||
		       strncmp(why->text, "string or '}' expected", 22) == 0;

	if (why->text[0] == '\0')
		return true;
	return invalid && why->position > 0 && end <= size && text[end - 1] == '"';
}

int sde__json_load(const char *text, size_t size, json_t **out, json_error_t *why)
{
	*out = json_loadb(text, size, JSON_REJECT_DUPLICATES, why);
	if (*out)
		return 0;
	if (out_of_memory(text, size, why))
		return -ENOMEM;
	sde__json_printable(why->text);
	return -EINVAL;
}

int sde__json_text(const json_t *json, size_t flags, char **text)
{
	size_t size = json_dumpb(json, NULL, 0, flags);
	char *out;

	*text = NULL;
	if (size == 0)
		return -ENOMEM;
	out = malloc(size + 1);
	if (!out)
		return -ENOMEM;
	if (json_dumpb(json, out, size, flags) != size) {
		free(out);
		return -ENOMEM;
	}
	out[size] = '\0';
	*text = out;
	return 0;
}

static json_t *with(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value)) {
		json_decref(object);
		return NULL;
	}
	return object;
}

static json_t *append(json_t *array, json_t *value)
{
	if (json_array_append_new(array, value)) {
		json_decref(array);
		return NULL;
	}
	return array;
}

/* ------------------------------------------------------------------------
 * The user's attributes
 */

static bool nested_deeper(json_t *json, unsigned limit)
{
	const char *key;
	json_t *value;
	size_t i;

	if (!json_is_object(json) && !json_is_array(json))
		return false;
	if (limit == 0)
		return true;
	json_object_foreach(json, key, value)
		if (nested_deeper(value, limit - 1))
			return true;
	json_array_foreach(json, i, value)
		if (nested_deeper(value, limit - 1))
			return true;
	return false;
}

/* Refuses what the root could not hold, or could not be read with; -ENOMEM goes unsaid. */
static int check_attributes(json_t *json, struct sde_error *error)
{
	size_t size;

	if (!json_is_object(json))
		return sde__fail(error, -EINVAL, "'attributes' is a JSON array, not an object");
	if (json_object_get(json, SDE__ATTRIBUTE))
		return sde__fail(error, -EINVAL, "'attributes' has a member '" SDE__ATTRIBUTE
				 "', which is the library's own");
	if (nested_deeper(json, DEPTH_LIMIT))
		return sde__fail(error, -EINVAL, "'attributes' is nested deeper than %d levels",
				 DEPTH_LIMIT);
	size = json_dumpb(json, NULL, 0, SDE__JSON_INDENTED);
	if (size == 0)
		return -ENOMEM;
	if (size > SIZE_LIMIT)
		return sde__fail(error, -EINVAL, "'attributes' takes %zu bytes, more than %u",
				 size, SIZE_LIMIT);
	return 0;
}

int sde__metadata_set_attributes(struct sde__metadata *metadata, const char *text,
				 struct sde_error *error)
{
	char *compact = NULL;
	json_t *json = NULL;
	json_error_t why;
	int status = 0;

	if (text)
		status = sde__json_load(text, strlen(text), &json, &why);
	if (status == -EINVAL)
		return sde__fail(error, status, "cannot parse 'attributes', line %d column %d: %s",
				 why.line, why.column, why.text);
	if (status == 0 && json)
		status = check_attributes(json, error);
	if (status == 0 && json_object_size(json) > 0)
		status = sde__json_text(json, SDE__JSON_COMPACT, &compact);
	json_decref(json);
	if (status == -ENOMEM)
		return sde__fail_why(error, status, "cannot parse 'attributes'");
	if (status)
		return status;
	free(metadata->attributes);
	metadata->attributes = compact;
	return 0;
}

/* ------------------------------------------------------------------------
 * Arrays
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

	grid = with(grid, "configuration", with(json_object(), "chunk_shape", array->chunk_shape));
	json = with(json, "shape", array->shape);
	json = with(json, "data_type", json_string(array->data_type));
	json = with(json, "chunk_grid", grid);
	json = with(json, "chunk_key_encoding", keys);
	json = with(json, "fill_value", array->fill_value);
	json = with(json, "codecs", array->codecs);
	json = with(json, "attributes", array->attributes);
	return with(json, "dimension_names", array->dimension_names);
}

static json_t *triple(uint64_t a, uint64_t b, uint64_t c)
{
	return json_pack("[I, I, I]", (json_int_t)a, (json_int_t)b, (json_int_t)c);
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
		codecs = append(codecs,
				json_pack("{s:s, s:{s:s, s:i, s:s, s:i, s:i}}", "name", "blosc",
					  "configuration", "cname", "lz4", "clevel", 5, "shuffle",
					  "bitshuffle", "typesize", item, "blocksize", 0));
	else if (metadata->codec == SDE_CODEC_LZ4)
		codecs = append(codecs, json_pack("{s:s, s:{s:i}}", "name", "numcodecs.lz4",
						  "configuration", "acceleration", 1));
	if (metadata->checksum)
		codecs = append(codecs, json_pack("{s:s}", "name", "crc32c"));
	return codecs;
}

static json_t *data_codecs(const struct sde__metadata *metadata)
{
	const struct sde__geometry *geometry = &metadata->geometry;
	json_t *inside = json_object();
	json_t *sharding = json_pack("{s:s}", "name", "sharding_indexed");

	inside = with(inside, "chunk_shape", triple(geometry->dimension, geometry->inner_width,
						    geometry->chunk_size));
	inside = with(inside, "codecs", inner_codecs(metadata));
	inside = with(inside, "index_codecs", plain_codecs());
	inside = with(inside, "index_location", json_string("end"));
	return append(json_array(), with(sharding, "configuration", inside));
}

static json_t *data_document(const struct sde__metadata *metadata)
{
	const struct sde__geometry *geometry = &metadata->geometry;
	const struct array array = {
		.shape = triple(geometry->dimension, geometry->trajectories, metadata->snapshots),
		.data_type = geometry->dtype == SDE_FLOAT32 ? "float32" : "float64",
		.chunk_shape = triple(geometry->dimension, sde__shard_width(geometry),
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
		attributes = with(attributes, "units", json_string(metadata->time_units));
	return line_document(metadata, "float64", json_string("NaN"), attributes);
}

static json_t *iteration_document(const struct sde__metadata *metadata)
{
	return line_document(metadata, "int64", json_integer(-1), json_object());
}

/* ------------------------------------------------------------------------
 * The root
 */

static json_t *root_attributes(const struct sde__metadata *metadata)
{
	json_error_t why;
	json_t *attributes;
	json_t *ours = json_pack("{s:i, s:s, s:I, s:I, s:I, s:I, s:I}",
				 "version", SDE__METADATA_VERSION, "run", metadata->run,
				 "epoch", (json_int_t)metadata->epoch,
				 "snapshots", (json_int_t)metadata->snapshots,
				 "stride", (json_int_t)metadata->stride,
				 "keepbits", (json_int_t)metadata->keepbits,
				 "state_capacity", (json_int_t)metadata->state_capacity);

	if (!metadata->attributes)
		attributes = json_object();
	else if (sde__json_load(metadata->attributes, strlen(metadata->attributes), &attributes,
				&why))
		attributes = NULL;
	return with(attributes, SDE__ATTRIBUTE, ours);
}

static json_t *root_document(const struct sde__metadata *metadata)
{
	json_t *arrays = json_object();
	json_t *consolidated = json_pack("{s:s, s:b}", "kind", "inline", "must_understand", 0);
	json_t *json = json_pack("{s:i, s:s}", "zarr_format", 3, "node_type", "group");

	arrays = with(arrays, "data", data_document(metadata));
	arrays = with(arrays, "iteration", iteration_document(metadata));
	arrays = with(arrays, "time", time_document(metadata));
	json = with(json, "attributes", root_attributes(metadata));
	return with(json, "consolidated_metadata", with(consolidated, "metadata", arrays));
}

/* ------------------------------------------------------------------------
 * Any of them
 */

/*
 * RFC 3629. jansson checks it too, but cannot be asked without an allocation,
 * whose failure looks the same.
 */
static bool is_utf8(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	static const uint32_t smallest[] = { 0, 0x80, 0x800, 0x10000 };
	unsigned follow, i;
	uint32_t c;

	while (*p) {
		c = *p++;
		follow = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
		if ((c >= 0x80 && c < 0xc0) || c >= 0xf8)
			return false;
		if (follow)
			c &= 0x3fu >> follow;
		for (i = 0; i < follow; i++) {
			if ((*p & 0xc0) != 0x80)
				return false;
			c = c << 6 | (*p++ & 0x3fu);
		}
		if (c < smallest[follow] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
			return false;
	}
	return true;
}

/* What JSON can say; that the sizes make sense was checked with the options. */
static int check_writable(const struct sde__metadata *metadata, struct sde_error *error)
{
	const struct {
		const char *name;
		uint64_t value;
	} fields[] = {
		{ "dimension", metadata->geometry.dimension },
		{ "trajectories", metadata->geometry.trajectories },
		{ "chunk_size", metadata->geometry.chunk_size },
		{ "trajectories_per_chunk", metadata->geometry.inner_width },
		{ "stride", metadata->stride },
		{ "epoch", metadata->epoch },
		{ "snapshots", metadata->snapshots },
	};
	size_t i;

	for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (fields[i].value > INT64_MAX)
			return sde__fail(error, -EOVERFLOW,
					 "'%s' is %" PRIu64 ", too large for the metadata",
					 fields[i].name, fields[i].value);
	if (metadata->time_units && !is_utf8(metadata->time_units))
		return sde__fail(error, -EINVAL, "'time_units' is not UTF-8");
	return 0;
}

int sde__metadata_write(const struct sde__metadata *metadata,
			enum sde__document document, char **text,
			struct sde_error *error)
{
	json_t *(*const documents[SDE__DOCUMENT_COUNT])(const struct sde__metadata *) = {
		[SDE__DOCUMENT_ROOT] = root_document,
		[SDE__DOCUMENT_TIME] = time_document,
		[SDE__DOCUMENT_ITERATION] = iteration_document,
		[SDE__DOCUMENT_DATA] = data_document,
	};
	json_t *json;
	int status;

	*text = NULL;
	status = check_writable(metadata, error);
	if (status)
		return status;
	/* cppcheck-suppress uninitvar ; a static table, indexed by its enum */
	json = documents[document](metadata);
	status = json ? sde__json_text(json, SDE__JSON_INDENTED, text) : -ENOMEM;
	json_decref(json);
	if (status)
		return sde__fail_why(error, status, "cannot write the metadata");
	return 0;
}
