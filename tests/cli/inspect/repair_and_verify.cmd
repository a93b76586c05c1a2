sde-inspect --repair --verify small.zarr 2>&1
