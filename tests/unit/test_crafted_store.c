/* SPDX-License-Identifier: MIT */
/*
 * Stores that somebody has prepared to harm whoever opens them: links that lead out,
 * pipes that nobody writes to, numbers that ask for all memory there is. Whatever is
 * done with them ends in an error with a sentence, in time, in the memory that their
 * files justify, and with everything outside as it was.
 *
 * tests/unit has damage to single bytes; tests/fuzz has what nobody thought of.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "planted.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define S PLANTED_STORE "/"
#define OUT "/outside/"

/* What is planted, where, in which store. */
struct craft {
	const char *name;		/* of the file in the store, or of the craft */
	void (*plant)(const struct craft *craft);
	const char *text;		/* for it */
	bool crashed;
	unsigned format;
	bool harmless;			/* opening may succeed in all */
	int resume;			/* must fail so; 0: no matter */
};

static void try_all(const struct craft *crafts, size_t count)
{
	const bool tools = planted_has_tools();

	for (size_t i = 0; i < count; i++) {
		const struct craft *c = &crafts[i];
		const struct planted_store store = { .format = c->format, .crashed = c->crashed };

		for (int op = 0; op < (tools ? PLANTED_OPERATIONS : PLANTED_INSPECT); op++) {
			int ret;

			planted_make(&store);
			c->plant(c);
			ret = planted_try((enum planted_operation)op, c->name);
			if (op == PLANTED_OPEN && !ret && !c->harmless)
				fail_msg("%s: nobody noticed", c->name);
			if (op == PLANTED_RESUME && c->resume && ret != c->resume)
				fail_msg("%s: resume gives %d", c->name, ret);
		}
	}
}
#define TRY_ALL(crafts) try_all(crafts, sizeof(crafts) / sizeof((crafts)[0]))

/* ------------------------------------------------------------------------
 * Links, pipes, directories
 */

static void path_of(const struct craft *c, char out[512])
{
	snprintf(out, 512, S "%s", c->name);
}

static void link_to(const struct craft *c, const char *target)
{
	char path[512];

	path_of(c, path);
	if (scratch_exists(path)) {
		assert_int_equal(rename(path, "moved"), 0);
		assert_int_equal(system("rm -rf moved"), 0);
	}
	assert_int_equal(symlink(target, path), 0);
}

static void absolute(const char *name, char out[4096 + 64])
{
	char here[4096];

	assert_non_null(getcwd(here, sizeof(here)));
	snprintf(out, 4096 + 64, "%s%s", here, name);
}

static void link_to_victim(const struct craft *c)
{
	char target[4096 + 64];

	absolute(OUT "victim", target);
	link_to(c, target);
}

static void link_to_directory(const struct craft *c)
{
	char target[4096 + 64];

	absolute(OUT "empty", target);
	link_to(c, target);
}

static void link_to_nothing(const struct craft *c)
{
	char target[4096 + 64];

	absolute(OUT "nothing", target);
	link_to(c, target);
}

/* The real thing lies behind the link: only its being a link is wrong. */
static void link_to_itself_elsewhere(const struct craft *c)
{
	char path[512], aside[512], target[4096 + 64];

	path_of(c, path);
	snprintf(aside, sizeof(aside), S "aside");
	assert_int_equal(rename(path, aside), 0);
	absolute("/" S "aside", target);
	assert_int_equal(symlink(target, path), 0);
}

static void links_are_not_followed(void **state)
{
	static const struct craft crafts[] = {
		{ .name = "zarr.json", .plant = link_to_victim },
		{ .name = "zarr.json", .plant = link_to_itself_elsewhere },
		{ .name = "data", .plant = link_to_directory },
		{ .name = "data", .plant = link_to_itself_elsewhere },
		{ .name = "data/zarr.json", .plant = link_to_itself_elsewhere },
		{ .name = "data/c", .plant = link_to_directory },
		{ .name = "data/c/0", .plant = link_to_itself_elsewhere },
		{ .name = "data/c/0/0", .plant = link_to_directory },
		{ .name = "data/c/0/0/0", .plant = link_to_victim },
		{ .name = "data/c/0/0/1", .plant = link_to_itself_elsewhere },
		{ .name = "data/c/0/0/2", .plant = link_to_nothing },
		{ .name = "time/c", .plant = link_to_directory },
		{ .name = "time/c/0", .plant = link_to_victim },
		{ .name = "time/c/0", .plant = link_to_itself_elsewhere },
		{ .name = "iteration/c/0", .plant = link_to_nothing },
		{ .name = "data/.ring", .plant = link_to_directory },
		{ .name = "data/.ring", .plant = link_to_nothing },
		{ .name = "data/.ring", .plant = link_to_itself_elsewhere, .crashed = true },
		{ .name = "data/.ring/header", .plant = link_to_victim, .crashed = true },
		{ .name = "data/.ring/header", .plant = link_to_itself_elsewhere, .crashed = true },
		{ .name = "data/.ring/segment.0", .plant = link_to_victim, .crashed = true },
		{ .name = "data/.ring/lock", .plant = link_to_victim, .crashed = true },
		{ .name = "data/.ring/lock", .plant = link_to_nothing, .crashed = true },
		{ .name = ".zgroup", .plant = link_to_itself_elsewhere, .format = 2, .harmless = true },
		{ .name = ".zattrs", .plant = link_to_victim, .format = 2 },
		{ .name = "data/0.0.0", .plant = link_to_itself_elsewhere, .format = 2 },
		{ .name = "data/.side", .plant = link_to_directory, .format = 2 },
		{ .name = "data/.side/1", .plant = link_to_victim, .format = 2 },
		{ .name = "time/0", .plant = link_to_victim, .format = 2 },
	};

	(void)state;
	TRY_ALL(crafts);
}

/* Names that the library itself writes to, taken already by links that lead out. */
static void names_that_will_be_written_are_not_followed(void **state)
{
	static const struct craft crafts[] = {
		{ .name = "zarr.json.tmp", .plant = link_to_victim, .harmless = true },
		{ .name = "data/zarr.json.tmp", .plant = link_to_nothing, .harmless = true },
		{ .name = "data/c/0/0/2.tmp", .plant = link_to_victim, .harmless = true },
		{ .name = "data/c/0/0/3", .plant = link_to_victim, .harmless = true },
		{ .name = "data/c/0/0/3.tmp", .plant = link_to_nothing, .harmless = true },
		{ .name = "time/c/0.tmp", .plant = link_to_victim, .harmless = true },
		{ .name = "data/.ring/header.tmp", .plant = link_to_victim, .crashed = true,
		  .harmless = true },
		{ .name = "data/.ring/segment.63", .plant = link_to_victim, .crashed = true,
		  .harmless = true },
		{ .name = "data/0.0.3", .plant = link_to_victim, .format = 2, .harmless = true },
		{ .name = "data/.side/3", .plant = link_to_nothing, .format = 2, .harmless = true },
	};

	(void)state;
	TRY_ALL(crafts);
}

static void make_pipe(const struct craft *c)
{
	char path[512];

	path_of(c, path);
	unlink(path);
	assert_int_equal(mkfifo(path, 0666), 0);
}

static void make_directory(const struct craft *c)
{
	char path[512];

	path_of(c, path);
	unlink(path);
	assert_int_equal(mkdir(path, 0777), 0);
}

static void make_file(const struct craft *c)
{
	char path[512], command[600];

	path_of(c, path);
	snprintf(command, sizeof(command), "rm -rf '%s'", path);
	assert_int_equal(system(command), 0);
	planted_write(path, "x", 1);
}

static void nobody_waits_at_a_pipe(void **state)
{
	static const struct craft crafts[] = {
		{ .name = "zarr.json", .plant = make_pipe },
		{ .name = "data/zarr.json", .plant = make_pipe },
		{ .name = "data/c/0/0/0", .plant = make_pipe },
		{ .name = "data/c/0/0/2", .plant = make_pipe },
		{ .name = "time/c/0", .plant = make_pipe },
		{ .name = "iteration/c/0", .plant = make_pipe },
		{ .name = "data/.ring/header", .plant = make_pipe, .crashed = true },
		{ .name = "data/.ring/segment.1", .plant = make_pipe, .crashed = true },
		{ .name = "data/.ring/lock", .plant = make_pipe, .crashed = true, .harmless = true },
		{ .name = "zarr.json.tmp", .plant = make_pipe, .harmless = true },
		{ .name = "data/c/0/0/2.tmp", .plant = make_pipe, .harmless = true },
		{ .name = "data/0.0.0", .plant = make_pipe, .format = 2 },
		{ .name = "data/.side/0", .plant = make_pipe, .format = 2 },
		{ .name = "time/.zattrs", .plant = make_pipe, .format = 2 },
	};

	(void)state;
	TRY_ALL(crafts);
}

static void directories_and_files_in_each_others_place_are_refused(void **state)
{
	static const struct craft crafts[] = {
		{ .name = "zarr.json", .plant = make_directory },
		{ .name = "data/zarr.json", .plant = make_directory },
		{ .name = "data/c/0/0/1", .plant = make_directory },
		{ .name = "time/c/0", .plant = make_directory },
		{ .name = "data/.ring/header", .plant = make_directory, .crashed = true },
		{ .name = "data/.ring/segment.0", .plant = make_directory, .crashed = true },
		{ .name = "data/.ring/lock", .plant = make_directory, .crashed = true,
		  .harmless = true },
		{ .name = "data/c/0/0/2.tmp", .plant = make_directory, .harmless = true },
		{ .name = "zarr.json.tmp", .plant = make_directory, .harmless = true },
		{ .name = "data/c/0/0/7", .plant = make_directory, .harmless = true },
		{ .name = "data", .plant = make_file },
		{ .name = "data/c", .plant = make_file },
		{ .name = "data/c/0/0", .plant = make_file },
		{ .name = "time", .plant = make_file },
		{ .name = "data/.ring", .plant = make_file },
		{ .name = "data/.side", .plant = make_file, .format = 2 },
		{ .name = "data/0.1.1", .plant = make_directory, .format = 2 },
	};

	(void)state;
	TRY_ALL(crafts);
}

/* A second name of the victim in the store. */
static void hard_link(const struct craft *c)
{
	char path[512];

	path_of(c, path);
	unlink(path);
	assert_int_equal(link("outside/victim", path), 0);
}

static void nothing_is_written_through_a_hard_link(void **state)
{
	static const struct craft crafts[] = {
		{ .name = "data/.ring/lock", .plant = hard_link, .crashed = true, .harmless = true },
		{ .name = "data/.ring/header", .plant = hard_link, .crashed = true },
		{ .name = "data/.ring/segment.0", .plant = hard_link, .crashed = true },
		{ .name = "data/.ring/header.tmp", .plant = hard_link, .crashed = true,
		  .harmless = true },
		{ .name = "data/.ring/segment.5", .plant = hard_link, .crashed = true,
		  .harmless = true },
		{ .name = "zarr.json", .plant = hard_link },
		{ .name = "zarr.json.tmp", .plant = hard_link, .harmless = true },
		{ .name = "data/zarr.json.tmp", .plant = hard_link, .harmless = true },
		{ .name = "data/c/0/0/2", .plant = hard_link },
		{ .name = "data/c/0/0/2.tmp", .plant = hard_link, .harmless = true },
		{ .name = "time/c/0", .plant = hard_link },
		{ .name = "data/.side/2", .plant = hard_link, .format = 2 },
	};

	(void)state;
	TRY_ALL(crafts);
}

/* ------------------------------------------------------------------------
 * Documents
 */

/* text: "file key value", for the first place where the key stands in the file. */
static void set_json(const struct craft *c)
{
	char file[64], key[64], path[512];
	const char *value;
	int n = 0;

	assert_int_equal(sscanf(c->text, "%63s %63s %n", file, key, &n), 2);
	value = c->text + n;
	snprintf(path, sizeof(path), S "%s", file);
	planted_set(path, key, 0, value);
}

/* The same of two documents, "root|data": shape of data and snapshots of the root. */
static void set_shape(const struct craft *c)
{
	const char *bar = strchr(c->text, '|');
	char snapshots[64];

	snprintf(snapshots, sizeof(snapshots), "%.*s", (int)(bar - c->text), c->text);
	planted_set(c->format == 2 ? S ".zattrs" : S "zarr.json", "snapshots", 0, snapshots);
	planted_set(c->format == 2 ? S "data/.zarray" : S "data/zarr.json", "shape", 0, bar + 1);
}

/* And T as well: "snapshots|shape|T". Format 3 repeats it. */
static void set_sizes(const struct craft *c)
{
	char copy[256], chunk[128], *shape, *t;

	snprintf(copy, sizeof(copy), "%s", c->text);
	shape = strchr(copy, '|');
	*shape++ = '\0';
	t = strchr(shape, '|');
	*t++ = '\0';
	planted_set(c->format == 2 ? S ".zattrs" : S "zarr.json", "snapshots", 0, copy);
	if (c->format == 2) {
		planted_set(S "data/.zarray", "shape", 0, shape);
		snprintf(chunk, sizeof(chunk), "[2, 8, %s]", t);
		planted_set(S "data/.zarray", "chunks", 0, chunk);
		return;
	}
	planted_set(S "data/zarr.json", "shape", 0, shape);
	snprintf(chunk, sizeof(chunk), "[2, 16, %s]", t);
	planted_set(S "data/zarr.json", "chunk_shape", 0, chunk);
	snprintf(chunk, sizeof(chunk), "[2, 8, %s]", t);
	planted_set(S "data/zarr.json", "chunk_shape", 1, chunk);
}

/* N = 2^40: W as well. */
static void set_wide(const struct craft *c)
{
	if (c->format == 2) {
		planted_set(S "data/.zarray", "shape", 0, "[2, 1099511627776, 11]");
		return;
	}
	planted_set(S "data/zarr.json", "shape", 0, "[2, 1099511627776, 11]");
	planted_set(S "data/zarr.json", "chunk_shape", 0, "[2, 1099511627776, 4]");
}

/* Two inner chunks, as there are, but of 2 GiB each in a file of some hundred bytes. */
static void set_thick(const struct craft *c)
{
	(void)c;
	planted_set(S "data/zarr.json", "shape", 0, "[2, 67108848, 11]");
	planted_set(S "data/zarr.json", "chunk_shape", 0, "[2, 67108848, 4]");
	planted_set(S "data/zarr.json", "chunk_shape", 1, "[2, 33554424, 4]");
}

static void sizes_that_no_file_justifies_cost_nothing(void **state)
{
	static const struct craft crafts[] = {
		{ .name = "2^62 snapshots", .plant = set_shape,
		  .text = "4611686018427387904|[2, 12, 4611686018427387904]" },
		{ .name = "2^54 snapshots", .plant = set_shape,
		  .text = "18014398509481984|[2, 12, 18014398509481984]" },
		{ .name = "2^40 snapshots", .plant = set_shape,
		  .text = "1099511627776|[2, 12, 1099511627776]" },
		{ .name = "2^40 snapshots, T = 1", .plant = set_sizes,
		  .text = "1099511627776|[2, 12, 1099511627776]|1" },
		{ .name = "2^54 snapshots, T = 1, format 2", .plant = set_sizes, .format = 2,
		  .text = "18014398509481984|[2, 12, 18014398509481984]|1" },
		{ .name = "2^40 snapshots of a crashed run", .plant = set_shape, .crashed = true,
		  .text = "1099511627776|[2, 12, 1099511627776]" },
		{ .name = "2^40 trajectories", .plant = set_wide },
		{ .name = "2^40 trajectories of a crashed run", .plant = set_wide, .crashed = true },
		{ .name = "2^40 trajectories, format 2", .plant = set_wide, .format = 2 },
		/* nor do they make a disk full of ring */
		{ .name = "an inner chunk of 2 GiB", .plant = set_thick, .resume = SDE_E_CORRUPT },
		{ .name = "T = 2^23", .plant = set_sizes, .text = "3|[2, 12, 3]|8388608",
		  .resume = SDE_E_CORRUPT },
		{ .name = "T = 2^23, format 2", .plant = set_sizes, .format = 2,
		  .text = "3|[2, 12, 3]|8388608", .resume = SDE_E_CORRUPT },
	};

	(void)state;
	TRY_ALL(crafts);
}

/* Zeros, of which LZ4 makes as little as it can: the other side of the limit. */
static void what_compresses_best_is_still_believed(void **state)
{
	const struct sde_ensemble ensemble = { 2, 1024, SDE_FLOAT64 };
	static const double zeros[2048];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct sde_zarr_options options = SDE_ZARR_OPTIONS_INIT;
		struct sde_storage *storage;
		struct sde_array *data;
		double last = 1;

		options.zarr_format = i & 1 ? 2 : 3;
		options.codec = i & 2 ? SDE_CODEC_LZ4 : SDE_CODEC_BLOSC_LZ4_BITSHUFFLE;
		options.checksum = i & 1 ? SDE_CHECKSUM_DEFAULT : SDE_CHECKSUM_OFF;
		options.chunk_size = 512;
		options.trajectories_per_chunk = 1024;
		options.sync = SDE_SYNC_NONE;
		options.overwrite = 1;
		assert_int_equal(sde_zarr_storage_create(&storage, "zeros.zarr", &ensemble, &options,
							 NULL), 0);
		for (uint64_t k = 0; k < 512; k++)
			assert_int_equal(sde_storage_store(storage, 0, zeros, k), 0);
		assert_int_equal(sde_storage_close(storage), 0);
		assert_int_equal(sde_zarr_storage_resume(&storage, "zeros.zarr", NULL, NULL), 0);
		assert_int_equal(sde_storage_values(storage, NULL, &data), 0);
		assert_int_equal(sde_array_read(data, (uint64_t[]){ 1, 1023, 511 },
						(uint64_t[]){ 1, 1, 1 }, NULL, &last, 8), 0);
		assert_true(last == 0);
		sde_array_close(data);
		assert_int_equal(sde_storage_close(storage), 0);
	}
}

static void numbers_that_are_none_are_refused(void **state)
{
	static const struct craft crafts[] = {
		{ .name = "2^63", .plant = set_json, .text = "data/zarr.json shape [2, 12, 9223372036854775808]" },
		{ .name = "-1", .plant = set_json, .text = "data/zarr.json shape [2, -12, 11]" },
		{ .name = "1.5", .plant = set_json, .text = "data/zarr.json shape [2, 12.5, 11]" },
		{ .name = "12.0", .plant = set_json, .text = "data/zarr.json shape [2, 12.0, 11]" },
		{ .name = "1e400", .plant = set_json, .text = "zarr.json snapshots 1e400" },
		{ .name = "text", .plant = set_json, .text = "zarr.json snapshots \"11\"" },
		{ .name = "products that overflow", .plant = set_json,
		  .text = "data/zarr.json shape [4294967296, 4294967296, 11]" },
		{ .name = "epoch 2^63", .plant = set_json, .text = "zarr.json epoch 9223372036854775808" },
		{ .name = "stride 0", .plant = set_json, .text = "zarr.json stride 0" },
		{ .name = "state_capacity", .plant = set_json, .text = "zarr.json state_capacity 4294967297" },
		{ .name = "a key twice", .plant = set_json, .text = "zarr.json snapshots 11, \"snapshots\": 3" },
		{ .name = "NUL in run", .plant = set_json,
		  .text = "zarr.json run \"00000000000000000000000000000000\\u0000x\"" },
		{ .name = "../ in run", .plant = set_json,
		  .text = "zarr.json run \"../../../../../../outside/victim\"" },
		{ .name = "../ as separator", .plant = set_json, .text = "data/zarr.json separator \"/../\"" },
	};

	(void)state;
	TRY_ALL(crafts);
}

static void nest(const struct craft *c)
{
	const size_t n = (size_t)1 << 20;
	char *text = malloc(n);

	assert_non_null(text);
	memset(text, *c->text, n);
	planted_write(S "zarr.json", text, n);
	free(text);
}

static void documents_that_are_deep_or_endless_are_refused(void **state)
{
	static const struct craft crafts[] = {
		{ .name = "brackets", .plant = nest, .text = "[" },
		{ .name = "braces", .plant = nest, .text = "{" },
		{ .name = "blanks", .plant = nest, .text = " " },
		{ .name = "quotes", .plant = nest, .text = "\"" },
	};

	(void)state;
	TRY_ALL(crafts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(links_are_not_followed),
		SCRATCH_TEST(names_that_will_be_written_are_not_followed),
		SCRATCH_TEST(nobody_waits_at_a_pipe),
		SCRATCH_TEST(directories_and_files_in_each_others_place_are_refused),
		SCRATCH_TEST(nothing_is_written_through_a_hard_link),
		SCRATCH_TEST(sizes_that_no_file_justifies_cost_nothing),
		SCRATCH_TEST(what_compresses_best_is_still_believed),
		SCRATCH_TEST(numbers_that_are_none_are_refused),
		SCRATCH_TEST(documents_that_are_deep_or_endless_are_refused),
	};

	const int failed = cmocka_run_group_tests(tests, NULL, NULL);

	printf("# %u times something was done to a crafted store\n", planted_tries());
	return failed;
}
