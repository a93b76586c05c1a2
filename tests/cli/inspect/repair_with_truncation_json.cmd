store_writer small.zarr 4 12 close && rm small.zarr/data/c/0/0/1
sde-inspect --repair --truncate 4 --json small.zarr
