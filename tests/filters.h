/* SPDX-License-Identifier: MIT */
/* What Asio's filters and filters of one's own do to a request: the same for every operation that
 * has a cancellation state.  test_state.c plays it with a composed operation, test_fiber.c with a
 * fiber.  Each has defined, before it includes this file, a `struct reader` that receives a byte
 * `goal` times, and these: start_reader(), which starts it with filters, bound to `stop` if that is
 * set; state_of(); give(), which writes to it; receives_of(), how many receives it has begun. */
#ifndef TESTS_FILTERS_H
#define TESTS_FILTERS_H

#include "support.h"

static unr_filter_fn *const lets[] = { unr_let_none, unr_let_terminal, unr_let_partial,
                                       unr_let_total };
static const unsigned       masks[] = { 0, 1, 3, 7 };
static const unsigned       emitted[] = { UNR_CANCEL_TERMINAL, UNR_CANCEL_PARTIAL, UNR_CANCEL_TOTAL,
                                          UNR_CANCEL_ALL };

static inline unsigned strongest(unsigned types)
{
    return types & 4 ? 4 : types & 2 ? 2 : types;
}

/* What the filter lets in ends the operation, under the guarantee that it supports now; what it
 * does not is refused, not recorded, and the receive goes on. */
static inline void play_filter_against_type(unr_filter_fn *lets_in, unsigned mask, unsigned types)
{
    struct unr_signal stop = { 0 };
    struct reader     r = { .goal = 1, .stop = &stop };
    bool              ends = mask & types;
    unix_pair(r.fds);
    start_reader(&r, lets_in, lets_in);
    cr_assert_eq(unr_supports(&r.op), mask);
    cr_assert_eq(unr_signal_emit_cause(&stop, types, -61), ends);
    cr_assert_eq(unr_state_cancelled(state_of(&r)), mask & types);
    cr_assert_eq(unr_state_cause(state_of(&r)), ends ? -61 : 0);
    submit();
    if (ends) {
        run();
        expect_cancelled(&r.seen, mask == 7 ? UNR_CANCEL_TOTAL : strongest(mask),
                         UNR_VERDICT_CANCELLED, -61);
        give(&r, "x");
    } else {
        cr_assert_eq(r.seen.runs, 0);
        give(&r, "x");
        run();
        cr_assert_eq(r.seen.result.error, 0);
        cr_assert_eq(r.seen.result.verdict, UNR_VERDICT_REFUSED);
        cr_assert_eq(r.seen.result.cause, -61);
    }
    cr_assert_eq(r.seen.result.requested, types);
    cr_assert_eq(r.seen.result.bytes + drain(r.fds[0]), 1);
    close_pair(r.fds);
}

/* Each of Asio's filters against each type and all of them. */
static inline void play_each_filter_against_each_type(void)
{
    for (size_t i = 0; i < LENGTH(lets); i++)
        for (size_t j = 0; j < LENGTH(emitted); j++)
            play_filter_against_type(lets[i], masks[i], emitted[j]);
    close_loop();
}

static inline unsigned total_to_partial(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_PARTIAL : type;
}

/* Around a receive that supports no more than PARTIAL, a TOTAL request is made one for PARTIAL: by
 * the in filter, which records that, or by the out filter, behind which TOTAL is on record. */
static inline void play_total_to_partial(void)
{
    for (int out = 0; out < 2; out++) {
        struct reader r = { .goal = 8, .flags = MSG_WAITALL };
        unix_pair(r.fds);
        start_reader(&r, out ? unr_let_total : total_to_partial, out ? total_to_partial : NULL);
        cr_assert_eq(unr_supports(&r.op), UNR_CANCEL_ALL);
        give(&r, "abc");
        submit();
        submit();
        unr_cancel(&r.op, UNR_CANCEL_TOTAL);
        cr_assert_eq(unr_state_cancelled(state_of(&r)),
                     out ? UNR_CANCEL_TOTAL : UNR_CANCEL_PARTIAL);
        run();
        expect_cancelled(&r.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(r.seen.result.requested, UNR_CANCEL_TOTAL);
        cr_assert_eq(r.seen.result.bytes + drain(r.fds[0]), 3);
        close_pair(r.fds);
    }
    close_loop();
}

/* A child that supports none of what is passed on runs on; so does each later one. */
static inline void play_child_that_supports_none(void)
{
    struct reader r = { .goal = 16, .flags = MSG_WAITALL };
    unix_pair(r.fds);
    start_reader(&r, unr_let_total, NULL);
    unr_cancel(&r.op, UNR_CANCEL_TOTAL);
    give(&r, "0123456789abcdef");
    run();
    cr_assert_eq(r.seen.result.error, 0);
    cr_assert_eq(r.seen.result.bytes, 16);
    cr_assert_eq(r.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(r.child.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_TOTAL);
    close_pair(r.fds);
    close_loop();
}

/* In total, out none: a request is recorded, interrupts nothing and pre-empts nothing; the
 * operation may look. */
static inline void play_in_total_out_none(void)
{
    struct reader r = { .goal = 3 };
    unix_pair(r.fds);
    start_reader(&r, unr_let_total, unr_let_none);
    cr_assert(unr_cancel_cause(&r.op, UNR_CANCEL_PARTIAL, -62));
    cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_PARTIAL);
    cr_assert_eq(unr_state_cause(state_of(&r)), -62);
    give(&r, "abc");
    run();
    cr_assert_eq(r.seen.result.error, 0);
    cr_assert_eq(r.seen.result.bytes, 3);
    cr_assert_eq(receives_of(&r), 3);
    cr_assert_eq(r.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(r.seen.result.cause, -62);
    cr_assert_eq(r.child.result.requested, 0, "the children know of nothing");
    close_pair(r.fds);
    close_loop();
}

struct questions {
    unsigned count, last, all;
};

static inline unsigned note(void *context, unsigned type)
{
    struct questions *questions = context;
    questions->count++;
    questions->last = type;
    questions->all |= type;
    return type == UNR_CANCEL_TERMINAL ? 0 : UNR_CANCEL_TERMINAL;
}

/* A filter is asked for one type at a time, with its context, and its answers are or-ed. */
static inline void play_filters_bit_by_bit(void)
{
    struct questions q = { 0 };
    struct reader    r = { .goal = 1, .context = &q };
    unix_pair(r.fds);
    start_reader(&r, note, NULL);
    cr_assert_eq(unr_supports(&r.op), UNR_CANCEL_PARTIAL | UNR_CANCEL_TOTAL);
    q = (struct questions){ 0 };
    unr_cancel(&r.op, UNR_CANCEL_PARTIAL);
    cr_assert_eq(q.count, 1);
    cr_assert_eq(q.last, UNR_CANCEL_PARTIAL);
    cr_assert_eq(unr_state_cancelled(state_of(&r)), UNR_CANCEL_TERMINAL);
    run();
    expect_cancelled(&r.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);

    start_reader(&r, note, NULL);
    q = (struct questions){ 0 };
    unr_cancel(&r.op, UNR_CANCEL_ALL);
    cr_assert_eq(q.count, 3);
    cr_assert_eq(q.all, UNR_CANCEL_ALL);
    run();
    close_pair(r.fds);
    close_loop();
}

#endif
