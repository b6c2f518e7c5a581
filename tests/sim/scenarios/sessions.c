/* SPDX-License-Identifier: MIT */
/* What users write: the race of the talk "Cancellation in depth", in the form in which it is broken
 * and in ours; a buffer that is used again too early; the proxy with heartbeats. */
#include "scenario.h"

/* ---- the talk's step 2: reads and writes in turn, and a stop that cancels what is in flight
 * ---- */

struct chain {
    struct unr_loop  *loop;
    struct unr_op     op; /* the read or the write, one at a time */
    struct unr_signal reading, writing, stop;
    unsigned char     buf[4];
    int               fd;
    bool              mended, stopped, ended;
};

static void chain_read(struct chain *c);

static void wrote(struct unr_op *op)
{
    struct chain *c = op->data;
    if (op->result.error || (c->mended && op->result.requested))
        c->ended = true;
    else
        chain_read(c);
}

static void read_some(struct unr_op *op)
{
    struct chain *c = op->data;
    if (op->result.error || op->result.bytes == 0 || (c->mended && op->result.requested)) {
        c->ended = true;
        return;
    }
    struct unr_signal *signal = c->mended ? &c->stop : &c->writing;
    unr_start(c->loop,
              unr_bind_slot(unr_send(&c->op, c->fd, c->buf, op->result.bytes, 0),
                            unr_signal_slot(signal)),
              wrote, c);
}

static void chain_read(struct chain *c)
{
    struct unr_signal *signal = c->mended ? &c->stop : &c->reading;
    unr_start(
        c->loop,
        unr_bind_slot(unr_recv(&c->op, c->fd, c->buf, sizeof c->buf, 0), unr_signal_slot(signal)),
        read_some, c);
}

/* Two slots: a request that finds the read completed, and its write not started, is heard by
 * nobody. */
static void stop_chain(struct unr_op *op)
{
    struct chain *c = op->data;
    if (c->mended) {
        unr_signal_emit(&c->stop, UNR_CANCEL_ALL);
    } else {
        unr_signal_emit(&c->reading, UNR_CANCEL_ALL);
        unr_signal_emit(&c->writing, UNR_CANCEL_ALL);
    }
}

static void peer_says(void *fd)
{
    unr_sim_write(*(int *)fd, "hi", 2);
}

static void run_chain(bool mended)
{
    struct chain     c = { .loop = open_small_loop(), .mended = mended };
    struct unr_timer stop = { 0 };
    int              fds[2];
    unr_sim_socketpair(fds, 0);
    c.fd = fds[0];
    if (mended)
        unr_signal_init_latched(&c.stop);
    chain_read(&c);
    unr_sim_later(peer_says, &fds[1]);
    unr_start(c.loop, unr_timer_after(&stop, UNR_MSEC(1)), stop_chain, &c);
    unr_loop_run(c.loop);
    unr_sim_check(c.ended, "the session has ended");
    close_loop(c.loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

static void talk_step_2_as_shown(const struct scenario *scenario)
{
    (void)scenario;
    run_chain(false);
}

static void talk_step_2_mended(const struct scenario *scenario)
{
    (void)scenario;
    run_chain(true);
}

/* ---- a time-out that uses the buffer again too early ---- */

struct request {
    struct unr_loop *loop;
    struct unr_op    recv, reply;
    struct unr_timer timeout;
    unsigned char    buf[8];
    int              fd;
    bool             mended;
};

static void answer(struct request *r)
{
    memcpy(r->buf, "too late", sizeof r->buf);
    unr_start(r->loop, unr_send(&r->reply, r->fd, r->buf, sizeof r->buf, 0), NULL, NULL);
}

static void timed_out(struct unr_op *op)
{
    struct request *r = op->data;
    if (op->result.error)
        return;
    if (unr_cancel_cause(&r->recv, UNR_CANCEL_ALL, -ETIMEDOUT) && !r->mended)
        answer(r); /* asked to cancel is not cancelled: the buffer is still lent */
}

static void received(struct unr_op *op)
{
    struct request *r = op->data;
    unr_cancel(&r->timeout.op, UNR_CANCEL_ALL);
    if (r->mended && unr_outcome(&op->result) == -ETIMEDOUT)
        answer(r);
}

static void run_request(bool mended)
{
    struct request r = { .loop = open_small_loop(), .mended = mended };
    int            fds[2];
    unr_sim_socketpair(fds, 0);
    r.fd = fds[0];
    unr_start(r.loop, unr_recv(&r.recv, r.fd, r.buf, sizeof r.buf, 0), received, &r);
    unr_start(r.loop, unr_timer_after(&r.timeout, UNR_MSEC(1)), timed_out, &r);
    unr_sim_later(peer_says, &fds[1]);
    unr_loop_run(r.loop);
    close_loop(r.loop);
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

static void buffer_used_again_too_early(const struct scenario *scenario)
{
    (void)scenario;
    run_request(false);
}

static void buffer_used_again_in_done(const struct scenario *scenario)
{
    (void)scenario;
    run_request(true);
}

/* ---- an operation that does not stay where it is ---- */

static void operation_moved_in_flight(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct unr_op    here = { 0 }, there;
    char             byte;
    int              fds[2];
    (void)scenario;
    unr_sim_socketpair(fds, 0);
    unr_start(loop, unr_recv(&here, fds[0], &byte, 1, 0), NULL, NULL);
    unr_sim_later(peer_says, &fds[1]);
    unr_loop_run_once(loop, 0);
    there = here;
    memset(&here, 0, sizeof here);
    while (unr_in_flight(&there))
        unr_loop_run_once(loop, UNR_NEVER);
}

/* ---- the talk's step 3: a proxy whose heartbeats cancel one read through its slot ---- */

enum { CONNECTIONS = 2, SAID = 6 };

struct direction {
    struct session   *session;
    struct unr_op     op;
    struct unr_signal silence;
    unsigned char     buf[4];
    size_t            held, sent, moved; /* bytes in buf; of those sent; moved in all */
    int               from, to;
    bool              ended;
};

struct session {
    struct unr_loop *loop;
    struct direction ways[2];
    struct unr_timer heartbeat;
    int              client[2], server[2]; /* [0] the proxy's end */
    unsigned         beats;
    unsigned char    heard[2][SAID + 4];
    size_t           heard_count[2];
};

static void proxy_read(struct direction *d);

static void proxy_wrote(struct unr_op *op)
{
    struct direction *d = op->data;
    d->sent += op->result.bytes;
    d->moved += op->result.bytes;
    if (op->result.error) {
        d->ended = true;
        return;
    }
    if (d->sent < d->held)
        unr_start(d->session->loop, unr_send(&d->op, d->to, d->buf + d->sent, d->held - d->sent, 0),
                  proxy_wrote, d);
    else
        proxy_read(d);
}

static void proxy_read_done(struct unr_op *op)
{
    struct direction *d = op->data;
    if (op->result.error == -ECANCELED && op->result.cause == -ETIMEDOUT) {
        unr_sim_check(op->result.guarantee == UNR_CANCEL_TOTAL && op->result.bytes == 0,
                      "a heartbeat takes nothing");
        d->session->beats++;
        proxy_read(d);
        return;
    }
    if (op->result.error || op->result.bytes == 0) {
        d->ended = true;
        return;
    }
    d->held = op->result.bytes;
    d->sent = 0;
    unr_start(d->session->loop, unr_send(&d->op, d->to, d->buf, d->held, 0), proxy_wrote, d);
}

static void proxy_read(struct direction *d)
{
    unr_start(d->session->loop,
              unr_bind_slot(unr_recv(&d->op, d->from, d->buf, sizeof d->buf, 0),
                            unr_signal_slot(&d->silence)),
              proxy_read_done, d);
}

static void heartbeat(struct unr_op *op)
{
    struct session *s = op->data;
    if (op->result.error || (s->ways[0].ended && s->ways[1].ended))
        return;
    for (int i = 0; i < 2; i++)
        unr_signal_emit_cause(&s->ways[i].silence, UNR_CANCEL_TOTAL, -ETIMEDOUT);
    if (s->beats < 4)
        unr_start(s->loop, unr_timer_after(&s->heartbeat, UNR_MSEC(1)), heartbeat, s);
}

static void client_speaks(void *session)
{
    struct session *s = session;
    unr_sim_write(s->client[1], "abcdef", SAID);
    unr_sim_shutdown(s->client[1], SHUT_WR);
}

static void server_speaks(void *session)
{
    struct session *s = session;
    unr_sim_write(s->server[1], "ghijkl", SAID);
    unr_sim_shutdown(s->server[1], SHUT_WR);
}

static void start_session(struct session *s, struct unr_loop *loop)
{
    *s = (struct session){ .loop = loop };
    unr_sim_socketpair(s->client, 8);
    unr_sim_socketpair(s->server, 8);
    s->ways[0] = (struct direction){ .session = s, .from = s->client[0], .to = s->server[0] };
    s->ways[1] = (struct direction){ .session = s, .from = s->server[0], .to = s->client[0] };
    proxy_read(&s->ways[0]);
    proxy_read(&s->ways[1]);
    unr_start(loop, unr_timer_after(&s->heartbeat, UNR_MSEC(1)), heartbeat, s);
    unr_sim_later(client_speaks, s);
    unr_sim_later(server_speaks, s);
}

static void expect_heard(int fd, const char *said)
{
    char    heard[SAID + 4];
    ssize_t n = unr_sim_read(fd, heard, sizeof heard);
    unr_sim_check(n == SAID && memcmp(heard, said, SAID) == 0,
                  "what one side said is what the other heard");
}

static void proxy(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    struct session   sessions[CONNECTIONS];
    (void)scenario;
    for (int i = 0; i < CONNECTIONS; i++)
        start_session(&sessions[i], loop);
    unr_loop_run(loop);
    for (int i = 0; i < CONNECTIONS; i++) {
        struct session *s = &sessions[i];
        unr_sim_check(s->ways[0].moved == SAID && s->ways[1].moved == SAID, "all was moved");
        expect_heard(s->server[1], "abcdef");
        expect_heard(s->client[1], "ghijkl");
        for (int end = 0; end < 2; end++) {
            unr_sim_close(s->client[end]);
            unr_sim_close(s->server[end]);
        }
    }
    close_loop(loop);
}

const struct scenario *scenarios_sessions_table(void)
{
    static const struct scenario table[] = {
        { .name = "session/talk-step-2-as-shown",
          .run = talk_step_2_as_shown,
          .fails_with = "deadlock" },
        { .name = "session/talk-step-2-mended", .run = talk_step_2_mended },
        { .name = "session/buffer-used-again-too-early",
          .run = buffer_used_again_too_early,
          .fails_with = "lent" },
        { .name = "session/buffer-used-again-in-done", .run = buffer_used_again_in_done },
        { .name = "session/operation-moved-in-flight",
          .run = operation_moved_in_flight,
          .fails_with = "moved" },
        { .name = "session/proxy", .run = proxy, .sampled = true, .faults = UNR_FAULT_TRANSFER },
        { .name = NULL },
    };
    return table;
}
