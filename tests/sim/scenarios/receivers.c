/* SPDX-License-Identifier: MIT */
/* Receivers: each byte once and in order, whatever is cancelled, stopped or closed meanwhile; the
 * end is seen, and nobody sleeps beside something to read. */
#include "scenario.h"

#include <errno.h>

enum { MESSAGE = 6, TURNS_MAX = 60 };

/* What another process sends, piece by piece, and how it ends. */
enum ending { GOES_ON, CLOSES, RESETS };

struct talk {
    struct unr_loop    *loop;
    struct unr_receiver receiver;
    int                 fds[2]; /* [0] is the receiver's */
    unsigned            sent, piece;
    enum ending         ending;
    bool                over;   /* the other process has done all it does */
    bool                closed; /* it has nothing to write to any more */

    struct unr_op op, other;
    char          buf[4];
    char          got[MESSAGE + 1];
    unsigned      count;
    int           error; /* of the read that ended otherwise than with bytes */
    bool          at_end;
    int           runs, other_runs;
    bool          cancels; /* the reads of the talk are cancelled */
    unsigned      asks;
};

static const char message[] = "abcdef";

static void go_on(void *context)
{
    struct talk *t = context;
    if (t->closed)
        return;
    if (t->sent < MESSAGE) {
        unsigned n = t->piece < MESSAGE - t->sent ? t->piece : MESSAGE - t->sent;
        ssize_t  wrote = unr_sim_write(t->fds[1], message + t->sent, n);
        if (wrote == -EPIPE)
            return;
        unr_sim_check(wrote == (ssize_t)n, "there is room");
        t->sent += n;
    }
    if (t->sent < MESSAGE) {
        unr_sim_later(go_on, t);
        return;
    }
    t->over = true;
    if (t->ending == CLOSES)
        unr_sim_close(t->fds[1]);
}

static void open_talk(struct talk *t)
{
    t->loop = open_small_loop();
    unr_sim_later(go_on, t);
    unr_receiver_init(&t->receiver, t->loop, NULL, t->fds[0], 0);
}

static void take(struct talk *t, size_t n)
{
    unr_sim_check(t->count + n <= MESSAGE && memcmp(t->buf, message + t->count, n) == 0,
                  "each byte once, and in order");
    t->count += (unsigned)n;
}

static void was_read(struct unr_op *op)
{
    struct talk             *t = op->data;
    const struct unr_result *r = &op->result;
    t->runs++;
    if (r->error == -ECANCELED) {
        unr_sim_check(r->guarantee == UNR_CANCEL_TOTAL && r->bytes == 0,
                      "a cancelled read has taken nothing");
        unr_sim_check(r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED,
                      "it was cancelled in user space");
    } else if (r->error) {
        t->error = r->error;
        t->at_end = true;
    } else if (r->bytes) {
        take(t, r->bytes);
        unr_sim_check(!r->requested || r->verdict == UNR_VERDICT_TOO_LATE,
                      "who asked came too late");
    } else {
        t->at_end = true;
    }
}

static void count_run(struct unr_op *op)
{
    ++*(int *)op->data;
}

static void read_more(struct talk *t, size_t len)
{
    unr_start(t->loop, unr_receive(&t->op, &t->receiver, t->buf, len), was_read, t);
}

/* Turns until the read has ended.  Meanwhile it may be cancelled, once in three reads at most. */
static void end_read(struct talk *t)
{
    for (int turns = 0; unr_in_flight(&t->op); turns++) {
        unr_sim_check(turns < TURNS_MAX, "a read does not sleep beside something to read");
        if (t->cancels && t->asks && unr_sim_choose(2)) {
            t->asks--;
            unr_cancel(&t->op, UNR_CANCEL_ALL);
        }
        unr_sim_check(unr_loop_run_once(t->loop, UNR_NEVER) >= 0, "a turn");
    }
}

/* Turns until an operation that ends soon has ended. */
static void end_of(struct talk *t, const struct unr_op *op)
{
    for (int turns = 0; unr_in_flight(op); turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends");
        unr_sim_check(unr_loop_run_once(t->loop, UNR_NEVER) >= 0, "a turn");
    }
}

static void close_talk(struct talk *t)
{
    int closed = 0;
    t->closed = true;
    unr_start(t->loop, unr_cancel_close(&t->other, t->fds[0]), count_run, &closed);
    end_of(t, &t->other);
    unr_sim_check(t->other.result.error == 0, "closed");
    if (t->ending != CLOSES)
        unr_sim_close(t->fds[1]);
    close_loop(t->loop);
}

/* All of it is read, with room for `len` bytes at a time, and reads are cancelled at any moment. */
static void read_all(struct talk *t, size_t len)
{
    open_talk(t);
    t->cancels = true;
    t->asks = 2;
    while (t->count < MESSAGE && !t->at_end) {
        read_more(t, len);
        end_read(t);
    }
    unr_sim_check(t->count == MESSAGE, "each byte");
    if (t->ending != GOES_ON) {
        t->asks = 0;
        read_more(t, len);
        end_read(t);
        unr_sim_check(t->at_end && t->error == 0, "and the end behind all bytes");
    }
    outcome("%u bytes, %s", t->count, t->at_end ? "end" : "goes on");
    close_talk(t);
}

static void of_socket(const struct scenario *scenario)
{
    struct talk t = { .piece = 1 + 2 * unr_sim_choose(3) };
    (void)scenario;
    unsigned choice = unr_sim_choose(6);
    t.ending = choice % 2 ? CLOSES : GOES_ON;
    unr_sim_socketpair(t.fds, 16);
    read_all(&t, 1 + choice / 2);
}

static void of_pipe(const struct scenario *scenario)
{
    struct talk t = { .piece = 1 + 2 * unr_sim_choose(3) };
    (void)scenario;
    unsigned choice = unr_sim_choose(6);
    t.ending = choice % 2 ? CLOSES : GOES_ON;
    unr_sim_pipe(t.fds, 16);
    read_all(&t, 1 + choice / 2);
}

/* A read takes one datagram: a short one does not mean that there is no other. */
static void of_datagrams(const struct scenario *scenario)
{
    struct talk t = { .piece = 1 + unr_sim_choose(2), .ending = GOES_ON };
    int         fds[2];
    (void)scenario;
    unr_sim_datagrams(fds, 8);
    t.fds[0] = fds[1], t.fds[1] = fds[0];
    read_all(&t, 3);
}

/* Data and a reset, in one wake-up or in two: the data first, then the reset. */

static void reset_by_peer(void *context)
{
    struct talk *t = context;
    unr_sim_write(t->fds[0], "x", 1); /* unread at the peer: who closes then resets */
    unr_sim_write(t->fds[1], message, 2);
    t->sent = 2;
    unr_sim_close(t->fds[1]);
}

static void reset(const struct scenario *scenario)
{
    struct talk t = { .piece = MESSAGE };
    bool        at_once = unr_sim_choose(2);
    (void)scenario;
    t.loop = open_small_loop();
    unr_sim_socketpair(t.fds, 16);
    unr_receiver_init(&t.receiver, t.loop, NULL, t.fds[0], 0);
    if (at_once)
        reset_by_peer(&t);
    else
        unr_sim_later(reset_by_peer, &t);
    for (int reads = 0; !t.at_end; reads++) {
        unr_sim_check(reads < 4, "the end is seen");
        read_more(&t, 4);
        end_read(&t);
    }
    unr_sim_check(t.count == 2, "the data first");
    unr_sim_check(t.error == -ECONNRESET || t.error == 0, "then the reset");
    t.ending = CLOSES;
    close_talk(&t);
}

/* Stopped at any moment, with a read that waits or without: what was not read is in the socket. */
static void stopped(const struct scenario *scenario)
{
    struct talk t = { .piece = 2, .ending = GOES_ON };
    char        rest[MESSAGE];
    int         stops = 0;
    (void)scenario;
    bool     with_read = !unr_sim_choose(2);
    unsigned turns = unr_sim_choose(4);
    unr_sim_socketpair(t.fds, 16);
    open_talk(&t);
    if (with_read)
        read_more(&t, 3);
    for (; turns; turns--)
        unr_loop_run_once(t.loop, 0);
    unr_start(t.loop, unr_receiver_stop(&t.other, &t.receiver), count_run, &stops);
    for (int more = 0; !stops || unr_in_flight(&t.op); more++) {
        unr_sim_check(more < TURNS_MAX, "it stops");
        unr_sim_check(unr_loop_run_once(t.loop, UNR_NEVER) >= 0, "a turn");
    }
    unr_sim_check(stops == 1 && t.other.result.error == 0, "stopped once");
    ssize_t n = unr_sim_read(t.fds[0], rest, sizeof rest);
    n = n < 0 ? 0 : n;
    unr_sim_check(t.count + (unsigned)n == t.sent, "each byte was read, or is in the socket");
    unr_sim_check(memcmp(rest, message + t.count, (size_t)n) == 0, "in order");
    if (unr_sim_choose(2)) { /* a stopped one serves nobody, unless it is made anew */
        read_more(&t, 1);
        end_read(&t);
        unr_sim_check(t.error == -ESHUTDOWN, "it was stopped");
    } else {
        t.count += (unsigned)n;
        unr_receiver_init(&t.receiver, t.loop, NULL, t.fds[0], 0);
        t.at_end = false;
        while (t.count < MESSAGE) {
            read_more(&t, 4);
            end_read(&t);
        }
    }
    close_talk(&t);
}

/* Its descriptor, or its loop, is closed at any moment, with a read that waits or without. */
static void closed(const struct scenario *scenario)
{
    bool          loop_first = scenario->parameter != NULL;
    struct talk   t = { .piece = 3, .ending = GOES_ON };
    int           closes = 0;
    bool          with_read = !unr_sim_choose(2), stops = unr_sim_choose(2);
    unsigned      turns = unr_sim_choose(4);
    struct unr_op stop = { .data = NULL };
    unr_sim_socketpair(t.fds, 16);
    open_talk(&t);
    if (with_read)
        read_more(&t, 4);
    for (; turns; turns--)
        unr_loop_run_once(t.loop, 0);
    if (stops)
        unr_start(t.loop, unr_receiver_stop(&stop, &t.receiver), count_run, &t.other_runs);
    if (loop_first) {
        unr_sim_check(unr_loop_close(t.loop) == 0, "closed");
        unr_sim_close(t.fds[0]);
    } else {
        unr_start(t.loop, unr_cancel_close(&t.other, t.fds[0]), count_run, &closes);
        end_of(&t, &t.other);
        close_loop(t.loop);
    }
    t.closed = true;
    unr_sim_check(t.runs == with_read && t.other_runs == stops, "each done once");
    unr_sim_close(t.fds[1]);
}

/* A read beside others of the loop, with little room for completions: what is armed is armed again
 * where the CQ was full. */
static void beside_others(const struct scenario *scenario)
{
    struct talk             t = { .piece = 1, .ending = GOES_ON };
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = 2,
                                        .completion_entries = 2 };
    struct unr_op           nops[4] = { { .data = NULL } };
    int                     runs = 0;
    (void)scenario;
    unr_sim_socketpair(t.fds, 16);
    unr_sim_check(unr_loop_open(&t.loop, &options) == 0, "open");
    unr_sim_later(go_on, &t);
    unr_receiver_init(&t.receiver, t.loop, NULL, t.fds[0], 0);
    for (int i = 0; i < 4; i++)
        unr_start(t.loop, unr_nop(&nops[i]), count_run, &runs);
    while (t.count < MESSAGE) {
        read_more(&t, 2);
        end_read(&t);
    }
    close_talk(&t);
}

/* read_until on a receiver's stream, in any pieces. */
static void stream(const struct scenario *scenario)
{
    struct talk       t = { .piece = 1 + unr_sim_choose(3), .ending = GOES_ON };
    struct unr_stream s;
    struct unr_reader reader = { .op = { .data = NULL } };
    struct unr_buffer buffer;
    int               runs = 0;
    (void)scenario;
    unr_sim_socketpair(t.fds, 16);
    open_talk(&t);
    unr_stream_receiver(&s, &t.receiver);
    unr_buffer_init(&buffer, 64);
    unr_start(t.loop, unr_read_until(&reader, &s, &buffer, "e", 1), count_run, &runs);
    end_of(&t, &reader.op);
    unr_sim_check(reader.op.result.error == 0 && reader.op.result.bytes == 5, "up to the e");
    unr_buffer_free(&buffer);
    close_talk(&t);
}

static const struct scenario table[] = {
    { .name = "receiver/of-socket", .run = of_socket, .deviations_max = 3 },
    { .name = "receiver/of-socket-plain",
      .run = of_socket,
      .deviations_max = 4,
      .loop_flags = UNR_LOOP_PLAIN },
    { .name = "receiver/of-pipe", .run = of_pipe, .deviations_max = 3 },
    { .name = "receiver/of-datagrams", .run = of_datagrams, .deviations_max = 3 },
    { .name = "receiver/reset", .run = reset, .deviations_max = 5 },
    { .name = "receiver/stopped", .run = stopped, .deviations_max = 5 },
    { .name = "receiver/closed", .run = closed, .deviations_max = 6 },
    { .name = "receiver/closed-with-its-loop",
      .run = closed,
      .deviations_max = 6,
      .parameter = "loop" },
    { .name = "receiver/beside-others", .run = beside_others, .deviations_max = 3 },
    { .name = "receiver/faults", .run = of_socket, .deviations_max = 3, .faults = UNR_FAULT_ENTER },
    { .name = "receiver/stream", .run = stream, .deviations_max = 3 },
    { .name = NULL },
};

const struct scenario *scenarios_receivers_table(void)
{
    return table;
}
