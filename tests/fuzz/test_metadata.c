/* SPDX-License-Identifier: MIT */
/*
 * A store's documents, parsed: the root's, data's, and in format 2 time's attributes.
 * What is accepted must hold together, and written again and parsed once more be the
 * same.
 *
 * The input is a line "2" or "3", then the documents, each ended by a 0 byte.
 */
#include "documents.h"
#include "fuzz.h"
#include "template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "metadata";
const unsigned fuzz_mutations = 12000;

static struct sde__text take_text(struct fuzz_input *in)
{
	const uint8_t *end = in->size ? memchr(in->bytes, 0, in->size) : NULL;
	const size_t size = end ? (size_t)(end - in->bytes) : in->size;
	struct sde__text text = { (const char *)in->bytes, size };

	if (!in->size)
		text.bytes = NULL;
	in->bytes += end ? size + 1 : size;
	in->size -= end ? size + 1 : size;
	return text;
}

static void check_same(const struct sde__metadata *a, const struct sde__metadata *b)
{
	const bool texts = a->attributes && b->attributes ? !strcmp(a->attributes, b->attributes) :
			   !a->attributes == !b->attributes;

	fuzz_assert(a->geometry.dimension == b->geometry.dimension &&
		    a->geometry.trajectories == b->geometry.trajectories &&
		    a->geometry.chunk_size == b->geometry.chunk_size &&
		    a->geometry.inner_width == b->geometry.inner_width &&
		    a->geometry.dtype == b->geometry.dtype, "the geometry does not come back");
	fuzz_assert(a->codec == b->codec && a->checksum == b->checksum &&
		    a->keepbits == b->keepbits && a->state_capacity == b->state_capacity &&
		    a->stride == b->stride && a->epoch == b->epoch &&
		    a->snapshots == b->snapshots && !strcmp(a->run, b->run),
		    "a field does not come back");
	fuzz_assert(texts, "attributes do not come back: %s, %s", a->attributes, b->attributes);
}

static char *write(const struct sde__metadata *metadata, enum sde__document document)
{
	struct sde_error error = { 0 };
	char *text = NULL;
	int ret;

	if (!sde__document_path(metadata->zarr_format, document))
		return NULL;
	ret = sde__metadata_write(metadata, document, &text, &error);
	fuzz_assert(!ret, "what was parsed cannot be written: %s", error.text);
	return text;
}

static void check_round_trip(const struct sde__metadata *metadata)
{
	char *root = write(metadata, SDE__DOCUMENT_ROOT), *data = write(metadata, SDE__DOCUMENT_DATA);
	char *time = write(metadata, SDE__DOCUMENT_TIME_ATTRIBUTES);
	const struct sde__metadata_texts texts = {
		.zarr_format = metadata->zarr_format, .root = { root, strlen(root) },
		.data = { data, strlen(data) }, .time_attributes = { time, time ? strlen(time) : 0 },
	};
	struct sde__metadata again;
	struct sde_error error = { 0 };

	fuzz_assert(!sde__metadata_parse(&again, &texts, "again", &error),
		    "what was written is refused: %s", error.text);
	check_same(metadata, &again);
	sde__metadata_clear(&again);
	free(root);
	free(data);
	free(time);
}

static void check(const struct sde__metadata *m)
{
	struct sde_error error = { 0 };

	fuzz_assert(!sde__geometry_check(&m->geometry, &error), "%s", error.text);
	fuzz_assert(m->stride > 0 && m->snapshots <= INT64_MAX && m->epoch <= INT64_MAX,
		    "a number that cannot be");
	fuzz_assert(strlen(m->run) == 32, "a run of %zu digits", strlen(m->run));
	fuzz_assert(!m->attributes || m->attributes[0] == '{', "attributes are no object");
	check_round_trip(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fuzz_input in = { bytes, size };
	struct sde__metadata_texts texts = { .zarr_format = fuzz_take(&in, 1) == '2' ? 2 : 3 };
	struct sde__metadata metadata;
	struct sde_error error = { 0 };
	int ret;

	fuzz_take(&in, 1);
	texts.root = take_text(&in);
	texts.data = take_text(&in);
	texts.time_attributes = take_text(&in);
	/* what jansson makes of "[[],[],..." */
	fuzz_budget_begin(((uint64_t)1 << 18) + 256 * size, NULL);
	ret = sde__metadata_parse(&metadata, &texts, "run.zarr", &error);
	if (ret) {
		fuzz_check_error(ret, &error);
	} else {
		check(&metadata);
		sde__metadata_clear(&metadata);
	}
	fuzz_budget_end();
	return 0;
}

static size_t add(unsigned char *out, size_t n, const char *text, size_t size)
{
	memcpy(out + n, text, size);
	out[n + size] = '\0';
	return n + size + 1;
}

static size_t add_document(const struct template *t, enum sde__document document,
			   unsigned char *out, size_t n)
{
	const char *name = sde__document_path(t->format, document);
	char path[160];
	const struct memory_node *node;

	if (!name)
		return n;
	snprintf(path, sizeof(path), TEMPLATE_PATH "/%s", name);
	node = memory_find(&t->fs, path);
	return add(out, n, (const char *)node->bytes, node->size);
}

/* The templates' documents; then, in the root's place, what JSON can be. */
size_t fuzz_seed(unsigned i, unsigned char out[FUZZ_INPUT_MAX])
{
	static const char *const texts[] = {
		"{\"a\":1,\"a\":2}",
		"1e999", "-0", "\"\\u0000\"", "{\"\\ud800\":0}", "[1,", "", "{\"zarr_format\":3.0}",
		"{\"attributes\":{\"sdestore\":{\"version\":9223372036854775808}}}",
	};
	const struct template *t = template_get(i % TEMPLATES);
	size_t n = 2;

	out[0] = t->format == 2 ? '2' : '3';
	out[1] = '\n';
	if (i < TEMPLATES) {
		n = add_document(t, SDE__DOCUMENT_ROOT, out, n);
		n = add_document(t, SDE__DOCUMENT_DATA, out, n);
		return add_document(t, SDE__DOCUMENT_TIME_ATTRIBUTES, out, n);
	}
	i -= TEMPLATES;
	if (i == sizeof(texts) / sizeof(texts[0])) {	/* deeper than any parser goes */
		memset(out + n, '[', 3000);
		return n + 3000;
	}
	return i > sizeof(texts) / sizeof(texts[0]) ? 0 : add(out, n, texts[i], strlen(texts[i]));
}
