#!/bin/sh
# SPDX-License-Identifier: MIT
#
# tests/run itself, on tests that pass, fail, die, hang and so on, in one lane and in
# several.
#
# Environment: see tests/install/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/install/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/install/tap"

# What it takes from the environment is what a test here says.
unset TEST_JOBS TEST_TIMEOUT CHECK_TIMEOUT ASAN_OPTIONS

# a_test NAME: crash/test_NAME, a program whose text is standard input. One that is of
# crash has its directory where the build is.
a_test()
{
	mkdir -p b/tests/crash
	{ echo '#!/bin/bash'; cat; } >"b/tests/crash/test_$1"
	chmod +x "b/tests/crash/test_$1"
}

# run_tests LANES NAME...: into `said`, its status in `got`; `limit` is for each, in seconds
run_tests()
{
	lanes=$1
	shift
	got=0
	# names have no blanks
	# shellcheck disable=SC2046
	TEST_JOBS=$lanes TEST_TIMEOUT=${limit:-60} TEST_KILL_AFTER=2 TMPDIR=$PWD \
		"$SRCDIR/tests/run" --variant plain b \
		$(printf 'crash/test_%s ' "$@") >said 2>&1 || got=$?
	cat said
	nothing_is_left
}

nothing_is_left()
{
	[ -z "$(find . -name 'sdestore-*')" ]
}

# listed HEADING: what stands under it in `said`, in order
listed()
{
	sed -n "/^$1:\$/,/^\$/ s|^  plain crash/test_||p" said | sort
}

# are_over NAME...: the processes whose ids are in files of these names, or will be soon; who
# is killed may still be there as a zombie
are_over()
{
	for name; do
		tries=0
		while grep -q '^State:[[:space:]]*[^Z]' "/proc/$(cat "$name")/status" 2>/dev/null; do
			tries=$((tries + 1))
			[ "$tries" -lt 200 ]
			sleep 0.05
		done
	done
}

wait_for()
{
	until [ -e "$1" ]; do
		sleep 0.05
	done
}

# ended_by SIGNAL STATUS: while two tests run, with a child each, and one is to come
ended_by()
{
	rm -rf b began.*
	for name in one two three; do
		a_test "$name" <<-END
			sleep 1000 &
			echo \$! >'$PWD/child.$name'; echo \$\$ >'$PWD/began.$name'
			wait
		END
	done
	# what runs behind & would ignore INT
	TEST_JOBS=2 TMPDIR=$PWD env --default-signal=INT "$SRCDIR/tests/run" --variant plain b \
		crash/test_one crash/test_two crash/test_three >said 2>&1 &
	writer=$!
	wait_for began.one
	wait_for began.two
	kill "-$1" "$writer"
	status "$2" wait "$writer"
	writer=
	cat said
	are_over began.one child.one began.two child.two
	[ ! -e began.three ]
	nothing_is_left
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

every_outcome_is_counted_and_told_in_any_number_of_lanes()
{
	a_test passes <<-'END'
		echo 'ok 1 - one'; echo 'ok 2 - two'; echo 1..2
	END
	a_test fails <<-'END'
		echo 1..2; echo 'ok 1 - one'; echo 'a reason'; echo 'not ok 2 - two'
	END
	a_test fails_too <<-'END'
		echo 1..1; echo 'not ok 1 - one'; exit 1
	END
	a_test dies <<-'END'
		echo 1..2; echo 'ok 1 - one'; kill -KILL $$
	END
	a_test ends_badly <<-'END'
		echo 1..1; echo 'ok 1 - one'; exit 3
	END
	a_test plans_more <<-'END'
		echo 1..3; echo 'ok 1 - one'
	END
	a_test plans_nothing <<-'END'
		echo 'ok 1 - one'
	END
	a_test skips <<-'END'
		echo 1..2; echo 'ok 1 - one # SKIP it is not there'; echo 'ok 2 - two'
	END
	a_test skips_all <<-'END'
		echo '1..0 # SKIP nothing is there'
	END
	a_test leaves_a_report <<-'END'
		echo 1..1; echo 'it is wrong' >"${ASAN_OPTIONS##*log_path=}.1"; echo 'ok 1 - one'
	END
	for lanes in 1 2 7; do
		run_tests "$lanes" passes fails fails_too dies ends_badly plans_more plans_nothing \
			skips skips_all leaves_a_report
		[ "$got" -eq 1 ]
		[ "$(tail -n 1 said)" = '9 passed, 7 failed, 2 skipped' ]
		grep '^ok   plain crash/test_passes  * 2 passed$' said
		grep '^FAIL plain crash/test_fails  * 1 passed, 1 failed$' said
		grep '^ok   plain crash/test_skips  * 1 passed, 1 skipped$' said
		grep '^     | a reason$' said
		grep '^     | it is wrong$' said
		listed failed | diff /dev/fd/3 - 3<<-'END'
			dies: (killed by signal 9)
			ends_badly: (exit status 3)
			fails: two
			fails_too: one
			leaves_a_report: (a sanitizer's report)
			plans_more: (planned 3, ran 1)
			plans_nothing: (no plan)
		END
		listed skipped | diff /dev/fd/3 - 3<<-'END'
			skips: one: it is not there
			skips_all: all its tests: nothing is there
		END
	done
}

what_is_told_of_a_test_stands_together()
{
	names='a b c d e f g h'
	for name in $names; do
		a_test "$name" <<-END
			echo 1..1; yes 'said by $name' | head -n 50000; echo 'not ok 1 - one'
		END
	done
	# shellcheck disable=SC2086
	run_tests 8 $names >/dev/null
	[ "$(grep -c 'said by .$' said)" -eq 400000 ]
	[ "$(grep 'said by .$' said | uniq | wc -l)" -eq 8 ]
}

tests_that_pass_give_status_0()
{
	a_test passes <<-'END'
		echo 'ok 1 - one'; echo 1..1
	END
	run_tests 2 passes passes passes
	[ "$got" -eq 0 ]
	[ "$(tail -n 1 said)" = '3 passed, 0 failed' ]
}

# Each waits for the other.
as_many_as_there_are_lanes_run_at_a_time()
{
	for name in one two; do
		a_test "$name" <<-END
			echo 1..1
			: >'$PWD/$name'
			until [ -e '$PWD/one' ] && [ -e '$PWD/two' ]; do sleep 0.05; done
			[ "\$(pwd)" = "\$TMPDIR" ] && [ -z "\$(ls)" ] && : >mine && echo 'ok 1 - one'
		END
	done
	run_tests 2 one two
	[ "$(tail -n 1 said)" = '2 passed, 0 failed' ]
	rm one two
	limit=1 run_tests 1 one two
	listed failed | diff /dev/fd/3 - 3<<-'END'
		one: (timed out after 1 s)
	END
}

a_test_that_takes_too_long_fails_with_all_it_has_started()
{
	a_test hangs <<-END
		echo 1..1; echo 'ok 1 - one'
		trap '' TERM
		bash -c 'trap "" TERM; sleep 1000 & wait; sleep 1000' &
		echo \$! >'$PWD/child'
		trap - TERM
		sleep 1000
	END
	limit=1 run_tests 1 hangs
	grep 'hangs: (timed out after 1 s)$' said
	are_over child
}

what_a_test_leaves_running_is_killed()
{
	a_test leaves <<-END
		sleep 1000 &
		echo \$! >'$PWD/child'
		echo 1..1; echo 'ok 1 - one'
	END
	run_tests 1 leaves
	[ "$(tail -n 1 said)" = '1 passed, 0 failed' ]
	are_over child
}

what_is_not_done_in_time_fails_by_name()
{
	a_test hangs <<-'END'
		sleep 1000
	END
	CHECK_TIMEOUT=1 run_tests 1 hangs last
	[ "$(tail -n 1 said)" = '0 passed, 2 failed' ]
	listed failed | grep '^last: (not run: all had taken 1 s)$'
	CHECK_TIMEOUT=1 run_tests 2 hangs hangs last
	[ "$(tail -n 1 said)" = '0 passed, 3 failed' ]
	listed failed | grep '^last: (not run: all had taken 1 s)$'
}

# with its lane, as a whole
a_test_that_is_stopped_goes_on()
{
	a_test stops <<-'END'
		lane=$(awk '{ print $4 }' /proc/$PPID/stat)
		setsid bash -c 'echo >ready; while sleep 0.2; do kill -CONT "$@" || exit; done' - \
			-$PPID "$lane" &
		until [ -e ready ]; do sleep 0.05; done
		kill -STOP "$lane" 0
		echo 1..1; echo 'ok 1 - one'
	END
	run_tests 1 stops
	[ "$(tail -n 1 said)" = '1 passed, 0 failed' ]
}

who_ends_it_ends_all_of_it()
{
	ended_by INT 130
	ended_by TERM 143
	ended_by HUP 143
}

a_test_that_ignores_signals_is_ended_too()
{
	a_test ignores <<-END
		trap '' TERM
		echo \$\$ >'$PWD/began'
		sleep 1000 & wait
		sleep 1000
	END
	TEST_JOBS=1 TMPDIR=$PWD "$SRCDIR/tests/run" --variant plain b crash/test_ignores >said 2>&1 &
	writer=$!
	wait_for began
	kill "$writer"
	status 143 wait "$writer"
	writer=
	are_over began
	nothing_is_left
}

a_variant_that_cannot_be_used_is_skipped()
{
	mkdir b
	echo 'no such thing' >b/unusable
	run_tests 2 passes
	[ "$got" -eq 1 ]
	grep '^SKIP plain no such thing$' said
	grep '^no test ran$' said
	[ "$(tail -n 1 said)" = '0 passed, 0 failed, 1 skipped' ]
}

a_number_of_lanes_that_is_none_is_refused()
{
	for number in 0 two -1 1.5; do
		status 2 env TEST_JOBS="$number" "$SRCDIR/tests/run" 2>err
		grep "TEST_JOBS is '$number'" err
	done
}

# ---------------------------------------------------------------------------

run_the_tests
