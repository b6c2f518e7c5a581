/* SPDX-License-Identifier: MIT */
/* Signals and slots by themselves: what an emit reaches, in which order, and what its handlers may
 * do meanwhile. */
#include "fixture.h"

TestSuite(signal, .timeout = 20);

/* A handler that notes when it ran, and then does something. */
struct ear {
    struct unr_signal         signal;
    struct unr_cancel_request heard;
    int                       order; /* the how-manieth it was in all; 0: it did not hear */
    int                       times;
    bool                      refuses;
    void (*then)(struct ear *ear);
    struct ear *other;
};

static int heard_in_all;

static bool hear(void *context, struct unr_cancel_request request)
{
    struct ear *ear = context;
    ear->heard = request;
    ear->order = ++heard_in_all;
    ear->times++;
    bool refuses = ear->refuses;
    if (ear->then)
        ear->then(ear);
    return !refuses;
}

static void listen_to(struct ear *ear)
{
    unr_slot_assign(unr_signal_slot(&ear->signal), hear, ear);
}

/* An emit without a handler is no more than that, before and after there was one. */
Test(signal, emit_without_a_handler_is_nothing)
{
    struct ear ear = { 0 };
    cr_assert_not(unr_signal_emit(&ear.signal, UNR_CANCEL_ALL));
    listen_to(&ear);
    cr_assert(unr_signal_emit(&ear.signal, UNR_CANCEL_TOTAL));
    unr_slot_clear(unr_signal_slot(&ear.signal));
    unr_slot_clear(unr_signal_slot(&ear.signal));
    cr_assert_not(unr_signal_emit(&ear.signal, UNR_CANCEL_ALL));
    cr_assert_eq(ear.times, 1);
}

/* Types and cause arrive as they were given; without a cause it is -ECANCELED. */
Test(signal, emit_carries_types_and_cause)
{
    struct ear ear = { 0 };
    listen_to(&ear);
    unr_signal_emit(&ear.signal, UNR_CANCEL_PARTIAL);
    cr_assert_eq(ear.heard.types, UNR_CANCEL_PARTIAL);
    cr_assert_eq(ear.heard.cause, -ECANCELED);
    unr_signal_emit_cause(&ear.signal, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL, -7);
    cr_assert_eq(ear.heard.types, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL);
    cr_assert_eq(ear.heard.cause, -7);
}

/* A slot holds one handler: assigning replaces. */
Test(signal, slot_holds_one_handler)
{
    struct ear a = { 0 }, b = { 0 };
    unr_slot_assign(unr_signal_slot(&a.signal), hear, &a);
    unr_slot_assign(unr_signal_slot(&a.signal), hear, &b);
    unr_signal_emit(&a.signal, UNR_CANCEL_ALL);
    cr_assert(a.times == 0 && b.times == 1);
}

static void clear_own_slot(struct ear *ear)
{
    unr_slot_clear(unr_signal_slot(&ear->signal));
}

static void assign_other(struct ear *ear)
{
    unr_slot_assign(unr_signal_slot(&ear->signal), hear, ear->other);
}

/* A handler may clear or reassign the slot through which it was called. */
Test(signal, handler_clears_and_reassigns_its_own_slot)
{
    struct ear clears = { .then = clear_own_slot }, other = { 0 },
               reassigns = { .then = assign_other, .other = &other };
    listen_to(&clears);
    cr_assert(unr_signal_emit(&clears.signal, UNR_CANCEL_ALL));
    cr_assert_not(unr_signal_emit(&clears.signal, UNR_CANCEL_ALL));
    listen_to(&reassigns);
    unr_signal_emit(&reassigns.signal, UNR_CANCEL_ALL);
    cr_assert_eq(other.times, 0);
    unr_signal_emit(&reassigns.signal, UNR_CANCEL_ALL);
    cr_assert(reassigns.times == 1 && other.times == 1);
}

static void free_ear(struct ear *ear)
{
    free(ear);
}

/* The signal's own handler is the last thing that touches it, so it may free it. */
Test(signal, handler_frees_the_signal)
{
    struct ear *ear = calloc(1, sizeof *ear);
    ear->then = free_ear;
    listen_to(ear);
    cr_assert(unr_signal_emit(&ear->signal, UNR_CANCEL_ALL));
}

/* ---- trees ---- */

/* One emit reaches every descendant, children before their parent, and counts all who honour it. */
Test(signal, emit_reaches_the_whole_tree_children_first)
{
    struct ear root = { 0 }, child[3] = { 0 }, grandchild = { 0 };
    heard_in_all = 0;
    listen_to(&root);
    for (int i = 0; i < 3; i++) {
        listen_to(&child[i]);
        unr_signal_attach(&child[i].signal, &root.signal);
    }
    unr_signal_attach(&grandchild.signal, &child[1].signal);
    listen_to(&grandchild);
    cr_assert_eq(unr_signal_emit(&root.signal, UNR_CANCEL_ALL), 5);
    cr_assert_eq(root.order, 5);
    cr_assert_lt(grandchild.order, child[1].order);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(child[i].times, 1);

    unr_slot_clear(unr_signal_slot(&root.signal));
    child[0].refuses = true;
    cr_assert_eq(unr_signal_emit(&root.signal, UNR_CANCEL_ALL), 3);
    cr_assert_eq(grandchild.times, 2);
}

/* A child alone may be emitted, and hears nothing any more once it is detached. */
Test(signal, child_alone_and_detached)
{
    struct ear root = { 0 }, child = { 0 };
    listen_to(&root);
    listen_to(&child);
    unr_signal_attach(&child.signal, &root.signal);
    unr_signal_emit(&child.signal, UNR_CANCEL_ALL);
    cr_assert(root.times == 0 && child.times == 1);
    unr_signal_detach(&child.signal);
    unr_signal_detach(&child.signal);
    unr_signal_emit(&root.signal, UNR_CANCEL_ALL);
    cr_assert(root.times == 1 && child.times == 1);
}

static void detach_other(struct ear *ear)
{
    unr_signal_detach(&ear->other->signal);
}

static void detach_self_and_other(struct ear *ear)
{
    unr_signal_detach(&ear->other->signal);
    unr_signal_detach(&ear->signal);
}

/* A handler may detach a sibling that has not heard yet: it does not hear then.  With each of three
 * as the one that detaches and each as the one detached. */
Test(signal, handler_detaches_a_sibling)
{
    for (int from = 0; from < 3; from++)
        for (int to = 0; to < 3; to++)
            for (int self = 0; self < 2; self++) {
                struct ear root = { 0 }, child[3] = { 0 };
                heard_in_all = 0;
                for (int i = 0; i < 3; i++) {
                    listen_to(&child[i]);
                    unr_signal_attach(&child[i].signal, &root.signal);
                }
                child[from].then = self ? detach_self_and_other : detach_other;
                child[from].other = &child[to];
                unr_signal_emit(&root.signal, UNR_CANCEL_ALL);
                for (int i = 0; i < 3; i++) {
                    bool was_detached_before = i == to && (child[i].order == 0);
                    cr_assert(child[i].times == 1 || was_detached_before);
                    cr_assert((was_detached_before && i == from) == false);
                }
                cr_assert(child[to].signal.parent == NULL);
            }
}

static void attach_other(struct ear *ear)
{
    if (!ear->other->signal.parent)
        unr_signal_attach(&ear->other->signal, ear->signal.parent);
}

/* A child that is attached during an emit does not hear it, and hears the next. */
Test(signal, child_attached_during_an_emit_does_not_hear_it)
{
    struct ear root = { 0 }, child[2] = { 0 }, late = { 0 };
    listen_to(&late);
    for (int i = 0; i < 2; i++) {
        listen_to(&child[i]);
        child[i].then = attach_other;
        child[i].other = &late;
        unr_signal_attach(&child[i].signal, &root.signal);
    }
    unr_signal_emit(&root.signal, UNR_CANCEL_ALL);
    cr_assert_eq(late.times, 0);
    unr_signal_emit(&root.signal, UNR_CANCEL_ALL);
    cr_assert_eq(late.times, 1);
}

static void emit_parent_again(struct ear *ear)
{
    if (ear->times == 1)
        unr_signal_emit(ear->signal.parent, UNR_CANCEL_TERMINAL);
}

/* An emit inside an emit of the same tree reaches everyone once more, and both come to their
 * end. */
Test(signal, emit_inside_an_emit)
{
    struct ear root = { 0 }, child[3] = { 0 };
    for (int i = 0; i < 3; i++) {
        listen_to(&child[i]);
        unr_signal_attach(&child[i].signal, &root.signal);
    }
    child[1].then = emit_parent_again;
    unr_signal_emit(&root.signal, UNR_CANCEL_TOTAL);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(child[i].times, 2);
    cr_assert_eq(root.signal.first_child->previous_sibling, NULL);
}

static void free_attached(struct ear *ear)
{
    unr_signal_detach(&ear->signal);
    free(ear);
}

/* A child's handler may detach and free the child. */
Test(signal, child_is_freed_in_its_own_handler)
{
    struct ear root = { 0 };
    for (int i = 0; i < 10; i++) {
        struct ear *child = calloc(1, sizeof *child);
        child->then = free_attached;
        listen_to(child);
        unr_signal_attach(&child->signal, &root.signal);
    }
    cr_assert(unr_signal_emit(&root.signal, UNR_CANCEL_ALL));
    cr_assert_eq(root.signal.first_child, NULL);
}

/* ---- latched ---- */

static void expect_at_start(struct unr_signal *signal, unsigned types, int cause)
{
    struct seen nop = { 0 };
    start(&nop, unr_bind_slot(unr_nop(&nop.op), unr_signal_slot(signal)));
    run();
    cr_assert_eq(nop.result.requested, types);
    cr_assert_eq(nop.result.cause, cause);
}

/* A latched signal remembers what it was emitted, or-ed, with the first cause, until it is reset;
 * an edge-triggered one does not. */
Test(signal, latched_remembers_until_reset)
{
    struct unr_signal latched = { 0 }, edge = { 0 };
    open_loop();
    unr_signal_init_latched(&latched);
    expect_at_start(&latched, 0, 0);
    unr_signal_emit_cause(&latched, UNR_CANCEL_PARTIAL, -5);
    unr_signal_emit_cause(&latched, UNR_CANCEL_TOTAL, -6);
    unr_signal_emit(&edge, UNR_CANCEL_TOTAL);
    expect_at_start(&latched, UNR_CANCEL_PARTIAL | UNR_CANCEL_TOTAL, -5);
    expect_at_start(&edge, 0, 0);
    unr_signal_reset(&latched);
    expect_at_start(&latched, 0, 0);
    close_loop();
}

/* What is below a latched signal has its request at start too, however deep, attached before the
 * emit or after it, and no longer once it is detached. */
Test(signal, latched_reaches_what_starts_below)
{
    struct unr_signal root = { 0 }, child = { 0 }, grandchild = { 0 }, late = { 0 },
                      below_late = { 0 };
    open_loop();
    unr_signal_init_latched(&root);
    unr_signal_attach(&grandchild, &child);
    unr_signal_attach(&child, &root);
    unr_signal_emit_cause(&root, UNR_CANCEL_TOTAL, -5);
    expect_at_start(&child, UNR_CANCEL_TOTAL, -5);
    expect_at_start(&grandchild, UNR_CANCEL_TOTAL, -5);
    unr_signal_attach(&late, &grandchild);
    unr_signal_attach(&below_late, &late);
    expect_at_start(&below_late, UNR_CANCEL_TOTAL, -5);
    unr_signal_detach(&grandchild);
    expect_at_start(&below_late, 0, 0);
    expect_at_start(&child, UNR_CANCEL_TOTAL, -5);
    unr_signal_reset(&root);
    expect_at_start(&child, 0, 0);
    close_loop();
}

/* A tree as deep as it may be, a line with a side branch at each level, one of them latched: an
 * emit goes to its end, and attaching and detaching tell each signal below which latched signal it
 * is under. */
Test(signal, line_of_a_thousand)
{
    enum { LEVELS = 1000, APART = 500 };
    static struct unr_signal line[LEVELS], side[LEVELS];
    struct ear               last = { 0 };
    open_loop();
    unr_signal_init_latched(&line[0]);
    unr_signal_init_latched(&side[APART]);
    listen_to(&last);
    for (int i = 0; i < LEVELS - 2; i++) {
        if (i > 0)
            unr_signal_attach(&line[i + 1], &line[i]);
        unr_signal_attach(&side[i], &line[i]);
    }
    unr_signal_attach(&last.signal, &line[LEVELS - 2]);
    unr_signal_attach(&line[1], &line[0]);
    unr_signal_emit_cause(&line[0], UNR_CANCEL_PARTIAL, -5);
    cr_assert_eq(last.times, 1);
    for (int i = 1; i < LEVELS - 2; i++) {
        expect_at_start(&line[i], UNR_CANCEL_PARTIAL, -5);
        expect_at_start(&side[i], UNR_CANCEL_PARTIAL, -5);
    }
    unr_signal_detach(&line[1]);
    for (int i = 1; i < LEVELS - 2; i++) {
        expect_at_start(&line[i], 0, 0);
        expect_at_start(&side[i], i == APART ? UNR_CANCEL_PARTIAL : 0, i == APART ? -5 : 0);
    }
    close_loop();
}

/* Attached below a signal that has latched, what is in flight already is asked at once. */
Test(signal, latched_is_requested_of_what_is_attached)
{
    struct unr_signal root = { 0 };
    struct ear        child = { 0 };
    unr_signal_init_latched(&root);
    unr_signal_emit_cause(&root, UNR_CANCEL_PARTIAL, -5);
    listen_to(&child);
    unr_signal_attach(&child.signal, &root);
    cr_assert_eq(child.times, 1);
    cr_assert_eq(child.heard.types, UNR_CANCEL_PARTIAL);
    cr_assert_eq(child.heard.cause, -5);
}

/* A latched child has a memory of its own: what reached it from above stays until its own reset. */
Test(signal, latched_child_remembers_by_itself)
{
    struct unr_signal root = { 0 }, child = { 0 };
    open_loop();
    unr_signal_init_latched(&root);
    unr_signal_init_latched(&child);
    unr_signal_emit_cause(&root, UNR_CANCEL_TOTAL, -5);
    unr_signal_attach(&child, &root);
    unr_signal_reset(&root);
    expect_at_start(&child, UNR_CANCEL_TOTAL, -5);
    unr_signal_reset(&child);
    expect_at_start(&child, 0, 0);
    close_loop();
}

/* One emit cancels any number of operations in flight, each once. */
Test(signal, one_emit_cancels_a_thousand_operations)
{
    enum { COUNT = 1000 };
    static struct seen       reads[COUNT];
    static struct unr_signal signals[COUNT];
    struct unr_signal        root = { 0 };
    int                      fds[2];
    static char              bytes[COUNT];
    open_loop();
    unix_pair(fds);
    for (int i = 0; i < COUNT; i++) {
        unr_signal_attach(&signals[i], &root);
        start(&reads[i], unr_bind_slot(unr_recv(&reads[i].op, fds[0], &bytes[i], 1, 0),
                                       unr_signal_slot(&signals[i])));
    }
    submit();
    cr_assert(unr_signal_emit_cause(&root, UNR_CANCEL_TOTAL, -5));
    run();
    for (int i = 0; i < COUNT; i++)
        expect_cancelled(&reads[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -5);
    cr_assert_not(unr_signal_emit(&root, UNR_CANCEL_TOTAL));
    close_pair(fds);
    close_loop();
}

/* ---- what a handler frees ---- */

/* A session: a signal between a server's and those of its requests. */
struct session {
    struct unr_signal stop;
    struct unr_signal requests[2];
    int               left;    /* requests that are attached */
    bool              listens; /* `stop` has a handler of its own */
    int              *heard;
};

static bool stop_session(void *context, struct unr_cancel_request request)
{
    (void)request;
    ++*((struct session *)context)->heard;
    return true;
}

/* Takes itself out of the session; the last one takes the session out of the server's, and frees
 * it. */
static bool leave_session(void *context, struct unr_cancel_request request)
{
    struct session *s = context;
    (void)request;
    ++*s->heard;
    s->left--;
    unr_signal_detach(&s->requests[s->left]);
    if (s->left)
        return true;
    unr_signal_detach(&s->stop);
    unr_slot_clear(unr_signal_slot(&s->stop));
    free(s);
    return true;
}

static struct session *new_session(struct unr_signal *server, bool listens, int *heard)
{
    struct session *s = calloc(1, sizeof *s);
    *s = (struct session){ .left = 2, .heard = heard };
    if (server)
        unr_signal_attach(&s->stop, server);
    for (int i = 0; i < 2; i++) {
        unr_signal_attach(&s->requests[i], &s->stop);
        unr_slot_assign(unr_signal_slot(&s->requests[i]), leave_session, s);
    }
    if (listens)
        unr_slot_assign(unr_signal_slot(&s->stop), stop_session, s);
    return s;
}

/* A handler may free the signal that the emit has yet to come back to, when nothing holds that any
 * more: the server's emit goes on with its other children. */
Test(signal, handler_frees_the_parent_of_its_signal)
{
    for (int listens = 0; listens < 2; listens++) {
        struct unr_signal server = { 0 };
        int               heard = 0;
        for (int i = 0; i < 3; i++)
            new_session(&server, listens, &heard);
        cr_assert_eq(unr_signal_emit(&server, UNR_CANCEL_ALL), 6);
        cr_assert_eq(heard, 6);
        cr_assert_null(server.first_child);

        heard = 0;
        struct session *alone = new_session(NULL, listens, &heard);
        cr_assert_eq(unr_signal_emit(&alone->stop, UNR_CANCEL_ALL), 2);
        cr_assert_eq(heard, 2);
    }
}

static bool emit_again(void *context, struct unr_cancel_request request)
{
    struct session *s = context;
    if (s->left == 2) {
        s->left = 1;
        unr_signal_detach(&s->requests[1]);
        cr_assert_eq(unr_signal_emit(&s->stop, request.types), 1); /* which frees the session */
    }
    return true;
}

/* The same where two emits pass through it, one inside the other. */
Test(signal, handler_frees_what_two_emits_pass_through)
{
    struct unr_signal server = { 0 };
    int               heard = 0;
    struct session   *s = new_session(&server, false, &heard);
    unr_slot_assign(unr_signal_slot(&s->requests[1]), emit_again, s);
    cr_assert_eq(unr_signal_emit(&server, UNR_CANCEL_ALL), 1);
    cr_assert_eq(heard, 1);
}

/* A signal that is detached inside an emit goes on with it as long as something holds it: its
 * other children hear, and so does its own handler. */
Test(signal, detached_inside_an_emit_goes_on)
{
    struct ear root = { 0 }, parent = { 0 }, first = { 0 }, second = { 0 };
    listen_to(&parent);
    listen_to(&first);
    listen_to(&second);
    unr_signal_attach(&parent.signal, &root.signal);
    unr_signal_attach(&second.signal, &parent.signal);
    unr_signal_attach(&first.signal, &parent.signal);
    first.then = detach_other;
    first.other = &parent;
    cr_assert_eq(unr_signal_emit(&root.signal, UNR_CANCEL_ALL), 3);
    cr_assert(first.times == 1 && second.times == 1 && parent.times == 1);
}
