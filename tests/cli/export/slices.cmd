store_writer s.zarr 4 12 close
sde-export --time 3:-1:2 --trajectories -3: --dimensions :1 s.zarr o.npz && members o.npz
