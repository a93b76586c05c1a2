/* SPDX-License-Identifier: MIT */
/*
 * Codes and sentences. Guards three promises: the first error wins, the reason
 * at the end of a sentence is never lost to a long path in front of it, and a
 * text does not depend on the caller's locale.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "error.h"

#undef sde__fail
#undef sde__fail_why

#include <limits.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Linux keeps errno values below 4096 (MAX_ERRNO in include/linux/err.h). */
#define ERRNO_LIMIT 4096

const char *sde_version(void)
{
	return SDE_VERSION_STRING;
}

static const char *status_phrase(int code)
{
	switch (code) {
	case SDE_OK:
		return "success";
	case SDE_E_NOT_STORE:
		return "not a store of sdestore";
	case SDE_E_CORRUPT:
		return "damaged: a checksum or a structure does not hold";
	case SDE_E_VERSION:
		return "written by a newer version of the format";
	case SDE_E_NO_DATA:
		return "there is nothing yet";
	case SDE_E_LOCKED:
		return "another process is writing this store";
	case SDE_E_MISMATCH:
		return "an option contradicts the store";
	case SDE_E_UNSUPPORTED:
		return "not supported here";
	case SDE_E_HOLE:
		return "a chunk file is missing";
	case SDE_E_STALE:
		return "the store was truncated: open it again";
	case SDE_E_CODEC:
		return "the compressor failed";
	default:
		return NULL;
	}
}

/*
 * strerror_l in the "C" locale: the thread's own may be LC_GLOBAL_LOCALE, for
 * which POSIX leaves strerror_l undefined. Copied, because the string may
 * belong to the locale object.
 */
static void errno_phrase(int number, char *text, size_t size)
{
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	const char *phrase = NULL;

	if (c != (locale_t)0)
		phrase = strerror_l(number, c);
	if (phrase && *phrase)
		snprintf(text, size, "%s", phrase);
	else
		snprintf(text, size, "system error %d", number);
	if (c != (locale_t)0)
		freelocale(c);
}

const char *sde_strerror(int code)
{
	static _Thread_local char text[128];
	const char *phrase = status_phrase(code);

	if (phrase)
		return phrase;
	if (code < 0 && code > -ERRNO_LIMIT)
		errno_phrase(-code, text, sizeof(text));
	else
		snprintf(text, sizeof(text), "unknown code %d", code);
	return text;
}

/*
 * A sentence may quote a file: a name, a word of a header. Whoever prints it on a
 * terminal shall not thereby do what the file says.
 */
static void make_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

/*
 * The sentence into `text`, leaving room for `tail` bytes (and the 0); what is
 * cut ends in "...", so that a reader sees that it was. Returns the length.
 */
static size_t format_sentence(char *text, size_t size, size_t tail,
			      const char *format, va_list arguments)
{
	size_t room = size - tail;
	int n = vsnprintf(text, room, format, arguments);

	if (n < 0) {
		text[0] = '\0';
		return 0;
	}
	make_printable(text);
	if ((size_t)n < room)
		return (size_t)n;
	memcpy(text + room - 4, "...", 4);
	return room - 1;
}

/* `why` may be NULL; else it is the phrase behind the sentence. */
static void note(struct sde_error *error, int code, const char *why,
		 const char *format, va_list arguments)
{
	size_t tail = why ? strlen(why) + 2 : 0, length;

	if (!error || error->code != 0)
		return;
	error->code = code;
	length = format_sentence(error->text, sizeof(error->text), tail, format,
				 arguments);
	if (why)
		snprintf(error->text + length, sizeof(error->text) - length, ": %s",
			 why);
}

int sde__fail(struct sde_error *error, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	note(error, code, NULL, format, arguments);
	va_end(arguments);
	return code;
}

int sde__fail_why(struct sde_error *error, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	note(error, code, sde_strerror(code), format, arguments);
	va_end(arguments);
	return code;
}

void sde__error_clear(struct sde_error *error)
{
	if (!error)
		return;
	error->code = 0;
	error->text[0] = '\0';
}

void sde__warn(const struct sde__log *log, const char *format, ...)
{
	char text[512];
	va_list arguments;

	if (!log || !log->function)
		return;
	va_start(arguments, format);
	format_sentence(text, sizeof(text), 0, format, arguments);
	va_end(arguments);
	log->function(log->ctx, text);
}
