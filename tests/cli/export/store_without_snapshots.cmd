store_writer s.zarr 4 0 close
sde-export s.zarr o.npz 2>&1
status=$?
ls
exit $status
