/* SPDX-License-Identifier: MIT */
/* Connecting to one of several addresses: a socket, a connect, and where that fails a close, for
 * each in turn. */
#include <unring.h>

enum phase { MAKING, CONNECTING, CLOSING };

static struct unr_connect_any *connect_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_connect_any, private_fields.compose);
}

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

/* Begins with the address at private_fields.index, the first that can be used from there on, or
 * ends with the last one's error. */
static void try_address(struct unr_connect_any *connect)
{
    for (; connect->private_fields.index < connect->private_fields.count;
         connect->private_fields.index++) {
        if (has_family(address_of(connect))) {
            int family = address_of(connect)->address->sa_family;
            next(connect, MAKING,
                 unr_socket(&connect->private_fields.child, family, SOCK_STREAM | SOCK_CLOEXEC, 0));
            return;
        }
        connect->private_fields.error = -EINVAL;
    }
    end(connect, connect->private_fields.error);
}

static void failed(struct unr_connect_any *connect, int error)
{
    connect->private_fields.error = error;
    connect->private_fields.index++;
    try_address(connect);
}

/* An error that every address would meet with, or that ends the operation. */
static bool is_final(int error)
{
    return error == -ECANCELED || error == -EMFILE || error == -ENFILE || error == -ENOMEM
           || error == -ENOBUFS;
}

static void made(struct unr_connect_any *connect, const struct unr_result *socket)
{
    const struct unr_address *to = address_of(connect);
    if (is_final(socket->error)) {
        end(connect, socket->error);
    } else if (socket->error) {
        failed(connect, socket->error);
    } else {
        connect->private_fields.fd = socket->fd;
        next(connect, CONNECTING,
             unr_connect(&connect->private_fields.child, socket->fd, to->address, to->len));
    }
}

static void connected(struct unr_connect_any *connect, int error)
{
    if (error) {
        connect->private_fields.error = error;
        next(connect, CLOSING,
             unr_close(&connect->private_fields.child, connect->private_fields.fd));
    } else {
        connect->op.result.fd = connect->private_fields.fd;
        end(connect, 0);
    }
}

static void closed(struct unr_connect_any *connect)
{
    if (connect->private_fields.error == -ECANCELED)
        end(connect, -ECANCELED);
    else
        failed(connect, connect->private_fields.error);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_connect_any *connect = connect_of(self);
    if (!finished)
        try_address(connect);
    else if (connect->private_fields.phase == MAKING)
        made(connect, &finished->result);
    else if (connect->private_fields.phase == CONNECTING)
        connected(connect, finished->result.error);
    else
        closed(connect);
}

struct unr_op *unr_connect_any(struct unr_connect_any *connect, const struct unr_address *addresses,
                               unsigned n)
{
    struct unr_op *op =
        unr_compose(&connect->private_fields.compose, "connect_any", UNR_CANCEL_PARTIAL, step);
    connect->private_fields.addresses = addresses;
    connect->private_fields.count = n;
    connect->private_fields.index = 0;
    connect->private_fields.error = -EDESTADDRREQ;
    return op;
}
