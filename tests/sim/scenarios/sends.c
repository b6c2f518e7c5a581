/* SPDX-License-Identifier: MIT */
/* Sends that are tried at once, beside others: what is counted is what arrives, and none overtakes
 * what was started before it and is still queued. */
#include "../../../lib/core/cancel.h"
#include "scenario.h"

#include <errno.h>

enum { TURNS_MAX = 40, LEN = 4 };

struct post {
    struct unr_loop *loop;
    int              fds[2]; /* [1] is the other process's */
    struct unr_op    first, second, closer;
    int              runs;
    char             got[64];
    size_t           received;
};

static const char text[] = "abcdefgh";

static void count_run(struct unr_op *op)
{
    struct post *p = op->data;
    p->runs++;
}

static void take(struct post *p)
{
    ssize_t n;
    while ((n = unr_sim_read(p->fds[1], p->got + p->received, sizeof p->got - p->received)) > 0)
        p->received += (size_t)n;
}

/* The other process reads until all have ended. */
static void reads_on(void *context)
{
    struct post *p = context;
    if (p->fds[1] < 0)
        return;
    take(p);
    if (p->runs < 2)
        unr_sim_later(reads_on, p);
}

static void set_up_post(struct post *p, size_t capacity)
{
    *p = (struct post){ .loop = open_small_loop() };
    unr_sim_socketpair(p->fds, capacity);
}

static void tear_down_post(struct post *p)
{
    for (int i = 0; i < 2; i++)
        if (p->fds[i] >= 0)
            unr_sim_close(p->fds[i]);
    p->fds[0] = p->fds[1] = -1;
    close_loop(p->loop);
}

static void turn_until(struct post *p, int runs)
{
    for (int turns = 0; p->runs < runs; turns++) {
        unr_sim_check(turns < TURNS_MAX, "it comes to an end");
        unr_sim_check(unr_loop_run_once(p->loop, UNR_NEVER) >= 0, "a turn");
    }
}

static struct unr_op *describe_first(struct post *p)
{
    switch (unr_sim_choose(3)) {
    case 0: return unr_send(&p->first, p->fds[0], text, LEN, MSG_WAITALL);
    case 1: return unr_write(&p->first, p->fds[0], text, LEN, -1);
    default: return unr_send_now(&p->first, p->fds[0], text, LEN, MSG_WAITALL);
    }
}

/* Whether an operation is in flight, and has not ended by what was done in its start. */
static bool goes_on(struct unr_op *op)
{
    return unr_in_flight(op) && !unri_has_ended(op);
}

/* Two sends, with room for some or all, and each may be cancelled at any moment. */
static void behind_another(const struct scenario *scenario)
{
    struct post p;
    (void)scenario;
    set_up_post(&p, 2 + 3 * unr_sim_choose(3));
    unr_sim_later(reads_on, &p);
    unr_start(p.loop, describe_first(&p), count_run, &p);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(p.loop, 0);
    bool waits = goes_on(&p.first);
    take(&p);
    size_t before = p.received;
    unr_start(p.loop, unr_send_now(&p.second, p.fds[0], text + LEN, LEN, MSG_WAITALL), count_run,
              &p);
    take(&p);
    if (waits)
        unr_sim_check(p.received == before, "it overtakes no send");
    switch (unr_sim_choose(3)) {
    case 0: unr_cancel(&p.first, UNR_CANCEL_ALL); break;
    case 1: unr_cancel(&p.second, UNR_CANCEL_ALL); break;
    default: break;
    }
    turn_until(&p, 2);
    take(&p);
    unr_sim_check(p.first.result.bytes + p.second.result.bytes == p.received,
                  "what is counted is what arrives");
    tear_down_post(&p);
}

/* Closed at any moment, in either way, before it starts or after. */
static void beside_a_close(const struct scenario *scenario)
{
    struct post p;
    (void)scenario;
    bool first = unr_sim_choose(2), cancels = unr_sim_choose(2);
    set_up_post(&p, 2 + 6 * unr_sim_choose(2));
    unr_sim_later(reads_on, &p);
    struct unr_op *send = unr_send_now(&p.first, p.fds[0], text, LEN, MSG_WAITALL),
                  *close = cancels ? unr_cancel_close(&p.closer, p.fds[0])
                                   : unr_close(&p.closer, p.fds[0]);
    unr_start(p.loop, first ? close : send, count_run, &p);
    for (unsigned turns = first ? 0 : unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(p.loop, 0);
    unr_start(p.loop, first ? send : close, count_run, &p);
    turn_until(&p, 2);
    take(&p);
    unr_sim_check(p.closer.result.error == 0, "it is closed");
    unr_sim_check(p.first.result.bytes == p.received, "what is counted is what arrives");
    if (first && cancels)
        unr_sim_check(p.received == 0 && p.first.result.error == -ECANCELED,
                      "nothing is sent behind the close");
    else if (!first && !cancels)
        unr_sim_check(p.first.result.error == 0, "unr_close() leaves it alone");
    p.fds[0] = -1;
    tear_down_post(&p);
}

/* The other process goes away at any moment: what had been sent by then is counted. */
static void goes_away(void *context)
{
    struct post *p = context;
    if (p->fds[1] < 0)
        return;
    take(p);
    unr_sim_close(p->fds[1]);
    p->fds[1] = -1;
}

static void to_nobody(const struct scenario *scenario)
{
    struct post p;
    (void)scenario;
    set_up_post(&p, 2 + 3 * unr_sim_choose(2));
    if (unr_sim_choose(2))
        goes_away(&p);
    else
        unr_sim_later(goes_away, &p);
    unr_start(p.loop, unr_send_now(&p.first, p.fds[0], text, 2 * LEN, MSG_WAITALL), count_run, &p);
    turn_until(&p, 1);
    const struct unr_result *r = &p.first.result;
    unr_sim_check(r->bytes ? r->error == 0 : r->error == -EPIPE,
                  "an error behind a part is the next one's");
    unr_sim_check(r->bytes >= p.received, "all that arrived is counted");
    tear_down_post(&p);
}

/* Datagrams are whole, however full the queue of their receiver is. */
static void datagrams(const struct scenario *scenario)
{
    struct post p = { .loop = open_small_loop() };
    (void)scenario;
    unr_sim_datagrams(p.fds, 1);
    unr_sim_later(reads_on, &p);
    unr_start(p.loop, unr_send_now(&p.first, p.fds[0], text, LEN, MSG_WAITALL), count_run, &p);
    unr_start(p.loop, unr_send_now(&p.second, p.fds[0], text + LEN, LEN, 0), count_run, &p);
    turn_until(&p, 2);
    take(&p);
    unr_sim_check(p.first.result.bytes == LEN && p.second.result.bytes == LEN, "each is sent");
    unr_sim_check(p.received == 2 * LEN && memcmp(p.got, text, 2 * LEN) == 0, "and arrives");
    tear_down_post(&p);
}

/* A transfer on a loop whose streams send at once, cancelled at any moment. */
static void stream(const struct scenario *scenario)
{
    struct post         p;
    struct unr_stream   to;
    struct unr_transfer transfer = { .op = { .data = NULL } };
    struct iovec        pieces[2] = { { (char *)text, 3 }, { (char *)text + 3, 5 } };
    (void)scenario;
    set_up_post(&p, 2 + 3 * unr_sim_choose(3));
    p.runs = 1; /* there is one operation */
    unr_sim_later(reads_on, &p);
    unr_stream_socket(&to, p.fds[0]);
    unr_start(p.loop,
              unr_sim_choose(2) ? unr_write_all(&transfer, &to, text, 2 * LEN)
                                : unr_writev_all(&transfer, &to, pieces, 2),
              count_run, &p);
    unsigned turns = unr_sim_choose(4);
    for (unsigned i = 0; i < turns; i++)
        unr_loop_run_once(p.loop, 0);
    if (unr_sim_choose(2))
        unr_cancel(&transfer.op, UNR_CANCEL_ALL);
    turn_until(&p, 2);
    take(&p);
    unr_sim_check(transfer.op.result.bytes == p.received && memcmp(p.got, text, p.received) == 0,
                  "each byte once, in order, and counted");
    unr_sim_check(transfer.op.result.requested || p.received == 2 * LEN, "all of them");
    tear_down_post(&p);
}

static const struct scenario table[] = {
    { .name = "sends/behind-another", .run = behind_another, .deviations_max = 4 },
    { .name = "sends/behind-another-plain",
      .run = behind_another,
      .deviations_max = 4,
      .loop_flags = UNR_LOOP_PLAIN },
    { .name = "sends/beside-a-close", .run = beside_a_close, .deviations_max = 5 },
    { .name = "sends/to-nobody", .run = to_nobody, .deviations_max = 5 },
    { .name = "sends/datagrams", .run = datagrams, .deviations_max = 5 },
    { .name = "sends/stream", .run = stream, .deviations_max = 4, .loop_flags = UNR_LOOP_SEND_NOW },
    { .name = "sends/short",
      .run = stream,
      .deviations_max = 4,
      .loop_flags = UNR_LOOP_SEND_NOW,
      .faults = UNR_FAULT_TRANSFER },
    { .name = NULL },
};

const struct scenario *scenarios_sends_table(void)
{
    return table;
}
