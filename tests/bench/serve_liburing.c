/* SPDX-License-Identifier: MIT */
/* The echo server and the proxy on plain liburing: recv and send, one of them at a time for each
 * direction, armed anew with the system call that waits.  The command line is in bench.h, at
 * serve_options(). */
#include "ring.h"

enum step { ACCEPT, CONNECT, RECV, SEND };

/* One direction: receives from one socket and sends to another, which for an echo is the same. */
struct pump {
    enum step    step;     /* what is in flight */
    struct pump *opposite; /* of a proxy's session; NULL in an echo, and once that one has ended */
    int          from, to;
    size_t       received, sent;
    char         buffer[];
};

static struct io_uring      ring;
static struct serve_options options;
static struct pump          acceptor;
static struct sockaddr_in   target;
static long                 sessions;
static int                  finished; /* the last client has gone */

static struct io_uring_sqe *begin_step(struct pump *pump, enum step step)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    pump->step = step;
    return sqe;
}

static void start_accept(void)
{
    struct io_uring_sqe *sqe = begin_step(&acceptor, ACCEPT);

    io_uring_prep_accept(sqe, acceptor.from, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data(sqe, &acceptor);
}

static void start_recv(struct pump *pump)
{
    struct io_uring_sqe *sqe = begin_step(pump, RECV);

    io_uring_prep_recv(sqe, pump->from, pump->buffer, (size_t)options.size, 0);
    io_uring_sqe_set_data(sqe, pump);
}

static void start_send(struct pump *pump)
{
    struct io_uring_sqe *sqe = begin_step(pump, SEND);

    io_uring_prep_send(sqe, pump->to, pump->buffer + pump->sent, pump->received - pump->sent,
                       MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, pump);
}

static struct pump *new_pump(int from, int to)
{
    struct pump *pump = malloc(sizeof *pump + (size_t)options.size);

    if (!pump)
        die("malloc", ENOMEM);
    pump->opposite = NULL;
    pump->from = from;
    pump->to = to;
    return pump;
}

/* Of a proxy's two directions, the first to end shuts both sockets down, so that the other ends as
 * well. */
static void end(struct pump *pump)
{
    if (pump->opposite) {
        shutdown(pump->from, SHUT_RDWR);
        shutdown(pump->to, SHUT_RDWR);
        pump->opposite->opposite = NULL;
    } else {
        close(pump->from);
        if (pump->to != pump->from)
            close(pump->to);
        finished = --sessions == 0;
    }
    free(pump);
}

static void start_session(int fd)
{
    struct io_uring_sqe *sqe;
    struct pump         *pump;
    int                  out;

    sessions++;
    no_delay(fd);
    if (!options.target_port) {
        start_recv(new_pump(fd, fd));
        return;
    }
    out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    no_delay(out);
    pump = new_pump(fd, out);
    sqe = begin_step(pump, CONNECT);
    io_uring_prep_connect(sqe, out, (struct sockaddr *)&target, sizeof target);
    io_uring_sqe_set_data(sqe, pump);
}

static void start_relay(struct pump *pump)
{
    struct pump *opposite = new_pump(pump->to, pump->from);

    pump->opposite = opposite;
    opposite->opposite = pump;
    start_recv(pump);
    start_recv(opposite);
}

static void on_completion(struct pump *pump, int result)
{
    if (pump->step == ACCEPT) {
        start_session(result);
        start_accept();
    } else if (result < 0 || (result == 0 && pump->step == RECV)) {
        end(pump);
    } else if (pump->step == CONNECT) {
        start_relay(pump);
    } else if (pump->step == RECV) {
        pump->received = (size_t)result;
        pump->sent = 0;
        start_send(pump);
    } else {
        pump->sent += (size_t)result;
        if (pump->sent < pump->received)
            start_send(pump);
        else
            start_recv(pump);
    }
}

static void reap(void)
{
    struct io_uring_cqe *cqe;
    unsigned             head, n = 0;

    io_uring_for_each_cqe(&ring, head, cqe) {
        on_completion(io_uring_cqe_get_data(cqe), cqe->res);
        n++;
    }
    io_uring_cq_advance(&ring, n);
}

int main(int argc, char **argv)
{
    options = serve_options(argc, argv);
    target = loopback(options.target_port);
    ring_open(&ring);
    acceptor.from = listen_and_tell(SOCK_CLOEXEC);
    start_accept();
    while (!finished) {
        ring_wait(&ring, 1);
        reap();
    }
    io_uring_queue_exit(&ring);
    return 0;
}
