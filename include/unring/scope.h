/* A scope: an operation in which others are started while it runs. */
#ifndef UNRING_SCOPE_H
#define UNRING_SCOPE_H

#include <unring/op.h>

UNR_BEGIN

struct unr_scope_member {
    struct unr_op *op; /* NULL: nobody */
    unr_done_fn   *done;
    bool           asked; /* the scope's request was the first that it honoured */
};

enum { UNR_SCOPE_INLINE = 16 };

/* unring's own part of a `struct unr_scope`: not to be read or written. */
struct unr_scope_private {
    struct unr_cancel_request asked;
    struct unr_scope_member  *members; /* a hash table, by the address of the operation */
    size_t                    room, count;
    uint64_t                  ended;
    uint32_t                  growths, failing;
    uint8_t                   weakest;
    bool                      closed, cancelled, busy, several_causes;
    struct unr_scope_member   inline_members[UNR_SCOPE_INLINE];
};

struct unr_scope {
    struct unr_op            op;
    struct unr_scope_private private_fields;
};

/* Ends when it is closed and all that was started in it has ended.
 *
 * Result   value: how many operations ended in it.  error: 0, or -ECANCELED if a request to the
 *          scope ended one of them; the guarantee is the weakest that one was cancelled under, at
 *          most PARTIAL if one has completed.
 * Cancels  any type: the request goes to each member and, from then on, with the first cause, to
 *          each later one before it begins.  It does not close the scope: whoever starts operations
 *          in it says when there are no more.
 * Closing  a loop that is closed closes its scopes.
 * Memory   no allocation while no more than eight members are in flight; beyond, a table that
 *          doubles, and is freed when the scope ends.
 * Threads  the loop's.
 * Source   lib/scope.c; tests/test_scope.c. */
UNR_API struct unr_op *unr_scope(struct unr_scope *scope);

/* Starts an operation in a scope in flight, closed or not, as unr_start() does; scopes nest.  It
 * has its own `done`, its own slot and its own result, and the scope's requests besides.
 * Errors   -ENOMEM in its result: there is no memory for one more member, and it did not begin. */
UNR_API void unr_scope_start(struct unr_scope *scope, struct unr_op *described, unr_done_fn *done,
                             void *data);

/* Says that nothing more is started in the scope, but by the `done` of what runs in it: when all
 * has ended, it ends.  A scope that is described may be closed already. */
UNR_API void unr_scope_close(struct unr_scope *scope);

UNR_END
#endif
