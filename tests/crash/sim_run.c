/* SPDX-License-Identifier: MIT */
/* Lives of stores in a simulated file system: see sim_run.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sim_run.h"

#include "publisher_state.h"
#include "sim_examine.h"
#include "sim_zarr.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PUBLISH_PERIOD_NS UINT64_C(200000000)	/* publisher.c */

struct sim_totals sim_totals;

_Noreturn void sim_fail(const struct sim_place *place, const char *format, ...)
{
	char why[1024], where[64] = "";
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	if (place->nested)
		snprintf(where, sizeof(where), ".%" PRIu64, place->nested);
	print_message("# %s\n", why);
	print_message("# in %s at %s: %s", place->operation, place->call, place->loss);
	if (place->nested_call)
		print_message("; then its recovery at %s: %s", place->nested_call,
			      place->nested_loss);
	print_message("\n# again: SDE_TEST_SEED=%" PRIu64 " SDE_TEST_STATE=%s:%" PRIu64 "%s "
		      "build/tests/crash/test_power_loss\n", place->seed, place->kind->name,
		      place->state, where);
	fail_msg("%s", why);
	abort();	/* not reached: cmocka does not say so */
}

static struct sim_place place_of(const struct sim_run *run)
{
	return (struct sim_place){
		.kind = run->kind, .seed = run->seed, .state = run->states,
		.operation = run->operation, .call = "its end", .loss = "nothing is lost",
	};
}

#define run_fail(run, ...) do {					\
		const struct sim_place here = place_of(run);	\
		sim_fail(&here, __VA_ARGS__);			\
	} while (0)

static const char *sentence(const struct sde_storage *storage)
{
	static struct sde_error why;

	memset(&why, 0, sizeof(why));
	return sde_storage_error(storage, &why) ? why.text : "";
}

/* ------------------------------------------------------------------------
 * At every event
 */

/* A state's seed says what is lost of what is pending, and what is then tried. */
static void examine_state(struct sim_run *run, enum sim_loss loss, const char *call)
{
	struct sim_place place = place_of(run);
	const uint64_t seed = sim_mix(run->seed << 24 ^ run->states);

	run->states++;
	if (run->only != SIM_NEVER && place.state != run->only)
		return;
	place.call = call;
	place.loss = sim_loss_name[loss];
	sim_examine(run, sim_crash(run->sim, loss, seed), loss, seed, &place);
}

static void examine_event(struct sim_run *run, enum sim_call of, const char *call)
{
	static const unsigned least_operations[SIM_LOSSES] = {
		[SIM_NAMES] = 1, [SIM_CONTENTS] = 1, [SIM_ALL_BUT_ONE] = 2, [SIM_ONLY_ONE] = 2,
	};
	unsigned changes;
	const unsigned operations = sim_pending(run->sim, &changes);
	/* the moments before an msync are few, and what the counters are about */
	const unsigned dense = of == SIM_SYNC_MAP && run->dense > 2 ? 2 : run->dense;

	for (int i = 0; i < SIM_LOSSES; i++) {
		const enum sim_loss loss = (enum sim_loss)i;

		if (loss > SIM_NOTHING && operations + changes == 0)
			break;
		if (operations < least_operations[loss] || sim_below(&run->dice, dense))
			continue;
		if (sim_totals.states < run->budget)
			examine_state(run, loss, call);
	}
}

/* As a worker thread would: in the middle of what the producer does. */
static void take_steps(struct sim_run *run)
{
	struct sde__publisher *p = run->publisher;
	const uint64_t steps = 1 + sim_below(&run->dice, 4);
	/* also many chunks that are encoded, or have their files, before one is sealed */
	static const unsigned some[] = { SDE__ROLES, SDE__ROLES, SDE__ROLE_ENCODE,
					 SDE__ROLE_ENCODE | SDE__ROLE_WRITE,
					 SDE__ROLE_WRITE | SDE__ROLE_END,
					 SDE__ROLE_WRITE | SDE__ROLE_SEAL };
	const unsigned roles = some[sim_below(&run->dice, sizeof(some) / sizeof(some[0]))];

	run->stepping = true;
	pthread_mutex_lock(&p->lock);
	/* inner chunks one by one */
	for (unsigned i = 0; i < p->jobs; i++)
		p->job[i].enough = 1;
	if (sim_below(&run->dice, 6) == 0)
		p->published_at = -PUBLISH_PERIOD_NS;	/* its time has come */
	for (uint64_t i = 0; i < steps; i++)
		if (!sde__publisher_step(p, roles, p->raw))
			break;
	pthread_mutex_unlock(&p->lock);
	run->stepping = false;
}

static void probe(struct sim_run *run, const char *call)
{
	struct sim_place place = place_of(run);
	const bool wanted = run->only == SIM_NEVER || run->only == place.state;

	run->states++;
	if (!wanted)
		return;
	place.call = call;
	place.loss = "none, and read while it runs";
	run->sim->hook = NULL;
	sim_examine_live(run, &place);
}

static void drop_view(struct sim_run *run)
{
	void (*hook)(void *, const struct sim_event *) = run->sim->hook;

	run->sim->hook = NULL;
	sde_storage_close(run->view);
	run->view = NULL;
	run->sim->hook = hook;
}

static void on_event(void *ctx, const struct sim_event *event)
{
	struct sim_run *run = ctx;
	const char *call = sim_call_name[event->call];

	sim_totals.events++;
	/* the ring's own sync may be what failed: then only what was synced is believed */
	if (run->sim->failed && !strcmp(run->operation, "resume"))
		run->store.rebooted = true;
	if (run->sim->events == run->grab_at) {
		const enum sim_loss loss = run->store.durable ?
			(enum sim_loss)sim_below(&run->dice, SIM_LOSSES) : SIM_KILLED;

		run->grabbed = sim_crash(run->sim, loss, run->dice);
		run->grabbed_store = run->store;
		run->grabbed_store.rebooted |= loss != SIM_KILLED;
	}
	examine_event(run, event->call, call);
	if (run->probing && sim_below(&run->dice, 8) == 0) {
		probe(run, call);
		run->sim->hook = on_event;
	}
	if (event->call == SIM_COPY && run->publisher && !run->stepping && run->storage &&
	    sim_below(&run->dice, 5) == 0)
		take_steps(run);
}

/* ------------------------------------------------------------------------
 * What each operation does to the oracle
 */

/* What info says is on the device is a promise like any other. */
static void note_info(struct sim_run *run)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sim_store *s = &run->store;

	if (sde_storage_info(run->storage, &info))
		run_fail(run, "info: %s", sentence(run->storage));
	if (info.committed != s->returned)
		run_fail(run, "%" PRIu64 " are committed, not %" PRIu64, info.committed, s->returned);
	if (s->durable && s->acknowledged < info.synced)
		s->acknowledged = info.synced;
	if (s->published < info.published)
		s->published = info.published;
	if (s->acknowledged > s->returned || s->published > s->returned)
		run_fail(run, "info has %" PRIu64 " synced and %" PRIu64 " published of %" PRIu64,
			 info.synced, info.published, info.committed);
}

static void begin(struct sim_run *run, const char *operation)
{
	run->operation = operation;
	run->probing = false;
	run->grab_at = 0;
	if (run->kind->faults && sim_below(&run->dice, 3) == 0) {
		run->sim->fail_sync_at = 1 + sim_below(&run->dice, 12);
		run->sim->fail_syncs = 1 + sim_below(&run->dice, 3);
	}
}

static void crash_somewhere(struct sim_run *run)
{
	if (!run->kind->faults && sim_below(&run->dice, 12) == 0)
		run->grab_at = run->sim->events + 1 + sim_below(&run->dice, 40);
}

/* The process ends here, with what it has open. */
static void abandon(struct sim_run *run)
{
	drop_view(run);
	run->sim->hook = NULL;
	run->sim->dead = true;
	sde_storage_close(run->storage);
	run->storage = NULL;
	run->publisher = NULL;
	sim_free(run->sim);
	sim_totals.crashes++;
}

/* All policies; with `none` half of the time, if runs of the kind change it. */
static enum sde_sync choose_sync(struct sim_run *run)
{
	static const enum sde_sync policies[] = {
		SDE_SYNC_CHUNK, SDE_SYNC_PUBLISH, SDE_SYNC_SNAPSHOT, SDE_SYNC_INTERVAL,
	};

	if (run->kind->sync == SIM_SYNC_MIXED && sim_below(&run->dice, 2))
		return SDE_SYNC_NONE;
	if (run->kind->sync && run->kind->sync != SIM_SYNC_MIXED)
		return run->kind->sync;
	return policies[sim_below(&run->dice, 4)];
}

static void resume(struct sim_run *run)
{
	struct sde_error why = { 0 };
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	int ret;

	begin(run, "resume");
	run->options.overwrite = 0;
	run->options.attributes = NULL;
	sim_free_options(&run->options, &run->dice);
	if (run->kind->sync == SIM_SYNC_MIXED)
		run->options.sync = choose_sync(run);
	/* what will not be synced is promised nothing from now on; else, when it returns */
	if (run->options.sync == SDE_SYNC_NONE)
		run->store.durable = false;
	run->hooks.io = &run->sim->io;
	run->publisher = NULL;
	run->probing = true;
	ret = sde__zarr_resume(&run->storage, SIM_PATH, &run->options, &run->hooks, &why);
	run->sim->fail_sync_at = 0;
	if (ret && run->sim->failed) {
		/* the device recovered: so does the store */
		run->sim->failed = false;
		sim_totals.faults++;
		run->publisher = NULL;
		sde__error_clear(&why);
		/* what a sync failed with in between was only in the cache */
		ret = sde__zarr_resume(&run->storage, SIM_PATH, &run->options, &run->hooks, &why);
	}
	if (ret)
		run_fail(run, "resume: %s", why.text);
	/* the ring's own sync may have failed: then what was synced is all there is */
	run->store.rebooted |= run->sim->failed;
	run->sim->failed = false;
	if (sde_storage_info(run->storage, &info) ||
	    !sim_store_allows(&run->store, false, info.committed))
		run_fail(run, "resume finds %" PRIu64 " snapshots", info.committed);
	run->store.durable = run->options.sync != SDE_SYNC_NONE;
	sim_store_settle(&run->store, info.committed);
	/* who read a dead run's ring before it failed to be synced saw what is now lost */
	if (run->view && run->viewed > info.committed)
		drop_view(run);
	note_info(run);
}

/* After an operation: was the run crashed in its middle? Then go on from there. */
static bool end(struct sim_run *run)
{
	run->probing = false;
	run->grab_at = 0;
	if (!run->grabbed) {
		if (run->storage)
			note_info(run);
		return false;
	}
	abandon(run);
	run->sim = run->grabbed;
	run->sim->hook = on_event;
	run->sim->hook_ctx = run;
	run->grabbed = NULL;
	/* generations never come again, not even those of a future that was not */
	run->grabbed_store.now = run->store.now;
	run->grabbed_store.version = sim_version();
	run->store = run->grabbed_store;
	resume(run);
	return true;
}

/* An operation failed because a sync did: the failure stays, and save mends it. */
static void mend(struct sim_run *run, int ret, const char *why)
{
	struct sim_store *s = &run->store;
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

	if (!run->sim->failed)
		run_fail(run, "%s failed: %s", run->operation, why);
	run->sim->failed = false;
	run->sim->fail_sync_at = 0;
	sim_totals.faults++;
	if (ret != -EIO)
		run_fail(run, "%s failed with %d, not EIO: %s", run->operation, ret, why);
	if (sde_storage_info(run->storage, &info) || info.committed < s->returned ||
	    info.committed > s->high)
		run_fail(run, "%" PRIu64 " are committed of %" PRIu64, info.committed, s->returned);
	s->returned = s->high = info.committed;
	/* a sync that returns 0 now would prove nothing */
	if (!sde_storage_sync(run->storage))
		run_fail(run, "sync succeeds after a sync has failed");
	run->operation = "save after a failed sync";
	if (sde_storage_save(run->storage))
		run_fail(run, "save after a failed sync: %s", sentence(run->storage));
	s->acknowledged = s->durable ? s->returned : 0;
	s->published = s->returned;
}

/* ------------------------------------------------------------------------
 * Operations
 */

static void choose_store(struct sim_run *run)
{
	struct sde_zarr_options *o = &run->options;
	struct sim_store *s = &run->store;
	const uint64_t id = s->id + 1;
	const uint32_t now = s->now;

	memset(s, 0, sizeof(*s));
	s->id = id;
	s->now = now;
	s->ensemble.dimension = 1 + sim_below(&run->dice, 3);
	s->ensemble.trajectories = 1 + sim_below(&run->dice, 9);
	s->ensemble.dtype = sim_below(&run->dice, 3) ? SDE_FLOAT64 : SDE_FLOAT32;
	s->zarr_format = run->kind->zarr_format;
	s->chunk_size = 2 + sim_below(&run->dice, 4);
	s->inner_width = 1 + sim_below(&run->dice, s->ensemble.trajectories);
	s->stride = 1 + sim_below(&run->dice, 2);
	s->codec = (enum sde_codec)(1 + sim_below(&run->dice, 3));
	s->checksum = s->zarr_format == 3 && sim_below(&run->dice, 8);
	s->state_capacity = 8 * (unsigned)sim_below(&run->dice, 4);
	s->version = sim_version();
	s->truncate_to = SIM_NEVER;
	*o = (struct sde_zarr_options)SDE_ZARR_OPTIONS_INIT;
	o->sync = choose_sync(run);
	o->chunk_size = s->chunk_size;
	o->trajectories_per_chunk = s->inner_width;
	o->stride = s->stride;
	o->codec = s->codec;
	o->checksum = s->checksum || s->zarr_format == 2 ? SDE_CHECKSUM_DEFAULT : SDE_CHECKSUM_OFF;
	o->zarr_format = s->zarr_format;
	o->state_capacity = s->state_capacity;
	o->segments = 2 + (unsigned)sim_below(&run->dice, 3);
	o->layout = (enum sde_layout)sim_below(&run->dice, 3);
	o->threads = 1;
	s->durable = o->sync != SDE_SYNC_NONE;
	snprintf(run->attributes, sizeof(run->attributes), "{\"id\": %" PRIu64 "}", id);
	o->attributes = run->attributes;
	o->make_directory = sde__io_make_directories;
}

static void create(struct sim_run *run)
{
	struct sde_error why = { 0 };
	int ret;

	drop_view(run);
	run->old = run->store;
	choose_store(run);
	begin(run, run->replacing ? "overwrite" : "create");
	run->options.overwrite = run->replacing;
	run->options.make_directory_ctx = &run->sim->io;
	run->hooks.io = &run->sim->io;
	run->creating = true;
	ret = sde__zarr_create(&run->storage, SIM_PATH, &run->store.ensemble, &run->options,
			       &run->hooks, &why);
	run->sim->fail_sync_at = 0;
	if (ret && run->sim->failed) {
		run->sim->failed = false;
		sim_totals.faults++;
		sde__error_clear(&why);
		if (run->replacing && sim_zarr_id(run->sim, SIM_PATH) != run->old.id)
			run->replacing = false, run->options.overwrite = 1;
		ret = sde__zarr_create(&run->storage, SIM_PATH, &run->store.ensemble,
				       &run->options, &run->hooks, &why);
	}
	if (ret)
		run_fail(run, "%s: %s", run->operation, why.text);
	run->sim->failed = false;
	run->creating = run->replacing = false;
	end(run);
}

static void store_one(struct sim_run *run)
{
	struct sim_store *s = &run->store;
	const uint64_t bits = (sim_store_next(s), sim_time(s, s->returned));
	const uint64_t iteration = sim_iteration(s, s->returned);
	uint64_t numbers[SIM_NUMBERS];
	unsigned char state[SIM_STATE];
	void *slot = NULL;
	double time;
	int ret = 0;

	memcpy(&time, &bits, sizeof(time));
	sim_snapshot(s, s->returned, run->options.layout, numbers);
	if (s->state_capacity)
		ret = sde_storage_set_state(run->storage, state, sim_state(s, s->returned, state));
	if (!ret && sim_below(&run->dice, 4)) {
		ret = sde_storage_store(run->storage, time, numbers, iteration);
	} else if (!ret) {
		ret = sde_storage_reserve(run->storage, iteration, &slot);
		if (!ret) {
			sim_snapshot(s, s->returned, run->options.layout, slot);
			ret = sde_storage_commit(run->storage, time);
		}
	}
	if (ret) {
		mend(run, ret, sentence(run->storage));
		return;
	}
	s->returned++;
	if (run->options.sync == SDE_SYNC_SNAPSHOT)
		s->acknowledged = s->returned;
}

static void store(struct sim_run *run, uint64_t count)
{
	for (uint64_t i = 0; i < count && run->store.returned < SIM_SNAPSHOTS; i++) {
		begin(run, "store");
		crash_somewhere(run);
		run->probing = true;
		store_one(run);
		if (end(run))
			break;
	}
}

static void finish(struct sim_run *run, int ret)
{
	run->sim->fail_sync_at = 0;
	if (ret)
		mend(run, ret, sentence(run->storage));
}

static void save(struct sim_run *run)
{
	int ret;

	begin(run, "save");
	crash_somewhere(run);
	run->probing = true;
	ret = sde_storage_save(run->storage);
	finish(run, ret);
	run->store.acknowledged = run->store.durable ? run->store.returned : 0;
	run->store.published = run->store.returned;
	end(run);
}

static void sync(struct sim_run *run)
{
	int ret;

	begin(run, "sync");
	crash_somewhere(run);
	run->probing = true;
	ret = sde_storage_sync(run->storage);
	finish(run, ret);
	run->store.acknowledged = run->store.durable ? run->store.returned : 0;
	end(run);
}

static void close_store(struct sim_run *run)
{
	struct sde_error why = { 0 };
	int ret;

	begin(run, "close");
	run->probing = true;
	run->publisher = NULL;
	ret = sde_storage_close_error(run->storage, &why);
	run->storage = NULL;
	run->probing = false;
	run->sim->fail_sync_at = 0;
	if (ret && !run->sim->failed)
		run_fail(run, "close: %s", why.text);
	if (ret) {
		sim_totals.faults++;
		run->sim->failed = false;
		resume(run);
		return;
	}
	run->sim->failed = false;
	sim_store_settle(&run->store, run->store.returned);
	run->operation = "after close";
	examine_event(run, SIM_CALLS, "its end");
}

static void truncate_to(struct sim_run *run, uint64_t snapshots)
{
	struct sim_store *s = &run->store;
	int ret;

	drop_view(run);
	begin(run, "truncate");
	crash_somewhere(run);
	s->truncate_to = snapshots;
	ret = sde_storage_truncate(run->storage, snapshots);
	run->sim->fail_sync_at = 0;
	if (ret && !run->sim->failed)
		run_fail(run, "truncate: %s", sentence(run->storage));
	if (ret) {
		/* half done: closing goes on with it, or opening it anew sorts it out */
		sim_totals.faults++;
		run->publisher = NULL;
		ret = sde_storage_close(run->storage);
		run->storage = NULL;
		run->sim->failed = false;
		/* all that there was, or what was asked for: resume tells */
		if (!ret && s->durable)
			s->acknowledged = s->returned;
		if (!ret)
			s->published = s->returned;
		resume(run);
		return;
	}
	run->sim->failed = false;
	sim_store_settle(s, snapshots);
	end(run);
}

static void overwrite(struct sim_run *run)
{
	if (run->storage && sim_below(&run->dice, 2)) {
		close_store(run);
		if (run->storage)
			return;
	} else if (run->storage) {
		/* over a ring that nobody recovered */
		struct sim *left = sim_crash(run->sim, SIM_KILLED, 0);

		abandon(run);
		run->sim = left;
		run->sim->hook = on_event;
		run->sim->hook_ctx = run;
	}
	run->replacing = true;
	create(run);
}

static void crash(struct sim_run *run)
{
	begin(run, "crash");
	run->sim->fail_sync_at = 0;
	run->grab_at = run->sim->events + 1;
	on_event(run, &(struct sim_event){ SIM_COMMIT, "", false });
	run->grabbed_store = run->store;
	if (!run->grabbed) {
		const enum sim_loss loss = run->store.durable ?
			(enum sim_loss)sim_below(&run->dice, SIM_LOSSES) : SIM_KILLED;

		run->grabbed = sim_crash(run->sim, loss, run->dice);
		run->grabbed_store.rebooted |= loss != SIM_KILLED;
	}
	end(run);
}

/* ------------------------------------------------------------------------
 * Lives
 */

static void script(struct sim_run *run)
{
	const uint64_t chunk = run->store.chunk_size;

	store(run, chunk * run->options.segments + 1);
	save(run);
	store(run, 1);
	sync(run);
	store(run, chunk);
	close_store(run);
	if (!run->storage)
		resume(run);
	store(run, chunk + 1);
	save(run);
	truncate_to(run, run->store.returned - chunk / 2 - 1);
	store(run, chunk);
	crash(run);
	store(run, 2 * chunk);
	truncate_to(run, run->store.returned / 2);
	overwrite(run);
	store(run, run->store.chunk_size + 1);
}

static void random_operation(struct sim_run *run)
{
	const uint64_t chunk = run->store.chunk_size;

	switch (sim_below(&run->dice, 16)) {
	case 0: case 1: case 2: case 3: case 4: case 5:
		store(run, 1 + sim_below(&run->dice, chunk * run->options.segments));
		break;
	case 6: case 7:
		store(run, 1 + sim_below(&run->dice, chunk));
		break;
	case 8: case 9:
		save(run);
		break;
	case 10:
		sync(run);
		break;
	case 11:
		truncate_to(run, sim_below(&run->dice, run->store.returned + 1));
		break;
	case 12:
		close_store(run);
		if (!run->storage)
			resume(run);
		break;
	case 13: case 14:
		crash(run);
		break;
	default:
		if (sim_below(&run->dice, 3) == 0)
			overwrite(run);
		else
			truncate_to(run, run->store.returned);
	}
	/* there is room for so many; and small stores are quicker to look at */
	if (run->store.returned > SIM_SNAPSHOTS / 2)
		truncate_to(run, run->store.returned / 4);
}

static bool is_over(const struct sim_run *run)
{
	return sim_totals.states >= run->budget || (run->only != SIM_NEVER && run->states > run->only);
}

void sim_run(const struct sim_kind *kind, uint64_t seed, uint64_t budget)
{
	struct sim_run run = { .kind = kind, .seed = seed, .dice = sim_mix(seed),
			       .budget = sim_totals.states + budget,
			       .only = SIM_NEVER, .only_nested = SIM_NEVER };
	const char *wanted = getenv("SDE_TEST_STATE");
	const char *colon = wanted ? strchr(wanted, ':') : NULL;
	char *end_of;

	if (colon && colon[1]) {
		run.only = strtoull(colon + 1, &end_of, 10);
		run.only_nested = *end_of == '.' ? strtoull(end_of + 1, NULL, 10) : 0;
		run.budget = SIM_NEVER;
	}
	/* few lives looked at closely, and many at a glance */
	run.dense = kind->dense << (kind->operations ? sim_mix(seed) % 4 : 0);
	run.sim = sim_new(seed);
	run.sim->hook = on_event;
	run.sim->hook_ctx = &run;
	run.hooks = (struct sde__zarr_hooks){ .synchronous = true, .publisher = &run.publisher };
	create(&run);
	if (!kind->operations)
		script(&run);
	for (unsigned i = 0; i < kind->operations && !is_over(&run); i++)
		random_operation(&run);
	if (run.storage)
		close_store(&run);
	drop_view(&run);
	if (run.storage) {
		run.sim->hook = NULL;
		sde_storage_close(run.storage);
	}
	sim_free(run.sim);
	sim_totals.runs++;
}
