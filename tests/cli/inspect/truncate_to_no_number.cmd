sde-inspect --repair --truncate 4x small.zarr
