/* SPDX-License-Identifier: MIT */
/*
 * Zarr metadata, parsed: what both formats have in common. Guards the rest of
 * the library against documents that are damaged, foreign, or changed by hand:
 * what comes out of here is a geometry, a codec chain and lengths that hold
 * together, or an error.
 *
 * What other writers may have done to our documents is accepted where it means
 * the same: zarr-python rewrites a document when an attribute is set through it,
 * with the keys in another order and members of its own.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "metadata_form.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_LIMIT 65536	/* of state_capacity, bytes: sdestore.h */

/* ------------------------------------------------------------------------
 * Sentences
 */

int sde__source_refuse(const struct sde__source *source, int code, const char *format, ...)
{
	char text[200];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	sde__json_printable(text);
	return sde__fail(source->error, code, "'%s/%s': %s", source->place, source->name, text);
}

int sde__source_no_memory(const struct sde__source *source)
{
	return sde__fail_why(source->error, -ENOMEM, "cannot parse '%s/%s'", source->place,
			     source->name);
}

const char *sde__json_show(const json_t *value, struct sde__shown *shown)
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

int sde__source_is_not(const struct sde__source *source, const char *what, const json_t *value,
		       const char *expected)
{
	struct sde__shown shown;

	return sde__source_refuse(source, SDE_E_CORRUPT, "%s is %s, not %s", what,
				  sde__json_show(value, &shown), expected);
}

/* ------------------------------------------------------------------------
 * Values
 */

bool sde__json_is_text(const json_t *value, const char *text)
{
	return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

bool sde__json_is_integer(const json_t *value, uint64_t min, uint64_t max)
{
	return json_is_integer(value) && json_integer_value(value) >= 0 &&
	       (uint64_t)json_integer_value(value) >= min &&
	       (uint64_t)json_integer_value(value) <= max;
}

int sde__source_integer(const struct sde__source *source, const json_t *object, const char *key,
			const char *what, uint64_t min, uint64_t max, uint64_t *out)
{
	const json_t *value = json_object_get(object, key);
	char range[80];

	if (sde__json_is_integer(value, min, max)) {
		*out = (uint64_t)json_integer_value(value);
		return 0;
	}
	snprintf(range, sizeof(range), "an integer from %" PRIu64 " to %" PRIu64, min, max);
	return sde__source_is_not(source, what, value, range);
}

int sde__source_triple(const struct sde__source *source, const json_t *array, const char *what,
		       uint64_t out[3])
{
	size_t i;

	if (!json_is_array(array) || json_array_size(array) != 3)
		return sde__source_is_not(source, what, array, "an array of three integers");
	for (i = 0; i < 3; i++) {
		const json_t *value = json_array_get(array, i);

		if (!sde__json_is_integer(value, 0, INT64_MAX))
			return sde__source_is_not(source, what, array,
						  "an array of three unsigned integers");
		out[i] = (uint64_t)json_integer_value(value);
	}
	return 0;
}

/* ------------------------------------------------------------------------
 * The data array
 */

int sde__metadata_check_blosc(const struct sde__source *source, const json_t *blosc)
{
	const json_t *cname = json_object_get(blosc, "cname");
	uint64_t ignored;
	int status;

	if (!sde__json_is_text(cname, "lz4"))
		return sde__source_is_not(source, "blosc's cname", cname, "\"lz4\"");
	status = sde__source_integer(source, blosc, "clevel", "blosc's clevel", 0, 9, &ignored);
	if (status)
		return status;
	return sde__source_integer(source, blosc, "blocksize", "blosc's blocksize", 0, INT32_MAX,
				   &ignored);
}

int sde__metadata_take_shape(const struct sde__source *source, const uint64_t shape[3],
			     struct sde__metadata *metadata)
{
	struct sde__geometry *geometry = &metadata->geometry;
	struct sde_error why = { 0 };

	geometry->dimension = shape[0];
	geometry->trajectories = shape[1];
	if (geometry->dtype == SDE_FLOAT32 && metadata->keepbits > 23)
		return sde__source_refuse(source, SDE_E_CORRUPT, "keepbits is %u, float32 has 23",
					  metadata->keepbits);
	if (sde__geometry_check(geometry, &why))
		return sde__source_refuse(source, SDE_E_CORRUPT, "%s", why.text);
	if (geometry->column_width && metadata->zarr_format == 2)
		return sde__source_refuse(source, SDE_E_CORRUPT, "zarr_format 2 has no columns");
	if (geometry->column_width >= geometry->trajectories)
		return sde__source_refuse(source, SDE_E_CORRUPT,
					  "%" PRIu64 " trajectories make no second column of %" PRIu64,
					  geometry->trajectories, geometry->column_width);
	if (metadata->snapshots > shape[2])
		return sde__source_refuse(source, SDE_E_CORRUPT,
					  "shape has %" PRIu64 " snapshots, the group's attributes "
					  "say %" PRIu64, shape[2], metadata->snapshots);
	if (metadata->snapshots > INT64_MAX / sde__snapshot_bytes(geometry))
		return sde__source_refuse(source, SDE_E_CORRUPT,
					  "%" PRIu64 " snapshots are more than any disk holds",
					  metadata->snapshots);
	return 0;
}

/* ------------------------------------------------------------------------
 * The root's attributes, and time's
 */

static int parse_run(const struct sde__source *source, const json_t *value, char run[33])
{
	const char *text = json_string_value(value);

	if (!text || strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32)
		return sde__source_is_not(source, SDE__ATTRIBUTE ".run", value,
					  "32 hexadecimal digits");
	memcpy(run, text, 33);
	return 0;
}

/* Our member. A newer version is told before anything else is judged. */
static int parse_ours(const struct sde__source *source, const json_t *ours,
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
		return sde__source_is_not(source, SDE__ATTRIBUTE, ours, "an object");
	status = sde__source_integer(source, ours, "version", SDE__ATTRIBUTE ".version", 1,
				     INT64_MAX, &version);
	if (status)
		return status;
	if (version > SDE__METADATA_VERSION)
		return sde__source_refuse(source, SDE_E_VERSION, "version %" PRIu64
					  ", and this library knows version %d", version,
					  SDE__METADATA_VERSION);
	status = parse_run(source, json_object_get(ours, "run"), metadata->run);
	for (i = 0; status == 0 && i < sizeof(fields) / sizeof(fields[0]); i++)
		status = sde__source_integer(source, ours, strrchr(fields[i].what, '.') + 1,
					     fields[i].what, fields[i].min, fields[i].max,
					     fields[i].out);
	if (status)
		return status;
	metadata->keepbits = (unsigned)keepbits;
	metadata->state_capacity = (unsigned)state_capacity;
	if (!json_object_get(ours, "column_width"))
		return 0;
	return sde__source_integer(source, ours, "column_width", SDE__ATTRIBUTE ".column_width", 1,
				   INT64_MAX, &metadata->geometry.column_width);
}

int sde__metadata_parse_attributes(const struct sde__source *source, json_t *attributes,
				   struct sde__metadata *metadata)
{
	const json_t *ours = json_object_get(attributes, SDE__ATTRIBUTE);
	int status;

	if (!ours)
		return sde__source_refuse(source, SDE_E_NOT_STORE, "not a store: "
					  "its attributes have no member '" SDE__ATTRIBUTE "'");
	status = parse_ours(source, ours, metadata);
	if (status)
		return status;
	json_object_del(attributes, SDE__ATTRIBUTE);
	if (json_object_size(attributes) == 0)
		return 0;
	if (sde__json_text(attributes, SDE__JSON_COMPACT, &metadata->attributes))
		return sde__source_no_memory(source);
	return 0;
}

int sde__metadata_take_units(const struct sde__source *source, const json_t *units,
			     struct sde__metadata *metadata)
{
	if (!json_is_string(units))
		return 0;
	metadata->time_units = strdup(json_string_value(units));
	return metadata->time_units ? 0 : sde__source_no_memory(source);
}

/* ------------------------------------------------------------------------
 * All of them
 */

static int load(const struct sde__source *source, const struct sde__text *text, json_t **out)
{
	json_error_t why;
	int status;

	*out = NULL;
	if (!text->bytes)
		return sde__source_refuse(source, SDE_E_CORRUPT, "missing");
	status = sde__json_load(text->bytes, text->size, out, &why);
	if (status == -ENOMEM)
		return sde__source_no_memory(source);
	if (status)
		return sde__source_refuse(source, SDE_E_CORRUPT, "line %d column %d: %s", why.line,
					  why.column, why.text);
	return 0;
}

/* A document that may be missing, or damaged, without a word. */
static int parse_time_attributes(const struct sde__source *source, const struct sde__text *text,
				 struct sde__metadata *metadata)
{
	json_error_t why;
	json_t *json = NULL;
	int status = 0;

	if (text->bytes)
		status = sde__json_load(text->bytes, text->size, &json, &why);
	if (status == -ENOMEM)
		return sde__source_no_memory(source);
	status = sde__metadata_take_units(source, json_object_get(json, "units"), metadata);
	json_decref(json);
	return status;
}

static int parse(const struct sde__metadata_form *form, const struct sde__metadata_texts *texts,
		 const char *place, struct sde__metadata *metadata, struct sde_error *error)
{
	const struct sde__source root = { place, form->path[SDE__DOCUMENT_ROOT], error };
	const struct sde__source data = { place, form->path[SDE__DOCUMENT_DATA], error };
	const struct sde__source time = { place, form->path[SDE__DOCUMENT_TIME_ATTRIBUTES], error };
	json_t *json;
	int status;

	status = load(&root, &texts->root, &json);
	if (status == 0)
		status = form->parse_root(&root, json, metadata);
	json_decref(json);
	if (status)
		return status;
	status = load(&data, &texts->data, &json);
	if (status == 0)
		status = form->parse_data(&data, json, metadata);
	json_decref(json);
	if (status == 0 && time.name)
		status = parse_time_attributes(&time, &texts->time_attributes, metadata);
	return status;
}

int sde__metadata_parse(struct sde__metadata *metadata, const struct sde__metadata_texts *texts,
			const char *place, struct sde_error *error)
{
	const struct sde__metadata_form *form = sde__metadata_form(texts->zarr_format);
	int status;

	memset(metadata, 0, sizeof(*metadata));
	if (!form)
		return sde__fail(error, SDE_E_UNSUPPORTED, "'%s' has zarr_format %u, not 2 or 3",
				 place, texts->zarr_format);
	metadata->zarr_format = form->zarr_format;
	status = parse(form, texts, place, metadata, error);
	if (status)
		sde__metadata_clear(metadata);
	return status;
}
