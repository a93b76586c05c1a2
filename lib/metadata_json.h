/* SPDX-License-Identifier: MIT */
/*
 * What writing (metadata.c) and parsing (metadata_parse.c) share: the way JSON
 * goes between text and jansson's tree. Private to those two.
 */
#ifndef SDE_LIB_METADATA_JSON_H
#define SDE_LIB_METADATA_JSON_H

#include <jansson.h>
#include <stddef.h>

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

/* Replace what is not printable ASCII by '?': for sentences that quote foreign bytes. */
void sde__json_printable(char *text);

#endif
