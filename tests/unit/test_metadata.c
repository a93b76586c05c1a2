/* SPDX-License-Identifier: MIT */
/*
 * Zarr metadata: documents against texts written by hand from the Zarr version 2
 * and 3 specifications, and everything that is not one of ours refused by its
 * code.
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

static struct sde__metadata example_of(unsigned zarr_format)
{
	struct sde__metadata metadata = plain_example();

	metadata.zarr_format = zarr_format;
	metadata.checksum = zarr_format == 3;
	return metadata;
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

static struct sde__text text_of(const char *text)
{
	return (struct sde__text){ text, text ? strlen(text) : 0 };
}

static int parse_as(unsigned zarr_format, struct sde__metadata *out, const char *root,
		    const char *data, const char *time, struct sde_error *error)
{
	const struct sde__metadata_texts texts = {
		.zarr_format = zarr_format, .root = text_of(root), .data = text_of(data),
		.time_attributes = text_of(time),
	};

	memset(error, 0, sizeof(*error));
	memset(out, 0x5a, sizeof(*out));
	return sde__metadata_parse(out, &texts, PLACE, error);
}

static int parse(struct sde__metadata *out, const char *root, const char *data,
		 struct sde_error *error)
{
	return parse_as(3, out, root, data, NULL, error);
}

/* What a store is known by: the root's, data's and, in format 2, time's attributes. */
struct known {
	char *text[3];
	size_t size[3];
	unsigned count;
};

static struct known written_known(const struct sde__metadata *metadata)
{
	static const enum sde__document documents[] = {
		SDE__DOCUMENT_ROOT, SDE__DOCUMENT_DATA, SDE__DOCUMENT_TIME_ATTRIBUTES
	};
	struct known known = { .count = metadata->zarr_format == 2 ? 3 : 2 };
	unsigned i;

	for (i = 0; i < known.count; i++) {
		known.text[i] = written(metadata, documents[i]);
		known.size[i] = strlen(known.text[i]);
	}
	return known;
}

static void known_free(struct known *known)
{
	unsigned i;

	for (i = 0; i < 3; i++)
		free(known->text[i]);
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
	struct known known = written_known(metadata);
	struct sde__metadata out;
	struct sde_error error;

	if (parse_as(metadata->zarr_format, &out, known.text[0], known.text[1], known.text[2],
		     &error))
		fail_msg("%s", error.text);
	assert_same(metadata, &out);
	sde__metadata_clear(&out);
	known_free(&known);
}

/* ------------------------------------------------------------------------
 * Writing
 */

static void every_field_comes_back(void **state)
{
	static const char attributes[] = "{\"dt\":0.5,\"model\":{\"name\":\"OU\",\"b\":[1,2]}}";
	unsigned i;

	(void)state;
	for (i = 0; i < 96; i++) {
		struct sde__metadata metadata = example(i & 1 ? SDE_FLOAT32 : SDE_FLOAT64,
							(enum sde_codec)(1 + i / 2 % 3),
							i / 6 % 2);

		if (i / 48) {
			metadata.zarr_format = 2;
			metadata.checksum = false;
		}
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
	unsigned format;

	(void)state;
	for (format = 2; format <= 3; format++) {
		struct sde__metadata metadata = example_of(format);

		metadata.epoch = INT64_MAX;
		metadata.stride = INT64_MAX;
		metadata.snapshots = INT64_MAX / (2 * 21 * 8);
		metadata.keepbits = 52;
		metadata.state_capacity = 65536;
		round_trip(&metadata);
	}
}

static void one_inner_chunk_may_be_all_of_format_2(void **state)
{
	static const uint64_t widths[] = { 1, 7, 20, 21, 24 };
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(widths); i++) {
		struct sde__metadata metadata = example_of(2);

		metadata.geometry.inner_width = widths[i];
		round_trip(&metadata);
	}
}

static void what_a_format_cannot_say_is_refused(void **state)
{
	static const struct {
		unsigned zarr_format;
		bool checksum;
		enum sde__document document;
		const char *text;
	} cases[] = {
		{ 2, true, SDE__DOCUMENT_DATA, "zarr_format 2 has no checksums" },
		{ 3, true, SDE__DOCUMENT_CONSOLIDATED, "zarr_format 3 has no document 4" },
		{ 3, true, SDE__DOCUMENT_GROUP, "zarr_format 3 has no document 5" },
		{ 3, true, SDE__DOCUMENT_DATA_ATTRIBUTES, "zarr_format 3 has no document 8" },
		{ 4, false, SDE__DOCUMENT_ROOT, "zarr_format 4 has no document 0" },
		{ 0, false, SDE__DOCUMENT_ROOT, "zarr_format 0 has no document 0" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(cases); i++) {
		struct sde__metadata metadata = plain_example(), out;
		struct sde_error error = { 0 };
		char *text = (char *)1;

		metadata.zarr_format = cases[i].zarr_format;
		metadata.checksum = cases[i].checksum;
		assert_int_equal(sde__metadata_write(&metadata, cases[i].document, &text, &error),
				 -EINVAL);
		assert_null(text);
		assert_string_equal(error.text, cases[i].text);
		if (cases[i].zarr_format < 2 || cases[i].zarr_format > 3)
			assert_int_equal(parse_as(cases[i].zarr_format, &out, "{}", "{}", NULL,
						  &error), SDE_E_UNSUPPORTED);
	}
}

static void a_document_lies_where_its_format_has_it(void **state)
{
	static const char *const paths[2][SDE__DOCUMENT_COUNT] = {
		{ ".zattrs", "time/.zarray", "iteration/.zarray", "data/.zarray", ".zmetadata",
		  ".zgroup", "time/.zattrs", "iteration/.zattrs", "data/.zattrs" },
		{ "zarr.json", "time/zarr.json", "iteration/zarr.json", "data/zarr.json" },
	};
	unsigned format, i;

	(void)state;
	for (format = 0; format < 5; format++)
		for (i = 0; i < SDE__DOCUMENT_COUNT; i++) {
			const char *is = sde__document_path(format, (enum sde__document)i);
			const char *should = format == 2 || format == 3 ? paths[format - 2][i] :
									  NULL;

			assert_int_equal(!is, !should);
			if (should)
				assert_string_equal(is, should);
		}
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

#define V2_COMMON "\"order\":\"C\",\"filters\":null,\"dimension_separator\":\".\"}"
#define V2_LINE(dtype, fill) \
	"{\"zarr_format\":2,\"shape\":[37],\"chunks\":[8192],\"dtype\":\"" dtype "\"," \
	"\"compressor\":null,\"fill_value\":" fill "," V2_COMMON
#define V2_GROUP "{\"zarr_format\":2}"
#define V2_TIME V2_LINE("<f8", "\"NaN\"")
#define V2_TIME_ATTRIBUTES "{\"_ARRAY_DIMENSIONS\":[\"time\"],\"units\":\"s\"}"
#define V2_ITERATION V2_LINE("<i8", "-1")
#define V2_ITERATION_ATTRIBUTES "{\"_ARRAY_DIMENSIONS\":[\"time\"]}"
#define V2_DATA_ATTRIBUTES \
	"{\"_ARRAY_DIMENSIONS\":[\"dimension\",\"trajectory\",\"time\"]}"
#define V2_ROOT \
	"{\"seed\":1,\"sdestore\":{\"version\":1,\"run\":\"" RUN "\",\"epoch\":4," \
	"\"snapshots\":37,\"stride\":10,\"keepbits\":0,\"state_capacity\":2504}}"

static const char v2_data[] =
	"{\"zarr_format\":2,\"shape\":[2,21,37],\"chunks\":[2,8,16],\"dtype\":\"%s\","
	"\"compressor\":%s,\"fill_value\":\"NaN\"," V2_COMMON;
static const char v2_consolidated[] =
	"{\"zarr_consolidated_format\":1,\"metadata\":{\".zattrs\":" V2_ROOT ","
	"\".zgroup\":" V2_GROUP ",\"data/.zarray\":%s,\"data/.zattrs\":" V2_DATA_ATTRIBUTES ","
	"\"iteration/.zarray\":" V2_ITERATION ",\"iteration/.zattrs\":" V2_ITERATION_ATTRIBUTES ","
	"\"time/.zarray\":" V2_TIME ",\"time/.zattrs\":" V2_TIME_ATTRIBUTES "}}";

static void documents_of_format_2_are_what_the_specification_says(void **state)
{
	static const char *const types[] = { "<f8", "<f4" };
	static const char *const compressors[] = {
		"{\"id\":\"blosc\",\"cname\":\"lz4\",\"clevel\":5,\"shuffle\":2,\"blocksize\":0}",
		"{\"id\":\"lz4\",\"acceleration\":1}", "null",
	};
	unsigned type, codec;

	(void)state;
	for (type = 0; type < 2; type++)
		for (codec = 0; codec < 3; codec++) {
			struct sde__metadata metadata = example((enum sde_dtype)type,
								(enum sde_codec)(codec + 1), false);
			char data[1024], all[4096];

			metadata.zarr_format = 2;
			metadata.time_units = strdup("s");
			metadata.attributes = strdup("{\"seed\":1}");
			snprintf(data, sizeof(data), v2_data, types[type], compressors[codec]);
			snprintf(all, sizeof(all), v2_consolidated, data);
			assert_document(&metadata, SDE__DOCUMENT_ROOT, V2_ROOT);
			assert_document(&metadata, SDE__DOCUMENT_GROUP, V2_GROUP);
			assert_document(&metadata, SDE__DOCUMENT_TIME, V2_TIME);
			assert_document(&metadata, SDE__DOCUMENT_ITERATION, V2_ITERATION);
			assert_document(&metadata, SDE__DOCUMENT_DATA, data);
			assert_document(&metadata, SDE__DOCUMENT_TIME_ATTRIBUTES, V2_TIME_ATTRIBUTES);
			assert_document(&metadata, SDE__DOCUMENT_ITERATION_ATTRIBUTES,
					V2_ITERATION_ATTRIBUTES);
			assert_document(&metadata, SDE__DOCUMENT_DATA_ATTRIBUTES, V2_DATA_ATTRIBUTES);
			assert_document(&metadata, SDE__DOCUMENT_CONSOLIDATED, all);
			sde__metadata_clear(&metadata);
		}
}

static void an_empty_store_of_format_2_has_lengths_of_zero(void **state)
{
	static const struct {
		enum sde__document document;
		const char *shape;
	} cases[] = {
		{ SDE__DOCUMENT_TIME, "[0]" }, { SDE__DOCUMENT_ITERATION, "[0]" },
		{ SDE__DOCUMENT_DATA, "[2,21,0]" },
	};
	struct sde__metadata metadata = example_of(2);
	size_t i;

	(void)state;
	metadata.snapshots = 0;
	round_trip(&metadata);
	for (i = 0; i < COUNT(cases); i++) {
		char *text = written(&metadata, cases[i].document);
		json_t *json = parsed_json(text);
		char *shape = json_dumps(json_object_get(json, "shape"), JSON_COMPACT);

		assert_string_equal(shape, cases[i].shape);
		free(shape);
		json_decref(json);
		free(text);
	}
	assert_document(&metadata, SDE__DOCUMENT_TIME_ATTRIBUTES, V2_ITERATION_ATTRIBUTES);
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
		metadata.zarr_format = 2;
		metadata.checksum = false;
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

static int parse_known(unsigned zarr_format, const struct known *known, struct sde__metadata *out,
		       struct sde_error *error)
{
	const struct sde__metadata_texts texts = {
		.zarr_format = zarr_format, .root = { known->text[0], known->size[0] },
		.data = { known->text[1], known->size[1] },
		.time_attributes = { known->text[2], known->size[2] },
	};

	memset(error, 0, sizeof(*error));
	return sde__metadata_parse(out, &texts, PLACE, error);
}

static void assert_truncations(unsigned zarr_format, unsigned which, const char *name)
{
	struct sde__metadata metadata = example_of(zarr_format), out;
	struct known known = written_known(&metadata), part = known;
	struct sde_error error;
	size_t i;

	for (i = 0; i < known.size[which]; i++) {
		part.size[which] = i;
		part.text[which] = malloc(i + 1);	/* so that a sanitizer sees its end */
		memcpy(part.text[which], known.text[which], i);
		assert_int_equal(parse_known(zarr_format, &part, &out, &error), SDE_E_CORRUPT);
		assert_non_null(strstr(error.text, name));
		free(part.text[which]);
	}
	known_free(&known);
}

static void every_truncation_is_corrupt(void **state)
{
	(void)state;
	assert_truncations(3, 0, "'run.zarr/zarr.json'");
	assert_truncations(3, 1, "'run.zarr/data/zarr.json'");
	assert_truncations(2, 0, "'run.zarr/.zattrs'");
	assert_truncations(2, 1, "'run.zarr/data/.zarray'");
}

/* The units of time are nothing that data depend on. */
static void damaged_attributes_of_time_are_no_units(void **state)
{
	static const char *const texts[] = {
		NULL, "", "{", "[]", "{}", "null", "{\"units\":5}", "{\"units\":null}",
		"{\"units\":\"\xff\"}", "{\"units\":\"s\"", "{\"units\":\"s\"}}",
		"{\"units\":\"s\",\"units\":\"h\"}",
	};
	struct sde__metadata metadata = example_of(2), out;
	struct known known = written_known(&metadata);
	struct sde_error error;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(texts); i++) {
		if (parse_as(2, &out, known.text[0], known.text[1], texts[i], &error))
			fail_msg("%s: %s", texts[i] ? texts[i] : "none", error.text);
		assert_same(&metadata, &out);
		sde__metadata_clear(&out);
	}
	assert_int_equal(parse_as(2, &out, known.text[0], known.text[1], "{\"units\":\"h\"}",
				  &error), 0);
	assert_string_equal(out.time_units, "h");
	sde__metadata_clear(&out);
	known_free(&known);
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

static void foreign_attributes_are_not_a_store(void **state)
{
	static const char *const roots[] = {
		"{}", "[]", "[\"sdestore\"]", "{\"title\":\"x\"}", "{\"a\":{\"sdestore\":{}}}",
		"{\"zarr_format\":3,\"node_type\":\"group\",\"attributes\":{\"sdestore\":{}}}",
	};
	struct sde__metadata out;
	struct sde_error error;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(roots); i++) {
		assert_int_equal(parse_as(2, &out, roots[i], "{}", NULL, &error), SDE_E_NOT_STORE);
		assert_string_equal(error.text, "'run.zarr/.zattrs': not a store: its attributes "
				    "have no member 'sdestore'");
		assert_int_equal(parse_as(2, &out, roots[i], NULL, NULL, &error), SDE_E_NOT_STORE);
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
	assert_int_equal(parse_as(2, &out, "{\"sdestore\":{\"version\":2,\"run\":7}}", "{}", NULL,
				  &error), SDE_E_VERSION);
	assert_string_equal(error.text, "'run.zarr/.zattrs': version 2, and this library knows "
			    "version 1");
}

static void a_root_without_its_data_array_is_corrupt(void **state)
{
	static const char *const sentences[] = {
		"'run.zarr/data/.zarray': missing", "'run.zarr/data/zarr.json': missing"
	};
	unsigned format;

	(void)state;
	for (format = 2; format <= 3; format++) {
		struct sde__metadata metadata = example_of(format), out;
		struct known known = written_known(&metadata);
		struct sde_error error;

		assert_int_equal(parse_as(format, &out, known.text[0], NULL, NULL, &error),
				 SDE_E_CORRUPT);
		assert_string_equal(error.text, sentences[format - 2]);
		assert_int_equal(parse_as(format, &out, NULL, known.text[1], NULL, &error),
				 SDE_E_CORRUPT);
		known_free(&known);
	}
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
static int parse_mutated_as(unsigned zarr_format, const struct mutation *mutation,
			    struct sde__metadata *out, struct sde_error *error)
{
	struct sde__metadata metadata = example_of(zarr_format);
	struct known known = written_known(&metadata);
	char **text = &known.text[mutation->document == SDE__DOCUMENT_DATA];
	json_t *json = parsed_json(*text);
	int status;

	mutate(json, mutation->path, mutation->value);
	free(*text);
	*text = json_dumps(json, 0);
	json_decref(json);
	status = parse_as(zarr_format, out, known.text[0], known.text[1], known.text[2], error);
	known_free(&known);
	return status;
}

static int parse_mutated(const struct mutation *mutation, struct sde__metadata *out,
			 struct sde_error *error)
{
	return parse_mutated_as(3, mutation, out, error);
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

#define OURS_2 "sdestore/"

static const struct mutation rejected_2[] = {
	{ ROOT, "sdestore", NULL, SDE_E_NOT_STORE },
	{ ROOT, "sdestore", "null", SDE_E_CORRUPT },
	{ ROOT, OURS_2 "version", "2", SDE_E_VERSION },
	{ ROOT, OURS_2 "version", "0", SDE_E_CORRUPT },
	{ ROOT, OURS_2 "run", "\"0123456789abcdef0123456789abcde\"", SDE_E_CORRUPT },
	{ ROOT, OURS_2 "epoch", "-1", SDE_E_CORRUPT },
	{ ROOT, OURS_2 "snapshots", "38", SDE_E_CORRUPT },
	{ ROOT, OURS_2 "snapshots", NULL, SDE_E_CORRUPT },
	{ ROOT, OURS_2 "stride", "0", SDE_E_CORRUPT },
	{ ROOT, OURS_2 "keepbits", "53", SDE_E_CORRUPT },
	{ ROOT, OURS_2 "state_capacity", "65537", SDE_E_CORRUPT },
	{ DATA, "zarr_format", "3", SDE_E_CORRUPT },
	{ DATA, "zarr_format", NULL, SDE_E_CORRUPT },
	{ DATA, "shape", "[2,21]", SDE_E_CORRUPT },
	{ DATA, "shape", NULL, SDE_E_CORRUPT },
	{ DATA, "shape/0", "3", SDE_E_CORRUPT },
	{ DATA, "shape/0", "0", SDE_E_CORRUPT },
	{ DATA, "shape/1", "0", SDE_E_CORRUPT },
	{ DATA, "shape/1", "9223372036854775807", SDE_E_CORRUPT },
	{ DATA, "shape/2", "36", SDE_E_CORRUPT },
	{ DATA, "shape/2", "-37", SDE_E_CORRUPT },
	{ DATA, "shape/2", "37.0", SDE_E_CORRUPT },
	{ DATA, "chunks", "[2,8]", SDE_E_CORRUPT },
	{ DATA, "chunks", NULL, SDE_E_CORRUPT },
	{ DATA, "chunks", "true", SDE_E_CORRUPT },
	{ DATA, "chunks/0", "1", SDE_E_CORRUPT },
	{ DATA, "chunks/1", "0", SDE_E_CORRUPT },
	{ DATA, "chunks/1", "25", SDE_E_CORRUPT },	/* N rounded up is 24 */
	{ DATA, "chunks/1", "9223372036854775807", SDE_E_CORRUPT },
	{ DATA, "chunks/2", "0", SDE_E_CORRUPT },
	{ DATA, "chunks/2", "9223372036854775807", SDE_E_CORRUPT },
	{ DATA, "chunks/2", "2147483649", SDE_E_CORRUPT },
	{ DATA, "dtype", "\">f8\"", SDE_E_CORRUPT },
	{ DATA, "dtype", "\"<i8\"", SDE_E_CORRUPT },
	{ DATA, "dtype", "[[\"a\",\"<f8\"]]", SDE_E_CORRUPT },
	{ DATA, "dtype", NULL, SDE_E_CORRUPT },
	{ DATA, "compressor", NULL, SDE_E_CORRUPT },
	{ DATA, "compressor", "{}", SDE_E_CORRUPT },
	{ DATA, "compressor", "\"lz4\"", SDE_E_CORRUPT },
	{ DATA, "compressor/id", "\"zstd\"", SDE_E_CORRUPT },
	{ DATA, "compressor/cname", "\"zlib\"", SDE_E_CORRUPT },
	{ DATA, "compressor/cname", NULL, SDE_E_CORRUPT },
	{ DATA, "compressor/clevel", "10", SDE_E_CORRUPT },
	{ DATA, "compressor/shuffle", "1", SDE_E_CORRUPT },
	{ DATA, "compressor/shuffle", "\"bitshuffle\"", SDE_E_CORRUPT },
	{ DATA, "compressor/blocksize", "-1", SDE_E_CORRUPT },
	{ DATA, "fill_value", "0", SDE_E_CORRUPT },
	{ DATA, "fill_value", "null", SDE_E_CORRUPT },
	{ DATA, "order", "\"F\"", SDE_E_CORRUPT },
	{ DATA, "order", NULL, SDE_E_CORRUPT },
	{ DATA, "filters", "[{\"id\":\"shuffle\",\"elementsize\":8}]", SDE_E_CORRUPT },
	{ DATA, "filters", "{}", SDE_E_CORRUPT },
	{ DATA, "filters", NULL, SDE_E_CORRUPT },
	{ DATA, "dimension_separator", "\"/\"", SDE_E_CORRUPT },
	{ DATA, "dimension_separator", "null", SDE_E_CORRUPT },
};

static void assert_rejected(unsigned zarr_format, const struct mutation *mutations, size_t count,
			    const char *data_name)
{
	struct sde__metadata out;
	struct sde_error error;
	size_t i;

	for (i = 0; i < count; i++) {
		const struct mutation *m = &mutations[i];
		int status = parse_mutated_as(zarr_format, m, &out, &error);

		if (status != m->code)
			fail_msg("%s = %s: %d %s", m->path, m->value ? m->value : "nothing",
				 status, error.text);
		assert_int_equal(error.code, status);
		/* the data array's length is judged in its own document */
		assert_non_null(strstr(error.text, m->document == DATA ? data_name : "'run.zarr/"));
		assert_null(out.attributes);
		assert_null(out.time_units);
	}
}

static void one_change_is_enough_to_be_refused(void **state)
{
	(void)state;
	assert_rejected(3, rejected, COUNT(rejected), "'run.zarr/data/zarr.json': ");
	assert_rejected(2, rejected_2, COUNT(rejected_2), "'run.zarr/data/.zarray': ");
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

static const struct mutation accepted_2[] = {
	{ ROOT, "title", "\"x\"", 0 },
	{ ROOT, OURS_2 "later", "[1]", 0 },
	{ ROOT, OURS_2 "snapshots", "36", 0 },
	{ DATA, "shape/2", "1000000", 0 },
	{ DATA, "dimension_separator", NULL, 0 },	/* the default is "." */
	{ DATA, "filters", "[]", 0 },
	{ DATA, "later", "{\"must_understand\":true}", 0 },	/* of format 3 only */
	{ DATA, "compressor/clevel", "9", 0 },
	{ DATA, "compressor/blocksize", "65536", 0 },
	{ DATA, "compressor/typesize", "8", 0 },	/* numcodecs from 0.16 */
};

static void assert_accepted(unsigned zarr_format, const struct mutation *mutations, size_t count)
{
	struct sde__metadata out;
	struct sde_error error;
	size_t i;

	for (i = 0; i < count; i++) {
		const char *name = strrchr(mutations[i].path, '/');
		struct sde__metadata original = example_of(zarr_format);

		if (parse_mutated_as(zarr_format, &mutations[i], &out, &error))
			fail_msg("%s: %s", mutations[i].path, error.text);
		if (name && strcmp(name, "/snapshots") == 0)
			original.snapshots = 36;
		if (strcmp(mutations[i].path, "title") == 0)
			original.attributes = strdup("{\"title\":\"x\"}");
		assert_same(&original, &out);
		sde__metadata_clear(&original);
		sde__metadata_clear(&out);
	}
}

static void what_means_the_same_is_accepted(void **state)
{
	(void)state;
	assert_accepted(3, accepted, COUNT(accepted));
	assert_accepted(2, accepted_2, COUNT(accepted_2));
}

/* zarr-python 2 writes its keys sorted, and leaves out what is the default. */
static void a_zarray_of_another_writer_is_read(void **state)
{
	static const char *const compressors[] = {
		"{\"blocksize\":0,\"clevel\":5,\"cname\":\"lz4\",\"id\":\"blosc\",\"shuffle\":2}",
		"{\"acceleration\":3,\"id\":\"lz4\"}", "null",
	};
	struct sde__metadata metadata = example_of(2), out;
	struct sde_error error;
	char data[1024];
	unsigned i;

	(void)state;
	for (i = 0; i < 3; i++) {
		metadata.codec = (enum sde_codec)(1 + i);
		snprintf(data, sizeof(data), "{\"chunks\":[2,8,16],\"compressor\":%s,"
			 "\"dtype\":\"<f8\",\"fill_value\":\"NaN\",\"filters\":null,"
			 "\"order\":\"C\",\"shape\":[2,21,37],\"zarr_format\":2}", compressors[i]);
		if (parse_as(2, &out, V2_ROOT, data, NULL, &error))
			fail_msg("%s", error.text);
		assert_string_equal(out.attributes, "{\"seed\":1}");
		free(out.attributes);
		out.attributes = NULL;
		assert_same(&metadata, &out);
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

static void a_sentence_of_format_2_names_its_file(void **state)
{
	static const struct {
		struct mutation mutation;
		const char *text;
	} cases[] = {
		{ { DATA, "order", "\"F\"", 0 }, "'run.zarr/data/.zarray': order is \"F\", not \"C\"" },
		{ { DATA, "compressor/id", "\"zstd\"", 0 },
		  "'run.zarr/data/.zarray': compressor is {\"id\":\"zstd\",\"cname\":\"lz4\",\"clevel\":5,"
		  "\"shuffle\":2,\"blocksize\":0}, not blosc, lz4 or null" },
		{ { DATA, "chunks/0", "1", 0 },
		  "'run.zarr/data/.zarray': chunks (1, 8, 16) do not cut a shape (2, 21, M)" },
		{ { DATA, "shape/2", "30", 0 },
		  "'run.zarr/data/.zarray': shape has 30 snapshots, the group's attributes say 37" },
		{ { ROOT, OURS_2 "stride", "0", 0 },
		  "'run.zarr/.zattrs': sdestore.stride is 0, not an integer from 1 to "
		  "9223372036854775807" },
	};
	struct sde__metadata out;
	struct sde_error error;
	size_t i;

	(void)state;
	for (i = 0; i < COUNT(cases); i++) {
		assert_true(parse_mutated_as(2, &cases[i].mutation, &out, &error) < 0);
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

/* What was believed makes a store whose own documents say the same. */
static void assert_believable(const struct sde__metadata *metadata)
{
	assert_int_equal(sde__geometry_check(&metadata->geometry, NULL), 0);
	round_trip(metadata);
}

static void assert_damage_survived(unsigned zarr_format)
{
	struct sde__metadata metadata = example_of(zarr_format), out;
	uint64_t seed = 20240229;
	struct known known, copy;
	unsigned i, j, whole = 0;

	metadata.attributes = strdup("{\"dt\":0.001,\"seeds\":[1,2,3]}");
	metadata.time_units = strdup("s");
	known = copy = written_known(&metadata);
	for (j = 0; j < known.count; j++) {
		copy.text[j] = malloc(known.size[j]);
		assert_non_null(copy.text[j]);
	}
	for (i = 0; i < 20000; i++) {
		struct sde_error error;
		int status;

		for (j = 0; j < known.count; j++)
			memcpy(copy.text[j], known.text[j], known.size[j]);
		damage(copy.text[i % known.count], known.size[i % known.count], &seed);
		status = parse_known(zarr_format, &copy, &out, &error);
		assert_int_equal(status, error.code);
		assert_true(status == 0 || (i % known.count < 2 &&
			    (status == SDE_E_CORRUPT || status == SDE_E_NOT_STORE ||
			     status == SDE_E_VERSION)));
		if (status)
			continue;
		whole++;
		assert_believable(&out);
		sde__metadata_clear(&out);
	}
	assert_in_range(whole, 1, 19999);
	known_free(&known);
	known_free(&copy);
	sde__metadata_clear(&metadata);
}

static void damaged_bytes_never_crash(void **state)
{
	(void)state;
	assert_damage_survived(3);
	assert_damage_survived(2);
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

/* Every allocation of writing one document fails once; how many there were. */
static unsigned starve_writing(const struct sde__metadata *metadata, enum sde__document document)
{
	bool again = true;
	unsigned which;

	for (which = 1; again; which++) {
		struct sde_error error = { 0 };
		char *text;
		int status;

		arm(which, metadata->attributes);
		status = sde__metadata_write(metadata, document, &text, &error);
		again = failed_one;
		assert_no_memory(status, &error);
		arm(0, false);
		assert_int_equal(!text, status != 0);
		free(text);
	}
	return which;
}

static void writing_without_memory_is_enomem(void **state)
{
	unsigned format, document, attributes;

	(void)state;
	for (format = 2; format <= 3; format++)
		for (attributes = 0; attributes < 2; attributes++)
			for (document = 0; document < SDE__DOCUMENT_COUNT; document++) {
				struct sde__metadata metadata = example_of(format);

				if (!sde__document_path(format, (enum sde__document)document))
					continue;
				metadata.time_units = strdup("s");
				if (attributes)
					metadata.attributes = strdup("{\"a\":[1,0.5,\"text\",{}]}");
				assert_in_range(starve_writing(&metadata,
							       (enum sde__document)document),
						document < SDE__DOCUMENT_GROUP ? 20 : 4, 2000);
				sde__metadata_clear(&metadata);
			}
}

static void parsing_without_memory_is_enomem(void **state)
{
	unsigned format, which;

	(void)state;
	for (format = 2; format <= 3; format++) {
		struct sde__metadata metadata = example_of(format), out;
		struct known known;
		bool again = true;

		metadata.attributes = strdup("{\"a\":[1,0.5,\"text\",{}]}");
		metadata.time_units = strdup("s");
		known = written_known(&metadata);
		for (which = 1; again; which++) {
			struct sde_error error;
			int status;

			arm(which, true);
			status = parse_known(format, &known, &out, &error);
			again = failed_one;
			assert_no_memory(status, &error);
			arm(0, false);
			sde__metadata_clear(&out);
		}
		assert_in_range(which, 50, 5000);
		known_free(&known);
		sde__metadata_clear(&metadata);
	}
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
		cmocka_unit_test(one_inner_chunk_may_be_all_of_format_2),
		cmocka_unit_test(what_a_format_cannot_say_is_refused),
		cmocka_unit_test(a_document_lies_where_its_format_has_it),
		cmocka_unit_test(sizes_beyond_int64_are_refused),
		cmocka_unit_test(units_that_are_not_utf8_are_refused),
		cmocka_unit_test(documents_are_what_the_specification_says),
		cmocka_unit_test(documents_of_format_2_are_what_the_specification_says),
		cmocka_unit_test(an_empty_store_has_lengths_of_zero),
		cmocka_unit_test(an_empty_store_of_format_2_has_lengths_of_zero),
		cmocka_unit_test(attributes_keep_order_and_values),
		cmocka_unit_test(a_double_keeps_its_bits),
		cmocka_unit_test(no_attributes_are_an_empty_object),
		cmocka_unit_test(bad_attributes_are_refused_and_change_nothing),
		cmocka_unit_test(attributes_too_deep_to_be_read_back_are_refused),
		cmocka_unit_test(attributes_over_a_mebibyte_are_refused),
		cmocka_unit_test(every_truncation_is_corrupt),
		cmocka_unit_test(damaged_attributes_of_time_are_no_units),
		cmocka_unit_test(a_foreign_group_is_not_a_store),
		cmocka_unit_test(foreign_attributes_are_not_a_store),
		cmocka_unit_test(a_newer_version_is_told_whatever_else_it_says),
		cmocka_unit_test(a_root_without_its_data_array_is_corrupt),
		cmocka_unit_test(one_change_is_enough_to_be_refused),
		cmocka_unit_test(what_means_the_same_is_accepted),
		cmocka_unit_test(a_sentence_names_the_file_the_member_and_both_values),
		cmocka_unit_test(a_sentence_of_format_2_names_its_file),
		cmocka_unit_test(a_zarray_of_another_writer_is_read),
		cmocka_unit_test(a_value_too_long_for_a_sentence_is_cut),
		cmocka_unit_test(damaged_bytes_never_crash),
		cmocka_unit_test(writing_without_memory_is_enomem),
		cmocka_unit_test(parsing_without_memory_is_enomem),
		cmocka_unit_test(attributes_without_memory_are_enomem),
	};

	json_set_alloc_funcs(failing_malloc, free);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
