/* SPDX-License-Identifier: MIT */
/* The pieces of storing and reading, each by itself: see pieces.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pieces.h"

#include "crc32c.h"
#include "gather.h"
#include "inner.h"

#include <blosc.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes that one sample takes, at least. */
#define SAMPLE ((uint64_t)256 << 20)

#define CHECKSUM_BYTES 4

unsigned cores(void)
{
	cpu_set_t mask;

	return sched_getaffinity(0, sizeof(mask), &mask) ? 1 : (unsigned)CPU_COUNT(&mask);
}

static const struct sde__geometry *geometry(const struct pieces *p)
{
	return &p->config.layout.geometry;
}

static size_t part(const struct pieces *p)
{
	return (sde__codec_bound(&p->config.codec, sde__inner_bytes(geometry(p))) + 63) / 64 * 64;
}

void pieces_begin(struct pieces *p, const struct load *load,
		  const struct sde_zarr_options *options, const struct pool *pool)
{
	struct sde_error error = { 0 };
	uint64_t inner;

	memset(p, 0, sizeof(*p));
	if (sde__zarr_config_new(&p->config, &load->ensemble, options, &error))
		die(load->name, error.text);
	p->pool = pool;
	inner = sde__inner_count(geometry(p));
	p->slots = mmap(NULL, p->config.layout.segment_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	p->raw = malloc(sde__inner_bytes(geometry(p)));
	p->out = malloc(sde__inner_bytes(geometry(p)) + BLOSC_MAX_OVERHEAD);
	p->encoded = malloc(part(p) * inner);
	p->size = calloc(inner, sizeof(*p->size));
	if (p->slots == MAP_FAILED || !p->raw || !p->out || !p->encoded || !p->size)
		die(load->name, "out of memory");
	memset(p->out, 0, sde__inner_bytes(geometry(p)));
	memset(p->encoded, 0, part(p) * inner);
}

/* Fill the slots once and again. */
static void copy_round(struct pieces *p)
{
	const struct sde__slot_layout *l = &p->config.layout;
	const size_t n = sde__snapshot_bytes(geometry(p));
	uint64_t done = 0;
	const double began = now_s();

	for (uint64_t i = 0; done < SAMPLE || i < l->geometry.chunk_size; i++, done += n)
		memcpy(p->slots + i % l->geometry.chunk_size * l->slot_size + l->payload_offset,
		       pool_snapshot(p->pool, i), n);
	samples_add(&p->copy, (double)done * 1e-9 / (now_s() - began));
}

/* What p->raw has, by libblosc as numcodecs calls it; returns nanoseconds. */
static uint64_t blosc_encode(struct pieces *p, size_t n)
{
	const uint64_t began = now_ns();
	const int size = blosc_compress_ctx(5, BLOSC_BITSHUFFLE, p->config.codec.item, n, p->raw,
					    p->out, n + BLOSC_MAX_OVERHEAD, "lz4", 0, 1);

	if (size <= 0)
		die("pieces", "libblosc cannot encode");
	p->checksum ^= sde__crc32c(0, p->out, (size_t)size);
	return now_ns() - began;
}

/* Inner chunk i, into p->raw. */
static uint64_t blosc_decode(struct pieces *p, uint64_t i, size_t n)
{
	const unsigned char *bytes = p->encoded + i * part(p);
	const uint64_t began = now_ns();

	p->checksum ^= sde__crc32c(0, bytes, p->size[i] - CHECKSUM_BYTES);
	if (blosc_decompress_ctx(bytes, p->raw, n, 1) != (int)n)
		die("pieces", "libblosc cannot decode");
	return now_ns() - began;
}

/* Gather and encode in turns, as a worker does: the inner chunk is in the cache. */
static void encode_round(struct pieces *p)
{
	const struct sde__slot_layout *l = &p->config.layout;
	const struct sde__slots slots = {
		.payload = p->slots + l->payload_offset, .slot_size = l->slot_size,
		.dimension_stride = l->dimension_stride,
		.trajectory_stride = l->trajectory_stride, .count = l->geometry.chunk_size,
		.keepbits = p->config.codec.keepbits,
	};
	const uint64_t inner = sde__inner_count(geometry(p));
	const size_t n = sde__inner_bytes(geometry(p));
	const bool blosc = p->config.codec.id == SDE_CODEC_BLOSC_LZ4_BITSHUFFLE;
	uint64_t done = 0, gathering = 0, encoding = 0, theirs = 0, kept = 0;

	for (uint64_t i = 0; done < SAMPLE || i < inner; i++) {
		const uint64_t t0 = now_ns();
		uint64_t t1;

		sde__gather(geometry(p), &slots, i % inner, p->raw);
		t1 = now_ns();
		if (sde__codec_encode(&p->config.codec, p->raw, n, p->encoded + i % inner * part(p),
				      &p->size[i % inner]))
			die("pieces", "cannot encode");
		encoding += now_ns() - t1;
		gathering += t1 - t0;
		theirs += blosc ? blosc_encode(p, n) : 0;
		done += n;
	}
	p->encoded_bytes = 0;
	for (uint64_t i = 0; i < inner; i++) {
		p->encoded_bytes += p->size[i];
		kept += p->size[i] >= n;
	}
	/* of the snapshots, not of the padding */
	p->ratio = (double)(sde__snapshot_bytes(geometry(p)) * l->geometry.chunk_size) /
		   (double)p->encoded_bytes;
	p->raw_share = (unsigned)(100 * kept / inner);
	samples_add(&p->gather, (double)done / (double)gathering);
	samples_add(&p->encode, (double)done / (double)encoding);
	samples_add(&p->blosc_encode, (double)done / (double)(blosc ? theirs : encoding));
}

static void decode_round(struct pieces *p)
{
	const struct sde__geometry *g = geometry(p);
	const uint64_t inner = sde__inner_count(g);
	const size_t n = sde__inner_bytes(g), item = sde__dtype_size(g->dtype);
	const uint64_t counts[3] = { g->dimension, g->inner_width, g->chunk_size };
	const int64_t snapshots[3] = { (int64_t)(item * g->inner_width), (int64_t)item,
				       (int64_t)(item * g->inner_width * g->dimension) };
	const bool blosc = p->config.codec.id == SDE_CODEC_BLOSC_LZ4_BITSHUFFLE;
	uint64_t done = 0, decoding = 0, theirs = 0, copying = 0, turning = 0;
	int64_t strides[3];

	sde__inner_strides(g, SDE__INNER_STORED, strides);
	for (uint64_t i = 0; done < SAMPLE || i < inner || i % 2; i++, done += n) {
		uint64_t t0, t1, t2;

		theirs += blosc ? blosc_decode(p, i % inner, n) : 0;
		t0 = now_ns();
		if (sde__codec_decode(&p->config.codec, p->encoded + i % inner * part(p),
				      p->size[i % inner], p->raw, n, NULL))
			die("pieces", "cannot decode");
		t1 = now_ns();
		sde__strided_copy(item, counts, p->out, i % 2 ? strides : snapshots, p->raw, strides);
		t2 = now_ns();
		*(i % 2 ? &copying : &turning) += t2 - t1;
		decoding += t1 - t0;
	}
	samples_add(&p->decode, (double)done / (double)decoding);
	samples_add(&p->blosc_decode, (double)done / (double)(blosc ? theirs : decoding));
	/* half of them each */
	samples_add(&p->scatter, (double)done / 2 / (double)copying);
	samples_add(&p->turn, (double)done / 2 / (double)turning);
}

void pieces_round(struct pieces *p)
{
	copy_round(p);
	encode_round(p);
	decode_round(p);
}

static int open_chunk(int dir, uint64_t n, int flags)
{
	char name[24];
	int fd;

	snprintf(name, sizeof(name), "%llu", (unsigned long long)n);
	fd = openat(dir, name, flags, 0666);
	if (fd < 0)
		die("pieces", "cannot open a file");
	return fd;
}

/* One chunk's encoded bytes into the n-th new file; returns it. */
static int write_chunk(const struct pieces *p, int dir, uint64_t n)
{
	const uint64_t inner = sde__inner_count(geometry(p));
	const int fd = open_chunk(dir, n, O_RDWR | O_CREAT | O_EXCL);
	off_t offset = 0;

	for (uint64_t i = 0; i < inner; offset += (off_t)p->size[i], i++)
		if (pwrite(fd, p->encoded + i * part(p), p->size[i], offset) !=
		    (ssize_t)p->size[i])
			die("pieces", "cannot write");
	return fd;
}

static void read_chunk(const struct pieces *p, int dir, uint64_t n)
{
	const uint64_t inner = sde__inner_count(geometry(p));
	const int fd = open_chunk(dir, n, O_RDONLY);
	off_t offset = 0;

	for (uint64_t i = 0; i < inner; offset += (off_t)p->size[i], i++)
		if (pread(fd, p->encoded + i * part(p), p->size[i], offset) !=
		    (ssize_t)p->size[i])
			die("pieces", "cannot read");
	close(fd);
}

static int enter(const char *path)
{
	const int dir = mkdir(path, 0777) ? -1 : open(path, O_RDONLY | O_DIRECTORY);

	if (dir < 0)
		die(path, "cannot create");
	return dir;
}

/*
 * A store grows. A file that is written and removed again and again gets the same pages
 * and blocks back, which are in the caches of the machine and of its host: that is up to
 * twice as fast, and nothing a store could reach. So all files stay until the end. And they
 * are read when all are written, as those of a store: not out of the processor's cache.
 */
void pieces_files_round(struct pieces *p, const char *directory)
{
	char *path = scratch_path(directory, "chunks");
	const int dir = enter(path);
	uint64_t done = 0, files = 0, began = now_ns();

	for (; done < SAMPLE; done += p->encoded_bytes)
		close(write_chunk(p, dir, files++));
	samples_add(&p->write, (double)done / (double)(now_ns() - began));
	began = now_ns();
	for (uint64_t n = 0; n < files; n++)
		read_chunk(p, dir, n);
	samples_add(&p->read, (double)done / (double)(now_ns() - began));
	close(dir);
	scratch_remove(path);
	free(path);
}

void pieces_disk_round(struct pieces *p, const char *directory)
{
	char *path = scratch_path(directory, "chunks");
	const int dir = enter(path);
	uint64_t done = 0, writing = 0;

	/* small chunks are bound by the number of syncs: a second is enough */
	for (uint64_t n = 0; done < SAMPLE && writing < 1000000000; n++, done += p->encoded_bytes) {
		const uint64_t t0 = now_ns();
		const int fd = write_chunk(p, dir, n);

		if (fsync(fd))
			die("pieces", "cannot sync");
		writing += now_ns() - t0;
		close(fd);
	}
	samples_add(&p->synced, (double)done / (double)writing);
	close(dir);
	scratch_remove(path);
	free(path);
}

double pieces_limit(struct pieces *p, enum by by, unsigned workers, bool disk)
{
	const double copy = samples_median(&p->copy);
	double cost = 1 / samples_median(&p->gather) +
		      1 / samples_median(by == BY_OURS ? &p->encode : &p->blosc_encode);
	double limit;

	if (p->write.count)
		cost += 1 / (p->ratio * samples_median(&p->write));
	if (workers >= cores())
		cost += 1 / copy;
	limit = workers / cost;
	if (limit > copy)
		limit = copy;
	if (disk && limit > p->ratio * samples_median(&p->synced))
		limit = p->ratio * samples_median(&p->synced);
	return limit;
}

double pieces_read_limit(struct pieces *p, enum by by, unsigned threads, bool turned)
{
	return threads / (1 / (p->ratio * samples_median(&p->read)) +
			  1 / samples_median(by == BY_OURS ? &p->decode : &p->blosc_decode) +
			  1 / samples_median(turned ? &p->turn : &p->scatter));
}

void pieces_end(struct pieces *p)
{
	struct samples *all[] = { &p->copy, &p->gather, &p->encode, &p->blosc_encode, &p->decode,
				  &p->blosc_decode, &p->scatter,
				  &p->turn, &p->write, &p->read, &p->synced };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		samples_clear(all[i]);
	munmap(p->slots, p->config.layout.segment_size);
	free(p->raw);
	free(p->out);
	free(p->encoded);
	free(p->size);
	sde__zarr_config_clear(&p->config);
}
