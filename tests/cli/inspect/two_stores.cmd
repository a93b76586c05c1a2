sde-inspect one.zarr two.zarr 2>&1
