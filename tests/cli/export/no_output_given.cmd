sde-export s.zarr 2>&1
