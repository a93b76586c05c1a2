store_writer s.zarr 4 12 close
sde-export --time :3 --time 4: s.zarr o.npz && members o.npz
