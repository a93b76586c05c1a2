/* SPDX-License-Identifier: MIT */
/*
 * Write stores for other people's readers to read.
 *
 *	cases [SPECIFICATION]
 *
 * One store a line of standard input, or the one of the argument. A specification
 * is words NAME=VALUE (see `names` below and the defaults in parse) of which
 * ops= lists what to do, separated by commas:
 *
 *	store:K		K snapshots		save, sync	as they are called
 *	truncate:K	to K snapshots
 *	kill		SIGKILL; what follows is done by a process that resumes; without it
 *			the store is closed in the end
 *	close		the same, but it is closed
 *	wait		say "ready", go on at the end of standard input
 *	stream:K	store and publish all the time until the end of standard
 *			input, K snapshots at most
 *
 * What is written, so that it can be computed elsewhere: the s-th snapshot ever
 * stored (also if truncate took it back) has time (s - 3) / 8, iteration
 * stride * (2 s + 1), and as component d of trajectory n the bits
 *	h = mix(mix(mix(mix(case) + s) + d) + n)	(mod 2^64)
 * float32 the upper half of them; but with k = h mod 16
 *	k = 0	NaN: exponent all ones, mantissa h's with the lowest bit set
 *	k = 1	infinity, h's sign		k = 3	exponent 0, else h
 *	k = 2	-0.0				k = 4	0.0
 * values=1 takes k mod 5, values=2 d = n = s = 0 everywhere, values=3 d = s = 0 and
 * n / 8 for n, values=4 the number 1 + (h mod 65536) / 65536 + s.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <sdestore.h>

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ATTRIBUTES \
	"{\"seed\": 9007199254740993, \"dt\": 0.25, \"empty\": {}, " \
	"\"list\": [1, null, true, \"\xc3\xa9\"], \"text\": \"a \\\"quoted\\\" \\\\ \\n line\"}"

enum name { ID, FLOAT, D, N, INNER, T, STRIDE, CODEC, CHECKSUM, LAYOUT, STATE, SYNC, UNITS,
	    ATTRIBUTED, VALUES, FORMAT, KEEPBITS, NAMES };
static const char *const names[NAMES] = {
	"case", "float", "d", "N", "n", "T", "stride", "codec", "checksum", "layout", "state",
	"sync", "units", "attributes", "values", "format", "keepbits",
};
enum { HASH, SPECIAL, CONSTANT, COLUMNS, SMOOTH };	/* values= */

struct specification {
	char path[256], ops[1024];
	uint64_t number[NAMES];
};

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* `h` bent to what k says; the masks are those of the format's width. */
static uint64_t bend(uint64_t h, uint64_t k, uint64_t sign, uint64_t exponent)
{
	switch (k) {
	case 0:
		return h | exponent | 1;
	case 1:
		return (h & sign) | exponent;
	case 2:
		return sign;
	case 3:
		return h & ~exponent;
	case 4:
		return 0;
	}
	return h;
}

static uint64_t smooth_bits(uint64_t width, uint64_t h, uint64_t stamp)
{
	const double x = 1 + (double)(h % 65536) / 65536 + (double)stamp;
	const float narrow = (float)x;
	uint64_t bits = 0;

	memcpy(&bits, width == 32 ? (const void *)&narrow : (const void *)&x,
	       width == 32 ? sizeof(narrow) : sizeof(x));
	return bits;
}

static uint64_t value_bits(const struct specification *s, uint64_t stamp, uint64_t d, uint64_t n)
{
	uint64_t h, k;

	if (s->number[VALUES] == CONSTANT)
		stamp = d = n = 0;
	if (s->number[VALUES] == COLUMNS) {
		stamp = d = 0;
		n /= 8;
	}
	h = mix(mix(mix(mix(s->number[ID]) + stamp) + d) + n);
	if (s->number[VALUES] == SMOOTH)
		return smooth_bits(s->number[FLOAT], h, stamp);
	k = h % 16;
	if (s->number[VALUES] == SPECIAL)
		k %= 5;
	return s->number[FLOAT] == 32 ?
	       bend(h >> 32, k, UINT64_C(1) << 31, UINT64_C(0x7f800000)) :
	       bend(h, k, UINT64_C(1) << 63, UINT64_C(0x7ff0000000000000));
}

static void fill(const struct specification *s, uint64_t stamp, void *to)
{
	const uint64_t dimension = s->number[D], width = s->number[N];

	for (uint64_t d = 0; d < dimension; d++)
		for (uint64_t n = 0; n < width; n++) {
			const uint64_t bits = value_bits(s, stamp, d, n);
			const uint32_t half = (uint32_t)bits;
			const uint64_t at = s->number[LAYOUT] == SDE_LAYOUT_TRAJECTORY_DIMENSION ?
					    n * dimension + d : d * width + n;

			if (s->number[FLOAT] == 32)
				memcpy((char *)to + 4 * at, &half, 4);
			else
				memcpy((char *)to + 8 * at, &bits, 8);
		}
}

/* ------------------------------------------------------------------------ */

static _Noreturn void die(const struct specification *s, const char *what, const char *why)
{
	fprintf(stderr, "cases: '%s': %s: %s\n", s->path, what, why);
	_exit(1);
}

static _Noreturn void die_of(const struct specification *s, struct sde_storage *storage,
			     const char *what)
{
	struct sde_error error = { 0 };

	sde_storage_error(storage, &error);
	die(s, what, error.text);
}

static void parse(struct specification *s, char *line)
{
	char *word, *rest;

	memset(s, 0, sizeof(*s));
	s->number[FLOAT] = 64;
	s->number[D] = s->number[STRIDE] = 1;
	s->number[N] = 8;
	s->number[SYNC] = SDE_SYNC_NONE;
	for (word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest)) {
		char *value = strchr(word, '=');
		int i = 0;

		if (!value)
			die(s, "no value", word);
		*value++ = '\0';
		if (!strcmp(word, "path") || !strcmp(word, "ops")) {
			snprintf(*word == 'p' ? s->path : s->ops,
				 *word == 'p' ? sizeof(s->path) : sizeof(s->ops), "%s", value);
			continue;
		}
		while (i < NAMES && strcmp(names[i], word))
			i++;
		if (i == NAMES)
			die(s, "no such name", word);
		s->number[i] = strtoull(value, NULL, 10);
	}
}

static struct sde_storage *begin(const struct specification *s, bool resume)
{
	const struct sde_ensemble ensemble = { s->number[D], s->number[N],
					       s->number[FLOAT] == 32 ? SDE_FLOAT32 : SDE_FLOAT64 };
	struct sde_zarr_options o = SDE_ZARR_OPTIONS_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };
	int ret;

	o.zarr_format = (unsigned)s->number[FORMAT];
	o.chunk_size = s->number[T];
	o.trajectories_per_chunk = s->number[INNER];
	o.stride = s->number[STRIDE];
	o.codec = (enum sde_codec)s->number[CODEC];
	o.checksum = (enum sde_checksum)s->number[CHECKSUM];
	o.layout = (enum sde_layout)s->number[LAYOUT];
	o.sync = (enum sde_sync)s->number[SYNC];
	o.state_capacity = (unsigned)s->number[STATE];
	o.keepbits = (unsigned)s->number[KEEPBITS];
	if (!resume) {
		o.time_units = s->number[UNITS] ? "s" : NULL;
		o.attributes = s->number[ATTRIBUTED] ? ATTRIBUTES : NULL;
	}
	ret = resume ? sde_zarr_storage_resume(&storage, s->path, &o, &error) :
	      sde_zarr_storage_create(&storage, s->path, &ensemble, &o, &error);
	if (ret)
		die(s, resume ? "resume" : "create", error.text);
	return storage;
}

static void store(const struct specification *s, struct sde_storage *storage, uint64_t stamp)
{
	const uint64_t iteration = s->number[STRIDE] * (2 * stamp + 1);
	void *values = malloc((size_t)(s->number[D] * s->number[N] * s->number[FLOAT] / 8));
	unsigned char state[4] = { 1, 2, 3, (unsigned char)stamp };

	if (!values)
		die(s, "store", "out of memory");
	fill(s, stamp, values);
	if (s->number[STATE] && sde_storage_set_state(storage, state, 1 + stamp % 4))
		die_of(s, storage, "set_state");
	/* skipped by stride */
	if (s->number[STRIDE] > 1 && sde_storage_store(storage, NAN, values, iteration - 1))
		die_of(s, storage, "store");
	if (sde_storage_store(storage, ((double)stamp - 3) / 8, values, iteration))
		die_of(s, storage, "store");
	free(values);
}

static bool input_ended(void)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

static void stream(const struct specification *s, struct sde_storage *storage, uint64_t *stamp,
		   uint64_t most)
{
	const struct timespec nap = { 0, 2000000 };

	for (uint64_t i = 0; i < most && !input_ended(); i++) {
		store(s, storage, (*stamp)++);
		if (sde_storage_save(storage))
			die_of(s, storage, "save");
		nanosleep(&nap, NULL);
	}
}

static bool is(const char *op, const char *name)
{
	return !strncmp(op, name, strlen(name));
}

static void do_one(const struct specification *s, struct sde_storage *storage, const char *op,
		   uint64_t k, uint64_t *stamp)
{
	int ret = 0;

	if (is(op, "store"))
		for (uint64_t i = 0; i < k; i++)
			store(s, storage, (*stamp)++);
	else if (is(op, "save"))
		ret = sde_storage_save(storage);
	else if (is(op, "sync"))
		ret = sde_storage_sync(storage);
	else if (is(op, "truncate"))
		ret = sde_storage_truncate(storage, k);
	else if (is(op, "stream"))
		stream(s, storage, stamp, k);
	else if (is(op, "wait")) {
		puts("ready");
		fflush(stdout);
		while (getchar() != EOF)
			;
	} else if (is(op, "kill"))
		raise(SIGKILL);
	else
		die(s, "no such operation", op);
	if (ret)
		die_of(s, storage, op);
}

/* The number behind the colon of an operation, and the operation after it. */
static uint64_t number_of(const char *op, const char **next)
{
	const char *end = strchrnul(op, ','), *colon = memchr(op, ':', (size_t)(end - op));

	*next = *end ? end + 1 : end;
	return colon ? strtoull(colon + 1, NULL, 10) : 0;
}

static _Noreturn void work(const struct specification *s, const char *op, uint64_t stamp,
			   bool resume)
{
	struct sde_storage *storage = begin(s, resume);
	struct sde_error error = { 0 };

	while (*op) {
		const char *next;
		const uint64_t k = number_of(op, &next);

		if (is(op, "close"))
			break;
		do_one(s, storage, op, k, &stamp);
		op = next;
	}
	if (sde_storage_close_error(storage, &error))
		die(s, "close", error.text);
	_exit(0);
}

/*
 * All operations, up to each kill by a process of its own; the stamp counts on.
 */
static void write_store(char *line)
{
	struct specification s;
	uint64_t stamp = 0;
	const char *op;
	bool resume = false;

	parse(&s, line);
	op = s.ops;
	do {
		const pid_t child = fork();
		bool killed = false, closed = false;
		int status;

		if (!child)
			work(&s, op, stamp, resume);
		if (child < 0 || waitpid(child, &status, 0) != child)
			die(&s, "no process", strerror(errno));
		while (*op && !killed && !closed) {
			const char *next;
			const uint64_t k = number_of(op, &next);

			killed = is(op, "kill");
			closed = is(op, "close");
			stamp += is(op, "store") ? k : 0;
			op = next;
		}
		if (killed ? !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL : status)
			exit(1);
		resume = true;
		/* what is killed last stays so */
	} while (*op);
}

int main(int argc, char *argv[])
{
	char line[4096];

	if (argc == 2) {
		write_store(argv[1]);
		return 0;
	}
	while (fgets(line, sizeof(line), stdin))
		write_store(line);
	return 0;
}
