sde-export --force=yes s.zarr o.npz 2>&1
