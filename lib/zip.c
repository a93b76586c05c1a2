/* SPDX-License-Identifier: MIT */
/*
 * The records of a zip file, out and in: see zip.h. Guards that no number of a
 * file is used before it was compared with the size of what it speaks of.
 */
#include "zip.h"

#include <string.h>

#define LOCAL_MAGIC 0x04034b50u
#define ENTRY_MAGIC 0x02014b50u
#define END_MAGIC 0x06054b50u
#define END64_MAGIC 0x06064b50u
#define LOCATOR64_MAGIC 0x07064b50u

#define ENTRY_FIXED 46
#define END_FIXED 22
#define END64_FIXED 56
#define LOCATOR64_FIXED 20

/* What a 16 or 32 bit number says when the zip64 field has it. */
#define IN_ZIP64_16 0xffffu
#define IN_ZIP64_32 0xffffffffu

#define FIELD_ZIP64 0x0001
#define FIELD_ALIGNMENT 0xd935

/* 4.5: zip64; made on Unix, so that the upper half of the attributes is a mode */
#define VERSION_NEEDED 45
#define VERSION_MADE_BY (3 << 8 | 45)
#define ATTRIBUTES (0100644u << 16)

/* 1 January 1980, midnight: as NumPy, so that equal arrays make equal files */
#define DATE (1 << 5 | 1)

/* ------------------------------------------------------------------------
 * Numbers, little-endian
 */

static unsigned char *put(unsigned char *p, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		*p++ = (unsigned char)(value >> 8 * i);
	return p;
}

static uint64_t get(const unsigned char *p, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = bytes; i-- > 0;)
		value = value << 8 | p[i];
	return value;
}

static uint32_t get32(const unsigned char *p)
{
	return (uint32_t)get(p, 4);
}

static unsigned get16(const unsigned char *p)
{
	return (unsigned)get(p, 2);
}

/* ------------------------------------------------------------------------
 * Out
 */

/* The part that both kinds of headers have, from "version needed" to the CRC. */
static unsigned char *put_shared(unsigned char *p, const struct sde__zip_entry *entry)
{
	p = put(p, VERSION_NEEDED, 2);
	p = put(p, entry->flags, 2);
	p = put(p, entry->method, 2);
	p = put(p, 0, 2);
	p = put(p, DATE, 2);
	return put(p, entry->crc, 4);
}

size_t sde__zip_encode_local(const struct sde__zip_entry *entry, unsigned alignment,
			     unsigned char out[SDE__ZIP_LOCAL_MAX])
{
	const size_t name = strlen(entry->name);
	size_t size = SDE__ZIP_LOCAL_FIXED + name + 20, padding = 0;
	unsigned char *p = out;

	if (alignment) {
		size += 6;
		padding = (alignment - (entry->offset + size) % alignment) % alignment;
		size += padding;
	}
	p = put(p, LOCAL_MAGIC, 4);
	p = put_shared(p, entry);
	p = put(p, IN_ZIP64_32, 4);
	p = put(p, IN_ZIP64_32, 4);
	p = put(p, name, 2);
	p = put(p, size - SDE__ZIP_LOCAL_FIXED - name, 2);
	memcpy(p, entry->name, name);
	p += name;
	p = put(p, FIELD_ZIP64, 2);
	p = put(p, 16, 2);
	p = put(p, entry->raw, 8);
	p = put(p, entry->packed, 8);
	if (alignment) {
		p = put(p, FIELD_ALIGNMENT, 2);
		p = put(p, 2 + padding, 2);
		p = put(p, alignment, 2);
		memset(p, 0, padding);
	}
	return size;
}

size_t sde__zip_encode_entry(const struct sde__zip_entry *entry, uint64_t zip64_from,
			     unsigned char out[SDE__ZIP_ENTRY_MAX])
{
	const uint64_t number[3] = { entry->raw, entry->packed, entry->offset };
	const size_t name = strlen(entry->name);
	unsigned char field[24], *p = out, *f = field;
	uint64_t small[3];

	for (int i = 0; i < 3; i++) {
		small[i] = number[i] < zip64_from ? number[i] : IN_ZIP64_32;
		if (number[i] >= zip64_from)
			f = put(f, number[i], 8);
	}
	p = put(p, ENTRY_MAGIC, 4);
	p = put(p, VERSION_MADE_BY, 2);
	p = put_shared(p, entry);
	p = put(p, small[1], 4);
	p = put(p, small[0], 4);
	p = put(p, name, 2);
	p = put(p, f == field ? 0 : (uint64_t)(f - field) + 4, 2);
	p = put(p, 0, 2);		/* comment */
	p = put(p, 0, 2);		/* disk */
	p = put(p, 0, 2);		/* internal attributes */
	p = put(p, ATTRIBUTES, 4);
	p = put(p, small[2], 4);
	memcpy(p, entry->name, name);
	p += name;
	if (f != field) {
		p = put(p, FIELD_ZIP64, 2);
		p = put(p, (uint64_t)(f - field), 2);
		memcpy(p, field, (size_t)(f - field));
		p += f - field;
	}
	return (size_t)(p - out);
}

static unsigned char *put_end64(unsigned char *p, const struct sde__zip_end *end)
{
	p = put(p, END64_MAGIC, 4);
	p = put(p, END64_FIXED - 12, 8);
	p = put(p, VERSION_MADE_BY, 2);
	p = put(p, VERSION_NEEDED, 2);
	p = put(p, 0, 4);
	p = put(p, 0, 4);
	p = put(p, end->count, 8);
	p = put(p, end->count, 8);
	p = put(p, end->size, 8);
	p = put(p, end->offset, 8);
	p = put(p, LOCATOR64_MAGIC, 4);
	p = put(p, 0, 4);
	p = put(p, end->offset + end->size, 8);
	return put(p, 1, 4);
}

size_t sde__zip_encode_end(const struct sde__zip_end *end, uint64_t zip64_from,
			   unsigned char out[SDE__ZIP_END_MAX])
{
	const bool zip64 = end->size >= zip64_from || end->offset >= zip64_from;
	unsigned char *p = out;

	if (zip64)
		p = put_end64(p, end);
	p = put(p, END_MAGIC, 4);
	p = put(p, 0, 4);
	p = put(p, end->count, 2);
	p = put(p, end->count, 2);
	p = put(p, end->size < zip64_from ? end->size : IN_ZIP64_32, 4);
	p = put(p, end->offset < zip64_from ? end->offset : IN_ZIP64_32, 4);
	p = put(p, 0, 2);
	return (size_t)(p - out);
}

/* ------------------------------------------------------------------------
 * In
 */

bool sde__zip_begins(const unsigned char bytes[4])
{
	return get32(bytes) == LOCAL_MAGIC || get32(bytes) == END_MAGIC;
}

/* The end record, whose comment reaches to the last byte: -1 if there is none. */
static int64_t find_end(const unsigned char *tail, size_t n)
{
	for (size_t at = n < END_FIXED ? 0 : n - END_FIXED + 1; at-- > 0;)
		if (get32(tail + at) == END_MAGIC && get16(tail + at + 20) == n - at - END_FIXED)
			return (int64_t)at;
	return -1;
}

/* A number of the end record that is not left to zip64 is the same there. */
static bool agrees(uint64_t small, uint64_t saturated, uint64_t large)
{
	return small == saturated || small == large;
}

/* The zip64 end, which the locator right before the end record at `at` points to,
 * right before the locator. */
static int decode_end64(const unsigned char *tail, size_t at, uint64_t tail_offset,
			struct sde__zip_end *end, uint64_t *ends, struct sde_error *error)
{
	const unsigned char *locator = tail + at - LOCATOR64_FIXED;
	const unsigned char *end64 = locator - END64_FIXED;

	if (at < LOCATOR64_FIXED + END64_FIXED || get32(end64) != END64_MAGIC ||
	    get(end64 + 4, 8) != END64_FIXED - 12)
		return sde__fail(error, SDE_E_CORRUPT, "its zip64 end is not where it should be");
	*ends = tail_offset + (uint64_t)(end64 - tail);
	if (get(locator + 8, 8) != *ends || get32(locator + 4) != 0 || get32(locator + 16) > 1 ||
	    get32(end64 + 16) != 0 || get32(end64 + 20) != 0 ||
	    get(end64 + 24, 8) != get(end64 + 32, 8))
		return sde__fail(error, SDE_E_CORRUPT, "its zip64 end does not hold");
	if (!agrees(end->count, IN_ZIP64_16, get(end64 + 32, 8)) ||
	    !agrees(end->size, IN_ZIP64_32, get(end64 + 40, 8)) ||
	    !agrees(end->offset, IN_ZIP64_32, get(end64 + 48, 8)))
		return sde__fail(error, SDE_E_CORRUPT, "its two end records contradict each other");
	end->count = get(end64 + 32, 8);
	end->size = get(end64 + 40, 8);
	end->offset = get(end64 + 48, 8);
	return 0;
}

int sde__zip_decode_end(const unsigned char *tail, size_t n, uint64_t file_size,
			struct sde__zip_end *end, struct sde_error *error)
{
	const int64_t found = find_end(tail, n);
	const size_t at = (size_t)found;
	uint64_t ends;
	int ret;

	if (found < 0)
		return sde__fail(error, SDE_E_CORRUPT, "it has no end record: it is truncated");
	if (get32(tail + at + 4) != 0 || get16(tail + at + 8) != get16(tail + at + 10))
		return sde__fail(error, SDE_E_UNSUPPORTED, "it is one part of several");
	end->count = get16(tail + at + 10);
	end->size = get32(tail + at + 12);
	end->offset = get32(tail + at + 16);
	ends = file_size - n + at;
	if (at >= LOCATOR64_FIXED && get32(tail + at - LOCATOR64_FIXED) == LOCATOR64_MAGIC) {
		ret = decode_end64(tail, at, file_size - n, end, &ends, error);
		if (ret)
			return ret;
	}
	if (end->size > ends || end->offset != ends - end->size)
		return sde__fail(error, SDE_E_CORRUPT, "its directory is not where it should be");
	if (end->count > end->size / ENTRY_FIXED)
		return sde__fail(error, SDE_E_CORRUPT, "its directory is too small for its entries");
	return 0;
}

/*
 * The numbers that were too large for 32 bits, from the zip64 field among the
 * extra fields, in this order [4.5.3]: raw, packed, offset.
 */
static bool decode_zip64(const unsigned char *extra, size_t n, struct sde__zip_entry *entry)
{
	uint64_t *number[3] = { &entry->raw, &entry->packed, &entry->offset };
	const unsigned char *field = NULL;
	size_t size = 0;

	for (size_t at = 0; n - at >= 4 && !field; at += 4 + size) {
		size = get16(extra + at + 2);
		if (size > n - at - 4)
			return false;
		if (get16(extra + at) == FIELD_ZIP64)
			field = extra + at + 4;
	}
	for (int i = 0; i < 3; i++) {
		if (*number[i] != IN_ZIP64_32)
			continue;
		if (!field || size < 8)
			return false;
		*number[i] = get(field, 8);
		field += 8;
		size -= 8;
	}
	return true;
}

int sde__zip_decode_entry(const unsigned char *directory, size_t n, size_t *at,
			  struct sde__zip_entry *entry, struct sde_error *error)
{
	const unsigned char *p = directory + *at;
	size_t name, extra, comment;

	if (n - *at < ENTRY_FIXED || get32(p) != ENTRY_MAGIC)
		return sde__fail(error, SDE_E_CORRUPT, "its directory has no entry at byte %zu", *at);
	name = get16(p + 28);
	extra = get16(p + 30);
	comment = get16(p + 32);
	if (name + extra + comment > n - *at - ENTRY_FIXED)
		return sde__fail(error, SDE_E_CORRUPT, "an entry of its directory is cut off");
	memset(entry, 0, sizeof(*entry));
	if (name < SDE__ZIP_NAME_MAX && !memchr(p + ENTRY_FIXED, 0, name))
		memcpy(entry->name, p + ENTRY_FIXED, name);
	entry->flags = get16(p + 8);
	entry->method = get16(p + 10);
	entry->crc = get32(p + 16);
	entry->packed = get32(p + 20);
	entry->raw = get32(p + 24);
	entry->offset = get32(p + 42);
	if (!decode_zip64(p + ENTRY_FIXED + name, extra, entry))
		return sde__fail(error, SDE_E_CORRUPT, "an entry's zip64 field does not hold");
	*at += ENTRY_FIXED + name + extra + comment;
	return 0;
}

int sde__zip_decode_local(const unsigned char *bytes, const struct sde__zip_entry *entry,
			  size_t *size, struct sde_error *error)
{
	const size_t name = strlen(entry->name);

	if (get32(bytes) != LOCAL_MAGIC)
		return sde__fail(error, SDE_E_CORRUPT, "its header is not where it should be");
	if (get16(bytes + 26) != name || get16(bytes + 8) != entry->method ||
	    memcmp(bytes + SDE__ZIP_LOCAL_FIXED, entry->name, name) != 0)
		return sde__fail(error, SDE_E_CORRUPT, "its header contradicts the directory");
	*size = SDE__ZIP_LOCAL_FIXED + name + get16(bytes + 28);
	return 0;
}
