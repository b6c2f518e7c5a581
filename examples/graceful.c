/* SPDX-License-Identifier: MIT */
/* A server that ends without hurting anybody: ask, wait, insist.
 *
 * Each connection is a composed operation (receive a request, work on it, send the answer, and
 * again).  All of them run in one scope.  Two things are arranged beforehand, and cost nothing
 * until they are needed:
 *
 *   - The wait for a request, and nothing else, is bound to a child of the signal `drain`.
 *   - The scope has a deadline, which is never.
 *
 * Three statements then end the server:
 *
 *   ask     unr_signal_emit_cause(&drain, UNR_CANCEL_TOTAL, CAUSE_DRAIN);
 *           A connection that only waits has lost nothing, and ends.
 *   wait    unr_scope_close(&scope);
 *           From now on only the operations in the scope start others.
 *   insist  unr_deadline_move(&deadline, unr_loop_now(loop) + GRACE);
 *           The operations that are left by then are cancelled under ALL.
 *
 * A request under way goes on, as it is bound to nothing.  When it is answered, its connection
 * would wait for the next one; the signal is latched, and ends that wait before it begins.  However
 * a connection ends, its last step is unr_close(), which no cancellation stops.
 *
 * The program brings its clients along, in a second process: 10,000 connections.  When the end
 * comes, a tenth of them are in the middle of a request.  Some requests will be done in time, some
 * would take an hour, some clients do not take their answer.  SIGINT brings the end earlier, a
 * second one cuts the grace short.
 *
 *      graceful                              # 10,000 connections, or as many as there may be files
 *      graceful 100 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unring.h>

#define GRACE       UNR_SEC(1)
#define BUFFERED    65536     /* of each socket: an answer that is not taken is soon stuck */
#define LONG_ANSWER (1 << 20) /* more than is buffered */

#define CAUSE_DRAIN (-10001)

struct request {
    uint32_t work_ms, answer_len;
};

static struct unr_loop *loop;
static char             payload[LONG_ANSWER];

/* ==== the server ============================================================================== */

/* What a connection did when the server was asked to end, or how it ended before. */
enum fate { IDLE, ANSWERED, CUT, GONE, FATES };

struct connection {
    union {
        struct unr_op      op;
        struct unr_compose compose;
    };
    int                 fd;
    enum fate           fate;
    struct unr_signal   idle; /* a child of `drain` */
    struct unr_stream   stream;
    struct unr_op       receive, close;
    struct unr_timer    work;
    struct unr_transfer send;
    struct request      request;
    size_t              received; /* of the request */
};

static struct {
    struct unr_scope    scope;
    struct unr_deadline deadline; /* the scope's */
    struct unr_signal   drain, accepting;
    struct unr_op       accept;
    struct unr_sigwait  interrupt;
    int                 listener;
    bool                ending;
    unr_time            ending_since, last_release;
    unsigned            answered, under_way; /* requests */
    unsigned show_answered, show_under_way;  /* how many there are to be when the show begins */
    unsigned fates[FATES];
    uint64_t bytes_in, bytes_out;
} server;

static void end_server(void)
{
    printf("asked to end, with %u requests under way and %u answered\n", server.under_way,
           server.answered);
    server.ending = true;
    server.ending_since = unr_loop_now(loop);
    unr_signal_emit_cause(&server.drain, UNR_CANCEL_TOTAL, CAUSE_DRAIN);
    unr_scope_close(&server.scope);
    if (!unr_deadline_move(&server.deadline, server.ending_since + GRACE))
        unr_cancel(&server.deadline.op, UNR_CANCEL_ALL); /* there is no memory to wait with */
}

static void begin_show_if_ready(void)
{
    if (!server.ending && server.answered == server.show_answered
        && server.under_way == server.show_under_way)
        end_server();
}

static struct unr_op *wait_for_request(struct connection *c)
{
    c->received = 0;
    return unr_bind_slot(unr_recv(&c->receive, c->fd, &c->request, sizeof c->request, 0),
                         unr_signal_slot(&c->idle));
}

/* A request that has begun is under way, so the wait for its rest is bound to nothing. */
static struct unr_op *receive_more(struct connection *c)
{
    return unr_recv(&c->receive, c->fd, (char *)&c->request + c->received,
                    sizeof c->request - c->received, 0);
}

static void close_after(struct connection *c, const struct unr_result *result)
{
    /* A connection that the drain has ended only waited, and has its fate already. */
    if (unr_outcome(result) != CAUSE_DRAIN)
        c->fate = result->error == -ECANCELED ? CUT : GONE;
    unr_compose_next(&c->compose, unr_close(&c->close, c->fd));
}

static void serve(struct unr_compose *self, struct unr_op *finished)
{
    struct connection *c = unr_container_of(self, struct connection, compose);

    if (finished == &c->send.op)
        server.bytes_out += finished->result.bytes; /* valid whatever the error */

    if (!finished) {
        unr_compose_next(self, wait_for_request(c));
    } else if (finished == &c->close) {
        unr_compose_end(self, 0);
    } else if (finished->result.error || (finished == &c->receive && finished->result.bytes == 0)) {
        close_after(c, &finished->result);
    } else if (finished == &c->receive) {
        server.bytes_in += finished->result.bytes;
        c->received += finished->result.bytes;
        if (c->received < sizeof c->request) {
            unr_compose_next(self, receive_more(c));
        } else {
            server.under_way++;
            unr_compose_next(self, unr_timer_after(&c->work, UNR_MSEC(c->request.work_ms)));
        }
    } else if (finished == &c->work.op) {
        size_t len =
            c->request.answer_len < sizeof payload ? c->request.answer_len : sizeof payload;
        unr_compose_next(self, unr_write_all(&c->send, &c->stream, payload, len));
    } else {
        server.under_way--;
        server.answered++;
        c->fate = server.ending ? ANSWERED : IDLE;
        unr_compose_next(self, wait_for_request(c));
    }
    begin_show_if_ready();
}

static void served(struct unr_op *op)
{
    struct connection *c = unr_container_of(op, struct connection, op);

    if (op->result.error)
        close(c->fd); /* no step of it ran */
    server.fates[c->fate]++;
    if (c->fate == IDLE)
        server.last_release = unr_loop_now(loop);
    unr_signal_detach(&c->idle);
    free(c);
}

static void accepted(struct unr_op *op);

static void accept_next(void)
{
    struct unr_op *accept_op =
        unr_accept(&server.accept, server.listener, NULL, NULL, SOCK_CLOEXEC);
    unr_scope_start(&server.scope, unr_bind_slot(accept_op, unr_signal_slot(&server.accepting)),
                    accepted, NULL);
}

static void accepted(struct unr_op *op)
{
    if (op->result.error) {
        if (op->result.error != -ECANCELED)
            fprintf(stderr, "no more connections: %s\n", unr_explain_op(op));
        close(server.listener); /* whoever waits there is refused */
        return;
    }
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        die(-ENOMEM, "no memory for a connection");
    c->fd = op->result.fd;
    unr_stream_socket(&c->stream, c->fd);
    unr_signal_attach(&c->idle, &server.drain);
    unr_scope_start(&server.scope, unr_compose(&c->compose, "serve", UNR_CANCEL_TERMINAL, serve),
                    served, NULL);
    accept_next();
}

static void interrupted(struct unr_op *op)
{
    if (op->result.error)
        return; /* all has ended */
    if (server.ending)
        unr_cancel(&server.deadline.op, UNR_CANCEL_ALL);
    else
        end_server();
    unr_start(loop, unr_sigwait(&server.interrupt, interrupts, 2), interrupted, NULL);
}

static void all_ended(struct unr_op *op)
{
    (void)op;
    unr_cancel(&server.interrupt.op, UNR_CANCEL_ALL);
}

static void start_server(void)
{
    unr_signal_init_latched(&server.drain);
    unr_signal_attach(&server.accepting, &server.drain);
    unr_start(loop, unr_cancel_at(&server.deadline, unr_scope(&server.scope), UNR_NEVER), all_ended,
              NULL);
    unr_start(loop, unr_sigwait(&server.interrupt, interrupts, 2), interrupted, NULL);
    accept_next();
}

/* ==== the clients, in a process of their own ================================================== */

struct totals {
    uint64_t sent, received;
    unsigned failed; /* connections that were refused or reset */
};

struct client {
    union {
        struct unr_op      op;
        struct unr_compose compose;
    };
    struct request      request;
    bool                is_deaf; /* it does not take its answer until the server has ended */
    int                 fd;
    struct unr_op       connect, receive, poll, close;
    struct unr_stream   stream;
    struct unr_transfer send;
    char                ignored[1024]; /* a piece of its answer, which is all zeros */
};

static struct {
    struct address address;
    struct client *clients;
    unsigned       n, begun;
    int            server_alive; /* a pipe that ends with the server */
    struct totals  totals;
} visit;

static void begin_next_client(void);

static void be_client(struct unr_compose *self, struct unr_op *finished)
{
    struct client *c = unr_container_of(self, struct client, compose);

    if (!finished) {
        unr_compose_next(self,
                         unr_connect(&c->connect, c->fd, (struct sockaddr *)&visit.address.storage,
                                     visit.address.len));
        return;
    }
    if (finished == &c->connect)
        begin_next_client();
    if (finished == &c->send.op)
        visit.totals.sent += finished->result.bytes;
    if (finished == &c->receive)
        visit.totals.received += finished->result.bytes;
    visit.totals.failed += finished->result.error != 0;

    if (finished == &c->close)
        unr_compose_end(self, 0);
    else if (finished->result.error || (finished == &c->receive && finished->result.bytes == 0))
        unr_compose_next(self, unr_close(&c->close, c->fd));
    else if (finished == &c->connect)
        unr_compose_next(self, unr_write_all(&c->send, &c->stream, &c->request, sizeof c->request));
    else if (finished == &c->send.op && c->is_deaf)
        unr_compose_next(self, unr_poll(&c->poll, visit.server_alive, POLLIN));
    else
        unr_compose_next(self, unr_recv(&c->receive, c->fd, c->ignored, sizeof c->ignored, 0));
}

static void set_buffers(int fd)
{
    int len = BUFFERED;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &len, sizeof len);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &len, sizeof len);
}

static void begin_next_client(void)
{
    if (visit.begun == visit.n)
        return;
    struct client *c = &visit.clients[visit.begun++];
    c->fd = tcp_socket(&visit.address);
    set_buffers(c->fd);
    unr_stream_socket(&c->stream, c->fd);
    unr_start(loop, unr_compose(&c->compose, "client", UNR_CANCEL_TERMINAL, be_client), NULL, NULL);
}

/* When the end comes, nine in ten clients have had their answer; the last tenth waits for it. */
static struct request request_of(unsigned index, unsigned n)
{
    unsigned late = n - index;
    if (late > n / 10)
        return (struct request){ 0, 100 };
    if (late > n / 50)
        return (struct request){ 300 + index % 500, 1000 };
    return late % 2 ? (struct request){ 3600 * 1000, 1000 } : (struct request){ 0, LONG_ANSWER };
}

_Noreturn static void run_clients(struct address address, unsigned n, int server_alive, int report)
{
    visit.address = address;
    visit.n = n;
    visit.server_alive = server_alive;
    visit.clients = calloc(n, sizeof *visit.clients);
    int error = visit.clients ? unr_loop_open(&loop, NULL) : -ENOMEM;
    if (error)
        die(error, "no clients");
    for (unsigned i = 0; i < n; i++) {
        visit.clients[i].request = request_of(i, n);
        visit.clients[i].is_deaf = visit.clients[i].request.answer_len == LONG_ANSWER;
    }
    for (int i = 0; i < 64; i++)
        begin_next_client();
    error = unr_loop_run(loop);
    if (error || (error = unr_loop_close(loop)))
        die(error, "the clients' loop failed");
    free(visit.clients);
    exit(write(report, &visit.totals, sizeof visit.totals) != sizeof visit.totals);
}

/* ==== both ==================================================================================== */

/* How many of the connections each of the two processes may have a descriptor for. */
static unsigned limited(unsigned wanted)
{
    struct rlimit limit;
    raise_descriptor_limit();
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die(errno, "no limit of open files");
    if (wanted + 50 <= limit.rlim_cur)
        return wanted;
    printf("%u connections would be more open files than are allowed (ulimit -Hn)\n", wanted);
    return limit.rlim_cur > 50 ? (unsigned)limit.rlim_cur - 50 : 0;
}

static double milliseconds(unr_time time)
{
    return (double)time / 1e6;
}

static int print_report(const struct totals *clients, unr_time took)
{
    bool adds_up = server.bytes_out == clients->received
                   && (server.bytes_in == clients->sent || clients->failed);

    printf("%6u idle connections were released within %.0f ms\n", server.fates[IDLE],
           milliseconds(server.last_release - server.ending_since));
    printf("%6u requests were finished in the grace\n", server.fates[ANSWERED]);
    printf("%6u connections were cut off when it was over, after %.0f ms\n", server.fates[CUT],
           milliseconds(took));
    if (server.fates[GONE] || clients->failed)
        printf("%6u clients left, %u were refused or reset\n", server.fates[GONE], clients->failed);
    printf("requests: %" PRIu64 " bytes sent, %" PRIu64 " received; answers: %" PRIu64
           " bytes sent, %" PRIu64 " received: %s\n",
           clients->sent, server.bytes_in, server.bytes_out, clients->received,
           adds_up ? "it adds up" : "IT DOES NOT ADD UP");
    return adds_up ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct address address;
    struct totals  totals = { 0 };
    char           text[ADDRESS_TEXT];
    int            alive[2], report[2];
    unsigned       n = limited(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10000);

    parse_address("0", &address);
    server.listener = listen_on(&address);
    if (n < 50 || server.listener < 0 || pipe(alive) < 0 || pipe(report) < 0)
        die(0, "Usage: graceful [CONNECTIONS], at least 50, and as many open files");
    set_buffers(server.listener); /* what it accepts inherits them */
    address = local_address(server.listener);
    server.show_under_way = n / 10;
    server.show_answered = n - n / 10;
    printf("%u connections, to %s\n", n, format_address(&address, text));
    fflush(stdout);
    block_interrupts();
    pid_t clients = fork();
    if (clients < 0)
        die(errno, "cannot fork");
    if (clients == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(server.listener);
        close(alive[1]);
        run_clients(address, n, alive[0], report[1]);
    }

    close(report[1]);
    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    start_server();
    error = unr_loop_run(loop);
    unr_time took = unr_loop_now(loop) - server.ending_since;
    if (error || (error = unr_loop_close(loop)))
        die(error, "the loop failed");

    close(alive[1]);
    if (read(report[0], &totals, sizeof totals) != sizeof totals)
        die(0, "no report from the clients");
    waitpid(clients, NULL, 0);
    return print_report(&totals, took);
}
