# SPDX-License-Identifier: MIT
"""What zarr-python reads from our stores of format 2, to the bit.

    format2.py CASES	run with a Python that has zarr-python 2 or 3

Stores, values and comparisons are those of zarr3.py. Speaks TAP.
"""

import itertools
import os
import sys
import traceback

import numcodecs
import numpy as np
import zarr

import zarr3

CASES = tuple((ops, 0) for ops in (
    "store:1", "store:3", "store:4", "store:9", "store:8,save,store:1,save,store:2",
    "store:11,truncate:6,store:3", "")) + (("store:11,save,store:2", 1), ("store:9,kill,store:4", 10))


def groups(path):
    """The store, opened in every way this zarr-python has."""
    if zarr.__version__.startswith("2."):
        return {"open_group": zarr.open_group(path, mode="r"),
                "open_consolidated": zarr.open_consolidated(path, mode="r")}
    return {f"use_consolidated={c}": zarr.open_group(path, mode="r", zarr_format=2, use_consolidated=c)
            for c in (True, False)}


def check(spec):
    stamps = zarr3.stamps_after(spec["ops"])
    for how, group in groups(spec["path"]).items():
        assert set(group.array_keys()) == zarr3.ARRAYS, list(group.array_keys())
        zarr3.check_arrays(how, spec, stamps, group)
        assert list(group["data"].attrs["_ARRAY_DIMENSIONS"]) == ["dimension", "trajectory", "time"]
        users = dict(group.attrs)
        users.pop("sdestore")
        assert users == (zarr3.ATTRIBUTES if spec["attributes"] else {}), users
        assert group["time"].attrs.get("units") == ("s" if spec["units"] else None)


def run(ops, keepbits):
    shapes = (dict(d=2, N=16, n=8), dict(d=1, N=21, n=8), dict(d=3, N=5, n=5), dict(d=2, N=24, n=0))
    for codec, width, shape in itertools.product(zarr3.CODECS.values(), (64, 32), shapes):
        spec = zarr3.specification(ops, codec=codec, checksum=0, format=2, values=1, state=24,
                                   keepbits=keepbits, units=1, attributes=1, **{"float": width}, **shape)
        zarr3.write([spec])
        try:
            check(spec)
        except Exception:
            print("# " + zarr3.label(spec))
            raise


def chunk_sizes(spec):
    """Of every chunk file, a blosc frame: its size, that of its numbers, of numcodecs' frame."""
    theirs = numcodecs.Blosc("lz4", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE)
    for name in sorted(os.listdir(os.path.join(spec["path"], "data"))):
        if not name[0].isdigit():
            continue
        with open(os.path.join(spec["path"], "data", name), "rb") as file:
            frame = file.read()
        raw = np.frombuffer(theirs.decode(frame), f"<f{spec['float'] // 8}")
        yield frame, raw.nbytes, len(theirs.encode(raw))


def our_ratio_is_that_of_numcodecs():
    """Ours is theirs to the byte, or raw where theirs does not gain 2%."""
    kinds = {True: 0, False: 0}
    for values, width, keepbits, T, N in itertools.product(
            (0, 2, 4), (64, 32), (0, 5, 18), (8, 50), (5, 64, 1000)):
        spec = zarr3.specification("store:60,save,store:40", checksum=0, format=2, n=0, N=N, T=T,
                                   values=values, keepbits=keepbits, **{"float": width})
        zarr3.write([spec])
        for frame, raw, theirs in chunk_sizes(spec):
            is_raw = bool(frame[2] & 2)
            kinds[is_raw] += 1
            if is_raw:
                assert len(frame) == raw + 16, (len(frame), raw)
            assert len(frame) == theirs or (is_raw and theirs > raw - raw // 50 - 64), (
                zarr3.label(spec), len(frame), theirs, raw)
    print(f"# {kinds[False]} frames shrank, {kinds[True]} are raw")
    assert all(kinds.values())


def main():
    zarr3.np, zarr3.CASES = np, sys.argv[1]
    failed = False
    print(f"# zarr-python {zarr.__version__}, numpy {np.__version__}")
    for number, (ops, keepbits) in enumerate(CASES, 1):
        name = (f"zarr-python {zarr.__version__[0]} reads format 2 after '{ops}'" +
                (f" with keepbits {keepbits}" if keepbits else ""))
        try:
            run(ops, keepbits)
            print(f"ok {number} - {name}", flush=True)
        except Exception:
            failed = True
            print(f"not ok {number} - {name}")
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()),
                  flush=True)
    name = "our ratio is that of numcodecs"
    try:
        our_ratio_is_that_of_numcodecs()
        print(f"ok {len(CASES) + 1} - {name}")
    except Exception:
        failed = True
        print(f"not ok {len(CASES) + 1} - {name}")
        print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()))
    print(f"1..{len(CASES) + 1}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
