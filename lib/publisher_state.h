/* SPDX-License-Identifier: MIT */
/*
 * What publisher.c (the steps) and publisher_threads.c (who takes them) share.
 * Nobody else includes this.
 */
#ifndef SDE_LIB_PUBLISHER_STATE_H
#define SDE_LIB_PUBLISHER_STATE_H

#include "publisher.h"
#include "series.h"

#include <pthread.h>

#define SDE__JOBS 2	/* chunks in the making */

enum sde__role {
	SDE__ROLE_ENCODE = 1,
	SDE__ROLE_SEAL = 2	/* one thread at most */
};

enum sde__job_state {
	SDE__JOB_FREE,
	SDE__JOB_ENCODING,
	SDE__JOB_ENCODED,
	SDE__JOB_SEALING
};

struct sde__job {
	enum sde__job_state state;
	struct sde__shard shard;
	uint64_t next, done;		/* inner chunks taken, finished */
	bool lost;			/* encoding failed */
};

struct sde__worker {
	struct sde__publisher *publisher;
	pthread_t thread;
	void *raw;			/* one inner chunk; NULL for the sealer */
	unsigned roles;
};

struct sde__publisher {
	struct sde__publisher_config config;
	bool durable;			/* sync is not none */
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* CLOCK_MONOTONIC; anything below changed */
	/* chunks: sealed <= begun <= filled */
	uint64_t filled;		/* complete in the ring */
	uint64_t begun;			/* a job has them or had them */
	uint64_t sealed;		/* atomic; in files, their segments free */
	/* snapshots: published <= held */
	uint64_t held;			/* in files */
	uint64_t published;		/* in the metadata */
	uint64_t target;		/* what save or hold waits for, or 0 */
	bool holding;			/* it is hold: the metadata can wait */
	uint64_t partial_begun;		/* the last target that began a partial chunk */
	uint64_t published_at;		/* ns */
	uint64_t filled_at[SDE__SEGMENTS_MAX];	/* ns; when chunk k was, at k % that */
	struct sde_error failure;
	int failed;			/* atomic; failure.code */
	bool paused, stop;
	unsigned active;		/* threads inside a step */
	struct sde__job job[SDE__JOBS];
	struct sde__series time, iteration;
	uint64_t files, bytes;		/* of chunk files */
	uint64_t last_file, last_bytes;	/* the newest: a partial one is replaced */
	void *raw;			/* of the synchronous mode */
	struct sde__worker *worker;	/* workers, then the sealer, then the syncer */
	unsigned workers;
};

uint64_t sde__publisher_now(void);
bool sde__publisher_step(struct sde__publisher *publisher, unsigned roles, void *raw);
/*
 * When the syncer is to sync the ring next, UINT64_MAX if there is nothing to wait for,
 * and how far: under the policy `chunk` what will not have been sealed in time, under
 * `interval` everything. `last`: when it did so last.
 */
uint64_t sde__publisher_sync_due(const struct sde__publisher *publisher, uint64_t last,
				 uint64_t now, uint64_t *upto);
uint64_t sde__publisher_wake_time(const struct sde__publisher *publisher, unsigned roles);

#endif
