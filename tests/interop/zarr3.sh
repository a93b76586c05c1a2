#!/bin/sh
# SPDX-License-Identifier: MIT
#
# zarr-python 3 and xarray read what we write: zarr3.py, in a Python environment
# that is made for it once in the build directory (`make clean` removes it). Where
# nothing can be fetched, every test is reported as skipped, by its name.
#
# PIP_OPTIONS are handed to pip (an index of your own, a proxy).
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

SRCDIR=${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$SRCDIR/build}
here=$SRCDIR/tests/interop
environment=$BUILD/python
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

# The file `complete` is made last: what was interrupted is made again.
if [ ! -e "$environment/complete" ]; then
	rm -rf "$environment"
	python3 -m venv "$environment" >log 2>&1 ||
		skip 'python3 -m venv does not work (Debian: python3-venv)'
	# shellcheck disable=SC2086	# options, not one word
	timeout 180 "$environment/bin/python" -m pip install --quiet --no-input \
		--disable-pip-version-check --retries 1 --timeout 15 --prefer-binary \
		$PIP_OPTIONS 'zarr>=3.0.8' xarray numpy >log 2>&1 || {
		rm -rf "$environment"
		skip "zarr-python 3 cannot be fetched: $(tail -n 1 log | tr -d '#')"
	}
	: >"$environment/complete"
fi

"$environment/bin/python" -c 'import numpy, xarray, zarr' >log 2>&1 || {
	rm -rf "$environment"
	skip "zarr-python 3 does not load: $(tail -n 1 log | tr -d '#')"
}
# Hundreds of small stores: in memory where there is room, for there they cost no sync.
if [ "$(df -kP /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')" -ge 1048576 ] 2>/dev/null &&
		work=$(mktemp -d /dev/shm/sdestore.XXXXXX 2>/dev/null); then
	trap 'cd / && rm -rf "$work"' EXIT
	trap 'exit 143' HUP INT TERM
	cd "$work" || exit 1
fi
"$environment/bin/python" "$here/zarr3.py" "$BUILD/tests/interop/cases"
