#!/bin/sh
# SPDX-License-Identifier: MIT
#
# zarr-python 2 (Debian 12) does not know format 3: it has to say so, and must not
# find anything of another meaning in our stores.
#
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

SRCDIR=${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$SRCDIR/build}
names='zarr-python 2 finds no group
zarr-python 2 finds no array'

for python in python3 /usr/bin/python3 ''; do
	[ -n "$python" ] || break
	"$python" -c 'import sys, zarr; sys.exit(zarr.__version__[:2] != "2.")' 2>/dev/null && break
done
if [ -z "$python" ]; then
	echo "$names" | awk '
		{ print "ok " NR " - " $0 " # SKIP zarr-python 2 is not installed (Debian: python3-zarr)" }
		END { print "1.." NR }'
	exit 0
fi

"$BUILD/tests/interop/cases" 'path=s.zarr ops=store:11,save,store:3 N=16 T=4' || exit 1
"$python" - <<'END_OF_PYTHON'
import sys
import zarr
from zarr.errors import ArrayNotFoundError, GroupNotFoundError

def refused(wanted, function, *paths, **options):
    for path in paths:
        try:
            found = function(path, mode="r", **options)
        except wanted:
            continue
        except Exception as error:
            print(f"# {path}: {type(error).__name__}: {error}")
            return False
        print(f"# {path}: {found!r}")
        return False
    return True

failed = 0
for number, (name, ok) in enumerate((
        ("group", refused(GroupNotFoundError, zarr.open_group, "s.zarr", "s.zarr/data")),
        ("array", refused(ArrayNotFoundError, zarr.open_array, "s.zarr", "s.zarr/data",
                          "s.zarr/time", "s.zarr/iteration"))), 1):
    print("ok" if ok else "not ok", number, "- zarr-python 2 finds no", name)
    failed += not ok
print("1..2")
sys.exit(failed > 0)
END_OF_PYTHON
