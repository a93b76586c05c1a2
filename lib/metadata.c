/* SPDX-License-Identifier: MIT */
/*
 * Zarr metadata, written: what both formats have in common. Guards the bytes
 * that other readers see, whose forms are in metadata_v2.c and metadata_v3.c.
 *
 * Invariants:
 * 1. What is written of a store that parse would accept, parse accepts: what a
 *    JSON integer (int64, as jansson has them) cannot hold is refused here, and
 *    so are attributes too deep or too large to be read back.
 * 2. A tree half built is never leaked: see metadata_json.h. json_pack() is used
 *    with scalars only.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "metadata_form.h"

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

static const struct sde__metadata_form *const forms[] = { &sde__metadata_v2, &sde__metadata_v3 };

const struct sde__metadata_form *sde__metadata_form(unsigned zarr_format)
{
	size_t i;

	for (i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (forms[i]->zarr_format == zarr_format)
			return forms[i];
	return NULL;
}

const char *sde__document_path(unsigned zarr_format, enum sde__document document)
{
	const struct sde__metadata_form *form = sde__metadata_form(zarr_format);

	return form ? form->path[document] : NULL;
}

void sde__metadata_clear(struct sde__metadata *metadata)
{
	free(metadata->attributes);
	free(metadata->time_units);
	memset(metadata, 0, sizeof(*metadata));
}

int sde__metadata_copy(struct sde__metadata *to, const struct sde__metadata *from,
		       struct sde_error *error)
{
	*to = *from;
	to->attributes = from->attributes ? strdup(from->attributes) : NULL;
	to->time_units = from->time_units ? strdup(from->time_units) : NULL;
	if ((!from->attributes || to->attributes) && (!from->time_units || to->time_units))
		return 0;
	sde__metadata_clear(to);
	return sde__fail(error, -ENOMEM, "out of memory");
}

static unsigned nibble(char digit)
{
	return digit <= '9' ? (unsigned)(digit - '0') : (unsigned)(digit - 'a') + 10;
}

void sde__metadata_run(const struct sde__metadata *metadata, unsigned char run[16])
{
	const char *digits = metadata->run;

	for (int i = 0; i < 16; i++)
		run[i] = (unsigned char)(nibble(digits[2 * i]) << 4 | nibble(digits[2 * i + 1]));
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

/*
 * jansson leaves out a byte of a token of 16 or more when it gets no memory for it,
 * and goes on. So a text is parsed twice: what differs is no document.
 */
static bool is_again(const json_t *json, const char *text, size_t size)
{
	json_t *again = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	const bool same = again && json_equal(json, again);

	json_decref(again);
	return same;
}

int sde__json_load(const char *text, size_t size, json_t **out, json_error_t *why)
{
	*out = json_loadb(text, size, JSON_REJECT_DUPLICATES, why);
	if (*out && is_again(*out, text, size))
		return 0;
	if (*out) {
		json_decref(*out);
		*out = NULL;
		return -ENOMEM;
	}
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

json_t *sde__json_with(json_t *object, const char *key, json_t *value)
{
	if (json_object_set_new(object, key, value)) {
		json_decref(object);
		return NULL;
	}
	return object;
}

json_t *sde__json_append(json_t *array, json_t *value)
{
	if (json_array_append_new(array, value)) {
		json_decref(array);
		return NULL;
	}
	return array;
}

json_t *sde__json_triple(uint64_t a, uint64_t b, uint64_t c)
{
	return json_pack("[I, I, I]", (json_int_t)a, (json_int_t)b, (json_int_t)c);
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
 * Ours
 */

json_t *sde__metadata_root_attributes(const struct sde__metadata *metadata)
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

	if (metadata->geometry.column_width)
		ours = sde__json_with(ours, "column_width",
				      json_integer((json_int_t)metadata->geometry.column_width));
	if (!metadata->attributes)
		attributes = json_object();
	else if (sde__json_load(metadata->attributes, strlen(metadata->attributes), &attributes,
				&why))
		attributes = NULL;
	return sde__json_with(attributes, SDE__ATTRIBUTE, ours);
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

/* What the document can say; that the sizes make sense was checked with the options. */
static int check_writable(const struct sde__metadata *metadata, enum sde__document document,
			  struct sde_error *error)
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

	if (!sde__document_path(metadata->zarr_format, document))
		return sde__fail(error, -EINVAL, "zarr_format %u has no document %d",
				 metadata->zarr_format, (int)document);
	if (metadata->zarr_format == 2 && metadata->checksum)
		return sde__fail(error, -EINVAL, "zarr_format 2 has no checksums");
	if (metadata->zarr_format == 2 && metadata->geometry.column_width)
		return sde__fail(error, SDE_E_UNSUPPORTED,
				 "zarr_format 2 has no columns, as a store that several write takes");
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
	json_t *json;
	size_t flags;
	int status;

	*text = NULL;
	status = check_writable(metadata, document, error);
	if (status)
		return status;
	json = sde__metadata_form(metadata->zarr_format)->document(metadata, document);
	/* zarr-python 2 reads its metadata as ASCII and nothing else */
	flags = SDE__JSON_INDENTED | (metadata->zarr_format == 2 ? JSON_ENSURE_ASCII : 0);
	status = json ? sde__json_text(json, flags, text) : -ENOMEM;
	json_decref(json);
	if (status)
		return sde__fail_why(error, status, "cannot write the metadata");
	return 0;
}
