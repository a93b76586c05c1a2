/* SPDX-License-Identifier: MIT */
/* Codes and sentences: first error wins, nothing is cut without a mark. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "error.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void the_version_is_the_headers(void **state)
{
	char text[64];

	(void)state;
	snprintf(text, sizeof(text), "%d.%d.%d", SDE_VERSION_MAJOR, SDE_VERSION_MINOR,
		 SDE_VERSION_PATCH);
	assert_string_equal(sde_version(), text);
	assert_string_equal(SDE_VERSION_STRING, text);
}

static void codes_never_change(void **state)
{
	(void)state;
	assert_int_equal(SDE_E_NOT_STORE, -100000);
	assert_int_equal(SDE_E_CORRUPT, -100001);
	assert_int_equal(SDE_E_VERSION, -100002);
	assert_int_equal(SDE_E_NO_DATA, -100003);
	assert_int_equal(SDE_E_LOCKED, -100004);
	assert_int_equal(SDE_E_MISMATCH, -100005);
	assert_int_equal(SDE_E_UNSUPPORTED, -100006);
	assert_int_equal(SDE_E_HOLE, -100007);
	assert_int_equal(SDE_E_STALE, -100008);
	assert_int_equal(SDE_E_CODEC, -100009);
}

static void every_code_has_a_phrase_of_its_own(void **state)
{
	const char *seen[10];

	(void)state;
	for (int i = 0; i < 10; i++) {
		seen[i] = sde_strerror(SDE_E_NOT_STORE - i);
		assert_non_null(seen[i]);
		assert_null(strstr(seen[i], "unknown"));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(seen[i], seen[j]);
	}
	assert_string_equal(sde_strerror(0), "success");
}

static void a_system_code_gives_the_systems_phrase(void **state)
{
	(void)state;
	assert_string_equal(sde_strerror(-ENOENT), "No such file or directory");
	assert_string_equal(sde_strerror(-ENOSPC), "No space left on device");
}

static void a_phrase_does_not_depend_on_the_locale(void **state)
{
	(void)state;
	setlocale(LC_ALL, "de_DE.UTF-8");
	setlocale(LC_ALL, "");
	assert_string_equal(sde_strerror(-EACCES), "Permission denied");
	setlocale(LC_ALL, "C");
}

static void a_sentence_has_no_control_characters(void **state)
{
	struct sde_error error = { 0 };

	(void)state;
	sde__fail(&error, SDE_E_CORRUPT, "the name '%s'", "x\n\033[31m\177\tz\xc3\xa4");
	assert_string_equal(error.text, "the name 'x??[31m??z\xc3\xa4'");
	memset(&error, 0, sizeof(error));
	sde__fail_why(&error, -ENOENT, "cannot open '%s'", "a\rb");
	assert_string_equal(error.text, "cannot open 'a?b': No such file or directory");
}

static void any_int_has_a_phrase(void **state)
{
	static const int codes[] = { 1, 7, INT_MAX, INT_MIN, INT_MIN + 1, -4094, -4095,
				     -4096, -99999, -100010 };

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		const char *phrase = sde_strerror(codes[i]);

		assert_non_null(phrase);
		assert_true(strlen(phrase) > 0);
	}
	assert_string_equal(sde_strerror(INT_MIN), "unknown code -2147483648");
	assert_string_equal(sde_strerror(5), "unknown code 5");
}

static void *another_thread(void *arg)
{
	(void)arg;
	sde_strerror(-ENOSPC);
	sde_strerror(-99999);
	return NULL;
}

static void another_thread_does_not_change_a_phrase(void **state)
{
	const char *mine = sde_strerror(-EIO);
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, another_thread, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_string_equal(mine, "Input/output error");
}

static void the_first_error_wins(void **state)
{
	struct sde_error error = { 0 };

	(void)state;
	assert_int_equal(sde__fail(&error, -ENOENT, "cannot open '%s'", "a"), -ENOENT);
	assert_int_equal(sde__fail(&error, SDE_E_CORRUPT, "second"), SDE_E_CORRUPT);
	assert_int_equal(sde__fail_why(&error, -EIO, "third"), -EIO);
	assert_int_equal(error.code, -ENOENT);
	assert_string_equal(error.text, "cannot open 'a'");
	sde__error_clear(&error);
	assert_int_equal(error.code, 0);
	assert_string_equal(error.text, "");
	assert_int_equal(sde__fail(&error, -EIO, "next"), -EIO);
	assert_string_equal(error.text, "next");
}

static void the_reason_stands_behind_the_sentence(void **state)
{
	struct sde_error error = { 0 };

	(void)state;
	sde__fail_why(&error, -ENOENT, "cannot open '%s'", "run.zarr");
	assert_string_equal(error.text, "cannot open 'run.zarr': No such file or directory");
}

static void no_struct_is_allowed(void **state)
{
	(void)state;
	assert_int_equal(sde__fail(NULL, -EIO, "x"), -EIO);
	assert_int_equal(sde__fail_why(NULL, -EIO, "x"), -EIO);
	sde__error_clear(NULL);
	sde__warn(NULL, "x");
}

/* For every length around the limit, against the whole sentence. */
static void a_long_sentence_is_cut_with_a_mark_and_keeps_its_reason(void **state)
{
	static const char tail[] = ": No such file or directory";
	char path[600];

	(void)state;
	for (size_t n = 200; n < 300; n++) {
		struct sde_error error = { 0 };
		const size_t room = sizeof(error.text) - 1 - (sizeof(tail) - 1);

		memset(path, 'p', n);
		path[n] = '\0';
		sde__fail_why(&error, -ENOENT, "%s", path);
		if (n <= room) {
			assert_int_equal(strlen(error.text), n + sizeof(tail) - 1);
			assert_memory_equal(error.text, path, n);
		} else {
			assert_int_equal(strlen(error.text), sizeof(error.text) - 1);
			assert_memory_equal(error.text, path, room - 3);
			assert_memory_equal(error.text + room - 3, "...", 3);
		}
		assert_string_equal(error.text + strlen(error.text) - (sizeof(tail) - 1), tail);

		memset(&error, 0, sizeof(error));
		sde__fail(&error, -ENOENT, "%s", path);
		if (n < sizeof(error.text))
			assert_string_equal(error.text, path);
		else
			assert_string_equal(error.text + sizeof(error.text) - 5, "p...");
	}
}

static void keep(void *ctx, const char *message)
{
	snprintf(ctx, 1024, "%s", message);
}

static void a_warning_reaches_the_callback(void **state)
{
	char kept[1024] = "";
	struct sde__log log = { keep, kept }, none = { NULL, kept };
	char path[2000];

	(void)state;
	sde__warn(&none, "dropped");
	assert_string_equal(kept, "");
	sde__warn(&log, "chunks of %d bytes", 7);
	assert_string_equal(kept, "chunks of 7 bytes");
	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	sde__warn(&log, "%s", path);
	assert_string_equal(kept + strlen(kept) - 4, "p...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_version_is_the_headers),
		cmocka_unit_test(codes_never_change),
		cmocka_unit_test(every_code_has_a_phrase_of_its_own),
		cmocka_unit_test(a_sentence_has_no_control_characters),
		cmocka_unit_test(a_system_code_gives_the_systems_phrase),
		cmocka_unit_test(a_phrase_does_not_depend_on_the_locale),
		cmocka_unit_test(any_int_has_a_phrase),
		cmocka_unit_test(another_thread_does_not_change_a_phrase),
		cmocka_unit_test(the_first_error_wins),
		cmocka_unit_test(the_reason_stands_behind_the_sentence),
		cmocka_unit_test(no_struct_is_allowed),
		cmocka_unit_test(a_long_sentence_is_cut_with_a_mark_and_keeps_its_reason),
		cmocka_unit_test(a_warning_reaches_the_callback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
