#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The example as it is built and run, with system calls that fail under it: `strace -e
# inject` lets the n-th fsync, write, open and so on of each thread fail, once and for
# good. It must end by itself, with status 1 and a sentence or with a whole store, and
# resumed without faults have the very numbers of a run that met none.
#
# Environment: SDE_TEST_LONG=1 takes every n, else a few; BUILD, SRCDIR (see
# tests/run). Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/cli/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/cli/tap"

most=2
case ${SDE_TEST_LONG:-0} in
0) ;;
*) most=1000000 ;;
esac

# skip REASON
skip()
{
	sed -n '/^# The tests:/,$ s/^\([a-z][a-z0-9_]*\)()$/\1/p' "$0" | tr _ ' ' |
		awk -v reason="$1" '{ print "ok " NR " - " $0 " # SKIP " reason } END { print "1.." NR }'
	exit 0
}

command -v strace >/dev/null || skip 'strace is not installed'
strace -f -e inject=fsync:error=EIO:when=1 true 2>/dev/null || skip 'strace may not trace here'
grep -qs -e -fsanitize "$BUILD/flags.link" && skip 'a leak check cannot run under strace'

# begin: what a run without a fault gives, and half of it, closed
begin()
{
	lorenz --chunk 16 --steps 150 --path a.zarr 8
	lorenz --chunk 16 --steps 70 --path half.zarr 8
}

run()
{
	"$@" lorenz --chunk 16 --steps 150 --path b.zarr --resume 8 >out 2>err
}

# may_end: the last run ended as it may
may_end()
{
	case $ended in
	0)	return 0 ;;
	1)	grep -q '^lorenz: ' err && return 0 ;;
	127)	grep -q 'shared libraries' err && return 0 ;;	# the loader's own call
	esac
	echo "status $ended after $1"
	cat err
	return 1
}

# fail_calls ERROR SYSCALL...: each n-th one, once and for good. Where the fault
# changes nothing any more, n has come to the end.
fail_calls()
{
	error=$1
	shift
	begin
	for call; do
		n=1 quiet=0
		while [ "$n" -le "$most" ] && [ "$quiet" -lt 3 ]; do
			for when in "$n" "$n+"; do
				rm -rf b.zarr
				[ $((n % 2)) -eq 1 ] || cp -R half.zarr b.zarr
				ended=0
				run strace -f -qq -o trace -e "trace=$call" \
					-e "inject=$call:error=$error:when=$when" || ended=$?
				may_end "$call $when"
				run env
				store_compare a.zarr b.zarr
				injected=$((injected + 1))
			done
			grep -q INJECTED trace || quiet=$((quiet + 1))
			n=$((n + 1))
		done
	done
	echo "# $injected runs of lorenz with $error in $*" >>"$work/said"
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

an_example_that_meets_errors_says_so_and_resumes()
{
	injected=0
	fail_calls EIO fsync msync pread64 pwrite64 openat renameat,renameat2 unlinkat
}

an_example_on_a_full_disk_says_so_and_resumes()
{
	injected=0
	fail_calls ENOSPC fallocate pwrite64 mkdirat fsync
}

an_interrupted_call_is_made_again()
{
	begin
	# the loader's own calls, which come first, are not made again
	for call in pread64:20 pread64:21+3 pwrite64:1 pwrite64:3+3 fsync:1 fsync:2+3 \
			openat:30 openat:31+7 fallocate:1 getrandom:1; do
		when=${call#*:} call=${call%:*}
		rm -rf b.zarr
		cp -R half.zarr b.zarr
		run strace -f -qq -o trace -e "trace=$call" -e "inject=$call:error=EINTR:when=$when"
		[ "$call" = getrandom ] || grep -q INJECTED trace
		store_compare a.zarr b.zarr
	done
}

# ---------------------------------------------------------------------------

: >"$work/said"
trap 'cat "$work/said" 2>/dev/null; rm -rf "$work"' EXIT
run_the_tests
