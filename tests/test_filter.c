/* SPDX-License-Identifier: MIT */
/* Filters around one operation: which requests reach it, in which terms the result speaks, and what
 * no filter keeps out. */
#include "support.h"

#include <liburing.h>
#include <sys/eventfd.h>

TestSuite(filter, .init = open_loop, .timeout = 20);
TestSuite(filter_contract, .timeout = 20);

static void record(struct unr_op *op)
{
    struct seen *seen = op->data;
    seen->runs++;
    seen->result = op->result;
    if (seen->then)
        seen->then(seen);
}

/* As start(), for what has a structure of its own. */
static void begin(struct seen *seen, struct unr_op *described)
{
    seen->runs = 0;
    unr_start(loop, described, record, seen);
}

static unsigned total_to_partial(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_PARTIAL : type;
}

static unsigned partial_to_terminal(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_PARTIAL ? UNR_CANCEL_TERMINAL : 0;
}

static unsigned terminal_to_all(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TERMINAL ? UNR_CANCEL_ALL : 0;
}

/* A receive in a filter, from the first of a pair. */
struct filtered {
    struct unr_filter filter;
    struct seen       seen;
    struct unr_op     recv;
    int               fds[2];
    char              buf[8];
};

static struct unr_op *filtered(struct filtered *f, int flags, unr_filter_fn *out, void *context)
{
    unix_pair(f->fds);
    return unr_filter(&f->filter, unr_recv(&f->recv, f->fds[0], f->buf, sizeof f->buf, flags), out,
                      context);
}

static void give(struct filtered *f, const char *bytes)
{
    cr_assert_eq(write(f->fds[1], bytes, strlen(bytes)), (ssize_t)strlen(bytes));
}

static void expect_refused(const struct filtered *f, unsigned requested, int cause, uint64_t bytes)
{
    cr_assert_eq(f->seen.runs, 1);
    cr_assert_eq(f->seen.result.error, 0);
    cr_assert_eq(f->seen.result.bytes, bytes);
    cr_assert_eq(f->seen.result.verdict, UNR_VERDICT_REFUSED, "verdict %u", f->seen.result.verdict);
    cr_assert_eq(f->seen.result.requested, requested);
    cr_assert_eq(f->seen.result.cause, cause);
    cr_assert_eq(f->seen.result.guarantee, UNR_CANCEL_NONE);
}

/* ---- each type through each kind of filter ---- */

/* What each type leads to, around a receive that supports TOTAL or, with MSG_WAITALL, PARTIAL: the
 * guarantee in the terms of the requests from outside, or 0 where the request is refused. */
static const struct {
    const char    *name;
    unr_filter_fn *out;
    int            flags;
    unsigned       supports, guarantee;
} kinds[] = {
    { "identity", unr_let_total, 0, 7, UNR_CANCEL_TOTAL },
    { "identity around partial", unr_let_total, MSG_WAITALL, 3, UNR_CANCEL_PARTIAL },
    { "to terminal", unr_let_terminal, 0, 1, UNR_CANCEL_TERMINAL },
    { "to partial", unr_let_partial, 0, 3, UNR_CANCEL_PARTIAL },
    { "total made partial", total_to_partial, 0, 7, UNR_CANCEL_TOTAL },
    { "total made partial around partial", total_to_partial, MSG_WAITALL, 7, UNR_CANCEL_TOTAL },
    { "partial made terminal", partial_to_terminal, 0, 2, UNR_CANCEL_PARTIAL },
    { "terminal made all", terminal_to_all, 0, 1, UNR_CANCEL_TERMINAL },
    { "terminal made all around partial", terminal_to_all, MSG_WAITALL, 1, UNR_CANCEL_TERMINAL },
    { "none", unr_let_none, 0, 0, 0 },
};

/* Each type, and all of them, through each: what leads to something that the receive supports ends
 * it, and the others are refused; nothing is lost of what was sent. */
Test(filter, each_type_through_each_filter)
{
    static const unsigned asked[] = { UNR_CANCEL_TERMINAL, UNR_CANCEL_PARTIAL, UNR_CANCEL_TOTAL,
                                      UNR_CANCEL_ALL };
    for (size_t i = 0; i < LENGTH(kinds); i++)
        for (size_t j = 0; j < LENGTH(asked); j++) {
            struct unr_signal stop = { 0 };
            struct filtered   f = { 0 };
            begin(&f.seen, unr_bind_slot(filtered(&f, kinds[i].flags, kinds[i].out, NULL),
                                         unr_signal_slot(&stop)));
            cr_assert_eq(unr_supports(&f.filter.op), kinds[i].supports, "%s", kinds[i].name);
            cr_assert_eq(unr_loop_in_flight(loop), 1);
            submit();
            cr_assert_eq(unr_signal_emit_cause(&stop, asked[j], -21),
                         (kinds[i].supports & asked[j]) != 0);
            submit();
            if (kinds[i].supports & asked[j]) {
                run();
                cr_assert_eq(f.seen.result.error, -ECANCELED, "%s", kinds[i].name);
                cr_assert_eq(f.seen.result.guarantee, kinds[i].guarantee, "%s: %u", kinds[i].name,
                             f.seen.result.guarantee);
                expect_cancelled(&f.seen, kinds[i].guarantee, UNR_VERDICT_CANCELLED, -21);
                cr_assert_eq(f.seen.result.requested, asked[j]);
                give(&f, "12345678");
                cr_assert_eq(drain(f.fds[0]), 8);
            } else {
                cr_assert_eq(f.seen.runs, 0, "%s", kinds[i].name);
                give(&f, "12345678");
                run();
                expect_refused(&f, asked[j], -21, 8);
            }
            close_pair(f.fds);
        }
    close_loop();
}

/* TOTAL made PARTIAL around a receive that was cut short: what it had taken is counted, and its own
 * result keeps its own terms. */
Test(filter, widening_counts_what_was_cut_short)
{
    struct filtered f = { 0 };
    begin(&f.seen, filtered(&f, MSG_WAITALL, total_to_partial, NULL));
    submit();
    give(&f, "abc");
    submit();
    submit();
    cr_assert(unr_cancel_cause(&f.filter.op, UNR_CANCEL_TOTAL, -22));
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -22);
    cr_assert_eq(f.seen.result.bytes + drain(f.fds[0]), 3);
    cr_assert_eq(f.recv.result.guarantee, UNR_CANCEL_PARTIAL);
    cr_assert_eq(f.recv.result.requested, UNR_CANCEL_PARTIAL);
    cr_assert_eq(f.recv.result.bytes, f.seen.result.bytes);
    close_pair(f.fds);
    close_loop();
}

/* TOTAL is refused, TERMINAL then honoured. */
Test(filter, escalation_is_honoured_after_a_refusal)
{
    struct filtered f = { 0 };
    begin(&f.seen, filtered(&f, 0, unr_let_terminal, NULL));
    submit();
    unr_cancel_cause(&f.filter.op, UNR_CANCEL_TOTAL, -23);
    submit();
    cr_assert_eq(f.seen.runs, 0);
    unr_cancel_cause(&f.filter.op, UNR_CANCEL_TERMINAL, -24);
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -24);
    cr_assert_eq(f.seen.result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL);
    close_pair(f.fds);
    close_loop();
}

static unsigned note(void *context, unsigned type)
{
    *(unsigned *)context = *(unsigned *)context << 4 | type;
    return type;
}

/* A filter is asked for one type at a time, with its context, about those that were asked for. */
Test(filter, is_asked_bit_by_bit)
{
    unsigned        noted = 0;
    struct filtered f = { 0 };
    begin(&f.seen, filtered(&f, 0, note, &noted));
    cr_assert_eq(noted, 0x124);
    noted = 0;
    unr_cancel(&f.filter.op, UNR_CANCEL_PARTIAL | UNR_CANCEL_TOTAL);
    cr_assert_eq(noted, 0x24);
    run();
    close_pair(f.fds);
    close_loop();
}

static unsigned while_open(void *open, unsigned type)
{
    return *(bool *)open ? type : 0;
}

/* A filter is asked at each request, so it may change its mind: what it refuses is REFUSED. */
Test(filter, that_has_changed_its_mind_refuses)
{
    bool            open = true;
    struct filtered f = { 0 };
    begin(&f.seen, filtered(&f, 0, while_open, &open));
    submit();
    open = false;
    unr_cancel_cause(&f.filter.op, UNR_CANCEL_TOTAL, -25);
    give(&f, "abc");
    run();
    expect_refused(&f, UNR_CANCEL_TOTAL, -25, 3);
    close_pair(f.fds);
    close_loop();
}

/* ... and asked again when it lets it through, it is honoured. */
Test(filter, that_changes_its_mind_again_lets_the_same_type_through)
{
    bool            open = true;
    struct filtered f = { 0 };
    begin(&f.seen, filtered(&f, 0, while_open, &open));
    submit();
    open = false;
    unr_cancel_cause(&f.filter.op, UNR_CANCEL_TOTAL, -25);
    open = true;
    unr_cancel_cause(&f.filter.op, UNR_CANCEL_TOTAL, -26);
    submit();
    submit();
    give(&f, f.seen.runs ? "" : "abc");
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -26);
    close_pair(f.fds);
    close_loop();
}

struct busy {
    struct unr_signal *own, *others;
    struct seen        nop;
    bool               on;
};

static unsigned emit_and_start(void *context, unsigned type)
{
    struct busy *busy = context;
    if (busy->on) {
        busy->on = false;
        unr_signal_emit_cause(busy->others, UNR_CANCEL_TOTAL, -27);
        unr_signal_emit_cause(busy->own, UNR_CANCEL_TOTAL, -28);
        start(&busy->nop, unr_nop(&busy->nop.op));
    }
    return type;
}

/* A filter may emit, also to what it is being asked about, and start operations. */
Test(filter, may_emit_and_start)
{
    struct unr_signal stop = { 0 }, other_stop = { 0 };
    struct busy       busy = { .own = &stop, .others = &other_stop };
    struct filtered   f = { 0 }, other = { 0 };
    begin(&f.seen, unr_bind_slot(filtered(&f, 0, emit_and_start, &busy), unr_signal_slot(&stop)));
    begin(&other.seen,
          unr_bind_slot(filtered(&other, 0, unr_let_total, NULL), unr_signal_slot(&other_stop)));
    submit();
    busy.on = true;
    unr_signal_emit_cause(&stop, UNR_CANCEL_TERMINAL, -29);
    cr_assert_eq(f.seen.runs + other.seen.runs + busy.nop.runs, 0);
    run();
    cr_assert_eq(f.seen.result.error, -ECANCELED);
    cr_assert_eq(f.seen.result.requested, UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
    expect_cancelled(&other.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -27);
    cr_assert_eq(busy.nop.runs, 1);
    close_pair(f.fds);
    close_pair(other.fds);
    close_loop();
}

struct asks_at_start {
    struct unr_op *asked; /* NULL: it only answers */
};

/* Lets nothing but TOTAL through, and asks for that when it is asked. */
static unsigned ask_for_total(void *context, unsigned type)
{
    struct asks_at_start *asks = context;
    struct unr_op        *asked = asks->asked;
    asks->asked = NULL;
    if (asked)
        cr_assert(unr_cancel_cause(asked, UNR_CANCEL_TOTAL, -38));
    return type == UNR_CANCEL_TOTAL ? type : 0;
}

/* A filter that is asked at the start, about what was latched, may request its own operation or the
 * one around it: that counts, and what is inside never begins. */
Test(filter, may_request_at_the_start)
{
    for (int around = 0; around < 2; around++) {
        struct unr_signal    latched = { 0 };
        struct unr_filter    outer = { 0 };
        struct filtered      f = { 0 };
        struct asks_at_start asks = { 0 };
        unr_signal_init_latched(&latched);
        unr_signal_emit_cause(&latched, UNR_CANCEL_TERMINAL, -39);
        struct unr_op *described =
            unr_bind_slot(filtered(&f, 0, ask_for_total, &asks), unr_signal_slot(&latched));
        unr_filter(&outer, described, unr_let_total, NULL);
        asks.asked = around ? &outer.op : &f.filter.op;
        give(&f, "abc");
        begin(&f.seen, &outer.op);
        run();
        cr_assert_eq(f.seen.runs, 1);
        cr_assert_eq(f.seen.result.error, -ECANCELED, "%d: %d", around, f.seen.result.error);
        cr_assert_eq(f.seen.result.verdict, UNR_VERDICT_UNSUBMITTED);
        cr_assert_eq(f.recv.result.verdict, UNR_VERDICT_UNSUBMITTED);
        cr_assert_eq(f.filter.op.result.requested, UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
        cr_assert_eq(drain(f.fds[0]), 3);
        close_pair(f.fds);
    }
    close_loop();
}

/* ---- the shield ---- */

static struct unr_op *shielded(struct filtered *f)
{
    unix_pair(f->fds);
    return unr_shield(&f->filter, unr_recv(&f->recv, f->fds[0], f->buf, sizeof f->buf, 0));
}

/* Nothing from outside cancels what is inside, and the result says that it was asked, and why. */
Test(filter, shield_refuses_everything_and_says_so)
{
    for (unsigned types = 1; types <= UNR_CANCEL_ALL; types++) {
        struct filtered f = { 0 };
        begin(&f.seen, shielded(&f));
        cr_assert_eq(unr_supports(&f.filter.op), 0);
        submit();
        cr_assert(unr_cancel_cause(&f.filter.op, types, -30));
        submit();
        cr_assert_eq(f.seen.runs, 0);
        give(&f, "abc");
        run();
        expect_refused(&f, types, -30, 3);
        cr_assert_eq(f.recv.result.requested, 0, "nothing arrived inside");
        close_pair(f.fds);
    }
    close_loop();
}

/* A deadline around a shield asks in vain; one inside it ends what is inside. */
Test(filter, shield_refuses_a_deadline_around_it_and_not_one_inside)
{
    struct filtered     f = { 0 };
    struct unr_deadline deadline = { 0 };
    begin(&f.seen, unr_cancel_at(&deadline, shielded(&f), UNR_NEVER));
    submit();
    cr_assert(unr_deadline_move(&deadline, 0));
    submit();
    submit();
    give(&f, "abc");
    run();
    cr_assert_eq(f.seen.result.error, 0);
    cr_assert_eq(f.seen.result.bytes, 3);
    cr_assert_eq(f.seen.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(f.seen.result.cause, -ETIMEDOUT);

    struct unr_op *inner =
        unr_cancel_at(&deadline, unr_recv(&f.recv, f.fds[0], f.buf, sizeof f.buf, 0), UNR_NEVER);
    begin(&f.seen, unr_shield(&f.filter, inner));
    submit();
    unr_cancel(&f.filter.op, UNR_CANCEL_ALL);
    cr_assert(unr_deadline_move(&deadline, 0));
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(unr_outcome(&f.seen.result), -ETIMEDOUT);
    close_pair(f.fds);
    close_loop();
}

/* What asks the operation inside, and not the whole, is not filtered: its own slot, */
Test(filter, inner_slot_is_unfiltered)
{
    struct unr_signal signal = { 0 };
    struct filtered   f = { 0 };
    struct unr_op    *op = shielded(&f);
    unr_bind_slot(&f.recv, unr_signal_slot(&signal));
    begin(&f.seen, op);
    submit();
    cr_assert(unr_cancel_cause(&f.filter.op, UNR_CANCEL_ALL, -31));
    cr_assert(unr_signal_emit_cause(&signal, UNR_CANCEL_TOTAL, -32));
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -32);
    cr_assert_not(unr_signal_emit(&signal, UNR_CANCEL_TOTAL));
    close_pair(f.fds);
    close_loop();
}

/* unr_cancel() of it, */
Test(filter, inner_operation_may_be_cancelled_itself)
{
    struct filtered f = { 0 };
    begin(&f.seen, shielded(&f));
    submit();
    cr_assert(unr_cancel_cause(&f.recv, UNR_CANCEL_TOTAL, -33));
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -33);
    close_pair(f.fds);
    close_loop();
}

/* and its descriptor. */
Test(filter, shield_does_not_hide_a_descriptor)
{
    struct filtered f = { 0 };
    begin(&f.seen, shielded(&f));
    submit();
    cr_assert_eq(unr_cancel_fd(loop, f.fds[0], UNR_CANCEL_TOTAL), 1);
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_pair(f.fds);
    close_loop();
}

/* An inner and an outer binding both work, whichever is emitted to, each by its own way. */
Test(filter, inner_and_outer_slots_both_reach_it)
{
    for (int inner = 0; inner < 2; inner++) {
        struct unr_signal outside = { 0 }, inside = { 0 };
        struct filtered   f = { 0 };
        unr_bind_slot(filtered(&f, MSG_WAITALL, total_to_partial, NULL), unr_signal_slot(&outside));
        unr_bind_slot(&f.recv, unr_signal_slot(&inside));
        begin(&f.seen, &f.filter.op);
        submit();
        cr_assert_eq(unr_signal_emit_cause(&inside, UNR_CANCEL_TOTAL, -34), 0);
        submit();
        cr_assert_eq(f.seen.runs, 0, "inside, nothing makes it partial");
        if (inner)
            cr_assert(unr_signal_emit_cause(&inside, UNR_CANCEL_PARTIAL, -35));
        else
            cr_assert(unr_signal_emit_cause(&outside, UNR_CANCEL_TOTAL, -35));
        run();
        expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -35);
        cr_assert_not(unr_slot_has_handler(unr_signal_slot(&outside)));
        cr_assert_not(unr_slot_has_handler(unr_signal_slot(&inside)));
        close_pair(f.fds);
    }
    close_loop();
}

/* ---- before the start ---- */

/* A latched request from outside is filtered as any other: let through, it ends the operation
 * before it begins; refused, that runs. */
Test(filter, latched_outside_before_the_start)
{
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        struct unr_signal stop = { 0 };
        struct filtered   f = { 0 };
        unr_signal_init_latched(&stop);
        unr_signal_emit_cause(&stop, UNR_CANCEL_TOTAL, -36);
        begin(&f.seen, unr_bind_slot(filtered(&f, kinds[i].flags, kinds[i].out, NULL),
                                     unr_signal_slot(&stop)));
        give(&f, "12345678");
        cr_assert_eq(f.seen.runs, 0);
        run();
        if (kinds[i].supports & UNR_CANCEL_TOTAL) {
            expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -36);
            cr_assert_eq(f.seen.result.requested, UNR_CANCEL_TOTAL);
            cr_assert_eq(drain(f.fds[0]), 8);
        } else {
            expect_refused(&f, UNR_CANCEL_TOTAL, -36, 8);
        }
        close_pair(f.fds);
    }
    close_loop();
}

/* A latched request to the slot of what is inside passes the filter by, a shield too. */
Test(filter, latched_inside_before_the_start)
{
    struct unr_signal stop = { 0 };
    struct filtered   f = { 0 };
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_TOTAL, -37);
    struct unr_op *op = shielded(&f);
    unr_bind_slot(&f.recv, unr_signal_slot(&stop));
    give(&f, "abc");
    begin(&f.seen, op);
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -37);
    cr_assert_eq(drain(f.fds[0]), 3);
    close_pair(f.fds);
    close_loop();
}

/* Queued and not yet submitted, it ends without a system call as well. */
Test(filter, cancelled_while_it_is_queued)
{
    struct filtered f = { 0 };
    begin(&f.seen, filtered(&f, 0, total_to_partial, NULL));
    give(&f, "abc");
    cr_assert(unr_cancel(&f.filter.op, UNR_CANCEL_TOTAL));
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    cr_assert_eq(drain(f.fds[0]), 3);
    close_pair(f.fds);
    close_loop();
}

/* ---- closing ---- */

/* A loop that is closed is not kept out by a shield, */
Test(filter, closing_goes_through_a_shield)
{
    struct filtered f = { 0 };
    begin(&f.seen, shielded(&f));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    give(&f, "abc");
    cr_assert_eq(drain(f.fds[0]), 3);
    close_pair(f.fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* by a filter that makes of ALL what the operation inside does not support, */
Test(filter, closing_goes_through_a_filter)
{
    struct filtered f = { 0 };
    begin(&f.seen, filtered(&f, 0, partial_to_terminal, NULL));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(f.seen.result.error, -ECANCELED);
    cr_assert_eq(f.seen.result.cause, -ESHUTDOWN);
    cr_assert_eq(f.seen.result.verdict, UNR_VERDICT_CANCELLED);
    close_pair(f.fds);
}

/* nor by one around a timer. */
Test(filter, closing_goes_through_a_shield_around_a_timer)
{
    struct unr_filter shield = { 0 };
    struct unr_timer  timer = { 0 };
    struct seen       seen = { 0 };
    begin(&seen, unr_shield(&shield, unr_timer_at(&timer, UNR_NEVER)));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
}

static void start_context(struct seen *seen)
{
    struct filtered *f = seen->context;
    begin(&f->seen, &f->filter.op);
}

/* Started while the loop is being closed, what is inside ends before it begins - unless it supports
 * nothing itself, as a close does, which runs. */
Test(filter, started_while_the_loop_closes)
{
    for (int what = 0; what < 3; what++) {
        struct filtered f = { 0 };
        struct seen     nop = { .then = start_context, .context = &f };
        if (!loop)
            open_loop();
        if (what == 0)
            shielded(&f);
        else if (what == 1)
            filtered(&f, 0, partial_to_terminal, NULL);
        else
            unix_pair(f.fds);
        if (what == 2)
            unr_shield(&f.filter, unr_close(&f.recv, f.fds[0]));
        start(&nop, unr_nop(&nop.op));
        cr_assert_eq(unr_loop_close(loop), 0);
        loop = NULL;
        if (what < 2) {
            expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
            close(f.fds[0]);
        } else {
            cr_assert_eq(f.seen.result.error, 0);
        }
        close(f.fds[1]);
        cr_assert_eq(count_descriptors(), open_descriptors);
    }
}

/* ---- nested ---- */

/* Filters in one another: each speaks in the terms of its own requests. */
Test(filter, nested_each_in_its_own_terms)
{
    struct filtered   f = { 0 };
    struct unr_filter outer = { 0 };
    struct unr_op    *inner = filtered(&f, 0, partial_to_terminal, NULL);
    begin(&f.seen, unr_filter(&outer, inner, total_to_partial, NULL));
    cr_assert_eq(unr_supports(&outer.op), UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL);
    submit();
    unr_cancel_cause(&outer.op, UNR_CANCEL_TERMINAL, -38);
    submit();
    cr_assert_eq(f.seen.runs, 0);
    unr_cancel_cause(&outer.op, UNR_CANCEL_TOTAL, -39);
    run();
    expect_cancelled(&f.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -39);
    cr_assert_eq(f.filter.op.result.requested, UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL);
    cr_assert_eq(f.filter.op.result.guarantee, UNR_CANCEL_PARTIAL);
    cr_assert_eq(f.recv.result.requested, UNR_CANCEL_TERMINAL);
    cr_assert_eq(f.recv.result.guarantee, UNR_CANCEL_TOTAL);
    close_pair(f.fds);
    close_loop();
}

/* A shield inside refuses what a filter outside lets through, and the other way round. */
Test(filter, nested_with_a_shield_refuses)
{
    for (int outside = 0; outside < 2; outside++) {
        struct filtered   f = { 0 };
        struct unr_filter second = { 0 };
        struct unr_op    *inner = outside ? filtered(&f, 0, unr_let_total, NULL) : shielded(&f);
        begin(&f.seen, unr_filter(&second, inner, outside ? unr_let_none : unr_let_total, NULL));
        cr_assert_eq(unr_supports(&second.op), 0);
        submit();
        unr_cancel_cause(&second.op, UNR_CANCEL_ALL, -40);
        submit();
        give(&f, "abc");
        run();
        expect_refused(&f, UNR_CANCEL_ALL, -40, 3);
        close_pair(f.fds);
    }
    close_loop();
}

/* ---- the result is the inner one's ---- */

/* An accept's descriptor comes through, also when a request was too late for it. */
Test(filter, result_has_the_descriptor)
{
    for (int late = 0; late < 2; late++) {
        struct sockaddr_in address;
        int                listener = tcp_listener(&address, 4),
            client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct unr_op     accept = { 0 };
        struct unr_filter filter = { 0 };
        struct seen       seen = { 0 };
        cr_assert_eq(connect(client, (struct sockaddr *)&address, sizeof address), 0);
        begin(&seen, unr_filter(&filter, unr_accept(&accept, listener, NULL, NULL, SOCK_CLOEXEC),
                                unr_let_total, NULL));
        submit();
        if (late)
            unr_cancel(&filter.op, UNR_CANCEL_ALL);
        run();
        cr_assert_eq(seen.result.error, 0);
        cr_assert_geq(seen.result.fd, 0);
        cr_assert_eq(seen.result.fd, accept.result.fd);
        cr_assert_eq(write(client, "abc", 3), 3);
        cr_assert_eq(drain(seen.result.fd), 3);
        close(seen.result.fd);
        close(client);
        close(listener);
    }
    close_loop();
}

/* So do bytes, events and errors, without a request of any kind. */
Test(filter, result_has_bytes_events_and_errors)
{
    struct filtered f = { 0 };
    begin(&f.seen, shielded(&f));
    give(&f, "abc");
    run();
    cr_assert_eq(f.seen.result.error, 0);
    cr_assert_eq(f.seen.result.bytes, 3);
    cr_assert_eq(f.seen.result.verdict, UNR_VERDICT_NONE);
    cr_assert_eq(f.seen.result.fd, -1);
    cr_assert_eq(memcmp(f.buf, "abc", 3), 0);

    begin(&f.seen, unr_shield(&f.filter, unr_poll(&f.recv, f.fds[1], POLLOUT)));
    run();
    cr_assert_eq(f.seen.result.events, POLLOUT);

    begin(&f.seen, unr_shield(&f.filter, unr_recv(&f.recv, -1, f.buf, 1, 0)));
    run();
    cr_assert_eq(f.seen.result.error, -EBADF);
    close_pair(f.fds);
    close_loop();
}

static void cancel_context(struct seen *seen)
{
    cr_assert(unr_cancel_cause(seen->context, UNR_CANCEL_TOTAL, -41));
}

/* A request between the inner operation's completion and the filter's `done` is too late, where it
 * would have been let through, and refused where not; the success stays. */
Test(filter, request_between_completion_and_done)
{
    for (int shield = 0; shield < 2; shield++) {
        struct unr_op     nop = { 0 };
        struct unr_filter filter = { 0 };
        struct seen       seen = { 0 }, other = { .then = cancel_context, .context = &filter.op };
        struct unr_op    *op =
            unr_filter(&filter, unr_nop(&nop), shield ? unr_let_none : unr_let_total, NULL);
        start(&other, unr_nop(&other.op));
        begin(&seen, op);
        run();
        cr_assert_eq(seen.result.error, 0);
        cr_assert_eq(seen.result.verdict, shield ? UNR_VERDICT_REFUSED : UNR_VERDICT_TOO_LATE);
        cr_assert_eq(seen.result.requested, UNR_CANCEL_TOTAL);
        cr_assert_eq(seen.result.cause, -41);
    }
    close_loop();
}

static void describe_again(struct seen *seen)
{
    struct filtered *f = seen->context;
    cr_assert_not(unr_in_flight(&f->filter.op));
    cr_assert_not(unr_in_flight(&f->recv));
    cr_assert_not(unr_cancel(&f->filter.op, UNR_CANCEL_ALL));
    int runs = seen->runs;
    if (runs < 10) {
        begin(seen, unr_filter(&f->filter, unr_nop(&f->recv), unr_let_total, NULL));
        seen->runs = runs;
    }
}

/* In its `done` both are the caller's again, to describe and start anew. */
Test(filter, both_are_the_callers_again_in_its_done)
{
    struct filtered f = { 0 };
    f.seen.then = describe_again;
    f.seen.context = &f;
    begin(&f.seen, unr_filter(&f.filter, unr_nop(&f.recv), unr_let_total, NULL));
    run();
    cr_assert_eq(f.seen.runs, 10);
    close_loop();
}

/* ---- broken contracts ---- */

#define BREACH(name, ...) BREACH_IN(filter_contract, open_loop_of_child(), name, __VA_ARGS__)

static struct unr_op     inner;
static struct unr_filter first, second;

static unsigned unknown_types(void *context, unsigned type)
{
    (void)context;
    return type | 8;
}

/* A filter knows the types that there are. */
BREACH(filter_with_unknown_types, "a filter that answers with types that do not exist",
       "a filter returns a mask of UNR_CANCEL_*")
{
    unr_filter(&first, unr_nop(&inner), unknown_types, NULL);
}

/* It takes what is described, */
BREACH(filter_around_nothing, "not described")
{
    unr_shield(&first, &inner);
}

/* not what is in flight, */
BREACH(filter_around_something_in_flight, "nop", "described")
{
    unr_start(loop, unr_nop(&inner), NULL, NULL);
    unr_shield(&first, &inner);
}

/* and not another combinator's. */
BREACH(two_filters_around_one, "nop", "given to two combinators")
{
    unr_shield(&first, unr_nop(&inner));
    unr_shield(&second, &inner);
}

/* What it holds is started by it alone. */
BREACH(inner_started_alone, "nop", "a combinator holds it", "started by that alone")
{
    unr_shield(&first, unr_nop(&inner));
    unr_start(loop, &inner, NULL, NULL);
}

/* It is described anew for each start, and so is what is inside. */
BREACH(started_again_without_a_description, "filter", "not described",
       "described anew for each start")
{
    unr_start(loop, unr_shield(&first, unr_nop(&inner)), NULL, NULL);
    must(unr_loop_run(loop) == 0);
    unr_start(loop, &first.op, NULL, NULL);
}

/* It ends with what it holds, and not by unr_finish(). */
BREACH(finished_from_outside, "filter",
       "unr_finish is called once for each start, for operations of a caller's own type")
{
    unr_start(loop, unr_shield(&first, unr_nop(&inner)), NULL, NULL);
    unr_finish(&first.op, 0);
}

static void fill_multishot(void *sqe, void *fd)
{
    io_uring_prep_poll_multishot(sqe, *(int *)fd, POLLIN);
}

/* A multishot operation is given to no combinator. */
BREACH(multishot_inside, "shots", "multishot operation inside a combinator",
       "given to no combinator")
{
    static int fd;
    fd = eventfd(1, EFD_CLOEXEC);
    unr_start(loop,
              unr_shield(&first, unr_sqe(&inner, "shots", UNR_CANCEL_ALL, fill_multishot, &fd)),
              NULL, NULL);
    unr_loop_run(loop);
}
