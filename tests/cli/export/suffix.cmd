store_writer s.zarr 4 12 close
mkdir d
for out in plain has.npz two.npz.npz upper.NPZ npz d/in; do
	sde-export s.zarr d/../$out
done
status=$?
find . -name '*npz' -o -name '*NPZ' | sort
exit $status
