/* SPDX-License-Identifier: MIT */
/* A Zarr reader for simulated file systems: see sim_zarr.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sim_zarr.h"

#include "crc32c.h"

#include <blosc.h>
#include <inttypes.h>
#include <jansson.h>
#include <lz4.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 8192		/* numbers in a chunk of time and iteration */

static char text[512];

static const char *wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *wrong(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	return text;
}

/* ------------------------------------------------------------------------
 * Documents. What one says is remembered with its bytes: memo[0] is 1 and the
 * others are what is in struct document, length + 1 of which 0 is none.
 */

struct document {
	uint64_t length;		/* of an array, or of all in the consolidated metadata */
	uint64_t id;			/* attribute "id" */
	uint64_t snapshots;		/* attribute sdestore.snapshots */
};

static uint64_t last_of(const json_t *shape)
{
	const json_t *last = json_array_get(shape, json_array_size(shape) - 1);

	return json_is_integer(last) ? (uint64_t)json_integer_value(last) : SIM_NEVER;
}

static uint64_t shape_in(const json_t *arrays, const char *name)
{
	return last_of(json_object_get(json_object_get(arrays, name), "shape"));
}

/* The length that all three arrays have. */
static uint64_t common_length(const json_t *arrays, const char *const name[3])
{
	const uint64_t length = shape_in(arrays, name[0]);

	return shape_in(arrays, name[1]) == length && shape_in(arrays, name[2]) == length ? length :
	       SIM_NEVER;
}

static void take_attributes(struct document *out, const json_t *attributes)
{
	const json_t *own = json_object_get(attributes, "sdestore");

	out->id = (uint64_t)json_integer_value(json_object_get(attributes, "id"));
	out->snapshots = (uint64_t)json_integer_value(json_object_get(own, "snapshots"));
}

static void take_json(struct document *out, const json_t *json)
{
	static const char *const names_3[3] = { "time", "iteration", "data" };
	static const char *const names_2[3] = { "time/.zarray", "iteration/.zarray", "data/.zarray" };
	const json_t *consolidated = json_object_get(json, "consolidated_metadata");

	*out = (struct document){ .length = SIM_NEVER };
	if (json_object_get(json, "shape"))
		out->length = last_of(json_object_get(json, "shape"));
	else if (consolidated)
		out->length = common_length(json_object_get(consolidated, "metadata"), names_3);
	else if (json_object_get(json, "metadata"))
		out->length = common_length(json_object_get(json, "metadata"), names_2);
	if (json_object_get(json, "attributes"))
		take_attributes(out, json_object_get(json, "attributes"));
	else
		take_attributes(out, json);	/* format 2: .zattrs */
}

static const char *read_document(const struct sim *sim, const char *path, const char *name,
				 struct document *out)
{
	char full[128];
	struct sim_image *image;
	unsigned char *bytes;
	json_t *json;

	snprintf(full, sizeof(full), "%s/%s", path, name);
	image = sim_file(sim, full);
	if (!image)
		return wrong("%s is missing", full);
	if (image->memo[0] == 1) {
		*out = (struct document){ image->memo[1], image->memo[2], image->memo[3] };
		return NULL;
	}
	bytes = sim_bytes(image);
	json = json_loadb((const char *)bytes, (size_t)image->size, 0, NULL);
	free(bytes);
	if (!json)
		return wrong("%s of %" PRIu64 " bytes is no JSON", full, image->size);
	take_json(out, json);
	json_decref(json);
	image->memo[0] = 1;
	image->memo[1] = out->length;
	image->memo[2] = out->id;
	image->memo[3] = out->snapshots;
	return NULL;
}

uint64_t sim_zarr_id(const struct sim *sim, const char *path)
{
	struct document document = { 0 };

	if (!read_document(sim, path, "zarr.json", &document) ||
	    !read_document(sim, path, ".zattrs", &document))
		return document.id;
	return 0;
}

/* ------------------------------------------------------------------------
 * Chunks. Images that were found right are remembered: for which store and chunk,
 * at which version of its generations, and how many snapshots of it.
 */

static bool is_known(const struct sim_image *image, const struct sim_store *store, uint64_t key,
		     uint64_t count)
{
	return image->memo[0] == sim_mix(store->id << 32 ^ key) && image->memo[1] == store->version &&
	       image->memo[2] >= count;
}

static void remember(struct sim_image *image, const struct sim_store *store, uint64_t key,
		     uint64_t count)
{
	image->memo[0] = sim_mix(store->id << 32 ^ key);
	image->memo[1] = store->version;
	image->memo[2] = count;
}

static const char *check_column(const struct sim *sim, const char *full,
				const struct sim_store *store, bool is_time, uint64_t length)
{
	static uint64_t numbers[BLOCK + 1];
	struct sim_image *image = sim_file(sim, full);
	const size_t size = 8 * BLOCK + (store->zarr_format == 3 ? 4 : 0);
	uint32_t crc;

	if (!length)
		return NULL;
	if (!image)
		return wrong("%s is missing", full);
	if (is_known(image, store, 1000 + is_time, length))
		return NULL;
	if (image->size != size)
		return wrong("%s has %" PRIu64 " bytes", full, image->size);
	sim_read(image, numbers, size, 0);
	memcpy(&crc, &numbers[BLOCK], sizeof(crc));
	if (store->zarr_format == 3 && crc != sde__crc32c(0, numbers, 8 * BLOCK))
		return wrong("%s has a wrong checksum", full);
	for (uint64_t i = 0; i < length; i++)
		if (numbers[i] != (is_time ? sim_time(store, i) : sim_iteration(store, i)))
			return wrong("%s is wrong at %" PRIu64 " of %" PRIu64, full, i, length);
	remember(image, store, 1000 + is_time, length);
	return NULL;
}

static size_t item_size(const struct sim_store *store)
{
	return store->ensemble.dtype == SDE_FLOAT32 ? 4 : 8;
}

/* One inner chunk to its numbers. */
static const char *decode(const struct sim_store *store, const unsigned char *bytes, size_t size,
			  void *raw, size_t raw_size)
{
	uint32_t crc, own;

	if (store->checksum) {
		if (size < 4)
			return "is too short";
		size -= 4;
		memcpy(&crc, bytes + size, 4);
		if (crc != sde__crc32c(0, bytes, size))
			return "has a wrong checksum";
	}
	if (store->codec == SDE_CODEC_NONE) {
		if (size != raw_size)
			return "has a wrong size";
		memcpy(raw, bytes, raw_size);
	} else if (store->codec == SDE_CODEC_LZ4) {
		if (size < 4)
			return "is too short";
		memcpy(&own, bytes, 4);
		if (own != raw_size || LZ4_decompress_safe((const char *)bytes + 4, raw, (int)size - 4,
							   (int)raw_size) != (int)raw_size)
			return "is no LZ4 block of its size";
	} else {
		size_t nbytes;

		if (blosc_cbuffer_validate(bytes, size, &nbytes) || nbytes != raw_size ||
		    blosc_decompress_ctx(bytes, raw, raw_size, 1) != (int)raw_size)
			return "is no Blosc frame of its size";
	}
	return NULL;
}

/* The first `count` snapshots of inner chunk `inner` of chunk `chunk`, [d][n][t]. */
static const char *compare(const struct sim_store *store, const unsigned char *raw, uint64_t chunk,
			   uint64_t inner, uint64_t count)
{
	const size_t item = item_size(store);
	static char at[64];

	for (uint64_t d = 0; d < store->ensemble.dimension; d++) {
		for (uint64_t j = 0; j < store->inner_width; j++) {
			const uint64_t n = inner * store->inner_width + j;
			const unsigned char *row =
				raw + (d * store->inner_width + j) * store->chunk_size * item;

			for (uint64_t t = 0; t < count && n < store->ensemble.trajectories; t++) {
				const uint64_t bits = sim_value(store, chunk * store->chunk_size + t,
								d, n);

				if (memcmp(row + t * item, &bits, item) == 0)
					continue;
				snprintf(at, sizeof(at), "is wrong at (%" PRIu64 ", %" PRIu64 ", %" PRIu64 ")",
					 d, n, chunk * store->chunk_size + t);
				return at;
			}
		}
	}
	return NULL;
}

static const char *check_inner(const struct sim_store *store, const struct sim_image *image,
			       uint64_t offset, uint64_t size, uint64_t chunk, uint64_t inner,
			       uint64_t count)
{
	static unsigned char bytes[1 << 16], raw[1 << 16];
	const size_t raw_size = (size_t)(store->ensemble.dimension * store->inner_width *
					 store->chunk_size) * item_size(store);
	const char *why;

	if (offset > image->size || size > image->size - offset || size > sizeof(bytes))
		return "lies outside its file";
	sim_read(image, bytes, (size_t)size, offset);
	why = decode(store, bytes, (size_t)size, raw, raw_size);
	return why ? why : compare(store, raw, chunk, inner, count);
}

static const char *check_shard(const struct sim *sim, const char *path,
			       const struct sim_store *store, uint64_t chunk, uint64_t count)
{
	const uint64_t inners = (store->ensemble.trajectories + store->inner_width - 1) /
				store->inner_width;
	uint64_t table[2 * SIM_NUMBERS + 1];
	const size_t tail = (size_t)inners * 16 + 4;
	struct sim_image *image;
	char full[128];
	uint32_t crc;

	snprintf(full, sizeof(full), "%s/data/c/0/0/%" PRIu64, path, chunk);
	image = sim_file(sim, full);
	if (!image)
		return wrong("%s is missing", full);
	if (is_known(image, store, chunk, count))
		return NULL;
	if (image->size < tail)
		return wrong("%s has %" PRIu64 " bytes", full, image->size);
	sim_read(image, table, tail, image->size - tail);
	memcpy(&crc, &table[2 * inners], 4);
	if (crc != sde__crc32c(0, table, tail - 4))
		return wrong("the index of %s has a wrong checksum", full);
	for (uint64_t i = 0; i < inners; i++) {
		const char *why = check_inner(store, image, table[2 * i], table[2 * i + 1], chunk, i,
					      count);

		if (why)
			return wrong("inner chunk %" PRIu64 " of %s %s", i, full, why);
	}
	remember(image, store, chunk, count);
	return NULL;
}

static const char *check_files(const struct sim *sim, const char *path,
			       const struct sim_store *store, uint64_t chunk, uint64_t count)
{
	for (uint64_t i = 0; i * store->inner_width < store->ensemble.trajectories; i++) {
		const char *why;
		struct sim_image *image;
		char full[128];

		snprintf(full, sizeof(full), "%s/data/0.%" PRIu64 ".%" PRIu64, path, i, chunk);
		image = sim_file(sim, full);
		if (!image)
			return wrong("%s is missing", full);
		if (is_known(image, store, chunk << 8 | i, count))
			continue;
		why = check_inner(store, image, 0, image->size, chunk, i, count);
		if (why)
			return wrong("%s of %" PRIu64 " bytes %s", full, image->size, why);
		remember(image, store, chunk << 8 | i, count);
	}
	return NULL;
}

static const char *check_data(const struct sim *sim, const char *path,
			      const struct sim_store *store, uint64_t length)
{
	const char *why = NULL;

	for (uint64_t first = 0; first < length && !why; first += store->chunk_size) {
		const uint64_t left = length - first;
		const uint64_t count = left < store->chunk_size ? left : store->chunk_size;

		why = (store->zarr_format == 3 ? check_shard : check_files)
			(sim, path, store, first / store->chunk_size, count);
	}
	return why;
}

/* ------------------------------------------------------------------------
 * All of it
 */

const char *sim_zarr_check(const struct sim *sim, const char *path, const struct sim_store *store,
			   uint64_t *published)
{
	static const char *const name[2][5] = {
		{ "zarr.json", "zarr.json", "time/zarr.json", "iteration/zarr.json", "data/zarr.json" },
		{ ".zattrs", ".zmetadata", "time/.zarray", "iteration/.zarray", "data/.zarray" },
	};
	const bool is_2 = store->zarr_format == 2;
	struct document document[5], group;
	const char *why = NULL;
	char full[128];

	for (int i = 0; i < 5 && !why; i++)
		why = read_document(sim, path, name[is_2][i], &document[i]);
	if (!why && is_2)
		why = read_document(sim, path, ".zgroup", &group);
	if (why)
		return why;
	*published = document[1].length;
	if (document[1].length > document[0].snapshots)
		return wrong("the consolidated lengths are not equal, or %" PRIu64 " beyond %" PRIu64,
			     document[1].length, document[0].snapshots);
	for (int i = 2; i < 5; i++)
		if (document[i].length < document[0].snapshots || document[i].length > store->high)
			return wrong("%s has length %" PRIu64 ", the root %" PRIu64, name[is_2][i],
				     document[i].length, document[0].snapshots);
	snprintf(full, sizeof(full), "%s/time%s/0", path, is_2 ? "" : "/c");
	why = check_column(sim, full, store, true, document[2].length);
	snprintf(full, sizeof(full), "%s/iteration%s/0", path, is_2 ? "" : "/c");
	if (!why)
		why = check_column(sim, full, store, false, document[3].length);
	return why ? why : check_data(sim, path, store, document[4].length);
}
