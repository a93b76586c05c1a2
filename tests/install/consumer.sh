#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs into a DESTDIR and builds against that what somebody else would: with
# nothing but pkg-config, in C and in C++, and with autoconf. This is also all of
# `make installcheck`.
#
# Environment: see tests/install/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/install/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/install/tap"

CC=${CC:-cc}
pkg_config=${PKG_CONFIG:-pkg-config}
prefix=/opt/sde
destdir=$work/destdir
libdir=$destdir$prefix/lib
strict='-O1 -Wall -Wextra -Wpedantic -Werror'

# Only what was installed is found, below destdir, and what the system has. The
# sysroot is put before the prefix that the .pc file names.
PKG_CONFIG_PATH=$libdir/pkgconfig
PKG_CONFIG_SYSROOT_DIR=$destdir
export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR

install_into()
{
	run_make prefix="$prefix" DESTDIR="$1" install
}

# files DIRECTORY: what is in it and is no directory
files()
{
	(cd "$1" && find . ! -type d | LC_ALL=C sort)
}

# only_static: go on with a tree without the shared library, which the linker
# would take if both were there
only_static()
{
	cp -R "$destdir" static
	rm static"$prefix"/lib/libsdestore.so*
	PKG_CONFIG_SYSROOT_DIR=$PWD/static
	PKG_CONFIG_PATH=$PWD/static$prefix/lib/pkgconfig
}

# a_consumer_builds_and_runs STANDARD KIND COMPILER
a_consumer_builds_and_runs()
{
	language=${1%%[0-9]*}
	flags="-x $language -std=$1 $strict"
	static=
	if [ "$2" = static ]; then
		only_static
		static=--static
	fi
	# flags are words, and a compiler may come with some
	# shellcheck disable=SC2086,SC2046
	$3 $flags "$here/consumer/consumer.c" -x none -o consumer \
		$($pkg_config $static --cflags --libs sdestore)
	LD_LIBRARY_PATH=$libdir ./consumer run.zarr | grep '^3 snapshots$'
	"$destdir$prefix/bin/sde-inspect" --verify run.zarr
	needed=$(readelf -d consumer | grep -c 'NEEDED.*libsdestore' || :)
	[ "$2 $needed" = 'shared 1' ] || [ "$2 $needed" = 'static 0' ]
}

# a_program_of_ranks_builds_and_runs KIND COMPILER: with sdestore-mpi.pc and no wrapper. Its
# flags are MPI's, too, before which no sysroot may be put.
a_program_of_ranks_builds_and_runs()
{
	language=c
	[ "${2%++}" = "$2" ] || language=c++
	tree=$destdir$prefix
	static=
	if [ "$1" = static ]; then
		only_static
		rm static"$prefix"/lib/libsdestore-mpi.so*
		tree=$PWD/static$prefix
		static=--static
	fi
	unset PKG_CONFIG_SYSROOT_DIR
	PKG_CONFIG_PATH=$tree/lib/pkgconfig
	# shellcheck disable=SC2086,SC2046
	$2 -x $language -O1 -Wall "$here/consumer/consumer_mpi.c" -x none -o consumer \
		$($pkg_config $static --define-variable=prefix="$tree" --cflags --libs sdestore-mpi)
	needed=$(readelf -d consumer | grep -c 'NEEDED.*libsdestore' || :)
	[ "$1 $needed" = 'shared 1' ] || [ "$1 $needed" = 'shared 2' ] || [ "$1 $needed" = 'static 0' ]
	OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
		OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 \
		LD_LIBRARY_PATH=$libdir timeout 60 mpirun -n 3 ./consumer run.zarr |
		grep '^3 snapshots of 3 ranks$'
	"$destdir$prefix/bin/sde-inspect" --verify run.zarr
}

# are_flags PREFIX FLAGS: those of a library there, and no others
are_flags()
{
	echo "$2" | sed 's/ *$//' >flags
	echo "-I$1/include -L$1/lib -lsdestore" | diff - flags
}

# pkg.m4 is what aclocal would take from where pkg-config put it
an_autoconf_consumer_finds_it_with_PKG_CHECK_MODULES()
{
	cp "$here"/consumer/* .
	cp "$pkg_m4" aclocal.m4
	autoconf
	CC=$CC CFLAGS=$strict PKG_CONFIG=$(command -v "$pkg_config") ./configure
	make
	LD_LIBRARY_PATH=$libdir ./consumer run.zarr | grep '^3 snapshots$'
}

an_autoconf_consumer_that_needs_a_newer_version_is_told()
{
	cp "$here"/consumer/* .
	cp "$pkg_m4" aclocal.m4
	rm -f configure.ac	# the copy of a read-only file
	sed 's/sdestore >= 0.1/sdestore >= 1000/' "$here/consumer/configure.ac" >configure.ac
	autoconf
	status 1 env CC="$CC" PKG_CONFIG="$(command -v "$pkg_config")" ./configure 2>err
	grep 'sdestore >= 1000' err
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

every_header_page_and_tool_is_installed()
{
	(cd "$SRCDIR/include" && find . -name '*.h') >headers
	[ -e "$BUILD/libsdestore-mpi.a" ] || sed -i '/mpi\.h$/d' headers
	while read -r name; do
		cmp "$SRCDIR/include/$name" "$destdir$prefix/include/$name"
	done <headers
	for page in "$SRCDIR"/man/*.[1-9]; do
		section=${page##*.}
		cmp "$page" "$destdir$prefix/share/man/man$section/${page##*/}"
	done
	for source in "$SRCDIR"/tools/sde-*.c; do
		name=$(basename "$source" .c)
		[ "$("$destdir$prefix/bin/$name" --version | grep -c "^$name ")" -eq 1 ]
		cmp "$SRCDIR/tools/completion/$name" \
			"$destdir$prefix/share/bash-completion/completions/$name"
	done
	# nor is there anything else, and nothing that others cannot read
	[ "$(find "$destdir" -type f ! -perm -444 | wc -l)" -eq 0 ]
	[ "$(find "$destdir$prefix/include" -type f | wc -l)" -eq "$(wc -l <headers)" ]
}

the_shared_library_goes_by_its_soname()
{
	[ "$(readlink "$libdir/libsdestore.so")" = libsdestore.so.0 ]
	readelf -d "$libdir/libsdestore.so" >dynamic
	grep 'SONAME.*\[libsdestore.so.0\]' dynamic
	status 1 grep -E 'RPATH|RUNPATH' dynamic
	version=$($pkg_config --modversion sdestore)
	[ "$(readlink "$libdir/libsdestore.so.0")" = "libsdestore.so.$version" ]
	[ -f "$libdir/libsdestore.so.$version" ]
}

# whoever uses the shared library needs neither flags nor modules of ours
the_shared_flags_are_those_of_this_library_alone()
{
	are_flags "$destdir$prefix" "$($pkg_config --cflags --libs sdestore)"
}

a_moved_tree_is_found_where_it_is_now()
{
	cp -R "$destdir$prefix" moved
	unset PKG_CONFIG_SYSROOT_DIR
	PKG_CONFIG_PATH=$PWD/moved/lib/pkgconfig
	are_flags "$PWD/moved" \
		"$($pkg_config --define-variable=prefix="$PWD/moved" --cflags --libs sdestore)"
}

other_directories_are_honoured()
{
	run_make DESTDIR="$PWD/d" prefix=/p exec_prefix=/e libdir=/l/here bindir=/b \
		includedir=/i datarootdir=/s install
	[ -f d/l/here/libsdestore.a ]
	[ -f d/i/sdestore.h ]
	[ -x d/b/sde-inspect ]
	[ -f d/s/bash-completion/completions/sde-inspect ]
	grep '^libdir=/l/here$' d/l/here/pkgconfig/sdestore.pc
	grep '^includedir=/i$' d/l/here/pkgconfig/sdestore.pc
	status 1 test -e d/p
	run_make DESTDIR="$PWD/d" prefix=/p exec_prefix=/e libdir=/l/here bindir=/b \
		includedir=/i datarootdir=/s uninstall
	[ -z "$(files d)" ]
}

uninstall_leaves_nothing_of_ours_and_all_that_is_others()
{
	install_into "$PWD/d"
	echo mine >"d$prefix/include/other.h"
	echo mine >"d$prefix/bin/sde-other"
	run_make prefix="$prefix" DESTDIR="$PWD/d" uninstall
	[ "$(files d | tr '\n' ' ')" = ".$prefix/bin/sde-other .$prefix/include/other.h " ]
	[ -z "$(find d -name '*sdestore*')" ]
	# nothing to remove is no error
	run_make prefix="$prefix" DESTDIR="$PWD/d" uninstall
}

# ---------------------------------------------------------------------------

if ! install_into "$destdir" >"$work/install.log" 2>&1; then
	sed 's/^/# /' "$work/install.log"
	echo 'Bail out! make install fails'
	exit 1
fi
for kind in shared static; do
	test_with "$pkg_config" a_consumer_builds_and_runs c11 $kind "$CC"
	test_with "$pkg_config clang" a_consumer_builds_and_runs c11 $kind clang
	test_with "$pkg_config g++" a_consumer_builds_and_runs c++11 $kind g++
	test_with "$pkg_config clang++" a_consumer_builds_and_runs c++11 $kind clang++
done
if [ -e "$BUILD/libsdestore-mpi.a" ]; then
	for kind in shared static; do
		test_with "$pkg_config mpirun" a_program_of_ranks_builds_and_runs $kind "$CC"
		test_with "$pkg_config mpirun g++" a_program_of_ranks_builds_and_runs $kind g++
	done
else
	number=$((number + 1))
	echo "ok $number - a program of ranks builds and runs # SKIP libsdestore-mpi was not built"
fi
pkg_m4=$(find "$(aclocal --print-ac-dir 2>/dev/null || echo /usr/share/aclocal)" \
	/usr/local/share/aclocal -name pkg.m4 2>/dev/null | head -n 1)
needs="$pkg_config autoconf"
[ -n "$pkg_m4" ] || needs="$needs pkg.m4"
test_with "$needs" an_autoconf_consumer_finds_it_with_PKG_CHECK_MODULES
test_with "$needs" an_autoconf_consumer_that_needs_a_newer_version_is_told
run_the_tests
