/* SPDX-License-Identifier: MIT */
/*
 * The guard against SIGBUS: what it catches, what it leaves to others, and what
 * it costs. A fault is a mapping of a file that has become shorter.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "guard.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096
#define PAGES 4

/* PAGES pages of a file that has only `left` of them. */
static char *cut_mapping(unsigned left)
{
	const int fd = open("file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	char *base;

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
	base = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(base != MAP_FAILED);
	assert_int_equal(ftruncate(fd, left * PAGE), 0);
	close(fd);
	return base;
}

static void touch(void *address)
{
	*(volatile char *)address = 1;
}

static int guarded_touch(char *base, size_t at)
{
	return sde__guard_run(base, PAGES * PAGE, touch, base + at);
}

static void *touch_many(void *arg)
{
	uintptr_t wrong = 0;

	for (int i = 0; i < 1000; i++) {
		wrong += guarded_touch(arg, 0) != 0;
		wrong += guarded_touch(arg, 3 * PAGE) != -EFAULT;
	}
	return (void *)wrong;
}

static void each_thread_has_its_own(void)
{
	char *base = cut_mapping(1);
	pthread_t thread[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, touch_many, base), 0);
	for (int i = 0; i < 4; i++) {
		void *wrong;

		assert_int_equal(pthread_join(thread[i], &wrong), 0);
		assert_null(wrong);
	}
	munmap(base, PAGES * PAGE);
}

struct nest {
	char *inner, *outer;
	int ret;
};

static void touch_inside(void *ctx)
{
	struct nest *nest = ctx;

	nest->ret = guarded_touch(nest->inner, PAGE);
	touch(nest->outer + PAGE);
}

static void guards_nest(void)
{
	struct nest nest = { cut_mapping(1), cut_mapping(1), 0 };

	assert_int_equal(sde__guard_run(nest.outer, PAGES * PAGE, touch_inside, &nest), -EFAULT);
	assert_int_equal(nest.ret, -EFAULT);
	munmap(nest.inner, PAGES * PAGE);
	munmap(nest.outer, PAGES * PAGE);
}

/* How a child ends that runs `act`. */
static int status_of(void (*act)(char *base), char *base)
{
	const pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (!child) {
		act(base);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void without_guard(char *base)
{
	signal(SIGBUS, SIG_DFL);
	touch(base + 3 * PAGE);
}

static void outside_of_a_copy(char *base)
{
	signal(SIGBUS, SIG_DFL);
	if (sde__guard_install() || guarded_touch(base, 3 * PAGE) != -EFAULT)
		_exit(1);
	touch(base + 3 * PAGE);
}

static void outside_of_the_range(char *base)
{
	signal(SIGBUS, SIG_DFL);
	if (sde__guard_install())
		_exit(1);
	sde__guard_run(base, 2 * PAGE, touch, base + 3 * PAGE);
}

static void sent_by_a_process(char *base)
{
	(void)base;
	signal(SIGBUS, SIG_DFL);
	if (sde__guard_install())
		_exit(1);
	raise(SIGBUS);
}

static void sent_and_ignored(char *base)
{
	(void)base;
	signal(SIGBUS, SIG_IGN);
	if (sde__guard_install())
		_exit(1);
	raise(SIGBUS);
	_exit(7);
}

/*
 * What the kernel says of a fault, without one. To itself a process may send any code;
 * who is told so goes on, with what a fault would meet when it recurs.
 */
static void a_fault_elsewhere(char *base)
{
	struct sigaction now;
	siginfo_t info = { 0 };

	signal(SIGBUS, SIG_DFL);
	if (sde__guard_install())
		_exit(1);
	info.si_signo = SIGBUS;
	info.si_code = BUS_ADRERR;
	info.si_addr = base;
	if (syscall(SYS_rt_sigqueueinfo, getpid(), SIGBUS, &info))
		_exit(2);
	if (sigaction(SIGBUS, NULL, &now))
		_exit(3);
	_exit(now.sa_handler == SIG_DFL ? 44 : 4);
}

static volatile int calls;

static void counting_handler(int number)
{
	calls += number == SIGBUS;
}

static void counting_handler_with_info(int number, siginfo_t *info, void *context)
{
	(void)context;
	calls += number == SIGBUS && info->si_code <= 0;
}

static void with_a_plain_handler_that_returns(char *base)
{
	(void)base;
	signal(SIGBUS, counting_handler);
	if (sde__guard_install())
		_exit(1);
	errno = 77;
	raise(SIGBUS);
	_exit(calls == 1 && errno == 77 ? 45 : 2);
}

static void with_a_handler_that_returns(char *base)
{
	struct sigaction action = { .sa_sigaction = counting_handler_with_info,
				    .sa_flags = SA_SIGINFO };

	(void)base;
	sigaction(SIGBUS, &action, NULL);
	if (sde__guard_install())
		_exit(1);
	raise(SIGBUS);
	raise(SIGBUS);
	_exit(calls == 2 ? 46 : 2);
}

static void *volatile seen;

static void own_handler(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	_exit(info->si_addr == seen ? 42 : 1);
}

static void with_a_handler_before(char *base)
{
	struct sigaction action = { .sa_sigaction = own_handler, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &action, NULL);
	if (sde__guard_install() || guarded_touch(base, 3 * PAGE) != -EFAULT)
		_exit(1);
	seen = base + 2 * PAGE;
	touch(seen);
}

static void plain_handler(int number)
{
	_exit(number == SIGBUS ? 43 : 1);
}

static void with_a_plain_handler_before(char *base)
{
	signal(SIGBUS, plain_handler);
	if (sde__guard_install() || guarded_touch(base, 3 * PAGE) != -EFAULT)
		_exit(1);
	touch(base + 2 * PAGE);
}

/* These run first: in this process nobody has installed the guard before. */
static void what_is_not_ours_goes_where_it_went(void **state)
{
	char *base = cut_mapping(1);
	int status;

	(void)state;
	status = status_of(without_guard, base);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	status = status_of(outside_of_a_copy, base);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	status = status_of(outside_of_the_range, base);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	status = status_of(sent_by_a_process, base);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	status = status_of(sent_and_ignored, base);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	status = status_of(a_fault_elsewhere, base);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 44);
	status = status_of(with_a_plain_handler_that_returns, base);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 45);
	status = status_of(with_a_handler_that_returns, base);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 46);
	status = status_of(with_a_handler_before, base);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
	status = status_of(with_a_plain_handler_before, base);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 43);
	munmap(base, PAGES * PAGE);
}

static double cost(unsigned long n, char *base, int guarded)
{
	struct timespec from, to;

	clock_gettime(CLOCK_MONOTONIC, &from);
	for (unsigned long i = 0; i < n; i++) {
		if (guarded)
			guarded_touch(base, 0);
		else
			touch(base);
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) /
	       (double)n;
}

static void what_it_costs_is_told(void)
{
	char *base = cut_mapping(PAGES);
	double with, without;

	without = cost(1000000, base, 0);
	with = cost(1000000, base, 1);
	print_message("# a guarded copy costs %.1f ns more\n", with - without);
	munmap(base, PAGES * PAGE);
}

/*
 * cmocka sets its own handlers before each test, and the guard is installed once:
 * what needs it is one test.
 */
static void a_fault_in_the_range_is_a_code(void **state)
{
	char *base = cut_mapping(2);

	(void)state;
	assert_int_equal(sde__guard_install(), 0);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(guarded_touch(base, PAGE), 0);
		assert_int_equal(guarded_touch(base, 2 * PAGE), -EFAULT);
		assert_int_equal(guarded_touch(base, PAGES * PAGE - 1), -EFAULT);
	}
	assert_int_equal(base[PAGE], 1);
	munmap(base, PAGES * PAGE);
	each_thread_has_its_own();
	guards_nest();
	what_it_costs_is_told();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(what_is_not_ours_goes_where_it_went),
		SCRATCH_TEST(a_fault_in_the_range_is_a_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
