#!/bin/sh
# SPDX-License-Identifier: MIT
#
# zarr-python 3 and xarray read what we write: zarr3.py, in the Python environment of
# zarr3_environment. Where nothing can be fetched, every test is reported as skipped,
# by its name.
#
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

SRCDIR=${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$SRCDIR/build}
here=$SRCDIR/tests/interop
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

# skip REASON
skip()
{
	python3 "$here/zarr3.py" --list | awk -v reason="$1" '
		{ print "ok " NR " - " $0 " # SKIP " reason }
		END { print "1.." NR }'
	exit 0
}

if ! command -v python3 >/dev/null; then
	echo '1..0 # SKIP python3 is not installed'
	exit 0
fi

# shellcheck source=tests/interop/zarr3_environment
. "$here/zarr3_environment"
zarr3_environment || skip "$why"
# Hundreds of small stores: in memory where there is room, for there they cost no sync.
if [ "$(df -kP /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')" -ge 1048576 ] 2>/dev/null &&
		work=$(mktemp -d /dev/shm/sdestore.XXXXXX 2>/dev/null); then
	trap 'cd / && rm -rf "$work"' EXIT
	trap 'exit 143' HUP INT TERM
	cd "$work" || exit 1
fi
"$environment/bin/python" "$here/zarr3.py" "$BUILD/tests/interop/cases"
