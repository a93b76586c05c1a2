/* SPDX-License-Identifier: MIT */
/*
 * Included before everything in builds with counters (make coverage, make mcdc), which
 * are linked with --wrap=_exit: a test's child that ends by _exit, as it must, would
 * leave none of them.
 */
#ifdef __clang__
int __llvm_profile_write_file(void);
#define COVERAGE_WRITE() ((void)__llvm_profile_write_file())
#else
void __gcov_dump(void);
#define COVERAGE_WRITE() __gcov_dump()
#endif

void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));

__attribute__((weak)) void __wrap__exit(int status)
{
	COVERAGE_WRITE();
	__real__exit(status);
}
