/* SPDX-License-Identifier: MIT */
/* States of a disk from its log: see disk_replay.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "disk_replay.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SUPERBLOCK_END 2048

static unsigned char *read_whole(const char *path, size_t *size)
{
	struct stat st;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned char *bytes;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	*size = (size_t)st.st_size;
	bytes = malloc(*size + 1);
	assert_non_null(bytes);
	for (size_t at = 0; at < *size; ) {
		const ssize_t got = read(fd, bytes + at, *size - at);

		assert_true(got > 0);
		at += (size_t)got;
	}
	close(fd);
	return bytes;
}

static const unsigned char *bytes_of(const struct log_record *record)
{
	return (const unsigned char *)(record + 1);
}

static void read_log(struct disk_replay *p)
{
	size_t room = 0, step;

	p->log = read_whole("log", &p->log_size);
	p->record = NULL;
	p->records = 0;
	for (size_t at = 0; at < p->log_size; at += step) {
		struct log_record record;

		memcpy(&record, p->log + at, sizeof(record));
		step = sizeof(record) + record.size;
		if (p->records == room) {
			room = room ? 2 * room : 1024;
			p->record = realloc(p->record, room * sizeof(*p->record));
			assert_non_null(p->record);
		}
		/* marks are 40 bytes, writes sectors: records stay aligned */
		assert_int_equal(record.size % 8, 0);
		p->record[p->records++] = (const void *)(p->log + at);
	}
	assert_true(p->records > 0);
}

void disk_replay_open(struct disk_replay *p, uint64_t seed, uint64_t number)
{
	struct disk_work *w = calloc(1, sizeof(*w));
	int fd;

	assert_non_null(w);
	memset(p, 0, sizeof(*p));
	disk_work_choose(w, seed, number);
	p->numbers = w->numbers;
	free(w);
	p->mark.cut = UINT64_MAX;
	read_log(p);
	p->durable = read_whole("base.img", &p->size);
	fd = memfd_create("image", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)p->size), 0);
	p->image = mmap(NULL, p->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p->image != MAP_FAILED);
	assert_int_equal(disks_loop_open(&p->loop, fd), 0);
	close(fd);
}

void disk_replay_close(struct disk_replay *p)
{
	disks_loop_close(&p->loop);
	munmap(p->image, p->size);
	free(p->record);
	free(p->log);
	free(p->durable);
}

static void apply(unsigned char *image, const struct log_record *record, size_t from, size_t n)
{
	if (record->kind == LOG_WRITE)
		memcpy(image + record->offset + from, bytes_of(record) + from, n);
}

/*
 * Only some of its sectors. But for the superblock of ext4, two sectors with one
 * checksum that are written outside of the journal: torn, ext4 cannot be mounted
 * any more, with whatever is on it.
 */
static void apply_torn(unsigned char *image, const struct log_record *record, uint64_t *random)
{
	if (record->offset < SUPERBLOCK_END) {
		apply(image, record, 0, record->size);
		return;
	}
	for (size_t at = 0; at < record->size; at += 512)
		if (numbered_below(random, 2))
			apply(image, record, at, record->size - at < 512 ? record->size - at : 512);
}

static void note_mark(struct disk_replay *p, const struct log_record *record)
{
	const uint64_t high = p->mark.high;

	assert_int_equal(record->size, sizeof(p->mark));
	memcpy(&p->mark, bytes_of(record), sizeof(p->mark));
	assert_true(p->mark.high < NUMBERED_MAX);
	for (uint64_t i = high; i < p->mark.high; i++)
		p->numbers.generation[i] = (unsigned char)p->mark.generation;
}

/* What was on its way at record `crash`, in one of the ways it may have got there. */
static void apply_pending(struct disk_replay *p, size_t crash, uint64_t *random)
{
	const size_t n = crash - p->applied;
	const uint64_t how = numbered_below(random, 8), torn = numbered_below(random, n + 1);
	size_t *order = malloc((n + 1) * sizeof(*order));

	assert_non_null(order);
	for (size_t i = 0; i < n; i++)
		order[i] = p->applied + i;
	if (how >= 4)	/* any order */
		for (size_t i = n; i > 1; i--) {
			const size_t j = (size_t)numbered_below(random, i), kept = order[j];

			order[j] = order[i - 1];
			order[i - 1] = kept;
		}
	for (size_t i = 0; i < n; i++) {
		const struct log_record *record = p->record[order[i]];

		/* 0: none; 1: all, in order; 2: all but a torn one; 3, 4: some; 5: all, in
		 * any order; 6, 7: some, of which some are torn */
		if (how == 0 || ((how == 3 || how == 4) && numbered_below(random, 2)))
			continue;
		if ((how == 2 && i == torn) || (how >= 6 && numbered_below(random, 2)))
			apply_torn(p->image, record, random);
		else if (how < 6 || numbered_below(random, 2))
			apply(p->image, record, 0, record->size);
	}
	free(order);
}

/* The disk as it may be if the power goes just before record `crash`. */
void disk_replay_make(struct disk_replay *p, size_t crash, uint64_t *random)
{
	size_t flush = p->applied;

	for (size_t i = p->applied; i < crash; i++)
		if (p->record[i]->kind == LOG_FLUSH)
			flush = i + 1;
	for (; p->applied < flush; p->applied++)
		apply(p->durable, p->record[p->applied], 0, p->record[p->applied]->size);
	for (; p->seen < crash; p->seen++)
		if (p->record[p->seen]->kind == LOG_MARK)
			note_mark(p, p->record[p->seen]);
	memcpy(p->image, p->durable, p->size);
	apply_pending(p, crash, random);
	disks_loop_forget(&p->loop);
}

unsigned *disk_replay_pending(const struct disk_replay *p)
{
	unsigned *pending = calloc(p->records + 1, sizeof(*pending));

	assert_non_null(pending);
	for (size_t i = 0; i < p->records; i++)
		pending[i + 1] = p->record[i]->kind == LOG_FLUSH ? 0 :
				 pending[i] + (p->record[i]->kind == LOG_WRITE);
	return pending;
}
