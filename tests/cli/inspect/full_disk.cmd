store_writer small.zarr 4 12 close && sde-inspect small.zarr 2>&1 >/dev/full
