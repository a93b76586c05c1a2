sde-export s.zarr o.npz --time 2>&1
