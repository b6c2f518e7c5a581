/* SPDX-License-Identifier: MIT */
/* A server of fibers: a nursery for its connections, a nursery in each connection, and a graceful
 * end.
 *
 * Each connection has two fibers.  One sends back the lines that come; the other sends a heartbeat
 * every ten seconds, or as many as are given, and if that fails it ends the first, as the two are
 * in one nursery.  A mutex keeps a heartbeat out of the middle of a line.
 *
 * Ctrl-C or SIGTERM: connections that only wait for a line end at once, because their reads are
 * bound to a signal that is latched.  The others have ten seconds, which is the deadline of the
 * nursery they are in.  Each says goodbye behind a shield, and gives its client a
 * second at most to hang up.
 *
 *      fiber_server 7000 10                  # then: socat - TCP:127.0.0.1:7000 */
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <unring.h>

static struct {
    struct unr_nursery connections;
    struct unr_signal  stop; /* latched: idle reads end, and what is under way goes on */
    int                listener;
    double             interval; /* of heartbeats, in seconds */
} server = { .interval = 10 };

struct session {
    int              fd;
    struct unr_mutex writes; /* two fibers write to the socket, and each a whole line */
};

static int send_text(struct session *s, const char *text, size_t len)
{
    struct unr_waiter   lock = { 0 };
    struct unr_stream   stream;
    struct unr_transfer transfer = { 0 };
    int64_t             done = unr_await_value(unr_mutex_lock(&lock, &s->writes));

    if (done < 0)
        return (int)done;
    unr_stream_socket(&stream, s->fd);
    done = unr_await_value(unr_write_all(&transfer, &stream, text, len));
    unr_mutex_unlock(&s->writes);
    return done < 0 ? (int)done : 0;
}

static int heartbeat(void *argument)
{
    int error;

    while ((error = unr_sleep((unr_time)(server.interval * 1e9))) == 0)
        if ((error = send_text(argument, "<heartbeat>\n", 12)) < 0)
            break;
    return error;
}

/* Until the end of the stream, or of the server. */
static int echo(struct session *s)
{
    struct unr_signal idle = { 0 };
    struct unr_op     op = { 0 };
    char              buf[4096];
    int64_t           n;

    unr_signal_attach(&idle, &server.stop);
    while ((n = unr_await_value(
                unr_bind_slot(unr_recv(&op, s->fd, buf, sizeof buf, 0), unr_signal_slot(&idle))))
           > 0)
        if ((n = send_text(s, buf, (size_t)n)) < 0)
            break;
    unr_signal_detach(&idle);
    return n == -ESHUTDOWN ? 0 : (int)n;
}

/* And waits until the client has hung up.  Bytes of its that nobody reads would make a reset of the
 * close, by which it may lose what was sent to it. */
static void say_goodbye(struct session *s)
{
    struct unr_op op = { 0 };
    char          buf[4096];

    if (send_text(s, "bye\n", 4) < 0 || unr_await_value(unr_shutdown(&op, s->fd, SHUT_WR)) < 0)
        return;
    while (unr_await_value(unr_recv(&op, s->fd, buf, sizeof buf, 0)) > 0)
        ;
}

static int connection(void *argument)
{
    struct session     s = { .fd = (int)(intptr_t)argument };
    struct unr_op      op = { 0 };
    struct unr_nursery nursery;

    unr_nursery_open(&nursery, 0);
    int error = unr_nursery_spawn(&nursery, heartbeat, &s);
    if (error == 0)
        error = echo(&s);
    unr_nursery_cancel(&nursery, UNR_CANCEL_ALL, -ECANCELED); /* the heartbeat */
    error = unr_nursery_close(&nursery, error);

    if (error == 0 || error == -ECANCELED) { /* the latter from outside */
        struct unr_cancel_scope goodbye;
        unr_cancel_scope_enter_shield(&goodbye, UNR_SEC(1));
        say_goodbye(&s);
        unr_cancel_scope_leave(&goodbye, 0);
    }
    printf("connection %d: %s\n", s.fd, error ? strerror(-error) : "over");
    unr_await(unr_close(&op, s.fd)); /* it supports NONE: it runs whatever was requested */
    return error;
}

static int accept_all(void *argument)
{
    struct unr_op op = { 0 };
    int64_t       fd;

    (void)argument;
    while ((fd = unr_await_value(unr_accept(&op, server.listener, NULL, NULL, SOCK_CLOEXEC))) >= 0)
        if (unr_nursery_spawn(&server.connections, connection, (void *)(intptr_t)fd) < 0)
            unr_await(unr_close(&op, (int)fd));
    return (int)fd;
}

static int serve(void *argument)
{
    struct unr_fiber   acceptor = { 0 };
    struct unr_sigwait interrupt = { 0 };
    struct unr_group   group = { 0 };

    (void)argument;
    unr_signal_init_latched(&server.stop);
    unr_nursery_open(&server.connections, UNR_NURSERY_INDEPENDENT);
    struct unr_op    *either[] = { unr_fiber(&acceptor, accept_all, NULL),
                                   unr_sigwait(&interrupt, interrupts, 2) };
    struct unr_result r = unr_await(unr_group(&group, either, 2, unr_wait_one, NULL));
    int               error = r.error ? r.error : either[r.value]->result.error;

    printf("ending %u connections\n", unr_nursery_children(&server.connections));
    unr_signal_emit_cause(&server.stop, UNR_CANCEL_TOTAL, -ESHUTDOWN);
    unr_cancel_scope_move(unr_nursery_scope(&server.connections),
                          unr_loop_now(unr_fiber_loop()) + UNR_SEC(10));
    error = unr_nursery_close(&server.connections, error);
    return error == -ETIMEDOUT ? 0 : error;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    block_interrupts();
    server.listener = listen_for_seconds(argc, argv, &server.interval);
    int error = unr_run_fiber(NULL, serve, NULL);
    close(server.listener);
    if (error < 0)
        die(error, "fiber_server");
    return 0;
}
