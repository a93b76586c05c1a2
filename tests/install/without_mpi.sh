#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Where there is no MPI: configure and make say so, and all but libsdestore-mpi is built
# and installed. A wrapper that fails stands for a machine without one.
#
# Environment: see tests/install/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/install/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/install/tap"

# settings of the make that runs the tests are not for these
unset MAKEFLAGS MAKEOVERRIDES MFLAGS

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

configure_and_make_without_mpi_say_so_and_build_the_rest()
{
	autoconf -o configure "$SRCDIR/configure.ac"
	./configure --srcdir="$SRCDIR" MPICC=false CFLAGS=-O0 | tee said
	grep 'checking for MPI... no: libsdestore-mpi is left out' said
	make -j"$jobs" | tee said
	grep 'libsdestore-mpi is left out: MPI = no' said
	make prefix=/p DESTDIR="$PWD/d" install
	[ -e d/p/lib/libsdestore.so ]
	[ -e d/p/include/sdestore/backend.h ]
	[ -z "$(find d -name '*mpi.h' -o -name '*sdestore-mpi.so*' -o -name 'sdestore-mpi.pc')" ]
	build/tools/sde-inspect --version
	status 1 grep -ql MPI_Init build/libsdestore.a
	make prefix=/p DESTDIR="$PWD/d" uninstall
	[ -z "$(find d ! -type d)" ]
}

configure_that_is_asked_for_mpi_does_not_go_on_without()
{
	autoconf -o configure "$SRCDIR/configure.ac"
	status 1 ./configure --srcdir="$SRCDIR" --with-mpi MPICC=false CFLAGS=-O0 2>said
	grep 'cannot find MPI: install its development files (Debian: apt-get install libopenmpi-dev)' said
}

make_alone_says_so()
{
	make -n -f "$SRCDIR/Makefile" BUILD="$PWD/b" MPICC=false all >said
	grep 'libsdestore-mpi is left out: no MPI here' said
	status 1 grep libsdestore-mpi.so said
	make -n -f "$SRCDIR/Makefile" BUILD="$PWD/b" MPI=no all >said
	grep 'libsdestore-mpi is left out: MPI = no' said
	status 1 grep libsdestore-mpi.so said
}

command -v autoconf >/dev/null || {
	echo '1..0 # SKIP autoconf is not installed'
	exit 0
}
run_the_tests
