#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A rank is killed at a random moment, and another number of ranks goes on: kill.py.
# SDE_TEST_KILLS (6; 300 with SDE_TEST_LONG), SDE_TEST_SEED.
#
# Environment: see tests/cli/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/mpi/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/mpi/tap"

kills=${SDE_TEST_KILLS:-6}
[ -z "${SDE_TEST_LONG:-}" ] || kills=${SDE_TEST_KILLS:-300}
seed=${SDE_TEST_SEED:-$(date +%s)}
echo "# seed $seed"

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

what_all_ranks_of_a_killed_run_have_stored_is_there()
{
	python3 -B "$SRCDIR/tests/mpi/kill.py" "$BUILD/tests/mpi/run" "$kills" "$seed" >>"$work/notes"
}

trap 'cat "$work/notes" 2>/dev/null; rm -rf "$work"' EXIT
run_the_tests
