sde-inspect --repair --truncate 4x small.zarr 2>&1
