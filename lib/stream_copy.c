/* SPDX-License-Identifier: MIT */
/* Past the caches into the ring: see stream_copy.h. */
#include "stream_copy.h"

#include <stdint.h>
#include <string.h>

/* Sanitizers do not see streaming stores; elsewhere memcpy knows best. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STREAMS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define STREAMS 0
#endif
#endif
#if !defined(STREAMS) && defined(__SSE2__)
#define STREAMS 1
#endif

#if STREAMS
#include <emmintrin.h>

#define LINE 64		/* bytes */

/* From here on it pays, measured: smaller ones the workers find in a cache. */
#define LEAST ((size_t)64 << 10)

/* A multiple of LINE bytes to a multiple of LINE. */
static void stream_lines(char *to, const char *from, size_t n)
{
	for (; n; n -= LINE, to += LINE, from += LINE) {
		const __m128i a = _mm_loadu_si128((const __m128i *)(const void *)from);
		const __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(from + 16));
		const __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(from + 32));
		const __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(from + 48));

		_mm_stream_si128((__m128i *)(void *)to, a);
		_mm_stream_si128((__m128i *)(void *)(to + 16), b);
		_mm_stream_si128((__m128i *)(void *)(to + 32), c);
		_mm_stream_si128((__m128i *)(void *)(to + 48), d);
	}
	/* these stores are in no order with others but by this */
	_mm_sfence();
}

void sde__stream_copy(void *to, const void *from, size_t n)
{
	const size_t head = (LINE - (uintptr_t)to % LINE) % LINE;
	char *t = to;
	const char *f = from;
	size_t lines;

	if (n < LEAST) {
		memcpy(to, from, n);
		return;
	}
	lines = (n - head) / LINE * LINE;
	memcpy(t, f, head);
	stream_lines(t + head, f + head, lines);
	memcpy(t + head + lines, f + head + lines, n - head - lines);
}

#else

void sde__stream_copy(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
}

#endif
