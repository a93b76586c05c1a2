/* SPDX-License-Identifier: MIT */
/*
 * Guards the terminal and the JSON reader against what stands in paths,
 * attributes and error sentences.
 */
#include "text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * The length of the well-formed UTF-8 sequence at `s` (at most `size` bytes),
 * 0 if there is none; *code is its code point. RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF.
 */
static size_t utf8(const unsigned char *s, size_t size, uint32_t *code)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length;

	if (s[0] < 0x80) {
		*code = s[0];
		return 1;
	}
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (length > size)
		return 0;
	*code = s[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (s[i] & 0x3fu);
	}
	if (*code < least[length] || *code > 0x10ffff ||
	    (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return length;
}

void text_put(FILE *out, const char *text, size_t size, bool json)
{
	const unsigned char *s = (const unsigned char *)text;
	uint32_t code = 0;

	while (size) {
		size_t length = utf8(s, size, &code);

		if (!length) {
			fputs("\xef\xbf\xbd", out);
			length = 1;
		} else if (code < 0x20 || (code >= 0x7f && code < 0xa0)) {
			fprintf(out, "\\u%04x", (unsigned)code);
		} else {
			if (json && (code == '"' || code == '\\'))
				putc('\\', out);
			fwrite(s, 1, length, out);
		}
		s += length;
		size -= length;
	}
}

void text_puts(FILE *out, const char *text)
{
	text_put(out, text, strlen(text), false);
}

void text_bytes(char text[TEXT_SIZE], double bytes)
{
	static const char *const units[] = {
		"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"
	};
	size_t unit = 0;

	/* 1023.995: what %.2f would round up to 1024.00 */
	while (bytes >= 1023.995 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1024;
		unit++;
	}
	snprintf(text, TEXT_SIZE, unit ? "%.2f %s" : "%.0f %s", bytes, units[unit]);
}

void text_double(char text[TEXT_SIZE], double value)
{
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, TEXT_SIZE, "%.*g", digits, value);
		if (isnan(value) || strtod(text, NULL) == value)
			return;
	}
}

void text_duration(char text[TEXT_SIZE], double seconds)
{
	unsigned long s;

	if (!(seconds >= 0 && seconds < 1e9)) {
		snprintf(text, TEXT_SIZE, "-:--");
		return;
	}
	s = (unsigned long)(seconds + 0.5);
	if (s < 3600)
		snprintf(text, TEXT_SIZE, "%lu:%02lu", s / 60, s % 60);
	else
		snprintf(text, TEXT_SIZE, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
}
