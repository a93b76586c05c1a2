/* SPDX-License-Identifier: MIT */
/*
 * For npz.sh: .npz files by this library, both ways.
 *
 *	npz_run write FILE d N M f8|f4 C|F [stored] [zip64]
 *	npz_run read FILE
 *
 * write takes time (8 M bytes), data (d N M items, in the order that the member will
 * have) and iteration (8 M bytes) from standard input, one behind the other. read
 * prints a line "dtype order d N M" and "iteration" or "none", and then the bytes of
 * the members in this order. Status 1 and a sentence if it cannot.
 */
#include "npz_reader.h"
#include "npz_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[SDE__NPZ_MEMBERS] = { "time", "data", "iteration" };

static int complain(const struct sde_error *error)
{
	fprintf(stderr, "npz_run: %s\n", error->text);
	return 1;
}

static int copy_in(struct sde__npz_writer *w, uint64_t n, struct sde_error *error)
{
	unsigned char bytes[5000];

	while (n) {
		const size_t part = n < sizeof(bytes) ? (size_t)n : sizeof(bytes);
		int ret;

		if (fread(bytes, 1, part, stdin) != part)
			return sde__fail(error, -1, "too few bytes");
		ret = sde__npz_append(w, bytes, part, error);
		if (ret)
			return ret;
		n -= part;
	}
	return 0;
}

static int write_run(char *argv[])
{
	struct sde__npz_options options = { .threads = 2, .overwrite = true };
	const uint64_t m = strtoull(argv[5], NULL, 10);
	const struct sde__npy array[SDE__NPZ_MEMBERS] = {
		{ SDE_FLOAT64, false, 1, { m } },
		{ strcmp(argv[6], "f4") ? SDE_FLOAT64 : SDE_FLOAT32, !strcmp(argv[7], "F"), 3,
		  { strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), m } },
		{ SDE_INT64, false, 1, { m } },
	};
	struct sde_error error = { 0 };
	struct sde__npz_writer *w;
	int ret;

	for (int i = 8; argv[i]; i++) {
		if (!strcmp(argv[i], "stored"))
			options.stored = true;
		if (!strcmp(argv[i], "zip64"))
			options.zip64_from = 1;
	}
	ret = sde__npz_create(&w, &sde__io_posix, argv[2], &options, &error);
	if (ret)
		return complain(&error);
	for (int i = 0; i < SDE__NPZ_MEMBERS && !ret; i++) {
		uint64_t bytes = 0;

		ret = sde__npz_member_begin(w, names[i], &array[i], &error);
		if (!ret)
			ret = sde__npy_size(&array[i], &bytes);
		if (!ret)
			ret = copy_in(w, bytes, &error);
		if (!ret)
			ret = sde__npz_member_end(w, &error);
	}
	if (ret)
		sde__npz_abandon(w);
	else
		ret = sde__npz_finish(w, &error);
	return ret ? complain(&error) : 0;
}

static int copy_out(const struct sde__npz_reader *r, enum sde__npz_member member,
		    struct sde_error *error)
{
	uint64_t n = sde__npz_array(r, member)->bytes;
	struct sde__inflater *s;
	unsigned char bytes[5000];
	int ret = sde__npz_stream_open(&s, r, member, error);

	while (!ret && n) {
		const size_t part = n < sizeof(bytes) ? (size_t)n : sizeof(bytes);

		ret = sde__inflater_read(s, bytes, part, error);
		if (!ret)
			fwrite(bytes, 1, part, stdout);
		n -= part;
	}
	sde__inflater_close(s);
	return ret;
}

static int read_run(const char *path)
{
	const struct sde__npz_array *data, *iteration;
	struct sde_error error = { 0 };
	struct sde__npz_reader *r;
	int ret;

	ret = sde__npz_open(&r, &sde__io_posix, path, &error);
	if (ret)
		return complain(&error);
	data = sde__npz_array(r, SDE__NPZ_DATA);
	iteration = sde__npz_array(r, SDE__NPZ_ITERATION);
	printf("%s %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %s\n",
	       data->npy.dtype == SDE_FLOAT32 ? "f4" : "f8", data->npy.fortran_order ? "F" : "C",
	       data->npy.shape[0], data->npy.shape[1], data->npy.shape[2],
	       iteration->present ? "iteration" : "none");
	for (int i = 0; i < SDE__NPZ_MEMBERS && !ret; i++)
		if (sde__npz_array(r, (enum sde__npz_member)i)->present)
			ret = copy_out(r, (enum sde__npz_member)i, &error);
	sde__npz_close(r);
	return ret ? complain(&error) : 0;
}

int main(int argc, char *argv[])
{
	if (argc >= 8 && !strcmp(argv[1], "write"))
		return write_run(argv);
	if (argc == 3 && !strcmp(argv[1], "read"))
		return read_run(argv[2]);
	fprintf(stderr, "usage: npz_run write FILE d N M f8|f4 C|F [stored] [zip64]\n"
		"       npz_run read FILE\n");
	return 2;
}
