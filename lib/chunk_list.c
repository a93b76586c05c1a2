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

/*
 * The chunk a name belongs to, and in format 2 the inner chunk: exactly as shard.h
 * writes names, or not at all.
 */
static bool parse_name(const struct sde__home *home, int which, const char *name, uint64_t *index,
		       uint64_t *inner_out)
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
	*inner_out = inner;
	return !*end && !strcmp(again, name);
}

static int list_entry(void *ctx, const char *name)
{
	const struct entry_ctx *c = ctx;
	struct sde__chunk_list *list = c->list;
	uint64_t index, inner;

	if (parse_name(list->home, c->which, name, &index, &inner) && index < list->chunks) {
		if (index < list->bits)
			list->seen[index / 8] = (unsigned char)(list->seen[index / 8] |
								1u << index % 8);
		return 0;
	}
	return sde__names_add(&list->stray[c->which], name);
}

static int directory(const struct sde__home *home, int which)
{
	return which == SIDES ? home->side : home->shards;
}

static int count_name(void *ctx, const char *name)
{
	uint64_t *count = ctx;

	(void)name;
	++*count;
	return 0;
}

/*
 * How many bits there need to be: of more chunks than there are names one is missing,
 * and the first missing one has at most that number. (What the metadata says is not
 * enough to allocate by.)
 */
static int measure(struct sde__chunk_list *list)
{
	const struct sde__home *home = list->home;
	uint64_t names = 0;
	const int ret = home->io->list(home->io->ctx, directory(home, CHUNKS), count_name, &names);

	list->bits = names + 1 < list->chunks ? names + 1 : list->chunks;
	return ret;
}

int sde__chunk_list_read(struct sde__chunk_list *list, const struct sde__home *home,
			 uint64_t chunks, struct sde_error *error)
{
	int ret = 0;

	memset(list, 0, sizeof(*list));
	list->home = home;
	list->chunks = chunks;
	ret = measure(list);
	if (ret)
		return sde__fail_why(error, ret, "cannot list the chunks of '%s'", home->path);
	list->seen = calloc(1, (size_t)(list->bits / 8 + 1));
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
	int ret;

	for (uint64_t i = 0; i < list->bits; i++) {
		if (!(list->seen[i / 8] >> i % 8 & 1))
			return home->format == 2 ?
			       sde__fail(error, SDE_E_HOLE, "'%s/data/0.0.%" PRIu64 "' is missing",
					 home->path, i) :
			       sde__fail(error, SDE_E_HOLE,
					 "'%s/data/c/0/%" PRIu64 "/%" PRIu64 "' is missing",
					 home->path, home->column, i);
		ret = home->format == 2 ? sde__shard_is_whole(home, geometry, i, error) : 0;
		if (ret)
			return ret;
	}
	return 0;
}

/* A chunk's name with .tmp behind it: other names are somebody else's. */
static bool is_temporary(const struct sde__home *home, int which, const char *name)
{
	char chunk[SDE__SHARD_NAME_SIZE];
	const size_t n = strlen(name);
	uint64_t index, inner;

	if (n <= 4 || n - 4 >= sizeof(chunk) || strcmp(name + n - 4, ".tmp"))
		return false;
	memcpy(chunk, name, n - 4);
	chunk[n - 4] = '\0';
	return parse_name(home, which, chunk, &index, &inner);
}

static bool is_leftover(const struct sde__home *home, int which, const char *name, uint64_t chunks,
			uint64_t *index)
{
	uint64_t inner;

	if (is_temporary(home, which, name)) {
		*index = UINT64_MAX;
		return true;
	}
	return parse_name(home, which, name, index, &inner) && *index >= chunks;
}

int sde__chunk_list_leftovers(const struct sde__chunk_list *list, uint64_t chunks,
			      int (*each)(void *ctx, bool side, const char *name, uint64_t index),
			      void *ctx)
{
	uint64_t index;
	int ret = 0;

	/* in format 2 a chunk is there when its side table is: that goes first */
	for (int which = SIDES; which >= CHUNKS && !ret; which--)
		for (size_t i = 0; i < list->stray[which].count && !ret; i++) {
			const char *name = list->stray[which].name[i];

			if (is_leftover(list->home, which, name, chunks, &index))
				ret = each(ctx, which == SIDES, name, index);
		}
	return ret;
}

struct clean {
	const struct sde__home *home;
	struct sde_error *error;
};

static int clean_one(void *ctx, bool side, const char *name, uint64_t index)
{
	const struct clean *clean = ctx;
	const struct sde__home *home = clean->home;
	/* gone already where recovery wrote that chunk itself */
	const int ret = home->io->remove_at(home->io->ctx, side ? home->side : home->shards, name,
					    false);

	(void)index;
	/* a directory is nobody's chunk */
	if (ret && ret != -ENOENT && ret != -EISDIR)
		return sde__fail_why(clean->error, ret, "cannot remove the leftover '%s' of '%s'",
				     name, home->path);
	return 0;
}

int sde__chunk_list_clean(const struct sde__chunk_list *list, uint64_t chunks,
			  struct sde_error *error)
{
	struct clean clean = { list->home, error };

	return sde__chunk_list_leftovers(list, chunks, clean_one, &clean);
}

void sde__chunk_list_free(struct sde__chunk_list *list)
{
	for (int which = CHUNKS; which <= SIDES; which++)
		sde__names_free(&list->stray[which]);
	free(list->seen);
	memset(list, 0, sizeof(*list));
}

/* ------------------------------------------------------------------------
 * Files counted: by what is there, not by what the metadata says
 */

struct count {
	const struct sde__home *home;
	uint64_t chunks, inner_files;
	uint64_t *files, *bytes;
	struct sde_error *error;
};

static int count_file(void *ctx, const char *name)
{
	const struct count *c = ctx;
	const struct sde__io *io = c->home->io;
	struct sde__stat st;
	uint64_t index, inner;
	int ret;

	if (!parse_name(c->home, CHUNKS, name, &index, &inner) || index >= c->chunks ||
	    inner >= c->inner_files)
		return 0;
	ret = io->stat_at(io->ctx, c->home->shards, name, &st);
	if (ret == -ENOENT)
		return 0;	/* a truncate is at work */
	if (ret)
		return sde__fail_why(c->error, ret, "cannot stat chunk '%s' of '%s'", name,
				     c->home->path);
	++*c->files;
	*c->bytes += st.size;
	return 0;
}

int sde__chunk_list_count(const struct sde__home *home, const struct sde__geometry *geometry,
			  uint64_t chunks, uint64_t *files, uint64_t *bytes,
			  struct sde_error *error)
{
	struct sde_error why = { 0 };
	struct count c = { home, chunks, sde__shard_files(home, geometry), files, bytes, &why };
	int ret;

	*files = *bytes = 0;
	ret = home->io->list(home->io->ctx, home->shards, count_file, &c);
	if (ret && why.code)
		return sde__fail(error, ret, "%s", why.text);
	return ret ? sde__fail_why(error, ret, "cannot list the chunks of '%s'", home->path) : 0;
}

struct search {
	const struct sde__home *home;
	int which;
	uint64_t chunk;			/* whose inner chunks; UINT64_MAX: chunks */
	uint64_t from, found;
};

static int search_name(void *ctx, const char *name)
{
	struct search *s = ctx;
	uint64_t index, inner;

	if (!parse_name(s->home, s->which, name, &index, &inner))
		return 0;
	if (s->chunk != UINT64_MAX) {
		if (index != s->chunk)
			return 0;
		index = inner;
	}
	if (index >= s->from && index < s->found)
		s->found = index;
	return 0;
}

static int search(struct search *s, uint64_t *next, struct sde_error *error)
{
	const struct sde__home *home = s->home;
	const int ret = home->io->list(home->io->ctx, directory(home, s->which), search_name, s);

	*next = s->found;
	return ret ? sde__fail_why(error, ret, "cannot list the chunks of '%s'", home->path) : 0;
}

int sde__chunk_list_next(const struct sde__home *home, uint64_t from, uint64_t *next,
			 struct sde_error *error)
{
	struct search s = { home, home->format == 2 ? SIDES : CHUNKS, UINT64_MAX, from, UINT64_MAX };

	return search(&s, next, error);
}

int sde__chunk_list_next_inner(const struct sde__home *home, uint64_t chunk, uint64_t from,
			       uint64_t *next, struct sde_error *error)
{
	struct search s = { home, CHUNKS, chunk, from, UINT64_MAX };

	return search(&s, next, error);
}
