sde-inspect --bogus store.zarr 2>&1
