/* SPDX-License-Identifier: MIT */
/*
 * What publisher.c (the producer's side), publisher_steps.c and publisher_threads.c
 * (who takes the steps) share. Nobody else includes this.
 */
#ifndef SDE_LIB_PUBLISHER_STATE_H
#define SDE_LIB_PUBLISHER_STATE_H

#include "publisher.h"
#include "series.h"

#include <pthread.h>

#define SDE__JOBS_MAX 8		/* chunks in the making */

/*
 * Policy `chunk`: a filled segment is durable within 100 ms. The workers have half of
 * that for each; then the syncer does it.
 */
#define SDE__GRACE_NS UINT64_C(50000000)

/* How fast chunks come and go, ns: what policy `chunk` needs to keep its time. */
struct sde__pace {
	uint64_t room_at;		/* when the chunk that is being filled could begin */
	uint64_t fill;			/* how long the last one took */
	uint64_t sealed_at;		/* when the last one was sealed */
	uint64_t service;		/* how long one takes, of late */
	uint64_t full_at;		/* when a store last had to wait; 0: never */
};

enum sde__role {
	SDE__ROLE_ENCODE = 1,
	SDE__ROLE_WRITE = 2,
	SDE__ROLE_END = 4,	/* sync files that are whole, ahead of their sealing */
	SDE__ROLE_SEAL = 8,	/* one thread at most */
	SDE__ROLES = 15
};

enum sde__job_state {
	SDE__JOB_FREE,
	SDE__JOB_MAKING,	/* inner chunks are encoded and put into the file */
	SDE__JOB_MADE,		/* the file is whole and has no name */
	SDE__JOB_ENDING,	/* it is being synced, and will be made */
	SDE__JOB_SEALING
};

/* Inner chunks of a job: put <= ready <= done <= next. */
struct sde__job {
	enum sde__job_state state;
	struct sde__shard shard;
	uint64_t next, done;		/* taken by workers, finished */
	uint64_t ready;			/* finished, with all before them */
	bool *finished;			/* each */
	uint64_t enough;		/* that many are worth a step of writing */
	bool writing;			/* a thread puts some into the file */
	bool lost;			/* something failed: to be made again */
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
	/* CLOCK_MONOTONIC; there is something to encode; to write or seal; anything else
	 * below changed */
	pthread_cond_t encodable, writable, changed;
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
	uint64_t recycled_at[SDE__SEGMENTS_MAX]; /* ns; when a segment's pages were looked at; 0: never */
	struct sde__pace pace;
	struct sde_error failure;
	int failed;			/* atomic; failure.code */
	bool paused, stop;
	unsigned active;		/* threads inside a step */
	unsigned resting;		/* of those that do not encode, waiting for something to write */
	struct sde__job job[SDE__JOBS_MAX];
	unsigned jobs;
	struct sde__series time, iteration;
	uint64_t files, bytes;		/* of chunk files */
	uint64_t last_file, last_bytes;	/* the newest: a partial one is replaced */
	void *raw;			/* of the synchronous mode */
	struct sde__worker *worker;	/* workers, the sealer, writers, the syncer */
	unsigned workers;
};

uint64_t sde__publisher_now(void);
/*
 * Under the policy `chunk`: when the next chunk may begin, if it is to be sealed in time
 * once it is filled; 0: at once. See publisher.c.
 */
uint64_t sde__publisher_begin_due(const struct sde__publisher *publisher, uint64_t chunk,
				  uint64_t now);
/* Lock held in all that follow. */
void sde__publisher_set_failure(struct sde__publisher *publisher, const struct sde_error *why);
/* Wake who waits for anything. */
void sde__publisher_wake_all(struct sde__publisher *publisher);
/* Whatever is in the making is dropped. */
void sde__publisher_drop_jobs(struct sde__publisher *publisher);
/* Take one step of these roles, if there is one to take. */
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
