/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), as Zarr's crc32c codec and the
 * shard index use it: 4 bytes little-endian behind what they guard.
 */
#ifndef SDE_LIB_CRC32C_H
#define SDE_LIB_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Of `size` bytes; `crc` is 0, or the value of what came before them. */
uint32_t sde__crc32c(uint32_t crc, const void *bytes, size_t size);

/* The portable twin of the above, for tests: always by table. */
uint32_t sde__crc32c_table(uint32_t crc, const void *bytes, size_t size);

#endif
