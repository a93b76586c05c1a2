store_writer s.zarr 4 12 close
echo precious >o.npz
sde-export s.zarr o 2>&1
status=$?
cat o.npz
exit $status
