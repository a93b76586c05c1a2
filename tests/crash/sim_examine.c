/* SPDX-License-Identifier: MIT */
/* Examining one crash state: see sim_examine.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "sim_examine.h"

#include "sim_sample.h"
#include "sim_zarr.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define NESTED_EVENTS 4		/* one in so many events of a recovery is crashed */

/* One state under examination. */
struct patient {
	const struct sim_run *run;
	struct sim *sim;
	struct sim_store store;		/* what must be there; ours to change */
	bool power;			/* it was lost */
	uint64_t dice;
	struct sim_place *place;
	unsigned depth;			/* 1: recovery was crashed */
	enum sde_layout layout;		/* of the recovered store's writer */
	uint64_t sample;		/* its number among all, or 0 */
	struct sde__zarr_hooks hooks;
};

void sim_free_options(struct sde_zarr_options *options, uint64_t *dice)
{
	if (sim_below(dice, 2))
		options->segments = 2 + (unsigned)sim_below(dice, 3);
	options->layout = (enum sde_layout)sim_below(dice, 3);
}

static uint64_t committed_of(const struct patient *p, struct sde_storage *storage)
{
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_error why = { 0 };

	if (sde_storage_info(storage, &info)) {
		sde_storage_error(storage, &why);
		sim_fail(p->place, "info: %s", why.text);
	}
	return info.committed;
}

/* ------------------------------------------------------------------------
 * As others see it
 */

static void check_published(struct patient *p, uint64_t least, uint64_t most, const char *when)
{
	uint64_t published = 0;
	const char *wrong = sim_zarr_check(p->sim, SIM_PATH, &p->store, &published);

	if (wrong)
		sim_fail(p->place, "%s, any Zarr reader: %s", when, wrong);
	if (published < least || published > most)
		sim_fail(p->place, "%s, %" PRIu64 " are published, not %" PRIu64 " to %" PRIu64, when,
			 published, least, most);
}

/* As check_published; perhaps other readers are to see it as well. */
static void check_and_sample(struct patient *p, uint64_t least, uint64_t most, const char *when)
{
	uint64_t published = 0;
	const char *wrong = NULL;

	check_published(p, least, most, when);
	if (!p->sample || p->depth)
		return;
	wrong = sim_zarr_check(p->sim, SIM_PATH, &p->store, &published);
	if (!wrong)
		wrong = sim_sample(p->sim, SIM_PATH, &p->store, published, p->sample,
				   *when == 'b' ? "before" : "after");
	if (wrong)
		sim_fail(p->place, "%s", wrong);
	sim_totals.exported++;
}

static void check_values(struct patient *p, struct sde_storage *storage, uint64_t count,
			 const char *when)
{
	const char *wrong = sim_store_compare(&p->store, storage, count);

	if (wrong)
		sim_fail(p->place, "%s: %s (%" PRIu64 " snapshots)", when, wrong, count);
}

/* Read-only; returns how many there are. */
static uint64_t check_view(struct patient *p, const char *when)
{
	struct sde_error why = { 0 };
	struct sde_storage *storage;
	uint64_t count;

	if (sde__zarr_open(&storage, SIM_PATH, NULL, &p->hooks, &why))
		sim_fail(p->place, "%s, open: %s", when, why.text);
	count = committed_of(p, storage);
	if (!sim_store_allows(&p->store, p->power, count))
		sim_fail(p->place, "%s, open finds %" PRIu64 " snapshots", when, count);
	check_values(p, storage, count, when);
	sde_storage_close(storage);
	return count;
}

/* ------------------------------------------------------------------------
 * Recovery
 */

static int try_resume(struct patient *p, struct sde_storage **storage, struct sde_error *why)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	options.sync = p->run->options.sync;
	options.segments = p->run->options.segments;
	options.threads = 1;
	sim_free_options(&options, &p->dice);
	p->layout = options.layout;
	return sde__zarr_resume(storage, SIM_PATH, &options, &p->hooks, why);
}

/* With a device that fails while it recovers: then again, when it does not. */
static struct sde_storage *resume(struct patient *p, const char *when)
{
	struct sde_error why = { 0 };
	struct sde_storage *storage;
	int ret;

	if (p->run->kind->faults && sim_below(&p->dice, 2))
		p->sim->fail_sync_at = 1 + sim_below(&p->dice, 24);
	ret = try_resume(p, &storage, &why);
	p->sim->fail_sync_at = 0;
	if (p->sim->failed) {
		sim_totals.faults++;
		/* what the ring's own sync failed with is not believed */
		p->store.rebooted = true;
		if (ret) {
			sde__error_clear(&why);
			ret = try_resume(p, &storage, &why);
		}
	}
	if (ret)
		sim_fail(p->place, "%s, resume: %s", when, why.text);
	sim_totals.resumed++;
	return storage;
}

/* The process is gone: its files are closed, nothing else. */
static void abandon(struct sim *sim, struct sde_storage *storage)
{
	sim->hook = NULL;
	sim->dead = true;
	sde_storage_close(storage);
	sim->dead = false;
}

static void examine(struct patient *p);

/* An event of a recovery: some of them are its last. */
static void nested_event(void *ctx, const struct sim_event *event)
{
	struct patient *outer = ctx, p;
	enum sim_loss loss;

	if (sim_below(&outer->dice, NESTED_EVENTS))
		return;
	loss = (enum sim_loss)sim_below(&outer->dice, SIM_LOSSES);
	p = *outer;
	p.dice = sim_mix(outer->dice);
	outer->place->nested++;
	if (outer->run->only != SIM_NEVER && outer->run->only_nested != outer->place->nested)
		return;
	outer->place->nested_call = sim_call_name[event->call];
	outer->place->nested_loss = sim_loss_name[loss];
	p.sim = sim_crash(outer->sim, loss, p.dice);
	/* the ring's own sync may have failed: then only what was synced is believed */
	p.store.rebooted |= p.power || outer->sim->failed;
	p.power = loss != SIM_KILLED;
	p.depth = 1;
	sim_totals.states++;
	sim_totals.nested++;
	examine(&p);
	outer->place->nested_call = outer->place->nested_loss = NULL;
}

/* Recovered is recovered: whatever is lost next, it is the same again. */
static void recover_twice(struct patient *p, uint64_t count)
{
	const enum sim_loss loss = p->store.durable ? (enum sim_loss)sim_below(&p->dice, SIM_LOSSES) :
				   SIM_KILLED;
	const enum sde_layout layout = p->layout;
	struct sim *before = p->sim;
	struct sde_storage *storage;
	uint64_t again;

	p->sim = sim_crash(before, loss, p->dice);
	p->hooks.io = &p->sim->io;
	storage = resume(p, "again");
	again = committed_of(p, storage);
	if (again != count)
		sim_fail(p->place, "recovered again after '%s': %" PRIu64 " snapshots, not %" PRIu64,
			 sim_loss_name[loss], again, count);
	check_values(p, storage, count, "again");
	check_published(p, count, count, "again");
	abandon(p->sim, storage);
	sim_free(p->sim);
	p->sim = before;
	p->hooks.io = &p->sim->io;
	p->layout = layout;
}

/* Life goes on: some more, and close. */
static void go_on(struct patient *p, struct sde_storage *storage)
{
	const uint64_t more = sim_below(&p->dice, 2 * p->store.chunk_size + 2);
	uint64_t numbers[SIM_NUMBERS], bits;
	unsigned char state[SIM_STATE];
	struct sde_error why = { 0 };
	double time;

	for (uint64_t i = 0; i < more; i++) {
		struct sim_store *s = &p->store;

		if (s->returned == SIM_SNAPSHOTS)
			break;
		sim_store_next(s);
		sim_snapshot(s, s->returned, p->layout, numbers);
		if (s->state_capacity)
			sde_storage_set_state(storage, state, sim_state(s, s->returned, state));
		bits = sim_time(s, s->returned);
		memcpy(&time, &bits, sizeof(time));
		if (sde_storage_store(storage, time, numbers, sim_iteration(s, s->returned)))
			break;
		s->returned++;
	}
	if (sde_storage_close_error(storage, &why))
		sim_fail(p->place, "close behind it: %s", why.text);
}

static bool will_sync(const struct patient *p)
{
	return p->run->options.sync != SDE_SYNC_NONE;
}

static void examine_recovery(struct patient *p, uint64_t seen)
{
	const bool nest = !p->depth && p->run->kind->nested &&
			  sim_below(&p->dice, p->run->kind->nested) == 0;
	struct sde_storage *storage;
	uint64_t count;

	/* the policy is that of who recovers: it need not be the store's */
	p->store.durable &= will_sync(p);
	if (nest) {
		p->sim->hook = nested_event;
		p->sim->hook_ctx = p;
	}
	storage = resume(p, "after it");
	p->sim->hook = NULL;
	count = committed_of(p, storage);
	if (!sim_store_allows(&p->store, p->power, count))
		sim_fail(p->place, "resume finds %" PRIu64 " snapshots", count);
	if (seen != SIM_NEVER && seen != count && !p->sim->failed)
		sim_fail(p->place, "resume finds %" PRIu64 " snapshots, open found %" PRIu64, count,
			 seen);
	check_and_sample(p, count, count, "recovered");
	p->store.durable = will_sync(p);
	sim_store_settle(&p->store, count);
	p->power = false;
	if (sim_below(&p->dice, 2))
		check_values(p, storage, count, "recovered");
	/* there is only one creation in a life */
	if (sim_below(&p->dice, p->run->creating ? 2 : 8) == 0)
		recover_twice(p, count);
	if (sim_below(&p->dice, 4)) {
		abandon(p->sim, storage);
		return;
	}
	go_on(p, storage);
	count = p->store.returned;
	check_published(p, count, count, "closed");
	if (check_view(p, "closed") != count)
		sim_fail(p->place, "closed, but not with %" PRIu64 " snapshots", count);
}

/*
 * And a chunk file has been lost, too, by whatever means: an error or a prefix, but no
 * slot that has long been used again.
 */
static void examine_damaged(struct patient *p)
{
	const uint64_t chunks = (p->store.high + p->store.chunk_size - 1) / p->store.chunk_size;
	/* one of those whose slots may have been used again just now */
	const uint64_t back = sim_below(&p->dice, chunks < 4 ? chunks + 1 : 4);
	struct sim_store *s = &p->store;
	struct sim *sim = p->sim;
	struct sde_storage *storage;
	struct sde_error why = { 0 };
	char path[64];

	if (back >= chunks)
		return;
	snprintf(path, sizeof(path), s->zarr_format == 3 ? SIM_PATH "/data/c/0/0/%" PRIu64 :
		 SIM_PATH "/data/.side/%" PRIu64, chunks - 1 - back);
	p->sim = sim_crash(sim, p->power ? SIM_EVERYTHING : SIM_KILLED, p->dice);
	/* the second boot is the first one after the loss, for the ring */
	p->sim->boot = sim->boot;
	sim_remove(p->sim, path);
	p->hooks.io = &p->sim->io;
	if (!sde__zarr_open(&storage, SIM_PATH, NULL, &p->hooks, &why)) {
		const uint64_t count = committed_of(p, storage);
		const char *wrong = sim_store_compare(s, storage, count);

		if (count > s->high)
			sim_fail(p->place, "%s lost: %" PRIu64 " snapshots", path, count);
		/* what lies in the lost chunk cannot be read, and says so */
		if (wrong && !strstr(wrong, "missing"))
			sim_fail(p->place, "%s lost: %s", path, wrong);
		sde_storage_close(storage);
	}
	sim_free(p->sim);
	p->sim = sim;
	p->hooks.io = &sim->io;
}

/* ------------------------------------------------------------------------
 * The state
 */

/* Policy none, and the power lost: nothing is promised but that nothing breaks. */
static void examine_ruin(struct patient *p)
{
	struct sde_storage *storage;
	struct sde_error why = { 0 };

	if (!sde__zarr_open(&storage, SIM_PATH, NULL, &p->hooks, &why)) {
		struct sde_storage_info info = SDE_STORAGE_INFO_INIT;

		/* as many as there may be, and whatever is in them */
		if (!sde_storage_info(storage, &info) && info.committed <= p->store.high)
			sim_store_compare(&p->store, storage, info.committed);
		sde_storage_close(storage);
	}
	sde__error_clear(&why);
	if (!try_resume(p, &storage, &why)) {
		sim_totals.resumed++;
		go_on(p, storage);
	}
}

/* Which store is it that has the name? False: there is none, as it may be. */
static bool identify(struct patient *p)
{
	const struct sim_run *run = p->run;
	uint64_t id;

	if (!sim_exists(p->sim, SIM_PATH)) {
		if (!run->creating || run->replacing)
			sim_fail(p->place, "there is no store any more");
		return false;
	}
	id = sim_zarr_id(p->sim, SIM_PATH);
	if (id == p->store.id)
		return true;
	if (!run->replacing || id != run->old.id)
		sim_fail(p->place, "the store is number %" PRIu64 ", not %" PRIu64, id, p->store.id);
	p->store = run->old;
	return true;
}

/* Of a store in the place of another either may be what is found. */
static bool is_durable(const struct patient *p)
{
	return p->store.durable && (!p->run->replacing || p->run->old.durable);
}

static void examine(struct patient *p)
{
	uint64_t least, seen = SIM_NEVER;

	p->hooks = (struct sde__zarr_hooks){ .io = &p->sim->io, .synchronous = true };
	if (p->power && !is_durable(p)) {
		examine_ruin(p);
	} else if (identify(p)) {
		least = p->store.published;
		if (least > p->store.truncate_to)
			least = p->store.truncate_to;
		check_and_sample(p, least, p->store.high, "before recovery");
		if (sim_below(&p->dice, 2))
			seen = check_view(p, "before recovery");
		if (sim_below(&p->dice, p->power ? 4 : 12) == 0)
			examine_damaged(p);
		examine_recovery(p, seen);
	}
	sim_free(p->sim);
}

void sim_examine(const struct sim_run *run, struct sim *sim, enum sim_loss loss, uint64_t seed,
		 struct sim_place *place)
{
	struct patient p = { .run = run, .sim = sim, .store = run->store, .power = loss != SIM_KILLED,
			     .dice = seed, .place = place };

	sim_totals.states++;
	sim_totals.by_loss[loss]++;
	p.sample = sim_is_sample(sim_totals.states) ? sim_totals.states : 0;
	examine(&p);
}

/* The view that is held is the newest of those that were opened, now and then. */
static void hold_view(struct patient *p, struct sim_run *run)
{
	struct sde_error why = { 0 };

	sde_storage_close(run->view);
	if (sde__zarr_open(&run->view, SIM_PATH, NULL, &p->hooks, &why))
		sim_fail(p->place, "while it runs, open: %s", why.text);
	run->viewed = committed_of(p, run->view);
}

void sim_examine_live(struct sim_run *run, struct sim_place *place)
{
	struct patient p = { .run = run, .sim = run->sim, .store = run->store, .place = place };

	p.hooks = (struct sde__zarr_hooks){ .io = &p.sim->io, .synchronous = true };
	sim_totals.live++;
	if (run->view)
		check_values(&p, run->view, run->viewed, "by a reader from before");
	if (!identify(&p))
		return;
	check_view(&p, "while it runs");
	if (!run->view || sim_mix(place->state) % 16 == 0)
		hold_view(&p, run);
}
