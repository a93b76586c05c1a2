sde-export --on-hole maybe s.zarr o.npz 2>&1
