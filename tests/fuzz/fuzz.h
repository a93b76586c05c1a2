/* SPDX-License-Identifier: MIT */
/*
 * What a harness is. Each tests/fuzz/test_*.c defines the three below, and is built
 * twice: into a libFuzzer program (`make fuzz`), and with replay.c into a test that
 * runs what is known already.
 *
 * A harness keeps no state from one input to the next but what it computes once.
 */
#ifndef SDE_TESTS_FUZZ_FUZZ_H
#define SDE_TESTS_FUZZ_FUZZ_H

#include "error.h"
#include "memory_io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The harness's noun: its inputs that found something are in regress/<name>/. */
extern const char fuzz_name[];

/* How many mutations `make check` runs: a second's worth with AddressSanitizer. */
extern const unsigned fuzz_mutations;

#define FUZZ_INPUT_MAX ((size_t)1 << 16)

/* The i-th seed, the same everywhere: its size, or 0 behind the last one. */
size_t fuzz_seed(unsigned i, unsigned char out[FUZZ_INPUT_MAX]);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Taken from the front; zeros where the input has ended. */
struct fuzz_input {
	const uint8_t *bytes;
	size_t size;
};

uint64_t fuzz_take(struct fuzz_input *in, unsigned bytes);	/* 1 to 8, little-endian */
/* At most n bytes; *taken is how many. */
const uint8_t *fuzz_take_bytes(struct fuzz_input *in, size_t n, size_t *taken);

/* Says the sentence and aborts, which both ways of running take for a finding. */
void fuzz_fail(const char *format, ...) SDE__PRINTF(1, 2) __attribute__((noreturn));
#define fuzz_assert(condition, ...) ((condition) ? (void)0 : fuzz_fail(__VA_ARGS__))

/*
 * `ret` is a code of ours or -errno, and `text` its sentence: not empty, one line,
 * nothing in it that a terminal would obey, no full stop.
 */
void fuzz_check_failure(int ret, const char *text);
void fuzz_check_error(int ret, const struct sde_error *error);	/* and its code is ret */

/*
 * From begin to end what the library holds at once must be at most `bytes`, and 8
 * times what the files (of `fs`, if not NULL) hold then: a ring that was just laid
 * counts. Seen only with AddressSanitizer, by its hooks on malloc; else the test
 * has a limit on all of its memory (replay.c).
 */
void fuzz_budget_begin(uint64_t bytes, const struct memory_io *fs);
void fuzz_budget_end(void);

/* For replay.c and libFuzzer: put the seeds into SDE_FUZZ_SEEDS and exit, if set. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

#endif
