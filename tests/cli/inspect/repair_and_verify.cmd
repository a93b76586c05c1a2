sde-inspect --repair --verify small.zarr
