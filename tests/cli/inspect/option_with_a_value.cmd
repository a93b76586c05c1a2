sde-inspect --json=yes store.zarr 2>&1
