/* SPDX-License-Identifier: MIT */
/*
 * From the log of a logged disk to what the disk may hold after a power loss: an
 * image in memory, behind a loop device.
 *
 * At a record of the log everything before the last flush is on the device; of what
 * came after it nothing, all, any part in any order, or torn sectors.
 */
#ifndef SDE_TESTS_CRASH_DISK_REPLAY_H
#define SDE_TESTS_CRASH_DISK_REPLAY_H

#include "disk/log.h"
#include "disk_work.h"
#include "disks.h"

struct disk_replay {
	unsigned char *log;
	size_t log_size;
	const struct log_record **record;
	size_t records;
	unsigned char *durable;		/* everything before `flushed` */
	size_t size;
	size_t applied;			/* records that are in durable */
	size_t seen;			/* records of which the marks were looked at */
	struct disk_mark mark;
	struct numbered numbers;
	unsigned char *image;		/* memory of the file under the loop device */
	struct disks_loop loop;
};

/* Of base.img and log in the working directory, made by workload `number`. */
void disk_replay_open(struct disk_replay *p, uint64_t seed, uint64_t number);
void disk_replay_close(struct disk_replay *p);

/*
 * The disk as it may be if the power goes just before record `crash`; mark and
 * numbers become what was known by then. Never before an earlier one.
 */
void disk_replay_make(struct disk_replay *p, size_t crash, uint64_t *random);

/* How many writes are on their way just before each record, and at the end; malloc'd. */
unsigned *disk_replay_pending(const struct disk_replay *p);

#endif
