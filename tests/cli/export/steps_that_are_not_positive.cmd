for text in ::0 ::-1 5:1:-2 ::-0; do
	sde-export --trajectories "$text" s.zarr o.npz 2>&1 >/dev/null | head -n 1
done
sde-export --dimensions ::0 s.zarr o.npz 2>&1
