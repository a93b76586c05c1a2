/* SPDX-License-Identifier: MIT */
/*
 * Zarr metadata, parsed. Guards the rest of the library against documents that
 * are damaged, foreign, or changed by hand: what comes out of here is a
 * geometry, a codec chain and lengths that hold together, or an error.
 *
 * What other writers may have done to our documents is accepted where it means
 * the same: zarr-python rewrites a document when an attribute is set through
 * it, with the keys in another order, `storage_transformers` added, or a codec
 * without configuration as a bare string. A member that the Zarr specification
 * does not name is accepted only with "must_understand": false, as it demands.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "metadata.h"
#include "metadata_json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_LIMIT 65536	/* of state_capacity, bytes: sdestore.h */

/* One document under examination, for the sentences. */
struct source {
	const char *place;
	const char *name;	/* below place */
	struct sde_error *error;
};

/* ------------------------------------------------------------------------
 * Sentences
 */

static int refuse(const struct source *source, int code, const char *format, ...)
	SDE__PRINTF(3, 4);

static int refuse(const struct source *source, int code, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	sde__json_printable(text);
	return sde__fail(source->error, code, "'%s/%s': %s", source->place, source->name, text);
}

static int out_of_memory(const struct source *source)
{
	return sde__fail_why(source->error, -ENOMEM, "cannot parse '%s/%s'", source->place,
			     source->name);
}

/* A value as it stands in the document, cut to a few words. */
struct shown {
	char text[72];
};

static const char *show(const json_t *value, struct shown *shown)
{
	const size_t flags = JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY;
	const size_t room = sizeof(shown->text) - 4;

	if (!value)
		return "missing";
	/* where the room ends, jansson leaves the rest of the bytes as they are */
	memset(shown->text, 0, sizeof(shown->text));
	if (json_dumpb(value, shown->text, room, flags) > room)
		memcpy(shown->text + strlen(shown->text), "...", 4);
	return shown->text;
}

static int is_not(const struct source *source, const char *what, const json_t *value,
		  const char *expected)
{
	struct shown shown;

	return refuse(source, SDE_E_CORRUPT, "%s is %s, not %s", what, show(value, &shown),
		      expected);
}

/* ------------------------------------------------------------------------
 * Values
 */

static bool is_text(const json_t *value, const char *text)
{
	return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

static bool is_unsigned(const json_t *value, uint64_t min, uint64_t max)
{
	return json_is_integer(value) && json_integer_value(value) >= 0 &&
	       (uint64_t)json_integer_value(value) >= min &&
	       (uint64_t)json_integer_value(value) <= max;
}

/* object[key], an integer of min..max; `what` is its path in the document. */
static int take_unsigned(const struct source *source, const json_t *object, const char *key,
			 const char *what, uint64_t min, uint64_t max, uint64_t *out)
{
	const json_t *value = json_object_get(object, key);
	char range[80];

	if (is_unsigned(value, min, max)) {
		*out = (uint64_t)json_integer_value(value);
		return 0;
	}
	snprintf(range, sizeof(range), "an integer from %" PRIu64 " to %" PRIu64, min, max);
	return is_not(source, what, value, range);
}

static int take_triple(const struct source *source, const json_t *array, const char *what,
		       uint64_t out[3])
{
	size_t i;

	if (!json_is_array(array) || json_array_size(array) != 3)
		return is_not(source, what, array, "an array of three integers");
	for (i = 0; i < 3; i++) {
		const json_t *value = json_array_get(array, i);

		if (!is_unsigned(value, 0, INT64_MAX))
			return is_not(source, what, array, "an array of three unsigned integers");
		out[i] = (uint64_t)json_integer_value(value);
	}
	return 0;
}

/* Zarr's named extension points: {"name": ...}, or the name alone. */
static bool is_named(const json_t *value, const char *name)
{
	return is_text(value, name) || is_text(json_object_get(value, "name"), name);
}

static json_t *configuration(const json_t *value)
{
	return json_object_get(value, "configuration");
}

/* The members the specification gives a document; `known` ends with NULL. */
static int check_members(const struct source *source, json_t *document,
			 const char *const *known)
{
	const char *key;
	json_t *value;
	size_t i;

	json_object_foreach(document, key, value) {
		for (i = 0; known[i] && strcmp(known[i], key) != 0; i++)
			;
		if (!known[i] && !json_is_false(json_object_get(value, "must_understand")))
			return refuse(source, SDE_E_CORRUPT, "unknown member '%.64s'", key);
	}
	return 0;
}

/* ------------------------------------------------------------------------
 * The data array
 */

static bool is_bytes_little(const json_t *codec)
{
	return is_named(codec, "bytes") &&
	       is_text(json_object_get(configuration(codec), "endian"), "little");
}

static int parse_blosc(const struct source *source, const json_t *codec, uint64_t item)
{
	const json_t *inside = configuration(codec);
	const json_t *cname = json_object_get(inside, "cname");
	const json_t *shuffle = json_object_get(inside, "shuffle");
	uint64_t ignored;
	int status;

	if (!is_text(cname, "lz4"))
		return is_not(source, "blosc's cname", cname, "\"lz4\"");
	if (!is_text(shuffle, "bitshuffle"))
		return is_not(source, "blosc's shuffle", shuffle, "\"bitshuffle\"");
	status = take_unsigned(source, inside, "clevel", "blosc's clevel", 0, 9, &ignored);
	if (status == 0)
		status = take_unsigned(source, inside, "typesize", "blosc's typesize", item, item,
				       &ignored);
	if (status == 0)
		status = take_unsigned(source, inside, "blocksize", "blosc's blocksize", 0,
				       INT32_MAX, &ignored);
	return status;
}

/* bytes, then blosc or numcodecs.lz4 or nothing, then crc32c or nothing. */
static int parse_inner_codecs(const struct source *source, const json_t *codecs,
			      struct sde__metadata *metadata)
{
	const json_t *codec = json_array_get(codecs, 0);
	size_t i = 1;
	int status = 0;

	if (!is_bytes_little(codec))
		return is_not(source, "the first inner codec", codec, "bytes, little endian");
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
		return is_not(source, "an inner codec", json_array_get(codecs, i),
			      "one of blosc, numcodecs.lz4, crc32c in this order");
	return 0;
}

/* One sharding codec; *inside becomes its configuration. */
static int parse_sharding(const struct source *source, const json_t *codecs,
			  struct sde__metadata *metadata, const json_t **inside)
{
	const json_t *sharding = json_array_get(codecs, 0);
	const json_t *index, *location;

	if (json_array_size(codecs) != 1 || !is_named(sharding, "sharding_indexed"))
		return is_not(source, "codecs", codecs, "one sharding_indexed");
	*inside = configuration(sharding);
	index = json_object_get(*inside, "index_codecs");
	if (json_array_size(index) != 2 || !is_bytes_little(json_array_get(index, 0)) ||
	    !is_named(json_array_get(index, 1), "crc32c"))
		return is_not(source, "index_codecs", index, "bytes, little endian, and crc32c");
	location = json_object_get(*inside, "index_location");
	if (location && !is_text(location, "end"))
		return is_not(source, "index_location", location, "\"end\"");
	return parse_inner_codecs(source, json_object_get(*inside, "codecs"), metadata);
}

/* All that is the same in every data array of ours. */
static int check_data_form(const struct source *source, json_t *json)
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

	if (!is_unsigned(format, 3, 3))
		return is_not(source, "zarr_format", format, "3");
	if (!is_text(type, "array"))
		return is_not(source, "node_type", type, "\"array\"");
	if (!is_named(keys, "default") || (separator && !is_text(separator, "/")))
		return is_not(source, "chunk_key_encoding", keys, "default with separator /");
	if (!is_text(fill, "NaN"))
		return is_not(source, "fill_value", fill, "\"NaN\"");
	if (json_array_size(names) != 3 || !is_text(json_array_get(names, 0), "dimension") ||
	    !is_text(json_array_get(names, 1), "trajectory") ||
	    !is_text(json_array_get(names, 2), "time"))
		return is_not(source, "dimension_names", names,
			      "[\"dimension\",\"trajectory\",\"time\"]");
	if (attributes && !json_is_object(attributes))
		return is_not(source, "attributes", attributes, "an object");
	if (transformers && (!json_is_array(transformers) || json_array_size(transformers) > 0))
		return is_not(source, "storage_transformers", transformers, "[]");
	return check_members(source, json, members);
}

/* The three shapes make one geometry. */
static int check_data_shapes(const struct source *source, const struct sde__metadata *metadata,
			     const uint64_t shape[3], const uint64_t chunk[3],
			     const uint64_t inner[3])
{
	const struct sde__geometry *geometry = &metadata->geometry;
	struct sde_error why = { 0 };
	uint64_t width;

	if (sde__geometry_check(geometry, &why))
		return refuse(source, SDE_E_CORRUPT, "%s", why.text);
	width = sde__shard_width(geometry);
	if (chunk[0] != shape[0] || chunk[1] != width || inner[0] != shape[0] ||
	    inner[2] != chunk[2])
		return refuse(source, SDE_E_CORRUPT,
			      "chunks (%" PRIu64 ", %" PRIu64 ", %" PRIu64 ") and inner chunks (%"
			      PRIu64 ", %" PRIu64 ", %" PRIu64 ") do not cut a shape (%" PRIu64
			      ", %" PRIu64 ", M)", chunk[0], chunk[1], chunk[2], inner[0],
			      inner[1], inner[2], shape[0], shape[1]);
	if (metadata->snapshots > shape[2])
		return refuse(source, SDE_E_CORRUPT,
			      "shape has %" PRIu64 " snapshots, the group's attributes say %"
			      PRIu64, shape[2], metadata->snapshots);
	if (metadata->snapshots > INT64_MAX / sde__snapshot_bytes(geometry))
		return refuse(source, SDE_E_CORRUPT,
			      "%" PRIu64 " snapshots are more than any disk holds",
			      metadata->snapshots);
	return 0;
}

static int parse_data(const struct source *source, json_t *json, struct sde__metadata *metadata)
{
	const json_t *type = json_object_get(json, "data_type");
	const json_t *grid = json_object_get(json, "chunk_grid");
	const json_t *inside = NULL;
	struct sde__geometry *geometry = &metadata->geometry;
	uint64_t shape[3], chunk[3], inner[3];
	int status = check_data_form(source, json);

	if (status)
		return status;
	if (!is_text(type, "float64") && !is_text(type, "float32"))
		return is_not(source, "data_type", type, "\"float64\" or \"float32\"");
	geometry->dtype = is_text(type, "float32") ? SDE_FLOAT32 : SDE_FLOAT64;
	if (geometry->dtype == SDE_FLOAT32 && metadata->keepbits > 23)
		return refuse(source, SDE_E_CORRUPT, "keepbits is %u, float32 has 23",
			      metadata->keepbits);
	if (!is_named(grid, "regular"))
		return is_not(source, "chunk_grid", grid, "regular");
	status = take_triple(source, json_object_get(json, "shape"), "shape", shape);
	if (status == 0)
		status = take_triple(source, json_object_get(configuration(grid), "chunk_shape"),
				     "chunk_shape", chunk);
	if (status == 0)
		status = parse_sharding(source, json_object_get(json, "codecs"), metadata, &inside);
	if (status == 0)
		status = take_triple(source, json_object_get(inside, "chunk_shape"),
				     "the inner chunk_shape", inner);
	if (status)
		return status;
	geometry->dimension = shape[0];
	geometry->trajectories = shape[1];
	geometry->chunk_size = chunk[2];
	geometry->inner_width = inner[1];
	return check_data_shapes(source, metadata, shape, chunk, inner);
}

/* ------------------------------------------------------------------------
 * The root
 */

/* A Zarr group with a member of ours, whatever that says? */
static int check_ours(const struct source *source, const json_t *json)
{
	const json_t *format = json_object_get(json, "zarr_format");
	const json_t *type = json_object_get(json, "node_type");
	const json_t *attributes = json_object_get(json, "attributes");
	struct shown shown;

	if (!is_unsigned(format, 3, 3))
		return refuse(source, SDE_E_NOT_STORE, "not a store: zarr_format is %s, not 3",
			      show(format, &shown));
	if (!is_text(type, "group"))
		return refuse(source, SDE_E_NOT_STORE,
			      "not a store: node_type is %s, not \"group\"", show(type, &shown));
	if (!json_object_get(attributes, SDE__ATTRIBUTE))
		return refuse(source, SDE_E_NOT_STORE,
			      "not a store: its attributes have no member '" SDE__ATTRIBUTE "'");
	return 0;
}

static int parse_run(const struct source *source, const json_t *value, char run[33])
{
	const char *text = json_string_value(value);

	if (!text || strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32)
		return is_not(source, SDE__ATTRIBUTE ".run", value, "32 hexadecimal digits");
	memcpy(run, text, 33);
	return 0;
}

/* attributes.sdestore. A newer version is told before anything else is judged. */
static int parse_ours(const struct source *source, const json_t *ours,
		      struct sde__metadata *metadata)
{
	uint64_t version = 0, keepbits, state_capacity;
	const struct {
		const char *what;
		uint64_t min, max, *out;
	} fields[] = {
		{ SDE__ATTRIBUTE ".epoch", 0, INT64_MAX, &metadata->epoch },
		{ SDE__ATTRIBUTE ".snapshots", 0, INT64_MAX, &metadata->snapshots },
		{ SDE__ATTRIBUTE ".stride", 1, INT64_MAX, &metadata->stride },
		{ SDE__ATTRIBUTE ".keepbits", 0, 52, &keepbits },
		{ SDE__ATTRIBUTE ".state_capacity", 0, STATE_LIMIT, &state_capacity },
	};
	size_t i;
	int status;

	if (!json_is_object(ours))
		return is_not(source, SDE__ATTRIBUTE, ours, "an object");
	status = take_unsigned(source, ours, "version", SDE__ATTRIBUTE ".version", 1, INT64_MAX,
			       &version);
	if (status)
		return status;
	if (version > SDE__METADATA_VERSION)
		return refuse(source, SDE_E_VERSION, "version %" PRIu64
			      ", and this library knows version %d", version,
			      SDE__METADATA_VERSION);
	status = parse_run(source, json_object_get(ours, "run"), metadata->run);
	for (i = 0; status == 0 && i < sizeof(fields) / sizeof(fields[0]); i++)
		status = take_unsigned(source, ours, strrchr(fields[i].what, '.') + 1,
				       fields[i].what, fields[i].min, fields[i].max,
				       fields[i].out);
	if (status)
		return status;
	metadata->keepbits = (unsigned)keepbits;
	metadata->state_capacity = (unsigned)state_capacity;
	return 0;
}

/* Of the consolidated metadata nothing else is believed, and it may be missing. */
static int take_time_units(const struct source *source, const json_t *json,
			   struct sde__metadata *metadata)
{
	static const char *const path[] = {
		"consolidated_metadata", "metadata", "time", "attributes", "units"
	};
	size_t i;

	for (i = 0; i < sizeof(path) / sizeof(path[0]); i++)
		json = json_object_get(json, path[i]);
	if (!json_is_string(json))
		return 0;
	metadata->time_units = strdup(json_string_value(json));
	return metadata->time_units ? 0 : out_of_memory(source);
}

/* Removes our member from the tree on the way. */
static int take_attributes(const struct source *source, json_t *attributes,
			   struct sde__metadata *metadata)
{
	json_object_del(attributes, SDE__ATTRIBUTE);
	if (json_object_size(attributes) == 0)
		return 0;
	if (sde__json_text(attributes, SDE__JSON_COMPACT, &metadata->attributes))
		return out_of_memory(source);
	return 0;
}

static int parse_root(const struct source *source, json_t *json, struct sde__metadata *metadata)
{
	static const char *const members[] = {
		"zarr_format", "node_type", "attributes", "consolidated_metadata", NULL
	};
	json_t *attributes = json_object_get(json, "attributes");
	int status = check_ours(source, json);

	if (status == 0)
		status = parse_ours(source, json_object_get(attributes, SDE__ATTRIBUTE), metadata);
	if (status == 0)
		status = check_members(source, json, members);
	if (status == 0)
		status = take_time_units(source, json, metadata);
	if (status == 0)
		status = take_attributes(source, attributes, metadata);
	return status;
}

/* ------------------------------------------------------------------------
 * Both
 */

static int load(const struct source *source, const char *text, size_t size, json_t **out)
{
	json_error_t why;
	int status;

	*out = NULL;
	if (!text)
		return refuse(source, SDE_E_CORRUPT, "missing");
	status = sde__json_load(text, size, out, &why);
	if (status == -ENOMEM)
		return out_of_memory(source);
	if (status)
		return refuse(source, SDE_E_CORRUPT, "line %d column %d: %s", why.line,
			      why.column, why.text);
	return 0;
}

int sde__metadata_parse(struct sde__metadata *metadata, const char *root,
			size_t root_size, const char *data, size_t data_size,
			const char *place, struct sde_error *error)
{
	const struct source root_source = { place, "zarr.json", error };
	const struct source data_source = { place, "data/zarr.json", error };
	json_t *json;
	int status;

	memset(metadata, 0, sizeof(*metadata));
	metadata->zarr_format = 3;
	status = load(&root_source, root, root_size, &json);
	if (status == 0)
		status = parse_root(&root_source, json, metadata);
	json_decref(json);
	if (status)
		goto out;
	status = load(&data_source, data, data_size, &json);
	if (status == 0)
		status = parse_data(&data_source, json, metadata);
	json_decref(json);
out:
	if (status)
		sde__metadata_clear(metadata);
	return status;
}
