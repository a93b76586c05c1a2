#!/bin/sh
# SPDX-License-Identifier: MIT
#
# sde-inspect, from outside. First the cases of tests/cli/inspect: NAME.cmd is a
# script, NAME.out its standard output with a last line `exit STATUS`. What
# differs from run to run is put by name: RUN, VERSION, STORED, RATIO, TEXT.
# Then what a comparison of texts cannot say.
#
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/cli/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/cli/tap"

normalised()
{
	sed -E -e 's/[0-9a-f]{32}/RUN/g' \
		-e 's/[0-9]+\.[0-9]+\.[0-9]+/VERSION/g' \
		-e 's/^(  stored      ).*/\1STORED/' \
		-e 's/^(    "stored": )[0-9]+/\1STORED/' \
		-e 's/^(    "ratio": )[0-9.]+/\1RATIO/' \
		-e 's/^(    "text": )".*"/\1TEXT/'
}

output_of()
{
	case_name=$1
	set +e
	sh "$here/inspect/$case_name.cmd" >out.raw 2>err
	echo "exit $?" >>out.raw
	set -e
	normalised <out.raw >out
	cat err
	diff -u "$here/inspect/$case_name.out" out
}

# json FILE EXPRESSION...: FILE is one JSON object, called j, and each Python
# expression is true of it
json()
{
	python3 - "$@" <<'END'
import json, sys

def unique(pairs):
    assert len(pairs) == len(dict(pairs)), pairs
    return dict(pairs)

with open(sys.argv[1], encoding="utf-8") as file:
    j = json.load(file, object_pairs_hook=unique)
assert isinstance(j, dict) and j["schema"] == "sde-inspect/1", j
for expression in sys.argv[2:]:
    # in parentheses an expression may take several lines
    assert eval("(" + expression + ")"), (expression, j)
END
}

# flip FILE: one bit in the middle of a shard's only inner chunk, whose offset and
# size stand at its end, before a checksum
flip()
{
	python3 - "$1" <<'END'
import struct, sys
with open(sys.argv[1], "r+b") as file:
    data = file.read()
    offset, size = struct.unpack("<QQ", data[-20:-4])
    file.seek(offset + size // 2)
    file.write(bytes([data[offset + size // 2] ^ 1]))
END
}

# chunk STORE K: the file of its K-th chunk
chunk()
{
	echo "$1/data/c/0/0/$2"
}

# picture DIRECTORY: all that is in it, to compare
picture()
{
	find "$1" -printf '%p %y %s %i %T@\n' | sort
	find "$1" -type f -exec cksum {} + | sort
}

# 10 snapshots in chunks of 4, the writer killed after the last; or all of them
# still in the ring
crashed_store()
{
	status 137 sh -c 'store_writer "$@"; exit $?' - "$1" "${2:-4}" 10 kill
}

# looks N: until so many are in `seen`
looks()
{
	tries=0
	until [ "$(grep -c snapshots seen)" -ge "$1" ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 1000 ]
		sleep 0.02
	done
}

# followed CLOSE|KILL: a store of 40 snapshots whose writer ends when it was looked at three
# times; output in `seen`, what was said in `err`, the status in $got
followed()
{
	mkfifo hold
	store_writer s.zarr 4 40 wait <hold >said &
	writer=$!
	exec 3>hold
	tries=0
	while ! grep -q stored said; do
		tries=$((tries + 1))
		[ "$tries" -lt 1000 ]
		sleep 0.02
	done
	: >seen
	{
		looks 3
		[ "$1" = CLOSE ] || kill -KILL "$writer"
	} &
	# the writer's input ends with the shell that looks
	[ "$1" = KILL ] || exec 3>&-
	shift
	got=0
	"$@" >seen 2>err || got=$?
	wait "$writer" || :
	exec 3>&-
	writer=
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

json_of_a_closed_store_has_exact_integers_and_attributes()
{
	store_writer s.zarr 4 11 close
	sde-inspect --json s.zarr >j
	json j 'j["shape"] == [2, 8, 11]' 'j["state"] == "closed"' \
		'j["attributes"]["seed"] == 9007199254740993' \
		'j["attributes"]["text"] == "\x1b[2J \"quoted\" \x9b \xe9"' \
		'j["attributes"]["list"] == [1, None, True]' \
		'j["snapshots"]["published"] == 11' 'j["chunk_files"] == 3' \
		'j["bytes"]["raw"] == 2 * 8 * 11 * 8' \
		'j["bytes"]["ratio"] == j["bytes"]["raw"] / j["bytes"]["stored"]' \
		'len(j["run"]) == 32' '"verify" not in j'
}

stored_bytes_are_those_of_the_chunk_files()
{
	store_writer s.zarr 4 11 close
	sde-inspect --json s.zarr >j
	bytes=$(find s.zarr/data/c -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
	json j "j['bytes']['stored'] == $bytes"
}

a_damaged_chunk_is_named_and_the_status_is_3()
{
	store_writer s.zarr 4 12 close
	flip "$(chunk s.zarr 1)"
	status 3 sde-inspect --verify s.zarr >page
	grep -E '^  verify      1 damaged chunk, ' page
	grep -E '^ +data lost: snapshots 4:8, trajectories 0:8: checksum: s.zarr/data/c/0/0/1$' page
	grep -E '^  lost        something of 4 of 12 snapshots, 33.33% of the values; ' page
	status 3 sde-inspect --verify --json s.zarr >j
	json j 'j["verify"]["ok"] is False' 'j["verify"]["code"] == "SDE_E_CORRUPT"' \
		'j["verify"]["snapshots"] == 12' 'j["verify"]["text"] is None' \
		'[(d["first"], d["count"], d["code"]) for d in j["verify"]["damage"]]
			== [(4, 4, "SDE_E_CORRUPT")]' \
		'j["verify"]["damage"][0]["text"]'
}

a_missing_chunk_gives_status_4()
{
	store_writer s.zarr 4 12 close
	rm "$(chunk s.zarr 1)"
	status 4 sde-inspect --verify s.zarr
	status 4 sde-inspect --verify --json s.zarr >j
	json j '"SDE_E_HOLE" in str(j)'
}

damage_counts_for_more_than_a_missing_chunk()
{
	store_writer s.zarr 4 12 close
	rm "$(chunk s.zarr 0)"
	flip "$(chunk s.zarr 2)"
	status 3 sde-inspect --verify --json s.zarr >j
	json j '[d["code"] for d in j["verify"]["damage"]] == ["SDE_E_HOLE", "SDE_E_CORRUPT"]'
}

a_truncated_chunk_is_damage()
{
	store_writer s.zarr 4 12 close
	: >"$(chunk s.zarr 2)"
	status 3 sde-inspect --verify --json s.zarr >j
	json j '"SDE_E_CORRUPT" in str(j)'
}

metadata_that_is_no_json_is_corrupt()
{
	store_writer s.zarr 4 12 close
	printf '{' >s.zarr/zarr.json
	status 3 sde-inspect s.zarr >page 2>err
	[ ! -s page ]
	grep '^sde-inspect: .*zarr.json' err
	status 3 sde-inspect --json s.zarr >j
	json j 'j["error"]["code"] == "SDE_E_CORRUPT"' 'j["error"]["number"] == -100001' \
		'"zarr.json" in j["error"]["text"]' 'j["path"] == "s.zarr"'
}

a_crashed_store_gives_status_4_and_a_hint()
{
	crashed_store s.zarr 100
	status 4 sde-inspect s.zarr >page
	grep '^s.zarr: zarr format 3, crashed$' page
	grep '^  data        float64 (2, 8, 10): ' page
	grep 'snapshots   10 committed, .* 0 published$' page
	grep '^hint: .*sde_zarr_storage_resume' page
	status 4 sde-inspect --json --verify s.zarr >j
	json j 'j["state"] == "crashed"' 'j["shape"] == [2, 8, 10]' \
		'j["snapshots"]["committed"] == 10' 'j["snapshots"]["published"] == 0' \
		'j["time"] == {"first": 0, "last": 2.25, "units": "s"}' \
		'j["iteration"] == {"first": 0, "last": 27}' 'j["verify"]["ok"]' \
		'j["bytes"]["ratio"] is None'
}

it_says_how_the_ring_is_written()
{
	crashed_store s.zarr 100
	status 4 sde-inspect s.zarr >page
	chunks=8	# small ones on a device
	[ "$(stat -f -c %T .)" != tmpfs ] || chunks=3
	grep -E "^  ring        $chunks chunks, (mapped|written)\$" page
	status 4 sde-inspect --json s.zarr >j
	json j 'j["ring_io"] in ("mapped", "written")'
	printf '\001' | dd of=s.zarr/data/.ring/header bs=1 seek=80 conv=notrunc
	python3 - <<'END'
import struct
crc = lambda b: __import__("functools").reduce(lambda c, x: step(c ^ x), b, 0xffffffff) ^ 0xffffffff
def step(c):
    for _ in range(8):
        c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
    return c
with open("s.zarr/data/.ring/header", "r+b") as file:
    page = file.read(160)
    file.seek(12)
    file.write(struct.pack("<I", crc(page[16:160])))
END
	status 4 sde-inspect s.zarr >page
	grep -E "^  ring        $chunks chunks, written\$" page
	status 4 sde-inspect --json s.zarr >j
	json j 'j["ring_io"] == "written"' 'j["snapshots"]["committed"] == 10'
}

losses_that_touch_are_one_range()
{
	store_writer s.zarr 4 62 close
	for k in 2 3 4 7 15; do
		rm "$(chunk s.zarr $k)"
	done
	flip "$(chunk s.zarr 8)"
	status 3 sde-inspect --verify --json s.zarr >j
	json j '[(r["lost"], r["snapshots"], r["trajectories"], r["dimensions"], r["cause"], r["pieces"])
			for r in j["verify"]["lost"]] ==
		[(["data"], s, [0, 8], [0, 2], c, p) for s, c, p in (([8, 20], "missing", 3),
			([28, 32], "missing", 1), ([32, 36], "checksum", 1), ([60, 62], "missing", 1))]' \
		'j["verify"]["touched"] == 22' 'j["verify"]["values"] == 2 * 8 * 62' \
		'j["verify"]["lost_values"] == 2 * 8 * 22' 'len(j["verify"]["damage"]) == 6'
	status 3 sde-inspect --verify s.zarr >page
	grep 'snapshots 8:20, trajectories 0:8: missing: s.zarr/data/c/0/0/2 and 2 more$' page
	grep '^hint: .*--on-hole nan' page
}

times_that_the_side_tables_have_are_restorable_and_restored()
{
	store_writer s.zarr 4 18 close
	picture s.zarr/time/c | tail -1 >before
	rm s.zarr/time/c/0
	status 4 sde-inspect --verify s.zarr >page
	grep ' times restorable: snapshots 0:18: missing: s.zarr/time/c/0' page
	grep 'something of 0 of 18 snapshots, 0% of the values' page
	grep '^  time        0 to 4.25 s$' page
	status 0 sde-inspect --repair s.zarr
	picture s.zarr/time/c | tail -1 | diff before -
	status 0 sde-inspect --verify s.zarr
}

repair_finishes_a_crashed_store_and_then_has_nothing_to_do()
{
	crashed_store s.zarr 4
	touch s.zarr/zarr.json.tmp
	picture s.zarr >before
	status 0 sde-inspect --repair --dry-run s.zarr >dry
	picture s.zarr | diff before -
	status 0 sde-inspect --repair s.zarr >done
	sed 's/ would take / took /' dry | diff - done
	grep '^  publish     snapshots .*:10: ' done
	grep '^  remove      s.zarr/zarr.json.tmp: ' done
	grep '^  remove      s.zarr/data/.ring: ' done
	status 0 sde-inspect --repair --json s.zarr >j
	json j 'j["repair"] == {"dry_run": False, "ok": True, "code": "SDE_OK", "text": None,
		"steps": []}' 'j["path"] == "s.zarr"'
	status 0 sde-inspect --verify --json s.zarr >j
	json j 'j["state"] == "closed"' 'j["snapshots"]["published"] == 10' 'j["verify"]["ok"]'
}

repair_of_a_running_store_gives_status_5_and_changes_nothing()
{
	start_writer s.zarr 4 10
	status 5 sde-inspect --repair s.zarr 2>err
	grep "^sde-inspect: .*'s.zarr' is being written by process $writer\$" err
	status 5 sde-inspect --repair --dry-run --json s.zarr >j
	json j 'j["error"]["code"] == "SDE_E_LOCKED"'
	end_writer
	status 0 sde-inspect --verify s.zarr
}

repair_names_what_is_lost_and_truncates_before_it()
{
	store_writer s.zarr 4 18 close
	rm "$(chunk s.zarr 2)" "$(chunk s.zarr 3)"
	status 4 sde-inspect --repair s.zarr >page 2>err
	grep '^  lost        data of snapshots 8:16, trajectories 0:8: missing: .* and 1 more$' page
	grep '^hint: .*cannot be repaired' page
	grep '^sde-inspect: lost snapshots 8:12, trajectories 0:8: ' err
	status 4 sde-inspect --repair --json s.zarr >j
	json j '[(s["action"], s["snapshots"], s["cause"], s["lost"]) for s in j["repair"]["steps"]] ==
		[("lost", [8, 16], "missing", ["data"])]' 'j["repair"]["code"] == "SDE_E_HOLE"'
	status 2 sde-inspect --repair --truncate 19 s.zarr
	status 0 sde-inspect --repair --truncate 8 s.zarr
	status 0 sde-inspect --verify --json s.zarr >j
	json j 'j["snapshots"]["committed"] == 8' 'j["verify"]["ok"]'
}

repair_removes_what_a_killed_create_left_beside()
{
	store_writer s.zarr 4 6 close
	mkdir -p .s.zarr.0123456789ab.new/data .s.zarr.0123456789ab.new/time
	touch .s.zarr.notes.new
	status 0 sde-inspect --repair s.zarr >page
	grep '^  remove      \./\.s\.zarr\.0123456789ab\.new: ' page
	[ ! -e .s.zarr.0123456789ab.new ]
	[ -e .s.zarr.notes.new ]
	mkdir .t.zarr.0123456789ab.new
	status 0 sde-inspect --repair t.zarr
	[ ! -e .t.zarr.0123456789ab.new ]
	status 2 sde-inspect --repair t.zarr
}

looking_changes_nothing()
{
	crashed_store s.zarr
	picture s.zarr >before
	status 4 sde-inspect --verify s.zarr
	status 4 sde-inspect --json s.zarr
	picture s.zarr >after
	diff before after
}

a_running_store_gives_status_0()
{
	start_writer s.zarr 4 10
	status 0 sde-inspect --json s.zarr >j
	status 0 sde-inspect s.zarr >page
	end_writer
	json j 'j["state"] == "running"' 'j["snapshots"]["committed"] == 10'
	grep '^s.zarr: zarr format 3, running$' page
	status 0 sde-inspect --json s.zarr >j
	json j 'j["state"] == "closed"'
}

the_ring_of_a_copied_store_is_ignored_unless_trusted()
{
	crashed_store s.zarr 100
	cp -a s.zarr copy.zarr
	status 4 sde-inspect --json copy.zarr >j 2>err
	json j 'j["snapshots"]["ignored"] == 10' 'j["snapshots"]["committed"] == 0'
	grep '^sde-inspect: warning: ' err
	status 4 sde-inspect copy.zarr >page
	grep '^  ignored     10 snapshots' page
	grep '^hint: .*--trust-ring' page
	status 4 sde-inspect --trust-ring --json copy.zarr >j
	json j 'j["snapshots"]["ignored"] == 0' 'j["snapshots"]["committed"] == 10'
}

a_path_that_is_no_text_still_makes_json()
{
	path=$(printf 's\033[31m\377"\\.zarr')
	status 2 sde-inspect --json "$path" >j 2>err
	json j 'j["path"] == "s\x1b[31m\ufffd\"\\.zarr"'
	status 1 grep "$(printf '\033')" err
	store_writer "$path" 4 5 close
	status 0 sde-inspect --json "$path" >j
	json j 'j["path"] == "s\x1b[31m\ufffd\"\\.zarr"'
	status 0 sde-inspect "$path" >page
	status 1 grep "$(printf '\033')" page
}

a_closed_pipe_or_descriptor_gives_status_2()
{
	store_writer s.zarr 4 12 close
	status 2 sh -c 'sde-inspect s.zarr >&-'
	status 2 sh -c 'sde-inspect --help >&-'
	status 2 python3 -c '
import os, subprocess, sys
r, w = os.pipe()
os.close(r)
sys.exit(subprocess.run(["sde-inspect", "--json", "s.zarr"], stdout=w).returncode)'
}

an_error_is_one_line_on_standard_error()
{
	status 2 sde-inspect missing.zarr 2>err
	[ "$(wc -l <err)" -eq 1 ]
	grep "^sde-inspect: .*'missing.zarr'" err
}

verify_on_a_terminal_shows_progress_and_takes_it_away()
{
	store_writer s.zarr 4 12 close
	status 0 python3 "$here/terminal.py" 60 sde-inspect --verify s.zarr >seen
	python3 - <<'END'
seen = open("seen", newline="").read()
parts = seen[:seen.index("s.zarr: ")].split("\r")
assert any("verifying [" in p and "ETA" in p for p in parts), seen
assert all(len(p) < 60 for p in parts), seen
assert parts[-1] == "" and parts[-2].strip() == "", seen
END
}

elsewhere_progress_writes_nothing()
{
	store_writer s.zarr 4 12 close
	status 0 sde-inspect --verify s.zarr 2>err >page
	[ ! -s err ]
	status 1 grep verifying page
}

an_npz_file_is_looked_at_like_a_store()
{
	store_writer s.zarr 4 12 close
	sde-export s.zarr run.npz
	sde-inspect --json s.zarr >expected
	status 0 sde-inspect --json --verify run.npz >j
	json j 'j["kind"] == "numpy"' 'j["state"] == "closed"' 'j["verify"]["ok"]' \
		'[(j[k], j["time"]["last"]) for k in ("shape", "dtype", "iteration")] ==
		 [(e[k], e["time"]["last"]) for e in [json.load(open("expected"))]
		  for k in ("shape", "dtype", "iteration")]'
	status 0 sde-inspect run.npz >page
	grep "^run.npz: numpy, closed" page
}

a_damaged_npz_file_is_damage()
{
	store_writer s.zarr 4 12 close
	sde-export --store s.zarr run.npz
	python3 - <<'END'
with open("run.npz", "r+b") as file:
    data = bytearray(file.read())
    # the last number of data, before a directory of three entries
    data[data.index(b"PK\1\2") - 1] ^= 1
    file.seek(0)
    file.write(data)
END
	status 3 sde-inspect --json --verify run.npz >j
	json j 'len(j["verify"]["damage"]) == 1' \
		'j["verify"]["damage"][0]["code"] == "SDE_E_CORRUPT"'
	head -c 1000 run.npz >cut.npz
	status 3 sde-inspect cut.npz
}

follow_ends_when_the_writer_closes()
{
	followed CLOSE sde-inspect --follow --period 0.1 --json s.zarr
	[ "$got" -eq 0 ]
	[ ! -s err ]
	python3 - <<'END'
import json, math
looks = [json.loads(line) for line in open("seen")]
assert len(looks) >= 3, looks
assert all(x["state"] == "running" for x in looks[:-1]), looks
assert looks[-1]["state"] == "closed" and looks[-1]["published"] == 40
for x in looks:
    assert x["schema"] == "sde-inspect-follow/1" and x["path"] == "s.zarr"
    assert x["snapshots"] == 40 and x["time"] == 39 / 4 and x["iteration"] == 39 * 3
    # component d of trajectory n is 39000 + 10 d + n, n below 8
    assert x["mean"] == [39003.5, 39013.5], x
    assert all(abs(s - math.sqrt(63 / 12)) < 1e-12 for s in x["spread"]), x
    assert x["free"] > 0 and (x["full_in"] is None or x["full_in"] > 0)
assert looks[0]["rate"] is None and looks[1]["rate"] == 0
END
}

follow_says_when_the_writer_died()
{
	followed KILL sde-inspect --follow --period 0.1 --json s.zarr
	[ "$got" -eq 4 ]
	grep '^sde-inspect: the writer died; what it stored is there' err
	tail -n 1 seen >j
	python3 -c 'import json; x = json.load(open("j"))
assert x["state"] == "crashed" and x["snapshots"] == 40, x'
}

follow_redraws_in_place_on_a_terminal()
{
	followed CLOSE python3 "$here/terminal.py" 30 sde-inspect --follow --period 0.1 s.zarr
	[ "$got" -eq 0 ]
	python3 - <<'END'
import re
seen = open("seen", newline="").read()
assert seen.count("\x1b[6A") >= 2 and seen.count("\x1b[6A") == seen.count("snapshots") - 1, seen
lines = re.sub("\x1b\\[[0-9]*[AK]", "", seen).split("\r\n")
assert lines[0] == "s.zarr" and lines[-1] == "", lines
assert all(len(line) < 30 for line in lines), lines
assert lines[-7] == "  state       closed" and lines[-6].startswith("  snapshots   40, "), lines
END
}

follow_of_a_closed_store_looks_once()
{
	store_writer s.zarr 4 12 close
	status 0 sde-inspect --follow s.zarr >seen
	[ "$(wc -l <seen)" -eq 1 ]
	grep '^state closed, snapshots 12, -/s, time 2.75, iteration 33, mean 11003.5 11013.5, ' seen
}

follow_of_a_removed_store_ends()
{
	store_writer s.zarr 4 12 wait </dev/zero >said &
	writer=$!
	while ! grep -q stored said; do
		sleep 0.02
	done
	# the writer may add a file to a directory that is being emptied
	: >seen
	{ looks 1; until rm -rf s.zarr 2>/dev/null; do :; done; } &
	status 2 sde-inspect --follow --period 0.05 --json s.zarr >seen 2>err
	grep 'removed or replaced' err
	tail -n 1 seen | grep '"number": -100008'
}

bad_periods_are_refused()
{
	for arguments in '--follow --period 0' '--follow --period nan' '--follow --period 1x' \
			'--period 1' '--follow --verify'; do
		# shellcheck disable=SC2086
		status 1 sde-inspect $arguments s.zarr 2>err
		grep '^usage: ' err
	done
}

# ---------------------------------------------------------------------------

for file in "$here"/inspect/*.cmd; do
	test_that output_of "$(basename "$file" .cmd)"
done
run_the_tests
