/* SPDX-License-Identifier: MIT */
/* Which planted bug is made, in the build that has them: see planted.h. */
#include "planted.h"

#ifdef SDE_PLANTED
#include <stdlib.h>
#include <string.h>

bool sde__planted(const char *name)
{
	const char *chosen = getenv("SDE_PLANTED");

	return chosen && !strcmp(chosen, name);
}
#endif
