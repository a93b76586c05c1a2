/* SPDX-License-Identifier: MIT */
/* uint32, little-endian, anywhere in memory: what frames and checksums are measured in. */
#ifndef SDE_LIB_LE32_H
#define SDE_LIB_LE32_H

#include <stdint.h>

static inline uint32_t sde__load_le32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
	       (uint32_t)p[3] << 24;
}

static inline void sde__store_le32(unsigned char *p, uint32_t value)
{
	p[0] = (unsigned char)value;
	p[1] = (unsigned char)(value >> 8);
	p[2] = (unsigned char)(value >> 16);
	p[3] = (unsigned char)(value >> 24);
}

#endif
