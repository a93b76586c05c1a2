sde-inspect --json missing.zarr
