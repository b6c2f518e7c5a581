/* SPDX-License-Identifier: MIT */
/* Connecting to one of several addresses.  For each address in turn: a socket, a connect, and where
 * that fails, a close.  The calls themselves are uring/'s, and so is the undoing of a TCP connect
 * that was cancelled.
 *
 * A socket belongs to the operation until it is connected.  Then it is reported, whatever was
 * requested meanwhile (rules 3 and 11).  If the connect fails or is cancelled, the socket is closed
 * before the operation goes on or ends; the close supports no cancellation, so it always runs. */
#include <unring.h>

enum phase { MAKING, CONNECTING, CLOSING };

static struct unr_connect_any *connect_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_connect_any, private_fields.compose);
}

/* The address that is being tried. */
static const struct unr_address *address_of(const struct unr_connect_any *connect)
{
    return &connect->private_fields.addresses[connect->private_fields.index];
}

static void next(struct unr_connect_any *connect, enum phase phase, struct unr_op *described)
{
    connect->private_fields.phase = phase;
    unr_compose_next(&connect->private_fields.compose, described);
}

static void end(struct unr_connect_any *connect, int error)
{
    connect->op.result.value = connect->private_fields.index;
    unr_compose_end(&connect->private_fields.compose, error);
}

static bool has_family(const struct unr_address *address)
{
    return address->address && address->len >= sizeof address->address->sa_family;
}

/* Tries the address at `index`, or the first one behind it that has a family; an address without
 * one has failed already.  Where there is no address left, the last error ends the operation. */
static void try_address(struct unr_connect_any *connect)
{
    struct unr_connect_any_private *p = &connect->private_fields;
    for (; p->index < p->count; p->index++) {
        if (has_family(address_of(connect))) {
            int family = address_of(connect)->address->sa_family;
            next(connect, MAKING, unr_socket(&p->child, family, SOCK_STREAM | SOCK_CLOEXEC, 0));
            return;
        }
        p->error = -EINVAL;
    }
    end(connect, p->error);
}

static void address_failed(struct unr_connect_any *connect, int error)
{
    connect->private_fields.error = error;
    connect->private_fields.index++;
    try_address(connect);
}

/* Tells whether an error of socket(2) ends the operation: a cancellation, or want of something that
 * would be wanting for every other address as well. */
static bool is_final(int error)
{
    return error == -ECANCELED || error == -EMFILE || error == -ENFILE || error == -ENOMEM
           || error == -ENOBUFS;
}

static void after_socket(struct unr_connect_any *connect, const struct unr_result *socket)
{
    struct unr_connect_any_private *p = &connect->private_fields;
    const struct unr_address       *to = address_of(connect);
    if (is_final(socket->error)) {
        end(connect, socket->error);
    } else if (socket->error) {
        address_failed(connect, socket->error);
    } else {
        p->fd = socket->fd;
        next(connect, CONNECTING, unr_connect(&p->child, p->fd, to->address, to->len));
    }
}

static void after_connect(struct unr_connect_any *connect, int error)
{
    struct unr_connect_any_private *p = &connect->private_fields;
    if (error) {
        p->error = error;
        next(connect, CLOSING, unr_close(&p->child, p->fd));
    } else {
        connect->op.result.fd = p->fd;
        end(connect, 0);
    }
}

/* The error is the connect's; that of the close is not looked at. */
static void after_close(struct unr_connect_any *connect)
{
    if (connect->private_fields.error == -ECANCELED)
        end(connect, -ECANCELED);
    else
        address_failed(connect, connect->private_fields.error);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_connect_any *connect = connect_of(self);
    if (!finished)
        try_address(connect);
    else if (connect->private_fields.phase == MAKING)
        after_socket(connect, &finished->result);
    else if (connect->private_fields.phase == CONNECTING)
        after_connect(connect, finished->result.error);
    else
        after_close(connect);
}

struct unr_op *unr_connect_any(struct unr_connect_any *connect, const struct unr_address *addresses,
                               unsigned n)
{
    struct unr_connect_any_private *p = &connect->private_fields;
    struct unr_op *op = unr_compose(&p->compose, "connect_any", UNR_CANCEL_PARTIAL, step);
    p->addresses = addresses;
    p->count = n;
    p->index = 0;
    p->error = -EDESTADDRREQ;
    return op;
}
