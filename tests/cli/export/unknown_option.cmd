sde-export --bogus s.zarr o.npz 2>&1
