/* SPDX-License-Identifier: MIT */
/*
 * Promise 4, by exhaustion: in a bounded workload the n-th call to the system fails,
 * and the n-th allocation, for every n, once and for good. Whatever fails,
 *
 *	gives its code, and a text that names the file (or says out of memory),
 *	leaks nothing: no memory, no handle, no mapping,
 *	loses nothing whose store returned,
 *	and when the fault is gone, save on the same storage completes the store, to
 *	new files; or it is closed, and resumed.
 *
 * A workload is a script of steps, below. A step that failed is done again when the
 * fault is gone, so that every attempt ends with the same whole store.
 *
 * Environment: SDE_TEST_FAULT=n begins with the n-th call (and with SDE_TEST_ONE=1
 * ends there), to repeat what was found; SDE_TEST_LONG=1 adds sizes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_io.h"
#include "fault_memory.h"
#include "npz_export.h"
#include "npz_open.h"
#include "numpy_storage.h"
#include "oracle.h"
#include "scratch.h"
#include "zarr_storage.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define PATH "run.zarr"
#define NPZ "run.npz"
#define SNAPSHOTS_MAX 64
#define VALUES_MAX (2 * 10)	/* numbers a snapshot */

enum op {
	END, CREATE, RESUME, OPEN, STORE, SAVE, SYNC, LOOK, VERIFY, TRUNCATE, CLOSE,
	NUMPY, OPEN_NPZ, EXPORT,
};
static const char *const op_name[] = {
	"end", "create", "resume", "open", "store", "save", "sync", "look", "verify",
	"truncate", "close", "numpy", "open npz", "export",
};

/* `to`: store until, truncate to so many snapshots. */
struct step {
	enum op op;
	uint64_t to;
};

enum mode {
	ONCE,		/* and then save puts it right */
	FOR_GOOD,	/* until save is to put it right */
	UNTIL_CLOSED,	/* the storage is closed, and resumed when the fault is gone */
	MODES
};
static const char *const mode_name[] = { "once", "for good", "until closed" };

struct script {
	const char *name;
	struct step before[12];	/* without a fault; then everything is dropped */
	struct step steps[24];
	bool crash;		/* what `before` left open is left as a killed process does */
};

/* The fault of one attempt. */
struct attempt {
	const struct script *script;
	bool memory;
	int error;		/* an errno */
	enum mode mode;
	unsigned long n;
	bool threads;
};

struct world {
	struct fault_io fault;
	struct oracle oracle;
	uint32_t generation[SNAPSHOTS_MAX];
	uint32_t now;		/* generation of what is stored next */
	struct sde_zarr_options options;
	struct sde__zarr_hooks hooks;
	const struct attempt *attempt;
	struct sde_storage *storage;
	bool read_only, numpy;
	uint64_t count;		/* snapshots whose store returned, less those truncated */
	uint64_t synced;	/* of which were on the device when the process died */
	uint64_t saved;		/* of which a NumPy file has */
	struct sde_error why;	/* of the step that failed */
};

static struct {
	unsigned long attempts, calls, failures;
} tally;

static struct world world;
static bool warming;
static size_t shortest;		/* bytes that one call moves; 0: all */
static struct {
	size_t count;		/* calls; 0: not known */
	bool futile[FAULT_IO_EVENTS];	/* need not fail */
	bool first[FAULT_MEMORY_SITES];	/* of its place in the program: never left out */
	size_t places;
} planned;

/* ------------------------------------------------------------------------
 * Failing
 */

static _Noreturn void give_up(const struct world *w, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static _Noreturn void give_up(const struct world *w, const char *format, ...)
{
	const struct attempt *a = w->attempt;
	const struct fault_event *e = &w->fault.event[w->fault.failed];
	char text[512];
	va_list arguments;

	fault_memory_disarm();
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	print_error("%s\n(workload '%s', format %u, sync %d%s: %s %lu, %s %s, fails %s with %s)\n",
		    text, a->script->name, w->options.zarr_format, (int)w->options.sync,
		    a->threads ? ", threads" : "", a->memory ? "allocation" : "call", a->n,
		    a->memory ? "" : e->call, a->memory ? "" : e->name, mode_name[a->mode],
		    strerror(a->error));
	fail();
	abort();
}

static void arm(struct world *w)
{
	const struct attempt *a = w->attempt;

	if (a->memory)
		fault_memory_arm(a->n, a->mode != ONCE);
	else
		fault_io_arm(&w->fault, a->n, a->error, a->mode != ONCE);
}

static void disarm(struct world *w)
{
	fault_memory_disarm();
	w->fault.fail_at = 0;
}

static bool fired(const struct world *w)
{
	return w->attempt->memory ? fault_memory.fired : w->fault.fired;
}

/* Allocate and look on without being failed. */
static unsigned long suspend(struct world *w)
{
	const unsigned long at = w->attempt->memory ? fault_memory.fail_at : w->fault.fail_at;

	fault_memory.counting = false;
	w->fault.fail_at = 0;
	return at;
}

static void go_on(struct world *w, unsigned long at)
{
	if (w->attempt->memory) {
		fault_memory.fail_at = at;
		fault_memory.counting = true;
	} else
		w->fault.fail_at = at;
}

/* ------------------------------------------------------------------------
 * Steps
 */

static int note(struct world *w, int ret)
{
	if (ret && w->storage && !w->why.code)
		sde_storage_error(w->storage, &w->why);
	return ret;
}

static int note_array(struct world *w, const struct sde_array *array, int ret)
{
	if (ret && !w->why.code)
		sde_array_error(array, &w->why);
	return ret;
}

static int store_upto(struct world *w, uint64_t to)
{
	static uint64_t values[VALUES_MAX];
	int ret;

	while (w->count < to) {
		w->generation[w->count] = w->now;
		ret = oracle_store(&w->oracle, w->storage, w->count, w->options.layout,
				   w->count % 3 != 1, values);
		if (ret) {
			struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
			const unsigned long at = suspend(w);

			/* of policy snapshot, the one whose own sync failed may be kept */
			note(w, ret);
			assert_int_equal(sde_storage_info(w->storage, &info), 0);
			if (info.committed == w->count + 1 && w->options.sync == SDE_SYNC_SNAPSHOT)
				w->count++;
			else if (info.committed != w->count)
				give_up(w, "%" PRIu64 " snapshots are committed, %" PRIu64
					" were stored", info.committed, w->count);
			go_on(w, at);
			return ret;
		}
		w->count++;
	}
	return 0;
}

/* Everything, by every way: copied and mapped. */
static int look(struct world *w)
{
	static uint64_t data[VALUES_MAX * SNAPSHOTS_MAX];
	const uint64_t counts[3] = { w->oracle.ensemble.dimension, w->oracle.ensemble.trajectories,
				     w->count };
	struct sde_array *time = NULL, *values = NULL, *iteration = NULL;
	uint64_t numbers[SNAPSHOTS_MAX];
	int64_t strides[3];
	const void *base;
	int ret;

	ret = note(w, sde_storage_values(w->storage, &time, &values));
	if (!ret)
		ret = note(w, sde_storage_iterations(w->storage, &iteration));
	if (!ret)
		ret = note_array(w, time, sde_array_read(time, NULL, NULL, NULL, numbers,
							 w->count * 8));
	if (!ret)
		ret = note_array(w, iteration, sde_array_read(iteration, NULL, NULL, NULL, numbers,
							      w->count * 8));
	if (!ret)
		ret = note_array(w, values, sde_array_read(values, NULL, counts, NULL, data,
							   oracle_bytes(&w->oracle) * w->count));
	if (!ret)
		ret = note_array(w, values, sde_array_map(values, (size_t)1 << 20, &base, strides));
	if (ret == SDE_E_UNSUPPORTED && !w->numpy)
		ret = 0;	/* compressed chunks have no plain memory */
	sde_array_close(time);
	sde_array_close(values);
	sde_array_close(iteration);
	return ret;
}

static int export(struct world *w)
{
	struct sde_npz_options options = SDE_NPZ_OPTIONS_INIT;
	struct sde_array *time = NULL, *values = NULL, *iteration = NULL;
	int ret;

	options.overwrite = 1;
	options.threads = 1;
	ret = note(w, sde_storage_values(w->storage, &time, &values));
	if (!ret)
		ret = note(w, sde_storage_iterations(w->storage, &iteration));
	if (!ret)
		ret = sde__npz_export(&w->fault.io, NPZ, time, values, iteration, &options, &w->why);
	sde_array_close(time);
	sde_array_close(values);
	sde_array_close(iteration);
	return ret;
}

static int create_numpy(struct world *w)
{
	struct sde_numpy_options options = SDE_NUMPY_OPTIONS_INIT;

	options.save_directory = NPZ;
	options.overwrite = 1;
	options.threads = 1;
	return sde__numpy_create(&w->storage, &w->oracle.ensemble, &options, &w->fault.io, &w->why);
}

static int truncate_to(struct world *w, uint64_t to)
{
	const int ret = note(w, sde_storage_truncate(w->storage, to));

	if (!ret) {
		w->count = to;
		w->now++;
	}
	return ret;
}

static int close_it(struct world *w)
{
	struct sde_storage *storage = w->storage;

	w->storage = NULL;
	w->read_only = false;
	return sde_storage_close_error(storage, &w->why);
}

static int do_step(struct world *w, const struct step *step)
{
	memset(&w->why, 0, sizeof(w->why));
	switch (step->op) {
	case CREATE:
		return sde__zarr_create(&w->storage, PATH, &w->oracle.ensemble, &w->options,
					&w->hooks, &w->why);
	case RESUME: {
		struct sde_zarr_options options = w->options;

		options.overwrite = 0;
		options.attributes = options.time_units = NULL;
		return sde__zarr_resume(&w->storage, PATH, &options, &w->hooks, &w->why);
	}
	case OPEN:
		w->read_only = true;
		return sde__zarr_open(&w->storage, PATH, NULL, &w->hooks, &w->why);
	case NUMPY:
		return create_numpy(w);
	case OPEN_NPZ:
		w->read_only = true;
		return sde__npz_storage_open(&w->storage, NPZ, NULL, &w->fault.io, &w->why);
	case STORE:
		return store_upto(w, step->to);
	case SAVE:
		return note(w, sde_storage_save(w->storage));
	case SYNC:
		return note(w, sde_storage_sync(w->storage));
	case LOOK:
		return look(w);
	case VERIFY:
		return note(w, sde_storage_verify(w->storage, NULL));
	case TRUNCATE:
		return truncate_to(w, step->to);
	case CLOSE:
		return close_it(w);
	case EXPORT:
		return export(w);
	case END:
		break;
	}
	return 0;
}

static bool begins(enum op op)
{
	return op == CREATE || op == RESUME || op == OPEN || op == NUMPY || op == OPEN_NPZ;
}

/* ------------------------------------------------------------------------
 * What must hold
 */

/* Code and text of the step that failed. */
static void judge(struct world *w, const struct step *step, int ret)
{
	const struct attempt *a = w->attempt;
	const char *text = w->why.text;
	bool named = strchr(text, '\'') || !strncmp(text, "out of memory", 13) ||
		     (ret == -ENOMEM && strstr(text, ": Cannot allocate memory"));

	tally.failures++;
	if (!a->memory && !strcmp(w->fault.event[w->fault.failed].call, "random"))
		named = named || !strncmp(text, "no random numbers", 17);
	if (a->memory && !strncmp(text, "cannot start a thread", 21))
		return;
	if (!fired(w))
		give_up(w, "%s gives %d without a fault: '%s'", op_name[step->op], ret, text);
	if (ret != -a->error || w->why.code != ret)
		give_up(w, "%s gives %d, not %d: '%s'", op_name[step->op], ret, -a->error, text);
	if (!named || !*text)
		give_up(w, "%s does not say what failed: '%s'", op_name[step->op], text);
	if (begins(step->op) && w->storage)
		give_up(w, "%s fails and gives a storage", op_name[step->op]);
}

/* A file whose sync failed is not synced again: it is written anew. */
static void see_no_second_sync(struct world *w)
{
	const struct fault_io *fault = &w->fault;
	const struct fault_event *e = &fault->event[fault->failed];
	const char *suffix;
	int next, anew;

	if (w->attempt->memory || !fault->fired || strcmp(e->call, "sync"))
		return;
	suffix = strstr(e->name, ".tmp");
	if (!suffix || suffix[4])
		return;
	next = fault_io_find(fault, (int)fault->failed + 1, "sync", e->name);
	anew = fault_io_find(fault, (int)fault->failed + 1, "open_at", e->name);
	if (next >= 0 && (anew < 0 || anew > next))
		give_up(w, "'%s' is synced again after its sync failed", e->name);
}

/* What the storage at hand has is what was stored. */
static void agree(struct world *w, struct sde_storage *storage, const char *when)
{
	char why[256];

	if (!oracle_agrees(&w->oracle, storage, w->count, why, sizeof(why)))
		give_up(w, "%s: %s", when, why);
}

/* The store, opened read-only, is whole, and has all that was stored. */
static void agree_on_disk(struct world *w, const char *when)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	if (sde_storage_open(&storage, w->numpy ? NPZ : PATH, NULL, &error))
		give_up(w, "%s: %s", when, error.text);
	assert_int_equal(sde_storage_info(storage, &info), 0);
	if (w->options.sync == SDE_SYNC_SNAPSHOT && info.committed == w->count + 1)
		w->count++;
	agree(w, storage, when);
	if (sde_storage_verify(storage, NULL) && !w->numpy) {
		sde_storage_error(storage, &error);
		give_up(w, "%s: verify: %s", when, error.text);
	}
	assert_int_equal(sde_storage_close(storage), 0);
}

static const char *leftover;

static int find_leftover(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	static char name[256];
	const char *base = path + ftw->base, *dot = strrchr(base, '.');

	(void)st, (void)type;
	if (dot && (!strcmp(dot, ".tmp") || !strcmp(dot, ".new") || !strcmp(dot, ".old") ||
		    !strcmp(base, "header"))) {
		snprintf(name, sizeof(name), "%s", path);
		leftover = name;
	}
	return 0;
}

/*
 * Nothing temporary is left behind; a removal that failed may have left something, and
 * an overwrite of which it is not known whether it would outlive a power loss leaves both
 * stores.
 */
static void see_no_leftover(struct world *w, const char *when)
{
	const struct fault_event *e = &w->fault.event[w->fault.failed];

	if (w->attempt->mode != ONCE)
		return;
	if (!w->attempt->memory && (!strcmp(e->call, "remove_at") ||
				    (!strcmp(e->call, "sync") && !strcmp(e->name, "."))))
		return;
	leftover = NULL;
	nftw(".", find_leftover, 16, FTW_PHYS);
	if (leftover)
		give_up(w, "%s: '%s' is left behind", when, leftover);
}

static void see_all_returned(struct world *w)
{
	if (w->fault.handles || w->fault.maps)
		give_up(w, "%d handles and %d mappings are left open", w->fault.handles,
			w->fault.maps);
}

/* ------------------------------------------------------------------------
 * Coping
 */

/* While the fault lasts, nothing crashes, and what fails says why. */
static void try_on(struct world *w)
{
	static const struct step tries[] = {
		{ SYNC, 0 }, { SAVE, 0 }, { LOOK, 0 }, { SAVE, 0 }, { SYNC, 0 }, { VERIFY, 0 },
	};

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]) && w->storage && !w->numpy; i++) {
		int ret;

		if (tries[i].op == LOOK && !w->count)
			continue;
		ret = do_step(w, &tries[i]);
		if (ret)
			judge(w, &tries[i], ret);
	}
}

static void expect_step(struct world *w, enum op op, const char *when)
{
	const struct step step = { op, 0 };
	const int ret = do_step(w, &step);

	if (ret)
		give_up(w, "%s: %s gives %d: %s", when, op_name[op], ret, w->why.text);
}

/* The same storage, now that the fault is gone. */
static void repair(struct world *w, const struct step *failed)
{
	const struct step save = { SAVE, 0 };
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	/* a thread may have met the fault just before it went, and told of it after save
	 * had begun: then this is the save that is told */
	if (!w->read_only && w->attempt->threads)
		do_step(w, &save);
	if (!w->read_only)
		expect_step(w, SAVE, "the fault is gone");
	assert_int_equal(sde_storage_info(w->storage, &info), 0);
	/* a truncate that had begun is finished by save */
	if (failed->op == TRUNCATE && info.committed == failed->to && w->count != failed->to) {
		w->count = failed->to;
		w->now++;
	}
	if (!w->numpy && !w->read_only && info.published != w->count)
		give_up(w, "save published %" PRIu64 " snapshots of %" PRIu64, info.published,
			w->count);
	if (!w->numpy)
		agree(w, w->storage, "save after the fault");
	if (!w->read_only && !w->numpy && !w->attempt->threads)
		agree_on_disk(w, "save after the fault");
}

/* What a failed close, or a process that gave up, left: all of it, resumed. */
static void resume_it(struct world *w, const struct step *failed)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;

	if (sde_storage_open(&storage, PATH, NULL, NULL))
		give_up(w, "the store does not open after a close that failed");
	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	if (failed->op == TRUNCATE && info.committed == failed->to) {
		w->count = failed->to;
		w->now++;
	}
	agree_on_disk(w, "closed with the fault");
	expect_step(w, RESUME, "the fault is gone");
	agree(w, w->storage, "resumed");
}

/* A store to be made: none is there, or what was there before. */
static void see_nothing_made(struct world *w)
{
	struct sde_storage *storage;

	if (w->options.overwrite && w->count) {
		struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

		if (sde_storage_open(&storage, PATH, NULL, NULL))
			give_up(w, "a failed overwrite leaves no store");
		assert_int_equal(sde_storage_info(storage, &info), 0);
		if (info.committed)
			agree(w, storage, "after a failed overwrite");
		assert_int_equal(sde_storage_close(storage), 0);
	} else if (w->attempt->mode == ONCE && scratch_exists(PATH))
		give_up(w, "a failed create leaves a store");
	see_no_leftover(w, "after a failed create");
}

/* What was only in memory is gone; the file is the last one or the new one. */
static void see_whole_file(struct world *w)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;

	if (sde_storage_open(&storage, NPZ, NULL, NULL))
		give_up(w, "the file saved before does not open");
	assert_int_equal(sde_storage_info(storage, &info), 0);
	assert_int_equal(sde_storage_close(storage), 0);
	if (info.committed != w->count && info.committed != w->saved)
		give_up(w, "the file has %" PRIu64 " snapshots", info.committed);
	w->count = info.committed;
}

static void cope(struct world *w, const struct step *step)
{
	const enum mode mode = w->attempt->mode;

	if (mode != ONCE)
		try_on(w);
	if (mode == UNTIL_CLOSED && w->storage && !w->read_only && !w->numpy) {
		close_it(w);
		disarm(w);
		resume_it(w, step);
		return;
	}
	disarm(w);
	if (mode == UNTIL_CLOSED && w->storage && w->read_only) {
		close_it(w);
		expect_step(w, w->numpy ? OPEN_NPZ : OPEN, "the fault is gone");
	}
	see_no_second_sync(w);
	if (step->op == CREATE)
		see_nothing_made(w);
	else if (step->op == CLOSE && !w->numpy)
		resume_it(w, step);
	else if (step->op == CLOSE)
		see_whole_file(w);
	else if (w->storage)
		repair(w, step);
}

/* Once more, without the fault: what a CREATE, OPEN, ... that failed did not give. */
static void redo(struct world *w, const struct step *step)
{
	static const struct step resume = { RESUME, 0 };
	int ret;

	if (step->op == CLOSE && !w->storage)
		return;
	/* where no name could be taken back either, the new store is in place */
	if (step->op == CREATE && w->attempt->mode != ONCE && scratch_exists(PATH) &&
	    !w->options.overwrite)
		step = &resume;
	ret = do_step(w, step);
	if (ret)
		give_up(w, "%s fails again without the fault: %s", op_name[step->op], w->why.text);
}

/* ------------------------------------------------------------------------
 * Playing a script
 */

static int remove_one(void *ctx, const char *name)
{
	(void)ctx;
	return sde__io_remove_tree(&sde__io_posix, scratch_directory(), name);
}

static void start_world(struct world *w, const struct attempt *a, const struct oracle *oracle,
			const struct sde_zarr_options *options)
{
	fault_io_init(&w->fault);
	w->fault.most = shortest;
	w->oracle = *oracle;
	w->oracle.state_capacity = options->state_capacity;
	w->oracle.generation = w->generation;
	memset(w->generation, 0, sizeof(w->generation));
	w->now = 0;
	w->options = *options;
	w->hooks = (struct sde__zarr_hooks){ .io = &w->fault.io, .synchronous = !a->threads };
	w->attempt = a;
	w->storage = NULL;
	w->read_only = w->numpy = false;
	w->count = w->synced = w->saved = 0;
	sde__io_posix.list(NULL, scratch_directory(), remove_one, NULL);
}

static void prepare(struct world *w, const struct script *s)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	for (const struct step *step = s->before; step->op; step++) {
		const int ret = do_step(w, step);

		if (ret)
			give_up(w, "preparing, %s gives %d: %s", op_name[step->op], ret, w->why.text);
	}
	if (!s->crash)
		return;
	assert_int_equal(sde_storage_info(w->storage, &info), 0);
	w->synced = info.synced;
	/* a process that dies publishes nothing more: neither does a close that may not */
	fault_io_arm(&w->fault, 1, EIO, true);
	assert_int_not_equal(close_it(w), 0);
	disarm(w);
	assert_true(scratch_exists(PATH "/data/.ring/header"));
}

/*
 * When the ring cannot be synced before it is recovered, only what was synced before
 * is believed, whatever the page cache still says (DESIGN: a second sync that returns
 * 0 proves nothing). Nothing else costs a snapshot.
 */
static void see_what_was_recovered(struct world *w)
{
	const struct fault_event *e = &w->fault.event[w->fault.failed];
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	assert_int_equal(sde_storage_info(w->storage, &info), 0);
	if (info.committed == w->count)
		return;
	if (!w->fault.fired || strcmp(e->call, "sync") || info.committed < w->synced ||
	    (strncmp(e->name, "segment.", 8) && strcmp(e->name, "header")))
		give_up(w, "%" PRIu64 " snapshots were recovered of %" PRIu64, info.committed,
			w->count);
	w->count = info.committed;
}

/* Returns false when no call was left to fail. */
static bool play(struct world *w, const struct attempt *a, const struct oracle *oracle,
		 const struct sde_zarr_options *options)
{
	const long live = fault_memory.live;
	bool failed = false;

	start_world(w, a, oracle, options);
	prepare(w, a->script);
	arm(w);
	for (const struct step *step = a->script->steps; step->op; step++) {
		int ret;

		if (step->op == CREATE && w->options.overwrite)
			w->now = 1;
		w->numpy = w->numpy || step->op == NUMPY || step->op == OPEN_NPZ;
		ret = do_step(w, step);
		if (ret && failed)
			give_up(w, "%s fails with %d after the fault was gone: %s",
				op_name[step->op], ret, w->why.text);
		if (ret) {
			failed = true;
			judge(w, step, ret);
			cope(w, step);
			redo(w, step);
		}
		if (step->op == CREATE)
			w->count = 0;
		if (step->op == SAVE)
			w->saved = w->count;
		if (step->op == RESUME && a->script->crash)
			see_what_was_recovered(w);
	}
	disarm(w);
	tally.attempts++;
	agree_on_disk(w, "in the end");
	see_no_leftover(w, "in the end");
	see_all_returned(w);
	/* threads' stacks are kept by libc, with what belongs to them */
	if (fault_memory.live != live && !a->threads && !warming)
		give_up(w, "%ld allocations are not freed", fault_memory.live - live);
	return fired(w);
}

static unsigned long environment(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoul(text, NULL, 0) : otherwise;
}

/*
 * Twice without a fault: the first time libraries and libc allocate what they keep,
 * the second time tells which calls there will be.
 */
static void warm_up(struct attempt *a, const struct oracle *oracle,
		    const struct sde_zarr_options *options)
{
	a->n = ULONG_MAX;
	warming = true;
	play(&world, a, oracle, options);
	warming = false;
	play(&world, a, oracle, options);
	planned.count = 0;
	planned.places = fault_memory_places(planned.first);
	for (size_t i = 0; i < world.fault.events && !a->memory; i++) {
		const struct fault_event *e = &world.fault.event[i];

		if (!strcmp(e->call, "copy") || !strcmp(e->call, "commit"))
			continue;
		/* a ring's removal tries all names that its files may have */
		planned.futile[planned.count++] = !strcmp(e->call, "remove_at") &&
			!strncmp(e->name, "segment.", 8) && atoi(e->name + 8) > 2;
	}
}

/*
 * Every n, once and for good. In a short run the two errors take turns, and so do the
 * two ways in which a fault for good ends; in a long one all of them are tried.
 */
static const struct {
	int error[2];		/* of n odd, n even */
	enum mode mode[2];
} turns[] = {
	{ { EIO, ENOSPC }, { ONCE, ONCE } },
	{ { ENOSPC, EIO }, { FOR_GOOD, UNTIL_CLOSED } },
	/* long runs only */
	{ { ENOSPC, EIO }, { ONCE, ONCE } },
	{ { EIO, ENOSPC }, { UNTIL_CLOSED, FOR_GOOD } },
	{ { ENOSPC, EIO }, { UNTIL_CLOSED, FOR_GOOD } },
	{ { EIO, ENOSPC }, { FOR_GOOD, UNTIL_CLOSED } },
};
#define TURNS (sizeof(turns) / sizeof(turns[0]))
#define SHORT_TURNS 2

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static bool is_long(void)
{
	return environment("SDE_TEST_LONG", 0);
}

static bool is_wanted(const struct attempt *a, unsigned long by)
{
	if ((a->n - 1) % by == 0)
		return a->n > planned.count || !planned.futile[a->n - 1];
	return a->memory && a->n <= FAULT_MEMORY_SITES && planned.first[a->n - 1];
}

/*
 * Every by-th n of one script, and of allocations the first one of each place; returns
 * the number of calls.
 */
static unsigned long sweep(struct attempt *a, const struct oracle *oracle,
			   const struct sde_zarr_options *options, size_t turn, unsigned long by)
{
	const bool one = environment("SDE_TEST_ONE", 0);

	for (a->n = environment("SDE_TEST_FAULT", 1); ; a->n++) {
		if (!one && !is_wanted(a, by))
			continue;
		a->error = a->memory ? ENOMEM : turns[turn].error[(a->n + 1) % 2];
		a->mode = turns[turn].mode[(a->n + 1) % 2];
		if (!play(&world, a, oracle, options) || one)
			break;
	}
	return a->n - 1;
}

static const struct oracle small = { { 2, 10, SDE_FLOAT64 }, 1, 16, NULL };

static struct sde_zarr_options small_options(unsigned format, enum sde_sync sync)
{
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;

	o.chunk_size = 4;
	o.trajectories_per_chunk = 6;
	o.zarr_format = format;
	o.sync = sync;
	o.sync_interval_ms = 1;
	o.segments = 2;
	o.threads = 2;
	o.state_capacity = 16;
	o.attributes = "{\"model\": \"none\", \"seed\": 1}";
	o.time_units = "s";
	return o;
}

static void sweep_all(const struct script *s, struct sde_zarr_options options, bool memory,
		      unsigned long by)
{
	struct attempt a = { .script = s, .memory = memory, .threads = !options.threads };
	const double start = seconds();
	unsigned long most = 0;

	options.threads = 2;
	by = is_long() ? 1 : by;
	warm_up(&a, &small, &options);
	tally.attempts = tally.failures = 0;
	for (size_t turn = 0; turn < (is_long() ? TURNS : SHORT_TURNS); turn++) {
		const unsigned long calls = sweep(&a, &small, &options, turn, by);

		/* memory has but one error */
		most = calls > most ? calls : most;
		turn += memory && turn >= SHORT_TURNS ? 1 : 0;
	}
	if (memory)
		print_message("# %zu places allocate, and:\n", planned.places);
	print_message("# %s, format %u, sync %d%s: every %lu of %lu %s, %lu attempts, %lu failures, %.1f s\n",
		      s->name, options.zarr_format, (int)options.sync,
		      a.threads ? ", threads" : "", by, most, memory ? "allocations" : "calls",
		      tally.attempts, tally.failures, seconds() - start);
}

/* ------------------------------------------------------------------------
 * The workloads
 */

static const struct script brief = {
	"create, store, close", { { END, 0 } }, { { CREATE, 0 }, { STORE, 2 }, { CLOSE, 0 } }, false
};
static const struct script fresh = {
	"create, store, save", { { END, 0 } },
	{ { CREATE, 0 }, { STORE, 3 }, { SAVE, 0 }, { STORE, 10 }, { SYNC, 0 }, { LOOK, 0 },
	  { CLOSE, 0 } }, false
};
static const struct script again = {
	"resume, truncate", { { CREATE, 0 }, { STORE, 6 }, { CLOSE, 0 } },
	{ { RESUME, 0 }, { STORE, 9 }, { TRUNCATE, 5 }, { STORE, 7 }, { CLOSE, 0 } }, false
};
static const struct script crashed = {
	"recovery", { { CREATE, 0 }, { STORE, 7 }, { SAVE, 0 }, { STORE, 14 } },
	{ { OPEN, 0 }, { LOOK, 0 }, { CLOSE, 0 }, { RESUME, 0 }, { STORE, 15 }, { CLOSE, 0 } },
	true
};
static const struct script reading = {
	"reading", { { CREATE, 0 }, { STORE, 9 }, { CLOSE, 0 } },
	{ { OPEN, 0 }, { LOOK, 0 }, { VERIFY, 0 }, { EXPORT, 0 }, { CLOSE, 0 } }, false
};
static const struct script numpy = {
	"NumPy file", { { END, 0 } },
	{ { NUMPY, 0 }, { STORE, 3 }, { SAVE, 0 }, { STORE, 5 }, { LOOK, 0 }, { CLOSE, 0 },
	  { OPEN_NPZ, 0 }, { LOOK, 0 }, { VERIFY, 0 }, { CLOSE, 0 } }, false
};
static const struct script replacing = {
	"overwrite", { { CREATE, 0 }, { STORE, 6 }, { CLOSE, 0 } },
	{ { CREATE, 0 }, { STORE, 5 }, { CLOSE, 0 } }, false
};

/* Under a sanitizer a run takes five times as long and more; one in nine is left then. */
#if defined(__SANITIZE_ADDRESS__)
#define SPARSE 9
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SPARSE 9
#endif
#endif
#ifndef SPARSE
#define SPARSE 1
#endif

static void sweep_zarr(const struct script *s)
{
	struct sde_zarr_options options = small_options(3, SDE_SYNC_CHUNK);

	options.overwrite = s == &replacing;
	sweep_all(s, options, false, SPARSE);
	options.zarr_format = 2;
	sweep_all(s, options, false, 4 * SPARSE);
	if (s == &replacing || s == &reading)
		return;
	options = small_options(3, SDE_SYNC_SNAPSHOT);
	sweep_all(s, options, false, 7 * SPARSE);
}

static void a_new_store_survives_every_call_that_fails(void **state)
{
	(void)state;
	sweep_zarr(&fresh);
}

static void a_resumed_and_truncated_store_survives_every_call_that_fails(void **state)
{
	(void)state;
	sweep_zarr(&again);
}

static void recovery_survives_every_call_that_fails(void **state)
{
	(void)state;
	sweep_zarr(&crashed);
}

static void reading_survives_every_call_that_fails(void **state)
{
	(void)state;
	sweep_zarr(&reading);
}

static void overwriting_survives_every_call_that_fails(void **state)
{
	(void)state;
	sweep_zarr(&replacing);
}

static void a_numpy_file_survives_every_call_and_allocation_that_fails(void **state)
{
	struct sde_zarr_options options = small_options(3, SDE_SYNC_CHUNK);

	(void)state;
	options.state_capacity = 0;	/* it has none */
	sweep_all(&numpy, options, false, 1);
	sweep_all(&numpy, options, true, SPARSE);
}

static void every_allocation_may_fail(void **state)
{
	static const struct script *const scripts[] = { &fresh, &again, &crashed, &reading };
	struct sde_zarr_options options = small_options(3, SDE_SYNC_CHUNK);

	(void)state;
	if (!FAULT_MEMORY) {
		print_message("this libc's allocator cannot be wrapped\n");
		skip();
	}
	sweep_all(&brief, options, true, 11 * SPARSE);
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++)
		sweep_all(scripts[i], options, true, 101 * SPARSE);
	options.zarr_format = 2;
	sweep_all(&crashed, options, true, 101 * SPARSE);
	/* what is copied aside for the guard */
	options = small_options(3, SDE_SYNC_CHUNK);
	options.ring_io = SDE_RING_IO_MAPPED;
	options.sigbus_guard = SDE_SIGBUS_GUARD_ON;
	sweep_all(&again, options, true, 1009 * SPARSE);
}

/* The same with threads, where a call fails in one and is told in another. */
static void what_fails_in_a_thread_is_told(void **state)
{
	struct sde_zarr_options options = small_options(3, SDE_SYNC_CHUNK);

	(void)state;
	options.threads = 0;
	sweep_all(&fresh, options, false, 5 * SPARSE);
	sweep_all(&crashed, options, false, 11 * SPARSE);
	options.sync = SDE_SYNC_INTERVAL;
	sweep_all(&again, options, false, 11 * SPARSE);
	sweep_all(&fresh, options, true, 211 * SPARSE);
}

static void other_sizes(void **state)
{
	struct sde_zarr_options options = small_options(3, SDE_SYNC_PUBLISH);

	(void)state;
	if (!is_long()) {
		print_message("only with SDE_TEST_LONG=1\n");
		skip();
	}
	options.chunk_size = 1;
	options.trajectories_per_chunk = 0;
	options.codec = SDE_CODEC_NONE;
	options.segments = 3;
	sweep_all(&fresh, options, false, 1);
	sweep_all(&crashed, options, false, 1);
	options.chunk_size = 5;
	options.codec = SDE_CODEC_LZ4;
	options.layout = SDE_LAYOUT_TRAJECTORY_DIMENSION;
	options.state_capacity = 0;
	options.sync = SDE_SYNC_NONE;
	sweep_all(&again, options, false, 1);
	sweep_all(&crashed, options, false, 1);
	options.zarr_format = 2;
	sweep_all(&again, options, false, 1);
	sweep_all(&reading, options, true, 1);
}

/* No call need move all it is asked to. */
static void short_reads_and_writes_make_no_difference(void **state)
{
	static const struct script *const scripts[] = { &fresh, &again, &crashed, &reading, &replacing };
	struct attempt a = { .n = ULONG_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++)
		for (size_t most = 13; most < 10000; most *= 23) {
			struct sde_zarr_options options = small_options(i % 2 ? 2 : 3, SDE_SYNC_CHUNK);

			a.script = scripts[i];
			options.overwrite = scripts[i] == &replacing;
			shortest = most;
			play(&world, &a, &small, &options);
			shortest = 0;
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(a_new_store_survives_every_call_that_fails),
		SCRATCH_TEST(a_resumed_and_truncated_store_survives_every_call_that_fails),
		SCRATCH_TEST(recovery_survives_every_call_that_fails),
		SCRATCH_TEST(reading_survives_every_call_that_fails),
		SCRATCH_TEST(overwriting_survives_every_call_that_fails),
		SCRATCH_TEST(a_numpy_file_survives_every_call_and_allocation_that_fails),
		SCRATCH_TEST(every_allocation_may_fail),
		SCRATCH_TEST(what_fails_in_a_thread_is_told),
		SCRATCH_TEST(short_reads_and_writes_make_no_difference),
		SCRATCH_TEST(other_sizes),
	};
	/* one of them: SDE_TEST_NAME='*overwriting*' */
	cmocka_set_test_filter(getenv("SDE_TEST_NAME"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
