#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Compilers: all of the source without a warning, and each header by itself.
#
# Environment: see tests/install/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/install/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/install/tap"

# all_of_it_compiles_without_a_warning_by COMPILER LEVEL: some warnings of gcc take
# the optimiser's knowledge, those of clang do not; tests do without
all_of_it_compiles_without_a_warning_by()
{
	run_make BUILD="$PWD/build$2" CC="$1" CFLAGS="$2 -Werror" all
	run_make BUILD="$PWD/build-O0" CC="$1" CFLAGS="-O0 -Werror" test-programs
}

# alone DIRECTORY HEADER: the command compiles a file that has nothing but it, twice
alone()
{
	directory=$1
	header=$2
	shift 2
	printf '#include <%s>\n#include <%s>\n' "$header" "$header" >alone.c
	echo "$header: $*"
	"$@" -Wall -Wextra -Wpedantic -Wundef -Werror -I"$SRCDIR/include" -I"$SRCDIR/$directory" \
		-fsyntax-only alone.c
}

# public_headers_compile_alone COMPILER FLAG...
public_headers_compile_alone()
{
	(cd "$SRCDIR/include" && find . -name '*.h') | sed 's|^\./||' >headers
	[ -s headers ]
	while read -r header; do
		case $header in
		sdestore/mpi.h)
			# MPI's own headers are as they are
			flags=$(mpicc --showme:compile 2>/dev/null) || continue
			# shellcheck disable=SC2046
			alone include "$header" "$@" $(echo "$flags" | sed 's/-I/-isystem /g')
			;;
		*)
			alone include "$header" "$@"
			;;
		esac
	done <headers
}

internal_headers_compile_alone()
{
	for header in "$SRCDIR"/lib/*.h; do
		# COMPILE's CC may have flags of its own
		# shellcheck disable=SC2086
		alone lib "${header##*/}" ${CC:-cc} -std=c11
	done
}

# ---------------------------------------------------------------------------

for compiler in gcc clang; do
	level=-O2
	[ $compiler = gcc ] || level=-O0
	test_with $compiler all_of_it_compiles_without_a_warning_by $compiler $level
	for flags in '-std=c11' '-std=c11 -pedantic-errors -Wstrict-prototypes' '-std=c17'; do
		# shellcheck disable=SC2086
		test_with $compiler public_headers_compile_alone $compiler $flags
	done
done
for compiler in g++ clang++; do
	for standard in c++11 c++20; do
		test_with $compiler public_headers_compile_alone $compiler -x c++ -std=$standard
	done
done
test_that internal_headers_compile_alone
run_the_tests
