#!/bin/sh
# SPDX-License-Identifier: MIT
#
# examples/quantiles.c against numpy.quantile, to the bit.
#
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
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

# compare STORE: with what is in d.npz
compare()
{
	quantiles --threads 3 --at 0,0.1,0.25,0.5,0.7773,1 "$1" >said
	$python -c '
import numpy
data = numpy.load("d.npz")
lines = open("said").read().split("\n")
q = [float(x) for x in lines[0].split()[2:]]
said = numpy.array([[float(x) for x in line.split()] for line in lines[1:] if line])
assert said.shape == (len(data["time"]), 7)
assert (said[:, 0] == data["time"]).all()
assert (said[:, 1:].T == numpy.quantile(data["data"][0], q, axis=0)).all()'
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

quantiles_are_those_of_numpy()
{
	for trajectories in 1 2 999; do
		double_well --trajectories "$trajectories" --steps 300 --seed 7 d.zarr
		sde-export --force d.zarr d.npz
		compare d.zarr
		compare d.npz
	done
}

so_they_are_over_many_chunks()
{
	double_well --trajectories 20000 --steps 250 d.zarr
	[ "$(find d.zarr/data/c -type f | wc -l)" -gt 2 ]
	sde-export d.zarr d.npz
	compare d.zarr
}

a_component_that_is_not_there_is_refused()
{
	double_well --trajectories 8 --steps 30 d.zarr
	status 1 quantiles --component 1 d.zarr 2>err
	grep '^quantiles: there is no component 1: there are 1, from 0$' err
}

# ---------------------------------------------------------------------------

run_the_tests
