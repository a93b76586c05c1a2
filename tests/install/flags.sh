#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the user sets reaches every command. The compiler and the archiver here log
# how they were called and make an empty file of the name that was asked for: all
# that can be built is `built` in a second.
#
# Environment: see tests/install/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/install/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/install/tap"

LOG=$work/log.calls
export LOG
bin=$work/bin
settings='CFLAGS=-DMY_CFLAGS CPPFLAGS=-DMY_CPPFLAGS LDFLAGS=-DMY_LDFLAGS'
unset CC AR CFLAGS CPPFLAGS LDFLAGS

# my-cc and my-ar; and, first in PATH, what nobody should call, which is logged too
mkdir "$bin"
cat >"$bin/my-cc" <<'END'
#!/bin/sh
echo "${0##*/} $*" >>"$LOG"
while [ $# -gt 0 ]; do
	if [ "$1" = -o ]; then
		printf '#!/bin/sh\n' >"$2" && chmod +x "$2"
	fi
	shift
done
END
cat >"$bin/my-ar" <<'END'
#!/bin/sh
echo "${0##*/} $*" >>"$LOG"
: >"$2"
END
chmod +x "$bin/my-cc" "$bin/my-ar"
for name in cc gcc clang c99 c11 ar ld; do
	ln -s my-cc "$bin/$name"
done

# everything [SETTING...]: all there is to build, plain and sanitized
everything()
{
	: >"$LOG"
	PATH=$bin:$PATH make -s -f "$makefile" BUILD="$PWD/build" "$@" \
		all test-programs variant-asan
}

# every LINES PATTERN: at least one of the logged calls is such a line, and each of
# them has the pattern
every()
{
	[ "$(grep -c -e "$1" "$LOG")" -gt 0 ]
	if grep -e "$1" "$LOG" | grep -v -e "$2"; then
		echo "lacks $2"
		return 1
	fi
}

flags_are_everywhere()
{
	status 1 grep -v '^my-' "$LOG"
	every '^my-cc .* -c ' ' -DMY_CFLAGS '
	every '^my-cc .* -c ' ' -DMY_CPPFLAGS '
	grep '^my-cc ' "$LOG" | grep -v -e ' -c ' >links
	cp links "$LOG"
	every . ' -DMY_CFLAGS '
	every . ' -DMY_LDFLAGS '
}

# With MPI there are more sources, and a second archive, in both builds.
with_mpi=
[ ! -e "$BUILD/libsdestore-mpi.a" ] || with_mpi=1
archives=$((with_mpi ? 4 : 2))

# sources: how many there are to be compiled in one build; benches are none of it, and
# the FUSE program is compiled and linked at once
sources()
{
	find "$SRCDIR"/lib "$SRCDIR"/tools "$SRCDIR"/examples "$SRCDIR"/tests -name '*.c' \
		! -path '*/install/consumer/*' ! -path '*/tests/bench/*' ! -path '*/crash/disk/*' |
		if [ "$with_mpi" ]; then cat; else grep -v -e /mpi/ -e '_mpi\.c$'; fi | wc -l
}

# configure tries the compiler in earnest, with flags that it understands
settings_of_configure_reach_every_command()
{
	mkdir include tools
	cp "$SRCDIR/include/sdestore.h" include
	cp "$SRCDIR/configure.ac" .
	autoconf
	ln -s "$(command -v cc)" tools/my-cc
	ln -s "$(command -v ar)" tools/my-ar
	# shellcheck disable=SC2086
	PATH=$PWD/tools:$PATH ./configure --quiet --srcdir="$SRCDIR" CC=my-cc AR=my-ar $settings
	makefile=Makefile
	everything
	grep '^my-ar ' "$LOG"
	flags_are_everywhere
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

settings_of_the_command_line_reach_every_command()
{
	makefile=$SRCDIR/Makefile
	# shellcheck disable=SC2086
	everything CC=my-cc AR=my-ar $settings
	[ "$(grep -c '^my-ar ' "$LOG")" -eq "$archives" ]
	[ "$(grep '^my-cc .* -c ' "$LOG" | grep -vc -e -fsanitize)" -eq "$(sources)" ]
	grep -e '-fsanitize=address,undefined .* -c ' "$LOG"
	flags_are_everywhere
}

settings_of_the_environment_reach_every_command()
{
	makefile=$SRCDIR/Makefile
	export CC=my-cc AR=my-ar CFLAGS=-DMY_CFLAGS CPPFLAGS=-DMY_CPPFLAGS LDFLAGS=-DMY_LDFLAGS
	everything
	grep '^my-ar ' "$LOG"
	flags_are_everywhere
}

nothing_is_built_again_unless_its_flags_changed()
{
	makefile=$SRCDIR/Makefile
	everything CC=my-cc AR=my-ar
	everything CC=my-cc AR=my-ar
	[ ! -s "$LOG" ] || status 1 grep -v ' -x c - ' "$LOG"
	everything CC=my-cc AR=my-ar LDFLAGS=-DMY_LDFLAGS
	status 1 grep -e ' -c ' "$LOG"
	[ "$(grep -c '^my-ar ' "$LOG")" -eq "$archives" ]
	everything CC=my-cc AR=my-ar CFLAGS=-DMY_CFLAGS
	[ "$(grep '^my-cc .* -c ' "$LOG" | grep -vc -e -fsanitize)" -eq "$(sources)" ]
}

# ---------------------------------------------------------------------------

test_with autoconf settings_of_configure_reach_every_command
run_the_tests
