/* SPDX-License-Identifier: MIT */
/*
 * Guards the schema "sde-inspect/1". Its members, in this order:
 *
 *	schema			"sde-inspect/1"
 *	path			as given
 *	kind			"zarr", ...
 *	zarr_format		3
 *	state			"running" | "crashed" | "closed"
 *	run			32 hexadecimal digits
 *	epoch			how often the store was truncated
 *	shape			[d_X, N, M]; M = snapshots.committed
 *	dtype			"float64" | "float32"
 *	stride
 *	chunk_size		snapshots a chunk
 *	trajectories_per_chunk	trajectories an inner chunk
 *	chunk_files
 *	codec			"blosc-lz4-bitshuffle" | "lz4" | "none"
 *	checksum		"crc32c" | "none"
 *	keepbits		0: all
 *	state_capacity		bytes a snapshot
 *	segments		chunks the ring holds; 0: there is no ring
 *	ring_io			"mapped" | "written" | null: there is no ring
 *	snapshots		{committed, synced, sealed, published, ignored}
 *	columns			only of a store of several ranks: [{trajectories: [a, b],
 *				state, committed, sealed, lag}]; lag: snapshots that the
 *				furthest has committed, and this has not
 *	time			{first, last: number | null, units: string | null}
 *	iteration		{first, last: integer | null}
 *	bytes			{raw, stored, ratio: number | null}; of what is
 *				published, uncompressed and in the chunk files
 *	attributes		the user's object
 *	verify			only with --verify: {ok, code, snapshots, damage:
 *				[{first, count, code, text}], text: string | null};
 *				snapshots: how many were checked; code: "SDE_OK",
 *				else the first damage's or what stopped the check;
 *				text: what stopped it; and also {lost: [{lost,
 *				restorable: [part], cause, code, snapshots: [a, b],
 *				trajectories: [a, b], dimensions: [0, d], pieces, file,
 *				text}], touched, values, lost_values}
 *
 * With --repair: schema, path, and repair {dry_run, ok, code, text, steps: [{action,
 * snapshots, file, text, and of a loss the members above}]}.
 *
 * Where the store cannot be opened: schema, path, and error {code, number, text}.
 */
#include "inspect.h"
#include "json.h"

static void put_snapshots(struct emitter *e, const struct sde_storage_info *info)
{
	emit_object(e, "snapshots");
	emit_unsigned(e, "committed", info->committed);
	emit_unsigned(e, "synced", info->synced);
	emit_unsigned(e, "sealed", info->sealed);
	emit_unsigned(e, "published", info->published);
	emit_unsigned(e, "ignored", info->ignored);
	emit_end(e);
}

static void put_columns(struct emitter *e, const struct inspect_columns *columns)
{
	if (!columns->count)
		return;
	emit_array(e, "columns");
	for (size_t i = 0; i < columns->count; i++) {
		const struct sde_column_info *column = &columns->column[i];

		emit_object(e, NULL);
		emit_array(e, "trajectories");
		emit_unsigned(e, NULL, column->trajectories[0]);
		emit_unsigned(e, NULL, column->trajectories[1]);
		emit_end(e);
		emit_string(e, "state", inspect_state(column->state));
		emit_unsigned(e, "committed", column->committed);
		emit_unsigned(e, "sealed", column->sealed);
		emit_unsigned(e, "lag", columns->furthest - column->committed);
		emit_end(e);
	}
	emit_end(e);
}

static void put_ranges(struct emitter *e, const struct inspect_report *report)
{
	const struct sde_storage_info *info = &report->info;

	emit_object(e, "time");
	if (info->committed) {
		emit_double(e, "first", info->first_time);
		emit_double(e, "last", info->last_time);
	} else {
		emit_null(e, "first");
		emit_null(e, "last");
	}
	if (*report->time_units)
		emit_string(e, "units", report->time_units);
	else
		emit_null(e, "units");
	emit_end(e);

	emit_object(e, "iteration");
	if (info->committed) {
		emit_signed(e, "first", info->first_iteration);
		emit_signed(e, "last", info->last_iteration);
	} else {
		emit_null(e, "first");
		emit_null(e, "last");
	}
	emit_end(e);
}

static void put_bytes(struct emitter *e, const struct sde_storage_info *info)
{
	emit_object(e, "bytes");
	emit_unsigned(e, "raw", info->raw_bytes);
	emit_unsigned(e, "stored", info->stored_bytes);
	if (info->stored_bytes)
		emit_double(e, "ratio", (double)info->raw_bytes / (double)info->stored_bytes);
	else
		emit_null(e, "ratio");
	emit_end(e);
}

static void put_parts(struct emitter *e, const char *key, unsigned parts)
{
	static const char *const names[] = { "data", "time", "iteration", "state" };

	emit_array(e, key);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (parts >> i & 1)
			emit_string(e, NULL, names[i]);
	emit_end(e);
}

static void put_pair(struct emitter *e, const char *key, const uint64_t pair[2])
{
	emit_array(e, key);
	emit_unsigned(e, NULL, pair[0]);
	emit_unsigned(e, NULL, pair[1]);
	emit_end(e);
}

void inspect_emit_lost(struct emitter *e, const struct lost_range *range)
{
	put_parts(e, "lost", range->lost);
	put_parts(e, "restorable", range->restorable);
	emit_string(e, "cause", sde_cause_name(range->cause));
	emit_string(e, "code", status_name(range->code));
	put_pair(e, "trajectories", range->trajectories);
	emit_unsigned(e, "pieces", range->pieces);
}

static void put_lost(struct emitter *e, const struct inspect_report *report)
{
	const struct lost_list *lost = &report->verify->lost;
	const struct sde_ensemble *ensemble = &report->info.ensemble;
	const uint64_t dimensions[2] = { 0, ensemble->dimension };

	emit_array(e, "lost");
	for (size_t i = 0; i < lost->count; i++) {
		emit_object(e, NULL);
		inspect_emit_lost(e, &lost->range[i]);
		put_pair(e, "snapshots", lost->range[i].snapshots);
		put_pair(e, "dimensions", dimensions);
		emit_string(e, "file", lost->range[i].file);
		emit_string(e, "text", lost->range[i].text);
		emit_end(e);
	}
	emit_end(e);
	emit_unsigned(e, "touched", lost->touched);
	emit_unsigned(e, "values", ensemble->dimension * ensemble->trajectories *
		      report->verify->all);
	emit_unsigned(e, "lost_values", ensemble->dimension * lost->cells);
}

static void put_verify(struct emitter *e, const struct inspect_report *report)
{
	const struct inspect_verify *verify = report->verify;

	emit_object(e, "verify");
	emit_bool(e, "ok", !verify->code);
	emit_string(e, "code", status_name(verify->code));
	emit_unsigned(e, "snapshots", verify->checked);
	emit_array(e, "damage");
	for (size_t i = 0; i < verify->damaged; i++) {
		const struct inspect_damage *damage = &verify->damage[i];

		emit_object(e, NULL);
		emit_unsigned(e, "first", damage->first);
		emit_unsigned(e, "count", damage->count);
		emit_string(e, "code", status_name(damage->code));
		emit_string(e, "text", damage->text);
		emit_end(e);
	}
	emit_end(e);
	if (verify->error.code)
		emit_string(e, "text", verify->error.text);
	else
		emit_null(e, "text");
	put_lost(e, report);
	emit_end(e);
}

void inspect_json(FILE *out, const struct inspect_report *report)
{
	const struct sde_storage_info *info = &report->info;
	struct emitter e = { .out = out };

	emit_object(&e, NULL);
	emit_string(&e, "schema", INSPECT_SCHEMA);
	emit_string(&e, "path", report->path);
	emit_string(&e, "kind", info->kind ? info->kind : "");
	emit_unsigned(&e, "zarr_format", info->zarr_format);
	emit_string(&e, "state", inspect_state(info->state));
	emit_string(&e, "run", info->run);
	emit_unsigned(&e, "epoch", info->epoch);
	emit_array(&e, "shape");
	emit_unsigned(&e, NULL, info->ensemble.dimension);
	emit_unsigned(&e, NULL, info->ensemble.trajectories);
	emit_unsigned(&e, NULL, info->committed);
	emit_end(&e);
	emit_string(&e, "dtype", inspect_dtype(info->ensemble.dtype));
	emit_unsigned(&e, "stride", info->stride);
	emit_unsigned(&e, "chunk_size", info->chunk_size);
	emit_unsigned(&e, "trajectories_per_chunk", info->trajectories_per_chunk);
	emit_unsigned(&e, "chunk_files", info->chunk_files);
	emit_string(&e, "codec", inspect_codec(info->codec));
	emit_string(&e, "checksum", inspect_checksum(info->checksum));
	emit_unsigned(&e, "keepbits", info->keepbits);
	emit_unsigned(&e, "state_capacity", info->state_capacity);
	emit_unsigned(&e, "segments", info->segments);
	if (info->segments)
		emit_string(&e, "ring_io", inspect_ring_io(info->ring_io));
	else
		emit_null(&e, "ring_io");
	put_snapshots(&e, info);
	put_columns(&e, &report->columns);
	put_ranges(&e, report);
	put_bytes(&e, info);
	emit_json(&e, "attributes", report->attributes);
	if (report->verify)
		put_verify(&e, report);
	emit_end(&e);
}

void inspect_json_error(FILE *out, const char *path, bool one_line,
			const struct sde_error *error)
{
	struct emitter e = { .out = out, .one_line = one_line };

	emit_object(&e, NULL);
	emit_string(&e, "schema", INSPECT_SCHEMA);
	emit_string(&e, "path", path);
	emit_object(&e, "error");
	emit_string(&e, "code", status_name(error->code));
	emit_signed(&e, "number", error->code);
	emit_string(&e, "text", error->text);
	emit_end(&e);
	emit_end(&e);
}
