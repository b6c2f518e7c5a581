/* SPDX-License-Identifier: MIT */
/* Connecting to the first of several addresses that answers. */
#ifndef UNRING_CONNECT_H
#define UNRING_CONNECT_H

#include <sys/socket.h>
#include <unring/compose.h>

UNR_BEGIN

/* An address to connect to. */
struct unr_address {
    const struct sockaddr *address; /* of any family */
    socklen_t              len;     /* of `*address`, in bytes */
};

/* unring's own part of a `struct unr_connect_any`: not to be read or written. */
struct unr_connect_any_private {
    struct unr_compose        compose;
    const struct unr_address *addresses;
    unsigned                  count, index, phase;
    int                       fd, error; /* the socket of this address; the last address's error */
    struct unr_op             child;
};

/* A connect to one of several addresses, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_connect_any {
    union {
        struct unr_op                  op;
        struct unr_connect_any_private private_fields;
    };
};

/* Connects a new stream socket to the first of `n` addresses that answers.
 *
 * addresses  tried in their order, each with a socket of its own.  They are lent until `done`,
 *            with the addresses that they point to, and may be of different families.
 * Result     fd: the connected socket (close-on-exec), the caller's to close, also when a request
 *            to cancel came too late; otherwise -1.  value: how many addresses have failed; so on
 *            success the index of the address that answered.
 * Cancels    PARTIAL: every socket is closed.  The peers may have seen connections that were
 *            reset.
 * Errors     that of the last address.  An address that cannot be used (-EINVAL, -EAFNOSUPPORT)
 *            counts as one that failed.  -EMFILE, -ENFILE, -ENOMEM and -ENOBUFS of socket(2) end
 *            the operation at once.  -EDESTADDRREQ: `n` is 0.
 * Waits      for a TCP address that does not answer as long as the kernel does, about two minutes;
 *            unr_cancel_after() bounds the whole.
 * Memory     allocates nothing.
 * Returns    `&connect->op`.
 * Threads    the loop's.
 * Source     unr_socket(), unr_connect(); tests/test_connect.c. */
UNR_API struct unr_op *unr_connect_any(struct unr_connect_any   *connect,
                                       const struct unr_address *addresses, unsigned n);

UNR_END
#endif
