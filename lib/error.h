/* SPDX-License-Identifier: MIT */
/*
 * Errors and warnings.
 *
 * A function that can fail returns 0 or a negative code and takes a
 * struct sde_error, which it fills with one sentence. The first error wins: a
 * struct that already holds a code is left alone, so that clean-up code may
 * fail without hiding the cause. The pointer may be NULL.
 */
#ifndef SDE_LIB_ERROR_H
#define SDE_LIB_ERROR_H

#include <sdestore.h>

#if defined(__GNUC__)
#define SDE__PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define SDE__PRINTF(f, a)
#endif

/* Note `code` with the sentence; returns code, whatever the struct kept. */
int sde__fail(struct sde_error *error, int code, const char *format, ...)
	SDE__PRINTF(3, 4);

/* The same, and behind the sentence ": " and what sde_strerror says of code. */
int sde__fail_why(struct sde_error *error, int code, const char *format, ...)
	SDE__PRINTF(3, 4);

#ifdef __clang_analyzer__
/* What the analyzer cannot see from here: the code comes back as it went in. */
void sde__fail_text(const char *format, ...);
#define sde__fail(error, code, ...) ((void)(error), sde__fail_text(__VA_ARGS__), (code))
#define sde__fail_why(error, code, ...) ((void)(error), sde__fail_text(__VA_ARGS__), (code))
#endif

/* Ready for the next call. */
void sde__error_clear(struct sde_error *error);

/* The caller's log callback; function NULL drops the message. */
struct sde__log {
	sde_log_function *function;
	void *ctx;
};

void sde__warn(const struct sde__log *log, const char *format, ...)
	SDE__PRINTF(2, 3);

#endif
