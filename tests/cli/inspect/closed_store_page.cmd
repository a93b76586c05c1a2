store_writer small.zarr 4 12 close && sde-inspect small.zarr
