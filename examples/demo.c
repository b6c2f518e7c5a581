/* SPDX-License-Identifier: MIT */
/* The main job in five scenes on loopback TCP, each count of it checked from both sides.
 *
 * There are three processes.  This one is the proxy, and uses unring.  The client and the target
 * are forked before the loop is opened, and use plain system calls.  They take their orders from
 * one pipe each, and report through another what they have seen, to the byte.  Nothing waits for a
 * length of time, except that heartbeats come from a timer.  So two runs differ in their times, and
 * in how far the send of scene 3 gets.
 *
 *   1  traffic       Both directions at once: the bytes are counted, and their content is checked.
 *   2  heartbeat     The target is silent: each heartbeat cancels one receive under TOTAL, and the
 *                    send beside it goes on.
 *   3  partial send  The client stops reading: a send is cancelled midway, and its count is what
 *                    the client finds.
 *   4  connect       Nobody answers: it is cancelled, and the same socket connects elsewhere.
 *   5  accept        It is cancelled: the next accept takes the connection that comes later.
 *
 * The scenes call wait_for(), which turns the loop until an operation has ended, so that each can
 * be read from top to bottom.  A program that serves clients would use `done`, as the relays here
 * do.
 *
 *      demo */
#define _GNU_SOURCE 1
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <unring.h>

#define TRAFFIC_BYTES    (UINT64_C(64) << 20)  /* scene 1, in each direction */
#define BLOCKED_BYTES    (UINT64_C(4) << 20)   /* scene 2, to the target: more than is buffered */
#define ANSWER_BYTES     (UINT64_C(64) << 10)  /* scene 2, from the target in the end */
#define HEARTBEATS       5                     /* scene 2 */
#define HEARTBEAT_PERIOD UNR_MSEC(30)          /* scene 2 */
#define LARGE_BYTES      (UINT64_C(8) << 20)   /* scene 3, one send: more than is buffered */
#define READ_BYTES       (UINT64_C(256) << 10) /* scene 3, what the client reads before it stops */
#define SOCKET_BUFFER    (128 << 10)           /* of all sockets */
#define LAST_RESORT_S    60

#define CAUSE_HEARTBEAT (-10001)

/* ==== what all three processes share ========================================================== */

static const char *process = "proxy"; /* which one this is, for messages */
static const char *scene = "set-up";

_Noreturn __attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "demo: FAILED in %s, %s: ", process, scene);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    _exit(1); /* the other processes end with this one, or with their pipes */
}

static void expect(uint64_t got, uint64_t wanted, const char *what)
{
    if (got != wanted)
        fail("%s: %" PRIu64 ", not %" PRIu64, what, got, wanted);
}

/* The two directions carry different streams.  Each byte tells its offset in its stream. */
enum { FROM_CLIENT = 1, FROM_TARGET = 2 };

static uint8_t byte_at(uint64_t stream, uint64_t offset)
{
    uint64_t word = (offset / 8 + (stream << 56)) * UINT64_C(0x9e3779b97f4a7c15);
    word ^= word >> 29;
    return (uint8_t)(word >> (offset % 8 * 8));
}

static void fill_stream(uint8_t *buffer, size_t len, uint64_t stream, uint64_t offset)
{
    for (size_t i = 0; i < len; i++)
        buffer[i] = byte_at(stream, offset + i);
}

static uint64_t count_wrong(const uint8_t *buffer, size_t len, uint64_t stream, uint64_t offset)
{
    uint64_t wrong = 0;
    for (size_t i = 0; i < len; i++)
        wrong += buffer[i] != byte_at(stream, offset + i);
    return wrong;
}

/* What client and target are told, and what they report when they have done it. */
enum order { EXCHANGE, SILENCE, CONTINUE, SEND_LARGE, STOP_READING, CONNECT, QUIT };
struct report {
    uint64_t sent, received, wrong; /* bytes; `wrong` had another content than their offset says */
    uint64_t port;                  /* the process's own, of its connection */
};

/* Fixed socket buffers, as the kernel would otherwise let them grow to sizes that differ between
 * machines. */
static void set_buffers(int fd)
{
    int size = SOCKET_BUFFER;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) < 0
        || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) < 0)
        fail("setsockopt: %s", strerror(errno));
}

static int make_socket(void)
{
    struct address any;
    parse_address("0", &any);
    int fd = tcp_socket(&any);
    if (fd < 0)
        fail("socket: %s", strerror(-fd));
    set_buffers(fd);
    return fd;
}

static int make_listener(int backlog)
{
    struct address any;
    parse_address("0", &any);
    int fd = make_socket();
    if (bind(fd, (struct sockaddr *)&any.storage, any.len) < 0 || listen(fd, backlog) < 0)
        fail("listen: %s", strerror(errno));
    return fd;
}

static uint16_t port_of(int fd)
{
    struct address address = local_address(fd);
    return ntohs(((struct sockaddr_in *)&address.storage)->sin_port);
}

/* ==== client and target: plain system calls =================================================== */

struct child {
    int orders, reports; /* this end's descriptors; see main() */
};

static enum order take_order(const struct child *child)
{
    char order;
    if (read(child->orders, &order, 1) != 1)
        _exit(1); /* the proxy has died, and said why */
    return (enum order)order;
}

static void send_report(const struct child *child, struct report report)
{
    if (write(child->reports, &report, sizeof report) != sizeof report)
        _exit(1);
}

/* Sends `to_send` bytes of one stream and meanwhile receives until the end of the other, which
 * begins with `prefix`. */
static struct report exchange(int fd, uint64_t out_stream, uint64_t to_send, uint64_t in_stream,
                              const char *prefix)
{
    static uint8_t out[65536], in[65536];
    struct report  report = { .port = port_of(fd) };
    uint64_t       prefix_len = strlen(prefix);
    bool           ended = false, shut = false;

    while (!ended || !shut) {
        struct pollfd waiting = { .fd = fd,
                                  .events = (short)((ended ? 0 : POLLIN) | (shut ? 0 : POLLOUT)) };
        if (poll(&waiting, 1, -1) < 0)
            fail("poll: %s", strerror(errno));

        if (!ended && waiting.revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t n = recv(fd, in, sizeof in, MSG_DONTWAIT);
            if (n < 0 && errno != EAGAIN)
                fail("recv: %s", strerror(errno));
            size_t len = n > 0 ? (size_t)n : 0, i = 0;
            for (; i < len && report.received < prefix_len; i++, report.received++)
                report.wrong += in[i] != (uint8_t)prefix[report.received];
            report.wrong += count_wrong(in + i, len - i, in_stream, report.received - prefix_len);
            report.received += len - i;
            ended = n == 0;
        }
        if (!shut && waiting.revents & (POLLOUT | POLLHUP | POLLERR)) {
            size_t len =
                to_send - report.sent < sizeof out ? (size_t)(to_send - report.sent) : sizeof out;
            fill_stream(out, len, out_stream, report.sent);
            ssize_t n = len ? send(fd, out, len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
            if (n < 0 && errno != EAGAIN)
                fail("send: %s", strerror(errno));
            report.sent += n > 0 ? (size_t)n : 0;
            if (report.sent == to_send) {
                shutdown(fd, SHUT_WR);
                shut = true;
            }
        }
    }
    return report;
}

static int client_connect(uint16_t proxy_port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(proxy_port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = make_socket();
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("connect: %s", strerror(errno));
    return fd;
}

/* The text that the client finds in scene 2 before the target's answer. */
static void heartbeat_text(char *text, size_t size)
{
    size_t len = 0;
    for (int i = 1; i <= HEARTBEATS; i++)
        len += (size_t)snprintf(text + len, size - len, "<heartbeat %d>\r\n", i);
}

/* Reads up to `limit` bytes, or to the end of the stream. */
static void read_stream(int fd, uint64_t limit, struct report *report)
{
    static uint8_t in[65536];

    while (report->received < limit) {
        uint64_t left = limit - report->received;
        ssize_t  n = recv(fd, in, left < sizeof in ? (size_t)left : sizeof in, 0);
        if (n < 0)
            fail("recv: %s", strerror(errno));
        if (n == 0)
            return;
        report->wrong += count_wrong(in, (size_t)n, FROM_TARGET, report->received);
        report->received += (uint64_t)n;
    }
}

_Noreturn static void run_client(const struct child *child, uint16_t proxy_port)
{
    char          text[HEARTBEATS * 24];
    struct report report = { 0 };
    int           fd = -1;

    for (;;) {
        switch (take_order(child)) {
        case EXCHANGE:
            fd = client_connect(proxy_port);
            report = exchange(fd, FROM_CLIENT, TRAFFIC_BYTES, FROM_TARGET, "");
            break;
        case SILENCE:
            fd = client_connect(proxy_port);
            heartbeat_text(text, sizeof text);
            report = exchange(fd, FROM_CLIENT, BLOCKED_BYTES, FROM_TARGET, text);
            break;
        case STOP_READING:
            fd = client_connect(proxy_port);
            report = (struct report){ .port = port_of(fd) };
            read_stream(fd, READ_BYTES, &report);
            send_report(child, report);
            if (take_order(child) != CONTINUE)
                fail("not the order that was expected");
            read_stream(fd, UINT64_MAX, &report);
            break;
        case CONNECT:
            fd = client_connect(proxy_port);
            report = (struct report){ .port = port_of(fd) };
            break;
        case QUIT: exit(0);
        default: fail("an order for somebody else");
        }
        send_report(child, report);
        close(fd);
    }
}

_Noreturn static void run_target(const struct child *child, int listener)
{
    for (;;) {
        enum order order = take_order(child);
        if (order == QUIT)
            exit(0);
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            fail("accept: %s", strerror(errno));
        switch (order) {
        case EXCHANGE:
            send_report(child, exchange(fd, FROM_TARGET, TRAFFIC_BYTES, FROM_CLIENT, ""));
            break;
        case SILENCE: /* neither reads nor writes until it is told to go on */
            if (take_order(child) != CONTINUE)
                fail("not the order that was expected");
            send_report(child, exchange(fd, FROM_TARGET, ANSWER_BYTES, FROM_CLIENT, ""));
            break;
        case SEND_LARGE:
            send_report(child, exchange(fd, FROM_TARGET, LARGE_BYTES, FROM_CLIENT, ""));
            break;
        case CONNECT: send_report(child, exchange(fd, FROM_TARGET, 0, FROM_CLIENT, "")); break;
        default: fail("an order for somebody else");
        }
        close(fd);
    }
}

/* ==== the proxy =============================================================================== */

struct peer { /* a child, seen from here */
    const char   *name;
    pid_t         pid;
    int           orders, reports;
    struct unr_op op; /* the read of its next report */
    struct report report;
};

static struct unr_loop   *loop;
static struct peer        client = { .name = "client" }, target = { .name = "target" };
static int                listener; /* the proxy's own */
static struct sockaddr_in target_address;
static unsigned           requests, cancelled; /* cancellations asked for, and reported */

static unr_time clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return UNR_SEC(now.tv_sec) + now.tv_nsec;
}

/* An operation that the demo cancels and reports on. */
struct cancellable {
    struct unr_op op;
    unr_time      asked, ended; /* the request, and `done` */
};

static void ended(struct unr_op *op)
{
    unr_container_of(op, struct cancellable, op)->ended = clock_now();
}

static void start(struct cancellable *self, struct unr_op *described)
{
    self->asked = self->ended = 0;
    unr_start(loop, described, ended, NULL);
}

static void ask(struct cancellable *self, unsigned types)
{
    self->asked = clock_now(); /* of the last request: a refused one came to nothing */
    requests++;
    if (!unr_cancel(&self->op, types))
        fail("%s is not in flight", self->op.type->name);
}

static const struct unr_result *wait_for(struct unr_op *op)
{
    while (unr_in_flight(op)) {
        int n = unr_loop_run_once(loop, UNR_NEVER);
        if (n < 0)
            fail("unr_loop_run_once: %s", strerror(-n));
    }
    return &op->result;
}

static const struct unr_result *wait_for_success(struct unr_op *op)
{
    const struct unr_result *result = wait_for(op);
    if (result->error)
        fail("%s", unr_explain_op(op));
    return result;
}

/* Waits for a nop, which the kernel gets after everything that was started before.  So an operation
 * that is cancelled after this call is in the kernel's hands, not in the queue. */
static void wait_for_submission(void)
{
    struct unr_op nop = { 0 };
    unr_start(loop, unr_nop(&nop), NULL, NULL);
    wait_for_success(&nop);
}

static const char *types_text(unsigned types, char text[32])
{
    snprintf(text, 32, "%s%s%s", types & UNR_CANCEL_TOTAL ? "+TOTAL" : "",
             types & UNR_CANCEL_PARTIAL ? "+PARTIAL" : "",
             types & UNR_CANCEL_TERMINAL ? "+TERMINAL" : "");
    return types == UNR_CANCEL_ALL ? "ALL" : types ? text + 1 : "none";
}

static const char *verdict_text(unsigned verdict)
{
    static const char *const names[] = { "none",     "UNSUBMITTED", "CANCELLED",
                                         "TOO LATE", "RUNNING",     "REFUSED" };
    return verdict < sizeof names / sizeof *names ? names[verdict] : "?";
}

static const char *cause_text(int cause)
{
    return cause == CAUSE_HEARTBEAT ? "heartbeat"
           : cause == -ECANCELED    ? "cancelled"
           : cause == 0             ? "-"
                                    : "?";
}

static void print_heading(void)
{
    printf("%-15s %-20s %-14s %-10s %-9s %9s  %-9s %9s\n", "scene", "operation", "asked for",
           "verdict", "guarantee", "bytes", "cause", "time");
}

/* Prints a line for a cancellation, and ends the program if it is not the one that the scene
 * needs. */
static void report(const char *name, const struct cancellable *self, unsigned types,
                   unsigned guarantee)
{
    const struct unr_result *result = &self->op.result;
    char                     asked[32], given[32];
    bool                     counts =
        strcmp(self->op.type->name, "send") == 0 || strcmp(self->op.type->name, "recv") == 0;

    printf("%-15s %-20s %-14s %-10s %-9s %9" PRIu64 "  %-9s %6.1f us\n", scene, name,
           types_text(result->requested, asked), verdict_text(result->verdict),
           types_text(result->guarantee, given), counts ? result->bytes : 0,
           cause_text(result->cause), (double)(self->ended - self->asked) / 1000);
    /* A slow machine may queue an operation again, and has not submitted it when it is cancelled.
     */
    bool verdict =
        result->verdict == UNR_VERDICT_CANCELLED || result->verdict == UNR_VERDICT_UNSUBMITTED;
    if (result->error != -ECANCELED || !verdict || result->requested != types
        || result->guarantee != guarantee)
        fail("not the cancellation that was expected: %s", unr_explain_op(&self->op));
    cancelled++;
}

__attribute__((format(printf, 1, 2))) static void remark(const char *format, ...)
{
    va_list arguments;
    printf("%-15s ", scene);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

/* ---- orders and reports ---- */

static void tell(struct peer *peer, enum order order)
{
    char byte = (char)order;
    if (write(peer->orders, &byte, 1) != 1)
        fail("the %s does not listen", peer->name);
}

static void expect_report(struct peer *peer)
{
    unr_start(loop, unr_read(&peer->op, peer->reports, &peer->report, sizeof peer->report, -1),
              NULL, NULL);
}

/* A report is written at once, below PIPE_BUF, so it is read at once. */
static const struct report *take_report(struct peer *peer)
{
    const struct unr_result *result = wait_for_success(&peer->op);
    if (result->bytes != sizeof peer->report)
        fail("the %s has died", peer->name);
    expect(peer->report.wrong, 0, "bytes of the wrong content");
    return &peer->report;
}

/* ---- a connection through the proxy ---- */

struct relay { /* one direction: recv, send what was received, recv */
    struct unr_op      op;
    int                from, to;
    size_t             len, sent;
    uint64_t           received_bytes, sent_bytes;
    unsigned           requested; /* of any of its sends: what was asked */
    uint64_t           sends_started;
    bool               sending, over; /* over: the end of the stream was passed on */
    struct unr_signal  silence;       /* to its slot each receive is bound */
    bool               heard; /* the heartbeat has cancelled a receive, which is to be reported */
    struct cancellable beat;  /* that receive's result and times */
    unsigned           beats;
    uint8_t            buffer[65536];
};

static struct relay up = { .from = -1 }, down = { .from = -1 };

static void relay_recv(struct relay *relay);

static void relay_sent(struct unr_op *op)
{
    struct relay *relay = op->data;

    if (op->result.error)
        fail("%s", unr_explain_op(op));
    relay->sending = false;
    relay->requested |= op->result.requested;
    relay->sent += op->result.bytes;
    relay->sent_bytes += op->result.bytes;
    if (relay->sent == relay->len) {
        relay_recv(relay);
        return;
    }
    relay->sending = true;
    relay->sends_started++;
    unr_start(loop,
              unr_send(op, relay->to, relay->buffer + relay->sent, relay->len - relay->sent, 0),
              relay_sent, relay);
}

static void relay_send(struct relay *relay, size_t len)
{
    relay->len = len;
    relay->sent = 0;
    relay->sending = true;
    relay->sends_started++;
    unr_start(loop, unr_send(&relay->op, relay->to, relay->buffer, len, 0), relay_sent, relay);
}

static void relay_ended(struct unr_op *op)
{
    struct relay *relay = op->data;
    if (op->result.error)
        fail("%s", unr_explain_op(op));
    relay->over = true;
}

static void relay_received(struct unr_op *op)
{
    struct relay *relay = op->data;

    if (unr_outcome(&op->result) == CAUSE_HEARTBEAT) {
        relay->beat.op = *op; /* for the report, as the line needs the operation itself */
        relay->beat.ended = clock_now();
        relay->heard = true;
        int len = snprintf((char *)relay->buffer, sizeof relay->buffer, "<heartbeat %u>\r\n",
                           ++relay->beats);
        relay_send(relay, (size_t)len);
        return;
    }
    if (op->result.error)
        fail("%s", unr_explain_op(op));
    relay->received_bytes += op->result.bytes;
    if (op->result.bytes > 0)
        relay_send(relay, op->result.bytes);
    else
        unr_start(loop, unr_shutdown(op, relay->to, SHUT_WR), relay_ended, relay);
}

static void relay_recv(struct relay *relay)
{
    struct unr_op *recv_op =
        unr_recv(&relay->op, relay->from, relay->buffer, sizeof relay->buffer, 0);
    unr_start(loop, unr_bind_slot(recv_op, unr_signal_slot(&relay->silence)), relay_received,
              relay);
}

/* Accepts the client, connects to the target, and returns their sockets. */
static void open_connection(int ret_fds[2])
{
    struct unr_op accepting = { 0 }, connecting = { 0 };

    unr_start(loop, unr_accept(&accepting, listener, NULL, NULL, SOCK_CLOEXEC), NULL, NULL);
    ret_fds[0] = wait_for_success(&accepting)->fd;
    ret_fds[1] = make_socket();
    unr_start(loop,
              unr_connect(&connecting, ret_fds[1], (struct sockaddr *)&target_address,
                          sizeof target_address),
              NULL, NULL);
    wait_for_success(&connecting);
}

static void close_connection(const int fds[2])
{
    struct unr_op closing[2] = { 0 };

    for (int i = 0; i < 2; i++)
        unr_start(loop, unr_close(&closing[i], fds[i]), NULL, NULL);
    for (int i = 0; i < 2; i++)
        wait_for_success(&closing[i]);
}

static void start_relays(const int fds[2])
{
    memset(&up, 0, sizeof up);
    memset(&down, 0, sizeof down);
    up.from = down.to = fds[0];
    up.to = down.from = fds[1];
    relay_recv(&up);
    relay_recv(&down);
}

static void wait_for_relays(void)
{
    while (!up.over || !down.over) {
        int n = unr_loop_run_once(loop, UNR_NEVER);
        if (n < 0)
            fail("unr_loop_run_once: %s", strerror(-n));
    }
}

/* ---- the scenes ---- */

static void traffic(void)
{
    int fds[2];

    scene = "1 traffic";
    expect_report(&client);
    expect_report(&target);
    tell(&target, EXCHANGE);
    tell(&client, EXCHANGE);
    open_connection(fds);
    start_relays(fds);
    wait_for_relays();
    const struct report *of_client = take_report(&client), *of_target = take_report(&target);
    close_connection(fds);

    expect(of_client->sent, TRAFFIC_BYTES, "sent by the client");
    expect(up.received_bytes, TRAFFIC_BYTES, "received from the client");
    expect(up.sent_bytes, TRAFFIC_BYTES, "sent to the target");
    expect(of_target->received, TRAFFIC_BYTES, "received by the target");
    expect(of_target->sent, TRAFFIC_BYTES, "sent by the target");
    expect(down.received_bytes, TRAFFIC_BYTES, "received from the target");
    expect(down.sent_bytes, TRAFFIC_BYTES, "sent to the client");
    expect(of_client->received, TRAFFIC_BYTES, "received by the client");
    remark("%" PRIu64 " bytes each way, every one counted and compared at both ends",
           TRAFFIC_BYTES);
}

/* The heartbeat's timer. */
struct heart {
    struct unr_timer timer;
    uint64_t         sends_started; /* at the last beat */
    uint64_t         blocked_send;  /* which send the heartbeats found in flight */
    unsigned         beats;
};

static void beat(struct unr_op *op)
{
    struct heart *heart = op->data;

    if (op->result.error)
        fail("%s", unr_explain_op(op));
    /* A beat counts if one and the same send to the target was in flight since the last one: the
     * kernel's buffers are full then, and the send waits for the target.  The receive of the other
     * way waits beside it, unless it is between two of its own at this moment. */
    bool blocked = up.sending && up.sends_started == heart->sends_started
                   && unr_slot_has_handler(unr_signal_slot(&down.silence));
    heart->sends_started = up.sends_started;
    if (blocked) {
        down.beat.asked = clock_now();
        requests++;
        unr_signal_emit_cause(&down.silence, UNR_CANCEL_TOTAL, CAUSE_HEARTBEAT);
        heart->blocked_send = up.sends_started;
        heart->beats++;
    }
    if (heart->beats < HEARTBEATS)
        unr_start(loop, unr_timer_after(&heart->timer, HEARTBEAT_PERIOD), beat, heart);
}

static void heartbeat(void)
{
    struct heart heart = { 0 };
    char         text[HEARTBEATS * 24];
    int          fds[2];

    scene = "2 heartbeat";
    expect_report(&client);
    expect_report(&target);
    tell(&target, SILENCE);
    tell(&client, SILENCE);
    open_connection(fds);
    start_relays(fds);
    unr_start(loop, unr_timer_after(&heart.timer, HEARTBEAT_PERIOD), beat, &heart);
    for (unsigned i = 1; i <= HEARTBEATS;) {
        int n = unr_loop_run_once(loop, UNR_NEVER);
        if (n < 0)
            fail("unr_loop_run_once: %s", strerror(-n));
        if (down.heard) {
            down.heard = false;
            report("recv from target", &down.beat, UNR_CANCEL_TOTAL, UNR_CANCEL_TOTAL);
            expect(down.beat.op.result.bytes, 0, "bytes of a receive that was cancelled");
            i++;
        }
    }
    expect(up.sends_started, heart.blocked_send, "the send that was in flight");
    tell(&target, CONTINUE);
    wait_for_relays();
    const struct report *of_client = take_report(&client), *of_target = take_report(&target);
    close_connection(fds);

    heartbeat_text(text, sizeof text);
    expect(up.requested, 0, "asked of the sends to the target");
    expect(of_client->sent, BLOCKED_BYTES, "sent by the client");
    expect(up.sent_bytes, BLOCKED_BYTES, "sent to the target");
    expect(of_target->received, BLOCKED_BYTES, "received by the target");
    expect(of_target->sent, ANSWER_BYTES, "sent by the target");
    expect(down.received_bytes, ANSWER_BYTES, "received from the target");
    expect(down.sent_bytes, ANSWER_BYTES + strlen(text), "sent to the client");
    expect(of_client->received, ANSWER_BYTES + strlen(text), "received by the client");
    remark("one send to the target waited through all of it; then %" PRIu64 " bytes there, %" PRIu64
           " back",
           BLOCKED_BYTES, of_client->received);
}

static void partial_send(void)
{
    struct cancellable sending = { 0 };
    struct unr_op      receiving = { 0 }, shutting[2] = { 0 };
    int                fds[2];
    uint8_t           *large = malloc(LARGE_BYTES);

    scene = "3 partial send";
    if (!large)
        fail("no memory");
    expect_report(&client);
    expect_report(&target);
    tell(&target, SEND_LARGE);
    tell(&client, STOP_READING);
    open_connection(fds);
    unr_start(loop, unr_recv(&receiving, fds[1], large, LARGE_BYTES, MSG_WAITALL), NULL, NULL);
    expect(wait_for_success(&receiving)->bytes, LARGE_BYTES, "received from the target");

    /* It is more than the client takes and the kernel buffers, so the send cannot end by itself. */
    start(&sending, unr_send(&sending.op, fds[0], large, LARGE_BYTES, MSG_WAITALL));
    expect(take_report(&client)->received, READ_BYTES, "received by the client before it stopped");

    /* A part has been sent, so the send can no longer be cancelled without a trace.  A request for
     * TOTAL changes nothing. */
    ask(&sending, UNR_CANCEL_TOTAL);
    wait_for_submission();
    if (!unr_in_flight(&sending.op))
        fail("a request that the send does not support has ended it");
    ask(&sending, UNR_CANCEL_PARTIAL);
    wait_for(&sending.op);
    report("send to client", &sending, UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL, UNR_CANCEL_PARTIAL);

    /* The client must find the bytes that were sent, and then the end of the stream. */
    expect_report(&client);
    tell(&client, CONTINUE);
    for (int i = 0; i < 2; i++) {
        unr_start(loop, unr_shutdown(&shutting[i], fds[i], SHUT_WR), NULL, NULL);
        wait_for_success(&shutting[i]);
    }
    const struct report *of_client = take_report(&client), *of_target = take_report(&target);
    close_connection(fds);
    free(large);

    expect(of_target->sent, LARGE_BYTES, "sent by the target");
    expect(of_client->received, sending.op.result.bytes, "received by the client");
    if (of_client->received <= READ_BYTES || of_client->received >= LARGE_BYTES)
        fail("%" PRIu64 " bytes are not midway", of_client->received);
    remark("of %" PRIu64 " bytes the completion says %" PRIu64
           " were sent, and the client finds %" PRIu64,
           LARGE_BYTES, sending.op.result.bytes, of_client->received);
}

static unsigned tcp_state(int fd)
{
    struct tcp_info info = { 0 };
    socklen_t       len = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        fail("getsockopt: %s", strerror(errno));
    return info.tcpi_state;
}

static void connect_unanswered(void)
{
    struct cancellable connecting = { 0 };
    struct unr_op      shutting = { 0 }, closing = { 0 };
    struct address     full_address;

    scene = "4 connect";
    /* A listening socket with a backlog of 0 has room for one connection.  The next one's SYN is
     * dropped. */
    int full = make_listener(0), filler = make_socket();
    full_address = local_address(full);
    if (connect(filler, (struct sockaddr *)&full_address.storage, full_address.len) < 0)
        fail("connect: %s", strerror(errno));
    struct pollfd queued = { .fd = full, .events = POLLIN };
    if (poll(&queued, 1, -1) != 1)
        fail("poll: %s", strerror(errno));

    int fd = make_socket();
    start(&connecting, unr_connect(&connecting.op, fd, (struct sockaddr *)&full_address.storage,
                                   full_address.len));
    wait_for_submission();
    expect(tcp_state(fd), TCP_SYN_SENT, "the state of a socket whose connect nobody answers");
    ask(&connecting, UNR_CANCEL_TOTAL);
    wait_for(&connecting.op);
    report("connect", &connecting, UNR_CANCEL_TOTAL, UNR_CANCEL_TOTAL);
    expect(tcp_state(fd), TCP_CLOSE, "the state of that socket afterwards");

    /* The socket is as new. */
    expect_report(&target);
    tell(&target, CONNECT);
    start(&connecting, unr_connect(&connecting.op, fd, (struct sockaddr *)&target_address,
                                   sizeof target_address));
    wait_for_success(&connecting.op);
    struct address      peer = { .len = sizeof peer.storage };
    struct sockaddr_in *peer_in = (struct sockaddr_in *)&peer.storage;
    if (getpeername(fd, (struct sockaddr *)&peer.storage, &peer.len) < 0)
        fail("getpeername: %s", strerror(errno));
    expect(ntohs(peer_in->sin_port), ntohs(target_address.sin_port), "the port of the peer");
    unr_start(loop, unr_shutdown(&shutting, fd, SHUT_WR), NULL, NULL);
    wait_for_success(&shutting);
    expect(take_report(&target)->received, 0, "received by the target");
    unr_start(loop, unr_close(&closing, fd), NULL, NULL);
    wait_for_success(&closing);

    /* Only the connection that filled the queue has reached the other listener. */
    int first = accept4(full, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (first < 0)
        fail("accept: %s", strerror(errno));
    if (fcntl(full, F_SETFL, O_NONBLOCK) < 0 || accept4(full, NULL, NULL, SOCK_CLOEXEC) >= 0
        || errno != EAGAIN)
        fail("the cancelled connect has arrived all the same");
    close(first);
    close(filler);
    close(full);
    remark("the same socket then connected to the target");
}

static void accept_cancelled(void)
{
    struct cancellable accepting = { 0 };
    struct unr_op      closing = { 0 };
    struct address     peer = { .len = sizeof peer.storage };

    scene = "5 accept";
    start(&accepting, unr_accept(&accepting.op, listener, NULL, NULL, SOCK_CLOEXEC));
    wait_for_submission();
    ask(&accepting, UNR_CANCEL_TOTAL);
    wait_for(&accepting.op);
    report("accept", &accepting, UNR_CANCEL_TOTAL, UNR_CANCEL_TOTAL);

    expect_report(&client);
    tell(&client, CONNECT);
    /* Then the connection is waiting in the queue. */
    const struct report *of_client = take_report(&client);
    start(&accepting, unr_accept(&accepting.op, listener, (struct sockaddr *)&peer.storage,
                                 &peer.len, SOCK_CLOEXEC));
    int fd = wait_for_success(&accepting.op)->fd;
    expect(ntohs(((struct sockaddr_in *)&peer.storage)->sin_port), of_client->port,
           "the port of who was accepted");
    unr_start(loop, unr_close(&closing, fd), NULL, NULL);
    wait_for_success(&closing);
    remark("the connection that came later was the next accept's");
}

static void check_statistics(void)
{
    struct unr_stats stats;
    scene = "statistics";
    unr_loop_stats(loop, &stats, sizeof stats);

    const struct {
        const char *name;
        uint64_t    value;
    } rows[] = {
        { "operations started", stats.started },
        { "operations finished", stats.finished },
        { "io_uring_enter calls", stats.enters },
        { "cancellations requested", stats.cancels_asked },
        { "  won", stats.cancels_won },
        { "  too late", stats.cancels_too_late },
        { "  running", stats.cancels_running },
        { "  before submission", stats.cancels_unsubmitted },
        { "  refused", stats.cancels_refused },
        { "cancels sent again", stats.cancels_repeated },
        { "submission queue full", stats.sq_full },
        { "completion queue overflows", stats.cq_overflows },
    };
    printf("\n%-28s %9s\n", "the loop", "count");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        printf("%-28s %9" PRIu64 "\n", rows[i].name, rows[i].value);

    expect(stats.finished, stats.started, "operations finished");
    expect(stats.cancels_asked, requests, "cancellations requested");
    expect(stats.cancels_won + stats.cancels_unsubmitted, cancelled, "cancellations won");
    expect(stats.cancels_too_late + stats.cancels_running + stats.cancels_refused, 0,
           "cancellations with another end");
    expect(unr_loop_in_flight(loop), 0, "operations in flight");
}

/* ---- processes ---- */

/* If the demo hangs, a person wants to know what was in flight.  When this signal comes, the
 * process is inside a system call of the loop's, or hopeless anyway. */
static void last_resort(int number)
{
    static const char message[] = "demo: FAILED: it hangs; in flight is:\n";
    (void)number;
    if (write(STDERR_FILENO, message, sizeof message - 1) > 0 && loop)
        unr_loop_dump(loop, STDERR_FILENO);
    _exit(1);
}

/* Forks a child that runs `run_client` or `run_target`; both ends of the pipes are made before. */
static void fork_peer(struct peer *peer, int socket)
{
    int   orders[2], reports[2];
    pid_t parent = getpid();

    if (pipe2(orders, O_CLOEXEC) < 0 || pipe2(reports, O_CLOEXEC) < 0)
        fail("pipe: %s", strerror(errno));
    fflush(stdout);
    peer->pid = fork();
    if (peer->pid < 0)
        fail("fork: %s", strerror(errno));
    if (peer->pid == 0) {
        struct child self = { .orders = orders[0], .reports = reports[1] };
        close(orders[1]);
        close(reports[0]);
        /* A child must not outlive a proxy that was killed.  If the proxy has died before this
         * call, the child has another parent. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
            _exit(1);
        signal(SIGALRM, SIG_DFL);
        alarm(LAST_RESORT_S);
        process = peer->name;
        scene = "at work";
        if (peer == &target)
            run_target(&self, socket);
        uint16_t proxy_port = port_of(socket);
        close(socket); /* so that only the proxy accepts */
        run_client(&self, proxy_port);
    }
    close(orders[0]);
    close(reports[1]);
    peer->orders = orders[1];
    peer->reports = reports[0];
}

static void end_peer(struct peer *peer)
{
    int status;
    tell(peer, QUIT);
    if (waitpid(peer->pid, &status, 0) != peer->pid || status != 0)
        fail("the %s has not ended well", peer->name);
    close(peer->orders);
    close(peer->reports);
}

int main(int argc, char **argv)
{
    if (argc != 1) {
        fprintf(stderr, "Usage: %s\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN); /* orders to a child that has died: write(2) says so */
    signal(SIGALRM, last_resort);
    alarm(LAST_RESORT_S);
    setvbuf(stdout, NULL, _IOLBF, 0); /* the lines appear as things happen, in a pipe too */

    int target_listener = make_listener(16);
    listener = make_listener(16);
    target_address =
        (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port_of(target_listener)) };
    target_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fork_peer(&target, target_listener);
    close(target_listener); /* so that a connect fails, not hangs, once the target has died */
    fork_peer(&client, listener);

    int error = unr_loop_open(&loop, NULL);
    if (error)
        fail("%s", unr_explain(error));
    print_heading();
    traffic();
    heartbeat();
    partial_send();
    connect_unanswered();
    accept_cancelled();
    check_statistics();
    scene = "the end";
    error = unr_loop_close(loop);
    loop = NULL;
    if (error)
        fail("unr_loop_close: %s", strerror(-error));
    end_peer(&client);
    end_peer(&target);
    close(listener);
    printf("\nEvery count balances.\n");
    return fflush(stdout) ? 1 : 0;
}
