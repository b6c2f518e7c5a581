/* SPDX-License-Identifier: MIT */
/* Fibers and cancel scopes: functions that wait, asked to end before they begin, at each wait and
 * between any two.  What must hold afterwards is worked out from what the peers sent and found; and
 * for cancel scopes, from a model: the levels of a fiber, written down a second time. */
#include "scenario.h"

#include <stddef.h>

/* ---- what most of these need ---- */

enum { CAUSE = -7, TURNS_MAX = 200, FILTERS = 5 };

static unr_filter_fn *const filters[FILTERS] = { NULL, unr_let_none, unr_let_terminal,
                                                 unr_let_partial, unr_let_total };

static unsigned let(unsigned filter, unsigned types, unsigned unfiltered)
{
    static const unsigned lets[FILTERS] = { 0, 0, UNR_CANCEL_TERMINAL,
                                            UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL,
                                            UNR_CANCEL_ALL };
    return types & (filter ? lets[filter] : unfiltered);
}

static void run_to_the_end(struct unr_loop *loop)
{
    for (int turns = 0; unr_loop_in_flight(loop); turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within two hundred turns");
        unr_sim_check(unr_loop_run_once(loop, UNR_NEVER) >= 0, "a turn");
    }
}

static void count_run(struct unr_op *op)
{
    ++*(int *)op->data;
}

/* What a scenario chooses is one choice, so that a bound on deviations is one on the kernel's: this
 * takes a part of it. */
static unsigned pick(unsigned *choice, unsigned of)
{
    unsigned part = *choice % of;
    *choice /= of;
    return part;
}

static bool took_effect(const struct unr_result *r)
{
    return r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED;
}

static bool never_began(const struct unr_result *r)
{
    return r->verdict == UNR_VERDICT_UNSUBMITTED;
}

/* What holds of every result. */
static void check_truth(const struct unr_op *op)
{
    const struct unr_result *r = &op->result;
    unr_sim_check(!unr_in_flight(op), "it has ended");
    unr_sim_check(r->error <= 0 && r->error != -EIO, "no error that nobody asked for");
    unr_sim_check((r->error == -ECANCELED) == took_effect(r),
                  "-ECANCELED exactly when a cancellation took effect");
    unr_sim_check(took_effect(r) ? r->guarantee && !(r->guarantee & (r->guarantee - 1))
                                 : r->guarantee == UNR_CANCEL_NONE,
                  "a guarantee, of one type, exactly when it was cancelled");
    unr_sim_check(!never_began(r) || r->guarantee == UNR_CANCEL_TOTAL,
                  "what never began left nothing");
    unr_sim_check((r->cause != 0) == (r->verdict != UNR_VERDICT_NONE),
                  "a cause exactly if there is a verdict");
    unr_sim_check(unr_outcome(r) == (took_effect(r) ? r->cause : r->error), "one number to test");
}

/* For what is compared with the real kernel: of what completed, not whether a request came while it
 * did. */
static const char *fate(const struct unr_result *r)
{
    return never_began(r)                      ? "never began"
           : r->verdict == UNR_VERDICT_REFUSED ? "refused to end"
           : r->error == -ECANCELED            ? "cancelled"
                                               : "ended";
}

/* ---- an operation that only hears what it is asked ---- */

struct hears {
    struct unr_op op;
    unsigned      heard;
    bool          stubborn; /* it does not end by a request */
    bool          has_ended;
};

static void hears_start(struct unr_op *op)
{
    (void)op;
}

static void hears_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct hears *h = unr_container_of(op, struct hears, op);
    h->heard |= request.types;
    if (h->stubborn || h->has_ended)
        return;
    h->has_ended = true;
    unr_finish(op, -ECANCELED);
}

static bool is_heard(const struct hears *h)
{
    return unr_in_flight(&h->op) && !h->has_ended && !never_began(&h->op.result);
}

static void end_hearing(struct hears *h)
{
    if (!is_heard(h))
        return;
    h->has_ended = true;
    unr_finish(&h->op, 0);
}

static const struct unr_op_type hears_type = { .size = sizeof hears_type,
                                               .supports = UNR_CANCEL_ALL,
                                               .name = "hears",
                                               .start = hears_start,
                                               .cancel = hears_cancel };

static struct unr_op *hears(struct hears *h, bool stubborn)
{
    h->heard = 0;
    h->stubborn = stubborn;
    h->has_ended = false;
    return unr_describe(&h->op, &hears_type);
}

/* ---- a fiber that reads, writes what it has read, and closes in any case ---- */

enum { MASKS = 4, CLOSES = MASKS, KINDS, IN_TURNS = 4, AWAITS = 3 };

/* When the request comes. */
enum point {
    NEVER,
    LATCHED,
    AFTER_TURNS, /* 0 to IN_TURNS - 1 of them; in the first turn the fiber begins */
    BEFORE_AWAIT = AFTER_TURNS + IN_TURNS, /* 0 to AWAITS - 1; by the fiber itself */
    POINTS = BEFORE_AWAIT + AWAITS
};

static const unsigned masks[MASKS] = { UNR_CANCEL_ALL, UNR_CANCEL_PARTIAL, UNR_CANCEL_TOTAL,
                                       UNR_CANCEL_TERMINAL };

/* What the fiber makes of its cancellation state when it begins. */
enum manner {
    AS_IT_IS,
    LETS_ALL,
    LETS_NONE,
    PASSES_NONE_ON,
    NOT_PREEMPTED,
    FILTER_EMITS,     /* the in filter */
    OUT_FILTER_EMITS, /* which runs within unr_await() as well */
    MANNERS
};

/* Who else may end the fiber. */
enum around { NOBODY, DEADLINE, GROUP, AROUNDS };

struct session {
    struct unr_fiber    fiber;
    struct unr_deadline deadline;
    struct unr_group    group;
    struct unr_op      *members[2];
    struct hears        beside; /* ends by itself, where the group is around the fiber */
    struct unr_signal   signal;
    struct unr_loop    *loop; /* NULL: closed */
    unsigned            point, kind, manner, around;
    bool                returns_the_cause;
    unsigned            requested, let_in; /* as they must be; the latter since it has begun */
    int                 runs, began, ended;
    bool                was_asked, has_emitted, ends_early;
    int                 from[2], to[2];
    unsigned char       buf[4];
    size_t              sent, read, written;
    int                 returned;
};

/* What the in filter of its manner makes of a request to the fiber. */
static unsigned let_in_of(const struct session *s, unsigned types)
{
    switch (s->began ? s->manner : AS_IT_IS) {
    case LETS_NONE: return 0;
    case AS_IT_IS:
    case NOT_PREEMPTED: return types & UNR_CANCEL_TERMINAL;
    default: return types;
    }
}

static void ask(struct session *s)
{
    struct unr_op *op = &s->fiber.op;
    s->was_asked = true;
    if (s->kind == CLOSES) {
        struct unr_loop *loop = s->loop;
        s->loop = NULL;
        close_loop(loop);
        return;
    }
    if (unr_in_flight(op) || s->point == LATCHED) {
        s->requested |= masks[s->kind];
        s->let_in |= let_in_of(s, masks[s->kind]);
        s->ends_early = s->let_in && !s->began;
    }
    unr_signal_emit_cause(&s->signal, masks[s->kind], CAUSE);
}

/* A filter makes the request for TERMINAL as well, once. */
static unsigned emits(void *session, unsigned type)
{
    struct session *s = session;
    unr_sim_check(unr_fiber_self() == NULL, "no fiber runs in a filter");
    if (s->was_asked && !s->has_emitted) {
        s->has_emitted = true;
        if (unr_in_flight(&s->fiber.op)) {
            s->requested |= UNR_CANCEL_TERMINAL;
            s->let_in |= UNR_CANCEL_TERMINAL;
        }
        unr_signal_emit_cause(&s->signal, UNR_CANCEL_TERMINAL, CAUSE);
    }
    return type;
}

static void set_filters(struct session *s)
{
    struct unr_cancel_state *state = unr_fiber_state();
    switch (s->manner) {
    case LETS_ALL: unr_state_reset(state, unr_let_total, NULL, NULL); break;
    case LETS_NONE: unr_state_reset(state, unr_let_none, NULL, NULL); break;
    case PASSES_NONE_ON: unr_state_reset(state, unr_let_total, unr_let_none, NULL); break;
    case FILTER_EMITS: unr_state_reset(state, emits, NULL, s); break;
    case OUT_FILTER_EMITS: unr_state_reset(state, unr_let_total, emits, s); break;
    case NOT_PREEMPTED: unr_state_preempt(state, false); break;
    default: break;
    }
}

/* What was let in before an await ends it before it begins, with that cause. */
static struct unr_result await_in(struct session *s, unsigned n, struct unr_op *described)
{
    if (s->point == BEFORE_AWAIT + n)
        ask(s);
    int before = unr_fiber_cancelled();
    unr_sim_check(s->around != NOBODY || unr_state_cancelled(unr_fiber_state()) == s->let_in
                      || !s->loop,
                  "what passes the filter is recorded, nothing else, and stays");
    unr_sim_check(!before || !s->loop
                      || (s->manner != PASSES_NONE_ON && s->manner != NOT_PREEMPTED),
                  "only what is passed on would end the next await");
    unsigned          supports = unr_supports(described);
    struct unr_result r = unr_await(described);
    unr_sim_check(unr_fiber_self() == &s->fiber, "the fiber runs again");
    unr_sim_check(
        !before || !supports
            || (never_began(&r) && (r.cause == before || (!s->loop && r.cause == -ESHUTDOWN))),
        "what was let in pre-empts each later await");
    unr_sim_check(supports || r.error == 0, "what supports none still runs");
    unr_sim_check(!never_began(&r) || before || s->was_asked || s->around != NOBODY,
                  "and nothing else does");
    return r;
}

static int session_runs(void *session)
{
    struct session *s = session;
    struct unr_op   op = { 0 };
    s->began++;
    if (s->around == NOBODY && s->loop)
        unr_sim_check(!s->let_in, "asked before it begins, it never runs");
    set_filters(s);
    struct unr_result r = await_in(s, 0, unr_recv(&op, s->from[0], s->buf, sizeof s->buf, 0));
    if (!r.error) {
        s->read = r.bytes;
        r = await_in(s, 1, unr_send(&op, s->to[0], s->buf, s->read, 0));
        s->written = r.error ? 0 : r.bytes;
    }
    await_in(s, 2, unr_close(&op, s->to[0]));
    s->to[0] = -1;
    s->fiber.op.result.bytes = s->written;
    s->ended++;
    return s->returned = s->returns_the_cause ? unr_outcome(&r) : r.error;
}

static void peer_of_session(void *session)
{
    struct session *s = session;
    s->sent = (size_t)unr_sim_write(s->from[1], "abcd", 4);
}

static void session_done(struct unr_op *op)
{
    struct session *s = op->data;
    s->runs++;
    unr_sim_check(!unr_in_flight(op), "in done the operation is the caller's");
    unr_sim_check(!unr_slot_has_handler(unr_signal_slot(&s->signal)), "the slot is empty in done");
}

static struct unr_op *describe_session(struct session *s)
{
    struct unr_op *op = unr_fiber(&s->fiber, session_runs, s);
    switch (s->around) {
    case DEADLINE: return unr_cancel_after(&s->deadline, op, UNR_MSEC(1));
    case GROUP:
        s->members[0] = op;
        s->members[1] = hears(&s->beside, false);
        return unr_any(&s->group, s->members, 2);
    default: return op;
    }
}

/* Runs it.  Where nobody writes and nobody asks it would wait for ever: the peer writes. */
static void run_session(struct session *s, struct unr_op *op)
{
    unr_sim_socketpair(s->from, 0);
    unr_sim_socketpair(s->to, 0);
    unr_sim_later(peer_of_session, s);
    if (s->point == LATCHED) {
        unr_signal_init_latched(&s->signal);
        ask(s);
    }
    unr_start(s->loop, unr_bind_slot(op, unr_signal_slot(&s->signal)), session_done, s);
    for (unsigned turns = 0; turns < IN_TURNS && s->loop; turns++) {
        if (s->point == AFTER_TURNS + turns)
            ask(s);
        if (s->loop)
            unr_loop_run_once(s->loop, 0);
        if (turns == 1 && s->around == GROUP)
            end_hearing(&s->beside);
    }
    if (s->loop)
        run_to_the_end(s->loop);
    unr_sim_check(s->runs == 1, "each done runs once");
    unr_sim_check(s->began == s->ended && s->began <= 1, "a function that began has returned");
}

static void check_bytes(struct session *s)
{
    const struct unr_result *r = &s->fiber.op.result;
    unsigned char            found[8];
    ssize_t                  left = unr_sim_read(s->from[0], found, sizeof found);
    unr_sim_check(s->read + (left > 0 ? (size_t)left : 0) == s->sent,
                  "every byte was read once or is still there");
    unr_sim_check(s->written == 0
                      || (unr_sim_read(s->to[1], found, sizeof found) == (ssize_t)s->written
                          && r->bytes == s->written && memcmp(found, "abcd", s->written) == 0),
                  "what was written arrived, and is counted");
    unr_sim_check(!s->began || unr_sim_read(s->to[1], found, 1) == 0, "it was closed");
    unr_sim_close(s->from[0]);
    unr_sim_close(s->from[1]);
    unr_sim_close(s->to[1]);
    if (!s->began)
        unr_sim_close(s->to[0]);
}

/* What the result says of who asked. */
static void check_session(struct session *s)
{
    const struct unr_result *r = &s->fiber.op.result;
    bool                     closed = s->kind == CLOSES && s->was_asked;
    check_truth(&s->fiber.op);
    unr_sim_check(never_began(r) == !s->began, "what never began has not run, and says so");
    if (s->began)
        unr_sim_check(
            r->error == s->returned
                || (r->error == -ECANCELED
                    && (r->cause == s->returned || (s->returned == -ESHUTDOWN && !s->loop))),
            "it ends as its function returned");
    unr_sim_check(r->verdict != UNR_VERDICT_NONE || r->requested == 0,
                  "a verdict if something was asked");
    if (s->around != NOBODY)
        return;
    unr_sim_check(r->requested == (closed ? r->requested : s->requested), "requests are or-ed");
    unr_sim_check(!s->began == (s->ends_early || (s->point == AFTER_TURNS && closed)),
                  "what it was asked before it began, and nothing else, keeps it from running");
    unr_sim_check(closed || (r->verdict == UNR_VERDICT_REFUSED) == (s->requested && !s->let_in),
                  "refused exactly what it does not let in");
    unr_sim_check(r->error != -ECANCELED || r->cause == (closed ? -ESHUTDOWN : CAUSE)
                      || (closed && s->has_emitted && r->cause == CAUSE),
                  "and why");
    unr_sim_check(r->error != -ECANCELED || closed || s->let_in, "cancelled only as asked");
    if (s->point >= BEFORE_AWAIT && s->point < BEFORE_AWAIT + 2 && s->let_in
        && s->manner != PASSES_NONE_ON && s->manner != NOT_PREEMPTED && s->was_asked)
        unr_sim_check(r->error == -ECANCELED, "no request is lost between two awaits");
    unr_sim_check(s->returned != CAUSE || r->error == -ECANCELED,
                  "returning the cause is being cancelled");
    if (s->manner == PASSES_NONE_ON && s->began && !closed && s->let_in)
        unr_sim_check(r->error == 0 && s->written, "recorded, and nothing is interrupted");
}

static void read_write_close(const struct scenario *scenario)
{
    struct session s = { .around = scenario->parameter ? *(const unsigned *)scenario->parameter
                                                       : NOBODY };
    unsigned       choice = unr_sim_choose(POINTS * KINDS * MANNERS * 2);
    s.manner = pick(&choice, MANNERS);
    s.returns_the_cause = pick(&choice, 2);
    s.point = pick(&choice, POINTS);
    s.kind = pick(&choice, KINDS);
    if (s.point == NEVER || (s.kind == CLOSES && (s.point == LATCHED || s.point >= BEFORE_AWAIT)))
        s.point = NEVER, s.kind = 0;
    s.loop = open_small_loop();
    struct unr_op *op = describe_session(&s);
    run_session(&s, op);
    check_session(&s);
    if (op != &s.fiber.op)
        check_truth(op);
    if (s.around == GROUP)
        check_truth(&s.beside.op);
    if (s.loop) {
        if (s.around != DEADLINE)
            outcome("%s, error %d, %zu bytes", fate(&s.fiber.op.result), s.fiber.op.result.error,
                    s.written);
        close_loop(s.loop);
    }
    check_bytes(&s);
}

/* ---- states: what is let in and passed on, for all filters and all requests ---- */

struct stated {
    struct unr_fiber fiber;
    struct hears     heard[2];
    unsigned         in, out, resets, awaits, let_in;
    bool             preempts;
    int              first_let_in; /* cause */
    int              runs;
};

/* Between the two awaits the state is left alone, reset with the same filters, or with others that
 * let all in. */
static int stated_runs(void *stated)
{
    struct stated           *s = stated;
    struct unr_cancel_state *state = unr_fiber_state();
    if (s->in || s->out)
        unr_state_reset(state, filters[s->in], filters[s->out], NULL);
    unr_state_preempt(state, s->preempts);
    s->awaits = 1;
    unr_await(hears(&s->heard[0], true));
    if (s->resets) {
        s->in = s->resets == 2 ? FILTERS - 1 : s->in;
        unr_state_reset(state, filters[s->in], filters[s->out], NULL);
        s->let_in = 0;
        s->first_let_in = 0;
    }
    unsigned passed = s->preempts ? let(s->out, s->let_in, UNR_CANCEL_ALL) : 0;
    unr_sim_check(unr_fiber_cancelled() == (passed ? s->first_let_in : 0),
                  "a fiber knows whether the next await would end");
    s->awaits = 2;
    struct unr_result r = unr_await(hears(&s->heard[1], true));
    unr_sim_check(never_began(&r) == (passed != 0) && (!passed || r.requested == passed),
                  "what was let in, and not reset, is requested of the next await");
    return r.error;
}

/* Two requests for a fiber, one in each of two awaits. */
static void states(const struct scenario *scenario)
{
    struct stated    s = { .awaits = 0 };
    struct unr_loop *loop = open_small_loop();
    unsigned         choice = unr_sim_choose(FILTERS * FILTERS * 7 * 7 * 3 * 2), honoured = 0;
    (void)scenario;
    s.in = pick(&choice, FILTERS);
    s.out = pick(&choice, FILTERS);
    unsigned types[2] = { 1 + pick(&choice, 7), 1 + pick(&choice, 7) };
    s.resets = pick(&choice, 3);
    s.preempts = pick(&choice, 2);
    unr_start(loop, unr_fiber(&s.fiber, stated_runs, &s), count_run, &s.runs);
    for (unsigned i = 0; i < 2 && !s.runs; i++) {
        while (s.awaits == i && !s.runs)
            unr_loop_run_once(loop, 0);
        if (!is_heard(&s.heard[i]))
            break;
        unsigned before = s.heard[i].op.result.requested;
        unsigned now = let(s.in, types[i], UNR_CANCEL_TERMINAL);
        unr_cancel_cause(&s.fiber.op, types[i], -10 - (int)i);
        if (now && !s.let_in)
            s.first_let_in = -10 - (int)i;
        s.let_in |= now;
        honoured |= now << 4 * i;
        unr_sim_check(s.heard[i].op.result.requested == (before | let(s.out, now, UNR_CANCEL_ALL)),
                      "what is awaited is asked what passes both filters");
        end_hearing(&s.heard[i]);
    }
    run_to_the_end(loop);
    unsigned asked = s.fiber.op.result.requested;
    unr_sim_check(s.awaits == 2 && (asked == types[0] || asked == (types[0] | types[1])),
                  "requests are or-ed");
    unr_sim_check((s.fiber.op.result.verdict == UNR_VERDICT_REFUSED)
                      == (s.resets ? !(honoured >> 4) && s.fiber.op.result.verdict : !honoured),
                  "refused exactly what was not let in");
    check_truth(&s.fiber.op);
    close_loop(loop);
}

/* ---- what the awaited have proved ---- */

/* Two awaits of bytes that do not all come, the first or the second of them without a part. */
struct proves {
    struct unr_fiber fiber;
    struct unr_op    ops[2];
    char             buf[2][4];
    int              fds[2], runs;
    bool             part_first, was_in_part;
};

static int proves_runs(void *proves)
{
    struct proves           *p = proves;
    struct unr_cancel_state *state = unr_fiber_state();
    unr_state_reset(state, unr_let_total, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        if (p->part_first == (i == 0))
            unr_sim_check(unr_sim_write(p->fds[1], "ab", 2) == 2, "there is room");
        struct unr_result r = unr_await(unr_recv(&p->ops[i], p->fds[0], p->buf[i], 4, MSG_WAITALL));
        unr_sim_check(r.error == -ECANCELED, "all of it never comes");
        p->was_in_part |= r.bytes != 0;
        if (i == 0)
            unr_state_reset(state, unr_let_total, NULL, NULL);
        else
            return r.error;
    }
    return 0;
}

/* The guarantee is the weakest that one of them has proved. */
static void proofs(const struct scenario *scenario)
{
    struct proves    p = { .part_first = unr_sim_choose(2) };
    struct unr_loop *loop = open_small_loop();
    (void)scenario;
    unr_sim_socketpair(p.fds, 0);
    unr_start(loop, unr_fiber(&p.fiber, proves_runs, &p), count_run, &p.runs);
    for (unsigned i = 0; i < 2; i++) {
        do
            unr_loop_run_once(loop, i ? UNR_NEVER : 0);
        while (!unr_in_flight(&p.ops[i]));
        for (unsigned turns = unr_sim_choose(2); turns; turns--)
            unr_loop_run_once(loop, 0);
        unr_cancel_cause(&p.fiber.op, UNR_CANCEL_PARTIAL, CAUSE);
    }
    run_to_the_end(loop);
    const struct unr_result *r = &p.fiber.op.result;
    check_truth(&p.fiber.op);
    unsigned weakest = p.ops[0].result.guarantee < p.ops[1].result.guarantee
                           ? p.ops[0].result.guarantee
                           : p.ops[1].result.guarantee;
    unr_sim_check(r->error == -ECANCELED && r->guarantee == weakest, "the weakest that was proved");
    unr_sim_check(!p.was_in_part || weakest == UNR_CANCEL_PARTIAL, "a part is in its buffer");
    outcome("%s", p.was_in_part ? "in part" : "wholly");
    close_loop(loop);
    unr_sim_close(p.fds[0]);
    unr_sim_close(p.fds[1]);
}

/* ---- fibers in what operations are put into ---- */

enum { LEAVES = 2 };

/* A fiber that takes what its peer writes, at any point. */
struct reads {
    struct unr_fiber fiber;
    struct unr_op    op;
    unsigned char    buf[4];
    int              fds[2];
    size_t           sent;
    int              runs;
};

static void peer_writes(void *reads)
{
    struct reads *l = reads;
    ssize_t       n = unr_sim_write(l->fds[1], "ab", 2);
    l->sent += n > 0 ? (size_t)n : 0;
}

static int reads_once(void *reads)
{
    struct reads     *l = reads;
    struct unr_result r = unr_await(unr_recv(&l->op, l->fds[0], l->buf, sizeof l->buf, 0));
    return r.error ? r.error : (int)r.bytes;
}

static struct unr_op *describe_reads(struct reads *l)
{
    *l = (struct reads){ .fds = { -1, -1 } };
    unr_sim_socketpair(l->fds, 0);
    unr_sim_later(peer_writes, l);
    return unr_fiber(&l->fiber, reads_once, l);
}

/* The loop is closed by now, so that nobody writes any more. */
static void end_reads(struct reads *l)
{
    unsigned char            rest[8];
    const struct unr_result *r = &l->fiber.op.result;
    ssize_t                  left = unr_sim_read(l->fds[0], rest, sizeof rest);
    check_truth(&l->fiber.op);
    unr_sim_check((size_t)r->value + (left > 0 ? (size_t)left : 0) == l->sent,
                  "every byte was read once or is still there");
    unr_sim_check(r->error || memcmp(l->buf, "abab", (size_t)r->value) == 0,
                  "what was read is what was sent");
    unr_sim_close(l->fds[0]);
    unr_sim_close(l->fds[1]);
}

enum container { ANY, ALL, AWAITED, AWAITS_ANY, IN_SCOPE, JOINED };

struct contained {
    struct reads      leaves[LEAVES];
    struct unr_group  group;
    struct unr_op    *members[LEAVES];
    struct unr_fiber  outer;
    struct unr_scope  scope;
    struct unr_join   join;
    struct unr_signal signal;
    enum container    container;
    int               runs, member_runs;
    bool              outer_began;
};

static struct unr_op *describe_any(struct contained *c)
{
    return c->container == ALL ? unr_all(&c->group, c->members, LEAVES)
                               : unr_any(&c->group, c->members, LEAVES);
}

/* The fiber whose children are fibers: one after the other, or both at once. */
static int outer_runs(void *contained)
{
    struct contained *c = contained;
    struct unr_result r = { 0 };
    c->outer_began = true;
    if (c->container == AWAITS_ANY) {
        r = unr_await(describe_any(c));
        return r.error;
    }
    for (int i = 0; i < LEAVES && !r.error; i++)
        r = unr_await(c->members[i]);
    return r.error;
}

static struct unr_op *start_contained(struct contained *c, struct unr_loop *loop)
{
    struct unr_op *op = NULL;
    switch (c->container) {
    case ANY:
    case ALL: op = describe_any(c); break;
    case AWAITED:
    case AWAITS_ANY: op = unr_fiber(&c->outer, outer_runs, c); break;
    case IN_SCOPE: op = unr_scope(&c->scope); break;
    default:
        unr_start(loop, c->members[0], count_run, &c->member_runs);
        unr_start(loop, c->members[1], count_run, &c->member_runs);
        op = unr_join(&c->join, c->members[0]);
        break;
    }
    unr_start(loop, unr_bind_slot(op, unr_signal_slot(&c->signal)), count_run, &c->runs);
    if (c->container == IN_SCOPE) {
        for (int i = 0; i < LEAVES; i++)
            unr_scope_start(&c->scope, c->members[i], count_run, &c->member_runs);
        unr_scope_close(&c->scope);
    }
    return op;
}

static void contained(const struct scenario *scenario)
{
    struct contained c = { .runs = 0 };
    struct unr_loop *loop = open_small_loop();
    unsigned         choice = unr_sim_choose(5 * 2);
    unsigned         turns = pick(&choice, 5);
    bool wide = !pick(&choice, 2); /* a request for all; or for TOTAL, which is refused */
    c.container = *(const enum container *)scenario->parameter;
    for (int i = 0; i < LEAVES; i++)
        c.members[i] = describe_reads(&c.leaves[i]);
    struct unr_op *op = start_contained(&c, loop);
    for (unsigned i = 0; i < turns && turns < 4; i++)
        unr_loop_run_once(loop, 0);
    if (turns < 4)
        unr_signal_emit_cause(&c.signal, wide ? UNR_CANCEL_ALL : UNR_CANCEL_TOTAL, CAUSE);
    run_to_the_end(loop);
    unr_sim_check(c.runs == 1, "each done runs once");
    check_truth(op);
    int ended_well = 0;
    for (int i = 0; i < LEAVES; i++)
        ended_well += c.members[i]->result.value > 0;
    if (c.container == ANY && op->result.error == 0)
        unr_sim_check(ended_well >= 1 && c.members[op->result.value]->result.error == 0,
                      "the winner is a success, and a second success is kept");
    if (c.container == ALL && op->result.error == 0)
        unr_sim_check(ended_well == LEAVES, "all of them");
    if (c.container == AWAITED && c.outer.op.result.error == 0)
        unr_sim_check(ended_well == LEAVES, "it awaited both");
    if (c.container == IN_SCOPE || c.container == JOINED)
        unr_sim_check(c.member_runs == LEAVES, "the members' done run, too");
    if ((c.container == AWAITED || c.container == AWAITS_ANY) && never_began(&op->result))
        unr_sim_check(!c.outer_began, "what never began has not run");
    outcome("error %d, %s", op->result.error, fate(&op->result));
    close_loop(loop);
    for (int i = 0; i < LEAVES; i++)
        end_reads(&c.leaves[i]);
}

/* ---- cancel scopes, and a model of them ---- */

enum { DEPTH = 4, LEVELS = 1 + DEPTH };

/* The levels of a fiber, its own at the bottom: what each has let in, and what it was asked by
 * itself. */
struct level {
    bool     is_shield, is_bottom, lets_begin;
    unsigned in, out; /* filters */
    unsigned let_in, own;
    int      cause, own_cause;
};

struct model {
    struct level levels[LEVELS];
    unsigned     top;
    unsigned     asked; /* of what is awaited */
    int          asked_cause;
};

static unsigned model_let_in(struct level *l, unsigned types, int cause)
{
    types = let(l->in, types, l->is_bottom ? UNR_CANCEL_TERMINAL : UNR_CANCEL_ALL);
    if (types && !l->let_in)
        l->cause = cause;
    l->let_in |= types;
    return types;
}

/* What a level has let in climbs until a filter or a shield stops it. */
static void model_climb(struct model *m, unsigned from, unsigned types, int cause)
{
    for (unsigned i = from;; i++) {
        types = let(m->levels[i].out, types, UNR_CANCEL_ALL);
        if (i == m->top || !types)
            break;
        if (m->levels[i + 1].is_shield)
            return;
        types = model_let_in(&m->levels[i + 1], types, cause);
    }
    if (types && !m->asked)
        m->asked_cause = cause;
    m->asked |= types;
}

static void model_outside(struct model *m, unsigned types, int cause)
{
    types = model_let_in(&m->levels[0], types, cause);
    if (types)
        model_climb(m, 0, types, cause);
}

static void model_let_own_in(struct level *l, unsigned types, int cause)
{
    if (!l->let_in)
        l->cause = cause;
    l->let_in |= types;
}

static void model_own(struct model *m, unsigned i, unsigned types, int cause)
{
    struct level *l = &m->levels[i];
    if (!l->own)
        l->own_cause = cause;
    l->own |= types;
    model_let_own_in(l, types, cause);
    model_climb(m, i, types, cause);
}

/* What a level would request of a next await. */
static unsigned model_preempting(const struct level *l)
{
    return l->lets_begin ? 0 : let(l->out, l->let_in, UNR_CANCEL_ALL);
}

static void model_reset(struct model *m, unsigned in, unsigned out)
{
    struct level *l = &m->levels[m->top], *below = l - 1;
    l->let_in = 0;
    l->cause = 0;
    l->in = in;
    l->out = out;
    if (m->top && !l->is_shield && model_preempting(below))
        model_let_in(l, model_preempting(below), below->cause);
    if (l->own)
        model_let_own_in(l, l->own, l->own_cause);
}

static void model_enter(struct model *m, bool is_shield)
{
    m->levels[++m->top] = (struct level){ .is_shield = is_shield };
    model_reset(m, 0, 0);
}

/* What leaving the innermost scope returns. */
static int model_leave(struct model *m, int error, bool *ret_caught)
{
    struct level *l = &m->levels[m->top--], *below = l - 1;
    bool          by_own = l->own && (error == -ECANCELED || error == l->own_cause);
    *ret_caught = false;
    if (model_preempting(below))
        return by_own || error == -ECANCELED || error == below->cause ? -ECANCELED : error;
    *ret_caught = by_own;
    return by_own ? (l->own_cause == -ECANCELED ? 0 : l->own_cause) : error;
}

/* A fiber that does what a scenario chooses, step by step, beside the model. */
struct program {
    struct unr_fiber        fiber;
    struct unr_loop        *loop;
    struct unr_cancel_scope scopes[DEPTH];
    struct model            model;
    struct hears            heard;
    unsigned                steps, shields; /* how many; which of the first three scopes */
    unsigned                at_first;       /* how many scopes it enters first */
    unsigned                requests;       /* how many there were */
    unsigned                event;          /* while it awaits: EVENTS, or 0 */
    int                     error;          /* of the last await */
    int                     runs;
};

/* Who asks: nobody, somebody outside, or one of the scopes itself. */
enum { NOTHING, OUTSIDE, OF_SCOPE, EVENTS = OF_SCOPE + DEPTH };

/* Each request has a cause of its own; one of four says only that it is to stop. */
static void event(struct program *p, unsigned which)
{
    static const unsigned types[3] = { UNR_CANCEL_ALL, UNR_CANCEL_TERMINAL, UNR_CANCEL_TOTAL };
    unsigned              n = p->requests++, mask = types[n % 3];
    int                   cause = n % 4 == 3 ? -ECANCELED : -200 - (int)n;
    if (which == OUTSIDE) {
        model_outside(&p->model, mask, cause);
        unr_cancel_cause(&p->fiber.op, mask, cause);
    } else {
        unsigned i = which - OF_SCOPE;
        model_own(&p->model, 1 + i, mask, cause);
        unr_sim_check(unr_cancel_scope_cancel(&p->scopes[i], mask, cause), "it is in that scope");
    }
}

static void check_levels(struct program *p)
{
    struct model *m = &p->model;
    struct level *top = &m->levels[m->top];
    unr_sim_check(unr_state_cancelled(unr_fiber_state()) == top->let_in
                      && unr_state_cause(unr_fiber_state()) == top->cause,
                  "the innermost level has let in what the model says");
    unr_sim_check(unr_fiber_cancelled() == (model_preempting(top) ? top->cause : 0),
                  "the next await would end exactly then");
    for (unsigned i = 0; i < m->top; i++)
        unr_sim_check(unr_cancel_scope_cause(&p->scopes[i]) == m->levels[1 + i].own_cause,
                      "a scope knows its own request");
}

static void await_with(struct program *p, unsigned which)
{
    struct model *m = &p->model;
    m->asked = model_preempting(&m->levels[m->top]);
    m->asked_cause = m->levels[m->top].cause;
    bool ends_early = m->asked != 0;
    p->event = which;
    struct unr_result r = unr_await(hears(&p->heard, false));
    unr_sim_check(never_began(&r) == ends_early, "what was let in ends an await before it begins");
    unr_sim_check((r.error == -ECANCELED) == (m->asked != 0), "it is asked what climbs to it");
    unr_sim_check(!m->asked || (r.cause == m->asked_cause && r.requested == m->asked),
                  "for that, and with the first cause");
    p->event = NOTHING;
    p->error = unr_outcome(&r);
}

static void enter(struct program *p, bool is_shield)
{
    struct unr_cancel_scope *scope = &p->scopes[p->model.top];
    model_enter(&p->model, is_shield);
    if (is_shield)
        unr_cancel_scope_enter_shield(scope, UNR_NEVER);
    else
        unr_cancel_scope_enter(scope);
}

/* What was left is overwritten: nobody looks at it any more. */
static void leave(struct program *p, int error)
{
    struct unr_cancel_scope *scope = &p->scopes[p->model.top - 1];
    bool                     caught;
    int                      left = model_leave(&p->model, error, &caught);
    unr_sim_check(unr_cancel_scope_leave(scope, error) == left, "whose cancellation it was");
    unr_sim_check(unr_cancel_scope_caught(scope) == caught, "and whether the scope's own");
    unr_sim_check(!unr_cancel_scope_cancel(scope, UNR_CANCEL_ALL, CAUSE), "it was left");
    memset(scope, 0xff, sizeof *scope);
    p->error = left;
}

enum step {
    ENTER,
    SHIELD,
    RESET,
    RESET_NONE_OUT,
    RESET_NONE_IN,
    PREEMPT_OFF,
    LEAVE,
    LEAVE_WELL,
    LEAVE_CANCELED,
    ASK,
    AWAIT = ASK + EVENTS,
    STEPS = AWAIT + EVENTS
};

static void reset(struct program *p, unsigned in, unsigned out)
{
    model_reset(&p->model, in, out);
    unr_state_reset(unr_fiber_state(), filters[in], filters[out], NULL);
}

/* What cannot be done here is left out. */
static void one_step(struct program *p, unsigned step)
{
    unsigned top = p->model.top;
    if (step >= ASK) {
        unsigned which = (step - ASK) % EVENTS;
        if (which >= OF_SCOPE && which - OF_SCOPE >= top)
            return;
        if (step >= AWAIT)
            await_with(p, which);
        else if (which != NOTHING)
            event(p, which);
        return;
    }
    switch ((enum step)step) {
    case ENTER:
    case SHIELD:
        if (top < DEPTH)
            enter(p, step == SHIELD);
        break;
    case RESET: reset(p, 0, 0); break;
    case RESET_NONE_OUT: reset(p, 0, 1); break;
    case RESET_NONE_IN: reset(p, 1, 4); break;
    case PREEMPT_OFF:
        p->model.levels[top].lets_begin = true;
        unr_state_preempt(unr_fiber_state(), false);
        break;
    default:
        if (top)
            leave(p, step == LEAVE ? p->error : step == LEAVE_WELL ? 0 : -ECANCELED);
    }
}

static int program_runs(void *program)
{
    struct program *p = program;
    if (unr_sim_choose(2))
        reset(p, FILTERS - 1, 0);
    for (unsigned i = 0; i < p->at_first; i++)
        enter(p, p->shields >> i & 1);
    for (unsigned i = 0; i < p->steps; i++) {
        one_step(p, unr_sim_choose(STEPS));
        check_levels(p);
    }
    await_with(p, NOTHING);
    while (p->model.top)
        leave(p, p->error);
    return p->error;
}

struct shape {
    unsigned at_first, steps;
};

static void scopes(const struct scenario *scenario)
{
    const struct shape *shape = scenario->parameter;
    struct program      p = { .at_first = shape->at_first, .steps = shape->steps };
    p.model.levels[0].is_bottom = true;
    p.shields = unr_sim_choose(1u << p.at_first);
    p.loop = open_small_loop();
    unr_start(p.loop, unr_fiber(&p.fiber, program_runs, &p), count_run, &p.runs);
    for (unsigned turns = 0; !p.runs; turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within two hundred turns");
        unr_loop_run_once(p.loop, 0);
        if (p.runs || !is_heard(&p.heard))
            continue;
        if (p.event != NOTHING)
            event(&p, p.event);
        p.event = NOTHING;
        end_hearing(&p.heard);
    }
    check_truth(&p.fiber.op);
    close_loop(p.loop);
}

/* ---- deadlines of cancel scopes ---- */

enum { DELAYS = 5, NEST = 3, ENDS_AT = 9, LEVEL_KINDS = 2 * DELAYS };

/* A fiber in three scopes with deadlines, whole milliseconds from the beginning.  One may be moved.
 */
struct timed {
    struct unr_fiber fiber;
    struct unr_timer guard; /* ends what is awaited at last */
    struct hears     heard;
    struct model     model;
    unr_time         begin;
    unsigned         kinds[NEST], moves, to;
    unsigned         ends[1 + NEST]; /* when each level asks itself; NO_END: it does not */
    int              runs;
};

enum { NO_END = 100 };

/* How many milliseconds; the last of them is never. */
static const unsigned delays[DELAYS] = { 0, 1, 2, 3, NO_END };

static unr_time in_ms(const struct timed *t, unsigned ms)
{
    return ms == NO_END ? UNR_NEVER : t->begin + UNR_MSEC(ms);
}

static unsigned end_of_outer_shields(const struct timed *t, unsigned level)
{
    unsigned end = NO_END;
    for (unsigned i = 1; i < level; i++)
        if (t->model.levels[i].is_shield && t->ends[i] < end)
            end = t->ends[i];
    return end;
}

static void model_time(struct timed *t, unsigned now)
{
    for (unsigned i = 1; i <= t->model.top; i++)
        if (t->ends[i] <= now && !t->model.levels[i].own)
            model_own(&t->model, i, UNR_CANCEL_ALL, -ETIMEDOUT);
}

static void enter_timed(struct timed *t, struct unr_cancel_scope *scope, unsigned kind)
{
    bool     is_shield = kind / DELAYS;
    unsigned delay = delays[kind % DELAYS], level = t->model.top + 1;
    model_enter(&t->model, is_shield);
    t->ends[level] = delay;
    if (is_shield) {
        unsigned end = end_of_outer_shields(t, level);
        t->ends[level] = delay < end ? delay : end;
        unr_cancel_scope_enter_shield(scope, delay == NO_END ? UNR_NEVER : UNR_MSEC(delay));
    } else {
        unr_cancel_scope_enter_at(scope, in_ms(t, delay));
    }
    model_time(t, 0);
}

static void move_timed(struct timed *t, struct unr_cancel_scope *scope, unsigned level, unsigned to)
{
    struct level *l = &t->model.levels[level];
    bool          moved = unr_cancel_scope_move(scope, in_ms(t, to));
    unr_sim_check(moved == (t->ends[level] != 0), "moved unless its time had come");
    if (!moved)
        return;
    if (l->is_shield) {
        unsigned end = end_of_outer_shields(t, level);
        to = to < end ? to : end;
        for (unsigned i = level + 1; i <= t->model.top; i++)
            if (t->model.levels[i].is_shield && !t->model.levels[i].own && t->ends[i] > to)
                t->ends[i] = to;
    }
    t->ends[level] = to;
    model_time(t, 0);
}

static int timed_runs(void *timed)
{
    struct timed           *t = timed;
    struct unr_cancel_scope scopes[NEST];
    bool                    caught;
    t->begin = unr_loop_now(unr_fiber_loop());
    for (unsigned i = 0; i < NEST; i++)
        enter_timed(t, &scopes[i], t->kinds[i]);
    if (t->moves < NEST)
        move_timed(t, &scopes[t->moves], 1 + t->moves, delays[t->to]);
    t->model.asked = model_preempting(&t->model.levels[NEST]);
    unsigned now = 0;
    for (; now < ENDS_AT && !t->model.asked; now += !t->model.asked)
        model_time(t, now);
    unr_timer_move(&t->guard, in_ms(t, ENDS_AT));
    struct unr_result r = unr_await(hears(&t->heard, false));
    unr_sim_check(r.error == (t->model.asked ? -ECANCELED : 0), "a deadline ends what is awaited");
    unr_sim_check(never_began(&r) == (t->model.asked && now == 0),
                  "one that has come already, before that begins");
    unr_sim_check(!r.error || r.cause == -ETIMEDOUT, "and says so");
    unr_sim_check(unr_loop_now(unr_fiber_loop()) == in_ms(t, now), "at its time");
    int error = unr_outcome(&r);
    while (t->model.top) {
        struct unr_cancel_scope *scope = &scopes[t->model.top - 1];
        int                      left = model_leave(&t->model, error, &caught);
        error = unr_cancel_scope_leave(scope, error);
        unr_sim_check(error == left && unr_cancel_scope_caught(scope) == caught,
                      "whose deadline it was");
        memset(scope, 0xff, sizeof *scope);
    }
    unr_sim_check(unr_sleep(UNR_MSEC(10)) == 0, "what was left asks nobody");
    return 0;
}

static void guard_done(struct unr_op *op)
{
    struct timed *t = op->data;
    end_hearing(&t->heard);
}

static void timed_scopes(const struct scenario *scenario)
{
    struct timed     t = { .runs = 0 };
    struct unr_loop *loop = open_small_loop();
    unsigned choice = unr_sim_choose(LEVEL_KINDS * LEVEL_KINDS * LEVEL_KINDS * (1 + NEST * DELAYS));
    (void)scenario;
    t.model.levels[0].is_bottom = true;
    for (unsigned i = 0; i < NEST; i++)
        t.kinds[i] = pick(&choice, LEVEL_KINDS);
    t.moves = choice ? (choice - 1) / DELAYS : NEST;
    t.to = choice ? (choice - 1) % DELAYS : 0;
    unr_start(loop, unr_timer_after(&t.guard, UNR_SEC(1)), guard_done, &t);
    unr_start(loop, unr_fiber(&t.fiber, timed_runs, &t), count_run, &t.runs);
    run_to_the_end(loop);
    check_truth(&t.fiber.op);
    close_loop(loop);
}

/* ---- a loop that is closed while its fiber is in scopes ---- */

struct closed {
    struct unr_fiber fiber;
    struct unr_loop *loop;
    struct hears     heard;
    unsigned         shields;
    bool             lets_none, has_deadlines, closing;
    int              fds[2], runs, ends;
};

/* Goes on awaiting, whatever it was told. */
static int closed_runs(void *closed)
{
    struct closed          *c = closed;
    struct unr_cancel_scope scopes[NEST];
    struct unr_op           op = { 0 };
    struct unr_result       r;
    int                     error;
    if (c->lets_none)
        unr_state_reset(unr_fiber_state(), unr_let_none, NULL, NULL);
    for (unsigned i = 0; i < NEST; i++)
        if (c->shields >> i & 1)
            unr_cancel_scope_enter_shield(&scopes[i], c->has_deadlines ? UNR_SEC(1) : UNR_NEVER);
        else
            unr_cancel_scope_enter_after(&scopes[i], c->has_deadlines ? UNR_SEC(1) : UNR_NEVER);
    for (int i = 0; i < 2; i++) {
        bool closing = c->closing;
        r = unr_await(hears(&c->heard, false));
        unr_sim_check(r.error == -ECANCELED && r.cause == -ESHUTDOWN,
                      "a closing loop goes through every shield");
        unr_sim_check(!closing || never_began(&r), "and lets nothing begin");
    }
    r = unr_await(unr_close(&op, c->fds[0]));
    unr_sim_check(r.error == 0, "but what supports none");
    error = unr_sleep(UNR_MSEC(1));
    unr_sim_check(error == -ESHUTDOWN, "nobody sleeps");
    for (unsigned i = NEST; i-- > 0;)
        error = unr_cancel_scope_leave(&scopes[i], error);
    c->ends++;
    return error;
}

static void closing_scopes(const struct scenario *scenario)
{
    struct closed c = { .loop = open_small_loop() };
    unsigned      choice = unr_sim_choose(8 * 2 * 2 * 3), turns = 1 + pick(&choice, 3);
    (void)scenario;
    c.lets_none = pick(&choice, 2);
    c.has_deadlines = pick(&choice, 2);
    c.shields = choice;
    unr_sim_socketpair(c.fds, 0);
    unr_start(c.loop, unr_fiber(&c.fiber, closed_runs, &c), count_run, &c.runs);
    for (unsigned i = 0; i < turns; i++)
        unr_loop_run_once(c.loop, 0);
    c.closing = true;
    close_loop(c.loop);
    unr_sim_check(c.runs == 1 && c.ends == 1, "the function has returned");
    check_truth(&c.fiber.op);
    unr_sim_check(unr_outcome(&c.fiber.op.result) == -ESHUTDOWN, "and says why it ended");
    unr_sim_close(c.fds[1]);
}

/* ---- no memory ---- */

/* Moves a shield around another one, which has to end as well. */
static void move_shields(void)
{
    struct unr_cancel_scope outer, inner;
    struct hears            heard = { .heard = 0 };
    unr_cancel_scope_enter_shield(&outer, UNR_NEVER);
    unr_cancel_scope_enter_shield(&inner, UNR_NEVER);
    bool moved = unr_cancel_scope_move(&outer, unr_loop_now(unr_fiber_loop()) + UNR_SEC(1));
    int  cause = unr_cancel_scope_cause(&inner);
    unr_sim_check(moved ? cause == 0 || cause == -ENOMEM : cause == 0,
                  "moved, or nothing has changed");
    if (!moved)
        unr_cancel_scope_cancel(&inner, UNR_CANCEL_ALL, CAUSE);
    unr_await(hears(&heard, false));
    int left = unr_cancel_scope_leave(&inner, -ECANCELED);
    unr_sim_check(left
                      == (!moved  ? CAUSE
                          : cause ? cause
                                  : -ECANCELED),
                  "the inner one has ended, and where both have, the outer one counts");
    left = unr_cancel_scope_leave(&outer, left);
    unr_sim_check(left == (!moved ? CAUSE : cause ? cause : -ETIMEDOUT), "and so it says");
}

static int short_runs(void *began)
{
    struct unr_cancel_scope scope;
    struct hears            heard = { .heard = 0 };
    *(bool *)began = true;
    unr_cancel_scope_enter_after(&scope, UNR_SEC(1));
    int cause = unr_cancel_scope_cause(&scope);
    unr_sim_check(cause == 0 || cause == -ENOMEM, "no memory for its timer, or all is well");
    unr_sim_check(unr_fiber_cancelled() == cause, "which is a request of the scope's own");
    struct unr_result r = unr_await(hears(&heard, false));
    unr_sim_check(cause ? never_began(&r) && r.cause == cause : r.cause == -ETIMEDOUT,
                  "that ends what it awaits");
    unr_sim_check(unr_cancel_scope_leave(&scope, r.error) == (cause ? cause : -ETIMEDOUT)
                      && unr_cancel_scope_caught(&scope),
                  "and is told to who leaves it");
    move_shields();
    return cause;
}

/* So many timers need no more memory than a loop of the simulation begins with. */
enum { TIMERS = 256 };

/* Without a stack the function never runs; without a timer a scope is asked to end at once.  So
 * many other timers wait that there is room for up to three. */
static void no_memory(const struct scenario *scenario)
{
    static struct unr_timer others[TIMERS];
    struct unr_fiber        fiber = { .op = { 0 } };
    struct unr_loop        *loop = open_small_loop();
    bool                    began = false;
    int                     runs = 0, ended = 0, n = TIMERS - (int)unr_sim_choose(4);
    (void)scenario;
    for (int i = 0; i < n; i++)
        unr_start(loop, unr_timer_at(&others[i], unr_loop_now(loop) + UNR_SEC(100)), count_run,
                  &ended);
    unr_start(loop, unr_fiber(&fiber, short_runs, &began), count_run, &runs);
    while (!runs)
        unr_sim_check(unr_loop_run_once(loop, UNR_NEVER) >= 0, "a turn");
    unr_sim_check(ended == 0, "it ends before the other timers");
    for (int i = 0; i < n; i++)
        unr_cancel(&others[i].op, UNR_CANCEL_ALL);
    run_to_the_end(loop);
    unr_sim_check(is_shortage(fiber.op.result.error) == (fiber.op.result.error != 0),
                  "it ends, for want of memory or well");
    unr_sim_check(began || fiber.op.result.error == -ENOMEM, "it runs, or there was no stack");
    check_truth(&fiber.op);
    close_loop(loop);
}

/* ---- schedules that fail on the stack of a fiber ---- */

enum where { IN_FIBER, IN_FILTER, IN_START, OVERFLOWS };

struct failing {
    struct unr_fiber fiber;
    struct unr_op    op;
    enum where       where;
    bool             fails;
    int              runs;
};

static unsigned fails_in_filter(void *failing, unsigned type)
{
    struct failing *f = failing;
    unr_sim_check(!f->fails, "it fails here");
    return type;
}

static void fails_in_start(struct unr_op *op)
{
    struct failing *f = unr_container_of(op, struct failing, op);
    unr_sim_check(!f->fails, "it fails here");
    unr_finish(op, 0);
}

static const struct unr_op_type fails_type = { .size = sizeof fails_type,
                                               .name = "fails",
                                               .start = fails_in_start };

/* The depth is more than any stack has room for. */
__attribute__((noinline)) static unsigned recurses(unsigned depth)
{
    volatile unsigned char frame[1024];
    frame[0] = (unsigned char)depth;
    return depth ? recurses(depth - 1) + frame[0] : 0;
}

static int failing_runs(void *failing)
{
    struct failing         *f = failing;
    struct unr_cancel_scope scope;
    unr_cancel_scope_enter_after(&scope, UNR_SEC(1));
    if (f->where == IN_FILTER) {
        unr_state_reset(unr_fiber_state(), NULL, fails_in_filter, f);
        unr_cancel_scope_cancel(&scope, UNR_CANCEL_ALL, CAUSE);
    }
    unr_await(f->where == IN_START ? unr_describe(&f->op, &fails_type) : unr_nop(&f->op));
    unr_sim_check(unr_fiber_self() == &f->fiber, "this fiber runs");
    if (f->where == OVERFLOWS)
        recurses(f->fails ? 1u << 20 : 1);
    unr_sim_check(f->where != IN_FIBER || !f->fails, "it fails here");
    return unr_cancel_scope_leave(&scope, 0);
}

/* One schedule of three fails.  The others run behind it, while the failing one is made shorter:
 * had it left anything behind, they would fail in other words. */
static void failing(const struct scenario *scenario)
{
    struct failing f = { .where = *(const enum where *)scenario->parameter,
                         .fails = unr_sim_choose(3) == 2 };
    unr_sim_check(unr_fiber_self() == NULL, "no fiber runs");
    struct unr_loop *loop = open_small_loop();
    unr_start(loop, unr_fiber(&f.fiber, failing_runs, &f), count_run, &f.runs);
    run_to_the_end(loop);
    unr_sim_check(f.runs == 1 && f.fiber.op.result.error == 0, "it ended well");
    close_loop(loop);
}

/* TABLE */
static const unsigned deadline_around = DEADLINE, group_around = GROUP;

static const enum container any = ANY, all = ALL, awaited = AWAITED, awaits_any = AWAITS_ANY,
                            in_scope = IN_SCOPE, joined = JOINED;

/* How many scopes are entered first, and how many steps are chosen then. */
static const struct shape from_outside = { 0, 3 }, three_deep = { 3, 3 }, long_ones = { 0, 16 };

static const enum where in_fiber = IN_FIBER, in_filter = IN_FILTER, in_start = IN_START,
                        overflows = OVERFLOWS;

/* ---- numbers ---- */

enum { COUNTERS = 3, ROUNDS = 4 };

/* What a compiler keeps in registers across a call, of both kinds, is the fiber's. */
static int keeps_its_numbers(void *argument)
{
    long   a = *(const int *)argument, b = a + 1, c = a + 2, d = a + 3, e = a + 4;
    double v = (double)a, w = v + 1, x = v + 2, y = v + 3, z = v + 4;
    for (int i = 0; i < ROUNDS; i++) {
        unr_yield();
        a += 5, b += 5, c += 5, d += 5, e += 5;
        v += 0.5, w += 0.5, x += 0.5, y += 0.5, z += 0.5;
    }
    int    begin = *(const int *)argument;
    double sum = 5 * begin + 10 + 2.5 * ROUNDS, weighed = v + 2 * w + 3 * x + 4 * y + 5 * z;
    unr_sim_check(a + b + c + d + e == 5 * begin + 10 + 25 * ROUNDS, "a fiber keeps its integers");
    unr_sim_check(v + w + x + y + z == sum && weighed == 15 * (begin + 0.5 * ROUNDS) + 40,
                  "a fiber keeps its floating-point numbers");
    return 0;
}

static void numbers(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_fiber fibers[COUNTERS] = { 0 };
    int              begins[COUNTERS], ended = 0;
    (void)scenario;
    for (int i = 0; i < COUNTERS; i++) {
        begins[i] = 100 * i;
        unr_start(loop, unr_fiber(&fibers[i], keeps_its_numbers, &begins[i]), count_run, &ended);
    }
    run_to_the_end(loop);
    unr_sim_check(ended == COUNTERS, "each ends");
    unr_sim_check(unr_loop_close(loop) == 0, "the loop closes");
}

const struct scenario *scenarios_fibers_table(void)
{
    static const struct scenario table[] = {
        { .name = "fibers/read-write-close", .run = read_write_close },
        { .name = "fibers/in-a-deadline",
          .run = read_write_close,
          .parameter = &deadline_around,
          .deviations_max = 3 },
        { .name = "fibers/read-write-close-older", .run = read_write_close, .linux_version = 601 },
        { .name = "fibers/numbers", .run = numbers },
        { .name = "fibers/states", .run = states, .deviations_max = 1 },
        { .name = "fibers/proofs", .run = proofs },
        { .name = "fibers/any", .run = contained, .parameter = &any },
        { .name = "fibers/all", .run = contained, .parameter = &all },
        { .name = "fibers/one-awaits-another", .run = contained, .parameter = &awaited },
        { .name = "fibers/one-awaits-any", .run = contained, .parameter = &awaits_any },
        { .name = "fibers/in-a-scope", .run = contained, .parameter = &in_scope },
        { .name = "fibers/joined", .run = contained, .parameter = &joined },
        { .name = "fibers/in-a-group", .run = read_write_close, .parameter = &group_around },
        { .name = "cancel-scopes/from-outside", .run = scopes, .parameter = &from_outside },
        { .name = "cancel-scopes/three-deep", .run = scopes, .parameter = &three_deep },
        { .name = "cancel-scopes/long", .run = scopes, .parameter = &long_ones, .sampled = true },
        { .name = "cancel-scopes/deadlines", .run = timed_scopes },
        { .name = "cancel-scopes/closing", .run = closing_scopes },
        { .name = "fibers/no-memory", .run = no_memory, .faults = UNR_FAULT_RESOURCES },
        { .name = "fibers/fails-inside",
          .run = failing,
          .parameter = &in_fiber,
          .fails_with = "it fails here" },
        { .name = "fibers/fails-in-a-filter",
          .run = failing,
          .parameter = &in_filter,
          .fails_with = "it fails here" },
        { .name = "fibers/fails-in-a-start",
          .run = failing,
          .parameter = &in_start,
          .fails_with = "it fails here" },
        { .name = "fibers/overflows",
          .run = failing,
          .parameter = &overflows,
          .fails_with = "ended by signal 11" },
        { .name = NULL },
    };
    return table;
}
