#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Stores of format 2, read by Debian's zarr-python 2 (format2.py).
#
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

SRCDIR=${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$SRCDIR/build}
PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE

for python in python3 /usr/bin/python3 ''; do
	[ -n "$python" ] || break
	"$python" -c 'import sys, zarr; sys.exit(zarr.__version__[:2] != "2.")' 2>/dev/null && break
done
if [ -z "$python" ]; then
	echo '1..0 # SKIP zarr-python 2 is not installed (Debian: python3-zarr)'
	exit 0
fi
exec "$python" "$SRCDIR/tests/interop/format2.py" "$BUILD/tests/interop/cases"
