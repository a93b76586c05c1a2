# SPDX-License-Identifier: MIT
#
# sdestore's build, for GNU make 4. It works as it is; `autoconf && ./configure`
# is only needed to record settings (in config.mak) or to build elsewhere, where
# configure leaves a two-line Makefile that sets srcdir and includes this one.
#
#	lib/*.c			libsdestore.a, libsdestore.so
#	tools/sde-*.c		one program each, with the other tools/*.c
#	lib/mpi/*.c		libsdestore-mpi.a, libsdestore-mpi.so, where there is MPI
#	examples/*.c		one program each, built as a user would; *_mpi.c with MPI
#	tests/unit/test_*.c	one cmocka program each, with the other unit/*.c
#	tests/crash/test_*.c	the same, with the other crash/*.c and unit/*.c
#	tests/fuzz/test_*.c	one harness each, with the other fuzz/*.c: a test, and
#				a libFuzzer program of `make fuzz`
#	tests/crash/disk/*.c	a FUSE program for them, where there is fuse3
#	tests/{cli,interop,install}/*.c	one program each; those called
#				test_* are run, others are there for the scripts
#	tests/mpi/*.c		one program each with libsdestore-mpi, for the scripts
#	tests/{crash,cli,interop,install,mpi}/*.sh	run as they are
#	tests/bench/{bench,count}_*.c	one program each, with the other bench/*.c; *_mpi.c
#				with MPI
#
# New files are found by name: nothing here lists sources.

self := $(firstword $(MAKEFILE_LIST))
ifneq ($(origin srcdir),file)
srcdir := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
endif
MAKEFLAGS += --no-print-directory --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:

##@ variables (NAME=value behind make; CC to LDFLAGS also from the environment)
CC ?= cc##	C compiler
AR ?= ar##	archiver
CFLAGS ?= -O2 -g##	optimisation, debugging
CPPFLAGS ?=##	your preprocessor flags
LDFLAGS ?=##	your linker flags
WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes
PKG_CONFIG ?= pkg-config##	finds the libraries; plain -l flags without it
BUILD = build##	where everything that is built goes
# Whoever calls it by its whole path means the same: dependency files have one name for it.
override BUILD := $(patsubst $(CURDIR)/%,%,$(BUILD))
MPI = auto##	libsdestore-mpi: yes, no, or if there is MPI
MPICC = mpicc##	Open MPI's compiler wrapper, which knows its flags
SANITIZE =##	for -fsanitize=: address,undefined or thread
TESTS =##	tests to check: unit/test_codec 'cli/*'; default all
VARIANTS = plain asan tsan##	builds to check
TEST_JOBS ?=##	tests run at a time; default processors and one, at most 4
V =##	1 shows whole commands
DESTDIR =##	put before every installed name (packaging)
prefix = /usr/local##	where to install
exec_prefix = $(prefix)
bindir = $(exec_prefix)/bin##	programs
libdir = $(exec_prefix)/lib##	libraries, pkgconfig/
includedir = $(prefix)/include##	headers
datarootdir = $(prefix)/share
datadir = $(datarootdir)##	bash-completion/completions/
mandir = $(datarootdir)/man##	manual pages
docdir = $(datarootdir)/doc/sdestore##	README, LICENSE
INSTALL = install

# pkg-config is asked at the first use, which is in a recipe, and only once.
lazily = $(eval $1 := $(shell $2))$($1)
module_cflags = $(call lazily,$1,$(PKG_CONFIG) --cflags $2 2>/dev/null)
module_libs = $(call lazily,$1,$(PKG_CONFIG) --libs $2 2>/dev/null || echo $3)
FUSE_CFLAGS = $(call module_cflags,FUSE_CFLAGS,fuse3)
FUSE_LIBS = $(call module_libs,FUSE_LIBS,fuse3,-lfuse3)
LZ4_CFLAGS = $(call module_cflags,LZ4_CFLAGS,liblz4)
LZ4_LIBS = $(call module_libs,LZ4_LIBS,liblz4,-llz4)
JANSSON_CFLAGS = $(call module_cflags,JANSSON_CFLAGS,jansson)
JANSSON_LIBS = $(call module_libs,JANSSON_LIBS,jansson,-ljansson)
BLOSC_CFLAGS = $(call module_cflags,BLOSC_CFLAGS,blosc)
BLOSC_LIBS = $(call module_libs,BLOSC_LIBS,blosc,-lblosc)
ZLIB_CFLAGS = $(call module_cflags,ZLIB_CFLAGS,zlib)
ZLIB_LIBS = $(call module_libs,ZLIB_LIBS,zlib,-lz)
# ISA-L deflates npz files ten times as fast as zlib, which does where it is not.
ISAL_CFLAGS = $(call lazily,ISAL_CFLAGS,$(PKG_CONFIG) --exists libisal 2>/dev/null && \
	echo -DSDE_HAVE_ISAL && $(PKG_CONFIG) --cflags libisal)
ISAL_LIBS = $(call module_libs,ISAL_LIBS,libisal,)
# What Open MPI's compiler wrapper says, or else, of the usual one, its pkg-config file
ask_mpi = $(MPICC) --showme:$1 2>/dev/null || \
	{ [ '$(MPICC)' = mpicc ] && $(PKG_CONFIG) --$2 ompi-c 2>/dev/null; }
MPI_CFLAGS = $(call lazily,MPI_CFLAGS,$(call ask_mpi,compile,cflags))
MPI_LIBS = $(call lazily,MPI_LIBS,$(call ask_mpi,link,libs))
CMOCKA_CFLAGS = $(call module_cflags,CMOCKA_CFLAGS,cmocka)
CMOCKA_LIBS = $(call module_libs,CMOCKA_LIBS,cmocka,-lcmocka)

-include config.mak

# ---------------------------------------------------------------------------
# `deps` among other goals: install first, then start afresh, so that nothing
# was looked up before it was there, with -j too.

goals := $(filter-out deps,$(MAKECMDGOALS))
ifneq ($(and $(filter deps,$(MAKECMDGOALS)),$(goals)),)

.PHONY: deps run-deps after-deps $(goals)
run-deps:
	@$(srcdir)/build-aux/deps
after-deps: run-deps
	@$(MAKE) -f $(self) $(goals)
# a recipe, lest make says behind the last line that there was nothing to do
$(goals): after-deps
	@:
deps: run-deps
	@:

else

# ---------------------------------------------------------------------------
# What there is to build

VERSION := $(shell sed -n 's/^.define SDE_VERSION_STRING "\(.*\)"/\1/p' \
	$(srcdir)/include/sdestore.h)
ifeq ($(VERSION),)
$(error no SDE_VERSION_STRING in '$(srcdir)/include/sdestore.h')
endif
soname := libsdestore.so.0
vpath %.c $(srcdir)

# $(call sources,lib/*.c): relative to srcdir
sources = $(patsubst $(srcdir)/%,%,$(sort $(wildcard $(addprefix $(srcdir)/,$1))))
objects = $(patsubst %.c,$(BUILD)/%.o,$1)
programs = $(patsubst %.c,$(BUILD)/%,$1)

# With `auto` that is asked now: it decides what there is to build.
have_mpi := $(if $(filter auto,$(MPI)),$(if $(strip $(MPI_LIBS)),yes),$(filter yes,$(MPI)))
if_mpi = $(if $(have_mpi),$1)

lib_src := $(call sources,lib/*.c)
mpi_lib_src := $(call if_mpi,$(call sources,lib/mpi/*.c))
tool_src := $(call sources,tools/sde-*.c)
tool_shared_src := $(filter-out $(tool_src),$(call sources,tools/*.c))
mpi_example_src := $(call sources,examples/*_mpi.c)
example_src := $(filter-out $(mpi_example_src),$(call sources,examples/*.c))
mpi_program_src := $(call if_mpi,$(mpi_example_src) $(call sources,tests/mpi/*.c))
mpi_example_src := $(call if_mpi,$(mpi_example_src))
unit_src := $(call sources,tests/unit/test_*.c)
unit_shared_src := $(filter-out $(unit_src),$(call sources,tests/unit/*.c))
crash_src := $(call sources,tests/crash/test_*.c)
crash_shared_src := $(filter-out $(crash_src),$(call sources,tests/crash/*.c)) $(unit_shared_src)
fuzz_src := $(call sources,tests/fuzz/test_*.c)
fuzz_shared_src := $(filter-out $(fuzz_src),$(call sources,tests/fuzz/*.c))
# a FUSE program, where there is libfuse 3
disk_src := $(call sources,tests/crash/disk/*.c)
script_dirs := cli interop install
other_test_src := $(call sources,$(script_dirs:%=tests/%/*.c))
bench_src := $(call sources,tests/bench/bench_*.c tests/bench/count_*.c)
bench_shared_src := $(filter-out $(bench_src) tests/bench/peer_% %_mpi.c,$(call sources,tests/bench/*.c))
mpi_bench_src := $(call if_mpi,$(call sources,tests/bench/*_mpi.c))
test_src := $(unit_src) $(crash_src) $(sort $(unit_shared_src) $(crash_shared_src)) \
	$(fuzz_src) $(fuzz_shared_src) $(other_test_src) $(bench_src) $(bench_shared_src)
mpi_src := $(mpi_lib_src) $(mpi_program_src) $(mpi_bench_src)
all_src := $(lib_src) $(tool_src) $(tool_shared_src) $(example_src) $(test_src) $(mpi_src)

static := $(BUILD)/libsdestore.a
shared := $(BUILD)/libsdestore.so.$(VERSION)
mpi_soname := libsdestore-mpi.so.0
mpi_static := $(call if_mpi,$(BUILD)/libsdestore-mpi.a)
mpi_shared := $(call if_mpi,$(BUILD)/libsdestore-mpi.so.$(VERSION))
tools := $(call programs,$(tool_src))
examples := $(call programs,$(example_src))
mpi_programs := $(call programs,$(mpi_program_src))
headers := $(filter-out $(if $(have_mpi),,sdestore/mpi.h),$(patsubst $(srcdir)/include/%,%,\
	$(wildcard $(srcdir)/include/*.h $(srcdir)/include/*/*.h)))
pages := $(notdir $(wildcard $(srcdir)/man/*.[1-9]))
completions := $(filter $(notdir $(tools)),$(notdir $(wildcard $(srcdir)/tools/completion/*)))
docs := $(notdir $(wildcard $(addprefix $(srcdir)/,README.md NEWS LICENSE)))

##@ targets
.PHONY: all
all: $(static) $(shared) $(mpi_static) $(mpi_shared) $(tools) $(examples) \
	$(call programs,$(mpi_example_src)) $(if $(have_mpi),,without-mpi) ## build libraries, tools and examples (default)

.PHONY: without-mpi
without-mpi:
	@echo "  libsdestore-mpi is left out: $(if $(filter auto,$(MPI)),no \
		MPI here (Debian: libopenmpi-dev),MPI = $(MPI))"

.PHONY: help
help: ## this list
	@sed -n -e 's/^##@ \(.*\)/\n\1:/p' \
		-e '/^[a-z]*:.*\\$$/{N;/##/!N;s/\\\n//g;}' \
		-e 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' \
		-e 's/^\([A-Za-z_]*\) ?*= *\(.*\)##\t\(.*\)/  \1\t\3 [\2]/p' \
		$(srcdir)/Makefile | sed -e 's/ \[\]$$//' | expand -t 16

.PHONY: deps
deps: ## install the Debian packages that are missing
	@$(srcdir)/build-aux/deps

.PHONY: deps-dev
deps-dev: ## the same, and what tidy, fuzz, coverage and the longest tests take
	@$(srcdir)/build-aux/deps --dev

# ---------------------------------------------------------------------------
# Compiling and linking

# Position-independent for both libraries: one set of objects. Nobody is meant
# to replace single functions of the shared one, so calls inside it are direct.
PIC = -fPIC -fno-semantic-interposition
sanitize = $(if $(SANITIZE),-O1 -g -fno-omit-frame-pointer \
	-fsanitize=$(SANITIZE) -fno-sanitize-recover=all)
COMPILE = $(CC) -std=c11 $(WARNINGS) -pthread -I$(srcdir)/include $(CPPFLAGS) \
	$(LZ4_CFLAGS) $(JANSSON_CFLAGS) $(BLOSC_CFLAGS) $(ZLIB_CFLAGS) $(ISAL_CFLAGS) $(CFLAGS) $(sanitize)
LINK = $(CC) -pthread $(CFLAGS) $(sanitize) $(LDFLAGS)
LIBS = $(BLOSC_LIBS) $(LZ4_LIBS) $(JANSSON_LIBS) $(ISAL_LIBS) $(ZLIB_LIBS) -lpthread -lm
# Sanitizers of clang leave symbols for the program to define: no -z defs then.
DEFS = $(if $(findstring -fsanitize,$(LINK)),,-Wl,-z,defs)

quiet = $(if $(V),,@printf '  %-6s %s\n' $1 $@;)

# A stamp changes when its text does: objects depend on their flags, and what is
# linked on its flags and on the list of its objects (a removed file counts).
quoted = '$(subst ','\'',$(strip $1))'
define stamp
@mkdir -p $(@D)
@printf '%s\n' $(call quoted,$1) | cmp -s - $@ || printf '%s\n' $(call quoted,$1) >$@
endef
compile_stamp := $(BUILD)/flags.compile
link_stamp := $(BUILD)/flags.link
$(compile_stamp): FORCE
	$(call stamp,$(COMPILE) $(PIC))
$(link_stamp): FORCE
	$(call stamp,$(LINK) $(LIBS) $(AR) $(all_src))
.PHONY: FORCE

$(call objects,$(lib_src)): private own = $(PIC)
$(call objects,$(mpi_lib_src)): private own = $(PIC) -I$(srcdir)/lib $(MPI_CFLAGS)
$(call objects,$(mpi_program_src)): private own = $(MPI_CFLAGS) -I$(srcdir)/tests/unit
$(call objects,$(mpi_bench_src)): private own = $(MPI_CFLAGS)
$(call objects,$(test_src)): private own = -I$(srcdir)/lib -I$(srcdir)/tests/unit $(CMOCKA_CFLAGS)
$(call objects,$(all_src)): $(BUILD)/%.o: %.c $(compile_stamp)
	@mkdir -p $(@D)
	$(call quiet,CC)$(COMPILE) $(own) -MMD -MP -c -o $@ $<
-include $(patsubst %.c,$(BUILD)/%.d,$(all_src))

$(static): $(call objects,$(lib_src)) $(link_stamp)
	@rm -f $@
	$(call quiet,AR)$(AR) rcs $@ $(filter %.o,$^)

$(shared): $(call objects,$(lib_src)) $(srcdir)/lib/sdestore.map $(link_stamp)
	$(call quiet,LD)$(LINK) -shared -Wl,-soname,$(soname) $(DEFS) \
		-Wl,--version-script=$(srcdir)/lib/sdestore.map \
		-o $@ $(filter %.o,$^) $(LIBS)
	@ln -sf $(@F) $(BUILD)/$(soname)
	@ln -sf $(soname) $(BUILD)/libsdestore.so

$(mpi_static): $(call objects,$(mpi_lib_src)) $(link_stamp)
	@rm -f $@
	$(call quiet,AR)$(AR) rcs $@ $(filter %.o,$^)

$(mpi_shared): $(call objects,$(mpi_lib_src)) $(shared) $(srcdir)/lib/mpi/sdestore-mpi.map \
		$(link_stamp)
	$(call quiet,LD)$(LINK) -shared -Wl,-soname,$(mpi_soname) $(DEFS) \
		-Wl,--version-script=$(srcdir)/lib/mpi/sdestore-mpi.map \
		-o $@ $(filter %.o,$^) $(shared) $(MPI_LIBS)
	@ln -sf $(@F) $(BUILD)/$(mpi_soname)
	@ln -sf $(mpi_soname) $(BUILD)/libsdestore-mpi.so

# Programs take the static library, the installed tools too: they run where they
# are built and under any prefix, without a run path, LD_LIBRARY_PATH or ldconfig.
link_program = $(call quiet,LD)$(LINK) -o $@ $(filter %.o,$^) $(static) $(own) $(LIBS)

$(tools): $(BUILD)/%: $(BUILD)/%.o $(call objects,$(tool_shared_src)) $(static) $(link_stamp)
	$(link_program)
$(examples): $(BUILD)/%: $(BUILD)/%.o $(static) $(link_stamp)
	$(link_program)
unit_programs := $(call programs,$(unit_src))
crash_programs := $(call programs,$(crash_src))
fuzz_programs := $(call programs,$(fuzz_src))
disk_program := $(if $(shell $(PKG_CONFIG) --exists fuse3 2>/dev/null && echo yes),$(call programs,$(disk_src)))
other_test_programs := $(call programs,$(other_test_src))
$(unit_programs) $(crash_programs) $(other_test_programs): private own = $(CMOCKA_LIBS)
$(unit_programs): $(BUILD)/%: $(BUILD)/%.o $(call objects,$(unit_shared_src)) \
		$(static) $(link_stamp)
	$(link_program)
$(crash_programs): $(BUILD)/%: $(BUILD)/%.o $(call objects,$(crash_shared_src)) \
		$(static) $(link_stamp)
	$(link_program)
$(fuzz_programs): $(BUILD)/%: $(BUILD)/%.o $(call objects,$(fuzz_shared_src) tools/slice.c) \
		$(static) $(link_stamp)
	$(link_program)
$(other_test_programs): $(BUILD)/%: $(BUILD)/%.o $(static) $(link_stamp)
	$(link_program)
$(crash_programs): | $(disk_program)
$(disk_program): $(BUILD)/%: %.c $(link_stamp)
	@mkdir -p $(@D)
	$(call quiet,LD)$(LINK) -std=c11 $(WARNINGS) $(CPPFLAGS) $(FUSE_CFLAGS) -o $@ $< $(FUSE_LIBS)
bench_programs := $(call programs,$(bench_src))
$(bench_programs): $(BUILD)/%: $(BUILD)/%.o $(call objects,$(bench_shared_src)) $(static) $(link_stamp)
	$(link_program)
# A peer of another library, where that is installed.
HDF5_CFLAGS = $(call module_cflags,HDF5_CFLAGS,hdf5)
HDF5_LIBS = $(call module_libs,HDF5_LIBS,hdf5,)
hdf5_objects := $(call objects,tests/bench/measure.c tests/bench/load.c)
$(BUILD)/tests/bench/peer_hdf5: tests/bench/peer_hdf5.c $(hdf5_objects) $(link_stamp)
	@mkdir -p $(@D)
	$(call quiet,LD)$(COMPILE) -Wno-conversion $(HDF5_CFLAGS) $(LDFLAGS) -o $@ $< \
		$(hdf5_objects) $(HDF5_LIBS) -lm

mpi_bench_programs := $(call programs,$(mpi_bench_src))
$(mpi_programs) $(mpi_bench_programs): private own = $(MPI_LIBS)
$(mpi_bench_programs): $(call objects,$(bench_shared_src))
$(mpi_programs) $(mpi_bench_programs): $(BUILD)/%: $(BUILD)/%.o $(mpi_static) $(static) $(link_stamp)
	$(call quiet,LD)$(LINK) -o $@ $(filter %.o,$^) $(mpi_static) $(static) $(own) $(LIBS)

# ---------------------------------------------------------------------------
# Tests. A test is called by its place under tests/: unit/test_ring is a program,
# cli/inspect.sh a script. Each variant is a build of its own; all are run at the
# end, together, by tests/run, for one summary.

test_patterns := $(basename $(patsubst tests/%,%,$(subst *,%,$(TESTS))))
every_test := $(patsubst tests/%.c,%,$(unit_src) $(crash_src) $(fuzz_src) \
		$(filter $(script_dirs:%=tests/%/test_%),$(other_test_src))) \
	$(patsubst tests/%,%,$(call sources,tests/crash/*.sh tests/mpi/*.sh \
		$(script_dirs:%=tests/%/*.sh)))
tests_plain := $(strip $(if $(test_patterns),$(foreach t,$(every_test),$(if \
	$(filter $(test_patterns),$(basename $t)),$t)),$(every_test)))
# Installing and other people's readers do not depend on how we were compiled.
tests_asan := $(filter-out install/% interop/%,$(tests_plain))
# What has threads. The other crash tests have processes.
tests_tsan := $(filter unit/test_threads% crash/test_threads% unit/test_handles unit/test_map \
	unit/test_walk unit/test_ways,$(tests_plain))
build_plain = $(BUILD)
build_asan = $(BUILD)/asan
build_tsan = $(BUILD)/tsan
sanitize_asan := address,undefined
sanitize_tsan := thread

# What a variant's tests need, built in the make that has its SANITIZE.
variant := $(or $(strip $(foreach v,asan tsan,$(if \
	$(filter $(sanitize_$v),$(SANITIZE)),$v))),plain)
variant_tests := $(tests_$(variant))
.PHONY: test-programs
test-programs: $(patsubst %,$(BUILD)/tests/%,$(filter-out %.sh,$(variant_tests))) \
	$(if $(filter %.sh,$(variant_tests)),all $(crash_programs) $(other_test_programs) $(mpi_programs))

# A compiler without this sanitizer, or a kernel on which it does not run, is
# noted in a file that tests/run reports as skipped.
.PHONY: variant-plain variant-asan variant-tsan
variant-plain: test-programs
variant-asan variant-tsan: variant-%:
	@mkdir -p $(build_$*)
	@rm -f $(build_$*)/unusable
	@if printf 'int main(void) { return 0; }\n' | \
		$(LINK) -fsanitize=$(sanitize_$*) -x c - -o $(build_$*)/probe \
			2>$(build_$*)/probe.log && $(build_$*)/probe 2>>$(build_$*)/probe.log; \
	then \
		$(MAKE) -f $(self) BUILD=$(build_$*) SANITIZE=$(sanitize_$*) test-programs; \
	else \
		echo '-fsanitize=$(sanitize_$*) does not work here, see $(build_$*)/probe.log' \
			>$(build_$*)/unusable; \
	fi

variants := $(strip $(foreach v,$(VARIANTS),$(if $(tests_$v),$v)))
# Where nobody has said how many, as many are built at a time as there are processors.
build_jobs = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
# `exec`, so that who ends make ends tests/run, and tests/run what it started.
.PHONY: check
check: ## build and run the tests: plain, with ASan + UBSan, with TSan
	$(if $(variants),,$(error no test is called '$(TESTS)'))
	@$(MAKE) -f $(self) $(build_jobs) $(variants:%=variant-%)
	@exec env CC=$(call quoted,$(CC)) AR=$(call quoted,$(AR)) CFLAGS=$(call quoted,$(CFLAGS)) \
		CPPFLAGS=$(call quoted,$(CPPFLAGS)) LDFLAGS=$(call quoted,$(LDFLAGS)) \
		TEST_JOBS=$(call quoted,$(TEST_JOBS)) $(srcdir)/tests/run \
		$(foreach v,$(variants),--variant $v $(build_$v) $(tests_$v))

# The layers under tests/crash with the budgets that TESTING.md states.
.PHONY: check-long
check-long: ## the crash tests at length: hours rather than minutes
	@SDE_TEST_LONG=1 TEST_TIMEOUT=$${TEST_TIMEOUT:-14400} \
		$(MAKE) -f $(self) TESTS='crash/*' VARIANTS=plain check

# Counters of processes that are killed are lost; those of the others add up, also of
# those that end by _exit. Time limits are for builds without counters.
coverage_exit = -include $(abspath $(srcdir)/build-aux/coverage_exit.h) -Wl,--wrap=_exit
# crash/inject.sh would interrupt the writing of the counters.
COVERAGE_TESTS = $(filter-out install/% interop/% crash/inject.sh,$(tests_plain))
.PHONY: coverage mcdc
coverage: ## lines and branches that the tests reach (gcc)
	@mkdir -p $(BUILD)/coverage
	@find $(BUILD)/coverage -name '*.gcda' -exec rm -f {} +
	@$(MAKE) -f $(self) BUILD=$(BUILD)/coverage CC=gcc \
		CFLAGS='-O0 -g --coverage -fprofile-update=atomic $(coverage_exit)' \
		WARNINGS= test-programs
	@TEST_TIMEOUT=$${TEST_TIMEOUT:-1800} $(srcdir)/tests/run --variant plain $(BUILD)/coverage $(COVERAGE_TESTS); \
		tests=$$?; $(srcdir)/build-aux/coverage $(BUILD)/coverage $(srcdir) && exit $$tests

# Conditions that decide by themselves (MC/DC), by clang 19; reported, no bar. Each process
# leaves a file of its own: some gigabytes in all.
mcdc_raw = $(abspath $(BUILD)/mcdc)/raw
mcdc: ## MC/DC of what the tests reach (clang-19, llvm-cov-19)
	@rm -rf $(mcdc_raw) && mkdir -p $(mcdc_raw)
	@$(MAKE) -f $(self) BUILD=$(BUILD)/mcdc CC=clang-19 WARNINGS= \
		CFLAGS='-O1 -g -fprofile-instr-generate -fcoverage-mapping -fcoverage-mcdc \
			-Wno-unused-command-line-argument $(coverage_exit)' test-programs
	@COVERAGE_RAW=$(mcdc_raw) TEST_TIMEOUT=$${TEST_TIMEOUT:-1800} \
		$(srcdir)/tests/run --variant plain $(BUILD)/mcdc $(COVERAGE_TESTS); tests=$$?; \
	find $(mcdc_raw) -name '*.profraw' -size +0 | xargs -P $$(nproc) -I FILE sh -c \
		'if llvm-profdata-19 show FILE; then echo FILE; else echo FILE is damaged >&3; fi' \
		3>$(mcdc_raw)/damaged 2>/dev/null | grep 'profraw$$' >$(mcdc_raw)/list; \
	echo "$$(wc -l <$(mcdc_raw)/damaged) of $$(ls $(mcdc_raw) | wc -l) profiles are damaged and left out"; \
	llvm-profdata-19 merge -o $(BUILD)/mcdc/all.profdata --input-files=$(mcdc_raw)/list && \
	llvm-cov-19 report --show-mcdc-summary --show-region-summary=0 \
		--instr-profile=$(BUILD)/mcdc/all.profdata \
		$(addprefix --object $(BUILD)/mcdc/tests/,$(filter-out %.sh,$(COVERAGE_TESTS))) \
		--sources $(lib_src:%=$(srcdir)/%) && exit $$tests
# libFuzzer is clang's: a build of its own in $(BUILD)/fuzz, where the corpus is kept.
# There each harness is linked without replay.c, whose main is libFuzzer's then.
FUZZ_SECONDS ?= 60##	how long make fuzz runs each harness
FUZZ =##	harnesses to fuzz: 'ring npz'; default all
FUZZ_CC = clang##	compiler with libFuzzer
fuzzers := $(patsubst tests/fuzz/test_%.c,$(BUILD)/tests/fuzz/fuzz_%,$(fuzz_src))
$(fuzzers): private own = -fsanitize=fuzzer
$(fuzzers): $(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/test_%.o \
		$(call objects,$(filter-out %/replay.c,$(fuzz_shared_src)) tools/slice.c) \
		$(static) $(link_stamp)
	$(link_program)
fuzz_names := $(fuzz_src:tests/fuzz/test_%.c=%)
.PHONY: fuzzers fuzz
fuzzers: $(fuzzers)
fuzz: ## look for inputs that break a reader, with libFuzzer
	@mkdir -p $(BUILD)/fuzz
	@$(srcdir)/tests/fuzz/fuzz --check $(FUZZ_CC) $(BUILD)/fuzz
	@$(MAKE) -f $(self) BUILD=$(BUILD)/fuzz CC=$(FUZZ_CC) CFLAGS='-O1 -g' \
		SANITIZE=fuzzer-no-link,address,undefined fuzzers
	@exec $(srcdir)/tests/fuzz/fuzz $(BUILD)/fuzz $(FUZZ_SECONDS) $(or $(FUZZ),$(fuzz_names))
# Tables of time, each next to its limit in the same run: tests/bench/README.md.
.PHONY: bench bench-quick bench-programs
bench-programs: $(bench_programs) $(mpi_bench_programs)
	$(if $(HDF5_LIBS),@$(MAKE) -f $(self) $(BUILD)/tests/bench/peer_hdf5,@echo \
		'# no HDF5 (Debian: libhdf5-dev): it is left out of the tables')
bench: bench-programs ## how fast it is, next to its limits and to others: half an hour
	@$(srcdir)/tests/bench/run $(BUILD) $(TESTS)
bench-quick: bench-programs ## the same, shorter and coarser: two minutes
	@$(srcdir)/tests/bench/run $(BUILD) --quick $(TESTS)
# Each planted bug (lib/planted.h), and who notices; MUTANTS names some of them.
.PHONY: mutants
mutants: ## plant known bugs and see which layer of the tests catches each
	@$(MAKE) -f $(self) BUILD=$(BUILD)/planted CPPFLAGS=$(call quoted,$(CPPFLAGS) -DSDE_PLANTED) \
		TESTS='unit/test_* crash/test_*' VARIANTS=plain test-programs
	@$(srcdir)/build-aux/mutants $(BUILD)/planted $(srcdir) $(MUTANTS)

.PHONY: demo
demo: $(BUILD)/examples/double_well $(BUILD)/tools/sde-inspect ## simulate a double well into demo.zarr and look at it
	$(BUILD)/examples/double_well
	$(BUILD)/tools/sde-inspect demo.zarr
	@echo
	@echo "To read it in Python (zarr-python 3):"
	@echo "    import zarr; g = zarr.open_group('demo.zarr', mode='r')"
	@echo "    print(g['data'].shape, g['time'][-1], g['data'][:, :, -1].mean())"

.PHONY: tidy
# Not the tests with cppcheck: it does not know that cmocka's assertions return
# only if they hold, and complains of everything behind them.
tidy: ## look for faults with clang-tidy and cppcheck
	@clang-tidy --quiet --config-file=$(srcdir)/.clang-tidy $(all_src:%=$(srcdir)/%) -- \
		-std=c11 -I$(srcdir)/include -I$(srcdir)/lib $(call if_mpi,$(MPI_CFLAGS)) $(CPPFLAGS); \
	tidy=$$?; \
	cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability --suppress=missingInclude \
		--suppress=unmatchedSuppression -I $(srcdir)/include -I $(srcdir)/lib \
		$(patsubst %,$(srcdir)/%,$(filter-out tests/%,$(all_src))) && exit $$tidy

# ---------------------------------------------------------------------------
# Installing

pkgconfigdir = $(libdir)/pkgconfig
pc_files := sdestore.pc $(call if_mpi,sdestore-mpi.pc)
completionsdir = $(datadir)/bash-completion/completions
man_sections := $(sort $(patsubst .%,%,$(suffix $(pages))))
# The further names of a page of section 3, as NAME=PAGE: symbolic links to it
man_links = $(shell awk '/^\.Sh/ { n = $$2 == "NAME"; page = "" } n && /^\.Nm/ { \
	if (page) print $$2 "=" page; else page = $$2 }' $(wildcard $(srcdir)/man/*.3) /dev/null)
man_link = $(mandir)/man3/$(firstword $(subst =, ,$1)).3
man_link_target = $(lastword $(subst =, ,$1)).3
# names under ${prefix} stay relative to it: the .pc file can be relocated
in_prefix = $(patsubst $(prefix)/%,$${prefix}/%,$1)

.PHONY: install install-man
install: $(static) $(shared) $(mpi_static) $(mpi_shared) $(tools) install-man ## install under prefix
	$(INSTALL) -d $(addprefix $(DESTDIR),$(bindir) $(pkgconfigdir) $(docdir) \
		$(sort $(patsubst %/,%,$(addprefix $(includedir)/,$(dir $(headers))))) \
		$(if $(completions),$(completionsdir)))
	$(foreach h,$(headers),$(INSTALL) -m 644 $(srcdir)/include/$h \
		$(DESTDIR)$(includedir)/$h &&) :
	$(INSTALL) -m 644 $(static) $(DESTDIR)$(libdir)
	$(INSTALL) -m 755 $(shared) $(DESTDIR)$(libdir)
	ln -sf $(notdir $(shared)) $(DESTDIR)$(libdir)/$(soname)
	ln -sf $(soname) $(DESTDIR)$(libdir)/libsdestore.so
	$(foreach p,$(pc_files),sed -e 's|@prefix@|$(prefix)|' \
		-e 's|@libdir@|$(call in_prefix,$(libdir))|' \
		-e 's|@includedir@|$(call in_prefix,$(includedir))|' \
		-e 's|@VERSION@|$(VERSION)|' -e 's|@ISAL_LIBS@|$(ISAL_LIBS)|' \
		$(call if_mpi,-e 's|@MPI_CFLAGS@|$(MPI_CFLAGS)|' -e 's|@MPI_LIBS@|$(MPI_LIBS)|') \
		$(srcdir)/$p.in >$(DESTDIR)$(pkgconfigdir)/$p && \
		chmod 644 $(DESTDIR)$(pkgconfigdir)/$p &&) :
	$(call if_mpi,$(INSTALL) -m 644 $(mpi_static) $(DESTDIR)$(libdir) && \
		$(INSTALL) -m 755 $(mpi_shared) $(DESTDIR)$(libdir) && \
		ln -sf $(notdir $(mpi_shared)) $(DESTDIR)$(libdir)/$(mpi_soname) && \
		ln -sf $(mpi_soname) $(DESTDIR)$(libdir)/libsdestore-mpi.so)
	$(if $(tools),$(INSTALL) -m 755 $(tools) $(DESTDIR)$(bindir))
	$(if $(completions),$(INSTALL) -m 644 $(completions:%=$(srcdir)/tools/completion/%) \
		$(DESTDIR)$(completionsdir))
	$(if $(docs),$(INSTALL) -m 644 $(docs:%=$(srcdir)/%) $(DESTDIR)$(docdir))

install-man:
	$(INSTALL) -d $(man_sections:%=$(DESTDIR)$(mandir)/man%)
	$(foreach p,$(pages),$(INSTALL) -m 644 $(srcdir)/man/$p \
		$(DESTDIR)$(mandir)/man$(patsubst .%,%,$(suffix $p)) &&) :
	$(foreach l,$(man_links),ln -sf $(call man_link_target,$l) \
		$(DESTDIR)$(call man_link,$l) &&) :

.PHONY: uninstall
uninstall: ## remove what install put under prefix
	rm -f $(addprefix $(DESTDIR),$(headers:%=$(includedir)/%) \
		$(addprefix $(libdir)/,$(notdir $(static) $(shared)) $(soname) libsdestore.so \
			$(notdir $(mpi_static) $(mpi_shared)) $(call if_mpi,$(mpi_soname) libsdestore-mpi.so)) \
		$(addprefix $(pkgconfigdir)/,$(pc_files)) $(addprefix $(bindir)/,$(notdir $(tools))) \
		$(foreach p,$(pages),$(mandir)/man$(patsubst .%,%,$(suffix $p))/$p) \
		$(foreach l,$(man_links),$(call man_link,$l)) \
		$(completions:%=$(completionsdir)/%) $(docs:%=$(docdir)/%))
	rmdir $(DESTDIR)$(includedir)/sdestore $(DESTDIR)$(docdir) 2>/dev/null || :

# What consumes an installed library is a test like others, also of `check`.
.PHONY: installcheck
installcheck: ## install into a temporary tree, build and run consumers against it
	@$(MAKE) -f $(self) TESTS=install/consumer VARIANTS=plain check

# ---------------------------------------------------------------------------
# The tarball: all of the source, whole directories of it, and configure

dist_name := sdestore-$(VERSION)
tarball := $(BUILD)/$(dist_name).tar.gz
dist_files := .ci .clang-format .clang-tidy .editorconfig .gitignore CONTRIBUTING.md \
	LICENSE Makefile NEWS README.md TESTING.md build-aux config.mak.in configure.ac examples \
	include lib man sdestore.pc.in sdestore-mpi.pc.in tests tools

.PHONY: dist distcheck
dist: ## make the tarball, with configure, in BUILD
	@rm -rf $(BUILD)/dist
	@mkdir -p $(BUILD)/dist/$(dist_name)
	cp -pR $(dist_files:%=$(srcdir)/%) $(BUILD)/dist/$(dist_name)
	cd $(BUILD)/dist/$(dist_name) && autoconf && rm -rf autom4te.cache
	tar -C $(BUILD)/dist --sort=name --owner=0 --group=0 --numeric-owner \
		--mode=u+rwX,go+rX,go-w --exclude-backups --exclude=__pycache__ \
		-czf $(tarball) $(dist_name)
	@rm -rf $(BUILD)/dist
	@echo "made $(tarball)"

distcheck: dist ## see that the tarball builds, passes, installs and cleans up
	@$(srcdir)/build-aux/distcheck $(tarball) $(srcdir)

# ---------------------------------------------------------------------------
# Tidying up

.PHONY: clean distclean maintainer-clean
clean: ## remove what was built
	rm -rf $(BUILD)

# In a build directory the Makefile is configure's; in the source it is this one.
distclean: clean ## remove also what configure and the demo made
	rm -rf config.mak config.log config.status config.cache autom4te.cache demo.zarr
	$(if $(filter $(abspath $(srcdir)),$(CURDIR)),,\
		if grep -qs '^srcdir = ' Makefile; then rm -f Makefile; fi)

# configure comes with the tarball, so distclean has to leave it
maintainer-clean: distclean
	rm -f $(srcdir)/configure $(srcdir)/configure~

endif
