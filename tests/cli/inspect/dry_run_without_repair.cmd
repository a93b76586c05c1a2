sde-inspect --dry-run small.zarr
