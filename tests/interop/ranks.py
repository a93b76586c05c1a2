# SPDX-License-Identifier: MIT
"""Read a store of several ranks (tests/mpi/run), by zarr-python 3 and xarray.

    ranks.py STORE WIDTH SNAPSHOTS

Shards are WIDTH trajectories wide; there are SNAPSHOTS, or more. Every value is compared
with the arithmetic that made it.
"""
import sys

import numpy
import xarray
import zarr

STORE, WIDTH, SNAPSHOTS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
D, N, T = 2, 61, 8


def expected(snapshots):
    d, n, m = numpy.meshgrid(numpy.arange(D), numpy.arange(N), numpy.arange(snapshots),
                             indexing="ij")
    return 1000.0 * m + 1e9 * n + 0.25 * d


group = zarr.open_group(STORE, mode="r")
data = group["data"]
snapshots = data.shape[2]
assert data.shape[:2] == (D, N), data.shape
assert snapshots == SNAPSHOTS or snapshots > SNAPSHOTS > 21, snapshots
assert data.shards == (D, WIDTH, T), data.shards
assert WIDTH % data.chunks[1] == 0, data.chunks
assert numpy.array_equal(data[:], expected(snapshots))
assert numpy.array_equal(group["time"][:], 0.5 * numpy.arange(snapshots))
assert numpy.array_equal(group["iteration"][:], numpy.arange(snapshots))
# across columns, and the last trajectory alone
assert numpy.array_equal(data[1, 10:50:7, 3:12], expected(snapshots)[1, 10:50:7, 3:12])
assert numpy.array_equal(data[:, N - 1, :], expected(snapshots)[:, N - 1, :])
assert group.metadata.consolidated_metadata is not None

frame = xarray.open_zarr(STORE, decode_times=False)
assert frame["data"].dims == ("dimension", "trajectory", "time")
assert numpy.array_equal(frame["data"].values, expected(snapshots))
assert numpy.array_equal(frame["time"].values, 0.5 * numpy.arange(snapshots))
print(snapshots)
