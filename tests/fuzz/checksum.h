/* SPDX-License-Identifier: MIT */
/*
 * Checksums put right again in bytes that were damaged, as far as their places can be
 * found: so that what is behind them is reached. A file's name says what it is.
 */
#ifndef SDE_TESTS_FUZZ_CHECKSUM_H
#define SDE_TESTS_FUZZ_CHECKSUM_H

#include "template.h"

/* A ring's header, a chunk (side table, index, inner chunks), a block of a series. */
void checksum_right(unsigned char *bytes, size_t size, const char *path, const struct template *t);

/* The parts. */
void checksum_ring(unsigned char *bytes, size_t size);
void checksum_side(unsigned char *bytes, size_t size);
void checksum_index(unsigned char *bytes, size_t size, uint64_t inner_count);
/* every inner chunk that the index places in the file */
void checksum_inner(unsigned char *bytes, size_t size, uint64_t inner_count);

#endif
