store_writer small.zarr 4 12 close && sde-inspect --repair small.zarr && sde-inspect --repair --json small.zarr
