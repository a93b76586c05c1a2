#!/bin/sh
# SPDX-License-Identifier: MIT
#
# NumPy reads what we write, bit for bit, and we read what NumPy writes; what is not a
# run's file is refused. The oracle is NumPy (and Python's zipfile, and unzip).
#
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

# shellcheck source=tests/cli/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/cli/tap"

# where python3-numpy puts it
python=/usr/bin/python3
if ! $python -c 'import numpy' 2>/dev/null; then
	python=python3
	if ! $python -c 'import numpy' 2>/dev/null; then
		echo '1..0 # SKIP NumPy is not installed'
		exit 0
	fi
fi
NPZ_RUN=$BUILD/tests/interop/npz_run
export NPZ_RUN

cat >"$work/run.py" <<'END'
import io, itertools, os, subprocess, sys, warnings, zipfile
import numpy as np

tool = os.environ["NPZ_RUN"]

def arrays(d, n, m, dtype, order):
    rng = np.random.default_rng(1)
    data = np.cumsum(rng.standard_normal((d, n, m)), axis=2).astype(dtype)
    if data.size > 4:
        data.flat[:4] = np.nan, np.inf, -np.inf, -0.0
    return np.arange(m) * 0.01, np.asarray(data, order=order), np.arange(m) * 100

def same(a, b):
    """Bit for bit, NaNs too."""
    assert a.shape == b.shape and a.dtype == b.dtype, (a.shape, b.shape, a.dtype, b.dtype)
    assert np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()

def write(path, t, x, i, *more):
    d, n, m = x.shape
    order = "C" if x.flags.c_contiguous else "F"
    subprocess.run([tool, "write", path, *map(str, x.shape), x.dtype.str[1:], order, *more],
                   input=t.tobytes() + x.tobytes("A") + i.tobytes(), check=True)

def read(path):
    """(sentence, None), or (None, (time, data, iteration or None))"""
    p = subprocess.run([tool, "read", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode:
        assert p.returncode == 1 and p.stderr.startswith(b"npz_run: "), p
        return p.stderr.decode(), None
    line, _, rest = p.stdout.partition(b"\n")
    dtype, order, d, n, m, iteration = line.decode().split()
    d, n, m = int(d), int(n), int(m)
    size = d * n * m * int(dtype[1])
    t = np.frombuffer(rest[:8 * m], "<f8")
    x = np.frombuffer(rest[8 * m:8 * m + size], "<" + dtype).reshape((d, n, m), order=order)
    i = np.frombuffer(rest[8 * m + size:], "<i8") if iteration != "none" else None
    return None, (t, x, i)

def check(path, t, x, i):
    why, got = read(path)
    assert got, why
    same(got[0], t)
    same(got[1], x)
    if i is None:
        assert got[2] is None
    else:
        same(got[2], i)

def refused(path, *words):
    why, got = read(path)
    assert not got, path
    for word in words:
        assert word in why, (word, why)

SHAPES = [(1, 1, 1), (2, 3, 0), (2, 3, 5), (1, 1000, 301), (3, 7, 20000)]
KINDS = list(itertools.product(SHAPES, ["f8", "f4"], ["C", "F"]))

def header(path, name):
    with zipfile.ZipFile(path).open(name) as f:
        return f.read(128)

def numpy_reads():
    for (shape, dtype, order), more in itertools.product(
            KINDS, [(), ("stored",), ("zip64",), ("stored", "zip64")]):
        t, x, i = arrays(*shape, dtype, order)
        write("o.npz", t, x, i, *more)
        with np.load("o.npz", allow_pickle=False) as z:
            assert sorted(z.files) == ["data", "iteration", "time"]
            same(z["time"], t)
            same(z["data"], x)
            same(z["iteration"], i)
            assert z["data"].flags.f_contiguous == x.flags.f_contiguous
        z = zipfile.ZipFile("o.npz")
        assert z.testzip() is None
        assert all(e.date_time == (1980, 1, 1, 0, 0, 0) for e in z.infolist())
        # the same .npy headers as NumPy's own
        np.savez("n.npz", time=t, data=x, iteration=i)
        for name in "time.npy", "data.npy", "iteration.npy":
            if np.lib.NumpyVersion(np.__version__) >= "1.23.0":
                assert header("o.npz", name) == header("n.npz", name)

def stored_numbers_can_be_mapped():
    for shape, dtype, order in KINDS:
        t, x, i = arrays(*shape, dtype, order)
        write("o.npz", t, x, i, "stored")
        if not x.size:
            continue
        e = zipfile.ZipFile("o.npz").getinfo("data.npy")
        with open("o.npz", "rb") as f:
            f.seek(e.header_offset + 26)
            n, extra = np.frombuffer(f.read(4), "<u2")
            offset = e.header_offset + 30 + int(n) + int(extra)
        assert offset % 64 == 0
        y = np.memmap("o.npz", x.dtype, "r", offset + 128, x.shape, "C" if
                      x.flags.c_contiguous else "F")
        same(np.asarray(y), x)

def not_larger_than_numpys():
    rng = np.random.default_rng(1)
    t, _, i = arrays(1, 1, 500, "f8", "C")
    for dt in 1e-2, 1e-3:
        x = np.empty((1, 4000, 500))
        x[0, :, 0] = rng.standard_normal(4000)
        for k in range(1, 500):
            y = x[0, :, k - 1]
            x[0, :, k] = (y + y * (3 - 2 * y * y) * dt +
                          np.sqrt((y * y + 2) * dt) * rng.standard_normal(4000))
        for dtype, order in itertools.product(["f8", "f4"], "CF"):
            a = np.asarray(x.astype(dtype), order=order)
            write("o.npz", t, a, i)
            np.savez_compressed("n.npz", time=t, data=a, iteration=i)
            ours, theirs = os.path.getsize("o.npz"), os.path.getsize("n.npz")
            print(dt, dtype, order, ours, theirs)
            assert ours <= theirs

def we_read_numpys():
    for shape, dtype, order in KINDS:
        t, x, i = arrays(*shape, dtype, order)
        for save in np.savez, np.savez_compressed:
            save("n.npz", time=t, data=x)
            check("n.npz", t, x, None)
            save("n.npz", iteration=i, data=x, seed=np.array([1]), time=t)
            check("n.npz", t, x, i)

def we_read_other_versions_and_descriptors():
    t, x, i = arrays(2, 3, 50, "f8", "F")
    class Pipe(io.RawIOBase):       # zipfile cannot seek in it: descriptors
        def __init__(self): self.bytes = b""
        def writable(self): return True
        def write(self, b): self.bytes += bytes(b); return len(b)
    for version, method in itertools.product([(1, 0), (2, 0), (3, 0)], [0, 8]):
        pipe = Pipe()
        with warnings.catch_warnings(), zipfile.ZipFile(pipe, "w", method) as z:
            warnings.simplefilter("ignore")
            for name, a in ("time", t), ("data", x), ("iteration", i):
                b = io.BytesIO()
                np.lib.format.write_array(b, a, version)
                z.writestr(name + ".npy", b.getvalue())
        open("n.npz", "wb").write(pipe.bytes)
        check("n.npz", t, x, i)

def others_are_refused():
    t, x, i = arrays(2, 3, 5, "f8", "C")
    np.savez("n.npz", x)
    refused("n.npz", "time.npy")
    np.savez("n.npz", data=x)
    refused("n.npz", "time.npy")
    np.savez("n.npz", time=t, data=x.astype(">f8"))
    refused("n.npz", "big-endian")
    np.savez("n.npz", time=t, data=x.astype(object))
    refused("n.npz", "Python objects")
    np.savez("n.npz", time=t, data=x.astype("c16"))
    refused("n.npz", "<c16")
    np.savez("n.npz", time=t, data=x[0])
    refused("n.npz", "2 dimensions")
    np.savez("n.npz", time=t[1:], data=x)
    refused("n.npz", "4 numbers for 5 snapshots")
    with zipfile.ZipFile("n.npz", "w", zipfile.ZIP_BZIP2) as z:
        for name, a in ("time", t), ("data", x):
            b = io.BytesIO()
            np.save(b, a)
            z.writestr(name + ".npy", b.getvalue())
    refused("n.npz", "method 12")
    np.save("n.npy", x)
    refused("n.npy", "no .npz file")

globals()[sys.argv[1]]()
END

# The tests: run.py knows what they do.

numpy_reads()
{
	$python "$work/run.py" numpy_reads
}

stored_numbers_can_be_mapped()
{
	$python "$work/run.py" stored_numbers_can_be_mapped
}

not_larger_than_numpys()
{
	$python "$work/run.py" not_larger_than_numpys
}

we_read_numpys()
{
	$python "$work/run.py" we_read_numpys
}

we_read_other_versions_and_descriptors()
{
	$python "$work/run.py" we_read_other_versions_and_descriptors
}

others_are_refused()
{
	$python "$work/run.py" others_are_refused
}

unzip_finds_no_fault()
{
	command -v unzip >/dev/null || return 0
	head -c 3200 /dev/zero >zeros
	for how in '' stored zip64; do
		# shellcheck disable=SC2086
		"$NPZ_RUN" write o.npz 1 20 10 f8 F $how <zeros
		unzip -tq o.npz
	done
}

run_the_tests
