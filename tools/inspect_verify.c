/* SPDX-License-Identifier: MIT */
/*
 * Guards the verdict of --verify: every damage the library reports is kept, and
 * a check that could not be finished is never called good.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "inspect.h"
#include "progress.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct run {
	struct inspect_verify *verify;
	struct progress bar;
	bool out_of_memory;
};

static int note_progress(void *ctx, uint64_t done, uint64_t all)
{
	struct run *run = ctx;

	run->verify->checked = done;
	run->verify->all = all;
	progress_update(&run->bar, done, all);
	return run->out_of_memory;
}

static void note_damage(void *ctx, uint64_t first, uint64_t count, int code,
			const char *text)
{
	struct run *run = ctx;
	struct inspect_verify *verify = run->verify;
	char *copy;

	if (verify->damaged == verify->room) {
		size_t room = verify->room ? 2 * verify->room : 16;
		struct inspect_damage *more =
			realloc(verify->damage, room * sizeof(*more));

		if (!more) {
			run->out_of_memory = true;
			return;
		}
		verify->damage = more;
		verify->room = room;
	}
	copy = strdup(text ? text : sde_strerror(code));
	if (!copy) {
		run->out_of_memory = true;
		return;
	}
	verify->damage[verify->damaged++] = (struct inspect_damage){
		.first = first, .count = count, .code = code, .text = copy
	};
}

static void note_lost(void *ctx, const struct sde_damage *damage)
{
	struct run *run = ctx;

	lost_note(&run->verify->lost, damage);
	run->out_of_memory |= run->verify->lost.out_of_memory;
}

void inspect_verify_run(struct inspect_verify *verify, struct sde_storage *storage,
			const struct sde_storage_info *info)
{
	struct run run = { .verify = verify };
	struct sde_verify calls = { .progress = note_progress, .damage = note_damage, .ctx = &run,
				    .lost = note_lost };
	uint64_t item = info->ensemble.dtype == SDE_FLOAT32 ? 4 : 8;

	memset(verify, 0, sizeof(*verify));
	progress_begin(&run.bar, "verifying",
		       info->ensemble.dimension * info->ensemble.trajectories * item);
	verify->code = sde_storage_verify(storage, &calls);
	progress_end(&run.bar);
	lost_done(&verify->lost);
	if (run.out_of_memory)
		verify->code = -ENOMEM;
	if (!verify->code || (verify->damaged && !run.out_of_memory))
		return;
	if (run.out_of_memory || sde_storage_error(storage, &verify->error) != verify->code) {
		const char *why = sde_strerror(verify->code);

		verify->error.code = verify->code;
		snprintf(verify->error.text, sizeof(verify->error.text),
			 "cannot verify: %s", why);
	}
}

enum status_exit inspect_verify_exit(const struct inspect_verify *verify)
{
	enum status_exit worst = status_exit(verify->code);

	for (size_t i = 0; i < verify->damaged; i++)
		worst = status_worse(worst, status_exit(verify->damage[i].code));
	return worst;
}

void inspect_verify_clear(struct inspect_verify *verify)
{
	for (size_t i = 0; i < verify->damaged; i++)
		free(verify->damage[i].text);
	free(verify->damage);
	lost_clear(&verify->lost);
	memset(verify, 0, sizeof(*verify));
}
