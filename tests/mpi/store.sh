#!/bin/sh
# SPDX-License-Identifier: MIT
#
# One store of all ranks, by the public functions: run.c.
#
# Environment: see tests/cli/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/mpi/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/mpi/tap"

run=tests/mpi/run

# Created, resumed by another number of ranks, and again.
made_by()
{
	for aligned in '' 1; do
		if [ "$aligned" ]; then
			export ALIGNED=1
		fi
		ranks "$1" $run create a.zarr 19 0
		[ "$(run check a.zarr 0)" = 19 ]
		[ ! -e a.zarr/data/.ring ]
		ranks "$2" $run resume a.zarr 30 1
		[ "$(run check a.zarr 0 19)" = 30 ]
		rm -rf a.zarr
	done
}

tour_with()
{
	ranks "$1" $run tour a.zarr
	[ "$(run check a.zarr 0 9)" = 24 ]
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

one_rank_makes_a_store()
{
	made_by 1 2
}

two_ranks_make_one_store()
{
	made_by 2 1
}

three_ranks_make_one_store()
{
	made_by 3 7
}

four_ranks_make_one_store()
{
	made_by 4 3
}

seven_ranks_make_one_store()
{
	made_by 7 4
}

ranks_save_truncate_and_are_refused_together()
{
	tour_with 3
}

ranks_without_trajectories_take_part()
{
	ALIGNED=1 tour_with 7
}

one_rank_whose_disk_is_full_lets_no_other_wait()
{
	ranks 4 $run hang a.zarr >said
	cat said
	grep '^-27: rank 3: cannot write ' said
	[ "$(run check a.zarr 0)" = 41 ]
}

# At each place, by the rank that leads, one in the middle, and the last
no_rank_waits_for_one_that_failed_elsewhere()
{
	for where in create save truncate close resume; do
		for rank in 0 1 3; do
			echo "$where, rank $rank:"
			SDE_TEST_MPI_TIMEOUT=40 ranks 4 $run fail a.zarr $rank $where
			[ "$(run check a.zarr 0)" = 24 ]
			[ ! -e a.zarr/data/.ring ]
			rm -rf a.zarr
			[ -z "$(ls -A | grep zarr)" ]
		done
	done
}

one_process_goes_on_with_what_ranks_made()
{
	ranks 3 $run create a.zarr 19 0
	sde-inspect --verify a.zarr
	sde-export a.zarr a.npz
	# the system's Python has Debian's numpy, another one that comes first may not
	python=python3
	$python -c 'import numpy' 2>/dev/null || python=/usr/bin/python3
	$python -c 'import numpy
x = numpy.load("a.npz")["data"]
assert x.shape == (2, 61, 19)
assert all(x[d, n, m] == 1000 * m + 1e9 * n + 0.25 * d
           for d in range(2) for n in range(61) for m in range(19))'
}

# A run that goes on, and what is left of it when a rank is killed.
sde_inspect_shows_each_column()
{
	mpirun -n 3 "$BUILD/$run" create a.zarr 1000000000 0 slow >/dev/null 2>&1 &
	writer=$!
	for _ in $(seq 300); do
		[ ! -s returned.0 ] || [ ! -s returned.1 ] || [ ! -s returned.2 ] || break
		sleep 0.1
	done
	sleep 0.5
	sde-inspect a.zarr >page
	cat page
	[ "$(grep -c ', running: [0-9]* committed, [0-9]* sealed, [0-9]* behind$' page)" -eq 4 ]
	grep '^  columns     0:20, running: ' page
	grep '^              60:61, running: ' page
	python3 -c 'import os, signal, struct
os.kill(struct.unpack("<Q", open("pid.1", "rb").read(8))[0], signal.SIGKILL)'
	wait "$writer" || :
	writer=
	status 4 sde-inspect --json a.zarr >j
	python3 -c 'import json
j = json.load(open("j"))
columns = j["columns"]
assert [c["trajectories"] for c in columns] == [[0, 20], [20, 40], [40, 60], [60, 61]]
assert all(c["state"] == "crashed" for c in columns)
assert min(c["committed"] for c in columns) == j["snapshots"]["committed"] > 0
assert min(c["lag"] for c in columns) == 0
assert all(c["sealed"] <= c["committed"] and c["sealed"] % 8 == 0 for c in columns)'
	status 2 sde-inspect --repair a.zarr 2>said
	grep 'was written by several ranks, which repair cannot do yet' said
	ranks 2 $run resume a.zarr 0 1
	sde-inspect --verify a.zarr >page
	[ "$(grep -c ', closed: [0-9]* committed, [0-9]* sealed, 0 behind$' page)" -eq 4 ]
}

the_example_makes_one_array_of_all_trajectories()
{
	ranks 3 examples/ensemble_mpi e.zarr >said
	grep '^e.zarr: 101 snapshots of 100000 trajectories by 3 ranks$' said
	sde-inspect --verify --json e.zarr >j
	python3 -c 'import json
assert json.load(open("j"))["shape"] == [1, 100000, 101]'
	[ "$(ls e.zarr/data/c/0 | wc -l)" -eq 3 ]
	[ "$(ls e.zarr/data/c/0/* | grep -c '^[012]$')" -eq 9 ]
	# and over what was there
	ranks 2 examples/ensemble_mpi e.zarr
	[ "$(ls e.zarr/data/c/0 | wc -l)" -eq 2 ]
}

# In directories of their own, two ranks see different ones under the same name.
a_rank_that_cannot_see_the_store_is_named()
{
	mkdir one two
	cat >each <<'END'
#!/bin/sh
cd "$1" && shift && exec "$@"
END
	chmod +x each
	status 1 timeout 60 mpirun -n 1 ./each one "$BUILD/$run" create a.zarr 5 0 : \
		-n 1 ./each two "$BUILD/$run" create a.zarr 5 0 >said 2>&1
	cat said
	grep "rank 1: cannot open '\\./\\.a\\.zarr.*': No such file or directory" said
	[ -z "$(ls -A one two | grep zarr)" ]
}

run_the_tests
