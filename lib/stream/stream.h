/* SPDX-License-Identifier: MIT */
/* One step of a composed operation on a stream.  Between the two calls the stream is in use: a
 * second operation that steps in the same direction is a broken contract, and on a file, which has
 * one offset, a second one in any direction. */
#ifndef UNRI_STREAM_H
#define UNRI_STREAM_H

#include <unring/stream.h>

/* Describes a step as unr_read_some() or unr_write_some() does, for `op`. */
struct unr_op *unri_step_read(const struct unr_op *op, struct unr_some *some,
                              struct unr_stream *stream, const struct iovec *iov, unsigned n);
struct unr_op *unri_step_write(const struct unr_op *op, struct unr_some *some,
                               struct unr_stream *stream, const struct iovec *iov, unsigned n);

/* The receiver whose bytes can be looked at where they are, instead of being read from the stream;
 * NULL: they cannot. */
struct unr_receiver *unri_shows(const struct unr_stream *stream);

/* Describes a step that waits until that receiver has something to show. */
struct unr_op *unri_step_view(const struct unr_op *op, struct unr_some *some,
                              struct unr_stream *stream);

/* The step has ended, and has moved so many bytes: unr_stream_moved(). */
void unri_was_read(struct unr_stream *stream, uint64_t bytes);
void unri_was_written(struct unr_stream *stream, uint64_t bytes);

#endif
