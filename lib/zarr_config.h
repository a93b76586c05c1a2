/* SPDX-License-Identifier: MIT */
/*
 * The options of a Zarr storage, taken apart, defaulted and checked: everything
 * a writer needs to know before it touches a file.
 */
#ifndef SDE_LIB_ZARR_CONFIG_H
#define SDE_LIB_ZARR_CONFIG_H

#include "codec.h"
#include "metadata.h"
#include "slot.h"

struct sde__zarr_config {
	struct sde_zarr_options options;	/* as given; texts not owned */
	struct sde__metadata metadata;		/* owned */
	struct sde__slot_layout layout;
	struct sde__codec codec;
	unsigned char run[16];
	/* never DEFAULT or 0 */
	enum sde_sync sync;
	unsigned sync_interval_ms, threads;
	struct sde__log log;
};

/*
 * Options of a new store. The run id is not set yet. column_width: of one that several
 * write (geometry.h); 0: it has one column.
 */
int sde__zarr_config_new(struct sde__zarr_config *config, const struct sde_ensemble *ensemble,
			 const struct sde_zarr_options *options, struct sde_error *error);
int sde__zarr_config_new_columns(struct sde__zarr_config *config,
				 const struct sde_ensemble *ensemble, uint64_t column_width,
				 const struct sde_zarr_options *options, struct sde_error *error);

/*
 * That of one column's writer: the same with its layout. What the metadata owns stays
 * with `config`, which must outlive it.
 */
int sde__zarr_config_column(struct sde__zarr_config *own, const struct sde__zarr_config *config,
			    uint64_t column, struct sde_error *error);

/*
 * Options for an existing store: check that they are the caller's to choose.
 * SDE_E_MISMATCH names the option and both values. The store's metadata is
 * taken over afterwards with sde__zarr_config_adopt.
 */
int sde__zarr_config_resumed(struct sde__zarr_config *config,
			     const struct sde_zarr_options *options, struct sde_error *error);
int sde__zarr_config_adopt(struct sde__zarr_config *config, struct sde__metadata *metadata,
			   const char *path, struct sde_error *error);

/* A new run id: into config->run and, in hex, config->metadata.run. */
void sde__zarr_config_set_run(struct sde__zarr_config *config, const unsigned char run[16]);

/* The ring will lie where no device has to be waited for: fewer segments may do. */
void sde__zarr_config_in_memory(struct sde__zarr_config *config);

/* The bytes a writer with this configuration takes at most, wherever its ring lies. */
uint64_t sde__zarr_config_memory(const struct sde__zarr_config *config);

/* Warn of sizes that work, but badly. */
void sde__zarr_config_warn(const struct sde__zarr_config *config);

void sde__zarr_config_clear(struct sde__zarr_config *config);

#endif
