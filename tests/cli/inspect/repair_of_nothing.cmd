sde-inspect --repair --json missing.zarr
