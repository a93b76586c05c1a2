/* SPDX-License-Identifier: MIT */
/*
 * Guards the account of --repair: every step the library tells is kept and printed, in
 * the order it was taken, and behind them what is lost, for people and for programs.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "inspect.h"
#include "json.h"
#include "text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *action_name(enum sde_repair_action action)
{
	static const char *const names[] = {
		[SDE_REPAIR_PUBLISH] = "publish", [SDE_REPAIR_RESTORE] = "restore",
		[SDE_REPAIR_REMOVE] = "remove", [SDE_REPAIR_PUT_BACK] = "put back",
		[SDE_REPAIR_TRUNCATE] = "truncate", [SDE_REPAIR_LOST] = "lost",
	};
	const size_t i = (size_t)action;

	return i < sizeof(names) / sizeof(names[0]) && names[i] ? names[i] : "step";
}

static void note_step(void *ctx, const struct sde_repair_step *step)
{
	struct inspect_repair *repair = ctx;
	struct inspect_step own = { .action = step->action };

	if (step->damage) {
		lost_note(&repair->lost, step->damage);
		return;
	}
	if (repair->steps == repair->room) {
		const size_t room = repair->room ? 2 * repair->room : 16;
		struct inspect_step *more = realloc(repair->step, room * sizeof(*more));

		if (!more) {
			repair->out_of_memory = true;
			return;
		}
		repair->step = more;
		repair->room = room;
	}
	memcpy(own.snapshots, step->snapshots, sizeof(own.snapshots));
	own.file = strdup(step->file);
	own.text = strdup(step->text);
	repair->out_of_memory |= !own.file || !own.text;
	repair->step[repair->steps++] = own;
}

void inspect_repair_run(struct inspect_repair *repair, const struct sde_repair_options *options)
{
	struct sde_repair_options own = *options;

	own.step = note_step;
	own.step_ctx = repair;
	repair->dry_run = own.dry_run;
	repair->code = sde_zarr_storage_repair(repair->path, &own, &repair->error);
	lost_done(&repair->lost);
	if (repair->out_of_memory || repair->lost.out_of_memory) {
		repair->code = repair->error.code = -ENOMEM;
		snprintf(repair->error.text, sizeof(repair->error.text), "out of memory");
	}
}

static void put_step(FILE *out, const struct inspect_step *step)
{
	fprintf(out, "  %-11s ", action_name(step->action));
	if (step->snapshots[0] < step->snapshots[1])
		fprintf(out, "snapshots %" PRIu64 ":%" PRIu64 ": ", step->snapshots[0],
			step->snapshots[1]);
	text_puts(out, step->file);
	fputs(": ", out);
	text_puts(out, step->text);
	putc('\n', out);
}

static void put_lost(FILE *out, const struct lost_range *range)
{
	fprintf(out, "  %-11s ", action_name(SDE_REPAIR_LOST));
	lost_put_parts(out, range->lost);
	fputs(" of ", out);
	lost_put_range(out, range);
	putc('\n', out);
}

void inspect_repair_page(FILE *out, const struct inspect_repair *repair)
{
	text_puts(out, repair->path);
	fputs(!repair->steps && !repair->lost.count ? ": nothing to repair\n" : repair->dry_run ?
	      ": repair would take these steps\n" : ": repair took these steps\n", out);
	for (size_t i = 0; i < repair->steps; i++)
		put_step(out, &repair->step[i]);
	for (size_t i = 0; i < repair->lost.count; i++)
		put_lost(out, &repair->lost.range[i]);
	if (repair->lost.count)
		fputs("hint: what is lost cannot be repaired. Read the rest with on_hole = SDE_HOLE_NAN\n"
		      "      (sde-export --on-hole nan), or keep what is before it with --repair "
		      "--truncate N,\n      after which the store can be resumed\n", out);
	else
		fputs("hint: whether every chunk can be decoded is found out by --verify\n", out);
}

static void emit_step(struct emitter *e, enum sde_repair_action action, const uint64_t snapshots[2],
		      const char *file, const char *text, const struct lost_range *lost)
{
	emit_object(e, NULL);
	emit_string(e, "action", action_name(action));
	emit_array(e, "snapshots");
	emit_unsigned(e, NULL, snapshots[0]);
	emit_unsigned(e, NULL, snapshots[1]);
	emit_end(e);
	if (lost)
		inspect_emit_lost(e, lost);
	emit_string(e, "file", file);
	emit_string(e, "text", text);
	emit_end(e);
}

void inspect_repair_json(FILE *out, const struct inspect_repair *repair)
{
	struct emitter e = { .out = out };

	emit_object(&e, NULL);
	emit_string(&e, "schema", INSPECT_SCHEMA);
	emit_string(&e, "path", repair->path);
	emit_object(&e, "repair");
	emit_bool(&e, "dry_run", repair->dry_run);
	emit_bool(&e, "ok", !repair->code);
	emit_string(&e, "code", status_name(repair->code));
	if (repair->code)
		emit_string(&e, "text", repair->error.text);
	else
		emit_null(&e, "text");
	emit_array(&e, "steps");
	for (size_t i = 0; i < repair->steps; i++)
		emit_step(&e, repair->step[i].action, repair->step[i].snapshots,
			  repair->step[i].file, repair->step[i].text, NULL);
	for (size_t i = 0; i < repair->lost.count; i++)
		emit_step(&e, SDE_REPAIR_LOST, repair->lost.range[i].snapshots,
			  repair->lost.range[i].file, repair->lost.range[i].text,
			  &repair->lost.range[i]);
	emit_end(&e);
	emit_end(&e);
	emit_end(&e);
}

void inspect_repair_clear(struct inspect_repair *repair)
{
	for (size_t i = 0; i < repair->steps; i++) {
		free(repair->step[i].file);
		free(repair->step[i].text);
	}
	free(repair->step);
	lost_clear(&repair->lost);
}
