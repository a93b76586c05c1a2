/* SPDX-License-Identifier: MIT */
/*
 * What writing and parsing share: JSON as text and as jansson's tree. Private to
 * metadata*.c.
 */
#ifndef SDE_LIB_METADATA_JSON_H
#define SDE_LIB_METADATA_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reals with 17 significant digits come back as the same double. */
#define SDE__JSON_INDENTED (JSON_INDENT(2) | JSON_REAL_PRECISION(17))
#define SDE__JSON_COMPACT (JSON_COMPACT | JSON_REAL_PRECISION(17))

/* Our member of the root's attributes. */
#define SDE__ATTRIBUTE "sdestore"

/*
 * Strict JSON (RFC 8259): one object or array, no duplicate keys, integers that
 * fit int64. 0, -ENOMEM, or -EINVAL with `why` filled, its text printable.
 */
int sde__json_load(const char *text, size_t size, json_t **out, json_error_t *why);

/*
 * malloc'd text of an object or array, to be freed with free() even in a
 * program that gave jansson an allocator of its own. 0, -ENOMEM.
 */
int sde__json_text(const json_t *json, size_t flags, char **text);

/*
 * object, with value as its member key; array, with value at its end. Both take
 * over what they are given, also when one of them is NULL for want of memory,
 * and return NULL then: a chain of them needs one test, at its end.
 */
json_t *sde__json_with(json_t *object, const char *key, json_t *value);
json_t *sde__json_append(json_t *array, json_t *value);

json_t *sde__json_triple(uint64_t a, uint64_t b, uint64_t c);	/* each at most INT64_MAX */

bool sde__json_is_text(const json_t *value, const char *text);
bool sde__json_is_integer(const json_t *value, uint64_t min, uint64_t max);

/* Replace what is not printable ASCII by '?': for sentences that quote foreign bytes. */
void sde__json_printable(char *text);

#endif
