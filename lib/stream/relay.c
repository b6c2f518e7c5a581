/* SPDX-License-Identifier: MIT */
/* Passing on what comes from one stream to another: a read into the buffer, then writes until that
 * is empty.  So there is never anything taken and not delivered that is not in the buffer, which is
 * the caller's when the relay ends early.
 *
 * Why no splice: IORING_OP_SPLICE always runs in a worker thread, and there waits for a TCP socket
 * to have data, and for any socket to have room, unless that is O_NONBLOCK itself (Linux 6.18:
 * tcp_splice_read() and splice_to_socket() look at file->f_flags alone), so each idle or slow relay
 * would hold a thread.  And it gains nothing: between TCP sockets, in pieces of 64 KiB, a copy
 * moved 1.5 GB/s and a splice 1.1; between pipes and files they are within the noise. */
#include <unring.h>

enum { BUFFER_MAX = 65536 };

static void write_rest(struct unr_relay *relay)
{
    relay->private_fields.piece.iov_base =
        unr_buffer_data(&relay->rest, &relay->private_fields.piece.iov_len);
    relay->private_fields.writing = true;
    unr_compose_next(&relay->private_fields.compose,
                     unr_write_some(&relay->private_fields.some, relay->private_fields.to,
                                    &relay->private_fields.piece, 1));
}

static void end(struct unr_relay *relay, int error)
{
    size_t left;
    unr_buffer_data(&relay->rest, &left);
    if (!left)
        unr_buffer_free(&relay->rest);
    unr_compose_end(&relay->private_fields.compose, error);
}

static void read_more(struct unr_relay *relay)
{
    int error = unr_buffer_prepare(&relay->rest, 1, &relay->private_fields.piece);
    if (error) {
        end(relay, error);
        return;
    }
    relay->private_fields.writing = false;
    unr_compose_next(&relay->private_fields.compose,
                     unr_read_some(&relay->private_fields.some, relay->private_fields.from,
                                   &relay->private_fields.piece, 1));
}

/* Also where the step in flight honoured no request: a layer's may not. */
static bool is_cancelled(struct unr_relay *relay)
{
    return unr_state_cancelled(unr_compose_state(&relay->private_fields.compose));
}

static void was_read(struct unr_relay *relay, const struct unr_result *read)
{
    unr_stream_moved(relay->private_fields.from, read->bytes);
    unr_buffer_commit(&relay->rest, (size_t)read->bytes);
    if (read->error || !read->bytes)
        end(relay, read->error);
    else if (is_cancelled(relay))
        end(relay, -ECANCELED);
    else
        write_rest(relay);
}

static void was_written(struct unr_relay *relay, const struct unr_result *write)
{
    size_t left;
    unr_stream_moved(relay->private_fields.to, write->bytes);
    unr_buffer_consume(&relay->rest, (size_t)write->bytes);
    relay->op.result.bytes += write->bytes;
    unr_buffer_data(&relay->rest, &left);
    if (write->error || !write->bytes)
        end(relay, write->error ? write->error : -EIO);
    else if (is_cancelled(relay))
        end(relay, -ECANCELED);
    else if (left)
        write_rest(relay);
    else
        read_more(relay);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_relay *relay = unr_container_of(self, struct unr_relay, private_fields.compose);
    if (!finished)
        read_more(relay);
    else if (relay->private_fields.writing)
        was_written(relay, &finished->result);
    else
        was_read(relay, &finished->result);
}

struct unr_op *unr_relay(struct unr_relay *relay, struct unr_stream *from, struct unr_stream *to)
{
    struct unr_op *op =
        unr_compose(&relay->private_fields.compose, "relay", UNR_CANCEL_PARTIAL, step);
    unr_buffer_init(&relay->rest, BUFFER_MAX);
    relay->private_fields.from = from;
    relay->private_fields.to = to;
    return op;
}
