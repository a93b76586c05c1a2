sde-inspect --dry-run small.zarr 2>&1
