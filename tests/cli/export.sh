#!/bin/sh
# SPDX-License-Identifier: MIT
#
# sde-export, from outside. First the cases of tests/cli/export: NAME.cmd is a
# script, NAME.out its standard output with a last line `exit STATUS`; in its
# PATH is `members FILE`, below. Then what a comparison of texts cannot say.
#
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/cli/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/cli/tap"

# The system's Python has Debian's numpy, another one that comes first may not.
if ! python3 -c 'import numpy' 2>/dev/null; then
	if ! /usr/bin/python3 -c 'import numpy' 2>/dev/null; then
		echo '1..0 # SKIP numpy is not installed (Debian: python3-numpy)'
		exit 0
	fi
	mkdir "$work/bin"
	ln -s /usr/bin/python3 "$work/bin/python3"
	PATH=$work/bin:$PATH
fi
PATH=$here/export:$PATH

# 128 MiB of data in 2^20 snapshots, 16 MiB a chunk; made once, when first needed
LARGE=1048576
LARGE_CHUNK=131072
large=$work/large.zarr

output_of()
{
	case_name=$1
	set +e
	# not here: a case may list its directory
	sh "$here/export/$case_name.cmd" >"$work/raw" 2>"$work/err"
	echo "exit $?" >>"$work/raw"
	set -e
	sed -E -e 's/[0-9]+\.[0-9]+\.[0-9]+/VERSION/g' "$work/raw" >"$work/out"
	cat "$work/err"
	diff -u "$here/export/$case_name.out" "$work/out"
}

# same FILE SNAPSHOTS [SELECTION]: FILE is, bit for bit, what store_writer writes,
# or this selection of it, in NumPy's words; np.load and zipfile find no fault
same()
{
	python3 - "$1" "$2" "${3:-:, :, :}" <<'END'
import sys, zipfile
import numpy as np

path, m, selection = sys.argv[1], int(sys.argv[2]), eval("np.s_[" + sys.argv[3] + "]")
with zipfile.ZipFile(path) as z:
    assert z.testzip() is None
    names = z.namelist()
assert sorted(names) == ["data.npy", "iteration.npy", "time.npy"], names
k, d, n = np.arange(m), np.arange(2)[:, None, None], np.arange(8)[None, :, None]
wanted = {
    "data": (1000.0 * k + 10 * d + n)[selection],
    "time": (k / 4)[selection[2]],
    "iteration": (3 * k)[selection[2]],
}
with np.load(path) as file:
    for name, array in wanted.items():
        got = file[name]
        assert got.dtype == array.dtype, (name, got.dtype)
        assert got.shape == array.shape, (name, got.shape, array.shape)
        assert got.tobytes() == array.tobytes(), name
END
}

# only NAME...: the directory has these files and no others, hidden ones neither
only()
{
	printf '%s\n' "$@" | sed '/^$/d' | sort >"$work/wanted"
	find . -mindepth 1 -maxdepth 1 -printf '%P\n' | sort | diff -u "$work/wanted" -
}

crashed_store()
{
	status 137 sh -c 'store_writer "$@"; exit $?' - "$1" "${2:-4}" 10 kill
}

large_store()
{
	[ -d "$large" ] || store_writer "$large" "$LARGE_CHUNK" "$LARGE" close
}

# sent SIGNAL ACTION STATUS COMMAND...: it is started with this action for SIGNAL,
# gets it once it has written 64 KiB, says nothing and ends with STATUS, as Python
# counts: -N is death by signal N
sent()
{
	python3 - "$@" <<'END'
import signal, subprocess, sys, time

number, action = getattr(signal, sys.argv[1]), getattr(signal, sys.argv[2])
process = subprocess.Popen(sys.argv[4:], stderr=subprocess.PIPE,
                           preexec_fn=lambda: signal.signal(number, action))

def written():
    with open("/proc/%d/io" % process.pid) as file:
        return int(dict(line.split(": ") for line in file)["wchar"])

while written() < 65536:
    assert process.poll() is None, "it ended before it got the signal"
    time.sleep(0.001)
process.send_signal(number)
said = process.communicate()[1]
assert process.returncode == int(sys.argv[3]), process.returncode
assert said == b"", said
END
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

a_closed_store_is_exported_bit_for_bit()
{
	store_writer s.zarr 4 11 close
	status 0 sde-export s.zarr o.npz >said 2>&1
	[ ! -s said ]
	same o.npz 11
}

a_hole_ends_an_export_unless_nan_is_asked_for()
{
	store_writer s.zarr 4 18 close
	rm s.zarr/data/c/0/0/1
	for options in '' '--on-hole error'; do
		# shellcheck disable=SC2086
		status 4 sde-export $options s.zarr o.npz 2>err
		[ ! -e o.npz ]
		grep "lost snapshots 4:8, trajectories 0:8: 's.zarr/data/c/0/0/1' is missing" err
	done
	status 0 sde-export --time 8: s.zarr o.npz
	# what is not exported is not missed
	status 0 sde-export --on-hole nan --force --time 8: s.zarr o.npz 2>err
	[ ! -s err ]
	status 6 sde-export --on-hole nan --force s.zarr o.npz 2>err
	grep "warning: 'o.npz' has NaN in place of 64 of 288 values, which are lost" err
	grep 'lost: snapshots 4:8, trajectories 0:8: missing: s.zarr/data/c/0/0/1' err
	python3 - <<'END'
import numpy as np
with np.load("o.npz") as file:
    data = file["data"]
    assert np.isnan(data[:, :, 4:8]).all() and np.isnan(data).sum() == 64
    assert (file["time"] == np.arange(18) / 4).all()
END
	# 7, 10, 13 ... of trajectories 1, 4, 7: one snapshot of the hole, three numbers
	status 6 sde-export --on-hole nan --force --time 7::3 --trajectories 1::3 --dimensions 0 \
		--c-order s.zarr o.npz 2>err
	grep 'in place of 3 of 12 values' err
	rm s.zarr/iteration/c/0
	status 6 sde-export --on-hole nan --force s.zarr o.npz 2>err
	grep 'has -1 in place of 4 of 18 iteration numbers' err
}

every_order_and_form_gives_equal_arrays()
{
	store_writer s.zarr 4 11 close
	for options in --c-order --store '--c-order --store' '--threads 1' '--threads 7'; do
		# several words
		# shellcheck disable=SC2086
		status 0 sde-export $options --force s.zarr o.npz
		same o.npz 11
	done
}

order_in_the_file_is_what_was_asked_for()
{
	store_writer s.zarr 4 11 close
	sde-export s.zarr f
	sde-export --c-order s.zarr c
	python3 - <<'END'
import numpy as np
assert np.load("f.npz")["data"].flags.f_contiguous
assert np.load("c.npz")["data"].flags.c_contiguous
END
}

a_crashed_store_is_exported_with_a_note()
{
	crashed_store s.zarr
	status 0 sde-export s.zarr o.npz 2>err
	same o.npz 10
	[ "$(cat err)" = \
		"sde-export: note: 's.zarr' has crashed: these are the 10 snapshots it holds" ]
}

snapshots_only_in_the_ring_are_exported()
{
	crashed_store s.zarr 100
	status 0 sde-export s.zarr o.npz
	same o.npz 10
	status 0 sde-export --c-order --time 3:-2:2 s.zarr t.npz
	same t.npz 10 ':, :, 3:-2:2'
}

a_running_store_is_exported_with_a_note()
{
	start_writer s.zarr 4 10
	status 0 sde-export s.zarr o.npz 2>err
	end_writer
	same o.npz 10
	[ "$(cat err)" = \
		"sde-export: note: 's.zarr' is running: these are its first 10 snapshots" ]
	status 0 sde-export --force s.zarr o.npz 2>err
	[ ! -s err ]
}

a_store_that_grows_is_exported_as_it_was_at_the_start()
{
	store_writer s.zarr 1000 200000 close &
	writer=$!
	exports=0
	while kill -0 "$writer" 2>/dev/null; do
		sde-export --force --store s.zarr o.npz 2>err || continue
		exports=$((exports + 1))
		m=$(members o.npz | sed -n 's/^time float64 (\([0-9]*\),) C$/\1/p')
		same o.npz "$m"
		[ ! -s err ] || grep " first $m snapshots$" err
	done
	wait "$writer"
	writer=
	[ "$exports" -gt 0 ]
}

the_ring_of_a_copied_store_is_exported_only_if_trusted()
{
	crashed_store s.zarr 100
	cp -a s.zarr copy.zarr
	status 2 sde-export copy.zarr o.npz 2>err
	grep '^sde-export: warning: ' err
	status 0 sde-export --trust-ring copy.zarr o.npz
	same o.npz 10
}

slices_mean_what_they_mean_in_numpy()
{
	store_writer s.zarr 4 11 close
	for slice in : :: 3: :3 2:9:3 -4: :-4 -6:-1:2 -100:100 5:100 ::4 ::100 10: 0:1 \
			-99999999999999999999:99999999999999999999:99999999999999999999; do
		status 0 sde-export --force --time "$slice" s.zarr o
		same o.npz 11 ":, :, $slice"
		status 0 sde-export --force --c-order --time="$slice" s.zarr o
		same o.npz 11 ":, :, $slice"
	done
	for slice in 2:5 ::3 -1: -3::2; do
		status 0 sde-export --force --trajectories "$slice" s.zarr o
		same o.npz 11 ":, $slice, :"
	done
	status 0 sde-export --force --dimensions 1: --trajectories 1::2 --time :-1:5 s.zarr o
	same o.npz 11 '1:, 1::2, :-1:5'
}

an_index_keeps_its_axis()
{
	store_writer s.zarr 4 11 close
	for i in 0 7 10 -1 -11 +2 -0; do
		status 0 sde-export --force --time "$i" s.zarr o
		same o.npz 11 ":, :, [$i]"
	done
	status 0 sde-export --force --dimensions -1 --trajectories 3 --time 5 s.zarr o
	same o.npz 11 '1:2, 3:4, 5:6'
}

stored_members_begin_at_multiples_of_64()
{
	store_writer s.zarr 4 11 close
	sde-export --store s.zarr o.npz
	same o.npz 11
	python3 - <<'END'
import struct, zipfile
import numpy as np

bytes = open("o.npz", "rb").read()
with zipfile.ZipFile("o.npz") as z, np.load("o.npz") as arrays:
    for member in z.infolist():
        assert member.compress_type == zipfile.ZIP_STORED
        at = member.header_offset
        name, extra = struct.unpack("<HH", bytes[at + 26:at + 30])
        at += 30 + name + extra                         # the .npy file
        assert bytes[at:at + 6] == b"\x93NUMPY"
        length = "<H" if bytes[at + 6] == 1 else "<I"
        at += 8 + struct.calcsize(length) + struct.unpack_from(length, bytes, at + 8)[0]
        assert at % 64 == 0, (member.filename, at)
        array = arrays[member.filename[:-4]]
        mapped = np.memmap("o.npz", array.dtype, "r", at, array.shape,
                           "F" if array.ndim > 1 else "C")
        assert np.array_equal(mapped, array)
END
}

compressed_files_are_no_larger_than_numpys_of_the_same_order()
{
	python3 - <<'END'
import numpy as np
r = np.random.default_rng(1)
# 100 Brownian paths in 2 dimensions
np.savez("p.npz", time=np.arange(5000) * 0.01,
         data=np.cumsum(0.1 * r.standard_normal((2, 100, 5000)), axis=2))
END
	sde-export p.npz f.npz
	sde-export --c-order p.npz c.npz
	python3 - <<'END'
import os
import numpy as np
p = np.load("p.npz")
np.savez_compressed("nf.npz", time=p["time"], data=np.asfortranarray(p["data"]))
np.savez_compressed("nc.npz", time=p["time"], data=p["data"])
size = {name: os.path.getsize(name + ".npz") for name in ("f", "nf", "c", "nc")}
assert size["f"] <= size["nf"] and size["c"] <= size["nc"], size
END
}

an_export_can_be_exported_again()
{
	store_writer s.zarr 4 11 close
	sde-export s.zarr o.npz
	status 0 sde-export --time 2::3 o.npz p.npz >said 2>&1
	[ ! -s said ]
	same p.npz 11 ':, :, 2::3'
	status 0 sde-export --time 2::3 --force o.npz o.npz
	cmp o.npz p.npz
}

a_file_of_pysde_has_no_iterations()
{
	python3 - <<'END'
import numpy as np
np.savez_compressed("p.npz", time=np.arange(5) / 4, data=np.arange(30.0).reshape(2, 3, 5))
END
	status 0 sde-export p.npz o.npz
	python3 - <<'END'
import numpy as np
o, p = np.load("o.npz"), np.load("p.npz")
assert sorted(o.files) == ["data", "time"], o.files
assert all(np.array_equal(o[name], p[name]) for name in o.files)
END
}

an_existing_file_is_untouched_without_force()
{
	store_writer s.zarr 4 11 close
	echo precious >o.npz
	cp -p o.npz before
	status 2 sde-export s.zarr o.npz 2>err
	[ "$(cat err)" = "sde-export: 'o.npz' is there already: --force replaces it" ]
	cmp o.npz before
	only before err o.npz s.zarr
	status 0 sde-export --force s.zarr o.npz
	same o.npz 11
	only before err o.npz s.zarr
}

a_failed_replacement_keeps_the_old_file()
{
	store_writer s.zarr 4 12 close
	echo precious >o.npz
	: >s.zarr/data/c/0/0/2
	status 3 sde-export --force s.zarr o.npz 2>err
	grep "^sde-export: .*'s.zarr/data/c/0/0/2'" err
	[ "$(wc -l <err)" -eq 1 ]
	[ "$(cat o.npz)" = precious ]
	only err o.npz s.zarr
}

a_damaged_chunk_outside_the_selection_does_not_matter()
{
	store_writer s.zarr 4 12 close
	: >s.zarr/data/c/0/0/1
	status 0 sde-export --time 8:12 s.zarr o.npz
	same o.npz 12 ':, :, 8:12'
}

a_missing_chunk_gives_status_4()
{
	store_writer s.zarr 4 12 close
	rm s.zarr/data/c/0/0/1
	status 4 sde-export s.zarr o.npz 2>err
	grep "^sde-export: .*'s.zarr/data/c/0/0/1'" err
	only err s.zarr
}

a_directory_that_is_not_there_is_named()
{
	store_writer s.zarr 4 12 close
	status 2 sde-export s.zarr no/o.npz 2>err
	grep "^sde-export: .*'no" err
	only err s.zarr
}

an_output_that_is_a_directory_is_refused()
{
	store_writer s.zarr 4 12 close
	mkdir o.npz
	status 2 sde-export s.zarr o.npz
	status 2 sde-export --force s.zarr o.npz
	only o.npz s.zarr
}

a_name_that_is_no_text_is_printed_without_control_characters()
{
	name=$(printf 'o\033[31m\377')
	store_writer s.zarr 4 5 close
	status 0 sde-export s.zarr "$name"
	status 2 sde-export s.zarr "$name" 2>err
	status 1 grep "$(printf '\033')" err
	status 1 sde-export --time "$name" s.zarr p 2>err
	status 1 grep "$(printf '\033')" err
}

a_full_disk_leaves_nothing()
{
	store_writer s.zarr 1000 20000 close
	# 64 blocks of 512 or 1024 bytes
	status 2 sh -c 'ulimit -f 64 && sde-export --store s.zarr o.npz' 2>err
	[ "$(wc -l <err)" -eq 1 ]
	grep "^sde-export: .*'o.npz" err
	status 2 sh -c 'ulimit -f 64 && sde-export --c-order --store s.zarr o.npz'
	only err s.zarr
}

signals_leave_nothing_and_end_it()
{
	large_store
	sent SIGINT SIG_DFL -2 sde-export --threads 1 "$large" o.npz
	only
	echo precious >o.npz
	sent SIGTERM SIG_DFL -15 sde-export --threads 1 --c-order --force "$large" o.npz
	sent SIGHUP SIG_DFL -1 sde-export --c-order --store --force "$large" o.npz
	[ "$(cat o.npz)" = precious ]
	only o.npz
}

an_ignored_signal_stays_ignored()
{
	large_store
	sent SIGHUP SIG_IGN 0 sde-export --c-order --store "$large" o.npz
	same o.npz "$LARGE"
}

memory_is_bounded()
{
	# a sanitizer's shadow does not fit below any limit
	if grep -q __asan_init "$(command -v sde-export)"; then
		return 0
	fi
	large_store
	for options in '' --c-order --store; do
		# no word, or one
		# shellcheck disable=SC2086
		status 0 sh -c 'ulimit -v 131072 && exec sde-export "$@"' - \
			--threads 2 $options --force "$large" o.npz
		same o.npz "$LARGE"
	done
}

on_a_terminal_there_is_a_bar_and_a_line_at_the_end()
{
	store_writer s.zarr 1000 20000 close
	status 0 python3 "$here/terminal.py" 60 sde-export s.zarr o.npz >seen
	python3 - <<'END'
seen = open("seen", newline="").read()
parts = seen.split("\r")
bars = [p for p in parts if p.startswith("exporting [")]
assert bars and all("/s  ETA" in p and len(p) < 60 for p in bars), seen
assert parts[-3].strip() == "", seen
assert parts[-2].startswith("o.npz: float64 (2, 8, 20000), "), seen
assert parts[-1] == "\n", seen
END
	same o.npz 20000
}

on_a_terminal_an_interrupt_takes_the_bar_away()
{
	large_store
	python3 - "$large" <<'END'
import os, pty, signal, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("sde-export", ["sde-export", "--threads", "1", sys.argv[1], "o.npz"])
seen = b""
while True:
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not seen:
        os.write(terminal, b"\x03")     # the terminal sends SIGINT
    seen += piece
ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert ended == -signal.SIGINT, (ended, seen)
parts = seen.decode().replace("^C", "").split("\r")
assert parts[-1] == "" and parts[-2].strip() == "", seen
END
	only
}

exporting_changes_nothing_in_the_store()
{
	crashed_store s.zarr
	find s.zarr -printf '%p %y %s %i %T@\n' | sort >before
	status 0 sde-export s.zarr o.npz
	find s.zarr -printf '%p %y %s %i %T@\n' | sort | diff before -
}

# ---------------------------------------------------------------------------

for file in "$here"/export/*.cmd; do
	test_that output_of "$(basename "$file" .cmd)"
done
run_the_tests
