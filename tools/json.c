/* SPDX-License-Identifier: MIT */
/*
 * Guards what --json promises: one well-formed value, whatever bytes the
 * strings hold.
 */
#include "json.h"

#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void new_line(FILE *out, unsigned depth)
{
	fprintf(out, "\n%*s", (int)(2 * depth), "");
}

/* What stands before a value: comma, line, key. */
static void begin(struct emitter *e, const char *key)
{
	bool array = e->array[e->depth];

	if (e->depth && e->filled)
		fputs(array || e->one_line ? ", " : ",", e->out);
	if (e->depth && !array) {
		if (!e->one_line)
			new_line(e->out, e->depth);
		fprintf(e->out, "\"%s\": ", key);
	}
	e->filled = true;
}

static void open_container(struct emitter *e, const char *key, bool array)
{
	begin(e, key);
	putc(array ? '[' : '{', e->out);
	e->depth++;
	e->array[e->depth] = array;
	e->filled = false;
}

void emit_object(struct emitter *e, const char *key)
{
	open_container(e, key, false);
}

void emit_array(struct emitter *e, const char *key)
{
	open_container(e, key, true);
}

void emit_end(struct emitter *e)
{
	bool array = e->array[e->depth];

	e->depth--;
	if (!array && e->filled && !e->one_line)
		new_line(e->out, e->depth);
	putc(array ? ']' : '}', e->out);
	e->filled = true;
	if (!e->depth)
		putc('\n', e->out);
}

void emit_null(struct emitter *e, const char *key)
{
	begin(e, key);
	fputs("null", e->out);
}

void emit_bool(struct emitter *e, const char *key, bool value)
{
	begin(e, key);
	fputs(value ? "true" : "false", e->out);
}

void emit_unsigned(struct emitter *e, const char *key, uint64_t value)
{
	begin(e, key);
	fprintf(e->out, "%" PRIu64, value);
}

void emit_signed(struct emitter *e, const char *key, int64_t value)
{
	begin(e, key);
	fprintf(e->out, "%" PRId64, value);
}

void emit_double(struct emitter *e, const char *key, double value)
{
	begin(e, key);
	if (isfinite(value))
		fprintf(e->out, "%.17g", value);
	else
		fputs("null", e->out);
}

void emit_string(struct emitter *e, const char *key, const char *value)
{
	begin(e, key);
	putc('"', e->out);
	text_put(e->out, value, strlen(value), true);
	putc('"', e->out);
}

void emit_json(struct emitter *e, const char *key, const char *text)
{
	begin(e, key);
	emit_indented(e->out, text, e->depth);
}

static const char *skip_space(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/*
 * Print the string that begins at the quote `p`, return what follows. Escapes
 * stay as they are; what may not stand in a string unescaped is escaped.
 */
static const char *put_string(FILE *out, const char *p)
{
	const char *end = p + 1;

	while (*end && *end != '"')
		end += *end == '\\' && end[1] ? 2 : 1;
	putc('"', out);
	text_put(out, p + 1, (size_t)(end - p - 1), false);
	putc('"', out);
	return *end ? end + 1 : end;
}

/* The open containers of emit_indented; beyond the last bit all are arrays. */
#define NESTING 4096

void emit_indented(FILE *out, const char *text, unsigned depth)
{
	unsigned char object[NESTING / 8] = { 0 };
	unsigned level = 0;
	bool in_object = false;

	for (const char *p = skip_space(text); *p; p = skip_space(p)) {
		char c = *p;

		if (c == '"') {
			p = put_string(out, p);
			continue;
		}
		p++;
		if ((c == '}' || c == ']') && level) {
			if (in_object)
				new_line(out, depth + level - 1);
			level--;
			in_object = level < NESTING && object[level / 8] >> level % 8 & 1;
		}
		if ((unsigned char)c > ' ' && (unsigned char)c < 0x7f)
			putc(c, out);
		if (c == '{' || c == '[') {
			const char *next = skip_space(p);

			if (*next == (c == '{' ? '}' : ']')) {
				putc(*next, out);
				p = next + 1;
				continue;
			}
			if (level < NESTING) {
				object[level / 8] &= (unsigned char)~(1u << level % 8);
				object[level / 8] |= (unsigned char)(in_object << level % 8);
			}
			level++;
			in_object = c == '{';
		}
		if (c == ':' || (c == ',' && !in_object))
			putc(' ', out);
		else if (in_object && (c == '{' || c == ','))
			new_line(out, depth + level);
	}
}
