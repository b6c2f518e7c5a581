/* SPDX-License-Identifier: MIT */
/* Groups: operations side by side that are one operation, which ends when each of its members has
 * ended. */
#ifndef UNRING_GROUP_H
#define UNRING_GROUP_H

#include <unring/op.h>

UNR_BEGIN

/* Says, of each member that has ended, whether the others are to be cancelled.  It is called once
 * for each member, in the order of completion.  Of members that complete between two turns the
 * kernel says the order: Linux 6.1 mostly says the last first.
 *
 * context   as given to unr_group().
 * finished  the member that has ended, with its result.
 * Returns   the types that are requested from the members in flight, with cause -ECANCELED: a mask
 *           of UNR_CANCEL_*; 0: none.  A bit outside UNR_CANCEL_ALL is a broken contract.
 * Decides   the first member for which the answer is not 0, unless it was ended by an earlier
 *           answer or by a request from outside the group.  Of a later answer the types are
 *           requested that no earlier answer had.
 * Inside    it may emit, cancel and start operations.
 * Threads   the loop's. */
typedef unsigned unr_group_condition_fn(void *context, const struct unr_op *finished);

/* unring's own part of a `struct unr_group`: not to be read or written. */
struct unr_group_private {
    unr_group_condition_fn   *condition;
    void                     *context;
    struct unr_op            *members;         /* all, linked by their `data`, in their order ... */
    struct unr_op            *first, *last;    /* the members that have ended, in that order */
    struct unr_op            *decider;         /* NULL: no member has decided */
    struct unr_cancel_request outside;         /* requests to the group, with the first cause */
    unsigned                  left;            /* how many members have not ended */
    unsigned                  condition_types; /* what `condition` has requested */
    bool                      several_causes;  /* not all requests had the same cause */
    bool                      newest_first;    /* ... or in the reverse order, during a request */
};

/* A group, which is an operation.
 *
 * Memory   the caller's: zeroed once, and where it is from its description until `done`. */
struct unr_group {
    struct unr_op            op;
    struct unr_group_private private_fields;
};

/* Describes `n` operations, to be started together, as one.
 *
 * members    described, none of them multishot: that is a broken contract, named when the member
 *            is submitted (system.h).  They are lent until `done`, and the group overwrites the
 *            `data` of each.  The array may go at once.  A group of 0 members ends at once; then
 *            `members` may be NULL.
 * condition  one of unr_wait_*(), or the caller's own; called with `context`, which is lent until
 *            `done`.
 * Result     value: the index of the member that decided.  Without a decision it is -1 if a
 *            request from outside ended a member, or if there is no member.  Else it is that of
 *            the first member to end for unr_wait_one_success(), and of the last for all other
 *            conditions.  error: 0, except that it is
 *            - with unr_wait_one_success(), if none succeeded, that of the first member to end;
 *            - with unr_wait_one_error(), that of the first member to fail of its own;
 *            - -ECANCELED, if a request from outside ended a member before there was a decision.
 *            The result of each member stays in the member, with a descriptor that it owns:
 *            unr_group_first().
 * Cancels    the types that any member supports are supported.  A request goes to each member, and
 *            the group ends when all have ended.  The guarantee is the weakest under which a
 *            member was cancelled, and at most PARTIAL if a member has completed.
 * Reached    unr_cancel_fd() finds the members on its descriptor, and not the group itself.
 * Waits      for every member: one that supports NONE holds the group as long as it runs.
 * Memory     allocates nothing.
 * Returns    `&group->op`.
 * Threads    the loop's.
 * Source     tests/test_group.c. */
UNR_API struct unr_op *unr_group(struct unr_group *group, struct unr_op *const *members, unsigned n,
                                 unr_group_condition_fn *condition, void *context);

/* Describes `n` operations, of which the first success ends the others.
 *
 * members  described, none of them multishot.  They are lent until `done`, and the group
 *          overwrites the `data` of each.  The array may go at once.
 * Result   value: the index of the first member that succeeded; error 0.  If none did, the index
 *          and the error of the first member to end.  If a request from outside ended a member
 *          before, -1 and -ECANCELED.
 * Cancels  the types that any member supports are supported.  A request goes to each member, and
 *          the group ends when all have ended.  The guarantee is the weakest under which a member
 *          was cancelled, and at most PARTIAL if a member has completed.
 * Losers   may have completed all the same: the bytes or the connection are in their results,
 *          unr_group_first().
 * Asio     operator ||.  It is unr_group() with unr_wait_one_success().
 * Threads  the loop's.
 * Source   tests/test_group.c, any_*. */
UNR_API struct unr_op *unr_any(struct unr_group *group, struct unr_op *const *members, unsigned n);

/* Describes `n` operations, of which the first failure ends the others.
 *
 * members  described, none of them multishot.  They are lent until `done`, and the group
 *          overwrites the `data` of each.  The array may go at once.
 * Result   error 0 if all succeeded, and value: the index of the last member to end.  If a member
 *          failed, the index and the error of the first that failed of its own.  If a request from
 *          outside ended a member before, -1 and -ECANCELED.
 * Cancels  the types that any member supports are supported.  A request goes to each member, and
 *          the group ends when all have ended.  The guarantee is the weakest under which a member
 *          was cancelled, and at most PARTIAL if a member has completed.
 * Asio     operator &&.  It is unr_group() with unr_wait_one_error().
 * Threads  the loop's.
 * Source   tests/test_group.c, all_*. */
UNR_API struct unr_op *unr_all(struct unr_group *group, struct unr_op *const *members, unsigned n);

/* Leaves the other members alone: a condition that returns 0.  `context` is not looked at. */
UNR_API unsigned unr_wait_all(void *context, const struct unr_op *finished);

/* Cancels the others as soon as one member has ended: a condition.
 *
 * It returns UNR_CANCEL_ALL.  `context` is not looked at. */
UNR_API unsigned unr_wait_one(void *context, const struct unr_op *finished);

/* Cancels the others as soon as one member has succeeded: a condition.
 *
 * It returns UNR_CANCEL_ALL of a member with error 0, and 0 of others.  `context` is not looked
 * at. */
UNR_API unsigned unr_wait_one_success(void *context, const struct unr_op *finished);

/* Cancels the others as soon as one member has failed: a condition.
 *
 * It returns UNR_CANCEL_ALL of a member with an error, and 0 of others.  `context` is not looked
 * at. */
UNR_API unsigned unr_wait_one_error(void *context, const struct unr_op *finished);

/* Returns the member of a group that was the first to end.
 *
 * group    in flight or in its `done`.
 * Returns  NULL: none has ended.  Valid until that member is described anew. */
UNR_API struct unr_op *unr_group_first(const struct unr_group *group);

/* Returns the member of a group that was the next to end after `member`.
 *
 * member   a member that has ended, from unr_group_first() or this function.
 * Returns  NULL: no other has ended since.  Valid until that member is described anew. */
UNR_API struct unr_op *unr_group_next(const struct unr_op *member);

UNR_END
#endif
