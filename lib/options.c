/* SPDX-License-Identifier: MIT */
/* Structs that begin with their size, and ensembles: see options.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "options.h"

#include "crew.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

int sde__options_take(void *own, size_t own_size, size_t least_size, const void *user,
		      const char *name, struct sde_error *error)
{
	const unsigned char *bytes = user;
	size_t size;

	memset(own, 0, own_size);
	if (!user)
		return 0;
	memcpy(&size, user, sizeof(size));
	if (size < least_size)
		return sde__fail(error, -EINVAL,
				 "%s has size %zu, too small: begin with its _INIT macro", name, size);
	for (size_t i = own_size; i < size; i++)
		if (bytes[i])
			return sde__fail(error, -E2BIG,
					 "%s has a field that this version of the library does not know",
					 name);
	memcpy(own, user, size < own_size ? size : own_size);
	return 0;
}

int sde__open_options_take(struct sde_open_options *own, const struct sde_open_options *options,
			   struct sde_error *error)
{
	const int ret = sde__options_take(own, sizeof(*own),
					  offsetof(struct sde_open_options, on_hole), options,
					  "struct sde_open_options", error);

	if (ret)
		return ret;
	if ((int)own->ring < 0 || own->ring > SDE_RING_DISCARD)
		return sde__fail(error, -EINVAL, "option ring has no value %d", (int)own->ring);
	if ((int)own->on_hole < 0 || own->on_hole > SDE_HOLE_NAN)
		return sde__fail(error, -EINVAL, "option on_hole has no value %d",
				 (int)own->on_hole);
	if (own->threads > SDE__CREW_MAX)
		return sde__fail(error, -EINVAL, "option threads is %u, more than %d", own->threads,
				 SDE__CREW_MAX);
	return 0;
}

int sde__ensemble_check(const struct sde_ensemble *ensemble, struct sde_error *error)
{
	if (!ensemble)
		return sde__fail(error, -EINVAL, "no ensemble given");
	if (!ensemble->dimension || !ensemble->trajectories)
		return sde__fail(error, -EINVAL,
				 "dimension %" PRIu64 " and trajectories %" PRIu64 " must be at least 1",
				 ensemble->dimension, ensemble->trajectories);
	if (ensemble->dtype != SDE_FLOAT64 && ensemble->dtype != SDE_FLOAT32)
		return sde__fail(error, -EINVAL, "dtype %d is neither float64 nor float32",
				 (int)ensemble->dtype);
	return 0;
}
