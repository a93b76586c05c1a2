/* SPDX-License-Identifier: MIT */
/*
 * A store with keepbits whose writer is killed again and again: what readers see is
 * rounded, and the last snapshot is known exactly, by reader and by resume, whenever
 * the writer died: in the middle of store, save, truncate, close or recovery.
 *
 * As in test_kill.c a shared page bounds what may be found: M is `low` or `high`.
 * Every number follows from (index, generation, component, trajectory); generation
 * grows with every truncate.
 *
 * Environment: SDE_TEST_SEED repeats a run; SDE_TEST_KILLS (60; 20 with a sanitizer;
 * 1000 with SDE_TEST_LONG) says how many.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rounded.h"
#include "scratch.h"
#include "twin.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KILLS 20
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KILLS 20
#endif
#endif
#ifndef KILLS
#define KILLS 60
#endif

#define PATH "kill.zarr"
#define D 2
#define N 40
#define T 5
#define SEGMENTS 3
#define TOTAL 400		/* snapshots of one store */

enum phase { CREATE, RESUME, STORE, SAVE, TRUNCATE, CLOSE, PHASES };
static const char *const phase_name[PHASES] = {
	"create", "resume", "store", "save", "truncate", "close",
};

static struct page {
	uint64_t low, high;
	enum phase phase;
	bool created;
	uint32_t now;
	uint32_t generation[TOTAL + 1];
	char failure[400];
} *page;

static uint64_t seed;

struct run {
	struct sde_ensemble ensemble;
	struct sde_zarr_options options;
	uint64_t number;
};

static size_t item(const struct run *run)
{
	return run->ensemble.dtype == SDE_FLOAT32 ? 4 : 8;
}

/* Bits of component d of trajectory n; all kinds of numbers, with random low bits. */
static uint64_t bits_of(const struct run *run, uint64_t index, uint64_t d, uint64_t n)
{
	uint64_t state = (run->number << 52) ^ (index << 32) ^ page->generation[index] ^ d << 20 ^
			 n << 24;
	const uint64_t h = twin_random(&state);

	return item(run) == 4 ? h >> 32 : h;
}

static void fill(const struct run *run, uint64_t index, enum sde_layout layout, void *to)
{
	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < N; n++) {
			const uint64_t bits = bits_of(run, index, d, n);

			memcpy((char *)to + (layout == SDE_LAYOUT_TRAJECTORY_DIMENSION ? n * D + d :
					     d * N + n) * item(run), &bits, item(run));
		}
}

/* ------------------------------------------------------------------------
 * The child
 */

static _Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void give_up(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(page->failure, sizeof(page->failure), format, arguments);
	va_end(arguments);
	_exit(1);
}

static void set(uint64_t *number, uint64_t value)
{
	__atomic_store_n(number, value, __ATOMIC_SEQ_CST);
}

static void must(const struct sde_storage *storage, const char *what, int ret)
{
	if (ret)
		give_up("%s gave %d: %s", what, ret, twin_sentence(storage));
}

/* The same moment as it was stored, in this layout. */
static void check_exact(const struct run *run, struct sde_storage *storage, uint64_t count,
			enum sde_layout layout)
{
	uint64_t is[D * N], wanted[D * N];

	if (!count)
		return;
	fill(run, count - 1, layout, wanted);
	must(storage, "last", sde_storage_last(storage, is, sizeof(is), NULL));
	if (memcmp(is, wanted, D * N * item(run)))
		give_up("the last of %" PRIu64 " snapshots is not what was stored", count);
}

static struct sde_storage *begin(const struct run *run, uint64_t *random, uint64_t *count,
				 enum sde_layout *layout)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_zarr_options options = run->options;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	int ret = -EEXIST;

	options.layout = *layout = (enum sde_layout)(1 + twin_below(random, 2));
	if (!page->created) {
		page->phase = CREATE;
		ret = sde_zarr_storage_create(&storage, PATH, &run->ensemble, &options, &error);
	}
	if (ret == -EEXIST) {
		page->phase = RESUME;
		memset(&error, 0, sizeof(error));
		ret = sde_zarr_storage_resume(&storage, PATH, &options, &error);
	}
	if (ret)
		give_up("%s gave %d: %s", phase_name[page->phase], ret, error.text);
	page->created = true;
	sde_storage_info(storage, &info);
	*count = info.committed;
	if (*count != page->low && *count != page->high)
		give_up("resumed with %" PRIu64 " snapshots", *count);
	set(&page->low, *count);
	set(&page->high, *count);
	check_exact(run, storage, *count, *layout);
	return storage;
}

static void store_one(const struct run *run, struct sde_storage *storage, enum sde_layout layout,
		      uint64_t index)
{
	uint64_t data[D * N];

	page->phase = STORE;
	page->generation[index] = page->now;
	fill(run, index, layout, data);
	set(&page->high, index + 1);
	must(storage, "store", sde_storage_store(storage, (double)index, data, index));
	set(&page->low, index + 1);
}

/*
 * The smallest number of snapshots of which the ring has the last one exactly, after
 * resume or truncate left `count`: that one, unless it is the last of a chunk.
 */
static uint64_t exact_from(uint64_t count)
{
	return count % T ? count : count + 1;
}

static void truncate_some(const struct run *run, struct sde_storage *storage, uint64_t *random,
			  uint64_t fresh, uint64_t *count, enum sde_layout layout)
{
	const uint64_t reach = SEGMENTS * T - 2, here = *count > fresh ? *count - fresh : 0;
	uint64_t less = twin_below(random, (here < reach ? here : reach) + 1);

	page->phase = TRUNCATE;
	page->now++;
	set(&page->low, *count - less);
	must(storage, "truncate", sde_storage_truncate(storage, *count - less));
	*count -= less;
	set(&page->high, *count);
	check_exact(run, storage, *count, layout);
}

static _Noreturn void work(const struct run *run)
{
	uint64_t random = seed ^ run->number << 40 ^ page->low << 8 ^ page->now;
	enum sde_layout layout;
	uint64_t count, fresh;
	struct sde_storage *storage = begin(run, &random, &count, &layout);

	fresh = exact_from(count);
	while (count < TOTAL) {
		store_one(run, storage, layout, count++);
		switch (twin_below(&random, 24)) {
		case 0:
			page->phase = SAVE;
			must(storage, "save", sde_storage_save(storage));
			break;
		case 1:
			truncate_some(run, storage, &random, fresh, &count, layout);
			fresh = exact_from(count);
			break;
		case 2:
			check_exact(run, storage, count, layout);
		}
	}
	page->phase = CLOSE;
	if (sde_storage_close(storage))
		give_up("close failed");
	_exit(0);
}

/* ------------------------------------------------------------------------
 * The parent
 */

static void check_values(const struct run *run, struct sde_storage *storage, uint64_t count)
{
	const size_t bytes = (size_t)count * D * N * item(run);
	struct sde_array *data;
	unsigned char *is = malloc(bytes), *at = is;

	assert_non_null(is);
	twin_assert_ok(sde_storage_values(storage, NULL, &data), twin_sentence(storage));
	assert_int_equal(sde_array_read(data, NULL, NULL, NULL, is, bytes), 0);
	for (uint64_t d = 0; d < D; d++)
		for (uint64_t n = 0; n < N; n++)
			for (uint64_t i = 0; i < count; i++, at += item(run)) {
				const uint64_t wanted = rounded_bits(item(run), run->options.keepbits,
								     bits_of(run, i, d, n));

				assert_memory_equal(at, &wanted, item(run));
			}
	sde_array_close(data);
	free(is);
}

static void verify(const struct run *run)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	uint64_t is[D * N], wanted[D * N];
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	int ret;

	ret = sde_storage_open(&storage, PATH, NULL, &error);
	if (ret == -ENOENT && !page->created)
		return;
	twin_assert_ok(ret, error.text);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	if (info.committed != page->low && info.committed != page->high)
		fail_msg("%" PRIu64 " snapshots, not %" PRIu64 " or %" PRIu64, info.committed,
			 page->low, page->high);
	if (info.committed) {
		check_values(run, storage, info.committed);
		fill(run, info.committed - 1, SDE_LAYOUT_DIMENSION_TRAJECTORY, wanted);
		twin_assert_ok(sde_storage_last(storage, is, sizeof(is), NULL),
			       twin_sentence(storage));
		assert_memory_equal(is, wanted, D * N * item(run));
	}
	assert_int_equal(sde_storage_close(storage), 0);
}

/* Start a child and kill it after `ns`, or let it end; true if it was killed. */
static bool let_work(const struct run *run, uint64_t ns)
{
	const struct timespec pause = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
	pid_t child;
	int status;

	page->failure[0] = '\0';
	page->phase = page->created ? RESUME : CREATE;
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		work(run);
	}
	if (ns) {
		nanosleep(&pause, NULL);
		kill(child, SIGKILL);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("the writer gave up: %s (status %#x, seed %" PRIu64 ")", page->failure,
			 (unsigned)status, seed);
	return false;
}

static void choose(struct run *run, uint64_t number, uint64_t *random)
{
	memset(page, 0, sizeof(*page));
	memset(run, 0, sizeof(*run));
	run->number = number;
	run->ensemble = (struct sde_ensemble){ D, N, (enum sde_dtype)twin_below(random, 2) };
	run->options = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	run->options.chunk_size = T;
	run->options.segments = SEGMENTS;
	run->options.trajectories_per_chunk = 16;
	run->options.threads = 1 + (unsigned)twin_below(random, 2);
	run->options.zarr_format = 2 + (unsigned)twin_below(random, 2);
	run->options.sync = (enum sde_sync)(1 + twin_below(random, 5));
	run->options.keepbits = 1 + (unsigned)twin_below(random, 22);
}

/* One store, killed up to `most` times on its way to TOTAL snapshots. */
static uint64_t one_store(uint64_t number, unsigned most, uint64_t *random, unsigned *hits)
{
	struct run run;
	uint64_t killed = 0;

	choose(&run, number, random);
	while (killed < most && let_work(&run, 1 + twin_below(random,
							      UINT64_C(2000) << twin_below(random, 15)))) {
		hits[page->phase]++;
		killed++;
		verify(&run);
	}
	while (page->low < TOTAL || scratch_exists(PATH "/data/.ring"))
		assert_false(let_work(&run, 0));
	verify(&run);
	return killed;
}

static void a_killed_writer_leaves_its_last_snapshot_exact(void **state)
{
	const char *asked = getenv("SDE_TEST_KILLS");
	const uint64_t kills = asked ? strtoull(asked, NULL, 10) :
			       getenv("SDE_TEST_LONG") ? 1000 : KILLS;
	uint64_t random = seed, killed = 0;
	unsigned hits[PHASES] = { 0 };

	for (uint64_t number = 0; killed < kills; number++) {
		scratch_enter(state);
		killed += one_store(number, 12, &random, hits);
		scratch_leave(state);
	}
	printf("# seed %" PRIu64 ", %" PRIu64 " kills:", seed, killed);
	for (int i = 0; i < PHASES; i++)
		printf(" %s %u", phase_name[i], hits[i]);
	printf("\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_killed_writer_leaves_its_last_snapshot_exact),
	};
	const char *asked = getenv("SDE_TEST_SEED");

	seed = (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid();
	if (asked)
		seed = strtoull(asked, NULL, 10);
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
