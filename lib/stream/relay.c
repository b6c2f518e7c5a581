/* SPDX-License-Identifier: MIT */
/* Relays: a read from one stream into a buffer, then writes to the other stream until the buffer is
 * empty, and so on.  A byte that was taken and not delivered is therefore always in the buffer,
 * relay->rest, which is the caller's when the relay ends early (rule 4).
 *
 * A receiver with a pool shows its bytes where they are.  A relay from one writes them from there
 * and takes them when they are delivered; so what was not delivered is still in the receiver.
 *
 * Why no splice: IORING_OP_SPLICE always runs in a worker thread.  There it waits for a TCP socket
 * to have data, and for any socket to have room, unless the socket itself is O_NONBLOCK (Linux
 * 6.18: tcp_splice_read() and splice_to_socket() look at file->f_flags alone).  So each idle or
 * slow relay would hold a thread.  And it gains nothing: between TCP sockets, in pieces of 64 KiB,
 * a copy moved 1.5 GB/s and a splice 1.1; between pipes and files they are within the noise. */
#include "../core/base.h"
#include "stream.h"

#include <unring.h>

enum { BUFFER_MAX = 65536 };

static_assert(sizeof(struct unr_relay) <= 448, "each connection has one");

/* Sets the piece to what is to be delivered next; false: there is nothing. */
static bool find_rest(struct unr_relay *relay)
{
    struct unr_relay_private *p = &relay->private_fields;
    struct unr_receiver      *shows = unri_shows(p->from);
    p->piece.iov_base = shows ? unr_receiver_data(shows, &p->piece.iov_len)
                              : unr_buffer_data(&relay->rest, &p->piece.iov_len);
    return p->piece.iov_len > 0;
}

static void consume_rest(struct unr_relay *relay, size_t len)
{
    struct unr_receiver *shows = unri_shows(relay->private_fields.from);
    if (shows)
        unr_receiver_consume(shows, len);
    else
        unr_buffer_consume(&relay->rest, len);
}

static void write_rest(struct unr_relay *relay)
{
    struct unr_relay_private *p = &relay->private_fields;
    unr_compose_next(&p->compose, unri_step_write(&relay->op, &p->some, p->to, &p->piece, 1));
}

/* An empty rest has nothing for the caller, who is spared giving its memory back. */
static void end(struct unr_relay *relay, int error)
{
    size_t left;
    unr_buffer_data(&relay->rest, &left);
    if (!left)
        unr_buffer_free(&relay->rest);
    unr_compose_end(&relay->private_fields.compose, error);
}

/* The rest is empty here, so all of its memory is room to read into. */
static void read_more(struct unr_relay *relay)
{
    struct unr_relay_private *p = &relay->private_fields;
    if (unri_shows(p->from)) {
        unr_compose_next(&p->compose, unri_step_view(&relay->op, &p->some, p->from));
        return;
    }
    int error = unr_buffer_prepare(&relay->rest, 1, &p->piece);
    if (error) {
        end(relay, error);
        return;
    }
    unr_compose_next(&p->compose, unri_step_read(&relay->op, &p->some, p->from, &p->piece, 1));
}

/* A relay looks itself between two steps.  The next step would be ended before it begins, but only
 * if it honours requests, and a step of a layer may honour none. */
static bool is_cancelled(struct unr_relay *relay)
{
    return unr_state_cancelled(unr_compose_state(&relay->private_fields.compose));
}

/* The bytes are put into the rest before the error is looked at: a read that was cancelled may have
 * taken some. */
static void was_read(struct unr_relay *relay, const struct unr_result *read)
{
    struct unr_stream *from = relay->private_fields.from;
    unri_was_read(from, read->bytes);
    if (!unri_shows(from))
        unr_buffer_commit(&relay->rest, (size_t)read->bytes);
    if (read->error || !find_rest(relay))
        end(relay, read->error);
    else if (is_cancelled(relay))
        end(relay, -ECANCELED);
    else
        write_rest(relay);
}

/* Delivered bytes leave the rest and are counted before the error is looked at: a byte is in the
 * rest or in `bytes`, never in both. */
static void was_written(struct unr_relay *relay, const struct unr_result *write)
{
    unri_was_written(relay->private_fields.to, write->bytes);
    consume_rest(relay, (size_t)write->bytes);
    relay->op.result.bytes += write->bytes;
    if (write->error || !write->bytes)
        end(relay, write->error ? write->error : -EIO);
    else if (is_cancelled(relay))
        end(relay, -ECANCELED);
    else if (find_rest(relay))
        write_rest(relay);
    else
        read_more(relay);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_relay *relay = unr_container_of(self, struct unr_relay, private_fields.compose);
    if (!finished)
        read_more(relay);
    else if (relay->private_fields.to->private_fields.is_written)
        was_written(relay, &finished->result);
    else
        was_read(relay, &finished->result);
}

struct unr_op *unr_relay(struct unr_relay *relay, struct unr_stream *from, struct unr_stream *to)
{
    struct unr_relay_private *p = &relay->private_fields;
    struct unr_op            *op = unr_compose(&p->compose, "relay", UNR_CANCEL_PARTIAL, step);
    unr_buffer_init(&relay->rest, BUFFER_MAX);
    p->from = from;
    p->to = to;
    return op;
}
