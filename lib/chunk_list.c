/* SPDX-License-Identifier: MIT */
/* Listing the directories of chunk files: see chunk_list.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "chunk_list.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS, SIDES };	/* the directories; format 3 has only the first */

struct entry_ctx {
	struct sde__chunk_list *list;
	int which;
};

/* The chunk a name belongs to: exactly as shard.h writes names, or not at all. */
static bool parse_name(const struct sde__home *home, int which, const char *name, uint64_t *index)
{
	char again[SDE__SHARD_NAME_SIZE];
	uint64_t inner = 0;
	char *end;

	if (*name < '0' || *name > '9')
		return false;
	*index = strtoull(name, &end, 10);
	if (home->format == 2 && which == CHUNKS) {
		if (*end == '.')
			inner = strtoull(end + 1, &end, 10);
		if (*end == '.')
			*index = strtoull(end + 1, &end, 10);
		sde__shard_inner_name(again, inner, *index);
	} else {
		sde__shard_name(again, *index);
	}
	return !*end && !strcmp(again, name);
}

static int list_entry(void *ctx, const char *name)
{
	const struct entry_ctx *c = ctx;
	struct sde__chunk_list *list = c->list;
	uint64_t index;
	size_t *count = &list->stray[c->which].count, *room = &list->stray[c->which].room;

	if (parse_name(list->home, c->which, name, &index) && index < list->chunks) {
		list->seen[index / 8] = (unsigned char)(list->seen[index / 8] | 1u << index % 8);
		return 0;
	}
	if (*count == *room) {
		const size_t more = *room ? 2 * *room : 16;
		char **grown = realloc(list->stray[c->which].name, more * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		list->stray[c->which].name = grown;
		*room = more;
	}
	list->stray[c->which].name[*count] = strdup(name);
	return list->stray[c->which].name[*count] ? (++*count, 0) : -ENOMEM;
}

static int directory(const struct sde__home *home, int which)
{
	return which == SIDES ? home->side : home->shards;
}

int sde__chunk_list_read(struct sde__chunk_list *list, const struct sde__home *home,
			 uint64_t chunks, struct sde_error *error)
{
	int ret = 0;

	memset(list, 0, sizeof(*list));
	list->home = home;
	list->chunks = chunks;
	list->seen = calloc(1, (size_t)(chunks / 8 + 1));
	if (!list->seen)
		return sde__fail(error, -ENOMEM, "out of memory");
	for (int which = CHUNKS; which <= (home->format == 2 ? SIDES : CHUNKS) && !ret; which++) {
		struct entry_ctx ctx = { list, which };

		ret = home->io->list(home->io->ctx, directory(home, which), list_entry, &ctx);
	}
	return ret ? sde__fail_why(error, ret, "cannot list the chunks of '%s'", home->path) : 0;
}

int sde__chunk_list_check(const struct sde__chunk_list *list,
			  const struct sde__geometry *geometry, struct sde_error *error)
{
	const struct sde__home *home = list->home;
	uint64_t files, bytes;
	int ret;

	for (uint64_t i = 0; i < list->chunks; i++) {
		if (!(list->seen[i / 8] >> i % 8 & 1))
			return sde__fail(error, SDE_E_HOLE, "'%s/data/%s%" PRIu64 "' is missing",
					 home->path, home->format == 2 ? "0.0." : "c/0/0/", i);
		if (home->format != 2)
			continue;
		ret = sde__shard_stat(home, geometry, i, &files, &bytes, error);
		if (ret)
			return ret;
		if (files < sde__shard_files(home, geometry))
			return sde__fail(error, SDE_E_HOLE, "a file '%s/data/0.*.%" PRIu64 "' is missing",
					 home->path, i);
	}
	return 0;
}

static bool is_leftover(const struct sde__home *home, int which, const char *name, uint64_t chunks)
{
	const size_t n = strlen(name);
	uint64_t index;

	if (n > 4 && !strcmp(name + n - 4, ".tmp"))
		return true;
	return parse_name(home, which, name, &index) && index >= chunks;
}

int sde__chunk_list_clean(const struct sde__chunk_list *list, uint64_t chunks,
			  struct sde_error *error)
{
	const struct sde__home *home = list->home;
	const struct sde__io *io = home->io;

	for (int which = SIDES; which >= CHUNKS; which--) {
		for (size_t i = 0; i < list->stray[which].count; i++) {
			const char *name = list->stray[which].name[i];
			int ret;

			if (!is_leftover(home, which, name, chunks))
				continue;
			/* gone already where recovery wrote that chunk itself */
			ret = io->remove_at(io->ctx, directory(home, which), name, false);
			if (ret && ret != -ENOENT)
				return sde__fail_why(error, ret, "cannot remove the leftover '%s' of '%s'",
						     name, home->path);
		}
	}
	return 0;
}

void sde__chunk_list_free(struct sde__chunk_list *list)
{
	for (int which = CHUNKS; which <= SIDES; which++) {
		for (size_t i = 0; i < list->stray[which].count; i++)
			free(list->stray[which].name[i]);
		free(list->stray[which].name);
	}
	free(list->seen);
	memset(list, 0, sizeof(*list));
}

int sde__chunk_list_count(const struct sde__home *home, const struct sde__geometry *geometry,
			  uint64_t chunks, uint64_t *files, uint64_t *bytes,
			  struct sde_error *error)
{
	uint64_t f, b;
	int ret = 0;

	*files = *bytes = 0;
	for (uint64_t i = 0; i < chunks && !ret; i++) {
		ret = sde__shard_stat(home, geometry, i, &f, &b, error);
		*files += f;
		*bytes += b;
	}
	return ret;
}
