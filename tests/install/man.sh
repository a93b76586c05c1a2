#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The manual pages: well formed, true to the headers and the version script, and
# their programs compile and do what the page says. man_pages.py reads them.
#
# Environment: see tests/install/tap. Speaks TAP.

# shellcheck disable=SC2317	# the tests are called by name
# shellcheck source=tests/install/tap
. "${SRCDIR:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/install/tap"

destdir=$work/destdir

check()
{
	python3 -B "$SRCDIR/tests/install/man_pages.py" "$SRCDIR" check "$@"
}

# What a program is linked with beside the static library: the installed
# sdestore.pc says it.
libraries()
{
	sed -n 's/^Libs.private://p' "$destdir/p/lib/pkgconfig/sdestore.pc"
}

# What programs with sdestore/mpi.h take more; nothing where that library is not.
mpi=
if [ -e "$BUILD/libsdestore-mpi.a" ]; then
	mpi="$BUILD/libsdestore-mpi.a $(mpicc --showme:compile) $(mpicc --showme:link)"
	OMPI_ALLOW_RUN_AS_ROOT=1
	OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
	export OMPI_ALLOW_RUN_AS_ROOT OMPI_ALLOW_RUN_AS_ROOT_CONFIRM
fi

# compile NAME: NAME.c, a program of a page
compile()
{
	more=
	grep -q 'sdestore/mpi\.h' "$1.c" && more=$mpi
	# flags are several words
	# shellcheck disable=SC2046,SC2086
	${CC:-cc} -std=c11 -Wall -Wextra -Werror -I "$SRCDIR/include" ${CPPFLAGS:-} \
		${CFLAGS:-} "$1.c" -o "$1" -pthread ${LDFLAGS:-} $more "$BUILD/libsdestore.a" \
		$(libraries) -lm
}

# extract: all programs, into .
extract()
{
	python3 -B "$SRCDIR/tests/install/man_pages.py" "$SRCDIR" extract .
	[ -e sdestore.7.1.c ]
	[ -e README.1.c ]
	[ -e sde_zarr_storage_create.3.1.c ]
	[ -n "$mpi" ] || rm -f -- $(grep -l 'sdestore/mpi\.h' ./*.c)
}

# run NAME [ARGUMENT]: in an empty directory; it says on standard output what
# the page says, if it says it, and nothing on standard error.
run()
{
	program=$PWD/$1
	shift
	mkdir empty
	ended=0
	(cd empty && exec "$program" "$@" >../said 2>../complained) || ended=$?
	cat complained
	[ "$ended" -eq 0 ]
	[ ! -s complained ]
	[ ! -e "$program.out" ] || diff "$program.out" said
}

mandoc_has_nothing_to_say_about_the_pages()
{
	# shellcheck disable=SC2094
	mandoc -T lint -W warning "$SRCDIR"/man/*.[1-9] >lint || :
	cat lint
	[ ! -s lint ]
}

# ---------------------------------------------------------------------------
# The tests: every function from here on is one.

the_shared_library_exports_what_the_version_script_lists()
{
	# those of the private version are libsdestore-mpi's alone
	nm -D --defined-only "$BUILD/libsdestore.so" | sed -n '/SDESTORE_PRIVATE/!s/.* T \([^@]*\).*/\1/p' |
		sort >exported
	sed -n 's/^[[:space:]]*\(sde_[a-z0-9][a-z0-9_]*\);$/\1/p' "$SRCDIR/lib/sdestore.map" |
		sort >listed
	[ -s listed ]
	diff listed exported
}

every_exported_function_has_a_page_with_its_name()
{
	check names
}

synopses_are_the_prototypes_of_the_headers()
{
	check prototypes
}

every_page_has_the_sections_it_should()
{
	check sections
}

every_status_code_is_explained_and_no_other()
{
	check codes
}

every_member_of_every_struct_is_explained()
{
	check members
}

references_lead_to_pages()
{
	check references
}

what_the_readme_quotes_exists()
{
	check fragments
}

every_program_in_the_pages_compiles()
{
	extract
	for source in *.c; do
		compile "${source%.c}"
	done
}

programs_without_arguments_do_what_their_page_says()
{
	extract
	count=0
	# shellcheck disable=SC2013
	for source in $(grep -l 'main(void)' ./*.c); do
		name=${source%.c}
		compile "$name"
		echo "$name"
		run "$name"
		rm -rf empty
		count=$((count + 1))
	done
	[ "$count" -ge 8 ]
}

# What they are given is made by the example of sde_zarr_storage_create(3).
programs_that_read_a_store_do_what_their_page_says()
{
	extract
	mkdir store
	compile sde_zarr_storage_create.3.1
	(cd store && ../sde_zarr_storage_create.3.1)
	count=0
	# shellcheck disable=SC2013
	for source in $(grep -l 'main(int argc' ./*.c); do
		name=${source%.c}
		compile "$name"
		echo "$name"
		run "$name" ../store/run.zarr
		rm -rf empty
		count=$((count + 1))
	done
	[ "$count" -ge 2 ]
}

the_example_of_resume_goes_on()
{
	extract
	compile sde_zarr_storage_create.3.1
	./sde_zarr_storage_create.3.1
	[ "$(./sde_zarr_storage_create.3.1)" = 'beginning at iteration 101' ]
}

every_name_is_installed_and_uninstalled()
{
	run_make prefix=/p DESTDIR="$PWD/d" install-man
	# shellcheck disable=SC2013
	for name in $(sed -n 's/^[[:space:]]*\(sde_[a-z0-9][a-z0-9_]*\);$/\1/p' \
		"$SRCDIR/lib/sdestore.map" "$SRCDIR/lib/mpi/sdestore-mpi.map"); do
		page=d/p/share/man/man3/$name.3
		[ -f "$page" ]
		sed '/^.Nd/q' "$page" | grep "^.Nm $name\\( ,\\)*$"
	done
	[ -f d/p/share/man/man7/sdestore.7 ]
	run_make prefix=/p DESTDIR="$PWD/d" uninstall
	find d ! -type d >left
	cat left
	[ ! -s left ]
}

# ---------------------------------------------------------------------------

if ! run_make prefix=/p DESTDIR="$destdir" install >"$work/install.log" 2>&1; then
	sed 's/^/# /' "$work/install.log"
	echo 'Bail out! make install fails'
	exit 1
fi
if command -v mandoc >/dev/null; then
	test_that mandoc_has_nothing_to_say_about_the_pages
else
	# shellcheck disable=SC2034	# run_the_tests counts on
	number=1
	echo 'ok 1 - mandoc has nothing to say about the pages # SKIP mandoc is not installed'
fi
run_the_tests
