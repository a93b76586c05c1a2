/* SPDX-License-Identifier: MIT */
/*
 * Included before everything in builds with counters (make coverage, make mcdc), which
 * are linked with --wrap=_exit: a test's child that ends by _exit, as it must, would
 * leave none of them.
 *
 * With clang each process has a file of its own in the directory COVERAGE_RAW, and that
 * gets its name when it is whole: a process that is killed while it writes leaves one
 * that nobody reads. gcc adds up in one file for each source.
 */
#ifdef __clang__
/* no header of the system: the source's own feature macros come first */
char *getenv(const char *name);
int atexit(void (*function)(void));
int getpid(void);
int rename(const char *from, const char *to);
int snprintf(char *text, __SIZE_TYPE__ size, const char *format, ...);
int __llvm_profile_write_file(void);
void __llvm_profile_set_filename(const char *name);

/* defined here, it keeps the runtime from writing at exit by itself */
extern int __llvm_profile_runtime;
__attribute__((weak)) int __llvm_profile_runtime;

__attribute__((weak)) void coverage_write(void)
{
	const char *directory = getenv("COVERAGE_RAW");
	char part[500], whole[510];

	if (!directory)
		return;
	/* numbers of processes come again, and a library has counters of its own */
	snprintf(part, sizeof(part), "%s/%d-%llx-%p.part", directory, getpid(),
		 __builtin_readcyclecounter(), (void *)&__llvm_profile_runtime);
	snprintf(whole, sizeof(whole), "%s.profraw", part);
	__llvm_profile_set_filename(part);
	if (!__llvm_profile_write_file())
		rename(part, whole);
}

__attribute__((weak, constructor)) void coverage_begin(void)
{
	static int begun;

	if (!begun++)
		atexit(coverage_write);
}
#define COVERAGE_WRITE() coverage_write()
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
