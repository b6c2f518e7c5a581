/* SPDX-License-Identifier: MIT */
/* The combinators: composed operations and their states, deadlines, delays, filters, groups, scopes
 * and joins, each asked to end at every point, with what they hold completing or not.  What must
 * come of it is worked out here a second time, from the results of what they held: a model, as
 * short as the promises in the headers. */
#include "scenario.h"

#include <stddef.h>

/* ---- turns ---- */

enum { TURNS_MAX = 100 };

static unsigned turn_number;

static void one_turn(struct unr_loop *loop, unr_time timeout)
{
    turn_number++;
    unr_sim_check(unr_loop_run_once(loop, timeout) >= 0, "a turn");
}

static void run_to_the_end(struct unr_loop *loop)
{
    for (int turns = 0; unr_loop_in_flight(loop); turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within a hundred turns");
        one_turn(loop, UNR_NEVER);
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

/* ---- a trial: one combinator, and one request at one point ---- */

enum { CAUSE = -7, MASKS = 3 };
enum when { LATCHED, AT_ONCE, AFTER_A_TURN, AFTER_TWO, LAST, INSIDE, WHENS };

static const unsigned masks[MASKS] = { UNR_CANCEL_ALL, UNR_CANCEL_TOTAL, UNR_CANCEL_TERMINAL };

struct trial {
    struct unr_loop  *loop;
    struct unr_op    *root;
    struct unr_signal signal;
    enum when         when; /* INSIDE: whatever the combinator runs asks, by ask() */
    unsigned          types, requested;
    bool exact; /* it goes by the simulation's time: nothing to be compared with the real kernel */
    int  runs;
    unsigned done_in; /* turn */
    unr_time done_at;
};

static void begin(struct trial *t, unsigned when, unsigned types)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = 8,
                                        .completion_entries = 16 };
    *t = (struct trial){ .when = (enum when)when, .types = types };
    turn_number = 0;
    unr_sim_check(unr_loop_open(&t->loop, &options) == 0, "the loop opens");
}

static void ask_for(struct trial *t, unsigned types)
{
    if (t->root && unr_in_flight(t->root))
        t->requested |= types;
    unr_signal_emit_cause(&t->signal, types, CAUSE);
}

static void ask(struct trial *t)
{
    ask_for(t, t->types);
}

static void ask_inside(struct trial *t)
{
    if (t->when == INSIDE)
        ask(t);
}

static void trial_done(struct unr_op *op)
{
    struct trial *t = op->data;
    t->runs++;
    t->done_in = turn_number;
    t->done_at = unr_loop_now(unr_loop_of(op));
    unr_sim_check(!unr_in_flight(op), "in done the operation is the caller's");
    unr_sim_check(!unr_slot_has_handler(unr_signal_slot(&t->signal)), "the slot is empty in done");
}

static void start_trial(struct trial *t, struct unr_op *root)
{
    t->root = root;
    if (t->when == LATCHED) {
        unr_signal_init_latched(&t->signal);
        t->requested = t->types;
        ask(t);
    }
    unr_start(t->loop, unr_bind_slot(root, unr_signal_slot(&t->signal)), trial_done, t);
}

/* Three turns, and the request where it is to come; the second and the third may take
 * `patience`. */
static void ask_on_the_way(struct trial *t, unr_time patience)
{
    for (int turns = 0; turns < 3 && unr_in_flight(t->root); turns++) {
        if (t->when == (enum when)(AT_ONCE + turns))
            ask(t);
        one_turn(t->loop, turns ? patience : 0);
    }
}

/* In the end one for everything, so that nothing waits for ever. */
static void carry_out(struct trial *t)
{
    ask_on_the_way(t, 0);
    if (unr_in_flight(t->root))
        ask_for(t, UNR_CANCEL_ALL);
    run_to_the_end(t->loop);
    unr_sim_check(t->runs == 1, "each done once");
}

static bool is_one_type(unsigned guarantee)
{
    return guarantee == UNR_CANCEL_TERMINAL || guarantee == UNR_CANCEL_PARTIAL
           || guarantee == UNR_CANCEL_TOTAL;
}

/* What holds of every result, whatever held whatever. */
static void check_truth(const struct unr_op *op)
{
    const struct unr_result *r = &op->result;
    bool took_effect = r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED;
    unr_sim_check(!unr_in_flight(op), "it has ended");
    unr_sim_check(r->error <= 0 && r->error != -EIO, "no error that nobody asked for");
    unr_sim_check((r->error == -ECANCELED) == took_effect,
                  "-ECANCELED exactly when a cancellation took effect");
    unr_sim_check(took_effect ? is_one_type(r->guarantee) : r->guarantee == UNR_CANCEL_NONE,
                  "a guarantee, of one type, exactly when it was cancelled");
    unr_sim_check(r->verdict != UNR_VERDICT_UNSUBMITTED || r->guarantee == UNR_CANCEL_TOTAL,
                  "what never began left nothing");
    unr_sim_check((r->cause != 0) == (r->verdict != UNR_VERDICT_NONE),
                  "a cause exactly if there is a verdict");
    unr_sim_check(r->verdict != UNR_VERDICT_NONE || r->requested == 0,
                  "a verdict if something was asked");
    unr_sim_check(unr_outcome(r) == (took_effect ? r->cause : r->error), "one number to test");
    unr_sim_check(r->fd == -1, "nothing was produced");
}

/* ---- what they hold ---- */

enum kind {
    NOP,
    READS,     /* what its peer writes, at any point */
    WAITS,     /* for a peer that says nothing */
    WAITS_ALL, /* for four bytes, of which there are two: cannot be undone wholly */
    FAILS,
    TIMER,
    CLOSES, /* supports NONE */
    EMITS,  /* makes the trial's request while it is started, and ends at once */
    HEARS,  /* requests, and ends by the first unless it is stubborn */
};

struct leaf {
    enum kind kind;
    union {
        struct unr_op    op;
        struct unr_timer timer;
    };
    struct trial *trial;
    unsigned char buf[4];
    int           fds[2], runs;
    size_t        sent;
    unsigned      heard;
    unr_time      heard_at; /* the last of it */
    unsigned      heard_as; /* HEARS: the how-manieth that heard something; 0: it did not */
    bool          stubborn; /* HEARS: it does not end by a request */
};

static struct leaf *leaf_of(struct unr_op *op)
{
    return unr_container_of(op, struct leaf, op);
}

static void emits_start(struct unr_op *op)
{
    ask_inside(leaf_of(op)->trial);
    if (unr_in_flight(op))
        unr_finish(op, 0);
}

static void hears_start(struct unr_op *op)
{
    (void)op;
}

static unsigned hearings;

static void hears_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct leaf *l = leaf_of(op);
    if (!l->heard_as)
        l->heard_as = ++hearings;
    l->heard |= request.types;
    l->heard_at = unr_loop_now(unr_loop_of(op));
    if (!l->stubborn)
        unr_finish(op, -ECANCELED);
}

static const struct unr_op_type emits_type = { .size = sizeof emits_type,
                                               .name = "emits",
                                               .start = emits_start };

#define HEARS_TYPE(mask)                                                                           \
    {                                                                                              \
        .size = sizeof(struct unr_op_type), .supports = mask, .name = "hears",                     \
        .start = hears_start, .cancel = hears_cancel                                               \
    }
static const struct unr_op_type hears_types[] = {
    HEARS_TYPE(UNR_CANCEL_ALL), HEARS_TYPE(UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL),
    HEARS_TYPE(UNR_CANCEL_TERMINAL)
};

static void peer_writes(void *leaf)
{
    struct leaf *l = leaf;
    ssize_t      n = unr_sim_write(l->fds[1], "ab", 2);
    l->sent += n > 0 ? (size_t)n : 0;
}

static struct unr_op *describe_leaf(struct leaf *l, enum kind kind, struct trial *t)
{
    *l = (struct leaf){ .kind = kind, .trial = t, .fds = { -1, -1 } };
    if (kind == READS || kind == WAITS || kind == WAITS_ALL || kind == CLOSES)
        unr_sim_socketpair(l->fds, 0);
    switch (kind) {
    case NOP: return unr_nop(&l->op);
    case READS: unr_sim_later(peer_writes, l); return unr_recv(&l->op, l->fds[0], l->buf, 4, 0);
    case WAITS: return unr_recv(&l->op, l->fds[0], l->buf, 4, 0);
    case WAITS_ALL: peer_writes(l); return unr_recv(&l->op, l->fds[0], l->buf, 4, MSG_WAITALL);
    case FAILS: return unr_recv(&l->op, 200, l->buf, 4, 0);
    case TIMER: return unr_timer_after(&l->timer, UNR_MSEC(1));
    case CLOSES: return unr_close(&l->op, l->fds[0]);
    case EMITS: return unr_describe(&l->op, &emits_type);
    case HEARS: return unr_describe(&l->op, &hears_types[0]);
    }
    return NULL;
}

/* Every byte once: what its peer sent is in its buffer and counted, or is still there. */
static void end_leaf(struct leaf *l)
{
    unsigned char rest[16];
    if (!l->op.type)
        return;
    check_truth(&l->op);
    if (l->kind == CLOSES) {
        unr_sim_check(l->op.result.error == 0 && unr_sim_read(l->fds[1], rest, 1) == 0,
                      "what supports NONE runs");
    } else if (l->fds[0] >= 0) {
        ssize_t left = unr_sim_read(l->fds[0], rest, sizeof rest);
        unr_sim_check(l->op.result.bytes + (left > 0 ? (size_t)left : 0) == l->sent,
                      "every byte was read once or is still there");
        unr_sim_check(memcmp(l->buf, "abab", l->op.result.bytes) == 0,
                      "what was read is what was sent");
        unr_sim_close(l->fds[0]);
    }
    if (l->fds[1] >= 0)
        unr_sim_close(l->fds[1]);
    unr_sim_check(l->kind != FAILS || l->op.result.error != 0, "it cannot succeed");
}

/* The loop may be closed, and NULL, already.  What others still do is done before the descriptors
 * go. */
static void end_trial(struct trial *t, struct leaf *leaves, unsigned n)
{
    check_truth(t->root);
    if (t->loop) {
        if (!t->exact)
            outcome("error %d verdict %u", t->root->result.error, t->root->result.verdict);
        unr_sim_check(unr_loop_in_flight(t->loop) == 0, "nothing is left in flight");
        unr_sim_check(unr_loop_close(t->loop) == 0, "the loop closes");
    }
    for (unsigned i = 0; i < n; i++)
        end_leaf(&leaves[i]);
}

static bool ended_by(const struct unr_op *op, int cause)
{
    return op->result.error == -ECANCELED && op->result.cause == cause;
}

static unsigned weaker(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* What a member leaves of the guarantee of the whole. */
static unsigned proven_by(const struct unr_op *member)
{
    return member->result.error == -ECANCELED ? member->result.guarantee : UNR_CANCEL_PARTIAL;
}

/* ---- composed operations: read, write what was read, close in any case ---- */

struct session {
    struct unr_compose compose;
    struct trial       t;
    struct unr_op      op;
    int                from[2], to[2];
    unsigned char      buf[4];
    unsigned           steps, asks_in; /* step */
    unsigned           let_in;         /* when the child began */
    unsigned           last_step_in;   /* turn */
    size_t             sent, read, written;
    int                error;
    bool               closing;
};

static void session_next(struct session *s, struct unr_op *child)
{
    s->let_in = unr_state_cancelled(unr_compose_state(&s->compose));
    unr_compose_next(&s->compose, child);
}

static void session_step(struct unr_compose *compose, struct unr_op *finished)
{
    struct session *s = unr_container_of(compose, struct session, compose);
    s->last_step_in = turn_number;
    if (finished && s->let_in & unr_supports(finished))
        unr_sim_check(finished->result.verdict == UNR_VERDICT_UNSUBMITTED
                          && finished->result.cause == CAUSE,
                      "what was let in pre-empts each later child");
    if (++s->steps == s->asks_in)
        ask_inside(&s->t);
    if (s->closing) {
        unr_sim_check(finished->result.error == 0, "clean-up runs, whatever was asked");
        compose->op.result.bytes = s->written;
        unr_compose_end(compose, s->error);
        return;
    }
    if (finished && finished->result.error)
        s->error = finished->result.error;
    else if (s->steps == 2)
        s->read = finished->result.bytes;
    else if (s->steps == 3)
        s->written = finished->result.bytes;
    s->closing = s->steps == 3 || s->error;
    if (s->closing)
        session_next(s, unr_close(&s->op, s->to[0]));
    else if (s->steps == 1)
        session_next(s, unr_recv(&s->op, s->from[0], s->buf, sizeof s->buf, 0));
    else
        session_next(s, unr_send(&s->op, s->to[0], s->buf, s->read, 0));
}

static void peer_of_session(void *session)
{
    struct session *s = session;
    s->sent = (size_t)unr_sim_write(s->from[1], "abcd", 4);
}

/* The step function knows nothing of cancellation but that an error ends it.  Asked at any point,
 * no step begins behind what was asked but the close, the counts are what the peers find, and a
 * request for more than it can give changes nothing. */
static void read_write_close(const struct scenario *scenario)
{
    struct session s = { .closing = false };
    unsigned       choice = unr_sim_choose((WHENS + 3) * MASKS);
    unsigned       when = pick(&choice, WHENS + 3);
    (void)scenario;
    begin(&s.t, when < WHENS ? when : INSIDE, masks[choice]);
    s.asks_in = when < WHENS ? 1 : when - WHENS + 2;
    unr_sim_socketpair(s.from, 0);
    unr_sim_socketpair(s.to, 0);
    unr_sim_later(peer_of_session, &s);
    start_trial(&s.t, unr_compose(&s.compose, "session", UNR_CANCEL_PARTIAL, session_step));
    carry_out(&s.t);

    const struct unr_result *r = &s.compose.op.result;
    unsigned char            found[8];
    unr_sim_check(r->requested == s.t.requested, "requests are or-ed");
    if (r->verdict == UNR_VERDICT_UNSUBMITTED) {
        unr_sim_check(s.steps == 0, "what never began has not run a step");
        unr_sim_close(s.to[0]);
    } else {
        unr_sim_check(r->error == s.error, "it ends as its last step says");
        unr_sim_check(s.t.done_in == s.last_step_in, "it ends in the turn of its last step");
        unr_sim_check(r->error != -ECANCELED || r->guarantee == UNR_CANCEL_PARTIAL,
                      "the strongest that it supports");
    }
    unr_sim_check((r->verdict == UNR_VERDICT_REFUSED) == (r->requested == UNR_CANCEL_TOTAL),
                  "refused what it cannot give");
    unr_sim_check(r->error != -ECANCELED || r->cause == CAUSE, "and why");
    unr_sim_check(s.written <= s.read && (s.error || s.steps == 0 || s.written),
                  "what was read is written");
    ssize_t left = unr_sim_read(s.from[0], found, sizeof found);
    unr_sim_check(s.read + (left > 0 ? (size_t)left : 0) == s.sent,
                  "every byte was read once or is still there");
    unr_sim_check(s.written == 0
                      || (unr_sim_read(s.to[1], found, sizeof found) == (ssize_t)s.written
                          && r->bytes == s.written && memcmp(found, "abcd", s.written) == 0),
                  "what was written arrived");
    unr_sim_check(unr_sim_read(s.to[1], found, 1) == 0, "it was closed");
    end_trial(&s.t, NULL, 0);
    unr_sim_close(s.from[0]);
    unr_sim_close(s.from[1]);
    unr_sim_close(s.to[1]);
}

/* ---- states: what is let in and passed on, for all filters and all requests ---- */

enum { FILTERS = 5 };

static unr_filter_fn *const filters[FILTERS] = { NULL, unr_let_none, unr_let_terminal,
                                                 unr_let_partial, unr_let_total };

static unsigned let(unsigned filter, unsigned types, unsigned unfiltered)
{
    static const unsigned lets[FILTERS] = { 0, 0, UNR_CANCEL_TERMINAL,
                                            UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL,
                                            UNR_CANCEL_ALL };
    return types & (filter ? lets[filter] : unfiltered);
}

struct stated {
    struct unr_compose compose;
    struct trial       t;
    struct leaf        first, second;
    unsigned           supports, child_supports; /* index into hears_types */
    unsigned           steps;
    bool               preempts;
};

static void stated_step(struct unr_compose *compose, struct unr_op *finished)
{
    struct stated *s = unr_container_of(compose, struct stated, compose);
    (void)finished;
    switch (s->steps++) {
    case 0:
        unr_compose_next(compose, unr_describe(&s->first.op, &hears_types[s->child_supports]));
        break;
    case 1:
        unr_state_preempt(unr_compose_state(compose), s->preempts);
        unr_compose_next(compose, unr_describe(&s->second.op, &hears_types[s->child_supports]));
        break;
    default: unr_compose_end(compose, s->second.op.result.error);
    }
}

/* Two requests for a composed operation, its filters set before and perhaps again in between: what
 * it lets in, what the child in flight is asked, and whether the next one begins. */
static void states(const struct scenario *scenario)
{
    struct stated  s = { .steps = 0 };
    unsigned       choice = unr_sim_choose(FILTERS * FILTERS * 7 * 7 * 4 * 2 * 2 * 2);
    unsigned       in = pick(&choice, FILTERS), out = pick(&choice, FILTERS);
    unsigned       types[2] = { 1 + pick(&choice, 7), 1 + pick(&choice, 7) };
    unsigned       resets = pick(&choice, 4); /* not; not at all; as it was; to what lets all in */
    const unsigned own = UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL;
    (void)scenario;
    s.child_supports = pick(&choice, 2);
    s.preempts = pick(&choice, 2);
    s.first.stubborn = s.second.stubborn = true;
    unsigned child = hears_types[s.child_supports].supports;
    begin(&s.t, LAST, 0);
    struct unr_op *op = unr_compose(&s.compose, "stated", own, stated_step);
    if (resets)
        unr_state_reset(unr_compose_state(&s.compose), filters[in], filters[out], NULL);
    else
        in = out = 0;
    s.t.root = op;
    unr_start(s.t.loop, op, trial_done, &s.t);

    unsigned let_in = 0, passed = 0, honoured = 0, refused_cause = 0;
    int      cause = 0, first_let_in = 0;
    for (int i = 0; i < 2; i++) {
        if (i == 1 && resets >= 2) {
            in = resets == 3 ? 4 : in;
            unr_state_reset(unr_compose_state(&s.compose), filters[in], filters[out], NULL);
            let_in = 0;
            first_let_in = 0;
            if (honoured) /* it has been dealt with */
                cause = 0, refused_cause = 0;
            honoured = 0;
            s.first.heard = 0;
        }
        unsigned now = let(in, types[i], own);
        unr_sim_check(unr_supports(op) == let(in, UNR_CANCEL_ALL, own),
                      "it supports the types that it lets in");
        unr_cancel_cause(op, types[i], -1 - i);
        if (now && !honoured)
            cause = -1 - i;
        if (!now && !honoured)
            refused_cause = 1 + (unsigned)i;
        if (now && !let_in)
            first_let_in = -1 - i;
        honoured |= now;
        let_in |= now;
        passed |= let(out, now, UNR_CANCEL_ALL);
        unr_sim_check(unr_state_cancelled(unr_compose_state(&s.compose)) == let_in,
                      "what passes is recorded, nothing else");
        unr_sim_check(unr_state_cause(unr_compose_state(&s.compose)) == first_let_in,
                      "with the first cause");
        unr_sim_check(s.first.op.result.requested == passed,
                      "the child in flight is asked what passes both filters");
    }
    unr_finish(&s.first.op, 0);
    one_turn(s.t.loop, 0);
    bool     began = s.second.op.result.verdict != UNR_VERDICT_UNSUBMITTED;
    unsigned again = s.preempts ? let(out, let_in, UNR_CANCEL_ALL) : 0;
    unr_sim_check(began == !(again & child),
                  "what was let in pre-empts the next child, if it honours it");
    unr_sim_check(s.second.op.result.requested == again, "and is requested of it");
    unr_sim_check(!again || s.second.op.result.cause == first_let_in, "with the first cause");
    if (began)
        unr_finish(&s.second.op, 0);
    run_to_the_end(s.t.loop);
    const struct unr_result *r = &op->result;
    unr_sim_check(r->requested == (types[0] | types[1]), "requests are or-ed");
    unr_sim_check(r->cause == (honoured ? cause : -(int)refused_cause),
                  "the cause is that of the first honoured, or the last refused");
    unr_sim_check(r->error == (began ? 0 : -ECANCELED), "it was cancelled if its child was");
    unr_sim_check(r->verdict
                      == (!began     ? UNR_VERDICT_CANCELLED
                          : honoured ? UNR_VERDICT_TOO_LATE
                                     : UNR_VERDICT_REFUSED),
                  "what became of it");
    end_trial(&s.t, NULL, 0);
}

/* ---- deadlines ---- */

enum { DEADLINE_KINDS = 5 };

/* Around what may end before, with it, after it or never: it ends by one cause, that of whoever
 * came first, and the timer is gone with it, so its memory can be anything else. */
static void deadline(const struct scenario *scenario)
{
    static const enum kind kinds[DEADLINE_KINDS] = { READS, WAITS, WAITS_ALL, NOP, TIMER };
    struct trial           t;
    struct leaf            inner;
    struct unr_timer       later = { 0 };
    int                    later_runs = 0;
    unsigned               choice = unr_sim_choose(DEADLINE_KINDS * (WHENS - 1) * MASKS * 4);
    enum kind              kind = kinds[pick(&choice, DEADLINE_KINDS)];
    unsigned               when = pick(&choice, WHENS - 1), types = masks[pick(&choice, MASKS)];
    unr_time               delay = (unr_time[]){ UNR_MSEC(1), 0, -1, UNR_NEVER }[choice];
    struct unr_deadline    d = { .op = { .data = NULL } };
    (void)scenario;
    begin(&t, when, types);
    unr_time begun = unr_loop_now(t.loop);
    start_trial(&t, unr_cancel_after(&d, describe_leaf(&inner, kind, &t), delay));
    unr_start(t.loop, unr_timer_after(&later, UNR_MSEC(3)), count_run, &later_runs);
    ask_on_the_way(&t, 0);
    if (unr_in_flight(t.root) && delay == UNR_NEVER)
        ask_for(&t, UNR_CANCEL_ALL);
    while (unr_in_flight(t.root))
        one_turn(t.loop, UNR_NEVER);
    unr_sim_check(t.runs == 1, "each done once");
    const struct unr_result result = d.op.result, *r = &result;
    unr_sim_check(r->error == inner.op.result.error && r->guarantee == inner.op.result.guarantee
                      && r->bytes == inner.op.result.bytes,
                  "the result is that of what it held");
    unr_sim_check(!(t.requested & ~r->requested), "with what was asked of the deadline");
    if (r->error == -ECANCELED)
        unr_sim_check(r->cause == -ETIMEDOUT
                          ? delay != UNR_NEVER
                          : r->cause == CAUSE && t.requested & unr_supports(t.root),
                      "a time-out and a request are told from one another");
    if (ended_by(t.root, -ETIMEDOUT))
        unr_sim_check(delay <= 0 || unr_loop_now(t.loop) >= begun + delay,
                      "no deadline passes early");
    if (delay <= 0 && t.when != LATCHED)
        unr_sim_check(r->verdict == UNR_VERDICT_UNSUBMITTED && r->cause == -ETIMEDOUT,
                      "past at the start, it never begins");
    unr_sim_check(!unr_deadline_move(&d, 0), "what has ended has no deadline to move");
    memset(&d, 0xff, sizeof d);
    run_to_the_end(t.loop); /* past the deadline */
    unr_sim_check(later_runs == 1, "each done once");
    memset(&d, 0, sizeof d);
    d.op.result = result;
    end_trial(&t, &inner, 1);
}

/* It and what it holds are due at the same moment: which comes first is a matter of who was set
 * last, and the second changes nothing.  Where the real kernel gave the processor to another until
 * then, the deadline was past as it began, and it is no tie. */
static void deadline_tie(const struct scenario *scenario)
{
    struct trial        t;
    struct leaf         inner;
    struct unr_deadline d = { .op = { .data = NULL } };
    bool                inner_first = unr_sim_choose(2);
    (void)scenario;
    begin(&t, LAST, 0);
    unr_time when = unr_loop_now(t.loop) + UNR_MSEC(5);
    describe_leaf(&inner, TIMER, &t);
    start_trial(&t, unr_cancel_at(&d, unr_timer_at(&inner.timer, when), when));
    bool moved = inner_first && unr_deadline_move(&d, when);
    bool tie = unr_loop_now(t.loop) < when;
    run_to_the_end(t.loop);
    const struct unr_result *r = &d.op.result;
    unr_sim_check(!tie || moved == inner_first, "it waits");
    unr_sim_check(!tie || r->error == (inner_first ? 0 : -ECANCELED),
                  "who was set first comes first");
    unr_sim_check(r->cause == -ETIMEDOUT && r->requested == UNR_CANCEL_ALL,
                  "the deadline has asked");
    unr_sim_check(!tie
                      || r->verdict == (inner_first ? UNR_VERDICT_TOO_LATE : UNR_VERDICT_CANCELLED),
                  "and what became of it");
    end_trial(&t, NULL, 0);
}

/* What a timer of the same time, or of an earlier one, does to a deadline: moves it to each place,
 * perhaps twice. */
struct mover {
    struct trial        t;
    struct unr_timer    timer;
    struct leaf         inner;
    struct unr_deadline d;
    unr_time            begin, when, moved; /* when it is due, as it was told, and when that was */
    unr_time            to[2];
    bool                refused;
};

static void moves(struct unr_op *op)
{
    struct mover *m = op->data;
    for (int i = 0; i < 2; i++) {
        if (!unr_in_flight(&m->d.op))
            return;
        if (unr_deadline_move(&m->d, m->to[i]))
            m->when = m->to[i], m->moved = unr_loop_now(m->t.loop);
        else
            m->refused = true;
    }
}

static void deadline_moved(const struct scenario *scenario)
{
    enum { PLACES = 6, MOVERS = 4 };
    static const unr_time places[PLACES] = { -UNR_MSEC(1), 0,        UNR_MSEC(5), UNR_MSEC(7),
                                             UNR_MSEC(20), UNR_NEVER };
    struct mover          m = { .refused = false };
    unsigned              choice = unr_sim_choose(PLACES * PLACES * MOVERS * 2);
    (void)scenario;
    begin(&m.t, LAST, 0);
    m.t.exact = true;
    m.begin = unr_loop_now(m.t.loop);
    for (int i = 0; i < 2; i++) {
        unr_time place = places[pick(&choice, PLACES)];
        m.to[i] = place == UNR_NEVER ? UNR_NEVER : m.begin + place;
    }
    unsigned moves_at =
        pick(&choice, MOVERS); /* at once; earlier; the same moment, before it; and behind it */
    unr_time first = choice ? UNR_NEVER : m.begin + UNR_MSEC(5);
    m.when = first;
    struct unr_op *inner = describe_leaf(&m.inner, HEARS, &m.t);
    struct unr_op *d = unr_cancel_at(&m.d, inner, first);
    unr_time       mover_at = m.begin + UNR_MSEC(moves_at == 1 ? 3 : 5);
    if (moves_at == 2)
        unr_start(m.t.loop, unr_timer_at(&m.timer, mover_at), moves, &m);
    start_trial(&m.t, d);
    if (moves_at == 1 || moves_at == 3)
        unr_start(m.t.loop, unr_timer_at(&m.timer, mover_at), moves, &m);
    m.timer.op.data = &m;
    if (moves_at == 0)
        moves(&m.timer.op);
    while (unr_in_flight(d) && unr_loop_now(m.t.loop) < m.begin + UNR_MSEC(6))
        one_turn(m.t.loop, UNR_MSEC(1));
    unr_sim_check(moves_at > 1 || !m.refused, "a deadline that is to come can be moved");
    bool never = m.when == UNR_NEVER && unr_in_flight(d);
    if (never)
        ask_for(&m.t, UNR_CANCEL_ALL);
    while (unr_in_flight(d))
        one_turn(m.t.loop, UNR_NEVER);
    unr_sim_check(unr_outcome(&d->result) == (never ? CAUSE : -ETIMEDOUT),
                  "it times out, unless it never does");
    unr_time due = m.when > m.moved ? m.when : m.moved;
    /* Not at once where io_uring_enter(2) fails and is tried again. */
    unr_sim_check(never || (m.inner.heard_at >= due && m.inner.heard_at < due + UNR_MSEC(2)),
                  "at the time that it was moved to last");
    run_to_the_end(m.t.loop);
    end_trial(&m.t, &m.inner, 1);
}

/* Past at the start, and perhaps something was asked before: what it holds never begins, for the
 * first that it honours. */
static void deadline_past(const struct scenario *scenario)
{
    static const unsigned before[] = { 0, UNR_CANCEL_TERMINAL, UNR_CANCEL_TOTAL };
    struct trial          t;
    struct leaf           inner;
    struct unr_deadline   d = { .op = { .data = NULL } };
    unsigned              choice = unr_sim_choose(3 * 2);
    unsigned              types = before[pick(&choice, 3)];
    (void)scenario;
    begin(&t, types ? LATCHED : LAST, types);
    describe_leaf(&inner, HEARS, &t);
    struct unr_op *op = unr_describe(&inner.op, &hears_types[2]);
    start_trial(&t,
                choice ? unr_cancel_at(&d, op, unr_loop_now(t.loop)) : unr_cancel_after(&d, op, 0));
    run_to_the_end(t.loop);
    unr_sim_check(d.op.result.verdict == UNR_VERDICT_UNSUBMITTED,
                  "past at the start, it never begins");
    unr_sim_check(d.op.result.cause == (types == UNR_CANCEL_TERMINAL ? CAUSE : -ETIMEDOUT),
                  "and why");
    end_trial(&t, &inner, 1);
}

/* What it holds has been asked, or has ended: there is nothing left to move. */
static void deadline_over(const struct scenario *scenario)
{
    struct trial        t;
    struct leaf         inner;
    struct unr_deadline d = { .op = { .data = NULL } };
    bool                passes = unr_sim_choose(2);
    (void)scenario;
    begin(&t, LAST, 0);
    start_trial(&t, unr_cancel_after(&d, describe_leaf(&inner, HEARS, &t), UNR_MSEC(1)));
    inner.stubborn = true;
    while (passes && !inner.heard)
        one_turn(t.loop, UNR_NEVER);
    unr_sim_check(!passes || !unr_deadline_move(&d, UNR_NEVER), "what has passed cannot be moved");
    unr_finish(&inner.op, 0);
    unr_sim_check(!unr_deadline_move(&d, unr_loop_now(t.loop) + UNR_MSEC(1)),
                  "what has ended has no deadline to move");
    run_to_the_end(t.loop);
    end_trial(&t, &inner, 1);
}

/* Behind a deadline in line for the same moment there is a timer: closing the loop does not wait
 * for it. */
static void closed_in_line(const struct scenario *scenario)
{
    struct trial        t;
    struct leaf         inner;
    struct unr_deadline d = { .op = { .data = NULL } };
    struct unr_timer    behind = { .deadline = 0 };
    int                 runs = 0;
    (void)scenario;
    begin(&t, LAST, 0);
    start_trial(&t, unr_cancel_after(&d, describe_leaf(&inner, WAITS, &t), UNR_SEC(1)));
    unr_start(t.loop, unr_timer_after(&behind, UNR_SEC(1)), count_run, &runs);
    close_loop(t.loop);
    t.loop = NULL;
    unr_sim_check(runs == 1 && ended_by(&behind.op, -ESHUTDOWN),
                  "closing does not wait for timers");
    end_trial(&t, &inner, 1);
}

/* One inside the other, and a request besides: the first of them ends it. */
static void deadlines_nested(const struct scenario *scenario)
{
    struct trial        t;
    struct leaf         inner;
    struct unr_deadline d[2] = { { .op = { .data = NULL } } };
    unsigned            choice = unr_sim_choose(3 * (WHENS - 1));
    unsigned            when = pick(&choice, WHENS - 1);
    (void)scenario;
    begin(&t, when, UNR_CANCEL_TERMINAL);
    unr_time begun = unr_loop_now(t.loop), after[2] = { UNR_MSEC(1 + choice), UNR_MSEC(2) };
    start_trial(&t, unr_cancel_after(
                        &d[1], unr_cancel_after(&d[0], describe_leaf(&inner, WAITS, &t), after[0]),
                        after[1]));
    if (t.when == AT_ONCE)
        ask(&t);
    for (int turns = 0; turns < 2 && unr_in_flight(t.root); turns++) {
        one_turn(t.loop, 0);
        if (t.when == (enum when)(AFTER_A_TURN + turns) && unr_in_flight(t.root))
            ask(&t);
    }
    run_to_the_end(t.loop);
    unr_sim_check(t.root->result.error == -ECANCELED, "something ends it");
    if (t.root->result.cause == -ETIMEDOUT) {
        unr_time due = begun + (after[0] < after[1] ? after[0] : after[1]);
        unr_sim_check(unr_loop_now(t.loop) >= due, "no deadline passes early");
    }
    unr_sim_check(d[0].op.result.cause == t.root->result.cause, "each says the same");
    unr_sim_check(when == LAST ? t.root->result.cause == -ETIMEDOUT
                               : !(t.requested) || t.root->result.cause < 0,
                  "and why");
    check_truth(&d[0].op);
    end_trial(&t, &inner, 1);
}

/* A step that has a deadline of its own: what times out is the step, and the whole says so unless
 * it was asked itself. */
struct timed_step {
    struct unr_compose  compose;
    struct trial        t;
    struct unr_deadline d;
    struct leaf         inner;
};

static void timed_step(struct unr_compose *compose, struct unr_op *finished)
{
    struct timed_step *s = unr_container_of(compose, struct timed_step, compose);
    if (finished)
        unr_compose_end(compose, finished->result.error);
    else
        unr_compose_next(
            compose,
            unr_cancel_after(&s->d, describe_leaf(&s->inner, WAITS_ALL, &s->t), UNR_MSEC(1)));
}

static void deadline_of_a_step(const struct scenario *scenario)
{
    struct timed_step s = { .t.loop = NULL };
    unsigned          choice = unr_sim_choose((WHENS - 1) * MASKS);
    unsigned          when = pick(&choice, WHENS - 1);
    (void)scenario;
    begin(&s.t, when, masks[choice]);
    s.inner.fds[0] = s.inner.fds[1] = -1;
    start_trial(&s.t, unr_compose(&s.compose, "timed", UNR_CANCEL_TOTAL, timed_step));
    if (s.t.when == AT_ONCE)
        ask(&s.t);
    for (int turns = 0; turns < 2 && unr_in_flight(s.t.root); turns++) {
        one_turn(s.t.loop, 0);
        if (s.t.when == (enum when)(AFTER_A_TURN + turns) && unr_in_flight(s.t.root))
            ask(&s.t);
    }
    run_to_the_end(s.t.loop);
    const struct unr_result *r = &s.compose.op.result;
    unr_sim_check(s.t.runs == 1 && r->error == -ECANCELED, "something ends it");
    unr_sim_check(r->requested == s.t.requested, "asked is what it was asked, not its child");
    unr_sim_check(r->cause == (s.t.requested ? CAUSE : -ETIMEDOUT),
                  "the cause of the request, or the child's");
    if (r->verdict != UNR_VERDICT_UNSUBMITTED)
        unr_sim_check(r->guarantee == weaker(UNR_CANCEL_TOTAL, s.inner.op.result.guarantee),
                      "no guarantee is stronger than what a child proved");
    end_trial(&s.t, &s.inner, 1);
}

/* ---- delays ---- */

/* Nothing begins before the pause is over, and what is asked in it never does; of two that are due
 * in one turn, the first one's `done` may still ask the other. */
static void delay(const struct scenario *scenario)
{
    enum { DELAY_KINDS = 4 };
    static const enum kind kinds[DELAY_KINDS] = { READS, WAITS_ALL, CLOSES, NOP };
    struct trial           t;
    struct leaf            inner;
    struct unr_delay       d = { .op = { .data = NULL } };
    unsigned               choice = unr_sim_choose(DELAY_KINDS * (WHENS - 1) * MASKS * 2);
    enum kind              kind = kinds[pick(&choice, DELAY_KINDS)];
    unsigned               when = pick(&choice, WHENS - 1), types = masks[pick(&choice, MASKS)];
    bool                   closes = choice;
    (void)scenario;
    begin(&t, when, types);
    unr_time begun = unr_loop_now(t.loop);
    start_trial(&t, unr_delay(&d, describe_leaf(&inner, kind, &t), UNR_MSEC(1)));
    unsigned supports = unr_supports(t.root);
    unr_sim_check(supports == unr_supports(&inner.op), "it supports what it holds does");
    bool asked_in_the_pause = t.when == LATCHED && types & supports;
    for (int turns = 0; turns < 2; turns++) {
        if (t.when == (enum when)(AT_ONCE + turns) && unr_in_flight(t.root)) {
            asked_in_the_pause |= unr_loop_now(t.loop) == begun && types & supports;
            ask(&t);
        }
        if (unr_in_flight(t.root)) {
            one_turn(t.loop, turns ? UNR_MSEC(1) : 0);
            unr_sim_check(unr_loop_now(t.loop) > begun || asked_in_the_pause
                              || unr_in_flight(t.root),
                          "not before the pause is over");
        }
    }
    unr_time paused = unr_loop_now(t.loop) - begun;
    if (t.when == AFTER_TWO && unr_in_flight(t.root)) {
        asked_in_the_pause |= paused == 0 && types & supports;
        ask(&t);
    }
    if (unr_in_flight(t.root) && closes) {
        unr_sim_check(unr_loop_close(t.loop) == 0, "the loop closes");
        t.loop = NULL;
    } else {
        while (unr_in_flight(t.root) && unr_loop_now(t.loop) < begun + UNR_MSEC(1))
            one_turn(t.loop, UNR_NEVER);
        if (unr_in_flight(t.root) && kind == WAITS_ALL && unr_sim_choose(2))
            one_turn(t.loop, 0); /* queued before, in flight after */
        if (unr_in_flight(t.root) && kind == WAITS_ALL)
            ask_for(&t, UNR_CANCEL_ALL);
        run_to_the_end(t.loop);
    }
    const struct unr_result *r = &t.root->result;
    unr_sim_check(t.runs == 1, "each done once");
    unr_sim_check(
        r->error == inner.op.result.error && r->bytes == inner.op.result.bytes
            && (r->verdict == inner.op.result.verdict || r->verdict == UNR_VERDICT_REFUSED),
        "the result is that of what it held");
    if (asked_in_the_pause)
        unr_sim_check(r->verdict == UNR_VERDICT_UNSUBMITTED && r->cause == CAUSE,
                      "what is asked in the pause never begins");
    end_trial(&t, &inner, 1);
}

struct delay_tie {
    struct trial     t;
    struct leaf      inner;
    struct unr_delay d;
    struct unr_timer timer;
};

static void ask_in_done(struct unr_op *op)
{
    ask(op->data);
}

/* Asked in the `done` of a timer that is due in the same turn: the kernel has seen nothing yet, so
 * it never began. */
static void delay_tie(const struct scenario *scenario)
{
    struct delay_tie x = { .t.loop = NULL };
    bool             timer_first = unr_sim_choose(2);
    (void)scenario;
    begin(&x.t, LAST, UNR_CANCEL_TOTAL);
    x.t.exact = true;
    unr_time when = unr_loop_now(x.t.loop) + UNR_MSEC(1);
    if (timer_first)
        unr_start(x.t.loop, unr_timer_at(&x.timer, when), ask_in_done, &x.t);
    start_trial(&x.t, unr_delay(&x.d, describe_leaf(&x.inner, WAITS, &x.t), UNR_MSEC(1)));
    if (!timer_first)
        unr_start(x.t.loop, unr_timer_at(&x.timer, when), ask_in_done, &x.t);
    run_to_the_end(x.t.loop);
    unr_sim_check(x.d.op.result.verdict == UNR_VERDICT_UNSUBMITTED && x.d.op.result.cause == CAUSE,
                  "it never began");
    end_trial(&x.t, &x.inner, 1);
}

/* ---- what answers a request differently each time ---- */

/* The `out` filter of a filter, or the `in` filter of a cancellation state. */
struct moody {
    bool          lets;
    bool          flips; /* with each answer */
    struct trial *asks;  /* NULL, or: it makes the request of that one once more, once */
};

static unsigned moody(void *context, unsigned type)
{
    struct moody *m = context;
    struct trial *asks = m->asks;
    bool          lets = m->lets;
    m->lets ^= m->flips;
    m->asks = NULL;
    if (asks)
        ask(asks);
    return lets ? type : UNR_CANCEL_NONE;
}

enum moody_kind {
    FILTERED_ONCE,
    FILTERED_TWICE,
    COMPOSED,
    GROUPED,
    FILTERED_AND_DELAYED,
    COMPOSED_AND_DELAYED,
    MOODY_KINDS
};

struct moody_trial {
    struct trial       t;
    struct moody       moody;
    struct leaf        inner;
    struct unr_filter  filters[2];
    struct unr_compose compose;
    struct unr_delay   delay, delay_inside;
    struct unr_group   group;
    struct unr_op     *members[1];
};

static void moody_step(struct unr_compose *compose, struct unr_op *finished)
{
    struct moody_trial *m = unr_container_of(compose, struct moody_trial, compose);
    if (finished)
        unr_compose_end(compose, finished->result.error);
    else
        unr_compose_next(compose, &m->inner.op);
}

/* Describes what a delay pauses, with an answer of its filter that need not be the next one. */
static struct unr_op *describe_moody(struct moody_trial *m, enum moody_kind kind)
{
    struct unr_op *op = describe_leaf(&m->inner, WAITS, &m->t);
    bool           delayed = kind == FILTERED_AND_DELAYED || kind == COMPOSED_AND_DELAYED;
    if (kind == COMPOSED || kind == COMPOSED_AND_DELAYED) {
        op = unr_compose(&m->compose, "moody", UNR_CANCEL_ALL, moody_step);
        unr_state_reset(unr_compose_state(&m->compose), moody, NULL, &m->moody);
    } else {
        op = unr_filter(&m->filters[0], op, moody, &m->moody);
    }
    if (delayed)
        op = unr_delay(&m->delay_inside, op, UNR_MSEC(1));
    if (kind == FILTERED_TWICE)
        op = unr_filter(&m->filters[1], op, unr_let_total, NULL);
    m->members[0] = op;
    return kind == GROUPED ? unr_group(&m->group, m->members, 1, unr_wait_all, NULL) : op;
}

/* What is asked in the pause counts once, whatever was answered before and is answered behind: it
 * ends what never begins, or the pause goes on.  Whoever is asked may ask in turn. */
static void delay_of_the_moody(const struct scenario *scenario)
{
    struct moody_trial m = { .t.loop = NULL };
    unsigned           choice = unr_sim_choose(MOODY_KINDS * 2 * 2 * 2 * 2 * 2 * 2);
    enum moody_kind    kind = (enum moody_kind)pick(&choice, MOODY_KINDS);
    bool               let_before = pick(&choice, 2), lets = pick(&choice, 2);
    bool               flips = pick(&choice, 2), closes = pick(&choice, 2);
    bool               asks_again = pick(&choice, 2), ends = lets || (asks_again && flips);
    (void)scenario;
    begin(&m.t, choice ? LATCHED : AFTER_A_TURN, UNR_CANCEL_TERMINAL);
    m.t.exact = true;
    unr_time begun = unr_loop_now(m.t.loop);
    m.moody = (struct moody){ .lets = let_before };
    struct unr_op *inner = describe_moody(&m, kind);
    m.moody = (struct moody){ .lets = lets, .flips = flips, .asks = asks_again ? &m.t : NULL };
    start_trial(&m.t, unr_delay(&m.delay, inner, UNR_MSEC(1)));
    if (m.t.when == AFTER_A_TURN)
        ask(&m.t);
    if (!ends) {
        unr_sim_check(unr_in_flight(m.t.root) && !unr_in_flight(inner), "the pause goes on");
        m.moody = (struct moody){ .lets = !closes };
        if (closes) {
            unr_sim_check(unr_loop_close(m.t.loop) == 0, "the loop closes");
            m.t.loop = NULL;
        }
        while (!closes && !unr_in_flight(&m.inner.op))
            one_turn(m.t.loop, UNR_NEVER);
        if (!closes) {
            unr_sim_check(unr_loop_now(m.t.loop) >= begun + UNR_MSEC(1), "to its end");
            ask_for(&m.t, UNR_CANCEL_ALL);
        }
    }
    if (m.t.loop)
        run_to_the_end(m.t.loop);
    unr_sim_check(m.t.runs == 1, "each done once");
    unr_sim_check(!closes || m.t.done_at < begun + UNR_MSEC(1),
                  "a closing loop does not wait for the pause");
    unr_sim_check(!ends || m.t.root->result.verdict == UNR_VERDICT_UNSUBMITTED,
                  "what was ended in the pause never began");
    unr_sim_check(ended_by(m.t.root, closes && !ends ? -ESHUTDOWN : CAUSE), "and why it ended");
    check_truth(inner);
    end_trial(&m.t, &m.inner, 1);
}

/* ---- filters ---- */

static unsigned total_is_partial(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_PARTIAL : type;
}

static unsigned only_total_as_terminal(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_TERMINAL : 0;
}

static unsigned terminal_is_total(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TERMINAL ? UNR_CANCEL_TOTAL : 0;
}

enum { OUT_FILTERS = 7, FILTERED = 3 };

static unr_filter_fn *const out_filters[OUT_FILTERS] = { unr_let_none,     unr_let_terminal,
                                                         unr_let_partial,  unr_let_total,
                                                         total_is_partial, only_total_as_terminal,
                                                         terminal_is_total };

static unsigned through(unr_filter_fn *filter, unsigned types)
{
    unsigned passed = 0;
    for (unsigned type = UNR_CANCEL_TERMINAL; type <= UNR_CANCEL_TOTAL; type <<= 1)
        passed |= types & type ? filter(NULL, type) : 0;
    return passed;
}

/* The strongest type whose requester is content with `guarantee`. */
static unsigned outer_terms(unr_filter_fn *filter, unsigned guarantee)
{
    for (unsigned type = UNR_CANCEL_TOTAL; type; type >>= 1)
        for (unsigned given = guarantee; given; given >>= 1)
            if (filter(NULL, type) & given)
                return type;
    return guarantee;
}

static void filtered(const struct scenario *scenario)
{
    static const enum kind kinds[FILTERED] = { READS, WAITS_ALL, HEARS };
    struct trial           t;
    struct leaf            inner;
    struct unr_filter      f = { .op = { .data = NULL } };
    unsigned               choice = unr_sim_choose(OUT_FILTERS * FILTERED * (WHENS - 1) * 7);
    unr_filter_fn         *out = out_filters[pick(&choice, OUT_FILTERS)];
    enum kind              kind = kinds[pick(&choice, FILTERED)];
    unsigned               when = pick(&choice, WHENS - 1), types = 1 + choice, supports = 0;
    (void)scenario;
    begin(&t, when, types);
    struct unr_op *op = unr_filter(&f, describe_leaf(&inner, kind, &t), out, NULL);
    for (unsigned type = UNR_CANCEL_TERMINAL; type <= UNR_CANCEL_TOTAL; type <<= 1)
        if (through(out, type) & unr_supports(&inner.op))
            supports |= type;
    unr_sim_check(unr_supports(op) == supports,
                  "it supports the types of which the filter makes one that it honours");
    start_trial(&t, op);
    ask_on_the_way(&t, 0);
    bool asked_inside = unr_in_flight(op) && kind != READS && !unr_sim_choose(2);
    if (asked_inside)
        unr_cancel_cause(&inner.op, UNR_CANCEL_ALL, -8); /* past the filter */
    if (unr_in_flight(op) && !asked_inside && kind != READS) {
        unr_sim_check(unr_loop_close(t.loop) == 0, "closing the loop cannot be filtered");
        t.loop = NULL;
    } else {
        run_to_the_end(t.loop);
    }
    const struct unr_result *r = &op->result, *i = &inner.op.result;
    bool                     honoured = t.requested & supports;
    unr_sim_check(t.runs == 1 && r->error == i->error && r->bytes == i->bytes,
                  "the result is that of what it held");
    if (honoured && (t.loop || kind == READS))
        unr_sim_check(r->requested == t.requested, "in the terms of the requests from outside");
    if (t.requested && !honoured && r->error == 0)
        unr_sim_check(r->verdict == UNR_VERDICT_REFUSED && i->requested == 0,
                      "what the filter keeps out is refused");
    if (r->error == -ECANCELED)
        unr_sim_check(r->guarantee
                          == (r->verdict == UNR_VERDICT_UNSUBMITTED
                                  ? UNR_CANCEL_TOTAL
                                  : outer_terms(out, i->guarantee)),
                      "the guarantee is in the terms of the requests from outside");
    if (r->error == -ECANCELED && t.loop && !asked_inside)
        unr_sim_check(honoured && r->cause == CAUSE, "only what passes ends it");
    end_trial(&t, &inner, 1);
}

/* ---- groups ---- */

enum { MEMBERS = 3 };

struct grouped {
    struct trial     t;
    struct unr_group group;
    struct leaf      leaves[MEMBERS];
    struct unr_op   *members[MEMBERS];
    unsigned         n;
    unsigned ended, ended_in; /* as the condition was told: how many, the last in which turn */
    const struct unr_op *order[MEMBERS];
    bool                 custom;
};

/* One of the caller's own: asks for more each time; and asks from outside, if that is when. */
static unsigned more_each_time(void *context, const struct unr_op *finished)
{
    static const unsigned answers[MEMBERS] = { UNR_CANCEL_TOTAL, UNR_CANCEL_ALL, UNR_CANCEL_ALL };
    struct grouped       *g = context;
    unr_sim_check(!unr_in_flight(finished), "a member has ended when its condition is asked");
    unr_sim_check(g->ended < g->n, "each member once");
    g->order[g->ended] = finished;
    g->ended_in = turn_number;
    ask_inside(&g->t);
    return answers[g->ended++];
}

static bool asks_of_the_others(const struct grouped *g, const struct unr_op *member)
{
    unr_group_condition_fn *condition = g->group.private_fields.condition;
    return g->custom || condition(NULL, member) != 0;
}

/* The result of a group, worked out from those of its members. */
static void check_group(const struct grouped *g)
{
    const struct unr_result *r = &g->group.op.result;
    const struct unr_op     *decider = NULL, *first = unr_group_first(&g->group), *last = NULL;
    unr_group_condition_fn  *condition = g->group.private_fields.condition;
    bool reports = condition == unr_wait_one_success || condition == unr_wait_one_error,
         outside = false;
    unsigned place = 0, weakest = UNR_CANCEL_TOTAL;
    for (struct unr_op *member = unr_group_first(&g->group); member;
         member = unr_group_next(member), place++) {
        unr_sim_check(place < g->n, "each member ends once");
        unr_sim_check(!g->custom || g->order[place] == member,
                      "members are told of in the order of their ends");
        bool own = !ended_by(member, CAUSE) && !ended_by(member, -ECANCELED);
        outside |= ended_by(member, CAUSE);
        weakest = weaker(weakest, proven_by(member));
        if (!decider && own && asks_of_the_others(g, member))
            decider = member;
        last = member;
    }
    unr_sim_check(place == g->n, "the group ends when each member has");
    unr_sim_check(!g->custom || g->t.done_in == g->ended_in,
                  "it ends in the turn of its last member");
    if (!decider && !outside)
        decider = condition == unr_wait_one_success ? first : last;
    int error = !decider ? -ECANCELED : reports ? decider->result.error : 0;
    unr_sim_check(r->error == error,
                  "a group's error is its decider's, or of a request from outside");
    unr_sim_check(decider ? r->value >= 0 && g->members[r->value] == decider : r->value == -1,
                  "the member that decided");
    unr_sim_check(error != -ECANCELED || r->guarantee == weakest,
                  "a group promises no more than each of its members");
    unr_sim_check(error != -ECANCELED || r->cause == (decider ? decider->result.cause : CAUSE),
                  "and says why");
    unr_sim_check(!(g->t.requested & ~r->requested), "requests are or-ed");
}

struct members {
    unr_group_condition_fn *condition;
    enum kind               kinds[MEMBERS];
    unsigned                n;
};

static void group(const struct scenario *scenario)
{
    const struct members *of = scenario->parameter;
    struct grouped        g = { .n = of->n, .custom = of->condition == more_each_time };
    unsigned              choice = unr_sim_choose(WHENS * MASKS);
    unsigned              when = pick(&choice, WHENS);
    begin(&g.t, when, masks[choice]);
    for (unsigned i = 0; i < g.n; i++)
        g.members[i] = describe_leaf(&g.leaves[i], of->kinds[i], &g.t);
    start_trial(&g.t, unr_group(&g.group, g.members, g.n, of->condition, &g));
    carry_out(&g.t);
    check_group(&g);
    for (unsigned i = 0; i < g.n; i++) {
        /* The launch comes to them in their order: what was asked before is asked of each before it
         * begins. */
        if (g.t.when == LATCHED && g.t.types & unr_supports(g.members[i]))
            unr_sim_check(g.members[i]->result.verdict == UNR_VERDICT_UNSUBMITTED,
                          "asked before the launch, none begins");
        if (g.t.when == INSIDE && i && of->kinds[i - 1] == EMITS
            && g.t.types & unr_supports(g.members[i]))
            unr_sim_check(ended_by(g.members[i], CAUSE)
                              && g.members[i]->result.verdict == UNR_VERDICT_UNSUBMITTED,
                          "asked during the launch, the rest does not begin");
    }
    if (g.custom && g.n == 1 && g.t.when == INSIDE)
        unr_sim_check(g.group.op.result.verdict == UNR_VERDICT_TOO_LATE,
                      "asked when its last has ended, it is too late");
    end_trial(&g.t, g.leaves, g.n);
}

/* Members of one's own that hear: what reaches each, when conditions and requests from outside ask
 * for more and more. */
static void group_escalates(const struct scenario *scenario)
{
    struct grouped g = { .n = MEMBERS, .custom = true };
    unsigned       choice = unr_sim_choose(7 * 7 * 2 * 2);
    unsigned       types[2] = { 1 + pick(&choice, 7), 1 + pick(&choice, 7) };
    bool           before = pick(&choice, 2), between = pick(&choice, 2);
    (void)scenario;
    begin(&g.t, LAST, 0);
    for (unsigned i = 0; i < g.n; i++) {
        describe_leaf(&g.leaves[i], HEARS, &g.t);
        g.leaves[i].stubborn = true;
        g.members[i] = unr_describe(&g.leaves[i].op, &hears_types[i]);
    }
    start_trial(&g.t, unr_group(&g.group, g.members, g.n, more_each_time, &g));
    unsigned asked = 0;
    if (before) {
        ask_for(&g.t, types[0]);
        asked |= types[0];
    }
    for (unsigned i = 0; i < g.n; i++) {
        for (unsigned j = i; j < g.n; j++)
            unr_sim_check(g.members[j]->result.requested == asked,
                          "each request and each condition reaches the others");
        if (i == 1 && between) {
            ask_for(&g.t, types[1]);
            asked |= types[1];
            for (unsigned j = i; j < g.n; j++)
                unr_sim_check(g.members[j]->result.requested == asked,
                              "and so does an escalation from outside");
        }
        unr_sim_check(unr_in_flight(g.t.root), "the group waits for each member");
        unr_finish(g.members[i], 0);
        one_turn(g.t.loop, 0);
        asked |= i ? UNR_CANCEL_ALL : UNR_CANCEL_TOTAL;
    }
    run_to_the_end(g.t.loop);
    for (unsigned i = 0; i < g.n; i++)
        unr_sim_check(g.leaves[i].heard == 0 || g.leaves[i].heard & unr_supports(g.members[i]),
                      "nobody hears what it refuses");
    check_group(&g);
    end_trial(&g.t, NULL, 0);
}

/* Three deep: (a && b || c) && d.  A nested group is a member as any other. */
static void group_nested(const struct scenario *scenario)
{
    enum { SETS = 4, DEEP = 3 };
    static const enum kind sets[SETS][4] = { { READS, NOP, WAITS, NOP },
                                             { FAILS, WAITS, READS, NOP },
                                             { WAITS, WAITS_ALL, READS, EMITS },
                                             { READS, FAILS, TIMER, WAITS } };
    struct grouped         g[DEEP] = { { .n = 2 }, { .n = 2 }, { .n = 2 } };
    struct trial           t;
    struct leaf            leaves[4];
    struct unr_op         *ops[4];
    unsigned               choice = unr_sim_choose(SETS * WHENS * MASKS), set = pick(&choice, SETS),
             when = pick(&choice, WHENS);
    (void)scenario;
    begin(&t, when, masks[choice]);
    for (int i = 0; i < 4; i++)
        ops[i] = describe_leaf(&leaves[i], sets[set][i], &t);
    g[0].members[0] = ops[0], g[0].members[1] = ops[1];
    g[1].members[0] = unr_all(&g[0].group, g[0].members, 2), g[1].members[1] = ops[2];
    g[2].members[0] = unr_any(&g[1].group, g[1].members, 2), g[2].members[1] = ops[3];
    start_trial(&t, unr_all(&g[2].group, g[2].members, 2));
    ask_on_the_way(&t, 0);
    if (unr_in_flight(t.root))
        ask_for(&t, UNR_CANCEL_ALL);
    run_to_the_end(t.loop);
    unr_sim_check(t.runs == 1, "each done once");
    const struct unr_result *both = &g[0].group.op.result, *either = &g[1].group.op.result,
                            *r = &g[2].group.op.result;
    bool ok[4];
    for (int i = 0; i < 4; i++)
        ok[i] = leaves[i].op.result.error == 0;
    unr_sim_check((both->error == 0) == (ok[0] && ok[1]), "a && b succeeds if both did");
    unr_sim_check((either->error == 0) == ((ok[0] && ok[1]) || ok[2]), "|| c succeeds if one did");
    unr_sim_check((r->error == 0) == (((ok[0] && ok[1]) || ok[2]) && ok[3]),
                  "&& d succeeds if both did");
    unr_sim_check(r->error != -EBADF || !(ok[0] && ok[1]), "an error is a member's own");
    for (int i = 0; i < DEEP; i++) {
        unsigned weakest = UNR_CANCEL_TOTAL;
        for (int j = 0; j < 2; j++)
            weakest = weaker(weakest, proven_by(g[i].members[j]));
        check_truth(&g[i].group.op);
        unr_sim_check(g[i].group.op.result.error != -ECANCELED
                          || g[i].group.op.result.guarantee == weakest,
                      "a group promises no more than each of its members");
    }
    if (set == 1 && !ended_by(ops[0], CAUSE))
        unr_sim_check(both->error == -EBADF && both->value == 0,
                      "the failure, not what it did to the other, is the group's");
    end_trial(&t, leaves, 4);
}

/* Two that time out on their own, or fail, or are asked: whose cause it is. */
static void group_of_deadlines(const struct scenario *scenario)
{
    struct grouped          g = { .n = 2 };
    struct unr_deadline     d[2] = { { .op = { .data = NULL } } };
    unsigned                choice = unr_sim_choose(4 * (WHENS - 1));
    unr_group_condition_fn *conditions[] = { unr_wait_all, unr_wait_one, unr_wait_one_success,
                                             unr_wait_one_error };
    unr_group_condition_fn *condition = conditions[pick(&choice, 4)];
    (void)scenario;
    begin(&g.t, choice, UNR_CANCEL_ALL);
    for (unsigned i = 0; i < 2; i++)
        g.members[i] =
            unr_cancel_after(&d[i], describe_leaf(&g.leaves[i], WAITS, &g.t), UNR_MSEC(1 + i));
    start_trial(&g.t, unr_group(&g.group, g.members, 2, condition, NULL));
    ask_on_the_way(&g.t, UNR_MSEC(1));
    run_to_the_end(g.t.loop);
    check_group(&g);
    for (unsigned i = 0; i < 2; i++)
        check_truth(&d[i].op);
    end_trial(&g.t, g.leaves, g.n);
}

static void group_of_none(const struct scenario *scenario)
{
    struct grouped g = { .n = 0 };
    (void)scenario;
    begin(&g.t, unr_sim_choose(WHENS), UNR_CANCEL_ALL);
    start_trial(&g.t, unr_all(&g.group, NULL, 0));
    one_turn(g.t.loop, 0);
    unr_sim_check(g.t.runs == 1 && g.group.op.result.error == 0, "an empty group ends at once");
    end_trial(&g.t, NULL, 0);
}

/* The member that was started last is asked first: the kernel finds it soonest. */
static void group_newest_first(const struct scenario *scenario)
{
    struct trial     t;
    struct unr_group group = { .private_fields.left = 0 };
    struct leaf      leaves[MEMBERS];
    struct unr_op   *members[MEMBERS];
    (void)scenario;
    begin(&t, LAST, UNR_CANCEL_ALL);
    for (int i = 0; i < MEMBERS; i++)
        members[i] = describe_leaf(&leaves[i], HEARS, &t);
    start_trial(&t, unr_group(&group, members, MEMBERS, unr_wait_one, NULL));
    if (unr_sim_choose(2))
        ask(&t);
    else
        unr_finish(members[1], 0);
    run_to_the_end(t.loop);
    for (int i = 0, later = MEMBERS - 1; i < MEMBERS; i++)
        for (int j = i + 1; j <= later; j++)
            unr_sim_check(!leaves[i].heard_as || !leaves[j].heard_as
                              || leaves[i].heard_as > leaves[j].heard_as,
                          "the newest is asked first");
    end_trial(&t, leaves, MEMBERS);
}

/* Asked while it starts its members: a member that it has not come to is asked what it answers now,
 * not what it answered when it was described, and keeps to that when it is started. */
static void group_of_the_moody(const struct scenario *scenario)
{
    struct grouped    g = { .n = 2 };
    struct unr_filter filter = { .op = { .data = NULL } };
    unsigned          choice = unr_sim_choose(2 * 2 * 2);
    bool              let_before = pick(&choice, 2), lets = pick(&choice, 2);
    (void)scenario;
    begin(&g.t, INSIDE, UNR_CANCEL_TERMINAL);
    struct moody moods = { .lets = let_before };
    g.members[0] = describe_leaf(&g.leaves[0], EMITS, &g.t);
    g.members[1] = unr_filter(&filter, describe_leaf(&g.leaves[1], READS, &g.t), moody, &moods);
    moods = (struct moody){ .lets = lets, .flips = lets && choice };
    start_trial(&g.t, unr_group(&g.group, g.members, 2, unr_wait_all, NULL));
    run_to_the_end(g.t.loop);
    unr_sim_check(g.t.root->result.verdict == (lets ? UNR_VERDICT_CANCELLED : UNR_VERDICT_REFUSED),
                  "the group honours what its member honours");
    unr_sim_check(!lets || g.leaves[1].op.result.verdict == UNR_VERDICT_UNSUBMITTED,
                  "which then never begins");
    check_truth(&filter.op);
    end_trial(&g.t, g.leaves, 2);
}

/* ---- scopes ---- */

enum { IN_SCOPE = 4 };

struct scoped {
    struct trial     t;
    struct unr_scope scope, inner;
    struct leaf      leaves[IN_SCOPE];
    unsigned         asked_before[IN_SCOPE]; /* when it was started */
    unsigned         started, closes_in;     /* `done` number */
    unsigned         dones;
    bool             nested, closed;
    bool             gentle;             /* all of them end by themselves */
    unsigned         last_in, closed_in; /* turn */
};

static void close_scope(struct scoped *s)
{
    s->closed = true;
    s->closed_in = turn_number;
    unr_scope_close(&s->inner);
    unr_scope_close(&s->scope);
}

static void in_scope_done(struct unr_op *op);

static void start_in_scope(struct scoped *s, enum kind kind)
{
    struct leaf   *l = &s->leaves[s->started];
    struct unr_op *op = describe_leaf(l, kind, &s->t);
    s->asked_before[s->started++] = s->t.requested;
    unr_scope_start(s->nested ? &s->inner : &s->scope, op, in_scope_done, s);
}

static void in_scope_done(struct unr_op *op)
{
    struct scoped *s = op->data;
    leaf_of(op)->runs++;
    s->last_in = turn_number;
    unr_sim_check(unr_in_flight(&s->scope.op), "a scope ends behind the last of what it holds");
    if (++s->dones == 1) {
        ask_inside(&s->t);
        start_in_scope(s, CLOSES);
        start_in_scope(s, s->gentle ? NOP : WAITS);
    }
    if (s->dones == s->closes_in) {
        close_scope(s);
        s->closed_in--; /* it is to end in this turn, if this is the last */
    }
}

/* Two operations, two more that the `done` of the first starts, a request and the closing at every
 * point, and perhaps all of that in a scope inside the scope. */
static void scope(const struct scenario *scenario)
{
    enum { CLOSINGS = 6 };
    struct scoped s = { .dones = 0 };
    unsigned      choice = unr_sim_choose(WHENS * MASKS * CLOSINGS * 2);
    unsigned      when = pick(&choice, WHENS), types = masks[pick(&choice, MASKS)];
    unsigned      closing = pick(&choice, CLOSINGS);
    int           inner_runs = 0;
    s.nested = scenario->parameter;
    s.gentle = choice;
    begin(&s.t, when, types);
    start_trial(&s.t, unr_scope(&s.scope));
    if (s.nested)
        unr_scope_start(&s.scope, unr_scope(&s.inner), count_run, &inner_runs);
    s.closes_in = closing < 3 ? closing + 1 : 0;
    start_in_scope(&s, READS);
    start_in_scope(&s, s.gentle ? NOP : WAITS_ALL);
    if (closing == 3)
        close_scope(&s);
    for (int turns = 0; turns < 3; turns++) {
        if (s.t.when == (enum when)(AT_ONCE + turns))
            ask(&s.t);
        one_turn(s.t.loop, 0);
        if (closing == 4 && turns == 1 && !s.closed)
            close_scope(&s);
    }
    if (!s.gentle)
        ask_for(&s.t, UNR_CANCEL_ALL);
    for (int turns = 0; s.dones < IN_SCOPE; turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within a hundred turns");
        one_turn(s.t.loop, UNR_NEVER);
    }
    if (!s.closed) {
        unr_sim_check(unr_in_flight(&s.scope.op), "a scope waits until it is closed");
        close_scope(&s);
    }
    run_to_the_end(s.t.loop);
    unr_sim_check(s.t.runs == 1 && inner_runs == s.nested, "each done once");
    unr_sim_check(s.last_in <= s.closed_in || s.t.done_in == s.last_in,
                  "it ends in the turn of its last");

    unsigned weakest = UNR_CANCEL_TOTAL;
    bool     cancelled = false;
    for (int i = 0; i < IN_SCOPE; i++) {
        const struct unr_op *op = &s.leaves[i].op;
        unr_sim_check(s.leaves[i].runs == 1, "each done once");
        if (s.asked_before[i] & unr_supports(op))
            unr_sim_check(op->result.verdict == UNR_VERDICT_UNSUBMITTED
                              && op->result.cause == CAUSE,
                          "a request to a scope is for what comes later, too");
        unr_sim_check(!(s.asked_before[i] & ~op->result.requested),
                      "what was asked is asked of each");
        weakest = weaker(weakest, proven_by(op));
        cancelled |= ended_by(op, CAUSE);
    }
    const struct unr_op *last = s.nested ? &s.inner.op : &s.scope.op;
    unr_sim_check(last->result.value == IN_SCOPE
                      && s.scope.op.result.value == (s.nested ? 1 : IN_SCOPE),
                  "it counts what ended in it");
    unr_sim_check(s.scope.op.result.error == (cancelled ? -ECANCELED : 0),
                  "cancelled if one of them was");
    unr_sim_check(!cancelled || s.scope.op.result.guarantee == weakest,
                  "a scope promises no more than each of what it held");
    check_truth(last);
    end_trial(&s.t, s.leaves, IN_SCOPE);
}

struct last_in_scope {
    struct trial     t;
    struct unr_scope scope;
    struct leaf      leaves[2];
    int              runs;
    bool             loop_closes;
};

static void starts_another(struct unr_op *op)
{
    struct last_in_scope *x = op->data;
    if (++x->runs == 2)
        return;
    if (!x->loop_closes)
        unr_scope_close(&x->scope);
    unr_scope_start(&x->scope, describe_leaf(&x->leaves[1], NOP, &x->t), starts_another, x);
}

/* The `done` of the last one closes the scope, or its loop is being closed, and starts another. */
static void last_in_scope(const struct scenario *scenario)
{
    struct last_in_scope x = { .loop_closes = scenario->parameter };
    begin(&x.t, LAST, 0);
    start_trial(&x.t, unr_scope(&x.scope));
    unr_scope_start(&x.scope, describe_leaf(&x.leaves[0], x.loop_closes ? WAITS : NOP, &x.t),
                    starts_another, &x);
    if (x.loop_closes) {
        close_loop(x.t.loop);
        x.t.loop = NULL;
    } else {
        run_to_the_end(x.t.loop);
    }
    unr_sim_check(x.t.runs == 1 && x.runs == 2, "each done once");
    unr_sim_check(x.scope.op.result.value == 2, "it counts what ended in it");
    end_trial(&x.t, x.leaves, 2);
}

/* One is ended by its own slot before it begins; the same request to the scope comes later, and
 * ends nobody. */
static void latched_in_scope(const struct scenario *scenario)
{
    struct trial      t;
    struct leaf       leaf;
    struct unr_scope  scope = { .private_fields.members = NULL };
    struct unr_signal own = { .latches = false };
    int               runs = 0;
    unsigned          refused = unr_sim_choose(2) ? UNR_CANCEL_TOTAL : 0;
    (void)scenario;
    begin(&t, LAST, 0);
    unr_signal_init_latched(&own);
    unr_signal_emit_cause(&own, UNR_CANCEL_TERMINAL, CAUSE);
    start_trial(&t, unr_scope(&scope));
    if (refused)
        ask_for(&t, refused);
    describe_leaf(&leaf, WAITS_ALL, &t);
    unr_scope_start(&scope, unr_bind_slot(&leaf.op, unr_signal_slot(&own)), count_run, &runs);
    unr_scope_close(&scope);
    ask_for(&t, UNR_CANCEL_ALL);
    run_to_the_end(t.loop);
    unr_sim_check(runs == 1 && scope.op.result.error == 0, "the request to the scope ended nobody");
    end_trial(&t, &leaf, 1);
}

/* The same of the member of a group, which therefore decides. */
static void latched_in_group(const struct scenario *scenario)
{
    struct grouped    g = { .n = 2 };
    struct unr_signal own = { .latches = false };
    (void)scenario;
    begin(&g.t, LAST, 0);
    unr_signal_init_latched(&own);
    unr_signal_emit_cause(&own, UNR_CANCEL_TERMINAL, CAUSE);
    g.members[0] = describe_leaf(&g.leaves[0], WAITS, &g.t);
    g.members[1] = unr_bind_slot(describe_leaf(&g.leaves[1], WAITS, &g.t), unr_signal_slot(&own));
    start_trial(&g.t, unr_all(&g.group, g.members, 2));
    ask_for(&g.t, UNR_CANCEL_ALL);
    run_to_the_end(g.t.loop);
    unr_sim_check(ended_by(g.t.root, CAUSE) && g.t.root->result.value == 1,
                  "the request to the group did not end the member that decides");
    end_trial(&g.t, g.leaves, 2);
}

/* One was asked on its own; the same request to the scope comes later, and ends nobody. */
static void own_cause_in_scope(const struct scenario *scenario)
{
    struct trial     t;
    struct leaf      leaf;
    struct unr_scope scope = { .private_fields.members = NULL };
    int              runs = 0;
    (void)scenario;
    begin(&t, LAST, 0);
    start_trial(&t, unr_scope(&scope));
    unr_scope_start(&scope, describe_leaf(&leaf, HEARS, &t), count_run, &runs);
    leaf.stubborn = true;
    unr_scope_close(&scope);
    unr_cancel_cause(&leaf.op, UNR_CANCEL_ALL, CAUSE);
    unr_cancel_cause(t.root, UNR_CANCEL_ALL, CAUSE);
    unr_finish(&leaf.op, -ECANCELED);
    run_to_the_end(t.loop);
    unr_sim_check(runs == 1 && scope.op.result.error == 0, "the request to the scope ended nobody");
    end_trial(&t, &leaf, 1);
}

enum { GROWERS = 4, GROWN = UNR_SCOPE_INLINE };

struct growing {
    struct trial     t;
    struct unr_scope scope;
    struct unr_op    growers[GROWERS];
    struct leaf      leaves[GROWN];
    int              runs;
    unsigned         asked;
};

static void count_growing(struct unr_op *op)
{
    ((struct growing *)op->data)->runs++;
}

static void grows_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct growing *x = op->data;
    (void)request;
    if (x->asked++ == 0)
        for (unsigned i = 0; i < GROWN; i++)
            unr_scope_start(&x->scope, describe_leaf(&x->leaves[i], EMITS, &x->t), count_growing,
                            x);
    unr_finish(op, -ECANCELED);
}

static const struct unr_op_type grows_type = { .size = sizeof grows_type,
                                               .supports = UNR_CANCEL_ALL,
                                               .name = "grows",
                                               .start = hears_start,
                                               .cancel = grows_cancel };

/* The first that is asked starts more in the scope than it had room for: the request reaches the
 * others all the same. */
static void scope_grows(const struct scenario *scenario)
{
    struct growing x = { .runs = 0 };
    unsigned       n = unr_sim_choose(2) ? GROWERS : 1;
    (void)scenario;
    begin(&x.t, LAST, 0);
    start_trial(&x.t, unr_scope(&x.scope));
    for (unsigned i = 0; i < n; i++)
        unr_scope_start(&x.scope, unr_describe(&x.growers[i], &grows_type), count_growing, &x);
    ask_for(&x.t, UNR_CANCEL_ALL);
    unr_sim_check(x.asked == n, "the request reaches each that is there, once");
    unr_scope_close(&x.scope);
    run_to_the_end(x.t.loop);
    unr_sim_check(x.runs == (int)(n + GROWN), "each done once");
    unr_sim_check(x.scope.op.result.error == -ECANCELED, "cancelled if one of them was");
    end_trial(&x.t, x.leaves, GROWN);
}

/* Most of many members end, and the table shrinks: the request reaches those that are left. */
static void scope_shrinks(const struct scenario *scenario)
{
    enum { MANY = 24, LEFT = 3 };
    struct growing x = { .runs = 0 };
    struct leaf    many[MANY] = { 0 };
    unsigned       first = unr_sim_choose(MANY - LEFT + 1);
    (void)scenario;
    begin(&x.t, LAST, 0);
    start_trial(&x.t, unr_scope(&x.scope));
    for (unsigned i = 0; i < MANY; i++)
        unr_scope_start(&x.scope, describe_leaf(&many[i], HEARS, &x.t), count_growing, &x);
    for (unsigned i = 0; i < MANY; i++)
        if (i - first >= LEFT)
            unr_finish(&many[i].op, 0);
    one_turn(x.t.loop, 0);
    unr_sim_check(x.runs == MANY - LEFT, "those have ended");
    unr_sim_check(x.scope.private_fields.room == UNR_SCOPE_INLINE,
                  "the others are few, and a request looks at few places");
    ask_for(&x.t, UNR_CANCEL_ALL);
    for (unsigned i = 0; i < LEFT; i++)
        unr_sim_check(many[first + i].heard == UNR_CANCEL_ALL, "the request reaches the others");
    unr_scope_close(&x.scope);
    run_to_the_end(x.t.loop);
    unr_sim_check(x.runs == MANY, "each done once");
    end_trial(&x.t, many, MANY);
}

/* ---- joins ---- */

enum { JOINS = 3 };

struct joined {
    struct trial     t; /* of what is joined, or the group that it is in */
    struct leaf      leaf;
    struct unr_group group;
    struct unr_join  joins[JOINS];
    unsigned         runs[JOINS], done_in[JOINS]; /* turn */
    unsigned         ends;                        /* how many joins had ended before */
};

static void join_done(struct unr_op *op)
{
    struct joined *j = op->data;
    unsigned       i = 0;
    while (&j->joins[i].op != op)
        i++;
    j->runs[i]++;
    j->done_in[i] = turn_number;
    unr_sim_check(op->result.requested || !unr_in_flight(&j->leaf.op), "what is joined has ended");
}

/* Joins of one read, which is outermost or a member, some of them cancelled, in any order and at
 * any point: what is joined does not notice, nor do the others. */
static void joins(const struct scenario *scenario)
{
    static const unsigned char orders[6][JOINS] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                                    { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    struct joined              j = { .t.loop = NULL };
    bool                       member = scenario->parameter;
    unsigned                   choice = unr_sim_choose(6 * (JOINS + 1) * 3 * 2);
    const unsigned char       *order = orders[pick(&choice, 6)];
    unsigned                   cancelled = pick(&choice, JOINS + 1), turns = pick(&choice, 3);
    bool                       idle = pick(&choice, 2);
    begin(&j.t, LAST, UNR_CANCEL_ALL);
    struct unr_op *leaf = describe_leaf(&j.leaf, READS, &j.t);
    start_trial(&j.t, member ? unr_all(&j.group, &leaf, 1) : leaf);
    for (int i = 0; i < JOINS; i++)
        unr_start(j.t.loop, unr_join(&j.joins[i], leaf), join_done, &j);
    for (unsigned i = 0; i < turns; i++)
        one_turn(j.t.loop, 0);
    bool told[JOINS] = { false };
    for (unsigned i = 0; i < cancelled; i++) {
        bool in_flight = unr_in_flight(leaf);
        told[order[i]] = unr_cancel_cause(&j.joins[order[i]].op, UNR_CANCEL_TOTAL, -8);
        unr_sim_check(unr_in_flight(leaf) == in_flight && leaf->result.requested == 0,
                      "only the wait is cancelled");
    }
    if (turns == 2)
        one_turn(j.t.loop, 0);
    if (unr_in_flight(leaf))
        ask_for(&j.t, UNR_CANCEL_TOTAL);
    run_to_the_end(j.t.loop);
    unr_sim_check(j.t.runs == 1, "what is joined ends once, as if nobody had waited");
    unr_sim_check(leaf->result.cause == (j.t.requested ? CAUSE : 0),
                  "asked only what it was asked");
    for (int i = 0; i < JOINS; i++) {
        const struct unr_result *r = &j.joins[i].op.result;
        unr_sim_check(j.runs[i] == 1, "each done once");
        check_truth(&j.joins[i].op);
        if (told[i]) {
            unr_sim_check(r->error == -ECANCELED && r->cause == -8
                              && r->guarantee == UNR_CANCEL_TOTAL,
                          "it was cancelled");
            continue;
        }
        unr_sim_check(r->error == leaf->result.error && r->bytes == leaf->result.bytes
                          && r->cause == leaf->result.cause && r->verdict == leaf->result.verdict,
                      "a join ends with the result of what is joined");
        unr_sim_check(j.done_in[i] == j.t.done_in, "and in its turn");
    }
    if (idle) {
        unr_start(j.t.loop, unr_join(&j.joins[0], leaf), join_done, &j);
        run_to_the_end(j.t.loop);
        unr_sim_check(j.runs[0] == 2 && j.joins[0].op.result.error == leaf->result.error,
                      "what is idle is read");
    }
    end_trial(&j.t, &j.leaf, 1);
}

/* ---- all at once, in each other ---- */

struct everything {
    struct unr_compose  compose;
    struct trial        t;
    struct leaf         leaves[4];
    struct unr_group    group;
    struct unr_deadline deadline;
    struct unr_filter   filter;
    struct unr_delay    delay;
    struct unr_op       closer;
    int                 fds[2];
    unsigned            steps;
    int                 error;
};

static void everything_step(struct unr_compose *compose, struct unr_op *finished)
{
    struct everything *e = unr_container_of(compose, struct everything, compose);
    struct unr_op     *members[2];
    if (finished && finished->result.error && !e->error)
        e->error = finished->result.error;
    switch (e->steps++) {
    case 0:
        members[0] =
            unr_cancel_after(&e->deadline, describe_leaf(&e->leaves[0], READS, &e->t), UNR_MSEC(1));
        members[1] = unr_filter(&e->filter, describe_leaf(&e->leaves[1], WAITS, &e->t),
                                total_is_partial, NULL);
        unr_compose_next(compose, unr_any(&e->group, members, 2));
        break;
    case 1:
        unr_compose_next(
            compose, unr_delay(&e->delay, describe_leaf(&e->leaves[2], NOP, &e->t), UNR_MSEC(1)));
        break;
    case 2: unr_compose_next(compose, unr_close(&e->closer, e->fds[0])); break;
    default: unr_compose_end(compose, e->error);
    }
}

/* A composed operation of a group of a deadline and a filter, then a delay, then a close; the loop
 * may be closed under it. */
static void everything(const struct scenario *scenario)
{
    struct everything e = { .steps = 0 };
    unsigned      choice = unr_sim_choose((WHENS - 1) * MASKS * 2), when = pick(&choice, WHENS - 1);
    unsigned      types = masks[pick(&choice, MASKS)];
    unsigned char byte;
    (void)scenario;
    begin(&e.t, when, types);
    unr_sim_socketpair(e.fds, 0);
    for (int i = 0; i < 3; i++)
        e.leaves[i].fds[0] = e.leaves[i].fds[1] = -1;
    start_trial(&e.t, unr_compose(&e.compose, "everything", UNR_CANCEL_PARTIAL, everything_step));
    ask_on_the_way(&e.t, UNR_MSEC(1));
    bool closes = choice;
    if (closes) {
        unr_sim_check(unr_loop_close(e.t.loop) == 0, "the loop closes");
        e.t.loop = NULL;
    } else {
        if (unr_in_flight(e.t.root))
            ask_for(&e.t, UNR_CANCEL_ALL);
        run_to_the_end(e.t.loop);
    }
    const struct unr_result *r = &e.compose.op.result;
    unr_sim_check(e.t.runs == 1, "each done once");
    if (r->verdict == UNR_VERDICT_UNSUBMITTED) {
        unr_sim_check(e.steps == 0, "what never began has not run a step");
        unr_sim_close(e.fds[0]);
    } else {
        unr_sim_check(e.steps == 4 && e.closer.result.error == 0,
                      "clean-up runs, whatever was asked");
        unr_sim_check(r->error == e.error, "it ends as its last step says");
    }
    unr_sim_check(unr_sim_read(e.fds[1], &byte, 1) == 0, "it was closed");
    end_trial(&e.t, e.leaves, 3);
    unr_sim_close(e.fds[1]);
}

struct in_order {
    struct trial        t;
    struct leaf         leaves[2];
    struct unr_filter   filter;
    struct unr_deadline deadline;
};

static void ended_behind(struct unr_op *op)
{
    struct in_order *x = op->data;
    unr_sim_check(x->t.runs == 1, "what held the first that ended comes before the second");
}

/* Two end at once, the first of them deep inside: all around it is handed back before the
 * second. */
static void in_order(const struct scenario *scenario)
{
    struct in_order x = { .t.loop = NULL };
    (void)scenario;
    begin(&x.t, LAST, 0);
    struct unr_op *inner =
        unr_filter(&x.filter, describe_leaf(&x.leaves[0], EMITS, &x.t), unr_let_total, NULL);
    start_trial(&x.t, unr_cancel_after(&x.deadline, inner, UNR_SEC(1)));
    unr_start(x.t.loop, describe_leaf(&x.leaves[1], EMITS, &x.t), ended_behind, &x);
    run_to_the_end(x.t.loop);
    end_trial(&x.t, x.leaves, 2);
}

/* ---- any of them in any other ---- */

enum { NODES = 24, TREE_JOINS = 3, TREE_TURNS = 6, TREES = 60000 };
enum node_kind { LEAF, DEADLINE, DELAY, FILTER, GROUP_OF_TWO, SEQUENCE, NODE_KINDS };

struct node {
    struct unr_compose compose; /* SEQUENCE */
    enum node_kind     kind;
    struct unr_op     *op;
    struct node       *children[2];
    unsigned           steps;
    int                error;
    union {
        struct leaf         leaf;
        struct unr_deadline deadline;
        struct unr_delay    delay;
        struct unr_filter   filter;
        struct unr_group    group;
    };
};

struct tree {
    struct trial    t;
    uint64_t        random;
    struct node     nodes[NODES];
    unsigned        count, join_count;
    struct unr_join joins[TREE_JOINS];
    int             join_runs;
};

/* The shape of a tree is one choice, so that it can be replayed. */
static unsigned draw(struct tree *tree, unsigned of)
{
    tree->random = tree->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(tree->random >> 33) % of;
}

static void check_ended(const struct node *node)
{
    unr_sim_check(!unr_in_flight(node->op), "whatever it held ends before it");
    for (int i = 0; i < 2; i++)
        if (node->children[i])
            check_ended(node->children[i]);
}

/* One after another, whatever became of the first; the first error is its own. */
static void sequence_step(struct unr_compose *compose, struct unr_op *finished)
{
    struct node *node = unr_container_of(compose, struct node, compose);
    if (finished) {
        check_ended(node->children[node->steps - 1]);
        if (!node->error)
            node->error = finished->result.error;
    }
    if (node->steps == 2)
        unr_compose_end(compose, node->error);
    else
        unr_compose_next(compose, node->children[node->steps++]->op);
}

static struct node *plant(struct tree *tree, unsigned depth)
{
    static const enum kind leaves[] = { READS, WAITS, WAITS_ALL, NOP, TIMER, CLOSES, FAILS };
    static const unr_time  delays[] = { 0, UNR_MSEC(1), UNR_MSEC(2), UNR_NEVER };
    static unr_group_condition_fn *const conditions[] = { unr_wait_all, unr_wait_one,
                                                          unr_wait_one_success,
                                                          unr_wait_one_error };
    struct node                         *node = &tree->nodes[tree->count++];
    node->kind = depth ? (enum node_kind)draw(tree, NODE_KINDS) : LEAF;
    if (node->kind == LEAF) {
        node->op = describe_leaf(&node->leaf, leaves[draw(tree, sizeof leaves / sizeof *leaves)],
                                 &tree->t);
        return node;
    }
    for (int i = 0; i < (node->kind >= GROUP_OF_TWO ? 2 : 1); i++)
        node->children[i] = plant(tree, depth - 1);
    struct unr_op *inner = node->children[0]->op;
    switch (node->kind) {
    case DEADLINE:
        node->op = unr_cancel_after(&node->deadline, inner, delays[draw(tree, 4)]);
        break;
    case DELAY: node->op = unr_delay(&node->delay, inner, delays[draw(tree, 3)]); break;
    case FILTER:
        node->op = unr_filter(&node->filter, inner, out_filters[draw(tree, OUT_FILTERS)], NULL);
        break;
    case GROUP_OF_TWO: {
        struct unr_op *members[] = { inner, node->children[1]->op };
        node->op = unr_group(&node->group, members, 2, conditions[draw(tree, 4)], NULL);
        break;
    }
    default:
        node->op = unr_compose(&node->compose, "sequence", draw(tree, 8), sequence_step);
        break;
    }
    return node;
}

/* Asks the whole, or a part; waits for a part, or waits no more; moves a deadline. */
static void do_something(struct tree *tree)
{
    struct node *node = &tree->nodes[draw(tree, tree->count)];
    unsigned     types = 1 + draw(tree, 7);
    switch (draw(tree, 6)) {
    case 0: ask_for(&tree->t, types); break;
    case 1: unr_cancel_cause(node->op, types, -9); break;
    case 2:
        if (unr_in_flight(node->op) && tree->join_count < TREE_JOINS)
            unr_start(tree->t.loop, unr_join(&tree->joins[tree->join_count++], node->op), count_run,
                      &tree->join_runs);
        break;
    case 3: unr_cancel(&tree->joins[draw(tree, TREE_JOINS)].op, UNR_CANCEL_ALL); break;
    case 4:
        if (node->kind == DEADLINE)
            unr_deadline_move(&node->deadline,
                              draw(tree, 4) ? unr_loop_now(tree->t.loop) + UNR_MSEC(draw(tree, 3))
                                            : UNR_NEVER);
        break;
    default: break;
    }
}

static void end_node(struct node *node)
{
    const struct unr_result *r = &node->op->result;
    struct leaf             *l = &node->leaf;
    bool                     began = unr_loop_of(node->op) != NULL;
    if (node->kind == LEAF && began) {
        end_leaf(l);
    } else if (node->kind == LEAF) {
        for (int i = 0; i < 2; i++)
            if (l->fds[i] >= 0)
                unr_sim_close(l->fds[i]);
    } else if (began) {
        unr_sim_check(r->error <= 0 && r->error != -EIO, "no error that nobody asked for");
        unr_sim_check((r->error == -ECANCELED) == is_one_type(r->guarantee),
                      "a guarantee, of one type, exactly when it was cancelled");
        unr_sim_check(r->error != -ECANCELED || r->cause == CAUSE || r->cause == -9
                          || r->cause == -ETIMEDOUT || r->cause == -ESHUTDOWN
                          || r->cause == -ECANCELED,
                      "and a cause that somebody gave");
    }
    if (began && node->kind != LEAF && node->kind < GROUP_OF_TWO)
        unr_sim_check(r->error == node->children[0]->op->result.error,
                      "the result is that of what it held");
}

/* Trees of all of them, with requests, joins and moves at random; then the loop is closed.  Each
 * done runs once, everything has ended before what holds it, every byte is somewhere, what supports
 * NONE has run. */
static void trees(const struct scenario *scenario)
{
    struct tree tree = { .count = 0 };
    unsigned    choice = unr_sim_choose(TREES);
    (void)scenario;
    begin(&tree.t, LAST, UNR_CANCEL_ALL);
    tree.random = choice * 0x9e3779b97f4a7c15u;
    if (draw(&tree, 4) == 0)
        tree.t.when = LATCHED;
    struct node *root = plant(&tree, 3);
    start_trial(&tree.t, root->op);
    for (int turns = 0; turns < TREE_TURNS; turns++) {
        do_something(&tree);
        if (unr_loop_in_flight(tree.t.loop))
            one_turn(tree.t.loop, UNR_MSEC(draw(&tree, 2)));
        if (tree.t.runs)
            check_ended(root);
    }
    unr_sim_check(unr_loop_close(tree.t.loop) == 0, "the loop closes");
    unr_sim_check(tree.t.runs == 1 && tree.join_runs == (int)tree.join_count, "each done once");
    check_ended(root);
    for (unsigned i = 0; i < tree.count; i++)
        end_node(&tree.nodes[i]);
}

/* ---- promises that are not kept yet: each of these fails as its entry in the table says; mended,
 * that goes ---- */

struct relenting {
    struct unr_compose compose;
    struct trial       t;
    struct leaf        leaves[2];
    unsigned           steps;
    bool               widens;
};

static void relenting_step(struct unr_compose *compose, struct unr_op *finished)
{
    struct relenting *x = unr_container_of(compose, struct relenting, compose);
    if (x->steps == 2) {
        unr_compose_end(compose, finished->result.error);
        return;
    }
    bool first = x->steps == 0, lets_none = first && !x->widens;
    unr_state_reset(unr_compose_state(compose), lets_none ? unr_let_none : unr_let_total, NULL,
                    NULL);
    unr_compose_next(compose, describe_leaf(&x->leaves[x->steps++], HEARS, &x->t));
}

enum { WRAPPERS = 4 };

static struct unr_op *wrap(unsigned wrapper, struct unr_deadline *deadline,
                           struct unr_filter *filter, struct unr_group *group, struct unr_op *inner)
{
    switch (wrapper) {
    case 1: return unr_cancel_after(deadline, inner, UNR_NEVER);
    case 2: return unr_filter(filter, inner, unr_let_total, NULL);
    case 3: return unr_all(group, &inner, 1);
    default: return inner;
    }
}

/* What a state refused may be asked again once it has been reset, through whatever is around it. */
static void asked_again_through(const struct scenario *scenario)
{
    struct relenting    x = { .steps = 0 };
    struct unr_deadline deadline = { .op = { .data = NULL } };
    struct unr_filter   filter = { .op = { .data = NULL } };
    struct unr_group    group = { .private_fields.first = NULL };
    (void)scenario;
    begin(&x.t, LAST, 0);
    struct unr_op *op = unr_compose(&x.compose, "relenting", UNR_CANCEL_ALL, relenting_step);
    start_trial(&x.t,
                wrap((unr_sim_choose(WRAPPERS) + 1) % WRAPPERS, &deadline, &filter, &group, op));
    ask_for(&x.t, UNR_CANCEL_ALL);
    unr_sim_check(unr_in_flight(&x.leaves[0].op) && !x.leaves[0].heard,
                  "its state lets nothing in");
    unr_finish(&x.leaves[0].op, 0);
    one_turn(x.t.loop, 0);
    ask_for(&x.t, UNR_CANCEL_ALL);
    unr_sim_check(x.leaves[1].heard == UNR_CANCEL_ALL, "after a reset it can be asked again");
    run_to_the_end(x.t.loop);
    end_trial(&x.t, x.leaves, 2);
}

/* What a state has come to let in is honoured, through whatever is around it. */
static void wider_through(const struct scenario *scenario)
{
    struct relenting    x = { .steps = 1, .widens = true };
    struct unr_deadline deadline = { .op = { .data = NULL } };
    struct unr_filter   filter = { .op = { .data = NULL } };
    struct unr_group    group = { .private_fields.first = NULL };
    (void)scenario;
    begin(&x.t, LAST, 0);
    struct unr_op *op = unr_compose(&x.compose, "widening", UNR_CANCEL_TERMINAL, relenting_step);
    start_trial(&x.t,
                wrap((unr_sim_choose(WRAPPERS) + 1) % WRAPPERS, &deadline, &filter, &group, op));
    unr_sim_check(unr_supports(x.t.root) == UNR_CANCEL_ALL,
                  "what the state lets in now is supported");
    ask_for(&x.t, UNR_CANCEL_TOTAL);
    unr_sim_check(x.leaves[1].heard == UNR_CANCEL_TOTAL, "what the state lets in now is honoured");
    run_to_the_end(x.t.loop);
    end_trial(&x.t, x.leaves, 2);
}

/* Two requests with causes of their own; only the second is honoured by the member that it ends. */
static void second_cause_of_a_group(const struct scenario *scenario)
{
    struct grouped g = { .n = 2 };
    (void)scenario;
    begin(&g.t, LAST, 0);
    g.members[0] = describe_leaf(&g.leaves[0], TIMER, &g.t);
    g.members[1] = describe_leaf(&g.leaves[1], WAITS_ALL, &g.t);
    start_trial(&g.t, unr_group(&g.group, g.members, 2, unr_wait_all, NULL));
    while (unr_in_flight(g.members[0]))
        one_turn(g.t.loop, UNR_NEVER);
    unr_cancel_cause(g.t.root, UNR_CANCEL_TOTAL, -7);
    unr_cancel_cause(g.t.root, UNR_CANCEL_TERMINAL, -8);
    run_to_the_end(g.t.loop);
    unr_sim_check(ended_by(g.members[1], -8), "the second request ended it");
    unr_sim_check(g.group.op.result.error == -ECANCELED && g.group.op.result.value == -1,
                  "the group says so");
    end_trial(&g.t, g.leaves, 2);
}

static void second_cause_of_a_scope(const struct scenario *scenario)
{
    struct trial     t;
    struct leaf      leaf;
    struct unr_scope scope = { .private_fields.members = NULL };
    int              runs = 0;
    (void)scenario;
    begin(&t, LAST, 0);
    start_trial(&t, unr_scope(&scope));
    unr_scope_start(&scope, describe_leaf(&leaf, WAITS_ALL, &t), count_run, &runs);
    unr_scope_close(&scope);
    unr_cancel_cause(t.root, UNR_CANCEL_TOTAL, -7);
    unr_cancel_cause(t.root, UNR_CANCEL_TERMINAL, -8);
    run_to_the_end(t.loop);
    unr_sim_check(ended_by(&leaf.op, -8), "the second request ended it");
    unr_sim_check(scope.op.result.error == -ECANCELED, "the scope says so");
    end_trial(&t, &leaf, 1);
}

/* A member times out on its own; the time-out of the group comes later, and ends nobody. */
static void same_cause_as_outside(const struct scenario *scenario)
{
    struct grouped      g = { .n = 2 };
    struct unr_deadline own = { .op = { .data = NULL } }, whole = { .op = { .data = NULL } };
    (void)scenario;
    begin(&g.t, LAST, 0);
    g.members[0] = unr_cancel_after(&own, describe_leaf(&g.leaves[0], WAITS, &g.t), UNR_MSEC(1));
    g.members[1] = describe_leaf(&g.leaves[1], HEARS, &g.t);
    g.leaves[1].stubborn = true;
    start_trial(
        &g.t,
        unr_cancel_after(&whole, unr_group(&g.group, g.members, 2, unr_wait_all, NULL), UNR_NEVER));
    while (unr_in_flight(g.members[0]))
        one_turn(g.t.loop, UNR_NEVER);
    unr_deadline_move(&whole, unr_loop_now(g.t.loop));
    while (!g.leaves[1].heard)
        one_turn(g.t.loop, UNR_NEVER);
    unr_finish(g.members[1], 0);
    run_to_the_end(g.t.loop);
    unr_sim_check(g.group.op.result.error == 0 && g.group.op.result.value == 1,
                  "the request from outside ended nobody");
    end_trial(&g.t, g.leaves, 2);
}

/* One member completed, the other never began. */
static void group_of_a_past_deadline(const struct scenario *scenario)
{
    struct grouped      g = { .n = 2 };
    struct unr_deadline past = { .op = { .data = NULL } };
    (void)scenario;
    begin(&g.t, LAST, 0);
    g.members[0] = describe_leaf(&g.leaves[0], EMITS, &g.t);
    g.members[1] = unr_cancel_after(&past, describe_leaf(&g.leaves[1], WAITS, &g.t), 0);
    start_trial(&g.t, unr_all(&g.group, g.members, 2));
    run_to_the_end(g.t.loop);
    unr_sim_check(g.members[0]->result.error == 0 && g.group.op.result.cause == -ETIMEDOUT,
                  "it times out");
    end_trial(&g.t, g.leaves, 2);
}

/* Asked before it began, a group of which one member honours that goes on with the other, after a
 * delay at once, and its deadline holds. */
static void latched_in_part(const struct scenario *scenario)
{
    struct grouped      g = { .n = 2 };
    struct unr_deadline deadline = { .op = { .data = NULL } };
    struct unr_delay    pause = { .op = { .data = NULL } };
    bool                delayed = scenario->parameter;
    begin(&g.t, LATCHED, UNR_CANCEL_TOTAL);
    g.members[0] = describe_leaf(&g.leaves[0], WAITS, &g.t);
    g.members[1] = describe_leaf(&g.leaves[1], WAITS_ALL, &g.t);
    struct unr_op *group = unr_group(&g.group, g.members, 2, unr_wait_all, NULL);
    start_trial(&g.t, delayed ? unr_delay(&pause, group, UNR_MSEC(1))
                              : unr_cancel_after(&deadline, group, UNR_MSEC(1)));
    one_turn(g.t.loop, 0);
    one_turn(g.t.loop, UNR_MSEC(2));
    if (delayed)
        ask_for(&g.t, UNR_CANCEL_ALL);
    for (int turns = 0; turns < TURNS_MAX && unr_in_flight(g.t.root); turns++)
        one_turn(g.t.loop, 0);
    unr_sim_check(!unr_in_flight(g.t.root), "a deadline holds for what was asked before it began");
    end_trial(&g.t, g.leaves, 2);
}

/* Two requests wait for it before it begins: those of its scope, and of its own slot. */
static void asked_twice_before_it_began(const struct scenario *scenario)
{
    struct grouped    g = { .n = 2 };
    struct unr_scope  scope = { .private_fields.members = NULL };
    struct unr_signal own = { .latches = false };
    int               runs = 0;
    bool              alone = scenario->parameter;
    begin(&g.t, LAST, 0);
    unr_signal_init_latched(&own);
    unr_signal_emit_cause(&own, UNR_CANCEL_TERMINAL, -8);
    start_trial(&g.t, unr_scope(&scope));
    ask_for(&g.t, UNR_CANCEL_TOTAL);
    g.members[0] = describe_leaf(&g.leaves[0], WAITS, &g.t);
    g.members[1] = describe_leaf(&g.leaves[1], WAITS_ALL, &g.t);
    struct unr_op *op = alone ? g.members[1] : unr_all(&g.group, g.members, 2);
    unr_scope_start(&scope, unr_bind_slot(op, unr_signal_slot(&own)), count_run, &runs);
    unr_scope_close(&scope);
    unr_sim_check(op->result.requested == (UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL),
                  "both are requested of it");
    unr_sim_check(g.members[1]->result.verdict == UNR_VERDICT_UNSUBMITTED, "and of each member");
    unr_sim_check(!alone || op->result.cause == -8, "the first that it honours is the cause");
    run_to_the_end(g.t.loop);
    end_trial(&g.t, g.leaves, 2);
}

/* One that was moved is no longer in line with those of its length: closing its loop does not go on
 * from it to who stood there, which by now may be another loop's. */
static void timer_moved_out_of_line(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop(), *other = open_small_loop();
    struct unr_timer first = { .deadline = 0 }, second = { .deadline = 0 };
    int              runs = 0;
    (void)scenario;
    unr_start(loop, unr_timer_after(&first, UNR_MSEC(5)), count_run, &runs);
    unr_start(loop, unr_timer_after(&second, UNR_MSEC(5)), count_run, &runs);
    unr_sim_check(unr_timer_move(&first, unr_loop_now(loop) + UNR_SEC(1)), "it waits");
    unr_cancel(&second.op, UNR_CANCEL_ALL);
    while (runs == 0)
        unr_loop_run_once(loop, UNR_NEVER);
    unr_start(other, unr_timer_after(&second, UNR_MSEC(5)), count_run, &runs);
    close_loop(loop);
    unr_sim_check(unr_in_flight(&second.op) && second.op.result.requested == 0,
                  "a timer of another loop is not touched");
    close_loop(other);
    unr_sim_check(runs == 3, "each done once");
}

#define GROUP(title, deviations, ...) GROUP_ON(0, "group/" title, deviations, __VA_ARGS__)
#define GROUP_ON(linux, title, deviations, ...)                                                    \
    {                                                                                              \
        .name = title, .run = group, .deviations_max = deviations, .linux_version = linux,         \
        .parameter = &(const struct members)                                                       \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

/* ---- the statistics ---- */

/* However deep a request goes, it counts once, and so does what became of it: by a deadline that is
 * past or becomes due, or made twice to a wrapper or to a group. */
static void counted_once(const struct scenario *scenario)
{
    enum { PAST, DUE, WRAPPER, GROUP, WAYS } way = (unsigned)unr_sim_choose(WAYS);
    struct unr_loop_options options = { .size = sizeof options };
    struct unr_loop        *loop;
    struct unr_op           recv[2] = { { 0 } }, *members[2], *op;
    struct unr_deadline     deadline = { 0 };
    struct unr_group        group = { 0 };
    struct unr_stats        s;
    unsigned char           bytes[2];
    uint64_t                asked = way == WRAPPER || way == GROUP ? 2 : 1;
    int                     fds[2], runs = 0;
    (void)scenario;
    unr_sim_check(unr_loop_open(&loop, &options) == 0, "the loop opens");
    unr_sim_socketpair(fds, 0);
    for (int i = 0; i < 2; i++)
        members[i] = unr_recv(&recv[i], fds[0], &bytes[i], 1, 0);
    if (way == GROUP)
        op = unr_all(&group, members, 2);
    else if (way == DUE)
        op = unr_cancel_after(&deadline, members[0], UNR_MSEC(1));
    else
        op = unr_cancel_at(&deadline, members[0], way == PAST ? 1 : UNR_NEVER);
    unr_start(loop, op, count_run, &runs);
    if (unr_sim_choose(2))
        one_turn(loop, 0);
    if (asked == 2) {
        unr_cancel(op, UNR_CANCEL_TOTAL);
        unr_cancel(op, UNR_CANCEL_TOTAL);
    }
    run_to_the_end(loop);
    unr_loop_stats(loop, &s, sizeof s);
    unr_sim_check(runs == 1, "it ends once");
    unr_sim_check(s.cancels_asked == asked, "each request counts once");
    unr_sim_check(s.cancels_added == asked - 1, "the second adds nothing");
    unr_sim_check(s.cancels_won + s.cancels_unsubmitted + s.cancels_too_late + s.cancels_running
                          + s.cancels_refused
                      == 1,
                  "one verdict counts");
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

static const struct scenario table[] = {
    { .name = "compose/read-write-close", .run = read_write_close },
    { .name = "compose/states", .run = states, .deviations_max = 1 },
    { .name = "deadline/around", .run = deadline },
    { .name = "deadline/tie", .run = deadline_tie },
    { .name = "deadline/moved", .run = deadline_moved, .deviations_max = 2 },
    { .name = "deadline/past", .run = deadline_past },
    { .name = "deadline/over", .run = deadline_over },
    { .name = "deadline/closed-in-line", .run = closed_in_line },
    { .name = "deadline/nested", .run = deadlines_nested },
    { .name = "deadline/of-a-step", .run = deadline_of_a_step },
    { .name = "delay/around", .run = delay },
    { .name = "delay/tie", .run = delay_tie },
    { .name = "delay/of-the-moody", .run = delay_of_the_moody },
    { .name = "filter/around", .run = filtered },
    GROUP("all-wait-read-nop", 0, unr_wait_all, { READS, NOP }, 2),
    GROUP("all-wait-emits", 0, unr_wait_all, { EMITS, WAITS, CLOSES }, 3),
    GROUP("one-read-wait", 0, unr_wait_one, { READS, WAITS }, 2),
    GROUP("one-in-part", 3, unr_wait_one, { WAITS, WAITS_ALL }, 2),
    GROUP("one-emits", 0, unr_wait_one, { READS, EMITS, WAITS_ALL }, 3),
    GROUP("one-success-fails", 0, unr_wait_one_success, { FAILS, READS }, 2),
    GROUP("one-success-wait", 0, unr_wait_one_success, { READS, WAITS_ALL }, 2),
    GROUP("one-success-reads", 0, unr_wait_one_success, { READS, READS }, 2),
    GROUP_ON(601, "older/group-last-first", 4, unr_wait_one_success, { READS, READS }, 2),
    GROUP("one-error-fails", 0, unr_wait_one_error, { WAITS, FAILS, READS }, 3),
    GROUP("one-error-reads", 0, unr_wait_one_error, { READS, READS }, 2),
    GROUP("one-error-emits", 0, unr_wait_one_error, { EMITS, NOP, READS }, 3),
    GROUP("one-error-closes", 0, unr_wait_one_error, { FAILS, CLOSES, WAITS }, 3),
    GROUP("custom", 7, more_each_time, { READS, NOP, WAITS_ALL }, 3),
    GROUP("custom-of-one", 0, more_each_time, { NOP }, 1),
    GROUP("custom-closes", 0, more_each_time, { NOP, WAITS, CLOSES }, 3),
    { .name = "group/escalates", .run = group_escalates, .deviations_max = 1 },
    { .name = "group/nested", .run = group_nested, .deviations_max = 6 },
    { .name = "group/of-deadlines", .run = group_of_deadlines },
    { .name = "group/of-none", .run = group_of_none },
    { .name = "group/of-the-moody", .run = group_of_the_moody },
    { .name = "group/own-cause-latched", .run = latched_in_group },
    { .name = "group/newest-first", .run = group_newest_first },
    { .name = "scope/cancelled-and-closed", .run = scope, .deviations_max = 6 },
    { .name = "scope/nested", .run = scope, .deviations_max = 5, .parameter = "nested" },
    { .name = "scope/closed-in-its-last", .run = last_in_scope },
    { .name = "scope/of-a-closing-loop", .run = last_in_scope, .parameter = "closing" },
    { .name = "scope/own-cause", .run = own_cause_in_scope },
    { .name = "scope/own-cause-latched", .run = latched_in_scope },
    { .name = "scope/grows", .run = scope_grows },
    { .name = "scope/shrinks", .run = scope_shrinks },
    { .name = "join/several", .run = joins },
    { .name = "join/several-of-a-member", .run = joins, .parameter = "member" },
    { .name = "combined/counted-once", .run = counted_once },
    { .name = "combined/everything", .run = everything },
    { .name = "combined/in-order", .run = in_order },
    { .name = "combined/trees", .run = trees, .deviations_max = 2 },
    { .name = "promise/asked-again-through", .run = asked_again_through },
    { .name = "promise/wider-through", .run = wider_through },
    { .name = "promise/second-cause-of-a-group", .run = second_cause_of_a_group },
    { .name = "promise/second-cause-of-a-scope", .run = second_cause_of_a_scope },
    { .name = "promise/same-cause-as-outside", .run = same_cause_as_outside },
    { .name = "promise/group-of-a-past-deadline", .run = group_of_a_past_deadline },
    { .name = "promise/deadline-latched-in-part", .run = latched_in_part },
    { .name = "promise/delay-latched-in-part", .run = latched_in_part, .parameter = "delay" },
    { .name = "promise/asked-twice-before-it-began", .run = asked_twice_before_it_began },
    { .name = "promise/one-asked-twice-before-it-began",
      .run = asked_twice_before_it_began,
      .parameter = "alone" },
    { .name = "promise/timer-moved-out-of-line", .run = timer_moved_out_of_line },
    { .name = NULL },
};

const struct scenario *scenarios_combinators_table(void)
{
    return table;
}
