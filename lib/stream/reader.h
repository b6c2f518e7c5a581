/* SPDX-License-Identifier: MIT */
/* What frames share with the other readers: one read after another into a buffer, until something
 * is found there. */
#ifndef UNRI_READER_H
#define UNRI_READER_H

#include <sys/types.h>
#include <unring/reader.h>

/* As an unr_match_fn; what it looks for is in the reader. */
typedef ssize_t unri_search_fn(const struct unr_reader *reader, const void *data, size_t len,
                               size_t seen);

/* Sets what a reader works on, after unr_compose() has described it. */
void unri_reader_init(struct unr_reader *reader, struct unr_stream *stream,
                      struct unr_buffer *buffer, unri_search_fn *search);

/* What each step of a reader begins with: takes the bytes in that the last child has read, and
 * searches.
 *
 * finished  the last child; NULL: there was none.
 * Returns   above 0: how many bytes there are up to the end of the match.  Below 0: the errno to
 *           end with.  0: there is room for more bytes, and the step goes on with
 *           unri_reader_read(). */
ssize_t unri_reader_search(struct unr_reader *reader, const struct unr_op *finished);

/* Begins a child that reads into the room that the search has made. */
void unri_reader_read(struct unr_reader *reader);

/* The step of a reader whose arguments make no sense: ends it with -EINVAL. */
void unri_reader_refuse(struct unr_compose *self, struct unr_op *finished);

#endif
