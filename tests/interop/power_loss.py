# SPDX-License-Identifier: MIT
"""Crash states that were exported (tests/crash/sim_sample.h), read by zarr-python.

power_loss.py DIRECTORY FORMATS: every DIRECTORY/*.zarr of these Zarr formats ("23",
"2") is opened, and each bit compared with what is in *.expected. The last line of the
output says how many were read; the status is 1 if one could not be, or was wrong.
"""

import pathlib
import sys

import numpy as np
import zarr


def expected(path):
    """(format, time, iteration, data), numbers as their bits."""
    with open(path, "rb") as file:
        form, published, dimension, trajectories, item = map(int, file.readline().split())
        time = np.fromfile(file, "<u8", published)
        iteration = np.fromfile(file, "<u8", published)
        data = np.fromfile(file, "<u8" if item == 8 else "<u4")
    return form, time, iteration, data.reshape(dimension, trajectories, published)


def open_group(path):
    """By the consolidated metadata, in which all lengths change at once."""
    if zarr.__version__.startswith("2."):
        return zarr.open_consolidated(str(path), mode="r")
    return zarr.open_group(str(path), mode="r", use_consolidated=True)


def bits(array):
    values = np.ascontiguousarray(array[...])
    return values.view("<u4" if values.dtype.itemsize == 4 else "<u8")


def differs(path, want):
    group = open_group(path)
    for name, numbers in zip(("time", "iteration", "data"), want):
        if group[name].shape != numbers.shape:
            return f"{name} has shape {group[name].shape}, not {numbers.shape}"
        if not np.array_equal(bits(group[name]), numbers):
            return f"{name} is wrong"
    return None


def main(directory, formats):
    read = snapshots = bad = 0
    for path in sorted(pathlib.Path(directory).glob("*.zarr")):
        form, *want = expected(path.with_suffix(".expected"))
        if str(form) not in formats:
            continue
        try:
            wrong = differs(path, want)
        except Exception as error:  # whatever a reader raises: it cannot read it
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            print(f"{path}: {wrong}")
            bad += 1
        read += 1
        snapshots += len(want[0])
    print(f"zarr-python {zarr.__version__}: {read} crash states read, {snapshots} snapshots, "
          f"{bad} unreadable or wrong")
    return bad > 0 or read == 0


sys.exit(main(*sys.argv[1:]))
