store_writer small.zarr 4 12 close && rm small.zarr/time/c/0 && touch small.zarr/data/c/0/0/7.tmp
sde-inspect --repair --dry-run small.zarr
