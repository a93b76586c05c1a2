store_writer small.zarr 4 0 close && sde-inspect small.zarr && sde-inspect --json small.zarr
