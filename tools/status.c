/* SPDX-License-Identifier: MIT */
/*
 * Guards the exit codes and the names of error codes: scripts match on both, so
 * neither may change once released.
 */
#include "status.h"

#include <sdestore.h>

#include <errno.h>
#include <stddef.h>

enum status_exit status_exit(int code)
{
	switch (code) {
	case 0:
		return STATUS_OK;
	case SDE_E_CORRUPT:
	case SDE_E_CODEC:
		return STATUS_CORRUPT;
	case SDE_E_HOLE:
		return STATUS_INCOMPLETE;
	case SDE_E_LOCKED:
		return STATUS_LOCKED;
	default:
		return STATUS_IO;
	}
}

enum status_exit status_worse(enum status_exit a, enum status_exit b)
{
	/* index: enum status_exit */
	static const int rank[] = { 0, 6, 4, 5, 3, 2, 1 };

	return rank[a] >= rank[b] ? a : b;
}

static const struct {
	int code;
	const char *name;
} names[] = {
	{ SDE_OK, "SDE_OK" },
	{ SDE_E_NOT_STORE, "SDE_E_NOT_STORE" },
	{ SDE_E_CORRUPT, "SDE_E_CORRUPT" },
	{ SDE_E_VERSION, "SDE_E_VERSION" },
	{ SDE_E_NO_DATA, "SDE_E_NO_DATA" },
	{ SDE_E_LOCKED, "SDE_E_LOCKED" },
	{ SDE_E_MISMATCH, "SDE_E_MISMATCH" },
	{ SDE_E_UNSUPPORTED, "SDE_E_UNSUPPORTED" },
	{ SDE_E_HOLE, "SDE_E_HOLE" },
	{ SDE_E_STALE, "SDE_E_STALE" },
	{ SDE_E_CODEC, "SDE_E_CODEC" },
	{ -E2BIG, "E2BIG" },
	{ -EACCES, "EACCES" },
	{ -EAGAIN, "EAGAIN" },
	{ -EBADF, "EBADF" },
	{ -EBUSY, "EBUSY" },
	{ -ECANCELED, "ECANCELED" },
	{ -EDQUOT, "EDQUOT" },
	{ -EEXIST, "EEXIST" },
	{ -EFBIG, "EFBIG" },
	{ -EINTR, "EINTR" },
	{ -EINVAL, "EINVAL" },
	{ -EIO, "EIO" },
	{ -EISDIR, "EISDIR" },
	{ -ELOOP, "ELOOP" },
	{ -EMFILE, "EMFILE" },
	{ -ENAMETOOLONG, "ENAMETOOLONG" },
	{ -ENFILE, "ENFILE" },
	{ -ENODEV, "ENODEV" },
	{ -ENOENT, "ENOENT" },
	{ -ENOMEM, "ENOMEM" },
	{ -ENOSPC, "ENOSPC" },
	{ -ENOTDIR, "ENOTDIR" },
	{ -ENOTSUP, "ENOTSUP" },
	{ -ENXIO, "ENXIO" },
	{ -EOVERFLOW, "EOVERFLOW" },
	{ -EPERM, "EPERM" },
	{ -ERANGE, "ERANGE" },
	{ -EROFS, "EROFS" },
	{ -ESTALE, "ESTALE" },
	{ -ETIMEDOUT, "ETIMEDOUT" },
};

const char *status_name(int code)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].code == code)
			return names[i].name;
	return "UNKNOWN";
}
