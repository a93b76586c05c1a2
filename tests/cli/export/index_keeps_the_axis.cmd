store_writer s.zarr 4 12 close
sde-export --time -1 --trajectories 3 s.zarr o.npz && members o.npz
