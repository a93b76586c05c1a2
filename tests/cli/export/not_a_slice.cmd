for text in '' a 1:b 1:2:3:4 - 1:-:2 '1, 2' ' 1' 1.0 0x10 :::; do
	sde-export --time "$text" s.zarr o.npz 2>&1 >/dev/null | head -n 1
done
sde-export --time x s.zarr o.npz 2>&1
