/* SPDX-License-Identifier: MIT */
/*
 * What one thread has to read pieces of data (cuts.h) with: a cursor, and memory for one
 * decoded inner chunk, which is used again and again and so stays in the processor's
 * cache, where a cursor keeps all that it decoded of a chunk.
 */
#ifndef SDE_LIB_HAND_H
#define SDE_LIB_HAND_H

#include "cuts.h"

struct sde__hand {
	struct sde__cursor cursor;
	void *inner;			/* NULL before the first is decoded */
};

/* What is filled is noted in `holes`; `strict`: nothing is filled (reader.h). */
void sde__hand_init(struct sde__hand *hand, struct sde__reader *reader, struct sde__holes *holes,
		    bool strict);
void sde__hand_free(struct sde__hand *hand);	/* accepts one that is all zeros */

/* Is the piece in one inner chunk of a file? */
bool sde__hand_can_show(const struct sde__hand *hand, const struct sde__cut *piece);

/*
 * Decode that inner chunk: the first number of the piece, and bytes from one to the next
 * index of the array. Valid until the next call. Damage is told as it is.
 */
int sde__hand_show(struct sde__hand *hand, const struct sde__cut *piece,
		   const unsigned char **first, int64_t strides[3], struct sde_error *error);

/* Any piece, copied out, as sde__reader_data gives it. */
int sde__hand_read(struct sde__hand *hand, const struct sde__cut *piece, void *out,
		   const int64_t strides[3], struct sde_error *error);

#endif
