/* SPDX-License-Identifier: MIT */
/*
 * Headers of .npy files, out and in. Guards the reader from everything that a
 * Python dictionary may be and an array of ours is not: one pass, a few kinds of
 * tokens, every number and every length checked.
 */
#include "npy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const unsigned char magic[6] = { 0x93, 'N', 'U', 'M', 'P', 'Y' };

#define ALIGNMENT 64

/* NumPy leaves room for the axis that appending would lengthen to get this long
 * (format.py, GROWTH_AXIS_MAX_DIGITS: the digits of 8 * 2^64). */
#define GROWTH_DIGITS 21

static const struct {
	const char *descr;
	enum sde_dtype dtype;
	unsigned size;
} types[] = {
	{ "<f8", SDE_FLOAT64, 8 },
	{ "<f4", SDE_FLOAT32, 4 },
	{ "<i8", SDE_INT64, 8 },
};
#define TYPES (sizeof(types) / sizeof(types[0]))

static size_t type_of(enum sde_dtype dtype)
{
	size_t i = 0;

	while (i + 1 < TYPES && types[i].dtype != dtype)
		i++;
	return i;
}

int sde__npy_size(const struct sde__npy *array, uint64_t *bytes)
{
	uint64_t size = types[type_of(array->dtype)].size;
	bool empty = false;

	/* an empty array's other axes may be as long as they like, but not absurd */
	for (unsigned i = 0; i < array->ndim; i++) {
		if (!array->shape[i])
			empty = true;
		else if (__builtin_mul_overflow(size, array->shape[i], &size))
			return -EOVERFLOW;
	}
	if (size > INT64_MAX)
		return -EOVERFLOW;
	*bytes = empty ? 0 : size;
	return 0;
}

/* ------------------------------------------------------------------------
 * Out
 */

/* Add to the text of *n bytes in `out`. The largest header fits: 10 bytes, 60 of
 * names, 8 numbers of 20 digits and a comma and a blank each, 21, 63. */
__attribute__((format(printf, 3, 4)))
static void add(char *out, size_t *n, const char *format, ...)
{
	va_list arguments;
	int added;

	va_start(arguments, format);
	added = vsnprintf(out + *n, SDE__NPY_HEADER_MAX - *n, format, arguments);
	va_end(arguments);
	if (added > 0)
		*n += (size_t)added;
}

size_t sde__npy_encode(const struct sde__npy *array, unsigned char out[SDE__NPY_HEADER_MAX])
{
	char text[SDE__NPY_HEADER_MAX];
	size_t n = 0, total, spare = 0;

	add(text, &n, "{'descr': '%s', 'fortran_order': %s, 'shape': (",
	    types[type_of(array->dtype)].descr, array->fortran_order ? "True" : "False");
	for (unsigned i = 0; i < array->ndim; i++)
		add(text, &n, "%s%" PRIu64, i ? ", " : "", array->shape[i]);
	add(text, &n, "%s), }", array->ndim == 1 ? "," : "");
	if (array->ndim) {
		const unsigned axis = array->fortran_order ? array->ndim - 1 : 0;
		const int digits = snprintf(NULL, 0, "%" PRIu64, array->shape[axis]);

		spare = GROWTH_DIGITS - (size_t)digits;
	}
	total = (sizeof(magic) + 4 + n + spare + 1 + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	memset(out, ' ', total);
	memcpy(out, magic, sizeof(magic));
	out[6] = 1;
	out[7] = 0;
	out[8] = (unsigned char)((total - 10) & 0xff);
	out[9] = (unsigned char)((total - 10) >> 8);
	memcpy(out + 10, text, n);
	out[total - 1] = '\n';
	return total;
}

/* ------------------------------------------------------------------------
 * In
 */

int sde__npy_header_size(const unsigned char prefix[SDE__NPY_PREFIX], size_t *size,
			 struct sde_error *error)
{
	size_t h;

	if (memcmp(prefix, magic, sizeof(magic)) != 0)
		return sde__fail(error, SDE_E_CORRUPT, "it does not begin as a .npy file");
	if (prefix[6] < 1 || prefix[6] > 3 || prefix[7] != 0)
		return sde__fail(error, SDE_E_VERSION, "its .npy header has version %d.%d, expected"
				 " 1.0 to 3.0", prefix[6], prefix[7]);
	h = (size_t)prefix[8] | (size_t)prefix[9] << 8;
	if (prefix[6] > 1)
		h |= (size_t)prefix[10] << 16 | (size_t)prefix[11] << 24;
	*size = (prefix[6] > 1 ? 12 : 10) + h;
	if (h < 2 || *size > SDE__NPY_DECODE_MAX)
		return sde__fail(error, SDE_E_CORRUPT, "its .npy header says it has %zu bytes", h);
	return 0;
}

/* The text between p and end; what is taken from it moves p. */
struct text {
	const char *p, *end;
};

static void skip_blanks(struct text *t)
{
	while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t'))
		t->p++;
}

static bool take(struct text *t, const char *word)
{
	const size_t n = strlen(word);

	skip_blanks(t);
	if ((size_t)(t->end - t->p) < n || memcmp(t->p, word, n) != 0)
		return false;
	t->p += n;
	return true;
}

/* A string in either quotes, without escapes. */
static bool take_string(struct text *t, char *out, size_t room)
{
	const char *from;
	char quote;
	size_t n;

	skip_blanks(t);
	if (t->p == t->end || (*t->p != '\'' && *t->p != '"'))
		return false;
	quote = *t->p;
	from = t->p + 1;
	for (n = 0; from + n < t->end && from[n] != quote; n++)
		if (from[n] == '\\' || (unsigned char)from[n] < ' ' || n + 1 == room)
			return false;
	if (from + n == t->end)
		return false;
	memcpy(out, from, n);
	out[n] = '\0';
	t->p = from + n + 1;
	return true;
}

/* A number as Python 3 writes it, or Python 2: with an L behind it. */
static bool take_number(struct text *t, uint64_t *out)
{
	const char *from;
	uint64_t value = 0;

	skip_blanks(t);
	for (from = t->p; t->p < t->end && *t->p >= '0' && *t->p <= '9'; t->p++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*t->p - '0'), &value))
			return false;
	if (t->p == from || (*from == '0' && t->p > from + 1))
		return false;
	*out = value;
	if (t->p < t->end && *t->p == 'L')
		t->p++;
	return true;
}

static int bad(struct sde_error *error, const char *what)
{
	return sde__fail(error, SDE_E_CORRUPT, "its .npy header has %s", what);
}

static int decode_descr(struct text *t, struct sde__npy *out, struct sde_error *error)
{
	char descr[16];

	if (take(t, "["))
		return sde__fail(error, SDE_E_UNSUPPORTED, "its numbers are structures");
	if (!take_string(t, descr, sizeof(descr)))
		return bad(error, "no data type");
	for (size_t i = 0; i < TYPES; i++)
		if (!strcmp(descr, types[i].descr)) {
			out->dtype = types[i].dtype;
			return 0;
		}
	if (strchr(descr, 'O'))
		return sde__fail(error, SDE_E_UNSUPPORTED, "it holds Python objects, not numbers");
	if (descr[0] == '>')
		return sde__fail(error, SDE_E_UNSUPPORTED, "its numbers are big-endian ('%s')",
				 descr);
	return sde__fail(error, SDE_E_UNSUPPORTED, "its numbers are of type '%s', not '<f8', '<f4'"
			 " or '<i8'", descr);
}

/* "()", "(n,)", "(n, m)", "(n, m, )" */
static int decode_shape(struct text *t, struct sde__npy *out, struct sde_error *error)
{
	bool comma = true;

	if (!take(t, "("))
		return bad(error, "no shape");
	for (out->ndim = 0; !take(t, ")"); out->ndim++) {
		if (!comma)
			return bad(error, "a bad shape");
		if (out->ndim == SDE__NPY_NDIM_MAX)
			return sde__fail(error, SDE_E_UNSUPPORTED, "it has more than %d dimensions",
					 SDE__NPY_NDIM_MAX);
		if (!take_number(t, &out->shape[out->ndim]))
			return bad(error, "a bad shape");
		comma = take(t, ",");
	}
	/* "(5)" is a number in Python, not a shape */
	return out->ndim == 1 && !comma ? bad(error, "a bad shape") : 0;
}

static int decode_order(struct text *t, struct sde__npy *out, struct sde_error *error)
{
	if (take(t, "True"))
		out->fortran_order = true;
	else if (take(t, "False"))
		out->fortran_order = false;
	else
		return bad(error, "no fortran_order");
	return 0;
}

static const struct {
	const char *key;
	int (*decode)(struct text *t, struct sde__npy *out, struct sde_error *error);
} keys[] = {
	{ "descr", decode_descr },
	{ "fortran_order", decode_order },
	{ "shape", decode_shape },
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

/* "key: value", each key once: `seen` has a bit for each. */
static int decode_pair(struct text *t, unsigned *seen, struct sde__npy *out,
		       struct sde_error *error)
{
	char key[16];

	if (!take_string(t, key, sizeof(key)) || !take(t, ":"))
		return bad(error, "a bad dictionary");
	for (unsigned i = 0; i < KEYS; i++) {
		if (strcmp(key, keys[i].key) != 0)
			continue;
		if (*seen & 1u << i)
			return bad(error, "a key twice");
		*seen |= 1u << i;
		return keys[i].decode(t, out, error);
	}
	return bad(error, "a key that no array has");
}

int sde__npy_decode(const unsigned char *bytes, size_t size, struct sde__npy *out,
		    struct sde_error *error)
{
	const size_t begin = bytes[6] > 1 ? 12 : 10;
	struct text t = { (const char *)bytes + begin, (const char *)bytes + size };
	unsigned seen = 0;
	bool comma = true;
	int ret;

	memset(out, 0, sizeof(*out));
	if (!take(&t, "{"))
		return bad(error, "no dictionary");
	while (!take(&t, "}")) {
		if (!comma)
			return bad(error, "a bad dictionary");
		ret = decode_pair(&t, &seen, out, error);
		if (ret)
			return ret;
		comma = take(&t, ",");
	}
	skip_blanks(&t);
	if (t.p != t.end || bytes[size - 1] != '\n')
		return bad(error, "something behind the dictionary");
	if (seen != (1u << KEYS) - 1)
		return bad(error, "a key missing");
	return 0;
}
