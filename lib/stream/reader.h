/* SPDX-License-Identifier: MIT */
/* One read after another into a buffer until something is found: what frames share with the other
 * readers. */
#ifndef UNRI_READER_H
#define UNRI_READER_H

#include <sys/types.h>
#include <unring/reader.h>

/* Sets a composed operation that has just been described to reading from `stream` into `buffer`
 * until `match` finds an end. */
void unri_reader_init(struct unr_reader *reader, struct unr_stream *stream,
                      struct unr_buffer *buffer, unr_match_fn *match, void *context);

/* Takes in what the last child read (NULL: there was none), and searches.  Returns where what was
 * found ends, a negative errno to end with, or 0: unri_read_more() is to begin another child. */
ssize_t unri_read_on(struct unr_reader *reader, const struct unr_op *finished);
void    unri_read_more(struct unr_reader *reader);

/* The step of an operation whose arguments cannot be. */
void unri_refuse(struct unr_compose *self, struct unr_op *finished);

#endif
