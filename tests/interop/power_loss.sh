#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Crash states of the simulated file system (tests/crash/sim_sample.h), before and
# after recovery, opened by zarr-python: 3 reads both formats, Debian's 2 format 2.
#
# Environment: BUILD, SRCDIR (see tests/run), SDE_TEST_SEED, SDE_TEST_SAMPLES (120;
# 2000 with SDE_TEST_LONG). Speaks TAP.

SRCDIR=${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$SRCDIR/build}
here=$SRCDIR/tests/interop
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
samples=${SDE_TEST_SAMPLES:-$([ -n "$SDE_TEST_LONG" ] && echo 2000 || echo 120)}

# skip REASON
skip()
{
	echo "ok 1 - zarr_python_3_reads_every_crash_state # SKIP $1"
	echo "ok 2 - zarr_python_2_reads_every_crash_state_of_format_2 # SKIP $1"
	echo '1..2'
	exit 0
}

command -v python3 >/dev/null || skip 'python3 is not installed'
# shellcheck source=tests/interop/zarr3_environment
. "$here/zarr3_environment"
zarr3_environment || skip "$why"

mkdir states || exit 1
SDE_TEST_EXPORT=states SDE_TEST_EXPORT_EVERY=41 SDE_TEST_STATES=$((samples * 41)) \
	"$BUILD/tests/crash/test_power_loss" >export.log 2>&1 || {
	tail -n 20 export.log
	exit 1
}
grep '^# seed' export.log

# result NUMBER NAME PYTHON FORMATS
result()
{
	if "$3" "$here/power_loss.py" states "$4" >read.log 2>&1; then
		echo "# $(tail -n 1 read.log)"
		echo "ok $1 - $2"
	else
		sed 's/^/# /' read.log | tail -n 20
		echo "not ok $1 - $2"
	fi
}

result 1 zarr_python_3_reads_every_crash_state "$environment/bin/python" 23
for python in python3 /usr/bin/python3 ''; do
	[ -n "$python" ] || break
	"$python" -c 'import sys, zarr; sys.exit(zarr.__version__[:2] != "2.")' 2>/dev/null && break
done
name=zarr_python_2_reads_every_crash_state_of_format_2
if [ -n "$python" ]; then
	result 2 "$name" "$python" 2
else
	echo "ok 2 - $name # SKIP zarr-python 2 is not installed (Debian: python3-zarr)"
fi
echo '1..2'
