/* SPDX-License-Identifier: MIT */
/* Loops with UNR_LOOP_CHECKS: what they find ends the program, in some scenarios before the
 * simulated kernel would find it, and lawful programs are left alone. */
#include "scenario.h"

#include <liburing.h>

enum { OPS = 8 };

struct checked {
    struct unr_loop *loop;
    struct unr_op    ops[OPS];
    char             buf[ROOM];
    int              fds[2];
};

static void open_checked(struct checked *c)
{
    struct unr_loop_options options = {
        .size = sizeof options, .flags = UNR_LOOP_CHECKS, .entries = 4, .completion_entries = 8
    };
    *c = (struct checked){ 0 };
    unr_sim_check(unr_loop_open(&c->loop, &options) == 0, "the loop opens");
    unr_sim_socketpair(c->fds, 0);
}

static void close_checked(struct checked *c)
{
    for (int i = 0; i < OPS; i++)
        unr_cancel(&c->ops[i], UNR_CANCEL_ALL);
    unr_loop_run(c->loop);
    close_loop(c->loop);
    for (int i = 0; i < 2; i++)
        if (c->fds[i] >= 0)
            unr_sim_close(c->fds[i]);
}

static void begin(struct checked *c, struct unr_op *described)
{
    unr_start(c->loop, described, NULL, NULL);
}

/* A read into what is being sent.  The first of the two is never run: the second start finds it. */
static void read_into_what_is_sent(const struct scenario *scenario)
{
    struct checked c;
    (void)scenario;
    open_checked(&c);
    begin(&c, unr_send(&c.ops[0], c.fds[0], c.buf, sizeof c.buf, 0));
    begin(&c, unr_recv(&c.ops[1], c.fds[1], c.buf + ROOM - 1, 1, 0));
    unr_sim_check(false, "nothing was found at the start");
}

static void fill_recv(void *sqe, void *context)
{
    struct checked *c = context;
    io_uring_prep_recv(sqe, c->fds[0], c->buf, sizeof c->buf, 0);
}

/* What an SQE of the caller's lends is known when it is filled in, and remembered. */
static void read_beside_an_sqe(const struct scenario *scenario)
{
    struct checked c;
    (void)scenario;
    open_checked(&c);
    begin(&c, unr_sqe(&c.ops[0], "mine", UNR_CANCEL_ALL, fill_recv, &c));
    unr_loop_run_once(c.loop, 0);
    begin(&c, unr_recv(&c.ops[1], c.fds[1], c.buf, 1, 0));
    unr_sim_check(false, "nothing was found at the start");
}

/* An operation that goes on is zeroed: found when another one completes. */
static void zeroed(const struct scenario *scenario)
{
    struct checked c;
    (void)scenario;
    open_checked(&c);
    begin(&c, unr_recv(&c.ops[0], c.fds[0], c.buf, sizeof c.buf, 0));
    unr_loop_run_once(c.loop, 0);
    c.ops[0] = (struct unr_op){ 0 };
    begin(&c, unr_nop(&c.ops[1]));
    while (unr_in_flight(&c.ops[1]))
        unr_loop_run_once(c.loop, UNR_NEVER);
    unr_sim_check(false, "nothing was found when another operation completed");
}

/* Two operations are lent what is theirs, one is cancelled, and both give it back; unr_close takes
 * the descriptor away under one of them. */
static void lawful(const struct scenario *scenario)
{
    struct checked c;
    struct unr_op  closer = { 0 };
    (void)scenario;
    open_checked(&c);
    begin(&c, unr_recv(&c.ops[0], c.fds[0], c.buf, ROOM / 2, 0));
    begin(&c, unr_recv(&c.ops[1], c.fds[0], c.buf + ROOM / 2, ROOM / 2, 0));
    unr_loop_run_once(c.loop, 0);
    unr_cancel(&c.ops[0], UNR_CANCEL_TOTAL);
    while (unr_in_flight(&c.ops[0]))
        unr_loop_run_once(c.loop, UNR_NEVER);
    begin(&c, unr_send(&c.ops[0], c.fds[1], c.buf, 1, 0));
    begin(&c, unr_close(&closer, c.fds[0]));
    c.fds[0] = -1;
    while (unr_in_flight(&closer))
        unr_loop_run_once(c.loop, UNR_NEVER);
    begin(&c, unr_nop(&c.ops[2]));
    close_checked(&c);
}

/* What the kernel only reads is lent to many, who give it back in another order. */
static void lent_to_be_read(const struct scenario *scenario)
{
    struct checked c;
    bool           last_first = unr_sim_choose(2);
    (void)scenario;
    open_checked(&c);
    for (int i = 0; i < OPS; i++)
        begin(&c, unr_send(&c.ops[i], c.fds[0], c.buf, sizeof c.buf, 0));
    for (int i = 0; i < OPS; i++)
        unr_cancel(&c.ops[last_first ? OPS - 1 - i : i], UNR_CANCEL_TOTAL);
    unr_loop_run(c.loop);
    begin(&c, unr_recv(&c.ops[0], c.fds[0], c.buf, sizeof c.buf, 0));
    close_checked(&c);
}

/* A descriptor that is given back, closed and opened again is no matter to the next operation. */
static void descriptor_given_back(const struct scenario *scenario)
{
    struct checked c;
    int            other[2];
    (void)scenario;
    open_checked(&c);
    begin(&c, unr_recv(&c.ops[0], c.fds[0], c.buf, sizeof c.buf, 0));
    unr_loop_run_once(c.loop, 0);
    unr_cancel(&c.ops[0], UNR_CANCEL_TOTAL);
    unr_loop_run(c.loop);
    unr_sim_close(c.fds[0]);
    unr_sim_close(c.fds[1]);
    unr_sim_socketpair(other, 0);
    c.fds[0] = other[0];
    c.fds[1] = other[1];
    begin(&c, unr_recv(&c.ops[0], c.fds[0], c.buf, sizeof c.buf, 0));
    unr_loop_run_once(c.loop, 0);
    begin(&c, unr_nop(&c.ops[1]));
    close_checked(&c);
}

const struct scenario *scenarios_checks_table(void)
{
    static const struct scenario table[] = {
        { .name = "checks/read-into-what-is-sent",
          .run = read_into_what_is_sent,
          .fails_with = "ended by signal 6" },
        { .name = "checks/read-beside-an-sqe",
          .run = read_beside_an_sqe,
          .fails_with = "ended by signal 6" },
        { .name = "checks/zeroed", .run = zeroed, .fails_with = "ended by signal 6" },
        { .name = "checks/lawful", .run = lawful },
        { .name = "checks/lent-to-be-read", .run = lent_to_be_read },
        { .name = "checks/descriptor-given-back", .run = descriptor_given_back },
        { .name = NULL },
    };
    return table;
}
