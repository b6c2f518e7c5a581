/* SPDX-License-Identifier: MIT */
/* Work on other threads, which is asked to end in every order of asking, returning and closing; and
 * the order in which the pieces of a queue begin. */
#include "scenario.h"

#include <errno.h>
#include <stdatomic.h>

enum { PARTIES = 2, TURNS_MAX = 30, RESULT = 7, LOOKS = 200 };

/* How the function answers a request. */
enum answer { PASSES_OVER, SAYS_CANCELLED, SAYS_THE_CAUSE, GIVES_UP_UNASKED, ANSWERS };

/* What asks. */
enum ask { NOBODY, TERMINAL, TOTAL_ALONE, BOTH, ASKS };

enum { CAUSE = -40 };

struct errand {
    struct unr_work     work;
    struct unr_deadline deadline;
    struct unr_op      *op;
    enum answer         answer;
    bool                may_be_abandoned;
    int                 ran, runs; /* the function; `done` */
    int                 disposed;  /* 0; 1: before `done`; 2: by the thread */
    bool                told;      /* its function was */
};

struct office {
    struct unr_loop *loop;
    struct unr_op    read;
    char             byte;
    int              fds[2]; /* [1] is another process's */
    enum ask         ask;
    struct errand    errands[PARTIES];
};

static int answers(void *argument)
{
    struct errand *e = argument;
    bool           asked = false;
    unr_sim_check(e->runs == 0 || e->may_be_abandoned, "nothing runs behind its `done`");
    e->ran++;
    for (int i = 0; i < LOOKS && !asked; i++)
        asked = unr_work_cancelled();
    e->told = asked;
    if (e->answer == GIVES_UP_UNASKED || (asked && e->answer == SAYS_CANCELLED))
        return -ECANCELED;
    return asked && e->answer == SAYS_THE_CAUSE ? CAUSE : RESULT;
}

static void dispose(void *argument)
{
    struct errand *e = argument;
    unr_sim_check(e->disposed == 0, "disposed of once");
    e->disposed = unr_work_cancelled() ? 2 : 1;
}

static void done(struct unr_op *op)
{
    struct errand *e = op->data;
    e->runs++;
    const struct unr_result *r = &op->result;
    if (r->error == -ECANCELED && r->verdict == UNR_VERDICT_CANCELLED && e->may_be_abandoned)
        unr_sim_check(r->guarantee == UNR_CANCEL_TERMINAL, "an abandoned function may do anything");
    else if (e->may_be_abandoned)
        unr_sim_check(e->disposed == 1, "disposed of right before its `done`");
}

static void on_read(struct unr_op *op)
{
    static const unsigned types[] = { 0, UNR_CANCEL_TERMINAL, UNR_CANCEL_TOTAL, UNR_CANCEL_TOTAL };
    struct office        *o = op->data;
    if (o->ask == NOBODY || op->result.error)
        return;
    for (int i = 0; i < PARTIES; i++) {
        if (!o->errands[i].op)
            continue;
        unr_cancel_cause(o->errands[i].op, types[o->ask], CAUSE);
        if (o->ask == BOTH)
            unr_cancel_cause(o->errands[i].op, UNR_CANCEL_TERMINAL, CAUSE);
    }
}

static void writes(void *office)
{
    struct office *o = office;
    if (o->fds[1] >= 0)
        unr_sim_write(o->fds[1], "x", 1);
}

/* The function has cancelled itself, and was not told of a request. */
static const char *verify_unasked(const struct errand *e, const struct office *o, bool other)
{
    const struct unr_result *r = &e->op->result;
    unr_sim_check(e->ran && !e->told && r->guarantee == UNR_CANCEL_TERMINAL
                      && r->cause == -ECANCELED,
                  "it was its own word");
    switch (r->verdict) {
    case UNR_VERDICT_RUNNING:
        unr_sim_check(o->ask == TOTAL_ALONE || o->ask == BOTH, "only these are not told of");
        return "unasked, running";
    case UNR_VERDICT_TOO_LATE:
        unr_sim_check(o->ask != NOBODY || other, "somebody asked");
        return "unasked, too late";
    default: unr_sim_check(r->verdict == UNR_VERDICT_NONE, "nobody asked"); return "unasked";
    }
}

/* Others than the reader may ask: the deadline, and the loop that is closed. */
static const char *verify_end(const struct errand *e, const struct office *o, bool other)
{
    const struct unr_result *r = &e->op->result;
    unr_sim_check(e->runs == 1, "its `done` has run once");
    unr_sim_check(e->disposed == (e->may_be_abandoned ? e->disposed : 0),
                  "its argument is its own");
    if (r->error == -EAGAIN) {
        unr_sim_check(!e->ran, "there was no thread");
        return "no thread";
    }
    if (e->answer == GIVES_UP_UNASKED && r->error == -ECANCELED
        && r->verdict != UNR_VERDICT_UNSUBMITTED && r->verdict != UNR_VERDICT_CANCELLED)
        return verify_unasked(e, o, other);
    unr_sim_check(r->error != -ECANCELED || r->cause == CAUSE || other, "why it was cancelled");
    switch (r->verdict) {
    case UNR_VERDICT_UNSUBMITTED:
        unr_sim_check(!e->ran && r->error == -ECANCELED && r->guarantee == UNR_CANCEL_TOTAL,
                      "its function never ran");
        return "unsubmitted";
    case UNR_VERDICT_CANCELLED:
        unr_sim_check(r->error == -ECANCELED && r->guarantee == UNR_CANCEL_TERMINAL && e->ran
                          && (o->ask != TOTAL_ALONE || other),
                      "its function has begun, and somebody accepted that");
        if (!e->may_be_abandoned && e->answer != GIVES_UP_UNASKED)
            unr_sim_check(e->told && e->answer != PASSES_OVER, "its function said so");
        unr_sim_check(!e->may_be_abandoned || e->disposed == 2, "the thread disposed of it");
        return "cancelled";
    case UNR_VERDICT_RUNNING:
        unr_sim_check((r->error == 0 && r->value == RESULT) || (r->error == CAUSE && other),
                      "it ran to its end");
        return "running";
    case UNR_VERDICT_TOO_LATE:
        unr_sim_check(r->error == 0 && r->value == RESULT && !e->told, "it had returned before");
        return "too late";
    default:
        unr_sim_check(r->verdict == UNR_VERDICT_NONE && r->error == 0 && r->value == RESULT,
                      "nobody asked");
        return "done";
    }
}

struct work_type {
    int      only; /* the plain one, or the one that may be abandoned; -1: both */
    enum ask ask;  /* ASKS: any */
};

static void run_work(const struct scenario *scenario)
{
    const struct work_type *type = scenario->parameter;
    struct office o = { .ask = type->ask == ASKS ? (enum ask)unr_sim_choose(ASKS) : type->ask };
    enum answer   answer = o.ask == NOBODY ? PASSES_OVER : (enum answer)unr_sim_choose(ANSWERS);
    bool          closes = unr_sim_choose(2),
         waits = (scenario->faults || scenario->sampled) && unr_sim_choose(2);
    const char *ends[PARTIES] = { "-", "-" };
    o.loop = open_small_loop();
    if (!o.loop)
        return;
    unr_sim_socketpair(o.fds, 0);
    unr_start(o.loop, unr_read(&o.read, o.fds[0], &o.byte, 1, -1), on_read, &o);
    unr_sim_later(writes, &o);
    for (int i = 0; i < PARTIES; i++) {
        struct errand *e = &o.errands[i];
        if (type->only >= 0 && i != type->only)
            continue;
        e->answer = answer;
        e->may_be_abandoned = i;
        e->op = i ? unr_work_abandonable(&e->work, answers, e, dispose)
                  : unr_work(&e->work, answers, e);
        if (waits)
            e->op = unr_cancel_after(&e->deadline, e->op, UNR_SEC(100));
        unr_start(o.loop, e->op, done, e);
    }
    for (unsigned turns = closes ? unr_sim_choose(3) : TURNS_MAX; turns; turns--)
        if (unr_loop_in_flight(o.loop))
            unr_sim_check(unr_loop_run_once(o.loop, UNR_NEVER) >= 0, "a turn");
    unr_sim_check(closes || !unr_loop_in_flight(o.loop), "it comes to an end");
    close_loop(o.loop);
    unr_sim_join_threads();
    unr_sim_close(o.fds[0]);
    unr_sim_close(o.fds[1]);
    o.fds[1] = -1;
    for (int i = 0; i < PARTIES; i++)
        if (o.errands[i].op)
            ends[i] = verify_end(&o.errands[i], &o, closes || waits);
    if (type->only >= 0) /* there are too many for a sample to have them all */
        outcome("%s, %s", ends[0], ends[1]);
}

/* ---- pieces that wait for a thread ---- */

enum { PIECES = 3 };

struct piece {
    struct unr_work work;
    struct queue   *queue;
    atomic_bool     is_over; /* it has returned, or does not count any more: it may never begin */
    int             dones;
};

struct queue {
    struct unr_op nop;
    atomic_uint   limit;
    int           cancels; /* which piece; -1: none */
    atomic_int    ran;
    char          order[PIECES + 1];
    struct piece  pieces[PIECES];
};

/* Those before it that are not over have a thread each, and the one that runs it is another. */
static int takes_its_turn(void *argument)
{
    struct piece *p = argument;
    struct queue *q = p->queue;
    unsigned      before = 0;
    for (const struct piece *each = q->pieces; each < p; each++)
        before += !each->is_over;
    unr_sim_check(before < q->limit, "those before it have begun, and run on other threads");
    q->order[q->ran++] = (char)('0' + (p - q->pieces));
    p->is_over = true;
    return RESULT;
}

static void count_end(struct unr_op *op)
{
    struct piece *p = op->data;
    p->dones++;
    unr_sim_check(p->is_over, "it has run, or was cancelled");
}

static void disturb(struct unr_op *op)
{
    struct queue *q = op->data;
    if (q->cancels >= 0) {
        q->pieces[q->cancels].is_over = true;
        unr_cancel(&q->pieces[q->cancels].work.op, UNR_CANCEL_TOTAL);
    } else {
        unr_work_limit(++q->limit);
    }
}

/* One is cancelled while it waits, runs or has run, or there is one thread more all at once. */
static void run_queue(const struct scenario *scenario)
{
    const unsigned  *limit = scenario->parameter;
    struct unr_loop *loop = open_small_loop();
    struct queue     q = { .limit = *limit, .cancels = (int)unr_sim_choose(PIECES + 1) - 1 };
    if (!loop)
        return;
    unr_work_limit(q.limit);
    for (int i = 0; i < PIECES; i++) {
        q.pieces[i].queue = &q;
        unr_start(loop, unr_work(&q.pieces[i].work, takes_its_turn, &q.pieces[i]), count_end,
                  &q.pieces[i]);
    }
    unr_start(loop, unr_nop(&q.nop), disturb, &q);
    unr_sim_check(unr_loop_run(loop) == 0, "it runs to its end");
    close_loop(loop);
    unr_work_limit(0);
    for (int i = 0; i < PIECES; i++)
        unr_sim_check(q.pieces[i].dones == 1, "its `done` has run once");
    outcome("%s", q.order);
}

#define WORK(title, ...)                                                                           \
    {                                                                                              \
        .name = title, .run = run_work, .parameter = &(const struct work_type)                     \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

static const struct scenario table[] = {
    WORK("work/nobody-asks", 0, NOBODY),
    WORK("work/terminal", 0, TERMINAL),
    WORK("work/total", 0, TOTAL_ALONE),
    WORK("work/total-then-terminal", 0, BOTH),
    WORK("work/abandonable", 1, NOBODY),
    WORK("work/abandoned", 1, TERMINAL),
    WORK("work/abandoned-total", 1, TOTAL_ALONE),
    WORK("work/abandoned-total-then-terminal", 1, BOTH),
    { .name = "work/queue", .run = run_queue, .parameter = &(const unsigned){ 1 } },
    { .name = "work/queue-of-two", .run = run_queue, .parameter = &(const unsigned){ 2 } },
    { .name = "work/without-memory",
      .run = run_work,
      .parameter = &(const struct work_type){ 1, ASKS },
      .faults = UNR_FAULT_RESOURCES,
      .deviations_max = 5 },
    { .name = "work/both",
      .run = run_work,
      .parameter = &(const struct work_type){ -1, ASKS },
      .sampled = true },
    { .name = NULL },
};

const struct scenario *scenarios_work_table(void)
{
    return table;
}
