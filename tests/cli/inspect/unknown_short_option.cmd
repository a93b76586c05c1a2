sde-inspect --json -xh store.zarr 2>&1
