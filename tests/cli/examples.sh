#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The examples, run as their users would.
#
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/cli/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/cli/tap"

# number_of STORE EXPRESSION: of its --json, called j; 0 while it is not there
number_of()
{
	sde-inspect --json "$1" 2>/dev/null | python3 -c '
import json, sys
j = json.load(sys.stdin)
print(0 if "error" in j else eval(sys.argv[1]))' "$2"
}

# same STORE STORE: every number to the bit, and the metadata of every array.
# (Chunk files of data also hold the id of their run: they are not compared.)
same()
{
	for array in time iteration data; do
		diff "$1/$array/zarr.json" "$2/$array/zarr.json"
	done
	diff -r "$1/time" "$2/time"
	diff -r "$1/iteration" "$2/iteration"
	status 0 store_compare "$1" "$2"
	status 0 sde-inspect --verify "$1"
	status 0 sde-inspect --verify "$2"
}

# wait_for STORE SNAPSHOTS: until so many are committed
wait_for()
{
	tries=0
	while [ "$(number_of "$1" 'j["snapshots"]["committed"]')" -lt "$2" ]; do
		tries=$((tries + 1))
		[ "$tries" -lt 1000 ]
		sleep 0.02
	done
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

double_well_writes_a_store_and_replaces_it()
{
	double_well --trajectories 64 --steps 20 --seed 7 d.zarr >said 2>err
	[ ! -s err ]
	grep '^d.zarr: 21 snapshots of 64 trajectories' said
	[ "$(number_of d.zarr 'j["shape"][2]')" -eq 21 ]
	[ "$(number_of d.zarr 'j["attributes"]["seed"]')" -eq 7 ]
	[ "$(number_of d.zarr 'j["time"]["last"] == 0.2')" = True ]
	double_well --trajectories 8 --steps 4 d.zarr
	[ "$(number_of d.zarr 'j["shape"][1]')" -eq 8 ]
	status 0 sde-inspect --verify d.zarr
}

double_well_does_not_replace_what_is_no_store()
{
	mkdir d
	echo precious >d/file
	status 1 double_well --trajectories 8 --steps 4 d 2>err
	grep '^double_well: cannot create the store: ' err
	grep precious d/file
}

the_same_seed_gives_the_same_numbers()
{
	double_well --trajectories 64 --steps 20 --seed 7 a.zarr
	double_well --trajectories 64 --steps 20 --seed 7 b.zarr
	double_well --trajectories 64 --steps 20 --seed 8 c.zarr
	same a.zarr b.zarr
	status 1 store_compare a.zarr c.zarr
}

progress_is_drawn_on_a_terminal()
{
	status 0 python3 "$here/terminal.py" 60 \
		double_well --trajectories 64 --steps 20 d.zarr >seen
	tr '\r' '\n' <seen | grep '^double well .*100%.* steps/s .*ETA 0:00'
	[ "$(tr '\r' '\n' <seen | grep ETA | awk 'length > 59' | wc -l)" -eq 0 ]
}

a_killed_and_resumed_run_equals_one_that_was_not()
{
	arguments="--chunk 64 --stride 3 --steps 30000"
	# shellcheck disable=SC2086
	lorenz $arguments --path a.zarr 24
	# shellcheck disable=SC2086
	for kills in 1 2 3; do
		lorenz $arguments --path b.zarr --resume 24 &
		writer=$!
		wait_for b.zarr $((kills * 1000))
		kill -KILL "$writer" || :
		wait "$writer" || :
		writer=
	done
	# shellcheck disable=SC2086
	lorenz $arguments --path b.zarr --resume
	same a.zarr b.zarr
	[ "$(number_of b.zarr 'j["shape"][2]')" -eq 10001 ]
}

a_terminated_run_says_how_to_go_on()
{
	lorenz --chunk 64 --steps 2000 --path a.zarr 24
	lorenz --chunk 64 --steps 1000000000 --path b.zarr 24 >said &
	writer=$!
	wait_for b.zarr 100
	kill -TERM "$writer"
	status 0 wait "$writer"
	writer=
	grep '^stopped at iteration [0-9]* of 1000000000; to go on:$' said
	grep "^lorenz --resume --path 'b.zarr' --steps 1000000000$" said
	status 0 sde-inspect b.zarr
}

runs_of_several_pieces_equal_one()
{
	lorenz --chunk 64 --stride 7 --seed 3 --dt 0.002 --steps 2000 --path a.zarr 24
	for steps in 0 1 6 7 8 500 2000 1000 2000; do
		lorenz --chunk 64 --stride 7 --seed 3 --dt 0.002 --steps "$steps" \
			--path b.zarr --resume 24
	done
	same a.zarr b.zarr
}

rounded_runs_are_resumed_from_what_was_not_rounded()
{
	lorenz --chunk 64 --seed 3 --keepbits 7 --steps 700 --path a.zarr 24
	for steps in 0 1 63 64 65 500 700; do
		lorenz --chunk 64 --seed 3 --keepbits 7 --steps "$steps" --path b.zarr --resume 24
	done
	same a.zarr b.zarr
	sde-inspect b.zarr | grep '7 mantissa bits kept, the last snapshot known exactly$'
	rm b.zarr/data/.restart
	sde-inspect b.zarr | grep '7 mantissa bits kept, the last snapshot known rounded only$'
	status 1 lorenz --steps 800 --path b.zarr --resume 2>err
	grep 'only the rounded numbers of the last snapshot are left$' err
	status 1 lorenz --steps 800 --keepbits 8 --path a.zarr --resume 2>err
	grep 'option keepbits is 8, but .a.zarr. has 7$' err
}

resume_takes_its_parameters_from_the_store()
{
	lorenz --seed 3 --dt 0.002 --epsilon 0.1 --steps 200 --path a.zarr 24
	lorenz --seed 3 --dt 0.002 --epsilon 0.1 --steps 100 --path b.zarr 24
	lorenz --steps 200 --path b.zarr --resume
	same a.zarr b.zarr
	status 1 lorenz --steps 300 --path b.zarr --resume --dt 0.001 2>err
	grep 'dt 0.002' err
	status 1 lorenz --steps 300 --path b.zarr --resume 25
	same a.zarr b.zarr
}

resume_without_a_store_begins_one()
{
	lorenz --steps 10 --path a.zarr --resume 8 2>err
	grep "^lorenz: there is no 'a.zarr' yet: starting anew$" err
	[ "$(number_of a.zarr 'j["shape"][2]')" -eq 11 ]
	status 1 lorenz --steps 10 --path a.zarr 8
}

moments_agree_with_theory()
{
	status 0 moments >said
	cat said
	grep '^moments: 2000 snapshots' said
}

follow_shows_every_snapshot_of_a_running_writer_and_ends_with_it()
{
	lorenz --chunk 64 --steps 20000 --path a.zarr 24 &
	writer=$!
	wait_for a.zarr 1
	status 0 follow --period 0.05 a.zarr >said
	wait "$writer"
	writer=
	[ "$(wc -l <said)" -eq "$(number_of a.zarr 'j["shape"][2]')" ]
	# what it saw of the running store is what there is now
	status 0 follow a.zarr >after
	diff said after
}

follow_says_when_the_writer_died()
{
	lorenz --chunk 64 --steps 1000000000 --path b.zarr 24 >/dev/null &
	writer=$!
	wait_for b.zarr 100
	{ sleep 0.3; kill -KILL "$writer"; } &
	status 2 follow --period 0.05 b.zarr >said 2>err
	grep '^follow: the writer died' err
	[ "$(wc -l <said)" -eq "$(number_of b.zarr 'j["snapshots"]["committed"]')" ]
	wait "$writer" || :
	writer=
}

bad_command_lines_give_status_1_and_the_usage()
{
	for command in 'double_well --steps -1' 'double_well --seed 1x' 'double_well a b' \
			'double_well --bogus' 'lorenz --dt 0' 'lorenz --sync always' \
			'lorenz 0' 'lorenz 1 2' 'lorenz --seed 9223372036854775808' \
			'quantiles' 'quantiles --at 2 x' 'quantiles --at 0.5,0.1 x' 'quantiles --threads 0 x' 'follow' 'follow --period 0 x'; do
		# shellcheck disable=SC2086
		status 1 $command 2>err
		grep '^usage: ' err
	done
	[ "$(ls)" = err ]
}

# ---------------------------------------------------------------------------

run_the_tests
