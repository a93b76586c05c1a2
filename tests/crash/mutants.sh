#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The planted bugs (lib/planted.h) and their list agree, so that none rots. Whether
# each is caught is for `make mutants`, which takes minutes.
#
# Environment: BUILD, SRCDIR (see tests/run). Speaks TAP.

SRCDIR=${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}
BUILD=${BUILD:-$SRCDIR/build}

# result NUMBER NAME: of the command before it
result()
{
	if [ $? -eq 0 ]; then
		echo "ok $1 - $2"
	else
		sed 's/^/# /' log
		echo "not ok $1 - $2"
	fi
}

grep -oh 'sde__planted("[^"]*")' "$SRCDIR"/lib/*.c | sed 's/.*"\(.*\)".*/\1/' | sort -u >planted
sed 's/#.*//' "$SRCDIR/tests/crash/mutants" | awk 'NF { print $1 }' | sort >listed

diff listed planted >log
result 1 every_planted_bug_is_listed_and_every_listed_one_planted

[ -z "$(uniq -d listed)" ] && [ "$(wc -l <listed)" -ge 18 ]
result 2 there_are_at_least_eighteen_each_listed_once

sed 's/#.*//' "$SRCDIR/tests/crash/mutants" | awk 'NF { print $2 }' | sort -u |
	while read -r layer; do
		[ -e "$SRCDIR/tests/$layer.c" ] || echo "tests/$layer.c is not there"
	done >log
[ ! -s log ]
result 3 every_layer_that_is_to_catch_one_exists

# in a build without -DSDE_PLANTED they do not exist
nm "$BUILD/libsdestore.a" 2>/dev/null | grep planted | grep -v '^planted' >log
[ ! -s log ]
result 4 the_library_has_none_of_them
echo '1..4'
