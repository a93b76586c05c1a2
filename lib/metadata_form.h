/* SPDX-License-Identifier: MIT */
/*
 * The two Zarr formats behind one table each, and what they share when they
 * write and parse. Private to metadata*.c.
 */
#ifndef SDE_LIB_METADATA_FORM_H
#define SDE_LIB_METADATA_FORM_H

#include "metadata.h"
#include "metadata_json.h"

/* One document under examination, for the sentences. */
struct sde__source {
	const char *place;
	const char *name;	/* below place */
	struct sde_error *error;
};

struct sde__metadata_form {
	unsigned zarr_format;
	const char *path[SDE__DOCUMENT_COUNT];	/* below the root; NULL: no such document */
	/* a document the format has; NULL: no memory */
	json_t *(*document)(const struct sde__metadata *, enum sde__document);
	/* takes all fields but those of data's document; may change `root` on the way */
	int (*parse_root)(const struct sde__source *, json_t *root, struct sde__metadata *);
	/* takes geometry, codec and checksum */
	int (*parse_data)(const struct sde__source *, json_t *data, struct sde__metadata *);
};

extern const struct sde__metadata_form sde__metadata_v2, sde__metadata_v3;

/* NULL if there is no such format. */
const struct sde__metadata_form *sde__metadata_form(unsigned zarr_format);

/* Written in metadata.c: the user's attributes and our member among them. */
json_t *sde__metadata_root_attributes(const struct sde__metadata *metadata);

/*
 * The rest is of metadata_parse.c. refuse and is_not return the code they were
 * given, or SDE_E_CORRUPT, with a sentence that begins with the file's name;
 * is_not's is "<what> is <value>, not <expected>".
 */
int sde__source_refuse(const struct sde__source *source, int code, const char *format, ...)
	SDE__PRINTF(3, 4);
int sde__source_is_not(const struct sde__source *source, const char *what, const json_t *value,
		       const char *expected);
int sde__source_no_memory(const struct sde__source *source);

/* A value as it stands in the document, cut to a few words. */
struct sde__shown {
	char text[72];
};
const char *sde__json_show(const json_t *value, struct sde__shown *shown);

/* object[key], an integer of min..max; `what` is its path in the document. */
int sde__source_integer(const struct sde__source *source, const json_t *object, const char *key,
			const char *what, uint64_t min, uint64_t max, uint64_t *out);
int sde__source_triple(const struct sde__source *source, const json_t *array, const char *what,
		       uint64_t out[3]);

/* The root's attributes: our member, and the user's. Removes ours from the tree. */
int sde__metadata_parse_attributes(const struct sde__source *source, json_t *attributes,
				   struct sde__metadata *metadata);

/* The units of time as an attribute has them; what is no text is none. */
int sde__metadata_take_units(const struct sde__source *source, const json_t *units,
			     struct sde__metadata *metadata);

/* Can blosc's other settings be ours? Its shuffle is the format's to judge. */
int sde__metadata_check_blosc(const struct sde__source *source, const json_t *blosc);

/* dtype and chunk sizes taken: does all that `metadata` says go with data's shape? */
int sde__metadata_take_shape(const struct sde__source *source, const uint64_t shape[3],
			     struct sde__metadata *metadata);

#endif
