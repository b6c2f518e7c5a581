/* Connecting to the first of several addresses that answers. */
#ifndef UNRING_CONNECT_H
#define UNRING_CONNECT_H

#include <sys/socket.h>
#include <unring/compose.h>

UNR_BEGIN

struct unr_address {
    const struct sockaddr *address;
    socklen_t              len;
};

/* unring's own part of a `struct unr_connect_any`: not to be read or written. */
struct unr_connect_any_private {
    struct unr_compose        compose;
    const struct unr_address *addresses;
    unsigned                  count, index, phase;
    int                       fd, error;
    struct unr_op             child;
};

struct unr_connect_any {
    union {
        struct unr_op                  op;
        struct unr_connect_any_private private_fields;
    };
};

/* Connects a stream socket to one of `n` addresses: to each in turn, with a new socket, until one
 * answers.
 *
 * addresses  lent, with what they point to, until `done` runs.  They may be of different families.
 * Result   fd: the connected socket (close-on-exec), the caller's to close, also when a request
 *          came too late; else -1. value: how many addresses were tried to the end and failed, so
 *          on success the index of the one that answered.
 * Cancels  PARTIAL: every socket is closed, and the peers may have seen connections that were
 *          reset.
 * Errors   that of the last address: an address that cannot be used (-EINVAL, -EAFNOSUPPORT) counts
 *          as one that failed.  -EMFILE, -ENFILE, -ENOMEM and -ENOBUFS of socket(2) end it at once.
 *          -EDESTADDRREQ: there are no addresses.
 * Time     is the kernel's, about two minutes for a TCP address that does not answer;
 *          unr_cancel_after() bounds the whole.
 * Threads  the loop's.
 * Source   lib/connect.c; unr_socket(), unr_connect(); tests/test_connect.c. */
UNR_API struct unr_op *unr_connect_any(struct unr_connect_any   *connect,
                                       const struct unr_address *addresses, unsigned n);

UNR_END
#endif
