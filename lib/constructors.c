/* SPDX-License-Identifier: MIT */
/* The public constructors and sde_npz_write: the real file system, threads on. */
#include "npz_export.h"
#include "npz_open.h"
#include "numpy_storage.h"
#include "zarr_config.h"
#include "zarr_storage.h"

#include <errno.h>

static const struct sde__zarr_hooks hooks = { .io = &sde__io_posix, .synchronous = false };

int sde_zarr_storage_create(struct sde_storage **out, const char *save_directory,
			    const struct sde_ensemble *ensemble,
			    const struct sde_zarr_options *options, struct sde_error *error)
{
	return sde__zarr_create(out, save_directory, ensemble, options, &hooks, error);
}

int sde_zarr_storage_resume(struct sde_storage **out, const char *save_directory,
			    const struct sde_zarr_options *options, struct sde_error *error)
{
	return sde__zarr_resume(out, save_directory, options, &hooks, error);
}

int sde_storage_open(struct sde_storage **out, const char *path,
		     const struct sde_open_options *options, struct sde_error *error)
{
	struct sde__stat st;

	if (out && path && *path && !hooks.io->stat_at(hooks.io->ctx, -1, path, &st) && st.is_file)
		return sde__npz_storage_open(out, path, options, hooks.io, error);
	return sde__zarr_open(out, path, options, &hooks, error);
}

int sde_zarr_storage_repair(const char *path, const struct sde_repair_options *options,
			    struct sde_error *error)
{
	return sde__zarr_repair(path, options, hooks.io, error);
}

int sde_zarr_memory_estimate(const struct sde_ensemble *ensemble,
			     const struct sde_zarr_options *options, uint64_t *bytes)
{
	struct sde__zarr_config config;
	int ret;

	if (!bytes)
		return -EINVAL;
	*bytes = 0;
	ret = sde__zarr_config_new(&config, ensemble, options, NULL);
	if (ret)
		return ret;
	*bytes = sde__zarr_config_memory(&config);
	sde__zarr_config_clear(&config);
	return 0;
}

int sde_numpy_storage_create(struct sde_storage **out, const struct sde_ensemble *ensemble,
			     const struct sde_numpy_options *options, struct sde_error *error)
{
	return sde__numpy_create(out, ensemble, options, hooks.io, error);
}

int sde_npz_write(const char *path, const struct sde_array *time, const struct sde_array *data,
		  const struct sde_array *iteration, const struct sde_npz_options *options,
		  struct sde_error *error)
{
	return sde__npz_export(hooks.io, path, time, data, iteration, options, error);
}
