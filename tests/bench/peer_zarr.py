#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The same load through zarr-python, in the way PySDE's ZarrStorage appends.

    peer_zarr.py LOAD SNAPSHOTS PATH

Snapshots are collected in a list; when it has a chunk's, they are stacked along time
and appended to an array of chunks (d, N, T). Prints seconds from the first snapshot to
the last append, the bytes of the files, and the slowest snapshot in ms.
"""

import os
import sys
import time

import numpy as np
import numcodecs
import zarr

# load.c's
LOADS = ((1, 100000, 50, "<f8"), (3, 10000, 50, "<f8"), (2, 64, 1000, "<f8"),
         (10, 1000000, 1, "<f8"), (1, 100000, 50, "<f4"))


def pool(d, n, count, dtype):
    """Consecutive snapshots of the double well."""
    random = np.random.default_rng(1)
    x = random.standard_normal((d, n))
    out = []
    for _ in range(count):
        out.append(x.astype(dtype))
        noise = random.standard_normal((d, n))
        x = x + (3 * x - 2 * x**3) * 0.01 + np.sqrt((x * x + 2) * 0.01) * noise
    return out


def main():
    d, n, T, dtype = LOADS[int(sys.argv[1])]
    snapshots, path = int(sys.argv[2]), sys.argv[3]
    data = pool(d, n, min(2 * T, max(2, (1 << 30) // (d * n * 8))), dtype)
    codec = numcodecs.Blosc("lz4", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE)
    array = zarr.open_array(path, mode="w", shape=(d, n, 0), chunks=(d, n, T), dtype=dtype,
                            compressor=codec)
    held, slowest = [], 0.0
    began = time.monotonic()
    for i in range(snapshots):
        t = time.monotonic()
        held.append(data[i % len(data)])
        if len(held) == T:
            array.append(np.stack(held, axis=-1), axis=2)
            held = []
        slowest = max(slowest, time.monotonic() - t)
    if held:
        array.append(np.stack(held, axis=-1), axis=2)
    seconds = time.monotonic() - began
    files = sum(os.path.getsize(os.path.join(top, name))
                for top, _, names in os.walk(path) for name in names)
    print(f"{seconds:.6f} {files} {1000 * slowest:.3f}")


if __name__ == "__main__":
    main()
