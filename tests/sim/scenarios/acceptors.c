/* SPDX-License-Identifier: MIT */
/* Acceptors: each connection once and in order, whatever is cancelled, stopped or closed meanwhile,
 * and also where descriptors run out; nobody sleeps beside a connection. */
#include "scenario.h"

#include <errno.h>
#include <sys/socket.h>

enum { PORT = 7, CLIENTS = 3, ASKERS = 3, TURNS_MAX = 60, ENOUGH = 24 };

/* A listening socket and clients.  Each client says its number. */
struct hall {
    struct unr_loop    *loop;
    struct unr_acceptor acceptor;
    int                 listener;
    int                 clients[CLIENTS];
    unsigned            came, coming; /* clients: until now, and in all */
    bool                over;         /* nobody listens any more */

    struct unr_op askers[ASKERS], other;
    unsigned      runs[ASKERS];
    int           errors[ASKERS]; /* of those that ended without a connection */
    int           other_runs;
    unsigned      seen;   /* a bit for each client that was taken */
    int           latest; /* who was taken last */
    bool          in_order;
    bool          in_line; /* those who ask have come in the order of their places */
    unsigned      handed;  /* by a stop */
};

static void come(struct hall *h)
{
    char number = (char)('0' + h->came);
    int  fd = unr_sim_connect(PORT);
    if (fd == -ECONNREFUSED) /* the listening socket is closed, and the loop turns yet */
        return;
    unr_sim_check(fd >= 0, "there is room in the backlog");
    unr_sim_write(fd, &number, 1);
    h->clients[h->came++] = fd;
}

static void another_comes(void *context)
{
    struct hall *h = context;
    if (h->over || h->came == h->coming)
        return;
    come(h);
    if (h->came < h->coming)
        unr_sim_later(another_comes, h);
}

/* Who is at the other end of an accepted connection, which is closed. */
static void take(struct hall *h, int fd)
{
    char number = 0;
    unr_sim_check(unr_sim_read(fd, &number, 1) == 1, "a connection of a client's");
    int client = number - '0';
    unr_sim_check(!(h->seen >> client & 1), "each connection once");
    unr_sim_check(!h->in_order || client > h->latest, "in order");
    h->seen |= 1u << client;
    h->latest = client;
    unr_sim_close(fd);
}

static void count_run(struct unr_op *op)
{
    ++*(int *)op->data;
}

static void got(struct unr_op *op)
{
    struct hall             *h = op->data;
    const struct unr_result *r = &op->result;
    unsigned                 i = (unsigned)(op - h->askers);
    h->runs[i]++;
    h->errors[i] = r->error;
    if (r->error == 0) {
        unr_sim_check(!r->requested || r->verdict == UNR_VERDICT_TOO_LATE,
                      "who asked came too late");
        for (unsigned j = 0; h->in_line && j < i; j++)
            unr_sim_check(h->runs[j], "who came first is served first");
        take(h, r->fd);
        return;
    }
    unr_sim_check(r->fd == -1 && r->bytes == 0, "nothing was taken");
    if (r->error == -ECANCELED) {
        unr_sim_check(r->guarantee == UNR_CANCEL_TOTAL, "TOTAL");
        unr_sim_check(r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED,
                      "it was cancelled in user space");
    }
}

static void ask(struct hall *h, unsigned i)
{
    unr_start(h->loop, unr_accept_from(&h->askers[i], &h->acceptor), got, h);
}

static void open_hall(struct hall *h, unsigned parked)
{
    h->listener = unr_sim_listener(PORT, CLIENTS);
    h->latest = -1;
    h->in_order = true;
    if (!h->loop)
        h->loop = open_small_loop();
    unr_acceptor_init(&h->acceptor, h->loop, h->listener, parked, 0);
}

static void turn(struct hall *h)
{
    unr_sim_check(unr_loop_run_once(h->loop, UNR_NEVER) >= 0, "a turn");
}

/* A turn in which no time passes, also where nobody waits for anything. */
static void short_turn(struct hall *h)
{
    struct unr_op nop = { .data = NULL };
    int           runs = 0;
    unr_start(h->loop, unr_nop(&nop), count_run, &runs);
    while (!runs)
        unr_sim_check(unr_loop_run_once(h->loop, 0) >= 0, "a turn");
}

static void end_ask(struct hall *h, unsigned i)
{
    for (int turns = 0; unr_in_flight(&h->askers[i]); turns++) {
        unr_sim_check(turns < TURNS_MAX, "nobody sleeps beside a connection");
        turn(h);
    }
}

/* Closes the descriptor, or the loop with all that is there. */
static void close_listener(struct hall *h)
{
    int closed = 0;
    unr_start(h->loop, unr_cancel_close(&h->other, h->listener), count_run, &closed);
    for (int turns = 0; unr_in_flight(&h->other); turns++) {
        unr_sim_check(turns < TURNS_MAX, "it is closed");
        turn(h);
    }
    unr_sim_check(closed == 1 && h->other.result.error == 0, "closed");
}

static void close_clients(struct hall *h)
{
    h->over = true;
    for (unsigned i = 0; i < h->came; i++)
        unr_sim_close(h->clients[i]);
}

static void close_hall(struct hall *h)
{
    close_listener(h);
    close_loop(h->loop);
    close_clients(h);
}

/* All clients are taken, and whoever asks may be cancelled at any moment. */
static void each_once(const struct scenario *scenario)
{
    struct hall h = { .coming = CLIENTS };
    unsigned    cancels = scenario->faults ? 0 : 2;
    open_hall(&h, 1 + unr_sim_choose(2));
    unr_sim_later(another_comes, &h);
    while (h.seen != (1u << CLIENTS) - 1) {
        ask(&h, 0);
        for (int turns = 0; unr_in_flight(&h.askers[0]); turns++) {
            unr_sim_check(turns < TURNS_MAX, "nobody sleeps beside a connection");
            if (cancels && unr_sim_choose(2)) {
                cancels--;
                unr_cancel(&h.askers[0], UNR_CANCEL_ALL);
            }
            turn(&h);
        }
        unr_sim_check(!h.errors[0] || h.errors[0] == -ECANCELED, "no error");
    }
    outcome("all");
    close_hall(&h);
}

/* Several ask, one of them is cancelled: the others are served in the order in which they came. */
static void in_line(const struct scenario *scenario)
{
    struct hall h = { .coming = CLIENTS };
    (void)scenario;
    unsigned cancelled = unr_sim_choose(ASKERS + 1), turns = unr_sim_choose(3);
    open_hall(&h, 1 + unr_sim_choose(2));
    h.in_line = true;
    for (unsigned i = 0; i < ASKERS; i++)
        ask(&h, i);
    unr_sim_later(another_comes, &h);
    for (; turns; turns--)
        short_turn(&h);
    if (cancelled < ASKERS)
        unr_cancel(&h.askers[cancelled], UNR_CANCEL_ALL);
    for (unsigned i = 0; i < ASKERS; i++) {
        end_ask(&h, i);
        unr_sim_check(h.runs[i] == 1, "each done once");
        unr_sim_check(i == cancelled || h.errors[i] == 0, "served");
    }
    h.in_line = false;
    unsigned last = cancelled < ASKERS ? cancelled : 0;
    while (h.seen != (1u << CLIENTS) - 1) {
        ask(&h, last);
        end_ask(&h, last);
    }
    close_hall(&h);
}

/* Nobody asks: so many are taken, and the others stay in the backlog. */
static void not_asked(const struct scenario *scenario)
{
    struct hall h = { .coming = CLIENTS };
    unsigned    parked = 1 + unr_sim_choose(2), left = 0;
    (void)scenario;
    open_hall(&h, parked);
    for (unsigned i = 0; i < CLIENTS; i++)
        come(&h);
    for (int turns = 0; turns < ENOUGH; turns++)
        short_turn(&h);
    for (int fd; (fd = unr_sim_accept(h.listener)) >= 0; left++)
        unr_sim_close(fd);
    unr_sim_check(left == CLIENTS - parked, "the backlog stays");
    for (unsigned i = 0; i < parked; i++) {
        ask(&h, 0);
        end_ask(&h, 0);
    }
    unr_sim_check(h.seen == (1u << parked) - 1, "those that wait are taken");
    close_hall(&h);
}

static void handed(void *context, int fd)
{
    struct hall *h = context;
    unr_sim_check(!h->other_runs, "before its done");
    h->handed++;
    take(h, fd);
}

/* How many clients see that their connection was closed, and how many are in the backlog. */
static void count_left(struct hall *h, unsigned *ret_closed, unsigned *ret_left)
{
    char byte;
    *ret_left = *ret_closed = 0;
    for (int fd; (fd = unr_sim_accept(h->listener)) >= 0; ++*ret_left)
        take(h, fd);
    for (unsigned i = 0; i < h->came; i++)
        if (!(h->seen >> i & 1))
            *ret_closed += unr_sim_read(h->clients[i], &byte, 1) != -EAGAIN;
}

/* Stopped at any moment: each connection was taken, is handed over, or is in the backlog. */
static void stopped(const struct scenario *scenario)
{
    struct hall h = { .coming = 2 };
    unsigned    closed, left;
    (void)scenario;
    bool     asks = unr_sim_choose(2), hands_over = unr_sim_choose(2);
    unsigned turns = unr_sim_choose(4);
    open_hall(&h, 2);
    unr_sim_later(another_comes, &h);
    if (asks)
        ask(&h, 0);
    for (; turns; turns--)
        short_turn(&h);
    unr_start(h.loop, unr_acceptor_stop(&h.other, &h.acceptor, hands_over ? handed : NULL, &h),
              count_run, &h.other_runs);
    ask(&h, 1);
    for (int more = 0; !h.other_runs || unr_in_flight(&h.askers[0]); more++) {
        unr_sim_check(more < TURNS_MAX, "it stops");
        turn(&h);
    }
    end_ask(&h, 1);
    unr_sim_check(h.errors[1] == -ESHUTDOWN, "it was stopped");
    unr_sim_check(h.runs[0] == asks && h.other_runs == 1 && h.other.result.error == 0,
                  "each done once");
    h.over = true;
    count_left(&h, &closed, &left);
    if (hands_over)
        unr_sim_check(h.seen == (1u << h.came) - 1 && !closed, "each was somewhere");
    else
        unr_sim_check((unsigned)__builtin_popcount(h.seen) + closed == h.came, "or was closed");
    outcome("%u handed, %u closed, %u left", h.handed, closed, left);
    if (unr_sim_choose(2)) { /* it may be made anew */
        unr_acceptor_init(&h.acceptor, h.loop, h.listener, 1, 0);
        h.in_order = false;
        if (h.came < CLIENTS)
            come(&h);
        ask(&h, 0);
        end_ask(&h, 0);
        unr_sim_check(h.errors[0] == 0, "it accepts again");
    }
    close_hall(&h);
}

/* Its descriptor, or its loop, is closed at any moment; nothing leaks. */
static void closed(const struct scenario *scenario)
{
    struct hall   h = { .coming = 2 };
    bool          loop_first = scenario->parameter != NULL;
    bool          asks = unr_sim_choose(2);
    unsigned      stops = unr_sim_choose(3), turns = unr_sim_choose(4);
    struct unr_op stop = { .data = NULL };
    int           stops_run = 0;
    open_hall(&h, 1);
    unr_sim_later(another_comes, &h);
    for (; turns; turns--)
        short_turn(&h);
    if (asks)
        ask(&h, 0), ask(&h, 1);
    if (stops)
        unr_start(h.loop, unr_acceptor_stop(&stop, &h.acceptor, stops == 2 ? handed : NULL, &h),
                  count_run, &stops_run);
    if (loop_first) {
        unr_sim_check(unr_loop_close(h.loop) == 0, "closed");
        h.over = true;
        unr_sim_close(h.listener);
    } else {
        close_listener(&h);
        h.over = true;
        close_loop(h.loop);
    }
    unr_sim_check(h.runs[0] == asks && h.runs[1] == asks && stops_run == (stops > 0),
                  "each done once");
    close_clients(&h);
}

/* Descriptors run out, and come back: what is in the backlog is taken, at the latest as time goes
 * by. */
static void shortage(const struct scenario *scenario)
{
    struct hall h = { .coming = 2 };
    (void)scenario;
    open_hall(&h, 2);
    unr_sim_later(another_comes, &h);
    for (unsigned i = 0; i < 2; i++) {
        ask(&h, 0);
        end_ask(&h, 0);
        unr_sim_check(h.errors[0] == 0, "it waits until there is a descriptor");
    }
    close_hall(&h);
}

/* The loop closes a descriptor: then no time has to go by.  There are two faults at most. */
static void closes_one(const struct scenario *scenario)
{
    struct hall h = { .coming = 1 };
    int         fds[2];
    (void)scenario;
    unr_sim_socketpair(fds, 0);
    open_hall(&h, 1);
    come(&h);
    unr_time before = unr_sim_clock();
    ask(&h, 0);
    for (int closes = 0; closes < 3; closes++) {
        struct unr_op closing = { .data = NULL };
        int           runs = 0;
        for (int turns = 0; turns < 8; turns++)
            short_turn(&h);
        if (closes == 2 || !unr_in_flight(&h.askers[0]))
            break;
        unr_start(h.loop, unr_close(&closing, fds[closes]), count_run, &runs);
        fds[closes] = -1;
        while (!runs)
            short_turn(&h);
    }
    unr_sim_check(unr_sim_clock() == before, "no time has gone by");
    unr_sim_check(h.runs[0] == 1 && h.errors[0] == 0, "it was tried again after a close");
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            unr_sim_close(fds[i]);
    close_hall(&h);
}

/* What does not listen: whoever asks hears of it, each time. */
static void listens_not(const struct scenario *scenario)
{
    struct hall h = { .coming = 0 };
    (void)scenario;
    h.listener = unr_sim_socket();
    h.loop = open_small_loop();
    unr_acceptor_init(&h.acceptor, h.loop, h.listener, 2, 0);
    if (unr_sim_choose(2))
        short_turn(&h);
    for (unsigned i = 0; i < ASKERS; i++)
        ask(&h, i);
    for (unsigned i = 0; i < ASKERS; i++) {
        end_ask(&h, i);
        unr_sim_check(h.errors[i] == -EINVAL && h.runs[i] == 1, "an error for each");
    }
    close_hall(&h);
}

/* Little room for completions, and others of the loop. */
static void beside_others(const struct scenario *scenario)
{
    struct hall             h = { .coming = CLIENTS };
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = 2,
                                        .completion_entries = 2 };
    struct unr_op           nops[4] = { { .data = NULL } };
    int                     runs = 0;
    (void)scenario;
    unr_sim_check(unr_loop_open(&h.loop, &options) == 0, "open");
    open_hall(&h, 3);
    unr_sim_later(another_comes, &h);
    for (int i = 0; i < 4; i++)
        unr_start(h.loop, unr_nop(&nops[i]), count_run, &runs);
    for (unsigned i = 0; i < CLIENTS; i++) {
        ask(&h, 0);
        end_ask(&h, 0);
    }
    close_hall(&h);
}

static const struct scenario table[] = {
    { .name = "acceptor/each-once", .run = each_once, .deviations_max = 5 },
    { .name = "acceptor/each-once-plain",
      .run = each_once,
      .deviations_max = 5,
      .loop_flags = UNR_LOOP_PLAIN },
    { .name = "acceptor/in-line", .run = in_line, .deviations_max = 6 },
    { .name = "acceptor/not-asked", .run = not_asked, .deviations_max = 3 },
    { .name = "acceptor/stopped", .run = stopped, .deviations_max = 6 },
    { .name = "acceptor/closed", .run = closed, .deviations_max = 6 },
    { .name = "acceptor/closed-with-its-loop",
      .run = closed,
      .deviations_max = 6,
      .parameter = "loop" },
    { .name = "acceptor/listens-not", .run = listens_not, .deviations_max = 4 },
    { .name = "acceptor/beside-others", .run = beside_others, .deviations_max = 4 },
    { .name = "acceptor/faults", .run = each_once, .deviations_max = 3, .faults = UNR_FAULT_ENTER },
    { .name = "acceptor/shortage",
      .run = shortage,
      .deviations_max = 5,
      .faults = UNR_FAULT_RESOURCES },
    { .name = "acceptor/closes-one",
      .run = closes_one,
      .deviations_max = 3,
      .faults = UNR_FAULT_RESOURCES },
    { .name = NULL },
};

const struct scenario *scenarios_acceptors_table(void)
{
    return table;
}
