/* SPDX-License-Identifier: MIT */
/* What harnesses have in common: see fuzz.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t fuzz_take(struct fuzz_input *in, unsigned bytes)
{
	uint64_t value = 0;
	size_t n;
	const uint8_t *p = fuzz_take_bytes(in, bytes, &n);

	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)p[i] << 8 * i;
	return value;
}

const uint8_t *fuzz_take_bytes(struct fuzz_input *in, size_t n, size_t *taken)
{
	const uint8_t *p = in->bytes;

	*taken = n < in->size ? n : in->size;
	in->bytes += *taken;
	in->size -= *taken;
	return p;
}

void fuzz_fail(const char *format, ...)
{
	va_list args;

	fuzz_budget_end();
	fprintf(stderr, "%s: ", fuzz_name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}

void fuzz_check_failure(int ret, const char *text)
{
	const size_t n = strlen(text);

	fuzz_assert((ret < 0 && ret > -4096) || (ret <= SDE_E_NOT_STORE && ret >= SDE_E_CODEC),
		    "%d is no code of ours and no -errno", ret);
	fuzz_assert(n > 0, "code %d comes without a sentence", ret);
	fuzz_assert(text[n - 1] != '.', "the sentence ends with a full stop: %s", text);
	for (size_t i = 0; i < n; i++)
		fuzz_assert((unsigned char)text[i] >= ' ' && text[i] != 0x7f,
			    "the sentence has control character %d at %zu: %s", text[i], i, text);
}

void fuzz_check_error(int ret, const struct sde_error *error)
{
	fuzz_check_failure(ret, error->text);
	fuzz_assert(error->code == ret, "%d was returned, the sentence is of %d: %s", ret,
		    error->code, error->text);
}

/*
 * A store that is being truncated is looked at again after a pause; here nobody is
 * at work in between. Defined in the program, it comes before the C library's.
 */
int nanosleep(const struct timespec *requested_time, struct timespec *remaining)
{
	(void)requested_time, (void)remaining;
	return 0;
}

/* ------------------------------------------------------------------------
 * Memory
 */

/* Of the sanitizers' runtime, if there is one: <sanitizer/allocator_interface.h>,
 * which gcc does not install. NOLINTBEGIN(bugprone-reserved-identifier) */
int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t),
					      void (*)(const volatile void *))
	__attribute__((weak));
size_t __sanitizer_get_allocated_size(const volatile void *) __attribute__((weak));
/* NOLINTEND(bugprone-reserved-identifier) */

static const struct memory_io *files;
static uint64_t budget;
static int64_t held;
static bool counting, hooked;

static void on_malloc(const volatile void *memory, size_t size)
{
	(void)memory;
	if (!counting || memory_io_busy)
		return;
	held += (int64_t)size;
	if (held > 0 && (uint64_t)held > budget + (files ? 8 * files->used : 0)) {
		counting = false;
		fuzz_fail("%lld bytes are held (the last %zu of them just now), more than %llu and"
			  " the files' %llu justify", (long long)held, size,
			  (unsigned long long)budget,
			  (unsigned long long)(files ? files->used : 0));
	}
}

static void on_free(const volatile void *memory)
{
	if (counting && !memory_io_busy && memory)
		held -= (int64_t)__sanitizer_get_allocated_size(memory);
}

void fuzz_budget_begin(uint64_t bytes, const struct memory_io *fs)
{
	if (!hooked && __sanitizer_install_malloc_and_free_hooks)
		__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
	hooked = true;
	budget = bytes;
	files = fs;
	held = 0;
	counting = true;
}

void fuzz_budget_end(void)
{
	counting = false;
}

/* ------------------------------------------------------------------------
 * Seeds
 */

static void write_seed(const char *directory, unsigned i, const unsigned char *bytes, size_t size)
{
	char path[1024];
	FILE *file;

	snprintf(path, sizeof(path), "%s/seed-%03u", directory, i);
	file = fopen(path, "wb");
	if (!file || fwrite(bytes, 1, size, file) != size || fclose(file)) {
		fprintf(stderr, "cannot write '%s'\n", path);
		exit(1);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static unsigned char bytes[FUZZ_INPUT_MAX];
	const char *directory = getenv("SDE_FUZZ_SEEDS");
	size_t size;

	(void)argc, (void)argv;
	if (!directory)
		return 0;
	for (unsigned i = 0; (size = fuzz_seed(i, bytes)) != 0; i++)
		write_seed(directory, i, bytes, size);
	exit(0);
}
