store_writer s.zarr 4 12 close
sde-export s.zarr o.npz && members o.npz
