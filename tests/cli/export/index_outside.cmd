store_writer s.zarr 4 12 close
for text in 12 -13 99999999999999999999 -99999999999999999999; do
	sde-export --time "$text" s.zarr o.npz 2>&1
done
status=$?
ls
exit $status
