/* SPDX-License-Identifier: MIT */
/*
 * Guards the page for people: one line a fact, the same lines in the same
 * places for every store, nothing printed raw that a store's author chose.
 */
#include "inspect.h"
#include "json.h"
#include "text.h"

#include <inttypes.h>
#include <stdarg.h>

#define LABEL "  %-11s "
#define INDENT 14	/* columns before a value */

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void line(FILE *out, const char *label, const char *format, ...)
{
	va_list arguments;

	fprintf(out, LABEL, label);
	va_start(arguments, format);
	vfprintf(out, format, arguments);
	va_end(arguments);
	putc('\n', out);
}

const char *inspect_dtype(enum sde_dtype dtype)
{
	return dtype == SDE_FLOAT64 ? "float64" : dtype == SDE_FLOAT32 ? "float32" : "int64";
}

const char *inspect_codec(enum sde_codec codec)
{
	switch (codec) {
	case SDE_CODEC_BLOSC_LZ4_BITSHUFFLE:
		return "blosc-lz4-bitshuffle";
	case SDE_CODEC_LZ4:
		return "lz4";
	default:
		return "none";
	}
}

const char *inspect_checksum(enum sde_checksum checksum)
{
	return checksum == SDE_CHECKSUM_ON ? "crc32c" : "none";
}

const char *inspect_ring_io(enum sde_ring_io ring_io)
{
	return ring_io == SDE_RING_IO_WRITTEN ? "written" : "mapped";
}

const char *inspect_state(enum sde_storage_state_of state)
{
	return state == SDE_STATE_RUNNING ? "running" :
	       state == SDE_STATE_CRASHED ? "crashed" : "closed";
}

/* "763.70 MiB (800800000 bytes)" */
static void put_size(FILE *out, uint64_t bytes)
{
	char text[TEXT_SIZE];

	text_bytes(text, (double)bytes);
	fputs(text, out);
	if (bytes >= 1024)
		fprintf(out, " (%" PRIu64 " bytes)", bytes);
}

static void put_data(FILE *out, const struct sde_storage_info *info)
{
	line(out, "data", "%s (%" PRIu64 ", %" PRIu64 ", %" PRIu64 "): "
	     "dimension, trajectories, snapshots", inspect_dtype(info->ensemble.dtype),
	     info->ensemble.dimension, info->ensemble.trajectories, info->committed);
}

static void put_snapshots(FILE *out, const struct sde_storage_info *info)
{
	line(out, "snapshots", "%" PRIu64 " committed, %" PRIu64 " synced, %" PRIu64
	     " published", info->committed, info->synced, info->published);
	if (info->ignored)
		line(out, "ignored", "%" PRIu64 " snapshots in the ring of a copied store",
		     info->ignored);
}

/* Each has a line: there are as many as ranks. */
static void put_columns(FILE *out, const struct inspect_columns *columns)
{
	for (size_t i = 0; i < columns->count; i++) {
		const struct sde_column_info *column = &columns->column[i];

		line(out, i ? "" : "columns", "%" PRIu64 ":%" PRIu64 ", %s: %" PRIu64 " committed, %"
		     PRIu64 " sealed, %" PRIu64 " behind", column->trajectories[0],
		     column->trajectories[1], inspect_state(column->state), column->committed,
		     column->sealed, columns->furthest - column->committed);
	}
}

static void put_ranges(FILE *out, const struct inspect_report *report)
{
	const struct sde_storage_info *info = &report->info;
	char first[TEXT_SIZE], last[TEXT_SIZE];

	if (info->committed) {
		text_double(first, info->first_time);
		text_double(last, info->last_time);
		fprintf(out, LABEL "%s to %s", "time", first, last);
	} else {
		fprintf(out, LABEL "none", "time");
	}
	if (*report->time_units) {
		fputs(info->committed ? " " : ", in ", out);
		text_puts(out, report->time_units);
	}
	putc('\n', out);
	/* PySDE's npz files have none */
	if (info->committed && info->first_iteration >= 0)
		line(out, "iteration", "%" PRId64 " to %" PRId64 ", stride %" PRIu64,
		     info->first_iteration, info->last_iteration, info->stride);
	else
		line(out, "iteration", "none, stride %" PRIu64, info->stride);
}

static void put_chunks(FILE *out, const struct inspect_report *report)
{
	const struct sde_storage_info *info = &report->info;

	line(out, "chunks", "%" PRIu64 " file%s of %" PRIu64 " snapshots, %" PRIu64
	     " trajectories an inner chunk", info->chunk_files, info->chunk_files == 1 ? "" : "s",
	     info->chunk_size, info->trajectories_per_chunk);
	if (info->segments)
		line(out, "ring", "%u chunks, %s", info->segments, inspect_ring_io(info->ring_io));
	fprintf(out, LABEL "%s, checksum %s", "codec", inspect_codec(info->codec),
		inspect_checksum(info->checksum));
	if (info->keepbits)
		fprintf(out, ", %u mantissa bits kept%s\n", info->keepbits, report->last);
	else
		fputs(", lossless\n", out);
}

static void put_bytes(FILE *out, const struct sde_storage_info *info)
{
	fprintf(out, LABEL, "raw");
	put_size(out, info->raw_bytes);
	fprintf(out, "\n" LABEL, "stored");
	put_size(out, info->stored_bytes);
	if (info->stored_bytes)
		fprintf(out, ", ratio %.3f",
			(double)info->raw_bytes / (double)info->stored_bytes);
	putc('\n', out);
}

/* What the damages cost, and of what that is how much. */
static void put_lost(FILE *out, const struct inspect_report *report)
{
	const struct lost_list *lost = &report->verify->lost;
	const struct sde_storage_info *info = &report->info;
	const double cells = (double)info->ensemble.trajectories * (double)report->verify->all;

	for (size_t i = 0; i < lost->count; i++) {
		const struct lost_range *range = &lost->range[i];
		const unsigned parts = range->lost ? range->lost : range->restorable;

		fprintf(out, "%*s", INDENT, "");
		if (parts) {
			lost_put_parts(out, parts);
			fputs(range->lost ? " lost: " : " restorable: ", out);
		} else {
			fputs("nothing lost: ", out);
		}
		lost_put_range(out, range);
		putc('\n', out);
	}
	line(out, "lost", "something of %" PRIu64 " of %" PRIu64 " snapshots, %.4g%% of the values; "
	     "a:b is a, a + 1, ... b - 1", lost->touched, report->verify->all,
	     cells > 0 ? 100 * (double)lost->cells / cells : 0.0);
}

static void put_verify(FILE *out, const struct inspect_report *report)
{
	const struct inspect_verify *verify = report->verify;

	if (!verify->code) {
		line(out, "verify", "ok, %" PRIu64 " snapshots", verify->checked);
		return;
	}
	if (verify->error.code) {
		fprintf(out, LABEL "not finished: ", "verify");
		text_puts(out, verify->error.text);
		putc('\n', out);
	} else {
		line(out, "verify", "%zu damaged chunk%s, %" PRIu64 " snapshots checked",
		     verify->damaged, verify->damaged == 1 ? "" : "s", verify->checked);
	}
	if (verify->lost.count) {
		put_lost(out, report);
		return;
	}
	for (size_t i = 0; i < verify->damaged; i++) {
		const struct inspect_damage *damage = &verify->damage[i];

		fprintf(out, "%*ssnapshots %" PRIu64 ":%" PRIu64 ": %s: ", INDENT, "",
			damage->first, damage->first + damage->count, status_name(damage->code));
		text_puts(out, damage->text);
		putc('\n', out);
	}
}

/* What to do about a store that is not closed, where something is to be done. */
static void put_hint(FILE *out, const struct inspect_report *report)
{
	const struct sde_storage_info *info = &report->info;
	unsigned lost = 0, restorable = 0;

	for (size_t i = 0; report->verify && i < report->verify->lost.count; i++) {
		lost |= report->verify->lost.range[i].lost;
		restorable |= report->verify->lost.range[i].restorable;
	}
	if (lost & SDE_PART_DATA)
		fputs(report->columns.count ?
		      "hint: what is left can be read with on_hole = SDE_HOLE_NAN (sde-export "
		      "--on-hole nan)\n" :
		      "hint: what is left can be read with on_hole = SDE_HOLE_NAN (sde-export "
		      "--on-hole nan), or\n      kept up to the first loss with --repair "
		      "--truncate\n", out);
	if (restorable && !report->columns.count)
		fputs("hint: what is restorable is restored by --repair\n", out);
	if (info->ignored) {
		fputs("hint: the ring was copied and may be torn; --trust-ring shows what it "
		      "holds. If it was\n      copied whole after the run had ended, "
		      "sde_zarr_storage_resume() takes it with ring = SDE_RING_TRUST\n", out);
	} else if (info->state == SDE_STATE_CRASHED) {
		fputs(report->columns.count ?
		      "hint: a rank that wrote it died; sde_mpi_zarr_storage_resume() recovers the "
		      "store and\n      goes on, as does sde_zarr_storage_resume() for all of it\n" :
		      "hint: its writer died; sde_zarr_storage_resume() recovers the store and "
		      "goes on,\n      --repair recovers and closes it\n", out);
		if (info->committed > info->published)
			fprintf(out, "      (until then Zarr readers miss the last %" PRIu64
				" snapshots)\n", info->committed - info->published);
	}
}

void inspect_page(FILE *out, const struct inspect_report *report)
{
	const struct sde_storage_info *info = &report->info;

	text_puts(out, report->path);
	fprintf(out, ": %s", info->kind ? info->kind : "store");
	if (info->zarr_format)
		fprintf(out, " format %u", info->zarr_format);
	fprintf(out, ", %s\n", inspect_state(info->state));
	put_data(out, info);
	put_snapshots(out, info);
	put_columns(out, &report->columns);
	put_ranges(out, report);
	if (info->zarr_format)
		put_chunks(out, report);
	put_bytes(out, info);
	if (info->state_capacity)
		line(out, "state", "up to %u bytes a snapshot", info->state_capacity);
	if (info->zarr_format)
		line(out, "run", "%s, truncated %" PRIu64 " time%s", info->run, info->epoch,
		     info->epoch == 1 ? "" : "s");
	fprintf(out, LABEL, "attributes");
	emit_indented(out, report->attributes, INDENT / 2);
	putc('\n', out);
	if (report->verify)
		put_verify(out, report);
	put_hint(out, report);
}
