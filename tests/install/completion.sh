#!/bin/bash
# SPDX-License-Identifier: MIT
#
# bash completion of the tools.
#
# Environment: see tests/install/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/install/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/install/tap"

# Outside of a completion compopt is refused: what it was asked is noted.
compopt()
{
	asked="$*"
}

# completed TOOL [WORD...]: what TAB behind these words offers, in COMPREPLY. Each
# word is one for readline too: none has = or : in it.
completed()
{
	asked=
	# shellcheck source=/dev/null
	. "$SRCDIR/tools/completion/$1"
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	COMP_LINE="$*"
	COMP_POINT=${#COMP_LINE}
	"_${1//-/_}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
}

# offers WORD...: in whatever order
offers()
{
	diff <(printf '%s\n' "${COMPREPLY[@]}" | sort) <(printf '%s\n' "$@" | sort)
}

# a_tool: sde-export, of which no more than the help is needed
a_tool()
{
	printf '#!/bin/sh\ncat "%s"\n' "$PWD/help" >sde-export
	chmod +x sde-export
	PATH=$PWD:$PATH
	cat >help <<'END'
usage: sde-export [--force] STORE OUT.npz

      --force           replace it; not --forced
      --time A:B:S      a slice
  -h, --help            print this

Of --time and others only --these are no options.
END
}

# every_option_of_its_help_is_offered TOOL: and what is offered the tool knows
every_option_of_its_help_is_offered()
{
	"$1" --help | grep -oE '^ +(-., )?--[a-z-]+' | grep -oE -e '--[a-z-]+' >options
	[ -s options ]
	completed "$1" --
	mapfile -t options <options
	offers "${options[@]}"
	for option in "${COMPREPLY[@]}"; do
		"$1" "$option" >said 2>&1 || :
		status 1 grep 'bad option' said
	done
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

each_tool_has_a_completion_that_registers()
{
	for source in "$SRCDIR"/tools/sde-*.c; do
		tool=$(basename "$source" .c)
		bash -c ". '$SRCDIR/tools/completion/$tool' && complete -p '$tool'"
	done
}

an_option_is_completed_from_its_beginning()
{
	completed sde-inspect --ver
	offers --verify --version
	completed sde-inspect --js
	offers --json
	completed sde-inspect --nonsense
	[ ${#COMPREPLY[@]} -eq 0 ]
}

an_operand_is_a_directory_or_an_npz_file()
{
	touch a.npz 'b c.npz' a.txt
	mkdir store
	completed sde-inspect --json ''
	offers a.npz 'b c.npz'
	[ "$asked" = '-o filenames -o plusdirs' ]
}

behind_two_dashes_there_is_no_option()
{
	touch ./--json.npz
	completed sde-inspect -- --j
	offers --json.npz
}

help_that_cannot_be_had_offers_nothing()
{
	completed sde-inspect --
	_sde_inspect ./missing/sde-inspect -- ./missing/sde-inspect
	[ ${#COMPREPLY[@]} -eq 0 ]
}

inspect_knows_that_truncate_has_a_number()
{
	touch a.npz
	completed sde-inspect --repair --truncate ''
	[ ${#COMPREPLY[@]} -eq 0 ]
	completed sde-inspect --repair --truncate 4 ''
	offers a.npz
}

export_knows_which_of_its_options_have_a_value()
{
	a_tool
	touch a.npz
	completed sde-export --
	offers --force --time --help
	for option in --time --trajectories --dimensions --threads; do
		completed sde-export "$option" ''
		[ ${#COMPREPLY[@]} -eq 0 ]
		[ -z "$asked" ]
	done
	completed sde-export --on-hole ''
	offers error nan
	completed sde-export --on-hole n
	offers nan
	completed sde-export --time 1 ''
	offers a.npz
	completed sde-export --force ''
	offers a.npz
}

inspect_knows_that_a_period_has_a_value()
{
	touch a.npz
	completed sde-inspect --follow --period ''
	[ ${#COMPREPLY[@]} -eq 0 ]
	completed sde-inspect --period 1 ''
	offers a.npz
}

export_leaves_a_slice_that_readline_cuts_alone()
{
	a_tool
	touch a.npz
	completed sde-export --time
	for value in = =1: =-5:-1 ' 1:' ' -3:'; do
		COMP_LINE="sde-export --time$value"
		COMP_POINT=${#COMP_LINE}
		COMP_WORDS=(sde-export --time '' '')
		COMP_CWORD=3
		COMPREPLY=(unchanged)
		_sde_export sde-export '' ''
		[ ${#COMPREPLY[@]} -eq 0 ]
	done
}

# ---------------------------------------------------------------------------

test_with sde-inspect every_option_of_its_help_is_offered sde-inspect
test_with sde-export every_option_of_its_help_is_offered sde-export
run_the_tests
