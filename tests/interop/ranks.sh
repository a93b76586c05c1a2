#!/bin/sh
# SPDX-License-Identifier: MIT
#
# zarr-python 3 and xarray read what several MPI ranks have written into one store:
# ranks.py. Columns as wide as PySDE's partition makes them, with a remainder behind, and
# aligned ones; closed, and published by a run of which a rank was killed.
#
# Environment: see tests/cli/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/mpi/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/mpi/tap"
# shellcheck source=tests/interop/zarr3_environment
. "$SRCDIR/tests/interop/zarr3_environment"

PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
run=tests/mpi/run
zarr3_environment || {
	echo "1..0 # SKIP $why"
	exit 0
}

# read_by_zarr STORE WIDTH SNAPSHOTS: at least that many
read_by_zarr()
{
	"$environment/bin/python" "$SRCDIR/tests/interop/ranks.py" "$@"
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

# 61 trajectories of 4 ranks: 15, 15, 15, and 16, which are a column and a remainder
zarr_python_reads_the_partition_of_pysde_with_its_remainder()
{
	ranks 4 $run create a.zarr 19 0
	read_by_zarr a.zarr 15 19
}

zarr_python_reads_aligned_columns()
{
	ALIGNED=1 ranks 3 $run create a.zarr 21 0
	read_by_zarr a.zarr 24 21
}

zarr_python_reads_one_column_of_one_rank()
{
	ranks 1 $run create a.zarr 17 0
	read_by_zarr a.zarr 64 17
}

# What was published by a run that a rank's death has ended
zarr_python_reads_what_a_killed_run_has_published()
{
	mpirun -n 4 "$BUILD/$run" create a.zarr 1000000000 0 slow >/dev/null 2>&1 &
	writer=$!
	for _ in $(seq 300); do
		[ ! -e a.zarr/data/c/0/3/5 ] || break
		sleep 0.1
	done
	# published at most 0.2 s later
	sleep 0.5
	python3 -c 'import os, signal, struct
os.kill(struct.unpack("<Q", open("pid.2", "rb").read(8))[0], signal.SIGKILL)'
	wait "$writer" || :
	writer=
	read_by_zarr a.zarr 15 40
	# and what resuming it publishes
	ranks 3 $run resume a.zarr 0 0
	read_by_zarr a.zarr 15 40
}

run_the_tests
