for n in 0 257 -1 many 2x ''; do
	sde-export --threads "$n" s.zarr o.npz 2>&1 >/dev/null | head -n 1
done
sde-export --threads 0 s.zarr o.npz 2>&1
