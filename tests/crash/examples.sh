#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The example that resumes, lorenz, killed by SIGKILL at moments drawn at random and
# started again by the command line that its manual gives, until it is done: the store
# must have the very numbers of a run that nobody killed.
#
# Environment: SDE_TEST_SEED repeats the draws (not the machine's timing),
# SDE_TEST_KILLS (5; 200 with SDE_TEST_LONG=1); BUILD, SRCDIR (see tests/run). Speaks
# TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/cli/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/cli/tap"
# shellcheck source=tests/interop/zarr3_environment
. "$SRCDIR/tests/interop/zarr3_environment"

kills=${SDE_TEST_KILLS:-5}
case ${SDE_TEST_LONG:-0} in
0) ;;
*) kills=${SDE_TEST_KILLS:-200} ;;
esac
seed=${SDE_TEST_SEED:-$(($(date +%s) % 100000 + $$))}

# draw N FORMULA: the N-th random number r in [0, 1), put into FORMULA
draw()
{
	awk -v seed="$seed" -v n="$1" "BEGIN { srand(seed * 1000 + n); rand(); r = rand(); print $2 }"
}

# policy N
policy()
{
	set -- "$(draw "$1" 'int(5 * r)')"
	echo 'chunk publish snapshot interval none' | cut -d ' ' -f $(($1 + 1))
}

# begin: what a run without a kill gives, in a.zarr
begin()
{
	arguments='--chunk 64 --stride 2 --steps 20000'
	# shellcheck disable=SC2086
	lorenz $arguments --path a.zarr 24
}

# life N: start or go on with b.zarr; kill it after 1 ms to 0.3 s. Sets was_killed.
life()
{
	# shellcheck disable=SC2086
	lorenz $arguments --sync "$(policy "$1")" --path b.zarr --resume 24 2>err &
	writer=$!
	sleep "$(draw "$1" '10 ^ (2.5 * r - 3)')"
	kill -KILL "$writer" 2>/dev/null || :
	ended=0
	wait "$writer" || ended=$?
	writer=
	[ "$ended" -eq 137 ] || [ "$ended" -eq 0 ] || { echo "status $ended"; cat err; false; }
	looks=0
	[ ! -e b.zarr ] || sde-inspect b.zarr >/dev/null 2>err || looks=$?
	# 4: its writer died
	[ "$looks" -eq 0 ] || [ "$looks" -eq 4 ] || { cat err; false; }
	was_killed=$((ended == 137))
}

# finish: b.zarr to its end
finish()
{
	# shellcheck disable=SC2086
	lorenz $arguments --path b.zarr --resume 24 2>/dev/null
	store_compare a.zarr b.zarr
	sde-inspect --verify b.zarr >/dev/null
	[ ! -e b.zarr/data/.ring ]
}

# ---------------------------------------------------------------------------
# The tests

a_killed_example_goes_on_to_the_very_same_numbers()
{
	begin
	killed=0 stores=0 lives=0
	while [ "$killed" -lt "$kills" ]; do
		lives=$((lives + 1))
		life "$lives"
		if [ "$was_killed" -eq 1 ]; then
			killed=$((killed + 1))
		else
			finish
			rm -rf b.zarr
			stores=$((stores + 1))
		fi
	done
	finish
	echo "# seed $seed: $killed kills of lorenz in $((stores + 1)) stores, all equal to the unkilled run" >>"$work/said"
}

zarr_python_reads_what_a_killed_example_left()
{
	begin
	looked=0 lives=1000
	while [ "$looked" -lt $(((kills + 4) / 5)) ]; do
		lives=$((lives + 1))
		life "$lives"
		[ "$was_killed" -eq 1 ] || rm -rf b.zarr
		[ -e b.zarr ] || continue
		looked=$((looked + 1))
		"$environment/bin/python" - <<-'END'
		import numpy, zarr
		a, b = (zarr.open_group(name, mode="r") for name in ("a.zarr", "b.zarr"))
		m = b["data"].shape[2]
		assert b["time"].shape == b["iteration"].shape == (m,), m
		for name in "time", "iteration", "data":
		    x, y = a[name][..., :m], b[name][...]
		    assert numpy.array_equal(x.view("u8"), y.view("u8")), name
		END
	done
	finish
	echo "# zarr-python opened $looked killed stores, 0 unreadable" >>"$work/said"
}

# ---------------------------------------------------------------------------

cd "$work" || exit 1
: >said
test_that a_killed_example_goes_on_to_the_very_same_numbers
if zarr3_environment; then
	test_that zarr_python_reads_what_a_killed_example_left
else
	number=$((number + 1))
	echo "ok $number - zarr python reads what a killed example left # SKIP $why"
fi
cat said
echo "1..$number"
exit "$failed"
