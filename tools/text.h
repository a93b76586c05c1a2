/* SPDX-License-Identifier: MIT */
/*
 * Text for terminals and files: foreign strings made safe, numbers made
 * readable. Nothing here depends on the locale.
 */
#ifndef SDE_TOOLS_TEXT_H
#define SDE_TOOLS_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Print `size` bytes of a foreign string. What comes out is valid UTF-8 without
 * control characters: those (C0, DEL, C1) become \u00XX, and every byte that is
 * not part of well-formed UTF-8 (RFC 3629) becomes U+FFFD. With `json` also
 * " and \ are escaped, so that the output may stand inside a JSON string.
 */
void text_put(FILE *out, const char *text, size_t size, bool json);

/* The same for a string that ends with NUL, for people. */
void text_puts(FILE *out, const char *text);

/* Room that every text_ function below is content with. */
#define TEXT_SIZE 32

/* "512 bytes", "1.50 KiB", "763.70 MiB": powers of 1024, three digits or so. */
void text_bytes(char text[TEXT_SIZE], double bytes);

/* The shortest decimal that reads back as the same double: "0.1", "1e+300". */
void text_double(char text[TEXT_SIZE], double value);

/* Seconds as "0:07", "12:34", "1:02:03"; "-:--" if they are not known (< 0). */
void text_duration(char text[TEXT_SIZE], double seconds);

#endif
