/* SPDX-License-Identifier: MIT */
/* Names: looking up their addresses, and connecting to the first that answers.
 *
 * Lookups run on threads of their own, at most four, so that a name server that is silent delays no
 * other work.  What is said of the threads in work.h holds for them. */
#ifndef UNRING_RESOLVE_H
#define UNRING_RESOLVE_H

#include <netdb.h>
#include <unring/connect.h>

UNR_BEGIN

/* How long a host and a service may be, with the zero at their end. */
#define UNR_HOST_MAX    256
#define UNR_SERVICE_MAX 32

/* unring's own part of a `struct unr_resolve`: not to be read or written. */
struct unr_resolve_private {
    struct unr_lookup *lookup; /* what its thread has of it */
    int                eai;
    bool               is_too_long;
    bool               has_host, has_service, has_hints;
    int                flags, family, socktype, protocol; /* of the hints */
    char               host[UNR_HOST_MAX];
    char               service[UNR_SERVICE_MAX];
};

/* A lookup, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`.  The
 *          addresses are the caller's to give back, with unr_resolve_free(). */
struct unr_resolve {
    struct unr_op              op;
    struct addrinfo           *addresses; /* what was found; NULL: nothing */
    struct unr_resolve_private private_fields;
};

/* Describes a lookup of the addresses of a host and a service: getaddrinfo(3).
 *
 * host     a name; or a number, which with a service that is none or a number is looked up at once
 *          and without a thread; NULL: see getaddrinfo(3).  At most 255 bytes.  It is copied here,
 *          as are the next two.  With a number as the host and the name of a service a thread looks
 *          that up, because it is in a file, /etc/services.
 * service  a name or a number; NULL: the addresses have port 0.  At most 31 bytes.
 * hints    of which flags, family, socket type and protocol are looked at; NULL: none.
 * Result   `addresses`, in the order in which they are to be tried.  value: how many there are.
 *          What was found is the caller's also when a request came too late.
 * Cancels  TOTAL, at once, also while a thread is in getaddrinfo(3), which cannot be interrupted:
 *          the thread goes on by itself, and frees what it finds.
 * Errors   -ENOENT: there is no such host, it has no address of the family, or a name is too long.
 *          -EAGAIN: no name server has answered, or there is no thread.  -EINVAL: hints, or a
 *          service, that do not fit.  -EIO: the name server has failed for good.  -ENOMEM.
 *          Any other is what the system said.  unr_resolve_eai() tells more.
 * Waits    as long as /etc/resolv.conf says for each server; unr_cancel_after() bounds the whole.
 *          Four lookups that hang let no further one begin until they return.
 * Memory   allocates what its thread keeps, and the addresses.  Describing it anew forgets
 *          addresses that were not given back.
 * Returns  `&resolve->op`.
 * Threads  the loop's.
 * Source   tests/test_resolve.c. */
UNR_API struct unr_op *unr_resolve(struct unr_resolve *resolve, const char *host,
                                   const char *service, const struct addrinfo *hints);

/* Gives the addresses of a lookup that has ended back, if it found any.
 *
 * Threads  any one. */
UNR_API void unr_resolve_free(struct unr_resolve *resolve);

/* Returns what getaddrinfo(3) said in a lookup that has ended.
 *
 * Returns  0, or EAI_NONAME and its like, for gai_strerror(3).
 * Threads  any one. */
UNR_API int unr_resolve_eai(const struct unr_resolve *resolve);

/* unring's own part of a `struct unr_connect_name`: not to be read or written. */
struct unr_connect_name_private {
    struct unr_compose     compose;
    const char            *host, *service;
    struct unr_address    *addresses; /* as unr_connect_any() takes them */
    struct unr_resolve     resolve;
    struct unr_connect_any connect;
};

/* A connect by name, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_connect_name {
    union {
        struct unr_op                   op;
        struct unr_connect_name_private private_fields;
    };
};

/* Connects a new stream socket to the first address of a name that answers.
 *
 * host     a name or a number; lent until `done`, as is `service`.  NULL: this machine.
 * service  a name or a number; NULL has port 0, where nobody listens.
 * Result   as that of unr_connect_any(): fd, the connected socket (close-on-exec), the caller's to
 *          close, also when a request to cancel came too late; otherwise -1.  value: how many
 *          addresses have failed.
 * Cancels  PARTIAL: every socket is closed.  The peers may have seen connections that were reset.
 * Errors   those of unr_resolve(); then those of unr_connect_any(): that of the last address.
 * Waits    as unr_resolve(), and for an address that does not answer as long as the kernel does;
 *          unr_cancel_after() bounds the whole.
 * Memory   allocates as unr_resolve(), and a list of the addresses.  `done` finds it all freed.
 * Returns  `&connect->op`.
 * Threads  the loop's.
 * Source   unr_resolve(), unr_connect_any(); tests/test_resolve.c. */
UNR_API struct unr_op *unr_connect_name(struct unr_connect_name *connect, const char *host,
                                        const char *service);

UNR_END
#endif
