/* SPDX-License-Identifier: MIT */
/*
 * A whole store, damaged: the input says which template (template.h) and what is done
 * to its files, one operation after the other. It is then read, resumed, stored into,
 * truncated, closed and read again.
 *
 *	offset	size
 *	0	1	template; its high bits choose `ring`, whether somebody holds the
 *			lock, whether the machine was booted since
 *	1	...	operations: code, file (modulo their number), arguments
 *
 * What nobody changed must come back, and what is changed behind a checksum must
 * never come back wrong. Some operations put the checksums right again, so that the
 * damage gets further.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "checksum.h"
#include "exercise.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char fuzz_name[] = "store";
const unsigned fuzz_mutations = 300;

#define PATHS_MAX 64
#define OPERATIONS_MAX 24

enum operation {
	WRITE_BYTES,	/* offset 4, n 1, bytes n */
	CUT,		/* size 4 */
	GROW,		/* by 2 */
	REMOVE,
	SWAP,		/* with the file of 1 */
	COPY,		/* over the file of 1 */
	ADD,		/* name of 1 (see below), contents of a file, in its directory */
	TO_DIRECTORY,
	TO_LINK,
	TO_PIPE,
	HARD_LINK,	/* the file of 1 gets this one's name */
	SET_NUMBER,	/* JSON: the number of 1, to the number of 1 of a list */
	SET_WORD,	/* 4 or 8 bytes at a multiple of 4 below 1024 (1) := a number (1) */
	RIGHT,		/* its checksums are put right */
	OPERATIONS
};

struct paths {
	char path[PATHS_MAX][160];
	unsigned count;
};

static void note_path(void *ctx, const char *path, struct memory_node *node)
{
	struct paths *p = ctx;

	(void)node;
	if (p->count < PATHS_MAX)
		snprintf(p->path[p->count++], sizeof(p->path[0]), "%.159s", path);
}

/* ------------------------------------------------------------------------
 * Operations
 */

static const uint64_t numbers[] = {
	0, 1, 2, 3, 4, 7, 8, 9, 16, 255, 256, 4096, 65535, 65536, INT32_MAX, (uint64_t)INT32_MAX + 1,
	UINT32_MAX, (uint64_t)1 << 40, (uint64_t)1 << 60, (uint64_t)1 << 61, (uint64_t)1 << 62,
	INT64_MAX - 1, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1, UINT64_MAX,
};
#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static const char *const json_numbers[] = {
	"0", "1", "-1", "2", "3", "4", "8", "16", "4096", "2147483647", "2147483648", "4294967296",
	"67108864", "1099511627776", "1152921504606846976", "4611686018427387904", "9223372036854775807",
	"9223372036854775808", "1e300", "0.5", "-0", "null", "\"8\"", "[8]", "{}", "true", "NaN",
};
#define JSON_NUMBERS (sizeof(json_numbers) / sizeof(json_numbers[0]))

static const char *const names[] = {
	"0", "1", "2", "3", "99", "0.0.0", "0.0.99", "1.tmp", "zarr.json.tmp", "segment.0",
	"segment.63", "header", "header.tmp", "lock", ".side", ".ring", "-1", "00", "0x1",
	"18446744073709551615", "18446744073709551616", "c", "x\n\033[31m.tmp",
};
#define NAMES (sizeof(names) / sizeof(names[0]))

static void write_bytes(struct memory_node *node, struct fuzz_input *in)
{
	const uint64_t offset = fuzz_take(in, 4);
	size_t n = (size_t)fuzz_take(in, 1);
	const uint8_t *bytes = fuzz_take_bytes(in, n, &n);

	if (node->size && n)
		for (size_t i = 0; i < n; i++)
			node->bytes[(offset + i) % node->size] = bytes[i];
}

/* The which-th run of digits of a text becomes another. */
static void set_number(struct memory_io *fs, struct memory_node *node, unsigned which,
		       const char *to)
{
	const char *text = (const char *)node->bytes;
	size_t from = 0, end = 0, size = node->size;
	char *copy;

	for (unsigned i = 0; i <= which; i++) {
		for (from = end; from < size && (text[from] < '0' || text[from] > '9'); from++)
			;
		for (end = from; end < size && text[end] >= '0' && text[end] <= '9'; end++)
			;
	}
	if (from == size)
		return;
	copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, text, size);
	memory_resize(fs, node, size - (end - from) + strlen(to));
	memcpy(node->bytes + from, to, strlen(to));
	memcpy(node->bytes + from + strlen(to), copy + end, size - end);
	free(copy);
}

static void set_word(struct memory_node *node, uint64_t at, uint64_t value)
{
	const size_t offset = (size_t)at % 256 * 4, n = at & 0x100 ? 8 : 4;

	/* from the file's end, where an index is, or from its begin */
	if (offset + n > node->size)
		return;
	memcpy(node->bytes + (at & 0x200 ? node->size - offset - n : offset), &value, n);
}

static void swap(struct memory_node *a, struct memory_node *b)
{
	unsigned char *bytes = a->bytes;
	const size_t size = a->size;

	a->bytes = b->bytes;
	a->size = b->size;
	b->bytes = bytes;
	b->size = size;
}

static void add_name(struct memory_io *fs, const char *path, const struct memory_node *node,
		     const char *name)
{
	const char *slash = strrchr(path, '/');
	char added[512];

	snprintf(added, sizeof(added), "%.*s%s", slash ? (int)(slash - path) + 1 : 0, path, name);
	if (slash)
		memory_put(fs, added, MEMORY_FILE, node->bytes, node->size);
}

static void operate(struct memory_io *fs, const struct template *t, struct fuzz_input *in,
		    const struct paths *p)
{
	const enum operation operation = (enum operation)(fuzz_take(in, 1) % OPERATIONS);
	const char *path = p->path[fuzz_take(in, 1) % p->count];
	const unsigned argument = (unsigned)fuzz_take(in, operation >= SWAP ? 1 : 0);
	const char *to = p->path[argument % p->count];
	struct memory_node *node = memory_find(fs, path), *other = memory_find(fs, to);
	const bool is_file = node && node->kind == MEMORY_FILE;

	if (!node)
		return;
	if (operation == REMOVE)
		memory_remove(fs, path);
	else if (operation == TO_DIRECTORY)
		memory_put(fs, path, MEMORY_DIRECTORY, NULL, 0);
	else if (operation == TO_LINK || operation == TO_PIPE)
		memory_put(fs, path, operation == TO_LINK ? MEMORY_LINK : MEMORY_PIPE, NULL, 0);
	if (!is_file)
		return;
	switch (operation) {
	case WRITE_BYTES:
		write_bytes(node, in);
		break;
	case CUT:
		memory_resize(fs, node, (size_t)(fuzz_take(in, 4) % (node->size + 1)));
		break;
	case GROW:
		if (node->size < FUZZ_INPUT_MAX * 2)
			memory_resize(fs, node, node->size + (size_t)fuzz_take(in, 2));
		break;
	case SWAP:
		if (other && other->kind == MEMORY_FILE)
			swap(node, other);
		break;
	case COPY:
		memory_put(fs, to, MEMORY_FILE, node->bytes, node->size);
		break;
	case ADD:
		add_name(fs, path, node, names[argument % NAMES]);
		break;
	case HARD_LINK:
		if (other && other->kind == MEMORY_FILE)
			memory_link(fs, path, other);
		break;
	case SET_NUMBER:
		set_number(fs, node, argument, json_numbers[fuzz_take(in, 1) % JSON_NUMBERS]);
		break;
	case SET_WORD:
		set_word(node, argument | fuzz_take(in, 1) << 8,
			 numbers[fuzz_take(in, 1) % NUMBERS]);
		break;
	case RIGHT:
		checksum_right(node->bytes, node->size, path, t);
		break;
	default:
		break;
	}
}

/* ------------------------------------------------------------------------
 * What is known afterwards
 */

struct known {
	const struct template *template;
	struct memory_io *fs;
	const struct memory_io *whole;
	bool metadata, ring;		/* not changed */
	bool righted;			/* checksums may be of other numbers */
};

static bool is_same(const struct known *k, const char *path)
{
	const struct memory_node *a = memory_find(k->whole, path);
	const struct memory_node *b = memory_find(k->fs, path);

	if (!a || !b)
		return !a && !b;
	if (a->kind != b->kind || a->size != b->size)
		return false;
	return !a->size || !memcmp(a->bytes, b->bytes, a->size);
}

static bool chunk_is_same(const struct known *k, uint64_t chunk)
{
	const struct template *t = k->template;
	char path[160];

	if (t->format == 3) {
		snprintf(path, sizeof(path), TEMPLATE_PATH "/data/c/0/0/%u", (unsigned)chunk);
		return is_same(k, path);
	}
	snprintf(path, sizeof(path), TEMPLATE_PATH "/data/.side/%u", (unsigned)chunk);
	for (unsigned i = 0; i < 4 && is_same(k, path); i++)
		snprintf(path, sizeof(path), TEMPLATE_PATH "/data/0.%u.%u", i, (unsigned)chunk);
	return is_same(k, path);
}

static bool series_is_same(const struct known *k, enum exercise_what what)
{
	char path[160];

	snprintf(path, sizeof(path), TEMPLATE_PATH "/%s/%s0",
		 what == EXERCISE_TIME ? "time" : "iteration", k->template->format == 3 ? "c/" : "");
	return is_same(k, path);
}

/* Published in a chunk that no later one will replace. */
static bool is_filed(const struct known *k, uint64_t snapshot)
{
	const struct template *t = k->template;

	return snapshot < t->published / t->chunk_size * t->chunk_size;
}

static bool is_right(const void *ctx, enum exercise_what what, uint64_t snapshot)
{
	const struct known *k = ctx;

	if (!k->metadata || k->righted)
		return false;
	if (!is_filed(k, snapshot) && !k->ring)
		return false;
	/* a block does not say whose it is: time's in iteration's place is whole */
	if (what != EXERCISE_DATA)
		return series_is_same(k, what);
	return k->template->checksum || chunk_is_same(k, snapshot / k->template->chunk_size);
}

static bool must_be_read(const void *ctx, enum exercise_what what, uint64_t snapshot)
{
	const struct known *k = ctx;

	if (!k->metadata || !is_filed(k, snapshot))
		return false;
	return what == EXERCISE_DATA ? chunk_is_same(k, snapshot / k->template->chunk_size) :
	       series_is_same(k, what);
}

static void note_change(void *ctx, const char *path, struct memory_node *node)
{
	struct known *k = ctx;

	(void)node;
	if (is_same(k, path))
		return;
	if (strstr(path, "/.ring"))
		k->ring = false;
	else if (strstr(path, "zarr.json") || strstr(path, "/.z"))
		k->metadata = false;
}

static struct known learn(const struct template *t, struct memory_io *fs, bool righted)
{
	struct known k = { t, fs, &t->fs, true, true, righted };

	memory_walk(fs, note_change, &k);
	memory_walk(&t->fs, note_change, &k);
	return k;
}

/* ------------------------------------------------------------------------
 * The harness
 */

/* Is it the same file, too? A ring that was copied to where it was is another one. */
static bool is_itself(const struct known *k, const char *path)
{
	return is_same(k, path) &&
	       memory_find(k->whole, path)->inode == memory_find(k->fs, path)->inode;
}

static bool all_is_same(const struct known *k, const struct paths *p)
{
	for (unsigned i = 0; i < p->count; i++)
		if (!is_itself(k, p->path[i]))
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fuzz_input in = { bytes, size };
	const unsigned choice = (unsigned)fuzz_take(&in, 1);
	const struct template *t = template_get(choice % 16 % TEMPLATES);
	struct exercise x = { .expect = t, .is_right = is_right, .must_be_read = must_be_read };
	struct paths paths = { .count = 0 };
	struct memory_io fs;
	struct known known;
	bool righted = false;
	uint64_t snapshots;

	memory_io_clone(&fs, &t->fs);
	memory_walk(&fs, note_path, &paths);
	for (unsigned i = 0; i < OPERATIONS_MAX && in.size; i++) {
		righted |= in.bytes[0] % OPERATIONS == RIGHT;
		operate(&fs, t, &in, &paths);
	}
	if (choice & 0x10)
		memset(fs.boot, 0, sizeof(fs.boot));
	fs.locked = (choice & 0x20) != 0;
	x.ring = (enum sde_ring)((choice >> 6) % 3);
	known = learn(t, &fs, righted);
	x.ctx = &known;
	/* nothing was put where the ring would be, either */
	x.must_open = all_is_same(&known, &paths) && known.ring && !fs.locked;
	exercise_read(&fs, &x);
	if (!exercise_resume(&fs, &x, &snapshots))
		exercise_look(&fs, snapshots);
	memory_io_free(&fs);
	return 0;
}

/* ------------------------------------------------------------------------
 * Seeds
 */

/* Where in the text of this document of a template the value of a key begins. */
static const char *value_of(const struct template *t, const char *path, const char *key,
			    unsigned which, const struct memory_node **node)
{
	const char *p;

	*node = memory_find(&t->fs, path);
	fuzz_assert(*node, "a template has no '%s'", path);
	p = (const char *)(*node)->bytes;
	for (unsigned i = 0; i <= which; i++) {
		p = memmem(p, (*node)->size - (size_t)(p - (const char *)(*node)->bytes), key,
			   strlen(key));
		fuzz_assert(p, "'%s' has no %s", path, key);
		p += strlen(key);
	}
	return p;
}

/* SET_NUMBER of the i-th number behind the key to json_numbers[to]. */
static size_t add_set(const struct template *t, const char *path, const char *key, unsigned which,
		      unsigned i, unsigned to, unsigned char *out, size_t n)
{
	const struct memory_node *node;
	const char *end = value_of(t, path, key, which, &node);
	struct paths paths = { .count = 0 };
	unsigned file = 0, number = i;

	for (const char *p = (const char *)node->bytes; p < end; p++)
		number += p[0] >= '0' && p[0] <= '9' && !(p[1] >= '0' && p[1] <= '9');
	memory_walk(&t->fs, note_path, &paths);
	while (strcmp(paths.path[file], path) != 0)
		file++;
	out[n] = SET_NUMBER;
	out[n + 1] = (unsigned char)file;
	out[n + 2] = (unsigned char)number;
	out[n + 3] = (unsigned char)to;
	return n + 4;
}

/*
 * Documents that agree on sizes no file has: M, N, T, each to a number of the list,
 * which single operations would take long to come upon.
 */
static size_t size_seed(unsigned which, unsigned axis, unsigned to, unsigned char *out)
{
	const struct template *t = template_get(which);
	const bool is_3 = t->format == 3;
	const char *data = is_3 ? TEMPLATE_PATH "/data/zarr.json" : TEMPLATE_PATH "/data/.zarray";
	const char *root = is_3 ? TEMPLATE_PATH "/zarr.json" : TEMPLATE_PATH "/.zattrs";
	const char *chunks = is_3 ? "\"chunk_shape\":" : "\"chunks\":";
	size_t n = 1;

	out[0] = (unsigned char)which;
	if (axis == 2) {
		n = add_set(t, root, "\"snapshots\":", 0, 0, to, out, n);
		return add_set(t, data, "\"shape\":", 0, 2, to, out, n);
	}
	if (axis == 1)
		n = add_set(t, data, "\"shape\":", 0, 1, to, out, n);
	if (axis == 1 && is_3)
		return add_set(t, data, chunks, 0, 1, to, out, n);
	if (axis == 1)
		return n;
	n = add_set(t, data, chunks, 0, 2, to, out, n);
	return is_3 ? add_set(t, data, chunks, 1, 2, to, out, n) : n;
}

/* Every template whole; then each operation on each kind of file; then sizes. */
size_t fuzz_seed(unsigned i, unsigned char out[FUZZ_INPUT_MAX])
{
	const unsigned each = 4;

	memset(out, 0, 64);
	if (i < TEMPLATES * each) {
		/* as it is, booted since, locked, discarded */
		static const unsigned char how[] = { 0, 0x10, 0x20, 0x80 };

		out[0] = (unsigned char)(i / each | how[i % each]);
		return 1;
	}
	i -= TEMPLATES * each;
	if (i >= TEMPLATES * OPERATIONS) {
		i -= TEMPLATES * OPERATIONS;
		/* 3, 4096, 2^26, 2^40, 2^60 */
		return i >= TEMPLATES * 15 ? 0 : size_seed(i / 15, i % 3,
			(const unsigned char[]){ 4, 8, 12, 13, 14 }[i / 3 % 5], out);
	}
	out[0] = (unsigned char)(i / OPERATIONS);
	out[1] = (unsigned char)(i % OPERATIONS);
	out[2] = (unsigned char)(i * 7);
	out[3] = (unsigned char)(i * 5);
	out[4] = 3;
	out[7] = 2;
	/* and the same file's checksums, then another's number */
	out[10] = RIGHT;
	out[11] = out[2];
	out[13] = SET_NUMBER;
	out[14] = (unsigned char)(i * 3);
	out[15] = (unsigned char)i;
	out[16] = (unsigned char)(i / 3);
	return 17;
}
