store_writer s.zarr 4 12 close
sde-export --c-order s.zarr o.npz && members o.npz
