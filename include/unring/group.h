/* Operations side by side, as one: the group ends when each of its members has. */
#ifndef UNRING_GROUP_H
#define UNRING_GROUP_H

#include <unring/op.h>

UNR_BEGIN

/* Asked once for each member that has ended, in order of completion: the types (UNR_CANCEL_*) that
 * are to be requested of the others, with cause -ECANCELED; 0 to go on waiting.  The first answer
 * but 0 decides the group; later ones escalate.
 * Threads  the loop's.  It may emit and start operations. */
typedef unsigned unr_group_condition_fn(void *context, const struct unr_op *finished);

/* Never; at the first; at the first that succeeded; at the first that did not: UNR_CANCEL_ALL.
 * `context` is not looked at. */
UNR_API unsigned unr_wait_all(void *context, const struct unr_op *finished);
UNR_API unsigned unr_wait_one(void *context, const struct unr_op *finished);
UNR_API unsigned unr_wait_one_success(void *context, const struct unr_op *finished);
UNR_API unsigned unr_wait_one_error(void *context, const struct unr_op *finished);

/* unring's own part of a `struct unr_group`: not to be read or written. */
struct unr_group_private {
    unr_group_condition_fn   *condition;
    void                     *context;
    struct unr_op            *members;      /* linked by their `data` */
    struct unr_op            *first, *last; /* that have ended, in that order */
    struct unr_op            *decider;
    struct unr_cancel_request outside;
    unsigned                  left, own_types;
    bool                      several_causes; /* of requests from outside */
};

struct unr_group {
    struct unr_op            op;
    struct unr_group_private private_fields;
};

/* `n` operations, started together in their order.
 *
 * members  described, and from now on the group's, as is the `data` of each.  The array may go at
 *          once.  0 members end at once.
 * Result   value: the index of the member that decided.  Without a decision it is the last to end;
 *          if all of unr_wait_one_success failed, the first to end; if a request from outside came
 *          first, or there is no member, -1. error: 0, except
 *            unr_wait_one_success  if none succeeded, the error of the first to end;
 *            unr_wait_one_error    the error of the first, in order of completion, that failed of
 *            its own; -ECANCELED            if a request from outside the group ended members
 *            before there was a decision.
 *          guarantee: the weakest that a member was cancelled under, at most PARTIAL if one has
 *          completed.  What the members yielded stays in them, a descriptor too: unr_group_first().
 * Cancels  the types that any member supports; each is asked, whatever became of the others.
 *          unr_cancel_fd() finds the members on that descriptor, not the group.
 * Ends     with the last member: one that supports NONE holds the group as long as it runs.
 * Threads  the loop's.
 * Source   lib/group.c; tests/test_group.c. */
UNR_API struct unr_op *unr_group(struct unr_group *group, struct unr_op *const *members, unsigned n,
                                 unr_group_condition_fn *condition, void *context);

/* Asio's ||: unr_group() with unr_wait_one_success. */
UNR_API struct unr_op *unr_any(struct unr_group *group, struct unr_op *const *members, unsigned n);

/* Asio's &&: unr_group() with unr_wait_one_error. */
UNR_API struct unr_op *unr_all(struct unr_group *group, struct unr_op *const *members, unsigned n);

/* The members of a group in flight or in its `done` that have ended, in order of completion; NULL
 * behind the last.  Valid until a member is described anew. */
UNR_API struct unr_op *unr_group_first(const struct unr_group *group);
UNR_API struct unr_op *unr_group_next(const struct unr_op *member);

UNR_END
#endif
