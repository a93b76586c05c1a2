store_writer s.zarr 4 12 close
for text in 3:3 5:2 12: 100:200 :-12 :-99 -1:-2 :0; do
	sde-export --time "$text" s.zarr o.npz 2>&1
done
sde-export --trajectories 8: s.zarr o.npz 2>&1
sde-export --dimensions 2:1 s.zarr o.npz 2>&1
status=$?
ls
exit $status
