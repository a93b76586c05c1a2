sde-export missing.zarr o.npz 2>&1
status=$?
ls
exit $status
