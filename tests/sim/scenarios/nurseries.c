/* SPDX-License-Identifier: MIT */
/* Nurseries whose children and body end, fail, clean up and spawn in every order, beside somebody
 * who asks; and generators whose consumer is asked.  What a nursery's close says is compared with
 * the rules, written down a second time. */
#include "scenario.h"

#include <errno.h>

enum { CHILDREN = 2, BODY = CHILDREN, ASKER, PARTIES, LATE = PARTIES, TURNS_MAX = 100 };
enum { OUTSIDE = -7, OWN = -8, FAILURE = -20 /* of the first child; the next one's is below */ };

/* How a child or the body ends, when its byte has come or its wait was cancelled. */
enum kind {
    ENDS,
    FAILS, /* unless it was cancelled */
    CLEANS_UP /* and fails then */,
    SPAWNS, /* one more child */
    KINDS
};

enum ask { NOBODY, FROM_OUTSIDE, BY_ITSELF, ON_PURPOSE, BY_DEADLINE, CLOSES, ASKS };

struct party {
    struct garden *garden;
    enum kind      kind;
    unsigned       index;
    int            fds[2]; /* [1] is another process's */
    char           byte;
    int            began, ended;
};

struct garden {
    struct unr_loop   *loop;
    struct unr_fiber   fiber;
    struct unr_nursery nursery;
    struct unr_op      ask_op;
    struct party       parties[PARTIES + 1];
    enum ask           ask;
    unsigned           flags, turn, spawned;
    bool               is_open, closes, closed_loop;
    int                runs, closed;
    /* The model. */
    int      first, own; /* the first error, and the first cause of the nursery's own */
    unsigned first_turn;
    int      rival; /* an error in the turn of the first */
    bool     asked_outside, cancelled;
};

static void writes(void *party)
{
    struct party *p = party;
    if (p->fds[1] >= 0)
        unr_sim_write(p->fds[1], "x", 1);
}

/* ---- the model: the first error wins, in order of time ---- */

static void model_end(struct garden *g, int error, bool counts)
{
    const struct unr_cancel_state *state = unr_fiber_state();
    if (error >= 0)
        return;
    if (error == -ECANCELED || error == -ESHUTDOWN
        || (unr_state_cancelled(state) && error == unr_state_cause(state))) {
        g->cancelled = true;
        return;
    }
    if (!counts)
        return;
    if (!g->first) {
        g->first = error;
        g->first_turn = g->turn;
    } else if (g->turn == g->first_turn && !g->rival) {
        g->rival = error;
    }
}

static int model_closed(const struct garden *g)
{
    if (g->first)
        return g->first;
    if (!g->cancelled)
        return 0;
    if (g->asked_outside || g->closed_loop)
        return -ECANCELED;
    return g->own == -ECANCELED ? 0 : g->own;
}

/* ---- what runs ---- */

static int child_runs(void *party);

static void spawn(struct garden *g, unsigned i)
{
    struct party *p = &g->parties[i];
    int           error = unr_nursery_spawn(&g->nursery, child_runs, p);
    unr_sim_check(error == 0 || is_shortage(error), "spawned, unless there is no memory");
    unr_sim_check(p->began == 0, "it does not begin inside");
    g->spawned += error == 0;
}

static int wait_and_end(struct party *p)
{
    struct garden *g = p->garden;
    struct unr_op  op = { 0 };
    int64_t        n =
        p->index == LATE ? unr_yield() : unr_await_value(unr_recv(&op, p->fds[0], &p->byte, 1, 0));
    int error = n < 0 ? (int)n : 0;
    int failure = FAILURE - (int)p->index;
    if (p->kind == FAILS && !error)
        error = failure;
    if (p->kind == CLEANS_UP && error)
        error = failure;
    if (p->kind == SPAWNS)
        spawn(g, LATE);
    return error;
}

static int child_runs(void *party)
{
    struct party  *p = party;
    struct garden *g = p->garden;
    p->began++;
    unr_sim_check(g->is_open, "a child runs while its nursery is open");
    int error = wait_and_end(p);
    unr_sim_check(g->is_open, "to its end");
    p->ended++;
    model_end(g, error, !(g->flags & UNR_NURSERY_INDEPENDENT));
    return error;
}

static int body_runs(void *garden)
{
    struct garden *g = garden;
    struct party  *body = &g->parties[BODY];
    unr_nursery_open(&g->nursery, g->flags);
    g->is_open = true;
    for (unsigned i = 0; i < CHILDREN; i++)
        spawn(g, i);
    int error = wait_and_end(body);
    model_end(g, error, true);
    g->closed = unr_nursery_close(&g->nursery, error);
    g->is_open = false;
    unsigned ended = 0;
    for (unsigned i = 0; i <= PARTIES; i++)
        ended += (unsigned)g->parties[i].ended;
    unr_sim_check(ended == g->spawned, "all children have ended, each once");
    unr_sim_check(unr_nursery_children(&g->nursery) == 0, "and are counted off");
    if (g->ask == BY_DEADLINE)
        g->own = unr_cancel_scope_cause(unr_nursery_scope(&g->nursery));
    int expected = model_closed(g);
    unr_sim_check(g->closed == expected || (g->rival && g->closed == g->rival),
                  "the first error, or whose cancellation it was");
    unr_sim_check(!unr_nursery_cancel(&g->nursery, UNR_CANCEL_ALL, OWN), "nobody asks it later");
    outcome("closed with %d", g->closed);
    return g->closed;
}

/* ---- who asks ---- */

static void ask(struct unr_op *op)
{
    struct garden *g = op->data;
    if (op->result.error)
        return;
    switch (g->ask) {
    case FROM_OUTSIDE:
        if (unr_cancel_cause(&g->fiber.op, UNR_CANCEL_TERMINAL, OUTSIDE))
            g->asked_outside = true;
        break;
    case BY_ITSELF:
    case ON_PURPOSE: {
        int cause = g->ask == BY_ITSELF ? OWN : -ECANCELED;
        if (g->is_open && unr_nursery_cancel(&g->nursery, UNR_CANCEL_ALL, cause) && !g->own)
            g->own = cause;
        break;
    }
    case BY_DEADLINE:
        if (g->is_open)
            unr_cancel_scope_move(unr_nursery_scope(&g->nursery), 1); /* it has passed */
        break;
    case CLOSES: g->closes = true; break;
    default: break;
    }
}

static void nursery(const struct scenario *scenario)
{
    struct garden g = { .loop = open_small_loop() };
    unsigned      choice = unr_sim_choose(KINDS * KINDS * 3 * 2 * ASKS);
    (void)scenario;
    for (unsigned i = 0; i <= PARTIES; i++) {
        g.parties[i] = (struct party){ .garden = &g, .index = i, .fds = { -1, -1 } };
        if (i < PARTIES)
            unr_sim_socketpair(g.parties[i].fds, 0);
    }
    g.parties[0].kind = choice % KINDS;
    choice /= KINDS;
    g.parties[1].kind = choice % (KINDS - 1); /* only one spawns */
    choice /= KINDS;
    g.parties[BODY].kind = choice % 3;
    choice /= 3;
    g.flags = choice % 2 ? UNR_NURSERY_INDEPENDENT : 0;
    g.ask = choice / 2;
    for (unsigned i = 0; i < PARTIES; i++)
        unr_sim_later(writes, &g.parties[i]);
    unr_start(g.loop, unr_fiber(&g.fiber, body_runs, &g), NULL, NULL);
    unr_start(g.loop, unr_recv(&g.ask_op, g.parties[ASKER].fds[0], &g.parties[ASKER].byte, 1, 0),
              ask, &g);
    while (unr_loop_in_flight(g.loop) && !g.closes) {
        unr_sim_check(g.turn++ < TURNS_MAX, "it ends within a hundred turns");
        unr_sim_check(unr_loop_run_once(g.loop, UNR_NEVER) >= 0, "a turn");
    }
    g.closed_loop = unr_loop_in_flight(g.loop);
    close_loop(g.loop);
    unr_sim_check(!g.is_open, "the nursery was closed");
    unr_sim_check(!unr_in_flight(&g.fiber.op), "and its fiber has ended");
    for (unsigned i = 0; i < PARTIES; i++) {
        unr_sim_close(g.parties[i].fds[0]);
        unr_sim_close(g.parties[i].fds[1]);
        g.parties[i].fds[1] = -1;
    }
}

/* ---- generators ---- */

enum { VALUES = 3 };

struct mill {
    struct unr_loop         *loop;
    struct unr_fiber         consumer;
    struct unr_generator     generator;
    struct unr_op            ask_op, op;
    int                      fds[2], ask_fds[2];
    struct unr_cancel_scope *scope; /* that the generator is in, NULL: in none */
    enum ask                 ask;
    bool                     in_scope, ends_it, closes;
    int                      began, unwound, received, got;
    char                     byte, ask_byte;
    unsigned                 written;
};

static void mill_writes(void *mill)
{
    struct mill *m = mill;
    if (m->fds[1] < 0)
        return;
    unr_sim_write(m->fds[1], "x", 1);
    if (++m->written < VALUES)
        unr_sim_later(mill_writes, m);
}

static void mill_asks(void *mill)
{
    struct mill *m = mill;
    if (m->ask_fds[1] >= 0)
        unr_sim_write(m->ask_fds[1], "x", 1);
}

static int mills(void *mill)
{
    struct mill            *m = mill;
    struct unr_cancel_scope scope;
    int                     error = 0;
    m->began++;
    if (m->in_scope) {
        unr_cancel_scope_enter(&scope);
        m->scope = &scope;
    }
    while (!error) {
        struct unr_result r = unr_await(unr_recv(&m->op, m->fds[0], &m->byte, 1, 0));
        error = unr_outcome(&r);
        if (error)
            break;
        m->received++;
        int value = m->received;
        error = unr_generator_yield(&value, NULL);
        value = -1;
    }
    m->scope = NULL;
    if (m->in_scope)
        error = unr_cancel_scope_leave(&scope, error);
    m->unwound++;
    return error;
}

static int consumes(void *mill)
{
    struct mill *m = mill;
    for (int i = 0; i < VALUES; i++) {
        void             *value = NULL;
        struct unr_result r = unr_await(unr_generator_next(&m->generator, NULL, &value));
        if (r.error || !r.value)
            break;
        m->got++;
        unr_sim_check(*(int *)value == m->received, "the value of this resumption");
        unr_sim_check(m->in_scope || m->received == m->got, "each value once, in order");
    }
    if (m->ends_it)
        unr_sim_check(unr_await(unr_generator_end(&m->generator)).error == 0, "it ends");
    unr_sim_check(!m->ends_it || m->unwound == m->began, "and has unwound by then");
    return 0;
}

static void mill_asked(struct unr_op *op)
{
    struct mill *m = op->data;
    if (op->result.error)
        return;
    switch (m->ask) {
    case FROM_OUTSIDE: unr_cancel_cause(&m->consumer.op, UNR_CANCEL_TERMINAL, OUTSIDE); break;
    case BY_DEADLINE:
        if (m->scope)
            unr_cancel_scope_move(m->scope, 1);
        break;
    case CLOSES: m->closes = true; break;
    default: break;
    }
}

static void generator(const struct scenario *scenario)
{
    struct mill           m = { .loop = open_small_loop() };
    static const enum ask asks[] = { NOBODY, FROM_OUTSIDE, BY_DEADLINE, CLOSES };
    unsigned              choice = unr_sim_choose(16);
    (void)scenario;
    m.in_scope = choice & 1;
    m.ends_it = choice & 2;
    m.ask = asks[choice / 4];
    unr_sim_socketpair(m.fds, 0);
    unr_sim_socketpair(m.ask_fds, 0);
    unr_sim_later(mill_writes, &m);
    unr_sim_later(mill_asks, &m);
    unr_generator_init(&m.generator, mills, &m);
    unr_start(m.loop, unr_fiber(&m.consumer, consumes, &m), NULL, NULL);
    unr_start(m.loop, unr_recv(&m.ask_op, m.ask_fds[0], &m.ask_byte, 1, 0), mill_asked, &m);
    for (int turns = 0; unr_loop_in_flight(m.loop) && !m.closes; turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within a hundred turns");
        unr_sim_check(unr_loop_run_once(m.loop, UNR_NEVER) >= 0, "a turn");
    }
    close_loop(m.loop);
    unr_sim_check(m.unwound == m.began && m.began <= 1, "the function has returned, once");
    unr_sim_check(m.got <= m.received && (m.in_scope || m.received - m.got <= 1),
                  "no value twice, and none lost that somebody asked for");
    outcome("%d values", m.got);
    unr_sim_close(m.fds[0]);
    unr_sim_close(m.fds[1]);
    unr_sim_close(m.ask_fds[0]);
    unr_sim_close(m.ask_fds[1]);
    m.fds[1] = m.ask_fds[1] = -1;
}

/* TABLE */
const struct scenario *scenarios_nurseries_table(void)
{
    static const struct scenario table[] = {
        { .name = "nurseries/every-order", .run = nursery, .deviations_max = 3 },
        { .name = "nurseries/no-memory",
          .run = nursery,
          .faults = UNR_FAULT_RESOURCES,
          .deviations_max = 2 },
        { .name = "generators/consumer-asked", .run = generator, .deviations_max = 5 },
        { .name = "generators/no-memory",
          .run = generator,
          .faults = UNR_FAULT_RESOURCES,
          .deviations_max = 3 },
        { .name = NULL },
    };
    return table;
}
