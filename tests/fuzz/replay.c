/* SPDX-License-Identifier: MIT */
/*
 * A harness without a fuzzer: what `make check` runs. In this order
 *
 *	seeds		as the harness makes them
 *	regressions	what lies in tests/fuzz/regress/<name>: each once found something
 *	mutations	of both, drawn from SDE_TEST_SEED (1): as many as the harness
 *			says, or SDE_FUZZ_MUTATIONS
 *
 * With arguments it runs those files, as a libFuzzer program does. An input that
 * fails is kept as fuzz-failed.<name> in BUILD, or here.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CORPUS_MAX 512

struct input {
	unsigned char *bytes;
	size_t size;
};

static struct input corpus[CORPUS_MAX];
static unsigned count, seeds;
static struct input current;

/* ------------------------------------------------------------------------
 * What failed
 */

static char failed_path[1024], failed_line[1100];

static void say_where(void)
{
	const char *directory = getenv("BUILD");

	snprintf(failed_path, sizeof(failed_path), "%s/fuzz-failed.%s",
		 directory ? directory : ".", fuzz_name);
	snprintf(failed_line, sizeof(failed_line), "the input is '%s'\n", failed_path);
}

/* Also from a signal handler. */
static void keep_current(void)
{
	const int fd = open(failed_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0 || write(fd, current.bytes, current.size) != (ssize_t)current.size ||
	    write(2, failed_line, strlen(failed_line)) < 0)
		return;
	close(fd);
}

static void on_signal(int number)
{
	signal(number, SIG_DFL);
	keep_current();
	raise(number);
}

/* Of the sanitizers' runtime, if there is one. NOLINTBEGIN(bugprone-reserved-identifier) */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));
/* NOLINTEND(bugprone-reserved-identifier) */

/* Without a sanitizer's hooks this is what sees memory taken for nothing. */
#define ADDRESS_SPACE ((rlim_t)1 << 30)

static void prepare(void)
{
	const struct rlimit limit = { ADDRESS_SPACE, ADDRESS_SPACE };

	say_where();
	signal(SIGABRT, on_signal);
	if (__sanitizer_set_death_callback) {
		__sanitizer_set_death_callback(keep_current);
		return;
	}
	setrlimit(RLIMIT_AS, &limit);
	signal(SIGSEGV, on_signal);
	signal(SIGBUS, on_signal);
	signal(SIGFPE, on_signal);
}

/* ------------------------------------------------------------------------
 * Inputs
 */

static void run(const unsigned char *bytes, size_t size)
{
	/* exactly as long as it is, so that a step beyond it is seen */
	current.bytes = malloc(size ? size : 1);
	current.size = size;
	if (!current.bytes)
		abort();
	memcpy(current.bytes, bytes, size);
	LLVMFuzzerTestOneInput(current.bytes, size);
	free(current.bytes);
	current.bytes = NULL;
	current.size = 0;
}

static void keep(const unsigned char *bytes, size_t size)
{
	struct input *in = &corpus[count];

	if (count == CORPUS_MAX)
		return;
	in->bytes = malloc(size ? size : 1);
	if (!in->bytes)
		abort();
	memcpy(in->bytes, bytes, size);
	in->size = size;
	count++;
}

static bool read_input(const char *path, unsigned char out[FUZZ_INPUT_MAX], size_t *size)
{
	FILE *file = fopen(path, "rb");

	if (!file) {
		printf("# cannot open '%s'\n", path);
		return false;
	}
	*size = fread(out, 1, FUZZ_INPUT_MAX, file);
	fclose(file);
	return true;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The files of regress/<name>, in the order of their names. */
static void read_regressions(unsigned char scratch[FUZZ_INPUT_MAX])
{
	const char *source = getenv("SRCDIR");
	char directory[2048], path[4096], *names[CORPUS_MAX];
	unsigned found = 0;
	struct dirent *e;
	size_t size;
	DIR *stream;

	snprintf(directory, sizeof(directory), "%s/tests/fuzz/regress/%s", source ? source : ".",
		 fuzz_name);
	stream = opendir(directory);
	while (stream && (e = readdir(stream)) != NULL && found < CORPUS_MAX)
		if (e->d_name[0] != '.')
			names[found++] = strdup(e->d_name);
	if (stream)
		closedir(stream);
	qsort(names, found, sizeof(names[0]), compare_names);
	for (unsigned i = 0; i < found; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		if (read_input(path, scratch, &size))
			keep(scratch, size);
		free(names[i]);
	}
}

/* ------------------------------------------------------------------------
 * Mutations
 */

static uint64_t seed;

/* splitmix64 */
static uint64_t below(uint64_t n)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	z ^= z >> 31;
	return n ? z % n : 0;
}

static void mutate_once(unsigned char *bytes, size_t *size)
{
	static const uint64_t numbers[] = {
		0, 1, 2, 7, 8, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, INT32_MAX, UINT32_MAX,
		INT64_MAX, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 1,
	};
	const size_t where = (size_t)below(*size), left = *size - where;
	const struct input *other = &corpus[below(count)];
	size_t n;

	switch (below(7)) {
	case 0:
		if (left)
			bytes[where] ^= (unsigned char)(1u << below(8));
		break;
	case 1:
		if (left)
			bytes[where] = (unsigned char)below(256);
		break;
	case 2:		/* a number of 1, 2, 4 or 8 bytes */
		n = (size_t)1 << below(4);
		memcpy(bytes + where, &numbers[below(sizeof(numbers) / sizeof(numbers[0]))],
		       n < left ? n : left);
		break;
	case 3:		/* cut */
		*size = where;
		break;
	case 4:		/* leave out */
		n = (size_t)below(left < 16 ? left : 16);
		memmove(bytes + where, bytes + where + n, left - n);
		*size -= n;
		break;
	case 5:		/* insert */
		n = (size_t)below(16);
		if (*size + n > FUZZ_INPUT_MAX)
			break;
		memmove(bytes + where + n, bytes + where, left);
		for (size_t i = 0; i < n; i++)
			bytes[where + i] = (unsigned char)below(256);
		*size += n;
		break;
	default:	/* the same place of another one */
		n = (size_t)below(64);
		if (where + n <= other->size && n <= left)
			memcpy(bytes + where, other->bytes + where, n);
	}
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtoull(value, NULL, 10) : otherwise;
}

static void run_mutations(unsigned char scratch[FUZZ_INPUT_MAX])
{
	const uint64_t most = setting("SDE_FUZZ_MUTATIONS", fuzz_mutations), start = now_ms();

	seed = setting("SDE_TEST_SEED", 1);
	printf("# seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	for (uint64_t i = 0; i < most; i++) {
		const struct input *in = &corpus[below(count)];
		size_t size = in->size;

		memcpy(scratch, in->bytes, size);
		for (uint64_t j = 1 + below(4); j > 0; j--)
			mutate_once(scratch, &size);
		run(scratch, size);
	}
	printf("# %llu mutations in %llu ms\n", (unsigned long long)most,
	       (unsigned long long)(now_ms() - start));
}

int main(int argc, char **argv)
{
	static unsigned char scratch[FUZZ_INPUT_MAX];
	size_t size;

	LLVMFuzzerInitialize(&argc, &argv);
	prepare();
	for (int i = 1; i < argc; i++) {
		if (!read_input(argv[i], scratch, &size))
			return 1;
		run(scratch, size);
		printf("# '%s' passes\n", argv[i]);
	}
	if (argc > 1)
		return 0;
	printf("1..3\n");
	for (unsigned i = 0; (size = fuzz_seed(i, scratch)) != 0; i++)
		keep(scratch, size);
	seeds = count;
	for (unsigned i = 0; i < seeds; i++)
		run(corpus[i].bytes, corpus[i].size);
	printf("# %u seeds\nok 1 - seeds_pass\n", seeds);
	read_regressions(scratch);
	for (unsigned i = seeds; i < count; i++)
		run(corpus[i].bytes, corpus[i].size);
	printf("# %u regressions\nok 2 - what_once_found_something_passes\n", count - seeds);
	run_mutations(scratch);
	printf("ok 3 - mutations_are_refused_or_harmless\n");
	for (unsigned i = 0; i < count; i++)
		free(corpus[i].bytes);
	return 0;
}
