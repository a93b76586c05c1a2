/* SPDX-License-Identifier: MIT */
/* Checksums made right: see checksum.h. */
#include "checksum.h"

#include "crc32c.h"

#include <string.h>

static void put_crc(unsigned char *at, const unsigned char *bytes, size_t n)
{
	const uint32_t crc = sde__crc32c(0, bytes, n);

	memcpy(at, &crc, 4);
}

void checksum_ring(unsigned char *bytes, size_t size)
{
	if (size >= 160)
		put_crc(bytes + 12, bytes + 16, 144);
}

void checksum_side(unsigned char *bytes, size_t size)
{
	uint32_t n;

	if (size < 16)
		return;
	memcpy(&n, bytes + 12, 4);
	if (n >= 4 && n <= size)
		put_crc(bytes + n - 4, bytes, n - 4);
}

void checksum_index(unsigned char *bytes, size_t size, uint64_t inner_count)
{
	const size_t n = (size_t)inner_count * 16;

	if (inner_count < size && n + 4 <= size)
		put_crc(bytes + size - 4, bytes + size - 4 - n, n);
}

void checksum_inner(unsigned char *bytes, size_t size, uint64_t inner_count)
{
	uint64_t place[2];

	if (inner_count >= size || inner_count * 16 + 4 > size)
		return;
	for (uint64_t i = 0; i < inner_count; i++) {
		memcpy(place, bytes + size - 4 - 16 * (inner_count - i), 16);
		if (place[1] >= 4 && place[1] <= size && place[0] <= size - place[1])
			put_crc(bytes + place[0] + place[1] - 4, bytes + place[0],
				(size_t)place[1] - 4);
	}
}

void checksum_right(unsigned char *bytes, size_t size, const char *path, const struct template *t)
{
	if (strstr(path, ".ring/header")) {
		checksum_ring(bytes, size);
	} else if (strstr(path, "data/.side/")) {
		checksum_side(bytes, size);
	} else if (strstr(path, "data/c/0/0/")) {
		checksum_inner(bytes, size, t->inner_count);
		checksum_side(bytes, size);
		checksum_index(bytes, size, t->inner_count);
	} else if (strstr(path, "/c/") && size >= 4) {
		put_crc(bytes + size - 4, bytes, size - 4);
	}
}
