/* SPDX-License-Identifier: MIT */
/* Two operations at a time: on one descriptor, on two, and what one's cancellation does to the
 * other: nothing. */
#include "scenario.h"

#include <stdio.h>

/* Any two of these, each with a peer of its own, one of them asked to cancel: both results tell the
 * truth. */
static void two_at_a_time(const struct scenario *scenario)
{
    const struct subject_type *const *types = scenario->parameter;
    struct unr_loop                  *loop = open_small_loop();
    struct subject                    a, b;
    set_up(&a, types[0], loop);
    set_up(&b, types[1], loop);
    start(&a);
    start(&b);
    if (a.type->provoke)
        unr_sim_later(a.type->provoke, &a);
    if (b.type->provoke)
        unr_sim_later(b.type->provoke, &b);
    if (unr_sim_choose(2))
        unr_loop_run_once(loop, 0);
    unr_cancel(&a.op, UNR_CANCEL_ALL);
    if (unr_sim_choose(2))
        unr_cancel(&b.op, UNR_CANCEL_ALL);
    bool b_asked = b.op.result.requested;
    unr_loop_run(loop);
    if (!b_asked && b.runs)
        unr_sim_check(b.op.result.requested == 0,
                      "a request reaches the operation that it was made of");
    verify(&a);
    verify(&b);
    close_loop(loop);
    a.loop = b.loop = NULL;
    tear_down(&a);
    tear_down(&b);
}

static void count_run(struct unr_op *op)
{
    ++*(int *)op->data;
}

/* Two reads of one socket, one of which is cancelled: the bytes go to one of them, once, or
 * stay. */
static void two_reads_of_one_socket(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    a = { 0 }, b = { 0 };
    unsigned char    one[4], two[4], rest[16];
    int              fds[2], runs = 0;
    (void)scenario;
    unr_sim_socketpair(fds, 0);
    unr_start(loop, unr_recv(&a, fds[0], one, sizeof one, 0), count_run, &runs);
    unr_start(loop, unr_recv(&b, fds[0], two, sizeof two, 0), count_run, &runs);
    if (unr_sim_choose(2))
        unr_loop_run_once(loop, 0);
    unr_sim_write(fds[1], "0123", 4);
    if (unr_sim_choose(2))
        unr_loop_run_once(loop, 0);
    unr_cancel(&a, UNR_CANCEL_TOTAL);
    if (unr_sim_choose(2))
        unr_loop_run_once(loop, 0);
    unr_cancel(&b, UNR_CANCEL_TOTAL);
    unr_loop_run(loop);
    unr_sim_check(runs == 2, "each done once");
    ssize_t left = unr_sim_read(fds[0], rest, sizeof rest);
    unr_sim_check(a.result.bytes + b.result.bytes + (left > 0 ? (size_t)left : 0) == 4,
                  "every byte once");
    outcome("%d %d", a.result.error, b.result.error);
    close_loop(loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

/* A read and a write of one socket, and all on it cancelled, then closed. */
static void read_and_write_then_cancel_close(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    in = { 0 }, out = { 0 }, closing = { 0 };
    unsigned char    buf[16], data[16] = "0123456789abcde", found[16];
    int              fds[2], runs = 0;
    (void)scenario;
    unr_sim_socketpair(fds, 8);
    unr_start(loop, unr_recv(&in, fds[0], buf, sizeof buf, 0), count_run, &runs);
    unr_start(loop, unr_send(&out, fds[0], data, sizeof data, MSG_WAITALL), count_run, &runs);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(loop, 0);
    unr_start(loop, unr_cancel_close(&closing, fds[0]), count_run, &runs);
    unr_loop_run(loop);
    unr_sim_check(runs == 3, "each done once");
    unr_sim_check(in.result.error == -ECANCELED && in.result.cause == -ESHUTDOWN,
                  "the read was cancelled by the closing");
    unr_sim_check(closing.result.error == 0, "it is closed");
    ssize_t n = unr_sim_read(fds[1], found, sizeof found);
    unr_sim_check((n > 0 ? (uint64_t)n : 0) == out.result.bytes,
                  "the count of the write is what the peer finds");
    close_loop(loop);
    unr_sim_close(fds[1]);
}

enum { PAIRED = 8 };
static const struct subject_type *paired[PAIRED * PAIRED][2];
static struct scenario            all[PAIRED * PAIRED + 3];
static char                       names[PAIRED * PAIRED][64];

static const struct subject_type *type_named(const char *name)
{
    for (unsigned i = 0; i < subject_type_count; i++)
        if (strcmp(subject_types[i]->name, name) == 0)
            return subject_types[i];
    return NULL;
}

const struct scenario *scenarios_pairs_table(void)
{
    static const char *const of[PAIRED] = { "recv",   "recv_all", "send_all", "write",
                                            "splice", "pread",    "waitid",   "cancel_close" };
    unsigned                 n = 0;
    for (unsigned i = 0; i < PAIRED; i++)
        for (unsigned j = i; j < PAIRED; j++, n++) {
            paired[n][0] = type_named(of[i]);
            paired[n][1] = type_named(of[j]);
            snprintf(names[n], sizeof names[n], "pair/%s+%s", of[i], of[j]);
            unsigned since = paired[n][0]->since;
            if (paired[n][1]->since > since)
                since = paired[n][1]->since;
            all[n] = (struct scenario){ .name = names[n],
                                        .run = two_at_a_time,
                                        .parameter = paired[n],
                                        .deviations_max = 6,
                                        .since = since };
        }
    all[n++] = (struct scenario){ .name = "pair/two-reads", .run = two_reads_of_one_socket };
    all[n++] = (struct scenario){ .name = "pair/read-write-cancel_close",
                                  .run = read_and_write_then_cancel_close };
    return all;
}
