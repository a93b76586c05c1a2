/* SPDX-License-Identifier: MIT */
/* Threads that share numbered jobs: see crew.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "crew.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

struct shift {
	const struct sde__crew *crew;
	uint64_t jobs;
	uint64_t next;			/* atomic */
	unsigned seats;			/* atomic: numbers threads */
	pthread_mutex_t lock;		/* guards what is below */
	uint64_t failed;		/* the first job that did; UINT64_MAX */
	int code;
	struct sde_error error;
};

static void fail(struct shift *shift, uint64_t job, int code, const struct sde_error *why)
{
	pthread_mutex_lock(&shift->lock);
	if (job < shift->failed) {
		shift->code = code;
		shift->error = *why;
		__atomic_store_n(&shift->failed, job, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&shift->lock);
}

/*
 * A thread that cannot begin fails a job that it has taken, as any other failure:
 * that it could not is told by the job that it was needed for.
 */
static void *take_jobs(void *arg)
{
	struct shift *shift = arg;
	const struct sde__crew *crew = shift->crew;
	const unsigned thread = __atomic_fetch_add(&shift->seats, 1, __ATOMIC_RELAXED);
	struct sde_error why = { 0 };
	void *own = NULL;
	bool begun = false;
	uint64_t job;
	int ret = 0;

	while (!ret && __atomic_load_n(&shift->failed, __ATOMIC_RELAXED) == UINT64_MAX) {
		job = __atomic_fetch_add(&shift->next, 1, __ATOMIC_RELAXED);
		if (job >= shift->jobs)
			break;
		if (!begun)
			ret = crew->begin(crew->ctx, thread, &own, &why);
		begun = !ret;
		if (!ret)
			ret = crew->work(crew->ctx, own, job, &why);
		if (ret)
			fail(shift, job, ret, &why);
	}
	if (own)
		crew->end(crew->ctx, own);
	return NULL;
}

static unsigned hire(struct shift *shift, pthread_t *threads, unsigned count)
{
	sigset_t all, before;
	unsigned n = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (n < count && !pthread_create(&threads[n], NULL, take_jobs, shift))
		n++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n;
}

int sde__crew_run(const struct sde__crew *crew, unsigned threads, uint64_t jobs,
		  struct sde_error *error)
{
	struct shift shift = { .crew = crew, .jobs = jobs, .failed = UINT64_MAX };
	pthread_t others[SDE__CREW_MAX];
	unsigned n = 0;

	if (threads > SDE__CREW_MAX)
		threads = SDE__CREW_MAX;
	if (threads > jobs)
		threads = (unsigned)jobs;
	pthread_mutex_init(&shift.lock, NULL);
	if (threads > 1)
		n = hire(&shift, others, threads - 1);
	take_jobs(&shift);
	for (unsigned i = 0; i < n; i++)
		pthread_join(others[i], NULL);
	pthread_mutex_destroy(&shift.lock);
	if (shift.code && shift.error.code)
		sde__fail(error, shift.code, "%s", shift.error.text);
	return shift.code;
}
