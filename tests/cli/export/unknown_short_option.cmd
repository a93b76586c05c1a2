sde-export --force -xh s.zarr o.npz 2>&1
