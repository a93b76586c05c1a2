/* SPDX-License-Identifier: MIT */
/* Prepared stores, and who opens them: see planted.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "planted.h"

#include "sanitized.h"
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/*
 * What a child may map beyond what it has: 16 MiB of buffers, a ring of some pages,
 * two stacks of 8 MiB, malloc's arenas of 64 MiB each for its threads.
 */
#define SPARE ((rlim_t)300 << 20)
#define SECONDS 20
#define VICTIM "this must stay as it is\n"

/* ------------------------------------------------------------------------
 * Files
 */

void planted_write(const char *path, const void *bytes, size_t n)
{
	scratch_write(path, bytes, n);
}

void planted_poke(const char *path, long offset, const void *bytes, size_t n)
{
	size_t size;
	unsigned char *all = scratch_read(path, &size);
	const size_t at = offset < 0 ? size - (size_t)-offset : (size_t)offset;

	assert_true(at + n <= size);
	memcpy(all + at, bytes, n);
	scratch_write(path, all, size);
	free(all);
}

/* Where a JSON value ends: a bracket's partner, or before the comma. */
static const char *value_end(const char *p)
{
	int depth = 0;

	for (; *p; p++) {
		if (*p == '[' || *p == '{')
			depth++;
		if (!depth && strchr(",}]\n", *p))
			break;
		if ((*p == ']' || *p == '}') && !--depth)
			return p + 1;
	}
	return p;
}

void planted_set(const char *path, const char *key, unsigned which, const char *value)
{
	size_t size;
	char *text = (char *)scratch_read(path, &size), *changed = NULL, quoted[64];
	const char *p = text;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	for (unsigned i = 0; i <= which; i++) {
		p = strstr(p, quoted);
		if (!p) {
			fail_msg("'%s' has no %s", path, quoted);
			return;
		}
		p += strlen(quoted) + 1;
	}
	if (asprintf(&changed, "%.*s%s%s", (int)(p - text), text, value, value_end(p)) < 0) {
		fail_msg("out of memory");
		return;
	}
	scratch_write(path, changed, strlen(changed));
	free(changed);
	free(text);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	if (scratch_exists(path))
		assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ------------------------------------------------------------------------
 * The store
 */

static struct sde_zarr_options options_of(const struct planted_store *store)
{
	struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;

	options.zarr_format = store->format;
	options.codec = store->codec;
	options.checksum = store->checksum;
	options.chunk_size = PLANTED_CHUNK;
	options.trajectories_per_chunk = PLANTED_INNER;
	options.state_capacity = 8;
	options.segments = 2;
	options.threads = 1;
	options.sync = SDE_SYNC_NONE;
	return options;
}

static int store_some(struct sde_storage *storage, uint64_t count)
{
	double x[PLANTED_DIMENSION][PLANTED_TRAJECTORIES];
	int ret = 0;

	for (uint64_t k = 0; k < count && !ret; k++) {
		for (int i = 0; i < PLANTED_DIMENSION * PLANTED_TRAJECTORIES; i++)
			x[i / PLANTED_TRAJECTORIES][i % PLANTED_TRAJECTORIES] = (double)k + i;
		ret = sde_storage_store(storage, (double)k, x, k);
	}
	return ret;
}

static void make_store(const struct planted_store *store)
{
	const struct sde_ensemble ensemble = { PLANTED_DIMENSION, PLANTED_TRAJECTORIES, SDE_FLOAT64 };
	const struct sde_zarr_options options = options_of(store);
	struct sde_storage *storage;
	int ret;

	ret = sde_zarr_storage_create(&storage, PLANTED_STORE, &ensemble, &options, NULL);
	if (!ret)
		ret = store_some(storage, PLANTED_SNAPSHOTS);
	if (!ret && store->crashed)
		_exit(0);	/* as good as killed */
	if (!ret)
		ret = sde_storage_close(storage);
	_exit(ret ? 1 : 0);
}

/* In a child as well: this process has one thread and no files of a store. */
void planted_make(const struct planted_store *store)
{
	pid_t child;
	int status;

	remove_tree("inside");
	remove_tree("outside");
	assert_int_equal(mkdir("inside", 0777), 0);
	assert_int_equal(mkdir("outside", 0777), 0);
	assert_int_equal(mkdir("outside/empty", 0777), 0);
	scratch_write("outside/victim", VICTIM, strlen(VICTIM));
	fflush(NULL);
	child = fork();
	if (!child)
		make_store(store);
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* ------------------------------------------------------------------------
 * What is done to it
 */

/* What a child tells: the first failure. */
struct outcome {
	struct sde_error first;
	bool wordless;		/* a failure without a sentence */
};

static bool failed(struct outcome *o, int ret, const struct sde_error *error)
{
	if (!ret)
		return false;
	o->wordless |= !error->text[0] || error->code != ret;
	if (!o->first.code) {
		o->first = *error;
		o->first.code = ret;
	}
	return true;
}

static bool storage_failed(struct outcome *o, struct sde_storage *storage, int ret)
{
	struct sde_error error;

	sde_storage_error(storage, &error);
	return failed(o, ret, &error);
}

/* The first numbers and the last ones, as many as a page takes. */
static void read_array(struct outcome *o, struct sde_array *array)
{
	static double numbers[512];
	const unsigned ndim = sde_array_ndim(array);
	const uint64_t *shape = sde_array_shape(array);
	uint64_t start[3] = { 0 }, count[3];
	struct sde_error error;
	const void *base;
	int64_t strides[3];
	int ret;

	for (int end = 0; end < 2; end++) {
		for (unsigned i = 0; i < ndim; i++) {
			count[i] = shape[i] < 8 ? shape[i] : 8;
			start[i] = end ? shape[i] - count[i] : 0;
		}
		ret = sde_array_read(array, start, count, NULL, numbers, sizeof(numbers));
		sde_array_error(array, &error);
		failed(o, ret, &error);
	}
	/* no memory beyond this budget: its -ENOMEM is an answer, not a want */
	ret = sde_array_map(array, 1 << 16, &base, strides);
	sde_array_error(array, &error);
	if (ret && ret != -ENOMEM && ret != SDE_E_UNSUPPORTED)
		failed(o, ret, &error);
}

static void on_damage(void *ctx, uint64_t first, uint64_t count, int code, const char *text)
{
	struct outcome *o = ctx;

	(void)first;
	if (!count || code >= 0 || !*text)
		o->wordless = true;
}

static void read_all(struct outcome *o, struct sde_storage *storage)
{
	const struct sde_verify verify = { .damage = on_damage, .ctx = o };
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_array *array[3] = { NULL };
	char state[64];
	size_t n = sizeof(state);
	int ret;

	storage_failed(o, storage, sde_storage_info(storage, &info));
	ret = sde_storage_values(storage, &array[0], &array[1]);
	if (ret != SDE_E_NO_DATA)
		storage_failed(o, storage, ret);
	ret = sde_storage_iterations(storage, &array[2]);
	if (ret != SDE_E_NO_DATA)
		storage_failed(o, storage, ret);
	for (int i = 0; i < 3; i++)
		if (array[i])
			read_array(o, array[i]);
	ret = sde_storage_state(storage, state, &n);
	if (ret != SDE_E_NO_DATA)
		storage_failed(o, storage, ret);
	storage_failed(o, storage, sde_storage_verify(storage, &verify));
	for (int i = 0; i < 3; i++)
		sde_array_close(array[i]);
}

static void open_it(struct outcome *o)
{
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	if (failed(o, sde_storage_open(&storage, PLANTED_STORE, NULL, &error), &error))
		return;
	read_all(o, storage);
	failed(o, sde_storage_close_error(storage, &error), &error);
}

static void resume_it(struct outcome *o)
{
	const struct planted_store any = { .format = 0 };
	struct sde_zarr_options options = options_of(&any);
	struct sde_storage_info info = SDE_STORAGE_INFO_INIT;
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	options.chunk_size = options.trajectories_per_chunk = options.state_capacity = 0;
	if (failed(o, sde_zarr_storage_resume(&storage, PLANTED_STORE, &options, &error), &error))
		return;
	storage_failed(o, storage, sde_storage_info(storage, &info));
	/* what is stored here has the right size only of the right shape */
	if (info.ensemble.dimension == PLANTED_DIMENSION &&
	    info.ensemble.trajectories == PLANTED_TRAJECTORIES)
		storage_failed(o, storage, store_some(storage, 6));
	storage_failed(o, storage, sde_storage_save(storage));
	storage_failed(o, storage, sde_storage_truncate(storage, info.committed / 2));
	failed(o, sde_storage_close_error(storage, &error), &error);
}

static void overwrite_it(struct outcome *o)
{
	const struct sde_ensemble ensemble = { PLANTED_DIMENSION, PLANTED_TRAJECTORIES, SDE_FLOAT64 };
	const struct planted_store new = { .format = 3 };
	struct sde_zarr_options options = options_of(&new);
	struct sde_storage *storage;
	struct sde_error error = { 0 };

	options.overwrite = 1;
	if (failed(o, sde_zarr_storage_create(&storage, PLANTED_STORE, &ensemble, &options, &error),
		   &error))
		return;
	storage_failed(o, storage, store_some(storage, 3));
	failed(o, sde_storage_close_error(storage, &error), &error);
}

static void repair_it(struct outcome *o)
{
	for (int i = 0; i < 3; i++) {
		struct sde_repair_options options = SDE_REPAIR_OPTIONS_INIT;
		struct sde_error error = { 0 };

		options.dry_run = i == 0;
		options.truncate = i == 2;
		options.snapshots = 2;
		failed(o, sde_zarr_storage_repair(PLANTED_STORE, &options, &error), &error);
	}
}

/* ------------------------------------------------------------------------
 * In a child
 */

static const char *tool(const char *name)
{
	const char *build = getenv("BUILD");
	static char path[4096];

	snprintf(path, sizeof(path), "%s/tools/%s", build ? build : "build", name);
	return path;
}

bool planted_has_tools(void)
{
	if (!access(tool("sde-inspect"), X_OK) && !access(tool("sde-export"), X_OK))
		return true;
	print_message("# the tools are not built: not tried\n");
	return false;
}

static _Noreturn void run_tool(enum planted_operation operation)
{
	const int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	if (operation == PLANTED_EXPORT)
		execl(tool("sde-export"), "sde-export", "-o", "outside/exported.npz", PLANTED_STORE,
		      (char *)NULL);
	else if (operation == PLANTED_VERIFY)
		execl(tool("sde-inspect"), "sde-inspect", "--verify", PLANTED_STORE, (char *)NULL);
	else
		execl(tool("sde-inspect"), "sde-inspect", PLANTED_STORE, (char *)NULL);
	_exit(127);
}

static uint64_t mapped_bytes(void)
{
	unsigned long long pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%llu", &pages) != 1)
		_exit(126);
	fclose(file);
	return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static _Noreturn void be_child(enum planted_operation operation, int report)
{
	const struct rlimit limit = { mapped_bytes() + SPARE, mapped_bytes() + SPARE };
	/* what fills a disk is refused like a full one, without a signal */
	const struct rlimit files = { (rlim_t)64 << 20, (rlim_t)64 << 20 };
	struct outcome o = { .wordless = false };

	alarm(SECONDS);
	signal(SIGXFSZ, SIG_IGN);
	if (!SANITIZED)
		setrlimit(RLIMIT_AS, &limit);
	setrlimit(RLIMIT_FSIZE, &files);
	if (operation >= PLANTED_INSPECT)
		run_tool(operation);
	if (operation == PLANTED_OPEN)
		open_it(&o);
	else if (operation == PLANTED_RESUME)
		resume_it(&o);
	else if (operation == PLANTED_OVERWRITE)
		overwrite_it(&o);
	else
		repair_it(&o);
	if (write(report, &o, sizeof(o)) != sizeof(o))
		_exit(125);
	_exit(0);
}

static void check_outside(const char *what, bool exported)
{
	size_t size;
	unsigned char *bytes = scratch_read("outside/victim", &size);

	if (size != strlen(VICTIM) || memcmp(bytes, VICTIM, size) != 0)
		fail_msg("%s: the victim was changed", what);
	free(bytes);
	if (exported)
		unlink("outside/exported.npz");
	if (scratch_entries("outside") != 2 || scratch_entries("outside/empty") != 0)
		fail_msg("%s: something was written outside the store", what);
	if (scratch_entries("inside") != 1)
		fail_msg("%s: something is left beside the store", what);
}

static unsigned tries;

unsigned planted_tries(void)
{
	return tries;
}

int planted_try(enum planted_operation operation, const char *what)
{
	struct outcome o = { .wordless = false };
	int ends[2], status;
	pid_t child;

	tries++;
	assert_int_equal(pipe(ends), 0);
	fflush(NULL);
	child = fork();
	if (!child)
		be_child(operation, ends[1]);
	assert_true(child > 0);
	close(ends[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFSIGNALED(status))
		fail_msg("%s: operation %d ended by signal %d%s", what, (int)operation,
			 WTERMSIG(status), WTERMSIG(status) == SIGALRM ? " (it hung)" : "");
	if (operation < PLANTED_INSPECT) {
		if (WEXITSTATUS(status) || read(ends[0], &o, sizeof(o)) != sizeof(o))
			fail_msg("%s: operation %d ended with status %d", what, (int)operation,
				 WEXITSTATUS(status));
		if (o.wordless)
			fail_msg("%s: operation %d failed without a sentence", what, (int)operation);
		if (o.first.code == -ENOMEM)
			fail_msg("%s: operation %d took memory for nothing: %s", what,
				 (int)operation, o.first.text);
		if (o.first.code)
			print_message("#\t%s, %d: %s\n", what, (int)operation, o.first.text);
	} else if (WEXITSTATUS(status) >= 64) {
		fail_msg("%s: the tool (%d) ended with status %d", what, (int)operation,
			 WEXITSTATUS(status));
	}
	close(ends[0]);
	check_outside(what, operation == PLANTED_EXPORT);
	return operation < PLANTED_INSPECT ? o.first.code : WEXITSTATUS(status);
}
