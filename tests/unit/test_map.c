/* SPDX-License-Identifier: MIT */
/*
 * Data that is mapped lazily, by userfaultfd and by SIGSEGV: every number is what a
 * read gives, whatever comes and goes meanwhile; what cannot be read is never
 * zeros; memory stays within the budget.
 *
 * SDE_TEST_LONG: random access by eight threads for 30 seconds a way instead of 1.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "pager.h"
#include "pages.h"
#include "scratch.h"
#include "twin.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * For the thread sanitizer a mapping is a write to its pages, here by the pager's thread
 * while others wait for just that in a touch of them: what it cannot see is the kernel.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:^lose$\n";
}

#define PATH "run.zarr"
#define UNIT ((size_t)64 << 10)

enum { D = 2, N = 32, T = 128, WIDTH = 8 };	/* a chunk is 64 KiB of float64 */

static const enum sde_paging ways[] = { SDE_PAGING_USERFAULTFD, SDE_PAGING_SIGNAL };
static const char *const way_names[] = { "userfaultfd", "signal" };

static double value(uint64_t d, uint64_t n, uint64_t k)
{
	return (double)(k * 1000 + d * 100 + n);
}

struct shape {
	uint64_t d, n, chunk, width;
	enum sde_dtype dtype;
	enum sde_codec codec;
	unsigned format;
};

static const struct shape usual = { D, N, T, WIDTH, SDE_FLOAT64, SDE_CODEC_DEFAULT, 3 };

static struct sde_storage *begin(const struct shape *shape)
{
	const struct sde_ensemble ensemble = { shape->d, shape->n, shape->dtype };
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	options.chunk_size = shape->chunk;
	options.trajectories_per_chunk = shape->width;
	options.codec = shape->codec;
	options.zarr_format = shape->format;
	options.overwrite = 1;
	twin_assert_ok(sde_zarr_storage_create(&storage, PATH, &ensemble, &options, &error),
		       error.text);
	return storage;
}

static void store(struct sde_storage *storage, const struct shape *shape, uint64_t from,
		  uint64_t to)
{
	double *x = malloc(shape->d * shape->n * sizeof(*x));
	float *y = malloc(shape->d * shape->n * sizeof(*y));

	for (uint64_t k = from; k < to; k++) {
		for (uint64_t i = 0; i < shape->d * shape->n; i++) {
			x[i] = value(i / shape->n, i % shape->n, k);
			y[i] = (float)x[i];
		}
		twin_assert_ok(sde_storage_store(storage, (double)k, shape->dtype == SDE_FLOAT32 ?
						 (void *)y : x, k), twin_sentence(storage));
	}
	free(x);
	free(y);
}

/* A closed store of `count` snapshots, mapped. */
struct mapped {
	struct sde_storage *storage;
	struct sde_array *data;
	const char *base;
	int64_t stride[3];
};

static int try_map(struct mapped *m, int way, size_t budget, enum sde_map_hole on_hole)
{
	struct sde_map_options options = SDE_MAP_OPTIONS_INIT;
	const void *base;
	int ret;

	options.budget = budget;
	options.on_hole = on_hole;
	options.paging = ways[way];
	ret = sde_array_map_with(m->data, &options, &base, m->stride);
	m->base = base;
	return ret;
}

static void open_mapped(struct mapped *m, int way, size_t budget, enum sde_map_hole on_hole)
{
	struct sde_error error = { 0 };

	twin_assert_ok(sde_storage_open(&m->storage, PATH, NULL, &error), error.text);
	twin_assert_ok(sde_storage_values(m->storage, NULL, &m->data), twin_sentence(m->storage));
	if (try_map(m, way, budget, on_hole)) {
		sde_array_error(m->data, &error);
		fail_msg("%s", error.text);
	}
}

static void close_mapped(struct mapped *m)
{
	sde_array_close(m->data);
	assert_int_equal(sde_storage_close(m->storage), 0);
}

static double at(const struct mapped *m, uint64_t d, uint64_t n, uint64_t k)
{
	const char *p = m->base + (int64_t)d * m->stride[0] + (int64_t)n * m->stride[1] +
			(int64_t)k * m->stride[2];

	return sde_array_dtype(m->data) == SDE_FLOAT32 ? (double)*(const volatile float *)(const void *)p :
	       *(const volatile double *)(const void *)p;
}

static uint64_t resident(const struct mapped *m, uint64_t snapshots)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const size_t pages = (snapshots * (uint64_t)m->stride[2] + page - 1) / page;
	unsigned char *there = malloc(pages);
	uint64_t count = 0;

	assert_int_equal(mincore((void *)(uintptr_t)m->base, pages * page, there), 0);
	for (size_t i = 0; i < pages; i++)
		count += there[i] & 1;
	free(there);
	return count * page;
}

static void a_mapping_has_every_number(void **state)
{
	static const struct shape shapes[] = {
		{ D, N, T, WIDTH, SDE_FLOAT64, SDE_CODEC_DEFAULT, 3 },
		{ D, N, T, WIDTH, SDE_FLOAT32, SDE_CODEC_LZ4, 3 },
		{ D, N, T, N, SDE_FLOAT64, SDE_CODEC_DEFAULT, 2 },
		{ 3, 1001, 10, 96, SDE_FLOAT64, SDE_CODEC_NONE, 3 },	/* padded by a few bytes */
		{ 1, 3, 77, 3, SDE_FLOAT64, SDE_CODEC_DEFAULT, 3 },	/* not to be padded */
		{ 3, 5, 4099, 5, SDE_FLOAT32, SDE_CODEC_DEFAULT, 3 },
	};
	static const uint64_t counts[] = { 2000, 3000, 1500, 205, 40000, 20000 };

	(void)state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		const struct shape *s = &shapes[i];
		struct sde_storage *w = begin(s);

		/* the last chunk partly in a file and partly in the ring */
		store(w, s, 0, counts[i] - 3);
		assert_int_equal(sde_storage_save(w), 0);
		store(w, s, counts[i] - 3, counts[i]);
		for (int way = 0; way < 2; way++) {
			struct mapped m;

			open_mapped(&m, way, 4 * (4 << 20), SDE_MAP_HOLE_NAN);
			for (uint64_t k = 0; k < counts[i]; k++)
				for (uint64_t d = 0; d < s->d; d++)
					for (uint64_t n = 0; n < s->n; n++)
						if (at(&m, d, n, k) != (s->dtype == SDE_FLOAT32 ?
						    (double)(float)value(d, n, k) : value(d, n, k)))
							fail_msg("%s, shape %zu: [%d, %d, %d] is %g",
								 way_names[way], i, (int)d, (int)n,
								 (int)k, at(&m, d, n, k));
			assert_int_equal(sde_array_error(m.data, NULL), 0);
			close_mapped(&m);
		}
		assert_int_equal(sde_storage_close(w), 0);
	}
}

/* ------------------------------------------------------------------------
 * Eight threads, all over the place, with hardly any memory
 */

#define SNAPSHOTS 6400		/* 50 chunks */

static void store_usual(void)
{
	struct sde_storage *w = begin(&usual);

	store(w, &usual, 0, SNAPSHOTS);
	assert_int_equal(sde_storage_close(w), 0);
}

struct wanderer {
	const struct mapped *m;
	uint64_t seed, reads, wrong;
	double until;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *wander(void *arg)
{
	struct wanderer *w = arg;

	while (now() < w->until) {
		for (int i = 0; i < 20; i++) {
			const uint64_t k = twin_below(&w->seed, SNAPSHOTS), d = twin_below(&w->seed, D);
			const uint64_t n = twin_below(&w->seed, N);

			/* a few in a row, perhaps over a chunk's end */
			for (uint64_t j = k; j < k + 20 && j < SNAPSHOTS; j++, w->reads++)
				w->wrong += at(w->m, d, n, j) != value(d, n, j);
		}
	}
	return NULL;
}

static void eight_threads_at_random_under_eviction_see_no_wrong_number(void **state)
{
	const double seconds = getenv("SDE_TEST_LONG") ? 30 : 1;
	struct wanderer w[8];
	pthread_t threads[8];

	(void)state;
	store_usual();
	for (int way = 0; way < 2; way++) {
		uint64_t reads = 0, wrong = 0, most = 0;
		struct mapped m;

		open_mapped(&m, way, 8 * UNIT, SDE_MAP_HOLE_NAN);
		for (unsigned i = 0; i < 8; i++) {
			w[i] = (struct wanderer){ &m, i, 0, 0, now() + seconds };
			assert_int_equal(pthread_create(&threads[i], NULL, wander, &w[i]), 0);
		}
		for (double end = now() + seconds; now() < end; usleep(10000)) {
			const uint64_t bytes = resident(&m, SNAPSHOTS);

			most = bytes > most ? bytes : most;
		}
		for (unsigned i = 0; i < 8; i++) {
			pthread_join(threads[i], NULL);
			reads += w[i].reads;
			wrong += w[i].wrong;
		}
		print_message("# %s: 8 threads, %.0f s, %" PRIu64 " reads, %" PRIu64
			      " wrong, at most %" PRIu64 " KiB of %zu\n", way_names[way], seconds, reads,
			      wrong, most >> 10, 8 * UNIT >> 10);
		assert_int_equal(wrong, 0);
		assert_true(reads > 0);
		assert_true(most <= 8 * UNIT);
		assert_int_equal(sde_array_error(m.data, NULL), 0);
		close_mapped(&m);
	}
}

/* ------------------------------------------------------------------------
 * What cannot be read
 */

static void damage_inner(const char *path)
{
	size_t size;
	unsigned char *bytes = scratch_read(path, &size);

	bytes[size / 2] ^= 0x10;
	scratch_write(path, bytes, size);
	free(bytes);
}

static void damaged_numbers_are_nan_and_the_error_is_kept(void **state)
{
	struct sde_error error = { 0 };
	struct mapped m;

	(void)state;
	store_usual();
	damage_inner(PATH "/data/c/0/0/3");
	assert_int_equal(unlink(PATH "/data/c/0/0/7"), 0);
	for (int way = 0; way < 2; way++) {
		unsigned nans[SNAPSHOTS / T] = { 0 };

		open_mapped(&m, way, 8 * UNIT, SDE_MAP_HOLE_DEFAULT);
		for (uint64_t k = 0; k < SNAPSHOTS; k++)
			for (uint64_t i = 0; i < D * N; i++) {
				const double x = at(&m, i / N, i % N, k);

				nans[k / T] += isnan(x) ? 1U : 0U;
				assert_true(isnan(x) || x == value(i / N, i % N, k));
			}
		for (unsigned c = 0; c < SNAPSHOTS / T; c++)
			assert_int_equal(nans[c], c == 3 ? (unsigned)(D * WIDTH * T) : c == 7 ? (unsigned)(D * N * T) : 0U);
		assert_int_equal(sde_array_error(m.data, &error), SDE_E_HOLE);
		twin_assert_sentence(error.text, "c/0/0/7", NULL);
		at(&m, 0, 0, 3 * T);
		assert_int_equal(sde_array_error(m.data, &error), SDE_E_CORRUPT);
		twin_assert_sentence(error.text, "c/0/0/3", NULL);
		close_mapped(&m);
	}
}

static sigjmp_buf back;
static volatile sig_atomic_t caught;

static void jump(int number)
{
	caught = number;
	siglongjmp(back, 1);
}

/* The signal that touching raises; 0. */
static int signal_of(const struct mapped *m, uint64_t k, int write_it)
{
	struct sigaction action = { .sa_handler = jump }, old_bus, old_segv;
	volatile double sink = 0;

	caught = 0;
	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, &action, &old_bus);
	if (write_it)
		sigaction(SIGSEGV, &action, &old_segv);
	if (!sigsetjmp(back, 1)) {
		sink = at(m, 1, 3, k);
		if (write_it)
			*(volatile double *)(uintptr_t)(m->base + (int64_t)k * m->stride[2]) = sink;
	}
	if (write_it)
		sigaction(SIGSEGV, &old_segv, NULL);
	sigaction(SIGBUS, &old_bus, NULL);
	return caught;
}

static void or_raise_sigbus_if_that_is_wanted(void **state)
{
	struct mapped m;

	(void)state;
	store_usual();
	damage_inner(PATH "/data/c/0/0/3");
	for (int way = 0; way < 2; way++) {
		open_mapped(&m, way, 8 * UNIT, SDE_MAP_HOLE_SIGBUS);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(signal_of(&m, 3 * T + 5, 0), SIGBUS);
			assert_int_equal(signal_of(&m, 2 * T + 5, 0), 0);
			assert_int_equal(signal_of(&m, 4 * T + 5, 0), 0);
			assert_int_equal(sde_array_error(m.data, NULL), SDE_E_CORRUPT);
		}
		close_mapped(&m);
	}
}

static void after_a_truncate_what_was_not_read_is_nan_and_stale(void **state)
{
	for (int way = 0; way < 2; way++) {
		struct sde_storage *w = begin(&usual);
		struct mapped m;

		(void)state;
		store(w, &usual, 0, SNAPSHOTS);
		open_mapped(&m, way, 8 * UNIT, SDE_MAP_HOLE_NAN);
		twin_assert_ok(sde_storage_truncate(w, 10 * T), twin_sentence(w));
		assert_true(at(&m, 1, 1, 5) == value(1, 1, 5));
		assert_true(isnan(at(&m, 1, 1, 20 * T)));
		assert_int_equal(sde_array_error(m.data, NULL), SDE_E_STALE);
		close_mapped(&m);
		assert_int_equal(sde_storage_close(w), 0);
	}
}

/* ------------------------------------------------------------------------
 * What older kernels do not have, and containers refuse
 */

/* Is somebody told of segmentation faults? */
static bool has_handler(void)
{
	struct sigaction now;

	return !sigaction(SIGSEGV, NULL, &now) && (now.sa_flags & SA_SIGINFO);
}

/*
 * From now on this process has no such system call, or none with a bit of `flags` in its
 * fourth argument: it fails with `code`. False if that cannot be done.
 */
static bool lose_call(unsigned number, unsigned flags, int code)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, flags, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)code),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog filter = { sizeof(program) / sizeof(program[0]), program };

	if (!flags)	/* whatever it is */
		program[3] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 0, 0, 0);
	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

enum { NO_SECCOMP = 77 };

/* In a process of its own: 0 if all is as it should be. */
static int live_without_userfaultfd(int code)
{
	struct sde_map_options options = SDE_MAP_OPTIONS_INIT;
	struct sde_error error = { 0 };
	const void *base = &error;
	struct mapped m;

	/* as in an older kernel (ENOSYS) and in many containers (EPERM) */
	if (!lose_call(SYS_userfaultfd, 0, code))
		return NO_SECCOMP;
	if (sde_storage_open(&m.storage, PATH, NULL, NULL) ||
	    sde_storage_values(m.storage, NULL, &m.data))
		return 1;
	/* who insists is told */
	if (try_map(&m, 0, 8 * UNIT, SDE_MAP_HOLE_NAN) != SDE_E_UNSUPPORTED || m.base)
		return 2;
	sde_array_error(m.data, &error);
	if (!strstr(error.text, "userfaultfd") || !strstr(error.text, strerror(code)))
		return 3;
	/* who does not gets the other way, for an array beyond the budget */
	options.budget = 8 * UNIT;
	if (sde_array_map_with(m.data, &options, &base, m.stride))
		return 4;
	m.base = base;
	if (!has_handler())
		return 5;
	for (uint64_t k = 0; k < SNAPSHOTS; k++)
		for (uint64_t i = 0; i < D * N; i++)
			if (!(at(&m, i / N, i % N, k) == value(i / N, i % N, k)))
				return 6;
	sde_array_close(m.data);
	return sde_storage_close(m.storage) ? 7 : 0;
}

/* mremap has MREMAP_DONTUNMAP (4) since Linux 5.7. */
static int live_without_dontunmap(int way)
{
	uint64_t most = 0;
	struct mapped m;

	(void)way;
	if (!lose_call(SYS_mremap, 4, EINVAL))
		return NO_SECCOMP;
	if (sde_storage_open(&m.storage, PATH, NULL, NULL) ||
	    sde_storage_values(m.storage, NULL, &m.data) ||
	    try_map(&m, 1, 8 * UNIT, SDE_MAP_HOLE_NAN))
		return 1;
	for (int again = 0; again < 2; again++)
		for (uint64_t k = 0; k < SNAPSHOTS; k++) {
			const uint64_t bytes = k % T ? 0 : resident(&m, SNAPSHOTS);

			most = bytes > most ? bytes : most;
			for (uint64_t i = 0; i < D * N; i++)
				if (!(at(&m, i / N, i % N, k) == value(i / N, i % N, k)))
					return 2;
		}
	if (!most || most > 8 * UNIT)
		return 3;
	close_mapped(&m);
	return 0;
}

/* Nothing can be moved in: each touch raises SIGBUS, whatever is to be seen in holes. */
static int live_without_mremap(int way)
{
	struct sde_error error = { 0 };
	struct mapped m;

	/* the pager's thread inherits it */
	if (!lose_call(SYS_mremap, 0, ENOMEM))
		return NO_SECCOMP;
	if (sde_storage_open(&m.storage, PATH, NULL, NULL) ||
	    sde_storage_values(m.storage, NULL, &m.data) ||
	    try_map(&m, way, 8 * UNIT, SDE_MAP_HOLE_NAN))
		return 1;
	/* each of two parts twice */
	for (uint64_t i = 0; i < 4; i++)
		if (signal_of(&m, i / 2 * T, 0) != SIGBUS)
			return 2;
	if (sde_array_error(m.data, &error) != -ENOMEM || !strstr(error.text, "cannot show a part of"))
		return 3;
	if (sde_array_materialize(m.data, NULL, (const uint64_t[3]){ 1, 1, 1 }) != -ENOMEM)
		return 4;
	close_mapped(&m);
	return 0;
}

/* live(arg) in a process of its own. */
static void assert_lives(int (*live)(int arg), int arg)
{
	const pid_t child = fork();
	int status;

	if (!child) {
		signal(SIGSEGV, SIG_DFL);
		alarm(60);
		exit(live(arg));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SECCOMP) {
		print_message("# no seccomp here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void signals_do_with_an_older_kernel(void **state)
{
	(void)state;
	store_usual();
	assert_lives(live_without_dontunmap, 0);
}

static void what_cannot_be_shown_raises_sigbus(void **state)
{
	(void)state;
	store_usual();
	for (int way = 0; way < 2; way++)
		assert_lives(live_without_mremap, way);
}

static void without_userfaultfd_touches_are_noticed_by_signals(void **state)
{
	(void)state;
	/* more than the budget, and than what is small: it is mapped lazily by itself */
	store_usual();
	assert_lives(live_without_userfaultfd, ENOSYS);
	assert_lives(live_without_userfaultfd, EPERM);
}

/* ------------------------------------------------------------------------
 * Holding
 */

static void what_is_materialized_may_be_written_to_a_file(void **state)
{
	const uint64_t start[3] = { 0, 0, 2 * T }, count[3] = { D, N, 4 * T };
	const uint64_t large[3] = { D, N, 7 * T };
	struct sde_error error = { 0 };
	struct mapped m;
	double *bytes;
	size_t size;
	int fd;

	(void)state;
	store_usual();
	for (int way = 0; way < 2; way++) {
		open_mapped(&m, way, 8 * UNIT, SDE_MAP_HOLE_NAN);
		fd = open("out", O_RDWR | O_CREAT | O_TRUNC, 0666);
		assert_int_equal(write(fd, m.base + start[2] * (size_t)m.stride[2], 4096), -1);
		assert_int_equal(errno, EFAULT);
		assert_int_equal(sde_array_materialize(m.data, start, count), 0);
		/* others come and go, it stays */
		for (uint64_t k = 0; k < SNAPSHOTS; k += T)
			assert_true(at(&m, 0, 7, k) == value(0, 7, k));
		assert_int_equal(write(fd, m.base + start[2] * (size_t)m.stride[2], 4 * UNIT), 4 * UNIT);
		close(fd);
		bytes = (double *)(void *)scratch_read("out", &size);
		assert_int_equal(size, 4 * UNIT);
		for (uint64_t i = 0; i < size / 8; i++)
			assert_true(bytes[i] == value(i / N % D, i % N, 2 * T + i / (D * N)));
		free(bytes);
		/* 8 chunks of budget are 6 in memory, 2 of which must come and go */
		assert_int_equal(sde_array_materialize(m.data, NULL, count), -ENOMEM);
		assert_int_equal(sde_array_error(m.data, &error), -ENOMEM);
		twin_assert_sentence(error.text, "budget", PATH);
		assert_int_equal(sde_array_release(m.data, start, large), -EINVAL);
		assert_int_equal(sde_array_release(m.data, start, count), 0);
		assert_int_equal(sde_array_release(m.data, start, count), -EINVAL);
		assert_int_equal(sde_array_materialize(m.data, NULL, count), 0);
		close_mapped(&m);
	}
}

static void materialize_tells_of_damage(void **state)
{
	const uint64_t start[3] = { 0, 0, 2 * T }, count[3] = { D, N, 2 * T };
	struct mapped m;

	(void)state;
	store_usual();
	damage_inner(PATH "/data/c/0/0/3");
	for (int way = 0; way < 2; way++)
		for (int on_hole = SDE_MAP_HOLE_NAN; on_hole <= SDE_MAP_HOLE_SIGBUS; on_hole++) {
			open_mapped(&m, way, 8 * UNIT, (enum sde_map_hole)on_hole);
			assert_int_equal(sde_array_materialize(m.data, start, count), SDE_E_CORRUPT);
			assert_int_equal(sde_array_release(m.data, start, count), -EINVAL);
			close_mapped(&m);
		}
}

static void what_was_prefetched_is_there(void **state)
{
	const uint64_t start[3] = { 0, 0, 10 * T }, count[3] = { 1, 1, 3 * T };
	struct mapped m;

	(void)state;
	store_usual();
	for (int way = 0; way < 2; way++) {
		open_mapped(&m, way, 8 * UNIT, SDE_MAP_HOLE_NAN);
		assert_int_equal(resident(&m, SNAPSHOTS), 0);
		assert_int_equal(sde_array_prefetch(m.data, start, count), 0);
		for (int i = 0; i < 2000 && resident(&m, SNAPSHOTS) < 3 * UNIT; i++)
			usleep(1000);
		assert_int_equal(resident(&m, SNAPSHOTS), 3 * UNIT);
		/* hints without number or end do no harm, also not to who closes at once */
		for (int i = 0; i < 100; i++)
			assert_int_equal(sde_array_prefetch(m.data, NULL, NULL), 0);
		close_mapped(&m);
	}
}

/* ------------------------------------------------------------------------
 * Processes, signals, arguments
 */

static void a_child_does_not_read_zeros(void **state)
{
	struct mapped m;
	int status;
	pid_t child;

	(void)state;
	store_usual();
	/* not the test program's own handler, which would jump */
	signal(SIGSEGV, SIG_DFL);
	for (int way = 0; way < 2; way++) {
		open_mapped(&m, way, 8 * UNIT, SDE_MAP_HOLE_NAN);
		assert_true(at(&m, 0, 1, 0) == value(0, 1, 0));
		for (uint64_t k = 0; k < SNAPSHOTS; k += SNAPSHOTS - 1) {
			child = fork();
			if (!child) {
				/* a sanitizer's report would only confuse */
				close(2);
				signal(SIGALRM, SIG_DFL);
				alarm(20);
				_exit(at(&m, 0, 1, k) == 0 ? 42 : 43);
			}
			assert_int_equal(waitpid(child, &status, 0), child);
			assert_true((WIFSIGNALED(status) && WTERMSIG(status) != SIGALRM) ||
				    (WEXITSTATUS(status) != 42 && WEXITSTATUS(status) != 43));
		}
		close_mapped(&m);
	}
}

static void a_write_is_a_segmentation_fault(void **state)
{
	struct mapped m;

	(void)state;
	store_usual();
	open_mapped(&m, 0, 8 * UNIT, SDE_MAP_HOLE_NAN);
	assert_int_equal(signal_of(&m, 3, 1), SIGSEGV);
	close_mapped(&m);
}

static void *foreign;

static void foreign_fault(int number, siginfo_t *info, void *context)
{
	(void)number;
	(void)context;
	caught = info->si_addr == foreign ? 1 : 2;
	siglongjmp(back, 1);
}

/* In a process of its own, whose handler is there before ours. */
static int faults_of_others(void)
{
	struct sigaction action = { .sa_sigaction = foreign_fault, .sa_flags = SA_SIGINFO };
	struct mapped m;
	int ok;

	sigemptyset(&action.sa_mask);
	sigaction(SIGSEGV, &action, NULL);
	foreign = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	open_mapped(&m, 1, 8 * UNIT, SDE_MAP_HOLE_NAN);
	ok = at(&m, 0, 1, 0) == value(0, 1, 0);
	caught = 0;
	if (!sigsetjmp(back, 1))
		*(volatile char *)foreign;
	ok = ok && caught == 1;
	caught = 0;
#if defined(__x86_64__)
	/* a write to what is ours but read-only */
	if (!sigsetjmp(back, 1))
		*(volatile double *)(uintptr_t)m.base = 1;
	ok = ok && caught == 2;
#endif
	ok = ok && at(&m, 0, 1, SNAPSHOTS - 1) == value(0, 1, SNAPSHOTS - 1);
	close_mapped(&m);
	return ok;
}

/* A signal as the kernel would send it; to itself a process may. */
static void send_fault(void *address)
{
	siginfo_t info = { 0 };

	info.si_signo = SIGSEGV;
	info.si_code = SEGV_MAPERR;
	info.si_addr = address;
	syscall(SYS_rt_sigqueueinfo, getpid(), SIGSEGV, &info);
}

static void count_plainly(int number)
{
	caught += number == SIGSEGV;
}

/* Before ours there was a handler without information about the fault. */
static int faults_of_plain_handlers(void)
{
	struct mapped m;
	int ok;

	signal(SIGSEGV, count_plainly);
	open_mapped(&m, 1, 8 * UNIT, SDE_MAP_HOLE_NAN);
	caught = 0;
	send_fault(&m);
	ok = caught == 1 && at(&m, 0, 1, 0) == value(0, 1, 0);
	close_mapped(&m);
	return ok;
}

/* There was none: the next fault, or the same again, ends the process. */
static int faults_without_handlers(void)
{
	struct sigaction now;
	struct mapped m;
	int ok;

	signal(SIGSEGV, SIG_DFL);
	open_mapped(&m, 1, 8 * UNIT, SDE_MAP_HOLE_NAN);
	ok = at(&m, 0, 1, 0) == value(0, 1, 0);
	send_fault(&m);
	ok = ok && !sigaction(SIGSEGV, NULL, &now) && now.sa_handler == SIG_DFL;
	close_mapped(&m);
	return ok;
}

static void assert_child(int (*live)(void))
{
	int status;
	pid_t child;

	child = fork();
	if (!child) {
		alarm(60);
		_exit(live() ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void other_ways_to_handle_a_fault_stay_as_they_were(void **state)
{
	(void)state;
	store_usual();
	assert_child(faults_of_plain_handlers);
	assert_child(faults_without_handlers);
}

/* By signals there is a table of so many, and each takes two descriptors. */
static void what_signals_take_may_be_used_up(void **state)
{
	struct rlimit old, few;
	struct sde_error error = { 0 };
	struct mapped m[65];
	int ret;

	(void)state;
	store_usual();
	assert_int_equal(sde_storage_open(&m[0].storage, PATH, NULL, NULL), 0);
	for (int i = 0; i < 65; i++)
		assert_int_equal(sde_storage_values(m[0].storage, NULL, &m[i].data), 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(try_map(&m[i], 1, 8 * UNIT, SDE_MAP_HOLE_NAN), 0);
	assert_int_equal(try_map(&m[64], 1, 8 * UNIT, SDE_MAP_HOLE_NAN), -EMFILE);
	sde_array_error(m[64].data, &error);
	twin_assert_sentence(error.text, "more than 64", NULL);
	/* the last one sees, and leaves room for the next */
	assert_true(at(&m[63], 1, 5, 7) == value(1, 5, 7));
	sde_array_close(m[63].data);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	ret = try_map(&m[64], 1, 8 * UNIT, SDE_MAP_HOLE_NAN);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(ret, -EMFILE);
	assert_int_equal(try_map(&m[64], 1, 8 * UNIT, SDE_MAP_HOLE_NAN), 0);
	assert_true(at(&m[64], 1, 5, 7) == value(1, 5, 7));
	sde_array_close(m[64].data);
	for (int i = 0; i < 63; i++)
		sde_array_close(m[i].data);
	assert_int_equal(sde_storage_close(m[0].storage), 0);
}

static void segmentation_faults_of_others_go_where_they_went(void **state)
{
	int status;
	pid_t child;

	(void)state;
	store_usual();
	child = fork();
	if (!child) {
		alarm(60);
		_exit(faults_of_others() ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void bad_arguments_are_refused(void **state)
{
	struct sde_map_options options = SDE_MAP_OPTIONS_INIT;
	const uint64_t outside[3] = { 0, 0, SNAPSHOTS + 1 };
	struct sde_error error = { 0 };
	const void *base = &error;
	int64_t strides[3];
	struct mapped m;

	(void)state;
	store_usual();
	for (int way = 0; way < 2; way++) {
		assert_int_equal(sde_storage_open(&m.storage, PATH, NULL, NULL), 0);
		assert_int_equal(sde_storage_values(m.storage, NULL, &m.data), 0);
		assert_int_equal(sde_array_materialize(m.data, NULL, NULL), -EINVAL);
		assert_int_equal(sde_array_prefetch(m.data, NULL, NULL), -EINVAL);
		assert_int_equal(try_map(&m, way, 4 * UNIT - 1, SDE_MAP_HOLE_NAN), -ENOMEM);
		assert_null(m.base);
		sde_array_error(m.data, &error);
		twin_assert_sentence(error.text, "262143", "262144");
		assert_int_equal(try_map(&m, way, 4 * UNIT, (enum sde_map_hole)3), -EINVAL);
		options.paging = (enum sde_paging)7;
		assert_int_equal(sde_array_map_with(m.data, &options, &base, strides), -EINVAL);
		assert_null(base);
		options.size = 3;
		assert_int_equal(sde_array_map_with(m.data, &options, &base, strides), -EINVAL);
		assert_int_equal(sde_array_map_with(NULL, NULL, &base, strides), -EINVAL);
		/* and none of it spoils the handle */
		assert_int_equal(try_map(&m, way, 4 * UNIT, SDE_MAP_HOLE_NAN), 0);
		for (uint64_t k = 0; k < SNAPSHOTS; k += 100)
			assert_true(at(&m, 1, 5, k) == value(1, 5, k));
		assert_int_equal(sde_array_materialize(m.data, outside, NULL), -ERANGE);
		sde_array_error(m.data, &error);
		twin_assert_sentence(error.text, "start 6401", "axis 2 of length 6400");
		assert_int_equal(sde_array_prefetch(m.data, outside, NULL), -ERANGE);
		assert_int_equal(sde_array_release(m.data, NULL, NULL), -EINVAL);
		close_mapped(&m);
	}
}

static void addresses_that_are_not_to_be_had_are_an_error(void **state)
{
	struct sde__pager_source source = { .bytes = (uint64_t)1 << 62, .unit = UNIT, .name = "it" };
	struct sde__pager *pager;
	struct sde_error error = { 0 };

	(void)state;
	assert_int_equal(sde__pager_new(&pager, &source, 8 * UNIT, false, SDE_PAGING_DEFAULT, &error),
			 -ENOMEM);
	assert_null(pager);
	twin_assert_sentence(error.text, "addresses", NULL);
	/* so many parts that the list of them is more than the budget */
	source.bytes = (uint64_t)1 << 40;
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde__pager_new(&pager, &source, 8 * UNIT, false, SDE_PAGING_DEFAULT, &error),
			 -ENOMEM);
	assert_null(pager);
	twin_assert_sentence(error.text, "budget of 524288", "16777216 parts");
	/* fits into the arithmetic, but not into what a process has */
	source.bytes = (uint64_t)1 << 62;
	source.unit = (size_t)1 << 40;
	memset(&error, 0, sizeof(error));
	assert_int_equal(sde__pager_new(&pager, &source, (size_t)1 << 43, false, SDE_PAGING_DEFAULT,
					&error), -ENOMEM);
	assert_null(pager);
	twin_assert_sentence(error.text, "addresses", NULL);
}

/* In a process of its own, which may have no more addresses than it has. */
static int map_without_addresses(int way)
{
	const struct rlimit none = { 0, RLIM_INFINITY };
	struct sde_error error = { 0 };
	struct mapped m;

	if (sde_storage_open(&m.storage, PATH, NULL, NULL) ||
	    sde_storage_values(m.storage, NULL, &m.data) || setrlimit(RLIMIT_AS, &none))
		return 1;
	if (try_map(&m, way, 8 * UNIT, SDE_MAP_HOLE_NAN) != -ENOMEM || m.base)
		return 2;
	sde_array_error(m.data, &error);
	return strstr(error.text, "no 3276800 bytes of addresses") ? 0 : 3;
}

/* The signal that a touch raises when this process may have `bytes` of addresses. */
static int signal_within(const struct mapped *m, uint64_t k, rlim_t bytes)
{
	const struct rlimit limit = { bytes, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	volatile double sink = 0;

	caught = 0;
	if (setrlimit(RLIMIT_AS, &limit))
		return -1;
	if (!sigsetjmp(back, 1))
		sink = at(m, 1, 3, k);
	(void)sink;
	return setrlimit(RLIMIT_AS, &none) ? -1 : caught;
}

/* As much as it has now: what is there may be replaced, and nothing comes to it. */
static rlim_t addresses(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	if (!file || fscanf(file, "%lu", &pages) != 1)
		pages = 0;
	if (file)
		fclose(file);
	return pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

/* What cannot be had when it is touched is lost, never zeros, and goes on being lost. */
static int touch_without_memory(int way)
{
	struct sigaction action = { .sa_handler = jump };
	struct sde_error error = { 0 };
	struct mapped m;

	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, NULL) || sigaction(SIGSEGV, &action, NULL) ||
	    sde_storage_open(&m.storage, PATH, NULL, NULL) ||
	    sde_storage_values(m.storage, NULL, &m.data) ||
	    try_map(&m, way, 8 * UNIT, SDE_MAP_HOLE_NAN))
		return 1;
	if (signal_within(&m, 0, addresses()) != SIGBUS)
		return 2;
	if (sde_array_error(m.data, &error) != -ENOMEM || !strstr(error.text, "no memory for a part of"))
		return 3;
	/* not even what raises SIGBUS */
	for (int again = 0; again < 2; again++)
		if (signal_within(&m, 20 * T, 0) != SIGSEGV)
			return 4;
	if (signal_within(&m, 0, RLIM_INFINITY) != SIGBUS || !(at(&m, 1, 3, 40 * T) == value(1, 3, 40 * T)))
		return 5;
	close_mapped(&m);
	return 0;
}

/* Without addresses each way has a life of its own. */
static void assert_lives_without_addresses(int (*live)(int way))
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	print_message("a sanitizer needs addresses itself\n");
	skip();
#endif
	store_usual();
	for (int way = 0; way < 2; way++)
		assert_lives(live, way);
}

static void what_there_is_no_memory_for_is_never_zero(void **state)
{
	(void)state;
	assert_lives_without_addresses(touch_without_memory);
}

static void nor_are_those_of_a_store(void **state)
{
	(void)state;
	assert_lives_without_addresses(map_without_addresses);
}

static void mapping_and_closing_leaves_nothing_behind(void **state)
{
	unsigned before;
	struct mapped m;

	(void)state;
	store_usual();
	before = scratch_open_files();
	for (int i = 0; i < 200; i++) {
		open_mapped(&m, i % 2, 4 * UNIT, SDE_MAP_HOLE_NAN);
		assert_true(at(&m, 1, 5, 77) == value(1, 5, 77));
		close_mapped(&m);
	}
	assert_int_equal(scratch_open_files(), before);
}

static void units_are_whole_pages_and_whole_chunks_where_that_is_cheap(void **state)
{
	uint64_t seed = 9, stride, unit, aligned = 0;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		struct sde__geometry g = { 1 + twin_below(&seed, 5), 1 + twin_below(&seed, 3000),
					   1 + twin_below(&seed, 3000), 0,
					   twin_below(&seed, 2) ? SDE_FLOAT64 : SDE_FLOAT32, 0 };
		const uint64_t snapshot = sde__snapshot_bytes(&g);
		const size_t page = i % 2 ? 4096 : 65536;

		sde__pages_layout(&g, page, &stride, &unit);
		assert_true(stride >= snapshot && stride <= snapshot + snapshot / 8);
		assert_int_equal(stride % sde__dtype_size(g.dtype), 0);
		assert_int_equal(unit % page, 0);
		assert_true(unit >= UNIT);
		assert_true(unit >= g.chunk_size * stride);
		assert_true(unit < 2 * g.chunk_size * stride + 2 * UNIT);
		aligned += unit % (g.chunk_size * stride) == 0;
	}
	assert_true(aligned > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_mapping_has_every_number),
		SCRATCH_TEST(eight_threads_at_random_under_eviction_see_no_wrong_number),
		SCRATCH_TEST(damaged_numbers_are_nan_and_the_error_is_kept),
		SCRATCH_TEST(or_raise_sigbus_if_that_is_wanted),
		SCRATCH_TEST(after_a_truncate_what_was_not_read_is_nan_and_stale),
		SCRATCH_TEST(without_userfaultfd_touches_are_noticed_by_signals),
		SCRATCH_TEST(signals_do_with_an_older_kernel),
		SCRATCH_TEST(what_cannot_be_shown_raises_sigbus),
		SCRATCH_TEST(what_is_materialized_may_be_written_to_a_file),
		SCRATCH_TEST(materialize_tells_of_damage),
		SCRATCH_TEST(what_was_prefetched_is_there),
		SCRATCH_TEST(a_child_does_not_read_zeros),
		SCRATCH_TEST(a_write_is_a_segmentation_fault),
		SCRATCH_TEST(segmentation_faults_of_others_go_where_they_went),
		SCRATCH_TEST(other_ways_to_handle_a_fault_stay_as_they_were),
		SCRATCH_TEST(what_signals_take_may_be_used_up),
		SCRATCH_TEST(bad_arguments_are_refused),
		cmocka_unit_test(addresses_that_are_not_to_be_had_are_an_error),
		SCRATCH_TEST(nor_are_those_of_a_store),
		SCRATCH_TEST(what_there_is_no_memory_for_is_never_zero),
		SCRATCH_TEST(mapping_and_closing_leaves_nothing_behind),
		cmocka_unit_test(units_are_whole_pages_and_whole_chunks_where_that_is_cheap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
