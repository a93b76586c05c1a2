#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What libsdestore-mpi does beside storing: partitions, names, directories.
#
# Environment: see tests/cli/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/mpi/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/mpi/tap"

helpers_work()
{
	ranks "$1" tests/mpi/helpers "$PWD"
}


# The tests: every function from here on is one.

helpers_work_with_1_rank()
{
	helpers_work 1
}

helpers_work_with_2_ranks()
{
	helpers_work 2
}

helpers_work_with_3_ranks()
{
	helpers_work 3
}

helpers_work_with_4_ranks()
{
	helpers_work 4
}

helpers_work_with_7_ranks()
{
	helpers_work 7
}

# which PySDE makes them with
a_rank_has_the_name_that_pathlib_gives_it()
{
	for path in run.zarr out/run.zarr /a.b/run .hidden a.tar.gz name. x/..y a/.b.c a.. ..a \
		'with space.d/na me.npz' dir.x/run dir/run.zarr/ ./run.z; do
		helpers "$PWD" "$path" 3 >got
		python3 -c 'import sys, pathlib
p = pathlib.Path(sys.argv[1])
print(p.parent / (p.stem + "_p3" + p.suffix))' "$path" >expected
		# pathlib drops a leading ./
		sed -i 's|^\./||' got
		diff expected got
	done
}

the_core_library_does_not_link_mpi()
{
	ldd "$BUILD/libsdestore.so" >libraries
	! grep -i mpi libraries
	nm -D --undefined-only "$BUILD/libsdestore.so" >undefined
	! grep -w 'MPI_[A-Za-z_]*' undefined
}

the_shared_library_exports_what_its_version_script_lists()
{
	nm -D --defined-only "$BUILD/libsdestore-mpi.so" |
		sed -n 's/.* T \([^@]*\).*/\1/p' | sort >exported
	sed -n 's/^[[:space:]]*\(sde_[a-z0-9_]*\);$/\1/p' "$SRCDIR/lib/mpi/sdestore-mpi.map" |
		sort >listed
	[ -s listed ]
	diff listed exported
}

run_the_tests
