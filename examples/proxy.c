/* SPDX-License-Identifier: MIT */
/* A TCP proxy for real clients, written in the way in which unring is meant to be used.
 *
 * Everything that waits is an operation.  Each operation here holds the ones indented below it:
 *
 *      grace                 a deadline: it never comes, until the proxy is asked to end
 *        scope               all that runs for clients
 *          accept_clients    a composed operation: make a socket, accept, and again
 *          serve             a composed operation, one for each connection
 *            connecting      a deadline around the connect: --connect
 *            idle            a deadline that is put off whenever bytes are delivered: --idle
 *              both          a group of the two directions
 *                forward     a composed operation: read and send in turn; at the end of the
 *                            stream shut down
 *            stop            of each receiver: the kernel has let go of the socket, it may be closed
 *
 * So most cancellations need no code.  A deadline ends an operation that takes too long.  The group
 * ends one direction when the other has failed.  A cancelled scope ends all that is left.  Each
 * connection ends once, for whatever reason, in session_ended().
 *
 * One signal is left, for operations that can be interrupted without harm:
 *
 *      drain                 emitted TOTAL when the proxy is asked to end
 *        accepting           accept_clients, which then ends
 *        reading             of each direction: its read, while that waits
 *
 * A read that was cancelled under TOTAL has taken nothing, so the next one goes on where it
 * stopped.  The heartbeat interrupts the read from a silent target in this way.  The drain
 * interrupts each read once; the reads that follow have a deadline: --linger.
 *
 * Each socket has a receiver, so to interrupt a read and to start the next one costs no system
 * call.  The receivers share a pool: bytes are sent from where the kernel has put them, and leave
 * the receiver when they were delivered; a connection that waits has no buffer.  Where the kernel
 * has no pools (before Linux 6.7), each direction has a buffer of its own.
 *
 *      proxy 8080 9000       # then: socat - TCP:127.0.0.1:8080
 *      proxy --help */
#define _GNU_SOURCE 1
#include "common.h"

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <unring.h>

#define RETRY_PAUSE UNR_MSEC(100)

enum { ROOM = 16384 }; /* of a direction's own buffer, without a pool */

struct options {
    struct address listen, target;
    unr_time       idle, heartbeat, connect, linger, grace; /* UNR_NEVER: off */
    bool           heartbeat_line, verbose;
};

/* How a connection ended: as the first thing that was wrong, or not. */
enum outcome { COMPLETE, DRAINED, UNCONNECTED, IDLE, RESET, CUT, WITHOUT_MEMORY, OUTCOMES };
static const char *const outcome_names[OUTCOMES] = {
    [COMPLETE] = "complete",
    [DRAINED] = "drained at the end",
    [UNCONNECTED] = "without a target",
    [IDLE] = "idle for too long",
    [RESET] = "reset by a peer",
    [CUT] = "cut at the end",
    [WITHOUT_MEMORY] = "for want of memory",
};

struct end {
    int                 fd;
    struct unr_receiver receiver;
    struct unr_op       stop;
};

struct direction {
    struct unr_compose  forward;
    struct session     *session;
    struct end         *from, *to;
    struct unr_op       read, send, shutdown;
    struct iovec        rest;     /* what was read and is not delivered */
    char               *room;     /* to read into; NULL with a pool */
    struct unr_signal   reading;  /* to its slot each read is bound */
    struct unr_deadline patience; /* of that read */
    unr_time            heartbeat, next_heartbeat;
    uint64_t           *delivered; /* bytes, of all connections */
};

struct session {
    struct unr_compose  serve;
    struct proxy       *proxy;
    struct address      peer;
    struct end          client, target;
    struct unr_op       connect;
    struct unr_deadline connecting, idle;
    struct unr_group    both;
    struct direction    up, down; /* up: from the client to the target */
    unr_time            last_moved;
    int                 error; /* how both directions have ended */
    enum outcome        outcome;
    struct unr_stream   line_to;    /* the client */
    struct unr_transfer write_line; /* a heartbeat's */
    char                line[32];
    unsigned            beats;         /* since the target last said something */
    char                rooms[][ROOM]; /* two, or none with a pool */
};

struct proxy {
    struct options      options;
    struct unr_loop    *loop;
    struct unr_pool    *pool; /* NULL: the kernel has none */
    struct unr_deadline grace;
    struct unr_scope    scope;
    struct unr_signal   drain, accepting;
    bool                draining;

    int                listener, failed; /* failed: a negative errno that ended the proxy */
    struct unr_compose accept_clients;
    struct unr_op      socket, accept;
    struct unr_timer   pause;
    struct session    *next; /* made before its client is accepted */
    struct unr_sigwait signal;
    struct unr_delay   signal_pause;

    unr_time last_pause, last_unconnected; /* when something was said about that */
    unsigned sessions, most_sessions;
    uint64_t accepted, outcomes[OUTCOMES], heartbeats, bytes_up, bytes_down;
};

static unr_step_fn serve, forward;
static unr_done_fn session_ended;

/* For what can go wrong with each of many connections: at most one line a second. */
static void warn_at_times(struct proxy *p, unr_time *last, const char *what, int error)
{
    unr_time now = unr_loop_now(p->loop);
    if (now - *last < UNR_SEC(1))
        return;
    *last = now;
    warnx("%s: %s", what, strerror(-error));
}

static void report(const struct session *s, const char *what)
{
    char text[ADDRESS_TEXT];
    if (s->proxy->options.verbose)
        warnx("%s: %s", format_address(&s->peer, text), what);
}

static unr_time add(unr_time time, unr_time duration)
{
    return duration > UNR_NEVER - time ? UNR_NEVER : time + duration;
}

/* ---- accept: all that serving a client takes is made first, so that none is accepted only to be
 * dropped ---- */

static struct session *make_session(struct proxy *p);

static void begin_session(struct session *s)
{
    struct proxy *p = s->proxy;

    p->accepted++;
    if (++p->sessions > p->most_sessions)
        p->most_sessions = p->sessions;
    report(s, "accepted");
    unr_scope_start(&p->scope, unr_compose(&s->serve, "serve", UNR_CANCEL_TERMINAL, serve),
                    session_ended, s);
}

/* Whoever wants to connect waits in the listening socket's queue meanwhile. */
static void accept_later(struct proxy *p, int error)
{
    warn_at_times(p, &p->last_pause, "accepting pauses", error);
    unr_compose_next(&p->accept_clients, unr_timer_after(&p->pause, RETRY_PAUSE));
}

static void accept_next(struct proxy *p)
{
    int family = p->options.target.storage.ss_family;

    if (!p->next && !(p->next = make_session(p)))
        accept_later(p, -ENOMEM);
    else if (p->next->target.fd < 0)
        unr_compose_next(&p->accept_clients,
                         unr_socket(&p->socket, family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    else
        unr_compose_next(&p->accept_clients, unr_accept(&p->accept, p->listener,
                                                        (struct sockaddr *)&p->next->peer.storage,
                                                        &p->next->peer.len, SOCK_CLOEXEC));
}

static void accept_failed(struct proxy *p, int error)
{
    switch (error) {
    case -EMFILE:
    case -ENFILE:
    case -ENOBUFS:
    case -ENOMEM: accept_later(p, error); break;
    case -EINTR: /* and what accept(2) says is the connection's own misfortune */
    case -ECONNABORTED:
    case -EPROTO:
    case -EPERM:
    case -ENETDOWN:
    case -ENOPROTOOPT:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -EOPNOTSUPP:
    case -ENETUNREACH:
    case -ETIMEDOUT: accept_next(p); break;
    default: unr_compose_end(&p->accept_clients, error); /* -ECANCELED among them: drained */
    }
}

static void accept_clients(struct unr_compose *self, struct unr_op *finished)
{
    struct proxy *p = unr_container_of(self, struct proxy, accept_clients);

    if (finished && finished->result.error) {
        accept_failed(p, finished->result.error);
        return;
    }
    if (finished == &p->socket)
        p->next->target.fd = finished->result.fd;
    if (finished == &p->accept) {
        p->next->client.fd = finished->result.fd;
        begin_session(p->next);
        p->next = NULL;
    }
    accept_next(p);
}

/* ---- serve: connect, then both directions until both have ended, then no receiver is left ---- */

static void ends_as(struct session *s, enum outcome outcome)
{
    if (s->outcome == COMPLETE)
        s->outcome = outcome;
}

static struct unr_op *connect_to_target(struct session *s)
{
    const struct address *target = &s->proxy->options.target;
    struct unr_op        *connect =
        unr_connect(&s->connect, s->target.fd, (struct sockaddr *)&target->storage, target->len);
    return unr_cancel_after(&s->connecting, connect, s->proxy->options.connect);
}

static void connect_failed(struct session *s, const struct unr_result *result)
{
    struct proxy *p = s->proxy;
    char          text[ADDRESS_TEXT], what[ADDRESS_TEXT + 32];

    ends_as(s, UNCONNECTED);
    snprintf(what, sizeof what, "cannot connect to %s", format_address(&p->options.target, text));
    if (!s->serve.op.result.requested) /* else the proxy is at its end */
        warn_at_times(p, &p->last_unconnected, what, unr_outcome(result));
    unr_compose_end(&s->serve, result->error);
}

static void begin_end(struct end *end, struct proxy *p)
{
    send_at_once(end->fd); /* waiting to fill a segment is the peers' to decide */
    unr_receiver_init(&end->receiver, p->loop, p->pool, end->fd, 0);
}

static struct unr_op *forward_both(struct session *s)
{
    struct unr_op *directions[] = {
        unr_compose(&s->up.forward, "forward", UNR_CANCEL_TERMINAL, forward),
        unr_compose(&s->down.forward, "forward", UNR_CANCEL_TERMINAL, forward),
    };
    begin_end(&s->client, s->proxy);
    begin_end(&s->target, s->proxy);
    unr_stream_socket(&s->line_to, s->client.fd);
    s->last_moved = unr_loop_now(s->proxy->loop);
    return unr_cancel_after(&s->idle, unr_all(&s->both, directions, 2), s->proxy->options.idle);
}

static void stop_receiver(struct session *s, struct end *end)
{
    unr_compose_next(&s->serve, unr_receiver_stop(&end->stop, &end->receiver));
}

/* The stops run also when the connection is cut: they cannot be cancelled. */
static void serve(struct unr_compose *self, struct unr_op *finished)
{
    struct session *s = unr_container_of(self, struct session, serve);

    if (!finished) {
        unr_compose_next(self, connect_to_target(s));
    } else if (finished == &s->idle.op) {
        s->error = finished->result.error;
        stop_receiver(s, &s->client);
    } else if (finished == &s->client.stop) {
        stop_receiver(s, &s->target);
    } else if (finished == &s->target.stop) {
        unr_compose_end(self, s->error);
    } else if (finished->result.error) {
        connect_failed(s, &finished->result);
    } else {
        unr_compose_next(self, forward_both(s));
    }
}

/* ---- forward: read and send until the end of the stream, and pass that on ---- */

/* When a connection is closed on which nothing moves while the proxy is draining. */
static unr_time drain_time(const struct session *s)
{
    return s->proxy->draining ? add(s->last_moved, s->proxy->options.linger) : UNR_NEVER;
}

static void read_next(struct direction *d)
{
    struct unr_receiver *from = &d->from->receiver;
    struct unr_op       *read =
        d->room ? unr_receive(&d->read, from, d->room, ROOM) : unr_receive_view(&d->read, from);
    unr_time until = drain_time(d->session);

    d->next_heartbeat = add(unr_loop_now(d->session->proxy->loop), d->heartbeat);
    if (d->next_heartbeat < until)
        until = d->next_heartbeat;
    unr_compose_next(&d->forward, unr_bind_slot(unr_cancel_at(&d->patience, read, until),
                                                unr_signal_slot(&d->reading)));
}

/* Sends what was read; with a pool from where the receiver shows it. */
static void go_on(struct direction *d)
{
    if (!d->room)
        d->rest.iov_base = unr_receiver_data(&d->from->receiver, &d->rest.iov_len);
    if (d->rest.iov_len)
        unr_compose_next(&d->forward,
                         unr_send(&d->send, d->to->fd, d->rest.iov_base, d->rest.iov_len, 0));
    else
        read_next(d);
}

static void delivered(struct direction *d, size_t bytes)
{
    struct session *s = d->session;

    if (!d->room)
        unr_receiver_consume(&d->from->receiver, bytes);
    d->rest.iov_base = (char *)d->rest.iov_base + bytes;
    d->rest.iov_len -= bytes;
    *d->delivered += bytes;
    if (d == &s->down)
        s->beats = 0;
    s->last_moved = unr_loop_now(s->proxy->loop);
    /* False: it was too late, and the connection ends. */
    unr_deadline_move(&s->idle, add(s->last_moved, s->proxy->options.idle));
}

/* Half-close: the other direction goes on. */
static void pass_end_on(struct direction *d)
{
    unr_compose_next(&d->forward, unr_shutdown(&d->shutdown, d->to->fd, SHUT_WR));
}

static void beat(struct direction *down)
{
    struct session *s = down->session;

    s->proxy->heartbeats++;
    if (!s->proxy->options.heartbeat_line) {
        go_on(down);
        return;
    }
    int len = snprintf(s->line, sizeof s->line, "<heartbeat %u>\r\n", ++s->beats);
    unr_compose_next(&down->forward,
                     unr_write_all(&s->write_line, &s->line_to, s->line, (size_t)len));
}

/* The read has taken nothing. */
static void read_interrupted(struct direction *d)
{
    unr_time now = unr_loop_now(d->session->proxy->loop);

    if (drain_time(d->session) <= now) {
        ends_as(d->session, DRAINED);
        pass_end_on(d);
    } else if (d->next_heartbeat <= now) {
        beat(d);
    } else {
        go_on(d);
    }
}

/* Nothing more can be sent there.  What came from there before may still be on its way through the
 * other direction, which finds the end or the error by itself. */
static void send_failed(struct direction *d)
{
    ends_as(d->session, RESET);
    unr_compose_end(&d->forward, 0);
}

static void read_ended(struct direction *d, const struct unr_result *result)
{
    bool cut = unr_state_cancelled(unr_compose_state(&d->forward));

    d->rest = (struct iovec){ d->room, (size_t)result->bytes };
    if (!result->error && !result->bytes)
        pass_end_on(d);
    else if (!result->error)
        go_on(d);
    else if (result->error == -ECANCELED && !cut)
        read_interrupted(d);
    else
        unr_compose_end(&d->forward, result->error);
}

static void forward(struct unr_compose *self, struct unr_op *finished)
{
    struct direction *d = unr_container_of(self, struct direction, forward);
    int               error = finished ? finished->result.error : 0;

    if (finished == &d->patience.op) {
        read_ended(d, &finished->result);
    } else if (error == -ECANCELED) {
        unr_compose_end(self, error);
    } else if (finished == &d->shutdown) {
        unr_compose_end(self, 0); /* an error says that the socket is disconnected already */
    } else if (error) {
        send_failed(d);
    } else {
        if (finished == &d->send)
            delivered(d, (size_t)finished->result.bytes);
        go_on(d);
    }
}

/* ---- a connection's memory, and its end ---- */

static void init_direction(struct direction *d, struct session *s, struct end *from, struct end *to,
                           unr_time heartbeat, uint64_t *delivered)
{
    d->session = s;
    d->from = from;
    d->to = to;
    d->heartbeat = heartbeat;
    d->delivered = delivered;
    unr_signal_attach(&d->reading, &s->proxy->drain);
}

static struct session *make_session(struct proxy *p)
{
    struct session *s = calloc(1, sizeof *s + (p->pool ? 0 : 2 * sizeof s->rooms[0]));
    if (!s)
        return NULL;
    s->proxy = p;
    s->peer.len = sizeof s->peer.storage;
    s->client.fd = s->target.fd = -1;
    init_direction(&s->up, s, &s->client, &s->target, UNR_NEVER, &p->bytes_up);
    init_direction(&s->down, s, &s->target, &s->client, p->options.heartbeat, &p->bytes_down);
    if (!p->pool) {
        s->up.room = s->rooms[0];
        s->down.room = s->rooms[1];
    }
    return s;
}

static void free_end(struct end *end)
{
    unr_receiver_free(&end->receiver); /* what was not delivered goes back to the pool */
    if (end->fd >= 0)
        close(end->fd);
}

static void free_session(struct session *s)
{
    free_end(&s->client);
    free_end(&s->target);
    unr_signal_detach(&s->up.reading);
    unr_signal_detach(&s->down.reading);
    free(s);
}

/* A connection's own deadline is not requested of it from outside. */
static enum outcome outcome_of(const struct unr_result *result)
{
    if (!result->error)
        return COMPLETE;
    if (result->error != -ECANCELED)
        return result->error == -ENOMEM ? WITHOUT_MEMORY : RESET;
    return result->requested ? CUT : IDLE;
}

/* Nothing is in flight on the sockets.  They are not closed by serve() itself: where the scope was
 * cancelled before, no step of that runs. */
static void session_ended(struct unr_op *op)
{
    struct session *s = op->data;
    struct proxy   *p = s->proxy;

    ends_as(s, outcome_of(&op->result));
    if (op->result.error) { /* a stream that was cut must not look as if it had ended */
        reset_at_close(s->client.fd);
        reset_at_close(s->target.fd);
    }
    report(s, outcome_names[s->outcome]);
    p->outcomes[s->outcome]++;
    p->sessions--;
    free_session(s);
}

/* ---- the proxy's end: ask, wait, insist ---- */

static void cut_off(struct proxy *p)
{
    unr_cancel(&p->grace.op, UNR_CANCEL_ALL);
}

static void drain(struct proxy *p)
{
    warnx("ending, with %u connections open", p->sessions);
    p->draining = true;
    unr_signal_emit(&p->drain, UNR_CANCEL_TOTAL);
    unr_scope_close(&p->scope);
    if (!unr_deadline_move(&p->grace, add(unr_loop_now(p->loop), p->options.grace)))
        cut_off(p); /* there is no memory to wait with */
}

static void accepting_ended(struct unr_op *op)
{
    struct proxy *p = op->data;

    close(p->listener); /* whoever waits there is refused */
    if (p->next)
        free_session(p->next);
    if (op->result.error == -ECANCELED)
        return;
    warnx("cannot accept: %s", strerror(-op->result.error));
    p->failed = op->result.error;
    unr_scope_close(&p->scope);
    cut_off(p);
}

static void all_ended(struct unr_op *op)
{
    struct proxy *p = op->data;
    unr_cancel(&p->signal_pause.op, UNR_CANCEL_ALL);
}

static void print_statistics(const struct proxy *p)
{
    struct unr_stats stats;

    warnx("%" PRIu64 " connections, at most %u at a time, %u open", p->accepted, p->most_sessions,
          p->sessions);
    for (int i = 0; i < OUTCOMES; i++)
        if (p->outcomes[i])
            warnx("  %" PRIu64 " %s", p->outcomes[i], outcome_names[i]);
    warnx("%" PRIu64 " bytes to the target, %" PRIu64 " to clients, %" PRIu64 " heartbeats",
          p->bytes_up, p->bytes_down, p->heartbeats);
    unr_loop_stats(p->loop, &stats, sizeof stats);
    warnx("%" PRIu64 " operations in %" PRIu64 " system calls; %" PRIu64 " cancellations: %" PRIu64
          " in flight, %" PRIu64 " before submission, %" PRIu64 " too late",
          stats.started, stats.enters, stats.cancels_asked, stats.cancels_won,
          stats.cancels_unsubmitted, stats.cancels_too_late);
}

static const int signals[] = { SIGINT, SIGTERM, SIGUSR1 };

static void signalled(struct unr_op *op);

static void wait_for_signal(struct proxy *p, unr_time pause)
{
    struct unr_op *wait = unr_sigwait(&p->signal, signals, 3);
    unr_start(p->loop, unr_delay(&p->signal_pause, wait, pause), signalled, p);
}

static void signalled(struct unr_op *op)
{
    struct proxy     *p = op->data;
    struct unr_result result = op->result;

    if (result.error == -ECANCELED)
        return; /* all has ended */
    wait_for_signal(p, result.error ? RETRY_PAUSE : 0);
    if (result.error) {
        warn_at_times(p, &p->last_pause, "waiting for signals pauses", result.error);
    } else if (result.value == SIGUSR1) {
        print_statistics(p);
        unr_loop_dump(p->loop, STDERR_FILENO);
    } else if (!p->draining) {
        drain(p);
    } else {
        cut_off(p);
    }
}

/* ---- the command line ---- */

static const char usage[] =
    "Usage: proxy LISTEN TARGET [OPTION...]\n"
    "Passes TCP connections to LISTEN on to TARGET.\n"
    "\n"
    "LISTEN and TARGET are [HOST:]PORT with a numeric host, an IPv6 one in brackets; without a\n"
    "host it is 127.0.0.1.  With port 0 the system chooses where to listen; the first line of\n"
    "output tells.\n"
    "\n"
    "      --idle SECONDS       end a connection on which nothing has moved for so long\n"
    "                           (default: never)\n"
    "      --heartbeat SECONDS  cancel and restart the read from a target that is silent for so\n"
    "                           long (default: never)\n"
    "      --heartbeat-line     and send the client a line \"<heartbeat N>\" each time\n"
    "      --connect SECONDS    give up connecting to the target after so long (default 10)\n"
    "      --linger SECONDS     when the proxy is to end, a connection on which nothing has moved\n"
    "                           for so long is closed (default 1)\n"
    "      --grace SECONDS      and what still moves after so long is cut (default 10)\n"
    "  -v, --verbose            a line for each connection's beginning and end\n"
    "  -h, --help               this\n"
    "      --version            the version\n"
    "\n"
    "SECONDS may be a fraction.\n"
    "SIGINT or SIGTERM ends the proxy as --linger and --grace say, a second one at once.\n"
    "SIGUSR1 prints the statistics and what is in flight.\n"
    "The exit status is 0, 1 after a failure, 2 for a command line that makes no sense.\n";

#define TRY_HELP "Try 'proxy --help'."

static unr_time time_or_exit(const char *option, const char *text)
{
    double seconds;
    if (!parse_seconds(text, &seconds))
        errx(2, "--%s needs a positive number of seconds, not %s\n" TRY_HELP, option, text);
    return seconds >= 1e9 ? UNR_NEVER : (unr_time)(seconds * 1e9);
}

static struct address address_or_exit(const char *text)
{
    struct address address;
    if (!parse_address(text, &address))
        errx(2, "not [HOST:]PORT with a numeric host: %s\n" TRY_HELP, text);
    return address;
}

static struct options parse_options(int argc, char **argv)
{
    static const struct option known[] = {
        { "idle", required_argument, NULL, 0 },    { "heartbeat", required_argument, NULL, 1 },
        { "connect", required_argument, NULL, 2 }, { "linger", required_argument, NULL, 3 },
        { "grace", required_argument, NULL, 4 },   { "heartbeat-line", no_argument, NULL, 'b' },
        { "verbose", no_argument, NULL, 'v' },     { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },     { 0 },
    };
    struct options o = { .idle = UNR_NEVER,
                         .heartbeat = UNR_NEVER,
                         .connect = UNR_SEC(10),
                         .linger = UNR_SEC(1),
                         .grace = UNR_SEC(10) };
    unr_time      *times[] = { &o.idle, &o.heartbeat, &o.connect, &o.linger, &o.grace };
    int            option;

    while ((option = getopt_long(argc, argv, "vh", known, NULL)) != -1) {
        switch (option) {
        case 'b': o.heartbeat_line = true; break;
        case 'v': o.verbose = true; break;
        case 'h': fputs(usage, stdout); exit(0);
        case 'V': puts("proxy (unring) " UNR_VERSION); exit(0);
        case '?': fputs(TRY_HELP "\n", stderr); exit(2); /* getopt has said why */
        default: *times[option] = time_or_exit(known[option].name, optarg);
        }
    }
    if (argc - optind != 2)
        errx(2, "needs LISTEN and TARGET\n" TRY_HELP);
    o.listen = address_or_exit(argv[optind]);
    o.target = address_or_exit(argv[optind + 1]);
    if (o.heartbeat_line && o.heartbeat == UNR_NEVER)
        errx(2, "--heartbeat-line needs --heartbeat\n" TRY_HELP);
    return o;
}

/* ---- the begin ---- */

static void start_listening(struct proxy *p)
{
    char text[2][ADDRESS_TEXT];

    p->listener = listen_on(&p->options.listen);
    if (p->listener < 0)
        die(p->listener, "cannot listen");
    struct address chosen = local_address(p->listener);
    printf("listening on %s, target %s\n", format_address(&chosen, text[0]),
           format_address(&p->options.target, text[1]));
    fflush(stdout);
}

static void start(struct proxy *p)
{
    struct unr_op *accepting =
        unr_compose(&p->accept_clients, "accept_clients", UNR_CANCEL_TOTAL, accept_clients);

    unr_start(p->loop, unr_cancel_at(&p->grace, unr_scope(&p->scope), UNR_NEVER), all_ended, p);
    unr_signal_attach(&p->accepting, &p->drain);
    unr_scope_start(&p->scope, unr_bind_slot(accepting, unr_signal_slot(&p->accepting)),
                    accepting_ended, p);
    wait_for_signal(p, 0);
}

int main(int argc, char **argv)
{
    static struct proxy proxy;

    proxy.options = parse_options(argc, argv);
    raise_descriptor_limit();
    block_signals(signals, 3);
    int error = unr_loop_open(&proxy.loop, NULL);
    if (error)
        die(0, unr_explain(error));
    error = unr_pool_open(&proxy.pool, proxy.loop, NULL);
    if (error)
        warnx("receivers without a pool: %s", strerror(-error));
    start_listening(&proxy);
    start(&proxy);
    error = unr_loop_run(proxy.loop);
    if (error)
        warnx("the loop failed: %s", strerror(-error));
    /* Statistics go to standard error as all that is said after the first line: nobody need read
     * the output. */
    print_statistics(&proxy);
    int close_error = unr_loop_close(proxy.loop);
    unr_pool_close(proxy.pool);
    return error || close_error || proxy.failed ? 1 : 0;
}
