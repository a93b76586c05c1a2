/* SPDX-License-Identifier: MIT */
/*
 * Deriving a backend: the twin of subclassing PySDE's BaseStorage.
 *
 * A backend is a table of functions over a `self` pointer. sde_storage_derive
 * wraps it into a struct sde_storage, which then does what all storages share:
 * stride, the directory, the text of the last error, the rules for arguments.
 * The built-in backends enter by this door. examples/moments.c is a whole one.
 */
#ifndef SDESTORE_BACKEND_H
#define SDESTORE_BACKEND_H

#include <sdestore.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Each function returns 0 or a negative code and may put a sentence into
 * `error` (never NULL; if it does not, sde_strerror's phrase stands there).
 * A NULL entry makes the corresponding call return SDE_E_UNSUPPORTED, except
 *   reserve, commit	without them the base hands out a buffer of its own and
 *			calls store at commit;
 *   save, sync, refresh	without them the call succeeds and does nothing;
 *   arrays		without it values and iterations are called, again until
 *			their M is the same;
 *   close		without it there is nothing to free;
 *   columns		without it there are none;
 *   info		without it only what the base knows is filled in;
 *   attributes		without it "{}" and "";
 *   last		without it the base reads it from values' data, in the
 *			order [d][n], and takes it for exact.
 *
 * store and reserve are called only for iteration numbers that stride keeps,
 * data is never NULL, calls follow the thread rules of sdestore.h. `close`
 * saves what is to be saved, frees self and returns the status; it is called
 * exactly once, also when an earlier call failed.
 */
struct sde_backend {
	size_t size;		/* sizeof(struct sde_backend) */
	const char *kind;	/* for sde_storage_info; static storage */
	int (*store)(void *self, double time, const void *data,
		     uint64_t iteration_number, struct sde_error *error);
	int (*save)(void *self, struct sde_error *error);
	int (*values)(void *self, struct sde_array **time,
		      struct sde_array **data, struct sde_error *error);
	int (*close)(void *self, struct sde_error *error);
	int (*reserve)(void *self, uint64_t iteration_number, void **slot,
		       struct sde_error *error);
	int (*commit)(void *self, double time, struct sde_error *error);
	int (*set_state)(void *self, const void *bytes, size_t n,
			 struct sde_error *error);
	int (*state)(void *self, void *bytes, size_t *n, struct sde_error *error);
	int (*sync)(void *self, struct sde_error *error);
	int (*truncate)(void *self, uint64_t snapshots, struct sde_error *error);
	int (*iterations)(void *self, struct sde_array **iteration,
			  struct sde_error *error);
	int (*info)(void *self, struct sde_storage_info *info,
		    struct sde_error *error);
	int (*verify)(void *self, const struct sde_verify *verify,
		      struct sde_error *error);
	const char *(*attributes)(void *self);
	const char *(*time_units)(void *self);
	/* the last snapshot into `data`, which has room for it; *exact is 1 */
	int (*last)(void *self, void *data, int *exact, struct sde_error *error);
	/* each of the three may be NULL: not asked for */
	int (*arrays)(void *self, struct sde_array **time, struct sde_array **data,
		      struct sde_array **iteration, struct sde_error *error);
	int (*refresh)(void *self, struct sde_error *error);
	/* how many; function may be NULL */
	int (*columns)(void *self, sde_column_function *function, void *ctx);
};
#define SDE_BACKEND_INIT \
	{ sizeof(struct sde_backend), NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
	  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

/* What the base does for a backend. SDE_DERIVE_OPTIONS_INIT; zero = default. */
struct sde_derive_options {
	size_t size;
	uint64_t stride;		/* 1 */
	/* where the backend will write; its parent directories are made before
	 * sde_storage_derive returns. NULL: nowhere */
	const char *save_directory;
	/* as in struct sde_zarr_options */
	int (*make_directory)(void *ctx, const char *path);
	void *make_directory_ctx;
};
#define SDE_DERIVE_OPTIONS_INIT \
	{ sizeof(struct sde_derive_options), 0, NULL, NULL, NULL }

/*
 * Make a storage of a backend. The table is copied. On failure *out is NULL and
 * self still belongs to the caller; on success to the storage, whose close
 * calls the backend's. -EINVAL, -E2BIG, -ENOMEM, or what making the directory
 * gave.
 */
int sde_storage_derive(struct sde_storage **out, const struct sde_ensemble *ensemble,
		       const struct sde_backend *backend, void *self,
		       const struct sde_derive_options *options,
		       struct sde_error *error);

/*
 * An array handle over memory of the backend: ndim (1 to 3) axes of `shape`
 * elements with byte `strides`. `release(ctx)` (may be NULL) is called by
 * sde_array_close; until then the memory must stay as it is. On failure
 * release is not called.
 */
int sde_array_wrap(struct sde_array **out, const void *base, enum sde_dtype dtype,
		   unsigned ndim, const uint64_t *shape, const int64_t *strides,
		   void (*release)(void *ctx), void *ctx);

#ifdef __cplusplus
}
#endif

#endif /* SDESTORE_BACKEND_H */
