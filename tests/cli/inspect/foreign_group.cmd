mkdir g.zarr
echo '{"zarr_format": 3, "node_type": "group", "attributes": {"a": 1}}' >g.zarr/zarr.json
sde-inspect --json g.zarr
