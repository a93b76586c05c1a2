/* SPDX-License-Identifier: MIT */
/* An open .npz file and what of it is in memory: see npz_file.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "npz_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void file_free(struct sde__npz_file *npz)
{
	if (npz->map)
		npz->io->unmap(npz->io->ctx, npz->map, npz->map_size);
	for (int i = 0; i < SDE__NPZ_MEMBERS; i++)
		free(npz->whole[i]);
	sde__npz_close(npz->reader);
	pthread_mutex_destroy(&npz->lock);
	free(npz->path);
	free(npz);
}

void sde__npz_file_ref(struct sde__npz_file *npz)
{
	__atomic_add_fetch(&npz->references, 1, __ATOMIC_RELAXED);
}

void sde__npz_file_unref(void *ctx)
{
	struct sde__npz_file *npz = ctx;

	if (!__atomic_sub_fetch(&npz->references, 1, __ATOMIC_ACQ_REL))
		file_free(npz);
}

/* ------------------------------------------------------------------------
 * Whole members in memory
 */

static int inflate_all(struct sde__npz_file *npz, enum sde__npz_member member, void **out,
		       struct sde_error *error)
{
	const uint64_t bytes = sde__npz_array(npz->reader, member)->bytes;
	struct sde__inflater *stream;
	unsigned char *memory = bytes > PTRDIFF_MAX ? NULL : malloc((size_t)bytes | 1);
	int ret;

	if (!memory)
		return sde__fail(error, -ENOMEM, "no memory for the %" PRIu64 " bytes of an array of"
				 " '%s'", bytes, npz->path);
	ret = sde__npz_stream_open(&stream, npz->reader, member, error);
	if (!ret) {
		ret = sde__inflater_read(stream, memory, (size_t)bytes, error);
		sde__inflater_close(stream);
	}
	if (ret)
		free(memory);
	else
		*out = memory;
	return ret;
}

int sde__npz_file_hold(struct sde__npz_file *npz, enum sde__npz_member member, const void **out,
		       struct sde_error *error)
{
	int ret = 0;

	pthread_mutex_lock(&npz->lock);
	if (!npz->whole[member])
		ret = inflate_all(npz, member, &npz->whole[member], error);
	*out = npz->whole[member];
	pthread_mutex_unlock(&npz->lock);
	return ret;
}

const void *sde__npz_file_held(struct sde__npz_file *npz, enum sde__npz_member member)
{
	const void *memory;

	pthread_mutex_lock(&npz->lock);
	memory = npz->whole[member];
	pthread_mutex_unlock(&npz->lock);
	return memory;
}

int sde__npz_file_map(struct sde__npz_file *npz, const void **base, struct sde_error *error)
{
	const size_t size = (size_t)(npz->data->offset + npz->data->bytes);
	int ret = 0;

	pthread_mutex_lock(&npz->lock);
	if (!npz->map) {
		ret = npz->io->map(npz->io->ctx, sde__npz_handle(npz->reader), size, false,
				   &npz->map);
		if (ret)
			npz->map = NULL;
		else
			npz->map_size = size;
	}
	if (npz->map)
		*base = (const unsigned char *)npz->map + npz->data->offset;
	pthread_mutex_unlock(&npz->lock);
	return ret ? sde__fail_why(error, ret, "cannot map '%s'", npz->path) : 0;
}

static int open_reader(struct sde__npz_file *npz, const char *path, struct sde_error *error)
{
	struct sde_error why = { 0 };
	int ret;

	npz->path = strdup(path);
	if (!npz->path)
		return sde__fail(error, -ENOMEM, "out of memory");
	ret = sde__npz_open(&npz->reader, npz->io, path, &why);
	if (ret == SDE_E_NOT_STORE)
		return sde__fail(error, ret, "%s, and no Zarr store either", why.text);
	if (ret)
		return sde__fail(error, ret, "%s", why.text);
	npz->data = sde__npz_array(npz->reader, SDE__NPZ_DATA);
	npz->item = sde__dtype_size(npz->data->npy.dtype);
	npz->dimension = npz->data->npy.shape[0];
	npz->trajectories = npz->data->npy.shape[1];
	npz->snapshots = npz->data->npy.shape[2];
	/* fits: all bytes do. Without snapshots it is not asked for */
	if (npz->snapshots)
		npz->snapshot_bytes = npz->data->bytes / npz->snapshots;
	return 0;
}

int sde__npz_file_open(struct sde__npz_file **out, const struct sde__io *io, const char *path,
		       struct sde_error *error)
{
	struct sde__npz_file *npz = calloc(1, sizeof(*npz));
	int ret;

	*out = NULL;
	if (!npz)
		return sde__fail(error, -ENOMEM, "out of memory");
	npz->io = io;
	npz->references = 1;
	pthread_mutex_init(&npz->lock, NULL);
	ret = open_reader(npz, path, error);
	if (ret)
		sde__npz_file_unref(npz);
	else
		*out = npz;
	return ret;
}
