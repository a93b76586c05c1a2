/* SPDX-License-Identifier: MIT */
/*
 * Somebody shortens a file of the ring in the middle of a run. Without the guard
 * that is SIGBUS, as the manual says; with it an error that names the file; and
 * whoever looks at what is left is told what is wrong, and gets what is published.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "numbered.h"
#include "publisher_state.h"
#include "scratch.h"
#include "twin.h"
#include "zarr_storage.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STORE "run.zarr"
#define RING STORE "/data/.ring/"
#define T 4
/* a snapshot has 8 KiB: no two slots share a page */
static const struct numbered numbers = { { 1, 1024, SDE_FLOAT64 }, 1, { 0 } };

/* Shared with a child: how it went on. */
enum ending { ENDED_WRONG = 1, ENDED_AS_IT_SHOULD = 7 };

struct scene {
	const char *cut;		/* a file of the ring */
	enum sde_sigbus_guard guard;
	bool synchronous;
	uint64_t saved, stored;		/* before it is cut */
};

static int begin(const struct scene *scene, struct sde_storage **storage)
{
	const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = scene->synchronous };
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	int ret;

	o.chunk_size = T;
	o.threads = 1;
	o.sync = SDE_SYNC_PUBLISH;
	o.ring_io = SDE_RING_IO_MAPPED;
	o.sigbus_guard = scene->guard;
	ret = sde__zarr_create(storage, STORE, &numbers.ensemble, &o, &hooks, NULL);
	for (uint64_t i = 0; i < scene->stored && !ret; i++) {
		ret = numbered_store(&numbers, *storage, SDE_LAYOUT_DEFAULT, i, i % 2);
		if (!ret && i + 1 == scene->saved)
			ret = sde_storage_save(*storage);
	}
	return ret ? ret : truncate(scene->cut, 0) ? -errno : 0;
}

/* How a child ends that begins the scene and then does `act`. */
static int play(const struct scene *scene, int (*act)(struct sde_storage *storage, uint64_t next))
{
	const pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		struct sde_storage *storage;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* not cmocka's handler, nor a sanitizer's */
		signal(SIGBUS, SIG_DFL);
		if (begin(scene, &storage))
			_exit(ENDED_WRONG);
		_exit(act(storage, scene->stored));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static bool names(struct sde_storage *storage, const char *file)
{
	struct sde_error error = { 0 };

	sde_storage_error(storage, &error);
	return error.code == -EIO && strstr(error.text, file) && strstr(error.text, "shortened");
}

static int store_on(struct sde_storage *storage, uint64_t next)
{
	for (uint64_t i = next; i < next + 3 * T; i++)
		numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, i, false);
	return ENDED_WRONG;
}

/* Refused, and so is everything that needs what is gone; close leaves the ring. */
static int store_is_refused(struct sde_storage *storage, uint64_t next)
{
	int ret;

	if (numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, next, false) != -EIO ||
	    !names(storage, "'data/.ring/segment.1'"))
		return ENDED_WRONG;
	ret = numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, next, false);
	if (ret != -EIO || sde_storage_save(storage) != -EIO ||
	    !names(storage, "'data/.ring/segment.1'"))
		return ENDED_WRONG;
	return sde_storage_close(storage) == -EIO ? ENDED_AS_IT_SHOULD : ENDED_WRONG;
}

static int counter_is_refused(struct sde_storage *storage, uint64_t next)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	if (numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, next, false) != -EIO ||
	    !names(storage, "'data/.ring/header'"))
		return ENDED_WRONG;
	/* info does not touch the file */
	if (sde_storage_info(storage, &info) || info.committed != next)
		return ENDED_WRONG;
	return sde_storage_close(storage) ? ENDED_AS_IT_SHOULD : ENDED_WRONG;
}

static int save_is_refused(struct sde_storage *storage, uint64_t next)
{
	(void)next;
	if (sde_storage_save(storage) != -EIO || !names(storage, "'data/.ring/segment.0'"))
		return ENDED_WRONG;
	return sde_storage_close(storage) == -EIO ? ENDED_AS_IT_SHOULD : ENDED_WRONG;
}

static int write_into_a_slot(struct sde_storage *storage, uint64_t next)
{
	void *slot;

	if (sde_storage_reserve(storage, next, &slot))
		return ENDED_WRONG;
	memset(slot, 1, 1024 * sizeof(double));
	return ENDED_WRONG;
}

/* What is left: a clear word, and with ring discard what is published. */
static void check_left(uint64_t published, const char *cut)
{
	struct sde_open_options discard = SDE_OPEN_OPTIONS_INIT;
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error error = { 0 };
	struct sde_storage *storage;
	char why[400] = "";

	twin_assert_is(sde_storage_open(&storage, STORE, NULL, &error), SDE_E_CORRUPT, error.text);
	twin_assert_sentence(error.text, cut, "discard");
	memset(&error, 0, sizeof(error));
	twin_assert_is(sde_zarr_storage_resume(&storage, STORE, NULL, &error), SDE_E_CORRUPT,
		       error.text);
	twin_assert_sentence(error.text, cut, "discard");
	memset(&error, 0, sizeof(error));
	discard.ring = SDE_RING_DISCARD;
	twin_assert_ok(sde_storage_open(&storage, STORE, &discard, &error), error.text);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_true(info.committed >= published);
	if (!numbered_check(&numbers, storage, info.committed, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(sde_storage_close(storage), 0);
	options.ring = SDE_RING_DISCARD;
	twin_assert_ok(sde_zarr_storage_resume(&storage, STORE, &options, &error), error.text);
	assert_int_equal(numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, info.committed, false),
			 0);
	assert_int_equal(sde_storage_close(storage), 0);
}

static void assert_killed_by_sigbus(int status)
{
#if defined(__SANITIZE_ADDRESS__)
	/* whose handler stands for the kernel's, if it was there first */
	if (WIFEXITED(status) && WEXITSTATUS(status) != ENDED_WRONG)
		return;
#endif
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void without_the_guard_it_is_sigbus(void **state)
{
	const struct scene scene = { RING "segment.1", SDE_SIGBUS_GUARD_OFF, false, 3, 5 };

	(void)state;
	assert_killed_by_sigbus(play(&scene, store_on));
	check_left(3, "segment.1");
}

static void with_the_guard_store_is_refused(void **state)
{
	for (int synchronous = 0; synchronous < 2; synchronous++) {
		const struct scene scene = { RING "segment.1", SDE_SIGBUS_GUARD_ON, synchronous, 3, 5 };
		const int status = play(&scene, store_is_refused);

		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), ENDED_AS_IT_SHOULD);
		check_left(3, "segment.1");
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), STORE), 0);
	}
	(void)state;
}

static void with_the_guard_a_lost_header_is_an_error(void **state)
{
	const struct scene scene = { RING "header", SDE_SIGBUS_GUARD_ON, false, 3, 5 };
	const int status = play(&scene, counter_is_refused);

	(void)state;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), ENDED_AS_IT_SHOULD);
	check_left(3, "header");
}

/* What workers read: times and states, and the numbers. */
static void with_the_guard_save_is_refused(void **state)
{
	for (int synchronous = 0; synchronous < 2; synchronous++) {
		const struct scene scene = { RING "segment.0", SDE_SIGBUS_GUARD_ON, synchronous, 0, 3 };
		const int status = play(&scene, save_is_refused);

		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), ENDED_AS_IT_SHOULD);
		check_left(0, "segment.0");
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), STORE), 0);
	}
	(void)state;
}

/* ------------------------------------------------------------------------
 * What is copied from one run to the next: the exact last snapshot, the chunk that is
 * not complete
 */

/* Cuts a file of the ring off just before a call. */
static struct cutter {
	const char *call, *name, *cut;
} cutter;

static void cut_before(void *ctx, const char *call, const char *name)
{
	struct cutter *c = ctx;

	if (c->call && !strcmp(call, c->call) && !strcmp(name, c->name)) {
		c->call = NULL;
		if (truncate(c->cut, 0))
			_exit(ENDED_WRONG);
	}
}

static struct fault_io fault;
static struct sde__publisher *publisher;

static void options_with_keepbits(struct sde_zarr_options *o)
{
	*o = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	o->threads = 1;
	o->ring_io = SDE_RING_IO_MAPPED;
	o->sigbus_guard = SDE_SIGBUS_GUARD_ON;
	fault_io_init(&fault);
	fault.before = cut_before;
	fault.before_ctx = &cutter;
}

static struct sde_storage *stored(uint64_t count, bool saved)
{
	const struct sde__zarr_hooks hooks = { .io = &fault.io, .synchronous = true,
					       .publisher = &publisher };
	struct sde_zarr_options o;
	struct sde_storage *storage;
	int ret;

	options_with_keepbits(&o);
	o.chunk_size = T;
	o.keepbits = 20;
	ret = sde__zarr_create(&storage, STORE, &numbers.ensemble, &o, &hooks, NULL);
	for (uint64_t i = 0; i < count && !ret; i++)
		ret = numbered_store(&numbers, storage, SDE_LAYOUT_DEFAULT, i, i % 2);
	if (!ret && saved)
		ret = sde_storage_save(storage);
	if (ret)
		_exit(ENDED_WRONG);
	return storage;
}

static int end(struct sde_storage *storage, int ret, const char *file)
{
	if (ret != -EIO || !names(storage, file))
		return ENDED_WRONG;
	return sde_storage_close(storage) ? ENDED_AS_IT_SHOULD : ENDED_WRONG;
}

static int last_of_a_cut_segment(void)
{
	struct sde_storage *storage = stored(T + 1, true);
	static double x[1024];
	int exact, ret;

	if (sde_storage_last(storage, x, sizeof(x), &exact) || !exact || truncate(RING "segment.1", 0))
		return ENDED_WRONG;
	ret = sde_storage_last(storage, x, sizeof(x), &exact);
	if (ret != -EIO || !names(storage, "'data/.ring/segment.1'"))
		return ENDED_WRONG;
	/* it is in a file: nothing more needs the slot */
	return sde_storage_close(storage) ? ENDED_WRONG : ENDED_AS_IT_SHOULD;
}

/* Its numbers are in a chunk file, the exact ones in the ring alone. */
static int save_of_a_cut_last(void)
{
	struct sde_storage *storage = stored(T, false);
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	pthread_mutex_lock(&publisher->lock);
	while (sde__publisher_step(publisher, SDE__ROLES, publisher->raw))
		;
	pthread_mutex_unlock(&publisher->lock);
	if (sde_storage_info(storage, &info) || info.sealed != T || truncate(RING "segment.0", 0))
		return ENDED_WRONG;
	return end(storage, sde_storage_save(storage), "'data/.ring/segment.0'");
}

/* The numbers have been encoded, times and states are still to be copied. */
static int seal_of_a_cut_chunk(void)
{
	struct sde_storage *storage = stored(T, false);

	pthread_mutex_lock(&publisher->lock);
	while (sde__publisher_step(publisher, SDE__ROLE_ENCODE, publisher->raw))
		;
	pthread_mutex_unlock(&publisher->lock);
	if (truncate(RING "segment.0", 0))
		return ENDED_WRONG;
	return end(storage, sde_storage_save(storage), "'data/.ring/segment.0'");
}

static int truncate_to_a_cut_last(void)
{
	struct sde_storage *storage = stored(T + 2, true);

	if (truncate(RING "segment.1", 0))
		return ENDED_WRONG;
	if (sde_storage_truncate(storage, T + 1) != -EIO ||
	    !names(storage, "'data/.ring/segment.1'"))
		return ENDED_WRONG;
	/* nothing has been cut down, and all is saved */
	return sde_storage_close(storage) ? ENDED_WRONG : ENDED_AS_IT_SHOULD;
}

static int truncate_into_a_cut_segment(void)
{
	struct sde_storage *storage = stored(T + 2, true);

	cutter = (struct cutter){ "rename_at", "zarr.json.tmp", RING "segment.1" };
	return end(storage, sde_storage_truncate(storage, T + 1), "'data/.ring/segment.1'");
}

static int resume_into_a_cut_segment(void)
{
	struct sde_storage *storage = stored(T + 2, false);
	const struct sde__zarr_hooks hooks = { .io = &fault.io, .synchronous = true };
	struct sde_error error = { 0 };
	struct sde_zarr_options o;
	int ret;

	if (sde_storage_close(storage))
		return ENDED_WRONG;
	options_with_keepbits(&o);
	cutter = (struct cutter){ "allocate", "header.tmp", RING "segment.1" };
	ret = sde__zarr_resume(&storage, STORE, &o, &hooks, &error);
	return ret == -EIO && strstr(error.text, "'data/.ring/segment.1'") &&
	       strstr(error.text, "shortened") ? ENDED_AS_IT_SHOULD : ENDED_WRONG;
}

static void with_the_guard_what_is_carried_over_is_refused(void **state)
{
	static int (*const act[])(void) = {
		last_of_a_cut_segment, save_of_a_cut_last, seal_of_a_cut_chunk,
		truncate_to_a_cut_last, truncate_into_a_cut_segment, resume_into_a_cut_segment,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(act) / sizeof(act[0]); i++) {
		pid_t child;
		int status;

		fflush(NULL);
		child = fork();
		assert_true(child >= 0);
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			signal(SIGBUS, SIG_DFL);
			_exit(act[i]());
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != ENDED_AS_IT_SHOULD)
			fail_msg("case %zu ended with status %x", i, (unsigned)status);
		assert_int_equal(sde__io_remove_tree(&sde__io_posix, scratch_directory(), STORE), 0);
	}
}

static void what_the_caller_writes_is_not_guarded(void **state)
{
	const struct scene scene = { RING "segment.1", SDE_SIGBUS_GUARD_ON, false, 3, 5 };

	(void)state;
	assert_killed_by_sigbus(play(&scene, write_into_a_slot));
}

static void a_reader_of_a_cut_ring_is_told(void **state)
{
	const uint64_t start[3] = { 0, 0, 4 }, count[3] = { 1, 1024, 1 };
	const struct scene scene = { RING "segment.1", SDE_SIGBUS_GUARD_ON, true, 0, 6 };
	struct sde_storage *storage = NULL, *reader = NULL;
	struct sde_array *data = NULL;
	struct sde_error error = { 0 };
	static double values[1024];
	struct scene whole = scene;

	(void)state;
	whole.cut = "something else";
	scratch_write("something else", "", 0);
	assert_int_equal(begin(&whole, &storage), 0);
	twin_assert_ok(sde_storage_open(&reader, STORE, NULL, &error), error.text);
	twin_assert_ok(sde_storage_values(reader, NULL, &data), twin_sentence(reader));
	assert_int_equal(sde_array_read(data, start, count, NULL, values, sizeof(values)), 0);
	assert_int_equal(truncate(scene.cut, 0), 0);
	assert_int_equal(sde_array_read(data, start, count, NULL, values, sizeof(values)),
			 SDE_E_CORRUPT);
	sde_array_error(data, &error);
	twin_assert_sentence(error.text, "'data/.ring/segment.1'", "truncated");
	sde_array_close(data);
	assert_int_equal(sde_storage_close(reader), 0);
	assert_int_equal(sde_storage_close(storage), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(without_the_guard_it_is_sigbus),
		SCRATCH_TEST(with_the_guard_store_is_refused),
		SCRATCH_TEST(with_the_guard_a_lost_header_is_an_error),
		SCRATCH_TEST(with_the_guard_save_is_refused),
		SCRATCH_TEST(with_the_guard_what_is_carried_over_is_refused),
		SCRATCH_TEST(what_the_caller_writes_is_not_guarded),
		/* last: it installs the guard in this process */
		SCRATCH_TEST(a_reader_of_a_cut_ring_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
