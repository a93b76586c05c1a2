sde-export s.zarr o.npz p.npz 2>&1
