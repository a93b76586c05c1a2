/* SPDX-License-Identifier: MIT */
/* A growing list of names: see names.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int sde__names_add(void *ctx, const char *name)
{
	struct sde__names *names = ctx;

	if (names->count == names->room) {
		const size_t room = names->room ? 2 * names->room : 16;
		char **grown = realloc(names->name, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		names->name = grown;
		names->room = room;
	}
	names->name[names->count] = strdup(name);
	if (!names->name[names->count])
		return -ENOMEM;
	names->count++;
	return 0;
}

void sde__names_free(struct sde__names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->name[i]);
	free(names->name);
	*names = (struct sde__names){ 0 };
}
