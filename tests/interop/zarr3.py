# SPDX-License-Identifier: MIT
"""What zarr-python 3 and xarray read from our stores, to the bit.

    zarr3.py --list		the names of the tests, nothing else is needed
    zarr3.py CASES		run them; CASES is the program of cases.c

The stores are written in the working directory by CASES; what must be in them is
computed here, from the rules at the top of cases.c and nothing that was written.
Speaks TAP.
"""

import itertools
import os
import subprocess
import sys
import time
import traceback
import warnings

CODECS = {"blosc": 1, "lz4": 2, "none": 3}
CHECKSUMS = {"crc32c": 1, "no checksum": 2}
DEFAULTS = dict(float=64, d=2, N=16, n=8, T=4, stride=1, codec=1, checksum=1, layout=1,
                state=0, units=0, attributes=0, values=0, keepbits=0)
ATTRIBUTES = {"seed": 9007199254740993, "dt": 0.25, "empty": {}, "list": [1, None, True, "\u00e9"],
              "text": 'a "quoted" \\ \n line'}
ARRAYS = {"time", "iteration", "data"}

CASES = None
try:
    from numcodecs.bitround import BitRound
except ImportError:
    BitRound = None     # none, or an older numcodecs: arithmetic alone says what is right
numbers = itertools.count(1)
TESTS = []


def test(function):
    TESTS.append((function.__name__.replace("_", " "), function))
    return function


# ---------------------------------------------------------------------------
# What must be there

def mix(x):
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def expected_data(spec, stamps):
    """The bits of data (d, N, M), as uint64 or uint32."""
    s, d, n = np.meshgrid(np.asarray(stamps, np.uint64), np.arange(spec["d"], dtype=np.uint64),
                          np.arange(spec["N"], dtype=np.uint64), indexing="ij")
    if spec["values"] == 2:
        s, d, n = s * np.uint64(0), d * np.uint64(0), n * np.uint64(0)
    if spec["values"] == 3:
        s, d, n = s * np.uint64(0), d * np.uint64(0), n // np.uint64(8)
    h = np.full(s.shape, spec["case"], np.uint64)
    with np.errstate(over="ignore"):
        for part in s, d, n:
            h = mix(h) + part
    h = mix(h)
    if spec["values"] == 4:
        x = (1 + (h % np.uint64(65536)) / 65536 + s).astype(f"float{spec['float']}")
        return np.ascontiguousarray(x.view(f"uint{spec['float']}").transpose(1, 2, 0))
    k = h % np.uint64(16)
    if spec["values"] == 1:
        k %= np.uint64(5)
    if spec["float"] == 32:
        h = (h >> np.uint64(32)).astype(np.uint32)
        sign, exponent, one = np.uint32(1 << 31), np.uint32(0x7F800000), np.uint32(1)
    else:
        sign, exponent, one = np.uint64(1 << 63), np.uint64(0x7FF0000000000000), np.uint64(1)
    bits = np.select([k == 0, k == 1, k == 2, k == 3, k == 4],
                     [h | exponent | one, (h & sign) | exponent, np.full_like(h, sign),
                      h & ~exponent, np.zeros_like(h)], h)
    return np.ascontiguousarray(bits.transpose(1, 2, 0))


def rounded(bits, keepbits):
    """Mantissas of `keepbits` explicit bits: to nearest, ties to even, by arithmetic."""
    if not keepbits:
        return bits
    width = bits.dtype.itemsize
    kind = np.dtype(f"float{8 * width}")
    exact = bits.view(kind)
    finite = np.isfinite(exact)
    x = np.where(finite, exact, 0).astype(np.float64)
    exponent = np.maximum(np.frexp(x)[1] - 1, -1022 if width == 8 else -126)
    with np.errstate(over="ignore"):
        x = np.ldexp(np.rint(np.ldexp(x, keepbits - exponent)), exponent - keepbits).astype(kind)
    wanted = np.where(finite, x.view(bits.dtype), bits)
    if BitRound and keepbits < (52 if width == 8 else 23):
        theirs = np.asarray(BitRound(keepbits).encode(exact.copy())).view(bits.dtype)
        same("numcodecs.BitRound", theirs.reshape(bits.shape)[finite], wanted[finite])
    return wanted


def expected_time(stamps):
    return (np.asarray(stamps, np.float64) - 3) / 8


def expected_iteration(spec, stamps):
    return spec["stride"] * (2 * np.asarray(stamps, np.int64) + 1)


def stamps_after(ops):
    """Which of the snapshots that were ever stored are left."""
    kept, stamp = [], 0
    for op in filter(None, ops.split(",")):
        name, _, number = op.partition(":")
        if name == "store":
            kept += range(stamp, stamp + int(number))
            stamp += int(number)
        elif name == "truncate":
            kept = kept[:int(number)]
    return kept


# ---------------------------------------------------------------------------
# Comparing

def bits_of(values):
    assert values.dtype.byteorder in "=|<", values.dtype
    return np.ascontiguousarray(values).view({4: np.uint32, 8: np.uint64}[values.dtype.itemsize])


def same(what, values, wanted):
    values = bits_of(np.asarray(values))
    wanted = bits_of(np.asarray(wanted))
    assert values.shape == wanted.shape, f"{what}: shape {values.shape}, not {wanted.shape}"
    if not np.array_equal(values, wanted):
        at = tuple(np.argwhere(values != wanted)[0])
        raise AssertionError(f"{what}{[int(i) for i in at]}: bits {values[at]:x}, not {wanted[at]:x}"
                             f" ({np.count_nonzero(values != wanted)} differ)")


def check_arrays(what, spec, stamps, arrays):
    data = arrays["data"]
    assert data.dtype == np.dtype(f"float{spec['float']}"), data.dtype
    assert arrays["time"].dtype == np.float64 and arrays["iteration"].dtype == np.int64
    same(f"{what} time", arrays["time"][...], expected_time(stamps))
    same(f"{what} iteration", arrays["iteration"][...], expected_iteration(spec, stamps))
    same(f"{what} data", data[...], rounded(expected_data(spec, stamps), spec["keepbits"]))


def check_group(spec, stamps, path, consolidated):
    what = f"open_group(use_consolidated={consolidated})"
    group = zarr.open_group(path, mode="r", use_consolidated=consolidated)
    assert set(group.array_keys()) == ARRAYS and not set(group.group_keys()), list(group.keys())
    assert (group.metadata.consolidated_metadata is not None) == (consolidated is not False)
    check_arrays(what, spec, stamps, group)
    assert group["data"].metadata.dimension_names == ("dimension", "trajectory", "time")
    assert group["time"].metadata.dimension_names == ("time",)
    assert group["iteration"].metadata.dimension_names == ("time",)
    assert np.isnan(group["data"].fill_value) and np.isnan(group["time"].fill_value)
    assert group["iteration"].fill_value == -1
    users = dict(group.attrs)
    users.pop("sdestore")
    assert users == (ATTRIBUTES if spec["attributes"] else {}), users
    units = dict(group["time"].attrs).get("units")
    assert units == ("s" if spec["units"] else None), units


def check_xarray(spec, stamps, path):
    with xarray.open_zarr(path, chunks=None) as ds:
        assert dict(ds.sizes) == {"dimension": spec["d"], "trajectory": spec["N"],
                                  "time": len(stamps)}, ds.sizes
        assert set(ds.coords) == {"time"} and set(ds.data_vars) == {"data", "iteration"}
        assert ds["data"].dims == ("dimension", "trajectory", "time")
        assert ds["iteration"].dims == ("time",)
        assert ds["time"].attrs.get("units") == ("s" if spec["units"] else None)
        check_arrays("xarray", spec, stamps, {name: ds[name].values for name in ARRAYS})
        users = dict(ds.attrs)
        users.pop("sdestore")
        assert users == (ATTRIBUTES if spec["attributes"] else {}), users
        if stamps:
            last = ds.sel(time=expected_time(stamps)[-1])["data"].values
            same("xarray sel", last,
                 rounded(expected_data(spec, stamps[-1:]), spec["keepbits"])[:, :, 0]
                 .view(f"float{spec['float']}"))


def check(spec, stamps, path):
    """All ways to open it; any warning is an error, but for the codec we know of."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if spec["codec"] == CODECS["lz4"]:
            warnings.filterwarnings("ignore", message=".*[Nn]umcodecs.*")
        for consolidated in None, True, False:
            check_group(spec, stamps, path, consolidated)
        check_arrays("open_array", spec, stamps, {
            name: zarr.open_array(os.path.join(path, name), mode="r") for name in ARRAYS})
        check_xarray(spec, stamps, path)


# ---------------------------------------------------------------------------
# Writing

def specification(ops, **options):
    spec = dict(DEFAULTS, case=next(numbers), ops=ops)
    spec.update(options)
    spec["path"] = f"{spec['case']}.zarr"
    return spec


def line_of(spec):
    return " ".join(f"{name}={value}" for name, value in spec.items()) + "\n"


def label(spec):
    return " ".join(f"{name}={value}" for name, value in spec.items()
                    if name not in DEFAULTS or DEFAULTS[name] != value)


def write(specs):
    subprocess.run([CASES], input="".join(map(line_of, specs)), text=True, check=True)


def write_and_check(specs):
    write(specs)
    for spec in specs:
        try:
            check(spec, stamps_after(spec["ops"]), spec["path"])
        except Exception:
            print("# " + label(spec))
            raise


def everything(*ops, **options):
    """Each list of operations with every codec, precision and checksum."""
    specs = [specification(o, codec=codec, checksum=checksum, float=width, **options)
             for o in ops for codec in CODECS.values() for checksum in CHECKSUMS.values()
             for width in (64, 32)]
    write_and_check(specs)


def one_after_the_other(*ops, **options):
    """As above, but each list with one combination only, in turns."""
    ways = itertools.cycle(itertools.product(CODECS.values(), CHECKSUMS.values(), (64, 32)))
    specs = [specification(o, codec=codec, checksum=checksum, float=width, **options)
             for o, (codec, checksum, width) in zip(ops, ways)]
    write_and_check(specs)


def published_part(spec):
    """How much an unfinished store shows: all arrays alike, all of it right."""
    length = zarr.open_group(spec["path"], mode="r")["time"].shape[0]
    check(spec, list(range(length)), spec["path"])
    return length


class Running:
    """A store whose writer is alive within the block."""

    def __init__(self, spec, wait_for_ready):
        self.spec, self.wait_for_ready = spec, wait_for_ready

    def __enter__(self):
        self.process = subprocess.Popen([CASES, line_of(self.spec)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        if self.wait_for_ready:
            assert self.process.stdout.readline() == b"ready\n"
        return self.process

    def __exit__(self, kind, value, trace):
        self.process.stdin.close()
        status = self.process.wait(20)
        self.process.stdout.close()
        assert status == 0 or kind, status


# ---------------------------------------------------------------------------
# The tests. Their names, as words, are the tests'.

@test
def whole_chunks_are_read_exactly():
    everything("store:12")


@test
def an_incomplete_last_chunk_is_read_exactly():
    everything("store:11")


@test
def trajectories_that_fill_no_inner_chunk():
    everything("store:9", N=13, n=8)
    one_after_the_other("store:9", "store:1", N=17, n=16)


@test
def inner_chunks_that_are_no_multiple_of_8():
    everything("store:9", N=15, n=5)
    one_after_the_other("store:9", "store:5", N=13, n=13)


@test
def fewer_than_8_trajectories_are_enough():
    for N in 1, 3, 7:
        one_after_the_other("store:9", "store:4", "store:6", N=N, n=0)


@test
def a_store_without_snapshots_is_empty():
    everything("")


@test
def a_store_of_one_snapshot():
    everything("store:1")


@test
def chunks_of_one_snapshot_each():
    everything("store:5", T=1)


@test
def chunks_longer_than_the_run():
    everything("store:3", T=100)


@test
def chunks_as_they_are_by_default():
    everything("store:20", T=0, n=0, N=1000)


@test
def odd_iterations_of_a_stride():
    everything("store:10", stride=3)


@test
def nan_with_payloads_infinities_zeros_and_denormals():
    everything("store:11", values=1, N=24)


@test
def a_constant_that_compresses_to_nothing():
    everything("store:64", values=2, N=64, n=64, T=16)


@test
def one_and_three_dimensions():
    everything("store:6", d=1)
    everything("store:6", d=3)


@test
def rounded_numbers_are_those_that_numpy_and_numcodecs_round_to():
    for keepbits in 1, 7, 22:
        everything("store:11", "store:6,save,store:3,kill,store:2,truncate:9,store:1",
                   keepbits=keepbits, N=24, values=1 if keepbits == 7 else 0)
    everything("store:9", keepbits=23, layout=2)


@test
def snapshots_that_were_given_transposed():
    everything("store:9", d=3, N=13, n=8, layout=2)


@test
def inner_chunks_of_several_blosc_blocks():
    everything("store:70", d=1, N=2048, n=2048, T=64)


@test
def side_tables_with_states_do_not_disturb():
    everything("store:11", state=64)


@test
def attributes_and_units_are_those_given():
    everything("store:6", attributes=1, units=1)
    one_after_the_other("store:6,kill,store:3", "", attributes=1, units=1)


@test
def saved_at_every_place_in_a_chunk_and_continued():
    one_after_the_other(*(f"store:{k},save,store:7" for k in range(14)))


@test
def saved_after_each_snapshot_and_twice():
    everything(",".join(["store:1,save,save"] * 9))


@test
def truncated_at_every_place_and_continued():
    one_after_the_other(*(f"store:11,truncate:{k},store:6" for k in range(12)))


@test
def truncated_and_left_as_it_is():
    one_after_the_other(*(f"store:11,truncate:{k}" for k in range(12)))


@test
def truncated_twice_and_saved_between():
    one_after_the_other(*(f"store:11,truncate:{k},save,store:2,truncate:{k - 1},store:7"
                          for k in range(1, 12)))


@test
def resumed_after_a_kill_at_every_place():
    one_after_the_other(*(f"store:{k},kill,store:7" for k in range(14)))


@test
def resumed_after_a_kill_behind_save_and_truncate():
    one_after_the_other("store:6,save,kill,store:3", "store:6,save,store:1,kill,store:9",
                        "store:11,truncate:5,kill,store:4", "store:11,truncate:8,kill",
                        "store:3,kill,kill,store:3,kill,store:9", "store:13,sync,kill,truncate:2",
                        "kill,store:5", "kill,kill,store:0")


@test
def resumed_after_a_proper_close():
    one_after_the_other(*(f"store:{k},close,store:7" for k in range(10)))
    one_after_the_other("store:6,close,store:3,close,store:1", "store:6,kill,store:3,close",
                        "close,close,store:5", layout=2, d=3, N=13)


@test
def more_snapshots_than_a_block_of_times():
    one_after_the_other("store:8191,save,store:1,save,store:9", "store:16385",
                        "store:8200,truncate:8192,store:1", "store:8200,truncate:8191,store:3",
                        "store:8193,kill,store:8", N=2, n=2, d=1, T=1000)


@test
def the_default_synchronisation_writes_the_same():
    one_after_the_other("store:11", "store:5,save,store:6", "store:11,truncate:6,store:2",
                        "store:9,kill,store:2", sync=1)


@test
def a_running_store_shows_what_was_saved():
    for codec in CODECS.values():
        spec = specification("store:10,save,store:1,wait", codec=codec)
        with Running(spec, True):
            assert published_part(spec) == 10
        assert published_part(spec) == 11


@test
def a_crashed_store_shows_what_was_published():
    for codec in CODECS.values():
        spec = specification("store:10,save,store:3,kill", codec=codec)
        write([spec])
        assert 10 <= published_part(spec) <= 13


@test
def a_store_that_crashed_before_it_published():
    spec = specification("store:3,kill")
    write([spec])
    assert published_part(spec) == 0


def replaced_between(spec, later, select, end):
    """
    data[:, select, :] of spec's store, while its last chunk becomes that of the store
    `later` after the index was read and before anything else is: None if that raises.
    """
    class Store(zarr.storage.LocalStore):
        async def get(self, key, prototype, byte_range=None):
            found = await super().get(key, prototype, byte_range)
            if key == shard and not replaced:
                replaced.append(byte_range)
                with open(os.path.join(spec["path"], "new"), "wb") as file:
                    file.write(later)
                os.replace(file.name, os.path.join(spec["path"], shard))
            return found

    shard, replaced = "data/c/0/0/0", []
    data = zarr.open_group(Store(spec["path"]), mode="r")["data"]
    try:
        values = data[:, select, :end]
    except Exception:
        values = None
    assert replaced
    return values


@test
def a_read_that_straddles_a_replacement_is_never_wrong():
    """
    zarr-python opens a shard twice; whatever happens, no number may be wrong. (Without
    a checksum that cannot be had: sdestore.h says so.)
    """
    for codec, values in itertools.product(CODECS.values(), (0, 3)):
        options = dict(T=64, d=1, N=128, codec=codec, checksum=1, values=values,
                       state=0 if values == 0 else 44)
        for first, last in (1, 2), (2, 35), (11, 63), (1, 56), (30, 64):
            old = specification(f"store:{first}", **options)
            new = dict(old, ops=f"store:{first},save,store:{last - first}",
                       path=f"{old['case']}-later.zarr")
            write([old, new])
            shard, later = (read_bytes(s["path"], "data/c/0/0/0") for s in (old, new))
            wanted = expected_data(old, range(first))
            for n in range(0, 128, 8 if values else 56):
                with open(os.path.join(old["path"], "data/c/0/0/0"), "wb") as file:
                    file.write(shard)
                got = replaced_between(old, later, slice(n, n + 8), first)
                if got is not None:
                    what = f"{label(old)}, then {last}: trajectories from {n}: data"
                    same(what, got, wanted[:, n:n + 8].view("float64"))


def read_bytes(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def is_torn_read(error):
    """What DESIGN allows while the partial last chunk is being replaced."""
    return "checksum" in str(error).lower() or "crc32c" in str(error).lower()


def look_once(spec):
    group = zarr.open_group(spec["path"], mode="r")
    data = group["data"]
    count = data.shape[2]
    assert group["time"].shape == (count,) == group["iteration"].shape
    first = max(count - 6, 0)
    stamps = range(first, count)
    same("time", group["time"][first:count], expected_time(stamps))
    same("iteration", group["iteration"][first:count], expected_iteration(spec, stamps))
    same("data", data[:, :, first:count], expected_data(spec, stamps).view(data.dtype))
    return count


@test
def reading_while_a_writer_publishes_is_never_wrong():
    for checksum in CHECKSUMS.values():
        spec = specification("stream:100000", T=16, checksum=checksum)
        good, torn, counts = 0, 0, set()
        with Running(spec, False):
            until = time.monotonic() + 10
            while not os.path.exists(spec["path"]) and time.monotonic() < until:
                time.sleep(0.001)
            until = time.monotonic() + 2
            while time.monotonic() < until:
                try:
                    counts.add(look_once(spec))
                    good += 1
                except AssertionError:
                    raise
                except Exception as error:
                    if not is_torn_read(error):
                        raise
                    torn += 1
        print(f"# {good} reads of {len(counts)} lengths, {torn} checksum errors")
        assert good > 20 and len(counts) > 10 and torn < good
        assert published_part(spec) >= max(counts)


# ---------------------------------------------------------------------------

def main():
    failed = False
    print(f"# zarr-python {zarr.__version__}, xarray {xarray.__version__},"
          f" numpy {np.__version__}")
    for number, (name, function) in enumerate(TESTS, 1):
        try:
            function()
            print(f"ok {number} - {name}", flush=True)
        except Exception:
            failed = True
            print(f"not ok {number} - {name}")
            print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()),
                  flush=True)
    print(f"1..{len(TESTS)}")
    return failed


if __name__ == "__main__":
    if sys.argv[1] == "--list":
        print("\n".join(name for name, _ in TESTS))
        sys.exit(0)
    import numpy as np
    import xarray
    import zarr

    CASES = sys.argv[1]
    sys.exit(main())
