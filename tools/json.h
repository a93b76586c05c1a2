/* SPDX-License-Identifier: MIT */
/*
 * Write JSON (RFC 8259), one value after the other, indented by two spaces:
 *
 *	struct emitter e = { .out = stdout };
 *
 *	emit_object(&e, NULL);
 *	emit_string(&e, "name", name);
 *	emit_array(&e, "shape");
 *	emit_unsigned(&e, NULL, 3);
 *	emit_end(&e);
 *	emit_end(&e);			the outermost ends with a newline
 *
 * `key` is a literal of ours inside an object, NULL elsewhere. Members of
 * objects have a line each, elements of arrays follow each other. Write errors
 * stay in ferror(out).
 *
 * (Names begin with emit_: json_ belongs to the library that libsdestore
 * parses metadata with, and a static link would mix them up.)
 */
#ifndef SDE_TOOLS_JSON_H
#define SDE_TOOLS_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define EMIT_DEPTH 16

/* Zero but for these two to begin with; the rest is the emitter's own. */
struct emitter {
	FILE *out;
	bool one_line;			/* all of it, but for emit_json */
	unsigned depth;
	bool filled;			/* the open container has an element */
	bool array[EMIT_DEPTH];		/* by depth: it is an array */
};

void emit_object(struct emitter *e, const char *key);
void emit_array(struct emitter *e, const char *key);
void emit_end(struct emitter *e);

void emit_null(struct emitter *e, const char *key);
void emit_bool(struct emitter *e, const char *key, bool value);
void emit_unsigned(struct emitter *e, const char *key, uint64_t value);
void emit_signed(struct emitter *e, const char *key, int64_t value);
/* 17 significant digits; NaN and infinities, which JSON has not, are null. */
void emit_double(struct emitter *e, const char *key, double value);
/* Any bytes; see text_put for what becomes of those that are not text. */
void emit_string(struct emitter *e, const char *key, const char *value);
/* A value that is JSON text already: indented like the rest. */
void emit_json(struct emitter *e, const char *key, const char *text);

/* JSON text, indented from `depth` on; the first line is not. */
void emit_indented(FILE *out, const char *text, unsigned depth);

#endif
