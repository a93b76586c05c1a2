/* SPDX-License-Identifier: MIT */
/*
 * Zarr metadata: documents against texts written by hand from the Zarr version 3
 * specification, and everything that is not one of ours refused by its code.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "../../lib/metadata.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PLACE "run.zarr"
#define RUN "0123456789abcdef0123456789abcdef"
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* d_X = 2, N = 21 in 3 inner chunks of 8 (W = 24), T = 16, M = 37. */
static struct sde__metadata example(enum sde_dtype dtype, enum sde_codec codec, bool checksum)
{
	struct sde__metadata metadata = {
		.geometry = { .dimension = 2, .trajectories = 21, .chunk_size = 16,
			      .inner_width = 8, .dtype = dtype },
		.zarr_format = 3, .codec = codec, .checksum = checksum,
		.keepbits = 0, .state_capacity = 2504, .stride = 10, .epoch = 4, .snapshots = 37,
		.run = RUN,
	};

	return metadata;
}

static struct sde__metadata plain_example(void)
{
	return example(SDE_FLOAT64, SDE_CODEC_BLOSC_LZ4_BITSHUFFLE, true);
}

static char *written(const struct sde__metadata *metadata, enum sde__document document)
{
	struct sde_error error = { 0 };
	char *text = NULL;

	assert_int_equal(sde__metadata_write(metadata, document, &text, &error), 0);
	assert_int_equal(error.code, 0);
	assert_non_null(text);
	return text;
}

static json_t *parsed_json(const char *text)
{
	json_error_t why;
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &why);

	if (!json)
		fail_msg("%d:%d: %s in %s", why.line, why.column, why.text, text);
	return json;
}

static int parse(struct sde__metadata *out, const char *root, const char *data,
		 struct sde_error *error)
{
	memset(error, 0, sizeof(*error));
	memset(out, 0x5a, sizeof(*out));
	return sde__metadata_parse(out, root, strlen(root), data, data ? strlen(data) : 0, PLACE,
				   error);
}

static void assert_same(const struct sde__metadata *a, const struct sde__metadata *b)
{
	assert_int_equal(a->geometry.dimension, b->geometry.dimension);
	assert_int_equal(a->geometry.trajectories, b->geometry.trajectories);
	assert_int_equal(a->geometry.chunk_size, b->geometry.chunk_size);
	assert_int_equal(a->geometry.inner_width, b->geometry.inner_width);
	assert_int_equal(a->geometry.dtype, b->geometry.dtype);
	assert_int_equal(a->zarr_format, b->zarr_format);
	assert_int_equal(a->codec, b->codec);
	assert_int_equal(a->checksum, b->checksum);
	assert_int_equal(a->keepbits, b->keepbits);
	assert_int_equal(a->state_capacity, b->state_capacity);
	assert_int_equal(a->stride, b->stride);
	assert_int_equal(a->epoch, b->epoch);
	assert_int_equal(a->snapshots, b->snapshots);
	assert_string_equal(a->run, b->run);
	assert_int_equal(!a->attributes, !b->attributes);
	if (a->attributes)
		assert_string_equal(a->attributes, b->attributes);
	assert_int_equal(!a->time_units, !b->time_units);
	if (a->time_units)
		assert_string_equal(a->time_units, b->time_units);
}

static void round_trip(const struct sde__metadata *metadata)
{
	char *root = written(metadata, SDE__DOCUMENT_ROOT);
	char *data = written(metadata, SDE__DOCUMENT_DATA);
	struct sde__metadata out;
	struct sde_error error;

	if (parse(&out, root, data, &error))
		fail_msg("%s", error.text);
	assert_same(metadata, &out);
	sde__metadata_clear(&out);
	free(root);
	free(data);
}

/* ------------------------------------------------------------------------
 * Writing
 */

static void every_field_comes_back(void **state)
{
	static const char attributes[] = "{\"dt\":0.5,\"model\":{\"name\":\"OU\",\"b\":[1,2]}}";
	unsigned i;

	(void)state;
	for (i = 0; i < 48; i++) {
		struct sde__metadata metadata = example(i & 1 ? SDE_FLOAT32 : SDE_FLOAT64,
							(enum sde_codec)(1 + i / 2 % 3),
							i / 6 % 2);

		if (i / 12 % 2)
			assert_int_equal(sde__metadata_set_attributes(&metadata, attributes, NULL),
					 0);
		if (i / 24 % 2)
			metadata.time_units = strdup("\xc2\xb5s");
		round_trip(&metadata);
		sde__metadata_clear(&metadata);
	}
}

static void the_largest_fields_come_back(void **state)
{
	struct sde__metadata metadata = plain_example();

	(void)state;
	metadata.epoch = INT64_MAX;
	metadata.stride = INT64_MAX;
	metadata.snapshots = INT64_MAX / (2 * 21 * 8);
	metadata.keepbits = 52;
	metadata.state_capacity = 65536;
	round_trip(&metadata);
}

static void sizes_beyond_int64_are_refused(void **state)
{
	struct sde__metadata metadata = plain_example();
	struct sde_error error = { 0 };
	char *text = (char *)1;

	(void)state;
	metadata.stride = (uint64_t)INT64_MAX + 1;
	assert_int_equal(sde__metadata_write(&metadata, SDE__DOCUMENT_ROOT, &text, &error),
			 -EOVERFLOW);
	assert_null(text);
	assert_string_equal(error.text,
			    "'stride' is 9223372036854775808, too large for the metadata");
}

/* The twin is jansson's own opinion of the same bytes. */
static void assert_units(const char *units)
{
	struct sde__metadata metadata = plain_example();
	struct sde_error error = { 0 };
	json_t *twin = json_string(units);
	char *text, *copy = strdup(units);
	int status;

	metadata.time_units = copy;
	status = sde__metadata_write(&metadata, SDE__DOCUMENT_TIME, &text, &error);
	assert_int_equal(status, twin ? 0 : -EINVAL);
	assert_int_equal(!text, !twin);
	if (!twin)
		assert_string_equal(error.text, "'time_units' is not UTF-8");
	free(text);
	free(copy);
	json_decref(twin);
}

static void units_that_are_not_utf8_are_refused(void **state)
{
	static const unsigned char edges[] = { 0, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0 };
	static const unsigned char first[] = { 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1,
					       0xf3, 0xf4, 0xf5, 0xf7, 0xf8, 0xfc, 0xff };
	unsigned i, j, k, l;

	(void)state;
	assert_units("\xc2\xb5s");
	assert_units("\xb5s");
	for (i = 0x80; i < 0x100; i++)
		for (j = 0; j < COUNT(edges); j++) {
			const char text[] = { (char)i, (char)edges[j], 0 };

			assert_units(text);
		}
	for (i = 0; i < COUNT(first); i++)
		for (j = 0; j < COUNT(edges); j++)
			for (k = 0; k < COUNT(edges); k++)
				for (l = 0; l < COUNT(edges); l++) {
					const char text[] = { (char)first[i], (char)edges[j],
							      (char)edges[k], (char)edges[l], 0 };

					assert_units(text);
				}
}

/* Texts from the specification, with what differs from case to case left open. */
#define EXPECTED_PLAIN \
	"[{\"name\":\"bytes\",\"configuration\":{\"endian\":\"little\"}},{\"name\":\"crc32c\"}]"
#define EXPECTED_LINE(type, fill, attributes) \
	"{\"zarr_format\":3,\"node_type\":\"array\",\"shape\":[37],\"data_type\":\"" type "\"," \
	"\"chunk_grid\":{\"name\":\"regular\",\"configuration\":{\"chunk_shape\":[8192]}}," \
	"\"chunk_key_encoding\":{\"name\":\"default\",\"configuration\":{\"separator\":\"/\"}}," \
	"\"fill_value\":" fill ",\"codecs\":" EXPECTED_PLAIN ",\"attributes\":" attributes "," \
	"\"dimension_names\":[\"time\"]}"

static const char expected_time[] = EXPECTED_LINE("float64", "\"NaN\"", "{\"units\":\"s\"}");
static const char expected_iteration[] = EXPECTED_LINE("int64", "-1", "{}");
static const char expected_data[] =
	"{\"zarr_format\":3,\"node_type\":\"array\",\"shape\":[2,21,37],\"data_type\":\"%s\","
	"\"chunk_grid\":{\"name\":\"regular\",\"configuration\":{\"chunk_shape\":[2,24,16]}},"
	"\"chunk_key_encoding\":{\"name\":\"default\",\"configuration\":{\"separator\":\"/\"}},"
	"\"fill_value\":\"NaN\",\"codecs\":[{\"name\":\"sharding_indexed\",\"configuration\":{"
	"\"chunk_shape\":[2,8,16],"
	"\"codecs\":[{\"name\":\"bytes\",\"configuration\":{\"endian\":\"little\"}}%s%s],"
	"\"index_codecs\":" EXPECTED_PLAIN ",\"index_location\":\"end\"}}],"
	"\"attributes\":{},\"dimension_names\":[\"dimension\",\"trajectory\",\"time\"]}";
static const char expected_root[] =
	"{\"zarr_format\":3,\"node_type\":\"group\","
	"\"attributes\":{\"seed\":1,\"sdestore\":{\"version\":1,\"run\":\"" RUN "\",\"epoch\":4,"
	"\"snapshots\":37,\"stride\":10,\"keepbits\":0,\"state_capacity\":2504}},"
	"\"consolidated_metadata\":{\"kind\":\"inline\",\"must_understand\":false,"
	"\"metadata\":{\"data\":%s,\"iteration\":%s,\"time\":%s}}}";

static void assert_document(const struct sde__metadata *metadata, enum sde__document document,
			    const char *expected)
{
	char *text = written(metadata, document);
	json_t *is = parsed_json(text), *should = parsed_json(expected);
	char *a, *b;

	assert_true(json_equal(is, should));
	/* json_equal does not see the order of members */
	a = json_dumps(is, JSON_COMPACT);
	b = json_dumps(should, JSON_COMPACT);
	assert_string_equal(a, b);
	free(a);
	free(b);
	json_decref(is);
	json_decref(should);
	free(text);
}

static void documents_are_what_the_specification_says(void **state)
{
	static const char *const types[] = { "float64", "float32" };
	static const char *const compressors[3][2] = {
		{ ",{\"name\":\"blosc\",\"configuration\":{\"cname\":\"lz4\",\"clevel\":5,"
		  "\"shuffle\":\"bitshuffle\",\"typesize\":8,\"blocksize\":0}}",
		  ",{\"name\":\"blosc\",\"configuration\":{\"cname\":\"lz4\",\"clevel\":5,"
		  "\"shuffle\":\"bitshuffle\",\"typesize\":4,\"blocksize\":0}}" },
		{ ",{\"name\":\"numcodecs.lz4\",\"configuration\":{\"acceleration\":1}}",
		  ",{\"name\":\"numcodecs.lz4\",\"configuration\":{\"acceleration\":1}}" },
		{ "", "" },
	};
	unsigned type, codec, sum;

	(void)state;
	for (type = 0; type < 2; type++)
		for (codec = 0; codec < 3; codec++)
			for (sum = 0; sum < 2; sum++) {
				struct sde__metadata metadata =
					example((enum sde_dtype)type, (enum sde_codec)(codec + 1),
						sum);
				char data[2048], root[8192];

				metadata.time_units = strdup("s");
				metadata.attributes = strdup("{\"seed\":1}");
				snprintf(data, sizeof(data), expected_data, types[type],
					 compressors[codec][type],
					 sum ? ",{\"name\":\"crc32c\"}" : "");
				snprintf(root, sizeof(root), expected_root, data,
					 expected_iteration, expected_time);
				assert_document(&metadata, SDE__DOCUMENT_DATA, data);
				assert_document(&metadata, SDE__DOCUMENT_TIME, expected_time);
				assert_document(&metadata, SDE__DOCUMENT_ITERATION,
						expected_iteration);
				assert_document(&metadata, SDE__DOCUMENT_ROOT, root);
				sde__metadata_clear(&metadata);
			}
}

static void an_empty_store_has_lengths_of_zero(void **state)
{
	struct sde__metadata metadata = plain_example();
	char *text;
	json_t *json;

	(void)state;
	metadata.snapshots = 0;
	round_trip(&metadata);
	text = written(&metadata, SDE__DOCUMENT_TIME);
	json = parsed_json(text);
	assert_int_equal(json_array_size(json_object_get(json, "shape")), 1);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(json, "shape"), 0)), 0);
	assert_int_equal(json_object_size(json_object_get(json, "attributes")), 0);
	json_decref(json);
	free(text);
}

/* ------------------------------------------------------------------------
 * The user's attributes
 */

static void attributes_keep_order_and_values(void **state)
{
	/* text given, text kept */
	static const char *const cases[][2] = {
		{ " { \"z\" : 1 , \"a\" : 2 } ", "{\"z\":1,\"a\":2}" },
		{ "{\"x\":9223372036854775807,\"y\":-9223372036854775808}",
		  "{\"x\":9223372036854775807,\"y\":-9223372036854775808}" },
		{ "{\"x\":0.1}", "{\"x\":0.10000000000000001}" },
		{ "{\"x\":[1.0,true,false,null,\"\"]}", "{\"x\":[1.0,true,false,null,\"\"]}" },
		{ "{\"\\u00e9\":\"a\\nb\"}", "{\"\xc3\xa9\":\"a\\nb\"}" },
		{ "{\"a\":{\"sdestore\":1}}", "{\"a\":{\"sdestore\":1}}" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(cases); i++) {
		struct sde__metadata metadata = plain_example();

		assert_int_equal(sde__metadata_set_attributes(&metadata, cases[i][0], NULL), 0);
		assert_string_equal(metadata.attributes, cases[i][1]);
		round_trip(&metadata);
		sde__metadata_clear(&metadata);
	}
}

static void a_double_keeps_its_bits(void **state)
{
	const double value = 0.1 + 0.2;		/* not 0.3 */
	struct sde__metadata metadata = plain_example();
	char text[64];
	json_t *json;

	(void)state;
	snprintf(text, sizeof(text), "{\"x\":%.17g}", value);
	assert_int_equal(sde__metadata_set_attributes(&metadata, text, NULL), 0);
	json = parsed_json(metadata.attributes);
	assert_true(json_real_value(json_object_get(json, "x")) == value);
	json_decref(json);
	sde__metadata_clear(&metadata);
}

static void no_attributes_are_an_empty_object(void **state)
{
	struct sde__metadata metadata = plain_example();

	(void)state;
	assert_int_equal(sde__metadata_set_attributes(&metadata, "{\"a\":1}", NULL), 0);
	assert_non_null(metadata.attributes);
	assert_int_equal(sde__metadata_set_attributes(&metadata, "{ }", NULL), 0);
	assert_null(metadata.attributes);
	assert_int_equal(sde__metadata_set_attributes(&metadata, "{\"a\":1}", NULL), 0);
	assert_int_equal(sde__metadata_set_attributes(&metadata, NULL, NULL), 0);
	assert_null(metadata.attributes);
}

static void bad_attributes_are_refused_and_change_nothing(void **state)
{
	/* text, a part of the sentence */
	static const char *const cases[][2] = {
		{ "", "line 1 column 0" },
		{ "{", "line 1 column 1" },
		{ "{\"a\":\n 1,}", "line 2 column 4" },
		{ "[1]", "not an object" },
		{ "1", "'[' or '{' expected" },
		{ "{\"a\":1} x", "end of file expected" },
		{ "{\"sdestore\":1}", "'sdestore'" },
		{ "{\"a\":1,\"a\":2}", "duplicate object key" },
		{ "{\"a\":NaN}", "invalid token" },
		{ "{\"a\":Infinity}", "invalid token" },
		{ "{\"a\":9223372036854775808}", "too big integer" },
		{ "{\"a\":-9223372036854775809}", "too big negative integer" },
		{ "{\"a\":1e999}", "real number overflow" },
		{ "{\"a\":\"\xff\"}", "unable to decode byte 0xff" },
		{ "{\"a\":\"\\u0000\"}", "not allowed" },
		{ "{\"a\":'b'}", "invalid token" },
		{ "{\"a\":\x1b[31m}", "near '?'" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(cases); i++) {
		struct sde__metadata metadata = plain_example();
		struct sde_error error = { 0 };

		metadata.attributes = strdup("{\"kept\":1}");
		assert_int_equal(sde__metadata_set_attributes(&metadata, cases[i][0], &error),
				 -EINVAL);
		if (!strstr(error.text, "'attributes'") || !strstr(error.text, cases[i][1]))
			fail_msg("case %zu: %s", i, error.text);
		assert_string_equal(metadata.attributes, "{\"kept\":1}");
		sde__metadata_clear(&metadata);
	}
}

/* {"a":[[...[]...]]} of `depth` levels, the object one of them. */
static char *nested(size_t depth)
{
	char *text = malloc(2 * depth + 16);

	assert_non_null(text);
	memcpy(text, "{\"a\":", 5);
	memset(text + 5, '[', depth - 1);
	memset(text + 5 + depth - 1, ']', depth - 1);
	memcpy(text + 5 + 2 * (depth - 1), "}", 2);
	return text;
}

static void attributes_too_deep_to_be_read_back_are_refused(void **state)
{
	static const size_t refused[] = { 65, 2047, 2049, 100000 };
	struct sde__metadata metadata = plain_example();
	struct sde_error error = { 0 };
	char *text = nested(64);
	size_t i;

	(void)state;
	assert_int_equal(sde__metadata_set_attributes(&metadata, text, NULL), 0);
	round_trip(&metadata);
	free(text);
	for (i = 0; i < COUNT(refused); i++) {
		text = nested(refused[i]);
		assert_int_equal(sde__metadata_set_attributes(&metadata, text, &error), -EINVAL);
		free(text);
	}
	assert_string_equal(error.text, "'attributes' is nested deeper than 64 levels");
	sde__metadata_clear(&metadata);
}

static void attributes_over_a_mebibyte_are_refused(void **state)
{
	static const size_t sizes[] = { 1000000, 1 << 20 };
	struct sde__metadata metadata = plain_example();
	size_t i;

	(void)state;
	for (i = 0; i < 2; i++) {
		char *text = malloc(sizes[i] + 16);

		assert_non_null(text);
		memcpy(text, "{\"a\":\"", 6);
		memset(text + 6, 'x', sizes[i]);
		memcpy(text + 6 + sizes[i], "\"}", 3);
		assert_int_equal(sde__metadata_set_attributes(&metadata, text, NULL),
				 i == 0 ? 0 : -EINVAL);
		free(text);
	}
	round_trip(&metadata);
	sde__metadata_clear(&metadata);
}

/* ------------------------------------------------------------------------
 * Parsing
 */

static void every_truncation_is_corrupt(void **state)
{
	struct sde__metadata metadata = plain_example(), out;
	char *root = written(&metadata, SDE__DOCUMENT_ROOT);
	char *data = written(&metadata, SDE__DOCUMENT_DATA);
	size_t root_size = strlen(root), data_size = strlen(data), i;

	(void)state;
	for (i = 0; i < root_size; i++) {
		struct sde_error error = { 0 };
		char *part = malloc(i + 1);	/* so that a sanitizer sees its end */

		memcpy(part, root, i);
		assert_int_equal(sde__metadata_parse(&out, part, i, data, data_size, PLACE,
						     &error), SDE_E_CORRUPT);
		assert_non_null(strstr(error.text, "'run.zarr/zarr.json'"));
		free(part);
	}
	for (i = 0; i < data_size; i++) {
		struct sde_error error = { 0 };

		assert_int_equal(sde__metadata_parse(&out, root, root_size, data, i, PLACE,
						     &error), SDE_E_CORRUPT);
		assert_non_null(strstr(error.text, "'run.zarr/data/zarr.json'"));
	}
	free(root);
	free(data);
}

static void a_foreign_group_is_not_a_store(void **state)
{
	static const char *const roots[] = {
		"{}",
		"[]",
		"{\"zarr_format\":3,\"node_type\":\"group\"}",
		"{\"zarr_format\":3,\"node_type\":\"group\",\"attributes\":{}}",
		"{\"zarr_format\":3,\"node_type\":\"group\",\"attributes\":[\"sdestore\"]}",
		"{\"zarr_format\":3,\"node_type\":\"array\",\"attributes\":{\"sdestore\":{}}}",
		"{\"zarr_format\":2,\"node_type\":\"group\",\"attributes\":{\"sdestore\":{}}}",
	};
	struct sde__metadata out;
	struct sde_error error;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(roots); i++) {
		assert_int_equal(parse(&out, roots[i], "{}", &error), SDE_E_NOT_STORE);
		assert_non_null(strstr(error.text, "'run.zarr/zarr.json'"));
		/* such a group may well have no array of that name */
		assert_int_equal(parse(&out, roots[i], NULL, &error), SDE_E_NOT_STORE);
	}
}

static void a_newer_version_is_told_whatever_else_it_says(void **state)
{
	static const char root[] =
		"{\"zarr_format\":3,\"node_type\":\"group\",\"must\":1,"
		"\"attributes\":{\"sdestore\":{\"version\":2,\"run\":7}}}";
	struct sde__metadata out;
	struct sde_error error;

	(void)state;
	assert_int_equal(parse(&out, root, "{}", &error), SDE_E_VERSION);
	assert_string_equal(error.text, "'run.zarr/zarr.json': version 2, and this library knows "
			    "version 1");
}

static void a_root_without_its_data_array_is_corrupt(void **state)
{
	struct sde__metadata metadata = plain_example(), out;
	char *root = written(&metadata, SDE__DOCUMENT_ROOT);
	struct sde_error error;

	(void)state;
	assert_int_equal(parse(&out, root, NULL, &error), SDE_E_CORRUPT);
	assert_string_equal(error.text, "'run.zarr/data/zarr.json': missing");
	free(root);
}

static json_t *child(json_t *json, const char *step)
{
	return json_is_array(json) ? json_array_get(json, (size_t)atoi(step)) :
				     json_object_get(json, step);
}

/* Put `value` (JSON; NULL removes) at a path like "codecs/0/name". */
static void mutate(json_t *json, const char *path, const char *value)
{
	char *copy = strdup(path), *rest = copy, *step = strsep(&rest, "/");
	json_t *new = NULL;
	int failed;

	for (; rest; step = strsep(&rest, "/")) {
		json = child(json, step);
		assert_non_null(json);
	}
	if (value)
		new = json_loads(value, JSON_DECODE_ANY, NULL);
	assert_int_equal(!new, !value);
	if (json_is_array(json) && value && (size_t)atoi(step) == json_array_size(json))
		failed = json_array_append_new(json, new);
	else if (json_is_array(json))
		failed = value ? json_array_set_new(json, (size_t)atoi(step), new) :
				 json_array_remove(json, (size_t)atoi(step));
	else
		failed = value ? json_object_set_new(json, step, new) :
				 json_object_del(json, step);
	assert_int_equal(failed, 0);
	free(copy);
}

struct mutation {
	enum sde__document document;
	const char *path, *value;
	int code;
};

/* The example with one thing changed. */
static int parse_mutated(const struct mutation *mutation, struct sde__metadata *out,
			 struct sde_error *error)
{
	struct sde__metadata metadata = plain_example();
	char *texts[2] = { written(&metadata, SDE__DOCUMENT_ROOT),
			   written(&metadata, SDE__DOCUMENT_DATA) };
	char **text = &texts[mutation->document == SDE__DOCUMENT_DATA];
	json_t *json = parsed_json(*text);
	int status;

	mutate(json, mutation->path, mutation->value);
	free(*text);
	*text = json_dumps(json, 0);
	json_decref(json);
	status = parse(out, texts[0], texts[1], error);
	free(texts[0]);
	free(texts[1]);
	return status;
}

#define ROOT SDE__DOCUMENT_ROOT
#define DATA SDE__DOCUMENT_DATA
#define OURS "attributes/sdestore/"
#define SHARDING "codecs/0/configuration/"
#define INNER SHARDING "codecs/"

static const struct mutation rejected[] = {
	{ ROOT, "zarr_format", "\"3\"", SDE_E_NOT_STORE },
	{ ROOT, "zarr_format", "4", SDE_E_NOT_STORE },
	{ ROOT, "node_type", NULL, SDE_E_NOT_STORE },
	{ ROOT, "attributes", "null", SDE_E_NOT_STORE },
	{ ROOT, "attributes/sdestore", NULL, SDE_E_NOT_STORE },
	{ ROOT, OURS "version", "2", SDE_E_VERSION },
	{ ROOT, OURS "version", "9223372036854775807", SDE_E_VERSION },
	{ ROOT, OURS "version", "0", SDE_E_CORRUPT },
	{ ROOT, OURS "version", "1.0", SDE_E_CORRUPT },
	{ ROOT, OURS "version", NULL, SDE_E_CORRUPT },
	{ ROOT, "attributes/sdestore", "[]", SDE_E_CORRUPT },
	{ ROOT, OURS "run", "\"0123456789ABCDEF0123456789abcdef\"", SDE_E_CORRUPT },
	{ ROOT, OURS "run", "\"0123456789abcdef0123456789abcde\"", SDE_E_CORRUPT },
	{ ROOT, OURS "run", "\"0123456789abcdef0123456789abcdef0\"", SDE_E_CORRUPT },
	{ ROOT, OURS "run", "7", SDE_E_CORRUPT },
	{ ROOT, OURS "run", NULL, SDE_E_CORRUPT },
	{ ROOT, OURS "epoch", "-1", SDE_E_CORRUPT },
	{ ROOT, OURS "epoch", "\"4\"", SDE_E_CORRUPT },
	{ ROOT, OURS "snapshots", "-1", SDE_E_CORRUPT },
	{ ROOT, OURS "snapshots", "38", SDE_E_CORRUPT },
	{ ROOT, OURS "snapshots", "9223372036854775807", SDE_E_CORRUPT },
	{ ROOT, OURS "snapshots", "37.0", SDE_E_CORRUPT },
	{ ROOT, OURS "stride", "0", SDE_E_CORRUPT },
	{ ROOT, OURS "stride", "true", SDE_E_CORRUPT },
	{ ROOT, OURS "keepbits", "53", SDE_E_CORRUPT },
	{ ROOT, OURS "state_capacity", "65537", SDE_E_CORRUPT },
	{ ROOT, OURS "state_capacity", "{}", SDE_E_CORRUPT },
	{ ROOT, "extension", "{\"must_understand\":true}", SDE_E_CORRUPT },
	{ DATA, "zarr_format", "2", SDE_E_CORRUPT },
	{ DATA, "node_type", "\"group\"", SDE_E_CORRUPT },
	{ DATA, "shape", "[2,21]", SDE_E_CORRUPT },
	{ DATA, "shape", "{}", SDE_E_CORRUPT },
	{ DATA, "shape/0", "3", SDE_E_CORRUPT },
	{ DATA, "shape/0", "0", SDE_E_CORRUPT },
	{ DATA, "shape/1", "25", SDE_E_CORRUPT },
	{ DATA, "shape/1", "16", SDE_E_CORRUPT },
	{ DATA, "shape/1", "-21", SDE_E_CORRUPT },
	{ DATA, "shape/1", "9223372036854775807", SDE_E_CORRUPT },
	{ DATA, "shape/2", "36", SDE_E_CORRUPT },
	{ DATA, "shape/2", "\"37\"", SDE_E_CORRUPT },
	{ DATA, "shape/2", "-37", SDE_E_CORRUPT },
	{ DATA, "data_type", "\"int64\"", SDE_E_CORRUPT },
	{ DATA, "data_type", "\"float32\"", SDE_E_CORRUPT },	/* typesize is 8 */
	{ DATA, "data_type", NULL, SDE_E_CORRUPT },
	{ DATA, "chunk_grid/name", "\"rectilinear\"", SDE_E_CORRUPT },
	{ DATA, "chunk_grid/configuration/chunk_shape", "[2,32,16]", SDE_E_CORRUPT },
	{ DATA, "chunk_grid/configuration/chunk_shape", "[2,21,16]", SDE_E_CORRUPT },
	{ DATA, "chunk_grid/configuration/chunk_shape", "[2,24,0]", SDE_E_CORRUPT },
	{ DATA, "chunk_grid/configuration/chunk_shape", "[2,24,8]", SDE_E_CORRUPT },
	{ DATA, "chunk_grid/configuration/chunk_shape", "[1,24,16]", SDE_E_CORRUPT },
	{ DATA, "chunk_key_encoding/name", "\"v2\"", SDE_E_CORRUPT },
	{ DATA, "chunk_key_encoding/configuration/separator", "\".\"", SDE_E_CORRUPT },
	{ DATA, "fill_value", "0", SDE_E_CORRUPT },
	{ DATA, "codecs", "[]", SDE_E_CORRUPT },
	{ DATA, "codecs/1", "{\"name\":\"crc32c\"}", SDE_E_CORRUPT },
	{ DATA, "codecs/0/name", "\"transpose\"", SDE_E_CORRUPT },
	{ DATA, "codecs/0/configuration", NULL, SDE_E_CORRUPT },
	{ DATA, SHARDING "chunk_shape", "[2,0,16]", SDE_E_CORRUPT },
	{ DATA, SHARDING "chunk_shape", "[2,32,16]", SDE_E_CORRUPT },
	{ DATA, SHARDING "chunk_shape", "[1,8,16]", SDE_E_CORRUPT },
	{ DATA, SHARDING "chunk_shape", "[2,8,8]", SDE_E_CORRUPT },
	{ DATA, SHARDING "chunk_shape", "[2,8,9223372036854775807]", SDE_E_CORRUPT },
	{ DATA, SHARDING "chunk_shape", "[2,9223372036854775807,16]", SDE_E_CORRUPT },
	{ DATA, SHARDING "codecs", "[]", SDE_E_CORRUPT },
	{ DATA, SHARDING "index_codecs", "[]", SDE_E_CORRUPT },
	{ DATA, SHARDING "index_codecs/1", NULL, SDE_E_CORRUPT },
	{ DATA, SHARDING "index_location", "\"start\"", SDE_E_CORRUPT },
	{ DATA, INNER "0/configuration/endian", "\"big\"", SDE_E_CORRUPT },
	{ DATA, INNER "0", NULL, SDE_E_CORRUPT },
	{ DATA, INNER "1/name", "\"zstd\"", SDE_E_CORRUPT },
	{ DATA, INNER "1/configuration/cname", "\"zlib\"", SDE_E_CORRUPT },
	{ DATA, INNER "1/configuration/shuffle", "\"shuffle\"", SDE_E_CORRUPT },
	{ DATA, INNER "1/configuration/shuffle", "2", SDE_E_CORRUPT },
	{ DATA, INNER "1/configuration/clevel", "10", SDE_E_CORRUPT },
	{ DATA, INNER "1/configuration/typesize", "4", SDE_E_CORRUPT },
	{ DATA, INNER "1/configuration/blocksize", "-1", SDE_E_CORRUPT },
	{ DATA, INNER "2/name", "\"fletcher32\"", SDE_E_CORRUPT },
	{ DATA, INNER "3", "{\"name\":\"crc32c\"}", SDE_E_CORRUPT },
	{ DATA, INNER "1", "{\"name\":\"crc32c\"}", SDE_E_CORRUPT },
	{ DATA, "dimension_names", "[\"a\",\"b\",\"c\"]", SDE_E_CORRUPT },
	{ DATA, "dimension_names", NULL, SDE_E_CORRUPT },
	{ DATA, "attributes", "[]", SDE_E_CORRUPT },
	{ DATA, "storage_transformers", "[{\"name\":\"x\"}]", SDE_E_CORRUPT },
	{ DATA, "extension", "{}", SDE_E_CORRUPT },
};

static void one_change_is_enough_to_be_refused(void **state)
{
	struct sde__metadata out;
	struct sde_error error;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(rejected); i++) {
		int status = parse_mutated(&rejected[i], &out, &error);

		if (status != rejected[i].code)
			fail_msg("%s = %s: %d %s", rejected[i].path,
				 rejected[i].value ? rejected[i].value : "nothing", status,
				 error.text);
		assert_int_equal(error.code, status);
		/* the data array's length is judged in its own document */
		if (rejected[i].document == DATA)
			assert_non_null(strstr(error.text, "'run.zarr/data/zarr.json': "));
		else
			assert_non_null(strstr(error.text, "'run.zarr/"));
		assert_null(out.attributes);
		assert_null(out.time_units);
	}
}

/* What other writers leave behind, and what a reader may see while a store grows. */
static const struct mutation accepted[] = {
	{ ROOT, "consolidated_metadata", NULL, 0 },
	{ ROOT, "consolidated_metadata", "null", 0 },
	{ ROOT, "consolidated_metadata/metadata", "[]", 0 },
	{ ROOT, "consolidated_metadata/metadata/time/attributes/units", "5", 0 },
	{ ROOT, "extension", "{\"must_understand\":false}", 0 },
	{ ROOT, OURS "later", "[1]", 0 },
	{ ROOT, OURS "snapshots", "36", 0 },
	{ DATA, "shape/2", "1000000", 0 },
	{ DATA, "storage_transformers", "[]", 0 },
	{ DATA, "attributes", NULL, 0 },
	{ DATA, "attributes", "{\"long_name\":\"velocity\"}", 0 },
	{ DATA, "extension", "{\"must_understand\":false}", 0 },
	{ DATA, "chunk_key_encoding", "\"default\"", 0 },
	{ DATA, SHARDING "index_location", NULL, 0 },
	{ DATA, INNER "1/configuration/clevel", "9", 0 },
	{ DATA, INNER "1/configuration/clevel", "0", 0 },
	{ DATA, INNER "1/configuration/blocksize", "65536", 0 },
	{ DATA, INNER "2", "\"crc32c\"", 0 },
};

static void what_means_the_same_is_accepted(void **state)
{
	struct sde__metadata out, original = plain_example();
	struct sde_error error;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(accepted); i++) {
		if (parse_mutated(&accepted[i], &out, &error))
			fail_msg("%s: %s", accepted[i].path, error.text);
		original.snapshots = strcmp(accepted[i].path, OURS "snapshots") ? 37 : 36;
		assert_same(&original, &out);
		sde__metadata_clear(&out);
	}
}

static void a_sentence_names_the_file_the_member_and_both_values(void **state)
{
	static const struct {
		struct mutation mutation;
		const char *text;
	} cases[] = {
		{ { DATA, "fill_value", "0", 0 },
		  "'run.zarr/data/zarr.json': fill_value is 0, not \"NaN\"" },
		{ { DATA, INNER "1/configuration/cname", "\"zs\\u001btd\"", 0 },
		  "'run.zarr/data/zarr.json': blosc's cname is \"zs\\u001Btd\", not \"lz4\"" },
		{ { ROOT, OURS "stride", NULL, 0 },
		  "'run.zarr/zarr.json': sdestore.stride is missing, not an integer from 1 to "
		  "9223372036854775807" },
		{ { DATA, "shape/2", "30", 0 },
		  "'run.zarr/data/zarr.json': shape has 30 snapshots, the group's attributes say "
		  "37" },
		{ { ROOT, "\033[2J", "1", 0 },
		  "'run.zarr/zarr.json': unknown member '?[2J'" },
	};
	struct sde__metadata out;
	struct sde_error error;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(cases); i++) {
		assert_true(parse_mutated(&cases[i].mutation, &out, &error) < 0);
		assert_string_equal(error.text, cases[i].text);
	}
}

static void a_value_too_long_for_a_sentence_is_cut(void **state)
{
	const struct mutation mutation = {
		DATA, "fill_value", "[1000000001,1000000002,1000000003,1000000004,1000000005,"
		"1000000006,1000000007,1000000008]", 0
	};
	struct sde__metadata out;
	struct sde_error error;

	(void)state;
	assert_int_equal(parse_mutated(&mutation, &out, &error), SDE_E_CORRUPT);
	assert_non_null(strstr(error.text, "fill_value is [1000000001,"));
	assert_non_null(strstr(error.text, "..., not \"NaN\""));
}

/* xorshift64* (Vigna 2016): the same mutations every time. */
static uint64_t random_next(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * UINT64_C(2685821657736338717);
}

static void damage(char *text, size_t size, uint64_t *seed)
{
	static const char likely[] = "0123456789-.eE{}[],:\"\\u\n\t nullfalse\x80\xff";
	unsigned changes = 1 + (unsigned)(random_next(seed) % 3);

	while (changes--) {
		uint64_t r = random_next(seed);
		size_t at = (size_t)(r >> 16) % size;

		text[at] = r & 1 ? likely[(r >> 1) % sizeof(likely)] : (char)(r >> 8);
	}
}

static void damaged_bytes_never_crash(void **state)
{
	struct sde__metadata metadata = plain_example(), out, again;
	char *documents[2], *copies[2];
	size_t sizes[2];
	uint64_t seed = 20240229;
	unsigned i, whole = 0;

	(void)state;
	metadata.attributes = strdup("{\"dt\":0.001,\"seeds\":[1,2,3]}");
	metadata.time_units = strdup("s");
	documents[0] = written(&metadata, ROOT);
	documents[1] = written(&metadata, DATA);
	for (i = 0; i < 2; i++) {
		sizes[i] = strlen(documents[i]);
		copies[i] = malloc(sizes[i]);
		assert_non_null(copies[i]);
	}
	for (i = 0; i < 20000; i++) {
		struct sde_error error = { 0 };
		char *root, *data;
		int status;

		memcpy(copies[0], documents[0], sizes[0]);
		memcpy(copies[1], documents[1], sizes[1]);
		damage(copies[i & 1], sizes[i & 1], &seed);
		status = sde__metadata_parse(&out, copies[0], sizes[0], copies[1], sizes[1], PLACE,
					     &error);
		assert_int_equal(status, error.code);
		assert_true(status == 0 || status == SDE_E_CORRUPT ||
			    status == SDE_E_NOT_STORE || status == SDE_E_VERSION);
		if (status)
			continue;
		/* what was believed makes a store whose own documents say the same */
		whole++;
		assert_int_equal(sde__geometry_check(&out.geometry, NULL), 0);
		root = written(&out, ROOT);
		data = written(&out, DATA);
		if (parse(&again, root, data, &error))
			fail_msg("%s", error.text);
		assert_same(&out, &again);
		sde__metadata_clear(&again);
		sde__metadata_clear(&out);
		free(root);
		free(data);
	}
	assert_in_range(whole, 1, 19999);
	for (i = 0; i < 2; i++) {
		free(documents[i]);
		free(copies[i]);
	}
	sde__metadata_clear(&metadata);
}

/* ------------------------------------------------------------------------
 * No memory
 */

static unsigned allocations, failing;	/* failing: which one, from 1; 0: none */
static bool spare_growth, failed_one;

/*
 * jansson's parser takes no notice when the buffer of its current token cannot
 * grow (powers of two from 32), and loses a letter: not ours to test.
 */
static void *failing_malloc(size_t size)
{
	if (spare_growth && size >= 32 && (size & (size - 1)) == 0)
		return malloc(size);
	if (++allocations == failing) {
		failed_one = true;
		return NULL;
	}
	return malloc(size);
}

static void arm(unsigned which, bool spare)
{
	allocations = 0;
	failing = which;
	spare_growth = spare;
	failed_one = false;
}

static void assert_no_memory(int status, const struct sde_error *error)
{
	if (!failed_one) {
		assert_int_equal(status, 0);
		return;
	}
	if (status != -ENOMEM)
		fail_msg("allocation %u: %d %s", failing, status, error->text);
	assert_int_equal(error->code, -ENOMEM);
}

static void writing_without_memory_is_enomem(void **state)
{
	unsigned document, which, attributes;
	bool again;

	(void)state;
	for (attributes = 0; attributes < 2; attributes++)
		for (document = 0; document < SDE__DOCUMENT_COUNT; document++) {
			struct sde__metadata metadata = plain_example();

			metadata.time_units = strdup("s");
			if (attributes)
				metadata.attributes = strdup("{\"a\":[1,0.5,\"text\",{}]}");
			again = true;
			for (which = 1; again; which++) {
				struct sde_error error = { 0 };
				char *text;
				int status;

				arm(which, attributes);
				status = sde__metadata_write(&metadata,
							     (enum sde__document)document, &text,
							     &error);
				again = failed_one;
				assert_no_memory(status, &error);
				arm(0, false);
				assert_int_equal(!text, status != 0);
				free(text);
			}
			assert_in_range(which, 20, 2000);
			sde__metadata_clear(&metadata);
		}
}

static void parsing_without_memory_is_enomem(void **state)
{
	struct sde__metadata metadata = plain_example(), out;
	char *root, *data;
	bool again = true;
	unsigned which;

	(void)state;
	metadata.attributes = strdup("{\"a\":[1,0.5,\"text\",{}]}");
	metadata.time_units = strdup("s");
	root = written(&metadata, ROOT);
	data = written(&metadata, DATA);
	for (which = 1; again; which++) {
		struct sde_error error;
		int status;

		arm(which, true);
		status = parse(&out, root, data, &error);
		again = failed_one;
		assert_no_memory(status, &error);
		arm(0, false);
		sde__metadata_clear(&out);
	}
	assert_in_range(which, 100, 5000);
	free(root);
	free(data);
	sde__metadata_clear(&metadata);
}

static void attributes_without_memory_are_enomem(void **state)
{
	bool again = true;
	unsigned which;

	(void)state;
	for (which = 1; again; which++) {
		struct sde__metadata metadata = plain_example();
		struct sde_error error = { 0 };
		int status;

		arm(which, true);
		status = sde__metadata_set_attributes(&metadata, "{\"a\":[1,\"b\"],\"c\":\"d\"}",
						      &error);
		again = failed_one;
		assert_no_memory(status, &error);
		arm(0, false);
		sde__metadata_clear(&metadata);
	}
	assert_in_range(which, 8, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_comes_back),
		cmocka_unit_test(the_largest_fields_come_back),
		cmocka_unit_test(sizes_beyond_int64_are_refused),
		cmocka_unit_test(units_that_are_not_utf8_are_refused),
		cmocka_unit_test(documents_are_what_the_specification_says),
		cmocka_unit_test(an_empty_store_has_lengths_of_zero),
		cmocka_unit_test(attributes_keep_order_and_values),
		cmocka_unit_test(a_double_keeps_its_bits),
		cmocka_unit_test(no_attributes_are_an_empty_object),
		cmocka_unit_test(bad_attributes_are_refused_and_change_nothing),
		cmocka_unit_test(attributes_too_deep_to_be_read_back_are_refused),
		cmocka_unit_test(attributes_over_a_mebibyte_are_refused),
		cmocka_unit_test(every_truncation_is_corrupt),
		cmocka_unit_test(a_foreign_group_is_not_a_store),
		cmocka_unit_test(a_newer_version_is_told_whatever_else_it_says),
		cmocka_unit_test(a_root_without_its_data_array_is_corrupt),
		cmocka_unit_test(one_change_is_enough_to_be_refused),
		cmocka_unit_test(what_means_the_same_is_accepted),
		cmocka_unit_test(a_sentence_names_the_file_the_member_and_both_values),
		cmocka_unit_test(a_value_too_long_for_a_sentence_is_cut),
		cmocka_unit_test(damaged_bytes_never_crash),
		cmocka_unit_test(writing_without_memory_is_enomem),
		cmocka_unit_test(parsing_without_memory_is_enomem),
		cmocka_unit_test(attributes_without_memory_are_enomem),
	};

	json_set_alloc_funcs(failing_malloc, free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
