/* SPDX-License-Identifier: MIT */
/* Composed operations: what becomes of a step function that has never heard of cancellation,
 * wherever a request finds it.  Filters and the rest of the state are in test_state.c. */
#include "support.h"

TestSuite(compose, .init = open_loop, .timeout = 20);
TestSuite(compose_contract, .timeout = 20);

/* ---- allocations, counted ---- */

#if !SUPPORT_SANITIZED
static _Thread_local volatile long allocations;

extern __typeof__(malloc)  __libc_malloc;
extern __typeof__(calloc)  __libc_calloc;
extern __typeof__(realloc) __libc_realloc;

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *piece, size_t size)
{
    allocations++;
    return __libc_realloc(piece, size);
}
#else
static long allocations;
#endif

/* ---- what the tests compose ---- */

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

/* Receives and sends back, until the end of the stream.  Its author knows nothing of
 * cancellation. */
struct echo {
    union {
        struct unr_op      op; /* result.bytes: sent back */
        struct unr_compose compose;
    };
    struct seen   seen;
    struct unr_op child;
    int           fd, steps;
    bool          sending;
    uint64_t      received;
    char          buf[16];
};

static void echo_step(struct unr_compose *self, struct unr_op *finished)
{
    struct echo *echo = unr_container_of(self, struct echo, compose);
    echo->steps++;
    if (finished && finished->result.error) {
        unr_compose_end(self, finished->result.error);
    } else if (!finished || echo->sending) {
        self->op.result.bytes += finished ? finished->result.bytes : 0;
        echo->sending = false;
        unr_compose_next(self, unr_recv(&echo->child, echo->fd, echo->buf, sizeof echo->buf, 0));
    } else if (finished->result.bytes == 0) {
        unr_compose_end(self, 0);
    } else {
        echo->received += finished->result.bytes;
        echo->sending = true;
        unr_compose_next(self,
                         unr_send(&echo->child, echo->fd, echo->buf, finished->result.bytes, 0));
    }
}

static struct unr_op *echo(struct echo *echo, int fd)
{
    *echo = (struct echo){ .fd = fd };
    return unr_compose(&echo->compose, "echo", UNR_CANCEL_PARTIAL, echo_step);
}

/* Its peer got exactly what it says to have sent, and nothing of what was written to it is lost. */
static void expect_balance(const struct echo *echo, int peer, uint64_t written)
{
    cr_assert_eq(drain(peer), echo->seen.result.bytes);
    cr_assert_eq(echo->received + drain(echo->fd), written);
}

/* `goal` children after one another, all alike; ends on an error. */
struct chain {
    union {
        struct unr_op      op;
        struct unr_compose compose;
    };
    struct seen seen;
    int         goal;
    unsigned    supports;
    struct unr_op *(*next)(struct chain *chain); /* describes the child; NULL: a nop */
    void (*hook)(struct chain *chain);           /* at the beginning of each step */
    void          *context;
    struct unr_op *finished; /* what the step was given */
    int            steps;
    struct unr_op  child;
};

static void chain_step(struct unr_compose *self, struct unr_op *finished)
{
    struct chain *chain = unr_container_of(self, struct chain, compose);
    int           error = finished ? finished->result.error : 0;
    chain->steps++;
    chain->finished = finished;
    if (chain->hook)
        chain->hook(chain);
    if (error || chain->steps > chain->goal)
        unr_compose_end(self, error);
    else
        unr_compose_next(self, chain->next ? chain->next(chain) : unr_nop(&chain->child));
}

static struct unr_op *described(struct chain *chain)
{
    chain->steps = 0;
    return unr_compose(&chain->compose, "chain", chain->supports, chain_step);
}

static struct unr_op *recv_byte(struct chain *chain)
{
    static char byte;
    return unr_recv(&chain->child, *(int *)chain->context, &byte, 1, 0);
}

/* A child that ends when it is asked to, under the guarantee that it is told to prove, or when the
 * test says so. */
struct gate {
    struct unr_op op;
    unsigned      asked, proves; /* 0: what it supports */
    bool          stubborn;
};

static void gate_start(struct unr_op *op)
{
    struct gate *gate = unr_container_of(op, struct gate, op);
    gate->asked = 0;
}

static void gate_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct gate *gate = unr_container_of(op, struct gate, op);
    gate->asked |= request.types;
    if (gate->stubborn)
        return;
    op->result.guarantee = (uint8_t)gate->proves;
    unr_finish(op, -ECANCELED);
}

static struct unr_op *gate(struct gate *gate, unsigned supports)
{
    static const struct unr_op_type types[] = {
        { .size = sizeof types[0],
          .supports = 0,
          .name = "gate",
          .start = gate_start,
          .cancel = gate_cancel },
        { .size = sizeof types[0],
          .supports = 1,
          .name = "gate",
          .start = gate_start,
          .cancel = gate_cancel },
        { .size = sizeof types[0],
          .supports = 3,
          .name = "gate",
          .start = gate_start,
          .cancel = gate_cancel },
        { .size = sizeof types[0],
          .supports = 7,
          .name = "gate",
          .start = gate_start,
          .cancel = gate_cancel },
    };
    return unr_describe(&gate->op, &types[supports == 7 ? 3 : supports == 3 ? 2 : supports]);
}

static struct unr_op *total_gate(struct chain *chain)
{
    return gate(chain->context, UNR_CANCEL_ALL);
}

static unsigned all_of(unsigned strongest)
{
    return strongest | (strongest - !!strongest);
}

/* ---- without a request ---- */

/* The steps run one after another, and the result is what they made of it. */
Test(compose, runs_its_steps_to_the_end)
{
    int         fds[2];
    struct echo e;
    unix_pair(fds);
    begin(&e.seen, echo(&e, fds[0]));
    for (int i = 1; i <= 3; i++) {
        cr_assert_eq(write(fds[1], "hello", 5), 5);
        for (size_t got = 0; got < 5; got += drain(fds[1]))
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    }
    shutdown(fds[1], SHUT_WR);
    run();
    cr_assert_eq(e.seen.runs, 1);
    cr_assert_eq(e.seen.result.error, 0);
    cr_assert_eq(e.seen.result.bytes, 15);
    cr_assert_eq(e.seen.result.verdict, UNR_VERDICT_NONE);
    cr_assert_eq(e.seen.result.guarantee, UNR_CANCEL_NONE);
    cr_assert_eq(e.seen.result.fd, -1);
    close_pair(fds);
    close_loop();
}

/* The first step runs inside unr_start(); the `done` of what it ends at once does not. */
Test(compose, that_ends_in_its_first_step_is_handed_back_in_the_next_turn)
{
    struct chain c = { .goal = 0 };
    begin(&c.seen, described(&c));
    cr_assert_eq(c.steps, 1);
    cr_assert_eq(c.seen.runs, 0);
    cr_assert(unr_in_flight(&c.op));
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    cr_assert_eq(unr_loop_run_once(loop, 0), 1);
    cr_assert_eq(c.seen.runs, 1);
    cr_assert_eq(c.seen.result.error, 0);
    cr_assert_not(unr_in_flight(&c.op));
    close_loop();
}

/* ... and a request meanwhile is too late for it. */
Test(compose, that_ended_in_its_first_step_cannot_be_cancelled)
{
    struct chain c = { .goal = 0, .supports = UNR_CANCEL_TOTAL };
    begin(&c.seen, described(&c));
    cr_assert(unr_cancel_cause(&c.op, UNR_CANCEL_ALL, -5));
    run();
    cr_assert_eq(c.seen.result.error, 0);
    cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(c.seen.result.cause, -5);
    close_loop();
}

/* A hundred children are one operation in flight, and one `done`. */
Test(compose, of_a_hundred_steps_is_one_operation)
{
    struct chain c = { .goal = 100 };
    begin(&c.seen, described(&c));
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    submit();
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    run();
    cr_assert_eq(c.steps, 101);
    cr_assert_eq(c.seen.runs, 1);
    close_loop();
}

static void find_data(struct chain *chain)
{
    if (chain->finished)
        cr_assert_eq(chain->finished->data, chain);
    chain->child.data = chain;
}

/* The child's own `data` is left as it is. */
Test(compose, leaves_the_data_of_its_children_alone)
{
    struct chain c = { .goal = 3, .hook = find_data };
    begin(&c.seen, described(&c));
    run();
    cr_assert_eq(c.steps, 4);
    close_loop();
}

static void free_context(struct seen *seen)
{
    free(seen->context);
}

/* Inside `done` the structure, with its children, is the caller's to free: after a success, a
 * cancellation in flight, and one before the start. */
Test(compose, may_be_freed_inside_its_done)
{
    int               fds[2];
    struct unr_signal stop = { 0 };
    unr_signal_init_latched(&stop);
    unix_pair(fds);
    for (int i = 0; i < 90; i++) {
        struct chain *c = malloc(sizeof *c);
        struct seen   seen = { .then = free_context, .context = c };
        *c = (struct chain){ .goal = 1,
                             .supports = UNR_CANCEL_TOTAL,
                             .next = i % 3 ? recv_byte : NULL,
                             .context = &fds[0] };
        unr_signal_reset(&stop);
        if (i % 3 == 2)
            unr_signal_emit(&stop, UNR_CANCEL_TOTAL);
        begin(&seen, unr_bind_slot(described(c), unr_signal_slot(&stop)));
        if (i % 3 == 1) {
            submit();
            unr_signal_emit(&stop, UNR_CANCEL_TOTAL);
        }
        run();
        cr_assert_eq(seen.runs, 1);
        cr_assert_eq(seen.result.error, i % 3 ? -ECANCELED : 0);
    }
    close_pair(fds);
    close_loop();
}

static void describe_again(struct seen *seen)
{
    struct chain *chain = seen->context;
    int           runs = seen->runs;
    if (runs < 50) {
        begin(seen, described(chain));
        seen->runs = runs;
    }
}

/* ... and to describe and start again. */
Test(compose, may_be_started_again_inside_its_done)
{
    struct chain c = { .goal = 2 };
    c.seen.then = describe_again;
    c.seen.context = &c;
    begin(&c.seen, described(&c));
    run();
    cr_assert_eq(c.seen.runs, 50);
    close_loop();
}

/* Nothing is allocated from start to `done`, cancelled or not. */
Test(compose, allocates_nothing)
{
    skip_with_checks();
    int               fds[2];
    struct unr_signal stop = { 0 };
    struct chain      c = { .goal = 20, .supports = UNR_CANCEL_TOTAL };
    struct chain      r = {
             .goal = 20, .supports = UNR_CANCEL_TOTAL, .next = recv_byte, .context = &fds[0]
    };
    unix_pair(fds);
    submit();
    long before = allocations;
    for (int i = 0; i < 10; i++) {
        unr_start(loop, unr_bind_slot(described(&c), unr_signal_slot(&stop)), record, &c.seen);
        unr_start(loop, described(&r), record, &r.seen);
        unr_loop_run_once(loop, 0);
        unr_signal_emit(&stop, UNR_CANCEL_ALL);
        unr_cancel(&r.op, UNR_CANCEL_ALL);
        unr_loop_run(loop);
    }
    cr_assert_eq(allocations, before);
    cr_assert_eq(c.seen.runs + r.seen.runs, 20);
    close_pair(fds);
    close_loop();
}

/* The strongest guarantee brings the weaker ones with it. */
Test(compose, supports_the_weaker_guarantees_too)
{
    static const unsigned normal[8] = { 0, 1, 3, 3, 7, 7, 7, 7 };
    for (unsigned given = 0; given < 8; given++) {
        struct chain c = { .supports = given };
        cr_assert_eq(unr_supports(described(&c)), normal[given], "%u", given);
    }
    close_loop();
}

/* ---- where a request finds it ---- */

/* Before the start: no step runs, no byte moves. */
Test(compose, cancelled_before_it_starts_takes_no_step)
{
    int               fds[2];
    struct unr_signal stop = { 0 };
    struct echo       e;
    unix_pair(fds);
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_PARTIAL, -31);
    cr_assert_eq(write(fds[1], "hello", 5), 5);
    begin(&e.seen, unr_bind_slot(echo(&e, fds[0]), unr_signal_slot(&stop)));
    run();
    expect_cancelled(&e.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -31);
    cr_assert_eq(e.seen.result.requested, UNR_CANCEL_PARTIAL);
    cr_assert_eq(e.steps, 0);
    expect_balance(&e, fds[1], 5);
    close_pair(fds);
    close_loop();
}

/* ... unless it does not support what was asked. */
Test(compose, that_supports_nothing_runs_though_cancelled_before)
{
    struct unr_signal stop = { 0 };
    struct chain      c = { .goal = 3 };
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_ALL, -31);
    begin(&c.seen, unr_bind_slot(described(&c), unr_signal_slot(&stop)));
    run();
    cr_assert_eq(c.steps, 4);
    cr_assert_eq(c.seen.result.error, 0);
    cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(c.seen.result.cause, -31);
    cr_assert_eq(c.seen.result.requested, UNR_CANCEL_ALL);
    close_loop();
}

/* With a child in flight: that ends, and what was moved before is counted. */
Test(compose, cancelled_in_flight_counts_what_was_moved)
{
    int               fds[2];
    struct unr_signal stop = { 0 };
    struct echo       e;
    unix_pair(fds);
    begin(&e.seen, unr_bind_slot(echo(&e, fds[0]), unr_signal_slot(&stop)));
    cr_assert_eq(write(fds[1], "hello", 5), 5);
    while (e.op.result.bytes < 5)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    submit();
    cr_assert(unr_signal_emit_cause(&stop, UNR_CANCEL_PARTIAL, -32));
    run();
    expect_cancelled(&e.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -32);
    cr_assert_eq(e.seen.result.bytes, 5);
    cr_assert_eq(e.seen.result.requested, UNR_CANCEL_PARTIAL);
    expect_balance(&e, fds[1], 5);
    close_pair(fds);
    close_loop();
}

/* The ways in which a request is made: of the operation, through its slot, and by a handler in
 * somebody else's slot. */
struct requester {
    struct unr_signal bound, other;
    struct unr_op    *op;
    int               way, at;
};

static bool handle(void *context, struct unr_cancel_request request)
{
    struct requester *requester = context;
    unr_cancel_cause(requester->op, request.types, request.cause);
    return true;
}

static struct unr_op *with_requester(struct unr_op *op, struct requester *requester, int way)
{
    *requester = (struct requester){ .op = op, .way = way };
    unr_slot_assign(unr_signal_slot(&requester->other), handle, requester);
    return unr_bind_slot(op, unr_signal_slot(&requester->bound));
}

enum { WAYS = 3 };

static void request_it(struct requester *requester)
{
    switch (requester->way) {
    case 0: cr_assert(unr_cancel_cause(requester->op, UNR_CANCEL_PARTIAL, -33)); break;
    case 1: unr_signal_emit_cause(&requester->bound, UNR_CANCEL_PARTIAL, -33); break;
    case 2: cr_assert(unr_signal_emit_cause(&requester->other, UNR_CANCEL_PARTIAL, -33)); break;
    }
}

static void request_at_step(struct chain *chain)
{
    struct requester *requester = chain->context;
    if (chain->steps == requester->at)
        request_it(requester);
}

/* From inside a step, the first and each other one: the child that this step begins ends before it
 * begins, and no other follows.  Inside the last step it is too late. */
Test(compose, cancelled_inside_any_step_takes_one_more)
{
    enum { GOAL = 5 };
    for (int way = 0; way < WAYS; way++)
        for (int at = 1; at <= GOAL + 1; at++) {
            struct requester requester;
            struct chain     c = { .goal = GOAL,
                                   .supports = UNR_CANCEL_TOTAL,
                                   .hook = request_at_step,
                                   .context = &requester };
            struct unr_op   *op = with_requester(described(&c), &requester, way);
            requester.at = at;
            begin(&c.seen, op);
            run();
            cr_assert_eq(c.seen.result.requested, UNR_CANCEL_PARTIAL);
            if (at <= GOAL) {
                expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -33);
                cr_assert_eq(c.steps, at + 1);
                cr_assert_eq(c.child.result.verdict, UNR_VERDICT_UNSUBMITTED);
                cr_assert_eq(c.child.result.cause, -33);
            } else {
                cr_assert_eq(c.seen.result.error, 0);
                cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_TOO_LATE);
                cr_assert_eq(c.seen.result.guarantee, UNR_CANCEL_NONE);
                cr_assert_eq(c.seen.result.cause, -33);
            }
        }
    close_loop();
}

static void request_then(struct seen *seen)
{
    request_it(seen->context);
}

/* Asio loses a cancel that comes between two operations, as a signal there is an edge
 * (chriskohlhoff/asio#1574, boostorg/mysql#199, boostorg/redis#321): the receive has completed,
 * the emit finds it finished, and the next one waits for ever.  Here the request stays in the
 * state, and the send that would follow never begins, though the step that starts it looks at
 * nothing but its child's error.  The request comes from another operation's `done`, in the turn
 * that has the receive's completion already. */
Test(compose, cancel_that_loses_to_a_completion_still_ends_it_before_the_next_child)
{
    for (int way = 0; way < WAYS; way++) {
        int              fds[2];
        struct requester requester;
        struct echo      e;
        struct seen      other = { .then = request_then, .context = &requester };
        unix_pair(fds);
        cr_assert_eq(write(fds[1], "hello", 5), 5);
        start(&other, unr_nop(&other.op));
        struct unr_op *op = with_requester(echo(&e, fds[0]), &requester, way);
        begin(&e.seen, op);
        run();
        cr_assert_eq(e.received, 5, "the receive was to win");
        expect_cancelled(&e.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -33);
        cr_assert_eq(e.steps, 3);
        cr_assert_eq(e.child.result.verdict, UNR_VERDICT_UNSUBMITTED);
        expect_balance(&e, fds[1], 5);
        cr_assert_eq(e.seen.result.bytes, 0);
        close_pair(fds);
    }
    close_loop();
}

/* The same race as it comes, in each order of data and request: it always ends, sends nothing any
 * more, and loses no byte. */
Test(compose, cancel_that_races_with_data_always_ends_it)
{
    for (int round = 0; round < 200; round++) {
        int         fds[2];
        struct echo e;
        unix_pair(fds);
        begin(&e.seen, echo(&e, fds[0]));
        if (round % 8 < 6)
            submit();
        if (round % 2)
            cr_assert_eq(write(fds[1], "hello", 5), 5);
        unr_cancel(&e.op, UNR_CANCEL_ALL);
        if (round % 4 == 2)
            submit();
        if (!(round % 2))
            cr_assert_eq(write(fds[1], "hello", 5), 5);
        finish(&e.seen);
        expect_cancelled(&e.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(e.seen.result.bytes, 0);
        expect_balance(&e, fds[1], 5);
        close_pair(fds);
    }
    close_loop();
}

/* After it has ended and before its `done`: too late, and success stays success.  (Ended by a
 * child, it has no such moment: its `done` comes next.) */
Test(compose, cancelled_between_its_end_and_done_stays_a_success)
{
    for (int way = 0; way < WAYS; way++) {
        struct requester requester;
        struct chain     c = { .goal = 0, .supports = UNR_CANCEL_TOTAL };
        begin(&c.seen, with_requester(described(&c), &requester, way));
        request_it(&requester);
        run();
        cr_assert_eq(c.steps, 1);
        cr_assert_eq(c.seen.result.error, 0);
        cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_TOO_LATE);
        cr_assert_eq(c.seen.result.cause, -33);
        cr_assert_eq(c.seen.result.requested, UNR_CANCEL_PARTIAL);
        cr_assert_eq(c.seen.result.guarantee, UNR_CANCEL_NONE);
    }
    close_loop();
}

/* ... also when the request comes while that child's completion waits to be handed back: on one
 * step, finished beats cancelled. */
Test(compose, cancelled_while_its_last_child_is_finished_stays_a_success)
{
    struct requester requester;
    struct chain     c = { .goal = 1, .supports = UNR_CANCEL_TOTAL };
    struct seen      other = { .then = request_then, .context = &requester };
    start(&other, unr_nop(&other.op));
    begin(&c.seen, with_requester(described(&c), &requester, 0));
    run();
    cr_assert_eq(c.seen.result.error, 0);
    cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(c.child.result.verdict, UNR_VERDICT_TOO_LATE);
    close_loop();
}

/* In its `done` it is no longer there to be asked, and its slot is empty. */
static void expect_gone(struct seen *seen)
{
    struct requester *requester = seen->context;
    cr_assert_not(unr_cancel(requester->op, UNR_CANCEL_ALL));
    cr_assert_not(unr_signal_emit(&requester->bound, UNR_CANCEL_ALL));
    cr_assert_not(unr_in_flight(requester->op));
}

Test(compose, is_not_asked_any_more_in_its_done)
{
    struct requester requester;
    struct chain     c = { .goal = 2, .supports = UNR_CANCEL_TOTAL };
    c.seen.then = expect_gone;
    c.seen.context = &requester;
    begin(&c.seen, with_requester(described(&c), &requester, 0));
    run();
    cr_assert_eq(c.seen.runs, 1);
    close_loop();
}

/* Wherever in a loop of a hundred steps the request comes, one step follows, which ends it. */
Test(compose, cancelled_at_any_of_a_hundred_steps)
{
    for (int at = 1; at <= 100; at++) {
        struct requester requester;
        struct chain     c = { .goal = 100,
                               .supports = UNR_CANCEL_TOTAL,
                               .hook = request_at_step,
                               .context = &requester };
        struct unr_op   *op = with_requester(described(&c), &requester, at % WAYS);
        requester.at = at;
        begin(&c.seen, op);
        run();
        expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -33);
        cr_assert_eq(c.steps, at + 1);
    }
    close_loop();
}

static void cancel_in_second_step(struct chain *chain)
{
    if (chain->steps == 2)
        cr_assert(unr_cancel(&chain->op, UNR_CANCEL_ALL));
}

/* A child that does not end when it is asked holds the operation up, and its success counts: then
 * the next one is not begun. */
Test(compose, waits_for_a_child_that_takes_its_time)
{
    struct gate  g = { .stubborn = true };
    struct chain c = { .goal = 3, .supports = UNR_CANCEL_TOTAL, .next = total_gate, .context = &g };
    begin(&c.seen, described(&c));
    unr_cancel_cause(&c.op, UNR_CANCEL_TERMINAL, -1);
    submit();
    cr_assert_eq(c.seen.runs, 0);
    cr_assert_eq(g.asked, UNR_CANCEL_TERMINAL);
    unr_cancel_cause(&c.op, UNR_CANCEL_TOTAL, -2);
    cr_assert_eq(g.asked, UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
    unr_finish(&g.op, 0);
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -1);
    cr_assert_eq(c.steps, 3);
    cr_assert_eq(g.op.result.verdict, UNR_VERDICT_UNSUBMITTED);
    cr_assert_eq(g.op.result.requested, UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
    close_loop();
}

/* Described again, it has forgotten what it was asked. */
Test(compose, described_again_knows_of_no_request)
{
    struct gate  g = { 0 };
    struct chain c = { .goal = 3,
                       .supports = UNR_CANCEL_TOTAL,
                       .next = total_gate,
                       .hook = cancel_in_second_step,
                       .context = &g };
    begin(&c.seen, described(&c));
    unr_finish(&g.op, 0);
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    c.hook = NULL;
    c.goal = 1;
    begin(&c.seen, described(&c));
    cr_assert_eq(unr_state_cancelled(unr_compose_state(&c.compose)), 0);
    unr_finish(&g.op, 0);
    run();
    cr_assert_eq(c.seen.result.error, 0);
    cr_assert_eq(c.seen.result.requested, 0);
    cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_NONE);
    close_loop();
}

/* A signal that has cancelled one start is no obstacle to the next on the same slot, and an
 * edge-triggered one that is emitted in between leaves nothing behind. */
Test(compose, signal_is_used_again_without_a_stale_cancel)
{
    int               fds[2];
    struct unr_signal stop = { 0 };
    struct chain      c = {
             .goal = 1, .supports = UNR_CANCEL_TOTAL, .next = recv_byte, .context = &fds[0]
    };
    unix_pair(fds);
    for (int round = 0; round < 20; round++) {
        begin(&c.seen, unr_bind_slot(described(&c), unr_signal_slot(&stop)));
        submit();
        if (round % 2)
            cr_assert_eq(write(fds[1], "x", 1), 1);
        else
            cr_assert(unr_signal_emit(&stop, UNR_CANCEL_ALL));
        run();
        cr_assert_not(unr_signal_emit(&stop, UNR_CANCEL_ALL));
        cr_assert_eq(c.seen.result.error, round % 2 ? 0 : -ECANCELED);
        cr_assert_eq(c.seen.result.requested, round % 2 ? 0 : UNR_CANCEL_ALL);
        cr_assert_eq(c.seen.result.verdict, round % 2 ? UNR_VERDICT_NONE : UNR_VERDICT_CANCELLED);
    }
    close_pair(fds);
    close_loop();
}

/* ---- cleaning up ---- */

/* Opens nothing: receives, and closes its descriptor whatever comes; ends with what the receive
 * said. */
struct session {
    union {
        struct unr_op      op;
        struct unr_compose compose;
    };
    struct seen   seen;
    struct unr_op child;
    int           fd, error;
    bool          closing, says_goodbye;
    char          byte;
};

static void session_step(struct unr_compose *self, struct unr_op *finished)
{
    struct session *session = unr_container_of(self, struct session, compose);
    if (!finished) {
        unr_compose_next(self, unr_recv(&session->child, session->fd, &session->byte, 1, 0));
    } else if (session->closing) {
        cr_assert_eq(finished->result.error, 0);
        unr_compose_end(self, session->error);
    } else if (session->says_goodbye) {
        session->error = finished->result.error;
        session->says_goodbye = false;
        unr_compose_next(self, unr_send(&session->child, session->fd, "bye", 3, 0));
    } else {
        session->error = session->error ? session->error : finished->result.error;
        session->closing = true;
        unr_compose_next(self, unr_close(&session->child, session->fd));
    }
}

static struct unr_op *session(struct session *session, int fd)
{
    *session = (struct session){ .fd = fd };
    return unr_compose(&session->compose, "session", UNR_CANCEL_PARTIAL, session_step);
}

static void expect_end_of_stream(int fd)
{
    char byte;
    cr_assert_eq(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
}

/* What supports NONE is never pre-empted: an operation that was cancelled closes what it has to,
 * and then is what it was. */
Test(compose, cancelled_closes_its_descriptor_all_the_same)
{
    int            fds[2];
    struct session s;
    unix_pair(fds);
    begin(&s.seen, session(&s, fds[0]));
    submit();
    cr_assert(unr_cancel_cause(&s.op, UNR_CANCEL_ALL, -34));
    run();
    expect_cancelled(&s.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -34);
    cr_assert_eq(s.child.result.verdict, UNR_VERDICT_REFUSED, "the close was asked, and says so");
    expect_end_of_stream(fds[1]);
    close(fds[1]);
    close_loop();
}

static void let_children_begin(struct unr_op *op)
{
    struct session *session = unr_container_of(op, struct session, op);
    unr_state_preempt(unr_compose_state(&session->compose), false);
}

/* What supports a cancellation is pre-empted, unless the state says that children do begin: then
 * the farewell goes out, and the operation ends as cancelled all the same. */
Test(compose, preempt_off_lets_the_cleaning_up_run)
{
    for (int off = 0; off < 2; off++) {
        int            fds[2];
        struct session s;
        unix_pair(fds);
        session(&s, fds[0]);
        s.says_goodbye = true;
        if (off)
            let_children_begin(&s.op);
        begin(&s.seen, &s.op);
        submit();
        unr_cancel_cause(&s.op, UNR_CANCEL_PARTIAL, -34);
        run();
        expect_cancelled(&s.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -34);
        cr_assert_eq(drain(fds[1]), off ? 3 : 0);
        expect_end_of_stream(fds[1]);
        close(fds[1]);
    }
    close_loop();
}

static void preempt_at_steps(struct chain *chain)
{
    struct unr_cancel_state *state = unr_compose_state(&chain->compose);
    if (chain->steps == 2) {
        cr_assert(unr_cancel(&chain->op, UNR_CANCEL_TERMINAL));
        unr_state_preempt(state, false);
    }
    if (chain->steps > 2)
        cr_assert_eq(unr_state_cancelled(state), UNR_CANCEL_TERMINAL);
    if (chain->steps == 5)
        unr_state_preempt(state, true);
}

/* Switched on again, it ends the next child before it begins: nothing was forgotten meanwhile. */
Test(compose, preempt_on_again_remembers_what_was_let_in)
{
    struct chain c = { .goal = 10, .supports = UNR_CANCEL_TOTAL, .hook = preempt_at_steps };
    begin(&c.seen, described(&c));
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(c.steps, 6);
    close_loop();
}

/* With it off, the child in flight is asked for what is asked anew: a clean-up that hangs can be
 * ended too. */
Test(compose, preempt_off_still_asks_the_child_in_flight)
{
    struct gate  g = { 0 };
    struct chain c = { .goal = 3, .supports = UNR_CANCEL_TOTAL, .next = total_gate, .context = &g };
    g.stubborn = true;
    described(&c);
    unr_state_preempt(unr_compose_state(&c.compose), false);
    begin(&c.seen, &c.op);
    unr_cancel(&c.op, UNR_CANCEL_TOTAL);
    unr_finish(&g.op, 0);
    while (c.steps < 2)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(g.asked, 0, "the second child has begun, and was not asked");
    g.stubborn = false;
    unr_cancel(&c.op, UNR_CANCEL_ALL);
    run();
    cr_assert_eq(c.seen.result.error, -ECANCELED);
    cr_assert_eq(c.steps, 3);
    close_loop();
}

/* ---- guarantees ---- */

static struct unr_op *gate_of_context(struct chain *chain)
{
    struct gate *g = chain->context;
    return gate(g, (unsigned)(uintptr_t)g->op.data);
}

/* The guarantee is the weaker of what the composition supports and what its child was cancelled
 * under. */
Test(compose, guarantee_is_the_weaker_of_its_own_and_its_childs)
{
    for (unsigned own = UNR_CANCEL_TERMINAL; own <= UNR_CANCEL_TOTAL; own <<= 1)
        for (unsigned childs = UNR_CANCEL_TERMINAL; childs <= UNR_CANCEL_TOTAL; childs <<= 1) {
            struct gate  g = { .op.data = (void *)(uintptr_t)all_of(childs) };
            struct chain c = { .goal = 1, .supports = own, .next = gate_of_context, .context = &g };
            begin(&c.seen, described(&c));
            unr_cancel(&c.op, UNR_CANCEL_ALL);
            run();
            expect_cancelled(&c.seen, own < childs ? own : childs, UNR_VERDICT_CANCELLED,
                             -ECANCELED);
        }
    close_loop();
}

/* What counts is what the child proved, not what it promised: one that supports TOTAL may report
 * TERMINAL, as a connect does that could not be undone. */
Test(compose, guarantee_of_a_child_that_proved_less_than_it_supports)
{
    struct gate  g = { .proves = UNR_CANCEL_TERMINAL };
    struct chain c = { .goal = 1, .supports = UNR_CANCEL_TOTAL, .next = total_gate, .context = &g };
    begin(&c.seen, described(&c));
    unr_cancel(&c.op, UNR_CANCEL_ALL);
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_loop();
}

/* A child that supports nothing, and ended as cancelled, proves the least: TERMINAL, whatever the
 * composition supports. */
Test(compose, guarantee_of_a_child_that_supports_nothing_is_terminal)
{
    for (unsigned own = UNR_CANCEL_TERMINAL; own <= UNR_CANCEL_TOTAL; own <<= 1) {
        struct gate  g = { .op.data = (void *)(uintptr_t)UNR_CANCEL_NONE };
        struct chain c = { .goal = 1, .supports = own, .next = gate_of_context, .context = &g };
        begin(&c.seen, described(&c));
        unr_finish(&g.op, -ECANCELED);
        run();
        cr_assert_eq(g.op.result.guarantee, UNR_CANCEL_TERMINAL);
        expect_cancelled(&c.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    }
    close_loop();
}

static void go_on_after_the_first(struct unr_compose *self, struct unr_op *finished)
{
    struct chain *chain = unr_container_of(self, struct chain, compose);
    struct gate  *g = chain->context;
    chain->steps++;
    if (chain->steps < 3) {
        g->proves = chain->steps == 1 ? UNR_CANCEL_TERMINAL : 0;
        unr_compose_next(self, total_gate(chain));
    } else {
        unr_compose_end(self, finished->result.error);
    }
}

/* ... and of several that were cancelled, the weakest: a first one may have left its mark, whatever
 * the last one proves. */
Test(compose, guarantee_is_the_weakest_that_any_child_proved)
{
    struct gate  g = { 0 };
    struct chain c = { .context = &g };
    begin(&c.seen, unr_compose(&c.compose, "twice", UNR_CANCEL_TOTAL, go_on_after_the_first));
    unr_cancel(&c.op, UNR_CANCEL_ALL);
    run();
    cr_assert_eq(g.op.result.guarantee, UNR_CANCEL_TOTAL);
    expect_cancelled(&c.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_loop();
}

static void know_better(struct chain *chain)
{
    if (chain->finished)
        chain->op.result.guarantee = *(uint8_t *)chain->child.data;
}

/* A step that knows better says so, whichever way. */
Test(compose, guarantee_that_the_author_sets_wins)
{
    int fds[2];
    unix_pair(fds);
    for (unsigned own = UNR_CANCEL_TERMINAL; own <= UNR_CANCEL_TOTAL; own <<= 1)
        for (unsigned knows = UNR_CANCEL_TERMINAL; knows <= UNR_CANCEL_TOTAL; knows <<= 1) {
            uint8_t      known = (uint8_t)knows;
            struct chain c = { .goal = 1,
                               .supports = own,
                               .next = recv_byte,
                               .hook = know_better,
                               .context = &fds[0] };
            c.child.data = &known;
            begin(&c.seen, described(&c));
            submit();
            unr_cancel(&c.op, UNR_CANCEL_ALL);
            run();
            expect_cancelled(&c.seen, knows, UNR_VERDICT_CANCELLED, -ECANCELED);
        }
    close_pair(fds);
    close_loop();
}

/* What a step sets and then ends with success, or another error, is no cancellation: it has no
 * guarantee. */
Test(compose, guarantee_of_a_success_is_none)
{
    uint8_t      known = UNR_CANCEL_PARTIAL;
    struct chain c = { .goal = 1, .supports = UNR_CANCEL_TOTAL, .hook = know_better };
    c.child.data = &known;
    begin(&c.seen, described(&c));
    run();
    cr_assert_eq(c.seen.result.error, 0);
    cr_assert_eq(c.seen.result.guarantee, UNR_CANCEL_NONE);
    close_loop();
}

/* ---- causes and verdicts ---- */

/* The first request that is honoured gives the cause, those behind it only add to what was
 * requested. */
Test(compose, cause_is_that_of_the_first_request)
{
    struct gate  g = { .stubborn = true };
    struct chain c = { .goal = 1, .supports = UNR_CANCEL_TOTAL, .next = total_gate, .context = &g };
    begin(&c.seen, described(&c));
    unr_cancel_cause(&c.op, UNR_CANCEL_PARTIAL, -41);
    g.stubborn = false;
    unr_cancel_cause(&c.op, UNR_CANCEL_TOTAL, -42);
    unr_cancel_cause(&c.op, UNR_CANCEL_TERMINAL, -43);
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -41);
    cr_assert_eq(c.seen.result.requested, UNR_CANCEL_ALL);
    cr_assert_eq(unr_outcome(&c.seen.result), -41);
    close_loop();
}

static struct unr_op *recv_until_deadline(struct chain *chain)
{
    struct unr_deadline *deadline = chain->seen.context;
    return unr_cancel_at(deadline, recv_byte(chain), chain->steps == 1 ? UNR_NEVER : 0);
}

/* A child's own deadline: only the child was asked, and the whole says why it ended. */
Test(compose, cause_is_the_childs_own_deadline_if_only_that_was_asked)
{
    int                 fds[2];
    struct unr_deadline deadline = { 0 };
    struct chain        c = {
               .goal = 9, .supports = UNR_CANCEL_TOTAL, .next = recv_until_deadline, .context = &fds[0]
    };
    unix_pair(fds);
    c.seen.context = &deadline;
    begin(&c.seen, described(&c));
    submit();
    cr_assert(unr_deadline_move(&deadline, 0));
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(unr_outcome(&c.seen.result), -ETIMEDOUT);
    cr_assert_eq(c.seen.result.requested, 0);
    cr_assert_eq(unr_state_cancelled(unr_compose_state(&c.compose)), 0);

    /* It is past when the second child begins. */
    cr_assert_eq(write(fds[1], "x", 1), 1);
    begin(&c.seen, described(&c));
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(c.steps, 3);
    close_pair(fds);
    close_loop();
}

/* ... and where both were asked, the request for the whole counts. */
Test(compose, cause_is_the_requests_though_the_childs_deadline_came_as_well)
{
    struct gate  g = { .stubborn = true };
    struct chain c = { .goal = 1, .supports = UNR_CANCEL_TOTAL, .next = total_gate, .context = &g };
    begin(&c.seen, described(&c));
    unr_cancel_cause(&g.op, UNR_CANCEL_TOTAL, -ETIMEDOUT);
    unr_cancel_cause(&c.op, UNR_CANCEL_TOTAL, -44);
    unr_finish(&g.op, -ECANCELED);
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -44);
    close_loop();
}

static struct unr_op *bound_recv(struct chain *chain)
{
    return unr_bind_slot(recv_byte(chain), chain->seen.context);
}

/* A child that is bound to a slot of its own: the request ends it, and with it a naive whole, under
 * the child's cause. */
Test(compose, cause_is_the_childs_own_slot_if_only_that_was_asked)
{
    int               fds[2];
    struct unr_signal signal = { 0 };
    struct chain      c = {
             .goal = 1, .supports = UNR_CANCEL_TERMINAL, .next = bound_recv, .context = &fds[0]
    };
    unix_pair(fds);
    c.seen.context = unr_signal_slot(&signal);
    begin(&c.seen, described(&c));
    submit();
    cr_assert(unr_signal_emit_cause(&signal, UNR_CANCEL_TOTAL, -45));
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -45);
    cr_assert_eq(c.seen.result.requested, 0);
    close_pair(fds);
    close_loop();
}

/* ... also where the whole supports nothing: then it promises the least. */
Test(compose, that_supports_nothing_ends_with_its_child)
{
    int          fds[2];
    struct chain c = { .goal = 1, .next = recv_byte, .context = &fds[0] };
    unix_pair(fds);
    begin(&c.seen, described(&c));
    submit();
    unr_cancel_cause(&c.op, UNR_CANCEL_ALL, -46);
    submit();
    cr_assert_eq(c.seen.runs, 0);
    cr_assert_eq(unr_cancel_fd(loop, fds[0], UNR_CANCEL_TOTAL), 1);
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_pair(fds);
    close_loop();
}

static void try_again(struct unr_compose *self, struct unr_op *finished)
{
    struct chain *chain = unr_container_of(self, struct chain, compose);
    chain->steps++;
    if (!finished || finished->result.error == -ECANCELED)
        unr_compose_next(self, recv_byte(chain));
    else
        unr_compose_end(self, finished->result.error);
}

/* A step that takes its child's cancellation for what it is, and goes on, was not cancelled
 * itself. */
Test(compose, that_survives_its_childs_cancellation_was_not_cancelled)
{
    int          fds[2];
    struct chain c = { .context = &fds[0] };
    unix_pair(fds);
    begin(&c.seen, unr_compose(&c.compose, "try", UNR_CANCEL_TOTAL, try_again));
    for (int i = 1; i <= 5; i++) {
        submit();
        cr_assert(unr_cancel_cause(&c.child, UNR_CANCEL_TOTAL, -ETIMEDOUT));
        while (c.steps <= i)
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    }
    cr_assert_eq(write(fds[1], "x", 1), 1);
    run();
    cr_assert_eq(c.seen.result.error, 0);
    cr_assert_eq(c.seen.result.cause, 0);
    cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_NONE);
    cr_assert_eq(c.seen.result.guarantee, UNR_CANCEL_NONE);
    close_pair(fds);
    close_loop();
}

/* What it does not support is refused and not recorded, and it goes on to its end; the verdict
 * tells. */
Test(compose, refuses_what_it_does_not_support)
{
    struct gate  g = { 0 };
    struct chain c = {
        .goal = 3, .supports = UNR_CANCEL_TERMINAL, .next = total_gate, .context = &g
    };
    begin(&c.seen, described(&c));
    for (int i = 0; i < 3; i++) {
        while (c.steps <= i)
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        cr_assert(unr_cancel_cause(&c.op, UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL, -47 - i));
        cr_assert_eq(g.asked, 0);
        cr_assert_eq(unr_state_cancelled(unr_compose_state(&c.compose)), 0);
        unr_finish(&g.op, 0);
    }
    run();
    cr_assert_eq(c.steps, 4);
    cr_assert_eq(c.seen.result.error, 0);
    cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(c.seen.result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL);
    cr_assert_eq(c.seen.result.cause, -49);
    close_loop();
}

/* A mask of which it supports a part is honoured for that part alone. */
Test(compose, honours_the_part_of_a_mask_that_it_supports)
{
    struct gate  g = { 0 };
    struct chain c = {
        .goal = 1, .supports = UNR_CANCEL_PARTIAL, .next = total_gate, .context = &g
    };
    begin(&c.seen, described(&c));
    unr_cancel(&c.op, UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL);
    cr_assert_eq(g.asked, UNR_CANCEL_PARTIAL);
    cr_assert_eq(unr_state_cancelled(unr_compose_state(&c.compose)), UNR_CANCEL_PARTIAL);
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(c.seen.result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL);
    close_loop();
}

static void end_with(struct unr_compose *self, struct unr_op *finished)
{
    struct chain *chain = unr_container_of(self, struct chain, compose);
    if (finished)
        unr_compose_end(self, chain->goal);
    else
        unr_compose_next(self, total_gate(chain));
}

/* A step may end with success, or with an error of its own, though its child was cancelled: that is
 * what is reported, with the request beside it. */
Test(compose, ends_as_its_step_says_though_a_cancellation_was_asked_for)
{
    static const int errors[] = { 0, -EPROTO, -EPIPE };
    for (size_t i = 0; i < LENGTH(errors); i++) {
        struct gate  g = { 0 };
        struct chain c = { .goal = errors[i], .context = &g };
        begin(&c.seen, unr_compose(&c.compose, "end", UNR_CANCEL_TOTAL, end_with));
        unr_cancel_cause(&c.op, UNR_CANCEL_PARTIAL, -48);
        run();
        cr_assert_eq(c.seen.result.error, errors[i]);
        cr_assert_eq(unr_outcome(&c.seen.result), errors[i]);
        cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_TOO_LATE);
        cr_assert_eq(c.seen.result.requested, UNR_CANCEL_PARTIAL);
        cr_assert_eq(c.seen.result.cause, -48);
        cr_assert_eq(c.seen.result.guarantee, UNR_CANCEL_NONE);
    }
    close_loop();
}

/* The error of a child that had its own reasons is passed on as such, though a cancellation was
 * asked for too. */
Test(compose, fails_as_its_child_did)
{
    struct gate  g = { .stubborn = true };
    struct chain c = { .goal = 1, .supports = UNR_CANCEL_TOTAL, .next = total_gate, .context = &g };
    begin(&c.seen, described(&c));
    unr_cancel(&c.op, UNR_CANCEL_ALL);
    unr_finish(&g.op, -ECONNRESET);
    run();
    cr_assert_eq(c.seen.result.error, -ECONNRESET);
    cr_assert_eq(c.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    close_loop();
}

/* ---- composed of composed ---- */

static struct unr_op *next_chain(struct chain *chain)
{
    return described(chain->context);
}

/* Three deep: a request for the outermost ends the receive at the bottom, and each of them says so,
 * the guarantee being the weakest on the way; and what surrounds the bottom goes on to no other
 * child. */
Test(compose, three_deep_is_cancelled_to_the_bottom)
{
    int          fds[2];
    struct chain inner = {
        .goal = 1, .supports = UNR_CANCEL_TOTAL, .next = recv_byte, .context = &fds[0]
    };
    struct chain middle = {
        .goal = 5, .supports = UNR_CANCEL_PARTIAL, .next = next_chain, .context = &inner
    };
    struct chain outer = {
        .goal = 5, .supports = UNR_CANCEL_TOTAL, .next = next_chain, .context = &middle
    };
    unix_pair(fds);
    begin(&outer.seen, described(&outer));
    cr_assert_eq(unr_loop_in_flight(loop), 1);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    while (middle.steps < 2)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    submit();
    unr_cancel_cause(&outer.op, UNR_CANCEL_PARTIAL, -51);
    run();
    expect_cancelled(&outer.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -51);
    cr_assert_eq(middle.op.result.guarantee, UNR_CANCEL_PARTIAL);
    cr_assert_eq(inner.op.result.guarantee, UNR_CANCEL_TOTAL);
    cr_assert(inner.op.result.cause == -51 && middle.op.result.cause == -51);
    cr_assert(outer.steps == 2 && middle.steps == 3 && inner.steps == 2);
    close_pair(fds);
    close_loop();
}

/* A request that only the middle one supports is refused there or above it: TOTAL stops where TOTAL
 * is not supported. */
Test(compose, three_deep_passes_on_what_each_lets_in)
{
    struct gate  g = { 0 };
    struct chain inner = {
        .goal = 1, .supports = UNR_CANCEL_TOTAL, .next = total_gate, .context = &g
    };
    struct chain middle = {
        .goal = 1, .supports = UNR_CANCEL_PARTIAL, .next = next_chain, .context = &inner
    };
    struct chain outer = {
        .goal = 1, .supports = UNR_CANCEL_TOTAL, .next = next_chain, .context = &middle
    };
    begin(&outer.seen, described(&outer));
    unr_cancel_cause(&outer.op, UNR_CANCEL_TOTAL, -52);
    cr_assert_eq(g.asked, 0);
    cr_assert_eq(unr_state_cancelled(unr_compose_state(&outer.compose)), UNR_CANCEL_TOTAL);
    cr_assert_eq(unr_state_cancelled(unr_compose_state(&middle.compose)), 0);
    unr_cancel_cause(&outer.op, UNR_CANCEL_ALL, -53);
    cr_assert_eq(g.asked, UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL);
    run();
    expect_cancelled(&outer.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -52);
    cr_assert_eq(middle.op.result.cause, -53);
    close_loop();
}

static void count_and_request(struct chain *chain)
{
    struct requester *requester = chain->seen.context;
    if (--requester->at == 0)
        request_it(requester);
}

/* Wherever in the steps of the bottom the request comes, all three end, and no more steps are taken
 * than to say so. */
Test(compose, three_deep_is_cancelled_at_any_step)
{
    for (int at = 1; at <= 27; at++) {
        struct requester requester;
        struct chain inner = { .goal = 2, .supports = UNR_CANCEL_TOTAL, .hook = count_and_request };
        struct chain middle = {
            .goal = 3, .supports = UNR_CANCEL_TOTAL, .next = next_chain, .context = &inner
        };
        struct chain outer = {
            .goal = 3, .supports = UNR_CANCEL_TOTAL, .next = next_chain, .context = &middle
        };
        inner.seen.context = &requester;
        struct unr_op *op = with_requester(described(&outer), &requester, at % WAYS);
        requester.at = at;
        begin(&outer.seen, op);
        run();
        cr_assert_eq(outer.seen.runs, 1);
        if (at < 27) {
            expect_cancelled(&outer.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -33);
            cr_assert_geq(requester.at, -1, "at most one step of the bottom follows");
        } else {
            cr_assert_eq(outer.seen.result.error, 0);
            cr_assert_eq(outer.seen.result.verdict, UNR_VERDICT_TOO_LATE);
        }
    }
    close_loop();
}

/* ---- the loop is closed ---- */

static void start_context(struct seen *seen)
{
    struct chain *chain = seen->context;
    begin(&chain->seen, described(chain));
}

static void close_with_descriptors(int fds[2])
{
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = NULL;
    close_pair(fds);
    cr_assert_eq(count_descriptors(), open_descriptors, "descriptors leak");
}

/* Started while the loop is being closed: it ends before it begins. */
Test(compose, started_while_the_loop_closes_takes_no_step)
{
    int          fds[2];
    char         byte;
    struct chain c = { .goal = 3, .supports = UNR_CANCEL_TERMINAL };
    struct seen  recv = { .then = start_context, .context = &c };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], &byte, 1, 0));
    submit();
    close_with_descriptors(fds);
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    cr_assert_eq(c.steps, 0);
}

/* ... and one that supports nothing takes its steps, the children of which end before they
 * begin. */
Test(compose, that_supports_nothing_does_not_keep_its_children_from_the_closing_loop)
{
    int          fds[2];
    char         byte;
    struct chain c = { .goal = 3 };
    struct seen  recv = { .then = start_context, .context = &c };
    unix_pair(fds);
    start(&recv, unr_recv(&recv.op, fds[0], &byte, 1, 0));
    submit();
    close_with_descriptors(fds);
    cr_assert_eq(c.steps, 2);
    expect_cancelled(&c.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
}

enum { PLAIN, FILTERED, NOT_PREEMPTED, SHIELDS };

/* The loop is closed with a composed operation in flight: it ends, and closes what it has to.
 * Neither filters that let nothing in nor children that always begin shield it. */
Test(compose, in_flight_when_the_loop_is_closed_ends_and_cleans_up)
{
    for (int shield = 0; shield < SHIELDS; shield++) {
        int            fds[2];
        struct session s;
        if (!loop)
            open_loop();
        unix_pair(fds);
        session(&s, fds[0]);
        if (shield == FILTERED)
            unr_state_reset(unr_compose_state(&s.compose), unr_let_none, unr_let_none, NULL);
        if (shield == NOT_PREEMPTED)
            unr_state_preempt(unr_compose_state(&s.compose), false);
        s.says_goodbye = true;
        begin(&s.seen, &s.op);
        submit();
        cr_assert_eq(unr_loop_close(loop), 0);
        loop = NULL;
        expect_cancelled(&s.seen, shield == FILTERED ? UNR_CANCEL_TERMINAL : UNR_CANCEL_PARTIAL,
                         UNR_VERDICT_CANCELLED, -ESHUTDOWN);
        cr_assert_eq(drain(fds[1]), 0,
                     "a farewell is no cleaning up that a closing loop waits for");
        expect_end_of_stream(fds[1]);
        close(fds[1]);
        cr_assert_eq(count_descriptors(), open_descriptors);
    }
}

/* ... three deep, whatever the filters of the one in the middle. */
Test(compose, three_deep_when_the_loop_is_closed)
{
    int          fds[2];
    struct chain inner = { .goal = 2, .next = recv_byte, .context = &fds[0] };
    struct chain middle = { .goal = 2, .next = next_chain, .context = &inner };
    struct chain outer = {
        .goal = 2, .supports = UNR_CANCEL_TOTAL, .next = next_chain, .context = &middle
    };
    unix_pair(fds);
    begin(&outer.seen, described(&outer));
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&outer.seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    close_pair(fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* ---- binding and combinators ---- */

/* What a combinator holds may still be bound to a slot, which reaches it. */
Test(compose, binding_what_a_combinator_holds_is_allowed)
{
    int               fds[2];
    struct unr_signal signal = { 0 };
    struct unr_filter shield = { 0 };
    struct chain      c = {
             .goal = 1, .supports = UNR_CANCEL_TOTAL, .next = recv_byte, .context = &fds[0]
    };
    unix_pair(fds);
    struct unr_op *op = unr_shield(&shield, described(&c));
    unr_bind_slot(&c.op, unr_signal_slot(&signal));
    begin(&c.seen, op);
    submit();
    cr_assert(unr_signal_emit_cause(&signal, UNR_CANCEL_TOTAL, -54));
    run();
    expect_cancelled(&c.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -54);
    close_pair(fds);
    close_loop();
}

/* ---- broken contracts ---- */

#define BREACH(name, ...) BREACH_IN(compose_contract, open_loop_of_child(), name, __VA_ARGS__)

#define STEP_RULE                                                                                  \
    "each step begins one child with unr_compose_next() or ends with unr_compose_end()"

static struct unr_compose broken;
static struct unr_op      child, another;

static void start_broken(unr_step_fn *step)
{
    unr_start(loop, unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, step), NULL, NULL);
    unr_loop_run(loop);
}

static void do_neither(struct unr_compose *self, struct unr_op *finished)
{
    (void)self, (void)finished;
}

/* A step that neither goes on nor ends would never end. */
BREACH(step_that_does_neither, "brew", "neither went on nor ended", STEP_RULE)
{
    start_broken(do_neither);
}

static void do_neither_later(struct unr_compose *self, struct unr_op *finished)
{
    if (!finished)
        unr_compose_next(self, unr_nop(&child));
}

/* In any of its steps. */
BREACH(later_step_that_does_neither, "brew", "neither went on nor ended", STEP_RULE)
{
    start_broken(do_neither_later);
}

static void next_twice(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_next(self, unr_nop(&child));
    unr_compose_next(self, unr_nop(&another));
}

/* One child at a time. */
BREACH(next_twice_in_a_step, "brew", "unr_compose_next", STEP_RULE)
{
    start_broken(next_twice);
}

static void next_then_end(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_next(self, unr_nop(&child));
    unr_compose_end(self, 0);
}

BREACH(next_then_end_in_a_step, "brew", "unr_compose_end", STEP_RULE)
{
    start_broken(next_then_end);
}

static void end_then_next(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_end(self, 0);
    unr_compose_next(self, unr_nop(&child));
}

BREACH(end_then_next_in_a_step, "brew", "unr_compose_next", STEP_RULE)
{
    start_broken(end_then_next);
}

static void end_twice(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_end(self, 0);
    unr_compose_end(self, 0);
}

BREACH(end_twice_in_a_step, "brew", "unr_compose_end", STEP_RULE)
{
    start_broken(end_twice);
}

static void one_nop(struct unr_compose *self, struct unr_op *finished)
{
    if (finished)
        unr_compose_end(self, 0);
    else
        unr_compose_next(self, unr_nop(&child));
}

/* Outside of a step there is nothing to go on with: before the start, */
BREACH(end_before_the_start, "brew", "unr_compose_end", STEP_RULE)
{
    unr_compose_end((unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop), &broken), 0);
}

BREACH(next_before_the_start, "brew", "unr_compose_next", STEP_RULE)
{
    unr_compose_next((unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop), &broken),
                     unr_nop(&child));
}

/* with a child in flight, */
BREACH(end_with_a_child_in_flight, "brew", "unr_compose_end", STEP_RULE)
{
    unr_start(loop, unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop), NULL, NULL);
    unr_compose_end(&broken, -ECANCELED);
}

/* and after the end. */
BREACH(next_after_the_end, "brew", "unr_compose_next", STEP_RULE)
{
    start_broken(one_nop);
    unr_compose_next(&broken, unr_nop(&child));
}

static void end_positive(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_end(self, EIO);
}

/* Errors are negative. */
BREACH(end_with_a_positive_error, "brew", "positive error", "0 or a negative errno")
{
    start_broken(end_positive);
}

static void next_another(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_next(self, &another);
}

/* The next child is described and nobody else's: not in flight, */
BREACH(next_of_something_in_flight, "nop", "in flight", "described anew for each start")
{
    unr_start(loop, unr_nop(&another), NULL, NULL);
    start_broken(next_another);
}

/* not the same again without a description, */
BREACH(next_of_the_same_without_a_description, "nop", "not described",
       "described anew for each start")
{
    unr_nop(&another);
    start_broken(next_another);
}

/* not zeroed memory, */
BREACH(next_of_what_was_never_described, "not described", "described anew for each start")
{
    start_broken(next_another);
}

/* not itself, */
static void next_itself(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_next(self, &self->op);
}

BREACH(next_of_itself, "brew", "in flight", "described anew for each start")
{
    start_broken(next_itself);
}

/* and not what a combinator holds. */
BREACH(next_of_what_a_combinator_holds, "nop", "combinator")
{
    static struct unr_filter shield;
    unr_shield(&shield, unr_nop(&another));
    start_broken(next_another);
}

/* It is ended by its steps, not by unr_finish(). */
BREACH(finished_from_outside, "brew",
       "unr_finish is called once for each start, for operations of a caller's own type")
{
    unr_start(loop, unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop), NULL, NULL);
    unr_finish(&broken.op, 0);
}

static void finish_self(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_finish(&self->op, 0);
}

BREACH(finished_inside_a_step, "brew",
       "unr_finish is called once for each start, for operations of a caller's own type")
{
    start_broken(finish_self);
}

#include <liburing.h>

static int ready;

static void fill_multishot(void *sqe, void *context)
{
    (void)context;
    io_uring_prep_poll_multishot(sqe, ready, POLLIN);
}

static void next_multishot(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_next(self, unr_sqe(&child, "shots", UNR_CANCEL_TOTAL, fill_multishot, NULL));
}

/* A multishot operation has more than one end, and a step only one child. */
BREACH(multishot_child, "shots", "multishot operation inside a combinator",
       "given to no combinator")
{
    int ends[2];
    must(pipe2(ends, O_CLOEXEC) == 0);
    must(write(ends[1], "x", 1) == 1);
    ready = ends[0];
    start_broken(next_multishot);
}

/* Described, bound and started as any other: not described in flight, */
BREACH(described_in_flight, "brew", "described", "unring's from start until its done")
{
    unr_start(loop, unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop), NULL, NULL);
    unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop);
}

/* nor its child, */
BREACH(child_described_in_flight, "nop", "described", "unring's from start until its done")
{
    unr_start(loop, unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop), NULL, NULL);
    unr_nop(&child);
}

/* not bound in flight, */
BREACH(bound_in_flight, "brew", "bound", "describe, bind, then start")
{
    static struct unr_signal signal;
    unr_start(loop, unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop), NULL, NULL);
    unr_bind_slot(&broken.op, unr_signal_slot(&signal));
}

/* not started while a combinator holds it, */
BREACH(started_while_a_combinator_holds_it, "brew", "a combinator holds it",
       "started by that alone")
{
    static struct unr_filter shield;
    unr_shield(&shield, unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop));
    unr_start(loop, &broken.op, NULL, NULL);
}

/* and not given to two of them. */
BREACH(given_to_two_combinators, "brew", "given to two combinators")
{
    static struct unr_filter   shield;
    static struct unr_deadline deadline;
    unr_shield(&shield, unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, one_nop));
    unr_cancel_after(&deadline, &broken.op, 1);
}

static void for_ever(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_next(self, unr_nop(&child));
}

/* A step that begins a child for ever, whatever its error, does not end when the loop is closed; it
 * is named. */
BREACH(goes_on_for_ever_while_the_loop_closes, "nop", "being closed", "-ESHUTDOWN")
{
    unr_start(loop, unr_compose(&broken, "brew", UNR_CANCEL_TOTAL, for_ever), NULL, NULL);
    unr_loop_close(loop);
}

/* ---- combinators in combinators ---- */

enum { DEEPEST = 1000 };

static struct unr_deadline deadlines_around[DEEPEST + 1];
static struct unr_group    groups_around[DEEPEST + 1];
static struct unr_compose  composes[DEEPEST + 1];
static struct unr_timer    innermost;
static unsigned            begun, to_begin;

/* `levels` combinators around a timer, every other one a group. */
static struct unr_op *surrounded(unsigned levels)
{
    struct unr_op *op = unr_timer_after(&innermost, UNR_SEC(1000));
    for (unsigned i = 0; i < levels; i++)
        op = i % 2 ? unr_any(&groups_around[i], &op, 1)
                   : unr_cancel_after(&deadlines_around[i], op, UNR_SEC(1000));
    return op;
}

/* Begins a composed operation that does the same, and so on; the last begins a timer. */
static void begin_one_more(struct unr_compose *self, struct unr_op *finished)
{
    if (finished)
        unr_compose_end(self, finished->result.error);
    else if (begun == to_begin)
        unr_compose_next(self, unr_timer_after(&innermost, UNR_SEC(1000)));
    else
        unr_compose_next(
            self, unr_compose(&composes[begun++], "one more", UNR_CANCEL_ALL, begin_one_more));
}

static struct unr_op *one_in_the_other(unsigned levels)
{
    begun = 1;
    to_begin = levels;
    return unr_compose(&composes[0], "outermost", UNR_CANCEL_ALL, begin_one_more);
}

/* As many combinators as there may be, one in the other: the stack has room for their start and for
 * a request, and they end. */
Test(compose, a_thousand_combinators_one_in_the_other)
{
    for (int composed = 0; composed < 2; composed++) {
        struct unr_op *op = composed ? one_in_the_other(DEEPEST) : surrounded(DEEPEST);
        unr_start(loop, op, NULL, NULL);
        submit();
        cr_assert(unr_in_flight(&innermost.op));
        cr_assert_eq(unr_supports(op), UNR_CANCEL_ALL);
        cr_assert(unr_cancel(op, UNR_CANCEL_ALL));
        run();
        cr_assert_eq(op->result.error, -ECANCELED);
    }
    close_loop();
}

#define DEPTH_RULE "more than 1000 combinators", "the stack has an end"

/* One more is named when it is described. */
BREACH(combinator_around_a_thousand, "deadline", DEPTH_RULE)
{
    surrounded(DEEPEST + 1);
}

/* Composed operations that begin one another are named when one more begins. */
BREACH(composed_in_a_thousand_composed, "one more", DEPTH_RULE)
{
    unr_start(loop, one_in_the_other(DEEPEST + 1), NULL, NULL);
}

/* And what has a thousand combinators inside is begun by none. */
BREACH(combinator_begun_with_a_thousand_inside, DEPTH_RULE)
{
    static struct unr_scope scope;
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    unr_scope_start(&scope, surrounded(DEEPEST), NULL, NULL);
}
