/* SPDX-License-Identifier: MIT */
/* A session with a bug, found by exploring, and the same session mended.
 *
 *     cc explore.c $(pkg-config --cflags --libs unring-sim)
 *
 * The session reads a request, with a time-out.  At the time-out it asks for the read to be
 * cancelled, and writes its apology into the buffer that the read was given.  This works nearly
 * always.  But a read that was asked to cancel is not cancelled yet: until its `done` the buffer is
 * the kernel's, which may be filling it just then.  A test would have to be very lucky to see that;
 * the explorer tries every way in which the kernel can go about it. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unring.h>
#include <unring/sim.h>

struct session {
    struct unr_loop *loop;
    struct unr_op    read, apology;
    struct unr_timer timeout;
    char             buf[16];
    int              fd, peer;
    bool             mended;
};

static void apologize(struct session *s)
{
    memcpy(s->buf, "you are too late", sizeof s->buf);
    unr_start(s->loop, unr_send(&s->apology, s->fd, s->buf, sizeof s->buf, 0), NULL, NULL);
}

static void on_timeout(struct unr_op *op)
{
    struct session *s = op->data;
    if (op->result.error == 0 && unr_cancel_cause(&s->read, UNR_CANCEL_ALL, -ETIMEDOUT)
        && !s->mended)
        apologize(s); /* the bug: the buffer is still lent */
}

static void on_read(struct unr_op *op)
{
    struct session *s = op->data;
    unr_cancel(&s->timeout.op, UNR_CANCEL_ALL);
    if (s->mended && unr_outcome(&op->result) == -ETIMEDOUT)
        apologize(s); /* now it is ours again */
}

static void peer_writes(void *session)
{
    struct session *s = session;
    unr_sim_write(s->peer, "request", 7);
}

/* The scenario.  It is called once for each schedule. */
static void scenario(void *mended)
{
    struct session s = { .mended = *(bool *)mended };
    int            fds[2];
    unr_sim_check(unr_loop_open(&s.loop, NULL) == 0, "the loop opens");
    unr_sim_socketpair(fds, 0);
    s.fd = fds[0];
    s.peer = fds[1];
    unr_start(s.loop, unr_recv(&s.read, s.fd, s.buf, sizeof s.buf, 0), on_read, &s);
    unr_start(s.loop, unr_timer_after(&s.timeout, UNR_MSEC(1)), on_timeout, &s);
    unr_sim_later(peer_writes, &s);
    unr_sim_check(unr_loop_run(s.loop) == 0, "the loop runs");
    unr_sim_check(unr_loop_close(s.loop) == 0, "the loop closes");
    unr_sim_close(fds[0]);
    unr_sim_close(fds[1]);
}

static int explore(bool mended)
{
    struct unr_exploration found;
    int                    error = unr_explore(scenario, &mended, NULL, &found);
    printf("%s: %llu schedules%s: ", mended ? "mended" : "naive",
           (unsigned long long)found.schedules, found.complete ? ", all there are" : "");
    if (error == 0)
        printf("none fails\n");
    else
        printf("one fails: %s\n    replay it under a debugger with .driver = UNR_REPLAY, .replay = "
               "\"%s\"\n",
               found.failure, found.schedule);
    return error;
}

int main(void)
{
    int naive = explore(false), mended = explore(true);
    return naive == 0 || mended != 0; /* the bug is to be found, and to be gone */
}
