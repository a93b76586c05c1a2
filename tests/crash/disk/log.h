/* SPDX-License-Identifier: MIT */
/*
 * The log of a logged disk: what came to the device, in the order it came.
 *
 * A file of records, each a struct log_record and `size` bytes behind it. Made
 * and read on the same machine.
 */
#ifndef SDE_TESTS_CRASH_DISK_LOG_H
#define SDE_TESTS_CRASH_DISK_LOG_H

#include <stdint.h>

enum log_kind {
	LOG_WRITE,	/* bytes at offset: on the device some time after this */
	LOG_FLUSH,	/* all writes before it are on the device */
	LOG_MARK	/* what the workload says of itself; offset means nothing */
};

struct log_record {
	uint32_t kind, size;
	uint64_t offset;
};

#endif
