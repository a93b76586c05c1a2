/* SPDX-License-Identifier: MIT */
/*
 * A ring that is not what a run has left: its header and its segments, in a store
 * that is otherwise whole. Looked at by itself, then by opening and resuming.
 *
 *	offset	size
 *	0	1	template
 *	1	1	bits: 1 the checksum is not put right, 2 another boot, 4 another
 *			file, 8 somebody holds the lock, 0x30 >> 4 option ring,
 *			0x40 segments are cut or grown to the header's size, 0x80 the
 *			run is another one
 *	2	160	the header before its counters (ring_header.h)
 *	162	48	claimed, committed, synced, sealed, epoch, base
 *	210	...	the segments, over what is there
 *
 * Whatever the ring says, what was published is read, and right, if the store opens.
 */
#include "assess.h"
#include "checksum.h"
#include "exercise.h"
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

const char fuzz_name[] = "ring";
const unsigned fuzz_mutations = 300;

#define STATIC_SIZE 160
#define SEGMENT_LIMIT ((uint64_t)1 << 20)

static const enum sde__ring_counter counters[] = {
	SDE__RING_CLAIMED, SDE__RING_COMMITTED, SDE__RING_SYNCED, SDE__RING_SEALED,
	SDE__RING_EPOCH, SDE__RING_BASE,
};
#define COUNTERS (sizeof(counters) / sizeof(counters[0]))

/* The templates that have a ring. */
static const unsigned crashed[] = { 1, 3, 5, 7, 9 };
#define CRASHED (sizeof(crashed) / sizeof(crashed[0]))

static bool is_filed(const void *ctx, enum exercise_what what, uint64_t snapshot)
{
	const struct template *t = ctx;

	(void)what;
	return snapshot < t->published / t->chunk_size * t->chunk_size;
}

/* ------------------------------------------------------------------------
 * The ring alone
 */

static void check_reader(struct memory_io *fs, int dir)
{
	struct sde__ring_counters c;
	struct sde__ring_reader *reader;
	struct sde_error error = { 0 };
	enum sde__ring_trust trust;
	unsigned char page[SDE__RING_HEADER_SIZE], slot[64];
	unsigned char twice[SDE__RING_HEADER_SIZE];
	struct sde__ring_header again;
	int ret;

	ret = sde__ring_reader_open(&reader, &fs->io, dir, &error);
	if (ret) {
		if (error.code)
			fuzz_check_error(ret, &error);
		return;
	}
	sde__ring_header_encode(&reader->header, page);
	ret = sde__ring_header_decode(page, &again, "again", &error);
	fuzz_assert(!ret, "what was decoded is refused: %s", error.text);
	sde__ring_header_encode(&again, twice);
	fuzz_assert(!memcmp(page, twice, sizeof(page)), "what was decoded does not come back");
	ret = sde__ring_reader_trust(reader, &trust, &error);
	fuzz_assert(!ret, "%s", error.text);
	ret = sde__ring_reader_counters(reader, &c, &error);
	if (ret) {
		fuzz_check_error(ret, &error);
	} else if (c.epoch != SDE__RING_EPOCH_NONE) {
		fuzz_assert(c.base <= c.sealed && c.sealed <= c.committed &&
			    c.synced <= c.committed && c.committed <= c.claimed,
			    "the counters are in no order");
		sde__error_clear(&error);
		ret = sde__ring_reader_read(reader, c.committed ? c.committed - 1 : 0, 0, slot,
					    sizeof(slot), &error);
		fuzz_assert(!ret, "a slot is not there: %s", error.text);
		ret = sde__ring_reader_intact(reader, sde__ring_reader_first(reader, &c), c.epoch,
					      &error);
		fuzz_assert(ret == 1, "the first slot is not intact: %d", ret);
	}
	sde__ring_reader_close(reader);
}

static void check_ring(struct memory_io *fs)
{
	const int dir = fs->io.open_at(fs, -1, TEMPLATE_PATH "/data/.ring", O_RDONLY);

	fuzz_budget_begin((uint64_t)1 << 16, NULL);
	check_reader(fs, dir);
	fuzz_budget_end();
	fs->io.close(fs, dir);
	fuzz_assert(!fs->open, "%u files are left open", fs->open);
}

/* ------------------------------------------------------------------------
 * The harness
 */

static struct memory_node *segment(const struct memory_io *fs, unsigned s)
{
	char path[160];

	snprintf(path, sizeof(path), TEMPLATE_PATH "/data/.ring/segment.%u", s);
	return memory_find(fs, path);
}

/* As many segments, as large as the header says, if that is not absurd. */
static void fit_segments(struct memory_io *fs, const unsigned char *page)
{
	uint64_t size;
	uint32_t count;
	char path[160];

	memcpy(&count, page + 48, 4);
	memcpy(&size, page + 72, 8);
	if (count > SDE__SEGMENTS_MAX || size > SEGMENT_LIMIT / (count ? count : 1))
		return;
	for (unsigned s = 0; s < count; s++) {
		snprintf(path, sizeof(path), TEMPLATE_PATH "/data/.ring/segment.%u", s);
		if (!segment(fs, s))
			memory_put(fs, path, MEMORY_FILE, NULL, 0);
		memory_resize(fs, segment(fs, s), (size_t)size);
	}
}

static void fill_segments(struct memory_io *fs, struct fuzz_input *in)
{
	struct memory_node *node;
	const uint8_t *bytes;
	size_t n;

	for (unsigned s = 0; s < SDE__SEGMENTS_MAX && in->size; s++) {
		node = segment(fs, s);
		if (!node || !node->size)
			continue;
		bytes = fuzz_take_bytes(in, node->size, &n);
		memcpy(node->bytes, bytes, n);
	}
}

static void lay(struct memory_io *fs, const struct template *t, struct fuzz_input *in,
		unsigned bits)
{
	struct memory_node *header = memory_find(fs, TEMPLATE_PATH "/data/.ring/header");
	const unsigned char *whole = memory_find(&t->fs,
						 TEMPLATE_PATH "/data/.ring/header")->bytes;
	unsigned char *page = header->bytes;
	const uint8_t *bytes;
	size_t n;

	bytes = fuzz_take_bytes(in, STATIC_SIZE, &n);
	memcpy(page, bytes, n);
	for (size_t i = 0; i < COUNTERS; i++) {
		const uint64_t value = fuzz_take(in, 8);

		memcpy(page + counters[i], &value, 8);
	}
	if (!(bits & 2))
		memcpy(page + 104, fs->boot, 16);
	if (!(bits & 4))
		memcpy(page + 120, whole + 120, 16);
	if (!(bits & 0x80))
		memcpy(page + 88, whole + 88, 16);
	if (!(bits & 1))
		checksum_ring(page, SDE__RING_HEADER_SIZE);
	if (bits & 0x40)
		fit_segments(fs, page);
	fill_segments(fs, in);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct fuzz_input in = { bytes, size };
	const struct template *t = template_get(crashed[fuzz_take(&in, 1) % CRASHED]);
	const unsigned bits = (unsigned)fuzz_take(&in, 1);
	struct exercise x = {
		.expect = t, .is_right = is_filed, .must_be_read = is_filed, .ctx = t,
		.ring = (enum sde_ring)((bits >> 4 & 3) % 3),
	};
	struct memory_io fs;
	uint64_t snapshots;

	memory_io_clone(&fs, &t->fs);
	lay(&fs, t, &in, bits);
	check_ring(&fs);
	fs.locked = (bits & 8) != 0;
	exercise_read(&fs, &x);
	if (!exercise_resume(&fs, &x, &snapshots))
		exercise_look(&fs, snapshots);
	memory_io_free(&fs);
	return 0;
}

size_t fuzz_seed(unsigned i, unsigned char out[FUZZ_INPUT_MAX])
{
	static const unsigned char bits[] = { 0, 2, 4, 8, 0x14, 0x20, 0x40, 0x80 };
	const struct template *t = template_get(crashed[i % CRASHED]);
	const struct memory_io *fs = &t->fs;
	const unsigned char *page;
	size_t n = 2 + STATIC_SIZE;

	if (i >= CRASHED * sizeof(bits))
		return 0;
	page = memory_find(fs, TEMPLATE_PATH "/data/.ring/header")->bytes;
	out[0] = (unsigned char)i;
	out[1] = bits[i / CRASHED];
	memcpy(out + 2, page, STATIC_SIZE);
	for (size_t j = 0; j < COUNTERS; j++, n += 8)
		memcpy(out + n, page + counters[j], 8);
	if (i % 2)
		return n;
	memcpy(out + n, segment(fs, 0)->bytes, 256);
	return n + 256;
}
