store_writer small.zarr 4 12 close && sde-inspect --verify --json small.zarr | sed -n "/\"verify\"/,\$p"
sde-inspect --verify small.zarr | grep verify
