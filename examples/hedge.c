/* SPDX-License-Identifier: MIT */
/* A hedged request: the same request to two servers, the second one only after a while; the first
 * answer wins.
 *
 *      unr_any( exchange with the first,  unr_delay( exchange with the second, 100 ms ) )
 *
 * The loser is cancelled.  What has become of its connection?  A library that only says "cancelled"
 * leaves one choice: close it.  Here the result says more.
 *
 *   UNSUBMITTED  The second server was never asked.
 *   TOTAL        The request was sent, and nothing of the answer was taken from the socket.  The
 *                connection stays.  The next exchange recognises the late answer by its number, and
 *                drops it.
 *   PARTIAL      A part of the request was sent, or a part of the answer was taken and thrown away.
 *                The connection is closed, and the next request makes a new one.  (With the answer
 *                in an unr_buffer this could not happen: see unr_read_frame().)
 *
 * The program forks two servers, and tells the first one with each request how it is to behave.
 *
 *      hedge */
#include "common.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <unring.h>

#define HEDGE_DELAY UNR_MSEC(100)

enum behaviour { QUICK, SLOW, STUTTERS };
static const char *const behaviour_names[] = { "quick", "slow", "stutters" };

struct request {
    uint32_t number, behaviour;
};
struct answer {
    uint32_t number;
    char     text[28];
};

/* ---- one exchange, over a connection that lasts ---- */

struct connection {
    union {
        struct unr_op      op;
        struct unr_compose compose;
    };
    const char         *name;
    struct address      address;
    int                 fd; /* -1: none */
    struct unr_stream   stream;
    struct unr_op       connect, receive;
    struct unr_transfer send;
    struct request      request;
    struct answer       answer;
    size_t              received; /* of the answer */
};

static struct unr_op *describe_receive(struct connection *c)
{
    return unr_recv(&c->receive, c->fd, (char *)&c->answer + c->received,
                    sizeof c->answer - c->received, 0);
}

static struct unr_op *describe_send(struct connection *c)
{
    unr_stream_socket(&c->stream, c->fd);
    return unr_write_all(&c->send, &c->stream, &c->request, sizeof c->request);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct connection *c = unr_container_of(self, struct connection, compose);

    if (!finished && c->fd < 0) {
        c->fd = tcp_socket(&c->address);
        unr_compose_next(self, unr_connect(&c->connect, c->fd,
                                           (struct sockaddr *)&c->address.storage, c->address.len));
    } else if (!finished || (finished == &c->connect && !finished->result.error)) {
        unr_compose_next(self, describe_send(c));
    } else if (finished->result.error) {
        /* There is no connection, or an earlier receive took a part of the answer. */
        if (finished == &c->connect || c->received > 0)
            c->op.result.guarantee = UNR_CANCEL_PARTIAL;
        unr_compose_end(self, finished->result.error);
    } else if (finished == &c->send.op) {
        c->received = 0;
        unr_compose_next(self, describe_receive(c));
    } else if (finished->result.bytes == 0) {
        unr_compose_end(self, -ECONNRESET); /* the end of the stream instead of an answer */
    } else if ((c->received += finished->result.bytes) < sizeof c->answer) {
        unr_compose_next(self, describe_receive(c));
    } else if (c->answer.number != c->request.number) {
        printf("    %s: the answer to request %u comes now, and is dropped\n", c->name,
               c->answer.number);
        c->received = 0;
        unr_compose_next(self, describe_receive(c));
    } else {
        unr_compose_end(self, 0);
    }
}

/* Cancels  TOTAL: the connection can be used again.  Otherwise it has to be closed. */
static struct unr_op *exchange(struct connection *c, struct request request)
{
    c->request = request;
    c->received = 0;
    return unr_compose(&c->compose, "exchange", UNR_CANCEL_TOTAL, step);
}

static void drop(struct connection *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

/* Says how an exchange has ended, and closes its connection unless that can be used again. */
static void look_after(struct connection *c)
{
    const struct unr_result *result = &c->op.result;

    if (result->error == 0)
        printf("    %s: answered \"%s\"\n", c->name, c->answer.text);
    else if (result->verdict == UNR_VERDICT_UNSUBMITTED)
        printf("    %s: was never asked\n", c->name);
    else if (result->guarantee == UNR_CANCEL_TOTAL)
        printf("    %s: lost; TOTAL, its connection stays\n", c->name);
    else
        printf("    %s: %s; its connection is closed\n", c->name,
               result->guarantee ? "lost; not TOTAL" : unr_explain_op(&c->op));
    bool usable = result->error == 0 || result->guarantee == UNR_CANCEL_TOTAL;
    if (!usable)
        drop(c);
}

/* ---- the servers: plain system calls ---- */

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

static void serve_connection(int fd, const char *name)
{
    struct request request;
    while (recv(fd, &request, sizeof request, MSG_WAITALL) == sizeof request) {
        struct answer answer = { request.number, "" };
        size_t        first_part = request.behaviour == STUTTERS ? 10 : sizeof answer;
        snprintf(answer.text, sizeof answer.text, "%u, from the %s", request.number, name);
        if (request.behaviour == SLOW)
            sleep_ms(150);
        send(fd, &answer, first_part, MSG_NOSIGNAL);
        if (request.behaviour == STUTTERS)
            sleep_ms(150);
        send(fd, (char *)&answer + first_part, sizeof answer - first_part, MSG_NOSIGNAL);
    }
    close(fd);
}

static struct connection fork_server(const char *name)
{
    struct connection c = { .name = name, .fd = -1 };
    parse_address("0", &c.address);
    int listener = listen_on(&c.address);
    if (listener < 0)
        die(listener, "cannot listen");
    c.address = local_address(listener);
    pid_t pid = fork();
    if (pid < 0)
        die(errno, "cannot fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            serve_connection(accept(listener, NULL, NULL), name);
    }
    close(listener);
    return c;
}

/* ---- five requests ---- */

static struct unr_loop *loop;
static struct unr_group hedged;
static bool             is_interrupted;

static void interrupted(struct unr_op *op)
{
    is_interrupted = op->result.error == 0;
    unr_cancel(&hedged.op, UNR_CANCEL_ALL);
}

static void ask(struct connection *first, struct connection *second, struct request request)
{
    struct unr_delay delay = { 0 };
    struct unr_op   *second_op = exchange(second, (struct request){ request.number, QUICK });
    struct unr_op   *members[] = { exchange(first, request),
                                   unr_delay(&delay, second_op, HEDGE_DELAY) };

    printf("request %u, the first server %s:\n", request.number,
           behaviour_names[request.behaviour]);
    unr_start(loop, unr_any(&hedged, members, 2), NULL, NULL);
    while (unr_in_flight(&hedged.op)) {
        int error = unr_loop_run_once(loop, UNR_NEVER);
        if (error < 0)
            die(error, "the loop failed");
    }
    look_after(first);
    look_after(second);
}

int main(void)
{
    static const enum behaviour script[] = { QUICK, SLOW, QUICK, STUTTERS, QUICK };
    static struct connection    first, second;
    static struct unr_sigwait   interrupt;

    first = fork_server("first");
    second = fork_server("second");
    block_interrupts();
    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    unr_start(loop, unr_sigwait(&interrupt, interrupts, 2), interrupted, NULL);
    for (unsigned i = 0; i < sizeof script / sizeof *script && !is_interrupted; i++)
        ask(&first, &second, (struct request){ i + 1, script[i] });
    error = unr_loop_close(loop);
    drop(&first);
    drop(&second);
    return error ? 1 : 0;
}
