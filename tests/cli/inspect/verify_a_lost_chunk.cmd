store_writer small.zarr 4 12 close && rm small.zarr/data/c/0/0/1 small.zarr/iteration/c/0
sde-inspect --verify small.zarr | sed -n "/^  verify/,\$p"
sde-inspect --verify small.zarr >/dev/null
