sde-inspect missing.zarr
