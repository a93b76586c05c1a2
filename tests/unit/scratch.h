/* SPDX-License-Identifier: MIT */
/*
 * A fresh temporary directory for each test, and plain file access beside the
 * library's own: what a test writes and looks at goes around the io table.
 *
 * scratch_enter and scratch_leave are cmocka's setup and teardown: the test
 * runs in the directory, which is removed with all in it afterwards.
 */
#ifndef SDE_TESTS_UNIT_SCRATCH_H
#define SDE_TESTS_UNIT_SCRATCH_H

#include <stdbool.h>
#include <stddef.h>

int scratch_enter(void **state);
int scratch_leave(void **state);

/* A descriptor of the test's directory, closed by scratch_leave. */
int scratch_directory(void);

#define SCRATCH_TEST(test) cmocka_unit_test_setup_teardown(test, scratch_enter, scratch_leave)

/* All of these fail the test if the system refuses. */
void scratch_write(const char *path, const void *bytes, size_t size);
unsigned char *scratch_read(const char *path, size_t *size);	/* malloc'd */
bool scratch_exists(const char *path);		/* a dangling link exists */
unsigned scratch_entries(const char *path);	/* names but . and .. */
unsigned scratch_open_files(void);		/* descriptors of this process */

#endif
